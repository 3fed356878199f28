"""The native cohort folder: connectomes.npy, participants.tsv and .json, atlas.tsv, cohort.json."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import KEY_COLUMNS, level_text, numeric_column

__all__ = ["NATIVE_FILES", "new_folder", "open_array", "read_json", "read_participants", "write_participants", "write_rows"]

NATIVE_FILES = ("connectomes.npy", "participants.tsv", "participants.json", "atlas.tsv", "cohort.json")
MISSING = ["n/a", "N/A", "NA", "NaN", "nan", ""]


def open_array(path: Path, *, mapped: bool = True) -> NDArray:
    """Open a .npy file of numbers, memory-mapped where ``mapped``; pickled objects are never loaded."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a .npy array of numbers")
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if "bject" in str(error):
            reason = "it holds pickled Python objects, which are never loaded; save it as plain numbers"
        else:
            reason = f"it is empty, truncated or no .npy file ({error})"
        raise ConnectomeError(f"{path} cannot be read: {reason}") from error
    if not isinstance(array, np.ndarray):
        raise ConnectomeError(f"{path} is an .npz archive under the name of a .npy file; expected one array")
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise ConnectomeError(f"{path} holds values of type {array.dtype}; expected real numbers")
    return array


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a JSON object")
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ConnectomeError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(record, dict):
        raise ConnectomeError(f"{path} must hold a JSON object, it holds a {type(record).__name__}")
    return record


def read_participants(path: str | Path, described: Mapping[str, Mapping[str, Any]] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a BIDS participants table.

    Parameters
    ----------
    path : ``participants.tsv``, with a first column participant_id and n/a for missing values; ``participants.json`` beside it
        is read where it exists.
    described : descriptions that take precedence over the file beside the table.

    Returns
    -------
    table : indexed by participant_id (text); described columns with Levels as text, numbers as numbers.
    described : what is known of each column.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the table is missing, empty, malformed, has no or repeated ids, or text in a numeric column.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no participants table at {path}; expected a tab-separated file with a column participant_id")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=MISSING, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise ConnectomeError(f"{path} is empty; expected a header with participant_id and one row a person") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ConnectomeError(f"{path} is not a tab-separated UTF-8 table ({error})") from error
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())
    table = table.mask(table == "")  # blanks alone are a missing value too
    if "participant_id" not in table:
        shown = ", ".join(map(repr, table.columns[:5]))
        raise ConnectomeError(f"{path} has no column 'participant_id' (it has {shown}); the first column of a BIDS table names the person")
    if len(table) == 0:
        raise ConnectomeError(f"{path} has a header but no people; expected one row a person")
    beside = path.with_suffix(".json")
    notes: dict[str, Any] = {**(read_json(beside) if beside.is_file() else {}), **(described or {})}
    wrong = [name for name, note in notes.items() if not isinstance(note, Mapping)]
    if wrong:
        raise ConnectomeError(f"{beside}: the entry of {wrong[0]!r} must be an object with Description, Units or Levels, Group")
    unnamed = table["participant_id"].isna()
    if unnamed.any():
        raise ConnectomeError(f"{path} row {int(np.flatnonzero(unnamed)[0]) + 2}: participant_id is missing")
    table = table.set_index("participant_id")
    for name in table.columns:
        table[name] = _typed(table[name], notes.get(name, {}), path)
    return table, notes


def _typed(column: pd.Series, note: Mapping[str, Any], path: Path) -> pd.Series:
    """Text to numbers where a column is numeric by description or by all its values."""
    if column.name in ("session_id", "family_id"):
        return column
    if "Levels" in note or note.get("Kind") in ("categorical", "binary", "ordinal"):
        return column.map(_code, na_action="ignore")
    if "Units" in note or note.get("Kind") == "continuous" or column.name == "sample":
        numeric_column(column, note.get("Units"), str(path))
        return pd.to_numeric(column)
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _code(text: str) -> str:
    """A level's code, '1' also where a spreadsheet wrote '1.0'."""
    whole, point, zeros = text.partition(".")
    return level_text(float(text)) if point and whole.lstrip("+-").isdigit() and set(zeros) == {"0"} else text


def write_participants(table: pd.DataFrame, described: Mapping[str, Any], folder: Path) -> None:
    """Write ``participants.tsv`` and ``participants.json`` into a folder; the inverse of :func:`read_participants`."""
    table.to_csv(folder / "participants.tsv", sep="\t", na_rep="n/a", index_label="participant_id", lineterminator="\n")
    notes = {name: described[name] for name in table.columns if name in described and name not in KEY_COLUMNS}
    (folder / "participants.json").write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_rows(path: Path, shape: tuple[int, int], read: Callable[[slice], NDArray], size: int = 512) -> None:
    """Write an (N, E) float32 .npy file, ``size`` rows at a time, from a function that reads a slice of rows."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, shape[0], size):
        array[start : start + size] = read(slice(start, min(start + size, shape[0])))
    array.flush()
    del array


@contextmanager
def new_folder(path: str | Path, force: bool = False) -> Iterator[Path]:
    """A folder that appears complete or not at all.

    Yields an empty folder beside ``path``; its files move into place when the block ends without an error. An existing folder
    is an error unless it is empty or ``force`` is given, in which case files of the same names are replaced and others left alone.
    """
    path = Path(path)
    check_target(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield staging
        staging.chmod(0o755)
        if path.exists() and any(path.iterdir()):
            for file in sorted(staging.iterdir()):
                os.replace(file, path / file.name)
        else:
            os.replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_target(path: Path, force: bool = False) -> None:
    """Refuse an output folder that exists and is not empty, unless ``force``; or a file in its place."""
    if path.is_file():
        raise ConnectomeError(f"{path} is a file; name a folder to write to")
    if path.is_dir() and not force and any(path.iterdir()):
        raise ConnectomeError(f"{path} exists; choose another folder, or replace its files with --force (force=True)")

"""The native cohort folder: connectomes.npy, participants.tsv and .json, atlas.tsv, cohort.json."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.columns import described_as, described_levels, level_text, numeric_column, parsed
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.slices import slices
from connectome_gnn.tables import ABSENT, people_table, read_table

__all__ = [
    "ID_NAMES",
    "NATIVE_FILES",
    "check_file",
    "check_target",
    "new_folder",
    "open_array",
    "read_json",
    "read_participants",
    "write_json",
    "write_participants",
    "write_rows",
]

NATIVE_FILES = ("connectomes.npy", "participants.tsv", "participants.json", "atlas.tsv", "cohort.json")
ID_NAMES = ("participants", "participant", "participantid", "subjectid", "subject", "subid", "sub", "id")
"""Names of the column that says who a row is, in tables that others made, in small letters without marks."""
MISSING = ABSENT | {"N/A", "NA", "NaN", "nan"}
"""Cells that are missing, unless a column's Levels list them as a code (n/a always is)."""


def open_array(path: Path, *, mapped: bool = True) -> NDArray:
    """Open a .npy file of real numbers, memory-mapped where ``mapped``; pickled objects are never loaded.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, or it is empty, truncated, pickled, no .npy file, or holds anything but real numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a .npy array of numbers")
    with path.open("rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        kinds = {b"": "is empty", b"\x80": "is a pickle, which is never loaded", b"P": "is a zip archive, perhaps .npz"}
        raise ConnectomeError(f"{path} {kinds.get(start[:1], 'is no .npy file')}; expected one array of numbers as numpy.save writes it")
    try:
        array: NDArray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    # numpy reads the header as Python source, and believes the sizes in it
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError, EOFError, OSError, SyntaxError, TokenError) as error:
        if "bject" in str(error):
            reason = "it holds pickled Python objects, which are never loaded; save it as plain numbers"
        else:
            reason = f"it is truncated or damaged ({error}); copy or write it again"
        raise ConnectomeError(f"{path} cannot be read: {reason}") from error
    if array.dtype.kind not in "fiu":
        raise ConnectomeError(f"{path} holds values of type {array.dtype}; expected real numbers")
    return array


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, or it is no JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a JSON object")
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConnectomeError(f"{path} is not valid JSON ({error}); expected an object in braces") from error
    if not isinstance(record, dict):
        raise ConnectomeError(f"{path} must hold a JSON object in braces, it holds a {type(record).__name__}")
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object, one entry a line; numpy's scalars and arrays as plain numbers, paths as text."""
    try:
        text = json.dumps(record, indent=1, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"{path.name} can hold text, numbers, lists and objects with text keys only ({error})") from error
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: object) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"got a {type(value).__name__}")


def read_participants(path: str | Path, described: Mapping[str, Mapping[str, Any]] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a participants table, as BIDS has it or as a spreadsheet saves it.

    Parameters
    ----------
    path : ``participants.tsv`` (or separated by commas or semicolons), with a column participant_id and n/a for missing values;
        ``participants.json`` beside it is read where it exists.
    described : descriptions that take precedence over the file beside the table.

    Returns
    -------
    table : indexed by participant_id (text); described columns with Levels as text, numbers as numbers.
    described : what is known of each column.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the table is missing, empty, malformed, has no or repeated ids, or text in a numeric column.

    Warns
    -----
    ConnectomeWarning
        Where a column of another name (:data:`ID_NAMES`), or a first column without one, is taken for participant_id.
    """
    path = Path(path)
    cells = read_table(path, "a table with a column participant_id and one row a person", row_names=True)
    named = cells.drop(columns="", errors="ignore")
    if "participant_id" not in named:
        alike = [name for name in map(str, named) if re.sub(r"[\W_]", "", name.lower()) in ID_NAMES]
        if len(alike) != 1 and (alike or "" not in cells):
            shown = ", ".join(map(repr, cells.columns[:5]))
            raise ConnectomeError(f"{path} has no column 'participant_id' (it has {shown}); rename the one that names the person")
        taken = f"the column {alike[0]!r}" if alike else "the first column, which has no name,"
        warnings.warn(f"{path}: {taken} is taken for participant_id", ConnectomeWarning, stacklevel=2)
        named = (named if alike else cells).rename(columns={alike[0] if alike else "": "participant_id"})
    cells = named
    if len(cells) == 0:
        raise ConnectomeError(f"{path} has a header but no people; expected one row a person")
    beside = path.with_suffix(".json")
    notes: dict[str, Any] = {**(read_json(beside) if beside.is_file() else {}), **(described or {})}
    try:
        for name, note in notes.items():
            described_as(name, note)
    except ConnectomeError as error:
        raise ConnectomeError(f"{beside}: {error}") from error
    cells = people_table(cells, str(path))
    return pd.DataFrame({name: _typed(cells[name], notes.get(name, {}), path) for name in cells.columns}, index=cells.index), notes


def _typed(cells: pd.Series, note: Mapping[str, Any], path: Path) -> pd.Series:
    """A column of text as numbers where it is numeric by description or by all its values."""
    name = str(cells.name)
    levels = described_levels(name, note)
    present = ~cells.isin(list(MISSING - levels.keys()))
    column = pd.Series(cells.where(present, None).tolist(), index=cells.index, name=name)  # the text type of this pandas
    if name in ("session_id", "family_id"):
        return column
    kind = "numbers" if name == "sample" else described_as(name, note)
    if kind == "levels":
        return column.map(level_text, na_action="ignore")
    if kind == "numbers":
        numeric_column(column, note.get("Units"), str(path))
    numbers = parsed(column)
    if (np.isnan(numbers) & column.notna().to_numpy()).any():
        return column
    whole = pd.to_numeric(column, errors="coerce")
    return whole if whole.dtype.kind in "iu" else pd.Series(numbers, column.index, name=name)


def write_participants(table: pd.DataFrame, described: Mapping[str, Any], folder: Path) -> None:
    """Write ``participants.tsv`` and ``participants.json`` into a folder; the inverse of :func:`read_participants`.

    The categories of a categorical column without a description are written as its Levels, so that their order is kept.
    """
    table.to_csv(folder / "participants.tsv", sep="\t", na_rep="n/a", index_label="participant_id", lineterminator="\n")
    notes = dict(described)
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype) and described_as(str(name), notes.get(str(name), {})) is None:
            codes = [level_text(category) for category in column.cat.categories]
            kind = {"Kind": "ordinal"} if column.cat.ordered else {}
            notes[str(name)] = {**notes.get(str(name), {}), "Levels": {code: code for code in codes}, **kind}
    write_json(folder / "participants.json", notes)


def write_rows(path: Path, shape: tuple[int, ...], read: Callable[[slice], NDArray], size: int = 512) -> None:
    """Write a float32 .npy file of this shape, ``size`` rows at a time, from a function that reads a slice of rows."""
    # Plain writing rather than a memory map: a full disk is then an error, not the end of the process.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for rows in slices(shape[0], size):
            file.write(np.ascontiguousarray(read(rows), dtype="<f4").data)


@contextmanager
def new_folder(path: str | Path, force: bool = False) -> Iterator[Path]:
    """A folder that appears complete or not at all.

    Yields an empty folder beside ``path``; its files move into place when the block ends without an error. An existing folder
    is an error unless it is empty or ``force`` is given, in which case files of the same names are replaced and others left alone.

    Raises
    ------
    ConnectomeError
        If ``path`` is a file, or a folder with something in it and ``force`` is not given.
    """
    check_target(Path(path), force)
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.parent / f".{path.name[:100]}-{secrets.token_hex(6)}"
    staging.mkdir()
    try:
        yield staging
        if path.is_dir():
            _move_into(staging, path)
        else:
            staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into(staging: Path, path: Path) -> None:
    """Move everything from one folder into another; what is in its way comes back if anything fails."""
    replaced = staging / ".replaced"
    replaced.mkdir()
    moved: list[str] = []
    try:
        for name in sorted(entry.name for entry in staging.iterdir() if entry != replaced):
            if (path / name).exists():
                os.replace(path / name, replaced / name)
            moved.append(name)
            os.replace(staging / name, path / name)
    except BaseException:
        for name in moved:
            if (path / name).exists() and not (staging / name).exists():
                os.replace(path / name, staging / name)
        for entry in replaced.iterdir():
            os.replace(entry, path / entry.name)
        raise


def check_target(path: Path, force: bool = False) -> None:
    """Refuse an output folder that exists and is not empty, unless ``force``; a file in its place; or a place without permission."""
    if path.exists() and not path.is_dir():
        raise ConnectomeError(f"{path} is a file; name a folder to write to")
    if path.is_dir() and not force and any(path.iterdir()):
        raise ConnectomeError(f"{path} exists; choose another folder, or replace its files with --force (force=True)")
    _check_place(path, path if path.is_dir() else _nearest(path))


def check_file(path: Path, force: bool = False) -> None:
    """Refuse an output file that exists, unless ``force``; a folder in its place; or a place without permission."""
    if path.is_dir():
        raise ConnectomeError(f"{path} is a folder; name a file to write to")
    if path.exists() and not force:
        raise ConnectomeError(f"{path} exists; choose another file, or replace it with --force (force=True)")
    _check_place(path, _nearest(path))


def _nearest(path: Path) -> Path:
    """The innermost folder above a path that exists, or the file that is in its place."""
    return next(parent for parent in path.absolute().parents if parent.exists())


def _check_place(path: Path, there: Path) -> None:
    if not there.is_dir():
        raise ConnectomeError(f"{path} cannot be made, since {there} is a file; name another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConnectomeError(f"{path} cannot be written: there is no permission to write to {there}; name another one")

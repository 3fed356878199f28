"""Connectomes from files: one module a format, and the two functions that read and convert whole cohorts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.matrices import recognise_matrices
from connectome_gnn.readers.reading import Reading

__all__ = ["FORMATS", "convert_cohort", "read_cohort"]


def _recognise_native(source: Path) -> str | None:
    return "a folder with connectomes.npy" if source.is_dir() and (source / "connectomes.npy").is_file() else None


FORMATS: dict[str, Callable[[Path], str | None]] = {"native": _recognise_native, "matrices": recognise_matrices}
"""Formats that can be read, and for each a function that says why a path looks like it, or None."""


def read_cohort(
    source: str | Path,
    format: str | None = None,
    *,
    participants: pd.DataFrame | str | Path | None = None,
    atlas: Atlas | str | Path | None = None,
    measure: str | None = None,
    signed: bool | None = None,
    name: str | None = None,
    pattern: str | None = None,
    strict: bool = True,
) -> Cohort:
    """Read a cohort into memory.

    Parameters
    ----------
    source : a native cohort folder; a folder of matrices (.npy, .csv, .tsv, .txt), one a person; an .npy of shape (N, R, R) or (N, E),
        whose rows are those of the participants table; or one person's matrix.
    format : ``"native"`` or ``"matrices"``; default: what the source looks like.
    participants : participants table (BIDS), or its file; default ``participants.tsv`` in the source folder. The cohort is in its order.
    atlas : the atlas, or its table; default ``atlas.tsv`` in the source folder. The number of regions alone never decides it.
    measure : what a weight is (``"streamline_count"``, ``"mean_fa"``, ``"pearson"``, ...); needed for matrices.
    signed : True for correlations, False for non-negative weights; default by ``measure``.
    name : name of the cohort; default the source's.
    pattern : path of a person's file inside the source folder, as ``"{participant_id}/dwi/*_connectome.csv"``; default: any file,
        named by the participant.
    strict : whether a person who is only in the table or only among the files, or whose connectome cannot be used, is an error;
        otherwise such people are left out, and a warning lists them.

    Returns
    -------
    cohort : Cohort with float32 weights (N, E).

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If a file is missing or does not hold what it should; the sentence names the file and the regions.

    Warns
    -----
    ConnectomeWarning
        For self-loops that were dropped, matrices with one triangle that were mirrored, empty connectomes, and people left out.

    See Also
    --------
    convert_cohort : the same, written straight to disk.
    """
    source = Path(source)
    if _format_of(source, format, pattern) == "native":
        return _load_native(source, name, participants=participants, atlas=atlas, measure=measure, signed=signed, pattern=pattern)
    reading = Reading.open(source, participants, atlas, measure, signed, pattern, strict)
    weights = np.empty((len(reading.rows), reading.atlas.n_edges), np.float32)
    n_people = reading.fill(weights, strict)
    return reading.cohort(weights[:n_people], name or source.stem)


def convert_cohort(
    source: str | Path,
    out: str | Path,
    format: str | None = None,
    *,
    participants: pd.DataFrame | str | Path | None = None,
    atlas: Atlas | str | Path | None = None,
    measure: str | None = None,
    signed: bool | None = None,
    name: str | None = None,
    pattern: str | None = None,
    strict: bool = True,
    force: bool = False,
) -> Cohort:
    """Read a cohort straight into a native folder, person by person, so that memory does not grow with the number of people.

    Parameters
    ----------
    source, format, participants, atlas, measure, signed, name, pattern, strict : as for :func:`read_cohort`.
    out : the native folder; it appears complete or not at all.
    force : whether to replace the files of a folder that exists.

    Returns
    -------
    cohort : the native folder, loaded (memory-mapped).
    """
    source, out = Path(source), Path(out)
    native.check_target(out, force)
    if _format_of(source, format, pattern) == "native":
        _load_native(source, name, participants=participants, atlas=atlas, measure=measure, signed=signed, pattern=pattern).save(out, force)
        return Cohort.load(out, check=False)
    reading = Reading.open(source, participants, atlas, measure, signed, pattern, strict)
    with native.new_folder(out, force) as folder:
        file = folder / "connectomes.npy"
        weights = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(reading.rows), reading.atlas.n_edges))
        n_people = reading.fill(weights, strict)
        if n_people < len(weights):  # an .npy file says its number of rows at its beginning: write the people who are left anew
            part = folder / "part.npy"
            native.write_rows(part, (n_people, weights.shape[1]), lambda rows: weights[rows])
            part.replace(file)
        else:
            weights.flush()
        reading.cohort(weights[:n_people], name or source.stem).write_tables(folder)
    return Cohort.load(out, check=False)


def _format_of(source: Path, format: str | None, pattern: str | None) -> str:
    if format is not None and format not in FORMATS:
        raise ConnectomeError(f"expected a format among {', '.join(FORMATS)}, got {format!r}")
    if not source.exists():
        raise FileNotFoundError(f"nothing at {source}; expected a cohort folder, a folder of matrices or an .npy file")
    if format is not None:
        return format
    reasons = {name: reason for name, recognise in FORMATS.items() if (reason := recognise(source))}
    if "native" in reasons:  # its connectomes.npy is a stack of edges too, with less around it
        return "native"
    if len(reasons) == 1:
        return next(iter(reasons))
    if pattern is not None and source.is_dir() and not reasons:  # people's files lie deeper than anything looks by itself
        return "matrices"
    if reasons:
        raise ConnectomeError(f"{source} could be {' or '.join(f'{n} ({r})' for n, r in reasons.items())}; say which by format (--format)")
    raise ConnectomeError(f"{source} holds nothing that can be read; expected a native cohort folder, or .npy, .csv, .tsv or .txt matrices")


def _load_native(source: Path, name: str | None, **given: object) -> Cohort:
    extra = [key for key, value in given.items() if value is not None]
    if extra:
        raise ConnectomeError(
            f"{source} is a native cohort folder, which brings its own {', '.join(extra)}; leave {'it' if len(extra) == 1 else 'them'} out"
        )
    cohort = Cohort.load(source)
    cohort.name = name or cohort.name
    return cohort

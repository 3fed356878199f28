"""Open cohorts, downloaded from their public repositories once, checked, and read into native folders.

Nothing of them is in the package: only names of files, and checksums of those that were checked.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.datasets.cohorts import COHORTS, OpenCohort
from connectome_gnn.datasets.download import Downloads, ready_folder
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import check_target
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.reading import Options, Reading
from connectome_gnn.readers.source import RawConnectome

__all__ = ["COHORTS", "fetch"]

_said: set[str] = set()
"""Cohorts whose licence and citation were printed already."""


def fetch(
    name: str,
    out: str | Path | None = None,
    *,
    people: Collection[str] | None = None,
    cache: str | Path | None = None,
    force: bool = False,
) -> Cohort:
    """An open cohort, downloaded where it is not yet on this machine.

    Every file that has arrived whole is kept, so that the same call goes on after an interruption. The environment variable
    ``CONNECTOME_GNN_DATA`` can name a folder that holds the cohort ready (``NAME/connectomes.npy``), or a mirror of the raw files (an
    ``http(s)://`` address, or a folder): the files of NAME are looked for below ``NAME/raw/`` there.

    Parameters
    ----------
    name : ``"ucl_parkinson"`` (134 people x 379 regions, Parkinson's disease; 310 MB to download), ``"lemon"`` (225 x 200, functional,
        57 phenotypes; 120 MB), ``"corr_kki"`` (337 x 70, four sites; 33 MB) or ``"abide"`` (820 x 200, functional, autism; 440 MB).
    out : native folder to write; default ``NAME`` in the cache, which later calls load.
    people : participant_ids to download, in the cohort's order; default everybody. Without ``out`` these stay in memory.
    cache : folder for what is downloaded; default ``pooch.os_cache("connectome_gnn")``.
    force : whether to replace the files of ``out`` where it exists.

    Returns
    -------
    cohort : its licence and whom to cite are in ``cohort.info``, and are printed once on standard error.

    Raises
    ------
    ConnectomeError
        If there is no such cohort or person, or a file cannot be reached, is missing, arrives in part, or is not the one that was
        checked.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> cohort = cg.datasets.fetch("corr_kki")  # doctest: +SKIP
    """
    if name not in COHORTS:
        raise ConnectomeError(f"no open cohort is named {name!r}; expected one of {', '.join(COHORTS)}")
    about = COHORTS[name]
    if out is not None:
        check_target(Path(out), force)
    _say(about)
    downloads = Downloads(name, cache)
    kept = downloads.folder / name
    ready = ready_folder(name) or (kept if (kept / "connectomes.npy").is_file() else None)
    if ready is not None:
        cohort = Cohort.load(ready)
        if people is not None:
            cohort = cohort.take(_rows(cohort.ids, people, about))
        if out is None:
            return cohort
    else:
        cohort = _read(about, downloads, people)
        if out is None and people is not None:
            return cohort
        out = kept if out is None else Path(out)
    cohort.save(out, force or Path(out) == kept)
    return Cohort.load(out, check=False)


def _say(about: OpenCohort) -> None:
    if about.name not in _said:
        _said.add(about.name)
        sys.stderr.write(f"{about.name}: {about.title}. Licence: {about.licence}. Please cite {about.cite}.\n")


def _rows(ids: pd.Index, people: Collection[str], about: OpenCohort) -> np.ndarray:
    wanted = {str(person) for person in people}
    absent = sorted(wanted - set(ids))
    if absent or not wanted:
        told = f"no {absent[0]!r} is" if absent else "nobody is asked for"
        raise ConnectomeError(f"{told} among the {len(ids)} people of {about.name} ({ids[0]!r}, {ids[1]!r}, ...)")
    return np.flatnonzero(ids.isin(wanted))


def _read(about: OpenCohort, downloads: Downloads, people: Collection[str] | None) -> Cohort:
    """The cohort from its raw files, downloaded where they are not at hand."""
    listed = about.people
    if people is not None and listed is not None:
        everybody = pd.Index(list(listed))
        listed = {person: listed[person] for person in everybody[_rows(everybody, people, about)]}
    tables = {raw.name: path for raw, path in downloads.all(about.tables(list(listed or [])), f"Downloading tables of {about.name}")}
    table, described = about.phenotypes(tables)
    if listed is not None:
        table = table.loc[list(listed)]
    elif people is not None:
        table = table.iloc[_rows(table.index, people, about)]
    wanted = [about.connectome(str(person)) for person in table.index]
    files = [path for _, path in downloads.all(wanted, f"Downloading {about.name}")]
    chosen = tuple(zip(table.index, files, strict=True))
    place = Place(downloads.raw_folder, chosen, about.raw.format("{participant_id}"))
    options = Options(
        about.format, (table, described), Atlas.load(about.atlas), about.measure, about.signed, name=about.name, first_index=about.first
    )
    reading = Reading.open(place, options)
    reading.source = replace(reading.source, read=_Scaled(reading.source.read, about.scale))
    with warnings.catch_warnings():
        # What the tool wrote on diagonals, and which triangle, is the same for everybody, and noted in cohort.json.
        warnings.filterwarnings("ignore", message=".*(self-loops|had one triangle filled)")
        cohort = reading.in_memory()
    _check_people(about, cohort)
    cohort.info |= about.info()
    return cohort


@dataclass(frozen=True)
class _Scaled:
    """Reads a person's file and multiplies its weights, before these are rounded to float32."""

    read: Any
    factor: float

    def __call__(self, item: Any) -> RawConnectome:
        raw: RawConnectome = self.read(item)
        return raw if self.factor == 1 else replace(raw, values=raw.values * self.factor)


def _check_people(about: OpenCohort, cohort: Cohort) -> None:
    """Compare everybody's weights with those that were checked."""
    for person, row in zip(cohort.ids, cohort.weights, strict=True):
        known = (about.people or {}).get(str(person))
        found = hashlib.sha256(row.astype(about.precision).tobytes()).hexdigest()
        if known is not None and not found.startswith(known):
            raise ConnectomeError(
                f"the connectome of {person!r} is not the one of {about.name} that was checked; remove its file "
                f"({about.connectome(str(person)).name}) from the cache or the mirror, and fetch the cohort again"
            )

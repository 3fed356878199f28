"""Folders that :func:`connectome_gnn.write_cohort` wrote: their tables say everything, so that the cohort comes back as it was."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort_folder import WRITTEN_AS, check_record
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.reading import Options
from connectome_gnn.tables import read_table, row_names
from connectome_gnn.writers.bids import ORIGINAL
from connectome_gnn.writers.names import name_of

__all__ = ["exported"]

READ_AS = {"csv": "matrices", "bids": "bids", "graphml": "graphml", "nilearn": "nilearn", "nilearn_vectors": "nilearn", "pyg": "pyg"}
"""The format that reads what a writer wrote."""
ENDINGS = {"csv": ".csv", "graphml": ".graphml"}
ARRAYS = {"nilearn": "matrices.npy", "nilearn_vectors": "vectors.npy"}
MATRIX = re.compile(r"(sub-[A-Za-z0-9]+)(?:_run-(\d+))?_.*_relmat\.dense\.tsv")


def exported(folder: Path, options: Options) -> tuple[Place, Options] | None:
    """Where a written folder's connectomes are, and what its tables say; None where the folder is none, or is to be read otherwise.

    What the user says (another table, atlas, measure or name) goes before what the folder says.

    Raises
    ------
    ConnectomeError
        If cohort.json names a format that is not known, or does not say the measure.
    """
    if not (folder / "cohort.json").is_file() or options.pattern is not None:
        return None
    record = native.read_json(folder / "cohort.json")
    if record.get(WRITTEN_AS) is None:
        return None
    written = str(record.pop(WRITTEN_AS))
    if options.format is not None and options.format != READ_AS.get(written):
        return None
    if written not in READ_AS:
        raise ConnectomeError(f"{folder / 'cohort.json'} says {WRITTEN_AS!r} {written!r}; expected one of {', '.join(READ_AS)}")
    check_record(record, folder / "cohort.json")
    table, described = native.read_participants(folder / "participants.tsv")
    atlas = Atlas.load(folder / "atlas.tsv", name=str(record.get("atlas", "")))
    if written == "bids" and ORIGINAL in table:
        # as text: a column that is read as codes would take '1.0' for '1'
        table[ORIGINAL] = read_table(folder / "participants.tsv", "the participants of a BIDS dataset")[ORIGINAL].tolist()
    place = _place(folder, written, table)
    if written == "bids" and ORIGINAL in table:
        table = table.set_axis(pd.Index(table.pop(ORIGINAL), name="participant_id", dtype=object), axis=0)
        described.pop(ORIGINAL, None)
    filled = replace(
        options,
        format=READ_AS[written],
        participants=(table, described) if options.participants is None else options.participants,
        atlas=atlas if options.atlas is None else options.atlas,
        measure=options.measure or record["measure"],
        signed=record["signed"] if options.signed is None else options.signed,
        name=options.name or str(record.get("name", folder.name)),
        record=record,
    )
    return place, filled


def _place(folder: Path, written: str, table: pd.DataFrame) -> Place:
    """The files, and whose each is."""
    if written in ARRAYS:
        return Place.find(folder / ARRAYS[written])
    if written == "pyg":
        return Place.find(folder)
    chosen: list[tuple[str | None, Path]] = []
    if written == "bids":
        own = dict(zip(row_names(table), row_names(_original(table)), strict=True))
        for path in sorted(folder.rglob("sub-*_relmat.dense.tsv")):
            match = MATRIX.fullmatch(path.name)
            if match is not None:
                name = match[1] if match[2] is None else f"{match[1]}_sample-{int(match[2]) - 1}"
                chosen.append((own.get(name, name), path))
    else:
        ending = ENDINGS[written]
        chosen = [(name_of(path.name.removesuffix(ending)), path) for path in sorted(folder.glob(f"*{ending}"))]
    if not chosen:
        raise ConnectomeError(f"{folder} holds no connectome; expected those that its cohort.json says ({WRITTEN_AS} {written!r})")
    return Place(folder, tuple(chosen), str(folder))


def _original(table: pd.DataFrame) -> pd.DataFrame:
    """A BIDS table under the cohort's own ids."""
    return table.set_axis(table[ORIGINAL], axis=0) if ORIGINAL in table else table

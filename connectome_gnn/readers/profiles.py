"""Profiles of people to generate: a table, or a cohort folder's, read as a model's schema says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import read_participants
from connectome_gnn.phenotypes import PhenotypeSchema

__all__ = ["read_profiles"]


def read_profiles(source: str | Path, schema: PhenotypeSchema, atlas: Atlas) -> pd.DataFrame:
    """Read the people a model is asked for.

    Parameters
    ----------
    source : a participants table (BIDS), or a native cohort folder whose table is meant.
    schema : the model's phenotypes, which decide what is a number and what a level.
    atlas : the model's atlas; a cohort folder must have the same.

    Returns
    -------
    table : (N, P) indexed by participant_id, in the file's order; columns that the model does not know are kept.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the table is missing, empty or malformed, lacks a phenotype of the model, holds text where numbers are expected or an
        unknown level, or the cohort folder has another atlas than the model; the sentence names the file.
    """
    path = Path(source)
    if path.is_dir():
        if (path / "atlas.tsv").is_file():
            match = atlas.match(Atlas.load(path / "atlas.tsv"))
            if not match.same:
                raise ConnectomeError(
                    f"{path / 'atlas.tsv'} is of another atlas than the model's {atlas.name!r}: {match.describe()}; "
                    f"to generate its people on the model's atlas all the same, name {path / 'participants.tsv'}"
                )
        path = path / "participants.tsv"
    notes = {p.name: {"Kind": p.kind, **({"Levels": dict(p.levels)} if p.levels else {"Units": p.units})} for p in schema.phenotypes}
    table, _ = read_participants(path, notes)
    absent = [name for name in schema.names if name not in table]
    if absent:
        raise ConnectomeError(
            f"{path} lacks {', '.join(map(repr, absent))}, which the model was fitted with; give every column, n/a where unknown"
        )
    for phenotype in schema.phenotypes:
        try:
            phenotype.positions(table[phenotype.name])
        except ConnectomeError as error:
            raise ConnectomeError(f"{path}: {error}") from error
    return table

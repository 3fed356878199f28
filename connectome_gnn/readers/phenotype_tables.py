"""The tables of a BIDS folder ``phenotype/``: one a questionnaire or instrument, beside participants.tsv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from connectome_gnn.native import read_participants
from connectome_gnn.tables import read_table

__all__ = ["join_phenotypes"]


def join_phenotypes(table: pd.DataFrame, described: dict[str, Any], folder: Path) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """A participants table with the columns of ``phenotype/*.tsv``, by participant_id.

    Parameters
    ----------
    table, described : participants.tsv and its descriptions; neither is changed.
    folder : the folder ``phenotype``.

    Returns
    -------
    table : all its people and no others; a column that another table has too is named ``<file>_<column>``.
    described : descriptions of all columns; their Group, where none is given, is the file's name.
    notes : which tables were left out, and why.

    Raises
    ------
    ConnectomeError
        If a table is malformed.
    """
    described, notes = dict(described), []
    for path in sorted(folder.glob("*.tsv")):
        people = read_table(path, "a table of a questionnaire with a column participant_id").get("participant_id", pd.Series(dtype=object))
        if people.duplicated().any():
            notes.append(f"{path} lists people more than once, and is left out; put the visit that is meant into participants.tsv")
            continue
        found, said = read_participants(path)
        for column in found:
            name = str(column) if column not in table else f"{path.stem}_{column}"
            table = table.assign(**{name: found[column].reindex(table.index)})
            described[name] = {"Group": path.stem, **said.get(str(column), {})}
    return table, described, notes

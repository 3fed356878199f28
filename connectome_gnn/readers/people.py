"""Who a cohort's people are: the participants table on one side, the connectomes found on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import read_participants
from connectome_gnn.tables import people_table

__all__ = ["SHOWN", "Participants", "listed"]

SHOWN = 5
"""Names that a message lists before it says that there are more."""


class Participants:
    """A participants table and the place it came from.

    Parameters
    ----------
    table : people indexed by participant_id (text), or a file to read, or None where nothing is known of the people.

    Attributes
    ----------
    table : DataFrame indexed by participant_id, or None.
    described : what is known of each column (``participants.json``).
    where : the place, to begin a message with.
    """

    def __init__(self, table: pd.DataFrame | str | Path | None) -> None:
        self.table: pd.DataFrame | None = None
        self.described: dict[str, Any] = {}
        self.where = "the participants table"
        if isinstance(table, pd.DataFrame):
            self.table = people_table(table)
        elif table is not None:
            self.where = str(table)
            self.table, self.described = read_participants(table)
        if self.table is not None:
            twice = self.table.index[self.table.index.duplicated()]
            if len(twice):
                raise ConnectomeError(f"{self.where}: participant_id must be unique, {twice[0]!r} occurs more than once")

    def match(self, found: Sequence[str], what: str, hint: str, strict: bool) -> tuple[NDArray[np.intp], pd.DataFrame, dict[str, str]]:
        """Bring the table and the connectomes that were found together.

        Parameters
        ----------
        found : participant_id of every connectome, unique.
        what : where the connectomes are, for messages.
        hint : what to do when they do not fit together.
        strict : whether people who are only on one side are an error; otherwise they are left out.

        Returns
        -------
        rows : (N,) position in ``found`` of every person, in the table's order (without a table in the order found).
        table : (N, P) the table of these people.
        left_out : why, for each person left out.
        """
        if self.table is None:
            index = pd.Index(list(found), name="participant_id", dtype=object)
            return np.arange(len(found)), pd.DataFrame(index=index), {}
        place = {participant: row for row, participant in enumerate(found)}
        without = [i for i in self.table.index if i not in place]
        unknown = [i for i in found if i not in self.table.index]
        parts = []
        if without:
            parts.append(
                f"{len(without)} of {len(self.table)} participants of {self.where} have no connectome in {what} ({listed(without)})"
            )
        if unknown:
            parts.append(f"{len(unknown)} of {len(found)} connectomes in {what} have no row in {self.where} ({listed(unknown)})")
        kept = self.table[[i in place for i in self.table.index]]
        if parts and (strict or len(kept) == 0):
            raise ConnectomeError("; ".join(parts) + f"; {hint}")
        left_out = dict.fromkeys(without, "no connectome") | dict.fromkeys(unknown, "no row in the participants table")
        return np.array([place[i] for i in kept.index], dtype=np.intp), kept, left_out


def listed(names: Iterable[str]) -> str:
    """The first names of many, quoted."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

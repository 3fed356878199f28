"""Who a cohort's people are: the participants table on one side, the connectomes found on the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import read_participants
from connectome_gnn.readers.phenotype_tables import join_phenotypes
from connectome_gnn.readers.ukb_phenotypes import is_ukb_table, read_ukb_phenotypes
from connectome_gnn.tables import people_table, row_names

__all__ = ["SHOWN", "Participants", "Table", "listed"]

Table: TypeAlias = pd.DataFrame | tuple[pd.DataFrame, Mapping[str, Any]] | str | Path
"""How a participants table is given: itself, with the descriptions of its columns, or its file."""

WORDS = re.compile(r"[^\W\d_]+|\d+|[\W_]+")
FEWEST_LETTERS = 3
"""Letters of an id that is looked for within one name alone; within several names, what they share tells more."""
SHOWN = 5
"""Names that a message lists before it says that there are more."""


class Participants:
    """A participants table and the place it came from.

    Parameters
    ----------
    table : people indexed by participant_id (text), perhaps with the descriptions of its columns, or a file to read (BIDS, with the
        tables of the folder ``phenotype`` beside it, or UK Biobank's), or None where nothing is known of the people.

    Attributes
    ----------
    table : DataFrame indexed by participant_id, or None.
    described : what is known of each column (``participants.json``).
    names : what a connectome of each row is named: participant_id, with ``_sample-<n>`` where the table has a column ``sample``.
    where : the place, to begin a message with.
    notes : what the user should know of the table.
    whole : whether the table is of a whole population (UK Biobank's), most of whom have no connectome.
    """

    def __init__(self, table: Table | None) -> None:
        self.table: pd.DataFrame | None = None
        self.described: dict[str, Any] = {}
        self.where = "the participants table"
        self.whole = False
        self.notes: list[str] = []
        if isinstance(table, tuple):
            self.table, self.described = people_table(table[0]), dict(table[1])
            self.whole = bool(self.table.attrs.get("whole_population"))
        elif isinstance(table, pd.DataFrame):
            self.table = people_table(table)
        elif table is not None and not isinstance(table, (str, Path)):
            raise ConnectomeError(f"expected participants as a table (pandas) or its file, got a {type(table).__name__}")
        elif table is not None:
            self.where = str(table)
            self.whole = is_ukb_table(Path(table))
            self.table, self.described = read_ukb_phenotypes(table) if self.whole else read_participants(table)
            beside = Path(table).parent / "phenotype"
            if Path(table).name == "participants.tsv" and beside.is_dir():
                self.table, self.described, self.notes = join_phenotypes(self.table, self.described, beside)
        self.names: tuple[str, ...] = ()
        if self.table is not None:
            self.names = tuple(row_names(self.table))
            twice = self.table.index[pd.Index(self.names).duplicated()]
            if len(twice):
                raise ConnectomeError(f"{self.where}: participant_id must be unique, {twice[0]!r} occurs more than once")

    def match(
        self, found: Sequence[str], what: str, hint: str, strict: bool
    ) -> tuple[NDArray[np.intp], pd.DataFrame, dict[str, str], list[str]]:
        """Bring the table and the connectomes that were found together.

        Ids that differ only by ``sub-`` or by zeros in front are the same person's where nobody else's could be meant, and so are ids
        within names that are otherwise alike (``fcm_sub_32301``, ``fcm_sub_32302``), with a note.

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
        notes : what the user should know.
        """
        if self.table is None:
            index = pd.Index(list(found), name="participant_id", dtype=object)
            return np.arange(len(found)), pd.DataFrame(index=index), {}, []
        rows_named = pd.Index(self.names, dtype=object)
        same = _same_people(rows_named, found)
        names = [same.get(name, name) for name in found]
        notes = list(self.notes)
        if same:
            first = next(iter(same))
            notes.append(f"{len(same)} people are named otherwise in {self.where} than in {what} ({first!r} is {same[first]!r})")
        place = {participant: row for row, participant in enumerate(names)}
        in_table = rows_named.isin(names)
        listed_ids = set(rows_named[in_table])
        without = list(rows_named[~in_table])
        unknown = [i for i in names if i not in listed_ids]
        if self.whole and without and in_table.any():
            notes.append(f"{len(without):,} of {len(self.table):,} people of {self.where} have no connectome, and are not in the cohort")
            without = []
        parts = []
        if without:
            parts.append(
                f"{len(without)} of {len(self.table)} participants of {self.where} have no connectome in {what} ({listed(without)})"
            )
        if unknown:
            parts.append(f"{len(unknown)} of {len(found)} connectomes in {what} have no row in {self.where} ({listed(unknown)})")
        kept = self.table[in_table]
        if parts and (strict or len(kept) == 0):
            raise ConnectomeError("; ".join(parts) + f"; {hint}")
        left_out = dict.fromkeys(without, "no connectome") | dict.fromkeys(unknown, "no row in the participants table")
        return np.array([place[i] for i in rows_named[in_table]], dtype=np.intp), kept, left_out, notes


def _same_people(table: Iterable[str], found: Sequence[str]) -> dict[str, str]:
    """For names found that are not the table's, the person of the table who must be meant.

    The same but for ``sub-`` and zeros in front, or, where no name is the table's, ids within names that are otherwise alike.
    """
    known = set(table)
    strangers = [name for name in found if name not in known]
    if not strangers:
        return {}
    free: dict[str, list[str]] = {}
    for name in known.difference(found):
        free.setdefault(_plain(name), []).append(name)
    same = _meant(strangers, strangers, free)
    return same or (_within(strangers, known, free) if len(strangers) == len(found) else {})


def _meant(names: Sequence[str], ids: Sequence[str], free: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The one person of the table whose id is the same but for ``sub-`` and zeros in front, of every name for which there is one."""
    meant: dict[str, list[str]] = {}
    for name, own in zip(names, ids, strict=True):
        meant.setdefault(_plain(own), []).append(name)
    return {of[0]: free[plain][0] for plain, of in meant.items() if len(of) == 1 and len(free.get(plain, ())) == 1}


def _within(names: Sequence[str], known: set[str], free: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """People of the table by the part in which all names differ; nobody where fewer than half are found, or it is not clear."""
    first = names[0]
    marks = sorted({place for match in WORDS.finditer(first) for place in match.span()})
    best: dict[str, str] = {}
    for start, end in combinations(marks, 2):
        before, after, person = first[:start], first[end:], first[start:end]
        if (person not in known and _plain(person) not in free) or (len(names) == 1 and len(person) < FEWEST_LETTERS):
            continue
        fitting = [name for name in names if name.startswith(before) and name.endswith(after) and len(name) > len(before + after)]
        ids = [name[len(before) : len(name) - len(after)] for name in fitting]
        exact = {name: own for name, own in zip(fitting, ids, strict=True) if own in known}
        same = exact if len(exact) == len(fitting) else _meant(fitting, ids, free)
        if len(fitting) < len(names) or 2 * len(same) < len(names):
            continue
        if best and best != same:
            return {}
        best = same
    return best


def _plain(name: str) -> str:
    return re.sub(r"^(?:sub-)?0*(?=.)", "", name)


def listed(names: Iterable[str]) -> str:
    """The first names of many, quoted."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

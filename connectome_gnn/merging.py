"""Two cohorts as one: the same regions, the same measure, different people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from connectome_gnn.columns import described_as, described_levels, level_text, listed, numeric_column
from connectome_gnn.derived import Joined
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import KEY_COLUMNS
from connectome_gnn.processing import check_same_scale
from connectome_gnn.regions import reorder

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["merge"]

LICENCES = ("licence", "license")
BY_PERSON = ("reading", "left_out")
"""Entries of cohort.json that name people, who are different in both cohorts."""


def merge(one: Cohort, other: Cohort, column: str | None = None) -> Cohort:
    """Put the people of two cohorts together.

    Parameters
    ----------
    one, other : cohorts of different people with the same regions, in any order, and weights on the same scale.
    column : name of a new column that says which cohort a person comes from, by the cohorts' names; default none.

    Returns
    -------
    cohort : Cohort on the first one's atlas, the first one's people first, its weights read from both. Columns are joined by name, n/a
        where a cohort has none. What ``cohort.json`` says alike is kept, licences that differ are both named, the rest is under ``merged``,
        a cohort an entry. Values of ``family_id`` that both have are taken for the same family.

    Raises
    ------
    ConnectomeError
        If a region is missing or extra, the measure, the scale or the kind differs, a participant_id is in both, a column is numbers in one
        and levels in the other, or its units or the meaning of a level differ.
    """
    check_same_scale(one, other)
    if one.kind != other.kind:
        raise ConnectomeError(f"cohort {one.name!r} holds {one.kind} connectomes, cohort {other.name!r} {other.kind}; merge them apart")
    if not one.atlas.match(other.atlas).same or one.atlas != other.atlas:
        other = reorder(other, one.atlas)
    both = one.ids.unique()[one.ids.unique().isin(other.ids)]
    if len(both):
        raise ConnectomeError(
            f"{len(both)} participants are in cohort {one.name!r} and in {other.name!r} ({listed(both, 3)}); take them out of one, or "
            "rename them"
        )
    described = _descriptions(one, other)
    table = _table(one, other, described)
    if column is not None:
        if column in table or column == "participant_id":
            raise ConnectomeError(f"both cohorts cannot be named in a column {column!r}, which exists; choose another name")
        if one.name == other.name:
            raise ConnectomeError(
                f"both cohorts are named {one.name!r}, so that a column cannot tell them apart; give one another name first"
            )
        table[column] = np.repeat([one.name, other.name], [len(one), len(other)])
        described[column] = {
            "Description": "cohort that the person comes from",
            "Levels": {one.name: one.name, other.name: other.name},
            "Group": "site",
        }
    return type(one)(
        Joined(one, other),
        table,
        one.atlas,
        measure=one.measure,
        signed=one.signed,
        name=f"{one.name} + {other.name}",
        kind=one.kind,
        described=described,
        info=_info(one, other),
        check=False,
    )


def _descriptions(one: Cohort, other: Cohort) -> dict[str, Any]:
    """What is known of each column of either cohort; refuses what cannot be joined."""
    described: dict[str, Any] = {**other.described, **one.described}
    for name in one.described.keys() & other.described.keys():
        first, second = one.described[name], other.described[name]
        where = f"column {name!r} of cohorts {one.name!r} and {other.name!r}"
        kinds = {described_as(name, note) for note in (first, second)} - {None}
        if len(kinds) > 1:
            raise ConnectomeError(f"{where}: its description says numbers in one and levels in the other; correct one")
        for key in ("Units", "Kind"):
            told = {str(note[key]) for note in (first, second) if note.get(key) not in (None, "", "n/a")}
            if len(told) > 1:
                raise ConnectomeError(f"{where}: {key} are {' and '.join(map(repr, sorted(told)))}; bring one to the other's first")
        levels = described_levels(name, first)
        for code, meaning in described_levels(name, second).items():
            if levels.setdefault(code, meaning) != meaning:
                raise ConnectomeError(f"{where}: level {code!r} means {levels[code]!r} in one and {meaning!r} in the other; recode one")
        described[name] = {**second, **first, **({"Levels": levels} if levels else {})}
    return described


def _table(one: Cohort, other: Cohort, described: Mapping[str, Any]) -> pd.DataFrame:
    """The people of both, columns in the first one's order, then those only the second has."""
    names = [*one.phenotypes, *(name for name in other.phenotypes if name not in one.phenotypes)]
    tables = [part.phenotypes for part in (one, other)]
    if "sample" in names:
        tables = [table if "sample" in table else table.assign(sample=0) for table in tables]
    columns = {name: _column(name, one, other, tables, described.get(name, {})) for name in names}
    index = pd.Index([*one.ids, *other.ids], name="participant_id", dtype=object)
    return pd.DataFrame({name: column.to_numpy() for name, column in columns.items()}, index=index)


def _column(name: str, one: Cohort, other: Cohort, tables: list[pd.DataFrame], note: Mapping[str, Any]) -> pd.Series:
    parts = [table.get(name) for table in tables]
    kind = None if name in KEY_COLUMNS else described_as(name, note)
    known = [part for part in parts if part is not None]
    if len(known) == 2 and kind is None:
        numeric = [bool(pd.api.types.is_numeric_dtype(part.dtype) or part.isna().all()) for part in known]
        if numeric[0] != numeric[1] and name not in ("session_id", "family_id"):
            raise ConnectomeError(
                f"column {name!r} is numbers in cohort {(one, other)[numeric.index(True)].name!r} and text in "
                f"{(one, other)[numeric.index(False)].name!r}; describe it (Units or Levels) or correct one"
            )
    filled = []
    for part, cohort in zip(parts, (one, other), strict=True):
        if part is None:
            filled.append(pd.Series([None] * len(cohort), dtype=object))
        elif kind == "levels":
            filled.append(part.astype(object).map(level_text, na_action="ignore"))
        elif kind == "numbers":
            filled.append(pd.Series(numeric_column(part, note.get("Units"), f"cohort {cohort.name!r}")))
        else:
            filled.append(part.astype(object))
    joined = pd.concat(filled, ignore_index=True)
    values = [None if missing else value for value, missing in zip(joined, joined.isna(), strict=True)]
    return pd.Series(values, dtype=object if kind == "levels" else None)


def _info(one: Cohort, other: Cohort) -> dict[str, Any]:
    """The fields of cohort.json: what both say alike, what names people, both licences, and the rest a cohort an entry."""
    alike = {key: value for key, value in one.info.items() if key in other.info and other.info[key] == value}
    for key in BY_PERSON:
        if key not in alike and (key in one.info or key in other.info):
            alike[key] = _united(one.info.get(key, {}), other.info.get(key, {}))
    licences = [next((part.info[key] for key in LICENCES if key in part.info), "not stated") for part in (one, other)]
    if licences[0] != licences[1]:
        alike["licence"] = f"{one.name}: {licences[0]}; {other.name}: {licences[1]}"
    rest: list[Any] = []
    for part in (one, other):
        before = part.info.get("merged")
        own = {key: value for key, value in part.info.items() if key not in alike and key != "merged"}
        rest += before if isinstance(before, list) else [{"name": part.name, "n_people": int(part.ids.nunique()), **own}]
    return {**alike, "merged": rest}


def _united(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of two records, those of the same name joined where they are records themselves."""
    united = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], Mapping) and isinstance(second[key], Mapping):
            united[key] = {**first[key], **second[key]}
    return united

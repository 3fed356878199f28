"""Phenotypes of a private cohort: what is publicly known of each column, and the statistics of people released with noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.columns import described_as, described_levels, level_text, listed, parsed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.privacy import Ledger
from connectome_gnn.phenotypes import KEY_COLUMNS, Phenotype, PhenotypeSchema

__all__ = ["bounded_table", "profile_moments", "public_schema", "released_schema"]

LEAST_SHARE = 0.01
"""Shares of levels and people are kept at least this far from 0 and 1: whether anybody at all had a level is not told."""
USUAL_SPREAD = 1 / 3
"""Standard deviation, in half ranges, that a number is taken to have where the noise says nothing better."""
LEAST_SPREAD = 0.05


def public_schema(
    columns: Sequence[str], described: Mapping[str, Mapping[str, Any]], bounds: Mapping[str, Any] | None = None
) -> PhenotypeSchema:
    """Kinds, levels and ranges of columns, from what is publicly known alone; nobody's values are looked at.

    Parameters
    ----------
    columns : names of the participants table's columns.
    described : ``participants.json``; Levels, or Minimum and Maximum (or Range), beside Units, Group, Kind.
    bounds : by column, range or levels, before what ``described`` says; None leaves a column out.

    Raises
    ------
    ConnectomeError
        If a column's range or levels are not known, make no sense, or a bound is for no column; names them.
    """
    bounds = dict(bounds or {})
    named = [str(name) for name in columns if str(name) not in KEY_COLUMNS]
    strangers = [name for name in bounds if name not in named]
    if strangers:
        raise ConnectomeError(f"bounds for {listed(strangers)}, which the participants table lacks; its phenotypes are {listed(named)}")
    phenotypes, unknown = [], []
    for name in named:
        if name in bounds and bounds[name] is None:
            continue
        note = described.get(name, {})
        known = _range_or_levels(name, note, bounds.get(name))
        if known is None:
            unknown.append(name)
        else:
            phenotypes.append(_phenotype(name, note, known))
    if unknown:
        raise ConnectomeError(
            f"a private model must not read ranges and levels off its people, and nothing says them publicly for {listed(unknown, 30)}; "
            "give bounds={'age': (45, 82), 'sex': ['F', 'M']}, or Minimum and Maximum, or Levels, in participants.json "
            "(None in bounds leaves a column out)"
        )
    if not phenotypes:
        raise ConnectomeError("no phenotypes are left; a generator needs at least one column")
    return PhenotypeSchema(tuple(phenotypes))


def _range_or_levels(name: str, note: Mapping[str, Any], bound: Any) -> tuple[float, float] | dict[str, str] | None:
    said = described_as(name, note)
    if bound is not None:
        if isinstance(bound, (str, bytes)) or not isinstance(bound, (Sequence, Mapping, np.ndarray)):
            raise ConnectomeError(f"bounds of {name!r} are a range (low, high) or a list of levels, got {bound!r}")
        if isinstance(bound, Mapping) or said == "levels" or len(bound) != 2 or any(isinstance(value, (str, bool)) for value in bound):
            return described_levels(name, {"Levels": bound if isinstance(bound, Mapping) else list(bound)})
        return _range(name, bound[0], bound[1])
    if said == "levels":
        return described_levels(name, note) or None
    ends = note.get("Range") or (note.get("Minimum"), note.get("Maximum"))
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2 or any(end is None for end in ends):
        return None
    return _range(name, ends[0], ends[1])


def _range(name: str, low: Any, high: Any) -> tuple[float, float]:
    try:
        ends = float(low), float(high)
    except (TypeError, ValueError):
        ends = np.nan, np.nan
    if not (np.isfinite(ends).all() and ends[0] < ends[1]):
        raise ConnectomeError(f"the range of {name!r} is two finite numbers, the smaller first, got {low!r} and {high!r}")
    return ends


def _phenotype(name: str, note: Mapping[str, Any], known: tuple[float, float] | dict[str, str]) -> Phenotype:
    units = note.get("Units")
    shared: dict[str, Any] = {
        "group": str(note.get("Group") or "other"),
        "units": None if units in (None, "", "n/a") else str(units),
        "description": str(note.get("Description") or ""),
    }
    if isinstance(known, tuple):
        return Phenotype(name, "continuous", low=known[0], high=known[1], **shared)
    kind = note.get("Kind")
    if kind not in ("ordinal", "categorical") or (kind == "categorical" and len(known) <= 2):
        kind = "binary" if len(known) <= 2 else "categorical"
    return Phenotype(name, str(kind), levels=known, **shared)


def bounded_table(schema: PhenotypeSchema, table: pd.DataFrame) -> pd.DataFrame:
    """The schema's columns of any table whatever: numbers within their ranges, known levels, everything else missing."""
    columns = {}
    for phenotype in schema.phenotypes:
        column = table[phenotype.name]
        if phenotype.kind == "continuous":
            columns[phenotype.name] = np.clip(parsed(column), phenotype.low, phenotype.high)
        else:
            known = {code: code for code in phenotype.codes}
            if known.keys() <= {"0", "1"}:
                known |= {truth: code for truth, code in (("False", "0"), ("True", "1")) if code in known}
            columns[phenotype.name] = np.array([known.get(level_text(v)) if pd.notna(v) else None for v in column], object)
    return pd.DataFrame(columns, index=table.index)


def _unit_columns(schema: PhenotypeSchema, table: pd.DataFrame) -> list[NDArray[np.float64]]:
    """Every phenotype's encoded columns (N, c) within [-1, 1] (levels of a categorical one: 0 or 1), NaN = missing."""
    units = []
    for phenotype in schema.phenotypes:
        raw = phenotype.raw(table[phenotype.name])
        if phenotype.kind != "categorical":
            low, high = _ends(phenotype)
            raw = (2 * raw - low - high) / (high - low)
        units.append(raw)
    return units


def _ends(phenotype: Phenotype) -> tuple[float, float]:
    """Range of an encoded column: of the number, or of the levels' positions."""
    if phenotype.kind == "continuous":
        return float(phenotype.low or 0), float(phenotype.high or 0)
    return 0.0, float(max(len(phenotype.codes) - 1, 1))


def profile_moments(schema: PhenotypeSchema, table: pd.DataFrame, weight: NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], float]:
    """For each phenotype, sums over people: present, u, u^2 of its columns within [-1, 1].

    Parameters
    ----------
    table : as :func:`bounded_table` gives it.
    weight : (N,) weight of each row; the rows of a unit weigh 1 together.

    Returns
    -------
    sums : (1 + 2 columns,) for each phenotype.
    sensitivity : largest L2 distance that one unit in place of another makes.
    """
    sums, radius = [], 0.0
    for raw in _unit_columns(schema, table):
        present = ~np.isnan(raw[:, :1])
        known = np.nan_to_num(raw)
        sums.append((weight[:, None] * np.concatenate([present, known, known**2], 1)).sum(0))
        # Around (1/2, 0, 1/2) a number's row lies within sqrt(1/4 + 1 + 1/4); of several levels, one at most is not 0.
        radius += 1.5 if raw.shape[1] == 1 else 2.25
    return sums, 2 * float(np.sqrt(radius))


def released_schema(
    schema: PhenotypeSchema, table: pd.DataFrame, weight: NDArray[np.float64], ledger: Ledger, share: float
) -> PhenotypeSchema:
    """The schema with noisy means, spreads and shares of missing values; ranges stay the public ones."""
    sums, sensitivity = profile_moments(schema, table, weight)
    noisy, sd = ledger.release("means and spreads of phenotypes", np.concatenate(sums), sensitivity, share)
    n, place, phenotypes = float(round(weight.sum())), 0, []
    for phenotype, exact in zip(schema.phenotypes, sums, strict=True):
        part = noisy[place : place + len(exact)]
        place += len(exact)
        present, columns = float(np.clip(part[0], LEAST_SHARE * n, n)), (len(exact) - 1) // 2
        first, second = part[1 : 1 + columns] / present, part[1 + columns :] / present
        if phenotype.kind == "categorical":
            mean = np.clip(first, LEAST_SHARE, 1 - LEAST_SHARE)
            scale = np.sqrt(mean * (1 - mean))
        else:
            mean = np.clip(first, -1 + 2 * LEAST_SHARE, 1 - 2 * LEAST_SHARE)
            trust = 1 / (1 + (sd / present / USUAL_SPREAD**2) ** 2)
            usual = 1 - mean**2 if phenotype.kind == "binary" else np.full(1, USUAL_SPREAD**2)
            variance = usual if phenotype.kind == "binary" else trust * np.clip(second - mean**2, 0, 1) + (1 - trust) * usual
            scale = np.maximum(np.sqrt(variance), LEAST_SPREAD)
            low, high = _ends(phenotype)
            mean, scale = (low + high + mean * (high - low)) / 2, scale * (high - low) / 2
        phenotypes.append(
            replace(
                phenotype,
                mean=tuple(map(float, mean)),
                scale=tuple(map(float, scale)),
                missing=float(np.clip(1 - part[0] / n, 0, 1)),
            )
        )
    return PhenotypeSchema(tuple(phenotypes))

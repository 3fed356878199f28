"""Phenotypes of people: what kind each is, what training people looked like, and how a profile becomes numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype

from connectome_gnn.columns import (
    KINDS,
    described_as,
    described_levels,
    found_levels,
    inferred_kind,
    is_free_text,
    level_text,
    listed,
    numeric_column,
)
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning

__all__ = [
    "KEY_COLUMNS",
    "KINDS",
    "Encoded",
    "Phenotype",
    "PhenotypeSchema",
]

KEY_COLUMNS = ("participant_id", "sample", "session_id", "family_id", "extrapolated")
"""Columns of a participants table that identify rows or people and are never phenotypes."""

RARE = 0.05
"""Levels that fewer people have, or lack, take no part in the Mahalanobis distance: standardised, they have no Gaussian tail."""


@dataclass(frozen=True)
class Phenotype:
    """One phenotype as it was in training people.

    Parameters
    ----------
    name : column of the participants table.
    kind : ``"continuous"``, ``"binary"``, ``"categorical"`` or ``"ordinal"``.
    group : the group it belongs to (age_sex, body, cognition, lifestyle, clinical, psychology, site, ...).
    units : unit of a continuous phenotype, where known.
    levels : codes (text) and meanings of the other kinds, in order; None or empty for a continuous phenotype.
    description : what it is, in words.
    mean, scale : mean and standard deviation of each encoded column in training people (a column per level of a
        categorical phenotype, one otherwise); scale 0 where constant.
    low, high : smallest and largest training value of a continuous phenotype.
    missing : share of training people without a value.
    """

    name: str
    kind: str
    group: str = "other"
    units: str | None = None
    levels: Mapping[str, str] | None = None
    description: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    missing: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConnectomeError(f"phenotype {self.name!r}: a kind is one of {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the levels, in order."""
        return tuple(self.levels or ())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(f"{self.name}={code}" for code in self.codes) if self.kind == "categorical" else (self.name,)

    @property
    def constant(self) -> bool:
        """Whether training people did not differ."""
        return not any(self.scale)

    def positions(self, column: pd.Series) -> NDArray[np.float64]:
        """A table's column as numbers (N,): the value itself, or the position of its level; NaN = missing.

        Raises
        ------
        ConnectomeError
            If a numeric phenotype holds text, or another kind holds a level that the schema does not know.
        """
        if self.kind == "continuous":
            return numeric_column(column, self.units)
        position = {code: number for number, code in enumerate(self.codes)}
        present = ~column.isna().to_numpy()
        known = column[present]
        # True and 1 are the same to a hash table; text and numbers are gone through value by value where both may occur.
        which, values = pd.factorize(known) if not infer_dtype(known).startswith("mixed") else (np.arange(len(known)), known)
        text = [level_text(value) for value in values]
        if position.keys() <= {"0", "1"}:  # True and False for a phenotype coded 0 and 1
            text = [{"False": "0", "True": "1"}.get(code, code) for code in text]
        there = np.array([position.get(code, np.nan) for code in text])[which] if len(text) else np.empty(0)
        if np.isnan(there).any():
            row = int(np.isnan(there).argmax())
            raise ConnectomeError(
                f"column {self.name!r}: unknown level {text[which[row]]!r} (participant {known.index[row]!r}); "
                f"the levels are {listed(self.codes, 20)}, or n/a"
            )
        positions = np.full(len(column), np.nan)
        positions[present] = there
        return positions

    def raw(self, column: pd.Series) -> NDArray[np.float64]:
        """A table's column as encoded but not standardised numbers, (N, columns), NaN = missing; raises as :meth:`positions`."""
        number = self.positions(column)[:, None]
        if self.kind != "categorical":
            return number
        return np.where(np.isnan(number), np.nan, (number == np.arange(len(self.codes))).astype(np.float64))


@dataclass(frozen=True)
class Encoded:
    """People's profiles as numbers.

    Attributes
    ----------
    values : (N, F) standardised by training people; missing values are 0, the training mean.
    missing : (N, P) True where a person has no value of a phenotype.
    columns : (F,) names of the encoded columns.
    owner : (F,) index of each column's phenotype.
    """

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    columns: tuple[str, ...]
    owner: NDArray[np.intp]


@dataclass(frozen=True)
class PhenotypeSchema:
    """The phenotypes of a cohort, fitted on training people only.

    Parameters
    ----------
    phenotypes : the phenotypes, in the order of the table.
    covariance : (F, F) shrunken covariance of the encoded columns in training people (Ledoit & Wolf 2004), for
        :meth:`extrapolated`; None where not fitted.
    limit : squared Mahalanobis distance that 99.9 % of people like the training people stay within; None where not fitted.
    """

    phenotypes: tuple[Phenotype, ...]
    covariance: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    limit: float | None = None

    @classmethod
    def fit(cls, table: pd.DataFrame, described: Mapping[str, Mapping[str, Any]] | None = None) -> PhenotypeSchema:
        """Learn kinds, levels, means and ranges from training people.

        Parameters
        ----------
        table : one row a person, indexed by participant_id; one column a phenotype (see :data:`KEY_COLUMNS` for those left out).
        described : ``participants.json``: per column Description, Units or Levels, Group, and optionally Kind.
            A column with Levels is categorical (binary with two) even when its codes are numbers; with Units alone it is
            continuous; without either its kind is inferred: two distinct values are binary, other numbers continuous, other
            text categorical, an ordered pandas Categorical ordinal.

        Warns
        -----
        PhenotypeWarning
            For columns that are constant, missing in more than half, or free text (left out).

        Raises
        ------
        ConnectomeError
            If the table is empty, a column holds text where numbers are expected or a level that its description lacks, or a
            description makes no sense.
        """
        table = _profiles(table)
        described = described or {}
        phenotypes: list[Phenotype] = []
        constant: list[str] = []
        sparse: list[str] = []
        free: list[str] = []
        for name in table.columns:
            if name in KEY_COLUMNS:
                continue
            phenotype = _describe(name, table[name], described.get(name, {}))
            if phenotype is None:
                free.append(name)
                continue
            phenotype = _with_statistics(phenotype, table[name])
            if phenotype.constant and phenotype.missing < 1:
                constant.append(phenotype.name)
            if phenotype.missing > 0.5:
                sparse.append(phenotype.name)
            phenotypes.append(phenotype)
        for names, what in (
            (constant, "constant in the training people, so nothing can be learned from them"),
            (sparse, "missing in more than half of the training people"),
            (free, "text with almost as many values as people, left out"),
        ):
            if names:
                warnings.warn(f"phenotypes {what}: {listed(names, 30)}", PhenotypeWarning, stacklevel=2)
        schema = cls(tuple(phenotypes))
        return cls(schema.phenotypes, *_spread(schema._typical(schema.encode(table).values)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the phenotypes, in order."""
        return tuple(p.name for p in self.phenotypes)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the phenotypes of each group, groups in order of appearance."""
        groups: dict[str, list[str]] = {}
        for phenotype in self.phenotypes:
            groups.setdefault(phenotype.group, []).append(phenotype.name)
        return {group: tuple(names) for group, names in groups.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns, (F,)."""
        return tuple(column for p in self.phenotypes for column in p.columns)

    @property
    def owner(self) -> NDArray[np.intp]:
        """Index of the phenotype of each encoded column, (F,)."""
        return np.repeat(np.arange(len(self.phenotypes)), [len(p.columns) for p in self.phenotypes])

    def encode(self, table: pd.DataFrame) -> Encoded:
        """Profiles as standardised numbers, by the statistics of training people.

        Raises
        ------
        ConnectomeError
            If the table is empty, lacks a column, holds text where numbers are expected, or a level that is not known.
        """
        table = _profiles(table)
        absent = [name for name in self.names if name not in table]
        if absent:
            raise ConnectomeError(f"the participants table lacks {listed(absent)}; the model was fitted with {listed(self.names)}")
        blocks, unseen = [np.empty((len(table), 0))], []
        missing = np.zeros((len(table), len(self.phenotypes)), bool)
        for number, phenotype in enumerate(self.phenotypes):
            raw = phenotype.raw(table[phenotype.name])
            if phenotype.kind == "categorical":
                never = np.array(phenotype.mean) == 0
                if never.any() and (raw[:, never] == 1).any():
                    unseen.append(phenotype.name)
                    raw[(raw[:, never] == 1).any(1)] = np.nan
            missing[:, number] = np.isnan(raw[:, 0])
            scale = np.array(phenotype.scale)
            blocks.append(np.nan_to_num((raw - np.array(phenotype.mean)) / np.where(scale > 0, scale, 1)) * (scale > 0))
        if unseen:
            warnings.warn(
                f"phenotypes with a level that no training person had, treated as missing: {listed(unseen)}",
                PhenotypeWarning,
                stacklevel=2,
            )
        return Encoded(np.concatenate(blocks, 1), missing, self.columns, self.owner)

    def extrapolated(self, table: pd.DataFrame) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        """Whether each profile lies outside what training people looked like.

        Returns
        -------
        outside : (N,) True where a continuous phenotype is beyond the training range, or the whole profile beyond the
            99.9 % Mahalanobis distance. Missing values count as the training mean.
        columns : the continuous phenotypes that were out of range for anybody.

        Raises
        ------
        ConnectomeError
            As :meth:`encode`.
        """
        table = _profiles(table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PhenotypeWarning)
            values = self._typical(self.encode(table).values)
        outside, columns = np.zeros(len(table), bool), []
        for phenotype in self.phenotypes:
            if phenotype.kind == "continuous" and phenotype.low is not None and phenotype.high is not None:
                value = phenotype.raw(table[phenotype.name])[:, 0]
                beyond = (value < phenotype.low) | (value > phenotype.high)
                if beyond.any():
                    columns.append(phenotype.name)
                    outside |= beyond
        if self.covariance is not None and self.limit is not None:
            with np.errstate(over="ignore"):  # infinitely far away
                outside |= (values * np.linalg.solve(self.covariance, values.T).T).sum(1) > self.limit
        return outside, tuple(columns)

    def _typical(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encoded values (N, F) with 0 in place of columns of rare levels."""
        rare = [p.kind in ("binary", "categorical") and not RARE <= share <= 1 - RARE for p in self.phenotypes for share in p.mean]
        return np.where(rare, 0, values)

    def to_dict(self) -> dict[str, Any]:
        """The schema without its covariance, as plain JSON values."""
        phenotypes = [{**asdict(p), "levels": dict(p.levels) if p.levels else None} for p in self.phenotypes]
        return {"phenotypes": phenotypes, "mahalanobis_limit": self.limit}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], covariance: NDArray[np.float64] | None = None) -> PhenotypeSchema:
        """The inverse of :meth:`to_dict`."""
        phenotypes = [Phenotype(**{**p, "mean": tuple(p["mean"]), "scale": tuple(p["scale"])}) for p in record["phenotypes"]]
        return cls(tuple(phenotypes), covariance, record.get("mahalanobis_limit"))

    def report(self) -> pd.DataFrame:
        """What each phenotype was taken for: kind, group, units or levels, share missing, range."""
        rows = [
            {
                "phenotype": p.name,
                "kind": p.kind,
                "group": p.group,
                "units or levels": p.units or ", ".join(p.codes),
                "missing": p.missing,
                "low": p.low,
                "high": p.high,
            }
            for p in self.phenotypes
        ]
        return pd.DataFrame(rows, columns=["phenotype", "kind", "group", "units or levels", "missing", "low", "high"]).set_index(
            "phenotype"
        )


def _profiles(table: pd.DataFrame) -> pd.DataFrame:
    """A table of at least one person, indexed by participant_id where it has one, columns named by text."""
    if len(table) == 0:
        raise ConnectomeError("the participants table is empty; expected at least one person")
    if "participant_id" in table:
        table = table.set_index("participant_id")
    table = table.set_axis(pd.Index([str(name) for name in table.columns], dtype=object), axis=1)
    if table.columns.has_duplicates:
        raise ConnectomeError(f"the participants table has column {table.columns[table.columns.duplicated()][0]!r} more than once")
    return table


def _describe(name: str, column: pd.Series, note: Mapping[str, Any]) -> Phenotype | None:
    """Kind, levels, units and group of a column, described or inferred; None for free text."""
    said = described_as(name, note)
    levels = described_levels(name, note) if said == "levels" else {}
    kind: str | None = note.get("Kind")
    if said is None and not isinstance(column.dtype, pd.CategoricalDtype):
        kind = inferred_kind(column)
        if kind is None:
            return None
    if said == "numbers":
        kind = "continuous"
    elif kind != "continuous" and not levels:
        codes, ordered = found_levels(column)
        if said is None and not ordered and is_free_text(column.dropna()):
            return None
        if kind == "ordinal" and not ordered:
            raise ConnectomeError(f"column {name!r}: an ordinal phenotype of text needs its Levels in order in participants.json")
        if said is None and ordered and isinstance(column.dtype, pd.CategoricalDtype):
            kind = "ordinal"
        levels = {code: code for code in codes}
    if kind in (None, "categorical"):
        kind = "binary" if len(levels) <= 2 else "categorical"
    if kind == "binary" and len(levels) > 2:
        raise ConnectomeError(f"column {name!r}: a binary phenotype has two levels, this one has {len(levels)} ({listed(levels, 5)})")
    units = note.get("Units")
    return Phenotype(
        name,
        str(kind),
        group=str(note.get("Group") or "other"),
        units=None if units in (None, "", "n/a") else str(units),
        levels=levels or None,
        description=str(note.get("Description") or ""),
    )


def _with_statistics(phenotype: Phenotype, column: pd.Series) -> Phenotype:
    """The phenotype with what training people were like."""
    raw = phenotype.raw(column)
    seen = raw[~np.isnan(raw).all(1)]
    mean = seen.mean(0) if len(seen) else np.zeros(raw.shape[1])
    scale = seen.std(0) if len(seen) else np.zeros(raw.shape[1])
    scale[scale <= 1e-9 * np.abs(mean)] = 0  # rounding in the mean of a constant column is not spread
    continuous = phenotype.kind == "continuous" and len(seen) > 0
    return replace(
        phenotype,
        mean=tuple(map(float, mean)),
        scale=tuple(map(float, scale)),
        low=float(seen.min()) if continuous else None,
        high=float(seen.max()) if continuous else None,
        missing=float(1 - len(seen) / len(raw)),
    )


def _spread(values: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, float | None]:
    """Covariance of encoded values, and the squared Mahalanobis distance that 99.9 % of such people stay within.

    A chi-squared distribution would be right for many people, complete Gaussian profiles and a known covariance. Here its scale and degrees
    of freedom are those of the training people's own distances (Satterthwaite), each from a covariance without that person.
    """
    from scipy.stats import chi2
    from sklearn.covariance import ledoit_wolf

    n_people, n_columns = values.shape
    if n_people < 4 or not values.any():
        return None, None
    covariance, shrinkage = ledoit_wolf(values, assume_centered=True)
    covariance += 1e-6 * np.trace(covariance) / n_columns * np.eye(n_columns)
    distance = (values * np.linalg.solve(covariance, values.T).T).sum(1)
    alone = distance / np.maximum(1 - (1 - shrinkage) * distance / n_people, 1e-9)  # Sherman & Morrison 1950
    mean, variance = alone.mean(), max(alone.var(), 1e-9)
    small_sample = (n_people + 1) / (n_people - 3)  # means and standard deviations are estimates too
    return covariance, float(small_sample * variance / (2 * mean) * chi2.ppf(0.999, 2 * mean**2 / variance))

"""Phenotypes of people: what kind each is, what training people looked like, and how a profile becomes numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.covariance import ledoit_wolf

from connectome_gnn.errors import ConnectomeError, PhenotypeWarning

__all__ = ["KEY_COLUMNS", "KINDS", "Encoded", "Phenotype", "PhenotypeSchema", "level_text", "numeric_column"]

KEY_COLUMNS = ("participant_id", "sample", "session_id", "family_id", "extrapolated")
"""Columns of a participants table that identify rows or people and are never phenotypes."""

KINDS = ("continuous", "binary", "categorical", "ordinal")
MAX_INFERRED_LEVELS = 30


@dataclass(frozen=True)
class Phenotype:
    """One phenotype as it was in training people.

    Parameters
    ----------
    name : column of the participants table.
    kind : ``"continuous"``, ``"binary"``, ``"categorical"`` or ``"ordinal"``.
    group : the group it belongs to (age_sex, body, cognition, lifestyle, clinical, psychology, site, ...).
    units : unit of a continuous phenotype, where known.
    levels : codes (text) and meanings of the other kinds, in order.
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
    levels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    missing: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(f"{self.name}={code}" for code in self.levels) if self.kind == "categorical" else (self.name,)

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
        codes = list(self.levels)
        text = [None if _is_missing(value) else level_text(value) for value in column]
        unknown = sorted({value for value in text if value is not None} - set(codes))
        if unknown:
            who = column.index[text.index(unknown[0])]
            raise ConnectomeError(
                f"column {self.name!r}: unknown level {unknown[0]!r} (participant {who!r}); the levels are {', '.join(map(repr, codes))}"
            )
        position = {code: number for number, code in enumerate(codes)}
        return np.array([np.nan if value is None else position[value] for value in text], dtype=np.float64)

    def raw(self, column: pd.Series) -> NDArray[np.float64]:
        """A table's column as encoded but not standardised numbers, (N, columns), NaN = missing; raises as :meth:`positions`."""
        number = self.positions(column)[:, None]
        if self.kind != "categorical":
            return number
        return np.where(np.isnan(number), np.nan, (number == np.arange(len(self.levels))).astype(np.float64))


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
    """

    phenotypes: tuple[Phenotype, ...]
    covariance: NDArray[np.float64] | None = None

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
        """
        if len(table) == 0:
            raise ConnectomeError("the participants table is empty; expected at least one person")
        described = described or {}
        phenotypes, constant, sparse, free = [], [], [], []
        for name in table.columns:
            if name in KEY_COLUMNS:
                continue
            phenotype = _describe(str(name), table[name], described.get(str(name), {}))
            if phenotype is None:
                free.append(str(name))
                continue
            phenotype = _with_statistics(phenotype, table[name])
            if phenotype.constant:
                constant.append(phenotype.name)
            if phenotype.missing > 0.5:
                sparse.append(phenotype.name)
            phenotypes.append(phenotype)
        for names, what in (
            (constant, "constant in the training people, so nothing can be learned from"),
            (sparse, "missing in more than half of the training people"),
            (free, "text with almost as many values as people, left out"),
        ):
            if names:
                warnings.warn(f"phenotypes {what}: {_listed(names)}", PhenotypeWarning, stacklevel=2)
        schema = cls(tuple(phenotypes))
        return cls(schema.phenotypes, _covariance(schema.encode(table).values))

    @classmethod
    def lossless(cls, table: pd.DataFrame) -> PhenotypeSchema:
        """Every column, key columns too, in a form whose :meth:`Phenotype.positions` can be turned back into the table."""
        phenotypes = []
        for name, column in table.items():
            if pd.api.types.is_numeric_dtype(column.dtype):
                phenotypes.append(Phenotype(str(name), "continuous"))
            else:
                texts = sorted({level_text(value) for value in column[~column.isna()]})
                phenotypes.append(Phenotype(str(name), "categorical", levels={text: text for text in texts}))
        return cls(tuple(phenotypes))

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
        if len(table) == 0:
            raise ConnectomeError("the participants table is empty; expected at least one person")
        absent = [name for name in self.names if name not in table]
        if absent:
            raise ConnectomeError(f"the participants table lacks {_listed(absent)}; the model was fitted with {_listed(self.names)}")
        blocks, missing, unseen = [np.empty((len(table), 0))], np.zeros((len(table), len(self.phenotypes)), bool), []
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
                f"phenotypes with a level that no training person had, treated as missing: {_listed(unseen)}", PhenotypeWarning, stacklevel=2
            )
        return Encoded(np.concatenate(blocks, 1), missing, self.columns, self.owner)

    def extrapolated(self, table: pd.DataFrame) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        """Whether each profile lies outside what training people looked like.

        Returns
        -------
        outside : (N,) True where a continuous phenotype is beyond the training range, or the whole profile beyond the
            99.9 % Mahalanobis distance.
        columns : the continuous phenotypes that were out of range for anybody.
        """
        outside, columns = np.zeros(len(table), bool), []
        for phenotype in self.phenotypes:
            if phenotype.kind == "continuous" and phenotype.low is not None and phenotype.high is not None:
                value = phenotype.raw(table[phenotype.name])[:, 0]
                beyond = (value < phenotype.low) | (value > phenotype.high)
                if beyond.any():
                    columns.append(phenotype.name)
                    outside |= beyond
        if self.covariance is not None and len(self.covariance):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PhenotypeWarning)
                values = self.encode(table).values
            distance = (values * np.linalg.solve(self.covariance, values.T).T).sum(1)
            outside |= distance > chi2.ppf(0.999, np.linalg.matrix_rank(self.covariance))
        return outside, tuple(columns)

    def to_dict(self) -> dict[str, Any]:
        """The schema without its covariance, as plain JSON values."""
        return {"phenotypes": [{**asdict(p), "levels": dict(p.levels)} for p in self.phenotypes]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], covariance: NDArray[np.float64] | None = None) -> PhenotypeSchema:
        """The inverse of :meth:`to_dict`."""
        phenotypes = [Phenotype(**{**p, "mean": tuple(p["mean"]), "scale": tuple(p["scale"])}) for p in record["phenotypes"]]
        return cls(tuple(phenotypes), covariance)

    def report(self) -> pd.DataFrame:
        """What each phenotype was taken for: kind, group, units or levels, share missing, range."""
        rows = [
            {
                "phenotype": p.name,
                "kind": p.kind,
                "group": p.group,
                "units or levels": p.units or ", ".join(p.levels),
                "missing": p.missing,
                "low": p.low,
                "high": p.high,
            }
            for p in self.phenotypes
        ]
        return pd.DataFrame(rows, columns=["phenotype", "kind", "group", "units or levels", "missing", "low", "high"]).set_index("phenotype")


def level_text(value: object) -> str:
    """The text of a level's code: ``'0'`` for 0, 0.0, numpy's zeros and ``'0.0'`` read by mistake, text unchanged otherwise."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def numeric_column(column: pd.Series, units: str | None = None, source: str = "") -> NDArray[np.float64]:
    """A column as float64, NaN = missing; text or infinity is an error that names the participant."""
    where = f"{source}: " if source else ""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isinf(numbers) | (np.isnan(numbers) & ~column.isna().to_numpy())
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        unit = f" ({units})" if units else ""
        raise ConnectomeError(
            f"{where}column {column.name!r}: expected finite numbers{unit} or n/a, got {str(column.iloc[row])!r} (participant {column.index[row]!r})"
        )
    return numbers


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _describe(name: str, column: pd.Series, described: Mapping[str, Any]) -> Phenotype | None:
    """Kind, levels, units and group of a column, described or inferred; None for free text."""
    common = {"group": str(described.get("Group", "other")), "description": str(described.get("Description", ""))}
    units = described.get("Units")
    kind, levels = described.get("Kind"), described.get("Levels")
    if kind is not None and kind not in KINDS:
        raise ConnectomeError(f"column {name!r}: Kind is one of {', '.join(KINDS)}, participants.json says {kind!r}")
    present = column[~column.isna()]
    if levels is not None:
        if not isinstance(levels, Mapping):
            levels = {code: code for code in levels}
        codes = {level_text(code): str(meaning) for code, meaning in levels.items()}
    elif isinstance(column.dtype, pd.CategoricalDtype) and kind in (None, "ordinal", "categorical"):
        codes = {level_text(code): level_text(code) for code in column.cat.categories}
        kind = kind or ("ordinal" if column.cat.ordered else None)
    elif kind == "continuous" or (units and kind is None):
        return Phenotype(name, "continuous", units=units, **common)
    else:
        numbers = pd.to_numeric(present, errors="coerce")
        numeric = not numbers.isna().any() and not any(isinstance(value, (bool, np.bool_)) for value in present)
        distinct = (numbers if numeric else present).unique()
        if kind is None and numeric and len(distinct) != 2:
            return Phenotype(name, "continuous", units=units, **common)
        texts = {level_text(value) for value in distinct}
        if kind is None and len(texts) > max(MAX_INFERRED_LEVELS, 2) and len(texts) > len(present) / 2:
            return None
        ordered = sorted(texts, key=float) if numeric else sorted(texts)
        codes = {code: code for code in ordered}
    if kind in (None, "categorical"):
        kind = "binary" if len(codes) <= 2 else "categorical"
    if kind == "binary" and len(codes) > 2:
        raise ConnectomeError(f"column {name!r}: a binary phenotype has two levels, participants.json gives {len(codes)}")
    return Phenotype(name, kind, levels=codes, units=units, **common)


def _with_statistics(phenotype: Phenotype, column: pd.Series) -> Phenotype:
    raw = phenotype.raw(column)
    seen = raw[~np.isnan(raw[:, 0])]
    mean = seen.mean(0) if len(seen) else np.zeros(raw.shape[1])
    scale = seen.std(0) if len(seen) else np.zeros(raw.shape[1])
    scale[scale <= 1e-9 * np.abs(mean)] = 0  # rounding in the mean of a constant column is not spread
    continuous = phenotype.kind == "continuous" and len(seen) > 0
    return Phenotype(
        phenotype.name,
        phenotype.kind,
        phenotype.group,
        phenotype.units,
        phenotype.levels,
        phenotype.description,
        tuple(map(float, mean)),
        tuple(map(float, scale)),
        float(seen.min()) if continuous else None,
        float(seen.max()) if continuous else None,
        float(1 - len(seen) / len(raw)),
    )


def _covariance(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if len(values) < 2 or values.shape[1] == 0:
        return None
    covariance = ledoit_wolf(values, assume_centered=True)[0]
    return covariance if covariance.trace() > 0 else None

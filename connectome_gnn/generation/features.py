"""Features of a profile for the closed-form paths, in bands that may each have their own scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.phenotypes import Encoded, PhenotypeSchema

__all__ = ["AGE_SPLINE", "AGE_SQUARED", "BEYOND", "FURTHEST", "SEX_BY_AGE", "TRAITS_BY_AGE", "ProfileFeatures", "age_and_sex"]

AGE_SQUARED, AGE_SPLINE, SEX_BY_AGE, TRAITS_BY_AGE = "age^2", "age spline", "sex x age", "traits x age"
KNOTS = (0.25, 0.5, 0.75)
FURTHEST = 8.0
"""Standard deviations that no derived feature goes beyond: products of unusual values run away, and predictions with them."""
BEYOND = 1e6
"""Standard deviations at which a phenotype itself is held, so that its square, too, is finite in single precision."""


def age_and_sex(schema: PhenotypeSchema) -> tuple[str | None, str | None]:
    """Names of the phenotypes that hold age and sex, None where there is none.

    By name (age..., sex..., gender...), else the first continuous and the first binary phenotype of the group age_sex.
    """

    def first(kind: str, prefixes: tuple[str, ...]) -> str | None:
        of_kind = [p for p in schema.phenotypes if p.kind == kind and not p.constant]
        named = [p.name for p in of_kind if p.name.lower().startswith(prefixes)]
        grouped = [p.name for p in of_kind if p.group == "age_sex"]
        return next(iter(named + grouped), None)

    return first("continuous", ("age",)), first("binary", ("sex", "gender"))


@dataclass(frozen=True)
class ProfileFeatures:
    """Profiles as standardised features: the phenotypes themselves, and what age does to them.

    Parameters
    ----------
    schema : the training people's phenotypes.
    age, sex : names of the columns that hold them, None where there are none.
    knots : (3,) quartiles of standardised age in training people, for the spline.
    mean, scale : (F,) statistics of all features in training people.
    """

    schema: PhenotypeSchema
    age: str | None
    sex: str | None
    knots: tuple[float, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, schema: PhenotypeSchema, encoded: Encoded) -> ProfileFeatures:
        """Learn knots, means and scales from training people."""
        age, sex = age_and_sex(schema)
        knots = tuple(map(float, np.quantile(encoded.values[:, schema.columns.index(age)], KNOTS))) if age else ()
        raw = cls(schema, age, sex, knots, np.zeros(1), np.ones(1))._raw(encoded)
        mean, scale = raw.mean(0), raw.std(0)
        return cls(schema, age, sex, knots, mean, np.where(scale > 1e-9, scale, np.inf))

    @property
    def bands(self) -> tuple[str, ...]:
        """The band of each feature, (F,): a phenotype group, or a kind of age term."""
        groups = [self.schema.phenotypes[owner].group for owner in self.schema.owner]
        if self.age is None:
            return tuple(groups)
        others = len(groups) - 1
        return (
            *groups,
            AGE_SQUARED,
            *(AGE_SPLINE,) * len(KNOTS),
            *((SEX_BY_AGE,) if self.sex else ()),
            *(TRAITS_BY_AGE,) * (others - (self.sex is not None)),
        )

    def select(self, terms: str) -> NDArray[np.bool_]:
        """Which features belong to ``"linear"`` (phenotypes alone), ``"age"`` (with age^2 and age x trait) or ``"all"``."""
        derived = {
            "linear": set(),
            "age": {AGE_SQUARED, SEX_BY_AGE, TRAITS_BY_AGE},
            "all": {AGE_SQUARED, AGE_SPLINE, SEX_BY_AGE, TRAITS_BY_AGE},
        }[terms]
        n_linear = len(self.schema.columns)
        return np.array([place < n_linear or band in derived for place, band in enumerate(self.bands)])

    def transform(self, encoded: Encoded) -> NDArray[np.float64]:
        """Encoded profiles as features, (N, F), mean 0 and variance 1 in training people; derived ones clipped at 8, others at 10^6."""
        values = (self._raw(encoded) - self.mean) / self.scale
        derived = values[:, len(self.schema.columns) :]
        np.clip(derived, -FURTHEST, FURTHEST, out=derived)
        return values

    def of(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Features (N, F) of a participants table."""
        return self.transform(self.schema.encode(table))

    def _raw(self, encoded: Encoded) -> NDArray[np.float64]:
        values = np.clip(encoded.values, -BEYOND, BEYOND)
        if self.age is None:
            return values
        columns = list(self.schema.columns)
        age = values[:, [columns.index(self.age)]]
        blocks = [values, age**2, np.maximum(age - np.array(self.knots), 0) ** 2]
        rest = np.ones(len(columns), bool)
        rest[columns.index(self.age)] = False
        if self.sex:
            rest[columns.index(self.sex)] = False
            blocks.append(values[:, [columns.index(self.sex)]] * age)
        blocks.append(values[:, rest] * age)
        return np.concatenate(blocks, 1)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays and the schema, as plain JSON values."""
        return {"age": self.age, "sex": self.sex, "knots": list(self.knots)}

    @classmethod
    def from_dict(
        cls, record: Mapping[str, Any], schema: PhenotypeSchema, mean: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> ProfileFeatures:
        """The inverse of :meth:`to_dict`."""
        return cls(schema, record["age"], record["sex"], tuple(record["knots"]), mean, scale)

"""What phenotypes do in simulated people: scores on a few effects, each owned by a group of phenotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import PhenotypeSchema

__all__ = ["BUDGET", "Effects", "draw_effects", "shapley"]

BUDGET = {"age_sex": 0.45, "body": 0.35, "cognition": 0.1, "lifestyle": 0.1}
"""Share of each group in what phenotypes explain: age, sex and body four times as much as cognition and lifestyle."""

STRONG_DIRECTIONS = {"body": 3, "cognition": 2, "lifestyle": 2}
DIFFUSE_DIRECTIONS, DIFFUSE_SHARE = 4, 0.25  # small effects of every trait
SEX_SHARE = 0.5  # of what age and sex explain
TURN_OF_LIFE = 55.0  # years from which ageing accelerates


@dataclass(frozen=True, eq=False)
class Effects:
    """From phenotypes to scores on Q effects.

    A score is a sum of encoded phenotypes, bent towards saturation for some effects, times another such sum for interactions.

    Attributes
    ----------
    schema : encodes phenotypes; standardised in a large reference population.
    ageing : mean and SD, in that population, of the squared years since the turn of life.
    directions, partners : (F, Q) weights of encoded phenotypes in each effect, and in the sum that multiplies it (0: none).
    curves : (Q,) how far each effect saturates, 0 (linear) to 1.
    groups : (Q,) the group that each effect belongs to (interactions with age or sex: the other group).
    everywhere : (Q,) how far an effect has one sign all over the brain.
    weight : (Q,) share of each effect in its group.
    reference : (n, F) encoded phenotypes of the reference population.
    """

    schema: PhenotypeSchema
    ageing: tuple[float, float]
    directions: NDArray[np.float64]
    partners: NDArray[np.float64]
    curves: NDArray[np.float64]
    groups: tuple[str, ...]
    everywhere: NDArray[np.float64]
    weight: NDArray[np.float64]
    reference: NDArray[np.float64]

    def encode(self, phenotypes: pd.DataFrame) -> NDArray[np.float64]:
        """Standardised phenotypes (n, F), missing = 0, the population mean; the last column is the acceleration of ageing."""
        return _encode(self.schema, self.ageing, phenotypes)

    def scores(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (n, Q) from :meth:`encode`; 0 for a person of whom nothing is known."""
        sums = encoded @ self.directions
        bent = (1 - self.curves) * sums + self.curves * np.tanh(2 * sums)
        return bent * np.where(self.partners.any(0), encoded @ self.partners, 1)

    @cached_property
    def reference_scores(self) -> NDArray[np.float64]:
        """Scores (n, Q) of the reference population."""
        return self.scores(self.reference)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance (Q, Q) of scores in the reference population."""
        return np.cov(self.reference_scores, rowvar=False, bias=True)

    def without(self, phenotypes: Sequence[str]) -> NDArray[np.float64]:
        """Scores (n, Q) of the reference population with some phenotypes missing."""
        unknown = [name for name in phenotypes if name not in self.schema.names]
        if unknown:
            raise ConnectomeError(f"this cohort has no phenotype {unknown[0]!r}; it has {', '.join(self.schema.names)}")
        gone = np.isin(_owner(self.schema), [self.schema.names.index(name) for name in phenotypes])
        return self.scores(np.where(gone, 0, self.reference))

    def moved(self, phenotypes: Sequence[str]) -> NDArray[np.float64]:
        """Covariance (Q, Q) of the change of scores when some phenotypes go missing."""
        change = self.reference_scores - self.without(phenotypes)
        return np.cov(change, rowvar=False, bias=True)

    @cached_property
    def coalitions(self) -> dict[frozenset[str], NDArray[np.float64]]:
        """Per set of phenotype groups the (Q, Q) matrix whose product with the maps' is the R2 with only those groups known."""
        members = self.schema.groups
        known = {}
        for size in range(len(members) + 1):
            for groups in combinations(members, size):
                error = self.reference_scores - self.without([name for g in members if g not in groups for name in members[g]])
                known[frozenset(groups)] = self.covariance - error.T @ error / len(error)
        return known


def shapley(players: Sequence[str], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Exact Shapley values (Shapley 1953): each player's mean gain over all orders in which a coalition can form."""
    n, shares = len(players), {}
    for player in players:
        others = [other for other in players if other != player]
        shares[player] = sum(
            factorial(size) * factorial(n - size - 1) / factorial(n) * (value(frozenset(team) | {player}) - value(frozenset(team)))
            for size in range(n)
            for team in combinations(others, size)
        )
    return shares


def draw_effects(
    schema: PhenotypeSchema, reference: pd.DataFrame, nonlinearity: float, null_share: float, generator: np.random.Generator
) -> Effects:
    """Draw what phenotypes do.

    Parameters
    ----------
    schema : fitted on the reference population.
    reference : table of the reference population.
    nonlinearity : share of the non-linear parts, 0 to 1.
    null_share : share of phenotypes, age, sex and site apart, that do nothing.
    generator : source of randomness.
    """
    squares = _ageing(reference["age"].to_numpy(np.float64))
    ageing = float(squares.mean()), float(squares.std())
    encoded, owner, columns = _encode(schema, ageing, reference), _owner(schema), [*schema.columns, "ageing"]
    group_of = np.array([schema.phenotypes[k].group for k in owner])
    numbers = np.array([k for k, p in enumerate(schema.phenotypes) if p.group in STRONG_DIRECTIONS], dtype=int)
    silent = generator.permutation(numbers)[: round(null_share * len(numbers))]
    effects: list[tuple[str, float, NDArray[np.float64], NDArray[np.float64], float, float]] = []

    def only(column: str) -> NDArray[np.float64]:
        return np.array([name == column for name in columns], float)

    def add(group: str, weight: float, direction: NDArray, partner: NDArray | None = None, curve: float = 0, everywhere: float = 0) -> None:
        scaled = direction / max((encoded @ direction).std(), 1e-9)
        if weight > 0 and scaled.any():
            effects.append((group, weight, scaled, np.zeros(len(columns)) if partner is None else partner, curve, everywhere))

    crossed = 0.4 * nonlinearity
    add("age_sex", (1 - SEX_SHARE) * (1 - nonlinearity), only("age"), everywhere=0.3)
    add("age_sex", (1 - SEX_SHARE) * nonlinearity, only("ageing"))
    add("age_sex", SEX_SHARE * (1 - crossed), only("sex"), everywhere=0.5)
    add("age_sex", SEX_SHARE * crossed, only("sex"), partner=only("age"))
    for group, n_strong in STRONG_DIRECTIONS.items():
        active = (group_of == group) & ~np.isin(owner, silent)
        # A categorical phenotype has a column a level: together they weigh as much as one number.
        scale = active / np.sqrt(np.bincount(owner, minlength=len(schema.names))[owner])
        for number in range(n_strong):
            weight = (1 - DIFFUSE_SHARE) / n_strong
            heavy = scale * generator.standard_normal(len(owner)) * np.exp(generator.standard_normal(len(owner)))
            add(group, weight * (1 - crossed), heavy, curve=nonlinearity, everywhere=0.3 if group == "body" and number == 0 else 0)
            add(group, weight * crossed, heavy, partner=only("sex" if number % 2 else "age"))
        for _ in range(DIFFUSE_DIRECTIONS):
            add(group, DIFFUSE_SHARE / DIFFUSE_DIRECTIONS, scale * generator.standard_normal(len(owner)))
    for column in np.flatnonzero(group_of == "site"):
        add("site", 1.0, only(columns[column]), everywhere=0.3)
    return Effects(
        schema,
        ageing,
        directions=np.stack([effect[2] for effect in effects], 1),
        partners=np.stack([effect[3] for effect in effects], 1),
        curves=np.array([effect[4] for effect in effects], float),
        groups=tuple(effect[0] for effect in effects),
        everywhere=np.array([effect[5] for effect in effects], float),
        weight=np.array([effect[1] for effect in effects]),
        reference=encoded,
    )


def _owner(schema: PhenotypeSchema) -> NDArray[np.intp]:
    """Index of the phenotype of each encoded column (F,), the acceleration of ageing last."""
    return np.append(schema.owner, schema.names.index("age"))


def _ageing(years: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(years - TURN_OF_LIFE, 0) ** 2


def _encode(schema: PhenotypeSchema, ageing: tuple[float, float], table: pd.DataFrame) -> NDArray[np.float64]:
    encoded, age = schema.encode(table), schema.names.index("age")
    years = schema.phenotypes[age].positions(table["age"])
    curve = np.where(encoded.missing[:, age], 0, (_ageing(years) - ageing[0]) / ageing[1])
    return np.concatenate([encoded.values, curve[:, None]], 1)

"""Supervised directions: a low-dimensional embedding of each phenotype group, learned from what the group does to edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.generation.features import FURTHEST, ProfileFeatures

__all__ = ["Directions"]

PER_GROUP = 3
JOINTLY = 5
ALL_GROUPS = "*"


@dataclass(frozen=True)
class Directions:
    """Leading directions of phenotype groups, and what may be built of them beyond straight lines.

    The whitened coefficients of a banded ridge are decomposed by singular values, restricted to the phenotypes of each group and
    for all of them jointly; the leading left vectors are the combinations of phenotypes that move connectomes most. Each enters
    once more through its tanh, its square and its products with age, sex and the other directions.

    Parameters
    ----------
    weights : (linear features, Q) combinations of the standardised phenotypes.
    groups : (Q,) group of each direction; ``"*"`` for the joint ones.
    age, sex : place of age and sex among the linear features, None where there are none.
    scale : (Q,) standard deviation of each direction in training people.
    mean, deviation : (D,) statistics of the derived features in training people.
    """

    weights: NDArray[np.float64]
    groups: tuple[str, ...]
    age: int | None
    sex: int | None
    scale: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        profiles: Callable[[], Iterable[NDArray[np.float64]]],
        coefficients: NDArray[np.float64],
        unit: NDArray[np.float64],
    ) -> Directions:
        """Learn directions from banded coefficients.

        Parameters
        ----------
        features : the profile features that ``coefficients`` belong to.
        profiles : gives the training people's features, (n, F), some people at a time.
        coefficients : (F, K) banded ridge coefficients.
        unit : (K,) residual standard deviation of each component, which whitens them.
        """
        n_linear = len(features.schema.columns)
        owners = np.array(features.bands[:n_linear])
        whitened = coefficients[:n_linear] / unit
        combinations, groups = [], []
        for group in (*dict.fromkeys(features.bands[:n_linear]), ALL_GROUPS):
            members = np.flatnonzero((owners == group) | (group == ALL_GROUPS))
            most = JOINTLY if group == ALL_GROUPS else PER_GROUP
            left, strength, _ = np.linalg.svd(whitened[members], full_matrices=False)
            used = min(most, int((strength > 1e-6 * max(strength.max(initial=0), 1e-12)).sum()) if strength.any() else 0)
            for direction in left[:, :used].T:
                combination = np.zeros(n_linear)
                combination[members] = direction * np.sign(direction[np.abs(direction).argmax()])
                combinations.append(combination)
                groups.append(group)
        weights = np.array(combinations).reshape(len(groups), n_linear).T
        scale = _mean_and_deviation(values[:, :n_linear] @ weights for values in profiles())[1]
        scale = np.where(scale > 1e-9, scale, np.inf)
        columns = list(features.schema.columns)
        age = columns.index(features.age) if features.age else None
        sex = columns.index(features.sex) if features.sex else None
        none = np.zeros(1)
        bare = cls(weights, tuple(groups), age, sex, scale, none, none + 1)
        mean, deviation = _mean_and_deviation(map(bare._raw, profiles()))
        return cls(weights, tuple(groups), age, sex, scale, mean, np.where(deviation > 1e-9, deviation, np.inf))

    @property
    def bands(self) -> tuple[str, ...]:
        """The band of each derived feature, (D,)."""
        n = len(self.groups)
        bands = ["directions"] * n + ["tanh of directions"] * n + ["squares of directions"] * n
        bands += ["directions x age"] * n * (self.age is not None) + ["directions x sex"] * n * (self.sex is not None)
        return (*bands, *["products of directions"] * (n * (n - 1) // 2))

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derived features (N, D) of profile features (N, F), mean 0 and variance 1 in training people; clipped at 8."""
        return np.clip((self._raw(values) - self.mean) / self.deviation, -FURTHEST, FURTHEST)

    def extended(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Profile features (N, F) and the derived ones behind them, (N, F + D)."""
        return np.concatenate([values, self.transform(values)], 1)

    def _raw(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        along = values[:, : len(self.weights)] @ self.weights / self.scale
        blocks = [along, np.tanh(along), along**2]
        blocks += [along * values[:, [place]] for place in (self.age, self.sex) if place is not None]
        first, second = np.triu_indices(along.shape[1], 1)
        return np.concatenate([*blocks, along[:, first] * along[:, second]], 1)


def _mean_and_deviation(parts: Iterable[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (m,) over the rows of all parts (n, m), without cancellation (Chan, Golub & LeVeque 1983)."""
    n, mean, squares = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        here, before, n = part.mean(0), n, n + len(part)
        away = here - mean
        squares = squares + ((part - here) ** 2).sum(0) + away**2 * (before * len(part) / n)
        mean = mean + away * (len(part) / n)
    return mean, np.sqrt(squares / n)

"""What phenotypes do to edges, from two private releases: joint moments in smooth modes, and edge-level maps of a few directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.privacy import Ledger
from connectome_gnn.generation.private_regression import NoisyRegression, shrunk
from connectome_gnn.generation.private_statistics import INTERCEPT, OWN, joint_moments, map_moments, radius_of, unpacked

__all__ = ["PrivateEffects", "feature_weights"]

SHARES = {"modes": 0.02, "joint": 0.66, "edges": 0.02, "maps": 0.30}
"""Shares of this step's budget of each of its releases."""
RADIUS = 0.8
DIRECTIONS, FACTORS, FACTOR_WEIGHT = 4, 4, 0.5
WEAKEST = 0.1
ERRORS = 4.0
LEAST_PEOPLE = 0.2


def feature_weights(groups: list[str]) -> NDArray[np.float64]:
    """Weights (F,) of standardised features in the bounded row of a person, of length 1 for somebody typical.

    Every group of phenotypes has a share of the length that grows with the root of its size: a small group, like age and sex, is
    drowned less by the noise that a large one brings.
    """
    size = np.array([groups.count(group) for group in groups])
    share = size**-0.5
    return np.sqrt(share / share.sum())


@dataclass(frozen=True)
class PrivateEffects:
    """Effects of features, and how people with like features differ, in standard deviations of edges.

    Parameters
    ----------
    centre : (F,) mean of the weighted features.
    maps : (F, kept edges) effect of each weighted feature.
    gram : (F, F) second moments of the centred weighted features, per person.
    loadings : (Q, kept edges) factors of what features do not explain.
    earned : table of paths as of the closed form, from released statistics.
    """

    centre: NDArray[np.float64]
    maps: NDArray[np.float64]
    gram: NDArray[np.float64]
    loadings: NDArray[np.float64]
    earned: pd.DataFrame

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float64],
        lengths: NDArray[np.float64],
        small: NDArray[np.intp],
        modes: NDArray[np.float64],
        space: EdgeSpace,
        cohort: Cohort,
        weight: NDArray[np.float64],
        ledger: Ledger,
        budget: float,
        told: bool,
    ) -> PrivateEffects:
        """Release joint moments of features and modes, and with what they say edge-level maps of the leading directions.

        Parameters
        ----------
        features : (N, F) weighted features.
        lengths : (F,) their weights.
        small : features that may be enough: age and sex.
        modes : (kept edges, d) orthonormal.
        space : the released statistics of edges.
        weight : (N,) weight of each row; the rows of a unit weigh 1 together.
        budget : share of the ledger for all of this.
        told : whether effects can be told from noise at all; without, only differences between people are looked at.
        """
        n_units = float(round(weight.sum()))

        def projected() -> Iterator[tuple[slice, NDArray[np.float32]]]:
            for part, values in space.standardised(cohort):
                yield part, (values @ modes).astype(np.float32)

        size = np.sqrt(modes.shape[1]) * radius_of("length in modes", projected, weight, ledger, budget * SHARES["modes"])
        radius = RADIUS * size
        exact, sensitivity = joint_moments(features, projected, weight, radius)
        noisy, sd = ledger.release("joint moments of phenotypes and modes", exact, sensitivity, budget * SHARES["joint"])
        moments = _Moments.of(unpacked(noisy), sd, lengths, n_units)
        regression = NoisyRegression.fit(
            moments.gram,
            moments.cross @ moments.axes,
            moments.variance / moments.n,
            moments.n,
            sd / np.sqrt(2),
            [small, np.arange(features.shape[1])] if told else [],
        )
        coefficients = regression.coefficients @ moments.axes.T
        maps = radius * coefficients @ modes.T
        directions = _directions(moments, coefficients)
        values, axes = eigh(moments.scatter - coefficients.T @ moments.gram @ coefficients)
        spread = np.sqrt(np.maximum(values[::-1], 0) / moments.n)
        axes, spread = axes[:, ::-1][:, spread > 0], spread[spread > 0]
        n_directions = directions.shape[1]
        scores = np.concatenate([(features - moments.centre) @ directions, np.zeros((len(features), min(FACTORS, len(spread))))], 1)
        for part, projection in projected():
            scores[part, n_directions:] = projection / radius @ (axes / spread)[:, :FACTORS]
        beyond, gain = _beyond_modes(scores, n_directions, modes, space, cohort, weight, ledger, budget)
        maps += directions @ beyond[:n_directions]
        loadings = radius * (axes * spread).T @ modes.T
        loadings[: len(beyond) - n_directions] += beyond[n_directions:]
        table = pd.DataFrame(
            {
                "r2": [regression.gain * radius**2 / len(modes), gain],
                "weight": [float(coefficients.any()), float(beyond[:n_directions].any())],
            },
            index=pd.Index(["noisy ridge in smooth modes", "edge-level maps of leading directions"], name="path"),
        )
        table.loc["all together"] = [table["r2"].sum(), float(maps.any())]
        return cls(moments.centre, maps, moments.gram / moments.n, loadings, table)


@dataclass(frozen=True)
class _Moments:
    """Noisy joint moments, centred and made positive definite; sums over ``n`` effective people.

    ``variance`` (d,) are the moments of the modes along ``axes`` (d, d), their principal axes, largest first.
    """

    n: float
    centre: NDArray[np.float64]
    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    scatter: NDArray[np.float64]
    axes: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, joint: NDArray[np.float64], sd: float, weights: NDArray[np.float64], n_units: float) -> _Moments:
        """From the noisy moments of rows (1/4, a, t); ``weights`` (F,) are the lengths of the features a."""
        first, second = slice(1, 1 + len(weights)), slice(1 + len(weights), None)
        n = float(np.clip(joint[0, 0] / INTERCEPT**2, LEAST_PEOPLE * n_units, n_units))
        # Means that noise alone could have made are 0: features and edges were centred on released means before.
        chance = sd / np.sqrt(2) / INTERCEPT
        centre, average = (_above_noise(joint[0, block] / INTERCEPT, chance) / n for block in (first, second))
        gram = joint[first, first] - n * np.outer(centre, centre)
        cross = joint[first, second] - n * np.outer(centre, average)
        typical = max(float(np.trace(joint[second, second])) / len(joint[second]), sd / np.sqrt(len(joint[second])))
        scatter = shrunk(joint[second, second], sd, np.full(len(joint[second]), typical))
        variance, axes = eigh(scatter)
        return cls(n, centre, shrunk(gram, sd, n * weights**2), cross, scatter, axes[:, ::-1], variance[::-1])


def _above_noise(sums: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Noisy numbers drawn to 0 by the share of their squares that noise explains (James & Stein 1961)."""
    return sums * max(0.0, 1 - len(sums) * sd**2 / max(float((sums**2).sum()), 1e-300))


def _directions(moments: _Moments, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combinations of features (F, q) with variance 1 and uncorrelated, that move people most."""
    values, vectors = eigh(moments.gram / moments.n)
    left, strength, _ = np.linalg.svd((vectors * np.sqrt(values)).T @ coefficients, full_matrices=False)
    used = min(DIRECTIONS, int((strength > WEAKEST * strength[0]).sum())) if strength[0] > 0 else 0
    return (vectors / np.sqrt(values)) @ left[:, :used]


def _beyond_modes(
    scores: NDArray[np.float64],
    n_directions: int,
    modes: NDArray[np.float64],
    space: EdgeSpace,
    cohort: Cohort,
    weight: NDArray[np.float64],
    ledger: Ledger,
    budget: float,
) -> tuple[NDArray[np.float64], float]:
    """What scores of variance 1 say of each edge beyond the smooth modes, (Q, kept edges), and the directions' gain in R2."""
    n_units, n_edges = float(round(weight.sum())), len(modes)
    kinds = (np.arange(scores.shape[1]) >= n_directions).astype(np.intp)
    emphasis = np.where(kinds, FACTOR_WEIGHT, 1.0)
    emphasis /= np.linalg.norm(emphasis)
    reach = np.sqrt(n_edges) * radius_of(
        "distance to the refined mean", lambda: space.standardised(cohort), weight, ledger, budget * SHARES["edges"]
    )
    cross, squares, sensitivity = map_moments(scores * emphasis, kinds, lambda: space.standardised(cohort), weight, reach)
    exact = np.concatenate([cross.ravel(), squares])
    noisy, sd = ledger.release("edge-level maps of directions and factors", exact, sensitivity, budget * SHARES["maps"])
    cross = noisy[: cross.size].reshape(cross.shape) * reach / emphasis[:, None]
    squares = noisy[cross.size :] / OWN
    levels, gain = np.zeros_like(cross), 0.0
    for place, kind in enumerate(kinds):
        people = np.clip(squares[kind] / (emphasis[kinds == kind] ** 2).sum(), LEAST_PEOPLE * n_units, n_units)
        level = cross[place] / people
        level -= modes @ (modes.T @ level)
        freedom = max(n_edges - modes.shape[1], 1)
        noise = ((sd * reach / emphasis[place] / people) ** 2 + 1 / people) * freedom
        keep = 1 - noise / max(float((level**2).sum()), 1e-300)
        if keep > ERRORS * np.sqrt(2 / freedom):
            levels[place] = keep * level
            gain += float((levels[place] ** 2).sum()) / n_edges if kind == 0 else 0.0
    return levels, gain

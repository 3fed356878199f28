"""Do samples lie where real people lie, and everywhere they do? Precision and recall, density and coverage.

All four look at points: leading components of connectomes, of real and generated people alike.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.classifier import COMPONENTS, principal_components
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.inversion import deviation_draws, share_draws
from connectome_gnn.evaluation.reference import ROWS, modelled
from connectome_gnn.evaluation.scores import Estimate, SharedScore

__all__ = [
    "NEIGHBOURS",
    "AlphaPrecision",
    "BetaRecall",
    "ManifoldCoverage",
    "ManifoldDensity",
    "Points",
    "alpha_precision",
    "beta_recall",
    "coverage",
    "density",
]

NEIGHBOURS = 10
STEPS = 30
GROUPS = 20
LEAST_PEOPLE = 20
GENERATED_TOO = 1.12
"""How much wider the interval of beta-recall is for the generated people, who are drawn too; as found in simulations."""


@dataclass(frozen=True, eq=False)
class Points:
    """Squared distances between points: of real ones with each other, and of real with generated ones.

    Attributes
    ----------
    real : (N, D) points.
    generated : (M, D) points.
    real_real : (N, N) squared distances, infinite on the diagonal.
    real_generated : (N, M) squared distances.
    """

    real: NDArray[np.float64]
    generated: NDArray[np.float64]
    real_real: NDArray[np.float32]
    real_generated: NDArray[np.float32]

    @classmethod
    def of(cls, real: NDArray, generated: NDArray) -> Points:
        """Points and their distances."""
        real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
        within = _squared(real, real)
        np.fill_diagonal(within, np.inf)
        return cls(real, generated, within, _squared(real, generated))

    def take(self, real: NDArray[np.intp], generated: NDArray[np.intp]) -> Points:
        """Some of the points."""
        within, between = self.real_real[np.ix_(real, real)], self.real_generated[np.ix_(real, generated)]
        return Points(self.real[real], self.generated[generated], within, between)


def alpha_precision(points: Points) -> float:
    """``1 - 2 mean |P(a) - a|`` over a: P(a) the share of generated points in the ball around the real centre that holds a share a of real
    ones.

    Range: 0 to 1; 1 where generated points lie as far from the centre as real ones do. On 30 steps of a from 0 to 1.

    References
    ----------
    Alaa et al. 2022, ICML (PMLR 162:290), IP_alpha, in the space of the components instead of a hypersphere's embedding.
    """
    centre = points.real.mean(0)
    return _evenness(np.linalg.norm(points.real - centre, axis=1), np.linalg.norm(points.generated - centre, axis=1))


def beta_recall(points: Points) -> float:
    """``1 - 2 mean |R(b) - b|`` over b: R(b) the share of real points that have a generated one near, it in the ball that holds b of them.

    Near: not further than the nearest other real point. The ball is around the generated centre, and holds a share b of the generated
    points that are the nearest to some real one. Range: 0 to 1. Where nothing differs about half of the real points have a generated one
    nearer than a real one, R(b) is about b / 2, and beta-recall about .5: compare it with that of real halves.

    References
    ----------
    Alaa et al. 2022, ICML (PMLR 162:290), IR_beta.
    """
    nearest = points.real_generated.argmin(1)
    near = points.real_generated.min(1) <= points.real_real.min(1)
    radius = np.linalg.norm(points.generated[nearest] - points.generated.mean(0), axis=1)
    return _evenness(radius, radius, near)


def density(points: Points, k: int = NEIGHBOURS) -> float:
    """Real balls that a generated point lies in, on average, over k; a real ball reaches to the k-th nearest other real point.

    Range: 0 upwards; 1 is expected where nothing differs; above 1 where generated points crowd where real ones do.

    References
    ----------
    Naeem et al. 2020, ICML (PMLR 119:7176).
    """
    return float((points.real_generated <= _radius(points, k)[:, None]).sum(0).mean() / k)


def coverage(points: Points, k: int = NEIGHBOURS) -> float:
    """Share of real balls (see :func:`density`) that hold a generated point.

    Range: 0 to 1. Where nothing differs, among N points each: 1 - (N - 1) ... (N - k) / ((2 N - 1) ... (2 N - k)).

    References
    ----------
    Naeem et al. 2020, ICML (PMLR 119:7176), with Lemma 1's expectation.
    """
    return float((points.real_generated <= _radius(points, k)[:, None]).any(1).mean())


def _evenness(scale: NDArray[np.float64], values: NDArray[np.float64], counted: NDArray[np.bool_] | None = None) -> float:
    """One minus twice the mean difference between shares and the share of (counted) values up to the quantiles of a scale."""
    shares = np.linspace(0, 1, STEPS)
    found = (values <= np.quantile(scale, shares)[:, None]) & (True if counted is None else counted)
    return float(1 - 2 * np.abs(shares - found.mean(1)).sum() * (shares[1] - shares[0]))


def _radius(points: Points, k: int) -> NDArray[np.float32]:
    k = min(k, len(points.real) - 1)
    return np.partition(points.real_real, k - 1, axis=1)[:, k - 1]


def _squared(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return np.maximum(squared, 0).astype(np.float32)


class _OnComponents(SharedScore):
    """What the four scores share: points of matched cohorts, and of halves of the real people."""

    null = float("nan")

    def estimate(self, comparison: Comparison) -> Estimate:
        """The score of as many real as generated people, and of real halves."""
        size = min(comparison.n_people, len(comparison.generated_rows))
        if size < LEAST_PEOPLE:
            return Estimate.undefined(f"needs at least {LEAST_PEOPLE} people of each kind, got {size}", null=self.null)
        real, generated, points = comparison.once("manifold", lambda: _matched_points(comparison, size))
        value = self._of(points)
        halves = comparison.shared("manifold of halves", lambda: _points_of_halves(comparison))
        draws = np.empty(0)
        if len(comparison.weights) > 1:
            draws = self._draws(points, value, comparison.weights[1:, real], comparison.generated_weights[1:, generated])
        return Estimate(np.concatenate([[value], draws]), size, self._null(size), real_vs_real=self._of(halves))

    def _null(self, size: int) -> float:
        return self.null

    @abstractmethod
    def _of(self, points: Points) -> float: ...

    @abstractmethod
    def _draws(self, points: Points, value: float, weights: NDArray, generated_weights: NDArray) -> NDArray[np.float64]: ...


class AlphaPrecision(_OnComponents):
    """Do samples lie as far from the centre of real people as real people do? :func:`alpha_precision` on components.

    Points are the leading 30 principal components of real and generated connectomes together, on the modelling scale; one sample a person,
    the first, and as many people of both kinds. Shape: one number. Range: 0 to 1; the null is 1, but for finite numbers: see
    ``real_vs_real``.
    Interval: of the expectation for so many people.
    Source: Alaa et al. 2022, ICML (PMLR 162:290).
    """

    name = "alpha_precision"
    null = 1.0

    def _of(self, points: Points) -> float:
        return alpha_precision(points)

    def _draws(self, points: Points, value: float, weights: NDArray, generated_weights: NDArray) -> NDArray[np.float64]:
        centre = points.real.mean(0)
        own, theirs = (np.linalg.norm(side - centre, axis=1) for side in (points.real, points.generated))
        shares = np.linspace(0, 1, STEPS)
        inside, inside_generated = ((side <= np.quantile(own, shares)[:, None]).astype(np.float32) for side in (own, theirs))
        noise = inside_generated @ _change(generated_weights) - inside @ _change(weights)

        def size(difference: NDArray[np.float64]) -> NDArray[np.float64]:
            total: NDArray[np.float64] = np.abs(difference).sum(0) * 2 * shares[1]
            return total

        return np.minimum(1 - deviation_draws(inside_generated.mean(1) - shares, -noise.astype(np.float64), size), 1)


class BetaRecall(_OnComponents):
    """Do samples lie near every real person? :func:`beta_recall` on components, as for :class:`AlphaPrecision`.

    Shape: one number. Range: 0 to 1; about .5 where nothing differs (``real_vs_real`` tells). Interval: real people's own parts of it,
    resampled, and widened for the generated people.
    Source: Alaa et al. 2022, ICML (PMLR 162:290).
    """

    name = "beta_recall"

    def _of(self, points: Points) -> float:
        return beta_recall(points)

    def _draws(self, points: Points, value: float, weights: NDArray, generated_weights: NDArray) -> NDArray[np.float64]:
        nearest = points.real_generated.argmin(1)
        near = points.real_generated.min(1) <= points.real_real.min(1)
        radius = np.linalg.norm(points.generated[nearest] - points.generated.mean(0), axis=1)
        own = 2 * near * (radius <= np.quantile(radius, np.linspace(0, 1, STEPS))[:, None]).mean(0)
        return np.minimum(value + GENERATED_TOO * (own - own.mean()) @ _change(weights), 1)


class ManifoldDensity(_OnComponents):
    """Do samples lie where real people are many? :func:`density` (k = 10) on components, as for :class:`AlphaPrecision`.

    Shape: one number. Range: 0 upwards; the null is 1; samples that vary too little crowd and score above 1, the group mean repeated far
    above: in many dimensions it is nearer to everybody than anybody else is. For the same reason that mean can score a full
    ``manifold_coverage``.
    Interval: jackknife over 20 groups of people, of both kinds.
    Source: Naeem et al. 2020, ICML (PMLR 119:7176).
    """

    name = "manifold_density"
    null = 1.0

    def _of(self, points: Points) -> float:
        return density(points)

    def _draws(self, points: Points, value: float, weights: NDArray, generated_weights: NDArray) -> NDArray[np.float64]:
        size = len(points.real)
        group = np.arange(size) % GROUPS
        without = np.array([self._of(points.take(*(np.flatnonzero(group != g),) * 2)) for g in range(GROUPS)])
        weight = np.stack([(weights + generated_weights)[:, group == g].mean(1) / 2 - 1 for g in range(GROUPS)])
        weight *= np.sqrt(GROUPS - 1) / max(float(weight.std()), 1e-12) / np.sqrt(GROUPS)
        return np.maximum(value + (without.mean() - without) @ weight, 0)


class ManifoldCoverage(_OnComponents):
    """Are there samples near every real person? :func:`coverage` (k = 10) on components, as for :class:`AlphaPrecision`.

    Shape: one number. Range: 0 to 1; the null is what identically distributed people score. Interval: Wilson's for a share among half as
    many real people, as which balls hold samples hangs on both kinds of people.
    Source: Naeem et al. 2020, ICML (PMLR 119:7176); Wilson 1927, JASA 22:209.
    """

    name = "manifold_coverage"

    def _of(self, points: Points) -> float:
        return coverage(points)

    def _null(self, size: int) -> float:
        k = np.arange(1, NEIGHBOURS + 1)
        return float(1 - np.prod((size - k) / (2 * size - k)))

    def _draws(self, points: Points, value: float, weights: NDArray, generated_weights: NDArray) -> NDArray[np.float64]:
        covered: NDArray[np.bool_] = np.asarray((points.real_generated <= _radius(points, NEIGHBOURS)[:, None]).any(1))
        change = (weights + generated_weights) @ (covered - covered.mean())
        per_person = 2 / len(covered)
        return share_draws(value, per_person * value * (1 - value) if 0 < value < 1 else per_person, change)


def _change(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, B) what resamples change in the weight of each person, which is 1 / N."""
    changed: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True) - np.float32(1 / weights.shape[1])).T
    return changed


def _matched_points(comparison: Comparison, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Points]:
    """Positions of as many real and generated people, and their points."""
    rng = comparison.rng("manifold")
    rows = [
        np.arange(n) if n == size else np.sort(rng.permutation(n)[:size]) for n in (comparison.n_people, len(comparison.generated_rows))
    ]
    values = np.empty((2 * size, comparison.real.n_edges), np.float32)
    for start in range(0, size, ROWS):
        real = modelled(comparison.real, comparison.real_rows[rows[0][start : start + ROWS]])
        values[start : start + len(real)] = real
        values[size + start : size + start + len(real)] = modelled(
            comparison.generated, comparison.generated_rows[rows[1][start : start + ROWS], 0]
        )
    mean, directions = principal_components(values, min(COMPONENTS, *values.shape), rng)
    scores = (values - mean) @ directions
    return rows[0], rows[1], Points.of(scores[:size], scores[size:])


def _points_of_halves(comparison: Comparison) -> Points:
    """One half of the real people beside the other, on components of all of them."""
    first, second = comparison.halves
    size = min(len(first), len(second))
    values = comparison.real_values()
    mean, directions = principal_components(values, min(COMPONENTS, *values.shape), comparison.rng("manifold of halves"))
    scores = (values - mean) @ directions
    return Points.of(scores[first[:size]], scores[second[:size]])

"""Distribution: do generated people differ from each other, and lack edges, as real people do?

These scores compare cohorts, not persons: K samples a person are kept as they are, and the people of both cohorts need not be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.calibration import calibration_scores
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.distances import distance_scores
from connectome_gnn.evaluation.edge_covariance import EdgeCovarianceR
from connectome_gnn.evaluation.edge_lengths import EdgeLengthDistance
from connectome_gnn.evaluation.manifold import AlphaPrecision, BetaRecall, ManifoldCoverage, ManifoldDensity
from connectome_gnn.evaluation.mmd import DESCRIPTORS, MMD
from connectome_gnn.evaluation.resampling import weighted_mean
from connectome_gnn.evaluation.scores import NO_ABSENT_EDGES, Estimate, SharedScore
from connectome_gnn.evaluation.told_apart import TwoSampleAUCComponents, TwoSampleAUCTopology
from connectome_gnn.evaluation.wiring_energy import WiringDegreeR, WiringEnergy

__all__ = ["DensityDifference", "SpreadRatio", "ZerosDifference", "distribution_scores"]

VALUES_AT_ONCE = 25_000_000
"""Numbers of one array of resamples x edges held in memory."""

PEOPLE_AT_ONCE = 256

NO_VARIANCE = 1e-12
"""Real people whose variance on an edge is below this share of the training variance do not differ on it."""


class SpreadRatio(SharedScore):
    """How much generated people differ from each other, as a share of how much real people do.

    Median over common edges of the standard deviation over generated people divided by that over real people, modelling scale, both
    with n - 1. With K samples a person the generated variance is what one sample a person has in expectation: the variance of the
    people's means (n - 1) plus the mean of the samples' variances around them (K). Edges on which real people do not differ are left out.

    Shape: one number. Range: 0 upwards; a perfect generator's samples score 1 (the null is 1: no difference), one connectome repeated
    scores 0. Expected connectomes are averages and score well below 1, however good: the square root of the share of variance that
    phenotypes explain.
    Source: the law of total variance, applied edge by edge.
    """

    name = "spread_ratio"
    paired = False

    def estimate(self, comparison: Comparison) -> Estimate:
        """Median ratio of standard deviations; its resamples in float32."""
        edges = np.flatnonzero(comparison.reference.common)
        size = max(VALUES_AT_ONCE // len(comparison.weights), 1)
        blocks = [_ratios(comparison, edges[start : start + size]) for start in range(0, len(edges), size)]
        if not sum(point.shape[1] for point, _ in blocks):
            return Estimate.undefined("there is no common edge on which real people differ", null=1.0)
        point, draws = (np.concatenate(parts, 1) for parts in zip(*blocks, strict=True))
        medians = [np.median(ratios, 1, overwrite_input=True).astype(np.float64) for ratios in (point, draws)]
        beside = comparison.shared("spread of real halves", lambda: _spread_of_halves(comparison, edges))
        return Estimate(np.concatenate(medians), comparison.n_people, 1.0, real_vs_real=beside)


class DensityDifference(SharedScore):
    """Generated minus real density: share of all E edges that are not exactly 0, averaged over people (and samples).

    Shape: one number. Range: -1 to 1; the null, no difference, is 0. Undefined for expected connectomes, which are averages over people
    with and without an edge.
    Source: network density (Rubinov & Sporns 2010, NeuroImage 52:1059).
    """

    name = "density_difference"
    paired = False

    def estimate(self, comparison: Comparison) -> Estimate:
        """Difference of mean densities."""
        if comparison.generated.kind == "expected":
            return Estimate.undefined(NO_ABSENT_EDGES, null=0.0)
        real, generated = comparison.densities
        difference = weighted_mean(comparison.generated_weights, generated) - weighted_mean(comparison.weights, real)
        return Estimate(difference, comparison.n_people, 0.0, real_vs_real=_between_halves(comparison, real))


class ZerosDifference(SharedScore):
    """Generated minus real share of exact zeros among all E edges, averaged over people (and samples).

    Shape: one number. Range: -1 to 1; the null, no difference, is 0. The mirror image of :class:`DensityDifference`, under the name by
    which samples are judged: absent edges should be exactly 0 as often as in real people. Undefined for expected connectomes.
    Source: Rubinov & Sporns 2010, NeuroImage 52:1059 (density).
    """

    name = "zeros_difference"
    paired = False

    def estimate(self, comparison: Comparison) -> Estimate:
        """Difference of mean shares of zeros."""
        if comparison.generated.kind == "expected":
            return Estimate.undefined(NO_ABSENT_EDGES, null=0.0)
        real, generated = comparison.densities
        difference = weighted_mean(comparison.generated_weights, 1 - generated) - weighted_mean(comparison.weights, 1 - real)
        return Estimate(difference, comparison.n_people, 0.0, real_vs_real=-_between_halves(comparison, real))


def distribution_scores(measures: tuple[str, ...]) -> list[SharedScore]:
    """The scores of the part ``"distribution"``, given the topology measures to score."""
    return [
        SpreadRatio(),
        EdgeCovarianceR(),
        DensityDifference(),
        ZerosDifference(),
        *distance_scores(measures),
        EdgeLengthDistance("ks"),
        EdgeLengthDistance("energy"),
        TwoSampleAUCComponents(),
        TwoSampleAUCTopology(),
        *(MMD(descriptor) for descriptor in DESCRIPTORS),
        AlphaPrecision(),
        BetaRecall(),
        ManifoldDensity(),
        ManifoldCoverage(),
        *calibration_scores(measures),
        WiringEnergy(),
        WiringDegreeR(),
    ]


def _between_halves(comparison: Comparison, values: NDArray[np.float64]) -> float:
    """Mean of one half of the real people minus that of the other."""
    first, second = comparison.halves
    return float(values[first].mean() - values[second].mean())


def _spread_of_halves(comparison: Comparison, edges: NDArray[np.intp]) -> float:
    """The spread ratio of one half of the real people to the other."""
    if min(map(len, comparison.halves)) < 2:
        return float("nan")
    values = comparison.real_values(edges)
    first, second = (values[half].std(0, ddof=1, dtype=np.float64) for half in comparison.halves)
    differ = second > np.sqrt(NO_VARIANCE) * comparison.reference.deviation[edges]
    return float(np.median(first[differ] / second[differ])) if differ.any() else float("nan")


def _ratios(comparison: Comparison, edges: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Generated over real standard deviation of some edges: in the cohorts themselves (1, E'), in each resample (B, E')."""
    centre, unit = comparison.reference.mean[edges], comparison.reference.deviation[edges]
    real = (((x - centre) / unit)[:, None] for _, x in comparison.real_batches(edges))
    generated = ((y - centre) / unit for _, y in comparison.generated_batches(edges))
    below, draws_below = _variances(real, comparison.weights)
    above, draws_above = _variances(generated, comparison.generated_weights)
    differ = below[0] > NO_VARIANCE
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one person many times over has no spread: NaN, left out
        return np.sqrt(above[:, differ] / below[:, differ]), np.sqrt(draws_above[:, differ] / draws_below[:, differ])


def _variances(batches: Iterable[NDArray[np.float64]], weights: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Variance of every edge over people: in the cohort itself (1, E') and in each resample (B, E').

    Parameters
    ----------
    batches : the samples of people in turn, (n, K, E'), roughly standardised, so that sums of squares lose no digits.
    weights : (1 + B, N) how often each person is drawn.
    """
    # n / (n - 1) for the variance of people's means, once more for that of resampled people, who repeat; samples vary around a mean of
    # their own, and their variance needs neither.
    n = weights.shape[1]
    unbiased = n / (n - 1)
    share = weights / weights.sum(1, keepdims=True)
    first, second, done = 0.0, 0.0, 0
    draws_first, draws_second = np.float32(0), np.float32(0)
    for mean, within in _moments(batches):
        square = mean**2
        drawn = share[1:, done : done + len(mean)]
        first, second = first + mean.sum(0) / n, second + (unbiased * square + within).sum(0) / n
        draws_first = draws_first + drawn @ mean.astype(np.float32)
        draws_second = draws_second + drawn @ (unbiased**2 * square + within).astype(np.float32)
        done += len(mean)
    point = np.asarray(second - unbiased * first**2)[None]
    draws = np.asarray(draws_second - np.float32(unbiased**2) * draws_first**2)
    return np.maximum(point, 0), np.maximum(draws, 0)


def _moments(batches: Iterable[NDArray[np.float64]]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Mean over each person's samples and variance around it, (n, E') each, of enough people at once for a product of matrices to pay."""
    held: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    people = 0
    for samples in batches:
        held.append((samples.mean(1), samples.var(1)))
        people += len(samples)
        if people >= PEOPLE_AT_ONCE:
            yield np.concatenate([mean for mean, _ in held]), np.concatenate([within for _, within in held])
            held, people = [], 0
    if held:
        yield np.concatenate([mean for mean, _ in held]), np.concatenate([within for _, within in held])

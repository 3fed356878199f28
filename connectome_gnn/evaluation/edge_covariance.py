"""Do edges vary together in generated people as they do in real ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.fidelity import NO_COMMON_EDGES
from connectome_gnn.evaluation.scores import Estimate, SharedScore

__all__ = ["EdgeCovarianceR", "agreement", "agreement_and_influence"]

EDGES = 400
LEAST_PEOPLE = 3


class EdgeCovarianceR(SharedScore):
    """Pearson r between the correlations of edges in generated and in real people, over all pairs of 400 common edges drawn at random.

    Correlations over people, modelling scale. Real people are halved; each half is set beside the generated connectomes of as many people,
    of the other half where both cohorts hold the same people (so that no person is on both sides), and both r are averaged; one sample a
    person, the first. ``real_vs_real`` is the r between both halves: the same numbers of people, so the same noise, and the two compare.

    Shape: one number. Range: -1 to 1. Noise in the correlations keeps r below 1 even where nothing differs: the null is therefore that of
    the real halves, and 0 what unrelated edges score. Interval: of the expectation for halves of this size (infinitesimal jackknife over
    people).
    Undefined where generated people do not differ.
    Source: the second-order comparison of functional connectomes (Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2:4), on edges.
    """

    name = "edge_covariance_r"

    def estimate(self, comparison: Comparison) -> Estimate:
        """Mean r of both halves."""
        common = np.flatnonzero(comparison.reference.common)
        if not len(common):
            return Estimate.undefined(NO_COMMON_EDGES)
        rng = comparison.rng(self.name)
        edges = np.sort(rng.permutation(common)[:EDGES])
        real = comparison.real_values(edges, np.float64)
        generated = comparison.generated_values(edges, np.float64)[:, 0]
        halves = comparison.halves
        others = halves if comparison.paired else tuple(np.array_split(rng.permutation(len(generated)), 2))
        size = min(len(rows) for rows in (*halves, *others))
        if size < LEAST_PEOPLE:
            return Estimate.undefined(f"correlations need at least {2 * LEAST_PEOPLE} people of each kind")
        first, second = (rows[:size] for rows in halves)
        theirs, others_theirs = (rows[:size] for rows in others)
        differ = [
            values[rows].std(0) > 1e-9 for values, rows in ((real, first), (real, second), (generated, theirs), (generated, others_theirs))
        ]
        kept = np.logical_and.reduce(differ)
        if kept.sum() < LEAST_PEOPLE:
            reason = "generated people do not differ from each other, so their edges have no correlations"
            return Estimate.undefined(reason if not np.logical_and.reduce(differ[2:]).any() else "fewer than 3 edges differ in every half")
        real, generated = real[:, kept], generated[:, kept]
        change, value = np.zeros(len(comparison.weights) - 1), 0.0
        for own, other in ((first, others_theirs), (second, theirs)):
            r, of_real, of_generated = agreement_and_influence(real[own], generated[other])
            value += r / 2
            change += ((comparison.weights[1:, own] - 1) @ of_real + (comparison.generated_weights[1:, other] - 1) @ of_generated) / 2
        beside = agreement(real[first], real[second])
        return Estimate(np.concatenate([[value], value + change]), 2 * size, beside, real_vs_real=beside)


def agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson r between the upper triangles of the correlation matrices of (n, F) and (m, F) values."""
    return agreement_and_influence(first, second)[0]


def agreement_and_influence(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Pearson r between the upper triangles of two correlation matrices, and its derivative in the weight of every row of both.

    Returns
    -------
    r : in [-1, 1].
    of_first, of_second : (n,), (m,) change of r as a row comes to count one more.
    """
    upper = np.triu_indices(first.shape[1], 1)
    z = [(values - values.mean(0)) / values.std(0) for values in (first, second)]
    matrices = [one.T @ one / len(one) for one in z]
    triangles = [matrix[upper] - matrix[upper].mean() for matrix in matrices]
    norms = [float(np.linalg.norm(triangle)) or 1.0 for triangle in triangles]
    directions = [triangle / norm for triangle, norm in zip(triangles, norms, strict=True)]
    r = float(directions[0] @ directions[1])
    influences = []
    for own, other in ((0, 1), (1, 0)):
        slope = np.zeros_like(matrices[own])
        slope[upper] = (directions[other] - r * directions[own]) / norms[own]
        slope += slope.T
        linear = np.einsum("ij,ij->i", z[own] @ slope, z[own]) - (z[own] ** 2) @ (slope * matrices[own]).sum(1)
        influences.append(linear / 2 / len(z[own]))
    return r, influences[0], influences[1]

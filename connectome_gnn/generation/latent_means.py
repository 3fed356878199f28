"""Latent means that make people drawn around them have the expected connectome on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.marginals import Marginals

__all__ = ["LatentMeans"]

FURTHEST, STEPS = 4.0, 48
"""Latent means lie within 4 standard deviations; how many steps there are from one end to the other."""
DEVIATIONS, KNOTS = 5.0, 81
"""Deviations are tabulated at 81 places from -5 to 5 standard deviations, and stay the same beyond."""
NODES = np.linspace(-4, 4, 81)
BLOCK = 256


@dataclass(frozen=True)
class LatentMeans:
    """For every edge a growing map from its expected deviation to the latent mean of people of whom that is expected.

    An edge's value bends with its latent score, and stays at 0 below a threshold, so that people's mean value is not the value of their
    mean score. The map says at which latent mean the values of people around it average to what is expected; where no mean does, as for
    expectations below 0, it is the nearest one.

    Parameters
    ----------
    table : (modelled edges, 81) latent mean at deviations evenly from -5 to 5 standard deviations of the edge.
    """

    table: NDArray[np.float32]

    @classmethod
    def of(cls, marginals: Marginals, left: NDArray[np.floating], space: EdgeSpace) -> LatentMeans:
        """The maps of edges whose latent scores have variance ``left`` (E,) around their mean."""
        means = np.linspace(-FURTHEST, FURTHEST, STEPS + 1)
        spread, average = np.sqrt(left), np.zeros((len(means), len(left)))
        weights = np.exp(-(NODES**2) / 2)
        for node, weight in zip(NODES, weights / weights.sum(), strict=True):
            average += weight * marginals.values((means[:, None] + spread * node).astype(np.float32))
        expected = ((average - space.mean) / np.where(space.kept, space.std, 1)).T[space.kept]
        return cls(_inverse(np.maximum.accumulate(expected, 1), means, np.linspace(-DEVIATIONS, DEVIATIONS, KNOTS)))

    def at(self, deviation: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Latent means (n, E) of deviations (n, modelled edges); 0 where an edge is not modelled."""
        mean = np.zeros((len(deviation), len(kept)), np.float32)
        _look_up(deviation, self.table, np.flatnonzero(kept), mean)
        return mean


@njit(cache=True, nogil=True)
def _inverse(expected: NDArray, means: NDArray, deviations: NDArray) -> NDArray[np.float32]:
    table = np.empty((len(expected), len(deviations)), np.float32)
    for e in range(len(expected)):
        table[e] = np.interp(deviations, expected[e], means)
    return table


@njit(cache=True, nogil=True)
def _look_up(deviation: NDArray, table: NDArray, places: NDArray, mean: NDArray) -> None:
    per_step, last = np.float32((KNOTS - 1) / (2 * DEVIATIONS)), np.float32(KNOTS - 1.001)
    for block in range(0, len(places), BLOCK):
        for i in range(len(deviation)):
            for e in range(block, min(block + BLOCK, len(places))):
                position = min(max((deviation[i, e] + np.float32(DEVIATIONS)) * per_step, np.float32(0)), last)
                left = np.uint32(position)
                low = table[e, left]
                mean[i, places[e]] = low + (position - left) * (table[e, left + np.uint32(1)] - low)

"""Cores: the subgraphs that stay when weakly connected regions are peeled off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, map_graphs

__all__ = ["k_core", "s_core"]


def k_core(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Coreness of every region: the largest k such that it lies in a subgraph whose regions all have degree k or more.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative; an edge is a weight above 0.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    coreness : (R,) for one matrix, (N, R) for many, whole numbers; 0 for an isolated region.

    References
    ----------
    Seidman 1983, Social Networks 5:269; Hagmann et al. 2008, PLoS Biology 6:e159. Equals bctpy ``kcoreness_centrality_bu``, networkx
    ``core_number``, igraph ``coreness``.
    """
    result: NDArray = map_graphs(as_graphs(weights, "k-core"), _coreness, True, n_jobs=n_jobs)
    return result


def s_core(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Strength-coreness of every region: the largest s such that it lies in a subgraph whose regions all have strength s or more.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    coreness : (R,) for one matrix, (N, R) for many, in the weights' unit; 0 for an isolated region.

    References
    ----------
    Eidsaa & Almaas 2013, Physical Review E 88:062819. The regions with ``s_core >= s`` are those of bctpy ``score_wu(w, s)``.
    """
    result: NDArray = map_graphs(as_graphs(weights, "s-core"), _coreness, False, n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _coreness(matrix: NDArray, binary: bool) -> NDArray[np.float64]:
    """Peel off the weakest region again and again; a core's level is the largest minimum met so far."""
    n = len(matrix)
    left, gone, coreness = np.zeros(n), np.zeros(n, np.bool_), np.zeros(n)
    for i in range(n):
        for j in range(n):
            left[i] += (matrix[i, j] > 0) if binary else matrix[i, j]
    level = 0.0
    for _ in range(n):
        weakest, least = -1, np.inf
        for i in range(n):
            if not gone[i] and left[i] < least:
                weakest, least = i, left[i]
        level = max(level, least)
        coreness[weakest] = level
        gone[weakest] = True
        for j in range(n):
            left[j] -= (matrix[weakest, j] > 0) if binary else matrix[weakest, j]
    return coreness

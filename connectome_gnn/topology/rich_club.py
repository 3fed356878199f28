"""The rich club: whether regions of high degree are tied to each other more than they need be."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.small_world import REWIRINGS, NullMaker, hold_against
from connectome_gnn.topology.sorting import sort_ascending

__all__ = ["normalised_rich_club", "rich_club"]


def rich_club(weights: Any, *, weighted: bool = True, n_jobs: int = -1) -> Any:
    """Rich-club coefficient of every degree k: how full, or how strong, are the ties among regions of more than k edges.

    Binary (Colizza et al. 2006, doi:10.1038/nphys209): the share of pairs of these regions that are tied. Weighted (Opsahl et al. 2008,
    doi:10.1103/PhysRevLett.101.168702): the sum of their M ties' weights over the sum of the M largest weights of the whole graph.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    weighted : the weighted form, or the binary one.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    coefficient : (N, R - 1), or (R - 1,) for a single matrix: column k for regions of degree above k, k = 0 ... R - 2. NaN below the least
        degree, where the club would be everybody; where it has fewer than two regions; weighted, also where it has no tie. So an empty
        graph, a complete graph and a ring are NaN throughout, and a single region gives no columns.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used.

    Notes
    -----
    The weighted form equals bctpy's ``rich_club_wu``, whose level k = 1, 2, ... (degree at least k) is our column k - 1. The binary one
    equals networkx's ``rich_club_coefficient(normalized=False)`` from the least degree on; below it networkx gives the density.
    """
    return map_graphs(as_graphs(weights, "rich_club"), _rich_club, bool(weighted), n_jobs=n_jobs)


def normalised_rich_club(weights: Any, *, weighted: bool = True, n_nulls: int = 100, seed: int = 0, n_jobs: int = -1) -> Any:
    """Rich-club coefficient of every degree over its mean in random graphs of the same degrees and weights: above 1 for a rich club.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    weighted : the weighted form of :func:`rich_club`, or the binary one.
    n_nulls : degree-preserving null graphs for each graph (:func:`~connectome_gnn.topology.nulls.degree_preserving`).
    seed : graph k draws from its own stream.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    ratio : (N, R - 1), or (R - 1,) for a single matrix, column k for regions of degree above k; NaN where the coefficient is, or where it
        is 0 in all nulls. Its z and p: ``against_nulls(weights, rich_club, alternative="greater")``.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used, or ``n_nulls`` is below 1.

    References
    ----------
    Colizza et al. 2006, Nature Physics 2:110; weighted: Opsahl et al. 2008, PRL 101:168702. networkx ``rich_club_coefficient`` with
    ``normalized=True`` divides by a single null graph.
    """
    graphs = as_graphs(weights, "normalised_rich_club")
    coefficient = partial(rich_club, weighted=weighted, n_jobs=1)
    maker = NullMaker("degree", REWIRINGS["degree"])
    against = hold_against(graphs, coefficient, maker, n_nulls=n_nulls, alternative="greater", seed=seed, n_jobs=n_jobs)
    return against.ratio.astype(graphs.dtype)


@njit(cache=True, nogil=True)
def _rich_club(matrix: NDArray, weighted: bool) -> NDArray[np.float64]:
    n = len(matrix)
    degree = np.zeros(n, np.int64)
    n_edges = 0
    for i in range(n):
        for j in range(i):
            if matrix[i, j] > 0:
                degree[i] += 1
                degree[j] += 1
                n_edges += 1
    members, ties, strength = np.zeros(n + 1), np.zeros(n + 1, np.int64), np.zeros(n + 1)  # first by exact degree, then of degree above k
    ranked = np.empty(n_edges, matrix.dtype)
    edge = 0
    for i in range(n):
        members[degree[i]] += 1
        for j in range(i):
            if matrix[i, j] > 0:
                lesser = min(degree[i], degree[j])
                ties[lesser] += 1
                strength[lesser] += matrix[i, j]
                ranked[edge] = matrix[i, j]
                edge += 1
    largest = np.zeros(n_edges + 1)
    if weighted:
        sort_ascending(ranked)
        for m in range(n_edges):
            largest[m + 1] = largest[m] + ranked[n_edges - 1 - m]
    coefficient = np.full(max(n - 1, 0), np.nan)
    in_club, n_ties, total = members[n - 1], 0, 0.0
    for k in range(n - 2, -1, -1):
        if k + 1 < n - 1:
            in_club += members[k + 1]
        n_ties += ties[k + 1]
        total += strength[k + 1]
        if 2 <= in_club < n:
            if not weighted:
                coefficient[k] = 2 * n_ties / (in_club * (in_club - 1))
            elif n_ties > 0:
                coefficient[k] = total / largest[n_ties]
    return coefficient

"""Local efficiency: how short the paths among a region's neighbours are, without the region itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.lanes import divide, fill, inverse_cube_root, lane_count, load, multiply, multiply_add, pick_less, store, total
from connectome_gnn.topology.paths import floyd_warshall, ordered_lengths

__all__ = ["local_efficiency"]

VARIANTS = ("rubinov", "wang")


def local_efficiency(weights: Any, *, variant: str = "rubinov", n_jobs: int = -1) -> NDArray:
    """Weighted local efficiency of every region, (R,) or (N, R); 0 for a region with fewer than two neighbours.

    Over the pairs of neighbours j, h of region i, d_jh the shortest path between them among i's neighbours alone (edges 1 / w long):
    ``"rubinov"`` is the mean of (w_ij w_ih / d_jh)^(1/3); ``"wang"`` the mean of (w_ij w_ih)^(1/3) / d'_jh with edges w^(-1/3) long in d',
    which makes it the binary local efficiency where all weights are 1. Pairs that no such path joins count 0.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    variant : ``"rubinov"`` (default) or ``"wang"``.
    n_jobs : threads, -1 for all cores.

    Raises
    ------
    ConnectomeError
        If the variant is unknown, or the weights are no graphs, or negative, NaN or infinite.

    Notes
    -----
    Rubinov & Sporns (2010), NeuroImage 52:1059, table A1: equal to bctpy ``efficiency_wei(w, local="original")``. Wang et al. (2017),
    J. Comput. Neurosci. 43:1: bctpy ``efficiency_wei(w, local=True)``. networkx's and igraph's are of other kinds: the binary one; no cube
    roots, and paths through the rest of the graph.
    """
    if variant not in VARIANTS:
        raise ConnectomeError(f"local_efficiency has the variants {' and '.join(map(repr, VARIANTS))}, got {variant!r}")
    graphs = as_graphs(weights, "local_efficiency")
    result: NDArray = map_graphs(graphs, _local_efficiency, variant == "wang", n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _local_efficiency(weights: NDArray, wang: bool) -> NDArray:
    n, step = len(weights), lane_count(weights)
    length, order = ordered_lengths(weights)
    root, largest = _roots(weights, order, length, wang)
    S = (largest + step - 1) // step * step
    D, panel = np.empty((largest + largest % 2, S), root.dtype), np.empty((4, S), root.dtype)
    neighbours, mine = np.empty(n, np.int64), np.zeros(n + step, root.dtype)
    efficiency = np.zeros(n)
    for u in range(n):
        k = 0
        for j in range(n):
            neighbours[k] = j
            mine[k] = root[u, j]
            k += 1 if root[u, j] > 0 else 0
        if k < 2:
            continue
        for a in range(1, k):
            row, into = length[neighbours[a]], D[a]
            for b in range(a):
                into[b] = row[neighbours[b]]
        floyd_warshall(D, k, panel)
        mine[k : k + step] = 0
        efficiency[order[u]] = 2 * _sum_over_pairs(D, k, mine, wang) / (k * (k - 1))
    return efficiency


@njit(cache=True, nogil=True)
def _roots(weights: NDArray, order: NDArray, length: NDArray, wang: bool) -> tuple[NDArray, int]:
    """w^(1/3) in order, (R, S), and the largest degree; ``wang`` turns the lengths 1 / w below the diagonal into w^(-1/3)."""
    n, step = len(weights), lane_count(weights)
    S = length.shape[1]
    root = np.zeros((n, S), weights.dtype)
    nothing, infinite = fill(root, root.dtype.type(0)), fill(root, root.dtype.type(np.inf))
    largest = 0
    for i in range(n):
        row, degree = weights[order[i]], 0
        for j in range(n):
            root[i, j] = row[order[j]]
            degree += 1 if row[j] > 0 else 0
        largest = max(largest, degree)
        for position in range(i * S, (i + 1) * S, step):
            w = load(root, position)
            y = inverse_cube_root(w, root)
            store(root, position, multiply(multiply(w, y), y))
            if wang:
                store(length, position, pick_less(nothing, w, y, infinite))
    return root, largest


@njit(cache=True, nogil=True)
def _sum_over_pairs(D: NDArray, k: int, root: NDArray, wang: bool) -> float:
    """Sum over b < a of root_a root_b d_ab^(-1/3), or / d_ab where ``wang``; root is 0 from k on."""
    S, step = D.shape[1], lane_count(D)
    one, nothing, infinite = fill(D, D.dtype.type(1)), fill(D, D.dtype.type(0)), fill(D, D.dtype.type(np.inf))
    result = nothing
    for a in range(1, k):
        for b in range(a, min((a + step - 1) // step * step, S)):
            D[a, b] = np.inf
        row = nothing
        for b in range(0, a, step):
            d = load(D, a * S + b)
            inverse = divide(one, d) if wang else pick_less(d, infinite, inverse_cube_root(d, D), nothing)
            row = multiply_add(inverse, load(root, b), row)
        result = multiply_add(row, fill(D, root[a]), result)
    return total(result)

"""Local efficiency: how short the paths among a region's neighbours are, without the region itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs
from connectome_gnn.topology.cohorts import map_cohort
from connectome_gnn.topology.edge_lists import EdgeList, list_edges, list_neighbours, room_for_edges, take_cube_roots
from connectome_gnn.topology.elimination import floyd_warshall
from connectome_gnn.topology.lanes import (
    aligned,
    divide,
    fill,
    inverse,
    inverse_cube_root,
    lane_count,
    load,
    multiply_add,
    peek,
    pick_less,
    poke,
    store,
    total,
)
from connectome_gnn.topology.tiles import TILE, collect, floyd_warshall_side_by_side

__all__ = ["local_efficiency"]

VARIANTS = ("rubinov", "wang")

SIDE_BY_SIDE = 160
"""Regions of more neighbours are computed one at a time."""


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
    result: NDArray = map_cohort(graphs, _local_efficiency, [((graphs.n_regions,), None)], variant == "wang", n_jobs=n_jobs)[0]
    return result


@njit(cache=True, nogil=True)
def _local_efficiency(vectors: NDArray, n: int, efficiency: NDArray, wang: bool) -> None:
    """Regions of about as many neighbours lie side by side, one in each lane, and their neighbours go through Floyd-Warshall together."""
    step = lane_count(vectors)
    S = n // step * step + step
    length, root = aligned((n + 1) * S, vectors).reshape((n + 1, S)), aligned(n * S, vectors).reshape((n, S))
    edges = room_for_edges(n, vectors)
    neighbours, degree, order = np.empty((n, n), np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    infinite = fill(root, root.dtype.type(np.inf))
    X = panel = mine = aligned(0, vectors)
    offsets = np.empty(0, np.int64)
    for person in range(len(vectors)):
        list_edges(vectors[person], n, edges)
        take_cube_roots(n, edges)
        list_neighbours(n, edges, neighbours, degree)
        _by_degree(degree, order)
        _fill_matrices(n, edges, length, root, wang)
        done = 0
        while done < n and degree[order[done]] > SIDE_BY_SIDE:
            efficiency[person, order[done]] = _alone(length, root[order[done]], neighbours[order[done]], degree[order[done]], wang)
            done += 1
        for first in range(done, n, step):
            k = degree[order[first]]
            m = (k + TILE - 1) // TILE * TILE
            ld = m + TILE if m % 64 == 0 else m  # rows a multiple of 4 KiB apart would compete for the same lines of the cache
            if panel.size < m * TILE * step:
                X, panel = aligned(m * (m + TILE) * step, vectors), aligned(m * TILE * step, vectors)
                offsets, mine = np.empty(2 * m * step, np.int64), aligned(m * step, vectors)
            for lane in range(step):
                u = order[min(first + lane, n - 1)]
                for a in range(m):
                    j = peek(neighbours, u * n + min(a, n - 1)) if a < degree[u] else n
                    poke(offsets, a * step + lane, j * S)
                    poke(offsets, (m + a) * step + lane, j)
                    poke(mine, a * step + lane, peek(root, u * S + j))
            for a in range(m):
                for b in range(a + 1, k):
                    store(X, (a * ld + b) * step, collect(length, offsets, a * step, (m + b) * step))
                for b in range(max(a + 1, k), m):
                    store(X, (a * ld + b) * step, infinite)
            floyd_warshall_side_by_side(X, k, ld, panel)
            store(panel, 0, _sum_side_by_side(X, k, ld, mine, wang))
            for lane in range(min(step, n - first)):
                u = order[first + lane]
                efficiency[person, u] = 2 * panel[lane] / (degree[u] * (degree[u] - 1)) if degree[u] > 1 else 0


@njit(cache=True, nogil=True)
def _fill_matrices(n: int, edges: EdgeList, length: NDArray, root: NDArray, wang: bool) -> None:
    """Cube roots of the weights, symmetric; above the diagonal the lengths, 1 / w, or w^(-1/3) if ``wang``. Region n is nobody."""
    S = root.shape[1]
    root[:], length[:] = 0, np.inf
    for i in range(n):
        for e in range(edges.first[i], edges.first[i + 1]):
            j, x, y = peek(edges.columns, e), peek(edges.roots, e), peek(edges.inverse_roots, e)
            poke(root, i * S + j, x)
            poke(root, j * S + i, x)
            poke(length, i * S + j, y if wang else y * y * y)


@njit(cache=True, nogil=True)
def _by_degree(degree: NDArray, order: NDArray) -> None:
    """Regions from the most neighbours to the fewest."""
    n = len(degree)
    having = np.zeros(n + 1, np.int64)
    for k in degree:
        having[k] += 1
    before = 0
    for k in range(n, -1, -1):
        before, having[k] = before + having[k], before
    for i in range(n):
        order[having[degree[i]]] = i
        having[degree[i]] += 1


@njit(cache=True, nogil=True)
def _sum_side_by_side(X: NDArray, k: int, ld: int, root: NDArray, wang: bool) -> Any:
    """Sum over a < b of root_a root_b d_ab^(-1/3), or / d_ab where ``wang``, in every lane; root is 0 where there is nobody."""
    step = lane_count(X)
    nothing, infinite = fill(X, X.dtype.type(0)), fill(X, X.dtype.type(np.inf))
    result = nothing
    for a in range(k - 1):
        row = nothing
        for b in range(a + 1, k):
            d = load(X, (a * ld + b) * step)
            closeness = inverse(d, X) if wang else pick_less(d, infinite, inverse_cube_root(d, X), nothing)
            row = multiply_add(closeness, load(root, b * step), row)
        result = multiply_add(row, load(root, a * step), result)
    return result


@njit(cache=True, nogil=True)
def _alone(length: NDArray, root: NDArray, neighbours: NDArray, k: int, wang: bool) -> float:
    """One region of very many neighbours."""
    step = lane_count(length)
    S = (k + step - 1) // step * step
    D, panel = aligned((k + k % 2) * S, length).reshape((k + k % 2, S)), aligned(4 * S, length).reshape((4, S))
    mine = np.zeros(S, length.dtype)
    for a in range(k):
        mine[a] = root[neighbours[a]]
        for b in range(a):
            D[a, b] = length[neighbours[b], neighbours[a]]
    floyd_warshall(D, k, panel)
    return 2 * _sum_over_pairs(D, k, mine, wang) / (k * (k - 1))


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

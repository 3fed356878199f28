"""Clustering: how strongly the neighbours of a region are joined to each other, by the geometric mean weight of triangles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs
from connectome_gnn.topology.cohorts import map_cohort
from connectome_gnn.topology.edge_lists import list_edges, room_for_edges, take_cube_roots
from connectome_gnn.topology.lanes import aligned, fill, lane_count, load, multiply_add, peek, poke, store
from connectome_gnn.topology.tiles import load_several, product_of_several

__all__ = ["clustering", "transitivity"]

TILE, TWO_TILES, THREE_TILES = 4, 8, 12
"""Vectors of columns that are summed up in registers together; up to three tiles at once where that is all there are."""


def clustering(weights: Any, *, normalise: bool = False, n_jobs: int = -1) -> NDArray:
    """Weighted clustering coefficient of every region, (R,) or (N, R).

    sum over pairs of neighbours j, h of 2 (w_ij w_jh w_hi)^(1/3) / (k_i (k_i - 1)), k_i the number of neighbours; 0 with fewer than two.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    normalise : divide each graph's weights by its largest first, so that coefficients lie between 0 and 1.
    n_jobs : threads, -1 for all cores.

    Raises
    ------
    ConnectomeError
        If the weights are no graphs, or negative, NaN or infinite.

    Notes
    -----
    Onnela et al. (2005), Phys. Rev. E 71:065103, with the weights' own unit: equal to bctpy ``clustering_coef_wu``. networkx
    ``clustering(weight=...)`` divides by the largest weight, as ``normalise=True`` does; igraph's weighted one is Barrat's.
    """
    graphs = as_graphs(weights, "clustering")
    result: NDArray = map_cohort(graphs, _clustering, [((graphs.n_regions,), None)], bool(normalise), n_jobs=n_jobs)[0]
    return result


def transitivity(weights: Any, *, normalise: bool = False, n_jobs: int = -1) -> NDArray:
    """Weighted transitivity of each graph, () or (N,): triangles' intensities over connected triples; 0 where there are no triples.

    sum over regions of the numerators of :func:`clustering` over the sum of their k_i (k_i - 1), where clustering takes the mean of ratios.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    normalise : divide each graph's weights by its largest first.
    n_jobs : threads, -1 for all cores.

    Notes
    -----
    Equal to bctpy ``transitivity_wu``, which divides 0 by 0 where there are no triples. Binary weights give networkx's ``transitivity``.
    """
    result: NDArray = map_cohort(as_graphs(weights, "transitivity"), _transitivity, [((), None)], bool(normalise), n_jobs=n_jobs)[0]
    return result


@njit(cache=True, nogil=True)
def _clustering(vectors: NDArray, n: int, coefficients: NDArray, normalise: bool) -> None:
    room = _room(n, vectors)
    for person in range(len(vectors)):
        factor = _triangles(vectors[person], n, room, normalise)
        for i in range(n):
            k = room.degree[i]
            coefficients[person, i] = factor * room.triangles[i] / (k * (k - 1)) if k > 1 else 0


@njit(cache=True, nogil=True)
def _transitivity(vectors: NDArray, n: int, coefficient: NDArray, normalise: bool) -> None:
    room = _room(n, vectors)
    for person in range(len(vectors)):
        factor = _triangles(vectors[person], n, room, normalise)
        triples = 0
        for k in room.degree:
            triples += k * (k - 1)
        coefficient[person] = factor * room.triangles.sum() / triples if triples > 0 else 0.0


class _Room(NamedTuple):
    """Scratch for one graph of n regions."""

    edges: Any
    roots: Any  # (S, S) cube roots of the weights, S a whole number of tiles
    around: Any  # (n, a vector's lanes) twice the triangles' intensities around each region, in parts
    triangles: Any  # (n,)
    degree: Any  # (n,)


@njit(cache=True, nogil=True)
def _room(n: int, like: NDArray) -> _Room:
    step = lane_count(like)
    width = TILE * step
    S = (n + width - 1) // width * width
    roots, around = aligned(n * S, like).reshape((n, S)), aligned(n * step, like).reshape((n, step))
    return _Room(room_for_edges(n, like), roots, around, np.empty(n), np.empty(n, np.int64))


@njit(cache=True, nogil=True)
def _triangles(vector: NDArray, n: int, room: _Room, normalise: bool) -> float:
    """Twice the sum of (w_ij w_jh w_hi)^(1/3) over pairs of neighbours of each region i, and degrees, into ``room``; what to multiply with.

    That is (K^3)_ii, K the cube roots: the sum over i's edges of K_ij (K K)_ij, and both ends of an edge have that product of two rows.
    """
    edges, roots, degree = room.edges, room.roots, room.degree
    S, step = roots.shape[1], lane_count(roots)
    list_edges(vector, n, edges)
    take_cube_roots(n, edges)
    roots[:], room.around[:], degree[:] = 0, 0, 0
    for i in range(n):
        for e in range(edges.first[i], edges.first[i + 1]):
            j, x = peek(edges.columns, e), peek(edges.roots, e)
            poke(roots, i * S + j, x)
            poke(roots, j * S + i, x)
            poke(degree, j, peek(degree, j) + 1)
        degree[i] += edges.first[i + 1] - edges.first[i]
    column = 0
    while column < S:
        tiles = (S - column) // (TILE * step)
        if tiles >= 3:
            _close(load_several(roots, 0, THREE_TILES), column, n, room)
        elif tiles == 2:
            _close(load_several(roots, 0, TWO_TILES), column, n, room)
        else:
            _close(load_several(roots, 0, TILE), column, n, room)
        column += min(tiles, 3) * TILE * step
    for i in range(n):
        room.triangles[i] = room.around[i].sum()
    largest = vector.max() if normalise and len(vector) > 0 else 1.0
    return 1 / largest if largest > 0 else 1.0


@njit(cache=True, nogil=True)
def _close(several: Any, column: int, n: int, room: _Room) -> None:
    """Add to ``around`` what is closed in a few columns h, as many as ``several`` vectors hold: a row of them waits in registers."""
    edges, K, around = room.edges, room.roots, room.around
    S, step = K.shape[1], lane_count(K)
    for i in range(n):
        row = load_several(K, i * S + column, several)
        mine = load(around, i * step)
        for e in range(edges.first[i], edges.first[i + 1]):
            j, x = peek(edges.columns, e), fill(K, peek(edges.roots, e))
            closed = product_of_several(row, K, j * S + column)
            mine = multiply_add(x, closed, mine)
            store(around, j * step, multiply_add(x, closed, load(around, j * step)))
        store(around, i * step, mine)

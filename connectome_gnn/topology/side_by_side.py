"""Graphs brought side by side, one in each lane of a vector, and their shortest paths brought back (kernels for kernels)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.lanes import aligned, inverse, lane_count, load, store
from connectome_gnn.topology.tiles import TILE, floyd_warshall_side_by_side, load_rows, scatter_rows, store_rows, transpose

__all__ = ["SIDE_BY_SIDE", "paths_side_by_side", "people_side_by_side", "places_side_by_side", "room_side_by_side", "to_matrices"]

SIDE_BY_SIDE = 160
"""Up to this many regions Floyd-Warshall on several graphs side by side is faster."""


@njit(cache=True, nogil=True)
def people_side_by_side(people: int, n: int, like: NDArray) -> int:
    """How many of the graphs, the first ones, are computed side by side: those that fill two thirds of a vector's lanes.

    The others go one by one, which gives them the same to the last bit.
    """
    step = lane_count(like)
    if n > SIDE_BY_SIDE:
        return 0
    left_over = people % step
    return people if 3 * left_over > 2 * step else people - left_over


@njit(cache=True, nogil=True)
def room_side_by_side(n: int, like: NDArray) -> tuple[NDArray, NDArray, int]:
    """Scratch for :func:`paths_side_by_side`: lengths, all infinite, and panel, both aligned, and the row's length in vectors."""
    step = lane_count(like)
    ld = (n + step - 1) // step * step
    X, panel = aligned(ld * ld * step, like), aligned(ld * TILE * step, like)
    X[:] = np.inf
    return X, panel, ld


@njit(cache=True, nogil=True)
def places_side_by_side(n: int, ld: int) -> NDArray:
    """The vector in which each edge of the upper triangle lies, (E,)."""
    places, e = np.empty(n * (n - 1) // 2, np.int64), 0
    for a in range(n):
        for b in range(a + 1, n):
            places[e] = a * ld + b
            e += 1
    return places


@njit(cache=True, nogil=True)
def paths_side_by_side(vectors: NDArray, first: int, n: int, X: NDArray, panel: NDArray, ld: int, places: NDArray) -> None:
    """Shortest paths of as many graphs as a vector has lanes, from ``first`` on (the last one again where there are no more).

    Parameters
    ----------
    vectors : (N, E) weights.
    X, panel, ld, places : from :func:`room_side_by_side` and :func:`places_side_by_side`; X holds lengths above the diagonal afterwards.
    """
    people, n_edges, step = len(vectors), vectors.shape[1], lane_count(X)
    block = np.empty(step * step, X.dtype)
    for start in range(0, n_edges - step + 1, step):
        for lane in range(step):
            person = min(first + lane, people - 1)
            store(block, lane * step, inverse(load(vectors, person * n_edges + start), X))
        scatter_rows(X, places, start, transpose(load_rows(block, 0, step)))
    for e in range(n_edges // step * step, n_edges):
        for lane in range(step):
            weight = vectors[min(first + lane, people - 1), e]
            X[places[e] * step + lane] = X.dtype.type(1) / weight if weight > 0 else np.inf
    floyd_warshall_side_by_side(X, n, ld, panel)


@njit(cache=True, nogil=True)
def to_matrices(X: NDArray, ld: int, matrices: NDArray, n: int) -> None:
    """Lengths side by side as symmetric matrices, 0 on the diagonal.

    Parameters
    ----------
    X, ld : what :func:`paths_side_by_side` leaves.
    matrices : (K, n or more, S) receives the graphs of the first K lanes, S being n or a whole number of vectors.
    n : regions.
    """
    count, S, step = len(matrices), matrices.shape[2], lane_count(X)
    size, whole = matrices.shape[1] * S, count == step and n >= step
    for start in range(0, n if whole else 0, step):
        left = start if start + step <= n else n - step  # the last vector of a row begins early, and what it repeats is the same
        for a in range(start):
            # vectors of pairs (a, left ...) across graphs, then a vector of such pairs for each graph
            store_rows(matrices, a * S + left, size, transpose(load_rows(X, (a * ld + left) * step, step)))
        for b in range(start + step, n):
            store_rows(matrices, b * S + start, size, transpose(load_rows(X, (start * ld + b) * step, ld * step)))
    for a in range(n):
        for lane in range(count):
            matrices[lane, a, a] = 0
        for b in range(a + 1, min(a // step * step + step, n) if whole else n):
            for lane in range(count):
                matrices[lane, a, b] = matrices[lane, b, a] = X[(a * ld + b) * step + lane]

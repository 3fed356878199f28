"""Clustering: how strongly the neighbours of a region are joined to each other, by the geometric mean weight of triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.lanes import add, fill, inverse_cube_root, lane_count, load, multiply, multiply_add, store, total

__all__ = ["clustering", "transitivity"]

TILE = 4
"""Vectors of columns that are summed up in registers together."""


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
    result: NDArray = map_graphs(as_graphs(weights, "clustering"), _clustering, normalise, n_jobs=n_jobs)
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
    result: NDArray = map_graphs(as_graphs(weights, "transitivity"), _transitivity, normalise, n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _clustering(weights: NDArray, normalise: bool) -> NDArray:
    triangles, degree = _triangles(weights, normalise)
    for i in range(len(weights)):
        triangles[i] = triangles[i] / (degree[i] * (degree[i] - 1)) if degree[i] > 1 else 0
    return triangles


@njit(cache=True, nogil=True)
def _transitivity(weights: NDArray, normalise: bool) -> float:
    triangles, degree = _triangles(weights, normalise)
    triples = 0
    for k in degree:
        triples += k * (k - 1)
    return triangles.sum() / triples if triples > 0 else 0.0


@njit(cache=True, nogil=True)
def _triangles(weights: NDArray, normalise: bool) -> tuple[NDArray, NDArray]:
    """Twice the sum of (w_ij w_jh w_hi)^(1/3) over pairs of neighbours of each region i, (R,) float64; and degrees (R,).

    That is (K^3)_ii, K the cube roots. Row i of K K is built up in registers from the rows of i's neighbours j, a tile of columns h at a
    time, and only for h < j: the other half is the same. In the tile where j lies both halves are added, and halved.
    """
    n = len(weights)
    width = TILE * lane_count(weights)
    roots = np.empty((n, (n + width - 1) // width * width), weights.dtype)
    for i in range(n):
        for j in range(n):
            roots[i, j] = weights[i, j]
        for j in range(n, roots.shape[1]):
            roots[i, j] = 0
    cube_roots(roots)
    triangles, degree = np.zeros(n), np.empty(n, np.int64)
    neighbours, values = np.empty(n, np.int64), np.empty(n, weights.dtype)
    for i in range(n):
        end = 0
        for j in range(n):
            neighbours[end] = j
            values[end] = roots[i, j]
            end += 1 if weights[i, j] > 0 else 0
        degree[i] = end
        before, closed = 0, 0.0
        for column in range(0, neighbours[end - 1] if end > 1 else 0, width):
            after = before
            while after < end and neighbours[after] < column + width:
                after += 1
            closed += _closed(roots, column, i, neighbours, values, before, after, end)
            before = after
        triangles[i] = 2 * closed
    if normalise and degree.any():
        triangles /= weights.max()
    return triangles, degree


@njit(cache=True, nogil=True)
def _closed(K: NDArray, column: int, i: int, neighbours: NDArray, values: NDArray, before: int, after: int, end: int) -> float:
    """Sum of K_ij K_jh K_hi over one tile of h and neighbours j: halved from ``before`` to ``after``, whole from there to ``end``."""
    S, step = K.shape[1], lane_count(K)
    half = K.dtype.type(0.5)
    nothing = fill(K, K.dtype.type(0))
    a0, a1, a2, a3, b0, b1, b2, b3 = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
    for t in range(before, after):
        p, x = neighbours[t] * S + column, fill(K, half * values[t])
        a0, a1 = multiply_add(x, load(K, p), a0), multiply_add(x, load(K, p + step), a1)
        a2, a3 = multiply_add(x, load(K, p + 2 * step), a2), multiply_add(x, load(K, p + 3 * step), a3)
    for t in range(after, end - 1, 2):
        p, q = neighbours[t] * S + column, neighbours[t + 1] * S + column
        x, y = fill(K, values[t]), fill(K, values[t + 1])
        a0, b0 = multiply_add(x, load(K, p), a0), multiply_add(y, load(K, q), b0)
        a1, b1 = multiply_add(x, load(K, p + step), a1), multiply_add(y, load(K, q + step), b1)
        a2, b2 = multiply_add(x, load(K, p + 2 * step), a2), multiply_add(y, load(K, q + 2 * step), b2)
        a3, b3 = multiply_add(x, load(K, p + 3 * step), a3), multiply_add(y, load(K, q + 3 * step), b3)
    if (end - after) % 2:
        p, x = neighbours[end - 1] * S + column, fill(K, values[end - 1])
        a0, a1 = multiply_add(x, load(K, p), a0), multiply_add(x, load(K, p + step), a1)
        a2, a3 = multiply_add(x, load(K, p + 2 * step), a2), multiply_add(x, load(K, p + 3 * step), a3)
    own = i * S + column
    result = multiply_add(load(K, own), add(a0, b0), multiply(load(K, own + step), add(a1, b1)))
    other = multiply_add(load(K, own + 2 * step), add(a2, b2), multiply(load(K, own + 3 * step), add(a3, b3)))
    return total(add(result, other))


@njit(cache=True, nogil=True)
def cube_roots(values: NDArray) -> None:
    """Cube roots of (R, S) non-negative values in place, S a whole number of vectors (a kernel for kernels)."""
    step = lane_count(values)
    for position in range(0, values.size, step):
        x = load(values, position)
        y = inverse_cube_root(x, values)
        store(values, position, multiply(multiply(x, y), y))

"""Shortest paths between all regions, and what is read off them: path length, eccentricity, radius, diameter, global efficiency.

An edge of weight w is 1 / w long, an absent edge infinitely long.

How it is computed: regions are put in order of strength. Weak ones are eliminated first, four at a time: for every pair of stronger
regions, is the way through the weak one shorter (a third of Floyd-Warshall's work)? Then they come back, strongest first: the paths from a
region to all stronger ones start with one of its edges, and few of those edges are worth a look once the shortest have been followed
(as in contraction hierarchies). Where most edges are themselves shortest paths, as with weights that hardly differ, that saves nothing
and Floyd-Warshall takes over. Rows are padded to whole vectors (see :mod:`connectome_gnn.topology.lanes`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.lanes import (
    add,
    divide,
    fill,
    lane_count,
    least,
    load,
    number,
    number_of,
    pick_less,
    smallest_of_lower,
    smallest_of_upper,
    store,
)

__all__ = [
    "Paths",
    "characteristic_path_length",
    "diameter",
    "disconnected",
    "eccentricity",
    "global_efficiency",
    "path_measures",
    "radius",
    "shortest_paths",
]

SMALL = 96
"""Up to this many regions Floyd-Warshall alone is faster."""

WORTH_A_LOOK = 0.6
"""Share of the edges among the strongest quarter of regions that are followed, from which on Floyd-Warshall is faster."""


class Paths(NamedTuple):
    """Everything read off the shortest paths of each graph: a number (or (R,)) for one graph, (N,) (or (N, R)) for many."""

    characteristic_path_length: Any
    global_efficiency: Any
    radius: Any
    diameter: Any
    disconnected: Any
    eccentricity: Any


def shortest_paths(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Length of the shortest path between every two regions, edges being 1 / w long.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.

    Returns
    -------
    lengths : (R, R) or (N, R, R), symmetric, 0 on the diagonal, infinite between regions that no path joins. Unit: one over the weights'.

    Raises
    ------
    ConnectomeError
        If the weights are no graphs, or negative, NaN or infinite.

    Notes
    -----
    Equal to ``scipy.sparse.csgraph.shortest_path`` and bctpy ``distance_wei`` on the lengths 1 / w. Floyd (1962), Commun. ACM 5:345.
    """
    result: NDArray = map_graphs(as_graphs(weights, "shortest_paths"), _shortest_paths, n_jobs=n_jobs)
    return result


def path_measures(weights: Any, *, n_jobs: int = -1) -> Paths:
    """All measures of the shortest paths at the price of one.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.

    Returns
    -------
    paths : named tuple, each as its own function gives it: () or (N,); ``eccentricity`` (R,) or (N, R).
    """
    return _measures(weights, "path_measures", n_jobs)


def characteristic_path_length(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Mean length of the shortest paths between two different regions that are connected, () or (N,); NaN where no two are.

    Edges are 1 / w long. Pairs that no path joins are left out (:func:`disconnected` counts them): bctpy
    ``charpath(..., include_infinite=False)``. Watts & Strogatz (1998), Nature 393:440.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "characteristic_path_length", n_jobs).characteristic_path_length
    return result


def global_efficiency(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Mean of one over the shortest path's length over all pairs of different regions, () or (N,).

    A pair that no path joins counts 0; an empty graph and a single region have 0. Equal to bctpy ``efficiency_wei``; networkx's
    ``global_efficiency`` is the binary one. Latora & Marchiori (2001), Phys. Rev. Lett. 87:198701.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "global_efficiency", n_jobs).global_efficiency
    return result


def eccentricity(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Length of the longest of the shortest paths from each region, (R,) or (N, R); NaN for a region without any.

    Only regions that can be reached count, as in bctpy ``charpath(..., include_infinite=False)``, which gives an isolated region 1e20;
    networkx refuses disconnected graphs.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "eccentricity", n_jobs).eccentricity
    return result


def radius(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Least :func:`eccentricity` of a region that has one, () or (N,); NaN where none has.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "radius", n_jobs).radius
    return result


def diameter(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Greatest :func:`eccentricity`, () or (N,): the longest shortest path that exists; NaN where none does.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "diameter", n_jobs).diameter
    return result


def disconnected(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Number of pairs of regions that no path joins, () or (N,), whole numbers; 0 in a connected graph.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.
    """
    result: NDArray = _measures(weights, "disconnected", n_jobs).disconnected
    return result


def _measures(weights: Any, measure: str, n_jobs: int) -> Paths:
    return Paths(*map_graphs(as_graphs(weights, measure), _path_measures, n_jobs=n_jobs))


@njit(cache=True, nogil=True)
def _shortest_paths(weights: NDArray) -> NDArray:
    D, order = distances(weights)
    lengths = np.empty_like(weights)
    for i in range(len(weights)):
        for j in range(len(weights)):
            lengths[order[i], order[j]] = D[i, j]
    return lengths


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _path_measures(weights: NDArray) -> tuple:
    n = len(weights)
    D, order = distances(weights)
    farthest = np.full(n, np.nan)
    lengths, inverses, joined, least_far, most_far = 0.0, 0.0, 0, np.inf, 0.0
    for i in range(n):
        row = D[i]
        far, near, count, inverse = 0.0, 0.0, 0, 0.0
        for j in range(n):
            finite = row[j] < np.inf
            length = row[j] if finite else weights.dtype.type(0)
            far = max(far, length)
            near += length
            count += 1 if finite else 0
        for j in range(i):
            inverse += 1 / row[j]
        lengths += near
        inverses += inverse
        joined += count - 1
        if far > 0:
            farthest[order[i]] = far
            least_far = min(least_far, far)
            most_far = max(most_far, far)
    pairs = n * (n - 1) // 2
    if joined == 0:
        return np.nan, 0.0, np.nan, np.nan, pairs, farthest
    return lengths / joined, inverses / pairs, least_far, most_far, pairs - joined // 2, farthest


@njit(cache=True, nogil=True)
def distances(weights: NDArray) -> tuple[NDArray, NDArray]:
    """Shortest-path lengths of one graph (a kernel for kernels): (>= R, S) symmetric, rows padded to whole vectors, and the order (R,).

    ``lengths[i, j]`` joins the regions ``order[i]`` and ``order[j]``; rows and columns from R on mean nothing.
    """
    n = len(weights)
    D, order = ordered_lengths(weights)
    if n <= SMALL or not _eliminate_and_extend(D, n):
        floyd_warshall(D, n, np.empty((4, D.shape[1]), D.dtype))
        for i in range(n):
            D[i, i] = 0
            for j in range(i):
                D[j, i] = D[i, j]
    return D, order


@njit(cache=True, nogil=True)
def ordered_lengths(weights: NDArray) -> tuple[NDArray, NDArray]:
    """1 / w below the diagonal of a (>= R, S) array, S padded to whole vectors, strongest region first if that pays; and the order (R,)."""
    n, step = len(weights), lane_count(weights)
    strength = np.zeros(n, weights.dtype)
    for i in range(n):
        for j in range(n):
            strength[j] -= weights[i, j]
    order = np.argsort(strength) if n > SMALL else np.arange(n)
    D = np.empty((n + n % 2, (n + step - 1) // step * step), weights.dtype)  # an even number of rows: see floyd_warshall
    one = fill(D, D.dtype.type(1))
    for i in range(n):
        row = weights[order[i]]
        for j in range(i):
            D[i, j] = row[order[j]]
        for j in range(0, i, step):
            store(D, i * D.shape[1] + j, divide(one, load(D, i * D.shape[1] + j)))
    return D, order


@njit(cache=True, nogil=True)
def floyd_warshall(D: NDArray, n: int, panel: NDArray) -> None:
    """Floyd-Warshall on the lower triangle of ``D[:n, :n]`` in place, four pivots and two rows at a time.

    Parameters
    ----------
    D : (R, S) lengths, R even and n or more, rows padded to whole vectors; the diagonal and above mean nothing, before and after.
    n : regions.
    panel : (4, >= padded n) scratch.
    """
    S, P, step = D.shape[1], panel.shape[1], lane_count(D)
    for k in range(0, n, 4):
        pivots = min(4, n - k)
        for q in range(4):
            for j in range(k + pivots if q < pivots else n):
                panel[q, j] = D[k + q, j] if q < pivots else np.inf
        for j in range(k + pivots, n):
            for q in range(pivots):
                panel[q, j] = D[j, k + q]
        for q in range(pivots):
            panel[q, k + q] = 0
            for r in range(q):
                panel[r, k + q] = panel[q, k + r]
        for q in range(pivots):
            for r in range(pivots):
                if r != q:
                    a = fill(panel, panel[r, k + q])
                    for j in range(0, n, step):
                        store(panel, r * P + j, least(add(a, load(panel, q * P + j)), load(panel, r * P + j)))
        for i in range(0, n, 2):
            a0, a1, a2, a3 = fill(D, panel[0, i]), fill(D, panel[1, i]), fill(D, panel[2, i]), fill(D, panel[3, i])
            b0, b1, b2, b3 = fill(D, panel[0, i + 1]), fill(D, panel[1, i + 1]), fill(D, panel[2, i + 1]), fill(D, panel[3, i + 1])
            for j in range(0, i + 1, step):
                c0, c1, c2, c3 = load(panel, j), load(panel, P + j), load(panel, 2 * P + j), load(panel, 3 * P + j)
                one, two = i * S + j, (i + 1) * S + j
                t, u = least(add(a0, c0), add(a1, c1)), least(add(a2, c2), add(a3, c3))
                store(D, one, least(least(t, u), load(D, one)))
                t, u = least(add(b0, c0), add(b1, c1)), least(add(b2, c2), add(b3, c3))
                store(D, two, least(least(t, u), load(D, two)))


@njit(cache=True, nogil=True)
def _eliminate_and_extend(D: NDArray, n: int) -> bool:
    _eliminate(D, n)
    return _extend(D, n)


@njit(cache=True, nogil=True)
def _eliminate(D: NDArray, n: int) -> None:
    """Shorten, below the diagonal, every D[i, j] by the paths whose inner regions all come after both i and j."""
    S, step = D.shape[1], lane_count(D)
    m = n
    while m > 4:
        k = m - 4
        for q in range(3, 0, -1):
            for r in range(q):
                a = fill(D, D[k + q, k + r])
                for j in range(0, k + r, step):
                    store(D, (k + r) * S + j, least(add(a, load(D, (k + q) * S + j)), load(D, (k + r) * S + j)))
        for i in range(k):
            a0, a1, a2, a3 = fill(D, D[k, i]), fill(D, D[k + 1, i]), fill(D, D[k + 2, i]), fill(D, D[k + 3, i])
            for j in range(0, i, step):
                t = least(add(a0, load(D, k * S + j)), add(a1, load(D, (k + 1) * S + j)))
                u = least(add(a2, load(D, (k + 2) * S + j)), add(a3, load(D, (k + 3) * S + j)))
                store(D, i * S + j, least(least(t, u), load(D, i * S + j)))
        m = k
    for k in range(m - 1, 1, -1):
        for i in range(k):
            for j in range(i):
                D[i, j] = min(D[i, j], D[k, i] + D[k, j])


@njit(cache=True, nogil=True)
def _extend(D: NDArray, n: int) -> bool:
    """Shortest paths among the first k regions, k = 1 ... n, from what :func:`_eliminate` left; symmetric in the end.

    The columns of the last few regions wait in ``waiting``, a row for each region, and go to D a whole vector at a time.
    Gives up, returning False with D fit for Floyd-Warshall, where most edges have to be followed.
    """
    S, step = D.shape[1], lane_count(D)
    mask = 1
    while mask < S:
        mask *= 2
    mask -= 1
    rows, waiting = np.empty((3, S), D.dtype), np.empty((n, step), D.dtype)
    followed, block = 0, 0
    for k in range(n):
        if k % step == 0:
            for i in range(k):
                store(D, i * S + block, load(waiting, i * step))
            block = k
            if k == n // 4 // step * step and followed > WORTH_A_LOOK * k * k / 2:
                return False
        for j in range(k, min(block + step, S)):
            D[k, j] = np.inf
        followed += _follow(D, k, block, rows, waiting, mask)
        for j in range(0, k, step):
            store(D, k * S + j, load(rows, S + j))
        for j in range(k):
            waiting[j, k - block] = rows[1, j]
        for j in range(block, k):
            waiting[k, j - block] = rows[1, j]
        waiting[k, k - block] = 0
    for i in range(n):
        store(D, i * S + block, load(waiting, i * step))
    return True


@njit(cache=True, nogil=True)
def _follow(D: NDArray, k: int, block: int, rows: NDArray, waiting: NDArray, mask: int) -> int:
    """Paths from region k to earlier ones into ``rows[1]``, following its edges from the shortest on while one is still of use.

    An edge is of use if it is shorter than the path found without it. Two are followed at a time, the best of the lower and the best of
    the upper lanes. Returns how many were followed.
    """
    S, step = D.shape[1], lane_count(D)
    infinite = fill(D, D.dtype.type(np.inf))
    nearest = infinite
    for j in range(0, k, step):
        edge = load(D, k * S + j)
        key = number(edge, j, mask)
        store(rows, j, edge)
        store(rows, S + j, infinite)
        store(rows, 2 * S + j, key)
        nearest = least(key, nearest)
    followed = 0
    while True:
        one, two = smallest_of_lower(nearest), smallest_of_upper(nearest)
        if not (one < np.inf or two < np.inf):
            return followed
        p, q = number_of(one if one < np.inf else two, mask), number_of(two if two < np.inf else one, mask)
        a, b = fill(D, rows[0, p]), fill(D, rows[0, q])
        followed += 2 if one < np.inf and two < np.inf else 1
        nearest = infinite
        for j in range(0, block, step):
            length = least(least(add(a, load(D, p * S + j)), add(b, load(D, q * S + j))), load(rows, S + j))
            store(rows, S + j, length)
            nearest = least(pick_less(load(rows, j), length, load(rows, 2 * S + j), infinite), nearest)
        if block < k:
            length = least(least(add(a, load(waiting, p * step)), add(b, load(waiting, q * step))), load(rows, S + block))
            store(rows, S + block, length)
            nearest = least(pick_less(load(rows, block), length, load(rows, 2 * S + block), infinite), nearest)

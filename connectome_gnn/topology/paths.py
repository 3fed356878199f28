"""Shortest paths between all regions, and what is read off them: path length, eccentricity, radius, diameter, global efficiency.

An edge of weight w is 1 / w long, an absent edge infinitely long. Small graphs go through Floyd-Warshall several at a time
(:mod:`connectome_gnn.topology.side_by_side`) where there are several, large ones one by one, by elimination
(:mod:`connectome_gnn.topology.elimination`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs
from connectome_gnn.topology.cohorts import map_cohort
from connectome_gnn.topology.elimination import distances, distances_of_small, room_for_distances
from connectome_gnn.topology.lanes import add, aligned, fill, greatest, inverse, lane_count, load, peek, pick_less, poke, store
from connectome_gnn.topology.side_by_side import (
    SIDE_BY_SIDE,
    paths_side_by_side,
    people_side_by_side,
    places_side_by_side,
    room_side_by_side,
    to_matrices,
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
    graphs = as_graphs(weights, "shortest_paths")
    result: NDArray = map_cohort(graphs, _shortest_paths, [((graphs.n_regions, graphs.n_regions), None)], n_jobs=n_jobs)[0]
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
    graphs = as_graphs(weights, measure)
    numbers: list[tuple[tuple[int, ...], Any]] = [((), None), ((), None), ((), None), ((), None), ((), np.int64)]
    return Paths(*map_cohort(graphs, _path_measures, [*numbers, ((graphs.n_regions,), None)], n_jobs=n_jobs))


@njit(cache=True, nogil=True)
def _shortest_paths(vectors: NDArray, n: int, lengths: NDArray) -> None:
    step, together = lane_count(vectors), people_side_by_side(len(vectors), n, vectors)
    if together > 0:
        X, panel, ld = room_side_by_side(n, vectors)
        places = places_side_by_side(n, ld)
        for first in range(0, together, step):
            paths_side_by_side(vectors, first, n, X, panel, ld, places)
            to_matrices(X, ld, lengths[first : first + step], n)
    if together == len(vectors):
        return
    room = room_for_distances(n, vectors)
    for k in range(together, len(vectors)):
        if n <= SIDE_BY_SIDE:
            lengths[k] = distances_of_small(vectors[k], n, room)[:n, :n]
            continue
        D = distances(vectors[k], n, room)[0]
        into, rank = lengths[k], room.rank
        for i in range(n):
            row = D[rank[i]]
            for j in range(n):
                poke(into, i * n + j, peek(row, peek(rank, j)))


@njit(cache=True, nogil=True)
def _path_measures(
    vectors: NDArray, n: int, mean: NDArray, efficiency: NDArray, least: NDArray, most: NDArray, apart: NDArray, farthest: NDArray
) -> None:
    step, pairs, together = lane_count(vectors), n * (n - 1) // 2, people_side_by_side(len(vectors), n, vectors)
    sums = np.zeros((step, 3))
    if together > 0:
        X, panel, ld = room_side_by_side(n, vectors)
        places, far = places_side_by_side(n, ld), aligned(n * step, vectors)
        for first in range(0, together, step):
            paths_side_by_side(vectors, first, n, X, panel, ld, places)
            _add_up(X, ld, n, sums, far)
            for k in range(first, min(first + step, len(vectors))):
                for i in range(n):
                    farthest[k, i] = far[i * step + k - first]
                _summarise(k, sums[k - first], pairs, mean, efficiency, least, most, apart, farthest)
    if together == len(vectors):
        return
    room, far, as_they_are = room_for_distances(n, vectors), aligned(n * step, vectors), np.arange(n)
    for k in range(together, len(vectors)):
        if n <= SIDE_BY_SIDE:
            D, order = distances_of_small(vectors[k], n, room), as_they_are
        else:
            D, order = distances(vectors[k], n, room)
        _add_up_one(D, n, order, sums[0], far, farthest[k])
        _summarise(k, sums[0], pairs, mean, efficiency, least, most, apart, farthest)


@njit(cache=True, nogil=True)
def _summarise(
    k: int,
    sums: NDArray,
    pairs: int,
    mean: NDArray,
    efficiency: NDArray,
    least: NDArray,
    most: NDArray,
    apart: NDArray,
    farthest: NDArray,
) -> None:
    """Person k's numbers from sums over pairs (length, inverse length, 1 where finite) and eccentricities, 0 becoming NaN."""
    length, inverse_length, joined = sums
    near, far = np.inf, 0.0
    for i in range(farthest.shape[1]):
        if farthest[k, i] > 0:
            near, far = min(near, farthest[k, i]), max(far, farthest[k, i])
        else:
            farthest[k, i] = np.nan
    any_pair = joined > 0
    mean[k] = length / joined if any_pair else np.nan
    efficiency[k] = inverse_length / pairs if any_pair else 0.0
    least[k], most[k] = (near, far) if any_pair else (np.nan, np.nan)
    apart[k] = pairs - int(joined)


@njit(cache=True, nogil=True)
def _add_up(X: NDArray, ld: int, n: int, sums: NDArray, far: NDArray) -> None:
    """Sums over pairs of length, inverse length and 1, where finite, of the graph in each lane; the longest of each region in ``far``."""
    step = lane_count(X)
    nothing, one, infinite = fill(X, X.dtype.type(0)), fill(X, X.dtype.type(1)), fill(X, X.dtype.type(np.inf))
    row = np.empty(3 * step, X.dtype)
    sums[:] = 0
    far[:] = 0
    for a in range(n):
        lengths, inverses, joined, longest = nothing, nothing, nothing, load(far, a * step)
        for b in range(a + 1, n):
            d = load(X, (a * ld + b) * step)
            finite = pick_less(d, infinite, d, nothing)
            lengths = add(lengths, finite)
            inverses = add(inverses, inverse(d, X))
            joined = add(joined, pick_less(d, infinite, one, nothing))
            longest = greatest(finite, longest)
            store(far, b * step, greatest(finite, load(far, b * step)))
        store(far, a * step, longest)
        store(row, 0, lengths)
        store(row, step, inverses)
        store(row, 2 * step, joined)
        for lane in range(step):
            for which in range(3):
                sums[lane, which] += row[which * step + lane]


@njit(cache=True, nogil=True)
def _add_up_one(D: NDArray, n: int, order: NDArray, sums: NDArray, far: NDArray, farthest: NDArray) -> None:
    """As :func:`_add_up`, and added up in the same order, for one graph's lengths in order; D is not symmetric afterwards."""
    S, step = D.shape[1], lane_count(D)
    nothing, one, infinite = fill(D, D.dtype.type(0)), fill(D, D.dtype.type(1)), fill(D, D.dtype.type(np.inf))
    row = np.empty(4 * step, D.dtype)
    sums[:] = 0
    far[:] = 0
    for left in range(0, n, step):
        right = min(left + step, n)
        for b in range(left, right):
            D[b, b : left + step] = np.inf  # a region of the vector and one before it, or itself
        lengths, inverses, joined, longest = nothing, nothing, nothing, nothing
        for b in range(left + 1, n):
            d = load(D, b * S + left)
            finite = pick_less(d, infinite, d, nothing)
            lengths = add(lengths, finite)
            inverses = add(inverses, inverse(d, D))
            joined = add(joined, pick_less(d, infinite, one, nothing))
            longest = greatest(finite, longest)
            store(far, b * step, greatest(finite, load(far, b * step)))
        store(row, 0, lengths)
        store(row, step, inverses)
        store(row, 2 * step, joined)
        store(row, 3 * step, longest)
        for lane in range(right - left):
            a = left + lane
            for which in range(3):
                sums[which] += row[which * step + lane]
            farthest[order[a]] = max(row[3 * step + lane], far[a * step : (a + 1) * step].max())

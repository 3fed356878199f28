"""Betweenness: how many shortest paths run through a region or an edge, ties counted.

How it is computed: of all edges only those that are themselves a shortest path can lie on one, so first those are picked out. For eight
sources at a time (the lanes of a vector) every such edge is asked whether it ends a shortest path to its region. A source where each region
has one such edge has a tree of shortest paths, walked up from its leaves; another has a directed graph, and Brandes' counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.lanes import add, fill, lane_count, load, multiply, pick_less, store
from connectome_gnn.topology.paths import distances

__all__ = ["betweenness", "edge_betweenness"]


def betweenness(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Betweenness centrality of every region, (R,) or (N, R): shortest paths between other regions that run through it.

    Sum over ordered pairs of other regions of the share of their shortest paths (edges 1 / w long) that contain the region. Divide by
    (R - 1) (R - 2) for a number between 0 and 1.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.

    Raises
    ------
    ConnectomeError
        If the weights are no graphs, or negative, NaN or infinite.

    Notes
    -----
    Brandes (2001), J. Math. Sociol. 25:163. Equal to bctpy ``betweenness_wei(1 / w)`` and twice networkx's and igraph's unnormalised
    values, which count unordered pairs. Two paths tie when their lengths differ by less than rounding can explain (relative: R times the
    float64 epsilon): 1/10 + 1/15 ties with 1/6. bctpy and networkx compare sums to the last bit and miss some of those ties; igraph sees
    them, and takes lengths within 1e-10 for equal. Computed in float64 whatever the weights' precision: there is no approximately shortest
    path. Steps shorter than that share of the whole path are not resolved.
    """
    result: NDArray = map_graphs(as_graphs(weights, "betweenness"), _node_betweenness, n_jobs=n_jobs)
    return result


def edge_betweenness(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Betweenness of every edge, (R, R) symmetric or (N, R, R), 0 where there is no edge: shortest paths that run along it.

    Sum over unordered pairs of regions of the share of their shortest paths that contain the edge.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E) non-negative weights.
    n_jobs : threads, -1 for all cores.

    Notes
    -----
    Equal to bctpy ``edge_betweenness_wei(1 / w)``, networkx's and igraph's unnormalised values; ties as in :func:`betweenness`.
    """
    result: NDArray = map_graphs(as_graphs(weights, "edge_betweenness"), _edge_betweenness, n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _node_betweenness(weights: NDArray) -> NDArray:
    return _count_paths(weights.astype(np.float64), np.empty((0, 0)))


@njit(cache=True, nogil=True)
def _edge_betweenness(weights: NDArray) -> NDArray:
    n = len(weights)
    along = np.zeros((n, n))
    _count_paths(weights.astype(np.float64), along)
    for i in range(n):
        for j in range(i):
            along[i, j] = along[j, i] = (along[i, j] + along[j, i]) / 2  # every pair was met from both ends
    return along


@njit(cache=True, nogil=True)
def _count_paths(weights: NDArray, along: NDArray) -> NDArray:
    """Node betweenness (R,); adds every edge's share of paths, both directions, to ``along`` (R, R), unless that is empty."""
    n = len(weights)
    D, order = distances(weights)
    slack = 1 + max(n, 16) * np.finfo(np.float64).eps
    first, neighbours, lengths = _edges_on_paths(weights, D, order, slack)
    S, step = D.shape[1], lane_count(D)
    parent, parents = np.empty(n * step), np.empty(n * step)
    up, left = np.empty(n, np.int64), np.empty(n, np.int64)
    below, paths, queue = np.empty(n), np.empty(n), np.empty(n, np.int64)
    through, edges = np.zeros(n), np.zeros(len(neighbours) if along.size else 0)
    infinite, none, one, never = fill(D, np.inf), fill(D, 0.0), fill(D, 1.0), fill(D, -1.0)
    stretch = fill(D, slack)
    most, far = np.empty(step), np.empty(n * step)
    for start in range(0, n, step):
        for w in range(n):
            store(far, w * step, load(D, w * S + start))  # side by side: rows of D are too far apart for the cache
        ties = none
        for w in range(n):
            d = load(far, w * step)
            limit = pick_less(d, infinite, multiply(d, stretch), never)
            which, count = never, none
            for e in range(first[w], first[w + 1]):
                before = load(far, neighbours[e] * step)
                length = pick_less(before, d, add(before, fill(D, lengths[e])), infinite)
                which = pick_less(limit, length, which, fill(D, float(e)))
                count = pick_less(limit, length, count, add(count, one))
            store(parent, w * step, which)
            store(parents, w * step, count)
            ties = pick_less(ties, count, count, ties)
        store(most, 0, ties)
        for s in range(start, min(start + step, n)):
            if most[s - start] > 1:
                for w in range(n):
                    left[w] = int(parents[w * step + s - start])
                _follow_all(D[s], s, slack, first, neighbours, lengths, left, queue, paths, below, through, edges)
            else:
                _climb(parent[s - start :: step], neighbours, up, left, queue, below, through, edges)
    if along.size:
        for w in range(n):
            for e in range(first[w], first[w + 1]):
                along[order[w], order[neighbours[e]]] += edges[e]
    result = np.empty(n)
    for i in range(n):
        result[order[i]] = through[i]
    return result


@njit(cache=True, nogil=True)
def _edges_on_paths(weights: NDArray, D: NDArray, order: NDArray, slack: float) -> tuple[NDArray, NDArray, NDArray]:
    """The edges no longer than the shortest path between their ends, in rows: where each row begins, neighbours and lengths."""
    n = len(weights)
    first, found = np.zeros(n + 1, np.int64), 0
    room = 8 * n
    neighbours, lengths = np.empty(room, np.int64), np.empty(room)
    for i in range(n):
        if found + n > room:
            room = 2 * room + n
            neighbours, lengths = _longer(neighbours, room), _longer(lengths, room)
        row = weights[order[i]]
        for j in range(n):
            w = row[order[j]]
            neighbours[found] = j
            lengths[found] = w
            found += 1 if w * D[i, j] * slack >= 1 and w > 0 else 0
        first[i + 1] = found
    for e in range(found):
        lengths[e] = 1 / lengths[e]
    return first, neighbours[:found], lengths[:found]


@njit(cache=True, nogil=True)
def _longer(array: NDArray, room: int) -> NDArray:
    longer = np.empty(room, array.dtype)
    longer[: len(array)] = array
    return longer


@njit(cache=True, nogil=True)
def _climb(
    parent: NDArray,
    neighbours: NDArray,
    up: NDArray,
    left: NDArray,
    leaves: NDArray,
    below: NDArray,
    through: NDArray,
    edges: NDArray,
) -> None:
    """One source whose shortest paths are a tree: every region hands the number of regions from it on down to the one before it.

    From each leaf upwards, as far as a region that still waits for another branch. ``parent`` is the edge by which a region is reached,
    -1 for the source and for regions out of reach.
    """
    n = len(up)
    for w in range(n):
        left[w] = 0
        below[w] = 1.0
    for w in range(n):
        e = int(parent[w])
        up[w] = neighbours[e] if e >= 0 else -1
        left[up[w]] += 1 if e >= 0 else 0
    found = 0
    for w in range(n):
        leaves[found] = w
        found += 1 if left[w] == 0 and up[w] >= 0 else 0
    for leaf in range(found):
        w = leaves[leaf]
        while True:
            p = up[w]
            if p < 0:
                break
            through[w] += below[w] - 1
            if edges.size:
                edges[int(parent[w])] += below[w]
            below[p] += below[w]
            left[p] -= 1
            if left[p] > 0:
                break
            w = p


@njit(cache=True, nogil=True)
def _follow_all(
    d: NDArray,
    s: int,
    slack: float,
    first: NDArray,
    neighbours: NDArray,
    lengths: NDArray,
    left: NDArray,
    queue: NDArray,
    paths: NDArray,
    below: NDArray,
    through: NDArray,
    edges: NDArray,
) -> None:
    """One source with several shortest paths to some region: Brandes' counts, regions in an order that has every predecessor first.

    ``left`` holds the number of predecessors of each region, and is used up.
    """
    paths[:] = 0
    below[:] = 0
    paths[s] = 1
    queue[0] = s
    head, tail = 0, 1
    while head < tail:
        v = queue[head]
        head += 1
        for e in range(first[v], first[v + 1]):
            w = neighbours[e]
            if d[v] < d[w] and d[v] + lengths[e] <= d[w] * slack:
                paths[w] += paths[v]
                left[w] -= 1
                if left[w] == 0:
                    queue[tail] = w
                    tail += 1
    for position in range(tail - 1, 0, -1):
        w = queue[position]
        through[w] += below[w]
        share = (1 + below[w]) / paths[w]
        for e in range(first[w], first[w + 1]):
            v = neighbours[e]
            if d[v] < d[w] and d[v] + lengths[e] <= d[w] * slack:
                below[v] += share * paths[v]
                if edges.size:
                    edges[e] += share * paths[v]

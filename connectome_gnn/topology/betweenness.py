"""Betweenness: how many shortest paths run through a region or an edge, ties counted.

How it is computed: of all edges only those that are themselves a shortest path can lie on one, so first those are picked out. For eight
sources at a time (the lanes of a vector) every such edge is asked whether it ends a shortest path to its region. A source where each region
has one such edge has a tree of shortest paths, walked up from its leaves; another has a directed graph, and Brandes' counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs
from connectome_gnn.topology.cohorts import map_cohort
from connectome_gnn.topology.edge_lists import list_edges, room_for_edges
from connectome_gnn.topology.elimination import distances, distances_of_small, room_for_distances
from connectome_gnn.topology.lanes import add, aligned, fill, lane_count, load, multiply, peek, pick_less, poke, store, total
from connectome_gnn.topology.side_by_side import (
    SIDE_BY_SIDE,
    paths_side_by_side,
    people_side_by_side,
    places_side_by_side,
    room_side_by_side,
    to_matrices,
)

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
    graphs = as_graphs(weights, "betweenness")
    result: NDArray = map_cohort(graphs, _node_betweenness, [((graphs.n_regions,), None)], n_jobs=n_jobs)[0]
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
    graphs = as_graphs(weights, "edge_betweenness")
    result: NDArray = map_cohort(graphs, _edge_betweenness, [((graphs.n_regions, graphs.n_regions), None)], n_jobs=n_jobs)[0]
    return result


@njit(cache=True, nogil=True)
def _node_betweenness(vectors: NDArray, n: int, result: NDArray) -> None:
    _count_all(vectors.astype(np.float64), n, result, np.empty((0, n, n)))


@njit(cache=True, nogil=True)
def _edge_betweenness(vectors: NDArray, n: int, result: NDArray) -> None:
    along = np.zeros((len(vectors), n, n))
    _count_all(vectors.astype(np.float64), n, np.empty((len(vectors), n)), along)
    for k in range(len(vectors)):
        for i in range(n):
            for j in range(i + 1):
                result[k, i, j] = result[k, j, i] = (along[k, i, j] + along[k, j, i]) / 2  # every pair was met from both ends


@njit(cache=True, nogil=True)
def _count_all(vectors: NDArray, n: int, through: NDArray, along: NDArray) -> None:
    """Node betweenness (N, R) of everybody; adds every edge's share of paths, both ways, to ``along`` (N, R, R) unless it is empty."""
    step, together = lane_count(vectors), people_side_by_side(len(vectors), n, vectors)
    room, apart = _room(n, vectors), room_for_distances(n, vectors)
    X, panel, ld = room_side_by_side(n if together > 0 else 1, vectors)
    places = places_side_by_side(n if together > 0 else 1, ld)
    several = aligned(step * n * ld if together > 0 else 0, vectors).reshape((step if together > 0 else 0, n, ld))
    D, order, rank = apart.D, np.arange(n), np.arange(n)
    for k in range(len(vectors)):
        if k < together:
            if k % step == 0:
                paths_side_by_side(vectors, k, n, X, panel, ld, places)
                to_matrices(X, ld, several[: len(vectors) - k], n)
            D = several[k % step]
        elif n <= SIDE_BY_SIDE:
            D = distances_of_small(vectors[k], n, apart)
        else:
            D, order = distances(vectors[k], n, apart)
            rank = apart.rank
        _count_paths(vectors[k], n, D, order, rank, room, through[k], along[k : k + 1])


class _Room(NamedTuple):
    """Scratch for one graph of n regions, sources in as many at a time as a vector has lanes."""

    edges: Any
    kept: Any  # (E + 1, 3) the ends and the number of every edge that is a shortest path
    first: Any  # (n + 1,) where each region's edges begin
    neighbours: Any  # (2 E,)
    lengths: Any  # (2 E,)
    share: Any  # (2 E,) paths along each edge
    far: Any  # (n, lanes) lengths from the sources
    parent: Any  # (n, lanes) the edge by which a region is reached, -1 if none
    parents: Any  # (n, lanes) how many such edges there are
    up: Any  # (n + 1, lanes) the region before
    left: Any  # (n + 1, lanes) regions after it that have not been through
    queue: Any  # (n + 1, lanes)
    below: Any  # (n + 1, lanes) regions from it on down
    waiting: Any  # (n,) of a source with ties: regions before it that have not been through
    line: Any  # (n,)
    beyond: Any  # (n,)
    paths: Any  # (n,)


@njit(cache=True, nogil=True)
def _room(n: int, like: NDArray) -> _Room:
    step, n_edges = lane_count(like), n * (n - 1) // 2
    sources = aligned(3 * n * step, like).reshape((3, n * step))
    return _Room(
        room_for_edges(n, like),
        np.empty((n_edges + 1, 3), np.int64),
        np.empty(n + 1, np.int64),
        np.empty(2 * n_edges, np.int64),
        np.empty(2 * n_edges),
        np.empty(2 * n_edges),
        sources[0],
        sources[1],
        sources[2],
        np.empty((n + 1) * step, np.int32),
        np.empty((n + 1) * step, np.int32),
        np.empty((n + 1) * step, np.int32),
        aligned((n + 1) * step, like),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n),
        np.empty(n),
    )


@njit(cache=True, nogil=True)
def _count_paths(vector: NDArray, n: int, D: NDArray, order: NDArray, rank: NDArray, room: _Room, through: NDArray, along: NDArray) -> None:
    """One graph's betweenness (R,), and its edges' in ``along`` (1, R, R) or (0, R, R); D, order and rank as from ``distances``."""
    slack = 1 + max(n, 16) * np.finfo(np.float64).eps
    _edges_on_paths(vector, n, D, rank, slack, room)
    first, neighbours, lengths, far, parent, parents = room.first, room.neighbours, room.lengths, room.far, room.parent, room.parents
    with_edges = along.size > 0
    if with_edges:
        room.share[:] = 0
    S, step = D.shape[1], lane_count(D)
    counts = np.zeros(n)
    infinite, none, one, never = fill(D, np.inf), fill(D, 0.0), fill(D, 1.0), fill(D, -1.0)
    stretch = fill(D, slack)
    most, tree = np.empty(step), np.empty(step)
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
        _climb(n, room)
        for lane in range(step):
            s = start + lane
            tree[lane] = 1.0 if s < n and most[lane] <= 1 else 0.0
            if s < n:
                room.below[s * step + lane] = 1
                if most[lane] > 1:
                    for w in range(n):
                        room.waiting[w] = int(parents[w * step + lane])
                    _follow_all(D[s], s, slack, room, counts, with_edges)
                elif with_edges:
                    for w in range(n):
                        if parent[w * step + lane] >= 0:
                            room.share[int(parent[w * step + lane])] += room.below[w * step + lane]
        chosen = load(tree, 0)
        for w in range(n):
            counts[w] += total(multiply(chosen, add(load(room.below, w * step), never)))
    for i in range(n):
        through[order[i]] = counts[i]
    if with_edges:
        for w in range(n):
            for e in range(first[w], first[w + 1]):
                along[0, order[w], order[neighbours[e]]] += room.share[e]


@njit(cache=True, nogil=True)
def _edges_on_paths(vector: NDArray, n: int, D: NDArray, rank: NDArray, slack: float, room: _Room) -> None:
    """The edges no longer than the shortest path between their ends, in rows of both ends: where each begins, neighbours and lengths."""
    edges, first, kept = room.edges, room.first, room.kept
    list_edges(vector, n, edges)
    first[:] = 0
    found = 0
    for i in range(n):
        a = rank[i]
        row = D[a]
        for e in range(edges.first[i], edges.first[i + 1]):
            b = peek(rank, peek(edges.columns, e))
            poke(kept, 3 * found, a)
            poke(kept, 3 * found + 1, b)
            poke(kept, 3 * found + 2, e)
            found += 1 if peek(edges.weights, e) * peek(row, b) * slack >= 1 else 0
    for end in range(0, 3 * found, 3):
        a, b = peek(kept, end), peek(kept, end + 1)
        poke(first, a, peek(first, a) + 1)
        poke(first, b, peek(first, b) + 1)
    for i in range(1, n + 1):
        first[i] += first[i - 1]  # the end of each row, for now
    for end in range(0, 3 * found, 3):
        a, b, length = peek(kept, end), peek(kept, end + 1), 1 / peek(edges.weights, peek(kept, end + 2))
        at, there = peek(first, a) - 1, peek(first, b) - 1
        poke(first, a, at)
        poke(first, b, there)
        poke(room.neighbours, at, b)
        poke(room.lengths, at, length)
        poke(room.neighbours, there, a)
        poke(room.lengths, there, length)


@njit(cache=True, nogil=True)
def _climb(n: int, room: _Room) -> None:
    """Sources whose shortest paths are trees: every region hands the number of regions from it on down to the one before it.

    Regions queue up once all that come after them have been through, leaves first; the sources, one in each lane, take turns, as each
    alone would spend its time waiting for what it has just written. Regions without a parent (the source, and those out of reach) hand to
    nobody, number n.
    """
    parent, neighbours, up, left, queue, below = room.parent, room.neighbours, room.up, room.left, room.queue, room.below
    step = lane_count(parent)
    left[:], below[:], queue[:] = 0, 1, n
    for w in range(n):
        for lane in range(step):
            e = int(peek(parent, w * step + lane))
            p = peek(neighbours, max(e, 0)) if e >= 0 else n
            poke(up, w * step + lane, p)
            poke(left, p * step + lane, peek(left, p * step + lane) + 1)
    tails = np.zeros(step, np.int64)
    for lane in range(step):
        up[n * step + lane], left[n * step + lane] = n, 2 * n  # never its turn
        tail = 0
        for w in range(n):
            poke(queue, tail * step + lane, w)
            tail += 1 if peek(left, w * step + lane) == 0 and peek(up, w * step + lane) < n else 0
        queue[tail * step + lane] = n
        tails[lane] = tail
    for head in range(n):
        for lane in range(step):
            w = peek(queue, head * step + lane)
            p = peek(up, w * step + lane)
            poke(below, p * step + lane, peek(below, p * step + lane) + peek(below, w * step + lane))
            waiting = peek(left, p * step + lane) - 1
            poke(left, p * step + lane, waiting)
            ready = (waiting == 0) & (peek(up, p * step + lane) < n)
            tail = peek(tails, lane)
            poke(queue, tail * step + lane, p if ready else n)
            poke(tails, lane, tail + ready)


@njit(cache=True, nogil=True)
def _follow_all(d: NDArray, s: int, slack: float, room: _Room, through: NDArray, with_edges: bool) -> None:
    """One source with several shortest paths to some region: Brandes' counts, regions in an order that has every predecessor first.

    ``room.waiting`` holds the number of predecessors of each region, and is used up.
    """
    first, neighbours, lengths, left, queue = room.first, room.neighbours, room.lengths, room.waiting, room.line
    paths, below = room.paths, room.beyond
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
                if with_edges:
                    room.share[e] += share * paths[v]

"""Making one null graph, as kernels: rewiring, dealing weights out, annealing them.

All rest on the same step (Maslov & Sneppen 2002, doi:10.1126/science.1065103): edges a-b and c-d become a-d and c-b, if those are absent. A
step that cannot be taken counts as taken without effect, which is what makes every possible graph as likely as any other. In a graph more
than half full the gaps are rewired in place of the edges: the same steps, found sooner.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.streams import below, new_stream, next_seed, shuffle, uniform

__all__ = ["degree_null", "geometry_null", "lattice_null", "null_seeds", "strength_null"]

ATTEMPTS = 3
"""Rewired graphs that strengths are tried on, if they cannot be kept on the first."""

TRIES = 20
"""Edges tried at random for each weight before annealing."""

HEAT, COOLING = 20.0, 0.8
"""The first temperature over the mean squared difference of strengths, and each temperature over the one before."""

COLDEST = 0.01
"""Annealing ends when the temperature would move strengths by this share of the tolerance."""

PROPOSALS, LEAST_PROPOSALS = 5, 5000
"""Exchanges proposed at each temperature: per weight that counts at that temperature, and at least (and as many as edges)."""

COUNTS = 0.3
"""A weight counts at a temperature if it is at least this share of the difference of strengths that is usual there."""


@njit(cache=True, nogil=True)
def null_seeds(seed: int, n_nulls: int) -> NDArray[np.int64]:
    """Seeds of a graph's nulls, (n_nulls,)."""
    stream, seeds = new_stream(seed), np.empty(n_nulls, np.int64)
    for k in range(n_nulls):
        seeds[k] = next_seed(stream)
    return seeds


@njit(cache=True, nogil=True)
def degree_null(matrix: NDArray, seed: int, rewirings: int, null: NDArray) -> None:
    """One degree-preserving null graph, written into ``null``."""
    stream, present = new_stream(seed), matrix > 0
    one_bin = np.zeros(matrix.shape, np.int16)
    _rewire(present, one_bin, False, rewirings, stream)
    _deal(matrix, one_bin, 1, present, stream, null)


@njit(cache=True, nogil=True)
def lattice_null(matrix: NDArray, seed: int, rewirings: int, null: NDArray) -> None:
    """One ring lattice of the same degrees and weights, written into ``null``."""
    n, stream, present = len(matrix), new_stream(seed), matrix > 0
    place = np.arange(n)
    shuffle(stream, place)
    ring = np.empty((n, n), np.int16)
    for i in range(n):
        for j in range(n):
            apart = abs(place[i] - place[j])
            ring[i, j] = min(apart, n - apart)
    _rewire(present, ring, True, rewirings, stream)
    ranked = np.sort(_listed(matrix))
    null[:] = 0
    edge = len(ranked)
    for apart in range(n // 2 + 1):
        for i in range(n):
            for j in range(i):
                if present[i, j] and ring[i, j] == apart:
                    edge -= 1
                    null[i, j] = null[j, i] = ranked[edge]


@njit(cache=True, nogil=True)
def geometry_null(matrix: NDArray, seed: int, distances: NDArray[np.float64], n_bins: int, rewirings: int, null: NDArray) -> None:
    """One degree- and length-preserving null graph, written into ``null``."""
    n, stream, present = len(matrix), new_stream(seed), matrix > 0
    lengths = np.empty(n * (n - 1) // 2)
    n_edges = 0
    for i in range(n):
        for j in range(i):
            if present[i, j]:
                lengths[n_edges] = distances[i, j]
                n_edges += 1
    lengths = np.sort(lengths[:n_edges])
    bins = np.zeros((n, n), np.int16)
    if n_edges > 0:
        cuts = lengths[np.arange(1, n_bins) * n_edges // n_bins]
        for i in range(n):
            for j in range(i):
                outside = distances[i, j] < lengths[0] or distances[i, j] > lengths[-1]  # where no edge may go
                bins[i, j] = bins[j, i] = n_bins if outside else np.searchsorted(cuts, distances[i, j], side="right")
    _rewire(present, bins, False, rewirings, stream)
    _deal(matrix, bins, n_bins, present, stream, null)


@njit(cache=True, nogil=True)
def strength_null(matrix: NDArray, seed: int, rewirings: int, tolerance: float, null: NDArray) -> float:
    """One degree- and strength-preserving null graph, written into ``null``; the largest difference in units of the mean strength."""
    stream, rewired, error = new_stream(seed), np.empty_like(matrix), np.inf
    for _ in range(ATTEMPTS):
        degree_null(matrix, next_seed(stream), rewirings, rewired)
        reached = _anneal(matrix, tolerance, stream, rewired)
        if reached < error:
            error = reached
            null[:] = rewired
        if error <= tolerance:
            break
    return error


@njit(cache=True, nogil=True)
def _listed(matrix: NDArray) -> NDArray:
    """Weights of the edges, in the order of the lower triangle."""
    n = len(matrix)
    listed = np.empty(n * (n - 1) // 2, matrix.dtype)
    edge = 0
    for i in range(n):
        for j in range(i):
            if matrix[i, j] > 0:
                listed[edge] = matrix[i, j]
                edge += 1
    return listed[:edge]


@njit(cache=True, nogil=True)
def _rewire(present: NDArray, kind: NDArray[np.int16], shorten: bool, rewirings: int, stream: NDArray[np.uint64]) -> None:
    """Take steps on an adjacency matrix, in place: those that keep the kinds of the two edges or, to shorten, do not raise their sum."""
    n = len(present)
    n_edges = 0
    for i in range(n):
        for j in range(i):
            n_edges += present[i, j]
    n_gaps = n * (n - 1) // 2 - n_edges
    moving = n_edges <= n_gaps  # what is listed and moved: edges (True) or gaps (False)
    n_listed = min(n_edges, n_gaps)
    first, second = np.empty(n_listed, np.int32), np.empty(n_listed, np.int32)
    k = 0
    for i in range(n):
        for j in range(i):
            if present[i, j] == moving:
                first[k], second[k] = i, j
                k += 1
    for _ in range(rewirings * n_listed):
        p, q = below(stream, n_listed), below(stream, 2 * n_listed)
        a, b, c, d = first[p], second[p], first[q >> 1], second[q >> 1]
        if q & 1:
            c, d = d, c
        if a in (c, d) or b in (c, d) or present[a, d] == moving or present[c, b] == moving:
            continue
        here_1, here_2, there_1, there_2 = kind[a, b], kind[c, d], kind[a, d], kind[c, b]
        if shorten:
            longer = there_1 + there_2 - here_1 - here_2
            if (longer > 0) if moving else (longer < 0):
                continue
        elif not ((here_1 == there_1 and here_2 == there_2) or (here_1 == there_2 and here_2 == there_1)):
            continue
        present[a, b] = present[b, a] = present[c, d] = present[d, c] = not moving
        present[a, d] = present[d, a] = present[c, b] = present[b, c] = moving
        second[p], first[q >> 1], second[q >> 1] = d, c, b


@njit(cache=True, nogil=True)
def _deal(matrix: NDArray, bins: NDArray[np.int16], n_bins: int, present: NDArray, stream: NDArray[np.uint64], null: NDArray) -> None:
    """Give the weights of each bin of edges, in random order, to the present edges of that bin, as many."""
    n = len(matrix)
    start = np.zeros(n_bins + 1, np.int64)
    for i in range(n):
        for j in range(i):
            start[bins[i, j] + 1] += matrix[i, j] > 0
    start = np.cumsum(start)
    pool, filled = np.empty(start[n_bins], matrix.dtype), start.copy()
    for i in range(n):
        for j in range(i):
            if matrix[i, j] > 0:
                pool[filled[bins[i, j]]] = matrix[i, j]
                filled[bins[i, j]] += 1
    for b in range(n_bins):
        shuffle(stream, pool[start[b] : start[b + 1]])
    null[:] = 0
    for i in range(n):
        for j in range(i):
            if present[i, j]:
                filled[bins[i, j]] -= 1
                null[i, j] = null[j, i] = pool[filled[bins[i, j]]]


@njit(cache=True, nogil=True)
def _anneal(matrix: NDArray, tolerance: float, stream: NDArray[np.uint64], null: NDArray) -> float:
    """Deal the weights of ``null`` out anew so that its strengths are those of ``matrix``; the largest difference over the mean strength.

    The energy is the sum of squared differences of strengths, in units of the mean strength. At each temperature only weights are taken up
    that count there, to be exchanged with any other.
    """
    n, n_edges = len(null), 0
    first, second = np.empty(n * (n - 1) // 2, np.int32), np.empty(n * (n - 1) // 2, np.int32)
    given = np.empty(n * (n - 1) // 2, null.dtype)
    left = np.zeros(n)  # of each region's strength, over the mean strength
    for i in range(n):
        for j in range(n):
            left[i] += matrix[i, j]
            if j < i and null[i, j] > 0:
                first[n_edges], second[n_edges], given[n_edges] = i, j, null[i, j]
                n_edges += 1
    if n_edges == 0:
        return 0.0
    scale = left.sum() / n
    left /= scale
    heaviest = np.sort(given[:n_edges])[::-1]
    ranked = heaviest / scale
    place, rank = _deal_heaviest_first(ranked, first, second, left, tolerance, stream), np.empty(n_edges, np.int64)
    for r in range(n_edges):
        rank[place[r]] = r
    temperature, n_counting = HEAT * (left**2).sum() / n, 1
    while np.abs(left).max() > tolerance and temperature > (COLDEST * tolerance) ** 2:
        while n_counting < n_edges and ranked[n_counting] >= COUNTS * np.sqrt(temperature):
            n_counting += 1
        for _ in range(max(PROPOSALS * n_counting, n_edges, LEAST_PROPOSALS)):
            r, q = below(stream, n_counting), below(stream, n_edges)
            p, t = place[r], rank[q]
            a, b, c, d = first[p], second[p], first[q], second[q]
            change = ranked[r] - ranked[t]  # edge p loses it, edge q gains it
            regions = 4 - 2 * ((a == c) + (a == d) + (b == c) + (b == d))  # a region of both edges keeps its strength
            rise = change * (2 * (left[a] + left[b] - left[c] - left[d]) + regions * change)
            if rise > 0 and uniform(stream) >= np.exp(-rise / temperature):
                continue
            left[a] += change
            left[b] += change
            left[c] -= change
            left[d] -= change
            place[r], place[t], rank[p], rank[q] = q, p, t, r
        temperature *= COOLING
    for r in range(n_edges):
        i, j = first[place[r]], second[place[r]]
        null[i, j] = null[j, i] = heaviest[r]
    return np.abs(left).max()


@njit(cache=True, nogil=True)
def _deal_heaviest_first(
    ranked: NDArray[np.float64],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    left: NDArray[np.float64],
    tolerance: float,
    stream: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Edge of each weight, heaviest first: at random among edges whose two regions have that much strength left, or the nearest to it.

    Annealing alone would seldom find the few places where the heaviest weights fit. ``left`` is brought up to date.
    """
    n_free = len(ranked)
    free, place = np.arange(n_free), np.empty(n_free, np.int64)
    for r in range(len(ranked)):
        chosen, most, tried = 0, -np.inf, 0
        while tried < TRIES and most < ranked[r]:
            k = below(stream, n_free)
            room = min(left[first[free[k]]], left[second[free[k]]])
            if room > most:
                chosen, most = k, room
            tried += 1
        if most < ranked[r] and ranked[r] > tolerance:
            for k in range(n_free):
                room = min(left[first[free[k]]], left[second[free[k]]])
                if room > most:
                    chosen, most = k, room
        place[r] = free[chosen]
        left[first[place[r]]] -= ranked[r]
        left[second[place[r]]] -= ranked[r]
        n_free -= 1
        free[chosen] = free[n_free]
    return place

"""Making one null graph, as kernels: rewiring, dealing weights out, annealing them.

All rest on the same step (Maslov & Sneppen 2002, doi:10.1126/science.1065103): edges a-b and c-d become a-d and c-b, if those are absent. A
step that cannot be taken counts as taken without effect, which is what makes every possible graph as likely as any other. In a graph more
than half full the gaps are rewired in place of the edges: the same steps, found sooner.

Signed graphs are rewired alike (Rubinov & Sporns 2011, doi:10.1016/j.neuroimage.2011.03.069): a pair of regions is positive, negative or
without an edge; where a-b and c-d are of one of the three and a-d and c-b of another, they change places. Of the three the most common is
not listed, every step takes something from the others.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.sorting import sort_ascending
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
    """One degree-preserving null graph, signed or not, written into ``null``."""
    stream, sign = new_stream(seed), _signs(matrix)
    _rewire(sign, np.empty((0, 0), np.int16), False, rewirings, stream)
    _deal(matrix, np.zeros(matrix.shape, np.int16), 1, sign, stream, null)


@njit(cache=True, nogil=True)
def lattice_null(matrix: NDArray, seed: int, rewirings: int, null: NDArray) -> None:
    """One ring lattice of the same degrees and weights, written into ``null``."""
    n, stream, sign = len(matrix), new_stream(seed), _signs(matrix)
    place = np.arange(n)
    shuffle(stream, place)
    ring = np.empty((n, n), np.int16)
    for i in range(n):
        for j in range(n):
            apart = abs(place[i] - place[j])
            ring[i, j] = min(apart, n - apart)
    _rewire(sign, ring, True, rewirings, stream)
    ranked = _listed(matrix)
    sort_ascending(ranked)
    null[:] = 0
    edge = len(ranked)
    for apart in range(n // 2 + 1):
        for i in range(n):
            for j in range(i):
                if sign[i, j] and ring[i, j] == apart:
                    edge -= 1
                    null[i, j] = null[j, i] = ranked[edge]


@njit(cache=True, nogil=True)
def geometry_null(matrix: NDArray, seed: int, distances: NDArray[np.float64], n_bins: int, rewirings: int, null: NDArray) -> None:
    """One degree- and length-preserving null graph, written into ``null``."""
    n, stream, sign = len(matrix), new_stream(seed), _signs(matrix)
    lengths = np.empty(n * (n - 1) // 2)
    n_edges = 0
    for i in range(n):
        for j in range(i):
            if sign[i, j]:
                lengths[n_edges] = distances[i, j]
                n_edges += 1
    lengths = lengths[:n_edges]
    sort_ascending(lengths)
    bins = np.zeros((n, n), np.int16)
    if n_edges > 0:
        cuts = lengths[np.arange(1, n_bins) * n_edges // n_bins]
        for i in range(n):
            for j in range(i):
                outside = distances[i, j] < lengths[0] or distances[i, j] > lengths[-1]  # where no edge may go
                bins[i, j] = bins[j, i] = n_bins if outside else np.searchsorted(cuts, distances[i, j], side="right")
    _rewire(sign, bins, False, rewirings, stream)
    _deal(matrix, bins, n_bins, sign, stream, null)


@njit(cache=True, nogil=True)
def strength_null(matrix: NDArray, seed: int, rewirings: int, tolerance: float, null: NDArray) -> float:
    """One degree- and strength-preserving null graph, signed or not, written into ``null``; the largest difference of a positive or a
    negative strength in units of the mean one."""
    stream, rewired, error = new_stream(seed), np.empty_like(matrix), np.inf
    for _ in range(ATTEMPTS):
        degree_null(matrix, next_seed(stream), rewirings, rewired)
        reached = 0.0
        for negative in (False, True):
            part = _of_one_sign(rewired, negative)
            reached = max(reached, _anneal(_of_one_sign(matrix, negative), tolerance, stream, part))
            _put_back(part, negative, rewired)
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
def _signs(matrix: NDArray) -> NDArray[np.int8]:
    n = len(matrix)
    sign = np.empty((n, n), np.int8)
    for i in range(n):
        for j in range(n):
            sign[i, j] = (matrix[i, j] > 0) - (matrix[i, j] < 0)
    return sign


@njit(cache=True, nogil=True)
def _of_one_sign(matrix: NDArray, negative: bool) -> NDArray:
    """Positive weights, or the sizes of negative ones; 0 elsewhere."""
    n, part = len(matrix), np.zeros_like(matrix)
    for i in range(n):
        for j in range(n):
            w = -matrix[i, j] if negative else matrix[i, j]
            if w > 0:
                part[i, j] = w
    return part


@njit(cache=True, nogil=True)
def _put_back(part: NDArray, negative: bool, matrix: NDArray) -> None:
    """The inverse of :func:`_of_one_sign`, into a matrix that has the other sign already."""
    n = len(matrix)
    for i in range(n):
        for j in range(n):
            if part[i, j] > 0:
                matrix[i, j] = -part[i, j] if negative else part[i, j]


@njit(cache=True, nogil=True)
def _rewire(sign: NDArray[np.int8], kind: NDArray[np.int16], shorten: bool, rewirings: int, stream: NDArray[np.uint64]) -> None:
    """Take steps on the signs of edges, in place: those that keep the kinds of the two edges or, to shorten, do not raise their sum; with
    ``kind`` (0, 0) any."""
    n, count = len(sign), np.zeros(3, np.int64)
    for i in range(n):
        for j in range(i):
            count[sign[i, j] + 1] += 1
    common = 0 if count[1] >= max(count[0], count[2]) else 1 if count[2] >= count[0] else -1  # not listed
    n_listed = n * (n - 1) // 2 - count[common + 1]
    first, second = np.empty(n_listed, np.int32), np.empty(n_listed, np.int32)
    k = 0
    for i in range(n):
        for j in range(i):
            if sign[i, j] != common:
                first[k], second[k] = i, j
                k += 1
    for _ in range(rewirings * n_listed):
        p, q = below(stream, n_listed), below(stream, 2 * n_listed)
        a, b, c, d = first[p], second[p], first[q >> 1], second[q >> 1]
        if q & 1:
            c, d = d, c
        if a in (c, d) or b in (c, d):
            continue
        there = sign[a, d]
        if sign[c, b] != there:
            continue
        here = sign[a, b]
        if here == there or sign[c, d] != here:
            continue
        if len(kind) > 0:
            here_1, here_2, there_1, there_2 = kind[a, b], kind[c, d], kind[a, d], kind[c, b]
            if shorten:
                longer = there_1 + there_2 - here_1 - here_2
                if (longer > 0) if common == 0 else (longer < 0):
                    continue
            elif not ((here_1 == there_1 and here_2 == there_2) or (here_1 == there_2 and here_2 == there_1)):
                continue
        sign[a, b] = sign[b, a] = sign[c, d] = sign[d, c] = there
        sign[a, d] = sign[d, a] = sign[c, b] = sign[b, c] = here
        if there == common:  # otherwise all four stay listed
            second[p], first[q >> 1], second[q >> 1] = d, c, b


@njit(cache=True, nogil=True)
def _deal(matrix: NDArray, bins: NDArray[np.int16], n_bins: int, sign: NDArray[np.int8], stream: NDArray[np.uint64], null: NDArray) -> None:
    """Give the weights of each bin of edges and each sign, in random order, to the edges of that bin and sign, as many."""
    n = len(matrix)
    start = np.zeros(2 * n_bins + 1, np.int64)  # positive weights by bin, then negative ones
    for i in range(n):
        for j in range(i):
            if matrix[i, j] != 0:
                start[bins[i, j] + n_bins * (matrix[i, j] < 0) + 1] += 1
    start = np.cumsum(start)
    pool, filled = np.empty(start[2 * n_bins], matrix.dtype), start.copy()
    for i in range(n):
        for j in range(i):
            if matrix[i, j] != 0:
                one = bins[i, j] + n_bins * (matrix[i, j] < 0)
                pool[filled[one]] = matrix[i, j]
                filled[one] += 1
    for one in range(2 * n_bins):
        shuffle(stream, pool[start[one] : start[one + 1]])
    null[:] = 0
    for i in range(n):
        for j in range(i):
            if sign[i, j] != 0:
                one = bins[i, j] + n_bins * (sign[i, j] < 0)
                filled[one] -= 1
                null[i, j] = null[j, i] = pool[filled[one]]


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
    sort_ascending(given[:n_edges])
    heaviest = given[:n_edges][::-1]
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

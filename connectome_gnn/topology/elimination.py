"""Shortest paths of one graph (kernels for kernels).

Regions are put in order of strength. Weak ones are eliminated first, four at a time: for every pair of stronger regions, is the way through
the weak one shorter (a third of Floyd-Warshall's work)? Then they come back, strongest first: the paths from a region to all stronger ones
start with one of its edges, and few of those edges are worth a look once the shortest have been followed (as in contraction hierarchies).
Where most edges are themselves shortest paths, as with weights that hardly differ, that saves nothing and Floyd-Warshall takes over. Rows
are padded to whole vectors (see :mod:`connectome_gnn.topology.lanes`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.lanes import (
    add,
    aligned,
    fill,
    inverse,
    lane_count,
    least,
    load,
    number,
    number_of,
    peek,
    pick_less,
    poke,
    store,
)

__all__ = ["Room", "distances", "distances_of_small", "floyd_warshall", "room_for_distances"]

WORTH_A_LOOK = 0.6
"""Share of the edges among the strongest quarter of regions that are followed, from which on Floyd-Warshall is faster."""


class Room(NamedTuple):
    """Scratch for the shortest paths of one graph of n regions."""

    lengths: Any  # (E,)
    D: Any  # (>= n, S)
    panel: Any  # (4, S)
    strength: Any  # (n,)
    order: Any  # (n,)
    rank: Any  # (n,)


@njit(cache=True, nogil=True)
def room_for_distances(n: int, like: NDArray) -> Room:
    """Scratch for :func:`distances`."""
    step = lane_count(like)
    S, rows = (n + step - 1) // step * step, n + n % 2  # an even number of rows: see floyd_warshall
    n_edges = (n * (n - 1) // 2 + step - 1) // step * step
    D, panel = aligned(rows * S, like).reshape((rows, S)), aligned(4 * S, like).reshape((4, S))
    return Room(aligned(n_edges, like), D, panel, np.empty(n, like.dtype), np.empty(n, np.int64), np.empty(n, np.int64))


@njit(cache=True, nogil=True)
def distances(vector: NDArray, n: int, room: Room) -> tuple[NDArray, NDArray]:
    """Shortest-path lengths of one graph (a kernel for kernels): (>= R, S) symmetric, rows padded to whole vectors, and the order (R,).

    ``lengths[i, j]`` joins the regions ``order[i]`` and ``order[j]``; rows and columns from R on mean nothing. Both are in ``room``, the
    order's inverse too.
    """
    D, order = room.D, room.order
    _put_in_order(vector, n, room)
    _lengths_in_order(vector, n, room)
    if not _eliminate_and_extend(D, n):
        floyd_warshall(D, n, room.panel)
        _mirror(D, n)
    return D, order


@njit(cache=True, nogil=True)
def distances_of_small(vector: NDArray, n: int, room: Room) -> NDArray:
    """Shortest-path lengths of one graph as :func:`distances` has them, but with regions as they are, by Floyd-Warshall.

    The same to the last bit as :func:`~connectome_gnn.topology.side_by_side.paths_side_by_side` gives, and faster for few small graphs.
    """
    lengths, D = room.lengths, room.D
    S, position = D.shape[1], 0
    _take_lengths(vector, lengths)
    for i in range(n - 1):
        for j in range(i + 1, n):
            poke(D, j * S + i, peek(lengths, position))
            position += 1
    floyd_warshall(D, n, room.panel)
    _mirror(D, n)
    return D


@njit(cache=True, nogil=True)
def _mirror(D: NDArray, n: int) -> None:
    """Copy what is below the diagonal of ``D[:n, :n]`` above it; 0 on the diagonal."""
    S = D.shape[1]
    for i in range(n):
        D[i, i] = 0
        for j in range(i):
            poke(D, j * S + i, peek(D, i * S + j))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _put_in_order(vector: NDArray, n: int, room: Room) -> None:
    """Strongest region first."""
    strength, order, rank = room.strength, room.order, room.rank
    strength[:] = 0
    position = 0
    for i in range(n - 1):
        row, others = vector[position : position + n - i - 1], strength[i + 1 :]
        whole = vector.dtype.type(0)
        for j in range(len(row)):
            whole += row[j]
            others[j] += row[j]
        strength[i] += whole
        position += n - i - 1
    for i in range(n):
        mine, before = strength[i], 0
        for j in range(i):
            before += 1 if strength[j] >= mine else 0
        for j in range(i + 1, n):
            before += 1 if strength[j] > mine else 0
        rank[i] = before
        order[before] = i


@njit(cache=True, nogil=True)
def _lengths_in_order(vector: NDArray, n: int, room: Room) -> None:
    """1 / w below the diagonal of D."""
    lengths, D, order = room.lengths, room.D, room.order
    _take_lengths(vector, lengths)
    before = np.empty(n, np.int64)  # so that before[a] + b is the place of edge (a, b)
    for a in range(n):
        before[a] = a * n - a * (a + 1) // 2 - a - 1
    for i in range(n):
        a, row = order[i], D[i]
        for j in range(i):
            b = peek(order, j)
            poke(row, j, peek(lengths, peek(before, min(a, b)) + max(a, b)))


@njit(cache=True, nogil=True)
def _take_lengths(vector: NDArray, lengths: NDArray) -> None:
    """1 / w of an edge vector (E,), infinite for 0."""
    step = lane_count(vector)
    for e in range(0, len(vector) - step + 1, step):
        store(lengths, e, inverse(load(vector, e), lengths))
    for e in range(len(vector) // step * step, len(vector)):
        lengths[e] = vector.dtype.type(1) / vector[e] if vector[e] > 0 else np.inf


@njit(cache=True, nogil=True)
def floyd_warshall(D: NDArray, n: int, panel: NDArray) -> None:
    """Floyd-Warshall on the lower triangle of ``D[:n, :n]`` in place, four pivots and two rows at a time.

    Every length is the same sum, added up in the same order, as in :func:`~connectome_gnn.topology.tiles.floyd_warshall_side_by_side`:
    what a person gets, to the last bit, does not depend on how many graphs there are.

    Parameters
    ----------
    D : (R, S) lengths, R even and n or more, rows padded to whole vectors; the diagonal and above mean nothing, before and after.
    n : regions.
    panel : (4, >= padded n) scratch.
    """
    S, P, step = D.shape[1], panel.shape[1], lane_count(D)
    corner = np.empty((4, 4), D.dtype)
    for k in range(0, n, 4):
        _reach(D, n, k, corner, panel)
        for i in range(0, n, 2):
            if k <= i < k + 4:
                continue  # the pivots themselves
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
def _reach(D: NDArray, n: int, k: int, corner: NDArray, panel: NDArray) -> None:
    """Paths by way of each other among four pivots from k on, and from all other regions to them, in D and in rows of ``panel``.

    Pivots that are not there, and the way from pivots to each other, are infinitely long in ``panel``.
    """
    S, P, step, pivots = D.shape[1], panel.shape[1], lane_count(D), min(4, n - k)
    panel[:, k:] = np.inf
    for q in range(4):
        for r in range(q):
            corner[q, r] = corner[r, q] = D[k + q, k + r] if q < pivots else np.inf
        for j in range(0, k, step):
            store(panel, q * P + j, load(D, (k + q) * S + j) if q < pivots else fill(D, D.dtype.type(np.inf)))
        panel[q, k : k + 4] = np.inf
    for between in range(4):
        for q in range(4):
            for r in range(q):
                if between != q and between != r:
                    corner[q, r] = corner[r, q] = min(corner[q, between] + corner[between, r], corner[q, r])
    for j in range(k + 4, n):
        for q in range(4):
            poke(panel, q * P + j, peek(D, j * S + k + q))
    c10, c20, c30 = fill(D, corner[1, 0]), fill(D, corner[2, 0]), fill(D, corner[3, 0])
    c21, c31, c32 = fill(D, corner[2, 1]), fill(D, corner[3, 1]), fill(D, corner[3, 2])
    for j in range(0, n, step):
        g0, g1, g2, g3 = load(panel, j), load(panel, P + j), load(panel, 2 * P + j), load(panel, 3 * P + j)
        store(panel, j, least(least(add(g1, c10), add(g2, c20)), least(add(g3, c30), g0)))
        store(panel, P + j, least(least(add(g0, c10), add(g2, c21)), least(add(g3, c31), g1)))
        store(panel, 2 * P + j, least(least(add(g0, c20), add(g1, c21)), least(add(g3, c32), g2)))
        store(panel, 3 * P + j, least(least(add(g0, c30), add(g1, c31)), least(add(g2, c32), g3)))
    for q in range(pivots):
        for j in range(0, k, step):
            store(D, (k + q) * S + j, load(panel, q * P + j))
        for r in range(q):
            D[k + q, k + r] = corner[q, r]
    for j in range(k + 4, n):
        for q in range(4):
            poke(D, j * S + k + q, peek(panel, q * P + j))


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
    rows, waiting = aligned(3 * S, D).reshape((3, S)), aligned(n * step, D).reshape((n, step))
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

    An edge is of use if it is shorter than the path found without it. The shortest such edge of each lane is followed, four at a time,
    before the others are looked at again. Returns how many were followed.
    """
    S, step = D.shape[1], lane_count(D)
    infinite = fill(D, D.dtype.type(np.inf))
    nearest = infinite
    for j in range(0, k, step):
        edge = load(D, k * S + j)
        store(rows, j, edge)
        store(rows, S + j, infinite)
        nearest = least(number(edge, j, mask), nearest)
    near = rows[2]
    followed = 0
    while True:
        store(near, 0, nearest)
        count = 0
        for lane in range(step):
            edge = peek(near, lane)
            poke(near, count, edge)
            count += 1 if edge < np.inf else 0
        if count == 0:
            return followed
        for more in range(count, (count + 3) // 4 * 4):
            poke(near, more, peek(near, 0))
        followed += count
        nearest = infinite
        for first in range(0, count, 4):
            p, q = number_of(peek(near, first), mask), number_of(peek(near, first + 1), mask)
            r, t = number_of(peek(near, first + 2), mask), number_of(peek(near, first + 3), mask)
            a, b, c, d = fill(D, peek(rows, p)), fill(D, peek(rows, q)), fill(D, peek(rows, r)), fill(D, peek(rows, t))
            last = first + 4 >= count
            for j in range(0, block, step):
                length = least(least(add(a, load(D, p * S + j)), add(b, load(D, q * S + j))), load(rows, S + j))
                length = least(least(add(c, load(D, r * S + j)), add(d, load(D, t * S + j))), length)
                store(rows, S + j, length)
                if last:
                    edge = load(rows, j)
                    nearest = least(pick_less(edge, length, number(edge, j, mask), infinite), nearest)
            if block < k:
                length = least(least(add(a, load(waiting, p * step)), add(b, load(waiting, q * step))), load(rows, S + block))
                length = least(least(add(c, load(waiting, r * step)), add(d, load(waiting, t * step))), length)
                store(rows, S + block, length)
                if last:
                    edge = load(rows, block)
                    nearest = least(pick_less(edge, length, number(edge, block, mask), infinite), nearest)

"""The search for communities, as kernels: Louvain, Leiden and consensus, all on one matrix.

What matters of a graph is how much Q* each pair of regions adds when they are together, its excess; Q* is the sum of the excess inside
communities, whatever gamma and the signs. Merging communities adds up blocks of that matrix, so every level works alike.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.streams import new_stream, shuffle

__all__ = ["best_run", "consensus_of_runs", "count_from_zero", "quality"]

fast = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})

LEAST_GAIN = 1e-12
"""A region moves only if Q* rises by more than this: rounding must not keep it moving for ever."""

CONSENSUS_ROUNDS = 50
"""Most rounds of clustering the co-classification matrix; two to five are usual."""


@fast
def quality(matrix: NDArray, labels: NDArray[np.int64], gamma: float) -> float:
    """Q* of a partition, labels 0 to R - 1; float64 whatever the weights."""
    n = len(matrix)
    plus, minus = np.zeros(n), np.zeros(n)
    inside_plus = inside_minus = total_plus = total_minus = 0.0
    for i in range(n):
        row, own = matrix[i], labels[i]
        s_plus = s_minus = in_plus = in_minus = 0.0
        for j in range(n):
            w = np.float64(row[j])
            p, m, together = max(w, 0.0), max(-w, 0.0), labels[j] == own
            s_plus += p
            s_minus += m
            in_plus += p if together else 0.0
            in_minus += m if together else 0.0
        plus[own] += s_plus
        minus[own] += s_minus
        inside_plus += in_plus
        inside_minus += in_minus
        total_plus += s_plus
        total_minus += s_minus
    if total_plus + total_minus == 0:
        return np.nan
    total = 0.0
    if total_plus > 0:
        total += inside_plus / total_plus - gamma * ((plus / total_plus) ** 2).sum()
    if total_minus > 0:
        total -= (inside_minus / total_minus - gamma * ((minus / total_minus) ** 2).sum()) * (total_minus / (total_plus + total_minus))
    return total


@fast
def _excess(matrix: NDArray, gamma: float) -> NDArray[np.float64]:
    """(R, R) what each pair of regions adds to Q* when together, so that Q* = sum_ij excess_ij [c_i = c_j]; 0 without edges."""
    n = len(matrix)
    plus, minus = np.zeros(n), np.zeros(n)
    for i in range(n):
        p = m = 0.0
        for j in range(n):
            w = np.float64(matrix[i, j])
            p += max(w, 0.0)
            m += max(-w, 0.0)
        plus[i], minus[i] = p, m
    total_plus, total_minus = plus.sum(), minus.sum()
    per_plus = 1 / total_plus if total_plus > 0 else 0.0
    per_minus = 1 / total_minus if total_minus > 0 else 0.0
    share_minus = total_minus / (total_plus + total_minus) if total_minus > 0 else 0.0
    plus *= per_plus
    minus *= per_minus
    excess = np.empty((n, n))
    for i in range(n):
        a, b = gamma * plus[i], gamma * minus[i]
        for j in range(n):
            w = np.float64(matrix[i, j])
            excess[i, j] = max(w, 0.0) * per_plus - a * plus[j] - (max(-w, 0.0) * per_minus - b * minus[j]) * share_minus
    return excess


@fast
def count_from_zero(labels: NDArray[np.int64]) -> int:
    """Number labels (0 to n - 1) in the order of their first members, in place; how many there are."""
    number = np.full(len(labels), -1)
    n = 0
    for i in range(len(labels)):
        if number[labels[i]] < 0:
            number[labels[i]] = n
            n += 1
        labels[i] = number[labels[i]]
    return n


@fast
def _merge(excess: NDArray[np.float64], labels: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """(n_labels, n_labels) excess between communities, with what is inside them on the diagonal."""
    n = len(excess)
    rows = np.zeros((n_labels, n))
    for i in range(n):
        row, into = excess[i], rows[labels[i]]
        for j in range(n):
            into[j] += row[j]
    merged = np.zeros((n_labels, n_labels))
    for c in range(n_labels):
        for j in range(n):
            merged[c, labels[j]] += rows[c, j]
    return merged


@fast
def _move(excess: NDArray[np.float64], labels: NDArray[np.int64], stream: NDArray[np.uint64]) -> bool:
    """Move nodes to better communities (an empty one included) until none gains; labels in place; whether any moved."""
    n = len(excess)
    order = np.arange(n)
    shuffle(stream, order)
    any_moved, since_move = False, 0
    n_labels = count_from_zero(labels)
    if 4 * n_labels > n:  # at first there are many communities and it pays to sum over each node's edges afresh
        sums_of_i = np.empty(n)
        for i in order:
            row = excess[i]
            sums_of_i[:] = 0
            for j in range(n):
                sums_of_i[labels[j]] += row[j]
            target = _best_community(sums_of_i, labels[i], row[i])
            since_move += 1
            if target != labels[i]:
                labels[i] = target
                any_moved, since_move = True, 0
        if not any_moved:
            return False
        n_labels = count_from_zero(labels)
    sums = _sums(excess, labels, n_labels, min(n, n_labels + 8))  # kept up from here on; the last columns are empty communities
    k = 0
    while since_move < n:
        i = order[k]
        k = k + 1 if k + 1 < n else 0
        since_move += 1
        own = labels[i]
        target = _best_community(sums[i], own, excess[i, i])
        if target != own:
            any_moved, since_move = True, 0
            row = excess[i]
            for j in range(n):
                sums[j, own] -= row[j]
                sums[j, target] += row[j]
            labels[i] = target
    return any_moved


@fast
def _sums(excess: NDArray[np.float64], labels: NDArray[np.int64], n_labels: int, width: int) -> NDArray[np.float64]:
    """(n, width) excess between every node and all of each community; 0 for communities from n_labels on."""
    n = len(excess)
    by_community = np.zeros((n_labels, n))
    for i in range(n):
        row, into = excess[i], by_community[labels[i]]
        for j in range(n):
            into[j] += row[j]
    sums = np.zeros((n, width))
    for i in range(n):
        for c in range(n_labels):
            sums[i, c] = by_community[c, i]
    return sums


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
def _best_community(sums: NDArray[np.float64], own: int, with_itself: float) -> int:
    """Where a node gains most: its own community if no other is better by LEAST_GAIN. An empty community counts 0: standing alone."""
    kept = sums[own]
    stay = kept - with_itself
    sums[own] = stay
    best = stay
    for c in range(len(sums)):
        best = sums[c] if sums[c] > best else best
    target = own
    if best > stay + LEAST_GAIN:
        target = 0
        while sums[target] != best:
            target += 1
    sums[own] = kept
    return target


@fast
def _louvain(excess: NDArray[np.float64], stream: NDArray[np.uint64]) -> NDArray[np.int64]:
    labels = np.arange(len(excess))
    while _move(excess, labels, stream):
        n = count_from_zero(labels)
        coarse = _merge(excess, labels, n)
        joined = np.arange(n)
        while _move(coarse, joined, stream):
            n = count_from_zero(joined)
            for i in range(len(labels)):
                labels[i] = joined[labels[i]]
            coarse = _merge(coarse, joined, n)
            joined = np.arange(n)
    count_from_zero(labels)
    return labels


@fast
def _refine(excess: NDArray[np.float64], labels: NDArray[np.int64], stream: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Well-connected parts of every community: nodes that stand alone join the part of their community where they gain most."""
    n = len(excess)
    start = np.zeros(n + 1, np.int64)
    for label in labels:
        start[label + 1] += 1
    start = np.cumsum(start)
    members, placed = np.empty(n, np.int64), start.copy()  # of community c: members[start[c] : start[c + 1]]
    for i in range(n):
        members[placed[labels[i]]] = i
        placed[labels[i]] += 1
    outside = np.zeros(n)  # of each part: its excess with the rest of its community
    for i in range(n):
        for j in members[start[labels[i]] : start[labels[i] + 1]]:
            outside[i] += excess[i, j] if i != j else 0.0
    parts, size, order = np.arange(n), np.ones(n, np.int64), np.arange(n)
    shuffle(stream, order)
    sums = np.zeros(n)  # excess between a node and each part of its community
    for node in order:
        if size[parts[node]] != 1 or outside[node] < -LEAST_GAIN:
            continue
        community = members[start[labels[node]] : start[labels[node] + 1]]
        for j in community:
            sums[parts[j]] += excess[node, j]
        best, target = LEAST_GAIN, node
        for p in community:
            if sums[p] > best and p != node and outside[p] >= -LEAST_GAIN:
                best, target = sums[p], p
        sums[community] = 0
        if target != node:
            outside[target] += outside[node] - 2 * best
            size[target] += 1
            size[node] = 0
            parts[node] = target
    return parts


@fast
def _leiden(excess: NDArray[np.float64], stream: NDArray[np.uint64]) -> NDArray[np.int64]:
    labels = np.arange(len(excess))
    changed = True
    while changed:
        before, current = labels.copy(), excess
        node, communities = np.arange(len(excess)), labels.copy()  # node of each region, community of each node
        while True:
            _move(current, communities, stream)
            if count_from_zero(communities) == len(current):
                break
            parts = _refine(current, communities, stream)
            n_parts = count_from_zero(parts)
            if n_parts == len(current):
                break
            of_part = np.empty(n_parts, np.int64)
            for i in range(len(parts)):
                of_part[parts[i]] = communities[i]
            current, communities, node = _merge(current, parts, n_parts), of_part, parts[node]
        labels = communities[node]
        count_from_zero(labels)
        changed = not np.array_equal(labels, before)
    return labels


@fast
def _search(excess: NDArray[np.float64], by_leiden: bool, stream: NDArray[np.uint64]) -> NDArray[np.int64]:
    """One run; regions without edges, which add nothing wherever they are, alone."""
    labels = _leiden(excess, stream) if by_leiden else _louvain(excess, stream)
    n_labels = count_from_zero(labels)
    for i in range(len(labels)):
        if not excess[i].any() and (labels == labels[i]).sum() > 1:
            labels[i] = n_labels
            n_labels += 1
    count_from_zero(labels)
    return labels


@fast
def best_run(matrix: NDArray, seed: int, gamma: float, n_runs: int, by_leiden: bool) -> tuple[NDArray[np.int64], float]:
    """Labels (R,) and Q* of the best of several runs of Louvain or Leiden."""
    stream, excess = new_stream(seed), _excess(matrix, gamma)
    labels = np.arange(len(matrix))
    highest = -np.inf
    for _ in range(n_runs):
        found = _search(excess, by_leiden, stream)
        reached = quality(matrix, found, gamma)
        if reached > highest:
            highest, labels = reached, found
    return labels, quality(matrix, labels, gamma)


@fast
def consensus_of_runs(
    matrix: NDArray, seed: int, gamma: float, n_runs: int, by_leiden: bool, threshold: float
) -> tuple[NDArray[np.int64], float]:
    """Labels (R,) and Q* of the partition on which runs end up agreeing."""
    n, stream, excess = len(matrix), new_stream(seed), _excess(matrix, gamma)
    labels = np.arange(n)
    for _ in range(CONSENSUS_ROUNDS):
        together, unanimous = np.zeros((n, n)), True
        for run in range(n_runs):
            found = _search(excess, by_leiden, stream)
            if run > 0 and not np.array_equal(found, labels):
                unanimous = False
            labels = found
            for i in range(n):
                for j in range(n):
                    together[i, j] += 1.0 if found[i] == found[j] else 0.0
        if unanimous:
            break
        for i in range(n):
            for j in range(n):
                share = together[i, j] / n_runs
                together[i, j] = share if share >= threshold and i != j else 0.0
        excess = _excess(together, 1.0)
    return labels, quality(matrix, labels, gamma)

"""Networks grown edge by edge, by distance and by how much two regions' neighbours overlap: plain functions of arrays."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.edges import to_matrices
from connectome_gnn.evaluation.wiring_energy import length_distances, nodal_distances
from connectome_gnn.topology.clustering import clustering
from connectome_gnn.topology.streams import new_stream, uniform

__all__ = ["Wiring", "energies", "grow"]

EPSILON = 1e-6
"""Added to every matching index, so that regions without a common neighbour may be joined (Betzel et al. 2016)."""

LEAST_DISTANCE = 1.0  # mm: regions at one place are not infinitely likely to be joined
STEADY = 1e-6


def grow(
    distances: NDArray[np.float64], eta: float, gamma: float, n_edges: int, seed: int, start: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Add edges one by one, each drawn with a chance proportional to ``distance**eta * (matching index + 1e-6)**gamma``.

    The matching index (:func:`connectome_gnn.topology.matching_index`) is that of the network as it has grown so far. An edge
    changes the matching index of its own two regions with others only, so a step costs 2 R operations.

    Parameters
    ----------
    distances : (R, R) mm; below 1 mm counts as 1 mm.
    eta, gamma : exponents of distance and of the matching index.
    n_edges : edges to add; at most those that are absent.
    seed : of the draws, a whole number from 0 to 2**63 - 1.
    start : (R, R) symmetric network to start from; default none.

    Returns
    -------
    added : (n_edges,) places of the edges in ``np.triu_indices(R, 1)``, in the order in which they were added.
    chances : (R, R) relative chance of every absent edge to be the next one, 0 for those present.

    References
    ----------
    Vertes et al. 2012, PNAS 109:5868; Betzel et al. 2016, NeuroImage 124:1054, equation 1 with the rule ``matching``.
    """
    n_regions = len(distances)
    near = np.maximum(distances, LEAST_DISTANCE) ** eta
    near /= near[~np.eye(n_regions, dtype=bool)].max()
    joined = np.zeros((n_regions, n_regions), np.bool_) if start is None else start.copy()
    added = np.empty(min(n_edges, n_regions * (n_regions - 1) // 2 - int(joined.sum()) // 2), np.intp)
    # The matching index takes few values: of c common neighbours among c + ... = t neighbours.
    common, total = np.arange(n_regions)[:, None], np.arange(2 * n_regions)
    powers = (np.divide(2.0 * common, total, out=np.zeros((n_regions, 2 * n_regions)), where=total > 0) + EPSILON) ** gamma
    return added, _grow(joined, near, powers, added, int(seed))


@njit(cache=True, nogil=True)
def _grow(
    joined: NDArray[np.bool_], near: NDArray[np.float64], powers: NDArray[np.float64], added: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    n = len(joined)
    stream = new_stream(seed)
    degree = np.zeros(n, np.int64)
    common = np.zeros((n, n), np.int64)
    for i in range(n):
        for j in range(n):
            if joined[i, j]:
                degree[i] += 1
                for k in range(n):
                    common[i, k] += joined[j, k]
    chances = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j and not joined[i, j]:
                chances[i, j] = near[i, j] * powers[common[i, j], degree[i] + degree[j]]
    sums = np.zeros(n)  # of each row above the diagonal
    fresh, since = 0.0, n
    for step in range(len(added)):
        everything = sums.sum()
        if since >= n or everything < STEADY * fresh:  # rounding of what is added and taken away does not pile up
            for i in range(n):
                sums[i] = chances[i, i + 1 :].sum()
            everything = sums.sum()
            fresh, since = everything, 0
        since += 1
        left = uniform(stream) * everything
        u = 0
        while u < n - 2 and left >= sums[u]:
            left -= sums[u]
            u += 1
        v = -1
        for j in range(u + 1, n):
            if chances[u, j] > 0:
                v = j
                left -= chances[u, j]
                if left < 0:
                    break
        if v < 0:  # a row without absent edges, reached by rounding: any row with one
            for i in range(n):
                for j in range(i + 1, n):
                    if not joined[i, j] and (v < 0 or chances[i, j] > chances[u, v]):
                        u, v = i, j
        for w in range(n):
            if joined[u, w]:
                common[v, w] += 1
                common[w, v] += 1
            if joined[v, w]:
                common[u, w] += 1
                common[w, u] += 1
        joined[u, v] = joined[v, u] = True
        degree[u] += 1
        degree[v] += 1
        sums[u] -= chances[u, v]
        chances[u, v] = chances[v, u] = 0
        for i in (u, v):
            for j in range(n):
                if j != i and not joined[i, j]:
                    now = near[i, j] * powers[common[i, j], degree[i] + degree[j]]
                    sums[min(i, j)] += now - chances[i, j]
                    chances[i, j] = chances[j, i] = now
        added[step] = u * n - u * (u + 1) // 2 + v - u - 1
    return chances


class Wiring:
    """What a wiring model is judged by, of several binary networks.

    Parameters
    ----------
    edges : (n, E) which edges each network has.

    Attributes
    ----------
    degree, clustering, betweenness : (n, R) of the binary networks.
    """

    def __init__(self, edges: NDArray[np.bool_]) -> None:
        self.edges = edges
        binary = edges.astype(np.float32)
        self.degree = to_matrices(binary).sum(2)
        self.clustering = clustering(binary, n_jobs=1)
        self.betweenness = np.stack([_betweenness(joined) for joined in to_matrices(edges)])


def energies(real: Wiring, person: int, grown: Wiring, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest of the four Kolmogorov-Smirnov distances from one real network to each grown one, (n,) in [0, 1].

    Degree, clustering and betweenness over regions, and lengths of edges: Betzel et al. 2016, equation 4; of binary networks.
    """
    one = slice(person, person + 1)
    nodal = [nodal_distances(getattr(real, name)[one], getattr(grown, name)[None])[0] for name in ("degree", "clustering", "betweenness")]
    largest: NDArray[np.float64] = np.max([*nodal, length_distances(real.edges[one], grown.edges[None], lengths)[0]], 0)
    return largest


def _betweenness(joined: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R,) shortest paths through each region of a binary network (R, R), ordered pairs; all sources at once, a step at a time.

    Brandes (2001) with products of matrices in place of queues: in networks as dense as connectomes a path has two or three steps.
    """
    edges = joined.astype(np.float64)
    reached = np.eye(len(edges), dtype=bool)
    paths = [np.where(reached, 0, edges)]
    while paths[-1].any():
        reached |= paths[-1] > 0
        paths.append(np.where(reached, 0, paths[-1] @ edges))
    through = np.zeros_like(edges)
    for far, near in zip(paths[:0:-1], paths[-2::-1], strict=True):
        through += np.divide(1 + through, far, out=np.zeros_like(far), where=far > 0) @ edges * near
    betweenness: NDArray[np.float64] = through.sum(0)
    return betweenness

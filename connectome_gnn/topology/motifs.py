"""Small patterns: how alike two regions' neighbours are, and how intense the motifs of three regions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs, map_graphs
from connectome_gnn.topology.basic import SUMS

__all__ = ["matching_index", "motif_intensity"]


def matching_index(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """How alike two regions' neighbours are: twice the shared neighbours over all neighbours of both, each other left out. Binary.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative; an edge is a weight above 0.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    matching : (R, R) for one matrix, (N, R, R) for many, for every pair of regions whether connected or not: 0 to 1; 0 on the diagonal
        and where neither has another neighbour.

    References
    ----------
    Hilgetag et al. 2002, in Koetter (ed.) Neuroscience Databases; Betzel et al. 2016, NeuroImage 124:1054. Equals bctpy
    ``matching_ind`` on the binary graph; its ``matching_ind_und`` divides by another count (and prints), its weighted results mix
    counts with weights.
    """
    result: NDArray = map_graphs(as_graphs(weights, "matching index"), _matching_index, n_jobs=n_jobs)
    return result


def motif_intensity(weights: Any, *, motif: Literal["triangle", "open"] = "triangle", n_jobs: int = -1) -> NDArray:
    """Intensity of the motifs of three regions around every region: the sum of their edges' geometric means.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    motif : ``"triangle"``, three regions with three edges, or ``"open"``, a path of two edges whose ends are not connected.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    intensity : (R,) for one matrix, (N, R) for many, in the weights' unit: over all motifs that the region is in; 0 if in none.

    References
    ----------
    Onnela et al. 2005, Physical Review E 71:065103, as in bctpy ``motif3struct_wei`` of the undirected graph, classes 13 (triangle)
    and 9 (open).
    """
    if motif not in ("triangle", "open"):
        raise ConnectomeError(f"motif is 'triangle' or 'open', got {motif!r}")
    kernel = _triangle_intensity if motif == "triangle" else _open_intensity
    result: NDArray = map_graphs(as_graphs(weights, "motif intensity"), kernel, n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _matching_index(matrix: NDArray) -> NDArray[np.float64]:
    n = len(matrix)
    present = np.empty((n, n), np.int32)
    degrees = np.zeros(n, np.int64)
    for i in range(n):
        for j in range(n):
            present[i, j] = matrix[i, j] > 0
            degrees[i] += present[i, j]
    values = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            shared = np.int32(0)
            for h in range(n):  # neither i nor j is its own neighbour, so neither is counted
                shared += present[i, h] & present[j, h]
            others = degrees[i] + degrees[j] - 2 * present[i, j]
            if others > 0:
                values[i, j] = values[j, i] = 2 * shared / others
    return values


@njit(cache=True, nogil=True, fastmath=SUMS)
def _triangle_intensity(matrix: NDArray) -> NDArray[np.float64]:
    n = len(matrix)
    root = np.cbrt(matrix.astype(np.float64))
    intensity = np.zeros(n)
    for i in range(n):
        for j in range(i):
            if root[i, j] > 0:
                both = 0.0
                for h in range(n):
                    both += root[i, h] * root[j, h]
                intensity[i] += 0.5 * root[i, j] * both  # each triangle is met along two of the region's edges
                intensity[j] += 0.5 * root[i, j] * both
    return intensity


@njit(cache=True, nogil=True, fastmath=SUMS)
def _open_intensity(matrix: NDArray) -> NDArray[np.float64]:
    n = len(matrix)
    root = np.sqrt(matrix.astype(np.float64))
    intensity = np.zeros(n)
    for i in range(n):
        for j in range(i):
            if root[i, j] == 0:
                for h in range(n):  # the path i - h - j
                    one = root[i, h] * root[j, h]
                    intensity[i] += one
                    intensity[j] += one
                    intensity[h] += one
    return intensity

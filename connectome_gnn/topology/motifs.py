"""Small patterns: how alike two regions' neighbours are, and the motifs of three and of four regions.

A motif is the graph that three or four regions form by themselves (induced: every edge among them counts), if that is connected. Its
intensity is the geometric mean of its edges' weights, its coherence that over their arithmetic mean: 1 where all are equal.

==============  =====================================================================================
open            a path of two edges, whose ends are not connected
triangle        three regions, three edges
path4           a path of three edges
star4           one region connected to three that are not connected with each other
cycle4          a ring of four
paw             a triangle, and a fourth region that hangs on one of its three
diamond         four regions, all edges but one
clique4         four regions, six edges
==============  =====================================================================================
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs, map_graphs

__all__ = [
    "MotifName",
    "MotifValues",
    "MotifsOfFour",
    "MotifsOfThree",
    "matching_index",
    "motif_intensity",
    "motifs_of_four",
    "motifs_of_three",
]

MotifName = Literal["open", "triangle", "path4", "star4", "cycle4", "paw", "diamond", "clique4"]

NO_MOTIF = -1
"""Regions that are not all connected among themselves."""


class MotifValues(NamedTuple):
    """One motif around every region, (N, R) each, or (R,) for a single matrix, all summed over the motifs that the region is in.

    Attributes
    ----------
    number : how many there are, whole numbers.
    intensity : in the weights' unit; ``intensity / number`` is the mean.
    coherence : 0 to ``number``; ``coherence / number`` is the mean, 0 to 1.
    """

    number: NDArray[np.int64]
    intensity: NDArray
    coherence: NDArray


class MotifsOfThree(NamedTuple):
    """The motifs of three regions, see the head of this module."""

    open: MotifValues
    triangle: MotifValues


class MotifsOfFour(NamedTuple):
    """The motifs of four regions, see the head of this module."""

    path4: MotifValues
    star4: MotifValues
    cycle4: MotifValues
    paw: MotifValues
    diamond: MotifValues
    clique4: MotifValues


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


def motif_intensity(weights: Any, *, motif: MotifName = "triangle", n_jobs: int = -1) -> NDArray:
    """Intensity of one motif around every region: the sum, over all such motifs that the region is in, of their edges' geometric means.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    motif : one of the names at the head of this module. Motifs of four go through R^4 / 24 sets of regions, 0.3 s for 200 regions and 5 s
        for 400 on one thread; :func:`motifs_of_four` gives all six in that time.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    intensity : (R,) for one matrix, (N, R) for many, in the weights' unit; 0 if in none.

    Raises
    ------
    ConnectomeError
        If the motif is unknown, or the weights are no graphs, or negative, NaN or infinite.

    References
    ----------
    As :func:`motifs_of_three` and :func:`motifs_of_four`.
    """
    if motif not in get_args(MotifName):
        raise ConnectomeError(f"motif is one of {', '.join(map(repr, get_args(MotifName)))}, got {motif!r}")
    find = motifs_of_three if motif in MotifsOfThree._fields else motifs_of_four
    values: MotifValues = getattr(find(weights, n_jobs=n_jobs), motif)
    return values.intensity


def motifs_of_three(weights: Any, *, n_jobs: int = -1) -> MotifsOfThree:
    """Number, intensity and coherence of the motifs of three regions around every region.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    motifs : ``open`` and ``triangle``, each with number, intensity and coherence, (R,) for one matrix, (N, R) for many.

    References
    ----------
    Onnela et al. 2005, Physical Review E 71:065103, summed as in bctpy ``motif3struct_wei``, whose classes 9 and 13 these are for
    undirected graphs (the file of motifs that it reads is not in bctpy's wheel).
    """
    count, intensity, coherence = map_graphs(as_graphs(weights, "motif intensity"), _of_three, n_jobs=n_jobs)
    return MotifsOfThree(*(MotifValues(count[..., k, :], intensity[..., k, :], coherence[..., k, :]) for k in range(2)))


def motifs_of_four(weights: Any, *, n_jobs: int = -1) -> MotifsOfFour:
    """Number, intensity and coherence of the six motifs of four regions around every region, from every four regions in turn.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    motifs : ``path4``, ``star4``, ``cycle4``, ``paw``, ``diamond`` and ``clique4``, each with number, intensity and coherence, (R,) for one
        matrix, (N, R) for many.

    References
    ----------
    Onnela et al. 2005, Physical Review E 71:065103, summed as in bctpy ``motif4struct_wei`` over the undirected ones of its 199 classes
    (the file of motifs that it reads is not in bctpy's wheel).
    """
    count, intensity, coherence = map_graphs(as_graphs(weights, "motif intensity"), _of_four, MOTIF_OF_EDGES, n_jobs=n_jobs)
    return MotifsOfFour(*(MotifValues(count[..., k, :], intensity[..., k, :], coherence[..., k, :]) for k in range(6)))


def _motif_of_edges() -> NDArray[np.int64]:
    """Which motif of four, in the order of :class:`MotifsOfFour`, the edges ab, ac, bc, ad, bd, cd form (bits 0 to 5), (64,)."""
    ends = np.array([(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)])
    by_degrees = {(1, 1, 2, 2): 0, (1, 1, 1, 3): 1, (2, 2, 2, 2): 2, (1, 2, 2, 3): 3, (2, 2, 3, 3): 4, (3, 3, 3, 3): 5}
    present = [ends[[bool(edges >> bit & 1) for bit in range(6)]] for edges in range(64)]
    # degrees tell them apart: what is not connected has a region of degree 0, or four of degree 1
    return np.array([by_degrees.get(tuple(sorted(np.bincount(one.ravel(), minlength=4))), NO_MOTIF) for one in present])


MOTIF_OF_EDGES = _motif_of_edges()


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


@njit(cache=True, nogil=True)
def _roots(matrix: NDArray, most: int) -> NDArray[np.float64]:
    """w^(1 / m) for m up to ``most``, (most + 1, R, R), 1 where there is no edge: factors of a geometric mean of m weights."""
    n = len(matrix)
    roots = np.ones((most + 1, n, n))
    for m in range(2, most + 1):
        for i in range(n):
            for j in range(i):
                if matrix[i, j] > 0:
                    roots[m, i, j] = roots[m, j, i] = np.float64(matrix[i, j]) ** (1 / m)
    return roots


@njit(cache=True, nogil=True)
def _of_three(matrix: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Number, intensity and coherence, (2, R) each: open triads and triangles."""
    n, roots = len(matrix), _roots(matrix, 3)
    count, intensity, coherence = np.zeros((2, n), np.int64), np.zeros((2, n)), np.zeros((2, n))
    for a in range(n):
        for b in range(a + 1, n):
            for c in range(b + 1, n):
                m = (matrix[a, b] > 0) + (matrix[a, c] > 0) + (matrix[b, c] > 0)
                if m < 2:
                    continue
                mean = roots[m, a, b] * roots[m, a, c] * roots[m, b, c]
                even = mean * m / (np.float64(matrix[a, b]) + matrix[a, c] + matrix[b, c])
                for i in (a, b, c):
                    count[m - 2, i] += 1
                    intensity[m - 2, i] += mean
                    coherence[m - 2, i] += even
    return count, intensity, coherence


@njit(cache=True, nogil=True)
def _of_four(matrix: NDArray, motif_of_edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Number, intensity and coherence, (6, R) each, in the order of :class:`MotifsOfFour`."""
    n, roots = len(matrix), _roots(matrix, 6)
    count, intensity, coherence = np.zeros((6, n), np.int64), np.zeros((6, n)), np.zeros((6, n))
    n_edges = np.zeros(64, np.int64)
    for edges in range(64):
        for bit in range(6):
            n_edges[edges] += edges >> bit & 1
    own_count, own_intensity, own_coherence = np.empty(6, np.int64), np.empty(6), np.empty(6)
    known = np.empty(7)
    for a in range(n):
        for b in range(a + 1, n):
            for c in range(b + 1, n):
                among = (matrix[a, b] > 0) + 2 * (matrix[a, c] > 0) + 4 * (matrix[b, c] > 0)
                weight = np.float64(matrix[a, b]) + matrix[a, c] + matrix[b, c]
                for m in range(3, 7):
                    known[m] = roots[m, a, b] * roots[m, a, c] * roots[m, b, c]
                own_count[:], own_intensity[:], own_coherence[:] = 0, 0, 0  # of the motifs that a, b and c are in together
                for d in range(c + 1, n):
                    edges = among + 8 * (matrix[a, d] > 0) + 16 * (matrix[b, d] > 0) + 32 * (matrix[c, d] > 0)
                    motif = motif_of_edges[edges]
                    if motif < 0:
                        continue
                    m = n_edges[edges]
                    mean = known[m] * roots[m, a, d] * roots[m, b, d] * roots[m, c, d]
                    even = mean * m / (weight + matrix[a, d] + matrix[b, d] + matrix[c, d])
                    own_count[motif] += 1
                    own_intensity[motif] += mean
                    own_coherence[motif] += even
                    count[motif, d] += 1
                    intensity[motif, d] += mean
                    coherence[motif, d] += even
                for i in (a, b, c):
                    for motif in range(6):
                        count[motif, i] += own_count[motif]
                        intensity[motif, i] += own_intensity[motif]
                        coherence[motif, i] += own_coherence[motif]
    return count, intensity, coherence

"""Measures of walks and spectra: eigenvector centrality, PageRank, communicability, diffusion efficiency, spectral gap.

All compute in float64, whatever the weights, on LAPACK inside the kernel (numba calls scipy's), one thread a person.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import Graphs, as_graphs, map_graphs

__all__ = ["communicability", "diffusion_efficiency", "eigenvector_centrality", "laplacian_spectrum", "pagerank", "spectral_gap"]

SAME_EIGENVALUE = 1e-10
"""Eigenvalues closer than this, relative to the largest, are one eigenvalue."""

EPSILON = 1e-17
LAST_TERM = 30
"""From the diameter on, Taylor's terms of a matrix of norm 1 fall below :data:`EPSILON` within this many."""

MOST_HALVINGS = 60
"""The exponential of a matrix that needs more is no float64."""


def eigenvector_centrality(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Leading eigenvector of the weight matrix: regions are central that connect to central regions. Unit Euclidean norm.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    centrality : (R,) for one matrix, (N, R) for many, 0 to 1. In a disconnected graph it is 0 outside the component of the largest
        eigenvalue; where several share it, the eigenvector nearest to equal values (all equal for a graph without edges), where
        libraries give any of them.

    References
    ----------
    Bonacich 1972, J. Math. Sociology 2:113. Equals bctpy ``eigenvector_centrality_und``, networkx ``eigenvector_centrality_numpy``
    on connected graphs; igraph scales the largest value to 1.
    """
    return _map(as_graphs(weights, "eigenvector centrality"), _eigenvector_centrality, n_jobs=n_jobs)


def pagerank(weights: Any, *, damping: float = 0.85, n_jobs: int = -1) -> NDArray:
    """Where a random walker is found who follows edges by weight and, with probability 1 - ``damping``, starts anew anywhere.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    damping : probability of following an edge, 0 or more and below 1.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    pagerank : (R,) for one matrix, (N, R) for many, summing to 1 over regions; the walker leaves an isolated region for any region.

    References
    ----------
    Boldi et al. 2009, ACM Trans. Inf. Syst. 27:19. Equals bctpy ``pagerank_centrality``, networkx ``pagerank`` (to its tolerance),
    igraph ``pagerank``.
    """
    if not 0 <= damping < 1:
        raise ConnectomeError(f"damping is a probability of 0 or more and below 1, got {damping}")
    return _map(as_graphs(weights, "PageRank"), _pagerank, float(damping), n_jobs=n_jobs)


def communicability(weights: Any, *, normalise: bool = True, n_jobs: int = -1) -> NDArray:
    """How well two regions communicate over walks of every length: (exp A)_ij, walks of length k weighted by 1 / k!.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    normalise : A is w_ij / sqrt(s_i s_j), so that strong regions do not swamp the others; otherwise the weights as they are, whose
        exponential must stay a number (scale streamline counts first).
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    communicability : (R, R) for one matrix, (N, R, R) for many, for every pair of regions, on the diagonal a region's with itself; 0
        between components.

    Raises
    ------
    ConnectomeError
        If the weights are too large for ``normalise=False``.

    References
    ----------
    Estrada & Hatano 2008, Physical Review E 77:036111; weighted: Crofts & Higham 2009, J. R. Soc. Interface 6:411. Equals
    ``scipy.linalg.expm``; networkx ``communicability`` takes the binary graph.
    """
    graphs = as_graphs(weights, "communicability")
    result: NDArray = _map(graphs, _communicability, normalise, n_jobs=n_jobs)
    if not np.isfinite(result).all():
        raise ConnectomeError("communicability of weights this large is no number; scale them, or keep normalise=True")
    return result


def diffusion_efficiency(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Mean over ordered pairs of 1 / mean first-passage time of a random walker who follows edges by weight.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    efficiency : () for one matrix, (N,) for many; pairs without a path count 0, and so does a graph without pairs. bctpy needs a
        connected graph.

    References
    ----------
    Goni et al. 2013, PLoS ONE 8:e58070. Equals bctpy ``diffusion_efficiency`` on connected graphs.
    """
    return _map(as_graphs(weights, "diffusion efficiency"), _diffusion_efficiency, n_jobs=n_jobs)


def laplacian_spectrum(weights: Any, *, normalise: bool = True, n_jobs: int = -1) -> NDArray:
    """Eigenvalues of the graph's Laplacian, ascending: as many zeros as there are components.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    normalise : of I - D^-1/2 w D^-1/2, between 0 and 2; otherwise of D - w, in the weights' unit.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    spectrum : (R,) for one matrix, (N, R) for many, by rank, not by region. Isolated regions count as components, eigenvalue 0.

    References
    ----------
    Chung 1997, Spectral Graph Theory; de Lange et al. 2014, Frontiers in Computational Neuroscience 7:189. Equals networkx
    ``normalized_laplacian_spectrum`` and ``laplacian_spectrum``.
    """
    return _map(as_graphs(weights, "Laplacian spectrum"), _laplacian_spectrum, normalise, n_jobs=n_jobs)


def spectral_gap(
    weights: Any, *, of: Literal["normalised_laplacian", "laplacian", "adjacency"] = "normalised_laplacian", n_jobs: int = -1
) -> NDArray:
    """How far the leading eigenvalue stands apart from the next: how fast walks mix, how hard the graph is to cut.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    of : ``"normalised_laplacian"``, the second smallest eigenvalue of I - D^-1/2 w D^-1/2 (0 to R / (R - 1), free of the weights'
        unit); ``"laplacian"``, that of D - w, the algebraic connectivity; ``"adjacency"``, the largest eigenvalue of w minus the next.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    gap : () for one matrix, (N,) for many; the Laplacians' is exactly 0 for a disconnected graph; NaN for a single region.

    References
    ----------
    Chung 1997, Spectral Graph Theory; Fiedler 1973, Czech. Math. J. 23:298. Equals scipy ``csgraph.laplacian`` with ``eigvalsh``,
    networkx ``normalized_laplacian_spectrum`` and ``algebraic_connectivity``.
    """
    kinds = ("normalised_laplacian", "laplacian", "adjacency")
    if of not in kinds:
        raise ConnectomeError(f"the spectral gap is of one of {', '.join(kinds)}, got {of!r}")
    return _map(as_graphs(weights, "spectral gap"), _spectral_gap, kinds.index(of), n_jobs=n_jobs)


def _map(graphs: Graphs, kernel: Callable[..., Any], *args: Any, n_jobs: int) -> NDArray:
    """People in threads, each on one thread of BLAS: faster for matrices of this size, and the same bytes for any number of threads."""
    with threadpool_limits(1, "blas"):
        result: NDArray = map_graphs(graphs, kernel, *args, n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _components(matrix: NDArray) -> tuple[NDArray[np.int64], int]:
    """Connected component of every region, counted from 0, and their number."""
    n = len(matrix)
    component, stack, count = np.full(n, -1), np.empty(n, np.int64), 0
    for start in range(n):
        if component[start] >= 0:
            continue
        component[start] = count
        stack[0], height = start, 1
        while height:
            height -= 1
            i = stack[height]
            for j in range(n):
                if matrix[i, j] > 0 and component[j] < 0:
                    component[j] = count
                    stack[height] = j
                    height += 1
        count += 1
    return component, count


@njit(cache=True, nogil=True)
def _strengths(matrix: NDArray) -> NDArray[np.float64]:
    n = len(matrix)
    strengths = np.zeros(n)
    for i in range(n):
        for j in range(n):
            strengths[i] += matrix[i, j]
    return strengths


@njit(cache=True, nogil=True)
def _by_strength(matrix: NDArray) -> NDArray[np.float64]:
    """w_ij / sqrt(s_i s_j), symmetric to the last bit; 0 in the rows of isolated regions."""
    n = len(matrix)
    root = np.sqrt(_strengths(matrix))
    scaled = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            if matrix[i, j] > 0:
                scaled[i, j] = scaled[j, i] = matrix[i, j] / root[i] / root[j]
    return scaled


@njit(cache=True, nogil=True)
def _members(component: NDArray[np.int64], which: int) -> NDArray[np.int64]:
    return np.flatnonzero(component == which)


@njit(cache=True, nogil=True)
def _part(matrix: NDArray, members: NDArray[np.int64]) -> NDArray[np.float64]:
    m = len(members)
    part = np.empty((m, m))
    for a in range(m):
        for b in range(m):
            part[a, b] = matrix[members[a], members[b]]
    return part


@njit(cache=True, nogil=True)
def _eigenvector_centrality(matrix: NDArray) -> NDArray[np.float64]:
    """Component by component: within one the leading eigenvalue is simple (Perron), so its eigenvector is that component's own."""
    n = len(matrix)
    component, count = _components(matrix)
    leading, largest = np.zeros(count), np.zeros(n)
    for c in range(count):
        members = _members(component, c)
        if len(members) == 1:
            largest[members[0]] = 1.0
            continue
        values, vectors = np.linalg.eigh(_part(matrix, members))
        leading[c] = values[-1]
        for a in range(len(members)):
            largest[members[a]] = abs(vectors[a, -1])
    top = leading.max()
    centrality, square = np.zeros(n), 0.0
    for c in range(count):
        if leading[c] < top * (1 - SAME_EIGENVALUE):
            continue
        members = _members(component, c)
        along = largest[members].sum()  # the equal vector's share along this component's eigenvector
        for i in members:
            centrality[i] = largest[i] * along
            square += centrality[i] ** 2
    return centrality / np.sqrt(square)


@njit(cache=True, nogil=True)
def _pagerank(matrix: NDArray, damping: float) -> NDArray[np.float64]:
    n = len(matrix)
    strengths = _strengths(matrix)
    system = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            system[i, j] = -damping * matrix[i, j] / strengths[j] if strengths[j] > 0 else 0.0
        system[i, i] = 1.0
    rank = np.linalg.solve(system, np.ones(n))
    return rank / rank.sum()


@njit(cache=True, nogil=True)
def _communicability(matrix: NDArray, normalise: bool) -> NDArray[np.float64]:
    """Taylor's series of the matrix halved until its norm is at most 1, squared back. No term is negative, so that each entry, however
    small, is accurate in itself, and entries between components stay exactly 0."""
    n = len(matrix)
    step = _by_strength(matrix) if normalise else matrix.astype(np.float64)
    norm, halvings = _strengths(step).max(), 0
    while norm > 1 and halvings < MOST_HALVINGS:
        norm /= 2
        halvings += 1
    step /= 2.0**halvings
    term, walks = np.eye(n), np.eye(n)
    for k in range(1, n + LAST_TERM):
        term = (term @ step) / k
        walks += term
        if (term <= EPSILON * walks).all():
            break
    for _ in range(halvings):
        walks = walks @ walks
    return walks


@njit(cache=True, nogil=True)
def _diffusion_efficiency(matrix: NDArray) -> float:
    """Mean first-passage times from the fundamental matrix of each component (Kemeny & Snell)."""
    n = len(matrix)
    component, count = _components(matrix)
    total = 0.0
    for c in range(count):
        members = _members(component, c)
        m = len(members)
        if m == 1:
            continue
        part = _part(matrix, members)
        strengths = part.sum(1)
        stationary = strengths / strengths.sum()
        system = np.empty((m, m))
        for a in range(m):
            for b in range(m):
                system[a, b] = (1.0 if a == b else 0.0) - part[a, b] / strengths[a] + stationary[b]
        fundamental = np.linalg.inv(system)
        for a in range(m):
            for b in range(m):
                if a != b:
                    total += stationary[b] / (fundamental[b, b] - fundamental[a, b])
    return total / (n * (n - 1)) if n > 1 else 0.0


@njit(cache=True, nogil=True)
def _laplacian_spectrum(matrix: NDArray, normalise: bool) -> NDArray[np.float64]:
    n = len(matrix)
    laplacian = -_by_strength(matrix) if normalise else -matrix.astype(np.float64)
    strengths = _strengths(matrix)
    for i in range(n):
        laplacian[i, i] = np.float64(strengths[i] > 0) if normalise else strengths[i]
    return np.maximum(np.linalg.eigvalsh(laplacian), 0)  # rounding may leave a zero below 0


@njit(cache=True, nogil=True)
def _spectral_gap(matrix: NDArray, kind: int) -> float:
    n = len(matrix)
    if n == 1:
        return np.nan
    if kind < 2 and _components(matrix)[1] > 1:
        return 0.0
    if kind == 2:
        values = np.linalg.eigvalsh(matrix.astype(np.float64))
        return values[n - 1] - values[n - 2]
    return _laplacian_spectrum(matrix, kind == 0)[1]

"""Degree, strength, density and assortativity."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs, map_graphs

__all__ = ["NO_VARIANCE", "SUMS", "Sign", "assortativity", "check_sign", "degree", "density", "strength"]

Sign = Literal["positive", "negative"]

SUMS = {"reassoc", "contract", "nsz"}
"""What a compiler may do to a sum to vectorise it; infinity and NaN keep their meaning."""

NO_VARIANCE = 1e-14
"""A variance below this share of the mean square is rounding: the values are all the same."""


def degree(weights: Any, *, n_jobs: int = -1) -> NDArray[np.int64]:
    """Number of edges of every region: k_i, how many weights of row i are not 0.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); signed weights allowed, an edge of either sign counts.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    degree : (R,) for one matrix, (N, R) for many, int64; 0 for an isolated region.

    References
    ----------
    Rubinov & Sporns 2010, NeuroImage 52:1059. Equals bctpy ``degrees_und``, networkx and igraph ``degree``.
    """
    result: NDArray[np.int64] = map_graphs(as_graphs(weights, "degree", signed=True), _degree, n_jobs=n_jobs)
    return result


def strength(weights: Any, *, sign: Sign | None = None, n_jobs: int = -1) -> NDArray:
    """Sum of the weights of every region's edges: s_i.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), in any unit; signed weights allowed.
    sign : None sums all weights, ``"positive"`` or ``"negative"`` those of one sign.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    strength : (R,) for one matrix, (N, R) for many, in the weights' unit; 0 for an isolated region. With ``sign="negative"`` it is
        0 or below, as in bctpy; Rubinov & Sporns 2011 print its magnitude.

    References
    ----------
    Rubinov & Sporns 2010, NeuroImage 52:1059; signed: 2011, NeuroImage 56:2068. Equals bctpy ``strengths_und`` and
    ``strengths_und_sign``.
    """
    check_sign(sign)
    low, high = -np.inf if sign != "positive" else 0.0, np.inf if sign != "negative" else 0.0
    result: NDArray = map_graphs(as_graphs(weights, "strength", signed=True), _strength, low, high, n_jobs=n_jobs)
    return result


def density(weights: Any, *, n_jobs: int = -1) -> NDArray:
    """Share of possible edges that are present, whatever their sign.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); signed weights allowed.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    density : () for one matrix, (N,) for many, 0 to 1; NaN for a single region, which has no possible edge.

    References
    ----------
    Rubinov & Sporns 2010, NeuroImage 52:1059. Equals bctpy ``density_und`` and networkx ``density`` (which is 0 for a single node).
    """
    result: NDArray = map_graphs(as_graphs(weights, "density", signed=True), _density, n_jobs=n_jobs)
    return result


def assortativity(weights: Any, *, binary: bool = False, n_jobs: int = -1) -> NDArray:
    """Whether strong regions connect to strong regions: correlation of strength between the two ends of an edge.

    Pearson's r over edges, each edge taken in both directions and counted once whatever its weight.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    binary : correlate degrees in place of strengths.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    assortativity : () for one matrix, (N,) for many, -1 to 1; NaN where undefined: no edge, or equal strength at all ends
        (complete and ring graphs of equal weights), where bctpy gives NaN or rounding noise.

    References
    ----------
    Newman 2002, PRL 89:208701. Equals bctpy ``assortativity_wei`` and ``assortativity_bin``, networkx
    ``degree_pearson_correlation_coefficient`` with and without ``weight``, igraph ``assortativity`` of the strengths. Leung & Chau 2007,
    Physica A 378:591, weight each edge: another measure.
    """
    result: NDArray = map_graphs(as_graphs(weights, "assortativity"), _assortativity, binary, n_jobs=n_jobs)
    return result


def check_sign(sign: str | None) -> None:
    """Refuse a sign that is none."""
    if sign not in (None, "positive", "negative"):
        raise ConnectomeError(f"sign is 'positive', 'negative' or None, got {sign!r}")


@njit(cache=True, nogil=True)
def _degree(matrix: NDArray) -> NDArray[np.int64]:
    n = len(matrix)
    degrees = np.zeros(n, np.int64)
    for i in range(n):
        for j in range(n):
            degrees[i] += matrix[i, j] != 0
    return degrees


@njit(cache=True, nogil=True, fastmath=SUMS)
def _strength(matrix: NDArray, low: float, high: float) -> NDArray[np.float64]:
    n = len(matrix)
    strengths = np.empty(n)
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += min(max(np.float64(matrix[i, j]), low), high)
        strengths[i] = total
    return strengths


@njit(cache=True, nogil=True)
def _density(matrix: NDArray) -> float:
    n, present = len(matrix), 0
    for i in range(n):
        for j in range(i):
            present += matrix[i, j] != 0
    return present / (n * (n - 1) / 2) if n > 1 else np.nan


@njit(cache=True, nogil=True, fastmath=SUMS)
def _assortativity(matrix: NDArray, binary: bool) -> float:
    n = len(matrix)
    values, degrees = np.zeros(n), np.zeros(n)
    for i in range(n):
        for j in range(n):
            present = matrix[i, j] > 0
            degrees[i] += present
            values[i] += present if binary else matrix[i, j]
    ends = degrees.sum()
    if ends == 0:
        return np.nan
    mean = (values * degrees).sum() / ends  # over both ends of every edge
    square = (values * values * degrees).sum() / ends
    variance, covariance = 0.0, 0.0
    for i in range(n):
        variance += degrees[i] * (values[i] - mean) ** 2
        across = 0.0
        for j in range(n):
            if matrix[i, j] > 0:
                across += values[j] - mean
        covariance += across * (values[i] - mean)
    return covariance / variance if variance > ends * NO_VARIANCE * square else np.nan

"""Degree, strength, density and assortativity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import Graphs, as_graphs
from connectome_gnn.topology.cohorts import map_cohort

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
    result: NDArray[np.int64] = _of_regions(as_graphs(weights, "degree", signed=True), _degree, np.int64, n_jobs)
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
    result: NDArray = _of_regions(as_graphs(weights, "strength", signed=True), _strength, None, n_jobs, low, high)
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
    result: NDArray = map_cohort(as_graphs(weights, "density", signed=True), _density, [((), None)], n_jobs=n_jobs, reads_once=True)[0]
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
    result: NDArray = map_cohort(
        as_graphs(weights, "assortativity"), _assortativity, [((), None)], bool(binary), n_jobs=n_jobs, reads_once=True
    )[0]
    return result


def check_sign(sign: str | None) -> None:
    """Refuse a sign that is none."""
    if sign not in (None, "positive", "negative"):
        raise ConnectomeError(f"sign is 'positive', 'negative' or None, got {sign!r}")


def _of_regions(graphs: Graphs, kernel: Callable[..., None], dtype: Any, n_jobs: int, *args: Any) -> NDArray:
    result: NDArray = map_cohort(graphs, kernel, [((graphs.n_regions,), dtype)], *args, n_jobs=n_jobs, reads_once=True)[0]
    return result


@njit(cache=True, nogil=True)
def _degree(vectors: NDArray, n: int, degree: NDArray) -> None:
    degree[:] = 0
    for k in range(len(vectors)):
        mine, position = degree[k], 0
        for i in range(n):
            row, others, found = vectors[k, position : position + n - i - 1], mine[i + 1 :], 0
            for j in range(n - i - 1):
                present = 1 if row[j] != 0 else 0
                found += present
                others[j] += present
            mine[i] += found
            position += n - i - 1


@njit(cache=True, nogil=True, fastmath=SUMS)
def _strength(vectors: NDArray, n: int, strength: NDArray, low: float, high: float) -> None:
    mine = np.empty(n)
    for k in range(len(vectors)):
        mine[:] = 0
        position = 0
        for i in range(n):
            row, others, total = vectors[k, position : position + n - i - 1], mine[i + 1 :], 0.0
            for j in range(n - i - 1):
                weight = min(max(np.float64(row[j]), low), high)
                total += weight
                others[j] += weight
            mine[i] += total
            position += n - i - 1
        strength[k] = mine


@njit(cache=True, nogil=True)
def _density(vectors: NDArray, n: int, density: NDArray) -> None:
    for k in range(len(vectors)):
        present, row = 0, vectors[k]
        for e in range(len(row)):
            present += 1 if row[e] != 0 else 0
        density[k] = present / (n * (n - 1) / 2) if n > 1 else np.nan


@njit(cache=True, nogil=True, fastmath=SUMS)
def _assortativity(vectors: NDArray, n: int, assortativity: NDArray, binary: bool) -> None:
    values, degrees = np.empty(n), np.empty(n)
    for k in range(len(vectors)):
        values[:] = 0
        degrees[:] = 0
        position = 0
        for i in range(n):
            row, found, total = vectors[k, position : position + n - i - 1], 0.0, 0.0
            others, their_degrees = values[i + 1 :], degrees[i + 1 :]
            for j in range(n - i - 1):
                weight, present = np.float64(row[j]), 1.0 if row[j] > 0 else 0.0
                found += present
                total += weight
                others[j] += weight
                their_degrees[j] += present
            values[i] += total
            degrees[i] += found
            position += n - i - 1
        if binary:
            values[:] = degrees
        ends = degrees.sum()
        if ends == 0:
            assortativity[k] = np.nan
            continue
        mean = (values * degrees).sum() / ends  # over both ends of every edge
        square = (values * values * degrees).sum() / ends
        variance, covariance, position = 0.0, 0.0, 0
        for i in range(n):
            values[i] -= mean
            variance += degrees[i] * values[i] ** 2
        for i in range(n):
            row, others, across = vectors[k, position : position + n - i - 1], values[i + 1 :], 0.0
            for j in range(n - i - 1):
                across += others[j] if row[j] > 0 else 0.0
            covariance += 2 * across * values[i]
            position += n - i - 1
        assortativity[k] = covariance / variance if variance > ends * NO_VARIANCE * square else np.nan

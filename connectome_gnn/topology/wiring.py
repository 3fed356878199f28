"""What edges cost in space: their lengths in millimetres, and wiring cost. These need the regions' coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_distances, as_graphs, map_graphs
from connectome_gnn.topology.basic import SUMS

__all__ = ["edge_length", "mean_edge_length", "wiring_cost"]


def edge_length(weights: Any, coordinates: Any, *, n_jobs: int = -1) -> NDArray:
    """Euclidean distance between the two regions of every edge that is present: the distribution of edge lengths.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); signed weights allowed, an edge of either sign counts.
    coordinates : (R, 3) centroids of the regions, mm.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    length : (R, R) for one matrix, (N, R, R) for many, mm; NaN where there is no edge.

    References
    ----------
    Betzel & Bassett 2018, PNAS 115:E4880. Equals numpy on the distance matrix.
    """
    graphs = as_graphs(weights, "edge length", signed=True)
    result: NDArray = map_graphs(graphs, _edge_length, as_distances(coordinates, graphs), n_jobs=n_jobs)
    return result


def mean_edge_length(weights: Any, coordinates: Any, *, n_jobs: int = -1) -> NDArray:
    """Mean Euclidean distance over the edges that are present, each counted once whatever its weight.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); signed weights allowed, an edge of either sign counts.
    coordinates : (R, 3) centroids of the regions, mm.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    length : () for one matrix, (N,) for many, mm; NaN for a graph without edges.

    References
    ----------
    Betzel & Bassett 2018, PNAS 115:E4880.
    """
    graphs = as_graphs(weights, "mean edge length", signed=True)
    result: NDArray = map_graphs(graphs, _mean_edge_length, as_distances(coordinates, graphs), n_jobs=n_jobs)
    return result


def wiring_cost(weights: Any, coordinates: Any, *, n_jobs: int = -1) -> NDArray:
    """Sum over edges of weight times Euclidean distance.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    coordinates : (R, 3) centroids of the regions, mm.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    cost : () for one matrix, (N,) for many, in the weights' unit times mm; 0 for a graph without edges.

    References
    ----------
    Bullmore & Sporns 2012, Nature Reviews Neuroscience 13:336.
    """
    graphs = as_graphs(weights, "wiring cost")
    result: NDArray = map_graphs(graphs, _wiring_cost, as_distances(coordinates, graphs), n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _edge_length(matrix: NDArray, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(matrix)
    lengths = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            lengths[i, j] = distance[i, j] if matrix[i, j] != 0 else np.nan
    return lengths


@njit(cache=True, nogil=True)
def _mean_edge_length(matrix: NDArray, distance: NDArray[np.float64]) -> float:
    total, present = 0.0, 0
    for i in range(len(matrix)):
        for j in range(i):
            if matrix[i, j] != 0:
                total += distance[i, j]
                present += 1
    return total / present if present else np.nan


@njit(cache=True, nogil=True, fastmath=SUMS)
def _wiring_cost(matrix: NDArray, distance: NDArray[np.float64]) -> float:
    total = 0.0
    for i in range(len(matrix)):
        for j in range(i):
            total += matrix[i, j] * distance[i, j]
    return total

"""Where a region's edges go, given a partition of the regions into modules: participation and within-module z."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.arrays import as_graphs, as_partition, map_graphs
from connectome_gnn.topology.basic import NO_VARIANCE, Sign, check_sign

__all__ = ["participation", "within_module_z"]


def participation(weights: Any, partition: Any, *, sign: Sign | None = None, n_jobs: int = -1) -> NDArray:
    """How evenly a region's edges spread over modules: P_i = 1 - sum_c (s_ic / s_i)^2.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative unless ``sign`` says which weights count.
    partition : (R,) module of every region, or (N, R) one row a person: numbers or names.
    sign : ``"positive"`` or ``"negative"``: the edges of that sign alone (the signed form).
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    participation : (R,) for one matrix, (N, R) for many, from 0 (all edges in one module) towards 1; 0 for a region without edges.

    References
    ----------
    Guimera & Amaral 2005, Nature 433:895; signed: Rubinov & Sporns 2011, NeuroImage 56:2068. Equals bctpy ``participation_coef``
    and ``participation_coef_sign``.
    """
    check_sign(sign)
    graphs = as_graphs(weights, "participation", signed=sign is not None)
    modules = as_partition(partition, graphs)
    factor = -1.0 if sign == "negative" else 1.0
    result: NDArray = map_graphs(graphs, _participation, factor, each=(modules,), n_jobs=n_jobs)
    return result


def within_module_z(weights: Any, partition: Any, *, n_jobs: int = -1) -> NDArray:
    """How strongly a region connects to its own module, as a z-score among that module's regions (n in the variance).

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    partition : (R,) module of every region, or (N, R) one row a person: numbers or names.
    n_jobs : number of threads, -1 for all cores.

    Returns
    -------
    z : (R,) for one matrix, (N, R) for many; 0 in a module whose regions are all connected to it alike (one of a single region, too),
        where bctpy gives 0 or rounding noise.

    References
    ----------
    Guimera & Amaral 2005, Nature 433:895. Equals bctpy ``module_degree_zscore``.
    """
    graphs = as_graphs(weights, "within-module z")
    result: NDArray = map_graphs(graphs, _within_module_z, each=(as_partition(partition, graphs),), n_jobs=n_jobs)
    return result


@njit(cache=True, nogil=True)
def _participation(matrix: NDArray, module: NDArray[np.int64], factor: float) -> NDArray[np.float64]:
    n = len(matrix)
    values, to_module = np.zeros(n), np.empty(module.max() + 1)
    for i in range(n):
        to_module[:] = 0
        total = 0.0
        for j in range(n):
            weight = max(factor * matrix[i, j], 0.0)
            to_module[module[j]] += weight
            total += weight
        if total > 0:
            rest = 1.0
            for one in to_module:
                rest -= (one / total) ** 2
            values[i] = rest
    return values


@njit(cache=True, nogil=True)
def _within_module_z(matrix: NDArray, module: NDArray[np.int64]) -> NDArray[np.float64]:
    n, n_modules = len(matrix), module.max() + 1
    inside = np.zeros(n)
    size, mean, square, variance = np.zeros(n_modules), np.zeros(n_modules), np.zeros(n_modules), np.zeros(n_modules)
    for i in range(n):
        for j in range(n):
            if module[j] == module[i]:
                inside[i] += matrix[i, j]
        size[module[i]] += 1
        mean[module[i]] += inside[i]
        square[module[i]] += inside[i] ** 2
    mean /= size
    for i in range(n):
        variance[module[i]] += (inside[i] - mean[module[i]]) ** 2
    for i in range(n):
        c = module[i]
        inside[i] = (inside[i] - mean[c]) / np.sqrt(variance[c] / size[c]) if variance[c] > NO_VARIANCE * square[c] else 0.0
    return inside

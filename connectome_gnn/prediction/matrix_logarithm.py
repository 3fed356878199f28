"""Correlation matrices in the log-Euclidean geometry: their logarithms as vectors, and what a change of an edge does to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.slices import slices

__all__ = ["log_euclidean", "log_euclidean_slopes"]

SHRINKAGE = 0.1
"""Share of the identity in a correlation matrix before its logarithm is taken: matrices of few time points are not of full rank."""

LEAST_EIGENVALUE = 1e-3
PEOPLE_AT_ONCE = 64


def log_euclidean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Matrix logarithms of people's correlation matrices as vectors (N, R (R + 1) / 2) whose inner product is that of the matrices.

    The diagonal comes first, then the edges.

    Parameters
    ----------
    values : (N, E) correlations on the Fisher z scale. A tenth of the identity is mixed in, and eigenvalues below .001 count as that.

    References
    ----------
    Arsigny, Fillard, Pennec & Ayache 2006, Magnetic Resonance in Medicine 56:411.
    """
    n_regions = to_matrices(np.empty((0, values.shape[1]))).shape[-1]
    first, second = edge_indices(n_regions)
    answer = np.empty((len(values), n_regions + values.shape[1]), np.float32)
    for rows in slices(len(values), PEOPLE_AT_ONCE):
        sizes, directions = _spectra(values[rows])
        logarithm = (directions * np.log(np.maximum(sizes, LEAST_EIGENVALUE))[:, None]) @ directions.swapaxes(1, 2)
        answer[rows, :n_regions] = np.diagonal(logarithm, axis1=1, axis2=2)
        answer[rows, n_regions:] = np.sqrt(2) * logarithm[:, first, second]
    return answer


def log_euclidean_slopes(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of ``log_euclidean(values) @ weights`` in each of a person's edges, (N, E), on the Fisher z scale.

    By the derivative of a function of a symmetric matrix: in the basis of its eigenvectors a change is multiplied by the divided
    differences of the function at its eigenvalues (Daleckii & Krein 1965; Higham 2008, Functions of Matrices, theorem 3.11).

    Parameters
    ----------
    values : (N, E) correlations on the Fisher z scale.
    weights : (R (R + 1) / 2,) of :func:`log_euclidean`'s columns.
    """
    n_regions = to_matrices(np.empty((0, values.shape[1]))).shape[-1]
    # The sum of weights times columns is the trace of this matrix times the logarithm.
    whole = np.diag(weights[:n_regions]) + to_matrices(weights[n_regions:] / np.sqrt(2))
    answer = np.empty(values.shape)
    for rows in slices(len(values), PEOPLE_AT_ONCE):
        sizes, directions = _spectra(values[rows])
        steep = np.where(sizes > LEAST_EIGENVALUE, 1 / np.maximum(sizes, LEAST_EIGENVALUE), 0)
        logs = np.log(np.maximum(sizes, LEAST_EIGENVALUE))
        apart = sizes[:, :, None] - sizes[:, None]
        alike = np.abs(apart) < 1e-6 * np.maximum(np.abs(sizes[:, :, None]), LEAST_EIGENVALUE)
        differences = np.where(
            alike, (steep[:, :, None] + steep[:, None]) / 2, (logs[:, :, None] - logs[:, None]) / np.where(alike, 1, apart)
        )
        turned = directions.swapaxes(1, 2)
        slopes = directions @ (differences * (turned @ whole @ directions)) @ turned
        # An edge stands twice in its matrix.
        answer[rows] = 2 * to_vectors(slopes) * (1 - SHRINKAGE) / np.cosh(values[rows].astype(np.float64)) ** 2
    return answer


def _spectra(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n, R) and eigenvectors (n, R, R) of people's correlation matrices with the identity's share."""
    matrices = to_matrices((1 - SHRINKAGE) * np.tanh(values.astype(np.float64)))
    sizes, directions = np.linalg.eigh(matrices + np.eye(matrices.shape[-1]))
    return sizes, directions

"""Edge vectors and matrices, and the scale on which edges are modelled.

A connectome of R regions has E = R (R - 1) / 2 undirected edges, in the order of ``np.triu_indices(R, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.errors import ConnectomeError

__all__ = ["FISHER_CLIP", "Scale", "edge_indices", "n_edges_of", "n_regions_of", "to_lengths", "to_matrices", "to_vectors"]

FISHER_CLIP = 0.999
"""Correlations are clipped to +-0.999 before the Fisher transform."""


def n_edges_of(n_regions: int) -> int:
    """Number of undirected edges between ``n_regions`` regions, self-loops excluded."""
    return n_regions * (n_regions - 1) // 2


def n_regions_of(n_edges: int) -> int:
    """Number of regions R with R (R - 1) / 2 = ``n_edges``.

    Raises
    ------
    ConnectomeError
        If no whole number of regions has that many edges.
    """
    n_regions = (1 + isqrt(1 + 8 * n_edges)) // 2
    if n_edges < 1 or n_edges_of(n_regions) != n_edges:
        raise ConnectomeError(
            f"expected R(R-1)/2 edges for a whole number of regions R, got {n_edges} (the nearest are "
            f"{n_edges_of(max(n_regions, 2))} for {max(n_regions, 2)} regions and {n_edges_of(n_regions + 1)} for "
            f"{n_regions + 1}); give the upper triangle without the diagonal"
        )
    return n_regions


@lru_cache(maxsize=32)
def _cached_indices(n_regions: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.triu_indices(n_regions, 1)
    rows.setflags(write=False)
    columns.setflags(write=False)
    return rows, columns


def edge_indices(n_regions: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column region of every edge, (E,) each, read-only: ``np.triu_indices(n_regions, 1)``."""
    return _cached_indices(int(n_regions))


def to_vectors(matrices: ArrayLike) -> NDArray:
    """Upper triangles of (..., R, R) matrices as (..., E) edge vectors.

    See Also
    --------
    to_matrices : the inverse.
    """
    array = np.asarray(matrices)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ConnectomeError(f"expected square matrices (..., R, R), got an array of shape {array.shape}")
    rows, columns = edge_indices(array.shape[-1])
    return array[..., rows, columns]


def to_matrices(vectors: ArrayLike) -> NDArray:
    """Symmetric (..., R, R) matrices with a zero diagonal from (..., E) edge vectors.

    See Also
    --------
    to_vectors : the inverse.
    """
    array = np.asarray(vectors)
    n_regions = n_regions_of(array.shape[-1])
    rows, columns = edge_indices(n_regions)
    matrices = np.zeros((*array.shape[:-1], n_regions, n_regions), array.dtype)
    matrices[..., rows, columns] = array
    matrices[..., columns, rows] = array
    return matrices


def to_lengths(weights: ArrayLike) -> NDArray:
    """Topological length 1 / w of every edge; absent edges (w = 0) are infinitely long.

    Raises
    ------
    ConnectomeError
        If a weight is negative: a negative weight has no length.
    """
    array = np.asarray(weights)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if (array < 0).any():
        raise ConnectomeError("lengths need non-negative weights, got negative ones; threshold or take absolute values first")
    lengths = np.full(array.shape, np.inf, array.dtype)
    np.divide(1, array, out=lengths, where=array > 0)
    return lengths


@dataclass(frozen=True)
class Scale:
    """The modelling scale of a weight: ``log1p`` for non-negative weights, Fisher z for correlations.

    Parameters
    ----------
    signed : whether weights are correlations in (-1, 1) (Fisher z) or non-negative (log1p).
    """

    signed: bool

    @property
    def name(self) -> str:
        """``"fisher_z"`` or ``"log1p"``."""
        return "fisher_z" if self.signed else "log1p"

    def forward(self, weights: ArrayLike, dtype: type = np.float32) -> NDArray:
        """Weights (any shape) on the modelling scale, same shape, as ``dtype``."""
        array = np.asarray(weights).astype(dtype)
        if self.signed:
            np.clip(array, -FISHER_CLIP, FISHER_CLIP, out=array)
            return np.arctanh(array, out=array)
        return np.log1p(array, out=array)

    def inverse(self, values: ArrayLike) -> NDArray:
        """Modelling-scale values mapped back to weights on their own support (never negative; in (-1, 1))."""
        array = np.asarray(values)
        if self.signed:
            # tanh rounds to +-1 in float32 from about 9 on; a correlation stays inside the open interval.
            limit = np.nextafter(array.dtype.type(1), array.dtype.type(0))
            return np.clip(np.tanh(array), -limit, limit)
        return np.expm1(np.maximum(array, 0))

"""Edge vectors and matrices, and the scale on which edges are modelled.

A connectome of R regions has E = R (R - 1) / 2 undirected edges, in the order of ``np.triu_indices(R, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

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
    n_regions = max((1 + isqrt(1 + 8 * max(n_edges, 0))) // 2, 2)
    if n_edges_of(n_regions) != n_edges:
        raise ConnectomeError(
            f"expected R(R-1)/2 edges for a whole number of regions R, got {n_edges} (the nearest are "
            f"{n_edges_of(n_regions)} for {n_regions} regions and {n_edges_of(n_regions + 1)} for "
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
    """Upper triangles of (..., R, R) matrices as (..., E) edge vectors; the lower triangle and the diagonal are not looked at.

    Raises
    ------
    ConnectomeError
        If the matrices are not square.

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

    Raises
    ------
    ConnectomeError
        If E is not R (R - 1) / 2 for a whole number of regions R.

    See Also
    --------
    to_vectors : the inverse.
    """
    array = np.asarray(vectors)
    if array.ndim == 0:
        raise ConnectomeError(f"expected edge vectors (..., E), got the single value {array}")
    n_regions = n_regions_of(array.shape[-1])
    rows, columns = edge_indices(n_regions)
    matrices = np.zeros((*array.shape[:-1], n_regions, n_regions), array.dtype)
    matrices[..., rows, columns] = array
    matrices[..., columns, rows] = array
    return matrices


def to_lengths(weights: ArrayLike) -> NDArray:
    """Topological length 1 / w of every edge, same shape, float32 or float64; absent edges (w = 0) are infinitely long.

    Raises
    ------
    ConnectomeError
        If a weight is negative or NaN: it has no length.
    """
    array = np.asarray(weights)
    array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    if not (array >= 0).all():
        what = "NaN" if np.isnan(array).any() else "negative ones"
        raise ConnectomeError(f"lengths need non-negative weights, got {what}; threshold or take absolute values first")
    with np.errstate(divide="ignore", over="ignore"):  # the length of a weight below 1 / the largest number is infinite too
        return np.divide(1, np.abs(array), dtype=array.dtype)  # abs: -0.0 is no negative length


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

    def forward(self, weights: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray:
        """Weights (any shape) on the modelling scale, same shape, as ``dtype``; correlations are clipped to +-:data:`FISHER_CLIP`."""
        array: NDArray = np.array(weights, dtype=dtype)
        if self.signed:
            np.clip(array, -FISHER_CLIP, FISHER_CLIP, out=array)
            return np.arctanh(array, out=array)
        return np.log1p(array, out=array)

    def inverse(self, values: ArrayLike) -> NDArray:
        """Modelling-scale values mapped back to weights on their own support (in (-1, 1); never negative, and finite).

        Same shape, float64 for float64 and integers, otherwise float32: weights pass the largest float16.
        """
        array = np.asarray(values)
        array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
        if self.signed:
            # tanh rounds to +-1 in float32 from about 9 on; a correlation stays inside the open interval.
            limit = np.nextafter(array.dtype.type(1), array.dtype.type(0))
            return np.clip(np.tanh(array), -limit, limit)
        return np.expm1(np.clip(array, 0, np.floor(np.log(np.finfo(array.dtype).max))))

"""What every connectome that comes from a file must be: symmetric, without self-loops, on the support of its measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import edge_indices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.labels import check_labels
from connectome_gnn.readers.source import RawConnectome

__all__ = ["CheckedEdges", "check_connectome", "check_raw"]

RELATIVE_ROUNDING = 1e-5
ABSOLUTE_ROUNDING = {True: 1e-6, False: 0.0}
"""How far two cells of one edge may differ: correlations near 0 (signed) carry the rounding of 1, counts only their own."""


@dataclass(frozen=True)
class CheckedEdges:
    """One person's edges, and what had to be done to them.

    Attributes
    ----------
    edges : (E,) float32 weights, in the order of ``np.triu_indices(R, 1)``.
    self_loops : number of non-zero diagonal cells that were dropped (the unit diagonal of a correlation matrix is none).
    mirrored : whether only one triangle was filled, so that the other had to be taken from it.
    asymmetry : largest difference between the two cells of an edge, as a share of the larger; rounding at most.
    """

    edges: NDArray[np.float32]
    self_loops: int = 0
    mirrored: bool = False
    asymmetry: float = 0.0


def check_raw(raw: RawConnectome, atlas: Atlas, signed: bool) -> CheckedEdges:
    """Edges of one connectome as a file gives it: its labels compared with the atlas's, then :func:`check_connectome`."""
    if raw.labels is not None:
        check_labels(raw.labels, atlas, raw.where)
    return check_connectome(raw.values, atlas, signed, raw.where)


def check_connectome(values: NDArray, atlas: Atlas, signed: bool, where: str) -> CheckedEdges:
    """Edges of one connectome, checked.

    Parameters
    ----------
    values : (R, R) matrix, symmetric or with one empty triangle, or (E,) edges in the order of ``np.triu_indices(R, 1)``.
    atlas : the atlas of R regions, for the labels in messages.
    signed : True for correlations in [-1, 1], False for non-negative weights.
    where : the file (and row) it comes from, to begin a message with.

    Raises
    ------
    ConnectomeError
        If the size is not the atlas's, a weight is NaN, infinite, negative (unsigned) or beyond 1 (signed), or the two cells of an
        edge differ by more than rounding.
    """
    n_regions, n_edges = atlas.n_regions, atlas.n_edges
    if values.shape not in ((n_regions, n_regions), (n_edges,)):
        raise ConnectomeError(
            f"{where}: expected a matrix of {n_regions} x {n_regions} for the {n_regions} regions of atlas {atlas.name!r} (or its "
            f"{n_edges} edges), got shape {values.shape}"
        )
    rounding = max(RELATIVE_ROUNDING, 4 * float(np.finfo(values.dtype).eps)) if np.issubdtype(values.dtype, np.floating) else 0.0
    values = values.astype(np.float64)
    if values.ndim == 1:
        _check_support(values, atlas, signed, where)
        return CheckedEdges(_as_float32(values, signed))
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ConnectomeError(f"{where}: expected finite weights, got {values[row, column]} between {_pair(atlas, row, column)}")
    diagonal = values.diagonal()
    self_loops = 0 if signed and np.allclose(diagonal, 1, atol=rounding) else int(np.count_nonzero(diagonal))
    upper, lower = to_vectors(values), to_vectors(values.T)
    mirrored = bool(upper.any()) != bool(lower.any())
    if mirrored:
        upper = lower = upper if upper.any() else lower
    _check_support(upper, atlas, signed, where)
    _check_support(lower, atlas, signed, where)
    larger, difference = np.maximum(np.abs(upper), np.abs(lower)), np.abs(upper - lower)
    different = difference > np.maximum(rounding * larger, ABSOLUTE_ROUNDING[signed])
    if different.any():
        edge = int(np.argmax(different))
        row, column = (int(index[edge]) for index in edge_indices(n_regions))
        raise ConnectomeError(
            f"{where}: expected a symmetric matrix, got {upper[edge]:.9g} from {_pair(atlas, row, column, 'to')} and {lower[edge]:.9g} "
            f"back ({int(different.sum())} of {n_edges} edges differ); directed connectomes are not read"
        )
    share = np.divide(difference, larger, out=np.zeros_like(larger), where=larger > 0)
    return CheckedEdges(_as_float32(upper, signed), self_loops, mirrored, float(share.max(initial=0)))


def _check_support(edges: NDArray[np.float64], atlas: Atlas, signed: bool, where: str) -> None:
    if signed:
        bad, expected = ~(np.abs(edges) <= 1 + ABSOLUTE_ROUNDING[True]), "correlations between -1 and 1"
    else:
        bad, expected = ~((edges >= 0) & (edges <= np.finfo(np.float32).max)), "finite weights of 0 or more"
    if bad.any():
        edge = int(np.argmax(bad))
        row, column = (int(index[edge]) for index in edge_indices(atlas.n_regions))
        hint = "; say signed (--signed) if these are correlations" if not signed and (np.abs(edges) <= 1).all() else ""
        raise ConnectomeError(f"{where}: expected {expected}, got {edges[edge]:.9g} between {_pair(atlas, row, column)}{hint}")


def _as_float32(edges: NDArray[np.float64], signed: bool) -> NDArray[np.float32]:
    """Edges as float32; a correlation that rounding took beyond 1 comes back to 1."""
    return (np.clip(edges, -1, 1) if signed else edges).astype(np.float32)


def _pair(atlas: Atlas, row: int, column: int, word: str = "and") -> str:
    return f"{atlas.labels[row]!r} {word} {atlas.labels[column]!r}"

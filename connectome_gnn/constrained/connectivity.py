"""What a user calls connectivity, checked and sparse, and which unit of a layer belongs to which region."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

__all__ = ["Assignment", "as_connectivity", "blocks", "units_of_regions", "wire_units"]

Assignment = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The region (row or column of the connectivity) of every receiving and of every sending unit."""

SHOWN = 5
"""Rows that a message lists by number."""


def as_connectivity(connectivity: Any, what: str = "connectivity") -> sparse.csr_array:
    """A connectivity matrix, rows receiving, as a CSR array of float64 without stored zeros.

    Parameters
    ----------
    connectivity : (out, in) numbers: numpy, torch (dense or sparse), scipy.sparse, a DataFrame, or an object with such
        ``.connectivity``. A connection is whatever is not exactly 0.
    what : name for error messages.

    Raises
    ------
    ConnectomeError
        If it is no matrix of finite numbers, or holds no connection at all.
    """
    given = getattr(connectivity, "connectivity", connectivity)
    if given.is_complex() if isinstance(given, torch.Tensor) else getattr(getattr(given, "dtype", None), "kind", "") == "c":
        raise ConnectomeError(f"{what} must be real numbers (out, in), got complex ones")
    if isinstance(given, torch.Tensor):
        given = _from_torch(given.detach().cpu())
    if sparse.issparse(given):
        matrix = sparse.csr_array(given, dtype=np.float64, copy=True)
    else:
        try:
            array = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConnectomeError(f"{what} must be a matrix of numbers (out, in), got {type(connectivity).__name__}: {error}") from error
        if array.ndim != 2:
            raise ConnectomeError(f"{what} must be a matrix (out, in), rows receiving, got an array of shape {array.shape}")
        matrix = sparse.csr_array(array)
    matrix.sum_duplicates()
    if not np.isfinite(matrix.data).all():
        place = int(np.flatnonzero(~np.isfinite(matrix.data))[0])
        row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
        raise ConnectomeError(
            f"{what} must be finite, got {matrix.data[place]} in row {row}, column {matrix.indices[place]} (counted from 0); "
            "set absent connections to 0"
        )
    matrix.eliminate_zeros()
    if matrix.nnz == 0:
        raise ConnectomeError(f"{what} of shape {matrix.shape} is wholly zero; expected at least one connection")
    return matrix


def _from_torch(tensor: torch.Tensor) -> Any:
    if tensor.layout == torch.strided:
        return tensor.double().numpy()
    entries = tensor.to_sparse_coo().coalesce()
    return sparse.coo_array((entries.values().double().numpy(), tuple(entries.indices().numpy())), shape=tuple(tensor.shape))


def blocks(n_units: int, n_regions: int) -> NDArray[np.int64]:
    """The region of every unit, (n_units,), where regions follow one another in equal blocks (sizes differ by at most 1 unit).

    Raises
    ------
    ConnectomeError
        If there are fewer units than regions.
    """
    if n_units < n_regions:
        raise ConnectomeError(f"{n_units} units cannot be dealt out in blocks to {n_regions} regions; give at least a unit a region")
    return np.arange(n_units, dtype=np.int64) * n_regions // n_units


def units_of_regions(assignment: Any, layer: tuple[int, int], regions: tuple[int, int]) -> Assignment | None:
    """The stated assignment of a layer's units to regions, checked.

    Parameters
    ----------
    assignment : None where units are regions; ``"blocks"`` for equal blocks (:func:`blocks`); one array of regions for both sides of
        a square layer; or (receiving, sending), each an array of regions, ``"blocks"``, or None.
    layer : (out_features, in_features).
    regions : shape of the connectivity.

    Returns
    -------
    assignment : arrays (out_features,) and (in_features,), or None where every unit is its own region.

    Raises
    ------
    ConnectomeError
        If no assignment is given and the sizes differ, or an array has another length or names a region that does not exist.
    """
    if assignment is None:
        if layer != regions:
            raise ConnectomeError(
                f"connectivity must have shape (out_features, in_features) = {layer}, got {regions}; to wire units by regions, say which "
                'unit belongs to which region: assignment="blocks", or an array of regions for each side'
            )
        return None
    sides = assignment if isinstance(assignment, tuple) else (assignment, assignment)
    if len(sides) != 2:
        raise ConnectomeError(f"an assignment is one array, or a pair (receiving, sending), got {len(sides)} entries")
    names = ("receiving", "sending")
    receiving, sending = (_side(*args) for args in zip(sides, layer, regions, names, strict=True))
    return receiving, sending


def _side(given: Any, n_units: int, n_regions: int, side: str) -> NDArray[np.int64]:
    if given is None:
        if n_units != n_regions:
            raise ConnectomeError(f"{n_units} {side} units are not the {n_regions} regions; say which unit belongs to which region")
        return np.arange(n_units, dtype=np.int64)
    if isinstance(given, str):
        if given != "blocks":
            raise ConnectomeError(f'an assignment of units is "blocks" or arrays of regions, got {given!r}')
        return blocks(n_units, n_regions)
    try:
        array = np.asarray(given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else given)
    except ValueError as error:
        raise ConnectomeError("an assignment is one array of regions, or a tuple (receiving, sending) of two") from error
    if array.shape != (n_units,) or array.dtype.kind not in "iu":
        raise ConnectomeError(
            f"the assignment of {side} units must give a region, a whole number, for each of {n_units} units, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if array.min() < 0 or array.max() >= n_regions:
        raise ConnectomeError(
            f"the assignment of {side} units names regions {array.min()} to {array.max()}; there are 0 to {n_regions - 1}"
        )
    return array.astype(np.int64)


def wire_units(matrix: sparse.csr_array, assignment: Assignment | None) -> sparse.csr_array:
    """Connectivity of units, (out, in): two units are connected as their regions are, none is interpolated.

    Units of one region are connected only where the connectivity's diagonal says so.

    Warns
    -----
    ConnectomeWarning
        If receiving units have no connection.

    Raises
    ------
    ConnectomeError
        If no unit belongs to any connected pair of regions.
    """
    if assignment is not None:
        receiving, sending = (_members(units, size) for units, size in zip(assignment, matrix.shape, strict=True))
        matrix = sparse.csr_array(receiving @ matrix @ sending.T)
        if matrix.nnz == 0:
            raise ConnectomeError("the regions to which units are assigned have no connection between them; expected at least one")
    matrix.sort_indices()
    empty = np.flatnonzero(np.diff(matrix.indptr) == 0)
    if len(empty):
        shown = ", ".join(map(str, empty[:SHOWN])) + (", ..." if len(empty) > SHOWN else "")
        warnings.warn(
            f"{len(empty)} of {matrix.shape[0]} receiving units have no connection (rows {shown}): they hear no other unit",
            ConnectomeWarning,
            stacklevel=3,
        )
    return matrix


def _members(units: NDArray[np.int64], n_regions: int) -> sparse.csr_array:
    """(units, regions), 1 where the unit belongs to the region."""
    return sparse.csr_array((np.ones(len(units)), (np.arange(len(units)), units)), shape=(len(units), n_regions))

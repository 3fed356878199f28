"""Arrays of nilearn's ConnectivityMeasure: (subjects, n, n), or lower triangles, with or without the diagonal.

nilearn lists a triangle row by row from the *lower* half, this package from the upper: the same numbers in another order. With the
diagonal, nilearn divides that by the square root of 2, in every space; tangent-space values are no correlations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import open_array
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.source import Claim, Format, RawConnectome, Request, Source

__all__ = ["NILEARN"]

ROUNDING = 1e-6


@dataclass(frozen=True)
class _Row:
    """Reads a person's row."""

    array: NDArray
    where: str
    people: tuple[str, ...]
    n_regions: int
    signed: bool

    def __call__(self, row: int) -> RawConnectome:
        where = f"{self.where} row {row} (participant {self.people[row]!r})"
        n_regions, values = self.n_regions, np.array(self.array[row])
        if values.ndim == 1:
            diagonal = values.size == n_regions * (n_regions + 1) // 2
            matrix = np.zeros((n_regions, n_regions), values.dtype if values.dtype.kind == "f" else np.float64)
            matrix[np.tril_indices(n_regions, 0 if diagonal else -1)] = values
            values = matrix + np.tril(matrix, -1).T
            if diagonal:
                values[np.diag_indices(n_regions)] *= np.sqrt(2)
        off = values[np.triu_indices(n_regions, 1)]
        if self.signed and np.isfinite(off).all() and np.abs(off).max(initial=0) > 1 + ROUNDING:
            raise ConnectomeError(
                f"{where}: expected correlations between -1 and 1, got {off[np.abs(off).argmax()]:.6g}; values of tangent space or "
                "covariances have no such bounds: give correlations (ConnectivityMeasure(kind='correlation'), or its inverse_transform)"
            )
        return RawConnectome(values, where)


def _size(array: NDArray, atlas: Atlas) -> bool:
    n_regions = len(atlas)
    return array.shape[1:] in ((n_regions, n_regions), (n_regions * (n_regions + 1) // 2,), (atlas.n_edges,))


def _recognise(request: Request) -> Claim | None:
    """A claim where the shape is nilearn's alone (a triangle with its diagonal), or where a triangle of correlations could be."""
    files = request.place.with_suffix(".npy")
    if request.atlas is None or len(files) != 1 or request.place.is_folder:
        return None
    try:
        array = open_array(files[0])
    except ConnectomeError:
        return None
    n_regions = len(request.atlas)
    if array.ndim == 2 and array.shape[1] == n_regions * (n_regions + 1) // 2:
        return Claim(f"rows of {array.shape[1]} values are a lower triangle with its diagonal for {n_regions} regions", frozenset(files))
    if array.ndim == 2 and array.shape[1] == request.atlas.n_edges and request.signed:
        return Claim("rows of correlations can be a lower triangle, as nilearn lists it", frozenset(files))
    return None


def _open(request: Request) -> Source:
    place = request.place
    files = place.with_suffix(".npy")
    if len(files) != 1:
        raise ConnectomeError(
            f"{place.root} holds {len(files)} .npy files; expected one array of everybody, as nilearn's ConnectivityMeasure gives it"
        )
    if request.atlas is None:
        raise atlas_needed(str(files[0]))
    array, people, n_regions = open_array(files[0]), request.people, len(request.atlas)
    if array.ndim < 2 or not _size(array, request.atlas):
        raise ConnectomeError(
            f"{files[0]}: expected an array of shape (people, {n_regions}, {n_regions}), (people, {n_regions * (n_regions + 1) // 2}) or "
            f"(people, {request.atlas.n_edges}) for the {n_regions} regions of atlas {request.atlas.name!r}, got {array.shape}"
        )
    if people is None:
        raise ConnectomeError(f"{files[0]} holds {len(array)} connectomes without names; give the participants table whose rows they are")
    if len(people) != len(array):
        raise ConnectomeError(
            f"{files[0]} holds {len(array)} connectomes, the participants table {len(people)} people; every row needs its other half"
        )
    read = _Row(array, str(files[0]), people, n_regions, bool(request.signed))
    return Source(people, range(len(people)), read, str(files[0]), "", files, request.atlas, parallel=False)


NILEARN = Format("nilearn", "nilearn connectivity arrays", _recognise, _open, plain=True)

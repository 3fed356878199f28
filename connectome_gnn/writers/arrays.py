"""Arrays as nilearn's ConnectivityMeasure gives and takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.native import write_rows

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["write_matrices", "write_vectors"]

BATCH = 32


def write_matrices(cohort: Cohort, folder: Path) -> None:
    """Write ``matrices.npy``, (N, R, R) float32; correlations have a diagonal of 1, deviations in tangent space and other weights of 0."""

    def read(rows: slice) -> NDArray[np.float32]:
        matrices = cohort.dense(rows)
        if cohort.signed and cohort.measure != "tangent":
            matrices[:, np.arange(cohort.n_regions), np.arange(cohort.n_regions)] = 1
        return matrices

    write_rows(folder / "matrices.npy", (len(cohort), cohort.n_regions, cohort.n_regions), read, BATCH)


def write_vectors(cohort: Cohort, folder: Path) -> None:
    """Write ``vectors.npy``, (N, E) float32: lower triangles without the diagonal, row by row."""
    lower = np.tril_indices(cohort.n_regions, -1)
    write_rows(folder / "vectors.npy", (len(cohort), cohort.n_edges), lambda rows: cohort.dense(rows)[:, *lower], BATCH)

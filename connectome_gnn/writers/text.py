"""Matrices in text, which gives every float32 back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.edges import to_matrices
from connectome_gnn.progress import progress
from connectome_gnn.tables import row_names
from connectome_gnn.writers.names import file_names

if TYPE_CHECKING:
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.cohort import Cohort

__all__ = ["matrices_of", "matrix_lines", "write_csv"]

BATCH = 32
NOT_IN_TEXT = "\t;"
"""Marks that a reader would take for delimiters of a line of names."""


def matrices_of(cohort: Cohort, what: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Row number and matrix (R, R) float32 of everybody, some read at a time, with a bar."""
    with progress(what, len(cohort)) as advance:
        for rows, weights in cohort.batches(BATCH):
            yield from enumerate(to_matrices(weights.astype(np.float32)), rows.start)
            advance(rows.stop - rows.start)


def matrix_lines(matrix: NDArray[np.float32], delimiter: str) -> list[str]:
    """A matrix as lines of text without their ends; ten digits tell any two float32 apart, and none becomes larger than the largest."""
    return [delimiter.join([f"{value:.10g}" for value in row]) for row in matrix.tolist()]


def write_csv(cohort: Cohort, folder: Path) -> None:
    """Write ``<participant_id>.csv`` for everybody; names of regions that text cannot hold safely are left to atlas.tsv."""
    files = file_names(row_names(cohort.phenotypes))
    labels = _labels(cohort.atlas)
    for row, matrix in matrices_of(cohort, "Writing matrices"):
        lines = matrix_lines(matrix, ",")
        if labels is not None:
            lines = [",".join(['""', *labels]), *(f"{label},{line}" for label, line in zip(labels, lines, strict=True))]
        (folder / f"{files[row]}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _labels(atlas: Atlas) -> list[str] | None:
    """Names of regions in quotation marks; None where one has a line's end or a delimiter in it."""
    if any(mark in label or len(f"{label}.".splitlines()) > 1 for label in atlas.labels for mark in NOT_IN_TEXT):
        return None
    return ['"' + label.replace('"', '""') + '"' for label in atlas.labels]

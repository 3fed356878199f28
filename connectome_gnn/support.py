"""The support of weights: correlations in [-1, 1], any other measure 0 or more, all of them finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["check_weights"]

ROUNDING = 1e-6
"""How far beyond 1 rounding may carry a correlation."""


def check_weights(cohort: Cohort) -> None:
    """Look through all weights of a cohort.

    Raises
    ------
    ConnectomeError
        If one is NaN, infinite, negative (unsigned) or beyond 1 (signed); names the person and the regions.
    """
    low = -1 - ROUNDING if cohort.signed else 0
    high = 1 + ROUNDING if cohort.signed else float(np.finfo(np.float32).max)  # what save can write
    for part, weights in cohort.batches():
        # NaN makes both comparisons false
        if low <= float(weights.min()) and float(weights.max()) <= high:
            continue
        values = weights.astype(np.float64)
        person, edge = np.argwhere(~((values >= low) & (values <= high)))[0]
        expected = "correlations between -1 and 1" if cohort.signed else "finite weights of 0 or more"
        rows, columns = edge_indices(cohort.n_regions)
        raise ConnectomeError(
            f"expected {expected} ({cohort.measure}), got {weights[person, edge]} for participant {cohort.ids[part.start + person]!r} "
            f"between {cohort.atlas.labels[rows[edge]]!r} and {cohort.atlas.labels[columns[edge]]!r}; correct it, or leave the person out"
        )

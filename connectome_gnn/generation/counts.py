"""Whole numbers for streamline counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["whole_counts"]


def whole_counts(values: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Counts (n, E), whole numbers, of values (n, E) on the modelling scale ``log(1 + count)``.

    Each is the whole number just below or just above, at random and such that its logarithm is right on average: rounding adds no bias on
    the modelling scale. Absent edges stay absent; an edge that is there keeps at least one streamline.
    """
    values = np.maximum(values, 0)
    below = np.floor(np.expm1(values) * np.float32(1 + 1e-6))  # a whole number is not pushed below itself by rounding errors
    share = (values - np.log1p(below)) / np.log1p(1 / (below + 1))
    above = generator.random(values.shape, np.float32) < share
    return np.where(values > 0, np.maximum(below + above, 1), 0).astype(np.float32)

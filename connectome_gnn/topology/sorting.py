"""Sorting inside kernels.

Kernels must not call numba's ``np.sort`` beside its ``np.argsort``: both are made of functions of the same names, which kernels that were
cached by different processes may mistake for each other, without an error and with wrong numbers (numba issue 10486, seen with 0.68).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["sort_ascending"]

RUN = 16
"""Values that are sorted by insertion before runs are merged."""


@njit(cache=True, nogil=True)
def sort_ascending(values: NDArray) -> None:
    """Sort a vector without NaN in place, the least first: merge sort, n log n steps whatever the order and however many are equal."""
    n = len(values)
    for start in range(0, n, RUN):
        for k in range(start + 1, min(start + RUN, n)):
            value, hole = values[k], k
            while hole > start and values[hole - 1] > value:
                values[hole] = values[hole - 1]
                hole -= 1
            values[hole] = value
    spare, width = np.empty(n, values.dtype), RUN
    while width < n:
        for left in range(0, n - width, 2 * width):
            middle, right = left + width, min(left + 2 * width, n)
            if values[middle - 1] <= values[middle]:
                continue
            spare[left:middle] = values[left:middle]
            a, b, k = left, middle, left
            while a < middle:
                if b < right and values[b] < spare[a]:
                    values[k] = values[b]
                    b += 1
                else:
                    values[k] = spare[a]
                    a += 1
                k += 1
        width *= 2

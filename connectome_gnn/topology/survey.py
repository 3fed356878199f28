"""One look at a matrix before it is taken for a graph: is it symmetric, finite, free of negative weights and of self-loops?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.lanes import add, fill, greatest, lane_count, least, load, store, subtract, total
from connectome_gnn.topology.tiles import load_rows, store_rows, transpose

__all__ = ["Survey", "computed_as", "is_symmetric", "rounding", "survey"]


def computed_as(dtype: np.dtype) -> np.dtype:
    """What kernels compute on: float32 for float16 and float32, otherwise float64."""
    return np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)


def rounding(dtype: np.dtype) -> float:
    """How far two halves of a symmetric matrix may differ, relative to its largest weight."""
    return 1e-5 if dtype in (np.float16, np.float32) else 1e-9


def is_symmetric(values: NDArray) -> bool:
    """Whether an (R, R) array of real numbers of any type and layout is finite and, up to rounding, symmetric."""
    seen = survey(np.require(values, computed_as(values.dtype), ["C", "A", "W"]))
    slack = rounding(values.dtype) * seen.largest if values.dtype.kind == "f" else 0
    return bool(seen.finite and seen.apart <= slack)


class Survey(NamedTuple):
    """What is to be known of a square matrix."""

    finite: bool
    least: float  # 0 or the least element
    largest: float  # the largest absolute value
    apart: float  # the largest difference of two elements that mirror each other
    loops: int  # elements of the diagonal that are not 0


@njit(cache=True, nogil=True)
def survey(matrix: NDArray) -> Survey:
    """Look at all elements of a C-contiguous (R, R) matrix, vector by vector, each beside its mirror image.

    Where one is not finite, only :attr:`Survey.finite` means anything.
    """
    n, step = len(matrix), lane_count(matrix)
    loops = 0
    for i in range(n):
        loops += matrix[i, i] != 0
    if n < step:
        whole = np.zeros((step, step), matrix.dtype)
        whole[:n, :n] = matrix
    else:
        whole = matrix
    size = len(whole)
    low = high = nearer = farther = amiss = fill(whole, whole.dtype.type(0))
    mirrored, found = np.empty(step * step, whole.dtype), np.empty(4 * step, whole.dtype)
    for top in range(0, size, step):
        up = min(top, size - step)  # the last rows and columns are looked at twice where there is no whole vector of them
        for start in range(top, size, step):
            left = min(start, size - step)
            store_rows(mirrored, 0, step, transpose(load_rows(whole, left * size + up, size)))
            for row in range(step):
                x, y = load(whole, (up + row) * size + left), load(mirrored, row * step)
                difference = subtract(x, y)
                nearer, farther = least(difference, nearer), greatest(difference, farther)
                low, high = least(y, least(x, low)), greatest(y, greatest(x, high))
                amiss = add(subtract(difference, difference), amiss)  # infinity minus itself is NaN
    store(found, 0, low)
    store(found, step, high)
    store(found, 2 * step, nearer)
    store(found, 3 * step, farther)
    lowest, highest = found[:step].min(), found[step : 2 * step].max()
    apart = max(found[3 * step :].max(), -found[2 * step : 3 * step].min())
    return Survey(total(amiss) == 0, lowest, max(highest, -lowest), apart, loops)

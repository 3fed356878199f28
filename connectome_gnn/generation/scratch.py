"""Arrays on disk for what grows with the number of people."""

from __future__ import annotations

import mmap
import os
import tempfile
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["LARGE", "scratch"]

LARGE = 2**24
"""Bytes from which on an array lies in a file."""


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """An array to be filled; a large one lies in a file without a name in the temporary folder, and goes when nobody holds it any more.

    The system can take such memory back whenever it needs to, as that of a memory-mapped cohort. Where the disk has no room for it,
    the array lies in memory.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE or not hasattr(os, "posix_fallocate"):
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a file with holes would end the process once the disk is full
            # No memmap of numpy's, which other processes would open anew by its name.
            return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
    except OSError:
        return np.empty(shape, dtype)

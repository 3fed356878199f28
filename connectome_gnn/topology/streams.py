"""Random numbers inside kernels: one small stream a graph, so that threads change nothing.

A stream is the state of splitmix64 (Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195), a (1,) uint64 array. Numba's own generator
belongs to a thread, and numpy's takes ten times as long for each number.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["below", "new_stream", "next_seed", "shuffle", "uniform"]


@njit(cache=True, nogil=True)
def new_stream(seed: int) -> NDArray[np.uint64]:
    """A stream that starts at ``seed``, a whole number (see :func:`~connectome_gnn.topology.arrays.person_seeds`)."""
    return np.array([seed], dtype=np.uint64)


@njit(cache=True, nogil=True)
def next_seed(stream: NDArray[np.uint64]) -> int:
    """A whole number from 0 to 2**63 - 1; the stream goes on by one."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@njit(cache=True, nogil=True)
def uniform(stream: NDArray[np.uint64]) -> float:
    """A number from [0, 1), on a grid of 2**-53."""
    return (next_seed(stream) >> 10) * 2.0**-53


@njit(cache=True, nogil=True)
def below(stream: NDArray[np.uint64], n: int) -> int:
    """A whole number from 0 to n - 1, each as likely to within n / 2**53."""
    return int(uniform(stream) * n)


@njit(cache=True, nogil=True)
def shuffle(stream: NDArray[np.uint64], order: NDArray) -> None:
    """Put a vector into random order, in place (Fisher & Yates)."""
    for last in range(len(order) - 1, 0, -1):
        other = below(stream, last + 1)
        order[last], order[other] = order[other], order[last]

"""How a kernel of whole cohorts runs: on the edge vectors of many people at a time, so that graphs can lie side by side in vectors, and
memory and calls are paid for once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import joblib
import numpy as np
from joblib.parallel import SequentialBackend, ThreadingBackend, get_active_backend
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.slices import slices
from connectome_gnn.topology.arrays import Graphs, tasks
from connectome_gnn.topology.lanes import add, fill, lane_count, least, load, store, subtract, total
from connectome_gnn.topology.survey import rounding, survey

__all__ = ["as_vectors", "map_cohort"]

PEOPLE_AT_ONCE = 64
"""People that a kernel gets at once: a whole number of vectors, and not too much memory."""

WORTH_THREADS = 2**28
"""R^3 of all people together from which on threads (10 ms to start) save time: about 450 people of 84 regions, 34 of 200, 5 of 400."""

CACHE = 2**20
"""Bytes of weights that are read twice at little cost."""


def map_cohort(
    graphs: Graphs,
    kernel: Callable[..., None],
    results: Sequence[tuple[tuple[int, ...], Any]],
    *args: Any,
    n_jobs: int = -1,
    reads_once: bool = False,
) -> list[Any]:
    """Run ``kernel(vectors, n_regions, *results, *args)`` on many people at a time, in threads, for kernels that gain from it.

    Parameters
    ----------
    graphs : N graphs.
    kernel : a module-level function that releases the GIL. It gets edge vectors (n, E), contiguous and checked, which it must not write
        to, and fills its results. What a person gets must not depend on who else is there.
    results : the shape of each result for one person, and its type, None for that of ``graphs``.
    args : further arguments, the same for every graph.
    reads_once : whether the kernel takes no longer than reading the weights does: it then gets few enough people for the cache.
    n_jobs : number of threads, -1 for all cores; fewer where there is too little to do (:data:`WORTH_THREADS`). Under
        ``joblib.parallel_config("dask")`` as :func:`map_graphs`.

    Returns
    -------
    results : (N, ...) arrays, or (...) where the user gave a single matrix.
    """
    filled = [np.empty((graphs.n, *shape), graphs.dtype if dtype is None else dtype) for shape, dtype in results]
    size = min(max(CACHE // max(graphs.n_edges * graphs.dtype.itemsize, 1), 1), PEOPLE_AT_ONCE) if reads_once else PEOPLE_AT_ONCE
    pieces = tasks(graphs.n, n_jobs, split=graphs.n * graphs.n_regions**3 >= WORTH_THREADS)
    if len(pieces) == 1:
        _fill(graphs, kernel, filled, args, size)
    elif isinstance(get_active_backend(prefer="threads")[0], (ThreadingBackend, SequentialBackend)):
        jobs = [(graphs.take(rows), kernel, [one[rows] for one in filled], args, size) for rows in pieces]
        joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1)(joblib.delayed(_fill)(*job) for job in jobs)
    else:
        jobs = [(graphs.take(rows), kernel, [np.empty_like(one[rows]) for one in filled], args, size) for rows in pieces]
        parts = joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1)(joblib.delayed(_fill)(*job) for job in jobs)
        for rows, part in zip(pieces, parts, strict=True):
            for whole, some in zip(filled, part, strict=True):
                whole[rows] = some
    return [one[0] if graphs.single else one for one in filled]


def _fill(graphs: Graphs, kernel: Callable[..., None], filled: list[NDArray], args: tuple[Any, ...], size: int) -> list[NDArray]:
    for rows in slices(graphs.n, size):
        kernel(as_vectors(graphs.take(rows)), graphs.n_regions, *(one[rows] for one in filled), *args)
    return filled


def as_vectors(graphs: Graphs) -> NDArray:
    """Graphs as (N, E) edge vectors: C-contiguous, writeable, checked as :meth:`Graphs.matrix` does; -0 may stay -0.

    They may be the user's own: not to be written to.
    """
    given = np.require(np.asarray(graphs.values), graphs.dtype, ["C", "A", "W"])
    if given.ndim == 2:
        vectors, wrong = given, _first_wrong(given, graphs.signed)
    else:
        vectors = np.empty((len(given), graphs.n_edges), graphs.dtype)
        wrong = _collapse(given, vectors, graphs.signed, rounding(graphs.dtype))
    if wrong >= 0:
        graphs.matrix(wrong)  # says what is wrong
    return vectors


@njit(cache=True, nogil=True)
def _first_wrong(vectors: NDArray, signed: bool) -> int:
    """The first row with a weight that is not finite, or negative where that is not allowed; -1 if there is none."""
    n_edges, step = vectors.shape[1], lane_count(vectors)
    smallest = np.empty(step, vectors.dtype)
    for k in range(len(vectors)):
        low = amiss = fill(vectors, vectors.dtype.type(0))
        for e in range(0, n_edges - step + 1, step):
            weight = load(vectors, k * n_edges + e)
            amiss = add(subtract(weight, weight), amiss)  # infinity minus itself is NaN
            low = least(weight, low)
        store(smallest, 0, low)
        wrong = total(amiss) != 0 or (smallest.min() < 0 and not signed)
        for e in range(n_edges // step * step, n_edges):
            weight = vectors[k, e]
            wrong |= weight - weight != 0 or (weight < 0 and not signed)
        if wrong:
            return k
    return -1


@njit(cache=True, nogil=True)
def _collapse(given: NDArray, vectors: NDArray, signed: bool, tolerance: float) -> int:
    """Upper triangles of matrices; the first matrix that is no graph (as :func:`_expand_matrix` has it), -1 if there is none."""
    n = given.shape[1]
    for k in range(len(given)):
        matrix, vector = given[k], vectors[k]
        position = 0
        for i in range(n):
            vector[position : position + n - i - 1] = matrix[i, i + 1 :]
            position += n - i - 1
        seen = survey(matrix)
        if not seen.finite or seen.loops > 0 or seen.apart > tolerance * seen.largest or (seen.least < 0 and not signed):
            return k
    return -1

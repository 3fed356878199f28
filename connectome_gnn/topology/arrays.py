"""Whatever a user has, as graphs: what comes in, what is checked, and how a kernel runs over people.

A measure is a numba kernel of one contiguous (R, R) matrix, and a function of a user's weights around it::

    @njit(cache=True, nogil=True)
    def _strength(matrix):
        ...

    def strength(weights, *, n_jobs=-1):
        return map_graphs(as_graphs(weights, "strength"), _strength, n_jobs=n_jobs)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import pandas as pd
from joblib.parallel import SequentialBackend, ThreadingBackend, get_active_backend
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices, n_edges_of, n_regions_of
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices
from connectome_gnn.topology.survey import computed_as, is_symmetric, rounding

__all__ = ["Graphs", "as_array", "as_distances", "as_graphs", "as_partition", "map_graphs", "person_seeds", "tasks"]

PEOPLE_PER_TASK = 100
"""Least people handed to another process at once: below that, sending them costs more than measuring them."""

STEPS = 100
"""Steps of a progress bar, where there are as many people."""

TILE = 16
"""Rows and columns of a matrix that are mirrored at once."""

FINE, NOT_FINITE, NEGATIVE, ASYMMETRIC, SELF_LOOP = range(5)


@dataclass(frozen=True)
class Graphs:
    """Weighted undirected graphs of the same regions, read one at a time; nothing is copied before it is asked for.

    Parameters
    ----------
    values : (N, R, R) matrices or (N, E) edge vectors, any real type, memory maps included.
    n_regions : R.
    single : whether the user gave one (R, R) matrix, so that results lose their first axis.
    measure : what is being computed, for error messages.
    signed : whether negative weights are allowed.
    first : position of the first graph in what the user gave, for error messages.
    """

    values: NDArray
    n_regions: int
    single: bool = False
    measure: str = "topology"
    signed: bool = False
    first: int = 0

    @property
    def n(self) -> int:
        """Number of graphs N."""
        return len(self.values)

    @property
    def n_edges(self) -> int:
        """Number of possible edges E = R (R - 1) / 2."""
        return n_edges_of(self.n_regions)

    @property
    def dtype(self) -> np.dtype:
        """float32 for float16 and float32, otherwise float64: what kernels compute on and measures come back as."""
        return computed_as(self.values.dtype)

    def take(self, rows: slice) -> Graphs:
        """Some of the graphs, not copied."""
        return replace(self, values=self.values[rows], first=self.first + (rows.start or 0))

    def matrix(self, k: int) -> NDArray:
        """Graph ``k`` as a fresh (R, R) matrix: C-contiguous, writeable, symmetric to the last bit, zero on the diagonal, checked.

        Raises
        ------
        ConnectomeError
            If a weight is NaN, infinite, negative (where :attr:`signed` does not allow it), or the matrix asymmetric or with self-loops.
        """
        given = np.array(self.values[k], dtype=self.dtype, order="C")
        matrix = np.empty((self.n_regions, self.n_regions), self.dtype)
        if given.ndim == 1:
            code, i, j = _expand_vector(given, matrix, self.signed)
        else:
            code, i, j = _expand_matrix(given, matrix, self.signed, rounding(self.dtype))
        if code != FINE:
            raise ConnectomeError(self._complaint(code, given, k, i, j))
        return matrix

    def _complaint(self, code: int, given: NDArray, k: int, i: int, j: int) -> str:
        if given.ndim == 1:
            position = int(np.flatnonzero((edge_indices(self.n_regions)[0] == i) & (edge_indices(self.n_regions)[1] == j))[0])
            here = there = given[position]
        else:
            here, there = given[i, j], given[j, i]
        where = f"between regions {i} and {j}" + ("" if self.single else f" of graph {self.first + k}") + " (counted from 0)"
        if code == NOT_FINITE:
            bad = there if np.isfinite(here) else here
            return f"{self.measure} needs finite weights, got {bad} {where}; set absent edges to 0"
        if code == NEGATIVE:
            return (
                f"{self.measure} needs non-negative weights, got {min(here, there):g} {where}; threshold them or take absolute values first"
            )
        if code == ASYMMETRIC:
            return f"{self.measure} needs a symmetric matrix, got {here:g} and {there:g} {where}; symmetrise it, as with (w + w.T) / 2"
        whose = "" if self.single else f" of graph {self.first + k}"
        return f"{self.measure} needs a zero diagonal, got a self-loop of {here:g} at region {i}{whose} (counted from 0); set it to 0"


def as_graphs(weights: Any, measure: str = "topology", *, signed: bool = False) -> Graphs:
    """Graphs from what a user gives. Shapes are checked here, values when each graph is read (:meth:`Graphs.matrix`).

    Parameters
    ----------
    weights : (R, R) one graph, (N, R, R), (N, E) in the order of ``np.triu_indices(R, 1)``; numpy, memory map, torch tensor, or an
        object with such ``.weights`` (a cohort). A square, symmetric (up to rounding), zero-diagonal 2-D array is one graph, any other
        is (N, E).
    measure : name for error messages.
    signed : whether negative weights are allowed.

    Raises
    ------
    ConnectomeError
        If the shape or the type fits no graph.
    """
    if isinstance(weights, Graphs):
        return replace(weights, measure=measure, signed=signed)
    values = as_array(weights, measure)
    if values.ndim == 3 and values.shape[1] == values.shape[2]:
        _check_size(values.shape[1], len(values), measure)
        return Graphs(values, values.shape[1], measure=measure, signed=signed)
    if values.ndim != 2:
        raise ConnectomeError(f"{measure} takes weights as (R, R), (N, R, R) or (N, E), got an array of shape {values.shape}")
    square = values.shape[0] == values.shape[1]
    if square and not values.diagonal().any() and is_symmetric(values):
        _check_size(len(values), 1, measure)
        return Graphs(values[None], len(values), single=True, measure=measure, signed=signed)
    try:
        n_regions = n_regions_of(values.shape[1])
    except ConnectomeError as error:
        if square:
            Graphs(values[None], len(values), single=True, measure=measure, signed=True).matrix(0)  # says why it is no graph
        raise ConnectomeError(f"{measure} takes weights as (R, R), (N, R, R) or (N, E), got shape {values.shape}: {error}") from error
    _check_size(n_regions, len(values), measure)
    if square and is_symmetric(values):
        warnings.warn(
            f"a square symmetric array with a non-zero diagonal is read as {len(values)} graphs of {n_regions} regions, (N, E); "
            "if it is one graph, set its diagonal to 0, or give it as (1, R, R)",
            ConnectomeWarning,
            stacklevel=3,
        )
    return Graphs(values, n_regions, measure=measure, signed=signed)


def map_graphs(
    graphs: Graphs, kernel: Callable[..., Any], *args: Any, each: Sequence[Any] = (), n_jobs: int = -1, bar: str | None = None
) -> Any:
    """Run ``kernel(matrix, *each[k], *args)`` for every graph k, in threads, and stack what comes back.

    Under ``joblib.parallel_config("dask")`` people go to the cluster's workers, at least :data:`PEOPLE_PER_TASK` a task.

    Parameters
    ----------
    graphs : N graphs. A kernel may overwrite its matrix, which is a fresh copy, and must not return it.
    kernel : a module-level function that releases the GIL (numba ``nogil=True``) and gives a number, an array, or a tuple of those.
    args : further arguments, the same for every graph.
    each : arguments of which graph k gets its own: arrays (N, ...) by row, :class:`Graphs` by matrix.
    n_jobs : number of threads, -1 for all cores (joblib's convention). The answer does not depend on it.
    bar : what a progress bar says while this runs, for kernels that take long; None shows none.

    Returns
    -------
    result : (N, ...) array, or (...) where the user gave a single matrix; a tuple of them where the kernel gives a tuple. Floating
        results have the dtype of ``graphs``; whole numbers stay as they are.
    """
    jobs = [
        (graphs.take(rows), kernel, args, [one.take(rows) if isinstance(one, Graphs) else one[rows] for one in each])
        for rows in tasks(graphs.n, n_jobs, None if bar is None else max(graphs.n // STEPS, 1))
    ]
    if bar is not None:
        parts = _run_with_bar(bar, jobs, n_jobs)
    elif len(jobs) == 1:
        parts = [_run(*jobs[0])]
    else:
        parts = joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1)(joblib.delayed(_run)(*job) for job in jobs)
    several = [results for part in parts for results in part]
    if isinstance(several[0], tuple):
        return tuple(_stack(results, graphs) for results in zip(*several, strict=True))
    return _stack(several, graphs)


def _run_with_bar(bar: str, jobs: list[tuple[Any, ...]], n_jobs: int) -> list[list[Any]]:
    parts = []
    with progress(bar, total=sum(job[0].n for job in jobs)) as advance:
        if len(jobs) == 1 or n_jobs == 1:
            results = (_run(*job) for job in jobs)
        else:
            parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1, return_as="generator")
            results = parallel(joblib.delayed(_run)(*job) for job in jobs)
        for job, part in zip(jobs, results, strict=True):
            parts.append(part)
            advance(job[0].n)
    return parts


def _run(graphs: Graphs, kernel: Callable[..., Any], args: tuple[Any, ...], each: list[Any]) -> list[Any]:
    return [
        kernel(graphs.matrix(k), *(one.matrix(k) if isinstance(one, Graphs) else one[k] for one in each), *args) for k in range(graphs.n)
    ]


def _stack(results: Sequence[Any], graphs: Graphs) -> Any:
    first = np.asarray(results[0])
    stacked = np.empty((len(results), *first.shape), graphs.dtype if first.dtype.kind == "f" else first.dtype)
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        for k, result in enumerate(results):
            stacked[k] = result
    return stacked[0] if graphs.single else stacked


def tasks(n: int, n_jobs: int, most: int | None = None, *, split: bool = True) -> list[slice]:
    """People by the task: several tasks a thread, of ``most`` people each at most, or :data:`PEOPLE_PER_TASK` for another process.

    A single one where there is nothing to ``split``.
    """
    if n_jobs == 0 or not isinstance(n_jobs, (int, np.integer)):
        raise ConnectomeError(f"n_jobs is a number of threads, or -1 for all cores, got {n_jobs!r}")
    if n == 1 or not split:
        return [slice(0, n)]
    workers = joblib.effective_n_jobs(n_jobs)
    backend, _ = get_active_backend(prefer="threads")
    size = n if workers == 1 else -(-n // (8 * workers))
    if most is not None:
        size = min(size, most)
    if not isinstance(backend, (ThreadingBackend, SequentialBackend)):
        size = max(size, PEOPLE_PER_TASK)
    return list(slices(n, size))


def person_seeds(seed: int, n: int, first: int = 0) -> NDArray[np.int64]:
    """A seed for each of ``n`` people from person ``first`` on, (n,) int64, 0 or more; a person's does not depend on the others.

    Measures give ``first=graphs.first``, so that a cohort measured in blocks gives what it gives at once.
    """
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConnectomeError(f"a seed is a whole number of 0 or more, got {seed!r}")
    words = np.random.SeedSequence(seed).generate_state(first + n, np.uint64)[first:]
    return (words >> np.uint64(1)).astype(np.int64)


def as_partition(partition: Any, graphs: Graphs) -> NDArray[np.int64]:
    """Communities as (N, R) int64, counted from 0 in each row.

    Parameters
    ----------
    partition : (R,) labels for everybody or (N, R) one row a person; whole numbers or names (as the networks of an atlas).

    Raises
    ------
    ConnectomeError
        If the length is not the number of regions, or a label is missing.
    """
    labels = np.asarray(partition.detach().cpu() if hasattr(partition, "detach") else partition)
    if labels.shape not in ((graphs.n_regions,), (graphs.n, graphs.n_regions)):
        raise ConnectomeError(
            f"{graphs.measure} needs a partition of the {graphs.n_regions} regions, one label a region"
            f"{'' if graphs.single else f' or one row for each of the {graphs.n} graphs'}, got shape {labels.shape}"
        )
    if (labels.dtype.kind == "f" and not np.isfinite(labels).all()) or (labels.dtype.kind == "O" and pd.isna(labels).any()):
        raise ConnectomeError(f"{graphs.measure} needs a label for every region, got missing ones; give those regions a label of their own")
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    if labels.ndim == 1:
        codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        return np.tile(codes, (graphs.n, 1))
    return np.stack([np.unique(row, return_inverse=True)[1] for row in labels]).astype(np.int64)


def as_distances(coordinates: Any, graphs: Graphs) -> NDArray[np.float64]:
    """Euclidean distances between regions, (R, R), in the coordinates' unit (mm).

    Parameters
    ----------
    coordinates : (R, 3) positions of the regions; None is refused by name.

    Raises
    ------
    ConnectomeError
        If there are none, of other regions, or missing values.
    """
    if coordinates is None:
        raise ConnectomeError(f"{graphs.measure} needs the regions' coordinates; give coordinates=(R, 3), as Atlas.xyz")
    try:
        positions = np.asarray(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"{graphs.measure} needs coordinates as numbers, (R, 3): {error}") from error
    if positions.ndim != 2 or len(positions) != graphs.n_regions:
        raise ConnectomeError(f"{graphs.measure} needs coordinates of {graphs.n_regions} regions, (R, 3), got shape {positions.shape}")
    if not np.isfinite(positions).all():
        missing = int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
        raise ConnectomeError(f"{graphs.measure} needs coordinates of every region, region {missing} (counted from 0) has none")
    return np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(-1))


def as_array(weights: Any, measure: str) -> NDArray:
    """Real numbers as a numpy array, from an array, a tensor, lists, or an object with ``.weights``; not copied where it need not be."""
    if not isinstance(weights, np.ndarray) and hasattr(weights, "weights"):
        weights = weights.weights
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu()
        weights = (weights.float() if weights.is_floating_point() and weights.element_size() < 4 else weights).numpy()
    try:
        values: NDArray = weights if isinstance(weights, np.ndarray) else np.asarray(weights)
    except ValueError as error:  # rows of different lengths
        raise ConnectomeError(f"{measure} takes weights as (R, R), (N, R, R) or (N, E) numbers: {error}") from error
    if values.dtype.kind not in "fiub":
        raise ConnectomeError(f"{measure} takes real numbers as weights, got an array of {values.dtype}")
    return values


def _check_size(n_regions: int, n: int, measure: str) -> None:
    if n_regions == 0 or n == 0:
        raise ConnectomeError(f"{measure} needs at least one graph of at least one region, got {n} graphs of {n_regions} regions")


@njit(cache=True, nogil=True)
def _expand_vector(vector: NDArray, matrix: NDArray, signed: bool) -> tuple[int, int, int]:
    n, position = len(matrix), 0
    least = -np.inf if signed else 0.0
    bad = 0
    for value in vector:
        bad += (value < least) | (value - value != 0)  # infinity minus itself is NaN
    for i in range(n):
        matrix[i, i] = 0
        into, edges = matrix[i, i + 1 :], vector[position : position + n - i - 1]
        for j in range(n - i - 1):
            into[j] = edges[j] + 0  # -0 becomes 0
        position += n - i - 1
    _mirror(matrix)
    if bad == 0:
        return FINE, 0, 0
    for i in range(n):
        for j in range(i + 1, n):
            if not np.isfinite(matrix[i, j]):
                return NOT_FINITE, i, j
            if matrix[i, j] < least:
                return NEGATIVE, i, j
    return FINE, 0, 0


@njit(cache=True, nogil=True)
def _expand_matrix(given: NDArray, matrix: NDArray, signed: bool, tolerance: float) -> tuple[int, int, int]:
    n = len(matrix)
    largest = 0.0
    for i in range(n):
        for j in range(n):
            if not np.isfinite(given[i, j]):
                return NOT_FINITE, i, j
            largest = max(largest, abs(given[i, j]))
    for i in range(n):
        if given[i, i] != 0:
            return SELF_LOOP, i, i
        matrix[i, i] = 0
        for j in range(i + 1, n):
            if abs(given[i, j] - given[j, i]) > tolerance * largest:
                return ASYMMETRIC, i, j
            if not signed and (given[i, j] < 0 or given[j, i] < 0):
                return NEGATIVE, i, j
            matrix[i, j] = given[i, j] + 0  # -0 becomes 0
    _mirror(matrix)
    return FINE, 0, 0


@njit(cache=True, nogil=True)
def _mirror(matrix: NDArray) -> None:
    """Copy the upper triangle to the lower one, tile by tile: straight down a column every write would miss the cache."""
    n = len(matrix)
    for top in range(0, n, TILE):
        for left in range(0, top + 1, TILE):
            for i in range(top, min(top + TILE, n)):
                for j in range(left, min(left + TILE, i)):
                    matrix[i, j] = matrix[j, i]

"""Every measure of everybody in one call."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.progress import progress
from connectome_gnn.topology.arrays import Graphs, as_array, as_distances, as_graphs, as_partition, map_graphs, tasks
from connectome_gnn.topology.communities import leiden
from connectome_gnn.topology.registry import MEASURES, PANEL, SIGNED_PANEL, Measure, find_measures
from connectome_gnn.topology.table import TopologyTable

__all__ = ["Backend", "measure"]

Backend = Literal["bctpy", "networkx", "igraph"]

PATHS_OF_WEIGHTS = ("local_efficiency:local_efficiency", "small_world:small_world")
"""Measures that take paths but no lengths: their formulas hold the path against the weights that lead to it, or rewire the weights."""

RUNS = 3
"""Of Leiden, where no partition is given: Q then stays 0.2 % below the best known on real connectomes (one of Louvain: 1 %), in 2 ms for
200 regions."""

PEOPLE_AT_ONCE = 64
"""People of a block between two steps of the progress bar."""

BATCH = 256
"""Least people handed to a device at once."""


def measure(
    weights: Any,
    measures: str | Iterable[str] | None = None,
    *,
    lengths: Any = None,
    partition: Any = None,
    coordinates: Any = None,
    n_jobs: int = -1,
    seed: int = 0,
    device: Any = None,
    backend: Backend | None = None,
) -> TopologyTable:
    """Graph measures of one connectome or a whole cohort.

    Parameters
    ----------
    weights : (R, R) one graph, (N, R, R), (N, E) in the order of ``np.triu_indices(R, 1)``: numpy, a memory map, a torch tensor, or a
        cohort, whose people, regions and coordinates the table then takes over. A square, symmetric, zero-diagonal 2-D array is one
        graph, any other 2-D array is (N, E).
    measures : names of :func:`~connectome_gnn.topology.list_measures`. Default: degree, strength, density, clustering, transitivity,
        characteristic path length, global and local efficiency, betweenness, modularity, participation and assortativity; where a
        weight is negative, those that have a signed form, with a warning that says what was left out.
    lengths : topological length of every edge, in the shape of ``weights``, for path lengths, global efficiency and betweenness; default
        1 / weight. Local efficiency and small-worldness are defined with paths over 1 / weight, whatever the lengths (a note says so).
    partition : (R,) module of every region (as ``atlas.network``) or (N, R), for modularity, participation and within-module z. Default:
        the communities that Leiden finds in each person, the best of 3 runs, seeded.
    coordinates : (R, 3) centroids in mm, for edge lengths and wiring cost; a cohort's own by default.
    n_jobs : number of threads over people, -1 for all cores. Under ``joblib.parallel_config("dask")`` people go to the cluster's
        workers, at least 100 a task; the answer is the same.
    seed : of everything random: the same seed gives the same bytes, whatever ``n_jobs``.
    device : a torch device (``"cuda"``, ``"cpu"``): measures that have a torch form are computed there, in the weights' precision, the
        others by numba.
    backend : ``"bctpy"``, ``"networkx"`` or ``"igraph"``: that library's own answer, one person at a time, for the measures that it
        defines alike (see :mod:`~connectome_gnn.topology.backends`).

    Returns
    -------
    table : global measures (N,), nodal (N, R), edge-wise (N, E), curves over degrees (N, R - 1); float32 for float32 weights, otherwise
        float64.

    Raises
    ------
    ConnectomeError
        If the weights are no graphs, a measure is unknown (the nearest is suggested), is not defined for negative weights, or lacks
        coordinates, or a partition or lengths are of other regions or people.

    Examples
    --------
    >>> import numpy as np
    >>> from connectome_gnn import topology
    >>> ring = np.roll(np.eye(6), 1, axis=1)
    >>> table = topology.measure(ring + ring.T, ["degree", "global_efficiency"])
    >>> table["degree"].tolist(), table.global_measures.round(3).to_dict("list")
    ([[2, 2, 2, 2, 2, 2]], {'global_efficiency': [0.667]})
    """
    graphs = replace(as_graphs(weights, signed=True), single=False)
    first_negative = _first_negative(graphs, n_jobs)
    notes: list[str] = []
    chosen = _choose(measures, first_negative is not None, backend, notes)
    if first_negative is not None:
        _refuse_negative(graphs, chosen, first_negative)
    given = _given(graphs, chosen, weights, lengths=lengths, partition=partition, coordinates=coordinates, seed=seed)
    if "partition" not in given and any("partition" in one.needs for one in chosen):
        notes.append(f"modules are the communities that Leiden found in each person, best of {RUNS} runs (seed {seed})")
    of_weights = [one.name for one in chosen if one.function in PATHS_OF_WEIGHTS]
    if lengths is not None and of_weights:
        notes.append(f"{', '.join(of_weights)} take paths over 1 / weight, as they are defined, not over the lengths given")
    values = _compute(graphs, chosen, given, n_jobs, device, backend, notes)
    people, regions = _names(weights, graphs)
    return TopologyTable(values, {one.name: one.level for one in chosen}, people, regions, tuple(notes))


def _choose(measures: str | Iterable[str] | None, negative: bool, backend: str | None, notes: list[str]) -> tuple[Measure, ...]:
    """The measures asked for, or the default panel as far as it is defined."""
    if measures is not None:
        chosen = find_measures(measures)
    else:
        chosen = tuple(MEASURES[name] for name in (SIGNED_PANEL if negative else PANEL))
        if negative:
            left_out = ", ".join(name for name in PANEL if not MEASURES[name].signed)
            sentence = f"some weights are negative: left out {left_out}, which are not defined for them; threshold the weights to have them"
            notes.append(sentence)
            warnings.warn(sentence, ConnectomeWarning, stacklevel=3)
    if backend is None:
        return chosen
    from connectome_gnn.topology.backends import offered

    return offered(backend, chosen, notes, explicit=measures is not None)


def _refuse_negative(graphs: Graphs, chosen: Iterable[Measure], person: int) -> None:
    for one in chosen:
        if not one.signed:
            replace(graphs, measure=one.name, signed=False).matrix(person)  # says where


def _given(graphs: Graphs, chosen: Iterable[Measure], weights: Any, **options: Any) -> dict[str, Any]:
    """What the chosen measures need beside weights, checked."""
    needs = {need: one.name for one in reversed(list(chosen)) for need in one.needs}
    given: dict[str, Any] = {"seed": options["seed"]}
    if "lengths" in needs:
        given["lengths"] = _lengths(graphs, options["lengths"])
    if "partition" in needs and options["partition"] is not None:
        given["partition"] = as_partition(options["partition"], replace(graphs, measure=needs["partition"]))
    if "coordinates" in needs:
        coordinates = options["coordinates"]
        atlas: Any = getattr(weights, "atlas", None)
        if coordinates is None and getattr(atlas, "has_coordinates", False):
            coordinates = atlas.xyz
        as_distances(coordinates, replace(graphs, measure=needs["coordinates"]))
        given["coordinates"] = coordinates
    return given


def _lengths(graphs: Graphs, lengths: Any) -> Graphs | None:
    """Graphs whose weights are one over the lengths: what measures of paths take."""
    if lengths is None:
        return None
    values = as_array(lengths, "lengths")
    if not (values >= 0).all():
        what = "NaN" if np.isnan(values).any() else "negative ones"
        raise ConnectomeError(f"lengths must be 0 or more (0 or infinite where there is no edge), got {what}")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(values > 0, 1 / values.astype(graphs.dtype), 0).astype(graphs.dtype)
    found = replace(as_graphs(inverse, "lengths"), single=False)
    if (found.n, found.n_regions) != (graphs.n, graphs.n_regions):
        raise ConnectomeError(
            f"lengths must be of the {graphs.n} graphs of {graphs.n_regions} regions that the weights have, "
            f"got {found.n} of {found.n_regions}"
        )
    return found


def _compute(
    graphs: Graphs, chosen: tuple[Measure, ...], given: dict[str, Any], n_jobs: int, device: Any, backend: str | None, notes: list[str]
) -> dict[str, NDArray]:
    """Values by measure, in the order chosen."""
    dense: frozenset[str] = frozenset()
    if device is not None:
        from connectome_gnn.topology.dense_torch import TORCH_MEASURES, as_device

        if backend is not None:
            raise ConnectomeError(f"device={str(device)!r} and backend={backend!r} exclude each other; give one of them")
        device = as_device(device)
        dense = frozenset(one.name for one in chosen if one.name in TORCH_MEASURES)
        others = [one.name for one in chosen if one.name not in dense]
        if others:
            notes.append(f"{', '.join(others)} computed by numba, not on {device}: they have no torch form")
    if dense or backend is not None:
        n_jobs = 1  # a device takes a whole batch; igraph is not safe in threads, and the others gain nothing from them
    size = PEOPLE_AT_ONCE if n_jobs != 1 else max(graphs.n // 20, BATCH if dense else 1)
    blocks = [_Block(graphs, rows, chosen, given, dense, device, backend) for rows in tasks(graphs.n, n_jobs, size)]
    values: dict[str, NDArray] = {}
    with progress("Measuring", total=graphs.n) as advance, threadpool_limits(1, "blas"):
        for block, results in zip(blocks, _run_all(blocks, n_jobs), strict=True):
            for name, result in results.items():
                if name not in values:
                    values[name] = np.empty((graphs.n, *result.shape[1:]), result.dtype)
                values[name][block.rows] = result
            advance(block.graphs.n)
    return values


def _run_all(blocks: list[_Block], n_jobs: int) -> Iterator[dict[str, NDArray]]:
    if len(blocks) == 1 or n_jobs == 1:
        yield from (_run(block) for block in blocks)
    else:
        parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1, return_as="generator")
        yield from parallel(joblib.delayed(_run)(block) for block in blocks)


@dataclass(frozen=True)
class _Block:
    """Some people, and what to measure of them: what one worker gets."""

    graphs: Graphs
    rows: slice
    chosen: tuple[Measure, ...]
    given: Mapping[str, Any]
    dense: frozenset[str]
    device: Any
    backend: str | None

    def __post_init__(self) -> None:
        mine: dict[str, Any] = dict(self.given)
        for need in ("lengths", "partition"):
            whole = mine.get(need)
            if whole is not None:
                mine[need] = whole.take(self.rows) if isinstance(whole, Graphs) else whole[self.rows]
        object.__setattr__(self, "given", mine)
        object.__setattr__(self, "graphs", self.graphs.take(self.rows))


def _run(block: _Block) -> dict[str, NDArray]:
    graphs, given = block.graphs, dict(block.given)
    if "partition" not in given and any("partition" in one.needs for one in block.chosen):
        given["partition"] = leiden(graphs, n_runs=RUNS, seed=given["seed"], n_jobs=1).labels
    if block.backend is not None:
        from connectome_gnn.topology.backends import compute

        return {one.name: compute(block.backend, one, graphs, given) for one in block.chosen}
    on_device: dict[str, NDArray] = {}
    if block.dense:
        from connectome_gnn.topology.dense_torch import measure_dense

        on_device = measure_dense(graphs, [one.name for one in block.chosen if one.name in block.dense], given, block.device)
    known: dict[str, Any] = {}
    return {one.name: on_device[one.name] if one.name in on_device else one.compute(graphs, given, known) for one in block.chosen}


def _names(weights: Any, graphs: Graphs) -> tuple[pd.Index, tuple[str, ...]]:
    """People and regions by name where a cohort was given, otherwise counted from 0."""
    people: pd.Index = pd.RangeIndex(graphs.n, name="person")
    phenotypes = getattr(weights, "phenotypes", None)
    if isinstance(phenotypes, pd.DataFrame) and len(phenotypes) == graphs.n:
        people = phenotypes.index.rename("participant_id")
        further = [name for name in ("session_id", "sample") if name in phenotypes]
        if further:
            people = pd.MultiIndex.from_arrays([people, *(phenotypes[name] for name in further)], names=["participant_id", *further])
    labels = getattr(getattr(weights, "atlas", None), "labels", None)
    regions = tuple(map(str, labels)) if labels is not None else tuple(map(str, range(graphs.n_regions)))
    return people, regions


def _first_negative(graphs: Graphs, n_jobs: int) -> int | None:
    """Position of the first graph with a negative weight; on the way every graph is checked, before anything is computed."""
    negative = np.flatnonzero(map_graphs(graphs, _has_negative, n_jobs=n_jobs))
    return int(negative[0]) if len(negative) else None


@njit(cache=True, nogil=True)
def _has_negative(matrix: NDArray) -> bool:
    for i in range(len(matrix)):
        for j in range(i):
            if matrix[i, j] < 0:
                return True
    return False

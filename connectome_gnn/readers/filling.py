"""Reading many people at once: in chunks, over processes, each chunk stored before the next is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.checks import check_raw
from connectome_gnn.readers.source import RawConnectome

__all__ = ["Facts", "chunks_of", "read_chunks"]

Facts: TypeAlias = dict[str, Any]
"""What there was to note of a person: self_loops, mirrored, asymmetry, unassigned, empty; or the error."""
CHUNK = 32
CHUNK_BYTES = 8 * 2**20
TRIAL = 1.0
"""Seconds for which people are read in this process, to see how long the others will take."""
ENOUGH = 10.0
"""Seconds of work left below which other processes cost more than they save."""
MOST_WORKERS = 8


def chunks_of(n_people: int, n_edges: int) -> list[range]:
    """People of each chunk: 32, or as many as take 8 MB."""
    size = max(1, min(CHUNK, CHUNK_BYTES // (4 * max(n_edges, 1))))
    return [range(start, min(start + size, n_people)) for start in range(0, n_people, size)]


def read_people(
    read: Callable[[Any], RawConnectome], items: Sequence[Any], atlas: Atlas, signed: bool
) -> tuple[NDArray[np.float32], list[Facts | Exception]]:
    """Edges (n, E) of some people, and what there was to note of each; a row of zeros and the error where one cannot be read."""
    edges = np.zeros((len(items), atlas.n_edges), np.float32)
    facts: list[Facts | Exception] = []
    for row, item in enumerate(items):
        try:
            raw = read(item)
            checked = check_raw(raw, atlas, signed)
        except MemoryError as error:
            facts.append(ConnectomeError(f"{item} needs more memory than there is ({error})"))
        except (ConnectomeError, OSError) as error:
            facts.append(error)
        else:
            edges[row] = checked.edges
            noted = {
                "self_loops": checked.self_loops,
                "mirrored": checked.mirrored,
                "asymmetry": float(f"{checked.asymmetry:.2g}"),
                "unassigned": raw.unassigned,
                "empty": not checked.edges.any(),
            }
            facts.append({name: value for name, value in noted.items() if value})
    return edges, facts


def read_chunks(
    read: Callable[[Any], RawConnectome],
    items: Sequence[Any],
    chunks: Sequence[range],
    atlas: Atlas,
    signed: bool,
    workers: int | None,
    parallel: bool,
) -> Iterator[tuple[range, NDArray[np.float32], list[Facts | Exception]]]:
    """Read chunks of people, in order.

    Parameters
    ----------
    read, items : as :class:`connectome_gnn.readers.source.Source` has them, the items in the order of the rows.
    chunks : rows of each chunk.
    workers : number of processes; default one a core, at most 8, where more than ten seconds of work are left after the first.
    parallel : whether reading is work enough for other processes.

    Yields
    ------
    rows, edges (n, E) float32, facts : of one chunk.
    """
    n_jobs = max(1, min(os.cpu_count() or 1, MOST_WORKERS) if workers is None else workers)
    start = time.perf_counter()
    for n, rows in enumerate(chunks):
        taken = time.perf_counter() - start
        if n_jobs > 1 and parallel and (workers is not None or (taken > TRIAL and taken / n * (len(chunks) - n) > ENOUGH)):
            yield from _in_processes(read, items, chunks[n:], atlas, signed, min(n_jobs, len(chunks) - n))
            return
        yield rows, *read_people(read, [items[row] for row in rows], atlas, signed)


def _in_processes(
    read: Callable[[Any], RawConnectome], items: Sequence[Any], chunks: Sequence[range], atlas: Atlas, signed: bool, n_jobs: int
) -> Iterator[tuple[range, NDArray[np.float32], list[Facts | Exception]]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    tasks = (delayed(read_people)(read, [items[row] for row in rows], atlas, signed) for rows in chunks)
    done = Parallel(n_jobs=n_jobs, return_as="generator", batch_size=1, pre_dispatch=2 * n_jobs)(tasks)
    try:
        for rows, (edges, facts) in zip(chunks, done, strict=True):
            yield rows, edges, facts
    except TerminatedWorkerError as error:
        raise ConnectomeError(
            "a process that read connectomes ended without a word, for want of memory or on a damaged file; read with workers=1"
        ) from error

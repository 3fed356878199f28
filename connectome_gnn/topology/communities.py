"""Communities: the modularity of a partition, partitions that maximise it (Louvain, Leiden, consensus), and how far partitions agree.

There is one definition of modularity, the signed Q* of Rubinov & Sporns (2011, doi:10.1016/j.neuroimage.2011.03.069, equations 3 and 5),
with a resolution gamma. On non-negative weights it is Newman's Q (2004, doi:10.1103/PhysRevE.70.056131)::

    Q* = 1 / v+  sum_ij (w+_ij - gamma s+_i s+_j / v+) [c_i = c_j]
       - 1 / (v+ + v-)  sum_ij (w-_ij - gamma s-_i s-_j / v-) [c_i = c_j]

where w+ and w- are the positive weights and the sizes of the negative ones, s+ and s- their sums over a region's edges, v+ and v- their
sums over all pairs of regions, both ways. A sign that does not occur adds nothing. Without any edge Q* is 0 / 0: NaN.
"""

from __future__ import annotations

import random
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs, as_partition, map_graphs, person_seeds
from connectome_gnn.topology.community_search import best_run, consensus_of_runs, count_from_zero, quality

__all__ = ["Communities", "consensus", "leiden", "louvain", "modularity"]


class Communities(NamedTuple):
    """A partition of the regions for every graph.

    Attributes
    ----------
    labels : (N, R) int64, or (R,) for a single matrix: communities counted from 0 in the order of their first regions.
    modularity : (N,) or (): Q* of these labels, recomputed from them.
    """

    labels: NDArray[np.int64]
    modularity: Any


def modularity(weights: Any, partition: Any, *, gamma: float = 1.0, n_jobs: int = -1) -> Any:
    """Modularity Q* of a given partition, as defined at the head of this module.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); negative weights are allowed.
    partition : (R,) labels for everybody or (N, R), whole numbers or names, as the networks of an atlas.
    gamma : resolution; above 1 favours smaller communities.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    quality : (N,), or () for a single matrix, at most 1; NaN without edges. Isolated regions change nothing. With gamma = 1 it is 0 for
        a single community, and for any partition of one region.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used, the partition is of another length, or gamma is negative or not finite.

    Notes
    -----
    Equals bctpy's ``community_louvain`` (``B="negative_asym"`` if signed), networkx's ``modularity`` and igraph's, which are for
    non-negative weights only. Without positive weights bctpy gives NaN; its ``modularity_und`` fails on numpy 2.
    """
    graphs = as_graphs(weights, "modularity", signed=True)
    return map_graphs(graphs, quality, _as_gamma(gamma), each=(as_partition(partition, graphs),), n_jobs=n_jobs)


def louvain(weights: Any, *, gamma: float = 1.0, n_runs: int = 1, seed: int = 0, n_jobs: int = -1) -> Communities:
    """Communities by the Louvain method (Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008), taken further.

    Regions move, one at a time and in random order, to the community that raises Q* most; communities become nodes; and so on until
    nothing moves. Then regions move again, and all is repeated until no move of a single region raises Q*.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); negative weights are allowed.
    gamma : resolution; above 1 favours smaller communities.
    n_runs : runs from different random orders; the one with the largest Q* is kept, the first of equals. On connectomes of 70 to 379
        regions one run stays 0.6 to 1.3 % below the best Q* known, 5 runs 0.04 to 0.4 %, 20 runs 0.003 to 0.12 %; Leiden's 3 runs do
        as well as 10 of these.
    seed : graph k draws from its own stream, so that neither threads nor other people change its communities.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    communities : labels (N, R) and modularity (N,), or (R,) and () for a single matrix. Isolated regions stand alone; a graph without edges
        has R communities and Q* NaN; a complete graph of equal weights is one community.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used, gamma is negative or not finite, or n_runs is below 1.

    Notes
    -----
    Each library draws its own order, so partitions differ where several are nearly as good; Q* of one partition is the same in all. bctpy
    ``community_louvain``, networkx ``louvain_communities`` and igraph ``community_multilevel`` stop before the last round of single moves.
    """
    return _best_of(weights, "louvain", gamma, n_runs, seed, n_jobs)


def leiden(
    weights: Any,
    *,
    gamma: float = 1.0,
    n_runs: int = 1,
    seed: int = 0,
    backend: Literal["numba", "igraph"] = "numba",
    n_jobs: int = -1,
) -> Communities:
    """Communities by the Leiden algorithm (Traag, Waltman & van Eck 2019, doi:10.1038/s41598-019-41695-z): each of them is connected.

    As Louvain, but what becomes a node is a refined part of a community, well connected inside it, and the passes go on until one changes
    nothing. Parts grow greedily in random order (as in ``leidenalg``), not by the paper's tempered draw.

    Parameters
    ----------
    weights, gamma, n_runs, seed, n_jobs : as for :func:`louvain`.
    backend : ``"numba"`` is ours, the default also where igraph is installed, so that a seed gives the same communities everywhere.
        ``"igraph"`` hands each run to igraph's ``community_leiden`` (non-negative weights only, one thread);
        Q* is recomputed from what it gives.

    Returns
    -------
    communities : labels (N, R) and modularity (N,), as for :func:`louvain`. In a graph with negative weights communities are connected by
        positive ones.

    Raises
    ------
    ConnectomeError
        As :func:`louvain`; if the backend is unknown or not installed.
    """
    if backend == "igraph":
        return _igraph_leiden(weights, gamma, n_runs, seed)
    if backend != "numba":
        raise ConnectomeError(f'leiden runs on backend="numba" or "igraph", got {backend!r}')
    return _best_of(weights, "leiden", gamma, n_runs, seed, n_jobs)


def consensus(
    weights: Any,
    *,
    method: Literal["louvain", "leiden"] = "louvain",
    gamma: float = 1.0,
    n_runs: int = 50,
    threshold: float = 0.5,
    seed: int = 0,
    n_jobs: int = -1,
) -> Communities:
    """The partition on which many runs agree (Lancichinetti & Fortunato 2012, doi:10.1038/srep00336).

    The share of runs that put two regions together, where it reaches the threshold, is the weight of a new graph; that is clustered
    ``n_runs`` times (gamma = 1), and so on until all runs are equal.

    Parameters
    ----------
    weights, gamma, seed, n_jobs : as for :func:`louvain`.
    method : ``"louvain"`` or ``"leiden"``.
    n_runs : runs a round.
    threshold : least share of runs, above 0, at most 1. A region that reaches it with no other stands alone.

    Returns
    -------
    communities : labels (N, R) and modularity (N,) of the consensus in the graph itself; at most the best run's, often below it.

    Raises
    ------
    ConnectomeError
        As :func:`louvain`; if the method is unknown or the threshold outside (0, 1].

    Notes
    -----
    bctpy's ``consensus_und`` takes the same rounds from an agreement matrix that the user makes.
    """
    if method not in ("louvain", "leiden"):
        raise ConnectomeError(f'consensus runs method="louvain" or "leiden", got {method!r}')
    if not 0 < threshold <= 1:
        raise ConnectomeError(f"consensus needs a threshold above 0 and at most 1, a share of runs, got {threshold}")
    graphs = as_graphs(weights, "consensus", signed=True)
    settings = (_as_gamma(gamma), _as_runs(n_runs), method == "leiden", float(threshold))
    seeds = person_seeds(seed, graphs.n, graphs.first)
    return Communities(*map_graphs(graphs, consensus_of_runs, *settings, each=(seeds,), n_jobs=n_jobs, bar="Consensus communities"))


def _best_of(weights: Any, method: str, gamma: float, n_runs: int, seed: int, n_jobs: int) -> Communities:
    graphs = as_graphs(weights, method, signed=True)
    settings = (_as_gamma(gamma), _as_runs(n_runs), method == "leiden")
    return Communities(*map_graphs(graphs, best_run, *settings, each=(person_seeds(seed, graphs.n, graphs.first),), n_jobs=n_jobs))


def _igraph_leiden(weights: Any, gamma: float, n_runs: int, seed: int) -> Communities:
    try:
        import igraph
    except ImportError as error:
        raise ConnectomeError('leiden(backend="igraph") needs igraph: pip install "connectome-gnn[reference]"') from error
    graphs = as_graphs(weights, "leiden with igraph")
    gamma, n_runs = _as_gamma(gamma), _as_runs(n_runs)

    def best_run(matrix: NDArray, seed: int) -> tuple[NDArray[np.int64], float]:
        rows, columns = np.triu(matrix).nonzero()
        graph = igraph.Graph(n=len(matrix), edges=np.column_stack([rows, columns]))
        igraph.set_random_number_generator(random.Random(int(seed)))
        best: tuple[NDArray[np.int64], float] = np.arange(len(matrix)), np.nan
        for _ in range(n_runs if len(rows) else 0):
            found = graph.community_leiden("modularity", weights=matrix[rows, columns], resolution=gamma, n_iterations=-1)
            labels = np.array(found.membership, dtype=np.int64)
            count_from_zero(labels)
            reached = quality(matrix, labels, gamma)
            if not reached <= best[1]:
                best = labels, reached
        return best

    try:
        return Communities(*map_graphs(graphs, best_run, each=(person_seeds(seed, graphs.n, graphs.first),), n_jobs=1))
    finally:
        igraph.set_random_number_generator(random)


def _as_gamma(gamma: float) -> float:
    if not (isinstance(gamma, (int, float, np.number)) and np.isfinite(gamma) and gamma >= 0):
        raise ConnectomeError(f"the resolution gamma must be a finite number, 0 or more, got {gamma!r}")
    return float(gamma)


def _as_runs(n_runs: int) -> int:
    if not isinstance(n_runs, (int, np.integer)):
        raise ConnectomeError(f"n_runs is a whole number, got {n_runs!r}")
    if n_runs < 1:
        raise ConnectomeError(f"n_runs must be 1 or more, got {n_runs}")
    return int(n_runs)

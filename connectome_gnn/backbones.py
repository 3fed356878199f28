"""Backbones: which edges of a group, or of one network, to keep. Arrays in, arrays out.

Edges are vectors in the order of ``np.triu_indices(R, 1)``; every function gives (E,) bool, True where the edge is kept. An edge of
strength 0, which nobody has, is never kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.edges import edge_indices, n_regions_of
from connectome_gnn.errors import ConnectomeError

__all__ = ["absolute", "consistency", "disparity", "distance_dependent", "proportional", "spanning_tree", "strongest"]


def strongest(strength: ArrayLike, n_edges: int) -> NDArray[np.bool_]:
    """The ``n_edges`` strongest of the edges whose strength is above 0; of equal ones the first.

    Parameters
    ----------
    strength : (E,) non-negative.
    """
    values = np.asarray(strength)
    kept = np.zeros(len(values), bool)
    kept[np.argsort(-values, kind="stable")[:n_edges]] = True
    return kept & (values > 0)


def consistency(
    present: ArrayLike, n_people: int, strength: ArrayLike, threshold: float = 0.5, density: float | None = None
) -> NDArray[np.bool_]:
    """Edges that at least a share of people have (Roberts et al. 2017, NeuroImage 145:118).

    Parameters
    ----------
    present : (E,) number of people who have each edge.
    n_people : number of people.
    strength : (E,) strength of each edge in the group, which ``density`` goes by.
    threshold : share of people, 0 to 1.
    density : keep only the strongest of these, up to this share of all E edges.

    Raises
    ------
    ConnectomeError
        If ``threshold`` or ``density`` is no share.
    """
    _check_share("threshold", threshold)
    counts = np.asarray(present)
    kept = (counts >= threshold * n_people) & (counts > 0)
    if density is not None:
        kept &= strongest(np.where(kept, np.asarray(strength), 0), _number(density, len(counts)))
    return kept


def distance_dependent(
    present: ArrayLike, n_people: int, strength: ArrayLike, distance: ArrayLike, across: ArrayLike, n_bins: int | None = None
) -> NDArray[np.bool_]:
    """Consensus that keeps the lengths of edges as they are in people (Betzel et al. 2019, Network Neuroscience 3:475).

    Within hemispheres and between them apart, edges are divided into bins of equal width in distance; of each bin as many edges are kept as
    people have in it on average, those that most people have first. Consistency alone keeps too many short edges.

    Parameters
    ----------
    present : (E,) number of people who have each edge.
    n_people : number of people.
    strength : (E,) mean weight of each edge over the people who have it, which decides between edges that equally many have.
    distance : (E,) length of every edge, mm.
    across : (E,) whether an edge joins the two hemispheres. Edges of regions on the midline (brain stem, vermis) do not, and are too few
        to be binned apart.
    n_bins : number of bins; default the square root of the mean number of a person's edges, rounded.

    Raises
    ------
    ConnectomeError
        If a distance is not known, or there is no bin.
    """
    counts, lengths, between = np.asarray(present), np.asarray(distance, np.float64), np.asarray(across, bool)
    unknown = int((~np.isfinite(lengths)).sum())
    if unknown:
        raise ConnectomeError(f"a distance-dependent consensus needs the length of every edge, {unknown} of {len(lengths)} are unknown")
    n_bins = max(round(np.sqrt(counts.sum() / n_people)), 1) if n_bins is None else n_bins
    if n_bins < 1:
        raise ConnectomeError(f"a distance-dependent consensus needs at least one bin, got n_bins={n_bins}")
    bounds = np.linspace(lengths.min(), lengths.max(), n_bins + 1)
    place = np.clip(np.searchsorted(bounds, lengths, side="right") - 1, 0, n_bins - 1)
    order = np.lexsort((np.arange(len(counts)), -np.asarray(strength, np.float64), -counts))
    kept = np.zeros(len(counts), bool)
    for side in (False, True):
        for number in range(n_bins):
            inside = order[(place[order] == number) & (between[order] == side)]
            kept[inside[: int(counts[inside].sum() / n_people + 0.5)]] = True
    return kept & (counts > 0)


def proportional(strength: ArrayLike, density: float) -> NDArray[np.bool_]:
    """The strongest edges, up to a share of all E (Rubinov & Sporns 2010, NeuroImage 52:1059); of equal ones the first.

    Parameters
    ----------
    strength : (E,) non-negative: mean absolute weight of the group, or the absolute weights of one network.
    density : share of all edges, 0 to 1.

    Raises
    ------
    ConnectomeError
        If ``density`` is no share.
    """
    values = np.asarray(strength)
    return strongest(values, _number(density, len(values)))


def absolute(strength: ArrayLike, weight: float) -> NDArray[np.bool_]:
    """Edges of at least this strength.

    Parameters
    ----------
    strength : (E,) non-negative: mean absolute weight of the group, or the absolute weights of one network.
    weight : smallest strength that is kept, in the same unit, 0 or more.

    Raises
    ------
    ConnectomeError
        If ``weight`` is negative or no number.
    """
    if not weight >= 0:
        raise ConnectomeError(f"a threshold of weights is a number of 0 or more, got {weight}")
    values = np.asarray(strength)
    return (values >= weight) & (values > 0)


def disparity(strength: ArrayLike, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Edges that carry more of a region's strength than chance would give them (Serrano et al. 2009, PNAS 106:6483, eq. 2).

    An edge of weight w at a region of k edges and strength s has p = (1 - w / s)^(k - 1); it is kept where p < ``alpha`` at either end. A
    region's only edge is never significant at that end (k = 1), and a region may lose all its edges.

    Parameters
    ----------
    strength : (E,) non-negative: mean absolute weight of the group, or the absolute weights of one network.
    alpha : level of significance, in (0, 1].

    Raises
    ------
    ConnectomeError
        If ``alpha`` is not between 0 and 1.
    """
    if not 0 < alpha <= 1:
        raise ConnectomeError(f"a level of significance (alpha) is between 0 and 1, got {alpha}")
    values = np.asarray(strength, np.float64)
    n_regions = n_regions_of(len(values))
    least = np.ones(len(values))
    for ends in edge_indices(n_regions), edge_indices(n_regions)[::-1]:
        region = ends[0]
        total = np.sum([np.bincount(end, values, n_regions) for end in ends], axis=0)
        number = np.sum([np.bincount(end, values > 0, n_regions) for end in ends], axis=0)
        share = np.divide(values, total[region], out=np.zeros_like(values), where=total[region] > 0)
        least = np.minimum(least, np.clip(1 - share, 0, 1) ** np.maximum(number[region] - 1, 0))
    return (least < alpha) & (values > 0)


def spanning_tree(strength: ArrayLike, density: float | None = None) -> NDArray[np.bool_]:
    """The maximum-weight spanning tree: the R - 1 edges of most weight that leave no region apart.

    Where the group itself falls into several parts (a region without any edge is one), each part keeps its own tree.

    Parameters
    ----------
    strength : (E,) non-negative: mean absolute weight of the group, or the absolute weights of one network.
    density : then add the strongest other edges, up to this share of all E (Hagmann et al. 2008, PLoS Biology 6:e159); a tree that is
        denser stays whole.

    Raises
    ------
    ConnectomeError
        If ``density`` is no share.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    values = np.asarray(strength)
    n_regions = n_regions_of(len(values))
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > 0]
    rank = np.zeros(len(values))
    rank[order] = np.arange(1, len(order) + 1)  # ranks are all different: of equal weights the first edge, on every machine
    rows, columns = (index[order] for index in edge_indices(n_regions))
    tree = minimum_spanning_tree(coo_array((rank[order], (rows, columns)), shape=(n_regions, n_regions)).tocsr())
    kept = np.isin(rank, tree.data) & (rank > 0)
    if density is not None:
        others = max(_number(density, len(values)) - int(kept.sum()), 0)
        kept |= strongest(np.where(kept, 0, values), others)
    return kept


def _number(density: float, n_edges: int) -> int:
    """How many edges a share of all is; at least one."""
    _check_share("density", density)
    return max(round(density * n_edges), 1)


def _check_share(what: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ConnectomeError(f"a backbone's {what} is a share between 0 and 1, got {share}")

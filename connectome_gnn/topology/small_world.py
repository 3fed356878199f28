"""Measures held against null graphs, with z and p; and small-worldness: sigma, omega, propensity.

Null graphs are made, measured and forgotten one at a time, so a cohort's thousands of them take no memory. Here is a normalised rich club::

    club = against_nulls(weights, rich_club, n_nulls=1000, alternative="greater")
    club.ratio, club.p  # (N, R - 1) each
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import Graphs, as_graphs, map_graphs, person_seeds
from connectome_gnn.topology.clustering import clustering
from connectome_gnn.topology.nulls import BAR, as_count, as_lengths, warn_of_strengths
from connectome_gnn.topology.paths import characteristic_path_length
from connectome_gnn.topology.rewiring import degree_null, geometry_null, lattice_null, null_seeds, strength_null

__all__ = [
    "AgainstNulls",
    "Alternative",
    "Null",
    "NullMaker",
    "SmallWorld",
    "against_nulls",
    "hold_against",
    "omega",
    "propensity",
    "sigma",
    "small_world",
]

Alternative = Literal["two-sided", "greater", "less"]
Null = Literal["degree", "strength", "geometry", "lattice"]

REWIRINGS: dict[str, int] = {"degree": 20, "strength": 20, "geometry": 300, "lattice": 200}
"""Steps tried per edge, as in :mod:`~connectome_gnn.topology.nulls`."""

TIE = 1e-12
"""A null measure this close to the observed one, relative to it, counts as equal: sums differ in rounding."""


@dataclass(frozen=True)
class AgainstNulls:
    """A measure and what it is in null graphs. All arrays are of one shape, (N, ...), or (...) for a single matrix.

    Attributes
    ----------
    observed : the measure of the graph.
    mean, sd : of the measure over its null graphs; NaN from fewer than one, two nulls where it is defined.
    ratio : observed / mean, the normalised measure; NaN where the mean is 0.
    z : (observed - mean) / sd; NaN where all nulls are equal.
    p : (1 + nulls at least as extreme) / (1 + nulls), never 0 (Phipson & Smyth 2010); two-sided, twice the smaller tail, at most 1. NaN
        where the measure is not defined.
    n_nulls : null graphs of each graph.
    """

    observed: Any
    mean: Any
    sd: Any
    ratio: Any
    z: Any
    p: Any
    n_nulls: int

    @classmethod
    def of(cls, observed: ArrayLike, nulls: ArrayLike, alternative: Alternative = "two-sided", axis: int = 0) -> AgainstNulls:
        """From a measure, (...), and the same of null graphs, with one more axis: ``axis``. NaN among nulls are left out.

        Raises
        ------
        ConnectomeError
            If the alternative is unknown.
        """
        if alternative not in ("two-sided", "greater", "less"):
            raise ConnectomeError(f'alternative is "two-sided", "greater" or "less", got {alternative!r}')
        value, among = np.asarray(observed, np.float64), np.moveaxis(np.asarray(nulls, np.float64), axis, 0)
        known = ~np.isnan(among)
        n = known.sum(0)
        mean = _divide(np.where(known, among, 0).sum(0), n)
        deviations = np.where(known, among - mean, 0)
        sd = np.sqrt(_divide((deviations**2).sum(0), np.maximum(n - 1, 0)))
        sd = np.where(sd <= TIE * np.abs(mean), 0, sd)
        slack = TIE * np.abs(value)
        above = (1 + (known & (among >= value - slack)).sum(0)) / (1 + n)
        below = (1 + (known & (among <= value + slack)).sum(0)) / (1 + n)
        p = {"greater": above, "less": below, "two-sided": np.minimum(2 * np.minimum(above, below), 1)}[alternative]
        p = np.where(np.isnan(value) | (n == 0), np.nan, p)
        return cls(value[()], mean[()], sd[()], _divide(value, mean)[()], _divide(value - mean, sd)[()], p[()], len(among))


@dataclass(frozen=True)
class SmallWorld:
    """Small-worldness of each graph, (N,), or () for a single matrix.

    Attributes
    ----------
    sigma, omega, propensity : as :func:`small_world` defines them; NaN where not defined.
    against : ``"clustering"``, ``"path_length"``, ``"sigma"``, ``"omega"``, ``"propensity"``, each with its null graphs, z and p. For the
        last three each null graph takes the place of the observed one.
    """

    sigma: Any
    omega: Any
    propensity: Any
    against: dict[str, AgainstNulls]


def against_nulls(
    weights: Any,
    measure: Callable[[Any], Any],
    *,
    null: Null = "degree",
    n_nulls: int = 100,
    alternative: Alternative = "two-sided",
    coordinates: Any = None,
    distances: Any = None,
    n_bins: int = 20,
    rewirings: int | None = None,
    tolerance: float = 0.01,
    seed: int = 0,
    n_jobs: int = -1,
) -> AgainstNulls:
    """A measure of each graph against the same of null graphs.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); negative weights are allowed for ``null`` of ``"degree"`` and ``"strength"``.
    measure : what gives a number or an array for one (R, R) matrix, as any plain function of this package.
    null : ``"degree"``, ``"strength"``, ``"geometry"`` or ``"lattice"``, see :mod:`~connectome_gnn.topology.nulls`.
    n_nulls : null graphs for each graph.
    alternative : which side counts as extreme for p.
    coordinates, distances, n_bins : for ``"geometry"``, as in :func:`~connectome_gnn.topology.nulls.geometry_preserving`.
    rewirings : steps tried per edge; default as in the functions of :mod:`~connectome_gnn.topology.nulls`.
    tolerance : for ``"strength"``.
    seed : graph k draws from its own stream; the null graphs are those of the functions of :mod:`~connectome_gnn.topology.nulls`.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    comparison : arrays (N, ...), or (...) for a single matrix.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used, the measure is no function, the null model or the alternative unknown, or coordinates are missing.

    Warns
    -----
    ConnectomeWarning
        If some strength-preserving nulls end outside the tolerance.
    """
    if not callable(measure):
        raise ConnectomeError(f"against_nulls needs a function of one (R, R) matrix as its measure, got {measure!r}")
    if null not in REWIRINGS:
        raise ConnectomeError(f"null models are {', '.join(map(repr, REWIRINGS))}, got {null!r}")
    if alternative not in ("two-sided", "greater", "less"):
        raise ConnectomeError(f'alternative is "two-sided", "greater" or "less", got {alternative!r}')
    name = f"{null}-preserving nulls" if null != "lattice" else "lattice nulls"
    graphs = as_graphs(weights, name, signed=null in ("degree", "strength"))
    between = as_lengths(coordinates, distances, graphs) if null == "geometry" else None
    maker = NullMaker(null, as_count("rewirings", REWIRINGS[null] if rewirings is None else rewirings), between, n_bins, float(tolerance))
    return hold_against(graphs, measure, maker, n_nulls=n_nulls, alternative=alternative, seed=seed, n_jobs=n_jobs)


def hold_against(
    graphs: Graphs, measure: Callable[[Any], Any], maker: NullMaker, *, n_nulls: int, alternative: Alternative, seed: int, n_jobs: int
) -> AgainstNulls:
    """What :func:`against_nulls` does, for graphs, and null graphs of a maker."""
    counts, seeds = as_count("n_nulls", n_nulls), person_seeds(seed, graphs.n, graphs.first)
    observed, nulls, error = map_graphs(graphs, _measure_all, measure, maker, counts, each=(seeds,), n_jobs=n_jobs, bar=BAR)
    if maker.null == "strength":
        warn_of_strengths(error, maker.tolerance)
    return AgainstNulls.of(observed, nulls, alternative, axis=0 if graphs.single else 1)


def small_world(
    weights: Any, *, n_nulls: int = 100, n_lattices: int = 10, rewirings: int | None = None, seed: int = 0, n_jobs: int = -1
) -> SmallWorld:
    """Sigma, omega and propensity, from mean clustering C and characteristic path length L, weighted.

    ==========  ==================================================================================================================
    sigma       (C / C_random) / (L / L_random); above 1 for a small world (Humphries & Gurney 2008, doi:10.1371/journal.pone.0002051)
    omega       L_random / L - C / C_lattice; near 0 for a small world, below for a lattice, above for a random graph
                (Telesford et al. 2011, doi:10.1089/brain.2011.0038)
    propensity  1 - sqrt((dC^2 + dL^2) / 2), dC = (C_lattice - C) / (C_lattice - C_random), dL = (L - L_random) / (L_lattice - L_random),
                both held to [0, 1] (Muldoon et al. 2016, doi:10.1038/srep22057)
    ==========  ==================================================================================================================

    C is Onnela's clustering over all regions, L the mean 1 / weight length of shortest paths over connected pairs; the references are means
    over null graphs of the same degrees and weights, random and lattice (:mod:`~connectome_gnn.topology.nulls`).

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_nulls : random null graphs for each graph.
    n_lattices : lattices for each graph.
    rewirings : steps tried per edge, default 20 for random graphs and 200 for lattices.
    seed : graph k draws from its own stream.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    small_world : NaN where a reference is 0 or not defined: sigma without triangles in any null, omega without any in the lattices,
        propensity where lattices are not more clustered and longer than random graphs; so all three for graphs without edges.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used or a count is below 1.

    Notes
    -----
    networkx's ``sigma`` and ``omega`` are binary, of connected graphs, with connected nulls. Muldoon's references keep no degrees: her
    random graph deals all weights out over all pairs of regions, her lattice puts the largest on the shortest edges of a ring.
    """
    graphs = as_graphs(weights, "small_world")
    random = NullMaker("degree", as_count("rewirings", REWIRINGS["degree"] if rewirings is None else rewirings))
    ring = NullMaker("lattice", as_count("rewirings", REWIRINGS["lattice"] if rewirings is None else rewirings))
    counts = as_count("n_nulls", n_nulls), as_count("n_lattices", n_lattices)
    seeds = person_seeds(seed, graphs.n, graphs.first)
    observed, among, rings = map_graphs(graphs, _clustered_and_far, random, ring, *counts, each=(seeds,), n_jobs=n_jobs, bar=BAR)
    # from here on one more axis than graphs: 0 the graph itself, then its nulls
    C, L = (np.concatenate([observed[..., None, k], among[..., k]], -1, dtype=np.float64) for k in (0, 1))
    C_random, L_random = (_mean(among[..., k]) for k in (0, 1))
    C_lattice, L_lattice = (_mean(rings[..., k]) for k in (0, 1))
    further = np.clip(_divide(L - L_random, _excess(L_lattice, L_random)), 0, 1)
    less_clustered = np.clip(_divide(C_lattice - C, _excess(C_lattice, C_random)), 0, 1)
    indices = {
        "clustering": C,
        "path_length": L,
        "sigma": _divide(_divide(C, C_random), _divide(L, L_random)),
        "omega": _divide(L_random, L) - _divide(C, C_lattice),
        "propensity": 1 - np.sqrt((further**2 + less_clustered**2) / 2),
    }
    against = {name: AgainstNulls.of(values[..., 0], values[..., 1:], axis=-1) for name, values in indices.items()}
    return SmallWorld(against["sigma"].observed, against["omega"].observed, against["propensity"].observed, against)


def sigma(weights: Any, *, n_nulls: int = 100, seed: int = 0, n_jobs: int = -1) -> Any:
    """Small-world sigma, (N,) or (); see :func:`small_world`, which also gives its z and p."""
    return small_world(weights, n_nulls=n_nulls, n_lattices=1, seed=seed, n_jobs=n_jobs).sigma


def omega(weights: Any, *, n_nulls: int = 100, n_lattices: int = 10, seed: int = 0, n_jobs: int = -1) -> Any:
    """Small-world omega, (N,) or (); see :func:`small_world`, which also gives its z and p."""
    return small_world(weights, n_nulls=n_nulls, n_lattices=n_lattices, seed=seed, n_jobs=n_jobs).omega


def propensity(weights: Any, *, n_nulls: int = 100, n_lattices: int = 10, seed: int = 0, n_jobs: int = -1) -> Any:
    """Small-world propensity, (N,) or (); see :func:`small_world`, which also gives its z and p."""
    return small_world(weights, n_nulls=n_nulls, n_lattices=n_lattices, seed=seed, n_jobs=n_jobs).propensity


@dataclass(frozen=True)
class NullMaker:
    """How one null graph is made; distances are for geometry-preserving ones."""

    null: Null
    rewirings: int
    distances: NDArray[np.float64] | None = None
    n_bins: int = 1
    tolerance: float = 0.01

    def make(self, matrix: NDArray, seed: int, into: NDArray) -> float:
        """Write a null of ``matrix`` into ``into``; the largest error of a strength, where strengths are kept."""
        if self.null == "strength":
            error: float = strength_null(matrix, seed, self.rewirings, self.tolerance, into)
            return error
        if self.distances is not None:
            geometry_null(matrix, seed, self.distances, self.n_bins, self.rewirings, into)
        elif self.null == "lattice":
            lattice_null(matrix, seed, self.rewirings, into)
        else:
            degree_null(matrix, seed, self.rewirings, into)
        return 0.0


def _measure_all(matrix: NDArray, seed: int, measure: Callable[[Any], Any], maker: NullMaker, n_nulls: int) -> tuple[NDArray, ...]:
    """The measure of a graph, of its nulls, and the nulls' errors of strength."""
    observed = np.asarray(measure(matrix.copy()), np.float64)
    nulls, errors, into = np.empty((n_nulls, *observed.shape)), np.empty(n_nulls), np.empty_like(matrix)
    for k, one in enumerate(null_seeds(seed, n_nulls)):
        errors[k] = maker.make(matrix, one, into)
        nulls[k] = measure(into.copy())
    return observed, nulls, errors


def _clustered_and_far(
    matrix: NDArray, seed: int, random: NullMaker, ring: NullMaker, n_nulls: int, n_lattices: int
) -> tuple[NDArray, ...]:
    """(2,) mean clustering and path length of a graph, (n_nulls, 2) of its random graphs and (n_lattices, 2) of its lattices."""
    observed, among, _ = _measure_all(matrix, seed, _clustering_and_length, random, n_nulls)
    _, rings, _ = _measure_all(matrix, seed, _clustering_and_length, ring, n_lattices)
    return observed, among, rings


def _clustering_and_length(matrix: NDArray) -> NDArray[np.float64]:
    graph = Graphs(matrix[None], len(matrix), single=True)
    return np.array([clustering(graph, n_jobs=1).mean(), characteristic_path_length(graph, n_jobs=1)])


def _mean(values: NDArray) -> NDArray[np.float64]:
    """Mean over the last axis, kept, of what is not NaN."""
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0).sum(-1, dtype=np.float64), known.sum(-1))[..., None]


def _divide(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """a / b, NaN where b is 0 or either is NaN; no warning."""
    top, bottom = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.where(bottom == 0, np.nan, top / np.where(bottom == 0, 1, bottom))


def _excess(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a - b where that is positive by more than rounding, else 0."""
    return np.where(a - b <= TIE * np.abs(a), 0, a - b)

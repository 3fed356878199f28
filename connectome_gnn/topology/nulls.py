"""Null models: graphs that share some things with a person's and are random in the rest.

=====================  ====================================================================================================
degree_preserving      every region's degree and the weights, exactly
strength_preserving    the same, and every region's strength to a tolerance
geometry_preserving    the same as degree_preserving, how many edges fall into each bin of length, and their weights, exactly
lattice                degree and weights, exactly; as close to a ring as rewiring gets: what clusters most, not what is random
=====================  ====================================================================================================

The first two take signed graphs too (Rubinov & Sporns 2011, doi:10.1016/j.neuroimage.2011.03.069): how many positive and how many negative
edges each region has is kept exactly, and so are the weights; strengths are then those of positive and of negative edges, each by itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.topology.arrays import Graphs, as_distances, as_graphs, map_graphs, person_seeds
from connectome_gnn.topology.rewiring import degree_null, geometry_null, lattice_null, null_seeds, strength_null

__all__ = ["degree_preserving", "geometry_preserving", "lattice", "strength_preserving"]

BAR = "Null graphs"
"""What a progress bar says."""


def degree_preserving(weights: Any, n_nulls: int = 1, *, rewirings: int = 20, seed: int = 0, n_jobs: int = -1) -> NDArray:
    """Random graphs with each region's degree and the same weights, dealt out anew; uniform over all such graphs once rewired enough.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E); negative weights are allowed.
    n_nulls : null graphs for each graph. All are held at once, n_nulls x R x R x 8 bytes a person;
        :func:`~connectome_gnn.topology.small_world.against_nulls` makes one at a time.
    rewirings : steps tried per edge (per gap, where those are fewer).
    seed : graph k draws from its own stream: neither threads nor other people change its nulls, and null i does not depend on n_nulls.
    n_jobs : threads; the answer does not depend on it.

    Returns
    -------
    nulls : (N, n_nulls, R, R), or (n_nulls, R, R) for a single matrix. They may be disconnected. An empty graph, a star, a complete binary
        graph and a single region have no other graph of their degrees: the nulls are copies, with weights dealt out anew.

    Raises
    ------
    ConnectomeError
        If the graphs cannot be used, or n_nulls or rewirings is below 1.

    Notes
    -----
    bctpy's ``randmio_und``, signed ``randmio_und_signed``, takes the same steps and lets weights travel with their edges, which ends in the
    same distribution. Of signed graphs all that such steps lead to are as likely.
    """
    graphs = as_graphs(weights, "degree_preserving", signed=True)
    counts = as_count("n_nulls", n_nulls), as_count("rewirings", rewirings)
    seeds = person_seeds(seed, graphs.n, graphs.first)
    return map_graphs(graphs, _degree_nulls, *counts, each=(seeds,), n_jobs=n_jobs, bar=BAR)


def lattice(weights: Any, n_nulls: int = 1, *, rewirings: int = 200, seed: int = 0, n_jobs: int = -1) -> NDArray:
    """Ring lattices with each region's degree and the same weights (Sporns & Zwi 2004, doi:10.1385/NI:2:2:145): the clustered extreme.

    Regions are put around a ring in random order; a step is taken if the two edges do not get longer on the ring, summed; at the end the
    largest weights go to the shortest edges.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    n_nulls, rewirings, seed, n_jobs : as for :func:`degree_preserving`.

    Returns
    -------
    lattices : (N, n_nulls, R, R), or (n_nulls, R, R) for a single matrix.

    Raises
    ------
    ConnectomeError
        As :func:`degree_preserving`.

    Notes
    -----
    For binary graphs this is networkx's ``lattice_reference`` and bctpy's ``latmio_und``; for weighted ones ``latmio_und`` weighs the steps
    by the edges' weights in place of dealing these out by length, which leaves dense graphs as they are.
    """
    graphs = as_graphs(weights, "lattice")
    counts = as_count("n_nulls", n_nulls), as_count("rewirings", rewirings)
    seeds = person_seeds(seed, graphs.n, graphs.first)
    return map_graphs(graphs, _lattices, *counts, each=(seeds,), n_jobs=n_jobs, bar=BAR)


def geometry_preserving(
    weights: Any,
    coordinates: Any = None,
    n_nulls: int = 1,
    *,
    distances: Any = None,
    n_bins: int = 20,
    rewirings: int = 300,
    seed: int = 0,
    n_jobs: int = -1,
) -> NDArray:
    """Random graphs with each region's degree and nearly the same wiring lengths (Betzel & Bassett 2018, doi:10.1073/pnas.1720186115).

    A step is taken only if the new edges fall into the same bins of length as the old. Weights are dealt out anew inside each bin, so
    that the relation of weight to length is kept too.

    Parameters
    ----------
    weights : (R, R), (N, R, R) or (N, E), non-negative.
    coordinates : (R, 3) positions of the regions (mm).
    n_nulls, rewirings, seed, n_jobs : as for :func:`degree_preserving`.
    distances : (R, R) symmetric distances in place of coordinates, as tract lengths.
    n_bins : bins of length, each with as many of a graph's edges; more keep lengths more exactly and leave less to chance.

    Returns
    -------
    nulls : (N, n_nulls, R, R), or (n_nulls, R, R) for a single matrix.

    Raises
    ------
    ConnectomeError
        If the graphs, coordinates or distances cannot be used, or a count is below 1.
    """
    graphs = as_graphs(weights, "geometry_preserving")
    between = as_lengths(coordinates, distances, graphs)
    counts = as_count("n_nulls", n_nulls), as_count("n_bins", n_bins), as_count("rewirings", rewirings)
    seeds = person_seeds(seed, graphs.n, graphs.first)
    return map_graphs(graphs, _geometry_nulls, between, *counts, each=(seeds,), n_jobs=n_jobs, bar=BAR)


def strength_preserving(
    weights: Any, n_nulls: int = 1, *, rewirings: int = 20, tolerance: float = 0.01, seed: int = 0, n_jobs: int = -1
) -> NDArray:
    """Random graphs with each region's degree and, to a tolerance, its strength, by simulated annealing (Milisav et al. 2025).

    Edges are rewired as in :func:`degree_preserving`, weights dealt out heaviest first, at random where they fit, and then exchanged
    between edges, at a falling temperature, until strengths are what they were (Nature Computational Science,
    doi:10.1038/s43588-024-00735-z; the energy is the sum of squared differences). Where that fails it is tried on two more rewired graphs,
    and the best of the three is kept.

    Parameters
    ----------
    weights, n_nulls, rewirings, seed, n_jobs : as for :func:`degree_preserving`.
    tolerance : largest difference of any region's strength (of either sign), as a share of the mean strength; annealing stops there.

    Returns
    -------
    nulls : (N, n_nulls, R, R), or (n_nulls, R, R) for a single matrix.

    Raises
    ------
    ConnectomeError
        As :func:`degree_preserving`; if the tolerance is not positive.

    Warns
    -----
    ConnectomeWarning
        If some nulls end outside the tolerance: how many, and by how much. In sparse graphs of uneven weights it may be that no exchange of
        weights on the rewired edges gives every region its strength.

    Notes
    -----
    bctpy's ``null_model_und_sign`` deals weights out once, by rank, so that strengths correlate with those of the graph (and reports by how
    much: 0.9 and more for dense graphs); here each is kept to the tolerance, which puts that correlation above 0.99.
    """
    if not 0 < tolerance < np.inf:
        raise ConnectomeError(f"strength_preserving needs a tolerance above 0, a share of the mean strength, got {tolerance}")
    graphs = as_graphs(weights, "strength_preserving", signed=True)
    settings = as_count("n_nulls", n_nulls), as_count("rewirings", rewirings), float(tolerance)
    seeds = person_seeds(seed, graphs.n, graphs.first)
    nulls, error = map_graphs(graphs, _strength_nulls, *settings, each=(seeds,), n_jobs=n_jobs, bar=BAR)
    warn_of_strengths(error, tolerance)
    return nulls


def warn_of_strengths(error: NDArray, tolerance: float) -> None:
    """Say how many nulls keep strengths less exactly than asked, if any; ``error`` as shares of the mean strength."""
    outside = int((error > tolerance).sum())
    if outside:
        warnings.warn(
            f"{outside} of {error.size} strength-preserving nulls keep strengths only to within {error.max():.2g} of the mean strength, "
            f"not {tolerance:g}; allow a larger tolerance, or treat them as approximate",
            ConnectomeWarning,
            stacklevel=3,
        )


def as_count(name: str, value: int) -> int:
    if not isinstance(value, (int, np.integer)):
        raise ConnectomeError(f"{name} is a whole number, got {value!r}")
    if value < 1:
        raise ConnectomeError(f"{name} must be 1 or more, got {value}")
    return int(value)


def as_lengths(coordinates: Any, distances: Any, graphs: Graphs) -> NDArray[np.float64]:
    if distances is None:
        return as_distances(coordinates, graphs)
    try:
        between = np.array(distances, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"{graphs.measure} needs distances as numbers, (R, R): {error}") from error
    if between.shape != (graphs.n_regions, graphs.n_regions):
        raise ConnectomeError(f"{graphs.measure} needs distances between {graphs.n_regions} regions, (R, R), got shape {between.shape}")
    if not np.isfinite(between).all() or not np.allclose(between, between.T):
        raise ConnectomeError(f"{graphs.measure} needs finite, symmetric distances between regions; fill in missing ones first")
    return between


def _degree_nulls(matrix: NDArray, seed: int, n_nulls: int, rewirings: int) -> NDArray:
    nulls = np.empty((n_nulls, *matrix.shape), matrix.dtype)
    for null, one in zip(nulls, null_seeds(seed, n_nulls), strict=True):
        degree_null(matrix, one, rewirings, null)
    return nulls


def _lattices(matrix: NDArray, seed: int, n_nulls: int, rewirings: int) -> NDArray:
    nulls = np.empty((n_nulls, *matrix.shape), matrix.dtype)
    for null, one in zip(nulls, null_seeds(seed, n_nulls), strict=True):
        lattice_null(matrix, one, rewirings, null)
    return nulls


def _geometry_nulls(matrix: NDArray, seed: int, distances: NDArray[np.float64], n_nulls: int, n_bins: int, rewirings: int) -> NDArray:
    nulls = np.empty((n_nulls, *matrix.shape), matrix.dtype)
    for null, one in zip(nulls, null_seeds(seed, n_nulls), strict=True):
        geometry_null(matrix, one, distances, n_bins, rewirings, null)
    return nulls


def _strength_nulls(matrix: NDArray, seed: int, n_nulls: int, rewirings: int, tolerance: float) -> tuple[NDArray, NDArray[np.float64]]:
    nulls, error = np.empty((n_nulls, *matrix.shape), matrix.dtype), np.empty(n_nulls)
    for k, one in enumerate(null_seeds(seed, n_nulls)):
        error[k] = strength_null(matrix, one, rewirings, tolerance, nulls[k])
    return nulls, error

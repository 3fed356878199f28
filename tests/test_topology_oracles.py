"""Every measure that the table knows, held against another library or its own definition written out, on every kind of graph.

A measure without an entry in ORACLES or POWERS fails here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import bct
import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.csgraph
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zoo import SIGNED, ZOO, random_graph

from connectome_gnn import topology
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_lengths, to_matrices, to_vectors
from connectome_gnn.topology.registry import MEASURES

Oracle = Callable[[NDArray, NDArray, NDArray], Any]
"""Weights (R, R), modules (R,) counted from 0 and places (R, 3) to what the measure should be."""

NULLS = 100
LATTICES = 10
SEED = 7


def modules_of(n: int) -> NDArray[np.int64]:
    return np.arange(n) % 3


def places_of(n: int) -> NDArray[np.float64]:
    return np.random.default_rng(n).normal(0, 40, (n, 3))


def apart(places: NDArray) -> NDArray:
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def as_networkx(w: NDArray) -> nx.Graph:
    return nx.from_numpy_array(w)


def components(w: NDArray) -> list[NDArray[np.intp]]:
    n, labels = scipy.sparse.csgraph.connected_components(w)
    return [np.flatnonzero(labels == c) for c in range(n)]


# --- paths -----------------------------------------------------------------------------------------------------------


def lengths(w: NDArray) -> NDArray:
    """1 / w, 0 where there is no edge: what other libraries take."""
    far = to_lengths(w)
    return np.where(np.isinf(far), 0, far)


def far(w: NDArray) -> NDArray:
    """Shortest paths (R, R) by Dijkstra, NaN for no path and for a region to itself."""
    paths = scipy.sparse.csgraph.shortest_path(lengths(w), method="D", directed=False)
    return np.where(np.isfinite(paths) & ~np.eye(len(w), dtype=bool), paths, np.nan)


def among(reduce: Callable[[NDArray], Any], values: NDArray) -> Any:
    """What is not NaN, reduced; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return reduce(known) if known.size else np.nan


def farthest(w: NDArray) -> NDArray:
    return np.array([among(np.max, row) for row in far(w)])


def edge_paths(w: NDArray, c: NDArray, x: NDArray) -> NDArray:
    paths = to_vectors(far(w))
    return np.where(np.isnan(paths), np.inf, paths)


# --- what libraries leave undefined, as documented -------------------------------------------------------------------


def assortativity(values: NDArray, w: NDArray) -> float:
    ends = np.argwhere(w > 0)
    x, y = values[ends[:, 0]], values[ends[:, 1]]
    return float(np.corrcoef(x, y)[0, 1]) if len(ends) and np.ptp(x) > 1e-9 * x.max() else np.nan


def within_module_z(w: NDArray, c: NDArray) -> NDArray:
    inside = (w * (c[:, None] == c)).sum(1)
    z = np.zeros(len(w))
    for module in np.unique(c):
        own = inside[c == module]
        z[c == module] = (own - own.mean()) / own.std() if np.ptp(own) > 1e-9 * own.max() else 0
    return z


def eigenvector_centrality(w: NDArray) -> NDArray:
    """Of equal values, the part that lies in the space of the largest eigenvalue."""
    values, vectors = np.linalg.eigh(w)
    space = vectors[:, values > values[-1] - 1e-9 * max(abs(values[-1]), 1)]
    part = space @ space.T @ np.ones(len(w))
    return part / np.linalg.norm(part)


def crofts_higham(w: NDArray) -> NDArray:
    root = np.sqrt(w.sum(0))
    root[root == 0] = 1
    return to_vectors(scipy.linalg.expm(w / np.outer(root, root)))


def diffusion_efficiency(w: NDArray) -> float:
    """Mean first-passage times from one linear system for every target."""
    n, total = len(w), 0.0
    for members in components(w):
        p = w[np.ix_(members, members)]
        for target in range(len(members) if len(members) > 1 else 0):
            others = np.delete(np.arange(len(members)), target)
            step = p[np.ix_(others, others)] / p[others].sum(1)[:, None]
            total += (1 / np.linalg.solve(np.eye(len(others)) - step, np.ones(len(others)))).sum()
    return total / (n * (n - 1)) if n > 1 else 0.0


def second_smallest(w: NDArray, normed: bool) -> float:
    return np.linalg.eigvalsh(scipy.sparse.csgraph.laplacian(w, normed=normed))[1] if len(w) > 1 else np.nan


def s_core(w: NDArray) -> NDArray:
    """The largest threshold, of all that matter, whose core by bctpy a region is in."""
    core, left = np.zeros(len(w)), w.copy()
    while left.any():
        level = left.sum(0)[left.any(0)].min()
        while left.any() and left.sum(0)[left.any(0)].min() <= level * (1 + 1e-12):
            gone = left.any(0) & (left.sum(0) <= level * (1 + 1e-12))
            core[gone] = level
            left[gone], left[:, gone] = 0, 0
            core[(core == 0) & w.any(0) & ~left.any(0)] = level
    if core.any():
        some = np.median(core[core > 0])
        np.testing.assert_array_equal(bct.score_wu(w, some * (1 - 1e-9))[0].any(0), core >= some * (1 - 1e-9))
    return core


def rich_club(w: NDArray) -> NDArray:
    return bct.rich_club_wu(w, len(w) - 1) if w.any() else np.full(len(w) - 1, np.nan)


def rich_club_binary(w: NDArray) -> NDArray:
    k = (w > 0).sum(0)
    clubs = [np.flatnonzero(k > level) for level in range(len(w) - 1)]
    return np.array([nx.density(as_networkx(w).subgraph(club)) if 2 <= len(club) < len(w) else np.nan for club in clubs])


@cache
def shapes(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[int, str]]:
    """Pairs of n regions, n = 3 or 4, and which motif the present ones (bits) form, by isomorphism."""
    pairs = list(combinations(range(n), 2))
    paw, diamond = nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3)]), nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)])
    of_four = {"path4": nx.path_graph(4), "star4": nx.star_graph(3), "cycle4": nx.cycle_graph(4)}
    of_four |= {"paw": paw, "diamond": diamond, "clique4": nx.complete_graph(4)}
    kinds = of_four if n == 4 else {"open_triad": nx.path_graph(3), "triangle": nx.complete_graph(3)}
    found = {}
    for bits in range(2 ** len(pairs)):
        graph = nx.Graph(pair for bit, pair in enumerate(pairs) if bits >> bit & 1)
        found[bits] = next((name for name, kind in kinds.items() if nx.is_isomorphic(graph, kind)), "")
    return np.array([i for i, _ in pairs]), np.array([j for _, j in pairs]), found


def motif(w: NDArray, name: str, what: str) -> NDArray:
    """Sum over all sets of regions that form the motif, in plain numpy."""
    n = 3 if name in ("open_triad", "triangle") else 4
    first, second, kinds = shapes(n)
    sets = np.array(list(combinations(range(len(w)), n)), dtype=int).reshape(-1, n)
    edges = w[sets[:, first], sets[:, second]]
    bits = ((edges > 0) << np.arange(len(first))).sum(1)
    mine = np.isin(bits, [b for b, kind in kinds.items() if kind == name])
    sets, edges = sets[mine], edges[mine]
    n_edges = (edges > 0).sum(1)
    mean = np.exp(np.log(np.where(edges > 0, edges, 1)).sum(1) / np.maximum(n_edges, 1))
    value = mean if what == "intensity" else mean * n_edges / edges.sum(1)
    return np.bincount(sets.ravel(), np.repeat(value, n), len(w))


# --- null graphs -----------------------------------------------------------------------------------------------------


def of_nulls(measure: Callable[[NDArray], Any], nulls: NDArray) -> Any:
    values = np.array([measure(null) for null in nulls], dtype=float)
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0).sum(0), known.sum(0)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=(count > 0) & (total != 0))


def small_world(w: NDArray, which: str) -> float:
    def both(one: NDArray) -> tuple[float, float]:
        return bct.clustering_coef_wu(one).mean(), among(np.mean, far(one))

    (C, L), (C_random, L_random) = both(w), of_nulls(both, topology.degree_preserving(w, NULLS, seed=SEED))
    C_lattice, L_lattice = of_nulls(both, topology.lattice(w, LATTICES, seed=SEED))
    if which == "sigma":
        return (C / C_random) / (L / L_random)
    if which == "omega":
        return L_random / L - C / C_lattice
    dC, dL = np.clip([(C_lattice - C) / (C_lattice - C_random), (L - L_random) / (L_lattice - L_random)], 0, 1)
    return 1 - np.sqrt((dC**2 + dL**2) / 2) if C_lattice > C_random and L_lattice > L_random else np.nan


def normalised(club: Callable[[NDArray], NDArray]) -> Oracle:
    return lambda w, c, x: club(w) / of_nulls(club, topology.degree_preserving(w, NULLS, seed=SEED))


def motif_oracle(name: str, what: str) -> Oracle:
    return lambda w, c, x: motif(w, name, what)


ORACLES: dict[str, Oracle] = {
    "degree": lambda w, c, x: bct.degrees_und(w),
    "strength": lambda w, c, x: bct.strengths_und(w),
    "strength_positive": lambda w, c, x: bct.strengths_und_sign(w)[0],
    "strength_negative": lambda w, c, x: bct.strengths_und_sign(w)[1],
    "density": lambda w, c, x: nx.density(as_networkx(w)) if len(w) > 1 else np.nan,
    "clustering": lambda w, c, x: bct.clustering_coef_wu(w),
    "transitivity": lambda w, c, x: np.nan_to_num(bct.transitivity_wu(w)),
    "shortest_path_length": edge_paths,
    "characteristic_path_length": lambda w, c, x: among(np.mean, far(w)),
    "disconnected": lambda w, c, x: np.isinf(edge_paths(w, c, x)).sum(),
    "eccentricity": lambda w, c, x: farthest(w),
    "radius": lambda w, c, x: among(np.min, farthest(w)),
    "diameter": lambda w, c, x: among(np.max, farthest(w)),
    "global_efficiency": lambda w, c, x: np.nan_to_num(bct.efficiency_wei(w)),
    "local_efficiency": lambda w, c, x: bct.efficiency_wei(w, local="original"),
    "local_efficiency_wang": lambda w, c, x: bct.efficiency_wei(w, local=True),
    "betweenness": lambda w, c, x: bct.betweenness_wei(lengths(w)),
    "edge_betweenness": lambda w, c, x: to_vectors(bct.edge_betweenness_wei(lengths(w))[0]),
    "modularity": lambda w, c, x: (
        nx.community.modularity(as_networkx(w), [*map(set, map(np.flatnonzero, c == np.unique(c)[:, None]))]) if w.any() else np.nan
    ),
    "participation": lambda w, c, x: np.nan_to_num(bct.participation_coef(w, c + 1)),
    "participation_positive": lambda w, c, x: bct.participation_coef_sign(w, c + 1)[0],
    "participation_negative": lambda w, c, x: bct.participation_coef_sign(w, c + 1)[1],
    "within_module_z": lambda w, c, x: within_module_z(w, c),
    "assortativity": lambda w, c, x: assortativity(w.sum(0), w),
    "degree_assortativity": lambda w, c, x: assortativity((w > 0).sum(0), w),
    "small_world_sigma": lambda w, c, x: small_world(w, "sigma"),
    "small_world_omega": lambda w, c, x: small_world(w, "omega"),
    "small_world_propensity": lambda w, c, x: small_world(w, "propensity"),
    "eigenvector_centrality": lambda w, c, x: eigenvector_centrality(w),
    "pagerank": lambda w, c, x: bct.pagerank_centrality(w, 0.85),
    "communicability": lambda w, c, x: crofts_higham(w),
    "diffusion_efficiency": lambda w, c, x: diffusion_efficiency(w),
    "spectral_gap": lambda w, c, x: second_smallest(w, True),
    "algebraic_connectivity": lambda w, c, x: second_smallest(w, False),
    "rich_club": lambda w, c, x: rich_club(w),
    "rich_club_binary": lambda w, c, x: rich_club_binary(w),
    "rich_club_normalised": normalised(rich_club),
    "rich_club_binary_normalised": normalised(rich_club_binary),
    "k_core": lambda w, c, x: list(nx.core_number(as_networkx(w)).values()),
    "s_core": lambda w, c, x: s_core(w),
    "matching_index": lambda w, c, x: bct.matching_ind((w > 0).astype(float))[0][edge_indices(len(w))] if len(w) > 1 else np.empty(0),
    **{
        f"{name}_{what}": motif_oracle(name, what)
        for name in ("open_triad", "triangle", "path4", "star4", "cycle4", "paw", "diamond", "clique4")
        for what in ("intensity", "coherence")
    },
    "edge_length": lambda w, c, x: to_vectors(np.where(w != 0, apart(x), np.nan)),
    "mean_edge_length": lambda w, c, x: apart(x)[w != 0].mean() if w.any() else np.nan,
    "wiring_cost": lambda w, c, x: to_vectors(w * apart(x)).sum(),
}

WITH_NULLS = [name for name, one in MEASURES.items() if "nulls" in one.cost]
QUICK = [name for name in MEASURES if name not in WITH_NULLS]


def check(w: NDArray, names: list[str]) -> None:
    """Measures of one graph in float64 and float32 against their oracles; nothing warns but the oracles."""
    modules, places = modules_of(len(w)), places_of(len(w))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = [
            topology.measure(w.astype(kind), names, partition=modules, coordinates=places, seed=SEED) for kind in (np.float64, np.float32)
        ]
    for name in names:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            expected = np.asarray(ORACLES[name](w.copy(), modules, places), dtype=np.float64)
        size = among(np.max, np.abs(expected[np.isfinite(expected)])) if np.isfinite(expected).any() else 1.0
        for table, tolerance in zip(tables, (1e-10, 1e-5), strict=True):
            np.testing.assert_allclose(table[name][0], expected, rtol=tolerance, atol=tolerance * size * 1e-2 + 1e-12, err_msg=name)


def test_every_measure_has_an_oracle() -> None:
    assert ORACLES.keys() == MEASURES.keys() == POWERS.keys()


@pytest.mark.parametrize("graph", [name for name in ZOO if name != "large"])
def test_every_measure_is_right_on_every_kind_of_graph(graph: str) -> None:
    check(ZOO[graph], QUICK)


@pytest.mark.parametrize("graph", ["random", "tied", "isolated"])
def test_measures_against_nulls_are_right(graph: str) -> None:
    check(ZOO[graph], WITH_NULLS)


@pytest.mark.parametrize("graph", SIGNED)
def test_signed_measures_are_right(graph: str) -> None:
    w = SIGNED[graph]
    check(w, [name for name, one in MEASURES.items() if one.signed and name != "modularity"])


@settings(max_examples=12)
@given(st.integers(1, 8), st.floats(0, 1), st.integers(0, 10**6), st.sampled_from(["lognormal", "integer"]))
def test_every_measure_is_right_on_any_small_graph(n: int, density: float, seed: int, kind: str) -> None:
    check(random_graph(n, density, seed, kind), QUICK)


SLOW = [name for name in MEASURES if "motifs_of_four" in MEASURES[name].function or name.startswith("local_efficiency")]


@pytest.mark.parametrize("name", ["corr_kki", "ucl_parkinson"])
def test_every_measure_is_right_on_a_real_graph(name: str, data_folder: Any) -> None:
    """Motifs of four and bctpy's local efficiency take long: these on the strongest regions alone."""
    w = to_matrices(np.asarray(Cohort.load(data_folder(name)).weights[5], dtype=np.float64))
    inner = np.argsort(w.sum(0))[-40:]
    check(w[np.ix_(inner, inner)], QUICK)
    if len(w) < 100:
        check(w, [one for one in QUICK if one not in SLOW])


@pytest.mark.parametrize("name", ["corr_kki", "ucl_parkinson"])
def test_torch_gives_the_same_numbers_on_real_graphs_in_single_precision(name: str, data_folder: Any) -> None:
    from connectome_gnn.topology.dense_torch import TORCH_MEASURES

    cohort = Cohort.load(data_folder(name))
    names = sorted(TORCH_MEASURES - ({"local_efficiency"} if cohort.n_regions > 100 else set()))
    w = np.asarray(cohort.weights[:2], dtype=np.float32)
    exact = topology.measure(w.astype(np.float64), names, partition=cohort.atlas.network)
    dense = topology.measure(w, names, partition=cohort.atlas.network, device="cpu")
    for one in names:
        assert dense[one].dtype in (np.float32, np.int64)
        size = np.nanmax(np.abs(exact[one]), initial=0, where=np.isfinite(exact[one]))
        np.testing.assert_allclose(dense[one], exact[one], rtol=1e-5, atol=1e-7 * size, err_msg=one)


# --- units -----------------------------------------------------------------------------------------------------------

FREE = (
    *("degree", "density", "disconnected", "betweenness", "edge_betweenness", "modularity", "participation", "participation_positive"),
    *("participation_negative", "within_module_z", "assortativity", "degree_assortativity", "small_world_sigma", "small_world_omega"),
    *("small_world_propensity", "eigenvector_centrality", "pagerank", "communicability", "diffusion_efficiency", "spectral_gap"),
    *("rich_club", "rich_club_binary", "rich_club_normalised", "rich_club_binary_normalised", "k_core", "matching_index", "edge_length"),
    *("mean_edge_length", *(name for name in MEASURES if name.endswith("_coherence"))),
)
OF_LENGTH = ("shortest_path_length", "characteristic_path_length", "eccentricity", "radius", "diameter")
OF_WEIGHT = (
    *("strength", "strength_positive", "strength_negative", "clustering", "transitivity", "global_efficiency", "local_efficiency"),
    *("algebraic_connectivity", "s_core", "wiring_cost", *(name for name in MEASURES if name.endswith("_intensity"))),
)
POWERS = {**dict.fromkeys(FREE, 0.0), **dict.fromkeys(OF_LENGTH, -1.0), **dict.fromkeys(OF_WEIGHT, 1.0), "local_efficiency_wang": 1.0}
"""Weights times s make the measure s to this power of what it was."""


@pytest.mark.parametrize("factor", [0.3, 1e6])
def test_units_do_to_every_measure_what_they_should(factor: float) -> None:
    for w in (random_graph(14, 0.5, 3), ZOO["disconnected"]):
        given_too = {"partition": modules_of(len(w)), "coordinates": places_of(len(w))}
        plain, scaled = (topology.measure(one, list(MEASURES), **given_too) for one in (w, factor * w))
        for name, power in POWERS.items():
            np.testing.assert_allclose(scaled[name], factor**power * plain[name], rtol=1e-9, atol=1e-12 * factor**power, err_msg=name)


def test_relabelling_moves_lengths_with_their_regions() -> None:
    w, order = ZOO["isolated"], np.random.default_rng(2).permutation(12)
    names = ["edge_length", "mean_edge_length", "wiring_cost"]
    plain = topology.measure(w, names, coordinates=places_of(12))
    moved = topology.measure(w[np.ix_(order, order)], names, coordinates=places_of(12)[order])
    np.testing.assert_allclose(moved["edge_length"][0], to_vectors(to_matrices(plain["edge_length"][0])[np.ix_(order, order)]), rtol=1e-12)
    for name in names[1:]:
        np.testing.assert_allclose(moved[name], plain[name], rtol=1e-12)

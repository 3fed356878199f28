"""Measures of single regions, modules, wiring, motifs, cores and spectra agree with the libraries people trust, on every awkward graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

import bct
import igraph
import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.csgraph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from zoo import SIGNED, ZOO, random_graph

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology import basic, cores, modules, motifs, spectral, wiring

Oracle = Callable[[NDArray], Any]


def modules_of(n: int) -> NDArray[np.int64]:
    return np.arange(n) % 3


def places_of(n: int) -> NDArray[np.float64]:
    return np.random.default_rng(n).normal(0, 40, (n, 3))


def distances_of(n: int) -> NDArray[np.float64]:
    places = places_of(n)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def as_networkx(w: NDArray) -> nx.Graph:
    return nx.from_numpy_array(w)


def as_igraph(w: NDArray) -> igraph.Graph:
    return igraph.Graph.Weighted_Adjacency(w.tolist(), mode="undirected", loops=False)


def enumerated(w: NDArray, n_edges: int) -> NDArray:
    """Intensity by going through every three regions (bctpy's wheel lacks the file that its motifs need)."""
    intensity = np.zeros(len(w))
    for three in combinations(range(len(w)), 3):
        edges = to_vectors(w[np.ix_(three, three)])
        if (edges > 0).sum() == n_edges:
            intensity[list(three)] += edges[edges > 0].prod() ** (1 / n_edges)
    return intensity


def leading_eigenvector(w: NDArray) -> NDArray:
    return np.abs(np.linalg.eigh(w)[1][:, -1])


def connected(w: NDArray) -> bool:
    return scipy.sparse.csgraph.connected_components(w)[0] == 1


def second_smallest(matrix: NDArray) -> float:
    return scipy.linalg.eigvalsh(matrix)[1]


def matching(w: NDArray) -> NDArray:
    upper = np.triu(bct.matching_ind((w > 0).astype(float))[0], 1)
    return upper + upper.T


def crofts_higham(w: NDArray) -> NDArray:
    root = np.sqrt(w.sum(0))
    root[root == 0] = 1
    return scipy.linalg.expm(w / np.outer(root, root))


# Measure, library, and whether the library defines it for a graph.
ORACLES: dict[str, tuple[Callable[..., Any], Oracle, Callable[[NDArray], bool]]] = {
    "degree, bctpy": (basic.degree, bct.degrees_und, lambda w: True),
    "degree, networkx": (basic.degree, lambda w: [d for _, d in as_networkx(w).degree()], lambda w: True),
    "strength, bctpy": (basic.strength, bct.strengths_und, lambda w: True),
    "strength, igraph": (basic.strength, lambda w: as_igraph(w).strength(weights="weight"), lambda w: w.any()),
    "density, bctpy": (basic.density, lambda w: bct.density_und(w)[0], lambda w: len(w) > 1),
    "density, networkx": (basic.density, lambda w: nx.density(as_networkx(w)), lambda w: len(w) > 1),
    "assortativity, bctpy": (basic.assortativity, bct.assortativity_wei, lambda w: np.ptp(w.sum(0)) > 0),
    "assortativity, binary": (
        lambda w: basic.assortativity(w, binary=True),
        lambda w: nx.degree_assortativity_coefficient(as_networkx(w)),
        lambda w: len(set((w > 0).sum(0)) - {0}) > 1,
    ),
    "assortativity, igraph": (
        basic.assortativity,
        lambda w: as_igraph(w).assortativity(w.sum(0).tolist(), directed=False),
        lambda w: np.ptp(w.sum(0)) > 0,
    ),
    "participation": (
        lambda w: modules.participation(w, modules_of(len(w))),
        lambda w: bct.participation_coef_sign(w, modules_of(len(w)) + 1)[0],
        lambda w: True,
    ),
    "within-module z": (
        lambda w: modules.within_module_z(w, modules_of(len(w))),
        lambda w: bct.module_degree_zscore(w, modules_of(len(w)) + 1),
        lambda w: len(w) > 5,
    ),
    "edge length": (
        lambda w: np.nan_to_num(wiring.edge_length(w, places_of(len(w)))),
        lambda w: distances_of(len(w)) * (w > 0),
        lambda w: True,
    ),
    "mean edge length": (
        lambda w: wiring.mean_edge_length(w, places_of(len(w))),
        lambda w: distances_of(len(w))[w > 0].mean(),
        lambda w: w.any(),
    ),
    "wiring cost": (lambda w: wiring.wiring_cost(w, places_of(len(w))), lambda w: (w * distances_of(len(w))).sum() / 2, lambda w: True),
    "matching index": (motifs.matching_index, matching, lambda w: len(w) > 1),
    "triangles": (motifs.motif_intensity, lambda w: enumerated(w, 3), lambda w: len(w) < 60),
    "open triads": (lambda w: motifs.motif_intensity(w, motif="open"), lambda w: enumerated(w, 2), lambda w: len(w) < 60),
    "k-core, bctpy": (cores.k_core, lambda w: bct.kcoreness_centrality_bu((w > 0).astype(float))[0], lambda w: True),
    "k-core, networkx": (cores.k_core, lambda w: list(nx.core_number(as_networkx(w)).values()), lambda w: True),
    "k-core, igraph": (cores.k_core, lambda w: as_igraph(w).coreness(), lambda w: w.any()),
    "eigenvector": (spectral.eigenvector_centrality, leading_eigenvector, lambda w: connected(w)),
    "eigenvector, bctpy": (spectral.eigenvector_centrality, bct.eigenvector_centrality_und, lambda w: connected(w)),
    "PageRank, bctpy": (spectral.pagerank, lambda w: bct.pagerank_centrality(w, 0.85), lambda w: True),
    "PageRank, igraph": (spectral.pagerank, lambda w: as_igraph(w).pagerank(weights="weight"), lambda w: w.any()),
    "communicability": (spectral.communicability, crofts_higham, lambda w: True),
    "raw communicability": (
        lambda w: spectral.communicability(w, normalise=False),
        scipy.linalg.expm,
        lambda w: w.sum(0).max() < 300,
    ),
    "diffusion efficiency": (
        spectral.diffusion_efficiency,
        lambda w: bct.diffusion_efficiency(w)[0],
        lambda w: len(w) > 1 and connected(w),
    ),
    "spectral gap": (
        spectral.spectral_gap,
        lambda w: second_smallest(scipy.sparse.csgraph.laplacian(w, normed=True)),
        lambda w: len(w) > 1,
    ),
    "spectral gap, networkx": (
        spectral.spectral_gap,
        lambda w: nx.normalized_laplacian_spectrum(as_networkx(w))[1],
        lambda w: len(w) > 1,
    ),
    "Laplacian spectrum": (
        spectral.laplacian_spectrum,
        lambda w: np.sort(nx.normalized_laplacian_spectrum(as_networkx(w))),
        lambda w: True,
    ),
    "raw Laplacian spectrum": (
        lambda w: spectral.laplacian_spectrum(w, normalise=False),
        lambda w: np.sort(nx.laplacian_spectrum(as_networkx(w))),
        lambda w: True,
    ),
    "algebraic connectivity": (
        lambda w: spectral.spectral_gap(w, of="laplacian"),
        lambda w: second_smallest(scipy.sparse.csgraph.laplacian(w)),
        lambda w: len(w) > 1,
    ),
    "adjacency gap": (
        lambda w: spectral.spectral_gap(w, of="adjacency"),
        lambda w: np.subtract(*np.linalg.eigvalsh(w)[[-1, -2]]),
        lambda w: len(w) > 1,
    ),
}


@pytest.mark.parametrize(("oracle", "graph"), [(oracle, graph) for oracle in ORACLES for graph, w in ZOO.items() if ORACLES[oracle][2](w)])
def test_measures_agree(oracle: str, graph: str) -> None:
    (ours, theirs, _), w = ORACLES[oracle], ZOO[graph]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(theirs(w.copy()), dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, single = np.asarray(ours(w)), np.asarray(ours(w.astype(np.float32)))
    scale = np.abs(expected).max(initial=0)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13 + 1e-14 * scale)
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-6 + 1e-6 * scale)


@pytest.mark.parametrize("graph", SIGNED)
def test_signed_forms_agree_with_bctpy(graph: str) -> None:
    w = SIGNED[graph]
    positive, negative = bct.strengths_und_sign(w)[:2]
    np.testing.assert_allclose(basic.strength(w, sign="positive"), positive, rtol=1e-10)
    np.testing.assert_allclose(basic.strength(w, sign="negative"), negative, rtol=1e-10)
    np.testing.assert_allclose(basic.strength(w), w.sum(0), rtol=1e-10)
    partition = modules_of(len(w))
    positive, negative = bct.participation_coef_sign(w, partition + 1)
    np.testing.assert_allclose(modules.participation(w, partition, sign="positive"), positive, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(modules.participation(w, partition, sign="negative"), negative, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(basic.degree(w), (w != 0).sum(0))


def test_motifs_of_four_are_counted_like_networkx_does() -> None:
    """Of each four regions the graph they form, told apart by isomorphism; every region of a motif counts it once."""
    w = random_graph(11, 0.5, 3)
    of_four = motifs.motifs_of_four(w)
    kinds = {"path4": nx.path_graph(4), "star4": nx.star_graph(3), "cycle4": nx.cycle_graph(4), "clique4": nx.complete_graph(4)}
    for name, kind in kinds.items():
        found = [four for four in combinations(range(11), 4) if nx.is_isomorphic(as_networkx(w).subgraph(four), kind)]
        np.testing.assert_array_equal(getattr(of_four, name).number, np.bincount(np.array(found, int).ravel(), minlength=11))
    connected_fours = sum(nx.is_connected(as_networkx(w).subgraph(four)) for four in combinations(range(11), 4))
    assert sum(values.number.sum() for values in of_four) == 4 * connected_fours
    assert of_four.paw.number.dtype == np.int64


def test_motifs_of_equal_weights_are_coherent_and_as_intense_as_they_are_many() -> None:
    for w in (ZOO["complete"], ZOO["ring"], ZOO["star"] / 2, (ZOO["random"] > 0) * 1.0):
        for values in (*motifs.motifs_of_three(w), *motifs.motifs_of_four(w)):
            np.testing.assert_allclose(values.intensity, values.number, rtol=1e-12)
            np.testing.assert_allclose(values.coherence, values.number, rtol=1e-12)
    assert motifs.motifs_of_four(ZOO["ring"]).path4.number.tolist() == [4] * 8
    assert motifs.motifs_of_four(ZOO["star"]).star4.number.tolist() == [20] + [10] * 6
    assert motifs.motifs_of_four(np.stack([ZOO["ring"]] * 3)).paw.coherence.shape == (3, 8)
    np.testing.assert_array_equal(motifs.motif_intensity(ZOO["random"], motif="paw"), motifs.motifs_of_four(ZOO["random"]).paw.intensity)


def test_s_core_agrees_with_bctpy() -> None:
    for w in ZOO.values():
        coreness = cores.s_core(w)
        for level in np.unique(coreness[coreness > 0]):
            inside, size = bct.score_wu(w, level * (1 - 1e-12))
            np.testing.assert_array_equal(coreness >= level * (1 - 1e-12), inside.any(0))
            assert size == (coreness >= level * (1 - 1e-12)).sum()
    binary = (ZOO["large"] > 0).astype(float)
    np.testing.assert_array_equal(cores.s_core(binary), cores.k_core(binary))


def test_disconnected_graphs_have_documented_values() -> None:
    w = ZOO["disconnected"]
    parts = [w[:9, :9], w[11:, 11:]]
    pairs = sum(spectral.diffusion_efficiency(part) * len(part) * (len(part) - 1) for part in parts)
    assert spectral.diffusion_efficiency(w) == pytest.approx(pairs / (17 * 16), rel=1e-12)
    centrality = spectral.eigenvector_centrality(w)
    leading = max(range(2), key=lambda k: np.linalg.eigvalsh(parts[k])[-1])
    assert (centrality[9:] == 0).all() if leading == 0 else (centrality[:11] == 0).all()
    assert np.linalg.norm(centrality) == pytest.approx(1)
    assert spectral.spectral_gap(w) == 0 == spectral.spectral_gap(w, of="laplacian")
    two = np.kron(np.eye(2), parts[1])
    np.testing.assert_allclose(spectral.eigenvector_centrality(two), np.tile(leading_eigenvector(parts[1]), 2) / np.sqrt(2), rtol=1e-10)


def test_values_of_graphs_without_edges_or_pairs() -> None:
    for w in (ZOO["empty"], ZOO["single"]):
        n = len(w)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for zeros in (basic.degree, basic.strength, cores.k_core, cores.s_core, motifs.motif_intensity):
                np.testing.assert_array_equal(zeros(w), np.zeros(n))
            assert np.isnan(basic.assortativity(w)) and np.isnan(wiring.mean_edge_length(w, places_of(n)))
            assert spectral.diffusion_efficiency(w) == 0 == wiring.wiring_cost(w, places_of(n))
            np.testing.assert_allclose(spectral.eigenvector_centrality(w), np.full(n, n**-0.5))
            np.testing.assert_allclose(spectral.pagerank(w), np.full(n, 1 / n))
            np.testing.assert_array_equal(spectral.communicability(w), np.eye(n))
    assert np.isnan(basic.density(ZOO["single"])) and np.isnan(spectral.spectral_gap(ZOO["single"]))
    assert basic.density(ZOO["empty"]) == 0 == spectral.spectral_gap(ZOO["empty"])
    assert np.isnan(basic.assortativity(ZOO["ring"])) and np.isnan(basic.assortativity(ZOO["complete"] * 0.1))


NODAL: dict[str, Callable[[NDArray, NDArray], NDArray]] = {
    "degree": lambda w, c: basic.degree(w),
    "strength": lambda w, c: basic.strength(w),
    "participation": modules.participation,
    "within-module z": modules.within_module_z,
    "triangles": lambda w, c: motifs.motif_intensity(w),
    "open triads": lambda w, c: motifs.motif_intensity(w, motif="open"),
    "k-core": lambda w, c: cores.k_core(w),
    "s-core": lambda w, c: cores.s_core(w),
    "eigenvector": lambda w, c: spectral.eigenvector_centrality(w),
    "PageRank": lambda w, c: spectral.pagerank(w),
}
FREE_OF_SCALE = {"degree", "participation", "within-module z", "k-core", "eigenvector", "PageRank"}


@pytest.mark.parametrize("name", NODAL)
@given(n=st.integers(1, 14), density=st.floats(0, 1), kind=st.sampled_from(["lognormal", "integer"]), seed=st.integers(0, 10**6))
def test_nodal_measures_follow_regions_and_units(name: str, n: int, density: float, kind: str, seed: int) -> None:
    measure, w, partition = NODAL[name], random_graph(n, density, seed, kind), modules_of(n)
    values = measure(w, partition)
    assert np.isfinite(values).all()
    order = np.random.default_rng(seed).permutation(n)
    moved = measure(w[np.ix_(order, order)], partition[order])
    np.testing.assert_allclose(moved, values[order], rtol=1e-7, atol=1e-9)
    scaled = measure(w * 7, partition)
    np.testing.assert_allclose(scaled, values * (1 if name in FREE_OF_SCALE else 7), rtol=1e-7, atol=1e-9)


EDGES: dict[str, Callable[..., NDArray]] = {
    "matching": motifs.matching_index,
    "communicability": spectral.communicability,
}
GLOBAL: dict[str, Callable[..., NDArray]] = {
    "density": basic.density,
    "assortativity": basic.assortativity,
    "diffusion efficiency": spectral.diffusion_efficiency,
    "spectral gap": spectral.spectral_gap,
}


@given(n=st.integers(2, 12), density=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_edge_and_global_measures_follow_regions_and_units(n: int, density: float, seed: int) -> None:
    w, order = random_graph(n, density, seed), np.random.default_rng(seed).permutation(n)
    moved = w[np.ix_(order, order)]
    for name, measure in EDGES.items():
        values = measure(w)[np.ix_(order, order)]
        np.testing.assert_allclose(measure(moved), values, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(measure(3 * w), measure(w), rtol=1e-9, atol=1e-12, err_msg=name)
    for name, measure in GLOBAL.items():
        np.testing.assert_allclose(measure(moved), measure(w), rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(measure(3 * w), measure(w), rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", ["corr_kki", "ucl_parkinson"])
def test_real_connectomes_agree(name: str, data_folder: Any) -> None:
    w = to_matrices(Cohort.load(data_folder(name)).weights[3].astype(np.float64))
    partition = modules_of(len(w))
    for ours, theirs in (
        (basic.strength(w), bct.strengths_und(w)),
        (basic.assortativity(w), bct.assortativity_wei(w)),
        (modules.participation(w, partition), bct.participation_coef(w, partition + 1)),
        (modules.within_module_z(w, partition), bct.module_degree_zscore(w, partition + 1)),
        (cores.k_core(w), list(nx.core_number(as_networkx(w)).values())),
        (spectral.pagerank(w), bct.pagerank_centrality(w, 0.85)),
        (spectral.communicability(w), crofts_higham(w)),
        (spectral.spectral_gap(w), second_smallest(scipy.sparse.csgraph.laplacian(w, normed=True))),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_settings_that_do_not_exist_are_refused() -> None:
    w = ZOO["random"]
    for call, says in (
        (lambda: basic.strength(w, sign="up"), "sign is 'positive', 'negative' or None, got 'up'"),  # type: ignore[arg-type]
        (
            lambda: motifs.motif_intensity(w, motif="square"),
            "motif is one of 'open', 'triangle', 'path4', 'star4', 'cycle4', 'paw', 'diamond', 'clique4', got 'square'",
        ),  # type: ignore[arg-type]
        (lambda: spectral.pagerank(w, damping=1.0), "damping is a probability of 0 or more and below 1, got 1.0"),
        (lambda: spectral.spectral_gap(w, of="cut"), "one of normalised_laplacian, laplacian, adjacency, got 'cut'"),  # type: ignore[arg-type]
        (lambda: spectral.communicability(1000 * w, normalise=False), "weights this large is no number"),
        (lambda: spectral.communicability(np.float32(20 * w), normalise=False), "weights this large is no number"),
        (lambda: modules.participation(w, np.arange(5)), "needs a partition of the 20 regions, one label a region, got shape (5,)"),
        (lambda: modules.participation(w, [None] * 20), "needs a label for every region"),
        (lambda: modules.participation(SIGNED["signed"], np.arange(20)), "participation needs non-negative weights"),
        (lambda: wiring.wiring_cost(w, None), "wiring cost needs the regions' coordinates"),
        (lambda: wiring.wiring_cost(w, np.zeros((5, 3))), "coordinates of 20 regions, (R, 3), got shape (5, 3)"),
        (lambda: wiring.edge_length(w, np.full((20, 3), np.nan)), "region 0 (counted from 0) has none"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ConnectomeError) as error:
                call()
        assert says in str(error.value), str(error.value)

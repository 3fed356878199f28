"""Clustering and transitivity against bctpy and networkx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bct
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.clustering import clustering, transitivity

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}


def random_graph(n: int, density: float, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    upper = np.triu(np.exp(spread * generator.normal(size=(n, n))) * (generator.random((n, n)) < density), 1)
    return upper + upper.T


def isolated() -> np.ndarray:
    w = random_graph(20, 0.5, seed=4)
    w[[3, 11]] = 0
    w[:, [3, 11]] = 0
    return w


GRAPHS = {
    "random": random_graph(40, 0.3),
    "sparse": random_graph(60, 0.04, seed=1),
    "dense": random_graph(33, 0.9, seed=2),
    "several tiles": random_graph(150, 0.3, seed=3),
    "isolated": isolated(),
    "star": nx.to_numpy_array(nx.star_graph(12)),
    "ring": nx.to_numpy_array(nx.cycle_graph(17)),
    "triangle": nx.to_numpy_array(nx.complete_graph(3)),
    "complete": nx.to_numpy_array(nx.complete_graph(64)),
    "whole numbers": np.round(random_graph(25, 0.5, seed=6)),
    "empty": np.zeros((7, 7)),
    "single": np.zeros((1, 1)),
    "wide range": random_graph(40, 0.5, seed=7, spread=8.0),
}


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("name", GRAPHS)
def test_clustering_equals_bctpys(name: str, kind: type) -> None:
    w = GRAPHS[name].astype(kind)
    with np.errstate(all="ignore"):
        theirs = bct.clustering_coef_wu(w.astype(float))
        together = bct.transitivity_wu(w.astype(float))
    ours = clustering(w)
    assert ours.dtype == kind and ours.shape == (len(w),)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[kind])
    np.testing.assert_allclose(transitivity(w), np.nan_to_num(together), rtol=TOLERANCE[kind])


@pytest.mark.parametrize("name", GRAPHS)
def test_normalised_clustering_equals_networkxs(name: str) -> None:
    w = GRAPHS[name]
    theirs = nx.clustering(nx.from_numpy_array(w), weight="weight")
    np.testing.assert_allclose(clustering(w, normalise=True), [theirs[i] for i in range(len(w))], rtol=1e-10)


def test_binary_weights_give_the_binary_measures() -> None:
    graph = nx.gnp_random_graph(50, 0.2, seed=0)
    w = nx.to_numpy_array(graph)
    np.testing.assert_allclose(clustering(w), list(nx.clustering(graph).values()), rtol=1e-12)
    np.testing.assert_allclose(transitivity(w), nx.transitivity(graph), rtol=1e-12)
    assert (clustering(GRAPHS["complete"]) == pytest.approx(1)) and transitivity(GRAPHS["complete"]) == pytest.approx(1)


def test_weights_of_every_layout_give_the_same() -> None:
    w = np.stack([random_graph(12, 0.4, seed) for seed in range(5)])
    vectors = w[:, *edge_indices(12)]
    vectors.setflags(write=False)
    one_by_one = np.stack([clustering(one) for one in w])
    np.testing.assert_array_equal(clustering(w), one_by_one)
    np.testing.assert_array_equal(clustering(vectors, n_jobs=2), one_by_one)
    assert transitivity(w).shape == (5,)


def test_negative_weights_are_refused_by_name() -> None:
    for measure in (clustering, transitivity):
        with pytest.raises(ConnectomeError, match=rf"{measure.__name__} needs non-negative weights"):
            measure(-GRAPHS["ring"])


@pytest.mark.parametrize("name", ["corr_kki", "ucl_parkinson", "lemon"])
def test_real_connectomes(name: str, data_folder: Callable[[str], Path]) -> None:
    weights = Cohort.load(data_folder(name)).weights[:2]
    w = to_matrices(np.maximum(np.asarray(weights, float), 0))
    theirs = np.stack([bct.clustering_coef_wu(one) for one in w])
    np.testing.assert_allclose(clustering(w), theirs, rtol=1e-10)
    np.testing.assert_allclose(clustering(w.astype(np.float32)), theirs, rtol=1e-5)
    np.testing.assert_allclose(transitivity(w), [bct.transitivity_wu(one) for one in w], rtol=1e-10)


@given(st.integers(1, 40), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 2**32 - 1), st.sampled_from([2.0, 0.3, 1e6]))
def test_relabelling_and_scaling(n: int, density: float, seed: int, factor: float) -> None:
    w = random_graph(n, density, seed)
    order = np.random.default_rng(seed).permutation(n)
    ours = clustering(w)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(ours, bct.clustering_coef_wu(w), rtol=1e-10)
    np.testing.assert_allclose(clustering(w[np.ix_(order, order)]), ours[order], rtol=1e-12)
    np.testing.assert_allclose(clustering(factor * w), factor * ours, rtol=1e-12)
    np.testing.assert_allclose(transitivity(factor * w), factor * transitivity(w), rtol=1e-12)
    np.testing.assert_allclose(clustering(factor * w, normalise=True), clustering(w, normalise=True), rtol=1e-12)

from __future__ import annotations

import warnings
from itertools import pairwise

import bct
import igraph
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from zoo import SIGNED, ZOO, random_graph

from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.agreement import adjusted_rand, variation_of_information
from connectome_gnn.topology.communities import consensus, leiden, louvain, modularity

METHODS = {"louvain": louvain, "leiden": leiden}
TIED = {name: matrix for name, matrix in ZOO.items() if matrix.any()}


def planted(n_regions=60, n_communities=4, seed=0, inside=0.7, between=0.08):
    """Weights, and the labels of the communities planted in them, in random order."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n_regions) % n_communities)
    p = np.where(labels[:, None] == labels, inside, between)
    upper = np.triu(generator.lognormal(0, 0.5, p.shape) * (generator.random(p.shape) < p), 1)
    return upper + upper.T, labels


def by_definition(w, labels, gamma):
    """Equation 5 of Rubinov & Sporns 2011, term by term."""
    plus, minus, same = np.maximum(w, 0), np.maximum(-w, 0), labels[:, None] == labels
    quality = 0.0
    if plus.any():
        quality += ((plus - gamma * np.outer(plus.sum(0), plus.sum(0)) / plus.sum()) * same).sum() / plus.sum()
    if minus.any():
        quality -= ((minus - gamma * np.outer(minus.sum(0), minus.sum(0)) / minus.sum()) * same).sum() / np.abs(w).sum()
    return quality


@pytest.mark.parametrize("gamma", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("name", TIED)
def test_modularity_equals_networkx_igraph_and_the_definition(name, gamma):
    w = TIED[name]
    for n_labels in (1, 2, 4):
        labels = np.random.default_rng(n_labels).integers(0, n_labels, len(w))
        ours = modularity(w, labels, gamma=gamma)
        sets = [set(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)]
        graph = igraph.Graph.Weighted_Adjacency(w, mode="undirected")
        np.testing.assert_allclose(ours, nx.community.modularity(nx.from_numpy_array(w), sets, resolution=gamma), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(ours, graph.modularity(labels, graph.es["weight"], gamma), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(ours, by_definition(w, labels, gamma), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("gamma", [1.0, 1.4])
@pytest.mark.parametrize("name", ["signed", "signed and sparse", "random", "large"])
def test_modularity_equals_bctpy_of_the_partition_it_finds(name, gamma):
    w = {**ZOO, **SIGNED}[name]
    labels, quality = bct.community_louvain(w, gamma=gamma, B="negative_asym" if name in SIGNED else "modularity", seed=1)
    np.testing.assert_allclose(modularity(w, labels, gamma=gamma), quality, rtol=1e-10)
    if name in SIGNED and gamma == 1:
        labels, quality = bct.modularity_louvain_und_sign(w, qtype="sta", seed=1)
        np.testing.assert_allclose(modularity(w, labels), quality, rtol=1e-10)


@pytest.mark.parametrize("name", SIGNED)
def test_signed_modularity_equals_its_definition(name):
    w = SIGNED[name]
    labels = np.random.default_rng(0).integers(0, 3, len(w))
    np.testing.assert_allclose(modularity(w, labels, gamma=1.3), by_definition(w, labels, 1.3), rtol=1e-12)


@settings(max_examples=40)
@given(st.integers(2, 25), st.floats(0.05, 1), st.integers(0, 10**6), st.sampled_from(["lognormal", "integer", "signed"]))
def test_modularity_does_not_depend_on_order_names_or_unit(n, density, seed, kind):
    w, generator = random_graph(n, density, seed, kind), np.random.default_rng(seed)
    labels, order = generator.integers(0, 4, n), generator.permutation(n)
    quality = modularity(w, labels)
    shuffled = w[np.ix_(order, order)]
    np.testing.assert_allclose(modularity(shuffled, np.array([*"wxyz"])[labels[order]]), quality, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(modularity(w * 1e-9, labels), quality, rtol=1e-10, atol=1e-13)
    if w.any():
        np.testing.assert_allclose(modularity(np.maximum(w, 0), np.zeros(n)), 0 if (w > 0).any() else np.nan, atol=1e-13)


@settings(max_examples=40)
@given(st.integers(1, 25), st.floats(0, 1), st.integers(0, 10**6), st.sampled_from(["lognormal", "integer", "signed"]), st.floats(0, 3))
def test_no_move_of_one_region_raises_modularity(n, density, seed, kind, gamma):
    w = random_graph(n, density, seed, kind)
    for method in METHODS.values():
        labels, quality = method(w, gamma=gamma, seed=seed)
        np.testing.assert_allclose(quality, modularity(w, labels, gamma=gamma))
        assert list(dict.fromkeys(labels)) == list(range(labels.max() + 1))
        if w.any():
            for region in range(n):
                for label in range(labels.max() + 2):
                    moved = np.where(np.arange(n) == region, label, labels)
                    assert modularity(w, moved, gamma=gamma, n_jobs=1) <= quality + 1e-10


@pytest.mark.parametrize("method", [louvain, leiden, lambda w: consensus(w, n_runs=10), lambda w: consensus(w, n_runs=10, method="leiden")])
def test_planted_communities_are_found(method):
    for seed in range(4):
        w, labels = planted(seed=seed)
        found = method(w)
        assert adjusted_rand(found.labels, labels) == 1
        np.testing.assert_allclose(found.modularity, modularity(w, labels))


def test_the_optimum_of_the_karate_club_is_found():
    w = nx.to_numpy_array(nx.karate_club_graph(), weight=None)
    for method in METHODS.values():
        np.testing.assert_allclose(method(w, n_runs=30).modularity, 0.4197896, atol=1e-7)


def test_louvain_is_at_least_as_good_as_bctpy_igraph_and_networkx():
    gains = []
    for seed in range(16):
        w = planted(60, 4, seed, 0.35, 0.2)[0] if seed % 2 else random_graph(60, 0.3, seed)
        graph, theirs = nx.from_numpy_array(w), igraph.Graph.Weighted_Adjacency(w, mode="undirected")
        ours = louvain(w, seed=seed).modularity
        gains.append(
            [
                ours - bct.community_louvain(w, seed=seed)[1],
                ours - theirs.community_multilevel(theirs.es["weight"]).modularity,
                ours - nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=seed)),
            ]
        )
    assert (np.mean(gains, 0) > 0).all()


def test_leiden_communities_are_connected():
    for seed in range(20):  # some with isolated regions
        w = random_graph(50, 0.06, seed)
        labels = leiden(w, gamma=0.3, seed=seed).labels
        for community in range(labels.max() + 1):
            inside = labels == community
            assert connected_components(w[np.ix_(inside, inside)], directed=False)[0] == 1


def test_leiden_by_igraph_is_scored_by_us():
    w, labels = planted()
    many = np.stack([w, random_graph(60, 0.3, 1)])
    found = leiden(many, backend="igraph", n_runs=3, seed=5)
    assert adjusted_rand(found.labels[0], labels) == 1
    np.testing.assert_allclose(found.modularity, modularity(many, found.labels))
    np.testing.assert_array_equal(found.labels, leiden(many, backend="igraph", n_runs=3, seed=5).labels)
    assert np.isnan(leiden(np.zeros((4, 4)), backend="igraph").modularity)


def test_leiden_is_as_good_as_igraphs():
    w = np.stack([planted(60, 4, seed, 0.35, 0.2)[0] if seed % 2 else random_graph(60, 0.3, seed) for seed in range(20)])
    for gamma in (1.0, 1.5):
        ours, theirs = (leiden(w, gamma=gamma, n_runs=3, seed=1, backend=backend).modularity for backend in ("numba", "igraph"))
        assert np.mean(ours - theirs) > -1e-3 and np.corrcoef(ours, theirs)[0, 1] > 0.99


@pytest.mark.parametrize("method", METHODS.values())
def test_more_runs_are_never_worse(method):
    w = np.stack([random_graph(40, 0.2, seed) for seed in range(5)])
    qualities = [method(w, n_runs=n, seed=3).modularity for n in (1, 3, 10)]
    assert all((later >= earlier).all() for earlier, later in pairwise(qualities))
    assert (qualities[2] > qualities[0]).any()


def test_a_higher_resolution_gives_more_communities():
    w = random_graph(60, 0.4, 1)
    n_communities = [louvain(w, gamma=gamma, n_runs=3).labels.max() + 1 for gamma in (0, 0.5, 1, 2, 6)]
    assert n_communities == sorted(n_communities)
    assert n_communities[0] == 1 < n_communities[2] < n_communities[4]


@pytest.mark.parametrize("method", [louvain, leiden, lambda w, **options: consensus(w, n_runs=8, **options)])
def test_communities_depend_on_the_seed_alone(method):
    w = np.stack([random_graph(40, 0.15, seed, kind) for seed in range(4) for kind in ("lognormal", "signed")])
    first = method(w, seed=3, n_jobs=1)
    assert first.labels.shape == (8, 40) and first.labels.dtype == np.int64 and first.modularity.shape == (8,)
    for again in (method(w, seed=3, n_jobs=2), method(to_vectors(w), seed=3), method(np.asfortranarray(w), seed=3)):
        np.testing.assert_array_equal(first.labels, again.labels)
        np.testing.assert_array_equal(first.modularity, again.modularity)
    alone = method(w[0], seed=3)
    assert alone.labels.shape == (40,) and np.ndim(alone.modularity) == 0
    np.testing.assert_array_equal(alone.labels, first.labels[0])
    assert (method(w, seed=4).labels != first.labels).any()


def test_consensus_varies_less_from_seed_to_seed_than_single_runs():
    w = random_graph(60, 0.3, 2)
    single = np.stack([louvain(w, seed=seed).labels for seed in range(6)])
    agreed = np.stack([consensus(w, seed=seed).labels for seed in range(6)])
    spread = [np.mean([variation_of_information(one, several) for one in several]) for several in (single, agreed)]
    assert spread[1] < 0.6 * spread[0]


@pytest.mark.parametrize("method", [louvain, leiden, consensus])
@pytest.mark.parametrize("name", [*ZOO, *SIGNED])
def test_awkward_graphs_have_the_documented_communities(name, method):
    w = {**ZOO, **SIGNED}[name]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        labels, quality = method(w)
    np.testing.assert_array_equal(quality, modularity(w, labels))
    if not w.any():
        assert np.isnan(quality)
        np.testing.assert_array_equal(labels, np.arange(len(w)))
    else:
        assert -0.5 <= quality <= 1
    if name == "complete":
        assert labels.max() == 0 and abs(quality) < 1e-12
    for region in np.flatnonzero(~w.any(0)):
        assert (labels == labels[region]).sum() == 1


def test_float32_and_read_only_weights():
    w = np.stack([planted(seed=seed)[0] for seed in range(3)])
    labels, quality = louvain(w)
    small = w.astype(np.float32)
    small.setflags(write=False)
    again = louvain(small)
    np.testing.assert_array_equal(again.labels, labels)
    np.testing.assert_allclose(again.modularity, quality, rtol=1e-5)
    np.testing.assert_allclose(modularity(small, labels[0]), modularity(w, labels[0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: modularity(w, [0, 1, 1]), "partition of the 20 regions"),
        (lambda w: modularity(w, np.zeros(20), gamma=-1), "gamma must be a finite number, 0 or more, got -1"),
        (lambda w: louvain(w, gamma=np.nan), "gamma must be a finite number"),
        (lambda w: louvain(w, gamma="high"), "gamma must be a finite number, 0 or more, got 'high'"),
        (lambda w: louvain(w, n_runs=1.5), "n_runs is a whole number, got 1.5"),
        (lambda w: louvain(w, n_runs=0), "n_runs must be 1 or more, got 0"),
        (lambda w: louvain(np.where(w > 2, np.nan, w)), "louvain needs finite weights"),
        (lambda w: leiden(w, backend="networkit"), 'backend="numba" or "igraph", got \'networkit\''),
        (lambda w: leiden(-w, backend="igraph"), "leiden with igraph needs non-negative weights"),
        (lambda w: consensus(w, method="infomap"), 'method="louvain" or "leiden", got \'infomap\''),
        (lambda w: consensus(w, threshold=0), "threshold above 0 and at most 1"),
        (lambda w: consensus(w, n_runs=0), "n_runs must be 1 or more"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, says):
    with pytest.raises(ConnectomeError, match=says) as caught:
        call(random_graph(20, 0.5, 1))
    assert "\n" not in str(caught.value)

from __future__ import annotations

import warnings
from collections import Counter
from itertools import combinations

import bct
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from zoo import SIGNED, ZOO, random_graph, ring

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.topology.clustering import clustering
from connectome_gnn.topology.nulls import degree_preserving, geometry_preserving, lattice, strength_preserving


def positions(n):
    return np.random.default_rng(n).normal(0, 40, (n, 3))


def geometric(n, seed=0):
    """Weights that are likelier and larger for near regions, and the distances."""
    xyz, generator = positions(n), np.random.default_rng(seed)
    distances = np.linalg.norm(xyz[:, None] - xyz, axis=-1)
    near = np.exp(-distances / 30)
    upper = np.triu((generator.random((n, n)) < 0.3 * near / near.mean()) * generator.lognormal(0, 1, (n, n)) * near, 1)
    return upper + upper.T, distances


def loose_strength(w, n_nulls=1, **options):
    return strength_preserving(w, n_nulls, tolerance=1e9, **options)


def in_space(w, n_nulls=1, **options):
    return geometry_preserving(w, positions(np.shape(w)[-1]), n_nulls, **options)


NULLS = {"degree": degree_preserving, "strength": loose_strength, "geometry": in_space, "lattice": lattice}


def edges_of(nulls):
    """Which graph each null is, as bytes."""
    return [row.tobytes() for row in (to_vectors(nulls) > 0)]


def overlap(null, w):
    return ((null > 0) & (w > 0)).sum() / (w > 0).sum()


def same_degrees(degrees):
    """All graphs of these degrees, as edge vectors."""
    n = len(degrees)
    pairs = list(combinations(range(n), 2))
    return [
        np.isin(np.arange(len(pairs)), edges)
        for edges in combinations(range(len(pairs)), sum(degrees) // 2)
        if np.array_equal(np.bincount([region for edge in edges for region in pairs[edge]], minlength=n), degrees)
    ]


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("name", ZOO)
def test_degrees_and_weights_are_kept_exactly(name, null):
    w = ZOO[name]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        nulls = NULLS[null](w, 3, seed=2)
    assert nulls.shape == (3, *w.shape) and nulls.dtype == np.float64
    for one in nulls:
        np.testing.assert_array_equal(one, one.T)
        np.testing.assert_array_equal((one > 0).sum(0), (w > 0).sum(0))
        np.testing.assert_array_equal(np.sort(to_vectors(one)), np.sort(to_vectors(w)))
    if name in ("star", "complete", "empty", "pair", "single"):
        np.testing.assert_array_equal(nulls, [w] * 3)


@settings(max_examples=30)
@given(st.integers(2, 20), st.floats(0, 1), st.integers(0, 10**6), st.sampled_from([*NULLS]))
def test_degrees_and_weights_are_kept_exactly_whatever_the_graph(n, density, seed, null):
    w = random_graph(n, density, seed)
    one = NULLS[null](w, seed=seed, rewirings=7)[0]
    np.testing.assert_array_equal(one, one.T)
    np.testing.assert_array_equal((one > 0).sum(0), (w > 0).sum(0))
    np.testing.assert_array_equal(np.sort(to_vectors(one)), np.sort(to_vectors(w)))


@pytest.mark.parametrize("null", NULLS)
def test_nulls_depend_on_the_seed_alone(null):
    make = NULLS[null]
    w = np.stack([random_graph(20, density, 1) for density in (0.2, 0.4, 0.8)])
    nulls = make(w, 4, seed=5, n_jobs=1)
    assert nulls.shape == (3, 4, 20, 20)
    np.testing.assert_array_equal(nulls, make(w, 4, seed=5, n_jobs=2))
    np.testing.assert_array_equal(nulls[0], make(w[0], 4, seed=5))
    np.testing.assert_array_equal(nulls[:, :2], make(w, 2, seed=5))
    assert len(set(edges_of(nulls[1]))) == 4
    assert (nulls != make(w, 4, seed=6)).any()
    if null != "geometry":
        np.testing.assert_array_equal(nulls, make(to_vectors(w), 4, seed=5))
    small = make(w.astype(np.float32), 4, seed=5)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small > 0, nulls > 0)


@pytest.mark.parametrize("degrees", [(2,) * 6, (3, 2, 2, 2, 2, 1), (3,) * 6, (4, 3, 3, 3, 3, 2)])
def test_every_graph_of_the_same_degrees_is_as_likely(degrees):
    every = same_degrees(degrees)
    start = np.zeros((6, 6))
    start[edge_indices(6)] = every[0]
    counts = Counter(edges_of(degree_preserving(start + start.T, 200 * len(every), seed=1)))
    assert len(counts) == len(every) > 20
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_every_way_to_deal_the_weights_out_is_as_likely():
    w = np.zeros((4, 4))
    w[[0, 1, 2], [1, 2, 3]] = 1, 2, 3
    counts = Counter(map(bytes, degree_preserving(w + w.T, 6000, seed=2)))
    assert len(counts) == 2 * 6  # of degrees 1, 2, 2, 1 there are two graphs; three weights
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_every_graph_of_the_same_degrees_and_lengths_is_as_likely():
    pairs, generator = edge_indices(7), np.random.default_rng(1)
    places = generator.normal(size=(7, 3))
    lengths = np.linalg.norm(places[pairs[0]] - places[pairs[1]], axis=-1)
    every = same_degrees((3, 3, 2, 2, 2, 2, 2))
    start = next(graph for graph in every if graph[lengths.argmin()] and graph[lengths.argmax()])  # so that no pair is out of bounds
    cut = np.sort(lengths[start])[4]  # two bins of four edges each
    allowed = [graph for graph in every if (graph & (lengths < cut)).sum() == 4]
    w = np.zeros((7, 7))
    w[pairs] = start
    counts = Counter(edges_of(geometry_preserving(w + w.T, places, 100 * len(allowed), n_bins=2, seed=3)))
    assert counts.keys() <= {graph.tobytes() for graph in allowed}
    assert len(counts) > 0.5 * len(allowed) > 20
    assert chisquare(list(counts.values())).pvalue > 1e-3


def keeps_signs(null, w):
    """Positive and negative degrees, and the weights, are those of w."""
    np.testing.assert_array_equal(null, null.T)
    np.testing.assert_array_equal((null > 0).sum(0), (w > 0).sum(0))
    np.testing.assert_array_equal((null < 0).sum(0), (w < 0).sum(0))
    np.testing.assert_array_equal(np.sort(to_vectors(null)), np.sort(to_vectors(w)))


@pytest.mark.parametrize("null", ["degree", "strength"])
@pytest.mark.parametrize("name", SIGNED)
def test_signed_degrees_and_weights_are_kept_exactly(name, null):
    w = SIGNED[name]
    nulls = NULLS[null](w, 4, seed=2)
    for one in nulls:
        keeps_signs(one, w)
    assert np.mean([np.sign(one) == np.sign(w) for one in nulls]) < 0.9 and len({one.tobytes() for one in nulls}) == 4
    np.testing.assert_array_equal(nulls, NULLS[null](np.stack([w, w]), 4, seed=2, n_jobs=2)[0])
    keeps_signs(NULLS[null](w.astype(np.float32), seed=2)[0], w.astype(np.float32))


@settings(max_examples=30)
@given(st.integers(2, 16), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6))
def test_signed_degrees_are_kept_whatever_the_graph(n, density, negative, seed):
    w, flip = random_graph(n, density, seed), np.random.default_rng(seed).random((n, n)) < negative
    w = np.where(np.triu(flip) | np.triu(flip).T, -w, w)
    keeps_signs(degree_preserving(w, seed=seed, rewirings=7)[0], w)


def test_every_signed_graph_of_the_same_degrees_is_as_likely():
    """Four regions, each with one positive, one negative and one missing edge: the ways to match them up, three times over."""
    w = np.zeros((4, 4))
    w[0, 1] = w[2, 3] = 1
    w[0, 2] = w[1, 3] = -1
    nulls = to_vectors(degree_preserving(w + w.T, 3000, seed=1))
    counts = Counter(row.tobytes() for row in nulls)
    assert len(counts) == 6  # which matching is positive, and which negative
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_signed_rewiring_is_that_of_bctpy():
    """The overlap with the graph that bctpy's steps end at, in a dense and in a sparse graph."""
    for density in (1.0, 0.4):
        w = random_graph(24, density, 5, "signed")
        theirs = [bct.randmio_und_signed(w, 5, seed=seed)[0] for seed in range(5)]
        for one in theirs:
            keeps_signs(one, w)
        same = [[(np.sign(one) == np.sign(w))[w != 0].mean() for one in several] for several in (degree_preserving(w, 20), theirs)]
        assert abs(np.mean(same[0]) - np.mean(same[1])) < 0.04


def test_signed_strengths_are_kept_to_the_tolerance_and_correlate_more_than_bctpys():
    w = random_graph(50, 1.0, 3, "signed")
    nulls, theirs = strength_preserving(w, 5, seed=1), bct.null_model_und_sign(w, seed=1)[1]
    for part, rival in ((np.maximum(w, 0), theirs[0]), (np.maximum(-w, 0), theirs[2])):
        for one in nulls:
            kept = np.maximum(one if rival == theirs[0] else -one, 0).sum(0)
            assert np.abs(kept - part.sum(0)).max() < 0.01 * part.sum(0).mean() * (1 + 1e-9)
            assert np.corrcoef(kept, part.sum(0))[0, 1] > max(0.99, rival)
    assert np.mean([(np.sign(one) == np.sign(w))[w != 0].mean() for one in nulls]) < 0.7


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5])
def test_rewiring_mixes(density):
    w = random_graph(80, density, 1)
    short, default, long = (np.mean([overlap(one, w) for one in degree_preserving(w, 10, rewirings=r)]) for r in (1, 20, 200))
    assert short > 1.05 * long
    assert abs(default - long) < 0.03
    shuffled = degree_preserving(w, 10)
    ranks = np.corrcoef(to_vectors(shuffled)[to_vectors(shuffled) > 0], np.tile(to_vectors(w)[to_vectors(w) > 0], 10))[0, 1]
    assert abs(ranks) < 0.1


def test_random_graphs_cluster_like_those_of_bctpy():
    w = nx.to_numpy_array(nx.connected_watts_strogatz_graph(40, 6, 0.1, seed=1))
    theirs = [clustering(bct.randmio_und(w, 5, seed=seed)[0]).mean() for seed in range(15)]
    ours = clustering(degree_preserving(w, 100)).mean(1)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * np.std(theirs) / np.sqrt(15)


def test_geometry_is_kept_and_degree_alone_does_not_keep_it():
    w, distances = geometric(60)
    cost, wiring = (w * distances).sum(), ((w > 0) * distances).sum()
    nulls = geometry_preserving(w, positions(60), 10)
    for one in nulls:
        np.testing.assert_allclose((one * distances).sum(), cost, rtol=0.03)
        np.testing.assert_allclose(((one > 0) * distances).sum(), wiring, rtol=0.03)
        assert overlap(one, w) < 0.85
    assert (degree_preserving(w)[0] * distances).sum() > 1.15 * cost
    cuts = np.sort(distances[np.triu(w) > 0])
    cuts = cuts[np.arange(1, 20) * len(cuts) // 20]
    bins = np.searchsorted(cuts, distances, side="right")
    for b in range(20):
        here = np.triu(bins == b, 1)
        expected = np.sort(w[here & (w > 0)])
        for one in nulls:
            np.testing.assert_array_equal(np.sort(one[here & (one > 0)]), expected)
    np.testing.assert_array_equal(nulls, geometry_preserving(w, n_nulls=10, distances=distances))


def test_strengths_are_kept_to_the_tolerance():
    w = np.stack([random_graph(60, density, seed) for seed, density in enumerate((0.4, 0.6, 1.0))])
    strength = w.sum(1)[:, None]
    for tolerance in (0.05, 0.01):
        nulls = strength_preserving(w, 4, tolerance=tolerance, seed=1)
        error = np.abs(nulls.sum(-1) - strength).max(-1) / strength.mean(-1)
        assert (error <= tolerance * (1 + 1e-9)).all()
    assert (np.abs(degree_preserving(w, 4).sum(-1) - strength).max(-1) / strength.mean(-1) > 0.2).all()
    assert np.mean([overlap(one, w[1]) for one in nulls[1]]) < 0.6
    single = strength_preserving(w[1].astype(np.float32), tolerance=0.01)[0]
    assert np.abs(single.sum(0) - w[1].sum(0)).max() < 0.011 * w[1].sum(0).mean()


def test_strengths_that_cannot_be_kept_are_told():
    w = ring(8)
    w[0, 1] = w[1, 0] = 100
    w[4, 5] = w[5, 4] = 7
    with pytest.warns(ConnectomeWarning, match=r"of 20 strength-preserving nulls keep strengths only to within .* not 1e-06"):
        strength_preserving(w + np.diag(np.full(4, 0.3), 4) + np.diag(np.full(4, 0.3), -4), 20, tolerance=1e-6)


def test_a_real_connectome_keeps_its_degrees_weights_and_strengths(data_folder):
    w = Cohort.load(data_folder("ucl_parkinson")).weights[:1].astype(np.float64)
    own = to_matrices(w)[0]
    null = strength_preserving(w, seed=1)[0, 0]
    np.testing.assert_array_equal((null > 0).sum(0), (own > 0).sum(0))
    np.testing.assert_array_equal(np.sort(to_vectors(null)), np.sort(w[0]))
    assert np.abs(null.sum(0) - own.sum(0)).max() < 0.01 * own.sum(0).mean()
    assert overlap(null, own) < 0.8


def test_lattices_cluster_more_than_graphs_and_these_more_than_random_ones():
    w, _ = geometric(60)
    of = [clustering(one).mean() for one in (lattice(w)[0], w, degree_preserving(w)[0])]
    assert of[0] > 1.2 * of[1] > 1.2 * of[2]
    binary = (w > 0) * 1.0
    theirs = clustering(bct.latmio_und(binary, 3, seed=1)[0]).mean()
    assert clustering(lattice(binary)[0]).mean() > 0.9 * theirs


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: lattice(-w), "lattice needs non-negative weights"),
        (lambda w: geometry_preserving(-w, positions(20)), "geometry_preserving needs non-negative weights"),
        (lambda w: degree_preserving(w, 0), "n_nulls must be 1 or more, got 0"),
        (lambda w: degree_preserving(w, 2.5), "n_nulls is a whole number, got 2.5"),
        (lambda w: geometry_preserving(w, distances="far"), "distances as numbers"),
        (lambda w: lattice(w, rewirings=0), "rewirings must be 1 or more, got 0"),
        (lambda w: strength_preserving(w, tolerance=0), "tolerance above 0"),
        (lambda w: strength_preserving(w, tolerance=np.nan), "tolerance above 0"),
        (lambda w: geometry_preserving(w), "needs the regions' coordinates"),
        (lambda w: geometry_preserving(w, positions(7)), "geometry_preserving needs coordinates of 20 regions"),
        (lambda w: geometry_preserving(w, positions(20), n_bins=0), "n_bins must be 1 or more, got 0"),
        (lambda w: geometry_preserving(w, distances=np.ones((3, 3))), r"distances between 20 regions, \(R, R\), got shape \(3, 3\)"),
        (lambda w: geometry_preserving(w, distances=np.full((20, 20), np.inf)), "finite, symmetric distances"),
        (lambda w: geometry_preserving(w, distances=np.triu(np.ones((20, 20)))), "finite, symmetric distances"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, says):
    with pytest.raises(ConnectomeError, match=says) as caught:
        call(random_graph(20, 0.5, 1))
    assert "\n" not in str(caught.value)

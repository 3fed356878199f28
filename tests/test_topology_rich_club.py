from __future__ import annotations

import warnings

import bct
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import ZOO, random_graph

from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.rich_club import normalised_rich_club, rich_club
from connectome_gnn.topology.small_world import against_nulls


@pytest.mark.parametrize("name", ZOO)
def test_weighted_equals_bctpy(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = bct.rich_club_wu(ZOO[name]) if ZOO[name].any() else np.empty(0)
    ours = rich_club(ZOO[name])
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-10)
    assert np.isnan(ours[len(theirs) :]).all()


@pytest.mark.parametrize("name", [name for name in ZOO if len(ZOO[name]) > 3])
def test_binary_equals_networkx_from_the_least_degree_on(name):
    w = ZOO[name]
    ours, least = rich_club(w, weighted=False), (w > 0).sum(0).min()
    theirs = nx.rich_club_coefficient(nx.from_numpy_array(w), normalized=False) if w.any() else {}
    expected = np.array([theirs.get(k, np.nan) if k >= least else np.nan for k in range(len(w) - 1)])
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ZOO)
def test_awkward_graphs_have_documented_values_and_no_warning(name, weighted):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        ours = rich_club(ZOO[name], weighted=weighted)
    assert ours.shape == (len(ZOO[name]) - 1,)
    assert ((ours >= 0) & (ours <= 1 + 1e-12) | np.isnan(ours)).all()
    if name in ("empty", "complete", "ring", "single", "pair", "star"):
        assert np.isnan(ours[1:] if name == "star" else ours).all()


@settings(max_examples=40)
@given(st.integers(1, 25), st.floats(0, 1), st.integers(0, 10**6), st.sampled_from(["lognormal", "integer"]), st.booleans())
def test_order_and_unit_do_not_matter(n, density, seed, kind, weighted):
    w = random_graph(n, density, seed, kind)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(rich_club(w[np.ix_(order, order)] * 1e-6, weighted=weighted), rich_club(w, weighted=weighted), rtol=1e-10)


def test_cohorts_vectors_and_float32():
    w = np.stack([random_graph(20, 0.4, seed) for seed in range(3)])
    ours = rich_club(w)
    assert ours.shape == (3, 19)
    np.testing.assert_array_equal(ours[1], rich_club(w[1]))
    np.testing.assert_array_equal(ours, rich_club(to_vectors(w), n_jobs=1))
    np.testing.assert_allclose(rich_club(w.astype(np.float32)), ours, rtol=1e-5)


def test_negative_weights_are_refused():
    with pytest.raises(ConnectomeError, match="rich_club needs non-negative weights"):
        rich_club(-random_graph())


@pytest.mark.parametrize("weighted", [True, False])
def test_normalised_is_the_ratio_to_nulls(weighted):
    w = np.stack([random_graph(20, 0.4, seed) for seed in range(3)])
    ours = normalised_rich_club(w, weighted=weighted, n_nulls=20, seed=3)
    against = against_nulls(w, lambda one: rich_club(one, weighted=weighted), n_nulls=20, seed=3)
    np.testing.assert_array_equal(ours, against.ratio)
    assert normalised_rich_club(w[0].astype(np.float32), n_nulls=2).dtype == np.float32
    assert np.isfinite(ours).any() and np.nanmin(ours) > 0.3 and np.nanmax(ours) < 3


def test_normalised_rich_clubs_of_negative_weights_are_refused():
    with pytest.raises(ConnectomeError, match="normalised_rich_club needs non-negative weights, got .* of graph 1"):
        normalised_rich_club(np.stack([random_graph(), -random_graph()]))
    with pytest.raises(ConnectomeError, match="n_nulls must be 1 or more, got 0"):
        normalised_rich_club(random_graph(), n_nulls=0)

from __future__ import annotations

import warnings

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from zoo import ZOO, random_graph

from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.topology.clustering import clustering
from connectome_gnn.topology.communities import louvain
from connectome_gnn.topology.nulls import degree_preserving, geometry_preserving, lattice, strength_preserving
from connectome_gnn.topology.paths import characteristic_path_length
from connectome_gnn.topology.rich_club import rich_club
from connectome_gnn.topology.small_world import AgainstNulls, against_nulls, omega, propensity, sigma, small_world


def mean_clustering(w):
    return clustering(w, n_jobs=1).mean()


def watts_strogatz(rewired, n=60, k=8, seed=1):
    w = nx.to_numpy_array(nx.connected_watts_strogatz_graph(n, k, rewired, seed=seed))
    noise = np.random.default_rng(seed).lognormal(0, 0.3, w.shape)
    return w * np.sqrt(noise * noise.T)


@settings(max_examples=40)
@given(arrays(float, (6, 30), elements=st.floats(-5, 5)), st.sampled_from(["two-sided", "greater", "less"]))
def test_z_and_p_are_their_formulas(nulls, alternative):
    observed = np.arange(6.0) - 2
    ours = AgainstNulls.of(observed, nulls, alternative, axis=1)
    sd = nulls.std(1, ddof=1)
    varies = sd > 1e-9
    np.testing.assert_allclose(ours.mean, nulls.mean(1), atol=1e-12)
    np.testing.assert_allclose(ours.z[varies], (observed - nulls.mean(1))[varies] / sd[varies], rtol=1e-9)
    greater, less = ((1 + (side).sum(1)) / 31 for side in (nulls >= observed[:, None], nulls <= observed[:, None]))
    expected = {"greater": greater, "less": less, "two-sided": np.minimum(1, 2 * np.minimum(greater, less))}[alternative]
    np.testing.assert_allclose(ours.p, expected)
    assert ours.n_nulls == 30


def test_what_is_not_defined_is_left_out_or_nan():
    nan = np.nan
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        ours = AgainstNulls.of([1.0, nan, 1.0, 2.0, 0.0], [[1, 1, nan, 2, 0], [3, 2, nan, 2, 0], [nan, 3, nan, 2, 0]], "greater")
    np.testing.assert_allclose(ours.mean, [2, 2, nan, 2, 0])
    np.testing.assert_allclose(ours.sd, [np.sqrt(2), 1, nan, 0, 0])
    np.testing.assert_allclose(ours.ratio, [0.5, nan, nan, 1, nan])
    np.testing.assert_allclose(ours.z, [-np.sqrt(0.5), nan, nan, nan, nan])
    np.testing.assert_allclose(ours.p, [1, nan, nan, 1, 1])


@pytest.mark.parametrize("null", ["degree", "lattice", "strength", "geometry"])
def test_the_nulls_are_those_of_the_null_models(null):
    w = np.stack([random_graph(24, 0.4, seed) for seed in range(3)])
    xyz = np.random.default_rng(0).normal(size=(24, 3))
    made = {
        "degree": lambda: degree_preserving(w, 6, seed=4),
        "lattice": lambda: lattice(w, 6, seed=4),
        "strength": lambda: strength_preserving(w, 6, tolerance=9, seed=4),
        "geometry": lambda: geometry_preserving(w, xyz, 6, seed=4),
    }[null]()
    ours = against_nulls(w, mean_clustering, null=null, n_nulls=6, coordinates=xyz, tolerance=9, seed=4)
    values = np.array([[mean_clustering(one) for one in several] for several in made])
    np.testing.assert_allclose(ours.observed, [mean_clustering(one) for one in w], rtol=1e-12)
    np.testing.assert_allclose(ours.mean, values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(ours.sd, values.std(1, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(ours.ratio, ours.observed / ours.mean)


def test_signed_graphs_have_nulls_too():
    w = np.stack([random_graph(24, 1.0, seed, "signed") for seed in range(2)])
    w += 0.4 * np.where(np.arange(24)[:, None] % 2 == np.arange(24) % 2, 1, -1) * (w != 0)

    def quality(one):
        return louvain(one, n_jobs=1).modularity

    ours = against_nulls(w, quality, n_nulls=99, alternative="greater", seed=2)
    np.testing.assert_allclose(ours.observed, louvain(w).modularity, atol=0.02)
    assert (ours.p < 0.05).all() and (ours.z > 2).all()
    again = against_nulls(w, lambda one: np.maximum(one, 0).sum(0), null="strength", n_nulls=3, tolerance=0.05)
    np.testing.assert_allclose(again.ratio, 1, atol=0.3)
    with pytest.raises(ConnectomeError, match="lattice nulls needs non-negative weights"):
        against_nulls(w, quality, null="lattice")


def test_a_normalised_rich_club():
    rich = random_graph(40, 0.15, 3)
    hubs = np.ix_(range(8), range(8))
    rich[hubs] = random_graph(8, 1.0, 4)[hubs] * 5
    spokes = np.zeros((40, 40))
    spokes[:8, 8:] = np.random.default_rng(0).random((8, 32)) < 0.4
    w = np.maximum(rich, spokes + spokes.T)
    ours = against_nulls(np.stack([w, w]), rich_club, alternative="greater", n_nulls=200)
    assert ours.observed.shape == ours.ratio.shape == ours.p.shape == (2, 39)
    level = int(np.sort((w > 0).sum(0))[-9])  # the eight hubs have more edges
    assert (ours.ratio[:, level] > 1.2).all() and (ours.p[:, level] < 0.01).all() and (ours.z[:, level] > 3).all()
    assert np.isnan(ours.p[:, : int((w > 0).sum(0).min())]).all()


def test_p_of_random_graphs_is_uniform():
    w = np.stack([random_graph(16, 0.4, seed, "integer") for seed in range(120)])
    w = np.stack([degree_preserving(one, seed=1000 + seed)[0] for seed, one in enumerate(w)])
    p = against_nulls(w, mean_clustering, n_nulls=99, alternative="greater").p
    assert 0.4 < p.mean() < 0.6 and 0.02 < (p <= 0.1).mean() < 0.2


def test_small_worlds_rings_and_random_graphs_are_told_apart():
    regular, small, random = (small_world(watts_strogatz(p), n_nulls=40) for p in (0.0, 0.1, 1.0))
    assert small.sigma > 1.5 > 1.25 > random.sigma > 0.75
    assert regular.omega < -0.3 and abs(small.omega) < 0.4 and random.omega > 0.4
    assert small.propensity > max(random.propensity, regular.propensity)
    assert small.against["sigma"].p < 0.05 < random.against["sigma"].p and small.against["clustering"].z > 5
    assert small.against["path_length"].ratio > 1


def test_sigma_and_omega_are_near_those_of_networkx():
    graph = nx.connected_watts_strogatz_graph(24, 6, 0.2, seed=2)
    w = nx.to_numpy_array(graph)
    ours = small_world(w, n_nulls=60)
    np.testing.assert_allclose(ours.sigma, nx.sigma(graph, niter=3, nrand=5, seed=1), rtol=0.1)
    np.testing.assert_allclose(ours.omega, nx.omega(graph, niter=2, nrand=5, seed=1), atol=0.15)


def test_indices_are_their_formulas():
    w = random_graph(24, 0.4, 1)
    ours = small_world(w, n_nulls=12, n_lattices=5, seed=3)
    values = {
        name: np.array([[mean_clustering(one), characteristic_path_length(one)] for one in several])
        for name, several in {"own": w[None], "random": degree_preserving(w, 12, seed=3), "ring": lattice(w, 5, seed=3)}.items()
    }
    (C, L), (C_r, L_r), (C_l, L_l) = (several.mean(0) for several in values.values())
    np.testing.assert_allclose(ours.sigma, (C / C_r) / (L / L_r))
    np.testing.assert_allclose(ours.omega, L_r / L - C / C_l)
    d_C, d_L = np.clip((C_l - C) / (C_l - C_r), 0, 1), np.clip((L - L_r) / (L_l - L_r), 0, 1)
    np.testing.assert_allclose(ours.propensity, 1 - np.sqrt((d_C**2 + d_L**2) / 2))
    np.testing.assert_allclose(ours.against["clustering"].ratio, C / C_r)
    np.testing.assert_allclose(ours.against["path_length"].ratio, L / L_r)
    omegas = L_r / values["random"][:, 1] - values["random"][:, 0] / C_l
    np.testing.assert_allclose(ours.against["omega"].z, (ours.omega - omegas.mean()) / omegas.std(ddof=1))


def test_small_worldness_depends_on_the_seed_alone():
    w = np.stack([random_graph(20, 0.4, seed) for seed in range(5)])
    first = small_world(w, n_nulls=5, n_lattices=2, seed=1, n_jobs=1)
    for again in (small_world(w, n_nulls=5, n_lattices=2, seed=1, n_jobs=2), small_world(to_vectors(w), n_nulls=5, n_lattices=2, seed=1)):
        np.testing.assert_array_equal(first.sigma, again.sigma)
        np.testing.assert_array_equal(first.propensity, again.propensity)
    assert first.sigma.shape == first.against["omega"].p.shape == (5,)
    alone = small_world(w[0], n_nulls=5, n_lattices=2, seed=1)
    assert np.ndim(alone.sigma) == 0 and alone.omega == first.omega[0]
    np.testing.assert_array_equal(sigma(w, n_nulls=5, seed=1), first.sigma)
    np.testing.assert_array_equal(omega(w, n_nulls=5, n_lattices=2, seed=1), first.omega)
    np.testing.assert_array_equal(propensity(w, n_nulls=5, n_lattices=2, seed=1), first.propensity)
    np.testing.assert_allclose(small_world(w * 1e-5, n_nulls=5, n_lattices=2, seed=1).omega, first.omega, rtol=1e-9)
    np.testing.assert_allclose(small_world(w.astype(np.float32), n_nulls=5, n_lattices=2, seed=1).sigma, first.sigma, rtol=1e-4)


@pytest.mark.parametrize("name", ZOO)
def test_awkward_graphs_have_documented_values_and_no_warning(name):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        ours = small_world(ZOO[name], n_nulls=8, n_lattices=2)
        against_nulls(ZOO[name], rich_club, n_nulls=3)
    if name in ("empty", "single", "pair", "star"):
        assert np.isnan([ours.sigma, ours.omega, ours.propensity]).all()
    if name == "complete":
        np.testing.assert_allclose([ours.sigma, ours.omega, ours.propensity], [1, 0, np.nan], atol=1e-12)
    assert np.isnan(ours.propensity) or 0 <= ours.propensity <= 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: against_nulls(w, "clustering"), "function of one .* got 'clustering'"),
        (lambda w: against_nulls(w, mean_clustering, null="erdos"), "'degree', 'strength', 'geometry', 'lattice', got 'erdos'"),
        (lambda w: against_nulls(w, mean_clustering, alternative="both"), '"two-sided", "greater" or "less", got \'both\''),
        (lambda w: against_nulls(w, mean_clustering, null="geometry"), "geometry-preserving nulls needs the regions' coordinates"),
        (lambda w: against_nulls(w, mean_clustering, n_nulls=0), "n_nulls must be 1 or more"),
        (lambda w: AgainstNulls.of(1.0, [1.0], "up"), '"two-sided", "greater" or "less", got \'up\''),
        (lambda w: small_world(-w), "small_world needs non-negative weights"),
        (lambda w: small_world(w, n_lattices=0), "n_lattices must be 1 or more, got 0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, says):
    with pytest.raises(ConnectomeError, match=says) as caught:
        call(random_graph(20, 0.5, 1))
    assert "\n" not in str(caught.value)


def test_strengths_that_cannot_be_kept_are_told():
    with pytest.warns(ConnectomeWarning, match="strength-preserving nulls"):
        against_nulls(random_graph(12, 0.3, 1), mean_clustering, null="strength", n_nulls=5, tolerance=1e-9)

"""The wiring model grows networks as bctpy's formulas say, finds the exponents people were grown with, and tells them from phenotypes.

Chances are held against bctpy's matching index and the published equation, not against ``bct.generative_model``: version 0.6.1 does not
bring its chances up to date, and takes the pair after the one that it draws, which may be joined already.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cache

import bct
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from fitted import DESCRIBED, modelled, plain_table, small_cohort
from scipy.stats import chisquare, ks_2samp

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import matching_index as wiring
from connectome_gnn.generation.matching_index import MatchingIndex
from connectome_gnn.generation.wiring_growth import Wiring, energies, grow
from connectome_gnn.topology import matching_index

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")


def atlas(n_regions: int, seed: int = 0) -> Atlas:
    return Atlas([f"r{n}" for n in range(n_regions)], xyz=np.random.default_rng(seed).uniform(-60, 60, (n_regions, 3)))


def network(n_regions: int, density: float, seed: int = 0) -> np.ndarray:
    return to_matrices(np.random.default_rng(seed).random(n_regions * (n_regions - 1) // 2) < density)


def chances(joined: np.ndarray, distances: np.ndarray, eta: float, gamma: float) -> np.ndarray:
    """By bctpy: chance of every edge in ``np.triu_indices`` to be the next one, (E,)."""
    relative = np.maximum(distances, 1) ** eta * (bct.matching_ind(joined.astype(int))[2] + 1e-6) ** gamma * ~joined
    upper = relative[edge_indices(len(joined))]
    return upper / upper.sum()


@cache
def grown(n_people: int = 80, n_regions: int = 40) -> tuple[Cohort, np.ndarray]:
    """People whose eta and number of edges depend on height and memory, and their true eta, gamma and number of edges."""
    table = plain_table(n_people)
    height, memory = (table["height"] - 170) / 9, table["memory"]
    true = np.column_stack([-2.5 + 0.8 * height, np.full(n_people, 0.5), np.rint(150 + 12 * memory)])
    place = atlas(n_regions)
    weights = np.zeros((n_people, place.n_edges), np.float32)
    for row, (eta, gamma, count) in enumerate(true):
        added = grow(place.distances(), eta, gamma, int(count), seed=row)[0]
        weights[row, added] = 10 + added % 7 + (row % 3)
    return Cohort(weights, table, place, measure="streamline_count", described=DESCRIBED, name="grown"), true


@cache
def fitted() -> MatchingIndex:
    return MatchingIndex(0).fit(grown()[0])


# --- growth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0, 0.1, 0.4, 1])
def test_matching_index_is_bctpys(density):
    joined = network(15, density)
    np.testing.assert_allclose(matching_index(joined.astype(float)), bct.matching_ind(joined.astype(int))[2], atol=1e-12)


@pytest.mark.parametrize(("eta", "gamma"), [(-2.0, 0.4), (0.0, 1.5), (-6.0, -0.5), (1.0, 0.0)])
@pytest.mark.parametrize("start", [0, 0.1])
def test_chances_are_bctpys_at_every_step(eta, gamma, start):
    distances = atlas(14).distances()
    begin = network(14, start)
    for n_edges in (0, 1, 2, 7, 30, 60):
        added, relative = grow(distances, eta, gamma, n_edges, seed=5, start=begin)
        joined = begin.copy()
        rows, columns = (index[added] for index in edge_indices(14))
        joined[rows, columns] = joined[columns, rows] = True
        assert joined.sum() == begin.sum() + 2 * n_edges
        ours = relative[edge_indices(14)]
        np.testing.assert_allclose(ours / ours.sum(), chances(joined, distances, eta, gamma), rtol=1e-7, atol=1e-15)


def test_edges_are_drawn_with_these_chances():
    distances, begin = atlas(8).distances(), network(8, 0.3, seed=1)
    expected = chances(begin, distances, -1.5, 0.5)
    first, second = np.zeros(28), np.zeros(28)
    likely = int(expected.argmax())
    for seed in range(6000):
        one, two = grow(distances, -1.5, 0.5, 2, seed=seed * 7919, start=begin)[0]
        first[one] += 1
        second[two] += one == likely
    possible = expected > 0
    assert not first[~possible].any()
    assert chisquare(first[possible], 6000 * expected[possible]).pvalue > 0.001
    joined = begin.copy()
    i, j = (index[likely] for index in edge_indices(8))
    joined[i, j] = joined[j, i] = True
    after = chances(joined, distances, -1.5, 0.5)
    assert chisquare(second[after > 0], second.sum() * after[after > 0]).pvalue > 0.001


def test_growth_is_nested_seeded_and_ends_with_all_edges():
    distances = atlas(10).distances()
    few, many = (grow(distances, -3, 0.4, n, seed=3)[0] for n in (12, 30))
    assert (many[:12] == few).all()
    assert (grow(distances, -3, 0.4, 12, seed=4)[0] != few).any()
    everything, left = grow(distances, -9, 2.4, 1000, seed=3)
    assert sorted(everything) == list(range(45)) and not left.any()
    steep = grow(np.where(distances > 80, 1e6, distances), -60, 2, 45, seed=0)[0]  # chances that round to 0
    assert sorted(steep) == list(range(45))
    same_place = grow(np.zeros((6, 6)), -3, 0.5, 15, seed=0)[0]
    assert sorted(same_place) == list(range(15))
    few, left = grow(np.zeros((6, 6)), -3, 0.5, 4, seed=0)
    assert np.isfinite(left).all() and (left > 0).sum() == 2 * (15 - len(few))


# --- energy -------------------------------------------------------------------------------------------------------------


def test_energy_is_the_largest_of_four_distances():
    n_regions = 12
    place = atlas(n_regions)
    draw = np.random.default_rng(0)
    edges = np.stack([draw.random(66) < density for density in (0.08, 0.2, 0.35, 0.7)])
    graphs = [nx.from_numpy_array(matrix) for matrix in to_matrices(edges)]
    lengths = place.edge_distances()
    described = Wiring(edges)
    for one, graph in enumerate(graphs):
        between = nx.betweenness_centrality(graph, normalized=False)
        np.testing.assert_allclose(described.betweenness[one], 2 * np.array([between[n] for n in range(n_regions)]), atol=1e-9)
    ours = energies(described, 1, described, lengths)
    for other, graph in enumerate(graphs):
        parts = [
            ks_2samp(list(dict(graphs[1].degree()).values()), list(dict(graph.degree()).values())).statistic,
            ks_2samp(list(nx.clustering(graphs[1]).values()), list(nx.clustering(graph).values())).statistic,
            ks_2samp(np.round(described.betweenness[1], 9), np.round(described.betweenness[other], 9)).statistic,
            ks_2samp(lengths[edges[1]], lengths[edges[other]]).statistic,
        ]
        assert ours[other] == pytest.approx(max(parts), abs=1e-6)
    assert ours[1] == 0


# --- the model ----------------------------------------------------------------------------------------------------------


def test_exponents_are_found_and_told_by_phenotypes():
    cohort, true = grown()
    model = fitted()
    fits = model.fits.loc[cohort.ids]
    assert np.corrcoef(fits["eta"], true[:, 0])[0, 1] > 0.6
    # A steeper fall with distance and more weight on the matching index look alike: both come out too large.
    assert fits["eta"].mean() == pytest.approx(true[:, 0].mean(), abs=1)
    assert fits["gamma"].mean() == pytest.approx(0.5, abs=0.6)
    assert (fits["edges"] == true[:, 2]).all() and fits["energy"].between(0, 0.5).all()
    assert model.gained["eta"] > 0.2 and model.gained["edges"] > 0.8
    told = model._of(cohort.phenotypes)
    assert np.corrcoef(told[:, 0], true[:, 0])[0, 1] > 0.8
    assert np.corrcoef(told[:, 2], true[:, 2])[0, 1] > 0.95


def test_what_phenotypes_do_not_tell_is_the_mean():
    cohort = grown()[0]
    shuffled = cohort.phenotypes.sample(frac=1, random_state=0).set_axis(cohort.ids)
    model = MatchingIndex(0).fit(Cohort(cohort.weights, shuffled, cohort.atlas, measure="m", described=DESCRIBED))
    shut = [regression for regression in model.regressions if regression.gained == 0]
    assert shut and all(not regression.slopes.any() for regression in shut)
    assert max(model.gained.values()) < 0.1


def test_people_drawn_are_like_those_it_was_fitted_to():
    cohort, _ = grown()
    people = fitted().sample(cohort.phenotypes, 3, seed=0, counts=False)
    counts = (people.weights > 0).sum(1)
    assert counts.mean() == pytest.approx((cohort.weights > 0).sum(1).mean(), rel=0.03)
    assert counts.std() == pytest.approx((cohort.weights > 0).sum(1).std(), rel=0.3)
    values = modelled(cohort)
    present = (values > 0).any(0)
    mean_of_present = np.ma.masked_equal(values, 0).mean(0).filled(0)
    drawn = modelled(people)
    shown = (drawn > 0) & present
    np.testing.assert_allclose(drawn[shown], np.broadcast_to(mean_of_present, drawn.shape)[shown], atol=1e-5)
    lengths, real, drawn = cohort.atlas.edge_distances(), Wiring(cohort.weights > 0), Wiring(people.weights[::3] > 0)
    generated = np.diag([energies(real, n, drawn, lengths) for n in range(len(cohort))])
    others = [np.delete(energies(real, n, real, lengths), n).mean() for n in range(len(cohort))]
    assert generated.mean() < np.mean(others) + 0.1
    assert people.weights.tobytes() == fitted().sample(cohort.phenotypes, 3, seed=0, counts=False).weights.tobytes()
    assert people.weights.tobytes() != fitted().sample(cohort.phenotypes, 3, seed=1).weights.tobytes()


def test_the_expected_connectome_is_the_mean_of_draws(monkeypatch):
    cohort, _ = grown()
    asked = cohort.phenotypes.iloc[[0, 7]]
    model = fitted()
    drawn = modelled(model.sample(asked, 1500, seed=2)).reshape(2, 1500, -1)
    expected, error = modelled(model.expected(asked)), drawn.std(1) / np.sqrt(wiring.DRAWS)
    kept = model.space.kept
    away = (expected - drawn.mean(1))[:, kept] / np.maximum(error[:, kept], 1e-3)
    assert np.sqrt((away**2).mean()) < 1.5
    np.testing.assert_allclose(expected[:, ~kept], np.tile(modelled(cohort).mean(0)[~kept], (2, 1)), atol=1e-5)
    assert model.expected(asked).weights.tobytes() == model.expected(asked).weights.tobytes()
    monkeypatch.setattr(wiring, "DRAWS", 600)
    np.testing.assert_allclose(modelled(model.expected(asked))[:, kept], drawn.mean(1)[:, kept], atol=0.35)


def test_dense_and_signed_networks_are_cut_to_their_strongest_edges():
    table = plain_table(30)
    weights = np.random.default_rng(0).uniform(0.05, 0.6, (30, 45)).astype(np.float32)
    weights[:, 5] = -0.5
    for signed in (True, False):
        cohort = Cohort(np.abs(weights) if not signed else weights, table, atlas(10), measure="m", signed=signed, described=DESCRIBED)
        model = MatchingIndex(0).fit(cohort)
        assert model.cut and (model.fits["edges"] == 9).all()
        people = model.sample(table, seed=0)
        assert ((people.weights != 0).sum(1) == 9).all() and (people.weights >= 0).all()
    sparse = np.where(np.random.default_rng(1).random((30, 45)) < 0.5, weights, 0)
    assert not MatchingIndex(0).fit(Cohort(np.abs(sparse), table, atlas(10), measure="m", described=DESCRIBED)).cut


def test_what_it_cannot_do_is_said_in_a_sentence():
    with pytest.raises(ConnectomeError, match="lacks coordinates"):
        MatchingIndex(0).fit(small_cohort(30))
    cohort, _ = grown()
    with pytest.raises(ConnectomeError, match="wiring model has no density"):
        fitted().log_prob(cohort)
    with pytest.raises(ConnectomeError):
        fitted().deviation(cohort)


def test_two_fits_of_one_seed_are_the_same():
    cohort, _ = grown()
    few = cohort.take(range(30))
    first, second, other = (MatchingIndex(seed).fit(few) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.fits, second.fits)
    assert not first.fits.equals(other.fits)


def test_people_of_the_same_exponents_have_their_own_number_of_edges():
    cohort, _ = grown()
    model = copy(fitted())
    eta, gamma, edges = model.regressions
    model.regressions = [replace(eta, slopes=0 * eta.slopes), replace(gamma, slopes=0 * gamma.slopes), edges]
    told = model._of(cohort.phenotypes)
    few, many = int(told[:, 2].argmin()), int(told[:, 2].argmax())
    asked = cohort.phenotypes.iloc[[few, many]]
    strength = modelled(model.expected(asked))[:, model.space.kept].sum(1)
    assert strength[0] < 0.95 * strength[1]

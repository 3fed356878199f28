"""How people are drawn is chosen by people left out: each kind of noise is found where it is, and nobody is held."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fitted import fit_small, plain_table, small_cohort

from connectome_gnn import ConnectomeGenerator, simulate_cohort
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.marginal_fit import fit_marginals
from connectome_gnn.generation.recipe_choice import choose_recipe, recipes
from connectome_gnn.generation.recombination import COPULA, PeopleSampler
from connectome_gnn.generation.remainder_noise import RegionNoise, SeriesNoise
from connectome_gnn.generation.residual import LeftOut
from connectome_gnn.generation.shared_variance import beyond_components

REGIONS, PEOPLE = 36, 120
EDGES = REGIONS * (REGIONS - 1) // 2


def factors(n: int, seed: int) -> np.ndarray:
    """Latent scores (n, E) of two factors."""
    loadings = np.random.default_rng(50).normal(0, 0.5, (2, EDGES))
    return np.random.default_rng(seed).standard_normal((n, 2)) @ loadings


def own_noise(n: int, seed: int) -> np.ndarray:
    """People whose edges have two factors and independent noise, on the modelling scale of counts."""
    return 4 + 0.5 * (factors(n, seed) + np.random.default_rng(seed + 1).standard_normal((n, EDGES)))


def region_noise(n: int, seed: int) -> np.ndarray:
    """People whose noise goes together on the edges of a region, along the modes of the mean."""
    centre = np.random.default_rng(51).normal(4, 1.2, EDGES)
    noise = RegionNoise.of(np.ones(EDGES, np.float32), to_matrices(centre), 0.05)
    return np.maximum(centre + 0.5 * noise.around(np.zeros((n, EDGES), np.float32), np.random.default_rng(seed)), 0.1)


def series(n: int, seed: int) -> np.ndarray:
    """Fisher z of correlations of 50 time points of a series with two shared signals."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(52).normal(0, 0.7, (REGIONS, 2))
    points = mixing @ rng.standard_normal((n, 2, 50)) + rng.standard_normal((n, REGIONS, 50))
    points -= points.mean(2, keepdims=True)
    points /= np.linalg.norm(points, axis=2, keepdims=True)
    return np.arctanh((points @ points.transpose(0, 2, 1))[:, *np.triu_indices(REGIONS, 1)])


MADE = {"own": own_noise, "series": series}


@cache
def cohort_of(kind: str) -> Cohort:
    signed = kind == "series"
    values = MADE[kind](PEOPLE, 1)
    weights = (np.tanh(values) if signed else np.expm1(values)).astype(np.float32)
    return small_cohort(PEOPLE, REGIONS, signed, weights=weights)


@cache
def fitted(kind: str) -> ConnectomeGenerator:
    return fit_small(cohort_of(kind))


def told(choice: pd.DataFrame) -> np.ndarray:
    """Mean AUC of each recipe."""
    return choice[["components", "topology"]].clip(lower=0.5).mean(axis=1).to_numpy()


def test_independent_noise_is_left_to_the_copula() -> None:
    model = fitted("own")
    assert replace(model.people.recipe, shared=1.0) == COPULA
    assert model.people.recipe.shared == pytest.approx(1, abs=0.1)
    assert model.recipes["chosen"].tolist() == [True, False, False]
    assert told(model.recipes)[0] < 0.6
    assert told(model.recipes)[1:].min() > 0.9


def test_time_series_are_told_by_their_noise_and_chosen_for_it() -> None:
    model = fitted("series")
    assert isinstance(model.people.noise, SeriesNoise)
    assert not model.holds_training_people
    chosen = model.recipes["chosen"].to_numpy()
    assert told(model.recipes)[chosen] < told(model.recipes)[0] - 0.1


def test_noise_of_regions_is_chosen_where_edges_go_together_in_them() -> None:
    # The factor analysis finds some of it: without factors all of it is left to noise.
    model, people = fitted("own"), region_noise(PEOPLE, 3).astype(np.float32)
    cohort = small_cohort(PEOPLE, REGIONS, weights=np.expm1(people))
    residual = replace(model.residual, marginals=fit_marginals(cohort)).with_factors(
        np.zeros((0, EDGES), np.float32), np.ones(EDGES, np.float32)
    )
    left_out = [LeftOut(np.arange(first, first + 30), residual.loadings, residual.noise) for first in range(0, PEOPLE, 30)]
    space = EdgeSpace.fit(cohort, n_components=10, seed=0)[0]
    recipe, choice = choose_recipe(residual, left_out, space, cohort, np.zeros((PEOPLE, space.n_components)))
    assert recipe.own == 0.1
    assert told(choice)[2] < told(choice)[0] - 0.1


def test_structured_noise_keeps_mean_and_spread_and_what_people_score() -> None:
    model, plain = fitted("series"), fit_small(cohort_of("series"), sampler="copula")
    assert plain.people is None
    assert plain.recipes is None
    table = plain_table(20)
    assert model.expected(table).weights.tobytes() == plain.expected(table).weights.tobytes()
    np.testing.assert_array_equal(model.log_prob(cohort_of("series")), plain.log_prob(cohort_of("series")))
    one, other = (m.scale.forward(m.sample(table, 60, seed=1).weights) for m in (plain, model))
    assert one.tobytes() != other.tobytes()
    assert np.abs(other.mean(0) - one.mean(0)).max() < 0.2 * one.std(0).max()
    assert np.median(other.std(0) / one.std(0)) == pytest.approx(1, abs=0.06)


def test_saved_with_the_noise_that_was_chosen(tmp_path: Path) -> None:
    model = fitted("series")
    model.save(tmp_path / "model")
    again = ConnectomeGenerator.load(tmp_path / "model")
    assert again.people is not None
    assert again.people.recipe == model.people.recipe
    table = plain_table(10)
    assert again.sample(table, 3, seed=2).weights.tobytes() == model.sample(table, 3, seed=2).weights.tobytes()
    assert "correlations of time series" in (tmp_path / "model" / "card.md").read_text()


def test_same_seed_same_choice_and_bytes() -> None:
    again = fit_small(cohort_of("series"))
    assert again.recipes.equals(fitted("series").recipes)
    table = plain_table(5)
    assert again.sample(table, 2, seed=3).weights.tobytes() == fitted("series").sample(table, 2, seed=3).weights.tobytes()


def test_too_few_people_for_a_choice_get_the_copula() -> None:
    model = fit_small(small_cohort(60))
    assert model.people is None or replace(model.people.recipe, shared=1.0) == COPULA
    assert model.recipes[["components", "topology"]].isna().all(axis=None)
    assert model.recipes["chosen"].tolist() == [True] + [False] * (len(model.recipes) - 1)


def test_the_copula_comes_first() -> None:
    for signed in (False, True):
        assert recipes(signed)[0] == COPULA
        assert all(recipe.factors for recipe in recipes(signed))


def test_factors_and_noise_of_a_copula_are_drawn_as_strong_as_they_are() -> None:
    model = fitted("own")
    residual = model.residual
    size = residual.deviations()[0]
    people = PeopleSampler.of_factors(residual, COPULA, model.space.mean, model.space.std)
    drawn = people.draw(20_000, np.random.default_rng(0)).astype(np.float64)
    expected = (residual.loadings.T @ residual.loadings + np.diag(residual.noise**2)) / np.outer(size, size)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), expected, atol=0.05)
    structured = PeopleSampler.of_factors(residual, replace(COPULA, own=0.1), model.space.mean, model.space.std)
    other = structured.draw(20_000, np.random.default_rng(0)).astype(np.float64)
    np.testing.assert_allclose(other.std(0), 1, atol=0.03)
    apart = np.abs(other.T @ other / len(other) - expected)
    assert apart.max() > 0.1


def test_factors_that_share_more_leave_every_edge_its_variance() -> None:
    model = fitted("own")
    residual = model.residual
    size = residual.deviations()[0]
    half = replace(COPULA, shared=0.5)
    drawn = PeopleSampler.of_factors(residual, half, model.space.mean, model.space.std).draw(20_000, np.random.default_rng(0))
    drawn = drawn.astype(np.float64)
    expected = 0.5 * (residual.loadings.T @ residual.loadings) / np.outer(size, size)
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), expected, atol=0.05)
    most = PeopleSampler.of_factors(residual, replace(COPULA, shared=1e6), model.space.mean, model.space.std)
    told = (most.directions**2).sum(0)
    assert told.max() <= 0.98 + 1e-5
    np.testing.assert_allclose(told + most.noise.amplitude**2, 1, atol=1e-5)


def test_samples_share_as_much_as_people_do() -> None:
    cohort = simulate_cohort(150, 40, 8, seed=5, measure="pearson")
    fresh = simulate_cohort(150, 40, 8, seed=5, people_seed=6, measure="pearson")
    model = fit_small(cohort)
    assert model.people.recipe.shared > 1
    real = beyond_components(fresh.scale.forward(fresh.weights))
    matched, plain = (
        beyond_components(cohort.scale.forward(drawn.sample(cohort.phenotypes, seed=1).weights))
        for drawn in (model, fit_small(cohort, sampler="copula"))
    )
    assert abs(matched.mean() - real.mean()) < 0.4 * real.std()
    assert plain.mean() - real.mean() > real.std()

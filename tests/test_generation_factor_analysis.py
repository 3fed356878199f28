"""Factors of people with absent edges are as strong as the true ones, and lie along them."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import DESCRIBED, plain_table
from scipy.special import ndtri
from scipy.stats import truncnorm
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.censoring import _quantile, fill_absent, mean_within
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.factor_analysis import LatentPeople, analyse, orthogonal
from connectome_gnn.generation.factor_choice import factors_of_few
from connectome_gnn.generation.latent_means import LatentMeans
from connectome_gnn.generation.marginal_fit import fit_marginals
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.simulate import simulate_cohort


@pytest.fixture(scope="module", params=[(450, 0.6), (900, 0.6), (900, 1.0)], ids=["few", "many", "many, none absent"])
def simulated(request) -> tuple[Cohort, ResidualModel]:
    n_people, density = request.param
    cohort = simulate_cohort(n_people, 26, 6, seed=3, explained=0.0, density=density, measure="sift2_fbc")
    space, scores = EdgeSpace.fit(cohort)
    return cohort, ResidualModel.fit(space, cohort, np.zeros_like(scores), scores=np.zeros_like(scores))


def truth(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """True loadings (16, E) and own parts (E,) of latent scores of variance 1."""
    world = cohort.truth.world
    return world.factors / world.spread, world.own / world.spread


def test_latent_variance_along_true_directions_is_the_true_one(simulated):
    """Absent edges drawn by factors that are too weak would make factors too weak: two thirds as strong, so it was once."""
    cohort, model = simulated
    often = np.flatnonzero((cohort.weights == 0).mean(0) < 0.8)
    loadings, own = (part[..., often] for part in truth(cohort))
    _, values, directions = np.linalg.svd(loadings, full_matrices=False)
    real = values**2 + directions**2 @ own**2
    found = ((model.loadings[:, often] @ directions.T) ** 2).sum(0) + directions**2 @ model.noise[often] ** 2
    assert found[:8].sum() / real[:8].sum() == pytest.approx(1, abs=0.08)
    assert (np.abs(found[:4] / real[:4] - 1) < 0.2).all()


def test_edges_share_as_much_as_they_truly_do(simulated):
    cohort, model = simulated
    absent = (cohort.weights == 0).mean(0)
    loadings = truth(cohort)[0]
    for low, high in ((-1, 0.01), (0.01, 0.3), (0.3, 0.7)):
        some = (absent > low) & (absent <= high)
        if some.sum() < 10:
            continue
        pairs = np.triu_indices(some.sum(), 1)
        real, found = ((part[:, some].T @ part[:, some])[pairs] for part in (loadings, model.loadings))
        assert (real * found).sum() / (real**2).sum() == pytest.approx(1, abs=0.12)
    np.testing.assert_allclose((model.loadings**2).sum(0) + model.noise**2, 1, atol=1e-4)


def test_factors_are_orthogonal_in_units_of_own_parts(simulated):
    _, model = simulated
    scaled = model.loadings / model.noise
    gram = scaled @ scaled.T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.02 * gram[0, 0]
    assert (np.diff(np.diag(gram)) < 0.02 * gram[0, 0]).all()


def test_what_nobody_shares_is_nobodys_factor():
    draw = np.random.default_rng(0)
    values = np.expm1(np.maximum(draw.standard_normal((900, 190)) + draw.uniform(-0.5, 2, 190), 0)).astype(np.float32)
    cohort = Cohort(values, plain_table(900), make_atlas(20), measure="m", described=DESCRIBED)
    space, scores = EdgeSpace.fit(cohort)
    model = ResidualModel.fit(space, cohort, np.zeros_like(scores), scores=np.zeros_like(scores))
    assert (model.loadings**2).sum(0).mean() < 0.02


def people(n_people: int = 300) -> LatentPeople:
    cohort = simulate_cohort(n_people, 16, 6, seed=1, explained=0.0)
    space, scores = EdgeSpace.fit(cohort)
    marginals = fit_marginals(cohort)
    left = np.where(marginals.constant, 0.0, 1.0)
    return LatentPeople(marginals, LatentMeans.of(marginals, left, space), left, space, cohort, np.zeros_like(scores))


def test_a_group_left_out_is_as_if_it_had_not_been_there():
    everybody = people()
    group = np.arange(300) // 100
    found = analyse(everybody, 4, group, np.random.default_rng(0))
    without = found.without(2, everybody.left)[0]
    alone = analyse(everybody.take(np.arange(200)), 4, np.zeros(200, int), np.random.default_rng(0)).loadings
    often = (everybody.cohort.weights == 0).mean(0) < 0.5
    left_out, never_there, there = (part[:, often].T @ part[:, often] for part in (without, alone, found.loadings))
    assert np.linalg.norm(left_out - never_there) < 0.75 * np.linalg.norm(there - never_there)


def test_same_seed_same_bytes():
    some = people(120)
    folds = some.cohort.folds(5, seed=0)
    one, same, other = (factors_of_few(some, folds, np.random.default_rng(seed)).loadings for seed in (0, 0, 1))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_rotation_leaves_what_edges_share():
    draw = np.random.default_rng(0)
    loadings, noise = draw.standard_normal((3, 40)).astype(np.float32), draw.uniform(0.5, 1, 40).astype(np.float32)
    noise[0], loadings[:, 0] = 0, 0
    turned = orthogonal(loadings, noise)
    np.testing.assert_allclose(turned.T @ turned, loadings.T @ loadings, atol=1e-4)
    gram = (turned[:, 1:] / noise[1:]) @ (turned[:, 1:] / noise[1:]).T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-3)


@pytest.mark.parametrize(("low", "high"), [(-8.0, -1.5), (-8.0, 0.3), (0.5, 2.0), (-8.0, -6.0), (3.0, 8.0)])
def test_absent_scores_are_truncated_normal(low, high):
    n, mean, spread = 40_000, 0.4, 0.7
    away, absent = np.zeros((n, 1), np.float32), np.ones((n, 1), bool)
    centre, limits = np.full((n, 1), mean, np.float32), (np.array([low]), np.array([high]))
    oracle = truncnorm((low - mean) / spread, (high - mean) / spread, 0, spread)
    fill_absent(away, absent, centre, None, np.full((1, 1), spread, np.float32), *limits, np.random.default_rng(0))
    assert away.mean() == pytest.approx(oracle.mean(), abs=5 * oracle.std() / np.sqrt(n))
    assert away.std() == pytest.approx(oracle.std(), rel=0.03)
    mean_within(away, absent, centre, np.array([spread]), *limits)
    np.testing.assert_allclose(away, oracle.mean(), rtol=1e-4)


def test_normal_quantiles():
    share = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 501), 10.0 ** -np.arange(10, 300, 7)])
    np.testing.assert_allclose([_quantile(p) for p in share], ndtri(share), rtol=1e-6, atol=1e-6)

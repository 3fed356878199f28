"""Spread that depends on the profile is found where it is, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fitted import DESCRIBED, plain_table
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.rivals import TrainingMean
from connectome_gnn.generation.spread import Spread, spread_columns

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")


def folds(n: int, k: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    number = np.random.default_rng(9).integers(k, size=n)
    return [(np.flatnonzero(number != f), np.flatnonzero(number == f)) for f in range(k)]


def test_constant_spread_is_left_alone():
    found = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        features = draw.standard_normal((300, 6))
        spread = Spread.fit(features, np.array([0, 3, 5]), draw.standard_t(8, (300, 12)), np.exp(draw.normal(0, 0.2, 300)), folds(300))
        found += len(spread.columns) > 0
        if not len(spread.columns):
            assert spread.of(features) is None
    assert found <= 2


def test_a_spread_that_grows_with_age_is_recovered():
    draw = np.random.default_rng(1)
    features = draw.standard_normal((1500, 4))
    slopes = np.array([0.3, -0.1])
    widths = np.exp(features[:, [0, 2]] @ slopes)
    factors = draw.standard_normal((1500, 10)) * widths[:, None]
    own = np.exp(2 * 0.2 * features[:, 0] + draw.normal(0, 0.1, 1500))
    spread = Spread.fit(features, np.array([0, 2]), factors, own, folds(1500))
    np.testing.assert_allclose(spread.factors[1:], np.repeat(slopes[:, None], 10, 1), atol=0.06)
    np.testing.assert_allclose(spread.own[1:], [0.2, 0], atol=0.02)
    multiples = spread.of(features)
    assert multiples is not None
    # Everybody together differs as much as before.
    assert np.mean(multiples[0] ** 2) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.mean(multiples[1] ** 2, 0), 1, atol=1e-6)


def test_each_factor_may_have_its_own_slope():
    draw = np.random.default_rng(2)
    features = draw.standard_normal((2000, 1))
    slopes = np.where(np.arange(8) % 2, 0.35, -0.35)
    factors = draw.standard_normal((2000, 8)) * np.exp(features * slopes)
    spread = Spread.fit(features, np.array([0]), factors, np.ones(2000), folds(2000))
    np.testing.assert_allclose(spread.factors[1], slopes, atol=0.08)
    np.testing.assert_allclose(spread.own, 0, atol=1e-9)


def test_profiles_far_outside_have_bounded_spread():
    spread = Spread(np.array([0]), np.array([0.0, 0.5]), np.array([[0.0], [0.5]]))
    own, factors = spread.of(np.array([[100.0], [-100.0], [1.0]]))
    np.testing.assert_allclose(own, np.exp([1, -1, 0.5]))
    np.testing.assert_allclose(factors[:, 0], np.exp([1, -1, 0.5]))


def cohort_with(slope: float, n: int = 1000, seed: int = 0) -> Cohort:
    """People whose edges share a factor and differ the more the older they are (by ``slope`` a standard deviation of age)."""
    table, draw = plain_table(n, seed), np.random.default_rng(seed + 1)
    age = (table["age"] - table["age"].mean()) / table["age"].std()
    latent = draw.standard_normal((n, 105)) * 0.8 + draw.standard_normal((n, 3)) @ draw.normal(0, 0.5, (3, 105))
    values = 4 + 0.5 * latent * np.exp(slope * age.to_numpy())[:, None]
    weights = np.expm1(np.maximum(values, 0.1)).astype(np.float32)
    return Cohort(weights, table, make_atlas(15), measure="m", described=DESCRIBED)


def test_models_learn_spread_and_use_it_in_draws_densities_and_deviations():
    train, test = cohort_with(0.3).split(0.6, seed=0)
    model = TrainingMean(0).fit(train)
    assert set(model.residual.spread.columns) == set(spread_columns(model.features))
    old, young = (test.take((test.phenotypes["age"] > 74).to_numpy()), test.take((test.phenotypes["age"] < 53).to_numpy()))
    spreads = [np.log1p(c.weights).std(0).mean() for c in (old, young)]
    drawn = [np.log1p(model.sample(c.phenotypes, 4, seed=1).weights).std(0).mean() for c in (old, young)]
    assert spreads[0] / spreads[1] > 1.8
    assert drawn[0] / drawn[1] == pytest.approx(spreads[0] / spreads[1], rel=0.15)
    scores = [model.deviation(c).edges for c in (old, young)]
    for one in scores:
        assert one.std() == pytest.approx(1, abs=0.1)
    gain = model.log_prob(test)
    model.residual = replace(model.residual, spread=Spread.constant(len(model.residual.loadings)))
    gain = gain - model.log_prob(test)
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


def test_models_of_people_alike_in_spread_keep_it_constant():
    for seed in (3, 4):
        assert not len(TrainingMean(0).fit(cohort_with(0.0, 400, seed)).residual.spread.columns)

"""The Gaussian rival's mean, covariance and density are those of the joint Gaussian, by scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import halves, modelled, r2_beyond_mean, rival, small_cohort, standardised
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.gaussian_components import GaussianComponents, edge_shrinkage
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")


def covariance(model: GaussianComponents) -> np.ndarray:
    """Of modelling-scale edges given the profile, (E, E)."""
    gaussian = model.gaussian
    latent = gaussian.loadings.T.astype(float) @ gaussian.loadings + np.diag(gaussian.noise.astype(float) ** 2)
    return latent * np.outer(gaussian.std, gaussian.std)


def test_the_mean_is_that_of_the_joint_gaussian():
    train, test = halves()
    model = rival("Gaussian on components")
    data = TrainingData(train, n_components=300, seed=0)
    n_linear = len(data.schema.columns)
    k = model.n_joint
    assert 0 < k < data.scores.shape[1]
    both = np.concatenate([data.values[:, :n_linear], data.scores[:, :k]], 1)
    unit = both.std(0)
    joint = LedoitWolf().fit(both / unit)
    assert model.shrinkage == pytest.approx(joint.shrinkage_) and 0.01 < model.shrinkage < 0.9
    cov = joint.covariance_ * np.outer(unit, unit)
    asked = model.features.of(test.phenotypes)[:, :n_linear] - both[:, :n_linear].mean(0)
    expected = asked @ np.linalg.solve(cov[:n_linear, :n_linear], cov[:n_linear, n_linear:]) @ data.space.basis[:k]
    np.testing.assert_allclose(standardised(model.expected(test.phenotypes), train), expected, atol=2e-3 * expected.std())
    assert r2_beyond_mean(model, test, train) > 0.01


def test_shrinkage_of_edges_is_scikit_learns():
    for train in (halves()[0], small_cohort(60, 12)):
        data = TrainingData(train, n_components=300, seed=0)
        expected = ledoit_wolf_shrinkage(standardised(train, train), assume_centered=True)
        assert edge_shrinkage(data.space, train, data.scores) == pytest.approx(expected, rel=1e-3)


def test_shrinkage_of_edges_with_few_components_of_many_people():
    cohort = simulate_cohort(900, 24, 5, seed=0)
    data = TrainingData(cohort, n_components=60, seed=0)
    assert data.scores.shape[1] == 60
    expected = ledoit_wolf_shrinkage(standardised(cohort, cohort), assume_centered=True)
    assert edge_shrinkage(data.space, cohort, data.scores) == pytest.approx(expected, rel=0.1)


def test_people_drawn_have_the_mean_and_covariance_that_the_model_says():
    train = small_cohort(120, 5, signed=True)
    model = GaussianComponents(0).fit(train)
    profile = train.phenotypes.iloc[[3]]
    drawn = modelled(model.sample(profile, 20000, seed=1))
    np.testing.assert_allclose(drawn.mean(0), modelled(model.expected(profile))[0], atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), covariance(model), atol=0.03 * covariance(model).max())
    # All together, with what phenotypes say of each, as spread as training people.
    everybody = modelled(model.sample(train.phenotypes, 20, seed=2))
    assert np.median(everybody.std(0) / modelled(train).std(0)) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("signed", [True, False])
def test_density_without_absent_edges_is_scipys(signed):
    train = small_cohort(80, 6, signed=signed)
    people = Cohort(
        train.weights if signed else np.maximum(train.weights, 0.5).astype(np.float32),
        train.phenotypes,
        train.atlas,
        measure=train.measure,
        signed=signed,
        described=train.described,
    )
    model = GaussianComponents(0).fit(people)
    asked = people.take(range(10))
    mean = model.space.values(model._deviation(asked.phenotypes))
    expected = [multivariate_normal(m, covariance(model)).logpdf(v) for m, v in zip(mean, modelled(asked), strict=True)]
    np.testing.assert_allclose(model.log_prob(asked), expected, rtol=1e-4)
    assert model.log_prob(asked).std() > 0.1


def test_absent_edges_have_a_probability():
    draw = np.random.default_rng(0)
    train = small_cohort(150, 4)
    people = Cohort(
        np.expm1(np.maximum(1 + draw.standard_normal((150, 6)) + draw.standard_normal((150, 1)), 0)).astype(np.float32),
        train.phenotypes,
        train.atlas,
        measure="m",
        described=train.described,
    )
    model = GaussianComponents(0).fit(people)
    some = people.take((people.weights == 0).any(1) & ((people.weights == 0).sum(1) < 3))
    mean, cov = model.space.values(model._deviation(some.phenotypes)).astype(float), covariance(model)
    expected = []
    for m, v in zip(mean, modelled(some), strict=True):
        here, gone = np.flatnonzero(v > 0), np.flatnonzero(v <= 0)
        across = np.linalg.solve(cov[np.ix_(here, here)], cov[np.ix_(here, gone)])
        centre = m[gone] + (v[here] - m[here]) @ across
        left = cov[np.ix_(gone, gone)] - cov[np.ix_(gone, here)] @ across
        present = multivariate_normal(m[here], cov[np.ix_(here, here)]).logpdf(v[here])
        expected.append(present + np.log(multivariate_normal(centre, left).cdf(np.zeros(len(gone)))))
    assert len(expected) > 20
    # Laplace's approximation, here at its worst, with as many factors as edges.
    np.testing.assert_allclose(model.log_prob(some), expected, atol=0.35)
    assert np.corrcoef(model.log_prob(some), expected)[0, 1] > 0.998


def test_weights_keep_to_their_support_and_what_it_cannot_do_is_said():
    _, test = halves()
    model = rival("Gaussian on components")
    weights = model.sample(test.phenotypes, seed=0).weights
    assert (weights >= 0).all() and 0.2 < (weights == 0).mean() < 0.6
    assert np.isfinite(model.log_prob(test.take(range(5)))).all()
    with pytest.raises(ConnectomeError, match="Gaussian on components"):
        model.deviation(test)


def test_without_signal_and_with_constant_phenotypes():
    cohort = simulate_cohort(400, 12, 8, seed=0, explained=0)
    cohort.phenotypes["nothing"] = 1.0
    train, test = cohort.split(0.5, seed=0)
    model = GaussianComponents(0).fit(train)
    assert abs(r2_beyond_mean(model, test, train)) < 0.01
    flat = small_cohort(30)
    flat.phenotypes = flat.phenotypes[["height"]].assign(height=170.0)
    model = GaussianComponents(0).fit(flat)
    np.testing.assert_allclose(modelled(model.expected(flat.phenotypes)), np.tile(modelled(flat).mean(0), (30, 1)), atol=1e-4)

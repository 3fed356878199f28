"""Kernel ridge is scikit-learn's with the kernel it says, chosen on people that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import DESCRIBED, halves, modelled, plain_table, r2_beyond_mean, standardised
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.preprocessing import KernelCenterer
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation import kernel_ridge
from connectome_gnn.generation.kernel_ridge import Choice, KernelRidge, ProfileKernel
from connectome_gnn.generation.linear import STRENGTHS
from connectome_gnn.generation.rivals import BandedRidge, ComponentRidge
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")


@pytest.fixture(autouse=True)
def mean_only(monkeypatch):
    """Nothing here looks at how people differ around the mean, which takes longest to learn."""
    monkeypatch.setattr(KernelRidge, "_fit_residual", lambda *_: None)
    monkeypatch.setattr(BandedRidge, "_fit_residual", lambda *_: None)


def fit_only(monkeypatch: pytest.MonkeyPatch, cohort: Cohort, choice: Choice, seed: int = 0) -> KernelRidge:
    monkeypatch.setattr(kernel_ridge, "CHOICES", [choice])
    return KernelRidge(seed).fit(cohort)


def bent(n_people: int, seed: int = 0) -> Cohort:
    """People whose edges depend on the product of two traits, and on nothing else."""
    table = plain_table(n_people, seed)
    product = (table["height"] - 170) / 9 * table["memory"]
    draw = np.random.default_rng(seed)
    latent = 1.2 * product.to_numpy()[:, None] * draw.choice([-1, 1], 28) + draw.standard_normal((n_people, 28))
    return Cohort(
        np.tanh(0.2 * latent).astype(np.float32), table, make_atlas(8), measure="pearson", signed=True, described=DESCRIBED, name="bent"
    )


def test_features_are_the_kernel():
    draw = np.random.default_rng(0)
    values, asked = draw.standard_normal((60, 5)), draw.standard_normal((9, 5))
    scales, place = np.array([1, 2, 0, 0.5, 1.0]), draw.standard_normal((5, 3))
    kernel = ProfileKernel.fit(values, scales, place, 0.7, np.arange(60))
    there = values @ place
    pairs = ((there[:, None] - there) ** 2).sum(-1).mean()
    assert kernel.width == pytest.approx(0.7 * pairs)

    def both(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        gaussian = rbf_kernel(x @ place, y @ place, gamma=1 / (2 * 0.7 * pairs)) / kernel.unit**2
        return linear_kernel(x * kernel.linear, y * kernel.linear) + gaussian

    centred = KernelCenterer().fit(both(values, values))
    ours = kernel.features(asked) @ kernel.features(values).T
    np.testing.assert_allclose(ours, centred.transform(both(asked, values)), atol=1e-4 * np.abs(ours).max())
    energy = (kernel.features(values) ** 2).mean(0)
    assert energy[:5].sum() == pytest.approx(energy[5:].sum())
    np.testing.assert_allclose(kernel.features(values).mean(0), 0, atol=1e-10)


@pytest.mark.parametrize("place", ["features", "directions"])
def test_predictions_are_scikit_learns(monkeypatch, place):
    train, test = halves()
    model = fit_only(monkeypatch, train, Choice(place, 3.0, 5.0, True))
    assert model.choice is not None
    x, y = (model.features.of(cohort.phenotypes) for cohort in (train, test))
    kernel = model.kernel

    def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        gaussian = rbf_kernel(a @ kernel.place, b @ kernel.place, gamma=1 / (2 * kernel.width)) / kernel.unit**2
        return linear_kernel(a * kernel.linear, b * kernel.linear) + 5 * gaussian

    centre = KernelCenterer().fit(both(x, x))
    gram, asked, edges = centre.transform(both(x, x)), centre.transform(both(y, x)), standardised(train, train)
    n, errors = len(x), []
    for strength in STRENGTHS:
        hat = 1 / n + np.linalg.solve((gram + strength * np.eye(n)).T, gram.T).T
        errors.append(((edges - hat @ edges) ** 2).sum() / (1 - np.trace(hat) / n) ** 2)
    best = int(np.argmin(errors))
    assert 0 < best < len(STRENGTHS) - 1
    expected, other = (
        SklearnKernelRidge(alpha=STRENGTHS[place], kernel="precomputed").fit(gram, edges).predict(asked) for place in (best, best + 1)
    )
    ours = standardised(model.expected(test.phenotypes), train)
    np.testing.assert_allclose(ours, expected, atol=0.01 * expected.std())
    assert np.abs(ours - other).max() > 0.05 * expected.std()


def test_it_learns_what_no_line_can():
    train, test = bent(500).split(0.6, seed=0)
    model = KernelRidge(0).fit(train)
    assert model.choice is not None and model.choice.share > 0
    ours = r2_beyond_mean(model, test, train)
    assert ours > 0.3
    assert ours > r2_beyond_mean(BandedRidge(0).fit(train, distribution=False), test, train) + 0.25
    assert model.trials[model.choice] == max(model.trials.values()) == pytest.approx(ours, abs=0.12)


def test_where_there_is_nothing_to_learn_the_answer_is_the_training_mean():
    cohort = simulate_cohort(600, 12, 10, seed=0, explained=0)
    train, test = cohort.split(0.4, seed=0)
    model = KernelRidge(0).fit(train)
    assert abs(r2_beyond_mean(model, test, train)) < 0.003
    if model.choice is None:
        assert max(model.trials.values()) <= 0


def test_the_mean_is_among_the_choices(monkeypatch):
    """With strengths that are all far too weak, every kernel does harm."""
    monkeypatch.setattr("connectome_gnn.generation.linear.STRENGTHS", np.array([1e-3]))
    train, test = simulate_cohort(200, 10, 10, seed=0, explained=0).split(0.5, seed=0)
    model = KernelRidge(0).fit(train)
    assert model.choice is None and max(model.trials.values()) < -0.05
    assert r2_beyond_mean(model, test, train) == pytest.approx(0, abs=1e-6)


def test_residual_is_of_people_left_out(monkeypatch):
    train, _ = halves()
    model = fit_only(monkeypatch, train, Choice("directions", 3.0, 5.0, True))
    data = TrainingData(train, n_components=300, seed=0)
    again = KernelRidge(0)
    again.schema, again.features, again.space = data.schema, data.features, data.space
    residual = again._fit_mean(data, lambda *_: None)
    from_mean = np.concatenate([data.scores[held] - data.scores[rows].mean(0) for rows, held in data.folds(kernel_ridge.FOLDS, 0)])
    assert 1 - (residual**2).sum() / (from_mean**2).sum() == pytest.approx(model.trials[model.choice], abs=1e-6)
    within = data.scores - model._deviation(train.phenotypes) @ model.space.basis.T
    assert (residual**2).sum() > 1.01 * (within**2).sum()


def test_few_inducing_people_come_close(monkeypatch):
    train, test = halves()
    choice = Choice("directions", 3.0, 5.0, True)
    exact = modelled(fit_only(monkeypatch, train, choice).expected(test.phenotypes))
    monkeypatch.setattr(kernel_ridge, "INDUCING", 60)
    model = fit_only(monkeypatch, train, choice)
    assert len(model.kernel.inducing) == 60
    few, mean = modelled(model.expected(test.phenotypes)), modelled(train).mean(0)
    assert np.corrcoef((few - mean).ravel(), (exact - mean).ravel())[0, 1] > 0.97
    assert np.abs(few - exact).max() > 1e-4


def test_it_says_that_it_holds_profiles_and_repeats_itself(monkeypatch):
    monkeypatch.setattr(ComponentRidge, "_fit_residual", lambda *_: None)
    train, test = halves()
    model, again = KernelRidge(0).fit(train), KernelRidge(0).fit(train)
    assert model.holds_training_people
    assert again.expected(test.phenotypes).weights.tobytes() == model.expected(test.phenotypes).weights.tobytes()
    assert r2_beyond_mean(model, test, train) > r2_beyond_mean(ComponentRidge(0).fit(train, distribution=False), test, train) + 0.001

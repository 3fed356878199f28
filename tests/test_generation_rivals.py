"""The rivals are what their names say, by scikit-learn, behind one interface."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fitted import halves, modelled, r2_beyond_mean, rival, standardised
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsRegressor

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.linear import STRENGTHS
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.rivals import RIVALS, NearestPeople
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")


def encoded(of: Cohort) -> np.ndarray:
    """Phenotypes in training people's standard deviations, missing values at the mean, (N, F)."""
    train, _ = halves()
    schema = PhenotypeSchema.fit(train.phenotypes, train.described)
    known, asked = (schema.encode(cohort.phenotypes).values for cohort in (train, of))
    return (asked - known.mean(0)) / known.std(0)


def deviations(name: str) -> np.ndarray:
    """A rival's predictions for held-out people, in standard deviations of an edge from the training mean."""
    train, test = halves()
    return standardised(rival(name).expected(test.phenotypes), train)


@pytest.mark.parametrize("name", RIVALS)
def test_one_interface(name):
    train, test = halves()
    model = rival(name)
    assert isinstance(model, ConnectomeModel)
    order = [7, 3, 100, 5]
    table = test.phenotypes.iloc[order].assign(note="kept")
    expected, sample = model.expected(table), model.sample(table, 2, seed=0)
    assert list(expected.ids) == list(table.index)
    assert list(sample.ids) == [name for name in table.index for _ in range(2)]
    assert (expected.kind, sample.kind) == ("expected", "sample")
    pd.testing.assert_frame_equal(expected.phenotypes[table.columns], table)
    everybody = model.expected(test.phenotypes).weights
    np.testing.assert_allclose(expected.weights, everybody[order], rtol=2e-4, atol=1e-4)
    assert (expected.weights >= 0).all() and (sample.weights >= 0).all()
    assert expected.atlas == train.atlas
    assert sample.weights.tobytes() == model.sample(table, 2, seed=0).weights.tobytes()


def test_the_training_mean_explains_nothing():
    train, test = halves()
    expected = rival("training mean").expected(test.phenotypes)
    np.testing.assert_allclose(modelled(expected), np.tile(modelled(train).mean(0), (len(test), 1)), atol=2e-5)
    assert r2_beyond_mean(rival("training mean"), test, train) == pytest.approx(0, abs=1e-6)


def test_ridge_is_scikit_learns():
    train, test = halves()
    features, edges = encoded(train), standardised(train, train)
    n = len(features)
    errors = []
    for strength in STRENGTHS:
        hat = 1 / n + features @ np.linalg.solve(features.T @ features + strength * np.eye(features.shape[1]), features.T)
        errors.append(((edges - hat @ edges) ** 2).sum() / (1 - np.trace(hat) / n) ** 2)
    best = int(np.argmin(errors))
    assert 0 < best < len(STRENGTHS) - 1
    expected = SklearnRidge(alpha=STRENGTHS[best]).fit(features, edges).predict(encoded(test))
    ours = deviations("ridge")
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    other = SklearnRidge(alpha=STRENGTHS[best + 1]).fit(features, edges).predict(encoded(test))
    assert np.abs(ours - other).max() > 1e-3


def test_component_ridge_is_a_ridge_for_each_component():
    train, test = halves()
    features, edges = encoded(train), standardised(train, train)
    basis = np.linalg.svd(edges, full_matrices=False)[2]
    n, components = len(features), edges @ basis.T
    values, vectors = np.linalg.eigh(features.T @ features)
    expected = np.zeros((len(test), edges.shape[1]))
    for place, component in enumerate(components.T):
        along = vectors.T @ features.T @ component
        errors = []
        for strength in STRENGTHS:
            residual = component - features @ vectors @ (along / (values + strength))
            errors.append((residual**2).sum() / (n - 1 - (values / (values + strength)).sum()) ** 2)
        strength = STRENGTHS[int(np.argmin(errors))]
        expected += np.outer(encoded(test) @ vectors @ (along / (values + strength)), basis[place])
    ours = deviations("component ridge")
    # A component whose two best strengths are equally good may choose either: few do.
    assert np.sqrt(((ours - expected) ** 2).mean()) < 0.02 * ours.std()
    assert np.corrcoef(ours.ravel(), deviations("ridge").ravel())[0, 1] < 0.99


def test_nearest_neighbours_are_scikit_learns():
    train, test = halves()
    model = rival("nearest neighbours")
    assert model.holds_training_people
    reference = KNeighborsRegressor(model.k).fit(encoded(train), standardised(train, train))
    np.testing.assert_allclose(deviations("nearest neighbours"), reference.predict(encoded(test)), atol=1e-3)


def test_nearest_neighbours_choose_as_many_as_help():
    cohort = simulate_cohort(400, 8, 4, seed=0, explained=0.8, missing=0)
    strong = NearestPeople(0).fit(cohort)
    none = NearestPeople(0).fit(simulate_cohort(400, 8, 4, seed=0, explained=0, missing=0))
    assert strong.k <= 20
    assert none.k >= 100
    train, test = cohort.split(0.5, seed=0)
    assert r2_beyond_mean(NearestPeople(0).fit(train), test, train) > 0.3


def test_nearest_neighbours_with_a_family_of_most_people():
    """Folds keep families together, so that few people may be left to look for neighbours among."""
    cohort = simulate_cohort(60, 8, 4, seed=0)
    cohort.phenotypes["family_id"] = ["big"] * 49 + [f"f{n}" for n in range(11)]
    model = NearestPeople(0).fit(cohort)
    assert np.isfinite(model.expected(cohort.phenotypes).weights).all()


@pytest.mark.parametrize(
    ("better", "worse"), [("ridge", "training mean"), ("banded component ridge", "ridge"), ("ridge", "nearest neighbours")]
)
def test_rivals_rank_as_on_all_simulated_people(better, worse):
    train, test = halves()
    assert r2_beyond_mean(rival(better), test, train) > r2_beyond_mean(rival(worse), test, train) + 0.001


def test_age_terms_help_where_age_acts_in_a_curve():
    cohort = simulate_cohort(900, 14, 4, seed=0, explained=0, measure="pearson", missing=0)
    age = cohort.phenotypes["age"].to_numpy()
    curve = ((age - age.mean()) / age.std()) ** 2
    values = modelled(cohort) + 0.5 * modelled(cohort).std(0) * (curve - curve.mean())[:, None] * np.sign(
        np.arange(cohort.n_edges) % 2 - 0.5
    )
    bent = Cohort(cohort.scale.inverse(values), cohort.phenotypes, cohort.atlas, measure="pearson", signed=True, described=cohort.described)
    train, test = bent.split(0.5, seed=0)
    scores = {
        name: r2_beyond_mean(RIVALS[name](0).fit(train), test, train)
        for name in ("component ridge", "component ridge with age terms", "banded component ridge")
    }
    assert scores["component ridge"] < 0.02
    assert scores["component ridge with age terms"] > 0.15
    assert scores["banded component ridge"] > 0.15

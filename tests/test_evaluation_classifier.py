"""The classifier two-sample test: planted cases, folds, and an AUC that is .5 where nothing differs."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from connectome_gnn.evaluation import classifier
from connectome_gnn.evaluation.classifier import component_features, principal_components, told_apart
from connectome_gnn.evaluation.told_apart import _around

E = 60


def rows(n, rng, scale=1.0):
    return scale * (rng.standard_normal((n, 4)) @ np.random.default_rng(9).standard_normal((4, E)) + rng.standard_normal((n, E)))


def told(x, y, seed=0, paired=False):
    values = np.concatenate([x, y]).astype(np.float32)
    units = np.concatenate([np.arange(len(x)), np.arange(len(y)) + (0 if paired else len(x))])
    return told_apart(component_features(values), np.arange(len(values)) >= len(x), units, np.random.default_rng(seed))


def test_auc_is_scikit_learns_and_its_influence_adds_up():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(80) < 0.4, rng.integers(0, 9, 80).astype(float)
    auc, influence = classifier._auc(scores, positive)
    assert auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert influence[positive].sum() == pytest.approx(0, abs=1e-12)
    assert influence[~positive].sum() == pytest.approx(0, abs=1e-12)
    # The derivative in the weight of one person.
    weight = np.ones(80)
    weight[3] += 1e-6
    slope = (roc_auc_score(positive, scores, sample_weight=weight) - auc) / 1e-6
    assert influence[3] == pytest.approx(slope, abs=1e-5)


def test_components_are_scikit_learns():
    values = rows(120, np.random.default_rng(1)) * np.linspace(1, 3, E)
    mean, directions = principal_components(values, 4, np.random.default_rng(0))
    known = PCA(4).fit(values)
    assert mean == pytest.approx(known.mean_)
    assert np.abs((directions * known.components_.T).sum(0)) == pytest.approx(1, abs=1e-4)


def test_group_mean_and_wrong_spread_are_found():
    rng = np.random.default_rng(2)
    x = rows(80, rng)
    assert told(x, np.tile(x.mean(0), (80, 1))).auc > 0.99
    assert told(x, rows(80, rng, scale=0.5)).auc > 0.9
    assert told(x, rows(80, rng) + 2).auc > 0.9


def test_larger_auc_is_not_lifted_by_taking_it():
    rng = np.random.default_rng(3)
    found = [told(rows(30, rng), rows(30, rng), seed) for seed in range(10)]
    chosen, plain = np.mean([f.auc for f in found]), np.mean([f.aucs.mean(1).max() for f in found])
    assert chosen == pytest.approx(0.5, abs=0.08)
    assert plain > chosen


def test_rows_of_a_unit_share_a_fold_and_each_fold_has_both():
    rng = np.random.default_rng(4)
    units = np.concatenate([np.repeat(np.arange(15), 2), np.repeat(np.arange(15), 2)])
    generated = np.arange(60) >= 30
    fold = classifier._folds(generated, units, rng)
    assert all(len(set(fold[units == unit])) == 1 for unit in range(15))
    assert all(generated[fold == f].any() and not generated[fold == f].all() for f in range(5))


def test_features_never_see_test_rows():
    values = rows(60, np.random.default_rng(5)).astype(np.float32)
    seen = component_features(values)(np.arange(40), np.arange(40, 60), np.random.default_rng(0))[0]
    values[40:] = 1e3
    again = component_features(values)(np.arange(40), np.arange(40, 60), np.random.default_rng(0))[0]
    assert np.array_equal(seen, again)


def test_interval_of_a_perfect_auc_ends_at_1_and_starts_below():
    draws = _around(1.0, np.zeros(400), 50)
    low, high = np.quantile(draws, (0.025, 0.975))
    assert high == 1
    assert 0.97 < low < 1
    assert np.quantile(_around(0.0, np.zeros(400), 50), (0.025, 0.975)) == pytest.approx([0, 1 - low], abs=2e-3)
    draws = _around(0.7, np.random.default_rng(0).normal(0, 0.02, 400), 100)
    assert draws.mean() == pytest.approx(0.7, abs=0.01)
    assert draws.std() > 0.02

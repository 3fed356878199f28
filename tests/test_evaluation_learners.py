"""Learners and what they predict: scikit-learn's answers on all edges, inner folds without leaks, scores as others compute them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, lasso_path
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from tiny import make_cohort

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import learners, linear_paths
from connectome_gnn.evaluation.learners import EstimatorLearner, Standard, chosen_learners, inner_folds
from connectome_gnn.evaluation.targets import read_target, score_predictions

LASSO, RIDGE, L1_LOGISTIC, L2_LOGISTIC = chosen_learners()


def planted(n=60, n_edges=400, seed=0, signal=1.0):
    """Standardised edges with correlated noise, and a number that a few of them hold."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_edges)) + rng.standard_normal((n, 5)) @ rng.standard_normal((5, n_edges)) * 0.5
    y = signal * (x[:, :5] @ [1, -1, 0.8, 0.6, -0.7]) + rng.standard_normal(n)
    return Standard.of(x.astype(np.float32)).transform(x.astype(np.float32)), 50 + 8 * y


def folds_of(n, k=5, seed=0):
    fold = np.random.default_rng(seed).permutation(n) % k
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k)]


def plain(y):
    return np.stack([1 - y, y], 1).astype(np.float64)


def whole(path):
    """Coefficients (S, F) and intercepts (S,) of a path."""
    steps = list(path)
    return np.stack([coefficients for coefficients, _ in steps]), np.array([intercept for _, intercept in steps])


# --- learners -------------------------------------------------------------------------------------------------------------


def test_ridge_in_the_space_of_rows_is_ridge_on_all_edges():
    x, y = planted()
    unit = (x.astype(float) ** 2).sum() / len(x) ** 2
    strengths, folds = unit * learners.L2_STRENGTHS, folds_of(len(x))
    errors = [
        sum(((y[held] - Ridge(alpha=s * len(rows)).fit(x[rows], y[rows]).predict(x[held])) ** 2).sum() for rows, held in folds)
        for s in strengths
    ]
    best = strengths[int(np.argmin(errors))]
    fresh = planted(30, seed=1)[0]
    theirs = Ridge(alpha=best * len(x)).fit(x, y).predict(fresh)
    np.testing.assert_allclose(RIDGE.fit(x, y, folds)(fresh), theirs, rtol=1e-4)


def test_l2_logistic_in_the_space_of_rows_is_the_same_on_all_edges():
    x, y = planted()
    y = (y > np.median(y)).astype(float)
    unit = (x.astype(float) ** 2).sum() / len(x) ** 2 / 4
    strengths, folds = unit * learners.L2_STRENGTHS, folds_of(len(x))

    def model(s, rows):
        return LogisticRegression(C=1 / (s * len(rows)), tol=1e-8, max_iter=5000).fit(x[rows], y[rows])

    losses = [
        -sum(np.log(model(s, rows).predict_proba(x[held])[np.arange(len(held)), y[held].astype(int)]).sum() for rows, held in folds)
        for s in strengths
    ]
    best = model(strengths[int(np.argmin(losses))], np.arange(len(x)))
    fresh = planted(30, seed=1)[0]
    np.testing.assert_allclose(L2_LOGISTIC.fit(x, plain(y), folds)(fresh), best.predict_proba(fresh), atol=2e-3)


def test_lasso_on_few_edges_is_lasso_on_all_edges():
    x, y = planted()
    strengths = np.abs(x.T @ (y - y.mean())).max() / len(y) * learners.L1_STRENGTHS
    ours, intercepts = whole(linear_paths.l1_path(linear_paths.solve_lasso, False, x, y, strengths))
    theirs = lasso_path(x.astype(float), y - y.mean(), alphas=strengths, tol=1e-8, max_iter=100_000)[1].T
    assert (ours[0] == 0).all() and (theirs[-1] != 0).sum() > 20
    np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())
    np.testing.assert_allclose(intercepts, y.mean(), atol=1e-2)


def test_edges_that_a_weak_strength_calls_for_are_found_at_once():
    """A single strength, far from the empty model, has the answer of the whole path."""
    x, y = planted()
    strengths = np.abs(x.T @ (y - y.mean())).max() / len(y) * learners.L1_STRENGTHS
    path, _ = whole(linear_paths.l1_path(linear_paths.solve_lasso, False, x, y, strengths[:8]))
    alone, _ = whole(linear_paths.l1_path(linear_paths.solve_lasso, False, x, y, strengths[7:8]))
    np.testing.assert_allclose(alone[0], path[7], atol=0.01 * np.abs(path).max())
    residual = y - y.mean() - x @ alone[0]
    assert np.abs(x.T @ residual).max() / len(y) < 1.01 * strengths[7]


def test_l1_logistic_on_few_edges_is_the_same_on_all_edges():
    x, y = planted()
    y = (y > np.quantile(y, 0.3)).astype(float)
    strengths = np.abs(x.T @ (y - y.mean())).max() / len(y) * learners.L1_STRENGTHS
    ours, intercepts = whole(linear_paths.l1_path(linear_paths.solve_l1_logistic, True, x, y, strengths))
    for place in (2, 5, 8):
        theirs, intercept = linear_paths.solve_l1_logistic(x, y, strengths[place] * len(y))
        assert (theirs != 0).sum() > 2
        np.testing.assert_allclose(ours[place], theirs, atol=0.02 * np.abs(theirs).max())
        assert intercepts[place] == pytest.approx(intercept, abs=0.02)
        # On all edges the conditions of the optimum hold: no slope above the strength, and that slope where an edge is chosen.
        residual = y - 1 / (1 + np.exp(-(x @ ours[place] + intercepts[place])))
        slope = x.T @ residual / len(y)
        assert np.abs(slope).max() < 1.02 * strengths[place]
        chosen = ours[place] != 0
        np.testing.assert_allclose(slope[chosen], np.sign(ours[place][chosen]) * strengths[place], rtol=0.05)


@pytest.mark.parametrize("learner", [LASSO, RIDGE])
def test_numbers_that_edges_hold_are_predicted_and_others_are_not(learner):
    x, y = planted(200, 100, signal=2.0)
    fit = learner.fit(x[:120], y[:120], folds_of(120))
    assert pearsonr(fit(x[120:]), y[120:])[0] > 0.85
    shuffled = np.random.default_rng(0).permutation(y)
    predicted = learner.fit(x[:120], shuffled[:120], folds_of(120))(x[120:])
    assert predicted.std() < 0.35 * y.std()  # inner folds shrink what is not there
    assert abs(score_predictions(shuffled[120:], predicted)["r"][0]) < 0.25


@pytest.mark.parametrize("learner", [L1_LOGISTIC, L2_LOGISTIC])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_that_edges_hold_are_predicted(learner, n_classes):
    x, y = planted(240, 100, signal=2.0)
    y = (pd.qcut(y, n_classes, labels=False)[:, None] == np.arange(n_classes)).astype(float)
    predicted = learner.fit(x[:160], y[:160], folds_of(160))(x[160:])
    np.testing.assert_allclose(predicted.sum(1), 1)
    assert predicted.shape == (80, n_classes) and predicted.min() >= 0
    assert score_predictions(y[160:], predicted)["auc"][0] > 0.72


@pytest.mark.parametrize("learner", [L1_LOGISTIC, L2_LOGISTIC, EstimatorLearner("lda", LogisticRegression(C=0.01), True)])
def test_a_row_of_two_classes_is_one_of_each_by_half(learner):
    """Soft labels: rows that are half of either class teach as both rows with half the weight, so all of them teach nothing."""
    x, y = planted(40, 30)
    neither = np.full((40, 2), 0.5)
    np.testing.assert_allclose(learner.fit(x, neither, [])(x), 0.5, atol=1e-3)
    sharp = plain(y > np.median(y))
    soft = 0.9 * sharp + 0.05
    agree = score_predictions(sharp, learner.fit(x, soft, folds_of(40))(x))["auc"][0]
    assert agree > 0.8


def test_soft_labels_are_weights():
    x, y = planted(40, 30)
    share = 1 / (1 + np.exp(-(y - 50) / 8))
    rows, labels = np.r_[np.arange(40), np.arange(40)], np.repeat([1, 0], 40)
    theirs = LogisticRegression(C=0.01, tol=1e-8, max_iter=1000).fit(x[rows], labels, sample_weight=np.r_[share, 1 - share])
    coefficients, intercepts = whole(linear_paths.l2_logistic_path(x.astype(float), share, np.array([100 / 40])))
    np.testing.assert_allclose(coefficients, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(intercepts, theirs.intercept_, atol=1e-4)


def test_rows_that_are_all_alike_teach_nothing_and_do_no_harm():
    x, y = planted(10, 20)
    for learner in (LASSO, RIDGE):
        np.testing.assert_allclose(learner.fit(x, np.full(10, 7.0), folds_of(10))(x), 7.0, atol=1e-6)
        np.testing.assert_allclose(learner.fit(np.zeros_like(x), y, folds_of(10))(x), y.mean(), rtol=1e-6)
    only, some = plain(np.ones(10)), plain((np.arange(10) < 3).astype(float))
    for learner in (L1_LOGISTIC, L2_LOGISTIC):
        assert (learner.fit(x, only, folds_of(10))(x)[:, 1] > 0.99).all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(learner.fit(np.zeros_like(x), some, folds_of(10))(x)[:, 1], 0.3, atol=1e-6)


def test_edges_that_do_not_differ_take_no_part():
    x = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    x[:, 2] = 5.1
    standard = Standard.of(x)
    np.testing.assert_allclose(standard.transform(x).mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.transform(x).std(0), [1, 1, 0, 1], atol=1e-6)
    assert (standard.transform(x + 100)[:, 2] == 0).all()


def test_scikit_learns_estimators_under_names_of_their_own():
    chosen = chosen_learners({"bayes": GaussianNB(), "squares": LinearRegression(), "neighbours": KNeighborsClassifier(3)})
    assert [(one.name, one.classes) for one in chosen] == [("bayes", True), ("squares", False), ("neighbours", True)]
    x, y = planted(80, 6)
    np.testing.assert_allclose(chosen[1].fit(x, y, [])(x), LinearRegression().fit(x, y).predict(x), rtol=1e-5)
    three = (pd.qcut(y, 3, labels=False)[:, None] == np.arange(3)).astype(float)
    np.testing.assert_allclose(chosen[0].fit(x, three, [])(x), GaussianNB().fit(x, three.argmax(1)).predict_proba(x))
    with pytest.raises(ConnectomeError, match="'neighbours' takes no sample_weight"):
        chosen[2].fit(x, np.full((80, 2), 0.5), [])
    without = EstimatorLearner("lda", LinearDiscriminantAnalysis(), True)
    assert without.fit(x, np.eye(3)[[0, 2] * 40], [])(x).shape == (80, 3)  # a class that is not there has probability 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [("rdige", "unknown learner 'rdige'; the learners are 'lasso'"), ({"a": Ridge}, "'a': expected a regressor"), ({"b": 3}, "got 3")],
)
def test_what_is_no_learner(wrong, says):
    with pytest.raises(ConnectomeError, match=says):
        chosen_learners(wrong)


# --- inner folds ----------------------------------------------------------------------------------------------------------


def made_rows(n=20, n_made=60, seed=0):
    rng = np.random.default_rng(seed)
    made_from = np.concatenate([np.repeat(np.arange(n)[:, None], 2, 1), rng.integers(n, size=(n_made, 2))])
    return made_from, np.arange(n + n_made) < n


def test_nothing_made_from_a_person_is_learned_from_while_they_are_predicted():
    made_from, real = made_rows()
    families = np.arange(20) // 2
    folds = inner_folds(made_from, real, families, None, np.random.default_rng(0))
    assert len(folds) == 5
    for rows, held in folds:
        assert real[held].all()
        assert not set(families[made_from[rows]].ravel()) & set(families[made_from[held]].ravel())
        assert (~real[rows]).any()  # made-up rows of other people are learned from
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(20))


def test_made_up_rows_are_predicted_where_there_is_nobody_else():
    made_from = np.repeat(np.random.default_rng(0).integers(20, size=60)[:, None], 2, 1)
    folds = inner_folds(made_from, np.zeros(60, bool), np.arange(20), None, np.random.default_rng(0))
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(60))
    for rows, held in folds:
        assert not set(made_from[rows, 0]) & set(made_from[held, 0])


def test_every_fold_has_some_of_each_class():
    classes = np.array([0] * 30 + [1] * 6)
    made_from = np.repeat(np.arange(36)[:, None], 2, 1)
    for _, held in inner_folds(made_from, np.ones(36, bool), np.arange(36), classes, np.random.default_rng(0)):
        assert set(classes[held]) == {0, 1}


def test_few_people_have_few_folds():
    def folds(n):
        made_from = np.repeat(np.arange(n)[:, None], 2, 1)
        return inner_folds(made_from, np.ones(n, bool), np.arange(n), None, np.random.default_rng(0))

    assert [len(folds(n)) for n in (1, 2, 3, 9)] == [0, 2, 3, 5]


# --- targets --------------------------------------------------------------------------------------------------------------


def test_scores_of_numbers_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(60, 8, 50), rng.normal(58, 6, 50)
    predicted += 0.5 * truth
    weights = rng.integers(0, 4, (6, 50)).astype(np.float32)
    scores = score_predictions(truth, predicted, weights)
    for row, w in enumerate(weights.astype(int)):
        t, p = np.repeat(truth, w), np.repeat(predicted, w)
        assert scores["r"][row] == pytest.approx(pearsonr(t, p)[0], abs=1e-10)
        assert scores["mae"][row] == pytest.approx(mean_absolute_error(t, p), abs=1e-10)
        assert scores["r2"][row] == pytest.approx(r2_score(t, p), abs=1e-10)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_of_classes_are_scikit_learns(n_classes):
    rng = np.random.default_rng(1)
    truth = rng.integers(n_classes, size=80)
    predicted = np.round(rng.dirichlet(np.ones(n_classes), 80) + 0.3 * np.eye(n_classes)[truth], 1)  # with ties
    weights = rng.integers(0, 4, (6, 80)).astype(np.float32)
    scores = score_predictions(np.eye(n_classes)[truth], predicted, weights)
    for row, w in enumerate(weights.astype(int)):
        t, p = np.repeat(truth, w), np.repeat(predicted, w, 0)
        theirs = np.mean([roc_auc_score(t == c, p[:, c]) for c in (range(n_classes) if n_classes > 2 else [1])])
        assert scores["auc"][row] == pytest.approx(theirs, abs=1e-12)
        assert scores["accuracy"][row] == pytest.approx(accuracy_score(t, p.argmax(1)), abs=1e-12)


def test_scores_at_their_edges():
    truth = np.arange(5.0)
    same = score_predictions(truth, np.full(5, 2.0))
    assert (same["r"][0], same["r2"][0], same["mae"][0]) == (0, 0, pytest.approx(1.2))
    assert score_predictions(truth, truth)["r"][0] == pytest.approx(1)
    assert np.isnan(score_predictions(np.ones(5), truth)["r"][0]) and np.isnan(score_predictions(np.ones(5), truth)["r2"][0])
    classes = np.eye(2)[[0, 1, 1, 0, 1]]
    assert score_predictions(classes, np.full((5, 2), 0.5))["auc"][0] == 0.5
    assert np.isnan(score_predictions(np.eye(2)[[1, 1]], np.eye(2))["auc"][0])


def test_a_target_is_what_its_column_is():
    cohort = make_cohort(40)
    age, sex, site = (read_target(cohort, name) for name in ("age", "sex", "site"))
    assert age.scores == ("r", "mae", "r2") and sex.scores == site.scores == ("auc", "accuracy")
    assert sex.codes == ("0", "1") and len(site.codes) == 3
    assert read_target(cohort, "smoking").codes == ()  # levels in order count as numbers
    assert [int((~target.known).sum()) for target in (age, sex, site)] == [1, 1, 1]
    rows = np.flatnonzero(site.known)
    given = [site.codes[place] for place in site.of(rows).argmax(1)]
    assert given == list(cohort.phenotypes["site"].iloc[rows])
    np.testing.assert_array_equal(age.of(rows)[1:], cohort.phenotypes["age"].iloc[rows][1:])


def test_what_cannot_be_a_target():
    cohort = make_cohort(40)
    table = cohort.phenotypes.assign(alike=3.0, one="0", nothing=np.nan, words=[f"word {n}" for n in range(40)], family_id="f")
    cohort = make_cohort(40, phenotypes=table)
    for name, says in {
        "agee": "no phenotype 'agee' to predict; it has 'age', 'sex'",
        "family_id": "no phenotype 'family_id'",
        "alike": "everybody has alike '3'",
        "one": "everybody has one",
        "nothing": "nobody has a value of 'nothing'",
        "words": "free text",
    }.items():
        with pytest.raises(ConnectomeError, match=says):
            read_target(cohort, name)

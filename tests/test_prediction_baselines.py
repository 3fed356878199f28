from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_people import planted
from scipy.linalg import logm
from scipy.stats import pearsonr
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.preprocessing import KernelCenterer, StandardScaler

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction import (
    BestOf,
    BrainNetCNN,
    BrainNetCNNConfig,
    ConnectomePredictiveModelling,
    KernelRidge,
    LogisticRidge,
    MeanPredictor,
    Predictor,
    RidgeRegression,
    load_predictor,
)
from connectome_gnn.prediction.brainnetcnn import EdgeToEdge
from connectome_gnn.prediction.edge_rows import EdgeRows, folds_within, modelled_edges
from connectome_gnn.prediction.interface import read_target
from connectome_gnn.prediction.logistic_paths import held_out_losses
from connectome_gnn.prediction.matrix_logarithm import log_euclidean, log_euclidean_slopes
from connectome_gnn.prediction.spectrum import Spectrum

QUICK = BrainNetCNNConfig(epochs=3, edge_filters=2, node_filters=4, graph_filters=8)
MODELS = [
    ("age", MeanPredictor()),
    ("sex", MeanPredictor()),
    ("age", RidgeRegression()),
    ("sex", LogisticRidge()),
    ("group", LogisticRidge()),
    ("age", KernelRidge()),
    ("group", KernelRidge()),
    ("age", ConnectomePredictiveModelling()),
    ("group", ConnectomePredictiveModelling(0.05)),
    ("age", ConnectomePredictiveModelling(confounds=["motion"])),
    ("age", BrainNetCNN(QUICK)),
    ("group", BrainNetCNN(QUICK)),
]


@pytest.fixture(scope="module")
def people() -> tuple[Cohort, Cohort]:
    return planted().split(0.7, seed=0)


def standardised(train: Cohort, test: Cohort) -> tuple[np.ndarray, np.ndarray]:
    scaler = StandardScaler().fit(modelled_edges(train).astype(np.float64))
    return scaler.transform(modelled_edges(train).astype(np.float64)), scaler.transform(modelled_edges(test).astype(np.float64))


@pytest.mark.parametrize("n_people", [40, 120])  # fewer people than edges, and more
def test_ridge_is_scikit_learns_at_the_strength_that_leaving_out_prefers(n_people: int) -> None:
    train, test = planted(n_people).split(0.7, seed=1)
    model = RidgeRegression().fit(train, "age")
    x, unseen = standardised(train, test)
    strengths = EdgeRows.of(train, None).spectrum.strengths()
    oracle = RidgeCV(alphas=strengths, scoring="neg_mean_squared_error").fit(x, train.phenotypes["age"])
    assert model.facts["strength"] == pytest.approx(oracle.alpha_, rel=1e-5)
    np.testing.assert_allclose(model.predict(test), oracle.predict(unseen), rtol=1e-5)
    np.testing.assert_allclose(
        model.predict(test), oracle.set_params(alphas=[model.facts["strength"]]).fit(x, train.phenotypes["age"]).predict(unseen), rtol=1e-6
    )


def test_what_those_left_out_would_be_predicted_is_exact() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 12)), generator.normal(size=30)
    x -= x.mean(0)
    units = np.resize(np.arange(13), 30)
    spectrum = Spectrum.of_rows(x)
    found = spectrum.left_out(y[:, None], 3.0, units)[:, 0]
    oracle = cross_val_predict(RidgeCV(alphas=[3.0]), x, y, cv=LeaveOneGroupOut(), groups=units)
    np.testing.assert_allclose(found, oracle, rtol=1e-8)


def test_logistic_is_scikit_learns_optimum(people: tuple[Cohort, Cohort]) -> None:
    train, test = people
    model = LogisticRidge().fit(train, "sex")
    x, unseen = standardised(train, test)
    oracle = LogisticRegression(C=1 / (model.facts["strengths"][0] * len(train)), solver="newton-cholesky", tol=1e-10)
    oracle.fit(x, train.phenotypes["sex"])
    assert model.classes_ == tuple(oracle.classes_)
    np.testing.assert_allclose(model.predict_proba(test), oracle.predict_proba(unseen), atol=1e-6)


def test_logistic_strengths_are_judged_by_the_loss_of_people_held_out(people: tuple[Cohort, Cohort]) -> None:
    rows = EdgeRows.of(people[0], None)
    points = rows.spectrum.coordinates
    y = (people[0].phenotypes["sex"] == "M").to_numpy(float)
    strengths, folds = np.array([1.0, 0.1, 0.01]), folds_within(rows.units, None, 0)
    found = held_out_losses(points, y[:, None], strengths, folds)[:, 0]
    for strength, loss in zip(strengths, found, strict=True):
        expected = 0.0
        for train, held in folds:
            oracle = LogisticRegression(C=1 / (strength * len(train)), solver="newton-cholesky", tol=1e-10).fit(points[train], y[train])
            expected -= np.log(oracle.predict_proba(points[held])[np.arange(len(held)), y[held].astype(int)]).sum()
        assert loss == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("kernel", ["linear", "cosine", "rbf", "riemannian"])
def test_kernel_ridge_is_scikit_learns(people: tuple[Cohort, Cohort], kernel: str) -> None:
    train, test = people
    model = KernelRidge([kernel]).fit(train, "age")
    x, unseen = standardised(train, test)
    if kernel == "riemannian":
        x, unseen = (log_euclidean(modelled_edges(one)).astype(np.float64) for one in people)
    elif kernel == "cosine":
        x, unseen = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (x, unseen))
    products, others = (x @ x.T, unseen @ x.T)
    if kernel == "linear":
        products, others = products / x.shape[1], others / x.shape[1]
    if kernel == "rbf":
        products, others = (np.exp(-((one[:, None] - x) ** 2).sum(2) / (2 * model.facts["width"])) for one in (x, unseen))
    centre = KernelCenterer().fit(products)
    age = train.phenotypes["age"].to_numpy()
    oracle = SklearnKernelRidge(kernel="precomputed", alpha=model.facts["strength"]).fit(centre.transform(products), age - age.mean())
    np.testing.assert_allclose(model.predict(test), oracle.predict(centre.transform(others)) + age.mean(), rtol=2e-5)


def test_matrix_logarithms_have_the_inner_product_of_matrices() -> None:
    series = np.random.default_rng(0).normal(size=(4, 6, 40))
    matrices = np.array([np.corrcoef(one) for one in series])
    found = log_euclidean(np.arctanh(to_vectors(matrices)).astype(np.float32)).astype(np.float64)
    logs = [logm(0.9 * one + 0.1 * np.eye(6)) for one in matrices]
    expected = [[np.trace(a @ b).real for b in logs] for a in logs]
    np.testing.assert_allclose(found @ found.T, expected, rtol=1e-4)


def test_slopes_of_matrix_logarithms_are_those_of_small_steps() -> None:
    generator = np.random.default_rng(0)
    values = np.arctanh(to_vectors(np.array([np.corrcoef(one) for one in generator.normal(size=(3, 6, 40))])))
    values[2] = 0.4  # eigenvalues that are alike
    weights = generator.normal(size=6 + 15)
    found = log_euclidean_slopes(values, weights)
    for edge in (0, 7, 14):
        step = np.zeros(15)
        step[edge] = 1e-2
        sides = [log_euclidean(values + side * step).astype(np.float64) @ weights for side in (1, -1)]
        np.testing.assert_allclose(found[:, edge], (sides[0] - sides[1]) / 2e-2, atol=2e-3)


def test_cpm_is_what_the_paper_says(people: tuple[Cohort, Cohort]) -> None:
    train, test = people
    model = ConnectomePredictiveModelling(0.01).fit(train, "age")
    x, unseen, y = modelled_edges(train), modelled_edges(test), train.phenotypes["age"].to_numpy()
    r, p = np.array([pearsonr(edge, y) for edge in x.T]).T
    positive, negative = (p < 0.01) & (r > 0), (p < 0.01) & (r < 0)
    assert positive.sum() >= 5
    np.testing.assert_array_equal(model.networks[:, :, 0], np.stack([positive, negative], 1))
    sums = np.stack([np.ones(len(x)), x[:, positive].sum(1), x[:, negative].sum(1)], 1)
    line = np.linalg.lstsq(sums, y, rcond=None)[0]
    expected = np.stack([np.ones(len(unseen)), unseen[:, positive].sum(1), unseen[:, negative].sum(1)], 1) @ line
    np.testing.assert_allclose(model.predict(test), expected, rtol=1e-4)


def test_cpm_holds_confounds_constant() -> None:
    train = planted(120)
    mixed = train.phenotypes.assign(score=train.phenotypes["motion"] * 3 + train.phenotypes["noise"] * 0.1)
    train.phenotypes = mixed
    free, held = (ConnectomePredictiveModelling(0.01, confounds=names).fit(train, "score").networks[:, :, 0] for names in ((), ["motion"]))
    moved = np.zeros(train.n_edges, bool)
    moved[2::6] = True
    assert free[moved, 0].mean() > 0.7
    assert held[moved].sum() <= 1


@pytest.mark.parametrize(("target", "model"), MODELS, ids=lambda one: getattr(one, "name", one))
def test_predictors_have_one_interface_and_come_back_from_disk(people: tuple[Cohort, Cohort], target: str, model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train, test = people
    fitted = model.fit(train, target)
    assert isinstance(fitted, Predictor)
    fitted.save(tmp_path / "model")
    for again in (type(model).load(tmp_path / "model"), load_predictor(tmp_path / "model")):
        np.testing.assert_array_equal(again.predict(test), fitted.predict(test))
    if fitted.task == "classification":
        shares = fitted.predict_proba(test)
        assert fitted.classes_ == read_target(train, target).classes
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
        assert set(fitted.predict(test)) <= set(fitted.classes_)
        np.testing.assert_array_equal(load_predictor(tmp_path / "model").predict_proba(test), shares)
    else:
        with pytest.raises(ConnectomeError, match="no probabilities"):
            fitted.predict_proba(test)


def test_a_changed_model_file_is_refused(people: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    RidgeRegression().fit(people[0], "age").save(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"0" * 50)
    with pytest.raises(ConnectomeError, match="changed"):
        load_predictor(tmp_path / "model")


@pytest.mark.parametrize("model", [RidgeRegression(), KernelRidge(), ConnectomePredictiveModelling()], ids=lambda one: one.name)
def test_many_targets_at_once_are_each_as_fitted_alone(people: tuple[Cohort, Cohort], model) -> None:  # type: ignore[no-untyped-def]
    train, test = people
    target = read_target(train, "age")
    targets = [target.take(np.random.default_rng(seed).permutation(len(train))) for seed in range(3)]
    for one, together in zip(targets, model.fit_each(train, targets), strict=True):
        np.testing.assert_allclose(together.predict(test), model.fit(train, one.values).predict(test), rtol=1e-6)


def test_order_of_regions_does_not_matter(people: tuple[Cohort, Cohort]) -> None:
    train, test = people
    order = np.random.default_rng(0).permutation(test.n_regions)
    atlas = Atlas([test.atlas.labels[place] for place in order])
    moved = Cohort(to_vectors(test.dense()[:, order][:, :, order]), test.phenotypes, atlas, measure="pearson", signed=True)
    model = RidgeRegression().fit(train, "age")
    np.testing.assert_allclose(model.predict(moved), model.predict(test), rtol=1e-5)


def test_edge_to_edge_filters_are_crosses() -> None:
    import torch

    layer = EdgeToEdge(1, 2, 4)
    x = torch.randn(3, 1, 4, 4)
    found = layer(x)
    a, b = layer.row.weight[:, 0, 0], layer.column.weight[:, 0, :, 0]
    expected = (
        torch.einsum("bik,fk->bfi", x[:, 0], a)[..., None]
        + torch.einsum("bkj,fk->bfj", x[:, 0], b)[:, :, None]
        + layer.row.bias[:, None, None]
    )
    torch.testing.assert_close(found, expected)


def test_baselines_find_what_is_there_and_nothing_else() -> None:
    train, test = planted(160, strength=1.5).split(0.6, seed=0)
    for model in (RidgeRegression(), KernelRidge(), ConnectomePredictiveModelling(), BrainNetCNN(BrainNetCNNConfig(epochs=25))):
        assert np.corrcoef(model.fit(train, "age").predict(test), test.phenotypes["age"])[0, 1] > 0.6, model
        assert abs(np.corrcoef(RidgeRegression().fit(train, "noise").predict(test), test.phenotypes["noise"])[0, 1]) < 0.3
    for model in (LogisticRidge(), KernelRidge(), ConnectomePredictiveModelling()):
        said = model.fit(train, "sex").predict_proba(test)[:, 1]
        assert roc_auc_score(test.phenotypes["sex"] == "M", said) > 0.75, model


def test_the_best_is_chosen_by_inner_folds(people: tuple[Cohort, Cohort]) -> None:
    model = BestOf(["mean", "ridge"]).fit(people[0], "age")
    assert model.chosen == "ridge" and model.losses["ridge"] < model.losses["mean"]
    np.testing.assert_array_equal(model.predict(people[1]), RidgeRegression().fit(people[0], "age").predict(people[1]))
    assert BestOf(["mean", "ridge"]).fit(people[0], "sex").predict_proba(people[1]).shape == (len(people[1]), 2)


def test_bad_input_is_refused_in_a_sentence(people: tuple[Cohort, Cohort]) -> None:
    train, test = people
    with pytest.raises(ConnectomeError, match="before it is fitted"):
        RidgeRegression().predict(test)
    with pytest.raises(ConnectomeError, match="predicts numbers"):
        RidgeRegression().fit(train, "sex")
    with pytest.raises(ConnectomeError, match="predicts classes"):
        LogisticRidge().fit(train, "age")
    gaps = train.take(slice(None))
    gaps.phenotypes = gaps.phenotypes.assign(age=gaps.phenotypes["age"].where(gaps.phenotypes["age"] > 30))
    with pytest.raises(ConnectomeError, match="people have no 'age'"):
        RidgeRegression().fit(gaps, "age")
    with pytest.raises(ConnectomeError, match="at least two levels"):
        LogisticRidge().fit(train.take(train.phenotypes["sex"] == "F"), "sex")
    fitted = RidgeRegression().fit(train, "age")
    with pytest.raises(ConnectomeError, match="another atlas"):
        fitted.predict(planted(10, 12))
    with pytest.raises(ConnectomeError, match="same kind of weight"):
        fitted.predict(planted(10, signed=False))
    broken = train.weights.copy()
    broken[3, 5] = np.nan
    with pytest.raises(ConnectomeError, match="NaN"):
        RidgeRegression().fit(planted(len(train), weights=broken, check=False), "age")
    with pytest.raises(ConnectomeError, match="riemannian"):
        KernelRidge(["riemannian"]).fit(planted(40, signed=False), "age")
    with pytest.raises(ConnectomeError, match="between 0 and 1"):
        ConnectomePredictiveModelling(2.0)

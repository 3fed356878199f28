"""The stack of closed-form paths: weights that scipy finds too, and sums that equal explicit predictions of people left out."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import standardised
from scipy.optimize import minimize

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.generation.closed_form import ClosedForm, Statistics, _held_edges, _Paths, stack_weights
from connectome_gnn.generation.messages import backbone_neighbours, similar_profiles
from connectome_gnn.generation.model import TrainingData
from connectome_gnn.simulate import simulate_cohort


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(simulate_cohort(150, 14, 8, seed=2, explained=0.2), n_components=300, seed=0)


@pytest.fixture(scope="module")
def neighbours(data) -> dict[str, np.ndarray]:
    backbone = to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32))
    return {"similar regions": similar_profiles(backbone), "the backbone": backbone_neighbours(backbone)}


@pytest.fixture(scope="module")
def folds(data) -> list[tuple[np.ndarray, np.ndarray]]:
    return [*data.folds(3, 0), *data.folds(4, 1)]


@pytest.fixture(scope="module")
def fitted(data, neighbours, folds) -> list[_Paths]:
    return [fit_paths(data, rows, neighbours) for rows, _ in folds]


def fit_paths(data: TrainingData, rows: np.ndarray, neighbours: dict[str, np.ndarray]) -> _Paths:
    values, scores = data.values[rows], data.scores[rows]
    return _Paths.fit(data.features, values, scores, Statistics.of(values, scores), data.space, neighbours)


def explicit(paths: _Paths, data: TrainingData, cohort: Cohort, rows: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each path's predictions for held-out people on edges (paths, n, kept), and these people's deviations (n, kept)."""
    edges = standardised(cohort, cohort)
    design = np.concatenate([data.values[held], paths.directions.transform(data.values[held])], 1) - paths.centre
    return np.stack([design @ effect.astype(np.float64) for effect in paths.maps.values()]), edges[held] - edges[rows].mean(0)


# --- weights ------------------------------------------------------------------------------------------------------------


def problem(seed: int, n_paths: int = 7) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.standard_normal(200)
    paths = draw.uniform(-0.5, 1, (n_paths, 1)) * truth + draw.uniform(0.1, 3) * draw.standard_normal((n_paths, 200))
    return paths @ paths.T, paths @ truth


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_those_of_a_general_optimiser(seed):
    gram, along = problem(seed)

    def loss(w: np.ndarray) -> float:
        return w @ gram @ w - 2 * along @ w

    reference = minimize(
        loss,
        np.full(7, 0.1),
        jac=lambda w: 2 * (gram @ w - along),
        method="SLSQP",
        bounds=[(0, None)] * 7,
        constraints={"type": "ineq", "fun": lambda w: 1 - w.sum()},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    weights = stack_weights(gram, along)
    assert (weights >= 0).all()
    assert weights.sum() <= 1 + 1e-12
    assert loss(weights) <= reference.fun + 1e-6 * abs(reference.fun)
    np.testing.assert_allclose(weights, reference.x, atol=2e-3)


def test_all_of_these_problems_are_not_alike():
    sums = [stack_weights(*problem(seed)).sum() for seed in range(8)]
    assert min(sums) < 0.9
    assert max(sums) == pytest.approx(1)


def test_weights_of_paths_that_are_almost_copies():
    gram, along = problem(1)
    gram, along = np.pad(gram, (0, 1), mode="edge"), np.append(along, along[-1])
    gram[-1, -1] = gram[-1, -2]
    weights = stack_weights(gram, along)
    np.testing.assert_allclose(np.append(weights[:-2], weights[-2:].sum()), stack_weights(*problem(1)), atol=1e-4)


def test_nothing_that_helps_gets_no_weight():
    gram, along = problem(0)
    assert (stack_weights(gram, -np.abs(along)) == 0).all()
    assert (stack_weights(np.zeros((3, 3)), np.zeros(3)) == 0).all()


# --- sums ---------------------------------------------------------------------------------------------------------------


def test_statistics_give_centred_normal_equations(data):
    values, scores = data.values[:90], data.scores[:90]
    system, rotation = Statistics.of(values, scores).system()
    a, t = values - values.mean(0), (scores - scores.mean(0)) @ rotation
    np.testing.assert_allclose(system.gram, a.T @ a, atol=1e-8)
    np.testing.assert_allclose(system.cross, a.T @ t, atol=1e-7)
    np.testing.assert_allclose(t.T @ t, np.diag(system.total), atol=1e-6 * system.total[0])
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(rotation.shape[1]), atol=1e-10)
    assert (np.diff(system.total) <= 0).all()


def test_agreement_equals_explicit_predictions_on_edges(data, folds, fitted):
    """No truncation below 600 people: what is computed from sums is exact, for edges and not only for their components."""
    cohort = data.cohort
    held_edges = _held_edges(data.values, data.space, cohort, folds)
    for (rows, held), paths, edges in zip(folds, fitted, held_edges, strict=True):
        predictions, real = explicit(paths, data, cohort, rows, held)
        gram, along, energy = paths.agreement(data.values[held], data.scores[held], edges, data.space)
        flat = predictions.reshape(len(predictions), -1)
        scale = np.sqrt(np.outer((flat**2).sum(1), (flat**2).sum(1)))
        assert scale.min() > 0
        assert np.abs(gram - flat @ flat.T).max() < 1e-4 * scale.min()
        assert np.abs(along - flat @ real.ravel()).max() < 1e-4 * np.sqrt(scale.min() * (real**2).sum())
        assert energy == pytest.approx((real**2).sum(), rel=1e-4)


def test_the_fit_weighs_paths_on_people_left_out(data, neighbours, folds, fitted):
    cohort = data.cohort
    model, residual = ClosedForm.fit(data.features, data.values, data.scores, data.space, cohort, folds, neighbours)
    gram, along, energy, left = 0.0, 0.0, 0.0, np.zeros((2, *data.scores.shape))
    for (rows, held), paths in zip(folds, fitted, strict=True):
        predictions, real = explicit(paths, data, cohort, rows, held)
        flat = predictions.reshape(len(predictions), -1)
        gram, along, energy = gram + flat @ flat.T, along + flat @ real.ravel(), energy + (real**2).sum()
    names = list(fitted[0].maps)
    assert list(model.paths.index) == [*names, "all together"]
    weights = model.paths["weight"].to_numpy()[:-1]
    np.testing.assert_allclose(weights, stack_weights(gram, along), atol=2e-3)
    np.testing.assert_allclose(model.paths["r2"][:-1], (2 * along - np.diag(gram)) / energy, atol=1e-5)
    together = 0.0
    for number, ((rows, held), paths) in enumerate(zip(folds, fitted, strict=True)):
        predictions, real = explicit(paths, data, cohort, rows, held)
        error = real - np.tensordot(weights, predictions, 1)
        together += (error**2).sum()
        left[int(number >= 3), held] = error @ data.space.basis.T
    assert model.paths.loc["all together", "r2"] == pytest.approx(1 - together / energy, abs=1e-5)
    assert model.paths.loc["all together", "weight"] == pytest.approx(weights.sum())
    np.testing.assert_allclose(residual, left.mean(0), atol=1e-4 * np.abs(left).max())
    assert model.paths.loc["all together", "r2"] > 0.05
    # The model itself is the same weights on paths refitted on everybody.
    everybody = fit_paths(data, np.arange(150), neighbours)
    np.testing.assert_allclose(model.maps, sum(w * m for w, m in zip(weights, everybody.maps.values(), strict=True)), atol=1e-6)
    design = model.design(data.schema.encode(cohort.phenotypes))
    np.testing.assert_allclose(design.mean(0), 0, atol=1e-5)
    assert design.shape == (150, len(model.maps))


def test_people_left_out_are_not_looked_at(data, neighbours, folds):
    """Other values for held-out people change nothing that is predicted for them."""
    rows, held = folds[0]
    before = fit_paths(data, rows, neighbours)
    whole = Statistics.of(data.values, data.scores)
    out = Statistics.of(data.values[held], data.scores[held])
    train = Statistics(*(getattr(whole, name) - getattr(out, name) for name in Statistics.__dataclass_fields__))
    by_difference = _Paths.fit(data.features, data.values[rows], data.scores[rows], train, data.space, neighbours)
    for name, effect in before.maps.items():
        np.testing.assert_allclose(by_difference.maps[name], effect, atol=2e-4 * np.abs(effect).max(), err_msg=name)


def test_without_messages_there_are_no_paths_of_messages(data, folds):
    model, _ = ClosedForm.fit(data.features, data.values, data.scores, data.space, data.cohort, folds[:3], {})
    assert not any("messages" in name for name in model.paths.index)
    assert model.paths.loc["all together", "r2"] > 0.05


def test_more_than_600_people_lose_little():
    """Beyond 600 people effects live on leading components; the energy they are measured against is still that of the edges."""
    cohort = simulate_cohort(640, 14, 5, seed=3, explained=0.2)
    data = TrainingData(cohort, n_components=60, seed=0)
    folds = data.folds(2, 0)
    model, _ = ClosedForm.fit(data.features, data.values, data.scores, data.space, cohort, folds, {})
    gain, energy = 0.0, 0.0
    for rows, held in folds:
        paths = fit_paths(data, rows, {})
        predictions, real = explicit(paths, data, cohort, rows, held)
        error = real - np.tensordot(model.paths["weight"].to_numpy()[:-1], predictions, 1)
        gain, energy = gain + (real**2).sum() - (error**2).sum(), energy + (real**2).sum()
    assert model.paths.loc["all together", "r2"] == pytest.approx(gain / energy, rel=0.02)

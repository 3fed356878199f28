"""Stacked regressions: weights that scipy finds too, and sums that equal explicit predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from connectome_gnn.generation.stacking import Agreement, stack_weights


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


def test_weights_of_paths_that_are_alike_are_found_in_few_steps():
    draw = np.random.default_rng(0)
    truth = draw.standard_normal(3000)
    paths = truth + draw.standard_normal(3000) + 0.3 * draw.standard_normal((12, 3000))
    gram, along = paths @ paths.T, paths @ truth
    weights = stack_weights(gram, along, steps=600)
    np.testing.assert_allclose(weights, stack_weights(gram, along), atol=1e-9)
    # Karush-Kuhn-Tucker: with a sum below 1 no weight gains by growing, and none that is used by shrinking.
    slope = (along - gram @ weights) / along.max()
    assert 0.4 < weights.sum() < 0.6
    assert np.abs(slope[weights > 0]).max() < 1e-7
    assert slope.max() < 1e-7


def test_nothing_that_helps_gets_no_weight():
    gram, along = problem(0)
    assert (stack_weights(gram, -np.abs(along)) == 0).all()
    assert (stack_weights(np.zeros((3, 3)), np.zeros(3)) == 0).all()


def test_agreement_is_that_of_explicit_predictions():
    draw = np.random.default_rng(0)
    real = draw.standard_normal((30, 4))
    predictions = np.stack([0.5 * real + draw.standard_normal((30, 4)), draw.standard_normal((30, 4))])
    halves = [Agreement.of(predictions[:, rows], real[rows], (real[rows] ** 2).sum()) for rows in (slice(0, 12), slice(12, 30))]
    both = halves[0] + halves[1]
    weights = np.array([0.3, 0.1])
    error = ((real - np.tensordot(weights, predictions, 1)) ** 2).sum()
    assert both.r2(weights) == pytest.approx(1 - error / (real**2).sum())
    alone = [1 - ((real - p) ** 2).sum() / (real**2).sum() for p in predictions]
    np.testing.assert_allclose(both.r2_alone, alone, atol=1e-12)
    np.testing.assert_allclose(both.weights, stack_weights(both.gram, both.along))
    assert both.r2(both.weights) >= both.r2(weights)

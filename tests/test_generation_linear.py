"""Ridge from normal equations is scikit-learn's ridge, and generalised cross-validation what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.linear_model import Ridge, RidgeCV

from connectome_gnn.generation.linear import BAND_GRID, STRENGTHS, RidgeSystem, band_scales


def people(n: int, n_features: int, n_components: int, seed: int, signal: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Features and components that depend on them, means taken out."""
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((n, n_features)) @ (np.eye(n_features) + 0.3 * draw.standard_normal((n_features, n_features)))
    effects = signal * draw.standard_normal((n_features, n_components)) * np.linspace(0, 1, n_components) / np.sqrt(n_features)
    components = features @ effects + draw.standard_normal((n, n_components))
    return features - features.mean(0), components - components.mean(0)


def gcv(features: np.ndarray, components: np.ndarray, strength: float) -> np.ndarray:
    """Golub, Heath & Wahba (1979) by the hat matrix, the mean included; (K,)."""
    n = len(features)
    hat = 1 / n + features @ np.linalg.solve(features.T @ features + strength * np.eye(features.shape[1]), features.T)
    residual = components - hat @ components
    return (residual**2).mean(0) / ((n - np.trace(hat)) / n) ** 2


@pytest.mark.parametrize(("n", "n_features"), [(60, 8), (25, 40)])
def test_each_component_is_a_ridge_at_the_strength_of_least_error(n, n_features):
    features, components = people(n, n_features, 6, seed=1)
    errors = np.array([gcv(features, components, strength) for strength in STRENGTHS])
    coefficients, error = RidgeSystem.of(features, components).solve(np.ones(n_features))
    np.testing.assert_allclose(error, errors.min(0), rtol=1e-6)
    chosen = STRENGTHS[errors.argmin(0)]
    assert len(set(chosen)) > 1
    for place, strength in enumerate(chosen):
        model = Ridge(alpha=strength).fit(features + 3, components[:, place] - 5)  # means that ridge finds by itself
        np.testing.assert_allclose(coefficients[:, place], model.coef_, rtol=1e-5, atol=1e-9)


def test_a_shared_strength_minimises_the_summed_error():
    features, components = people(50, 6, 5, seed=2)
    components *= np.array([10, 1, 1, 1, 0.1])
    errors = np.array([gcv(features, components, strength) for strength in STRENGTHS])
    coefficients, error = RidgeSystem.of(features, components).solve(np.ones(6), shared=True)
    best = errors.sum(1).argmin()
    assert best != errors.argmin(0)[1]
    np.testing.assert_allclose(error, errors[best], rtol=1e-6)
    np.testing.assert_allclose(coefficients, Ridge(alpha=STRENGTHS[best]).fit(features, components).coef_.T, rtol=1e-5, atol=1e-9)


def test_generalised_is_leave_one_out_where_all_people_count_alike():
    features = hadamard(32)[:, 1:9].astype(float)  # every leverage is equal
    components = people(32, 8, 4, seed=3)[1] + features @ np.random.default_rng(0).normal(0, 0.3, (8, 4))
    components -= components.mean(0)
    _, error = RidgeSystem.of(features, components).solve(np.ones(8))
    for place in range(4):
        reference = RidgeCV(alphas=STRENGTHS, store_cv_results=True).fit(features, components[:, place])
        np.testing.assert_allclose(error[place], reference.cv_results_.mean(0).min(), rtol=1e-6)


def test_scales_are_ridge_on_scaled_features():
    features, components = people(80, 6, 3, seed=4, signal=1.5)
    scales = np.array([1, 1, 0.25, 0.25, 0, 4])
    coefficients, error = RidgeSystem.of(features, components).solve(scales)
    scaled = features * scales
    errors = np.array([gcv(scaled, components, strength) for strength in STRENGTHS])
    np.testing.assert_allclose(error, errors.min(0), rtol=1e-6)
    for place, best in enumerate(errors.argmin(0)):
        expected = Ridge(alpha=STRENGTHS[best]).fit(scaled, components[:, place]).coef_ * scales
        np.testing.assert_allclose(coefficients[:, place], expected, rtol=1e-5, atol=1e-9)
    assert (coefficients[4] == 0).all()
    nothing, error = RidgeSystem.of(features, components).solve(np.zeros(6))
    assert (nothing == 0).all()
    np.testing.assert_allclose(error, (components**2).mean(0) / (1 - 1 / 80) ** 2)


@pytest.mark.parametrize(("n", "n_features"), [(25, 60), (60, 61), (100, 400)])
def test_more_features_than_people_do_not_look_free_of_error(n, n_features):
    """A fit through every point has no residual and no degrees of freedom left; neither may win."""
    draw = np.random.default_rng(5)
    features, noise = draw.standard_normal((n, n_features)), draw.standard_normal((n, 40))
    features, noise = features - features.mean(0), noise - noise.mean(0)
    coefficients, error = RidgeSystem.of(features, noise).solve(np.ones(n_features))
    assert error.mean() > 0.7
    new_features, new = draw.standard_normal((500, n_features)), draw.standard_normal((500, 40))
    assert ((new - new_features @ coefficients) ** 2).mean() < 1.2 * (new**2).mean()


def test_copies_and_zeros_among_features_do_no_harm():
    features, components = people(50, 5, 4, seed=6, signal=2)
    alone = RidgeSystem.of(features, components)
    doubled = RidgeSystem.of(np.concatenate([features, features, np.zeros((50, 2))], 1), components)
    coefficients, error = doubled.solve(np.ones(12))
    assert np.isfinite(coefficients).all()
    np.testing.assert_allclose(coefficients[:5], coefficients[5:10], atol=1e-8)
    # Two copies at strength s are one at s / 2: the grid has no such step, the errors at the best one hardly differ.
    np.testing.assert_allclose(error, alone.solve(np.ones(5))[1], rtol=0.02)
    leading = alone.leading(2)
    np.testing.assert_array_equal(leading.solve(np.ones(5))[0], alone.solve(np.ones(5))[0][:, :2])


@pytest.mark.parametrize("seed", range(5))
def test_bands_of_noise_are_dropped_and_bands_with_signal_kept(seed):
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((300, 28))
    bands = ["signal"] * 5 + ["noise"] * 20 + ["weak"] * 3
    effects = np.zeros((28, 30))
    effects[:5] = draw.standard_normal((5, 30)) * 0.3
    effects[25:] = draw.standard_normal((3, 30)) * 0.15
    components = features @ effects + draw.standard_normal((300, 30))
    system = RidgeSystem.of(features - features.mean(0), components - components.mean(0))
    scales = band_scales(system, bands)
    assert len(set(scales[:5])) == len(set(scales[5:25])) == len(set(scales[25:])) == 1
    assert scales[5] <= 0.1 < 0.5 <= scales[0]
    assert scales[25] > scales[5]
    assert np.isin(scales, BAND_GRID).all()
    best = np.log(system.solve(scales)[1]).sum()
    for other in (np.ones(28), np.where(np.arange(28) < 5, 1, 0), np.where(np.arange(28) < 5, 0, 1)):
        assert best <= np.log(system.solve(other.astype(float))[1]).sum() + 1e-9


def test_a_band_that_only_harms_is_left_out_altogether():
    left_out = 0
    for seed in range(5):
        draw = np.random.default_rng(seed)
        features = draw.standard_normal((200, 105)) * np.repeat([1, 3], [5, 100])
        components = features[:, :5] @ (0.15 * draw.standard_normal((5, 30))) + draw.standard_normal((200, 30))
        system = RidgeSystem.of(features - features.mean(0), components - components.mean(0))
        scales = band_scales(system, ["signal"] * 5 + ["noise"] * 100)
        assert scales[5] < 0.1 * scales[0]
        left_out += scales[5] == 0
    assert left_out >= 3


def test_known_bands_are_held_fixed():
    draw = np.random.default_rng(0)
    features = draw.standard_normal((300, 12))
    components = features @ (draw.standard_normal((12, 20)) * np.repeat([0, 0.4, 0], 4)[:, None]) + draw.standard_normal((300, 20))
    system = RidgeSystem.of(features - features.mean(0), components - components.mean(0))
    start = np.repeat([0.7, np.nan, np.nan], 4)
    scales = band_scales(system, ["a"] * 4 + ["b"] * 4 + ["c"] * 4, start=start)
    assert (scales[:4] == 0.7).all()
    assert scales[8] < 0.2 * scales[4]

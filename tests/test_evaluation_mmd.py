"""Maximum mean discrepancy: scikit-learn's kernels, the plain formula, uniform p, intervals that cover."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics.pairwise import manhattan_distances, rbf_kernel

from connectome_gnn.evaluation.mmd import Discrepancy, gaussian_kernel, histograms, total_variation_kernel
from connectome_gnn.evaluation.signed_rows import Labels


def people(n, m, rng, shift=0.0, scale=1.0, shared=0.0):
    common = shared * rng.standard_normal((n, 6)) if shared else 0
    x = common + rng.standard_normal((n, 6)) @ np.diag([2, 1, 1, 1, 1, 1])
    y = common + scale * rng.standard_normal((m, 6)) @ np.diag([2, 1, 1, 1, 1, 1]) + shift
    return np.concatenate([x, y])


def apart(n, m):
    return Labels(np.arange(n), n + np.arange(m), 1, False)


def test_kernels_are_scikit_learns():
    rng = np.random.default_rng(0)
    values = people(10, 8, rng)
    kernel, width = gaussian_kernel(values)
    distances = np.sqrt(((values[:, None] - values) ** 2).sum(-1))[np.triu_indices(18, 1)]
    assert width == pytest.approx(np.median(distances), rel=1e-6)
    assert kernel == pytest.approx(rbf_kernel(values, gamma=1 / (2 * width**2)), abs=1e-6)
    assert gaussian_kernel(values, 3.0)[0] == pytest.approx(rbf_kernel(values, gamma=1 / 18), abs=1e-6)
    shares = histograms(values, -5, 5, bins=7)
    assert shares.sum(1) == pytest.approx(1)
    assert shares == pytest.approx(np.array([np.histogram(np.clip(row, -5, 4.999), 7, (-5, 5))[0] / 6 for row in values]))
    kernel, width = total_variation_kernel(shares)
    assert kernel == pytest.approx(np.exp(-((manhattan_distances(shares) / 2) ** 2) / (2 * width**2)), abs=1e-6)


def test_estimate_is_the_plain_unbiased_formula():
    rng = np.random.default_rng(1)
    kernel, _ = gaussian_kernel(people(9, 7, rng, 0.5))
    xx, yy, xy = kernel[:9, :9], kernel[9:, 9:], kernel[:9, 9:]
    plain = (xx.sum() - np.trace(xx)) / 72 + (yy.sum() - np.trace(yy)) / 42 - 2 * xy.mean()
    assert Discrepancy(kernel, apart(9, 7)).value == pytest.approx(plain, abs=1e-6)
    kernel, _ = gaussian_kernel(people(9, 9, rng, 0.5))
    xx, yy, xy = kernel[:9, :9], kernel[9:, 9:], kernel[:9, 9:]
    off = ~np.eye(9, dtype=bool)
    pairs = Labels(np.arange(9), np.arange(9), 1, True)
    assert Discrepancy(kernel, pairs).value == pytest.approx(xx[off].mean() + yy[off].mean() - 2 * xy[off].mean(), abs=1e-6)


def test_families_are_not_compared_with_themselves():
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(5), 2)
    kernel, _ = gaussian_kernel(people(10, 8, rng))
    other = 5 + np.repeat(np.arange(4), 2)
    found = Discrepancy(kernel, Labels(units, other, 1, False)).value
    own, theirs = units[:, None] != units, other[:, None] != other
    assert found == pytest.approx(kernel[:10, :10][own].mean() + kernel[10:, 10:][theirs].mean() - 2 * kernel[:10, 10:].mean(), abs=1e-6)


@pytest.mark.parametrize("paired", [False, True])
def test_p_is_uniform_and_estimate_unbiased_where_nothing_differs(paired):
    rng = np.random.default_rng(3)
    labels = Labels(np.arange(25), np.arange(25) + (0 if paired else 25), 1, paired)
    found, p = [], []
    for _ in range(200):
        discrepancy = Discrepancy(gaussian_kernel(people(25, 25, rng, shared=1.0 if paired else 0.0), 3.0)[0], labels)
        found.append(discrepancy.value)
        p.append((1 + (discrepancy.permuted(99, rng) >= found[-1] - 1e-7).sum()) / 100)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    assert kstest(np.array(p) - 0.005, "uniform").pvalue > 1e-3


def test_a_difference_is_found():
    rng = np.random.default_rng(4)
    for change in ({"shift": 1.0}, {"scale": 0.4}):
        discrepancy = Discrepancy(gaussian_kernel(people(80, 80, rng, **change), 3.0)[0], apart(80, 80))
        assert discrepancy.value > np.quantile(discrepancy.permuted(99, rng), 0.95)
        halves = discrepancy.of_halves((np.arange(40), np.arange(40, 80)))
        assert abs(halves) < discrepancy.value / 2


@pytest.mark.parametrize("change", [{}, {"shift": 0.3}, {"scale": 0.7}])
def test_intervals_cover(change):
    rng = np.random.default_rng(5)
    found, ends = [], []
    for _ in range(100):
        discrepancy = Discrepancy(gaussian_kernel(people(50, 50, rng, **change), 3.0)[0], apart(50, 50))
        weights = rng.multinomial(50, np.full(50, 0.02), size=(2, 200)).astype(np.float32)
        found.append(discrepancy.value)
        ends.append(np.quantile(discrepancy.draws(discrepancy.labels.resampled(*weights)), (0.025, 0.975)))
    low, high = np.array(ends).T
    true = np.mean(found)
    assert ((low <= true) & (true <= high)).mean() >= 0.88

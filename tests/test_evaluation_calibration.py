"""Calibration: ranks that are uniform whatever K and however many zeros, coverage that is exact, too little spread found."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from connectome_gnn.evaluation.calibration import LEVELS, Ranks, randomised_ranks


def zeros_and_numbers(rng, *shape):
    """A quarter exact zeros."""
    return rng.lognormal(0, 1, shape) * (rng.random(shape) > 0.25)


@pytest.mark.parametrize("k", [2, 3, 7, 50])
def test_ranks_are_uniform_and_coverage_exact_for_every_k(k):
    rng = np.random.default_rng(k)
    real, samples = zeros_and_numbers(rng, 200, 40), zeros_and_numbers(rng, 200, k, 40)
    ranks = randomised_ranks(real, samples, rng)
    assert kstest(ranks.ravel(), "uniform").pvalue > 1e-3
    found = Ranks.of(real, samples, rng)
    for row, level in enumerate(LEVELS):
        assert found.shares[row].mean() == pytest.approx(level / 100, abs=4 * np.sqrt(level / 100 * (1 - level / 100) / 8000))
        assert found.by_feature[row].mean() == pytest.approx(found.shares[row].mean(), abs=1e-9)


def test_ranks_of_a_case_worked_out():
    class Half:
        def random(self, shape, dtype):
            return np.full(shape, 0.5, dtype)

    real = np.array([[0.0, 2.0, np.nan]])
    samples = np.array([[[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [1.0, 3.0, 1.0]]])
    # zero among two zeros and a 1: places 0 to 3 of 4; 2 among 1, 2, 3: one below, one equal.
    assert randomised_ranks(real, samples, Half()) == pytest.approx(np.array([[1.5 / 4, 2 / 4, np.nan]]), nan_ok=True)
    samples[0, 0, 0] = np.nan
    assert np.isnan(randomised_ranks(real, samples, Half())[0, 0])


def test_too_little_spread_covers_as_little_as_it_should():
    rng = np.random.default_rng(1)
    real, samples = rng.standard_normal((300, 50)), 0.5 * rng.standard_normal((300, 400, 50))
    found = Ranks.of(real, samples, rng)
    for row, level in enumerate(LEVELS):
        half_width = 0.5 * norm.ppf(0.5 + level / 200)
        assert found.shares[row].mean() == pytest.approx(norm.cdf(half_width) - norm.cdf(-half_width), abs=0.015)
    assert found.distribution.mean(0)[9] > 0.2  # a tenth is expected


def test_people_in_batches_are_people_at_once():
    rng = np.random.default_rng(2)
    real, samples = zeros_and_numbers(rng, 30, 8), zeros_and_numbers(rng, 30, 4, 8)
    whole = Ranks.of(real, samples, np.random.default_rng(0))
    parts, generator = Ranks.empty(30, 8), np.random.default_rng(0)
    for part in (slice(0, 11), slice(11, 30)):
        parts.fill(part, randomised_ranks(real[part], samples[part], generator))
    assert parts.shares == pytest.approx(whole.shares)
    assert parts.distribution == pytest.approx(whole.distribution)
    assert whole.distribution[:, -1] == pytest.approx(1)


def test_people_who_have_no_value_count_for_nothing():
    rng = np.random.default_rng(3)
    real, samples = rng.standard_normal((400, 2)), rng.standard_normal((400, 9, 2))
    real[:300, 1] = np.nan
    found = Ranks.of(real, samples, rng)
    assert found.by_feature == pytest.approx(np.array(LEVELS)[:, None] / 100 * np.ones(2), abs=0.12)
    real[:, 1] = np.nan
    assert np.isnan(Ranks.of(real, samples, rng).by_feature[:, 1]).all()

"""Kolmogorov-Smirnov and energy distances: other people's numbers, valid permutations, honest intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest, energy_distance, ks_2samp, kstest

from connectome_gnn.evaluation.inversion import confidence_draws, deviation_draws, share_draws
from connectome_gnn.evaluation.signed_rows import Labels
from connectome_gnn.evaluation.two_samples import distances, drawn_distances, resampled_means


def two(n=40, m=30, features=6, seed=0, **change):
    """Values with an atom at 0, (F, n + m), and who is who."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((features, n)) * (rng.random((features, n)) < 0.7)
    y = change.get("scale", 1) * rng.standard_normal((features, m)) * (rng.random((features, m)) < 0.7) + change.get("shift", 0)
    return np.concatenate([x, y], 1), Labels(np.arange(n), n + np.arange(m), 1, False)


def test_distances_are_scipys():
    values, labels = two(shift=0.3, scale=1.5)
    x, y, unit = values[:, :40], values[:, 40:], values[:, :40].std(1, ddof=1)
    ks, energy = distances(values, labels.observed(), unit)
    for f in range(len(values)):
        assert ks[f] == pytest.approx(ks_2samp(x[f], y[f]).statistic, abs=1e-12)
        assert energy[f] == pytest.approx(energy_distance(x[f] / unit[f], y[f] / unit[f]), abs=1e-8)


def test_samples_of_a_person_count_as_rows():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 20)), rng.standard_normal((3, 15, 4)) + 0.5
    labels = Labels(np.arange(20), 20 + np.arange(15), 4, False)
    ks, energy = distances(np.concatenate([x, y.reshape(3, -1)], 1), labels.observed(), np.ones(3))
    for f in range(3):
        assert ks[f] == pytest.approx(ks_2samp(x[f], y[f].ravel()).statistic, abs=1e-12)
        assert energy[f] == pytest.approx(energy_distance(x[f], y[f].ravel()), abs=1e-8)


def test_many_draws_are_each_draw_alone():
    values, labels = two(shift=0.3, features=300)
    unit = values[:, :40].std(1, ddof=1)
    drawn = labels.permuted(300, np.random.default_rng(0))
    observed = distances(values, labels.observed(), unit)
    together = drawn_distances(values.astype(np.float32), drawn, unit, observed, n_jobs=2)
    alone = np.array([distances(values, drawn[:, d].astype(np.float64), unit) for d in range(300)])
    assert together.means == pytest.approx(alone.mean(2).T, abs=1e-5)
    assert np.abs(together.at_least[0] - (alone[:, 0] >= observed[0] * (1 - 1e-5)).sum(0)).max() <= 1
    assert np.abs(together.at_least[1] - (alone[:, 1] >= observed[1] * (1 - 1e-5)).sum(0)).max() <= 1


def test_equal_samples_are_as_far_apart_as_ever_when_permuted():
    values, _ = two(shift=0.0, features=20)
    equal = np.tile(values[:, :40], 2)[:, : values.shape[1]]
    unit = equal[:, :40].std(1, ddof=1)
    nothing = (np.full(20, 1e-17), np.full(20, 1e-17))  # 0 but for rounding
    draws = np.zeros((values.shape[1], 50), np.float32)
    assert (drawn_distances(equal.astype(np.float32), draws, unit, nothing).at_least == 50).all()


def test_undefined_values_are_an_atom_above_all():
    values = np.array([[0.0, 1, np.nan, np.nan, 0, 1, 2, 3]])
    ks, energy = distances(values, Labels(np.arange(4), 4 + np.arange(4), 1, False).observed(), np.ones(1))
    assert ks[0] == pytest.approx(0.5)
    assert np.isfinite(energy[0])
    assert np.isnan(distances(np.ones((1, 8)), np.repeat([0.25, -0.25], 4), np.zeros(1))[1][0])


def test_permutations_keep_people_whole():
    units = np.repeat(np.arange(10), 2)
    swapped = Labels(units, units, 3, True).permuted(50, np.random.default_rng(0))
    assert swapped.sum(0) == pytest.approx(0, abs=1e-5)
    people = np.concatenate([(swapped[:20] > 0)[:, None], (swapped[20:] > 0).reshape(20, 3, -1)], 1)
    assert (people.sum(1) == 1).all()  # one connectome of everybody counts as the real one
    assert (people[::2] == people[1::2]).all()  # the same one for both people of a unit
    assert people[:, 0].mean() == pytest.approx(0.25, abs=0.06)
    alone = Labels(units, 10 + np.repeat(np.arange(6), 2), 3, False).permuted(50, np.random.default_rng(0))
    assert (alone[20:].reshape(12, 3, -1)[:, 1:] == 0).all()  # one sample a person
    first = np.concatenate([alone[:20], alone[20::3]])
    assert (first[::2] == first[1::2]).all()
    assert alone.sum(0) == pytest.approx(0, abs=1e-5)


def p_values(paired, samples, repeats=200):
    """p of the mean distance over 5 correlated features with an atom, real and generated people drawn alike."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(repeats):
        common = rng.standard_normal((30, 1, 1)) if paired else 0  # what both connectomes of a person share
        x = common + rng.standard_normal((30, 1, 1)) + rng.standard_normal((30, 1, 5))
        y = common + rng.standard_normal((30, samples, 1)) + rng.standard_normal((30, samples, 5))
        values = np.maximum(np.concatenate([x.reshape(30, 5), y.reshape(-1, 5)]), -1).T
        labels = Labels(np.arange(30), np.arange(30) + (0 if paired else 30), samples, paired)
        drawn = drawn_distances(values.astype(np.float32), labels.permuted(99, rng), np.ones(5))
        one = distances(values, labels.observed(one_sample=not paired), np.ones(5))
        found.append([(1 + (drawn.means[k] >= one[k].mean() - 1e-6).sum()) / 100 for k in range(2)])
    return np.array(found)


@pytest.mark.parametrize(("paired", "samples"), [(False, 1), (True, 1), (True, 3), (False, 3)])
def test_permutation_p_is_uniform_where_nothing_differs(paired, samples):
    p = p_values(paired, samples)
    for kind in range(2):
        assert kstest(p[:, kind] - 0.005, "uniform").pvalue > 1e-3
        assert 0.01 <= (p[:, kind] <= 0.05).mean() <= 0.1


def covered(shift, n=60, repeats=60):
    rng = np.random.default_rng(4)
    found, ends = [], []
    for _ in range(repeats):
        values = rng.standard_normal((2 * n, 1)) + rng.standard_normal((2 * n, 8))
        values[n:] += shift
        labels = Labels(np.arange(n), n + np.arange(n), 1, False)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=(2, 200)).astype(np.float32)
        unit = values[:n].std(0, ddof=1)
        features = np.ascontiguousarray(values.T, np.float32)
        found.append([np.mean(d) for d in distances(features, labels.observed(), unit)])
        draws = resampled_means(features, labels.observed(), labels.resampled(*weights), unit)
        ends.append(np.quantile(draws, (0.025, 0.975), axis=1))
    expected, (low, high) = np.mean(found, 0), np.array(ends).transpose(1, 0, 2)
    return ((low <= expected) & (expected <= high)).mean(0)


@pytest.mark.parametrize("shift", [0, 0.6])
def test_intervals_hold_the_expected_distance(shift):
    assert (covered(shift) >= 0.87).all()


def test_intervals_by_inversion_are_exact_for_a_normal_statistic():
    rng = np.random.default_rng(5)
    true, hits = 1.0, 0
    for _ in range(400):
        found = true + (0.5 + 0.2 * true) * rng.standard_normal()
        sizes = np.linspace(-2, 6, 80)
        drawn = sizes[:, None] + np.maximum(0.5 + 0.2 * sizes, 0.05)[:, None] * rng.standard_normal(400)
        low, high = np.quantile(confidence_draws(found, drawn), (0.025, 0.975))
        hits += low <= true <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_draws_go_along_with_their_resample():
    rng = np.random.default_rng(6)
    noise = rng.standard_normal(300)
    draws = confidence_draws(2.0, np.linspace(0, 5, 30)[:, None] + noise, noise)
    assert np.corrcoef(draws, noise)[0, 1] > 0.99
    difference = deviation_draws(np.full(10, 0.3), 0.01 * rng.standard_normal((10, 300)), lambda d: np.abs(d).mean(0))
    assert difference.mean() == pytest.approx(0.3, abs=0.02)


def test_share_draws_are_wilsons_interval():
    along = np.random.default_rng(0).standard_normal(20_000)
    for share in (0.9, 1.0, 0.3):
        variance = share * (1 - share) / 40 if 0 < share < 1 else 1 / 40
        wilson = binomtest(round(40 * share), 40).proportion_ci(method="wilson")
        assert np.quantile(share_draws(share, variance, along), (0.025, 0.975)) == pytest.approx([wilson.low, wilson.high], abs=1e-3)

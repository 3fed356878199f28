import numpy as np
import pytest
from scipy.stats import false_discovery_control

from connectome_gnn.evaluation.resampling import generator_for, halves, permutations
from connectome_gnn.evaluation.statistics import benjamini_hochberg, permutation_p, pooled_r


@pytest.mark.parametrize("n", [1, 2, 7, 500])
def test_false_discovery_rate_is_that_of_scipy(n):
    p = tied(n)
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p), abs=1e-12)


def test_false_discovery_rate_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert benjamini_hochberg(tied(500)) == pytest.approx(multitest.multipletests(tied(500), method="fdr_bh")[1], abs=1e-12)


def tied(n):
    p = np.random.default_rng(n).random(n) ** 3
    p[: n // 3] = p[0]
    return p


def test_undefined_p_values_count_for_nothing():
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    q = benjamini_hochberg(p)
    assert np.isnan(q[0, 1])
    assert q[np.isfinite(p)] == pytest.approx(false_discovery_control([0.01, 0.04, 0.03]), abs=1e-15)
    assert len(benjamini_hochberg([])) == 0


def test_correlations_in_the_place_of_p_values_are_refused():
    # Published code handed r values to FDR: most of them pass for p values, a negative one gives the mistake away.
    with pytest.raises(ValueError, match="give p values, not r values"):
        benjamini_hochberg([0.3, -0.1, 0.8])


def test_permutation_p_counts_the_statistic_itself():
    null = np.arange(99.0)
    assert permutation_p(200.0, null) == 0.01
    assert permutation_p(-1.0, null) == 1.0
    assert permutation_p(98.0, null) == 0.02
    assert permutation_p(-1.0, null, "less") == 0.01
    assert permutation_p(200.0, null, "both") == 0.02
    assert permutation_p(49.0, null, "both") == 1.0
    assert permutation_p(1e-16, np.zeros(99)) == 1.0  # 0 but for rounding is no surprise among zeros
    assert np.isnan(permutation_p(np.nan, null))
    assert np.isnan(permutation_p(0.0, np.empty(0)))
    assert permutation_p([1.0, 5.0], np.array([[0.0, 9.0], [np.nan, 1.0]])) == pytest.approx([1 / 2, 2 / 3])


def test_pooled_r_is_the_average_through_fisher_z():
    r = np.array([[0.1, 0.5, np.nan], [1.0, 1.0, np.nan]])
    assert pooled_r(r) == pytest.approx([np.tanh((np.arctanh(0.1) + np.arctanh(0.5)) / 2), 1], abs=1e-15)
    assert np.isnan(pooled_r([np.nan]))
    assert pooled_r([0.3, -0.3]) == pytest.approx(0, abs=1e-15)


def test_halves_keep_units_whole_and_are_equal():
    units = np.repeat(np.arange(30), np.random.default_rng(0).integers(1, 4, 30))
    first, second = halves(units, generator_for(0, "halves"))
    assert sorted([*first, *second]) == list(range(len(units)))
    assert not set(units[first]) & set(units[second])
    assert abs(len(first) - len(second)) <= 1
    assert not np.array_equal(first, halves(units, generator_for(1, "halves"))[0])
    first, second = halves(np.arange(9), generator_for(0, "halves"))
    assert abs(len(first) - len(second)) == 1


def test_permutations_move_whole_units_among_their_like():
    units = np.array([0, 0, 1, 2, 2, 3, 4, 4, 4])
    orders = permutations(units, 500, generator_for(0, "permutations"))
    assert (np.sort(orders, 1) == np.arange(9)).all()
    pairs, singles = {0, 1, 3, 4}, {2, 5}
    for order in orders:
        assert set(order[[0, 1]]) in ({0, 1}, {3, 4})
        assert set(order[[0, 1, 3, 4]]) == pairs
        assert set(order[[2, 5]]) == singles
        assert set(order[[6, 7, 8]]) == {6, 7, 8}
    assert (orders[:, 0] == 3).mean() == pytest.approx(0.25, abs=0.08)
    assert (orders[:, 6] == 8).mean() == pytest.approx(1 / 3, abs=0.08)

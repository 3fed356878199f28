"""Deviations from what a profile leads to expect are standard normal; counterfactuals keep a person's own part; counts are whole."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from fitted import DESCRIBED, plain_table
from scipy.stats import ks_2samp, kstest
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.counts import whole_counts
from connectome_gnn.generation.normative import Baseline, edge_scores, log_distance, region_scores
from connectome_gnn.generation.rivals import BandedRidge
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")


@cache
def fitted(measure: str = "streamline_count") -> tuple[BandedRidge, Cohort, Cohort]:
    train, test = simulate_cohort(900, 16, 8, seed=7, measure=measure).split(0.6, seed=0)
    return BandedRidge(0).fit(train), train, test


@pytest.mark.parametrize("measure", ["streamline_count", "pearson"])
def test_scores_of_new_people_are_standard_normal(measure):
    model, _, test = fitted(measure)
    found = model.deviation(test, seed=1)
    assert found.edges.shape == test.weights.shape
    assert found.edges.dtype == np.float32
    assert list(found.regions.columns) == list(test.atlas.labels)
    assert (found.regions.index == test.ids).all()
    z = found.edges
    assert z.mean() == pytest.approx(0, abs=0.04)
    assert z.std() == pytest.approx(1, abs=0.04)
    # Edge by edge as uniform as 360 people can tell, but for what training people's finite number adds.
    assert np.median([kstest(column, "norm").statistic for column in z.T]) < 1.5 / np.sqrt(len(test))
    regions = found.regions.to_numpy()
    assert regions.std(0).mean() == pytest.approx(1, abs=0.1)
    assert found.people["extreme_edges"].mean() == pytest.approx(0.05, abs=0.015)
    assert found.people["extremeness"].mean() == pytest.approx(0, abs=0.2)
    assert found.people["extremeness"].std() == pytest.approx(1, abs=0.15)
    p = found.people["p"].to_numpy()
    assert ((p > 0) & (p < 1)).all()
    assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.045)


def test_people_that_the_model_draws_have_scores_that_are_exactly_normal():
    model, _, test = fitted()
    drawn = model.sample(test.phenotypes, 5, seed=3)
    found = model.deviation(drawn, seed=2)
    there = (model.residual.marginals.zeros > 0.05) & (model.residual.marginals.zeros < 0.9)
    assert there.sum() > 20
    for edges in (there, model.residual.marginals.zeros < 1e-6):
        z = found.edges[:, edges]
        assert kstest(np.random.default_rng(0).choice(z.ravel(), 3000, replace=False), "norm").pvalue > 1e-3
        # Absent edges are as correlated with the others as edges that are there.
        r = np.corrcoef(z.T)[np.triu_indices(edges.sum(), 1)]
        unit = model.residual.loadings[:, edges] / model.residual.deviations()[0][edges]
        truth = (unit.T @ unit)[np.triu_indices(edges.sum(), 1)]
        assert np.polyfit(truth, r, 1)[0] == pytest.approx(1, abs=0.1)
    regions = found.regions.to_numpy()
    np.testing.assert_allclose(regions.std(0), 1, atol=0.08)


def test_region_scores_are_sums_in_units_of_their_spread():
    model, _, _ = fitted()
    draw = np.random.default_rng(0)
    residual, n = model.residual, 20_000
    z = (
        draw.standard_normal((n, len(residual.noise))) * residual.noise
        + draw.standard_normal((n, len(residual.loadings))) @ residual.loadings
    )
    z = (z / np.where(residual.noise > 0, residual.deviations()[0], np.inf)).astype(np.float32)
    scores = region_scores(residual, z, 16)
    np.testing.assert_allclose(scores.std(0), 1, atol=0.03)
    first, second = edge_indices(16)
    sums = z[:, (first == 3) | (second == 3)].sum(1)
    assert np.corrcoef(sums, scores[:, 3])[0, 1] == pytest.approx(1, abs=1e-6)
    ones = (np.ones(5), np.ones((5, len(residual.loadings))))
    np.testing.assert_allclose(region_scores(residual, z[:5], 16, ones), scores[:5], rtol=1e-4)


def test_a_changed_region_and_a_strange_person_stand_out():
    model, _, test = fitted()
    weights = test.weights.copy()
    first, second = edge_indices(16)
    weights[0, (first == 5) | (second == 5)] *= 8
    weights[1] = np.random.default_rng(0).permutation(weights[1])
    found = model.deviation(Cohort(weights, test.phenotypes, test.atlas, measure=test.measure, described=test.described))
    assert found.regions.iloc[0].argmax() == 5
    assert found.regions.iloc[0, 5] > 3
    assert found.people["p"].iloc[1] < 0.01
    assert found.people["extremeness"].iloc[1] > 3


def test_distance_is_mahalanobis_under_the_persons_own_covariance():
    model, _, _ = fitted("pearson")
    residual, draw = model.residual, np.random.default_rng(1)
    z = draw.standard_normal((12, len(residual.noise))).astype(np.float32)

    def truth(scores: np.ndarray, own: float = 1.0, factors: np.ndarray | float = 1.0) -> float:
        loadings = residual.loadings.astype(float) * np.reshape(factors, (-1, 1))
        covariance = loadings.T @ loadings + np.diag((own * residual.noise.astype(float)) ** 2)
        x = scores * np.sqrt(np.diag(covariance))
        return x @ np.linalg.solve(covariance, x)

    np.testing.assert_allclose(np.exp(log_distance(residual, z)), [truth(row) for row in z], rtol=1e-3)
    own, factors = draw.uniform(0.6, 1.6, 12), draw.uniform(0.6, 1.6, (12, len(residual.loadings)))
    persons = [truth(*person) for person in zip(z, own, factors, strict=True)]
    np.testing.assert_allclose(np.exp(log_distance(residual, z, (own, factors))), persons, rtol=1e-3)
    alone = replace(residual, loadings=residual.loadings[:0])
    np.testing.assert_allclose(np.exp(log_distance(alone, z)), (z.astype(float) ** 2).sum(1), rtol=1e-5)


# --- extremeness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [lambda x: x, lambda x: np.expm1(0.6 * x), lambda x: x - 0.3 * (x < -1.5) * (x + 1.5) ** 2])
def test_a_baseline_gives_new_people_uniform_p(shape):
    """Whether distances are normal or skewed, on either side."""
    shares = []
    for seed in range(10):
        draw = np.random.default_rng(seed)
        none = np.zeros((5000, 0))
        baseline = Baseline.of(5 + 0.1 * shape(draw.standard_normal(500)), none[:500])
        scores = baseline.scores(5 + 0.1 * shape(draw.standard_normal(5000)), none)
        assert np.isfinite(scores).all()
        shares.append([(scores > 1.645).mean(), (scores < -1.645).mean(), (scores > 0).mean()])
    np.testing.assert_allclose(np.mean(shares, 0), [0.05, 0.05, 0.5], atol=0.015)


def test_a_baseline_goes_on_beyond_its_people():
    baseline = Baseline.of(np.random.default_rng(0).normal(5, 0.1, 150), np.zeros((150, 0)))
    far = 5 + np.linspace(-3, 6, 100)
    scores = baseline.scores(far, np.zeros((100, 0)))
    assert (np.diff(scores) > 0).all()
    assert scores[-1] > 30
    alike = Baseline.of(np.full(30, 5.0), np.zeros((30, 0)))
    np.testing.assert_allclose(alike.scores(np.array([5.0]), np.zeros((1, 0))), 0, atol=1e-3)
    np.testing.assert_allclose(Baseline.normal(5, 0.1).scores(np.array([5.2, 4.3]), np.zeros((2, 0))), [2, -7], atol=1e-6)


def test_what_profiles_tell_of_distances_is_taken_off():
    draw = np.random.default_rng(3)
    features = draw.standard_normal((400, 2))
    distances = 5 + 0.3 * features[:, 0] + draw.normal(0, 0.1, 400)
    baseline = Baseline.of(distances, features)
    np.testing.assert_allclose(baseline.slopes, [0.3, 0], atol=0.02)
    old = np.tile([2.0, 0.0], (3000, 1))
    scores = baseline.scores(5.6 + draw.normal(0, 0.1, 3000), old)
    assert (scores > 1.645).mean() == pytest.approx(0.05, abs=0.02)


def ageing(n: int, measure: str, slope: float, seed: int) -> Cohort:
    """People who differ the more from what is expected the older they are."""
    cohort = simulate_cohort(n, 14, 6, seed=seed, measure=measure)
    age = cohort.phenotypes["age"].to_numpy(float)
    wide = np.exp(slope * (age - age.mean()) / age.std())[:, None]
    expected, values = cohort.truth.expected, cohort.scale.forward(cohort.weights)
    moved = expected + wide * (values - expected)
    if measure != "pearson":
        moved = np.where(values == 0, 0, np.maximum(moved, 0))
    weights = cohort.scale.inverse(moved.astype(np.float32))
    return Cohort(weights, cohort.phenotypes, cohort.atlas, measure=measure, signed=cohort.signed, described=cohort.described)


@pytest.mark.parametrize(
    ("n", "measure", "slope"), [(300, "sift2_fbc", 0), (300, "pearson", 0.2), (800, "pearson", 0), (800, "sift2_fbc", 0.2)]
)
def test_p_of_held_out_people_is_uniform(n, measure, slope):
    """Few people and many, with absent edges and without, with spread that depends on age and without."""
    p = []
    for seed in (0, 1, 2):
        train, test = ageing(n + 500, measure, slope, seed).split(n / (n + 500), seed=1)
        model = BandedRidge(0).fit(train)
        assert (len(model.residual.spread.columns) > 0) == (slope > 0)
        p.append(model.deviation(test, seed=3).people["p"].to_numpy())
    together = np.concatenate(p)
    assert 0.025 < (together < 0.05).mean() < 0.08
    assert 0.07 < (together < 0.1).mean() < 0.13
    assert kstest(together, "uniform").statistic < 0.07


def test_outliers_have_tiny_p():
    model, _, test = fitted()
    few, n_regions = test.take(slice(0, 40)), 16
    first, second = edge_indices(n_regions)
    order = np.random.default_rng(1).permutation(n_regions)
    places = np.zeros((n_regions, n_regions), int)
    places[first, second] = places[second, first] = np.arange(len(first))
    halved = few.weights.copy()
    halved[:, (first == 5) | (second == 5)] /= 2

    def found(weights: np.ndarray):
        return model.deviation(Cohort(weights, few.phenotypes, few.atlas, measure=few.measure, described=few.described), seed=0)

    usual, other_order = found(few.weights), found(few.weights[:, places[order[first], order[second]]])
    assert (other_order.people["p"] < 1e-6).all()
    assert (found(few.weights * 3).people["extremeness"] > usual.people["extremeness"] + 1).mean() > 0.9
    region = found(halved)
    assert (region.people["extremeness"] > usual.people["extremeness"]).mean() > 0.8
    assert (region.regions.iloc[:, 5] < usual.regions.iloc[:, 5] - 0.5).all()


def test_seeds_place_absent_edges():
    model, _, test = fitted()
    few = test.take(slice(0, 20))
    one, same, other = (model.deviation(few, seed=s).edges for s in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    there = few.weights > 0
    np.testing.assert_array_equal(one[there], other[there])
    assert (one[~there] != other[~there]).mean() > 0.9


# --- counterfactuals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["streamline_count", "pearson"])
def test_at_the_observed_profile_a_person_stays_as_observed(measure):
    model, _, test = fitted(measure)
    few = test.take(slice(0, 12))
    ages = few.phenotypes["age"].to_numpy()
    for person in range(len(few)):
        again = model.interpolate(few.take([person]), {"age": [ages[person], ages[person] + 10]}, seed=4)
        np.testing.assert_array_equal(again.weights[0], few.weights[person])
        assert not np.array_equal(again.weights[1], few.weights[person])


def test_little_changes_of_the_profile_change_little():
    """Through the model itself, not by keeping what was observed."""
    model, _, test = fitted("pearson")
    few = test.take(slice(0, 12))
    names = list(model.schema.names)
    mean, multiples = model._latent(few.phenotypes[names])
    values = few.scale.forward(few.weights)
    scores = edge_scores(model.residual, values, mean, np.random.default_rng(0), multiples)
    back = model.residual.values(scores, model._deviation(few.phenotypes[names]), model.space.kept, multiples)
    np.testing.assert_allclose(back, values, atol=1e-4)


@pytest.mark.parametrize("measure", ["streamline_count", "pearson"])
def test_a_person_at_other_ages_moves_with_the_mean_and_keeps_their_scores(measure):
    model, _, test = fitted(measure)
    few = test.take(slice(0, 60))
    moved = model.interpolate(few, {"age": [50, 60, 70], "sex": "F"}, seed=1)
    assert list(moved.ids) == [name for name in few.ids for _ in range(3)]
    assert list(moved.phenotypes["sample"]) == [0, 1, 2] * 60
    assert list(moved.phenotypes["age"]) == [50, 60, 70] * 60
    assert set(moved.phenotypes["sex"]) == {"F"}
    other = [name for name in test.phenotypes if name not in ("age", "sex")]
    rest = moved.phenotypes[other].iloc[::3].reset_index(drop=True)
    assert rest.equals(few.phenotypes[other].reset_index(drop=True))
    assert moved.kind == "sample"
    values = few.scale.forward(moved.weights).reshape(60, 3, -1)
    shift = (values[:, 2] - values[:, 0]).mean(0)
    kept = model.space.kept & (model.residual.marginals.zeros < 0.2)
    profiles = moved.phenotypes.drop(columns=["sample", "extrapolated"])
    deviation = np.zeros((180, test.n_edges), np.float32)
    deviation[:, model.space.kept] = model._deviation(profiles[list(model.schema.names)])
    truth = ((deviation[2::3] - deviation[::3]).mean(0) * model.space.std)[kept]
    assert np.corrcoef(shift[kept], truth)[0, 1] > 0.95
    assert np.polyfit(truth, shift[kept], 1)[0] == pytest.approx(1, abs=0.15)
    # Their place among people of the same profile is what it was.
    before, after = model.deviation(few, seed=1).edges, model.deviation(moved, seed=1).edges[::3]
    there = (few.weights != 0) & (moved.weights[::3] != 0)
    np.testing.assert_allclose(after[there], before[there], atol=0.02)


def test_edges_appear_and_vanish_as_the_mean_moves():
    model, _, test = fitted()
    few = test.take(slice(0, 100))
    moved = model.interpolate(few, {"age": [45, 82]}, seed=2).weights.reshape(100, 2, -1)
    change = (moved[:, 1] > 0).astype(int) - (moved[:, 0] > 0)
    assert (change > 0).any()
    assert (change < 0).any()
    # An edge whose mean moves up appears and does not vanish: each person's score stays.
    profiles = few.phenotypes[list(model.schema.names)]
    low, high = (np.zeros((100, test.n_edges)) for _ in range(2))
    for out, age in ((low, 45), (high, 82)):
        out[:, model.space.kept] = model._deviation(profiles.assign(age=age)) * 1.0
    if not len(model.residual.spread.columns):
        assert not ((change > 0) & (high < low)).any()
        assert not ((change < 0) & (high > low)).any()


def test_samples_of_a_person_are_numbered_on():
    model, _, test = fitted()
    drawn = model.sample(test.phenotypes.iloc[:2], 2, seed=0)
    moved = model.interpolate(drawn, {"age": [50, 60, 70]})
    assert list(moved.phenotypes["sample"]) == [0, 1, 2, 3, 4, 5] * 2


def test_changes_that_make_no_sense_are_refused():
    model, _, test = fitted()
    few = test.take(slice(0, 2))
    for changes, message in (
        ({"agee": [50]}, "no phenotype 'agee'"),
        ({"age": [50, 60], "sex": ["F", "M", "F"]}, "as many for each"),
        ({}, "values by phenotype"),
        ([50, 60], "values by phenotype"),
        ({"age": []}, "name no value"),
        ({"sex": ["Q"]}, "Q"),
    ):
        with pytest.raises((ConnectomeError, Warning), match=message):
            model.interpolate(few, changes)


def test_values_to_change_to_come_in_any_column():
    model, _, test = fitted()
    few = test.take(slice(0, 2))
    asked = model.interpolate(few, {"age": [50, 60], "sex": ["F", np.nan]})
    assert list(asked.phenotypes["sex"].isna()) == [False, True] * 2
    ages = [50, 60]
    for values in (pd.Index(ages), pd.Categorical(ages), pd.array(ages), pd.Series(ages), np.array(ages), tuple(ages), range(50, 61, 10)):
        found = model.interpolate(few, {"age": values, "sex": pd.Series(["F", np.nan], dtype="category")})
        assert found.weights.tobytes() == asked.weights.tobytes()


# --- counts ------------------------------------------------------------------------------------------------------------


def test_counts_are_whole_and_right_on_average():
    draw = np.random.default_rng(0)
    values = np.repeat(np.log1p(draw.uniform(1, 60, (1, 40))).astype(np.float32), 20_000, 0)
    values[:, :5] = 0
    counts = whole_counts(values, draw)
    assert (counts == np.rint(counts)).all()
    assert (counts[:, :5] == 0).all()
    np.testing.assert_allclose(np.log1p(counts).mean(0), values[0], atol=0.005)
    whole = np.log1p(np.arange(1, 5000, dtype=np.float32))[None]
    np.testing.assert_array_equal(whole_counts(whole, draw), np.arange(1, 5000)[None])
    assert (whole_counts(np.full((1, 50), 0.3, np.float32), draw) == 1).all()


def test_samples_in_counts():
    model, _, test = fitted()
    smooth, whole = (model.sample(test.phenotypes, 2, seed=5, counts=c) for c in (False, True))
    assert (whole.weights == np.rint(whole.weights)).all()
    assert not (smooth.weights == np.rint(smooth.weights)).all()
    assert (whole.weights == 0).mean() == pytest.approx((smooth.weights == 0).mean(), abs=0.01)
    away = np.log1p(whole.weights).mean(0) - np.log1p(smooth.weights).mean(0)
    assert np.abs(away).max() < 0.15
    assert (whole.weights == 0).mean() == pytest.approx((test.weights == 0).mean(), abs=0.015)
    with pytest.raises(ConnectomeError, match="signed"):
        fitted("pearson")[0].sample(test.phenotypes, counts=True)


def test_counts_are_as_in_training_unless_said():
    model, train, test = fitted()
    few = test.phenotypes.iloc[:30]
    default, asked, smooth = (model.sample(few, 2, seed=5, counts=c).weights for c in (None, True, False))
    np.testing.assert_array_equal(default, asked)
    assert not np.array_equal(default, smooth)
    assert not fitted("pearson")[0].whole
    weights = train.weights.copy()
    weights[7, np.flatnonzero(weights[7])[0]] += 0.25
    other = BandedRidge(0).fit(Cohort(weights, train.phenotypes, train.atlas, measure="sift2_fbc", described=train.described))
    assert not other.whole
    assert not (other.sample(few, seed=5).weights % 1 == 0).all()


def test_whole_numbers_have_the_distribution_of_whole_numbers():
    """Edges of a few streamlines, where a distribution without steps is far from that of counts."""
    model, _, test = fitted()
    drawn = {c: model.sample(test.phenotypes, 3, seed=2, counts=c).weights for c in (None, False)}
    rare = (np.median(test.weights, 0) >= 1) & (np.median(test.weights, 0) <= 5)
    assert rare.sum() >= 5
    distance = {c: np.mean([ks_2samp(test.weights[:, e], w[:, e]).statistic for e in np.flatnonzero(rare)]) for c, w in drawn.items()}
    assert distance[None] < 0.09
    assert distance[False] > distance[None] + 0.05


def test_people_alike_on_an_edge_deviate_by_nothing():
    draw = np.random.default_rng(2)
    weights = draw.lognormal(2, 0.5, (60, 15)).astype(np.float32)
    weights[:, 4] = 7.5
    cohort = Cohort(weights, plain_table(60), make_atlas(6), measure="m", described=DESCRIBED)
    model = BandedRidge(0).fit(cohort)
    assert (model.deviation(cohort).edges[:, 4] == 0).all()
    assert (model.log_prob(cohort, per="edge")[:, 4] == 0).all()
    moved = model.interpolate(cohort.take([0]), {"age": [50]})
    assert moved.weights[0, 4] == np.float32(7.5)

"""The log density of connectomes, held against multivariate normal densities and probabilities."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from fitted import DESCRIBED, plain_table
from scipy.stats import multivariate_normal, norm
from tiny import make_atlas

import connectome_gnn as cg
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.censoring import draw_factors, fill_absent, log_interval
from connectome_gnn.generation.latent_means import KNOTS, LatentMeans
from connectome_gnn.generation.likelihood import _interval, _mode, edge_log_density, log_density
from connectome_gnn.generation.marginal_fit import marginals_from
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.generation.rivals import BandedRidge, TrainingMean
from connectome_gnn.generation.spread import Spread
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")


NO_MEANS = LatentMeans(np.zeros((0, KNOTS), np.float32))


def small_model(zeros: float, n_edges: int = 6, n_factors: int = 2, seed: int = 0) -> ResidualModel:
    """A copula of a few edges, each with variance 1, and normal values where edges are there."""
    draw = np.random.default_rng(seed)
    loadings = draw.normal(0, 0.55, (n_factors, n_edges))
    loadings *= np.sqrt(np.minimum(1, 0.9 / (loadings**2).sum(0)))
    noise = np.sqrt(1 - (loadings**2).sum(0))
    marginals = marginals_from(np.zeros(n_edges), np.full(n_edges, zeros), lambda sign, scores: scores if zeros == 0 else 4 + 0.8 * scores)
    as32 = [array.astype(np.float32) for array in (loadings, noise)]
    return ResidualModel(marginals, NO_MEANS, *as32, Spread.constant(n_factors))


def covariance(model: ResidualModel, own: float = 1.0, factors: np.ndarray | float = 1.0) -> np.ndarray:
    loadings = model.loadings.astype(float) * np.reshape(factors, (-1, 1))
    return loadings.T @ loadings + np.diag((own * model.noise.astype(float)) ** 2)


def test_without_absent_edges_it_is_a_multivariate_normal_density():
    model, draw = small_model(0), np.random.default_rng(1)
    mean = draw.normal(0, 0.3, (40, 6)).astype(np.float32)
    values = draw.normal(0, 0.8, (40, 6)).astype(np.float32)
    # Between the knots a latent score is a value's own, but for what straight lines in sqrt(x + 8) lack.
    scores, log_slope = model.marginals.scores(values)
    truth = [multivariate_normal(m, covariance(model)).logpdf(x) for m, x in zip(mean, scores, strict=True)]
    np.testing.assert_allclose(log_density(model, values, mean), truth - log_slope.sum(1), atol=2e-4)
    np.testing.assert_allclose(scores, values, atol=2e-3)


def test_spread_of_the_person_scales_factors_and_own_parts():
    model, draw = small_model(0), np.random.default_rng(2)
    values = draw.normal(0, 0.8, (5, 6)).astype(np.float32)
    mean = np.zeros((5, 6), np.float32)
    own, factors = draw.uniform(0.5, 2, 5), draw.uniform(0.5, 2, (5, 2))
    scores, log_slope = model.marginals.scores(values)
    matrices = [covariance(model, o, f) for o, f in zip(own, factors, strict=True)]
    truth = [multivariate_normal(np.zeros(6), c).logpdf(x) for c, x in zip(matrices, scores, strict=True)]
    np.testing.assert_allclose(log_density(model, values, mean, (own, factors)), truth - log_slope.sum(1), atol=2e-4)
    np.testing.assert_allclose(model.deviations((own, factors)), [np.sqrt(np.diag(c)) for c in matrices], rtol=1e-5)
    single = [norm(0, np.sqrt(np.diag(c))).logpdf(x) for c, x in zip(matrices, scores, strict=True)]
    np.testing.assert_allclose(edge_log_density(model, values, mean, (own, factors)), single - log_slope, atol=2e-4)


def brute_force(model: ResidualModel, values: np.ndarray, mean: np.ndarray, own: float = 1.0, factors: np.ndarray | float = 1.0) -> float:
    """Density of the edges that are there times the probability, given them, that the others lie in their interval."""
    scores, log_slope = (array[0].astype(float) for array in model.marginals.scores(values[None]))
    absent = np.isnan(scores)
    matrix, total = covariance(model, own, factors), -float(log_slope.sum())
    there = ~absent
    if there.any():
        inner = matrix[np.ix_(there, there)]
        total += multivariate_normal(mean[there], inner).logpdf(scores[there])
        weights = np.linalg.solve(inner, matrix[np.ix_(there, absent)])
        centre = mean[absent] + (scores[there] - mean[there]) @ weights
        rest = matrix[np.ix_(absent, absent)] - matrix[np.ix_(absent, there)] @ weights
    else:
        centre, rest = mean, matrix
    if absent.any():
        high = model.marginals.thresholds[1, absent]
        total += np.log(multivariate_normal(centre, rest).cdf(high, rng=np.random.default_rng(0)))
    return total


@pytest.mark.parametrize("zeros", [0.2, 0.5, 0.8])
def test_absent_edges_count_by_the_probability_of_their_interval(zeros):
    """On few edges, where the factors' posterior is least Gaussian: a tenth of a nat at most."""
    errors = []
    for seed in range(4):
        model, draw = small_model(zeros, seed=seed), np.random.default_rng(seed + 10)
        mean = draw.normal(0, 0.3, (8, 6)).astype(np.float32)
        values = model.marginals.values((mean + draw.standard_normal((8, 6))).astype(np.float32))
        truth = [brute_force(model, v, m) for v, m in zip(values, mean.astype(float), strict=True)]
        errors.append(log_density(model, values, mean) - truth)
    assert np.abs(errors).max() < 0.1
    assert np.abs(np.mean(errors)) < 0.02


def test_spread_of_the_person_counts_for_absent_edges_too():
    model, draw = small_model(0.4, seed=1), np.random.default_rng(6)
    mean = draw.normal(0, 0.3, (10, 6)).astype(np.float32)
    values = model.marginals.values((mean + draw.standard_normal((10, 6))).astype(np.float32))
    own, factors = draw.uniform(0.6, 1.7, 10), draw.uniform(0.6, 1.7, (10, 2))
    truth = [brute_force(model, *arrays) for arrays in zip(values, mean.astype(float), own, factors, strict=True)]
    np.testing.assert_allclose(log_density(model, values, mean, (own, factors)), truth, atol=0.1)


def test_everything_that_can_happen_to_three_edges_has_probability_one():
    model = small_model(0.4, n_edges=3, n_factors=1, seed=3)
    mean = np.array([[0.2, -0.3, 0.0]], np.float32)

    def density(first: float, second: float, third: float) -> float:
        return float(np.exp(log_density(model, np.array([[first, second, third]], np.float32), mean)[0]))

    top = 9.0
    none = density(0, 0, 0)
    grid = np.linspace(0, top, 61)[1:] - top / 120
    step = top / 60
    rows = np.zeros((3 * len(grid), 3), np.float32)
    for edge in range(3):
        rows[edge * len(grid) : (edge + 1) * len(grid), edge] = grid
    one = np.exp(log_density(model, rows, np.repeat(mean, len(rows), 0))).sum() * step
    pairs = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    two = 0.0
    for absent in range(3):
        rows = np.insert(pairs, absent, 0, axis=1).astype(np.float32)
        two += np.exp(log_density(model, rows, np.repeat(mean, len(rows), 0))).sum() * step**2
    coarse = np.linspace(0, top, 25)[1:] - top / 48
    triples = np.stack(np.meshgrid(coarse, coarse, coarse), -1).reshape(-1, 3).astype(np.float32)
    three = np.exp(log_density(model, triples, np.repeat(mean, len(triples), 0))).sum() * (top / 24) ** 3
    assert none + one + two + three == pytest.approx(1, abs=0.04)


def test_log_interval_keeps_its_digits():
    low, high = np.array([-1.0, 10.0, -40.0, -np.inf]), np.array([2.0, 10.5, -39.0, 0.3])
    truth = [np.log(norm.cdf(2) - norm.cdf(-1)), np.log(norm.sf(10) - norm.sf(10.5)), norm.logcdf(-39.0), norm.logcdf(0.3)]
    np.testing.assert_allclose(log_interval(low, high), truth, rtol=1e-6)


def test_draws_within_an_interval_are_those_of_a_truncated_normal():
    generator = np.random.default_rng(0)
    n = 40_000
    for mean, low, high in ((0.0, -8.0, -1.0), (2.0, -8.0, 0.0), (0.0, 5.0, 6.0)):
        drawn, absent = np.zeros((n, 1), np.float32), np.ones((n, 1), bool)
        shared, limits = np.full((n, 1), mean, np.float32), (np.array([low]), np.array([high]))
        fill_absent(drawn, absent, np.zeros((n, 1), np.float32), shared, np.full((1, 1), 1.5, np.float32), *limits, generator)
        a, b = norm.cdf((low - mean) / 1.5), norm.cdf((high - mean) / 1.5)
        sf = norm.sf((low - mean) / 1.5) - norm.sf((high - mean) / 1.5)
        truth = mean + 1.5 * (norm.pdf((low - mean) / 1.5) - norm.pdf((high - mean) / 1.5)) / max(b - a, sf)
        assert drawn.min() >= low
        assert drawn.max() <= high
        assert drawn.mean() == pytest.approx(truth, abs=0.02)


def test_factors_are_drawn_from_their_posterior():
    model = small_model(0)
    away = np.repeat(np.random.default_rng(4).standard_normal((1, 6)), 20_000, 0).astype(np.float32)
    drawn = draw_factors(away, model.loadings, model.noise, np.random.default_rng(5))
    loadings = model.loadings.astype(float)
    weights = np.linalg.solve(covariance(model), loadings.T)
    np.testing.assert_allclose(drawn.mean(0), away[0] @ weights, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(2) - loadings @ weights, atol=0.02)


def plain_newton(start, unit, known, pull, low, high, steps=100):
    """Newton's method without a look at whether a step gains anything."""
    factors = start
    for _ in range(steps):
        first, second, _ = _interval(low - factors @ unit, high - factors @ unit)
        slope = pull - known @ factors - unit @ first
        step = np.linalg.solve(known + (unit * second) @ unit.T, slope)
        if slope @ step < 1e-6:
            return True
        factors = factors + step
    return False


def test_the_mode_is_found_where_plain_steps_go_astray():
    failed = 0
    for seed in (85, 443, 1306, 3068, 3439, 3543, 0, 1, 2, 3):
        draw = np.random.default_rng(seed)
        q, n_absent = draw.integers(1, 4), draw.integers(1, 30)
        unit = draw.normal(0, draw.choice([0.3, 1, 3, 10]), (q, n_absent))
        known, pull = np.diag(draw.choice([0.001, 0.01, 1.0], q)), draw.normal(0, draw.choice([0.1, 1, 10]), q)
        centre, width = draw.normal(0, 2, n_absent), np.exp(draw.normal(0, 1.5, n_absent))
        one_sided = draw.random() < 0.5
        low, high = (np.full(n_absent, -24.0), centre) if one_sided else (centre - width, centre + width)
        start = np.linalg.solve(known, pull)
        with np.errstate(all="ignore"):
            try:
                failed += not plain_newton(start, unit, known, pull, low, high)
            except np.linalg.LinAlgError:
                failed += 1
        factors, value, root = _mode(start, unit, known, pull, low, high)

        def height(at, unit=unit, known=known, pull=pull, low=low, high=high):
            return pull @ at - 0.5 * at @ known @ at + log_interval(low - at @ unit, high - at @ unit).sum()

        assert value == pytest.approx(height(factors))
        # Nothing around is higher, in units of the integrand's own width.
        for _ in range(20):
            assert height(factors + np.linalg.solve(root, 0.1 * draw.standard_normal(q))) < value + 1e-3
    assert failed >= 3


def test_a_person_is_the_sum_of_parts_that_have_nothing_to_do_with_each_other():
    whole, draw = small_model(0.3, n_edges=6, n_factors=2), np.random.default_rng(8)
    loadings = whole.loadings.copy()
    loadings[0, 3:], loadings[1, :3] = 0, 0
    noise = np.sqrt(1 - (loadings**2).sum(0))
    model = replace(whole, loadings=loadings, noise=noise)
    mean = draw.normal(0, 0.3, (20, 6)).astype(np.float32)
    values = model.marginals.values((mean + draw.standard_normal((20, 6))).astype(np.float32))
    parts = 0
    for edges, factor in ((slice(0, 3), [0]), (slice(3, 6), [1])):
        marginals = marginals_from(np.zeros(3), np.full(3, 0.3), lambda sign, scores: 4 + 0.8 * scores)
        part = ResidualModel(marginals, NO_MEANS, loadings[factor, edges], noise[edges], Spread.constant(1))
        parts = parts + log_density(part, values[:, edges], mean[:, edges])
    np.testing.assert_allclose(log_density(model, values, mean), parts, atol=0.1)
    alone = replace(whole, loadings=whole.loadings[:0], noise=np.ones(6, np.float32), spread=Spread.constant(0))
    np.testing.assert_allclose(log_density(alone, values, mean), edge_log_density(alone, values, mean).sum(1), rtol=1e-6)


# --- whole models ------------------------------------------------------------------------------------------------------


@cache
def fitted(measure: str = "streamline_count", model: type = BandedRidge) -> tuple:
    train, test = simulate_cohort(700, 16, 8, seed=5, measure=measure).split(0.6, seed=0)
    return model(0).fit(train), train, test


@pytest.mark.parametrize("measure", ["streamline_count", "pearson"])
def test_held_out_people_are_likelier_with_correlations_and_with_their_own_profile(measure):
    model, _, test = fitted(measure)
    person, edge = model.log_prob(test), model.log_prob(test, per="edge")
    assert person.shape == (len(test),)
    assert edge.shape == (len(test), test.n_edges)
    assert np.isfinite(person).all()
    gain = person - edge.sum(1)
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain)) + 5
    others = Cohort(
        test.weights,
        test.phenotypes.iloc[::-1].set_index(test.ids),
        test.atlas,
        measure=measure,
        signed=test.signed,
        described=test.described,
    )
    own = person - model.log_prob(others)
    assert own.mean() > 4 * own.std() / np.sqrt(len(own))
    assert np.mean(person - fitted(measure, TrainingMean)[0].log_prob(test)) > 0.3


def test_people_whose_edges_are_shuffled_are_less_likely():
    model, _, test = fitted()
    weights = np.stack([np.random.default_rng(e).permutation(c) for e, c in enumerate(test.weights.T)], 1)
    strange = Cohort(weights, test.phenotypes, test.atlas, measure=test.measure, described=test.described)
    assert np.median(model.log_prob(strange)) < np.quantile(model.log_prob(test), 0.1)


@pytest.mark.parametrize("measure", ["sift2_fbc", "pearson"])
def test_strange_connectomes_have_a_finite_density_that_falls_as_they_get_stranger(measure):
    model, _, test = fitted(measure)
    few = test.take(slice(0, 5))
    usual = model.log_prob(few)

    def density(change) -> np.ndarray:
        weights = few.weights.copy()
        change(weights)
        found = model.log_prob(Cohort(weights, few.phenotypes, few.atlas, measure=measure, signed=few.signed, described=few.described))
        assert np.isfinite(found).all()
        return found

    edge = int(np.flatnonzero((test.weights != 0).all(0))[0])

    def huge(weights: np.ndarray, size: float) -> None:
        weights[:, edge] = size

    # Without absent edges every step away from what is usual costs.
    sizes = (0.97, 0.9999, 1 - 1e-7) if measure == "pearson" else (1e4, 1e9, 1e30)
    falling = [usual, *(density(lambda w, s=s: huge(w, s)) for s in sizes)]
    assert (np.diff(falling, axis=0) <= 0).all()
    assert (falling[1] < falling[0]).all()
    nothing = density(lambda w: w.__imul__(0))
    assert (nothing < usual - 20).all()
    one = density(lambda w: (w.__imul__(0), huge(w, test.weights[:, edge].max())))
    assert (one < usual - 20).all()
    assert (np.abs(one - nothing) > 0.1).all()


def test_evaluation_takes_the_model_as_log_prob():
    model, train, test = fitted()
    scores = cg.evaluate(
        model.sample(test.phenotypes), test, reference=train, log_prob=model, parts=("log_likelihood",), measures=(), n_bootstrap=20
    )
    table = scores.to_dataframe().set_index("score")
    assert table.loc["log_likelihood", "value"] == pytest.approx(model.log_prob(test).mean() / test.n_edges, rel=1e-6)


def test_rows_do_not_depend_on_who_else_is_in_the_cohort():
    model, _, test = fitted()
    np.testing.assert_allclose(model.log_prob(test.take([3, 40])), model.log_prob(test)[[3, 40]], rtol=1e-4, atol=0.02)


def test_cohorts_that_the_model_knows_nothing_of_are_refused():
    model, _, test = fitted()
    with pytest.raises(ConnectomeError, match="per 'person' or per 'edge'"):
        model.log_prob(test, per="region")
    with pytest.raises(ConnectomeError, match="measure="):
        model.log_prob(Cohort(test.weights, test.phenotypes, test.atlas, measure="mean_fa"))
    with pytest.raises(ConnectomeError, match="not on the atlas"):
        model.log_prob(Cohort(np.ones((len(test), 15)), test.phenotypes, make_atlas(6), measure=test.measure))
    with pytest.raises(ConnectomeError, match="no people"):
        model.log_prob(model.expected(test.phenotypes))
    with pytest.raises(ConnectomeError, match="expected a Cohort"):
        model.log_prob(test.phenotypes)
    with pytest.raises(ConnectomeError, match="not been fitted"):
        BandedRidge(0).log_prob(test)


def test_a_model_with_a_distribution_of_its_own():
    class Own(TrainingMean):
        def _fit_residual(self, data, residual):
            pass

        def _log_density(self, profiles, values):
            return values.sum(1) + 0.0 * len(profiles)

    draw = np.random.default_rng(0)
    cohort = Cohort(draw.lognormal(1, 1, (40, 15)), plain_table(40), make_atlas(6), measure="m", described=DESCRIBED)
    model = Own(0).fit(cohort)
    np.testing.assert_allclose(model.log_prob(cohort), np.log1p(cohort.weights).sum(1), rtol=1e-5)
    with pytest.raises(ConnectomeError, match="single edges"):
        model.log_prob(cohort, per="edge")
    with pytest.raises(ConnectomeError, match="deviation needs"):
        model.deviation(cohort)


def test_an_edge_that_everybody_has_alike_costs_as_much_absent_as_changed():
    weights = np.random.default_rng(0).lognormal(2, 1, (60, 15)).astype(np.float32)
    weights[:, 3] = 7
    cohort = Cohort(weights, plain_table(60), make_atlas(6), measure="m", described=DESCRIBED)
    model = BandedRidge(0).fit(cohort)
    changed = np.repeat(weights[:1], 3, 0)
    changed[1, 3], changed[2, 3] = 0, 9
    same, absent, other = model.log_prob(
        Cohort(changed, cohort.phenotypes.iloc[[0, 0, 0]].set_axis(["a", "b", "c"]), cohort.atlas, measure="m", described=DESCRIBED)
    )
    assert same - absent == pytest.approx(same - other, rel=0.05)
    assert same - absent > 15

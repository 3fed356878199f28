"""An edge's distribution: draws and density are the same one, both ways, zeros and tails included."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import DESCRIBED, plain_table
from scipy.integrate import trapezoid
from scipy.stats import ks_2samp, kstest, lognorm, norm
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.marginal_fit import fit_marginals, marginals_from
from connectome_gnn.generation.marginals import Marginals, knot_scores

N_EDGES = 15


def people(values: np.ndarray, signed: bool = False) -> Cohort:
    """People with these values (n, 15) on the modelling scale."""
    weights = np.tanh(values) if signed else np.expm1(values)
    n = len(values)
    return Cohort(weights.astype(np.float32), plain_table(n), make_atlas(6), measure="m", signed=signed, described=DESCRIBED)


def of_kind(kind: str, n: int = 400) -> Cohort:
    """Awkward distributions: normal correlations, thresholded ones, sparse log-normal weights, counts."""
    draw = np.random.default_rng(0)
    if kind == "correlations":
        return people(draw.normal(0.1, 0.3, (n, N_EDGES)), True)
    if kind == "thresholded":
        values = draw.normal(0.1, 0.4, (n, N_EDGES))
        return people(np.where(np.abs(values) < 0.2, 0, values), True)
    present = draw.random((n, N_EDGES)) < np.linspace(0.05, 1, N_EDGES)
    values = np.log1p(draw.lognormal(1.5, 1, (n, N_EDGES))) * present
    return people(np.log1p(np.ceil(np.expm1(values))) if kind == "counts" else values)


KINDS = ["correlations", "thresholded", "sparse", "counts"]


@pytest.fixture(scope="module", params=KINDS)
def marginals(request) -> Marginals:
    return fit_marginals(of_kind(request.param))


def grid(marginals: Marginals, edge: int, side: int) -> np.ndarray:
    """Values of an edge on one side of 0, dense where it has mass, far into both tails."""
    latent = np.linspace(-9, 9, 40_001).astype(np.float32)
    everywhere = np.zeros((len(latent), N_EDGES), np.float32)
    everywhere[:, edge] = latent
    values = np.unique(marginals.values(everywhere)[:, edge])
    return values[values > 0] if side > 0 else values[values < 0]


def test_the_density_integrates_to_one(marginals):
    for edge in range(N_EDGES):
        total = float(marginals.zeros[edge])
        for side in (-1, 1):
            values = grid(marginals, edge, side)
            if len(values) > 1:
                rows = np.zeros((len(values), N_EDGES), np.float32)
                rows[:, edge] = values
                total += trapezoid(np.exp(marginals.log_density(rows)[:, edge]), values.astype(np.float64))
        assert total == pytest.approx(1, abs=0.02)  # as far as the trapezoid rule goes where the density jumps


def test_values_and_scores_are_inverses(marginals):
    latent = np.random.default_rng(1).standard_normal((2000, N_EDGES)).astype(np.float32)
    values = marginals.values(latent.copy())
    scores, _ = marginals.scores(values)
    absent = values == 0
    assert np.isnan(scores[absent]).all() or not (marginals.zeros > 0).any()
    low, high = marginals.thresholds
    inside = (latent > low - 1e-5) & (latent < high + 1e-5) & (marginals.zeros > 0)
    assert (absent == inside).mean() > 0.9999
    error = np.abs(scores - latent)[~absent]
    assert np.quantile(error, 0.999) < 1e-4
    assert error.max() < 0.05  # far down a steep tail float32 holds no more


def test_density_is_the_derivative_of_the_distribution(marginals):
    """The log slope is that of the map itself, by differences."""
    latent = np.random.default_rng(2).uniform(-2.5, 2.5, (300, N_EDGES)).astype(np.float32)
    step = np.float32(4e-3)
    middle, up, down = (marginals.values(latent + d) for d in (np.float32(0), step, -step))
    _, log_slope = marginals.scores(middle)
    there = (middle != 0) & (up != 0) & (down != 0) & (np.sign(up) == np.sign(down))
    slope = (up - down) / (2 * step)
    ratio = np.exp(log_slope[there]) / slope[there]
    assert np.median(ratio) == pytest.approx(1, abs=1e-3)
    assert (np.abs(ratio - 1) < 0.1).mean() > 0.95  # the rest straddles a knot


def test_draws_have_the_probability_that_the_density_says(marginals):
    """The probability integral transform of draws, randomised at the atom, is uniform: a transform from the density alone."""
    draw = np.random.default_rng(3)
    values = marginals.values(draw.standard_normal((3000, N_EDGES)).astype(np.float32))
    edge = N_EDGES // 2
    negative, positive = grid(marginals, edge, -1), grid(marginals, edge, 1)
    support = np.concatenate([negative, positive]).astype(np.float64)
    rows = np.zeros((len(support), N_EDGES), np.float32)
    rows[:, edge] = support
    density = np.exp(marginals.log_density(rows)[:, edge])
    steps = np.concatenate([[0], np.diff(support) * (density[1:] + density[:-1]) / 2])
    if len(negative) and len(positive):
        steps[len(negative)] = marginals.zeros[edge] if marginals.zeros[edge] > 0 else steps[len(negative)]
    start = 0.0 if len(negative) else float(marginals.zeros[edge])
    cumulative = start + np.cumsum(steps)
    drawn = values[:, edge]
    place = np.interp(drawn, support, cumulative)
    at_zero = (drawn == 0) & (marginals.zeros[edge] > 0)
    before = cumulative[len(negative) - 1] if len(negative) else 0.0
    place[at_zero] = before + draw.random(at_zero.sum()) * marginals.zeros[edge]
    assert kstest(place, "uniform").pvalue > 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_people_are_never_impossible(kind):
    train, test = of_kind(kind, 60), of_kind(kind, 400)
    marginals = fit_marginals(train)
    weird = test.scale.forward(test.weights)
    weird[0], weird[1], weird[2] = 0, 1e-3, 12 if not test.signed else 3.8
    density = marginals.log_density(weird)
    assert np.isfinite(density).all()
    assert density[3:].mean() > density[2].mean()


def test_known_distributions_are_recovered():
    """A normal correlation and a log-normal weight that a third lacks, from 1,500 people: as likely as under the truth, almost."""
    draw = np.random.default_rng(4)
    fresh = draw.normal(0.2, 0.3, (2000, N_EDGES)).astype(np.float32)
    marginals = fit_marginals(people(draw.normal(0.2, 0.3, (1500, N_EDGES)), True))
    loss = norm(0.2, 0.3).logpdf(fresh).mean() - marginals.log_density(fresh).mean()
    assert -0.002 < loss < 0.012

    def sparse(n: int) -> np.ndarray:
        return (draw.lognormal(1, 0.5, (n, N_EDGES)) * (draw.random((n, N_EDGES)) < 2 / 3)).astype(np.float32)

    marginals, fresh = fit_marginals(people(sparse(1500))), sparse(2000)
    with np.errstate(divide="ignore"):
        truth = np.where(fresh > 0, np.log(2 / 3) + lognorm(0.5, scale=np.e).logpdf(fresh), np.log(1 / 3))
    assert -0.002 < truth.mean() - marginals.log_density(fresh).mean() < 0.02


def test_few_people_do_better_than_their_own_quantiles_and_than_a_normal_distribution():
    """What smoothing towards a shape common to all edges is for."""
    draw = np.random.default_rng(5)
    make = lambda n: draw.gamma(2, 0.4, (n, N_EDGES)).astype(np.float32)  # noqa: E731
    train, fresh = make(30), make(2000)
    ours = fit_marginals(people(train)).log_density(fresh).mean()
    normal = norm(train.mean(0), train.std(0, ddof=1)).logpdf(fresh).mean()
    assert ours > normal + 0.1


@pytest.mark.parametrize("side", [-1, 1])
def test_two_kinds_of_people_do_not_stretch_the_tails(side):
    """On edges that a tenth of the people have much stronger, the step between the kinds must not go on beyond the stronger ones."""
    draw = np.random.default_rng(8)
    values = draw.normal(4, 1, (240, N_EDGES))
    other = draw.random((240, 4)) < 0.1
    values[:, :4] = np.where(other, draw.normal(8, 0.3, other.shape), draw.normal(2, 0.5, other.shape))
    marginals = fit_marginals(people(side * values / 8, signed=side < 0))
    beyond = 8 * np.abs(marginals.values(np.full((1, N_EDGES), side * 4.0, np.float32))[0]) - values.max(0)
    assert beyond.max() < 2.5
    assert beyond.min() > -0.5


def test_an_edge_that_few_have_borrows_spread():
    draw = np.random.default_rng(6)
    values = draw.normal(3, 0.5, (200, N_EDGES)) * (draw.random((200, N_EDGES)) < 0.03)
    values[:, 0] = 0
    values[0, 0] = 3.0  # one person's
    marginals = fit_marginals(people(values))
    spread = (marginals.quantiles[0, -1] - marginals.quantiles[0, 0]) / 6.4
    assert 0.25 < spread < 1
    assert marginals.zeros[0] == pytest.approx(0.995)


def test_what_nobody_shows_is_as_likely_as_single_cases_tell():
    draw = np.random.default_rng(7)
    n = 50
    weights = draw.lognormal(1, 0.3, (n, 190)).astype(np.float32)
    weights[draw.random(weights.shape) < 0.004] = 0
    cohort = Cohort(weights, plain_table(n), make_atlas(20), measure="m", described=DESCRIBED)
    single, none = ((weights == 0).sum(0) == 1).sum(), ((weights == 0).sum(0) == 0).sum()
    assert single >= 5
    zeros = fit_marginals(cohort).zeros
    np.testing.assert_allclose(zeros[(weights == 0).sum(0) == 0], single / (n * none), rtol=1e-5)
    assert single / (n * none) == pytest.approx(0.004, abs=0.002)  # what is true of them
    # Without single cases it is next to impossible, and never quite.
    weights[weights == 0] = 1
    zeros = fit_marginals(Cohort(weights, plain_table(n), make_atlas(20), measure="m", described=DESCRIBED)).zeros
    assert (zeros > 0).all()
    assert (zeros < 1e-8).all()


def test_correlations_without_zeros_have_no_atom():
    marginals = fit_marginals(of_kind("correlations"))
    assert (marginals.zeros == 0).all()
    near = np.tile(np.array([[-1e-6], [0], [1e-6]], np.float32), (1, N_EDGES))
    np.testing.assert_allclose(np.diff(marginals.log_density(near), axis=0), 0, atol=1e-3)


def test_knots_lie_at_the_scores_they_are_said_to():
    """Given the true quantile function at the knots, the marginals are the true distribution."""
    below, zeros = np.full(N_EDGES, 0.2), np.full(N_EDGES, 0.3)

    def quantile(sign: int, scores: np.ndarray) -> np.ndarray:
        return 0.2 + (0.1 if sign < 0 else 0.3) * np.exp(0.5 * scores)

    marginals = marginals_from(below, zeros, quantile)
    values = marginals.values(np.random.default_rng(8).standard_normal((4000, N_EDGES)).astype(np.float32))
    assert (values < 0).mean() == pytest.approx(0.2, abs=0.01)
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert kstest((values[values > 0] - 0.2) / 0.3, lognorm(0.5).cdf).statistic < 0.01
    assert kstest((-values[values < 0] - 0.2) / 0.1, lognorm(0.5).cdf).statistic < 0.015
    split, scores = knot_scores(below, zeros)
    assert (np.diff(scores[0, : split[0]]) > 0).all()
    assert (np.diff(scores[0, split[0] :]) > 0).all()
    np.testing.assert_allclose(scores[0, [0, split[0] - 1, split[0], -1]], [-3.2, 3.2, -3.2, 3.2], atol=1e-6)


def test_edges_keep_shapes_of_their_own_where_people_are_many():
    draw = np.random.default_rng(10)
    skewed = draw.gamma(1.5, 0.5, (3000, N_EDGES))
    skewed[:, ::2] = 6 - skewed[:, ::2]
    marginals = fit_marginals(people(skewed[:1500].clip(1e-3)))
    drawn = marginals.values(draw.standard_normal((3000, N_EDGES)).astype(np.float32))
    distances = [ks_2samp(one, other).statistic for one, other in zip(drawn.T, skewed[1500:].T, strict=True)]
    assert np.mean(distances) < 0.07

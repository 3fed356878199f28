"""Samples are people: on the weight's support, as spread out, as correlated and with as many absent edges as real ones."""

from __future__ import annotations

import numpy as np
import pytest
from fitted import DESCRIBED, generator, halves, modelled, plain_table
from scipy.special import ndtri
from scipy.stats import ks_2samp
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import Scale
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.residual import ResidualModel

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")

MEASURES = ["streamline_count", "pearson"]


@pytest.fixture(scope="module", params=MEASURES)
def measure(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def sample(measure) -> Cohort:
    return generator(measure).sample(halves(measure)[1].phenotypes, seed=4)


def test_samples_are_on_the_support(measure, sample):
    weights = sample.weights
    assert np.isfinite(weights).all()
    assert weights.dtype == np.float32
    if measure == "pearson":
        assert (np.abs(weights) < 1).all()
        assert (weights < 0).any()
    else:
        assert (weights >= 0).all()
        # No value lies between absent and the half that rounds to the weakest count, and few below the weakest that anybody had there.
        train = halves(measure)[0].weights
        weakest = np.where(train > 0, train, np.inf).min(0)
        assert (weights[weights > 0] >= 0.4999).all()
        assert ((weights > 0) & (weights < 0.5 * weakest)).mean() < 0.01


def test_as_many_edges_are_absent_as_in_held_out_people(measure, sample):
    real = halves(measure)[1].weights
    assert (sample.weights == 0).mean() == pytest.approx((real == 0).mean(), abs=0.01)
    # Edge by edge: two samples of 800, given the 400 that the model knows, differ by chance alone.
    share, truth = (sample.weights == 0).mean(0), (real == 0).mean(0)
    error = np.sqrt(truth * (1 - truth) * (2 / 800 + 1 / 400))
    assert np.abs(share - truth)[error == 0].max(initial=0) < 0.01
    assert (np.abs(share - truth) < 4 * error + 0.005).all()
    if measure == "streamline_count":
        assert truth.min() < 0.01 < 0.3 < truth.max()


def test_samples_are_as_spread_out_as_people(measure, sample):
    spread, truth = modelled(sample).std(0), modelled(halves(measure)[1]).std(0)
    ratio = spread[truth > 0] / truth[truth > 0]
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    often = (halves(measure)[1].weights != 0).mean(0) >= 0.5
    assert (np.abs(np.quantile(ratio[often[truth > 0]], [0.05, 0.95]) - 1) < 0.15).all()


def distances(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Kolmogorov's and Smirnov's distance between two groups of people, edge by edge."""
    return [ks_2samp(one, other, method="asymp").statistic for one, other in zip(first.T, second.T, strict=True)]


def test_every_edge_has_its_own_distribution(measure, sample):
    if measure == "streamline_count":  # whole numbers, as real people's are
        sample = generator(measure).sample(halves(measure)[1].phenotypes, seed=3, counts=True)
    drawn, real, train = (modelled(c) for c in (sample, halves(measure)[1], halves(measure)[0]))
    ours, theirs = distances(drawn, real), distances(train, real)
    # The training people themselves miss held-out people's distribution by chance, and no more is to be asked.
    assert np.mean(ours) < np.mean(theirs) + 0.03
    assert np.max(ours) < 0.2
    gaussian = train.mean(0) + train.std(0) * np.random.default_rng(0).standard_normal(drawn.shape)
    if measure == "streamline_count":
        assert np.mean(ours) < 0.7 * np.mean(distances(gaussian, real))


def test_edges_are_correlated_as_in_people(measure, sample):
    often = (halves(measure)[1].weights != 0).mean(0) >= 0.5
    drawn, real = (np.corrcoef(modelled(c)[:, often].T)[np.triu_indices(often.sum(), 1)] for c in (sample, halves(measure)[1]))
    assert np.mean(np.abs(real)) > 0.08
    slope, offset = np.polyfit(real, drawn, 1)
    # 400 training people know correlations to .05, which flattens the slope by chance; independent edges would have slope 0.
    assert 0.8 < slope < 1.05
    assert abs(offset) < 0.02
    # Overall strength, the strongest of common factors, differs between samples as between people.
    totals = [modelled(c)[:, often].sum(1).std() for c in (sample, halves(measure)[1])]
    assert totals[0] == pytest.approx(totals[1], rel=0.15)


def test_many_samples_average_to_the_expected_connectome(measure):
    model, few = generator(measure), halves(measure)[1].phenotypes.iloc[:40]
    expected = modelled(model.expected(few))
    drawn = modelled(model.sample(few, 400, seed=1)).reshape(40, 400, -1).mean(1)
    kept, unit = model.space.kept, model.space.std[model.space.kept]
    away = ((drawn - expected)[:, kept]) / unit
    assert np.sqrt((away**2).mean()) < 1.15 / np.sqrt(400)  # a mean of 400 draws is uncertain by that
    deviation = (expected - model.space.mean)[:, kept] / unit
    slope = (((drawn - model.space.mean)[:, kept] / unit) * deviation).sum() / (deviation**2).sum()
    assert slope == pytest.approx(1, abs=0.06)


def test_profiles_make_edges_absent():
    """Where a profile lowers an edge that not everybody has, it is absent more often."""
    model, table = generator(), halves()[1].phenotypes.iloc[:40]
    deviation = model._deviation(table[list(model.schema.names)])
    zeros = (model.sample(table, 150, seed=2).weights.reshape(40, 150, -1) == 0).mean(1)[:, model.space.kept]
    sometimes = (model.residual.marginals.zeros[model.space.kept] > 0.15) & (deviation.std(0) > 0.1)
    assert sometimes.sum() > 10
    slopes = [np.corrcoef(deviation[:, edge], zeros[:, edge])[0, 1] for edge in np.flatnonzero(sometimes)]
    assert np.max(slopes) < 0
    assert np.mean(slopes) < -0.7
    # A latent edge d higher falls below the threshold with probability Phi(threshold - d): slope -phi(threshold).
    edge = np.flatnonzero(sometimes)[0]
    share = model.residual.marginals.zeros[model.space.kept][edge]
    threshold = ndtri(share)
    slope = np.polyfit(deviation[:, edge], zeros[:, edge], 1)[0]
    assert slope == pytest.approx(-np.exp(-(threshold**2) / 2) / np.sqrt(2 * np.pi), rel=0.35)


def test_samples_lie_in_order_and_are_counted(measure):
    model, table = generator(measure), halves(measure)[1].phenotypes.iloc[[5, 2, 9]]
    drawn = model.sample(table, 4, seed=0)
    assert list(drawn.ids) == [name for name in table.index for _ in range(4)]
    assert list(drawn.phenotypes["sample"]) == [0, 1, 2, 3] * 3
    assert drawn.kind == "sample"
    weights = drawn.weights.reshape(3, 4, -1)
    assert all(not np.array_equal(weights[p, a], weights[p, b]) for p in range(3) for a in range(4) for b in range(a))


def test_seeds(measure):
    model, table = generator(measure), halves(measure)[1].phenotypes.iloc[:300]
    one, same, other = (model.sample(table, seed=seed).weights for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert not np.isclose(one[one != 0], other[one != 0], rtol=1e-3).mean() > 0.1
    # Residuals of different seeds have nothing in common.
    first, second = (modelled(model.sample(table, seed=seed)) - modelled(model.expected(table)) for seed in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


# --- distributions that simulated cohorts do not have -------------------------------------------------------------------


def draws_of(values: np.ndarray, signed: bool, n: int = 4000) -> tuple[np.ndarray, ResidualModel]:
    """Draws around the mean by a model that has seen these weights (N, 15), nothing of which phenotypes explain."""
    cohort = Cohort(values.astype(np.float32), plain_table(len(values)), make_atlas(6), measure="m", signed=signed, described=DESCRIBED)
    space, scores = EdgeSpace.fit(cohort)
    model = ResidualModel.fit(space, cohort, scores)
    latent = model.draw(np.zeros((n, int(space.kept.sum())), np.float32), space.kept, np.random.default_rng(0))
    return Scale(signed).inverse(latent), model


def test_signed_edges_with_exact_zeros_keep_both_sides_and_the_gap():
    """Thresholded correlations: nothing between -.2 and .2 but exact zeros."""
    draw = np.random.default_rng(1)
    values = np.tanh(draw.normal(0.1, 0.4, (500, 15)))
    values[np.abs(values) < 0.2] = 0
    drawn, _ = draws_of(values, True)
    for what in (np.less, np.equal, np.greater):
        np.testing.assert_allclose(what(drawn, 0).mean(0), what(values, 0).mean(0), atol=0.03)
    assert not ((np.abs(drawn) > 0) & (np.abs(drawn) < 0.199)).any()


def test_edges_that_are_constant_never_there_or_always_there():
    draw = np.random.default_rng(2)
    values = draw.lognormal(3, 1, (300, 15))
    values[:, 0] = 0
    values[:, 1] = 7.5
    values[1:, 2] = 0
    drawn, _ = draws_of(values, False)
    assert (drawn[:, 0] == 0).all()
    np.testing.assert_allclose(drawn[:, 1], 7.5, rtol=1e-5)
    assert (drawn[:, 2] == 0).mean() == pytest.approx(299 / 300, abs=0.01)
    # What a single person has varies in others about that person's value.
    one = np.log1p(drawn[drawn[:, 2] > 0, 2])
    assert abs(np.median(one) - np.log1p(values[0, 2])) < 1.5
    assert (drawn[:, 3:] > 0).all()
    # One in 300 is beyond the most extreme of 300, and not by far.
    assert ((drawn > values.max(0)).mean(0)[3:] < 0.015).all()
    assert np.log1p(drawn).max() < np.log1p(values).max() + 3


def test_two_edges_that_go_together_in_people_do_so_in_samples():
    draw = np.random.default_rng(3)
    latent = draw.standard_normal((500, 15))
    latent[:, 1] = 0.9 * latent[:, 0] + np.sqrt(0.19) * latent[:, 1]
    latent[:, 2] = -latent[:, 0]
    drawn, _ = draws_of(np.expm1(np.maximum(latent + 4, 0)), False)
    correlation = np.corrcoef(np.log1p(drawn).T)
    assert correlation[0, 1] == pytest.approx(0.9, abs=0.05)
    assert correlation[0, 2] < -0.92  # each edge keeps a part of its own
    assert np.abs(correlation[3:, 3:][np.triu_indices(12, 1)]).max() < 0.2


def test_edges_that_are_often_absent_are_so_together_as_in_people():
    """Latent scores of absent edges drawn at random would lose a third of the correlation."""
    draw = np.random.default_rng(5)
    strength = np.linspace(0.6, 0.95, 15)
    latent = draw.standard_normal((560, 1)) * strength + draw.standard_normal((560, 15)) * np.sqrt(1 - strength**2)
    drawn, model = draws_of(np.expm1(np.maximum(latent + 0.1, 0)), False)
    assert (drawn == 0).mean() == pytest.approx(0.46, abs=0.03)
    np.testing.assert_allclose(np.abs(model.loadings[0])[5:], strength[5:], atol=0.12)
    both, truth = ((w == 0).astype(float).T @ (w == 0) / len(w) for w in (drawn, np.maximum(latent + 0.1, 0)))
    upper = np.triu_indices(15, 1)
    assert np.mean(both[upper]) == pytest.approx(np.mean(truth[upper]), abs=0.02)
    assert np.mean(truth[upper]) > 0.46**2 + 0.08


def test_latent_scores_and_values_are_inverses():
    draw = np.random.default_rng(6)
    values = draw.lognormal(1, 1, (300, 15)) * (draw.random((300, 15)) < 0.7)
    cohort = Cohort(values.astype(np.float32), plain_table(300), make_atlas(6), measure="m", described=DESCRIBED)
    space, components = EdgeSpace.fit(cohort)
    model = ResidualModel.fit(space, cohort, components)
    for rows, scores in model.scores(space, cohort, np.zeros_like(components), seed=1):
        np.testing.assert_allclose(scores.std(0), 1, atol=0.4)
        back = model.values(scores, np.zeros((len(scores), int(space.kept.sum())), np.float32), space.kept)
        np.testing.assert_allclose(np.expm1(back), values[rows], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(back == 0, values[rows] == 0)


def test_arrays_hold_all_of_a_model():
    model = generator().residual
    again = ResidualModel.from_arrays({name: array.copy() for name, array in model.arrays().items()})
    deviation = np.zeros((3, int(generator().space.kept.sum())), np.float32)
    one, other = (m.draw(deviation, generator().space.kept, np.random.default_rng(0)) for m in (model, again))
    assert one.tobytes() == other.tobytes()


def test_more_than_2000_people_give_quantiles_of_a_draw_and_exact_shares_of_zeros():
    draw = np.random.default_rng(4)
    values = draw.lognormal(1, 1, (2600, 15)) * (draw.random((2600, 15)) < 0.8)
    cohort = Cohort(values.astype(np.float32), plain_table(2600), make_atlas(6), measure="m", described=DESCRIBED)
    space, scores = EdgeSpace.fit(cohort)
    one, same, other = (ResidualModel.fit(space, cohort, scores, seed=seed) for seed in (0, 0, 1))
    assert one.marginals.quantiles.tobytes() == same.marginals.quantiles.tobytes() != other.marginals.quantiles.tobytes()
    np.testing.assert_allclose(one.marginals.zeros, (values == 0).mean(0), atol=1e-6)
    median = [np.median(np.log1p(v[v > 0])) for v in values.T]
    np.testing.assert_allclose(one.marginals.quantiles[:, 20], median, atol=0.1)
    assert (np.diff(one.marginals.quantiles, axis=1) >= 0).all()


def test_samples_of_a_cohort_without_signal_are_like_its_people():
    cohort = halves()[0]
    shuffled = Cohort(
        cohort.weights[np.random.default_rng(0).permutation(len(cohort))],
        cohort.phenotypes,
        cohort.atlas,
        measure="m",
        described=cohort.described,
    )
    model = ConnectomeGenerator(network=None).fit(shuffled)
    drawn = modelled(model.sample(halves()[1].phenotypes, seed=0))
    assert np.median(drawn.std(0) / np.maximum(modelled(halves()[1]).std(0), 1e-6)) == pytest.approx(1, abs=0.05)

"""People drawn around a latent mean have the expected connectome on average, however an edge is distributed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from fitted import DESCRIBED, fit_small, modelled, plain_table
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.latent_means import KNOTS, LatentMeans
from connectome_gnn.generation.marginal_fit import fit_marginals, marginals_from

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")


def test_normal_edges_have_the_mean_that_is_expected():
    """Where values are latent scores, the mean of one is the mean of the other."""
    marginals = marginals_from(np.zeros(3), np.zeros(3), lambda sign, scores: scores)
    space = EdgeSpace(np.zeros(3), np.ones(3), np.ones(3), np.array([True, False, True]), np.zeros((0, 2), np.float32))
    means = LatentMeans.of(marginals, np.full(3, 0.8), space)
    assert means.table.shape == (2, KNOTS)
    deviation = np.linspace(-2, 2, 10, dtype=np.float32)[:, None].repeat(2, 1)
    found = means.at(deviation, space.kept)
    np.testing.assert_allclose(found[:, [0, 2]], deviation, atol=0.01)
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_values_average_to_what_is_expected(seed):
    """Skewed edges of which up to half are absent, at deviations far from the mean."""
    draw = np.random.default_rng(seed)
    values = np.maximum(np.exp(draw.normal(0, 0.7, (600, 15))) - np.linspace(0.2, 1, 15), 0)
    cohort = Cohort(np.expm1(values).astype(np.float32), plain_table(600), make_atlas(6), measure="m", described=DESCRIBED)
    space, marginals = EdgeSpace.fit(cohort)[0], fit_marginals(cohort)
    left = np.full(15, 0.7)
    means = LatentMeans.of(marginals, left, space)
    deviation = np.repeat(np.array([[-0.3], [-0.1], [0.0], [0.6], [1.5]], np.float32), int(space.kept.sum()), 1)
    scores = np.sqrt(left) * draw.standard_normal((40_000, 1))
    drawn = [marginals.values((mean + scores).astype(np.float32)).mean(0) for mean in means.at(deviation, space.kept)]
    found = ((np.array(drawn) - space.mean) / space.std)[:, space.kept]
    np.testing.assert_allclose(found, deviation, atol=0.03)
    assert (np.diff(means.table, axis=1) >= 0).all()
    beyond = means.at(np.full((1, deviation.shape[1]), -50, np.float32), space.kept)  # no mean gives values below 0
    assert np.isfinite(beyond).all()


@cache
def two_sites() -> tuple[ConnectomeGenerator, Cohort]:
    """Two scanners so far apart that edges have two peaks."""
    table = plain_table(400).assign(site=np.where(np.arange(400) % 3 == 0, "a", "b"))
    draw = np.random.default_rng(3)
    latent = 3 + 2.5 * (table["site"] == "a").to_numpy()[:, None] * draw.uniform(0.2, 1, 15) + 0.5 * draw.standard_normal((400, 15))
    cohort = Cohort(np.expm1(np.maximum(latent, 0)).astype(np.float32), table, make_atlas(6), measure="m", described=DESCRIBED)
    return fit_small(cohort, sampler="copula"), cohort


def test_samples_do_not_overshoot_where_edges_have_two_peaks():
    """A latent mean in proportion to what is expected moved samples up to twice as far."""
    model, cohort = two_sites()
    few = cohort.phenotypes.iloc[:30]
    expected = modelled(model.expected(few))
    drawn = modelled(model.sample(few, 400, seed=1)).reshape(30, 400, -1).mean(1)
    unit = model.space.std
    slope = ((drawn - drawn.mean(0)) * (expected - expected.mean(0)) / unit**2).sum() / (((expected - expected.mean(0)) / unit) ** 2).sum()
    assert slope == pytest.approx(1, abs=0.03)
    assert np.sqrt((((drawn - expected) / unit) ** 2).mean()) < 0.08
    assert np.median(modelled(model.sample(cohort.phenotypes, 2, seed=2)).std(0) / modelled(cohort).std(0)) == pytest.approx(1, abs=0.06)

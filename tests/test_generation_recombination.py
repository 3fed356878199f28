"""Sampling of people: variance, covariance and skewness of a known truth, structured noise, nobody's copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.recombination import EVERYTHING, SAMPLING_RIVALS, Patterns, PeopleSampler, Recipe, mixing_weights
from connectome_gnn.generation.remainder_noise import RegionNoise, SeriesNoise

REGIONS, PEOPLE = 16, 240
EDGES = REGIONS * (REGIONS - 1) // 2


def correlations(n: int, seed: int, points: int = 30) -> NDArray[np.float64]:
    """Fisher z (n, E) of correlation matrices of time series of three shared signals: skewed in triangles."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(0, 0.6, (REGIONS, 3))
    strength = np.exp(0.3 * rng.standard_normal((n, 1, 3)))
    series = (mixing * strength) @ rng.standard_normal((n, 3, points)) + rng.standard_normal((n, REGIONS, points))
    series -= series.mean(2, keepdims=True)
    series /= np.linalg.norm(series, axis=2, keepdims=True)
    rows, columns = np.triu_indices(REGIONS, 1)
    return np.arctanh((series @ series.transpose(0, 2, 1))[:, rows, columns])


def standardised(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return ((values - values.mean(0)) / values.std(0)).astype(np.float32)


def triangle_cumulant(residual: NDArray[np.floating]) -> float:
    """Mean over triangles of the product of their three edges."""
    matrices = to_matrices(residual.astype(np.float64))
    return float(np.einsum("nij,nji->", matrices @ matrices, matrices) / len(residual) / (REGIONS * (REGIONS - 1) * (REGIONS - 2)))


@pytest.fixture(scope="module")
def values() -> NDArray[np.float64]:
    return correlations(PEOPLE, 0)


@pytest.fixture(scope="module")
def residual(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return standardised(values)


@pytest.fixture(scope="module")
def patterns(residual: NDArray[np.float32]) -> Patterns:
    return Patterns.of(residual)


def sampler(patterns: Patterns, values: NDArray[np.float64], recipe: Recipe) -> PeopleSampler:
    return PeopleSampler.of(patterns, recipe, values.mean(0), values.std(0))


RECIPES = {
    "everything recombined": Recipe(EVERYTHING, 0.0),
    "ten patterns, region noise": Recipe(10, 0.5, own=0.1),
    "no training people, series": Recipe(0, 1.0, "series", points=40),
    **SAMPLING_RIVALS,
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_edge_has_mean_0_and_variance_1(name: str, patterns: Patterns, values: NDArray[np.float64]) -> None:
    drawn = sampler(patterns, values, RECIPES[name]).draw(3000, np.random.default_rng(1))
    assert drawn.dtype == np.float32
    # 384 people calibrate the series' own mean and spread: a tenth of a standard deviation at most.
    assert np.abs(drawn.mean(0)).max() < 0.2
    assert np.abs(drawn.std(0) - 1).max() < 0.15
    assert abs(np.median(drawn.std(0)) - 1) < 0.02


def test_edges_vary_together_as_in_new_people_of_the_truth(patterns: Patterns, values: NDArray[np.float64]) -> None:
    truth = np.corrcoef(correlations(4000, 7).T)[np.triu_indices(EDGES, 1)]
    for recipe in (Recipe(EVERYTHING, 0.0), Recipe(10, 1.0, "series", points=40)):
        drawn = sampler(patterns, values, recipe).draw(4000, np.random.default_rng(2))
        assert np.corrcoef(truth, np.corrcoef(drawn.T)[np.triu_indices(EDGES, 1)])[0, 1] > 0.85
    scrambled = np.random.default_rng(3).permuted(np.asarray(drawn), axis=0)
    assert np.corrcoef(truth, np.corrcoef(scrambled.T)[np.triu_indices(EDGES, 1)])[0, 1] < 0.2


def test_positive_weights_and_series_keep_the_skewness_of_triangles_that_a_gaussian_loses(
    patterns: Patterns, values: NDArray[np.float64]
) -> None:
    truth = triangle_cumulant(standardised(correlations(4000, 7)))
    found = {
        name: triangle_cumulant(sampler(patterns, values, recipe).draw(4000, np.random.default_rng(4))) for name, recipe in RECIPES.items()
    }
    assert truth > 0.1
    assert found["everything recombined"] > 0.6 * truth
    assert found["no training people, series"] > 0.4 * truth
    assert abs(found["full-covariance Gaussian"]) < 0.25 * truth
    assert abs(found["three people, weights of both signs"]) < 0.35 * truth


def test_patterns_vary_as_in_people_who_took_no_part_in_finding_them() -> None:
    rng = np.random.default_rng(5)
    loadings = rng.standard_normal((2, EDGES))
    people = [(rng.standard_normal((n, 2)) @ loadings + 2 * rng.standard_normal((n, EDGES))) for n in (80, 5000)]
    scale = people[1].std(0)
    small, fresh = ((part / scale).astype(np.float32) for part in people)
    found = Patterns.of(small)
    really = ((fresh @ found.directions.T) ** 2).mean(0)
    assert np.allclose(found.held_out[:2], really[:2], rtol=0.3)
    # All further patterns are noise: in these people they differ sevenfold, in others they do not.
    assert found.variance[3] > 1.5 * really[3]
    assert abs(found.held_out[3:40].sum() / really[3:40].sum() - 1) < 0.15


def test_many_people_give_the_same_patterns_as_the_exact_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    residual = standardised(correlations(300, 8))
    exact = Patterns.of(residual)
    monkeypatch.setattr("connectome_gnn.generation.recombination.EXACT_PEOPLE", 100)
    quick = Patterns.of(residual, most=30)
    assert np.allclose(quick.variance[:8], exact.variance[:8], rtol=0.01)
    assert np.allclose(np.abs((quick.directions[:5] * exact.directions[:5]).sum(1)), 1, atol=1e-3)
    assert np.allclose(quick.held_out[:3], exact.held_out[:3], rtol=0.35)


def test_nobody_is_a_training_person(patterns: Patterns, values: NDArray[np.float64], residual: NDArray[np.float32]) -> None:
    drawn = sampler(patterns, values, Recipe(10, 1.0, own=0.1)).draw(500, np.random.default_rng(6)).astype(np.float64)
    between = np.sqrt(((residual[:100, None] - residual[None, 100:200].astype(np.float64)) ** 2).sum(2)).min(1)
    nearest = np.sqrt(((drawn[:, None] - residual[None, :].astype(np.float64)) ** 2).sum(2).min(1))
    assert nearest.min() > 0.5 * between.min()


@pytest.mark.parametrize("name", ["ten patterns, region noise", "no training people, series", "three people, weights of both signs"])
def test_arrays_there_and_back(name: str, patterns: Patterns, values: NDArray[np.float64]) -> None:
    people = sampler(patterns, values, RECIPES[name])
    again = PeopleSampler.from_arrays({key: np.array(array) for key, array in people.arrays().items()})
    assert again.recipe == people.recipe
    assert again.draw(30, np.random.default_rng(0)).tobytes() == people.draw(30, np.random.default_rng(0)).tobytes()


def test_series_give_possible_correlation_matrices(patterns: Patterns, values: NDArray[np.float64]) -> None:
    people = sampler(patterns, values, Recipe(10, 1.0, "series", points=40))
    assert isinstance(people.noise, SeriesNoise)
    still = replace(people.noise, shift=np.zeros(EDGES, np.float32), scale=np.ones(EDGES, np.float32))
    drawn = still.around(people.patterns(50, np.random.default_rng(0)), np.random.default_rng(1))
    centred = people.noise.around(people.patterns(50, np.random.default_rng(0)), np.random.default_rng(1))
    assert np.allclose(centred, (drawn - people.noise.shift) / people.noise.scale, atol=1e-5)
    assert np.abs(people.noise.shift).mean() > 0.01
    matrices = to_matrices(np.tanh(drawn.astype(np.float64) * values.std(0) + values.mean(0)))
    matrices[:, range(REGIONS), range(REGIONS)] = 1
    assert np.linalg.eigvalsh(matrices).min() > -1e-3


def test_a_long_series_has_the_correlations_that_patterns_ask_for(values: NDArray[np.float64], residual: NDArray[np.float32]) -> None:
    centre, unit = values.mean(0).astype(np.float32), values.std(0).astype(np.float32)
    nothing, everything = np.zeros(EDGES, np.float32), np.ones(EDGES, np.float32)
    noise = SeriesNoise(20_000, centre, unit, nothing, everything)
    asked = 0.3 * residual[:5]
    drawn = noise.around(np.concatenate([np.zeros_like(asked), asked]), np.random.default_rng(0))
    assert np.abs(unit * drawn[:5]).max() < 0.06
    # Up to terms of the second order, and to the ridge that tames the weakest modes of the group.
    slope = [(a * b).sum() / (a * a).sum() for a, b in zip(asked, drawn[5:], strict=True)]
    assert np.allclose(slope, 1, atol=0.2)
    assert min(np.corrcoef(a, b)[0, 1] for a, b in zip(asked, drawn[5:], strict=True)) > 0.9


def test_region_noise_goes_together_on_edges_that_share_a_region() -> None:
    group = to_matrices(np.linspace(0.5, 2, EDGES))
    zeros = np.zeros((6000, EDGES), np.float32)
    correlation = {}
    for own in (0.0, 1.0):
        noise = RegionNoise.of(np.full(EDGES, 2, np.float32), group, own).around(zeros.copy(), np.random.default_rng(0))
        assert np.allclose(noise.std(0), 2, rtol=0.05)
        r = np.corrcoef(noise.T)
        rows, columns = np.triu_indices(REGIONS, 1)
        shared = (
            (rows[:, None] == rows) | (columns[:, None] == columns) | (rows[:, None] == columns) | (columns[:, None] == rows)
        ) & ~np.eye(EDGES, dtype=bool)
        apart = ~shared & ~np.eye(EDGES, dtype=bool)
        correlation[own] = r[shared].mean(), np.abs(r[apart].mean())
    assert correlation[0.0][0] > 0.3
    assert correlation[0.0][1] < 0.02
    assert abs(correlation[1.0][0]) < 0.01


def test_patterns_that_hold_all_variance_leave_nothing_to_noise(patterns: Patterns, values: NDArray[np.float64]) -> None:
    people = sampler(patterns, values, Recipe(EVERYTHING, 0.0))
    assert isinstance(people.noise, RegionNoise)
    assert not people.noise.amplitude.any()
    first, second = (people.draw(5, np.random.default_rng(0)), people.patterns(5, np.random.default_rng(0)))
    assert first.tobytes() == second.tobytes()
    part = sampler(patterns, values, Recipe(0, 1.0)).noise
    assert isinstance(part, RegionNoise)
    assert np.median(part.amplitude) > 0.1


def test_constant_edges_stay_at_0(values: NDArray[np.float64], residual: NDArray[np.float32]) -> None:
    still = residual.copy()
    still[:, :5] = 0
    for recipe in (Recipe(10, 0.5, own=0.1), Recipe(0, 1.0, "series", points=40)):
        drawn = PeopleSampler.of(Patterns.of(still), recipe, values.mean(0), values.std(0)).draw(20, np.random.default_rng(0))
        assert (drawn[:, :5] == 0).all()
        assert np.isfinite(drawn).all()


def test_mixing_weights_are_positive_of_unit_norm_and_of_different_people() -> None:
    people, weights = mixing_weights(500, 7, 3, np.random.default_rng(0))
    assert (weights >= 0).all()
    assert np.allclose((weights**2).sum(1), 1, atol=1e-6)
    assert all(len(set(row)) == 3 for row in people.tolist())
    assert np.bincount(people.ravel(), minlength=7).min() > 150


def test_noise_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConnectomeError, match="'regions' or 'series'"):
        PeopleSampler.of(Patterns.of(standardised(correlations(40, 1))), Recipe(noise="white"), np.zeros(EDGES), np.ones(EDGES))

"""Effect maps under a prior: brute-force Gaussian conditioning, covariances written out edge by edge, and spaces that are orthonormal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.generation.effect_maps import (
    FAINT,
    MAPS,
    OWN,
    REGIONAL,
    STEEP,
    STRENGTHS,
    EffectSpace,
    MapKind,
    MapPrior,
    Noise,
    combinations,
    map_kinds,
    step_of,
    systems_of,
)
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.simulate import simulate_cohort

REGIONS = 7
EDGES = REGIONS * (REGIONS - 1) // 2


def backbone(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return to_matrices((draw.lognormal(1, 1, EDGES) * (draw.random(EDGES) < 0.7)).astype(np.float32))


def noise(d: int = 6, n: int = 400, seed: int = 1) -> Noise:
    draw = np.random.default_rng(seed)
    residual = draw.standard_normal((n, d)) @ draw.standard_normal((d, d))
    return Noise.of(residual.T @ residual, n)


def covariance(d: int = 6, seed: int = 2) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((d, d))
    return root @ root.T * d / np.trace(root @ root.T)


# --- noise --------------------------------------------------------------------------------------------------------------


def test_noise_whitens_residuals():
    draw = np.random.default_rng(0)
    residual = draw.standard_normal((500, 5)) @ draw.standard_normal((5, 5))
    found = Noise.of(residual.T @ residual, len(residual))
    white = found.whitened(residual)
    np.testing.assert_allclose(white.T @ white / 500, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(found.back(white), residual, atol=1e-9)
    assert (np.diff(found.variance) <= 0).all()


def test_variances_that_few_people_cannot_tell_apart_are_pooled():
    residual = np.random.default_rng(1).standard_normal((40, 30))
    found = Noise.of(residual.T @ residual, len(residual))
    assert len(np.unique(found.variance[4:])) == 1
    assert found.variance.sum() == pytest.approx((residual**2).sum() / 40)
    assert len(np.unique(found.variance[:5])) == 5


# --- priors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MapKind(), MapKind(power=2.0), MapKind(covariance(), 0.3), MapKind(covariance(), 0.3, 1.5)])
def test_posterior_is_brute_force_conditioning(kind):
    people, n = noise(), 50
    prior = MapPrior.of(kind, people)
    draw = np.random.default_rng(3)
    estimate = draw.standard_normal((4, 6)) * np.array([[0.02], [0.2], [1.0], [3.0]])
    sigma = people.axes @ np.diag(people.variance) @ people.axes.T
    own = people.variance**kind.power / (people.variance**kind.power).mean()
    full = kind.own * people.axes @ np.diag(own) @ people.axes.T
    full = full if kind.covariance is None else full + (1 - kind.own) * kind.covariance
    # The unit of strength: a prior variance of 1 / n, on average over whitened coordinates.
    unit = 1 / np.mean(np.diag(people.whitened(people.whitened(full).T)))
    for map_, found in zip(estimate, prior.posterior(people.whitened(estimate), n), strict=True):
        logs, means = [], []
        for strength in STRENGTHS:
            signal = strength * unit * full / n
            logs.append(multivariate_normal.logpdf(map_, np.zeros(6), signal + sigma / n))
            means.append(signal @ np.linalg.solve(signal + sigma / n, map_))
        weight = np.exp(np.array(logs) - max(logs))
        expected = (weight / weight.sum()) @ np.array(means)
        np.testing.assert_allclose(people.back(found[None])[0], expected, rtol=1e-6, atol=1e-9)


def test_noise_is_taken_for_noise_and_effects_for_effects():
    people = noise(60, 2000)
    prior = MapPrior.of(MapKind(), people)
    draw = np.random.default_rng(4)
    nothing = prior.posterior(draw.standard_normal((1, 60)) / 10, 100)
    something = draw.standard_normal((1, 60))
    assert np.linalg.norm(nothing) < 0.3
    assert np.linalg.norm(prior.posterior(something, 100) - something) < 0.1 * np.linalg.norm(something)


def test_messages_recover_a_smooth_map_better():
    """The prior that a map was drawn from loses less of it than one that knows nothing of regions."""
    residual = np.random.default_rng(5).standard_normal((4000, EDGES))
    people = Noise.of(residual.T @ residual, 4000)
    kinds = map_kinds(np.eye(EDGES, dtype=np.float32), np.ones(EDGES, bool), step_of(backbone()), None)
    smooth = kinds["effect maps, 3 steps of messages"]
    draw = np.random.default_rng(6)
    errors = dict.fromkeys(kinds, 0.0)
    for _ in range(60):
        truth = draw.multivariate_normal(np.zeros(EDGES), smooth.covariance)
        estimate = people.whitened((truth + 1.5 * draw.standard_normal(EDGES))[None])
        for name, kind in kinds.items():
            mean = people.back(MapPrior.of(kind, people).posterior(estimate, 1))
            errors[name] += ((mean - truth) ** 2).sum()
    assert errors["effect maps, 3 steps of messages"] < 0.75 * errors["effect maps"]
    assert errors["effect maps, 3 steps of messages"] < errors["effect maps, faint messages"] < errors["effect maps"]


@pytest.mark.parametrize("with_systems", [False, True])
def test_covariances_written_out_edge_by_edge(with_systems):
    draw = np.random.default_rng(7)
    kept = draw.random(EDGES) < 0.8
    basis = np.linalg.qr(draw.standard_normal((kept.sum(), 9)))[0].T.astype(np.float32)
    step = step_of(backbone()).astype(np.float64)
    systems = np.array([0, 0, 1, 1, 2, -1, 2])
    kinds = map_kinds(basis, kept, step.astype(np.float32), systems if with_systems else None)
    pairs = list(zip(*(ends[kept] for ends in edge_indices(REGIONS)), strict=True))

    def unit(covariance: np.ndarray) -> np.ndarray:
        inside = basis @ covariance @ basis.T
        return inside / inside.trace() * len(basis)

    def alike(one: tuple[int, int], other: tuple[int, int]) -> float:
        """Whether two edges join the same systems; regions without one share nothing."""
        joined = [sorted((systems[i], systems[j])) for i, j in (one, other)]
        return float(joined[0] == joined[1] and joined[0][0] >= 0)

    shared = unit(np.array([[len({*a} & {*b}) for b in pairs] for a in pairs], float))
    if with_systems:
        shared = (shared + unit(np.array([[alike(a, b) for b in pairs] for a in pairs]))) / 2
    for steps, name in ((1, "effect maps, 1 step of messages"), (3, "effect maps, 3 steps of messages")):
        sent = np.zeros((len(pairs), len(pairs)))  # [a, b]: what edge a tells edge b; each step starts from edges that are kept
        for edge, ends in enumerate(pairs):
            matrix = np.zeros((REGIONS, REGIONS))
            matrix[ends] = matrix[ends[::-1]] = 1
            for _ in range(steps):
                passed = step.T @ matrix @ step
                matrix = np.zeros_like(matrix)
                for other in pairs:
                    matrix[other] = matrix[other[::-1]] = passed[other]
            sent[edge] = [matrix[other] for other in pairs]
        np.testing.assert_allclose(kinds[name].covariance, (1 - REGIONAL) * unit(sent @ sent.T) + REGIONAL * shared, atol=1e-5)
        assert kinds[name].own == OWN


def test_kinds_of_maps():
    basis, kept = np.eye(EDGES, dtype=np.float32), np.ones(EDGES, bool)
    without = map_kinds(basis, kept, None, None)
    assert {name: (kind.covariance, kind.own, kind.power) for name, kind in without.items()} == {
        "effect maps": (None, 1.0, 1.0),
        "effect maps on leading components": (None, 1.0, STEEP),
    }
    kinds = map_kinds(basis, kept, step_of(backbone()), None)
    assert list(kinds)[:2] == list(without)
    assert kinds["effect maps, faint messages"].own == FAINT
    for kind in list(kinds.values())[2:]:
        assert np.trace(kind.covariance) == pytest.approx(EDGES)
        assert np.linalg.eigvalsh(kind.covariance)[0] > -1e-6


# --- spaces -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(simulate_cohort(640, 16, 5, seed=3, explained=0.2), n_components=30, seed=0)


def test_the_effect_space_is_orthonormal_and_holds_the_components(data):
    mean = to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32))
    space = EffectSpace.fit(data.space, data.scores, data.cohort, step_of(mean))
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(len(space.basis)), atol=1e-5)
    np.testing.assert_array_equal(space.basis[:30], data.space.basis)
    assert len(space.basis) > 30
    edges = np.concatenate([part for _, part in data.space.standardised(data.cohort)]).astype(np.float64)
    scores = edges @ space.basis.T
    rows = np.array([5, 3, 600])
    np.testing.assert_allclose(space.people(rows), scores[rows], atol=1e-4)
    for width in (4, 30, 33):
        np.testing.assert_array_equal(space.people(rows, width), space.people(rows)[:, :width])
    np.testing.assert_array_equal(space.people(rows)[:, :30], data.scores[rows])
    np.testing.assert_allclose(space.energy, (edges**2).sum(1) - (scores**2).sum(1), rtol=1e-3, atol=1e-2)
    bare = EffectSpace.fit(data.space, data.scores, data.cohort, None)
    np.testing.assert_array_equal(bare.basis, data.space.basis)


def test_patterns_are_smooth():
    """A step of messages leaves more of what the patterns span than of arbitrary maps."""
    cohort = simulate_cohort(60, 50, 3, seed=4)
    data = TrainingData(cohort, n_components=300, seed=0)
    step = step_of(to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32)))
    patterns = EffectSpace.fit(data.space, data.scores, cohort, step).basis[data.space.n_components :]
    assert 200 < len(patterns) <= 300 < data.space.kept.sum() - 100
    rows, columns = (ends[data.space.kept] for ends in edge_indices(50))

    def left(maps: np.ndarray) -> float:
        shares = []
        for effect in maps.astype(np.float64):
            matrix = np.zeros((50, 50))
            matrix[rows, columns] = matrix[columns, rows] = effect
            shares.append((step @ matrix @ step.T)[rows, columns] @ effect / (effect @ effect))
        return float(np.mean(shares))

    assert left(patterns) > left(np.random.default_rng(0).standard_normal((300, len(rows)))) + 0.03


def gram_of(predicted: np.ndarray, people: Noise) -> np.ndarray:
    whitened = people.whitened(predicted)
    return whitened.T @ whitened


def test_combinations_are_uncorrelated_scores():
    draw = np.random.default_rng(8)
    people = noise(12, 600)
    predicted = draw.standard_normal((300, 4)) @ draw.standard_normal((4, 12))
    turned = combinations(gram_of(predicted, people), 300, people)
    assert turned.shape == (12, 4)
    scores = predicted @ turned
    np.testing.assert_allclose(scores.T @ scores / 300, np.eye(4), atol=1e-8)
    assert combinations(np.zeros((12, 12)), 300, people).shape == (12, 0)


def test_combinations_that_move_people_most_come_first_and_are_few():
    people = noise(50, 2000)
    predicted = people.back(np.random.default_rng(9).standard_normal((400, 50)) * np.linspace(2, 0.3, 50))
    turned = combinations(gram_of(predicted, people), 400, people)
    _, strength, right = np.linalg.svd(people.whitened(predicted), full_matrices=False)
    assert turned.shape == (50, MAPS)
    scores = predicted @ turned
    leading = people.whitened(predicted) @ right[:MAPS].T / strength[:MAPS] * np.sqrt(400)
    np.testing.assert_allclose(np.abs((scores * leading).mean(0)), 1, atol=1e-6)


def test_systems_of_an_atlas():
    atlas = simulate_cohort(30, 14, 4, seed=0).atlas
    numbers = systems_of(atlas)
    assert [sorted(set(atlas.network))[number] for number in numbers] == list(atlas.network)
    names = list(atlas.network)
    assert systems_of(replace(atlas, network=["n/a", *names[1:]]))[0] == -1
    assert systems_of(replace(atlas, network=[names[0]] * 14)) is None
    assert systems_of(replace(atlas, network=None)) is None

"""Precision, recall, density and coverage: published formulas on worked-out cases, and planted truths."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from connectome_gnn.evaluation.manifold import Points, alpha_precision, beta_recall, coverage, density


def points(n=80, m=80, scale=1.0, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return Points.of(rng.standard_normal((n, 5)), scale * rng.standard_normal((m, 5)) + shift)


def test_alpha_precision_of_a_case_worked_out():
    # Real points at distances 1, 2, 3, 4 from their centre: the ball with a share a of them has radius 1 + 3 a. All generated points lie
    # at distance 2.5, inside once a is a half: P(a) = 0 below and 1 above, and 1 - 2 mean |P(a) - a| = 1 - 2 (2 sum_{k < 15} k / 29) / 29.
    ring = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    real = np.concatenate([ring * r for r in (1, 2, 3, 4)])
    distances = np.quantile(np.linalg.norm(real, axis=1), np.linspace(0, 1, 30))
    inside = distances >= 2.5
    worked_out = 1 - 2 * np.abs(inside - np.linspace(0, 1, 30)).sum() / 29
    found = alpha_precision(Points.of(real, ring * 2.5))
    assert found == pytest.approx(worked_out, abs=1e-8)
    assert found == pytest.approx(1 - 2 * 2 * sum(range(15)) / 29 / 29, abs=1e-8)


def published(real, generated):
    """alpha-precision and beta-recall from their definition, point by point."""
    shares = np.linspace(0, 1, 30)
    centre, other = real.mean(0), generated.mean(0)
    to_centre = [np.sqrt(((x - centre) ** 2).sum()) for x in real]
    precision = [np.mean([np.sqrt(((y - centre) ** 2).sum()) <= np.quantile(to_centre, a) for y in generated]) for a in shares]
    own = NearestNeighbors(n_neighbors=2).fit(real).kneighbors(real)[0][:, 1]
    gap, nearest = (part[:, 0] for part in NearestNeighbors(n_neighbors=1).fit(generated).kneighbors(real))
    radius = [np.sqrt(((generated[j] - other) ** 2).sum()) for j in nearest]
    recall = [np.mean([(gap[i] <= own[i]) and radius[i] <= np.quantile(radius, b) for i in range(len(real))]) for b in shares]
    return [1 - 2 * sum(abs(s - c) for s, c in zip(shares, curve, strict=True)) / 29 for curve in (precision, recall)]


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.6, 0), (1.4, 0.5)])
def test_precision_and_recall_are_the_published_ones(scale, shift):
    case = points(50, 40, scale, shift)
    assert [alpha_precision(case), beta_recall(case)] == pytest.approx(published(case.real, case.generated), abs=1e-8)


def test_density_and_coverage_are_the_published_ones():
    case = points(60, 45, 0.8)
    radius = NearestNeighbors(n_neighbors=11).fit(case.real).kneighbors(case.real)[0][:, 10]
    gaps = np.linalg.norm(case.real[:, None] - case.generated, axis=2)
    inside = gaps <= radius[:, None]
    assert density(case) == pytest.approx(inside.sum() / 10 / 45, abs=1e-8)
    assert coverage(case) == pytest.approx(inside.any(1).mean(), abs=1e-8)


def test_all_four_move_where_they_should():
    same, narrow, wide, elsewhere = points(), points(scale=0.5), points(scale=2), points(shift=4)
    assert density(same) == pytest.approx(1, abs=0.2)
    assert density(narrow) > 1.5 > density(wide)
    assert coverage(same) > 0.95 > coverage(points(scale=0.1))
    assert coverage(elsewhere) < 0.3
    assert alpha_precision(same) > 0.8 > max(alpha_precision(narrow), alpha_precision(wide), alpha_precision(elsewhere))
    assert beta_recall(elsewhere) < 0.2 < beta_recall(same) < 0.8
    assert beta_recall(Points.of(same.real, same.real)) == pytest.approx(1, abs=0.05)

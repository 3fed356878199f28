"""Wiring-model energy: scipy's distances, network by network."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, pearsonr

from connectome_gnn.evaluation.wiring_energy import degree_correlations, length_distances, nodal_distances


def test_nodal_distances_are_scipys():
    rng = np.random.default_rng(0)
    real, samples = rng.integers(0, 6, (4, 15)).astype(float), rng.integers(0, 8, (4, 3, 15)).astype(float)
    samples[1, 1, :5] = np.nan
    samples[2, 2] = np.nan
    found = nodal_distances(real, samples)
    for i in range(4):
        for k in range(3):
            defined = samples[i, k][~np.isnan(samples[i, k])]
            expected = ks_2samp(real[i], defined).statistic if len(defined) else np.nan
            assert found[i, k] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_length_distances_are_scipys():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 12, 40).astype(float)
    lengths[:3] = np.nan
    real, samples = rng.random((3, 40)) < 0.6, rng.random((3, 2, 40)) < 0.3
    samples[0, 0] = False
    found = length_distances(real, samples, lengths)
    known = np.isfinite(lengths)
    assert np.isnan(found[0, 0])
    for i, k in ((0, 1), (1, 0), (2, 1)):
        assert found[i, k] == pytest.approx(ks_2samp(lengths[known & real[i]], lengths[known & samples[i, k]]).statistic, abs=1e-12)


def test_degree_correlations_are_scipys_and_hubs_elsewhere_are_seen():
    rng = np.random.default_rng(2)
    real, samples = rng.integers(2, 9, (3, 12)), rng.integers(2, 9, (3, 2, 12))
    found = degree_correlations(real, samples)
    assert found[1, 1] == pytest.approx(pearsonr(real[1], samples[1, 1])[0])
    assert np.isnan(degree_correlations(real, np.full((3, 1, 12), 4))).all()
    moved = rng.permuted(real, axis=1)[:, None]
    assert nodal_distances(real.astype(float), moved.astype(float)).max() == 0
    assert degree_correlations(real, moved).mean() < 0.8

"""Messages between regions: what they average, what they leave alone, and that regions' order does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.generation.messages import SELF_SHARE, SHARPNESS, backbone_neighbours, pass_messages, similar_profiles


def group(n_regions: int = 9, seed: int = 0, density: float = 0.6) -> np.ndarray:
    draw = np.random.default_rng(seed)
    n_edges = n_regions * (n_regions - 1) // 2
    return to_matrices((draw.lognormal(1, 1, n_edges) * (draw.random(n_edges) < density)).astype(np.float32))


@pytest.mark.parametrize("kind", [similar_profiles, backbone_neighbours])
def test_rows_are_shares(kind):
    shares = kind(group())
    assert shares.shape == (9, 9)
    assert shares.dtype == np.float32
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert (np.diag(shares) > 0).all()


def test_similarity_is_the_sharpened_correlation_of_profiles():
    matrix = group()
    correlation = np.maximum(np.corrcoef(matrix), 0) ** SHARPNESS
    np.testing.assert_allclose(similar_profiles(matrix), correlation / correlation.sum(1, keepdims=True), atol=1e-5)
    signed = matrix - matrix.mean() * (1 - np.eye(9, dtype=np.float32))
    correlation = np.maximum(np.corrcoef(signed), 0) ** SHARPNESS
    np.testing.assert_allclose(similar_profiles(signed), correlation / correlation.sum(1, keepdims=True), atol=1e-5)


def test_backbone_neighbours_by_hand():
    backbone = to_matrices(np.array([4, 0, 1], np.float32))  # 0-1 with 4, 1-2 with 1
    step = backbone_neighbours(backbone)
    # Normalised by the roots of the degrees 4, 5, 1, and then by rows.
    a, b = 4 / np.sqrt(4 * 5), 1 / np.sqrt(5 * 1)
    assert 0 < SELF_SHARE < 1
    rest = 1 - SELF_SHARE
    expected = [[SELF_SHARE, rest, 0], [rest * a / (a + b), SELF_SHARE, rest * b / (a + b)], [0, rest, SELF_SHARE]]
    np.testing.assert_allclose(step, expected, atol=1e-6)


def test_isolated_regions_keep_their_own():
    matrix = group()
    matrix[3] = matrix[:, 3] = 0
    for kind in (similar_profiles, backbone_neighbours):
        shares = kind(matrix)
        np.testing.assert_array_equal(shares[3], np.eye(9)[3])
        np.testing.assert_array_equal(shares[np.arange(9) != 3, 3], 0)
    empty = np.zeros((9, 9), np.float32)
    np.testing.assert_array_equal(backbone_neighbours(empty), np.eye(9))
    np.testing.assert_array_equal(similar_profiles(empty), np.eye(9))


@pytest.mark.parametrize("kept_share", [1.0, 0.7])
def test_messages_are_the_double_sum(kept_share):
    draw = np.random.default_rng(1)
    kept = draw.random(36) < kept_share
    maps = draw.standard_normal((3, int(kept.sum()))).astype(np.float32)
    shares = backbone_neighbours(group())
    rows, columns = edge_indices(9)
    full = np.zeros((3, 36))
    full[:, kept] = maps
    matrices = to_matrices(full)
    by_hand = np.zeros((3, 36))
    for edge, (i, j) in enumerate(zip(rows, columns, strict=True)):
        for k in range(9):
            for other in range(9):
                by_hand[:, edge] += shares[i, k] * matrices[:, k, other] * shares[j, other]
    np.testing.assert_allclose(pass_messages(maps, shares, kept), by_hand[:, kept], atol=1e-5)


def test_nobody_to_hear_from_leaves_maps_alone():
    maps = np.random.default_rng(2).standard_normal((4, 36)).astype(np.float32)
    np.testing.assert_array_equal(pass_messages(maps, np.eye(9, dtype=np.float32), np.ones(36, bool)), maps)


@pytest.mark.parametrize("kind", [similar_profiles, backbone_neighbours])
def test_relabelling_regions_relabels_edges(kind):
    order = np.random.default_rng(3).permutation(9)
    matrix = group(seed=4)
    shares = kind(matrix)
    moved = kind(np.ascontiguousarray(matrix[np.ix_(order, order)]))
    np.testing.assert_allclose(moved, shares[np.ix_(order, order)], atol=1e-6)
    effect = np.random.default_rng(5).standard_normal(36).astype(np.float32)
    everything = np.ones(36, bool)
    plain = to_matrices(pass_messages(effect[None], shares, everything))[0]
    relabelled = to_vectors(to_matrices(effect)[np.ix_(order, order)])
    np.testing.assert_allclose(to_matrices(pass_messages(relabelled[None], moved, everything))[0], plain[np.ix_(order, order)], atol=1e-5)


def test_what_is_the_same_for_all_neighbours_stays():
    """Regions of one kind, joined to each other alone, average among themselves and nothing crosses over."""
    block = np.kron(np.eye(3), np.ones((3, 3))).astype(np.float32) - np.eye(9, dtype=np.float32)
    shares = backbone_neighbours(block)
    np.testing.assert_allclose(shares[:3, 3:], 0)
    effect = to_vectors(np.kron([[0, 1, 2], [1, 0, 3], [2, 3, 0]], np.ones((3, 3)))).astype(np.float32)
    np.testing.assert_allclose(pass_messages(effect[None], shares, np.ones(36, bool))[0], effect, atol=1e-6)

"""Edge vectors and matrices, and the modelling scale."""

from __future__ import annotations

import warnings

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from connectome_gnn.edges import FISHER_CLIP, Scale, edge_indices, n_edges_of, n_regions_of, to_lengths, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError

FLOATS = (np.float32, np.float64)
LARGEST = float(np.float32(1.5e38))


@given(st.integers(2, 2000))
def test_regions_and_edges_are_inverse(n_regions):
    assert n_regions_of(n_edges_of(n_regions)) == n_regions


def test_the_number_of_edges_agrees_with_networkx():
    assert [n_edges_of(n) for n in range(1, 30)] == [nx.complete_graph(n).number_of_edges() for n in range(1, 30)]


@pytest.mark.parametrize(
    ("n_edges", "nearest"),
    [
        (4, "3 for 3 regions and 6 for 4"),
        (0, "1 for 2 regions and 3 for 3"),
        (2, "1 for 2 regions and 3 for 3"),
        (-5, "1 for 2"),
        (3571, "3570 for 85"),
    ],
)
def test_an_impossible_number_of_edges_names_the_nearest(n_edges, nearest):
    with pytest.raises(ConnectomeError, match=f"got {n_edges} .*{nearest}"):
        n_regions_of(n_edges)


def test_edges_are_in_the_order_of_the_upper_triangle():
    rows, columns = edge_indices(5)
    assert list(zip(rows, columns, strict=True)) == [(i, j) for i in range(5) for j in range(i + 1, 5)]
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 3  # shared by everybody who asks


@given(
    st.integers(2, 9),
    array_shapes(min_dims=0, max_dims=2, max_side=3),
    st.sampled_from([np.float16, *FLOATS, np.int64, np.bool_]),
    st.data(),
)
def test_vectors_to_matrices_and_back(n_regions, people, dtype, data):
    vectors = data.draw(arrays(dtype, (*people, n_edges_of(n_regions))))
    matrices = to_matrices(vectors)
    assert matrices.shape == (*people, n_regions, n_regions)
    assert matrices.dtype == dtype
    np.testing.assert_array_equal(matrices, np.swapaxes(matrices, -1, -2))
    assert not np.diagonal(matrices, axis1=-2, axis2=-1).any()
    np.testing.assert_array_equal(to_vectors(matrices), vectors)


def test_matrices_that_are_not_square_are_refused():
    for wrong in (np.zeros((3, 4)), np.zeros(3), 1.0):
        with pytest.raises(ConnectomeError, match="square"):
            to_vectors(wrong)
    with pytest.raises(ConnectomeError, match="edge vectors"):
        to_matrices(1.0)
    with pytest.raises(ConnectomeError, match="got 4"):
        to_matrices(np.zeros((2, 4)))


@given(arrays(np.float32, 20, elements=st.floats(0, LARGEST, width=32)))
def test_counts_come_back_from_the_modelling_scale(weights):
    scale = Scale(signed=False)
    values = scale.forward(weights)
    assert values.dtype == np.float32
    assert ((values == 0) == (weights == 0)).all()
    back = scale.inverse(values)
    # a float32 near z resolves weights to about z parts in 2^24
    np.testing.assert_allclose(back, weights, rtol=2e-5)
    assert ((back == 0) == (weights == 0)).all()
    np.testing.assert_allclose(scale.inverse(scale.forward(weights, np.float64)), weights, rtol=1e-12)


@given(arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)))
def test_correlations_come_back_clipped(weights):
    scale = Scale(signed=True)
    np.testing.assert_allclose(scale.inverse(scale.forward(weights)), np.clip(weights, -FISHER_CLIP, FISHER_CLIP), atol=1e-6)
    assert np.abs(scale.forward(weights)).max() <= np.arctanh(np.float32(FISHER_CLIP))


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=20))
def test_what_comes_back_is_finite_and_on_its_support(dtype, values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = np.sort(np.clip(values, -np.finfo(dtype).max, np.finfo(dtype).max)).astype(dtype)
        counts, correlations = Scale(signed=False).inverse(values), Scale(signed=True).inverse(values)
    assert counts.dtype == correlations.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert np.isfinite(counts).all()
    assert (counts >= 0).all()
    assert not counts[values <= 0].any()
    assert (np.abs(correlations) < 1).all()
    assert (np.diff(counts) >= 0).all()  # monotone
    assert (np.diff(correlations) >= 0).all()


@pytest.mark.parametrize("signed", [False, True])
def test_the_modelling_scale_is_monotone(signed):
    weights = np.linspace(-1 if signed else 0, 1 if signed else 1e6, 10_001)
    inside = np.abs(weights) < FISHER_CLIP if signed else np.ones(len(weights), bool)
    assert (np.diff(Scale(signed).forward(weights, np.float64)[inside]) > 0).all()


def test_the_modelling_scale_leaves_its_argument_alone():
    weights = np.array([0.5, 0.9999], np.float32)
    for signed in (False, True):
        Scale(signed).forward(weights)
        Scale(signed).inverse(weights)
    np.testing.assert_array_equal(weights, np.array([0.5, 0.9999], np.float32))
    assert Scale(signed=False).name == "log1p"
    assert Scale(signed=True).name == "fisher_z"
    np.testing.assert_allclose(Scale(signed=True).forward([0.5, 1, -1]), np.arctanh([0.5, 0.999, -0.999]), rtol=1e-5)
    np.testing.assert_allclose(Scale(signed=False).forward([0, np.e - 1]), [0, 1], rtol=1e-6)
    # large counts in half precision
    assert Scale(signed=False).inverse(np.float16(12)) == pytest.approx(np.expm1(12))


def test_lengths():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(to_lengths([0.0, -0.0, 0.5, 4.0]), [np.inf, np.inf, 2, 0.25])
        np.testing.assert_array_equal(to_lengths(np.array([[0, 4]])), [[np.inf, 0.25]])
        assert to_lengths(np.array([1e-40], np.float32))[0] == np.inf  # 1 / w passes the largest float32
        assert to_lengths(np.array([6e-8], np.float16))[0] == pytest.approx(1 / 6e-8, rel=0.01)
    for wrong, what in (([0.5, -1], "negative"), ([0.5, np.nan], "NaN")):
        with pytest.raises(ConnectomeError, match=f"got {what}"):
            to_lengths(wrong)

"""The look at a matrix before it is taken for a graph."""

from __future__ import annotations

import numpy as np
import pytest

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import as_graphs
from connectome_gnn.topology.cohorts import as_vectors
from connectome_gnn.topology.survey import survey

SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 40]


def matrix(n: int, kind: type) -> np.ndarray:
    w = np.triu(np.random.default_rng(n).uniform(0.5, 2, (n, n)), 1)
    return (w + w.T).astype(kind)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("n", SIZES)
def test_it_sees_what_numpy_sees(n: int, kind: type) -> None:
    w = np.random.default_rng(n).normal(size=(n, n)).astype(kind)
    seen = survey(w)
    assert seen.finite and seen.loops == np.count_nonzero(w.diagonal())
    assert seen.least == min(w.min(), 0) and seen.largest == np.abs(w).max()
    assert seen.apart == np.abs(w - w.T).max()


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("n", SIZES[1:])
def test_no_element_is_overlooked(n: int, kind: type) -> None:
    fine = matrix(n, kind)
    largest = np.abs(fine).max()
    assert survey(fine) == (True, 0, largest, 0, 0)
    for i in range(n):
        for j in range(n):
            for bad in (np.nan, np.inf, -np.inf):
                w = fine.copy()
                w[i, j] = bad
                assert not survey(w).finite
            w = fine.copy()
            w[i, j] -= 4
            seen = survey(w)
            assert seen.finite and seen.least == w[i, j] and seen.largest == -w[i, j]
            assert (seen.apart > 3.9) == (i != j) and seen.loops == (i == j)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_matrices_of_every_layout_are_read_alike(n: int) -> None:
    w = matrix(n, np.float64)
    frozen = w.copy()
    frozen.setflags(write=False)
    wide = np.zeros((n, 2 * n))
    wide[:, ::2] = w
    for same in (w, np.asfortranarray(w), frozen, wide[:, ::2], w.astype(">f8"), w.astype(np.longdouble)):
        graphs = as_graphs(same)
        assert graphs.single
        np.testing.assert_array_equal(as_vectors(graphs)[0], w[np.triu_indices(n, 1)])
    for kind in (np.int64, np.uint8, np.bool_, np.float16):
        assert as_graphs((4 * w).astype(kind)).single


def test_a_difference_that_rounding_explains_is_none() -> None:
    w = matrix(20, np.float64)
    w[3, 7] *= 1 + 1e-12
    assert as_graphs(w).single
    as_vectors(as_graphs(w[None]))
    w[3, 7] *= 1 + 1e-6
    with pytest.raises(ConnectomeError, match=r"symmetric matrix.*between regions 3 and 7"):
        as_vectors(as_graphs(w[None]))
    whole = (1e6 * matrix(21, np.float64)).astype(int)
    whole[3, 7] += 1
    assert not as_graphs(whole).single  # 21 graphs of 7 regions: whole numbers leave nothing to rounding

"""Sorting inside kernels."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba.core.registry import CPUDispatcher

from connectome_gnn import topology
from connectome_gnn.topology.sorting import sort_ascending


@given(st.integers(0, 200).flatmap(lambda n: arrays(float, n, elements=st.floats(allow_nan=False))))
def test_vectors_are_sorted(values: np.ndarray) -> None:
    ours = values.copy()
    sort_ascending(ours)
    np.testing.assert_array_equal(ours, np.sort(values))


def test_many_values_many_of_them_equal() -> None:
    for values in (np.random.default_rng(0).integers(0, 9, 5000).astype(np.float32), np.arange(3000.0)[::-1].copy(), np.ones(100)):
        ours = values.copy()
        sort_ascending(ours)
        np.testing.assert_array_equal(ours, np.sort(values))


def test_no_kernel_sorts_by_numba() -> None:
    """Cached, numba's sort and its argsort may be taken for each other; one of them, argsort, is used."""
    for module in iter_modules(topology.__path__):
        for name, one in vars(import_module(f"connectome_gnn.topology.{module.name}")).items():
            if isinstance(one, CPUDispatcher):
                assert "sort" not in one.py_func.__code__.co_names, f"{module.name}.{name}"

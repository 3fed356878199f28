"""One thread inside the block, as many as before after it, and only where it is asked for."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from connectome_gnn.generation.threads import one_thread


def threads() -> tuple[int, set[int]]:
    return torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2, "blas"):
        yield
    torch.set_num_threads(before)


def test_one_thread_inside_and_two_again_afterwards():
    assert threads() == (2, {2})
    with one_thread():
        assert threads() == (1, {1})
    assert threads() == (2, {2})


def test_an_error_gives_threads_back():
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert threads() == (2, {2})


def test_nothing_changes_where_it_does_not_hold():
    with one_thread(False):
        assert threads() == (2, {2})

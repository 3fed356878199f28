"""How many threads share the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["SMALL", "one_thread"]

SMALL = 128 * 127 // 2
"""Edges of a connectome up to which threads cost more than they bring."""


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """One thread for linear algebra and torch inside the block, where ``when`` holds.

    Threads that share small matrices wait for each other most of the time, and wait by turning round: where others use the processor
    too, a fit takes many times as long as in one thread.
    """
    if not when:
        yield
        return
    before = torch.get_num_threads()
    with threadpool_limits(limits=1, user_api="blas"):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

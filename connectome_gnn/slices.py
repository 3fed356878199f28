"""Many rows, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["slices"]


def slices(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of ``n`` rows, ``size`` each, the last one what is left."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))

"""What every format gives: whose connectomes there are, and how to read one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import NDArray

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """People's connectomes where they lie, not read yet.

    Attributes
    ----------
    ids : participant_id of every connectome, unique.
    read : the values of one of them, (R, R) or (E,), and its place in words, for messages.
    what : where they are, for messages.
    hint : what to do when these are not the people of the participants table.
    """

    ids: tuple[str, ...]
    read: Callable[[int], tuple[NDArray, str]]
    what: str
    hint: str

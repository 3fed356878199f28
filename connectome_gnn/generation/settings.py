"""Checks of what users set: one sentence for a value that makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connectome_gnn.errors import ConnectomeError

__all__ = ["check_setting", "check_whole_setting", "is_whole"]


def check_setting(of: str, name: str, value: object, expected: str, valid: Callable[[Any], bool | np.bool_]) -> None:
    """Raise a ConnectomeError unless a setting of something is what was expected."""
    try:
        fine = valid(value)
    except TypeError:  # text, None, a list
        fine = False
    if not fine:
        raise ConnectomeError(f"{of}: {name} is {expected}, got {value!r}")


def check_whole_setting(of: str, name: str, value: object, least: int) -> None:
    """Raise a ConnectomeError unless a setting of something is a whole number from ``least`` on."""
    check_setting(of, name, value, f"a whole number from {least} on", lambda value: is_whole(value) and value >= least)


def is_whole(value: object) -> bool:
    """Whether this is a whole number, which True is not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)

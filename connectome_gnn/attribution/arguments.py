"""Checks of what users give: numbers, models, atlases; each answers a mistake in a sentence."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.model import ConnectomeModel

__all__ = ["check_atlas", "check_model", "check_share", "check_whole", "numbers"]


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConnectomeError(f"expected {name} as a whole number from {least} on, got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Refuse what is no number between 0 and 1."""
    if not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ConnectomeError(f"expected a {name} in (0, 1), got {value!r}")


def check_model(model: Any) -> None:
    """Refuse what is no fitted model of connectomes."""
    if not isinstance(model, ConnectomeModel):
        raise ConnectomeError(
            f"expected a fitted model of connectomes, got {type(model).__name__}; open a folder with ConnectomeGenerator.load"
        )
    model._check_fitted()


def check_atlas(atlas: Any) -> None:
    """Refuse what is no atlas."""
    if not isinstance(atlas, Atlas):
        raise ConnectomeError(f"expected an Atlas, as cohort.atlas is one, got {type(atlas).__name__}")


def numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Values as an array of numbers; refuses what holds others."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ConnectomeError(f"expected {name} as numbers, got {type(values).__name__} {values!r:.60}") from None

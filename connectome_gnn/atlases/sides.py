"""The side of the brain that a region's name is on."""

from __future__ import annotations

import re

__all__ = ["hemisphere_of", "without_side"]

SIDE = re.compile(r"(?:^|(?<=[^A-Za-z]))(left|right|lh|rh|l|r)(?=[^A-Za-z]|$)", re.IGNORECASE)


def hemisphere_of(label: str) -> str:
    """``"L"``, ``"R"`` or ``"n/a"``, by the words left, right, lh, rh, L or R in a name (``ctx-lh-insula``, ``HIP-rh``, ``L.BSTS``)."""
    sides = {match.group().upper()[0] for match in SIDE.finditer(label)}
    return sides.pop() if len(sides) == 1 else "n/a"


def without_side(label: str) -> str:
    """A region's name without the word that says left or right."""
    return SIDE.sub("|", label).lower()

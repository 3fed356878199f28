"""How long and how fast a network learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from connectome_gnn.errors import ConnectomeError

__all__ = ["LearningConfig"]


@dataclass(frozen=True)
class LearningConfig:
    """AdamW with a one-cycle schedule; the state that did best on validation cases is kept.

    Parameters
    ----------
    epochs, max_steps : passes over the cases, or steps where that is less.
    patience : looks at the validation cases without improvement after which training ends, in its last 70 %.
    batch_size, learning_rate, weight_decay : of AdamW.
    validation : share of the cases that is only looked at.

    Raises
    ------
    ConnectomeError
        If a number is out of range.
    """

    SUBJECT: ClassVar[str] = "learning"
    """What sentences about wrong numbers begin with."""

    epochs: int = 100
    patience: int = 20
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    validation: float = 0.15
    max_steps: int = 20_000

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "max_steps"):
            if int(getattr(self, name)) < 1:
                raise ConnectomeError(f"{self.SUBJECT}: expected {name} to be at least 1, got {getattr(self, name)}")
        if not 0 < self.validation < 1:
            raise ConnectomeError(f"{self.SUBJECT}: expected validation to be a share above 0 and below 1, got {self.validation}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0 and self.weight_decay >= 0):
            raise ConnectomeError(
                f"{self.SUBJECT}: expected learning_rate above 0 and weight_decay 0 or more, "
                f"got {self.learning_rate} and {self.weight_decay}"
            )

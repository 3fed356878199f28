"""What a score is: an object with a name that computes an estimate from a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.comparison import Comparison

__all__ = ["NO_ABSENT_EDGES", "Estimate", "Score"]

NO_ABSENT_EDGES = "expected connectomes do not say which edges are absent; score samples"
"""Why a score of absent edges is undefined for expected connectomes, averages over people with and without an edge."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a score computes.

    Attributes
    ----------
    values : (1 + B,) the score, then the score of each bootstrap resample (the rows of ``Comparison.weights``), or (1,) for a
        score without an interval; NaN = undefined.
    n : number of people it rests on.
    null : the score under the null: of a paired score, for a generator that knows nothing of the person; of any other, where generated
        and real people do not differ.
    ceiling : (1 + B,) what the truth itself scores, where it is known.
    reason : why the score is undefined.
    """

    values: NDArray[np.float64]
    n: int
    null: float = float("nan")
    ceiling: NDArray[np.float64] | None = None
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str, null: float = float("nan")) -> Estimate:
        """A score without a value, and why."""
        return cls(np.array([np.nan]), 0, null, reason=reason)


@runtime_checkable
class Score(Protocol):
    """The protocol of a score; anything with these three can be given to :func:`~connectome_gnn.evaluation.evaluate`.

    Attributes
    ----------
    name : stable snake_case name, the key of the JSON.
    paired : whether generated and real cohort must hold the same people.
    """

    name: str
    paired: bool

    def compute(self, comparison: Comparison) -> Estimate:
        """The score of a generated cohort beside real people."""

"""What a score is: an object with a name that computes an estimate from cohorts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort

if TYPE_CHECKING:
    from connectome_gnn.evaluation.comparison import Comparison

__all__ = ["NO_ABSENT_EDGES", "Estimate", "Score", "SharedScore"]

NO_ABSENT_EDGES = "expected connectomes do not say which edges are absent; score samples"
"""Why a score of absent edges is undefined for expected connectomes, averages over people with and without an edge."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a score computes.

    Attributes
    ----------
    values : (1 + B,) the score, then its bootstrap draws (the rows of ``Comparison.weights``), whose percentiles are the interval, or
        (1,) for a score without one; NaN = undefined. A score that is biased under resampling corrects its draws, so that they scatter
        around the score as the score does around what it estimates.
    n : number of people it rests on.
    null : the score under the null: of a paired score, for a generator that knows nothing of the person; of any other, where generated
        and real people do not differ.
    p : permutation p value under that null, between 0 and 1.
    real_vs_real : the same score between random halves of the real people.
    ceiling : (1 + B,) what the truth itself, or a second scan, scores on the same resamples, where there is one.
    floor : the score at which none of the ceiling is reached: the share reached is ``(value - floor) / (ceiling - floor)``.
    lower_is_better : whether a lower score is the better one.
    interval : the 95 % interval, where percentiles of the draws are not it.
    reason : why the score is undefined.
    details : a longer table behind the score: per edge, per region, per person.
    """

    values: NDArray[np.float64]
    n: int
    null: float = float("nan")
    p: float = float("nan")
    real_vs_real: float = float("nan")
    ceiling: NDArray[np.float64] | None = None
    floor: float = 0.0
    lower_is_better: bool = False
    interval: tuple[float, float] | None = None
    reason: str = ""
    details: pd.DataFrame | None = None

    @classmethod
    def undefined(cls, reason: str, null: float = float("nan")) -> Estimate:
        """A score without a value, and why."""
        return cls(np.array([np.nan]), 0, null, reason=reason)


@runtime_checkable
class Score(Protocol):
    """The protocol of a score; anything with these four can be given to :func:`~connectome_gnn.evaluation.evaluate`.

    Attributes
    ----------
    name : stable snake_case name, the key of the JSON.
    paired : whether generated and real cohort must hold the same people.
    topology : whether it measures networks, and so is undefined for expected connectomes, which are no person's.
    """

    name: str
    paired: bool
    topology: bool

    def compute(self, generated: Cohort, real: Cohort, reference: Cohort) -> Estimate | float:
        """The score of a generated cohort beside real people, given the training people.

        Parameters
        ----------
        generated : people sorted by participant_id, the K samples of a person together.
        real : people sorted by participant_id, one row each; the same people, in the same order, for a paired score.
        reference : the training people.

        Returns
        -------
        estimate : an :class:`Estimate`, or a number, which then gets its interval from a bootstrap over people.
        """


class SharedScore(ABC):
    """A score that takes what it needs from a :class:`~connectome_gnn.evaluation.comparison.Comparison` shared with other scores.

    What many scores need (sums over people, topology, resamples) is then computed once a cohort. Such a score has ``name`` and
    :meth:`estimate`; :meth:`compute` makes it a :class:`Score` like any other.
    """

    name: str
    paired: bool = False
    topology: bool = False

    @abstractmethod
    def estimate(self, comparison: Comparison) -> Estimate:
        """The score from what all scores of a cohort share."""

    def compute(self, generated: Cohort, real: Cohort, reference: Cohort) -> Estimate:
        """The score of two cohorts, given the training people."""
        from connectome_gnn.evaluation.comparison import Comparison
        from connectome_gnn.evaluation.reference import Reference

        return self.estimate(Comparison.of(generated, real, Reference.of(reference), paired=self.paired))

"""Scores that users write: aligned cohorts in, and an interval by bootstrap where they give back a number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.scores import Estimate, Score

__all__ = ["users_estimate"]

MOST_RESAMPLES = 200
"""Bootstrap resamples of a score that is computed anew for each."""


def users_estimate(score: Score, comparison: Comparison) -> Estimate:
    """The estimate of a score that takes cohorts.

    A number gets its interval from the first 200 of the resamples of people behind every other score; a person drawn twice is there
    twice, the copy under the participant_id with ``#2`` after it.
    """
    reference = comparison.reference.cohort
    answer = score.compute(_everybody(comparison, "generated"), _everybody(comparison, "real"), reference)
    if isinstance(answer, Estimate):
        return _checked(score.name, answer)
    value = _number(score.name, answer)
    if not np.isfinite(value):
        return Estimate.undefined(f"compute of this score gave {value}, no finite number")
    values = [value]
    for row in range(1, min(len(comparison.weights), 1 + MOST_RESAMPLES)):
        real = _drawn(comparison.real, comparison.real_rows[:, None], comparison.weights[row])
        generated = _drawn(comparison.generated, comparison.generated_rows, comparison.generated_weights[row])
        drawn = score.compute(generated, real, reference)
        values.append(float(_checked(score.name, drawn).values[0]) if isinstance(drawn, Estimate) else _number(score.name, drawn))
    return Estimate(np.array(values), comparison.n_people)


def _number(name: str, answer: Any) -> float:
    """A score's answer as a float."""
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise TypeError(f"score {name!r}: compute gives a number or an Estimate, got {type(answer).__name__}") from None


def _checked(name: str, answer: Estimate) -> Estimate:
    """An estimate that holds an array of values, the score first; with a reason where that is not finite."""
    values = np.asarray(answer.values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ConnectomeError(
            f"score {name!r}: the values of an Estimate are an array (1 + B,), the score and its bootstrap draws, got shape {values.shape}"
        )
    missing = "" if np.isfinite(values[0]) else "compute of this score gave no finite number"
    return replace(answer, values=values, reason=answer.reason or missing)


def _everybody(comparison: Comparison, side: str) -> Cohort:
    if side == "real":
        return comparison.real.take(comparison.real_rows)
    return comparison.generated.take(comparison.generated_rows.ravel())


def _drawn(cohort: Cohort, rows: NDArray[np.intp], weights: NDArray[np.float32]) -> Cohort:
    """A cohort in which each person, with all of their rows (N, K), occurs as often as drawn."""
    positions = np.repeat(np.arange(len(rows)), weights.astype(int))
    copies = pd.Series(positions).groupby(positions).cumcount().to_numpy()
    drawn = cohort.take(rows[positions].ravel())
    copy_of_row = np.repeat(copies, rows.shape[1])
    ids = [name if copy == 0 else f"{name}#{copy + 1}" for name, copy in zip(drawn.ids, copy_of_row, strict=True)]
    drawn.phenotypes = drawn.phenotypes.set_axis(pd.Index(ids, name=drawn.ids.name))
    return drawn

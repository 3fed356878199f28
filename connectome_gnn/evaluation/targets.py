"""What a learner predicts from a connectome: a number or a class, and how well it was predicted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning
from connectome_gnn.phenotypes import KEY_COLUMNS, PhenotypeSchema

__all__ = ["CLASS_SCORES", "NUMBER_SCORES", "Target", "read_target", "score_predictions"]

NUMBER_SCORES = ("r", "mae", "r2")
CLASS_SCORES = ("auc", "accuracy")

CONSTANT = 1e-9
"""Predictions whose spread is below this share of their size are one and the same number."""


@dataclass(frozen=True, eq=False)
class Target:
    """A phenotype to be predicted.

    Attributes
    ----------
    name : column of the participants table.
    codes : the classes, in order; empty for a number (an ordinal phenotype counts as the number of its level).
    values : (N,) the number, or the position of the class; NaN where a person has none.
    """

    name: str
    codes: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores of a prediction: r, mae (in the target's units), r2 for numbers; auc, accuracy for classes."""
        return CLASS_SCORES if self.codes else NUMBER_SCORES

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) who has a value."""
        return np.isfinite(self.values)

    def of(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """What learners are given of some people: numbers (n,), or classes as 0 and 1 (n, C)."""
        values = self.values[rows]
        return (values[:, None] == np.arange(len(self.codes))).astype(np.float64) if self.codes else values

    def unlearnable(self, values: NDArray[np.float64]) -> str:
        """Why nothing can be learned from people with these values, as :meth:`of` gives them; empty where it can.

        Learners need numbers that differ, or two people of every class: one to learn from while the other one is predicted.
        """
        if not self.codes:
            return "" if len(values) > 1 and np.ptp(values) > 0 else f"all {len(values)} training people have one {self.name}"
        few = [code for code, n in zip(self.codes, values.sum(0), strict=True) if n < 2]
        return f"fewer than 2 training people with {self.name} {listed(few)}" if few else ""


def read_target(cohort: Cohort, name: str) -> Target:
    """A column of a cohort as something to predict, by its kind; classes that nobody has are left out.

    Raises
    ------
    ConnectomeError
        If there is no such phenotype, it is free text, nobody has it, or everybody has the same.
    """
    where = f"cohort {cohort.name!r}"
    columns = [str(column) for column in cohort.phenotypes if column not in KEY_COLUMNS]
    if name not in columns:
        raise ConnectomeError(f"{where} has no phenotype {name!r} to predict; it has {listed(columns, 20) or 'none'}")
    column = cohort.phenotypes[name]
    if not column.notna().any():
        raise ConnectomeError(f"{where}: nobody has a value of {name!r}, so it cannot be predicted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhenotypeWarning)  # what matters of it is said below
        schema = PhenotypeSchema.fit(column.to_frame(), cohort.described)
    if not schema.phenotypes:
        raise ConnectomeError(f"{where}: {name!r} is free text, which cannot be predicted; choose numbers or classes")
    phenotype = schema.phenotypes[0]
    values = phenotype.positions(column)
    present, position = np.unique(values[np.isfinite(values)], return_inverse=True)
    if len(present) < 2:
        only = phenotype.codes[int(present[0])] if phenotype.codes else f"{present[0]:g}"
        raise ConnectomeError(f"{where}: everybody has {name} {only!r}, so there is nothing to predict; choose a target that differs")
    if phenotype.kind not in ("binary", "categorical"):
        return Target(name, (), values)
    values[np.isfinite(values)] = position
    return Target(name, tuple(phenotype.codes[int(code)] for code in present), values)


def score_predictions(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray | None = None, names: Sequence[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """How well numbers or classes were predicted, under each of several weightings of people.

    For numbers: Pearson's r (0 for a prediction that is the same for everybody: it knows nothing); ``mae``, the mean absolute error, in
    the number's units; ``r2`` = 1 - sum (t - p)^2 / sum (t - mean t)^2, which can be negative. For classes: ``auc``, the area under the ROC
    curve, ties counted half, of several classes the mean over each against the others (those that some people have and others have not), .5
    by chance; ``accuracy``, the share of people whose most probable class is theirs.

    Parameters
    ----------
    truth : (N,) numbers, or (N, C) classes as 0 and 1.
    predicted : (N,) numbers, or (N, C) probabilities or anything that rises with them.
    weights : (B, N) how often each person counts; default everybody once.
    names : the scores wanted; default all.

    Returns
    -------
    scores : name and (B,) values; NaN where undefined (truth constant, a class that nobody or everybody has).
    """
    if weights is None:
        weights = np.ones((1, len(truth)))
    weights = weights.astype(np.float64)
    compute = {"auc": _auc, "accuracy": _accuracy} if truth.ndim == 2 else {"r": _correlation, "mae": _mae, "r2": _r2}
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of people who are all alike: NaN
        return {name: compute[name](truth, predicted, weights) for name in names or compute}


def _correlation(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weights.sum(1)
    t, p = truth - truth.mean(), predicted - predicted.mean()
    t_mean, p_mean = weights @ t / total, weights @ p / total
    t_variance, p_variance = weights @ t**2 / total - t_mean**2, weights @ p**2 / total - p_mean**2
    r = (weights @ (t * p) / total - t_mean * p_mean) / np.sqrt(t_variance * p_variance)
    blind = p_variance <= (CONSTANT * np.abs(predicted).max()) ** 2
    return np.where(t_variance <= (CONSTANT * np.abs(truth).max()) ** 2, np.nan, np.where(blind, 0, np.clip(r, -1, 1)))


def _mae(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights @ np.abs(truth - predicted) / weights.sum(1)


def _r2(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = truth - truth.mean()
    spread = weights @ centred**2 - (weights @ centred) ** 2 / weights.sum(1)
    return np.where(spread > 0, 1 - weights @ (truth - predicted) ** 2 / spread, np.nan)


def _accuracy(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights @ (truth.argmax(1) == predicted.argmax(1)) / weights.sum(1)


def _auc(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    classes = range(truth.shape[1]) if truth.shape[1] > 2 else [1]
    areas = np.array([_auc_of(truth[:, c], predicted[:, c], weights) for c in classes])
    defined = np.isfinite(areas)
    return np.where(defined, areas, 0).sum(0) / np.where(defined.any(0), defined.sum(0), np.nan)


def _auc_of(positive: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve (B,) of one class against the others."""
    order = np.argsort(predicted, kind="stable")
    ties = np.flatnonzero(np.r_[True, np.diff(predicted[order]) > 0])  # where each run of equal predictions begins
    ones = np.add.reduceat((weights * positive)[:, order], ties, 1)
    zeros = np.add.reduceat((weights * (1 - positive))[:, order], ties, 1)
    below = np.cumsum(zeros, 1) - zeros
    return (ones * (below + zeros / 2)).sum(1) / (ones.sum(1) * zeros.sum(1))

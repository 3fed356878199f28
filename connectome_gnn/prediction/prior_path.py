"""Linear models whose prior mean is another cohort's: what is learned is how far these people are from those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from connectome_gnn.evaluation.learners import Standard
from connectome_gnn.evaluation.linear_paths import Folds, reduced, ridge_path
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.linear_path import LinearPath, as_read, folds_of

__all__ = ["fit_with_prior"]

GAINS = np.array([1, 0.75, 0.5, 0.25, 0])
"""By how much the prior's weights are multiplied; 0 is to learn from scratch."""
STRENGTHS = np.r_[np.inf, np.geomspace(1e2, 1e-2, 9)]
"""Of shrinkage towards the prior, in units of the mean eigenvalue of the rows' Gram matrix; infinite: the prior's weights as they are."""
CLASS_GAINS, CLASS_STRENGTHS = GAINS[::2], STRENGTHS[::2]
"""Fewer of both where each is a search of its own."""


def fit_with_prior(
    columns: NDArray[np.float32],
    targets: Sequence[Target],
    units: NDArray[np.intp],
    prior: LinearPath,
    seed: int,
    free: NDArray[np.bool_] | None = None,
) -> LinearPath:
    """Ridge or logistic regression shrunk towards a gain times another model's weights.

    Minimises loss(y, c s(x) + x d + b) + strength |d|^2, s being the prior's answer; the gain c, from 0 (nothing of the prior) to 1, and
    the strength are chosen on inner folds. Columns are in these people's standard deviations, so that with a gain of 0 it is plain ridge;
    where only their direction counts, the prior's weights are those of the direction in these people's deviations too.

    Parameters
    ----------
    columns : (N, F) of training people, as the prior's view reads them.
    targets : with the prior's levels.
    units : (N,) people who belong together.
    prior : fitted on the same edges.
    seed : of the inner folds.
    free : (F,) columns whose weights may differ from the prior's; default all.
    """
    standard = Standard.of(columns)
    deviation = np.where(np.isfinite(standard.deviation), standard.deviation, prior.deviation).astype(np.float32)
    if prior.view == "direction":
        prior = replace(prior, mean=standard.mean, deviation=deviation)
    x = as_read(columns, standard.mean, deviation, prior.view)
    known = np.isfinite(prior.deviation)
    units_of_prior = np.divide(deviation, prior.deviation, out=np.zeros(len(deviation)), where=known)[:, None]
    changing = np.ones(x.shape[1], bool) if free is None else free
    part = x[:, changing]
    rows, back = reduced(part) if changing.any() else (np.zeros((len(x), 1)), np.zeros((len(x), 1)))
    coefficients, intercepts = [], []
    for target, weights, said in zip(targets, prior.coefficients, prior.outputs(columns), strict=True):
        folds = folds_of(units, [target], np.random.default_rng(seed))
        there = weights * units_of_prior  # the prior's weights in these people's standard deviations
        moved, constants = np.zeros_like(weights), np.zeros(weights.shape[1])
        for column in _columns(target):
            y = (target.values == column).astype(float) if target.classes else target.values
            gain, strength = _chosen(rows, y, said[:, column], folds, bool(target.classes))
            found, constant = _fitted(rows, y, said[:, column], np.array([gain]), np.array([strength]), bool(target.classes))[0][0]
            moved[:, column] = gain * there[:, column]
            moved[changing, column] += part.T @ (back @ found)
            constants[column] = constant + gain * np.mean(said[:, column] - x @ there[:, column])
        coefficients.append(moved)
        intercepts.append(constants)
    return LinearPath(prior.view, standard.mean, deviation, tuple(coefficients), tuple(intercepts))


def _columns(target: Target) -> list[int]:
    """Columns of a linear model's weights that say something: of two levels the second, otherwise all."""
    return [1] if len(target.classes) == 2 else list(range(max(len(target.classes), 1)))


def _chosen(rows: NDArray, y: NDArray[np.float64], said: NDArray[np.float64], folds: Folds, classes: bool) -> tuple[float, float]:
    """Gain and strength with the least loss over folds; of equal ones the larger gain and the stronger shrinkage: the prior stays."""
    gains, strengths = (CLASS_GAINS, CLASS_STRENGTHS) if classes else (GAINS, STRENGTHS)
    losses = np.zeros((len(gains), len(strengths)))
    for learned, held in folds:
        for number, models in enumerate(_fitted(rows[learned], y[learned], said[learned], gains, strengths, classes)):
            for place, (weights, constant) in enumerate(models):
                scores = gains[number] * said[held] + rows[held] @ weights + constant
                loss = np.logaddexp(0, scores) - y[held] * scores if classes else (y[held] - scores) ** 2
                losses[number, place] += loss.sum()
    best = divmod(int(losses.argmin()), len(strengths))
    return float(gains[best[0]]), float(strengths[best[1]])


def _fitted(
    rows: NDArray, y: NDArray[np.float64], said: NDArray[np.float64], gains: NDArray, strengths: NDArray, classes: bool
) -> list[list[tuple[NDArray[np.float64], float]]]:
    """Of each gain of what the prior said, weights and intercept beside it at each strength, strongest first."""
    unit = max((rows**2).sum() / len(rows) ** 2, 1e-12)
    if classes:
        return [_logistic_path(rows, y, gain * said, strengths * unit / 4) for gain in gains]
    finite = strengths[np.isfinite(strengths)] * unit
    # Ridge is linear in what it is fitted to: two paths stand for all gains.
    paths = []
    for column in (y, said):
        nothing = [(np.zeros(rows.shape[1]), float(column.mean()))] * (len(strengths) - len(finite))
        paths.append(nothing + (list(ridge_path(rows, column, finite)) if len(finite) else []))
    return [[(w - gain * v, b - gain * c) for (w, b), (v, c) in zip(*paths, strict=True)] for gain in gains]


def _logistic_path(
    rows: NDArray, y: NDArray[np.float64], offset: NDArray[np.float64], strengths: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], float]]:
    """Logistic regressions beside an offset, each begun where the last one ended."""
    models = []
    now = np.zeros(rows.shape[1] + 1)
    for strength in strengths:
        if np.isfinite(strength):
            now = _logistic(rows, y, offset, strength, now)
        else:
            now = np.r_[np.zeros(rows.shape[1]), _logistic(rows[:, :0], y, offset, 0.0, now[-1:])]
        models.append((now[:-1], float(now[-1])))
    return models


def _logistic(rows: NDArray, y: NDArray[np.float64], offset: NDArray[np.float64], strength: float, start: NDArray) -> NDArray[np.float64]:
    """Weights and intercept, (K + 1,), of a logistic regression with an offset, by L-BFGS."""

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = parameters[:-1]
        scores = offset + rows @ weights + parameters[-1]
        slope = (expit(scores) - y) / len(y)
        value = float((np.logaddexp(0, scores) - y * scores).mean() + strength / 2 * weights @ weights)
        return value, np.r_[rows.T @ slope + strength * weights, slope.sum()]

    found: NDArray[np.float64] = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None)] * (len(start) - 1) + [(-20, 20)]
    ).x
    return found

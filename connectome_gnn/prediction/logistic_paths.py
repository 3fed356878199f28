"""Logistic ridge regression of many targets at once along a path of strengths, for choosing a strength on inner folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from connectome_gnn.evaluation.linear_paths import Folds

__all__ = ["held_out_losses"]

MOST_STEPS = 200
SETTLED = 2e-4
"""Largest change of a log odds in a step at which a model is settled: losses are then known to far less than what folds differ by."""


def held_out_losses(
    points: NDArray[np.float64], y: NDArray[np.float64], strengths: NDArray[np.float64], folds: Folds
) -> NDArray[np.float64]:
    """Log loss of people held out, summed over folds, (S, T).

    The loss of a model is the mean log loss plus strength / 2 times the sum of squared coefficients; the intercept is free. Its curvature
    is nowhere above a quarter of the points' own, whose eigenvectors serve all strengths and targets (Boehning & Lindsay 1988, Ann Inst
    Stat Math 40:641): every step goes downhill without a line search.

    Parameters
    ----------
    points : (n, K) people.
    y : (n, T) classes as 0 and 1.
    strengths : (S,), strongest first.
    folds : rows to learn from and rows to be predicted.
    """
    losses = np.zeros((len(strengths), y.shape[1]))
    for rows, held in folds:
        centre = points[rows].mean(0)
        left, sizes, right = np.linalg.svd(points[rows] - centre, full_matrices=False)
        kept = sizes > 1e-9 * max(sizes[0], 1e-300)
        x, unseen = left[:, kept] * sizes[kept], (points[held] - centre) @ right[kept].T
        truth, n = y[rows], len(rows)
        slopes, level = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
        for place, strength in enumerate(strengths):
            steepest = (sizes[kept] ** 2 / 4 + n * strength)[:, None]
            odds = x @ slopes + level
            for _ in range(MOST_STEPS):
                away = truth - expit(odds)
                slopes += (x.T @ away - n * strength * slopes) / steepest
                level += 4 * away.mean(0)
                before, odds = odds, x @ slopes + level
                if np.abs(odds - before).max() < SETTLED:
                    break
            said = unseen @ slopes + level
            losses[place] += (np.logaddexp(0, said) - y[held] * said).sum(0)
    return losses

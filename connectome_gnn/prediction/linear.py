"""Linear baselines: the training mean, ridge regression and logistic ridge regression on edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.learners import L2_STRENGTHS, Standard
from connectome_gnn.evaluation.linear_paths import Folds
from connectome_gnn.prediction.edge_predictor import EdgePredictor
from connectome_gnn.prediction.edge_rows import EdgeRows, folds_within
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.logistic_paths import held_out_losses
from connectome_gnn.prediction.spectrum import combined

__all__ = ["LogisticRidge", "MeanPredictor", "RidgeRegression", "against_others", "indicators", "one_column", "prior_odds"]

TARGETS_AT_ONCE = 64


class MeanPredictor(EdgePredictor):
    """What anybody knows without a connectome: the training mean, or the shares of the training people's classes."""

    name = "mean"

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        self.arrays = {"answer": indicators(target).mean(0) if target.classes else np.array([target.values.mean()])}

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        repeated = np.repeat(self.arrays["answer"][None], len(values), 0)
        return repeated if self.classes_ else repeated[:, 0]


class RidgeRegression(EdgePredictor):
    """Ridge regression on edges, standardised by training people (Hoerl & Kennard 1970).

    The strength is the one with the least squared error for people left out, each with those who belong to them, computed exactly without
    refitting (Allen 1974; for single people what scikit-learn's ``RidgeCV`` calls generalised cross-validation). Solved in the dual where
    people are fewer than edges.
    """

    name = "ridge"
    tasks = ("regression",)

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        coefficients, intercepts, strengths = _ridge(rows, target.values[:, None])
        self._take(coefficients[:, 0], intercepts[0], strengths[0])

    def fit_each(self, cohort: Cohort, targets: Sequence[Target], *, groups: str | None = None) -> Iterator[Self]:
        """Models of each of several targets of the same people, solved together."""
        rows = EdgeRows.of(cohort, groups)
        for start in range(0, len(targets), TARGETS_AT_ONCE):
            part = targets[start : start + TARGETS_AT_ONCE]
            coefficients, intercepts, strengths = _ridge(rows, np.stack([target.values for target in part], 1))
            for place, target in enumerate(part):
                model = copy(self)
                model.task, model.target, model.read_as = target.task, target.name, rows.read_as
                model._take(coefficients[:, place], intercepts[place], strengths[place])
                yield model

    def _take(self, coefficients: NDArray[np.float64], intercept: float, strength: float) -> None:
        self.arrays = {"coefficients": coefficients, "intercept": np.array([intercept])}
        self.facts = {"strength": float(strength)}

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        return values @ self.arrays["coefficients"] + self.arrays["intercept"]


class LogisticRidge(EdgePredictor):
    """Logistic regression with a squared penalty on edges, standardised by training people; several classes each against the others.

    The strength, one for each class, has the least log loss over inner folds. The optimum is scikit-learn's ``LogisticRegression``'s.
    """

    name = "ridge"
    tasks = ("classification",)

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        y, strengths = against_others(target), _logistic_strengths(rows)
        self._take(rows, y, strengths, held_out_losses(rows.spectrum.coordinates, y, strengths, self._folds(rows)))

    def fit_each(self, cohort: Cohort, targets: Sequence[Target], *, groups: str | None = None) -> Iterator[Self]:
        """Models of each of several targets of the same people, tuned together."""
        rows = EdgeRows.of(cohort, groups)
        strengths, points = _logistic_strengths(rows), rows.spectrum.coordinates
        for start in range(0, len(targets), TARGETS_AT_ONCE):
            part = targets[start : start + TARGETS_AT_ONCE]
            columns = [against_others(target) for target in part]
            losses = held_out_losses(points, np.concatenate(columns, 1), strengths, self._folds(rows))
            ends = np.cumsum([one.shape[1] for one in columns])
            for target, y, loss in zip(part, columns, np.split(losses, ends[:-1], 1), strict=True):
                model = copy(self)
                model.task, model.classes_, model.target, model.read_as = target.task, target.classes, target.name, rows.read_as
                model._take(rows, y, strengths, loss)
                yield model

    def _folds(self, rows: EdgeRows) -> Folds:
        return folds_within(rows.units, None, self.seed)  # the same whatever the target: permuted ones are tuned as the true one is

    def _take(self, rows: EdgeRows, y: NDArray[np.float64], strengths: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        points, chosen = rows.spectrum.coordinates, strengths[losses.argmin(0)]
        found = [_logistic(points, column, float(strength)) for column, strength in zip(y.T, chosen, strict=True)]
        coefficients = rows.spectrum.lifted(rows.x, np.stack([one[0] for one in found], 1))
        slopes, intercepts = _unstandardised(rows.standard, coefficients, np.array([one[1] for one in found]))
        self.arrays = {"coefficients": slopes, "intercepts": intercepts}
        self.facts = {"strengths": chosen.tolist()}

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        return one_column(expit(values @ self.arrays["coefficients"] + self.arrays["intercepts"]))


def indicators(target: Target) -> NDArray[np.float64]:
    """Classes as 0 and 1, (n, K)."""
    return (target.values[:, None] == np.arange(len(target.classes))).astype(np.float64)


def against_others(target: Target) -> NDArray[np.float64]:
    """What binary models are fitted to in turn, (n, 1) the second of two classes, or (n, K) each of more."""
    every = indicators(target)
    return every[:, 1:] if every.shape[1] == 2 else every


def one_column(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, K) from those of the second of two classes (N, 1), or of each against the others (N, K)."""
    if shares.shape[1] == 1:
        return np.concatenate([1 - shares, shares], 1)
    return shares / np.maximum(shares.sum(1, keepdims=True), 1e-300)


def prior_odds(labels: NDArray[np.float64]) -> float:
    """Log odds of a class by its share of the training people alone, half a person added on either side."""
    ones = float(labels.sum())
    return float(np.log((ones + 0.5) / (len(labels) - ones + 0.5)))


def _ridge(rows: EdgeRows, y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slopes (E, T) of edges on the modelling scale, intercepts (T,) and strengths (T,) for targets (n, T)."""
    spectrum = rows.spectrum
    strengths = spectrum.strengths()
    best, _ = spectrum.chosen(y, strengths, rows.units)
    coefficients = combined(rows.x, spectrum.dual(y, strengths[best]))
    return (*_unstandardised(rows.standard, coefficients, y.mean(0)), strengths[best])


def _logistic_strengths(rows: EdgeRows) -> NDArray[np.float64]:
    """Strengths tried, strongest first; a quarter of the curvature of squared error is that of log loss at most."""
    return L2_STRENGTHS * 0.25 * max(float(rows.spectrum.values.sum()), 1e-12) / len(rows.values) ** 2


def _unstandardised(
    standard: Standard, coefficients: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts for edges as they are, from those for standardised ones."""
    slopes = coefficients / standard.deviation[:, None].astype(np.float64)
    return slopes, intercepts - standard.mean.astype(np.float64) @ slopes


def _logistic(points: NDArray[np.float64], labels: NDArray[np.float64], strength: float) -> tuple[NDArray[np.float64], float]:
    """Coefficients and intercept at the optimum: mean log loss plus strength / 2 times the sum of squared coefficients."""
    from sklearn.linear_model import LogisticRegression

    if not points.shape[1] or np.ptp(labels) == 0:
        return np.zeros(points.shape[1]), prior_odds(labels)
    model = LogisticRegression(C=1 / (strength * len(labels)), solver="newton-cholesky", tol=1e-9, max_iter=200)
    model.fit(points, labels.astype(np.intp))
    return model.coef_[0], float(model.intercept_[0])

"""Linear learners that predict a phenotype from a connectome: scikit-learn's, fast where there are many more edges than people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.linear_paths import (
    Step,
    best_place,
    l1_path,
    l2_logistic_path,
    reduced,
    ridge_path,
    solve_l1_logistic,
    solve_lasso,
)
from connectome_gnn.splits import Folds

__all__ = [
    "LEARNERS",
    "EstimatorLearner",
    "Learner",
    "LinearLearner",
    "LinearPrediction",
    "Prediction",
    "Standard",
    "chosen_learners",
    "inner_folds",
]

Prediction = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""From standardised edges (m, E) to numbers (m,) or probabilities of classes (m, C)."""

INNER_FOLDS = 5
L1_STRENGTHS = np.geomspace(1, 0.02, 12)
"""As a share of the least strength at which no edge is chosen."""
L2_STRENGTHS = np.geomspace(1e2, 1e-2, 9)
"""In units of the mean eigenvalue of the rows' Gram matrix; a quarter of it for classes, the curvature of their loss."""

LEAST_DEVIATION = 1e-6


class Learner(Protocol):
    """What predicts a phenotype."""

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    @property
    def classes(self) -> bool:
        """Whether it predicts classes, or numbers."""
        ...

    def fit(self, x: NDArray[np.float32], y: NDArray[np.float64], folds: Folds) -> Prediction:
        """Learn from standardised edges (n, E) and numbers (n,), or shares of classes (n, C) that add up to 1."""
        ...

    def refits(self, x: NDArray[np.float32], y: NDArray[np.float64], fitted: Any, draws: Sequence[NDArray[np.intp]]) -> list[Prediction]:
        """Learn again from each of several draws of the rows, as strongly shrunk as ``fitted``, which :meth:`fit` made of all of them."""
        ...


@dataclass(frozen=True, eq=False)
class Standard:
    """The scale of training rows: each edge's mean and standard deviation among them.

    Attributes
    ----------
    mean, deviation : (E,) float32; the deviation of an edge that does not differ is infinite, so that it takes no part.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Standard:
        """Of rows (n, E)."""
        mean = x.mean(0, dtype=np.float64)
        deviation = x.std(0, dtype=np.float64)
        constant = deviation <= np.maximum(LEAST_DEVIATION, 1e-6 * np.abs(mean))
        return cls(mean.astype(np.float32), np.where(constant, np.inf, deviation).astype(np.float32))

    def transform(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows (m, E) standardised."""
        return (x - self.mean) / self.deviation


@dataclass(frozen=True, eq=False)
class LinearPrediction:
    """A fitted linear model.

    Attributes
    ----------
    coefficients : (E, T) of standardised edges; T is 1 for numbers and two classes, else the number of classes.
    intercepts, strengths : (T,) each.
    classes : whether it gives probabilities of classes or numbers.
    """

    coefficients: NDArray
    intercepts: NDArray[np.float64]
    strengths: NDArray[np.float64]
    classes: bool

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (m,) or probabilities (m, C) of standardised rows (m, E)."""
        values = rows @ self.coefficients + self.intercepts
        return _probabilities(values) if self.classes else values[:, 0]


@dataclass(frozen=True)
class LinearLearner:
    """A linear model whose strength of shrinkage is chosen on inner folds of the training rows.

    Numbers: LASSO (Tibshirani 1996) or ridge regression, on mean squared error. Classes: logistic regression, each class against the
    others where there are more than two, on log loss. Of strengths that do equally well the strongest is taken. Ridge and L2 logistic
    regression are fitted in the space that n rows span, which gives the same answer as all E edges do; the L1 models on the few edges that
    have a say, all others checked for the optimum's conditions (Tibshirani et al. 2012, J R Stat Soc B 74:245).

    Parameters
    ----------
    name : how tables call it.
    penalty : ``"l1"`` or ``"l2"``.
    classes : whether it predicts classes or numbers.
    """

    name: str
    penalty: str
    classes: bool

    def fit(self, x: NDArray[np.float32], y: NDArray[np.float64], folds: Folds) -> LinearPrediction:
        """Coefficients of every edge, at the strength that folds prefer.

        Parameters
        ----------
        x : (n, E) standardised edges.
        y : (n,) numbers, or (n, C) shares of classes.
        folds : rows to learn from and rows to be predicted, of each inner fold; without any, the strongest strength is taken.
        """
        rows, back = self._space(x)
        answer = []
        for column in _columns(y):
            strengths = self._strengths(rows, column)
            path = strengths[: best_place(self._path, rows, column, strengths, folds, self.classes) + 1]
            *_, last = self._path(rows, column, path)
            answer.append((*last, path[-1]))
        return self._prediction(answer, back)

    def refits(
        self, x: NDArray[np.float32], y: NDArray[np.float64], fitted: LinearPrediction, draws: Sequence[NDArray[np.intp]]
    ) -> list[Prediction]:
        """The same model, as strongly shrunk, from each of several draws of the rows."""
        rows, back = self._space(x)
        predictions: list[Prediction] = []
        for drawn in draws:
            models = [
                (*next(self._path(rows[drawn], column[drawn], np.array([strength]))), strength)
                for column, strength in zip(_columns(y), fitted.strengths, strict=True)
            ]
            predictions.append(self._prediction(models, back))
        return predictions

    def _space(self, x: NDArray[np.float32]) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
        """The rows as they are fitted, and what brings coefficients back to edges."""
        if self.penalty == "l1":
            return x, lambda coefficients: coefficients.astype(x.dtype)
        rows, back = reduced(x)
        return rows, lambda coefficients: x.T @ (back @ coefficients).astype(x.dtype)

    def _strengths(self, rows: NDArray, y: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.penalty == "l1":
            return L1_STRENGTHS * np.abs(rows.T @ (y - y.mean()).astype(rows.dtype)).max() / len(y)
        return L2_STRENGTHS * (rows**2).sum() / len(rows) ** 2 * (0.25 if self.classes else 1)

    def _path(self, x: NDArray, y: NDArray[np.float64], strengths: NDArray[np.float64]) -> Iterator[Step]:
        """Models at strengths a row, strongest first."""
        if self.penalty == "l1":
            return l1_path(solve_l1_logistic if self.classes else solve_lasso, self.classes, x, y, strengths)
        return (l2_logistic_path if self.classes else ridge_path)(x, y, strengths)

    def _prediction(self, fitted: list[tuple[NDArray, float, float]], back: Callable[[NDArray], NDArray]) -> LinearPrediction:
        coefficients = np.stack([back(one[0]) for one in fitted], 1)
        return LinearPrediction(coefficients, np.array([one[1] for one in fitted]), np.array([one[2] for one in fitted]), self.classes)


@dataclass(frozen=True)
class EstimatorLearner:
    """A classifier or regressor of scikit-learn's kind as a learner; what it chooses by folds of its own is its own business.

    Parameters
    ----------
    name : how tables call it.
    estimator : an estimator that has not been fitted; a copy of it is.
    classes : whether it is a classifier.
    """

    name: str
    estimator: Any
    classes: bool

    def fit(self, x: NDArray[np.float32], y: NDArray[np.float64], folds: Folds) -> Prediction:
        """A copy of the estimator, fitted; rows that belong to two classes count as one of each, weighed.

        Raises
        ------
        ConnectomeError
            If rows belong to two classes and the estimator takes no weights.
        """
        from sklearn.base import clone
        from sklearn.utils.validation import has_fit_parameter

        estimator = clone(self.estimator)
        if not self.classes:
            estimator.fit(x, y)
            return lambda rows: np.asarray(estimator.predict(rows), np.float64).reshape(len(rows))
        row, label = np.nonzero(y > 0)
        shares = y[row, label]
        if (shares < 1).any():
            if not has_fit_parameter(estimator, "sample_weight"):
                raise ConnectomeError(
                    f"learner {self.name!r} takes no sample_weight, so it cannot learn from people of two classes at once"
                )
            estimator.fit(x[row], label, sample_weight=shares)
        else:
            estimator.fit(x, label)

        def predict(rows: NDArray[np.float32]) -> NDArray[np.float64]:
            probabilities = np.zeros((len(rows), y.shape[1]))
            if hasattr(estimator, "predict_proba"):
                probabilities[:, estimator.classes_] = estimator.predict_proba(rows)
            else:
                probabilities[np.arange(len(rows)), estimator.predict(rows)] = 1
            return probabilities

        return predict

    def refits(self, x: NDArray[np.float32], y: NDArray[np.float64], fitted: Any, draws: Sequence[NDArray[np.intp]]) -> list[Prediction]:
        """Copies of the estimator, fitted to each of several draws of the rows."""
        return [self.fit(x[drawn], y[drawn], ()) for drawn in draws]


LEARNERS: tuple[LinearLearner, ...] = (
    LinearLearner("lasso", "l1", False),
    LinearLearner("ridge", "l2", False),
    LinearLearner("l1 logistic", "l1", True),
    LinearLearner("l2 logistic", "l2", True),
)


def chosen_learners(learners: Mapping[str, Any] | Iterable[str] | None = None) -> tuple[Learner, ...]:
    """Learners by name, or scikit-learn's estimators under names of their own.

    Parameters
    ----------
    learners : names among ``lasso``, ``ridge`` (for numbers), ``l1 logistic``, ``l2 logistic`` (for classes), or a mapping of names to
        regressors and classifiers; default all four.

    Raises
    ------
    ConnectomeError
        If a name is not known, or an estimator is neither a regressor nor a classifier.
    """
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    known = {learner.name: learner for learner in LEARNERS}
    if learners is None:
        return LEARNERS
    if not isinstance(learners, Mapping):
        names = [learners] if isinstance(learners, str) else list(learners)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConnectomeError(f"unknown learner {unknown[0]!r}; the learners are {', '.join(map(repr, known))}")
        return tuple(known[name] for name in dict.fromkeys(names))
    for name, estimator in learners.items():
        if not isinstance(estimator, BaseEstimator) or not (is_classifier(estimator) or is_regressor(estimator)):
            raise ConnectomeError(f"learner {name!r}: expected a regressor or classifier of scikit-learn's kind, got {estimator!r}")
    return tuple(EstimatorLearner(str(name), estimator, is_classifier(estimator)) for name, estimator in learners.items())


def inner_folds(
    made_from: NDArray[np.intp],
    real: NDArray[np.bool_],
    units: NDArray[np.intp],
    strata: NDArray[np.float64] | None,
    generator: np.random.Generator,
    k: int = INNER_FOLDS,
) -> Folds:
    """Folds of training rows in which nobody who is predicted has been learned from, not even in part.

    Only real rows are predicted where there are any. A made-up row is learned from only while everybody it was made from is too: the copy,
    the average or the generated namesake of a person would give that person away.

    Parameters
    ----------
    made_from : (m, 2) people whom each row was made from, as positions in ``units``; twice the same for one.
    real : (m,) rows that are real people.
    units : (n,) people who belong together, by number.
    strata : (n,) class of each person, so that every fold has some of each; None for numbers.
    generator : of the draw.
    k : number of folds.

    Returns
    -------
    folds : up to ``k`` pairs of rows; fewer where there are fewer units, none where there is a single one.
    """
    first = np.unique(units, return_index=True)[1]
    n_units = len(first)
    order = generator.permutation(n_units)
    if strata is not None:
        order = order[np.argsort(strata[first][order], kind="stable")]
    k = min(k, n_units)
    fold_of_unit = np.empty(n_units, np.intp)
    fold_of_unit[order] = np.arange(n_units) % k
    fold = fold_of_unit[np.searchsorted(units[first], units)][made_from]
    judged = real if real.any() else np.ones(len(real), bool)
    folds = [(np.flatnonzero((fold != f).all(1)), np.flatnonzero(judged & (fold == f).all(1))) for f in range(k)]
    return [(rows, held) for rows, held in folds if len(rows) and len(held)] if k > 1 else []


def _columns(y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """What linear models are fitted to in turn: the numbers, the second of two classes, or each of more."""
    if y.ndim == 1:
        return [y]
    return list(y.T[1:] if y.shape[1] == 2 else y.T)


def _probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (m, C) from log odds of the second of two classes (m, 1), or of each against the others (m, C)."""
    odds = expit(values)
    if values.shape[1] == 1:
        return np.concatenate([1 - odds, odds], 1)
    return odds / np.maximum(odds.sum(1, keepdims=True), 1e-300)

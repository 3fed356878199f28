"""Paths of linear models from strong to weak shrinkage, fast where there are many more edges than rows: scikit-learn's models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from connectome_gnn.splits import Folds

__all__ = [
    "Path",
    "Step",
    "best_place",
    "l1_path",
    "l2_logistic_path",
    "reduced",
    "ridge_path",
    "solve_l1_logistic",
    "solve_lasso",
]

"""Rows to learn from and rows to be predicted, of each inner fold."""

Step = tuple[NDArray[np.float64], float]
"""Coefficients (F,) and intercept at one strength."""

Path = Callable[[NDArray, NDArray[np.float64], NDArray[np.float64]], Iterator[Step]]
"""From rows (n, F), their target (n,) and strengths (S,), strongest first, to one model after the other."""

PATIENCE = 3
"""Weaker strengths are not tried once so many in a row did worse than the best."""

TOLERANCE = 1e-4

EDGES_AT_ONCE = 4096
RANK_TOLERANCE = 1e-10


def best_place(path: Path, x: NDArray, y: NDArray[np.float64], strengths: NDArray[np.float64], folds: Folds, classes: bool) -> int:
    """Place of the strength with the least loss over folds, of equal ones the strongest."""
    losses: list[float] = []
    paths = [path(x[rows], y[rows], strengths) for rows, _ in folds]
    for models in zip(*paths, strict=True):  # all folds a step further at a time: where the path is weak it is slow
        loss = 0.0
        for (coefficients, intercept), (_, held) in zip(models, folds, strict=True):
            predicted, truth = x[held] @ coefficients.astype(x.dtype) + intercept, y[held]
            loss += float((np.logaddexp(0, predicted) - truth * predicted if classes else (truth - predicted) ** 2).sum())
        losses.append(loss)
        if len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE:
            break
    return int(np.argmin(losses)) if losses else 0


def reduced(x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows (n, E) in the space that they span, (n, K), and the matrix (n, K) that brings coefficients back: x.T @ back @ c.

    Distances and products between rows stay what they are, so models with a squared penalty on coefficients are the same in both.
    """
    gram = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], EDGES_AT_ONCE):
        block = x[:, start : start + EDGES_AT_ONCE].astype(np.float64)
        gram += block @ block.T
    size, directions = np.linalg.eigh(gram)
    kept = size > RANK_TOLERANCE * max(size[-1], 1)
    if not kept.any():
        return np.zeros((len(x), 1)), np.zeros((len(x), 1))
    root = np.sqrt(size[kept])
    return directions[:, kept] * root, directions[:, kept] / root


def ridge_path(x: NDArray, y: NDArray[np.float64], strengths: NDArray[np.float64]) -> Iterator[Step]:
    """Ridge regression (Hoerl & Kennard 1970): mean squared error plus strength times the sum of squared coefficients."""
    from sklearn.linear_model import Ridge

    # One target a strength: the products of rows are formed once.
    model = Ridge(alpha=strengths * len(y), solver="cholesky").fit(x, np.repeat(y[:, None], len(strengths), 1))
    yield from zip(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_).tolist(), strict=True)


def l2_logistic_path(x: NDArray, y: NDArray[np.float64], strengths: NDArray[np.float64]) -> Iterator[Step]:
    """Logistic regression: mean log loss plus strength / 2 times the sum of squared coefficients; y are shares of a class in [0, 1]."""
    from sklearn.linear_model import LogisticRegression

    if np.ptp(y) == 0 or not np.any(x):  # one class, or rows that are all alike: there is nothing to tell classes by
        yield from ((np.zeros(x.shape[1]), _log_odds(y)) for _ in strengths)
        return
    rows, labels, shares = _labelled(x, y)
    model = LogisticRegression(tol=TOLERANCE, max_iter=1000, warm_start=True)
    for strength in strengths:
        model.set_params(C=1 / (strength * len(y))).fit(rows, labels, sample_weight=shares)
        yield model.coef_[0].copy(), float(model.intercept_[0])


def l1_path(
    solve: Callable[[NDArray, NDArray[np.float64], float], Step],
    classes: bool,
    x: NDArray,
    y: NDArray[np.float64],
    strengths: NDArray[np.float64],
) -> Iterator[Step]:
    """An L1 path on the few edges that have a say at each strength: those chosen before and those whose slope calls for it."""
    coefficients, intercept = np.zeros(x.shape[1]), _log_odds(y) if classes else float(y.mean())
    slope = _slope(x, y - y.mean())
    previous = float(slope.max())  # at which, and above, no edge is chosen
    for strength in strengths:
        if strength < previous:
            kept = (slope >= strength) | (coefficients != 0)
            coefficients, intercept, slope = _solved(solve, classes, x, y, float(strength), kept)
            previous = strength
        yield coefficients, intercept


def _solved(
    solve: Callable[[NDArray, NDArray[np.float64], float], Step],
    classes: bool,
    x: NDArray,
    y: NDArray[np.float64],
    strength: float,
    kept: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], float, NDArray]:
    """Coefficients (F,), intercept and slopes (F,) at one strength: edges are added until none of the others breaks the optimum's rule."""
    while True:
        chosen = np.flatnonzero(kept)
        part = x[:, chosen]
        found, intercept = solve(part, y, strength * len(y))
        predicted = part @ found + intercept
        slope = _slope(x, y - (expit(predicted) if classes else predicted))
        missed = ~kept & (slope > strength * (1 + 1e-3))
        if not missed.any():
            coefficients = np.zeros(x.shape[1])
            coefficients[chosen] = found
            return coefficients, intercept, slope
        kept = kept | missed


def _slope(x: NDArray, residual: NDArray[np.float64]) -> NDArray:
    """How fast the mean loss falls with each coefficient, (F,), absolute."""
    return np.abs(x.T @ residual.astype(x.dtype)) / len(x)


def solve_lasso(x: NDArray, y: NDArray[np.float64], strength: float) -> Step:
    """LASSO on some edges: half the summed squared error plus strength times the sum of absolute coefficients."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # far down the path, where no fold goes
        model = Lasso(alpha=strength / len(y), tol=TOLERANCE, max_iter=2000).fit(x.astype(np.float64), y)
    return model.coef_, float(model.intercept_)


def solve_l1_logistic(x: NDArray, y: NDArray[np.float64], strength: float) -> Step:
    """Logistic regression on some edges: summed log loss plus strength times the sum of absolute coefficients."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # From scikit-learn 1.8 on a penalty is named by its share of L1.
    renamed = getattr(LogisticRegression(), "penalty", "deprecated") == "deprecated"
    l1: dict[str, Any] = {"l1_ratio": 1.0} if renamed else {"penalty": "l1"}
    rows, labels, shares = _labelled(x, y)
    # liblinear shrinks the intercept too; a constant of 100 in its place makes that negligible.
    model = LogisticRegression(C=1 / strength, solver="liblinear", intercept_scaling=100, tol=TOLERANCE, max_iter=500, random_state=0, **l1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, labels, sample_weight=shares)
    return model.coef_[0], float(model.intercept_[0])


def _labelled(x: NDArray, y: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.intp], NDArray[np.float64] | None]:
    """Rows, labels 0 and 1, and weights: a row that is partly of either class occurs as both."""
    if ((y == 0) | (y == 1)).all():
        return x, y.astype(np.intp), None
    ones, zeros = np.flatnonzero(y > 0), np.flatnonzero(y < 1)
    labels = np.repeat([1, 0], [len(ones), len(zeros)])
    return x[np.r_[ones, zeros]], labels, np.r_[y[ones], 1 - y[zeros]]


def _log_odds(y: NDArray[np.float64]) -> float:
    """Log odds of a class without any other knowledge, kept off infinity."""
    share = np.clip(y.mean(), 1e-6, 1 - 1e-6)
    return float(np.log(share / (1 - share)))

"""Classifier two-sample test: can real and generated people be told apart? .5 means no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from connectome_gnn.splits import draw_folds

__all__ = [
    "FOLDS",
    "LEAST_UNITS",
    "ToldApart",
    "component_features",
    "nodal_features",
    "number_of_components",
    "principal_components",
    "told_apart",
]

FOLDS = 5
LEAST_UNITS = 10
"""Units of people that each cohort needs, two a fold."""

COMPONENTS = 30
ROWS_PER_COMPONENT = 5
NODAL_COMPONENTS = 5
EXTRA_DIRECTIONS = 10
POWER_ITERATIONS = 2
CLASSIFIERS = ("logistic", "boosting")

Features = Callable[[NDArray[np.intp], NDArray[np.intp], np.random.Generator], tuple[NDArray, NDArray]]
"""Features of training and of test rows, fitted on the training rows, real and generated alike."""


@dataclass(frozen=True, eq=False)
class ToldApart:
    """How well classifiers tell two groups of rows apart.

    Attributes
    ----------
    auc : the larger AUC of the classifiers, mean over folds; which is the larger is for every fold judged by the other folds.
    aucs : (classifiers, folds) AUC of each.
    influence : (n,) what each row adds to ``auc``: the sum over the rows of one group is 0 in every fold.
    """

    auc: float
    aucs: NDArray[np.float64]
    influence: NDArray[np.float64]

    def table(self) -> pd.DataFrame:
        """One row a classifier and fold."""
        index = pd.MultiIndex.from_product([CLASSIFIERS, range(1, self.aucs.shape[1] + 1)], names=["classifier", "fold"])
        return pd.DataFrame({"auc": self.aucs.ravel()}, index=index).reset_index()


def told_apart(
    features: Features, generated: NDArray[np.bool_], units: NDArray[np.intp], generator: np.random.Generator, n_jobs: int = 1
) -> ToldApart:
    """Cross-validated AUC of a logistic regression and of gradient boosting, telling generated rows from real ones.

    Taking the larger of two AUCs would lie above .5 by chance alone. So the classifier of a fold is the one that did better in the other
    folds: where both are equally good, neither gains, and where one is better, it is the one chosen.

    Parameters
    ----------
    features : features of training and test rows, from the training rows alone.
    generated : (n,) whether a row is generated.
    units : (n,) unit of each row; the rows of a unit are in one fold.
    generator : of folds and classifiers.
    n_jobs : threads.

    References
    ----------
    Lopez-Paz & Oquab 2017, ICLR (classifier two-sample tests).
    """
    fold = _folds(generated, units, generator)
    n_folds = int(fold.max()) + 1
    seeds = generator.integers(2**31, size=n_folds).tolist()

    def of(f: int) -> list[NDArray[np.float64]]:
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        seen, unseen = features(train, test, np.random.default_rng(seeds[f]))
        return _scores(seen, generated[train], unseen, seeds[f])

    # Folds in threads, each on one thread of its own: the same numbers for any number of threads, and no waiting for each other.
    with threadpool_limits(1):
        scores = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(of)(f) for f in range(n_folds))
    aucs, placements = np.empty((len(CLASSIFIERS), n_folds)), np.empty((len(CLASSIFIERS), len(generated)))
    for f in range(n_folds):
        test = np.flatnonzero(fold == f)
        for c, score in enumerate(scores[f]):
            aucs[c, f], placements[c, test] = _auc(score, generated[test])
    others = (aucs.sum(1, keepdims=True) - aucs) / max(n_folds - 1, 1)
    chosen = others.argmax(0)
    return ToldApart(float(aucs[chosen, range(n_folds)].mean()), aucs, placements[chosen[fold], np.arange(len(fold))] / n_folds)


def component_features(values: NDArray[np.float32]) -> Features:
    """Features of (n, E) connectomes: 30 principal components, their squares, and the squared norm of what they leave.

    Fewer components where there are not 5 training rows for each.
    """

    def of(train: NDArray[np.intp], test: NDArray[np.intp], generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        seen = values[train]
        mean, directions = principal_components(seen, number_of_components(seen), generator)
        return _quadratic(seen, mean, directions), _quadratic(values[test], mean, directions)

    return of


def nodal_features(plain: NDArray[np.float64], nodal: list[NDArray[np.float64]]) -> Features:
    """Features of topology: global measures; of each nodal one its mean and deviation over regions and its first 5 components.

    Parameters
    ----------
    plain : (n, G) global measures.
    nodal : (n, R) of each nodal measure.
    """
    fixed = np.concatenate([plain, *(np.stack([v.mean(1), v.std(1)], 1) for v in nodal)], 1)

    def of(train: NDArray[np.intp], test: NDArray[np.intp], generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        seen, unseen = [fixed[train]], [fixed[test]]
        for values in nodal:
            mean, directions = principal_components(values[train], min(NODAL_COMPONENTS, *values[train].shape), generator)
            seen.append((values[train] - mean) @ directions)
            unseen.append((values[test] - mean) @ directions)
        return np.concatenate(seen, 1), np.concatenate(unseen, 1)

    return of


def principal_components(values: NDArray, number: int, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Mean (E,) and leading directions (E, number) of (n, E) rows, by randomised subspace iteration.

    References
    ----------
    Halko, Martinsson & Tropp 2011, SIAM Review 53:217.
    """
    mean = values.mean(0)
    centred = values - mean
    width = min(number + EXTRA_DIRECTIONS, *values.shape)
    if width == min(values.shape):  # nothing to gain over all of them
        return mean, np.linalg.svd(centred, full_matrices=False)[2][:number].T
    sketch = np.asarray(generator.standard_normal((len(values), width)), values.dtype)
    for _ in range(1 + POWER_ITERATIONS):
        basis = np.linalg.qr(centred.T @ sketch)[0]
        sketch = centred @ basis
    vectors = np.linalg.svd(sketch, full_matrices=False)[2]
    return mean, basis @ vectors[:number].T


def number_of_components(values: NDArray) -> int:
    """How many principal components of rows (n, E) a classifier looks at: 30, fewer where there are not 5 rows for each."""
    return max(min(COMPONENTS, len(values) // ROWS_PER_COMPONENT, values.shape[1]), 1)


def _quadratic(values: NDArray, mean: NDArray, directions: NDArray) -> NDArray[np.float64]:
    centred = values - mean
    scores = (centred @ directions).astype(np.float64)
    left = np.einsum("ij,ij->i", centred, centred, dtype=np.float64) - (scores**2).sum(1)
    return np.concatenate([scores, scores**2, left[:, None]], 1)


def _scores(seen: NDArray, labels: NDArray[np.bool_], unseen: NDArray, seed: int) -> list[NDArray[np.float64]]:
    """Scores of unseen rows by each classifier, higher where they look generated."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"))
    boosting = HistGradientBoostingClassifier(
        max_iter=60, max_bins=63, max_leaf_nodes=15, early_stopping=False, class_weight="balanced", random_state=seed
    )
    return [logistic.fit(seen, labels).decision_function(unseen), boosting.fit(seen, labels).decision_function(unseen)]


def _auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Area under the ROC curve, ties half, and each row's influence on it (its placement in the other group: DeLong et al. 1988)."""
    n, m = int((~positive).sum()), int(positive.sum())
    ranks = rankdata(scores)
    influence = np.empty(len(scores))
    influence[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    influence[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    auc = float(influence[positive].mean())
    influence -= auc
    influence[positive] /= m
    influence[~positive] /= n
    return auc, influence


def _folds(generated: NDArray[np.bool_], units: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """Fold of each row: real units dealt evenly, then generated ones; a unit of both goes with its real rows."""
    fold = np.empty(len(units), np.intp)
    real_units = units[~generated]
    fold[~generated] = draw_folds(_counted(real_units), FOLDS, int(generator.integers(2**31)))
    of_unit = dict(zip(real_units.tolist(), fold[~generated].tolist(), strict=True))
    shared = np.array([unit in of_unit for unit in units.tolist()]) & generated
    fold[shared] = [of_unit[unit] for unit in units[shared].tolist()]
    alone = generated & ~shared
    if alone.any():
        # Fewer new units than folds are dealt one by one.
        counted = _counted(units[alone])
        number = min(FOLDS, int(counted.max()) + 1)
        fold[alone] = draw_folds(counted, number, int(generator.integers(2**31))) if number > 1 else generator.integers(FOLDS)
    return fold


def _counted(units: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.unique(units, return_inverse=True)[1]

"""The simple answer that every graph network contains: linear models on edges, and how much of each path is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax

from connectome_gnn.evaluation.learners import LinearLearner, Standard, inner_folds
from connectome_gnn.evaluation.linear_paths import Folds
from connectome_gnn.prediction.interface import Target

__all__ = ["Gate", "LinearPath", "folds_of"]

RIDGE, LOGISTIC = LinearLearner("ridge", "l2", False), LinearLearner("l2 logistic", "l2", True)


def folds_of(units: NDArray[np.intp], targets: Sequence[Target], generator: np.random.Generator) -> Folds:
    """Up to 5 folds of rows to learn from and rows to be predicted; units stay whole, levels of a single target are shared out."""
    strata = targets[0].values if len(targets) == 1 and targets[0].classes else None
    rows = np.arange(len(units))
    return inner_folds(np.stack([rows, rows], 1), np.ones(len(rows), bool), units, strata, generator)


@dataclass(frozen=True, eq=False)
class LinearPath:
    """Ridge regression of numbers and logistic regression of levels, on edges standardised on training people.

    Attributes
    ----------
    mean, deviation : (E,) of training people's edges on the modelling scale; infinite where nothing varies.
    coefficients : of each target, (E, 1) or (E, K).
    intercepts : of each target, (1,) or (K,).
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    coefficients: tuple[NDArray[np.float64], ...]
    intercepts: tuple[NDArray[np.float64], ...]

    @classmethod
    def fit(cls, edges: NDArray[np.float32], targets: Sequence[Target], units: NDArray[np.intp], seed: int) -> LinearPath:
        """Learn from training people's edges (N, E); shrinkage is chosen on inner folds that honour units."""
        standard = Standard.of(edges)
        x = standard.transform(edges)
        coefficients, intercepts = [], []
        for target in targets:
            folds = folds_of(units, [target], np.random.default_rng(seed))
            if target.classes:
                found = LOGISTIC.fit(x, np.eye(len(target.classes))[target.values.astype(np.intp)], folds)
            else:
                found = RIDGE.fit(x, target.values, folds)
            # Of two levels the second is told from the first, which stays at 0.
            silent = ((0, 0), (1, 0)) if len(target.classes) == 2 else ((0, 0), (0, 0))
            coefficients.append(np.pad(found.coefficients.astype(np.float64), silent))
            intercepts.append(np.pad(found.intercepts, silent[1]))
        return cls(standard.mean, standard.deviation, tuple(coefficients), tuple(intercepts))

    def outputs(self, edges: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Of each target numbers (N, 1) in its unit, or scores of levels (N, K), of edges (N, E) on the modelling scale."""
        x = (edges - self.mean) / self.deviation
        return [x @ weights + constant for weights, constant in zip(self.coefficients, self.intercepts, strict=True)]


@dataclass(frozen=True, eq=False)
class Gate:
    """How much of each path is used for a target, from predictions of people whom the paths had not seen.

    Non-negative least squares for numbers (Breiman 1996, Mach. Learn. 24:49), least log loss for levels; 0 is a possible answer.

    Attributes
    ----------
    shares : (P,) of each path, 0 or more.
    constant : (1,) or (K,).
    """

    shares: NDArray[np.float64]
    constant: NDArray[np.float64]

    @classmethod
    def fit(cls, target: Target, paths: Sequence[NDArray[np.float64]]) -> Gate:
        """From outputs of each path, (N, 1) or (N, K), on people it had not seen."""
        stacked = np.stack(paths)
        if not target.classes:
            centres, centre = stacked.mean(1), target.values.mean()
            shares = nnls((stacked - centres[:, None])[:, :, 0].T, target.values - centre)[0]
            return cls(shares, np.array([centre - shares @ centres[:, 0]]))
        codes = target.values.astype(np.intp)
        n_paths, n_levels = len(paths), len(target.classes)

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            said = log_softmax(np.tensordot(parameters[:n_paths], stacked, 1) + parameters[n_paths:], axis=1)
            slope = np.exp(said) - np.eye(n_levels)[codes]
            slopes = np.r_[(stacked * slope).sum((1, 2)), slope.sum(0)] / len(codes)
            return -float(said[np.arange(len(codes)), codes].mean()), slopes

        start = np.r_[np.full(n_paths, 1 / n_paths), np.zeros(n_levels)]
        bounds = [(0, None)] * n_paths + [(None, None)] * n_levels
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        return cls(found[:n_paths], found[n_paths:] - found[n_paths:].mean())

    def outputs(self, paths: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The paths together, (N, 1) in the target's unit or (N, K) scores of levels."""
        together: NDArray[np.float64] = np.tensordot(self.shares, np.stack(paths), 1) + self.constant
        return together

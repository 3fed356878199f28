"""The simple answer that every graph network contains: linear models of connectomes, and how much of each path is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import entr, log_softmax

from connectome_gnn.evaluation.learners import LinearLearner, Standard, inner_folds
from connectome_gnn.evaluation.linear_paths import Folds
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.matrix_logarithm import log_euclidean

__all__ = ["VIEWS", "Gate", "LinearPath", "as_read", "best_view", "columns_of", "folds_of", "views_of"]

VIEWS = ("edges", "direction", "log-euclidean")
"""What a linear path reads of a person: standardised edges; those at unit length, blind to how far a person is from the mean; the matrix
logarithm of their correlations. As kernels: linear, cosine and Riemannian."""

RIDGE, LOGISTIC = LinearLearner("ridge", "l2", False), LinearLearner("l2 logistic", "l2", True)


def folds_of(units: NDArray[np.intp], targets: Sequence[Target], generator: np.random.Generator) -> Folds:
    """Up to 5 folds of rows to learn from and rows to be predicted; units stay whole, levels of a single target are shared out."""
    strata = targets[0].values if len(targets) == 1 and targets[0].classes else None
    rows = np.arange(len(units))
    return inner_folds(np.stack([rows, rows], 1), np.ones(len(rows), bool), units, strata, generator)


def views_of(signed: bool) -> tuple[str, ...]:
    """The :data:`VIEWS` that a path may take of weights: those of correlations, which are signed, or of others."""
    return ("edges", "log-euclidean") if signed else ("edges", "direction")


def columns_of(edges: NDArray[np.float32], view: str) -> NDArray[np.float32]:
    """What a view stands on, (N, F), of people's edges (N, E) on the modelling scale."""
    return log_euclidean(edges) if view == "log-euclidean" else edges


@dataclass(frozen=True, eq=False)
class LinearPath:
    """Ridge regression of numbers and logistic regression of levels, on columns standardised on training people.

    Attributes
    ----------
    view : of :data:`VIEWS`.
    mean, deviation : (F,) of training people's columns; infinite where nothing varies.
    coefficients : of each target, (F, 1) or (F, K).
    intercepts : of each target, (1,) or (K,).
    """

    view: str

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    coefficients: tuple[NDArray[np.float64], ...]
    intercepts: tuple[NDArray[np.float64], ...]

    @classmethod
    def fit(
        cls, columns: NDArray[np.float32], targets: Sequence[Target], units: NDArray[np.intp], seed: int, view: str = "edges"
    ) -> LinearPath:
        """Learn from training people's :func:`columns_of` (N, F); shrinkage is chosen on inner folds that honour units."""
        standard = Standard.of(columns)
        x = as_read(columns, standard.mean, standard.deviation, view)
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
        return cls(view, standard.mean, standard.deviation, tuple(coefficients), tuple(intercepts))

    @classmethod
    def silent(cls, columns: NDArray[np.float32], view: str, like: LinearPath) -> LinearPath:
        """A path of another view, with the targets of one that is fitted, that says 0 of everybody."""
        standard = Standard.of(columns)
        nothing = tuple(np.zeros((columns.shape[1], len(one))) for one in like.intercepts)
        return cls(view, standard.mean, standard.deviation, nothing, tuple(np.zeros(len(one)) for one in like.intercepts))

    def outputs(self, columns: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Of each target numbers (N, 1) in its unit, or scores of levels (N, K), of people's :func:`columns_of` (N, F)."""
        x = as_read(columns, self.mean, self.deviation, self.view)
        return [x @ weights + constant for weights, constant in zip(self.coefficients, self.intercepts, strict=True)]


def as_read(columns: NDArray[np.float32], mean: NDArray[np.float32], deviation: NDArray[np.float32], view: str) -> NDArray[np.float32]:
    """What coefficients are multiplied with, (N, F): columns standardised, and at unit length where only their direction counts."""
    x = (columns - mean) / deviation
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) if view == "direction" else x


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

    def loss(self, target: Target, paths: Sequence[NDArray[np.float64]]) -> float:
        """Mean loss of the paths together, as a share of what saying the same of everybody loses: squared error, or log loss of levels."""
        said = self.outputs(paths)
        if not target.classes:
            return float(((target.values - said[:, 0]) ** 2).mean() / target.values.var())
        codes = target.values.astype(np.intp)
        shares = np.bincount(codes, minlength=len(target.classes)) / len(codes)
        lost: NDArray[np.float64] = -log_softmax(said, axis=1)[np.arange(len(codes)), codes]
        return float(lost.mean() / entr(shares).sum())

    def outputs(self, paths: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The paths together, (N, 1) in the target's unit or (N, K) scores of levels."""
        together: NDArray[np.float64] = np.tensordot(self.shares, np.stack(paths), 1) + self.constant
        return together


def best_view(targets: Sequence[Target], unseen: Mapping[str, Sequence[NDArray[np.float64]]]) -> str:
    """The view whose path, behind a gate, loses least over all targets, by outputs for people it had not seen; the first of equal ones.

    Parameters
    ----------
    targets : of N people.
    unseen : of each view, outputs of each target, (N, 1) or (N, K).
    """
    losses = {
        view: sum(Gate.fit(target, [one]).loss(target, [one]) for target, one in zip(targets, said, strict=True))
        for view, said in unseen.items()
    }
    return min(losses, key=losses.__getitem__)

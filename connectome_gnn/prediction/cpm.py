"""Connectome-based predictive modelling: edges that go with the target, summed, and a line through the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t as student

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.harmonisation.covariates import fit_covariates
from connectome_gnn.prediction.edge_predictor import EdgePredictor
from connectome_gnn.prediction.edge_rows import EdgeRows, folds_within
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.linear import against_others, one_column, prior_odds

__all__ = ["THRESHOLDS", "ConnectomePredictiveModelling"]

THRESHOLDS = (0.05, 0.01, 0.005, 0.001)
"""p values from which an edge belongs to a network; which of them, inner folds decide."""


class ConnectomePredictiveModelling(EdgePredictor):
    """Connectome-based predictive modelling (CPM).

    Edges, on the modelling scale, whose Pearson correlation with the target is positive, and those in which it is negative, at a p below
    the threshold, are the positive and the negative network. Each person's two sums over them go into a linear model of the target, or a
    logistic one of each class against the others.

    Parameters
    ----------
    threshold : p below which an edge belongs to a network; default the one of .05, .01, .005 and .001 that does best on inner folds.
    confounds : columns of the participants table held constant in the choice of edges (partial correlation).
    seed : of inner folds.

    Raises
    ------
    ConnectomeError
        If the threshold is not between 0 and 1.

    References
    ----------
    Shen et al. 2017, Nature Protocols 12:506.
    """

    name = "cpm"
    options = ("threshold", "confounds")

    def __init__(self, threshold: float | None = None, confounds: Sequence[str] = (), *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if threshold is not None and not 0 < threshold < 1:
            raise ConnectomeError(f"cpm takes edges whose p is below a threshold between 0 and 1, got {threshold}")
        self.threshold = threshold
        self.confounds = (confounds,) if isinstance(confounds, str) else tuple(confounds)

    @property
    def networks(self) -> NDArray[np.float64]:
        """(E, 2, T) edges of the positive and of the negative network, 1 and 0; T is 1 but for several classes."""
        return self.arrays["networks"].astype(np.float64)

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        held = rows.once(("held constant", self.confounds), lambda: self._held(cohort))
        y, classes = against_others(target) if target.classes else target.values[:, None], bool(target.classes)
        thresholds = np.array([self.threshold] if self.threshold is not None else THRESHOLDS)
        place = 0
        if len(thresholds) > 1:
            losses = np.zeros(len(thresholds))
            for number, (train, test) in enumerate(folds_within(rows.units, None, self.seed)):
                part = rows.once(("cpm", number, self.seed, self.confounds), partial(Correlations.of, rows.values, held, train))
                for column in y.T:
                    chosen = np.concatenate([part.networks(column[train], threshold) for threshold in thresholds], 1)
                    sums = (rows.values @ chosen).reshape(len(rows.values), -1, 2)
                    for which in range(len(thresholds)):
                        line = _line(sums[train, which], column[train], classes)
                        losses[which] += _loss(sums[test, which] @ line[1:] + line[0], column[test], classes)
            place = int(losses.argmin())
        everybody = rows.once(("cpm", self.confounds), partial(Correlations.of, rows.values, held, np.arange(len(rows.values))))
        networks = [everybody.networks(column, thresholds[place]) for column in y.T]
        lines = [_line(rows.values @ network, column, classes) for network, column in zip(networks, y.T, strict=True)]
        self.arrays = {"networks": np.stack(networks, 2), "lines": np.stack(lines, 1)}
        self.facts = {"threshold": float(thresholds[place]), "edges": [one.sum(0).astype(int).tolist() for one in networks]}

    def _held(self, cohort: Cohort) -> NDArray[np.float64]:
        """(n, 1 + C) what is held constant: the mean, and confounds."""
        ones = np.ones((len(cohort), 1))
        if not self.confounds:
            return ones
        return np.c_[ones, fit_covariates(cohort, self.confounds, "hold constant").encode(cohort.phenotypes).values]

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        lines = self.arrays["lines"]
        sums = np.einsum("ne,est->nst", values, self.arrays["networks"], optimize=True)
        answer = lines[0] + np.einsum("nst,st->nt", sums, lines[1:])
        return one_column(expit(answer)) if self.classes_ else answer[:, 0]


@dataclass(frozen=True, eq=False)
class Correlations:
    """Edges of some people with what is held constant taken out, ready to be correlated with any target.

    Attributes
    ----------
    edges : (n, E) of length 1 over people; 0 where an edge does not vary.
    basis : (n, C) orthonormal directions of what is held constant.
    """

    edges: NDArray[np.float32]
    basis: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float32], held: NDArray[np.float64], rows: NDArray[np.intp]) -> Correlations:
        """Of some rows of edges (N, E) and of what is held constant (N, C), a column of ones first."""
        basis, size, _ = np.linalg.svd(held[rows], full_matrices=False)
        basis = basis[:, size > 1e-10 * size[0]]
        part = values[rows]
        left = part - basis.astype(np.float32) @ (basis.T @ part).astype(np.float32)
        length = np.sqrt(np.einsum("ne,ne->e", left, left, dtype=np.float64))
        varies = length > 1e-5 * np.sqrt(len(rows)) * np.maximum(np.abs(part).max(0), 1e-5)
        return cls(left * np.where(varies, 1 / np.where(varies, length, 1), 0).astype(np.float32), basis)

    def r(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Partial correlation (E,) of each edge with a target (n,)."""
        left = y - self.basis @ (self.basis.T @ y)
        length = np.linalg.norm(left)
        if length <= 1e-12 * max(float(np.abs(y).max()), 1e-300):
            return np.zeros(self.edges.shape[1])
        r: NDArray[np.float64] = ((left / length).astype(np.float32) @ self.edges).astype(np.float64)
        return r

    def networks(self, y: NDArray[np.float64], threshold: float) -> NDArray[np.float32]:
        """(E, 2) which edges belong to the positive and to the negative network, 1 and 0: two-sided p of r below the threshold."""
        freedom = len(y) - 1 - self.basis.shape[1]
        if freedom < 1:
            return np.zeros((self.edges.shape[1], 2), np.float32)
        t = student.isf(threshold / 2, freedom)
        r, least = self.r(y), t / np.sqrt(freedom + t**2)
        return np.stack([r > least, r < -least], 1).astype(np.float32)


def _line(sums: NDArray, y: NDArray[np.float64], classes: bool) -> NDArray[np.float64]:
    """Intercept and slopes (3,) of the two sums (n, 2): least squares, the least slopes where a network is empty, or log odds."""
    mean, deviation = sums.mean(0, dtype=np.float64), sums.std(0, dtype=np.float64)
    used = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    z = np.where(used, (sums - mean) / np.where(used, deviation, 1), 0)
    if classes and np.ptp(y) == 0:
        return np.r_[prior_odds(y), 0, 0]
    if classes:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=100.0, solver="newton-cholesky").fit(z, y.astype(np.intp))
        slopes, start = model.coef_[0], float(model.intercept_[0])
    else:
        slopes, start = np.linalg.lstsq(z, y - y.mean(), rcond=1e-10)[0], float(y.mean())
    slopes = np.where(used, slopes / np.where(used, deviation, 1), 0)
    return np.r_[start - mean @ slopes, slopes]


def _loss(predicted: NDArray[np.float64], truth: NDArray[np.float64], classes: bool) -> float:
    return float((np.logaddexp(0, predicted) - truth * predicted if classes else (truth - predicted) ** 2).sum())

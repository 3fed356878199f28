"""Spread that depends on the profile: people of some ages or of one sex may differ more than others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.generation.features import AGE_SQUARED, ProfileFeatures

__all__ = ["Spread", "spread_columns"]

STEPS = 6
SURE = 2.0
WIDEST = 1.0
LEAST = 0.02
"""Spread that differs between training people by less than 2 % (standard deviation) is the same."""


@dataclass(frozen=True)
class Spread:
    """Logarithms of standard deviations, linear in a few features of the profile.

    A person's factor k is ``exp(a_k + features @ factors[:, k])`` times as wide as the training people's, and the own parts of their edges
    ``exp(b + features @ own)`` times; a_k and b make the variance of training people 1. No columns: the same for everybody.

    Parameters
    ----------
    columns : (H,) places of the features among those of :class:`~connectome_gnn.generation.features.ProfileFeatures`.
    own : (1 + H,) b and slopes of edges' own parts.
    factors : (1 + H, Q) a and slopes of each factor.
    """

    columns: NDArray[np.int64]
    own: NDArray[np.float64]
    factors: NDArray[np.float64]

    @classmethod
    def constant(cls, n_factors: int) -> Spread:
        """The same spread for everybody."""
        return cls(np.zeros(0, np.int64), np.zeros(1), np.zeros((1, n_factors)))

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float64],
        columns: NDArray[np.int64],
        factors: NDArray[np.float64],
        own: NDArray[np.float64],
        folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    ) -> Spread:
        """Learn how spread depends on the profile, where held-out people confirm it.

        Factors' scores are normal with a variance that is log-linear in the features (Harvey 1976, Econometrica 44:461): one slope for all
        factors, then one for each, shrunk to the common one by how much of the slopes' variance is noise. Own parts: least squares on the
        logarithm of each person's mean square. Each is used if it raises the log-likelihood of the people of other folds (for own parts:
        lowers the squared error) by more than twice its standard error over people, and makes a difference of 2 % or more.

        Parameters
        ----------
        features : (N, F) profile features, columns (H,) the ones to use.
        factors : (N, Q) people's scores on the factors, each as if they had taken no part in learning them.
        own : (N,) mean square of the rest of each person's scores.
        folds : training and held-out rows.
        """
        n, n_factors = factors.shape
        chosen = features[:, columns]
        if not len(columns) or n < 10 * (1 + len(columns)):
            return cls.constant(n_factors)
        design = np.concatenate([np.ones((n, 1)), chosen], 1)
        slopes, used = np.zeros((1 + len(columns), n_factors)), False
        if n_factors:
            squares = factors**2 / np.maximum((factors**2).mean(0), 1e-12)
            for solve in (_each, _shared):
                gain = np.zeros(n)
                for rows, held in folds:
                    fitted = design[held] @ solve(design[rows], squares[rows])
                    level = np.log(squares[rows].mean(0))
                    gain[held] = (_log_density(squares[held], fitted) - _log_density(squares[held], level)).sum(1)
                fitted = solve(design, squares) / 2
                if _sure(gain) and _matters(chosen @ fitted[1:]):
                    slopes, used = fitted, True
                    break
        logs = np.log(np.maximum(own, 1e-12))
        gain = np.zeros(n)
        for rows, held in folds:
            error = logs[held] - design[held] @ _least_squares(design[rows], logs[rows])
            gain[held] = (logs[held] - logs[rows].mean()) ** 2 - error**2
        of_own = np.zeros(1 + len(columns))
        fitted = _least_squares(design, logs) / 2
        if _sure(gain) and _matters(chosen @ fitted[1:]):
            of_own, used = fitted, True
        if not used:
            return cls.constant(n_factors)
        # Variance 1 over training people, whatever the slopes.
        of_own[0] = -np.log(np.mean(np.exp(2 * _bounded(chosen @ of_own[1:])))) / 2
        slopes[0] = -np.log(np.mean(np.exp(2 * _bounded(chosen @ slopes[1:])), 0)) / 2
        return cls(np.asarray(columns, np.int64), of_own, slopes)

    def of(self, features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Multiples of own parts (n,) and of factors (n, Q) for profile features (n, F); None where everybody has the same spread."""
        if not len(self.columns):
            return None
        chosen = features[:, self.columns]
        own = np.exp(self.own[0] + _bounded(chosen @ self.own[1:]))
        return own, np.exp(self.factors[0] + _bounded(chosen @ self.factors[1:]))


def spread_columns(features: ProfileFeatures) -> NDArray[np.int64]:
    """Places of the features that spread may depend on: age, its square, and sex, where the profile has them."""
    names = list(features.schema.columns)
    places = [names.index(name) for name in (features.age, features.sex) if name in names]
    places += [place for place, band in enumerate(features.bands) if band == AGE_SQUARED and place >= len(names)]
    return np.array([place for place in places if np.isfinite(features.scale[place])], np.int64)


def _bounded(logarithm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread is at most e times larger or smaller, also for profiles far from those of training people."""
    return np.clip(logarithm, -WIDEST, WIDEST)


def _shared(design: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + H, Q) log-variance coefficients, the slopes common to all factors."""
    slopes, _ = _scored(design, squares)
    return np.concatenate([slopes[:1], np.repeat(slopes[1:].mean(1, keepdims=True), squares.shape[1], 1)])


def _each(design: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + H, Q) log-variance coefficients, each factor's slopes shrunk to the common ones."""
    slopes, noise = _scored(design, squares)
    common = slopes[1:].mean(1, keepdims=True)
    found = ((slopes[1:] - common) ** 2).mean(1, keepdims=True)
    share = np.clip(1 - noise[1:].mean(1, keepdims=True) / np.maximum(found, 1e-12), 0, 1)
    return np.concatenate([slopes[:1], common + share * (slopes[1:] - common)])


def _scored(design: NDArray[np.float64], squares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-variance regression by Fisher scoring, (1 + H, Q), and the coefficients' sampling variance that the squares themselves show."""
    inverse = np.linalg.pinv(design.T @ design, hermitian=True)  # of three people four columns tell nothing for certain
    coefficients = np.zeros((design.shape[1], squares.shape[1]))
    coefficients[0] = np.log(np.maximum(squares.mean(0), 1e-12))
    for _ in range(STEPS):
        relative = squares * np.exp(-np.clip(design @ coefficients, -4, 4))
        coefficients += inverse @ (design.T @ (relative - 1))
    surprise = relative - 1
    noise = np.einsum("an,nq->aq", (inverse @ design.T) ** 2, surprise**2)
    return coefficients, noise


def _log_density(squares: NDArray[np.float64], logarithm: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.5 * (logarithm + squares * np.exp(-logarithm))


def _least_squares(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.pinv(design) @ target


def _matters(logarithm: NDArray[np.float64]) -> bool:
    """Whether logarithms of spread, (N,) or (N, Q), differ between people by more than rounding."""
    return bool(np.sqrt(np.mean(logarithm.var(0))) > LEAST)


def _sure(gain: NDArray[np.float64]) -> bool:
    """Whether a gain (N,) over people is above 0 by more than twice its standard error."""
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(gain.mean() > SURE * max(error, 1e-12))

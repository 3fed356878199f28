"""Intervals of shares and of areas under the ROC curve that hold near 0 and 1, and where people belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

__all__ = ["gaussian_draws", "share_draws", "unit_variance"]

TAIL = 0.05
"""Share of the draws of a share of 0 or 1 that are just that."""


def unit_variance(influence: NDArray[np.float64], units: NDArray[np.intp]) -> float:
    """Variance of a sum of people's parts, people who belong together counted as one: ``U / (U - 1) sum_u (S_u - mean S)^2``.

    Parameters
    ----------
    influence : (N,) each person's part of the score; of a mean, their value over N.
    units : (N,) unit of each person.

    References
    ----------
    Cameron & Miller 2015, J. Hum. Resour. 50:317 (clusters).
    """
    sums = np.bincount(_numbered(units), influence)
    return float(len(sums) / (len(sums) - 1) * ((sums - sums.mean()) ** 2).sum()) if len(sums) > 1 else float("nan")


def _numbered(units: NDArray[np.intp]) -> NDArray[np.intp]:
    """Units numbered from 0 without gaps."""
    return np.unique(units, return_inverse=True)[1]


def share_draws(value: float, variance: float, n: float, n_draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draws of a share, (1 + B,), the share itself first, whose percentiles are its interval; they stay between 0 and 1.

    Jeffreys' interval, Beta(s + 1/2, f + 1/2), with as many independent people as give the variance: ``n = value (1 - value) / variance``.

    Parameters
    ----------
    value : the share, in [0, 1].
    variance : its sampling variance.
    n : number of independent people, for a share of 0 or 1, whose estimated variance is 0.
    n_draws : number of draws B.
    generator : shuffles the draws.

    References
    ----------
    Brown, Cai & DasGupta 2001, Stat. Sci. 16:101 (Jeffreys' interval); Korn & Graubard 1998, Surv. Methodol. 24:193 (effective n).
    """
    spread = value * (1 - value)
    effective = spread / variance if variance > 0 and spread > 0 else n
    quantiles = (generator.permutation(n_draws) + 0.5) / max(n_draws, 1)
    draws = beta.ppf(quantiles, value * effective + 0.5, (1 - value) * effective + 0.5)
    if spread == 0:  # the interval of a share of 0 or 1 reaches it
        draws[np.abs(quantiles - value) <= TAIL] = value
    return np.append(value, draws)


def gaussian_draws(value: float, variance: float, n_draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draws of a score between 0 and 1 that is no share, (1 + B,), the score itself first."""
    quantiles = (generator.permutation(n_draws) + 0.5) / max(n_draws, 1)
    return np.append(value, np.clip(value + np.sqrt(variance) * norm.ppf(quantiles), 0, 1))

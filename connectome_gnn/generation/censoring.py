"""Latent scores of absent edges: somewhere below the threshold, and where, the person's other edges say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import log_ndtr, ndtr, ndtri

__all__ = ["draw_factors", "draw_within", "log_interval"]


def draw_within(mean: NDArray, spread: NDArray, low: NDArray, high: NDArray, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draws from normal distributions cut off outside ``low`` to ``high``, by inversion; all arrays of one shape.

    Mirrored where the interval lies above the mean, so that both tails keep their digits.
    """
    first, second = (low - mean) / spread, (high - mean) / spread
    mirrored = first + second > 0
    first, second = np.where(mirrored, -second, first), np.where(mirrored, -first, second)
    floor = ndtr(first)
    place = floor + generator.random(mean.shape) * (ndtr(second) - floor)
    drawn = np.clip(ndtri(np.maximum(place, 1e-300)), first, second)
    return mean + spread * np.where(mirrored, -drawn, drawn)


def draw_factors(
    away: NDArray[np.float32],
    loadings: NDArray[np.float32],
    noise: NDArray[np.float32],
    generator: np.random.Generator,
    own: NDArray[np.float64] | None = None,
    factors: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """People's factors, drawn given their latent scores' distance from the mean.

    Parameters
    ----------
    away : (n, E) latent scores less their mean.
    loadings : (Q, E) what a factor of 1 adds.
    noise : (E,) standard deviation of each edge's own part; edges with 0 tell nothing.
    own : (n,) by what a person's own parts are wider than that; default 1.
    factors : (n, Q) standard deviation of a person's factors; default 1.

    Returns
    -------
    drawn : (n, Q) from the normal distribution of the factors given ``away``.
    """
    precise = np.divide(loadings, noise**2, out=np.zeros_like(loadings), where=noise > 0)
    inner = precise.astype(np.float64) @ loadings.T.astype(np.float64)
    linear = (away @ precise.T).astype(np.float64)
    n, q = linear.shape
    own = np.ones(n) if own is None else own
    drawn = np.empty((n, q), np.float32)
    fresh = generator.standard_normal((n, q))
    shared = None
    for i in range(n):
        if shared is None or factors is not None or own[i] != 1:
            prior = np.ones(q) if factors is None else factors[i] ** -2.0
            shared = cho_factor(np.diag(prior) + inner / own[i] ** 2, lower=True)
        mean = cho_solve(shared, linear[i] / own[i] ** 2)
        drawn[i] = mean + solve_triangular(shared[0], fresh[i], lower=True, trans="T")
    return drawn


def log_interval(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """``log(Phi(high) - Phi(low))``, precise in both tails; arrays of one shape."""
    mirrored = low + high > 0
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    upper = log_ndtr(high)
    return upper + np.log1p(-np.exp(np.minimum(log_ndtr(low) - upper, -1e-300)))

"""Latent scores of absent edges: somewhere below the threshold, and where, the person's other edges say."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import log_ndtr

__all__ = ["draw_factors", "fill_absent", "log_interval", "mean_within"]

ROOT_HALF = math.sqrt(0.5)
ROOT_TAU = math.sqrt(2 * math.pi)
LEAST_MASS = 1e-300


def fill_absent(
    away: NDArray[np.float32],
    absent: NDArray[np.bool_],
    mean: NDArray[np.float32],
    shared: NDArray[np.float32] | None,
    spread: NDArray[np.float32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    generator: np.random.Generator,
) -> None:
    """Draw absent edges' scores from normal distributions cut off at the thresholds; in place.

    Parameters
    ----------
    away : (n, E) latent scores less their mean, of which those of absent edges are drawn.
    absent : (n, E) which these are.
    mean : (n, E) latent means.
    shared : (n, E) centre of the draws, beside the mean; default 0.
    spread : (1, E) or (n, E) standard deviation of the draws.
    low, high : (E,) latent scores between which an edge is absent.
    generator : of the draws.
    """
    uniform = generator.random(int(absent.sum()))
    if len(uniform):
        centre = np.zeros((1, away.shape[1]), np.float32) if shared is None else shared
        _fill(away, absent, mean, centre, np.asarray(spread, np.float32), low, high, uniform)


def mean_within(
    away: NDArray[np.float32],
    absent: NDArray[np.bool_],
    mean: NDArray[np.float32],
    spread: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Put absent edges' scores at their expectation, of standard deviations ``spread`` (E,) around the mean; as :func:`fill_absent`."""
    _expect(away, absent, mean, spread, low, high)


@njit(cache=True, nogil=True)
def _below(x: float) -> float:
    """Share of a standard normal distribution below x."""
    return 0.5 * math.erfc(-x * ROOT_HALF)


@njit(cache=True, nogil=True)
def _quantile(p: float) -> float:
    """Standard normal quantile to seven digits (Wichura 1988, Appl. Stat. 37:477, algorithm AS 241)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
        return q * top / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1)
    r = math.sqrt(-math.log(p if q < 0 else 1 - p))
    if r <= 5:
        r -= 1.6
        top = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
        x = top / ((0.12021132975 * r + 0.73700164250) * r + 1)
    else:
        r -= 5
        top = ((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150
        x = top / ((0.012258202635 * r + 0.24197894225) * r + 1)
    return -x if q < 0 else x


@njit(cache=True, nogil=True)
def _fill(
    away: NDArray,
    absent: NDArray[np.bool_],
    mean: NDArray,
    shared: NDArray,
    spread: NDArray,
    low: NDArray,
    high: NDArray,
    uniform: NDArray,
) -> None:
    done = 0
    for i in range(len(away)):
        of_shared, of_spread = min(i, len(shared) - 1), min(i, len(spread) - 1)
        for e in range(away.shape[1]):
            if absent[i, e]:
                centre, unit = np.float64(shared[of_shared, e]), np.float64(spread[of_spread, e])
                first = (low[e] - mean[i, e] - centre) / unit
                second = (high[e] - mean[i, e] - centre) / unit
                # Mirrored where the interval lies above the centre, so that both tails keep their digits.
                mirrored = first + second > 0
                if mirrored:
                    first, second = -second, -first
                floor = _below(first)
                place = floor + uniform[done] * (_below(second) - floor)
                drawn = min(max(_quantile(max(place, LEAST_MASS)), first), second)
                away[i, e] = centre + unit * (-drawn if mirrored else drawn)
                done += 1


@njit(cache=True, nogil=True)
def _expect(away: NDArray, absent: NDArray[np.bool_], mean: NDArray, spread: NDArray, low: NDArray, high: NDArray) -> None:
    for i in range(len(away)):
        for e in range(away.shape[1]):
            if absent[i, e]:
                first, second = (low[e] - mean[i, e]) / spread[e], (high[e] - mean[i, e]) / spread[e]
                mirrored = first + second > 0
                if mirrored:
                    first, second = -second, -first
                mass = _below(second) - _below(first)
                if mass > LEAST_MASS:
                    centre = (math.exp(-0.5 * first * first) - math.exp(-0.5 * second * second)) / (ROOT_TAU * mass)
                    centre = min(max(centre, first), second)
                else:
                    centre = second
                away[i, e] = spread[e] * (-centre if mirrored else centre)


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

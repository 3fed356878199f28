"""How likely a connectome is: the log density of the Gaussian copula, absent edges as censored latent scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.special import logsumexp

from connectome_gnn.generation.censoring import log_interval

if TYPE_CHECKING:
    from connectome_gnn.generation.residual import Multiples, ResidualModel

__all__ = ["edge_log_density", "log_density"]

STEPS = 50
CLOSE = 1e-6
HALVINGS, LEAST_GAIN = 30, 1e-4
DRAWS = 64
HALF_LOG_TAU = 0.5 * np.log(2 * np.pi)


def edge_log_density(
    model: ResidualModel, values: NDArray[np.float32], mean: NDArray[np.float32], multiples: Multiples = None
) -> NDArray[np.float64]:
    """Each edge's own log density given the profile, (n, E), in nats: a point mass at 0, else per unit of the modelling scale.

    Parameters
    ----------
    model : the distribution around the mean.
    values : (n, E) on the modelling scale.
    mean : (n, E) latent means.
    multiples : of spread.
    """
    scores, log_slope = model.marginals.scores(values)
    spread = np.broadcast_to(model.deviations(multiples), values.shape).astype(np.float64)
    varies = spread > 0
    spread = np.where(varies, spread, 1)
    density = -0.5 * ((scores - mean) / spread) ** 2 - np.log(spread) - HALF_LOG_TAU
    density = np.where(varies, density, 0) - log_slope
    absent = np.isnan(scores)
    people, edges = np.nonzero(absent)
    low, high = (model.marginals.thresholds[:, edges] - mean[people, edges]) / spread[people, edges]
    density[people, edges] = log_interval(low, high)
    return density


def log_density(
    model: ResidualModel, values: NDArray[np.float32], mean: NDArray[np.float32], multiples: Multiples = None
) -> NDArray[np.float64]:
    """Log density of whole connectomes given the profile, (n,), in nats.

    Given the Q factors all edges are independent: an edge that is there has a normal density of its latent score, times the derivative of
    the score in the value; an absent one has the probability of the interval of scores that are 0. Without absent edges the integral over
    factors is a Gaussian one (Woodbury's identity and the determinant lemma, nothing of size E x E) and exact. With them the integrand is
    log-concave, and with many edges to a factor close to Gaussian: Laplace's approximation around the factors' mode, found by Newton's
    method, is corrected by importance sampling, 64 antithetic draws from it, the same for everybody (Evans & Swartz 1995, Stat. Sci.
    10:254).

    Parameters
    ----------
    As for :func:`edge_log_density`.
    """
    scores, log_slope = model.marginals.scores(values)
    n, q = len(values), len(model.loadings)
    noise = model.noise.astype(np.float64)
    varies = noise > 0
    scale = np.where(varies, noise, 1)
    unit = (model.loadings / scale).astype(np.float32)
    unit[:, ~varies] = 0
    everything = unit.astype(np.float64) @ unit.T.astype(np.float64)
    own = np.ones(n) if multiples is None else multiples[0]
    wide = np.ones((n, q)) if multiples is None else multiples[1]
    absent = np.isnan(scores) & varies
    away = np.where(absent | ~varies, 0, (scores - mean) / (scale * own[:, None])).astype(np.float32)
    pull = (away @ unit.T).astype(np.float64) / own[:, None]
    density = -log_slope.sum(1, dtype=np.float64) - 0.5 * np.einsum("ne,ne->n", away, away, dtype=np.float64)
    present = (varies & ~absent).sum(1)
    density -= present * (HALF_LOG_TAU + np.log(own)) + np.where(absent, 0, np.log(scale)).sum(1)
    people, edges = np.nonzero(np.isnan(scores) & ~varies)  # absent, where everybody has the edge alike
    np.add.at(density, people, log_interval(*model.marginals.thresholds[:, edges].astype(np.float64)))
    for i in range(n):
        edges = np.flatnonzero(absent[i])
        low, high = (model.marginals.thresholds[:, edges] - mean[i, edges]) / (scale[edges] * own[i])
        density[i] += _over_factors(unit[:, edges].astype(np.float64) / own[i], everything / own[i] ** 2, pull[i], wide[i], low, high)
    return density


def _over_factors(
    unit: NDArray[np.float64],
    everything: NDArray[np.float64],
    pull: NDArray[np.float64],
    wide: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> float:
    """Logarithm of one person's integral over factors, less what does not depend on them.

    Parameters
    ----------
    unit : (Q, A) loadings of the A absent edges, in standard deviations of their own part.
    everything : (Q, Q) inner products of all edges' loadings, in the same units.
    pull : (Q,) what the edges that are there say.
    wide : (Q,) standard deviation of the factors.
    low, high : (A,) interval of absent edges' scores, in standard deviations of their own part.
    """
    known = np.diag(wide**-2.0) + everything - unit @ unit.T
    factors = cho_solve(cho_factor(known), pull)
    if not len(low):
        return float(0.5 * pull @ factors - np.log(np.diag(cholesky(known))).sum() - np.log(wide).sum())
    factors, value, root = _mode(factors, unit, known, pull, low, high)
    fresh = np.random.default_rng(0).standard_normal((DRAWS // 2, len(factors)))
    fresh = np.concatenate([fresh, -fresh])
    drawn = factors + solve_triangular(root, fresh.T).T
    shift = drawn @ unit
    there = drawn @ pull - 0.5 * np.einsum("sq,sq->s", drawn @ known, drawn) + log_interval(low - shift, high - shift).sum(1)
    correction = logsumexp(there - value + 0.5 * (fresh**2).sum(1)) - np.log(DRAWS)
    return float(value + correction - np.log(np.diag(root)).sum() - np.log(wide).sum())


def _mode(
    start: NDArray[np.float64],
    unit: NDArray[np.float64],
    known: NDArray[np.float64],
    pull: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Where the log-concave integrand is highest, its logarithm there, and the upper Cholesky factor (Q, Q) of its curvature.

    Newton's method; a step that gains less than a share of what the slope promises is halved. Arguments as for :func:`_over_factors`;
    ``known`` (Q, Q) is the curvature that the factors' own distribution and the edges that are there add.
    """

    def height(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        shift = factors @ unit
        first, second, inside = _interval(low - shift, high - shift)
        return float(pull @ factors - 0.5 * factors @ known @ factors + inside.sum()), pull - known @ factors - unit @ first, second

    factors = start
    value, slope, second = height(factors)
    for _ in range(STEPS):
        step = cho_solve(cho_factor(known + (unit * second) @ unit.T), slope)
        promised = slope @ step
        if promised < CLOSE:
            break
        for _ in range(HALVINGS):
            reached = height(factors + step)
            if reached[0] >= value + LEAST_GAIN * promised:
                break
            step, promised = step / 2, promised / 2
        else:
            break  # as high as rounding tells
        factors, (value, slope, second) = factors + step, reached
    return factors, value, cholesky(known + (unit * second) @ unit.T)


def _interval(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Of ``log(Phi(high) - Phi(low))``: mean of the score within, 1 - its variance, and the value itself."""
    inside = log_interval(low, high)
    at_low, at_high = (np.exp(-0.5 * x**2 - HALF_LOG_TAU - inside) for x in (low, high))
    mean = at_high - at_low
    second = high * at_high - low * at_low + mean**2
    return mean, np.clip(second, 0, 1), inside

"""The distribution around a private mean: each edge's own from its noisy mean, spread and presence, dependence from noisy factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import gamma

from connectome_gnn.edges import FISHER_CLIP
from connectome_gnn.generation.dependence import low_rank_draw
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.latent_means import LatentMeans
from connectome_gnn.generation.marginal_fit import marginals_from
from connectome_gnn.generation.normative import Baseline, log_distance
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.generation.spread import Spread

__all__ = ["private_residual"]

MOST_SHARED = 0.95
LEAST_PRESENT = 0.02
LEAST_SPREAD = 0.2
DRAWS = 400


def private_residual(space: EdgeSpace, loadings: NDArray[np.float64], explained: NDArray[np.float64], signed: bool) -> ResidualModel:
    """A copula whose marginals are parametric: present edges follow a gamma distribution, correlations a normal one.

    Parameters
    ----------
    space : released mean, spread and presence of edges.
    loadings : (Q, kept edges) factors, in standard deviations of an edge.
    explained : (kept edges,) variance that the mean explains, in variances of an edge.
    signed : whether edges are correlations.
    """
    n_edges = len(space.mean)
    mean_variance, factors = np.zeros(n_edges), np.zeros((len(loadings), n_edges))
    factors[:, space.kept] = loadings
    mean_variance[space.kept] = np.minimum(explained, MOST_SHARED)
    shared = (factors**2).sum(0)
    factors *= np.sqrt(np.minimum(1, np.maximum(MOST_SHARED - mean_variance, 0) / np.maximum(shared, 1e-12)))
    noise = np.sqrt(np.maximum(1 - mean_variance - (factors**2).sum(0), 0))
    present = np.clip(space.presence.astype(np.float64), 0, 1)
    mean, variance = space.mean.astype(np.float64), space.std.astype(np.float64) ** 2
    often = np.maximum(present, LEAST_PRESENT)
    level = mean / often
    spread = np.sqrt(np.maximum((variance + mean**2) / often - level**2, LEAST_SPREAD**2 * variance))
    if signed:
        limit = np.arctanh(FISHER_CLIP)
        negative = ndtr(-level / spread)
        below = np.where(present < 1, present * negative, 0)

        def quantile(sign: int, scores: NDArray[np.float64]) -> NDArray[np.float64]:
            """Magnitudes of one sign; where no edge is ever absent, values of both."""
            on_side = np.where(present < 1, negative if sign < 0 else 1 - negative, 1)[:, None]
            magnitude = sign * level[:, None] - spread[:, None] * ndtri(np.maximum(ndtr(-scores) * on_side, 1e-300))
            return np.clip(magnitude, -limit, limit)
    else:
        level = np.maximum(level, 1e-3)
        shape = np.clip((level / spread)[:, None] ** 2, 1e-2, 1e6)
        below = np.zeros(n_edges)

        def quantile(sign: int, scores: NDArray[np.float64]) -> NDArray[np.float64]:
            return gamma.ppf(ndtr(scores), shape, scale=level[:, None] / shape)

    marginals = marginals_from(below, 1 - present, quantile)
    residual = ResidualModel(
        marginals,
        LatentMeans.of(marginals, (factors**2).sum(0) + noise**2, space),
        factors.astype(np.float32),
        noise.astype(np.float32),
        Spread.constant(len(factors)),
    )
    return replace(residual, extremeness=_extremeness(residual))


def _extremeness(residual: ResidualModel) -> Baseline:
    """The distances of people as the model itself draws them."""
    generator = np.random.default_rng(0)
    away = low_rank_draw(DRAWS, residual.loadings, residual.noise, generator)
    spread = residual.deviations()
    logs = log_distance(residual, np.divide(away, spread, out=np.zeros_like(away), where=spread > 0))
    return Baseline.of(logs, np.zeros((DRAWS, 0)))

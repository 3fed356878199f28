"""The distribution around a private mean: each edge's own from its noisy mean, spread and presence, dependence from noisy factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import gamma

from connectome_gnn.edges import FISHER_CLIP
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.residual import GRID, REACH, ResidualModel

__all__ = ["private_residual"]

MOST_SHARED = 0.95
LEAST_PRESENT = 0.02
LEAST_SPREAD = 0.2


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
    scores = np.linspace(-REACH, REACH, GRID)
    if signed:
        limit = np.arctanh(FISHER_CLIP)
        quantiles = np.clip(level[:, None] + spread[:, None] * scores, -limit, limit)
        below = present * ndtr(-level / spread)
    else:
        level = np.maximum(level, 1e-3)
        shape = (level / spread)[:, None] ** 2
        quantiles = gamma.ppf(ndtr(scores), np.clip(shape, 1e-2, 1e6), scale=level[:, None] / np.clip(shape, 1e-2, 1e6))
        below = np.zeros(n_edges)
    arrays = (factors, noise, np.ones(n_edges), below, 1 - present, quantiles)
    return ResidualModel(*(array.astype(np.float32) for array in arrays))

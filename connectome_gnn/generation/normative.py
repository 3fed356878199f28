"""Normative modelling: how a connectome deviates from what its person's profile leads to expect.

Where a value lies in the distribution that the profile predicts, as a standard normal score (Marquand, Rezek, Buitelaar & Beckmann 2016,
Biol. Psychiatry 80:552); then of each region and of the whole connectome, for which edges' correlations count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.special import ndtr

from connectome_gnn.edges import edge_indices
from connectome_gnn.generation.marginal_fit import GRID, smoother

if TYPE_CHECKING:
    from connectome_gnn.generation.residual import Multiples, ResidualModel

__all__ = ["Baseline", "Deviation", "edge_scores", "log_distance", "region_scores"]

EXTREME = 1.96
LEAST_RISE = 0.02
"""Least slope of a baseline's quantiles in the normal score, in standard deviations: nobody's score is without bounds."""
MOST_TOLD = 1.0


@dataclass(frozen=True, eq=False)
class Baseline:
    """How far people like the training people are from the connectomes that their profiles lead to expect.

    The distribution of :func:`log_distance` over training people, each measured by a model that they took no part in.

    Parameters
    ----------
    quantiles : (33,) what profiles do not tell of it, at the normal scores -3.2, -3.0, ..., 3.2; beyond them it goes on as steeply as it
        arrives there.
    slopes : (H,) what it rises by with each feature that spread depends on, as far as the model of spread misses it.
    """

    quantiles: NDArray[np.float64]
    slopes: NDArray[np.float64]

    @classmethod
    def of(cls, distances: NDArray[np.float64], features: NDArray[np.float64]) -> Baseline:
        """From distances (n,) and features (n, H) of training people.

        Sorted distances are smoothed over their normal scores by penalised second differences: with few people the quantiles tend to
        those of a normal distribution, with many they are the people's own.
        """
        n, spread = len(distances), max(float(distances.std()), 1e-6)
        design = np.column_stack([np.ones(n), features])
        told = (np.linalg.pinv(design) @ distances)[1:]
        left = np.sort(distances - _told(features, told))
        # A new person is away from what so many people tell of the rest, too, which is closer to them than it should be.
        wider = np.sqrt((n + design.shape[1]) / max(n - design.shape[1], 1))
        quantiles = smoother(n)[1] @ left
        rise = np.maximum(wider * np.diff(quantiles), LEAST_RISE * spread * (GRID[1] - GRID[0]))
        middle = len(GRID) // 2
        up = np.concatenate([[0], np.cumsum(rise)])
        return cls(quantiles[middle] + up - up[middle], told)

    @classmethod
    def normal(cls, mean: float = 0.0, spread: float = 1.0) -> Baseline:
        """Normal, whatever the profile."""
        return cls(mean + spread * GRID, np.zeros(0))

    def scores(self, distances: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normal scores (n,) of distances (n,) of people with features (n, H)."""
        left = distances - _told(features, self.slopes)
        step = GRID[1] - GRID[0]
        place = np.clip(np.searchsorted(self.quantiles, left) - 1, 0, len(GRID) - 2)
        rise = np.diff(self.quantiles)
        # The slope at either end is that of the last three steps.
        ends = np.array([(self.quantiles[3] - self.quantiles[0]) / 3, (self.quantiles[-1] - self.quantiles[-4]) / 3])
        inside = GRID[place] + step * (left - self.quantiles[place]) / rise[place]
        low = GRID[0] + step * (left - self.quantiles[0]) / ends[0]
        high = GRID[-1] + step * (left - self.quantiles[-1]) / ends[1]
        return np.where(left < self.quantiles[0], low, np.where(left > self.quantiles[-1], high, inside))


def _told(features: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What profiles tell of distances, (n,), bounded far from those of training people."""
    told: NDArray[np.float64] = np.clip(features @ slopes, -MOST_TOLD, MOST_TOLD)
    return told


@dataclass(frozen=True, eq=False)
class Deviation:
    """How people's connectomes deviate from what their profiles lead to expect; standard normal for people like the training people.

    Attributes
    ----------
    edges : (N, E) float32, normal score of each edge given the profile alone, positive where the edge is stronger than expected. An absent
        edge's score is drawn at random within the share of people who lack it, given the person's other edges (randomised quantile
        residuals, Dunn & Smyth 1996): it is not to be read alone. 0 where people do not differ.
    regions : (N, R) table indexed by participant_id, a column a region: sum of its edges' scores in units of that sum's standard deviation.
    people : (N, 4) table indexed by participant_id. ``extremeness``: normal score of the connectome's squared distance from the
        expected one (:func:`log_distance`) among those of training people, each measured as if held out (:class:`Baseline`); ``p``: share
        of people as far or farther away, below one in the number of training people an extrapolation; ``extreme_edges``: share of edges
        with a score beyond +-1.96 (2.5 % on either side are expected); ``mean_score``: mean of the edges' scores.
    """

    edges: NDArray[np.float32]
    regions: pd.DataFrame
    people: pd.DataFrame

    @classmethod
    def of(
        cls,
        model: ResidualModel,
        edges: NDArray[np.float32],
        regions: NDArray[np.float64],
        extremeness: NDArray[np.float64],
        ids: pd.Index,
        labels: list[str],
    ) -> Deviation:
        """Tables from edge scores (N, E), region scores (N, R) and people's scores (N,)."""
        varies = model.noise > 0
        people = {
            "extremeness": extremeness,
            "p": ndtr(-extremeness),
            "extreme_edges": (np.abs(edges[:, varies]) > EXTREME).mean(1),
            "mean_score": edges[:, varies].mean(1, dtype=np.float64),
        }
        return cls(edges, pd.DataFrame(regions, ids, labels), pd.DataFrame(people, ids))


def edge_scores(
    model: ResidualModel,
    values: NDArray[np.float32],
    mean: NDArray[np.float32],
    generator: np.random.Generator,
    multiples: Multiples = None,
) -> NDArray[np.float32]:
    """Normal scores (n, E) of values (n, E) given latent means (n, E); 0 where people do not differ."""
    away = model.impute(values, mean, generator, multiples)
    spread = model.deviations(multiples)
    return np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)


def region_scores(model: ResidualModel, edges: NDArray[np.float32], n_regions: int, multiples: Multiples = None) -> NDArray[np.float64]:
    """Sums (n, R) of edges' scores (n, E) over each region's edges, in units of their standard deviation under the model."""
    first, second = edge_indices(n_regions)
    n_edges = len(first)
    varies = (model.noise > 0).astype(np.float64)
    column = np.arange(n_edges)
    ends = csr_array((np.tile(varies, 2), (np.concatenate([first, second]), np.tile(column, 2))), shape=(n_regions, n_edges))
    sums = (ends @ edges.T.astype(np.float64)).T
    if multiples is None:
        return _divided(sums, _variance(model, ends, model.deviations()[0]))
    scores = np.empty_like(sums)
    for i in range(len(edges)):
        alone = (multiples[0][[i]], multiples[1][[i]])
        scores[i] = _divided(sums[i], _variance(model, ends, model.deviations(alone)[0], *(multiple[0] for multiple in alone)))
    return scores


def _variance(
    model: ResidualModel, ends: csr_array, spread: NDArray[np.float32], own: float = 1.0, factors: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """Variance of the sum of each region's edge scores, (R,), edges of standard deviations ``spread`` (E,)."""
    unit = np.where(spread > 0, spread, np.inf).astype(np.float64)
    shared = (ends @ (model.loadings / unit).T) * factors
    return (shared**2).sum(1) + ends @ (own * model.noise / unit) ** 2


def _divided(sums: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(variance > 0, sums / np.sqrt(np.where(variance > 0, variance, 1)), 0)


def log_distance(model: ResidualModel, edges: NDArray[np.float32], multiples: Multiples = None) -> NDArray[np.float64]:
    """Logarithm of the squared distance (n,) of edge scores (n, E) from 0: Mahalanobis', under the person's own covariance.

    By Woodbury's identity: the squared length in units of edges' own parts, less what the factors account for.
    """
    varies = model.noise > 0
    noise = model.noise[varies]
    own = np.ones(len(edges)) if multiples is None else multiples[0]
    scaled = edges[:, varies] * (model.deviations(multiples)[:, varies] / (noise * own[:, None].astype(np.float32)))
    unit = model.loadings[:, varies] / noise
    inner = unit.astype(np.float64) @ unit.T.astype(np.float64)
    along = (scaled @ unit.T).astype(np.float64)
    squared = np.einsum("ne,ne->n", scaled, scaled, dtype=np.float64)
    if multiples is None:
        squared -= np.einsum("nq,qn->n", along, cho_solve(cho_factor(np.eye(len(unit)) + inner), along.T))
    else:
        for i, pull in enumerate(along):
            squared[i] -= pull @ cho_solve(cho_factor(np.diag((own[i] / multiples[1][i]) ** 2) + inner), pull)
    return np.log(np.maximum(squared, 1e-12))

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
from scipy.sparse import csr_array
from scipy.special import ndtr

from connectome_gnn.edges import edge_indices

if TYPE_CHECKING:
    from connectome_gnn.generation.residual import Multiples, ResidualModel

__all__ = ["Deviation", "edge_scores", "log_distance", "region_scores"]

EXTREME = 1.96


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
        expected one (:func:`log_distance`) among those of training people, each measured as if held out; ``p``: share of people as far or
        farther away; ``extreme_edges``: share of edges with a score beyond +-1.96 (2.5 % on either side are expected);
        ``mean_score``: mean of the edges' scores.
    """

    edges: NDArray[np.float32]
    regions: pd.DataFrame
    people: pd.DataFrame

    @classmethod
    def of(
        cls, model: ResidualModel, edges: NDArray[np.float32], regions: NDArray[np.float64], ids: pd.Index, labels: list[str]
    ) -> Deviation:
        """Tables from edge scores (N, E) and region scores (N, R)."""
        varies = model.noise > 0
        extremeness = (log_distance(model, edges) - model.extremeness[0]) / model.extremeness[1]
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


def log_distance(model: ResidualModel, edges: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logarithm of the squared distance (n,) of edge scores (n, E) from 0.

    Mahalanobis' distance: edges in units of their own parts, each factor's direction in units of its standard deviation.
    """
    varies = model.noise > 0
    scaled = edges[:, varies] * (model.deviations()[0] / np.where(varies, model.noise, 1))[varies]
    directions = model.loadings[:, varies] / model.noise[varies]
    strength = (directions.astype(np.float64) ** 2).sum(1)
    directions /= np.sqrt(np.maximum(strength, 1e-12))[:, None].astype(np.float32)
    along = (scaled @ directions.T).astype(np.float64)
    return distance_of(strength, along, np.einsum("ne,ne->n", scaled, scaled, dtype=np.float64))


def distance_of(strength: NDArray[np.float64], along: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`log_distance` from scores ``along`` (n, Q) the factors' directions, of ``strength`` (Q,), and squared lengths (n,)."""
    inside = (along**2).sum(1)
    return np.log(np.maximum((along**2 / (1 + np.maximum(strength, 0))).sum(1) + np.maximum(size - inside, 0), 1e-12))

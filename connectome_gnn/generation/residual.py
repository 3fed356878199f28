"""What a profile does not tell: correlated differences between people, exact zeros and each edge's own distribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import ndtr, ndtri

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.edge_space import EdgeSpace

__all__ = ["ResidualModel"]

MAX_FACTORS = 300
MARGINAL_PEOPLE = 2000
GRID = 41
REACH = 3.2
CHUNK = 20_000_000


@dataclass(frozen=True)
class ResidualModel:
    """A Gaussian copula with low-rank dependence around the conditional mean.

    A person's latent edges are the mean's deviation plus correlated factors plus noise of each edge's own, in units in which
    every edge has variance 1. The latent value's place in the normal distribution picks the value at the same place in the
    edge's distribution among training people, zeros included: absent edges are exactly 0 as often as in real people, and no
    value leaves the weight's support.

    Parameters
    ----------
    loadings : (Q, E) factors of the residual, in standard deviations of an edge.
    noise : (E,) standard deviation of each edge's own part.
    total : (E,) standard deviation of the latent edge over people, which normalises it.
    below, zeros : (E,) share of training people whose edge is negative, and exactly 0.
    quantiles : (E, G) an edge's values other than 0, on the modelling scale, at the normal scores from -3.2 to 3.2.
    """

    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    total: NDArray[np.float32]
    below: NDArray[np.float32]
    zeros: NDArray[np.float32]
    quantiles: NDArray[np.float32]

    @classmethod
    def fit(
        cls, space: EdgeSpace, cohort: Cohort, residual: NDArray[np.float64], explained: NDArray[np.float64], *, seed: int = 0
    ) -> ResidualModel:
        """Learn the distribution around the mean from training people.

        Parameters
        ----------
        residual : (n, K) what the mean leaves of each person's components, cross-fitted.
        explained : (kept edges,) variance over training people of the mean's deviation, in variances of an edge.
        seed : of the draw of people for the quantiles, where there are more than 2,000.
        """
        centred = residual - residual.mean(0)
        values, vectors = eigh(centred.T @ centred / len(centred))
        factors = np.flatnonzero(values > 1e-6 * values[-1])[::-1][:MAX_FACTORS]
        # Regressing every edge, rare ones too, on whitened factors gives its loadings.
        whitened = (centred @ vectors[:, factors] / np.sqrt(values[factors])).astype(np.float32)
        loadings = np.zeros((len(factors), cohort.n_edges), np.float32)
        unit = np.where(space.std > 0, space.std, np.inf)
        for rows, edges in cohort.modelled():
            loadings += whitened[rows].T @ ((edges - space.mean) / unit)
        loadings /= cohort.n_people
        mean_variance = np.zeros(cohort.n_edges)
        mean_variance[space.kept] = explained
        shared = mean_variance + (loadings.astype(np.float64) ** 2).sum(0)
        noise = np.where(space.std > 0, np.sqrt(np.maximum(1 - shared, 0)), 0)
        total = np.sqrt(shared + noise**2)
        below, zeros, quantiles = _marginals(cohort, seed)
        as32 = [array.astype(np.float32) for array in (noise, np.where(total > 0, total, 1), below, zeros, quantiles)]
        return cls(loadings, *as32)

    def draw(self, deviation: NDArray[np.float32], kept: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of new people around deviations (n, kept edges) in standard deviations."""
        n = len(deviation)
        latent = generator.standard_normal((n, len(self.noise)), dtype=np.float32) * self.noise
        latent += generator.standard_normal((n, len(self.loadings)), dtype=np.float32) @ self.loadings
        latent[:, kept] += deviation
        latent /= self.total
        return self._values(latent)

    def _values(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        """The value at each latent edge's place in its distribution, (n, E)."""
        absent, negative = np.zeros(latent.shape, bool), np.zeros(latent.shape, bool)
        atoms = np.flatnonzero(self.zeros > 0)
        if len(atoms):
            place = ndtr(latent[:, atoms].astype(np.float64))
            below, zeros = self.below[atoms].astype(np.float64), self.zeros[atoms].astype(np.float64)
            absent[:, atoms] = (place >= below) & (place < below + zeros) | (zeros >= 1)
            negative[:, atoms] = place < below
            other = np.where(negative[:, atoms], place, place - zeros) / np.maximum(1 - zeros, 1e-12)
            latent[:, atoms] = ndtri(np.clip(other, 1e-12, 1 - 1e-12))
        position = (np.clip(latent, -REACH, REACH) + np.float32(REACH)) * np.float32((GRID - 1) / (2 * REACH))
        left = np.minimum(position.astype(np.intp), GRID - 2)
        position -= left
        left += np.arange(len(self.noise)) * GRID
        flat = self.quantiles.ravel()
        low = flat[left]
        left += 1
        high = flat[left]
        values = low + position * (high - low)
        if len(atoms) and self.below[atoms].any():  # nothing lies between negative and positive edges but absent ones
            gap = (low < 0) & (high > 0) & (self.zeros > 0)
            values[gap] = np.where(negative[gap], low[gap], high[gap])
        values[absent] = 0
        return values


def _marginals(cohort: Cohort, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Share of people below and at 0, (E,) each, and quantiles of the other values, (E, G), of every edge."""
    n = cohort.n_people
    below, zeros = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
    for _, values in cohort.modelled():
        below += (values < 0).sum(0)
        zeros += (values == 0).sum(0)
    people = np.arange(n)
    if n > MARGINAL_PEOPLE:
        people = np.sort(np.random.default_rng(seed).choice(n, MARGINAL_PEOPLE, replace=False))
    some = cohort.take(people)
    places = ndtr(np.linspace(-REACH, REACH, GRID))
    quantiles = np.zeros((cohort.n_edges, GRID), np.float32)
    for edges in _chunks(cohort.n_edges, max(CHUNK // len(people), 1)):
        values = np.concatenate([part[:, edges] for _, part in some.modelled()])
        values[values == 0] = np.inf  # sorted to the end, out of the way
        values.sort(axis=0)
        count = np.isfinite(values).sum(0)
        # Hazen's plotting positions (i - 1/2) / m of the m values other than 0.
        position = np.clip(places[:, None] * count - 0.5, 0, np.maximum(count - 1, 0))
        low = position.astype(np.intp)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        first, second = np.take_along_axis(values, low, 0), np.take_along_axis(values, high, 0)
        present = count > 0
        first, second = np.where(present, first, 0), np.where(present, second, 0)
        share = position - low
        share = np.where((first < 0) & (second > 0) & (zeros[edges] > 0), np.rint(share), share)  # nothing within the gap around absent
        quantiles[edges] = (first + share * (second - first)).T
    return below / n, zeros / n, quantiles


def _chunks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))

"""What is true of simulated people: their expected connectomes, new draws of them, and how much each phenotype moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import Scale, edge_indices
from connectome_gnn.simulated_effects import Effects, shapley
from connectome_gnn.slices import slices

__all__ = ["Truth", "World", "presence"]

BATCH = 256
ROUNDED = 24  # counts up to which rounding is part of an edge's variance
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True, eq=False)
class World:
    """What is true of everybody: the group's connectivity, what phenotypes do to it, and how people differ beyond.

    The value of an edge on the modelling scale is Gaussian, with mean ``baseline + scores @ maps``, and cut off at the floor.

    Attributes
    ----------
    atlas : the regions.
    effects : from phenotypes to scores.
    maps : (Q, E) float32, what one unit of each effect does to each edge, modelling scale.
    baseline, spread : (E,) float32 latent mean without any effect, and residual standard deviation.
    factors, own : (K, E) and (E,) float32 residual factors' loadings, and the standard deviation of what is left.
    floor : where weights are cut off on the modelling scale; None for correlations.
    whole : whether weights are whole numbers.
    """

    atlas: Atlas
    effects: Effects
    maps: NDArray[np.float32]
    baseline: NDArray[np.float32]
    spread: NDArray[np.float32]
    factors: NDArray[np.float32]
    own: NDArray[np.float32]
    floor: float | None
    whole: bool

    def expected(self, scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """Mean weight on the modelling scale given scores, (n, E): of a Gaussian cut off from below (Tobin 1958)."""
        scores = scores.astype(np.float32)
        values = np.empty((len(scores), len(self.baseline)), np.float32)
        for rows in batches(len(scores)):
            latent = scores[rows] @ self.maps
            latent += self.baseline
            values[rows] = latent if self.floor is None else _mean_above(latent, self.spread, np.float32(self.floor))
        return values

    def draw(self, scores: NDArray[np.floating], generator: np.random.Generator) -> NDArray[np.float32]:
        """New weights (n, E) of people with these scores."""
        scores = scores.astype(np.float32)
        weights = np.empty((len(scores), len(self.baseline)), np.float32)
        for rows in batches(len(scores)):
            latent = generator.standard_normal(weights[rows].shape, np.float32)
            latent *= self.own
            latent += generator.standard_normal((len(latent), len(self.factors)), np.float32) @ self.factors
            latent += scores[rows] @ self.maps
            latent += self.baseline
            weights[rows] = self._observe(latent, generator)
        return weights

    def _observe(self, latent: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """Weights from values on the modelling scale.

        A whole number is the one just below or just above, at random and such that its logarithm is right on average: rounding
        adds no bias, so :meth:`expected` holds exactly for counts too.
        """
        if self.floor is None:
            return Scale(signed=True).inverse(latent)
        np.maximum(latent, np.float32(self.floor), out=latent)
        weights = np.exp(latent)
        weights -= 1
        if self.whole:
            np.floor(weights, out=weights)
            below = np.log(weights + 1)
            latent -= below
            latent /= np.log1p(1 / (weights + 1))
            weights += generator.random(latent.shape, np.float32) < latent
            np.maximum(weights, np.float32(np.round(np.expm1(self.floor))), out=weights)
        return weights

    # --- in the population ---------------------------------------------------------------------------------------------

    @cached_property
    def _explained(self) -> NDArray[np.float64]:
        return _quadratic(self.effects.covariance, self.maps)

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Total latent standard deviation of each edge, and the variance of its weight (modelling scale), (E,) each."""
        total = np.sqrt(self.spread.astype(np.float64) ** 2 + self._explained)
        return total, total**2 if self.floor is None else _variance_above(self.baseline, total, self.floor, self.whole)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Edges that at least half of the people have, (E,); every edge where no edge is so common."""
        if self.floor is None:
            return np.ones(len(self.baseline), bool)
        common = presence(self.baseline, self._moments[0], self.floor, self.whole) >= 0.5
        return common if common.any() else np.ones(len(common), bool)

    @cached_property
    def ceiling(self) -> float:
        """R2 beyond the mean of the true conditional mean, in the population (scores taken as Gaussian)."""
        if self.floor is None:
            return float((self._explained / self._moments[1])[self.present].mean())
        shift = np.sqrt(self._explained) * NODES[:, None]
        means = _mean_above(self.baseline + shift, self.spread.astype(np.float64), self.floor)
        share = NODE_WEIGHTS / NODE_WEIGHTS.sum()
        variance = share @ means**2 - (share @ means) ** 2
        return float((variance / np.maximum(self._moments[1], 1e-12))[self.present].mean())

    @cached_property
    def unit(self) -> NDArray[np.float64]:
        """What a small latent change is worth in standard deviations of each edge's weight (modelling scale), (E,)."""
        total, variance = self._moments
        slope = 1.0 if self.floor is None else ndtr((self.baseline - self.floor) / total)
        return slope / np.sqrt(np.maximum(variance, 1e-12))

    @cached_property
    def products(self) -> NDArray[np.float64]:
        """Products (Q, Q) of effect maps in units of :attr:`unit`, averaged over the edges of :attr:`present`."""
        scaled = self.maps[:, self.present] * self.unit[self.present]
        return scaled @ scaled.T / self.present.sum()

    def effect_variance(self, phenotypes: Sequence[str]) -> NDArray[np.float64]:
        """How much each edge varies through some phenotypes, (E,), as a share of the edge's variance (modelling scale).

        It is the variance, over the population, of the change of the expected weight when these phenotypes go missing, that is, are
        set to the population mean; to first order in the effects.
        """
        return _quadratic(self.effects.moved(phenotypes), self.maps) * self.unit**2

    @cached_property
    def by_phenotype(self) -> pd.DataFrame:
        """Group of each phenotype, and the mean of :meth:`effect_variance` over the edges of :attr:`present`."""
        group = {p.name: p.group for p in self.effects.schema.phenotypes}
        variance = [float((self.effects.moved([name]) * self.products).sum()) for name in group]
        return pd.DataFrame({"group": list(group.values()), "variance": variance}, index=pd.Index(list(group), name="phenotype"))

    @cached_property
    def by_group(self) -> pd.DataFrame:
        """Per group: ``variance`` as in :attr:`by_phenotype`, ``shapley`` its exact Shapley value, ``share`` of their sum.

        The value of a coalition of groups is the R2 beyond the mean of the expected connectome with all other groups missing.
        """
        values = self.shapley()
        total = sum(values.values())
        rows = {
            group: {
                "variance": float((self.effects.moved(names) * self.products).sum()),
                "shapley": values[group],
                "share": values[group] / total if total > 0 else 0.0,
            }
            for group, names in self.effects.schema.groups.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")

    def shapley(self) -> dict[str, float]:
        """Exact Shapley value of each group of phenotypes, in R2 beyond the mean; see :attr:`by_group`."""
        values = {groups: float((matrix * self.products).sum()) for groups, matrix in self.effects.coalitions.items()}
        return shapley(list(self.effects.schema.groups), values.__getitem__)

    @cached_property
    def by_edge(self) -> pd.DataFrame:
        """:meth:`effect_variance` of each group and of ``all`` phenotypes, one row an edge."""
        columns = {group: self.effect_variance(names) for group, names in self.effects.schema.groups.items()}
        return pd.DataFrame({**columns, "all": self.effect_variance(self.effects.schema.names)})

    @cached_property
    def by_region(self) -> pd.DataFrame:
        """Mean of :attr:`by_edge` over those of a region's edges that are in :attr:`present`, indexed by region; 0 without any."""
        ends = np.concatenate(edge_indices(self.atlas.n_regions))
        counted = np.tile(self.present.astype(np.float64), 2)
        n_edges = np.maximum(np.bincount(ends, counted, self.atlas.n_regions), 1)
        sums = {
            name: np.bincount(ends, counted * np.tile(values, 2), self.atlas.n_regions) / n_edges for name, values in self.by_edge.items()
        }
        return pd.DataFrame(sums, index=pd.Index(self.atlas.labels, name="region"))


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of the people of a simulated cohort.

    A missing value counts as the population mean in nature too: connectomes depend on what the table shows. So ``expected`` is exactly
    the conditional mean given the table, and the ceiling is one that a model of the table can reach.

    Attributes
    ----------
    world : what is true of everybody.
    scores : (N, Q) float32, people's scores on the effects.
    error, total : (N,) squared distance of each person to their expected connectome and to the cohort's mean, summed over the edges
        present in at least half of the cohort, each in units of its standard deviation (modelling scale).
    """

    world: World
    scores: NDArray[np.float32]
    error: NDArray[np.float64]
    total: NDArray[np.float64]

    @classmethod
    def of(cls, world: World, scores: NDArray[np.float32], weights: NDArray[np.float32]) -> Truth:
        """The truth of people with these scores (N, Q) and weights (N, E)."""
        scale = Scale(world.floor is None)
        n_people, n_edges = weights.shape
        sums, squares, counts = (np.zeros(n_edges) for _ in range(3))
        for rows in batches(n_people):
            values = scale.forward(weights[rows])
            sums += values.sum(0, dtype=np.float64)
            squares += np.square(values, dtype=np.float64).sum(0)
            counts += np.count_nonzero(values, 0)
        mean = sums / n_people
        variance = np.maximum(squares / n_people - mean**2, 0)
        counted = (counts >= 0.5 * n_people) & (variance > 1e-12)
        precision = np.where(counted, 1 / np.where(counted, variance, 1), 0)
        error, total = np.empty(n_people), np.empty(n_people)
        for rows in batches(n_people):
            values = scale.forward(weights[rows])
            total[rows] = np.square(values - mean.astype(np.float32)) @ precision
            error[rows] = np.square(values - world.expected(scores[rows])) @ precision
        return cls(world, scores, error, total)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Truth({len(self)} people, {len(self.world.baseline)} edges, ceiling {self.ceiling:.4f})"

    @property
    def expected(self) -> NDArray[np.float32]:
        """Conditional mean weight of each person given their phenotypes, modelling scale, (N, E); computed anew at every call.

        For some people only: ``truth.take(rows).expected``.
        """
        return self.world.expected(self.scores)

    @property
    def ceiling(self) -> float:
        """R2 beyond the mean of the expected connectomes themselves: what no model passes but by luck.

        The mean and the edges' standard deviations are the whole cohort's, also after :meth:`take`.
        """
        total = float(self.total.sum())
        return 1 - float(self.error.sum()) / total if total > 0 else 0.0

    def take(self, rows: slice | ArrayLike) -> Truth:
        """The truth of some people (positions, a boolean mask or a slice), in that order."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        return replace(self, scores=self.scores[chosen], error=self.error[chosen], total=self.total[chosen])

    def mean(self, phenotypes: pd.DataFrame) -> NDArray[np.float32]:
        """Conditional mean weight for any table of phenotypes, modelling scale, (n, E); a missing value counts as the population mean.

        Raises
        ------
        ConnectomeError
            If the table is empty, lacks a phenotype of the cohort, or holds a level or text that the cohort does not know.
        """
        return self.world.expected(self.world.effects.scores(self.world.effects.encode(phenotypes)))

    def draw(self, seed: int = 0) -> NDArray[np.float32]:
        """New weights of the same people, (N, E): same phenotypes and expected connectomes, new residuals."""
        return self.world.draw(self.scores, np.random.default_rng(seed))

    def effect_variance(self, phenotypes: Sequence[str]) -> NDArray[np.float64]:
        """How much each edge varies through some phenotypes, (E,); see :meth:`World.effect_variance`."""
        return self.world.effect_variance(phenotypes)

    @property
    def by_phenotype(self) -> pd.DataFrame:
        """Effect variance of each phenotype; see :attr:`World.by_phenotype`."""
        return self.world.by_phenotype

    @property
    def by_group(self) -> pd.DataFrame:
        """Effect variance and Shapley value of each group; see :attr:`World.by_group`."""
        return self.world.by_group

    @property
    def by_region(self) -> pd.DataFrame:
        """Effect variance of each group in each region; see :attr:`World.by_region`."""
        return self.world.by_region

    @property
    def by_edge(self) -> pd.DataFrame:
        """Effect variance of each group on each edge; see :attr:`World.by_edge`."""
        return self.world.by_edge


def batches(n_people: int) -> Iterator[slice]:
    """Slices of rows, a few hundred people each."""
    return slices(n_people, BATCH)


def presence(mean: NDArray, spread: NDArray, floor: float, whole: bool) -> NDArray[np.float64]:
    """Share of people who have each edge, (E,), given the latent mean and standard deviation."""
    if floor > 0:
        return np.ones(len(mean))
    mean, spread = mean.astype(np.float64), spread.astype(np.float64)
    if not whole:
        return ndtr(mean / spread)
    # Between 0 and log 2 a count is 1 with probability latent / log 2.
    return (_mean_above(mean, spread, 0.0) - (_mean_above(mean, spread, np.log(2)) - np.log(2))) / np.log(2)


def _mean_above(mean: NDArray, spread: NDArray, floor: float | np.float32) -> NDArray:
    """Mean of max(x, floor) for Gaussian x (Tobin 1958)."""
    z = (mean - floor) / spread
    below = np.exp(-0.5 * z * z)
    below *= spread
    below *= np.float32(1 / np.sqrt(2 * np.pi))
    return floor + (mean - floor) * ndtr(z) + below


def _variance_above(mean: NDArray, spread: NDArray, floor: float, whole: bool) -> NDArray[np.float64]:
    """Variance of max(x, floor) for Gaussian x, with rounding to whole numbers at random where ``whole``, (E,)."""
    mean, spread = mean.astype(np.float64), spread.astype(np.float64)
    z = (mean - floor) / spread
    density, share = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi), ndtr(z)
    first, second = spread * (density + z * share), spread**2 * ((1 + z**2) * share + z * density)
    variance = second - first**2
    if whole:
        nodes, weights = np.polynomial.legendre.leggauss(4)
        edges = np.log(np.arange(round(np.exp(floor)), ROUNDED + 1))
        half = np.diff(edges) / 2
        for node, weight in zip(nodes, weights, strict=True):
            for middle, width in zip((edges[:-1] + edges[1:]) / 2, half, strict=True):
                value = middle + width * node
                rounding = (width**2) * (1 - node**2)  # (value - lower) (upper - value)
                variance += weight * width * rounding * np.exp(-0.5 * ((value - mean) / spread) ** 2) / spread / np.sqrt(2 * np.pi)
    return variance


def _quadratic(covariance: NDArray[np.float64], maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Variance of scores @ maps on each edge, (E,), given the covariance of scores."""
    return np.maximum(((covariance @ maps) * maps).sum(0), 0)

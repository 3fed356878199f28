"""What a profile does not tell: correlated differences between people, exact zeros and each edge's own distribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.censoring import draw_factors, draw_within
from connectome_gnn.generation.dependence import Factors, Folds, factors_of_components, factors_of_people, low_rank_draw
from connectome_gnn.generation.edge_space import EXACT_PEOPLE, EdgeSpace
from connectome_gnn.generation.marginal_fit import fit_marginals
from connectome_gnn.generation.marginals import Marginals
from connectome_gnn.generation.normative import distance_of
from connectome_gnn.generation.spread import Spread

__all__ = ["Multiples", "ResidualModel"]

BATCH = 256
FOLDS = 10
SWEEPS = 3
STEPS = 1
SWEEP_PEOPLE = 1000
MOST_EXPLAINED = 0.95
LEAST_STEADY = 0.2

Multiples = tuple[NDArray[np.float64], NDArray[np.float64]] | None
"""By what a person's own parts (n,) and factors (n, Q) are wider than the training people's; None: the same for everybody."""


@dataclass(frozen=True)
class ResidualModel:
    """A Gaussian copula with low-rank dependence around the conditional mean.

    A person's latent edges are normal: a mean that their profile tells, correlated factors, and each edge's own part; over the training
    people every edge has mean 0 and variance 1. The latent score's place in the normal distribution picks the value at the same
    place in the edge's distribution (:class:`~connectome_gnn.generation.marginals.Marginals`), zeros included: absent edges are exactly
    0 as often as in real people, and no value leaves the weight's support.

    Parameters
    ----------
    marginals : each edge's distribution over people.
    effect : (E,) latent mean of a deviation of one standard deviation of the edge; 0 for edges that are not modelled.
    loadings : (Q, E) factors of the residual, latent scores.
    noise : (E,) standard deviation of each edge's own part.
    spread : how factors and own parts widen with the profile.
    extremeness : (2,) mean and standard deviation of the logarithm of training people's distance
        (:func:`~connectome_gnn.generation.normative.squared_distance`), each as if held out.
    """

    marginals: Marginals
    effect: NDArray[np.float32]
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    spread: Spread
    extremeness: NDArray[np.float64] = field(default_factory=lambda: np.array([0.0, 1.0]))

    @classmethod
    def fit(
        cls,
        space: EdgeSpace,
        cohort: Cohort,
        residual: NDArray[np.float64],
        explained: NDArray[np.float64],
        *,
        seed: int = 0,
        scores: NDArray[np.float64] | None = None,
        features: NDArray[np.float64] | None = None,
        columns: NDArray[np.int64] | None = None,
    ) -> ResidualModel:
        """Learn the distribution around the mean from training people.

        Absent edges have latent scores too, which the other edges of a person tell something about: sweeps draw people's factors given
        their latent scores, the latent scores of absent edges given the factors, and learn the factors anew (stochastic EM, Celeux &
        Diebolt 1985). Up to 600 people factors and their strength come from the people's inner products, cross-validated; beyond, from the
        components of ``space``, batch by batch, and sweeps use 1,000 people.

        Parameters
        ----------
        residual : (n, K) what the mean leaves of each person's components, cross-fitted.
        explained : (kept edges,) variance over training people of the mean's deviation, in variances of an edge.
        seed : of the draws.
        scores : (n, K) people's components, computed where they are not given.
        features, columns : (n, F) profile features, and places of those that spread may depend on; default: none.
        """
        marginals = fit_marginals(cohort, seed)
        mean_components = (space.scores(cohort) if scores is None else scores) - residual
        generator = np.random.default_rng(seed)
        start, left = _independent(marginals, space, cohort, mean_components, explained, generator)
        folds = cohort.folds(min(FOLDS, len(np.unique(cohort.units()))), seed=seed)
        censored = bool(((marginals.zeros > 1e-6) & ~marginals.constant).any())
        learn = _learn_exactly if cohort.n_people <= EXACT_PEOPLE else _learn_in_batches
        model, found = learn(start, space, cohort, mean_components, left, folds, SWEEPS if censored else STEPS, generator)
        counted = max(int((left > 0).sum()), 1)
        used = len(model.loadings)
        rest = np.maximum(found.size - (found.scores[:, :used] ** 2).sum(1), 0) / max(counted - used, 1)
        spread = Spread.constant(used)
        if features is not None and columns is not None:
            spread = Spread.fit(features, columns, found.scores[:, :used], rest, folds)
        return replace(model, spread=spread, extremeness=_extremeness(model, found))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays by name, the inverse of :meth:`from_arrays`."""
        own = {name: getattr(self, name) for name in ("effect", "loadings", "noise", "extremeness")}
        marginals = {name: getattr(self.marginals, name) for name in ("below", "zeros", "quantiles", "floor")}
        spread = {f"spread_{name}": getattr(self.spread, name) for name in ("columns", "own", "factors")}
        return own | marginals | spread

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ResidualModel:
        """A model from :meth:`arrays`."""
        marginals = Marginals(*(arrays[name] for name in ("below", "zeros", "quantiles", "floor")))
        spread = Spread(*(arrays[f"spread_{name}"] for name in ("columns", "own", "factors")))
        return cls(marginals, arrays["effect"], arrays["loadings"], arrays["noise"], spread, arrays["extremeness"])

    # --- new people ----------------------------------------------------------------------------------------------------

    def mean(self, deviation: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Latent means (n, E) of deviations (n, kept edges) in standard deviations."""
        if kept.all():
            return deviation * self.effect
        mean = np.zeros((len(deviation), len(self.effect)), np.float32)
        mean[:, kept] = deviation * self.effect[kept]
        return mean

    def deviations(self, multiples: Multiples = None) -> NDArray[np.float32]:
        """Standard deviation of latent scores around their mean: (1, E), or (n, E) where spread depends on the person."""
        squared = self.loadings**2
        if multiples is None:
            return np.sqrt(squared.sum(0) + self.noise**2)[None]
        own, factors = (multiple.astype(np.float32) for multiple in multiples)
        return np.sqrt(factors**2 @ squared + own[:, None] ** 2 * self.noise**2)

    def draw(
        self, deviation: NDArray[np.float32], kept: NDArray[np.bool_], generator: np.random.Generator, multiples: Multiples = None
    ) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of new people around deviations (n, kept edges) in standard deviations."""
        latent = low_rank_draw(len(deviation), self.loadings, self.noise, generator, *(multiples or ()))
        latent += self.mean(deviation, kept)
        return self.marginals.values(latent)

    def values(
        self, scores: NDArray[np.float32], deviation: NDArray[np.float32], kept: NDArray[np.bool_], multiples: Multiples = None
    ) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of people with given residual scores (n, E) of unit variance, which are overwritten."""
        scores *= self.deviations(multiples)
        scores += self.mean(deviation, kept)
        return self.marginals.values(scores)

    # --- training people -----------------------------------------------------------------------------------------------

    def scores(
        self,
        space: EdgeSpace,
        cohort: Cohort,
        mean_components: NDArray[np.float64],
        *,
        multiples: Multiples = None,
        seed: int = 0,
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Training people's residual scores, unit variance, some people at a time; the inverse of :meth:`values`.

        Parameters
        ----------
        mean_components : (N, K) cross-fitted conditional mean of people's components.
        multiples : of the spread of these people.
        seed : of the draw of absent edges' scores, given the person's other edges.

        Yields
        ------
        rows, scores : a slice and (n, E) float32; 0 for edges that are the same in everybody.
        """
        generator = np.random.default_rng(seed)
        for rows, values in cohort.modelled(BATCH):
            some = None if multiples is None else (multiples[0][rows], multiples[1][rows])
            mean = self.mean(_deviation(mean_components[rows], space), space.kept)
            away = self.impute(values, mean, generator, some)
            spread = self.deviations(some)
            yield rows, np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)

    def impute(
        self,
        values: NDArray[np.float32],
        mean: NDArray[np.float32],
        generator: np.random.Generator,
        multiples: Multiples = None,
        rounds: int = 3,
    ) -> NDArray[np.float32]:
        """Latent scores less their mean (n, E) of observed values (n, E), absent edges drawn given the person's others (Gibbs sampling).

        Parameters
        ----------
        mean : (n, E) latent means.
        rounds : of drawing factors given scores and absent edges' scores given factors.
        """
        away, absent = self._known(values, mean, generator, multiples)
        if absent.any() and len(self.loadings):
            for _ in range(rounds):
                factors = draw_factors(away, self.loadings, self.noise, generator, *(multiples or ()))
                own = self.noise[None] if multiples is None else multiples[0][:, None] * self.noise
                self._redraw(away, absent, mean, factors, own, generator)
        return away

    def _known(
        self, values: NDArray[np.float32], mean: NDArray[np.float32], generator: np.random.Generator, multiples: Multiples
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores less their mean, those of absent edges drawn without a look at the others; and which edges are absent."""
        away = self.marginals.scores(values, slopes=False)[0]
        absent = np.isnan(away)
        away -= mean
        away[:, self.noise == 0] = 0
        absent &= self.noise > 0
        self._redraw(away, absent, mean, None, self.deviations(multiples), generator)
        return away, absent

    def _redraw(
        self,
        away: NDArray[np.float32],
        absent: NDArray[np.bool_],
        mean: NDArray[np.float32],
        factors: NDArray[np.float32] | None,
        spread: NDArray[np.floating],
        generator: np.random.Generator,
    ) -> None:
        """Draw absent edges' scores, of standard deviations ``spread`` (1 or n, E) around what factors (n, Q), if any, say; in place."""
        people, edges = np.nonzero(absent)
        if not len(people):
            return
        shared = np.zeros(len(people)) if factors is None else (factors @ self.loadings)[people, edges].astype(np.float64)
        centre = mean[people, edges].astype(np.float64)
        low, high = self.marginals.thresholds[:, edges]
        wide = np.broadcast_to(spread, away.shape)[people, edges].astype(np.float64)
        away[people, edges] = draw_within(shared, wide, low - centre, high - centre, generator)


def _independent(
    marginals: Marginals,
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    explained: NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[ResidualModel, NDArray[np.float64]]:
    """A model without factors, and the latent variance (E,) that the mean leaves on each edge.

    A mean that moves values by d standard deviations moves latent scores by d / :attr:`Marginals.steadiness`. Where people's cross-fitted
    scores are farther from it than that leaves room for, by twice the standard error, its effect is smaller.
    """
    variance = np.zeros(len(space.mean))
    variance[space.kept] = explained
    effect = np.where(space.kept, 1 / np.maximum(marginals.steadiness, LEAST_STEADY), 0)
    effect = np.minimum(effect, np.sqrt(MOST_EXPLAINED / np.maximum(variance, 1e-12)))
    left = np.where(marginals.constant, 0, 1 - effect**2 * variance)

    def model() -> ResidualModel:
        none = np.zeros((0, len(left)), np.float32)
        return ResidualModel(marginals, effect.astype(np.float32), none, np.sqrt(left).astype(np.float32), Spread.constant(0))

    some = np.arange(cohort.n_people)
    if len(some) > SWEEP_PEOPLE:
        some = np.sort(generator.choice(len(some), SWEEP_PEOPLE, replace=False))
    found = np.zeros(len(left))
    for rows, values in cohort.take(some).modelled(BATCH):
        mean = model().mean(_deviation(mean_components[some[rows]], space), space.kept)
        found += np.einsum("ne,ne->e", *[model().impute(values, mean, generator)] * 2, dtype=np.float64)
    found /= len(some)
    wrong = found * (1 - 2 * np.sqrt(2 / len(some))) > left
    total = np.sqrt(np.where(wrong & (left > 0), effect**2 * variance + found, 1))
    effect, left = effect / total, np.where(wrong, found, left) / total**2
    return model(), np.where(marginals.constant, 0, left)


def _deviation(components: NDArray[np.float64], space: EdgeSpace) -> NDArray[np.float32]:
    return components.astype(np.float32) @ space.basis


def _learn_exactly(
    model: ResidualModel,
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    left: NDArray[np.float64],
    folds: Folds,
    sweeps: int,
    generator: np.random.Generator,
) -> tuple[ResidualModel, Factors]:
    """Factors of few people, all in memory. Nobody's absent edges are drawn by factors that they took part in learning."""
    mean = model.mean(_deviation(mean_components, space), space.kept)
    values = np.concatenate([part for _, part in cohort.modelled(BATCH)])
    away, absent = model._known(values, mean, generator, None)
    del values
    found, without = factors_of_people(away / _units(model, left), _own(model, left), folds)
    for _ in range(sweeps):
        if absent.any():
            for fold, (_, held) in enumerate(folds):
                others = _with(model, replace(found, directions=without(fold)), left)
                some = away[held]
                factors = draw_factors(some, others.loadings, others.noise, generator)
                others._redraw(some, absent[held], mean[held], factors, others.noise[None], generator)
                away[held] = some
        model = _with(model, found, left)
        found, without = factors_of_people(away / _units(model, left), _own(model, left), folds)
    return _with(model, found, left), found


def _learn_in_batches(
    model: ResidualModel,
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    left: NDArray[np.float64],
    folds: Folds,
    sweeps: int,
    generator: np.random.Generator,
) -> tuple[ResidualModel, Factors]:
    """Factors of many people on the components of the edge space, batch by batch.

    Absent edges of one half of the people are drawn by factors that the other half taught.
    """
    n, n_edges = cohort.n_people, int((left > 0).sum())
    other_half = np.isin(np.arange(n), np.concatenate([held for _, held in folds[::2]]))
    models = [model, model]
    for sweep in range(sweeps + 1):
        people = np.arange(n)
        if sweep < sweeps and n > SWEEP_PEOPLE:
            people = np.sort(generator.choice(n, SWEEP_PEOPLE, replace=False))
        components, size = np.empty((len(people), space.n_components)), np.empty(len(people))
        patterns = np.zeros((2, space.n_components, cohort.n_edges), np.float32)
        half = other_half[people].astype(int)
        unit, own = _units(model, left), _own(model, left)
        for rows, values in cohort.take(people).modelled(BATCH):
            away = model.mean(_deviation(mean_components[people[rows]], space), space.kept)
            for side in (0, 1):
                chosen = half[rows] == side
                if chosen.any():
                    away[chosen] = models[1 - side].impute(values[chosen], away[chosen], generator, rounds=2)
            away /= unit
            there = (away if space.kept.all() else away[:, space.kept]) @ space.basis.T
            components[rows], size[rows] = there, np.einsum("ne,ne->n", away, away)
            for side in (0, 1):
                patterns[side] += there[half[rows] == side].T @ away[half[rows] == side]
        if sweep < sweeps:
            models = [
                _with(
                    model,
                    factors_of_components(components[half == s], patterns[s] / (half == s).sum(), size[half == s], own, n_edges),
                    left,
                )
                for s in (0, 1)
            ]
            patterns[0] += patterns[1]
            model = _with(model, factors_of_components(components, patterns[0] / len(people), size, own, n_edges), left)
    found = factors_of_components(components, (patterns[0] + patterns[1]) / n, size, own, n_edges)
    return _with(model, found, left), found


def _own(model: ResidualModel, left: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each edge's standard deviation that is its own, (E,); 1 where nothing varies."""
    return np.where(left > 0, model.noise / np.sqrt(np.where(left > 0, left, 1)), 1)


def _units(model: ResidualModel, left: NDArray[np.float64]) -> NDArray[np.float32]:
    """Standard deviation of each edge's own part, infinite where nothing varies, (E,)."""
    return np.where(left > 0, model.noise, np.inf).astype(np.float32)


def _extremeness(model: ResidualModel, found: Factors) -> NDArray[np.float64]:
    """Mean and standard deviation of the logarithm of training people's distances, a new person's uncertainty included."""
    used = len(model.loadings)
    logs = distance_of(found.variance[:used] - 1, found.scores[:, :used], found.size)
    return np.array([logs.mean(), max(logs.std(ddof=1), 1e-6) * np.sqrt(1 + 1 / len(logs))])


def _with(model: ResidualModel, found: Factors, left: NDArray[np.float64]) -> ResidualModel:
    loadings, noise = found.loadings(left)
    return ResidualModel(model.marginals, model.effect, loadings, noise, Spread.constant(len(loadings)))

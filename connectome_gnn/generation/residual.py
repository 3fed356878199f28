"""What a profile does not tell: correlated differences between people, exact zeros and each edge's own distribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.censoring import draw_factors, fill_absent
from connectome_gnn.generation.dependence import low_rank_draw
from connectome_gnn.generation.edge_space import EXACT_PEOPLE, EdgeSpace
from connectome_gnn.generation.factor_analysis import LatentPeople
from connectome_gnn.generation.factor_choice import factors_of_few, factors_of_many
from connectome_gnn.generation.latent_means import LatentMeans
from connectome_gnn.generation.marginal_fit import fit_marginals
from connectome_gnn.generation.marginals import Marginals
from connectome_gnn.generation.normative import Baseline, edge_scores, log_distance
from connectome_gnn.generation.spread import Spread
from connectome_gnn.slices import slices

__all__ = ["LeftOut", "Multiples", "ResidualModel", "extremeness_of"]

BATCH = 256
FOLDS = 10
SOME_PEOPLE = 1000
MOST_EXPLAINED = 0.95
ROUNDS = 3
TESTED, MOST_TESTED_FOLDS, MOST_TESTED = 1000, 4, 1000
"""About how many people are measured by factors learned without them, in how many folds at most, and how many of a fold."""

Multiples = tuple[NDArray[np.float64], NDArray[np.float64]] | None
"""By what a person's own parts (n,) and factors (n, Q) are wider than the training people's; None: the same for everybody."""

Without = Iterator[tuple[NDArray[np.intp], "ResidualModel"]]
"""Rows of some people, and the model as it would be had they not been there."""


@dataclass(frozen=True)
class LeftOut:
    """Some of the people, and factors as if they had not been there.

    Parameters
    ----------
    people : their rows.
    loadings, noise : (Q, E) and (E,), of a :class:`ResidualModel`.
    """

    people: NDArray[np.intp]
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]


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
    means : at which latent means values average to what is expected.
    loadings : (Q, E) factors of the residual, latent scores.
    noise : (E,) standard deviation of each edge's own part.
    spread : how factors and own parts widen with the profile.
    extremeness : how far training people are from what is expected, each as if held out.
    """

    marginals: Marginals
    means: LatentMeans
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    spread: Spread
    extremeness: Baseline = field(default_factory=Baseline.normal)

    @classmethod
    def fit(cls, space: EdgeSpace, cohort: Cohort, residual: NDArray[np.float64], **more: Any) -> ResidualModel:
        """The distribution around the mean, as :meth:`learn` finds it, alone."""
        return cls.learn(space, cohort, residual, **more)[0]

    @classmethod
    def learn(
        cls,
        space: EdgeSpace,
        cohort: Cohort,
        residual: NDArray[np.float64],
        *,
        seed: int = 0,
        scores: NDArray[np.float64] | None = None,
        features: NDArray[np.float64] | None = None,
        columns: NDArray[np.int64] | None = None,
        baseline: bool = True,
    ) -> tuple[ResidualModel, tuple[LeftOut, ...]]:
        """Learn the distribution around the mean from training people.

        Absent edges have latent scores too, which the other edges of a person tell something about: factors come from factor analysis of
        censored scores (:func:`~connectome_gnn.generation.factor_analysis.analyse`), batch by batch; up to 600 people, in whichever way
        held-out people are likelier (:func:`~connectome_gnn.generation.factor_choice.factors_of_few`).

        Parameters
        ----------
        residual : (n, K) what the mean leaves of each person's components, cross-fitted.
        seed : of the draws.
        scores : (n, K) people's components, computed where they are not given.
        features, columns : (n, F) profile features, and places of those that spread may depend on; default: none.
        baseline : whether to learn how far people are from what is expected, which takes fits of marginals without some of them.

        Returns
        -------
        model : how people differ around the mean.
        left_out : groups of people with factors as if they had not been there, for choices that held-out people have to make.
        """
        marginals = fit_marginals(cohort, seed)
        mean_components = (space.scores(cohort) if scores is None else scores) - residual
        generator = np.random.default_rng(seed)
        start, left = _independent(marginals, space, mean_components, generator)
        folds = cohort.folds(min(FOLDS, len(np.unique(cohort.units()))), seed=seed)
        people = LatentPeople(marginals, start.means, left, space, cohort, mean_components)
        few = cohort.n_people <= EXACT_PEOPLE
        if few:
            groups = [held for _, held in folds]
            learned = factors_of_few(people, folds, generator)
        else:
            tested = min(max(TESTED * len(folds) // cohort.n_people, 1), MOST_TESTED_FOLDS, len(folds) - 1)
            groups = [held for _, held in folds[:tested]]
            group = np.full(cohort.n_people, tested)
            for number, held in enumerate(groups):
                group[held] = number
            learned = factors_of_many(people, group, generator)
        used = len(learned.loadings)
        rest = np.maximum(learned.length - (learned.scores**2).sum(1), 0) / max(people.n_varying - used, 1)
        spread = Spread.constant(used)
        if features is not None and columns is not None:
            spread = Spread.fit(features, columns, learned.scores, rest, folds)
        model = replace(start, loadings=learned.loadings, noise=learned.noise, spread=spread)
        if not baseline:
            return model, ()
        left_out = tuple(LeftOut(group, *learned.without(number)) for number, group in enumerate(groups))
        without = _without(model, left_out, cohort)
        model = replace(model, extremeness=extremeness_of(model, without, space, cohort, mean_components, features, generator))
        return model, left_out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays by name, the inverse of :meth:`from_arrays`."""
        own = {"means": self.means.table, "loadings": self.loadings, "noise": self.noise}
        marginals = {name: getattr(self.marginals, name) for name in ("below", "zeros", "quantiles", "floor")}
        spread = {f"spread_{name}": getattr(self.spread, name) for name in ("columns", "own", "factors")}
        extremeness = {f"extremeness_{name}": getattr(self.extremeness, name) for name in ("quantiles", "slopes")}
        return own | marginals | spread | extremeness

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ResidualModel:
        """A model from :meth:`arrays`."""
        marginals = Marginals(*(arrays[name] for name in ("below", "zeros", "quantiles", "floor")))
        spread = Spread(*(arrays[f"spread_{name}"] for name in ("columns", "own", "factors")))
        extremeness = Baseline(*(arrays[f"extremeness_{name}"] for name in ("quantiles", "slopes")))
        return cls(marginals, LatentMeans(arrays["means"]), arrays["loadings"], arrays["noise"], spread, extremeness)

    def with_factors(self, loadings: NDArray[np.float32], noise: NDArray[np.float32]) -> ResidualModel:
        """This model with other factors, and own parts of edges, as wide in everybody."""
        return replace(self, loadings=loadings, noise=noise, spread=Spread.constant(len(loadings)))

    # --- new people ----------------------------------------------------------------------------------------------------

    def mean(self, deviation: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Latent means (n, E) of deviations (n, kept edges) in standard deviations."""
        return self.means.at(deviation, kept)

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
            mean = self.mean(space.deviation(mean_components[rows]), space.kept)
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
        shared = None if factors is None else factors @ self.loadings
        low, high = self.marginals.thresholds
        fill_absent(away, absent, mean, shared, np.asarray(spread, np.float32), low, high, generator)


def _independent(
    marginals: Marginals, space: EdgeSpace, mean_components: NDArray[np.float64], generator: np.random.Generator
) -> tuple[ResidualModel, NDArray[np.float64]]:
    """A model without factors, and the latent variance (E,) that the mean leaves on each edge: 1 less what people's means have."""
    some = mean_components
    if len(some) > SOME_PEOPLE:
        some = some[np.sort(generator.choice(len(some), SOME_PEOPLE, replace=False))]
    left = np.where(marginals.constant, 0, 1.0)
    for _ in range(ROUNDS):  # means depend on how far people are spread out around them, and the other way round
        means = LatentMeans.of(marginals, left, space)
        squares = np.zeros(len(left))
        for rows in slices(len(some), BATCH):
            squares += (means.at(space.deviation(some[rows]), space.kept).astype(np.float64) ** 2).sum(0)
        left = np.where(marginals.constant, 0, np.maximum(1 - squares / len(some), 1 - MOST_EXPLAINED))
    none = np.zeros((0, len(left)), np.float32)
    return ResidualModel(marginals, means, none, np.sqrt(left).astype(np.float32), Spread.constant(0)), left


def _without(model: ResidualModel, left_out: tuple[LeftOut, ...], cohort: Cohort) -> Without:
    """Some people, and the model as it would be without them."""
    # Marginals, most of the work, without two groups at a time; among many people a few make no difference to them.
    step = 2 if len(left_out) > 3 else 1
    for first in range(0, len(left_out), step):
        pair = left_out[first : first + step]
        marginals = model.marginals
        if cohort.n_people <= 2 * SOME_PEOPLE:
            marginals = fit_marginals(cohort.take(np.setdiff1d(np.arange(cohort.n_people), np.concatenate([some.people for some in pair]))))
        for some in pair:
            yield _some_of(some.people), replace(model.with_factors(some.loadings, some.noise), marginals=marginals)


def _some_of(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows evenly over all of them, in case people lie in the order of their sites."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_TESTED)).astype(np.intp)]


def extremeness_of(
    model: ResidualModel,
    without: Without,
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    features: NDArray[np.float64] | None,
    generator: np.random.Generator,
) -> Baseline:
    """Training people's distances, measured as new people's are, by models ``without`` them.

    These know fewer people than ``model``, and everybody is farther from them: by as much as people whom ``model`` draws are farther from
    them than from ``model`` itself.
    """
    distances, people = [], []
    for held, others in without:
        measured, farther = [], []
        for rows, values in cohort.take(held).modelled(BATCH):
            some = held[rows]
            multiples = None if features is None else model.spread.of(features[some])
            deviation = space.deviation(mean_components[some])
            measured.append(_distance(others, values, deviation, space, generator, multiples))
            drawn = model.draw(deviation, space.kept, generator, multiples)
            near, far = (_distance(measure, drawn, deviation, space, generator, multiples) for measure in (model, others))
            farther.append(far - near)
        distances.append(np.concatenate(measured) - np.concatenate(farther).mean())
        people.append(held)
    everybody, columns = np.concatenate(people), model.spread.columns
    chosen = np.zeros((len(everybody), 0)) if features is None else features[everybody][:, columns]
    return Baseline.of(np.concatenate(distances), chosen)


def _distance(
    model: ResidualModel,
    values: NDArray[np.float32],
    deviation: NDArray[np.float32],
    space: EdgeSpace,
    generator: np.random.Generator,
    multiples: Multiples,
) -> NDArray[np.float64]:
    """Logarithm of people's squared distance (n,), the last factors' multiples counting for those that multiples (n, Q) do not have."""
    if multiples is not None and len(model.loadings) != multiples[1].shape[1]:
        own, factors = multiples
        place = np.minimum(np.arange(len(model.loadings)), factors.shape[1] - 1)
        multiples = own, factors[:, place] if factors.shape[1] else np.ones((len(own), len(place)))
    mean = model.mean(deviation, space.kept)
    return log_distance(model, edge_scores(model, values, mean, generator, multiples), multiples)

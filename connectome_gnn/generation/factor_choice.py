"""Which factors few people have: factor analysis and what it leaves, or principal directions alone, as held-out people say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.generation.censoring import fill_absent
from connectome_gnn.generation.dependence import LEAST_OWN, Factors, factors_of_people
from connectome_gnn.generation.factor_analysis import FactorAnalysis, LatentPeople, analyse, orthogonal
from connectome_gnn.generation.likelihood import log_density
from connectome_gnn.generation.marginals import Marginals
from connectome_gnn.splits import Folds

__all__ = ["Dependence", "factors_of_few", "factors_of_many"]

PASSES_OF_FEW, PASSES_OF_MANY = 6, 4
LEAST_BEYOND = 0.2
"""Directions that stand out by less from what factor analysis leaves change nobody's likelihood."""
TEST_FOLDS, TEST_EDGES = 2, 2000
"""Ways to learn few people's factors are compared on the people of two folds, and on 2,000 edges."""

Loadings = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Loadings (Q, E) of factors, and standard deviations (E,) of own parts."""


@dataclass(frozen=True)
class Dependence:
    """How edges vary together.

    Parameters
    ----------
    loadings : (Q, E) of factors of variance 1.
    noise : (E,) standard deviation of each edge's own part.
    scores : (N, Q) people along the factors' directions in units of own parts, as spread out as new people are.
    length : (N,) squared length of people's scores in the same units.
    without : of a group's number, loadings and own parts as if its people had not been there.
    """

    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    scores: NDArray[np.float64]
    length: NDArray[np.float64]
    without: Callable[[int], Loadings]


@dataclass(frozen=True)
class _Known:
    """Marginals, loadings and own parts of some edges: what a density depends on."""

    marginals: Marginals
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]


def factors_of_many(people: LatentPeople, group: NDArray[np.intp], generator: np.random.Generator) -> Dependence:
    """Factors of many people by factor analysis; ``group`` (N,) numbers those who are to be left out together."""
    found = analyse(people, PASSES_OF_MANY, group, generator)
    return Dependence(found.loadings, found.noise, found.scores, found.length, lambda number: found.without(number, people.left))


def factors_of_few(people: LatentPeople, folds: Folds, generator: np.random.Generator) -> Dependence:
    """Factors of few people, learned in whichever of two ways makes held-out people likelier; groups to be left out are the folds.

    Factor analysis takes what stands out, edge by edge, and from what it leaves come further directions, as strong as cross-validation
    confirms. Or all directions are principal ones of the scores, absent edges drawn by the factor analysis: with few people and many
    strong directions factor analysis believes too much.
    """
    held = np.sort(np.concatenate([fold for _, fold in folds[:TEST_FOLDS]]))
    rest = np.setdiff1d(np.arange(people.n_people), held)
    place = np.full(people.n_people, -1)
    place[rest] = np.arange(len(rest))
    inner = [(np.setdiff1d(np.arange(len(rest)), place[fold]), place[fold]) for _, fold in folds[TEST_FOLDS:]]
    ways = (_analysed, _principal)
    if len(inner) < 2:
        return _learned(_analysed, people, folds, generator)
    others, tested = people.take(rest), people.take(held)
    analysis, scores = _imputed(others, inner, generator)
    models = [way(others, analysis, scores, inner) for way in ways]
    edges = np.flatnonzero(people.left > 0)
    if len(edges) > TEST_EDGES:
        edges = np.sort(generator.choice(edges, TEST_EDGES, replace=False))
    marginals = people.marginals
    some = Marginals(marginals.below[edges], marginals.zeros[edges], marginals.quantiles[edges], marginals.floor)
    likely = np.zeros(len(ways))
    for (_, _, _, mean), (_, values) in zip(tested.batches(), tested.cohort.modelled(), strict=True):
        for number, model in enumerate(models):
            known: Any = _Known(some, model.loadings[:, edges], model.noise[edges])  # all that the function asks of a distribution
            likely[number] += log_density(known, values[:, edges], mean[:, edges]).sum()
    return _learned(ways[int(likely.argmax())], people, folds, generator)


def _learned(
    way: Callable[[LatentPeople, FactorAnalysis, NDArray[np.float32], Folds], Dependence],
    people: LatentPeople,
    folds: Folds,
    generator: np.random.Generator,
) -> Dependence:
    analysis, scores = _imputed(people, folds, generator)
    return way(people, analysis, scores, folds)


def _imputed(people: LatentPeople, folds: Folds, generator: np.random.Generator) -> tuple[FactorAnalysis, NDArray[np.float32]]:
    """Factor analysis, and everybody's scores (N, E), absent edges drawn, in units of own parts."""
    group = np.zeros(people.n_people, np.intp)
    for number, (_, held) in enumerate(folds):
        group[held] = number
    found = analyse(people, PASSES_OF_FEW, group, generator)
    scores = np.empty((people.n_people, len(people.left)), np.float32)
    low, high = people.marginals.thresholds
    for rows, away, absent, mean in people.batches():
        fill_absent(away, absent, mean, found.factors[rows] @ found.loadings, found.noise[None], low, high, generator)
        scores[rows] = away
    scores /= np.where(found.noise > 0, found.noise, np.inf).astype(np.float32)
    return found, scores


def _principal(people: LatentPeople, analysis: FactorAnalysis, scores: NDArray[np.float32], folds: Folds) -> Dependence:
    """Principal directions of scores, as strong as cross-validation confirms."""
    found, directions_without = factors_of_people(scores, _own_share(people, analysis.noise), folds)
    loadings, noise = found.loadings(people.left)

    def without(fold: int) -> Loadings:
        return Factors(directions_without(fold), found.variance, found.scores, found.size, found.own).loadings(people.left)

    return Dependence(loadings, noise, found.scores[:, : len(loadings)], found.size, without)


def _analysed(people: LatentPeople, analysis: FactorAnalysis, scores: NDArray[np.float32], folds: Folds) -> Dependence:
    """Factors that the analysis found, and principal directions of what it leaves."""
    unit = np.where(analysis.noise > 0, analysis.noise, np.inf).astype(np.float32)
    directions = analysis.loadings / unit
    directions /= np.maximum(np.linalg.norm(directions, axis=1), 1e-12)[:, None]
    beyond = scores - (scores @ directions.T) @ directions
    found, directions_without = factors_of_people(beyond, _own_share(people, analysis.noise), folds)
    n_rest = max(people.n_varying - len(found.variance), 0)
    each = max(found.size.mean() - found.variance.sum(), 0) / max(n_rest, 1)
    usual = float(np.median(np.concatenate([found.variance, np.full(n_rest, each)])))
    strength = np.maximum(found.variance - usual, 0)
    used = int(np.minimum.accumulate(strength > LEAST_BEYOND * usual).sum())

    def together(main: Loadings, directions: NDArray[np.float32]) -> Loadings:
        own = np.where(np.isfinite(unit), unit, 0)
        return _within(np.concatenate([main[0], np.sqrt(strength[:used])[:, None] * directions[:used] * own]), people.left)

    loadings, noise = together((analysis.loadings, analysis.noise), found.directions)
    # As spread out as new people are, along the directions of all factors together.
    along = np.divide(loadings, noise, out=np.zeros_like(loadings), where=noise > 0)
    strengths = (along.astype(np.float64) ** 2).sum(1)
    scores = scores * np.divide(analysis.noise, noise, out=np.zeros_like(noise), where=noise > 0)
    length = np.einsum("ne,ne->n", scores, scores, dtype=np.float64)
    held = (scores @ along.T).astype(np.float64)
    held *= np.sqrt((1 + strengths) / np.maximum((held**2).mean(0), 1e-12))

    def without(fold: int) -> Loadings:
        return together(analysis.without(fold, people.left), directions_without(fold))

    return Dependence(loadings, noise, held, length, without)


def _own_share(people: LatentPeople, noise: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of each edge's standard deviation that is its own, (E,); 1 where nothing varies."""
    return np.where(people.left > 0, noise / np.sqrt(np.where(people.left > 0, people.left, 1)), 1)


def _within(loadings: NDArray[np.float32], left: NDArray[np.float64]) -> Loadings:
    """Loadings that leave every edge of variance ``left`` (E,) a part of its own, orthogonal in units of it; and these own parts."""
    wanted = (loadings.astype(np.float64) ** 2).sum(0)
    fitted = loadings * np.sqrt(np.minimum(1, (1 - LEAST_OWN) * left / np.maximum(wanted, 1e-12)))
    noise = np.sqrt(np.maximum(left - (fitted**2).sum(0), 0)).astype(np.float32)
    return orthogonal(fitted, noise), noise

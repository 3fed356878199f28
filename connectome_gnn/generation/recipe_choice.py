"""Choosing how new people are drawn, on training people who took no part in learning what they are drawn from.

For every way, factors are made as strong as training people look (:mod:`~connectome_gnn.generation.shared_variance`). Then factors are
learned without some of the training people, as many are drawn in every way, with the profiles of those who were left out, and a classifier
tries to tell the ones from the others. No way that is chosen from holds training people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.classifier import Features, component_features, nodal_features
from connectome_gnn.generation.counts import whole_counts
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.recombination import COPULA, EVERYTHING, PeopleSampler, Recipe
from connectome_gnn.generation.remainder_noise import SeriesNoise
from connectome_gnn.generation.residual import LeftOut, Multiples, ResidualModel
from connectome_gnn.generation.shared_variance import shared_variance

__all__ = ["RECOMBINED", "SAMPLERS", "Sampler", "check_sampler", "choose_recipe", "recipes"]

Sampler = Literal["auto", "copula", "recombined"]
SAMPLERS: tuple[Sampler, ...] = ("auto", "copula", "recombined")
RECOMBINED = Recipe(recombined=EVERYTHING, held_out=0.0)
MOST_MATCHED, MOST_JUDGED = 400, 300
TOLERANCE = 0.01
JUDGE_FOLDS = 3
LEAST_JUDGED = 80
"""Of fewer people a classifier tells too little for a choice."""


def check_sampler(sampler: object) -> None:
    """Raise a ConnectomeError unless this names a way to draw people, or is a recipe."""
    if not isinstance(sampler, Recipe) and not (isinstance(sampler, str) and sampler in SAMPLERS):
        raise ConnectomeError(f"sampler is one of {', '.join(map(repr, SAMPLERS))}, or a Recipe, got {sampler!r}")


def recipes(signed: bool) -> list[Recipe]:
    """Recipes to choose from, the simplest first; ``signed`` says whether weights are correlations."""
    if signed:
        return [COPULA, *(Recipe(factors=True, noise="series", points=points) for points in (200, 100, 60))]
    return [COPULA, *(Recipe(factors=True, own=own) for own in (0.4, 0.1))]


def choose_recipe(
    residual: ResidualModel,
    left_out: Sequence[LeftOut],
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    *,
    multiples: Multiples = None,
    whole: bool = False,
    seed: int = 0,
) -> tuple[Recipe, pd.DataFrame]:
    """The simplest recipe whose people are about as hard to tell from people left out as any.

    Parameters
    ----------
    residual, left_out : learned from the cohort, and without some of its people.
    space : of the edges.
    cohort : the training people.
    mean_components : (N, K) cross-fitted conditional mean of their components.
    multiples : of these people's spread.
    whole : whether weights are whole numbers.
    seed : of everything random.

    Returns
    -------
    recipe : the chosen one, factors as strong as people look; the copula's noise where fewer than 80 people were left out.
    choice : one row a recipe: its parts, ``components`` and ``topology`` (AUC of telling drawn people from people left out, .5 is perfect;
        NaN where there was no choice), and whether it was ``chosen``.
    """
    generator = np.random.default_rng(seed)

    def drawn(
        model: ResidualModel, recipe: Recipe, series: SeriesNoise | None, people: NDArray[np.intp], *of_draw: int, spread: Multiples = None
    ) -> NDArray[np.float32]:
        """As many new people with the same profiles, modelling scale; the same random numbers for every recipe, as far as these go."""
        draws = np.random.default_rng([seed, *of_draw])
        sampler = PeopleSampler.of_factors(model, recipe, space.mean, space.std, seed=seed, series=series)
        values = model.values(sampler.draw(len(people), draws), space.deviation(mean_components[people]), space.kept, spread)
        return np.log1p(whole_counts(values, draws)) if whole else values

    matched = np.sort(generator.permutation(cohort.n_people)[:MOST_MATCHED])
    theirs = None if multiples is None else (multiples[0][matched], multiples[1][matched])
    known = cohort.scale.forward(cohort.read(matched))
    found: list[tuple[Recipe, SeriesNoise | None]] = []
    for recipe in recipes(cohort.signed):
        # Noise of series is calibrated once: it hardly depends on who is left out, or on how strong factors are.
        noise = PeopleSampler.of_factors(residual, recipe, space.mean, space.std, seed=seed).noise
        series = noise if isinstance(noise, SeriesNoise) else None

        def of(multiple: float, recipe: Recipe = recipe, series: SeriesNoise | None = series) -> NDArray[np.float32]:
            return drawn(residual, replace(recipe, shared=multiple), series, matched, spread=theirs)

        found.append((replace(recipe, shared=shared_variance(known, of)), series))
    aucs, chosen = np.full((len(found), 2), np.nan), 0
    n_left_out = sum(len(some.people) for some in left_out)
    if n_left_out >= LEAST_JUDGED:
        share = min(1.0, MOST_JUDGED / n_left_out)
        groups = [np.sort(generator.permutation(some.people)[: max(round(share * len(some.people)), 1)]) for some in left_out]
        real = cohort.scale.forward(cohort.read(np.concatenate(groups)))
        fold, folds_seed = generator.permutation(len(real)) % JUDGE_FOLDS, int(generator.integers(2**31))
        for place, (recipe, series) in enumerate(found):
            parts = [real]
            for number, (people, some) in enumerate(zip(groups, left_out, strict=True)):
                parts.append(drawn(residual.with_factors(some.loadings, some.noise), recipe, series, people, number))
            both = np.concatenate(parts)
            features = component_features(both), _topology(both, cohort.signed)
            aucs[place] = [_auc(some, fold, folds_seed) for some in features]
        told = np.maximum(aucs, 0.5).mean(1)
        chosen = int(np.flatnonzero(told <= told.min() + TOLERANCE)[0])
    choice = pd.DataFrame([vars(recipe) for recipe, _ in found]).assign(components=aucs[:, 0], topology=aucs[:, 1])
    choice["chosen"] = np.arange(len(found)) == chosen
    return found[chosen][0], choice


def _topology(values: NDArray[np.floating], signed: bool) -> Features:
    """Quick measures of (n, E) connectomes, modelling scale: strengths, two-step strengths, triangles, and how many modes there are."""
    matrices = to_matrices(np.asarray(values if signed else np.maximum(values, 0), np.float32))
    squared = matrices @ matrices
    triangles = np.einsum("nij,nij->ni", squared, matrices)
    power = np.einsum("nii->n", squared)
    fourth = np.einsum("nij,nij->n", squared, squared)
    globals_ = np.stack([power, triangles.sum(1), power**2 / np.maximum(fourth, 1e-12), matrices.std((1, 2))], 1)
    nodal = [matrices.sum(2), np.abs(matrices).sum(2), np.cbrt(triangles), np.sqrt(np.einsum("nii->ni", squared))]
    return nodal_features(globals_.astype(np.float64), [measure.astype(np.float64) for measure in nodal])


def _auc(features: Features, fold: NDArray[np.intp], seed: int) -> float:
    """Cross-validated AUC of a quadratic logistic regression; the first half of the rows is real, the second drawn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    both, drawn = np.concatenate([fold, fold]), np.arange(2 * len(fold)) >= len(fold)
    scores = []
    for f in range(JUDGE_FOLDS):
        train, test = np.flatnonzero(both != f), np.flatnonzero(both == f)
        seen, unseen = features(train, test, np.random.default_rng(seed))
        centre = seen.mean(0)
        seen, unseen = (np.concatenate([part, (part - centre) ** 2], 1) for part in (seen, unseen))
        judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(seen, drawn[train])
        scores.append(roc_auc_score(drawn[test], judge.decision_function(unseen)))
    return float(np.mean(scores))

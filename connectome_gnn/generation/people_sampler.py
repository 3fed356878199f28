"""From a fitted residual model to the sampler that draws new people around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.recipe_choice import RECOMBINED, Sampler, choose_recipe
from connectome_gnn.generation.recombination import COPULA, Patterns, PeopleSampler, Recipe
from connectome_gnn.generation.residual import LeftOut, Multiples, ResidualModel

__all__ = ["MOST_PEOPLE", "learn_sampler"]

MOST_PEOPLE = 3000
"""People whose residuals are held in memory while patterns are learned; of more people, so many are drawn."""


def learn_sampler(
    residual: ResidualModel,
    left_out: Sequence[LeftOut],
    space: EdgeSpace,
    cohort: Cohort,
    mean_components: NDArray[np.float64],
    *,
    sampler: Sampler | Recipe = "auto",
    multiples: Multiples = None,
    whole: bool = False,
    seed: int = 0,
) -> tuple[PeopleSampler | None, pd.DataFrame | None]:
    """Learn how to draw people like the training people around their expectation.

    Parameters
    ----------
    residual : how values and residual scores go together.
    left_out : some of the people, with factors as if they had not been there, for ``"auto"``.
    space : of the edges.
    cohort : the training people.
    mean_components : (N, K) cross-fitted conditional mean of their components.
    sampler : a way to draw people, or a recipe.
    multiples : of these people's spread.
    whole : whether weights are whole numbers.
    seed : of everything random.

    Returns
    -------
    sampler : None where people are drawn from the copula itself, its factors as strong as they are in its density.
    choice : as :func:`~connectome_gnn.generation.recipe_choice.choose_recipe` gives it, for ``"auto"``, otherwise None.
    """
    choice = None
    if isinstance(sampler, Recipe):
        recipe = sampler
    elif sampler == "auto":
        recipe, choice = choose_recipe(residual, left_out, space, cohort, mean_components, multiples=multiples, whole=whole, seed=seed)
    else:
        recipe = COPULA if sampler == "copula" else RECOMBINED
    if recipe == COPULA:
        return None, choice
    if recipe.factors:
        return PeopleSampler.of_factors(residual, recipe, space.mean, space.std, seed=seed), choice
    some = np.arange(cohort.n_people)
    if len(some) > MOST_PEOPLE:
        some = np.sort(np.random.default_rng(seed).choice(len(some), MOST_PEOPLE, replace=False))
        cohort, mean_components = cohort.take(some), mean_components[some]
        multiples = None if multiples is None else (multiples[0][some], multiples[1][some])
    scores = np.empty((cohort.n_people, cohort.n_edges), np.float32)
    for rows, part in residual.scores(space, cohort, mean_components, multiples=multiples, seed=seed):
        scores[rows] = part
    scores -= scores.mean(0)
    spread = scores.std(0)
    scores /= np.where(spread > 0, spread, 1)
    return PeopleSampler.of(Patterns.of(scores, seed=seed), recipe, space.mean, space.std, seed=seed), choice

"""Choosing how new people are put together, on training people who took no part in making them.

Inner splits of the training people: patterns are learned on one part, people are drawn after every recipe, and a classifier tries to tell
them from the other part. The recipe that copies training people least is taken among those that are as hard to tell as the hardest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.classifier import Features, component_features, nodal_features
from connectome_gnn.generation.recombination import EVERYTHING, Patterns, PeopleSampler, Recipe

__all__ = ["SAMPLERS", "Sampler", "fit_sampler", "recipes"]

Sampler = Literal["auto", "gaussian", "recombined"]
Values = Callable[[NDArray[np.float32]], NDArray[np.float32]]
SAMPLERS: tuple[Sampler, ...] = ("auto", "gaussian", "recombined")
SPLITS, MANY_PEOPLE = 2, 1000
"""Inner splits; of more people than that, one is enough."""
HELD_OUT = 0.3
MOST_JUDGED = 250
MOST_PEOPLE = 2000
TOLERANCE = 0.02
JUDGE_FOLDS = 3
LEAST_JUDGED = 8


def recipes(signed: bool, sampler: Sampler) -> list[Recipe]:
    """Recipes to choose from, those that copy training people least first.

    Parameters
    ----------
    signed : whether weights are correlations.
    sampler : ``"auto"``, all of them; ``"gaussian"``, those that hold no training people; ``"recombined"``, sums of three people alone.

    Raises
    ------
    ConnectomeError
        If the sampler's name is unknown.
    """
    if sampler not in SAMPLERS:
        raise ConnectomeError(f"sampler is one of {', '.join(map(repr, SAMPLERS))}, or a Recipe, got {sampler!r}")
    if sampler == "recombined":
        return [Recipe(EVERYTHING, 0.0)]
    found = [Recipe(0, 1.0, own=1.0), Recipe(0, 0.5, own=0.1), Recipe(0, 0.0)]
    if signed:
        found += [Recipe(0, 1.0, "series", points=points) for points in (60, 100)]
    if sampler == "gaussian":
        return found
    if signed:
        found += [Recipe(shared, 1.0, "series", points=100) for shared in (10, 40)]
        found += [Recipe(EVERYTHING, 1.0, "series", points=points) for points in (60, 100)]
    else:
        found += [Recipe(10, 0.3, own=0.1), Recipe(10, 0.0), Recipe(40, 0.3, own=0.1), Recipe(EVERYTHING, 0.3, own=0.1)]
    return [*found, Recipe(EVERYTHING, 0.0)]


def fit_sampler(
    residual: NDArray[np.float32],
    centre: NDArray[np.floating],
    unit: NDArray[np.floating],
    *,
    signed: bool,
    sampler: Sampler | Recipe = "auto",
    units: NDArray[np.intp] | None = None,
    values: Values | None = None,
    seed: int = 0,
) -> tuple[PeopleSampler, pd.DataFrame]:
    """Learn how people differ around their expectation.

    Parameters
    ----------
    residual : (n, E) training people's residual scores, mean 0 and variance 1 on every edge that varies.
    centre, unit : (E,) mean and standard deviation over people of every edge, modelling scale.
    signed : whether weights are correlations.
    sampler : see :func:`recipes`; or a recipe of your own.
    units : (n,) people who belong together share a number; they stay on one side of the inner splits.
    values : modelling-scale values (n, E) of residual scores (n, E), on which people are judged: where edges are absent, scores were drawn
        with the help of all people, and would look alike. Default: ``centre + unit * score``.
    seed : of everything random.

    Returns
    -------
    sampler : PeopleSampler.
    choice : one row a recipe: its parts, ``components`` and ``topology`` (mean AUC of telling people drawn from people held out, .5 is
        perfect), and whether it was ``chosen``. AUCs are NaN where there is nothing to choose.

    Raises
    ------
    ConnectomeError
        If the sampler's name is unknown.
    """
    found = [sampler] if isinstance(sampler, Recipe) else recipes(signed, sampler)
    generator = np.random.default_rng(seed)
    units = np.arange(len(residual)) if units is None else np.unique(units, return_inverse=True)[1]
    aucs = np.full((len(found), 2), np.nan)

    def plain(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(centre + unit * scores, np.float32)

    chosen = 0
    if len(found) > 1 and len(residual) * HELD_OUT >= 2 * LEAST_JUDGED:
        splits = SPLITS if len(residual) <= MANY_PEOPLE else 1
        aucs = np.mean([_judged(residual, centre, unit, signed, found, units, values or plain, generator) for _ in range(splits)], 0)
        told = np.maximum(aucs.max(1), 0.5)
        chosen = int(np.flatnonzero(told <= told.min() + TOLERANCE)[0])
    choice = pd.DataFrame([vars(recipe) for recipe in found]).assign(components=aucs[:, 0], topology=aucs[:, 1])
    choice["chosen"] = np.arange(len(found)) == chosen
    people = PeopleSampler.of(Patterns.of(residual, seed=seed), found[chosen], centre, unit, seed=seed)
    return people, choice


def _judged(
    residual: NDArray[np.float32],
    centre: NDArray[np.floating],
    unit: NDArray[np.floating],
    signed: bool,
    found: Sequence[Recipe],
    units: NDArray[np.intp],
    values: Values,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """AUC (recipes, 2) on components and on topology, of one inner split."""
    order = generator.permutation(int(units.max()) + 1)
    held = np.isin(units, order[: max(int(HELD_OUT * len(order)), 1)])
    real = residual[np.sort(generator.permutation(np.flatnonzero(held))[:MOST_JUDGED])]
    others = residual[np.sort(generator.permutation(np.flatnonzero(~held))[:MOST_PEOPLE])]
    patterns = Patterns.of(others, seed=int(generator.integers(2**31)))
    aucs = np.empty((len(found), 2))
    fold = generator.permutation(len(real)) % JUDGE_FOLDS
    seed = int(generator.integers(2**31))  # the same for every recipe: what differs between them is not chance
    real_values = values(real.copy())
    for place, recipe in enumerate(found):
        people = PeopleSampler.of(patterns, recipe, centre, unit, seed=seed)
        both = np.concatenate([real_values, values(people.draw(len(real), np.random.default_rng(seed)))])
        aucs[place] = [_auc(features, fold, seed) for features in (component_features(both), _topology(both, signed))]
    return aucs


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

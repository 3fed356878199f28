"""Choosing how new people are put together, on training people who took no part in making them.

Inner splits of the training people: patterns are learned on one part, people are drawn after every recipe, a classifier tries to tell them
from the other part, and an attack tries to tell the part that was learned from by how close people were drawn to it. A recipe that mixes
training people has to be harder to tell than those that hold nobody, and may not give its donors away by more than these do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

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
DRAWN = 3
"""People drawn for every one held out, for the attack."""
MOST_PEOPLE = 2000
TOLERANCE = 0.02
SURE = float(norm.ppf(0.95))
"""Standard errors by which the attack on a recipe with donors may do better than that on the recipe without."""
JUDGE_FOLDS = 3
LEAST_JUDGED = 8


def recipes(signed: bool, sampler: Sampler) -> list[Recipe]:
    """Recipes to choose from, those that copy training people least first.

    Parameters
    ----------
    signed : whether weights are correlations.
    sampler : ``"gaussian"``, those that hold no training people; ``"auto"``, these and some that do; ``"recombined"``, sums of three
        people alone.

    Raises
    ------
    ConnectomeError
        If the sampler's name is unknown.
    """
    if sampler not in SAMPLERS:
        raise ConnectomeError(f"sampler is one of {', '.join(map(repr, SAMPLERS))}, or a Recipe, got {sampler!r}")
    if sampler == "recombined":
        return [Recipe(EVERYTHING, 0.0)]
    found = [Recipe(0, 1.0, own=1.0), Recipe(0, 0.3, own=0.1), Recipe(0, 0.0)]
    if signed:
        found += [Recipe(0, 1.0, "series", points=points) for points in (60, 100)]
    if sampler == "gaussian":
        return found
    if signed:
        found += [Recipe(10, 1.0, "series", points=points) for points in (60, 100)]
    return [*found, Recipe(10, 0.0), Recipe(EVERYTHING, 0.0)]


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
        perfect), ``membership`` (AUC of telling people learned from and people held out by the drawn person closest to them, .5 if nothing
        leaked), ``leak`` (by how many standard errors that is above the best recipe without donors), and whether it was ``chosen``.
        NaN where there is nothing to choose.

    Raises
    ------
    ConnectomeError
        If the sampler's name is unknown.
    """
    found = [sampler] if isinstance(sampler, Recipe) else recipes(signed, sampler)
    generator = np.random.default_rng(seed)
    units = np.arange(len(residual)) if units is None else np.unique(units, return_inverse=True)[1]
    holds = np.array([recipe.recombined > 0 for recipe in found])
    aucs, membership, leak, chosen = np.full((len(found), 2), np.nan), np.full(len(found), np.nan), np.full(len(found), np.nan), 0

    def plain(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(centre + unit * scores, np.float32)

    if len(found) > 1 and len(residual) * HELD_OUT >= 2 * LEAST_JUDGED:
        splits = SPLITS if len(residual) <= MANY_PEOPLE else 1
        judged = [_judged(residual, centre, unit, signed, found, units, values or plain, generator) for _ in range(splits)]
        aucs, attacked = np.mean([split.aucs for split in judged], 0), [split.attacked for split in judged]
        told = np.maximum(aucs.max(1), 0.5)
        chosen = _first(told, ~holds)
        membership = np.mean([[place.value for place in split] for split in attacked], 0)
        leak = np.mean([[place.beyond(split[chosen]) for place in split] for split in attacked], 0)
        other = _first(told, leak <= SURE)
        chosen = other if holds[other] else chosen
    choice = pd.DataFrame([vars(recipe) for recipe in found])
    choice = choice.assign(components=aucs[:, 0], topology=aucs[:, 1], membership=membership, leak=leak)
    choice["chosen"] = np.arange(len(found)) == chosen
    people = PeopleSampler.of(Patterns.of(residual, seed=seed), found[chosen], centre, unit, seed=seed)
    return people, choice


def _first(told: NDArray[np.float64], allowed: NDArray[np.bool_]) -> int:
    """The first recipe that is allowed and about as hard to tell as the hardest of those."""
    hard = allowed & (told <= told[allowed].min() + TOLERANCE)
    return int(np.flatnonzero(hard)[0])


@dataclass(frozen=True)
class Attack:
    """How well a training person is told from a held-out one by the drawn person closest to them.

    Parameters
    ----------
    value : area under the ROC curve.
    ours, theirs : what each training and each held-out person adds to it: the share of the other group that they outrank.
    """

    value: float
    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]

    @classmethod
    def of(cls, trained: NDArray[np.float32], held: NDArray[np.float32], drawn: NDArray[np.float32]) -> Attack:
        """The attack on people drawn (m, E), given those who were learned from (n, E) and those who were not."""
        size = np.einsum("me,me->m", drawn, drawn)
        both = [np.einsum("ne,ne->n", some, some) + (size[:, None] - 2 * (drawn @ some.T)).min(0) for some in (trained, held)]
        n = len(trained)
        ranks = rankdata(-np.concatenate(both))
        ours = (ranks[:n] - rankdata(-both[0])) / len(held)
        theirs = 1 - (ranks[n:] - rankdata(-both[1])) / n
        return cls(float(ours.mean()), ours, theirs)

    def beyond(self, other: Attack) -> float:
        """Standard errors by which it does better than another attack on the same people (DeLong et al. 1988, Biometrics 44:837)."""
        variance = sum(float((a - b).var(ddof=1)) / len(a) for a, b in ((self.ours, other.ours), (self.theirs, other.theirs)))
        return float((self.value - other.value) / max(np.sqrt(variance), 1e-12))


@dataclass(frozen=True)
class Judged:
    """What an inner split says of every recipe: AUC (recipes, 2) on components and on topology, and the attack on each."""

    aucs: NDArray[np.float64]
    attacked: list[Attack]


def _judged(
    residual: NDArray[np.float32],
    centre: NDArray[np.floating],
    unit: NDArray[np.floating],
    signed: bool,
    found: Sequence[Recipe],
    units: NDArray[np.intp],
    values: Values,
    generator: np.random.Generator,
) -> Judged:
    """Every recipe on one inner split."""
    order = generator.permutation(int(units.max()) + 1)
    held = np.isin(units, order[: max(int(HELD_OUT * len(order)), 1)])
    real = residual[np.sort(generator.permutation(np.flatnonzero(held))[:MOST_JUDGED])]
    others = residual[np.sort(generator.permutation(np.flatnonzero(~held))[:MOST_PEOPLE])]
    patterns = Patterns.of(others, seed=int(generator.integers(2**31)))
    aucs, attacked = np.empty((len(found), 2)), []
    trained = others[np.sort(generator.permutation(len(others))[:MOST_JUDGED])]
    fold = generator.permutation(len(real)) % JUDGE_FOLDS
    seed = int(generator.integers(2**31))  # the same for every recipe: what differs between them is not chance
    real_values = values(real.copy())
    for place, recipe in enumerate(found):
        people = PeopleSampler.of(patterns, recipe, centre, unit, seed=seed)
        drawn = people.draw(DRAWN * len(real), np.random.default_rng(seed))
        attacked.append(Attack.of(trained, real, drawn))
        both = np.concatenate([real_values, values(drawn[: len(real)])])
        aucs[place] = [_auc(features, fold, seed) for features in (component_features(both), _topology(both, signed))]
    return Judged(aucs, attacked)


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

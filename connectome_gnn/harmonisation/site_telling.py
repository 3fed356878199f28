"""Can the site still be told from connectomes of people left out, and age and sex still be predicted, after harmonisation?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.classifier import component_features
from connectome_gnn.evaluation.learners import LEARNERS, EstimatorLearner, Learner, Standard, inner_folds
from connectome_gnn.evaluation.linear_paths import Folds
from connectome_gnn.evaluation.resampling import generator_for, resamples, units_of_rows
from connectome_gnn.harmonisation.combat import ComBat
from connectome_gnn.harmonisation.covariates import fit_covariates, named_columns, sites_of
from connectome_gnn.harmonisation.harmoniser import Harmoniser
from connectome_gnn.progress import progress

__all__ = ["RAW", "site_check"]

RAW = "raw"
KINDS = ("all", "weights", "presence")
LEARNED = ("linear", "trees", "boosting")
LEAST_PEOPLE = 20
TREES = 100
TAILS = (2.5, 97.5)

Predicted = list[tuple[NDArray[np.intp], NDArray[np.float64]]]
"""Rows that were left out of each fold, and what was said of them: numbers (m,) or probabilities of classes (m, C)."""


@dataclass(frozen=True, eq=False)
class _Target:
    """What is predicted: ``values`` (N,) are numbers, or of ``classes`` classes; NaN where unknown."""

    name: str
    classes: int
    values: NDArray[np.float64]

    def shares(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """As learners take them: numbers (n,), or shares of classes (n, C)."""
        return np.eye(self.classes)[self.values[rows].astype(int)] if self.classes else self.values[rows]


def site_check(
    cohort: Cohort,
    harmonisers: Harmoniser | Mapping[str, Harmoniser],
    *,
    batch: str | None = None,
    keep: Sequence[str] | str = ("sex", "age"),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well learners tell the site, and what is to be kept, from connectomes of people left out: as they are and harmonised.

    Harmoniser and learners are fitted to the training people of each of 5 folds and applied to its test people. Learners: ``linear`` (L2
    logistic or ridge regression on all edges), ``trees`` (extremely randomised trees on all edges) and ``boosting`` (gradient boosting on
    30 principal components, their squares and what they leave). A linear learner sees what a site does to means alone, the others its
    spread and covariance too.

    Which edges are absent tells a site as well, and harmonisation leaves that as it is. So the site is told from three kinds of
    ``edges``: ``"all"``; ``"weights"``, of the edges that are there alone: absent ones are drawn at random from a normal distribution with
    the edge's mean and standard deviation in the training people who have it; and ``"presence"``, 1 where an edge is there and 0 where not.
    A site whose people differ in a preserved phenotype can be told by that phenotype however well it is harmonised.

    Parameters
    ----------
    cohort : the people; at least 20.
    harmonisers : what to check, or several by name (none: the connectomes as they are); copies of them are fitted.
    batch : column of the site; default that of the first ComBat.
    keep : further columns to predict: numbers or levels.
    n_bootstrap : resamples of people.
    seed : of folds, learners and resamples.

    Returns
    -------
    table : a row for each ``target``, kind of ``edges``, ``learner`` and ``connectomes`` (``"raw"`` or the harmoniser's name; for presence
        raw ones alone). ``score`` is ``"auc"`` (for more than two levels the mean of each against the others; chance .5) or ``"r"``
        (Pearson, chance 0); ``value`` with its 95 %
        interval ``low``, ``high``; how it differs from that of raw connectomes, ``change``, with ``change_low``, ``change_high``;
        ``people`` who were left out and told. Intervals resample these people (families together), for the learners as trained.

    Raises
    ------
    ConnectomeError
        If there are fewer than 20 people, a column is missing or the same in everybody, or a harmoniser cannot be fitted.
    """
    named = dict(harmonisers) if isinstance(harmonisers, Mapping) else {getattr(harmonisers, "step", "harmonised"): harmonisers}
    if RAW in named or not all(isinstance(harmoniser, Harmoniser) for harmoniser in named.values()):
        raise ConnectomeError(f"expected harmonisers under names other than {RAW!r}, got {listed(map(str, named))}")
    if cohort.ids.nunique() < LEAST_PEOPLE:
        raise ConnectomeError(f"cohort {cohort.name!r} has {cohort.ids.nunique()} people; telling sites needs at least {LEAST_PEOPLE}")
    batch = batch or next((harmoniser.batch for harmoniser in named.values() if isinstance(harmoniser, ComBat)), "site")
    targets = [_site(cohort, batch), *(_kept(cohort, name) for name in named_columns(keep, "keep") if name != batch)]
    units = units_of_rows(cohort, np.arange(cohort.n_people))
    predicted: dict[tuple[str, str, str, str], Predicted] = {}
    folds = _folds(np.arange(cohort.n_people), units, targets[0].values, generator_for(seed, "folds"))
    # Thousands of small fits, whose threads wait for each other longer than they compute.
    with threadpool_limits(1), progress("Telling sites", total=len(folds) * (1 + len(named))) as advance:
        for number, (rows, held) in enumerate(folds):
            train, left_out = cohort.take(rows), cohort.take(held)
            for name, harmoniser in {RAW: None, **named}.items():
                fitted = None if harmoniser is None else copy(harmoniser).fit(train)
                seen, unseen = (_values(part if fitted is None else fitted.transform(part)) for part in (train, left_out))
                for target in targets:
                    for kind in _kinds(target is targets[0], harmoniser is None):
                        generator = generator_for(seed, f"{target.name} {kind} {number}")  # the same for all connectomes
                        sides = _sides(kind, seen, unseen, generator)
                        for learner, answer in _predictions(target, *sides, rows, units, generator):
                            predicted.setdefault((target.name, kind, learner, name), []).append((held, answer))
                advance()
    draws = resamples(units, n_bootstrap, seed).astype(np.float64)
    by_name = {target.name: target for target in targets}
    scores = {key: _score(by_name[key[0]], said, draws) for key, said in predicted.items()}
    order = sorted(scores, key=lambda key: ([*by_name].index(key[0]), KINDS.index(key[1]), LEARNED.index(key[2])))
    return pd.DataFrame([_row(by_name[key[0]], *key[1:], scores[key], scores[key] - scores[*key[:3], RAW]) for key in order])


def _row(target: _Target, kind: str, learner: str, name: str, drawn: NDArray[np.float64], change: NDArray[np.float64]) -> dict[str, object]:
    """A row of the table: values of everybody as they are, and of resamples."""
    row: dict[str, object] = {
        "target": target.name,
        "edges": kind,
        "learner": learner,
        "connectomes": name,
        "score": "auc" if target.classes else "r",
    }
    for key, values in (("value", drawn), ("change", change)):
        low, high = np.nanpercentile(values[1:], TAILS) if len(values) > 1 else (np.nan, np.nan)
        prefix = "" if key == "value" else f"{key}_"
        row |= {key: float(values[0]), f"{prefix}low": float(low), f"{prefix}high": float(high)}
    return {**row, "chance": 0.5 if target.classes else 0.0, "people": int(np.isfinite(target.values).sum())}


def _site(cohort: Cohort, batch: str) -> _Target:
    """The site of everybody.

    Raises
    ------
    ConnectomeError
        If it is the same in everybody.
    """
    names, number = np.unique(sites_of(cohort, batch).astype(str), return_inverse=True)
    if len(names) < 2:
        raise ConnectomeError(f"cohort {cohort.name!r}: everybody's {batch!r} is {str(names[0])!r}, so there is nothing to tell")
    return _Target(batch, len(names), number.astype(np.float64))


def _kept(cohort: Cohort, name: str) -> _Target:
    """A phenotype that is to be predicted as well as before.

    Raises
    ------
    ConnectomeError
        If the column does not exist, is free text, or is the same in everybody.
    """
    (phenotype,) = fit_covariates(cohort, (name,), "predict").phenotypes
    values = phenotype.positions(cohort.phenotypes[name])
    known = np.unique(values[np.isfinite(values)])
    if len(known) < 2:
        raise ConnectomeError(f"cohort {cohort.name!r}: {name!r} is the same in everybody, so there is nothing to predict")
    if phenotype.kind == "continuous":
        return _Target(name, 0, values)
    numbers = np.where(np.isfinite(values), np.searchsorted(known, values), np.nan)
    return _Target(name, len(known), numbers)


def _values(cohort: Cohort) -> NDArray[np.float32]:
    """Everybody's connectomes on the modelling scale, (n, E)."""
    values = np.empty((cohort.n_people, cohort.n_edges), np.float32)
    for rows, some in cohort.modelled():
        values[rows] = some
    return values


def _kinds(is_site: bool, raw: bool) -> tuple[str, ...]:
    """Kinds of edges that a target is told from."""
    return (KINDS if raw else KINDS[:2]) if is_site else KINDS[:1]


def _sides(
    kind: str, seen: NDArray[np.float32], unseen: NDArray[np.float32], generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Training and test people's edges of a kind."""
    if kind == "all":
        return seen, unseen
    if kind == "presence":
        return (seen != 0).astype(np.float32), (unseen != 0).astype(np.float32)
    there = seen != 0
    n = np.maximum(there.sum(0), 1)
    mean = (seen.sum(0, dtype=np.float64) / n).astype(np.float32)
    deviation = np.sqrt((np.where(there, seen - mean, 0) ** 2).sum(0) / n)

    def filled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(values != 0, values, mean + deviation * generator.standard_normal(values.shape, np.float32))

    return filled(seen), filled(unseen)


def _folds(rows: NDArray[np.intp], units: NDArray[np.intp], values: NDArray[np.float64] | None, generator: np.random.Generator) -> Folds:
    """Folds of rows with some of each class in every one; people who belong together stay together."""
    return inner_folds(np.stack([rows, rows], 1), np.ones(len(rows), bool), units, values, generator)


def _predictions(
    target: _Target,
    seen: NDArray[np.float32],
    unseen: NDArray[np.float32],
    rows: NDArray[np.intp],
    units: NDArray[np.intp],
    generator: np.random.Generator,
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """What each learner, trained on rows (n, E) of the people ``rows``, says of unseen rows (m, E)."""
    known = np.flatnonzero(np.isfinite(target.values[rows]))
    shares = target.shares(rows[known])
    own = np.unique(units[rows[known]], return_inverse=True)[1]
    folds = _folds(np.arange(len(known)), own, target.values[rows[known]] if target.classes else None, generator)
    standard = Standard.of(seen[known])
    edges = standard.transform(seen[known]), standard.transform(unseen)
    both = np.concatenate([seen[known], unseen])
    for name, learner in _learners(target.classes > 0, int(generator.integers(2**31))).items():
        training, test = edges
        if name == "boosting":
            training, test = component_features(both)(np.arange(len(known)), np.arange(len(known), len(both)), generator)
        yield name, learner.fit(np.asarray(training, np.float32), shares, folds)(np.asarray(test, np.float32))


def _learners(classes: bool, seed: int) -> dict[str, Learner]:
    """Those of :data:`LEARNED`, for classes or numbers."""
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    name = "l2 logistic" if classes else "ridge"
    linear = next(learner for learner in LEARNERS if learner.name == name)
    grown = {"n_estimators": TREES, "min_samples_leaf": 2, "max_features": "sqrt", "random_state": seed}
    boosted = {"max_iter": 60, "max_bins": 63, "max_leaf_nodes": 15, "early_stopping": False, "random_state": seed}
    if classes:
        trees = ExtraTreesClassifier(class_weight="balanced", **grown)
        boosting = HistGradientBoostingClassifier(class_weight="balanced", **boosted)
    else:
        trees, boosting = ExtraTreesRegressor(**grown), HistGradientBoostingRegressor(**boosted)
    others = {"trees": trees, "boosting": boosting}
    return {"linear": linear, **{name: EstimatorLearner(name, estimator, classes) for name, estimator in others.items()}}


def _score(target: _Target, predicted: Predicted, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score (1 + B,) of everybody who was left out, and in resamples of them, ``draws`` (1 + B, N)."""
    if not target.classes:
        rows = np.concatenate([held for held, _ in predicted])
        answer = np.concatenate([said for _, said in predicted])
        known = np.isfinite(target.values[rows])
        return _weighted_r(draws[:, rows[known]], target.values[rows[known]], answer[known])
    aucs = []
    for number in range(1, 2) if target.classes == 2 else range(target.classes):
        concordant, pairs = np.zeros(len(draws)), np.zeros(len(draws))
        for held, answer in predicted:  # within folds, whose learners are not on one scale
            known = np.isfinite(target.values[held])
            is_level = known & (target.values[held] == number)
            others = known & ~is_level
            first, second = answer[is_level, number][:, None], answer[others, number]
            ahead = (first > second) + 0.5 * (first == second)
            these, those = draws[:, held[is_level]], draws[:, held[others]]
            concordant += ((these @ ahead) * those).sum(1)
            pairs += these.sum(1) * those.sum(1)
        aucs.append(np.divide(concordant, pairs, out=np.full(len(draws), np.nan), where=pairs > 0))
    return np.mean(aucs, 0)


def _weighted_r(weights: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson r (B,) under each row of weights (B, n); 0 where either does not vary."""
    total = weights.sum(1, keepdims=True)
    x_centred, y_centred = x - weights @ x[:, None] / total, y - weights @ y[:, None] / total
    covariance = (weights * x_centred * y_centred).sum(1)
    width = np.sqrt((weights * x_centred**2).sum(1) * (weights * y_centred**2).sum(1))
    return np.divide(covariance, width, out=np.zeros(len(weights)), where=width > 0)

"""Out-of-fold predictions: everything that is learned is learned from a fold's training people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.bias import AgeBias, Correction
from connectome_gnn.prediction.edge_predictor import EdgePredictor
from connectome_gnn.prediction.edge_rows import folds_within
from connectome_gnn.prediction.folds import Split
from connectome_gnn.prediction.interface import Target

__all__ = [
    "Adjusts",
    "OutOfFold",
    "adjusted_parts",
    "can_be_permuted",
    "inner_predictions",
    "permuted_predictions",
    "predicted_by",
    "predictions_of",
    "with_column",
]


class Adjusts(Protocol):
    """What takes something out of connectomes, as site effects or confounds: learned from training people, applied to anybody."""

    def fit(self, cohort: Cohort) -> Any:
        """Learn from training people."""
        ...

    def transform(self, cohort: Cohort) -> Cohort:
        """The same people with it taken out."""
        ...


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What each model said of people that it had not seen.

    Attributes
    ----------
    predicted : by model, (repeats, N) numbers or (repeats, N, K) probabilities of the target's classes.
    biases : by model, the line of age bias of every split; empty where none was asked for.
    """

    predicted: Mapping[str, NDArray[np.float64]]
    biases: Mapping[str, list[AgeBias]]


def adjusted_parts(cohort: Cohort, split: Split, adjustments: Sequence[Adjusts]) -> tuple[Cohort, Cohort]:
    """Training and test people of a split, each adjustment fitted anew to the training people and applied to both."""
    train, test = cohort.take(split.train), cohort.take(split.test)
    for adjustment in adjustments:
        fresh = deepcopy(adjustment)
        fresh.fit(train)
        train, test = fresh.transform(train), fresh.transform(test)
    return train, test


def predicted_by(model: Any, cohort: Cohort, target: Target) -> NDArray[np.float64]:
    """What a fitted model says of people, (N,) numbers or (N, K) probabilities in the order of the target's classes."""
    if not target.classes:
        said = np.asarray(model.predict(cohort), np.float64)
        if said.shape != (len(cohort),) or not np.isfinite(said).all():
            raise ConnectomeError(
                f"model {_name(model)} predicts {said.shape} values, not all finite; expected ({len(cohort)},) finite numbers"
            )
        return said
    probabilities = np.asarray(model.predict_proba(cohort), np.float64)
    if probabilities.shape != (len(cohort), len(model.classes_)) or not np.isfinite(probabilities).all():
        raise ConnectomeError(
            f"model {_name(model)} gives probabilities {probabilities.shape}, or some that are not finite; "
            f"expected ({len(cohort)}, {len(model.classes_)})"
        )
    return _in_order(probabilities, model.classes_, target)


def predictions_of(
    cohort: Cohort,
    target: Target,
    models: Mapping[str, Any],
    splits: Sequence[Split],
    *,
    adjustments: Sequence[Adjusts] = (),
    groups: str | None = None,
    correction: Correction | None = None,
    seed: int = 0,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> OutOfFold:
    """Every model's predictions of everybody, by copies of it that were fitted to other people.

    Parameters
    ----------
    cohort : N people, with the target as a column of its name.
    target : of them.
    models : by name, not fitted.
    splits : who is predicted by whom.
    adjustments : fitted to the training people of each split, in turn.
    groups : column of people who belong together.
    correction : of age bias, learned from predictions of the training people by inner folds.
    seed : of inner folds.
    advance : called after every fit.
    """
    repeats = 1 + max(split.repeat for split in splits)
    shape = (repeats, len(cohort), len(target.classes)) if target.classes else (repeats, len(cohort))
    predicted = {name: np.full(shape, np.nan) for name in models}
    biases: dict[str, list[AgeBias]] = {name: [] for name in models} if correction else {}
    for split in splits:
        train, test = adjusted_parts(cohort, split, adjustments)
        for name, model in models.items():
            fitted = deepcopy(model)
            fitted.fit(train, target.name, groups=groups)
            predicted[name][split.repeat, split.test] = predicted_by(fitted, test, target)
            if correction:
                inner = inner_predictions(model, train, target.take(split.train), groups, seed)
                biases[name].append(AgeBias.fit(target.values[split.train], inner, correction))
            advance()
    return OutOfFold(predicted, biases)


def _in_order(said: NDArray[np.float64], classes: Sequence[str], target: Target) -> NDArray[np.float64]:
    """Numbers as they are; probabilities (N, k) of some classes as those of the target's, (N, K), 0 for the others."""
    if not target.classes:
        return said
    answer = np.zeros((len(said), len(target.classes)))
    answer[:, [target.classes.index(level) for level in classes]] = said
    return answer


def with_column(cohort: Cohort, target: Target) -> Cohort:
    """The same people with a target as a column of its name, whose description says what it is."""
    people = cohort.take(slice(None))
    names = np.array(target.classes, dtype=object)
    people.phenotypes = people.phenotypes.assign(**{target.name: names[target.values.astype(np.intp)] if target.classes else target.values})
    people.described[target.name] = {"Levels": list(target.classes)} if target.classes else {"Kind": "continuous"}
    return people


def inner_predictions(model: Any, train: Cohort, target: Target, groups: str | None, seed: int) -> NDArray[np.float64]:
    """What copies of a model say of training people, (n,) or (n, K), each fitted to four fifths of the others."""
    said = np.empty((len(train), len(target.classes)) if target.classes else len(train))
    for rows, held in folds_within(train.units(groups), target.values if target.classes else None, seed):
        fitted = deepcopy(model)
        fitted.fit(train.take(rows), target.name, groups=groups)
        said[held] = predicted_by(fitted, train.take(held), target)
    return said


def can_be_permuted(model: Any) -> bool:
    """Whether a model learns anew from a hundred permuted targets in little time."""
    return isinstance(model, EdgePredictor) and model.cheap


def permuted_predictions(
    cohort: Cohort,
    target: Target,
    models: Mapping[str, Any],
    splits: Sequence[Split],
    orders: NDArray[np.integer],
    *,
    adjustments: Sequence[Adjusts] = (),
    groups: str | None = None,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> dict[str, NDArray[np.float64]]:
    """Out-of-fold predictions of models fitted anew to permuted targets, by name (P, N) or (P, N, K).

    Parameters
    ----------
    orders : (P, N) whose value each person is given.
    models : of :func:`can_be_permuted`.
    splits : of one repeat.
    """
    shape = (len(orders), len(cohort)) + ((len(target.classes),) if target.classes else ())
    predicted = {name: np.full(shape, np.nan) for name in models}
    for split in splits:
        train, test = adjusted_parts(cohort, split, adjustments)
        targets = {number: _as_learned(target.take(order[split.train])) for number, order in enumerate(orders)}
        # Permuted, few people of a class may all be among those who are predicted: then there is one answer only, and nothing to fit.
        certain = {number: one for number, one in targets.items() if len(one.classes) == 1}
        fitted_to = {number: one for number, one in targets.items() if number not in certain}
        for name, model in models.items():
            values = None
            for number, fitted in zip(fitted_to, model.fit_each(train, list(fitted_to.values()), groups=groups), strict=True):
                values = fitted.read_as.read(test) if values is None else values
                predicted[name][number, split.test] = _in_order(fitted.say(values), fitted.classes_, target)
            for number, one in certain.items():
                predicted[name][number, split.test] = _in_order(np.ones((len(split.test), 1)), one.classes, target)
            advance()
    return predicted


def _as_learned(target: Target) -> Target:
    """A target of some people with the classes that they have."""
    if not target.classes:
        return target
    present, values = np.unique(target.values, return_inverse=True)
    return Target(target.name, values.astype(np.float64), tuple(target.classes[int(place)] for place in present))


def _name(model: Any) -> str:
    return repr(getattr(model, "name", type(model).__name__))

"""Predicting a phenotype in one call: brain age, classes, any number; cross-validated by person or by site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.resampling import generator_for, permutations, resamples, units_of_rows
from connectome_gnn.prediction.bias import Correction
from connectome_gnn.prediction.catalogue import chosen_models, new_model
from connectome_gnn.prediction.confounds import ConfoundRemoval
from connectome_gnn.prediction.crossvalidation import Adjusts, can_be_permuted, permuted_predictions, predictions_of
from connectome_gnn.prediction.folds import FOLDS, Split, splits_by_column, splits_of_people
from connectome_gnn.prediction.interface import Predictor, Target, Task, read_target
from connectome_gnn.prediction.reporting import Told, result_of
from connectome_gnn.prediction.result import PredictionResult
from connectome_gnn.progress import progress

__all__ = ["classify", "predict", "predict_age"]

Models = str | Predictor | Sequence[str | Predictor]
PERSON = "person"
MEAN = "mean"
INNER = 5


def predict_age(
    cohort: Cohort,
    model: Models = "ridge",
    target: str = "age",
    *,
    correction: Correction | None = "de_lange",
    folds: int = FOLDS,
    repeats: int = 1,
    by: str = PERSON,
    groups: str | None = None,
    confounds: Sequence[str] | str = (),
    harmonise: Adjusts | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 100,
    permute_within: str | None = None,
    seed: int = 0,
) -> PredictionResult:
    """Brain age: everybody's age predicted from their connectome by models that had not seen them, and the gap.

    As :func:`predict`, with the bias of predicted ages taken out of the gap: in every fold, models fitted to inner folds of the training
    people give the line that predictions follow over age (:class:`~connectome_gnn.prediction.bias.AgeBias`), and each test person's gap is
    what is left beside it. Scores are of the raw predictions; a corrected prediction holds the person's own age, and its r and R2 would
    say nothing of the model.

    Parameters
    ----------
    cohort, model, folds, repeats, by, groups, confounds, harmonise : as of :func:`predict`.
    n_bootstrap, n_permutations, permute_within, seed : as of :func:`predict`.
    target : the column that holds the age.
    correction : ``"de_lange"`` (gap = predicted - (slope * age + intercept)), ``"cole"`` (gap = (predicted - intercept) / slope - age), or
        None for no inner folds and the raw gap alone.

    Returns
    -------
    result : PredictionResult; ``predictions`` holds ``raw_gap`` (predicted - age), ``gap`` (bias taken out) and ``corrected`` (age + gap),
        in the unit of the age; ``scores`` also ``gap_sd``, ``gap_r_with_age`` and ``raw_gap_r_with_age``.

    Raises
    ------
    ConnectomeError
        As :func:`predict`, or if the correction is not known.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> from connectome_gnn.prediction import predict_age
    >>> cohort = cg.simulate_cohort(100, 12, 6, seed=0)
    >>> age = predict_age(cohort, "ridge", n_permutations=0)
    >>> age.models
    ('ridge', 'mean')
    """
    if correction is not None and correction not in get_args(Correction):
        raise ConnectomeError(f"expected correction to be one of {', '.join(get_args(Correction))} or None, got {correction!r}")
    options = _Options(folds, repeats, by, groups, confounds, harmonise, n_bootstrap, n_permutations, permute_within, seed)
    return _predicted(cohort, target, "regression", model, options, correction, brain_age=True)


def predict(
    cohort: Cohort,
    target: str,
    model: Models = "ridge",
    *,
    folds: int = FOLDS,
    repeats: int = 1,
    by: str = PERSON,
    groups: str | None = None,
    confounds: Sequence[str] | str = (),
    harmonise: Adjusts | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 100,
    permute_within: str | None = None,
    seed: int = 0,
) -> PredictionResult:
    """A number of everybody, as body mass index, predicted from their connectome by models that had not seen them.

    Whatever a model tunes, it tunes inside a fold's training people. Beside the models stands the mean predictor.

    Parameters
    ----------
    cohort : the people; those without a value are left out, and counted.
    target : a column of numbers.
    model : a name of :data:`~connectome_gnn.prediction.MODELS`, a :class:`~connectome_gnn.prediction.Predictor`, or several, which are
        compared on the same folds; the first one is what differences are against. :class:`~connectome_gnn.prediction.BestOf` chooses
        inside the folds.
    folds, repeats : number of folds, and how often everybody is dealt into them anew.
    by : ``"person"``, or a column such as ``"site"``: one level left out at a time.
    groups : column of people who belong together in folds and resamples, as families; default ``family_id`` where there is one.
    confounds : columns whose linear effects on edges are taken out, learned from training people
        (:class:`~connectome_gnn.prediction.confounds.ConfoundRemoval`); the target is left as it is.
    harmonise : what takes site effects out, as :class:`~connectome_gnn.harmonisation.ComBat`: fitted anew to each fold's training people.
    n_bootstrap : resamples of people behind intervals; 0 for none.
    n_permutations : permuted targets behind p, to which the models that learn in moments are fitted anew (not ConnectomeGNN and
        BrainNetCNN); 0 for none.
    permute_within : column within whose levels targets are permuted; default ``by`` where that is a column.
    seed : seed of everything random.

    Returns
    -------
    result : PredictionResult, with ``summary()``, ``to_json()``, ``save()``.

    Raises
    ------
    ConnectomeError
        If the target is no number, everybody's is alike, there are fewer people than folds, one site only, or a column does not exist.
    """
    options = _Options(folds, repeats, by, groups, confounds, harmonise, n_bootstrap, n_permutations, permute_within, seed)
    return _predicted(cohort, target, "regression", model, options)


def classify(
    cohort: Cohort,
    target: str,
    model: Models = "ridge",
    *,
    folds: int = FOLDS,
    repeats: int = 1,
    by: str = PERSON,
    groups: str | None = None,
    confounds: Sequence[str] | str = (),
    harmonise: Adjusts | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 100,
    permute_within: str | None = None,
    seed: int = 0,
) -> PredictionResult:
    """A class of everybody, as a diagnosis, predicted from their connectome by models that had not seen them.

    Every fold has its share of each class. Of two classes AUC and calibration are of the second; of more, each is told from the
    others and scores are averaged over classes.

    Parameters
    ----------
    target : a column of levels.
    cohort, model, folds, repeats, by, groups, confounds, harmonise, n_bootstrap, n_permutations, permute_within, seed : of :func:`predict`;
        ``"ridge"`` is logistic ridge regression, and ``"mean"`` gives everybody the shares of the training people.

    Returns
    -------
    result : PredictionResult; ``predictions`` holds ``p_<level>`` of every level.

    Raises
    ------
    ConnectomeError
        If the target is a number, everybody is of one class, or a class has fewer people than there are folds, and as :func:`predict`.
    """
    options = _Options(folds, repeats, by, groups, confounds, harmonise, n_bootstrap, n_permutations, permute_within, seed)
    return _predicted(cohort, target, "classification", model, options)


@dataclass
class _Options:
    """How people are dealt, adjusted and resampled; see :func:`predict`."""

    folds: int
    repeats: int
    by: str
    groups: str | None
    confounds: Sequence[str] | str
    harmonise: Adjusts | None
    n_bootstrap: int
    n_permutations: int
    permute_within: str | None
    seed: int

    def __post_init__(self) -> None:
        for what in ("folds", "repeats", "n_bootstrap", "n_permutations", "seed"):
            number = getattr(self, what)
            if not isinstance(number, (int, np.integer)) or number < 0:
                raise ConnectomeError(f"expected {what} to be 0 or more, a whole number, got {number!r}")
        self.confounds = (self.confounds,) if isinstance(self.confounds, str) else tuple(self.confounds)
        self.permute_within = self.permute_within or (None if self.by == PERSON else self.by)

    def splits(self, cohort: Cohort, target: Target) -> list[Split]:
        """Who is predicted by whom."""
        units = cohort.units(self.groups)
        if self.by == PERSON:
            return splits_of_people(units, target, self.folds, self.repeats, self.seed)
        if self.repeats != 1:
            raise ConnectomeError(f"one {self.by} left out at a time can be done in one way; repeats={self.repeats} is for folds of people")
        return splits_by_column(cohort, self.by, units, target)

    def adjustments(self, target: str) -> list[Adjusts]:
        """Harmonisation, then confounds."""
        if target in self.confounds:
            raise ConnectomeError(f"{target!r} is what is predicted, so it cannot be taken out of the edges as a confound")
        if target in (getattr(self.harmonise, "preserve", None) or ()):
            raise ConnectomeError(
                f"harmonisation that preserves {target!r} looks it up for the people who are to be predicted, which gives it away; "
                "leave it out of what is preserved"
            )
        if self.by in self.confounds:
            raise ConnectomeError(
                f"effects of {self.by!r} cannot be learned of the one that is left out; leave it out of confounds, or use folds of people"
            )
        if self.harmonise is not None and not hasattr(self.harmonise, "transform"):
            raise ConnectomeError(f"expected harmonise to be an object as ComBat('site', preserve=()), got {self.harmonise!r}")
        found: list[Adjusts] = [] if self.harmonise is None else [self.harmonise]
        if self.confounds:
            found.append(ConfoundRemoval(self.confounds))
        return found

    def orders(self, cohort: Cohort, units: NDArray[np.intp]) -> NDArray[np.int32]:
        """Whose value each person is given under each permutation, (P, N)."""
        generator = generator_for(self.seed, "permuted targets")
        if self.permute_within is None:
            return permutations(units, self.n_permutations, generator)
        if self.permute_within not in cohort.phenotypes:
            raise ConnectomeError(f"cohort {cohort.name!r} has no column {self.permute_within!r} to permute within")
        level = pd.factorize(np.array([level_text(value) for value in cohort.phenotypes[self.permute_within]], dtype=object))[0]
        orders = np.empty((self.n_permutations, len(cohort)), np.int32)
        for one in np.unique(level):
            rows = np.flatnonzero(level == one)
            orders[:, rows] = rows[permutations(pd.factorize(units[rows])[0], self.n_permutations, generator)]
        return orders

    def record(self) -> dict[str, Any]:
        """For the result, plain values."""
        return {
            **vars(self),
            "folds": self.folds if self.by == PERSON else None,
            "confounds": list(self.confounds),
            "harmonise": None if self.harmonise is None else type(self.harmonise).__name__,
        }


def _predicted(
    cohort: Cohort, target: str, task: Task, model: Models, options: _Options, correction: Correction | None = None, brain_age: bool = False
) -> PredictionResult:
    people, wanted = _known(cohort, target, task)
    models = chosen_models(model, task, options.seed)
    fitted = dict(models)
    models.setdefault(MEAN, new_model(MEAN, task, options.seed))
    adjustments = options.adjustments(target)
    splits = options.splits(people, wanted)
    units = units_of_rows(people, np.arange(len(people)), options.groups)
    permuted = {name: one for name, one in fitted.items() if options.n_permutations and name != MEAN and can_be_permuted(one)}
    first = [split for split in splits if split.repeat == 0]
    shared: dict[str, Any] = {"adjustments": adjustments, "groups": options.groups}
    with progress(f"Predicting {target}", total=len(splits) * len(models) + len(first) * bool(permuted)) as advance:
        seen = predictions_of(people, wanted, models, splits, correction=correction, seed=options.seed, advance=advance, **shared)
        null = {}
        if permuted:
            advance(0, f"Permuting {target}")
            null = permuted_predictions(people, wanted, permuted, first, options.orders(people, units), advance=advance, **shared)
    told = Told(people, wanted, task, len(cohort) - len(people), options.by != PERSON, brain_age, options.record())
    return result_of(told, seen, null, splits, resamples(units, options.n_bootstrap, options.seed))


def _known(cohort: Cohort, target: str, task: Task) -> tuple[Cohort, Target]:
    """The people who have a value, and the values."""
    if target not in cohort.phenotypes:
        raise ConnectomeError(
            f"cohort {cohort.name!r} has no column {target!r} to predict; it has {listed(map(str, cohort.phenotypes), 20)}"
        )
    known = cohort.phenotypes[target].notna().to_numpy()
    if not known.any():
        raise ConnectomeError(f"cohort {cohort.name!r}: nobody has a value of {target!r}, so there is nothing to learn from")
    people = cohort if known.all() else cohort.take(known)
    wanted = read_target(people, target)
    if wanted.task != task:
        if task == "regression":
            raise ConnectomeError(f"{target!r} is made of classes ({listed(wanted.classes)}), not of numbers; use classify")
        raise ConnectomeError(
            f"{target!r} is made of numbers, not of classes; use predict, or give the column its Levels in participants.json"
        )
    return people, wanted

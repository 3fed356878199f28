"""Does augmentation help machine learning: phenotypes predicted from few real people, with and without generated ones beside them."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.evaluation.arms import ARMS, Rows, averaged_pairs, generated_people, mixed_up, real_people, together
from connectome_gnn.evaluation.augmentation_files import Finished
from connectome_gnn.evaluation.augmentation_plan import Plan, table_row
from connectome_gnn.evaluation.learners import Prediction, Standard, chosen_learners, inner_folds
from connectome_gnn.evaluation.learning_curves import COLUMNS, REAL, AugmentationStudy
from connectome_gnn.evaluation.makers import MakeGenerator
from connectome_gnn.evaluation.reference import ROWS, modelled
from connectome_gnn.evaluation.targets import score_predictions
from connectome_gnn.progress import progress

__all__ = ["SIZES", "augmentation_study"]

SIZES = (8, 16, 32, 64, 128, 256, 512)


def augmentation_study(
    make_generator: MakeGenerator,
    cohort: Cohort,
    targets: Sequence[str] = ("age", "sex"),
    sizes: Sequence[int] = SIZES,
    arms: Sequence[str] = ARMS,
    repeats: int = 20,
    *,
    n_generated: int | None = None,
    learners: Mapping[str, Any] | Iterable[str] | None = None,
    holdout: float = 0.3,
    seed: int = 0,
    n_jobs: int = 1,
    resume: str | Path | None = None,
) -> AugmentationStudy:
    """Predict phenotypes of held-out real people from n real ones, from what was made of them, and from both.

    Each repeat holds people out and puts the others in a random order, classes in their proportions and two of each first; n people are
    the first n, so that larger sizes hold the smaller ones. The generator is fitted to those n people alone. All arms of a repeat learn
    from the same people and are scored on the same held-out ones:

    - ``real``: the n people;
    - ``real+generated``: and ``n_generated`` new ones, whose profiles are drawn from those of the n, each as often as any other, and whose
      target is what their profile says;
    - ``generated``: the generated people alone;
    - ``pairs averaged``: the n people, and as many means of two of them who are of one class in every target that is one (of one sex);
    - ``mixup``: the n people, and as many mixtures of any two, targets included, shares drawn from Beta(.4, .4) (Zhang et al. 2018).

    Edges are on the modelling scale, standardised by the rows learned from. Learners choose their strength on inner folds of those rows:
    only real people are predicted there (where there are any), and nothing made from a person is learned from while that person is. A
    generator has seen all n people, though, so one that memorises can mislead the choice; it then does worse on held-out people, never
    better. The intervals are those of :func:`~connectome_gnn.evaluation.learning_curves.corrected_interval`.

    Parameters
    ----------
    make_generator : from a seed, or from nothing, to a generator with ``fit(cohort)`` and ``sample(phenotypes, n, seed)``: a class such
        as ``ConnectomeGenerator`` will do.
    cohort : real people, one row each.
    targets : phenotypes to predict, numbers or classes. People who lack any of them are left out, and counted in the notes.
    sizes : numbers n of real people. Where there are fewer to draw from, the size is undefined, with the reason.
    arms : arms to compare, of those above; differences are from ``real``.
    repeats : number of repeats.
    n_generated : made-up people beside n real ones; default n.
    learners : names among ``lasso``, ``ridge`` (numbers), ``l1 logistic``, ``l2 logistic`` (classes), or scikit-learn's estimators by
        names of their own; default those four.
    holdout : share of people held out in each repeat, in (0, 1); people who belong together (``family_id``) are never divided.
    seed : seed of everything random: the same seed gives the same numbers, whatever ``n_jobs``.
    n_jobs : processes; -1 for all cores. ``make_generator`` has to travel to them.
    resume : file (JSON lines) that keeps what is finished; given again, the study goes on from there. More sizes or repeats may be asked
        for than before.

    Returns
    -------
    study : AugmentationStudy; ``table`` holds every number, ``curves`` means with intervals.

    Raises
    ------
    ConnectomeError
        If a target or arm is not known, a target cannot be predicted, a size is below 2, all sizes are too large, or ``resume`` belongs to
        another study. An arm that cannot be made (too few people for the generator) is undefined, with the reason, and no error.

    Examples
    --------
    >>> study = augmentation_study(cg.ConnectomeGenerator, cohort, sizes=(32, 64), repeats=10, n_jobs=-1)  # doctest: +SKIP
    >>> print(study.summary())  # doctest: +SKIP
    """
    targets = _distinct(targets, "target")
    arms = _distinct(arms, "arm", ARMS)
    sizes = sorted({_whole(size, "a size counts people", 2) for size in sizes})
    repeats = _whole(repeats, "repeats are counted", 1)
    if not sizes:
        raise ConnectomeError("give at least one size, a number of real people")
    if n_generated is not None:
        n_generated = _whole(n_generated, "n_generated counts people", 1)
    if not 0 < holdout < 1:
        raise ConnectomeError(f"holdout is a share of people between 0 and 1, got {holdout}")
    seed = _whole(seed, "a seed is a number", 0)
    plan = Plan.of(make_generator, cohort, targets, arms, chosen_learners(learners), n_generated, holdout, seed)
    most = min(len(plan.draw(repeat)[1]) for repeat in range(repeats))
    if sizes[0] > most:
        raise ConnectomeError(f"cohort {cohort.name!r} leaves {most} people to learn from, fewer than the smallest size {sizes[0]}")
    feasible = [size for size in sizes if size <= most]
    finished = Finished(resume, plan.identity())
    _run(plan, [(repeat, size) for size in feasible for repeat in range(repeats)], finished, n_jobs)
    too_many = f"only {most} people to learn from: {plan.cohort.n_people} without those held out"
    rows = []
    for size in sizes:
        for repeat in range(repeats):
            rows += finished.rows[repeat, size] if size <= most else plan.undefined(repeat, size, too_many)
    return AugmentationStudy(_table(rows, plan), plan.cohort.n_people, plan.notes)


def _run(plan: Plan, tasks: list[tuple[int, int]], finished: Finished, n_jobs: int) -> None:
    """Do what is not finished yet, the bar a step for each repeat at each size."""
    from joblib import Parallel, delayed

    left = [task for task in tasks if task not in finished.rows]
    quiet = n_jobs != 1  # a bar of its own for every process would tear the terminal
    work = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(_one)(plan, *task, quiet) for task in left)
    with progress("Augmentation study", total=len(tasks)) as advance:
        advance(len(tasks) - len(left))
        for task, rows in work:
            finished.add(task, rows)
            advance()


def _one(plan: Plan, repeat: int, size: int, quiet: bool) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """All rows of one repeat at one size; on one thread, so that numbers do not depend on how many there are."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), _silenced(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConnectomeWarning)  # what is constant or sparse among n people, n by n
        held, order = plan.draw(repeat)
        people = order[:size]
        cohort = plan.cohort.take(people)
        real = real_people(cohort, {target.name: target.of(people) for target in plan.targets})
        fitted: list[_Fitted] = []
        generated: Rows | ConnectomeError | None = None
        for arm in plan.arms:
            try:
                if "generated" in arm:
                    generated = _generated(plan, cohort, real, repeat, size) if generated is None else generated
                    if isinstance(generated, ConnectomeError):
                        raise generated
                rows = _rows(plan, arm, real, generated, people, repeat, size)
            except ConnectomeError as error:
                fitted.append(_Fitted(arm, 0, None, {(target.name, one.name): str(error) for target, one in plan.pairs()}))
            else:
                fitted.append(_learn(plan, arm, rows, people, repeat, size))
        return (repeat, size), _scored(plan, fitted, held, repeat, size)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """What was learned in one arm: by target and learner a prediction, or the reason why there is none."""

    arm: str
    n_rows: int
    standard: Standard | None
    predictions: Mapping[tuple[str, str], Prediction | str]


def _generated(plan: Plan, cohort: Cohort, real: Rows, repeat: int, size: int) -> Rows | ConnectomeError:
    """Generated people, or why there are none."""
    try:
        return generated_people(plan.make_generator, cohort, real, plan.n_generated or size, plan.rng("generated", repeat, size))
    except ConnectomeError as error:
        return error


def _rows(
    plan: Plan, arm: str, real: Rows, generated: Rows | ConnectomeError | None, people: NDArray[np.intp], repeat: int, size: int
) -> Rows:
    """What an arm learns from."""
    generator, n_made = plan.rng(arm, repeat, size), plan.n_generated or size
    if arm == REAL:
        return real
    if isinstance(generated, Rows) and "generated" in arm:
        return generated if arm == "generated" else together(real, generated)
    if arm == "mixup":
        return together(real, mixed_up(real, n_made, generator))
    return together(real, averaged_pairs(real, plan.strata[people], n_made, generator))


def _learn(plan: Plan, arm: str, rows: Rows, people: NDArray[np.intp], repeat: int, size: int) -> _Fitted:
    """Every learner of every target, fitted to the rows of one arm."""
    standard = Standard.of(rows.x)
    x = standard.transform(rows.x)
    units = plan.units[people]
    predictions: dict[tuple[str, str], Prediction | str] = {}
    for target, learner in plan.pairs():
        key, y = (target.name, learner.name), rows.y[target.name]
        unlearnable = target.unlearnable(target.of(people))
        if unlearnable:
            predictions[key] = unlearnable
            continue
        # The same folds of people in every arm.
        strata = target.values[people] if target.codes else None
        folds = inner_folds(rows.made_from, rows.real, units, strata, plan.rng(f"folds {target.name}", repeat, size))
        try:
            predictions[key] = learner.fit(x, y, folds)
        except ConnectomeError as error:
            predictions[key] = str(error)
    return _Fitted(arm, len(rows), standard, predictions)


def _scored(plan: Plan, fitted: list[_Fitted], held: NDArray[np.intp], repeat: int, size: int) -> list[dict[str, Any]]:
    """Rows of the table, from one pass over the held-out people."""
    predicted: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for start in range(0, len(held), ROWS):
        x = modelled(plan.cohort, held[start : start + ROWS]).astype(np.float32)
        for one in fitted:
            if one.standard is None:
                continue
            standardised = one.standard.transform(x)
            for key, prediction in one.predictions.items():
                if not isinstance(prediction, str):
                    predicted.setdefault((one.arm, *key), []).append(prediction(standardised))
    rows = []
    for one in fitted:
        for target, learner in plan.pairs():
            parts = predicted.get((one.arm, target.name, learner.name))
            why = one.predictions[target.name, learner.name]
            scores = score_predictions(target.of(held), np.concatenate(parts)) if parts else {}
            for score in target.scores:
                value = float(scores[score][0]) if parts else np.nan
                reason = why if isinstance(why, str) else "" if np.isfinite(value) else f"held-out people are of one {target.name}"
                rows.append(table_row(target, learner, one.arm, repeat, size, score, value, one.n_rows, len(held), reason))
    return rows


def _table(rows: list[dict[str, Any]], plan: Plan) -> pd.DataFrame:
    """All rows, by target, learner, score, arm, size and repeat."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["value"] = table["value"].astype(np.float64)
    places = {
        "target": [target.name for target in plan.targets],
        "learner": [learner.name for learner in plan.learners],
        "score": [score for target in plan.targets for score in target.scores],
        "arm": list(plan.arms),
    }
    keys = {name: table[name].map({value: place for place, value in reversed(list(enumerate(values)))}) for name, values in places.items()}
    order = pd.DataFrame({**keys, "size": table["size"], "repeat": table["repeat"]}).sort_values([*places, "size", "repeat"]).index
    return table.loc[order].reset_index(drop=True)


@contextmanager
def _silenced(quiet: bool) -> Iterator[None]:
    """No bars of a generator's own while the block runs."""
    with redirect_stderr(io.StringIO()) if quiet and sys.stderr.isatty() else nullcontext():
        yield


def _distinct(names: Sequence[str], what: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Names once each, in order; one name alone will do."""
    given = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    unknown = [name for name in given if known and name not in known]
    if unknown:
        raise ConnectomeError(f"unknown {what} {unknown[0]!r}; the {what}s are {', '.join(map(repr, known))}")
    if not given:
        raise ConnectomeError(f"give at least one {what}")
    return given


def _whole(number: Any, what: str, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
        raise ConnectomeError(f"{what}: expected a whole number of {least} or more, got {number!r}")
    return int(number)

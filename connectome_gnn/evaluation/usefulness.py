"""Train on generated people, test on real ones, and the reverse: is what a learner needs to know in the generated connectomes?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.learners import LEARNERS, Learner, Prediction, Standard, chosen_learners, inner_folds
from connectome_gnn.evaluation.pairing import check_comparable, check_people
from connectome_gnn.evaluation.reference import ROWS, modelled
from connectome_gnn.evaluation.resampling import generator_for, resamples, units_of_rows
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.evaluation.targets import Target, read_target, score_predictions

__all__ = ["TARGETS", "TransferScore", "train_on_generated", "usefulness_scores"]

TARGETS = ("age", "sex")
"""What the scores of the part ``"usefulness"`` predict."""

MOST_ROWS = 2000
"""Rows that a learner learns from, at most."""

REFITS = 50
"""Draws of the people learned from, behind the part of an interval that is their chance."""

INTERVAL = (0.025, 0.975)
RANGES = {"r": (-1.0, 1.0), "mae": (0.0, np.inf), "r2": (-np.inf, 1.0), "auc": (0.0, 1.0), "accuracy": (0.0, 1.0)}
AVERAGES = "expected connectomes are averages, from which the differences between people are gone; score samples"


def train_on_generated(
    generated: Cohort,
    real: Cohort,
    targets: Sequence[str] | None = None,
    *,
    reference: Cohort | None = None,
    learners: Mapping[str, Any] | Iterable[str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Learn to predict phenotypes from generated people and test on real ones, and the reverse.

    Learners on both sides learn from equally many rows (the smaller number of the two, at most 2,000), so that a difference is not one of
    numbers. Edges are on the modelling scale, standardised by the rows learned from, which also choose the strength.

    Parameters
    ----------
    generated : generated people; K samples a person are kept as rows, a person's together in every inner fold.
    real : real people that the generator has not seen, one row each. The same participant_id may be in both cohorts: a generated
        connectome is not that person's.
    targets : phenotypes to predict; default age and sex, those that both cohorts have.
    reference : real people to learn from beside the generated ones, such as those that the generator learned from; default none, and the
        reverse then learns from ``real``.
    learners : as for :func:`~connectome_gnn.evaluation.augmentation.augmentation_study`; default LASSO, ridge, L1 and L2 logistic.
    n_bootstrap : resamples of people behind each interval, 0 for none.
    seed : seed of everything random.

    Returns
    -------
    table : one row a number: ``target``, ``learner``, ``trained_on``, ``tested_on`` (``generated``, ``real`` or ``reference``), ``score``
        (r, mae, r2; auc, accuracy), ``value``, ``low``, ``high`` (95 % interval, as of :class:`TransferScore`), ``null``
        (what a prediction that knows nothing scores, for r and auc), ``n_train``, ``n_test``, ``reason`` (why undefined).

    Raises
    ------
    ConnectomeError
        If cohorts are of other atlases or measures, hold expected connectomes, or have no target in common.
    """
    for role, cohort in (("generated", generated), ("real", real), ("reference", reference)):
        if cohort is not None:
            check_comparable(cohort, role, real)
            check_people(cohort, role)
    sides = {"generated": generated, "real": real} | ({} if reference is None else {"reference": reference})
    names = tuple(targets or [name for name in TARGETS if all(name in cohort.phenotypes for cohort in sides.values())])
    if not names:
        raise ConnectomeError(f"no target: generated and real people have neither {' nor '.join(TARGETS)} in common; name some")
    known = {role: {name: read_target(cohort, name) for name in names} for role, cohort in sides.items()}
    teacher = "real" if reference is None else "reference"
    weights = {
        role: resamples(units_of_rows(cohort, np.arange(cohort.n_people)), n_bootstrap, seed)
        for role, cohort in sides.items()
        if role != "reference"
    }
    pairs = [("generated", "real"), *([("reference", "real")] if reference is not None else []), (teacher, "generated")]
    rows: list[dict[str, Any]] = []
    for name in names:
        n = min(_most(known[role][name]) for role in ("generated", teacher))
        for learner in chosen_learners(learners):
            if learner.classes != bool(known["real"][name].codes):
                continue
            taught: dict[str, _Taught | str] = {}
            for trained, tested in pairs:
                if trained not in taught:
                    generator = generator_for(seed, f"{name} of {trained}")
                    taught[trained] = _teach(learner, sides[trained], known[trained][name], n, generator, n_bootstrap > 0)
                rows += _rows(taught[trained], known[tested][name], sides[tested], weights[tested], (name, learner.name, trained, tested))
    if not rows:
        raise ConnectomeError(f"no learner given predicts targets of the kind of {listed(names)}")
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class TransferScore(SharedScore):
    """How well a phenotype of people is predicted by ridge regression (numbers) or L2 logistic regression (classes) of their edges.

    Three scores a target, which belong together: ``train_on_generated_<target>`` learns from the generated people and is tested on the
    real ones; ``train_on_real_<target>`` learns from as many of the reference's people and is tested on the same real ones, so it is what
    generated people have to come up to; ``test_on_generated_<target>`` is the latter's learner, tested on the generated people: higher
    than on real people, they are too easy (stereotypes, or copies of those it learned from), lower, what it needs is not there.

    Shape: one number. Pearson's r for numbers, in [-1, 1], chance level 0; area under the ROC curve for classes (mean of each against
    the others), in [0, 1], chance level .5. The interval is for other people from the same sources, on both sides: draws resample those
    tested on, and add how the score deviates when the learner, as strongly shrunk, learns from resamples of those it learned from. (To
    resample only those tested on would not do: a learner that learned from noise is some direction or other, which can predict by luck, and
    for the same reason permuting their targets would give no honest p, and none is given. Measured coverage of the score's mean over such
    draws: 96 to 99 %, 91 % for a learner that learned from noise.) ``details`` holds the other scores (mae, r2;
    accuracy) and the numbers of rows. Undefined for expected connectomes and where a cohort has no such phenotype.
    Source: Esteban, Hyland & Rätsch 2017, arXiv:1706.02633 (train on synthetic, test on real, and the reverse).

    Parameters
    ----------
    direction : which of the three.
    target : the phenotype.
    """

    direction: Literal["train_on_generated", "train_on_real", "test_on_generated"]
    target: str

    @property
    def name(self) -> str:  # type: ignore[override]
        """``<direction>_<target>``."""
        return f"{self.direction}_{self.target}"

    def estimate(self, comparison: Comparison) -> Estimate:
        """r or AUC with bootstrap draws."""
        if comparison.generated.kind == "expected":
            return Estimate.undefined(AVERAGES)
        try:
            generated, real, reference = self._known(comparison)
        except ConnectomeError as error:
            return Estimate.undefined(str(error))
        n = min(_most(generated), _most(reference))
        learner = next(one for one in LEARNERS if one.name == ("l2 logistic" if real.codes else "ridge"))
        again = len(comparison.weights) > 1
        if self.direction == "train_on_generated":
            taught = _teach(learner, comparison.generated, generated, n, comparison.rng(f"{self.target} of generated"), again)
        else:
            taught = comparison.shared(
                f"{self.target} of {n} of the reference",
                lambda: _teach(learner, comparison.reference.cohort, reference, n, comparison.rng(f"{self.target} of reference"), again),
            )
        null = 0.5 if real.codes else 0.0
        if isinstance(taught, str):
            return Estimate.undefined(taught, null)
        if self.direction == "test_on_generated":
            return self._tested(comparison, taught, generated, comparison.generated, comparison.generated_rows, null)
        return self._tested(comparison, taught, real, comparison.real, comparison.real_rows[:, None], null)

    def _known(self, comparison: Comparison) -> tuple[Target, Target, Target]:
        cohorts = comparison.generated, comparison.real, comparison.reference.cohort
        generated, real, reference = (read_target(cohort, self.target) for cohort in cohorts)
        if not bool(generated.codes) == bool(real.codes) == bool(reference.codes):
            raise ConnectomeError(
                f"{self.target!r} is a number in one cohort and a class in another; describe it alike in participants.json"
            )
        return generated, real, reference

    def _tested(
        self, comparison: Comparison, taught: _Taught, target: Target, cohort: Cohort, rows: NDArray[np.intp], null: float
    ) -> Estimate:
        """The score of people with rows (M, K) in a cohort."""
        everybody = taught.as_learned(target)
        people = np.flatnonzero(everybody.known[rows].all(1))
        truth = everybody.of(rows[people].ravel())
        if len(people) < 2 or not np.ptp(truth, axis=0).any():
            return Estimate.undefined(f"those tested on are not at least 2 people who differ in {self.target}", null)
        weights = comparison.weights if cohort is comparison.real else comparison.generated_weights
        drawn = np.repeat(weights[:, people], rows.shape[1], 1)
        scores = _tested(taught, cohort, rows[people].ravel(), truth, drawn)
        record = {"trained on": taught.n_rows, "tested on": len(people), **{score: float(values[0]) for score, values in scores.items()}}
        return Estimate(scores[everybody.scores[0]], len(people), null, details=pd.DataFrame([record]))


def usefulness_scores(measures: tuple[str, ...] = ()) -> tuple[TransferScore, ...]:
    """The scores of the part ``"usefulness"``: three directions for age and for sex; topology measures play no part."""
    directions: tuple[Any, ...] = ("train_on_generated", "train_on_real", "test_on_generated")
    return tuple(TransferScore(direction, target) for target in TARGETS for direction in directions)


@dataclass(frozen=True, eq=False)
class _Taught:
    """A learner that has learned."""

    prediction: Prediction
    again: list[Prediction]
    standard: Standard
    codes: tuple[str, ...]
    n_rows: int

    def as_learned(self, target: Target) -> Target:
        """Another cohort's target by the classes learned; a class that was not among them is not known."""
        if target.codes == self.codes:
            return target
        position = np.array([self.codes.index(code) if code in self.codes else np.nan for code in target.codes])
        values = np.full(len(target.values), np.nan)
        values[target.known] = position[target.values[target.known].astype(np.intp)]
        return replace(target, codes=self.codes, values=values)


def _most(target: Target) -> int:
    return min(int(target.known.sum()), MOST_ROWS)


def _teach(learner: Learner, cohort: Cohort, target: Target, n: int, generator: np.random.Generator, again: bool) -> _Taught | str:
    """A learner taught with n rows of a cohort, people's first samples before their second ones; or why it cannot be.

    With ``again``, it is also taught with each of several draws of those rows.
    """
    sample = pd.Series(cohort.ids).groupby(cohort.ids.to_numpy()).cumcount().to_numpy()
    order = generator.permutation(np.flatnonzero(target.known))
    rows = np.sort(order[np.argsort(sample[order], kind="stable")][:n])
    y = target.of(rows)
    reason = target.unlearnable(y)
    if reason:
        return reason
    x = np.concatenate([modelled(cohort, rows[start : start + ROWS]).astype(np.float32) for start in range(0, n, ROWS)])
    standard = Standard.of(x)
    units = pd.factorize(cohort.units()[rows])[0]
    made_from = np.repeat(np.arange(n)[:, None], 2, 1)
    folds = inner_folds(made_from, np.ones(n, bool), units, target.values[rows] if target.codes else None, generator)
    x = standard.transform(x)
    fitted = learner.fit(x, y, folds)
    draws = [np.repeat(np.arange(n), weights.astype(np.intp)) for weights in resamples(units, REFITS if again else 0, _seed(generator))[1:]]
    learnable = [rows for rows in draws if not target.unlearnable(y[rows])]
    return _Taught(fitted, learner.refits(x, y, fitted, learnable), standard, target.codes, n)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


def _tested(
    taught: _Taught, cohort: Cohort, rows: NDArray[np.intp], truth: NDArray[np.float64], weights: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Scores (1 + B,) of some rows of a cohort, under weights (1 + B, rows): other people tested on, and others learned from."""
    learned = [taught.prediction, *taught.again]
    parts: list[list[NDArray[np.float64]]] = [[] for _ in learned]
    for start in range(0, len(rows), ROWS):
        x = taught.standard.transform(modelled(cohort, rows[start : start + ROWS]).astype(np.float32))
        for part, prediction in zip(parts, learned, strict=True):
            part.append(prediction(x))
    predicted, *others = [np.concatenate(part) for part in parts]
    scores = score_predictions(truth, predicted, weights)
    if len(others) > 1:
        refitted = [score_predictions(truth, other) for other in others]
        for name, values in scores.items():
            chance = np.array([float(one[name][0]) for one in refitted])
            values[1:] += np.resize(chance - chance.mean(), len(values) - 1)
            np.clip(values, *RANGES[name], out=values)
    return scores


def _rows(
    taught: _Taught | str, target: Target, cohort: Cohort, weights: NDArray[np.float32], names: tuple[str, str, str, str]
) -> list[dict[str, Any]]:
    """The rows of one learner, tested on one cohort."""
    record = dict(zip(("target", "learner", "trained_on", "tested_on"), names, strict=True))
    nulls = {"r": 0.0, "auc": 0.5}
    if isinstance(taught, str):
        empty = {"value": np.nan, "low": np.nan, "high": np.nan, "n_train": 0, "n_test": 0, "reason": taught}
        return [{**record, "score": score, "null": nulls.get(score, np.nan), **empty} for score in target.scores]
    everybody = taught.as_learned(target)
    rows = np.flatnonzero(everybody.known)
    scores = _tested(taught, cohort, rows, everybody.of(rows), weights[:, rows])
    answer = []
    for score, values in scores.items():
        draws = values[1:][np.isfinite(values[1:])]
        low, high = np.quantile(draws, INTERVAL) if len(draws) > 1 else (np.nan, np.nan)
        numbers = {"value": float(values[0]), "low": float(low), "high": float(high), "null": nulls.get(score, np.nan)}
        reason = "" if np.isfinite(values[0]) else f"those tested on are of one {names[0]}"
        answer.append({**record, "score": score, **numbers, "n_train": taught.n_rows, "n_test": len(rows), "reason": reason})
    return answer

"""From out-of-fold predictions to the tables of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.evaluation.statistics import permutation_p
from connectome_gnn.evaluation.targets import score_predictions
from connectome_gnn.prediction.crossvalidation import OutOfFold
from connectome_gnn.prediction.folds import Split
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.result import BRAIN_AGE_SCORES, EVERYBODY, WITHIN, PredictionResult
from connectome_gnn.prediction.scores import LOWER_IS_BETTER, calibration_table, null_of, score_names, scored

__all__ = ["Told", "result_of"]

MEAN = "mean"
INTERVAL = (0.025, 0.975)
TESTED = ("mae", "r", "r2", "auc", "balanced_accuracy", "log_loss", "brier")
"""Scores that a p is given of: higher, or lower, is better."""

RANKING = ("r", "auc", "calibration_slope")
"""Scores that the mean predictor has none of: it says one thing of everybody in a fold, and what differs between folds is their means."""

Values = dict[tuple[str, str], NDArray[np.float64]]
"""Scores (1 + B,) by over and name."""


@dataclass(frozen=True, eq=False)
class Told:
    """What a result says of itself.

    Attributes
    ----------
    people, target, task : who was predicted, and what.
    left_out : rows without a value.
    by_column : whether one level of a column at a time was left out.
    brain_age : whether the target is an age whose gap is wanted.
    settings : plain values.
    """

    people: Cohort
    target: Target
    task: str
    left_out: int
    by_column: bool
    brain_age: bool
    settings: Mapping[str, Any]


def result_of(
    told: Told, seen: OutOfFold, null: Mapping[str, NDArray[np.float64]], splits: Sequence[Split], weights: NDArray[np.float32]
) -> PredictionResult:
    """The result.

    Parameters
    ----------
    seen : every model's predictions, the first model the one that differences are against.
    null : of some models, predictions under permuted targets, (P, N) or (P, N, K).
    splits : who was predicted by whom.
    weights : (1 + B, N) resamples of people, as they are first.
    """
    truth = _truth(told.target)
    names = tuple(seen.predicted)
    values = {name: _values(truth, seen.predicted[name], splits, weights, told.by_column) for name in names}
    for key, drawn in values.get(MEAN, {}).items():
        if key[1] in RANKING:
            drawn[:] = np.nan
    if told.brain_age:
        for name in names:
            values[name] |= _gap_scores(told.target, seen, name, splits, weights)
    by_chance = {name: _null_values(truth, said, splits, told.by_column) for name, said in null.items()}
    observed = {name: _values(truth, seen.predicted[name][:1], splits, weights[:1], told.by_column) for name in null}
    rows = []
    for name in names:
        for (over, score), drawn in values[name].items():
            row: dict[str, Any] = {"model": name, "score": score, "over": over, **_interval(drawn, "")}
            if score == "ece":  # resampled people are less alike than people are, which ece counts as error: reflected
                row["low"], row["high"] = max(2 * row["value"] - row["high"], 0), max(2 * row["value"] - row["low"], row["value"])
            row["null"] = null_of(score, len(told.target.classes))
            row["p"] = np.nan
            if name in null and score in TESTED:
                tail = "less" if score in LOWER_IS_BETTER else "greater"
                row["p"] = float(permutation_p(observed[name][over, score][0], by_chance[name][over, score], tail))  # type: ignore[arg-type]
            if name != names[0]:
                row |= _interval(drawn - values[names[0]][over, score], "difference")
            rows.append(row)
    columns = ["model", "score", "over", "value", "low", "high", "null", "p", "difference", "difference_low", "difference_high"]
    scores = pd.DataFrame(rows).reindex(columns=columns)
    curves = [calibration_table(truth, seen.predicted[name][0]).assign(model=name) for name in names]
    calibration = pd.concat(curves, ignore_index=True)
    note = told.people.described.get(told.target.name, {})
    return PredictionResult(
        target=told.target.name,
        task=told.task,
        classes=told.target.classes,
        unit=str(note.get("Units") or "") if not told.target.classes else "",
        models=names,
        scores=scores,
        folds=_folds(truth, seen, splits),
        predictions=_predictions(told, seen, splits),
        calibration=calibration[["model", *(column for column in calibration if column != "model")]],
        n_people=len(told.people),
        left_out=told.left_out,
        settings=told.settings,
        notes=_notes(told, scores, seen, null, splits),
    )


def _truth(target: Target) -> NDArray[np.float64]:
    """Numbers (N,), or classes as 0 and 1 (N, K)."""
    return (target.values[:, None] == np.arange(len(target.classes))).astype(np.float64) if target.classes else target.values


def _values(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], splits: Sequence[Split], weights: NDArray, by_column: bool
) -> Values:
    """Every score (1 + B,), averaged over repeats."""
    each = [scored(truth, said, weights) for said in predicted]
    values: Values = {(EVERYBODY, name): np.mean([one[name] for one in each], 0) for name in each[0]}
    if by_column:
        parts = [(scored(truth[one.test], predicted[0][one.test], weights[:, one.test]), weights[:, one.test].sum(1)) for one in splits]
        for name in each[0]:
            stacked = np.stack([part[name] for part, _ in parts])
            counted = np.where(np.isfinite(stacked), np.stack([number for _, number in parts]), 0)
            total = counted.sum(0)
            sums = (np.where(counted > 0, stacked, 0) * counted).sum(0)
            values[WITHIN, name] = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
    return values


def _null_values(truth: NDArray[np.float64], predicted: NDArray[np.float64], splits: Sequence[Split], by_column: bool) -> Values:
    """Every score (P,) of predictions learned from permuted targets, of which the truth is not."""
    once = np.ones((1, len(truth)))
    each = [_values(truth, said[None], splits, once, by_column) for said in predicted]
    return {key: np.array([one[key][0] for one in each]) for key in each[0]}


def _gaps(target: Target, seen: OutOfFold, name: str, splits: Sequence[Split]) -> NDArray[np.float64]:
    """Corrected gap of everybody, (repeats, N); NaN where no correction was asked for."""
    gaps = np.full(seen.predicted[name].shape, np.nan)
    for split, bias in zip(splits, seen.biases.get(name, ()), strict=False):
        gaps[split.repeat, split.test] = bias.gap(target.values[split.test], seen.predicted[name][split.repeat, split.test])
    return gaps


def _gap_scores(target: Target, seen: OutOfFold, name: str, splits: Sequence[Split], weights: NDArray) -> Values:
    """Spread of the gap, and how it still goes with age, (1 + B,) each, averaged over repeats."""
    age, total = target.values, weights.sum(1)
    parts: dict[str, list[NDArray[np.float64]]] = {score: [] for score in BRAIN_AGE_SCORES}
    for said, gap in zip(seen.predicted[name], _gaps(target, seen, name, splits), strict=True):
        undefined = np.full(len(weights), np.nan)
        known = np.isfinite(gap).all() and name != MEAN
        mean = weights @ gap / total
        parts["gap_sd"].append(np.sqrt(np.maximum(weights @ gap**2 / total - mean**2, 0)) if known else undefined)
        parts["gap_r_with_age"].append(score_predictions(age, gap, weights, ["r"])["r"] if known else undefined)
        parts["raw_gap_r_with_age"].append(score_predictions(age, said - age, weights, ["r"])["r"] if name != MEAN else undefined)
    return {(EVERYBODY, score): np.mean(values, 0) for score, values in parts.items()}


def _folds(truth: NDArray[np.float64], seen: OutOfFold, splits: Sequence[Split]) -> pd.DataFrame:
    """One row a model and fold."""
    rows = []
    for name, said in seen.predicted.items():
        for split in splits:
            values = scored(truth[split.test], said[split.repeat, split.test])
            facts = {"model": name, "repeat": split.repeat, "fold": split.name, "n_train": len(split.train), "n_test": len(split.test)}
            rows.append({**facts, **{score: float(value[0]) for score, value in values.items()}})
    return pd.DataFrame(rows)


def _predictions(told: Told, seen: OutOfFold, splits: Sequence[Split]) -> pd.DataFrame:
    """One row a model, repeat and person, in the cohort's order."""
    target, levels = told.target, np.array(told.target.classes, dtype=object)
    truth = levels[target.values.astype(np.intp)] if target.classes else target.values
    tables = []
    for name, said in seen.predicted.items():
        gaps = _gaps(target, seen, name, splits) if told.brain_age else said
        for repeat in range(len(said)):
            fold = np.empty(len(truth), dtype=object)
            for split in splits:
                if split.repeat == repeat:
                    fold[split.test] = split.name
            table = pd.DataFrame(
                {"participant_id": told.people.ids.to_numpy(), "model": name, "repeat": repeat, "fold": fold, "truth": truth}
            )
            if "sample" in told.people.phenotypes:
                table.insert(1, "sample", told.people.phenotypes["sample"].to_numpy())
            if target.classes:
                table["predicted"] = levels[said[repeat].argmax(1)]
                for place, level in enumerate(levels):
                    table[f"p_{level}"] = said[repeat][:, place]
            else:
                table["predicted"] = said[repeat]
            if told.brain_age:
                table["raw_gap"] = said[repeat] - truth
                table["corrected"], table["gap"] = truth + gaps[repeat], gaps[repeat]
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _interval(drawn: NDArray[np.float64], name: str) -> dict[str, float]:
    """A value and its percentile interval from (1 + B,) values."""
    keys = (name or "value", f"{name}_low" if name else "low", f"{name}_high" if name else "high")
    defined = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(defined, INTERVAL) if len(defined) > 1 and np.isfinite(drawn[0]) else (np.nan, np.nan)
    return dict(zip(keys, (float(drawn[0]), float(low), float(high)), strict=True))


def _notes(
    told: Told, scores: pd.DataFrame, seen: OutOfFold, null: Mapping[str, NDArray[np.float64]], splits: Sequence[Split]
) -> tuple[str, ...]:
    """What a reader should know, a sentence each."""
    target, settings, notes = told.target, told.settings, []
    if told.left_out:
        notes.append(f"{told.left_out} of {told.left_out + len(told.people)} people have no {target.name} and were left out.")
    if told.by_column:
        sizes = ", ".join(f"{split.name} {len(split.test)}" for split in splits)
        notes.append(f"One {settings['by']} at a time was left out and predicted by the others: {sizes} people.")
    if settings["confounds"]:
        notes.append(
            f"Linear effects of {listed(settings['confounds'])} were taken out of the edges, learned from each fold's training people."
        )
    if settings["harmonise"]:
        notes.append(f"Edges were harmonised ({settings['harmonise']}), learned from each fold's training people.")
    for name, biases in seen.biases.items():
        if biases and name != MEAN:
            slope = float(np.mean([one.slope for one in biases]))
            notes.append(
                f"Predicted age rises by {slope:.2f} a year of age in training people ({name}); the gap is taken beside that line "
                f"({biases[0].correction})."
            )
    headline = score_names(target.classes)[0] if target.classes else "r"
    over = WITHIN if told.by_column else EVERYBODY
    rows = scores[(scores["score"] == headline) & (scores["over"] == over) & (scores["model"] != MEAN)]
    chance = null_of(headline, len(target.classes))
    low = rows["low"].to_numpy(np.float64)
    blind = list(rows["model"][np.isfinite(low) & (low <= chance)])
    if blind:
        what = "AUC" if target.classes else "r"
        notes.append(
            f"The interval of {what} holds {chance:g}, or lies below, for {', '.join(blind)}: no evidence that {target.name} can be read "
            "from these edges."
        )
    if null:
        within = f" within levels of {settings['permute_within']}" if settings["permute_within"] else ""
        notes.append(f"p: {settings['n_permutations']} permutations of {target.name}{within}, models refitted to each.")
    if settings["n_permutations"]:
        without = [name for name in seen.predicted if name not in null and name != MEAN]
        if without:
            notes.append(f"No p for {', '.join(without)}: each permutation would need a training.")
    return tuple(notes)

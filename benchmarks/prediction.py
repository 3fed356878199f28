"""What graph networks add to simple models: ConnectomeGNN and every baseline on three real cohorts, 5-fold and by site.

python benchmarks/prediction.py [--small] [--seeds 3] [--cohorts lemon ...] [--models ridge gnn ...] [--runs FILE]

Needs CONNECTOME_GNN_DATA. All models see the same folds; everything that a model tunes it tunes inside the training people. Scores are of
out-of-fold predictions of everybody, averaged over the seeds (each with its own folds and initial weights), and where one site is left out
at a time also the mean of each site's own; intervals resample people, and the difference from ridge is paired. --runs FILE keeps
out-of-fold predictions, person by person, so that a run can be stopped and gone on with; results/prediction.json holds scores alone.
--small takes one seed and 120 people of each cohort, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch

from connectome_gnn import Cohort, ConnectomeWarning
from connectome_gnn.evaluation.resampling import resamples
from connectome_gnn.prediction.catalogue import MODELS
from connectome_gnn.prediction.result import PredictionResult
from connectome_gnn.prediction.scores import LOWER_IS_BETTER, scored
from connectome_gnn.prediction.tasks import classify, predict

TASKS = (
    ("lemon", "age", "person"),
    ("lemon", "sex", "person"),
    ("lemon", "bmi", "person"),
    ("ucl_parkinson", "age", "person"),
    ("ucl_parkinson", "diagnosis", "person"),
    ("corr_kki", "sex", "person"),
    ("corr_kki", "sex", "site"),
)
RIVAL = "ridge"
HEADLINES = {"regression": ("r", "mae", "r2"), "classification": ("auc", "balanced_accuracy", "log_loss", "brier")}
SHOWN = {
    "r": "r",
    "mae": "MAE",
    "r2": "R2",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
}
BLIND = {"r", "auc"}
"""Scores that the mean predictor has none of."""

SAME_FOR_EVERY_SEED = ("mean", "kernel ridge")
"""Models that draw nothing at random: where folds are sites, one seed is all seeds."""

N_BOOTSTRAP = 2000
SMALL_PEOPLE = 120


def main() -> None:
    """Measure, write results/prediction.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cohorts", nargs="+", default=sorted({name for name, _, _ in TASKS}))
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        sys.exit("skipped: CONNECTOME_GNN_DATA names no folder of real cohorts")
    warnings.simplefilter("ignore", ConnectomeWarning)
    torch.set_num_threads(1)
    seeds = range(1 if options.small else options.seeds)
    runs: dict[str, Any] = json.loads(options.runs.read_text()) if options.runs and options.runs.is_file() else {}
    record: dict[str, Any] = {"tasks": {} if options.small else harness.known("prediction").get("tasks", {})}
    for name, target, by in TASKS:
        if name not in options.cohorts:
            continue
        cohort = Cohort.load(Path(data) / name)
        if options.small:
            cohort = cohort.take(np.sort(np.random.default_rng(0).permutation(len(cohort))[:SMALL_PEOPLE]))
        key = f"{name}, {target}" + ("" if by == "person" else f", one {by} left out")
        known = runs.setdefault(key + (", small" if options.small else ""), {})
        for model in dict.fromkeys((RIVAL, *options.models)):
            for seed in seeds if by == "person" or model not in SAME_FOR_EVERY_SEED else seeds[:1]:
                if str(seed) in known.get(model, {}):
                    continue
                known.setdefault(model, {})[str(seed)] = measured(cohort, target, by, model, seed)
                print(f"{key}: {model}, seed {seed} done", file=sys.stderr, flush=True)
                if options.runs:
                    options.runs.write_text(json.dumps(runs))
        record["tasks"][key] = entry(cohort, target, by, known)
        if not options.small:
            harness.write("prediction", record)
    print(summary(record))


def measured(cohort: Cohort, target: str, by: str, model: str, seed: int) -> dict[str, Any]:
    """Out-of-fold predictions of one model, numbers or probabilities, and what they took."""
    task = predict if cohort.phenotypes[target].dtype.kind in "fi" else classify
    start = time.process_time()
    result: PredictionResult = task(cohort, target, model, by=by, n_bootstrap=0, n_permutations=0, seed=seed)
    seconds = time.process_time() - start
    rows = result.predictions[result.predictions["model"] == model]
    columns = [f"p_{level}" for level in result.classes] or ["predicted"]
    within = result.scores[(result.scores["model"] == model) & (result.scores["over"] == "within folds")]
    return {
        "predicted": np.round(rows[columns].to_numpy(float), 5).tolist(),
        "seconds": round(seconds, 1),
        "within": {row.score: float(row.value) for row in within.itertuples() if np.isfinite(row.value)},
    }


def entry(cohort: Cohort, target: str, by: str, runs: dict[str, Any]) -> dict[str, Any]:
    """Scores of all models, with intervals and differences from the rival over the same resamples of people."""
    column = cohort.phenotypes[target]
    people = cohort.take(column.notna().to_numpy())
    values = people.phenotypes[target]
    numbers = values.dtype.kind in "fi"
    levels = sorted(set(values)) if not numbers else []
    truth = values.to_numpy(float) if numbers else (values.to_numpy()[:, None] == np.array(levels, dtype=object)).astype(float)
    weights = resamples(people.units(), N_BOOTSTRAP)
    table: dict[str, Any] = {}
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for model, by_seed in runs.items():
        each = []
        for run in by_seed.values():
            predicted = np.array(run["predicted"])
            each.append(scored(truth, predicted[:, 0] if numbers else predicted, weights))
        drawn[model] = {score: np.mean([one[score] for one in each], 0) for score in each[0]}
    task = "regression" if numbers else "classification"
    for model, scores in drawn.items():
        row: dict[str, Any] = {"seeds": len(runs[model]), "seconds": float(np.mean([run["seconds"] for run in runs[model].values()]))}
        for score in HEADLINES[task]:
            if model == "mean" and score in BLIND:
                continue
            row[score] = float(scores[score][0])
            row |= harness.interval(score, scores[score][1:])
            if model != RIVAL:
                difference = scores[score] - drawn[RIVAL][score]
                row[f"{score}_difference"] = float(difference[0])
                row |= harness.interval(f"{score}_difference", difference[1:])
        within = [run["within"] for run in runs[model].values() if run["within"]]
        if within:
            row["within"] = {score: float(np.mean([one[score] for one in within])) for score in within[0]}
        table[model] = row
    return {"task": task, "by": by, "people": len(people), "regions": people.n_regions, "classes": levels, "models": table}


def summary(record: dict[str, Any]) -> str:
    """The tables in Markdown."""
    return "\n\n".join(
        f"{key}: {one['people']} people, {one['regions']} regions\n\n{tabulated(one)}" for key, one in record["tasks"].items()
    )


def tabulated(one: dict[str, Any]) -> str:
    """A Markdown table of models, the best first."""
    scores = HEADLINES[one["task"]]
    first = scores[0]
    better = "lower" if first in LOWER_IS_BETTER else "higher"
    apart = [] if one["by"] == "person" else [f"{SHOWN[first]} within {one['by']}s"]
    head = ["model", *(f"{SHOWN[score]}" for score in scores), f"{SHOWN[first]} minus ridge's", *apart, "seeds", "s a run"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    worst = -np.inf if better == "higher" else np.inf
    order = sorted(one["models"].items(), key=lambda item: item[1].get(first, worst), reverse=better == "higher")
    for name, row in order:
        cells = [f"**{name}**" if name == "gnn" else name]
        cells += [
            "" if score not in row else f"{row[score]:.2f} ({row[f'{score}_low']:.2f} to {row[f'{score}_high']:.2f})" for score in scores
        ]
        gain = f"{first}_difference"
        cells.append(f"{row[gain]:+.3f} ({row[f'{gain}_low']:+.3f} to {row[f'{gain}_high']:+.3f})" if gain in row else "")
        cells += [f"{row['within'][first]:.2f}" if first in row.get("within", {}) else "" for _ in apart]
        lines.append("| " + " | ".join([*cells, str(row["seeds"]), f"{row['seconds']:.0f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""What graph networks add to simple models: ConnectomeGNN and every baseline on three real cohorts, 5-fold and by site.

python benchmarks/prediction.py [--small] [--parts tasks layers] [--seeds 3] [--cohorts lemon ...] [--models ridge gnn ...] [--runs FILE]

tasks : needs CONNECTOME_GNN_DATA. All models see the same folds; everything that a model tunes it tunes inside the training people. Scores
are of out-of-fold predictions of everybody, averaged over the seeds (each with its own folds and initial weights), and where one site is
left out at a time also the mean of each site's own; intervals resample people, and the difference from ridge is paired. --runs FILE keeps
out-of-fold predictions, person by person, so that a run can be stopped and gone on with; results/prediction.json holds scores alone.
layers : processor time of ConnectomeGNN's messages, forward and backward, over PyG's edges and in matrices, by kind of messages, regions
and density, one thread; from the density at which both take as long the rule behind ``compute="auto"`` was taken.
--small takes one seed and 120 people of each cohort, and layers of 100 regions, and writes nothing.
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
from connectome_gnn.prediction.layers import LAYERS
from connectome_gnn.prediction.network import GraphNetwork, GraphNetworkConfig, Scaling
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

REGIONS = (100, 200, 400)
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
BATCH = 16
HOPELESS = 3.0
"""Times as slow as matrices, above which sparse compute is measured at no further density."""

N_BOOTSTRAP = 2000
SMALL_PEOPLE = 120


def main() -> None:
    """Measure, write results/prediction.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--parts", nargs="+", default=["tasks", "layers"], choices=("tasks", "layers"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cohorts", nargs="+", default=sorted({name for name, _, _ in TASKS}))
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {} if options.small else harness.known("prediction")
    if "layers" in options.parts:
        record["layers"] = layers(REGIONS[:1] if options.small else REGIONS)
        if not options.small:
            harness.write("prediction", record)
    if "tasks" in options.parts:
        tasks(options, record)
    print(summary(record))


def tasks(options: argparse.Namespace, record: dict[str, Any]) -> None:
    """Measure every model on every task, into the record, which is written after each."""
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        sys.exit("skipped: CONNECTOME_GNN_DATA names no folder of real cohorts")
    warnings.simplefilter("ignore", ConnectomeWarning)
    seeds = range(1 if options.small else options.seeds)
    runs: dict[str, Any] = json.loads(options.runs.read_text()) if options.runs and options.runs.is_file() else {}
    record.setdefault("tasks", {})
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
    drawn: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for model, by_seed in runs.items():
        drawn[model] = {}
        for seed, run in by_seed.items():
            predicted = np.array(run["predicted"])
            drawn[model][seed] = scored(truth, predicted[:, 0] if numbers else predicted, weights)
    task = "regression" if numbers else "classification"
    for model, scores in drawn.items():
        row: dict[str, Any] = {"seeds": len(scores), "seconds": float(np.mean([run["seconds"] for run in runs[model].values()]))}
        for score in HEADLINES[task]:
            if model == "mean" and score in BLIND:
                continue
            own, rival = (np.mean([drawn[one][seed][score] for seed in scores], 0) for one in (model, RIVAL))  # on the same folds
            row[score] = float(own[0])
            row |= harness.interval(score, own[1:])
            if model != RIVAL:
                row[f"{score}_difference"] = float(own[0] - rival[0])
                row |= harness.interval(f"{score}_difference", own[1:] - rival[1:])
        within = [run["within"] for run in runs[model].values() if run["within"]]
        if within:
            row["within"] = {score: float(np.mean([one[score] for one in within])) for score in within[0]}
        table[model] = row
    return {"task": task, "by": by, "people": len(people), "regions": people.n_regions, "classes": levels, "models": table}


def layers(regions: tuple[int, ...]) -> list[dict[str, Any]]:
    """Milliseconds of messages and their gradients for 16 people, one row a kind of messages and number of regions.

    ``sparse`` is by density; ``crossover`` the density at which sparse compute takes as long as dense, between the two around it on
    logarithmic scales, or the least or greatest measured where it is always slower or faster.
    """
    rows = []
    for layer in LAYERS:
        for n_regions in regions:
            dense = milliseconds(layer, n_regions, DENSITIES[0], "dense")  # the same at every density
            sparse: dict[str, float] = {}
            for density in DENSITIES:
                sparse[str(density)] = milliseconds(layer, n_regions, density, "sparse")
                if sparse[str(density)] > HOPELESS * dense:
                    break
            ratios = np.log(np.array(list(sparse.values())) / dense)
            places = np.log([float(density) for density in sparse])
            crossover = float(np.exp(np.interp(0, np.maximum.accumulate(ratios), places)))
            rows.append({"layer": layer, "regions": n_regions, "dense": dense, "sparse": sparse, "crossover": crossover})
            print(f"{layer}, {n_regions} regions: sparse below {crossover:.3f}", file=sys.stderr, flush=True)
    return rows


def milliseconds(layer: str, n_regions: int, density: float, compute: str) -> float:
    """The shortest processor time of a round of messages forward and backward: what other programs on the machine disturb least."""
    generator = torch.Generator().manual_seed(0)
    strength = torch.rand(n_regions, n_regions, generator=generator).triu(1)
    kept = strength >= strength[strength > 0].quantile(1 - density) if density < 1 else strength > 0
    nothing = torch.zeros(n_regions, 0)
    scaling = Scaling(torch.zeros(1), torch.ones(1), nothing, nothing, kept | kept.T)
    config = GraphNetworkConfig(layer=layer, node_features=("identity",), compute=compute, density=density)
    network = GraphNetwork(config, scaling, torch.zeros(n_regions, 0), torch.zeros(n_regions, dtype=torch.long), 1)
    weight = torch.randn(BATCH, n_regions, n_regions, generator=generator) * scaling.backbone
    times = []
    for _ in range(4):
        start = time.process_time()
        network.states(torch.zeros(BATCH, n_regions, 0), weight).sum().backward()
        times.append(time.process_time() - start)
    return 1000 * min(times[1:])


def summary(record: dict[str, Any]) -> str:
    """The tables in Markdown."""
    parts = [f"{key}: {one['people']} people, {one['regions']} regions\n\n{tabulated(one)}" for key, one in record.get("tasks", {}).items()]
    if "layers" in record:
        parts.append(f"Messages forward and backward, {BATCH} people, ms\n\n{layers_tabulated(record['layers'])}")
    return "\n\n".join(parts)


def layers_tabulated(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of times by density."""
    head = ["messages", "regions", "dense", *(f"sparse, {density:g}" for density in DENSITIES), "sparse is faster below"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        sparse = [f"{row['sparse'][str(density)]:.1f}" if str(density) in row["sparse"] else "" for density in DENSITIES]
        cells = [row["layer"], str(row["regions"]), f"{row['dense']:.1f}", *sparse, f"{row['crossover']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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

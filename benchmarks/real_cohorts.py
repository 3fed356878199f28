"""Held-out fidelity on three real cohorts: the generator and its rivals, 5-fold, several split seeds.

python benchmarks/real_cohorts.py [--seeds 5] [--folds 5] [--cohorts lemon ...]

Needs CONNECTOME_GNN_DATA. Cohorts that are not measured again keep their place in results/real_cohorts.json. Nothing is chosen on the
outer folds: every choice that the generator makes is made inside the training people.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import harness

from connectome_gnn import Cohort, ConnectomeWarning, evaluate
from connectome_gnn.generation.comparison import GENERATOR

COHORTS = ("lemon", "ucl_parkinson", "corr_kki")
SAMPLES = 5


def main() -> None:
    """Measure, write results/real_cohorts.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cohorts", nargs="+", default=COHORTS)
    options = parser.parse_args()
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        sys.exit("skipped: CONNECTOME_GNN_DATA names no folder of real cohorts")
    warnings.simplefilter("ignore", ConnectomeWarning)
    record = {"folds": options.folds, "samples_a_person": SAMPLES, "cohorts": harness.known("real_cohorts").get("cohorts", {})}
    for name in options.cohorts:
        cohort = Cohort.load(Path(data) / name)
        parts, people, paths = [], [], []
        for seed in range(options.seeds):
            for train_rows, test_rows in cohort.folds(options.folds, seed=seed):
                train, test = cohort.take(train_rows), cohort.take(test_rows)
                rows, fitted = harness.held_out(train, test, seed)
                parts.append(rows)
                model = fitted[GENERATOR]
                paths.append(model.earned["weight"])
                if seed == 0:
                    sample = model.sample(test.phenotypes, n=SAMPLES, seed=seed)
                    scores = evaluate(sample, test, reference=train, parts="distribution", n_bootstrap=0, log_prob=model.log_prob)
                    people.append({score: entry["value"] for score, entry in scores.to_dict().items()})
            print(f"{name}: split seed {seed} done", file=sys.stderr, flush=True)
        record["cohorts"][name] = {
            "split_seeds": options.seeds,
            "people": cohort.n_people,
            "regions": cohort.n_regions,
            "models": harness.pooled(parts),
            "samples": harness.mean_scores(people),
            "mean_weight_of_path": {path: float(sum(w[path] for w in paths) / len(paths)) for path in paths[0].index},
        }
        harness.write("real_cohorts", record)
    print(summary(record))


def summary(record: dict) -> str:
    """The tables in Markdown."""
    return "\n\n".join(
        f"{name}: {entry['people']} people, {entry['regions']} regions\n\n{harness.markdown(entry['models'])}"
        for name, entry in record["cohorts"].items()
    )


if __name__ == "__main__":
    main()

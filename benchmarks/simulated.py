"""Held-out fidelity on simulated people whose truth is known: the generator and its rivals, with the share of the ceiling.

python benchmarks/simulated.py [--seeds 10] [--sizes 500x64x40 "3000x64x40, non-linear effects" ...] [--full]

Sizes that are not measured again keep their place in results/simulated.json. Each seed is another cohort: other people, other effects.
``--full`` adds UK Biobank's size once (8,086 people, 200 regions, 194 phenotypes).
"""

from __future__ import annotations

import argparse
import sys
import warnings

import harness

from connectome_gnn import ConnectomeWarning, evaluate, simulate_cohort
from connectome_gnn.generation.comparison import GENERATOR

EFFECTS: dict[str, dict] = {
    "no effects": {"explained": 0.0},
    "non-linear effects": {"nonlinearity": 0.8},
    "effects along the backbone": {"backbone_spread": 0.8},
}
"""What may stand after a size, and the simulator's settings that it means."""
SIZES = ("500x64x40", "3000x64x40", "800x64x40, no effects", "3000x64x40, non-linear effects", "3000x64x40, effects along the backbone")
FULL = "8086x200x194"
SAMPLES = 3


def main() -> None:
    """Measure, write results/simulated.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    runs = [(size, options.seeds) for size in options.sizes]
    if options.full:
        runs.append((FULL, 1))
    record: dict = {"split": 0.8, "samples_a_person": SAMPLES, "cohorts": harness.known("simulated").get("cohorts", {})}
    for title, seeds in runs:
        size, _, effects = title.partition(", ")
        people, regions, phenotypes = map(int, size.split("x"))
        settings = EFFECTS[effects] if effects else {}
        parts, samples, ranks = [], [], []
        for seed in range(seeds):
            train, test = simulate_cohort(people, regions, phenotypes, seed=seed, **settings).split(0.8, seed=seed)
            rows, fitted = harness.held_out(train, test, seed)
            rows["people"] = rows["people"] + f" of cohort {seed}"
            parts.append(rows)
            error = {name: row["error"].sum() for name, row in rows.items() if name not in ("people", "truth")}
            ranks.append({"best": min(error, key=error.__getitem__), "rank": 1 + sum(bool(e < error[GENERATOR]) for e in error.values())})
            sample = fitted[GENERATOR].sample(test.phenotypes, n=SAMPLES, seed=seed)
            model = fitted[GENERATOR]
            scores = evaluate(sample, test, reference=train, parts="distribution", n_bootstrap=0, log_prob=model.log_prob)
            samples.append({score: entry["value"] for score, entry in scores.to_dict().items()})
            print(f"{title}: cohort {seed} done", file=sys.stderr, flush=True)
        models = harness.pooled(parts)
        plain = max(models[name]["r2_beyond_mean"] for name in ("ridge", "component ridge", "component ridge with age terms"))
        record["cohorts"][title] = {
            "cohorts": seeds,
            "models": models,
            "ratio_to_best_plain_ridge": models[GENERATOR]["r2_beyond_mean"] / plain if plain > 0.001 else None,
            "times_best": sum(entry["rank"] == 1 for entry in ranks),
            "ranks": ranks,
            "samples": harness.mean_scores(samples),
        }
        harness.write("simulated", record)
    print(summary(record))


def summary(record: dict) -> str:
    """The tables in Markdown."""
    return "\n\n".join(
        f"{title} (people x regions x phenotypes), {entry['cohorts']} cohorts; generator best in {entry['times_best']}\n\n"
        f"{harness.markdown(entry['models'], ceiling=entry['ratio_to_best_plain_ridge'] is not None)}"
        for title, entry in record["cohorts"].items()
    )


if __name__ == "__main__":
    main()

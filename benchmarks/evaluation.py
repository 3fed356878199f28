"""Scores on planted cases whose answer is known, on every generator and rival, and the time of a large evaluation.

python benchmarks/evaluation.py [--planted] [--models] [--speed]        default: all three

Planted cases are simulated people. Models are fitted to 80 % of the people of a cohort and scored on the rest (needs CONNECTOME_GNN_DATA
for the three real ones): expected connectomes on fidelity, samples on distribution and privacy. What is not measured again keeps its
place in results/evaluation.json.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd

from connectome_gnn import Cohort, ConnectomeWarning, evaluate, privacy_report, simulate_cohort
from connectome_gnn.generation.comparison import default_models

COHORTS = ("lemon", "ucl_parkinson", "corr_kki")
SAMPLES = 5
FIDELITY = ("r2_beyond_mean", "demeaned_r", "identification_top1", "identification_top1_raw")
PEOPLE = (
    "spread_ratio",
    "zeros_difference",
    "edge_covariance_r",
    "coverage_90",
    "two_sample_auc_components",
    "two_sample_auc_topology",
    "capture_edge_weight",
    "capture_strength",
)
PRIVACY = ("closest_record_share", "authenticity", "membership_auc_distance")
LARGE = (1617, 200)


def main() -> None:
    """Measure, write results/evaluation.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for part in ("planted", "models", "speed"):
        parser.add_argument(f"--{part}", action="store_true")
    options = parser.parse_args()
    everything = not (options.planted or options.models or options.speed)
    warnings.simplefilter("ignore", ConnectomeWarning)
    record = {key: value for key, value in harness.known("evaluation").items() if key != "machine"}
    if everything or options.planted:
        record["planted"] = planted()
        harness.write("evaluation", record)
    if everything or options.models:
        for name, cohort in cohorts():
            print(f"{name}: {cohort.n_people} people", file=sys.stderr, flush=True)
            record.setdefault("models", {})[name] = of_models(cohort)
            harness.write("evaluation", record)
    if everything or options.speed:
        record["speed"] = speed()
        harness.write("evaluation", record)
    print(summary(record))


def planted() -> list[dict[str, Any]]:
    """Cases whose answer is known: what should come, and what came."""
    cohort = simulate_cohort(900, 40, 20, seed=11)
    train, rest = cohort.split(400 / 900, seed=0)
    test, others = rest.split(0.5, seed=1)
    drawn = test.take(np.repeat(np.arange(len(test)), 20))
    few = train.take(np.arange(len(test)))  # as many as are held out, so that nobody is left out of the comparison
    fresh = _like(test, test.truth.draw(seed=5), "sample")
    cases: dict[str, tuple[Cohort, Cohort, tuple[str, ...], dict[str, str]]] = {
        "other real people": (
            _like(others, np.asarray(others.weights), "sample"),
            test,
            ("two_sample_auc_components", "two_sample_auc_topology", "mmd_strength", "ks_edges", "closest_record_share"),
            {"two_sample_auc_components": ".5", "two_sample_auc_topology": ".5", "mmd_strength": "p uniform", "closest_record_share": ".5"},
        ),
        "the group mean, repeated": (
            _like(test, np.repeat(_mean(train)[None], len(test), 0), "sample"),
            test,
            ("two_sample_auc_components", "spread_ratio", "demeaned_r"),
            {"two_sample_auc_components": "above .99", "spread_ratio": "0", "demeaned_r": "undefined"},
        ),
        "the real people themselves": (
            _like(test, np.asarray(test.weights), "sample"),
            test,
            ("identification_top1", "identification_top1_raw", "identification_hungarian"),
            {"identification_top1": "1", "identification_top1_raw": "1", "identification_hungarian": "1"},
        ),
        "the training people themselves": (
            _like(few, np.asarray(few.weights), "sample"),
            test,
            ("closest_record_share", "membership_auc_distance", "authenticity"),
            {"closest_record_share": "1", "membership_auc_distance": "above .99", "authenticity": "0"},
        ),
        "shuffled people": (
            _like(test, np.asarray(test.weights)[np.random.default_rng(3).permutation(len(test))], "sample"),
            test,
            ("capture_edge_weight", "capture_strength", "identification_top1"),
            {"capture_edge_weight": "0", "capture_strength": "0", "identification_top1": f"{1 / len(test):.4f}"},
        ),
        "the truth's expectation": (
            _like(test, test.scale.inverse(test.truth.expected), "expected"),
            test,
            ("r2_beyond_mean",),
            {"r2_beyond_mean": "share of ceiling 1"},
        ),
        "the truth's own people": (
            fresh,
            test,
            ("spread_ratio", "two_sample_auc_components", "zeros_difference"),
            {"spread_ratio": "1", "two_sample_auc_components": ".5", "zeros_difference": "0"},
        ),
        "half the spread": (
            _squeezed(drawn, test, 0.5),
            test,
            ("spread_ratio", "coverage_90", "two_sample_auc_components"),
            {"spread_ratio": "about .5", "coverage_90": "well below .9", "two_sample_auc_components": "well above .5"},
        ),
    }
    rows = []
    for case, (generated, real, names, known) in cases.items():
        print(f"planted: {case}", file=sys.stderr, flush=True)
        reference = few if case.startswith("the training") else train
        entries = evaluate(generated, real, reference=reference, parts=list(names)).to_dict()
        rows += [{"case": case, "score": score, "known": known.get(score, ""), **entries[score]} for score in names]
    return rows


def cohorts() -> Iterator[tuple[str, Cohort]]:
    """A simulated cohort, and the real ones where they are."""
    yield "simulated", simulate_cohort(1000, 64, 40, seed=21)
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        print("real cohorts skipped: CONNECTOME_GNN_DATA names no folder", file=sys.stderr)
        return
    for name in COHORTS:
        yield name, Cohort.load(Path(data) / name)


def of_models(cohort: Cohort) -> dict[str, Any]:
    """Every model's expected connectomes on fidelity, its samples on distribution and privacy, one 80/20 split."""
    train, test = cohort.split(0.8, seed=0)
    table: dict[str, Any] = {}
    for name, model in default_models(0).items():
        model.fit(train)
        scores = evaluate(model.expected(test.phenotypes), test, reference=train, parts=list(FIDELITY)).to_dict()
        people = model.sample(test.phenotypes, n=SAMPLES, seed=1)
        scores.update(evaluate(people, test, reference=train, parts=list(PEOPLE)).to_dict())
        leaks = privacy_report(people, train, test).to_dict()
        scores.update({score: leaks[score] for score in PRIVACY})
        table[name] = scores
        print(f"  {name}", file=sys.stderr, flush=True)
    return {"train": len(train), "test": len(test), "regions": cohort.n_regions, "models": table}


def speed() -> dict[str, Any]:
    """Seconds and peak memory of fidelity and distribution at 1,617 people x 19,900 edges, all default settings."""
    people, regions = LARGE
    cohort = simulate_cohort(people + 400, regions, 40, seed=31)
    train, test = cohort.split(400 / (people + 400), seed=0)
    generated = _like(test, test.truth.draw(seed=1), "sample")
    answer: dict[str, Any] = {"people": len(test), "edges": test.n_edges}
    for part in ("fidelity", "distribution"):
        start = time.perf_counter()
        evaluate(generated, test, reference=train, parts=part)
        answer[f"{part}_s"] = time.perf_counter() - start
    answer["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return answer


def summary(record: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    blocks: list[str] = []
    if "planted" in record:
        lines = ["Planted cases", "", "| generated | score | should be | is | 95 % interval | p |", "|" + "---|" * 6]
        lines += [
            f"| {row['case']} | {row['score']} | {row['known']} | {_value(row)}{_share(row)} | {_interval(row)} | {_number(row.get('p'))} |"
            for row in record["planted"]
        ]
        blocks.append("\n".join(lines))
    for name, entry in record.get("models", {}).items():
        blocks.append(f"{name}: {entry['train']} people to fit, {entry['test']} held out\n\n{_models(entry['models'])}")
    if "speed" in record:
        at = record["speed"]
        blocks.append(
            f"Time for {at['people']:,} people x {at['edges']:,} edges, default settings: fidelity {at['fidelity_s']:.0f} s, "
            f"distribution {at['distribution_s']:.0f} s, peak memory {at['peak_gb']:.1f} GB (the simulated people included)."
        )
    return "\n\n".join(blocks)


def _models(models: Mapping[str, Mapping[str, Any]]) -> str:
    scores = [score for score in (*FIDELITY, *PEOPLE, *PRIVACY) if any(_defined(of[score]) for of in models.values())]
    lines = ["| model | " + " | ".join(scores) + " |", "|" + "---|" * (len(scores) + 1)]
    for name, of in models.items():
        lines.append(f"| {name} | " + " | ".join(_value(of[score]) for score in scores) + " |")
    beside = [_number(next(iter(models.values()))[score].get("real_vs_real")) for score in scores]
    return "\n".join([*lines, "| *real people, halves* | " + " | ".join(beside) + " |"])


def _defined(entry: Mapping[str, Any]) -> bool:
    return entry["value"] is not None


def _value(entry: Mapping[str, Any]) -> str:
    return _number(entry["value"]) if _defined(entry) else "undefined"


def _share(row: Mapping[str, Any]) -> str:
    """The share of the ceiling, where that is what is known."""
    return f" ({row['share_of_ceiling']:.3f} of the ceiling)" if "ceiling" in row["known"] else ""


def _interval(entry: Mapping[str, Any]) -> str:
    return "" if entry.get("low") is None else f"{_number(entry['low'])} to {_number(entry['high'])}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _mean(cohort: Cohort) -> np.ndarray:
    """Mean of people on the modelling scale, as weights (E,)."""
    return np.asarray(cohort.scale.inverse(cohort.scale.forward(np.asarray(cohort.weights)).mean(0)))


def _like(cohort: Cohort, weights: np.ndarray, kind: str) -> Cohort:
    """The cohort's people with other weights."""
    table: pd.DataFrame = cohort.phenotypes
    return Cohort(weights, table, cohort.atlas, measure=cohort.measure, signed=cohort.signed, name="planted", kind=kind)


def _squeezed(drawn: Cohort, test: Cohort, factor: float) -> Cohort:
    """Samples of the truth around its expectation, with a share of their spread."""
    expected = np.repeat(test.truth.expected, len(drawn) // len(test), 0)
    values = test.scale.forward(np.asarray(drawn.truth.draw(seed=9)))
    table = drawn.phenotypes.assign(sample=np.tile(np.arange(len(drawn) // len(test)), len(test)))
    weights = test.scale.inverse(expected + factor * (values - expected))
    return Cohort(weights, table, test.atlas, measure=test.measure, signed=test.signed, name="squeezed", kind="sample")


if __name__ == "__main__":
    main()

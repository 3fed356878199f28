"""What the benchmarks share: held-out errors per person, pooled with paired intervals, and a JSON file with the machine's facts."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from connectome_gnn import Cohort, __version__
from connectome_gnn.evaluation import Comparison, Reference
from connectome_gnn.evaluation.ceilings import ceiling_cohort
from connectome_gnn.generation.comparison import GENERATOR, default_models, fit_mean

RESULTS = Path(__file__).parent / "results"


def held_out(train: Cohort, test: Cohort, seed: int, models: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit every model on training people; per held-out person (sorted by participant_id) squared errors and demeaned r.

    Returns
    -------
    rows : by model ``error``, ``error_of_mean``, ``demeaned_r`` (N,) and ``seconds``; under ``"truth"`` the errors of the truth.
    fitted : the models.
    """
    reference = Reference.of(train)
    rows: dict[str, Any] = {}
    fitted = {}
    for name, model in (models or default_models(seed)).items():
        start = time.perf_counter()
        # Only the mean is scored; the generator's people are looked at as well.
        fitted[name] = model.fit(train) if name == GENERATOR else fit_mean(model, train)
        seconds = time.perf_counter() - start
        comparison = Comparison.of(fitted[name].expected(test.phenotypes), test, reference, n_bootstrap=0)
        sums = comparison.sums
        rows[name] = {"error": sums.error, "error_of_mean": sums.error_of_mean, "demeaned_r": sums.demeaned_r, "seconds": seconds}
        rows["truth"] = {"error": errors_of_truth(test, reference), "error_of_mean": sums.error_of_mean}
        rows["people"] = np.asarray(test.ids)[comparison.real_rows]
    return rows, fitted


def errors_of_truth(test: Cohort, reference: Reference) -> np.ndarray:
    """Squared error of each person's true expectation (N,), people sorted by participant_id; NaN where it is not known."""
    truth = ceiling_cohort(None, test)
    return np.full(len(test), np.nan) if truth is None else Comparison.of(truth, test, reference, n_bootstrap=0).sums.error


def pooled(
    parts: list[dict[str, Any]], seed: int = 0, n_bootstrap: int = 2000, beside: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """R2 beyond the mean of every model over several folds and repeats, people resampled once for all of them.

    Each person's errors are averaged over the folds and repeats in which they were held out; the bootstrap draws people.
    ``beside`` names, for some models, another one that their difference from is wanted too.
    """
    people = np.unique(np.concatenate([part["people"] for part in parts]))
    place = [np.searchsorted(people, part["people"]) for part in parts]

    def per_person(model: str, key: str) -> np.ndarray:
        total, count = np.zeros(len(people)), np.zeros(len(people))
        for part, where in zip(parts, place, strict=True):
            value = part[model][key]
            defined = np.isfinite(value)
            total[where[defined]] += value[defined]
            count[where[defined]] += 1
        return np.divide(total, count, out=np.full(len(people), np.nan), where=count > 0)

    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(people), np.full(len(people), 1 / len(people)), size=n_bootstrap).astype(float)
    weights = np.concatenate([np.ones((1, len(people))), drawn])
    names = [name for name in parts[0] if name not in ("people", "truth")]
    r2 = {name: 1 - weights @ per_person(name, "error") / (weights @ per_person(name, "error_of_mean")) for name in names}
    truth = 1 - per_person("truth", "error").sum() / per_person("truth", "error_of_mean").sum()
    table = {}
    for name in names:
        r = per_person(name, "demeaned_r")
        difference = r2[GENERATOR] - r2[name]
        table[name] = {
            "r2_beyond_mean": float(r2[name][0]),
            **interval("r2", r2[name][1:]),
            "difference": float(difference[0]),
            **interval("difference", difference[1:]),
            "demeaned_r": float(np.nanmean(r)) if np.isfinite(r).any() else None,
            "share_of_ceiling": float(r2[name][0] / truth) if truth > 0.001 else None,
            "seconds": float(np.mean([part[name]["seconds"] for part in parts])),
        }
    for name, other in (beside or {}).items():
        difference = r2[name] - r2[other]
        table[name]["beside"] = {"model": other, "difference": float(difference[0]), **interval("difference", difference[1:])}
    return table


def interval(name: str, draws: np.ndarray) -> dict[str, float]:
    """95 % percentile interval under ``<name>_low`` and ``<name>_high``."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def mean_scores(samples: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of every score over cohorts or folds; None for a score that is undefined in one of them."""
    return {
        score: None if any(values[score] is None for values in samples) else float(np.mean([values[score] for values in samples]))
        for score in samples[0]
    }


def known(name: str) -> dict[str, Any]:
    """What ``results/<name>.json`` holds already, empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write(name: str, record: dict[str, Any]) -> None:
    """Write ``results/<name>.json`` with the machine and versions it was measured on."""
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**record, "machine": facts}, indent=1) + "\n")


def markdown(table: Mapping[str, Mapping[str, Any]], *, ceiling: bool = False) -> str:
    """A Markdown table of models, best first."""
    head = ["model", "R2 beyond the mean", "95 % interval", "generator minus this", "95 % interval", "demeaned r"]
    head += (["share of ceiling"] if ceiling else []) + ["fit, s"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in sorted(table.items(), key=lambda item: -item[1]["r2_beyond_mean"]):
        ours = name == GENERATOR
        cells = [
            f"**{name}**" if ours else name,
            f"{row['r2_beyond_mean']:.4f}",
            f"{row['r2_low']:.4f} to {row['r2_high']:.4f}",
            "" if ours else f"{row['difference']:+.4f}",
            "" if ours else f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}",
            "undefined" if row["demeaned_r"] is None else f"{row['demeaned_r']:.3f}",
        ]
        cells += ([f"{row['share_of_ceiling']:.2f}"] if ceiling else []) + [f"{row['seconds']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

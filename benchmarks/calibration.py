"""Are the intervals honest and the p values uniform? Every score of an evaluation on repeated simulated studies.

python benchmarks/calibration.py [--repeats 200] [--jobs 2] [--parts fidelity distribution privacy classifiers]

An interval is honest where, over studies, it holds about 95 times in 100 what the score is on average. A p value is calibrated where, with
nothing to find, it falls below .05 in 5 % of studies. Writes results/calibration.json; exit code 1 where a coverage is below 92 % or above
98 %, or a p value is off, by more than binomial error, at a false discovery rate of 5 % over all that is tested.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import harness
import numpy as np
import pandas as pd
import planted_distribution
import planted_fidelity
import planted_privacy
from scipy.stats import binomtest

from connectome_gnn import ConnectomeWarning
from connectome_gnn.evaluation.statistics import benjamini_hochberg

WANTED = (0.92, 0.98)
FALSE_DISCOVERIES = 0.05


def main() -> None:
    """Run everything, write results/calibration.json, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--parts", nargs="+", default=["fidelity", "distribution", "privacy", "classifiers"])
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    measurements = {"fidelity": fidelity, "distribution": distribution, "privacy": privacy, "classifiers": classifiers}
    kept = {"rows": []} if set(options.parts) == set(measurements) else harness.known("calibration")
    for part in options.parts:
        print(part, file=sys.stderr, flush=True)
        rows = [row for row in kept["rows"] if row["part"] != part]
        rows += [{"part": part, **row} for row in measurements[part](options.repeats, options.jobs)]
        kept = {"repeats": options.repeats, "rows": rows}
        harness.write("calibration", kept)
    print(summary(kept))
    off = not_honest(kept["rows"])
    if off:
        sys.exit(f"off by more than chance: {', '.join(off)}")


def fidelity(repeats: int, jobs: int) -> list[dict[str, Any]]:
    """Shuffled people, for p; generated people who share part of the real ones' variance, for coverage."""
    p = planted_fidelity.chance_p_values(repeats)
    found = planted_fidelity.interval_hits(repeats)
    return [_row(score, "", repeats, hits=int(hits), p=p.get(score)) for score, hits in found["hits"].items()]


def distribution(repeats: int, jobs: int) -> list[dict[str, Any]]:
    """Samples of the truth itself and of generators that are wrong, each case on its own."""
    rows = []
    for case in planted_distribution.CASES:
        table = planted_distribution.studies(case, repeats, jobs)
        for score, found in table.groupby("score", sort=False):
            null = case in planted_distribution.NOTHING_TO_FIND and found["p"].notna().all()
            rows.append(_row(str(score), case, repeats, hits=_hits(found), p=found["p"] if null else None))
    return rows


def privacy(repeats: int, jobs: int) -> list[dict[str, Any]]:
    """Fresh people of the same population: nothing leaked."""
    answers = planted_privacy.calibration(repeats)
    by_score = answers.groupby("score", sort=False)
    return [_row(str(score), "fresh people", repeats, hits=int(found["hit"].sum()), p=found["p"]) for score, found in by_score]


def classifiers(repeats: int, jobs: int) -> list[dict[str, Any]]:
    """The two-sample AUC, where generated people are as the real ones and where they vary too little."""
    rows = []
    for case in ("same", "narrow"):
        table = planted_distribution.studies(case, repeats, jobs, classifiers=True)
        rows += [_row(str(score), case, repeats, hits=_hits(found), p=None) for score, found in table.groupby("score", sort=False)]
    return rows


def _hits(found: pd.DataFrame) -> int:
    """In how many studies the interval held the score's average over studies."""
    average = found["value"].mean()
    return int(((found["low"] <= average) & (average <= found["high"])).sum())


def _row(score: str, case: str, repeats: int, *, hits: int, p: pd.Series | None) -> dict[str, Any]:
    """One score in one case: how often the interval held it, how often p fell below .05, and how likely that is where both are honest."""
    low, high = WANTED
    chance = min(binomtest(hits, repeats, low, "less").pvalue, binomtest(hits, repeats, high, "greater").pvalue)
    row: dict[str, Any] = {"score": score, "case": case, "coverage": hits / repeats, "coverage_chance": float(chance)}
    if p is not None:
        below = int((np.asarray(p) <= 0.05).sum())
        row |= {"p_below_05": below / repeats, "p_below_05_chance": float(binomtest(below, repeats, 0.05).pvalue)}
    return row


def not_honest(rows: list[dict[str, Any]]) -> list[str]:
    """What is off by more than chance, among all that was tested (Benjamini & Hochberg 1995)."""
    keys = ("coverage", "p_below_05")
    tested = [(f"{row['score']} ({row['case']}): {key}", row[f"{key}_chance"]) for row in rows for key in keys if key in row]
    q = benjamini_hochberg(np.array([chance for _, chance in tested]))
    return [name for (name, _), value in zip(tested, q, strict=True) if value <= FALSE_DISCOVERIES]


def summary(record: Mapping[str, Any]) -> str:
    """The table in Markdown, a row a kind of score: its worst coverages, and p where nothing is to be found, over cases and measures."""
    table = pd.DataFrame(record["rows"])
    table["kind"] = table["score"].map(_kind)
    lines = [
        f"{record['repeats']} simulated studies a case, 60 to 150 people each",
        "",
        "| score | cases x measures | 95 % intervals hold: least, median, most | p <= .05, nothing to be found: least, most |",
        "|" + "---|" * 4,
    ]
    for kind, rows in table.groupby("kind", sort=False):
        covered = rows["coverage"]
        below = rows["p_below_05"].dropna()
        shown = f"{below.min():.3f}, {below.max():.3f}" if len(below) else ""
        lines.append(f"| {kind} | {len(rows)} | {covered.min():.3f}, {covered.median():.3f}, {covered.max():.3f} | {shown} |")
    off = not_honest(record["rows"])
    lines += ["", f"Off by more than chance, at a false discovery rate of 5 %: {', '.join(off) or 'none'}."]
    return "\n".join(lines)


def _kind(score: str) -> str:
    """The score without the measure that it is of."""
    for stem in ("ks", "energy", "mmd", "coverage_90", "pit_deviation", "capture"):
        if score.startswith(f"{stem}_") and score not in ("ks_edges", "energy_edges", "capture_edge_weight"):
            return f"{stem}_<measure>"
    return score


if __name__ == "__main__":
    main()

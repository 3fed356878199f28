"""Are the intervals honest and the p values uniform? Every score of an evaluation on repeated simulated studies.

python benchmarks/calibration.py [--repeats 200] [--jobs 2]

An interval is honest where, over studies, it holds about 95 times in 100 what the score is on average. A p value is calibrated where, with
nothing to find, it falls below .05 in 5 % of studies. Writes results/calibration.json; exit code 1 where a coverage is below 92 % or above
98 % by more than binomial error, or a p value is off by more than that.
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
from scipy.stats import binomtest, kstest

from connectome_gnn import ConnectomeWarning

WANTED = (0.92, 0.98)
CERTAIN = 0.01
"""A share of studies counts as off where chance alone gives one as far off less often than this."""


def main() -> None:
    """Run everything, write results/calibration.json, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    rows: list[dict[str, Any]] = []
    for part, measured in (("fidelity", fidelity), ("distribution", distribution), ("privacy", privacy)):
        print(part, file=sys.stderr, flush=True)
        rows += [{"part": part, **row} for row in measured(options.repeats, options.jobs)]
        harness.write("calibration", {"repeats": options.repeats, "rows": rows})
    print(summary({"repeats": options.repeats, "rows": rows}))
    off = [row["score"] for row in rows if not row["honest"]]
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
            average = found["value"].mean()
            hits = int(((found["low"] <= average) & (average <= found["high"])).sum())
            null = case in planted_distribution.NOTHING_TO_FIND and found["p"].notna().all()
            rows.append(_row(str(score), case, repeats, hits=hits, p=found["p"] if null else None))
    return rows


def privacy(repeats: int, jobs: int) -> list[dict[str, Any]]:
    """Fresh people of the same population: nothing leaked."""
    answers = planted_privacy.calibration(repeats)
    by_score = answers.groupby("score", sort=False)
    return [_row(str(score), "fresh people", repeats, hits=int(found["hit"].sum()), p=found["p"]) for score, found in by_score]


def _row(score: str, case: str, repeats: int, *, hits: int, p: pd.Series | np.ndarray | None) -> dict[str, Any]:
    """One score in one case: how often the interval held it, how often p fell below .05, and whether both are honest."""
    low, high = WANTED
    covered = binomtest(hits, repeats, low, "less").pvalue > CERTAIN and binomtest(hits, repeats, high, "greater").pvalue > CERTAIN
    row: dict[str, Any] = {"score": score, "case": case, "coverage": hits / repeats, "honest": bool(covered)}
    if p is not None:
        below = int((np.asarray(p) <= 0.05).sum())
        row |= {"p_below_05": below / repeats, "p_uniform": float(kstest(p, "uniform").pvalue)}
        row["honest"] = bool(covered and binomtest(below, repeats, 0.05).pvalue > CERTAIN)
    return row


def summary(record: Mapping[str, Any]) -> str:
    """The table in Markdown, a row a score: the cases in which it is honest, its worst coverage, and p under the null."""
    lines = [
        f"{record['repeats']} studies a case",
        "",
        "| score | part | cases | coverage of 95 % intervals | p <= .05 where nothing is to be found |",
        "|" + "---|" * 5,
    ]
    for score, rows in pd.DataFrame(record["rows"]).groupby("score", sort=False):
        low, high = rows["coverage"].min(), rows["coverage"].max()
        shown = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
        below = rows["p_below_05"].dropna() if "p_below_05" in rows else pd.Series(dtype=float)
        lines.append(f"| {score} | {rows['part'].iloc[0]} | {len(rows)} | {shown} | {', '.join(f'{share:.3f}' for share in below)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

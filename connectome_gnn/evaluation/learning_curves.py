"""The answer of an augmentation study: how well each arm predicts at each size, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from connectome_gnn.evaluation.result import report_json

__all__ = ["COLUMNS", "REAL", "AugmentationStudy", "corrected_interval"]

REAL = "real"
COLUMNS = ("target", "learner", "arm", "size", "repeat", "score", "value", "n_train", "n_test", "reason")
CURVE = ["target", "learner", "score", "arm", "size"]
RANGES = {"r": (-1.0, 1.0), "mae": (0.0, np.inf), "r2": (-np.inf, 1.0), "auc": (0.0, 1.0), "accuracy": (0.0, 1.0)}
HEADLINES = ("r", "auc")


@dataclass(frozen=True, eq=False)
class AugmentationStudy:
    """Scores of every repeat, and their means with intervals.

    Attributes
    ----------
    table : one row a number, with the columns ``target``, ``learner``, ``arm``, ``size`` (real people n), ``repeat``, ``score`` (r, mae, r2
        of numbers; auc, accuracy of classes), ``value`` (NaN = undefined), ``n_train`` (rows learned from, made-up ones included),
        ``n_test`` (held-out real people), ``reason`` (why undefined, otherwise empty).
    n_people : people who take part, learned from or held out in turn.
    notes : what else a reader should know.
    """

    table: pd.DataFrame
    n_people: int
    notes: tuple[str, ...] = ()

    @property
    def n_test(self) -> float:
        """People held out in a repeat, on average."""
        return float(self.table.loc[self.table["n_test"] > 0, "n_test"].mean())

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Learning curves, ready for a figure: one row a target, learner, score, arm and size.

        ``value``, ``low``, ``high``: mean over repeats and its 95 % interval (:func:`corrected_interval`); ``difference``,
        ``difference_low``, ``difference_high``: this arm minus ``real`` on the same people of the same repeats; ``n_repeats`` in which it
        is defined; ``reason``, why it is not in all of them.
        """
        wide = self.table.set_index([*CURVE, "repeat"])["value"].unstack("repeat")
        reasons = self.table[self.table["reason"] != ""].groupby(CURVE, sort=False)["reason"].first()
        rows = []
        order = self.table[CURVE].drop_duplicates()
        for key in order.itertuples(index=False, name=None):
            values = wide.loc[key].to_numpy(np.float64)
            reference = (*key[:3], REAL, key[4])
            score, arm = key[2], key[3]
            overlap = (key[4] + self.n_test) / (2 * self.n_people)
            mean, low, high = corrected_interval(values, overlap, RANGES[score])
            record: dict[str, Any] = {**dict(zip(CURVE, key, strict=True)), "value": mean, "low": low, "high": high}
            difference = (np.nan, np.nan, np.nan)
            if arm != REAL and reference in wide.index:
                difference = corrected_interval(values - wide.loc[reference].to_numpy(np.float64), overlap)
            record.update(zip(("difference", "difference_low", "difference_high"), difference, strict=True))
            rows.append({**record, "n_repeats": int(np.isfinite(values).sum()), "reason": reasons.get(key, "")})
        return pd.DataFrame(rows)

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`."""
        return self.table.copy()

    def to_dict(self) -> dict[str, Any]:
        """The curves as plain JSON values: ``{"n_people", "n_test", "notes", "curves": [one record a point]}``, None = undefined."""
        records = [
            {str(key): None if isinstance(value, float) and not np.isfinite(value) else value for key, value in record.items()}
            for record in self.curves.to_dict("records")
        ]
        return {"n_people": self.n_people, "n_test": self.n_test, "notes": list(self.notes), "curves": records}

    def to_json(self, path: str | Path | None = None) -> str:
        """:meth:`to_dict` as JSON text, also written to ``path`` where one is given."""
        return report_json(self.to_dict(), path)

    def summary(self) -> str:
        """r and AUC to print: a row an arm, a column a size; differences from ``real`` whose interval leaves out 0 have a star."""
        curves = self.curves[self.curves["score"].isin(HEADLINES)]
        shown = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("target", "learner", "score", "arm"):
            shown.add_column(heading, no_wrap=True)
        sizes = sorted(curves["size"].unique())
        for size in sizes:
            shown.add_column(f"n = {size}", justify="right", no_wrap=True)
        for (target, learner, score), block in curves.groupby(["target", "learner", "score"], sort=False):
            for place, (arm, rows) in enumerate(block.groupby("arm", sort=False)):
                cells = rows.set_index("size").reindex(sizes).apply(_cell, axis=1)
                names = (str(target), str(learner), str(score)) if place == 0 else ("", "", "")
                shown.add_row(*names, str(arm), *cells)
            shown.add_section()
        return "\n".join([_rendered(shown), *self._reasons(), *self.notes])

    def _reasons(self) -> list[str]:
        """Why numbers are undefined, a line for each reason, with the arms and sizes it holds for."""
        wrong = self.table[self.table["reason"] != ""].drop_duplicates(["reason", "arm", "size"])
        lines = []
        for reason, rows in wrong.groupby("reason", sort=False):
            arms = ", ".join(map(str, dict.fromkeys(rows["arm"])))
            lines.append(f"{arms} at n = {', '.join(map(str, dict.fromkeys(rows['size'])))}: {reason}")
        return lines

    def __str__(self) -> str:
        return self.summary()


def corrected_interval(
    values: NDArray[np.float64], overlap: float, within: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float, float]:
    """Mean over repeats and its 95 % interval by a corrected resampled t.

    All repeats draw on one cohort, so they resemble each other, and a plain t interval is far too narrow for what the mean would be in
    another cohort (it held the truth in 46 to 97 % of simulated cohorts). With rho the correlation between repeats, the variance of a mean
    of J of them is s^2 (1 / J + rho / (1 - rho)), s their standard deviation. Nadeau & Bengio (2003, Machine Learning 52:239), whose two
    parts make up the cohort, take rho to be the share of people tested on. Here n people out of N are learned from and m tested on, and
    rho is the overlap of two repeats: the mean of n / N, what they share of those learned from, and m / N, of those tested on. Measured on
    simulated cohorts of 120 and 400 people (ridge, n from 8 to 256), such intervals hold the expected score of n people of the population
    in 93 to 100 %, and the expected difference between arms in 98 to 100 %: they are rather wide than narrow, and with more repeats they
    do not narrow below what one cohort can tell.

    Parameters
    ----------
    values : (J,) scores or paired differences of repeats, NaN where undefined: those are left out.
    overlap : rho, in [0, 1).
    within : range of the score, beyond which no interval goes.

    Returns
    -------
    mean, low, high : NaN without a value; the interval NaN with fewer than 2.
    """
    from scipy.stats import t

    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    mean = float(known.mean())
    if len(known) < 2:
        return mean, float("nan"), float("nan")
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) * np.sqrt(1 / len(known) + overlap / (1 - overlap))
    return mean, float(max(mean - half, within[0])), float(min(mean + half, within[1]))


def _cell(point: pd.Series) -> str:
    if not np.isfinite(point["value"]):
        return "undefined"
    if not np.isfinite(point["difference"]):
        return f"{point['value']:.3f}"
    star = "*" if point["difference_low"] > 0 or point["difference_high"] < 0 else " "
    return f"{point['value']:.3f} ({point['difference']:+.3f}{star})"


def _rendered(table: Table) -> str:
    """The table as text, as wide as it needs, whatever the terminal."""
    console = Console(file=StringIO(), width=400, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")

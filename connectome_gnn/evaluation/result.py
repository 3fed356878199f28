"""The result of an evaluation: a tidy table, printed, or written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from connectome_gnn.evaluation.scores import Estimate

__all__ = ["GENERATED", "Evaluation"]

GENERATED = "generated"
"""Name of the generated cohort's own rows, beside those of its rivals."""

INTERVAL = (0.025, 0.975)
NUMBERS = ("value", "low", "high", "null", "n")
DIFFERENCES = ("difference", "difference_low", "difference_high")
CEILINGS = ("ceiling", "share_of_ceiling", "share_of_ceiling_low", "share_of_ceiling_high")
COLUMNS = ("score", "cohort", *NUMBERS, *DIFFERENCES, *CEILINGS, "reason")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a generated cohort and its rivals.

    Attributes
    ----------
    table : one row a score and cohort, with the columns

        - ``score``, ``cohort`` (``"generated"``, or a rival's name);
        - ``value``, ``low``, ``high``: the score and its 95 % interval (percentile bootstrap over people);
        - ``null`` and ``n`` (see :class:`Estimate`);
        - ``difference``, ``difference_low``, ``difference_high``: generated minus rival, on the same resamples of people;
        - ``ceiling``, ``share_of_ceiling``, ``share_of_ceiling_low``, ``share_of_ceiling_high``: what the truth itself scores, where it is
          known, and value / ceiling;
        - ``reason``: why a number is undefined (NaN), otherwise empty.
    notes : what else a reader of the table should know.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, estimates: Mapping[str, Mapping[str, Estimate]], notes: tuple[str, ...] = ()) -> Evaluation:
        """The evaluation of estimates by score and cohort; the first cohort of each score is the generated one."""
        rows = []
        for score, by_cohort in estimates.items():
            ours = by_cohort[GENERATED]
            for cohort, estimate in by_cohort.items():
                record: dict[str, Any] = {
                    "score": score,
                    "cohort": cohort,
                    "null": estimate.null,
                    "n": estimate.n,
                    "reason": estimate.reason,
                }
                record.update(_numbers(("value", "low", "high"), estimate.values))
                if cohort != GENERATED:
                    record.update(_numbers(DIFFERENCES, ours.values - estimate.values))
                if estimate.ceiling is not None:
                    record["ceiling"] = float(estimate.ceiling[0])
                    record.update(_numbers(CEILINGS[1:], _share(estimate.values, estimate.ceiling)))
                record["reason"] = record["reason"] or _reason(record)
                rows.append(record)
        return cls(pd.DataFrame(rows, columns=list(COLUMNS)), notes)

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`, one row a score and cohort."""
        return self.table.copy()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The scores as plain JSON values, by name.

        Returns
        -------
        scores : ``{score: {"value", "low", "high", "null", "n", "rivals": {name: {"value", "low", "high", "difference", "difference_low",
            "difference_high"}}}}``; ``rivals`` where there are any, ``ceiling`` and ``share_of_ceiling`` (with ``_low``, ``_high``) where
            the truth is known, None in place of an undefined number, with a ``reason``.
        """
        scores: dict[str, dict[str, Any]] = {}
        for record in self.table.to_dict("records"):
            own = record["cohort"] == GENERATED
            keys: tuple[str, ...] = NUMBERS if own else ("value", "low", "high", *DIFFERENCES)
            if np.isfinite(record["ceiling"]):
                keys += CEILINGS
            entry: dict[str, Any] = {key: _plain(record[key]) for key in keys}
            if record["reason"]:
                entry["reason"] = record["reason"]
            if own:
                scores[record["score"]] = entry
            else:
                scores[record["score"]].setdefault("rivals", {})[record["cohort"]] = entry
        return scores

    def to_json(self, path: str | Path | None = None) -> str:
        """The scores of :meth:`to_dict` as JSON text, also written to ``path`` where one is given."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def summary(self) -> str:
        """The scores as a table to print: for each score the generated cohort, every rival beside it, and the null."""
        columns = ["score", "cohort", "value", "95 % interval"]
        columns += ["generated - rival"] * bool((self.table["cohort"] != GENERATED).any())
        columns += ["share of ceiling"] * bool(self.table["ceiling"].notna().any())
        shown = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            shown.add_column(column, justify="left" if column in ("score", "cohort") else "right", no_wrap=True)
        for score, rows in self.table.groupby("score", sort=False):
            if rows["value"].isna().all():
                continue
            for place, record in enumerate(rows.to_dict("records")):
                cells = _cells(record)
                shown.add_row(str(score) if place == 0 else "", *(cells[column] for column in columns[1:]))
            null = rows["null"].iloc[0]
            shown.add_row("", *(["null", _text(null)] if np.isfinite(null) else []), end_section=True)
        return "\n".join([_rendered(shown), *self._reasons(), *self.notes])

    def _reasons(self) -> list[str]:
        """Why numbers are undefined, a line for each reason and the cohorts it holds for."""
        cohorts: dict[tuple[str, str], list[str]] = {}
        for record in self.table[self.table["reason"] != ""].to_dict("records"):
            cohorts.setdefault((record["reason"], record["score"]), []).append(record["cohort"])
        scores: dict[tuple[str, str], list[str]] = {}
        for (reason, score), names in cohorts.items():
            scores.setdefault((reason, ", ".join(names)), []).append(score)
        return [f"{', '.join(names)} of {whose}: {reason}" for (reason, whose), names in scores.items()]

    def __str__(self) -> str:
        return self.summary()


def _numbers(keys: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float]:
    """A value and its percentile interval from (1 + B,) values; NaN where undefined."""
    draws = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(draws, INTERVAL) if len(draws) > 1 and np.isfinite(values[0]) else (np.nan, np.nan)
    return dict(zip(keys, (float(values[0]), float(low), float(high)), strict=True))


def _share(values: NDArray[np.float64], ceiling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value over ceiling, (1 + B,); NaN where the ceiling is not above 0."""
    return np.divide(values, ceiling, out=np.full(len(ceiling), np.nan), where=ceiling > 0)


def _reason(record: Mapping[str, Any]) -> str:
    if not np.isfinite(record["low"]):
        return "no interval without bootstrap resamples in which the score is defined"
    if "difference" in record and not np.isfinite(record["difference"]):
        return "no difference where the generated cohort's score is undefined"
    if "ceiling" in record and not np.isfinite(record["share_of_ceiling"]):
        return "no share of a ceiling that is not above 0"
    return ""


def _plain(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _text(value: float, sign: str = "") -> str:
    return f"{round(value, 4) + 0.0:{sign}.4f}" if np.isfinite(value) else ""  # + 0.0: no negative zero


def _interval(low: float, high: float, sign: str = "") -> str:
    return f"[{_text(low, sign)}, {_text(high, sign)}]" if np.isfinite(low) else ""


def _cells(record: Mapping[Any, Any]) -> dict[str, str]:
    """The cells of one row of the printed table, by column."""
    value, low, high = (record[key] for key in ("value", "low", "high"))
    difference, difference_low, difference_high = (record[key] for key in DIFFERENCES)
    share, share_low, share_high = (record[key] for key in CEILINGS[1:])
    reached = f"{_text(share)} {_interval(share_low, share_high)} of {_text(record['ceiling'])}"
    return {
        "cohort": record["cohort"],
        "value": _text(value) or "undefined",
        "95 % interval": _interval(low, high),
        "generated - rival": f"{_text(difference, '+')} {_interval(difference_low, difference_high, '+')}".strip(),
        "share of ceiling": reached if np.isfinite(share) else "",
    }


def _rendered(table: Table) -> str:
    """The table as text, as wide as it needs, whatever the terminal."""
    console = Console(file=StringIO(), width=400, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")

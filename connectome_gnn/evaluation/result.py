"""The result of an evaluation: a tidy table, printed, or written as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.statistics import benjamini_hochberg

__all__ = ["GENERATED", "Evaluation", "report_json"]

GENERATED = "generated"
"""Name of the generated cohort's own rows, beside those of its rivals."""

INTERVAL = (0.025, 0.975)
NUMBERS = ("value", "low", "high", "null", "n")
TESTS = ("p", "q", "real_vs_real")
DIFFERENCES = ("difference", "difference_low", "difference_high")
CEILINGS = ("ceiling", "share_of_ceiling", "share_of_ceiling_low", "share_of_ceiling_high")
COLUMNS = ("part", "score", "cohort", "value", "low", "high", "null", "p", "q", "real_vs_real", "n", *DIFFERENCES, *CEILINGS, "reason")


SMALL_P = 1e-4
WIDTH = 140

_COLUMNS: dict[str, Callable[[pd.DataFrame], bool]] = {
    "score": lambda table: True,
    "cohort": lambda table: bool((table["cohort"] != GENERATED).any()),
    "value": lambda table: True,
    "95 % interval": lambda table: True,
    "null": lambda table: bool(table["null"].notna().any()),
    "p": lambda table: bool(table["p"].notna().any()),
    "q": lambda table: bool(table["p"].notna().any()),
    "real vs real": lambda table: bool(table["real_vs_real"].notna().any()),
    "generated - rival": lambda table: bool((table["cohort"] != GENERATED).any()),
    "share of ceiling": lambda table: bool(table["share_of_ceiling"].notna().any()),
}
"""Columns of the printed table, and when each is shown."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a generated cohort and its rivals.

    Attributes
    ----------
    table : one row a score and cohort, with the columns

        - ``part``, ``score``, ``cohort`` (``"generated"``, or a rival's name);
        - ``value``, ``low``, ``high``: the score and its 95 % interval (bootstrap over people);
        - ``null``, ``p`` (by permutation), ``real_vs_real`` and ``n`` (see :class:`Estimate`);
        - ``q``: the false discovery rate over all scores of the same cohort that have a p (Benjamini & Hochberg 1995);
        - ``difference``, ``difference_low``, ``difference_high``: generated minus rival, on the same resamples of people;
        - ``ceiling``, ``share_of_ceiling``, ``share_of_ceiling_low``, ``share_of_ceiling_high``: what the truth itself, or a second scan,
          scores, where there is one, and the share of it that is reached;
        - ``reason``: why a number is undefined (NaN), otherwise empty.
    notes : what else a reader of the table should know.
    details : by score name, the longer table behind the generated cohort's score (per edge, per region, per person), where it has one.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    details: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, estimates: Mapping[str, Mapping[str, Estimate]], notes: tuple[str, ...] = (), parts: Mapping[str, str] | None = None
    ) -> Evaluation:
        """The evaluation of estimates by score and cohort; the first cohort of each score is the generated one."""
        rows = []
        for score, by_cohort in estimates.items():
            ours = by_cohort[GENERATED]
            for cohort, estimate in by_cohort.items():
                record: dict[str, Any] = {
                    "part": (parts or {}).get(score, ""),
                    "score": score,
                    "cohort": cohort,
                    "null": estimate.null,
                    "p": estimate.p,
                    "real_vs_real": estimate.real_vs_real,
                    "n": estimate.n,
                    "reason": estimate.reason,
                }
                record.update(_numbers(("value", "low", "high"), estimate.values))
                if estimate.interval is not None:
                    record["low"], record["high"] = estimate.interval
                if cohort != GENERATED:
                    record.update(_numbers(DIFFERENCES, _difference(ours, estimate)))
                if estimate.ceiling is not None:
                    record["ceiling"] = float(estimate.ceiling[0])
                    record.update(_numbers(CEILINGS[1:], _share(estimate)))
                record["reason"] = record["reason"] or _reason(record)
                rows.append(record)
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        for cohort in table["cohort"].unique():
            of_cohort = table["cohort"] == cohort
            table.loc[of_cohort, "q"] = benjamini_hochberg(table.loc[of_cohort, "p"])
        details = {score: by_cohort[GENERATED].details for score, by_cohort in estimates.items()}
        return cls(table, notes, {score: longer for score, longer in details.items() if longer is not None})

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`, one row a score and cohort."""
        return self.table.copy()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The scores as plain JSON values, by name.

        Returns
        -------
        scores : ``{score: {"value", "low", "high", "null", "n", "rivals": {name: {"value", "low", "high", "difference", "difference_low",
            "difference_high"}}}}``; ``rivals`` where there are any; ``p``, ``q`` and ``real_vs_real`` where they are defined; ``ceiling``
            and ``share_of_ceiling`` (with ``_low``, ``_high``) where there is a ceiling; None in place of an undefined number, with a
            ``reason``. There are no other keys at the top than the names of the scores.
        """
        scores: dict[str, dict[str, Any]] = {}
        for record in self.table.to_dict("records"):
            own = record["cohort"] == GENERATED
            keys: tuple[str, ...] = NUMBERS if own else ("value", "low", "high", *DIFFERENCES)
            keys += tuple(key for key in TESTS if np.isfinite(record[key]))
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
        return report_json(self.to_dict(), path)

    def summary(self) -> str:
        """The scores as a table to print, part by part: the generated cohort, every rival beside it, and why numbers are undefined."""
        shown = self.table[self.table.groupby("score")["value"].transform("count") > 0]
        columns = [column for column, needed in _COLUMNS.items() if needed(shown)]
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="left" if column in ("score", "cohort") else "right", no_wrap=True)
        for part, of_part in shown.groupby("part", sort=False):
            if part:
                table.add_row(str(part).upper())
            for score, rows in of_part.groupby("score", sort=False):
                for place, record in enumerate(rows.to_dict("records")):
                    cells = _cells(record) | {"score": str(score) if place == 0 else ""}
                    table.add_row(*(cells[column] for column in columns))
            table.add_section()
        notes = [*self._reasons(), *self.notes]
        return "\n".join([_rendered(table), *(fill(note, WIDTH, subsequent_indent="  ") for note in notes)])

    def _reasons(self) -> list[str]:
        """Why numbers are undefined, a line for each reason and the cohorts it holds for."""
        several = self.table["cohort"].nunique() > 1
        cohorts: dict[tuple[str, str], list[str]] = {}
        for record in self.table[self.table["reason"] != ""].to_dict("records"):
            cohorts.setdefault((record["reason"], record["score"]), []).append(record["cohort"])
        scores: dict[tuple[str, str], list[str]] = {}
        for (reason, score), names in cohorts.items():
            scores.setdefault((reason, f" of {', '.join(names)}" if several else ""), []).append(score)
        return [f"{', '.join(names)}{whose}: {reason}" for (reason, whose), names in scores.items()]

    def __str__(self) -> str:
        return self.summary()


def report_json(record: Mapping[str, Any], path: str | Path | None) -> str:
    """A report's plain values as JSON text, also written to ``path`` where one is given; a NaN among them is an error."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _numbers(keys: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float]:
    """A value and its percentile interval from (1 + B,) values; NaN where undefined."""
    draws = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(draws, INTERVAL) if len(draws) > 1 and np.isfinite(values[0]) else (np.nan, np.nan)
    return dict(zip(keys, (float(values[0]), float(low), float(high)), strict=True))


def _difference(ours: Estimate, theirs: Estimate) -> NDArray[np.float64]:
    """Generated minus rival, draw by draw; the value alone where one of them has no draws."""
    number = min(len(ours.values), len(theirs.values))
    return ours.values[:number] - theirs.values[:number]


def _share(estimate: Estimate) -> NDArray[np.float64]:
    """Share of the way from floor to ceiling, (1 + B,); NaN where the ceiling is no better than the floor."""
    if estimate.ceiling is None:
        return np.array([np.nan])
    number = min(len(estimate.values), len(estimate.ceiling))
    way = estimate.ceiling[:number] - estimate.floor
    better = way < 0 if estimate.lower_is_better else way > 0
    return np.divide(estimate.values[:number] - estimate.floor, way, out=np.full(number, np.nan), where=better)


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


def _p(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.4f}" if value >= SMALL_P else f"<{SMALL_P:.4f}"


def _cells(record: Mapping[Any, Any]) -> dict[str, str]:
    """The cells of one row of the printed table, by column."""
    value, low, high = (record[key] for key in ("value", "low", "high"))
    difference, difference_low, difference_high = (record[key] for key in DIFFERENCES)
    return {
        "cohort": record["cohort"],
        "value": _text(value) or "undefined",
        "95 % interval": _interval(low, high),
        "null": _text(record["null"]),
        "p": _p(record["p"]),
        "q": _p(record["q"]),
        "real vs real": _text(record["real_vs_real"]),
        "generated - rival": f"{_text(difference, '+')} {_interval(difference_low, difference_high, '+')}".strip(),
        "share of ceiling": f"{_text(record['share_of_ceiling'])} of {_text(record['ceiling'])}" if np.isfinite(record["ceiling"]) else "",
    }


def _rendered(table: Table) -> str:
    """The table as text, as wide as it needs, whatever the terminal."""
    console = Console(file=StringIO(), width=400, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")

"""The result of predicting: everybody's out-of-fold predictions, scores with intervals and p, calibration; printed or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from connectome_gnn import native
from connectome_gnn.evaluation.result import report_json

__all__ = ["BRAIN_AGE_SCORES", "EVERYBODY", "WITHIN", "PredictionResult"]

EVERYBODY, WITHIN = "everybody", "within folds"
BRAIN_AGE_SCORES = ("gap_sd", "gap_r_with_age", "raw_gap_r_with_age")
TABLES = ("scores", "folds", "predictions", "calibration")
INTERVAL = ("low", "high")
WIDTH = 140

SHOWN = {
    "mae": "MAE",
    "r": "r",
    "r2": "R2",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "calibration_slope": "calibration slope",
    "gap_sd": "SD of the gap",
    "gap_r_with_age": "r of gap and age",
    "raw_gap_r_with_age": "r of raw gap and age",
}


@dataclass(frozen=True, eq=False)
class PredictionResult:
    """How well a phenotype is predicted of people whom a model had not seen.

    Attributes
    ----------
    target, task : what was predicted; ``"regression"`` or ``"classification"``.
    classes : levels, the last one of two the one that AUC and calibration are of; empty for numbers.
    unit : of the target's numbers, empty where not known.
    models : names, the mean predictor last; differences are against the first one.
    scores : one row a model and score: ``model``, ``score``, ``over`` (``"everybody"``: out-of-fold predictions of everybody together,
        averaged over repeats; r of nothing then lies below 0, since a fold's prediction is near the mean of the others; ``"within
        folds"``: scored in each fold and averaged, people counting alike, where one site at a time is left out), ``value``, ``low``,
        ``high`` (95 % bootstrap interval over people, groups together), ``null``, ``p`` (one-sided, targets permuted and models refitted;
        of the first repeat), ``difference``, ``difference_low``, ``difference_high`` (minus the first model, paired).
    folds : one row a model and fold: ``model``, ``repeat``, ``fold``, ``n_train``, ``n_test``, and its scores.
    predictions : one row a model, repeat and person: ``participant_id``, ``model``, ``repeat``, ``fold``, ``truth``, ``predicted``, for
        classes ``p_<level>``, for ages ``raw_gap``, ``corrected``, ``gap``.
    calibration : one row a model and bin: ``model``, ``bin``, ``predicted``, ``observed``, ``low``, ``high``, ``n`` (of the first repeat).
    n_people, left_out : rows that were predicted, and those without a value.
    settings : how it was done, plain values.
    notes : what a reader should know, a sentence each.
    """

    target: str
    task: str
    classes: tuple[str, ...]
    unit: str
    models: tuple[str, ...]
    scores: pd.DataFrame
    folds: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame
    n_people: int
    left_out: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def score(self, name: str, model: str | None = None, over: str = EVERYBODY) -> float:
        """One score's value, of the first model unless another is named.

        Raises
        ------
        KeyError
            If there is no such score.
        """
        table = self.scores
        rows = table[(table["score"] == name) & (table["model"] == (model or self.models[0])) & (table["over"] == over)]
        if len(rows) != 1:
            raise KeyError(f"no score {name!r} of model {model or self.models[0]!r} over {over!r}; see scores")
        return float(rows["value"].iloc[0])

    def to_dict(self) -> dict[str, Any]:
        """Scores and how they came about as plain JSON values, None for an undefined number; predictions are in :attr:`predictions`."""
        scores: dict[str, Any] = {}
        for record in self.scores.to_dict("records"):
            numbers = {key: _plain(value) for key, value in record.items() if key not in ("model", "score", "over")}
            scores.setdefault(str(record["model"]), {}).setdefault(str(record["over"]), {})[str(record["score"])] = numbers
        return {
            "target": self.target,
            "task": self.task,
            "classes": list(self.classes),
            "unit": self.unit,
            "n_people": self.n_people,
            "left_out": self.left_out,
            "settings": dict(self.settings),
            "models": scores,
            "folds": [{str(key): _plain(value) for key, value in record.items()} for record in self.folds.to_dict("records")],
            "calibration": [{str(key): _plain(value) for key, value in record.items()} for record in self.calibration.to_dict("records")],
            "notes": list(self.notes),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """:meth:`to_dict` as JSON text, also written to ``path`` where one is given."""
        return report_json(self.to_dict(), path)

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write scores.tsv, folds.tsv, predictions.tsv, calibration.tsv and prediction.json into a folder, complete or not at all.

        Raises
        ------
        ConnectomeError
            If the folder exists and ``force`` is not given.
        """
        with native.new_folder(path, force) as folder:
            for name in TABLES:
                table: pd.DataFrame = getattr(self, name)
                table.to_csv(folder / f"{name}.tsv", sep="\t", na_rep="n/a", index=False, lineterminator="\n")
            self.to_json(folder / "prediction.json")
        return Path(path)

    def summary(self) -> str:
        """Scores of all models as a table to print, with notes."""
        overs = list(dict.fromkeys(self.scores["over"]))
        parts = []
        for over in overs:
            part = self.scores[self.scores["over"] == over]
            names = [name for name in dict.fromkeys(part["score"]) if part.loc[part["score"] == name, "value"].notna().any()]
            table = Table(box=SIMPLE_HEAD, pad_edge=False, title=self._title(over), title_justify="left")
            table.add_column("model")
            for name in names:
                unit = f", {self.unit}" if name == "mae" and self.unit else ""
                table.add_column(SHOWN.get(name, name) + unit, justify="right")
            if part["p"].notna().any():
                table.add_column("p of " + SHOWN[names[0]], justify="right")
            for model in self.models:
                rows = part[part["model"] == model].set_index("score")
                cells = [_cell(rows.loc[name]) for name in names]
                if part["p"].notna().any():
                    cells.append(_p(float(rows.loc[names[0], "p"])))
                table.add_row(model, *cells)
            parts.append(_rendered(table))
        return "\n".join([*parts, *(fill(note, WIDTH, subsequent_indent="  ") for note in self.notes)])

    def _title(self, over: str) -> str:
        what = f"{self.target}, {self.n_people:,} people" + (f" ({self.left_out:,} without a value left out)" if self.left_out else "")
        return what if over == EVERYBODY else f"{what}, scored within folds"

    def __str__(self) -> str:
        return self.summary()


def _cell(row: pd.Series) -> str:
    value, low, high = (float(row[key]) for key in ("value", *INTERVAL))
    if not np.isfinite(value):
        return ""
    digits = 2 if row.name == "mae" or abs(value) >= 10 else 3
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) else ""
    return f"{value:.{digits}f}{interval}"


def _p(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else ""


def _plain(value: Any) -> Any:
    """A cell as a plain JSON value."""
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _rendered(table: Table) -> str:
    console = Console(file=StringIO(), width=400, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")

"""What a column of a participants table holds: numbers or levels, by its description or by its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError

__all__ = [
    "KINDS",
    "described_as",
    "described_levels",
    "found_levels",
    "inferred_kind",
    "is_free_text",
    "level_text",
    "listed",
    "numeric_column",
    "parsed",
]

KINDS = ("continuous", "binary", "categorical", "ordinal")
MAX_INFERRED_LEVELS = 10
"""Undescribed text with more distinct values than this, and than half as many as people, is free text."""
NEARLY_ALL = 0.8
"""Where more of an undescribed column's values than this are numbers, the others are slips, not levels."""


def level_text(value: object) -> str:
    """The text of a level's code: ``'0'`` for 0, 0.0, numpy's zeros and the text ``'0.0'``; other text without the blanks around it."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    return text.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0+", text) else text


def numeric_column(column: pd.Series, units: str | None = None, source: str = "") -> NDArray[np.float64]:
    """A column as float64 (N,), NaN = missing.

    Raises
    ------
    ConnectomeError
        If the column holds text or an infinite value; names the participant.
    """
    numbers = parsed(column)
    wrong = np.isinf(numbers) | (np.isnan(numbers) & ~column.isna().to_numpy())
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        where = f"{source}: " if source else ""
        unit = f" ({units})" if units else ""
        found = f"got {str(column.iloc[row])!r} (participant {column.index[row]!r})"
        raise ConnectomeError(f"{where}column {column.name!r}: expected finite numbers{unit} or n/a, {found}")
    return numbers


def parsed(column: pd.Series) -> NDArray[np.float64]:
    """Values as float64 (N,), NaN where they are missing or no numbers; text to the last digit."""
    if column.dtype.kind in "mMc":  # dates, durations and complex numbers are no quantities of a person
        return np.full(len(column), np.nan)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    if not pd.api.types.is_numeric_dtype(column.dtype):  # pandas 2 rounds the last digit of numbers in text
        known = np.isfinite(numbers)
        numbers[known] = [float(value) for value in column[known]]
    return numbers


def described_as(name: str, note: Mapping[str, Any]) -> Literal["numbers", "levels"] | None:
    """What an entry of ``participants.json`` makes of its column: numbers (Kind continuous, or Units alone), levels, or None for neither.

    Raises
    ------
    ConnectomeError
        If the entry is no object, or its Kind none of :data:`KINDS`.
    """
    if not isinstance(note, Mapping):
        raise ConnectomeError(f"the description of {name!r} must be an object with Description, Units or Levels, Group")
    kind = note.get("Kind")
    if kind is not None and kind not in KINDS:
        raise ConnectomeError(f"column {name!r}: Kind is one of {', '.join(KINDS)}, its description says {kind!r}")
    if kind == "continuous":
        return "numbers"
    if kind is not None or described_levels(name, note):
        return "levels"
    return "numbers" if note.get("Units") not in (None, "", "n/a") else None


def described_levels(name: str, note: Mapping[str, Any]) -> dict[str, str]:
    """Codes and meanings that an entry of ``participants.json`` gives its column, in order; empty where it gives none.

    Raises
    ------
    ConnectomeError
        If Levels are neither an object nor a list, or a code occurs twice.
    """
    levels = note.get("Levels")
    if levels is None:
        return {}
    if isinstance(levels, (list, tuple)):
        levels = {code: code for code in levels}
    if not isinstance(levels, Mapping):
        raise ConnectomeError(f"column {name!r}: Levels are an object of codes and meanings, its description says {levels!r}")
    named: dict[str, str] = {}
    for code, meaning in levels.items():
        text = level_text(code)
        if text in named:
            raise ConnectomeError(f"column {name!r}: level {text!r} occurs more than once in its Levels")
        if text not in ("", "n/a"):  # what is missing is no level
            named[text] = str(meaning.get("Description", text) if isinstance(meaning, Mapping) else meaning)
    return named


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in quotes for a sentence, the first ``most`` of them."""
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def inferred_kind(column: pd.Series) -> str | None:
    """Continuous for numbers of other than two values, None for free text, otherwise categorical.

    Raises
    ------
    ConnectomeError
        If nearly all values are numbers, many different ones, and some are text: rather slips than levels.
    """
    present = column.dropna()
    numbers = _numbers(present)
    distinct = numbers.nunique()
    if not numbers.isna().any():
        return "continuous" if distinct != 2 or np.isinf(numbers).any() else "categorical"
    if distinct > MAX_INFERRED_LEVELS and numbers.notna().mean() > NEARLY_ALL:
        row = int(np.flatnonzero(numbers.isna())[0])
        raise ConnectomeError(
            f"column {column.name!r}: most values are numbers, participant {present.index[row]!r} has {str(present.iloc[row])!r}; "
            "correct it, or give the column's Units or Levels in participants.json"
        )
    return None if is_free_text(present) else "categorical"


def found_levels(column: pd.Series) -> tuple[list[str], bool]:
    """Codes of an undescribed column, numbers by size, text by the alphabet; and whether that order means anything."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [level_text(category) for category in column.cat.categories], bool(column.cat.ordered)
    present = column.dropna()
    if len(present) and all(isinstance(value, (bool, np.bool_)) for value in present):
        return ["False", "True"], False
    numbers = _numbers(present)
    if numbers.isna().any():
        return sorted({level_text(value) for value in present}), False
    return [level_text(value) for value in sorted(numbers.unique())], True


def _numbers(present: pd.Series) -> pd.Series:
    """Values as float64, NaN where they are no numbers (True and False are none)."""
    truth = [isinstance(value, (bool, np.bool_)) for value in present]
    return pd.Series(np.where(truth, np.nan, parsed(present)), present.index)


def is_free_text(present: pd.Series) -> bool:
    """Whether the values of an undescribed column are too many to be levels."""
    return present.nunique() > max(MAX_INFERRED_LEVELS, len(present) / 2)

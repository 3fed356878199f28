"""The tables that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from connectome_gnn.cli.terminal import Cell, say, show_table, terminal_width

if TYPE_CHECKING:
    from connectome_gnn.generation.comparison import Ranking

__all__ = ["number", "show_earned", "show_ranking", "with_interval"]

WIDE = 110
"""Columns of a terminal from which on a value and its interval fit on one line of a ranking."""

TIE = "~"


def number(value: Any, digits: int = 4, sign: str = "") -> str:
    """A number as text without the zero before its point; '-' where undefined."""
    if pd.isna(value):
        return "-"
    text = f"{round(float(value), digits) + 0:{sign}.{digits}f}"  # adding 0 turns -0 into 0
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def with_interval(value: Any, low: Any, high: Any, digits: int = 4, sign: str = "", gap: str = " ") -> Cell:
    """A value and, dimmed, its interval beside or below it."""
    interval = f"[{number(low, digits)}, {number(high, digits)}]" if pd.notna(low) else ""
    return [(number(value, digits, sign), ""), (f"{gap}{interval}" if interval else "", "dim")]


def show_ranking(ranking: Ranking, title: str) -> None:
    """Models beside each other, best R2 first, each with its difference from ours; below, who could not be fitted, and why."""
    table = ranking.table
    several, ceiling = len(table) > 1, bool(table["share_of_ceiling"].notna().any())
    gap = " " if terminal_width() >= WIDE or not several else "\n"
    headings = ["model", "R2 beyond\nthe mean", *(["of the\nceiling"] if ceiling else []), "demeaned\nr"]
    headings += [*([f"{ranking.ours}\nminus it"] if several else []), "fit, s"]
    rows: list[list[Cell]] = []
    for (name, row), place in zip(table.iterrows(), _places(table["rank"]), strict=True):
        cells: list[Cell] = [f"{place} {name}" if several else str(name), with_interval(row["r2"], row["r2_low"], row["r2_high"], gap=gap)]
        if ceiling:
            cells.append(number(row["share_of_ceiling"], 2))
        cells.append(number(row["demeaned_r"], 3))
        if several:
            cells.append("" if name == ranking.ours else _difference(row, gap))
        rows.append([*cells, f"{row['seconds']:.1f}"])
    caption = "[ ] 95 % bootstrap intervals over people"
    if several:
        caption += f"; {TIE} a tie: the interval of the difference holds 0"
    show_table(headings, rows, title, caption, bold=list(table.index).index(ranking.ours) if several else None)
    for name, why in ranking.unfitted.items():
        say(f"{name} takes no part: {why}")


def show_earned(earned: pd.DataFrame, title: str) -> None:
    """What each path of a fitted generator earned."""
    frame = earned.reset_index()
    rows = [[value if isinstance(value, str) else number(value) for value in row] for row in frame.itertuples(index=False)]
    show_table([str(column).replace("_", " ") for column in frame.columns], rows, title)


def _places(rank: pd.Series) -> list[str]:
    """1, 2, ... with = where several models share a place."""
    shared = rank.duplicated(keep=False)
    places = [f"{'=' if tie else ''}{place}" for place, tie in zip(rank, shared, strict=True)]
    width = max(map(len, places))
    return [place.rjust(width) for place in places]


def _difference(row: pd.Series, gap: str) -> Cell:
    tie = TIE if row["difference_low"] <= 0 <= row["difference_high"] else " "
    value = with_interval(row["difference"], row["difference_low"], row["difference_high"], sign="+", gap=gap)
    return [(tie, ""), *value]

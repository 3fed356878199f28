"""Figures of an attribution (extra ``viz``); imported by the function that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from connectome_gnn.attribution.explained import STRENGTHS
from connectome_gnn.attribution.result import ALL, Attribution

__all__ = ["write_figures"]

MOST_SHOWN = 30
"""Phenotypes of which each has a line of its own."""

VIEWS = (("sagittal", 1, 2), ("axial", 0, 1), ("coronal", 0, 2))
"""Projections of the atlas: name, and which of x, y, z go across and up."""

WORDS = {"keep": "total strength as it is", "remove": "total strength taken out"}
DPI = 150


def write_figures(why: Attribution, folder: Path) -> list[str]:
    """Write what there is to see of an attribution as PNG files.

    Parameters
    ----------
    why : the attribution.
    folder : where files go: groups.png, phenotypes.png, regions_keep.png and regions_remove.png (where the atlas has coordinates),
        networks.png.

    Returns
    -------
    names : of the files that were written.
    """
    names = []
    for name, figure in _figures(why):
        figure.savefig(folder / f"{name}.png", dpi=DPI)
        names.append(f"{name}.png")
    return names


def _figures(why: Attribution) -> Iterator[tuple[str, Figure]]:
    if len(why.groups):
        yield "groups", _intervals(why, why.groups, "group", list(dict.fromkeys(why.groups["group"])))
    if len(why.phenotypes):
        yield "phenotypes", _intervals(why, why.phenotypes, "phenotype", _leading(why.phenotypes))
    for strength in STRENGTHS:
        shown = _shown(why.regions, strength)
        if len(shown) and shown[["x", "y", "z"]].notna().all(axis=None):
            yield f"regions_{strength}", _maps(shown, strength)
    if len(why.networks):
        yield "networks", _heat(why.networks)


def _leading(table: pd.DataFrame) -> list[str]:
    """Phenotypes that explain most, by the first method and ``missing`` of the table that are shown of maps too."""
    method = _map_method(table)
    rows = table[(table["method"] == method) & (table["missing"] == table["missing"].iloc[0])]
    return rows.sort_values("value", ascending=False, kind="stable")["phenotype"].head(MOST_SHOWN).tolist()


def _map_method(table: pd.DataFrame) -> str:
    """Shapley values where there are any."""
    methods = list(dict.fromkeys(table["method"]))
    return "shapley" if "shapley" in methods else methods[0]


def _intervals(why: Attribution, table: pd.DataFrame, name: str, names: list[str]) -> Figure:
    """Dots with intervals, a line a name: importance on the left, sensitivity on the right, each on an axis of its own."""
    kinds = [kind for kind in ("importance", "sensitivity") if (table["kind"] == kind).any()]
    series = [(m, k) for m in dict.fromkeys(table["method"]) for k in dict.fromkeys(table["missing"])]
    room = 0.85 if name == "group" else 0.28
    figure = Figure(figsize=(4.4 * len(kinds) + 2.2, 1.9 + room * len(names)), layout="constrained")
    colours = {method: colormaps["tab10"](number) for number, method in enumerate(dict.fromkeys(table["method"]))}
    for number, (kind, axes) in enumerate(zip(kinds, figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], strict=True)):
        rows = table[table["kind"] == kind]
        if name == "phenotype":  # one line each has room for one method
            rows = rows[rows["method"] == _map_method(rows)]
        there = [(m, k) for m, k in series if ((rows["method"] == m) & (rows["missing"] == k)).any()]
        for place, (method, missing) in enumerate(there):
            some = rows[(rows["method"] == method) & (rows["missing"] == missing)].set_index(name).reindex(names)
            shift = (place - (len(there) - 1) / 2) * 0.8 / max(len(there), 1)
            _dots(axes, some, np.arange(len(names)) + shift, colours[method], filled=missing == "reference")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        axes.grid(axis="x", color="0.92", zorder=0)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(
            f"{kind}: " + (f"what is explained ({why.score.replace('r2', 'R2')})" if kind == "importance" else "what moves"), fontsize=10
        )
        marks = [_mark(f"{method}, {missing}", colours[method], filled=missing == "reference") for method, missing in there]
        axes.legend(
            handles=marks, fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35 / (room * len(names)) - 0.02), ncols=2
        )
        axes.tick_params(labelsize=8, labelleft=number == 0)
    return figure


def _dots(axes: Axes, rows: pd.DataFrame, places: NDArray[np.floating], colour: Any, *, filled: bool) -> None:
    axes.hlines(places, rows["low"], rows["high"], color=colour, linewidth=1.2)
    axes.plot(rows["value"], places, "o", color=colour, markersize=4.5, markerfacecolor=colour if filled else "white", linestyle="none")


def _mark(label: str, colour: Any, *, filled: bool) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=4.5, markerfacecolor=colour if filled else "white", label=label)


def _shown(table: pd.DataFrame, strength: str) -> pd.DataFrame:
    """The maps that are shown of a table over regions or networks: everything's, and each group's by one method."""
    some = table[table["global_strength"] == strength]
    some = some[some["missing"] == some["missing"].iloc[0]] if len(some) else some
    groups = some[some["of"] != ALL]
    return some[(some["of"] == ALL) | (some["method"] == _map_method(groups))] if len(groups) else some


def _maps(shown: pd.DataFrame, strength: str) -> Figure:
    """A row of projections for each map, regions as dots at their coordinates."""
    names = list(dict.fromkeys(shown["of"]))
    figure = Figure(figsize=(9.5, 0.6 + 2.35 * len(names)), layout="constrained")
    figure.suptitle(f"share of each region's variance explained, {WORDS[strength]}", fontsize=11)
    for name, row in zip(names, figure.subplots(len(names), len(VIEWS), squeeze=False), strict=True):
        of = shown[shown["of"] == name].sort_values("value", kind="stable", na_position="first")  # the strongest lie on top
        cmap, scale = _colours(of["value"].to_numpy(np.float64))
        for axes, (view, across, up) in zip(row, VIEWS, strict=True):
            xyz = of[["x", "y", "z"]].to_numpy(np.float64)
            size = float(np.clip(9000 / len(of), 12, 90))
            drawn = axes.scatter(
                xyz[:, across],
                xyz[:, up],
                c=of["value"],
                s=size,
                cmap=cmap,
                norm=scale,
                edgecolors="0.4",
                linewidths=0.3,
                plotnonfinite=True,
                clip_on=False,
            )
            axes.set_aspect("equal")
            axes.margins(0.06)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_xlabel("left to right" if across == 0 else "back to front", fontsize=7, color="0.4")
            if name == names[0]:
                axes.set_title(view, fontsize=9)
        row[0].set_ylabel(name, fontsize=10)
        bar = figure.colorbar(drawn, ax=row.tolist(), fraction=0.025, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.ax.locator_params(nbins=5)
    return figure


def _colours(values: NDArray[np.float64]) -> tuple[str, Normalize]:
    """A colour map and its scale: from white where nothing is negative, else around it."""
    most = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    if np.nanmin(values, initial=0) >= 0:
        return "Reds", Normalize(0, most)
    return "RdBu_r", Normalize(-most, most)


def _heat(networks: pd.DataFrame) -> Figure:
    """Networks by groups, with the numbers written in; a panel with total strength and one without."""
    strengths = [strength for strength in STRENGTHS if (networks["global_strength"] == strength).any()]
    tables = [
        _shown(networks.reset_index(), strength).pivot_table(index="network", columns="of", values="value", sort=False)
        for strength in strengths
    ]
    rows, columns = tables[0].shape
    figure = Figure(figsize=(1.6 + len(tables) * (0.7 + 0.85 * columns), 1.5 + 0.38 * rows), layout="constrained")
    figure.suptitle("share of each network's variance explained", fontsize=11)
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, table, strength in zip(panels, tables, strengths, strict=True):
        cmap, scale = _colours(table.to_numpy(np.float64))
        axes.imshow(table, cmap=cmap, norm=scale, aspect="auto")
        for (row, column), value in np.ndenumerate(table.to_numpy(np.float64)):
            dark = sum(colormaps[cmap](scale(value))[:3]) < 1.5
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axes.set_xticks(range(columns), table.columns, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), table.index)
        axes.set_title(WORDS[strength], fontsize=9)
        axes.tick_params(labelsize=8, length=0)
        axes.spines[:].set_visible(False)
    return figure

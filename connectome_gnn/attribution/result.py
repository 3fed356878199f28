"""The result of an attribution: tables, contrasts with intervals, checks of itself, a summary, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from connectome_gnn.attribution.explained import GlobalStrength
from connectome_gnn.attribution.intervals import percentiles
from connectome_gnn.attribution.maps import EdgeMaps
from connectome_gnn.attribution.phenotype_maps import PhenotypeMaps
from connectome_gnn.attribution.profiles import Missing
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.result import report_json

__all__ = ["ALL", "METHODS", "Attribution", "Contrast"]

ALL = "all"
"""Name of the row of all phenotypes together."""

METHODS = ("contribution", "shapley", "permutation", "sensitivity", "gradient")
SUM_ERROR = 1e-6
RESIDUAL = 0.01
WIDTH = 140
SHOWN = 15
Key = tuple[str, str, str]


class Contrast(NamedTuple):
    """A ratio or a difference with its 95 % interval (bootstrap over people)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Attribution:
    """Which phenotype matters, and where.

    Every row has ``value`` with its 95 % interval ``low`` to ``high``, and the test of the null that connectomes do not depend on the
    phenotype given the others: ``p``, and ``q`` over the rows of the same table, method and ``missing`` (of a map: over its regions).
    ``kind`` is ``importance`` (what is explained in real people) or ``sensitivity`` (what moves in generated connectomes, whoever the real
    people are; it has no null): they are never the same thing. ``missing`` says what became of phenotypes that are not known.

    Attributes
    ----------
    groups : group, method, missing, value, low, high, p, q, kind, and share: of full less null, with share_low and share_high;
        ``error`` is the standard error of sampled Shapley values.
    phenotypes : the same a phenotype, with its group. Of importance, ``value`` is what the model implies of the phenotype, corrected by
        held-out people as far as they can tell (:func:`~connectome_gnn.attribution.shrinkage.estimated`), with the interval of that
        estimate; ``raw``, raw_low, raw_high are what was measured on them and nothing else, as in ``groups``. Shapley values of both kinds
        sum to full less null. p and q test what was measured.
    regions : indexed by region; of (a group, or ``all``), method, missing, global_strength, hemisphere, network, x, y, z, value, low, high,
        p, q, raw, raw_low, raw_high. Of importance, ``value`` is an estimate and ``raw`` what was measured, as in ``phenotypes``. NaN where
        a region has no modelled edge.
    networks : the same by network: the mean over its regions' edges, as it was measured.
    interactions : pair of groups, missing, value, low, high: what both explain together beyond each alone (Shapley interaction index).
    commonality : a row a phenotype: what it explains ``alone``, what only it explains (``unique``), and what others tell as well
        (``shared``), all conditional, with intervals and the phenotypes it goes with.
    scores : a row for ``full`` and ``null``: the score with everything known, and with everything missing.
    score : name of the score, whose units values are in.
    notes : what else a reader should know.
    every_phenotype : whether ``phenotypes`` has all that the model knows.
    phenotype_maps : maps of single phenotypes over regions, on request (:class:`~connectome_gnn.attribution.phenotype_maps.PhenotypeMaps`);
        None unless both were asked for.
    edges : maps over single edges, on request (:class:`~connectome_gnn.attribution.maps.EdgeMaps`); None for scores other than R2.
    """

    groups: pd.DataFrame
    phenotypes: pd.DataFrame
    regions: pd.DataFrame
    networks: pd.DataFrame
    interactions: pd.DataFrame
    commonality: pd.DataFrame
    scores: pd.DataFrame
    score: str
    notes: tuple[str, ...] = ()
    every_phenotype: bool = True
    edges: EdgeMaps | None = field(default=None, repr=False)
    phenotype_maps: PhenotypeMaps | None = field(default=None, repr=False)
    _draws: Mapping[Key, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    _network_draws: Mapping[Key, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    # --- looking things up ---------------------------------------------------------------------------------------------

    def region_map(
        self, of: str = ALL, method: str = "shapley", missing: Missing = "reference", global_strength: GlobalStrength = "keep"
    ) -> pd.DataFrame:
        """One map, a row a region in the atlas's order: hemisphere, network, x, y, z, value, low, high, p, q.

        Of a group, of ``all``, or of a single phenotype: of the latter two there are contributions in the place of Shapley values.

        Raises
        ------
        ConnectomeError
            If there is no such map.
        """
        table = self.regions
        alone = self.phenotype_maps is not None and of in self.phenotype_maps.names and of not in set(table["of"])
        if self.phenotype_maps is not None and alone:
            table = self.phenotype_maps.table(global_strength)
        if of == ALL or (alone and method == "shapley"):
            method = "contribution"
        return self._map(table, of, method, missing, global_strength, ["hemisphere", "network", "x", "y", "z"])

    def network_map(
        self, of: str = ALL, method: str = "shapley", missing: Missing = "reference", global_strength: GlobalStrength = "keep"
    ) -> pd.DataFrame:
        """The same, a row a network."""
        return self._map(self.networks, of, "contribution" if of == ALL else method, missing, global_strength, [])

    @staticmethod
    def _map(table: pd.DataFrame, of: str, method: str, missing: str, strength: str, columns: list[str]) -> pd.DataFrame:
        for column, wanted in (("of", of), ("method", method), ("missing", missing), ("global_strength", strength)):
            known = list(dict.fromkeys(table[column])) if len(table) else []
            if wanted not in known:
                raise ConnectomeError(f"there is no map with {column} {wanted!r}; there is {listed(known) if known else 'none at all'}")
            table = table[table[column] == wanted]
        return table[[*columns, "value", "low", "high", "p", "q"]]

    def ratio(
        self, above: str | Sequence[str], below: str | Sequence[str], method: str = "shapley", missing: Missing = "reference"
    ) -> Contrast:
        """How many times as much a group or several explain as others, both summed, with a 95 % interval from the same resamples.

        Raises
        ------
        ConnectomeError
            If a group, method or ``missing`` was not computed.
        """
        draws = [sum(self._drawn(group, method, missing) for group in _names(side)) for side in (above, below)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(draws[1] > 0, draws[0] / draws[1], np.nan)
        low, high = percentiles(ratio[1:, None])
        return Contrast(float(ratio[0]), float(low[0]), float(high[0]))

    def network_difference(
        self,
        of: str,
        first: str | Sequence[str],
        second: str | Sequence[str],
        method: str = "shapley",
        missing: Missing = "reference",
        global_strength: GlobalStrength = "keep",
    ) -> Contrast:
        """How much more a group explains in a network or several than in others, each side the mean of its networks, with a 95 % interval.

        Raises
        ------
        ConnectomeError
            If there is no such map or network.
        """
        names, first, second = list(self.network_map(of, method, missing, global_strength).index), _names(first), _names(second)
        unknown = [name for name in (*first, *second) if name not in names]
        if unknown:
            raise ConnectomeError(f"the atlas has no network {unknown[0]!r}; it has {listed(names)}")
        draws = self._network_draws[of, "contribution" if of == ALL else method, f"{missing} {global_strength}"]
        sides = [draws[:, [names.index(name) for name in side]].mean(1) for side in (first, second)]
        difference = (sides[0] - sides[1])[:, None]
        low, high = percentiles(difference[1:])
        return Contrast(float(difference[0, 0]), float(low[0]), float(high[0]))

    def _drawn(self, group: str, method: str, missing: str) -> NDArray[np.float64]:
        if (group, method, missing) not in self._draws:
            known = sorted({key[0] for key in self._draws})
            raise ConnectomeError(f"no group {group!r} by method {method!r} with missing {missing!r}; groups are {listed(known)}")
        return self._draws[group, method, missing].astype(np.float64)

    # --- checks --------------------------------------------------------------------------------------------------------

    def validate(self) -> pd.DataFrame:
        """Check what has to hold of any attribution: a row a check, with what was found, its limit, and whether it passed.

        Raises
        ------
        ConnectomeError
            If a check fails.
        """
        checks = [*self._sums(), *self._ranges()]
        table = pd.DataFrame(checks, columns=["check", "found", "limit"])
        table["passed"] = ~(table["found"] > table["limit"])
        if not table["passed"].all():
            failed = table[~table["passed"]].iloc[0]
            raise ConnectomeError(
                f"attribution check failed: {failed['check']}: {failed['found']:.3g}, at most {failed['limit']:.3g} expected"
            )
        return table

    def _sums(self) -> list[tuple[str, float, float]]:
        checks = []
        way = self._level("full") - self._level("null")
        for name, table in (("groups", self.groups), ("phenotypes", self.phenotypes)):
            if not len(table) or (name == "phenotypes" and not self.every_phenotype):
                continue
            for (method, missing), rows in table.groupby(["method", "missing"]):
                whole = way
                if missing == "conditional":
                    whole = self._level("full") - self._level("null, conditional")
                for column in ("value", "raw") if method == "shapley" and "raw" in rows else ("value",) * (method == "shapley"):
                    what = f"{'raw ' * (column == 'raw')}Shapley values of {name} ({missing}) sum to full less null"
                    checks.append((what, abs(rows[column].sum() - whole), SUM_ERROR))
                if method == "gradient":
                    gap = abs(rows["value"].sum() - whole) / max(abs(whole), 1e-4)
                    checks.append((f"integrated gradients of {name} sum to full less null, as a share of it", gap, RESIDUAL))
        return checks

    def _level(self, name: str) -> float:
        """The score with everything known (``full``), or missing (``null``)."""
        return float(self.scores["value"].to_numpy(np.float64)[list(self.scores.index).index(name)])

    def _ranges(self) -> list[tuple[str, float, float]]:
        checks = []
        tables = {"groups": self.groups, "phenotypes": self.phenotypes, "regions": self.regions, "networks": self.networks}
        for name, table in tables.items():
            if not len(table):
                continue
            known = table[table["low"].notna()]
            checks.append((f"{name}: rows whose interval is upside down", float((known["low"] > known["high"]).sum()), 0.0))
            tested = table[table["p"].notna()]
            outside = ((tested["p"] <= 0) | (tested["p"] > 1) | (tested["q"] < tested["p"] - 1e-12)).sum()
            checks.append((f"{name}: p outside (0, 1], or q below p", float(outside), 0.0))
            moved = table[table["method"] == "sensitivity"]["value"]
            checks.append((f"{name}: negative sensitivity", float((moved < -1e-9).sum()), 0.0))
        return checks

    # --- telling others ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Everything but single edges as plain JSON values; None in place of an undefined number."""
        tables = {
            "groups": self.groups,
            "phenotypes": self.phenotypes,
            "networks": self.networks.reset_index() if len(self.networks) else self.networks,
            "regions": self.regions.reset_index() if len(self.regions) else self.regions,
            "interactions": self.interactions,
            "commonality": self.commonality,
            "scores": self.scores.reset_index(),
        }
        return {
            "score": self.score,
            "notes": list(self.notes),
            **{name: [_plain(row) for row in table.to_dict("records")] for name, table in tables.items()},
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """:meth:`to_dict` as JSON text, also written to ``path`` where one is given."""
        return report_json(self.to_dict(), path)

    def summary(self) -> str:
        """Groups, the phenotypes that matter most, and networks, as text for a terminal."""
        parts = []
        full = self.scores.reset_index().to_dict("records")[list(self.scores.index).index("full")]
        parts.append(f"{self.score}: {_interval(full)} with everything known, {self._level('null'):.4f} with everything missing")
        if len(self.groups):
            parts.append(_rendered("groups", self.groups, "group", len(self.groups)))
        if len(self.phenotypes):
            methods = list(dict.fromkeys(self.phenotypes["method"]))
            method = "shapley" if "shapley" in methods else methods[0]
            rows = self.phenotypes[
                (self.phenotypes["method"] == method) & (self.phenotypes["missing"] == self.phenotypes["missing"].iloc[0])
            ]
            rows = rows.sort_values("value", ascending=False, kind="stable").head(SHOWN)
            does = "move" if method == "sensitivity" else "explain"
            parts.append(_rendered(f"phenotypes that {does} most ({method})", rows, "phenotype", SHOWN))
        if len(self.networks):
            parts.append(self._network_text())
        parts += [fill(note, WIDTH, subsequent_indent="  ") for note in self.notes]
        return "\n".join(parts)

    def _network_text(self) -> str:
        """Networks by groups: values of one method, strength kept."""
        table = self.networks.reset_index()
        table = table[(table["global_strength"] == table["global_strength"].iloc[0]) & (table["missing"] == table["missing"].iloc[0])]
        wanted = "shapley" if "shapley" in set(table["method"]) else "contribution"
        table = table[(table["method"] == wanted) | (table["of"] == ALL)]
        wide = table.pivot_table(index="network", columns="of", values="value", sort=False)
        out = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"networks ({wanted})", title_justify="left")
        out.add_column("network")
        for column in wide:
            out.add_column(str(column), justify="right")
        for network, row in wide.iterrows():
            out.add_row(str(network), *(f"{value:.4f}" for value in row))
        return _text(out)

    def __str__(self) -> str:
        return self.summary()


def _names(given: str | Sequence[str]) -> Sequence[str]:
    """Several names, or the one."""
    return (given,) if isinstance(given, str) else given


def _rendered(title: str, rows: pd.DataFrame, name: str, most: int) -> str:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column, justify in ((name, "left"), ("method", "left"), ("missing", "left"), ("value", "right"), ("95 % interval", "right")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for column in ("share", "p", "q"):
        table.add_column(column, justify="right")
    for row in rows.head(most).to_dict("records"):
        share = "" if not np.isfinite(row["share"]) else f"{row['share']:.3f}"
        tests = ("" if not np.isfinite(row[key]) else f"{row[key]:.4f}" for key in ("p", "q"))
        table.add_row(row[name], row["method"], row["missing"], f"{row['value']:.5f}", _ends(row), share, *tests)
    return _text(table)


def _ends(row: Mapping[Any, Any]) -> str:
    return f"[{row['low']:.5f}, {row['high']:.5f}]" if np.isfinite(row["low"]) else ""


def _interval(row: Any) -> str:
    return f"{row['value']:.4f}" + (f" [{row['low']:.4f}, {row['high']:.4f}]" if np.isfinite(row["low"]) else "")


def _text(table: Table) -> str:
    console = Console(width=WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}

"""Rows of the result's tables, and the false discovery rates over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.intervals import Ratio
from connectome_gnn.evaluation.statistics import benjamini_hochberg

__all__ = ["COLUMNS", "Rows", "empty_table"]

NUMBERS = ["value", "low", "high", "p", "q"]
SHARES = ["share", "share_low", "share_high"]
RAW = ["raw", "raw_low", "raw_high"]
MAP = ["of", "method", "missing", "global_strength"]
COLUMNS = {
    "groups": ["group", "method", "missing", *NUMBERS, "kind", *SHARES, "error"],
    "phenotypes": ["phenotype", "group", "method", "missing", *NUMBERS, "kind", *SHARES, "error", *RAW],
    "regions": ["region", *MAP, "hemisphere", "network", "x", "y", "z", *NUMBERS, *RAW],
    "networks": ["network", *MAP, *NUMBERS],
    "interactions": ["group", "other_group", "missing", "value", "low", "high"],
    "commonality": [
        *("phenotype", "group", "alone", "alone_low", "alone_high", "unique", "unique_low", "unique_high"),
        *("shared", "shared_low", "shared_high", "goes_with", "copies"),
    ],
}
INDEX = {"regions": "region", "networks": "network", "commonality": "phenotype"}


class Rows:
    """Rows of one table, as they are found."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, keys: dict[str, Any], ratio: Ratio, p: NDArray[np.float64], share: Ratio | None = None, **more: float) -> None:
        """A row of importance or sensitivity from a ratio of one target, its share of the whole beside it."""
        self.add_one(keys, ratio, p, 0)
        row = self.rows[-1]
        row["kind"] = "sensitivity" if keys["method"] == "sensitivity" else "importance"
        values = (np.nan,) * 3 if share is None else (share.value[0], share.low[0], share.high[0])
        row.update(dict(zip(SHARES, map(float, values), strict=True)), **more)

    def add_one(self, keys: dict[str, Any], ratio: Ratio, p: NDArray[np.float64], place: int) -> None:
        """A row from one target of a ratio."""
        numbers = {"value": ratio.value[place], "low": ratio.low[place], "high": ratio.high[place], "p": p[place]}
        self.rows.append({**keys, **{name: float(number) for name, number in numbers.items()}})

    def add_all(self, keys: dict[str, Any], ratio: Ratio, p: NDArray[np.float64], raw: Ratio | None = None) -> None:
        """A row a target of a ratio, what was measured of it beside it; p is undefined where the ratio is."""
        numbers = {"value": ratio.value, "low": ratio.low, "high": ratio.high, "p": np.where(np.isfinite(ratio.value), p, np.nan)}
        if raw is not None:
            numbers |= dict(zip(RAW, (raw.value, raw.low, raw.high), strict=True))
        rows = pd.DataFrame({**keys, **numbers}).to_dict("records")
        self.rows += [{str(name): entry for name, entry in row.items()} for row in rows]

    def table(self, name: str, families: list[str]) -> pd.DataFrame:
        """The table, with q over the rows that agree in ``families``."""
        if not self.rows:
            return empty_table(name)
        table = pd.DataFrame(self.rows)
        if families:
            p = table["p"].to_numpy(np.float64)
            q = np.full(len(table), np.nan)
            for rows in table.groupby(families, sort=False).indices.values():
                q[rows] = benjamini_hochberg(p[rows])
            table["q"] = q
        table = table.reindex(columns=COLUMNS[name])
        return table.set_index(INDEX[name]) if name in INDEX else table


def empty_table(name: str) -> pd.DataFrame:
    """A table without rows."""
    table = pd.DataFrame(columns=COLUMNS[name])
    return table.set_index(INDEX[name]) if name in INDEX else table

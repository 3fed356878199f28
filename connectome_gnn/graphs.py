"""Cohorts as PyG graphs and back: the interchange with the world of graph networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, Data

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.columns import described_as, described_levels, level_text, numeric_column
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import KEY_COLUMNS

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["Column", "GraphInfo", "cohort_graphs", "encoded", "graphs_cohort", "region_features"]


@dataclass(frozen=True, eq=False)
class Column:
    """How a column of the participants table is written as numbers, so that it can be read back.

    Attributes
    ----------
    name : the column.
    dtype : its type in the table.
    levels : its values, in order, whose positions stand for them; None for numbers, which stand for themselves.
    absent : what stands for a missing value.
    """

    name: str
    dtype: Any
    levels: tuple[Any, ...] | None
    absent: Any

    @classmethod
    def of(cls, column: pd.Series, note: dict[str, Any]) -> Column:
        """The form of a column; levels in the order of its description, of its categories, or of the alphabet."""
        name, missing = str(column.name), column[column.isna()]
        absent = missing.iloc[0] if len(missing) else None
        if pd.api.types.is_numeric_dtype(column.dtype) and described_as(name, note) != "levels":
            return cls(name, column.dtype, None, absent)
        if isinstance(column.dtype, pd.CategoricalDtype):
            return cls(name, column.dtype, tuple(column.cat.categories), absent)
        values = {level_text(value): value for value in column.dropna().unique()[::-1]}
        described = [values.get(code, code) for code in described_levels(name, note)]
        others = [value for value in column.dropna().unique() if value not in described]
        return cls(name, column.dtype, (*described, *sorted(others, key=str)), absent)

    def encode(self, column: pd.Series) -> NDArray[np.float64]:
        """A table's column as numbers (N,), NaN = missing."""
        if self.levels is None:
            return numeric_column(column)
        position = {value: number for number, value in enumerate(self.levels)}
        return np.array(
            [np.nan if missing else position[value] for value, missing in zip(column, column.isna(), strict=True)], dtype=np.float64
        )

    def decode(self, numbers: NDArray[np.float64]) -> pd.Series:
        """The inverse of :meth:`encode`."""
        if self.levels is None:
            return pd.Series(pd.array(numbers, dtype="Float64") if self.dtype.kind == "b" else numbers).astype(self.dtype)
        values = [self.absent if np.isnan(number) else self.levels[int(number)] for number in numbers]
        return pd.Series(values, dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class GraphInfo:
    """What all graphs of a cohort share; each graph refers to the same object as ``graph.cohort``.

    Attributes
    ----------
    atlas, measure, signed, name, kind, described, info : as of the cohort.
    columns : the columns of the participants table, in order.
    """

    atlas: Atlas
    measure: str
    signed: bool
    name: str
    kind: str
    described: dict[str, Any]
    info: dict[str, Any]
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, cohort: Cohort) -> GraphInfo:
        """What the graphs of a cohort share."""
        columns = tuple(Column.of(column, cohort.described.get(str(name), {})) for name, column in cohort.phenotypes.items())
        return cls(cohort.atlas, cohort.measure, cohort.signed, cohort.name, cohort.kind, cohort.described, cohort.info, columns)

    @property
    def phenotypes(self) -> tuple[Column, ...]:
        """The columns that are phenotypes, in order."""
        return tuple(column for column in self.columns if column.name not in KEY_COLUMNS)

    @property
    def identifiers(self) -> tuple[Column, ...]:
        """The columns that identify rows or people, in order."""
        return tuple(column for column in self.columns if column.name in KEY_COLUMNS)

    def __repr__(self) -> str:
        return f"GraphInfo({self.name!r}, {self.atlas.n_regions} regions, {self.measure}, {len(self.phenotypes)} phenotypes)"


def region_features(atlas: Atlas) -> NDArray[np.float32]:
    """Features of regions, (R, F): centroid in dm (0 where unknown), hemisphere (left, right), one column a network."""
    networks = sorted(set(atlas.network) - {UNKNOWN})
    columns = [np.nan_to_num(atlas.xyz) / 100]
    columns.append(np.array([[h == "L", h == "R"] for h in atlas.hemisphere], float))
    columns.append(np.array([[n == network for network in networks] for n in atlas.network], float).reshape(atlas.n_regions, -1))
    return np.concatenate(columns, 1).astype(np.float32)


def cohort_graphs(cohort: Cohort, backbone: NDArray[np.bool_] | None = None) -> list[Data]:
    """See :meth:`connectome_gnn.Cohort.graphs`."""
    if backbone is None:
        seen = np.zeros(cohort.n_edges, bool)
        for _, weights in cohort.batches():
            seen |= (weights != 0).any(0)
        backbone = to_matrices(seen)
    kept = np.asarray(backbone) != 0
    shape = (cohort.n_regions, cohort.n_regions)
    if kept.shape != shape:
        raise ConnectomeError(f"expected a backbone of shape {shape} for the regions of the atlas, got {kept.shape}")
    if not np.array_equal(kept, kept.T):
        raise ConnectomeError("expected a symmetric backbone, got one with an edge in one direction only; use backbone | backbone.T")
    # np.nonzero goes row by row, which is PyG's coalesced order
    rows, columns = np.nonzero(kept & ~np.eye(cohort.n_regions, dtype=bool))
    edge_index = torch.from_numpy(np.stack([rows, columns]))
    x = torch.from_numpy(region_features(cohort.atlas))
    shared = GraphInfo.of(cohort)
    phenotypes, identifiers = (encoded(cohort.phenotypes, columns) for columns in (shared.phenotypes, shared.identifiers))
    edge = to_matrices(np.arange(cohort.n_edges))[rows, columns]  # each direction's place in the edge vector
    graphs = []
    for part, weights in cohort.batches(64):
        for row, values in enumerate(weights[:, edge].astype(np.float32, copy=False), part.start):
            graph = Data(
                x=x,
                edge_index=edge_index,
                edge_attr=torch.from_numpy(values[:, None]),
                phenotypes=phenotypes[row : row + 1],
                participant_id=str(cohort.ids[row]),
                cohort=shared,
            )
            if shared.identifiers:
                graph.identifiers = identifiers[row : row + 1]
            graphs.append(graph)
    return graphs


def graphs_cohort(graphs: Sequence[Data] | Batch, like: Cohort | None = None) -> Cohort:
    """See :meth:`connectome_gnn.Cohort.from_graphs`."""
    from connectome_gnn.cohort import Cohort

    graphs = graphs.to_data_list() if isinstance(graphs, Batch) else list(graphs)
    if not graphs:
        raise ConnectomeError("expected at least one graph, got none")
    fallback = None if like is None else GraphInfo.of(like)
    infos = []
    for row, graph in enumerate(graphs):
        info = getattr(graph, "cohort", None)
        info = info if isinstance(info, GraphInfo) else fallback
        if info is None:
            raise ConnectomeError(f"{_who(row, graph)} does not say its atlas and measure; give a cohort on the same atlas as like=")
        infos.append(info)
    shared = fallback or infos[0]
    weights = np.zeros((len(graphs), shared.atlas.n_edges), np.float32)
    for row, (graph, info) in enumerate(zip(graphs, infos, strict=True)):
        _check_fields(graph, info, _who(row, graph))
        if not shared.atlas.match(info.atlas).same or (shared.measure, shared.signed) != (info.measure, info.signed):
            raise ConnectomeError(
                f"{_who(row, graph)} holds {info.measure} on atlas {info.atlas.name!r}, expected {shared.measure} on "
                f"{shared.atlas.name!r} with the same regions; graphs of one cohort share both"
            )
        weights[row] = _edge_weights(graph, shared.atlas.n_regions, _who(row, graph))
    return Cohort(
        weights,
        _table(graphs, infos),
        shared.atlas,
        measure=shared.measure,
        signed=shared.signed,
        name=shared.name,
        kind=shared.kind,
        described=shared.described,
        info=shared.info,
    )


def _who(row: int, graph: Data) -> str:
    return f"graph {row} ({getattr(graph, 'participant_id', None) or 'no participant_id'})"


def _check_fields(graph: Data, info: GraphInfo, who: str) -> None:
    fields = ["edge_index", "edge_attr", "phenotypes", "participant_id", *(["identifiers"] if info.identifiers else [])]
    for field in fields:
        if getattr(graph, field, None) is None:
            raise ConnectomeError(f"{who} lacks {field}; expected the fields that Cohort.graphs() gives: {', '.join(fields)}")
    for field, columns in (("phenotypes", info.phenotypes), ("identifiers", info.identifiers)):
        values = getattr(graph, field).reshape(-1).tolist() if columns else []
        if len(values) != len(columns):
            names = ", ".join(column.name for column in columns)
            raise ConnectomeError(f"{who} has {len(values)} {field}, expected {len(columns)}: {names}")
        for column, value in zip(columns, values, strict=True):
            if column.levels is not None and not (np.isnan(value) or value in range(len(column.levels))):
                raise ConnectomeError(
                    f"{who}: {column.name!r} is {value}, expected the position of one of its levels {', '.join(map(repr, column.levels))}"
                )


def _edge_weights(graph: Data, n_regions: int, who: str) -> NDArray[np.float32]:
    """Edge vector (E,) of a graph."""
    if graph.x is not None and len(graph.x) != n_regions:
        raise ConnectomeError(f"{who} has {len(graph.x)} regions, the atlas has {n_regions}")
    i, j = graph.edge_index.cpu().numpy()
    values = graph.edge_attr.detach().cpu().numpy().reshape(-1)
    if len(values) != len(i):
        raise ConnectomeError(f"{who} has {len(i)} edges and {len(values)} values in edge_attr; expected one weight an edge")
    if len(i) and not 0 <= min(i.min(), j.min()) <= max(i.max(), j.max()) < n_regions:
        raise ConnectomeError(f"{who} has an edge to region {max(i.max(), j.max())}, the atlas has regions 0 to {n_regions - 1}")
    if (i == j).any():
        raise ConnectomeError(f"{who} has self-loops; remove them")
    if np.bincount(i * n_regions + j, minlength=1).max() > 1:
        raise ConnectomeError(f"{who} has an edge more than once; coalesce it")
    matrix = np.zeros((n_regions, n_regions), np.float32)
    matrix[i, j] = values
    if not np.array_equal(matrix, matrix.T, equal_nan=True):
        raise ConnectomeError(f"{who} is not symmetric; every edge must occur in both directions with one weight")
    return to_vectors(matrix)


def encoded(table: pd.DataFrame, columns: tuple[Column, ...]) -> torch.Tensor:
    """Columns of a participants table as numbers, (N, len(columns)) float64."""
    return torch.from_numpy(np.column_stack([np.empty((len(table), 0)), *(column.encode(table[column.name]) for column in columns)]))


def _table(graphs: Sequence[Data], infos: Sequence[GraphInfo]) -> pd.DataFrame:
    """The participants table of graphs, each read by the columns of the cohort that it came from."""
    parts = []
    for info in dict.fromkeys(infos):
        rows = [row for row, other in enumerate(infos) if other is info]
        columns: dict[str, pd.Series] = {}
        for field, described in (("phenotypes", info.phenotypes), ("identifiers", info.identifiers)):
            if described:
                numbers = np.stack([getattr(graphs[row], field).detach().cpu().numpy().reshape(-1) for row in rows]).astype(np.float64)
                columns |= {column.name: column.decode(values) for column, values in zip(described, numbers.T, strict=True)}
        part = pd.DataFrame({column.name: columns[column.name] for column in info.columns}, index=range(len(rows)))
        parts.append(part.set_axis(rows, axis=0))
    table = parts[0] if len(parts) == 1 else pd.concat(parts).sort_index()
    return table.set_axis(pd.Index([str(graph.participant_id) for graph in graphs], name="participant_id", dtype=object), axis=0)

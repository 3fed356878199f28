"""Cohorts as PyG graphs and back: the interchange with the world of graph networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["CohortInfo", "cohort_graphs", "graphs_cohort", "region_features"]


@dataclasses.dataclass(frozen=True, eq=False)
class CohortInfo:
    """What all graphs of a cohort share; each graph refers to the same object as ``graph.cohort``."""

    atlas: Atlas
    measure: str
    signed: bool
    name: str
    kind: str
    schema: PhenotypeSchema
    template: pd.DataFrame
    described: dict
    info: dict


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
    shape = (cohort.n_regions, cohort.n_regions)
    if backbone.shape != shape or not np.array_equal(backbone != 0, (backbone != 0).T):
        raise ConnectomeError(f"expected a symmetric backbone of shape {shape}, got one of shape {backbone.shape}")
    rows, columns = np.nonzero((backbone != 0) & ~np.eye(cohort.n_regions, dtype=bool))
    edge_index = torch.from_numpy(np.stack([rows, columns]))
    x = torch.from_numpy(region_features(cohort.atlas))
    schema = PhenotypeSchema.lossless(cohort.phenotypes)
    codes = torch.from_numpy(_codes(cohort.phenotypes, schema))
    shared = CohortInfo(
        cohort.atlas, cohort.measure, cohort.signed, cohort.name, cohort.kind, schema, cohort.phenotypes.iloc[:0], cohort.described, cohort.info
    )
    graphs = []
    for part, _ in cohort.batches(64):
        for offset, matrix in enumerate(cohort.dense(part)):
            person = part.start + offset
            graphs.append(
                Data(
                    x=x,
                    edge_index=edge_index,
                    edge_attr=torch.from_numpy(matrix[rows, columns][:, None]),
                    phenotypes=codes[person : person + 1],
                    participant_id=str(cohort.ids[person]),
                    cohort=shared,
                )
            )
    return graphs


def graphs_cohort(graphs: Sequence[Data], like: Cohort | None = None) -> Cohort:
    """See :meth:`connectome_gnn.Cohort.from_graphs`."""
    from connectome_gnn.cohort import Cohort

    if len(graphs) == 0:
        raise ConnectomeError("expected at least one graph, got none")
    if like is not None:
        shared = CohortInfo(
            like.atlas, like.measure, like.signed, like.name, like.kind, PhenotypeSchema.lossless(like.phenotypes), like.phenotypes.iloc[:0], like.described, like.info
        )
    elif isinstance(getattr(graphs[0], "cohort", None), CohortInfo):
        shared = graphs[0].cohort
    else:
        raise ConnectomeError("these graphs do not say their atlas and measure; give a cohort on the same atlas as like=")
    n_regions, n_phenotypes = shared.atlas.n_regions, len(shared.schema.phenotypes)
    weights = np.zeros((len(graphs), shared.atlas.n_edges), np.float32)
    codes = np.full((len(graphs), n_phenotypes), np.nan)
    ids = []
    for row, graph in enumerate(graphs):
        who = f"graph {row} ({getattr(graph, 'participant_id', None) or 'no participant_id'})"
        for field in ("edge_index", "edge_attr", "phenotypes", "participant_id"):
            if getattr(graph, field, None) is None:
                raise ConnectomeError(f"{who} lacks {field}; expected the fields that Cohort.graphs() gives")
        if graph.num_nodes != n_regions:
            raise ConnectomeError(f"{who} has {graph.num_nodes} regions, the atlas has {n_regions}")
        matrix = np.zeros((n_regions, n_regions), np.float32)
        i, j = graph.edge_index.cpu().numpy()
        matrix[i, j] = graph.edge_attr.detach().cpu().numpy().reshape(-1)
        if not np.array_equal(matrix, matrix.T):
            raise ConnectomeError(f"{who} is not symmetric; every edge must occur in both directions with one weight")
        if matrix.diagonal().any():
            raise ConnectomeError(f"{who} has self-loops; remove them")
        profile = graph.phenotypes.detach().cpu().numpy().reshape(-1)
        if len(profile) != n_phenotypes:
            raise ConnectomeError(f"{who} has {len(profile)} phenotypes, expected {n_phenotypes}: {', '.join(shared.schema.names)}")
        weights[row], codes[row] = to_vectors(matrix), profile
        ids.append(str(graph.participant_id))
    return Cohort(
        weights,
        _table(codes, ids, shared.schema, shared.template),
        shared.atlas,
        measure=shared.measure,
        signed=shared.signed,
        name=shared.name,
        kind=shared.kind,
        described=shared.described,
        info=shared.info,
    )


def _codes(table: pd.DataFrame, schema: PhenotypeSchema) -> NDArray[np.float64]:
    """Profiles (N, P) with a level as its position."""
    return np.column_stack([p.positions(table[p.name]) for p in schema.phenotypes]) if schema.phenotypes else np.empty((len(table), 0))


def _table(codes: NDArray[np.float64], ids: list[str], schema: PhenotypeSchema, template: pd.DataFrame) -> pd.DataFrame:
    """The inverse of :func:`_codes`, with the columns' types of ``template``."""
    columns = {}
    for phenotype, values in zip(schema.phenotypes, codes.T, strict=True):
        if phenotype.kind == "continuous":
            column = pd.Series(values)
        else:
            levels = list(phenotype.levels)
            column = pd.Series([None if np.isnan(v) else levels[int(v)] for v in values], dtype=object)
        columns[phenotype.name] = column.astype(template[phenotype.name].dtype)
    index = pd.Index(ids, name="participant_id", dtype=object)
    return pd.DataFrame(columns, columns=template.columns).set_axis(index, axis=0)

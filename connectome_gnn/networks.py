"""Cohorts as NetworkX graphs and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.edges import edge_indices, to_vectors
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    import networkx as nx

    from connectome_gnn.cohort import Cohort

__all__ = ["cohort_networks", "networks_cohort", "plain"]

BATCH = 32


def cohort_networks(cohort: Cohort) -> Iterator[nx.Graph]:
    """A cohort's connectomes as undirected graphs, one a row, one at a time.

    Yields
    ------
    graph : ``networkx.Graph`` whose nodes are the labels of all regions in the atlas's order, with hemisphere, network and x, y, z (mm)
        where they are known; ``weight`` on the edges that are present; ``graph.graph`` with participant_id, phenotypes (a dict of the
        person's row of the table, None where a value is missing), measure, signed, atlas, cohort and kind.
    """
    import networkx as nx

    atlas = cohort.atlas
    about = {"measure": cohort.measure, "signed": cohort.signed, "atlas": atlas.name, "cohort": cohort.name, "kind": cohort.kind}
    regions = [(label, _region(atlas, row)) for row, label in enumerate(atlas.labels)]
    first, second = edge_indices(len(atlas))
    columns = {str(name): [plain(value) for value in column] for name, column in cohort.phenotypes.items()}
    for rows, weights in cohort.batches(BATCH):
        for row, values in enumerate(weights, rows.start):
            graph: nx.Graph[str] = nx.Graph()
            phenotypes = {name: column[row] for name, column in columns.items()}
            graph.graph.update(participant_id=str(cohort.ids[row]), phenotypes=phenotypes, **about)
            graph.add_nodes_from((label, dict(region)) for label, region in regions)
            present = np.flatnonzero(values)
            edges = zip(first[present].tolist(), second[present].tolist(), values[present].tolist(), strict=True)
            graph.add_weighted_edges_from((atlas.labels[i], atlas.labels[j], weight) for i, j, weight in edges)
            yield graph


def networks_cohort(graphs: Iterable[nx.Graph], like: Cohort | None = None, weight: str = "weight") -> Cohort:
    """A cohort from NetworkX graphs; the inverse of :func:`cohort_networks`.

    Parameters
    ----------
    graphs : one a row, undirected, without self-loops, all on the same regions, whose labels are the nodes; ``graph.graph`` says the
        participant_id and, without ``like``, the measure and whether weights are signed.
    like : a cohort whose atlas, measure and descriptions of columns the graphs share; default what the first graph says, regions in the
        order of its nodes.
    weight : the attribute of edges that is their weight.

    Raises
    ------
    ConnectomeError
        If there is no graph, one is directed, has self-loops, other regions, an edge without a weight, no participant_id, or another
        measure.
    """
    from connectome_gnn.cohort import Cohort

    rows: list[NDArray[np.float32]] = []
    people: list[dict[str, Any]] = []
    atlas, said = (None, None) if like is None else (like.atlas, {"measure": like.measure, "signed": like.signed})
    name, kind = ("graphs", "observed") if like is None else (like.name, like.kind)
    for graph in graphs:
        about = graph.graph
        if "participant_id" not in about:
            raise ConnectomeError(f"graph {len(rows)} has no graph.graph['participant_id']; say whose it is")
        where = f"graph {len(rows)} ({about['participant_id']!r})"
        if atlas is None or said is None:
            atlas, said = _atlas(graph, str(about.get("atlas", ""))), {key: about.get(key) for key in ("measure", "signed")}
            name, kind = str(about.get("cohort", name)), str(about.get("kind", kind))
            if said["measure"] is None:
                raise ConnectomeError(f"{where} has no graph.graph['measure']; say what a weight is, or give a cohort as like=")
        own = {key: about.get(key, said[key]) for key in said}
        if own != said:
            raise ConnectomeError(
                f"{where} holds {own['measure']}, expected {said['measure']}; graphs of one cohort share measure and sign"
            )
        rows.append(_weights(graph, atlas, weight, where))
        people.append({"participant_id": str(about["participant_id"]), **about.get("phenotypes", {})})
    if atlas is None or said is None or not rows:
        raise ConnectomeError("expected at least one graph, got none")
    table = pd.DataFrame(people)
    return Cohort(
        np.stack(rows),
        table.set_index("participant_id"),
        atlas,
        measure=str(said["measure"]),
        signed=bool(said["signed"]),
        name=name,
        kind=kind,
        described={} if like is None else like.described,
        info={} if like is None else like.info,
    )


def _region(atlas: Atlas, row: int) -> dict[str, Any]:
    """What is known of a region."""
    told = {"hemisphere": atlas.hemisphere[row], "network": atlas.network[row]}
    place = dict(zip("xyz", atlas.xyz[row].tolist(), strict=True))
    return {key: value for key, value in told.items() if value != UNKNOWN} | {
        axis: value for axis, value in place.items() if value == value
    }


def plain(value: Any) -> Any:
    """A table's cell as Python's own, None where it is missing."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _atlas(graph: nx.Graph, name: str) -> Atlas:
    """The regions that a graph's nodes are."""
    regions: list[Mapping[str, Any]] = [graph.nodes[label] for label in graph.nodes]
    columns = {key: [region.get(key, UNKNOWN) for region in regions] for key in ("hemisphere", "network")}
    xyz = [[region.get(axis, np.nan) for axis in "xyz"] for region in regions]
    return Atlas([str(label) for label in graph.nodes], columns["hemisphere"], columns["network"], xyz, name)


def _weights(graph: nx.Graph, atlas: Atlas, weight: str, where: str) -> NDArray[np.float32]:
    """Edge vector (E,) of a graph."""
    if graph.is_directed() or graph.is_multigraph():
        raise ConnectomeError(f"{where} is directed or a multigraph; expected a networkx.Graph, with one weight an edge")
    match = atlas.match(Atlas([str(label) for label in graph.nodes]))
    if match.order is None or match.extra:
        raise ConnectomeError(f"{where} is not on the regions of atlas {atlas.name!r}: {match.describe()}")
    place = {label: row for row, label in enumerate(atlas.labels)}
    matrix = np.zeros((len(atlas), len(atlas)), np.float32)
    value: float | None
    for one, other, value in graph.edges(data=weight):
        if one == other:
            raise ConnectomeError(f"{where} has a self-loop at {one!r}; remove it")
        if value is None:
            raise ConnectomeError(f"{where}: the edge between {one!r} and {other!r} has no {weight!r}")
        i, j = place[str(one)], place[str(other)]
        matrix[i, j] = matrix[j, i] = value
    return to_vectors(matrix)

"""A cohort as a PyTorch Geometric dataset on disk: graphs are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from sqlite3 import DatabaseError
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data, OnDiskDataset, SQLiteDatabase

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort_folder import RECORDED, WRITTEN_AS, check_record
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.graphs import Column, GraphInfo, encoded, region_features
from connectome_gnn.progress import progress
from connectome_gnn.tables import row_names

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["GraphDataset", "write_graph_dataset"]

DATABASE = "processed/sqlite.db"
EDGES = "processed/edge_index.npy"
BATCH = 64
DAMAGE = (DatabaseError, OverflowError, RuntimeError, TypeError, ValueError)
"""What a damaged database makes sqlite3 (names that cannot be decoded, ...) and PyTorch Geometric raise."""


class GraphDataset(OnDiskDataset):
    """The graphs of a folder that :func:`connectome_gnn.write_cohort` wrote as ``"pyg"``, one a row of participants.tsv.

    A graph has the fields of :meth:`connectome_gnn.Cohort.graphs`: x (R, F), edge_index (2, M), edge_attr (M, 1), phenotypes (1, P),
    participant_id, cohort (and identifiers), the edges being those that anybody has. What graphs share is held once; their weights stay in
    the database (numbers only, never a pickle).

    Parameters
    ----------
    root : the folder.
    transform : what is done to a graph before it is given.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the folder lacks a file, its database is damaged, or its tables and its database do not fit together.

    Examples
    --------
    >>> from torch_geometric.loader import DataLoader
    >>> loader = DataLoader(GraphDataset("graphs"), batch_size=32, shuffle=True)  # doctest: +SKIP
    """

    def __init__(self, root: str | Path, transform: Callable[[Data], Data] | None = None) -> None:
        folder = Path(root)
        if not (folder / DATABASE).is_file():
            raise FileNotFoundError(f"no {DATABASE} in {folder}; expected a folder that write_cohort wrote as 'pyg'")
        self.shared, self.table = _shared(folder)
        edges = native.open_array(folder / EDGES, mapped=False)
        n_regions = len(self.shared.atlas)
        pairs = edges.ndim == 2 and len(edges) == 2 and edges.dtype.kind == "i" and bool((edges[0] != edges[1]).all())
        if not pairs or (edges.size and not 0 <= edges.min() <= edges.max() < n_regions):
            raise ConnectomeError(
                f"{folder / EDGES}: expected edges (2, M) between the {n_regions} regions of atlas.tsv, got {edges.shape}"
            )
        self.edge_index = torch.from_numpy(edges.astype(np.int64))
        try:
            super().__init__(str(folder), transform, schema=_schema(self.shared, edges.shape[1]), log=False)
            n_graphs = len(self)
        except DAMAGE as error:
            raise ConnectomeError(f"{folder / DATABASE} cannot be read ({error}); it is damaged: write it again") from error
        if n_graphs != len(self.table):
            raise ConnectomeError(f"{folder}: {DATABASE} holds {n_graphs} graphs, participants.tsv {len(self.table)} rows; each needs both")

    @cached_property
    def x(self) -> torch.Tensor:
        """Features of regions, (R, F)."""
        return torch.from_numpy(region_features(self.shared.atlas))

    def deserialize(self, data: dict[str, Any]) -> Data:
        """A graph of what the database holds of it."""
        return Data(x=self.x, edge_index=self.edge_index, **{key: _copied(value) for key, value in data.items()}, cohort=self.shared)

    def edges(self, row: int) -> NDArray[np.float32]:
        """Edge vector (E,) of a row.

        Raises
        ------
        ConnectomeError
            If the row is damaged.
        """
        weights = np.zeros(self.shared.atlas.n_edges, np.float32)
        try:
            weights[self.places] = self.db.get(row)["edge_attr"].reshape(-1).numpy()
        except DAMAGE as error:
            where = f"{Path(self.root) / DATABASE} row {row} (participant {row_names(self.table)[row]!r})"
            raise ConnectomeError(f"{where} cannot be read ({error}); it is damaged: write it again") from error
        return weights

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Position (M,) of every directed edge among the E edges."""
        i, j = self.edge_index.numpy()
        return np.asarray(to_matrices(np.arange(self.shared.atlas.n_edges))[i, j])


def write_graph_dataset(cohort: Cohort, folder: Path) -> None:
    """Write the database of a folder that holds the cohort's tables already."""
    (folder / "processed").mkdir()
    seen = np.zeros(cohort.n_edges, bool)
    for _, weights in cohort.batches():
        seen |= (weights != 0).any(0)
    rows, columns = np.nonzero(to_matrices(seen))
    np.save(folder / EDGES, np.stack([rows, columns]).astype(np.int64))
    edge = to_matrices(np.arange(cohort.n_edges))[rows, columns]
    shared, table = _shared(folder)  # as it will be read
    fields = {name: encoded(table, columns) for name, columns in (("phenotypes", shared.phenotypes), ("identifiers", shared.identifiers))}
    database = SQLiteDatabase(str(folder / DATABASE), GraphDataset.__name__, _schema(shared, len(edge)))
    try:
        with progress("Writing graphs", len(cohort)) as advance:
            for part, weights in cohort.batches(BATCH):
                values = torch.from_numpy(weights[:, edge].astype(np.float32))
                graphs = [
                    {
                        "edge_attr": values[row - part.start, :, None],
                        "phenotypes": fields["phenotypes"][row : row + 1],
                        "participant_id": str(table.index[row]),
                        "identifiers": fields["identifiers"][row : row + 1],
                    }
                    for row in range(part.start, part.stop)
                ]
                database.multi_insert(range(part.start, part.stop), graphs)
                advance(part.stop - part.start)
    finally:
        database.close()


def _shared(folder: Path) -> tuple[GraphInfo, pd.DataFrame]:
    """What all graphs of a folder share, and the participants table."""
    record = native.read_json(folder / "cohort.json")
    check_record(record, folder / "cohort.json")
    atlas = Atlas.load(folder / "atlas.tsv", name=str(record.get("atlas", "")))
    table, described = native.read_participants(folder / "participants.tsv")
    columns = tuple(Column.of(column, described.get(str(name), {})) for name, column in table.items())
    info = {key: value for key, value in record.items() if key not in (*RECORDED, WRITTEN_AS)}
    name, kind = str(record.get("name", folder.name)), str(record.get("kind", "observed"))
    return GraphInfo(atlas, record["measure"], record["signed"], name, kind, described, info, columns), table


def _schema(shared: GraphInfo, n_edges: int) -> dict[str, Any]:
    """The columns of the database."""
    schema: dict[str, Any] = {
        "edge_attr": {"dtype": torch.float32, "size": (n_edges, 1)},
        "phenotypes": {"dtype": torch.float64, "size": (1, len(shared.phenotypes))},
        "participant_id": str,
    }
    if shared.identifiers:
        schema["identifiers"] = {"dtype": torch.float64, "size": (1, len(shared.identifiers))}
    return schema


def _copied(value: Any) -> Any:
    """A value that may be written to: the database's own bytes may not."""
    return value.clone() if isinstance(value, torch.Tensor) else value

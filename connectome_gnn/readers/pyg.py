"""PyTorch Geometric datasets that this package wrote (:func:`connectome_gnn.write_cohort`): numbers in a database, never a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connectome_gnn.readers.source import Claim, Format, RawConnectome, Request, Source
from connectome_gnn.tables import row_names

if TYPE_CHECKING:
    from connectome_gnn.graph_dataset import GraphDataset

__all__ = ["DATABASE", "PYG"]

DATABASE = "processed/sqlite.db"


@dataclass(frozen=True)
class _Row:
    """Reads a person's graph."""

    graphs: GraphDataset
    where: str
    people: tuple[str, ...]

    def __call__(self, row: int) -> RawConnectome:
        return RawConnectome(self.graphs.edges(row), f"{self.where} row {row} (participant {self.people[row]!r})")


def _recognise(request: Request) -> Claim | None:
    place = request.place
    found = place.is_folder and (place.root / DATABASE).is_file() and (place.root / "cohort.json").is_file()
    return Claim(f"a folder with {DATABASE} and cohort.json", frozenset(place.own)) if found else None


def _open(request: Request) -> Source:
    from connectome_gnn.graph_dataset import GraphDataset  # torch, only where it is used

    root: Path = request.place.root
    graphs = GraphDataset(root)
    people = tuple(row_names(graphs.table))
    read = _Row(graphs, str(root / DATABASE), people)
    hint = "every row of participants.tsv is a graph; write the dataset again"
    return Source(people, range(len(people)), read, str(root), hint, (root / DATABASE,), graphs.shared.atlas, graphs.shared.measure, False)


PYG = Format("pyg", "a PyTorch Geometric dataset", _recognise, _open)

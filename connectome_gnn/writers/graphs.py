"""PyTorch Geometric datasets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["write_graphs"]


def write_graphs(cohort: Cohort, folder: Path) -> None:
    """Write ``processed/sqlite.db``, which :class:`connectome_gnn.graph_dataset.GraphDataset` opens."""
    from connectome_gnn.graph_dataset import write_graph_dataset  # torch, only where it is used

    write_graph_dataset(cohort, folder)

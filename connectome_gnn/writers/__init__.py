"""Cohorts as files of other tools, and back: every folder written here is read again by :func:`connectome_gnn.read_cohort`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connectome_gnn import native
from connectome_gnn.cohort_folder import WRITTEN_AS, record_of
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.tables import people_table
from connectome_gnn.writers.arrays import write_matrices, write_vectors
from connectome_gnn.writers.bids import write_bids
from connectome_gnn.writers.graphml import write_graphml
from connectome_gnn.writers.graphs import write_graphs
from connectome_gnn.writers.text import write_csv

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["FORMATS", "Writer", "write_cohort"]


@dataclass(frozen=True)
class Writer:
    """A format that cohorts are written in.

    Attributes
    ----------
    title : what it is, in words.
    write : writes the connectomes into a folder that holds the cohort's tables.
    """

    title: str
    write: Callable[[Cohort, Path], None]


FORMATS: dict[str, Writer] = {
    "csv": Writer("a matrix a person, with the regions' names around it", write_csv),
    "bids": Writer("a BIDS dataset of relation matrices", write_bids),
    "graphml": Writer("a GraphML file a person, for NetworkX, igraph, Gephi, Cytoscape", write_graphml),
    "nilearn": Writer("one array of everybody's matrices", write_matrices),
    "nilearn_vectors": Writer("one array of everybody's lower triangles, as nilearn vectorises them", write_vectors),
    "pyg": Writer("a PyTorch Geometric dataset on disk", write_graphs),
}
"""Every format but the native one, by the name that the user says."""


def write_cohort(cohort: Cohort, path: str | Path, format: str = "native", force: bool = False) -> Path:
    """Write a cohort as a folder of another tool's files; :func:`connectome_gnn.read_cohort` gives the same cohort back.

    Parameters
    ----------
    cohort : the cohort; people are written some at a time, so that memory does not grow with their number.
    path : the folder; it appears complete or not at all.
    format : how connectomes are written. Beside them lie the cohort's tables: participants.tsv and .json, atlas.tsv, cohort.json.

        - ``"native"``: the native folder, as :meth:`connectome_gnn.Cohort.save`.
        - ``"csv"``: ``<participant_id>.csv``, symmetric (R, R), zero diagonal, the regions' names in the first row and column.
        - ``"bids"``: a BIDS derivative, ``sub-<label>/<dwi or func>/sub-<label>_..._relmat.dense.tsv`` (BEP017, a proposal), headerless,
          with a relmat.json, a table of nodes and dataset_description.json. BIDS knows people as ``sub-`` with letters and digits, and
          lists each once: other ids are renamed, with the cohort's own in a column ``original_id``, and rows of one person become runs;
          both are warned of.
        - ``"graphml"``: ``<participant_id>.graphml``, an undirected graph of the edges that are present, weight on the edges, label,
          hemisphere, network and coordinates on the nodes, phenotypes on the graph.
        - ``"nilearn"``: ``matrices.npy`` (N, R, R) float32, rows as participants.tsv's; correlations have a diagonal of 1, as
          nilearn's do. ``"nilearn_vectors"``: ``vectors.npy`` (N, E), as ``nilearn.connectome.sym_matrix_to_vec(matrices,
          discard_diagonal=True)`` gives them (the lower triangle without the factor of the diagonal).
        - ``"pyg"``: ``processed/sqlite.db``, which :class:`connectome_gnn.graph_dataset.GraphDataset` opens for PyTorch Geometric's
          loaders.

        In a file's name, what file systems do not take is written as in URLs (``a/b`` is ``a%2Fb.csv``); several rows of a person are told
        apart by ``_sample-<n>``. A simulated cohort's truth is not written.
    force : whether to replace files of the same names in a folder that exists.

    Returns
    -------
    path : the folder.

    Raises
    ------
    ConnectomeError
        If the format is another, the folder exists and ``force`` is not given, or a person's rows are repeated or incomplete.

    Warns
    -----
    ConnectomeWarning
        For what a format cannot carry as it is.

    See Also
    --------
    connectome_gnn.read_cohort : the inverse.
    connectome_gnn.Cohort.to_networkx, connectome_gnn.Cohort.graphs : the same in memory.
    """
    if format == "native":
        return cohort.save(path, force)
    if format not in FORMATS:
        raise ConnectomeError(f"expected a format to write among 'native', {listed(FORMATS)}, got {format!r}")
    people_table(cohort.phenotypes, f"cohort {cohort.name!r}")
    with native.new_folder(path, force) as folder:
        native.write_participants(cohort.phenotypes, cohort.described, folder)
        cohort.atlas.save(folder / "atlas.tsv")
        native.write_json(folder / "cohort.json", {**record_of(cohort), WRITTEN_AS: format})
        FORMATS[format].write(cohort, folder)
    return Path(path)

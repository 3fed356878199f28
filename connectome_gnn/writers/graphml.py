"""GraphML: one graph a person, with everything that is known of the person and the regions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from connectome_gnn.atlas import UNKNOWN
from connectome_gnn.edges import edge_indices
from connectome_gnn.networks import plain
from connectome_gnn.progress import progress
from connectome_gnn.tables import row_names
from connectome_gnn.writers.names import file_names

if TYPE_CHECKING:
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.cohort import Cohort

__all__ = ["write_graphml"]

BATCH = 32
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}
REGION = {"label": str, "hemisphere": str, "network": str, "x": float, "y": float, "z": float}
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_graphml(cohort: Cohort, folder: Path) -> None:
    """Write ``<participant_id>.graphml`` for everybody: nodes by number with their label, phenotypes as attributes of the graph."""
    files = file_names(row_names(cohort.phenotypes))
    keys = "\n".join(_key(f"n{number}", "node", name, kind) for number, (name, kind) in enumerate(REGION.items()))
    weight, nodes = _key("w", "edge", "weight", float), _nodes(cohort.atlas)
    said = {"measure": cohort.measure, "signed": cohort.signed, "atlas": cohort.atlas.name, "cohort": cohort.name, "kind": cohort.kind}
    columns = {str(name): [plain(value) for value in column] for name, column in cohort.phenotypes.items()}
    first, second = edge_indices(cohort.n_regions)
    ends = [f'<edge source="{i}" target="{j}"><data key="w">' for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    with progress("Writing graphs", len(cohort)) as advance:
        for rows, weights in cohort.batches(BATCH):
            for row, values in enumerate(weights, rows.start):
                person = {name: column[row] for name, column in columns.items() if column[row] is not None}
                about = {**person, "participant_id": str(cohort.ids[row]), **said}
                present = np.flatnonzero(values)
                edges = [f"{ends[edge]}{value!r}</data></edge>" for edge, value in zip(present, values[present].tolist(), strict=True)]
                parts = [HEAD, keys, weight, *_graph(about), *nodes, *edges, "</graph>\n</graphml>\n"]
                (folder / f"{files[row]}.graphml").write_text("\n".join(parts), encoding="utf-8")
            advance(rows.stop - rows.start)


def _graph(about: Mapping[str, Any]) -> list[str]:
    """The keys of a graph's attributes, the graph's beginning, and the attributes."""
    told = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in about.items()}
    keys = [_key(f"g{number}", "graph", name, type(value)) for number, (name, value) in enumerate(told.items())]
    return [*keys, '<graph edgedefault="undirected">', *(_data(f"g{number}", value) for number, value in enumerate(told.values()))]


def _nodes(atlas: Atlas) -> list[str]:
    """The regions, what is not known of them left out."""
    lines = []
    for row, label in enumerate(atlas.labels):
        told = [label, atlas.hemisphere[row], atlas.network[row], *atlas.xyz[row].tolist()]
        known = [(number, value) for number, value in enumerate(told) if value != UNKNOWN and value == value]
        lines.append(f'<node id="{row}">{"".join(_data(f"n{number}", value) for number, value in known)}</node>')
    return lines


def _key(id: str, target: str, name: str, kind: type) -> str:
    return f'<key id="{id}" for="{target}" attr.name={quoteattr(_clean(name))} attr.type="{TYPES[kind]}"/>'


def _data(key: str, value: bool | int | float | str) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'<data key="{key}">{escape(_clean(text))}</data>'


def _clean(text: str) -> str:
    """A text without the characters that XML cannot hold; the tables beside the graphs have it as it is."""
    return NOT_IN_XML.sub(" ", text)

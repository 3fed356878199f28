"""Connectome Mapper 3: one network a person as a table, GraphML, MATLAB file or pickle; pickles are refused.

Edges carry several measures (``number_of_fibers``, ``fiber_length_mean``, ``normalized_fiber_density``, ...). Positions of regions are
voxels, not mm, and are not read. GraphML and MATLAB files name the regions, tables count them from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import MOST_BYTES
from connectome_gnn.readers.edgelist import read_edge_table
from connectome_gnn.readers.graphml import graph_connectome, node_labels, read_graphml
from connectome_gnn.readers.graphs import edges_to_matrix, place_nodes
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.matlab import read_mat
from connectome_gnn.readers.place import SUBJECT, entities
from connectome_gnn.readers.regions import atlas_of_labels
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import to_numbers
from connectome_gnn.readers.variables import matrices_in, text_list

__all__ = ["CMP"]

NAMED = re.compile(r"sub-.*_conndata-network_connectivity\.(tsv|graphml|mat|gpickle)")
NAMING, COUNTING = ("graphml", "mat"), ("tsv", "graphml", "mat")
"""Which files are read, the first kind that everybody has: without an atlas those that name the regions."""
PICKLE = "a gpickle is a Python pickle: reading it can run any program, so it is never opened; use the .tsv, .graphml or .mat beside it"


@dataclass(frozen=True)
class _Network:
    """Reads a person's network."""

    atlas: Atlas
    key: str

    def __call__(self, path: Path) -> RawConnectome:
        if path.suffix == ".graphml":
            return graph_connectome(read_graphml(path), self.atlas, self.key, 1, str(path))
        if path.suffix == ".mat":
            variables = read_mat(path)
            found = {name.rpartition(".")[2]: matrix for name, matrix in matrices_in(variables, len(self.atlas)).items()}
            if self.key not in found:
                raise ConnectomeError(
                    f"{path} has no {len(self.atlas)} x {len(self.atlas)} matrix {self.key!r}; it has {', '.join(found) or 'none'}"
                )
            return RawConnectome(found[self.key], f"{path} ({self.key})", _mat_labels(path, len(self.atlas)))
        return _table(path, self.atlas, self.key)


def _table(path: Path, atlas: Atlas, key: str) -> RawConnectome:
    """A network from its table of edges: source, target and a column for each measure."""
    where = str(path)
    titles, cells, lines = read_edge_table(path, MOST_BYTES)
    columns = {title: place for place, title in enumerate(titles)}
    absent = [name for name in ("source", "target", key.lower()) if name not in columns]
    if absent:
        raise ConnectomeError(f"{where} has no column {absent[0]!r}; it has {', '.join(map(repr, titles[:12])) or 'no names of columns'}")
    ends = [row[columns[end]].strip() for end in ("source", "target") for row in cells]
    place = place_nodes(list(dict.fromkeys(ends)), atlas, 1, where)
    rows = np.array([place[end] for end in ends], dtype=np.intp).reshape(2, -1)
    column = columns[key.lower()]
    weights = to_numbers([row[column : column + 1] for row in cells], lines, None, where).reshape(-1)
    return RawConnectome(edges_to_matrix(rows[0], rows[1], weights, atlas, False, where), f"{where} ({key})")


def _mat_labels(path: Path, n_regions: int | None) -> tuple[str, ...] | None:
    nodes = read_mat(path).get("nodes")
    labels = text_list(nodes.get("dn_name")) if isinstance(nodes, dict) else None
    return tuple(labels) if labels is not None and n_regions in (None, len(labels)) else None


def _keys(path: Path) -> list[str]:
    """The measures that a network has."""
    if path.suffix == ".graphml":
        return list(dict.fromkeys(key for _, _, data in read_graphml(path).edges for key in data))
    if path.suffix == ".mat":
        return [name.rpartition(".")[2] for name in matrices_in(read_mat(path), None)]
    return [title for title in read_edge_table(path, MOST_BYTES)[0] if title not in ("source", "target")]


def _recognise(request: Request) -> Claim | None:
    files = request.place.named(NAMED)
    return Claim(f"{files[0].name} is named as Connectome Mapper's networks are", frozenset(files)) if files else None


def _open(request: Request) -> Source:
    place = request.place
    files = place.named(NAMED)
    if not files:
        raise ConnectomeError(f"{place.root} holds no file named sub-*_conndata-network_connectivity.tsv (or .graphml, .mat)")
    kinds = {kind: [path for path in files if path.name.endswith(f".{kind}")] for kind in ("tsv", "graphml", "mat", "gpickle")}
    readable = {_name(path): path for path in files if path.suffix != ".gpickle"}
    only_pickled = [path for path in kinds["gpickle"] if _name(path) not in readable]
    if only_pickled:
        raise ConnectomeError(f"{only_pickled[0]}: {PICKLE}")
    scales = sorted({(e.get("atlas", ""), e.get("res", "")) for e in map(entities, (path.name for path in files))})
    if len(scales) > 1:
        shown = ", ".join(f"atlas-{atlas}_res-{scale}" for atlas, scale in scales)
        raise ConnectomeError(f"{place.root} holds networks of several atlases or scales ({shown}); choose by a pattern (--pattern)")
    preferred = NAMING if request.atlas is None and any(kinds[kind] for kind in NAMING) else COUNTING
    kind = max(preferred, key=lambda kind: len(kinds[kind]))
    subjects = [match.group() for path in kinds[kind] if (match := SUBJECT.search(path.name))]
    ids, files = place.people(kinds[kind], subjects)
    keys = _keys(files[0])
    key = request.key or (request.measure if request.measure in keys else None) or (keys[0] if len(keys) == 1 else None)
    if key is None:
        raise ConnectomeError(
            f"{files[0]} has several measures, {', '.join(map(repr, keys))}; say which by measure (--measure) or key (--key)"
        )
    atlas = request.atlas or _own_atlas(files[0])
    if atlas is None:
        raise atlas_needed(f"{place.root} (its tables do not name regions; the .graphml files do)")
    note = f"read from the .{kind} files"
    return Source(ids, files, _Network(atlas, key), str(place.root), EVERYBODY, files, atlas, request.measure or key, notes=(note,))


def _name(path: Path) -> Path:
    return path.with_suffix("")


def _own_atlas(path: Path) -> Atlas | None:
    pairs = entities(path.name)
    name = "_".join(pairs[key] for key in ("atlas", "res") if key in pairs)
    labels = node_labels(graph := read_graphml(path)) if path.suffix == ".graphml" else None
    sides = None
    if labels is not None:
        told = [data.get("dn_hemisphere", "").lower()[:1] for data in graph.nodes.values()]
        sides = [{"l": "L", "r": "R"}.get(side, "n/a") for side in told] if any(told) else None
        order = list(range(len(labels)))
        if all(node.isdecimal() and len(node) < 10 for node in graph.nodes):
            order.sort(key=[int(node) for node in graph.nodes].__getitem__)
        return atlas_of_labels([labels[n] for n in order], name, str(path), None if sides is None else [sides[n] for n in order])
    named = _mat_labels(path, None) if path.suffix == ".mat" else None
    return None if named is None else atlas_of_labels(named, name, str(path))


CMP = Format("cmp", "Connectome Mapper 3 networks", _recognise, _open)

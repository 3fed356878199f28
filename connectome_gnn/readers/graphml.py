"""GraphML (ndmg, NetworkX and others): nodes by number or name, one attribute of the edges as weight.

Parsed with Python's expat, document types refused: no entity is ever expanded, and nothing outside the file is ever read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.apart import nothing_in
from connectome_gnn.readers.archives import read_bytes
from connectome_gnn.readers.graphs import edges_to_matrix, place_nodes
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source

__all__ = ["GRAPHML", "Graph", "graph_connectome", "node_labels", "read_graphml"]

COUNTING = re.compile(r"n?\d+")
"""Identifiers of nodes that are no names."""
MOST_NODES = 20_000
MOST_TEXT = 100_000
LABELS = ("dn_name", "name", "label", "region_name")
"""Attributes of nodes that hold a region's name, the first one that every node has."""


@dataclass
class Graph:
    """What a GraphML file holds.

    Attributes
    ----------
    nodes : attributes of every node by its id, in the file's order.
    edges : (source, target, attributes), in the file's order.
    directed : whether edges have a direction.
    """

    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    directed: bool = False


def read_graphml(path: Path) -> Graph:
    """Read a GraphML file.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, it is no GraphML, declares a document type or entities, or holds more than one graph.
    """
    return _Parser(str(path)).parse(read_bytes(path))


class _Parser:
    def __init__(self, where: str) -> None:
        self.where = where
        self.graph = Graph()
        self.names: dict[str, str] = {}
        self.open: list[str] = []
        self.target: dict[str, str] | None = None
        self.key: str | None = None
        self.text: list[str] = []
        self.length = 0
        self.n_graphs = 0

    def parse(self, data: bytes) -> Graph:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self.refuse
        parser.EntityDeclHandler = self.refuse
        parser.ExternalEntityRefHandler = self.refuse
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ConnectomeError(f"{self.where} is no well-formed GraphML ({error})") from error
        except (LookupError, UnicodeError, ValueError) as error:
            if isinstance(error, ConnectomeError):
                raise
            raise ConnectomeError(f"{self.where} is in an encoding that cannot be read ({error}); save it as UTF-8") from error
        if not self.n_graphs:
            raise ConnectomeError(f"{self.where} holds no graph; expected GraphML with one")
        return self.graph

    def refuse(self, *_: Any) -> int:
        raise ConnectomeError(
            f"{self.where} declares a document type or entities, which GraphML does not need and which are never read; remove them"
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition("}")[2]
        self.open.append(tag)
        if len(self.open) > 32:
            raise ConnectomeError(f"{self.where} is nested more deeply than any graph of a brain")
        if tag == "key" and "id" in attributes:
            self.names[attributes["id"]] = attributes.get("attr.name", attributes["id"])
        elif tag == "graph":
            self.n_graphs += 1
            if self.n_graphs > 1:
                raise ConnectomeError(f"{self.where} holds several graphs; expected one a file")
            self.graph.directed = attributes.get("edgedefault") == "directed"
        elif tag == "node":
            self.target = self.graph.nodes.setdefault(self.needed(attributes, "id", tag), {})
            if len(self.graph.nodes) > MOST_NODES:
                raise ConnectomeError(f"{self.where} has more than {MOST_NODES:,} nodes; no atlas has so many regions")
        elif tag == "edge":
            self.target = {}
            ends = (self.needed(attributes, "source", tag), self.needed(attributes, "target", tag))
            self.graph.edges.append((*ends, self.target))
            if attributes.get("directed") == "true":
                self.graph.directed = True
        elif tag == "data":
            self.key = self.names.get(attributes.get("key", ""), attributes.get("key", ""))
            self.text, self.length = [], 0

    def needed(self, attributes: dict[str, str], name: str, tag: str) -> str:
        if name not in attributes:
            raise ConnectomeError(f"{self.where}: an element {tag} without {name!r}")
        return attributes[name]

    def end(self, name: str) -> None:
        tag = self.open.pop()
        if tag == "data" and self.key is not None:
            if self.target is not None:
                self.target[self.key] = "".join(self.text).strip()
            self.key = None
        elif tag in ("node", "edge"):
            self.target = None

    def characters(self, text: str) -> None:
        if self.key is not None:
            self.length += len(text)
            if self.length > MOST_TEXT:
                raise ConnectomeError(f"{self.where} holds a value of more than {MOST_TEXT:,} characters for {self.key!r}")
            self.text.append(text)


def node_labels(graph: Graph) -> list[str] | None:
    """Names of the nodes in the file's order, from the first attribute that names all of them differently; None where none does."""
    for attribute in LABELS:
        labels = [data.get(attribute, "") for data in graph.nodes.values()]
        if labels and all(labels) and len(set(labels)) == len(labels):
            return labels
    return None


def edge_key(graph: Graph, wanted: str | None, where: str) -> str:
    """The attribute of the edges that is their weight.

    Raises
    ------
    ConnectomeError
        If there is none, or several and it is not said which.
    """
    keys = list(dict.fromkeys(key for _, _, data in graph.edges for key in data))
    if wanted is not None:
        if keys and wanted not in keys:
            raise ConnectomeError(f"{where}: edges have no attribute {wanted!r}; they have {', '.join(map(repr, keys))}")
        return wanted
    if not keys and graph.edges:
        raise ConnectomeError(f"{where}: edges have no attribute; expected a weight")
    if len(keys) > 1 and "weight" not in keys:
        raise ConnectomeError(f"{where}: edges have several attributes, {', '.join(map(repr, keys))}; say which by key (--key)")
    return "weight" if len(keys) != 1 else keys[0]


def graph_connectome(graph: Graph, atlas: Atlas, key: str | None, first_index: int | None, where: str) -> RawConnectome:
    """A graph as a matrix in the atlas's order, nodes placed by their names or, without names, by their numbers.

    Raises
    ------
    ConnectomeError
        If a node is no region of the atlas, or an edge has no weight, ends at no node or is listed twice.
    """
    key = edge_key(graph, key, where)
    ids = list(graph.nodes) or list(dict.fromkeys(end for source, target, _ in graph.edges for end in (source, target)))
    names = node_labels(graph)
    if names is not None and set(names) <= set(atlas.labels):
        rows = place_nodes(names, atlas, None, where)
        place = {node: rows[name] for node, name in zip(ids, names, strict=True)}
    elif names is not None and not _counted(ids):
        place = dict(zip(ids, place_nodes(names, atlas, None, where).values(), strict=True))
    else:
        if names is not None:
            raise ConnectomeError(
                f"{where}: its regions are named {', '.join(map(repr, names[:3]))}, ..., which are not those of atlas {atlas.name!r} "
                f"({', '.join(map(repr, atlas.labels[:3]))}, ...)"
            )
        complete = len(ids) == len(atlas)
        place = place_nodes(ids, atlas, first_index if first_index is not None else (_first(ids) if complete else None), where)
    weights = np.empty(len(graph.edges))
    ends = np.empty((2, len(graph.edges)), np.intp)
    for n, (source, target, data) in enumerate(graph.edges):
        try:
            ends[:, n] = place[source], place[target]
            weights[n] = float(data[key])
        except KeyError as error:
            raise ConnectomeError(f"{where}: the edge from {source!r} to {target!r} has no {key!r}, or ends at no node") from error
        except ValueError as error:
            raise ConnectomeError(f"{where}: expected a number as {key!r} from {source!r} to {target!r}, got {data[key][:40]!r}") from error
    return RawConnectome(edges_to_matrix(ends[0], ends[1], weights, atlas, graph.directed, where), where)


def _counted(ids: list[str]) -> bool:
    return all(node.isascii() and node.isdecimal() for node in ids)


def _first(ids: list[str]) -> int | None:
    """The number of the first region where every region is a node."""
    numbers = [int(node) for node in ids if node.isascii() and node.isdecimal() and len(node) < 10]
    return min(numbers) if len(numbers) == len(ids) and min(numbers, default=9) in (0, 1) else None


@dataclass(frozen=True)
class _GraphFile:
    """Reads a person's graph."""

    atlas: Atlas
    key: str | None
    first_index: int | None

    def __call__(self, path: Path) -> RawConnectome:
        return graph_connectome(read_graphml(path), self.atlas, self.key, self.first_index, str(path))


def _recognise(request: Request) -> Claim | None:
    files = request.place.with_suffix(".graphml")
    return Claim(f"{files[0].name} is a GraphML file", frozenset(files)) if files else None


def _open(request: Request) -> Source:
    from connectome_gnn.readers.regions import atlas_of_labels

    place = request.place
    files = place.with_suffix(".graphml")
    if not files:
        raise nothing_in(place, [".graphml"], "one graph a person")
    ids, files = place.people(files)
    atlas = request.atlas
    if atlas is None:
        graph = read_graphml(files[0])
        labels = node_labels(graph)
        if labels is None and not any(COUNTING.fullmatch(node) for node in graph.nodes):
            labels = list(graph.nodes)  # as NetworkX writes graphs whose nodes are names
        if labels:
            atlas = atlas_of_labels(labels, "graphml", str(files[0]))
    if atlas is None:
        raise atlas_needed(str(place.root))
    return Source(ids, files, _GraphFile(atlas, request.key, request.first_index), str(place.root), EVERYBODY, files, atlas)


GRAPHML = Format("graphml", "GraphML files", _recognise, _open, plain=True)

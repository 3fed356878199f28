"""Lists of edges in text: ``i j w`` on every line, regions by name or counted from 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.apart import advised, nothing_in
from connectome_gnn.readers.archives import read_bytes
from connectome_gnn.readers.graphs import counted_nodes, edges_to_matrix, first_of, place_nodes
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.sniffing import is_edge_list, looking_like
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import decode, is_number, split_lines, to_numbers

__all__ = ["EDGELIST", "parse_edges", "read_edge_table"]

SUFFIXES = (".txt", ".csv", ".tsv", ".edgelist", ".edges", ".txt.gz", ".csv.gz", ".tsv.gz")
BYTES_AN_EDGE = 256
LOOKED_AT = 20
"""People whose files are looked at to see whether regions are counted from 0 or 1."""


def read_edge_table(path: Path, most: int) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of columns (empty where there are none), cells and line numbers of a list of edges.

    Raises
    ------
    ConnectomeError
        If the file is empty, larger than ``most`` bytes, or a line has another number of cells than the first.
    """
    where = str(path)
    numbered = [
        (number, line)
        for number, line in enumerate(decode(read_bytes(path, most), where).splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        return [], [], []
    cells = split_lines([line for _, line in numbered], where)
    lines = [number for number, _ in numbered]
    for line, row in zip(lines, cells, strict=True):
        if len(row) != len(cells[0]):
            raise ConnectomeError(f"{where}: expected {len(cells[0])} values on every line, line {line} has {len(row)}")
    titled = not is_number(cells[0][-1].replace(",", "."))
    return ([cell.strip().lower() for cell in cells[0]], cells[1:], lines[1:]) if titled else ([], cells, lines)


def parse_edges(path: Path, atlas: Atlas, first_index: int | None) -> RawConnectome:
    """Read one person's list of edges (``i j w``) as a matrix in the atlas's order.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, it is no list of edges, a region is not the atlas's, or an edge is listed twice.
    """
    where = str(path)
    _, cells, lines = read_edge_table(path, BYTES_AN_EDGE * len(atlas) ** 2 + 2**20)
    if not lines:
        raise ConnectomeError(f"{where} lists no edge; expected two regions and a weight on every line")
    if len(cells[0]) != 3:
        raise ConnectomeError(f"{where}: expected two regions and a weight on every line, line {lines[0]} has {len(cells[0])} values")
    weights = to_numbers([row[2:] for row in cells], lines, None, where)[:, 0]
    ends = [row[0].strip() for row in cells] + [row[1].strip() for row in cells]
    place = place_nodes(list(dict.fromkeys(ends)), atlas, first_index, where)
    rows = np.array([place[end] for end in ends], dtype=np.intp).reshape(2, -1)
    return RawConnectome(edges_to_matrix(rows[0], rows[1], weights, atlas, False, where), where)


@dataclass(frozen=True)
class _EdgeFile:
    """Reads a person's list."""

    atlas: Atlas
    first_index: int | None

    def __call__(self, path: Path) -> RawConnectome:
        return parse_edges(path, self.atlas, self.first_index)


def _first_index(files: tuple[Path, ...], place: Place, atlas: Atlas, given: int | None) -> int | None:
    """What the first people's files say together of where counting begins; None where regions are named."""
    if given is not None:
        return given
    seen: set[int] = set()
    for path in files[:LOOKED_AT]:
        try:
            _, cells, _ = read_edge_table(path, BYTES_AN_EDGE * len(atlas) ** 2 + 2**20)
            nodes = {cell.strip() for row in cells for cell in row[:2]}
            numbers = counted_nodes(sorted(nodes))
            if numbers is None or nodes <= set(atlas.labels):
                return None
            if max(numbers, default=0) > len(atlas):
                first_of(numbers, len(atlas), None, str(path))
        except ConnectomeError as error:
            raise advised(error, path, files, place) from error
        seen.update(numbers)
        if {0, len(atlas)} & seen:
            break
    return first_of(sorted(seen), len(atlas), None, str(files[0]))


def _recognise(request: Request) -> Claim | None:
    files = looking_like(request.place.with_suffix(*SUFFIXES), is_edge_list)
    return Claim(f"{files[0].name} has two regions and a weight on every line", frozenset(files)) if files else None


def _open(request: Request) -> Source:
    place = request.place
    files = place.with_suffix(*SUFFIXES)
    if not files:
        raise nothing_in(place, SUFFIXES, "one list of edges a person")
    if request.atlas is None:
        raise atlas_needed(str(place.root))
    ids, files = place.people(files)
    read = _EdgeFile(request.atlas, _first_index(files, place, request.atlas, request.first_index))
    return Source(ids, files, read, str(place.root), EVERYBODY, files, request.atlas)


EDGELIST = Format("edges", "lists of edges", _recognise, _open, plain=True)

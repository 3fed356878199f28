"""Edges between named or counted regions, as a matrix in the atlas's order: what GraphML, edge lists and Connectome Mapper share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError

__all__ = ["counted_nodes", "edges_to_matrix", "first_of", "place_nodes"]


def counted_nodes(nodes: Sequence[str]) -> list[int] | None:
    """Nodes as whole numbers, or None where one is a name."""
    if not all(node.isascii() and node.isdecimal() and len(node) < 10 for node in nodes):
        return None
    return [int(node) for node in nodes]


def first_of(numbers: Sequence[int], n_regions: int, given: int | None, where: str) -> int:
    """Whether regions are counted from 0 or from 1.

    Raises
    ------
    ConnectomeError
        If a number is no region's, or neither the first nor the last region occurs and ``given`` does not say.
    """
    low, high = min(numbers, default=0), max(numbers, default=0)
    possible = [first for first in (0, 1) if low >= first and high < first + n_regions]
    if given is not None:
        possible = [first for first in possible if first == given]
    if not possible:
        counted = f"counted from {given}" if given is not None else "counted from 0 or 1"
        raise ConnectomeError(f"{where}: expected regions {counted} for an atlas of {n_regions}, got numbers from {low} to {high}")
    if len(possible) > 1:
        raise ConnectomeError(
            f"{where}: regions could be counted from 0 or from 1 (numbers from {low} to {high}, {n_regions} regions); say which by "
            "first_index (--first-index)"
        )
    return possible[0]


def place_nodes(nodes: Sequence[str], atlas: Atlas, first_index: int | None, where: str) -> dict[str, int]:
    """Row of every node: by the atlas's labels where all nodes are among them, otherwise by number.

    Raises
    ------
    ConnectomeError
        If a node is neither.
    """
    rows = {label: row for row, label in enumerate(atlas.labels)}
    unknown = [node for node in nodes if node not in rows]
    if not unknown:
        return {node: rows[node] for node in nodes}
    numbers = counted_nodes(nodes)
    if numbers is None:
        known = len(nodes) - len(unknown)
        raise ConnectomeError(
            f"{where}: region {unknown[0]!r} is not in atlas {atlas.name!r} ({known} of {len(nodes)} are); its labels begin with "
            f"{', '.join(map(repr, atlas.labels[:3]))}"
        )
    first = first_of(numbers, len(atlas), first_index, where)
    return {node: number - first for node, number in zip(nodes, numbers, strict=True)}


def edges_to_matrix(
    rows: NDArray[np.intp], columns: NDArray[np.intp], weights: NDArray[np.float64], atlas: Atlas, directed: bool, where: str
) -> NDArray[np.float64]:
    """A matrix (R, R) from a list of edges; an undirected edge may be listed both ways round when both weights agree.

    Raises
    ------
    ConnectomeError
        If an edge is listed twice, or with another weight the other way round.
    """
    n_regions = len(atlas)
    places = rows * n_regions + columns
    order = np.argsort(places, kind="stable")
    twice = np.flatnonzero(np.diff(places[order]) == 0)
    if len(twice):
        edge = order[twice[0]]
        raise ConnectomeError(f"{where}: the edge between {atlas.labels[rows[edge]]!r} and {atlas.labels[columns[edge]]!r} is listed twice")
    matrix = np.full((n_regions, n_regions), np.nan)
    matrix[rows, columns] = weights
    listed = np.zeros((n_regions, n_regions), bool)
    listed[rows, columns] = True
    if not directed:
        mirror = listed.T & ~listed
        matrix[mirror] = matrix.T[mirror]
        listed |= mirror
    matrix[~listed] = 0
    return matrix

"""The edges that are there, out of all that could be: what is left of an edge vector without its zeros (kernels for kernels)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.topology.lanes import aligned, inverse_cube_root, lane_count, load, multiply, peek, poke, store
from connectome_gnn.topology.tiles import pick_positive

__all__ = ["EdgeList", "list_edges", "list_neighbours", "room_for_edges", "take_cube_roots"]


class EdgeList(NamedTuple):
    """Edges of one graph, in rows: those from region i to later ones are ``first[i]`` to ``first[i + 1]``."""

    vector: Any  # (E + a vector's lanes,) room for the edge vector
    first: Any  # (n + 1,)
    columns: Any  # (E + lanes,) the later region of each
    weights: Any  # (E + lanes,)
    roots: Any  # (E + lanes,) w^(1/3)
    inverse_roots: Any  # (E + lanes,) w^(-1/3)


@njit(cache=True, nogil=True)
def room_for_edges(n: int, like: NDArray) -> EdgeList:
    """Scratch for the edges of one graph of n regions."""
    size = n * (n - 1) // 2 + 2 * lane_count(like)
    vector, weights, roots, inverse_roots = aligned(size, like), aligned(size, like), aligned(size, like), aligned(size, like)
    return EdgeList(vector, np.zeros(n + 1, np.int64), np.empty(size, np.int64), weights, roots, inverse_roots)


@njit(cache=True, nogil=True)
def list_edges(vector: NDArray, n: int, edges: EdgeList) -> None:
    """Pick the edges out of an edge vector (E,)."""
    step = lane_count(vector)
    edges.vector[: len(vector)] = vector  # with room behind it: the last vectors of a row go on into the next
    position = found = 0
    for i in range(n):
        edges.first[i] = found
        for j in range(i + 1, n, step):
            found += pick_positive(edges.vector, position + j - i - 1, n - j, j, edges.columns, edges.weights, found)
        position += n - i - 1
    edges.first[n] = found


@njit(cache=True, nogil=True)
def take_cube_roots(n: int, edges: EdgeList) -> None:
    """Cube roots of all listed weights, and one over them."""
    step = lane_count(edges.weights)
    for e in range(0, edges.first[n], step):
        w = load(edges.weights, e)
        y = inverse_cube_root(w, edges.weights)
        store(edges.inverse_roots, e, y)
        store(edges.roots, e, multiply(multiply(w, y), y))


@njit(cache=True, nogil=True)
def list_neighbours(n: int, edges: EdgeList, neighbours: NDArray, degree: NDArray) -> None:
    """Neighbours of every region (n, n), in ascending order, and how many it has (n,)."""
    degree[:] = 0
    for i in range(n):
        for e in range(edges.first[i], edges.first[i + 1]):
            j = peek(edges.columns, e)
            k = peek(degree, j)
            poke(neighbours, j * n + k, i)
            poke(degree, j, k + 1)
    for i in range(n):
        k, more = degree[i], edges.first[i + 1] - edges.first[i]
        for e in range(more):
            poke(neighbours, i * n + k + e, peek(edges.columns, edges.first[i] + e))
        degree[i] = k + more

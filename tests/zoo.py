"""Graphs of every awkward kind, for the tests of graph measures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_graph(n: int = 20, density: float = 0.4, seed: int = 0, kind: str = "lognormal") -> NDArray[np.float64]:
    """A symmetric matrix with a zero diagonal: lognormal, integer (tied) or signed weights."""
    generator = np.random.default_rng(seed)
    weights = {
        "lognormal": generator.lognormal(0, 1, (n, n)),
        "integer": generator.integers(1, 4, (n, n)).astype(float),
        "signed": np.tanh(generator.normal(0.1, 0.4, (n, n))),
    }[kind]
    upper = np.triu(weights * (generator.random((n, n)) < density), 1)
    return upper + upper.T


def star(n: int = 7) -> NDArray[np.float64]:
    matrix = np.zeros((n, n))
    matrix[0, 1:] = matrix[1:, 0] = 2.0
    return matrix


def ring(n: int = 8) -> NDArray[np.float64]:
    matrix = np.roll(np.eye(n), 1, 1)
    return matrix + matrix.T


def disconnected() -> NDArray[np.float64]:
    """Two components of 9 and 6 regions and two isolated regions between them."""
    matrix = np.zeros((17, 17))
    matrix[:9, :9] = random_graph(9, 0.8, 1)
    matrix[11:, 11:] = random_graph(6, 0.9, 2)
    return matrix


def isolated() -> NDArray[np.float64]:
    matrix = random_graph(12, 0.6, 3)
    matrix[4] = matrix[:, 4] = 0
    return matrix


ZOO: dict[str, NDArray[np.float64]] = {
    "random": random_graph(),
    "sparse": random_graph(30, 0.08, 4),
    "dense": random_graph(16, 1.0, 5),
    "large": random_graph(84, 0.3, 6),
    "disconnected": disconnected(),
    "isolated": isolated(),
    "star": star(),
    "ring": ring(),
    "complete": np.ones((6, 6)) - np.eye(6),
    "empty": np.zeros((5, 5)),
    "pair": np.array([[0.0, 3.0], [3.0, 0.0]]),
    "single": np.zeros((1, 1)),
    "tied": random_graph(18, 0.5, 7, "integer"),
}
"""Non-negative graphs, float64."""

SIGNED: dict[str, NDArray[np.float64]] = {
    "signed": random_graph(20, 1.0, 8, "signed"),
    "signed and sparse": random_graph(20, 0.3, 9, "signed"),
    "all negative": -random_graph(10, 0.7, 10),
}

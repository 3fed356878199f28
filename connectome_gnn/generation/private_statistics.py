"""Bounded statistics of people: sums that no single unit of people can move further than the stated distance.

A unit is whoever is protected together: a person, or a family; its rows share the weight 1. Neighbouring cohorts have the same number
of units and differ in one of them, in anything whatever. Every function says how far (L2) its statistics of neighbours may lie apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.privacy import Ledger

__all__ = [
    "ONE_HOT",
    "Rows",
    "clipped",
    "edge_moments",
    "joint_moments",
    "map_moments",
    "radius_of",
    "size_counts",
    "unit_weights",
    "unpacked",
]

ONE_HOT = float(np.sqrt(2))
"""How far two units' shares of a histogram, non-negative with sum 1, may lie apart."""
STEP = 1.1
LARGEST = 100.0
SMALLEST = 1e-3
NOISE_ABOVE, SHARE_ABOVE = 3.0, 0.08

Rows = Callable[[], Iterator[tuple[slice, NDArray[np.float32]]]]
"""Slices of people and numbers of theirs, (n, D), read again at every call."""


def unit_weights(units: NDArray[np.intp]) -> tuple[NDArray[np.float64], int]:
    """Weight of every row, (N,), 1 over the rows of its unit; and the number of units."""
    sizes = np.bincount(units)
    return 1 / sizes[units], len(sizes)


def clipped(rows: NDArray, radius: float) -> NDArray[np.float64]:
    """Rows (n, D) drawn towards 0 until none is longer than ``radius``; rows that are not finite become 0."""
    values = np.asarray(rows, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt((values**2).sum(1))
    usable = np.isfinite(length)
    factor = np.where(usable, np.minimum(1, radius / np.maximum(length, 1e-300)), 0)
    # A hair shorter, so that rounding cannot carry a row beyond the radius.
    return np.where(usable[:, None], values, 0) * (factor * (1 - 1e-12))[:, None]


def size_counts(rows: Rows, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many units have rows of each length, per root of their dimension, on a public logarithmic grid.

    Returns
    -------
    counts : (B,) of total n; neighbours lie at most :data:`ONE_HOT` apart.
    edges : (B,) upper end of each bin.
    """
    ends = SMALLEST * STEP ** np.arange(int(np.ceil(np.log(LARGEST / SMALLEST) / np.log(STEP))) + 1)
    counts = np.zeros(len(ends))
    for part, values in rows():
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.sqrt((values.astype(np.float64) ** 2).mean(1))
        place = np.minimum(np.searchsorted(ends, np.nan_to_num(length, nan=0, posinf=LARGEST)), len(ends) - 1)
        counts += np.bincount(place, weight[part], len(ends))
    return counts, ends.astype(np.float64)


def radius_of(name: str, rows: Rows, weight: NDArray[np.float64], ledger: Ledger, share: float) -> float:
    """A length per root of the dimension that few rows exceed, found with a share of the budget.

    The largest bin that holds 2 % of the units, and more than the noise can pretend.
    """
    exact, ends = size_counts(rows, weight)
    counts, sd = ledger.release(name, exact, ONE_HOT, share)
    least = max(NOISE_ABOVE * sd, SHARE_ABOVE * weight.sum())
    heavy = np.flatnonzero(counts >= least)
    return float(ends[heavy[-1] if len(heavy) else counts.argmax()])


@dataclass(frozen=True)
class EdgeMoments:
    """Sums over people of every edge: distance to a centre, its square, presence; (E,) each, and in units of their bounds.

    Parameters
    ----------
    first, second, present : bounded sums; a unit's rows have length 1 at most in each.
    sensitivity : largest L2 distance of all three together.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    present: NDArray[np.float64]
    sensitivity: float


def edge_moments(
    cohort: Cohort,
    weight: NDArray[np.float64],
    centre: NDArray[np.float64],
    radius: float,
    square_radius: float,
    weights: tuple[float, float],
) -> EdgeMoments:
    """Bounded first and second moments of edges around a centre, and presence.

    Parameters
    ----------
    centre : (E,) public or released already.
    radius, square_radius : lengths to which a row's distances, and their squares, are clipped.
    weights : of the squares and of presence, relative to the distances.
    """
    n_edges = cohort.n_edges
    first, second, present = np.zeros(n_edges), np.zeros(n_edges), np.zeros(n_edges)
    for part, values in cohort.modelled():
        away = clipped(values - centre, radius)
        first += weight[part] @ away
        second += weight[part] @ clipped(away**2, square_radius)
        present += weight[part] @ ((values != 0) - 0.5)
    squares, presence = weights
    # Any two bounded rows are at most 2 apart, two of squares, which are not negative, at most sqrt(2).
    sensitivity = float(np.sqrt(4 + 2 * squares**2 + 4 * presence**2))
    return EdgeMoments(first / radius, squares * second / square_radius, presence * present / (0.5 * np.sqrt(n_edges)), sensitivity)


def joint_moments(left: NDArray[np.float64], right: Rows, weight: NDArray[np.float64], radius: float) -> tuple[NDArray[np.float64], float]:
    """Second moments of bounded joint rows (1/4, a, t), as the upper triangle of a matrix.

    A row is shortened as a whole, so that a linear relation between its parts stays what it is. The moments of a unit are a positive
    semidefinite matrix of trace at most C^2 = 1/16 + 1 + 1, and two such matrices are at most sqrt(2) C^2 apart.

    Parameters
    ----------
    left : (N, F) features a.
    right : t, (n, D) of people.
    radius : length of t that counts as 1.

    Returns
    -------
    packed : upper triangle with the diagonal, off-diagonal entries times sqrt(2), which keeps distances.
    sensitivity : largest L2 distance between neighbours.
    """
    total: NDArray[np.float64] | None = None
    for part, values in right():
        rows = joint_rows(left[part], values, radius)
        if total is None:
            total = np.zeros((rows.shape[1],) * 2)
        total += (weight[part][:, None] * rows).T @ rows
    if total is None:
        raise ValueError("there are no people")
    return packed(total), float(np.sqrt(2) * (INTERCEPT**2 + 2))


INTERCEPT = 0.25


def joint_rows(left: NDArray[np.float64], right: NDArray, radius: float) -> NDArray[np.float64]:
    """Rows (1/4, a, t) shortened as a whole until neither a nor t / radius is longer than 1."""
    t = np.asarray(right, np.float64) / radius
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.maximum(np.sqrt((left**2).sum(1)), np.sqrt((t**2).sum(1)))
    usable = np.isfinite(length)
    factor = np.where(usable, 1 / np.maximum(length, 1), 0) * (1 - 1e-12)
    rows = np.concatenate([np.full((len(t), 1), INTERCEPT), left, t], 1)
    return np.where(usable[:, None], rows, 0) * factor[:, None]


def map_moments(
    scores: NDArray[np.float64], groups: NDArray[np.intp], edges: Rows, weight: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Cross products of edges with a few bounded scores, and sums of squares of each group of scores.

    Parameters
    ----------
    scores : (N, Q) shortened to length 1.
    groups : (Q,) number of each score's group.
    edges : (n, E) of people, shortened to ``radius``, which counts as 1.

    Returns
    -------
    cross : (Q, E), squares : (groups,) times :data:`OWN`, sensitivity : largest L2 distance of both together.
    """
    short = clipped(scores, 1)
    cross: NDArray[np.float64] | None = None
    for part, values in edges():
        block = (weight[part][:, None] * short[part]).T @ (clipped(values, radius) / radius)
        cross = block if cross is None else cross + block
    if cross is None:
        raise ValueError("there are no people")
    squares = (OWN * np.bincount(groups, weight @ short**2)).astype(np.float64)
    # Cross products have length 1 at most, in any direction; squares are not negative, with sum 1 at most.
    return cross, squares, float(np.sqrt(4 + 2 * OWN**2))


OWN = 0.3
"""Weight of scores' own squares relative to their cross products with edges."""


def packed(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper triangle of a symmetric matrix, off-diagonal entries times sqrt(2): the Frobenius norm becomes the L2 norm."""
    rows, columns = np.triu_indices(len(matrix))
    return matrix[rows, columns] * np.where(rows == columns, 1, np.sqrt(2))


def unpacked(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of :func:`packed`."""
    size = int((np.sqrt(8 * len(vector) + 1) - 1) / 2)
    rows, columns = np.triu_indices(size)
    matrix = np.zeros((size, size))
    matrix[rows, columns] = vector / np.where(rows == columns, 1, np.sqrt(2))
    return matrix + np.triu(matrix, 1).T

"""Whether rows are the regions that an atlas names: the two sides of the brain tell, where nothing else does.

A region is connected to its fellow on the other side far more strongly than to other regions there, and to its own side more than to the
other. In a matrix whose rows are other regions than the atlas says, neither holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.atlases.sides import without_side
from connectome_gnn.edges import to_matrices
from connectome_gnn.readers.labels import sides_of

__all__ = ["doubt_order", "homotopic_pairs", "homotopic_rank"]

FEWEST_PAIRS = 8
LOWEST_RANK = 0.6
"""Mean rank of fellow regions below which the order is doubted; by chance it is .5, in three real cohorts .85, .87 and .94."""
LARGEST_SHARE = 0.1
"""Share of regions that may be tied to the other side more than to their own, before sides are doubted."""


def homotopic_pairs(atlas: Atlas) -> NDArray[np.intp]:
    """Rows of regions with the same name on both sides, (n, 2), left first."""
    left: dict[str, int] = {}
    right: dict[str, int] = {}
    for row, (label, side) in enumerate(zip(atlas.labels, sides_of(atlas), strict=True)):
        if side in ("L", "R"):
            (left if side == "L" else right)[without_side(label)] = row
    return np.array([(left[name], right[name]) for name in left if name in right], dtype=np.intp).reshape(-1, 2)


def homotopic_rank(edges: ArrayLike, atlas: Atlas) -> float:
    """Mean rank of fellow regions among all regions of the other side, from 0 (weakest) to 1; NaN with fewer than 8 pairs
    that have an edge across.

    Parameters
    ----------
    edges : (E,) group mean.
    """
    pairs = homotopic_pairs(atlas)
    if len(pairs) < FEWEST_PAIRS:
        return float("nan")
    between = to_matrices(np.asarray(edges, np.float64))[np.ix_(pairs[:, 0], pairs[:, 1])]
    known = (between != 0).any(1) & (between != 0).any(0)
    between = between[np.ix_(known, known)]
    if len(between) < FEWEST_PAIRS:
        return float("nan")
    own = np.diag(between)
    n = len(between)
    ranks = [(table < own[:, None]).sum(1) + ((table == own[:, None]).sum(1) - 1) / 2 for table in (between, between.T)]
    return float(np.mean(ranks) / (n - 1))


def doubt_order(edges: ArrayLike, atlas: Atlas, signed: bool = False) -> str | None:
    """What makes one doubt that rows are the regions an atlas names, in a sentence; None where nothing does, or sides are not known.

    Parameters
    ----------
    edges : (E,) group mean, on the modelling scale.
    atlas : the atlas of R regions.
    signed : whether weights are correlations: these are hardly stronger within a side than across, so that only fellows tell.
    """
    values = np.asarray(edges, np.float64)
    if not values.any() or len(homotopic_pairs(atlas)) < FEWEST_PAIRS:
        return None
    rank = homotopic_rank(values, atlas)
    n_pairs = len(homotopic_pairs(atlas))
    if not np.isfinite(rank):
        return None
    if rank < min(LOWEST_RANK, 0.5 + 5 / np.sqrt(12 * n_pairs)):
        return (
            f"regions are tied to their fellows on the other side no more than to others there (mean rank {rank:.2f} over {n_pairs} pairs; "
            ".5 is chance): the rows are probably in another order than the atlas"
        )
    crossed = np.empty(0, np.intp) if signed else _crossed(to_matrices(values), atlas)
    if len(crossed) > max(LARGEST_SHARE * len(atlas), 3):
        shown = ", ".join(repr(atlas.labels[row]) for row in crossed[:4])
        return (
            f"{len(crossed)} of {len(atlas)} regions are tied to the other side of the brain more than to their own ({shown}, ...): left "
            "and right are probably exchanged among them"
        )
    return None


def _crossed(matrix: NDArray[np.float64], atlas: Atlas) -> NDArray[np.intp]:
    """Rows of regions whose mean weight to the other side exceeds that to their own by a quarter, fellows left out."""
    sides = np.array(sides_of(atlas))
    fellow = np.full(len(atlas), -1)
    pairs = homotopic_pairs(atlas)
    fellow[pairs[:, 0]], fellow[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    found = []
    for row in range(len(atlas)):
        if sides[row] not in ("L", "R"):
            continue
        own = sides == sides[row]
        own[row] = False
        other = sides == ("R" if sides[row] == "L" else "L")
        if fellow[row] >= 0:
            other[fellow[row]] = False
        if own.sum() >= FEWEST_PAIRS and other.sum() >= FEWEST_PAIRS and matrix[row, other].mean() > 1.25 * matrix[row, own].mean() > 0:
            found.append(row)
    return np.array(found, dtype=np.intp)

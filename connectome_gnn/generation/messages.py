"""Messages as a prior on effects: what a trait does to an edge is borrowed from the edges of similar regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices, n_regions_of

__all__ = ["SHARPNESS", "backbone_neighbours", "message_matrix", "pass_messages", "similar_profiles"]

SHARPNESS = 8
SELF_SHARE = 0.5


def similar_profiles(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row-stochastic similarity of regions' connection profiles, (R, R).

    Parameters
    ----------
    group : (R, R) the group's mean connectome on the modelling scale, zero diagonal.
    """
    spread = group.std(1) > 0
    profiles = group[spread] - group[spread].mean(1, keepdims=True)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    similarity = np.eye(len(group), dtype=np.float32)
    similarity[np.ix_(spread, spread)] = np.maximum(profiles @ profiles.T, 0) ** SHARPNESS
    np.fill_diagonal(similarity, 1)
    return similarity / similarity.sum(1, keepdims=True)


def backbone_neighbours(backbone: NDArray[np.float32]) -> NDArray[np.float32]:
    """One step of messages over the group's backbone, (R, R) row-stochastic: half stays, half comes from neighbours.

    Parameters
    ----------
    backbone : (R, R) non-negative strengths of the backbone's edges, zero diagonal; a region without edges keeps its own.
    """
    degree = backbone.sum(1)
    reached = degree > 0
    scale = np.where(reached, 1 / np.sqrt(np.where(reached, degree, 1)), 0).astype(np.float32)
    step = backbone * scale[:, None] * scale
    total = step.sum(1, keepdims=True)
    step = np.divide(step, total, out=np.zeros_like(step), where=total > 0)
    share = np.where(reached, SELF_SHARE, 1).astype(np.float32)
    return np.diag(share) + (1 - share)[:, None] * step


def pass_messages(maps: NDArray[np.float32], neighbours: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Effect maps S M S' in place of M.

    Parameters
    ----------
    maps : (F, kept edges) effect of each feature on each modelled edge.
    neighbours : (R, R) row-stochastic S.
    kept : (E,) which edges the maps hold; the others count as unaffected.

    Returns
    -------
    maps : (F, kept edges).
    """
    n_regions = n_regions_of(len(kept))
    rows, columns = (index[kept] for index in edge_indices(n_regions))
    out = np.empty_like(maps)
    for place, effect in enumerate(maps):
        matrix = np.zeros((n_regions, n_regions), maps.dtype)
        matrix[rows, columns] = effect
        matrix[columns, rows] = effect
        out[place] = (neighbours @ matrix @ neighbours.T)[rows, columns]
    return out


def message_matrix(basis: NDArray[np.float32], neighbours: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What :func:`pass_messages` does to maps held in a basis, (D, D): ``coefficients @ matrix``.

    Parameters
    ----------
    basis : (D, kept edges) orthonormal rows; what messages carry out of their span is left out.
    neighbours, kept : as for :func:`pass_messages`.
    """
    return (pass_messages(basis, neighbours, kept) @ basis.T).astype(np.float64)

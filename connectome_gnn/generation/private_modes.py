"""Smooth patterns of edges that are known before the people are: products of regional patterns of the atlas and the backbone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr

from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import edge_indices

__all__ = ["backbone_harmonics", "edge_modes", "edge_trends", "geometric_patterns"]

HARMONICS = 8
DECAYS = (10.0, 25.0, 60.0)


def geometric_patterns(atlas: Atlas) -> NDArray[np.float64]:
    """Patterns (R, G) of the atlas alone: a constant, the hemispheres, and centroids up to their squares, the smoothest first.

    Regions of unknown place lie at the mean; patterns that an atlas cannot have are 0.
    """
    known = np.isfinite(atlas.xyz).all(1)
    xyz = np.zeros((atlas.n_regions, 3))
    if known.sum() > 1:
        place = atlas.xyz[known]
        xyz[known] = (place - place.mean(0)) / np.where(place.std(0) > 0, place.std(0), 1)
    side = np.array([{"L": -1.0, "R": 1.0}.get(str(h), 0.0) for h in atlas.hemisphere])
    lateral = np.abs(xyz[:, 0]) - np.abs(xyz[:, 0]).mean()
    y, z = xyz[:, 1], xyz[:, 2]
    linear = [np.ones(atlas.n_regions), side, lateral, y, z, side * y, side * z]
    return np.array([*linear, y**2, z**2, y * z, lateral * y, lateral * z, lateral**2]).T


def backbone_harmonics(backbone: NDArray[np.float64]) -> NDArray[np.float64]:
    """The leading patterns (R, 8) that messages over a backbone leave standing: eigenvectors of the normalised backbone.

    Parameters
    ----------
    backbone : (R, R) non-negative strengths, zero diagonal; a released mean, so that nothing more is told of people.
    """
    degree = backbone.sum(1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    values, vectors = eigh(backbone * scale[:, None] * scale)
    leading = vectors[:, np.argsort(-np.abs(values))[:HARMONICS]]
    typical = np.sqrt(degree[degree > 0].mean()) if (degree > 0).any() else 1.0
    return leading * (scale * typical)[:, None]


def edge_modes(patterns: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Orthonormal edge patterns, (kept edges, d): all symmetric products p_i p_j' + p_j p_i' of regional patterns.

    Parameters
    ----------
    patterns : (R, G).
    kept : (E,) edges that the modes live on.
    """
    rows, columns = (index[kept] for index in edge_indices(len(patterns)))
    one, other = np.triu_indices(patterns.shape[1])
    products = patterns[rows][:, one] * patterns[columns][:, other] + patterns[rows][:, other] * patterns[columns][:, one]
    length = np.linalg.norm(products, axis=0)
    products = products[:, length > 0] / length[length > 0]
    basis, triangle, _ = qr(products, mode="economic", pivoting=True, check_finite=False)
    return basis[:, np.abs(np.diag(triangle)) > 1e-6]


def edge_trends(atlas: Atlas) -> NDArray[np.float64]:
    """Orthonormal edge patterns, (E, T), that mean connectomes tend to follow: distance, hemispheres, systems and smooth products."""
    everything = np.ones(atlas.n_edges, bool)
    rows, columns = edge_indices(atlas.n_regions)
    side, system = np.array(atlas.hemisphere), np.array(atlas.network)
    blocks = [edge_modes(geometric_patterns(atlas)[:, :7], everything)]
    distance = np.nan_to_num(np.linalg.norm(atlas.xyz[rows] - atlas.xyz[columns], axis=1))
    if distance.any():
        same = side[rows] == side[columns]
        decay = np.exp(-distance[:, None] / np.array(DECAYS))
        blocks += [decay * same[:, None], decay * ~same[:, None], same[:, None].astype(float)]
    network = system[rows] == system[columns]
    blocks.append(network[:, None].astype(float))
    basis, triangle, _ = qr(np.concatenate(blocks, 1), mode="economic", pivoting=True, check_finite=False)
    size = np.abs(np.diag(triangle))
    return basis[:, size > 1e-6 * size[0]]

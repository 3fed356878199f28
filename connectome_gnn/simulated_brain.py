"""The brain of simulated cohorts: regions in two mirrored hemispheres, the group's connectivity, and smooth maps over its edges."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors

__all__ = ["SYSTEMS", "draw_atlas", "draw_maps", "edge_pattern", "homotopic_partner", "random_walk"]

SYSTEMS = {
    "Visual": (0.145, ((-10, -90, 2), (-28, -80, 12), (-24, -66, -8))),
    "Somatomotor": (0.175, ((-40, -24, 54), (-8, -24, 62), (-56, -12, 24))),
    "DorsalAttention": (0.13, ((-32, -54, 54), (-48, -62, 0), (-28, -2, 56))),
    "VentralAttention": (0.11, ((-40, 12, 2), (-58, -38, 30), (-8, 12, 40))),
    "Limbic": (0.065, ((-30, 6, -36), (-14, 34, -20))),
    "Frontoparietal": (0.145, ((-42, 36, 20), (-44, -54, 46), (-6, 26, 46))),
    "Default": (0.23, ((-8, 52, 16), (-8, -54, 28), (-48, -62, 32), (-58, -14, -16))),
}
"""Share of the cortex of each of the seven systems (Yeo et al. 2011), and rough centres in the left hemisphere, MNI mm."""

CENTRE, RADII = np.array([-4.0, -18.0, 14.0]), np.array([60.0, 84.0, 56.0])  # an ellipsoid about as large as a hemisphere, mm
REACH = 35.0  # mm over which maps are smooth
BACKBONE_DENSITY, WALK_STEPS = 0.2, 4  # how sparse the backbone is along which effects spread, and how far they do


def draw_atlas(n_regions: int, generator: np.random.Generator) -> Atlas:
    """An atlas of two mirrored hemispheres and seven systems; with an odd number the last left region has no partner.

    Parameters
    ----------
    n_regions : number of regions R.
    generator : source of randomness (centroids are jittered by a few mm).
    """
    n_left = (n_regions + 1) // 2
    turn = np.arange(n_left) + 0.5
    # A Fibonacci spiral around the left-right axis spreads points evenly over the left half of a sphere.
    along, angle = turn / n_left, np.pi * (1 + 5**0.5) * turn
    ring = np.sqrt(1 - along**2)
    left = CENTRE + RADII * np.stack([-along, ring * np.cos(angle), ring * np.sin(angle)], 1) + generator.normal(0, 2, (n_left, 3))
    left[:, 0] = np.minimum(left[:, 0], -4)
    exact = np.array([share for share, _ in SYSTEMS.values()]) * n_left
    slots = np.maximum(np.floor(exact).astype(int), 1 if n_left >= len(SYSTEMS) else 0)
    while slots.sum() != n_left:
        step = np.sign(n_left - slots.sum())
        slots[np.argmax(step * (exact - slots))] += step
    system = np.repeat(np.arange(len(SYSTEMS)), slots)
    far = [np.sqrt(((left[:, None] - np.array(centres)) ** 2).sum(-1)).min(1) for _, centres in SYSTEMS.values()]
    region, slot = linear_sum_assignment(np.stack(far, 1)[:, system])
    order = region[np.argsort(slot, kind="stable")]
    left, names = left[order], [list(SYSTEMS)[k] for k in system]
    right = left[: n_regions - n_left] * (-1, 1, 1) + generator.normal(0, 1.5, (n_regions - n_left, 3))
    network = names + names[: n_regions - n_left]
    hemisphere = ["L"] * n_left + ["R"] * (n_regions - n_left)
    seen: Counter[str] = Counter()
    labels = []
    for side, name in zip(hemisphere, network, strict=True):
        seen[f"{side}H_{name}"] += 1
        labels.append(f"{side}H_{name}_{seen[f'{side}H_{name}']}")
    return Atlas(labels, hemisphere, network, np.round(np.concatenate([left, right]), 3), name=f"simulated-{n_regions}")


def homotopic_partner(atlas: Atlas) -> NDArray[np.intp]:
    """Row of each region's mirror image, (R,); -1 for the region of an odd atlas that has none."""
    n_left = atlas.hemisphere.count("L")
    n_right = atlas.n_regions - n_left
    return np.concatenate([np.where(np.arange(n_left) < n_right, np.arange(n_left) + n_left, -1), np.arange(n_right)])


def edge_pattern(atlas: Atlas, signed: bool, generator: np.random.Generator) -> NDArray[np.float64]:
    """The group's connectivity up to an offset, (E,): falls with distance, higher within systems and between mirrored regions.

    In natural-log units of a count, or in Fisher z of a correlation (``signed``).
    """
    rows, columns = edge_indices(atlas.n_regions)
    distance = atlas.edge_distances()
    network, side = np.array(atlas.network), np.array(atlas.hemisphere)
    within, across = network[rows] == network[columns], side[rows] != side[columns]
    homotopic = homotopic_partner(atlas)[rows] == columns
    hub = generator.standard_normal(atlas.n_regions)
    rest = generator.standard_normal(len(rows))
    if signed:
        strength = 0.22 * np.exp(-distance / 45) + 0.22 * within + 0.45 * homotopic - 0.04 * across
        return strength + 0.03 * (hub[rows] + hub[columns]) + 0.08 * rest
    # Mirrored regions are far apart, yet strongly tied through the corpus callosum: their distance does not count.
    strength = -np.where(homotopic, 15, distance) / 24 + 1.2 * within - 1.2 * (across & ~homotopic)
    return strength + 0.6 * (hub[rows] + hub[columns]) + 0.9 * rest


def random_walk(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a lazy walk of a few steps on the group's backbone ends, (R, R), rows sum to 1.

    Parameters
    ----------
    strength : (E,) the group's connectivity; its strongest fifth, and each region's strongest edge, are the backbone.
    """
    weights = to_matrices(strength - strength.min() + 1e-3 * np.ptp(strength) + 1e-9)
    kept = weights >= np.quantile(to_vectors(weights), 1 - BACKBONE_DENSITY)
    kept |= weights >= weights.max(1, keepdims=True)
    backbone = np.where(kept | kept.T, weights, 0)
    steps = backbone / backbone.sum(1, keepdims=True)
    return np.linalg.matrix_power((np.eye(len(steps)) + steps) / 2, WALK_STEPS)


def draw_maps(n_maps: int, atlas: Atlas, walk: NDArray[np.float64], spread: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Random maps over edges, (n_maps, E), each with mean square 1.

    A map is the sum of what its two regions carry (smooth over space, mirrored regions and systems alike), of what its pair of
    systems carries, and of a part of its own; a share ``spread`` of its variance is instead noise diffused from both ends of the
    edge along the backbone.

    Parameters
    ----------
    n_maps : number of maps.
    atlas : the regions.
    walk : (R, R) of :func:`random_walk`.
    spread : share of the diffused part, 0 to 1.
    generator : source of randomness.
    """
    n_regions = atlas.n_regions
    rows, columns = edge_indices(n_regions)
    folded = np.abs(atlas.xyz[:, :1]), atlas.xyz[:, 1:]
    mirrored = sum(((part[:, None] - part[None]) ** 2).sum(-1) for part in folded)
    near = 0.5 * np.exp(-mirrored / REACH**2 / 2) + 0.5 * np.exp(-(atlas.distances() ** 2) / REACH**2 / 2)
    root = np.linalg.cholesky(near + 1e-4 * np.eye(n_regions))
    systems = sorted(set(atlas.network))
    member = np.array([systems.index(name) for name in atlas.network])
    maps = np.empty((n_maps, len(rows)), np.float32)
    for number in range(n_maps):
        carried = root @ generator.standard_normal(n_regions)
        pair = generator.standard_normal((len(systems), len(systems)))
        pair = (pair + pair.T) / 2
        smooth = (
            0.6 * (carried[rows] + carried[columns])
            + 0.5 * pair[member[rows], member[columns]]
            + 0.4 * generator.standard_normal(len(rows))
        )
        source = generator.standard_normal((n_regions, n_regions))
        diffused = to_vectors(walk @ (source + source.T) @ walk.T)
        for share, part in ((1 - spread, smooth), (spread, diffused)):
            part *= np.sqrt(share / max((part**2).mean(), 1e-12))
        maps[number] = smooth + diffused
    return maps / np.sqrt((maps.astype(np.float64) ** 2).mean(1, keepdims=True)).astype(np.float32)

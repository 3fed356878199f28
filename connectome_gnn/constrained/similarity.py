"""How alike learned and biological connectivity are, against connectomes that share less and less with the real one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology import degree_preserving, geometry_preserving

__all__ = ["NULLS", "learned_connectivity", "rank_similarity", "similarity_table"]

NULLS = ("degree_preserving", "distance_preserving")
COLUMNS = ["value", "null", "null_mean", "null_low", "null_high", "p", "reason"]


@torch.no_grad()
def learned_connectivity(layer: ConnectomeLinear) -> NDArray[np.float64]:
    """Mean |weight| from the units of every region to those of every other, (receiving regions, sending regions); 0 without weights."""
    weight = layer.dense_weight().abs().double().cpu().numpy()
    if layer.assignment is None:
        return weight
    sides = [
        np.eye(n)[side.cpu().numpy()] / np.maximum(np.bincount(side.cpu().numpy(), minlength=n), 1)
        for side, n in zip(layer.assignment, layer.region_shape, strict=True)
    ]
    return sides[0].T @ weight @ sides[1]


def rank_similarity(learned: NDArray, biological: NDArray) -> float:
    """Spearman correlation over all pairs of different regions; NaN where either is constant."""
    first, second = rankdata(to_vectors(learned)), rankdata(to_vectors(biological))
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def similarity_table(learned: NDArray, biological: NDArray, distances: NDArray | None, n_nulls: int, seed: int) -> pd.DataFrame:
    """Similarity over all pairs against null connectomes, and over existing connections against shuffled weights.

    Parameters
    ----------
    learned : (R, R) :func:`learned_connectivity`; both directions are averaged.
    biological : (R, R) symmetric; absolute weights are compared.
    distances : (R, R) mm, for the distance-preserving null; None, or NaN among them, leaves that out.
    n_nulls, seed : null connectomes of each kind.

    Returns
    -------
    table : one row a comparison: ``measure``, ``value``, ``null`` (its kind), ``null_mean``, ``null_low``, ``null_high`` (95 %), ``p``
        (one-sided: as similar or more; (1 + k) / (1 + n)), ``reason`` where a number is undefined. ``"similarity"`` is over all pairs: high
        wherever a hard layer's zeros are the connectome's, whatever was learned. ``"similarity on connections"`` is of weights alone.

    Raises
    ------
    ConnectomeError
        If the shapes differ.
    """
    if learned.shape != biological.shape or learned.shape[0] != learned.shape[1]:
        raise ConnectomeError(
            f"learned connectivity {learned.shape} and biological connectivity {biological.shape} must be of the same regions"
        )
    ours = (learned + learned.T) / 2
    np.fill_diagonal(ours, 0)
    real = np.abs(to_matrices(to_vectors(biological)))
    value = rank_similarity(ours, real)
    rows = []
    for kind in NULLS:
        if kind == "degree_preserving":
            nulls = degree_preserving(real, n_nulls, seed=seed, n_jobs=1)
        elif distances is not None and np.isfinite(distances).all():
            nulls = geometry_preserving(real, distances=distances, n_nulls=n_nulls, seed=seed, n_jobs=1)
        else:
            rows.append(("similarity", value, kind, *[np.nan] * 4, _why_not(distances)))
            continue
        rows.append(("similarity", value, kind, *_against(value, [rank_similarity(ours, null) for null in nulls])))
    present = to_vectors(real) != 0
    weights, known = rankdata(to_vectors(ours)[present]), rankdata(to_vectors(real)[present])
    if present.sum() < 3 or weights.std() == 0 or known.std() == 0:
        rows.append(("similarity on connections", np.nan, "shuffled_weights", *[np.nan] * 4, "all connections weigh the same"))
    else:
        generator = np.random.default_rng(seed)
        shuffled = [float(np.corrcoef(weights, generator.permutation(known))[0, 1]) for _ in range(n_nulls)]
        on = float(np.corrcoef(weights, known)[0, 1])
        rows.append(("similarity on connections", on, "shuffled_weights", *_against(on, shuffled)))
    return pd.DataFrame(rows, columns=["measure", *COLUMNS])


def _why_not(distances: NDArray | None) -> str:
    if distances is None:
        return "distances between regions are not known"
    away = ~np.eye(len(distances), dtype=bool) & ~np.isfinite(distances)
    return f"the distance of {int(away.sum()) // 2} pairs of regions is not known (places are missing), and this null needs all"


def _against(value: float, nulls: list[float]) -> tuple[float, float, float, float, str]:
    if not np.isfinite(value):
        return np.nan, np.nan, np.nan, np.nan, "learned or biological weights are all the same"
    low, high = np.percentile(nulls, [2.5, 97.5])
    return float(np.mean(nulls)), float(low), float(high), (1 + sum(null >= value for null in nulls)) / (1 + len(nulls)), ""

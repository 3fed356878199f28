"""Two maps over regions: how alike they are, and how alike two unrelated maps as smooth as they would be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from connectome_gnn.atlas import Atlas
from connectome_gnn.attribution.spatial_nulls import Assignment, SpatialNull, null_maps, region_map
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["MapComparison", "compare_maps"]


@dataclass(frozen=True)
class MapComparison:
    """How alike two maps are.

    Attributes
    ----------
    r : correlation over regions.
    p : share of null maps whose correlation is at least as far from 0, the maps themselves counted; never below 1 / (n + 1).
    p_naive : the same if regions were independent, which they are not: printed beside ``p``, never in its place.
    low, high : 95 % range of the null correlations.
    method : ``"pearson"`` or ``"spearman"``.
    null_model : what the null maps are.
    null : (n,) correlations of null maps.
    """

    r: float
    p: float
    p_naive: float
    low: float
    high: float
    method: str
    null_model: str
    null: NDArray[np.float64] = field(repr=False)

    def summary(self) -> str:
        """The comparison in a sentence."""
        return (
            f"{self.method} r = {self.r:.3f}, p = {self.p:.4f} against {len(self.null)} maps by {self.null_model} "
            f"(95 % of them between {self.low:.3f} and {self.high:.3f}); p would be {self.p_naive:.2g} if regions were independent"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the null correlations, as plain JSON values."""
        names = ("r", "p", "p_naive", "low", "high", "method", "null_model")
        return {**{name: getattr(self, name) for name in names}, "n": len(self.null)}


def compare_maps(
    map_a: ArrayLike | pd.Series,
    map_b: ArrayLike | pd.Series,
    atlas: Atlas,
    *,
    null: SpatialNull = "spin",
    method: Literal["pearson", "spearman"] = "pearson",
    n: int = 1000,
    seed: int = 0,
    assignment: Assignment = "nearest",
) -> MapComparison:
    """Correlate two maps over regions, against maps that are as smooth and unrelated.

    Neighbouring regions are alike in nearly every map, so that two unrelated maps correlate by chance far more than as many independent
    numbers would. The null keeps ``map_b`` and puts in the place of ``map_a`` rotations of it, or surrogates with its variogram.

    Parameters
    ----------
    map_a, map_b : (R,) numbers in the atlas's order, or Series indexed by region label.
    atlas : the regions, with coordinates in MNI mm, and hemispheres for ``"spin"``.
    null : ``"spin"`` (:func:`~connectome_gnn.attribution.spatial_nulls.spin_orders`, for cortical atlases) or ``"variogram"``
        (:func:`~connectome_gnn.attribution.spatial_nulls.variogram_surrogates`, for any atlas with coordinates).
    method : ``"pearson"``, or ``"spearman"`` of ranks.
    n : number of null maps.
    seed : of the null maps.
    assignment : of rotated regions, ``"nearest"`` or ``"optimal"``.

    Returns
    -------
    comparison : MapComparison.

    Raises
    ------
    ConnectomeError
        If a map lacks a region or a value, is constant, or has fewer than 10 regions; if the atlas lacks coordinates or hemispheres.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> atlas = cg.simulate_cohort(2, 40, 2, seed=0).atlas
    >>> front = atlas.xyz[:, 1]
    >>> compare_maps(front, front, atlas, n=99).p
    0.01
    """
    if method not in ("pearson", "spearman"):
        raise ConnectomeError(f"maps are correlated by 'pearson' or 'spearman', got {method!r}")
    first, second = region_map(map_a, atlas, "map_a"), region_map(map_b, atlas, "map_b")
    draws = null_maps(first, atlas, null, n, seed=seed, assignment=assignment)
    if method == "spearman":
        first, second, draws = (stats.rankdata(values, axis=-1) for values in (first, second, draws))
    r = float(_correlations(first[None], second)[0])
    found = _correlations(draws, second)
    low, high = np.nanquantile(found, [0.025, 0.975])
    return MapComparison(
        r,
        p=float(permutation_p(np.abs(r), np.abs(found))),
        p_naive=float(stats.pearsonr(first, second).pvalue),
        low=float(low),
        high=float(high),
        method=method,
        null_model=describe_null(null, assignment),
        null=found,
    )


def describe_null(null: SpatialNull, assignment: Assignment) -> str:
    """What a null is, in words."""
    return f"rotation ({assignment} regions)" if null == "spin" else "variogram-preserving surrogates"


def _correlations(maps: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation (n,) of each of some maps (n, R) with another (R,); NaN for a constant one."""
    centred = maps - maps.mean(1, keepdims=True)
    beside = other - other.mean()
    length = np.linalg.norm(centred, axis=1) * np.linalg.norm(beside)
    return np.divide(centred @ beside, length, out=np.full(len(maps), np.nan), where=length > 1e-12 * np.abs(maps).max() * len(other))

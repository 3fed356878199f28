"""Whether a map over regions is higher or lower in a functional system than a map as smooth would be by chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.attribution.spatial_nulls import Assignment, SpatialNull, null_maps, region_map
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.statistics import benjamini_hochberg, permutation_p

__all__ = ["enrichment"]


def enrichment(
    values: ArrayLike | pd.Series,
    atlas: Atlas,
    *,
    systems: Sequence[str] | None = None,
    null: SpatialNull = "spin",
    n: int = 1000,
    seed: int = 0,
    assignment: Assignment = "nearest",
) -> pd.DataFrame:
    """Mean of a map in each system against the mean elsewhere, with spatial nulls.

    Parameters
    ----------
    values : (R,) the map in the atlas's order, or a Series indexed by region label.
    atlas : the regions, with coordinates in MNI mm, and hemispheres for ``null="spin"``.
    systems : (R,) system of each region, ``"n/a"`` for none; default ``atlas.network``.
    null, n, seed, assignment : as for :func:`~connectome_gnn.attribution.map_comparison.compare_maps`.

    Returns
    -------
    table : indexed by ``network``: ``regions`` their number; ``value`` mean in the system, ``elsewhere`` mean in all other regions,
        ``difference`` of the two; ``low``, ``high`` 95 % range of the difference in null maps; ``z`` the difference in standard
        deviations of the null maps' from their mean; two-sided ``p``, and ``q``, the false discovery rate over systems.

    Raises
    ------
    ConnectomeError
        As for :func:`~connectome_gnn.attribution.map_comparison.compare_maps`; if there are fewer than two systems.
    """
    given = region_map(values, atlas)
    if systems is not None and (isinstance(systems, str) or not isinstance(systems, Iterable)):
        raise ConnectomeError(f"expected systems as a name for each of {len(given)} regions, got {systems!r}")
    names = np.array(atlas.network if systems is None else [str(name) for name in systems])
    if names.shape != given.shape:
        raise ConnectomeError(f"expected a system for each of {len(given)} regions, got {len(names)}")
    found = [name for name in dict.fromkeys(names.tolist()) if name != UNKNOWN]
    if len(found) < 2:
        raise ConnectomeError(f"enrichment compares systems, and atlas {atlas.name!r} has {len(found)}; give systems, one for each region")
    draws = null_maps(given, atlas, null, n, seed=seed, assignment=assignment)
    members = np.stack([names == name for name in found], 1).astype(np.float64)
    difference, null_difference = _differences(given[None], members)[0], _differences(draws, members)
    low, high = np.quantile(null_difference, [0.025, 0.975], axis=0)
    spread = null_difference.std(0)
    inside = given @ members / members.sum(0)
    p = permutation_p(difference, null_difference, "both")
    return pd.DataFrame(
        {
            "regions": members.sum(0).astype(int),
            "value": inside,
            "elsewhere": inside - difference,
            "difference": difference,
            "low": low,
            "high": high,
            "z": (difference - null_difference.mean(0)) / np.where(spread > 0, spread, np.nan),
            "p": p,
            "q": benjamini_hochberg(p),
        },
        index=pd.Index(found, name="network"),
    )


def _differences(maps: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean in each system minus mean elsewhere, (n, S), of maps (n, R); ``members`` (R, S) is 1 where a region is in a system."""
    number = members.sum(0)
    inside = maps @ members
    return inside / number - (maps.sum(1, keepdims=True) - inside) / (len(members) - number)

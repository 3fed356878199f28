"""The regions of a cohort: in another order, or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.columns import listed
from connectome_gnn.derived import RegionEdges
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["reorder", "same_regions", "select"]

APART = 25.0
"""Millimetres: centroids of one region in two studies are not further apart than this."""


def same_regions(atlas: Atlas, other: Atlas) -> NDArray[np.intp]:
    """For each region of an atlas its row in the other, (R,), where both hold the same regions in any order.

    Raises
    ------
    ConnectomeError
        If a label is missing or extra, or regions of one label lie on other sides or more than 25 mm apart, so that only their names are
        the same.
    """
    match = atlas.match(other)
    if match.order is None or match.extra:
        raise ConnectomeError(
            f"atlas {other.name!r} ({len(other)} regions) does not hold the regions of {atlas.name!r} ({len(atlas)}): {match.describe()}; "
            "cohort.select() takes the regions that both have"
        )
    away = np.sqrt(((atlas.xyz - other.xyz[match.order]) ** 2).sum(1))
    for row, label in enumerate(atlas.labels):
        sides = {atlas.hemisphere[row], other.hemisphere[match.order[row]]}
        if sides == {"L", "R"}:
            raise ConnectomeError(
                f"region {label!r} is on the {atlas.hemisphere[row]} side in atlas {atlas.name!r} and on the other in {other.name!r}; the "
                "labels are the same, the regions are not"
            )
        if away[row] > APART:
            raise ConnectomeError(
                f"region {label!r} of atlas {other.name!r} lies {away[row]:.0f} mm from that of {atlas.name!r}; the labels are the same, "
                "the regions are not"
            )
    return match.order


def reorder(cohort: Cohort, atlas: Atlas) -> Cohort:
    """Bring a cohort's regions into the order of an atlas, matched by label.

    Parameters
    ----------
    cohort : the cohort.
    atlas : the same regions in the order wanted. Its hemispheres, networks and coordinates become the cohort's; what it does not know stays
        as the cohort has it.

    Returns
    -------
    cohort : Cohort on the atlas, its weights taken from the stored ones when they are read.

    Raises
    ------
    ConnectomeError
        If a region is missing or extra (the sentence names them), or regions of one label are plainly not the same.
    """
    if not isinstance(atlas, Atlas):
        raise TypeError(f"expected an Atlas to reorder by, got {type(atlas).__name__}")
    rows = same_regions(atlas, cohort.atlas)
    own = _atlas_of(cohort.atlas, rows)
    columns = {
        name: [known if known != UNKNOWN else kept for known, kept in zip(getattr(atlas, name), getattr(own, name), strict=True)]
        for name in ("hemisphere", "network")
    }
    known = np.isfinite(atlas.xyz).all(1, keepdims=True)
    whole = Atlas(atlas.labels, columns["hemisphere"], columns["network"], np.where(known, atlas.xyz, own.xyz), atlas.name)
    return cohort.with_weights(_edges_between(cohort, rows), whole)


def select(
    cohort: Cohort,
    regions: Sequence[str] | ArrayLike | None = None,
    *,
    network: str | Sequence[str] | None = None,
    hemisphere: str | None = None,
) -> Cohort:
    """The connectomes of some regions: the edges between them.

    Parameters
    ----------
    cohort : the cohort.
    regions : labels, in the order wanted, or a boolean mask (R,); default all.
    network : only regions of this network, or of these.
    hemisphere : only regions of this side, ``"L"`` or ``"R"``.

    Returns
    -------
    cohort : Cohort of these regions, its weights taken from the stored ones when they are read. Two regions at least.

    Raises
    ------
    ConnectomeError
        If a label, a network or a side is not the atlas's, a label is named twice, or fewer than two regions are left.
    """
    atlas = cohort.atlas
    rows = np.arange(len(atlas)) if regions is None else _rows_of(regions, atlas)
    for what, asked in (("network", network), ("hemisphere", hemisphere)):
        if asked is None:
            continue
        wanted = [asked] if isinstance(asked, str) else list(asked)
        values = getattr(atlas, what)
        unknown = [name for name in wanted if name not in values or name == UNKNOWN]
        if unknown:
            known = sorted(set(values) - {UNKNOWN})
            raise ConnectomeError(
                f"atlas {atlas.name!r} has no region of {what} {unknown[0]!r}; its {what}s are {listed(known, 20) or 'not known'}"
            )
        rows = np.array([row for row in rows if values[row] in wanted], dtype=np.intp)
    if len(rows) < 2:
        raise ConnectomeError(f"cohort {cohort.name!r}: expected at least two regions to select, got {len(rows)}")
    return cohort.with_weights(_edges_between(cohort, rows), _atlas_of(atlas, rows))


def _rows_of(regions: Any, atlas: Atlas) -> NDArray[np.intp]:
    """Rows of the regions asked for, (n,)."""
    asked = np.asarray([regions] if isinstance(regions, str) else list(regions))
    if asked.dtype.kind == "b":
        if asked.shape != (len(atlas),):
            raise ConnectomeError(f"expected a mask of the {len(atlas)} regions of atlas {atlas.name!r}, got shape {asked.shape}")
        return np.flatnonzero(asked)
    if asked.size and asked.dtype.kind not in "UO":
        raise ConnectomeError(f"expected labels of regions or a boolean mask, got {asked.dtype}; atlas.labels has the labels")
    place = {label: row for row, label in enumerate(atlas.labels)}
    labels = [str(label) for label in asked]
    unknown = [label for label in labels if label not in place]
    if unknown:
        raise ConnectomeError(
            f"{len(unknown)} regions are not in atlas {atlas.name!r} ({listed(unknown, 3)}); its labels begin with "
            f"{listed(atlas.labels[:3])}"
        )
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ConnectomeError(f"region {twice!r} is named more than once; a region is one row")
    return np.array([place[label] for label in labels], dtype=np.intp)


def _edges_between(cohort: Cohort, rows: NDArray[np.intp]) -> RegionEdges:
    """The edges between some regions, in their order."""
    place = to_matrices(np.arange(cohort.n_edges))
    first, second = edge_indices(len(rows))
    return RegionEdges(cohort, place[rows[first], rows[second]])


def _atlas_of(atlas: Atlas, rows: NDArray[np.intp]) -> Atlas:
    labels, hemisphere, network = ([values[row] for row in rows] for values in (atlas.labels, atlas.hemisphere, atlas.network))
    return Atlas(labels, hemisphere, network, atlas.xyz[rows], atlas.name)

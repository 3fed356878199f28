"""Atlases of the same size that must not be taken for each other."""

from __future__ import annotations

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.atlases.lists import TIAN
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError

__all__ = ["atlas_needed", "check_known", "of_size"]

UKB_SIZES = {
    84: "aparc",
    164: "aparc.a2009s",
    216: "Schaefer 200",
    376: "Glasser",
    414: "Glasser",
    554: "Schaefer 500",
    1054: "Schaefer 1000",
}
MRTRIX_SIZES = {84: "fs_default", 164: "fs_a2009s", 379: "hcpmmp1_ordered"}
NAMED = {
    84: ("mrtrix_fs_default", "ukb_aparc_tian_s1"),
    216: ("ukb_schaefer200_tian_s1",),
    376: ("ukb_glasser_tian_s1",),
    379: ("mrtrix_hcpmmp1_ordered",),
}
"""Of these, the ones that can be named as atlas."""


def of_size(n_regions: int) -> str:
    """Which lists have so many regions, as half a sentence; empty where none is known."""
    lists = []
    if n_regions in MRTRIX_SIZES:
        lists.append(f"MRtrix's {MRTRIX_SIZES[n_regions]}")
    if n_regions in UKB_SIZES:
        lists.append(f"UK Biobank's {UKB_SIZES[n_regions]} with Tian's subcortex")
    named = NAMED.get(n_regions, ())
    if not lists:
        return ""
    say = f" (atlas={' or '.join(map(repr, named))})" if named else ""
    other = ", which are not the same regions" if len(lists) > 1 else ""
    return f"{n_regions} regions may be {' or '.join(lists)}{other}{say}"


def atlas_needed(what: str, n_regions: int | None = None) -> ConnectomeError:
    """The error for matrices without names and an atlas that was not given."""
    lists = of_size(n_regions) if n_regions else ""
    return ConnectomeError(
        f"give the atlas of {what} by atlas (--atlas), a table with a column 'label' or a known atlas's name: the number of regions does "
        "not say which is which" + (f"; {lists}" if lists else "")
    )


def check_known(atlas: Atlas, format: str, where: str) -> None:
    """Refuse an atlas that cannot be that of a format's matrices although its size fits.

    Raises
    ------
    ConnectomeError
        If UK Biobank's connectomes are to be read with regions they do not hold (MRtrix's cerebellum), or with Tian's subcortex left first.
    """
    if format != "ukb":
        return
    foreign = next((label for label in atlas.labels if "cerebell" in label.lower() or label in ("L.CER", "R.CER")), None)
    if foreign is not None:
        raise ConnectomeError(
            f"{where}: UK Biobank's connectomes hold cortex and Tian's subcortex, atlas {atlas.name!r} has {foreign!r}, as MRtrix's "
            f"fs_default does; {of_size(len(atlas)) or 'give the atlas of the field'}"
        )
    tian = [label for label in atlas.labels if any(f"{name}-" in label for name in TIAN) and hemisphere_of(label) != UNKNOWN]
    if tian and hemisphere_of(tian[0]) == "L":
        raise ConnectomeError(
            f"{where}: Tian's subcortex lists the right side first, atlas {atlas.name!r} begins with {tian[0]!r}; keep the list's order"
        )

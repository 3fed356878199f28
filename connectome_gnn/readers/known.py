"""Lists of regions that tools write without names, and which must not be taken for each other.

MRtrix's and UK Biobank's 84 regions share their cortex, in another order, and differ in the rest; so do their 164. Names and orders are
those of MRtrix's ``labelconvert`` table fs_default and of the label lists of the UK Biobank connectomes (Mansour et al. 2023).
"""

from __future__ import annotations

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.labels import hemisphere_of

__all__ = ["KNOWN", "atlas_needed", "check_known", "known_atlas", "of_size"]

DESIKAN = (
    "bankssts",
    "caudalanteriorcingulate",
    "caudalmiddlefrontal",
    "cuneus",
    "entorhinal",
    "fusiform",
    "inferiorparietal",
    "inferiortemporal",
    "isthmuscingulate",
    "lateraloccipital",
    "lateralorbitofrontal",
    "lingual",
    "medialorbitofrontal",
    "middletemporal",
    "parahippocampal",
    "paracentral",
    "parsopercularis",
    "parsorbitalis",
    "parstriangularis",
    "pericalcarine",
    "postcentral",
    "posteriorcingulate",
    "precentral",
    "precuneus",
    "rostralanteriorcingulate",
    "rostralmiddlefrontal",
    "superiorfrontal",
    "superiorparietal",
    "superiortemporal",
    "supramarginal",
    "frontalpole",
    "temporalpole",
    "transversetemporal",
    "insula",
)
ASEG = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens-area")
TIAN = ("HIP", "AMY", "pTHA", "aTHA", "NAc", "GP", "PUT", "CAU")
"""Tian's subcortex at scale 1; the right side comes first."""

KNOWN: dict[str, tuple[str, ...]] = {
    "mrtrix_fs_default": (
        *(f"ctx-lh-{name}" for name in DESIKAN),
        "Left-Cerebellum-Cortex",
        *(f"Left-{name}" for name in ASEG),
        *(f"Right-{name}" for name in ASEG),
        *(f"ctx-rh-{name}" for name in DESIKAN),
        "Right-Cerebellum-Cortex",
    ),
    "ukb_aparc_tian_s1": (
        *(f"left_{name}" for name in DESIKAN),
        *(f"right_{name}" for name in DESIKAN),
        *(f"{name}-rh" for name in TIAN),
        *(f"{name}-lh" for name in TIAN),
    ),
}
"""Atlases that can be named where a file names no regions; without coordinates."""

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


def known_atlas(name: str) -> Atlas | None:
    """The atlas of one of the lists of :data:`KNOWN`, or None."""
    labels = KNOWN.get(name)
    return None if labels is None else Atlas(labels, [hemisphere_of(label) for label in labels], name=name)


def of_size(n_regions: int) -> str:
    """Which lists have so many regions, as half a sentence; empty where none is known."""
    lists = []
    if n_regions in MRTRIX_SIZES:
        lists.append(f"MRtrix's {MRTRIX_SIZES[n_regions]}")
    if n_regions in UKB_SIZES:
        lists.append(f"UK Biobank's {UKB_SIZES[n_regions]} with Tian's subcortex")
    named = [name for name, labels in KNOWN.items() if len(labels) == n_regions]
    if not lists:
        return ""
    say = f" (atlas={' or '.join(map(repr, named))})" if named else ""
    return f"{n_regions} regions may be {' or '.join(lists)}, which are not the same regions{say}"


def atlas_needed(what: str, n_regions: int | None = None) -> ConnectomeError:
    """The error for matrices without names and an atlas that was not given."""
    lists = of_size(n_regions) if n_regions else ""
    return ConnectomeError(
        f"give the atlas of {what} (a table with a column 'label'): the number of regions does not say which is which"
        + (f"; {lists}" if lists else "")
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

"""Lists of regions that tools write without names, and which must not be taken for each other.

MRtrix's and UK Biobank's 84 regions share their cortex, in another order, and differ in the rest; so do their 164. Names and orders are
those of MRtrix's ``labelconvert`` table fs_default and of the label lists of the UK Biobank connectomes (Mansour et al. 2023).
"""

from __future__ import annotations

__all__ = ["DESIKAN", "LISTS", "LOBES", "TIAN"]

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
"""FreeSurfer's cortical regions (Desikan et al. 2006) of one side, in the order of its colour table."""
LOBES = {
    "Frontal": (
        "superiorfrontal",
        "rostralmiddlefrontal",
        "caudalmiddlefrontal",
        "parsopercularis",
        "parstriangularis",
        "parsorbitalis",
        "lateralorbitofrontal",
        "medialorbitofrontal",
        "precentral",
        "paracentral",
        "frontalpole",
    ),
    "Parietal": ("superiorparietal", "inferiorparietal", "supramarginal", "postcentral", "precuneus"),
    "Temporal": (
        "superiortemporal",
        "middletemporal",
        "inferiortemporal",
        "bankssts",
        "fusiform",
        "transversetemporal",
        "entorhinal",
        "temporalpole",
        "parahippocampal",
    ),
    "Occipital": ("lateraloccipital", "lingual", "cuneus", "pericalcarine"),
    "Cingulate": ("rostralanteriorcingulate", "caudalanteriorcingulate", "posteriorcingulate", "isthmuscingulate"),
    "Insula": ("insula",),
}
"""Lobes as FreeSurfer's documentation divides the regions."""
ASEG = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens-area")
TIAN = ("HIP", "AMY", "pTHA", "aTHA", "NAc", "GP", "PUT", "CAU")
"""Tian's subcortex at scale 1; the right side comes first."""

LISTS: dict[str, tuple[str, ...]] = {
    "desikan68": (*(f"ctx-lh-{name}" for name in DESIKAN), *(f"ctx-rh-{name}" for name in DESIKAN)),
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
"""Regions by the name of their list, in its order."""

"""Atlases by name: tables that come with the package, lists of regions, and atlases that are downloaded once.

``atlases.json`` says where each table comes from, under which licence, in which order its regions are, and whom to cite.
"""

from __future__ import annotations

import re
import warnings
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from connectome_gnn.atlases.lists import LISTS, LOBES, TIAN
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

if TYPE_CHECKING:
    from connectome_gnn.atlas import Atlas

__all__ = ["NAMES", "load_named"]

TABLES = ("schaefer200", "glasser360", "mrtrix_hcpmmp1_ordered", "ndmg_desikan70")
"""Atlases whose tables are in the package."""
DOWNLOADED = (
    "aal",
    "destrieux",
    "harvard_oxford",
    "lausanne219",
    *(f"schaefer{size}" for size in (100, 300, 400, 500, 600, 700, 800, 900, 1000)),
)
"""Atlases whose images are downloaded, and whose centroids are computed, once."""
UKB_CORTEX = {"ukb_schaefer200_tian_s1": "schaefer200", "ukb_glasser_tian_s1": "glasser360"}
"""UK Biobank's lists that are the cortex of another atlas, then Tian's subcortex."""
NAMES = tuple(sorted({*TABLES, *LISTS, *UKB_CORTEX, *DOWNLOADED}, key=lambda name: (re.sub(r"\d", "", name), len(name), name)))
"""Every atlas that can be named."""


def load_named(name: str) -> Atlas:
    """The atlas of a name; as for :meth:`connectome_gnn.atlas.Atlas.load`.

    Raises
    ------
    ConnectomeError
        If there is no atlas of this name, or it has to be downloaded and cannot be.
    """
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.atlases.downloaded import download_atlas

    if name in TABLES:
        with as_file(files(__package__) / f"{name}.tsv") as path:
            return Atlas.load(path, name)
    if name in LISTS:
        return _listed(name)
    if name in UKB_CORTEX:
        return _with_tian(name)
    if name in DOWNLOADED:
        return download_atlas(name)
    raise ConnectomeError(f"no atlas is named {name!r}; expected one of {', '.join(NAMES)}, or the path of a table of regions")


def _listed(name: str) -> Atlas:
    """An atlas of names: the side by the name, the lobe of cortical regions, the coordinates of these where they can be had."""
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.atlases.downloaded import desikan_centroids

    labels = LISTS[name]
    lobes = {region: lobe for lobe, regions in LOBES.items() for region in regions}
    regions = [re.sub(r"^(?:ctx-[lr]h-|left_|right_)", "", label) for label in labels]
    sides = [hemisphere_of(label) for label in labels]
    xyz = np.full((len(labels), 3), np.nan)
    if name == "desikan68":
        try:
            centroids = desikan_centroids()
            xyz = np.array([centroids[side, region] for side, region in zip(sides, regions, strict=True)])
        except ConnectomeError as error:
            warnings.warn(f"atlas {name!r} has no coordinates here: {error}", ConnectomeWarning, stacklevel=4)
    return Atlas(labels, sides, [lobes.get(region, "Subcortical") for region in regions], xyz, name)


def _with_tian(name: str) -> Atlas:
    """A list of UK Biobank's: the cortex (Glasser's right side first, as its own files have it), then Tian's subcortex, right first."""
    from connectome_gnn.atlas import Atlas

    cortex = load_named(UKB_CORTEX[name]).to_frame()
    if UKB_CORTEX[name] == "glasser360":
        cortex = cortex.sort_values("hemisphere", ascending=False, kind="stable").assign(label=lambda table: table["label"] + "_ROI")
    below = pd.DataFrame({"label": [f"{region}-{side}h" for side in "rl" for region in TIAN]})
    below = below.assign(hemisphere=below["label"].map(hemisphere_of), network="Subcortical")
    return Atlas.from_frame(pd.concat([cortex, below], ignore_index=True), name)

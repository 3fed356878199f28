"""Atlases that are downloaded: their label images through nilearn or from their authors, and the centroids, kept as a table.

The table is kept, and read from then on, in the user's cache folder (``pooch.os_cache``). None of it is in the package: nilearn knows no
licence of AAL's and Destrieux's images, and Harvard-Oxford's is FSL's, for research. Coordinates are those of the image's own template, mm
(MNI152; AAL's is Colin27, Destrieux's fsaverage, both near it).
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError

__all__ = ["centroids_of", "desikan_centroids", "download_atlas"]

SIZES = {"aal": 116, "destrieux": 148, "harvard_oxford": 96, "lausanne219": 219}
SCHAEFER = re.compile(r"schaefer(\d+)")
NETWORKS = {
    "Vis": "Visual",
    "SomMot": "Somato Motor",
    "DorsAttn": "Dorsal Attention",
    "SalVentAttn": "Salient Ventral Attention",
    "Limbic": "Limbic",
    "Cont": "Control",
    "Default": "Default",
}
"""Schaefer's systems by their part of a label, spelled as in the table of schaefer200."""
NO_REGION = re.compile(r"background|.*medial[_ ]wall", re.IGNORECASE)
CAMMOUN = "https://files.osf.io/v1/resources/udpv8/providers/osfstorage/67326efaee12e85a3662f7c6"
CAMMOUN_HASH = "md5:7cc281d6916baf78bb53b12806d28454"
"""Cammoun et al. 2012 in MNI152NLin2009aSym, as the netneurotools project keeps it (its list of data sets gives the checksum)."""
FAILURES = (OSError, RuntimeError, ValueError, KeyError)
"""What a download that fails raises in requests, urllib3, pooch and nilearn."""


def download_atlas(name: str) -> Atlas:
    """An atlas from the cache, or else its image, read for labels and centroids.

    Raises
    ------
    ConnectomeError
        If the image cannot be downloaded, or is not that of the atlas.
    """
    kept = _cache() / f"{name}.tsv"
    if kept.is_file():
        return Atlas.load(kept, name)
    table = _cammoun("125") if name == "lausanne219" else _through_nilearn(name)
    size = SIZES.get(name) or int(SCHAEFER.sub(r"\1", name))
    if len(table) != size:
        raise ConnectomeError(f"expected {size} regions of atlas {name!r} in what was downloaded, got {len(table)}; give its table instead")
    return _keep(Atlas.from_frame(table, name, f"the downloaded atlas {name!r}"), kept)


def desikan_centroids() -> Mapping[tuple[str, str], tuple[float, float, float]]:
    """MNI coordinates (mm) of FreeSurfer's 68 cortical regions, by side and name: centroids of Cammoun's atlas at its lowest scale.

    Raises
    ------
    ConnectomeError
        If they cannot be downloaded.
    """
    kept = _cache() / "desikan68.tsv"
    table = _cammoun("033") if not kept.is_file() else Atlas.load(kept).to_frame()
    if len(table) != 68:
        raise ConnectomeError(f"expected 68 cortical regions in the downloaded atlas of Cammoun et al., got {len(table)}")
    atlas = Atlas.from_frame(table, "desikan68", CAMMOUN)
    if not kept.is_file():
        _keep(atlas, kept)
    names = [label.partition("_")[2].lower() for label in atlas.labels]
    return {(side, name): tuple(place) for side, name, place in zip(atlas.hemisphere, names, atlas.xyz.tolist(), strict=True)}


def centroids_of(image: NDArray, affine: NDArray[np.float64], values: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean position of each label's voxels.

    Parameters
    ----------
    image : (X, Y, Z) labels, whole numbers.
    affine : (4, 4) from voxel to mm.
    values : (R,) labels whose centroids are wanted.

    Returns
    -------
    xyz : (R, 3) mm, NaN where no voxel has the label.
    """
    places = np.argwhere(image)
    labels = image[tuple(places.T)].astype(np.int64)
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(inverse, places[:, axis]) / counts for axis in range(3)], 1) if len(found) else np.empty((0, 3))
    in_mm = dict(zip(found.tolist(), means @ affine[:3, :3].T + affine[:3, 3], strict=True))
    return np.array([in_mm.get(int(value), np.full(3, np.nan)) for value in values]).reshape(-1, 3)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("connectome_gnn")) / "atlases"


def _keep(atlas: Atlas, path: Path) -> Atlas:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    atlas.save(unfinished)
    unfinished.replace(path)
    return atlas


def _through_nilearn(name: str) -> pd.DataFrame:
    """Labels and centroids of an atlas that nilearn downloads."""
    try:
        from nilearn import datasets
        from nilearn.image import load_img
    except ImportError as error:
        raise ConnectomeError(
            f"atlas {name!r} is downloaded through nilearn, which is not installed (pip install 'connectome-gnn[viz]'); or give its table"
        ) from error
    fetches: dict[str, tuple[str, dict[str, Any]]] = {
        "aal": ("fetch_atlas_aal", {"version": "SPM12"}),
        "destrieux": ("fetch_atlas_destrieux_2009", {}),
        "harvard_oxford": ("fetch_atlas_harvard_oxford", {"atlas_name": "cort-maxprob-thr25-2mm", "symmetric_split": True}),
    }
    size = SCHAEFER.fullmatch(name)
    function, given = fetches[name] if size is None else ("fetch_atlas_schaefer_2018", {"n_rois": int(size[1]), "yeo_networks": 7})
    fetched = _tried(name, lambda: getattr(datasets, function)(data_dir=str(_cache() / "nilearn"), verbose=0, **given))
    image = load_img(fetched["maps"])
    voxels = np.asarray(image.dataobj).squeeze()
    labels = [label.decode() if isinstance(label, bytes) else str(label) for label in fetched["labels"]]
    listed = fetched.get("lut")
    values = _values(labels, fetched.get("indices") if listed is None else listed["index"], voxels, name)
    regions = [(value, label) for value, label in zip(values, labels, strict=True) if value and not NO_REGION.fullmatch(label)]
    if size is not None:
        systems = [NETWORKS.get(label.split("_")[2], UNKNOWN) if label.count("_") > 2 else UNKNOWN for _, label in regions]
    else:
        systems = [UNKNOWN] * len(regions)
    return _table([label for _, label in regions], systems, centroids_of(voxels, image.affine, np.array([value for value, _ in regions])))


def _values(labels: list[str], indices: Any, voxels: NDArray, name: str) -> list[int]:
    """The image's value of every label: as the atlas says, or counted, from 0 where the first label is the background's."""
    present = np.unique(voxels)
    if indices is not None:
        values = [int(index) for index in indices]
    else:
        first = 0 if NO_REGION.fullmatch(labels[0]) else 1
        values = list(range(first, first + len(labels)))
    if len(values) != len(labels) or not set(present[present != 0].astype(int).tolist()) <= set(values):
        raise ConnectomeError(f"atlas {name!r}: the downloaded image has values that no label has; give the atlas's table instead")
    return values


def _cammoun(scale: str) -> pd.DataFrame:
    """Labels and centroids of the cortex of Cammoun's atlas, right side first as its own list has it."""
    import pooch

    archive = _tried(
        "desikan68" if scale == "033" else "lausanne219",
        lambda: pooch.retrieve(CAMMOUN, CAMMOUN_HASH, fname="atl-Cammoun2012_MNI152NLin2009aSym.tar.gz", path=_cache()),
    )
    try:
        from nibabel import Nifti1Image
    except ImportError as error:
        raise ConnectomeError("the atlas of Cammoun et al. is read with nibabel, which is not installed (pip install nibabel)") from error
    # Read in memory: no path from an archive touches the disk.
    try:
        with tarfile.open(archive) as members:
            image = Nifti1Image.from_bytes(gzip.decompress(_member(members, f"res-{scale}_deterministic.nii.gz")))
            listed = pd.read_csv(io.BytesIO(_member(members, "_info.csv")))
        rows = listed[(listed["scale"] == f"scale{scale}") & (listed["structure"] == "cortex")]
        sides = rows["hemisphere"].astype(str).str.upper().str[0]
        values = rows["id"].to_numpy(np.int64)
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as error:
        raise ConnectomeError(f"{archive} is not the atlas of Cammoun et al. ({error}); remove it, and load the atlas again") from error
    labels = [f"{side}_{label}" for side, label in zip(sides, rows["label"], strict=True)]
    systems = rows["yeo_7"].astype(str).tolist() if "yeo_7" in rows else [UNKNOWN] * len(rows)
    return _table(labels, systems, centroids_of(np.asarray(image.dataobj).squeeze(), image.affine, values))


def _member(members: tarfile.TarFile, ending: str) -> bytes:
    found = next((member for member in members.getmembers() if member.name.endswith(ending) and member.isfile()), None)
    file = None if found is None else members.extractfile(found)
    if file is None:
        raise KeyError(f"it holds no file that ends in {ending}")
    return file.read()


def _table(labels: list[str], systems: list[str], xyz: NDArray[np.float64]) -> pd.DataFrame:
    columns = {"label": labels, "hemisphere": [hemisphere_of(label) for label in labels], "network": systems}
    return pd.DataFrame(columns).assign(**dict(zip("xyz", xyz.round(3).T, strict=True)))


def _tried(name: str, fetch: Callable[[], Any]) -> Any:
    from requests import ConnectionError as RequestsConnectionError

    try:
        return fetch()
    except FAILURES as error:
        reason = "its server cannot be reached" if isinstance(error, ConnectionError | RequestsConnectionError) else _first_line(error)
        raise ConnectomeError(
            f"atlas {name!r} has to be downloaded once, which failed ({reason}); connect to the network and load it again, or give a table "
            "of its regions"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__

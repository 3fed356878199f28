"""Atlases by name: those of the package, and those that are downloaded once."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from importlib.resources import files

import nibabel
import nilearn.datasets
import numpy as np
import pandas as pd
import pooch
import pytest
import requests
import scipy.ndimage

from connectome_gnn.atlas import Atlas
from connectome_gnn.atlases import LISTS, NAMES, TABLES, downloaded
from connectome_gnn.atlases.lists import DESIKAN, LOBES
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.readers.homotopy import homotopic_pairs
from connectome_gnn.readers.known import check_known, of_size
from connectome_gnn.readers.regions import read_atlas

SIZES = {"schaefer200": 200, "glasser360": 360, "mrtrix_hcpmmp1_ordered": 379, "ndmg_desikan70": 70}
AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and no network."""
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)

    def offline(*_, **__):
        raise OSError("[Errno 101] Network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", offline)
    for fetch in ("aal", "destrieux_2009", "harvard_oxford", "schaefer_2018"):
        monkeypatch.setattr(nilearn.datasets, f"fetch_atlas_{fetch}", offline)
    return tmp_path / "cache" / "connectome_gnn" / "atlases"


# --- those of the package -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_packaged_tables(name):
    atlas = Atlas.load(name)
    assert atlas.name == name and len(atlas) == SIZES[name] == len(set(atlas.labels))
    x = atlas.xyz[:, 0]
    sides = np.array(atlas.hemisphere)
    if name == "ndmg_desikan70":
        assert np.isnan(atlas.xyz).all()
    else:
        assert atlas.has_coordinates and (x[sides == "L"] < 0).all() and (x[sides == "R"] > 0).all()
        assert len(np.unique(atlas.xyz, axis=0)) == len(atlas) and (np.abs(atlas.xyz) < 115).all()
        assert abs((sides == "L").sum() - (sides == "R").sum()) <= 1
    assert all(side == hemisphere_of(label) for label, side in zip(atlas.labels, sides, strict=True) if hemisphere_of(label) != "n/a")
    about = json.loads((files("connectome_gnn.atlases") / "atlases.json").read_text())
    assert set(about) == set(TABLES) and {"source", "licence", "cite", "order", "coordinates"} <= set(about[name])


def test_packaged_tables_are_the_cohorts_own(data_folder):
    for cohort, name in (("lemon", "schaefer200"), ("ucl_parkinson", "mrtrix_hcpmmp1_ordered"), ("corr_kki", "ndmg_desikan70")):
        own, packaged = Atlas.load(data_folder(cohort) / "atlas.tsv"), Atlas.load(name)
        assert (own.labels, own.hemisphere, own.network) == (packaged.labels, packaged.hemisphere, packaged.network)
        other = np.flatnonzero((own.xyz != packaged.xyz).any(1) & np.isfinite(own.xyz).all(1))
        assert [own.labels[row] for row in other] == (["L_p24"] if cohort == "ucl_parkinson" else [])
    assert Atlas.load("mrtrix_hcpmmp1_ordered").labels[:360] == Atlas.load("glasser360").labels


@pytest.mark.parametrize("name", LISTS)
def test_lists(name):
    assert sorted(region for regions in LOBES.values() for region in regions) == sorted(DESIKAN)
    with pytest.warns(ConnectomeWarning, match="has no coordinates here") if name == "desikan68" else _nothing():
        atlas = Atlas.load(name)
    assert atlas.labels == LISTS[name] and (np.array(atlas.hemisphere) == "L").sum() == len(atlas) // 2
    networks = pd.Series(atlas.network).value_counts()
    assert networks["Frontal"] == 22 and networks["Insula"] == 2 and networks.get("Subcortical", 0) == len(atlas) - 68


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_uk_biobanks_lists_are_cortex_then_tian_right_first():
    schaefer, glasser = Atlas.load("ukb_schaefer200_tian_s1"), Atlas.load("ukb_glasser_tian_s1")
    assert (len(schaefer), len(glasser)) == (216, 376)
    assert schaefer.labels[:200] == Atlas.load("schaefer200").labels and schaefer.labels[200:202] == ("HIP-rh", "AMY-rh")
    assert glasser.labels[0] == "R_V1_ROI" and glasser.labels[180] == "L_V1_ROI" and glasser.labels[360] == "HIP-rh"
    assert glasser.labels[360:] == schaefer.labels[200:] == LISTS["ukb_aparc_tian_s1"][68:]
    np.testing.assert_array_equal(glasser.xyz[180:360], Atlas.load("glasser360").xyz[:180])
    assert np.isnan(glasser.xyz[360:]).all() and glasser.hemisphere[:180] == ("R",) * 180 and glasser.hemisphere[-1] == "L"
    assert len(homotopic_pairs(schaefer)) > 80 and len(homotopic_pairs(glasser)) == 188
    for atlas in (schaefer, glasser):
        check_known(atlas, "ukb", "x")
        assert repr(atlas.name) in of_size(len(atlas))
    assert "'mrtrix_hcpmmp1_ordered'" in of_size(379) and "are not the same regions (atlas='mrtrix_fs_default' or" in of_size(84)


def test_names_are_paths_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConnectomeError, match="no atlas is named 'schaefer201'; expected one of aal, desikan68, .*glasser360.*the path of"):
        Atlas.load("schaefer201")
    with pytest.raises(FileNotFoundError, match="no table at schaefer200.tsv"):
        Atlas.load("schaefer200.tsv")
    Atlas(["a", "b"]).save("glasser360")  # a file of one's own goes before
    assert len(Atlas.load("glasser360")) == 2 and len(Atlas.load("schaefer200")) == 200
    assert len(set(NAMES)) == len(NAMES) and {"desikan68", "aal", "destrieux", "harvard_oxford", "lausanne219", "schaefer400"} <= set(NAMES)
    assert read_atlas("schaefer200") == Atlas.load("schaefer200")


def test_match_reorders_and_names():
    atlas = Atlas.load("schaefer200")
    order = np.random.default_rng(0).permutation(200)
    table = atlas.to_frame().iloc[order]
    match = atlas.match(Atlas.from_frame(table))
    assert not match.same and [table["label"].iloc[row] for row in match.order] == list(atlas.labels)
    less = atlas.match(Atlas.from_frame(pd.concat([table.iloc[3:], pd.DataFrame({"label": ["new"]})])))
    assert set(less.missing) == set(table["label"].iloc[:3]) and less.extra == ("new",) and less.order is None


# --- those that are downloaded ------------------------------------------------------------------------------------------


def label_image(values):
    """A block of voxels for each value, negative x (mm) first half of them, and where scipy puts their centres."""
    rng = np.random.default_rng(0)
    image = np.zeros((20, 30, 20), np.int16)
    half = -(-len(values) // 2)
    places = [np.flatnonzero(np.ones((8, 30, 20)).ravel())[n :: half + 1] for n in range(half)]
    for n, value in enumerate(values):
        block = np.zeros(8 * 30 * 20, bool)
        block[rng.permutation(places[n % half])[: 5 + n % 4]] = True
        side = slice(12, 20) if n < half else slice(0, 8)  # the affine's x falls: a high index is the left side
        image[side][block.reshape(8, 30, 20)] = value
    centres = np.array(scipy.ndimage.center_of_mass(np.ones(image.shape), image, values))
    return nibabel.Nifti1Image(image, AFFINE), centres @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def test_schaefer_through_nilearn(monkeypatch, cache):
    labels = [f"7Networks_{side}_{net}_{n}" for side in ("LH", "RH") for net in ("Vis", "Default") for n in range(1, 26)]
    image, centres = label_image(list(range(1, 101)))
    asked = []

    def fetch(**given):
        asked.append(given)
        return {"maps": image, "labels": [b"Background", *(label.encode() for label in labels)]}  # as nilearn does: one more

    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_schaefer_2018", fetch)
    atlas = Atlas.load("schaefer100")
    assert atlas.labels == tuple(labels) and atlas.name == "schaefer100" and asked[0]["n_rois"] == 100 and asked[0]["verbose"] == 0
    assert atlas.network[:2] == ("Visual", "Visual") and atlas.network[-1] == "Default"
    np.testing.assert_allclose(atlas.xyz, centres, atol=6e-4)
    sides = np.array(atlas.hemisphere)
    assert (atlas.xyz[sides == "L", 0] < 0).all() and (atlas.xyz[sides == "R", 0] > 0).all()
    again = Atlas.load("schaefer100")
    assert again == atlas and len(asked) == 1 and [path.name for path in cache.iterdir() if path.is_file()] == ["schaefer100.tsv"]


def test_aal_has_values_of_its_own(monkeypatch):
    labels = [f"Region{n}_{side}" for n in range(54) for side in "LR"] + [f"Vermis_{n}" for n in range(8)]
    values = [2001 + 10 * n for n in range(116)]
    image, centres = label_image(values)
    bunch = {"maps": image, "labels": ["Background", *labels], "indices": ["0", *map(str, values)]}
    asked = {}
    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_aal", lambda **given: asked.update(given) or bunch)
    atlas = Atlas.load("aal")
    assert asked["version"] == "SPM12"  # the 116 regions, whatever nilearn's default
    assert atlas.labels == tuple(labels) and atlas.hemisphere[:2] == ("L", "R") and atlas.hemisphere[-1] == "n/a"
    np.testing.assert_allclose(atlas.xyz, centres, atol=6e-4)


def test_destrieux_leaves_the_medial_wall_out(monkeypatch):
    labels = [f"{side} G_{n}" for side in "LR" for n in range(74)]
    whole = ["Background", *labels[:74], "L Medial_wall", *labels[74:], "R Medial_wall"]
    image, centres = label_image(list(range(1, 151)))
    listed = pd.DataFrame({"index": range(151), "name": whole})
    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_destrieux_2009", lambda **_: {"maps": image, "labels": whole, "lut": listed})
    atlas = Atlas.load("destrieux")
    assert atlas.labels == tuple(labels)
    np.testing.assert_allclose(atlas.xyz, np.delete(centres, [74, 149], 0), atol=6e-4)


def test_harvard_oxford_and_an_image_of_something_else(monkeypatch):
    labels = ["Background", *(f"{side} Pole {n}" for n in range(48) for side in ("Left", "Right"))]
    image, _ = label_image(list(range(1, 97)))
    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_harvard_oxford", lambda **_: {"maps": image, "labels": labels})
    assert Atlas.load("harvard_oxford").hemisphere[:2] == ("L", "R")
    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_destrieux_2009", lambda **_: {"maps": image, "labels": labels})
    with pytest.raises(ConnectomeError, match="expected 148 regions of atlas 'destrieux' in what was downloaded, got 96"):
        Atlas.load("destrieux")
    other, _ = label_image(list(range(3, 119)))
    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_aal", lambda **_: {"maps": other, "labels": labels})
    with pytest.raises(ConnectomeError, match="has values that no label has"):
        Atlas.load("aal")


def cammoun(tmp_path, cut=False):
    """The archive of Cammoun's atlas, with its files' names: the right side first."""
    rows, members = [], {}
    for scale, regions in (("033", DESIKAN), ("125", tuple(f"{name}_{n}" for n in range(1, 5) for name in DESIKAN)[:110])):
        right, left = regions, regions if scale == "033" else regions[:109]
        names = [("R", name) for name in right] + [("R", "thalamus")] + [("L", name) for name in left]
        image, _ = label_image(list(range(1, len(names) + 1)))
        image = nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1], AFFINE)
        members[f"atl/x_res-{scale}_deterministic.nii.gz"] = gzip.compress(image.to_bytes())
        rows += [
            {
                "id": n,
                "label": name,
                "hemisphere": side,
                "structure": "subcortex" if name == "thalamus" else "cortex",
                "scale": f"scale{scale}",
            }
            for n, (side, name) in enumerate(names, 1)
        ]
    members["atl/x_info.csv"] = pd.DataFrame(rows).to_csv(index=False).encode()
    if cut:
        members.pop("atl/x_info.csv")
    path = tmp_path / "cammoun.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_desikan_and_lausanne_have_the_places_of_cammoun(tmp_path, monkeypatch, cache):
    path = cammoun(tmp_path)
    asked = []
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, **_: asked.append((url, known_hash)) or path)
    atlas = Atlas.load("desikan68")
    assert atlas.labels == LISTS["desikan68"] and atlas.has_coordinates
    assert (atlas.xyz[:34, 0] < 0).all() and (atlas.xyz[34:, 0] > 0).all()
    table = pd.read_csv(cache / "desikan68.tsv", sep="\t").set_index("label")
    np.testing.assert_array_equal(table.loc["L_insula", ["x", "y", "z"]].to_numpy(float), atlas.xyz[atlas.labels.index("ctx-lh-insula")])
    lausanne = Atlas.load("lausanne219")
    assert len(lausanne) == 219 and lausanne.hemisphere[0] == "R" and lausanne.labels[0] == "R_bankssts_1"
    assert [hash_ for _, hash_ in asked] == [downloaded.CAMMOUN_HASH] * 2
    assert Atlas.load("desikan68") == atlas and Atlas.load("lausanne219") == lausanne and len(asked) == 2


def test_one_sentence_without_network_or_with_something_else(tmp_path, monkeypatch):
    for name in ("aal", "destrieux", "harvard_oxford", "schaefer400", "lausanne219"):
        with pytest.raises(ConnectomeError, match=r"has to be downloaded once, which failed \(.*unreachable\); connect to the network"):
            Atlas.load(name)

    def unreachable(*_, **__):
        raise requests.ConnectionError("HTTPSConnectionPool(...)\nand more")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    with pytest.raises(ConnectomeError, match=r"atlas 'lausanne219' has to be .* failed \(its server cannot be reached\); connect"):
        Atlas.load("lausanne219")
    path = cammoun(tmp_path, cut=True)
    monkeypatch.setattr(pooch, "retrieve", lambda *_, **__: path)
    with pytest.raises(ConnectomeError, match="is not the atlas of Cammoun et al. .*_info.csv"):
        Atlas.load("lausanne219")
    (tmp_path / "cammoun.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ConnectomeError, match="is not the atlas of Cammoun et al."):
        Atlas.load("lausanne219")

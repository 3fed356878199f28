"""Every tool's files, as the tool writes them: the right matrix, labels, people and measure."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
from brains import brain, text_of, ukb_zip, write_zip
from nilearn.connectome import ConnectivityMeasure, sym_matrix_to_vec

from connectome_gnn.atlas import Atlas
from connectome_gnn.atlases.lists import DESIKAN, LISTS
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.readers import convert_cohort, read_cohort, read_regions
from connectome_gnn.readers.matlab import read_mat

LABELS = tuple(f"ctx-{side}-{name}" for side in ("lh", "rh") for name in DESIKAN[:10])
ATLAS = Atlas(LABELS, ["L"] * 10 + ["R"] * 10, name="twenty")
R = len(LABELS)
IDS = [f"sub-{n:02d}" for n in range(1, 5)]
MATRICES = [brain(LABELS, seed) for seed in range(4)]
EDGES = np.array([to_vectors(matrix) for matrix in MATRICES], np.float32)
PEOPLE = pd.DataFrame({"age": [50.0, 60, 70, 80]}, index=IDS)


def read(source, **given):
    return read_cohort(source, **{"participants": PEOPLE, "measure": "streamline_count", **given})


def is_right(cohort, labels=LABELS, edges=EDGES, ids=IDS):
    np.testing.assert_allclose(cohort.weights, edges, rtol=1e-6)
    assert cohort.atlas.labels == tuple(labels) and list(cohort.ids) == list(ids)
    return True


# --- MRtrix -------------------------------------------------------------------------------------------------------------

HISTORY = "# command_history: tck2connectome tracks.tck nodes.mif connectome.csv  (version=3.0.4)\n"


@pytest.mark.parametrize("delimiter", [" ", ","])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("history", ["", HISTORY])
def test_mrtrix_as_it_writes(tmp_path, delimiter, symmetric, history):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        written = matrix + np.diag(np.arange(R))  # streamlines within a region, unless -zero_diagonal
        name = f"{name}_ses-1_desc-sift_connectome.csv"
        (tmp_path / name).write_text(history + text_of(written if symmetric else np.triu(written), delimiter))
    with pytest.warns(ConnectomeWarning) as caught:
        cohort = read(tmp_path, atlas=ATLAS)
    assert is_right(cohort) and cohort.info["read_from"] == "mrtrix"
    said = " ".join(str(warning.message) for warning in caught)
    assert "76 self-loops" in said and ("had one triangle filled" in said) is not symmetric
    assert ("tck2connectome wrote it" if history else "named as") in cohort.info["because"]


@pytest.mark.parametrize("symmetric", [True, False])
def test_mrtrix_unassigned_streamlines_are_taken_out(tmp_path, symmetric):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        whole = np.zeros((R + 1, R + 1))
        whole[1:, 1:] = matrix
        whole[0] = 7
        if symmetric:
            whole[:, 0] = 7
        (tmp_path / f"{name}_connectome.csv").write_text(text_of(whole if symmetric else np.triu(whole), " "))
    with pytest.warns(ConnectomeWarning) as caught:
        cohort = read(tmp_path, atlas=ATLAS)
    said = " ".join(str(warning.message) for warning in caught)
    assert "a first row and column of unassigned streamlines in 4 of 4 connectomes dropped" in said
    assert is_right(cohort) and (cohort.quality()["unassigned"] > 0).all()
    with pytest.raises(ConnectomeError, match="unassigned streamlines must be taken out first"):
        read(tmp_path, atlas=ATLAS, format="matrices", pattern="{participant_id}_connectome.csv")


FS_DEFAULT = """# comment

0     ???     Unknown                         0   0   0   0

1     L.BSTS  ctx-lh-bankssts                 25  100 40  255
2     L.TH    Left-Thalamus                   0   118 14  255
2     L.TH    Left-Thalamus-Proper            0   118 14  255
3     R.TH    Right-Thalamus                  0   118 14  255
"""


def test_labelconvert_tables(tmp_path):
    (tmp_path / "fs.txt").write_text(FS_DEFAULT)
    atlas = read_regions(tmp_path / "fs.txt")
    assert atlas.labels == ("ctx-lh-bankssts", "Left-Thalamus", "Right-Thalamus") and atlas.hemisphere == ("L", "L", "R")
    (tmp_path / "fs.txt").write_text(FS_DEFAULT.replace("\n2 ", "\n5 "))
    with pytest.raises(ConnectomeError, match="regions are counted from 1, 2 is missing; row i"):
        read_regions(tmp_path / "fs.txt")


@pytest.mark.parametrize(
    ("text", "labels", "network", "x"),
    [
        ("label\themisphere\tnetwork\tx\ty\tz\na_L\tL\tVis\t1\t2\t3\nb_R\tR\tn/a\tn/a\tn/a\tn/a\n", ("a_L", "b_R"), "Vis", 1),
        ('name,x.mni,y.mni,z.mni,lobe,hemi\n"lA",-1.5,2,3,Frontal,L\nrA,1,2,3,Frontal,R\n', ("lA", "rA"), "Frontal", -1.5),
        ("Node_number,rois,x,y,z,RSN\n1,second,1,1,1,Visual\n0,first,2,2,2,Somatomotor\n", ("first", "second"), "Somatomotor", 2),
        ("index\tname\n2\tb\n1\ta\n", ("a", "b"), "n/a", np.nan),
        ("0 ???\n1 aparc_left_bankssts\n2 aparc_left_cuneus\n", ("aparc_left_bankssts", "aparc_left_cuneus"), "n/a", np.nan),
        ("HIP-rh\n1 171 243 85 255\nHIP-lh\n2 171 243 85 255\n", ("HIP-rh", "HIP-lh"), "n/a", np.nan),
        ("one\ntwo\n", ("one", "two"), "n/a", np.nan),
        ("label\none\ntwo\n", ("one", "two"), "n/a", np.nan),
    ],
)
@pytest.mark.parametrize("encoded", [str.encode, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()])
def test_tables_of_regions(tmp_path, text, labels, network, x, encoded):
    (tmp_path / "regions.txt").write_bytes(encoded(text))
    atlas = read_regions(tmp_path / "regions.txt")
    assert atlas.labels == labels and atlas.network[0] == network
    np.testing.assert_equal(atlas.xyz[0, 0], x)


# --- UK Biobank ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("measure", "factor"), [("streamline_count", 1), ("sift2_fbc", 2), ("mean_FA", 3), ("mean_length", 4)])
def test_uk_biobank_archives(tmp_path, packed, measure, factor):
    ids = ["1000012", "1000023", "1000034", "1000045"]
    for eid, matrix in zip(ids, MATRICES, strict=True):
        ukb_zip(tmp_path / "bulk", eid, matrix, packed=packed)
    cohort = read(tmp_path / "bulk", participants=PEOPLE.set_axis(ids), atlas=ATLAS, measure=measure)
    assert is_right(cohort, edges=EDGES * factor, ids=ids)
    assert cohort.info["read_from"] == "ukb" and "named as UK Biobank's bulk archives are" in cohort.info["because"]


def test_uk_biobank_asks_for_what_it_must_know(tmp_path):
    labels = LISTS["ukb_aparc_tian_s1"]
    ukb_zip(tmp_path, "1000012", brain(labels))
    with pytest.raises(ConnectomeError, match="every archive holds streamline_count, sift2_fbc, mean_fa, mean_length; choose by measure"):
        read_cohort(tmp_path, atlas=ATLAS)
    with pytest.raises(
        ConnectomeError, match="84 regions may be MRtrix's fs_default or UK Biobank's aparc with Tian's subcortex, which are not"
    ):
        read_cohort(tmp_path, measure="mean_fa")
    ukb_zip(tmp_path, "1000012", brain(labels), field=31021)
    with pytest.raises(ConnectomeError, match="several fields or visits .31020_2_0, 31021_2_0.; choose by a pattern"):
        read_cohort(tmp_path, atlas=ATLAS, measure="mean_fa")
    one = read_cohort(
        tmp_path,
        atlas="ukb_aparc_tian_s1",
        measure="streamline_count",
        pattern="{participant_id}_31020_2_0.zip",
        participants=pd.DataFrame({"age": [1.0]}, index=["1000012"]),
    )
    np.testing.assert_array_equal(one.weights[0], to_vectors(brain(labels)))


# --- one 84 is not the other --------------------------------------------------------------------------------------------


def test_the_two_lists_of_84_are_as_the_tools_have_them():
    mrtrix, ukb = Atlas.load("mrtrix_fs_default"), Atlas.load("ukb_aparc_tian_s1")
    assert len(mrtrix) == len(ukb) == 84
    assert mrtrix.labels[34] == "Left-Cerebellum-Cortex" and mrtrix.labels[42] == "Right-Thalamus" and mrtrix.labels[83].endswith("Cortex")
    assert mrtrix.labels[49] == "ctx-rh-bankssts" and ukb.labels[34] == "right_bankssts"
    assert ukb.labels[68:] == tuple(f"{n}-{h}" for h in ("rh", "lh") for n in ("HIP", "AMY", "pTHA", "aTHA", "NAc", "GP", "PUT", "CAU"))
    assert ukb.hemisphere[68] == "R" and ukb.hemisphere[76] == "L"


def test_mrtrix_regions_are_refused_for_uk_biobank(tmp_path):
    ukb_zip(tmp_path, "1000012", brain(LISTS["ukb_aparc_tian_s1"]))
    given = {"participants": PEOPLE.iloc[:1].set_axis(["1000012"])}
    with pytest.raises(ConnectomeError, match=r"cortex and Tian's subcortex, atlas 'mrtrix_fs_default' has 'Left-Cerebellum-Cortex'"):
        read(tmp_path, atlas="mrtrix_fs_default", **given)
    labels = LISTS["ukb_aparc_tian_s1"]
    left_first = Atlas([*labels[:68], *labels[76:], *labels[68:76]], name="mine")
    with pytest.raises(ConnectomeError, match="Tian's subcortex lists the right side first, atlas 'mine' begins with 'HIP-lh'"):
        read(tmp_path, atlas=left_first, **given)
    assert read(tmp_path, atlas="ukb_aparc_tian_s1", **given).atlas.labels == labels  # right first, as it came


@pytest.mark.parametrize(("written", "read_as"), [("mrtrix_fs_default", "ukb_aparc_tian_s1"), ("ukb_aparc_tian_s1", "mrtrix_fs_default")])
def test_a_wrong_order_without_labels_is_warned_of(tmp_path, written, read_as):
    for seed, name in enumerate(IDS):
        (tmp_path / f"{name}_connectome.csv").write_text(text_of(brain(LISTS[written], seed), " "))
    right = read(tmp_path, atlas=written)  # without a warning: those are errors here
    assert right.atlas.name == written
    with pytest.warns(ConnectomeWarning, match="rows are probably in another order than the atlas|left and right are probably exchanged"):
        read(tmp_path, atlas=read_as)


def test_the_right_sides_and_the_wrong_regions_are_warned_of(tmp_path):
    labels = list(LISTS["ukb_aparc_tian_s1"])
    for seed, name in enumerate(IDS):
        (tmp_path / f"{name}.csv").write_text(text_of(brain(labels, seed)))
    labels[:34] = np.random.default_rng(0).permutation(labels[:34]).tolist()
    with pytest.warns(ConnectomeWarning, match="no more than to others there .mean rank 0.[4-6].* over 42 pairs; .5 is chance"):
        read(tmp_path, atlas=Atlas(labels, name="mine"))


def test_tian_left_first_is_warned_of(tmp_path):
    labels = LISTS["ukb_aparc_tian_s1"]
    for seed, name in enumerate(IDS):
        (tmp_path / f"{name}.csv").write_text(text_of(brain(labels, seed)))
    left_first = Atlas([*labels[:68], *labels[76:], *labels[68:76]], name="mine")
    with pytest.warns(
        ConnectomeWarning, match="16 of 84 regions are tied to the other side .*'HIP-lh'.* left and right are probably exchanged"
    ):
        read(tmp_path, atlas=left_first)


def test_a_permuted_list_is_caught_by_name(tmp_path):
    order = np.random.default_rng(0).permutation(R)
    frame = pd.DataFrame(MATRICES[0], index=LABELS, columns=LABELS)
    frame.iloc[order, order].to_csv(tmp_path / "sub-01.csv")
    with pytest.raises(ConnectomeError, match="is labelled .* where atlas 'twenty' has .*; the regions are in another order"):
        read(tmp_path, atlas=ATLAS, participants=PEOPLE.iloc[:1])


# --- QSIRecon and QSIPrep -----------------------------------------------------------------------------------------------


def qsirecon(path: Path, matrix: np.ndarray, prefix: str = "atlas_", compress: bool = False) -> None:
    """As qsirecon/interfaces/mrtrix.py merges its matrices."""
    variables = {}
    for atlas, labels in (("Twenty", LABELS), ("Other", LABELS[::-1])):
        variables[f"{prefix}{atlas}_region_ids"] = np.arange(1, R + 1)
        variables[f"{prefix}{atlas}_region_labels"] = np.array(labels, dtype=object)
        for factor, measure in enumerate(("radius2_count", "sift_invnodevol_radius2_count", "radius2_meanlength"), 1):
            variables[f"{prefix}{atlas}_{measure}_connectivity"] = matrix * factor
    variables["command"] = "tck2connectome ..."
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables, long_field_names=True, do_compression=compress)


@pytest.mark.parametrize(("prefix", "compress"), [("atlas_", False), ("atlas_", True), ("", True)])
def test_qsirecon(tmp_path, prefix, compress):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        qsirecon(tmp_path / name / "ses-1" / "dwi" / f"{name}_ses-1_space-T1w_connectivity.mat", matrix, prefix, compress)
    with pytest.raises(ConnectomeError, match=r"several matrices .*Twenty_radius2_count_connectivity.*; say which by key"):
        read(tmp_path)
    cohort = read(tmp_path, key="Twenty_sift_invnodevol_radius2_count", measure=None)
    assert is_right(cohort, edges=2 * EDGES) and cohort.measure == "sift_invnodevol_radius2_count"
    assert cohort.info["read_from"] == "qsirecon" and cohort.atlas.name == "Twenty" and cohort.atlas.hemisphere[0] == "L"
    assert is_right(read(tmp_path, atlas=ATLAS, measure="radius2_count"))
    with pytest.raises(ConnectomeError, match="region 1 is labelled .*; the regions are in another order"):
        read(tmp_path, atlas=ATLAS, key="Other_radius2_count")


# --- Connectome Mapper 3 ------------------------------------------------------------------------------------------------


def cmp_graph(matrix: np.ndarray) -> nx.Graph:
    graph = nx.Graph()
    for n, label in enumerate(LABELS, 1):
        side = "left" if n <= 10 else "right"
        position = {f"dn_position_{axis}": float(n) for axis in "xyz"}
        graph.add_node(
            n, dn_name=label, dn_fsname=label[7:], dn_hemisphere=side, dn_region="cortical", dn_correspondence_id=str(n), **position
        )
    for i, j in zip(*np.triu_indices(R, 1), strict=True):
        if matrix[i, j]:
            value = float(matrix[i, j])
            graph.add_edge(i + 1, j + 1, number_of_fibers=value, fiber_length_mean=value / 2, normalized_fiber_density=value / 100)
    return graph


def cmp_folder(folder: Path, kinds: tuple[str, ...]) -> Path:
    for name, matrix in zip(IDS, MATRICES, strict=True):
        graph = cmp_graph(matrix)
        stem = folder / name / "dwi" / f"{name}_atlas-L2018_res-scale1_conndata-network_connectivity"
        stem.parent.mkdir(parents=True, exist_ok=True)
        if "graphml" in kinds:
            nx.write_graphml(graph, f"{stem}.graphml")
        if "tsv" in kinds:
            nx.to_pandas_edgelist(graph).to_csv(f"{stem}.tsv", sep="\t", index=False)
        if "mat" in kinds:
            keys = ("number_of_fibers", "fiber_length_mean", "normalized_fiber_density")
            edges = {key: nx.to_numpy_array(graph, nodelist=range(1, R + 1), weight=key) for key in keys}
            nodes = {"dn_name": np.array(LABELS, dtype=object), "dn_position": np.zeros((R, 3))}
            scipy.io.savemat(f"{stem}.mat", {"sc": edges, "nodes": nodes}, long_field_names=True)
        if "gpickle" in kinds:
            Path(f"{stem}.gpickle").write_bytes(b"\x80\x04cposix\nsystem\n.")
    return folder


@pytest.mark.parametrize("kinds", [("tsv",), ("graphml",), ("mat",), ("tsv", "graphml", "mat", "gpickle")])
@pytest.mark.parametrize("named", [True, False])
def test_connectome_mapper(tmp_path, kinds, named):
    cmp_folder(tmp_path, kinds)
    given = {"atlas": ATLAS} if named else {}
    if kinds == ("tsv",) and not named:
        with pytest.raises(ConnectomeError, match=r"give the atlas of .*its tables do not name regions; the .graphml files do"):
            read(tmp_path, measure="number_of_fibers", **given)
        return
    cohort = read(tmp_path, measure="number_of_fibers", **given)
    assert is_right(cohort) and cohort.measure == "number_of_fibers" and cohort.info["read_from"] == "cmp"
    assert named or cohort.atlas.hemisphere[0] == "L"
    halved = read(tmp_path, key="fiber_length_mean", measure=None, **given)
    np.testing.assert_allclose(halved.weights, EDGES / 2)
    with pytest.raises(ConnectomeError, match="has several measures, .*'number_of_fibers'.*; say which by measure"):
        read(tmp_path, **given)


def test_a_gpickle_alone_is_refused_with_the_reason(tmp_path):
    cmp_folder(tmp_path, ("gpickle",))
    with pytest.raises(ConnectomeError, match="a gpickle is a Python pickle: reading it can run any program, so it is never opened"):
        read(tmp_path, atlas=ATLAS, measure="number_of_fibers")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "net.gpickle").write_bytes(b"")
    with pytest.raises(ConnectomeError, match="never opened"):
        read(tmp_path / "x" / "net.gpickle")


def test_scales_are_not_mixed(tmp_path):
    cmp_folder(tmp_path, ("tsv",))
    for path in list(tmp_path.rglob("*.tsv")):
        path.with_name(path.name.replace("scale1", "scale2")).write_bytes(path.read_bytes())
    with pytest.raises(
        ConnectomeError, match=r"several atlases or scales .atlas-L2018_res-scale1, atlas-L2018_res-scale2.; choose by a pattern"
    ):
        read(tmp_path, atlas=ATLAS, measure="number_of_fibers")
    pattern = "{participant_id}/dwi/*_res-scale1_*.tsv"
    assert is_right(read(tmp_path, atlas=ATLAS, measure="number_of_fibers", pattern=pattern))


# --- BIDS ---------------------------------------------------------------------------------------------------------------

CORRELATIONS = [np.corrcoef(np.random.default_rng(seed).normal(size=(R, 60)) + MATRICES[seed][:, :60].mean()) for seed in range(4)]


def test_giga_connectome(tmp_path):
    kind = "task-rest_seg-Schaefer2018100Parcels7Networks_meas-PearsonCorrelation_desc-denoiseSimple"
    for name, matrix in zip(IDS, CORRELATIONS, strict=True):
        (tmp_path / name / "func").mkdir(parents=True)
        (tmp_path / name / "func" / f"{name}_{kind}_relmat.tsv").write_text(text_of(matrix, "\t"))
    (tmp_path / "meas-PearsonCorrelation_relmat.json").write_text(json.dumps({"RelationshipMeasure": "Pearson", "Directed": False}))
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.warns(ConnectomeWarning, match="another order|other side"):  # noise has no sides
        cohort = read(tmp_path, atlas=ATLAS, measure=None)
    assert cohort.measure == "pearson" and cohort.signed and cohort.info["read_from"] == "bids"
    np.testing.assert_allclose(cohort.weights, [to_vectors(matrix) for matrix in CORRELATIONS], atol=1e-6)
    with pytest.raises(ConnectomeError, match="give the atlas of"):
        read(tmp_path, measure=None)
    for path in list(tmp_path.rglob("*_relmat.tsv")):
        path.with_name(path.name.replace("Schaefer2018100", "Schaefer2018200")).write_bytes(path.read_bytes())
    with pytest.raises(
        ConnectomeError, match="matrices of several kinds .*Schaefer2018100Parcels7Networks.*; .*Schaefer2018200.*; say which by"
    ):
        read(tmp_path, atlas=ATLAS, measure=None)


def test_bep017_with_node_indices_and_sidecars(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        stem = tmp_path / name / "dwi" / f"{name}_atlas-Twenty_meas-streamlineCount"
        stem.parent.mkdir(parents=True)
        Path(f"{stem}_relmat.dense.tsv").write_text(text_of(matrix, "\t"))
        Path(f"{stem}_relmat.json").write_text(json.dumps({"RelationshipMeasure": "streamline count", "Directed": False}))
    pd.DataFrame({"index": range(R), "name": LABELS}).to_csv(tmp_path / "atlas-Twenty_nodeindices.tsv", sep="\t", index=False)
    PEOPLE.rename_axis("participant_id").to_csv(tmp_path / "participants.tsv", sep="\t")
    cohort = read_cohort(tmp_path)
    assert is_right(cohort) and cohort.measure == "streamline_count" and list(cohort.phenotypes["age"]) == [50, 60, 70, 80]
    Path(f"{stem}_relmat.json").write_text(json.dumps({"Directed": True}))
    for other in tmp_path.rglob("*_relmat.json"):
        other.write_text(json.dumps({"Directed": True}))
    with pytest.raises(ConnectomeError, match="its JSON says Directed"):
        read_cohort(tmp_path)


def test_bids_phenotype_tables_are_joined(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        np.save(tmp_path / f"{name}.npy", matrix)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\n" + "".join(f"{name}\t50\n" for name in IDS))
    folder = tmp_path / "phenotype"
    folder.mkdir()
    (folder / "stai.tsv").write_text("participant_id\ttrait\tage\nsub-03\t31\t51\nsub-01\tn/a\t52\nsub-99\t40\t53\n")
    (folder / "stai.json").write_text(json.dumps({"MeasurementToolMetadata": {"Description": "x"}, "trait": {"Units": "score"}}))
    (folder / "visits.tsv").write_text("participant_id\tsession_id\tmood\nsub-01\t1\t2\nsub-01\t2\t3\n")
    with pytest.warns(ConnectomeWarning, match="visits.tsv lists people more than once, and is left out"):
        cohort = read_cohort(tmp_path, atlas=ATLAS, measure="streamline_count")
    assert list(cohort.phenotypes) == ["age", "trait", "stai_age"] and list(cohort.ids) == IDS
    np.testing.assert_array_equal(cohort.phenotypes["trait"], [np.nan, np.nan, 31, np.nan])
    assert cohort.described["trait"] == {"Group": "stai", "Units": "score"} and cohort.described["stai_age"]["Group"] == "stai"
    (folder / "stai.tsv").write_text("participant_id\ttrait\nsub-03\n")
    with pytest.raises(ConnectomeError, match="stai.tsv line 2 has 1 cells"):
        read_cohort(tmp_path, atlas=ATLAS, measure="streamline_count")


def test_matrices_with_names_around_them_need_no_atlas(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        pd.DataFrame(matrix, index=LABELS, columns=LABELS).rename_axis("Node").to_csv(tmp_path / f"{name}_seg-X_relmat.tsv", sep="\t")
    assert is_right(read(tmp_path))
    with pytest.raises(ConnectomeError, match="column 1 is labelled 'ctx-lh-bankssts' where atlas 'turned' has"):
        read(tmp_path, atlas=Atlas(LABELS[::-1], name="turned"))


# --- The Virtual Brain --------------------------------------------------------------------------------------------------


def test_the_virtual_brain(tmp_path):
    centres = "\n".join(f"{label} {n} {-n} {n / 2}" for n, label in enumerate(LABELS))
    for name, matrix in zip(IDS, MATRICES, strict=True):
        members = {"weights.txt": text_of(matrix, " "), "tract_lengths.txt": text_of(matrix * 3, " "), "centres.txt": centres}
        write_zip(tmp_path / f"{name}.zip", {**members, "hemispheres.txt": "\n".join("0" * 10 + "1" * 10), "areas.txt": "1\n" * R})
    cohort = read(tmp_path)
    assert is_right(cohort) and cohort.info["read_from"] == "tvb" and cohort.atlas.hemisphere == ("L",) * 10 + ("R",) * 10
    np.testing.assert_allclose(cohort.atlas.xyz[3], [3, -3, 1.5])
    lengths = read(tmp_path, key="tract_lengths", measure=None)
    assert is_right(lengths, edges=3 * EDGES) and lengths.measure == "tract_length"
    with pytest.raises(ConnectomeError, match="region 1 is labelled .*another order"):
        read(tmp_path, atlas=Atlas(LABELS[::-1]))
    write_zip(tmp_path / "sub-02.zip", {"in/weights.txt": text_of(MATRICES[1]), "in/centers.txt": centres})
    assert is_right(read(tmp_path, atlas=ATLAS))


# --- nilearn ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(6, 200, 10))  # fellow regions share their signal
    return [np.hstack([s, s]) + rng.normal(size=(200, R)) for s in shared]


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("discard", [False, True])
@pytest.mark.parametrize("kind", ["correlation", "partial correlation"])
def test_nilearn_arrays(tmp_path, series, vectorised, discard, kind):
    measure = ConnectivityMeasure(kind=kind, vectorize=vectorised, discard_diagonal=discard)
    np.save(tmp_path / "fc.npy", measure.fit_transform(series))
    square = ConnectivityMeasure(kind=kind).fit_transform(series)
    people = pd.DataFrame({"age": range(6)}, index=[f"p{n}" for n in range(6)])
    given = {"participants": people, "atlas": ATLAS, "measure": kind}
    if vectorised and discard:  # could as well be an upper triangle: the same numbers in another order
        with pytest.raises(ConnectomeError, match="could be nilearn .* or matrices .*; say which by format"):
            read_cohort(tmp_path / "fc.npy", **given)
        given["format"] = "nilearn"
    cohort = read_cohort(tmp_path / "fc.npy", **given)
    np.testing.assert_allclose(cohort.weights, to_vectors(square), atol=1e-6)
    assert cohort.signed and ("self_loops" not in cohort.info.get("reading", {}) or kind != "correlation")


def test_nilearn_tangent_space_is_read_where_it_can_be_and_refused_where_not(tmp_path, series):
    tangent = ConnectivityMeasure(kind="tangent", vectorize=True)
    values = tangent.fit_transform(series)
    people = pd.DataFrame({"age": range(6)}, index=[f"p{n}" for n in range(6)])
    given = {"participants": people, "atlas": ATLAS, "measure": "tangent", "format": "nilearn"}
    np.save(tmp_path / "t.npy", values)
    with pytest.warns(ConnectomeWarning, match="self-loops"):
        cohort = read_cohort(tmp_path / "t.npy", **given)
    np.testing.assert_allclose(cohort.weights, to_vectors(ConnectivityMeasure(kind="tangent").fit_transform(series)), atol=1e-6)
    np.save(tmp_path / "t.npy", values * 100)
    with pytest.raises(ConnectomeError, match="tangent space or covariances have no such bounds: give correlations"):
        read_cohort(tmp_path / "t.npy", **given)


def test_nilearns_triangle_is_not_ours(series):
    square = ConnectivityMeasure(kind="correlation").fit_transform(series)[0]
    assert not np.allclose(sym_matrix_to_vec(square, discard_diagonal=True), to_vectors(square))


# --- GraphML and lists of edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["ids", "zero", "one", "attribute"])
def test_graphml(tmp_path, names):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        graph = nx.from_numpy_array(matrix)
        order = np.random.default_rng(0).permutation(R).tolist()  # nodes in any order: names place them
        shuffled = nx.Graph()
        shuffled.add_nodes_from(order)
        shuffled.add_edges_from(graph.edges(data=True))
        labels = {"ids": dict(enumerate(LABELS)), "zero": {n: n for n in range(R)}}.get(names, {n: n + 1 for n in range(R)})
        shuffled = nx.relabel_nodes(shuffled, labels)
        if names == "attribute":
            nx.set_node_attributes(shuffled, {n + 1: LABELS[n] for n in range(R)}, "name")
        nx.write_graphml(shuffled, tmp_path / f"{name}.graphml")
    cohort = read(tmp_path, atlas=ATLAS)
    assert is_right(cohort) and cohort.info["read_from"] == "graphml"


def test_graphml_without_names_needs_an_atlas_and_a_foreign_one_is_refused(tmp_path):
    nx.write_graphml(nx.relabel_nodes(nx.from_numpy_array(MATRICES[0]), dict(enumerate(LABELS))), tmp_path / "sub-01.graphml")
    with pytest.raises(ConnectomeError, match="region 'ctx-lh-bankssts' is not in atlas 'aal'"):
        read(tmp_path, atlas=Atlas([f"aal{n}" for n in range(R)], name="aal"), participants=PEOPLE.iloc[:1])
    nx.write_graphml(nx.from_numpy_array(MATRICES[0]), tmp_path / "sub-01.graphml")
    with pytest.raises(ConnectomeError, match="give the atlas"):
        read(tmp_path, participants=PEOPLE.iloc[:1])


@pytest.mark.parametrize("counting", [None, "{}", "n{}"])
def test_graphml_whose_nodes_are_names_needs_no_atlas(tmp_path, counting):
    labels = dict(enumerate(LABELS)) if counting is None else {n: counting.format(n) for n in range(R)}
    nx.write_graphml(nx.relabel_nodes(nx.from_numpy_array(MATRICES[0]), labels), tmp_path / "sub-01.graphml")
    if counting is None:
        cohort = read(tmp_path, participants=PEOPLE.iloc[:1])
        assert cohort.atlas.labels == LABELS
        np.testing.assert_array_equal(cohort.weights, EDGES[:1])
    else:
        with pytest.raises(ConnectomeError, match="give the atlas"):
            read(tmp_path, participants=PEOPLE.iloc[:1])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("delimiter", ["\t", " ", ",", ";"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_lists_of_edges(tmp_path, first, delimiter, header, both):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        rows, columns = np.nonzero(matrix if both else np.triu(matrix))
        lines = [delimiter.join((str(i + first), str(j + first), f"{matrix[i, j]:g}")) for i, j in zip(rows, columns, strict=True)]
        (tmp_path / f"{name}.txt").write_text("\n".join([delimiter.join(("source", "target", "weight"))] * header + lines))
    cohort = read(tmp_path, atlas=ATLAS)
    assert is_right(cohort) and cohort.info["read_from"] == "edges"


def test_counting_that_cannot_be_told_is_asked_for(tmp_path):
    (tmp_path / "sub-01.txt").write_text("1 2 5\n3 4 6\n2 3 7\n5 6 1\n")
    given = {"atlas": ATLAS, "participants": PEOPLE.iloc[:1]}
    with pytest.raises(
        ConnectomeError, match="could be counted from 0 or from 1 .numbers from 1 to 6, 20 regions.; say which by first_index"
    ):
        read(tmp_path, **given)
    assert read(tmp_path, first_index=0, **given).dense()[0][1, 2] == 5
    assert read(tmp_path, first_index=1, **given).dense()[0][0, 1] == 5
    (tmp_path / "sub-01.txt").write_text("0 2 5\n3 4 6\n2 3 7\n5 6 1\n")
    with pytest.raises(ConnectomeError, match="expected regions counted from 1 for an atlas of 20, got numbers from 0"):
        read(tmp_path, first_index=1, **given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 1 5\n0 1 6\n1 2 1\n2 3 4\n", "the edge between 'ctx-lh-bankssts' and 'ctx-lh-caudalanteriorcingulate' is listed twice"),
        ("0 1 5\n1 0 6\n1 2 1\n2 3 4\n", "expected a symmetric matrix"),
        ("0 1 5\n1 99 6\n1 2 1\n2 3 4\n", "got numbers from 0 to 99"),
        ("0 1 5\n1 2 x\n1 3 1\n2 3 4\n", "expected a number in column 1, got 'x'"),
        ("0 1 5\n1 2\n1 3 1\n2 3 4\n", "expected 3 values on every line, line 2 has 2"),
        ("ctx-lh-bankssts nowhere 5\nctx-lh-bankssts a 5\nb c 5\nd e 5\n", "is not in atlas 'twenty'"),
    ],
)
def test_bad_lists_of_edges(tmp_path, text, said):
    (tmp_path / "sub-01.txt").write_text(text)
    with pytest.raises(ConnectomeError) as error:
        read(tmp_path, atlas=ATLAS, participants=PEOPLE.iloc[:1], format="edges")
    assert said in str(error.value) and "sub-01.txt" in str(error.value)


# --- plain matrices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v5", "v7", "v7.3", "sparse", "struct", "npz"])
@pytest.mark.parametrize("labelled", [True, False])
def test_matlab_and_npz_files(tmp_path, form, labelled):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        path = tmp_path / f"{name}.{'npz' if form == 'npz' else 'mat'}"
        if form == "npz":
            np.savez_compressed(path, W=matrix, coords=np.zeros((R, 3)), **({"labels": np.array(LABELS)} if labelled else {}))
        elif form == "v7.3":
            write_v73(path, matrix, LABELS if labelled else None)
        else:
            value = {"sparse": scipy.sparse.csc_array(matrix), "struct": {"SC": matrix}}.get(form, matrix)
            extra = {"labels": np.array(LABELS, dtype=object)} if labelled else {}
            scipy.io.savemat(path, {"conn": value, "age": 7.0, "text": "hello", **extra}, do_compression=form == "v7")
    cohort = read(tmp_path, atlas=ATLAS)
    assert is_right(cohort) and cohort.info["read_from"] == "matrices"
    turned = Atlas(LABELS[::-1], name="turned")
    if labelled:
        assert is_right(read(tmp_path)) or form in ("struct",)
        with pytest.raises(ConnectomeError, match="region 1 is labelled .* where atlas 'turned' has .*; the regions are in another order"):
            read(tmp_path, atlas=turned)
    else:
        with pytest.raises(ConnectomeError, match="give the atlas"):
            read(tmp_path)


def write_v73(path: Path, matrix: np.ndarray, labels=None) -> None:
    """As MATLAB's save -v7.3 lays it out: axes turned, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("conn", data=matrix.T, compression="gzip")
        data.attrs["MATLAB_class"] = np.bytes_("double")
        if labels is not None:
            references = file.create_group("#refs#")
            cells = file.create_dataset("labels", (1, len(labels)), dtype=h5py.ref_dtype)
            cells.attrs["MATLAB_class"] = np.bytes_("cell")
            for n, label in enumerate(labels):
                item = references.create_dataset(str(n), data=np.array([[ord(c)] for c in label], np.uint16))
                item.attrs["MATLAB_class"] = np.bytes_("char")
                cells[0, n] = item.ref
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_a_stack_of_everybody_in_one_file(tmp_path, suffix):
    stack = np.array(MATRICES)
    if suffix == ".mat":
        scipy.io.savemat(tmp_path / "all.mat", {"SC": np.moveaxis(stack, 0, -1), "other": np.zeros(3)})
    else:
        np.savez(tmp_path / "all.npz", SC=stack)
    assert is_right(read(tmp_path / f"all{suffix}", atlas=ATLAS))
    assert is_right(read(tmp_path, atlas=ATLAS))  # and the folder, with nothing else in it
    with pytest.raises(ConnectomeError, match="holds 4 connectomes, the participants table 3 people"):
        read(tmp_path / f"all{suffix}", atlas=ATLAS, participants=PEOPLE.iloc[:3])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.uint16, np.int64, bool])
def test_matlab_variables_are_those_that_scipy_reads(tmp_path, dtype, compress):
    written = {
        "a": np.arange(12).reshape(3, 4).astype(dtype),
        "three": np.arange(24).reshape(2, 3, 4).astype(dtype),
        "rows": np.array(["ab", "cde"]),
        "sparse": scipy.sparse.csc_array(np.triu(np.arange(12).reshape(3, 4))),
        "outer": {"inner": {"b": np.arange(3.0)}},
        "cells": np.array(["x", "yy"], dtype=object),
        "empty": np.zeros((0, 0)),
    }
    scipy.io.savemat(tmp_path / "x.mat", written, do_compression=compress)
    theirs, ours = scipy.io.loadmat(tmp_path / "x.mat"), read_mat(tmp_path / "x.mat")
    for name in ("a", "three", "empty"):
        np.testing.assert_array_equal(ours[name], theirs[name])
        assert ours[name].dtype == (np.uint8 if dtype is bool and name != "empty" else theirs[name].dtype)
    np.testing.assert_array_equal(ours["sparse"], theirs["sparse"].toarray())
    assert ours["rows"] == ["ab", "cde"] and ours["cells"] == [["x"], ["yy"]]
    np.testing.assert_array_equal(ours["outer"]["inner"]["b"], [[0, 1, 2]])


def test_several_variables_are_asked_about(tmp_path):
    scipy.io.savemat(tmp_path / "sub-01.mat", {"SC": MATRICES[0], "FC": MATRICES[1]})
    given = {"atlas": ATLAS, "participants": PEOPLE.iloc[:1]}
    with pytest.raises(ConnectomeError, match="holds several matrices, 'SC' 20 x 20, 'FC' 20 x 20; say which by key"):
        read(tmp_path, **given)
    np.testing.assert_array_equal(read(tmp_path, key="FC", **given).weights, EDGES[1:2])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.encode("utf-16"),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", ";").replace(".", ",").encode(),  # a European spreadsheet
        lambda text: gzip.compress(text.encode()),
    ],
)
def test_habits_of_spreadsheets(tmp_path, spoil):
    data = spoil(text_of(MATRICES[0] / 8, ",", "%.3f"))
    (tmp_path / ("sub-01.csv.gz" if data[:2] == b"\x1f\x8b" else "sub-01.csv")).write_bytes(data)
    cohort = read(tmp_path, atlas=ATLAS, participants=PEOPLE.iloc[:1])
    np.testing.assert_allclose(cohort.weights, EDGES[:1] / 8)


def test_latin_1_names_are_names(tmp_path):
    labels = ("Île", "Präcuneus", "c")
    lines = ["," + ",".join(labels)] + [f"{label},{row}" for label, row in zip(labels, ("0,1,2", "1,0,3", "2,3,0"), strict=True)]
    (tmp_path / "sub-01.csv").write_bytes("\n".join(lines).encode("latin-1"))
    cohort = read(tmp_path, atlas=Atlas(labels), participants=PEOPLE.iloc[:1])
    np.testing.assert_array_equal(cohort.weights, [[1, 2, 3]])


# --- which format, whose file -------------------------------------------------------------------------------------------


def test_two_formats_that_fit_are_both_named(tmp_path):
    (tmp_path / "sub-01.txt").write_text("0 1 2\n1 0 3\n2 3 0\n")  # a matrix of three regions, or three edges
    given = {"atlas": Atlas(["a", "b", "c"]), "participants": PEOPLE.iloc[:1]}
    with pytest.raises(ConnectomeError, match=r"could be edges \(.*\) or matrices \(.*\); say which by format \(--format\)"):
        read(tmp_path, **given)
    np.testing.assert_array_equal(read(tmp_path, format="matrices", **given).weights, [[1, 2, 3]])
    ukb_zip(tmp_path, "1000012", MATRICES[0])
    (tmp_path / "sub-01.txt").write_text(text_of(MATRICES[0], " "))
    with pytest.raises(ConnectomeError, match=r"could be ukb \(.*\) or matrices \(.*\); say which"):
        read(tmp_path, atlas=ATLAS)


def test_what_is_beside_does_not_matter(tmp_path):
    cmp_folder(tmp_path, ("tsv",))
    (tmp_path / "README.md").write_text("# hello")
    (tmp_path / "README.txt").write_text("1 2 3\n4 5 6\n")
    (tmp_path / "notes.txt").write_text("not a matrix\nat all\n")
    (tmp_path / "dataset_description.json").write_text("{}")
    assert read(tmp_path, atlas=ATLAS, measure="number_of_fibers").info["read_from"] == "cmp"


@pytest.mark.parametrize("pattern", ["*/dwi/*_connectome.csv", "**/*_connectome.csv"])
def test_a_glob_names_people_by_what_differs(tmp_path, pattern):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        path = tmp_path / name / "dwi" / f"{name}_desc-x_connectome.csv"
        path.parent.mkdir(parents=True)
        path.write_text(text_of(matrix, " "))
    assert is_right(read(str(tmp_path / pattern), atlas=ATLAS))
    with pytest.raises(FileNotFoundError, match="no file fits"):
        read(str(tmp_path / "*" / "nothing*.csv"), atlas=ATLAS)


def test_a_glob_of_equal_names_goes_by_the_folder(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        (tmp_path / name / "out").mkdir(parents=True)
        (tmp_path / name / "out" / "connectome.csv").write_text(text_of(matrix, " "))
    assert is_right(read(str(tmp_path / "*" / "out" / "connectome.csv"), atlas=ATLAS))
    assert is_right(read(str(tmp_path / "*" / "out" / "connectome.csv"), atlas=ATLAS, pattern="{participant_id}/out/connectome.csv"))


def test_ids_that_differ_by_sub_and_zeros(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        np.save(tmp_path / f"{int(name[4:])}.npy", matrix)
    with pytest.warns(ConnectomeWarning, match="4 people are named otherwise in the participants table than in .* .'1' is 'sub-01'"):
        assert is_right(read(tmp_path, atlas=ATLAS))
    np.save(tmp_path / "001.npy", MATRICES[0])  # now 1 and 001 could both be sub-01
    with pytest.raises(ConnectomeError, match="1 of 4 participants .* have no connectome .*'sub-01'"):
        read(tmp_path, atlas=ATLAS)


def test_many_people_over_several_processes(tmp_path):
    rng = np.random.default_rng(0)
    ids = [f"p{n:03d}" for n in range(300)]
    matrices = rng.poisson(3, (300, 6, 6)) + 1.0
    matrices = matrices + matrices.transpose(0, 2, 1)
    for name, matrix in zip(ids, matrices, strict=True):
        np.fill_diagonal(matrix, 0)
        np.save(tmp_path / f"{name}.npy", matrix)
    people = pd.DataFrame({"age": np.arange(300.0)}, index=ids)
    atlas = Atlas([f"r{n}" for n in range(6)])
    given = {"participants": people, "atlas": atlas, "measure": "count"}
    one, two = read_cohort(tmp_path, workers=1, **given), read_cohort(tmp_path, workers=2, **given)
    np.testing.assert_array_equal(one.weights, to_vectors(matrices))
    np.testing.assert_array_equal(one.weights, two.weights)
    np.save(tmp_path / "p222.npy", matrices[0, :3])
    with pytest.raises(ConnectomeError, match="p222.npy: expected a matrix of 6 x 6"):
        read_cohort(tmp_path, workers=2, **given)
    with pytest.warns(ConnectomeWarning, match="1 left out: 'p222'"):
        converted = convert_cohort(tmp_path, tmp_path.parent / "out", workers=2, strict=False, **given)
    np.testing.assert_array_equal(converted.weights, np.delete(to_vectors(matrices), 222, 0))
    report = converted.quality()
    assert len(report) == 300 and report["left_out"].iloc[-1].endswith("got shape (3, 6)") and report["flagged"].iloc[-1]

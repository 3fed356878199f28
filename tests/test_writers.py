"""Writers: what is written in any format is read again as it was, to the last bit."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from tiny import DESCRIBED, make_atlas, make_cohort, make_phenotypes, make_samples
from torch_geometric.data import OnDiskDataset
from torch_geometric.loader import DataLoader

import connectome_gnn as cg
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.graph_dataset import GraphDataset
from connectome_gnn.networks import networks_cohort
from connectome_gnn.readers import convert_cohort, read_cohort
from connectome_gnn.writers import FORMATS, write_cohort
from connectome_gnn.writers.names import file_names, name_of

EVERY = ["native", *FORMATS]
READING = ("read_from", "because", "notes", "left_out", "reading")
HARD = np.array(
    [0, 1e-45, 1.1754944e-38, 0.1, 1 / 3, 1, 16777217, 123456789, 3.4028235e38, 2.7182817, 1e-7, 9.8765432e20, 0, 5, 7], np.float32
)


def edge_cases(n_people: int = 6) -> Cohort:
    """Weights over all of float32's range, and a person without any edge."""
    generator = np.random.default_rng(0)
    weights = np.stack([generator.permutation(HARD) for _ in range(n_people)])
    weights[2] = generator.lognormal(size=15)
    weights[3] = 0
    return make_cohort(n_people, weights=weights)


def odd_names() -> Cohort:
    """People and regions whose names no tool expects."""
    ids = ["007", "7", "a/b", "..", "Zürich 1", "A", "a", ".hidden", "100%", "x_sample-0", "1.0", 'q"u;o,t']
    table = make_phenotypes(len(ids)).set_axis(ids, axis=0).assign(notes=['say "hi"', "a\tb", "n°5", *["plain"] * 9])
    labels = ["ctx,lh", '"quoted"', "#hash", "3", "Région é", "a'b"]
    atlas = make_atlas()
    return make_cohort(phenotypes=table, atlas=Atlas(labels, atlas.hemisphere, atlas.network, atlas.xyz, "odd & <atlas>"))


COHORTS = {
    "counts": make_cohort,
    "correlations": lambda: make_cohort(signed=True),
    "all of float32": edge_cases,
    "samples": make_samples,
    "odd names": odd_names,
    "nothing known": lambda: make_cohort(
        2, phenotypes=pd.DataFrame(index=["a", "b"]), described={}, atlas=Atlas([f"V{n}" for n in range(6)])
    ),
    "expected": lambda: make_cohort(kind="expected", measure="sift2_fbc"),
    "tangent": lambda: make_cohort(signed=True, measure="tangent"),
    "normalised": lambda: make_cohort().normalise("total").threshold(density=0.5),
    "two regions": lambda: make_cohort(3, 2, weights=np.array([[1], [0.5], [2]], np.float32), phenotypes=make_phenotypes(3)),
    "half precision": lambda: make_cohort(weights=make_cohort(signed=True).weights.astype(np.float16), signed=True, measure="pearson"),
}


def check_same(read: Cohort, cohort: Cohort) -> None:
    np.testing.assert_array_equal(read.weights, np.asarray(cohort.weights, np.float32))
    assert read.weights.dtype == np.float32
    assert read.atlas == cohort.atlas and read.atlas.name == cohort.atlas.name
    assert (read.measure, read.signed, read.name, read.kind) == (cohort.measure, cohort.signed, cohort.name, cohort.kind)
    pd.testing.assert_frame_equal(read.phenotypes, cohort.phenotypes, check_dtype=False, check_column_type=False, check_exact=True)
    assert {key: value for key, value in read.described.items() if value} == cohort.described
    assert {key: value for key, value in read.info.items() if key not in READING} == cohort.info


def write_quietly(cohort: Cohort, path: Path, format: str, **options) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConnectomeWarning)
        return write_cohort(cohort, path, format, **options)


def read_quietly(path: Path, **options) -> Cohort:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no edge at all|.*have no edge at all", ConnectomeWarning)
        return read_cohort(path, **options)


@pytest.mark.parametrize("format", EVERY)
@pytest.mark.parametrize("name", COHORTS)
def test_what_is_written_is_read_again(tmp_path, name, format):
    cohort = COHORTS[name]()
    native = tmp_path / "native"
    expected = Cohort.load(cohort.save(native))  # a table's types are those of its text
    path = write_quietly(cohort, tmp_path / "out", format)
    assert path == tmp_path / "out"
    check_same(read_quietly(path), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_straight_to_a_native_folder(tmp_path, format):
    cohort = make_samples()
    write_quietly(cohort, tmp_path / "out", format)
    converted = convert_cohort(tmp_path / "out", tmp_path / "native")
    check_same(converted, Cohort.load(cohort.save(tmp_path / "first")))
    assert converted.info["because"] == "as its cohort.json says"


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_appears_complete_or_not_at_all(tmp_path, format, monkeypatch):
    cohort = make_cohort()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConnectomeError, match="out exists; choose another folder"):
        write_cohort(cohort, tmp_path / "out", format)
    write_cohort(cohort, tmp_path / "out", format, force=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    reads = []

    def fail(rows):
        reads.append(rows)
        if len(reads) > 1:
            raise OSError("disk full")
        return Cohort.read(cohort, rows)

    monkeypatch.setattr(cohort, "read", fail)
    monkeypatch.setattr("connectome_gnn.writers.text.BATCH", 5)
    monkeypatch.setattr("connectome_gnn.writers.arrays.BATCH", 5)
    monkeypatch.setattr("connectome_gnn.writers.graphml.BATCH", 5)
    with pytest.raises(OSError, match="disk full"):
        write_cohort(cohort, tmp_path / "half", format)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_people(tmp_path, format):
    n_regions, n_people = 32, 300
    weights = np.random.default_rng(0).lognormal(size=(n_people, n_regions * (n_regions - 1) // 2)).astype(np.float32)
    table = pd.DataFrame({"age": np.arange(n_people)}, index=[f"sub-{n}" for n in range(n_people)])
    whole = make_cohort(weights=weights, atlas=make_atlas(n_regions), phenotypes=table, described={})
    peaks = []
    for people in (140, n_people):
        part = whole.take(slice(people))
        write_cohort(part.take(slice(2)), tmp_path / f"first{people}", format)  # what is imported and cached once
        tracemalloc.start()
        write_cohort(part, tmp_path / str(people), format)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.5 * weights[140:].nbytes, (peaks, weights.nbytes)
    if format == "csv":
        np.testing.assert_array_equal(read_cohort(tmp_path / str(n_people), workers=1).weights, weights)


def test_formats_that_do_not_exist_are_named(cohort, tmp_path):
    with pytest.raises(
        ConnectomeError, match="among 'native', 'csv', 'bids', 'graphml', 'nilearn', 'nilearn_vectors', 'pyg', got 'gpickle'"
    ):
        write_cohort(cohort, tmp_path / "out", "gpickle")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConnectomeError, match="more than once"):
        write_cohort(cohort.take([0, 0]), tmp_path / "out", "csv")
    assert cg.write_cohort is write_cohort


# --- what other programs see -----------------------------------------------------------------------------------------------


def test_csv_as_pandas_reads_it(cohort, tmp_path):
    write_cohort(cohort, tmp_path / "out", "csv")
    table = pd.read_csv(tmp_path / "out" / "sub-003.csv", index_col=0)
    assert tuple(table.columns) == tuple(table.index) == cohort.atlas.labels
    np.testing.assert_array_equal(table.to_numpy(np.float32), cohort.dense()[3])


def test_bids_as_the_standard_says(tmp_path):
    cohort = make_cohort(info={"licence": "CC0"})
    write_cohort(cohort, tmp_path / "out", "bids")
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert (about["Name"], about["DatasetType"], about["License"], about["GeneratedBy"][0]["Name"]) == (
        "tiny",
        "derivative",
        "CC0",
        "connectome_gnn",
    )
    assert about["BIDSVersion"].startswith("1.")
    path = tmp_path / "out" / "sub-003" / "dwi" / "sub-003_atlas-halfcircles_meas-StreamlineCount_relmat.dense.tsv"
    np.testing.assert_array_equal(np.loadtxt(path, delimiter="\t").astype(np.float32), cohort.dense()[3])
    said = json.loads((tmp_path / "out" / "atlas-halfcircles_meas-StreamlineCount_relmat.json").read_text())
    assert (said["RelationshipMeasure"], said["Directed"], said["NonNegative"]) == ("streamline_count", False, True)
    nodes = pd.read_csv(tmp_path / "out" / "atlas-halfcircles_nodeindices.tsv", sep="\t")
    assert nodes["index"].tolist() == [1, 2, 3, 4, 5, 6] and tuple(nodes["label"]) == cohort.atlas.labels
    (tmp_path / "out" / "cohort.json").unlink()  # as any other BIDS dataset
    (tmp_path / "out" / "atlas.tsv").unlink()
    plain = read_cohort(tmp_path / "out")
    np.testing.assert_array_equal(plain.weights, cohort.weights)
    assert (plain.measure, plain.atlas.labels, plain.info["read_from"]) == ("streamline_count", cohort.atlas.labels, "bids")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["sub-1", "sub-A"], ["sub-1", "sub-A"]),
        (["1", "sub-2"], ["sub-1", "sub-2"]),
        (["a_b", "a-c"], ["sub-ab", "sub-ac"]),
        (["a_b", "ab"], ["sub-1", "sub-2"]),
        (["Ab", "aB"], ["sub-1", "sub-2"]),
        (["é", "b"], ["sub-1", "sub-2"]),
    ],
)
def test_bids_names_of_people(tmp_path, ids, expected):
    cohort = make_cohort(2, phenotypes=make_phenotypes(2).set_axis(ids, axis=0))
    write_quietly(cohort, tmp_path / "out", "bids")
    assert sorted(path.name for path in (tmp_path / "out").glob("sub-*")) == sorted(expected)
    table = pd.read_csv(tmp_path / "out" / "participants.tsv", sep="\t")
    assert table["participant_id"].tolist() == expected
    assert ("original_id" in table) == (ids != expected)


def test_what_bids_cannot_carry_is_said_once(tmp_path):
    renamed = make_cohort(2, phenotypes=make_phenotypes(2).set_axis(["one 1", "sub-2"], axis=0))
    with pytest.warns(
        ConnectomeWarning, match=r"1 ids \('one 1'\) were written otherwise, and stand in the column 'original_id'"
    ) as caught:
        write_cohort(renamed, tmp_path / "renamed", "bids")
    assert len(caught) == 1
    with pytest.warns(ConnectomeWarning, match="BIDS lists a person once; participants.tsv keeps a row a sample") as caught:
        write_cohort(make_samples(), tmp_path / "samples", "bids")
    assert len(caught) == 1
    assert len(list((tmp_path / "samples" / "sub-000" / "dwi").glob("*_run-[123]_*"))) == 3


def test_graphml_as_networkx_reads_it(tmp_path):
    cohort = make_cohort(signed=True, phenotypes=make_phenotypes().assign(note="a\x01<b>&"))
    write_cohort(cohort, tmp_path / "out", "graphml")
    graph = nx.read_graphml(tmp_path / "out" / "sub-005.graphml")
    assert not graph.is_directed()
    assert [region["label"] for _, region in graph.nodes(data=True)] == list(cohort.atlas.labels)
    np.testing.assert_array_equal(nx.to_numpy_array(graph, dtype=np.float32), cohort.dense()[5])
    assert graph.graph["participant_id"] == "sub-005" and graph.graph["measure"] == "pearson" and graph.graph["note"] == "a <b>&"
    assert graph.graph["age"] == cohort.phenotypes["age"].iloc[5]
    assert graph.nodes["0"]["x"] == cohort.atlas.xyz[0, 0] and "x" not in graph.nodes["5"]


def test_arrays_as_nilearn_takes_them(tmp_path):
    connectome = pytest.importorskip("nilearn.connectome")
    cohort = make_cohort(signed=True)
    for format in ("nilearn", "nilearn_vectors"):
        write_cohort(cohort, tmp_path / format, format)
    matrices = np.load(tmp_path / "nilearn" / "matrices.npy")
    vectors = np.load(tmp_path / "nilearn_vectors" / "vectors.npy")
    np.testing.assert_array_equal(matrices - np.eye(6, dtype=np.float32), cohort.dense())
    np.testing.assert_array_equal(vectors, connectome.sym_matrix_to_vec(matrices, discard_diagonal=True))
    back = connectome.vec_to_sym_matrix(vectors, diagonal=np.full((12, 6), np.sqrt(0.5)))  # nilearn divides diagonals by that
    np.testing.assert_allclose(back, matrices, rtol=1e-7)
    write_cohort(make_cohort(), tmp_path / "counts", "nilearn")
    np.testing.assert_array_equal(np.load(tmp_path / "counts" / "matrices.npy"), make_cohort().dense())


def test_a_dataset_for_pytorch_geometric(tmp_path):
    cohort = make_samples()
    write_cohort(cohort, tmp_path / "out", "pyg")
    dataset = GraphDataset(tmp_path / "out")
    assert isinstance(dataset, OnDiskDataset) and len(dataset) == 12
    theirs = Cohort.load(cohort.save(tmp_path / "native")).graphs()
    for mine, expected in zip(dataset, theirs, strict=True):
        for field in ("x", "edge_index", "edge_attr", "phenotypes", "identifiers"):
            assert torch.equal(torch.nan_to_num(mine[field], nan=-9), torch.nan_to_num(expected[field], nan=-9)), field
            assert mine[field].dtype == expected[field].dtype
        assert mine.participant_id == expected.participant_id
    check_same(Cohort.from_graphs(list(dataset)), Cohort.load(tmp_path / "native"))
    batches = list(DataLoader(dataset, batch_size=5, shuffle=True))
    assert [batch.num_graphs for batch in batches] == [5, 5, 2]
    assert batches[0].phenotypes.shape == (5, 5)
    doubled = GraphDataset(tmp_path / "out", transform=lambda graph: graph.update({"edge_attr": 2 * graph.edge_attr}))
    assert torch.equal(doubled[3].edge_attr, 2 * dataset[3].edge_attr)
    assert b"pickle" not in (tmp_path / "out" / "processed" / "sqlite.db").read_bytes()


def test_damaged_datasets_are_named(tmp_path):
    cohort = make_cohort()
    path = write_cohort(cohort, tmp_path / "out", "pyg")
    table = (path / "participants.tsv").read_text().splitlines(keepends=True)
    (path / "participants.tsv").write_text("".join(table[:-1]))
    with pytest.raises(ConnectomeError, match=r"processed/sqlite.db holds 12 graphs, participants.tsv 11 rows"):
        read_cohort(path)
    (path / "participants.tsv").write_text("".join(table))
    (path / "processed" / "sqlite.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ConnectomeError, match="cannot be read .* it is damaged: write it again"):
        read_cohort(path)
    (path / "processed" / "sqlite.db").unlink()
    with pytest.raises(FileNotFoundError, match=r"no processed/sqlite.db in .*; expected a folder that write_cohort wrote"):
        GraphDataset(path)
    (path / "processed" / "sqlite.db").touch()
    for edges in ([[0], [99]], [[0], [0]], [[0.5], [1]], [[0, 1, 2]]):
        np.save(path / "processed" / "edge_index.npy", np.array(edges))
        with pytest.raises(ConnectomeError, match=r"expected edges \(2, M\) between the 6 regions"):
            GraphDataset(path)


@pytest.mark.parametrize("format", FORMATS)
def test_written_over_a_native_folder_its_connectomes_are_not_taken_for_the_new_ones(cohort, tmp_path, format):
    make_cohort(len(cohort), cohort.n_regions, seed=1, atlas=cohort.atlas).save(tmp_path / "out")
    write_quietly(cohort, tmp_path / "out", format, force=True)
    np.testing.assert_array_equal(read_cohort(tmp_path / "out").weights, cohort.weights)
    with pytest.raises(ConnectomeError, match=f"was written as '{format}', not as a native folder; read it with read_cohort"):
        Cohort.load(tmp_path / "out")


# --- reading them otherwise ------------------------------------------------------------------------------------------------


def test_what_the_user_says_goes_before_what_the_folder_says(cohort, tmp_path):
    path = write_cohort(cohort, tmp_path / "out", "csv")
    read = read_cohort(path, measure="sift2_fbc", name="mine", participants=make_phenotypes()[["age"]])
    assert (read.measure, read.name, list(read.phenotypes)) == ("sift2_fbc", "mine", ["age"])
    assert read_cohort(path, format="matrices").info["because"] == "as its cohort.json says"
    order = [5, 4, 3, 2, 1, 0]
    with pytest.raises(ConnectomeError, match="in another order"):
        read_cohort(path, atlas=cohort.select([cohort.atlas.labels[row] for row in order]).atlas)
    (path / "sub-004.csv").unlink()
    with pytest.warns(ConnectomeWarning, match="left out"):
        read = read_cohort(path, strict=False)
    assert len(read) == 11
    with pytest.raises(ConnectomeError, match=r"1 of 12 participants .* have no connectome .*'sub-004'"):
        read_cohort(path)
    (path / "sub-999.csv").write_text((path / "sub-005.csv").read_text())
    with pytest.raises(ConnectomeError, match=r"1 of 12 connectomes .* have no row .*'sub-999'"):
        read_cohort(path)
    record = json.loads((path / "cohort.json").read_text())
    for wrong in ("runes", ["csv"], {}):
        (path / "cohort.json").write_text(json.dumps({**record, "written_as": wrong}))
        with pytest.raises(ConnectomeError, match="says 'written_as' .*; expected one of csv, bids"):
            read_cohort(path)


def test_rows_of_one_person_are_read_from_any_files(tmp_path):
    """Files named by person and sample, as any program may write them, beside a table with a column sample."""
    cohort = make_samples(2, 2)
    folder = tmp_path / "plain"
    folder.mkdir()
    for (person, sample), matrix in zip(cohort.phenotypes["sample"].items(), cohort.dense(), strict=True):
        np.save(folder / f"{person}_sample-{sample}.npy", matrix)
    read = read_cohort(folder, participants=(cohort.phenotypes, DESCRIBED), atlas=cohort.atlas, measure="streamline_count")
    np.testing.assert_array_equal(read.weights, cohort.weights)
    assert read.phenotypes["sample"].tolist() == [0, 1, 0, 1]


def test_names_of_files_and_back():
    names = ["a", "A", "a/b", "a%2Fb", "..", ".x", "x.", "e\u0301", "\u00e9", "ÄÖ", "äö", "con:1", "sub 01", " pad ", "\n", "日本"]
    files = file_names(names)
    assert [name_of(file) for file in files] == names
    assert len({file.casefold() for file in files}) == len(files)
    assert not any(mark in file for file in files for mark in '/\\:*?"<>|\n')
    assert file_names(["sub-001", "Sub 2"]) == ["sub-001", "Sub 2"]
    with pytest.raises(ConnectomeError, match=r"'xxx.*'\.\.\. is too long for the name of a file"):
        file_names(["x" * 300])


# --- NetworkX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["counts", "correlations", "all of float32", "samples", "odd names", "nothing known", "expected"])
def test_networkx_and_back(name):
    cohort = COHORTS[name]()
    graphs = list(cohort.to_networkx())
    assert all(isinstance(graph, nx.Graph) and graph.number_of_nodes() == cohort.n_regions for graph in graphs)
    for like in (None, cohort):
        back = networks_cohort(iter(graphs), like)
        np.testing.assert_array_equal(back.weights, np.asarray(cohort.weights, np.float32))
        assert back.atlas == cohort.atlas and (back.measure, back.signed, back.kind) == (cohort.measure, cohort.signed, cohort.kind)
        pd.testing.assert_frame_equal(back.phenotypes, cohort.phenotypes, check_dtype=False, check_column_type=False)


def test_networkx_graphs_that_do_not_fit_are_named(cohort):
    graphs = list(cohort.to_networkx())[:2]
    shuffled = nx.Graph(**graphs[1].graph)
    shuffled.add_nodes_from(reversed(list(graphs[1].nodes(data=True))))
    shuffled.add_edges_from(graphs[1].edges(data=True))
    np.testing.assert_array_equal(networks_cohort([graphs[0], shuffled]).weights, cohort.weights[:2])
    edge = next(iter(graphs[1].edges))

    def broken(change):
        graph = graphs[1].copy()
        return change(graph) or graph

    cases = (
        (lambda g: g.add_node("Pons"), r"graph 1 \('sub-001'\) is not on the regions of atlas 'half circles': 1 extra \('Pons'\)"),
        (lambda g: g.remove_node(edge[0]), "1 missing"),
        (lambda g: g.add_edge(edge[0], edge[0], weight=1), "has a self-loop"),
        (lambda g: g.edges[edge].clear(), "has no 'weight'"),
        (lambda g: g.to_directed(), "is directed or a multigraph"),
        (lambda g: g.graph.pop("participant_id") and None, r"graph 1 has no graph.graph\['participant_id'\]"),
        (lambda g: g.graph.update(measure="mean_fa"), "holds mean_fa, expected streamline_count"),
        (lambda g: g.edges[edge].update(weight=-1), "finite weights of 0 or more"),
    )
    for change, message in cases:
        with pytest.raises(ConnectomeError, match=message):
            networks_cohort([graphs[0], broken(change)])
    with pytest.raises(ConnectomeError, match="at least one graph, got none"):
        networks_cohort([])
    graphs[0].graph.pop("measure")
    with pytest.raises(ConnectomeError, match=r"has no graph.graph\['measure'\]"):
        networks_cohort(graphs)

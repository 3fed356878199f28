"""Open cohorts from a server of this machine: the rows that are known, and a sentence for whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import connectome_gnn as cg
from connectome_gnn import datasets
from connectome_gnn.atlas import Atlas
from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort
from connectome_gnn.datasets import COHORTS, fetch
from connectome_gnn.datasets.download import Downloads, RawFile
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.readers.homotopy import homotopic_pairs

PEOPLE = {"ucl_parkinson": ["VIPD_010", "VIPD_007"], "lemon": ["sub-032302", "sub-032301"], "corr_kki": ["SWU4_0025629"]}


class Handler(SimpleHTTPRequestHandler):
    """Serves files; those whose names are in ``cut`` break off in the middle."""

    cut: set[str] = set()
    asked: list[str] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        if path.name not in self.cut:
            super().do_GET()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def serve(monkeypatch):
    """Serves a folder, which CONNECTOME_GNN_DATA names."""
    servers = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("CONNECTOME_GNN_DATA", f"http://127.0.0.1:{server.server_port}")
        return server

    Handler.cut, Handler.asked = set(), []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def said(monkeypatch):
    monkeypatch.setattr(datasets, "_said", set())


@pytest.fixture
def mirror(tmp_path):
    """The raw files of a made-up cohort in abide's form: three people, a table."""
    raw = tmp_path / "mirror" / "abide" / "raw"
    raw.mkdir(parents=True)
    table = ["Dataset\tImaging site\tSubject identifier\tAge\tSex\tCohort"]
    rng = np.random.default_rng(0)
    rows, columns = edge_indices(200)
    matrices = to_matrices(np.tanh(rng.normal(size=(3, len(rows))) / 3))
    left, right = homotopic_pairs(Atlas.load("schaefer200")).T
    matrices[:, left, right] = matrices[:, right, left] = 0.9  # as in a brain
    weights = to_vectors(matrices)
    people = [("YALE", "50551", "15.92", "male", "HC"), ("CMU_a", "50642", "33", "female", "ASD"), ("UM_1", "50272", "14.2", "male", "ASD")]
    ids = []
    for row, (site, number, *rest) in zip(weights, people, strict=True):
        ids.append(f"ABIDE1_{site.replace('_', '')}_{number}")
        table.append("\t".join(["ABIDE_I", site, number, *rest]))
        lines = [f"{i}\t{j}\t{weight:.17g}" for i, j, weight in zip(rows, columns, row, strict=True)]
        (raw / f"{ids[-1]}.txt").write_text("\n".join(rng.permutation(lines)) + "\n")
    (raw / "demographic_table.tsv").write_text("\n".join(table) + "\n")
    return tmp_path / "mirror", ids, weights


# --- what is fetched ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("how", ["address", "folder"])
def test_people_are_the_rows_that_are_known(name, how, data_folder, tmp_path, serve, monkeypatch, capsys):
    native = Cohort.load(data_folder(name), check=False)
    (tmp_path / "mirror" / name).mkdir(parents=True)
    (tmp_path / "mirror" / name / "raw").symlink_to(data_folder(name) / "raw")
    if how == "address":
        serve(tmp_path / "mirror")
    else:
        monkeypatch.setenv("CONNECTOME_GNN_DATA", str(tmp_path / "mirror"))
    cohort = fetch(name, people=PEOPLE[name], cache=tmp_path / "cache")
    rows = [list(native.ids).index(person) for person in cohort.ids]
    assert sorted(cohort.ids) == sorted(PEOPLE[name]) and rows == sorted(rows)
    expected = native.weights[rows]
    np.testing.assert_array_equal(cohort.weights.astype(expected.dtype), expected)
    assert (cohort.measure, cohort.signed, cohort.name) == (native.measure, native.signed, native.name)
    assert cohort.described == native.described and cohort.atlas.labels == native.atlas.labels
    pd.testing.assert_frame_equal(cohort.phenotypes, native.phenotypes.loc[cohort.ids], check_dtype=False)
    assert {"licence", "url", "commit"} <= cohort.info.keys() and cohort.info["commit"] == native.info["commit"]
    errors = capsys.readouterr().err
    assert errors.count("Licence: ") == 1 and COHORTS[name].cite in errors
    asked = len(Handler.asked)
    again = fetch(name, tmp_path / "out", people=PEOPLE[name], cache=tmp_path / "cache")  # the files are kept
    assert len(Handler.asked) == asked and "Licence" not in capsys.readouterr().err
    np.testing.assert_array_equal(again.weights, cohort.weights)
    assert Cohort.load(tmp_path / "out").info["licence"] == native.info["licence"]


def test_everybody_of_a_cohort_with_every_study(data_folder, tmp_path, monkeypatch):
    """corr_kki whole, its files written anew from the known rows: every person's checksum is compared on the way."""
    folder = data_folder("corr_kki")
    native = Cohort.load(folder, check=False)
    raw = tmp_path / "mirror" / "corr_kki" / "raw"
    raw.mkdir(parents=True)
    rows, columns = (index + 1 for index in edge_indices(70))
    nodes = "".join(f'<node id="{n}"/>' for n in range(1, 71))
    head = '<graphml><key id="d4" for="edge" attr.name="weight" attr.type="int"/><graph edgedefault="undirected">'
    for person, weights in zip(native.ids, np.asarray(native.weights), strict=True):
        present = np.flatnonzero(weights)
        edges = "".join(
            f'<edge source="{i}" target="{j}"><data key="d4">{int(w)}</data></edge>'
            for i, j, w in zip(rows[present], columns[present], weights[present], strict=True)
        )
        (raw / f"{person}_1_DTI_desikan.graphml").write_text(f"{head}{nodes}{edges}</graph></graphml>")
    for study in ("KKI2009", "SWU4"):
        shutil.copy(folder / "raw" / f"{study}.csv", raw)
    for study in ("BNU1", "BNU3"):
        people = native.phenotypes[native.phenotypes["site"] == study]
        lines = ["SUBID,SESSION,AGE_AT_SCAN_1,SEX", "1,Baseline,#,#"]
        for person, row in people.iterrows():
            number = int(str(person).partition("_")[2])
            lines += [f"{number},Baseline,{row['age']:g},{' FM'.index(row['sex'])}", f"{number},Retest_1,#,#"]
        (raw / f"{study}.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CONNECTOME_GNN_DATA", str(tmp_path / "mirror"))
    checks = json.loads(json.dumps(datasets.cohorts._checks()))
    checks["corr_kki"]["files"] = {name: sha for name, sha in checks["corr_kki"]["files"].items() if name.endswith(".csv")}
    monkeypatch.setattr(datasets.cohorts, "_checks", lambda: checks)
    cohort = fetch("corr_kki", cache=tmp_path / "cache")
    np.testing.assert_array_equal(cohort.weights, native.weights)
    assert list(cohort.ids) == list(native.ids) and len(cohort) == 337
    pd.testing.assert_frame_equal(cohort.phenotypes, native.phenotypes, check_dtype=False)
    monkeypatch.delenv("CONNECTOME_GNN_DATA")
    kept = fetch("corr_kki", cache=tmp_path / "cache")  # now from the cache, without any mirror
    np.testing.assert_array_equal(kept.weights, native.weights)
    file = raw / "KKI2009_113_1_DTI_desikan.graphml"
    file.write_text(file.read_text().replace('">1<', '">2<', 1))
    monkeypatch.setenv("CONNECTOME_GNN_DATA", str(tmp_path / "mirror"))
    with pytest.raises(ConnectomeError, match=r"'KKI2009_113' is not the one of corr_kki that was checked; remove .*113_1_DTI"):
        fetch("corr_kki", tmp_path / "out", people=["KKI2009_113"], cache=tmp_path / "other")


def test_abide_is_read_as_its_files_are(mirror, tmp_path, serve):
    root, ids, weights = mirror
    serve(root)
    cohort = cg.datasets.fetch("abide", tmp_path / "out", cache=tmp_path / "cache")
    np.testing.assert_allclose(cohort.weights, weights, rtol=1e-6)
    assert list(cohort.ids) == ids and cohort.signed and cohort.measure == "pearson"
    assert cohort.atlas.labels == Atlas.load("schaefer200").labels
    assert cohort.phenotypes["sex"].tolist() == ["M", "F", "M"] and cohort.phenotypes["age"].tolist() == [15.92, 33, 14.2]
    assert cohort.phenotypes["diagnosis"].tolist() == ["control", "ASD", "ASD"] and cohort.phenotypes["site"].tolist()[1] == "CMU_a"
    one = fetch("abide", people=ids[1:2], cache=tmp_path / "cache")
    np.testing.assert_allclose(one.weights, weights[1:2], rtol=1e-6)
    order = np.random.default_rng(0).permutation(200)
    for person in ids:  # were their order not Schaefer's, it would show
        path = root / "abide" / "raw" / f"{person}.txt"
        cells = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(f"{order[int(i)]}\t{order[int(j)]}\t{weight}\n" for i, j, weight in cells))
    with pytest.warns(ConnectomeWarning, match="the rows are probably in another order than the atlas"):
        fetch("abide", people=ids, cache=tmp_path / "other")


def test_a_ready_folder_goes_before(data_folder, tmp_path, monkeypatch, capsys):
    folder = data_folder("corr_kki")
    for root in (folder.parent, folder):
        monkeypatch.setenv("CONNECTOME_GNN_DATA", str(root))
        cohort = fetch("corr_kki", cache=tmp_path / "cache")
        assert len(cohort) == 337 and isinstance(cohort.weights, np.memmap)
    two = fetch("corr_kki", tmp_path / "out", people=list(cohort.ids[[5, 3]]), cache=tmp_path / "cache")
    assert list(two.ids) == [cohort.ids[3], cohort.ids[5]] and (tmp_path / "out" / "cohort.json").is_file()
    assert not (tmp_path / "cache").exists() and capsys.readouterr().err.count("Licence") == 1


def test_urls_are_pinned():
    for cohort in COHORTS.values():
        person = next(iter(cohort.people)) if cohort.people else "ABIDE1_KKI_50772"
        files = [cohort.connectome(person), *cohort.tables([])]
        assert len(cohort.commit) == 40 and all(url.startswith("https://") for file in files for url in file.urls)
        assert f"/{cohort.repository}/{cohort.commit}/" in files[0].urls[0]
        assert len({file.name for file in files}) == len(files)
    assert COHORTS["corr_kki"].connectome("SWU4_0025629").urls[0].endswith("Data/desikan/SWU4/SWU4_0025629_1_DTI_desikan.graphml")
    assert COHORTS["lemon"].connectome("sub-032301").urls[0].endswith("/DATA/FCM/fcm_sub_32301.txt")
    assert COHORTS["corr_kki"].tables(["KKI2009_113"])[0].sha256.startswith("f0ffd4ab")
    assert [len(COHORTS[name].people) for name in PEOPLE] == [134, 225, 337]


# --- what goes wrong ----------------------------------------------------------------------------------------------------


def test_what_there_is_not(tmp_path, monkeypatch):
    with pytest.raises(ConnectomeError, match="no open cohort is named 'hcp'; expected one of ucl_parkinson, lemon, corr_kki, abide"):
        fetch("hcp")
    monkeypatch.delenv("CONNECTOME_GNN_DATA", raising=False)
    with pytest.raises(ConnectomeError, match=r"no 'sub-1' is among the 225 people of lemon \('sub-032301', "):
        fetch("lemon", people=["sub-1"], cache=tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(ConnectomeError, match="--force"):
        fetch("lemon", tmp_path / "out", cache=tmp_path)


def test_a_missing_file(mirror, tmp_path, serve):
    root, ids, _ = mirror
    (root / "abide" / "raw" / f"{ids[1]}.txt").unlink()
    serve(root)
    with pytest.raises(ConnectomeError, match=rf"/abide/raw/{ids[1]}.txt cannot be downloaded \(404 .*\); the repository or the mirror"):
        fetch("abide", cache=tmp_path / "cache")


def test_a_truncated_download_is_gone_on_with(mirror, tmp_path, serve):
    root, ids, weights = mirror
    serve(root)
    Handler.cut = {f"{ids[2]}.txt"}
    with pytest.raises(ConnectomeError, match=rf"{ids[2]}.txt did not arrive whole \(.*\); fetch abide again, which goes on"):
        fetch("abide", cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "abide" / "raw" / f"{ids[2]}.txt").exists()
    Handler.cut = set()
    before = len(Handler.asked)
    cohort = fetch("abide", cache=tmp_path / "cache")
    assert [Path(path).stem for path in Handler.asked[before:]] == [ids[2]]  # the others had arrived
    np.testing.assert_allclose(cohort.weights, weights, rtol=1e-6)


@pytest.mark.parametrize("how", ["address", "folder"])
def test_another_file_than_the_one_that_was_checked(how, data_folder, tmp_path, serve, monkeypatch):
    raw = tmp_path / "mirror" / "corr_kki" / "raw"
    raw.mkdir(parents=True)
    (raw / "SWU4.csv").write_text(
        (data_folder("corr_kki") / "raw" / "SWU4.csv").read_text().replace("25629,Baseline,18", "25629,Baseline,81")
    )
    if how == "address":
        serve(tmp_path / "mirror")
    else:
        monkeypatch.setenv("CONNECTOME_GNN_DATA", str(tmp_path / "mirror"))
    with pytest.raises(ConnectomeError, match=r"SWU4.csv is not the file that was checked \(another sha256 than 721b1a0a"):
        fetch("corr_kki", people=["SWU4_0025629"], cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.csv"))
    (raw / "SWU4.csv").unlink()
    with pytest.raises(
        ConnectomeError, match=r"SWU4.csv cannot be downloaded \(404|no file .*SWU4.csv; CONNECTOME_GNN_DATA names a mirror"
    ):
        fetch("corr_kki", people=["SWU4_0025629"], cache=tmp_path / "cache")


def test_the_next_address_where_the_first_has_another_file(mirror, tmp_path, serve, monkeypatch):
    server = serve(mirror[0])
    monkeypatch.delenv("CONNECTOME_GNN_DATA")
    there = f"http://127.0.0.1:{server.server_port}/abide/raw"
    sha = hashlib.sha256((mirror[0] / "abide" / "raw" / "demographic_table.tsv").read_bytes()).hexdigest()
    wrong = f"{there}/{mirror[1][0]}.txt"
    raw = RawFile("x.tsv", (f"{there}/nowhere", wrong, f"{there}/demographic_table.tsv"), sha)
    path = Downloads("abide", tmp_path / "cache")._get(raw)
    assert path == tmp_path / "cache" / "abide" / "raw" / "x.tsv" and len(Handler.asked) == 3
    with pytest.raises(ConnectomeError, match="is not the file that was checked"):
        Downloads("abide", tmp_path / "other")._get(RawFile("x.tsv", (f"{there}/nowhere", wrong), sha))


def test_offline(mirror, tmp_path, serve):
    server = serve(mirror[0])
    server.shutdown()
    server.server_close()
    with pytest.raises(
        ConnectomeError, match=r"cannot be reached; connect to the network, or name a mirror or a ready folder in CONNECTOME"
    ):
        fetch("abide", cache=tmp_path / "cache")


def test_what_arrives_is_no_table_or_no_matrix(mirror, tmp_path, serve):
    root, ids, _ = mirror
    serve(root)
    table = root / "abide" / "raw" / "demographic_table.tsv"
    whole = table.read_text()
    table.write_text("<html>rate limit</html>")
    with pytest.raises(ConnectomeError, match="demographic_table.tsv has no column 'Dataset'; remove it, and fetch"):
        fetch("abide", cache=tmp_path / "cache")
    table.write_text(whole)
    (root / "abide" / "raw" / f"{ids[0]}.txt").write_text("0\t1\t0.5\n1\t2")
    with pytest.raises(ConnectomeError, match=rf"{ids[0]}.txt: expected 3 values on every line"):
        fetch("abide", cache=tmp_path / "other")


def test_the_command(mirror, tmp_path, serve):
    root, ids, _ = mirror
    serve(root)
    cache = ["--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(app, ["fetch", "abide", str(tmp_path / "out"), *cache])
    assert result.exit_code == 0, result.output
    assert "3 people, 200 regions, 4 phenotypes, pearson" in result.stdout and "CC BY-NC-SA" in result.stderr
    result = CliRunner().invoke(app, ["fetch", "abide", str(tmp_path / "one"), "--person", ids[1], "--json", *cache])
    answer = json.loads(result.stdout)
    assert answer["n_people"] == 1 and "Di Martino" in answer["cite"]
    result = CliRunner().invoke(app, ["fetch", "abide", str(tmp_path / "out"), *cache])
    assert result.exit_code == 2 and "--force" in result.stderr
    assert os.environ["CONNECTOME_GNN_DATA"].startswith("http://127.0.0.1")

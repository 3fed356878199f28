"""Whole cohorts: the shared ones from their raw files, a thousand archives, a conversion that is killed, and who stands out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brains import brain, text_of, ukb_zip
from tiny import make_cohort
from typer.testing import CliRunner

from connectome_gnn.atlas import Atlas
from connectome_gnn.atlases.lists import LISTS
from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.quality import quality
from connectome_gnn.readers import convert_cohort, read_cohort
from connectome_gnn.readers.homotopy import homotopic_pairs, homotopic_rank

FLOAT16 = 2**-11
"""Relative rounding of float16."""

# --- the shared cohorts -------------------------------------------------------------------------------------------------

RAW = {
    "ucl_parkinson": {"pattern": "{participant_id}/connectome_norm.csv", "measure": "sift2_normalised", "format": "matrices"},
    "lemon": {"pattern": "fcm_sub_{participant_id}.txt", "measure": "pearson", "atlas": "raw/SchaeferAtlas_Regions_details.csv"},
    "corr_kki": {"pattern": "{participant_id}_1_DTI_desikan.graphml", "measure": "streamline_count"},
}
SCALE = {"ucl_parkinson": 1e6}
READ_AS = {"ucl_parkinson": "matrices", "lemon": "edges", "corr_kki": "graphml"}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("said", [True, False])
def test_raw_files_are_the_native_rows(name, said, data_folder, tmp_path):
    folder = data_folder(name)
    native = Cohort.load(folder, check=False)
    given = {**RAW[name], "atlas": folder / RAW[name].get("atlas", "atlas.tsv"), "participants": folder / "participants.tsv"}
    if not said:
        given.pop("format", None)
    with pytest.warns(ConnectomeWarning, match="left out|named otherwise"):
        cohort = convert_cohort(folder / "raw", tmp_path / name, strict=False, **given)
    assert cohort.info["read_from"] == READ_AS[name] and len(cohort) >= 1
    rows = [list(native.ids).index(person) for person in cohort.ids]
    expected = np.asarray(native.weights[rows], np.float64)
    error = np.abs(cohort.weights.astype(np.float64) * SCALE.get(name, 1) - expected)
    half = native.weights.dtype == np.float16
    assert (error <= (FLOAT16 * np.abs(expected) + 6e-8 if half else 0)).all()
    assert cohort.atlas.labels == native.atlas.labels
    pd.testing.assert_frame_equal(cohort.phenotypes, native.phenotypes.loc[cohort.ids], check_dtype=False)
    assert not any("another order" in note or "exchanged" in note for note in cohort.info["notes"])


@pytest.mark.parametrize("name", ["lemon", "corr_kki"])
@pytest.mark.parametrize("how", ["named", "found", "command"])
def test_whole_raw_folders(name, how, data_folder, tmp_path):
    """Connectomes among questionnaires and texts, named otherwise than in the table: nothing but the atlas and the measure is said."""
    folder = data_folder(name)
    native, raw = Cohort.load(folder, check=False), folder / "raw"
    given = {"atlas": folder / RAW[name].get("atlas", "atlas.tsv"), "measure": RAW[name]["measure"], "strict": False}
    if how == "command":
        options = ["--atlas", given["atlas"], "--measure", given["measure"], "--participants", folder / "participants.tsv", "--no-strict"]
        result = CliRunner().invoke(app, ["convert", *map(str, [raw, tmp_path / "out", *options])])
        assert result.exit_code == 0 and "left unread, being no connectomes: " in result.output, result.output
        cohort = Cohort.load(tmp_path / "out")
    else:
        named = {"format": READ_AS[name], "participants": folder / "participants.tsv"} if how == "named" else {}
        with pytest.warns(ConnectomeWarning) as caught:
            cohort = read_cohort(raw, **given, **named)
        unread = {"lemon": "CERQ.csv, CERQ_info.txt, COPE.csv, ", "corr_kki": "KKI2009.csv, SWU4.csv; "}[name]
        assert any(f"left unread, being no connectomes: {unread}" in str(warning.message) for warning in caught)
    ids = list(cohort.ids) if how != "found" else {"lemon": ["sub-032301", "sub-032302"], "corr_kki": ["SWU4_0025629"]}[name]
    expected = np.asarray(native.weights[[list(native.ids).index(person) for person in ids]], np.float64)
    half = native.weights.dtype == np.float16
    assert (np.abs(cohort.weights - expected) <= (FLOAT16 * np.abs(expected) + 6e-8 if half else 0)).all()
    assert cohort.info["notes"][0].startswith("left unread") and cohort.info["read_from"] == READ_AS[name]


def test_raw_folders_that_must_be_asked_about(data_folder):
    """Connectomes and lengths in a folder a person: the patterns that are offered read them."""
    folder = data_folder("ucl_parkinson")
    raw, native = folder / "raw", Cohort.load(folder, check=False)
    given = {"atlas": "mrtrix_hcpmmp1_ordered", "measure": "sift2_normalised", "participants": raw / "Participants.csv", "strict": False}
    for format in (None, "matrices"):
        with pytest.warns(ConnectomeWarning), pytest.raises(ConnectomeError, match="folders below") as error:
            read_cohort(raw, format, **given)
        patterns = re.findall("'([^']+)'", str(error.value))
        assert patterns == ["{participant_id}/connectome_norm.csv", "{participant_id}/new_connectome.csv"]
    with pytest.warns(ConnectomeWarning):
        cohort = read_cohort(raw, pattern=patterns[0], **given)
    expected = np.asarray(native.weights[[list(native.ids).index(person) for person in cohort.ids]], np.float64)
    assert len(cohort) == 2 and (np.abs(cohort.weights * 1e6 - expected) <= FLOAT16 * expected + 6e-8).all()


@pytest.mark.parametrize("name", RAW)
def test_fellow_regions_are_tied_in_real_brains_and_not_in_shuffled_ones(name, data_folder):
    cohort = Cohort.load(data_folder(name), check=False)
    mean = cohort.scale.forward(cohort.read(slice(0, 100))).mean(0)
    order = np.random.default_rng(0).permutation(cohort.n_regions)
    assert len(homotopic_pairs(cohort.atlas)) >= 30
    assert homotopic_rank(mean, cohort.atlas) > 0.8
    assert abs(homotopic_rank(to_vectors(to_matrices(mean)[np.ix_(order, order)]), cohort.atlas) - 0.5) < 0.12


# --- many people --------------------------------------------------------------------------------------------------------


def test_a_thousand_archives(tmp_path):
    labels = LISTS["ukb_aparc_tian_s1"]
    base = [brain(labels, seed) for seed in range(10)]
    ids = [str(1_000_000 + n) for n in range(1000)]
    first = ukb_zip(tmp_path / "bulk", ids[0], base[0])
    archives = [first.read_bytes(), *(ukb_zip(tmp_path / "bulk", ids[n], base[n]).read_bytes() for n in range(1, 10))]
    for n in range(10, 1000):
        (tmp_path / "bulk" / f"{ids[n]}_31020_2_0.zip").write_bytes(archives[n % 10])
    people = pd.DataFrame({"age": np.arange(1000.0)}, index=ids)
    tracemalloc.start()
    cohort = convert_cohort(
        tmp_path / "bulk", tmp_path / "out", participants=people, atlas="ukb_aparc_tian_s1", measure="streamline_count", workers=1
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = np.array([to_vectors(matrix) for matrix in base], np.float32)
    np.testing.assert_array_equal(cohort.weights, np.tile(expected, (100, 1)))
    assert peak < 12e6 < cohort.weights.nbytes  # less than the cohort itself
    report = cohort.quality()
    assert (report["duplicate_of"] != "").sum() == 990 and report["duplicate_of"].iloc[13] == ids[3]


SLOW = """
import sys, time, pandas as pd
from connectome_gnn.readers import matrices, convert_cohort
read = matrices._MatrixFile.__call__
matrices._MatrixFile.__call__ = lambda self, path: (time.sleep(0.01), read(self, path))[1]
convert_cohort(sys.argv[1], sys.argv[2], participants=sys.argv[1] + "/participants.tsv", measure="count", workers=1)
"""


@pytest.fixture
def study(tmp_path):
    """200 people of six regions, and their matrices."""
    rng = np.random.default_rng(0)
    edges = rng.poisson(3, (200, 15)).astype(np.float32) + 1
    folder = tmp_path / "study"
    folder.mkdir()
    ids = [f"p{n:03d}" for n in range(200)]
    for name, matrix in zip(ids, to_matrices(edges), strict=True):
        (folder / f"{name}.csv").write_text(text_of(matrix))
    pd.DataFrame({"participant_id": ids, "age": np.arange(200)}).to_csv(folder / "participants.tsv", sep="\t", index=False)
    Atlas([f"r{n}" for n in range(6)]).save(folder / "atlas.tsv")
    return folder, edges


def test_a_killed_conversion_goes_on_where_it_was(study, tmp_path):
    folder, edges = study
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(folder), str(tmp_path / "out")], env={**os.environ, "OMP_NUM_THREADS": "1"})
    journal = tmp_path / ".out.reading" / "journal.jsonl"
    for _ in range(3000):
        if journal.is_file() and journal.read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    known = journal.read_text().count("\n") - 1
    assert 2 <= known <= 6
    journal.write_text(journal.read_text() + '{"row": 9')  # a line that was being written
    first = folder / "p000.csv"
    stat = first.stat()
    first.write_text(first.read_text().replace("1", "9"))  # were it read again, it would show
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cohort = convert_cohort(folder, tmp_path / "out", measure="count")
    np.testing.assert_array_equal(cohort.weights, edges)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def test_a_killed_conversion_of_other_files_begins_anew(study, tmp_path):
    folder, edges = study
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectome_gnn.readers.reading.Reading._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert_cohort(folder, tmp_path / "out", measure="count")
    assert (tmp_path / ".out.reading").is_dir()
    edges[7] += 1
    (folder / "p007.csv").write_text(text_of(to_matrices(edges[7:8])[0]))
    np.testing.assert_array_equal(convert_cohort(folder, tmp_path / "out", measure="count").weights, edges)


def test_two_conversions_to_one_folder_at_once(study, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    folder, edges = study
    (tmp_path / ".out.reading").mkdir()
    with (tmp_path / ".out.reading" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConnectomeError, match="another process is converting to .*out now"):
            convert_cohort(folder, tmp_path / "out", measure="count")
    np.testing.assert_array_equal(convert_cohort(folder, tmp_path / "out", measure="count").weights, edges)


# --- quality ------------------------------------------------------------------------------------------------------------


def test_a_sound_cohort_has_nobody_flagged():
    labels = LISTS["ukb_aparc_tian_s1"]
    base, rng = brain(labels), np.random.default_rng(0)
    weights = to_vectors(rng.poisson(base, (40, *base.shape)).astype(np.float32))
    people = pd.DataFrame({"age": np.arange(40.0)}, index=[f"p{n}" for n in range(40)])
    report = Cohort(weights, people, Atlas(labels), measure="streamline_count").quality()
    assert not report["flagged"].any() and (report["reasons"] == "").all() and (report["components"] == 1).all()
    np.testing.assert_allclose(report["density"], (weights > 0).mean(1))
    modelled = np.log1p(weights)
    np.testing.assert_allclose(report["similarity"].iloc[3], np.corrcoef(modelled[3], np.delete(modelled, 3, 0).mean(0))[0, 1], rtol=1e-5)


@pytest.fixture
def odd(tmp_path):
    """Thirty people, each sound but for one thing."""
    labels = LISTS["ukb_aparc_tian_s1"]
    base = brain(labels, 0)
    rng = np.random.default_rng(1)
    matrices = []
    for _ in range(30):
        matrix = np.triu(rng.poisson(base), 1).astype(float)
        matrices.append(matrix + matrix.T)
    matrices[3] *= rng.uniform(size=base.shape) < 0.2  # sparse
    matrices[3] = np.triu(matrices[3]) + np.triu(matrices[3]).T
    matrices[5] *= 20  # strong
    order = rng.permutation(84)
    matrices[7] = matrices[7][np.ix_(order, order)]  # other regions
    matrices[9][:, 4:9] = matrices[9][4:9] = 0  # regions without an edge
    matrices[11] = matrices[2].copy()
    matrices[13][:42, 42:] = matrices[13][42:, :42] = 0  # two halves
    matrices[15][2, 2] = 8
    matrices[17][0, 1] = matrices[17][1, 0] = -5
    matrices[19][tuple(np.argwhere(matrices[19])[0])] *= 2
    matrices[21] = np.triu(matrices[21])
    matrices[23][:] = 0
    ids = [f"p{n:02d}" for n in range(31)]
    for name, matrix in zip(ids, matrices, strict=False):
        np.save(tmp_path / f"{name}.npy", matrix)
    pd.DataFrame({"age": np.arange(30.0)}, index=pd.Index([*ids[:29], ids[30]], name="participant_id")).to_csv(
        tmp_path / "participants.tsv", sep="\t"
    )
    return tmp_path


def test_who_stands_out_and_why(odd, tmp_path):
    given = {"atlas": "ukb_aparc_tian_s1", "measure": "streamline_count"}
    with pytest.raises(ConnectomeError):
        read_cohort(odd, **given)
    with pytest.warns(ConnectomeWarning) as caught:
        cohort = read_cohort(odd, strict=False, **given)
    assert any("4 left out: 'p30' (no connectome)" in str(warning.message) for warning in caught)
    report = quality(cohort)
    reasons = report["reasons"].to_dict()
    expected = {
        "p03": "density",
        "p05": "strength",
        "p07": "similarity",
        "p09": "5 regions without an edge",
        "p11": "the same matrix as 'p02'",
        "p13": "disconnected: 2 parts",
        "p15": "1 self-loops, which others do not have",
        "p17": "left out on reading: ",
        "p19": "left out on reading: ",
        "p21": "one triangle filled",
        "p23": "no edge at all",
        "p29": "left out on reading: no row in the participants table",
        "p30": "left out on reading: no connectome",
    }
    for person, words in expected.items():
        assert words in reasons[person], (person, reasons[person])
    assert "finite weights of 0 or more, got -5" in reasons["p17"] and "expected a symmetric matrix" in reasons["p19"]
    assert set(report.index[report["flagged"].astype(bool)]) == set(expected)
    assert len(cohort) == 27 and list(report.index[:27]) == list(cohort.ids)
    assert report["left_out"].astype(bool).sum() == 4
    cohort.save(tmp_path / "native")
    again = Cohort.load(tmp_path / "native").quality()
    pd.testing.assert_series_equal(again["reasons"], report["reasons"])
    sound = cohort.take(~report["flagged"][: len(cohort)].to_numpy(bool))
    assert len(sound) == 18 and "p03" not in set(sound.ids)


def test_correlations_may_be_negative():
    cohort = make_cohort(20, signed=True)
    report = cohort.quality()
    assert (report["negative"] > 0).any() and not report["reasons"].str.contains("negative").any()


def test_convert_says_what_it_took_it_for(odd, tmp_path):
    tables = ["--atlas", "ukb_aparc_tian_s1", "--measure", "streamline_count", "--no-strict"]
    result = CliRunner().invoke(app, ["convert", str(odd), str(tmp_path / "out"), *tables])
    assert result.exit_code == 0, result.output
    assert "read as matrices: a folder of .npy files" in result.output
    assert "9 of 27 people stand out (cohort.quality() lists them all): p03: density" in result.output
    assert "4 left out: 'p30' (no connectome)" in result.output
    result = CliRunner().invoke(app, ["convert", str(odd / "*.npy"), str(tmp_path / "out"), *tables])
    assert result.exit_code == 2 and "--force" in result.output
    assert Path(tmp_path / "out" / "cohort.json").read_text().count('"p17"') == 1

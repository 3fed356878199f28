"""Folders of connectomes with other files in them: what is plainly none is left unread and named, nobody's damaged file is passed over."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brains import brain, text_of

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.readers import convert_cohort, read_cohort

pytestmark = pytest.mark.filterwarnings("ignore:no participants table given")

R = 12
ATLAS = Atlas([f"{side}_r{n}" for n in range(R // 2) for side in "LR"], name="twelve")
IDS = [f"sub-{n:02d}" for n in range(1, 6)]
MATRICES = [brain(ATLAS.labels, seed) for seed in range(5)]
EDGES = to_vectors(np.array(MATRICES)).astype(np.float32)
TABLES = {
    "demographics.csv": "id,age,sex\n" + "".join(f"{name},{60 + n},F\n" for n, name in enumerate(IDS)) * 3,
    "regions.tsv": "label\tx\ty\n" + "".join(f"{label}\t{n}\t{n}\n" for n, label in enumerate(ATLAS.labels)),
    "answers.csv": "q1;q2;q3;q4\n" + "1,5;2,5;3,5;4,5\n" * 30,
    "scanner_notes.txt": "Everything went well.\nNobody moved.\n",
}
"""Files that are no connectomes."""


def write(folder: Path, form: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, matrix in zip(IDS, MATRICES, strict=True):
        if form == "npy":
            np.save(folder / f"{name}.npy", matrix)
        elif form == "edges":
            rows = (f"{i} {j} {matrix[i, j]:g}" for i in range(R) for j in range(i) if matrix[i, j])
            (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
        elif form == "named":
            pd.DataFrame(matrix, ATLAS.labels, ATLAS.labels).to_csv(folder / f"{name}.csv")
        else:
            (folder / f"{name}.csv").write_text(text_of(matrix))
    return folder


def read(folder: Path, **given) -> Cohort:
    return read_cohort(folder, **{"atlas": ATLAS, "measure": "streamline_count", **given})


@pytest.mark.parametrize("form", ["csv", "named", "npy", "edges"])
def test_what_is_plainly_no_connectome_is_left_unread_and_named(tmp_path, form):
    write(tmp_path / "m", form)
    for name, text in TABLES.items():
        (tmp_path / "m" / name).write_text(text)
    with pytest.warns(ConnectomeWarning) as caught:
        cohort = read(tmp_path / "m")
    said = " ".join(str(warning.message) for warning in caught)
    assert all(name in said and name in cohort.info["notes"][0] for name in TABLES)
    np.testing.assert_array_equal(cohort.weights, EDGES)
    assert list(cohort.ids) == IDS
    with pytest.warns(ConnectomeWarning):
        stored = convert_cohort(tmp_path / "m", tmp_path / "out", atlas=ATLAS, measure="streamline_count")
    assert stored.info["notes"] == cohort.info["notes"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = read(tmp_path / "m", pattern="sub-{participant_id}." + {"npy": "npy", "edges": "txt"}.get(form, "csv"))
    assert not any("left unread" in str(warning.message) for warning in caught)
    np.testing.assert_array_equal(chosen.weights, EDGES)


DAMAGED = {
    "truncated.csv": "\n".join(text_of(MATRICES[0]).splitlines()[:7]),
    "a pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "a page": "<html><head>\n<title>Not found</title>\n</head></html>\n",
    "empty": "",
    "one number": "7\n",
    "a truncated table": pd.DataFrame(MATRICES[0], ATLAS.labels, ATLAS.labels).iloc[:4].to_csv(),
}


@pytest.mark.parametrize("form", ["csv", "named"])
@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("person", ["sub-03", "sub-09", "sub-xy"])
def test_nobodys_damaged_file_is_passed_over(tmp_path, form, kind, person):
    (write(tmp_path, form) / f"{person}.csv").write_text(DAMAGED[kind])
    (tmp_path / "demographics.csv").write_text(TABLES["demographics.csv"])
    with pytest.warns(ConnectomeWarning), pytest.raises(ConnectomeError, match=person):
        read(tmp_path)


@pytest.mark.parametrize("form", ["csv", "edges", "npy"])
def test_a_pattern_is_offered_that_reads_the_folder(tmp_path, form):
    """Numbers without names may be anybody's: they are not left out, but the way on is said."""
    write(tmp_path, form)
    (tmp_path / "bvals.txt").write_text("0 1000 2000\n0 1000 2000\n" if form != "edges" else "0 1000 2000 1\n")
    given = {"format": "edges" if form == "edges" else "matrices"}
    with pytest.raises(ConnectomeError, match="bvals.txt.*if it is no person's") as error:
        read(tmp_path, **given)
    pattern = re.search("--pattern '(.+)'", str(error.value))
    assert pattern is not None
    np.testing.assert_array_equal(read(tmp_path, pattern=pattern[1], **given).weights, EDGES)


def test_a_folder_of_nothing_else_is_not_emptied(tmp_path):
    (tmp_path / "demographics.csv").write_text(TABLES["demographics.csv"])
    with pytest.raises(ConnectomeError, match="demographics.csv: expected 12 x 12 numbers"):
        read(tmp_path, format="matrices")


def test_connectomes_in_folders_below(tmp_path):
    for name, matrix in zip(IDS, MATRICES, strict=True):
        (tmp_path / name / "dwi").mkdir(parents=True)
        (tmp_path / name / "dwi" / f"{name}_count.csv").write_text(text_of(matrix))
        (tmp_path / name / "dwi" / f"{name}_notes.txt").write_text(TABLES["scanner_notes.txt"])
        (tmp_path / name / "dwi" / "length.npy").write_bytes(b"")
    ATLAS.save(tmp_path / "atlas.tsv")
    pd.DataFrame({"participant_id": IDS, "age": range(5)}).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    for format in (None, "matrices", "edges"):
        with pytest.raises(ConnectomeError, match=r"as '\{participant_id\}/dwi/length.npy' or '\{participant_id\}/dwi/\*_count.csv'$"):
            read_cohort(tmp_path, format, measure="streamline_count")
    cohort = read_cohort(tmp_path, measure="streamline_count", pattern="{participant_id}/dwi/*_count.csv")
    np.testing.assert_array_equal(cohort.weights, EDGES)  # with the tables that lie in the folder
    assert cohort.atlas.labels == ATLAS.labels and cohort.phenotypes["age"].tolist() == list(range(5))

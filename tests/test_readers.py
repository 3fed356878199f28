"""Reading plain matrices: the right rows for the right people, and a sentence for everything else."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.readers import convert_cohort, read_cohort
from connectome_gnn.readers.matrices import MATRICES
from connectome_gnn.readers.people import _same_people
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.source import Request
from connectome_gnn.readers.text import read_text_matrix

LABELS = ("L_V1", "L_A1", "L_M1", "R_V1", "R_A1", "R_M1")
ATLAS = Atlas(LABELS, hemisphere=["L"] * 3 + ["R"] * 3, name="six")
N, R = 5, len(LABELS)
E = ATLAS.n_edges
IDS = [f"sub-{n + 1:02d}" for n in range(N)]
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": " "}


def counts(n: int = N, seed: int = 0) -> np.ndarray:
    """(n, E) counts, some of them zero."""
    rng = np.random.default_rng(seed)
    return (rng.poisson(3, (n, E)) * rng.integers(0, 2, (n, E))).astype(np.float32)


def people(ids: list[str] = IDS) -> pd.DataFrame:
    return pd.DataFrame({"age": np.linspace(50, 70, len(ids)), "sex": ["F", "M"] * (len(ids) // 2) + ["F"] * (len(ids) % 2)}, index=ids)


def write_matrix(path: Path, matrix: np.ndarray, labelled: bool = False) -> None:
    if path.suffix == ".npy":
        np.save(path, matrix)
    elif labelled:
        pd.DataFrame(matrix, index=LABELS, columns=LABELS).to_csv(path, sep=DELIMITERS[path.suffix])
    else:
        np.savetxt(path, matrix, delimiter=DELIMITERS[path.suffix])


def write_folder(folder: Path, weights: np.ndarray, suffix: str = ".csv", ids: list[str] = IDS, labelled: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, matrix in zip(ids, to_matrices(weights), strict=True):
        write_matrix(folder / f"{name}{suffix}", matrix, labelled)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder of five .csv matrices with participants.tsv and atlas.tsv beside them."""
    folder = write_folder(tmp_path / "study", counts())
    people().rename_axis("participant_id").to_csv(folder / "participants.tsv", sep="\t")
    ATLAS.save(folder / "atlas.tsv")
    return folder


def read(source: Path, **given) -> Cohort:
    return read_cohort(source, **{"participants": people(), "atlas": ATLAS, "measure": "streamline_count", **given})


def edited(folder: Path, row: int, column: int, value: object, both: bool = True, person: str = "sub-03") -> Path:
    """One cell (or edge) of one person's .csv changed."""
    table = pd.read_csv(folder / f"{person}.csv", header=None).astype(object)
    table.iloc[row, column] = value
    if both:
        table.iloc[column, row] = value
    table.to_csv(folder / f"{person}.csv", header=False, index=False, na_rep="nan")
    return folder


# --- the right answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".tsv", ".txt"])
def test_a_folder_of_matrices_round_trips(tmp_path, suffix, labelled):
    source = write_folder(tmp_path / "matrices", counts(), suffix, labelled=labelled and suffix not in (".npy", ".txt"))
    cohort = read(source)
    np.testing.assert_array_equal(cohort.weights, counts())
    assert list(cohort.ids) == IDS and cohort.atlas == ATLAS and cohort.measure == "streamline_count" and not cohort.signed
    converted = convert_cohort(source, tmp_path / "out", participants=people(), atlas=ATLAS, measure="streamline_count")
    np.testing.assert_array_equal(converted.weights, counts())
    assert list(converted.phenotypes["sex"]) == list(people()["sex"])
    assert converted.weights.dtype == np.float32 and isinstance(converted.weights, np.memmap)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "atlas.tsv",
        "cohort.json",
        "connectomes.npy",
        "participants.json",
        "participants.tsv",
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, ">f4"])
@pytest.mark.parametrize("square", [True, False])
def test_one_array_of_everybody_goes_by_the_tables_rows(tmp_path, dtype, square):
    stack = to_matrices(counts()) if square else counts()
    np.save(tmp_path / "all.npy", np.asfortranarray(stack.astype(dtype)))
    np.testing.assert_array_equal(read(tmp_path / "all.npy").weights, counts())


def test_a_square_number_of_people_is_no_person(tmp_path):
    atlas = Atlas(["a", "b", "c"])  # 3 regions have 3 edges: three people's edges look like one person's matrix
    stack = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)
    np.save(tmp_path / "all.npy", stack)
    three = read_cohort(tmp_path / "all.npy", participants=people(IDS[:3]), atlas=atlas, measure="count")
    np.testing.assert_array_equal(three.weights, stack)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_one_file_is_one_person(tmp_path, suffix):
    write_matrix(tmp_path / f"sub-09{suffix}", to_matrices(counts())[2])
    cohort = read(tmp_path / f"sub-09{suffix}", participants=people(["sub-09"]))
    assert list(cohort.ids) == ["sub-09"]
    np.testing.assert_array_equal(cohort.weights, counts()[2:3])


def test_tables_beside_the_matrices_are_found_and_are_no_matrices(study):
    (study / "participants.json").write_text(json.dumps({"age": {"Units": "years", "Group": "age_sex"}}))
    (study / "README").write_text("hello")
    for table in ("participants", "atlas"):  # the same two under names of their own
        (study / f"my_{table}.tsv").write_bytes((study / f"{table}.tsv").read_bytes())
    cohort = read_cohort(study, participants=study / "my_participants.tsv", atlas=study / "my_atlas.tsv", measure="streamline_count")
    assert cohort.described == {} and cohort.atlas.labels == LABELS
    (study / "my_participants.tsv").unlink(), (study / "my_atlas.tsv").unlink()
    cohort = read_cohort(study, measure="streamline_count")
    assert cohort.described["age"]["Units"] == "years" and cohort.name == "study"
    np.testing.assert_array_equal(cohort.weights, counts())


def test_people_come_in_the_tables_order(study):
    shuffled = people().iloc[[3, 0, 4, 1, 2]]
    cohort = read(study, participants=shuffled)
    assert list(cohort.ids) == list(shuffled.index)
    np.testing.assert_array_equal(cohort.weights, counts()[[3, 0, 4, 1, 2]])


def test_without_a_table_files_come_in_natural_order(tmp_path):
    source = write_folder(tmp_path / "m", counts(), ids=["s10", "s9", "s1", "s2", "t0"])
    with pytest.warns(ConnectomeWarning, match="no phenotypes"):
        cohort = read(source, participants=None)
    assert list(cohort.ids) == ["s1", "s2", "s9", "s10", "t0"]
    with pytest.warns(ConnectomeWarning):
        loaded = convert_cohort(source, tmp_path / "out", atlas=ATLAS, measure="count")
    assert list(loaded.ids) == list(cohort.ids) and loaded.phenotypes.shape == (5, 0)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{participant_id}_count.csv", "{}_count.csv"),
        ("{participant_id}/connectome.csv", "{}/connectome.csv"),
        ("{participant_id}/*/*_connectome.csv", "{}/dwi/{}_run-1_connectome.csv"),
        ("{participant_id}_*.csv", "{}_ses-1_[x].csv"),
        ("x[1]/{participant_id}.csv", "x[1]/{}.csv"),
    ],
)
def test_a_pattern_names_the_person(tmp_path, pattern, path):
    for name, matrix in zip(IDS, to_matrices(counts()), strict=True):
        file = tmp_path / "m" / path.format(name, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_matrix(file, matrix)
    (tmp_path / "m" / "x.md").write_text("no matrix")
    np.testing.assert_array_equal(read(tmp_path / "m", pattern=pattern).weights, counts())


@pytest.mark.parametrize(
    "header",
    [
        ",".join(LABELS),
        ",".join(map(str, range(R))),
        ",".join(map(str, range(1, R + 1))),
        ",".join(f'"{label}"' for label in LABELS),
        "# " + ",".join(LABELS),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_labels_around_the_numbers_are_tolerated_when_they_match(tmp_path, header, indexed):
    matrix = to_matrices(counts())[0]
    corner = "," if indexed and not header.startswith("#") else ""
    lines = [corner + header] + [(f"{LABELS[i]}," if indexed else "") + ",".join(map(str, row)) for i, row in enumerate(matrix)]
    (tmp_path / "a.csv").write_text("﻿" + "\r\n".join(lines) + "\r\n\r\n", encoding="utf-8")
    np.testing.assert_array_equal(read_text_matrix(tmp_path / "a.csv", ATLAS), matrix)


def test_other_habits_of_text_files(tmp_path):
    matrix = to_matrices(counts())[0]
    plain = [" ".join(map(str, row)) for row in matrix]
    for number, text in enumerate(
        [
            "# command_history: tck2connectome a b\n" + "\n".join(plain),
            "\n".join(f"  {line}  " for line in plain),  # blanks around
            "\n".join(line.replace(" ", ", ") for line in plain),
            "\n".join(line.replace(" ", ";") for line in plain),
            "\n".join(line.replace(" ", "\t") + "\t" for line in plain),  # a delimiter at every line's end
            " ".join(f'"{label}"' for label in LABELS)
            + "\n"
            + "\n".join(f'"{label}" {line}' for label, line in zip(LABELS, plain, strict=True)),
        ]
    ):
        (tmp_path / f"{number}.txt").write_text(text)
        np.testing.assert_array_equal(read_text_matrix(tmp_path / f"{number}.txt", ATLAS), matrix, err_msg=text)


@pytest.mark.parametrize("take", [np.triu, np.tril])
def test_one_triangle_is_mirrored_with_a_note(tmp_path, take):
    np.save(tmp_path / "all.npy", take(to_matrices(counts())))
    with pytest.warns(ConnectomeWarning, match="5 of 5 connectomes had one triangle filled"):
        cohort = read(tmp_path / "all.npy")
    np.testing.assert_array_equal(cohort.weights, counts())
    assert "one triangle" in cohort.info["notes"][0]


def test_self_loops_are_dropped_with_a_note(tmp_path):
    matrices = to_matrices(counts())
    matrices[1, 2, 2] = 7
    matrices[1, 3, 3] = 7
    matrices[4, 0, 0] = 1
    np.save(tmp_path / "all.npy", matrices)
    with pytest.warns(ConnectomeWarning, match=r"3 self-loops .* in 2 of 5 connectomes dropped"):
        np.testing.assert_array_equal(read(tmp_path / "all.npy").weights, counts())


def test_the_unit_diagonal_of_correlations_is_no_self_loop(tmp_path):
    r = np.corrcoef(np.random.default_rng(0).normal(size=(R, 40)).astype(np.float32))
    np.save(tmp_path / "sub-01.npy", r)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cohort = read(tmp_path / "sub-01.npy", participants=people(["sub-01"]), measure="pearson")
    assert cohort.signed
    np.testing.assert_allclose(cohort.weights[0], to_vectors(r), atol=1e-6)


def test_rounding_is_not_asymmetry(tmp_path):
    r = np.corrcoef(np.random.default_rng(0).normal(size=(R, 40)))
    r[0, 1] *= 1 + 1e-7
    r[2, 3] = r[3, 2] = 1 + 1e-9
    np.save(tmp_path / "sub-01.npy", r)
    cohort = read(tmp_path / "sub-01.npy", participants=people(["sub-01"]), measure="x", signed=True)
    assert cohort.weights.max() == 1


def test_empty_connectomes_are_noted(tmp_path):
    weights = counts()
    weights[3] = 0
    with pytest.warns(ConnectomeWarning, match="1 of 5 connectomes have no edge at all: 'sub-04'"):
        read(write_folder(tmp_path / "m", weights))


def test_a_native_folder_is_loaded_and_brings_its_own_tables(study, tmp_path):
    convert_cohort(study, tmp_path / "out", measure="streamline_count")
    cohort = read_cohort(tmp_path / "out", name="mine")
    np.testing.assert_array_equal(cohort.weights, counts())
    assert cohort.name == "mine"
    copy = convert_cohort(tmp_path / "out", tmp_path / "copy")
    assert list(copy.ids) == IDS
    with pytest.raises(ConnectomeError, match="brings its own measure"):
        read_cohort(tmp_path / "out", measure="mean_fa")


@given(
    edges=arrays(np.float32, (2, E), elements=st.floats(0, 2.0**100, width=32)),
    suffix=st.sampled_from([".npy", ".csv", ".tsv", ".txt"]),
    triangle=st.sampled_from([None, np.triu, np.tril]),
    labelled=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_non_negative_matrix_round_trips(edges, suffix, triangle, labelled):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConnectomeWarning)
        for name, matrix in zip(IDS, to_matrices(edges), strict=False):
            write_matrix(Path(folder) / f"{name}{suffix}", matrix if triangle is None else triangle(matrix), labelled and suffix != ".txt")
        np.testing.assert_array_equal(read(Path(folder), participants=people(IDS[:2])).weights, edges)


@given(edges=arrays(np.float32, (1, E), elements=st.floats(-1, 1, width=32)), suffix=st.sampled_from([".npy", ".csv", ".tsv", ".txt"]))
@settings(max_examples=40, deadline=None)
def test_any_signed_matrix_round_trips(edges, suffix):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConnectomeWarning)
        write_matrix(Path(folder) / f"a{suffix}", to_matrices(edges)[0])
        np.testing.assert_array_equal(read(Path(folder), participants=None, measure="pearson").weights, edges)


# --- what cannot be used -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ((1, 4, np.nan, True), ["expected finite weights, got nan", "'L_A1' and 'R_A1'"]),
        ((1, 4, np.inf, True), ["expected finite weights, got inf"]),
        ((1, 4, -2, True), ["expected finite weights of 0 or more, got -2", "'L_A1' and 'R_A1'"]),
        ((4, 1, 99, False), ["expected a symmetric matrix", "'L_A1' to 'R_A1'", "99 back", "1 of 15 edges differ"]),
        ((1, 4, 1e39, True), ["expected finite weights of 0 or more, got 1e+39"]),
        ((1, 4, "many", False), ["line 2: expected a number between 'L_A1' and 'R_A1', got 'many'"]),
        ((1, 4, "1_000", True), ["line 2", "got '1_000'"]),
        ((1, 4, "", False), ["line 2", "got ''"]),
    ],
)
def test_a_bad_cell_is_named(study, cell, said):
    with pytest.raises(ConnectomeError) as error:
        read(edited(study, *cell))
    assert "sub-03.csv" in str(error.value)
    for words in said:
        assert words in str(error.value)


def test_correlations_beyond_1_and_forgotten_signs(tmp_path):
    r = to_matrices(np.full((1, E), 0.5))[0]
    r[1, 2] = r[2, 1] = -0.2
    np.save(tmp_path / "sub-01.npy", r)
    given = {"participants": people(["sub-01"])}
    with pytest.raises(ConnectomeError, match=r"got -0.2 between 'L_A1' and 'L_M1'; say signed"):
        read(tmp_path / "sub-01.npy", **given)
    r[1, 2] = r[2, 1] = -1.2
    np.save(tmp_path / "sub-01.npy", r)
    with pytest.raises(ConnectomeError, match=r"sub-01.npy: expected correlations between -1 and 1, got -1.2 between 'L_A1' and 'L_M1'"):
        read(tmp_path / "sub-01.npy", signed=True, **given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected 6 x 6"),
        ("\n \n# x\n", "is empty; expected 6 x 6"),
        ("1,2\n3,4\n", "expected 6 x 6 numbers for the 6 regions of atlas 'six', got 2 x 2"),
        ("\n".join(["0,0,0,0,0,0,0"] * 7), "got 7 x 7; a first row and column of unassigned streamlines"),
        ("\n".join(["0,0,0,0,0,0"] * 5 + ["0,0,0,0,0"]), "expected 6 values on every line, line 6 has 5"),
        ("\n".join(["0,0,0,0,0"] + ["0,0,0,0,0,0"] * 5), "expected 6 values on every line, line 1 has 5"),
        ("\n".join(["0;0;0;0;0;0"] * 5 + ["0.5;0;0;0,5;0;0"]), "got '0,5'; write decimals with a point"),
        ("\n".join(["0;0;0;0;0;0"] * 5 + ["0;0;0;1,500;0;0"]), "'1,500', which could have a decimal comma or separate thousands"),
        ("\n".join(["0;0;0;0;0;0"] * 5 + ["0;0;0;1,234.5;0;0"]), "got '1,234.5'; write numbers without thousands separators"),
        ("caf\xe9", "expected 6 x 6 numbers for the 6 regions of atlas 'six', got 1 x 1"),
        ("0\x000", "is no text"),
        (
            ",".join(reversed(LABELS)) + "\n" + "\n".join(["0,0,0,0,0,0"] * 6),
            "column 1 is labelled 'R_M1' where atlas 'six' has 'L_V1'; the regions are in another order",
        ),
        (
            "L_V1,L_A1,Hippo,R_V1,R_A1,R_M1\n" + "\n".join(["0,0,0,0,0,0"] * 6),
            "column 3 is labelled 'Hippo' where atlas 'six' has 'L_M1'; it is of another atlas",
        ),
        ("# L_A1,L_V1,L_M1,R_V1,R_A1,R_M1\n" + "\n".join(["0,0,0,0,0,0"] * 6), "column 1 is labelled 'L_A1'"),
        ("\n".join(f"{label},0,0,0,0,0,0" for label in reversed(LABELS)), "row 1 is labelled 'R_M1'"),
        ("x\n" * 3_000_000, "far more than 6 x 6 numbers need"),
    ],
)
def test_bad_text_is_named(tmp_path, text, said):
    (tmp_path / "sub-01.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConnectomeError) as error:
        read_text_matrix(tmp_path / "sub-01.csv", ATLAS)
    assert said in str(error.value) and "sub-01.csv" in str(error.value)


def test_an_atlas_of_numbers_is_not_mistaken_for_counting(tmp_path):
    atlas = Atlas([str(n) for n in (2, 1, 3)])
    (tmp_path / "a.csv").write_text("1,2,3\n" + "0,0,0\n" * 3)
    with pytest.raises(ConnectomeError, match="column 1 is labelled '1' where atlas '' has '2'; the regions are in another order"):
        read_text_matrix(tmp_path / "a.csv", atlas)


def test_arrays_that_do_not_fit(tmp_path):
    np.save(tmp_path / "all.npy", np.zeros((N, R + 1, R + 1)))
    with pytest.raises(
        ConnectomeError, match=r"all.npy: expected an array of shape \(people, 6, 6\) or \(people, 15\).*'six', got \(5, 7, 7\)"
    ):
        read(tmp_path / "all.npy")
    np.save(tmp_path / "all.npy", counts(4))
    with pytest.raises(ConnectomeError, match="all.npy holds 4 connectomes, the participants table 5 people"):
        read(tmp_path / "all.npy")
    with pytest.raises(ConnectomeError, match="4 connectomes without names; give the participants table"):
        read(tmp_path / "all.npy", participants=None)
    np.save(tmp_path / "all.npy", np.zeros((4, R, R), complex))
    with pytest.raises(ConnectomeError, match="all.npy holds values of type complex128"):
        read(tmp_path / "all.npy")
    folder = write_folder(tmp_path / "m", counts(), ".npy")
    np.save(folder / "sub-02.npy", np.zeros((R + 1, R + 1)))
    with pytest.raises(ConnectomeError, match=r"sub-02.npy: expected a matrix of 6 x 6 .* got shape \(7, 7\)"):
        read(folder)


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path(tempfile.gettempdir()) / "connectome_gnn_trap",))


def test_pickled_objects_are_never_loaded(tmp_path):
    folder = write_folder(tmp_path / "m", counts(), ".npy")
    np.save(folder / "sub-02.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    trap = Path(tempfile.gettempdir()) / "connectome_gnn_trap"
    with pytest.raises(ConnectomeError, match="sub-02.npy cannot be read: it holds pickled Python objects, which are never loaded"):
        read(folder)
    assert not trap.exists()


def test_truncated_and_empty_arrays(tmp_path):
    folder = write_folder(tmp_path / "m", counts(), ".npy")
    whole = (folder / "sub-04.npy").read_bytes()
    odd_header = whole.replace(b"}  ", b"}\n ").replace(b" \n", b"(\n")  # numpy's tokenizer trips over it
    for part in (b"", whole[:50], whole[:-8], b"PK\x03\x04 no archive", odd_header):
        (folder / "sub-04.npy").write_bytes(part)
        with pytest.raises(ConnectomeError, match="sub-04.npy (is empty|is a zip archive|is no .npy file|cannot be read: it is truncated)"):
            read(folder)


def test_people_on_one_side_only(study):
    with pytest.raises(ConnectomeError, match=r"1 of 6 participants of the participants table have no connectome in .*study \('sub-06'\)"):
        read(study, participants=people([*IDS, "sub-06"]))
    with pytest.raises(
        ConnectomeError, match=r"2 of 5 connectomes in .*study have no row in the participants table \('sub-04', 'sub-05'\)"
    ):
        read(study, participants=people(IDS[:3]))
    with pytest.warns(ConnectomeWarning, match=r"2 left out: 'sub-06' \(no connectome\), 'sub-05' \(no row in the participants table\)"):
        cohort = read(study, participants=people([*IDS[:4], "sub-06"]), strict=False)
    assert list(cohort.ids) == IDS[:4] and set(cohort.info["left_out"]) == {"sub-05", "sub-06"}
    with pytest.raises(ConnectomeError, match="no connectome in"):
        read(study, participants=people(["x", "y"]), strict=False)


@pytest.mark.parametrize(("before", "after"), [("", "_weights"), ("conn_", ""), ("run-1_", "_desc-2_x"), ("0001_", "_02")])
def test_ids_within_names_that_are_otherwise_alike(tmp_path, before, after):
    source = write_folder(tmp_path / "m", counts(), ids=[f"{before}{name}{after}" for name in reversed(IDS)])
    with pytest.warns(ConnectomeWarning, match=f"5 people are named otherwise .* .'{before}sub-0[15]{after}' is 'sub-0[15]'"):
        cohort = read(source)
    np.testing.assert_array_equal(cohort.weights, counts()[::-1])
    assert list(cohort.ids) == IDS
    np.testing.assert_array_equal(read(source, pattern=before + "{participant_id}" + after + ".csv").weights, cohort.weights)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (["1", "2"], ["run-1_x"]),  # one name shows too little: 1 may be the run
        (["a", "b", "c"], ["x_a_b", "x_b_a", "x_c_c"]),  # two ways that do not agree
        (["a", "b", "c"], ["x_a", "y_b", "z_c"]),  # names that are not alike
        (["a", "b", "c", "d", "e"], ["x_a", "x_p", "x_q"]),  # fewer than half are found
        (["sub-1", "sub-01"], ["x_1", "x_1"]),  # who is meant is not clear
    ],
)
def test_ids_within_names_are_not_guessed_at(table, found):
    assert _same_people(table, found) == {}


def test_two_files_of_one_person(study):
    np.save(study / "sub-02.npy", np.zeros((R, R)))
    with pytest.raises(ConnectomeError, match="participant 'sub-02' has two files, sub-02.csv and sub-02.npy"):
        read(study)


def test_duplicate_ids_in_the_table(study):
    twice = pd.concat([people(), people().iloc[:1]])
    with pytest.raises(ConnectomeError, match="participant_id must be unique, 'sub-01' occurs more than once"):
        read(study, participants=twice)
    twice.rename_axis("participant_id").to_csv(study / "participants.tsv", sep="\t")
    with pytest.raises(ConnectomeError, match="participants.tsv: participant_id must be unique, 'sub-01'"):
        read_cohort(study, measure="count")


@pytest.mark.parametrize(
    "pattern", ["x.csv", "{participant_id}/{participant_id}.csv", "../{participant_id}.csv", "/tmp/{participant_id}.csv", ""]
)
def test_bad_patterns(study, pattern):
    with pytest.raises(ConnectomeError, match="pattern"):
        read(study, pattern=pattern)
    with pytest.raises(ConnectomeError, match="no file in .* fits the pattern"):
        read(study, pattern="x_{participant_id}.csv")


def test_what_must_be_said(study, tmp_path):
    with pytest.raises(ConnectomeError, match="say what a weight of .*study is"):
        read(study, measure=None)
    (study / "atlas.tsv").unlink()
    with pytest.raises(ConnectomeError, match="give the atlas of .*study"):
        read(study, atlas=None)
    with pytest.raises(FileNotFoundError, match="no .*table at .*nowhere.tsv"):
        read(study, atlas=tmp_path / "nowhere.tsv")
    with pytest.raises(FileNotFoundError, match="no .*table at .*nowhere.tsv"):
        read(study, participants=tmp_path / "nowhere.tsv")
    with pytest.raises(FileNotFoundError, match="nothing at .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConnectomeError, match="expected participants as a table .pandas. or its file, got a dict"):
        read(study, participants={"age": 1})
    with pytest.raises(ConnectomeError, match="expected an Atlas, the name of one or a table of its regions, got a list"):
        read(study, atlas=list(LABELS))
    with pytest.raises(FileNotFoundError, match="no file .*study/cohort.json"):
        read(study, format="native")
    with pytest.raises(ConnectomeError, match="expected a format among native, mrtrix, ukb, .*, matrices, got 'excel'"):
        read(study, format="excel")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConnectomeError, match="holds nothing that can be read"):
        read(tmp_path / "empty")
    with pytest.raises(ConnectomeError, match=r"holds no .npy, .csv, .tsv, .txt, .npz, .mat, .*file"):
        read(tmp_path / "empty", format="matrices")


def test_nothing_half_written(study, tmp_path):
    edited(study, 1, 4, -1)
    with pytest.raises(ConnectomeError):
        convert_cohort(study, tmp_path / "out", measure="count")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    with pytest.warns(ConnectomeWarning, match="1 left out: 'sub-03' .*sub-03.csv: expected finite weights"):
        cohort = convert_cohort(study, tmp_path / "out", measure="count", strict=False)
    assert list(cohort.ids) == [i for i in IDS if i != "sub-03"]
    np.testing.assert_array_equal(cohort.weights, counts()[[0, 1, 3, 4]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]
    with pytest.raises(ConnectomeError, match="--force"):
        convert_cohort(study, tmp_path / "out", measure="count", strict=False)


@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)),
    suffix=st.sampled_from([".npy", ".csv", ".tsv", ".txt"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_bytes_are_refused_in_a_sentence(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"a{suffix}").write_bytes(content)
        with pytest.raises(ConnectomeError):
            read(Path(folder), participants=people(["a"]))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_arrays_are_refused_or_read(data):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "a.npy"
        np.save(file, to_matrices(counts())[0])
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
        try:
            cohort = read(Path(folder), participants=people(["a"]))
        except ConnectomeError:
            return
        assert np.isfinite(cohort.weights).all() and cohort.weights.shape == (1, E)


def test_ids_are_known_before_anything_is_read(study):
    (study / "sub-03.csv").write_text("not read yet")
    assert MATRICES.open(Request(Place.find(study), ATLAS)).ids == tuple(IDS)

"""The native cohort folder: what is written comes back, and what cannot be used is named."""

from __future__ import annotations

import errno
import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import DESCRIBED, make_phenotypes

from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.native import (
    check_target,
    new_folder,
    open_array,
    read_json,
    read_participants,
    write_json,
    write_participants,
    write_rows,
)

# --- arrays ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8", "i1", "u2", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_mapped_as_they_are(tmp_path, dtype, order):
    array = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    opened = open_array(tmp_path / "a.npy")
    assert isinstance(opened, np.memmap)
    assert opened.dtype == array.dtype
    np.testing.assert_array_equal(opened, array)
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1
    assert not isinstance(open_array(tmp_path / "a.npy", mapped=False), np.memmap)


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_loaded(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung"), 1.5], dtype=object)
    np.save(tmp_path / "objects.npy", trap, allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(trap))
    for name in ("objects.npy", "pickle.npy"):
        for mapped in (True, False):
            with pytest.raises(ConnectomeError, match=rf"{name}.*pickle.*never loaded"):
                open_array(tmp_path / name, mapped=mapped)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "is empty; expected one array of numbers as numpy.save writes it"),
        (lambda data: data[:-7], "is truncated or damaged"),
        (lambda data: data[:40], "is truncated or damaged"),
        (lambda data: data[:8], "is truncated or damaged"),
        (lambda data: data[:3], "is no .npy file"),
        (lambda data: data.replace(b"'shape'", b"'shade'"), "is truncated or damaged"),
        (lambda data: data.replace(b"(3, 4)", b"(3, 4("), "is truncated or damaged"),
        (lambda data: data.replace(b"(3, 4)", b"(3, 9)"), "is truncated or damaged"),
        (lambda data: b"1 2 3\n", "is no .npy file"),
    ],
)
@pytest.mark.parametrize("mapped", [True, False])
def test_damaged_arrays_are_named(tmp_path, spoil, message, mapped):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4)))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ConnectomeError, match=message) as caught:
        open_array(path, mapped=mapped)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a"]),
        np.array([1j]),
        np.array([True]),
        np.zeros(2, [("a", float)]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([3], "m8[s]"),
    ],
)
def test_other_than_real_numbers_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ConnectomeError, match=r"a\.npy holds values of type .*; expected real numbers"):
        open_array(tmp_path / "a.npy")


def test_archives_and_missing_files_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ConnectomeError, match="zip archive"):
        open_array(tmp_path / "a.npy")
    for missing in (tmp_path / "b.npy", tmp_path):
        with pytest.raises(FileNotFoundError, match="no file"):
            open_array(missing)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (1025, 6)])
def test_rows_are_written_as_numpy_would(tmp_path, shape):
    array = np.random.default_rng(0).normal(size=shape)
    asked = []
    write_rows(tmp_path / "a.npy", shape, lambda rows: asked.append(rows) or array[rows], size=100)
    np.save(tmp_path / "b.npy", array.astype(np.float32))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert max(rows.stop - rows.start for rows in asked) <= 100


def test_json(tmp_path):
    record = {"a": [1, 2.5, None, True], "größe": {"b": "√"}}
    write_json(tmp_path / "a.json", record)
    assert read_json(tmp_path / "a.json") == record
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(3), "p": tmp_path})
    assert read_json(tmp_path / "a.json") == {"n": 3, "x": 0.5, "v": [0, 1, 2], "p": str(tmp_path)}
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{}\r\n")
    assert read_json(tmp_path / "a.json") == {}
    for wrong, message in ((b"", "not valid JSON"), (b"{", "not valid JSON"), (b"\xff{}", "not valid JSON"), (b"[1]", "it holds a list")):
        (tmp_path / "a.json").write_bytes(wrong)
        with pytest.raises(ConnectomeError, match=rf"a\.json .*{message}"):
            read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.json; expected a JSON object"):
        read_json(tmp_path / "b.json")
    for wrong in ({"a": object()}, {"a": {(1, 2): 3}}, {"a": {1, 2}}):
        with pytest.raises(ConnectomeError, match=r"c\.json can hold text, numbers, lists and objects"):
            write_json(tmp_path / "c.json", wrong)


# --- tables ----------------------------------------------------------------------------------------------------------------

CELL = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).map(str.strip)
TEXT = CELL.filter(lambda text: text not in ("", "n/a", "N/A", "NA", "NaN", "nan") and not is_number(text))
NUMBER = st.floats(allow_infinity=False)


def is_number(text: str) -> bool:
    return pd.notna(pd.to_numeric(text, errors="coerce")) or text.lower().strip("+-") in ("nan", "inf", "infinity")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_tables_come_back(tmp_path_factory, data):
    """Every digit of the numbers, any text, what is missing, codes that are digits."""
    n = data.draw(st.integers(1, 6))
    several = {"min_size": n, "max_size": n}
    ids = data.draw(st.lists(CELL.filter(lambda text: text not in ("", "n/a")), **several, unique=True))
    columns = {
        "number": pd.Series(data.draw(st.lists(NUMBER, **several)), dtype=float),
        "whole": pd.Series(data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), **several)), dtype="int64"),
        "text": pd.Series(["x", *data.draw(st.lists(TEXT | st.none(), min_size=n - 1, max_size=n - 1))]),
        "code": pd.Series(data.draw(st.lists(st.sampled_from(["0", "1", "01", "NA", None]), **several)), dtype="str"),
        "family_id": pd.Series(["007", *data.draw(st.lists(st.sampled_from(["1", "02", "x", None]), min_size=n - 1, max_size=n - 1))]),
    }
    table = pd.DataFrame(columns).set_axis(pd.Index(ids, name="participant_id", dtype=object), axis=0)
    described = {"code": {"Levels": {"0": "no", "1": "yes", "01": "other", "NA": "North America"}}}
    folder = tmp_path_factory.mktemp("table")
    write_participants(table, described, folder)
    again, notes = read_participants(folder / "participants.tsv")
    if table["code"].isna().all():
        again["code"] = again["code"].astype("str")
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert notes == described
    first = (folder / "participants.tsv").read_bytes()
    write_participants(again, notes, folder)
    assert (folder / "participants.tsv").read_bytes() == first


def read(folder, text: str, described: dict | None = None, encoding: str = "utf-8"):
    (folder / "participants.tsv").write_bytes(text.encode(encoding))
    if described is not None:
        write_json(folder / "participants.json", described)
    return read_participants(folder / "participants.tsv")[0]


def test_types_follow_the_description(tmp_path):
    header = "participant_id\tsex\tage\tcode\tcount\tsession_id\tfamily_id\tsample\n"
    text = header + "1\t0\t61\t1.0\t3\t01\t1\t0\n02\t1\tn/a\t-3.0\t4\t02\tn/a\t0\n"
    described = {"sex": {"Levels": {"0": "f", "1": "m"}}, "age": {"Units": "years"}, "code": {"Kind": "categorical"}}
    table = read(tmp_path, text, described)
    assert table.index.tolist() == ["1", "02"]
    assert table["sex"].tolist() == ["0", "1"]
    assert table["age"].dtype == np.float64
    assert table["code"].tolist() == ["1", "-3"]  # a spreadsheet's '1.0'
    assert table["count"].dtype == np.int64
    assert table["session_id"].tolist() == ["01", "02"]
    assert table["family_id"].tolist()[0] == "1"
    assert table["family_id"].isna().tolist() == [False, True]
    assert table["sample"].dtype.kind == "i"
    # Levels decide before Units, Kind before both
    both = read(
        tmp_path, text, {"count": {"Units": "cups", "Levels": {"3": "", "4": ""}}, "sex": {"Kind": "continuous", "Levels": {"0": ""}}}
    )
    assert both["count"].tolist() == ["3", "4"]
    assert both["sex"].dtype == np.int64
    # a description given by the caller comes before the file beside the table
    given = read_participants(tmp_path / "participants.tsv", {"sex": {"Levels": {"0": "f", "1": "m"}}})[0]
    assert given["sex"].tolist() == ["0", "1"]


def test_tables_as_others_write_them(tmp_path):
    """A byte order mark, Windows line ends, quoted cells, blanks, empty lines, a trailing tab, an id column further right."""
    text = '\ufeffage\t participant_id \tnote\r\n61.5 \t"sub ä"\t"said ""hm""\tand left"\t\r\n\r\n \tsub-2\t  \r\n\t\t\r\nNA\tNA\tNaN\r\n'
    table = read(tmp_path, text)
    assert table.index.tolist() == ["sub ä", "sub-2", "NA"]
    assert table["age"].tolist()[0] == 61.5
    assert table["age"].isna().tolist() == [False, True, True]
    assert table["note"].tolist()[0] == 'said "hm"\tand left'
    assert table["note"].isna().tolist() == [False, True, True]
    old_mac = read(tmp_path, "participant_id\tage\rx\t1\ry\t2\r")
    assert old_mac["age"].tolist() == [1, 2]
    assert read(tmp_path, "participant_id\nx\n").shape == (1, 0)
    assert read(tmp_path, "participant_id\tid\nx\t123456789012345678901234567890\n")["id"].tolist() == [123456789012345678901234567890.0]


def test_a_first_column_without_a_name(tmp_path):
    """As pandas and R write the names of rows: the people's, unless another column names them."""
    with pytest.warns(ConnectomeWarning, match="the first column, which has no name, is taken for participant_id"):
        table = read(tmp_path, ",age\nx,61\ny,62\n")
    assert list(table.index) == ["x", "y"] and list(table) == ["age"]
    with pytest.warns(ConnectomeWarning, match="column 'Subject' is taken for participant_id"):
        table = read(tmp_path, '"","Subject","age"\n"1","x","61"\n"2","y","62"\n')
    assert list(table.index) == ["x", "y"] and list(table) == ["age"]
    assert list(read(tmp_path, ",participant_id,age\n0,x,61\n1,y,62\n")) == ["age"]
    with pytest.raises(ConnectomeError, match="column 2 has no name"):
        read(tmp_path, "participant_id,,age\nx,1,61\n")
    with pytest.raises(ConnectomeError, match="has no column 'participant_id' .it has '', 'sub', 'id'"):
        read(tmp_path, ",sub,id\n0,x,61\n1,y,62\n")


def test_tables_of_spreadsheets(tmp_path):
    """Separated by commas or semicolons, with decimal commas behind those, and another name for who a row is."""
    table = read(tmp_path, 'participant_id,age,note\r\nx,61.5,"a, b"\r\ny,,\r\n')
    assert table["age"].tolist()[0] == 61.5 and table["age"].isna().tolist() == [False, True]
    assert table["note"].tolist()[0] == "a, b"
    for name in ("Subject_ID", "id", "Participants", "SUBID", "subject id"):
        with pytest.warns(ConnectomeWarning, match=f"column '{name}' is taken for participant_id"):
            european = read(tmp_path, f"{name};age;room\nx;61,5;1,2,3\ny;-7;b\n")
        assert (european.index.name, european.index.tolist()) == ("participant_id", ["x", "y"])
        assert european["age"].tolist() == [61.5, -7]
        assert european["room"].tolist() == ["1,2,3", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a table with a column participant_id and one row a person"),
        ("\n", "is empty"),
        ("participant_id\tage\n", "has a header but no people"),
        ("name\tage\nx\t1\n", "has no column 'participant_id' .it has 'name', 'age'."),
        ("subject\tid\nx\t1\n", "has no column 'participant_id' .it has 'subject', 'id'."),
        ("participant_id,age\nx,1,2\n", "line 2 has 3 cells, the header 2"),
        ("participant_id\tage\nx\t1\ny\t2\nx\t3\n", "participant_id must be unique, 'x' occurs more than once"),
        ("participant_id\tage\nx\t1\nn/a\t2\n", "row 2 below the header has none"),
        ("participant_id\tage\nx\t1\n\t2\n", "row 2 below the header has none"),
        ("participant_id\tage\nx\told\n", r"column 'age': expected finite numbers \(years\) or n/a, got 'old' \(participant 'x'\)"),
        ("participant_id\tage\nx\tinf\n", "got 'inf'"),
        ("participant_id\tage\nx\t6,5\n", "got '6,5'"),
        ("participant_id\tage\tage\nx\t1\t2\n", "has column 'age' more than once"),
        ("participant_id\tage\t\nx\t1\t2\n", "column 3 has no name"),
        ("participant_id\tage\nx\t1\t2\n", "line 2 has 3 cells, the header 2"),
        ("participant_id\tage\n\nx\n", "line 3 has 1 cells, the header 2"),
        ('participant_id\tage\nx\t"1\ny\t2\n', "open quotation mark"),
        ("participant_id\tsample\nx\t0\nx\t2\n", "participant 'x' has 2 in place of 1"),
        ("participant_id\tsample\nx\t1\n", "participant 'x' has 1 in place of 0"),
        ("participant_id\tsample\nx\t0\nx\tn/a\n", "participant 'x' has n/a in place of 1"),
        ("participant_id\tsample\nx\t0\ny\t0\nx\t1\n", "rows of a person must lie together, those of 'x' do not"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    with pytest.raises(ConnectomeError, match=message) as caught:
        read(tmp_path, text, {"age": {"Units": "years"}})
    assert "participants.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table at .*participants\.tsv; expected a table"):
        read_participants(tmp_path / "participants.tsv")
    with pytest.raises(ConnectomeError, match="is not UTF-8 text"):
        read(tmp_path, "participant_id\nä\n", encoding="latin-1")
    with pytest.raises(ConnectomeError, match=r"participants\.json: the description of 'age' must be an object"):
        read(tmp_path, "participant_id\tage\nx\t1\n", {"age": "years"})
    with pytest.raises(ConnectomeError, match=r"participants\.json: column 'age': Kind is one of"):
        read(tmp_path, "participant_id\tage\nx\t1\n", {"age": {"Kind": "number"}})


def test_categories_keep_their_order(tmp_path):
    table = pd.DataFrame(
        {
            "dose": pd.Categorical([2, 1, 2], [1, 2, 10], ordered=True),
            "place": pd.Categorical(["x", None, "y"], ["y", "x"]),
            "said": pd.Categorical(["0", "1", "0"]),
        },
        index=["a", "b", "c"],
    )
    write_participants(table, {"said": {"Levels": {"0": "no", "1": "yes"}}, "dose": {"Group": "clinical"}}, tmp_path)
    again, notes = read_participants(tmp_path / "participants.tsv")
    assert notes["dose"] == {"Group": "clinical", "Levels": {"1": "1", "2": "2", "10": "10"}, "Kind": "ordinal"}
    assert notes["place"] == {"Levels": {"y": "y", "x": "x"}}
    assert notes["said"] == {"Levels": {"0": "no", "1": "yes"}}
    assert again["dose"].tolist() == ["2", "1", "2"]


def test_the_description_of_every_column_is_kept(tmp_path):
    described = {**DESCRIBED, "participant_id": {"Description": "who"}, "family_id": {"Description": "kin"}, "elsewhere": {"Units": "m"}}
    write_participants(make_phenotypes(), described, tmp_path)
    assert read_participants(tmp_path / "participants.tsv")[1] == described


# --- folders ---------------------------------------------------------------------------------------------------------------


def listing(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_new_folder_appears_complete(tmp_path):
    target = tmp_path / "deep" / "er" / "ä b"
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("new")
        (folder / "sub").mkdir()
        assert not target.exists()
    assert listing(tmp_path / "deep") == ["er", "er/ä b", "er/ä b/a.txt", "er/ä b/sub"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode  # the user's umask, not a private folder


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_nothing(tmp_path, error):
    def write_half():
        with new_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert listing(tmp_path) == []


def test_an_existing_folder_needs_force_and_keeps_what_is_not_ours(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with new_folder(target) as folder:  # an empty one is as good as none
        (folder / "a.txt").write_text("first")
    (target / "notes.md").write_text("mine")
    with pytest.raises(ConnectomeError, match=r"out exists; .*--force"), new_folder(target):
        pytest.fail("the block must not run")
    with new_folder(target, force=True) as folder:
        (folder / "a.txt").write_text("second")
        (folder / "b.txt").write_text("second")
    assert listing(tmp_path) == ["out", "out/a.txt", "out/b.txt", "out/notes.md"]
    assert [(target / name).read_text() for name in ("a.txt", "b.txt", "notes.md")] == ["second", "second", "mine"]


@pytest.mark.parametrize("failing", range(1, 8))
def test_an_error_while_files_move_brings_the_old_ones_back(tmp_path, monkeypatch, failing):
    target = tmp_path / "out"
    target.mkdir()
    for name in ("a.txt", "b.txt", "notes.md"):
        (target / name).write_text("old")
    replace, calls = os.replace, []

    def failing_replace(source, destination):
        calls.append(source)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing_replace)

    def overwrite():
        with new_folder(target, force=True) as folder:
            for name in ("0.txt", "a.txt", "b.txt", "c.txt"):
                (folder / name).write_text("new")

    if failing <= 6:  # a and b are moved aside first, 0 and c have nothing in their way
        with pytest.raises(OSError, match="Input/output"):
            overwrite()
        assert listing(tmp_path) == ["out", "out/a.txt", "out/b.txt", "out/notes.md"]
        assert {path.read_text() for path in target.iterdir()} == {"old"}
    else:
        overwrite()
        assert len(calls) == 6
        assert (target / "c.txt").read_text() == "new"


def test_a_target_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    for force in (False, True):
        with pytest.raises(ConnectomeError, match="out is a file; name a folder"):
            check_target(tmp_path / "out", force)
    check_target(tmp_path / "other")
    check_target(tmp_path, force=True)
    with pytest.raises(ConnectomeError, match="exists"):
        check_target(tmp_path)


def test_a_link_and_the_current_folder_are_written_through(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"
    monkeypatch.chdir(tmp_path / "real")
    with new_folder(".", force=True) as folder:
        (folder / "b.txt").write_text("new")
    with new_folder("deeper") as folder:
        (folder / "c.txt").write_text("new")
        monkeypatch.chdir(tmp_path)  # the path is meant from where the block began
    assert listing(tmp_path) == ["link", "real", "real/a.txt", "real/b.txt", "real/deeper", "real/deeper/c.txt"]


def test_json_of_a_cohort_is_readable(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Zürich"})
    assert "Zürich" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"name": "Zürich"}

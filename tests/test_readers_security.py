"""Files that mean harm or are merely strange: refused in a sentence, in bounded time and memory, and nothing is ever run or written."""

from __future__ import annotations

import gzip
import pickle
import resource
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from brains import text_of, write_zip
from fuzz_targets import ATLAS, MATRIX, PYG, graph, graphml, npy, zipped

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers import read_cohort, read_regions, read_ukb_phenotypes
from connectome_gnn.readers.archives import gunzip, open_zip, read_member
from connectome_gnn.readers.matlab import read_mat
from connectome_gnn.readers.pyg import DATABASE

PEOPLE = pd.DataFrame({"age": [50.0]}, index=["1000012"])
CSV = "connectome_streamline_count_10M.csv"


@pytest.fixture
def flat_memory():
    """The process's largest memory may grow by 300 MB during the test."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def read(path: Path, **given):
    return read_cohort(
        path, **{"participants": PEOPLE.set_axis([given.pop("person", "1000012")]), "atlas": ATLAS, "measure": "streamline_count", **given}
    )


def refused(path: Path, *words: str, **given) -> None:
    with pytest.raises(ConnectomeError) as error:
        read(path, **given)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert len(str(error.value)) < 1500


def bomb(path: Path, n_pieces: int) -> Path:
    """An archive of two million bytes for each piece, which takes a few thousand."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(CSV, "w") as member:
        for _ in range(n_pieces):
            member.write(b"0," * 2**20)
    return path


# --- zip archives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../" + CSV, "/etc/" + CSV, "..\\" + CSV, "C:\\" + CSV, "inner/" + CSV])
def test_paths_in_archives_are_no_names(tmp_path, name):
    write_zip(tmp_path / "in" / "1000012_31020_2_0.zip", {name: text_of(MATRIX)})
    refused(tmp_path / "in", f"expected {CSV} at its root, it holds")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1000012_31020_2_0.zip", "in"]


def test_tvb_archives_with_paths(tmp_path):
    for name in ("../weights.txt", "/weights.txt", "a/../weights.txt"):
        write_zip(tmp_path / "1000012.zip", {name: text_of(MATRIX, " ")})
        refused(tmp_path / "1000012.zip", "1000012.zip", format="tvb")


def test_nested_archives_are_not_opened(tmp_path):
    write_zip(tmp_path / "1000012_31020_2_0.zip", {"again.zip": zipped({CSV: text_of(MATRIX)})})
    refused(tmp_path, "it holds another archive ('again.zip'), which is not opened; unpack it first")


def test_a_bomb_that_says_its_size(tmp_path, flat_memory):
    bomb(tmp_path / "1000012_31020_2_0.zip", 200)
    assert (tmp_path / "1000012_31020_2_0.zip").stat().st_size < 2_000_000
    refused(tmp_path, f"({CSV}) claims 419,430,400 bytes, more than the 1,051,712 that such a file can need")


def test_a_bomb_that_lies_about_its_size(tmp_path, flat_memory):
    path = bomb(tmp_path / "1000012_31020_2_0.zip", 50)
    data = bytearray(path.read_bytes())
    real = struct.pack("<I", 50 * 2**21)
    assert data.count(real) == 2  # in the member's header and in the directory
    path.write_bytes(bytes(data).replace(real, struct.pack("<I", 400)))
    refused(tmp_path, "1000012_31020_2_0.zip")


def test_a_bomb_in_a_bomb(tmp_path, flat_memory):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(b"0," * 2**20) for _ in range(100)) + packer.flush()
    write_zip(tmp_path / "1000012_31020_2_0.zip", {CSV + ".gz": packed})
    refused(tmp_path, "unpacks to more than 1,051,712 bytes, which no connectome needs")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1000012.csv.gz").write_bytes(packed)
    refused(tmp_path / "x", "unpacks to more than 1,051,712 bytes")
    assert gunzip(gzip.compress(b"a") + gzip.compress(b"b"), "x") == b"ab"
    with pytest.raises(ConnectomeError, match="truncated gzip"):
        gunzip(gzip.compress(b"abc")[:-4], "x")


def test_many_members_encryption_and_other_packings(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for n in range(10_001):
            archive.writestr(zipfile.ZipInfo(str(n)), b"")
    with pytest.raises(ConnectomeError, match="many.zip holds 10,001 files, more than 10,000"), open_zip(tmp_path / "many.zip"):
        pass
    path = write_zip(tmp_path / "1000012_31020_2_0.zip", {CSV: text_of(MATRIX)}, zipfile.ZIP_LZMA)
    refused(path, "is packed by method 14; expected a plain zip archive")
    data = bytearray(write_zip(path, {CSV: text_of(MATRIX)}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, "is encrypted; unpack and pack it again without a password")
    path.write_bytes(zipped({CSV: text_of(MATRIX)})[:-30])
    refused(path, "is no zip archive, or a damaged one")


def test_a_wrong_checksum_is_noticed(tmp_path):
    data = bytearray(zipped({CSV: text_of(MATRIX)}, zipfile.ZIP_STORED))
    place = data.index(b"1", data.index(CSV.encode()) + len(CSV))
    data[place] = ord("2")
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with open_zip(path) as archive, pytest.raises(ConnectomeError, match="cannot be unpacked .Bad CRC-32"):
        read_member(archive, CSV, "a.zip")


# --- Python objects -----------------------------------------------------------------------------------------------------


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path(tempfile.gettempdir()) / "connectome_gnn_trap",))


@pytest.fixture
def trap():
    path = Path(tempfile.gettempdir()) / "connectome_gnn_trap"
    path.unlink(missing_ok=True)
    yield
    assert not path.exists()


def test_npz_with_objects(tmp_path, trap):
    np.savez(tmp_path / "1000012.npz", W=np.array([Trap()], dtype=object))
    refused(tmp_path, "(W.npy) holds pickled Python objects, which are never loaded")
    (tmp_path / "1000012.npz").write_bytes(pickle.dumps(Trap()))
    refused(tmp_path, "is no zip archive")
    np.savez(tmp_path / "1000012.npz", W=MATRIX, note=np.array([{}], dtype=object))
    refused(tmp_path, "(note.npy) holds pickled Python objects")


def test_npy_headers_are_no_programs(tmp_path, trap, flat_memory):
    def made(header: str) -> bytes:
        text = header.ljust(118) + "\n"
        return npy(MATRIX)[:8] + struct.pack("<H", len(text)) + text.encode() + b"\0" * 288

    for header in (
        "__import__('pathlib').Path('/tmp/connectome_gnn_trap').touch()",
        "{'descr': '|O', 'fortran_order': False, 'shape': (6, 6), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-6, -6), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (36,), }",
        "{'descr': '<f8', 'fortran_order': 1, 'shape': (6, 6), }",
        "[" * 60,
        "{'descr': '<U0', 'fortran_order': False, 'shape': (6, 6), }",
    ):
        (tmp_path / "1000012.npz").write_bytes(zipped({"W.npy": made(header)}))
        refused(tmp_path / "1000012.npz", "1000012.npz")
        (tmp_path / "1000012.npy").write_bytes(made(header))
        refused(tmp_path / "1000012.npy", "1000012.npy")


def test_mat_files_with_objects(tmp_path, trap):
    class Thing:
        def __init__(self):
            self.a = 1

    scipy.io.savemat(tmp_path / "1000012.mat", {"thing": Thing(), "cells": np.array([MATRIX, "x", {"a": 1}], dtype=object), "SC": MATRIX})
    variables = read_mat(tmp_path / "1000012.mat")
    assert isinstance(variables["thing"], dict) and isinstance(variables["cells"], list)
    assert read(tmp_path).weights.shape == (1, 15)
    scipy.io.savemat(tmp_path / "1000012.mat", {"cells": np.array([MATRIX, 1], dtype=object)})
    refused(tmp_path, "holds no 6 x 6 matrix of numbers")
    scipy.io.savemat(tmp_path / "1000012.mat", {"SC": MATRIX + 1j})
    refused(tmp_path, "holds no 6 x 6 matrix of numbers")
    scipy.io.savemat(tmp_path / "1000012.mat", {"SC": MATRIX}, format="4")
    refused(tmp_path, "is no MATLAB file of version 5 to 7.3")


def test_mat_bombs(tmp_path, flat_memory):
    scipy.io.savemat(tmp_path / "1000012.mat", {"SC": MATRIX}, do_compression=True)
    head = (tmp_path / "1000012.mat").read_bytes()[:128]
    zeros = zlib.compressobj(9)
    packed = b"".join(zeros.compress(b"\0" * 2**20) for _ in range(400)) + zeros.flush()
    (tmp_path / "1000012.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    refused(tmp_path, "unpacks to more than 134,217,728 bytes, which no connectome needs")
    # An array that says 2 x 10^9 values and has none; a sparse one of 10^5 x 10^5.
    name, flags = struct.pack("<II8s", 1, 2, b"SC"), struct.pack("<IIII", 6, 8, 6, 0)
    dims = struct.pack("<IIii", 5, 8, 2**31 - 1, 1)
    body = flags + dims + name + struct.pack("<II", 9, 0)
    (tmp_path / "1000012.mat").write_bytes(head + struct.pack("<II", 14, len(body)) + body)
    refused(tmp_path, "shape (2147483647, 1) of 0 values")
    body = body.replace(flags, struct.pack("<IIII", 6, 8, 5, 0)).replace(dims, struct.pack("<IIii", 5, 8, 10**5, 10**5))
    body += struct.pack("<II", 5, 0) * 2
    (tmp_path / "1000012.mat").write_bytes(head + struct.pack("<II", 14, len(body)) + body)
    refused(tmp_path, "1000012.mat")


def test_mat73_that_points_elsewhere(tmp_path, flat_memory):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["SC"] = MATRIX
    (tmp_path / "raw").write_bytes(MATRIX.tobytes())
    path = tmp_path / "in" / "1000012.mat"
    path.parent.mkdir()

    def made(write) -> None:
        with h5py.File(path, "w") as file:
            write(file)

    made(lambda file: file.__setitem__("SC", h5py.ExternalLink(str(secret), "SC")))
    refused(path.parent, "holds no 6 x 6 matrix of numbers")
    made(lambda file: file.create_dataset("SC", (6, 6), "f8", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]))
    refused(path.parent, "holds no 6 x 6 matrix of numbers")
    layout = h5py.VirtualLayout((6, 6), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "SC", (6, 6))
    made(lambda file: file.create_virtual_dataset("SC", layout))
    refused(path.parent, "holds no 6 x 6 matrix of numbers")
    made(lambda file: file.create_dataset("SC", (100_000, 100_000), "f8", chunks=(1000, 1000), compression="gzip"))
    refused(path.parent, "holds more than 134,217,728 bytes of values")
    made(lambda file: file.create_dataset("SC", data=np.array(["x"] * 36, dtype=h5py.string_dtype()).reshape(6, 6)))
    refused(path.parent, "holds no 6 x 6 matrix of numbers")
    path.write_bytes(path.read_bytes()[:700])
    refused(path.parent, "is a truncated or damaged MATLAB 7.3 file")


# --- XML ----------------------------------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
DECLARED = {
    "entity bomb": BOMB,
    "external entity": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "external document type": '<!DOCTYPE l SYSTEM "http://127.0.0.1:9/x.dtd">',
    "parameter entity": '<!DOCTYPE l [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>',
    "empty document type": "<!DOCTYPE graphml>",
}


@pytest.mark.parametrize("kind", DECLARED)
def test_graphml_declares_nothing(tmp_path, kind, flat_memory):
    text = "<?xml version='1.0' encoding='utf-8'?>" + DECLARED[kind] + graphml(graph()).decode()
    text = text.replace("<graph ", "<graph id='&c;' " if "bomb" in kind else "<graph ")
    (tmp_path / "1000012.graphml").write_text(text)
    refused(tmp_path, "declares a document type or entities, which GraphML does not need and which are never read")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</graphml>", "", "is no well-formed GraphML"),
        ("<graph ", "<graph><node id='9'/></graph><graph ", "holds several graphs"),
        ('source="1"', 'sauce="1"', "an element edge without 'source'"),
        ('target="2"', 'target="nowhere"', "ends at no node"),
        ("<node ", "<graph2>" * 40 + "<node ", "nested more deeply"),
        (">260<", ">many<", "expected a number as 'weight'"),
        ("utf-8", "utf-99", "is in an encoding that cannot be read"),
        ("</data>", "x" * 200_000 + "</data>", "holds a value of more than 100,000 characters"),
    ],
)
def test_damaged_graphml(tmp_path, old, new, said):
    text = "<?xml version='1.0' encoding='utf-8'?>" + graphml(graph()).decode()
    text = text.replace(f">{MATRIX[0, 1]}<", ">260<")
    assert old in text
    (tmp_path / "1000012.graphml").write_text(text.replace(old, new, 1))
    refused(tmp_path, said)


def test_graphml_without_nodes(tmp_path):
    text = graphml(graph()).decode()
    start, end = text.index("<node"), text.rindex("/>", 0, text.index("<edge")) + 2
    (tmp_path / "1000012.graphml").write_text(text[:start] + text[end:])
    np.testing.assert_array_equal(read(tmp_path).dense()[0], MATRIX.astype(np.float32))


# --- databases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"CREATE TABLE", b"CREATE T\xe9BLE", "is damaged: write it again"),  # which sqlite quotes, as no text
        (b"SQLite format 3", b"SQLite format 9", "is damaged: write it again"),
        (b"participant_id", b"participant_ix", "is damaged: write it again"),
    ],
)
def test_damaged_databases(tmp_path, old, new, said):
    for name, content in PYG.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert old in PYG[DATABASE]
    (tmp_path / DATABASE).write_bytes(PYG[DATABASE].replace(old, new))
    with pytest.raises(ConnectomeError, match=said):
        read_cohort(tmp_path)


# --- text ---------------------------------------------------------------------------------------------------------------


def test_a_million_columns(tmp_path, flat_memory):
    path = tmp_path / "1000012.csv"
    path.write_text(",".join(["0"] * 1_000_000))
    refused(tmp_path, "far more than 6 x 6 numbers need")
    refused(tmp_path, "expected 1 x 1 numbers", atlas=None)
    path.write_text("label\t" + "\t".join(map(str, range(1_000_000))) + "\na\tb\n")
    with pytest.raises(ConnectomeError, match="line 2 has 2 cells, the header 1000001"):
        read_regions(path)
    path.write_text("eid," + ",".join(f"{n}-2.0" for n in range(1_000_000)) + "\n1" + ",5" * 1_000_000 + "\n")
    with pytest.raises(ConnectomeError, match="more than 20,000 columns"):
        read_ukb_phenotypes(path)
    path.write_text("\n".join(["0 1 " + "2 " * 1_000_000]))
    refused(tmp_path, "1000012.csv", format="edges")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.234,5;0\n0;1", "got '1.234,5'; write numbers without thousands separators"),
        ('"1,234","0"\n"0","1"', "'1,234', which could have a decimal comma or separate thousands"),
        ("1,234;0\n0;5,5", None),  # 5,5 shows that commas are decimals
        ("1 234;0\n0;1", "got '1 234'"),
        ("0;\u22121\n\u22121;0", "got '\u22121'"),
        ("0;1e5000\n1e5000;0", "got inf"),
        ("0;0x10\n0x10;0", "got '0x10'"),
    ],
)
def test_numbers_as_people_write_them(tmp_path, text, said):
    (tmp_path / "1000012.csv").write_text(text, encoding="utf-8")
    from connectome_gnn.atlas import Atlas

    atlas = Atlas(["a", "b"])
    if said is None:
        with pytest.raises(Warning):
            read(tmp_path, atlas=atlas)
        return
    refused(tmp_path, said, atlas=atlas)


def test_a_person_per_worker_that_dies_is_a_sentence(tmp_path, monkeypatch):
    import os

    from connectome_gnn.readers import filling

    def dies(path):
        os._exit(3)

    chunks = filling.chunks_of(70, 15)
    with pytest.raises(ConnectomeError, match="a process that read connectomes ended without a word"):
        list(filling.read_chunks(dies, list(range(70)), chunks, ATLAS, False, 2, True))

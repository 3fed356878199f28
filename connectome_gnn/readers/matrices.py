"""Plain matrices: a folder of .npy, .csv, .tsv or .txt files, one a person, or one .npy of everybody."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import open_array
from connectome_gnn.readers.source import Source
from connectome_gnn.readers.text import read_text_matrix

__all__ = ["SUFFIXES", "open_matrices", "recognise_matrices"]

SUFFIXES = (".npy", ".csv", ".tsv", ".txt")
TABLES = ("participants.tsv", "atlas.tsv")
PLACEHOLDER = "{participant_id}"


def recognise_matrices(source: Path) -> str | None:
    """Why a path looks like plain matrices, or None."""
    if source.is_file():
        return f"a {source.suffix.lower()} file" if source.suffix.lower() in SUFFIXES else None
    found = _matrix_files(source, ())
    return f"a folder of {found[0].suffix.lower()} files" if found else None


def open_matrices(source: Path, atlas: Atlas, people: Sequence[str] | None, pattern: str | None, tables: Collection[Path] = ()) -> Source:
    """Find people's matrices and their ids, without reading them.

    Parameters
    ----------
    source : a folder with one file a person, or one file: an .npy of shape (N, R, R) or (N, E) whose rows are the participants table's,
        or one person's matrix.
    atlas : the atlas of R regions.
    people : ids of the participants table, in order; None without a table.
    pattern : path of a person's file inside the folder, with ``{participant_id}`` for the id and ``*`` for anything, as
        ``"{participant_id}/dwi/*_connectome.csv"``; default: every file, the id being its name without the suffix.
    tables : files that are not connectomes (the participants table, the atlas).

    Raises
    ------
    ConnectomeError
        If there is nothing to read, two files are of one person, or an array has another size than the atlas and the table.
    """
    if source.is_dir():
        return _open_folder(source, atlas, people, pattern, tables)
    if pattern is not None:
        raise ConnectomeError(f"{source} is one file; a pattern is for a folder of files")
    n_regions, n_edges = atlas.n_regions, atlas.n_edges
    array = open_array(source) if source.suffix.lower() == ".npy" else None
    stacked = array is not None and array.shape[1:] in ((n_regions, n_regions), (n_edges,))
    if array is None or array.shape == (n_edges,) or (array.shape == (n_regions, n_regions) and not (stacked and len(people or ()) > 1)):
        one = "one file is one person, named by the file; give a folder of files, or an .npy of shape (people, regions, regions)"
        return Source((source.stem,), lambda row: (_values(source, atlas), str(source)), str(source), one)
    if not stacked:
        raise ConnectomeError(
            f"{source}: expected an array of shape (people, {n_regions}, {n_regions}) or (people, {n_edges}) for the {n_regions} regions "
            f"of atlas {atlas.name!r}, got {array.shape}"
        )
    if people is None:
        raise ConnectomeError(f"{source} holds {len(array)} connectomes without names; give the participants table whose rows they are")
    if len(people) != len(array):
        raise ConnectomeError(
            f"{source} holds {len(array)} connectomes, the participants table {len(people)} people; every row needs its other half"
        )
    return Source(tuple(people), lambda row: (array[row], f"{source} row {row} (participant {people[row]!r})"), str(source), "")


def _open_folder(source: Path, atlas: Atlas, people: Sequence[str] | None, pattern: str | None, tables: Collection[Path]) -> Source:
    if pattern is None:
        files = [(path.stem, path) for path in _matrix_files(source, tables)]
        if not files:
            raise ConnectomeError(f"{source} holds no {', '.join(SUFFIXES)} file; expected one matrix a person")
    else:
        files = _files_by_pattern(source, pattern)
    files.sort(key=lambda file: _natural(file[0]))
    for (first, path), (second, other) in pairwise(files):
        if first == second:
            raise ConnectomeError(
                f"participant {first!r} has two files, {path.name} and {other.name}, in {source}; choose by a pattern with {PLACEHOLDER}"
            )
    hint = "every person needs both, or leave the others out (--no-strict, strict=False)"
    if pattern is None and people is not None:
        hint = _suggestion([path for _, path in files], people) or hint
    return Source(tuple(name for name, _ in files), lambda row: (_values(files[row][1], atlas), str(files[row][1])), str(source), hint)


def _values(path: Path, atlas: Atlas) -> NDArray:
    return open_array(path) if path.suffix.lower() == ".npy" else read_text_matrix(path, atlas)


def _matrix_files(folder: Path, tables: Collection[Path]) -> list[Path]:
    """The folder's own files that can be matrices: not hidden, no table of people or regions."""
    apart = {path.resolve() for path in tables}
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in files if path.name not in TABLES and path.is_file() and path.resolve() not in apart)


def _files_by_pattern(folder: Path, pattern: str) -> list[tuple[str, Path]]:
    """Id and path of every file that a pattern fits."""
    parts = PurePosixPath(pattern).parts
    if pattern.count(PLACEHOLDER) != 1 or pattern.startswith("/") or ".." in parts or "**" in pattern:
        raise ConnectomeError(
            f"expected a pattern inside {folder} with {PLACEHOLDER} once and * for anything within a name, as "
            f"'{PLACEHOLDER}_connectome.csv', got {pattern!r}"
        )
    names = {PLACEHOLDER: r"(?P<id>[^/]+?)", "*": "[^/]*"}
    shape = re.compile(
        "".join(names.get(piece, re.escape(piece)) for piece in re.split(rf"({re.escape(PLACEHOLDER)}|\*)", "/".join(parts)))
    )
    places = glob.escape("/".join(parts).replace("*", "\0").replace(PLACEHOLDER, "\0")).replace("\0", "*")
    found = ((shape.fullmatch(path.relative_to(folder).as_posix()), path) for path in folder.glob(places) if path.is_file())
    files = [(match["id"], path) for match, path in found if match]
    if not files:
        raise ConnectomeError(f"no file in {folder} fits the pattern {pattern!r}")
    other = [path for _, path in files if path.suffix.lower() not in SUFFIXES]
    if other:
        raise ConnectomeError(f"{other[0]} is no plain matrix; expected {', '.join(SUFFIXES)}")
    return files


def _suggestion(files: Sequence[Path], people: Sequence[str]) -> str | None:
    """A pattern that would fit a file's name with one of the people in it, as advice."""
    stems = {path.stem for path in files}
    if any(person in stems for person in people):
        return None
    for path in files:
        inside = max((person for person in people if person in path.stem), key=len, default=None)
        if inside is not None:
            return f"try --pattern {path.name.replace(inside, PLACEHOLDER, 1)!r}"
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts sub-2 before sub-10."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)] + [(-2, name)]

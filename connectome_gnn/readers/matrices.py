"""Plain matrices: a folder of .npy, .npz, .csv, .tsv, .txt or .mat files, one a person, or one array of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import open_array
from connectome_gnn.readers.apart import advised, nothing_in
from connectome_gnn.readers.arrays import read_npz
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.matlab import read_mat
from connectome_gnn.readers.place import suffix_of
from connectome_gnn.readers.regions import atlas_of_labels
from connectome_gnn.readers.sniffing import is_edge_list, looking_like, looks_numeric
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import text_connectome
from connectome_gnn.readers.variables import chosen, labels_in, matrices_in

__all__ = ["MATRICES", "SUFFIXES", "StackRow"]

TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
SUFFIXES = (".npy", ".csv", ".tsv", ".txt", ".npz", ".mat", ".csv.gz", ".tsv.gz", ".txt.gz")


@dataclass(frozen=True)
class StackRow:
    """Reads a person's row of one array of everybody.

    Attributes
    ----------
    array : (N, R, R) or (N, E), perhaps a memory map.
    where : the file.
    people : whose row is whose.
    labels : (R,) names that the file gives the rows.
    """

    array: NDArray
    where: str
    people: tuple[str, ...]
    labels: tuple[str, ...] | None = None

    def __call__(self, row: int) -> RawConnectome:
        """The connectome of a row."""
        return RawConnectome(self.array[row], f"{self.where} row {row} (participant {self.people[row]!r})", self.labels)


@dataclass(frozen=True)
class _MatrixFile:
    """Reads a person's file."""

    atlas: Atlas
    key: str | None
    measure: str | None

    def __call__(self, path: Path) -> RawConnectome:
        suffix = suffix_of(path)
        if suffix == ".npy":
            return RawConnectome(open_array(path), str(path))
        if suffix in (".npz", ".mat"):
            variables: dict[str, Any] = dict(read_npz(path)) if suffix == ".npz" else read_mat(path)
            found = matrices_in(variables, len(self.atlas))
            name = chosen(found, self.key, str(path), self.measure, self.atlas)
            return RawConnectome(found[name], f"{path} ({name})", labels_in(variables, len(self.atlas)))
        return text_connectome(path, self.atlas)


def _recognise(request: Request) -> Claim | None:
    found = request.place.with_suffix(*SUFFIXES)
    files = looking_like(found, lambda path: suffix_of(path) not in TEXT or (looks_numeric(path) and not is_edge_list(path, only=True)))
    if not files or (len(files) == 1 and _with_diagonal(files[0], request.atlas)):
        return None
    what = f"a {suffix_of(files[0])} file" if request.place.root.is_file() else f"a folder of {suffix_of(files[0])} files"
    return Claim(what, frozenset(files))


def _open(request: Request) -> Source:
    place = request.place
    files = place.with_suffix(*SUFFIXES)
    if not files:
        raise nothing_in(place, SUFFIXES, "one matrix a person")
    other = [path for path in files if suffix_of(path) not in SUFFIXES]
    if other:
        raise ConnectomeError(f"{other[0]} is no plain matrix; expected {', '.join(SUFFIXES)}")
    try:
        atlas = request.atlas or _own_atlas(files[0])
    except ConnectomeError as error:
        raise advised(error, files[0], files, place) from error
    if atlas is None:
        raise atlas_needed(str(place.root), _n_regions(files[0]))
    if len(files) == 1 and (place.chosen is None or place.chosen[0][0] is None):
        stack = _stack(files[0], atlas, request)
        if stack is not None:
            return stack
    ids, files = place.people(files)
    hint = EVERYBODY
    if place.root.is_file():
        hint = "one file is one person, named by the file; give a folder of files, or an .npy of shape (people, regions, regions)"
    return Source(ids, files, _MatrixFile(atlas, request.key, request.measure), str(place.root), hint, files, atlas)


def _stack(path: Path, atlas: Atlas, request: Request) -> Source | None:
    """The connectomes of one array of everybody, whose rows are those of the participants table; None where the file is one person's."""
    n_regions, n_edges = len(atlas), atlas.n_edges
    suffix, people = suffix_of(path), request.people
    where, labels = str(path), None
    if suffix == ".npy":
        array = open_array(path)
    elif suffix in (".npz", ".mat"):
        variables: dict[str, Any] = dict(read_npz(path)) if suffix == ".npz" else read_mat(path)
        stacks = {name: stack for name, value in variables.items() if (stack := _people_first(value, atlas, suffix)) is not None}
        if request.key is not None:
            stacks = {name: stack for name, stack in stacks.items() if name == request.key}
        if not stacks:
            return None
        if len(stacks) > 1:
            raise ConnectomeError(f"{path} holds several arrays of people, {', '.join(map(repr, stacks))}; say which by key (--key)")
        name, array = next(iter(stacks.items()))
        where, labels = f"{path} ({name})", labels_in(variables, n_regions)
    else:
        return None
    stacked = array.ndim > 1 and array.shape[1:] in ((n_regions, n_regions), (n_edges,))
    if array.shape == (n_edges,) or (array.shape == (n_regions, n_regions) and not (stacked and len(people or ()) > 1)):
        return None
    if not stacked:
        raise ConnectomeError(
            f"{path}: expected an array of shape (people, {n_regions}, {n_regions}) or (people, {n_edges}) for the {n_regions} regions "
            f"of atlas {atlas.name!r}, got {array.shape}"
        )
    if people is None:
        raise ConnectomeError(f"{path} holds {len(array)} connectomes without names; give the participants table whose rows they are")
    if len(people) != len(array):
        raise ConnectomeError(
            f"{path} holds {len(array)} connectomes, the participants table {len(people)} people; every row needs its other half"
        )
    read = StackRow(array, where, people, labels)
    return Source(people, range(len(people)), read, where, "", (path,), atlas, parallel=False)


def _people_first(value: Any, atlas: Atlas, suffix: str) -> NDArray | None:
    """An array (N, R, R) of a MATLAB (R, R, N) or NumPy (N, R, R) variable; None where it is none."""
    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.dtype.kind not in "fiub":
        return None
    if suffix == ".mat":
        value = np.moveaxis(value, -1, 0)
    return value if value.shape[1:] == (len(atlas), len(atlas)) else None


def _own_atlas(path: Path) -> Atlas | None:
    """The regions that the first person's file names; None where it names none."""
    suffix = suffix_of(path)
    if suffix in (".npz", ".mat"):
        variables: dict[str, Any] = dict(read_npz(path)) if suffix == ".npz" else read_mat(path)
        sizes = {len(value) for value in matrices_in(variables, None).values()}
        labels = labels_in(variables, sizes.pop()) if len(sizes) == 1 else None
    elif suffix in TEXT:
        labels = text_connectome(path, None).labels
    else:
        return None
    return None if labels is None else atlas_of_labels(labels, path.stem, str(path))


def _with_diagonal(path: Path, atlas: Atlas | None) -> bool:
    """Whether a file's rows are triangles with their diagonals, which only nilearn writes."""
    if atlas is None or suffix_of(path) != ".npy":
        return False
    try:
        return open_array(path).shape[1:] == (atlas.n_edges + len(atlas),)
    except ConnectomeError:
        return False


def _n_regions(path: Path) -> int | None:
    return len(text_connectome(path, None).values) if suffix_of(path) in TEXT else None


MATRICES = Format("matrices", "plain matrices", _recognise, _open, plain=True)

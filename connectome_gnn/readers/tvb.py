"""The Virtual Brain's connectivity archives: weights, centres and tract lengths as text in a zip, read in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np

from connectome_gnn.atlas import Atlas
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.apart import nothing_in
from connectome_gnn.readers.archives import open_zip, read_member
from connectome_gnn.readers.regions import atlas_of_labels
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import BYTES_A_CELL, decode, is_number, parse_matrix

__all__ = ["TVB"]

MATRICES = ("weights", "tract_lengths")
CENTRES = ("centres", "centers")
SIDES = ("hemispheres", "hemisphere")


@dataclass(frozen=True)
class _Connectivity:
    """Reads a person's archive."""

    atlas: Atlas
    matrix: str

    def __call__(self, path: Path) -> RawConnectome:
        with open_zip(path) as archive:
            name = _member(archive, (self.matrix,))
            if name is None:
                raise ConnectomeError(
                    f"{path} holds no {self.matrix}.txt; it holds {', '.join(map(repr, archive.namelist()[:6])) or 'nothing'}"
                )
            raw = parse_matrix(
                read_member(archive, name, str(path), BYTES_A_CELL * (len(self.atlas) + 1) ** 2 + 2**20), str(path), self.atlas
            )
            labels = None if _member(archive, CENTRES) is None else _centres(archive, path)[0]
        return RawConnectome(raw.values, f"{path} ({name})", labels)


def _member(archive: ZipFile, stems: tuple[str, ...]) -> str | None:
    """A text file of the archive, at its root or in one folder, by the beginning of its name."""
    for name in archive.namelist():
        parts = PurePosixPath(name).parts
        plain = len(parts) <= 2 and ".." not in parts and not name.startswith("/")
        if plain and parts and parts[-1].lower() in {f"{stem}{suffix}" for stem in stems for suffix in (".txt", ".txt.gz", ".csv", "")}:
            return name
    return None


def _centres(archive: ZipFile, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels (R,) and coordinates (R, 3) of the regions."""
    name = _member(archive, CENTRES)
    if name is None:
        raise ConnectomeError(f"{path} holds no centres.txt, which names the regions; give the atlas")
    lines = [line for line in decode(read_member(archive, name, str(path)), f"{path} ({name})").splitlines() if line.strip()]
    rows = [line.replace(",", " ").replace("\t", " ").split() for line in lines if not line.lstrip().startswith("#")]
    for number, row in enumerate(rows, 1):
        if len(row) != 4 or not all(map(is_number, row[1:])):
            raise ConnectomeError(f"{path} ({name}) line {number}: expected a label and x, y, z, got {' '.join(row)[:60]!r}")
    return tuple(row[0].strip("\"'") for row in rows), np.array([[float(cell) for cell in row[1:]] for row in rows]).reshape(-1, 3)


def _own_atlas(path: Path) -> Atlas:
    with open_zip(path) as archive:
        labels, xyz = _centres(archive, path)
        name = _member(archive, SIDES)
        sides = [] if name is None else decode(read_member(archive, name, str(path)), f"{path} ({name})").split()
    numbers = [float(side) for side in sides if is_number(side)]
    right = ["R" if number else "L" for number in numbers] if len(numbers) == len(labels) else [hemisphere_of(label) for label in labels]
    return atlas_of_labels(labels, path.stem, str(path), right, np.where(np.isfinite(xyz), xyz, np.nan))


def _recognise(request: Request) -> Claim | None:
    files = request.place.with_suffix(".zip")
    if not files:
        return None
    try:
        with open_zip(files[0]) as archive:
            found = _member(archive, ("weights",))
    except ConnectomeError:
        return None
    return Claim(f"{files[0].name} holds {found}", frozenset(files)) if found else None


def _open(request: Request) -> Source:
    place = request.place
    files = place.with_suffix(".zip")
    if not files:
        raise nothing_in(place, [".zip"], "The Virtual Brain's connectivity archives")
    matrix = request.key or "weights"
    if matrix not in MATRICES:
        raise ConnectomeError(f"{place.root}: expected weights or tract_lengths as key, got {matrix!r}")
    ids, files = place.people(files)
    atlas = request.atlas or _own_atlas(files[0])
    measure = "tract_length" if matrix == "tract_lengths" else None
    notes = () if request.atlas else ("coordinates of regions are those of centres.txt, in whatever space these are",)
    return Source(ids, files, _Connectivity(atlas, matrix), str(place.root), EVERYBODY, files, atlas, measure, notes=notes)


TVB = Format("tvb", "The Virtual Brain connectivity archives", _recognise, _open)

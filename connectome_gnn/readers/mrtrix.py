"""MRtrix3's tck2connectome: headerless matrices, upper triangle or symmetric, perhaps with a first row of unassigned streamlines.

Row i is region i of the ``labelconvert`` table, which is the atlas to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.place import SUBJECT
from connectome_gnn.readers.sniffing import first_lines, looking_like
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import text_connectome

__all__ = ["MRTRIX"]

NAMED = re.compile(r"sub-[A-Za-z0-9]+(?:_[A-Za-z0-9.+-]+)*_connectome\.(?:csv|tsv|txt)")
SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".txt.gz")
SAID = "tck2connectome"


@dataclass(frozen=True)
class _Connectome:
    """Reads a person's matrix."""

    atlas: Atlas

    def __call__(self, path: Path) -> RawConnectome:
        return text_connectome(path, self.atlas, unassigned=True)


def _said(path: Path) -> bool:
    return any(SAID in line for line in first_lines(path, 8192) if line.lstrip().startswith("#"))


def _recognise(request: Request) -> Claim | None:
    place = request.place
    said = looking_like(place.with_suffix(*SUFFIXES), _said)
    if said:
        return Claim(f"{said[0].name} says that {SAID} wrote it", frozenset(said))
    named = place.named(NAMED)
    return Claim(f"{named[0].name} is named as tck2connectome's outputs are", frozenset(named)) if named else None


def _open(request: Request) -> Source:
    place = request.place
    files = place.named(NAMED) if place.is_folder else place.own
    files = files or place.with_suffix(*SUFFIXES)
    if not files:
        raise ConnectomeError(f"{place.root} holds no matrix in text; expected tck2connectome's outputs ({', '.join(SUFFIXES)})")
    if request.atlas is None:
        raise atlas_needed(f"{place.root} (tck2connectome names no regions: the labelconvert table does)", _n_regions(files[0]))
    subjects = [SUBJECT.match(path.name) for path in files]
    names = [match.group() for match in subjects if match]
    ids, files = place.people(files, names if len(names) == len(files) else None)
    return Source(ids, files, _Connectome(request.atlas), str(place.root), EVERYBODY, files, request.atlas)


def _n_regions(path: Path) -> int:
    return len(text_connectome(path, None).values)


MRTRIX = Format("mrtrix", "MRtrix3 tck2connectome", _recognise, _open)

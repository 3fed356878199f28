"""UK Biobank's structural connectomes (Mansour et al. 2023): a zip a person, read in memory.

The archives are named ``{eid}_{field}_{instance}_0.zip`` and hold, at their root, ``connectome_<measure>_10M.csv`` (or .csv.gz) for four
measures. Regions are not named: cortex comes first, then Tian's subcortex, right side first. Which atlas a field is, the user says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import open_zip, read_member
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import BYTES_A_CELL, parse_matrix

__all__ = ["MEASURES", "UKB"]

ARCHIVE = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)\.zip")
MEMBER = re.compile(r"connectome_([A-Za-z0-9_]+?)_\d+M\.csv(?:\.gz)?")
MEASURES = {"streamline_count": "streamline_count", "sift2_fbc": "sift2_fbc", "mean_fa": "mean_FA", "mean_length": "mean_length"}
"""Names of the measures, and how the files spell them."""


@dataclass(frozen=True)
class _Archive:
    """Reads a person's archive."""

    atlas: Atlas
    measure: str

    def __call__(self, path: Path) -> RawConnectome:
        with open_zip(path) as archive:
            names = archive.namelist()
            fitting = [name for name in names if (match := MEMBER.fullmatch(name)) and match[1].lower() == self.measure]
            if len(fitting) != 1:
                raise ConnectomeError(f"{path}: {_absent(names, self.measure, len(fitting))}")
            data = read_member(archive, fitting[0], str(path), BYTES_A_CELL * (len(self.atlas) + 1) ** 2 + 2**20)
        return parse_matrix(data, f"{path} ({fitting[0]})", self.atlas)


def _absent(names: list[str], measure: str, found: int) -> str:
    expected = f"connectome_{MEASURES.get(measure, measure)}_10M.csv"
    if found > 1:
        return f"expected one {expected}, it holds {found}"
    nested = [name for name in names if name.lower().endswith(".zip")]
    if nested:
        return f"expected {expected} at its root, it holds another archive ({nested[0]!r}), which is not opened; unpack it first"
    shown = ", ".join(repr(name[:80]) for name in names[:4]) or "nothing"
    return f"expected {expected} at its root, it holds {shown}"


def _recognise(request: Request) -> Claim | None:
    files = request.place.named(ARCHIVE)
    if not files:
        return None
    return Claim(f"{files[0].name} is named as UK Biobank's bulk archives are", frozenset(files))


def _open(request: Request) -> Source:
    place = request.place
    files = place.named(ARCHIVE)
    if not files:
        raise ConnectomeError(
            f"{place.root} holds no archive named {{eid}}_{{field}}_{{instance}}_0.zip; expected UK Biobank's connectomes"
        )
    parts = [match.groups() for path in files if (match := ARCHIVE.fullmatch(path.name))]
    kinds = sorted({part[1:] for part in parts})
    if len(kinds) > 1:
        shown = ", ".join(f"{field}_{instance}_{array}" for field, instance, array in kinds[:6])
        raise ConnectomeError(
            f"{place.root} holds archives of several fields or visits ({shown}); choose by a pattern, as "
            f"'{{participant_id}}_{'_'.join(kinds[0])}.zip' (--pattern)"
        )
    measure = (request.measure or request.key or "").lower()
    if measure not in MEASURES:
        given = f", got {request.measure!r}" if request.measure else ""
        raise ConnectomeError(
            f"say what a weight of {place.root} is: every archive holds {', '.join(MEASURES)}{given}; choose by measure (--measure)"
        )
    if request.atlas is None:
        field = f"{place.root}, field {kinds[0][0]} (a field's atlas is in UK Biobank's showcase)"
        raise atlas_needed(field, _n_regions(files[0], measure))
    ids, files = place.people(files, [part[0] for part in parts])
    return Source(ids, files, _Archive(request.atlas, measure), str(place.root), EVERYBODY, files, request.atlas, measure)


def _n_regions(path: Path, measure: str) -> int | None:
    """The size of the first person's matrix, for the message that asks for the atlas."""
    with open_zip(path) as archive:
        for name in archive.namelist():
            if (match := MEMBER.fullmatch(name)) and match[1].lower() == measure:
                return len(parse_matrix(read_member(archive, name, str(path)), str(path), None).values)
    return None


UKB = Format("ukb", "UK Biobank connectome archives", _recognise, _open)

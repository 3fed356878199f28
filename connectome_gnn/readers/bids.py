"""BIDS connectivity matrices (the proposal BEP017, giga-connectome, XCP-D): ``sub-X_..._relmat.tsv``, ``sub-X_..._relmat.dense.tsv``.

Headerless, or with the regions' names in the first row and column. ``..._nodeindices.tsv`` names the regions of headerless ones; a
``..._relmat.json`` beside the file or above it says what a weight is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import read_json
from connectome_gnn.readers.known import atlas_needed
from connectome_gnn.readers.place import SUBJECT, Place, entities
from connectome_gnn.readers.regions import atlas_of_labels, read_regions
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.text import text_connectome

__all__ = ["BIDS"]

NAMED = re.compile(r"sub-.*_relmat(?:\.dense)?\.tsv(?:\.gz)?")
NODES = re.compile(r".*nodeindices\.tsv")
MEASURES = {"pearsoncorrelation": "pearson", "spearmancorrelation": "spearman", "partialcorrelation": "partial_correlation"}
OF_A_PERSON = ("sub", "ses", "run")


@dataclass(frozen=True)
class _Matrix:
    """Reads a person's matrix."""

    atlas: Atlas

    def __call__(self, path: Path) -> RawConnectome:
        return text_connectome(path, self.atlas)


def _measure_name(text: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    return MEASURES.get(plain, re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", text).lower().strip("_"))


def _kind(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in entities(path.name).items() if key not in OF_A_PERSON)


def _sidecar(path: Path, root: Path) -> dict[str, Any]:
    """What JSON files say of a matrix, the nearest first: every file in the folders up to the root whose entities are all the matrix's."""
    found: dict[str, Any] = {}
    pairs = set(entities(path.name).items())
    for folder in [path.parent, *path.parent.parents]:
        for beside in sorted(folder.glob("*relmat*.json")):
            if set(entities(beside.name).items()) <= pairs:
                found = {**read_json(beside), **found}
        if folder == root:
            break
    return found


def _recognise(request: Request) -> Claim | None:
    files = request.place.named(NAMED)
    if not files:
        return None
    return Claim(f"{files[0].name} is named as BIDS connectivity matrices are", frozenset((*files, *request.place.named(NODES))))


def _of_one_kind(files: Iterable[Path], request: Request) -> tuple[Path, ...]:
    """The matrices of one atlas, measure and processing.

    Raises
    ------
    ConnectomeError
        If there are several kinds, and neither the measure nor the pattern says which.
    """
    kinds: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in files:
        kinds.setdefault(_kind(path), []).append(path)
    wanted = request.measure
    if len(kinds) > 1 and wanted is not None:
        kinds = {kind: paths for kind, paths in kinds.items() if _measure_name(dict(kind).get("meas", "")) == wanted.lower()} or kinds
    if len(kinds) > 1 and request.key is not None:
        kinds = {kind: paths for kind, paths in kinds.items() if request.key in paths[0].name}
    if len(kinds) != 1:
        shown = "; ".join("_".join(f"{key}-{value}" for key, value in kind) for kind in list(kinds)[:6])
        raise ConnectomeError(
            f"{request.place.root} holds matrices of several kinds ({shown or f'none with {request.key!r} in the name'}); say which by "
            "measure (--measure), key (--key, a part of the name) or pattern (--pattern)"
        )
    return tuple(next(iter(kinds.values())))


def _open(request: Request) -> Source:
    place = request.place
    files = place.named(NAMED) if place.is_folder else place.with_suffix(".tsv", ".tsv.gz")
    if not files:
        raise ConnectomeError(f"{place.root} holds no file named sub-*_relmat.tsv; expected BIDS connectivity matrices")
    files = _of_one_kind(files, request)
    subjects = [match.group() for path in files if (match := SUBJECT.search(path.name))]
    ids, files = place.people(files, subjects if len(subjects) == len(files) else None)
    notes = _sidecar(files[0], place.root)
    if notes.get("Directed") in (True, "true"):
        raise ConnectomeError(f"{files[0]}: its JSON says Directed; expected undirected connectomes")
    measure = request.measure or _measure_name(str(entities(files[0].name).get("meas") or notes.get("RelationshipMeasure") or ""))
    atlas = request.atlas or _own_atlas(files[0], place)
    if atlas is None:
        raise atlas_needed(str(place.root), len(text_connectome(files[0], None).values))
    return Source(ids, files, _Matrix(atlas), str(place.root), EVERYBODY, files, atlas, measure or None)


def _own_atlas(path: Path, place: Place) -> Atlas | None:
    """The regions by the matrix's header, or by the one nodeindices table whose atlas is the matrix's."""
    labels = text_connectome(path, None).labels
    pairs = entities(path.name)
    name = pairs.get("seg") or pairs.get("atlas") or ""
    if labels is not None:
        return atlas_of_labels(labels, name, str(path))
    tables = place.named(NODES)
    fitting = (
        [table for table in tables if entities(table.name).get("atlas", entities(table.name).get("seg")) == name] if name else list(tables)
    )
    return read_regions(fitting[0]) if len(fitting) == 1 else None


BIDS = Format("bids", "BIDS connectivity matrices", _recognise, _open)

"""A cohort's native folder: its record (cohort.json), its tables, and opening it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.support import check_weights

__all__ = ["RECORDED", "WRITTEN_AS", "check_record", "load_cohort", "record_of", "write_tables"]

RECORDED = ("name", "measure", "signed", "directed", "diagonal", "kind", "atlas")
"""Entries of cohort.json that a cohort keeps as its own; the others are its ``info``."""

WRITTEN_AS = "written_as"
"""The entry of cohort.json that says how a folder's connectomes are written, where they are not native."""


def record_of(cohort: Cohort) -> dict[str, Any]:
    """What ``cohort.json`` says of a cohort."""
    return {
        **cohort.info,
        "name": cohort.name,
        "measure": cohort.measure,
        "signed": cohort.signed,
        "directed": False,
        "diagonal": False,
        "kind": cohort.kind,
        "atlas": cohort.atlas.name,
    }


def check_record(record: dict[str, Any], path: Path) -> None:
    """Refuse a ``cohort.json`` that does not say what a weight is, or says that connectomes are directed."""
    for key, kind in (("measure", str), ("signed", bool)):
        if not isinstance(record.get(key), kind):
            raise ConnectomeError(f"{path} must say {key!r} ({'text' if kind is str else 'true or false'})")
    if record.get("directed"):
        raise ConnectomeError(f"{path} says directed; expected undirected connectomes")


def write_tables(cohort: Cohort, folder: Path) -> None:
    """See :meth:`connectome_gnn.Cohort.write_tables`."""
    native.write_participants(cohort.phenotypes, cohort.described, folder)
    cohort.atlas.save(folder / "atlas.tsv")
    native.write_json(folder / "cohort.json", record_of(cohort))


def load_cohort(path: Path, check: bool) -> Cohort:
    """See :meth:`connectome_gnn.Cohort.load`."""
    if not path.is_dir():
        raise FileNotFoundError(f"no cohort folder at {path}; expected a folder with {', '.join(native.NATIVE_FILES)}")
    record = native.read_json(path / "cohort.json")
    check_record(record, path / "cohort.json")
    if record.get(WRITTEN_AS) is not None:  # connectomes.npy, where there is one, is of a cohort that was here before
        raise ConnectomeError(
            f"{path} was written as {record[WRITTEN_AS]!r}, not as a native folder; read it with read_cohort, or convert it first"
        )
    atlas = Atlas.load(path / "atlas.tsv", name=str(record.get("atlas", "")))
    weights = native.open_array(path / "connectomes.npy")
    if weights.ndim == 2 and len(weights) == 0:
        raise ConnectomeError(f"{path / 'connectomes.npy'} holds no people; expected at least one row")
    if weights.ndim != 2 or weights.shape[1] != atlas.n_edges:
        raise ConnectomeError(
            f"{path / 'connectomes.npy'}: expected (people, {atlas.n_edges}) for the {atlas.n_regions} regions of atlas.tsv, "
            f"got {weights.shape}; "
            "give the upper triangle without the diagonal"
        )
    table, described = native.read_participants(path / "participants.tsv")
    if len(table) != len(weights):
        raise ConnectomeError(
            f"{path}: connectomes.npy holds {len(weights)} people, participants.tsv {len(table)}; every person needs a row in both"
        )
    try:
        cohort = Cohort(
            weights,
            table,
            atlas,
            measure=record["measure"],
            signed=record["signed"],
            name=str(record.get("name", path.name)),
            kind=str(record.get("kind", "observed")),
            described=described,
            info={key: value for key, value in record.items() if key not in RECORDED},
            check=False,
        )
    except ConnectomeError as error:
        raise ConnectomeError(f"{path}: {error}") from error
    try:
        if check:
            check_weights(cohort)
    except ConnectomeError as error:
        raise ConnectomeError(f"{path / 'connectomes.npy'}: {error}") from error
    return cohort

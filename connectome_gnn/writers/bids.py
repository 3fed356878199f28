"""BIDS derivatives: relation matrices (the proposal BEP017) with the tables around them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from connectome_gnn import native
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeWarning
from connectome_gnn.writers.text import matrices_of, matrix_lines

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["ORIGINAL", "write_bids"]

VERSION = "1.10.0"
SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
ORIGINAL = "original_id"
"""The column with a cohort's own ids, where BIDS would not take them."""
OUR_OWN = ("atlas.tsv", "cohort.json")


def write_bids(cohort: Cohort, folder: Path) -> None:
    """Write ``sub-<label>/<dwi or func>/sub-<label>[_run-<n>]_..._relmat.dense.tsv`` for everybody, and what BIDS wants beside them."""
    from connectome_gnn import __version__

    subjects = _subjects(cohort.ids)
    if subjects != list(cohort.ids):
        _rename(cohort, subjects, folder)
    runs = [""] * len(cohort)
    if "sample" in cohort.phenotypes:
        runs = [f"_run-{int(sample) + 1}" for sample in cohort.phenotypes["sample"]]
        warnings.warn(
            f"cohort {cohort.name!r}: BIDS lists a person once; participants.tsv keeps a row a sample, and matrices are runs from 1 on",
            ConnectomeWarning,
            stacklevel=4,
        )
    kind = f"atlas-{_label(cohort.atlas.name) or 'atlas'}_meas-{_label(cohort.measure.title()) or 'weight'}"
    place = "func" if cohort.signed else "dwi"
    for row, matrix in matrices_of(cohort, "Writing matrices"):
        path = folder / subjects[row] / place / f"{subjects[row]}{runs[row]}_{kind}_relmat.dense.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(matrix_lines(matrix, "\t")) + "\n", encoding="utf-8")
    table_of_nodes = f"atlas-{_label(cohort.atlas.name) or 'atlas'}_nodeindices.tsv"
    about = {
        "RelationshipMeasure": cohort.measure,
        "Directed": False,
        "Weighted": True,
        "ValidDiagonal": False,
        "StorageFormat": "Full",
        "NonNegative": not cohort.signed,
        "Axes": table_of_nodes,
    }
    native.write_json(folder / f"{kind}_relmat.json", about)
    nodes = cohort.atlas.to_frame()
    nodes.insert(0, "index", range(1, len(nodes) + 1))
    nodes.to_csv(folder / table_of_nodes, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    native.write_json(folder / "dataset_description.json", _description(cohort, __version__))
    # these say what BIDS has no words for; the proposal's files are not known to validators yet
    (folder / ".bidsignore").write_text("\n".join((*OUR_OWN, "*_nodeindices.tsv", "*_relmat*")) + "\n", encoding="utf-8")


def _description(cohort: Cohort, version: str) -> dict[str, Any]:
    licence = cohort.info.get("licence", cohort.info.get("license"))
    told = {"License": str(licence)} if licence else {}
    generated = [{"Name": "connectome_gnn", "Version": version}]
    return {"Name": cohort.name, "BIDSVersion": VERSION, "DatasetType": "derivative", **told, "GeneratedBy": generated}


def _label(text: str) -> str:
    """A text as a BIDS label: letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _subjects(ids: pd.Index) -> list[str]:
    """``sub-<label>`` for every row: the id itself, its letters and digits where these tell people apart, or else a number."""
    people = list(ids.unique())
    names = [person if SUBJECT.fullmatch(person) else f"sub-{_label(person.removeprefix('sub-'))}" for person in people]
    if len({name.casefold() for name in names}) < len(names) or "sub-" in names:
        digits = len(str(len(people)))
        names = [f"sub-{number:0{digits}d}" for number in range(1, len(people) + 1)]
    named = dict(zip(people, names, strict=True))
    return [named[person] for person in ids]


def _rename(cohort: Cohort, subjects: list[str], folder: Path) -> None:
    """Write the participants table again under names that BIDS takes."""
    table = cohort.phenotypes.set_axis(pd.Index(subjects, name="participant_id"), axis=0)
    table = table.assign(**{ORIGINAL: list(cohort.ids)})
    note = {"Description": "participant_id of the cohort that was written", "Kind": "categorical"}
    native.write_participants(table, {**cohort.described, ORIGINAL: note}, folder)
    renamed = [person for person, subject in zip(cohort.ids, subjects, strict=True) if person != subject]
    warnings.warn(
        f"cohort {cohort.name!r}: BIDS names people sub-<letters and digits>; {len(renamed)} ids ({listed(renamed, 3)}) were written "
        f"otherwise, and stand in the column {ORIGINAL!r}",
        ConnectomeWarning,
        stacklevel=5,
    )

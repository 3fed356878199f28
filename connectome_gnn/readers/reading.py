"""Reading a cohort person by person: everything from found files to checked rows of weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.progress import progress
from connectome_gnn.readers.checks import check_connectome
from connectome_gnn.readers.matrices import open_matrices
from connectome_gnn.readers.people import SHOWN, Participants, listed
from connectome_gnn.readers.source import Source

__all__ = ["Reading"]

SIGNED_MEASURES = ("pearson", "spearman", "kendall", "correlation", "pearson_correlation", "partial_correlation")
"""Measures whose weights are correlations; any other is taken as non-negative unless ``signed`` says otherwise."""


@dataclass
class Reading:
    """A cohort being read: where its connectomes are, who its people are, and what there was to note."""

    source: Source
    rows: NDArray[np.intp]
    table: pd.DataFrame
    described: dict[str, Any]
    atlas: Atlas
    measure: str
    signed: bool
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        source: Path,
        participants: pd.DataFrame | str | Path | None,
        atlas: Atlas | str | Path | None,
        measure: str | None,
        signed: bool | None,
        pattern: str | None,
        strict: bool,
    ) -> Reading:
        """Find the files and the people, and bring them together; arguments as for ``read_cohort``."""
        if atlas is None and not (source / "atlas.tsv").is_file():
            raise ConnectomeError(
                f"give the atlas of {source} (a table with a column 'label'): the number of regions does not say which is which"
            )
        if not measure:
            raise ConnectomeError(f"say what a weight of {source} is: a measure such as 'streamline_count', 'mean_fa' or 'pearson'")
        regions = atlas if isinstance(atlas, Atlas) else Atlas.load(atlas or source / "atlas.tsv")
        if participants is None and (source / "participants.tsv").is_file():
            participants = source / "participants.tsv"
        people = Participants(participants)
        tables = [Path(path) for path in (participants, atlas) if isinstance(path, (str, Path))]
        ids = None if people.table is None else list(people.table.index)
        found = open_matrices(source, regions, ids, pattern, tables)
        rows, table, left_out = people.match(found.ids, found.what, found.hint, strict)
        if people.table is None:
            warnings.warn(f"no participants table given, nor in {source}: these people have no phenotypes", ConnectomeWarning, stacklevel=4)
        signed = measure.lower() in SIGNED_MEASURES if signed is None else signed
        return cls(found, rows, table, people.described, regions, measure, signed, left_out)

    def fill(self, weights: NDArray[np.float32], strict: bool) -> int:
        """Read everybody into the rows of ``weights``; the number of rows that were filled."""
        kept: list[int] = []
        self_loops, looped, mirrored, empty = 0, 0, 0, []
        with progress("Reading connectomes", len(self.rows)) as advance:
            for person, row in enumerate(self.rows):
                try:
                    values, where = self.source.read(int(row))
                    checked = check_connectome(values, self.atlas, self.signed, where)
                except (ConnectomeError, OSError) as error:
                    if strict:
                        raise
                    self.left_out[self.table.index[person]] = str(error)
                    continue
                finally:
                    advance()
                weights[len(kept)] = checked.edges
                kept.append(person)
                self_loops += checked.self_loops
                looped += checked.self_loops > 0
                mirrored += checked.mirrored
                if not checked.edges.any():
                    empty.append(self.table.index[person])
        if not kept:
            raise ConnectomeError(f"no connectome of {self.source.what} can be used: {next(iter(self.left_out.values()))}")
        self.table = self.table.iloc[kept]
        people = f"of {len(kept)} connectomes"
        if self_loops:
            self.notes.append(f"{self_loops:,} self-loops (non-zero diagonal cells) in {looped} {people} dropped")
        if mirrored:
            self.notes.append(f"{mirrored} {people} had one triangle filled, which was mirrored")
        if empty:
            self.notes.append(f"{len(empty)} {people} have no edge at all: {listed(empty)}")
        if self.left_out:
            reasons = [f"{person!r} ({reason})" for person, reason in self.left_out.items()]
            shown = ", ".join(reasons[:SHOWN]) + (", ..." if len(reasons) > SHOWN else "")
            self.notes.append(f"{len(reasons)} left out: {shown}")
        for note in self.notes:
            warnings.warn(f"{self.source.what}: {note}", ConnectomeWarning, stacklevel=3)
        return len(kept)

    def cohort(self, weights: NDArray[np.float32], name: str) -> Cohort:
        """The cohort of the people who were read, with their weights (N, E); already checked."""
        return Cohort(
            weights,
            self.table,
            self.atlas,
            measure=self.measure,
            signed=self.signed,
            name=name,
            described=self.described,
            info={"read_from": "matrices", "notes": self.notes, "left_out": self.left_out},
            check=False,
        )

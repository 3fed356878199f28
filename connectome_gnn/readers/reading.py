"""Reading a cohort: from what a user points at to checked rows of weights, in memory or straight on disk."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.cohort_folder import RECORDED
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.progress import progress
from connectome_gnn.readers.apart import advised, set_apart
from connectome_gnn.readers.filling import Facts, chunks_of, read_chunks
from connectome_gnn.readers.formats import FORMATS, detect
from connectome_gnn.readers.homotopy import doubt_order
from connectome_gnn.readers.known import atlas_needed, check_known
from connectome_gnn.readers.people import SHOWN, Participants, Table, listed
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.regions import read_atlas
from connectome_gnn.readers.resuming import fingerprint, unfinished
from connectome_gnn.readers.source import Request, Source

__all__ = ["Options", "Reading"]

SIGNED_MEASURES = (
    "pearson",
    "spearman",
    "kendall",
    "correlation",
    "pearson_correlation",
    "partial_correlation",
    "partial correlation",
    "tangent",
)
"""Measures whose weights are correlations; any other is taken as non-negative unless ``signed`` says otherwise."""
MOST_NAMED = 30
"""Files that were not read which a warning names."""
LOOKED_AT = 200
"""People whose mean shows whether rows are the atlas's regions."""


@dataclass(frozen=True)
class Options:
    """What a user says of a cohort to read; as for :func:`connectome_gnn.readers.read_cohort`."""

    format: str | None = None
    participants: Table | None = None
    atlas: Atlas | str | Path | None = None
    measure: str | None = None
    signed: bool | None = None
    name: str | None = None
    pattern: str | None = None
    key: str | None = None
    first_index: int | None = None
    strict: bool = True
    workers: int | None = None
    record: Mapping[str, Any] | None = None
    """What ``cohort.json`` says, where a folder is one of :func:`connectome_gnn.write_cohort`."""

    def place(self, source: str | Path) -> Place:
        """The files at a path or glob, the tables that were given left out."""
        return Place.find(
            source, self.pattern, [Path(table) for table in (self.participants, self.atlas) if isinstance(table, (str, Path))]
        )

    def given(self) -> list[str]:
        """Names of what was said that a native cohort folder says itself."""
        names = ("participants", "atlas", "measure", "signed", "pattern", "key", "first_index")
        return [name for name in names if getattr(self, name) is not None]


@dataclass
class Reading:
    """A cohort being read: where its connectomes are, who its people are, and what there was to note."""

    source: Source
    format: str
    because: str
    rows: NDArray[np.intp]
    table: pd.DataFrame
    described: dict[str, Any]
    atlas: Atlas
    measure: str
    signed: bool
    options: Options
    place: Place
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Facts] = field(default_factory=dict)

    @classmethod
    def open(cls, place: Place, options: Options) -> Reading:
        """Find the format, the files and the people, and bring them together.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a table is missing, the format, the atlas or the measure cannot be told, or people are on one side only.
        """
        beside = place.root if place.is_folder or (options.pattern is not None and place.root.is_dir()) else None
        given, participants = options.atlas, options.participants
        if beside is not None and given is None and (beside / "atlas.tsv").is_file():
            given = beside / "atlas.tsv"
        atlas = None if given is None else read_atlas(given)
        if beside is not None and participants is None and (beside / "participants.tsv").is_file():
            participants = beside / "participants.tsv"
        people = Participants(participants)
        ids = None if people.table is None else people.names
        signed = options.signed
        if signed is None and options.measure is not None:
            signed = options.measure.lower() in SIGNED_MEASURES
        place = replace(place, apart=frozenset(set_apart(place)))
        request = Request(place, atlas, ids, options.measure, signed, options.key, options.first_index)
        if options.format is None:
            format, because = detect(request)
        else:
            format, because = FORMATS[options.format], "as the user says" if options.record is None else "as its cohort.json says"
        unread = ""
        if place.apart and format.plain:
            names = sorted(path.name for path in place.apart)
            unread = (
                f"left unread, being no connectomes: {', '.join(names[:MOST_NAMED])}{', ...' if len(names) > MOST_NAMED else ''}; "
                "a table of people is given by participants (--participants), one of regions by atlas (--atlas)"
            )
            warnings.warn(f"{place.root}: {unread}", ConnectomeWarning, stacklevel=4)
        _announce(f"{place.root}: read as {format.name} ({format.title}), {because}")
        source = format.open(request)
        regions = atlas or source.atlas
        if regions is None:
            raise atlas_needed(str(place.root))
        check_known(regions, format.name, source.what)
        measure = options.measure or source.measure
        if not measure:
            raise ConnectomeError(f"say what a weight of {place.root} is: a measure such as 'streamline_count', 'mean_fa' or 'pearson'")
        rows, table, left_out, notes = people.match(source.ids, source.what, source.hint, options.strict)
        if people.table is None:
            nor = "" if beside is None else f", nor in {beside}"
            warnings.warn(f"no participants table given{nor}: these people have no phenotypes", ConnectomeWarning, stacklevel=4)
        signed = measure.lower() in SIGNED_MEASURES if signed is None else signed
        reading = cls(source, format.name, because, rows, table, people.described, regions, measure, signed, options, place, left_out)
        if unread:
            reading.notes.append(unread)
        for note in notes:
            reading._warn(note)
        reading.notes += source.notes
        return reading

    def in_memory(self) -> Cohort:
        """The cohort, read into memory."""
        weights = np.empty((len(self.rows), self.atlas.n_edges), np.float32)

        def keep(first: int, edges: NDArray[np.float32], facts: list[Facts]) -> None:
            weights[first : first + len(edges)] = edges

        kept = self._read({}, keep)
        weights = weights if len(kept) == len(weights) else weights[kept]
        self._finish(weights)
        return self._cohort(weights)

    def on_disk(self, out: Path, force: bool) -> Cohort:
        """The cohort, written to a native folder chunk by chunk; memory does not grow with the number of people."""
        shape = (len(self.rows), self.atlas.n_edges)
        with unfinished(out, shape, self._key()) as work:
            with work.writing() as files:
                kept = self._read(work.known, lambda first, edges, facts: work.store(files, first, edges, facts))
            weights = np.load(work.rows, mmap_mode="r")
            with native.new_folder(out, force) as folder:
                target = folder / "connectomes.npy"
                if len(kept) < len(weights):  # an .npy file says its number of rows at its beginning: write the people who are left anew
                    native.write_rows(target, (len(kept), shape[1]), lambda rows: weights[kept[rows]])
                    weights = np.load(target, mmap_mode="r")
                    self._finish(weights)
                else:
                    self._finish(weights)
                    work.rows.replace(target)
                self._cohort(weights).write_tables(folder)
        return Cohort.load(out, check=False)

    def _read(self, known: dict[int, list[Facts]], keep: Callable[[int, NDArray[np.float32], list[Facts]], None]) -> NDArray[np.intp]:
        """Read everybody whose chunk is not known yet; the rows of those who can be used."""
        items = [self.source.items[row] for row in self.rows]
        chunks = chunks_of(len(items), self.atlas.n_edges)
        facts: list[Facts] = [{} for _ in items]
        for rows in chunks:
            if rows.start in known:
                facts[rows.start : rows.stop] = known[rows.start]
        wanted = [rows for rows in chunks if rows.start not in known]
        before = len(items) - sum(map(len, wanted))
        already = f" ({before:,} were read before)" if before else ""
        with (
            progress(f"Reading connectomes{already}", len(items)) as advance,
            _closing(
                read_chunks(self.source.read, items, wanted, self.atlas, self.signed, self.options.workers, self.source.parallel)
            ) as parts,
        ):
            advance(before)
            for rows, edges, found in parts:
                for row, fact in zip(rows, found, strict=True):
                    if isinstance(fact, Exception):
                        if self.options.strict:
                            raise self._advised(fact, row)
                        fact = {"error": str(fact)}
                    facts[row] = fact
                keep(rows.start, edges, facts[rows.start : rows.stop])
                advance(len(rows))
        ids = list(self.table.index)
        self.left_out |= {ids[row]: fact["error"] for row, fact in enumerate(facts) if "error" in fact}
        kept = np.array([row for row, fact in enumerate(facts) if "error" not in fact], dtype=np.intp)
        if not len(kept):
            raise ConnectomeError(f"no connectome of {self.source.what} can be used: {next(iter(self.left_out.values()))}")
        self.table = self.table.iloc[kept]
        self.facts = {ids[row]: facts[row] for row in kept if facts[row]}
        return kept

    def _advised(self, error: Exception, row: int) -> Exception:
        """A person's error, with what to do where the file may be nobody's."""
        if not self.source.parallel or not isinstance(error, ConnectomeError):
            return error
        return advised(error, self.source.files[self.rows[row]], self.source.files, self.place)

    def _finish(self, weights: NDArray) -> None:
        """Note, and warn of, what there was to note."""
        people = f"of {len(weights)} connectomes"
        loops = {person: fact["self_loops"] for person, fact in self.facts.items() if "self_loops" in fact}
        if loops:
            self._warn(f"{sum(loops.values()):,} self-loops (non-zero diagonal cells) in {len(loops)} {people} dropped")
        mirrored = sum("mirrored" in fact for fact in self.facts.values())
        if mirrored:
            self._warn(f"{mirrored} {people} had one triangle filled, which was mirrored")
        unassigned = [person for person, fact in self.facts.items() if "unassigned" in fact]
        if unassigned:
            self._warn(f"a first row and column of unassigned streamlines in {len(unassigned)} {people} dropped")
        empty = [person for person, fact in self.facts.items() if "empty" in fact]
        if empty:
            self._warn(f"{len(empty)} {people} have no edge at all: {listed(empty)}")
        sample = np.unique(np.linspace(0, len(weights) - 1, min(LOOKED_AT, len(weights))).astype(int))
        mean = Scale(self.signed).forward(weights[sample]).mean(0, dtype=np.float64)
        doubt = None if self.measure == "tangent" else doubt_order(mean, self.atlas, self.signed)  # deviations from a mean have no sides
        if doubt:
            self._warn(f"{doubt}; compare it with the tool's list of regions")
        if self.left_out:
            reasons = [f"{person!r} ({reason})" for person, reason in self.left_out.items()]
            shown = ", ".join(reasons[:SHOWN]) + (", ..." if len(reasons) > SHOWN else "")
            self._warn(f"{len(reasons)} left out: {shown}")

    def _warn(self, note: str) -> None:
        self.notes.append(note)
        warnings.warn(f"{self.source.what}: {note}", ConnectomeWarning, stacklevel=5)

    def _key(self) -> str:
        """Changes with the files, the people, and everything that decides what is read from them."""
        stats = [path.stat() for path in self.source.files]
        return fingerprint(
            format=self.format,
            ids=[self.source.ids[row] for row in self.rows],
            people=list(self.table.index),
            files=[(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in zip(self.source.files, stats, strict=True)],
            read=repr(self.source.read) if self.source.parallel else "",
            atlas=self.atlas.labels,
            signed=self.signed,
            measure=self.measure,
            strict=self.options.strict,
        )

    def _cohort(self, weights: NDArray) -> Cohort:
        """The cohort of the people who were read, with their weights (N, E); already checked."""
        found: dict[str, dict[str, Any]] = {}
        for person, fact in self.facts.items():
            for name, value in fact.items():
                found.setdefault(name, {})[person] = value
        record = self.options.record or {}
        written = {key: value for key, value in record.items() if key not in RECORDED}
        info = {**written, "read_from": self.format, "because": self.because, "notes": self.notes, "left_out": self.left_out}
        return Cohort(
            weights,
            self.table,
            self.atlas,
            measure=self.measure,
            signed=self.signed,
            name=self.options.name or self.source_name(),
            kind=str(record.get("kind", "observed")),
            described=self.described,
            info={**info, "reading": found} if found else info,
            check=False,
        )

    def source_name(self) -> str:
        """A name for the cohort where the user gives none: that of the folder or file."""
        return Path(self.source.what.partition(" (")[0]).stem


def _announce(text: str) -> None:
    """Say something on a terminal, and nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


@contextmanager
def _closing(parts: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Close a generator when the block ends, so that its processes stop with it."""
    try:
        yield parts
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()

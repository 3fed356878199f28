"""Where a user points at: a file, a folder or a glob, and whose every file in it is."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

from connectome_gnn.errors import ConnectomeError

__all__ = ["PLACEHOLDER", "Place", "entities", "natural", "suffix_of"]

PLACEHOLDER = "{participant_id}"
TABLES = ("participants.tsv", "atlas.tsv")
PROSE = ("readme", "license", "licence", "changes", "citation", "upstream_license")
"""Beginnings of files that are for people to read, whatever they end in."""
DEEPEST = 8
"""How many folders below the one named are looked through."""
SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


@dataclass(frozen=True)
class Place:
    """The files that a user points at.

    Attributes
    ----------
    root : the folder, the file, or what a glob's matches have in common.
    chosen : (participant_id or None, file) where a pattern, a glob or a file chose them; None where a whole folder is meant.
    pattern : the pattern or glob, for messages.
    tables : files that are no connectomes (the participants table, the atlas).
    apart : files of the folder itself that are plainly something else, for formats that go by what files look like.
    """

    root: Path
    chosen: tuple[tuple[str | None, Path], ...] | None = None
    pattern: str | None = None
    tables: frozenset[Path] = frozenset()
    apart: frozenset[Path] = frozenset()

    @classmethod
    def find(cls, source: str | Path, pattern: str | None = None, tables: Iterable[Path] = ()) -> Place:
        """Find what there is at a path or a glob.

        Parameters
        ----------
        source : a file, a folder, or a glob (``"derivatives/*/dwi/*_connectome.csv"``, with ``**`` for any folders).
        pattern : path of a person's file inside the folder, with ``{participant_id}`` for the id and ``*`` for anything within a name.
        tables : files that are no connectomes.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If there is nothing, or the pattern fits no file.
        """
        path = Path(source)
        apart = frozenset(table.resolve() for table in tables)
        if path.is_file():
            if pattern is not None:
                raise ConnectomeError(f"{path} is one file; a pattern is for a folder of files")
            return cls(path, ((None, path),), None, apart)
        if path.is_dir():
            return cls(path, None if pattern is None else tuple(_by_pattern(path, pattern)), pattern, apart)
        if not glob.has_magic(str(source)):
            raise FileNotFoundError(f"nothing at {source}; expected a cohort folder, a folder or glob of connectomes, or one file")
        found = [Path(name) for name in glob.iglob(str(source), recursive=True)]
        files = sorted(file for file in found if file.is_file() and file.name not in TABLES and file.resolve() not in apart)
        if not files:
            raise FileNotFoundError(f"no file fits {source}")
        root = Path(os.path.commonpath([file.parent for file in files]))
        if pattern is not None:
            shape = _shape(root, pattern)
            fitting = ((shape.fullmatch(file.relative_to(root).as_posix()), file) for file in files)
            named = tuple((match["id"], file) for match, file in fitting if match)
            if not named:
                raise ConnectomeError(f"no file of {source} fits the pattern {pattern!r} (from {root})")
            return cls(root, named, pattern, apart)
        return cls(root, tuple((None, file) for file in files), str(source), apart)

    @property
    def is_folder(self) -> bool:
        """Whether a whole folder is meant, not files of one's choice."""
        return self.chosen is None

    @cached_property
    def own(self) -> tuple[Path, ...]:
        """The files chosen, or those of the folder itself: not hidden, no table of people or regions."""
        if self.chosen is not None:
            return tuple(path for _, path in self.chosen)
        files = (Path(entry.path) for entry in os.scandir(self.root) if not entry.name.startswith(".") and entry.is_file())
        found = (path for path in files if path.name not in TABLES and path.name.partition(".")[0].lower() not in PROSE)
        return tuple(sorted(path for path in found if path not in self.apart and path.resolve() not in self.tables))

    @cached_property
    def all(self) -> tuple[Path, ...]:
        """The files chosen, or those of the folder and the folders in it."""
        if self.chosen is not None:
            return self.own
        found = []
        depth = len(self.root.parts)
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if len(Path(folder).parts) - depth < DEEPEST else []
            found += [Path(folder) / name for name in names if not name.startswith(".")]
        return tuple(sorted(path for path in found if path.name not in TABLES and path.resolve() not in self.tables))

    def named(self, shape: re.Pattern[str]) -> tuple[Path, ...]:
        """The files, in the folder or below, whose whole name a regular expression fits."""
        return tuple(path for path in self.all if shape.fullmatch(path.name))

    def with_suffix(self, *suffixes: str) -> tuple[Path, ...]:
        """The folder's own files (or those chosen) that end in one of these."""
        return tuple(path for path in self.own if suffix_of(path) in suffixes)

    def people(self, files: Sequence[Path], names: Sequence[str] | None = None) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """Whose files these are: ids, in natural order, and the files in that order.

        The id is what the pattern says; otherwise ``names`` where given; otherwise ``sub-<label>`` where every file of a glob has one in
        its name, the name without its suffix where those differ, or the folder that differs.

        Raises
        ------
        ConnectomeError
            If two files are of one person.
        """
        told = {path: name for name, path in self.chosen or () if name is not None}
        if len(told) == len(set(files)) and told:
            names = [told[path] for path in files]
        elif names is None:
            names = self._guessed(files)
        order = sorted(range(len(files)), key=lambda n: (natural(names[n]), str(files[n])))
        ids, ordered = tuple(names[n] for n in order), tuple(files[n] for n in order)
        for (first, path), (second, other) in pairwise(zip(ids, ordered, strict=True)):
            if first == second:
                inside = self.root if self.root.is_dir() else self.root.parent
                shown = [os.path.relpath(file, inside) for file in (path, other)]
                raise ConnectomeError(
                    f"participant {first!r} has two files, {shown[0]} and {shown[1]}, in {inside}; choose by a pattern with {PLACEHOLDER}"
                )
        return ids, ordered

    def _guessed(self, files: Sequence[Path]) -> list[str]:
        stems = [path.name.removesuffix(suffix_of(path, keep=True)) for path in files]
        if self.is_folder or len(files) == 1:
            return stems
        subjects = [SUBJECT.search(path.name) for path in files]
        if all(subjects):
            return [match.group() for match in subjects if match]
        if len(set(stems)) == len(stems):
            return stems
        parts = [path.relative_to(self.root).parts[:-1] for path in files]
        for level in range(min(map(len, parts))):
            if len({part[level] for part in parts}) == len(parts):
                return [part[level] for part in parts]
        return stems


def suffix_of(path: Path, keep: bool = False) -> str:
    """A file's ending in small letters (``".csv"``, ``".csv.gz"``); with ``keep`` in the letters it has."""
    name = path.name if keep else path.name.lower()
    packed = name[-3:] if name.lower().endswith(".gz") else ""
    return Path(name.removesuffix(packed)).suffix + packed


def entities(name: str) -> dict[str, str]:
    """The ``key-value`` pairs of a BIDS file name."""
    pairs = (piece.partition("-") for piece in name.partition(".")[0].split("_"))
    return {key: value for key, dash, value in pairs if dash}


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts sub-2 before sub-10."""
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if piece.isascii() and piece.isdecimal() and len(piece) < 19 else (-1, piece) for piece in pieces] + [
        (-2, name)
    ]


def _shape(folder: Path, pattern: str) -> re.Pattern[str]:
    parts = PurePosixPath(pattern).parts
    if pattern.count(PLACEHOLDER) != 1 or pattern.startswith("/") or ".." in parts or "**" in pattern:
        raise ConnectomeError(
            f"expected a pattern inside {folder} with {PLACEHOLDER} once and * for anything within a name, as "
            f"'{PLACEHOLDER}_connectome.csv', got {pattern!r}"
        )
    names = {PLACEHOLDER: r"(?P<id>[^/]+?)", "*": "[^/]*"}
    pieces = re.split(rf"({re.escape(PLACEHOLDER)}|\*)", "/".join(parts))
    return re.compile("".join(names.get(piece, re.escape(piece)) for piece in pieces))


def _by_pattern(folder: Path, pattern: str) -> list[tuple[str, Path]]:
    """Id and path of every file that a pattern fits."""
    shape = _shape(folder, pattern)
    plain = "/".join(PurePosixPath(pattern).parts)
    places = glob.escape(plain.replace("*", "\0").replace(PLACEHOLDER, "\0")).replace("\0", "*")
    found = ((shape.fullmatch(path.relative_to(folder).as_posix()), path) for path in folder.glob(places) if path.is_file())
    files = [(match["id"], path) for match, path in found if match]
    if not files:
        raise ConnectomeError(f"no file in {folder} fits the pattern {pattern!r}")
    return files

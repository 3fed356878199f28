"""What every format gives: whose connectomes there are, and how to read one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.readers.place import Place

__all__ = ["EVERYBODY", "Claim", "Format", "RawConnectome", "Request", "Source"]

EVERYBODY = "every person needs both, or leave the others out (--no-strict, strict=False)"
"""What to do when the people of the table and those of the files differ."""


@dataclass(frozen=True)
class RawConnectome:
    """One person's connectome as a file gives it, not checked yet.

    Attributes
    ----------
    values : (R, R) matrix, or (E,) edges in the order of ``np.triu_indices(R, 1)``.
    where : the file (and row), to begin a message with.
    labels : (R,) names that the file gives its rows, where it gives any; they are compared with the atlas's.
    unassigned : weight of streamlines that end in no region, where the file told it.
    """

    values: NDArray
    where: str
    labels: tuple[str, ...] | None = None
    unassigned: float = 0.0


@dataclass(frozen=True)
class Source:
    """People's connectomes where they lie, not read yet.

    Attributes
    ----------
    ids : participant_id of every connectome, unique.
    items : for each of them what ``read`` takes.
    read : reads one of them; can be sent to another process.
    what : where they are, for messages.
    hint : what to do when these are not the people of the participants table.
    files : the file of every connectome, to see whether it has changed; empty where all are in one.
    atlas : the regions, where the files name them.
    measure : what a weight is, where the files say so.
    parallel : whether reading one of them is work enough for another process.
    notes : what the user should know.
    """

    ids: tuple[str, ...]
    items: Sequence[Any]
    read: Callable[[Any], RawConnectome]
    what: str
    hint: str
    files: tuple[Path, ...] = ()
    atlas: Atlas | None = None
    measure: str | None = None
    parallel: bool = True
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Request:
    """What the user asked for, as far as a format needs it.

    Attributes
    ----------
    place : the files.
    atlas : the regions, where the user names them.
    people : ids of the participants table, in order; None without a table.
    measure : what a weight is, where the user says so.
    signed : whether weights are correlations, where the user or the measure says so.
    key : name of a variable, an edge attribute or an archive's member, where there are several.
    first_index : 0 or 1, where edges are between counted regions.
    """

    place: Place
    atlas: Atlas | None = None
    people: tuple[str, ...] | None = None
    measure: str | None = None
    signed: bool | None = None
    key: str | None = None
    first_index: int | None = None


@dataclass(frozen=True)
class Claim:
    """A format's claim that files are its own: why, and which."""

    reason: str
    files: frozenset[Path]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name : what the user says.
    title : what it is, for messages.
    recognise : the claim on what the user points at, or None.
    open : find the people's connectomes, without reading them.
    plain : whether anything could look like it (matrices, lists of edges), so that a format of its own goes before it.
    """

    name: str
    title: str
    recognise: Callable[[Request], Claim | None]
    open: Callable[[Request], Source]
    plain: bool = False

"""What in a folder of connectomes is plainly something else, and patterns that name the people's files alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, takewhile
from pathlib import Path

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.place import PLACEHOLDER, Place, suffix_of
from connectome_gnn.readers.sniffing import first_lines, first_rows, is_edge_list, looks_numeric
from connectome_gnn.readers.text import is_number

__all__ = ["advised", "below", "nothing_in", "set_apart"]

TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
OTHER = (".npy", ".npz", ".mat", ".graphml", ".zip")
"""Endings of files that are no text; who opens them finds out what they are."""
LOOKED_INTO = 3
"""Files of one shape of name that are looked into: where one may be a connectome, none of that shape is set apart."""
MOST_SHOWN = 4
MOST_SHAPES = 200
"""Shapes of names beyond which nothing is set apart: every name is a shape of its own then."""
LONGEST_TABLE = 16 * 2**20
"""Bytes of a table within which its lines are counted; one that is longer has more lines than columns."""


def set_apart(place: Place) -> tuple[Path, ...]:
    """Text files of a folder that are plainly no connectomes, while others may be: tables of people or regions, and prose.

    A table has names of columns, and neither about as many rows as columns nor as many columns as a matrix beside it. Prose has no
    number on its second line. Neither is named as the connectomes are. Readers judge everything else, so that nobody's damaged file is
    passed over.
    """
    if not place.is_folder:
        return ()
    shapes: dict[str, list[Path]] = {}
    for path in place.own:
        if suffix_of(path) in TEXT + OTHER:
            shapes.setdefault(re.sub(r"\d+", "0", path.name), []).append(path)
    if len(shapes) > MOST_SHAPES:
        return ()
    likely: list[Path] = []
    strangers: list[tuple[list[Path], set[str]]] = []
    for files in shapes.values():
        kinds = {_kind(path) for path in _some(files)}
        if kinds <= {"table", "prose"}:
            strangers.append((files, kinds))
        else:
            likely += files
    if not strangers or not (likely or below(place)):
        return ()
    around = _around([path.name for path in likely]) if len(likely) > 1 else ("", "")
    widths = {_width(path) for path in _some(likely) if suffix_of(path) in TEXT and not is_edge_list(path)}
    apart: list[Path] = []
    for files, kinds in strangers:
        marked = len(likely) > 1 and ("prose" in kinds or around[0] != "")
        if marked and any(_fits(path.name, around) for path in files):
            continue
        if "table" in kinds and widths & {_width(path) for path in _some(files)}:
            continue
        apart += files
    return tuple(apart)


def below(place: Place) -> str:
    """Patterns of files that several folders in a folder have and that may be connectomes, to show; empty where there are none."""
    people: dict[str, set[str]] = {}
    examples: dict[str, Path] = {}
    for path in place.all if place.is_folder else ():
        top, *rest = path.relative_to(place.root).parts
        if rest and suffix_of(path) in TEXT + OTHER:
            pattern = "/".join([PLACEHOLDER, *(part.replace(top, "*") for part in rest)])
            people.setdefault(pattern, set()).add(top)
            examples.setdefault(pattern, path)
    common = sorted((pattern for pattern in people if len(people[pattern]) > 1), key=lambda pattern: -len(people[pattern]))
    likely = (pattern for pattern in common[:MOST_SHAPES] if _kind(examples[pattern]) == "connectome")
    return " or ".join(f"'{pattern}'" for pattern in islice(likely, MOST_SHOWN))


def nothing_in(place: Place, endings: Sequence[str], expected: str) -> ConnectomeError:
    """The error of a folder with no file of a format, with patterns of those that are in folders below."""
    error = f"{place.root} holds no {', '.join(endings)} file; expected {expected}"
    patterns = below(place)
    return ConnectomeError(f"{error}; those in folders below are named by a pattern (--pattern), as {patterns}" if patterns else error)


def advised(error: ConnectomeError, path: Path, files: Sequence[Path], place: Place) -> ConnectomeError:
    """The error of a file of a folder; where it is named unlike the others, with a pattern that names these and not it."""
    others = [file.name for file in files if file != path]
    if not place.is_folder or len(others) < 2:
        return error
    start, end = _around(others)
    if _fits(path.name, (start, end)):
        return error
    return ConnectomeError(f"{error}; if it is no person's, name the people's files by a pattern (--pattern '{start}{PLACEHOLDER}{end}')")


def _some(files: Sequence[Path]) -> Sequence[Path]:
    return files[:: max(1, -(-len(files) // LOOKED_INTO))]


def _kind(path: Path) -> str:
    """``"table"`` or ``"prose"`` where a file is plainly that, otherwise ``"connectome"``."""
    if suffix_of(path) not in TEXT or is_edge_list(path):
        return "connectome"
    rows = first_rows(path)
    titled = len(rows) > 1 and min(map(len, rows[:2])) > 1 and not any(is_number(cell.replace(",", ".")) for cell in rows[0])
    if titled and abs(len(first_lines(path, LONGEST_TABLE)) - len(rows[1])) > 1:
        return "table"
    return "connectome" if looks_numeric(path) else "prose"


def _width(path: Path) -> int:
    rows = first_rows(path)
    return len(rows[-1]) if rows else 0


def _around(names: Sequence[str]) -> tuple[str, str]:
    """What names begin and end with in common, up to a mark between words."""
    start = "".join(one[0] for one in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
    end = "".join(one[0] for one in takewhile(lambda letters: len(set(letters)) == 1, zip(*(name[::-1] for name in names), strict=False)))
    shortest = min(map(len, names))
    start = re.sub(r"[^\W_]+$", "", start[: max(shortest - len(end) - 1, 0)])
    return start, re.sub(r"^[^\W_]+", "", end[::-1])


def _fits(name: str, around: tuple[str, str]) -> bool:
    return name.startswith(around[0]) and name.endswith(around[1])

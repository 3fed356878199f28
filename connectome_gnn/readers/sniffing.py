"""What the beginning of a text file looks like: numbers, a list of edges, a tool's comment."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.text import decode, is_number, split_lines

__all__ = ["first_lines", "first_rows", "is_edge_list", "looking_like", "looks_numeric"]

LOOK = 65_536
MOST_LOOKED_AT = 200
"""Files of a folder that are looked into; of more than these the others are taken to be like most of them."""


def first_lines(path: Path, size: int = LOOK) -> list[str]:
    """The first whole lines of a text file (gzip'd or not), empty ones left out; none where it is no text."""
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
        if path.name.lower().endswith(".gz"):
            data = zlib.decompressobj(31).decompress(data, size + 1)
        lines = decode(data, str(path)).splitlines()
    except (OSError, zlib.error, ConnectomeError):
        return []
    whole = lines if len(data) <= size or len(lines) < 2 else lines[:-1]
    return [line for line in whole if line.strip()]


def first_rows(path: Path) -> list[list[str]]:
    """Cells of the first whole lines of a text file, comments left out."""
    return [_cells(line) for line in first_lines(path) if not line.lstrip().startswith("#")]


def looking_like(files: Sequence[Path], test: Callable[[Path], bool]) -> list[Path]:
    """The files that pass a test of their beginning; of many files some are looked at, and the others taken to be like most of these."""
    step = max(1, -(-len(files) // MOST_LOOKED_AT))
    answers = {path: test(path) for path in files[::step]}
    usual = 2 * sum(answers.values()) > len(answers)
    return [path for path in files if answers.get(path, usual)]


def looks_numeric(path: Path) -> bool:
    """Whether a text file's second line (the first may hold names) has numbers in it; an empty one is nothing else either."""
    lines = [line for line in first_lines(path) if not line.lstrip().startswith("#")]
    if not lines:
        return True
    cells = _cells(lines[1] if len(lines) > 1 else lines[0])
    return any(is_number(cell.replace(",", ".")) for cell in cells)


def is_edge_list(path: Path, only: bool = False) -> bool:
    """Whether a text file can be a list of edges: two ends and a weight on every line.

    ``only`` asks whether it cannot be a matrix: it has other than three lines.
    """
    lines = [line for line in first_lines(path) if not line.lstrip().startswith("#")]
    rows = [_cells(line) for line in lines[:50]]
    if len(rows) > 1 and not is_number(rows[0][-1]):  # names of columns
        rows = rows[1:]
    if not rows or any(len(row) != 3 or not is_number(row[2].replace(",", ".")) for row in rows):
        return False
    ends = [cell.strip() for row in rows for cell in row[:2]]
    counted = [end.isdecimal() for end in ends]
    if any(counted) and not all(counted):
        return False
    return len(lines) != 3 if only else True


def _cells(line: str) -> list[str]:
    try:
        return split_lines([line.strip()], "")[0]
    except ConnectomeError:
        return []

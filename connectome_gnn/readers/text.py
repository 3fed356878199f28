"""Matrices in delimited text (.csv, .tsv, .txt), with or without the regions' names around them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError

__all__ = ["read_text_matrix"]

BYTES_A_CELL = 64
"""A file larger than this many bytes a cell (and a megabyte) is no matrix of this atlas, and is not read into memory."""


def read_text_matrix(path: Path, atlas: Atlas) -> NDArray[np.float64]:
    """Read one (R, R) matrix from delimited text.

    The delimiter is a tab, semicolon, comma or blanks, whichever the first line has. A first row and a first column of labels are
    allowed when they are the atlas's labels in its order, or plainly count the regions (0 or 1 upwards, V1 upwards); so are labels in a
    comment. Empty lines and other lines that begin with # are skipped.

    Raises
    ------
    ConnectomeError
        If the file is empty, ragged, of another size than the atlas, holds text in place of a number, or labels that are not the
        atlas's.
    """
    numbers, rows, comments = _cells(path, atlas.n_regions)
    first, body = rows[0], rows[1:]
    for line, row in zip(numbers[2:], body[1:], strict=True):
        if len(row) != len(body[0]):
            raise ConnectomeError(f"{path}: expected {len(body[0])} values on every line, line {line} has {len(row)}")
    height, width = len(rows), len(body[0]) if body else len(first)
    n_regions = atlas.n_regions
    size = f"{path}: expected {n_regions} x {n_regions} numbers for the {n_regions} regions of atlas {atlas.name!r}, got {height} x {width}"
    if height not in (n_regions, n_regions + 1) or width not in (n_regions, n_regions + 1):
        raise ConnectomeError(size)
    header = first if height == n_regions + 1 else None
    if header is None:
        if len(first) != width:
            raise ConnectomeError(f"{path}: expected {width} values on every line, line {numbers[0]} has {len(first)}")
        body = rows
    index = [row[0] for row in body] if width == n_regions + 1 else None
    if index is not None and header is None and all(row[-1].strip() == "" for row in body):  # every line ends with a delimiter
        index, body = None, [row[:-1] for row in body]
    if index is not None:
        body = [row[1:] for row in body]
        if header is not None and len(header) == n_regions + 1:
            if all(_is_number(cell) for cell in (*header, *index)) and not _labels_match(header[1:], atlas):
                raise ConnectomeError(f"{size}; a first row and column of unassigned streamlines must be taken out first")
            header = header[1:]
    if header is not None and len(header) != n_regions:
        raise ConnectomeError(f"{path}: expected {n_regions} labels on line {numbers[0]}, got {len(header)}")
    commented = next((cells for cells in comments if len(cells) == n_regions), None)
    for what, labels in (("column", header), ("row", index), ("column", commented)):
        if labels is not None:
            _check_labels([label.strip() for label in labels], atlas, path, what)
    return _values(body, numbers[-n_regions:], atlas, path)


def _cells(path: Path, n_regions: int) -> tuple[list[int], list[list[str]], list[list[str]]]:
    """Line numbers and cells of every line that is neither empty nor a comment, and the cells of the comments."""
    most = BYTES_A_CELL * (n_regions + 1) ** 2 + 2**20
    if path.stat().st_size > most:
        raise ConnectomeError(f"{path} holds {path.stat().st_size:,} bytes, far more than {n_regions} x {n_regions} numbers need")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConnectomeError(f"{path} is not UTF-8 text ({error})") from error
    numbers, lines, comments = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            comments.append(line.lstrip(" #"))
        elif line.strip():
            numbers.append(number)
            lines.append(line)
    if not lines:
        raise ConnectomeError(f"{path} is empty; expected {n_regions} x {n_regions} numbers")
    delimiter = next((mark for mark in "\t;," if mark in lines[0]), None)
    try:
        return numbers, [_split(line, delimiter) for line in lines], [_split(line, delimiter) for line in comments]
    except csv.Error as error:
        raise ConnectomeError(f"{path} is not delimited text ({error})") from error


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [cell.strip("\"'") for cell in line.split()]
    # A reader a line: a quotation mark left open must not swallow the lines that follow.
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter != "\t"), [])


def _values(body: list[list[str]], numbers: list[int], atlas: Atlas, path: Path) -> NDArray[np.float64]:
    try:
        values = np.array([[float(cell) for cell in row] for row in body], dtype=np.float64)
        if not any("_" in cell for row in body for cell in row):  # float() takes '1_000', no table means it
            return values
    except ValueError:
        pass
    for row, cells in enumerate(body):
        for column, cell in enumerate(cells):
            if not _is_number(cell):
                comma = "; write decimals with a point" if _is_number(cell.replace(",", ".")) else ""
                regions = f"{atlas.labels[row]!r} and {atlas.labels[column]!r}"
                raise ConnectomeError(f"{path} line {numbers[row]}: expected a number between {regions}, got {cell!r}{comma}")
    raise ConnectomeError(f"{path} holds values that are no numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _labels_match(labels: Sequence[str], atlas: Atlas) -> bool:
    """Whether labels are the atlas's, or count the regions and are no names of its own."""
    names = tuple(label.strip() for label in labels)
    if names == atlas.labels:
        return True
    counted = any(names == tuple(f"{mark}{start + n}" for n in range(len(names))) for mark, start in (("", 0), ("", 1), ("V", 1)))
    return counted and set(names) != set(atlas.labels)


def _check_labels(labels: list[str], atlas: Atlas, path: Path, what: str) -> None:
    if _labels_match(labels, atlas):
        return
    place = next(n for n, (label, expected) in enumerate(zip(labels, atlas.labels, strict=True)) if label != expected)
    problem = "the regions are in another order" if labels[place] in atlas.labels else "it is of another atlas"
    raise ConnectomeError(
        f"{path}: {what} {place + 1} is labelled {labels[place]!r} where atlas {atlas.name!r} has {atlas.labels[place]!r}; {problem}"
    )

"""Matrices in delimited text (.csv, .tsv, .txt), with or without the regions' names around them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import MOST_BYTES, read_bytes
from connectome_gnn.readers.labels import check_labels, counted
from connectome_gnn.readers.source import RawConnectome
from connectome_gnn.tables import DECIMAL_COMMA

__all__ = ["decode", "is_number", "parse_matrix", "read_text_matrix", "split_lines", "text_connectome", "to_numbers"]

BYTES_A_CELL = 64
"""A file larger than this many bytes a cell (and a megabyte) is no matrix of this atlas, and is not read into memory."""
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[,.]\d{3})+(?:[,.]\d+)?")


def read_text_matrix(path: Path, atlas: Atlas) -> NDArray[np.float64]:
    """Read one (R, R) matrix from delimited text, and compare the labels in it with the atlas's.

    The delimiter is a tab, semicolon, comma or blanks, whichever the first line has. A first row and a first column of labels are
    allowed when they are the atlas's labels in its order, or plainly count the regions (0 or 1 upwards, V1 upwards); so are labels in a
    comment. Empty lines and other lines that begin with # are skipped. Text is UTF-8, UTF-16 (with its mark) or Latin-1; decimal commas
    are understood where nothing else can be meant.

    Raises
    ------
    ConnectomeError
        If the file is empty, ragged, of another size than the atlas, holds text in place of a number, or labels that are not the
        atlas's.
    """
    raw = text_connectome(path, atlas)
    if raw.labels is not None:
        check_labels(raw.labels, atlas, raw.where)
    return raw.values


def text_connectome(path: Path, atlas: Atlas | None, *, unassigned: bool = False) -> RawConnectome:
    """A person's matrix from a file of delimited text (gzip'd or not); arguments as for :func:`parse_matrix`."""
    most = MOST_BYTES if atlas is None else BYTES_A_CELL * (len(atlas) + 1) ** 2 + 2**20
    size = path.stat().st_size
    if atlas is not None and size > most:
        raise ConnectomeError(f"{path} holds {size:,} bytes, far more than {len(atlas)} x {len(atlas)} numbers need")
    return parse_matrix(read_bytes(path, most), str(path), atlas, unassigned=unassigned)


def parse_matrix(data: bytes, where: str, atlas: Atlas | None, *, unassigned: bool = False) -> RawConnectome:
    """One matrix from the bytes of delimited text.

    Parameters
    ----------
    data : the text.
    where : the file it comes from, to begin a message with.
    atlas : the atlas of R regions, or None to take the size from the text.
    unassigned : whether a first row and column may hold the streamlines that end in no region; they are taken out.

    Returns
    -------
    raw : values (R, R) float64, and the labels around them (None where there are none, or they merely count).
    """
    numbers, lines, comments = _lines(data, where, atlas)
    if atlas is not None and not comments and (plain := _plain(lines, len(atlas))) is not None:
        return RawConnectome(plain, where)
    rows = split_lines(lines, where)
    first, body = rows[0], rows[1:]
    for line, row in zip(numbers[2:], body[1:], strict=True):
        if len(row) != len(body[0]):
            raise ConnectomeError(f"{where}: expected {len(body[0])} values on every line, line {line} has {len(row)}")
    height, width = len(rows), len(body[0]) if body else len(first)
    told = "" if atlas is None else f" for the {len(atlas)} regions of atlas {atlas.name!r}"
    n_regions = _guessed_size(rows) if atlas is None else len(atlas)
    if unassigned and height == width == n_regions + 1 and len(first) == width and all(map(is_number, first)):
        square = to_numbers(rows, numbers, None, where)
        return RawConnectome(square[1:, 1:], where, unassigned=float(np.nansum(square[0]) + np.nansum(square[1:, 0])))
    size = f"{where}: expected {n_regions} x {n_regions} numbers{told}, got {height} x {width}"
    if height not in (n_regions, n_regions + 1) or width not in (n_regions, n_regions + 1):
        raise ConnectomeError(size)
    header = first if height == n_regions + 1 else None
    if header is None:
        if len(first) != width:
            raise ConnectomeError(f"{where}: expected {width} values on every line, line {numbers[0]} has {len(first)}")
        body = rows
    index = [row[0] for row in body] if width == n_regions + 1 else None
    if index is not None and header is None and all(row[-1].strip() == "" for row in body):  # every line ends with a delimiter
        index, body = None, [row[:-1] for row in body]
    if index is not None:
        body = [row[1:] for row in body]
        if header is not None and len(header) == n_regions + 1:
            numeric = all(is_number(cell) for cell in (*header, *index))
            if numeric and not (counted(_stripped(header[1:])) or (atlas is not None and tuple(_stripped(header[1:])) == atlas.labels)):
                raise ConnectomeError(f"{size}; a first row and column of unassigned streamlines must be taken out first (or say mrtrix)")
            header = header[1:]
    if header is not None and len(header) != n_regions:
        raise ConnectomeError(f"{where}: expected {n_regions} labels on line {numbers[0]}, got {len(header)}")
    commented = next((cells for cells in comments if len(cells) == n_regions), None)
    labels = _one_list([("column", header), ("row", index), ("column", commented)], atlas, where)
    return RawConnectome(to_numbers(body, numbers[-n_regions:], None if atlas is None else atlas.labels, where), where, labels)


def decode(data: bytes, where: str) -> str:
    """Text in UTF-8, UTF-16 (with its mark), or else Latin-1.

    Raises
    ------
    ConnectomeError
        If it is no text at all.
    """
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ConnectomeError(f"{where} is no text (neither UTF-8 nor Latin-1); expected numbers with delimiters")


def split_lines(lines: Sequence[str], where: str) -> list[list[str]]:
    """Cells of every line; the delimiter is a tab, semicolon, comma or blanks, whichever the first line has."""
    delimiter = next((mark for mark in "\t;," if mark in lines[0]), None)
    try:
        return [_split(line, delimiter) for line in lines]
    except csv.Error as error:
        raise ConnectomeError(f"{where} is not delimited text ({error})") from error


def to_numbers(body: list[list[str]], lines: Sequence[int], labels: Sequence[str] | None, where: str) -> NDArray[np.float64]:
    """Numbers of a table of text, float64; ``lines`` and ``labels`` (of rows and columns) are for messages."""
    try:
        values = np.array([[float(cell) for cell in row] for row in body], dtype=np.float64)
        if not any("_" in cell for row in body for cell in row):  # float() takes '1_000', no table means it
            return values
    except ValueError:
        pass
    commas = [cell for row in body for cell in row if "," in cell]
    if commas and all(DECIMAL_COMMA.fullmatch(cell.strip()) for cell in commas) and not any("." in cell for row in body for cell in row):
        if all(THOUSANDS.fullmatch(cell.strip()) for cell in commas):
            raise ConnectomeError(
                f"{where} holds {commas[0]!r}, which could have a decimal comma or separate thousands; write decimals with a point, and "
                "no thousands separators"
            )
        return to_numbers([[cell.replace(",", ".") for cell in row] for row in body], lines, labels, where)
    for row, cells in enumerate(body):
        for column, cell in enumerate(cells):
            if not is_number(cell):
                between = f"between {labels[row]!r} and {labels[column]!r}" if labels is not None else f"in column {column + 1}"
                raise ConnectomeError(f"{where} line {lines[row]}: expected a number {between}, got {_short(cell)!r}{_comma_hint(cell)}")
    raise ConnectomeError(f"{where} holds values that are no numbers")


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point (or nan, inf)."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _plain(lines: list[str], n_regions: int) -> NDArray[np.float64] | None:
    """The numbers of a text that is a matrix of the expected size and nothing else, by numpy's fast parser; None where it is not."""
    if len(lines) != n_regions:
        return None
    delimiter = next((mark for mark in "\t;," if mark in lines[0]), None)
    try:
        values = np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except (ValueError, OverflowError):
        return None
    return values if values.shape == (n_regions, n_regions) else None


def _lines(data: bytes, where: str, atlas: Atlas | None) -> tuple[list[int], list[str], list[list[str]]]:
    """Line numbers and lines that are neither empty nor comments, and the cells of the comments."""
    numbers, lines, comments = [], [], []
    for number, line in enumerate(decode(data, where).splitlines(), 1):
        if line.lstrip().startswith("#"):
            comments.append(line.lstrip(" #"))
        elif line.strip():
            numbers.append(number)
            lines.append(line)
    if not lines:
        raise ConnectomeError(f"{where} is empty; expected {'R x R' if atlas is None else f'{len(atlas)} x {len(atlas)}'} numbers")
    return numbers, lines, [cells for line in comments if line for cells in split_lines([line], where)]


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [cell.strip("\"'") for cell in line.split()]
    if '"' not in line:
        return line.split(delimiter) if delimiter == "\t" else [cell.lstrip(" ") for cell in line.split(delimiter)]
    # A reader a line: a quotation mark left open must not swallow the lines that follow.
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter != "\t"), [])


def _guessed_size(rows: list[list[str]]) -> int:
    """Number of regions of a matrix whose atlas is not known: its lines, less one where the first holds names."""
    header = len(rows) > 1 and not all(is_number(cell) for cell in rows[0])
    return max(len(rows) - header, 1)


def _one_list(found: list[tuple[str, list[str] | None]], atlas: Atlas | None, where: str) -> tuple[str, ...] | None:
    """The labels that a text gives, checked against the atlas and each other; None where there are none or they merely count."""
    named = None
    for what, cells in found:
        if cells is None:
            continue
        labels = tuple(_stripped(cells))
        if atlas is not None:
            check_labels(labels, atlas, where, what)
        if counted(labels) and (atlas is None or set(labels) != set(atlas.labels)):
            continue
        if named is not None and labels != named:
            place = next(n for n, (one, other) in enumerate(zip(named, labels, strict=True)) if one != other)
            raise ConnectomeError(
                f"{where}: {what} {place + 1} is labelled {labels[place]!r}, elsewhere {named[place]!r}; one order is wrong"
            )
        named = labels
    return named


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _short(cell: str) -> str:
    return cell if len(cell) <= 40 else cell[:37] + "..."


def _comma_hint(cell: str) -> str:
    if THOUSANDS.fullmatch(cell.strip()) and ("," in cell or cell.count(".") > 1):
        return "; write numbers without thousands separators"
    return "; write decimals with a point" if is_number(cell.replace(",", ".")) else ""

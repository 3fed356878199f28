"""Variables of MATLAB files (v5 to v7, and v7.3 through h5py): numbers, text, cells and structures; nothing else is touched.

The older format is read here, not by scipy.io, because a file from elsewhere may claim or unpack to any size: every length is checked
against the bytes that are there, and what is unpacked against a limit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import MOST_BYTES, read_bytes

__all__ = ["Unreadable", "read_mat"]

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of stored values, by their number in the file."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Types of numeric arrays, by the number of their class."""
CELL, STRUCTURE, TEXT, SPARSE = 1, 2, 4, 5
OTHERS = {3: "an object", 16: "a function", 17: "an object"}
ENCODINGS = {1: "latin-1", 2: "latin-1", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, PACKED = 14, 15
DEEPEST = 8
COMPLEX = 0x0800


@dataclass(frozen=True)
class Unreadable:
    """A variable that is neither numbers nor text, and what it is instead."""

    what: str


@dataclass(frozen=True)
class _Element:
    """A stored element: the number of its type, and its bytes."""

    kind: int
    data: memoryview


def read_mat(path: Path) -> dict[str, Any]:
    """Variables of a .mat file by name.

    Returns
    -------
    variables : arrays of numbers as numpy arrays of MATLAB's shape, text as a list of its rows, cells as lists, one structure as a
        dict, several as a list of dicts; anything else as :class:`Unreadable`.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, it is no MATLAB file, damaged, or unpacks to more than it should.
    """
    with path.open("rb") if path.is_file() else _absent(path) as file:
        start = file.read(128)
    if start.startswith(b"MATLAB 7.3") or start.startswith(b"\x89HDF\r\n\x1a\n"):
        from connectome_gnn.readers.hdf import read_mat73

        return read_mat73(path)
    if len(start) < 128 or start[126:128] not in (b"IM", b"MI") or not start.startswith(b"MATLAB"):
        raise ConnectomeError(f"{path} is no MATLAB file of version 5 to 7.3; save it with -v7 or -v7.3")
    return _Reader(str(path), "<" if start[126:128] == b"IM" else ">").variables(read_bytes(path))


def _absent(path: Path) -> Any:
    raise FileNotFoundError(f"no file {path}; expected a MATLAB file")


class _Reader:
    """Reads the elements of a MATLAB 5 file, with one limit to what all of them unpack to."""

    def __init__(self, where: str, order: str) -> None:
        self.where = where
        self.order = order
        self.left = MOST_BYTES

    def variables(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for element in self.elements(memoryview(data)[128:], packed=True):
            if element.kind == MATRIX and len(element.data):
                name, value = self.matrix(element.data, 0)
                found[name] = value
        return found

    def damaged(self, what: str) -> ConnectomeError:
        return ConnectomeError(f"{self.where} is a truncated or damaged MATLAB file ({what}); copy or save it again")

    def elements(self, data: memoryview, packed: bool = False) -> Iterator[_Element]:
        """The elements that lie one behind the other."""
        place = 0
        while place + 8 <= len(data):
            kind, size = struct.unpack_from(self.order + "II", data, place)
            if kind >> 16:  # a small element: its type and size in four bytes, its values in the next four
                kind, size = kind & 0xFFFF, kind >> 16
                if size > 4:
                    raise self.damaged(f"a small element of {size} bytes")
                yield _Element(kind, data[place + 4 : place + 4 + size])
                place += 8
                continue
            if size > len(data) - place - 8:
                raise self.damaged(f"{size:,} bytes said, {len(data) - place - 8:,} there")
            inside = data[place + 8 : place + 8 + size]
            if kind == PACKED and packed:
                yield from self.elements(memoryview(self.unpacked(inside)))
            else:
                yield _Element(kind, inside)
            place += 8 + size + (0 if kind == PACKED else -size % 8)

    def unpacked(self, data: memoryview) -> bytes:
        unpacker = zlib.decompressobj()
        try:
            plain = unpacker.decompress(data, self.left + 1)
        except zlib.error as error:
            raise self.damaged(str(error)) from error
        self.left -= len(plain)
        if self.left < 0:
            raise ConnectomeError(f"{self.where} unpacks to more than {MOST_BYTES:,} bytes, which no connectome needs; it is not read")
        return plain

    def matrix(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """Name and value of an array, text, cells or structure."""
        if depth > DEEPEST:
            return "", Unreadable("nested too deeply")
        parts = self.elements(data)
        flags = self.values(self.following(parts))
        dims = self.values(self.following(parts))
        if flags.size < 1 or flags.dtype.kind != "u" or not 1 <= dims.size <= 8 or dims.dtype.kind not in "iu" or (dims < 0).any():
            raise self.damaged("an array without a shape")
        kind, shape = int(flags[0]) & 0xFF, tuple(int(n) for n in dims)
        name = bytes(self.following(parts).data).decode("latin-1")
        if int(flags[0]) & COMPLEX:
            return name, Unreadable("complex numbers")
        if kind in CLASSES:
            return name, self.numbers(self.values(self.following(parts)), shape, CLASSES[kind])
        if kind == TEXT:
            return name, self.text(self.following(parts), shape)
        if kind == CELL:
            return name, [self.matrix(element.data, depth + 1)[1] if len(element.data) else None for element in parts]
        if kind == STRUCTURE:
            return name, self.structure(parts, depth)
        if kind == SPARSE:
            return name, self.sparse([self.values(self.following(parts)) for _ in range(3)], shape)
        return name, Unreadable(OTHERS.get(kind, "of a kind that is not known"))

    def following(self, parts: Iterator[_Element]) -> _Element:
        element = next(parts, None)
        if element is None:
            raise self.damaged("an array ends early")
        return element

    def values(self, element: _Element) -> NDArray:
        if element.kind not in TYPES:
            raise self.damaged(f"values of type {element.kind}")
        dtype = np.dtype(self.order + TYPES[element.kind])
        if len(element.data) % dtype.itemsize:
            raise self.damaged("part of a value")
        return np.frombuffer(element.data, dtype)

    def numbers(self, values: NDArray, shape: tuple[int, ...], dtype: str) -> NDArray:
        if math.prod(shape) != values.size:
            raise self.damaged(f"shape {shape} of {values.size:,} values")
        with np.errstate(invalid="ignore", over="ignore"):
            return values.astype(dtype).reshape(shape, order="F")

    def text(self, element: _Element, shape: tuple[int, ...]) -> list[str]:
        """Rows of a table of characters, without the blanks they are filled up with."""
        encoding = ENCODINGS.get(element.kind)
        if element.kind in (3, 4):
            characters = self.values(element).astype("<u2").tobytes().decode("utf-16-le", errors="replace")
        elif encoding is None:
            raise self.damaged(f"text of type {element.kind}")
        else:
            order = ("-le" if self.order == "<" else "-be") if encoding in ("utf-16", "utf-32") else ""
            characters = bytes(element.data).decode(encoding + order, errors="replace")
        n_rows = shape[0] if len(shape) == 2 else 1
        if n_rows <= 1:
            return [characters] if n_rows else []
        return [characters[row::n_rows].rstrip() for row in range(min(n_rows, len(characters)))]

    def structure(self, parts: Iterator[_Element], depth: int) -> dict[str, Any] | list[dict[str, Any]]:
        length = self.values(self.following(parts))
        joined = bytes(self.following(parts).data)
        if length.size != 1 or not 1 <= int(length[0]) <= 4096:
            raise self.damaged("a structure without names")
        step = int(length[0])
        names = [joined[n : n + step].split(b"\0")[0].decode("latin-1") for n in range(0, len(joined), step)]
        values = [self.matrix(element.data, depth + 1)[1] if len(element.data) else None for element in parts]
        if not names or len(values) % len(names):
            raise self.damaged("a structure of other fields than it names")
        found = [dict(zip(names, values[n : n + len(names)], strict=True)) for n in range(0, len(values), len(names))]
        return found[0] if len(found) == 1 else found

    def sparse(self, parts: list[NDArray], shape: tuple[int, ...]) -> NDArray | Unreadable:
        rows, starts, values = parts
        if len(shape) != 2 or math.prod(shape) * 8 > self.left:
            return Unreadable("a sparse array that is too large")
        self.left -= math.prod(shape) * 8
        starts = starts.astype(np.int64)
        sound = starts.size == shape[1] + 1 and starts[0] == 0 and (np.diff(starts) >= 0).all()
        if not sound or starts[-1] > min(rows.size, values.size):
            raise self.damaged("a sparse array of other size than it says")
        used = int(starts[-1])
        places = rows[:used].astype(np.int64)
        if used and (places.min() < 0 or places.max() >= shape[0]):
            raise self.damaged("a sparse array with a row that it does not have")
        dense = np.zeros(shape)
        dense[places, np.repeat(np.arange(shape[1]), np.diff(starts))] = values[:used]
        return dense

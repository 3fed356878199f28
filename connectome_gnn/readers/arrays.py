"""Arrays in .npz archives, and single .npy arrays in memory: numbers only, never a pickle, never larger than they are."""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import MOST_BYTES, open_zip, read_member

__all__ = ["parse_npy", "read_npz"]

HEADER_SIZES = {1: "<H", 2: "<I", 3: "<I"}
MOST_HEADER = 10_000


def read_npz(path: Path) -> dict[str, NDArray]:
    """Every array of an .npz archive by name: numbers, and text (labels).

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, it is damaged, or an array holds Python objects (which are never loaded) or is too large.
    """
    arrays = {}
    left = MOST_BYTES
    with open_zip(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                data = read_member(archive, name, str(path), left)
                left -= len(data)
                arrays[name.removesuffix(".npy")] = parse_npy(data, f"{path} ({name})")
    if not arrays:
        raise ConnectomeError(f"{path} holds no array; expected an archive as numpy.savez writes it")
    return arrays


def parse_npy(data: bytes, where: str) -> NDArray:
    """An array from the bytes of an .npy file.

    Raises
    ------
    ConnectomeError
        If they are none, hold Python objects (which are never loaded), or more or fewer values than the header says.
    """
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise ConnectomeError(f"{where} is no .npy array; expected one as numpy.save writes it")
    header, start = _header(data, where)
    shape, order = header.get("shape"), header.get("fortran_order")
    try:
        dtype = np.dtype(header.get("descr"))
    except (TypeError, ValueError, KeyError, SyntaxError, OverflowError) as error:
        raise ConnectomeError(f"{where} has a damaged header ({error})") from error
    if dtype.hasobject:
        raise ConnectomeError(f"{where} holds pickled Python objects, which are never loaded; save it as plain numbers")
    if dtype.kind not in "fiubUS" or dtype.itemsize == 0:
        raise ConnectomeError(f"{where} holds values of type {dtype}; expected real numbers")
    if (
        not isinstance(shape, tuple)
        or not all(isinstance(n, int) and n >= 0 for n in shape)
        or len(shape) > 4
        or not isinstance(order, bool)
    ):
        raise ConnectomeError(f"{where} has a damaged header (shape {str(shape)[:60]})")
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ConnectomeError(f"{where} says shape {str(shape)[:60]} and holds {len(data) - start:,} bytes; it is truncated or damaged")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if order else "C")


def _header(data: bytes, where: str) -> tuple[Mapping[str, Any], int]:
    try:
        size_format = HEADER_SIZES[data[6]]
        start = 8 + struct.calcsize(size_format)
        (size,) = struct.unpack(size_format, data[8:start])
        if size > MOST_HEADER:
            raise ConnectomeError(f"{where} has a header of {size:,} bytes, more than {MOST_HEADER:,}; it is not read")
        header = ast.literal_eval(data[start : start + size].decode("utf-8").strip())
    except ConnectomeError:
        raise
    except (KeyError, IndexError, struct.error, ValueError, SyntaxError, TypeError, TokenError, RecursionError, MemoryError) as error:
        raise ConnectomeError(f"{where} has a damaged header ({type(error).__name__}); copy or write it again") from error
    if not isinstance(header, Mapping):
        raise ConnectomeError(f"{where} has a damaged header")
    return header, start + size

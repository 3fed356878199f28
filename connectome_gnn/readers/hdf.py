"""Variables of MATLAB 7.3 files, which are HDF5, through h5py (the ``mat`` extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import MOST_BYTES
from connectome_gnn.readers.matlab import Unreadable

__all__ = ["read_mat73"]

DEEPEST = 4
MOST_MEMBERS = 10_000
PLAIN_FILTERS = (None, "gzip", "lzf")


def read_mat73(path: Path) -> dict[str, Any]:
    """Variables of a MATLAB 7.3 file by name, as :func:`connectome_gnn.readers.matlab.read_mat` gives them.

    Values that lie in other files (external or virtual datasets, external links) are never followed.

    Raises
    ------
    ConnectomeError
        If the file is damaged, a variable is too large, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConnectomeError(
            f"{path} is a MATLAB 7.3 file, which needs h5py: pip install 'connectome-gnn[mat]', or save it with -v7"
        ) from error
    if path.stat().st_size > MOST_BYTES:
        raise ConnectomeError(f"{path} holds {path.stat().st_size:,} bytes, more than the {MOST_BYTES:,} that such a file can need")
    try:
        with h5py.File(path, "r") as file:
            return _Variables(h5py, file).group(file, 0)
    # h5py raises what the C library hands it, under whatever name: OSError and RuntimeError mostly, KeyError and ValueError for links,
    # names and types.
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        NotImplementedError,
    ) as error:
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(f"{path} is a truncated or damaged MATLAB 7.3 file ({error}); copy or save it again") from error


class _Variables:
    """Reads the variables of an open HDF5 file, with one limit to the size of all of them."""

    def __init__(self, h5py: Any, file: Any) -> None:
        self.h5py = h5py
        self.file = file
        self.left = MOST_BYTES
        self.members = MOST_MEMBERS

    def group(self, group: Any, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in group:
            if name.startswith("#"):  # where MATLAB keeps what references point at
                continue
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                found[name] = Unreadable("a link to another place")
                continue
            found[name] = self.value(group[name], depth)
        return found

    def value(self, item: Any, depth: int) -> Any:
        self.members -= 1
        if depth > DEEPEST or self.members < 0:
            return Unreadable("nested too deeply, or too much")
        if isinstance(item, self.h5py.Group):
            return self.group(item, depth + 1)
        if not isinstance(item, self.h5py.Dataset):
            return Unreadable("a type")
        if item.external or item.is_virtual or item.compression not in PLAIN_FILTERS:
            return Unreadable("stored in another file, or packed in another way than gzip")
        if item.shape is None or item.dtype.kind not in "fiub" or item.attrs.get("MATLAB_empty", 0):
            return (
                self.referenced(item, depth)
                if item.dtype.kind == "O" and item.shape is not None
                else Unreadable(f"values of type {item.dtype}")
            )
        self.left -= item.size * max(item.dtype.itemsize, 1)
        if self.left < 0:
            raise ConnectomeError(
                f"{self.file.filename} holds more than {MOST_BYTES:,} bytes of values, which no connectome needs; it is not read"
            )
        values = np.asarray(item[()]).T  # MATLAB counts the first axis first, HDF5 the last
        if item.attrs.get("MATLAB_class", b"") in (b"char", "char"):
            rows = values.reshape(values.shape[0], -1) if values.size else np.zeros((0, 0), np.uint16)
            return ["".join(chr(int(code)) for code in row).rstrip("\0") for row in rows]
        return values

    def referenced(self, item: Any, depth: int) -> Any:
        """What a cell array's references point at, in MATLAB's order."""
        if not self.h5py.check_ref_dtype(item.dtype) or item.size > self.members:
            return Unreadable("references to parts of arrays")
        return [self.value(self.file[reference], depth + 1) for reference in np.asarray(item[()]).T.ravel(order="F") if reference]

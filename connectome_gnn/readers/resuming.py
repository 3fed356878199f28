"""A conversion that goes on where it was killed: rows on disk, and beside them a journal of which are whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.filling import Facts

__all__ = ["Unfinished", "fingerprint", "unfinished"]


def fingerprint(**facts: Any) -> str:
    """One text that changes with anything a conversion depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class Unfinished:
    """The rows of a conversion that is under way.

    Parameters
    ----------
    folder : where they are kept.
    shape : (N, E).
    key : fingerprint of the conversion; rows of another one are thrown away.

    Attributes
    ----------
    known : facts of every chunk that is whole, by its first row.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], key: str) -> None:
        self.folder = folder
        self.shape = shape
        self.known: dict[int, list[Facts]] = {}
        self.rows = folder / "connectomes.npy"
        self.journal = folder / "journal.jsonl"
        self._restore(key)
        if not self.known:
            with self.rows.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                self.start = file.tell()
        # Written anew, so that a line which was being written when the process was killed is gone.
        whole = [{"key": key, "start": self.start}, *({"row": row, "facts": facts} for row, facts in self.known.items())]
        self.journal.write_text("".join(json.dumps(line) + "\n" for line in whole))

    def _restore(self, key: str) -> None:
        """Take up the chunks that a killed conversion of the same people wrote whole."""
        if not (self.rows.is_file() and self.journal.is_file()):
            return
        try:
            head, *lines = self.journal.read_text().splitlines()
            record = json.loads(head)
            if record["key"] != key:
                return
            self.start = int(record["start"])
        except (ValueError, KeyError, TypeError):
            return
        size = self.rows.stat().st_size
        for line in lines:
            try:
                chunk = json.loads(line)
                end = self.start + (chunk["row"] + len(chunk["facts"])) * self.shape[1] * 4
            except (ValueError, KeyError, TypeError):  # the line that was being written
                break
            if end > size:
                break
            self.known[int(chunk["row"])] = chunk["facts"]

    @contextmanager
    def writing(self) -> Iterator[tuple[IO[bytes], IO[str]]]:
        """The files of the rows and the journal, open to write to."""
        # Plain writing rather than a memory map: a full disk is then an error, not the end of the process.
        with self.rows.open("r+b") as rows, self.journal.open("a") as journal:
            yield rows, journal

    def store(self, files: tuple[IO[bytes], IO[str]], first: int, edges: NDArray[np.float32], facts: list[Facts]) -> None:
        """Write a chunk's rows, then that they are whole."""
        rows, journal = files
        rows.seek(self.start + first * self.shape[1] * 4)
        rows.write(np.ascontiguousarray(edges, dtype="<f4").data)
        rows.flush()
        journal.write(json.dumps({"row": first, "facts": facts}) + "\n")
        journal.flush()


@contextmanager
def unfinished(out: Path, shape: tuple[int, int], key: str) -> Iterator[Unfinished]:
    """The rows of a conversion to ``out``, kept in a hidden folder beside it while the block runs.

    The folder stays when the process is killed or interrupted, so that the next call goes on; it goes when the block ends, with or
    without an error.

    Raises
    ------
    ConnectomeError
        If another process converts to ``out`` now.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name[:100]}.reading"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        _lock(lock, out)
        try:
            yield Unfinished(folder, shape, key)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[str], out: Path) -> None:
    if sys.platform == "win32":  # no advisory locks there
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConnectomeError(f"another process is converting to {out} now; wait for it, or choose another folder") from error

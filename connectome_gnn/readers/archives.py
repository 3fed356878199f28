"""Zip archives and compressed bytes, read in memory: nothing from an archive ever touches the disk, and nothing grows without bound."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectome_gnn.errors import ConnectomeError

__all__ = ["MOST_BYTES", "MOST_MEMBERS", "gunzip", "open_zip", "read_bytes", "read_member"]

MOST_BYTES = 128 * 2**20
"""Most bytes of a file, or of what it unpacks to: a matrix of 2,000 regions takes 32 MB, in text up to 100."""
MOST_MEMBERS = 10_000
PLAIN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
DAMAGE = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, zlib.error, struct.error, EOFError, ValueError)
"""What a damaged archive makes Python's zipfile raise (names that cannot be decoded, offsets before the beginning, ...)."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """A file's bytes, unpacked where its name ends in .gz.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, or it is larger than ``most`` bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ConnectomeError(f"{path} holds {path.stat().st_size:,} bytes, more than the {most:,} that such a file can need")
    return gunzip(data, str(path), most) if path.name.lower().endswith(".gz") else data


def gunzip(data: bytes, where: str, most: int = MOST_BYTES) -> bytes:
    """Unpack gzip'd bytes, at most ``most`` of them.

    Raises
    ------
    ConnectomeError
        If they are no gzip, damaged, or unpack to more.
    """
    parts, room = [], most
    while data:
        unpacker = zlib.decompressobj(31)
        try:
            part = unpacker.decompress(data, room + 1)
        except zlib.error as error:
            raise ConnectomeError(f"{where} is no gzip file, or a damaged one ({error})") from error
        parts.append(part)
        room -= len(part)
        if room < 0:
            raise ConnectomeError(f"{where} unpacks to more than {most:,} bytes, which no connectome needs; it is not read")
        if not unpacker.eof:
            raise ConnectomeError(f"{where} is a truncated gzip file; copy it again")
        data = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive to look at its members' names.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, it is no zip archive or a damaged one, too large, or has too many members.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no archive {path}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ConnectomeError(f"{path} holds {size:,} bytes, more than the {MOST_BYTES:,} that an archive of connectomes can need")
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise ConnectomeError(f"{path} is no zip archive, or a damaged one ({error}); copy it again") from error
    with archive:
        if len(archive.infolist()) > MOST_MEMBERS:
            raise ConnectomeError(f"{path} holds {len(archive.infolist()):,} files, more than {MOST_MEMBERS:,}; it is not read")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, where: str, most: int = MOST_BYTES) -> bytes:
    """One member's bytes, unpacked where its name ends in .gz, whatever size the archive claims for it.

    Raises
    ------
    ConnectomeError
        If the member claims or has more than ``most`` bytes, is encrypted, packed in another way than deflate, or damaged.
    """
    inside = f"{where} ({name})"
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise ConnectomeError(f"{inside} is encrypted; unpack and pack it again without a password")
    if info.compress_type not in PLAIN:
        raise ConnectomeError(f"{inside} is packed by method {info.compress_type}; expected a plain zip archive (stored or deflated)")
    if info.file_size > most:
        raise ConnectomeError(f"{inside} claims {info.file_size:,} bytes, more than the {most:,} that such a file can need")
    try:
        with archive.open(info) as file:
            data = file.read(most + 1)
    except (*DAMAGE, OSError) as error:
        raise ConnectomeError(f"{inside} cannot be unpacked ({error}); copy the archive again") from error
    if len(data) > most:
        raise ConnectomeError(f"{inside} unpacks to more than the {most:,} bytes that such a file can need; it is not read")
    return gunzip(data, inside, most) if name.lower().endswith(".gz") else data

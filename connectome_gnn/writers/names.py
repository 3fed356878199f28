"""Files' names for people: any participant_id as a name that every file system takes, and back."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from connectome_gnn.errors import ConnectomeError

__all__ = ["file_names", "name_of"]

PLAIN = "-_.+=@, "
LONGEST = 200
"""Bytes of a name, so that an ending fits too."""


def file_names(names: Sequence[str]) -> list[str]:
    """A file's name, without its ending, for each of many different names; :func:`name_of` gives the name back.

    Names that differ only in capitals get different files on file systems that do not see the difference.

    Raises
    ------
    ConnectomeError
        If a name is too long for a file.
    """
    files = [_quoted(name) for name in names]
    seen = Counter(file.casefold() for file in files)
    files = [_quoted(name, capitals=True) if seen[file.casefold()] > 1 else file for name, file in zip(names, files, strict=True)]
    longest = max(files, key=lambda file: len(file.encode()))
    if len(longest.encode()) > LONGEST:
        raise ConnectomeError(f"participant_id {longest[:40]!r}... is too long for the name of a file; give shorter ids, or write native")
    return files


def name_of(file: str) -> str:
    """The name that a file was written for; the inverse of :func:`file_names`."""
    return unquote(file)


def _quoted(name: str, capitals: bool = False) -> str:
    """A name with every character that a file system may not keep as it is written as %XX, its UTF-8 bytes."""
    whole = unicodedata.is_normalized("NFC", name)
    last = len(name) - 1
    cells = []
    for place, character in enumerate(name):
        safe = (character.isalnum() and (whole or character.isascii())) or character in PLAIN
        safe &= not (place in (0, last) and character in ". ") and not (capitals and character.lower() != character)
        cells.append(character if safe else "".join(f"%{byte:02X}" for byte in character.encode()))
    return "".join(cells)

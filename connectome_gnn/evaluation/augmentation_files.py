"""What an augmentation study has finished so far, kept in a file so that a broken run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["Finished", "fingerprint"]

PEOPLE = 64
"""Connectomes that go into a cohort's fingerprint."""

Key = tuple[int, int]
"""Repeat and size."""


class Finished:
    """Finished parts of a study: the file's first line says which study, every other line holds one repeat at one size.

    A line is written at once and to the disk; a line that a killed process left half written is dropped.

    Parameters
    ----------
    path : the file (JSON lines), made where there is none; None keeps nothing.
    study : what decides the numbers, as plain JSON values.

    Raises
    ------
    ConnectomeError
        If the file belongs to another study, or to none.
    """

    def __init__(self, path: str | Path | None, study: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.rows: dict[Key, list[dict[str, Any]]] = {}
        if self.path is None:
            return
        if self.path.is_dir():
            raise ConnectomeError(f"{self.path} is a folder; name a file to keep finished repeats in, as study.jsonl")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if not whole:
            _write(self.path, json.dumps({"study": study}, ensure_ascii=False) + "\n", "w")
            return
        records = self._records(whole, study)
        if whole != text:
            os.truncate(self.path, len(whole.encode("utf-8")))
        self.rows = {(record["repeat"], record["size"]): record["rows"] for record in records}

    def add(self, key: Key, rows: list[dict[str, Any]]) -> None:
        """Keep one repeat at one size."""
        self.rows[key] = rows
        if self.path is not None:
            _write(self.path, json.dumps({"repeat": key[0], "size": key[1], "rows": rows}, ensure_ascii=False, allow_nan=False) + "\n", "a")

    def _records(self, text: str, study: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            head, *records = [json.loads(line) for line in text.splitlines()]
            before = dict(head["study"])
            keys = [(record["repeat"], record["size"], record["rows"]) for record in records]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConnectomeError(f"{self.path} holds no finished repeats of an augmentation study; name another file") from error
        for name, value in json.loads(json.dumps(study)).items():
            if before.get(name) != value:
                raise ConnectomeError(
                    f"{self.path} belongs to another study: its {name} is {_short(before.get(name))}, here it is {_short(value)}; "
                    "name another file, or repeat that study"
                )
        return [{"repeat": int(repeat), "size": int(size), "rows": rows} for repeat, size, rows in keys]


def fingerprint(cohort: Cohort) -> str:
    """Hexadecimal digest of a cohort's people, phenotypes, measure and of connectomes spread evenly over it."""
    digest = sha256(cohort.phenotypes.to_csv().encode("utf-8"))
    digest.update(json.dumps([list(cohort.atlas.labels), cohort.measure, cohort.signed]).encode("utf-8"))
    for row in np.unique(np.linspace(0, cohort.n_people - 1, min(PEOPLE, cohort.n_people)).astype(int)):
        digest.update(np.ascontiguousarray(cohort.read([row]), np.float64).tobytes())
    return digest.hexdigest()


def _short(value: Any, most: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 3] + "..."


def _write(path: Path, line: str, mode: str) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())

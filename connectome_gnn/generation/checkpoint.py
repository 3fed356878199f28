"""Checkpoints: what a fit has finished, stored as it finishes, so that a killed fit goes on to the same model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from connectome_gnn import native
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["NO_CHECKPOINT", "Checkpoint", "cohort_digest", "digest"]

FORMAT_VERSION = 1
RECORD = "checkpoint.json"
NUMBERS = "fiub"
PACKAGES = ("connectome-gnn", "torch", "numpy", "scipy", "pandas", "scikit-learn")
Result = TypeVar("Result")


class Checkpoint:
    """A folder of finished stages of one fit.

    A stage is a safetensors file that carries its own checksum; it appears complete or not at all (written beside its place, flushed
    to the disk, renamed), so the process may be killed at any moment. Nothing in the folder is a pickle, and nothing in it is run.
    The folder holds numbers derived from training people (their components, among others): keep it as you keep the cohort, and
    delete it when the model is saved.

    Parameters
    ----------
    folder : where stages are stored; None stores nothing, and every stage is computed.

    See Also
    --------
    Checkpoint.open : makes sure that the folder belongs to the same people and settings.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: str | Path | None, cohort: Cohort, settings: Mapping[str, Any]) -> Checkpoint:
        """Start a checkpoint, or go on with one of the same people, settings and versions.

        Parameters
        ----------
        folder : new or empty, or a checkpoint; None stores nothing.
        cohort : the training people; every weight and phenotype of theirs counts.
        settings : all that the fit depends on besides, as JSON can hold it.

        Raises
        ------
        ConnectomeError
            If the folder is a checkpoint of something else, holds other files, or cannot be written.
        """
        if folder is None:
            return NO_CHECKPOINT
        folder = Path(folder)
        native.check_target(folder, force=True)
        asked = {"format": FORMAT_VERSION, **cohort_digest(cohort), "settings": dict(settings), "versions": _versions()}
        asked = json.loads(json.dumps(asked, default=str))
        if (folder / RECORD).is_dir():
            raise ConnectomeError(f"{folder / RECORD} is a folder, where a checkpoint has a file; name another folder for the checkpoint")
        if not (folder / RECORD).exists():
            if not _first_process():
                return cls(folder)  # which the first process is about to make
            if folder.is_dir() and any(entry.name != f".{RECORD}.partial" for entry in folder.iterdir()):
                raise ConnectomeError(f"{folder} holds files but no checkpoint; name an empty or new folder for the checkpoint")
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConnectomeError(f"the checkpoint folder {folder} cannot be made ({error}); name another folder") from error
            _appear(folder / RECORD, lambda path: native.write_json(path, asked))
        else:
            _refuse_another(folder, native.read_json(folder / RECORD), asked)
        return cls(folder)

    def stage(
        self,
        name: str,
        compute: Callable[[], Result],
        *,
        types: Iterable[type] = (),
        given: Iterable[object] = (),
        depends: Mapping[str, NDArray] | None = None,
    ) -> Result:
        """What ``compute()`` returns: from the folder where the stage is finished, else computed and stored.

        Parameters
        ----------
        name : of the stage, unique within the fit.
        compute : returns any nest of tuples, lists, dicts, arrays, tensors, tables, numbers, text and dataclasses of ``types``.
        types : dataclasses that the result may hold.
        given : objects that the result refers to and the caller has anyway; they are put back rather than stored.
        depends : arrays that the result depends on, where people and settings do not say it all: a stage of others is computed again.

        Raises
        ------
        TypeError
            If the result holds anything else.
        ConnectomeError
            If the folder cannot be written.
        """
        if self.folder is None:
            return compute()
        codec = _Codec(types, given)
        inputs = digest(depends or {}, None)
        stored = self.read(name)
        if stored is not None and stored[1].get("inputs") == inputs:
            try:
                return codec.unpacked(stored[1]["tree"], stored[0])
            except (KeyError, IndexError, TypeError, ValueError):
                pass  # of another make of the result's classes: computed again
        result = compute()
        arrays: dict[str, NDArray] = {}
        tree = codec.packed(result, "", arrays)
        self.write(name, arrays, {"tree": tree, "inputs": inputs})
        return result

    def read(self, name: str) -> tuple[dict[str, NDArray], dict[str, Any]] | None:
        """Arrays and record of a stage; None where it is missing, truncated or damaged, and so has to be computed again."""
        if self.folder is None or not _file(self.folder, name).is_file():
            return None
        try:
            with safe_open(_file(self.folder, name), framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            record = json.loads(metadata["record"])
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError):
            return None
        if metadata.get("name") != name or metadata.get("sha256") != digest(arrays, record):
            return None
        return arrays, record

    def write(self, name: str, arrays: Mapping[str, NDArray], record: Mapping[str, Any]) -> None:
        """Store a stage's arrays and record, replacing what was there; it appears complete or not at all.

        Of the processes that torchrun starts the first one writes: all of them fit the same model.
        """
        if self.folder is None or not _first_process():
            return
        plain = {key: np.ascontiguousarray(array).reshape(np.shape(array)) for key, array in arrays.items()}
        text = json.dumps(record)
        metadata = {"name": name, "record": text, "sha256": digest(plain, json.loads(text))}
        _appear(_file(self.folder, name), lambda path: save_file(plain, path, metadata=metadata))

    def discard(self, name: str) -> None:
        """Remove a stage that is no longer needed."""
        if self.folder is not None and _first_process():
            _file(self.folder, name).unlink(missing_ok=True)


NO_CHECKPOINT = Checkpoint(None)
"""Stores nothing: every stage is computed."""


def cohort_digest(cohort: Cohort) -> dict[str, str]:
    """Checksums of a cohort's weights, of its people and phenotypes, and of what describes it; every weight is read, once."""
    weights = hashlib.sha256(f"{cohort.n_people} {cohort.n_edges}".encode())
    for _, rows in cohort.batches():
        weights.update(f"{rows.dtype.str}".encode())
        weights.update(np.ascontiguousarray(rows).data)
    table = cohort.phenotypes
    people = hashlib.sha256(json.dumps([[str(name), str(kind)] for name, kind in table.dtypes.items()]).encode())
    people.update(table.to_csv().encode())
    atlas = cohort.atlas.to_frame().to_csv()
    about = json.dumps([cohort.measure, cohort.signed, cohort.kind, cohort.name, cohort.described, atlas], default=str, sort_keys=True)
    return {"weights": weights.hexdigest(), "phenotypes": people.hexdigest(), "description": hashlib.sha256(about.encode()).hexdigest()}


def digest(arrays: Mapping[str, NDArray], record: object) -> str:
    """Checksum of named arrays, whatever their order, and of a record that JSON can hold."""
    total = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(np.ascontiguousarray(array).data if array.size else b"")
    return total.hexdigest()


def _file(folder: Path, stage: str) -> Path:
    return folder / f"{stage.replace(' ', '-')}.safetensors"


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _refuse_another(folder: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise unless the folder's record is that of the fit asked for."""
    for key, what in (("weights", "other connectomes"), ("phenotypes", "other people or phenotypes"), ("description", "another cohort")):
        if found.get(key) != asked[key]:
            raise ConnectomeError(f"the checkpoint {folder} is of a fit to {what}; name another folder, or delete this one to start again")
    for key in ("settings", "versions", "format"):
        if found.get(key) != asked[key]:
            shown = _difference(found.get(key), asked[key])
            raise ConnectomeError(
                f"the checkpoint {folder} is of a fit with other {key} ({shown}); ask for the same, name another folder, or delete this one"
            )


def _difference(found: Any, asked: Any) -> str:
    """Where two records differ first, in words."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in [*asked, *found]:
            if found.get(key) != asked.get(key):
                inner = found.get(key), asked.get(key)
                nested = all(isinstance(part, dict) for part in inner)
                return f"{key}: {_difference(*inner)}" if nested else f"{key} was {inner[0]!r}, now {inner[1]!r}"
    return f"{found!r}, now {asked!r}"


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears under its name complete and on the disk, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise ConnectomeError(f"the checkpoint file {path} cannot be written ({error}); make room, or name another folder") from error


class _Codec:
    """Results as a tree that JSON can hold, with arrays beside it, and back; only named dataclasses are ever built."""

    def __init__(self, types: Iterable[type], given: Iterable[object]) -> None:
        self.types = {kind.__name__: kind for kind in types}
        self.given = list(given)

    def packed(self, value: Any, path: str, arrays: dict[str, NDArray]) -> Any:
        for number, known in enumerate(self.given):
            if value is known:
                return {"given": number}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, torch.Tensor):
            arrays[path] = value.detach().cpu().numpy()
            return {"tensor": path}
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in NUMBERS:
            arrays[path] = np.asarray(value)
            return {"array" if isinstance(value, np.ndarray) else "scalar": path}
        if type(value) in (list, tuple):
            return {type(value).__name__: [self.packed(part, f"{path}/{number}", arrays) for number, part in enumerate(value)]}
        if type(value) is dict:
            keys = [self.packed(key, f"{path}/key{number}", arrays) for number, key in enumerate(value)]
            return {
                "dict": [
                    [key, self.packed(part, f"{path}/{n}", arrays)] for n, (key, part) in enumerate(zip(keys, value.values(), strict=True))
                ]
            }
        if isinstance(value, pd.DataFrame):
            numbers = {name for name, kind in value.dtypes.items() if isinstance(kind, np.dtype) and kind.kind in NUMBERS}
            columns = {name: column.to_numpy() if name in numbers else column.tolist() for name, column in value.items()}
            return {"table": self.packed((value.index.name, value.index.tolist(), columns), path, arrays)}
        if is_dataclass(value) and self.types.get(type(value).__name__) is type(value):
            parts = {field.name: self.packed(getattr(value, field.name), f"{path}/{field.name}", arrays) for field in fields(value)}
            return {"object": type(value).__name__, "fields": parts}
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__} ({path or 'the result'}); name its dataclass in types=")

    def unpacked(self, node: Any, arrays: Mapping[str, NDArray]) -> Any:
        if not isinstance(node, dict):
            return node
        kind, content = next(iter(node.items()))
        match kind:
            case "given":
                return self.given[content]
            case "tensor":
                return torch.from_numpy(arrays[content])
            case "array":
                return arrays[content]
            case "scalar":
                return arrays[content][()]
            case "list":
                return [self.unpacked(part, arrays) for part in content]
            case "tuple":
                return tuple(self.unpacked(part, arrays) for part in content)
            case "dict":
                return {self.unpacked(key, arrays): self.unpacked(part, arrays) for key, part in content}
            case "table":
                name, index, columns = self.unpacked(content, arrays)
                return pd.DataFrame(columns, index=pd.Index(index, name=name))
            case _:
                return self.types[content](**{key: self.unpacked(part, arrays) for key, part in node["fields"].items()})

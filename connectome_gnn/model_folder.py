"""What folders of saved models have in common: config.json beside the other files, with the sha256 of each and its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn import native
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CONFIG", "WEIGHTS", "read_model", "write_config", "write_weights"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_weights(folder: Path, arrays: Mapping[str, NDArray | Tensor]) -> None:
    """Write model.safetensors, of arrays or of torch's tensors (which alone know half precisions).

    Raises
    ------
    ConnectomeError
        If the disk does not take it.
    """
    from safetensors import SafetensorError

    try:
        if any(hasattr(array, "detach") for array in arrays.values()):
            from safetensors.torch import save_file as save_tensors

            save_tensors(dict(arrays), folder / WEIGHTS)  # type: ignore[arg-type]
        else:
            from safetensors.numpy import save_file

            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ConnectomeError(f"the model cannot be written to {folder.parent} ({error}); make room, or name another folder") from error


def write_config(folder: Path, format_version: int, kind: str, files: Sequence[str], record: Mapping[str, Any]) -> None:
    """Write config.json beside ``files`` that are there already.

    Parameters
    ----------
    folder : of the model.
    format_version, kind : by which :func:`read_model` knows it again.
    files : names of the other files.
    record : what else is to stand in it, plain JSON values.
    """
    sums = {name: _sha256((folder / name).read_bytes()) for name in files}
    native.write_json(folder / CONFIG, {"format_version": format_version, "kind": kind, "sha256": sums, **record})
    written = native.read_json(folder / CONFIG)  # keys as text and plain numbers, as they will be read and summed
    written["sha256"][CONFIG] = _sha256_of(written)
    native.write_json(folder / CONFIG, written)


def read_model(path: Path, format_version: int, kinds: Sequence[str], files: Sequence[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What config.json says, and the content of the other files, all as they were saved.

    Parameters
    ----------
    path : the folder.
    format_version, kinds : what is expected.
    files : names of the other files.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the folder or a file is missing, a file was changed, or it is of another kind or format.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no model folder at {path}; expected a folder with {', '.join(files)} and {CONFIG}, as it is saved")
    record = native.read_json(path / CONFIG)
    if record.get("format_version") != format_version or record.get("kind") not in kinds:
        expected = f"a {kinds[0]}" if len(kinds) == 1 else f"one of {', '.join(kinds)}"
        raise ConnectomeError(
            f"{path / CONFIG}: expected {expected} of format {format_version}, got {record.get('kind')!r} of format "
            f"{record.get('format_version')!r}; save the model again with this version"
        )
    content = {}
    for name in files:
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} lacks {name}; a model folder needs it beside {CONFIG}")
        content[name] = (path / name).read_bytes()
    sums = record["sha256"] if isinstance(record.get("sha256"), dict) else {}
    for name, found in {CONFIG: _sha256_of(record), **{name: _sha256(inside) for name, inside in content.items()}}.items():
        if sums.get(name) != found:
            raise ConnectomeError(
                f"{path / name} was changed after the model was saved (its sha256 differs); restore it or save the model again"
            )
    return record, content


def _sha256_of(record: Mapping[str, Any]) -> str:
    """The checksum of a configuration without its own, whatever its line breaks."""
    sums = {name: value for name, value in record["sha256"].items() if name != CONFIG} if isinstance(record.get("sha256"), dict) else {}
    return _sha256(json.dumps({**record, "sha256": sums}, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

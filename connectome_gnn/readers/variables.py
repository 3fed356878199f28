"""Which of a file's variables is the connectome: matrices by their shape, labels beside them, and a choice where several fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError

__all__ = ["chosen", "is_square", "labels_in", "matrices_in", "text_list"]

LABELS = ("labels", "label", "region_labels", "regions", "roi_names", "rois", "names")


def matrices_in(variables: Mapping[str, Any], n_regions: int | None, prefix: str = "") -> dict[str, NDArray]:
    """Square matrices of numbers by name (``outer.inner`` inside structures), of ``n_regions`` regions where that is known."""
    found: dict[str, NDArray] = {}
    for name, value in variables.items():
        if isinstance(value, Mapping):
            found.update(matrices_in(value, n_regions, f"{prefix}{name}."))
        elif is_square(value) and len(value) > 1 and n_regions in (None, len(value)):
            found[prefix + name] = value
    return found


def is_square(value: Any) -> bool:
    """Whether a variable is a square matrix of numbers."""
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[0] == value.shape[1] and value.dtype.kind in "fiub"


def chosen(found: Mapping[str, NDArray], key: str | None, where: str, measure: str | None = None, atlas: Atlas | None = None) -> str:
    """The name of the matrix that is meant: ``key``, the one whose name ends in the measure, or the only one.

    Raises
    ------
    ConnectomeError
        If there is none, or several and it is not said which.
    """
    size = "R x R" if atlas is None else f"{len(atlas)} x {len(atlas)}"
    if key is not None:
        if key not in found:
            raise ConnectomeError(f"{where} has no {size} matrix {key!r}; it has {_listed(found) or 'none'}")
        return key
    if not found:
        told = "" if atlas is None else f" for the {len(atlas)} regions of atlas {atlas.name!r}"
        raise ConnectomeError(f"{where} holds no {size} matrix of numbers{told}")
    if len(found) > 1 and measure:
        fitting = [name for name in found if name.rpartition(".")[2].lower() == measure.lower()]
        if len(fitting) == 1:
            return fitting[0]
    if len(found) > 1:
        raise ConnectomeError(f"{where} holds several matrices, {_listed(found)}; say which by key (--key)")
    return next(iter(found))


def labels_in(variables: Mapping[str, Any], n_regions: int) -> tuple[str, ...] | None:
    """The regions' names among a file's variables, by their usual names; None where there are none."""
    lowered = {name.lower(): value for name, value in variables.items()}
    for name in LABELS:
        labels = text_list(lowered.get(name))
        if labels is not None and len(labels) == n_regions:
            return tuple(labels)
    return None


def text_list(value: Any) -> list[str] | None:
    """A list of names from a cell array, rows of characters, or an array of text; None where it is none."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "S":
            return [item.decode("latin-1").strip() for item in value.ravel()]
        return [str(item).strip() for item in value.ravel()] if value.dtype.kind == "U" else None
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    names = []
    for item in value:
        if isinstance(item, list) and len(item) == 1 and isinstance(item[0], str):
            names.append(item[0].strip())
        elif isinstance(item, str):
            names.append(item.strip())
        else:
            return None
    return names


def _listed(found: Mapping[str, NDArray]) -> str:
    names = [f"{name!r} {value.shape[0]} x {value.shape[1]}" for name, value in found.items()]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

"""QSIRecon's and QSIPrep's connectivity in MATLAB files: matrices and the regions' names, several atlases and measures a file.

Variables are ``atlas_<atlas>_region_labels`` and ``atlas_<atlas>_<measure>_connectivity``, in older files without ``atlas_``. Matched by
pattern: the tools' documentation says that the organisation will change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.matlab import read_mat
from connectome_gnn.readers.place import SUBJECT
from connectome_gnn.readers.regions import atlas_of_labels
from connectome_gnn.readers.source import EVERYBODY, Claim, Format, RawConnectome, Request, Source
from connectome_gnn.readers.variables import is_square, text_list

__all__ = ["QSIRECON"]

NAMED = re.compile(r"(?!.*conndata-network).*connectivity\.mat")
REGIONS = re.compile(r"(.+)_region_(?:ids|labels)")


@dataclass(frozen=True)
class _Variable:
    """One matrix of a file: its name, atlas and measure, and the regions' names."""

    name: str
    atlas: str
    measure: str
    labels: tuple[str, ...] | None


def _variables(found: Mapping[str, Any]) -> list[_Variable]:
    prefixes = {match[1] for name in found if (match := REGIONS.fullmatch(name))}
    listed = []
    for name, value in found.items():
        if not name.endswith("_connectivity") or not is_square(value):
            continue
        prefix = max((p for p in prefixes if name.startswith(f"{p}_")), key=len, default=None)
        if prefix is None:
            listed.append(_Variable(name, "", name.removesuffix("_connectivity"), None))
            continue
        labels = text_list(found.get(f"{prefix}_region_labels"))
        if labels is None and isinstance(ids := found.get(f"{prefix}_region_ids"), np.ndarray):
            labels = [f"{number:g}" for number in ids.ravel()]
        named = tuple(labels) if labels is not None and len(labels) == len(value) else None
        listed.append(_Variable(name, prefix.removeprefix("atlas_"), name[len(prefix) + 1 :].removesuffix("_connectivity"), named))
    return listed


def _chosen(variables: list[_Variable], request: Request, where: str) -> _Variable:
    """The matrix that is meant: by its name or a part of it (``key``), the regions' names, the measure, or because it is the only one."""
    if not variables:
        raise ConnectomeError(
            f"{where} holds no variable named ..._connectivity with a square matrix; expected QSIRecon's or QSIPrep's output"
        )
    fitting = variables
    if request.key is not None:
        fitting = [v for v in variables if v.name == request.key] or [v for v in variables if request.key in v.name]
    if request.atlas is not None and len(fitting) > 1:
        fitting = [v for v in fitting if v.labels == request.atlas.labels] or fitting
    if request.measure is not None and len(fitting) > 1:
        fitting = [v for v in fitting if v.measure == request.measure] or fitting
    if len(fitting) != 1:
        shown = ", ".join(v.name for v in (fitting or variables)[:8])
        raise ConnectomeError(f"{where} holds several matrices ({shown}); say which by key (--key), a variable's name or a part of it")
    return fitting[0]


@dataclass(frozen=True)
class _Matrix:
    """Reads a person's file."""

    name: str

    def __call__(self, path: Path) -> RawConnectome:
        found = read_mat(path)
        variable = next((v for v in _variables(found) if v.name == self.name), None)
        if variable is None:
            have = ", ".join(v.name for v in _variables(found)[:6]) or "no matrix"
            raise ConnectomeError(f"{path} holds no matrix {self.name!r}; it holds {have}")
        values: NDArray = found[self.name]
        return RawConnectome(values, f"{path} ({self.name})", variable.labels)


def _recognise(request: Request) -> Claim | None:
    files = request.place.named(NAMED)
    if not files:
        return None
    try:
        variables = _variables(read_mat(files[0]))
    except (ConnectomeError, OSError):
        return None
    return Claim(f"{files[0].name} holds {variables[0].name}", frozenset(files)) if variables else None


def _open(request: Request) -> Source:
    place = request.place
    files = place.named(NAMED) if place.is_folder else place.with_suffix(".mat")
    if not files:
        raise ConnectomeError(f"{place.root} holds no file named *connectivity.mat; expected QSIRecon's or QSIPrep's output")
    subjects = [SUBJECT.search(path.name) for path in files]
    names = [match.group() for match in subjects if match]
    ids, files = place.people(files, names if len(names) == len(files) else None)
    variable = _chosen(_variables(read_mat(files[0])), request, str(files[0]))
    atlas = request.atlas
    if atlas is None and variable.labels is not None:
        atlas = atlas_of_labels(variable.labels, variable.atlas, str(files[0]))
    measure = request.measure or variable.measure
    return Source(ids, files, _Matrix(variable.name), str(place.root), EVERYBODY, files, atlas, measure)


QSIRECON = Format("qsirecon", "QSIRecon or QSIPrep connectivity", _recognise, _open)

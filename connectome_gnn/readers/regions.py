"""Tables of regions as tools write them, read as an atlas: MRtrix, FreeSurfer, BIDS, brainGraph, plain lists of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.atlases import NAMES as NAMED
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.archives import read_bytes
from connectome_gnn.readers.text import decode, is_number, split_lines

__all__ = ["atlas_of_labels", "read_atlas", "read_regions"]

MOST_BYTES = 16 * 2**20
NAMES = ("label", "name", "rois", "roi_name", "region", "fullname")
"""Columns that hold a region's name, the first one that a table has."""
ORDER = ("index", "node_number", "roi_id")
HEMISPHERES = ("hemisphere", "hemi")
NETWORKS = ("network", "rsn", "lobe", "network_label", "network_label_7network")
AXES = (("x", "x.mni", "x_mni"), ("y", "y.mni", "y_mni"), ("z", "z.mni", "z_mni"))
SIDES = {"l": "L", "left": "L", "lh": "L", "r": "R", "right": "R", "rh": "R"}
COLOUR = re.compile(r"\s*(\d+)((?:\s+\d+){3,4})\s*")
BACKGROUND = {"???", "unknown", "background"}


def read_atlas(atlas: Atlas | str | Path) -> Atlas:
    """An atlas from an atlas, the name of one (:meth:`connectome_gnn.atlas.Atlas.load`), or a table of regions."""
    if isinstance(atlas, Atlas):
        return atlas
    if not isinstance(atlas, (str, Path)):
        raise ConnectomeError(f"expected an Atlas, the name of one or a table of its regions, got a {type(atlas).__name__}")
    if not Path(atlas).is_file() and str(atlas) in NAMED:
        return Atlas.load(atlas)
    return read_regions(Path(atlas))


def read_regions(path: Path) -> Atlas:
    """Read a table of regions, in the order of a connectome's rows.

    Parameters
    ----------
    path : a native or BIDS table with a column ``label`` or ``name`` (tab, comma or semicolon), brainGraph's (``x.mni``, ``lobe``,
        ``hemi``), an MRtrix ``labelconvert`` or FreeSurfer colour table (``index name ... R G B A``, index 0 being no region), names with
        a line of numbers below each (Connectome Workbench), or one name a line.

    Returns
    -------
    atlas : hemispheres by the names where the table does not say.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, or what it lists is no atlas.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no atlas table at {path}; expected a table with a column 'label', or the name of one of: {', '.join(NAMED)}"
        )
    lines = [
        line for line in decode(read_bytes(path, MOST_BYTES), str(path)).splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise ConnectomeError(f"{path} is empty; expected an atlas table with a column 'label'")
    if any(mark in lines[0] for mark in "\t,;"):
        rows = [[cell.strip() for cell in row] for row in split_lines(lines, str(path))]
        if not rows[0][0].isdecimal():
            return _titled(rows, path)
    else:
        rows = [line.split() for line in lines]
    if (
        len(lines) % 2 == 0
        and all(COLOUR.fullmatch(line) for line in lines[1::2])
        and not any(COLOUR.fullmatch(line) for line in lines[::2])
    ):
        return _listed([(int(below.split()[0]), [name.strip()]) for name, below in zip(lines[::2], lines[1::2], strict=True)], path)
    if all(row and row[0].isascii() and row[0].isdecimal() and len(row[0]) < 10 and len(row) > 1 for row in rows):
        return _listed([(int(row[0]), _names(row[1:])) for row in rows], path)
    if all(len(row) == 1 for row in rows):
        return _titled(rows, path) if rows[0][0].lower() in NAMES else atlas_of_labels([row[0] for row in rows], path.stem, str(path))
    raise ConnectomeError(f"{path} is no table of regions; expected a column 'label', or lines of an index and a name")


def atlas_of_labels(labels: Sequence[str], name: str, where: str, hemisphere: Sequence[str] | None = None, xyz: object = None) -> Atlas:
    """An atlas from names alone, hemispheres by the names; errors begin with ``where``."""
    try:
        return Atlas(labels, hemisphere or [hemisphere_of(label) for label in labels], xyz=xyz, name=name)  # type: ignore[arg-type]
    except ConnectomeError as error:
        raise ConnectomeError(f"{where}: {error}") from error


def _titled(rows: list[list[str]], path: Path) -> Atlas:
    """An atlas from a table with names of columns."""
    titles = [cell.lower() for cell in rows[0]]
    for line, row in enumerate(rows[1:], 2):
        if len(row) < len(titles) or any(row[len(titles) :]):
            raise ConnectomeError(f"{path} line {line} has {len(row)} cells, the header {len(titles)}; write n/a into empty ones")
    for place, title in enumerate(titles):
        if title and title in titles[:place]:
            raise ConnectomeError(f"{path} has column {rows[0][place]!r} more than once; rename or remove one")
    columns = dict(zip(titles, zip(*(row[: len(titles)] for row in rows[1:]), strict=True), strict=False)) if len(rows) > 1 else {}
    named = next((title for title in NAMES if title in titles), None)
    if named is None:
        raise ConnectomeError(f"{path} needs a column 'label' (or 'name'), it has {', '.join(repr(cell) for cell in rows[0][:8])}")
    table = {"label": list(columns.get(named, ()))}
    sides = next((columns[title] for title in HEMISPHERES if title in columns), None)
    table["hemisphere"] = (
        [hemisphere_of(label) for label in table["label"]] if sides is None else [SIDES.get(side.lower(), _unknown(side)) for side in sides]
    )
    networks = next((columns[title] for title in NETWORKS if title in columns), None)
    if networks is not None:
        table["network"] = list(networks)
    for axis, spellings in zip("xyz", AXES, strict=True):
        cells = next((columns[title] for title in spellings if title in columns), None)
        if cells is not None:
            table[axis] = list(cells)
    order = next((columns[title] for title in ORDER if title in columns), None)
    frame = pd.DataFrame(table, dtype=object)
    if order is not None and all(cell.isascii() and cell.isdecimal() and len(cell) < 10 for cell in order):
        places = [int(cell) for cell in order]
        if len(set(places)) == len(places):
            frame = frame.iloc[sorted(range(len(places)), key=places.__getitem__)].reset_index(drop=True)
    return Atlas.from_frame(frame, path.stem, str(path))


def _unknown(side: str) -> str:
    return UNKNOWN if side.lower() in ("", "n/a", "na", "none", "b", "both", "bilateral", "midline", "m") else side


def _names(cells: Sequence[str]) -> list[str]:
    """A region's names: what comes before the colour."""
    names = list(cells)
    while len(names) > 1 and is_number(names[-1]):
        names.pop()
    return names


def _listed(rows: list[tuple[int, list[str]]], path: Path) -> Atlas:
    """An atlas from lines of an index and its names; index 0 is no region, and a region may have several spellings (MRtrix's Thalamus)."""
    spellings: dict[int, list[list[str]]] = {}
    for index, names in rows:
        if not (index == 0 and names[0].lower() in BACKGROUND) and names[0].lower() != "background":
            spellings.setdefault(index, []).append(names)
    places = sorted(spellings)
    if places and places != list(range(places[0], places[0] + len(places))):
        gap = next(n for n, index in enumerate(places) if index != places[0] + n)
        raise ConnectomeError(
            f"{path}: regions are counted from {places[0]}, {places[0] + gap} is missing; row i of a connectome is region i of this table"
        )
    column = 1 if all(len(names[0]) > 1 for names in spellings.values()) else 0  # MRtrix gives a short and a long name
    return atlas_of_labels([spellings[index][0][column] for index in places], path.stem, str(path))

"""A brain atlas: which row of a connectome is which region, and where that region lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.edges import edge_indices, n_edges_of
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.tables import read_table

__all__ = ["Atlas", "AtlasMatch"]

UNKNOWN = "n/a"


@dataclass(frozen=True, eq=False)
class AtlasMatch:
    """How another atlas's regions compare with this one's, by label.

    Attributes
    ----------
    missing : labels of this atlas that the other lacks.
    extra : labels of the other atlas that this one lacks.
    order : (R,) for each region of this atlas its row in the other, or None where regions are missing.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    order: NDArray[np.intp] | None

    @property
    def same(self) -> bool:
        """Whether both atlases list the same regions in the same order."""
        return self.order is not None and not self.extra and bool((self.order == np.arange(len(self.order))).all())

    def describe(self) -> str:
        """What differs, in half a sentence."""
        if self.same:
            return "the same regions in the same order"
        parts = []
        for name, labels in (("missing", self.missing), ("extra", self.extra)):
            if labels:
                shown = ", ".join(repr(label) for label in labels[:3]) + (", ..." if len(labels) > 3 else "")
                parts.append(f"{len(labels)} {name} ({shown})")
        return "; ".join(parts) or "the same regions in another order"


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Atlas:
    """Regions of a brain atlas, in the order of the connectome's rows.

    Parameters
    ----------
    labels : (R,) unique region names.
    hemisphere : (R,) of ``"L"``, ``"R"`` or ``"n/a"``; None where unknown throughout.
    network : (R,) name of the functional system or lobe, ``"n/a"`` where unknown; None where unknown throughout.
    xyz : (R, 3) centroids in MNI space, mm, NaN where unknown; None where unknown throughout.
    name : name of the atlas.

    Raises
    ------
    ConnectomeError
        If there are fewer than two regions, a label is empty or occurs twice, an array's length differs from the number of labels, a
        hemisphere is something else, or a coordinate no finite number.
    """

    labels: tuple[str, ...]
    hemisphere: tuple[str, ...]
    network: tuple[str, ...]
    xyz: NDArray[np.float64]
    name: str

    def __init__(
        self,
        labels: Sequence[str],
        hemisphere: Sequence[str] | None = None,
        network: Sequence[str] | None = None,
        xyz: ArrayLike | None = None,
        name: str = "",
    ) -> None:
        names = tuple(_known(label) for label in labels)
        if len(names) < 2:
            raise ConnectomeError(f"an atlas needs at least 2 regions, got {len(names)}")
        if UNKNOWN in names:
            raise ConnectomeError(f"every region needs a label, region {names.index(UNKNOWN) + 1} of the atlas has none")
        repeated = pd.Index(names)[pd.Index(names).duplicated()]
        if len(repeated):
            raise ConnectomeError(f"region labels must be unique, {repeated[0]!r} occurs more than once in the atlas")
        columns = {}
        for column, values in (("hemisphere", hemisphere), ("network", network)):
            filled = (UNKNOWN,) * len(names) if values is None else tuple(_known(value) for value in values)
            if len(filled) != len(names):
                raise ConnectomeError(f"expected a {column} for each of {len(names)} regions, got {len(filled)}")
            columns[column] = filled
        for label, side in zip(names, columns["hemisphere"], strict=True):
            if side not in ("L", "R", UNKNOWN):
                raise ConnectomeError(f"a hemisphere is 'L', 'R' or 'n/a', region {label!r} has {side!r}")
        coordinates = np.full((len(names), 3), np.nan) if xyz is None else _coordinates(xyz, names)
        coordinates.setflags(write=False)
        object.__setattr__(self, "labels", names)
        object.__setattr__(self, "hemisphere", columns["hemisphere"])
        object.__setattr__(self, "network", columns["network"])
        object.__setattr__(self, "xyz", coordinates)
        object.__setattr__(self, "name", name)

    @property
    def n_regions(self) -> int:
        """Number of regions R."""
        return len(self.labels)

    @property
    def n_edges(self) -> int:
        """Number of undirected edges E = R (R - 1) / 2."""
        return n_edges_of(self.n_regions)

    @property
    def has_coordinates(self) -> bool:
        """Whether every region's centroid is known."""
        return bool(np.isfinite(self.xyz).all())

    def __len__(self) -> int:
        return self.n_regions

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Atlas):
            return NotImplemented
        return (
            self.labels == other.labels
            and self.hemisphere == other.hemisphere
            and self.network == other.network
            and np.array_equal(self.xyz, other.xyz, equal_nan=True)
        )

    def __hash__(self) -> int:
        return hash(self.labels)

    def __repr__(self) -> str:
        return f"Atlas({self.name or 'unnamed'}, {self.n_regions} regions, coordinates {'known' if self.has_coordinates else 'incomplete'})"

    def distances(self) -> NDArray[np.float64]:
        """Euclidean distances between centroids, (R, R), mm; NaN where a coordinate is unknown."""
        return np.sqrt(((self.xyz[:, None] - self.xyz[None]) ** 2).sum(-1))

    def edge_distances(self) -> NDArray[np.float64]:
        """Euclidean length of every edge, (E,), mm; NaN where a coordinate is unknown."""
        rows, columns = edge_indices(self.n_regions)
        return np.sqrt(((self.xyz[rows] - self.xyz[columns]) ** 2).sum(-1))

    def match(self, other: Atlas) -> AtlasMatch:
        """Compare another atlas with this one, region by region, by label."""
        rows = {label: row for row, label in enumerate(other.labels)}
        missing = tuple(label for label in self.labels if label not in rows)
        extra = tuple(sorted(set(other.labels) - set(self.labels)))
        order = None if missing else np.array([rows[label] for label in self.labels], dtype=np.intp)
        return AtlasMatch(missing, extra, order)

    def to_frame(self) -> pd.DataFrame:
        """The atlas as a table with columns label, hemisphere, network, x, y, z."""
        table = pd.DataFrame({"label": self.labels, "hemisphere": self.hemisphere, "network": self.network})
        return table.assign(**dict(zip("xyz", self.xyz.T, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, the inverse of :meth:`from_dict`."""
        table = self.to_frame().astype(object)
        return {"name": self.name, **{str(column): table[column].where(table[column].notna(), None).tolist() for column in table}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Atlas:
        """An atlas from :meth:`to_dict`."""
        return cls.from_frame(pd.DataFrame({column: values for column, values in record.items() if column != "name"}), record["name"])

    @classmethod
    def from_frame(cls, table: pd.DataFrame, name: str = "", source: str = "the atlas table") -> Atlas:
        """An atlas from a table with a column ``label`` and, where known, hemisphere, network, x, y, z."""
        if "label" not in table:
            raise ConnectomeError(f"{source} needs a column 'label', it has {', '.join(repr(str(name)) for name in table.columns)}")
        axes = [axis for axis in "xyz" if axis in table]
        if axes and len(axes) < 3:
            raise ConnectomeError(f"{source} has coordinates {', '.join(axes)} only; expected x, y and z, or none of them")
        columns = {name: table[name].tolist() for name in ("hemisphere", "network") if name in table}
        try:
            xyz = table[axes].to_numpy(object) if axes else None
            return cls(table["label"].tolist(), columns.get("hemisphere"), columns.get("network"), xyz, name)
        except ConnectomeError as error:
            raise ConnectomeError(f"{source}: {error}") from error

    @classmethod
    def load(cls, atlas: str | Path, name: str | None = None) -> Atlas:
        """An atlas by its name, or from a table.

        Parameters
        ----------
        atlas : a name, such as ``"desikan68"``, ``"schaefer200"``, ``"glasser360"``, ``"aal"``, ``"destrieux"``, ``"harvard_oxford"``,
            ``"lausanne219"`` or ``"mrtrix_fs_default"`` (:data:`connectome_gnn.atlases.NAMES` lists all), or the path of an ``atlas.tsv``
            (columns label, hemisphere, network, x, y, z; n/a = unknown). Some are in the package; the image of others is downloaded
            once (through nilearn where it has the atlas), and labels and centroids are kept in the user's cache folder.
        name : name of the atlas; default the name that was given, or the file's without its ending.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If the table is missing, malformed, or what it lists is no atlas; if there is no atlas of the name, or it cannot be downloaded.

        Warns
        -----
        ConnectomeWarning
            If the coordinates of ``"desikan68"`` cannot be downloaded: they are unknown then.
        """
        path = Path(atlas)
        if isinstance(atlas, str) and not path.is_file() and path.name == atlas and not path.suffix:
            from connectome_gnn.atlases import load_named

            return load_named(atlas)
        table = read_table(path, "an atlas table with a column 'label', or the name of an atlas such as 'schaefer200'")
        return cls.from_frame(table, path.stem if name is None else name, str(path))

    def save(self, path: str | Path) -> None:
        """Write the atlas as ``atlas.tsv``; the inverse of :meth:`load`."""
        self.to_frame().to_csv(path, sep="\t", index=False, na_rep=UNKNOWN, lineterminator="\n")


def _known(value: Any) -> str:
    """A table's cell as text, ``"n/a"`` where it is empty or missing."""
    return UNKNOWN if value is None or pd.isna(value) or not str(value).strip() else str(value)


def _coordinates(xyz: ArrayLike, labels: tuple[str, ...]) -> NDArray[np.float64]:
    """Centroids (R, 3) from numbers or a table's cells, NaN where unknown."""
    cells = np.array(xyz, dtype=object)
    if cells.shape != (len(labels), 3):
        raise ConnectomeError(f"expected coordinates of shape ({len(labels)}, 3) in mm, got {cells.shape}")
    coordinates = np.full(cells.shape, np.nan)
    for (region, axis), cell in np.ndenumerate(cells):
        try:
            coordinates[region, axis] = np.nan if _known(cell) == UNKNOWN else float(cell)
        except (ValueError, TypeError):
            coordinates[region, axis] = np.inf
        if np.isinf(coordinates[region, axis]):
            raise ConnectomeError(f"coordinates are numbers in mm or n/a, {'xyz'[axis]} of region {labels[region]!r} is {str(cell)!r}")
    return coordinates

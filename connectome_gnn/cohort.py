"""A cohort: people's connectomes, their phenotypes and the atlas that both refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn import native, splits
from connectome_gnn.atlas import Atlas
from connectome_gnn.columns import listed
from connectome_gnn.edges import Scale, edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.slices import slices
from connectome_gnn.tables import people_table

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["Cohort"]

KINDS = ("observed", "expected", "sample")
BATCH = 512
ROUNDING = 1e-6
"""How far beyond 1 rounding may carry a correlation."""


class Cohort:
    """Connectomes of people on one atlas, with their phenotypes.

    Parameters
    ----------
    weights : (N, E) edge weights, row n = person n, edges in the order of ``np.triu_indices(R, 1)``; an array or a memory map,
        which is never copied whole.
    phenotypes : (N, P) table indexed by participant_id. With a column ``sample`` a row's key is (participant_id, sample), samples
        counted from 0 and the rows of a person together.
    atlas : the atlas of R regions.
    measure : what a weight is (``"streamline_count"``, ``"sift2_fbc"``, ``"mean_fa"``, ``"pearson"``, ...).
    signed : True for correlations in (-1, 1), False for non-negative weights.
    name : name of the cohort.
    kind : ``"observed"`` people, ``"expected"`` connectomes (a conditional mean on the modelling scale mapped back: not a
        person) or ``"sample"`` (generated people).
    described : ``participants.json``: per column Description, Units or Levels, Group.
    info : further fields of ``cohort.json``, kept as they are.
    truth : for simulated cohorts, what is true of these people (:class:`connectome_gnn.simulate.Truth`).
    check : whether to look through all weights for values off their support.

    Raises
    ------
    ConnectomeError
        If there are no people, shapes, people or atlas do not fit together, or a weight is NaN, infinite, negative (unsigned) or
        beyond 1 (signed).
    """

    def __init__(
        self,
        weights: NDArray,
        phenotypes: pd.DataFrame,
        atlas: Atlas,
        *,
        measure: str,
        signed: bool = False,
        name: str = "cohort",
        kind: str = "observed",
        described: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
        truth: Any = None,
        check: bool = True,
    ) -> None:
        if kind not in KINDS:
            raise ConnectomeError(f"a cohort's kind is one of {', '.join(KINDS)}, got {kind!r}")
        if not isinstance(phenotypes, pd.DataFrame):
            raise TypeError(f"cohort {name!r}: expected phenotypes as a pandas DataFrame, got {type(phenotypes).__name__}")
        if not isinstance(atlas, Atlas):
            raise TypeError(f"cohort {name!r}: expected an Atlas, got {type(atlas).__name__}")
        self._stored: NDArray = weights if isinstance(weights, np.ndarray) else np.asarray(weights)
        self._rows: NDArray[np.intp] | None = None
        self.phenotypes = people_table(phenotypes)
        self.atlas = atlas
        self.measure = str(measure)
        self.signed = bool(signed)
        self.name = name
        self.kind = kind
        self.described: dict[str, Any] = dict(described or {})
        self.info: dict[str, Any] = dict(info or {})
        self.truth = truth
        if self._stored.ndim != 2 or self._stored.shape[1] != atlas.n_edges:
            raise ConnectomeError(
                f"cohort {name!r}: expected weights of shape (people, {atlas.n_edges}) for the {atlas.n_regions} regions of the atlas, "
                f"got {self._stored.shape}; give the upper triangle without the diagonal"
            )
        if self._stored.dtype.kind not in "fiu":
            raise ConnectomeError(f"cohort {name!r}: expected weights that are real numbers, got {self._stored.dtype}")
        if len(self._stored) == 0:
            raise ConnectomeError(f"cohort {name!r} has no people; expected at least one connectome")
        if len(self._stored) != len(self.phenotypes):
            raise ConnectomeError(
                f"cohort {name!r}: {len(self._stored)} connectomes but {len(self.phenotypes)} rows of phenotypes; every person needs both"
            )
        if check:
            self._check_weights()

    # --- what it holds -----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> pd.Index:
        """participant_id of every row, text."""
        return self.phenotypes.index

    @property
    def n_people(self) -> int:
        """Number of rows N (people, or people times samples)."""
        return len(self.phenotypes)

    @property
    def n_regions(self) -> int:
        """Number of regions R."""
        return self.atlas.n_regions

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return self.atlas.n_edges

    @property
    def scale(self) -> Scale:
        """The modelling scale: log1p for non-negative weights, Fisher z for correlations."""
        return Scale(self.signed)

    @property
    def weights(self) -> NDArray:
        """Weights of everybody, (N, E); of a selection of people a new array, otherwise the stored one or its memory map."""
        return self._stored if self._rows is None else self._stored[self._rows]

    def __len__(self) -> int:
        return self.n_people

    def __repr__(self) -> str:
        people = f"{self.n_people} {self.kind}, {self.phenotypes.shape[1]} phenotypes"
        return f"Cohort({self.name!r}, {people}, {self.n_regions} regions, {self.measure})"

    def read(self, rows: slice | ArrayLike) -> NDArray:
        """Weights of some rows (a slice, positions or a boolean mask), (n, E), read from the memory map without touching the others."""
        if self._rows is None and isinstance(rows, slice):
            return self._stored[rows]
        positions = self._positions(rows)
        return self._stored[positions if self._rows is None else self._rows[positions]]

    def _positions(self, rows: slice | ArrayLike) -> NDArray[np.intp]:
        """Row numbers, (n,), of a slice, positions or a boolean mask."""
        if isinstance(rows, slice):
            return np.arange(self.n_people)[rows]
        asked = np.atleast_1d(np.asarray(rows))
        return np.arange(self.n_people)[asked if asked.size else asked.astype(np.intp)]

    def batches(self, size: int = BATCH) -> Iterator[tuple[slice, NDArray]]:
        """Slices of rows and their weights (n, E), ``size`` people at a time."""
        for rows in slices(self.n_people, size):
            yield rows, self.read(rows)

    def modelled(self, size: int = BATCH) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Slices of rows and their weights on the modelling scale, (n, E) float32."""
        for rows, weights in self.batches(size):
            yield rows, self.scale.forward(weights)

    def dense(self, rows: slice | ArrayLike | None = None) -> NDArray[np.float32]:
        """Connectivity matrices (n, R, R) float32 of some rows (default all)."""
        return to_matrices(self.read(slice(None) if rows is None else rows).astype(np.float32))

    # --- people ------------------------------------------------------------------------------------------------------

    def take(self, rows: slice | ArrayLike) -> Cohort:
        """The cohort of some rows (positions, a boolean mask or a slice), in that order; the weights are not copied.

        Raises
        ------
        ConnectomeError
            If no row is asked for.
        """
        positions = self._positions(rows)
        if len(positions) == 0:
            raise ConnectomeError(f"cohort {self.name!r}: no rows were selected; a cohort has at least one person")
        part = object.__new__(Cohort)
        part.__dict__.update(self.__dict__)
        part._rows = positions if self._rows is None else self._rows[positions]
        part.phenotypes = self.phenotypes.iloc[positions]
        part.described, part.info = dict(self.described), dict(self.info)
        part.truth = None if self.truth is None else self.truth.take(positions)
        return part

    def units(self, groups: str | None = None) -> NDArray[np.intp]:
        """Number of the unit that each row belongs to, (N,): rows of one unit stay together in every split, fold and bootstrap.

        Parameters
        ----------
        groups : a column of the participants table; default ``family_id`` where there is one, otherwise the person.
            People without a value are units of their own; the rows of one person are together whatever the column says.
        """
        column = groups or ("family_id" if "family_id" in self.phenotypes else None)
        return splits.units_of(self.ids, None if column is None else self._column(column, "keep people together by"))

    def split(self, fraction: float = 0.8, seed: int = 0, stratify: str | None = None, groups: str | None = None) -> tuple[Cohort, Cohort]:
        """Split people at random into two cohorts; a person, or a unit of ``groups``, is never in both.

        Parameters
        ----------
        fraction : share of people in the first cohort, in (0, 1): exact to the nearest person, or to half a unit where units are larger.
        seed : seed of the draw.
        stratify : a phenotype whose distribution both parts should share, to within a person a level (numbers with many values by
            fifths; a unit goes by its first person).
        groups : column of people who belong together; default ``family_id`` where there is one.

        Returns
        -------
        first, second : Cohort, rows in their original order.

        Raises
        ------
        ConnectomeError
            If the fraction is not between 0 and 1, a column does not exist, or there is only one unit.
        """
        strata = None if stratify is None else splits.strata_of(self._column(stratify, "stratify by"))
        try:
            first = splits.draw_part(self.ids, self.units(groups), fraction, seed, strata)
        except ConnectomeError as error:
            raise ConnectomeError(f"cohort {self.name!r}: {error}") from error
        return self.take(first), self.take(~first)

    def folds(self, k: int = 5, seed: int = 0, groups: str | None = None) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows of training and test people of each of ``k`` folds; units of people (see :meth:`units`) are never divided.

        Raises
        ------
        ConnectomeError
            If ``k`` is below 2 or above the number of units, or the column ``groups`` does not exist.
        """
        try:
            fold = splits.draw_folds(self.units(groups), k, seed)
        except ConnectomeError as error:
            raise ConnectomeError(f"cohort {self.name!r}: {error}") from error
        return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k)]

    def _column(self, name: str, purpose: str) -> pd.Series:
        if name not in self.phenotypes:
            raise ConnectomeError(
                f"cohort {self.name!r} has no column {name!r} to {purpose}; it has {listed(map(str, self.phenotypes)) or 'none'}"
            )
        return self.phenotypes[name]

    # --- quality -----------------------------------------------------------------------------------------------------

    def quality(self) -> pd.DataFrame:
        """Who stands out, and why: one row a person, those left out on reading after them; see :func:`connectome_gnn.quality.quality`.

        Nothing is dropped: ``cohort.take(~cohort.quality()["flagged"][:len(cohort)])`` does that where it is wanted.
        """
        from connectome_gnn.quality import quality

        return quality(self)

    # --- graphs ------------------------------------------------------------------------------------------------------

    def backbone(self, threshold: float = 0.5, density: float | None = None) -> NDArray[np.bool_]:
        """The group's backbone: which edges most people have, (R, R), symmetric.

        Parameters
        ----------
        threshold : an edge belongs to the backbone when at least this share of people have it (Roberts et al. 2017, consistency).
        density : keep only the strongest of those, by mean absolute weight on the modelling scale, up to this share of all edges.

        Raises
        ------
        ConnectomeError
            If ``threshold`` or ``density`` is no share.
        """
        for what, share in (("threshold", threshold), ("density", density)):
            if share is not None and not 0 <= share <= 1:
                raise ConnectomeError(f"a backbone's {what} is a share between 0 and 1, got {share}")
        present, strength = np.zeros(self.n_edges), np.zeros(self.n_edges)
        for _, values in self.modelled():
            present += (values != 0).sum(0)
            strength += np.abs(values).sum(0, dtype=np.float64)
        kept = present >= threshold * self.n_people
        kept &= present > 0
        if density is not None:
            most = max(round(density * self.n_edges), 1)
            order = np.argsort(np.where(kept, -strength, np.inf), kind="stable")[:most]
            kept &= np.isin(np.arange(self.n_edges), order)
        return to_matrices(kept)

    def graphs(self, backbone: NDArray[np.bool_] | None = None) -> list[Data]:
        """PyG graphs, one a row.

        Parameters
        ----------
        backbone : (R, R) edges to keep; default every edge that anybody in the cohort has, so that
            :meth:`from_graphs` gives the cohort back exactly (weights as float32).

        Returns
        -------
        graphs : list of ``Data`` with x (R, F) float32 region features, edge_index (2, M) both directions, sorted, edge_attr (M, 1)
            float32 weights, phenotypes (1, P) float64 (levels by their position, NaN = missing), participant_id; where the table
            identifies rows or people further (:data:`~connectome_gnn.phenotypes.KEY_COLUMNS`), identifiers (1, K) likewise.
            ``graph.cohort`` is what the graphs share. x and edge_index are the same tensors in every graph.
        """
        from connectome_gnn.graphs import cohort_graphs

        return cohort_graphs(self, backbone)

    @classmethod
    def from_graphs(cls, graphs: Sequence[Data], like: Cohort | None = None) -> Cohort:
        """A cohort from PyG graphs; the inverse of :meth:`graphs`.

        Parameters
        ----------
        graphs : graphs of :meth:`graphs`, or a user's own with the same fields.
        like : a cohort whose atlas, measure and columns the graphs share; needed where they do not carry it themselves.

        Raises
        ------
        ConnectomeError
            If a graph lacks a field, is of another atlas or measure, not symmetric, has self-loops or an edge twice; names the graph.
        """
        from connectome_gnn.graphs import graphs_cohort

        return graphs_cohort(graphs, like)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the native cohort folder (float32); it appears complete or not at all.

        Returns
        -------
        path : the folder.

        Raises
        ------
        ConnectomeError
            If the folder exists and ``force`` is not given, or rows of people are repeated or incomplete (after :meth:`take`).
        """
        people_table(self.phenotypes, f"cohort {self.name!r}")
        with native.new_folder(path, force) as folder:
            native.write_rows(folder / "connectomes.npy", (self.n_people, self.n_edges), self.read)
            self.write_tables(folder)
        return Path(path)

    def write_tables(self, folder: Path) -> None:
        """Write everything of the native cohort folder but the connectomes: participants.tsv and .json, atlas.tsv and cohort.json."""
        native.write_participants(self.phenotypes, self.described, folder)
        self.atlas.save(folder / "atlas.tsv")
        record = {
            **self.info,
            "name": self.name,
            "measure": self.measure,
            "signed": self.signed,
            "directed": False,
            "diagonal": False,
            "kind": self.kind,
            "atlas": self.atlas.name,
        }
        native.write_json(folder / "cohort.json", record)

    @classmethod
    def load(cls, path: str | Path, check: bool = True) -> Cohort:
        """Open a native cohort folder; the connectomes stay on disk, memory-mapped.

        Parameters
        ----------
        path : folder with connectomes.npy, participants.tsv (and .json), atlas.tsv, cohort.json.
        check : whether to look through all weights for values off their support.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a file is missing, empty, truncated or holds what it should not; the sentence names the file.
        """
        path = Path(path)
        if not path.is_dir():
            raise FileNotFoundError(f"no cohort folder at {path}; expected a folder with {', '.join(native.NATIVE_FILES)}")
        record = native.read_json(path / "cohort.json")
        for key, kind in (("measure", str), ("signed", bool)):
            if not isinstance(record.get(key), kind):
                raise ConnectomeError(f"{path / 'cohort.json'} must say {key!r} ({'text' if kind is str else 'true or false'})")
        if record.get("directed"):
            raise ConnectomeError(f"{path / 'cohort.json'} says directed; expected undirected connectomes")
        atlas = Atlas.load(path / "atlas.tsv", name=str(record.get("atlas", "")))
        weights = native.open_array(path / "connectomes.npy")
        if weights.ndim == 2 and len(weights) == 0:
            raise ConnectomeError(f"{path / 'connectomes.npy'} holds no people; expected at least one row")
        if weights.ndim != 2 or weights.shape[1] != atlas.n_edges:
            raise ConnectomeError(
                f"{path / 'connectomes.npy'}: expected (people, {atlas.n_edges}) for the {atlas.n_regions} regions of atlas.tsv, "
                f"got {weights.shape}; "
                "give the upper triangle without the diagonal"
            )
        table, described = native.read_participants(path / "participants.tsv")
        if len(table) != len(weights):
            raise ConnectomeError(
                f"{path}: connectomes.npy holds {len(weights)} people, participants.tsv {len(table)}; every person needs a row in both"
            )
        known = ("name", "measure", "signed", "directed", "diagonal", "kind", "atlas")
        try:
            cohort = cls(
                weights,
                table,
                atlas,
                measure=record["measure"],
                signed=record["signed"],
                name=str(record.get("name", path.name)),
                kind=str(record.get("kind", "observed")),
                described=described,
                info={key: value for key, value in record.items() if key not in known},
                check=False,
            )
        except ConnectomeError as error:
            raise ConnectomeError(f"{path}: {error}") from error
        try:
            if check:
                cohort._check_weights()
        except ConnectomeError as error:
            raise ConnectomeError(f"{path / 'connectomes.npy'}: {error}") from error
        return cohort

    def _check_weights(self) -> None:
        low = -1 - ROUNDING if self.signed else 0
        high = 1 + ROUNDING if self.signed else float(np.finfo(np.float32).max)  # what save can write
        for part, weights in self.batches():
            # NaN makes both comparisons false
            if low <= float(weights.min()) and float(weights.max()) <= high:
                continue
            values = weights.astype(np.float64)
            person, edge = np.argwhere(~((values >= low) & (values <= high)))[0]
            expected = "correlations between -1 and 1" if self.signed else "finite weights of 0 or more"
            rows, columns = edge_indices(self.n_regions)
            raise ConnectomeError(
                f"expected {expected} ({self.measure}), got {weights[person, edge]} for participant {self.ids[part.start + person]!r} "
                f"between {self.atlas.labels[rows[edge]]!r} and {self.atlas.labels[columns[edge]]!r}; correct it, or leave the person out"
            )

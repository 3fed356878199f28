"""A cohort: people's connectomes, their phenotypes and the atlas that both refer to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import Scale, edge_indices, n_edges_of, to_matrices
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["Cohort"]

KINDS = ("observed", "expected", "sample")
BATCH = 512


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
        If shapes, people or atlas do not fit together, or a weight is NaN, infinite, negative (unsigned) or beyond 1 (signed).
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
        self._stored: NDArray = weights if isinstance(weights, np.ndarray) else np.asarray(weights)
        self._rows: NDArray[np.intp] | None = None
        self.phenotypes = _people(phenotypes)
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
        return f"Cohort({self.name!r}, {self.n_people} {self.kind}, {self.n_regions} regions, {self.measure}, {self.phenotypes.shape[1]} phenotypes)"

    def read(self, rows: slice | ArrayLike) -> NDArray:
        """Weights of some rows, (n, E), read from the memory map without touching the others."""
        if self._rows is None:
            return self._stored[rows if isinstance(rows, slice) else np.asarray(rows)]
        return self._stored[self._rows[rows if isinstance(rows, slice) else np.asarray(rows)]]

    def batches(self, size: int = BATCH) -> Iterator[tuple[slice, NDArray]]:
        """Slices of rows and their weights (n, E), ``size`` people at a time."""
        for start in range(0, self.n_people, size):
            rows = slice(start, min(start + size, self.n_people))
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
        """The cohort of some rows (positions, a boolean mask or a slice), in that order; the weights are not copied."""
        positions = np.arange(self.n_people)[rows if isinstance(rows, slice) else np.asarray(rows)]
        return self._with_rows(positions)

    def _with_rows(self, positions: NDArray[np.intp]) -> Cohort:
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
            People without a value are units of their own.
        """
        if groups is not None and groups not in self.phenotypes:
            raise ConnectomeError(f"cohort {self.name!r} has no column {groups!r} to keep people together by")
        column = groups or ("family_id" if "family_id" in self.phenotypes else None)
        person = pd.Series(self.ids, dtype=object).map(lambda i: f"person {i}")
        if column is not None:
            label = self.phenotypes[column].reset_index(drop=True)
            person = person.where(label.isna(), label.map(lambda g: f"group {g}"))
        return pd.factorize(person)[0].astype(np.intp)

    def split(self, fraction: float = 0.8, seed: int = 0, stratify: str | None = None, groups: str | None = None) -> tuple[Cohort, Cohort]:
        """Split people at random into two cohorts; a person, or a unit of ``groups``, is never in both.

        Parameters
        ----------
        fraction : share of people in the first cohort, in (0, 1).
        seed : seed of the draw.
        stratify : a phenotype whose distribution both parts should share (numbers with many values by fifths).
        groups : column of people who belong together; default ``family_id`` where there is one.

        Returns
        -------
        first, second : Cohort, rows in their original order.
        """
        if not 0 < fraction < 1:
            raise ConnectomeError(f"split needs a fraction between 0 and 1, got {fraction}")
        units = self.units(groups)
        n_units = int(units.max()) + 1
        if n_units < 2:
            raise ConnectomeError(f"cohort {self.name!r} has one person or group of people, which cannot be split")
        generator = np.random.default_rng(seed)
        strata = np.zeros(n_units, np.intp) if stratify is None else self._strata(stratify)[np.unique(units, return_index=True)[1]]
        order = generator.permutation(n_units)
        # Within a stratum units go by their random order; the rank, as a share of the stratum, decides, so every stratum is cut alike.
        place = np.empty(n_units)
        for stratum in np.unique(strata):
            members = order[strata[order] == stratum]
            place[members] = (np.arange(len(members)) + generator.random()) / len(members)
        n_first = min(max(round(fraction * n_units), 1), n_units - 1)
        first = np.zeros(n_units, bool)
        first[np.argsort(place, kind="stable")[:n_first]] = True
        chosen = first[units]
        return self.take(np.flatnonzero(chosen)), self.take(np.flatnonzero(~chosen))

    def folds(self, k: int = 5, seed: int = 0, groups: str | None = None) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows of training and test people of each of ``k`` folds; units of people (see :meth:`units`) are never divided."""
        units = self.units(groups)
        n_units = int(units.max()) + 1
        if not 2 <= k <= n_units:
            raise ConnectomeError(f"expected between 2 and {n_units} folds for {n_units} people or groups of people, got {k}")
        fold = (np.random.default_rng(seed).permutation(n_units) % k)[units]
        return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k)]

    def _strata(self, column: str) -> NDArray[np.intp]:
        if column not in self.phenotypes:
            raise ConnectomeError(f"cohort {self.name!r} has no phenotype {column!r} to stratify by")
        values = self.phenotypes[column].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 10:
            values = pd.qcut(values, 5, labels=False, duplicates="drop")
        return pd.factorize(values.astype(object))[0].astype(np.intp)

    # --- graphs ------------------------------------------------------------------------------------------------------

    def backbone(self, threshold: float = 0.5, density: float | None = None) -> NDArray[np.bool_]:
        """The group's backbone: which edges most people have, (R, R), symmetric.

        Parameters
        ----------
        threshold : an edge belongs to the backbone when at least this share of people have it (Roberts et al. 2017, consistency).
        density : keep only the strongest of those, by mean absolute weight on the modelling scale, up to this share of all edges.
        """
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
            :meth:`from_graphs` gives the cohort back exactly.

        Returns
        -------
        graphs : list of ``Data`` with x (R, F) region features, edge_index (2, M) both directions, edge_attr (M, 1) weights,
            phenotypes (1, P) float64 (codes of levels by their order, NaN = missing), participant_id.
        """
        from connectome_gnn.graphs import cohort_graphs

        return cohort_graphs(self, backbone)

    @classmethod
    def from_graphs(cls, graphs: Sequence[Data], like: Cohort | None = None) -> Cohort:
        """A cohort from PyG graphs; the inverse of :meth:`graphs`.

        Parameters
        ----------
        graphs : graphs of :meth:`graphs`, or a user's own with the same fields.
        like : a cohort whose atlas, measure and phenotypes the graphs share; needed where they do not carry it themselves.
        """
        from connectome_gnn.graphs import graphs_cohort

        return graphs_cohort(graphs, like)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the native cohort folder (float32); it appears complete or not at all.

        Raises
        ------
        ConnectomeError
            If the folder exists and ``force`` is not given.
        """
        with native.new_folder(path, force) as folder:
            native.write_rows(folder / "connectomes.npy", (self.n_people, self.n_edges), self.read)
            native.write_participants(self.phenotypes, self.described, folder)
            self.atlas.save(folder / "atlas.tsv")
            record = {
                "name": self.name,
                "measure": self.measure,
                "signed": self.signed,
                "directed": False,
                "diagonal": False,
                "kind": self.kind,
                "atlas": self.atlas.name,
                **self.info,
            }
            (folder / "cohort.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return Path(path)

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
        if weights.ndim != 2 or weights.shape[1] != atlas.n_edges:
            raise ConnectomeError(
                f"{path / 'connectomes.npy'}: expected (people, {atlas.n_edges}) for the {atlas.n_regions} regions of atlas.tsv, got {weights.shape}"
            )
        table, described = native.read_participants(path / "participants.tsv")
        if len(table) != len(weights):
            raise ConnectomeError(f"{path}: connectomes.npy holds {len(weights)} people, participants.tsv {len(table)}; every row needs its other half")
        known = ("name", "measure", "signed", "directed", "diagonal", "kind", "atlas")
        try:
            return cls(
                weights,
                table,
                atlas,
                measure=record["measure"],
                signed=record["signed"],
                name=str(record.get("name", path.name)),
                kind=str(record.get("kind", "observed")),
                described=described,
                info={key: value for key, value in record.items() if key not in known},
                check=check,
            )
        except ConnectomeError as error:
            raise ConnectomeError(f"{path}: {error}") from error

    def _check_weights(self) -> None:
        rows, columns = edge_indices(self.n_regions)
        for part, weights in self.batches():
            if np.issubdtype(weights.dtype, np.integer):
                weights = weights.astype(np.float64)
            low, high = (weights.min(), weights.max()) if len(weights) else (0, 0)
            if np.isfinite(low) and np.isfinite(high) and (abs(low) <= 1 and high <= 1 if self.signed else low >= 0):
                continue
            bad = ~np.isfinite(weights) | ((np.abs(weights) > 1) if self.signed else (weights < 0))
            person, edge = np.argwhere(bad)[0]
            expected = "correlations between -1 and 1" if self.signed else "finite weights of 0 or more"
            raise ConnectomeError(
                f"expected {expected} ({self.measure}), got {weights[person, edge]} for participant {self.ids[part.start + person]!r} between "
                f"{self.atlas.labels[rows[edge]]!r} and {self.atlas.labels[columns[edge]]!r}"
            )


def _people(table: pd.DataFrame) -> pd.DataFrame:
    """A participants table indexed by unique text ids (with ``sample``: unique pairs, a person's rows together)."""
    if "participant_id" in table:
        table = table.set_index("participant_id")
    table = table.set_axis(pd.Index([str(i) for i in table.index], name="participant_id", dtype=object), axis=0)
    repeated_columns = table.columns[table.columns.duplicated()]
    if len(repeated_columns):
        raise ConnectomeError(f"the participants table has column {repeated_columns[0]!r} more than once")
    if "sample" not in table:
        repeated = table.index[table.index.duplicated()]
        if len(repeated):
            raise ConnectomeError(f"participant_id must be unique, {repeated[0]!r} occurs more than once (rows of one person need a column 'sample')")
        return table
    try:
        sample = pd.to_numeric(table["sample"]).to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise ConnectomeError("column 'sample' counts a person's rows from 0; it holds something else") from error
    codes = pd.factorize(table.index)[0]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) != codes.max(initial=-1) + 1:
        raise ConnectomeError("with a column 'sample' the rows of a person must lie together; sort the table by participant_id")
    counted = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    if not np.array_equal(sample, counted):
        row = int(np.flatnonzero(sample != counted)[0])
        raise ConnectomeError(f"column 'sample' counts a person's rows from 0; participant {table.index[row]!r} has {table['sample'].iloc[row]} in place of {counted[row]}")
    return table.assign(sample=counted)

"""A cohort: people's connectomes, their phenotypes and the atlas that both refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn import native, processing, regions, splits
from connectome_gnn.atlas import Atlas
from connectome_gnn.columns import listed
from connectome_gnn.derived import LazyWeights
from connectome_gnn.edges import Scale, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.group_backbone import cohort_backbone
from connectome_gnn.slices import slices
from connectome_gnn.support import check_weights
from connectome_gnn.tables import people_table

if TYPE_CHECKING:
    import networkx as nx
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
        If there are no people, shapes, people or atlas do not fit together, or a weight is NaN, infinite, negative (unsigned) or
        beyond 1 (signed).
    """

    def __init__(
        self,
        weights: NDArray | LazyWeights,
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
        self._stored: NDArray | LazyWeights = weights if isinstance(weights, (np.ndarray, LazyWeights)) else np.asarray(weights)
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
            check_weights(self)

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
        """Weights of everybody, (N, E): the stored array or its memory map; of a selection, or changed weights, a new array."""
        if self._rows is not None:
            return self._stored[self._rows]
        return self._stored if isinstance(self._stored, np.ndarray) else self._stored[:]

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

    def merge(self, other: Cohort, column: str | None = None) -> Cohort:
        """The people of this cohort and of another one with the same regions and scale; see :func:`connectome_gnn.merging.merge`."""
        from connectome_gnn.merging import merge

        return merge(self, other, column)

    # --- regions and weights -----------------------------------------------------------------------------------------

    def reorder(self, atlas: Atlas) -> Cohort:
        """The same connectomes with their regions in the order of an atlas, by label; see :func:`connectome_gnn.regions.reorder`."""
        return regions.reorder(self, atlas)

    def select(
        self,
        labels: Sequence[str] | ArrayLike | None = None,
        *,
        network: str | Sequence[str] | None = None,
        hemisphere: str | None = None,
    ) -> Cohort:
        """The connectomes of some regions: by label or mask, network, hemisphere; see :func:`connectome_gnn.regions.select`."""
        return regions.select(self, labels, network=network, hemisphere=hemisphere)

    def normalise(self, method: str) -> Cohort:
        """Each person's weights over their ``"max"``, ``"total"`` or ``"median"``; see :func:`connectome_gnn.processing.normalise`."""
        return processing.normalise(self, method)

    def threshold(self, *, weight: float | None = None, density: float | None = None, backbone: str | ArrayLike | None = None) -> Cohort:
        """Weak edges set to 0: by weight, each person's density, or a backbone; see :func:`connectome_gnn.processing.threshold`."""
        return processing.threshold(self, weight=weight, density=density, backbone=backbone)

    def with_weights(self, weights: NDArray | LazyWeights, atlas: Atlas | None = None, step: Mapping[str, Any] | None = None) -> Cohort:
        """The same people with other weights; a simulated cohort's truth does not hold of them and is left out.

        Parameters
        ----------
        weights : (N, E), or what gives them by rows.
        atlas : the atlas of the new weights; default the same.
        step : what was done to the weights, to be added to ``info["processing"]`` (and cohort.json): ``{"step": name, parameter: value}``.

        Raises
        ------
        ConnectomeError
            If the shape is not that of these people and the atlas, or a weight of an array is off its support.
        """
        changed = object.__new__(Cohort)
        changed.__dict__.update(self.__dict__)
        changed._stored, changed._rows, changed.truth = weights, None, None
        changed.atlas = self.atlas if atlas is None else atlas
        changed.described = dict(self.described)
        changed.info = dict(self.info) if step is None else processing.with_step(self, step)
        if weights.shape != (self.n_people, changed.n_edges):
            raise ConnectomeError(
                f"cohort {self.name!r}: expected ({len(self)}, {changed.n_edges}) weights for its people and atlas, got {weights.shape}"
            )
        if isinstance(weights, np.ndarray):
            check_weights(changed)
        return changed

    # --- quality -----------------------------------------------------------------------------------------------------

    def quality(self) -> pd.DataFrame:
        """Who stands out, and why: one row a person, those left out on reading after them; see :func:`connectome_gnn.quality.quality`.

        Nothing is dropped: ``cohort.take(~cohort.quality()["flagged"][:len(cohort)])`` does that where it is wanted.
        """
        from connectome_gnn.quality import quality

        return quality(self)

    # --- graphs ------------------------------------------------------------------------------------------------------

    def backbone(
        self,
        threshold: float | None = None,
        density: float | None = None,
        *,
        method: str = "consistency",
        weight: float | None = None,
        alpha: float | None = None,
        n_bins: int | None = None,
    ) -> NDArray[np.bool_]:
        """The group's backbone, (R, R), symmetric; the methods are in :mod:`connectome_gnn.backbones`, with their sources.

        Parameters
        ----------
        threshold : an edge belongs to the backbone when at least this share of people have it, default .5 (``"consistency"``).
        density : keep only the strongest by mean absolute weight (consistency: on the modelling scale), up to this share of edges.
        method : ``"consistency"``; ``"distance"`` (a consensus that keeps the lengths of edges, in ``n_bins``; it needs
            coordinates and hemispheres, edges of the midline's regions, ``"n/a"``, going with those within a hemisphere);
            ``"proportional"`` (the strongest, up to ``density``); ``"absolute"`` (mean weight of at least ``weight``); ``"disparity"``
            (what is more than chance for a region, at the level ``alpha``, default .05); ``"spanning_tree"`` (the heaviest tree, which
            leaves no region apart, and then the strongest edges up to ``density``).
        weight, alpha, n_bins : as the methods say.

        Raises
        ------
        ConnectomeError
            If the method is another, an option is not its own or out of range, or what it needs of the atlas is not known.
        """
        return cohort_backbone(self, threshold, density, method=method, weight=weight, alpha=alpha, n_bins=n_bins)

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

    def to_networkx(self) -> Iterator[nx.Graph]:
        """NetworkX graphs, one a row, one at a time; see :func:`connectome_gnn.networks.cohort_networks`, and there for the way back."""
        from connectome_gnn.networks import cohort_networks

        return cohort_networks(self)

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
        from connectome_gnn.cohort_folder import write_tables

        write_tables(self, folder)

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
        from connectome_gnn.cohort_folder import load_cohort

        return load_cohort(Path(path), check)

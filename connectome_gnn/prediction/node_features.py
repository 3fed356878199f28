"""What a graph network is told of people and their regions: edges, measures of regions, places and systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.atlas import UNKNOWN
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.graphs import region_features
from connectome_gnn.prediction.interface import check_edges, check_regions

__all__ = ["BUILT_IN", "PeopleInputs", "RegionTable", "known_features", "pair_places", "read_inputs", "regional_measure"]

BUILT_IN = ("profile", "identity", "coordinates")
"""Features of regions that are no topology measure."""


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The regions that a model knows, sorted by label, so that no file's order matters.

    Attributes
    ----------
    labels : (R,) names.
    places : (R, F) coordinates, hemisphere and systems, standardised over regions; F may be 0.
    systems : (R,) number of each region's system, those without one together; 0 throughout where none is known.
    system_names : their names.
    """

    labels: tuple[str, ...]
    places: NDArray[np.float32]
    systems: NDArray[np.int64]
    system_names: tuple[str, ...]

    @classmethod
    def of(cls, cohort: Cohort) -> RegionTable:
        """The regions of a cohort's atlas."""
        atlas = cohort.atlas
        order = np.argsort(np.array(atlas.labels, dtype=object).astype(str), kind="stable")
        places = region_features(atlas)[order].astype(np.float64)
        spread = places.std(0)
        places = (places - places.mean(0))[:, spread > 1e-9] / spread[spread > 1e-9]
        networks = [atlas.network[region] for region in order]
        names = tuple(sorted(set(networks) - {UNKNOWN})) + ((UNKNOWN,) if UNKNOWN in networks else ())
        systems = np.array([names.index(network) for network in networks], np.int64)
        return cls(tuple(atlas.labels[region] for region in order), places.astype(np.float32), systems, names)

    @property
    def n_regions(self) -> int:
        """Number of regions R."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PeopleInputs:
    """People as a network reads them, regions in the order of a :class:`RegionTable`.

    Attributes
    ----------
    edges : (N, E) edges on the modelling scale.
    measures : (N, R, F) measures of each person's regions; F may be 0.
    """

    edges: Tensor
    measures: Tensor

    def __len__(self) -> int:
        return len(self.edges)

    def take(self, rows: NDArray[np.intp]) -> PeopleInputs:
        """The inputs of some people."""
        at = torch.from_numpy(np.asarray(rows, np.int64))
        return PeopleInputs(self.edges[at], self.measures[at])


def known_features(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names of features of regions, checked.

    Parameters
    ----------
    names : of ``"profile"``, ``"identity"``, ``"coordinates"`` and topology's measures of regions, at least one.

    Raises
    ------
    ConnectomeError
        If there is none, or one is no measure of regions.
    """
    from connectome_gnn.topology import list_measures

    asked = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    table = list_measures()
    regional = table.index[(table["level"] == "nodal").to_numpy()]
    unknown = [name for name in asked if name not in (*BUILT_IN, *regional)]
    if unknown or not asked:
        raise ConnectomeError(
            f"features of regions are {listed(BUILT_IN)} or topology's measures of regions ({listed(map(str, regional), 40)}); "
            f"got {repr(unknown[0]) if unknown else 'none'}; give values of your own as region_values"
        )
    return asked


def read_inputs(cohort: Cohort, regions: RegionTable, features: Sequence[str], region_values: NDArray | None = None) -> PeopleInputs:
    """A cohort's edges and measures of regions.

    Parameters
    ----------
    cohort : N people on the regions of ``regions``, in any order.
    regions : the order to bring them into.
    features : of which the topology's measures are computed.
    region_values : (N, R, F) values of the user's own, regions in the order of the cohort's atlas.

    Raises
    ------
    ConnectomeError
        If the atlas has other regions, an edge or a value is NaN, or the values have another shape.
    """
    order = check_regions(regions.labels, cohort)
    check_edges(cohort)
    edges = np.concatenate([values for _, values in cohort.modelled()])
    measures = [regional_measure(cohort, name)[:, order, None] for name in features if name not in BUILT_IN]
    if region_values is not None:
        measures.append(_given(region_values, cohort)[:, order])
    together = np.concatenate([np.empty((len(edges), len(order), 0)), *measures], -1).astype(np.float32)
    if not np.array_equal(order, np.arange(len(order))):
        place = to_matrices(np.arange(edges.shape[1]))[np.ix_(order, order)]
        edges = edges[:, to_vectors(place)]
    return PeopleInputs(torch.from_numpy(np.ascontiguousarray(edges)), torch.from_numpy(together))


def regional_measure(cohort: Cohort, name: str) -> NDArray[np.float64]:
    """A topology measure of each person's regions, (N, R); of regions for which it is undefined 0."""
    from connectome_gnn.topology import measure

    return np.nan_to_num(measure(cohort, [name]).values[name], nan=0.0, posinf=0.0, neginf=0.0)


def _given(values: NDArray, cohort: Cohort) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 3 or array.shape[:2] != (cohort.n_people, cohort.n_regions) or not np.isfinite(array).all():
        raise ConnectomeError(
            f"cohort {cohort.name!r}: expected finite region_values of shape ({cohort.n_people}, {cohort.n_regions}, features), "
            f"got {array.shape}{'' if np.isfinite(array).all() else ' with NaN or infinite ones'}"
        )
    return array


def pair_places(n_regions: int) -> Tensor:
    """Place of every pair of regions in an edge vector, (R, R) long; a region with itself is at E, behind the last edge."""
    rows, columns = torch.triu_indices(n_regions, n_regions, 1)
    places = torch.full((n_regions, n_regions), len(rows))
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows))
    return places

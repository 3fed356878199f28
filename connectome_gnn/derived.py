"""Weights that are computed from another cohort's when they are read, some people at a time: nothing is copied, nothing read twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["Above", "Joined", "LazyWeights", "Masked", "RegionEdges", "Scaled", "Strongest"]


class LazyWeights(ABC):
    """Weights (N, E) that are read by rows, as a memory map is; ``weights[rows]`` takes a slice or positions."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of rows and of edges."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the weights."""

    @abstractmethod
    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        """Weights (n, E) of some rows."""

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True, eq=False)
class _OfCohort(LazyWeights):
    """Weights that are those of a cohort, changed."""

    source: Cohort

    @property
    def shape(self) -> tuple[int, int]:
        """As of the cohort."""
        return self.source.n_people, self.source.n_edges

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of the cohort."""
        return self.source.read(slice(0, 0)).dtype


@dataclass(frozen=True, eq=False)
class RegionEdges(_OfCohort):
    """Some edges of a cohort, (E',) positions, in their order."""

    edges: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of edges taken."""
        return self.source.n_people, len(self.edges)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        return self.source.read(rows)[:, self.edges]


@dataclass(frozen=True, eq=False)
class Scaled(_OfCohort):
    """Every row divided by a number of its own, (N,) above 0."""

    size: NDArray[np.float64]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        return (self.source.read(rows).astype(np.float64) / self.size[rows, None]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Above(_OfCohort):
    """Weights below a threshold set to 0, by absolute value."""

    weight: float

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        weights = self.source.read(rows)
        return np.where(np.abs(weights) >= self.weight, weights, weights.dtype.type(0))


@dataclass(frozen=True, eq=False)
class Strongest(_OfCohort):
    """Each row's strongest edges, by absolute value, the others set to 0; of equal ones the first."""

    n_kept: int

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        weights = np.array(self.source.read(rows))
        order = np.argsort(-np.abs(weights.astype(np.float64)), axis=1, kind="stable")
        np.put_along_axis(weights, order[:, self.n_kept :], 0, axis=1)
        return weights


@dataclass(frozen=True, eq=False)
class Masked(_OfCohort):
    """Edges outside (E,) set to 0 in everybody."""

    kept: NDArray[np.bool_]

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        weights = self.source.read(rows)
        return np.where(self.kept, weights, weights.dtype.type(0))


@dataclass(frozen=True, eq=False)
class Joined(LazyWeights):
    """The rows of one cohort, then those of another on the same edges."""

    first: Cohort
    second: Cohort

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of both."""
        return self.first.n_people + self.second.n_people, self.first.n_edges

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds both."""
        return np.result_type(*(part.read(slice(0, 0)).dtype for part in (self.first, self.second)))

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        positions = np.arange(len(self))[rows]
        early = positions < self.first.n_people
        if early.all():
            return self.first.read(positions).astype(self.dtype, copy=False)
        if not early.any():
            return self.second.read(positions - self.first.n_people).astype(self.dtype, copy=False)
        weights = np.empty((len(positions), self.shape[1]), self.dtype)
        weights[early] = self.first.read(positions[early])
        weights[~early] = self.second.read(positions[~early] - self.first.n_people)
        return weights

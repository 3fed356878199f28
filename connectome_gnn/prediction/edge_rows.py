"""Edges of people as the baselines read them: the modelling scale, the order of the training atlas, the spread of training people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.learners import Standard, inner_folds
from connectome_gnn.evaluation.linear_paths import Folds
from connectome_gnn.evaluation.resampling import generator_for
from connectome_gnn.prediction.interface import check_edges, check_regions
from connectome_gnn.prediction.spectrum import Spectrum

__all__ = ["EdgeFormat", "EdgeRows", "folds_within", "modelled_edges"]


@dataclass(frozen=True)
class EdgeFormat:
    """What a cohort must be like for a fitted model to read it.

    Parameters
    ----------
    labels : (R,) regions of the training people.
    measure, signed : their weights.
    """

    labels: tuple[str, ...]
    measure: str
    signed: bool

    @classmethod
    def of(cls, cohort: Cohort) -> EdgeFormat:
        """That of training people."""
        return cls(tuple(cohort.atlas.labels), cohort.measure, cohort.signed)

    def read(self, cohort: Cohort) -> NDArray[np.float32]:
        """Edges of other people on the modelling scale, (N, E) float32, in the training people's order of regions.

        Raises
        ------
        ConnectomeError
            If the cohort is on other regions, of another measure, or has NaN among its edges.
        """
        if (cohort.measure, cohort.signed) != (self.measure, self.signed):
            raise ConnectomeError(
                f"cohort {cohort.name!r} holds {cohort.measure} ({'signed' if cohort.signed else 'unsigned'}), the model was fitted on "
                f"{self.measure} ({'signed' if self.signed else 'unsigned'}); predict from the same kind of weight"
            )
        rows = check_regions(self.labels, cohort)
        values = modelled_edges(cohort)
        if np.array_equal(rows, np.arange(len(rows))):
            return values
        first, second = edge_indices(len(rows))
        place = to_matrices(np.arange(cohort.n_edges))
        return values[:, place[rows[first], rows[second]]]


@dataclass(frozen=True, eq=False)
class EdgeRows:
    """Edges of training people, ready to learn any target from.

    Attributes
    ----------
    values : (n, E) float32 on the modelling scale.
    units : (n,) who belongs together.
    read_as : what other cohorts must be like.
    """

    values: NDArray[np.float32]
    units: NDArray[np.intp]
    read_as: EdgeFormat
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, cohort: Cohort, groups: str | None) -> EdgeRows:
        """Of a training cohort.

        Raises
        ------
        ConnectomeError
            If an edge is NaN or the column ``groups`` does not exist.
        """
        return cls(modelled_edges(cohort), cohort.units(groups), EdgeFormat.of(cohort))

    @cached_property
    def standard(self) -> Standard:
        """Mean and deviation of each edge."""
        return Standard.of(self.values)

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """(n, E) standardised edges."""
        return self.standard.transform(self.values)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the standardised edges."""
        return Spectrum.of_rows(self.x)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made the first time that it is asked for under this key: any number of targets share it."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def modelled_edges(cohort: Cohort) -> NDArray[np.float32]:
    """Everybody's edges on the modelling scale, (N, E) float32; raises for an edge that is NaN or infinite."""
    check_edges(cohort)
    values = np.empty((cohort.n_people, cohort.n_edges), np.float32)
    for rows, some in cohort.modelled():
        values[rows] = some
    return values


def folds_within(units: NDArray[np.intp], classes: NDArray[np.float64] | None, seed: int, k: int = 5) -> Folds:
    """Inner folds of training people: units whole, every class in every fold as far as it reaches.

    Parameters
    ----------
    units : (n,) who belongs together.
    classes : (n,) class of each person; None for numbers.
    seed : of the draw.
    k : number of folds, fewer where there are fewer units.
    """
    people = np.arange(len(units))
    return inner_folds(np.stack([people, people], 1), np.ones(len(units), bool), units, classes, generator_for(seed, "inner folds"), k)

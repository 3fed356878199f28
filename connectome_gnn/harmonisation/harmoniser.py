"""What all that takes something out of connectomes has in common: fitted on training people, applied to anybody."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.derived import LazyWeights
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.harmonisation.regression import edges_of
from connectome_gnn.processing import described_steps, steps_of
from connectome_gnn.progress import progress

__all__ = ["Adjustment", "Harmoniser"]

Adjustment = Callable[[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float64]]
"""From rows, their values on the modelling scale (n, E) and which edges are there (n, E) to what the values become."""

MOST_KEPT = 2**26
"""Weights that are computed once and kept (256 MB); more are computed whenever they are read."""


class Harmoniser(ABC):
    """Something learned from training people and taken out of anybody's connectomes: ``fit(cohort)``, ``transform(cohort)``.

    It works on the modelling scale, on the edges that are there: absent edges stay absent, edges that are there stay there, and weights
    keep to their range. What :meth:`transform` does to a person depends on the training people and on that person alone, so that folds
    and held-out people are safe as long as :meth:`fit` sees training people only.
    """

    step: str
    """How cohort.json calls it."""

    def __init__(self) -> None:
        self._fitted = False

    def fit(self, cohort: Cohort) -> Self:
        """Learn from training people; what was learned before is forgotten.

        Raises
        ------
        ConnectomeError
            If a column is missing, the people cannot tell what is to be learned, or the cohort holds expected connectomes.
        """
        if not isinstance(cohort, Cohort):
            raise ConnectomeError(f"expected a Cohort of training people, got {type(cohort).__name__}; open a folder with Cohort.load")
        if cohort.kind == "expected":
            raise ConnectomeError(f"cohort {cohort.name!r} holds expected connectomes, which are no people; fit on observed ones")
        self._fitted = False
        self.atlas, self.measure, self.signed = cohort.atlas, cohort.measure, cohort.signed
        self.cohort_name, self.n_training = cohort.name, int(cohort.ids.nunique())
        self.before, self.before_described = steps_of(cohort), described_steps(cohort)
        with progress(f"Learning {self.step}"):
            self.least = _least_weight(cohort)
            self._fit(cohort)
        self._fitted = True
        return self

    def transform(self, cohort: Cohort) -> Cohort:
        """The same people with what was learned taken out.

        Parameters
        ----------
        cohort : anybody, on the atlas and of the measure of the training cohort.

        Returns
        -------
        cohort : new weights (N, E) float32 with zeros where they were; what was done stands in ``info["processing"]`` (cohort.json).
            No edge that is there falls below the weakest one of the training people. Counts are no whole numbers any longer. Those of a
            big cohort (from 256 MB on) are computed when they are read, some people at a time: save it before reading it often.

        Raises
        ------
        ConnectomeError
            If nothing was fitted yet, the cohort is of another atlas or measure or was processed otherwise, or a person cannot be adjusted.
        """
        self._check(cohort)
        known = copy(self)  # fitting anew does not change what was transformed
        weights = _Harmonised(cohort, known, known._adjustment(cohort))
        if cohort.n_people * cohort.n_edges > MOST_KEPT:
            return cohort.with_weights(weights, step=self.record())
        with progress(f"Applying {self.step}"):
            return cohort.with_weights(weights[:], step=self.record())

    def fit_transform(self, cohort: Cohort) -> Cohort:
        """Learn from people and take it out of the same people."""
        return self.fit(cohort).transform(cohort)

    def record(self) -> dict[str, Any]:
        """What cohort.json says of it, as plain JSON values."""
        return {"step": self.step, **self._settings(), "fitted_on": self.cohort_name, "fitted_people": self.n_training}

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the folder (model.safetensors, config.json), to be opened by :func:`~connectome_gnn.harmonisation.load_harmoniser`.

        Raises
        ------
        ConnectomeError
            If nothing was fitted yet, or the folder exists and ``force`` is not given.
        """
        from connectome_gnn.harmonisation.store import save_harmoniser

        self._check_fitted()
        return save_harmoniser(self, Path(path), force)

    @abstractmethod
    def _fit(self, cohort: Cohort) -> None:
        """Learn; the cohort's atlas, measure and name are noted already."""

    @abstractmethod
    def _adjustment(self, cohort: Cohort) -> Adjustment:
        """What is done to the values of a cohort that :meth:`_check` let pass."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Arguments of the constructor, as plain JSON values."""

    @abstractmethod
    def _learned(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """What was learned, as plain JSON values and arrays."""

    @abstractmethod
    def _relearn(self, record: dict[str, Any], arrays: dict[str, NDArray]) -> None:
        """The inverse of :meth:`_learned`."""

    def _weights(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (n, E) of edges that are there as weights on their support, at least :attr:`least`."""
        weights = self._scale.inverse(values)
        small = np.abs(weights) < self.least
        return np.where(small, np.copysign(self.least, weights) if self.signed else self.least, weights)

    @property
    def _scale(self) -> Scale:
        return Scale(self.signed)

    def _check(self, cohort: Cohort) -> None:
        """Refuse a cohort that what was learned does not apply to."""
        self._check_fitted()
        if not isinstance(cohort, Cohort):
            raise ConnectomeError(f"expected a Cohort, got {type(cohort).__name__}; open a folder with Cohort.load")
        match = self.atlas.match(cohort.atlas)
        if not match.same:
            raise ConnectomeError(f"cohort {cohort.name!r} is not on the atlas of training cohort {self.cohort_name!r}: {match.describe()}")
        if (cohort.measure, cohort.signed) != (self.measure, self.signed):
            raise ConnectomeError(
                f"cohort {cohort.name!r} holds {cohort.measure!r}, training cohort {self.cohort_name!r} {self.measure!r}; "
                "what was learned of one measure says nothing of another"
            )
        if steps_of(cohort) != self.before:
            raise ConnectomeError(
                f"done to the weights of cohort {cohort.name!r} was {described_steps(cohort)}, to those of training cohort "
                f"{self.cohort_name!r} {self.before_described}; do the same to both first"
            )

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise ConnectomeError(f"this {type(self).__name__} has not been fitted; call fit(cohort) with training people first")


@dataclass(frozen=True, eq=False)
class _Harmonised(LazyWeights):
    """A cohort's weights with what was learned taken out, float32."""

    source: Cohort
    harmoniser: Harmoniser
    adjust: Adjustment

    @property
    def shape(self) -> tuple[int, int]:
        """As of the cohort."""
        return self.source.n_people, self.source.n_edges

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        positions = np.arange(len(self))[rows]
        weights = np.empty((len(positions), self.shape[1]), np.float32)
        if len(positions):
            people = self.source.take(positions)
            for some, values, present in edges_of(people):
                new = self.adjust(positions[some], values, present)
                weights[some] = np.where(present & (new != values), self.harmoniser._weights(new), people.read(some))
        return weights


def _least_weight(cohort: Cohort) -> float:
    """Smallest size of a weight that is not 0.

    Raises
    ------
    ConnectomeError
        If all weights are 0.
    """
    least = np.inf
    for _, weights in cohort.batches():
        sizes = np.abs(weights[weights != 0])
        least = min(least, float(sizes.min())) if len(sizes) else least
    if not np.isfinite(least):
        raise ConnectomeError(f"cohort {cohort.name!r} has no edges: every weight is 0, so nothing can be learned of them")
    return least

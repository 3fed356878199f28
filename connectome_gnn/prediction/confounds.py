"""Confounds taken out of everything that a model reads, absent edges included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.harmonisation.covariates import fit_covariates, named_columns
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.slices import slices

__all__ = ["ConfoundRemoval"]

PEOPLE_AT_ONCE = 256


class ConfoundRemoval:
    """Linear effects of confounds taken out of every edge on the modelling scale, absent edges (0) counted like all others.

    No linear relation of any edge with a confound is left in the training people.
    :class:`~connectome_gnn.harmonisation.ConfoundRegression` keeps absent edges absent, as a connectome should; but which edges are absent
    then still tells the confound to whoever predicts. What this gives is no connectome to keep: where somebody's edge would fall below
    0, the whole edge is lifted by a constant, to one standard deviation above that (a test person's who is lower still becomes 0).

    Parameters
    ----------
    confounds : names of columns of the participants table; missing values count as the training mean.
    """

    schema: PhenotypeSchema

    def __init__(self, confounds: Sequence[str] | str) -> None:
        self.confounds = named_columns(confounds, "confounds")

    def fit(self, cohort: Cohort) -> Self:
        """Learn effects from training people.

        Raises
        ------
        ConnectomeError
            If a column does not exist, or is free text.
        """
        self.schema = fit_covariates(cohort, self.confounds, "take out")
        held = self.schema.encode(cohort.phenotypes).values
        self.centre = held.mean(0)
        inverse = np.linalg.pinv(held - self.centre, rcond=1e-10)
        self.effects = np.zeros((held.shape[1], cohort.n_edges))
        for rows in slices(len(cohort), PEOPLE_AT_ONCE):
            self.effects += inverse[:, rows] @ cohort.scale.forward(cohort.read(rows), np.float64)
        self.lift = np.zeros(cohort.n_edges)  # nothing is lifted while it is found by how much
        if not cohort.signed:
            lowest, sums, squares = np.full(cohort.n_edges, np.inf), np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
            for rows in slices(len(cohort), PEOPLE_AT_ONCE):
                left = self._left(cohort, rows, held)
                lowest = np.minimum(lowest, left.min(0))
                sums, squares = sums + left.sum(0), squares + (left**2).sum(0)
            spread = np.sqrt(np.maximum(squares / len(cohort) - (sums / len(cohort)) ** 2, 0))
            self.lift = np.where(lowest < 0, spread - lowest, 0)
        return self

    def transform(self, cohort: Cohort) -> Cohort:
        """The same people, confounds taken out, weights (N, E) float32 on their support."""
        held = self.schema.encode(cohort.phenotypes).values
        weights = np.empty((len(cohort), cohort.n_edges), np.float32)
        for rows in slices(len(cohort), PEOPLE_AT_ONCE):
            values = self._left(cohort, rows, held)
            weights[rows] = cohort.scale.inverse(values if cohort.signed else np.maximum(values, 0))
        return cohort.with_weights(weights)

    def _left(self, cohort: Cohort, rows: slice, held: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, E) what is left of some rows, lifted where an edge has to be."""
        left = cohort.scale.forward(cohort.read(rows), np.float64) - (held[rows] - self.centre) @ self.effects
        return left + self.lift

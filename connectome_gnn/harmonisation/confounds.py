"""Confound regression: what covariates do to each edge, learned from training people and taken out of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.harmonisation.covariates import fit_covariates, named_columns
from connectome_gnn.harmonisation.harmoniser import Adjustment, Harmoniser
from connectome_gnn.harmonisation.regression import LEAST_FREEDOM, EdgeRegression
from connectome_gnn.phenotypes import PhenotypeSchema

__all__ = ["ConfoundRegression"]


class ConfoundRegression(Harmoniser):
    """Takes linear effects of confounds out of every edge, on the modelling scale, over the people who have the edge.

    The mean connectome stays that of the training people. To be used inside folds: effects are learned from the training people of a
    fold and taken out of its test people too (Snoek, Miletic & Scholte 2019, NeuroImage 184:741). Categorical confounds have an effect a
    level; missing values count as the training mean, so that nothing is taken out for them. Edges with too few people to tell (fewer than
    5 degrees of freedom left) stay as they are.

    Parameters
    ----------
    confounds : names of columns of the participants table, as ``["motion", "age"]``.

    Attributes
    ----------
    schema : the confounds as they were in training people.
    effects : (F, E) change on the modelling scale per standard deviation of each encoded confound (``schema.columns``).
    adjusted : (E,) edges that confounds are taken out of.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> from connectome_gnn.harmonisation import ConfoundRegression
    >>> train, test = cg.simulate_cohort(80, 12, 5, seed=0).split(0.8, seed=0)
    >>> regression = ConfoundRegression(["age"]).fit(train)
    >>> regression.transform(test).n_people
    16
    """

    step = "confound regression"

    def __init__(self, confounds: Sequence[str] | str) -> None:
        super().__init__()
        self.confounds = named_columns(confounds, "confounds")
        if not self.confounds:
            raise ConnectomeError("expected the name of at least one confound, got none")

    def _fit(self, cohort: Cohort) -> None:
        self.schema = fit_covariates(cohort, self.confounds, "take out")
        values = self.schema.encode(cohort.phenotypes).values
        regression = EdgeRegression.fit(cohort, np.zeros(cohort.n_people, np.intp), 1, values)
        self.adjusted = regression.freedom >= LEAST_FREEDOM
        self.effects = np.where(self.adjusted, regression.effects, 0)

    def _adjustment(self, cohort: Cohort) -> Adjustment:
        confounds = self.schema.encode(cohort.phenotypes).values

        def adjust(rows: NDArray[np.intp], values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
            return values - confounds[rows] @ self.effects

        return adjust

    def record(self) -> dict[str, Any]:
        """As for every harmoniser, and how many edges stay as they are."""
        return {**super().record(), "edges_left": int((~self.adjusted).sum())}

    def _settings(self) -> dict[str, Any]:
        return {"confounds": list(self.confounds)}

    def _learned(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        return {"schema": self.schema.to_dict()}, {"effects": self.effects, "adjusted": self.adjusted}

    def _relearn(self, record: dict[str, Any], arrays: dict[str, NDArray]) -> None:
        self.schema = PhenotypeSchema.from_dict(record["schema"])
        self.effects, self.adjusted = arrays["effects"], arrays["adjusted"]

"""What every model of connectomes given phenotypes has in common: fit, expected, sample."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ExtrapolationWarning
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.phenotypes import Encoded, PhenotypeSchema
from connectome_gnn.progress import progress
from connectome_gnn.tables import people_table

__all__ = ["MIN_PEOPLE", "ConnectomeModel", "TrainingData"]

MIN_PEOPLE = 20
BATCH = 256


class TrainingData:
    """Training people, ready for any of the models.

    Parameters
    ----------
    cohort : the training people.
    n_components : most edge components.
    seed : of the randomised decomposition.

    Attributes
    ----------
    schema, encoded, features : phenotypes, their encoding and the profile features.
    values : (n, F) profile features.
    space, scores : the edge space and the people's components (n, K).
    """

    def __init__(self, cohort: Cohort, *, n_components: int, seed: int) -> None:
        if cohort.kind == "expected":
            raise ConnectomeError(
                f"cohort {cohort.name!r} holds expected connectomes, which are no people; fit on observed or sampled ones"
            )
        n_people = len(cohort.ids.unique())
        if n_people < MIN_PEOPLE:
            raise ConnectomeError(f"cohort {cohort.name!r} has {n_people} people; at least {MIN_PEOPLE} are needed to fit a model")
        self.cohort = cohort
        self.schema = PhenotypeSchema.fit(cohort.phenotypes, cohort.described)
        if not self.schema.phenotypes:
            raise ConnectomeError(
                f"cohort {cohort.name!r} has no phenotypes; a generator needs at least one column that differs between people"
            )
        self.encoded: Encoded = self.schema.encode(cohort.phenotypes)
        self.features = ProfileFeatures.fit(self.schema, self.encoded)
        self.values = self.features.transform(self.encoded)
        self.space, self.scores = EdgeSpace.fit(cohort, n_components=n_components, seed=seed)

    def folds(self, k: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Inner folds; people who belong together stay together."""
        n_units = len(np.unique(self.cohort.units()))
        return self.cohort.folds(min(k, n_units), seed=seed)


class ConnectomeModel(ABC):
    """Connectomes given phenotypes: ``fit(cohort)``, ``expected(phenotypes)``, ``sample(phenotypes, n, seed)``.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    n_components : most edge components that are modelled (all of them up to 600 people).
    """

    label: str
    holds_training_people = False

    def __init__(self, seed: int = 0, *, n_components: int = 300) -> None:
        self.seed = int(seed)
        self.n_components = int(n_components)
        self._fitted = False

    def fit(self, cohort: Cohort) -> Self:
        """Learn from training people.

        Raises
        ------
        ConnectomeError
            If there are fewer than 20 people, no phenotypes, or all people are alike.

        Warns
        -----
        PhenotypeWarning
            For phenotypes that are constant, mostly missing, or free text.
        """
        with progress(f"Fitting {self.label}") as advance:
            data = TrainingData(cohort, n_components=self.n_components, seed=self.seed)
            self.atlas, self.measure, self.signed, self.scale = cohort.atlas, cohort.measure, cohort.signed, cohort.scale
            self.cohort_name, self.described = cohort.name, dict(cohort.described)
            self.n_training = len(cohort.ids.unique())
            self.schema, self.features, self.space = data.schema, data.features, data.space
            residual = self._fit_mean(data, advance)
            self._fitted = True
            explained = np.zeros(int(self.space.kept.sum()))
            for rows in _row_batches(cohort.n_people):
                explained += (self._deviation(cohort.phenotypes.iloc[rows]).astype(np.float64) ** 2).sum(0)
            self.residual = ResidualModel.fit(self.space, cohort, residual, explained / cohort.n_people, seed=self.seed)
        return self

    @abstractmethod
    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        """Fit the conditional mean; returns what it leaves of the training people's components, (n, K), cross-fitted."""

    @abstractmethod
    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Deviations (n, kept edges) of profiles from the group mean, in standard deviations of an edge."""

    def expected(self, phenotypes: pd.DataFrame) -> Cohort:
        """The conditional mean on the modelling scale, mapped back to weights: one row a person, not a person's connectome.

        Parameters
        ----------
        phenotypes : a row a person, indexed by participant_id (or with that column), with the columns of the training cohort.

        Returns
        -------
        cohort : of kind ``expected``, people in the order asked for, with a column ``extrapolated``.

        Raises
        ------
        ConnectomeError
            If the table is empty, lacks a column, holds an unknown level, or text where numbers are expected.

        Warns
        -----
        ExtrapolationWarning
            Where a profile lies outside what training people looked like.
        """
        table, profiles = self._profiles(phenotypes)
        weights = np.empty((len(table), self.atlas.n_edges), np.float32)
        for rows in _row_batches(len(table)):
            weights[rows] = self.scale.inverse(self.space.values(self._deviation(profiles.iloc[rows])))
        return self._cohort(weights, table, "expected")

    def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
        """New people with these profiles, drawn from the conditional distribution.

        Parameters
        ----------
        phenotypes : as for :meth:`expected`.
        n : people drawn for each profile; their rows lie together, numbered from 0 in the column ``sample``.
        seed : seed of the draw; the same seed gives the same bytes.

        Returns
        -------
        cohort : of kind ``sample``, n rows a profile, profiles in the order asked for.
        """
        if n < 1:
            raise ConnectomeError(f"expected at least one sample a person, got n={n}")
        table, profiles = self._profiles(phenotypes)
        generator = np.random.default_rng(seed)
        repeated = np.repeat(np.arange(len(table)), n)
        weights = np.empty((len(repeated), self.atlas.n_edges), np.float32)
        for rows in _row_batches(len(repeated)):
            people, place = np.unique(repeated[rows], return_inverse=True)
            deviation = self._deviation(profiles.iloc[people])[place]
            weights[rows] = self.scale.inverse(self.residual.draw(deviation, self.space.kept, generator))
        table = table.iloc[repeated]
        table.insert(0, "sample", np.tile(np.arange(n), len(repeated) // n))
        return self._cohort(weights, table, "sample")

    def _profiles(self, phenotypes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table to hand back, with ``extrapolated``, and the model's columns of it."""
        if not self._fitted:
            raise ConnectomeError(f"this {type(self).__name__} has not been fitted; call fit(cohort) first")
        if not isinstance(phenotypes, pd.DataFrame):
            raise ConnectomeError(f"expected phenotypes as a pandas DataFrame, one row a person, got {type(phenotypes).__name__}")
        table = people_table(
            phenotypes.drop(columns=[column for column in ("sample", "extrapolated") if column in phenotypes]), "the table of profiles"
        )
        missing = self.schema.encode(
            table
        ).missing  # refuses what cannot be used and warns of new levels, once: they are missing from here on
        outside, columns = self.schema.extrapolated(table)
        if outside.any():
            shown = ", ".join(map(repr, columns[:5])) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
            where = f", out of the training range in {shown}" if columns else ""
            warnings.warn(
                f"{int(outside.sum())} of {len(table)} profiles lie outside what the {self.n_training} training people looked like{where}",
                ExtrapolationWarning,
                stacklevel=3,
            )
        return table.assign(extrapolated=outside), table[list(self.schema.names)].mask(missing)

    def _cohort(self, weights: NDArray[np.float32], table: pd.DataFrame, kind: str) -> Cohort:
        return Cohort(
            weights,
            table,
            self.atlas,
            measure=self.measure,
            signed=self.signed,
            name=f"{self.cohort_name}, {kind} by {self.label}",
            kind=kind,
            described=self.described,
            info={"model": self.label, "training_people": self.n_training},
            check=False,
        )


def _row_batches(n: int) -> list[slice]:
    return [slice(start, min(start + BATCH, n)) for start in range(0, n, BATCH)]

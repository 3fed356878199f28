"""Rivals behind the generator's interface: what any generator has to be measured against."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors

from connectome_gnn.generation.gaussian_components import GaussianComponents
from connectome_gnn.generation.kernel_ridge import KernelRidge
from connectome_gnn.generation.linear import band_scales
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.paths import Statistics
from connectome_gnn.generation.training_data import TrainingData

__all__ = ["ALL_RIVALS", "RIVALS", "BandedRidge", "ComponentRidge", "NearestPeople", "Ridge", "TrainingMean"]

FOLDS = 5
NEIGHBOURS = (5, 10, 20, 50, 100, 200, 500)


class _CoefficientModel(ConnectomeModel):
    """A model whose mean is linear in profile features; subclasses choose the coefficients."""

    @abstractmethod
    def _coefficients(self, people: Statistics, data: TrainingData) -> NDArray[np.float64]:
        """Effects of features on components, (F, K), from the sums over some people."""

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        residual = np.empty_like(data.scores)
        for rows, held in data.folds(FOLDS, self.seed):
            centre, coefficients = self._solve(Statistics.of(data.values[rows], data.scores[rows]), data)
            residual[held] = data.scores[held] - data.scores[rows].mean(0) - (data.values[held] - centre) @ coefficients
            advance()
        self.centre, coefficients = self._solve(Statistics.of(data.values, data.scores), data)
        self.maps = coefficients.astype(np.float32) @ self.space.basis
        return residual

    def _solve(self, people: Statistics, data: TrainingData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return people.features / people.n, self._coefficients(people, data)

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        return (self.features.of(table) - self.centre).astype(np.float32) @ self.maps


class TrainingMean(_CoefficientModel):
    """The training people's mean for everybody: what R2 beyond the mean is 0 for."""

    label = "training mean"

    def _coefficients(self, people: Statistics, data: TrainingData) -> NDArray[np.float64]:
        return np.zeros_like(people.cross)


class Ridge(_CoefficientModel):
    """Ridge regression of every edge on the phenotypes, one strength by generalised cross-validation over all edges."""

    label = "ridge"

    def _coefficients(self, people: Statistics, data: TrainingData) -> NDArray[np.float64]:
        system, rotation = people.system()
        return system.solve(data.features.select("linear").astype(float), shared=True)[0] @ rotation.T


class ComponentRidge(_CoefficientModel):
    """Ridge regression of edge components, each with its own strength by generalised cross-validation.

    Parameters
    ----------
    age_terms : whether age^2 and age x trait are features too.
    """

    def __init__(self, seed: int = 0, *, n_components: int = 300, age_terms: bool = False) -> None:
        super().__init__(seed, n_components=n_components)
        self.age_terms = age_terms
        self.label = "component ridge with age terms" if age_terms else "component ridge"

    def _coefficients(self, people: Statistics, data: TrainingData) -> NDArray[np.float64]:
        system, rotation = people.system()
        return system.solve(data.features.select("age" if self.age_terms else "linear").astype(float))[0] @ rotation.T


class BandedRidge(_CoefficientModel):
    """Component ridge with a scale for each band of features (phenotype groups, age spline, sex x age, traits x age)."""

    label = "banded component ridge"

    def _coefficients(self, people: Statistics, data: TrainingData) -> NDArray[np.float64]:
        system, rotation = people.system()
        return system.solve(band_scales(system, data.features.bands))[0] @ rotation.T


class NearestPeople(ConnectomeModel):
    """The mean connectome of the k training people with the nearest profiles, k by cross-validation, all of them included."""

    label = "nearest neighbours"
    holds_training_people = True

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        self.n_linear = len(self.schema.columns)
        profiles = data.values[:, : self.n_linear]
        n = len(profiles)
        folds = data.folds(FOLDS, self.seed)
        sizes = [k for k in NEIGHBOURS if k < min(len(rows) for rows, _ in folds)]
        residual = np.zeros((len(sizes) + 1, *data.scores.shape))
        for rows, held in folds:
            near = NearestNeighbors(n_neighbors=max(sizes, default=1)).fit(profiles[rows]).kneighbors(profiles[held], return_distance=False)
            for place, k in enumerate(sizes):
                residual[place, held] = data.scores[held] - _mean_of(data.scores[rows], near[:, :k])
            residual[-1, held] = data.scores[held] - data.scores[rows].mean(0)
            advance()
        best = int((residual**2).sum((1, 2)).argmin())
        self.k = [*sizes, n][best]
        self.people, self.scores = NearestNeighbors(n_neighbors=self.k).fit(profiles), data.scores
        return residual[best]

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        near = self.people.kneighbors(self.features.of(table)[:, : self.n_linear], return_distance=False)
        return _mean_of(self.scores, near).astype(np.float32) @ self.space.basis


def _mean_of(scores: NDArray[np.float64], near: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean components (m, K) of each one's nearest people (m, k), without a copy of everybody's components."""
    m, k = near.shape
    choice = csr_array((np.full(m * k, 1 / k), near.ravel(), np.arange(m + 1) * k), shape=(m, len(scores)))
    return choice @ scores


def _conditional_vae(seed: int) -> ConnectomeModel:
    from connectome_gnn.generation.variational import ConditionalVAE

    return ConditionalVAE(seed)


def _flow_matching(seed: int) -> ConnectomeModel:
    from connectome_gnn.generation.flow_matching import FlowMatching

    return FlowMatching(seed)


def _matching_index(seed: int) -> ConnectomeModel:
    from connectome_gnn.generation.matching_index import MatchingIndex

    return MatchingIndex(seed)


RIVALS: dict[str, Callable[[int], ConnectomeModel]] = {
    "training mean": TrainingMean,
    "ridge": Ridge,
    "component ridge": ComponentRidge,
    "component ridge with age terms": lambda seed: ComponentRidge(seed, age_terms=True),
    "banded component ridge": BandedRidge,
    "nearest neighbours": NearestPeople,
    "kernel ridge": KernelRidge,
    "Gaussian on components": GaussianComponents,
}
"""Name and constructor (of a seed) of every rival that is fitted in seconds."""

ALL_RIVALS: dict[str, Callable[[int], ConnectomeModel]] = {
    **RIVALS,
    "flow matching": _flow_matching,
    "conditional VAE": _conditional_vae,
    "matching-index wiring": _matching_index,
}
"""Those, and the ones that take minutes: two networks, and a wiring model, which wants an atlas with coordinates."""

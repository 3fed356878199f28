"""Kernel ridge regression of edge components on profiles: the strongest rival without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.linear import RidgeSystem, band_scales
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.paths import Statistics
from connectome_gnn.generation.training_data import TrainingData

__all__ = ["Choice", "KernelRidge", "ProfileKernel"]

FOLDS = 5
INDUCING = 400
WIDTHS = (1.0, 3.0)
SHARES = (1.0, 5.0)
SPREAD = 50.0
"""Mean of the linear kernel's diagonal, which puts its ridge strengths where those of some fifty standardised features are."""


@dataclass(frozen=True)
class Choice:
    """A kernel and how its ridge strengths are chosen.

    Parameters
    ----------
    place : where the Gaussian compares profiles: ``"profile"``, the encoded phenotypes; ``"features"`` in bands, each band with its scale;
        or ``"directions"``, the supervised ones.
    width : squared length scale of the Gaussian, in mean squared distances between training people.
    share : variance of the Gaussian kernel over that of the linear one; 0 leaves the linear kernel alone.
    shared : one strength for all components in place of one for each.
    """

    place: str
    width: float
    share: float
    shared: bool


CHOICES = [
    Choice("features", 1.0, 0.0, True),
    Choice("features", 1.0, 0.0, False),
    *(Choice(place, width, share, True) for place in ("features", "directions") for width in WIDTHS for share in SHARES),
    *(Choice("profile", width, SHARES[-1], True) for width in WIDTHS),
    *(Choice(place, WIDTHS[-1], SHARES[-1], False) for place in ("features", "directions")),
]
"""Kernels that cross-validation chooses from; a strength for each component, which seldom wins, is tried with a few of them."""


@dataclass(frozen=True)
class ProfileKernel:
    """A linear and a Gaussian kernel between profiles, as the features whose inner products they are.

    ``k(x, y) = x'S²y / u + exp(-|P'x - P'y|² / 2w) / v²``, centred in training people, the second by Nystroem's method on inducing people
    (Williams & Seeger 2001): exact where all training people are inducing ones.

    Parameters
    ----------
    linear : (F,) scale S / sqrt(u) of each feature in the linear kernel.
    place : (F, Q) the map P to where the Gaussian compares profiles.
    inducing : (M, Q) inducing people there.
    width : w, squared length scale.
    root : (M, r) what turns similarities to inducing people into features.
    unit : v, which gives the Gaussian the linear kernel's variance.
    centre : (F + r,) mean of all features in training people, which is taken out.
    """

    linear: NDArray[np.float64]
    place: NDArray[np.float64]
    inducing: NDArray[np.float64]
    width: float
    root: NDArray[np.float64]
    unit: float
    centre: NDArray[np.float64]

    @classmethod
    def fit(
        cls, values: NDArray[np.float64], scales: NDArray[np.float64], place: NDArray[np.float64], width: float, inducing: NDArray[np.intp]
    ) -> ProfileKernel:
        """The kernel of training people with these features.

        Parameters
        ----------
        values : (n, F) profile features of training people.
        scales : (F,) of the linear kernel; brought to the variance ``SPREAD`` together.
        place : (F, Q) where the Gaussian compares profiles.
        width : squared length scale in mean squared distances between two training people.
        inducing : (M,) rows of the inducing people.
        """
        spread = ((values - values.mean(0)) ** 2).mean(0) @ scales**2
        linear = scales * np.sqrt(SPREAD / spread) if spread > 0 else scales
        there = values @ place
        # Two people drawn at random are twice the total variance apart, squared.
        width = width * max(2 * float(there.var(0).sum()), 1e-12)
        points = there[inducing]
        similar, vectors = eigh(np.exp(-_squared_distances(points, points) / (2 * width)))
        real = similar > 1e-9 * similar[-1]
        root = vectors[:, real] / np.sqrt(similar[real])
        n_linear, n_gaussian = len(scales), root.shape[1]
        bare = cls(linear, place, points, width, root, 1.0, np.zeros(n_linear + n_gaussian))
        features = bare.features(values)
        centre = features.mean(0)
        unit = float(np.sqrt(((features - centre)[:, n_linear:] ** 2).sum(1).mean() / SPREAD))
        unit = unit if unit > 1e-9 else 1.0
        centre[n_linear:] /= unit
        return cls(linear, place, points, width, root, unit, centre)

    def features(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features (N, F + r) of people with profile features (N, F), mean 0 in training people."""
        similar = np.exp(-_squared_distances(values @ self.place, self.inducing) / (2 * self.width))
        return np.concatenate([values * self.linear, similar @ self.root / self.unit], 1) - self.centre


class KernelRidge(ConnectomeModel):
    """Kernel ridge regression of edge components: a linear kernel on features in bands plus a Gaussian one.

    The bands' scales, and the supervised directions, are the banded component ridge's (see
    :class:`~connectome_gnn.generation.directions.Directions`). Where the Gaussian compares profiles, its width, its share beside the
    linear kernel, and whether components share one strength are chosen together by cross-validation within the training people, everything
    fitted anew without the people left out; the training mean is among the choices. Strengths come from generalised cross-validation. It
    is the posterior mean of a Gaussian process with that kernel. Beyond 400 people the Gaussian kernel rests on 400 inducing people drawn
    at random. The profiles of inducing people are part of the model (``holds_training_people``).

    Parameters
    ----------
    seed : seed of everything random in fitting.
    n_components : most edge components that are modelled (all of them up to 600 people).

    Attributes
    ----------
    choice : the kernel chosen, None for the training mean.
    trials : (choices,) cross-validated R2 beyond the mean of every choice, by :class:`Choice`.
    """

    label = "kernel ridge"
    holds_training_people = True

    choice: Choice | None
    trials: dict[Choice, float]

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        folds = data.folds(FOLDS, self.seed)
        errors = dict.fromkeys(CHOICES, 0.0)
        total, people = 0.0, []
        for rows, held in folds:
            people.append(_People.of(data.features, data.values[rows], data.scores[rows], self.seed))
            from_mean = data.scores[held] - people[-1].mean
            total += float((from_mean**2).sum())
            for choice, predicted in people[-1].every_choice(data.values[held]):
                errors[choice] += float(((from_mean - predicted) ** 2).sum())
            advance()
        self.trials = {choice: 1 - error / total for choice, error in errors.items()}
        best = min(CHOICES, key=errors.__getitem__)
        residual = np.empty_like(data.scores)
        for (_, held), some in zip(folds, people, strict=True):
            residual[held] = data.scores[held] - some.mean
            if errors[best] < total:
                kernel, maps = some.fit(best)
                residual[held] -= kernel.features(data.values[held]) @ maps
        self.choice = best if errors[best] < total else None
        self.kernel, maps = _People.of(data.features, data.values, data.scores, self.seed).fit(best)
        self.maps = (maps * (self.choice is not None)).astype(np.float32) @ self.space.basis
        return residual

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        return self.kernel.features(self.features.of(table)).astype(np.float32) @ self.maps


@dataclass(frozen=True)
class _People:
    """Some training people, ready for every kernel.

    Attributes
    ----------
    values, scores, mean : (n, F) their features, (n, K) components around their mean, and the mean (K,).
    rotation : (K, k) their own principal components.
    scales : (F,) of the features' bands.
    places : where a Gaussian may compare profiles, by name, (F, Q) each.
    inducing : (M,) rows of inducing people.
    """

    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    mean: NDArray[np.float64]
    rotation: NDArray[np.float64]
    scales: NDArray[np.float64]
    places: dict[str, NDArray[np.float64]]
    inducing: NDArray[np.intp]

    @classmethod
    def of(cls, features: ProfileFeatures, values: NDArray[np.float64], scores: NDArray[np.float64], seed: int) -> _People:
        system, rotation = Statistics.of(values, scores).system()
        scales = band_scales(system, features.bands)
        coefficients, error = system.solve(scales)
        directions = Directions.fit(features, lambda: [values], coefficients, np.sqrt(np.maximum(error, 1e-12)))
        along = np.zeros((values.shape[1], len(directions.groups)))
        along[: len(directions.weights)] = directions.weights / directions.scale
        inducing = np.sort(np.random.default_rng(seed).permutation(len(values))[:INDUCING])
        mean = scores.mean(0)
        places = {"profile": np.eye(len(scales), len(directions.weights)), "features": np.diag(scales), "directions": along}
        return cls(values, scores - mean, mean, rotation, scales, places, inducing)

    def fit(self, choice: Choice) -> tuple[ProfileKernel, NDArray[np.float64]]:
        """The kernel of a choice, and the effects of its features on components, (F + r, K)."""
        kernel = self._kernel(choice)
        return kernel, self._maps(self._system(kernel), choice)

    def every_choice(self, values: NDArray[np.float64]) -> Iterator[tuple[Choice, NDArray[np.float64]]]:
        """Every choice with the components around the mean, (N, K), that it predicts for people with features (N, F)."""
        for _, alike in groupby(CHOICES, lambda choice: (choice.place, choice.width)):
            choices = list(alike)
            kernel = self._kernel(choices[0])
            system, features = self._system(kernel), kernel.features(values)
            for choice in choices:
                yield choice, features @ self._maps(system, choice)

    def _kernel(self, choice: Choice) -> ProfileKernel:
        return ProfileKernel.fit(self.values, self.scales, self.places[choice.place], choice.width, self.inducing)

    def _system(self, kernel: ProfileKernel) -> RidgeSystem:
        return RidgeSystem.of(kernel.features(self.values), self.scores @ self.rotation)

    def _maps(self, system: RidgeSystem, choice: Choice) -> NDArray[np.float64]:
        scales = np.full(len(system.gram), np.sqrt(choice.share))
        scales[: len(self.scales)] = 1
        return system.solve(scales, shared=choice.shared)[0] @ self.rotation.T


def _squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) squared Euclidean distances between the rows of (n, Q) and (m, Q)."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)

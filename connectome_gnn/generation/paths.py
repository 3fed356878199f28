"""The closed-form paths that a stack is made of: ridge regressions of edge components, and messages over what they learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.linear import RidgeSystem, band_scales

__all__ = ["Paths", "Statistics"]


@dataclass(frozen=True)
class Statistics:
    """Sums over a set of people, all that the closed-form paths need of them.

    Parameters
    ----------
    n : number of people.
    features : (F,) sum of features A.
    scores : (K,) sum of components T.
    gram : (F, F) A'A.
    cross : (F, K) A'T.
    scatter : (K, K) T'T.
    """

    n: int
    features: NDArray[np.float64]
    scores: NDArray[np.float64]
    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float64], scores: NDArray[np.float64]) -> Statistics:
        """Sums over people with these features (n, F) and components (n, K)."""
        return cls(len(features), features.sum(0), scores.sum(0), features.T @ features, features.T @ scores, scores.T @ scores)

    def system(self) -> tuple[RidgeSystem, NDArray[np.float64]]:
        """Centred normal equations on these people's own principal components, and those components as columns (K, k)."""
        t = self.scores / self.n
        values, vectors = eigh(self.scatter - self.n * np.outer(t, t))
        real = np.flatnonzero(values > 1e-7 * values[-1])[::-1]
        return self.regression(vectors[:, real], values[real]), vectors[:, real]

    def regression(self, rotation: NDArray[np.float64], variance: NDArray[np.float64]) -> RidgeSystem:
        """Centred normal equations on given components (K, k), whose sums of squares around the mean are ``variance`` (k,)."""
        a, t = self.features / self.n, self.scores / self.n
        cross = (self.cross - self.n * np.outer(a, t)) @ rotation
        return RidgeSystem(self.gram - self.n * np.outer(a, a), cross, variance, self.n)


@dataclass(frozen=True)
class Paths:
    """All paths fitted on one set of people.

    Parameters
    ----------
    directions : what the profile features are extended by.
    centre : (F + D',) mean of the features.
    average : (D,) mean of the people in the effect space.
    maps : path -> (F + D', D) effect of each feature in the effect space.
    scales : scale of each band of features.
    """

    directions: Directions
    centre: NDArray[np.float64]
    average: NDArray[np.float64]
    maps: dict[str, NDArray[np.float64]]
    scales: dict[str, float]

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        scores: NDArray[np.float64],
        n_components: int,
        messages: dict[str, NDArray[np.float64]],
        scales: dict[str, float] | None = None,
    ) -> Paths:
        """Fit every path.

        Parameters
        ----------
        features, values : profile features and their values (n, F).
        scores : (n, D) the people in the effect space.
        n_components : how many leading coordinates of the effect space the ridges are fitted on.
        messages : name and (D, D) matrix, in the effect space, of each kind of messages between regions.
        scales : known scale of each band, as another fit found them; default the search that takes most of a fit's time.
        """
        k = n_components
        people = Statistics.of(values, scores[:, :k])
        system, rotation = people.system()
        bands = features.bands
        linear, age = (features.select(terms).astype(np.float64) for terms in ("linear", "age"))
        scale = band_scales(system, bands) if scales is None else np.array([scales[band] for band in bands])
        banded, error = system.solve(scale)
        coefficients = {
            "ridge": system.solve(linear, shared=True)[0],
            "component ridge": system.solve(linear)[0],
            "component ridge with age terms": system.solve(age)[0],
            "banded component ridge": banded,
            "banded ridge, one strength": system.solve(scale, shared=True)[0],
        }
        directions = Directions.fit(features, values, banded, np.sqrt(np.maximum(error, 1e-12)))
        extended = directions.extended(values)
        n_derived = extended.shape[1] - values.shape[1]
        wide = Statistics.of(extended, scores[:, :k])
        regression = wide.regression(rotation, system.total)
        bands = (*bands, *directions.bands)
        if scales is None:
            scale = band_scales(regression, bands, start=np.concatenate([scale, np.full(n_derived, np.nan)]))
        else:
            scale = np.array([scales.get(band, 0.0) for band in bands])
        coefficients["supervised directions"] = regression.solve(scale)[0]
        maps = {}
        for name, found in coefficients.items():
            maps[name] = np.zeros((len(wide.features), scores.shape[1]))
            maps[name][: len(found), :k] = found @ rotation.T
        for kind, moved in messages.items():
            for name in ("component ridge", "banded component ridge"):
                maps[f"{name}, messages over {kind}"] = maps[name] @ moved
        return cls(directions, wide.features / wide.n, scores.mean(0), maps, dict(zip(bands, scale.tolist(), strict=True)))

    def design(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centred features (n, F + D') of profile features (n, F)."""
        return self.directions.extended(values) - self.centre

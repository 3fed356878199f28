"""The closed-form paths that a stack is made of: ridge regressions of edge components, and messages over what they learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.effect_maps import EffectSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.linear import RidgeSystem, band_scales
from connectome_gnn.slices import slices

__all__ = ["Paths", "People", "Statistics"]

BATCH = 2048


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
    def of(cls, features: NDArray[np.float64], scores: NDArray[np.floating]) -> Statistics:
        """Sums over people with these features (n, F) and components (n, K)."""
        scores = scores.astype(np.float64, copy=False)
        return cls(len(features), features.sum(0), scores.sum(0), features.T @ features, features.T @ scores, scores.T @ scores)

    def __add__(self, other: Statistics) -> Statistics:
        """Sums over both sets of people."""
        return Statistics(
            self.n + other.n,
            self.features + other.features,
            self.scores + other.scores,
            self.gram + other.gram,
            self.cross + other.cross,
            self.scatter + other.scatter,
        )

    def leading(self, k: int) -> Statistics:
        """The same people's first ``k`` components."""
        return replace(self, scores=self.scores[:k], cross=self.cross[:, :k], scatter=self.scatter[:k, :k])

    def around(self, features: NDArray[np.float64], scores: NDArray[np.float64]) -> Statistics:
        """Sums of what the people's features differ from given ones (F,), and their components from given ones (K,)."""
        return Statistics(
            self.n,
            self.features - self.n * features,
            self.scores - self.n * scores,
            self.gram - np.outer(self.features, features) - np.outer(features, self.features - self.n * features),
            self.cross - np.outer(self.features, scores) - np.outer(features, self.scores - self.n * scores),
            self.scatter - np.outer(self.scores, scores) - np.outer(scores, self.scores - self.n * scores),
        )

    def system(self) -> tuple[RidgeSystem, NDArray[np.float64]]:
        """Centred normal equations on these people's own principal components, and those components as columns (K, k)."""
        t = self.scores / self.n
        values, vectors = eigh(self.scatter - self.n * np.outer(t, t), driver="evd")
        real = np.flatnonzero(values > 1e-7 * values[-1])[::-1]
        return self.regression(vectors[:, real], values[real]), vectors[:, real]

    def regression(self, rotation: NDArray[np.float64], variance: NDArray[np.float64]) -> RidgeSystem:
        """Centred normal equations on given components (K, k), whose sums of squares around the mean are ``variance`` (k,)."""
        a, t = self.features / self.n, self.scores / self.n
        cross = (self.cross - self.n * np.outer(a, t)) @ rotation
        return RidgeSystem(self.gram - self.n * np.outer(a, a), cross, variance, self.n)


@dataclass(frozen=True)
class People:
    """Some of the training people: their sums, and their rows wherever sums do not do, some at a time.

    Parameters
    ----------
    features, values : profile features and everybody's (N, F).
    space : everybody in the effect space.
    parts : rows of these people, in parts that do not overlap.
    sums : of each part's profile features and coordinates in the effect space.
    """

    features: ProfileFeatures
    values: NDArray[np.float64]
    space: EffectSpace
    parts: tuple[NDArray[np.intp], ...]
    sums: tuple[Statistics, ...]

    @classmethod
    def of(cls, features: ProfileFeatures, values: NDArray[np.float64], space: EffectSpace, parts: tuple[NDArray[np.intp], ...]) -> People:
        """People with given rows, in parts that others may be made of (:meth:`only`)."""

        def summed(rows: NDArray[np.intp]) -> Statistics:
            return reduce(add, (Statistics.of(values[some], space.people(some)) for some in _batches(rows)))

        return cls(features, values, space, parts, tuple(map(summed, parts)))

    def only(self, *numbers: int) -> People:
        """The people of some parts."""
        return replace(self, parts=tuple(self.parts[number] for number in numbers), sums=tuple(self.sums[number] for number in numbers))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def statistics(self) -> Statistics:
        """Sums over all of these people."""
        return reduce(add, self.sums)

    def profiles(self) -> Iterator[NDArray[np.float64]]:
        """Profile features (n, F), some people at a time."""
        for part in self.parts:
            for some in _batches(part):
                yield self.values[some]

    def extended(self, directions: Directions, n_components: int | None = None) -> Statistics:
        """Sums over these people with derived features behind their profile's, and their leading coordinates (default all)."""
        sums = self.statistics
        sums = sums if n_components is None else sums.leading(n_components)
        n_derived = len(directions.bands)
        total, own = np.zeros(n_derived), np.zeros((n_derived, n_derived))
        with_profile, cross = np.zeros((n_derived, len(sums.features))), np.zeros((n_derived, len(sums.scores)))
        for part in self.parts:
            for some in _batches(part):
                values = self.values[some]
                derived = directions.transform(values)
                total += derived.sum(0)
                own += derived.T @ derived
                with_profile += derived.T @ values
                cross += derived.T @ self.space.people(some, n_components)
        return replace(
            sums,
            features=np.concatenate([sums.features, total]),
            gram=np.block([[sums.gram, with_profile.T], [with_profile, own]]),
            cross=np.concatenate([sums.cross, cross]),
        )


def _batches(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    return (rows[some] for some in slices(len(rows), BATCH))


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
    def fit(cls, people: People, messages: dict[str, NDArray[np.float64]], scales: dict[str, float] | None = None) -> Paths:
        """Fit every path; the ridges on the leading coordinates of the effect space, which are the components.

        Parameters
        ----------
        people : the people to learn from.
        messages : name and (D, D) matrix, in the effect space, of each kind of messages between regions.
        scales : known scale of each band, as another fit found them; default the search that takes most of a fit's time.
        """
        k, features, sums = people.space.n_components, people.features, people.statistics
        system, rotation = sums.leading(k).system()
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
        directions = Directions.fit(features, people.profiles, banded, np.sqrt(np.maximum(error, 1e-12)))
        wide = people.extended(directions, k)
        regression = wide.regression(rotation, system.total)
        bands = (*bands, *directions.bands)
        if scales is None:
            scale = band_scales(regression, bands, start=np.concatenate([scale, np.full(len(directions.bands), np.nan)]))
        else:
            scale = np.array([scales.get(band, 0.0) for band in bands])
        coefficients["supervised directions"] = regression.solve(scale)[0]

        def over_coordinates(found: NDArray[np.float64]) -> NDArray[np.float64]:
            """Effects (F, m) on leading coordinates, or on all of them, as a map (F + D', D)."""
            out = np.zeros((len(wide.features), len(sums.scores)))
            out[: len(found), : found.shape[1]] = found
            return out

        on_components = {name: found @ rotation.T for name, found in coefficients.items()}
        maps = {name: over_coordinates(found) for name, found in on_components.items()}
        for kind, moved in messages.items():
            for name in ("component ridge", "banded component ridge"):
                maps[f"{name}, messages over {kind}"] = over_coordinates(on_components[name] @ moved[:k])
        return cls(directions, wide.features / wide.n, sums.scores / sums.n, maps, dict(zip(bands, scale.tolist(), strict=True)))

    def design(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centred features (n, F + D') of profile features (n, F)."""
        return self.directions.extended(values) - self.centre

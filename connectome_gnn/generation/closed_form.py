"""The generator's closed-form mean: several ridge paths and messages, stacked by cross-fitted weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.effect_maps import EffectSpace, MapKind, MapPrior, Noise, combinations
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.paths import BATCH, Paths, People, Statistics
from connectome_gnn.generation.scratch import scratch
from connectome_gnn.generation.stacking import Agreement
from connectome_gnn.generation.threads import one_thread
from connectome_gnn.phenotypes import Encoded
from connectome_gnn.slices import slices
from connectome_gnn.splits import Folds

__all__ = ["TOGETHER", "ClosedForm", "FoldModel", "standard_error"]

TOGETHER = "all together"
FEWEST = 20  # people to fit paths on
LARGER = 4.0  # times as much energy in predictions for a fold as in those for the others is too much


@dataclass(frozen=True)
class FoldModel:
    """The whole closed form, fitted without one fold of the people.

    Parameters
    ----------
    directions, centre : as in :class:`ClosedForm`.
    average : (D,) mean of its people in the effect space.
    maps : (F + D', D) float32 effect of each feature in the effect space.
    """

    directions: Directions
    centre: NDArray[np.float64]
    average: NDArray[np.float64]
    maps: NDArray[np.float32]

    def predicted(self, values: NDArray[np.float64], n_coordinates: int | None = None) -> NDArray[np.float32]:
        """Expected people in the effect space, (N, D), of profile features (N, F): its leading coordinates, default all."""
        design = self.directions.extended(values) - self.centre
        return (design.astype(np.float32) @ self.maps[:, :n_coordinates] + self.average[:n_coordinates]).astype(np.float32)


@dataclass(frozen=True)
class ClosedForm:
    """A linear map from profile features, and features derived of them, to standardised edges.

    Parameters
    ----------
    features, directions : how a profile becomes features.
    centre : (F + D',) mean of the features in training people.
    maps : (F + D', kept edges) float32 effect of each feature, in standard deviations of an edge.
    paths : table indexed by path: ``r2`` cross-fitted R2 beyond the mean of the path alone, ``weight`` its share in the answer.
    basis : (D, kept edges) float32 orthonormal rows of the effect space.
    without : for each partition of the people, the closed form without each of its folds; none under differential privacy.
    """

    features: ProfileFeatures
    directions: Directions
    centre: NDArray[np.float64]
    maps: NDArray[np.float32]
    paths: pd.DataFrame
    basis: NDArray[np.float32]
    without: tuple[tuple[FoldModel, ...], ...] = ()

    def design(self, encoded: Encoded) -> NDArray[np.float32]:
        """Centred features (N, F + D') of encoded profiles."""
        return (self.directions.extended(self.features.transform(encoded)) - self.centre).astype(np.float32)

    @classmethod
    @one_thread()  # hundreds of small matrices
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        space: EffectSpace,
        partitions: Sequence[Folds],
        messages: dict[str, NDArray[np.float64]],
        kinds: dict[str, MapKind],
        advance: Callable[..., None] = lambda *_, **__: None,
    ) -> tuple[ClosedForm, NDArray]:
        """Stack the paths, estimate the stack's effect maps once more under every prior, and stack those; refit on everybody.

        All weights are found on people left out, and nobody is scored with weights that they had a say in. To leave a fold out of the
        second stack its people must have had no part in the first: beside a fit without each fold there is one without each pair of
        folds (but where fewer than 20 people would be left, as with two families). Only band scales, and the residual's covariance, one
        for all folds, know of them.

        People enter as sums of products of features and coordinates, fold by fold. Their rows are read some at a time, once or twice a
        fit, for features that depend on what the fit has learned; nothing else grows with their number.

        Parameters
        ----------
        features, values : profile features and their values (n, F) for the training people.
        space : where effects may lie, and the people in it.
        partitions : of the people into inner folds, one or several.
        messages : name and (D, D) matrix of each kind of messages that the ridge paths' effects may be smoothed by.
        kinds : name and prior idea of each kind of effect maps.

        Returns
        -------
        model : ClosedForm.
        residual : (n, K) float32, what the stack leaves of each person's components, predicted from folds without them.
        """
        partitioned = [People.of(features, values, space, tuple(held for _, held in folds)) for folds in partitions]
        whole = Paths.fit(partitioned[0], messages)
        advance()
        parts = [_Partition.fit(people, messages, kinds, whole, advance) for people in partitioned]
        agreement = reduce(add, (part.agreement for part in parts))
        weights = agreement.weights
        first = np.mean([part.weights for part in parts], 0)
        ridges = reduce(add, (part.ridges for part in parts))
        maps = np.mean([part.map(weights) for part in parts], 0)
        without = tuple(part.models() for part in parts)
        names = [*whole.maps, *kinds]
        table = pd.DataFrame(
            {"r2": [*ridges.r2_alone, *agreement.r2_alone[1:]], "weight": [*weights[0] * first, *weights[1:]]},
            index=pd.Index(names, name="path"),
        )
        gained, energy = np.sum([part.gained() for part in parts], 0)
        table.loc[TOGETHER] = [gained / max(energy, 1e-12), table["weight"].sum()]
        model = cls(features, whole.directions, whole.centre, maps.astype(np.float32) @ space.basis, table, space.basis, without)
        return model, _residual(without, partitions, values, space)


def standard_error(forms: Sequence[ClosedForm], encoded: Encoded) -> NDArray[np.float32]:
    """How far the deviations of encoded profiles would move with other training people, (N, kept edges), in standard deviations.

    The delete-a-group jackknife (Efron & Tibshirani 1993, chapter 11) over the folds, averaged over partitions.

    Parameters
    ----------
    forms : closed forms whose sum the deviations are, cross-fitted on the same folds in one effect space.
    encoded : the profiles.
    """
    values = [form.features.transform(encoded) for form in forms]
    first = forms[0]
    variance = np.zeros((len(encoded.values), first.basis.shape[1]), np.float32)
    for number, partition in enumerate(first.without):
        predicted = np.stack(
            [
                np.sum([form.without[number][fold].predicted(value) for form, value in zip(forms, values, strict=True)], 0)
                for fold in range(len(partition))
            ]
        )
        predicted -= predicted.mean(0)
        for deviation in predicted:
            variance += (deviation @ first.basis) ** 2 * np.float32((1 - 1 / len(partition)) / len(first.without))
    return np.sqrt(variance)


def _residual(
    without: Sequence[Sequence[FoldModel]], partitions: Sequence[Folds], values: NDArray[np.float64], space: EffectSpace
) -> NDArray[np.float32]:
    """What models without a fold leave of its people's components, (n, K), on average over partitions."""
    k = space.n_components
    left = scratch((len(values), k), np.float32)
    left[:] = space.components
    for models, folds in zip(without, partitions, strict=True):
        for model, (_, held) in zip(models, folds, strict=True):
            for part in slices(len(held), BATCH):
                left[held[part]] -= model.predicted(values[held[part]], k) / np.float32(len(partitions))
    return left


@dataclass(frozen=True)
class _Partition:
    """Both stacks on one partition of the people.

    Parameters
    ----------
    ridges : agreement of the ridge paths with people left out.
    weights : (J,) weights of the ridge paths.
    agreements : of the weighted ridge paths, and of each kind of effect maps, with the people of each fold, left out.
    whole : both stacks with everybody.
    without : both stacks without each fold.
    """

    ridges: Agreement
    weights: NDArray[np.float64]
    agreements: tuple[Agreement, ...]
    whole: _Stacks
    without: tuple[_Stacks, ...]

    @classmethod
    def fit(
        cls,
        people: People,
        messages: dict[str, NDArray[np.float64]],
        kinds: dict[str, MapKind],
        whole: Paths,
        advance: Callable[..., None],
    ) -> _Partition:
        """Both stacks of people in folds, and of ``whole``, the paths of everybody."""
        numbers = range(len(people.parts))

        def fitted(folds: list[int], scales: dict[str, float] | None = None) -> Paths:
            paths = Paths.fit(people.only(*folds), messages, scales)
            advance()
            return paths

        single = [_LeftOut.of(fitted([other for other in numbers if other != number]), people.only(number)) for number in numbers]

        def left_out_too(other: int, number: int) -> _LeftOut:
            """The people of another fold, from a fit without them and without this fold's; with these where too few are left."""
            rest = [fold for fold in numbers if fold not in (other, number)]
            if sum(len(people.parts[fold]) for fold in rest) < FEWEST:
                return single[other]
            # Band scales come from the fit without this fold: a search for every pair would take twice the time.
            return _LeftOut.of(fitted(rest, single[number].scales), people.only(other))

        everybody = _Stacked.of(single)
        noise = everybody.noise()
        priors = [MapPrior.of(kind, noise) for kind in kinds.values()]
        agreements, without = [], []
        for number, held in enumerate(single):
            stacked = _Stacked.of([left_out_too(other, number) for other in numbers if other != number])
            without.append(_Stacks(held.directions, held.centre, held.average, held.map(stacked.weights), *stacked.maps(noise, priors)))
            agreements.append(held.agreement(without[-1].each()))
        ridges = np.tensordot(everybody.weights, np.stack(list(whole.maps.values())), 1)
        both = _Stacks(whole.directions, whole.centre, whole.average, ridges, *everybody.maps(noise, priors))
        return cls(everybody.agreement, everybody.weights, tuple(agreements), both, tuple(without))

    @property
    def agreement(self) -> Agreement:
        """The agreements of all folds together."""
        return reduce(add, self.agreements)

    def _others(self, number: int) -> NDArray[np.float64]:
        """Weights (1 + priors,) of the second stack for the people of a fold, who have no say in them.

        A fold of more than two thirds of the people, as with a family of nearly everybody, keeps everybody's weights: they hardly fit
        their chance, and what the few others say would be far from what the model is. Where the fold's profiles lead to far larger
        predictions than the others', whose weights give no licence for that, weights are scaled down.
        """
        own, others = self.agreements[number], reduce(add, (some for other, some in enumerate(self.agreements) if other != number))
        if others.energy < self.agreement.energy / 3:
            return self.agreement.weights
        weights = others.weights
        size, licensed = (some.size(weights) / max(some.energy, 1e-12) for some in (own, others))
        return weights * np.sqrt(min(LARGER * licensed / size, 1.0)) if size > 0 else weights

    def gained(self) -> tuple[float, float]:
        """What both stacks take away of the people left out, who had no say in the weights, and what there was; sums of squares."""
        gains = [some.energy * some.r2(self._others(number)) for number, some in enumerate(self.agreements)]
        return sum(gains), sum(some.energy for some in self.agreements)

    def models(self) -> tuple[FoldModel, ...]:
        """The closed form without each fold, weights included."""
        return tuple(left.model(self._others(number)) for number, left in enumerate(self.without))

    def map(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """One map (F + D', D) of the second stack's weights (1 + priors,)."""
        return self.whole.map(weights)


@dataclass(frozen=True)
class _Stacks:
    """Both stacks of some people.

    Parameters
    ----------
    directions, centre, average : as in :class:`FoldModel`.
    ridges : (F + D', D) the first stack.
    turned : (D, L) from what it predicts to uncorrelated scores of unit variance.
    maps : (priors, L, D) effect of those scores, for each kind of maps.
    """

    directions: Directions
    centre: NDArray[np.float64]
    average: NDArray[np.float64]
    ridges: NDArray[np.float64]
    turned: NDArray[np.float64]
    maps: NDArray[np.float64]

    def each(self) -> Iterator[NDArray[np.float64]]:
        """What the second stack weighs, maps (F + D', D): the first stack, then each kind of maps."""
        yield self.ridges
        scores = self.ridges @ self.turned
        yield from (scores @ effect for effect in self.maps)

    def map(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Put together by the second stack's weights (1 + priors,), a map (F + D', D)."""
        return weights[0] * self.ridges + self.ridges @ self.turned @ np.tensordot(weights[1:], self.maps, 1)

    def model(self, weights: NDArray[np.float64]) -> FoldModel:
        """Put together by the second stack's weights (1 + priors,)."""
        return FoldModel(self.directions, self.centre, self.average, self.map(weights).astype(np.float32))


@dataclass(frozen=True)
class _LeftOut:
    """People left out of a fit of the paths, as sums.

    Parameters
    ----------
    directions, centre, average, scales : of the fit (:class:`Paths`).
    maps : (J, F + D', D) of the paths.
    sums : of the people's features and coordinates, both around those that the paths were fitted on.
    energy : the people's sum of squares around the same average, what lies outside of the effect space included.
    """

    directions: Directions
    centre: NDArray[np.float64]
    average: NDArray[np.float64]
    scales: dict[str, float]
    maps: NDArray[np.float32]
    sums: Statistics
    energy: float

    @classmethod
    def of(cls, paths: Paths, people: People) -> _LeftOut:
        """People who had no part in the paths."""
        sums = people.extended(paths.directions).around(paths.centre, paths.average)
        outside = sum(float(people.space.energy[part].sum()) for part in people.parts)
        maps = np.stack([effect.astype(np.float32) for effect in paths.maps.values()])
        return cls(paths.directions, paths.centre, paths.average, paths.scales, maps, sums, float(np.trace(sums.scatter)) + outside)

    def agreement(self, maps: Iterable[NDArray]) -> Agreement:
        """Of what some maps (F + D', D) predict with the people."""
        gram, cross = self.sums.gram.astype(np.float32), self.sums.cross.astype(np.float32)
        each = [effect.astype(np.float32, copy=False) for effect in maps]
        products = [gram @ effect for effect in each]
        return Agreement(
            np.array([[float(np.vdot(left, right)) for right in products] for left in each]),
            np.array([float(np.vdot(cross, effect)) for effect in each]),
            self.energy,
        )

    def map(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weighted paths as one map, (F + D', D)."""
        return np.tensordot(weights.astype(np.float32), self.maps, 1).astype(np.float64)


@dataclass(frozen=True)
class _Stacked:
    """The first stack: agreement, weights (J,), and people left out, beside the map (F + D', D) that predicts each part of them."""

    agreement: Agreement
    weights: NDArray[np.float64]
    people: list[tuple[Statistics, NDArray[np.float64]]]

    @classmethod
    def of(cls, people: Sequence[_LeftOut]) -> _Stacked:
        """Weigh the paths on people left out."""
        agreement = reduce(add, (some.agreement(some.maps) for some in people))
        weights = agreement.weights
        return cls(agreement, weights, [(some.sums, some.map(weights)) for some in people])

    @property
    def n(self) -> int:
        """Number of people."""
        return sum(sums.n for sums, _ in self.people)

    def noise(self) -> Noise:
        """How people differ around what is predicted for them."""

        def scatter(sums: Statistics, effect: NDArray[np.float64]) -> NDArray[np.float64]:
            shared = sums.cross.T @ effect
            return sums.scatter - shared - shared.T + effect.T @ sums.gram @ effect

        return Noise.of(reduce(add, (scatter(*some) for some in self.people)), self.n)

    def maps(self, noise: Noise, priors: Sequence[MapPrior]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Combinations of phenotypes (D, L) and, for every prior, what each does in the effect space, (priors, L, D)."""

        def energy(sums: Statistics, effect: NDArray[np.float64]) -> NDArray[np.float64]:
            whitened = noise.whitened(effect)
            return whitened.T @ sums.gram @ whitened

        turned = combinations(reduce(add, (energy(*some) for some in self.people)), self.n, noise)
        shared = reduce(add, ((effect @ turned).T @ sums.cross for sums, effect in self.people))
        # Least squares on uncorrelated scores of unit variance.
        estimate = noise.whitened(shared / self.n)
        return turned, np.stack([noise.back(prior.posterior(estimate, self.n)) for prior in priors])

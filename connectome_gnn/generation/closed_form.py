"""The generator's closed-form mean: several ridge paths and messages, stacked by cross-fitted weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.effect_maps import EffectSpace, MapKind, MapPrior, Noise, combinations
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.paths import Paths
from connectome_gnn.generation.stacking import Agreement
from connectome_gnn.phenotypes import Encoded

__all__ = ["TOGETHER", "ClosedForm", "FoldModel"]

TOGETHER = "all together"
FEWEST = 20  # people to fit paths on
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


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

    def predicted(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Expected people in the effect space, (N, D), of profile features (N, F)."""
        design = self.directions.extended(values) - self.centre
        return (design.astype(np.float32) @ self.maps + self.average).astype(np.float32)


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

    def standard_error(self, encoded: Encoded) -> NDArray[np.float32]:
        """How far the deviations of encoded profiles would move with other training people, (N, kept edges), in standard deviations.

        The delete-a-group jackknife (Efron & Tibshirani 1993, chapter 11) over the folds, averaged over partitions.
        """
        values = self.features.transform(encoded)
        variance = np.zeros((len(values), self.basis.shape[1]), np.float32)
        for members in self.without:
            predicted = np.stack([member.predicted(values) for member in members])
            predicted -= predicted.mean(0)
            for deviation in predicted:
                variance += (deviation @ self.basis) ** 2 * np.float32((1 - 1 / len(members)) / len(self.without))
        return np.sqrt(variance)

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        space: EffectSpace,
        partitions: Sequence[Folds],
        messages: dict[str, NDArray[np.float64]],
        kinds: dict[str, MapKind],
        advance: Callable[..., None] = lambda *_, **__: None,
    ) -> tuple[ClosedForm, NDArray[np.float64]]:
        """Stack the paths, estimate the stack's effect maps once more under every prior, and stack those; refit on everybody.

        All weights are found on people left out. To leave a fold out of the second stack its people must have had no part in the
        first: beside a fit without each fold there is one without each pair of folds (but where fewer than 20 people would be left, as
        with two families). Only band scales, and the residual's covariance, one for all folds, know of them.

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
        residual : (n, K) what the stack leaves of each person's components, predicted from folds without them.
        """
        whole = Paths.fit(features, values, space.scores, space.n_components, messages)
        advance()
        parts = [_Partition.fit(features, values, space, folds, messages, kinds, whole, advance) for folds in partitions]
        agreement = reduce(add, (part.agreement for part in parts))
        weights = agreement.weights
        first = np.mean([part.weights for part in parts], 0)
        ridges = reduce(add, (part.ridges for part in parts))
        maps = np.mean([part.combined(weights, whole) for part in parts], 0)
        residual = np.mean([part.residual(weights) for part in parts], 0)
        names = [*whole.maps, *parts[0].priors]
        table = pd.DataFrame(
            {"r2": [*ridges.r2_alone, *agreement.r2_alone[1:]], "weight": [*weights[0] * first, *weights[1:]]},
            index=pd.Index(names, name="path"),
        )
        table.loc[TOGETHER] = [agreement.r2(weights), table["weight"].sum()]
        model = cls(
            features,
            whole.directions,
            whole.centre,
            maps.astype(np.float32) @ space.basis,
            table,
            space.basis,
            tuple(tuple(without.model(weights) for without in part.without) for part in parts),
        )
        return model, residual[:, : space.n_components]


@dataclass(frozen=True)
class _Partition:
    """Both stacks on one partition of the people.

    Parameters
    ----------
    ridges : agreement of the ridge paths with people left out.
    weights : (J,) weights of the ridge paths.
    turned : (D, L) from what the ridge paths predict together to uncorrelated scores of unit variance.
    priors : name of each kind of effect maps, and the maps (L, D) from everybody.
    agreement : agreement of the weighted ridge paths, and of each kind of effect maps, with people left out.
    predictions : (1 + priors, n, D) what those predict for people left out.
    real : (n, D) what they should have predicted.
    without : both stacks without each fold.
    """

    ridges: Agreement
    weights: NDArray[np.float64]
    turned: NDArray[np.float64]
    priors: dict[str, NDArray[np.float64]]
    agreement: Agreement
    predictions: NDArray[np.float32]
    real: NDArray[np.float64]
    without: tuple[_Without, ...]

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        space: EffectSpace,
        folds: Folds,
        messages: dict[str, NDArray[np.float64]],
        kinds: dict[str, MapKind],
        whole: Paths,
        advance: Callable[..., None],
    ) -> _Partition:
        scores = space.scores
        helds = [held for _, held in folds]

        def fitted(rows: NDArray[np.intp], scales: dict[str, float] | None = None) -> Paths:
            paths = Paths.fit(features, values[rows], scores[rows], space.n_components, messages, scales)
            advance()
            return paths

        def left_out(paths: Paths, number: int) -> _LeftOut:
            held = helds[number]
            return _LeftOut.of(paths, values[held], scores[held], space.energy[held].sum())

        def left_out_too(other: int, number: int) -> _LeftOut:
            """The people of another fold, from a fit without them and without this fold's; with these where too few are left."""
            rows = np.setdiff1d(folds[number][0], helds[other])
            # Band scales come from the fit without this fold: a search for every pair would take twice the time.
            return left_out(fitted(rows, fits[number].scales), other) if len(rows) >= FEWEST else single[other]

        fits = [fitted(rows) for rows, _ in folds]
        single = [left_out(paths, number) for number, paths in enumerate(fits)]
        everybody = _Stacked.of(single)
        noise = Noise.of(everybody.real - everybody.predicted)
        priors = {name: MapPrior.of(kind, noise) for name, kind in kinds.items()}
        turned, maps = everybody.maps(noise, priors)
        predictions = np.zeros((1 + len(priors), *scores.shape), np.float32)
        real, agreement, without = np.zeros_like(scores), [], []
        for number, held in enumerate(helds):
            stacked = _Stacked.of([left_out_too(other, number) for other in range(len(helds)) if other != number])
            real[held] = single[number].real
            together = single[number].predicted(stacked.weights)
            own, held_maps = stacked.maps(noise, priors)
            predictions[:, held] = [together, *(together @ own @ effect for effect in held_maps.values())]
            without.append(_Without(fits[number], _weighted(fits[number], stacked.weights), own, list(held_maps.values())))
            agreement.append(Agreement.of(predictions[:, held], real[held], (real[held] ** 2).sum() + space.energy[held].sum()))
        return cls(everybody.agreement, everybody.weights, turned, maps, reduce(add, agreement), predictions, real, tuple(without))

    def combined(self, weights: NDArray[np.float64], whole: Paths) -> NDArray[np.float64]:
        """One map (F + D', D) of the second stack's weights (1 + priors,)."""
        return _combined(weights, _weighted(whole, self.weights), self.turned, list(self.priors.values()))

    def residual(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the second stack's weights leave of people left out, (n, D)."""
        return self.real - np.tensordot(weights, self.predictions, 1)


@dataclass(frozen=True)
class _Without:
    """Both stacks without a fold: the paths, their weighted map (F + D', D), combinations (D, L), and each kind of maps, (L, D)."""

    paths: Paths
    ridges: NDArray[np.float64]
    turned: NDArray[np.float64]
    maps: list[NDArray[np.float64]]

    def model(self, weights: NDArray[np.float64]) -> FoldModel:
        """Put together by the second stack's weights (1 + priors,)."""
        maps = _combined(weights, self.ridges, self.turned, self.maps)
        return FoldModel(self.paths.directions, self.paths.centre, self.paths.average, maps.astype(np.float32))


def _weighted(paths: Paths, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first stack as one map, (F + D', D)."""
    return np.tensordot(weights, np.stack(list(paths.maps.values())), 1)


def _combined(
    weights: NDArray[np.float64], ridges: NDArray[np.float64], turned: NDArray[np.float64], maps: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Both stacks as one map, (F + D', D)."""
    return weights[0] * ridges + ridges @ turned @ np.tensordot(weights[1:], np.stack(maps), 1)


@dataclass(frozen=True)
class _LeftOut:
    """People left out: their features (n, F + D'), the paths' maps (J, F + D', D), the people themselves (n, D), their energy."""

    design: NDArray[np.float32]
    maps: NDArray[np.float32]
    real: NDArray[np.float64]
    energy: float

    @classmethod
    def of(cls, paths: Paths, values: NDArray[np.float64], scores: NDArray[np.float64], outside: float) -> _LeftOut:
        """People with these features and scores; ``outside`` is what energy they have beyond the effect space."""
        real = scores - paths.average
        maps = np.stack([effect.astype(np.float32) for effect in paths.maps.values()])
        return cls(paths.design(values).astype(np.float32), maps, real, float((real**2).sum() + outside))

    def agreement(self) -> Agreement:
        """Of every path with the people."""
        products = (self.design.T @ self.design) @ self.maps
        return Agreement(
            np.array([[float(np.vdot(left, right)) for right in products] for left in self.maps]),
            np.array([float(np.vdot(self.design.T @ self.real.astype(np.float32), effect)) for effect in self.maps]),
            self.energy,
        )

    def predicted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the weighted paths predict, (n, D)."""
        return (self.design @ np.tensordot(weights.astype(np.float32), self.maps, 1)).astype(np.float64)


@dataclass(frozen=True)
class _Stacked:
    """The first stack: agreement, weights (J,), and people left out, (n, D), beside what is predicted for them."""

    agreement: Agreement
    weights: NDArray[np.float64]
    predicted: NDArray[np.float64]
    real: NDArray[np.float64]

    @classmethod
    def of(cls, people: Sequence[_LeftOut]) -> _Stacked:
        """Weigh the paths on people left out."""
        agreement = reduce(add, (some.agreement() for some in people))
        weights = agreement.weights
        predicted = np.concatenate([some.predicted(weights) for some in people])
        return cls(agreement, weights, predicted, np.concatenate([some.real for some in people]))

    def maps(self, noise: Noise, priors: dict[str, MapPrior]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Combinations of phenotypes (D, L) and, for every prior, what each does in the effect space, (L, D)."""
        turned = combinations(self.predicted, noise)
        scores = self.predicted @ turned
        estimate = noise.whitened(np.linalg.lstsq(scores, self.real, rcond=None)[0].astype(np.float64))
        return turned, {name: noise.back(prior.posterior(estimate, len(scores))) for name, prior in priors.items()}

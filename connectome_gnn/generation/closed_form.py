"""The generator's closed-form mean: several ridge paths and messages, stacked by cross-fitted weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.linear import RidgeSystem, band_scales
from connectome_gnn.generation.messages import pass_messages
from connectome_gnn.phenotypes import Encoded

__all__ = ["ClosedForm", "Statistics", "stack_weights"]


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
class ClosedForm:
    """A linear map from profile features, and features derived of them, to standardised edges.

    Parameters
    ----------
    features, directions : how a profile becomes features.
    centre : (F + D,) mean of the features in training people.
    maps : (F + D, kept edges) float32 effect of each feature, in standard deviations of an edge.
    paths : table indexed by path: ``r2`` cross-fitted R2 beyond the mean of the path alone, ``weight`` its share in the stack.
    """

    features: ProfileFeatures
    directions: Directions
    centre: NDArray[np.float64]
    maps: NDArray[np.float32]
    paths: pd.DataFrame

    def design(self, encoded: Encoded) -> NDArray[np.float32]:
        """Centred features (N, F + D) of encoded profiles."""
        values = self.features.transform(encoded)
        return (np.concatenate([values, self.directions.transform(values)], 1) - self.centre).astype(np.float32)

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        scores: NDArray[np.float64],
        space: EdgeSpace,
        cohort: Cohort,
        folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
        neighbours: dict[str, NDArray[np.float32]],
        advance: Callable[..., None] = lambda *_, **__: None,
    ) -> tuple[ClosedForm, NDArray[np.float64]]:
        """Fit every path inside every fold, weigh them on the people left out, and refit on everybody.

        Parameters
        ----------
        features, values : profile features and their values (n, F) for the training people.
        scores, space : the people's components (n, K) and the edge space that they refer to.
        cohort : the training people; their edges are read once, batch by batch.
        folds : inner folds; several partitions may follow one another.
        neighbours : name and (R, R) row-stochastic matrix of each kind of messages; none switches messages off.

        Returns
        -------
        model : ClosedForm.
        residual : (n, K) what the stack leaves of each person's components, predicted from folds without them.
        """
        held_cross = _held_edges(values, space, cohort, folds)
        whole = Statistics.of(values, scores)
        agreements, predictions, names = [], [], []
        for (_, held), edges in zip(folds, held_cross, strict=True):
            out = Statistics.of(values[held], scores[held])
            train = Statistics(*(getattr(whole, name) - getattr(out, name) for name in Statistics.__dataclass_fields__))
            rest = np.setdiff1d(np.arange(len(values)), held)
            paths = _Paths.fit(features, values[rest], scores[rest], train, space, neighbours)
            agreements.append(paths.agreement(values[held], scores[held], edges, space))
            predictions.append(paths.predictions(values[held], space))  # the maps themselves would fill the memory
            names = list(paths.maps)
            advance()
        gram, along = (np.sum(np.stack([agreement[part] for agreement in agreements]), 0) for part in (0, 1))
        energy = sum(agreement[2] for agreement in agreements)
        weights = stack_weights(gram, along)
        r2 = (2 * along - np.diag(gram)) / energy
        table = pd.DataFrame({"r2": r2, "weight": weights}, index=pd.Index(names, name="path"))
        table.loc["all together"] = [(2 * weights @ along - weights @ gram @ weights) / energy, weights.sum()]

        residual, times = np.zeros_like(scores), np.zeros(len(scores))
        for (_, held), (centre, moved) in zip(folds, predictions, strict=True):
            residual[held] += scores[held] - centre - np.tensordot(weights, moved, 1)
            times[held] += 1
        paths = _Paths.fit(features, values, scores, whole, space, neighbours)
        advance()
        model = cls(features, paths.directions, paths.centre, paths.combined(weights), table)
        return model, residual / times[:, None]


@dataclass(frozen=True)
class _Paths:
    """All closed-form paths fitted on one set of people."""

    directions: Directions
    centre: NDArray[np.float64]
    scores: NDArray[np.float64]
    maps: dict[str, NDArray[np.float32]]

    @classmethod
    def fit(
        cls,
        features: ProfileFeatures,
        values: NDArray[np.float64],
        scores: NDArray[np.float64],
        people: Statistics,
        space: EdgeSpace,
        neighbours: dict[str, NDArray[np.float32]],
    ) -> _Paths:
        system, rotation = people.system()
        bands = features.bands
        linear, age = (features.select(terms).astype(np.float64) for terms in ("linear", "age"))
        scales = band_scales(system, bands)
        banded, error = system.solve(scales)
        coefficients = {
            "ridge": system.solve(linear, shared=True)[0],
            "component ridge": system.solve(linear)[0],
            "component ridge with age terms": system.solve(age)[0],
            "banded component ridge": banded,
        }
        directions = Directions.fit(features, values, banded, np.sqrt(np.maximum(error, 1e-12)))
        derived = directions.transform(values)
        n_derived = derived.shape[1]
        wide = Statistics.of(np.concatenate([values, derived], 1), scores)
        extended = wide.regression(rotation, system.total)
        both = extended.solve(
            band_scales(extended, (*bands, *directions.bands), start=np.concatenate([scales, np.full(n_derived, np.nan)]))
        )[0]
        basis = (rotation.T @ space.basis).astype(np.float32)
        maps = {name: np.pad(c, ((0, n_derived), (0, 0))).astype(np.float32) @ basis for name, c in coefficients.items()}
        maps["supervised directions"] = both.astype(np.float32) @ basis
        for kind, step in neighbours.items():
            for name in ("component ridge", "banded component ridge"):
                near = np.zeros_like(maps[name])
                near[: len(bands)] = pass_messages(maps[name][: len(bands)], step, space.kept)
                maps[f"{name}, messages over {kind}"] = near
        return cls(directions, wide.features / wide.n, people.scores / people.n, maps)

    def _design(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values, self.directions.transform(values)], 1) - self.centre

    def agreement(
        self, values: NDArray[np.float64], scores: NDArray[np.float64], edges: tuple[NDArray[np.float32], float], space: EdgeSpace
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Inner products over held-out people: of all paths' predictions, of each with the people, and the people's energy."""
        design = self._design(values)
        n_features = values.shape[1]
        average = self.scores @ space.basis
        cross, energy = edges
        # A'(Y - mean) on edges for the profile's features, on components (all that these paths use) for the derived ones.
        centred = np.empty((design.shape[1], cross.shape[1]), np.float32)
        held_sum, held_mean = cross[-1], values.sum(0) - len(values) * self.centre[:n_features]
        centred[:n_features] = cross[:-1] - np.outer(self.centre[:n_features], held_sum) - np.outer(held_mean, average)
        centred[n_features:] = (design[:, n_features:].T @ (scores - self.scores)) @ space.basis
        products = [(design.T @ design).astype(np.float32) @ effect for effect in self.maps.values()]
        along = np.array([float(np.vdot(effect, centred)) for effect in self.maps.values()])
        gram = np.array([[float(np.vdot(left, right)) for right in products] for left in self.maps.values()])
        total = energy - 2 * float(held_sum @ average) + len(values) * float(average @ average)
        return (gram + gram.T) / 2, along, float(total)

    def predictions(self, values: NDArray[np.float64], space: EdgeSpace) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The mean components (K,), and the deviations from them that each path predicts, (paths, n, K)."""
        design = self._design(values).astype(np.float32)
        return self.scores, np.stack([design @ (effect @ space.basis.T) for effect in self.maps.values()])

    def combined(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """The weighted sum of the paths' maps, (F + D, kept edges)."""
        total = np.zeros_like(next(iter(self.maps.values())))
        for weight, effect in zip(weights, self.maps.values(), strict=True):
            total += np.float32(weight) * effect
        return total


def _held_edges(
    values: NDArray[np.float64], space: EdgeSpace, cohort: Cohort, folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> list[tuple[NDArray[np.float32], float]]:
    """For each fold's held-out people: A'Y with the sum of Y as a last row, (F + 1, kept edges), and the energy of Y."""
    design = np.concatenate([values, np.ones((len(values), 1))], 1).astype(np.float32)
    member = np.zeros((len(folds), len(values)), bool)
    for number, (_, held) in enumerate(folds):
        member[number, held] = True
    cross = [np.zeros((design.shape[1], int(space.kept.sum())), np.float32) for _ in folds]
    energy = np.zeros(len(folds))
    for rows, edges in space.standardised(cohort):
        squares = np.einsum("ne,ne->n", edges, edges, dtype=np.float64)
        for number, chosen in enumerate(member[:, rows]):
            cross[number] += design[rows][chosen].T @ edges[chosen]
            energy[number] += squares[chosen].sum()
    return list(zip(cross, energy.tolist(), strict=True))


def stack_weights(gram: NDArray[np.float64], along: NDArray[np.float64], *, steps: int = 20_000) -> NDArray[np.float64]:
    """Non-negative weights with sum at most 1 that minimise w'Gw - 2 b'w (stacked regressions, Breiman 1996).

    They are the gate: with nothing to gain from a path its weight is 0, and with nothing to gain at all the answer is the
    training mean. Projected gradient descent with Nesterov's momentum.

    Parameters
    ----------
    gram : (J, J) inner products of the paths' cross-fitted predictions.
    along : (J,) inner products of those predictions with the people's deviations.
    """
    step = 1 / max(np.linalg.eigvalsh(gram)[-1], 1e-12)
    weights = np.zeros(len(along))
    ahead, momentum = weights, 1.0
    for _ in range(steps):
        updated = _project(ahead - step * (gram @ ahead - along))
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = updated + (momentum - 1) / faster * (updated - weights)
        if np.abs(updated - weights).max() < 1e-10:
            return updated
        weights, momentum = updated, faster
    return weights


def _project(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest point with non-negative entries and sum at most 1."""
    positive = np.maximum(point, 0)
    if positive.sum() <= 1:
        return positive
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    return np.maximum(point - excess[np.flatnonzero(ordered > excess)[-1]], 0)

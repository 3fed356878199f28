"""The space in which connectomes are modelled: standardised edges and their principal components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["EdgeSpace", "leading_components"]

EXACT_PEOPLE = 600
N_COMPONENTS = 300
OVERSAMPLING = 20
POWER_ITERATIONS = 3


@dataclass(frozen=True)
class EdgeSpace:
    """Edges in units of training people's standard deviation, and an orthonormal basis of their variation.

    Parameters
    ----------
    mean, std : (E,) statistics of training people on the modelling scale.
    presence : (E,) share of training people in whom the edge is not 0.
    kept : (E,) edges that are modelled: present in at least half of the people and not constant.
    basis : (K, kept edges) orthonormal rows, the leading principal components of standardised edges.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    presence: NDArray[np.float32]
    kept: NDArray[np.bool_]
    basis: NDArray[np.float32]

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.basis)

    @classmethod
    def fit(cls, cohort: Cohort, *, n_components: int = N_COMPONENTS, seed: int = 0) -> tuple[EdgeSpace, NDArray[np.float64]]:
        """Learn the space from training people, reading the memory map batch by batch.

        Up to 600 people every component is kept, so that nothing is lost; beyond, the leading ``n_components`` by a randomised
        decomposition (Halko, Martinsson & Tropp 2011, algorithm 4.4).

        Returns
        -------
        space : EdgeSpace.
        scores : (N, K) training people's components.
        """
        mean, std, presence = _statistics(cohort)
        # Float32 rounding of a constant edge's mean is not spread.
        varies = std > np.maximum(1e-6, 1e-6 * np.abs(mean))
        kept = (presence >= 0.5) & varies
        if not kept.any():
            raise ConnectomeError(
                f"cohort {cohort.name!r}: no edge that at least half of the people have differs between people; there is nothing to model"
            )
        bare = cls(mean, std, presence, kept, np.empty((0, int(kept.sum())), np.float32))
        basis = leading_components(bare, cohort, n_components, seed)
        space = cls(mean, std, presence, kept, basis)
        return space, space.scores(cohort)

    def standardised(self, cohort: Cohort) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Slices of rows and their kept edges in standard deviations from the mean, (n, kept edges)."""
        mean, std = self.mean[self.kept], self.std[self.kept]
        everything = self.kept.all()
        for rows, values in cohort.modelled():
            part = values if everything else values[:, self.kept]
            part -= mean
            part /= std
            yield rows, part

    def scores(self, cohort: Cohort) -> NDArray[np.float64]:
        """Components of people's standardised edges, (N, K)."""
        scores = np.empty((cohort.n_people, self.n_components))
        for rows, values in self.standardised(cohort):
            scores[rows] = values @ self.basis.T
        return scores

    def values(self, deviation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of deviations (n, kept edges); edges not modelled stay at their mean."""
        out = np.repeat(self.mean[None], len(deviation), 0)
        out[:, self.kept] += deviation * self.std[self.kept]
        return out


def _statistics(cohort: Cohort) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean, standard deviation and presence of every edge; two passes, so that the variance does not cancel."""
    total, present = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
    for _, values in cohort.modelled():
        total += values.sum(0, dtype=np.float64)
        present += (values != 0).sum(0)
    mean = total / cohort.n_people
    squares = np.zeros(cohort.n_edges)
    for _, values in cohort.modelled():
        values -= mean.astype(np.float32)
        squares += np.einsum("ne,ne->e", values, values, dtype=np.float64)
    std = np.sqrt(squares / cohort.n_people)
    return mean.astype(np.float32), std.astype(np.float32), (present / cohort.n_people).astype(np.float32)


def leading_components(space: EdgeSpace, cohort: Cohort, n_components: int, seed: int) -> NDArray[np.float32]:
    """Principal components (K, kept edges) of a cohort's standardised edges, orthonormal rows, strongest first."""
    n, n_edges = cohort.n_people, int(space.kept.sum())
    if n <= EXACT_PEOPLE:
        gram = np.empty((n, n))
        for left, first in space.standardised(cohort):
            for right, second in space.standardised(cohort):
                gram[left, right] = first @ second.T
        values, vectors = eigh((gram + gram.T) / 2)
        real = np.flatnonzero(values > 1e-5 * values[-1])[::-1]
        directions = vectors[:, real] / np.sqrt(values[real])
        return _oriented(_combine(space, cohort, directions))
    width = min(n_components + OVERSAMPLING, n - 1, n_edges)
    sketch = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
    basis = np.empty((0, 0), np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = qr(_combine(space, cohort, sketch).T, mode="economic", overwrite_a=True, check_finite=False)[0].T
        sketch = np.empty((n, width), np.float32)
        for rows, values in space.standardised(cohort):
            sketch[rows] = values @ basis.T
    values, vectors = eigh(sketch.T.astype(np.float64) @ sketch)
    strongest = vectors[:, ::-1][:, : min(n_components, width)]
    return _oriented((strongest.T @ basis).astype(np.float32))


def _combine(space: EdgeSpace, cohort: Cohort, weights: NDArray) -> NDArray[np.float32]:
    """Weighted sums of people's standardised edges, (columns of weights, kept edges)."""
    out = np.zeros((weights.shape[1], int(space.kept.sum())), np.float32)
    for rows, values in space.standardised(cohort):
        out += weights[rows].T.astype(np.float32) @ values
    return out


def _oriented(basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signs fixed by each component's largest entry, so that they do not depend on the linear-algebra library."""
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], 1)
    return np.ascontiguousarray(basis * np.where(largest < 0, -1, 1).astype(np.float32))

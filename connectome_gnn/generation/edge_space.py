"""The space in which connectomes are modelled: standardised edges and their principal components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr

from connectome_gnn.cohort import BATCH, Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.checkpoint import NO_CHECKPOINT, Checkpoint
from connectome_gnn.generation.scratch import scratch
from connectome_gnn.slices import slices

__all__ = ["EXACT_PEOPLE", "EdgeSpace", "signs"]

EXACT_PEOPLE = 600
N_COMPONENTS = 300
OVERSAMPLING = 20
STATISTICS = "edge statistics"
ITERATIONS = ("edge sums 1", "edge sums 2")


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
    def fit(
        cls, cohort: Cohort, *, n_components: int = N_COMPONENTS, seed: int = 0, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> tuple[EdgeSpace, NDArray]:
        """Learn the space from training people, reading the memory map batch by batch.

        Up to 600 people every component is kept, so that nothing is lost; beyond, the leading ``n_components`` by a randomised block
        Krylov method (Musco & Musco 2015, algorithm 2). The map is read four times from its beginning to its end: statistics come
        together with the first random sums, an iteration is one reading, and the last one gives the people's components too. What is
        held is a batch and 3 (K + 20) sums of all edges, a few times; 3 (K + 20) numbers a person for a while, and K of them in the end,
        lie in a temporary file where they are many. Nothing is of the cohort's size.
        300 components then hold .998 of the variance that exact ones hold (measured, 3,000 people of 64 regions; .980 with as many
        power iterations in place of the Krylov space).

        Parameters
        ----------
        cohort : training people.
        n_components : most components, for more than 600 people.
        seed : of the random sums.
        checkpoint : where each reading's result is stored.

        Returns
        -------
        space : EdgeSpace.
        scores : (N, K) float32 training people's components.

        Raises
        ------
        ConnectomeError
            If no edge can be modelled.
        """
        fitted = checkpoint.stage("edge space", lambda: _fit(cohort, n_components, seed, checkpoint), types=(cls,))
        for stage in (STATISTICS, *ITERATIONS):
            checkpoint.discard(stage)
        return fitted

    def standardised(self, cohort: Cohort) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Slices of rows and their kept edges in standard deviations from the mean, (n, kept edges)."""
        mean, std = self.mean[self.kept], self.std[self.kept]
        everything = self.kept.all()
        for rows, values in cohort.modelled():
            part = values if everything else values[:, self.kept]
            part -= mean
            part /= std
            yield rows, part

    def scores(self, cohort: Cohort) -> NDArray:
        """Components of people's standardised edges, (N, K) float32."""
        scores = scratch((cohort.n_people, self.n_components), np.float32)
        for rows, values in self.standardised(cohort):
            scores[rows] = values @ self.basis.T
        return scores

    def deviation(self, components: NDArray[np.float64]) -> NDArray[np.float32]:
        """Deviations (n, kept edges) from the group mean, in standard deviations of an edge, of components (n, K)."""
        return components.astype(np.float32) @ self.basis

    def values(self, deviation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of deviations (n, kept edges); edges not modelled stay at their mean."""
        out = np.repeat(self.mean[None], len(deviation), 0)
        out[:, self.kept] += deviation * self.std[self.kept]
        return out


def _fit(cohort: Cohort, n_components: int, seed: int, checkpoint: Checkpoint) -> tuple[EdgeSpace, NDArray]:
    n = cohort.n_people
    few = n <= EXACT_PEOPLE
    width = 0 if few else min(n_components + OVERSAMPLING, n - 1, cohort.n_edges)
    mean, std, presence, sums = checkpoint.stage(STATISTICS, lambda: _statistics(cohort, width, np.random.default_rng(seed)))
    # Float32 rounding of a constant edge's mean is not spread.
    varies = std > np.maximum(1e-6, 1e-6 * np.abs(mean))
    kept = (presence >= 0.5) & varies
    if not kept.any():
        raise ConnectomeError(
            f"cohort {cohort.name!r}: no edge that at least half of the people have differs between people; there is nothing to model"
        )
    bare = EdgeSpace(mean, std, presence, kept, np.empty((0, int(kept.sum())), np.float32))
    if few:
        space = replace(bare, basis=_all_components(bare, cohort))
        return space, space.scores(cohort)
    blocks = [_orthonormal(sums[:, kept] / std[kept])]
    del sums
    for stage in ITERATIONS:
        blocks.append(checkpoint.stage(stage, lambda: _orthonormal(_iterated(bare, cohort, blocks[-1]))))
    basis, scores = _leading_components(bare, cohort, _orthonormal(np.concatenate(blocks)), n_components)
    return replace(bare, basis=basis), scores


def _statistics(
    cohort: Cohort, width: int, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean, standard deviation and presence of every edge, (E,) each, and random sums of people's deviations, (width, E).

    One reading: everything is summed around the first batch's mean, so that the variance does not cancel. The random sums stay there:
    the way from that mean to everybody's is one direction of many.
    """
    n = cohort.n_people
    total, squares, present = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
    sums = np.zeros((width, cohort.n_edges), np.float32)
    centre = np.zeros(cohort.n_edges, np.float32)
    for rows, values in cohort.modelled():
        present += (values != 0).sum(0)
        if rows.start == 0:
            centre = values.mean(0, dtype=np.float64).astype(np.float32)
        values -= centre
        total += values.sum(0, dtype=np.float64)
        squares += np.einsum("ne,ne->e", values, values, dtype=np.float64)
        sums += generator.standard_normal((len(values), width)).astype(np.float32).T @ values
    shift = total / n
    mean = (centre + shift).astype(np.float32)
    std = np.sqrt(np.maximum(squares / n - shift**2, 0)).astype(np.float32)
    return mean, std, (present / n).astype(np.float32), sums


def _all_components(space: EdgeSpace, cohort: Cohort) -> NDArray[np.float32]:
    """Every principal component (K, kept edges) of few people's standardised edges, orthonormal rows, strongest first."""
    n = cohort.n_people
    gram = np.empty((n, n))
    for left, first in space.standardised(cohort):
        for right, second in space.standardised(cohort):
            gram[left, right] = first @ second.T
    values, vectors = eigh((gram + gram.T) / 2)
    real = np.flatnonzero(values > 1e-5 * values[-1])[::-1]
    directions = (vectors[:, real] / np.sqrt(values[real])).astype(np.float32)
    basis = np.zeros((len(real), int(space.kept.sum())), np.float32)
    for rows, edges in space.standardised(cohort):
        basis += directions[rows].T @ edges
    return basis * signs(basis)[:, None]


def _iterated(space: EdgeSpace, cohort: Cohort, basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """An iteration in one reading: sums of people's edges (w, kept edges) weighed by their scores on a basis (w, kept edges)."""
    out = np.zeros_like(basis)
    for _, values in space.standardised(cohort):
        out += (values @ basis.T).T @ values
    return out


def _leading_components(
    space: EdgeSpace, cohort: Cohort, basis: NDArray[np.float32], n_components: int
) -> tuple[NDArray[np.float32], NDArray]:
    """Strongest components (K, kept edges) within the span of a basis (w, kept edges), and people's scores on them (N, K)."""
    sketch = scratch((cohort.n_people, len(basis)), np.float32)
    gram = np.zeros((len(basis), len(basis)))
    for rows, values in space.standardised(cohort):
        sketch[rows] = values @ basis.T
        part = sketch[rows].astype(np.float64)
        gram += part.T @ part
    strongest = eigh(gram)[1][:, ::-1][:, :n_components]
    components = strongest.T.astype(np.float32) @ basis
    sign = signs(components)
    strongest *= sign
    scores = scratch((cohort.n_people, len(components)), np.float32)
    for rows in slices(len(sketch), BATCH):
        scores[rows] = sketch[rows] @ strongest
    return components * sign[:, None], scores


def _orthonormal(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """An orthonormal basis, as rows, of the span of rows (w, kept edges)."""
    basis: NDArray[np.float32] = qr(sums.T, mode="economic", check_finite=False)[0].T
    return basis


def signs(basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signs (K,) by which each row's largest entry is positive, of components (K, edges): not the linear-algebra library's."""
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], 1)[:, 0]
    return np.where(largest < 0, -1, 1).astype(np.float32)

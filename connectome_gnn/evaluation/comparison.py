"""A generated cohort beside the real people: rows paired, read in batches, and resampled together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.pairing import check_same_people, rows_by_person
from connectome_gnn.evaluation.people import PersonSums, person_sums
from connectome_gnn.evaluation.reference import ROWS, Reference, modelled

__all__ = ["Comparison", "resamples", "weighted_mean"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A generated cohort beside the real people and the training people: what a score computes from.

    Attributes
    ----------
    generated : the generated cohort.
    real : the real people, one row each.
    reference : statistics of the training people.
    real_rows : (N,) rows of the real people, sorted by participant_id.
    generated_rows : (M, K) rows of the generated people, sorted alike, K samples a person.
    weights : (1 + B, N) how often each real person is drawn: once in the first row, then in B bootstrap resamples.
    generated_weights : (1 + B, M) the same for generated people; ``weights`` itself where both cohorts hold the same people.
    """

    generated: Cohort
    real: Cohort
    reference: Reference
    real_rows: NDArray[np.intp]
    generated_rows: NDArray[np.intp]
    weights: NDArray[np.float32]
    generated_weights: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        generated: Cohort,
        real: Cohort,
        reference: Reference,
        *,
        paired: bool = True,
        n_bootstrap: int = 1000,
        seed: int = 0,
        groups: str | None = None,
        role: str = "generated",
        weights: NDArray[np.float32] | None = None,
    ) -> Comparison:
        """Pair the people of two cohorts of one atlas and measure.

        Parameters
        ----------
        generated, real : Cohort.
        reference : statistics of the training people.
        paired : whether the same people are needed in both; people in only one of the two are then an error.
        n_bootstrap, seed, groups : see :func:`resamples`.
        role : what the generated cohort is to the user, for error messages.
        weights : (1 + B, N) resamples of the real people that another comparison drew; default drawn here.

        Raises
        ------
        ConnectomeError
            If a cohort has fewer than 2 people, real people have several rows, samples are uneven, or people do not match.
        """
        people, real_rows = rows_by_person(real, "real")
        if real_rows.shape[1] > 1:
            raise ConnectomeError(f"real cohort {real.name!r} has {real_rows.shape[1]} rows a person; expected one")
        generated_people, generated_rows = rows_by_person(generated, role)
        if paired:
            check_same_people(generated_people, people, role)
        if weights is None:
            weights = resamples(real, real_rows[:, 0], n_bootstrap, seed, groups)
        same = people.equals(generated_people)
        drawn = weights if same else resamples(generated, generated_rows[:, 0], n_bootstrap, [seed, 1], groups)
        return cls(generated, real, reference, real_rows[:, 0], generated_rows, weights, drawn)

    @property
    def n_people(self) -> int:
        """Number of real people N."""
        return len(self.real_rows)

    @property
    def n_samples(self) -> int:
        """Number of generated connectomes K of each person."""
        return self.generated_rows.shape[1]

    def real_batches(self, edges: NDArray[np.intp] | slice = slice(None)) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Slices of real people and their x on the modelling scale, (n, E), people sorted by participant_id; or some edges of it."""
        for part in self._slices(self.n_people):
            yield part, modelled(self.real, self.real_rows[part], edges)

    def generated_batches(self, edges: NDArray[np.intp] | slice = slice(None)) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Slices of generated people and their samples y on the modelling scale, (n, K, E), sorted alike; or some edges of it."""
        for part in self._slices(len(self.generated_rows)):
            rows = self.generated_rows[part]
            values = modelled(self.generated, rows.ravel(), edges)
            yield part, values.reshape(*rows.shape, values.shape[1])

    def _slices(self, n_people: int) -> Iterator[slice]:
        size = max(ROWS // self.n_samples, 1)
        for start in range(0, n_people, size):
            yield slice(start, min(start + size, n_people))

    @cached_property
    def sums(self) -> PersonSums:
        """Every person's part of the fidelity scores."""
        return person_sums(self)

    @cached_property
    def densities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of all E edges that are not exactly 0: of each real person (N,), of each generated one (M,), samples averaged."""
        return self._densities(self.real, self.real_rows[:, None]), self._densities(self.generated, self.generated_rows)

    def _densities(self, cohort: Cohort, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        shares = [np.count_nonzero(cohort.read(rows[part].ravel()), axis=1) / cohort.n_edges for part in self._slices(len(rows))]
        return np.concatenate(shares).reshape(rows.shape).mean(1)


def resamples(
    cohort: Cohort, rows: NDArray[np.intp], n_bootstrap: int, seed: int | list[int] = 0, groups: str | None = None
) -> NDArray[np.float32]:
    """How often each person is drawn in bootstrap resamples of people, or of units of people who belong together.

    Parameters
    ----------
    cohort : whose people.
    rows : (N,) one row of each person.
    n_bootstrap : number of resamples B.
    seed : seed of the draws.
    groups : column of people who belong together; default ``family_id`` where there is one.

    Returns
    -------
    weights : (1 + B, N); the first row is ones, everybody as they are.
    """
    units = pd.factorize(cohort.units(groups)[rows])[0]
    n_units = int(units.max()) + 1
    if n_units < 2:
        raise ConnectomeError(f"cohort {cohort.name!r} holds a single group of people who belong together; intervals need at least 2")
    generator = np.random.default_rng(seed)
    weights = np.ones((1 + n_bootstrap, len(rows)), np.float32)
    for draw in weights[1:]:
        draw[:] = np.bincount(generator.integers(n_units, size=n_units), minlength=n_units)[units]
    return weights


def weighted_mean(weights: NDArray[np.float32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (N,) values, NaN left out, under each row of (1 + B, N) weights; NaN where nothing is left."""
    defined = np.isfinite(values)
    total = weights @ defined.astype(np.float64)
    return np.divide(weights @ np.where(defined, values, 0), total, out=np.full(len(weights), np.nan), where=total > 0)

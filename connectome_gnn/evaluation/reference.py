"""What every score takes from the training people: their mean, the edges' spread, and how common each edge is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["Reference", "modelled"]

ROWS = 256
"""Connectomes read at a time."""

LEAST_DEVIATION = 1e-6
COMMON = 0.5


@dataclass(frozen=True, eq=False)
class Reference:
    """Training people, as the scores see them; every array on the modelling scale.

    Attributes
    ----------
    cohort : the training people.
    mean : (E,) their mean m.
    deviation : (E,) their standard deviation (population form, divided by the number of people).
    frequency : (E,) share of them who have the edge (weight other than exactly 0).
    """

    cohort: Cohort
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @classmethod
    def of(cls, cohort: Cohort) -> Reference:
        """Statistics of a cohort in one pass over its people (Chan et al. 1983: means and squares merged batch by batch)."""
        if cohort.n_people < 2:
            raise ConnectomeError(f"reference cohort {cohort.name!r} has {cohort.n_people} people; a mean and its spread need at least 2")
        count = 0
        mean, squares, present = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
        for start in range(0, cohort.n_people, ROWS):
            values = modelled(cohort, np.arange(start, min(start + ROWS, cohort.n_people)))
            n, batch_mean = len(values), values.mean(0)
            change = batch_mean - mean
            present += (values != 0).sum(0)
            values -= batch_mean
            squares += np.einsum("ij,ij->j", values, values) + change**2 * (count * n / (count + n))
            mean += change * (n / (count + n))
            count += n
        return cls(cohort, mean, np.sqrt(squares / count), present / count)

    @property
    def common(self) -> NDArray[np.bool_]:
        """(E,) edges that at least half of the training people have and that differ between them (deviation above 1e-6)."""
        return (self.frequency >= COMMON) & (self.deviation > LEAST_DEVIATION)

    @property
    def rare(self) -> NDArray[np.bool_]:
        """(E,) edges that fewer than half of the training people have; they are scored on presence alone."""
        return self.frequency < COMMON


def modelled(cohort: Cohort, rows: NDArray[np.intp], edges: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
    """Some rows of a cohort on the modelling scale, (n, E) or some edges of it, float64; a value that is not finite is an error."""
    values = cohort.scale.forward(cohort.read(rows)[:, edges], np.float64)
    finite = np.isfinite(values).all(1)
    if not finite.all():
        person = cohort.ids[rows[~finite][0]]
        raise ConnectomeError(f"cohort {cohort.name!r}: participant {person!r} has a weight that is not a finite number")
    return values

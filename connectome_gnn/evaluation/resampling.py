"""Resampling people: bootstrap, permutations and random halves, all of which keep people who belong together together."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["generator_for", "halves", "permutations", "resamples", "units_of_rows", "weighted_mean"]


def generator_for(seed: int, name: str) -> np.random.Generator:
    """A random generator of its own for a named purpose: the same for the same seed and name, whatever else is drawn."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def units_of_rows(cohort: Cohort, rows: NDArray[np.intp], groups: str | None = None) -> NDArray[np.intp]:
    """Number of the unit, counted from 0, that each of some rows belongs to, (N,); people of one unit stay together.

    Raises
    ------
    ConnectomeError
        If everybody is of one unit, so that nothing can be resampled.
    """
    units = pd.factorize(cohort.units(groups)[rows])[0]
    if units.max() < 1:
        raise ConnectomeError(f"cohort {cohort.name!r} holds a single group of people who belong together; intervals need at least 2")
    return units


def resamples(units: NDArray[np.intp], n_bootstrap: int, seed: int | list[int] = 0) -> NDArray[np.float32]:
    """How often each person is drawn in bootstrap resamples of units of people.

    Parameters
    ----------
    units : (N,) unit of each person, from 0; everybody's own number where people are independent.
    n_bootstrap : number of resamples B.
    seed : seed of the draws.

    Returns
    -------
    weights : (1 + B, N); the first row is ones, everybody as they are.
    """
    n_units = int(units.max()) + 1
    generator = np.random.default_rng(seed)
    weights = np.ones((1 + n_bootstrap, len(units)), np.float32)
    for draw in weights[1:]:
        draw[:] = np.bincount(generator.integers(n_units, size=n_units), minlength=n_units)[units]
    return weights


def permutations(units: NDArray[np.intp], n_permutations: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """Random orders of people, (P, N): whole units trade places with units of their size, and people within a unit with each other.

    Under the null that a generator knows nothing of the person, generated people in such an order are as good as in their own (Winkler
    et al. 2015, NeuroImage 123:253: exchangeability blocks). A unit of a size of its own stays in place, its people mixed.
    """
    orders = np.empty((n_permutations, len(units)), np.int32)
    sizes = np.bincount(units)[units]
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        blocks = members[np.argsort(units[members], kind="stable")].reshape(-1, size).astype(np.int32)
        for order in orders:
            moved = blocks[generator.permutation(len(blocks))]
            order[blocks] = moved if size == 1 else generator.permuted(moved, axis=1)
    return orders


def halves(units: NDArray[np.intp], generator: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of two random halves of people, sorted: units whole, sizes as equal as units allow (to a person where they are people)."""
    sizes = np.bincount(units)
    chosen = np.zeros((2, len(sizes)), bool)
    # Large units first, each to the smaller half, so that small ones level what is left; a coin decides between equal halves.
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    total = np.zeros(2, int)
    for unit in order:
        side = int(total[1] < total[0]) if total[0] != total[1] else int(generator.integers(2))
        chosen[side, unit] = True
        total[side] += sizes[unit]
    first, second = (np.flatnonzero(side[units]) for side in chosen)
    return first, second


def weighted_mean(weights: NDArray[np.float32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (N,) values, NaN left out, under each row of (1 + B, N) weights; NaN where nothing is left."""
    defined = np.isfinite(values)
    total = weights @ defined.astype(np.float64)
    return np.divide(weights @ np.where(defined, values, 0), total, out=np.full(len(weights), np.nan), where=total > 0)

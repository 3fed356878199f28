"""Who stays together, and who goes into which part of a cohort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError

__all__ = ["Folds", "draw_folds", "draw_part", "strata_of", "units_of"]

Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""Rows in and out of each fold."""

N_BINS = 5
MOST_LEVELS = 10
"""Numbers with more distinct values than this are stratified by fifths."""


def units_of(ids: pd.Index, groups: pd.Series | None = None) -> NDArray[np.intp]:
    """Number of the unit of each row, (N,), counted by first appearance: the rows of a person, and people of one group, are one unit.

    Parameters
    ----------
    ids : (N,) participant_id of every row.
    groups : (N,) group of every row, missing where a person belongs to none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    person = pd.factorize(ids)[0]
    if groups is None:
        return person
    # A person's rows may name several groups: units are the connected components of the graph of people and groups.
    group = pd.factorize(groups)[0]
    named = group >= 0
    n_nodes = person.max() + group.max() + 2
    ties = (np.ones(named.sum()), (person[named], person.max() + 1 + group[named]))
    component = connected_components(coo_array(ties, shape=(n_nodes, n_nodes)), directed=False)[1]
    return pd.factorize(component[person])[0]


def strata_of(values: pd.Series) -> NDArray[np.intp]:
    """Stratum of each row, (N,), -1 where the value is missing: its level, or the fifth that its number lies in."""
    if pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > MOST_LEVELS:
        values = pd.qcut(values, N_BINS, labels=False, duplicates="drop")
    return pd.factorize(values)[0]


def draw_part(
    ids: pd.Index, units: NDArray[np.intp], fraction: float, seed: int, strata: NDArray[np.intp] | None = None
) -> NDArray[np.bool_]:
    """Whether each row belongs to the first of two parts, (N,); units are never divided and neither part is empty.

    Parameters
    ----------
    ids : (N,) participant_id of every row.
    units : (N,) as :func:`units_of` gives them.
    fraction : share of people in the first part, in (0, 1).
    seed : seed of the draw.
    strata : (N,) as :func:`strata_of` gives them: the share is kept in each, to within one person where units are people.

    Raises
    ------
    ConnectomeError
        If the fraction is not between 0 and 1 or there is one unit only.
    """
    if not 0 < fraction < 1:
        raise ConnectomeError(f"a split needs a fraction between 0 and 1, got {fraction}")
    n_units = int(units.max()) + 1
    if n_units < 2:
        raise ConnectomeError("one person or group of people cannot be split; expected at least two")
    generator = np.random.default_rng(seed)
    order = generator.permutation(n_units)
    stratum = np.zeros(n_units, np.intp) if strata is None else strata[np.unique(units, return_index=True)[1]]
    sizes = np.bincount(units[~ids.duplicated()], minlength=n_units)
    chosen = np.zeros(n_units, bool)
    due = 0.0
    # From each stratum, in its random order, as many as come nearest to what is due; what is left over is due from the next stratum.
    for value in generator.permutation(np.unique(stratum)):
        members = order[stratum[order] == value]
        people = np.append(0, np.cumsum(sizes[members]))
        due += fraction * people[-1]
        n_chosen = np.abs(people - due).argmin()
        chosen[members[:n_chosen]] = True
        due -= people[n_chosen]
    if chosen.all() or not chosen.any():
        chosen[order[-1]] = not chosen[order[-1]]
    return chosen[units]


def draw_folds(units: NDArray[np.intp], k: int, seed: int) -> NDArray[np.intp]:
    """Fold of each row, (N,), from 0 to ``k`` - 1, with equally many units in each to within one.

    Raises
    ------
    ConnectomeError
        If ``k`` is below 2 or above the number of units.
    """
    n_units = int(units.max()) + 1
    if not 2 <= k <= n_units:
        raise ConnectomeError(f"expected between 2 and {n_units} folds for {n_units} people or groups of people, got {k}")
    return (np.random.default_rng(seed).permutation(n_units) % k)[units]

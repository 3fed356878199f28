"""Are the measures of two cohorts distributed alike? Beside it, how alike two halves of one cohort are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.sorting import sort_ascending
from connectome_gnn.topology.table import TopologyTable

__all__ = ["compare"]

N_SPLITS = 10
MOST_IN_A_HALF = 1000
"""People of a half at most: enough to know what chance does, and quick for large cohorts."""


def compare(table: TopologyTable, other: TopologyTable, *, n_splits: int = N_SPLITS, seed: int = 0) -> pd.DataFrame:
    """Kolmogorov-Smirnov and energy distance between two cohorts, measure by measure, and between halves of the second.

    Regions (and edges) each have their own distribution over people: the mean over regions is given. Values that are not defined are left
    out. Distances shrink as people grow more, so that only those of one size compare: ``_half`` against ``_split_half``.

    Parameters
    ----------
    table : measures of one cohort, as generated people.
    other : the same measures of the cohort to compare with, as real people; the same regions.
    n_splits : random halves of ``other`` that are averaged; a person's rows (samples, sessions) stay in one half.
    seed : of the halves.

    Returns
    -------
    distances : indexed by measure: level; ks and energy, all people; ks_half and energy_half, as many people of ``table`` as a half of
        ``other`` has, against that half; ks_split_half and energy_split_half, the two halves of ``other`` against each other.
        Kolmogorov-Smirnov is between 0 and 1. Energy distance is that of scipy ``energy_distance`` on values in units of ``other``'s
        standard deviation; NaN where ``other``'s people do not differ. Half columns are NaN with fewer than 4 people.

    Raises
    ------
    ConnectomeError
        If the tables share no measure or are of different regions.

    References
    ----------
    Szekely & Rizzo 2013, J. Stat. Planning and Inference 143:1249.
    """
    if table.regions != other.regions:
        raise ConnectomeError(
            f"tables of different regions cannot be compared: {len(table.regions)} ({table.regions[0]!r}, ...) "
            f"and {len(other.regions)} ({other.regions[0]!r}, ...)"
        )
    names = [name for name in table if name in other]
    if not names:
        raise ConnectomeError(f"the tables share no measure: {', '.join(table)} and {', '.join(other)}")
    splits = _splits(table, other, n_splits, np.random.default_rng(seed))
    rows = [{"measure": name, "level": table.levels[name], **_compare(table[name], other[name], splits)} for name in names]
    return pd.DataFrame(rows).set_index("measure")


Split = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def _splits(table: TopologyTable, other: TopologyTable, n_splits: int, generator: np.random.Generator) -> list[Split]:
    """Rows of ``table`` and of two halves of ``other``, as many people each."""
    first, second = _rows_by_person(table), _rows_by_person(other)
    size = min(len(second) // 2, len(first), MOST_IN_A_HALF)
    if size < 2:
        return []
    splits = []
    for _ in range(n_splits):
        drawn = generator.permutation(len(first))[:size]
        halves = generator.permutation(len(second))
        rows = ([first[k] for k in drawn], [second[k] for k in halves[:size]], [second[k] for k in halves[size : 2 * size]])
        one, half, rest = (np.concatenate(part) for part in rows)
        splits.append((one, half, rest))
    return splits


def _rows_by_person(table: TopologyTable) -> list[NDArray[np.intp]]:
    person = pd.factorize(table.people.get_level_values(0))[0]
    order = np.argsort(person, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(person[order])) + 1)


def _compare(values: NDArray, others: NDArray, splits: list[Split]) -> dict[str, float]:
    x = np.ascontiguousarray(values.reshape(len(values), -1).T, dtype=np.float64)
    y = np.ascontiguousarray(others.reshape(len(others), -1).T, dtype=np.float64)
    halves = [(x[:, one], y[:, half], y[:, rest]) for one, half, rest in splits]
    matched = [_mean_distances(one, half, y) for one, half, _ in halves]
    chance = [_mean_distances(rest, half, y) for _, half, rest in halves]
    found: dict[str, float] = {}
    for suffix, pairs in (("", [_mean_distances(x, y, y)]), ("_half", matched), ("_split_half", chance)):
        ks, energy = np.mean(pairs, 0) if pairs else (np.nan, np.nan)
        found |= {f"ks{suffix}": float(ks), f"energy{suffix}": float(energy)}
    return found


@njit(cache=True, nogil=True)
def _mean_distances(x: NDArray[np.float64], y: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over rows of the two distances between the values of (rows, n) and (rows, m), energy in the reference's standard deviations."""
    ks, energy, n_ks, n_energy = 0.0, 0.0, 0, 0
    for row in range(len(x)):
        a, b, scale = x[row], y[row], reference[row]
        a, b, scale = a[~np.isnan(a)], b[~np.isnan(b)], scale[~np.isnan(scale)]
        sort_ascending(a)
        sort_ascending(b)
        if len(a) == 0 or len(b) == 0:
            continue
        largest, area = _between(a, b)
        ks += largest
        n_ks += 1
        deviation = np.sqrt(((scale - scale.mean()) ** 2).sum() / max(len(scale) - 1, 1))
        if deviation > 1e-12 * np.abs(scale).max():
            energy += np.sqrt(2 * area / deviation)
            n_energy += 1
    return ks / n_ks if n_ks else np.nan, energy / n_energy if n_energy else np.nan


@njit(cache=True, nogil=True)
def _between(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Largest difference of two distribution functions, and the integral of its square; values sorted."""
    i, j, largest, area, before, gap = 0, 0, 0.0, 0.0, 0.0, 0.0
    while i < len(a) or j < len(b):
        value = a[i] if j == len(b) or (i < len(a) and a[i] <= b[j]) else b[j]
        if i + j:
            area += gap * gap * (value - before)
        while i < len(a) and a[i] == value:
            i += 1
        while j < len(b) and b[j] == value:
            j += 1
        gap = i / len(a) - j / len(b)
        largest = max(largest, abs(gap))
        before = value
    return largest, area

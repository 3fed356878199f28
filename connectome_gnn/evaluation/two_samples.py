"""Kolmogorov-Smirnov and energy distance of many features at once: plain functions of arrays.

Both are read off the difference ``D(t) = F(t) - G(t)`` of two distribution functions: ``max |D|`` and ``sqrt(2 integral D^2 dt)``. Values
are sorted once; the cohorts themselves, permutations, resamples and halves are row weights (:mod:`~connectome_gnn.evaluation.signed_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from connectome_gnn.evaluation.inversion import confidence_draws

__all__ = ["Distances", "distances", "drawn_distances", "resampled_means"]

FEATURES_AT_ONCE = 128
DRAWS_AT_ONCE = 256
TIES, NOTHING = 1e-5, 1e-7
"""Distances of permutations are computed in float32: one this share, or this much, below the observed distance counts as equal to it."""

FAST = {"nsz", "arcp", "contract", "reassoc"}
FIRST_LOOK, LOOK = 100, 250
COARSE, FINE, AGAIN = 9, 6, 8
LEAST_KEPT = 0.25
REACH = 3.5

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of F features under D row weights: first Kolmogorov-Smirnov, then energy.

    Attributes
    ----------
    means : (2, D) means over features; of the energy distance over features whose unit is above 0.
    apart : (2,) variance over the D that the means would have if features varied independently of each other.
    at_least : (2, F) how many of the D reach the observed distance.
    """

    means: NDArray[np.float64]
    apart: NDArray[np.float64]
    at_least: NDArray[np.int64]


def distances(values: NDArray, signed: NDArray[np.float64], unit: NDArray[np.float64]) -> Pair:
    """Kolmogorov-Smirnov and energy distance of each feature, in float64.

    Parameters
    ----------
    values : (F, n) values of n rows; equal values (zeros) are atoms, NaN is an atom of its own above all numbers.
    signed : (n,) weight of every row: those of one sample positive with sum 1, those of the other negative with sum -1; others 0.
    unit : (F,) values are divided by this for the energy distance; 0 = undefined.

    Returns
    -------
    ks : (F,) in [0, 1]. Equals scipy ``ks_2samp(...).statistic``.
    energy : (F,) 0 upwards; NaN where the unit is 0. Equals scipy ``energy_distance`` of the values divided by their unit.

    References
    ----------
    Szekely & Rizzo 2013, J. Stat. Planning and Inference 143:1249.
    """
    ks, area = np.empty(len(values)), np.empty(len(values))
    for start in range(0, len(values), FEATURES_AT_ONCE):
        part = slice(start, start + FEATURES_AT_ONCE)
        block = np.ascontiguousarray(values[part])
        ks[part], area[part] = _observed(block, np.argsort(block, axis=1), signed)
    return ks, np.sqrt(np.divide(2 * area, unit, out=np.full(len(unit), np.nan), where=unit > 0))


def drawn_distances(
    values: NDArray[np.float32],
    signed: NDArray[np.float32],
    unit: NDArray[np.float64],
    observed: Pair | None = None,
    *,
    shift: NDArray[np.float32] | None = None,
    n_jobs: int = 1,
) -> Distances:
    """The same under many row weights at once, in float32.

    Parameters
    ----------
    values : (F, n).
    signed : (n, D) row weights of D draws.
    unit : (F,).
    observed : distances that the draws are compared with, (F,) each.
    shift : (F, n) added to each draw's D, in the order of the sorted values.
    n_jobs : number of threads.
    """
    blocks = [slice(a, b) for a, b in pairwise([*range(0, len(values), FEATURES_AT_ONCE), len(values)])]
    draws = [np.ascontiguousarray(part) for part in np.array_split(signed, max(-(-signed.shape[1] // DRAWS_AT_ONCE), 1), axis=1)]
    least = [np.full(len(values), np.inf)] * 2 if observed is None else observed

    def of(block: slice) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        part = np.ascontiguousarray(values[block], np.float32)
        order = np.argsort(part, axis=1).astype(np.int32)
        sums, at_least = np.zeros((2, signed.shape[1])), np.zeros((2, len(part)), np.int64)
        moments = np.zeros((2, 2, len(part)))
        found = np.stack([distance[block] * (1 - TIES) - NOTHING for distance in least]).astype(np.float32)
        added = np.zeros((1, part.shape[1]), np.float32) if shift is None else shift[block]
        done = 0
        for draw in draws:
            _drawn(part, order, draw, added, unit[block], found, sums[:, done : done + draw.shape[1]], moments, at_least)
            done += draw.shape[1]
        return sums, moments, at_least

    results = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(of)(block) for block in blocks)
    total = np.sum([sums for sums, _, _ in results], 0)
    first, second = np.concatenate([moments for _, moments, _ in results], 2).swapaxes(0, 1) / signed.shape[1]
    defined = np.array([[len(values)], [max(int((unit > 0).sum()), 1)]])
    apart = (second - first**2).sum(1) / defined[:, 0] ** 2
    return Distances(total / defined, apart, np.concatenate([counts for _, _, counts in results], 1))


def resampled_means(
    values: NDArray[np.float32],
    signed: NDArray[np.float64],
    noise: NDArray[np.float32],
    unit: NDArray[np.float64],
    *,
    stretch: NDArray[np.float64] | None = None,
    mixed: NDArray[np.float32] | None = None,
    n_jobs: int = 1,
) -> NDArray[np.float64]:
    """Draws whose percentiles hold the expected mean distance of cohorts of these sizes.

    A distance between finite cohorts is never 0: its expectation has a floor, and a bootstrap, which adds noise to noise, lies above it.
    So the expectation is found by inverting a test. Let true differences be c times a smooth shape (the observed D of each feature, on its
    parts that a shift and a change of spread make), and add the noise of a resample: this gives the distribution of the mean distance for
    every c, c = 0 being two cohorts that do not differ. The expectation at c is inside the interval if the observed mean distance is no
    surprise at c; below the floor the noise at c = 0 is reflected.

    Two things make resamples vary too much, and are taken off the variance: the noise in the shape itself (seen by adding noise to it once
    more), and features that seem to vary together for want of people (seen in features whose people were mixed, which do not).

    Parameters
    ----------
    values : (F, n).
    signed : (n,) row weights of the cohorts as they are.
    noise : (n, B) what resamples change in them (:meth:`~connectome_gnn.evaluation.signed_rows.Labels.resampled`).
    unit : (F,).
    stretch : (B,) what the energy distance of each resample is multiplied by for its unit, which is resampled too; default 1.
    mixed : (F, n) the values, people mixed in each feature on their own; default: features are not taken to seem to vary together.
    n_jobs : number of threads.

    Returns
    -------
    draws : (2, B) of the mean Kolmogorov-Smirnov and the mean energy distance.
    """
    found = np.array([np.nanmean(distance) if np.isfinite(distance).any() else np.nan for distance in distances(values, signed, unit)])
    shape = _smooth_difference(values, signed)
    stretched = np.ones((2, noise.shape[1]))
    if stretch is not None:
        stretched[1] = stretch

    def drawn(draws: NDArray[np.float32], shift: NDArray[np.float32], of: NDArray[np.float32] = values) -> Distances:
        return drawn_distances(of, draws, unit, shift=shift, n_jobs=n_jobs)

    first, more = (np.ascontiguousarray(noise[:, :number]) for number in (FIRST_LOOK, LOOK))
    floor = float(drawn(first, 0 * shape).means[0].mean())
    height = float(np.abs(shape).max(1).mean())
    if not (floor > 0 and height > 0):
        return np.repeat(found[:, None], noise.shape[1], 1)
    scale = np.float32(floor / height)
    coarse = np.linspace(0, found[0] / floor + 2, COARSE, dtype=np.float32)
    look = np.stack([drawn(first, c * scale * shape).means for c in coarse])
    best = coarse[np.abs(look[:, 0].mean(1) - found[0]).argmin()] * scale
    along = drawn(noise, best * shape).means
    again = [drawn(first, best * _smooth_difference(values, signed + noise[:, b])).means.var(1) for b in range(min(AGAIN, noise.shape[1]))]
    spurious = np.mean(again, 0) - along.var(1)
    if mixed is not None:
        unrelated = drawn(more, best * shape, mixed)
        spurious += np.maximum(unrelated.means.var(1) - unrelated.apart, 0)
    kept = np.sqrt(np.clip(1 - spurious / np.maximum(along.var(1), 1e-30), LEAST_KEPT, 1))
    draws = np.empty((2, noise.shape[1]))
    for which in range(2):
        means = np.maximum.accumulate(look[:, which].mean(1))
        reach = REACH * look[int(np.abs(means - found[which]).argmin()), which].std()
        low, high = (float(np.interp(found[which] + sign * reach, means, coarse)) for sign in (-1, 1))
        fine = np.stack([drawn(more, np.float32(c) * scale * shape).means[which] for c in np.linspace(low, high, FINE)])
        # Around its own expectation everything is narrowed, then the unit's noise is put on top.
        fine = fine.mean(1, keepdims=True) + kept[which] * (fine - fine.mean(1, keepdims=True))
        of_resamples = along[which].mean() + kept[which] * (along[which] - along[which].mean())
        draws[which] = confidence_draws(float(found[which]), fine * stretched[which, : fine.shape[1]], of_resamples * stretched[which])
    return draws


def _smooth_difference(values: NDArray[np.float32], signed: NDArray[np.float64]) -> NDArray[np.float32]:
    """(F, n) part of each feature's D, in the order of the sorted values, that a shift or a change of spread would make."""
    n = values.shape[1]
    z = ndtri((np.arange(n) + 1) / (n + 1))
    shapes = np.stack([np.exp(-z * z / 2), z * np.exp(-z * z / 2)])
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    difference = np.cumsum(signed[np.argsort(values, axis=1)], axis=1)
    return np.asarray(difference @ shapes.T @ shapes, np.float32)


@njit(cache=True, nogil=True)
def _observed(values: NDArray, order: NDArray[np.int64], signed: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    n_features, n = values.shape
    ks, area = np.zeros(n_features), np.zeros(n_features)
    for f in range(n_features):
        total, largest, integral = 0.0, 0.0, 0.0
        for i in range(n - 1):
            row, following = order[f, i], order[f, i + 1]
            total += signed[row]
            before, after = np.float64(values[f, row]), np.float64(values[f, following])
            if np.isnan(before) or before == after:
                continue
            largest = max(largest, abs(total))
            if not np.isnan(after):
                integral += total * total * (after - before)
        ks[f], area[f] = largest, integral
    return ks, area


@njit(cache=True, nogil=True, fastmath=FAST)
def _drawn(
    values: NDArray[np.float32],
    order: NDArray[np.int32],
    signed: NDArray[np.float32],
    shift: NDArray[np.float32],
    unit: NDArray[np.float64],
    observed: NDArray[np.float32],
    sums: NDArray[np.float64],
    moments: NDArray[np.float64],
    at_least: NDArray[np.int64],
) -> None:
    """Adds every draw's distances to ``sums`` (2, D), they and their squares to ``moments`` (2, 2, F), and to ``at_least`` (2, F) how many
    reach the observed ones (2, F)."""
    n_features, n = values.shape
    n_draws = signed.shape[1]
    total, largest, integral = np.empty(n_draws, np.float32), np.empty(n_draws, np.float32), np.empty(n_draws, np.float32)
    for f in range(n_features):
        total[:], largest[:], integral[:] = 0, 0, 0
        added = shift[min(f, len(shift) - 1)]
        for i in range(n - 1):
            row, following = order[f, i], order[f, i + 1]
            for d in range(n_draws):
                total[d] += signed[row, d]
            before, after = values[f, row], values[f, following]
            if np.isnan(before) or before == after:
                continue
            gap = np.float32(0) if np.isnan(after) else after - before
            for d in range(n_draws):
                size = abs(total[d] + added[i])
                largest[d] = max(largest[d], size)
                integral[d] += size * size * gap
        for d in range(n_draws):
            sums[0, d] += largest[d]
            moments[0, 0, f] += largest[d]
            moments[0, 1, f] += largest[d] * largest[d]
            at_least[0, f] += largest[d] >= observed[0, f]
            if unit[f] > 0:
                energy = np.sqrt(2 * integral[d] / np.float32(unit[f]))
                sums[1, d] += energy
                moments[1, 0, f] += energy
                moments[1, 1, f] += energy * energy
                at_least[1, f] += energy >= observed[1, f]

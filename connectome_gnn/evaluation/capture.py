"""Capture: do generated connectomes differ between people where, and as, real ones do?

For each edge, region or global measure, Pearson r across people between generated and real (Liu et al. 2025, Medical Image Analysis
103761), pooled over edges or regions by ``tanh(mean(atanh r))``. It is a correlation: its square, not itself, is a share of variance.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices
from connectome_gnn.evaluation.ceilings import CeilingScore, pooled_ceiling
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.resampling import permutations
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.sides import level_of
from connectome_gnn.evaluation.statistics import MOST_R, benjamini_hochberg, permutation_p, pooled_r
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices

__all__ = ["CaptureEdges", "CaptureMeasure", "Captured", "captured"]

PEOPLE_AT_ONCE, ORDERS_AT_ONCE = 32, 1000
"""People over whom so many permutations pass in turn: their x, and the sums of the permutations, stay in a core's caches."""

WIDTH = 128
"""Columns whose permutations are computed together: everybody's values of that many, twice, stay in a core's cache."""

COLUMNS_AT_ONCE = 2048
"""Columns whose values, and whose resamples, are held in memory together."""

CONSTANT = 1e-12
"""A column whose standard deviation is below this share of its largest value does not vary between people."""

MOST_TESTED_R = np.float32(0.999)
"""Correlations are tested as if no larger than this, of people as they are and permuted alike: an edge that few people have can reach 1 by
chance, and nothing that float32 rounds away must decide what it then weighs."""

ROUNDING, POOLED_ROUNDING = np.float32(1e-6), 1e-5


@dataclass(frozen=True, eq=False)
class Captured:
    """Correlations across people of C columns (edges, regions, or one measure), and of all of them pooled.

    Attributes
    ----------
    r : (C,) NaN where real or generated people do not differ.
    p : (C,) share of permutations of people, one-sided, with at least that r; NaN without permutations.
    pooled : (1 + B,) pooled r, then in each bootstrap resample of people.
    null : (P,) pooled r in each permutation, no single r taken for more than .999.
    """

    r: NDArray[np.float64]
    p: NDArray[np.float64]
    pooled: NDArray[np.float64]
    null: NDArray[np.float64]

    @property
    def tested(self) -> float:
        """Pooled r as in the permutations."""
        return float(pooled_r(np.clip(self.r, -MOST_TESTED_R, MOST_TESTED_R)))

    @property
    def q(self) -> NDArray[np.float64]:
        """(C,) false discovery rates, from p."""
        return benjamini_hochberg(self.p)


class _Capture(CeilingScore):
    """What captures share: a matrix of values of real people and one of generated people, and everything computed from the two."""

    nothing_varies = ""

    def own(self, comparison: Comparison) -> Estimate:
        """Pooled r with its permutation p and bootstrap interval; r, p and q of every column in the details."""
        found, n = self.found(comparison)
        table = self.columns(comparison)
        details = None if table is None else table.assign(r=found.r, p=found.p, q=found.q)
        if not np.isfinite(found.r).any():
            return replace(Estimate.undefined(self.nothing_varies, null=0.0), details=details)
        p = float(permutation_p(found.tested - POOLED_ROUNDING, found.null)) if len(found.null) else float("nan")
        return Estimate(found.pooled, n, 0.0, p=p, details=details)

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """Pooled correlation of a scan with what it measures (:func:`~connectome_gnn.evaluation.ceilings.pooled_ceiling`)."""
        found, n = self.found(comparison)
        return pooled_ceiling(found.r, found.pooled, n)

    @abstractmethod
    def found(self, comparison: Comparison) -> tuple[Captured, int]:
        """Correlations of every column, and the number of people they rest on."""

    @abstractmethod
    def columns(self, comparison: Comparison) -> pd.DataFrame | None:
        """What each column is: one row a column; None for a single one."""


class CaptureEdges(_Capture):
    """Correlation across people between generated and real weight of an edge, pooled over edges.

    ``tanh(mean_e atanh r_e)``, ``r_e = r(x_.e, y_.e)`` over the N people, modelling scale, over all edges on which both real and
    generated people differ (``details`` has every edge, NaN where they do not). Shape: one number. Range: -1 to 1; the null is 0, whatever
    the group mean.
    p: one-sided, people permuted, units whole (no single r counts for more than .999 in it); per edge p and Benjamini-Hochberg q in the
    details. Interval: bootstrap over people.
    Samples: the mean of a person's K samples is compared.
    Ceiling of a second scan: :func:`~connectome_gnn.evaluation.ceilings.pooled_ceiling`.
    Source: Liu et al. 2025, Medical Image Analysis 103761; pooling: Silver & Dunlap 1987, J. Appl. Psychol. 72:146.
    """

    name = "capture_edge_weight"
    nothing_varies = "on no edge do both real and generated people differ from each other"

    def found(self, comparison: Comparison) -> tuple[Captured, int]:
        """Correlations of every edge."""
        n_edges = comparison.real.n_edges

        def blocks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
            for edges in slices(n_edges, COLUMNS_AT_ONCE):
                yield comparison.real_values(edges, np.float64), comparison.generated_means(edges, np.float64)

        return captured(blocks(), n_edges, comparison.weights, comparison.permutations, comparison.n_jobs), comparison.n_people

    def columns(self, comparison: Comparison) -> pd.DataFrame:
        """The two regions of every edge."""
        rows, columns = edge_indices(comparison.real.n_regions)
        labels = np.asarray(comparison.real.atlas.labels)
        return pd.DataFrame({"region": labels[rows], "other_region": labels[columns]})


class CaptureMeasure(_Capture):
    """Correlation across people between a topology measure of generated and of real connectomes; pooled over regions where it is nodal.

    ``r(x, y)`` of a global measure; ``tanh(mean_i atanh r_i)`` over regions i of a nodal one. Shape: one number. Range: -1 to 1; the null
    is 0. p and interval as of :class:`CaptureEdges`; p and q of every region in the details.
    Samples: y is the mean over a person's K samples of the measure, never the measure of their mean; undefined for expected connectomes.
    People of whom a global measure is undefined are left out (``n``), regions in which a nodal one is undefined of anybody too.
    Source: Liu et al. 2025, Medical Image Analysis 103761.
    """

    topology = True

    def __init__(self, measure: str) -> None:
        self.measure = measure
        self.name = f"capture_{measure}"
        self.nothing_varies = f"real or generated people do not differ in {measure}"

    def found(self, comparison: Comparison) -> tuple[Captured, int]:
        """Correlations of every region, or of the one measure."""
        x, y = measured(comparison, self.measure)
        weights, orders = comparison.weights, comparison.permutations
        known = np.isfinite(x).all(1) & np.isfinite(y).all(1)
        if level_of(self.measure) == "global" and not known.all():
            x, y, weights = x[known], y[known], weights[:, known]
            orders = permutations(comparison.units[known], len(orders), comparison.rng(self.name))
        return captured([(x, y)], x.shape[1], weights, orders, comparison.n_jobs), len(x)

    def columns(self, comparison: Comparison) -> pd.DataFrame | None:
        """The regions of a nodal measure."""
        return None if level_of(self.measure) == "global" else pd.DataFrame({"region": comparison.real.atlas.labels})


def measured(comparison: Comparison, measure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A measure of real people and its mean over samples of generated ones, (N, 1) or (N, R) each."""
    sides = comparison.topology
    x, samples = sides.real[measure].astype(np.float64), sides.generated[measure].astype(np.float64)
    known = np.isfinite(samples)
    number = known.sum(1)
    y = np.divide(np.where(known, samples, 0).sum(1), number, out=np.full(number.shape, np.nan), where=number > 0)
    return x.reshape(len(x), -1), y.reshape(len(y), -1)


def captured(blocks: Any, n_columns: int, weights: NDArray[np.float32], orders: NDArray[np.int32], n_jobs: int = 1) -> Captured:
    """Correlations across people, column by column and pooled, with their resamples and permutations.

    Parameters
    ----------
    blocks : pairs of (N, c) values of real people and of generated ones; C columns in all. Read once.
    n_columns : C.
    weights : (1 + B, N) how often each person is drawn.
    orders : (P, N) permutations of people.
    n_jobs : threads.
    """
    r, p = np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    drawn, drawn_of = np.zeros(len(weights)), np.zeros(len(weights))
    null, used, done = np.zeros(len(orders)), 0, 0
    with progress("Correlating across people", n_columns) as advance:
        for real, generated in blocks:
            here = slice(done, done + real.shape[1])
            x, y = _standardised(real), _standardised(generated)
            r[here] = np.einsum("ij,ij->j", x, y)
            defined = np.isfinite(r[here])
            x_single, y_single = (np.ascontiguousarray(side[:, defined], np.float32) for side in (x, y))
            z, number = _resampled(x_single, y_single, weights)
            drawn += z
            drawn_of += number
            if len(orders):
                z, above = _permuted(x_single, y_single, r[here][defined].astype(np.float32), orders, n_jobs)
                null += z
                p[here.start + np.flatnonzero(defined)] = (1 + above) / (1 + len(orders))
            used += int(defined.sum())
            done += len(defined)
            advance(len(defined))
    pooled = np.tanh(np.divide(drawn, drawn_of, out=np.full(len(weights), np.nan), where=drawn_of > 0))
    pooled[0] = pooled_r(r)
    return Captured(r, p, pooled, np.tanh(null / max(used, 1)) if used else np.empty(0))


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns centred, of length 1; NaN where people do not differ or one of them has no value."""
    largest = np.abs(values).max(0)
    centred = values - values.mean(0)
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    varies = length > CONSTANT * largest * np.sqrt(len(values))  # NaN compares false
    return centred / np.where(varies, length, np.nan)


def _resampled(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over columns of Fisher z in every resample, and the number of columns that vary in it, (1 + B,) each."""
    share = weights / weights.sum(1, keepdims=True)
    scale = np.float32(np.sqrt(len(x)))
    x, y = x * scale, y * scale
    mean_x, mean_y = share @ x, share @ y
    covariance = share @ (x * y) - mean_x * mean_y
    variances = (share @ x**2 - mean_x**2) * (share @ y**2 - mean_y**2)
    varies = variances > ROUNDING
    r = np.divide(covariance, np.sqrt(np.where(varies, variances, 1)), out=np.zeros_like(covariance), where=varies)
    z = np.arctanh(np.clip(r, -np.float32(MOST_R), np.float32(MOST_R)))
    return z.sum(1, dtype=np.float64), varies.sum(1).astype(np.float64)


def _permuted(
    x: NDArray[np.float32], y: NDArray[np.float32], r: NDArray[np.float32], orders: NDArray[np.int32], n_jobs: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sum over columns of Fisher z in every permutation (P,), and in how many permutations each column reaches its r (c,)."""
    n_columns = x.shape[1]
    width = -(-n_columns // WIDTH) * WIDTH
    padded = [np.zeros((len(x), width), np.float32) for _ in range(2)]
    for whole, side in zip(padded, (x, y), strict=True):
        whole[:, :n_columns] = side
    least = np.full(width, 2, np.float32)  # no correlation reaches that
    least[:n_columns] = r - ROUNDING

    def one(start: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        columns = slice(start, start + WIDTH)
        z, above = np.zeros(len(orders)), np.zeros(WIDTH, np.intp)
        x_columns, y_columns = (np.ascontiguousarray(side[:, columns]) for side in padded)
        for first in range(0, len(orders), ORDERS_AT_ONCE):
            some = slice(first, first + ORDERS_AT_ONCE)
            _permuted_columns(x_columns, y_columns, least[columns], orders[some], z[some], above)
        return z, above

    parts = joblib.Parallel(n_jobs=n_jobs, prefer="threads")(joblib.delayed(one)(start) for start in range(0, width, WIDTH))
    if not parts:
        return np.zeros(len(orders)), np.empty(0, np.intp)
    return np.sum([z for z, _ in parts], 0), np.concatenate([above for _, above in parts])[:n_columns]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _permuted_columns(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    least: NDArray[np.float32],
    orders: NDArray[np.int32],
    z: NDArray[np.float64],
    above: NDArray[np.intp],
) -> None:
    """Correlations of WIDTH columns in every permutation, summed up; x, y (N, WIDTH) of length 1, the rest as in :func:`_permuted`."""
    # A few people's x stay in the fastest cache while every permutation passes over them, four people at once.
    sums = np.zeros((len(orders), WIDTH), np.float32)
    n = len(x)
    for start in range(0, n, PEOPLE_AT_ONCE):
        stop = min(start + PEOPLE_AT_ONCE, n)
        whole = stop - (stop - start) % 4
        for p in range(len(orders)):
            total = sums[p]
            for i in range(start, whole, 4):
                first, second, third, fourth = orders[p, i], orders[p, i + 1], orders[p, i + 2], orders[p, i + 3]
                for c in range(WIDTH):
                    total[c] += x[i, c] * y[first, c] + x[i + 1, c] * y[second, c] + x[i + 2, c] * y[third, c] + x[i + 3, c] * y[fourth, c]
            for i in range(whole, stop):
                row = orders[p, i]
                for c in range(WIDTH):
                    total[c] += x[i, c] * y[row, c]
    for p in range(len(orders)):
        fisher = 0.0
        for c in range(WIDTH):
            above[c] += sums[p, c] >= least[c]
            fisher += np.arctanh(min(max(sums[p, c], -MOST_TESTED_R), MOST_TESTED_R))
        z[p] += fisher

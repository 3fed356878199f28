"""Scores of single edges and measures: is each distributed in generated people as in real ones?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.evaluation.signed_rows import Labels
from connectome_gnn.evaluation.statistics import benjamini_hochberg, permutation_p
from connectome_gnn.evaluation.two_samples import distances, drawn_distances, resampled_means

__all__ = ["EdgeDistance", "MeasureDistance", "distance_scores"]

MOST_PERMUTATIONS = {"edges": 300, "measure": 1000}
"""Permutations of every edge, or every region, at most."""

MOST_FEATURES = {"edges": 300, "measure": 100}
"""Edges or regions, drawn at random, that the interval rests on."""

KINDS = ("ks", "energy")


@dataclass(frozen=True, eq=False)
class Compared:
    """Distances of F features, of which those that differ between any two connectomes count; rows ``ks`` and ``energy``.

    Attributes
    ----------
    differ : (F,) features that are not one and the same value in everybody.
    each : (2, F) distance of each feature; NaN where it is undefined.
    p : (2, F) permutation p of each.
    halves : (2, F) between halves of the real people, brought to the cohorts' sizes.
    draws : (2, 1 + B) mean over features, then its draws.
    null : (2,) mean under permutations.
    p_of_mean : (2,).
    """

    differ: NDArray[np.bool_]
    each: NDArray[np.float64]
    p: NDArray[np.float64]
    halves: NDArray[np.float64]
    draws: NDArray[np.float64]
    null: NDArray[np.float64]
    p_of_mean: NDArray[np.float64]


class _Distance(SharedScore):
    """What the scores share: rows of a table of :class:`Compared`."""

    def __init__(self, kind: str, what: str) -> None:
        self.kind, self.what = kind, what
        self.name = f"{kind}_{what}"

    def _estimate(self, comparison: Comparison, found: Compared, places: pd.DataFrame) -> Estimate:
        row = KINDS.index(self.kind)
        each, halves = found.each[row], found.halves[row]
        if not np.isfinite(each).any():
            return Estimate.undefined(f"every one of {self.what} has one and the same value in all real people")
        details = places.assign(**{self.kind: each, "p": found.p[row], "q": benjamini_hochberg(found.p[row]), "real_vs_real": halves})
        beside = float(np.nanmean(halves)) if np.isfinite(halves).any() else float("nan")
        return Estimate(
            found.draws[row],
            comparison.n_people,
            float(found.null[row]),
            p=float(found.p_of_mean[row]),
            real_vs_real=beside,
            lower_is_better=True,
            details=details,
        )


class EdgeDistance(_Distance):
    """Mean over edges of a distance between the edge's distribution in real and in generated people.

    Shape: one number. Kolmogorov-Smirnov: ``max_t |F(t) - G(t)|``, range 0 to 1. Energy: ``sqrt(2 integral (F - G)^2 dt)`` in the edge's
    real standard deviations on the modelling scale, range 0 upwards. Both are those of all N real and all M x K generated connectomes, as
    scipy has them; edges that everybody has alike are left out. Zeros are atoms: everybody who lacks an edge is equal.

    Chance: a distance between finite cohorts is never 0. The null is its mean when real and generated people trade places (the real
    connectome of a person and one of that person's samples; other people's, between cohorts), p the share of those permutations that reach
    the score; a person's samples stay with the person. ``real_vs_real`` is between halves of the real people, multiplied by
    ``sqrt((1 / N + 1 / (M K)) / (1 / a + 1 / b))``, so that it is what cohorts of these sizes would show.
    Interval: of the expectation for cohorts of these sizes (:func:`~connectome_gnn.evaluation.two_samples.resampled_means`).
    Details: every edge with its distance, p, q and that between real halves.
    Source: Szekely & Rizzo 2013, J. Stat. Planning and Inference 143:1249; Hodges 1958, Arkiv for Matematik 3:469.
    """

    def estimate(self, comparison: Comparison) -> Estimate:
        """Distances of all edges; shared between both kinds."""
        found = comparison.once("distances of edges", lambda: _edges(comparison))
        first, second = edge_indices(comparison.real.n_regions)
        labels = np.array(comparison.real.atlas.labels)
        return self._estimate(comparison, found, pd.DataFrame({"region": labels[first], "other_region": labels[second]}))


class MeasureDistance(_Distance):
    """Distance between a topology measure's distribution in real and in generated people, for a nodal measure the mean over regions.

    As :class:`EdgeDistance` (formula, shape, range, chance, source), on the measure's own values; a value that is undefined for a person is
    an atom of its own. Undefined for expected connectomes.
    """

    topology = True

    def estimate(self, comparison: Comparison) -> Estimate:
        """Distances of one measure; shared between both kinds."""
        found = comparison.once(f"distances of {self.what}", lambda: _measure(comparison, self.what))
        nodal = comparison.topology.level(self.what) == "nodal"
        places = comparison.real.atlas.labels if nodal else ["all"]
        return self._estimate(comparison, found, pd.DataFrame({"region": list(places)}))


def distance_scores(measures: tuple[str, ...]) -> Iterator[SharedScore]:
    """KS and energy of edges and of each measure."""
    for kind in KINDS:
        yield EdgeDistance(kind, "edges")
    for measure in measures:
        for kind in KINDS:
            yield MeasureDistance(kind, measure)


def _edges(comparison: Comparison) -> Compared:
    values = np.empty((comparison.n_people + comparison.generated_rows.size, comparison.real.n_edges), np.float32)
    for part, x in comparison.real_batches():
        values[part] = x
    rest = values[comparison.n_people :].reshape(*comparison.generated_rows.shape, -1)
    for part, y in comparison.generated_batches():
        rest[part] = y
    return _compared(comparison, values, "edges")


def _measure(comparison: Comparison, name: str) -> Compared:
    sides = comparison.topology
    real, generated = sides.real[name], sides.generated[name]
    values = np.concatenate([real.reshape(len(real), -1), generated.reshape(generated.shape[0] * generated.shape[1], -1)])
    return _compared(comparison, values.astype(np.float32), "measure", name)


def _compared(comparison: Comparison, values: NDArray[np.float32], size: str, name: str = "") -> Compared:
    """Everything about (n, F) values."""
    labels = Labels.of(comparison)
    n, n_jobs = comparison.n_people, comparison.n_jobs
    unit = _deviations(values[:n])
    differ = _differ(values)
    features = values.T[differ]
    del values
    each, p, halves = (np.full((2, len(differ)), np.nan) for _ in range(3))
    signed, unit = labels.observed(), unit[differ]
    each[:, differ] = distances(features, signed, unit)
    if min(map(len, comparison.halves)) > 1:
        halves[:, differ] = distances(features[:, :n], labels.of_halves(comparison.halves)[:n], unit)
        halves *= labels.size_factor(comparison.halves)
    generator = comparison.rng(f"distances of {size}{name}")
    n_permutations = min(comparison.n_permutations, MOST_PERMUTATIONS[size])
    null, p_of_mean = np.full(2, np.nan), np.full(2, np.nan)
    if n_permutations and differ.any():
        tested = each[:, differ] if labels.paired else np.stack(distances(features, labels.observed(one_sample=True), unit))
        drawn = drawn_distances(features, labels.permuted(n_permutations, generator), unit, (tested[0], tested[1]), n_jobs=n_jobs)
        p[:, differ] = np.where(np.isfinite(each[:, differ]), (1 + drawn.at_least) / (1 + n_permutations), np.nan)
        p_of_mean = permutation_p([_mean(row) * (1 - 1e-6) for row in tested], drawn.means.T)
        null = drawn.means.mean(1) * (1 if labels.paired else labels.one_sample_factor)
    means = np.array([_mean(row) for row in each])[:, None]
    draws = means
    if len(comparison.weights) > 1 and differ.any():
        chosen = np.sort(generator.permutation(len(features))[: MOST_FEATURES[size]])
        some = np.ascontiguousarray(features[chosen])
        drawn_means = resampled_means(
            some,
            signed,
            labels.noise(comparison),
            unit[chosen],
            stretch=_stretch(some[:, :n], comparison.weights[1:], unit[chosen]),
            mixed=labels.mixed(some, generator) if len(some) > 1 else None,
            n_jobs=n_jobs,
        )
        subset = np.array([_mean(row[differ][chosen]) for row in each])[:, None]
        draws = np.concatenate([means, np.clip(drawn_means + means - subset, 0, np.array([[1.0], [np.inf]]))], 1)
    return Compared(differ, each, p, halves, draws, null, p_of_mean)


def _stretch(real: NDArray[np.float32], weights: NDArray[np.float32], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) mean over features (F, N) of the square root of the unit over the unit of a resample of the real people."""
    usable = (unit > 0) & np.isfinite(real).all(1)
    if not usable.any():
        return np.ones(len(weights))
    scaled = (real[usable] - real[usable].mean(1, keepdims=True)) / unit[usable, None]
    share = weights / weights.sum(1, keepdims=True)
    variance = share @ (scaled**2).T - (share @ scaled.T) ** 2
    ratios: NDArray[np.float64] = np.maximum(variance, 1e-6) ** -0.25
    # Resamples spread less than people do, by n / (n - 1), in every one of them alike: only how they vary counts.
    means = ratios.mean(1, dtype=np.float64)
    return means / means.mean()


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _deviations(real: NDArray[np.float32]) -> NDArray[np.float64]:
    """(F,) standard deviation of the real people's values (n - 1), undefined ones left out; 0 where they do not differ."""
    defined = np.isfinite(real)
    number = defined.sum(0)
    safe = np.where(defined, real, 0)
    mean = safe.sum(0, dtype=np.float64) / np.maximum(number, 1)
    squares = (np.where(defined, safe - mean.astype(np.float32), 0) ** 2).sum(0, dtype=np.float64)
    deviation = np.sqrt(squares / np.maximum(number - 1, 1))
    return np.where(deviation > 1e-6 * np.abs(mean), deviation, 0)


def _differ(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(F,) whether a feature is anything but one and the same value, or undefined, in everybody."""
    different: NDArray[np.bool_] = ((values != values[0]) & ~(np.isnan(values) & np.isnan(values[0]))).any(0)
    return different

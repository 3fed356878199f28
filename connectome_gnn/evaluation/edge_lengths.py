"""Do generated people have edges as long as real people's?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.inversion import deviation_draws
from connectome_gnn.evaluation.reference import ROWS
from connectome_gnn.evaluation.scores import NO_ABSENT_EDGES, Estimate, SharedScore
from connectome_gnn.evaluation.signed_rows import Labels
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["EdgeLengthDistance", "length_distributions"]

POINTS = 400
MOST_PERMUTATIONS = 1000


class EdgeLengthDistance(SharedScore):
    """Distance between the lengths of the edges that generated and real people have.

    F(l) is the share of a person's edges no longer than l, averaged over people (and samples), read at 400 lengths of evenly growing share
    of all possible edges. Shape: one number. Kolmogorov-Smirnov: ``max |F - G|``, range 0 to 1. Energy: ``sqrt(2 integral (F - G)^2 dl)``,
    in standard deviations of the real people's edge lengths. Chance: null, p, ``real_vs_real`` (brought to the cohorts' sizes) and interval
    as for :class:`~connectome_gnn.evaluation.distances.EdgeDistance`. Details: F and G at every length. Undefined for expected connectomes
    and without coordinates.
    Source: Betzel & Bassett 2018, PNAS 115:E4880 (lengths); Szekely & Rizzo 2013, J. Stat. Planning and Inference 143:1249.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"{kind}_edge_length"

    def estimate(self, comparison: Comparison) -> Estimate:
        """Distance of mean distributions."""
        if comparison.generated.kind == "expected":
            return Estimate.undefined(NO_ABSENT_EDGES)
        lengths = comparison.real.atlas.edge_distances()
        if np.isfinite(lengths).sum() < 2:
            return Estimate.undefined("the atlas has no coordinates, so edges have no length")
        own = comparison.shared("edge lengths", lambda: length_distributions(comparison.real, comparison.real_rows, lengths))
        theirs = comparison.once(
            "edge lengths", lambda: length_distributions(comparison.generated, comparison.generated_rows.ravel(), lengths)
        )
        if not (np.isfinite(own.shares).all() and np.isfinite(theirs.shares).all()):
            return Estimate.undefined("somebody, real or generated, has no edge")
        labels = Labels.of(comparison)
        shares = np.concatenate([own.shares, theirs.shares]).astype(np.float64)
        size = self._size(own)
        signed = labels.observed() @ shares
        value = size(signed[:, None])
        noise = (labels.noise(comparison).T @ shares).T
        draws = np.maximum(deviation_draws(signed, noise, size), 0) if noise.shape[1] else np.empty(0)
        number = min(comparison.n_permutations, MOST_PERMUTATIONS)
        null = p = float("nan")
        if number:
            permuted = size((labels.permuted(number, comparison.rng(self.name)).T @ shares).T)
            tested = float(size((labels.observed(one_sample=not labels.paired) @ shares)[:, None])[0])
            null = float(permuted.mean()) * (1 if labels.paired else labels.one_sample_factor)
            p = float(permutation_p(tested * (1 - 1e-6), permuted))
        beside = float(size((labels.of_halves(comparison.halves) @ shares)[:, None])[0]) * labels.size_factor(comparison.halves)
        details = pd.DataFrame({"length": own.points, "real": own.shares.mean(0), "generated": theirs.shares.mean(0)})
        return Estimate(
            np.concatenate([value, draws]),
            comparison.n_people,
            null,
            p=p,
            real_vs_real=beside,
            lower_is_better=True,
            details=details,
        )

    def _size(self, own: Lengths) -> Size:
        return Size(self.kind, np.diff(own.points, append=own.points[-1]), own.deviation)


@dataclass(frozen=True, eq=False)
class Size:
    """The distance that a difference of distributions amounts to: (B,) from (POINTS, B)."""

    kind: str
    steps: NDArray[np.float64]
    unit: float

    def __call__(self, difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kolmogorov-Smirnov or energy distance."""
        size = np.abs(difference).max(0) if self.kind == "ks" else np.sqrt(2 * self.steps @ difference**2 / self.unit)
        return np.asarray(size, np.float64)


@dataclass(frozen=True, eq=False)
class Lengths:
    """Distribution of edge lengths of n rows.

    Attributes
    ----------
    points : (POINTS,) lengths, mm, ascending.
    shares : (n, POINTS) share of each row's edges up to each length; NaN for a row without edges.
    deviation : standard deviation of all rows' edge lengths, mm.
    """

    points: NDArray[np.float64]
    shares: NDArray[np.float32]
    deviation: float


def length_distributions(cohort: Cohort, rows: NDArray[np.intp], lengths: NDArray[np.float64]) -> Lengths:
    """Distribution over lengths of the edges that some rows have; edges of unknown length left out."""
    order = np.argsort(lengths)[: int(np.isfinite(lengths).sum())]
    known = lengths[order]
    last = np.unique(np.searchsorted(known, np.quantile(known, np.linspace(0, 1, POINTS + 1)[1:]), side="right")) - 1
    shares, often = [], np.zeros(len(known))
    for start in range(0, len(rows), ROWS):
        present = (cohort.read(rows[start : start + ROWS]) != 0)[:, order]
        often += present.sum(0)
        counts = present.cumsum(1, dtype=np.float32)
        total = counts[:, -1:]
        shares.append(np.divide(counts[:, last], total, out=np.full((len(counts), len(last)), np.nan, np.float32), where=total > 0))
    mean = (often @ known) / max(often.sum(), 1)
    deviation = float(np.sqrt((often @ (known - mean) ** 2) / max(often.sum(), 1)))
    return Lengths(known[last], np.concatenate(shares), deviation or 1.0)

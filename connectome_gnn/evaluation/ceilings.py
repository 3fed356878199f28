"""Ceilings: what the truth itself would score, or what measurement leaves to be reached.

A scan is taken as ``x = t + e``: t what is stable in the person, e an error of measurement that is independent of t and of the error of
another scan, with the same variance. A second scan ``x' = t + e'`` then tells what ``y = t`` would score, the best that any generator
can do however much it knows of the person: each score says how (``of_repeat``).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.pairing import check_comparable
from connectome_gnn.evaluation.scores import Estimate, SharedScore

__all__ = ["CeilingScore", "attenuated", "ceiling_cohort", "pooled_ceiling"]


class CeilingScore(SharedScore):
    """A score of paired people that knows its ceiling.

    Subclasses define :meth:`own`, and :meth:`of_repeat` where a second scan's own score is not the ceiling.
    """

    paired = True

    def estimate(self, comparison: Comparison) -> Estimate:
        """The score, with its ceiling where the comparison has one."""
        estimate, ceiling = self.own(comparison), comparison.ceiling
        if ceiling is None or not np.isfinite(estimate.values[0]) or (self.topology and ceiling.generated.kind == "expected"):
            return estimate
        values = ceiling.once(f"ceiling of {self.name}", lambda: self.ceiling_of(ceiling))
        return replace(estimate, ceiling=values) if np.isfinite(values[0]) else estimate

    def ceiling_of(self, ceiling: Comparison) -> NDArray[np.float64]:
        """The ceiling (1 + B,): the truth's own score, or what a second scan (an observed cohort) says of it."""
        return self.of_repeat(ceiling) if ceiling.generated.kind == "observed" else self.own(ceiling).values

    @abstractmethod
    def own(self, comparison: Comparison) -> Estimate:
        """The score without its ceiling."""

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """The ceiling (1 + B,) when the generated cohort is a second scan of the real people."""
        return self.own(comparison).values


def attenuated(reliability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of a scan with what it measures, from the correlation between two scans: its square root, 0 where that is below 0.

    References
    ----------
    Spearman 1904, Am. J. Psychol. 15:72 (attenuation).
    """
    return np.sqrt(np.maximum(reliability, 0))


def pooled_ceiling(r: NDArray[np.float64], pooled: NDArray[np.float64], n_people: int) -> NDArray[np.float64]:
    """Ceiling of a correlation across people pooled over columns, from the correlations between two scans.

    Of one column the ceiling is :func:`attenuated` ``r``. Of many it is ``tanh(mean(atanh sqrt(rho)))`` over their true reliabilities
    rho, which scatter less than the r found in N people do: Fisher z of r has a variance of 1 / (N - 3) of its own. So every z is drawn
    towards their mean until the spread is that of the true ones, before the root is taken.

    Parameters
    ----------
    r : (C,) correlation of each column between the scans, NaN left out.
    pooled : (1 + B,) pooled r and its resamples.
    n_people : N.

    Returns
    -------
    ceiling : (1 + B,).
    """
    known = r[np.isfinite(r)]
    if not len(known):
        return np.full(len(pooled), np.nan)
    z = np.arctanh(np.clip(known, -1 + 1e-12, 1 - 1e-12))
    spread = z.var()
    true = max(spread - 1 / max(n_people - 3, 1), 0.0)
    drawn = z.mean() + np.sqrt(true / spread) * (z - z.mean()) if spread > 0 else z
    value = np.tanh(_fisher(attenuated(np.tanh(drawn))).mean())
    # The resamples move the mean reliability; what its spread adds is taken as the same.
    shift = _fisher(attenuated(pooled)) - _fisher(attenuated(pooled[:1]))
    return np.tanh(_fisher(np.array([value])) + shift)


def _fisher(r: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.arctanh(np.minimum(r, 1 - 1e-12))


def ceiling_cohort(ceiling: Any, real: Cohort) -> Cohort | None:
    """The cohort whose score is the ceiling: the one given, or the real people's own truth as expected connectomes.

    Parameters
    ----------
    ceiling : a cohort, an object with ``expected`` (N, E) on the modelling scale in the order of the real people, or None.
    real : the real people.

    Raises
    ------
    ConnectomeError
        If a cohort is of another atlas or measure, or a truth of other people.
    """
    if isinstance(ceiling, Cohort):
        check_comparable(ceiling, "ceiling", real)
        return ceiling
    truth = real.truth if ceiling is None else ceiling
    if truth is None:
        return None
    if not hasattr(truth, "expected"):
        raise TypeError(f"ceiling: expected a Cohort, or a truth with expected connectomes, got {type(truth).__name__}")
    expected = truth.expected
    if expected.shape != (len(real), real.n_edges):
        raise ConnectomeError(
            f"the truth of real cohort {real.name!r} must hold an expected connectome of {real.n_edges} edges for each person, "
            f"got an array of shape {expected.shape} for {len(real)} people"
        )
    return Cohort(
        real.scale.inverse(expected),
        real.phenotypes,
        real.atlas,
        measure=real.measure,
        signed=real.signed,
        name=f"truth of {real.name}",
        kind="expected",
        check=False,
    )

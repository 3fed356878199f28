"""Which regions differ between two cohorts or groups of people, and by how much."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.statistics import benjamini_hochberg
from connectome_gnn.prediction.interface import check_edges, check_regions
from connectome_gnn.prediction.node_features import BUILT_IN, known_features, regional_measure

__all__ = ["affected_regions"]

FEWEST = 3
"""People of a side without whom a spread is no spread."""


def affected_regions(
    source: Cohort, target: Cohort, *, measure: str = "profile", relative: bool = False, fdr: float = 0.05
) -> pd.DataFrame:
    """Effect size of each region between two cohorts (or two groups of one, by :meth:`connectome_gnn.Cohort.take`).

    Hedges' g is (mean of target - mean of source) / pooled standard deviation, times 1 - 3 / (4 (n1 + n2) - 9); p values are Welch's, over
    regions by Benjamini & Hochberg. Rows of a person count as one, their mean.

    Parameters
    ----------
    source, target : people on the same regions, in any order.
    measure : ``"profile"``, the mean of a region's edges on the modelling scale, or one of topology's measures of regions.
    relative : whether each person's mean over regions is taken out first, so that a scanner that raises everything affects nothing.
    fdr : rate of false discoveries at which a region is called affected.

    Returns
    -------
    table : by region label in the target's order: hemisphere, network, x, y, z, source_mean, target_mean, g, low, high (95 %), p, q,
        affected.

    Raises
    ------
    ConnectomeError
        If the cohorts are on other regions or measures, an edge is NaN, a side has fewer than three people, or ``fdr`` is no rate.

    References
    ----------
    Hedges 1981, J. Educ. Stat. 6:107; interval: Hedges & Olkin 1985, eq. 5.10.
    """
    if measure != "profile":
        known_features(measure)
        if measure in BUILT_IN:
            raise ConnectomeError(f"regions are compared by 'profile' or by a topology measure of regions, got {measure!r}")
    if not 0 <= fdr <= 1:
        raise ConnectomeError(f"fdr is a rate between 0 and 1, got {fdr}")
    if source.signed != target.signed:
        raise ConnectomeError(f"expected two cohorts of one measure, got {source.measure} and {target.measure}")
    order = check_regions(target.atlas.labels, source)
    sides: list[NDArray[np.float64]] = []
    for cohort, rows in ((source, order), (target, np.arange(target.n_regions))):
        values = _by_person(cohort, _values(cohort, measure)[:, rows])
        if len(values) < FEWEST:
            raise ConnectomeError(f"cohort {cohort.name!r} has {len(values)} people; effect sizes need at least {FEWEST} on either side")
        sides.append(values - values.mean(1, keepdims=True) if relative else values)
    return target.atlas.to_frame().set_index("label").assign(**_effects(sides[0], sides[1], fdr))


def _values(cohort: Cohort, measure: str) -> NDArray[np.float64]:
    """A measure of each person's regions, (N, R)."""
    check_edges(cohort)
    if measure != "profile":
        return regional_measure(cohort, measure)
    return np.concatenate([to_matrices(values).sum(-1, dtype=np.float64) for _, values in cohort.modelled(64)]) / (cohort.n_regions - 1)


def _by_person(cohort: Cohort, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the rows of each person, (people, R)."""
    person, names = pd.factorize(cohort.ids)
    total = np.zeros((len(names), values.shape[1]))
    np.add.at(total, person, values)
    return total / np.bincount(person)[:, None]


def _effects(source: NDArray[np.float64], target: NDArray[np.float64], fdr: float) -> dict[str, NDArray]:
    n_source, n_target = len(source), len(target)
    first, second = source.mean(0), target.mean(0)
    variances = source.var(0, ddof=1), target.var(0, ddof=1)
    pooled = np.sqrt(((n_source - 1) * variances[0] + (n_target - 1) * variances[1]) / (n_source + n_target - 2))
    constant = pooled <= 1e-9 * np.maximum(np.abs(first), 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.where(constant, np.nan, (second - first) / pooled) * (1 - 3 / (4 * (n_source + n_target) - 9))
        p = np.where(constant, np.nan, stats.ttest_ind(target, source, equal_var=False).pvalue)
    error = np.sqrt((n_source + n_target) / (n_source * n_target) + g**2 / (2 * (n_source + n_target)))
    q = benjamini_hochberg(p)
    reach = stats.norm.ppf(0.975) * error
    answer = {"source_mean": first, "target_mean": second, "g": g, "low": g - reach, "high": g + reach, "p": p, "q": q}
    return {**answer, "affected": np.nan_to_num(q, nan=1.0) < fdr}

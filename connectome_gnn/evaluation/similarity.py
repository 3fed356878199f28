"""Everybody's generated connectome against everybody's real one: how similar they are, and what of that is measurement error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.people import least_deviation

__all__ = ["Identified", "error_free", "identified", "similarity"]

EDGES_AT_ONCE = 2048
DIGITS = 10
"""Decimals of a correlation: people whose similarity differs by less are tied."""


@dataclass(frozen=True, eq=False)
class Identified:
    """Everybody's similarity to everybody, and what follows from it; N' people whose real and generated connectome have a direction.

    Attributes
    ----------
    people : (N',) their positions among the N people.
    s : (N', N') similarity, real people in rows, generated ones in columns, rounded to 10 decimals.
    """

    people: NDArray[np.intp]
    s: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Number of people N' in the gallery."""
        return len(self.s)

    @cached_property
    def above(self) -> NDArray[np.float64]:
        """(N', N') how many other columns of its row are above each."""
        return rankdata(-self.s, "min", axis=1) - 1.0

    @cached_property
    def tied(self) -> NDArray[np.float64]:
        """(N', N') how many other columns of its row are tied with each."""
        return rankdata(-self.s, "max", axis=1) - 1.0 - self.above

    @cached_property
    def match(self) -> NDArray[np.intp]:
        """(N',) column of each row in the one-to-one matching of largest total similarity."""
        columns: NDArray[np.intp] = linear_sum_assignment(1 - self.s)[1]
        return columns

    @cached_property
    def alike(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Classes of identical rows, and of identical columns, (N',) each: the matching of them is arbitrary."""
        return _classes(self.s), _classes(self.s.T)

    @property
    def own(self) -> NDArray[np.float64]:
        """(N',) similarity to the connectome generated for oneself."""
        return np.diagonal(self.s)


def similarity(comparison: Comparison, demeaned: bool, of_error: bool = False) -> NDArray[np.float64]:
    """S (N, N), ``r(x_i, y_j)`` over edges; NaN where a connectome has no direction. A block of edges at a time.

    Parameters
    ----------
    comparison : of N people, paired.
    demeaned : whether the training mean is taken out of x and y first, over common edges.
    of_error : ``y_j - x_j`` in the place of y: for two scans, a direction of measurement error.
    """
    reference = comparison.reference
    edges = np.flatnonzero(reference.common) if demeaned else np.arange(comparison.real.n_edges)
    n = comparison.n_people
    if not len(edges):
        return np.full((n, n), np.nan)
    products = np.zeros((n, n))
    sums, squares = np.zeros((2, n)), np.zeros((2, n))
    for start in range(0, len(edges), EDGES_AT_ONCE):
        block = edges[start : start + EDGES_AT_ONCE]
        sides = [comparison.real_values(block, np.float64), comparison.generated_means(block, np.float64)]
        if of_error:
            sides[1] -= sides[0]
        for k, side in enumerate(sides):
            if demeaned and not (k and of_error):
                side -= reference.mean[block]
            sums[k] += side.sum(1)
            squares[k] += np.einsum("ij,ij->i", side, side)
        products += sides[0] @ sides[1].T
    means = sums / len(edges)
    deviations = np.sqrt(np.maximum(squares / len(edges) - means**2, 0))
    least = least_deviation(reference.deviation[edges], comparison.generated) if demeaned and not of_error else 0.0
    rounding = 1e-7 * np.sqrt(squares / len(edges))  # what is left of a constant by taking squares from each other
    flat = deviations <= np.maximum(np.array([[0.0], [least]]), rounding)
    deviations[flat] = np.nan
    return (products / len(edges) - np.outer(*means)) / np.outer(*deviations)


def identified(comparison: Comparison, demeaned: bool) -> Identified:
    """The similarities of a comparison's people, computed once for all scores."""

    def build() -> Identified:
        s = similarity(comparison, demeaned)
        people = np.flatnonzero(np.isfinite(s).any(1) & np.isfinite(s).any(0))
        return Identified(people, np.round(s[np.ix_(people, people)], DIGITS))

    return comparison.once(f"identified {demeaned}", build)


def error_free(comparison: Comparison, demeaned: bool) -> Identified:
    """The similarities that error-free connectomes of the same people would have to the scans x, from a second scan x' of them.

    To one's own scan it is the root of the similarity of the two scans, to first order around the root of its mean rho, the reliability.
    For different people ``r(x_i, x'_j) = sqrt(rho) r(x_i, t_j) + sqrt(1 - rho) r(x_i, e_j)``, and the variance of the last r is that of
    ``r(x_i, x'_j - x_j)``: a difference of scans is nothing but error. So these are moved to their mean over sqrt(rho), and drawn towards
    it until what error adds to their variance is gone. Means and spreads are then right, dependence within a row is not: the ceilings of
    shares of people identified come out too low where reliability is (.5 of people for .9 in simulations with rho = .6 and 66 edges).
    NaN where rho is not above 0.
    """

    def build() -> Identified:
        found = identified(comparison, demeaned)
        rho = float(found.own.mean()) if found.n else 0.0
        if not rho > 0:
            return Identified(found.people, np.full_like(found.s, np.nan))
        others = ~np.eye(found.n, dtype=bool)
        of_error = similarity(comparison, demeaned, of_error=True)[np.ix_(found.people, found.people)]
        values = found.s[others]
        mean, variance = values.mean(), values.var()
        left = max(variance - (1 - rho) * float(np.nanvar(of_error[others])), 0.0)
        s: NDArray[np.float64] = np.diag(np.sqrt(rho) + (found.own - rho) / (2 * np.sqrt(rho)))
        s[others] = mean / np.sqrt(rho) + (np.sqrt(left / (rho * variance)) if variance > 0 else 0.0) * (values - mean)
        return Identified(found.people, np.round(s, DIGITS))

    return comparison.once(f"error-free {demeaned}", build)


def _classes(rows: NDArray[np.float64]) -> NDArray[np.intp]:
    """Class (N,) of each row: the same where rows are identical."""
    classes: NDArray[np.intp] = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    return classes

"""Small statistics that many scores share: p values by permutation, false discovery rate, averages of correlations."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MOST_R", "benjamini_hochberg", "permutation_p", "pooled_r"]

MOST_R = 1 - 1e-6
"""Correlations are pooled as if no larger than this, of people as they are and resampled alike (the latter in float32): Fisher z of exactly
1 is infinite."""

ALL_ONE = 1 - 1e-12


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """False discovery rate at which each of several tests would be called: q values.

    ``q_(k) = min over j >= k of p_(j) n / j``, p sorted upwards, n the number of p values that are defined.

    Parameters
    ----------
    p : p values of any shape, between 0 and 1; NaN = undefined, which counts for nothing. Never correlations or other statistics.

    Returns
    -------
    q : the same shape, in [p, 1]; NaN where p is.

    Raises
    ------
    ValueError
        If a value is not between 0 and 1, as of a correlation given in the place of its p value.

    References
    ----------
    Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    values = np.asarray(p, np.float64)
    defined = np.isfinite(values)
    known = values[defined]
    if len(known) and not (known.min() >= 0 and known.max() <= 1):
        raise ValueError(f"p values lie between 0 and 1, got values from {known.min():g} to {known.max():g}; give p values, not r values")
    order = np.argsort(known)[::-1]
    ranks = np.arange(len(known), 0, -1)
    q = np.empty(len(known))
    q[order] = np.minimum(np.minimum.accumulate(known[order] * len(known) / ranks), 1)
    result = np.full(values.shape, np.nan)
    result[defined] = q
    return result


def permutation_p(observed: ArrayLike, null: ArrayLike, tail: Literal["greater", "less", "both"] = "greater") -> NDArray[np.float64]:
    """p value of a permutation test: ``(1 + number of permutations at least as extreme) / (1 + number of permutations)``.

    Parameters
    ----------
    observed : (...) the statistic.
    null : (B, ...) the same under B permutations; NaN = undefined, left out.
    tail : which permutations are as extreme: those ``"greater"``, ``"less"``, or either, the smaller tail twice (``"both"``).

    Returns
    -------
    p : (...) in (0, 1]; NaN where the statistic is undefined or no permutation is defined.

    References
    ----------
    Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39: a permutation p is never 0.
    """
    value, draws = np.asarray(observed, np.float64), np.asarray(null, np.float64)
    number = np.isfinite(draws).sum(0)
    slack = 1e-12 * np.maximum(np.abs(value), 1)  # sums in another order give the same statistic, 0 included, but for rounding
    above, below = (draws >= value - slack).sum(0), (draws <= value + slack).sum(0)
    extreme = {"greater": above, "less": below, "both": np.minimum(above, below)}[tail]
    p = np.minimum((1 + tail.count("both")) * (1 + extreme) / (1 + number), 1)
    return np.where(np.isfinite(value) & (number > 0), p, np.nan)


def pooled_r(r: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Average of correlations through Fisher z: ``tanh(mean(atanh r))``, NaN left out; NaN where none is defined.

    References
    ----------
    Silver & Dunlap 1987, J. Appl. Psychol. 72:146.
    """
    values = np.asarray(r, np.float64)
    defined = np.isfinite(values)
    z = np.arctanh(np.clip(np.where(defined, values, 0), -MOST_R, MOST_R)).sum(axis)
    number = defined.sum(axis)
    mean: NDArray[np.float64] = np.tanh(np.divide(z, number, out=np.full(np.shape(z), np.nan), where=number > 0))
    # Where every correlation is 1 so is their average, whatever the clip.
    ones = np.where(defined, values >= ALL_ONE, True).all(axis) & (number > 0)
    return np.where(ones, 1.0, mean)

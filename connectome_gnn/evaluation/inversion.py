"""Intervals by inverting a test: which expectations would make what was found no surprise?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = ["confidence_draws", "deviation_draws", "share_draws"]

GRID = 60
REACH = 3.5


def confidence_draws(found: float, drawn: NDArray[np.float64], along: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Draws whose percentiles are the interval of an expectation, where the spread of a statistic depends on how large it truly is.

    A statistic near its floor varies less, and more lopsidedly, than the same statistic far from it, so that percentiles of resamples
    around the value found cover too rarely. Here the value found is compared with what would be drawn at a series of true sizes.

    Parameters
    ----------
    found : the statistic.
    drawn : (C, D) what it would be in D draws at each of C true sizes, ascending.
    along : (B,) the statistic in bootstrap resamples; default ``drawn`` at the size that fits best.

    Returns
    -------
    draws : (B,) quantiles of the confidence distribution, with which the probability of drawing ``found`` or more at an expectation
        grows, in the order of ``along``: so draws of two cohorts on the same resamples belong together. Beyond both ends of the series the
        draws at that end are reflected.

    References
    ----------
    Schweder & Hjort 2002, Scand. J. Statist. 29:309 (confidence distributions).
    """
    averages = drawn.mean(1)
    means, reached = np.maximum.accumulate(averages), np.maximum.accumulate((drawn >= found).mean(1))
    along = drawn[int(np.abs(averages - found).argmin())] if along is None else along
    levels = (rankdata(along, "ordinal") - 0.5) / len(along)
    draws = np.interp(levels, reached + 1e-12 * np.arange(len(reached)), means)
    for outside, end in ((levels < reached[0], 0), (levels > reached[-1], -1)):
        draws[outside] = means[end] + found - np.quantile(drawn[end], 1 - levels[outside])
    return draws


def deviation_draws(
    difference: NDArray[np.float64], noise: NDArray[np.float64], size: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Draws for the size of a difference of two distribution functions, read at A points.

    A size is never negative and has a floor in finite samples; so :func:`confidence_draws`, with true differences along what is observed,
    smoothed to the two shapes that a shift and a change of spread make.

    Parameters
    ----------
    difference : (A,) observed at points of evenly growing probability.
    noise : (A, B) what resamples change in it.
    size : sizes (B,) of differences (A, B), in proportion to them.

    Returns
    -------
    draws : (B,).
    """
    found = float(size(difference[:, None])[0])
    at = np.pi * (np.arange(len(difference)) + 0.5) / len(difference)
    waves = np.stack([np.sin(at), np.sin(2 * at)])
    shape = difference @ waves.T @ waves
    smooth = float(size(shape[:, None])[0])
    shape = shape / smooth if smooth > 0 else waves[0] / size(waves[0][:, None])[0]
    reach = 2 * REACH * float(size(noise).mean())
    true = np.linspace(max(found - reach, 0), found + reach, GRID)
    return confidence_draws(found, np.stack([size(t * shape[:, None] + noise) for t in true]))


def share_draws(share: float, variance: float, along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws for a share between 0 and 1, whose percentiles are Wilson's interval.

    A share near 1 of few people has a skewed distribution, of which a bootstrap that happens to meet only 1 sees nothing.

    Parameters
    ----------
    share : the share found.
    variance : its variance, which beside a binomial one says among how many independent people the share is; of a share of 0 or 1, one over
        that number.
    along : (B,) the share in bootstrap resamples, whose order the draws take.

    References
    ----------
    Wilson 1927, JASA 22:209.
    """
    z = ndtri((rankdata(along, "ordinal") - 0.5) / len(along))
    per_person = variance / (share * (1 - share)) if 0 < share < 1 else variance
    squares = z**2 * per_person
    centre, half = share + squares / 2, z * np.sqrt(share * (1 - share) * per_person + squares * per_person / 4)
    draws: NDArray[np.float64] = (centre + half) / (1 + squares)
    return draws

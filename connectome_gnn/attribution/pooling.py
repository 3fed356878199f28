"""Error variances of many numbers from few fits: each drawn towards what all of them share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

__all__ = ["directions", "pooled"]

NEWTON = 50


def pooled(
    variance: NDArray[np.float64], unit: NDArray[np.float64], freedom: float, n_directions: float
) -> tuple[NDArray[np.float64], float]:
    """Moderated variances (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3) and their degrees of freedom.

    Variances in squared units are taken as draws around ones that vary as a scaled inverse chi square, whose scale and freedom are those
    that the spread of the logarithms tells. Numbers that move together tell less: the freedom is at most ``freedom`` for each direction
    that they move in.

    Parameters
    ----------
    variance : (M,) each with ``freedom`` degrees of freedom; 0 of what never moves, which stays 0.
    unit : (M,) what each number is measured in, so that numbers in units are about as uncertain.
    freedom : of each variance.
    n_directions : in how many independent directions the numbers move, from :func:`directions`.

    Returns
    -------
    variance : (M,).
    freedom : of each of them; the given ones where fewer than three numbers move.
    """
    moves = (variance > 0) & (unit > 0)
    if moves.sum() < 3:
        return variance, freedom
    square = variance[moves] / unit[moves] ** 2
    spread = np.log(square) - digamma(freedom / 2) + np.log(freedom / 2)
    beyond = spread.var(ddof=1) - float(polygamma(1, freedom / 2))
    if beyond <= 0:
        shared, prior = np.full(moves.sum(), square.mean()), np.inf
    else:
        prior = 2 * _inverse_trigamma(beyond)
        middle = np.exp(spread.mean() + digamma(prior / 2) - np.log(prior / 2))
        shared = (prior * middle + freedom * square) / (prior + freedom)
    found = variance.copy()
    found[moves] = shared * unit[moves] ** 2
    return found, float(min(prior + freedom, freedom * max(n_directions, 1)))


def directions(sets: Sequence[Sequence[NDArray[np.float64]]], unit: NDArray[np.float64]) -> float:
    """In how many independent directions numbers (M,) move over fits, at least 1: their covariance's squared trace over that of its square.

    Both are estimated without bias for Gaussian numbers (Srivastava 2005, J. Japan Stat. Soc. 35:251), averaged over sets of fits.
    """
    squared, of_square = 0.0, 0.0
    for answers in sets:
        scaled = np.stack(list(answers)) / np.where(unit > 0, unit, 1) * (unit > 0)
        freedom = len(scaled) - 1
        if freedom < 2:
            continue
        scaled -= scaled.mean(0)
        gram = scaled @ scaled.T / freedom
        trace = float(np.trace(gram))
        factor = freedom**2 / ((freedom - 1) * (freedom + 2))
        of_square += factor * (float((gram**2).sum()) - trace**2 / freedom)
        squared += factor * ((1 + 1 / freedom) * trace**2 - 2 / freedom * float((gram**2).sum()))
    return max(squared / of_square, 1.0) if of_square > 0 else np.inf if squared > 0 else 1.0


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on its reciprocal, from below."""
    x = 0.5 + 1 / value
    for _ in range(NEWTON):
        found = float(polygamma(1, x))
        step = found * (1 - found / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x

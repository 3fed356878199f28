"""Site effects of ComBat: what a site's people say of each edge, drawn towards what they say of all edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

__all__ = ["SiteEffect", "site_effect"]

CONVERGED = 1e-4
"""Largest relative change at which the parametric estimates stop, as in the original implementations."""

MOST_STEPS = 1000
EDGES_AT_ONCE = 256


@dataclass(frozen=True)
class SiteEffect:
    """What is taken out of one site's people: ``(x - shift) / sqrt(spread)`` of standardised residuals.

    Attributes
    ----------
    shift : (E,) additive effect, in pooled standard deviations.
    spread : (E,) multiplicative effect, as a ratio of variances.
    own : (E,) edges whose effects are estimated, and inform those of others: at least half of the site's people have them.
    """

    shift: NDArray[np.float64]
    spread: NDArray[np.float64]
    own: NDArray[np.bool_]


def site_effect(
    n: NDArray[np.float64],
    mean: NDArray[np.float64],
    scatter: NDArray[np.float64],
    n_people: int,
    adjusted: NDArray[np.bool_],
    *,
    empirical_bayes: bool,
    parametric: bool,
) -> SiteEffect:
    """Effects of one site (Johnson, Li & Rabinovic 2007, Biostatistics 8:118; Fortin et al. 2018, NeuroImage 167:104).

    Priors are moments over the edges that at least half of the site's people have (all of them in complete data). Edges that fewer have
    get the posterior under these priors all the same, and where nobody has an edge that is the prior itself. Without empirical Bayes they
    are left as they are. With a single person, or where nothing varies, a site has a shift and no spread.

    Parameters
    ----------
    n, mean, scatter : (E,) people of the site who have the edge; mean of their standardised residuals and sum of squares around it.
    n_people : people of the site.
    adjusted : (E,) edges that are harmonised at all.
    empirical_bayes, parametric : as for :class:`~connectome_gnn.harmonisation.combat.ComBat`.
    """
    own = adjusted & (n >= max(min(2, n_people), n_people / 2))
    shift, spread = np.zeros(len(n)), np.ones(len(n))
    if not own.any():
        return SiteEffect(shift, spread, own)
    ratio = np.divide(scatter, n - 1, out=np.ones_like(scatter), where=(n > 1) & (scatter > 0))
    varies = bool((scatter[own] > 0).any())
    if not empirical_bayes:
        shift[own], spread[own] = mean[own], ratio[own]
    elif not varies:
        centre, width = _moments(mean[own])
        shift[adjusted] = _posterior_mean(mean, n, 1.0, centre, width)[adjusted]
    elif parametric:
        shift[adjusted], spread[adjusted] = _parametric(n[adjusted], mean[adjusted], scatter[adjusted], ratio[adjusted], own[adjusted])
    else:
        atoms = (mean[own], ratio[own])
        place = np.where(own, np.cumsum(own) - 1, -1)[adjusted]
        shift[adjusted], spread[adjusted] = _non_parametric(n[adjusted], mean[adjusted], scatter[adjusted], *atoms, place)
    return SiteEffect(shift, spread, own)


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and variance over edges."""
    return float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _posterior_mean(
    mean: NDArray[np.float64], n: NDArray[np.float64], spread: NDArray[np.float64] | float, centre: float, width: float
) -> NDArray[np.float64]:
    """Of a normal mean with a normal prior."""
    return (width * n * mean + spread * centre) / np.maximum(width * n + spread, 1e-300)


def _parametric(
    n: NDArray[np.float64],
    mean: NDArray[np.float64],
    scatter: NDArray[np.float64],
    ratio: NDArray[np.float64],
    own: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior shift (normal prior) and spread (inverse gamma prior) in turn, until neither moves."""
    centre, width = _moments(mean[own])
    middle, variance = _moments(ratio[own])
    variance = max(variance, 1e-12 * middle**2)
    shape, scale = (2 * variance + middle**2) / variance, (middle * variance + middle**3) / variance
    shift, spread = mean, ratio
    for _ in range(MOST_STEPS):
        moved = _posterior_mean(mean, n, spread, centre, width)
        widened = (0.5 * (scatter + n * (mean - moved) ** 2) + scale) / (n / 2 + shape - 1)
        change = max(_relative(moved, shift), _relative(widened, spread))
        shift, spread = moved, widened
        if change <= CONVERGED:
            break
    return shift, spread


def _relative(new: NDArray[np.float64], old: NDArray[np.float64]) -> float:
    """Largest change as a share of what was."""
    return float((np.abs(new - old) / np.maximum(np.abs(old), 1e-12)).max())


def _non_parametric(
    n: NDArray[np.float64],
    mean: NDArray[np.float64],
    scatter: NDArray[np.float64],
    shifts: NDArray[np.float64],
    spreads: NDArray[np.float64],
    place: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Averages of the other edges' effects, weighed by how likely each makes the edge's people."""
    shift, spread = np.empty(len(n)), np.empty(len(n))
    log_spreads = np.log(2 * np.pi * spreads)
    for start in range(0, len(n), EDGES_AT_ONCE):
        some = slice(start, start + EDGES_AT_ONCE)
        squares = scatter[some, None] + n[some, None] * (mean[some, None] - shifts) ** 2
        log_likelihood = -0.5 * (n[some, None] * log_spreads + squares / spreads)
        itself = np.flatnonzero(place[some] >= 0)
        if len(shifts) > 1:
            log_likelihood[itself, place[some][itself]] = -np.inf
        weights = softmax(log_likelihood, axis=1)
        shift[some], spread[some] = weights @ shifts, weights @ spreads
    return shift, spread

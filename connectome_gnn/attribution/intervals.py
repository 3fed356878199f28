"""Intervals of ratios of sums over people, by a bootstrap in which every resample is a weighted sum of what is known of each person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from connectome_gnn.evaluation.resampling import resamples

__all__ = ["LEVEL", "Bootstrap", "Ratio", "percentiles"]

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Ratio:
    """A ratio of sums over people for each of T targets.

    Attributes
    ----------
    value : (T,) NaN where the denominator is 0.
    low, high : (T,) ends of the 95 % interval; NaN without resamples.
    draws : (B, T) float32 the ratio in every resample.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    draws: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Resamples of units of people who belong together.

    Attributes
    ----------
    units : (N,) unit of each person, numbered from 0.
    weights : (B, U) float32 how often each unit is drawn.
    """

    units: NDArray[np.intp]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, units: NDArray[np.intp], n_bootstrap: int, seed: int | list[int]) -> Bootstrap:
        """Draw ``n_bootstrap`` resamples of the units."""
        n_units = int(units.max()) + 1
        return cls(units, resamples(np.arange(n_units), n_bootstrap, seed)[1:])

    @property
    def n_units(self) -> int:
        """Number of units U."""
        return self.weights.shape[1]

    def summed(self, values: NDArray) -> NDArray[np.float64]:
        """Sums (U, T) of people's values (N, T) over the people of each unit."""
        values = np.asarray(values, np.float64)
        if self.n_units == len(values):
            out = np.empty_like(values)
            out[self.units] = values
            return out
        out = np.zeros((self.n_units, values.shape[1]))
        np.add.at(out, self.units, values)
        return out

    def ratio(self, above: NDArray, below: NDArray) -> Ratio:
        """``sum above / sum below`` over people, (N, T) each, with its interval.

        The interval is the bootstrap's, corrected for bias and skewness (BCa, Efron 1987, J. Am. Stat. Assoc. 82:171), its percentiles
        widened as Student's t widens a normal interval (Hesterberg 2015, Am. Stat. 69:371), without which few people's are too narrow.
        """
        above, below = self.summed(above), self.summed(below)
        total = below.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(total > 0, above.sum(0) / total, np.nan)
            draws = (self.weights @ above.astype(np.float32)) / (self.weights @ below.astype(np.float32))
        low, high = self.interval(value, draws, above - value * below)
        return Ratio(value, low, high, draws)

    def quotient(self, above: Ratio, below: Ratio) -> Ratio:
        """One ratio over another, resample by resample, with a percentile interval; NaN where the lower one is not above 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(below.value > 0, above.value / below.value, np.nan)
            draws = np.where(below.draws > 0, above.draws / below.draws, np.nan)
        return Ratio(value, *percentiles(draws), draws)

    def interval(
        self, value: NDArray[np.float64], draws: NDArray[np.float32], influence: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends (T,) of the interval, as in :meth:`ratio`, of values (T,) with resamples (B, T) and influences of units (U, T)."""
        n_draws, n_targets = draws.shape
        nothing = np.full(n_targets, np.nan)
        if n_draws < 2 or self.n_units < 2:
            return nothing, nothing.copy()
        squares = (influence**2).sum(0)
        skew = np.divide((influence**3).sum(0), 6 * squares**1.5, out=np.zeros(n_targets), where=squares > 0)
        slack = 1e-6 * np.abs(draws - value.astype(np.float32)).max(0)
        share = ((draws < value - slack).sum(0) + 0.5 * (np.abs(draws - value) <= slack).sum(0)) / n_draws
        bias = norm.ppf(np.clip(share, 1 / (n_draws + 1), n_draws / (n_draws + 1)))
        wide = -np.sqrt(self.n_units / (self.n_units - 1)) * t.ppf((1 - LEVEL) / 2, self.n_units - 1)
        ordered = np.sort(draws, 0)
        ends = []
        for z in (-wide, wide):
            moved = bias + z
            place = norm.cdf(bias + moved / np.maximum(1 - skew * moved, 0.1))
            ends.append(_quantile(ordered, place))
        low, high = (np.where(np.isfinite(value), end, np.nan) for end in ends)
        return low, high


def percentiles(draws: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (T,) of the central 95 % of draws (B, T), NaN left out; NaN where fewer than two are left or a twentieth is undefined."""
    defined = np.isfinite(draws).mean(0) if len(draws) else np.zeros(draws.shape[1])
    usable = (defined > LEVEL) & (len(draws) > 1)
    low, high = np.full((2, draws.shape[1]), np.nan)
    if usable.any():
        low[usable], high[usable] = np.nanquantile(draws[:, usable], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _quantile(ordered: NDArray[np.float32], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles (T,) at a place of its own in each column of sorted draws (B, T)."""
    where = np.clip(place * (len(ordered) + 1) - 1, 0, len(ordered) - 1)
    below = np.floor(where).astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    columns = np.arange(ordered.shape[1])
    share = where - below
    return (1 - share) * ordered[below, columns] + share * ordered[above, columns]

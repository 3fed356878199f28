"""Importances of many phenotypes, or in many regions: what the model implies, corrected by held-out people as far as they can tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc
from scipy.stats import t

from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.intervals import LEVEL, Bootstrap, Ratio

__all__ = ["FEWEST", "Estimate", "estimated", "of_regions", "shrinkage"]

FEWEST = 4
"""Targets below which their corrections do not show how far corrections differ."""

NEGLIGIBLE = 1e-6
"""Share of the largest standard error below which a correction is one of rounding."""


class Estimate(NamedTuple):
    """Importances of P targets, phenotypes or regions.

    Attributes
    ----------
    value : estimates with their intervals.
    raw : what was measured on held-out people and nothing else.
    """

    value: Ratio
    raw: Ratio


def estimated(bootstrap: Bootstrap, measured: NDArray[np.float64], implied: NDArray[np.float64], total: NDArray[np.float64]) -> Estimate:
    """Importances of phenotypes, or of one player in every region, from people's parts in them, the noise of held-out people shrunken.

    What is measured of a target is ``2 (x - f) . e`` more than what the model implies, ``f`` being its prediction of a person ``x``
    and ``e`` what the phenotype adds to it. Were the model right, that correction would be 0 on average; it has nearly all of the noise,
    and only as much of the signal as the model is wrong. With implied value ``i``, correction ``c`` and its standard error ``s``:

    - The corrections of all targets together are in proportion to what is implied: ``b = sum c / sum i``, as where a model says
      too much or too little of everything.
    - What is left of each, ``d = c - b i``, is noise of variance ``s^2`` plus the target's own, of variance ``a s^2``. A share ``w`` of
      it is kept, by the spread of ``d / s`` over targets (empirical Bayes with a uniform prior of ``1 / (1 + a)``; Morris 1983,
      J. Am. Stat. Assoc. 78:47), corrections that go together counted as fewer.
    - ``value = (1 + b) i + w d``. Values sum to what is measured of all, whatever ``w``, as raw ones do.

    The interval is the bootstrap's of ``value`` over people, widened by how far the part of ``d`` that was not kept may be true.

    Parameters
    ----------
    bootstrap : resamples of people.
    measured, implied : (N, P) people's parts in the numerators.
    total : (N,) their parts in the denominator, or (N, P) in the denominator of each target.

    Returns
    -------
    estimate : raw values in both places where there are fewer than four targets, or nothing is implied of them together. Of a phenotype
        that changes nothing both are exactly 0; NaN where a denominator is 0.
    """
    below = np.broadcast_to(total if total.ndim > 1 else total[:, None], measured.shape)
    there: NDArray[np.bool_] = np.any(below > 0, axis=0)
    if not there.all():
        found = estimated(bootstrap, measured[:, there], implied[:, there], below[:, there])
        return Estimate(*(_spread(ratio, there) for ratio in found))
    raw, known = bootstrap.ratio(measured, below), bootstrap.ratio(implied, below)
    whole = known.value.sum()
    n_units = bootstrap.n_units
    if not whole > NEGLIGIBLE * np.abs(known.value).sum() or n_units < 2:
        return Estimate(raw, raw)
    slope = (raw.value.sum() - whole) / whole
    denominators = bootstrap.summed(below)
    scores = bootstrap.summed(measured) - raw.value * denominators
    known_scores = bootstrap.summed(implied) - known.value * denominators
    scores, known_scores = (part * np.sqrt(n_units / (n_units - 1)) / denominators.sum(0) for part in (scores, known_scores))
    slope_scores = (scores.sum(1) - (1 + slope) * known_scores.sum(1)) / whole
    common = (1 + slope) * known_scores + slope_scores[:, None] * known.value
    own = scores - common
    error = np.sqrt((own**2).sum(0))
    counted = error > NEGLIGIBLE * error.max()
    if counted.sum() < FEWEST:
        return Estimate(raw, raw)
    left = np.where(counted, raw.value - (1 + slope) * known.value, 0)
    z = left[counted] / error[counted]
    alike = own[:, counted] / error[counted]
    freedom = counted.sum() ** 2 / float(((alike.T @ alike) ** 2).sum())
    lost, doubt = shrinkage(float((z**2).mean()), freedom)
    kept = 1 - lost
    value = (1 + slope) * known.value + kept * left
    with np.errstate(invalid="ignore", divide="ignore"):
        proportion = (raw.draws.sum(1) / known.draws.sum(1))[:, None]
    draws = kept * raw.draws + (1 - kept) * proportion * known.draws
    low, high = bootstrap.interval(value, draws, common + kept * own)
    extra = t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(kept * lost * error**2 + doubt * left**2)
    widened = Ratio(value, value - np.hypot(value - low, extra), value + np.hypot(high - value, extra), draws.astype(np.float32))
    return Estimate(widened, raw)


def of_regions(bootstrap: Bootstrap, parts: NDArray[np.float32], seen: Observed) -> Estimate:
    """Values in all regions from people's parts (N, R, 2), measured and implied, or (N, R, 1) where there are no real people to it."""
    if parts.shape[2] == 2:
        return estimated(bootstrap, parts[..., 0].astype(np.float64), parts[..., 1].astype(np.float64), seen.region_total)
    ratio = bootstrap.ratio(parts[..., 0], np.broadcast_to(seen.of_region.astype(np.float64), parts.shape[:2]))
    return Estimate(ratio, ratio)


def _spread(ratio: Ratio, there: NDArray[np.bool_]) -> Ratio:
    """A ratio of some targets among all (T,), NaN of the others."""

    def among(values: NDArray) -> NDArray:
        out = np.full((*values.shape[:-1], len(there)), np.nan, values.dtype)
        out[..., there] = values
        return out

    return Ratio(among(ratio.value), among(ratio.low), among(ratio.high), among(ratio.draws))


def shrinkage(spread: float, freedom: float) -> tuple[float, float]:
    """Posterior mean and variance of the share of a correction that is noise, ``1 / (1 + a)``, uniform beforehand.

    Parameters
    ----------
    spread : mean of squared corrections, each in standard errors: 1 where all is noise, ``1 + a`` expected.
    freedom : as of how many independent corrections.
    """
    # B^(k / 2) exp(-B k spread / 2) on (0, 1] is a gamma density cut off at 1.
    shape, rate = freedom / 2 + 1, freedom * max(spread, 1e-12) / 2
    below = gammainc(shape, rate)
    if below < 1e-280:  # so little spread that all of the density is at 1
        return 1.0, 0.0
    first = shape / rate * gammainc(shape + 1, rate) / below
    second = shape * (shape + 1) / rate**2 * gammainc(shape + 2, rate) / below
    return float(first), float(max(second - first**2, 0))

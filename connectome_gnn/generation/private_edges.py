"""Means, spreads and presence of edges, released with noise and cleaned of it as far as their own regularity allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.privacy import Ledger
from connectome_gnn.generation.private_regression import denoised
from connectome_gnn.generation.private_statistics import clipped, edge_moments, radius_of

__all__ = ["SHARES", "released_edges"]

SHARES = {"length": 0.02, "mean": 0.16, "distance": 0.02, "moments": 0.32, "standardised mean": 0.46}
"""Shares of the budget, before the network's, of each release of this step."""
SQUARES, PRESENCE = 0.5, 0.35
TAIL = 1.3
LEAST_SPREAD = 0.02
WINDOW, PRECISION = 0.05, 0.1
PROBES = 6
EVERYWHERE = 0.999
STRATA = 8


def released_edges(cohort: Cohort, weight: NDArray[np.float64], trends: NDArray[np.float64], ledger: Ledger, scale: float) -> EdgeSpace:
    """Statistics of edges as an edge space without components.

    A first rough mean makes distances to it short, and short distances need little noise for the second, final one.

    Parameters
    ----------
    weight : (N,) weight of each row; the rows of a unit weigh 1 together.
    trends : (E, T) orthonormal patterns, publicly known, that mean connectomes tend to follow.
    scale : share of the budget that :data:`SHARES` are shares of.
    """
    n, n_edges = float(round(weight.sum())), cohort.n_edges
    root = np.sqrt(n_edges)
    length = root * radius_of("length of connectomes", cohort.modelled, weight, ledger, scale * SHARES["length"])
    total = np.zeros(n_edges)
    for part, values in cohort.modelled():
        total += weight[part] @ clipped(values, length)
    rough, sd = ledger.release("rough mean of edges", total / length, 2.0, scale * SHARES["mean"])
    rough, sd = rough * length / n, sd * length / n
    centre = _smooth_mean(rough, sd, trends)

    def away() -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for part, values in cohort.modelled():
            yield part, (values - centre).astype(np.float32)

    reach = root * radius_of("distance to the mean", away, weight, ledger, scale * SHARES["distance"])
    # Squares of Gaussian distances of that length together, with equal spreads: their root is sqrt(3 / E) times its square.
    square_reach = TAIL * np.sqrt(3 / n_edges) * reach**2
    exact = edge_moments(cohort, weight, centre, reach, square_reach, (SQUARES, PRESENCE))
    noisy, sd = ledger.release(
        "moments of edges",
        np.concatenate([exact.first, exact.second, exact.present]),
        exact.sensitivity,
        scale * SHARES["moments"],
    )
    first, second, present = noisy.reshape(3, n_edges)
    mean = _smooth_mean(centre + first * reach / n, sd * reach / n, trends)
    presence, presence_sd = present * 0.5 * root / (PRESENCE * n) + 0.5, sd * 0.5 * root / (PRESENCE * n)
    if presence.mean() > EVERYWHERE - 3 * presence_sd / root:
        presence[:] = 1  # a kind of connectome without absent edges: noise is not to make any
    else:
        presence = np.clip(_along(mean, presence, presence_sd, 1.0), 0, 1)
    variance_sd = sd * square_reach / (SQUARES * n)
    variance = second * square_reach / (SQUARES * n) - (mean - centre) ** 2
    typical = max(float(variance.mean()), variance_sd / np.sqrt(n_edges))
    std = np.sqrt(np.maximum(_along(mean, variance, variance_sd, typical), LEAST_SPREAD * typical))
    if not cohort.signed:
        mean = np.maximum(mean, 0)
    kept = presence >= 0.5
    if not kept.any():
        kept = presence >= presence.max()
    as32 = [array.astype(np.float32) for array in (mean, std, presence)]
    space = EdgeSpace(as32[0], as32[1], as32[2], kept, np.zeros((0, int(kept.sum())), np.float32))
    return _refined(space, cohort, weight, ledger, scale)


def _refined(space: EdgeSpace, cohort: Cohort, weight: NDArray[np.float64], ledger: Ledger, scale: float) -> EdgeSpace:
    """The mean once more, of standardised edges: noise of equal size in standard deviations of every edge."""
    n, size = float(round(weight.sum())), int(space.kept.sum())
    reach = np.sqrt(size) * radius_of(
        "distance in standard deviations", lambda: space.standardised(cohort), weight, ledger, scale * SHARES["distance"]
    )
    total = np.zeros(size)
    for part, values in space.standardised(cohort):
        total += weight[part] @ clipped(values, reach)
    noisy, sd = ledger.release("mean of standardised edges", total / reach, 2.0, scale * SHARES["standardised mean"])
    noisy, sd = noisy * reach / n, sd * reach / n
    std = space.std[space.kept].astype(np.float64)
    away = np.empty(size)
    for stratum in np.array_split(np.argsort(std, kind="stable"), min(STRATA, size)):
        keep = max(0.0, 1 - sd**2 / max(float((noisy[stratum] ** 2).mean()), 1e-300))
        away[stratum] = keep * noisy[stratum]
    mean = space.mean.copy()
    mean[space.kept] += (away * std).astype(np.float32)
    return replace(space, mean=mean)


def _smooth_mean(noisy: NDArray[np.float64], sd: float, trends: NDArray[np.float64]) -> NDArray[np.float64]:
    """A noisy mean connectome drawn to what is regular in it, in the way that promises the least error.

    Regular is what follows the trends, and besides what is of low rank; Stein's unbiased estimate of the squared error says how far to
    go towards which. Going nowhere is among the choices.
    """

    def trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return trends @ (trends.T @ values)

    def low_rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth = trend(values)
        return smooth + to_vectors(denoised(to_matrices(values - smooth), sd))

    best, least = noisy, 0.0
    for regular in (trend, low_rank):
        left = noisy - regular(noisy)
        freedom = len(noisy) - _freedom(regular, noisy, sd)
        energy = max(float((left**2).sum()), 1e-300)
        step = min(max(sd**2 * freedom / energy, 0.0), 1.0)
        gain = 2 * step * sd**2 * freedom - step**2 * energy
        if gain > least:
            best, least = noisy - step * left, gain
    return best


def _freedom(regular: Callable[[NDArray[np.float64]], NDArray[np.float64]], noisy: NDArray[np.float64], sd: float) -> float:
    """Degrees of freedom of a smoother, by probes (Ramani, Blu & Unser 2008)."""
    draw, probe = np.random.default_rng(0), 0.1 * sd
    around = regular(noisy)
    signs = [draw.choice([-1.0, 1.0], len(noisy)) for _ in range(PROBES)]
    return float(np.mean([sign @ (regular(noisy + probe * sign) - around) / probe for sign in signs]))


def _along(mean: NDArray[np.float64], noisy: NDArray[np.float64], sd: float, typical: float) -> NDArray[np.float64]:
    """Noisy numbers of edges drawn to those of edges of like mean, as far as noise explains their distance (Efron & Morris 1973).

    As many edges are taken together as it takes to see a tenth of ``typical`` through the noise.
    """
    size = len(mean)
    width = int(np.clip((sd / (PRECISION * typical)) ** 2, WINDOW * size + 1, size))
    order = np.argsort(mean, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(noisy[order])])
    start = np.clip(np.arange(size) - width // 2, 0, size - width)
    near = np.empty_like(noisy)
    near[order] = (sums[start + width] - sums[start]) / width
    rest = noisy - near
    keep = max(0.0, 1 - sd**2 / max(float((rest**2).mean()), 1e-300))
    return near + keep * rest

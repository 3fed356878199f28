"""Learning each edge's own distribution from training people, also of edges that few of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.marginals import REACH, Marginals, knot_scores
from connectome_gnn.slices import slices

__all__ = ["GRID", "fit_marginals", "marginals_from", "smoother"]

PEOPLE = 2000
CHUNK = 20_000_000
GRID = np.linspace(-REACH, REACH, 33)
SMOOTHNESS = 1.0
PRIOR_PEOPLE = 2.0
LEAST_SLOPE = 0.02
LEAST_SPREAD = 1e-3
ANCHOR = 0.25
MARGIN = 0.5
"""By how many standard deviations an edge's tails may lie beyond where its most extreme value and the common shape put them."""
FEW = 5
SHAPES, SHAPE_EDGES, SHAPE_PEOPLE = 5, 2000, 10
NEVER = 1e-9
NOBODY = 1.2e-7
"""A share of people that float32 tells from 0 beside 1."""


def fit_marginals(cohort: Cohort, seed: int = 0) -> Marginals:
    """Every edge's distribution over the people of a cohort.

    Shares of zeros are those among the people. What nobody shows is not impossible: an edge that everybody has is absent, and one that
    nobody has is there, as often as the number of edges that a single person lacks, or has, tells (Good 1953, Biometrika 40:237); where
    fewer than 5 edges do, once in 1e9. The values of those who have an edge are sorted, and their distance from the quantiles of a
    common shape (edges pooled that about as many people have) is smoothed over their normal scores by penalised second differences: with
    few people the distribution tends to the common one, with many it is their own. An edge that few people have borrows spread from
    others that few have (as from 2 people more), and one that nobody has also its values.

    Parameters
    ----------
    cohort : the people, read twice, batch by batch; the values of 2,000 of them where there are more.
    seed : of that draw.
    """
    n, n_edges = cohort.n_people, cohort.n_edges
    negative, absent = np.zeros(n_edges), np.zeros(n_edges)
    least, whole = np.inf, not cohort.signed
    for _, weights in cohort.batches():
        negative += (weights < 0).sum(0)
        absent += (weights == 0).sum(0)
        magnitude = np.abs(weights, dtype=np.float32)
        least = min(least, float(np.min(magnitude, where=magnitude > 0, initial=np.inf)))
        whole = whole and bool((weights == np.rint(weights)).all())
    # Correlations that end in a gap around 0 were cut off there; a whole number stands for everything that rounds to it.
    floor = 0.0
    if np.isfinite(least) and (whole or cohort.signed):
        floor = float(cohort.scale.forward(least if cohort.signed else least / 2))
    below, zeros = _shares(negative, absent, n, cohort.signed)
    some = cohort if n <= PEOPLE else cohort.take(np.sort(np.random.default_rng(seed).choice(n, PEOPLE, replace=False)))
    two_sided = knot_scores(below, zeros)[0] > 0
    no_atom = zeros == 0  # one side holds negative and positive values alike
    sides = {sign: _Side(n_edges) for sign in (-1, 1)}

    def magnitudes(edges: slice | NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Each sign and people's magnitudes (n, some edges) of that sign, sorted, infinite where an edge has another sign or none."""
        values = np.concatenate([part[:, edges] for _, part in some.modelled()])
        if two_sided[edges].any():
            yield -1, np.sort(np.where((values < 0) & two_sided[edges], -values, np.float32(np.inf)), 0)
        values[~((values > 0) | no_atom[edges])] = np.inf
        values.sort(axis=0)
        yield 1, values

    for sign, values in magnitudes(np.unique(np.linspace(0, n_edges - 1, SHAPE_EDGES).astype(np.intp))):
        sides[sign].learn_shapes(values)
    for edges in slices(n_edges, max(CHUNK // len(some), 1)):
        for sign, values in magnitudes(edges):
            sides[sign].fill(edges, values)
    tables = {sign: side.quantiles(~no_atom, len(some), floor) for sign, side in sides.items()}
    return marginals_from(below, zeros, lambda sign, scores: _interpolated(tables[sign], scores), floor)


def marginals_from(
    below: NDArray[np.float64],
    zeros: NDArray[np.float64],
    quantile: Callable[[int, NDArray[np.float64]], NDArray[np.float64]],
    floor: float = 0.0,
) -> Marginals:
    """Marginals with given quantile functions.

    Parameters
    ----------
    below, zeros : (E,) share of people whose edge is negative, and exactly 0.
    quantile : of a sign (1 or -1) and normal scores (E, G) gives the magnitudes (E, G) of an edge's values of that sign at these scores,
        increasing, above 0; where ``zeros`` is 0, of all values, called with sign 1.
    """
    split, scores = knot_scores(below, zeros)
    negative = np.arange(scores.shape[1]) < split[:, None]
    values = quantile(1, scores)
    if negative.any():
        values = np.where(negative, -quantile(-1, -scores), values)
    constant = values.max(1) == values.min(1)
    knots = values.astype(np.float32)
    for place in range(1, knots.shape[1]):  # strictly increasing, so that every value has one score
        least = knots[:, place - 1] + 2e-7 * np.maximum(np.abs(knots[:, place - 1]), np.float32(1e-3))
        knots[:, place] = np.where(constant, knots[:, 0], np.maximum(knots[:, place], least))
    return Marginals(below.astype(np.float32), zeros.astype(np.float32), knots, np.array([floor], np.float32))


class _Side:
    """Magnitudes of the values on one side of 0, smoothed edge by edge as they come.

    Attributes
    ----------
    shapes : (S, 33) common shape of edges with up to ``limits`` values, in standard deviations, at normal scores -3.2, -3.0, ..., 3.2.
    smooth : (E, 33) values at these scores.
    count, mean, spread, least, most : (E,) number of people with a value on this side, its mean, standard deviation, minimum and maximum.
    """

    def __init__(self, n_edges: int) -> None:
        self.shapes, self.limits = GRID[None], np.array([np.inf])
        self.smooth = np.zeros((n_edges, len(GRID)))
        self.count = np.zeros(n_edges, np.intp)
        self.mean, self.spread, self.least, self.most = (np.zeros(n_edges) for _ in range(4))
        self.smoothers: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def learn_shapes(self, values: NDArray[np.float32]) -> None:
        """Pool sorted values (n, some edges) by how many people have an edge."""
        count = np.isfinite(values).sum(0)
        fit = count >= SHAPE_PEOPLE
        if not fit.any():
            return
        limits = np.unique(np.quantile(count[fit], np.linspace(0, 1, SHAPES + 1)[1:], method="higher"))
        shapes = []
        for low, high in zip(np.concatenate([[0], limits[:-1]]), limits, strict=True):
            pooled = []
            for edge in np.flatnonzero(fit & (count > low) & (count <= high)):
                there = values[: count[edge], edge].astype(np.float64)
                spread = there.std(ddof=1)
                if spread > 1e-6 * max(abs(there[0]), 1):
                    pooled.append((there - there.mean()) / spread)
            shapes.append(np.quantile(np.concatenate(pooled), ndtr(GRID), method="hazen") if pooled else GRID)
        self.shapes, self.limits = np.stack(shapes), np.concatenate([limits[:-1], [np.inf]])

    def fill(self, edges: slice, values: NDArray[np.float32]) -> None:
        """Take in sorted values (n, some edges), infinite where they are not on this side."""
        count = np.isfinite(values).sum(0)
        self.count[edges] = count
        for m in map(int, np.unique(count[count > 0])):
            chosen = np.flatnonzero(count == m)
            there, rows = values[:m, chosen].astype(np.float64), edges.start + chosen
            mean = there.mean(0)
            self.mean[rows], self.least[rows], self.most[rows] = mean, there[0], there[-1]
            if m > 1:
                self.spread[rows] = spread = there.std(0, ddof=1)
                if m not in self.smoothers:
                    self.smoothers[m] = smoother(m)
                hats, weights = self.smoothers[m]
                common = self._shape(m)
                away = there - mean - np.outer(hats @ common, spread)
                self.smooth[rows] = mean[:, None] + spread[:, None] * common + (weights @ away).T

    def _shape(self, count: int) -> NDArray[np.float64]:
        return self.shapes[int(np.searchsorted(self.limits, count))]

    def quantiles(self, bounded: NDArray[np.bool_], n_people: int, floor: float) -> NDArray[np.float64]:
        """(E, 33) increasing values at the normal scores; none below ``floor`` on edges (E,) that are ``bounded``."""
        count = self.count
        if not count.any():
            return self.smooth
        constant = (count == n_people) & (self.spread <= np.maximum(1e-6, 1e-6 * np.abs(self.mean)))
        several = (count > 1) & ~constant & (self.spread > 0)
        spread = np.maximum(self.spread, LEAST_SPREAD)
        pooled = max(float(np.abs(self.mean).max()) * 0.1, LEAST_SPREAD)
        if several.any():
            rare = several & (count <= np.quantile(count[several], 0.25))
            pooled = float(np.exp(np.average(np.log(spread[rare]), weights=count[rare] - 1)))
        fewest = count == count[count > 0].min()
        mean = np.where(count > 0, self.mean, self.mean[fewest].mean())
        least = np.where(count > 0, self.least, self.least[fewest].mean())
        # The spread that a new person's value has: borrowed from others on a logarithmic scale, and the mean is uncertain too.
        share = np.where(several, np.maximum(count - 1, 0) / (np.maximum(count - 1, 0) + PRIOR_PEOPLE), 0)
        scale = np.exp(share * np.log(spread) + (1 - share) * np.log(pooled)) * np.sqrt(1 + 1 / np.maximum(count, 1))
        scale[constant] = 0
        common = self.shapes[np.searchsorted(self.limits, count)]
        shape = np.where(several[:, None], (self.smooth - mean[:, None]) / spread[:, None], common)
        values = mean[:, None] + scale[:, None] * _increasing(shape)
        # Where people come in two kinds the steps between the kinds must not go on beyond the upper one.
        place = np.minimum(ndtri(1 - 0.5 / np.maximum(count, 1)), REACH)[:, None]
        above = np.maximum(common - _interpolated(common, place), 0) + MARGIN
        values = np.where(several[:, None], np.minimum(values, self.most[:, None] + scale[:, None] * above), values)
        below = np.minimum(common - _interpolated(common, -place), 0) - MARGIN
        values = np.where((several & ~bounded)[:, None], np.maximum(values, self.least[:, None] + scale[:, None] * below), values)
        values[constant] = mean[constant, None]
        # Below the least value that anybody has, a bounded edge approaches the floor, and does not cross it.
        anchor = np.maximum(least, floor + ANCHOR * scale)[:, None]
        short = bounded[:, None] & (values < anchor) & ~constant[:, None]
        height = np.where(short, anchor - floor, 1)
        return np.where(short, floor + height * np.exp(np.minimum((values - anchor) / height, 0)), values)


def _increasing(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapes (E, 33) with at least a slope of .02 in standard deviations, the middle kept."""
    rise = np.maximum(np.diff(shape, axis=1), LEAST_SLOPE * (GRID[1] - GRID[0]))
    up = np.concatenate([np.zeros((len(rise), 1)), np.cumsum(rise, 1)], 1)
    middle = len(GRID) // 2
    return shape[:, [middle]] + up - up[:, [middle]]


def smoother(m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m, 33) hat functions at the places of m sorted values, and (33, m) weights that smooth them.

    Least squares over hat functions of the normal score, at Hazen's plotting positions (i - 1/2) / m, weighed by the precision of order
    statistics of normal values; second differences are penalised (Eilers & Marx 1996, Stat. Sci. 11:89).
    """
    place = (np.arange(m) + 0.5) / m
    score = ndtri(place)
    step = GRID[1] - GRID[0]
    position = np.clip((score - GRID[0]) / step, 0, len(GRID) - 1.000001)
    left = position.astype(np.intp)
    hats = np.zeros((m, len(GRID)))
    hats[np.arange(m), left], hats[np.arange(m), left + 1] = 1 - (position - left), position - left
    precision = np.exp(-(score**2)) / (2 * np.pi) / (place * (1 - place))
    weighed = hats * precision[:, None]
    second = np.diff(np.eye(len(GRID)), 2, axis=0) / step**1.5
    return hats, np.linalg.solve(weighed.T @ hats + SMOOTHNESS * second.T @ second, weighed.T)


def _shares(negative: NDArray, absent: NDArray, n: int, signed: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of people below and at 0, (E,) each, given their numbers; never quite 0 or 1 where that would make a person impossible."""
    zeros = absent / n
    if absent.any() or not signed:
        zeros[absent == 0] = _unseen(absent, n)
    zeros[absent == n] = 1 - max(_unseen(n - absent, n), NOBODY)
    below = np.minimum(negative / n, 1 - zeros)
    return below.astype(np.float32).astype(np.float64), zeros.astype(np.float32).astype(np.float64)  # as they are stored


def _unseen(count: NDArray, n: int) -> float:
    """Chance of what no person of n shows on an edge, from how many edges one person alone shows it."""
    single, none = int((count == 1).sum()), int((count == 0).sum())
    return min(single / (n * max(none, 1)), 1 / (n + 1)) if single >= FEW else NEVER


def _interpolated(table: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (E, G) at normal scores (E, G) of tables (E, 33)."""
    position = np.clip((scores - GRID[0]) / (GRID[1] - GRID[0]), 0, len(GRID) - 1.000001)
    left = position.astype(np.intp)
    low, high = np.take_along_axis(table, left, 1), np.take_along_axis(table, left + 1, 1)
    return low + (position - left) * (high - low)

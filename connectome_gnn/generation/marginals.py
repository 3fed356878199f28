"""Each edge's own distribution over people: a share of exact zeros and a smooth quantile function of the rest, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["KNOTS", "REACH", "Marginals", "knot_scores"]

KNOTS = 41
REACH = 3.2
"""Knots span the normal scores from -3.2 to 3.2 of an edge's values on one side of 0; tails lie beyond."""
LOWEST = -8.0
"""Latent score that nothing lies below: where edges start that are never absent."""
LEAST_KNOTS = 5
STEEPEST, FLATTEST = 0.5, 20.0
GROWTH = 0.25
"""By how much the slope grows with a latent score beyond the outermost knot: between a normal tail (0) and a log-normal one (1)."""
BLOCK = 256
SOME = 5e-8
"""Share of people below which there is nobody: half of what float32 tells from 1."""
CLOSEST = 1e-4
"""How close to the floor, in distances of the innermost knot, a value below the floor is taken to be: some 30 nats against it."""
LEAST_CHANCE = 1e-9
"""Density that a value gets which differs from the one that all training people share."""

# Columns of a branch's row: where it starts, how its grid lies, and its two tails.
FIRST, INVERSE_STEP, INNER, POWER, OUTER, OUTER_PLACE, SLOPE = range(7)


@dataclass(frozen=True)
class Marginals:
    """The distribution of every edge over people, as a map between a standard normal latent score and a value.

    A latent score x between ``Phi^-1(below)`` and ``Phi^-1(below + zeros)`` is an absent edge, exactly 0. On either side of this interval
    the value grows with x: linear in ``v = sqrt(|x - threshold|)`` between knots at equal steps of v, which lie densely where values begin
    and reach from the normal score -3.2 to 3.2 of the values on that side. Beyond the outermost knots it goes on from the slope that it has
    there, a little faster than a normal tail, so that no value lies beyond all scores; between the threshold and the innermost knot it
    falls to ``floor`` as a power of v. The map is strictly increasing outside the absent interval, so that a value has one score and a
    finite density, also a value that no training person had.

    Parameters
    ----------
    below, zeros : (E,) share of people whose edge is negative, and exactly 0. Where ``zeros`` is 0 there is no atom and 0 is a value like
        any other.
    quantiles : (E, G) values at the knots (:func:`knot_scores`), modelling scale, ascending; all equal where people do not differ.
    floor : (1,) magnitude that no value but 0 falls below, on edges that are absent in somebody.
    """

    below: NDArray[np.float32]
    zeros: NDArray[np.float32]
    quantiles: NDArray[np.float32]
    floor: NDArray[np.float32]

    @cached_property
    def split(self) -> NDArray[np.int32]:
        """(E,) knots that belong to negative values."""
        return _split(self.below, self.zeros, self.quantiles.shape[1])

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """(2, E) latent scores between which an edge is absent; where there is no atom both are -8."""
        return _thresholds(self.below, self.zeros)

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """(E,) edges that are the same in everybody."""
        return (self.quantiles[:, 0] == self.quantiles[:, -1]) & (self.zeros < 0.5)

    @cached_property
    def _branches(self) -> NDArray[np.float64]:
        """(E, 2, 7) negative and positive side of each edge, as the kernels want them; values of the negative side by magnitude."""
        n_edges, n_knots = self.quantiles.shape
        table = np.zeros((n_edges, 2, 7))
        reach = _reach(self.below, self.zeros)
        knots = self.quantiles.astype(np.float64)
        rows = np.arange(n_edges)
        atom = self.zeros > 0
        for side in (0, 1):
            count = self.split if side == 0 else n_knots - self.split
            used = count > 1
            last = np.where(used, count - 1, 1)
            # Position of the innermost, its neighbour, the outermost and the one three before it.
            inner = [np.where(side == 0, self.split - 1 - k, self.split + k) for k in (0, 1)]
            outer = [np.where(side == 0, k, n_knots - 1 - k) for k in (0, 3)]
            sign = 2 * side - 1
            q0, q1, q_end, q_before = (sign * knots[rows, np.clip(place, 0, n_knots - 1)] for place in (*inner, *outer))
            v0, v1 = reach[side]
            step = np.where(used & (v1 > v0), (v1 - v0) / last, 1)
            rise = (q1 - q0) / step
            height = np.maximum(q0 - self.floor[0], 1e-12)
            power = np.clip(rise * v0 / height, STEEPEST, FLATTEST)
            fall = rise / (2 * np.where(v0 > 0, v0, 1))  # of the value with x, where no atom stops it
            slope = np.divide(q_end - q_before, v1**2 - (v1 - 3 * step) ** 2, out=np.ones(n_edges), where=used & (v1 > v0))
            branch = (v0, 1 / step, q0, np.where(atom, power, fall), q_end, v1**2, slope)
            table[:, side] = np.where(used[:, None], np.stack(np.broadcast_arrays(*branch), 1), 0)
        return table

    @cached_property
    def _light(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.thresholds.astype(np.float32), self._branches.astype(np.float32)

    def values(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (n, E) on the modelling scale of latent scores (n, E), which they take the place of: the array is overwritten."""
        thresholds, branches = self._light
        _forward(latent, self.quantiles, self.split, thresholds, branches, self.zeros > 0, self.floor[0])
        return latent

    def scores(self, values: NDArray[np.float32], slopes: bool = True) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Latent scores of values, the inverse of :meth:`values`.

        Parameters
        ----------
        values : (n, E) on the modelling scale.
        slopes : whether ``log_slope`` is wanted, which takes a third of the time.

        Returns
        -------
        scores : (n, E) float32; NaN for absent edges, whose score is anywhere in :attr:`thresholds`; 0 where people do not differ.
        log_slope : (n, E) logarithm of the derivative of the value in the score; 0 for absent edges and where people do not differ
            (but 20.7, as of a density of 1e-9, for a value that nobody had there).
        """
        scores, log_slope = np.empty(values.shape, np.float32), np.empty(values.shape if slopes else (0, 0), np.float32)
        _backward(
            values,
            self.quantiles,
            self.split,
            self.thresholds,
            self._branches,
            self.zeros > 0,
            self.constant,
            self.floor[0],
            scores,
            log_slope,
        )
        return scores, log_slope

    def log_density(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log density of values (n, E) over all people, in nats: a point mass at 0, else per unit of the modelling scale."""
        scores, log_slope = self.scores(values)
        absent = np.isnan(scores)
        density = -0.5 * scores.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi)
        density[:, self.constant] = 0
        with np.errstate(divide="ignore"):
            return np.where(absent, np.log(self.zeros.astype(np.float64)), density - log_slope)


def knot_scores(below: NDArray, zeros: NDArray, n_knots: int = KNOTS) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Where the knots of :class:`Marginals` lie.

    Parameters
    ----------
    below, zeros : (E,) share of people whose edge is negative, and exactly 0.

    Returns
    -------
    split : (E,) how many of an edge's knots belong to negative values, the first ones.
    scores : (E, G) normal score of each knot among the edge's values on the same side of 0, ascending from -3.2 to 3.2 on each side;
        among all values where ``zeros`` is 0.
    """
    below, zeros = below.astype(np.float64), zeros.astype(np.float64)
    split = _split(below, zeros, n_knots)
    place = np.arange(n_knots)
    low, high = _thresholds(below, zeros)
    (n0, n1), (p0, p1) = _reach(below, zeros)
    negative = place < split[:, None]
    # Steps from the innermost knot of a side.
    step_n = (split[:, None] - 1 - place) / np.maximum(split[:, None] - 1, 1)
    step_p = (place - split[:, None]) / np.maximum(n_knots - 1 - split[:, None], 1)
    x_n = low[:, None] - (n0[:, None] + (n1 - n0)[:, None] * np.maximum(step_n, 0)) ** 2
    x_p = high[:, None] + (p0[:, None] + (p1 - p0)[:, None] * np.maximum(step_p, 0)) ** 2
    tiny = 1e-300
    mass = np.where(zeros > 0, np.maximum(1 - below - zeros, tiny), 1)
    of_negative = ndtri(np.clip(ndtr(x_n) / np.maximum(below, tiny)[:, None], tiny, 1))
    of_positive = -ndtri(np.clip(ndtr(-x_p) / mass[:, None], tiny, 1))
    return split, np.clip(np.where(negative, of_negative, of_positive), -REACH, REACH)


def _split(below: NDArray, zeros: NDArray, n_knots: int) -> NDArray[np.int32]:
    below, above = below.astype(np.float64), 1 - below.astype(np.float64) - zeros.astype(np.float64)
    share = np.rint(n_knots * below / np.maximum(below + above, 1e-12))
    both = np.clip(share, LEAST_KNOTS, n_knots - LEAST_KNOTS)
    split = np.where(below <= 0, 0, np.where(above <= SOME, n_knots, both))
    return np.where(zeros > 0, split, 0).astype(np.int32)


def _thresholds(below: NDArray, zeros: NDArray) -> NDArray[np.float64]:
    below, zeros = below.astype(np.float64), zeros.astype(np.float64)
    above = 1 - below - zeros
    low = np.where(below > 0, ndtri(below), LOWEST)
    with np.errstate(invalid="ignore"):
        high = np.where(above > SOME, np.where(above < 0.5, -ndtri(np.clip(above, 0, 1)), ndtri(np.clip(below + zeros, 0, 1))), -LOWEST)
    return np.clip(np.where(zeros > 0, np.stack([low, high]), LOWEST), LOWEST, -LOWEST)


def _reach(below: NDArray, zeros: NDArray) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """Innermost and outermost v of the negative and of the positive side, (E,) each."""
    below, zeros = below.astype(np.float64), zeros.astype(np.float64)
    low, high = _thresholds(below, zeros)
    tail, tiny = ndtr(-REACH), 1e-300
    above = np.where(zeros > 0, np.maximum(1 - below - zeros, 0), 1)
    start = np.where(zeros > 0, below + zeros, 0)
    far = -ndtri(np.maximum(above * tail, tiny))
    # Close to the threshold on the side of small shares, where 1 - share keeps its digits.
    near = np.where(above < 0.5, -ndtri(np.maximum(above * (1 - tail), tiny)), ndtri(np.clip(start + above * tail, tiny, 1)))
    positive = np.sqrt(np.maximum(near - high, 1e-12)), np.sqrt(np.maximum(far - high, 1e-11))
    far, near = ndtri(np.maximum(below * tail, tiny)), ndtri(np.maximum(below * (1 - tail), tiny))
    negative = np.sqrt(np.maximum(low - near, 1e-12)), np.sqrt(np.maximum(low - far, 1e-11))
    return negative, positive


@njit(cache=True, nogil=True)
def _forward(
    latent: NDArray,
    quantiles: NDArray,
    split: NDArray,
    thresholds: NDArray,
    branches: NDArray,
    atom: NDArray[np.bool_],
    floor: float,
) -> None:
    n, n_edges = latent.shape
    n_knots = quantiles.shape[1]
    for block in range(0, n_edges, BLOCK):
        for i in range(n):
            for e in range(block, min(block + BLOCK, n_edges)):
                x = latent[i, e]
                w = x - thresholds[1, e]
                if w > 0:
                    # Far most often: between two knots on the positive side.
                    v = np.sqrt(w)
                    position = (v - branches[e, 1, FIRST]) * branches[e, 1, INVERSE_STEP]
                    last = n_knots - 1 - split[e]
                    if position >= 0 and position < last:
                        left = np.uint32(position)
                        knot = np.uint32(split[e]) + left
                        low = quantiles[e, knot]
                        latent[i, e] = low + (position - left) * (quantiles[e, knot + np.uint32(1)] - low)
                    else:
                        latent[i, e] = _in_tail(position, v, branches[e, 1], atom[e], floor)
                elif not atom[e]:
                    latent[i, e] = _in_tail(-1, 0, branches[e, 1], False, floor)
                elif split[e] > 0 and x < thresholds[0, e]:
                    v = np.sqrt(thresholds[0, e] - x)
                    position = (v - branches[e, 0, FIRST]) * branches[e, 0, INVERSE_STEP]
                    last = split[e] - 1
                    if position >= 0 and position < last:
                        step = int(position)
                        low = quantiles[e, last - step]
                        latent[i, e] = low + (position - step) * (quantiles[e, last - step - 1] - low)
                    else:
                        latent[i, e] = -_in_tail(position, v, branches[e, 0], True, floor)
                else:
                    latent[i, e] = 0


@njit(cache=True, nogil=True)
def _in_tail(position: float, v: float, branch: NDArray, atom: bool, floor: float) -> float:
    """Magnitude at a place v before the innermost knot (a negative position) or beyond the outermost."""
    if position >= 0:
        return branch[OUTER] + branch[SLOPE] * _grown(v * v - branch[OUTER_PLACE])
    if atom:
        return floor + (branch[INNER] - floor) * (v / branch[FIRST]) ** branch[POWER]
    return branch[INNER] - branch[POWER] * _grown(branch[FIRST] * branch[FIRST] - v * v)


@njit(cache=True, nogil=True)
def _grown(beyond: float) -> float:
    """By how many slopes the value goes on, this far beyond the outermost knot."""
    return np.expm1(GROWTH * beyond) / GROWTH


@njit(cache=True, nogil=True)
def _shrunk(slopes: float) -> float:
    """The inverse of :func:`_grown`."""
    return np.log1p(GROWTH * slopes) / GROWTH


@njit(cache=True, nogil=True)
def _backward(
    values: NDArray,
    quantiles: NDArray,
    split: NDArray,
    thresholds: NDArray,
    branches: NDArray,
    atom: NDArray[np.bool_],
    constant: NDArray[np.bool_],
    floor: float,
    scores: NDArray,
    log_slope: NDArray,
) -> None:
    n, n_edges = values.shape
    n_knots = quantiles.shape[1]
    surprise = -np.log(LEAST_CHANCE)
    wanted = log_slope.shape[0] == n
    for block in range(0, n_edges, BLOCK):
        for i in range(n):
            for e in range(block, min(block + BLOCK, n_edges)):
                value = np.float64(values[i, e])
                if value == 0 and atom[e]:
                    scores[i, e] = np.nan
                    if wanted:
                        log_slope[i, e] = 0
                    continue
                if constant[e]:
                    shared = quantiles[e, 0]
                    scores[i, e] = 0
                    if wanted:
                        log_slope[i, e] = 0 if abs(value - shared) <= 1e-5 * max(abs(shared), 1) else surprise
                    continue
                side = 0 if (value < 0 and split[e] > 0) or split[e] == n_knots else 1
                if side == 0:
                    magnitude, first, step, last = -value, split[e] - 1, -1, split[e] - 1
                    sign = -1.0
                else:
                    magnitude, first, step, last = value, split[e], 1, n_knots - 1 - split[e]
                    sign = 1.0
                branch = branches[e, side]
                if magnitude < branch[INNER]:
                    if atom[e]:
                        height = max(branch[INNER] - floor, 1e-12)
                        ratio = max((magnitude - floor) / height, CLOSEST)
                        v = branch[FIRST] * ratio ** (1 / branch[POWER])
                        w = v * v
                        slope = branch[POWER] * height * ratio / (2 * w)
                    else:
                        beyond = (branch[INNER] - magnitude) / branch[POWER]
                        w = branch[FIRST] ** 2 - _shrunk(beyond)
                        slope = branch[POWER] * (1 + GROWTH * beyond)
                elif magnitude >= branch[OUTER]:
                    beyond = (magnitude - branch[OUTER]) / branch[SLOPE]
                    w = branch[OUTER_PLACE] + _shrunk(beyond)
                    slope = branch[SLOPE] * (1 + GROWTH * beyond)
                else:
                    left, right = 0, last
                    while right - left > 1:
                        middle = (left + right) // 2
                        if sign * quantiles[e, first + step * middle] <= magnitude:
                            left = middle
                        else:
                            right = middle
                    low = sign * quantiles[e, first + step * left]
                    rise = sign * quantiles[e, first + step * (left + 1)] - low
                    v = branch[FIRST] + (left + (magnitude - low) / rise) / branch[INVERSE_STEP]
                    w = v * v
                    slope = rise * branch[INVERSE_STEP] / (2 * v)
                scores[i, e] = thresholds[1, e] + w if side == 1 else thresholds[0, e] - w
                if wanted:
                    log_slope[i, e] = np.log(slope)

"""Identification: is the connectome generated for a person the one that is most like that person's real one?

``S_ij = r(x_i, y_j)``, x_i the real connectome of person i and y_j the one generated for person j, over edges, modelling scale: demeaned,
``r(x_i - m, y_j - m)`` over common edges, m the training mean, or raw, over all edges (names in ``_raw``). Everybody generated is the
gallery. Ties count as chance: a person who ties with e others for a place has a share 1 / (1 + e) of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from connectome_gnn.evaluation.ceilings import CeilingScore, attenuated
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.resampling import halves
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.similarity import Identified, error_free, identified
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["identification_scores"]

LEAST_PEOPLE = 3
"""With fewer there is nobody left to be mistaken for once a person is left out, as the intervals need."""

HALF_SAMPLES = 100
"""Random halves of people from which the scatter of a share is taken."""

CONFIDENCE = 0.95


class _Identification(CeilingScore):
    """What the scores have in common: a credit for each pair of people, averaged over everybody's own.

    Parameters
    ----------
    demeaned : whether the training mean is taken out first.
    """

    stem = ""

    def __init__(self, demeaned: bool) -> None:
        self.demeaned = demeaned
        self.name = f"identification_{self.stem}" + ("" if demeaned else "_raw")

    def own(self, comparison: Comparison) -> Estimate:
        """The score, its chance, its permutation p and its interval."""
        found = identified(comparison, self.demeaned)
        if found.n < LEAST_PEOPLE:
            what = "deviates from the training mean (or that plus a constant)" if self.demeaned else "varies over its edges"
            return Estimate.undefined(f"the generated connectome of fewer than {LEAST_PEOPLE} people {what}", null=self.chance(found.n))
        value = self.value(found)
        values = self.draws(found, value, comparison)
        interval = self.interval(found, values) if len(values) > 2 else None
        p = self._p(found, comparison)
        chance = self.chance(found.n)
        return Estimate(values, found.n, chance, p=p, floor=chance, interval=interval, details=_details(comparison, found))

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """The score of the error-free connectomes, by what two scans say of their similarities."""
        found = error_free(comparison, self.demeaned)
        if found.n < LEAST_PEOPLE or not np.isfinite(found.s).all():
            return np.array([np.nan])
        return self.draws(found, self.value(found), comparison)

    @abstractmethod
    def credits(self, found: Identified) -> NDArray[np.float64]:
        """(N', N') what the score would count for person i if j's generated connectome were i's."""

    @abstractmethod
    def chance(self, n: int) -> float:
        """The score of a generator that knows nothing of the person, in a gallery of n."""

    def value(self, found: Identified) -> float:
        """Mean credit over people."""
        return float(np.diagonal(self.credits(found)).mean())

    @abstractmethod
    def draws(self, found: Identified, value: float, comparison: Comparison) -> NDArray[np.float64]:
        """(1 + B,) the score and draws that scatter around it as it does around what it estimates."""

    def interval(self, found: Identified, values: NDArray[np.float64]) -> tuple[float, float] | None:
        """The interval, where the draws' percentiles are not it."""
        return None

    def statistic(self, found: Identified) -> NDArray[np.float64]:
        """(N', N') credits of which the permutation test takes the sum."""
        return self.credits(found)

    def _p(self, found: Identified, comparison: Comparison) -> float:
        """One-sided p, the generated people permuted."""
        if not comparison.n_permutations:
            return float("nan")
        rows, statistic = np.arange(found.n), self.statistic(found)
        null = np.array([statistic[rows, order].sum() for order in restricted(comparison.permutations, found.people)])
        return float(permutation_p(np.diagonal(statistic).sum(), null))


class _IdentifiedShare(_Identification):
    """A share of people who are identified, which falls as the gallery grows.

    A bootstrap would match people with copies of themselves, in a gallery of fewer different people. So its scatter is taken from random
    halves of people, drawn without replacement: a mean over half of the people, as a part of all, scatters around that of all as that of
    all does around its expectation (delete-half jackknife, Shao & Wu 1989, Annals of Statistics 17:1176).
    """

    def draws(self, found: Identified, value: float, comparison: Comparison) -> NDArray[np.float64]:
        """The score, and draws from the scatter of halves, brought from the level of their smaller gallery to that of all."""
        if len(comparison.weights) == 1:
            return np.array([value])
        chosen = half_samples(comparison)[:, found.people]
        shares = np.array([self.value_within(found, np.flatnonzero(half)) for half in chosen if half.sum() >= LEAST_PEOPLE])
        level = shares.mean() if len(shares) else value
        scale = np.sqrt(value * (1 - value) / (level * (1 - level))) if 0 < level < 1 else 1.0
        return np.append(value, value + scale * (shares - level))

    def value_within(self, found: Identified, people: NDArray[np.intp]) -> float:
        """The score among some of the people alone."""
        return self.value(Identified(people, found.s[np.ix_(people, people)]))

    def interval(self, found: Identified, values: NDArray[np.float64]) -> tuple[float, float] | None:
        """Wilson's interval of a share with the variance of the draws."""
        return wilson(float(values[0]), float(values[1:].var()), found.n)

    def statistic(self, found: Identified) -> NDArray[np.float64]:
        """Credits; equal numbers of people identified are told apart by the mean rank, so that p is uniform by chance."""
        return self.credits(found) - (found.above + found.tied / 2) / found.n**3


class IdentificationTop(_IdentifiedShare):
    """Share of people whose own generated connectome is among the m most similar to their real one (m = 1 or 5).

    ``mean_i min(max(m - c_i, 0) / (1 + e_i), 1)``, c_i the number of other people's generated connectomes that are more similar, e_i of
    those that tie. Shape: one number. Range: 0 to 1; chance, the null, m / N. The gallery is all N people, so values are comparable at
    equal N only.
    Interval: Wilson's (1927, JASA 22:209) with a variance from random halves of people. p: one-sided, generated people permuted.
    Samples: the mean of a person's K samples is the generated connectome. People without a direction (:class:`DemeanedR`) are left out.
    Ceiling: the truth's own; of a second scan, what an error-free connectome would reach
    (:func:`~connectome_gnn.evaluation.similarity.error_free`).
    Source: Finn et al. 2015, Nature Neuroscience 18:1664.
    """

    def __init__(self, demeaned: bool, most: int) -> None:
        self.most, self.stem = most, f"top{most}"
        super().__init__(demeaned)

    def credits(self, found: Identified) -> NDArray[np.float64]:
        """Share of the m best places that j has for i."""
        return np.clip((self.most - found.above) / (1 + found.tied), 0, 1)

    def chance(self, n: int) -> float:
        """m / n."""
        return min(self.most / n, 1.0) if n else float("nan")

    def value_within(self, found: Identified, people: NDArray[np.intp]) -> float:
        """The score among some of the people, whose ranks alone are needed."""
        s = found.s[np.ix_(people, people)]
        own = np.diagonal(s)[:, None]
        above, tied = (s > own).sum(1), (s == own).sum(1) - 1
        return float(np.clip((self.most - above) / (1 + tied), 0, 1).mean())


class IdentificationHungarian(_IdentifiedShare):
    """Share of people who get their own generated connectome in the one-to-one matching of largest total similarity.

    ``linear_sum_assignment(1 - S)``; people whose connectomes are identical share what their matches are worth. Shape: one number. Range: 0
    to 1; chance, the null, 1 / N. Interval and p as of :class:`IdentificationTop`; the interval is wide (it held the expectation in 99 % of
    simulated studies), for matchings of halves vary more than those of all.
    Samples: the mean of a person's K samples. Ceiling: as of :class:`IdentificationTop`.
    Source: Kuhn 1955, Naval Research Logistics Quarterly 2:83; Crouse 2016, IEEE Trans. Aerosp. Electron. Syst. 52:1679.
    """

    stem = "hungarian"

    def credits(self, found: Identified) -> NDArray[np.float64]:
        """1 where i is matched with j; where several are identical, the share of their matches."""
        rows, columns = found.alike
        matches = np.zeros((rows.max() + 1, columns.max() + 1))
        np.add.at(matches, (rows, columns[found.match]), 1)
        matches /= np.bincount(rows)[:, None] * np.bincount(columns)
        return matches[rows][:, columns]

    def chance(self, n: int) -> float:
        """1 / n."""
        return 1 / n if n else float("nan")

    def interval(self, found: Identified, values: NDArray[np.float64]) -> tuple[float, float] | None:
        """Wilson's interval; nobody is matched wrongly alone, so near 1 only half as many people count."""
        return wilson(float(values[0]), float(values[1:].var()), found.n // 2 if values[0] > 0.5 else found.n)


class IdentificationRank(_Identification):
    """Share of the other people whose generated connectome is less similar to a person's real one than their own, averaged over people.

    ``mean_i (N - 1 - c_i - e_i / 2) / (N - 1)``: the person themselves is not among those ranked. Shape: one number. Range: 0 to 1; chance,
    the null, .5, whatever N. Interval: Wilson's, with the variance of a bootstrap linearised by the jackknife (no person is compared with a
    copy).
    p: one-sided, generated people permuted. Samples: the mean of a person's K samples. Ceiling: as of :class:`IdentificationTop`.
    Source: the Mann-Whitney statistic of own against other people's similarity.
    """

    stem = "rank"

    def credits(self, found: Identified) -> NDArray[np.float64]:
        """Share of the other columns below j in row i."""
        return (found.n - 1 - found.above - found.tied / 2) / (found.n - 1)

    def chance(self, n: int) -> float:
        """One half."""
        return 0.5

    def draws(self, found: Identified, value: float, comparison: Comparison) -> NDArray[np.float64]:
        """The jackknife of a mean over pairs of different people."""
        own = found.own[:, None]
        pseudovalues = pair_pseudovalues((found.s < own) + 0.5 * (found.s == own))
        return linearised(value, pseudovalues, comparison.weights[:, found.people])

    def interval(self, found: Identified, values: NDArray[np.float64]) -> tuple[float, float] | None:
        """Wilson's interval of a share with the variance of the draws, which keeps to the range near its ends."""
        return wilson(float(values[0]), float(values[1:].var()), found.n**2)


class IdentificationDifference(_Identification):
    """Mean similarity to one's own generated connectome minus that to other people's: mean diagonal less mean off-diagonal of S.

    ``mean_i S_ii - mean_(i != j) S_ij``. Shape: one number. Range: -2 to 2; the null is 0. Interval: percentiles of a bootstrap linearised
    by the jackknife.
    p: one-sided, generated people permuted. Samples: the mean of a person's K samples.
    Ceiling of a second scan: its own difference over the root of its mean diagonal, which takes the scan's error out of it
    (:func:`~connectome_gnn.evaluation.ceilings.attenuated`).
    Source: differential identifiability, Amico & Goni 2018, Scientific Reports 8:8254.
    """

    stem = "difference"

    def credits(self, found: Identified) -> NDArray[np.float64]:
        """Similarity of i and j, less the mean of the others in S."""
        total, n = found.s.sum(), found.n
        return found.s - (total - n * found.s) / (n * (n - 1))

    def chance(self, n: int) -> float:
        """Zero."""
        return 0.0

    def value(self, found: Identified) -> float:
        """Mean diagonal minus mean off-diagonal."""
        diagonal, n = found.own.sum(), found.n
        return float(diagonal / n - (found.s.sum() - diagonal) / (n * (n - 1)))

    def draws(self, found: Identified, value: float, comparison: Comparison) -> NDArray[np.float64]:
        """The jackknife of a mean over people less a mean over pairs of different people."""
        return linearised(value, found.own - pair_pseudovalues(found.s), comparison.weights[:, found.people])

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """The difference of two scans, the error of one of them taken out."""
        found = identified(comparison, self.demeaned)
        reliability = linearised(float(found.own.mean()), found.own, comparison.weights[:, found.people])
        root = attenuated(reliability)
        difference = self.own(comparison).values
        return np.divide(difference, root, out=np.full(len(root), np.nan), where=root > 0)


def identification_scores() -> list[CeilingScore]:
    """All five, demeaned, then raw."""
    makers: list[Callable[[bool], CeilingScore]] = [
        lambda demeaned: IdentificationTop(demeaned, 1),
        lambda demeaned: IdentificationTop(demeaned, 5),
        IdentificationHungarian,
        IdentificationRank,
        IdentificationDifference,
    ]
    return [make(demeaned) for demeaned in (True, False) for make in makers]


def half_samples(comparison: Comparison) -> NDArray[np.bool_]:
    """(H, N) random halves of the real people, units whole, the same for every score and cohort."""

    def build() -> NDArray[np.bool_]:
        generator = comparison.rng("half samples")
        chosen = np.zeros((HALF_SAMPLES, comparison.n_people), bool)
        for half in chosen:
            half[halves(comparison.units, generator)[0]] = True
        return chosen

    return comparison.shared("half samples", build)


def pair_pseudovalues(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife pseudovalues (N,) of the mean of (N, N) over pairs of different people; the diagonal is not looked at."""
    n = len(pairs)
    diagonal = np.diagonal(pairs)
    rows, columns = pairs.sum(1) - diagonal, pairs.sum(0) - diagonal
    total = rows.sum()
    without = (total - rows - columns) / ((n - 1) * (n - 2))
    return n * total / (n * (n - 1)) - (n - 1) * without


def linearised(value: float, pseudovalues: NDArray[np.float64], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The score and its bootstrap draws (1 + B,), each person's pseudovalue weighted as often as the person is drawn."""
    deviations = pseudovalues - pseudovalues.mean()
    total = weights.sum(1, dtype=np.float64)
    values = value + np.divide(weights @ deviations, total, out=np.full(len(weights), np.nan), where=total > 0)
    values[0] = value
    return values


def wilson(share: float, variance: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927) whose variance is known: that of a share of as many people as would have that variance.

    At most n people are counted: near 0 and 1 the variance found tends to 0.
    """
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    binomial = share * (1 - share)
    size = min(binomial / variance, float(n)) if variance > 0 and binomial > 0 else float(n)
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * np.sqrt(binomial / size + z**2 / (4 * size**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def restricted(orders: NDArray[np.int32], people: NDArray[np.intp]) -> NDArray[np.int32]:
    """Permutations (P, N') of some of the N people: the order in which they come in each permutation of all."""
    if len(people) == orders.shape[1]:
        return orders
    place = np.full(orders.shape[1], -1, np.int32)
    place[people] = np.arange(len(people), dtype=np.int32)
    moved = place[orders]
    return moved[moved >= 0].reshape(len(orders), len(people))


def _details(comparison: Comparison, found: Identified) -> pd.DataFrame:
    """Who was identified: one row a person."""
    ids = np.asarray(comparison.real.ids)[comparison.real_rows][found.people]
    best = found.s.argmax(1)
    return pd.DataFrame(
        {
            "participant_id": ids,
            "similarity": found.own,
            "rank": 1 + np.diagonal(found.above) + np.diagonal(found.tied) / 2,
            "most_similar": ids[best],
            "largest_similarity": found.s[np.arange(found.n), best],
            "matched_with": ids[found.match],
        }
    )

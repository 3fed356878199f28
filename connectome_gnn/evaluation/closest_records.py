"""Privacy by distance: do generated connectomes lie closer to the people a generator was trained on than to people it has never seen?

All distances are Euclidean, on the edges and the symmetric scale of :class:`~connectome_gnn.evaluation.release.People`; every one of a
person's K samples counts for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln

from connectome_gnn.evaluation.release import Neighbours, Release
from connectome_gnn.evaluation.resampling import halves
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.share_intervals import gaussian_draws, share_draws, unit_variance
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["authenticity", "closest_record_share", "nearest_neighbour_distance_ratio", "relabelled"]

SPLITS = 200
"""Random halves of the training people behind a variance."""


def closest_record_share(release: Release) -> Estimate:
    """Share of generated connectomes that lie closer to a training than to a held-out person (distance to closest record).

    ``mean over g of [d(g, T') < d(g, H')] + [d(g, T') = d(g, H')] / 2``, d the distance to the closest of a group. Where the groups differ
    in size T' or H' is a random subset of the larger one, as many people as the smaller one has, and the share is averaged over
    ``n_draws`` of them: more people lie closer for no other reason than that they are more.

    Shape: one number. Range: 0 to 1; 0.5 is expected if nothing leaked, 1 where every generated connectome is nearly a training person's
    and the groups are of one size. Among n of N training people, copies of all of them score ``n / N + (1 - n / N) / 2``: the details hold
    the share before any subset is drawn and the number of exact copies.

    The interval is the score minus the deviations from 0.5 under random exchanges of training and held-out people (units whole): under
    the null these are all of the score's own, also where a few people in the middle are the closest to most generated connectomes, which
    resampling connectomes would not see. p is that of the same exchanges, one-sided. n counts generated people.

    Source: Platzer & Reutterer 2021, Front. Big Data 4:679939; Zhao et al. 2021, ACML 157:97 (distance to closest record).
    """
    people = release.people
    train, holdout = release.neighbours
    shares = []
    for in_train, in_holdout in _kept(release, "closest_record_share"):
        ours, theirs = _leading(train.distance, in_train, 1), _leading(holdout.distance, in_holdout, 1)
        shares.append(_closer(ours, theirs))
    value = float(np.mean(shares))
    index = _merged(train, holdout, release.people.exchange_length).index
    null = np.array([_share_of(trained[index], trained) for trained in relabelled(release, "closest_record_share")])
    draws = np.clip(value - (null - 0.5), 0, 1)
    nearest = [side.distance[:, 0] for side in (train, holdout)]
    details = pd.DataFrame(
        {
            "share_of_all": [_closer(*nearest)],
            "expected_of_all": [people.n_train / len(people)],
            "copies_of_training": [int((nearest[0] == 0).sum())],
            "copies_of_held_out": [int((nearest[1] == 0).sum())],
            "connectomes": [release.rows.size],
        }
    )
    return Estimate(np.append(value, draws), release.n_people, 0.5, p=float(permutation_p(value, null)), details=details)


def nearest_neighbour_distance_ratio(release: Release) -> Estimate:
    """How much a single training person stands out as the closest: distance to the closest over that to the second closest.

    ``mean over g of d1(g, T') / d2(g, T')``, T' all training people or, where there are fewer held-out ones, random subsets of their number
    (``n_draws``, averaged).

    Shape: one number. Range: 0 to 1; near 1 nobody stands out, 0 for copies (1 where both distances are 0). Expected if nothing leaked, the
    null: the same ratio with held-out people in the place of training people. Below it, connectomes were made from single people.

    The interval adds the variance over generated people to that over training people, which random halves of them give (a quarter of how
    much halves differ beyond chance among generated people), units whole. p is by exchanges of training and held-out people, one-sided
    (training lower). n counts generated people.

    Source: Lowe 2004, Int. J. Comput. Vis. 60:91; Zhao et al. 2021, ACML 157:97.
    """
    people = release.people
    train, holdout = release.neighbours
    ratios, others, number = np.zeros(release.rows.size), 0.0, 0
    for in_train, in_holdout in _kept(release, "nearest_neighbour_distance_ratio"):
        ratios += _ratio(*_leading(train.distance, in_train, 2).T)
        others += float(_ratio(*_leading(holdout.distance, in_holdout, 2).T).mean())
        number += 1
    value, null = float(ratios.mean() / number), others / number
    variance = _generated_variance(release, ratios / number)
    variance += _training_variance(
        release, lambda half: _subset_ratios(train.distance, half[train.index], int(half.sum()), min(people.n_equal, int(half.sum())))
    )
    merged = _merged(train, holdout, people.exchange_length)

    def difference(trained: NDArray[np.bool_]) -> float:
        ours, n = trained[merged.index], int(trained.sum())
        equal = min(n, len(trained) - n)
        sides = ((ours, n), (~ours, len(trained) - n))
        first, second = (_subset_ratios(merged.distance, side, size, equal) for side, size in sides)
        found = np.isfinite(first) & np.isfinite(second)
        return float((first - second)[found].mean()) if found.any() else float("nan")

    differences = np.array([difference(trained) for trained in relabelled(release, "nearest_neighbour_distance_ratio")])
    draws = gaussian_draws(value, variance, release.n_bootstrap, release.rng("nearest_neighbour_distance_ratio interval"))
    return Estimate(draws, release.n_people, null, p=float(permutation_p(value - null, differences, "less")))


def authenticity(release: Release) -> Estimate:
    """Share of generated connectomes that are not the closest thing to a training person (authenticity).

    ``mean over g of [d(g, t) > d(t, t')]``, t the training person closest to g and t' the training person closest to t.

    Shape: one number. Range: 0 to 1; 0 for copies. It is no share of 1 that is expected of fresh people, but what the same connectomes
    score against held-out people in the place of training people: the null. A generator whose people differ too little scores low against
    both. The score rises slowly with the number of people (.69 with 100, .74 with 800 in a simulated cohort), so that with fewer held-out
    people the null is a little low; p, by exchanges of training and held-out people at their own numbers, does not depend on it (one-sided,
    lower).

    The interval is Jeffreys', with the variance of :func:`nearest_neighbour_distance_ratio`. n counts generated people.

    Source: Alaa et al. 2022, ICML 162:290 (with Euclidean distances between connectomes in place of an embedding's).
    """
    (train, holdout), (others, held_out_others) = release.neighbours, release.people.neighbours
    everybody = np.ones(len(release.people), bool)
    authentic = _authentic(train, others, everybody)
    value, null = float(authentic.mean()), float(_authentic(holdout, held_out_others, everybody).mean())
    variance = _generated_variance(release, authentic) + _training_variance(release, lambda half: _authentic(train, others, half))
    # Connectomes with the same closest person answer as one.
    shares = np.bincount(train.index[:, 0]) / release.rows.size
    draws = share_draws(value, variance, 1 / (shares**2).sum(), release.n_bootstrap, release.rng("authenticity interval"))
    length = release.people.exchange_length
    merged, people = _merged(train, holdout, length), _merged(others, held_out_others, length)
    permuted = [_authentic(merged, people, trained).mean() for trained in relabelled(release, "authenticity")]
    return Estimate(draws, release.n_people, null, p=float(permutation_p(value, np.array(permuted), "less")))


def relabelled(release: Release, name: str) -> Iterator[NDArray[np.bool_]]:
    """Who is a training person, (P,), after random exchanges between the groups: ``n_bootstrap`` of them, units of people whole.

    As many are training people as there are, to within half a unit where people belong together.
    """
    generator, units = release.rng(f"{name} exchanges"), release.people.units
    sizes = np.bincount(units)
    for _ in range(release.n_bootstrap):
        order = generator.permutation(len(sizes))
        filled = np.cumsum(sizes[order])
        trained = np.zeros(len(sizes), bool)
        trained[order[: np.abs(filled - release.people.n_train).argmin() + 1]] = True
        yield trained[units]


# --- subsets of the larger group ------------------------------------------------------------------------------------------


def _kept(release: Release, name: str) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Which of the neighbours of each connectome, (M K, k) of each group, are in a subset: groups of equal size, ``n_draws`` of them."""
    people, generator = release.people, release.rng(f"{name} subsets")
    train, holdout = release.neighbours
    if people.n_train == people.n_holdout:
        yield np.ones(train.index.shape, bool), np.ones(holdout.index.shape, bool)
        return
    for _ in range(release.n_draws):
        kept = np.zeros(len(people), bool)
        for group in (people.trained, ~people.trained):
            members = np.flatnonzero(group)
            kept[members if len(members) == people.n_equal else generator.choice(members, people.n_equal, replace=False)] = True
        yield kept[train.index], kept[holdout.index]


def _leading(distance: NDArray[np.float64], kept: NDArray[np.bool_], number: int) -> NDArray[np.float64]:
    """The first ``number`` distances of each row that are kept, (Q, number); infinite where none is left."""
    left, rows = kept.copy(), np.arange(len(kept))
    found = np.empty((len(left), number))
    for step in range(number):
        place = left.argmax(1)
        found[:, step] = np.where(left[rows, place], distance[rows, place], np.inf)
        left[rows, place] = False
    return found


def _closer(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Share of distances that are below their counterpart, ties counted half."""
    return float(np.mean((ours < theirs) + 0.5 * (ours == theirs)))


def _ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """First over second; 1 where both are 0: of two equal people neither stands out."""
    return np.divide(first, second, out=np.ones(len(first)), where=second > 0)


# --- groups after an exchange of people ------------------------------------------------------------------------------------


def _merged(train: Neighbours, holdout: Neighbours, length: int) -> Neighbours:
    """The ``length`` closest neighbours whatever their group."""
    index, distance = np.concatenate([train.index, holdout.index], 1), np.concatenate([train.distance, holdout.distance], 1)
    order = np.argsort(distance, 1, kind="stable")[:, :length]
    return Neighbours(np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1))


def _log_choose(n: NDArray, k: int) -> NDArray[np.float64]:
    """Logarithm of the binomial coefficients C(n, k)."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _share_of(trained: NDArray[np.bool_], everybody: NDArray[np.bool_]) -> float:
    """Closest-record share, averaged over all subsets, from whether each neighbour (M K, k) and each person (P,) is a training person."""
    n_train = int(everybody.sum())
    n_holdout = len(everybody) - n_train
    larger = trained if n_train >= n_holdout else ~trained
    # As many of the larger group lie closer than the first of the smaller one; a subset that misses them all has that one as its closest.
    closer = np.where(larger.all(1), larger.shape[1], larger.argmin(1))
    most, equal = max(n_train, n_holdout), min(n_train, n_holdout)
    steps = np.arange(larger.shape[1] + 1)
    left = np.maximum(most - steps, equal)
    missed = np.where(most - steps >= equal, np.exp(_log_choose(left, equal) - _log_choose(np.array(most), equal)), 0.0)
    share = float(missed[closer].mean())
    return 1 - share if n_train >= n_holdout else share


def _subset_ratios(distance: NDArray[np.float64], member: NDArray[np.bool_], n: int, equal: int) -> NDArray[np.float64]:
    """Distance ratio of each connectome, (Q,), averaged over all subsets of ``equal`` of the n members of a group.

    The b-th closest member is the second closest of a subset together with each member before it, which is the closest, in
    ``C(n - b, equal - 2)`` of the ``C(n, equal)`` subsets. NaN where no two members are near, or in a subset.
    """
    if equal < 2:
        return np.full(len(member), np.nan)
    rank = np.arange(1, member.shape[1] + 1)
    possible = (rank >= 2) & (n - rank >= equal - 2)
    left = np.where(possible, n - rank, n)
    log_chance = _log_choose(left, equal - 2) - _log_choose(np.array(n), equal)
    return _ratios_by_chance(distance, member, np.where(possible, np.exp(log_chance), 0.0))


@njit(cache=True, nogil=True)
def _ratios_by_chance(distance: NDArray[np.float64], member: NDArray[np.bool_], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over pairs a < b of members of ``chance[b] d_a / d_b``, over the sum of the chances, of each row; NaN without a pair."""
    ratios = np.full(len(distance), np.nan)
    for row in range(len(distance)):
        rank, before, total, certain = 0, 0.0, 0.0, 0.0
        for place in range(distance.shape[1]):
            if member[row, place]:
                likely, here = chance[rank], distance[row, place]
                total += likely * (before / here if here > 0 else rank)
                certain += likely * rank
                before += here
                rank += 1
        if certain > 0:
            ratios[row] = total / certain
    return ratios


def _authentic(neighbours: Neighbours, others: Neighbours, group: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Whether each connectome is authentic, (Q,), with the members of a group, (P,) yes or no, for the training people."""
    rows = np.arange(len(neighbours.index))
    place = group[neighbours.index].argmax(1)
    nearest = others.distance[np.arange(len(others.index)), group[others.index].argmax(1)]
    return (neighbours.distance[rows, place] > nearest[neighbours.index[rows, place]]).astype(np.float64)


# --- variances -------------------------------------------------------------------------------------------------------------


def _generated_variance(release: Release, values: NDArray[np.float64]) -> float:
    """Variance of the mean of (M K,) values over generated people."""
    return unit_variance(values.reshape(release.rows.shape).mean(1) / release.n_people, release.units)


def _training_variance(release: Release, values_of: Callable[[NDArray[np.bool_]], NDArray[np.float64]]) -> float:
    """Variance over training people of a mean of (M K,) values, which a function gives for some of the training people, (P,) yes or no.

    Means for two halves of n / 2 people each differ with four times the variance of the mean for n; what chance among the generated
    people adds to that is in the variance over them already, and is taken out.
    """
    people, generator = release.people, release.rng("halves of training people")
    units = np.unique(people.units[people.trained], return_inverse=True)[1]
    excess = []
    for _ in range(min(release.n_bootstrap, SPLITS)):
        masks = np.zeros((2, len(people)), bool)
        for mask, half in zip(masks, halves(units, generator), strict=True):
            mask[half] = True  # training people come first
        difference = np.nan_to_num(values_of(masks[0]) - values_of(masks[1]))
        excess.append(difference.mean() ** 2 - _generated_variance(release, difference))
    return max(float(np.mean(excess)), 0.0) / 4 if excess else float("nan")

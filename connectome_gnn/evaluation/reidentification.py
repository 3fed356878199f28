"""Re-identification: can a training person be found again among generated connectomes?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.closest_records import relabelled
from connectome_gnn.evaluation.release import ROWS, Release
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.share_intervals import share_draws, unit_variance
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["reidentification_top1"]

TIED = 1e-6
"""Correlations this close to each other are the same but for rounding in float32."""


def reidentification_top1(release: Release) -> Estimate:
    """Share of training people who are found again among generated connectomes, at the first guess.

    Where connectomes were generated for training people (at least two share a participant_id): the attacker holds the true connectome of
    a training person and names the generated person whose connectome, averaged over their K samples, correlates with it most (standardised
    edges, so that the group's common pattern counts for nothing). Right where that is the connectome generated for this person; a tie of
    j counts 1/j. Expected, the null, is one in M generated people. A generator that has learnt what profiles say of connectomes does
    better without having kept anybody: here fidelity and re-identification are the same thing, so read it beside the fidelity scores.

    Otherwise, by closest record: the attacker takes the generated connectome closest to the person, and for this the closest of all
    training and held-out people. Right where that is the person again. Expected is the share among held-out people, for whom the
    generator cannot have kept anything; both groups lie in one pool, so that their sizes do not matter. A blind guess is right once in P.

    Shape: one number. Range: 0 to 1, 1 for copies. Interval: Jeffreys' over people, those who belong together as one; p by permutation,
    one-sided: of who is whose, or of who was trained on. n counts the training people looked for.

    Source: Finn et al. 2015, Nat. Neurosci. 18:1664 (identification); El Emam et al. 2020, J. Med. Internet Res. 22:e23139 (closest
    records).
    """
    own = release.ids.get_indexer(release.people.ids)
    own[~release.people.trained] = -1
    return _by_name(release, own) if (own >= 0).sum() >= 2 else _by_closest_record(release)


def _by_name(release: Release, own: NDArray[np.intp]) -> Estimate:
    """Training people among connectomes generated for them; ``own`` is the number of each person's own, or -1."""
    people, name = np.flatnonzero(own >= 0), "reidentification_top1"
    gallery = _directions(_means(release))
    credits, guesses = np.empty(len(people)), np.empty(len(people), np.intp)
    for start in range(0, len(people), ROWS):
        part = people[start : start + ROWS]
        r = _directions(release.people.records[part]) @ gallery.T
        best = r >= r.max(1, keepdims=True) - TIED
        credits[start : start + ROWS] = best[np.arange(len(part)), own[part]] / best.sum(1)
        guesses[start : start + ROWS] = r.argmax(1)
    generator = release.rng(name)
    permuted = [np.mean(guesses == generator.permutation(own[people])) for _ in range(release.n_bootstrap)]
    return _estimate(release, credits, people, 1 / release.n_people, np.array(permuted))


def _by_closest_record(release: Release) -> Estimate:
    """Training people who are the closest record of the connectome closest to them."""
    train, holdout = release.neighbours
    people = release.people
    closest = np.where(train.distance[:, 0] <= holdout.distance[:, 0], train.index[:, 0], holdout.index[:, 0])
    found = (closest[release.closest_generated] == np.arange(len(people))).astype(np.float64)
    permuted = np.array([found[trained].mean() for trained in relabelled(release, "reidentification_top1")])
    return _estimate(release, found[people.trained], np.flatnonzero(people.trained), float(found[~people.trained].mean()), permuted)


def _estimate(
    release: Release, credits: NDArray[np.float64], people: NDArray[np.intp], null: float, permuted: NDArray[np.float64]
) -> Estimate:
    value = float(credits.mean())
    variance = unit_variance(credits / len(credits), release.people.units[people])
    draws = share_draws(value, variance, len(credits), release.n_bootstrap, release.rng("reidentification_top1 interval"))
    return Estimate(draws, len(credits), null, p=float(permutation_p(value, permuted)))


def _means(release: Release) -> NDArray[np.float32]:
    """Standardised connectomes of generated people, samples averaged, (M, E')."""
    number = release.rows.shape[1]
    means = np.empty((release.n_people, len(release.people.common)), np.float32)
    step = max(ROWS // number, 1)
    for start in range(0, release.n_people, step):
        rows = release.rows[start : start + step]
        values = release.people.standardise(release.generated, rows.ravel())
        means[start : start + step] = values.reshape(*rows.shape, -1).mean(1)
    return means


def _directions(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows centred and scaled to length 1; zeros where a row is constant."""
    centred = values - values.mean(1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", centred, centred, dtype=np.float64))[:, None]
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0).astype(np.float32)

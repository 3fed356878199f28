"""Membership inference: can it be told who was a training person, from generated connectomes or from the generator?

Each attack gives every training and held-out person a number, the larger the more they look like a training person, and is scored by how
well it tells the two groups apart: the area under the ROC curve, 0.5 where it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import rankdata

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.closest_records import relabelled
from connectome_gnn.evaluation.makers import fresh_generator
from connectome_gnn.evaluation.release import People, Release
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.share_intervals import share_draws, unit_variance
from connectome_gnn.evaluation.statistics import permutation_p
from connectome_gnn.progress import progress

__all__ = ["membership_by_distance", "membership_by_likelihood", "membership_by_shadows"]

LEAST_SHADOWS = 4
NEAREST = 1e-3
"""Distances below this share of their median count as that: a logarithm of 0 would drown everything else."""


def membership_by_distance(release: Release) -> Estimate:
    """AUC of telling training from held-out people by their distance to the generated connectome closest to them.

    ``P(d_t < d_h) + P(d_t = d_h) / 2`` over a training person t and a held-out person h, d on the scale of
    :class:`~connectome_gnn.evaluation.release.People`.

    Shape: one number. Range: 0 to 1; 0.5 is expected if nothing leaked, 1 where training people were copied. Interval: Beta with DeLong's
    variance, people who belong together counted as one; p by exchanges of training and held-out people, one-sided. n counts training and
    held-out people.

    Source: Chen et al. 2020, CCS, 343 (GAN-Leaks, full black box); DeLong et al. 1988, Biometrics 44:837.
    """
    return _attack(release, -release.distances, "membership_auc_distance")


def membership_by_likelihood(release: Release) -> Estimate:
    """AUC of telling training from held-out people by how likely the generator finds their connectome.

    ``P(l_t > l_h) + P(l_t = l_h) / 2``, l the log density ``log_prob`` gives a person: one threshold for everybody, no shadow models.

    Shape: one number. Range: 0 to 1; 0.5 is expected if nothing leaked. Undefined without ``log_prob``. Interval, p and n as for
    :func:`membership_by_distance`.

    Source: Yeom et al. 2018, CSF, 268 (threshold on the loss); Hayes et al. 2019, PoPETs 2019:133 (generative models).
    """
    if release.log_prob is None:
        return Estimate.undefined("the generator's log density is not known; give log_prob", null=0.5)
    people = release.people
    likelihood = np.empty(len(people))
    for cohort, group in ((people.train, people.trained), (people.holdout, ~people.trained)):
        likelihood[group] = _log_density(release.log_prob, cohort)[people.rows[group]]
    return _attack(release, likelihood, "membership_auc_likelihood")


def membership_by_shadows(release: Release) -> Estimate:
    """AUC of telling training from held-out people with the help of shadow models: generators whose training people are known.

    The attacker has the release, the recipe of its generator (``make_generator``), and connectomes and profiles of everybody; what they do
    not know is who was trained on.

    1. ``n_shadows`` generators, in pairs, are fitted to a random half of all training and held-out people (units whole) and to the other
       half, so that everybody is in half of them. Each generates connectomes for the profiles of the release, as many as it holds.
    2. f, the logarithm of a person's distance to the closest generated connectome, is taken in every shadow and in the release.
    3. Each person's f is Gaussian, with a mean of their own with and without them among the trained and one variance for all. The
       differences of the two means are shrunk to their average by how much of their variance is noise.
    4. A person's score is the log ratio of the two densities at the release's f, whose median shift from the shadows (they learn from
       other numbers of people) is taken out.

    Shape: one number. Range: 0 to 1; 0.5 is expected if nothing leaked. Undefined without ``make_generator``. Interval, p and n as for
    :func:`membership_by_distance`.

    Source: Carlini et al. 2022, IEEE S&P, 1897 (likelihood-ratio attack, fixed variance); Stadler et al. 2022, USENIX Security, 1451
    (shadow models of generators).
    """
    if release.make_generator is None:
        return Estimate.undefined("shadow models need a recipe of the generator; give make_generator", null=0.5)
    observed = _feature(release.distances)
    trained_on, features = shadow_features(release)
    score = likelihood_ratio(observed, features, trained_on)
    return _attack(release, score, "membership_auc_shadow")


def _attack(release: Release, score: NDArray[np.float64], name: str) -> Estimate:
    """How well a score, (P,), higher for those who look trained on, tells training from held-out people."""
    people = release.people
    ranks = rankdata(score)
    ours, theirs = score[people.trained], score[~people.trained]
    value = _auc(ranks, people.trained)
    # A training person's part is the share of held-out people whom they outrank, and the other way round (DeLong et al. 1988).
    above = (ranks[people.trained] - rankdata(ours)) / len(theirs)
    below = (ranks[~people.trained] - rankdata(theirs)) / len(ours)
    variance = unit_variance(above / len(ours), people.units[people.trained])
    variance += unit_variance(below / len(theirs), people.units[~people.trained])
    permuted = np.array([_auc(ranks, trained) for trained in relabelled(release, name)])
    draws = share_draws(value, variance, people.n_equal, release.n_bootstrap, release.rng(f"{name} interval"))
    return Estimate(draws, len(people), 0.5, p=float(permutation_p(value, permuted)))


def _auc(ranks: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve from everybody's ranks, ties counted half (Mann-Whitney)."""
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(ranks) - n)))


def _log_density(log_prob: Callable[[Cohort], Any], cohort: Cohort) -> NDArray[np.float64]:
    """Log density of each row of a cohort, (N,), as a user's function or fitted generator gives it."""
    answer = np.asarray(getattr(log_prob, "log_prob", log_prob)(cohort), np.float64)
    if answer.shape != (len(cohort),):
        raise ConnectomeError(
            f"log_prob must give one number for each of the {len(cohort)} people of {cohort.name!r}, got an array of shape {answer.shape}"
        )
    if np.isnan(answer).any():
        raise ConnectomeError(f"log_prob gives NaN for participant {cohort.ids[np.isnan(answer)][0]!r} of {cohort.name!r}")
    return answer


# --- shadow models ---------------------------------------------------------------------------------------------------------


def shadow_features(release: Release) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Who each shadow was trained on, (S, P), and everybody's f in it, (S, P)."""
    if release.n_shadows < LEAST_SHADOWS or release.n_shadows % 2:
        raise ConnectomeError(f"shadow models come in pairs, at least {LEAST_SHADOWS} in all, got n_shadows={release.n_shadows}")
    people = release.people
    everybody = _everybody(people)
    profiles = release.generated.take(release.rows[:, 0]).phenotypes.drop(columns="sample", errors="ignore")
    generator = release.rng("membership_auc_shadow")
    trained_on = np.empty((release.n_shadows, len(people)), bool)
    sizes = np.bincount(people.units)
    for pair in range(0, release.n_shadows, 2):
        order = generator.permutation(len(sizes))
        first = np.zeros(len(sizes), bool)
        first[order[np.cumsum(sizes[order]) <= len(people) / 2]] = True
        trained_on[pair], trained_on[pair + 1] = first[people.units], ~first[people.units]
    seeds = generator.integers(2**31, size=release.n_shadows)
    features = np.empty(trained_on.shape)
    tasks = (delayed(_shadow)(release, everybody.take(inside), profiles, int(seed)) for inside, seed in zip(trained_on, seeds, strict=True))
    with progress("Shadow models", total=release.n_shadows) as advance:
        for number, distances in enumerate(Parallel(n_jobs=release.n_jobs, return_as="generator")(tasks)):
            features[number] = _feature(distances)
            advance()
    return trained_on, features


def likelihood_ratio(observed: NDArray[np.float64], features: NDArray[np.float64], trained_on: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log ratio of the densities of f with and without each person among the trained, (P,), up to a factor shared by all.

    Parameters
    ----------
    observed : (P,) f in the release.
    features : (S, P) f in the shadows.
    trained_on : (S, P) who each shadow was trained on; everybody in half of them.
    """
    number = len(features) / 2
    inside = np.where(trained_on, features, 0).sum(0) / number
    outside = np.where(trained_on, 0, features).sum(0) / number
    residual = features - np.where(trained_on, inside, outside)
    variance = (residual**2).sum() / (residual.shape[1] * (len(features) - 2))
    difference = inside - outside
    noise = variance * 2 / number
    between = max(float(difference.var()) - noise, 0.0)
    shrunk = difference.mean() + (between / (between + noise) if noise > 0 else 1.0) * (difference - difference.mean())
    shift = observed - (inside + outside) / 2
    return shrunk * (shift - np.median(shift))


def _feature(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """f: logarithm of distances, (P,)."""
    least = NEAREST * float(np.median(distances))
    return np.log(np.maximum(distances, least if least > 0 else 1.0))


def _everybody(people: People) -> Cohort:
    """Training and held-out people as one cohort, in the order of ``people``, with the columns that both tables have."""
    parts = [cohort.take(people.rows[group]) for cohort, group in ((people.train, people.trained), (people.holdout, ~people.trained))]
    first, second = (part.phenotypes for part in parts)
    table = pd.concat([first, second], join="inner")[[column for column in first if column in second]]
    return Cohort(
        np.concatenate([part.weights for part in parts]),
        table,
        people.train.atlas,
        measure=people.train.measure,
        signed=people.train.signed,
        name=f"{people.train.name} and {people.holdout.name}",
        described=people.train.described,
        check=False,
    )


def _shadow(release: Release, cohort: Cohort, profiles: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """Everybody's distance, (P,), to the closest connectome that a generator fitted to some of them makes for the release's profiles."""
    if release.make_generator is None:
        raise ConnectomeError("shadow models need make_generator")
    fitted = fresh_generator(release.make_generator, seed)
    fitted = fitted.fit(cohort) or fitted
    if release.generated.kind == "expected":
        generated = fitted.expected(profiles)
    else:
        generated = fitted.sample(profiles, n=release.rows.shape[1], seed=seed)
    return Release.of(generated, release.people).distances

"""Calibration: does a person's own connectome look like one more of the samples generated for that person?

Among K samples and the real value, K + 1 in all, the real one is as likely to have any rank if the samples come from its distribution.
Where values are equal, as zeros are, the rank is drawn at random among the equal ones, and so is the place within the rank, which makes it
exactly uniform between 0 and 1, whatever K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.inversion import deviation_draws, share_draws
from connectome_gnn.evaluation.reference import ROWS, modelled
from connectome_gnn.evaluation.resampling import weighted_mean
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.slices import slices

__all__ = ["LEVELS", "POINTS", "Coverage", "LogLikelihood", "PITDeviation", "Ranks", "calibration_scores", "randomised_ranks"]

LEVELS = (50, 80, 90, 95)
POINTS = 100


def randomised_ranks(real: NDArray, samples: NDArray, generator: np.random.Generator) -> NDArray[np.float32]:
    """``(number of samples below + U (number equal + 1)) / (K + 1)``, U uniform: the probability integral transform by K samples.

    Parameters
    ----------
    real : (n, F) values of n people.
    samples : (n, K, F) samples of the same people.
    generator : of U.

    Returns
    -------
    ranks : (n, F) in [0, 1); NaN where the real value or a sample is.

    References
    ----------
    Czado, Gneiting & Held 2009, Biometrics 65:1254 (randomised at atoms); Talts et al. 2018, arXiv:1804.06788 (ranks among samples).
    """
    return _ranks(np.ascontiguousarray(real), np.ascontiguousarray(samples), generator.random(real.shape, np.float32))


@dataclass(eq=False)
class Ranks:
    """What calibration scores need of the ranks of N people on F features, filled batch by batch.

    Attributes
    ----------
    shares : (levels, N) of each person's features, the share inside the central interval of each level (:data:`LEVELS`).
    inside, known : (levels, F) and (F,) of each feature, the people inside and those who have a rank on it.
    distribution : (N, POINTS) of each person's features, the share with a rank up to 1 / POINTS, 2 / POINTS, ...
    """

    shares: NDArray[np.float64]
    inside: NDArray[np.float64]
    known: NDArray[np.float64]
    distribution: NDArray[np.float64]

    @property
    def by_feature(self) -> NDArray[np.float64]:
        """(levels, F) of each feature, the share inside of the people who have a rank on it; NaN where nobody has."""
        return np.divide(self.inside, self.known, out=np.full(self.inside.shape, np.nan), where=self.known > 0)

    @classmethod
    def empty(cls, n_people: int, n_features: int) -> Ranks:
        """Nothing filled in yet."""
        shares, inside = np.full((len(LEVELS), n_people), np.nan), np.zeros((len(LEVELS), n_features))
        return cls(shares, inside, np.zeros(n_features), np.full((n_people, POINTS), np.nan))

    @classmethod
    def of(cls, real: NDArray, samples: NDArray, generator: np.random.Generator) -> Ranks:
        """Of people all at once."""
        ranks = cls.empty(len(real), real.shape[1])
        ranks.fill(slice(0, len(real)), randomised_ranks(real, samples, generator))
        return ranks

    def fill(self, people: slice, ranks: NDArray[np.float32]) -> None:
        """Take in the ranks (n, F) of some people."""
        defined: NDArray[np.bool_] = np.isfinite(ranks)
        number = np.maximum(defined.sum(1), 1)
        for row, level in enumerate(LEVELS):
            inside = np.abs(ranks - np.float32(0.5)) <= level / 200
            self.shares[row, people] = np.where(defined.any(1), inside.sum(1) / number, np.nan)
            self.inside[row] += inside.sum(0)
        self.known += defined.sum(0)
        place = np.minimum(np.where(defined, ranks, 0) * POINTS, POINTS - 1).astype(np.intp)
        flat = (place + POINTS * np.arange(len(ranks))[:, None])[defined]
        counts = np.bincount(flat, minlength=POINTS * len(ranks)).reshape(len(ranks), POINTS)
        self.distribution[people] = np.where(defined.any(1, keepdims=True), counts.cumsum(1) / number[:, None], np.nan)


@njit(cache=True, nogil=True)
def _ranks(real: NDArray, samples: NDArray, uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    n_people, n_samples, n_features = samples.shape
    ranks = np.empty((n_people, n_features), np.float32)
    below, equal = np.empty(n_features, np.float32), np.empty(n_features, np.float32)
    for i in range(n_people):
        below[:], equal[:] = 0, 0
        for k in range(n_samples):
            for f in range(n_features):
                sample = samples[i, k, f]
                below[f] += sample < real[i, f]
                equal[f] += sample == real[i, f]
                if np.isnan(sample):
                    below[f] = np.nan
        for f in range(n_features):
            ranks[i, f] = (below[f] + uniform[i, f] * (equal[f] + 1)) / (n_samples + 1)
            if np.isnan(real[i, f]):
                ranks[i, f] = np.nan
    return ranks


class Coverage(SharedScore):
    """Share of real values inside the central interval of their person's samples, over people and edges (or a measure's regions).

    The interval of level L holds the middle L % of a person's distribution; whether the real value is inside is told from its randomised
    rank among the K samples (:func:`randomised_ranks`), which is exact for every K and at the atom of zeros, where quantiles of few
    samples are not. Shape: one number. Range: 0 to 1; the null is L / 100, what calibrated samples score; lower: samples vary too little,
    or miss; higher: too much. All K samples are used. ``real_vs_real``: other real people in the place of samples, K for each person of one
    half, drawn from the other. Details: the share for every edge (or region, at every level).
    Undefined for one sample a person, which tells no interval, for expected connectomes, and where people differ.
    Source: Gneiting, Balabdaoui & Raftery 2007, J. R. Stat. Soc. B 69:243.
    """

    paired = True

    def __init__(self, level: int, measure: str | None = None) -> None:
        self.level, self.measure = level, measure
        self.name = f"coverage_{level}" + (f"_{measure}" if measure else "")
        self.topology = measure is not None

    def estimate(self, comparison: Comparison) -> Estimate:
        """Mean coverage."""
        null = self.level / 100
        reason = _why_not(comparison)
        if reason:
            return Estimate.undefined(reason, null=null)
        ranks, beside = _ranks_of(comparison, self.measure)
        row = LEVELS.index(self.level)
        shares = ranks.shares[row]
        if not np.isfinite(shares).any():
            return Estimate.undefined(f"{self.measure} is undefined for every real person", null=null)
        halves = float(np.nanmean(beside.shares[row])) if np.isfinite(beside.shares[row]).any() else float("nan")
        details = _places(comparison, self.measure).assign(coverage=ranks.by_feature[row], real_vs_real=beside.by_feature[row])
        if self.measure:  # the other levels, which have scores of their own for edges alone
            details = details.assign(**{f"coverage_{level}": share for level, share in zip(LEVELS, ranks.by_feature, strict=True)})
        n = int(np.isfinite(shares).sum())
        means = weighted_mean(comparison.weights, shares)
        if len(means) > 1:
            value, along = float(means[0]), means[1:]
            variance = along.var() * n / max(n - 1, 1) if 0 < value < 1 else 1 / n
            means[1:] = share_draws(value, variance, along)
        return Estimate(means, n, null, real_vs_real=halves, details=details)


class PITDeviation(SharedScore):
    """How far the probability integral transform is from uniform: ``mean over u of |share of ranks up to u - u|``, over people and edges
    (or a measure's regions).

    The ranks of :class:`Coverage`. Shape: one number. Range: 0 to .5; 0 for calibrated samples, but for the people's finite number: an
    interval that reaches down to about ``real_vs_real`` tells nothing against them. Details: the share of ranks up to each of 100 values of
    u: above u in the lower half and below it in the upper half where samples vary too little, on one side all along where they are shifted.
    Interval: of the expectation for so many people (:func:`~connectome_gnn.evaluation.inversion.deviation_draws`).
    Source: Dawid 1984, J. R. Stat. Soc. A 147:278; Czado, Gneiting & Held 2009, Biometrics 65:1254.
    """

    paired = True

    def __init__(self, measure: str | None = None) -> None:
        self.measure = measure
        self.name = "pit_deviation" + (f"_{measure}" if measure else "")
        self.topology = measure is not None

    def estimate(self, comparison: Comparison) -> Estimate:
        """Deviation of the pooled transform."""
        reason = _why_not(comparison)
        if reason:
            return Estimate.undefined(reason, null=0.0)
        ranks, beside = _ranks_of(comparison, self.measure)
        points = (np.arange(POINTS) + 1) / POINTS
        known = np.isfinite(ranks.distribution).all(1)
        if known.sum() < 2:
            return Estimate.undefined(f"{self.measure} is undefined for all real people but one, or for all of them", null=0.0)
        difference, weights = ranks.distribution[known].mean(0) - points, comparison.weights[1:, known]
        total = np.maximum(weights.sum(1, keepdims=True), 1)
        noise = (weights / total - np.float32(1 / known.sum())) @ ranks.distribution[known]
        draws = deviation_draws(difference, noise.T.astype(np.float64), lambda d: np.abs(d).mean(0)) if len(noise) else np.empty(0)
        draws = np.maximum(draws, 0)
        of_others = beside.distribution[np.isfinite(beside.distribution).all(1)]
        other = of_others.mean(0) if len(of_others) else np.full(POINTS, np.nan)
        values = np.concatenate([[np.abs(difference).mean()], draws])
        details = pd.DataFrame({"u": points, "share": difference + points, "real_vs_real": other})
        return Estimate(
            values,
            int(known.sum()),
            0.0,
            real_vs_real=float(np.abs(other - points).mean()),
            lower_is_better=True,
            details=details,
        )


class LogLikelihood(SharedScore):
    """Mean log density of real people's connectomes under the generator, nats per edge.

    ``mean over people of log p(x) / E``, p on the modelling scale (Lebesgue measure and a point mass at 0). Shape: one number. Range: any
    number; there is no chance level, and only differences between generators on one cohort mean something. Undefined without ``log_prob``,
    which takes a cohort and gives a log density in nats for every row. Details: nats per edge of each person.
    Source: Good 1952, J. R. Stat. Soc. B 14:107 (the logarithmic score).
    """

    name = "log_likelihood"

    def estimate(self, comparison: Comparison) -> Estimate:
        """Mean log density per edge."""
        if comparison.log_prob is None:
            return Estimate.undefined("no log_prob was given, the generator's log density of a cohort's connectomes")
        log_prob = getattr(comparison.log_prob, "log_prob", comparison.log_prob)
        people = comparison.real.take(comparison.real_rows)
        given = np.asarray(log_prob(people), np.float64)
        if given.shape != (len(people),):
            raise ConnectomeError(f"log_prob must give one log density a row, ({len(people)},), got an array of shape {given.shape}")
        nats = given / comparison.real.n_edges
        if not np.isfinite(nats).all():
            person = people.ids[int(np.flatnonzero(~np.isfinite(nats))[0])]
            return Estimate.undefined(f"log_prob gives no finite number for participant {person!r}")
        details = pd.DataFrame({"participant_id": people.ids, "nats_per_edge": nats})
        return Estimate(weighted_mean(comparison.weights, nats), len(people), details=details)


def calibration_scores(measures: tuple[str, ...]) -> list[SharedScore]:
    """Coverage of edges at four levels and of measures at 90 % (the other levels in the details), PIT of both, and log-likelihood."""
    of_edges = [*(Coverage(level) for level in LEVELS), PITDeviation()]
    of_measures = [*(Coverage(90, measure) for measure in measures), *(PITDeviation(measure) for measure in measures)]
    return [*of_edges, *of_measures, LogLikelihood()]


def _why_not(comparison: Comparison) -> str:
    if comparison.generated.kind == "expected":
        return "expected connectomes are no samples, and tell no interval; score samples"
    return "one sample a person tells no interval; draw at least 2" if comparison.n_samples == 1 else ""


def _places(comparison: Comparison, measure: str | None) -> pd.DataFrame:
    labels = np.array(comparison.real.atlas.labels)
    if measure is None:
        first, second = edge_indices(len(labels))
        return pd.DataFrame({"region": labels[first], "other_region": labels[second]})
    return pd.DataFrame({"region": labels if comparison.topology.level(measure) == "nodal" else ["all"]})


def _ranks_of(comparison: Comparison, measure: str | None) -> tuple[Ranks, Ranks]:
    """Ranks of real people among their samples, and of one half of the real people among people of the other."""
    name = f"ranks of {measure or 'edges'}"
    k = comparison.n_samples
    beside = comparison.shared(f"{name}, {k} people of the other half", lambda: _of_halves(comparison, measure, name))
    return comparison.once(name, lambda: _of_samples(comparison, measure, name)), beside


def _of_samples(comparison: Comparison, measure: str | None, name: str) -> Ranks:
    generator = comparison.rng(name)
    if measure is not None:
        real, samples = comparison.topology.real[measure], comparison.topology.generated[measure]
        return Ranks.of(real.reshape(len(real), -1), samples.reshape(*samples.shape[:2], -1), generator)
    ranks = Ranks.empty(comparison.n_people, comparison.real.n_edges)
    size = max(ROWS // comparison.n_samples, 1)
    for part in slices(comparison.n_people, size):
        rows = comparison.generated_rows[part]
        samples = modelled(comparison.generated, rows.ravel()).reshape(*rows.shape, -1)
        ranks.fill(part, randomised_ranks(modelled(comparison.real, comparison.real_rows[part]), samples, generator))
    return ranks


def _of_halves(comparison: Comparison, measure: str | None, name: str) -> Ranks:
    generator = comparison.rng(f"{name} of halves")
    first, second = comparison.halves
    drawn = second[generator.integers(len(second), size=(len(first), comparison.n_samples))]
    if len(second) >= comparison.n_samples:  # different people for each person
        drawn = second[np.argsort(generator.random((len(first), len(second))), axis=1)[:, : comparison.n_samples]]
    if measure is not None:
        real = comparison.topology.real[measure].reshape(comparison.n_people, -1)
        return Ranks.of(real[first], real[drawn], generator)
    ranks = Ranks.empty(len(first), comparison.real.n_edges)
    size = max(ROWS // comparison.n_samples, 1)
    for part in slices(len(first), size):
        samples = modelled(comparison.real, comparison.real_rows[drawn[part]].ravel()).reshape(*drawn[part].shape, -1)
        ranks.fill(part, randomised_ranks(modelled(comparison.real, comparison.real_rows[first[part]]), samples, generator))
    return ranks

"""How edges vary together, learned from people some of whose edges are absent: factor analysis of censored latent scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.cohort import BATCH, Cohort
from connectome_gnn.generation.censoring import fill_absent, mean_within
from connectome_gnn.generation.dependence import LEAST_OWN, LEAST_STRENGTH, factors_of_components, own_parts
from connectome_gnn.generation.edge_space import EdgeSpace, signs
from connectome_gnn.generation.latent_means import LatentMeans
from connectome_gnn.generation.marginals import Marginals

__all__ = ["FactorAnalysis", "Imputed", "LatentPeople", "analyse", "orthogonal"]

LEAST_KNOWN = 1e-3
LEAST_SURE = 0.5
ROUNDS = 20


@dataclass(frozen=True)
class LatentPeople:
    """People's latent scores less their mean, batch by batch.

    Parameters
    ----------
    marginals : each edge's distribution.
    means : latent means of deviations.
    left : (E,) variance of latent scores around the mean; 0 where people do not differ.
    space, cohort : the edge space and the people.
    mean_components : (N, K) conditional mean of people's components.
    """

    marginals: Marginals
    means: LatentMeans
    left: NDArray[np.float64]
    space: EdgeSpace
    cohort: Cohort
    mean_components: NDArray[np.float64]

    @property
    def n_people(self) -> int:
        """Number of people N."""
        return self.cohort.n_people

    @property
    def n_varying(self) -> int:
        """Number of edges that differ between people."""
        return int((self.left > 0).sum())

    def take(self, rows: NDArray[np.intp]) -> LatentPeople:
        """Some of the people."""
        return replace(self, cohort=self.cohort.take(rows), mean_components=self.mean_components[rows])

    def batches(self) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]]:
        """Rows, latent scores less their mean (n, E), which edges are absent and have none yet, and the means."""
        varies = self.left > 0
        for rows, values in self.cohort.modelled(BATCH):
            mean = self.means.at(self.space.deviation(self.mean_components[rows]), self.space.kept)
            away = self.marginals.scores(values, slopes=False)[0]
            absent = np.isnan(away) & varies
            away -= mean
            away[:, ~varies] = 0
            yield rows, away, absent, mean


@dataclass(frozen=True)
class Imputed:
    """What factors are learned from: sums over people with absent edges drawn given the person's other edges.

    Parameters
    ----------
    products : (groups, Q, E) sums over people of expected factors times scores, in standard deviations of an edge.
    second : (groups, Q, Q) sums of factors' second moments.
    size : (groups, E) sums of squared scores.
    people : (groups,) number of people.
    """

    products: NDArray[np.float32]
    second: NDArray[np.float64]
    size: NDArray[np.float64]
    people: NDArray[np.int64]

    def without(self, group: int) -> Imputed:
        """The same as if a group of people had not been there."""
        return Imputed(
            (self.products.sum(0) - self.products[group])[None],
            (self.second.sum(0) - self.second[group])[None],
            (self.size.sum(0) - self.size[group])[None],
            (self.people.sum() - self.people[group])[None],
        )


@dataclass(frozen=True)
class FactorAnalysis:
    """Factors found in some people.

    Parameters
    ----------
    loadings : (Q, E) of factors of variance 1; in units of own parts the rows are orthogonal, strongest first.
    noise : (E,) standard deviation of own parts; 0 where people do not differ.
    factors : (N, Q) people's factors, as drawn last.
    expected : (N, Q) people's factors, as expected last.
    length : (N,) squared length of people's scores in units of own parts.
    sums : what they were learned from.
    """

    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    factors: NDArray[np.float32]
    expected: NDArray[np.float64]
    length: NDArray[np.float64]
    sums: Imputed

    def without(self, group: int, left: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loadings and own parts as if a group of people had not been there."""
        return _in_units(*_maximised(self.sums.without(group), left > 0, True)[:2], left)

    @property
    def strength(self) -> NDArray[np.float64]:
        """(Q,) variance of factors along their directions, in units of own parts."""
        varies = self.noise > 0
        return ((self.loadings[:, varies] / self.noise[varies]).astype(np.float64) ** 2).sum(1)

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N, Q) people along the factors' directions, in units of own parts, as spread out as new people are."""
        found = np.sqrt(np.maximum((self.expected**2).mean(0), 1e-12))
        scores: NDArray[np.float64] = self.expected * (np.sqrt(1 + self.strength) / found)
        return scores


def analyse(people: LatentPeople, passes: int, group: NDArray[np.intp], generator: np.random.Generator) -> FactorAnalysis:
    """Maximum a posteriori factor analysis of latent scores of which absent edges' are only known to lie in an interval.

    Every pass draws people's absent scores given their factors and their factors given all their scores, and learns the factors anew:
    stochastic EM (Celeux & Diebolt 1985), with the factors' covariance as an expanded parameter (Liu, Rubin & Wu 1998, Biometrika 85:755),
    so that shrunken first factors do not hold up the later ones. A factor's loadings have a normal prior of the variance that they show
    beyond noise: what is known of an edge, after absences and the number of people, shrinks its loadings. Factors that show no variance
    are dropped. People keep their factors from pass to pass, a chain of their own.

    It starts from principal directions of scores with absent edges at their expectation. There, covariances with a factor are smaller
    than the latent ones by the variance that is left of the edge's score, to first order in the loading, which is corrected for.

    Parameters
    ----------
    people : the people, read ``passes + 1`` times.
    passes : number of passes.
    group : (N,) number of each person's group in :attr:`FactorAnalysis.sums`.
    generator : of the draws.
    """
    n, n_edges = people.n_people, len(people.left)
    varies, unit = people.left > 0, np.sqrt(people.left)
    per_unit = np.where(varies, 1 / np.where(varies, unit, 1), 0).astype(np.float32)
    low, high = people.marginals.thresholds
    shares, known = _first_loadings(people, per_unit)
    loadings, noise = _in_units(shares, own_parts(shares), people.left)
    factors = np.empty((n, len(shares)), np.float32)
    for step in range(passes):
        regression, covariance = _regression(loadings, noise, noise.astype(np.float64) ** 2)
        root = np.linalg.cholesky(covariance)
        q, groups = len(loadings), group.max() + 1 if step == passes - 1 else 1
        sums = Imputed(
            np.zeros((groups, q, n_edges), np.float32), np.zeros((groups, q, q)), np.zeros((groups, n_edges)), np.zeros(groups, int)
        )
        expected, length = np.empty((n, q)), np.empty(n)
        for rows, away, absent, mean in people.batches():
            rounds = 1
            if step == 0:
                # Absent edges at their expectation tell less of factors than scores do; what they tell is linear in them.
                mean_within(away, absent, mean, unit, low, high)
                start, uncertain = _regression(loadings * known.astype(np.float32), noise, _linear_noise(shares, known) * people.left)
                factors[rows] = away @ start.T + generator.standard_normal((len(away), q)) @ np.linalg.cholesky(uncertain).T
                rounds = 2
            for _ in range(rounds):
                fill_absent(away, absent, mean, factors[rows] @ loadings, noise[None], low, high, generator)
                expected[rows] = away @ regression.T
                factors[rows] = expected[rows] + generator.standard_normal((len(away), q)) @ root.T
            length[rows] = np.einsum("ne,ne->n", away, away / np.where(varies, noise**2, 1))
            away *= per_unit
            of_group = group[rows] if groups > 1 else np.zeros(len(away), np.intp)
            for number in np.unique(of_group):
                some = of_group == number
                told = expected[rows][some]
                sums.products[number] += told.T.astype(np.float32) @ away[some]
                sums.second[number] += told.T @ told + some.sum() * covariance
                sums.size[number] += np.einsum("ne,ne->e", away[some], away[some], dtype=np.float64)
                sums.people[number] += some.sum()
        total = Imputed(*(part.sum(0, keepdims=True) for part in (sums.products, sums.second, sums.size, sums.people)))
        shares, own, mixing = _maximised(total, varies, step == passes - 1)
        loadings, noise = _in_units(shares, own, people.left)
        factors, expected = (factors @ mixing).astype(np.float32), expected @ mixing
    return FactorAnalysis(loadings, noise, factors, expected, length, sums)


def orthogonal(loadings: NDArray[np.floating], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same factors' loadings (Q, E), rotated to be orthogonal in units of own parts (E,), strongest first."""
    scaled = np.divide(loadings, noise, out=np.zeros(loadings.shape), where=noise > 0)
    turned = eigh(scaled @ scaled.T)[1][:, ::-1].T @ loadings
    turned *= signs(turned.astype(np.float32))[:, None]
    return np.asarray(turned, np.float32)


def _first_loadings(people: LatentPeople, per_unit: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loadings (Q, E) to start from, in standard deviations, and the variance (E,) of scores, absent edges at their expectation."""
    n, n_edges, k = people.n_people, len(people.left), people.space.n_components
    varies, kept = people.left > 0, people.space.kept
    low, high = people.marginals.thresholds
    components, length, known = np.empty((n, k)), np.empty(n), np.zeros(n_edges)
    patterns = np.zeros((k, n_edges), np.float32)
    for rows, away, absent, mean in people.batches():
        mean_within(away, absent, mean, np.sqrt(people.left), low, high)
        away *= per_unit
        components[rows] = there = (away if kept.all() else away[:, kept]) @ people.space.basis.T
        patterns += there.T @ away
        length[rows] = np.einsum("ne,ne->n", away, away)
        known += np.einsum("ne,ne->e", away, away, dtype=np.float64)
    known = np.where(varies, np.clip(known / n, LEAST_KNOWN, None), 1)
    found = factors_of_components(components, patterns / np.float32(n), length, np.ones(n_edges), people.n_varying)
    strength = found.variance - max(length.mean() / people.n_varying, float(np.median(found.variance)) if people.n_varying < 2 * k else 0)
    used = int(np.minimum.accumulate(strength > LEAST_STRENGTH).sum())
    loadings = np.sqrt(strength[:used])[:, None] * found.directions[:used] / known
    # An edge that is mostly absent tells little of its loadings.
    typical = (loadings**2 @ (known * varies)) / (known @ varies)
    loadings *= typical[:, None] / (typical[:, None] + 1 / (n * known))
    return np.where(varies, loadings, 0), known


def _regression(
    loadings: NDArray[np.float32], noise: NDArray[np.float32], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Weights (Q, E) by which scores give a person's expected factors, and the factors' covariance (Q, Q) given the scores."""
    precise = np.divide(loadings, variance, out=np.zeros(loadings.shape), where=noise > 0)
    covariance = np.linalg.inv(np.eye(len(loadings)) + precise @ loadings.T.astype(np.float64))
    return (covariance @ precise).astype(np.float32), (covariance + covariance.T) / 2


def _linear_noise(shares: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What factors leave (E,) of scores of variance ``known`` (E,), in variances of an edge."""
    return np.maximum(known - known**2 * (shares**2).sum(0), LEAST_OWN * known)


def _maximised(
    sums: Imputed, varies: NDArray[np.bool_], drawn: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Loadings (Q', E) and own parts' variance (E,) in variances of an edge, and how old factors mix (Q, Q') to the new ones.

    Loadings are the most likely ones given the prior, from which a factor carries less variance than the true one by what is not known of
    its direction. People who are ``drawn`` from a factor that is mostly known vary by as much as real people do along the true one: which
    the likelihood of new people hardly feels, and without which own parts, all edges together, would be seen to be too wide.
    """
    n = float(sums.people[0])
    values, vectors = eigh(sums.second[0] / n)
    half = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
    loadings = half @ sums.products[0].astype(np.float64) / n
    # Correlations with the factors: drawn scores are not exactly of variance 1.
    loadings *= np.sqrt(np.where(varies & (sums.size[0] > 0), n / np.maximum(sums.size[0], 1e-9), 0))
    own = own_parts(loadings)
    turn = eigh((loadings / own) @ loadings.T)[1][:, ::-1]
    loadings, mixing = turn.T @ loadings, half @ turn
    noise = own[varies] / n
    squared = loadings[:, varies] ** 2
    prior = np.maximum(squared.mean(1) - noise.mean(), 1e-12)
    for _ in range(ROUNDS):
        kept = prior[:, None] / (prior[:, None] + noise)
        prior = np.maximum((kept**2 * squared + kept * noise).mean(1), 1e-12)
    known = np.where(varies, prior[:, None] / (prior[:, None] + own / n), 0)
    if drawn:
        sure = known[:, varies].mean(1) > LEAST_SURE
        known[sure] = np.sqrt(known[sure])
    loadings *= known
    used = (loadings**2 / own).sum(1) > LEAST_STRENGTH
    loadings, mixing = loadings[used], mixing[:, used]
    sign = signs(loadings.astype(np.float32))
    return loadings * sign[:, None], own_parts(loadings), mixing * sign


def _in_units(
    shares: NDArray[np.float64], own: NDArray[np.float64], left: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Loadings (Q, E) and standard deviations (E,) of own parts of edges of variance ``left`` (E,)."""
    shared = (shares**2).sum(0)
    fitted = shares * np.sqrt(np.minimum(1, (1 - LEAST_OWN) / np.maximum(shared, 1e-12)) * left)
    return fitted.astype(np.float32), np.sqrt(own * left).astype(np.float32)

"""CovBat: site effects on how edges vary together, taken out of the scores of principal components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["CovarianceEffect", "Residuals"]

Residuals = Callable[[], Iterator[tuple[slice, NDArray[np.float64]]]]
"""A pass over slices of rows and their harmonised standardised residuals (n, E), 0 where an edge is absent or left as it is."""

EXPLAINED = 0.95
"""Share of the residuals' variance in the components that are harmonised."""

MOST_COMPONENTS = 500
EXACT = 1000
"""Up to as many people all components are found at once."""

POWER_ITERATIONS = 2
EXTRA_DIRECTIONS = 20


@dataclass(frozen=True)
class CovarianceEffect:
    """Site effects on component scores, and how to take them out (Chen et al. 2022, Hum Brain Mapp 43:1179).

    Attributes
    ----------
    centre, scale : (E,) of the residuals in training people.
    directions : (K, E) leading principal components of the scaled residuals.
    target, deviation : (K,) mean and standard deviation that every site's scores are brought to.
    shift, ratio : (S, K) a site's mean and variance of scores, in these units.
    explained : share of variance in the components.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    directions: NDArray[np.float64]
    target: NDArray[np.float64]
    deviation: NDArray[np.float64]
    shift: NDArray[np.float64]
    ratio: NDArray[np.float64]
    explained: float

    @classmethod
    def fit(
        cls, residuals: Residuals, n_edges: int, group: NDArray[np.intp], n_sites: int, seed: int, reference: int | None
    ) -> CovarianceEffect:
        """Components of training people's residuals, and what sites do to their scores, without empirical Bayes as in the paper."""
        n_people = len(group)
        total, squares = np.zeros(n_edges), np.zeros(n_edges)
        for _, values in residuals():
            total += values.sum(0)
            squares += (values**2).sum(0)
        centre = total / n_people
        variance = np.maximum(squares / n_people - centre**2, 0)
        scale = np.where(variance > 1e-12, np.sqrt(variance), np.inf)
        energy = float(np.isfinite(scale).sum()) * n_people

        def scaled() -> Iterator[tuple[slice, NDArray[np.float64]]]:
            for rows, values in residuals():
                yield rows, (values - centre) / scale

        directions, scores = _components(scaled, n_people, n_edges, seed)
        reached = np.cumsum((scores**2).sum(0)) / max(energy, 1e-300)
        number = min(int((reached < EXPLAINED).sum()) + 1, len(reached))
        directions, scores = directions[:number], scores[:, :number]
        n, mean, spread = _site_moments(scores, group, n_sites)
        if reference is None:
            target = (n @ mean) / n_people
            deviation = np.sqrt(((scores - mean[group]) ** 2).mean(0))
        else:
            target = mean[reference]
            deviation = np.sqrt(((scores[group == reference] - target) ** 2).mean(0))
        deviation = np.maximum(deviation, 1e-12)
        effect = cls(centre, scale, directions, target, deviation, np.empty(0), np.empty(0), float(reached[number - 1]))
        effect = effect._with_sites(mean, spread)
        if reference is not None:
            effect.shift[reference], effect.ratio[reference] = 0, 1
        return effect

    def extended(self, residuals: Residuals, group: NDArray[np.intp], n_sites: int) -> CovarianceEffect:
        """The same with further sites, learned from people of theirs: rows of group -1 are left out."""
        scores = np.concatenate([self.scores(values) for _, values in residuals()])
        known = group >= 0
        _, mean, spread = _site_moments(scores[known], group[known], n_sites)
        more = self._with_sites(mean, spread)
        return replace(self, shift=np.concatenate([self.shift, more.shift]), ratio=np.concatenate([self.ratio, more.ratio]))

    def _with_sites(self, mean: NDArray[np.float64], spread: NDArray[np.float64]) -> CovarianceEffect:
        ratio = np.where(spread > 0, spread / self.deviation**2, 1)
        return replace(self, shift=(mean - self.target) / self.deviation, ratio=ratio)

    def scores(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (n, K) of residuals (n, E)."""
        return ((residuals - self.centre) / self.scale) @ self.directions.T

    def adjusted(self, residuals: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
        """Residuals (n, E) with the sites' effects on scores taken out; what the components leave of them stays."""
        scores = self.scores(residuals)
        new = (scores - self.target - self.shift[group] * self.deviation) / np.sqrt(self.ratio[group]) + self.target
        return residuals + ((new - scores) @ self.directions) * np.where(np.isfinite(self.scale), self.scale, 0)


def _site_moments(
    scores: NDArray[np.float64], group: NDArray[np.intp], n_sites: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Number of people (S,) of each site, and mean and variance (S, K) of their scores; the variance of one person is 0."""
    n = np.bincount(group, minlength=n_sites).astype(np.float64)
    mean, spread = np.zeros((n_sites, scores.shape[1])), np.zeros((n_sites, scores.shape[1]))
    for site in np.unique(group):
        members = scores[group == site]
        mean[site] = members.mean(0)
        spread[site] = members.var(0, ddof=1) if len(members) > 1 else 0
    return n, mean, spread


def _components(scaled: Residuals, n_people: int, n_edges: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leading principal components (K, E) of residuals in order, and everybody's scores (n, K)."""
    if n_people <= EXACT:
        values = np.concatenate([some for _, some in scaled()])
        eigenvalues, vectors = eigh(values @ values.T)
        kept = np.flatnonzero(eigenvalues > 1e-10 * max(eigenvalues.max(), 1e-300))[::-1]
        directions = (vectors[:, kept] / np.sqrt(eigenvalues[kept])).T @ values
        return directions, values @ directions.T
    # Randomised subspace iteration, some people at a time (Halko, Martinsson & Tropp 2011, SIAM Review 53:217).
    width = min(MOST_COMPONENTS + EXTRA_DIRECTIONS, n_people, n_edges)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_edges, width)))[0]
    for _ in range(1 + POWER_ITERATIONS):
        turned = np.zeros((n_edges, width))
        for _, some in scaled():
            turned += some.T @ (some @ basis)
        basis = np.linalg.qr(turned)[0]
    scores = np.concatenate([some @ basis for _, some in scaled()])
    eigenvalues, vectors = eigh(scores.T @ scores)
    turn = vectors[:, ::-1][:, :MOST_COMPONENTS]
    return (basis @ turn).T, scores @ turn

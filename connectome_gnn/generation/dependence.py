"""How edges vary together: low-rank factors of latent scores, as strong as held-out people confirm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import isotonic_regression

from connectome_gnn.generation.edge_space import signs
from connectome_gnn.splits import Folds

__all__ = ["Factors", "factors_of_components", "factors_of_people", "low_rank_draw", "own_parts", "principal_mixtures", "strength_beyond"]

MAX_FACTORS = 300
LEAST_OWN = 0.02
LEAST_STRENGTH = 0.05
ROUNDS = 10


@dataclass(frozen=True)
class Factors:
    """Directions of scaled latent scores, with what held-out people have along them.

    Scores are in units of ``own``: where it is the standard deviation of edges' own parts, the principal directions are those of maximum
    likelihood factor analysis (Lawley 1940; Tipping & Bishop 1999, J. R. Stat. Soc. B 61:611).

    Parameters
    ----------
    directions : (Q, E) orthonormal rows, strongest first.
    variance : (Q,) variance of held-out people along each.
    scores : (N, Q) training people along the directions, each as if they had taken no part in learning them.
    size : (N,) squared length of each person's scaled scores.
    own : (E,) what latent scores of variance 1 were divided by.
    """

    directions: NDArray[np.float32]
    variance: NDArray[np.float64]
    scores: NDArray[np.float64]
    size: NDArray[np.float64]
    own: NDArray[np.float64]

    def loadings(self, left: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loadings (Q, E) and standard deviations (E,) of edges' own parts that give every edge the variance ``left`` (E,).

        Own parts lie along a direction too; a factor carries what they leave of its variance, and at most what it has more than the median
        direction of all E, so that own parts are not explained away where there are as many people as edges. Directions that own parts
        explain are left out, and so are the loadings' last per cents on edges of which they would leave nothing of their own.
        """
        squared, counted = self.directions.astype(np.float64) ** 2, left > 0
        beyond = int(counted.sum()) - len(self.variance)
        rest_of_size = max(self.size.mean() - self.variance.sum(), 0) / max(beyond, 1)
        bulk = float(np.median(np.concatenate([self.variance, np.full(max(beyond, 0), rest_of_size)]))) if counted.any() else 0.0
        strength = np.maximum(self.variance - 1, 0)
        for _ in range(ROUNDS):
            rest = np.maximum(1 - self.own**2 * (strength @ squared), LEAST_OWN) / self.own**2
            strength = np.maximum(self.variance - np.maximum(squared @ np.where(counted, rest, 0), bulk), 0)
        used = int(np.minimum.accumulate(strength > LEAST_STRENGTH).sum())
        loadings = np.sqrt(strength[:used])[:, None] * self.directions[:used] * self.own
        shared = (loadings**2).sum(0)
        loadings *= np.sqrt(np.minimum(1, (1 - LEAST_OWN) / np.maximum(shared, 1e-12)))
        rest = np.where(counted, 1 - np.minimum(shared, 1 - LEAST_OWN), 0)
        scale = np.sqrt(left)
        return (loadings * scale).astype(np.float32), (np.sqrt(rest) * scale).astype(np.float32)


def factors_of_people(
    scores: NDArray[np.float32], own: NDArray[np.float64], folds: Folds
) -> tuple[Factors, Callable[[int], NDArray[np.float32]]]:
    """Principal directions of few people, their variance by cross-validation.

    The k-th direction of the people outside a fold meets the people inside it, and no direction has more variance than the one before it
    (isotonic regression); everything follows from the inner products of people
    (N, N), and no edges are looked at twice.

    Parameters
    ----------
    scores : (N, E) scaled latent scores.
    own : (E,) what they were divided by.
    folds : training and held-out rows.

    Returns
    -------
    factors : of everybody.
    directions_without : of a fold's number, the directions (Q, E) of the people outside it.
    """
    n = len(scores)
    gram = (scores @ scores.T).astype(np.float64)
    values, vectors = eigh(gram)
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-12))[::-1][:MAX_FACTORS]
    kept = kept[: max(min((len(rows) for rows, _ in folds), default=n) - 1, 0)]
    held_out, mixtures = np.zeros((n, len(kept))), []
    for rows, held in folds:
        mixtures.append(principal_mixtures(gram[np.ix_(rows, rows)], len(kept)))
        held_out[held] = gram[np.ix_(held, rows)] @ mixtures[-1]
    directions = (vectors[:, kept] / np.sqrt(values[kept])).T.astype(np.float32) @ scores
    variance = isotonic_regression((held_out**2).mean(0), increasing=False).x if len(kept) else np.zeros(0)

    def without(fold: int) -> NDArray[np.float32]:
        return mixtures[fold].T.astype(np.float32) @ scores[folds[fold][0]]

    return Factors(directions * signs(directions)[:, None], variance, held_out, np.diag(gram).copy(), own), without


def principal_mixtures(gram: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Mixtures (n, most) of people that are their leading principal directions, orthonormal, strongest first, from inner products (n, n).

    Where people have fewer directions, fewer than ``most`` where n is below it, the last columns are 0.
    """
    values, vectors = eigh(gram)
    top = np.argsort(-values, kind="stable")[:most]
    there = values[top] > 1e-6 * max(values[-1], 1e-12)
    return vectors[:, top] * np.where(there, 1 / np.sqrt(np.where(there, values[top], 1)), 0)


def factors_of_components(
    components: NDArray[np.float64], patterns: NDArray[np.float32], size: NDArray[np.float64], own: NDArray[np.float64], n_edges: int
) -> Factors:
    """Principal directions of many people from their scores on given components, their variance by random-matrix theory.

    A direction of variance l among own parts of variance 1 is found at variance ``l + g l / (l - 1)``, g = E / N, and leans off the
    true one; along the direction found, new people vary by ``c l + 1 - c``, ``c = (1 - g / (l - 1)^2) / (1 + g / (l - 1))``, and by
    nothing more than 1 where l is below ``1 + sqrt(g)`` (Baik & Silverstein 2006; Donoho, Gavish & Johnstone 2018, Ann. Stat. 46:1742).

    Parameters
    ----------
    components : (N, K) people's scaled latent scores on the components.
    patterns : (K, E) ``components.T @ scores / N``.
    size : (N,) squared length of each person's scores.
    own : (E,) what they were divided by.
    n_edges : number E of edges that vary.
    """
    n = len(components)
    values, vectors = eigh(components.T @ components / n)
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-12))[::-1][:MAX_FACTORS]
    values, vectors = values[kept], vectors[:, kept]
    directions = (vectors / values).T @ patterns
    length = np.maximum(np.linalg.norm(directions, axis=1), 1e-12)
    values = values * length
    # Own parts are what the directions that stand out of them leave; the weaker they are, the more stand out.
    ratio, rest, variance = n_edges / n, max(float(size.mean()) / n_edges, 1e-6), np.zeros_like(values)
    for _ in range(ROUNDS):
        variance = strength_beyond(values, ratio, rest)
        above = values > rest * (1 + np.sqrt(ratio)) ** 2
        rest = max((float(size.mean()) - variance[above].sum()) / max(n_edges - above.sum(), 1), 1e-6)
    scores = components @ vectors * np.sqrt(variance / np.maximum(values, 1e-12))
    directions = (directions / length[:, None]).astype(np.float32)
    return Factors(directions * signs(directions)[:, None], variance, scores, size, own)


def own_parts(loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    """What loadings (Q, E) leave of edges' variance of 1, (E,): at least 2 %."""
    return np.maximum(1 - (loadings**2).sum(0), LEAST_OWN)


def low_rank_draw(
    n: int,
    loadings: NDArray[np.float32],
    noise: NDArray[np.float32],
    generator: np.random.Generator,
    own: NDArray[np.floating] | None = None,
    factors: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Normal scores (n, E) of mean 0: factors of loadings (Q, E), and every edge's own part of standard deviations ``noise`` (E,).

    Parameters
    ----------
    own, factors : (n,) and (n, Q), by what a person's own parts and factors are wider; default 1.
    """
    latent = generator.standard_normal((n, len(noise)), dtype=np.float32)
    scores = generator.standard_normal((n, len(loadings)), dtype=np.float32)
    latent *= noise
    if own is not None:
        latent *= own[:, None].astype(np.float32)
    if factors is not None:
        scores *= factors.astype(np.float32)
    latent += scores @ loadings
    return latent


def strength_beyond(values: NDArray[np.float64], ratio: float, own: float) -> NDArray[np.float64]:
    """Variance of new people along directions found at sample variances ``values`` (Q,) among own parts of variance ``own``."""
    found = values / own
    above = found > (1 + np.sqrt(ratio)) ** 2
    half = found + 1 - ratio
    true = np.where(above, (half + np.sqrt(np.maximum(half**2 - 4 * found, 0))) / 2, 2 + np.sqrt(ratio))
    excess = true - 1
    cosine = (1 - ratio / excess**2) / (1 + ratio / excess)
    return own * np.where(above, cosine * true + 1 - cosine, 1)

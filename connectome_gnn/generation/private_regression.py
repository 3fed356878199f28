"""Regression on noisy second moments: estimates that know how much of what they see is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["NoisyRegression", "denoised", "shrunk"]

PRIORS = np.logspace(-5, 0, 21)
"""Variances of a feature's effect, relative to a component's own, that are tried."""
COMPONENTS = np.array([1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 140, 210])
"""Numbers of components, strongest first, that are tried."""
ERRORS = 2.0
FLOOR = 0.5


def shrunk(matrix: NDArray[np.float64], sd: float, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """A noisy symmetric matrix drawn to a diagonal target, and made positive definite.

    The weight of the target is the share of the distance between the two that noise explains (James & Stein 1961).

    Parameters
    ----------
    matrix : (D, D) with independent noise of ``sd`` on the diagonal and ``sd`` / sqrt(2) off it.
    target : (D,) positive.
    """
    size = len(matrix)
    away = matrix - np.diag(target)
    noise = sd**2 * size * (size + 1) / 2
    keep = max(0.0, 1 - noise / max(float((away**2).sum()), 1e-300))
    values, vectors = eigh(np.diag(target) + keep * away)
    # Noise spreads eigenvalues by up to sqrt(2 D) sd: below that a small one says little.
    floor = max(0.02 * float(target.mean()), FLOOR * keep * sd * float(np.sqrt(2 * size)))
    return (vectors * np.maximum(values, floor)) @ vectors.T


def denoised(matrix: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """The singular values of a matrix drawn towards 0 as independent noise of ``sd`` asks for, in the least-squares sense.

    Gavish & Donoho 2017, equation 7.
    """
    if sd <= 0:
        return matrix
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    m, n = wide.shape
    left, values, right = np.linalg.svd(wide, full_matrices=False)
    y, beta = values / (sd * np.sqrt(n)), m / n
    inner = np.maximum((y**2 - beta - 1) ** 2 - 4 * beta, 0)
    kept = np.where(y > 1 + np.sqrt(beta), np.sqrt(inner) / np.maximum(y, 1e-12), 0)
    clean = (left * (kept * sd * np.sqrt(n))) @ right
    return clean if wide is matrix else clean.T


@dataclass(frozen=True)
class NoisyRegression:
    """Effects of features on components, from noisy moments alone.

    Parameters
    ----------
    coefficients : (F, K); 0 throughout where nothing can be told from noise.
    gain : estimated gain in squared error over the mean, summed over components, per person; what is noise is not counted.
    """

    coefficients: NDArray[np.float64]
    gain: float

    @classmethod
    def fit(
        cls,
        gram: NDArray[np.float64],
        cross: NDArray[np.float64],
        variance: NDArray[np.float64],
        n: float,
        sd: float,
        feature_sets: Sequence[NDArray[np.intp]],
    ) -> NoisyRegression:
        """The effects' posterior mean under a normal prior; features, components and prior chosen on Stein's estimate of the error.

        Along an eigenvector of A'A with eigenvalue h, a column of A'T is h b, plus noise of variance sd^2 for privacy and h v for
        chance, v the component's variance. The choice has to promise more than twice its own standard error: the gate.

        Parameters
        ----------
        gram : (F, F) positive definite A'A.
        cross : (F, K) noisy A'T, strongest component first.
        variance : (K,) of components.
        n : effective number of people.
        sd : of the noise in ``cross``.
        feature_sets : numbers of the features of each choice; none for no effects.
        """
        best, risk_of_best, coefficients = 0.0, 0.0, np.zeros_like(cross)
        sizes = np.unique(np.minimum(COMPONENTS, cross.shape[1]))
        for used in filter(len, feature_sets):
            values, vectors = eigh(gram[np.ix_(used, used)])
            h = np.maximum(values, 1e-9 * values[-1])[:, None]
            along = vectors.T @ cross[used]
            noise = sd**2 + h * variance
            for prior in PRIORS:
                factor = h * prior * variance / (h**2 * prior * variance + noise)
                effect = factor * along
                risk = np.cumsum((h * effect**2 - 2 * effect * along + 2 * factor * noise).sum(0))
                error = np.sqrt(np.cumsum((4 * factor**2 * noise * along**2).sum(0)))
                promised = (risk + ERRORS * error)[sizes - 1]
                if promised.min() < best:
                    size = sizes[promised.argmin()]
                    best, risk_of_best = promised.min(), float(risk[size - 1])
                    coefficients = np.zeros_like(cross)
                    coefficients[np.ix_(used, np.arange(size))] = vectors @ effect[:, :size]
        return cls(coefficients, -risk_of_best / n)

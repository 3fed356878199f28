"""Closed-form paths: ridge regression of edge components on profile features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

__all__ = ["STRENGTHS", "RidgeSystem", "band_scales"]

STRENGTHS = np.logspace(-1, 6, 36)
"""Ridge strengths that generalised cross-validation chooses from, for features of unit variance."""

BAND_GRID = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
BAND_COMPONENTS = 40


@dataclass(frozen=True)
class RidgeSystem:
    """Ridge regression of components T (n, K) on features A (n, F), held as its normal equations.

    ``A'A`` and ``A'T`` are all that any choice of features, scales and strengths needs, so that a search over bands never
    goes back to the people.

    Parameters
    ----------
    gram : (F, F) A'A.
    cross : (F, K) A'T.
    total : (K,) sums of squares of T.
    n : number of people.
    """

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    total: NDArray[np.float64]
    n: int

    @classmethod
    def of(cls, features: NDArray[np.float64], components: NDArray[np.float64]) -> RidgeSystem:
        """Normal equations of people's features (n, F) and components (n, K)."""
        return cls(features.T @ features, features.T @ components, (components**2).sum(0), len(features))

    def leading(self, k: int) -> RidgeSystem:
        """The same people with the first ``k`` components only."""
        return RidgeSystem(self.gram, self.cross[:, :k], self.total[:k], self.n)

    def solve(self, scales: NDArray[np.float64], *, shared: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients with a strength per component, chosen by generalised cross-validation (Golub, Heath & Wahba 1979).

        Parameters
        ----------
        scales : (F,) factor of each feature before the penalty; 0 leaves a feature out.
        shared : one strength for all components, on their summed error, in place of one for each.

        Returns
        -------
        coefficients : (F, K) for unscaled features.
        error : (K,) generalised cross-validation error of each component at its strength.
        """
        used = np.flatnonzero(scales > 0)
        coefficients = np.zeros_like(self.cross)
        if len(used) == 0:
            return coefficients, self.total / self.n / (1 - 1 / self.n) ** 2
        k = scales[used]
        values, vectors = eigh(self.gram[np.ix_(used, used)] * np.outer(k, k), check_finite=False, driver="evd")
        values = np.maximum(values, 0)
        along = vectors.T @ (k[:, None] * self.cross[used])
        shrink = values / (values + STRENGTHS[:, None])
        # The residual sum of squares is total - sum (2 s - s^2) (u'T)^2, with u'T = along / sqrt(values).
        energy = np.divide(along**2, values[:, None], out=np.zeros_like(along), where=values[:, None] > 1e-9 * values[-1])
        residual = self.total - (2 * shrink - shrink**2) @ energy
        # The mean, taken out before, has cost a degree of freedom: without it a fit through every point would look free of error.
        left = np.maximum(1 - (1 + shrink.sum(1, keepdims=True)) / self.n, 1e-9)
        error = np.maximum(residual, 0) / self.n / left**2
        best = np.full(error.shape[1], error.sum(1).argmin()) if shared else error.argmin(0)
        coefficients[used] = k[:, None] * (vectors @ (along / (values[:, None] + STRENGTHS[best])))
        return coefficients, error[best, np.arange(error.shape[1])]


def band_scales(
    system: RidgeSystem, bands: Sequence[str], *, start: NDArray[np.float64] | None = None, sweeps: int = 2
) -> NDArray[np.float64]:
    """A scale for each band of features, by coordinate descent on the summed log generalised cross-validation error.

    The logarithm keeps strong components from deciding alone: it is the Gaussian likelihood of whitened components.

    Parameters
    ----------
    system : normal equations of the training people.
    bands : (F,) band of each feature.
    start : (F,) known scales, equal within a band and held fixed, NaN where a band's scale is to be found starting from 0;
        default all are to be found, starting from 1.

    Returns
    -------
    scales : (F,) 0 where a band is left out.
    """
    leading = system.leading(BAND_COMPONENTS)
    names = sorted(set(bands))
    place = np.array([names.index(band) for band in bands])
    known = np.full(len(names), np.nan) if start is None else np.array([start[place == band][0] for band in range(len(names))])
    scale = np.where(np.isnan(known), 1.0 if start is None else 0.0, known)

    def error(trial: NDArray[np.float64]) -> float:
        return float(np.log(np.maximum(leading.solve(trial[place])[1], 1e-12)).sum())

    with threadpool_limits(limits=1, user_api="blas"):  # hundreds of small matrices, for which threads cost more than they bring
        best = error(scale)
        for _ in range(sweeps):
            before = scale.copy()
            for band in np.flatnonzero(np.isnan(known)):
                for value in BAND_GRID:
                    trial = scale.copy()
                    trial[band] = value
                    if value != scale[band] and trial.any() and (now := error(trial)) < best - 1e-9:
                        best, scale = now, trial
            if np.array_equal(before, scale):
                break
    return scale[place]

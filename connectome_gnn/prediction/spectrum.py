"""Ridge regression, linear or with a kernel, of many targets and strengths at once, with exact errors for people left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["STRENGTHS", "Spectrum", "combined"]

STRENGTHS = np.geomspace(1e3, 1e-4, 29)
"""Ridge strengths tried, strongest first, in units of the mean eigenvalue of the people's kernel matrix."""

EDGES_AT_ONCE = 4096
RANK_TOLERANCE = 1e-10
LEAST_LEFT = 1e-8


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvectors and eigenvalues of a centred kernel matrix of n people.

    Everything that ridge regression says of them, at any strength and for any target, follows from these: the fit is
    ``H y`` with ``H = 11'/n + U diag(s / (s + a)) U'`` (the mean is never shrunk), and what a unit B of people would have been
    predicted without them, exactly, is ``y_B - (I - H_BB)^-1 (y - H y)_B`` (Golub, Heath & Wahba 1979; Allen 1974 for single people).

    Attributes
    ----------
    vectors : (n, K) U.
    values : (K,) s, all positive.
    """

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of_rows(cls, x: NDArray) -> Spectrum:
        """Of rows (n, E) whose columns have mean 0 (the linear kernel), by the smaller of the two products."""
        n, n_edges = x.shape
        blocks = [slice(start, start + EDGES_AT_ONCE) for start in range(0, n_edges, EDGES_AT_ONCE)]
        if n <= n_edges:
            kernel = np.zeros((n, n))
            for block in blocks:
                part = x[:, block].astype(np.float64)
                kernel += part @ part.T
            return cls.of_kernel(kernel)
        wide = x.astype(np.float64)
        values, directions = np.linalg.eigh(wide.T @ wide)
        kept = values > RANK_TOLERANCE * max(values[-1], 1e-300)
        return cls(wide @ directions[:, kept] / np.sqrt(values[kept]), values[kept])

    @classmethod
    def of_kernel(cls, kernel: NDArray[np.float64]) -> Spectrum:
        """Of a centred kernel matrix (n, n)."""
        values, vectors = np.linalg.eigh(kernel)
        kept = values > RANK_TOLERANCE * max(values[-1], 1e-300)
        return cls(vectors[:, kept], values[kept])

    def strengths(self) -> NDArray[np.float64]:
        """:data:`STRENGTHS` in the kernel's own units."""
        return STRENGTHS * (self.values.sum() / len(self.vectors) if len(self.values) else 1.0)

    def dual(self, y: NDArray[np.float64], strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Dual coefficients (n, T) of targets (n, T), each at a strength of its own (T,): ``(K + a)^-1 (y - mean y)`` within K's space."""
        along = self.vectors.T @ (y - y.mean(0))
        return self.vectors @ (along / (self.values[:, None] + strengths))

    def left_out(self, y: NDArray[np.float64], strength: float, units: NDArray[np.intp]) -> NDArray[np.float64]:
        """What everybody would be predicted, (n, T), had their unit of people not been learned from."""
        n = len(y)
        shrink = self.values / (self.values + strength)
        mean = y.mean(0)
        error = y - mean - self.vectors @ (shrink[:, None] * (self.vectors.T @ (y - mean)))
        left = 1 - 1 / n - (self.vectors**2) @ shrink
        predicted = y - error / np.maximum(left, LEAST_LEFT)[:, None]
        sizes = np.bincount(units)
        for unit in np.flatnonzero(sizes > 1):
            rows = np.flatnonzero(units == unit)
            part = self.vectors[rows]
            kept = np.eye(len(rows)) - 1 / n - (part * shrink) @ part.T
            predicted[rows] = y[rows] - np.linalg.lstsq(kept, error[rows], rcond=LEAST_LEFT)[0]
        return predicted

    def chosen(
        self, y: NDArray[np.float64], strengths: NDArray[np.float64], units: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Of each target (n, T), the place of the strength with the least squared error for those left out, and that mean error, (T,).

        Of strengths that do equally well, the strongest, which is to come first.
        """
        best, least = np.zeros(y.shape[1], np.intp), np.full(y.shape[1], np.inf)
        for place, strength in enumerate(strengths):
            error = ((y - self.left_out(y, float(strength), units)) ** 2).mean(0)
            better = error < least
            best[better], least[better] = place, error[better]
        return best, least

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """(n, K) the people in the space that they span: products between them are what they were."""
        return self.vectors * np.sqrt(self.values)

    def lifted(self, x: NDArray, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients (K, T) of :attr:`coordinates` as coefficients (E, T) of the rows (n, E) that the spectrum was made of."""
        return combined(x, self.vectors @ (coefficients / np.sqrt(self.values)[:, None]))


def combined(x: NDArray, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """``x' shares``, (E, T), of rows (n, E) and their shares (n, T), in double precision without a copy of the rows."""
    answer = np.empty((x.shape[1], shares.shape[1]))
    for start in range(0, x.shape[1], EDGES_AT_ONCE):
        answer[start : start + EDGES_AT_ONCE] = x[:, start : start + EDGES_AT_ONCE].astype(np.float64).T @ shares
    return answer

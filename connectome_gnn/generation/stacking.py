"""Stacked regressions: how much of each path's prediction is worth using, from people that the paths have not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "stack_weights"]


@dataclass(frozen=True)
class Agreement:
    """Inner products over held-out people, all that weighing paths needs.

    Parameters
    ----------
    gram : (J, J) of all paths' predictions with each other.
    along : (J,) of each path's predictions with the people.
    energy : of the people with themselves.
    """

    gram: NDArray[np.float64]
    along: NDArray[np.float64]
    energy: float

    @classmethod
    def of(cls, predictions: NDArray, real: NDArray, energy: float) -> Agreement:
        """Sums over predictions (J, n, D) and real people (n, D), deviations from the training mean both."""
        flat = predictions.reshape(len(predictions), -1)
        return cls((flat @ flat.T).astype(np.float64), (flat @ real.astype(flat.dtype).ravel()).astype(np.float64), float(energy))

    def __add__(self, other: Agreement) -> Agreement:
        """Sums over both sets of people."""
        return Agreement(self.gram + other.gram, self.along + other.along, self.energy + other.energy)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights (J,) of :func:`stack_weights`."""
        return stack_weights(self.gram, self.along)

    def size(self, weights: NDArray[np.float64]) -> float:
        """Sum of squares of the weighted sum of predictions."""
        return float(weights @ self.gram @ weights)

    def r2(self, weights: NDArray[np.float64]) -> float:
        """Share of the people's energy that the weighted sum of predictions takes away."""
        return float((2 * weights @ self.along - self.size(weights)) / max(self.energy, 1e-12))

    @property
    def r2_alone(self) -> NDArray[np.float64]:
        """:meth:`r2` of each path alone, (J,)."""
        return (2 * self.along - np.diag(self.gram)) / max(self.energy, 1e-12)


def stack_weights(gram: NDArray[np.float64], along: NDArray[np.float64], *, steps: int = 20_000) -> NDArray[np.float64]:
    """Non-negative weights with sum at most 1 that minimise w'Gw - 2 b'w (stacked regressions, Breiman 1996).

    They are the gate: with nothing to gain from a path its weight is 0, and with nothing to gain at all the answer is the
    training mean. Projected gradient descent with Nesterov's momentum, which starts anew where it leads uphill (O'Donoghue & Candes
    2015): paths that are almost copies of each other take hundreds of steps in place of thousands.

    Parameters
    ----------
    gram : (J, J) inner products of the paths' cross-fitted predictions.
    along : (J,) inner products of those predictions with the people's deviations.
    """
    step = 1 / max(np.linalg.eigvalsh(gram)[-1], 1e-12)
    weights = np.zeros(len(along))
    ahead, momentum = weights, 1.0
    for _ in range(steps):
        updated = _project(ahead - step * (gram @ ahead - along))
        moved = updated - weights
        if np.abs(moved).max() < 1e-9:
            return updated
        if (ahead - updated) @ moved > 0:
            ahead, momentum = updated, 1.0
        else:
            faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead, momentum = updated + (momentum - 1) / faster * moved, faster
        weights = updated
    return weights


def _project(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest point with non-negative entries and sum at most 1."""
    positive = np.maximum(point, 0)
    if positive.sum() <= 1:
        return positive
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    return np.maximum(point - excess[np.flatnonzero(ordered > excess)[-1]], 0)

"""Row weights that turn one sort into every two-sample statistic: observed, permuted, resampled, of halves.

A row is one connectome. The difference of two distribution functions is ``D(t) = sum of a_r over rows r with a value up to t``, where a is
``1 / N`` on the rows of N real people and ``-1 / (M K)`` on those of M generated people with K samples each. Whatever moves people (a
permutation, a bootstrap resample, a split in halves) moves only a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from connectome_gnn.evaluation.comparison import Comparison

__all__ = ["Labels"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Which row is whose: N real rows first, then M x K generated ones, a person's samples together.

    Attributes
    ----------
    real_units : (N,) unit of each real person; people of one unit stay together.
    generated_units : (M,) the same of generated people, in the same numbers: a generated person is of the unit of the real one.
    n_samples : connectomes K of each generated person.
    paired : whether both cohorts hold the same people in the same order.
    """

    real_units: NDArray[np.intp]
    generated_units: NDArray[np.intp]
    n_samples: int
    paired: bool

    @classmethod
    def of(cls, comparison: Comparison, n_samples: int | None = None) -> Labels:
        """Who is who in two cohorts; with ``n_samples`` as if each generated person had that many samples."""
        k = comparison.n_samples if n_samples is None else n_samples
        if comparison.paired:
            return cls(comparison.units, comparison.units, k, True)
        people = comparison.real.ids[comparison.real_rows]
        known = dict(zip(people, comparison.units.tolist(), strict=True))
        first = int(comparison.units.max()) + 1
        others = comparison.generated.ids[comparison.generated_rows[:, 0]]
        units = [known.get(person, first + unit) for person, unit in zip(others, comparison.generated_units.tolist(), strict=True)]
        return cls(comparison.units, np.array(units, np.intp), k, False)

    def noise(self, comparison: Comparison) -> NDArray[np.float32]:
        """(N + M K, B) what the comparison's bootstrap resamples change in the weights."""
        return self.resampled(comparison.weights[1:], comparison.generated_weights[1:])

    @property
    def sizes(self) -> tuple[int, int, int]:
        """N, M and K."""
        return len(self.real_units), len(self.generated_units), self.n_samples

    def observed(self, one_sample: bool = False) -> NDArray[np.float64]:
        """(N + M K,) weights of the cohorts as they are; with ``one_sample`` of the first sample of each generated person alone."""
        n, m, k = self.sizes
        spread = np.zeros((m, k))
        spread[:, : 1 if one_sample else k] = -1 / (m * (1 if one_sample else k))
        return np.concatenate([np.full(n, 1 / n), spread.ravel()])

    def of_halves(self, rows: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.float64]:
        """(N + M K,) weights of two halves of the real people, generated rows left out."""
        n, m, k = self.sizes
        weights = np.zeros(n + m * k)
        weights[rows[0]], weights[rows[1]] = 1 / len(rows[0]), -1 / len(rows[1])
        return weights

    def size_factor(self, rows: tuple[NDArray[np.intp], NDArray[np.intp]]) -> float:
        """What a distance between two halves is multiplied by to be that of cohorts of these sizes, where nothing differs.

        ``sqrt((1 / N + 1 / (M K)) / (1 / a + 1 / b))``: both distances shrink like that.
        """
        n, m, k = self.sizes
        return float(np.sqrt((1 / n + 1 / (m * k)) / (1 / len(rows[0]) + 1 / len(rows[1]))))

    @property
    def one_sample_factor(self) -> float:
        """What a distance with one sample a person is multiplied by to be that with all of them, where nothing differs."""
        n, m, k = self.sizes
        return float(np.sqrt((1 / n + 1 / (m * k)) / (1 / n + 1 / m)))

    def resampled(self, weights: NDArray[np.float32], generated_weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N + M K, B) what bootstrap resamples of people change in the weights; all samples of a person move together.

        Parameters
        ----------
        weights, generated_weights : (B, N) and (B, M) how often each person is drawn.
        """
        n, m, k = self.sizes
        real = weights / weights.sum(1, keepdims=True) - np.float32(1 / n)
        generated = generated_weights / generated_weights.sum(1, keepdims=True) - np.float32(1 / m)
        return np.ascontiguousarray(np.concatenate([real, np.repeat(-generated / k, k, axis=1)], 1).T, np.float32)

    def mixed(self, values: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """(F, n) values with people in another order in each feature, real ones among themselves and generated ones among themselves.

        A person's samples stay together and, where both cohorts hold the same people, both sides of a person too.
        """
        n, m, k = self.sizes
        result = np.empty_like(values)
        for mixed, feature in zip(result, values, strict=True):
            order = generator.permutation(n)
            mixed[:n] = feature[:n][order]
            mixed[n:] = feature[n:].reshape(m, k)[order if self.paired else generator.permutation(m)].ravel()
        return result

    def permuted(self, n_permutations: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """(N + M K, P) weights under which real and generated people have traded places.

        Of a person who is in both cohorts one of the K + 1 connectomes is taken for the real one, each as likely: real and generated
        connectomes of one person are exchangeable if the generator is right, whatever they share. People of one cohort alone are dealt
        to the two cohorts anew, unit by unit, with the first sample of each generated person, so that everybody is one connectome.
        """
        n, m, k = self.sizes
        if self.paired:
            return self._swapped(n_permutations, generator)
        draws = np.zeros((n_permutations, n + m * k), np.float32)
        units, first_rows = np.concatenate([self.real_units, self.generated_units]), np.concatenate([np.arange(n), n + k * np.arange(m)])
        real = np.arange(n + m) < n
        names, places = np.unique(units, return_inverse=True)
        in_both = np.isin(names, self.real_units) & np.isin(names, self.generated_units)
        alone = np.flatnonzero(~in_both)
        real_alone = np.isin(names[alone], self.real_units)
        for draw in draws:
            # In both cohorts: the two sides trade places or stay. In one alone: as many units as there were, drawn from all of those.
            flips, dealt = generator.random(len(names)) < 0.5, np.zeros(len(names), bool)
            dealt[alone] = real_alone[generator.permutation(len(alone))]
            is_real = np.where(in_both[places], real ^ flips[places], dealt[places])
            draw[first_rows] = np.where(is_real, 1 / max(is_real.sum(), 1), -1 / max((~is_real).sum(), 1))
        return np.ascontiguousarray(draws.T)

    def _swapped(self, n_permutations: int, generator: np.random.Generator) -> NDArray[np.float32]:
        n, m, k = self.sizes
        n_units = int(self.real_units.max()) + 1
        draws = np.empty((n_permutations, n + m * k), np.float32)
        rows = np.concatenate([np.arange(n)[:, None], n + np.arange(m * k).reshape(m, k)], 1)
        for draw in draws:
            chosen = generator.integers(k + 1, size=n_units)[self.real_units]
            draw[:] = -1 / (n * k)
            draw[rows[np.arange(n), chosen]] = 1 / n
        return np.ascontiguousarray(draws.T)

"""Maximum mean discrepancy: is a descriptor of networks distributed alike in generated and real people?

Descriptors are vectors, one a connectome: a number for every region (degree, strength, clustering), compared region by region by the
Gaussian kernel and, whatever region it belongs to, as a histogram by the total-variation kernel; and the Laplacian's eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.inversion import confidence_draws
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.evaluation.signed_rows import Labels
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["DESCRIPTORS", "MMD", "Discrepancy", "descriptors", "gaussian_kernel", "histograms", "total_variation_kernel"]

DESCRIPTORS = ("degree", "strength", "clustering", "laplacian")
BINS = 50
ROWS = 128
TRAINING_PEOPLE = 300
MOST_PERMUTATIONS = 1000

GRID = 200
REACH = 3.5


def gaussian_kernel(values: NDArray, bandwidth: float | None = None) -> tuple[NDArray[np.float32], float]:
    """``exp(-|x - y|^2 / (2 s^2))`` between all rows.

    Parameters
    ----------
    values : (n, D) descriptors.
    bandwidth : s; default the median distance between different rows (Gretton et al. 2012).

    Returns
    -------
    kernel : (n, n). Equals scikit-learn ``rbf_kernel`` with ``gamma = 1 / (2 s^2)``.
    bandwidth : s; 0 where half of all pairs are equal, and the kernel is then no kernel to use.
    """
    return _of_distances(_euclidean(values), bandwidth)


def total_variation_kernel(shares: NDArray, bandwidth: float | None = None) -> tuple[NDArray[np.float32], float]:
    """``exp(-d^2 / (2 s^2))``, d = half the sum of absolute differences of two histograms (Liao et al. 2019, NeurIPS).

    Parameters
    ----------
    shares : (n, D) histograms, rows summing to 1.
    bandwidth : s; default the median distance between different rows.
    """
    return _of_distances(squareform(pdist(shares, "cityblock")).astype(np.float32) / 2, bandwidth)


def histograms(values: NDArray, low: float, high: float, bins: int = BINS) -> NDArray[np.float64]:
    """(n, bins) shares of each row's numbers in bins of equal width from ``low`` to ``high``; the outermost bins take what lies beyond."""
    width = (high - low) or 1.0
    place = np.clip((values - low) / width * bins, 0, bins - 1).astype(np.intp) + bins * np.arange(len(values))[:, None]
    return np.bincount(place.ravel(), minlength=bins * len(values)).reshape(len(values), bins) / values.shape[1]


def _euclidean(values: NDArray) -> NDArray[np.float32]:
    centred = (values - values.mean(0)).astype(np.float64)
    squares = (centred**2).sum(1)
    squared = squares[:, None] + squares - 2 * (centred @ centred.T)
    np.fill_diagonal(squared, 0)
    return np.sqrt(np.maximum(squared, 0)).astype(np.float32)


def _of_distances(distance: NDArray[np.float32], bandwidth: float | None) -> tuple[NDArray[np.float32], float]:
    s = float(np.median(distance[np.triu_indices(len(distance), 1)])) if bandwidth is None else bandwidth
    return np.exp(-(distance**2) / np.float32(2 * s * s or 1)), s


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """Squared maximum mean discrepancy of real and generated rows, unbiased.

    ``mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)``, means over pairs of people who do not belong together: no person is
    compared with themselves, on either side, so that neither the samples' finite number nor what a generated and a real connectome of one
    person share adds to it. 0 in expectation where nothing differs, and then as often below 0 as above.

    Attributes
    ----------
    kernel : (N + M, N + M) kernel, N real rows first.
    labels : who is who; one sample a person.

    References
    ----------
    Gretton et al. 2012, JMLR 13:723 (Lemma 6; with pairs, Lemma 14's U-statistic).
    """

    kernel: NDArray[np.float32]
    labels: Labels

    @cached_property
    def _apart(self) -> NDArray[np.float32]:
        """The kernel, 0 between rows of one unit."""
        units = np.concatenate([self.labels.real_units, self.labels.generated_units])
        return np.where(units[:, None] == units, np.float32(0), self.kernel)

    @cached_property
    def value(self) -> float:
        """The unbiased estimate."""
        n, m, _ = self.labels.sizes
        return float(self._of(np.repeat([True, False], [n, m])[None])[0])

    def of_halves(self, rows: tuple[NDArray[np.intp], NDArray[np.intp]]) -> float:
        """The same between two halves of the real people."""
        kept = np.concatenate(rows)
        units = self.labels.real_units
        halves = Labels(units[rows[0]], units[rows[1]], 1, False)
        return Discrepancy(self.kernel[np.ix_(kept, kept)], halves).value

    def permuted(self, n_permutations: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """(P,) the estimate with real and generated people having traded places (:meth:`Labels.permuted`)."""
        return self._of((self.labels.permuted(n_permutations, generator) > 0).T)

    def draws(self, noise: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B,) draws that scatter around :attr:`value` as it does around the population's discrepancy.

        With mean embeddings, the estimate is ``|D + e|^2`` less its bias, e the noise of both samples: a part linear in e, whose variance
        grows with the true discrepancy, and the square of e, skewed, all there is where nothing differs. Resamples give both, and the
        interval is found by inverting the test (:func:`~connectome_gnn.evaluation.inversion.confidence_draws`).

        Parameters
        ----------
        noise : (N + M, B) what resamples of people change in the row weights (:meth:`Labels.resampled`).
        """
        product = noise.T @ self.kernel
        observed = self.labels.observed().astype(np.float32)
        linear = 2 * (product @ observed).astype(np.float64)
        squares = np.einsum("ij,ji->i", product, noise).astype(np.float64)
        size = float(observed @ self.kernel @ observed)
        steepness = linear.std() / np.sqrt(size) if size > 0 else 0.0
        linear = (linear - linear.mean()) / (linear.std() or 1)
        squares -= squares.mean()
        # The far end: where the value found is REACH deviations below what is expected.
        spread = steepness**2 * REACH**2 / 2 + REACH * squares.std()
        sizes = np.linspace(0, max(self.value, 0) + spread + steepness * REACH * np.sqrt(max(self.value, 0) + spread), GRID)
        return confidence_draws(self.value, sizes[:, None] + steepness * np.sqrt(sizes)[:, None] * linear + squares)

    def _of(self, is_real: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The estimate with other rows taken for real ones, (P, N + M)."""
        real = is_real.astype(np.float32)
        generated = 1 - real
        pairs = self._pairs(is_real)
        from_real = real @ self._apart
        sums = [
            np.einsum("ij,ij->i", from_real, real, dtype=np.float64),
            np.einsum("ij,ij->i", generated @ self._apart, generated, dtype=np.float64),
            np.einsum("ij,ij->i", from_real, generated, dtype=np.float64),
        ]
        xx, yy, xy = (total / np.maximum(count, 1) for total, count in zip(sums, pairs, strict=True))
        return xx + yy - 2 * xy

    def _pairs(self, is_real: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
        """Numbers of pairs of rows of different units, real with real, generated with generated, real with generated, (P,) each."""
        units = np.unique(np.concatenate([self.labels.real_units, self.labels.generated_units]), return_inverse=True)[1]
        of_unit = np.zeros((len(units), units.max() + 1))
        of_unit[np.arange(len(units)), units] = 1
        if (of_unit.sum(0) == 1).all():
            n, m = is_real.sum(1), (~is_real).sum(1)
            return n * (n - 1), m * (m - 1), n * m
        real, generated = is_real @ of_unit, (~is_real) @ of_unit
        n, m = real.sum(1), generated.sum(1)
        return n**2 - (real**2).sum(1), m**2 - (generated**2).sum(1), n * m - (real * generated).sum(1)


class MMD(SharedScore):
    """Squared maximum mean discrepancy between real and generated people's descriptors, by a Gaussian kernel.

    The unbiased estimate (:class:`Discrepancy`) on vectors with a number for every region (degree, strength, clustering), or with the
    eigenvalues of the normalised Laplacian. Kernel: ``exp(-|x - y|^2 / (2 s^2))``, s the median distance between training people (at most
    300, drawn at random), so that neither cohort chooses its own ruler. One sample a person, the first.

    Shape: one number. Range: about 0 to 2, slightly below 0 at times; the null, no difference, is 0. p: real and generated people trade
    places. ``real_vs_real``: half of the real people against the other half. Interval: of the population's discrepancy.
    Details: one row a kernel, ``gaussian`` and ``total_variation`` (histograms over regions in 50 bins over the range of training people,
    whatever region a value belongs to), with bandwidth, value, interval, p and real halves.
    Undefined for expected connectomes, for descriptors that signed weights do not have, and where training people do not differ.
    Source: Gretton et al. 2012, JMLR 13:723; You et al. 2018, ICML and Liao et al. 2019, NeurIPS (degree, clustering, spectrum).
    """

    topology = True

    def __init__(self, descriptor: str) -> None:
        self.descriptor = descriptor
        self.name = f"mmd_{descriptor}"

    def estimate(self, comparison: Comparison) -> Estimate:
        """Discrepancy by both kernels; the Gaussian one is the score."""
        if comparison.real.signed and self.descriptor in ("clustering", "laplacian"):
            return Estimate.undefined(f"{self.descriptor} is not defined for negative weights", null=0.0)
        training = comparison.shared(f"{self.descriptor} of training people", lambda: _of_training(comparison, self.descriptor))
        real = comparison.shared(f"{self.descriptor} of real people", lambda: self._of_real(comparison))
        values = np.concatenate([real, self._of_generated(comparison)])
        low, high = float(training.min()), float(training.max())
        by_kernel = {
            "gaussian": lambda rows, width: gaussian_kernel(rows, width),
            "total_variation": lambda rows, width: total_variation_kernel(histograms(rows, low, high), width),
        }
        labels = Labels.of(comparison, 1)
        noise = labels.noise(comparison)
        estimates, table = [], []
        for name, kernel_of in by_kernel.items():
            width = kernel_of(training, None)[1]
            if not width > 0:
                continue
            found = Discrepancy(kernel_of(values, width)[0], labels)
            draws = found.draws(noise) if noise.shape[1] else np.empty(0)
            p = float("nan")
            if comparison.n_permutations:
                drawn = found.permuted(min(comparison.n_permutations, MOST_PERMUTATIONS), comparison.rng(f"{self.name} {name}"))
                p = float(permutation_p(found.value, drawn))
            beside = found.of_halves(comparison.halves)
            estimates.append(Estimate(np.concatenate([[found.value], draws]), comparison.n_people, 0.0, p, beside, lower_is_better=True))
            low_end, high_end = np.quantile(draws, (0.025, 0.975)) if len(draws) else (np.nan, np.nan)
            table.append((name, width, found.value, low_end, high_end, p, beside))
        if not estimates or table[0][0] != "gaussian":
            return Estimate.undefined(f"training people do not differ in {self.descriptor}", null=0.0)
        columns = ["kernel", "bandwidth", "value", "low", "high", "p", "real_vs_real"]
        return replace(estimates[0], details=pd.DataFrame(table, columns=columns))

    def _of_real(self, comparison: Comparison) -> NDArray[np.float64]:
        if self.descriptor in comparison.measures:
            return comparison.topology.real[self.descriptor].astype(np.float64)
        return descriptors(comparison.real, comparison.real_rows, self.descriptor, comparison.n_jobs)

    def _of_generated(self, comparison: Comparison) -> NDArray[np.float64]:
        if self.descriptor in comparison.measures:
            return comparison.topology.generated[self.descriptor][:, 0].astype(np.float64)
        return descriptors(comparison.generated, comparison.generated_rows[:, 0], self.descriptor, comparison.n_jobs)


def descriptors(cohort: Cohort, rows: NDArray[np.intp], descriptor: str, n_jobs: int = 1) -> NDArray[np.float64]:
    """(n, R) a descriptor of some rows' networks: a nodal measure, or ``"laplacian"``, the normalised Laplacian's eigenvalues."""
    from connectome_gnn import topology
    from connectome_gnn.edges import to_matrices

    measure = topology.laplacian_spectrum if descriptor == "laplacian" else getattr(topology, descriptor)
    batches = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    return np.concatenate(
        [measure(to_matrices(cohort.read(batch).astype(np.float32)), n_jobs=n_jobs).astype(np.float64) for batch in batches]
    )


def _of_training(comparison: Comparison, descriptor: str) -> NDArray[np.float64]:
    cohort = comparison.reference.cohort
    rows = np.sort(comparison.rng("bandwidth").permutation(cohort.n_people)[:TRAINING_PEOPLE])
    return descriptors(cohort, rows, descriptor, comparison.n_jobs)

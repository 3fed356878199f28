"""How far a generated network is from its person's own, as wiring models are judged: plain functions of arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.reference import ROWS
from connectome_gnn.evaluation.resampling import weighted_mean
from connectome_gnn.evaluation.scores import Estimate, SharedScore

__all__ = ["PARTS", "WiringDegreeR", "WiringEnergy", "degree_correlations", "edge_lengths", "length_distances", "nodal_distances"]

PARTS = ("degree", "clustering", "betweenness", "edge_length")
"""What the energy is the largest of."""


def nodal_distances(real: NDArray, samples: NDArray) -> NDArray[np.float64]:
    """Kolmogorov-Smirnov distance between two networks' values over regions.

    Parameters
    ----------
    real : (n, R) a measure of n people's regions.
    samples : (n, K, R) the same of K networks each.

    Returns
    -------
    ks : (n, K) in [0, 1], regions whose value is NaN left out; NaN where a network has no value. Equals scipy ``ks_2samp`` on regions.
    """
    return _nodal(np.sort(real.astype(np.float64), axis=-1), np.sort(samples.astype(np.float64), axis=-1))


def length_distances(real: NDArray[np.bool_], samples: NDArray[np.bool_], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kolmogorov-Smirnov distance between the lengths of the edges that two networks have.

    Parameters
    ----------
    real : (n, E) whether each of n people has an edge.
    samples : (n, K, E) whether each of K networks has it.
    lengths : (E,) mm; NaN where a region's place is unknown, which leaves the edge out.

    Returns
    -------
    ks : (n, K) in [0, 1]; NaN where a network has no edge.
    """
    order = np.argsort(lengths)[: np.isfinite(lengths).sum()]
    return _lengths(real[:, order], samples[..., order], lengths[order])


def degree_correlations(real: NDArray, samples: NDArray) -> NDArray[np.float64]:
    """Pearson r over regions between two networks' degrees, (n, K) from (n, R) and (n, K, R); NaN where all degrees are equal."""
    x, y = real - real.mean(-1, keepdims=True), samples - samples.mean(-1, keepdims=True)
    product = (x[:, None] * y).sum(-1)
    size = np.sqrt((x**2).sum(-1)[:, None] * (y**2).sum(-1))
    r: NDArray[np.float64] = np.divide(product, size, out=np.full(size.shape, np.nan), where=size > 1e-9)
    return r


@njit(cache=True, nogil=True)
def _nodal(real: NDArray[np.float64], samples: NDArray[np.float64]) -> NDArray[np.float64]:
    n_people, n_samples, _ = samples.shape
    result = np.full((n_people, n_samples), np.nan)
    for i in range(n_people):
        x = real[i][~np.isnan(real[i])]
        for k in range(n_samples):
            y = samples[i, k][~np.isnan(samples[i, k])]
            if len(x) == 0 or len(y) == 0:
                continue
            a, b, largest = 0, 0, 0.0
            while a < len(x) and b < len(y):
                value = min(x[a], y[b])
                while a < len(x) and x[a] == value:
                    a += 1
                while b < len(y) and y[b] == value:
                    b += 1
                largest = max(largest, abs(a / len(x) - b / len(y)))
            result[i, k] = largest
    return result


@njit(cache=True, nogil=True)
def _lengths(real: NDArray[np.bool_], samples: NDArray[np.bool_], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    n_people, n_samples, n_edges = samples.shape
    result = np.full((n_people, n_samples), np.nan)
    for i in range(n_people):
        own = real[i].sum()
        for k in range(n_samples):
            theirs = samples[i, k].sum()
            if own == 0 or theirs == 0:
                continue
            a, b, largest = 0, 0, 0.0
            for e in range(n_edges):
                a += real[i, e]
                b += samples[i, k, e]
                if e + 1 == n_edges or lengths[e + 1] != lengths[e]:
                    largest = max(largest, abs(a / own - b / theirs))
            result[i, k] = largest
    return result


class WiringEnergy(SharedScore):
    """How far a person's generated network is from the real one, as wiring models are judged: the largest of four distances.

    ``E = max(KS degree, KS clustering, KS betweenness, KS edge length)`` of one generated and the same person's real network, the first
    three between their distributions over regions, the last between the lengths of the edges they have; averaged over people. With K
    samples a person, the mean of their K energies. Measures as in the evaluation: degree of the binary, clustering and betweenness of the
    weighted network.

    Shape: one number. Range: 0 to 1, lower is better. Chance: ``real_vs_real``, the energy between two different real people, one of each
    half. A low energy says little about where hubs are: see ``wiring_degree_r``. Details: each person's energy and its four parts, averaged
    over samples.
    Undefined for expected connectomes, signed weights, without coordinates, and where people differ.
    Source: Betzel et al. 2016, NeuroImage 124:1054.
    """

    name = "wiring_energy"
    paired = True
    topology = True

    def estimate(self, comparison: Comparison) -> Estimate:
        """Mean energy over people."""
        lengths = edge_lengths(comparison)
        if lengths is None:
            return Estimate.undefined("the atlas has no coordinates, so edges have no length")
        if comparison.real.signed:
            return Estimate.undefined("clustering and betweenness are not defined for negative weights")
        missing = [name for name in PARTS[:3] if name not in comparison.measures]
        if missing:
            return Estimate.undefined(f"needs the measures {', '.join(PARTS[:3])}; {', '.join(missing)} not measured")
        parts = _energies(comparison, lengths)
        energy = _person_mean(parts.max(0))
        first, second = comparison.halves
        size = min(len(first), len(second))
        beside = _energies_of_halves(comparison, lengths, first[:size], second[:size]).max(0)
        details = pd.DataFrame({"participant_id": comparison.real.ids[comparison.real_rows], "energy": energy})
        details = details.assign(**{name: _person_mean(part) for name, part in zip(PARTS, parts, strict=True)})
        if not np.isfinite(energy).any():
            return Estimate.undefined("nobody has both a real and a generated network with edges")
        return Estimate(
            weighted_mean(comparison.weights, energy),
            int(np.isfinite(energy).sum()),
            real_vs_real=float(np.nanmean(beside)) if np.isfinite(beside).any() else float("nan"),
            lower_is_better=True,
            details=details,
        )


class WiringDegreeR(SharedScore):
    """Pearson r over regions between a person's generated and real degree, averaged over samples and people.

    Shape: one number. Range: -1 to 1, higher is better. It tells whether hubs are where they are in the person, which an energy of
    distributions does not. Chance: ``real_vs_real``, between two different real people, one of each half. People with a network whose
    regions all have one degree are left out (``n``). Details: each person's r.
    Undefined for expected connectomes, and where people differ.
    Source: Akarca et al. 2021, Nat. Commun. 12:4237 (where, not only how often).
    """

    name = "wiring_degree_r"
    paired = True
    topology = True

    def estimate(self, comparison: Comparison) -> Estimate:
        """Mean r over people."""
        if "degree" not in comparison.measures:
            return Estimate.undefined("needs the measure degree, which was not measured")
        sides = comparison.topology
        r = _person_mean(degree_correlations(sides.real["degree"], sides.generated["degree"]))
        if not np.isfinite(r).any():
            return Estimate.undefined("in every network, real or generated, all regions have one degree")
        first, second = comparison.halves
        size = min(len(first), len(second))
        beside = degree_correlations(sides.real["degree"][first[:size]], sides.real["degree"][second[:size], None])
        details = pd.DataFrame({"participant_id": comparison.real.ids[comparison.real_rows], "r": r})
        return Estimate(
            weighted_mean(comparison.weights, r),
            int(np.isfinite(r).sum()),
            real_vs_real=float(np.nanmean(beside)) if np.isfinite(beside).any() else float("nan"),
            details=details,
        )


def edge_lengths(comparison: Comparison) -> NDArray[np.float64] | None:
    """(E,) distance between the regions of each edge, mm, NaN where a place is unknown; None without coordinates."""
    lengths = comparison.real.atlas.edge_distances()
    return lengths if np.isfinite(lengths).any() else None


def _energies(comparison: Comparison, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, N, K) the parts of the energy."""
    sides = comparison.topology
    nodal = [nodal_distances(sides.real[name], sides.generated[name]) for name in PARTS[:3]]
    batches = []
    size = max(ROWS // comparison.n_samples, 1)
    for start in range(0, comparison.n_people, size):
        rows = comparison.generated_rows[start : start + size]
        real = comparison.real.read(comparison.real_rows[start : start + size]) != 0
        samples = (comparison.generated.read(rows.ravel()) != 0).reshape(*rows.shape, -1)
        batches.append(length_distances(real, samples, lengths))
    return np.stack([*nodal, np.concatenate(batches)])


def _energies_of_halves(
    comparison: Comparison, lengths: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    real = comparison.topology.real
    nodal = [nodal_distances(real[name][first], real[name][second, None]) for name in PARTS[:3]]
    batches = []
    for start in range(0, len(first), ROWS):
        one, other = (comparison.real.read(comparison.real_rows[half[start : start + ROWS]]) != 0 for half in (first, second))
        batches.append(length_distances(one, other[:, None], lengths))
    return np.stack([*nodal, np.concatenate(batches)])


def _person_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mean over samples, undefined ones left out."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(1)
    return np.divide(total, defined.sum(1), out=np.full(len(values), np.nan), where=defined.any(1))

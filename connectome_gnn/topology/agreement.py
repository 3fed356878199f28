"""How far two partitions of the same regions agree: variation of information, normalised mutual information, adjusted Rand index.

All three count, for every pair of communities, the regions they share; labels themselves mean nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError

__all__ = ["adjusted_rand", "normalised_mutual_information", "variation_of_information"]


def variation_of_information(first: Any, second: Any, *, normalise: bool = False) -> Any:
    """What one partition does not say about the other: H(a) + H(b) - 2 I(a, b) (Meila 2007, doi:10.1016/j.jmva.2006.11.013).

    Parameters
    ----------
    first, second : (R,) or (N, R) labels, whole numbers or names; a single partition is held against every row of the other.
    normalise : divide by log R, the largest there can be.

    Returns
    -------
    distance : () or (N,), nats, or 0 to 1 if normalised; 0 for the same partition. One region: 0.

    Raises
    ------
    ConnectomeError
        If the two are not partitions of the same regions, or a label is missing.

    Notes
    -----
    Equals igraph's ``compare_communities(method="vi")`` and, normalised, bctpy's ``partition_distance``.
    """
    a, b = _as_pairs(first, second)
    values = np.array([_entropies(x, y) for x, y in zip(a, b, strict=True)])
    distance = np.maximum(2 * values[:, 2] - values[:, 0] - values[:, 1], 0)
    if normalise and a.shape[1] > 1:
        distance = distance / np.log(a.shape[1])
    return _like(distance, first, second)


def normalised_mutual_information(first: Any, second: Any) -> Any:
    """Mutual information over the mean of the two entropies: 2 I(a, b) / (H(a) + H(b)) (Danon et al. 2005).

    Parameters
    ----------
    first, second : (R,) or (N, R) labels, whole numbers or names; a single partition is held against every row of the other.

    Returns
    -------
    agreement : () or (N,), 0 to 1; 1 for the same partition, two partitions of a single community each included.

    Raises
    ------
    ConnectomeError
        If the two are not partitions of the same regions, or a label is missing.

    Notes
    -----
    Equals scikit-learn's ``normalized_mutual_info_score`` and bctpy's ``partition_distance``.
    """
    a, b = _as_pairs(first, second)
    values = np.array([_entropies(x, y) for x, y in zip(a, b, strict=True)])
    both = values[:, 0] + values[:, 1]
    agreement = np.where(both > 0, 2 * np.maximum(both - values[:, 2], 0) / np.where(both > 0, both, 1), 1.0)
    return _like(agreement, first, second)


def adjusted_rand(first: Any, second: Any) -> Any:
    """Share of pairs of regions on which the partitions agree, 0 where chance would put it (Hubert & Arabie 1985, doi:10.1007/BF01908075).

    Parameters
    ----------
    first, second : (R,) or (N, R) labels, whole numbers or names; a single partition is held against every row of the other.

    Returns
    -------
    agreement : () or (N,), at most 1; 1 for the same partition, below 0 for less than chance.

    Raises
    ------
    ConnectomeError
        If the two are not partitions of the same regions, or a label is missing.

    Notes
    -----
    Equals scikit-learn's ``adjusted_rand_score``.
    """
    a, b = _as_pairs(first, second)
    return _like(np.array([_rand_index(x, y) for x, y in zip(a, b, strict=True)]), first, second)


def _as_pairs(first: Any, second: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    a, b = _as_labels(first), _as_labels(second)
    if a.shape[1] != b.shape[1] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise ConnectomeError(
            f"partitions to compare need the same regions, (R,) or (N, R) labels, got shapes {np.shape(first)} and {np.shape(second)}"
        )
    n = max(len(a), len(b))
    return np.broadcast_to(a, (n, a.shape[1])), np.broadcast_to(b, (n, b.shape[1]))


def _as_labels(partition: Any) -> NDArray[np.int64]:
    labels = np.asarray(partition.detach().cpu() if hasattr(partition, "detach") else partition)
    if labels.ndim not in (1, 2) or labels.size == 0:
        raise ConnectomeError(f"a partition is (R,) or (N, R) labels of at least one region, got shape {labels.shape}")
    missing = labels != labels if labels.dtype.kind == "f" else [label is None or label != label for label in labels.flat]
    if labels.dtype.kind in "fO" and np.any(missing):
        raise ConnectomeError("a partition needs a label for every region, got missing ones; give those regions a label of their own")
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    return np.stack([np.unique(row, return_inverse=True)[1] for row in np.atleast_2d(labels)]).astype(np.int64)


def _like(values: NDArray[np.float64], first: Any, second: Any) -> Any:
    return values[0] if np.ndim(first) == np.ndim(second) == 1 else values


@njit(cache=True, nogil=True)
def _shared(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Regions that community x of a and community y of b share."""
    counts = np.zeros((a.max() + 1, b.max() + 1))
    for i in range(len(a)):
        counts[a[i], b[i]] += 1
    return counts


@njit(cache=True, nogil=True)
def _entropy(counts: NDArray[np.float64], n: int) -> float:
    total = 0.0
    for count in counts.flat:
        if count > 0:
            total -= count / n * np.log(count / n)
    return total


@njit(cache=True, nogil=True)
def _entropies(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, float, float]:
    """Entropies of a, of b, and of both together, nats."""
    counts = _shared(a, b)
    return _entropy(counts.sum(1), len(a)), _entropy(counts.sum(0), len(a)), _entropy(counts, len(a))


@njit(cache=True, nogil=True)
def _rand_index(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    counts = _shared(a, b)
    together = (counts * (counts - 1)).sum()
    of_a, of_b = counts.sum(1), counts.sum(0)
    in_a, in_b = (of_a * (of_a - 1)).sum(), (of_b * (of_b - 1)).sum()
    if in_a == in_b == together:
        return 1.0
    by_chance = in_a * in_b / (len(a) * (len(a) - 1))
    return (together - by_chance) / ((in_a + in_b) / 2 - by_chance)

"""Every person's part of the fidelity scores, from one pass over generated and real connectomes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from connectome_gnn.cohort import Cohort

if TYPE_CHECKING:
    from connectome_gnn.evaluation.comparison import Comparison

__all__ = ["PersonSums", "least_deviation", "person_sums"]

NO_DEVIATION = 1e-4
"""A generated person whose deviation from the mean is below this share of the training spread is the mean itself, rounded."""


@dataclass(frozen=True, eq=False)
class PersonSums:
    """What the fidelity scores need of every person, (N,) each, people sorted by participant_id; NaN = undefined.

    x is a real person, y the mean over the samples generated for that person, m the training mean and s the training standard
    deviations, all on the modelling scale; common and rare edges are those of :class:`~connectome_gnn.evaluation.reference.Reference`.

    Attributes
    ----------
    error : sum over common edges of ((x - y) / s)^2.
    error_of_mean : sum over common edges of ((x - m) / s)^2.
    raw_r, raw_r_of_mean : r(x, y) and r(x, m) over all edges.
    demeaned_r : r(x - m, y - m) over common edges.
    demeaned_r_of_others : r(x_i - m, y_j - m) over common edges, averaged over all pairs of different people: one number.
    presence_auc, presence_auc_of_mean : AUC over rare edges of the share of samples, and of training people, who have the edge.
    presence_brier, presence_brier_of_mean : Brier score over rare edges of the same two.
    presence_error : mean over rare edges of the squared difference of the share of samples and presence.
    """

    error: NDArray[np.float64]
    error_of_mean: NDArray[np.float64]
    raw_r: NDArray[np.float64]
    raw_r_of_mean: NDArray[np.float64]
    demeaned_r: NDArray[np.float64]
    demeaned_r_of_others: float
    presence_auc: NDArray[np.float64]
    presence_auc_of_mean: NDArray[np.float64]
    presence_brier: NDArray[np.float64]
    presence_brier_of_mean: NDArray[np.float64]
    presence_error: NDArray[np.float64]


def person_sums(comparison: Comparison) -> PersonSums:
    """Sums of paired cohorts, a batch of people at a time: memory grows with the batch, not with N."""
    reference, generated = comparison.reference, comparison.generated
    common, rare = np.flatnonzero(reference.common), np.flatnonzero(reference.rare)
    mean, deviation = reference.mean[common], reference.deviation[common]
    least = least_deviation(deviation, generated)
    samples_show_presence = generated.kind != "expected" and len(rare) > 0
    # Lists of (n,) arrays, one a batch, under the names of PersonSums.
    sums: dict[str, list[NDArray[np.float64]]] = {field.name: [] for field in fields(PersonSums) if field.name != "demeaned_r_of_others"}
    directions = np.zeros((2, len(common)))
    for (_, x), (_, samples) in zip(comparison.real_batches(), comparison.generated_batches(), strict=True):
        y, undefined = samples.mean(1), np.full(len(x), np.nan)
        sums["raw_r"].append(_correlations(x, y))
        sums["raw_r_of_mean"].append(_correlations(x, reference.mean[None]))
        has, shares = x[:, rare] != 0, (samples[:, :, rare] != 0).mean(1)
        frequency = reference.frequency[rare]
        sums["presence_auc"].append(_auc(shares, has) if samples_show_presence else undefined)
        sums["presence_auc_of_mean"].append(_auc(frequency[None], has))
        sums["presence_brier"].append(_brier(shares, has, comparison.n_samples) if samples_show_presence else undefined)
        sums["presence_brier_of_mean"].append(_squares(frequency - has) / max(len(rare), 1))
        sums["presence_error"].append(_squares(shares - has) / len(rare) if samples_show_presence else undefined)
        from_mean, generated_from_mean = x[:, common] - mean, y[:, common] - mean
        sums["error"].append(_squares((from_mean - generated_from_mean) / deviation))
        sums["error_of_mean"].append(_squares(from_mean / deviation))
        own, theirs = _directions(from_mean), _directions(generated_from_mean, least)
        r = np.einsum("ij,ij->i", own, theirs)
        sums["demeaned_r"].append(r)
        directions += own[np.isfinite(r)].sum(0), theirs[np.isfinite(r)].sum(0)
    columns = {name: np.concatenate(parts) for name, parts in sums.items()}
    return PersonSums(**columns, demeaned_r_of_others=_mean_over_others(directions, columns["demeaned_r"]))


def least_deviation(deviation: NDArray[np.float64], generated: Cohort) -> float:
    """Standard deviation over edges of y - m up to which y is the training mean but for rounding."""
    stored = generated.read(slice(0, 1)).dtype
    rounding = float(np.finfo(stored).eps) if np.issubdtype(stored, np.floating) else 0.0
    return max(NO_DEVIATION * float(np.sqrt((deviation**2).mean())), rounding) if len(deviation) else 0.0


def _mean_over_others(directions: NDArray[np.float64], r: NDArray[np.float64]) -> float:
    """Mean of r over pairs of different people, from the summed directions of both sides, (2, E'), and the people's own r."""
    own = r[np.isfinite(r)]
    pairs = len(own) * (len(own) - 1)
    return float((directions[0] @ directions[1] - own.sum()) / pairs) if pairs else float("nan")


def _squares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", values, values)


def _directions(values: NDArray[np.float64], least: float = 0.0) -> NDArray[np.float64]:
    """Rows centred and scaled to length 1; NaN where their standard deviation is not above ``least`` or rounding."""
    if not values.shape[1]:
        return values
    centred = values - values.mean(1, keepdims=True)
    deviation = np.sqrt(_squares(centred) / values.shape[1])[:, None]
    constant = deviation <= np.maximum(least, 1e-13 * np.abs(values).max(1, keepdims=True))
    return centred / np.where(constant, np.nan, deviation * np.sqrt(values.shape[1]))


def _correlations(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson r between corresponding rows of (n, E) and (n, E) or (1, E), (n,); NaN where a row is constant."""
    return np.einsum("ij,kj->i" if len(b) == 1 else "ij,ij->i", _directions(a), _directions(b))


def _auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under the ROC curve of each row of (n, E'), ties counted half (Mann-Whitney); NaN where all or none are positive."""
    ranks = rankdata(scores, axis=1)
    n_positive = positive.sum(1).astype(np.float64)
    pairs = n_positive * (positive.shape[1] - n_positive)
    wins = np.where(positive, ranks, 0).sum(1) - n_positive * (n_positive + 1) / 2
    return np.divide(wins, pairs, out=np.full(len(positive), np.nan), where=pairs > 0)


def _brier(shares: NDArray[np.float64], present: NDArray[np.bool_], n_samples: int) -> NDArray[np.float64]:
    """Fair Brier score of each row of (n, E') (Ferro 2014): what K samples estimate of it for their own probability; NaN for K = 1."""
    if n_samples == 1:
        return np.full(len(shares), np.nan)
    return ((shares - present) ** 2 - shares * (1 - shares) / (n_samples - 1)).mean(1)

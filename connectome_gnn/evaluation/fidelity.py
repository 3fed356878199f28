"""Fidelity: does a generated connectome capture the person?

x is a real person's edge vector, y the generated one of the same person (samples averaged), m the mean and s the standard deviations
of the training people, all on the modelling scale. Common edges are those that at least half of the training people have and that
differ between them (s > 1e-6); the others would carry all of the error, so rare edges are scored apart, on presence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.evaluation.capture import CaptureEdges, CaptureMeasure
from connectome_gnn.evaluation.ceilings import CeilingScore, attenuated
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.identification import identification_scores
from connectome_gnn.evaluation.resampling import weighted_mean
from connectome_gnn.evaluation.scores import NO_ABSENT_EDGES, Estimate, SharedScore

__all__ = ["DemeanedR", "PresenceAUC", "PresenceBrier", "R2BeyondMean", "RawR", "fidelity_scores"]

NO_COMMON_EDGES = "no edge is both present in at least half of the reference people and different between them"


class R2BeyondMean(CeilingScore):
    """Share of the variance between people, around the training mean, that the generated connectomes explain.

    ``1 - sum ((x - y) / s)^2 / sum ((x - m) / s)^2``, both sums pooled over people and common edges.

    Shape: one number. Range: up to 1; the training mean scores 0 (the null) and what is further from people than it scores below 0.
    Samples: the mean of a person's K samples is scored; their own spread still costs about 1 / K of the residual variance, so a
    generator's ``expected`` scores higher than its samples.
    Ceiling: the same with the truth in place of y, for the same people; of a second scan, 1 less half the squares between the scans over
    the same total, which is what the person's own error-free connectome would score.
    Source: the out-of-sample R2 of Campbell & Thompson 2008, Rev. Financ. Stud. 21:1509, pooled over edges.
    """

    name = "r2_beyond_mean"

    def own(self, comparison: Comparison) -> Estimate:
        """R2 beyond the mean of paired cohorts."""
        sums, weights = comparison.sums, comparison.weights
        if not comparison.reference.common.any():
            return Estimate.undefined(NO_COMMON_EDGES)
        total = weights @ sums.error_of_mean
        if not total[0] > 0:
            return Estimate.undefined("no real person differs from the training mean")
        return Estimate(_explained(weights @ sums.error, total), comparison.n_people, 0.0)

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """1 less the variance of one scan's error over that around the mean: half the squares between scans, both errors being in them."""
        sums, weights = comparison.sums, comparison.weights
        return _explained(weights @ sums.error / 2, weights @ sums.error_of_mean)


class RawR(CeilingScore):
    """Pearson r between generated and real connectome, over all E edges, averaged over people.

    ``mean_i r(x_i, y_i)``. Shape: one number. Range: -1 to 1. It says little: the training mean reaches around .9 in most cohorts, and that
    r, averaged over the same people, is the null.
    Samples: the mean of a person's K samples is scored. People whose generated connectome is constant are left out (``n``).
    Ceiling: the truth's own score; of a second scan, the root of the r between scans (Spearman 1904, Am. J. Psychol. 15:72).
    Source: Pearson's r, the usual report of generated connectomes.
    """

    name = "raw_r"

    def own(self, comparison: Comparison) -> Estimate:
        """Mean raw r of paired cohorts; a share of the ceiling starts at what the training mean reaches."""
        null = float(np.nanmean(comparison.sums.raw_r_of_mean)) if np.isfinite(comparison.sums.raw_r_of_mean).any() else np.nan
        found = _mean_over_people(comparison, comparison.sums.raw_r, null, "every generated connectome is constant over its edges")
        return replace(found, floor=null) if np.isfinite(null) else found

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """Root of the mean r between scans, which is the reliability of a scan over edges."""
        return attenuated(self.own(comparison).values)


class DemeanedR(CeilingScore):
    """Pearson r between generated and real deviation from the training mean, over common edges, averaged over people.

    ``mean_i r(x_i - m, y_i - m)``. Shape: one number. Range: -1 to 1. Null: the mean of ``r(x_i - m, y_j - m)`` over all pairs of different
    people, that is, what a person's real connectome shares with the connectomes generated for everybody else; near 0, and above it where
    held-out people as a whole differ from the training people in a way that the generator knows.
    Undefined for the training mean itself: a deviation of zero everywhere has no direction. Deviations below 1e-4 of the training spread,
    or below the rounding of the stored weights, count as zero. People without one are left out (``n``).
    Samples: the mean of a person's K samples is scored. Ceiling: the truth's own; of a second scan, the root of its own demeaned r.
    Source: the centred anomaly correlation of forecast verification (Wilks 2011, Statistical Methods in the Atmospheric Sciences, 8.6.4),
    anomalies taken from the training mean, never from that of the people scored.
    """

    name = "demeaned_r"

    def own(self, comparison: Comparison) -> Estimate:
        """Mean demeaned r of paired cohorts."""
        if not comparison.reference.common.any():
            return Estimate.undefined(NO_COMMON_EDGES)
        sums = comparison.sums
        reason = "every generated connectome is the training mean (or that plus a constant), a deviation without a direction"
        return _mean_over_people(comparison, sums.demeaned_r, sums.demeaned_r_of_others, reason)

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """Root of the mean demeaned r between scans, which is the reliability over edges of a scan's deviation from the mean."""
        return attenuated(self.own(comparison).values)


class PresenceAUC(CeilingScore):
    """How well samples rank the rare edges a person has before those the person lacks: area under the ROC curve, averaged over people.

    Per person, over the edges that fewer than half of the training people have: the probability that an edge the person has is in more of
    the K samples than one the person lacks, ties counted half. Shape: one number. Range: 0 to 1; chance .5. Null: the same with the share
    of training people who have the edge in place of the share of samples; few samples have many ties, and rank below it for that alone.
    Undefined for expected connectomes (they do not say which edges are absent) and where no edge is rare.
    Ceiling: the truth's own, or that of a second scan, which is less than the person's own probabilities would score.
    Source: Mann-Whitney U; Hanley & McNeil 1982, Radiology 143:29.
    """

    name = "presence_auc"

    def own(self, comparison: Comparison) -> Estimate:
        """Mean AUC of the presence of rare edges; a share of the ceiling starts at chance."""
        return replace(_presence(comparison, comparison.sums.presence_auc, comparison.sums.presence_auc_of_mean), floor=0.5)


class PresenceBrier(CeilingScore):
    """Mean squared difference between the probability of a rare edge, by samples, and its presence in the person; lower is better.

    Per person, over the edges that fewer than half of the training people have: ``mean (p - a)^2 - p (1 - p) / (K - 1)``, p the share of
    the K samples with the edge, a = 1 where the person has it; then averaged over people. The second term takes out what the finite
    number of samples adds, so that the score does not depend on K in expectation. Shape: one number. Range: about 0 to 1. Null: the same
    with the share of training people who have the edge as p (without the second term).
    Undefined for a single sample a person, for expected connectomes, and where no edge is rare.
    Ceiling: the truth's own; of a second scan, half the share of rare edges in which the scans differ.
    Source: Brier 1950, Mon. Weather Rev. 78:1; fair form: Ferro 2014, Q. J. R. Meteorol. Soc. 140:1917.
    """

    name = "presence_brier"

    def own(self, comparison: Comparison) -> Estimate:
        """Mean fair Brier score of the presence of rare edges."""
        if comparison.generated.kind != "expected" and comparison.n_samples == 1:
            return Estimate.undefined("one sample a person gives no probability of an edge; draw at least 2")
        estimate = _presence(comparison, comparison.sums.presence_brier, comparison.sums.presence_brier_of_mean)
        return replace(estimate, floor=estimate.null, lower_is_better=True)

    def of_repeat(self, comparison: Comparison) -> NDArray[np.float64]:
        """Half the share of rare edges that only one of two scans has: the variance of presence around a person's own probability."""
        return weighted_mean(comparison.weights, comparison.sums.presence_error / 2)


def fidelity_scores(measures: tuple[str, ...]) -> list[SharedScore]:
    """The scores of the part ``"fidelity"``, given the topology measures to score."""
    captures = [CaptureEdges(), *(CaptureMeasure(measure) for measure in measures)]
    return [R2BeyondMean(), RawR(), DemeanedR(), PresenceAUC(), PresenceBrier(), *captures, *identification_scores()]


def _explained(error: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - np.divide(error, total, out=np.full(len(total), np.nan), where=total > 0)


def _mean_over_people(comparison: Comparison, values: NDArray[np.float64], null: float, reason: str) -> Estimate:
    """Mean of one number a person; undefined, with the reason, where nobody has one."""
    n = int(np.isfinite(values).sum())
    return Estimate(weighted_mean(comparison.weights, values), n, null) if n else Estimate.undefined(reason)


def _presence(comparison: Comparison, values: NDArray[np.float64], of_mean: NDArray[np.float64]) -> Estimate:
    if comparison.generated.kind == "expected":
        return Estimate.undefined(NO_ABSENT_EDGES)
    if not comparison.reference.rare.any():
        return Estimate.undefined("every edge is present in at least half of the reference people, so none is rare")
    # The null over the people who have the score, so that both are of the same people.
    null = float(np.mean(of_mean[np.isfinite(values)])) if np.isfinite(values).any() else float("nan")
    return _mean_over_people(comparison, values, null, "every real person has all of the rare edges, or none")

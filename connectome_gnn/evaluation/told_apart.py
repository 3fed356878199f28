"""Scores of the classifier two-sample test: real and generated people told apart on components, and on topology."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata

from connectome_gnn.evaluation.classifier import FOLDS, LEAST_UNITS, Features, component_features, nodal_features, told_apart
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.reference import ROWS, modelled
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.evaluation.signed_rows import Labels

__all__ = ["TwoSampleAUCComponents", "TwoSampleAUCTopology"]

TRAINING = (1.35, 25.0)
"""Variance of a cross-validated AUC over that of fixed classifiers, a + b / (people a cohort): folds train on each other's test people."""

LEAST_SHARE = 0.25
"""An AUC of 1 among n people is known to about this share of a person in n."""


class _TwoSampleAUC(SharedScore):
    """A classifier two-sample test; what the features are is said by :meth:`_features`."""

    def estimate(self, comparison: Comparison) -> Estimate:
        """AUC, its interval, and that of real halves."""
        rng, labels = comparison.rng(self.name), Labels.of(comparison, 1)
        real, generated = _matched(labels, rng)
        units = np.concatenate([labels.real_units[real], labels.generated_units[generated]])
        if min(len(np.unique(labels.real_units[real])), len(np.unique(labels.generated_units[generated]))) < LEAST_UNITS:
            return Estimate.undefined(f"telling people apart in {FOLDS} folds needs at least {LEAST_UNITS} people of each kind", null=0.5)
        is_generated = np.arange(len(units)) >= len(real)
        found = told_apart(self._features(comparison, real, generated), is_generated, units, rng, comparison.n_jobs)
        influence = np.zeros(comparison.n_people), np.zeros(len(comparison.generated_rows))
        influence[0][real], influence[1][generated] = found.influence[: len(real)], found.influence[len(real) :]
        change = (comparison.weights[1:] - 1) @ influence[0] + (comparison.generated_weights[1:] - 1) @ influence[1]
        values = np.concatenate([[found.auc], _around(found.auc, change, len(real))])
        beside = comparison.shared(f"{self.name} of real halves", lambda: self._of_halves(comparison))
        return Estimate(values, len(real), 0.5, real_vs_real=beside, lower_is_better=True, details=found.table())

    def _of_halves(self, comparison: Comparison) -> float:
        first, second = comparison.halves
        units = comparison.units[np.concatenate([first, second])]
        if min(len(np.unique(comparison.units[half])) for half in (first, second)) < LEAST_UNITS:
            return float("nan")
        is_second = np.arange(len(units)) >= len(first)
        rng = comparison.rng(f"{self.name} of real halves")
        features = self._features(comparison, np.concatenate([first, second]), None)
        return told_apart(features, is_second, units, rng, comparison.n_jobs).auc

    @abstractmethod
    def _features(self, comparison: Comparison, real: NDArray[np.intp], generated: NDArray[np.intp] | None) -> Features:
        """Features of some real people and of one sample of some generated people."""


class TwoSampleAUCComponents(_TwoSampleAUC):
    """How well a classifier tells generated connectomes from real ones, by their components: area under the ROC curve.

    Features: 30 principal components of the connectomes on the modelling scale (fewer where there are not 5 training rows for each), their
    squares, which a wrong spread shows in, and the squared norm of what they leave. Classifiers: logistic regression and gradient boosting.
    Components, scaling and classifier are fitted in each of 5 folds on real and generated people alike; the real and the generated
    connectome of a person, and people who belong together, are in one fold; AUCs are averaged over folds. The larger of the two
    classifiers' AUCs is taken, by the other folds' say in each fold, so that taking it does not lift the score above .5.
    One sample a person, the first, and as many people of both kinds.

    Shape: one number. Range: 0 to 1; chance, and a perfect generator, .5 (the null); the group mean repeated 1. ``real_vs_real``: one half
    of the real people told from the other.
    Interval: of the AUC expected of classifiers trained on so many people: placements of the test people (DeLong et al. 1988), widened for
    the training people, who are drawn too. Details: AUC of each classifier in each fold.
    Source: Lopez-Paz & Oquab 2017, ICLR; LeDell et al. 2015, Electron. J. Stat. 9:1583 (intervals of cross-validated AUCs).
    """

    name = "two_sample_auc_components"

    def _features(self, comparison: Comparison, real: NDArray[np.intp], generated: NDArray[np.intp] | None) -> Features:
        sides = [(comparison.real, comparison.real_rows[real])]
        if generated is not None:
            sides.append((comparison.generated, comparison.generated_rows[generated, 0]))
        values = np.empty((sum(len(rows) for _, rows in sides), comparison.real.n_edges), np.float32)
        done = 0
        for cohort, rows in sides:
            for start in range(0, len(rows), ROWS):
                part = modelled(cohort, rows[start : start + ROWS])
                values[done : done + len(part)] = part
                done += len(part)
        return component_features(values)


class TwoSampleAUCTopology(_TwoSampleAUC):
    """How well a classifier tells generated connectomes from real ones, by their topology: area under the ROC curve.

    As :class:`TwoSampleAUCComponents` (formula, shape, range, chance, source), on the measures of the evaluation: global ones, and of nodal
    ones the mean and standard deviation over regions and the first 5 components, again fitted in each fold. Undefined values count as the
    measure's mean, beside which a feature says that the value was undefined. Undefined for expected connectomes.
    """

    name = "two_sample_auc_topology"
    topology = True

    def estimate(self, comparison: Comparison) -> Estimate:
        """AUC on topology; undefined without measures."""
        if not comparison.measures:
            return Estimate.undefined("no topology measures were asked for", null=0.5)
        return super().estimate(comparison)

    def _features(self, comparison: Comparison, real: NDArray[np.intp], generated: NDArray[np.intp] | None) -> Features:
        sides = comparison.topology
        plain, nodal = [], []
        for name in sides.names:
            values = sides.real[name][real].astype(np.float64)
            if generated is not None:
                values = np.concatenate([values, sides.generated[name][generated, 0]])
            undefined = ~np.isfinite(values)
            values = np.where(undefined, values[~undefined].mean() if not undefined.all() else 0.0, values)
            if sides.level(name) == "nodal":
                nodal.append(values)
                undefined = undefined.mean(1)
            else:
                plain.append(values)
            if undefined.any():
                plain.append(undefined.astype(np.float64))
        return nodal_features(np.stack(plain, 1) if plain else np.empty((len(values), 0)), nodal)


def _matched(labels: Labels, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """As many real as generated people: everybody of the smaller cohort, some of the larger one."""
    n, m, _ = labels.sizes
    if n == m:
        return np.arange(n), np.arange(m)
    size = min(n, m)
    return np.sort(rng.permutation(n)[:size]), np.sort(rng.permutation(m)[:size])


def _around(auc: float, change: NDArray[np.float64], n_people: int) -> NDArray[np.float64]:
    """Draws of an AUC that changes by so much in resamples, on the logistic scale, which ends at 0 and 1 as it does."""
    if not len(change):
        return change
    end = LEAST_SHARE / n_people
    inside = min(max(auc, end), 1 - end)
    widened = change * np.sqrt(TRAINING[0] + TRAINING[1] / n_people)
    spread = widened.std()
    if spread < end:  # everybody is on one side: the rest of a person is all that can be said
        level = (rankdata(change, "ordinal") - 0.5) / len(change)
        towards_half = np.maximum(1 - 2 * level, 0) if auc > 0.5 else -np.maximum(2 * level - 1, 0)
        return auc - 4 * end * towards_half
    draws: NDArray[np.float64] = expit(logit(inside) + widened / (inside * (1 - inside)))
    return draws

"""Fitting a fine-tuned generator's mean: source, correction and a fit from scratch in one stack, weighed on people left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.resampling import resamples
from connectome_gnn.generation.closed_form import TOGETHER, ClosedForm, FoldModel
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.effect_maps import EffectSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.stacking import Agreement
from connectome_gnn.generation.transfer import FINE_TUNED, FROM_SCRATCH, GAINED, SOURCE_ALONE, Origin, Transfer, slim_source, source_gain
from connectome_gnn.splits import Folds

__all__ = ["Expected", "TransferFit", "fit_transfer"]

MOST_MODES = 100
MODES_FROM = 1000
LEFT_OUT = 1e-3
BOOTSTRAP = 1000
NEGLIGIBLE = 1e-6
SOURCE = "source prediction"
SCORED = (FROM_SCRATCH, SOURCE_ALONE, FINE_TUNED)
FitClosedForm = Callable[[str, EffectSpace, ProfileFeatures, NDArray[np.float64]], ClosedForm]
"""Fits a closed form, under a name, to people in an effect space, from profile features and their values."""


@dataclass(frozen=True)
class Expected:
    """What a source expects of a cohort's people, and the people, in coordinates in which both lie.

    Parameters
    ----------
    own, theirs, centre : as in :class:`~connectome_gnn.generation.transfer.Transfer`.
    modes : (M, kept edges) orthonormal rows: where expectations lie outside of the effect space.
    expected : (n, K + M + patterns) coordinates of what the source expects of each person, less ``centre``.
    people : (n, K + M + patterns) the people's.
    in_source : (2, n, source's K) components, in the source's own space, of what it expects and of the people.
    whitened : (K + M + patterns, source's K) from coordinates to the source's components in standard deviations of the people.
    """

    own: NDArray[np.intp]
    theirs: NDArray[np.intp]
    centre: NDArray[np.float32]
    modes: NDArray[np.float32]
    expected: NDArray[np.float64]
    people: NDArray[np.float64]
    in_source: NDArray[np.float64]
    whitened: NDArray[np.float64]

    @classmethod
    def of(cls, origin: Origin, space: EdgeSpace, effects: EffectSpace, cohort: Cohort) -> Expected:
        """Ask the source about everybody in a cohort, whose own edge and effect space are given."""
        n, n_kept = cohort.n_people, int(space.kept.sum())
        common = space.kept & origin.model.space.kept
        own, theirs = (np.flatnonzero(common[kept]) for kept in (space.kept, origin.model.space.kept))
        basis = origin.model.space.basis[:, theirs]

        def asked(rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
            deviation = np.zeros((len(cohort.phenotypes.iloc[rows]), n_kept), np.float32)
            deviation[:, own] = origin.deviation(cohort.phenotypes.iloc[rows])[:, theirs]
            return deviation

        some = np.arange(n)
        if n > MODES_FROM:
            some = np.sort(np.random.default_rng(0).choice(n, MODES_FROM, replace=False))
        expected = asked(some)
        modes = _modes(expected - expected.mean(0), effects.basis)
        whole = np.concatenate([effects.basis[: effects.n_components], modes, effects.basis[effects.n_components :]])
        coordinates, in_source = np.empty((2, n, len(whole))), np.empty((2, n, len(basis)))
        total = np.zeros(n_kept)
        for rows, people in space.standardised(cohort):
            for place, values in enumerate((asked(rows), people)):
                coordinates[place, rows] = values @ whole.T
                in_source[place, rows] = values[:, own] @ basis.T
                total += values.sum(0, dtype=np.float64) * (place == 0)
        centre = (total / n).astype(np.float32)
        coordinates[0] -= (whole @ centre).astype(np.float64)
        spread = in_source[1].std(0)
        whitened = (whole[:, own] @ basis.T).astype(np.float64) / np.where(spread > NEGLIGIBLE * spread.max(), spread, np.inf)
        return cls(own, theirs, centre, modes, coordinates[0], coordinates[1], in_source, whitened)


def _modes(expected: NDArray[np.float32], basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leading directions (M, kept edges) of expectations (n, kept edges) outside of a basis (D, kept edges), orthonormal rows."""
    energy = float((expected**2).sum(dtype=np.float64))
    outside: NDArray = expected
    for _ in range(2):  # once leaves rounding errors
        outside = outside - (outside @ basis.T) @ basis
    values, vectors = eigh((outside @ outside.T).astype(np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    rest = np.maximum(values, 0).sum() - np.cumsum(np.maximum(values, 0))
    used = min(int((rest > LEFT_OUT * energy).sum()) + 1, MOST_MODES, len(values))
    used = int((values[:used] > max(LEFT_OUT * values[0], 1e-9)).sum()) if energy > 0 else 0
    return (vectors[:, :used] / np.sqrt(values[:used])).T.astype(np.float32) @ outside


@dataclass(frozen=True)
class TransferFit:
    """A fine-tuned mean.

    Parameters
    ----------
    closed_form, transfer : the mean.
    earned : table indexed by path: cross-fitted R2 of each path alone, and its weight.
    space, scores : the edge space, and the people in it, with the directions that the source's expectations need.
    residual : (n, K) what the mean leaves of each person's components, predicted from folds without them.
    """

    closed_form: ClosedForm
    transfer: Transfer
    earned: pd.DataFrame
    space: EdgeSpace
    scores: NDArray
    residual: NDArray[np.float64]


def fit_transfer(
    origin: Origin,
    space: EdgeSpace,
    effects: EffectSpace,
    cohort: Cohort,
    features: ProfileFeatures,
    values: NDArray[np.float64],
    partitions: Sequence[Folds],
    fit: FitClosedForm,
    *,
    seed: int,
) -> TransferFit:
    """Stack a source's expectations, what corrects them, and a fit without them, by weights found on people left out.

    The source enters with the gain that people of other folds show (:func:`~connectome_gnn.generation.transfer.source_gain`). What it
    leaves is learned from all phenotypes, and from those that it does not know alone. Beside these stands the fit from scratch: where
    nothing of the source is found in the people, the model is that one, and nothing else.

    Parameters
    ----------
    space, effects : of the small cohort, as a fit from scratch uses them.
    features, values : its people's profile features and their values (n, F).
    partitions : of the people into folds.
    fit : fits a closed form.
    seed : of the bootstrap.
    """
    units = cohort.units()
    found = Expected.of(origin, space, effects, cohort)
    k, m = effects.n_components, len(found.modes)
    energy = np.maximum(effects.energy - (found.people[:, k : k + m] ** 2).sum(1), 0)
    basis = np.concatenate([effects.basis[:k], found.modes, effects.basis[k:]])
    people = _LeftOut(found.people, found.expected, partitions, values)
    asked, there = found.in_source
    gain = source_gain(asked, there, units)
    gains = [[source_gain(asked[rows], there[rows], units[rows]) for rows, _ in folds] for folds in partitions]

    scratch = fit(FROM_SCRATCH, effects, features, values)
    widened = _widened(scratch, k, m, basis)
    forms: dict[str, ClosedForm | None] = {FROM_SCRATCH: widened}
    predicted = [people.predicted(widened)]
    if gain > 0:
        forms[SOURCE] = None
        predicted.append(people.predicted(None, gains))
        rest = found.people - people.strength(gains)[:, None] * found.expected
        left = EffectSpace(basis, rest[:, : k + m], rest[:, k + m :].astype(np.float32), energy)
        for name, some in (("source and correction", features), ("source and own phenotypes", _only(origin.added, features))):
            if some is not None:
                forms[name] = fit(name, left, some, values * np.isfinite(some.scale))
                predicted.append(people.predicted(forms[name], gains))
    deviations = np.stack(predicted)
    real = found.people - people.mean
    agreement = Agreement.of(deviations, real, float((real**2).sum() + energy.sum()))
    # Weights are found as the gain is, in whitened components: there few people tell them better than in the few strongest.
    seen, said = real @ found.whitened, deviations @ found.whitened
    weights = Agreement.of(said, seen, 1.0).weights if gain > 0 else np.ones(1)
    weights = np.where(weights > NEGLIGIBLE, weights, 0)
    share = gain * weights[1:].sum()

    tuned = np.zeros_like(real)
    for rows, held in partitions[0]:  # whoever is scored has no say in the weights
        others = Agreement.of(said[:, rows], seen[rows], 1.0).weights if gain > 0 else weights
        tuned[held] = np.tensordot(others, deviations[:, held], 1)
    alone = people.predicted(None, [[1.0] * len(folds) for folds in partitions])
    table = _comparison(real, (deviations[0], alone, tuned), energy, units, seed)

    earned = pd.DataFrame({"r2": agreement.r2_alone, "weight": weights}, index=pd.Index(list(forms), name="path"))
    earned.loc[TOGETHER] = [table.loc[FINE_TUNED, "r2"], weights.sum()]
    closed, further = scratch, []
    if gain > 0:
        used = [(form, weight) for form, weight in zip(forms.values(), weights, strict=True) if form is not None and weight > 0]
        closed, *further = people.weighed(used or [(widened, 0.0)], share)
    source = origin.model
    transfer = Transfer(
        replace(origin, model=slim_source(source)) if share > 0 else None,
        share,
        found.own,
        found.theirs,
        found.centre,
        tuple(further),
        table,
        source.cohort_name,
        source.n_training,
        source.privacy.epsilon if source.privacy is not None else None,
        origin.shared,
        origin.absent,
        origin.added,
    )
    residual = real - np.tensordot(weights, deviations, 1)
    if gain == 0:  # as a fit from scratch is
        return TransferFit(closed, transfer, earned, space, effects.components, residual[:, :k])
    space = replace(space, basis=basis[: k + m])
    return TransferFit(closed, transfer, earned, space, found.people[:, : k + m], residual[:, : k + m])


@dataclass(frozen=True)
class _LeftOut:
    """People, (n, D), and what a source expects of them, predicted in turns from folds without them.

    Parameters
    ----------
    people, expected : (n, D) coordinates.
    partitions : of the people into folds.
    values : (n, F) their profile features.
    """

    people: NDArray[np.float64]
    expected: NDArray[np.float64]
    partitions: Sequence[Folds]
    values: NDArray[np.float64]

    def _turns(self) -> Iterator[tuple[int, int, NDArray[np.intp], NDArray[np.intp]]]:
        """Number of partition and fold, and rows in and out of it."""
        for partition, folds in enumerate(self.partitions):
            for fold, (rows, held) in enumerate(folds):
                yield partition, fold, rows, held

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the people of other folds, averaged over partitions, (n, D)."""
        mean = np.zeros_like(self.people)
        for _, _, rows, held in self._turns():
            mean[held] += self.people[rows].mean(0) / len(self.partitions)
        return mean

    def strength(self, gains: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """Gain of the source that people of other folds show, averaged over partitions, (n,)."""
        strength = np.zeros(len(self.people))
        for partition, fold, _, held in self._turns():
            strength[held] += gains[partition][fold] / len(self.partitions)
        return strength

    def predicted(self, form: ClosedForm | None, gains: Sequence[Sequence[float]] | None = None) -> NDArray[np.float64]:
        """Deviations (n, D) from :attr:`mean` that a form, a source with these gains, or both predict for people left out."""
        predicted = -self.mean
        for partition, fold, rows, held in self._turns():
            gain = 0.0 if gains is None else gains[partition][fold]
            if form is None:
                some = self.people[rows].mean(0) + gain * (self.expected[held] - self.expected[rows].mean(0))
            else:
                some = form.without[partition][fold].predicted(self.values[held] * np.isfinite(form.features.scale))
                some = some + gain * self.expected[held]
            predicted[held] += some / len(self.partitions)
        return predicted

    def weighed(self, forms: Sequence[tuple[ClosedForm, float]], share: float) -> list[ClosedForm]:
        """Forms with their weights in their maps; the first one without a fold holds the mean of its people, the others none."""
        out = []
        for number, (form, weight) in enumerate(forms):
            without: list[list[FoldModel]] = [[] for _ in self.partitions]
            for partition, fold, rows, _ in self._turns():
                mean = self.people[rows].mean(0) - share * self.expected[rows].mean(0)
                member = form.without[partition][fold]
                without[partition].append(replace(member, average=mean * (number == 0), maps=(weight * member.maps).astype(np.float32)))
            out.append(replace(form, maps=(weight * form.maps).astype(np.float32), without=tuple(map(tuple, without))))
        return out


def _widened(form: ClosedForm, k: int, m: int, basis: NDArray[np.float32]) -> ClosedForm:
    """The same form in an effect space with ``m`` more directions behind the first ``k``."""

    def wide(values: NDArray) -> NDArray:
        return np.insert(values, [k] * m, 0, axis=-1)

    without = tuple(
        tuple(replace(member, average=wide(member.average), maps=wide(member.maps)) for member in members) for members in form.without
    )
    return replace(form, basis=basis, without=without)


def _only(names: Sequence[str], features: ProfileFeatures) -> ProfileFeatures | None:
    """Features of some phenotypes alone, all others 0; None where there is none that differs between people."""
    schema = features.schema
    owners = [schema.phenotypes[owner].name for owner in schema.owner]
    if features.age is not None:  # then what age does comes behind: its own terms, sex's, everybody else's
        others = [name for name in owners if name not in (features.age, features.sex)]
        n_terms = len(features.scale) - len(owners) - len(others) - (features.sex is not None)
        owners += [features.age] * n_terms + [features.sex] * (features.sex is not None) + others
    chosen = np.isfinite(features.scale) & np.isin(owners, list(names))
    return replace(features, scale=np.where(chosen, features.scale, np.inf)) if chosen.any() else None


def _comparison(
    real: NDArray[np.float64],
    predicted: Sequence[NDArray[np.float64]],
    energy: NDArray[np.float64],
    units: NDArray[np.intp],
    seed: int,
) -> pd.DataFrame:
    """R2 beyond the mean with 95 % intervals (bootstrap over units of people), and the difference that the source makes.

    Parameters
    ----------
    real, predicted : (n, D) deviations of people left out, and what is predicted of them from scratch, by the source and fine-tuned.
    energy : (n,) of people outside of these coordinates.
    """
    n = int(units.max()) + 1
    counts = resamples(np.arange(n), BOOTSTRAP, seed).astype(np.float64)
    total = counts @ np.bincount(units, (real**2).sum(1) + energy)
    r2 = {
        name: 1 - counts @ np.bincount(units, ((real - some) ** 2).sum(1) + energy) / total
        for name, some in zip(SCORED, predicted, strict=True)
    }
    r2[GAINED] = r2[FINE_TUNED] - r2[FROM_SCRATCH]
    rows = {name: (values[0], *np.percentile(values[1:], [2.5, 97.5])) for name, values in r2.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["r2", "low", "high"]).rename_axis("mean")

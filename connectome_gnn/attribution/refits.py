"""The same model fitted on other people: how far what it says would move."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.arguments import check_whole
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning
from connectome_gnn.generation.closed_form import FoldModel
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.training_data import MIN_PEOPLE
from connectome_gnn.progress import progress

__all__ = ["Refits", "Values"]

MOST_DRAWS = 100
"""Resamples that are drawn for one that can be fitted."""

Values = Callable[[pd.DataFrame], NDArray[np.float32]]
"""Modelling-scale values (n, E) of profiles that a model understood."""


@dataclass(frozen=True)
class Refits:
    """Fits on parts of the people, or on resamples of them.

    Parameters
    ----------
    sets : of fits, each of which says by itself how far an answer would move: by the jackknife the fits without each fold of a
        partition, by the bootstrap all of them.
    factors : what the sum of squares of a set's answers around their mean is multiplied by for a variance; variances of sets are added.
    freedom : degrees of freedom of the variance.
    label : what they are, in words.
    """

    sets: tuple[tuple[Values, ...], ...]
    factors: tuple[float, ...]
    freedom: int
    label: str

    @classmethod
    def jackknife(cls, model: ConnectomeModel) -> Refits | None:
        """The fits without a fold that a generator keeps of its closed form, and its networks, each trained without a fold.

        Delete-a-group jackknife (Efron & Tibshirani 1993, chapter 11), averaged over partitions. None for models that keep no such
        fits (rivals, and generators under differential privacy), and for fine-tuned ones, most of whose effects are their source's.
        """
        if not isinstance(model, ConnectomeGenerator) or not model.closed_form.without or model.transfer is not None:
            return None
        partitions = model.closed_form.without
        sets: list[tuple[Values, ...]] = [tuple(_without_fold(model, fold) for fold in folds) for folds in partitions]
        factors = [(1 - 1 / len(folds)) / len(partitions) for folds in partitions]
        if model.members:
            sets.append(tuple(_network_member(model, number) for number in range(len(model.members))))
            factors.append(1 - 1 / len(model.members))
        n_folds = len(partitions[0])
        return cls(tuple(sets), tuple(factors), n_folds - 1, f"jackknife over {n_folds} folds of the training people")

    @classmethod
    def bootstrap(cls, model: ConnectomeModel, training: Cohort, n: int, seed: int) -> Refits:
        """Closed-form fits on resamples of the training people; those who belong together are drawn together.

        Raises
        ------
        ConnectomeError
            If the model is no generator, ``n`` is below 2, the cohort has not the atlas that the model was fitted on, or resamples of it
            hardly ever hold 20 people and every level of every phenotype, which each of them must.
        """
        if not isinstance(model, ConnectomeGenerator) or model.privacy is not None or model.transfer is not None:
            raise ConnectomeError(
                "only the closed form of a ConnectomeGenerator that is neither fine-tuned nor differentially private is refitted; leave "
                "n_refits out"
            )
        if not isinstance(training, Cohort) or training.atlas != model.atlas:
            raise ConnectomeError("refits need the cohort that the model was fitted on; give it as training=")
        check_whole("n_refits", n, 2)
        units = pd.factorize(training.units())[0]
        generator = np.random.default_rng(seed)
        fits = []
        with progress("Refitting", total=n) as advance:
            for _ in range(n):
                rows = _resample(model, training, units, generator)
                other = ConnectomeGenerator(model.seed, messages=model.messages, network=None, n_components=model.n_components)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", PhenotypeWarning)  # a rare level may be in no resample
                    fits.append(_values_of(other.fit(training.take(rows), distribution=False)))
                advance()
        return cls((tuple(fits),), (1 / (n - 1),), n - 1, f"bootstrap of {n} refits")

    def variance(self, answers: Sequence[Sequence[NDArray[np.float64]]]) -> NDArray[np.float64]:
        """Variance of an answer, in its shape, from the answers of every fit of every set."""
        total = np.zeros(np.shape(answers[0][0]))
        for factor, some in zip(self.factors, answers, strict=True):
            stacked = np.stack(list(some))
            total += factor * ((stacked - stacked.mean(0)) ** 2).sum(0)
        return total


def _resample(model: ConnectomeModel, training: Cohort, units: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """Rows of a resample of units that holds enough people, and every level that the training people have, drawn again until it does."""
    n_units = int(units.max()) + 1
    levels = {p.name: training.phenotypes[p.name] for p in model.schema.phenotypes if p.kind != "continuous"}
    people = pd.factorize(training.ids)[0]
    lacking: dict[str, int] = {}
    for _ in range(MOST_DRAWS):
        drawn = np.bincount(generator.integers(n_units, size=n_units), minlength=n_units)
        inside = drawn[units] > 0
        short = [f"level {gone[0]!r} of {name!r}" for name, values in levels.items() if (gone := _lost(values, inside))]
        if len(np.unique(people[inside])) < MIN_PEOPLE:
            short.append(f"at least {MIN_PEOPLE} people")
        if not short:
            return np.repeat(np.arange(len(units)), drawn[units])
        for what in short:
            lacking[what] = lacking.get(what, 0) + 1
    what = max(lacking, key=lambda name: lacking[name])
    raise ConnectomeError(
        f"{lacking[what]} of {MOST_DRAWS} resamples of the {len(np.unique(people))} training people lack {what}, without which the model "
        "cannot be refitted; leave n_refits out, or merge rare levels"
    )


def _lost(values: pd.Series, inside: NDArray[np.bool_]) -> list[str]:
    """Levels that nobody of a resample has."""
    return sorted(set(values.dropna().astype(str)) - set(values[inside].dropna().astype(str)))


def _values_of(model: ConnectomeModel) -> Values:
    def values(profiles: pd.DataFrame) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PhenotypeWarning)
            return model.space.values(model._deviation(profiles))

    return values


def _without_fold(model: ConnectomeGenerator, fold: FoldModel) -> Values:
    closed = model.closed_form

    def values(profiles: pd.DataFrame) -> NDArray[np.float32]:
        encoded = model.schema.encode(profiles)
        deviation = fold.predicted(closed.features.transform(encoded)) @ closed.basis
        if model.members:
            deviation += np.mean([_added(model, number, profiles) for number in range(len(model.members))], 0)
        return model.space.values(deviation)

    return values


def _network_member(model: ConnectomeGenerator, number: int) -> Values:
    closed = model.closed_form

    def values(profiles: pd.DataFrame) -> NDArray[np.float32]:
        return model.space.values(closed.design(model.schema.encode(profiles)) @ closed.maps + _added(model, number, profiles))

    return values


def _added(model: ConnectomeGenerator, number: int, profiles: pd.DataFrame) -> NDArray[np.float32]:
    """What one of the networks adds to deviations, (n, kept edges)."""
    components = model.members[number].components(model.schema.encode(profiles)) * model.gate
    return components.astype(np.float32) @ model.space.basis[: len(model.gate)]

"""What every model of connectomes given phenotypes has in common: fit, expected, sample."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError, ExtrapolationWarning
from connectome_gnn.generation.checkpoint import Checkpoint
from connectome_gnn.generation.counts import whole_counts
from connectome_gnn.generation.latent_means import LatentMeans
from connectome_gnn.generation.likelihood import edge_log_density, log_density
from connectome_gnn.generation.marginals import Marginals
from connectome_gnn.generation.normative import Baseline, Deviation, edge_scores, log_distance, region_scores
from connectome_gnn.generation.nuisance import Nuisance, Nuisances
from connectome_gnn.generation.residual import LeftOut, Multiples, ResidualModel
from connectome_gnn.generation.spread import Spread, spread_columns
from connectome_gnn.generation.threads import SMALL, one_thread
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.processing import STEPS, steps_of
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices
from connectome_gnn.tables import people_table

__all__ = ["ConnectomeModel", "check_is_cohort"]

BATCH = 256
MOST_THREADS = 8
LARGEST_WHOLE = 2**63
"""Below which torch's generators take seeds."""


class ConnectomeModel(ABC):
    """Connectomes given phenotypes: ``fit(cohort)``, ``expected(phenotypes)``, ``sample(phenotypes, n, seed)``.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    n_components : most edge components that are modelled (all of them up to 600 people).
    """

    label: str
    holds_training_people = False
    whole = False
    """Whether all training weights are whole numbers, as streamline counts are; False where a promise of privacy forbids to look."""
    nuisances: Nuisances | None = None
    """What generation sets nuisances to, of a model that has some."""

    def __init__(self, seed: int = 0, *, n_components: int = 300) -> None:
        _check_whole("seed", seed, 0)
        _check_whole("n_components", n_components, 1)
        self.seed, self.n_components = int(seed), int(n_components)
        self.processing: list[dict[str, Any]] = []
        self._fitted = False
        self._knows_people = True

    def fit(self, cohort: Cohort, *, distribution: bool = True, checkpoint: str | Path | None = None) -> Self:
        """Learn from training people.

        Parameters
        ----------
        cohort : the training people.
        distribution : whether to learn how people differ around the mean; without it the fit is faster, and only :meth:`expected` works.
        checkpoint : folder in which finished stages are stored; a fit that was killed and is started again with the same people and
            settings goes on from there, to the same model.

        Raises
        ------
        ConnectomeError
            If this is no cohort, there are fewer than 20 people, no phenotypes, or all people are alike.

        Warns
        -----
        PhenotypeWarning
            For phenotypes that are constant, mostly missing, or free text.
        """
        check_is_cohort(cohort)
        self._fitted = False
        with progress(f"Fitting {self.label}") as advance, one_thread(cohort.n_edges <= SMALL):
            stages = Checkpoint.open(checkpoint, cohort, self._settings())
            data = TrainingData(cohort, n_components=self.n_components, seed=self.seed, checkpoint=stages)
            self.atlas, self.measure, self.signed, self.scale = cohort.atlas, cohort.measure, cohort.signed, cohort.scale
            self.whole = not cohort.signed and all(bool((weights == np.rint(weights)).all()) for _, weights in cohort.batches())
            self.cohort_name, self.described, self.processing = cohort.name, dict(cohort.described), steps_of(cohort)
            self.n_training = len(cohort.ids.unique())
            self.schema, self.features, self.space = data.schema, data.features, data.space
            residual = self._fit_mean(data, advance)
            self._knows_people = distribution
            if distribution:
                self._fit_residual(data, residual)
        self._fitted = True
        return self

    def _settings(self) -> dict[str, Any]:
        """All that a fit depends on besides the people, as JSON can hold it: what tells one checkpoint from another."""
        return {"model": self.label, "seed": self.seed, "n_components": self.n_components}

    @abstractmethod
    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        """Fit the conditional mean; returns what it leaves of the training people's components, (n, K), cross-fitted."""

    @abstractmethod
    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Deviations (n, kept edges) of profiles from the group mean, in standard deviations of an edge."""

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        """Learn how people differ around the mean; ``residual`` is what :meth:`_fit_mean` returned."""
        self.residual = self._learn_residual(data, residual)[0]

    def _learn_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> tuple[ResidualModel, tuple[LeftOut, ...]]:
        """The Gaussian copula around the mean, and what :meth:`ResidualModel.learn` gives beside it."""
        return data.checkpoint.stage(
            "residual",
            lambda: ResidualModel.learn(
                self.space,
                data.cohort,
                residual,
                seed=self.seed,
                scores=data.scores,
                features=data.values,
                columns=spread_columns(data.features),
            ),
            types=(ResidualModel, LeftOut, LatentMeans, Marginals, Spread, Baseline),
            depends={"residual": residual},
        )

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of a new person for each row of profiles."""
        return self.residual.draw(self._deviation(profiles), self.space.kept, generator, self._multiples(profiles))

    def _log_density(self, profiles: pd.DataFrame, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log density (n,) in nats of modelling-scale values (n, E) given each row's profile; to be overridden by models with their own."""
        return log_density(self.residual, values, *self._latent(profiles))

    def _latent(self, profiles: pd.DataFrame) -> tuple[NDArray[np.float32], Multiples]:
        """Latent means (n, E) of profiles, and by what their people differ more than the training people."""
        return self.residual.mean(self._deviation(profiles), self.space.kept), self._multiples(profiles)

    def _multiples(self, profiles: pd.DataFrame) -> Multiples:
        """By what people with these profiles differ more than the training people; None where spread does not depend on the profile."""
        spread = self.residual.spread
        return spread.of(self.features.of(profiles)) if len(spread.columns) else None

    def expected(self, phenotypes: pd.DataFrame, *, nuisance: Nuisance = None) -> Cohort:
        """The conditional mean on the modelling scale, mapped back to weights: one row a person, not a person's connectome.

        Parameters
        ----------
        phenotypes : a row a person, indexed by participant_id (or with that column), with the columns of the training cohort; those of
            nuisances may be left out.
        nuisance : what a model with nuisances sets them to, whatever the table says of them: ``"reference"``, ``"average"`` (the mean over
            training people's), or values by name, as ``{"site": "A"}``; ``"own"`` for those of the table, missing ones averaged over.
            Default as the model was made.

        Returns
        -------
        cohort : of kind ``expected``, people in the order asked for, with a column ``extrapolated``; nuisances as they were set.

        Raises
        ------
        ConnectomeError
            If the table is empty, lacks a column, holds an unknown level, or text where numbers are expected; if a nuisance is asked for
            that the model does not have, or cannot have the value.

        Warns
        -----
        ExtrapolationWarning
            Where a profile lies outside what training people looked like.
        """
        table, profiles = self._profiles(self._with_nuisance(phenotypes, nuisance))
        weights = np.empty((len(table), self.atlas.n_edges), np.float32)
        for rows in slices(len(table), BATCH):
            weights[rows] = self.scale.inverse(self.space.values(self._mean_deviation(profiles.iloc[rows])))
        return self._cohort(weights, table, "expected")

    def _mean_deviation(self, profiles: pd.DataFrame) -> NDArray[np.float32]:
        """Deviations of :meth:`_deviation`, as :meth:`expected` gives them: a model may average over what it is not told."""
        return self._deviation(profiles)

    def sample(
        self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0, *, counts: bool | None = None, nuisance: Nuisance = None
    ) -> Cohort:
        """New people with these profiles, drawn from the conditional distribution.

        Parameters
        ----------
        phenotypes : as for :meth:`expected`.
        n : people drawn for each profile; their rows lie together, numbered from 0 in the column ``sample``.
        seed : seed of the draw; the same seed gives the same bytes.
        counts : whether weights are whole numbers, as streamline counts are; default: where those of all training people are. Rounded up
            or down at random, so that nothing changes on average on the modelling scale; absent edges stay absent, and an edge that is
            there has at least one streamline.
        nuisance : as for :meth:`expected`; nuisances to be averaged over are drawn for each new person.

        Returns
        -------
        cohort : of kind ``sample``, n rows a profile, profiles in the order asked for.

        Raises
        ------
        ConnectomeError
            As for :meth:`expected`; if ``n`` is below 1, the seed or ``counts`` are none, or ``counts`` are asked of correlations.
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ConnectomeError(f"expected at least one sample a person, got n={n}")
        _check_whole("seed", seed, 0)
        if counts is not None and not isinstance(counts, (bool, np.bool_)):
            raise ConnectomeError(f"expected counts as True, False, or None for what training weights are, got {counts!r}")
        self._check_knows_people()
        table, profiles = self._profiles(self._with_nuisance(phenotypes, nuisance))
        if counts and self.signed:
            raise ConnectomeError(
                f"counts are whole numbers of streamlines, and weights of measure {self.measure!r} are signed; leave counts out"
            )
        whole = self.whole if counts is None else counts
        repeated = np.repeat(np.arange(len(table)), n)
        weights = np.empty((len(repeated), self.atlas.n_edges), np.float32)
        batches = list(slices(len(repeated), BATCH))

        def fill(rows: slice, generator: np.random.Generator) -> None:
            values = self._draw(profiles.iloc[repeated[rows]], generator)
            weights[rows] = whole_counts(values, generator) if whole else self.scale.inverse(values)

        # A generator for each batch: threads change nothing.
        generators = np.random.default_rng(seed).spawn(len(batches))
        n_threads = min(os.cpu_count() or 1, len(batches), MOST_THREADS)
        with one_thread(len(batches) > 1), ThreadPoolExecutor(n_threads) as pool:  # linear algebra's own would take turns with these
            list(pool.map(fill, batches, generators))
        table = table.iloc[repeated]
        table.insert(0, "sample", np.tile(np.arange(n), len(repeated) // n))
        return self._cohort(weights, table, "sample")

    def _with_nuisance(self, phenotypes: pd.DataFrame, asked: Nuisance = None) -> pd.DataFrame:
        """Profiles with nuisances as asked."""
        self._check_fitted()
        if self.nuisances is None:
            if not (asked is None or (isinstance(asked, str) and asked == "own")):
                raise ConnectomeError(f"the model was fitted without nuisance, so it cannot set any to {asked!r}; leave nuisance out")
            return phenotypes
        return self.nuisances.set(phenotypes, asked) if isinstance(phenotypes, pd.DataFrame) else phenotypes

    # --- observed people -----------------------------------------------------------------------------------------------

    def log_prob(self, cohort: Cohort, per: str = "person") -> NDArray[np.float64]:
        """Log density of people's connectomes given their phenotypes, in nats: what :func:`connectome_gnn.evaluate` takes as ``log_prob``.

        On the modelling scale: Lebesgue density, and a point mass at 0, so that an absent edge has a probability. Only differences
        between models, on the same people, mean something.

        Parameters
        ----------
        cohort : observed people, on the atlas and of the measure of the training cohort.
        per : ``"person"`` for whole connectomes, or ``"edge"`` for each edge by itself, whatever the person's other edges.

        Returns
        -------
        nats : (N,), or (N, E) per edge.

        Raises
        ------
        ConnectomeError
            If the cohort is of another atlas or measure, holds expected connectomes, or its phenotypes cannot be used.
        """
        if not isinstance(per, str) or per not in ("person", "edge"):
            raise ConnectomeError(f"log_prob is per 'person' or per 'edge', got per={per!r}")
        profiles = self._observed(cohort)[1]
        if per == "edge":
            self._check_copula("log_prob per edge")
        out = np.empty(cohort.n_people if per == "person" else (cohort.n_people, cohort.n_edges))
        for rows, values in cohort.modelled(BATCH):
            some = profiles.iloc[rows]
            out[rows] = self._log_density(some, values) if per == "person" else edge_log_density(self.residual, values, *self._latent(some))
        return out

    def deviation(self, cohort: Cohort, seed: int = 0) -> Deviation:
        """How people's connectomes deviate from what their profiles lead to expect: normative modelling (Marquand et al. 2016).

        Parameters
        ----------
        cohort : observed people, as for :meth:`log_prob`.
        seed : of the place of absent edges among those who lack them.

        Returns
        -------
        deviation : :class:`~connectome_gnn.generation.normative.Deviation`: standard normal scores of every edge, region and person.

        Raises
        ------
        ConnectomeError
            As for :meth:`log_prob`; if the seed is none.
        """
        _check_whole("seed", seed, 0)
        self._check_copula("deviation")
        profiles = self._observed(cohort)[1]
        generator = np.random.default_rng(seed)
        edges, regions = np.empty((cohort.n_people, cohort.n_edges), np.float32), np.empty((cohort.n_people, cohort.n_regions))
        extremeness = np.empty(cohort.n_people)
        columns = self.residual.spread.columns
        for rows, values in cohort.modelled(BATCH):
            mean, multiples = self._latent(profiles.iloc[rows])
            edges[rows] = edge_scores(self.residual, values, mean, generator, multiples)
            regions[rows] = region_scores(self.residual, edges[rows], cohort.n_regions, multiples)
            distances = log_distance(self.residual, edges[rows], multiples)
            extremeness[rows] = self.residual.extremeness.scores(distances, self.features.of(profiles.iloc[rows])[:, columns])
        return Deviation.of(self.residual, edges, regions, extremeness, cohort.ids, list(self.atlas.labels))

    def interpolate(self, cohort: Cohort, changes: Mapping[str, Any], seed: int = 0) -> Cohort:
        """The same people with other phenotypes: what would their connectomes be?

        Each edge keeps its place in the distribution that the profile predicts (its score in :meth:`deviation`), while the distribution
        moves with the profile; an edge may appear or vanish. It is the model's counterfactual, which is as causal as its data are.

        Parameters
        ----------
        cohort : observed people, as for :meth:`log_prob`.
        changes : values by phenotype, e.g. ``{"age": [50, 60, 70]}``. Several phenotypes change together: value k of each in row k; a
            single value stands for all rows.
        seed : of the latent scores of absent edges, drawn once for each person, given their other edges.

        Returns
        -------
        cohort : of kind ``sample``, for each person a row for every value, in order, with the phenotypes changed. Where the profile is
            what was observed, so is the connectome, exactly.

        Raises
        ------
        ConnectomeError
            As for :meth:`log_prob`; if a phenotype is unknown, the lists of values differ in length, or the seed is none.

        Warns
        -----
        ExtrapolationWarning
            Where a changed profile lies outside what training people looked like.
        """
        _check_whole("seed", seed, 0)
        self._check_copula("interpolate")
        observed = self._observed(cohort)[1]
        new_values, k = _changes(changes, self.schema.names)
        people = np.repeat(np.arange(cohort.n_people), k)
        table = cohort.phenotypes.drop(columns=_row_keys(cohort.phenotypes)).iloc[people]
        for name, column in new_values.items():
            table[name] = pd.Series(np.tile(np.array(column, object), cohort.n_people), table.index).infer_objects()
        number = table.groupby(level=0, sort=False).cumcount().to_numpy()
        changed, profiles = self._understood(table, stacklevel=3)
        before, after = self.schema.encode(observed), self.schema.encode(profiles)
        same = (before.values[people] == after.values).all(1)
        generator = np.random.default_rng(seed)
        weights = np.empty((len(people), cohort.n_edges), np.float32)
        for rows, values in cohort.modelled(BATCH):
            mean, multiples = self._latent(observed.iloc[rows])
            scores = edge_scores(self.residual, values, mean, generator, multiples)
            known = cohort.read(rows)
            for place in range(k):
                there = np.arange(rows.start, rows.stop) * k + place
                moved = profiles.iloc[there]
                drawn = self.residual.values(scores.copy(), self._deviation(moved), self.space.kept, self._multiples(moved))
                weights[there] = np.where(same[there, None] | (self.residual.noise == 0), known, self.scale.inverse(drawn))
        changed.insert(0, "sample", number)
        return self._cohort(weights, changed, "sample")

    def _observed(self, cohort: Cohort) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Tables of :meth:`_profiles` of people whose connectomes the model can look at."""
        self._check_knows_people()
        check_is_cohort(cohort)
        match = self.atlas.match(cohort.atlas)
        if not match.same:
            raise ConnectomeError(f"cohort {cohort.name!r} is not on the atlas of training cohort {self.cohort_name!r}: {match.describe()}")
        for field in ("signed", "measure"):
            ours, theirs = getattr(self, field), getattr(cohort, field)
            if ours != theirs:
                raise ConnectomeError(
                    f"cohort {cohort.name!r} has {field}={theirs!r}, training cohort {self.cohort_name!r} has {field}={ours!r}; "
                    "only weights of one kind have a density under the model"
                )
        if cohort.kind == "expected":
            raise ConnectomeError(f"cohort {cohort.name!r} holds expected connectomes, which are no people; give observed or sampled ones")
        return self._understood(cohort.phenotypes.drop(columns=_row_keys(cohort.phenotypes)))

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise ConnectomeError(f"this {type(self).__name__} has not been fitted; call fit(cohort) first")

    def _check_knows_people(self) -> None:
        self._check_fitted()
        if not self._knows_people:
            raise ConnectomeError(f"this {type(self).__name__} knows expected connectomes only; fit it without distribution=False")

    def _check_copula(self, what: str) -> None:
        self._check_knows_people()
        if not isinstance(getattr(self, "residual", None), ResidualModel):
            raise ConnectomeError(f"{what} needs the distribution of single edges, which {self.label} does not have; use another model")

    def _profiles(self, phenotypes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table to hand back, with ``extrapolated``, and the model's columns of it."""
        self._check_fitted()
        if not isinstance(phenotypes, pd.DataFrame):
            raise ConnectomeError(f"expected phenotypes as a pandas DataFrame, one row a person, got {type(phenotypes).__name__}")
        table = people_table(phenotypes.drop(columns=_row_keys(phenotypes)), "the table of profiles")
        return self._understood(table, stacklevel=4)

    def _understood(self, table: pd.DataFrame, stacklevel: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The same of a table of people or of people's samples; warns of extrapolation to the caller at ``stacklevel``."""
        missing = self.schema.encode(
            table
        ).missing  # refuses what cannot be used and warns of new levels, once: they are missing from here on
        outside, columns = self.schema.extrapolated(table)
        if stacklevel is not None and outside.any():
            shown = ", ".join(map(repr, columns[:5])) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
            where = f", out of the training range in {shown}" if columns else ""
            warnings.warn(
                f"{int(outside.sum())} of {len(table)} profiles lie outside what the {self.n_training} training people looked like{where}",
                ExtrapolationWarning,
                stacklevel=stacklevel,
            )
        return table.assign(extrapolated=outside), table[list(self.schema.names)].mask(missing)

    def _cohort(self, weights: NDArray[np.float32], table: pd.DataFrame, kind: str) -> Cohort:
        return Cohort(
            weights,
            table,
            self.atlas,
            measure=self.measure,
            signed=self.signed,
            name=f"{self.cohort_name}, {kind} by {self.label}",
            kind=kind,
            described=self.described,
            info={"model": self.label, "training_people": self.n_training, **({STEPS: self.processing} if self.processing else {})},
            check=False,
        )


def check_is_cohort(cohort: object) -> None:
    """Raise a ConnectomeError unless this is a cohort."""
    if not isinstance(cohort, Cohort):
        raise ConnectomeError(f"expected a Cohort of observed connectomes, got {type(cohort).__name__}; open a folder with Cohort.load")


def _row_keys(table: pd.DataFrame) -> list[str]:
    """Columns that tell rows apart or say what a model made of them, which no profile holds."""
    return [column for column in ("sample", "extrapolated") if column in table]


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < least:
        raise ConnectomeError(f"expected {name} as a whole number from {least} on, got {value!r}")
    if value >= LARGEST_WHOLE:
        raise ConnectomeError(f"expected {name} below two to the power of 63, got {value}")


def _changes(changes: Mapping[str, Any], names: tuple[str, ...]) -> tuple[dict[str, list[Any]], int]:
    """Values of each changed phenotype, all of one length, and that length."""
    if not isinstance(changes, Mapping) or not changes:
        raise ConnectomeError('expected changes as values by phenotype, for instance {"age": [50, 60, 70]}, got ' + repr(changes))
    unknown = [name for name in changes if name not in names]
    if unknown:
        raise ConnectomeError(f"the model knows no phenotype {unknown[0]!r}; it has {listed(names)}")
    values = {name: _each_of(value) for name, value in changes.items()}
    k = max(map(len, values.values()))
    if k == 0:
        raise ConnectomeError(f"changes to {listed(values)} name no value; give at least one")
    for name, listed_values in values.items():
        if len(listed_values) not in (1, k):
            raise ConnectomeError(
                f"changes to {name!r} have {len(listed_values)} values, others {k}; give as many for each, or one for all"
            )
    return {name: v * (k // len(v)) for name, v in values.items()}, k


def _each_of(value: Any) -> list[Any]:
    """The values of a list, an array or a column, each as it is; a single value alone."""
    if isinstance(value, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return list(value)
    if isinstance(value, (list, tuple, np.ndarray, range)):
        return list(np.ravel(np.array(value, object)))
    return [value]

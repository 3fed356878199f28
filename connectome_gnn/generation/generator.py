"""The generator: a person's connectome from their phenotypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.card import described_people, score_interval
from connectome_gnn.generation.closed_form import TOGETHER, standard_error
from connectome_gnn.generation.model import BATCH, ConnectomeModel, check_is_cohort
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask
from connectome_gnn.generation.network_fit import NETWORK_LABEL, fit_network, network_task
from connectome_gnn.generation.nuisance import Nuisances, check_nuisance, check_present
from connectome_gnn.generation.people_sampler import learn_sampler
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.generation.private_fit import check_private, fit_private
from connectome_gnn.generation.recipe_choice import Sampler, check_sampler
from connectome_gnn.generation.recombination import PeopleSampler, Recipe
from connectome_gnn.generation.stack_fit import StackFit
from connectome_gnn.generation.training import PLAIN, TrainingConfig
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.generation.transfer import Transfer, check_cohort, source_digest
from connectome_gnn.generation.transfer_residual import fit_blend
from connectome_gnn.phenotypes import Encoded, PhenotypeSchema
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices

__all__ = ["ConnectomeGenerator"]

BLEND_FOLDS = 3
DEFAULT_NETWORK = NetworkConfig()
DEFAULT_COMPONENTS = 300


class ConnectomeGenerator(ConnectomeModel):
    """Generates whole connectomes from phenotypes.

    The conditional mean is a stack of closed-form paths (ridge, component ridge, banded component ridge, supervised
    directions, and messages between similar regions and over the backbone as a prior on effects), weighed on inner folds, plus
    what a node-level message-passing decoder adds to it in the whitened space of edge components. Every path has to earn its
    place on people that it has not seen; where none does, the answer is the training mean. Samples are drawn around the mean
    from a low-rank Gaussian copula with each edge's own distribution, zeros included, and noise with the structure of connectomes where
    that is harder to tell from people.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    messages : whether messages between regions are used, in the closed form and in the network.
    network : size and training of the message-passing network; None leaves it out.
    n_components : most edge components that are modelled (all of them up to 600 people).
    training : where and how the network is trained (:class:`TrainingConfig`); what is learned does not depend on it.
    sampler : how people are drawn around the mean. ``"copula"``: from a low-rank Gaussian copula. ``"auto"``: the same with factors as
        strong as they look in training people, and with noise of edges that go together in regions or come from time series where people so
        drawn are harder to tell from training people left out; this is so in samples alone, not in :meth:`log_prob`, :meth:`deviation` and
        :meth:`interpolate`. ``"recombined"``: three training
        people's residuals recombined, which holds and gives away training people. Or a
        :class:`~connectome_gnn.generation.recombination.Recipe`.
    privacy : a promise of differential privacy (:class:`DifferentialPrivacy`), which everything in the model then keeps; it costs
        fidelity. Smooth patterns of edges take the place of the people's own components. The network takes part where
        ``privacy.network_share`` gives it a share of the budget, and is left out otherwise. Where the budget went stands in
        ``account`` once fitted. ``seed`` plays no part in the noise, which must be secret.
    nuisance : phenotypes that condition the fit as all do and are of no interest in generation, as ``["site", "motion"]``. :meth:`expected`
        and :meth:`sample` need no such columns and ignore them unless asked; :meth:`deviation`, :meth:`log_prob` and :meth:`interpolate`
        take people's own, and so does attribution.
    nuisance_reference : what generation sets nuisances to: values of some of them, the others at the commonest level or the mean of
        training people (default); or ``"average"``: the mean, or a draw, over training people's nuisances.

    Attributes
    ----------
    earned : table of paths once fitted: ``r2`` beyond the mean of people left out, by itself, and ``weight``.
    recipes : table of the ways to draw people that ``"auto"`` chose from, by how well they are told; otherwise None.
    score : ``r2`` of all paths together, with its 95 % interval ``low``, ``high``; None with ``privacy``.
    transfer : what a model by :meth:`finetune` has of its source (:class:`~connectome_gnn.generation.transfer.Transfer`), otherwise None.
    held_out : scores on people held out, to stand in the card of the saved model
        (:func:`~connectome_gnn.generation.card.held_out_scores`); None until they are set.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> train, test = cg.simulate_cohort(200, 20, 10, seed=0).split(0.8, seed=0)
    >>> model = cg.ConnectomeGenerator(seed=0).fit(train)
    >>> model.sample(test.phenotypes, n=2, seed=1).n_people
    80
    """

    label = "connectome_gnn"

    def __init__(
        self,
        seed: int = 0,
        *,
        messages: bool = True,
        network: NetworkConfig | None = DEFAULT_NETWORK,
        n_components: int = DEFAULT_COMPONENTS,
        training: TrainingConfig = PLAIN,
        sampler: Sampler | Recipe = "auto",
        privacy: DifferentialPrivacy | None = None,
        nuisance: Sequence[str] | str = (),
        nuisance_reference: Mapping[str, Any] | str | None = None,
    ) -> None:
        super().__init__(seed, n_components=n_components)
        if not isinstance(messages, (bool, np.bool_)):
            raise ConnectomeError(f"expected messages as True or False, got {messages!r}")
        if network is not None and not isinstance(network, NetworkConfig):
            raise ConnectomeError(f"expected network as a NetworkConfig, or None to leave it out, got {network!r}")
        if not isinstance(training, TrainingConfig):
            raise ConnectomeError(f"expected training as a TrainingConfig, got {training!r}")
        self.nuisance = check_nuisance(nuisance, nuisance_reference, privacy is not None)
        self.nuisance_reference = nuisance_reference
        if privacy is not None:
            check_private(privacy, network, DEFAULT_NETWORK, n_components != DEFAULT_COMPONENTS)
        self.messages = bool(messages)
        self.network = None if privacy is not None and privacy.network_share == 0 else network
        self.members: list[ConnectomeNetwork] = []
        self.gate: NDArray[np.float64] = np.zeros(0)
        check_sampler(sampler)
        if sampler not in ("auto", "copula") and privacy is not None:
            raise ConnectomeError("a differentially private model draws from its own noisy statistics; leave sampler out")
        self.training = training
        self.sampler = sampler
        self.people: PeopleSampler | None = None
        self.recipes: pd.DataFrame | None = None
        self.privacy = privacy
        self.account: dict[str, Any] | None = None
        self.transfer: Transfer | None = None
        self.people_described: list[dict[str, Any]] = []
        self.score: dict[str, float] | None = None
        self.held_out: dict[str, Any] | None = None
        self._source: ConnectomeGenerator | None = None

    def fit(self, cohort: Cohort, *, distribution: bool = True, checkpoint: str | Path | None = None) -> Self:
        """Learn from training people; with ``privacy`` from bounded, noisy sums over them alone.

        Parameters
        ----------
        cohort : the training people.
        distribution : whether to learn how people differ around the mean; without it the fit is faster, only :meth:`expected` and
            :meth:`standard_error` work, and the model cannot be saved.
        checkpoint : folder in which finished stages are stored; a fit that was killed and is started again with the same people and
            settings goes on from there, to the same model.

        Raises
        ------
        ConnectomeError
            If this is no cohort, there are fewer than 20 people, no phenotypes, or all people are alike; if the checkpoint belongs to other
            people or settings; with ``privacy``, if a column's range or levels are not publicly known, or a checkpoint is asked for.

        Warns
        -----
        PhenotypeWarning
            For phenotypes that are constant, mostly missing, or free text; not with ``privacy``, which keeps it to itself.
        """
        check_is_cohort(cohort)
        self._fitted = False  # a model whose next fit fails must not go on with half of the last one
        self.held_out = self.nuisances = None
        check_present(self.nuisance, cohort)
        if self.privacy is None:
            super().fit(cohort, distribution=distribution, checkpoint=checkpoint)
            return self._learn_nuisances(cohort.phenotypes)
        if checkpoint is not None:
            raise ConnectomeError("a fit under differential privacy stores nothing on its way; leave checkpoint out")
        with progress(f"Fitting {self.label} privately") as advance:
            fit_private(self, cohort, self.privacy, advance)
        self._fitted, self._knows_people = True, distribution
        return self._learn_nuisances(None)

    def _learn_nuisances(self, people: pd.DataFrame | None) -> Self:
        """This model, with what generation sets nuisances to, from a table of people or the schema alone."""
        if self.nuisance:
            self._fitted = False
            self.nuisances = Nuisances.learn(self.nuisance, self.nuisance_reference, self.schema, people)
            self._fitted = True
        return self

    @property
    def asked(self) -> PhenotypeSchema:
        """The phenotypes that :meth:`expected` and :meth:`sample` need: all but nuisances."""
        return PhenotypeSchema(tuple(p for p in self.schema.phenotypes if p.name not in self.nuisance))

    def finetune(
        self, cohort: Cohort, *, seed: int | None = None, distribution: bool = True, checkpoint: str | Path | None = None
    ) -> ConnectomeGenerator:
        """A model of a small cohort that starts from this one, of a big cohort; this one stays as it is.

        The small cohort has its own mean, spread and distribution of every edge (another scanner), and its own phenotypes. What this
        model expects of its people is a path in the new model's stack, as strong as people left out show, with a correction for what it
        leaves; a fit from scratch stands beside it. Phenotypes of one name are the same thing in both; those that only this model
        knows, or that nobody in the small cohort has a value of, count as missing; those that only the small cohort has get a path of
        their own. How people differ around the mean, too, is this model's as far as it makes people left out more likely.

        What this model's network says is in its expectations already. The new model's network learns what those leave, in components of
        the small cohort's own, and so starts anew: from this one's weights it would begin by saying a second time what is there.

        Nuisances that both know stay nuisances; what generation sets them to comes from the small cohort, not from this model.

        The people must not be those that this model was fitted to: then what is said of people left out would be too good.

        Parameters
        ----------
        cohort : the small cohort: the same atlas (regions in the same order) and measure.
        seed : of everything random in fitting; default this model's. All other settings are this model's.
        distribution, checkpoint : as for :meth:`fit`.

        Returns
        -------
        model : a fitted ConnectomeGenerator. ``model.transfer.helped`` says whether this model helped, ``model.transfer.comparison`` has
            the numbers, whose intervals are over the small cohort's people: that this model, from other people, would be another one is
            neither in them nor in :meth:`standard_error`. It keeps no promise of differential privacy towards the small cohort's people,
            whatever this one keeps towards its own.

        Raises
        ------
        ConnectomeError
            If the cohort is of another atlas or measure, or shares no phenotype with this model; if a phenotype has other units or levels;
            as for :meth:`fit`.
        """
        self._check_fitted()
        check_cohort(self, cohort)
        model = ConnectomeGenerator(
            self.seed if seed is None else seed,
            messages=self.messages,
            network=DEFAULT_NETWORK if self.privacy is not None else self.network,
            n_components=self.n_components,
            training=self.training,
            sampler=self.sampler,
            nuisance=[name for name in self.nuisance if name in cohort.phenotypes],
            nuisance_reference="average" if self.nuisance_reference == "average" else None,
        )
        model._source = self
        try:
            return model.fit(cohort, distribution=distribution, checkpoint=checkpoint)
        finally:
            model._source = None

    def _settings(self) -> dict[str, Any]:
        return {
            **super()._settings(),
            "messages": self.messages,
            "network": None if self.network is None else asdict(self.network),
            "sampler": asdict(self.sampler) if isinstance(self.sampler, Recipe) else self.sampler,
            "source": None if self._source is None else source_digest(self._source),
        }

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        residual = self._fit_closed_form(data, advance)
        self.members, self.gate = [], np.zeros(0)
        if self.network is not None:
            residual, row = self._fit_network(self.network, data, residual, advance)
            self.earned.loc[NETWORK_LABEL] = row
        table = data.cohort.phenotypes
        self.people_described = described_people(self.schema, table[~table.index.duplicated()])
        r2 = self.earned["r2"][TOGETHER] + self.earned["r2"].get(NETWORK_LABEL, 0.0)
        energy = float(data.cohort.n_people * self.space.kept.sum())
        self.score = score_interval(residual, data.scores, energy, r2, data.cohort.units(), self.seed)
        return residual

    def _fit_closed_form(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        """Fit the stack of closed-form paths; what it leaves of the people's components, (n, K)."""
        stack = StackFit(data, self._backbone(), self.messages, self.seed, advance)
        if self._source is None:
            self.closed_form, residual = stack.from_scratch()
            self.transfer, self.earned = None, self.closed_form.paths.copy()
            return residual
        fitted = stack.from_source(self._source)
        self.closed_form, self.transfer, self.earned = fitted.closed_form, fitted.transfer, fitted.earned
        self.space, data.space, data.scores = fitted.space, fitted.space, fitted.scores
        return fitted.residual

    def _fit_network(
        self, config: NetworkConfig, data: TrainingData, residual: NDArray[np.float64], advance: Any
    ) -> tuple[NDArray[np.float64], list[float]]:
        """Train the network on what the closed form leaves; open the gate as far as it earned it."""
        path = fit_network(self._task, config, data, residual, seed=self.seed, training=self.training, advance=advance)
        self.members, self.gate = path.members, path.gate
        return path.residual, [path.r2, float(path.gate.mean()) if path.members else 0.0]

    def _backbone(self) -> NDArray[np.float32]:
        """Mean connectome of the training people on the modelling scale, (R, R), modelled edges only."""
        return to_matrices(np.where(self.space.kept, self.space.mean, 0).astype(np.float32))

    def _task(self, unit: NDArray[np.float32]) -> NetworkTask:
        strength = np.abs(self._backbone()) if self.messages else np.zeros((self.atlas.n_regions,) * 2, np.float32)
        return network_task(self.schema, self.atlas, self.space, strength, unit)

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        return self._deviation_of(table, self.schema.encode(table))

    def _deviation_of(self, table: pd.DataFrame, encoded: Encoded) -> NDArray[np.float32]:
        """Deviations (n, kept edges) of profiles that are encoded already."""
        deviation = self.closed_form.design(encoded) @ self.closed_form.maps
        if self.transfer is not None:
            deviation += self.transfer.deviation(table, encoded)
        if self.members:
            components = np.mean([member.components(encoded) for member in self.members], 0) * self.gate
            deviation += components.astype(np.float32) @ self.space.basis[: len(self.gate)]
        return deviation

    def _mean_deviation(self, profiles: pd.DataFrame) -> NDArray[np.float32]:
        if self.nuisances is None or not (averaged := self.nuisances.averaged(profiles)).any():
            return super()._mean_deviation(profiles)
        deviation = np.empty((len(profiles), int(self.space.kept.sum())), np.float32)
        if not averaged.all():
            deviation[~averaged] = self._deviation(profiles[~averaged])
        deviation[averaged] = sum(share * self._deviation(some) for share, some in self.nuisances.each(profiles[averaged]))
        return deviation

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        self.residual, left_out = self._learn_residual(data, residual)
        theirs = getattr(self._source, "residual", None)  # none of a source that was fitted for its mean alone
        if self.transfer is not None and theirs is not None:
            folds = data.folds(BLEND_FOLDS, self.seed + 3)
            self.residual, share = fit_blend(self.residual, theirs, self.space, data, residual, folds, seed=self.seed)
            self.transfer = replace(self.transfer, blended=share)
        self.people, self.recipes = learn_sampler(
            self.residual,
            left_out,
            self.space,
            data.cohort,
            data.scores - residual,
            sampler=self.sampler,
            multiples=self._multiples(data.cohort.phenotypes),
            whole=self.whole,
            seed=self.seed,
        )
        self.holds_training_people = self.people is not None and self.people.holds_training_people

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        if self.nuisances is not None:
            profiles = self.nuisances.drawn(profiles, generator)
        if self.people is None:
            return super()._draw(profiles, generator)
        scores = self.people.draw(len(profiles), generator)
        return self.residual.values(scores, self._deviation(profiles), self.space.kept, self._multiples(profiles))

    def standard_error(self, phenotypes: pd.DataFrame) -> NDArray[np.float32]:
        """How unsure the expected connectome is: how far it would move had other people been in the cohort.

        It is apart from how people with the same profile differ (``sample``), and goes to 0 as the cohort grows, which that does not.
        It is the closed form's; what shrinkage leaves out on purpose, and what the network adds where its gate is open, are not in it.
        Nor, in a fine-tuned model, is what its source does not know: that one is taken as it is.

        Parameters
        ----------
        phenotypes : as for :meth:`expected`; nuisances that are averaged over count as missing.

        Returns
        -------
        error : (N, E) standard errors on the modelling scale; 0 where an edge is not modelled.

        Raises
        ------
        ConnectomeError
            As for :meth:`expected`; if the model was fitted under differential privacy, which promises no such thing.
        """
        _, profiles = self._profiles(self._with_nuisance(phenotypes))
        if self.privacy is not None:
            raise ConnectomeError("a model fitted under differential privacy has no standard errors: they would cost privacy of their own")
        error = np.zeros((len(profiles), self.atlas.n_edges), np.float32)
        for rows in slices(len(profiles), BATCH):
            forms = (self.closed_form, *(self.transfer.forms if self.transfer is not None else ()))
            deviation = standard_error(forms, self.schema.encode(profiles.iloc[rows]))
            error[rows, self.space.kept] = deviation * self.space.std[self.space.kept]
        return error

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the model folder (model.safetensors, config.json, and card.md to read); it appears complete or not at all.

        Raises
        ------
        ConnectomeError
            If the model is not fitted, or only for its mean; if the folder exists and ``force`` is not given, or holds a checkpoint.
        """
        from connectome_gnn.generation.store import save_generator

        self._check_knows_people()
        return save_generator(self, Path(path), force)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a model folder; every file is checked against its recorded sha256.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a file is missing, changed, or of a format that this version does not know.
        """
        from connectome_gnn.generation.store import load_generator

        return load_generator(cls, Path(path))

"""Fitting the stack of closed-form paths to training people: alone, or beside what a model of another cohort expects of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.generation.closed_form import ClosedForm, FoldModel
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.effect_maps import EffectSpace, map_kinds, step_of, systems_of
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.messages import message_matrix, similar_profiles
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.generation.transfer import Origin
from connectome_gnn.generation.transfer_fit import TransferFit, fit_transfer
from connectome_gnn.splits import Folds

if TYPE_CHECKING:
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = ["StackFit"]

INNER_FOLDS = 5
FEW_PEOPLE = 300
STORED = (ClosedForm, Directions, FoldModel)


@dataclass(frozen=True)
class StackFit:
    """The fit of a stack of paths.

    Parameters
    ----------
    data : the training people.
    backbone : (R, R) their mean connectome on the modelling scale.
    messages : whether messages between similar regions, and over the backbone, are used.
    seed : of the folds.
    advance : called as the fit goes on.
    """

    data: TrainingData
    backbone: NDArray[np.float32]
    messages: bool
    seed: int
    advance: Callable[..., None]

    @cached_property
    def partitions(self) -> list[Folds]:
        """Partitions of the people into folds, on which paths are weighed; a second one steadies the weights of few people."""
        few = self.data.cohort.n_people <= FEW_PEOPLE
        return [self.data.folds(INNER_FOLDS, self.seed + number) for number in range(1 + few)]

    @cached_property
    def step(self) -> NDArray[np.float32] | None:
        """One step of messages over the backbone, (R, R)."""
        return step_of(self.backbone) if self.messages else None

    def from_scratch(self) -> tuple[ClosedForm, NDArray[np.float64]]:
        """The stack, and what it leaves of the people's components, (n, K), cross-fitted."""
        data = self.data
        return data.checkpoint.stage(
            "closed form", lambda: self._fitted(self._effects(), data.features, data.values), types=STORED, given=(data.features,)
        )

    def from_source(self, source: ConnectomeGenerator) -> TransferFit:
        """The mean with another model's expectations as a further path."""
        data, cohort = self.data, self.data.cohort

        def fit(name: str, effects: EffectSpace, features: ProfileFeatures, values: NDArray[np.float64]) -> ClosedForm:
            form, _ = data.checkpoint.stage(
                name,
                lambda: self._fitted(effects, features, values),
                types=STORED,
                given=(features,),
                depends={"people": effects.components},
            )
            return form

        origin = Origin.of(source, data.schema, cohort.phenotypes, cohort.name)
        return fit_transfer(origin, data.space, self._effects(), cohort, data.features, data.values, self.partitions, fit, seed=self.seed)

    def _effects(self) -> EffectSpace:
        return EffectSpace.fit(self.data.space, self.data.scores, self.data.cohort, self.step)

    def _fitted(
        self, effects: EffectSpace, features: ProfileFeatures, values: NDArray[np.float64]
    ) -> tuple[ClosedForm, NDArray[np.float64]]:
        """A stack of paths fitted to people in an effect space."""
        kept = self.data.space.kept
        kinds = {} if self.step is None else {"similar regions": similar_profiles(self.backbone), "the backbone": self.step}
        return ClosedForm.fit(
            features,
            values,
            effects,
            self.partitions,
            {kind: message_matrix(effects.basis, neighbours, kept) for kind, neighbours in kinds.items()},
            map_kinds(effects.basis, kept, self.step, systems_of(self.data.cohort.atlas)),
            self.advance,
        )

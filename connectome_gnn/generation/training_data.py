"""The people that a model is fitted to, ready for it: checked, encoded, and on their components."""

from __future__ import annotations

import numpy as np

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.checkpoint import NO_CHECKPOINT, Checkpoint
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.phenotypes import Encoded, PhenotypeSchema
from connectome_gnn.splits import Folds

__all__ = ["MIN_PEOPLE", "TrainingData"]

MIN_PEOPLE = 20
LEAST_OTHERS = 10
"""People that the largest family is predicted from, at least."""


class TrainingData:
    """Training people, ready for any of the models.

    Parameters
    ----------
    cohort : the training people.
    n_components : most edge components.
    seed : of the randomised decomposition.
    checkpoint : where finished stages of the fit are stored.

    Attributes
    ----------
    schema, encoded, features : phenotypes, their encoding and the profile features.
    values : (n, F) profile features.
    space, scores : the edge space and the people's components (n, K).
    """

    def __init__(self, cohort: Cohort, *, n_components: int, seed: int, checkpoint: Checkpoint = NO_CHECKPOINT) -> None:
        if cohort.kind == "expected":
            raise ConnectomeError(
                f"cohort {cohort.name!r} holds expected connectomes, which are no people; fit on observed or sampled ones"
            )
        n_people = len(cohort.ids.unique())
        if n_people < MIN_PEOPLE:
            raise ConnectomeError(f"cohort {cohort.name!r} has {n_people} people; at least {MIN_PEOPLE} are needed to fit a model")
        people = np.bincount(cohort.units()[~cohort.ids.duplicated()])
        if len(people) < 2:
            raise ConnectomeError(
                f"cohort {cohort.name!r}: everybody belongs to one family, so nobody can be left out of a fit; check the column family_id"
            )
        if n_people - people.max() < LEAST_OTHERS:
            raise ConnectomeError(
                f"cohort {cohort.name!r}: {people.max()} of {n_people} people belong to one family, and with them left out "
                f"{n_people - people.max()} are left to learn from; at least {LEAST_OTHERS} have to be: check the column family_id"
            )
        self.cohort, self.checkpoint = cohort, checkpoint
        self.schema = PhenotypeSchema.fit(cohort.phenotypes, cohort.described)
        if not self.schema.phenotypes:
            raise ConnectomeError(
                f"cohort {cohort.name!r} has no phenotypes; a generator needs at least one column that differs between people"
            )
        self.encoded: Encoded = self.schema.encode(cohort.phenotypes)
        self.features = ProfileFeatures.fit(self.schema, self.encoded)
        self.values = self.features.transform(self.encoded)
        self.space, self.scores = EdgeSpace.fit(cohort, n_components=n_components, seed=seed, checkpoint=checkpoint)

    def folds(self, k: int, seed: int) -> Folds:
        """Inner folds; people who belong together stay together."""
        n_units = len(np.unique(self.cohort.units()))
        return self.cohort.folds(min(k, n_units), seed=seed)

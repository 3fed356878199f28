"""The plan of an augmentation study: who is held out, who is learned from, in which order, and what is predicted by what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.augmentation_files import fingerprint
from connectome_gnn.evaluation.learners import Learner
from connectome_gnn.evaluation.learning_curves import COLUMNS
from connectome_gnn.evaluation.makers import MakeGenerator
from connectome_gnn.evaluation.pairing import check_people
from connectome_gnn.evaluation.targets import Target, read_target
from connectome_gnn.splits import draw_part

__all__ = ["Plan", "table_row"]

LEAST_OF_A_CLASS = 2


@dataclass(frozen=True, eq=False)
class Plan:
    """A study before any of its numbers: everything that one repeat at one size needs."""

    make_generator: MakeGenerator
    cohort: Cohort
    targets: tuple[Target, ...]
    arms: tuple[str, ...]
    learners: tuple[Learner, ...]
    n_generated: int | None
    holdout: float
    seed: int
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        make_generator: MakeGenerator,
        cohort: Cohort,
        names: tuple[str, ...],
        arms: tuple[str, ...],
        learners: tuple[Learner, ...],
        n_generated: int | None,
        holdout: float,
        seed: int,
    ) -> Plan:
        """The plan for those people who have every target."""
        check_people(cohort, "real")
        if cohort.ids.has_duplicates:
            raise ConnectomeError(f"cohort {cohort.name!r} has several rows a person; an augmentation study takes one row each")
        known = np.all([read_target(cohort, name).known for name in names], 0)
        notes: tuple[str, ...] = ()
        if not known.all():
            lacking = int((~known).sum())
            notes = (f"{lacking} of {len(known)} people lack {' or '.join(names)} and are left out",)
        if not known.any():
            raise ConnectomeError(f"nobody in cohort {cohort.name!r} has all of the targets {listed(names)}")
        people = cohort if known.all() else cohort.take(known)
        targets = tuple(read_target(people, name) for name in names)
        for target in targets:
            if not any(learner.classes == bool(target.codes) for learner in learners):
                kind = "classes" if target.codes else "numbers"
                raise ConnectomeError(f"target {target.name!r} needs a learner of {kind}; {listed(one.name for one in learners)} is none")
        return cls(make_generator, people, targets, arms, learners, n_generated, float(holdout), int(seed), notes)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers of the study, but for its sizes and repeats, as plain JSON values."""
        made_by = self.make_generator
        return {
            "cohort": self.cohort.name,
            "targets": [target.name for target in self.targets],
            "arms": list(self.arms),
            "learners": [learner.name for learner in self.learners],
            "generator": getattr(made_by, "__qualname__", type(made_by).__qualname__),
            "n_generated": self.n_generated,
            "holdout": self.holdout,
            "seed": self.seed,
            "fingerprint": fingerprint(self.cohort),
        }

    def rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        """A generator of its own for each purpose: no draw depends on which others are made."""
        return np.random.default_rng([self.seed, crc32(purpose.encode()), *numbers])

    @cached_property
    def strata(self) -> NDArray[np.intp]:
        """(N,) people of one class in every target that is one."""
        classes = [target.values for target in self.targets if target.codes]
        if not classes:
            return np.zeros(self.cohort.n_people, np.intp)
        return np.unique(np.stack(classes, 1), axis=0, return_inverse=True)[1].ravel()

    @cached_property
    def units(self) -> NDArray[np.intp]:
        """(N,) people who belong together, by number."""
        return self.cohort.units()

    def draw(self, repeat: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Held-out people and the others, in the order in which they are learned from."""
        generator = self.rng("draw", repeat)
        first = draw_part(self.cohort.ids, self.units, self.holdout, int(generator.integers(2**31)), self.strata)
        order = generator.permutation(np.flatnonzero(~first))
        front = [
            order[target.values[order] == position][:LEAST_OF_A_CLASS] for target in self.targets for position in range(len(target.codes))
        ]
        share = np.empty(len(order))  # how far each person is down the list of their stratum
        for stratum in np.unique(self.strata[order]):
            members = np.flatnonzero(self.strata[order] == stratum)
            share[members] = (np.arange(len(members)) + 0.5) / len(members)
        in_proportion = order[np.argsort(share, kind="stable")]
        first_come = pd.unique(np.concatenate([*front, in_proportion]))
        return np.flatnonzero(first), first_come

    def pairs(self) -> Iterator[tuple[Target, Learner]]:
        """Targets, each with the learners that can predict it."""
        for target in self.targets:
            for learner in self.learners:
                if learner.classes == bool(target.codes):
                    yield target, learner

    def undefined(self, repeat: int, size: int, reason: str) -> list[dict[str, Any]]:
        """The rows of a size that cannot be had."""
        return [
            table_row(target, learner, arm, repeat, size, score, None, 0, 0, reason)
            for arm in self.arms
            for target, learner in self.pairs()
            for score in target.scores
        ]


def table_row(
    target: Target,
    learner: Learner,
    arm: str,
    repeat: int,
    size: int,
    score: str,
    value: float | None,
    n_train: int,
    n_test: int,
    reason: str,
) -> dict[str, Any]:
    """One row of the table as plain JSON values."""
    number = None if value is None or not np.isfinite(value) else value
    entries = (target.name, learner.name, arm, size, repeat, score, number, n_train, n_test, reason)
    return dict(zip(COLUMNS, entries, strict=True))

"""Arms of an augmentation study: rows to learn from, real people and what was made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.makers import MakeGenerator, fresh_generator
from connectome_gnn.evaluation.pairing import check_comparable
from connectome_gnn.evaluation.reference import modelled

__all__ = ["ARMS", "Rows", "averaged_pairs", "generated_people", "mixed_up", "real_people", "together"]

ARMS = ("real", "real+generated", "generated", "pairs averaged", "mixup")

MIXUP_ALPHA = 0.4
"""Both parameters of the Beta distribution of mixup's shares; Zhang et al. find .1 to .4 best."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to learn from.

    Attributes
    ----------
    x : (m, E) float32, edges on the modelling scale.
    y : by target, numbers (m,) or shares of classes (m, C) that add up to 1.
    made_from : (m, 2) the people each row was made from, as positions among the n people; a real person twice.
    real : (m,) whether a row is a real person.
    """

    x: NDArray[np.float32]
    y: Mapping[str, NDArray[np.float64]]
    made_from: NDArray[np.intp]
    real: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.x)


def together(*parts: Rows) -> Rows:
    """Several sets of rows as one."""
    x, made_from, real = (np.concatenate([getattr(part, field) for part in parts]) for field in ("x", "made_from", "real"))
    return Rows(x, {name: np.concatenate([part.y[name] for part in parts]) for name in parts[0].y}, made_from, real)


def real_people(cohort: Cohort, y: Mapping[str, NDArray[np.float64]]) -> Rows:
    """Everybody in a cohort as they are."""
    n = cohort.n_people
    values = modelled(cohort, np.arange(n)).astype(np.float32)
    return Rows(values, y, np.repeat(np.arange(n)[:, None], 2, 1), np.ones(n, bool))


def generated_people(make_generator: MakeGenerator, cohort: Cohort, real: Rows, n_made: int, generator: np.random.Generator) -> Rows:
    """New people from a generator fitted to this cohort and nobody else.

    Their profiles are those of the cohort's own people, each as often as any other but for chance in the last round; what there is to
    predict of them is what their profile says.

    Raises
    ------
    ConnectomeError
        If the generator cannot be fitted to so few people, or hands back something other than a connectome for each profile.
    """
    rounds = -(-n_made // cohort.n_people)
    profile = np.concatenate([generator.permutation(cohort.n_people) for _ in range(rounds)])[:n_made]
    fit_seed, sample_seed = map(int, generator.integers(2**31, size=2))
    names = pd.Index([f"generated-{number:05d}" for number in range(n_made)], name="participant_id")
    try:
        fitted = fresh_generator(make_generator, fit_seed)
        fitted = fitted.fit(cohort) or fitted
        made = fitted.sample(cohort.phenotypes.iloc[profile].set_axis(names), n=1, seed=sample_seed)
    except ValueError as error:  # what anybody's generator says of too few people
        raise ConnectomeError(str(error)) from error
    check_comparable(made, "generated", cohort)
    if list(made.ids) != list(names):
        raise ConnectomeError(
            f"expected the generator's sample to hold one row for each of {n_made} profiles, in their order and under their ids, "
            f"got {made.n_people} rows"
        )
    values = modelled(made, np.arange(n_made)).astype(np.float32)
    y = {name: known[profile] for name, known in real.y.items()}
    return Rows(values, y, np.repeat(profile[:, None], 2, 1), np.zeros(n_made, bool))


def averaged_pairs(real: Rows, strata: NDArray[np.intp], n_made: int, generator: np.random.Generator) -> Rows:
    """Means of two different people of one stratum (the same sex, where sex is a target), on the modelling scale.

    Raises
    ------
    ConnectomeError
        If no two people are of one stratum.
    """
    paired = np.flatnonzero(np.bincount(strata)[strata] > 1)
    if not len(paired):
        raise ConnectomeError(f"no two of {len(real)} people are of the same class, so none can be averaged")
    first = generator.choice(paired, n_made)
    second = np.array([generator.choice(np.flatnonzero((strata == strata[i]) & (np.arange(len(strata)) != i))) for i in first])
    return _mixture(real, first, second, np.full(n_made, 0.5))


def mixed_up(real: Rows, n_made: int, generator: np.random.Generator) -> Rows:
    """Two different people in shares drawn from Beta(.4, .4), connectomes and targets alike (Zhang et al. 2018, mixup, ICLR)."""
    first = generator.integers(len(real), size=n_made)
    second = (first + generator.integers(1, len(real), size=n_made)) % len(real)
    return _mixture(real, first, second, generator.beta(MIXUP_ALPHA, MIXUP_ALPHA, n_made))


def _mixture(real: Rows, first: NDArray[np.intp], second: NDArray[np.intp], share: NDArray[np.float64]) -> Rows:
    def mix(values: NDArray) -> NDArray:
        part = share.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
        return part * values[first] + (1 - part) * values[second]

    y = {name: mix(known) for name, known in real.y.items()}
    return Rows(mix(real.x), y, np.stack([first, second], 1), np.zeros(len(first), bool))

"""Who is predicted by whom: folds of people, classes shared out, or one site left out at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.edge_rows import folds_within
from connectome_gnn.prediction.interface import Target
from connectome_gnn.splits import draw_folds

__all__ = ["FOLDS", "Split", "splits_by_column", "splits_of_people"]

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Split:
    """People to learn from and people to be predicted.

    Attributes
    ----------
    repeat : number of the repeat, from 0.
    name : of the fold: its number from 1, or the site that is left out.
    train, test : rows.
    """

    repeat: int
    name: str
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def splits_of_people(units: NDArray[np.intp], target: Target, k: int, repeats: int, seed: int) -> list[Split]:
    """Folds of people, anew in every repeat; who belongs together stays together, and every fold has some of each class.

    Parameters
    ----------
    units : (N,) who belongs together.
    target : what is to be predicted of these people.
    k, repeats : number of folds, and of times that everybody is dealt into them.
    seed : of the draw.

    Raises
    ------
    ConnectomeError
        If there are fewer people, or fewer of a class, than folds.
    """
    if repeats < 1:
        raise ConnectomeError(f"expected 1 or more repeats of the folds, got {repeats}")
    n_units = len(np.unique(units))
    if not 2 <= k <= n_units:
        raise ConnectomeError(f"expected between 2 and {n_units} folds for {n_units} people or groups of people, got {k}")
    for place, level in enumerate(target.classes):
        number = len(np.unique(units[target.values == place]))
        if number < k:
            raise ConnectomeError(
                f"{number} {'person or group' if number == 1 else 'people or groups'} with {target.name} {level!r} cannot be shared out to "
                f"{k} folds; ask for {'at most ' + str(number) + ' folds' if number > 1 else 'other levels'}, or leave that level out"
            )
    splits = []
    for repeat in range(repeats):
        chance = int(np.random.default_rng([seed, repeat]).integers(2**31))
        if target.classes:
            parts = folds_within(units, target.values, chance, k)
        else:
            fold = draw_folds(pd.factorize(units)[0], k, chance)
            parts = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k)]
        splits += [Split(repeat, str(number), train, test) for number, (train, test) in enumerate(parts, 1)]
    return splits


def splits_by_column(cohort: Cohort, column: str, units: NDArray[np.intp], target: Target) -> list[Split]:
    """One level of a column, as a site, left out at a time; who belongs to somebody left out is not learned from either.

    Raises
    ------
    ConnectomeError
        If the column does not exist, has gaps or one level only, or what is left lacks a class.
    """
    if column not in cohort.phenotypes:
        raise ConnectomeError(
            f"cohort {cohort.name!r} has no column {column!r} to leave out by; it has {listed(map(str, cohort.phenotypes))}"
        )
    values = cohort.phenotypes[column]
    if values.isna().any():
        raise ConnectomeError(
            f"cohort {cohort.name!r}: {int(values.isna().sum())} people have no {column!r}, so they belong to none that could be left out; "
            f"leave them out, as with cohort.take(cohort.phenotypes[{column!r}].notna())"
        )
    texts = np.array([level_text(value) for value in values], dtype=object)
    levels = sorted(set(texts))
    if len(levels) < 2:
        raise ConnectomeError(
            f"cohort {cohort.name!r}: everybody's {column!r} is {levels[0]!r}, so none can be left out; use folds of people"
        )
    splits = []
    for level in levels:
        test = texts == level
        train = ~np.isin(units, units[test])
        present = np.unique(target.values[train])
        if len(present) < max(2, len(target.classes)):
            lacking = [name for place, name in enumerate(target.classes) if place not in present]
            what = f"nobody with {target.name} {listed(lacking)}" if lacking else f"nobody whose {target.name} differs"
            raise ConnectomeError(f"without {column} {level!r} there is {what} to learn from; use folds of people, or leave that level out")
        splits.append(Split(0, level, np.flatnonzero(train), np.flatnonzero(test)))
    return splits

"""What predicts a phenotype from a connectome: the interface that every estimator shares, and what a target is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import described_as, described_levels, found_levels, inferred_kind, level_text, listed, numeric_column
from connectome_gnn.errors import ConnectomeError

__all__ = ["Predictor", "Target", "TargetLike", "Task", "check_edges", "check_regions", "read_target", "read_targets"]

Task = Literal["regression", "classification"]
TargetLike = str | Sequence[str] | NDArray[Any]


@runtime_checkable
class Predictor(Protocol):
    """An estimator that learns a phenotype from training people's connectomes and says it of others.

    Attributes
    ----------
    task : ``"regression"`` or ``"classification"``, known once it is fitted (``"mixed"`` of several targets of both kinds).
    classes_ : names of the levels, in the order of the columns of :meth:`predict_proba`; empty in regression.
    name : how tables call it.
    """

    name: str
    task: str
    classes_: tuple[str, ...]

    def fit(self, cohort: Cohort, target: TargetLike, *, groups: str | None = None) -> Any:
        """Learn from training people; ``target`` is a phenotype or values (N,), ``groups`` a column of people who belong together."""
        ...

    def predict(self, cohort: Cohort) -> NDArray[Any]:
        """(N,) or (N, T) values in the target's own unit; in classification names of levels."""
        ...

    def predict_proba(self, cohort: Cohort) -> NDArray[np.float64]:
        """(N, K) probabilities of the levels ``classes_``; classification only."""
        ...


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be predicted of each person.

    Attributes
    ----------
    name : the phenotype, or ``"target"`` where values were given.
    values : (N,) float64 numbers in the phenotype's unit, or positions in ``classes``.
    classes : names of the levels that occur, in the order of the phenotype's description; empty for a number.
    """

    name: str
    values: NDArray[np.float64]
    classes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """Whether levels or numbers are predicted."""
        return "classification" if self.classes else "regression"

    def take(self, rows: ArrayLike) -> Target:
        """The target of some rows; levels stay those of everybody."""
        return Target(self.name, self.values[np.asarray(rows)], self.classes)


def read_target(cohort: Cohort, target: str | NDArray[Any]) -> Target:
    """One target of a cohort; see :func:`read_targets`."""
    targets = read_targets(cohort, target)
    if len(targets) != 1:
        raise ConnectomeError(f"expected one target, got {len(targets)}: {listed(one.name for one in targets)}; fit them one by one")
    return targets[0]


def read_targets(cohort: Cohort, target: TargetLike) -> tuple[Target, ...]:
    """What is to be predicted of each person of a cohort.

    Parameters
    ----------
    cohort : N people.
    target : a phenotype or several, or values (N,) or (N, T): numbers for regression; text, levels or truth values for
        classification. A column is what its description says, otherwise what its values look like; codes of levels are text.

    Raises
    ------
    ConnectomeError
        If a column does not exist, values are missing, too few, all alike, or the column is free text.
    """
    if isinstance(target, str):
        return (_of_column(cohort, target),)
    if (
        isinstance(target, (list, tuple))
        and target
        and all(isinstance(name, str) for name in target)
        and set(target) <= set(cohort.phenotypes)
    ):
        return tuple(_of_column(cohort, name) for name in target)
    values = np.asarray(target)
    if values.ndim not in (1, 2) or len(values) != cohort.n_people or values.size == 0:
        raise ConnectomeError(
            f"cohort {cohort.name!r}: expected a target as a phenotype's name, several names, or values ({cohort.n_people},) or "
            f"({cohort.n_people}, targets), got {listed(target) if values.dtype.kind in 'UO' and values.ndim == 1 else values.shape}"
        )
    columns = values.reshape(len(values), -1).T
    names = ["target"] if values.ndim == 1 else [f"target {number}" for number in range(len(columns))]
    # An array of numbers is numbers, of two different ones too.
    note = {"Kind": "continuous"} if values.dtype.kind in "fiu" else {}
    return tuple(
        _of_values(pd.Series(column, cohort.ids, name=name), note, cohort.name) for name, column in zip(names, columns, strict=True)
    )


def check_edges(cohort: Cohort) -> None:
    """Refuse a cohort in which somebody's edge is NaN or infinite.

    Raises
    ------
    ConnectomeError
        Names the first such person.
    """
    for part, weights in cohort.batches():
        wrong = ~np.isfinite(weights).all(1)
        if wrong.any():
            person = cohort.ids[part.start + int(np.flatnonzero(wrong)[0])]
            raise ConnectomeError(
                f"cohort {cohort.name!r}: participant {person!r} has an edge that is NaN or infinite; correct it, or leave the person out"
            )


def check_regions(labels: Sequence[str], cohort: Cohort) -> NDArray[np.intp]:
    """Row in a cohort of each region that a model was fitted on, (R,): regions are known by their labels.

    Raises
    ------
    ConnectomeError
        If the cohort's atlas has other regions.
    """
    rows = {label: row for row, label in enumerate(cohort.atlas.labels)}
    missing = [label for label in labels if label not in rows]
    if missing or len(rows) != len(labels):
        extra = sorted(set(rows) - set(labels))
        differs = "; ".join(f"{what} {listed(names, 3)}" for what, names in (("it lacks", missing), ("it also has", extra)) if names)
        raise ConnectomeError(
            f"cohort {cohort.name!r} is on another atlas than the model was fitted on ({len(labels)} regions; {differs}); "
            "predict for people on the same regions, or fit on their atlas"
        )
    return np.array([rows[label] for label in labels], np.intp)


def _of_column(cohort: Cohort, name: str) -> Target:
    if name not in cohort.phenotypes:
        raise ConnectomeError(
            f"cohort {cohort.name!r} has no phenotype {name!r} to predict; it has {listed(map(str, cohort.phenotypes)) or 'none'}"
        )
    return _of_values(cohort.phenotypes[name], cohort.described.get(name, {}), cohort.name)


def _of_values(column: pd.Series, note: Mapping[str, Any], source: str) -> Target:
    name = str(column.name)
    gaps = int(column.isna().sum())
    if gaps:
        raise ConnectomeError(
            f"cohort {source!r}: {gaps} of {len(column)} people have no {name!r}; leave them out, as with "
            f"cohort.take(cohort.phenotypes[{name!r}].notna())"
        )
    if _is_number(column, note):
        values = numeric_column(column, source=f"cohort {source!r}")
        if len(values) < 2 or values.std() <= 1e-12 * max(np.abs(values).max(), 1):
            raise ConnectomeError(f"cohort {source!r}: {name!r} is {values[0]:g} for everybody; there is nothing to predict")
        return Target(name, values)
    texts = np.array([level_text(value) for value in column], dtype=object)
    known = list(described_levels(name, note)) or found_levels(column)[0]
    classes = [level for level in known if level in set(texts)]
    classes += sorted(set(texts) - set(classes))
    if len(classes) < 2:
        raise ConnectomeError(
            f"cohort {source!r}: everybody's {name!r} is {classes[0]!r}; a classification needs people of at least two levels"
        )
    position = {level: number for number, level in enumerate(classes)}
    return Target(name, np.array([position[text] for text in texts], np.float64), tuple(classes))


def _is_number(column: pd.Series, note: Mapping[str, Any]) -> bool:
    described = described_as(str(column.name), note)
    if described is not None:
        return described == "numbers"
    kind = inferred_kind(column)
    if kind is None:
        raise ConnectomeError(f"{column.name!r} is free text with {column.nunique()} different values; nothing that can be predicted")
    return kind == "continuous"

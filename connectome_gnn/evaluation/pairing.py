"""Whether two cohorts can be compared at all, and which rows of them are the same person."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.processing import described_steps, steps_of

__all__ = ["check_comparable", "check_no_leak", "check_people", "check_same_people", "rows_by_person"]

LEAST_PEOPLE = 2


def check_comparable(cohort: Cohort, role: str, real: Cohort) -> None:
    """Refuse a cohort whose regions, in their order, or weights are not those of the real people.

    Parameters
    ----------
    cohort : the cohort to compare with the real people.
    role : what it is to the user, for the sentence: ``"generated"``, ``"reference"``, ``"rival 'ridge'"``.
    real : the real people.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"{role}: expected a Cohort, got {type(cohort).__name__}; open a folder with Cohort.load")
    match = real.atlas.match(cohort.atlas)
    if not match.same:
        reordered = match.order is not None and not match.extra
        advice = "reorder its regions by real.atlas.match(other.atlas).order first" if reordered else "compare cohorts of one atlas"
        raise ConnectomeError(
            f"{role} cohort {cohort.name!r} is not on the atlas of real cohort {real.name!r}: {match.describe()}; {advice}"
        )
    for field in ("signed", "measure"):
        ours, theirs = getattr(cohort, field), getattr(real, field)
        if ours != theirs:
            raise ConnectomeError(
                f"{role} cohort {cohort.name!r} has {field}={ours!r}, real cohort {real.name!r} has {field}={theirs!r}; "
                "only weights of one kind can be compared"
            )
    steps = [steps_of(cohort), steps_of(real)]
    if steps[0] != steps[1]:
        said = (
            f"weights of {role} cohort {cohort.name!r} and of real cohort {real.name!r} may not be on one scale: done to the first was "
            f"{described_steps(cohort)}, to the second {described_steps(real)}"
        )
        if all(steps):
            raise ConnectomeError(f"{said}; do the same to both, from the weights as measured")
        warnings.warn(f"{said}, as their cohort.json says", ConnectomeWarning, stacklevel=3)


def check_people(cohort: Cohort, role: str) -> None:
    """Refuse expected connectomes in the place of people."""
    if cohort.kind == "expected":
        raise ConnectomeError(
            f"{role} cohort {cohort.name!r} holds expected connectomes, which are no people; give the generated cohort first, then the "
            "real one"
        )


def check_no_leak(reference: Cohort, real: Cohort) -> None:
    """Refuse training people who are also among the people to be scored."""
    both = sorted(set(reference.ids) & set(real.ids))
    if both:
        raise ConnectomeError(
            f"{len(both)} people of the reference are also among the real people ({_named(both)}), so scores would reward what was seen "
            "in training; score held-out people, or give allow_overlap=True (--allow-overlap) if that is what you want"
        )


def check_same_people(generated: pd.Index, real: pd.Index, role: str) -> None:
    """Refuse cohorts that do not hold the same people, by participant_id, in whatever order."""
    extra, absent = sorted(set(generated) - set(real)), sorted(set(real) - set(generated))
    if len(absent) == len(real):
        raise ConnectomeError(
            f"{role} and real cohort have no participant_id in common ({role} has {_named(extra)}; real has {_named(absent)}); "
            "people are paired by participant_id"
        )
    if extra or absent:
        parts = [f"{len(names)} only in {where} ({_named(names)})" for where, names in ((role, extra), ("real", absent)) if names]
        raise ConnectomeError(f"{role} and real cohort must hold the same people, by participant_id: {'; '.join(parts)}")


def rows_by_person(cohort: Cohort, role: str) -> tuple[pd.Index, NDArray[np.intp]]:
    """The people of a cohort, sorted by participant_id, and the rows of each.

    Returns
    -------
    people : (M,) participant_id, sorted, so that no score depends on the order of a cohort's rows.
    rows : (M, K) positions of each person's rows, in the order of their samples.

    Raises
    ------
    ConnectomeError
        If there are fewer than 2 people, or people have different numbers of rows.
    """
    codes, people = pd.factorize(cohort.ids)
    if len(people) < LEAST_PEOPLE:
        raise ConnectomeError(f"{role} cohort {cohort.name!r} has {len(people)} people; scores need at least {LEAST_PEOPLE}")
    counts = np.bincount(codes)
    if counts.min() != counts.max():
        few, many = int(counts.argmin()), int(counts.argmax())
        raise ConnectomeError(
            f"{role} cohort {cohort.name!r} has uneven samples: participant {people[few]!r} has {counts[few]}, "
            f"{people[many]!r} has {counts[many]}; expected the same number for everybody"
        )
    rows = np.argsort(codes, kind="stable").reshape(len(people), -1)
    order = np.argsort(people.to_numpy(dtype=str), kind="stable")
    return people[order], rows[order]


def _named(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")

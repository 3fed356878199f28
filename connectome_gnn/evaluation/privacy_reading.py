"""Privacy scores in plain sentences: what was found, beside what would be expected if nothing had leaked. Never a clean bill of health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.evaluation.release import Release

__all__ = ["conclusion", "notes_on", "reading"]

LEVEL = 0.05
"""Chance, if nothing leaked, of calling a score telling."""

WHAT = {
    "closest_record_share": "{value} of generated connectomes lie closer to a training than to a held-out person",
    "nearest_neighbour_distance_ratio": "the closest training person is at {value} of the distance of the second closest",
    "authenticity": "{value} of generated connectomes lie farther from the closest training person than that person's own neighbour",
    "membership_auc_distance": "the distance to the closest generated connectome tells training people from others with an AUC of {value}",
    "membership_auc_likelihood": "the generator's likelihood tells training people from others with an AUC of {value}",
    "membership_auc_shadow": "shadow models tell training people from others with an AUC of {value}",
    "reidentification_top1": "{value} of training people are found again at the first guess",
}
SHARES = ("closest_record_share", "authenticity", "reidentification_top1")
LOWER_IS_WORSE = ("nearest_neighbour_distance_ratio", "authenticity")


def reading(record: Mapping[Any, Any], details: pd.DataFrame | None, n_generated: int) -> str:
    """What one score says, in a sentence.

    Parameters
    ----------
    record : a row of the report's table, but for ``reading``.
    details : the score's details, where there are any.
    n_generated : number of generated people.
    """
    name = str(record["score"])
    if not np.isfinite(record["value"]):
        return f"Not measured: {record['reason']}."
    value, expected = (_shown(name, record[key]) for key in ("value", "expected"))
    sentence = WHAT[name].format(value=value)
    if np.isfinite(record["low"]):
        sentence += f" (95 % interval {_shown(name, record['low'])} to {_shown(name, record['high'])})"
    sentence = f"{sentence[0].upper()}{sentence[1:]}; {expected} is expected if nothing leaked: {_verdict(record)}"
    if details is not None and "copies_of_training" in details:
        copies, number = int(details["copies_of_training"].iloc[0]), int(details["connectomes"].iloc[0])
        if copies:
            sentence += f"; {copies:,} of {number:,} generated connectomes are exact copies of a training person's"
    return sentence + "."


def conclusion(table: pd.DataFrame, fidelity: pd.DataFrame) -> str:
    """All scores in a sentence or two: what was found given how many attacks were tried, and the fidelity that it comes with."""
    tried = table[np.isfinite(table["value"])]
    tested = tried[np.isfinite(tried["p"])]
    names = ", ".join(tested.loc[tested["p"] <= LEVEL, "score"])
    if tested.empty:
        first = "Without draws nothing can be said about chance: give n_bootstrap."
    elif (tested["p"] <= LEVEL / len(tested)).any():
        first = f"Training people left traces in these connectomes ({names}): treat them as data about training people."
    elif names:
        first = (
            f"{names} would be telling alone, but not among {len(tested)} attacks: there may be traces of training people; look again with "
            "more people or more draws."
        )
    else:
        first = (
            f"None of the {len(tested)} attacks found a trace of training people. That holds for these attacks and this many people, and "
            "promises nothing about others."
        )
    known = fidelity[np.isfinite(fidelity["value"])]
    beside = ", ".join(f"{score} {value:.3f}" for score, value in zip(known["score"], known["value"], strict=True))
    return f"{first} Fidelity and re-identification pull against each other; fidelity here: {beside}." if beside else first


def notes_on(release: Release) -> tuple[str, ...]:
    """What a reader should know of how a release was judged."""
    people, (number, samples) = release.people, release.rows.shape
    notes = [
        f"{number:,} generated people with {samples} connectome{'s' if samples > 1 else ''} each, {people.n_train:,} training and "
        f"{people.n_holdout:,} held-out people, {len(people.common):,} common edges"
    ]
    if people.n_train != people.n_holdout:
        notes.append(
            f"closest_record_share and nearest_neighbour_distance_ratio: {release.n_draws} random subsets of {people.n_equal:,} people of "
            "the larger group, averaged"
        )
    for role, group in (("training", people.trained), ("held-out", ~people.trained)):
        shared = int(release.ids.isin(people.ids[group]).sum())
        if shared:
            notes.append(
                f"{shared:,} generated people have the participant_id of a {role} person: profiles alone draw such connectomes towards "
                f"{role} people, which {'raises' if role == 'training' else 'lowers'} closest_record_share and the attacks by distance"
            )
    relatives = _shared_families(release)
    if relatives:
        notes.append(f"{relatives:,} families are in both the training and the held-out cohort, which hides traces of training people")
    if release.generated.kind == "expected":
        notes.append("expected connectomes are averages, which can give people away too; they are judged like samples")
    return tuple(notes)


def _shared_families(release: Release) -> int:
    """Number of families with members in both groups."""
    families = [
        set(cohort.phenotypes["family_id"].dropna()) if "family_id" in cohort.phenotypes else set()
        for cohort in (release.people.train, release.people.holdout)
    ]
    return len(families[0] & families[1])


def _verdict(record: Mapping[Any, Any]) -> str:
    """What a score comes to beside what is expected."""
    if not np.isfinite(record["p"]):
        return "whether that is chance cannot be said without draws"
    if record["p"] <= LEVEL:
        return f"training people left traces (p = {record['p']:.3f})"
    lower = record["score"] in LOWER_IS_WORSE
    far = record["low"] > record["expected"] if lower else record["high"] < record["expected"]
    if far and record["score"] not in ("authenticity", "nearest_neighbour_distance_ratio"):
        return "no trace of training people found; held-out people are even closer, as where connectomes were generated for their profiles"
    return f"no trace of training people found (p = {record['p']:.3f})"


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.3f}"

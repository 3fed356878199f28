"""Privacy: what generated connectomes give away about the people their generator was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.closest_records import authenticity, closest_record_share, nearest_neighbour_distance_ratio
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.makers import MakeGenerator
from connectome_gnn.evaluation.membership import membership_by_distance, membership_by_likelihood, membership_by_shadows
from connectome_gnn.evaluation.privacy_reading import conclusion, notes_on, reading
from connectome_gnn.evaluation.reidentification import reidentification_top1
from connectome_gnn.evaluation.release import People, Release
from connectome_gnn.evaluation.result import GENERATED, Evaluation, report_json
from connectome_gnn.evaluation.scores import Estimate, SharedScore
from connectome_gnn.progress import progress

__all__ = ["PrivacyReport", "PrivacyScore", "privacy_report", "privacy_scores"]

SCORES: dict[str, Callable[[Release], Estimate]] = {
    "closest_record_share": closest_record_share,
    "nearest_neighbour_distance_ratio": nearest_neighbour_distance_ratio,
    "authenticity": authenticity,
    "membership_auc_distance": membership_by_distance,
    "membership_auc_likelihood": membership_by_likelihood,
    "membership_auc_shadow": membership_by_shadows,
    "reidentification_top1": reidentification_top1,
}
"""The privacy scores; the function of each says what it is, its range and its source."""

COLUMNS = ("score", "value", "low", "high", "expected", "p", "n", "reading", "reason")

FIDELITY = ("spread_ratio", "r2_beyond_mean", "identification_top1")
"""Fidelity scores shown beside the privacy scores: what makes a connectome a person's own also makes the person findable."""


@dataclass(frozen=True, eq=False)
class PrivacyReport:
    """What generated connectomes give away about training people.

    Attributes
    ----------
    table : one row a score, with the columns

        - ``score``, ``value``, ``low``, ``high``: the score and its 95 % interval;
        - ``expected``: what would be expected if nothing leaked;
        - ``p``: how probable a score as telling would be then;
        - ``n``: people it rests on (which, the score's docstring says);
        - ``reading``: a plain sentence;
        - ``reason``: why the score is undefined, otherwise empty.
    fidelity : the same connectomes' fidelity, the columns of ``table`` but for p and reading; scores that need the people's true
        connectomes are undefined where these are not known.
    conclusion : all of it in a sentence or two.
    notes : what a reader should know of how it was measured.
    details : by score, a longer table, where there is one.
    """

    table: pd.DataFrame
    fidelity: pd.DataFrame
    conclusion: str
    notes: tuple[str, ...] = ()
    details: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`, one row a score."""
        return self.table.copy()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The scores, privacy and fidelity, as plain JSON values.

        Returns
        -------
        scores : ``{score: {"value", "low", "high", "null", "n", "p", "reading", "reason"}}``; ``null`` is what is expected if nothing
            leaked; ``p``, ``reading`` and ``reason`` where there is one; None in place of an undefined number.
        """
        entries = {}
        for record in [*self.table.to_dict("records"), *self.fidelity.to_dict("records")]:
            numbers = {key: record[name] for key, name in (("value", "value"), ("low", "low"), ("high", "high"), ("null", "expected"))}
            entry: dict[str, Any] = {key: float(number) if np.isfinite(number) else None for key, number in numbers.items()}
            entry["n"] = int(record["n"])
            if np.isfinite(record.get("p", np.nan)):
                entry["p"] = float(record["p"])
            entry.update({key: record[key] for key in ("reading", "reason") if record.get(key)})
            entries[str(record["score"])] = entry
        return entries

    def to_json(self, path: str | Path | None = None) -> str:
        """The scores of :meth:`to_dict` as JSON text, also written to ``path`` where one is given."""
        return report_json(self.to_dict(), path)

    def summary(self) -> str:
        """The scores as a table to print, a sentence for each, and what they come to."""
        rows = [["score", "value", "95 % interval", "expected", "p"]]
        rows += [[str(record["score"]), *_cells(record), _number(record["p"], 3)] for record in self.table.to_dict("records")]
        rows += [["beside it, fidelity", "", "", "", ""]]
        rows += [[str(record["score"]), *_cells(record), ""] for record in self.fidelity.to_dict("records")]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows
        ]
        readings = [f"{record['score']}: {record['reading']}" for record in self.table.to_dict("records")]
        reasons = [f"{record['score']}: {record['reason']}" for record in self.fidelity.to_dict("records") if record["reason"]]
        return "\n".join([*lines, "", *readings, *reasons, "", *self.notes, "", self.conclusion])

    def __str__(self) -> str:
        return self.summary()


class PrivacyScore(SharedScore):
    """A privacy score as a score of :func:`~connectome_gnn.evaluation.evaluate`: the reference are the training people, the real ones held
    out.

    Formula, shape, range, what is expected if nothing leaked, and source are those of the function it calls.

    Parameters
    ----------
    name : the score's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def estimate(self, comparison: Comparison) -> Estimate:
        """The score; undefined, with the reason, where training and held-out people cannot be told apart or compared."""
        try:
            release = comparison.once("release", lambda: _release_of(comparison))
        except ConnectomeError as error:
            return Estimate.undefined(str(error))
        return SCORES[self.name](release)


def privacy_scores(measures: tuple[str, ...] = ()) -> list[SharedScore]:
    """The scores of the part ``"privacy"``; they need no topology measures."""
    return [PrivacyScore(name) for name in SCORES]


def privacy_report(
    generated: Cohort,
    train: Cohort,
    holdout: Cohort,
    *,
    log_prob: Callable[[Cohort], Any] | None = None,
    make_generator: MakeGenerator | None = None,
    n_draws: int = 50,
    n_shadows: int = 16,
    n_bootstrap: int = 1000,
    seed: int = 0,
    n_jobs: int = 1,
) -> PrivacyReport:
    """Attack generated connectomes, anyone's, and report what they give away about the training people.

    Distances are between common edges on the modelling scale, standardised by training and held-out people together, which favours
    neither (:class:`~connectome_gnn.evaluation.release.People`). People who belong together (``family_id``) are drawn and exchanged
    together. Attacks that find nothing are no proof that there is nothing to find.

    Parameters
    ----------
    generated : connectomes generated by a generator fitted on ``train``: samples, K a person, or expected ones, which can leak too. For
        an even comparison they are generated for profiles of neither group, or of as many people of both.
    train : the training people, one row each.
    holdout : people like them whom the generator has never seen, one row each.
    log_prob : log density of each row of a cohort under the generator, ``Cohort -> (N,)``, or an object with such a ``log_prob``; without
        it the likelihood attack is undefined.
    make_generator : the recipe by which ``generated`` was made: from a seed, or from nothing, to an unfitted generator with ``fit(cohort)``
        and ``sample(phenotypes, n=, seed=)`` (``expected(phenotypes)`` for expected connectomes); without it the shadow-model attack is
        undefined.
    n_draws : subsets of the larger of the two groups that scores are averaged over where the groups differ in size.
    n_shadows : generators fitted for the shadow-model attack, an even number from 4.
    n_bootstrap : draws behind each interval, and exchanges of people behind each p value; 0 for neither.
    seed : seed of everything random.
    n_jobs : processes that fit shadow models; -1 for all cores. The scores do not depend on it.

    Returns
    -------
    report : PrivacyReport, with ``summary()``, ``to_dataframe()`` and ``to_json()``.

    Raises
    ------
    ConnectomeError
        If atlas or measure differ, somebody is in both ``train`` and ``holdout``, a cohort has fewer than 2 people, a weight is NaN,
        samples are uneven, or a number is out of range.

    Examples
    --------
    >>> people = model.sample(holdout.phenotypes, seed=1)  # doctest: +SKIP
    >>> print(privacy_report(people, train, holdout).summary())  # doctest: +SKIP
    """
    for what, number, least in (("n_bootstrap", n_bootstrap, 0), ("n_draws", n_draws, 1), ("n_shadows", n_shadows, 4), ("seed", seed, 0)):
        if number < least:
            raise ConnectomeError(f"{what} must be at least {least}, got {number}")
    people = People.of(train, holdout)
    release = Release.of(
        generated,
        people,
        seed=seed,
        n_bootstrap=n_bootstrap,
        n_draws=n_draws,
        n_shadows=n_shadows,
        n_jobs=n_jobs,
        log_prob=log_prob,
        make_generator=make_generator,
    )
    estimates = {}
    with progress("Attacking", total=len(SCORES) + 1) as advance:
        for name, score in SCORES.items():
            advance(0, f"Attacking: {name}")
            estimates[name] = {GENERATED: score(release)}
            advance()
        fidelity = _fidelity(release)
        advance()
    found = Evaluation.of(estimates)
    table = found.table.rename(columns={"null": "expected"})
    table["reading"] = [reading(record, found.details.get(str(record["score"])), release.n_people) for record in table.to_dict("records")]
    table = table[list(COLUMNS)]
    return PrivacyReport(table, fidelity, conclusion(table, fidelity), notes_on(release), dict(found.details))


def _release_of(comparison: Comparison) -> Release:
    """The release that a comparison stands for."""
    reference = comparison.reference
    people = comparison.shared("privacy", lambda: People.of(reference.cohort, comparison.real, reference))
    return Release.of(
        comparison.generated,
        people,
        seed=comparison.seed,
        n_bootstrap=len(comparison.weights) - 1,
        n_jobs=comparison.n_jobs,
        log_prob=comparison.log_prob,
        make_generator=comparison.make_generator,
    )


def _fidelity(release: Release) -> pd.DataFrame:
    """Fidelity scores of the same connectomes, against the true ones of the people they were generated for where these are known."""
    from connectome_gnn.evaluation.scoring import evaluate

    people = release.people
    same = [cohort for cohort in (people.holdout, people.train) if set(cohort.ids) == set(release.ids)]
    scores = FIDELITY if same else FIDELITY[:1]
    real = same[0] if same else people.holdout
    table = evaluate(
        release.generated,
        real,
        people.train,
        parts=scores,
        measures=(),
        n_bootstrap=release.n_bootstrap,
        n_permutations=0,
        seed=release.seed,
        allow_overlap=True,
    ).table
    missing = [
        {"score": name, "n": 0, "reason": "the generated people are neither all of the training nor all of the held-out people"}
        for name in FIDELITY[len(scores) :]
    ]
    table = pd.concat([table, pd.DataFrame(missing, columns=["score", "n", "reason"])]) if missing else table
    columns = ["score", "value", "low", "high", "expected", "n", "reason"]
    return table.rename(columns={"null": "expected"})[columns].reset_index(drop=True)


def _cells(record: dict[Any, Any]) -> list[str]:
    interval = f"[{_number(record['low'])}, {_number(record['high'])}]" if np.isfinite(record["low"]) else ""
    return [_number(record["value"]) or "undefined", interval, _number(record["expected"])]


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""

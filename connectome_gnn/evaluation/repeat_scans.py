"""What repeated scans of the same people say of the best that any generator can reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.catalogue import scores_of
from connectome_gnn.evaluation.ceilings import CeilingScore
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.pairing import check_comparable, check_people
from connectome_gnn.evaluation.reference import Reference
from connectome_gnn.evaluation.result import GENERATED, Evaluation
from connectome_gnn.evaluation.scores import Estimate
from connectome_gnn.evaluation.sides import chosen_measures
from connectome_gnn.progress import progress

__all__ = ["noise_ceiling"]

PART = "noise ceiling"


def noise_ceiling(
    repeat_scans: Cohort,
    second: Cohort | None = None,
    *,
    reference: Cohort | None = None,
    measures: Iterable[str] | str | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    n_jobs: int = -1,
    groups: str | None = None,
) -> Evaluation:
    """Measurement ceiling of every fidelity score, from people who were scanned twice.

    A scan is what is stable in the person plus an error, independent from scan to scan: the ceiling is what a generator would score that
    knew the stable part. It follows from how far two scans agree: 1 less half their squared difference over the variance around the mean
    (r2_beyond_mean), the root of their correlation (raw_r, demeaned_r, capture), half the share of edges only one of them has
    (presence_brier), identification by similarities freed of what error adds to their variance. Of presence_auc no more is known than
    what the second scan itself reaches: that is given, and can be passed. Each score's ``of_repeat`` says more.

    Parameters
    ----------
    repeat_scans : people with several rows each, counted by a column ``sample`` and put in order by ``session_id`` where there is one
        (everybody's first two count, people with one are left out); or, with ``second``, the first scans, one row each.
    second : the second scans of the same people.
    reference : the training people, who give the mean and the edges' standard deviations. Default: the first scans; the mean then holds
        the people scored, which lowers the ceilings by about 1 / N of what is missing to 1.
    measures, n_bootstrap, seed, n_jobs, groups : as of :func:`~connectome_gnn.evaluation.evaluate`.

    Returns
    -------
    ceilings : Evaluation whose ``value``, ``low`` and ``high`` are the ceilings; ``null`` as of the scores.

    Raises
    ------
    ConnectomeError
        If there are no repeated scans, or the two cohorts differ in people, atlas or measure.
    """
    first, again = _sessions(repeat_scans) if second is None else (repeat_scans, second)
    for role, cohort in (("second scan", again), ("reference", first if reference is None else reference)):
        check_comparable(cohort, role, first)
        check_people(cohort, role)
    names = chosen_measures(measures, first)
    comparison = Comparison.of(
        again,
        first,
        Reference.of(first if reference is None else reference),
        n_bootstrap=n_bootstrap,
        seed=seed,
        groups=groups,
        role="second scan",
        measures=names,
        n_permutations=0,
        n_jobs=n_jobs,
    )
    scores = [score for score in scores_of("fidelity", names) if isinstance(score, CeilingScore)]
    estimates: dict[str, dict[str, Estimate]] = {}
    with progress("Comparing scans", len(scores)) as advance:
        for score in scores:
            estimates[score.name] = {GENERATED: _ceiling(score, comparison)}
            advance()
    note = f"what two scans of {comparison.n_people} people say of the best that a generator could reach; it is no score of a generator"
    return Evaluation.of(estimates, (note,), {score.name: PART for score in scores})


def _ceiling(score: CeilingScore, comparison: Comparison) -> Estimate:
    of_scan, values = score.own(comparison), score.of_repeat(comparison)
    if not np.isfinite(values[0]):
        return Estimate.undefined(of_scan.reason or "two scans do not say what the error-free one would score", of_scan.null)
    same = len(values) == len(of_scan.values) and np.array_equal(values, of_scan.values, equal_nan=True)
    return replace(of_scan, values=values, details=None, interval=of_scan.interval if same else None, reason="")


def _sessions(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """The first two scans of everybody who has two: in the order of ``session_id`` where there is one, otherwise of their rows."""
    sessions = cohort.phenotypes["session_id"].astype(str).to_numpy() if "session_id" in cohort.phenotypes else np.full(len(cohort), "")
    rows = pd.DataFrame({"person": np.asarray(cohort.ids), "session": sessions, "row": np.arange(len(cohort))})
    by_person = rows.sort_values(["session", "row"], kind="stable").groupby("person", sort=True)["row"]
    pairs = np.array([found.to_numpy()[:2] for _, found in by_person if len(found) > 1], dtype=np.intp)
    if not len(pairs):
        raise ConnectomeError(
            f"cohort {cohort.name!r} holds one scan of each person; a noise ceiling needs two of at least 2 people: several rows a person, "
            "counted by a column 'sample', or the second scans as another cohort"
        )
    return cohort.take(pairs[:, 0]), cohort.take(pairs[:, 1])

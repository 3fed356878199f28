"""Score generated connectomes against real people, with rivals beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.distribution import DISTRIBUTION
from connectome_gnn.evaluation.fidelity import FIDELITY
from connectome_gnn.evaluation.pairing import check_comparable, check_no_leak, check_people
from connectome_gnn.evaluation.reference import Reference
from connectome_gnn.evaluation.result import GENERATED, Evaluation
from connectome_gnn.evaluation.scores import Estimate, Score
from connectome_gnn.progress import progress

__all__ = ["PARTS", "evaluate"]

PARTS: dict[str, tuple[Score, ...]] = {"fidelity": FIDELITY, "distribution": DISTRIBUTION}
"""The scores of each part of an evaluation."""


def evaluate(
    generated: Cohort,
    real: Cohort,
    *,
    reference: Cohort,
    rivals: Mapping[str, Cohort] | None = None,
    parts: str | Sequence[str | Score] = ("fidelity", "distribution"),
    n_bootstrap: int = 1000,
    seed: int = 0,
    groups: str | None = None,
    allow_overlap: bool = False,
) -> Evaluation:
    """Score generated connectomes, anyone's, against the same people's real ones.

    Parameters
    ----------
    generated : connectomes of the real people, paired by participant_id in whatever order: expected ones, one row a person, or K
        samples a person, which are averaged on the modelling scale or kept, as each score says.
    real : the held-out people, one row each. Where it knows its truth (``truth.expected``, (N, E) on the modelling scale), the scores
        that have a ceiling say what share of it is reached.
    reference : the training people, who give the mean, the edges' standard deviations and which edges are common.
    rivals : other generators' cohorts of the same people, by name: scored alike, with the paired difference of each score.
    parts : names of parts (``"fidelity"``, ``"distribution"``), or scores of your own (:class:`Score`).
    n_bootstrap : resamples of people behind each interval; 0 for none.
    seed : seed of the resamples; all cohorts are scored on the same ones.
    groups : column of ``real`` with people who belong together in a resample; default ``family_id`` where there is one.
    allow_overlap : whether people of the reference may be among the real people.

    Returns
    -------
    evaluation : Evaluation, a tidy table with ``summary()``, ``to_dataframe()`` and ``to_json()``.

    Raises
    ------
    ConnectomeError
        If cohorts differ in atlas (order of regions included), measure or people, samples are uneven, there are fewer than 2 people, or
        the reference holds people who are to be scored.

    Examples
    --------
    >>> scores = evaluate(model.expected(test.phenotypes), test, reference=train)  # doctest: +SKIP
    >>> print(scores.summary())  # doctest: +SKIP
    """
    scores = _scores(parts)
    if n_bootstrap < 0:
        raise ConnectomeError(f"n_bootstrap counts resamples, 0 or more, got {n_bootstrap}")
    roles = _checked(generated, real, reference, rivals or {}, allow_overlap)
    standard, weights = Reference.of(reference), None
    paired = any(score.paired for score in scores)
    compare = partial(Comparison.of, real=real, reference=standard, paired=paired, n_bootstrap=n_bootstrap, seed=seed, groups=groups)
    comparisons: dict[str, Comparison] = {}
    for name, cohort in roles.items():
        comparisons[name] = compare(cohort, role=_role(name), weights=weights)
        weights = comparisons[name].weights
    estimates: dict[str, dict[str, Estimate]] = {score.name: {} for score in scores}
    with progress("Scoring", total=len(scores) * len(roles)) as advance:
        for name, comparison in comparisons.items():
            for score in scores:
                estimates[score.name][name] = score.compute(comparison)
                advance()
    return Evaluation.of(estimates, _notes(comparisons))


def _checked(generated: Cohort, real: Cohort, reference: Cohort, rivals: Mapping[str, Cohort], allow_overlap: bool) -> dict[str, Cohort]:
    """The generated cohort and its rivals by name, once all of them can be compared with the real people."""
    if GENERATED in rivals:
        raise ConnectomeError(f"a rival cannot be called {GENERATED!r}, the name of the generated cohort's own rows")
    for role, cohort in (("real", real), ("reference", reference)):
        check_comparable(cohort, role, real)
        check_people(cohort, role)
    if not allow_overlap:
        check_no_leak(reference, real)
    roles = {GENERATED: generated, **rivals}
    for name, cohort in roles.items():
        check_comparable(cohort, _role(name), real)
    return roles


def _scores(parts: str | Sequence[str | Score]) -> list[Score]:
    """The scores of named parts, and those given themselves."""
    scores: list[Score] = []
    for part in [parts] if isinstance(parts, str) else parts:
        if isinstance(part, str) and part not in PARTS:
            raise ConnectomeError(f"unknown part {part!r} of an evaluation; the parts are {', '.join(map(repr, PARTS))}")
        scores.extend(PARTS[part] if isinstance(part, str) else [part])
    wrong = [score for score in scores if not isinstance(score, Score)]
    if wrong:
        raise TypeError(f"a score has a name, paired and compute(comparison); {wrong[0]!r} has not")
    names = [score.name for score in scores]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ConnectomeError(f"every score needs a name of its own, {repeated[0]!r} occurs {names.count(repeated[0])} times")
    if not scores:
        raise ConnectomeError(f"nothing to score: name at least one part of {', '.join(map(repr, PARTS))}")
    return scores


def _role(name: str) -> str:
    return name if name == GENERATED else f"rival {name!r}"


def _notes(comparisons: Mapping[str, Comparison]) -> tuple[str, ...]:
    """How samples were treated, a line for each number of samples a person."""
    by_number: dict[int, list[str]] = {}
    for name, comparison in comparisons.items():
        if comparison.generated.kind == "sample" or comparison.n_samples > 1:
            by_number.setdefault(comparison.n_samples, []).append(name)
    return tuple(
        f"{number} {'sample' if number == 1 else 'samples'} a person ({', '.join(names)}): fidelity scores take their mean on the "
        "modelling scale, whose own spread lowers r2_beyond_mean; distribution scores keep them"
        for number, names in by_number.items()
    )

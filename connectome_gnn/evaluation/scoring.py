"""Score generated connectomes against real people, with rivals beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.catalogue import chosen_scores
from connectome_gnn.evaluation.ceilings import ceiling_cohort
from connectome_gnn.evaluation.comparison import N_PERMUTATIONS, Comparison
from connectome_gnn.evaluation.pairing import check_comparable, check_no_leak, check_people
from connectome_gnn.evaluation.reference import Reference
from connectome_gnn.evaluation.result import GENERATED, Evaluation
from connectome_gnn.evaluation.scores import Estimate, Score, SharedScore
from connectome_gnn.evaluation.sides import NO_TOPOLOGY, chosen_measures
from connectome_gnn.evaluation.users import users_estimate
from connectome_gnn.progress import progress

__all__ = ["evaluate"]

OTHER_PEOPLE = "generated and real cohort do not hold the same people"


def evaluate(
    generated: Cohort,
    real: Cohort,
    reference: Cohort,
    *,
    rivals: Mapping[str, Cohort] | None = None,
    parts: str | Score | Sequence[str | Score] = ("fidelity", "distribution"),
    measures: Iterable[str] | str | None = None,
    ceiling: Any = None,
    log_prob: Callable[..., Any] | None = None,
    make_generator: Callable[..., Any] | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
    n_jobs: int = -1,
    groups: str | None = None,
    allow_overlap: bool = False,
) -> Evaluation:
    """Score generated connectomes, anyone's, against the same people's real ones.

    Parameters
    ----------
    generated : connectomes of the real people, paired by participant_id in whatever order: expected ones, one row a person, or K
        samples a person, which are averaged or kept, as each score says.
    real : the held-out people, one row each. Where it knows its truth (``truth.expected``, (N, E) on the modelling scale), that is the
        ceiling unless another is given.
    reference : the training people, who give the mean, the edges' standard deviations and which edges are common.
    rivals : other generators' cohorts of the same people, by name: scored alike, with the paired difference of each score.
    parts : names of parts (``"fidelity"``, ``"distribution"``, ``"privacy"``, ``"usefulness"``, ``"all"`` of them), names of scores, or
        scores of your own (:class:`Score`).
    measures : topology measures to score; none for ``()``. Default: a panel of cheap ones that the weights allow.
    ceiling : a second scan of the real people (an observed cohort), or the truth of simulated ones (an expected cohort, or samples drawn
        from the truth): every fidelity score then says what share of it is reached.
    log_prob : log density of connectomes under the generator, for the scores that need one.
    make_generator : makes a fresh generator to fit, for the scores that need one.
    n_bootstrap : resamples of people behind each interval; 0 for none.
    n_permutations : permutations of people behind each p value; 0 for none.
    seed : seed of everything random; all cohorts are scored on the same resamples and permutations.
    n_jobs : threads; -1 for all cores. The scores do not depend on it.
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
    counts = {"n_bootstrap counts resamples": n_bootstrap, "n_permutations counts permutations": n_permutations, "seed is a number": seed}
    for what, number in counts.items():
        if number < 0:
            raise ConnectomeError(f"{what}, 0 or more, got {number}")
    if n_jobs == 0:
        raise ConnectomeError("n_jobs counts threads, 1 or more, or -1 for all cores, got 0")
    roles = _checked(generated, real, reference, rivals or {}, allow_overlap)
    names = chosen_measures(measures, real)
    entries = chosen_scores(parts, names)
    compare = partial(
        Comparison.of,
        real=real,
        reference=Reference.of(reference),
        paired=any(entry.needs_same_people for entry in entries),
        n_bootstrap=n_bootstrap,
        seed=seed,
        groups=groups,
        measures=names,
        n_jobs=n_jobs,
    )
    comparisons: dict[str, Comparison] = {}
    beside = truth = None
    best = ceiling_cohort(ceiling, real)
    if best is not None:
        truth = beside = compare(best, role="ceiling", n_permutations=0, paired=True)
    for name, cohort in roles.items():
        given: dict[str, Any] = {"log_prob": log_prob, "make_generator": make_generator} if name == GENERATED else {}
        beside = compare(cohort, role=_role(name), beside=beside, ceiling=truth, n_permutations=n_permutations, **given)
        comparisons[name] = beside
    estimates: dict[str, dict[str, Estimate]] = {entry.score.name: {} for entry in entries}
    with progress("Scoring", total=len(entries) * len(roles)) as advance:
        for name, comparison in comparisons.items():
            for entry in entries:
                advance(0, f"Scoring {name}: {entry.score.name}")
                estimates[entry.score.name][name] = _estimate(entry.score, comparison)
                advance()
    return Evaluation.of(estimates, _notes(comparisons), parts={entry.score.name: entry.part for entry in entries})


def _estimate(score: Score | SharedScore, comparison: Comparison) -> Estimate:
    if score.paired and not comparison.paired:
        return Estimate.undefined(OTHER_PEOPLE)
    if score.topology and comparison.generated.kind == "expected":
        return Estimate.undefined(NO_TOPOLOGY)
    return score.estimate(comparison) if isinstance(score, SharedScore) else users_estimate(score, comparison)


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
        "modelling scale, whose own spread lowers r2_beyond_mean, and of each topology measure; distribution scores keep them"
        for number, names in by_number.items()
    )

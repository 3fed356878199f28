"""Attribution: which phenotype matters for connectomes, by how much, and where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from connectome_gnn.attribution.arguments import check_model, check_whole
from connectome_gnn.attribution.explained import STRENGTHS, GlobalStrength
from connectome_gnn.attribution.options import check_options
from connectome_gnn.attribution.plan import Plan
from connectome_gnn.attribution.profiles import MISSING, Missing
from connectome_gnn.attribution.r2 import attribute_r2
from connectome_gnn.attribution.result import METHODS, Attribution
from connectome_gnn.attribution.sampled_scores import attribute_sampled
from connectome_gnn.attribution.scene import has_gradients
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.progress import progress

__all__ = ["BY", "attribute"]

BY = ("phenotype", "group", "region", "network", "edge")


def attribute(
    model: ConnectomeModel,
    cohort: Cohort,
    *,
    methods: Iterable[str] = METHODS,
    score: str | Callable[..., Any] = "r2",
    by: Iterable[str] = BY,
    missing: Iterable[Missing] = MISSING,
    global_strength: Iterable[GlobalStrength] = STRENGTHS,
    phenotypes: Iterable[str] | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    n_samples: int = 5,
    seed: int = 0,
    n_jobs: int = -1,
) -> Attribution:
    """Attribute what a model explains, and what it moves, to phenotypes and their groups, over the brain.

    Importance is what a phenotype explains in real people whom the model has not seen; sensitivity is what it moves in the generated
    connectomes. Both are in the rows' ``kind``, and never mixed. Nothing is fitted again: predictions are maps of the phenotypes, and each
    method is a sum over people of what predictions with some phenotypes unknown explain of each. Single phenotypes explain little, and
    the noise of held-out people would rank them: their importance is what the model implies of each, corrected by held-out people as far
    as they can tell phenotypes apart, with what was measured and nothing else beside it (``raw``). The same goes for single regions.

    Parameters
    ----------
    model : a fitted model, generator or rival.
    cohort : real people, not those the model was fitted to (their own noise would count as explained).
    methods : any of

        - ``contribution``: the score with everything known, less the score without the phenotype (the last to come): what it alone adds;
        - ``shapley``: its mean gain over all orders in which phenotypes become known; exact for up to 10 groups or phenotypes, sampled
          beyond;
        - ``permutation``: the loss when its values are other people's; with ``missing="conditional"`` those of people in whom correlated
          traits tell the same;
        - ``sensitivity``: the variance it moves in generated connectomes;
        - ``gradient``: integrated gradients of the score as all phenotypes come in together (a ConnectomeGenerator's only).

        To share out what is explained, and to rank phenotypes by it, take ``shapley`` or ``gradient``. Without one of several that go
        together little is lost: ``contribution`` and ``permutation`` rank them lower than what they explain between them.
    score : ``"r2"``, R2 beyond the mean; ``"capture"``, correlation across people of edges; the name of a global or nodal topology measure,
        captured likewise; or a function of the generated people (a Cohort, ``n_samples`` rows a person) and the real ones, which returns
        one number a person. Scores other than R2 take samples of every coalition, and are for groups alone.
    by : any of ``phenotype``, ``group``, ``region``, ``network``. Maps are those of groups and of all phenotypes together; maps of single
        phenotypes over regions (where both were asked for) and over edges (``edge``) are computed when they are looked at.
    missing : what becomes of phenotypes that are not known: ``reference``, missing, as the model knows missing values; ``conditional``,
        averaged over given the known ones. They answer different questions where phenotypes are correlated.
    global_strength : maps with each person's total strength as it is (``keep``), or taken out of real and predicted edges (``remove``).
    phenotypes : those to report, default all.
    n_bootstrap : resamples of people (families together) for the intervals.
    n_permutations : permutations of people for p.
    n_samples : people generated for each profile, for scores other than R2.
    seed : of everything random; the same seed gives the same numbers.
    n_jobs : threads over people, -1 for all cores.

    Returns
    -------
    attribution : :class:`~connectome_gnn.attribution.result.Attribution`.

    Raises
    ------
    ConnectomeError
        If the cohort does not fit the model, a method, table or phenotype is unknown, or nothing that was asked for can be had.

    Warns
    -----
    ConnectomeWarning
        Of what was asked for by name and cannot be had, as gradients of a model that has none.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> train, test = cg.simulate_cohort(200, 20, 10, seed=0).split(0.8, seed=0)
    >>> model = cg.ConnectomeGenerator(seed=0, network=None).fit(train, distribution=False)
    >>> why = cg.attribute(model, test, by=("group",), n_bootstrap=50, n_permutations=50)
    >>> sorted(set(why.groups["group"]))
    ['age_sex', 'body', 'cognition', 'lifestyle']
    """
    _check_people(model, cohort)
    chosen = None if phenotypes is None else _chosen(phenotypes, model.schema.names, "phenotypes")
    for name, number, least in (
        ("n_bootstrap", n_bootstrap, 0),
        ("n_permutations", n_permutations, 0),
        ("n_samples", n_samples, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, number, least)
    if not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0 or n_jobs < -1:
        raise ConnectomeError(f"expected n_jobs as a number of threads, or -1 for all cores, got {n_jobs!r}")
    if not isinstance(score, str) and not callable(score):
        raise ConnectomeError(
            f"expected score as 'r2', 'capture', the name of a topology measure or a function, got {type(score).__name__}"
        )
    threads = int(n_jobs) if n_jobs > 0 else os.cpu_count() or 1
    plan = Plan(
        methods=_chosen(methods, METHODS, "methods"),
        by=_chosen(by, BY, "by"),
        missing=_chosen(missing, MISSING, "missing"),
        global_strength=_chosen(global_strength, STRENGTHS, "global_strength"),
        phenotypes=model.schema.names if chosen is None else chosen,
        n_bootstrap=int(n_bootstrap),
        n_permutations=int(n_permutations),
        seed=int(seed),
        n_jobs=threads,
    )
    given = {
        "methods": methods is not METHODS,
        "missing": missing is not MISSING,
        "by": by is not BY,
        "global_strength": global_strength is not STRENGTHS,
        "phenotypes": chosen is not None,
    }
    name = score if isinstance(score, str) else getattr(score, "__name__", "score")
    check_options(
        plan,
        [option for option, is_given in given.items() if is_given],
        score=name,
        sampled=score != "r2",
        has_gradients=has_gradients(model),
    )
    with threadpool_limits(limits=1, user_api="blas"), progress("Attributing") as advance:
        if score == "r2":
            return attribute_r2(model, cohort, plan, advance)
        return attribute_sampled(model, cohort, plan, score, n_samples, advance)


def _chosen(asked: Iterable[Any], known: Iterable[Any], what: str) -> tuple[Any, ...]:
    if not isinstance(asked, Iterable):
        raise ConnectomeError(f"{what}: expected a name or several, got {asked!r}")
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    known = tuple(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConnectomeError(f"{what}: {unknown[0]!r} is not among what the model or the method knows: {listed(known, 20)}")
    if not names:
        raise ConnectomeError(f"{what}: nothing was asked for; choose from {listed(known, 20)}")
    return tuple(name for name in known if name in names)


def _check_people(model: ConnectomeModel, cohort: Cohort) -> None:
    check_model(model)
    if not isinstance(cohort, Cohort):
        raise ConnectomeError(f"expected a Cohort of real people, got {type(cohort).__name__}; open a folder with Cohort.load")
    if cohort.kind == "expected":
        raise ConnectomeError(f"cohort {cohort.name!r} holds expected connectomes, which are no people; give observed ones")
    match = model.atlas.match(cohort.atlas)
    if not match.same:
        raise ConnectomeError(f"cohort {cohort.name!r} is not on the atlas of training cohort {model.cohort_name!r}: {match.describe()}")
    for field in ("signed", "measure"):
        ours, theirs = getattr(model, field), getattr(cohort, field)
        if ours != theirs:
            raise ConnectomeError(
                f"cohort {cohort.name!r} has {field}={theirs!r}, training cohort {model.cohort_name!r} has {field}={ours!r}"
            )

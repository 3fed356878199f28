"""Commands that fit and use a generator: ``fit`` and ``generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connectome_gnn.cli.cohorts import describe_cohort
from connectome_gnn.cli.options import CohortFolder, Force, Json, Out, Seed
from connectome_gnn.cli.tables import show_earned, show_ranking
from connectome_gnn.cli.terminal import print_json, say

__all__ = ["fit", "generate"]

HOLDOUT = 0.2
"""Share of people held out for ``--compare`` where ``--holdout`` does not say."""


def fit(
    cohort: CohortFolder,
    out: Out,
    seed: Seed = 0,
    holdout: Annotated[
        float | None, typer.Option(help="Share of people to hold out and score on, before fitting to everybody.", show_default=False)
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help=f"Rank its rivals beside it on held-out people (default {HOLDOUT}).")] = False,
    rivals: Annotated[
        str, typer.Option(help="With --compare: fast for the rivals that take seconds, all for those that take minutes too.")
    ] = "fast",
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="Differential privacy: the promise that no one person changes the model by more than this; costs fidelity. Ranges and "
            "levels of every phenotype must stand in participants.json.",
            show_default=False,
        ),
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Chance that --epsilon does not hold; default 1 / (10 people).", show_default=False)
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder for finished stages of the final fit: one that was killed and is started again goes on from there to the same "
            "model. It holds numbers derived from the people.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fit the generator to a cohort's people, everybody, and write the model folder."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    if holdout is not None and not 0 < holdout < 1:
        raise typer.BadParameter(f"--holdout is a share of people between 0 and 1, got {holdout:g}")
    if delta is not None and epsilon is None:
        raise typer.BadParameter("--delta belongs to --epsilon; give both, or neither")
    if rivals not in ("fast", "all"):
        raise typer.BadParameter(f"--rivals is fast or all, got {rivals}")
    if rivals == "all" and not compare:
        raise typer.BadParameter("--rivals belongs to --compare; give both, or neither")
    if epsilon is not None and (compare or holdout is not None):
        raise typer.BadParameter("--epsilon covers one fit to everybody, not a second one and exact held-out scores; leave them out")
    if epsilon is not None and checkpoint is not None:
        raise typer.BadParameter("--epsilon lets nothing of the fit be stored on its way; leave --checkpoint out")
    if checkpoint is not None and Path(out).resolve() in (Path(checkpoint).resolve(), *Path(checkpoint).resolve().parents):
        raise typer.BadParameter("--checkpoint holds numbers of the people, which do not belong into the model's folder; name another one")
    check_target(out, force)
    people = Cohort.load(cohort)

    from connectome_gnn.generation.comparison import GENERATOR, default_models
    from connectome_gnn.generation.comparison import compare as rank
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.privacy import DifferentialPrivacy
    from connectome_gnn.generation.rivals import ALL_RIVALS, RIVALS

    answer: dict[str, Any] = {"model": out, "cohort": people.name, "n_people": len(people), "seed": seed}
    if compare or holdout is not None:
        train, test = people.split(1 - (holdout or HOLDOUT), seed=seed)
        models = default_models(seed, rivals) if compare else {GENERATOR: ConnectomeGenerator(seed=seed)}
        ranking = rank(train, test, models, seed=seed, mean_only=True)
        answer["holdout"] = {
            "n_train": len(train),
            "n_test": len(test),
            "scores": ranking.evaluation.to_dict(),
            "ranking": ranking.to_records(),
            "unfitted": ranking.unfitted,
        }
        if not json:
            show_ranking(ranking, f"{len(test):,} held-out people of {people.name}, models fitted to {len(train):,}")
            if compare and rivals == "fast":
                slow = [name for name in ALL_RIVALS if name not in RIVALS]
                say(f"--rivals all ranks {', '.join(slow[:-1])} and {slow[-1]} too, which takes minutes")
    privacy = None if epsilon is None else DifferentialPrivacy(epsilon, delta)
    model = ConnectomeGenerator(seed=seed, privacy=privacy).fit(people, checkpoint=checkpoint)
    model.save(out, force=force)
    if model.account is not None:
        answer["privacy"] = {name: model.account[name] for name in ("epsilon", "delta", "neighbours")}
    if json:
        print_json({**answer, "earned": model.earned.reset_index().to_dict("records")})
    else:
        show_earned(model.earned, f"What each path earned, {len(people):,} people of {people.name}")
        say(f"{out}: model of {people.n_regions} regions, {people.measure}")
        if model.account is not None:
            say(f"differential privacy: epsilon {model.account['epsilon']:g}, delta {model.account['delta']:.1e}")


def generate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder that 'fit' wrote.", show_default=False)],
    participants: Annotated[
        Path, typer.Argument(metavar="PARTICIPANTS", help="Table of the people asked for (.tsv), or a cohort folder.", show_default=False)
    ],
    out: Out,
    mean: Annotated[bool, typer.Option("--mean", help="Each person's expected connectome, in place of samples.")] = False,
    samples: Annotated[int | None, typer.Option(min=1, help="Individual connectomes a person; default 1.", show_default=False)] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Generate connectomes for a table of people, in its order and under its ids, as a native cohort folder."""
    if mean and samples is not None:
        raise typer.BadParameter("--mean and --samples exclude each other")

    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.native import check_target
    from connectome_gnn.readers.profiles import read_profiles

    check_target(out, force)
    generator = ConnectomeGenerator.load(model)
    table = read_profiles(participants, generator.schema, generator.atlas)
    generated = generator.expected(table) if mean else generator.sample(table, n=samples or 1, seed=seed)
    generated.save(out, force)
    outside = int(generated.phenotypes["extrapolated"].sum())
    if json:
        print_json({**describe_cohort(generated, out), "n_extrapolated": outside, "seed": seed})
    else:
        what = "expected connectomes" if mean else f"people, {samples or 1} connectome{'s' if (samples or 1) > 1 else ''} each"
        say(f"{out}: {generated.ids.nunique():,} {what}, {generated.n_regions} regions, {generated.measure}")

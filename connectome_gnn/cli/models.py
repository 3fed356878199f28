"""Commands that fit, use and judge a generator: ``fit``, ``generate`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connectome_gnn.cli.cohorts import describe_cohort
from connectome_gnn.cli.options import CohortFolder, Force, Json, Out, Seed
from connectome_gnn.cli.tables import show_earned, show_ranking
from connectome_gnn.cli.terminal import print_json, say

__all__ = ["evaluate", "fit", "generate"]

HOLDOUT = 0.2
"""Share of people held out for ``--compare`` where ``--holdout`` does not say."""


def fit(
    cohort: CohortFolder,
    out: Out,
    seed: Seed = 0,
    holdout: Annotated[
        float | None, typer.Option(help="Share of people to hold out and score on, before fitting to everybody.", show_default=False)
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help=f"Rank every rival beside it on held-out people (default {HOLDOUT}).")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fit the generator to a cohort's people, everybody, and write the model folder."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    if holdout is not None and not 0 < holdout < 1:
        raise typer.BadParameter(f"--holdout is a share of people between 0 and 1, got {holdout:g}")
    check_target(out, force)
    people = Cohort.load(cohort)

    from connectome_gnn.generation.comparison import GENERATOR
    from connectome_gnn.generation.comparison import compare as rank
    from connectome_gnn.generation.generator import ConnectomeGenerator

    answer: dict[str, Any] = {"model": out, "cohort": people.name, "n_people": len(people), "seed": seed}
    if compare or holdout is not None:
        train, test = people.split(1 - (holdout or HOLDOUT), seed=seed)
        models = None if compare else {GENERATOR: ConnectomeGenerator(seed=seed)}
        ranking = rank(train, test, models, seed=seed)
        answer["holdout"] = {
            "n_train": len(train),
            "n_test": len(test),
            "scores": ranking.evaluation.to_dict(),
            "ranking": ranking.to_records(),
        }
        if not json:
            show_ranking(ranking, f"{len(test):,} held-out people of {people.name}, models fitted to {len(train):,}")
    model = ConnectomeGenerator(seed=seed).fit(people)
    model.save(out, force=force)
    if json:
        print_json({**answer, "earned": model.earned.reset_index().to_dict("records")})
    else:
        show_earned(model.earned, f"What each path earned, {len(people):,} people of {people.name}")
        say(f"{out}: model of {people.n_regions} regions, {people.measure}")


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


def evaluate(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED", help="Generated cohort folder.", show_default=False)],
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Cohort folder of the same, real, held-out people.", show_default=False)],
    reference: Annotated[Path, typer.Option(help="Cohort folder of the training people.", show_default=False)],
    rival: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="Another generator's cohort of these people; repeatable.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="F", help="Also write the scores as JSON; - for standard output.", show_default=False)
    ] = None,
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Score training people too, which flatters.")] = False,
    seed: Seed = 0,
) -> None:
    """Score generated connectomes against real people's, with intervals, nulls and rivals."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.evaluation import evaluate as score

    if json is not None and str(json) != "-":
        _check_file(json)
    folders = dict(_named_folder(text) for text in rival or [])
    if len(folders) < len(rival or []):
        raise typer.BadParameter("--rival: every rival needs a name of its own")
    cohorts = {name: Cohort.load(folder) for name, folder in folders.items()}
    scores = score(
        Cohort.load(generated), Cohort.load(real), reference=Cohort.load(reference), rivals=cohorts, seed=seed, allow_overlap=allow_overlap
    )
    if str(json) == "-":
        print_json(scores.to_dict())
        return
    if json is not None:
        scores.to_json(json)
    say(scores.summary())


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not (name.strip() and folder):
        raise typer.BadParameter(f"--rival takes NAME=DIR, as ridge=rivals/ridge, got {text!r}")
    return name.strip(), Path(folder)


def _check_file(path: Path) -> None:
    """Refuse, before any work, a file that could not be written."""
    if path.is_dir():
        raise typer.BadParameter(f"--json: {path} is a folder; name a file to write")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--json: no folder {path.absolute().parent} to write {path.name} into")

"""Commands that fit and use a generator: ``fit``, ``finetune`` and ``generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.cohorts import describe_cohort
from connectome_gnn.cli.options import CohortFolder, Force, Json, Out, Seed
from connectome_gnn.cli.tables import show_earned, show_ranking
from connectome_gnn.cli.terminal import print_json, say
from connectome_gnn.columns import listed

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["finetune", "fit", "generate"]

HOLDOUT = 0.2
"""Share of people held out for ``--compare`` where ``--holdout`` does not say."""


ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder that 'fit' or 'finetune' wrote.", show_default=False)]
Holdout = Annotated[
    float | None, typer.Option(help="Share of people to hold out and score on, before fitting to everybody.", show_default=False)
]
Compare = Annotated[bool, typer.Option("--compare", help=f"Rank its rivals beside it on held-out people (default {HOLDOUT}).")]
Rivals = Annotated[str, typer.Option(help="With --compare: fast for the rivals that take seconds, all for those that take minutes too.")]
CheckpointFolder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Folder for finished stages of the final fit: one that was killed and is started again goes on from there to the same "
        "model. It holds numbers derived from the people.",
        show_default=False,
    ),
]


def fit(
    cohort: CohortFolder,
    out: Out,
    seed: Seed = 0,
    holdout: Holdout = None,
    compare: Compare = False,
    rivals: Rivals = "fast",
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
    nuisance: Annotated[
        str,
        typer.Option(
            help="Phenotypes that shape the fit and that 'generate' neither asks for nor varies, as 'site,motion'.", show_default=False
        ),
    ] = "",
    checkpoint: CheckpointFolder = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fit the generator to a cohort's people, everybody, and write the model folder, with a card that says what it is."""
    from connectome_gnn.cohort import Cohort

    _check_options(out, holdout, compare, rivals, checkpoint)
    if delta is not None and epsilon is None:
        raise typer.BadParameter("--delta belongs to --epsilon; give both, or neither")
    if epsilon is not None and (compare or holdout is not None):
        raise typer.BadParameter("--epsilon covers one fit to everybody, not a second one and exact held-out scores; leave them out")
    if epsilon is not None and checkpoint is not None:
        raise typer.BadParameter("--epsilon lets nothing of the fit be stored on its way; leave --checkpoint out")
    _check_target(out, force)
    people = Cohort.load(cohort)

    from connectome_gnn.generation.comparison import GENERATOR, default_models
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.nuisance import check_present
    from connectome_gnn.generation.privacy import DifferentialPrivacy

    named = [name.strip() for name in nuisance.split(",") if name.strip()]
    check_present(named, people)

    answer: dict[str, Any] = {"model": out, "cohort": people.name, "n_people": len(people), "seed": seed}
    held_out = None
    if compare or holdout is not None:
        models = default_models(seed, rivals) if compare else {GENERATOR: ConnectomeGenerator(seed=seed)}
        answer["holdout"], held_out = _held_out(people, models, holdout or HOLDOUT, seed, rivals if compare else "all", json)
    privacy = None if epsilon is None else DifferentialPrivacy(epsilon, delta)
    model = ConnectomeGenerator(seed=seed, privacy=privacy, nuisance=named).fit(people, checkpoint=checkpoint)
    model.held_out = held_out
    model.save(out, force=force)
    if model.account is not None:
        answer["privacy"] = {name: model.account[name] for name in ("epsilon", "delta", "neighbours")}
    if json:
        print_json({**answer, "card": _card(out), "earned": model.earned.reset_index().to_dict("records")})
    else:
        show_earned(model.earned, f"What each path earned, {len(people):,} people of {people.name}")
        _say_saved(out, people)
        if model.account is not None:
            say(f"differential privacy: epsilon {model.account['epsilon']:g}, delta {model.account['delta']:.1e}")


def finetune(
    model: ModelFolder,
    cohort: CohortFolder,
    out: Out,
    seed: Seed = 0,
    holdout: Holdout = None,
    compare: Compare = False,
    rivals: Rivals = "fast",
    checkpoint: CheckpointFolder = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Start from a model of a big cohort for a small one of the same atlas, say whether it helped, and write the new model folder."""
    from connectome_gnn.cohort import Cohort

    _check_options(out, holdout, compare, rivals, checkpoint)
    if Path(out).resolve() == Path(model).resolve():
        raise typer.BadParameter("--out names the folder of MODEL, which stays as it is; name another one")
    _check_target(out, force)

    from connectome_gnn.generation.comparison import GENERATOR, default_models
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.transfer import FINE_TUNED, FROM_SCRATCH, FineTuned

    source = ConnectomeGenerator.load(model)
    people = Cohort.load(cohort)
    answer: dict[str, Any] = {"model": out, "source": model, "cohort": people.name, "n_people": len(people), "seed": seed}
    held_out = None
    if compare or holdout is not None:
        others = default_models(seed, rivals) if compare else {GENERATOR: ConnectomeGenerator(seed=seed)}
        models = {FINE_TUNED: FineTuned(source, seed), FROM_SCRATCH: others.pop(GENERATOR), **others}
        answer["holdout"], held_out = _held_out(people, models, holdout or HOLDOUT, seed, rivals if compare else "all", json)
    tuned = source.finetune(people, seed=seed, checkpoint=checkpoint)
    tuned.held_out = held_out
    tuned.save(out, force=force)
    transfer = tuned.transfer
    if transfer is None:
        raise RuntimeError("a fine-tuned model says what it comes from")
    if json:
        moved = {name: list(getattr(transfer, name)) for name in ("shared", "absent", "added")}
        said = {"helped": transfer.helped, "comparison": transfer.comparison.reset_index().to_dict("records"), "phenotypes": moved}
        print_json({**answer, "card": _card(out), **said, "earned": tuned.earned.reset_index().to_dict("records")})
        return
    show_earned(tuned.earned, f"What each path earned, {len(people):,} people of {people.name}")
    for names, where in ((transfer.absent, "to the model alone"), (transfer.added, "to the cohort alone")):
        if names:
            say(f"phenotypes known {where}: {listed(names)}")
    say(transfer.helped)
    _say_saved(out, people)


def _check_options(out: Path, holdout: float | None, compare: bool, rivals: str, checkpoint: Path | None) -> None:
    """Refuse options that make no sense together."""
    if holdout is not None and not 0 < holdout < 1:
        raise typer.BadParameter(f"--holdout is a share of people between 0 and 1, got {holdout:g}")
    if rivals not in ("fast", "all"):
        raise typer.BadParameter(f"--rivals is fast or all, got {rivals}")
    if rivals == "all" and not compare:
        raise typer.BadParameter("--rivals belongs to --compare; give both, or neither")
    if checkpoint is not None and Path(out).resolve() in (Path(checkpoint).resolve(), *Path(checkpoint).resolve().parents):
        raise typer.BadParameter("--checkpoint holds numbers of the people, which do not belong into the model's folder; name another one")


def _check_target(out: Path, force: bool) -> None:
    """Refuse an output folder that the model could not be written to, before the work is done."""
    from connectome_gnn.native import check_target

    check_target(out, force)  # at once, before anything heavy is loaded
    if out.is_dir():
        from connectome_gnn.generation.store import check_model_target

        check_model_target(out, force)


def _held_out(
    people: Cohort, models: dict[str, Any], share: float, seed: int, rivals: str, json: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit models to a part of the people and score them on the others: the answer for a program, and for the model's card."""
    from connectome_gnn.generation.card import held_out_scores
    from connectome_gnn.generation.comparison import compare as rank
    from connectome_gnn.generation.rivals import ALL_RIVALS, RIVALS

    train, test = people.split(1 - share, seed=seed)
    ranking = rank(train, test, models, seed=seed, mean_only=True)
    if not json:
        show_ranking(ranking, f"{len(test):,} held-out people of {people.name}, models fitted to {len(train):,}")
        if rivals == "fast":
            slow = [name for name in ALL_RIVALS if name not in RIVALS]
            say(f"--rivals all ranks {', '.join(slow[:-1])} and {slow[-1]} too, which takes minutes")
    answer = {
        "n_train": len(train),
        "n_test": len(test),
        "scores": ranking.evaluation.to_dict(),
        "ranking": ranking.to_records(),
        "unfitted": ranking.unfitted,
    }
    return answer, held_out_scores(ranking, len(train), len(test))


def _say_saved(out: Path, people: Cohort) -> None:
    say(f"{out}: model of {people.n_regions} regions, {people.measure}")
    say(f"{_card(out)}: whom it was fitted to, its scores, what it must not be used for")


def _card(out: Path) -> Path:
    from connectome_gnn.generation.store import CARD

    return out / CARD


def generate(
    model: ModelFolder,
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
    """Generate connectomes for a table of people, in its order and under its ids, as a native cohort folder.

    Samples are whole numbers where all weights of the people that the model was fitted to are.
    """
    if mean and samples is not None:
        raise typer.BadParameter("--mean and --samples exclude each other")

    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.native import check_target
    from connectome_gnn.readers.profiles import read_profiles

    if out.resolve() == model.resolve():
        raise typer.BadParameter("--out names the folder of MODEL, which is no cohort's; name another one")
    if participants.resolve() in (out.resolve(), out.resolve() / "participants.tsv"):
        raise typer.BadParameter("--out names the cohort folder of PARTICIPANTS, which it would replace; name another one")
    check_target(out, force)
    generator = ConnectomeGenerator.load(model)
    table = read_profiles(participants, generator.asked, generator.atlas)
    generated = generator.expected(table) if mean else generator.sample(table, n=samples or 1, seed=seed)
    generated.save(out, force)
    outside = int(generated.phenotypes["extrapolated"].sum())
    if json:
        print_json({**describe_cohort(generated, out), "n_extrapolated": outside, "seed": seed})
    else:
        what = "expected connectomes" if mean else f"people, {samples or 1} connectome{'s' if (samples or 1) > 1 else ''} each"
        say(f"{out}: {generated.ids.nunique():,} {what}, {generated.n_regions} regions, {generated.measure}")

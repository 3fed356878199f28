"""The command ``augment``: whether generated people help to predict phenotypes of real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.options import CohortFolder, Json, Seed
from connectome_gnn.cli.terminal import print_json, say

if TYPE_CHECKING:
    from connectome_gnn.evaluation import AugmentationStudy

__all__ = ["augment"]

OURS = "connectome_gnn"
"""Name of the package's own generator beside those of its rivals."""


def augment(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option("--out", help="Table to write (.tsv): a row a number, for figures.", show_default=False)],
    targets: Annotated[
        list[str] | None, typer.Option(help="Phenotypes to predict, by commas or repeated; default age,sex.", show_default=False)
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            help="Numbers of real people to learn from, by commas or repeated; default 8,16,32,64,128,256,512.", show_default=False
        ),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            help="Of real, real+generated, generated, pairs averaged, mixup, by commas or repeated; default all.", show_default=False
        ),
    ] = None,
    learners: Annotated[
        list[str] | None,
        typer.Option(help="Of lasso, ridge, l1 logistic, l2 logistic, by commas or repeated; default all.", show_default=False),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, each with held-out people of its own.")] = 20,
    generated: Annotated[int | None, typer.Option(min=1, help="Made-up people beside n real ones; default n.", show_default=False)] = None,
    holdout: Annotated[float, typer.Option(help="Share of people held out in each repeat.")] = 0.3,
    generator: Annotated[str, typer.Option(help=f"{OURS}, or a rival's name, as 'ridge' or 'component ridge'.")] = OURS,
    seed: Seed = 0,
    jobs: Annotated[int, typer.Option(help="Processes; -1 for all cores. The numbers do not depend on it.")] = 1,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep what is finished in this file, and go on from it when the command is given again.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the table if it exists.")] = False,
    json: Json = False,
) -> None:
    """Predict phenotypes of held-out people from few real ones, with and without generated people beside them."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_file

    check_file(out, force)
    given: dict[str, Any] = {"targets": _names(targets), "sizes": [_number(text) for text in _names(sizes)], "arms": _names(arms)}
    people = Cohort.load(cohort)

    from connectome_gnn.evaluation import augmentation_study

    study = augmentation_study(
        _maker(generator),
        people,
        repeats=repeats,
        n_generated=generated,
        learners=_names(learners) or None,
        holdout=holdout,
        seed=seed,
        n_jobs=jobs,
        resume=resume,
        **{name: values for name, values in given.items() if values},
    )
    _write(study, out)
    if json:
        print_json({"out": out, "cohort": people.name, "generator": generator, "seed": seed, **study.to_dict()})
    else:
        say(study.summary())
        say(f"* the 95 % interval of the difference from 'real' leaves out 0; {out}: {len(study.table):,} numbers of {repeats} repeats")


def _names(texts: list[str] | None) -> list[str]:
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"--sizes are whole numbers by commas, as 32,64,128, got {text!r}")
    return int(text)


def _maker(name: str) -> Any:
    """What makes the generator of this name, from a seed."""
    from connectome_gnn.errors import ConnectomeError
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.rivals import RIVALS

    makers = {OURS: ConnectomeGenerator, **RIVALS}
    if name not in makers:
        raise ConnectomeError(f"unknown generator {name!r}; the generators are {', '.join(map(repr, makers))}")
    return makers[name]


def _write(study: AugmentationStudy, out: Path) -> None:
    """Write the table; it appears complete or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        study.table.to_csv(staged, sep="\t", na_rep="n/a", index=False, lineterminator="\n")
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)

"""Command that attacks generated connectomes: ``privacy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectome_gnn.cli.options import Seed
from connectome_gnn.cli.terminal import print_json, say

__all__ = ["privacy"]


def privacy(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED", help="Generated cohort folder.", show_default=False)],
    train: Annotated[Path, typer.Option(help="Cohort folder of the people the generator was trained on.", show_default=False)],
    holdout: Annotated[Path, typer.Option(help="Cohort folder of people it has never seen.", show_default=False)],
    json: Annotated[
        Path | None, typer.Option(metavar="F", help="Also write the scores as JSON; - for standard output.", show_default=False)
    ] = None,
    seed: Seed = 0,
) -> None:
    """Attack generated connectomes and report what they give away about the training people."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.evaluation import privacy_report

    if json is not None and str(json) != "-":
        _check_file(json)
    report = privacy_report(Cohort.load(generated), Cohort.load(train), Cohort.load(holdout), seed=seed)
    if str(json) == "-":
        print_json(report.to_dict())
        return
    if json is not None:
        report.to_json(json)
    say(report.summary())


def _check_file(path: Path) -> None:
    """Refuse, before any work, a file that could not be written."""
    if path.is_dir():
        raise typer.BadParameter(f"--json: {path} is a folder; name a file to write")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--json: no folder {path.absolute().parent} to write {path.name} into")

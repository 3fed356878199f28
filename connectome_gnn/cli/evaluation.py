"""The command ``evaluate``: generated connectomes against real people's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectome_gnn.cli.options import Seed
from connectome_gnn.cli.terminal import print_json, say

__all__ = ["evaluate"]


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
    parts: Annotated[
        str, typer.Option(metavar="P,P,...", help="Parts to score, by commas: fidelity, distribution, privacy, usefulness; or all.")
    ] = "fidelity,distribution",
    measures: Annotated[
        str | None,
        typer.Option(
            metavar="M,M,...", help="Topology measures to score, by commas; 'none' for none. Default: a panel.", show_default=False
        ),
    ] = None,
    ceiling: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Cohort folder of a second scan of the real people, to say what share of it is reached.", show_default=False
        ),
    ] = None,
    n_jobs: Annotated[int, typer.Option("--n-jobs", help="Threads; -1 for all cores.")] = -1,
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
        Cohort.load(generated),
        Cohort.load(real),
        Cohort.load(reference),
        rivals=cohorts,
        parts=_listed(parts),
        measures=None if measures is None else () if measures == "none" else _listed(measures),
        ceiling=None if ceiling is None else Cohort.load(ceiling),
        seed=seed,
        n_jobs=n_jobs,
        allow_overlap=allow_overlap,
    )
    if str(json) == "-":
        print_json(scores.to_dict())
        return
    if json is not None:
        scores.to_json(json)
    say(scores.summary())


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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

"""The command that takes site effects out of a cohort: ``harmonise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectome_gnn.cli.options import CohortFolder, Force, Json
from connectome_gnn.cli.terminal import print_json, say, show_table

__all__ = ["harmonise"]


def harmonise(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Native cohort folder to write.", show_default=False)],
    batch: Annotated[str, typer.Option(help="Column that names a person's site or scanner.")] = "site",
    preserve: Annotated[str, typer.Option(help="Columns whose effects stay in, with commas between; '' for none.")] = "age,sex",
    fit_on: Annotated[
        Path | None,
        typer.Option(help="Cohort folder of training people to learn from; default COHORT itself, everybody.", show_default=False),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Site that stays as it is; default: everybody is brought to the average.", show_default=False)
    ] = None,
    covbat: Annotated[bool, typer.Option("--covbat", help="Harmonise how edges vary together too (CovBat).")] = False,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder to keep what was learned in; one that exists is applied to COHORT as it is.", show_default=False),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Take site effects out of a cohort's edges by ComBat, and write the harmonised cohort: absent edges stay absent."""
    from connectome_gnn.native import check_target

    check_target(out, force)

    from connectome_gnn.cohort import Cohort
    from connectome_gnn.harmonisation import ComBat, load_harmoniser

    people = Cohort.load(cohort)
    if model is not None and model.is_dir() and any(model.iterdir()):
        if fit_on is not None:
            raise typer.BadParameter(f"--model {model} was learned already; leave --fit-on out to apply it, or name another folder")
        harmoniser = load_harmoniser(model)
    else:
        kept = [name.strip() for name in preserve.split(",") if name.strip()]
        harmoniser = ComBat(batch, kept, reference=reference, covbat=covbat)
        harmoniser.fit(people if fit_on is None else Cohort.load(fit_on))
        if model is not None:
            harmoniser.save(model)
    harmonised = harmoniser.transform(people)
    harmonised.save(out, force)
    record = harmoniser.record()
    if json:
        print_json({"path": out, "n_people": len(harmonised), **record})
        return
    if isinstance(harmoniser, ComBat):
        report = harmoniser.report()
        rows = [
            [str(site), *(f"{value:,.0f}" for value in row[:4]), *(f"{value:.2f}" for value in row[4:])]
            for site, *row in report.itertuples()
        ]
        show_table([harmoniser.batch, *(str(name).replace("_", " ") for name in report)], rows, f"What {record['fitted_on']}'s sites do")
    say(f"{out}: {len(harmonised):,} people, {record['step']} learned from {record['fitted_people']:,} of {record['fitted_on']}")
    if record["edges_left"]:
        say(f"{record['edges_left']:,} edges that too few people or a single site have stay as they are")

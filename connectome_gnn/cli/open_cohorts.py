"""The command that downloads an open cohort: ``fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectome_gnn.cli.options import Force, Json
from connectome_gnn.cli.terminal import print_json, say

__all__ = ["fetch"]


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Open cohort: ucl_parkinson, lemon, corr_kki or abide.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Native cohort folder to write.", show_default=False)],
    person: Annotated[
        list[str] | None, typer.Option("--person", help="A participant_id to download (several allowed); default everybody.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for what is downloaded; default the user's cache.", show_default=False)] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Download an open cohort from its public repository, check it, and write it as a native cohort folder."""
    from connectome_gnn.cli.cohorts import describe_cohort
    from connectome_gnn.datasets import fetch as fetch_cohort

    cohort = fetch_cohort(name, out, people=person or None, cache=cache, force=force)
    if json:
        print_json({**describe_cohort(cohort, out), "licence": cohort.info.get("licence"), "cite": cohort.info.get("cite")})
    else:
        regions = f"{cohort.n_regions} regions, {cohort.phenotypes.shape[1]} phenotypes, {cohort.measure}"
        say(f"{out}: {len(cohort):,} people, {regions}")

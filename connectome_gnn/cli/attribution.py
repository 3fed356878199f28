"""The command ``attribute``: which phenotype matters for connectomes, and where."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connectome_gnn.cli.options import CohortFolder, Force, Json, Out, Seed
from connectome_gnn.cli.terminal import print_json, say

if TYPE_CHECKING:
    from connectome_gnn.attribution.result import Attribution

__all__ = ["attribute"]

COLUMNS = ["value", "low", "high", "p", "q"]


def attribute(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, as fit writes it.", show_default=False)],
    cohort: CohortFolder,
    out: Out,
    score: Annotated[str, typer.Option(help="r2, capture, or the name of a topology measure.")] = "r2",
    n_bootstrap: Annotated[int, typer.Option("--n-bootstrap", min=0, help="Resamples of people, for intervals.")] = 1000,
    n_permutations: Annotated[int, typer.Option("--n-permutations", min=0, help="Permutations of people, for p.")] = 1000,
    jobs: Annotated[int, typer.Option(help="Threads; -1 for all cores.")] = -1,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Attribute what a model explains in people, and what it moves, to their phenotypes, over the brain.

    COHORT should hold people whom the model was not fitted to. Writes groups.tsv, phenotypes.tsv, regions.tsv (of groups),
    phenotype_regions.tsv, networks.tsv, attribution.json, and figures where matplotlib is installed (extra viz).
    """
    import pandas as pd

    from connectome_gnn.attribution import attribute as attribute_cohort
    from connectome_gnn.attribution.explained import STRENGTHS
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.native import check_target, new_folder

    if jobs == 0 or jobs < -1:
        raise typer.BadParameter(f"--jobs is a number of threads, or -1 for all cores, got {jobs}")
    check_target(out, force)
    why = attribute_cohort(
        ConnectomeGenerator.load(model),
        Cohort.load(cohort),
        score=score,
        missing=("reference", "conditional") if score == "r2" else ("reference",),
        n_bootstrap=n_bootstrap,
        n_permutations=n_permutations,
        seed=seed,
        n_jobs=jobs,
    )
    tables = {
        "groups": why.groups[["group", "method", "missing", *COLUMNS]],
        "phenotypes": why.phenotypes[["phenotype", "group", "method", "missing", *COLUMNS, "raw", "raw_low", "raw_high"]],
        "regions": why.regions.reset_index(),
        "networks": why.networks.reset_index(),
    }
    if why.phenotype_maps is not None:
        maps = [why.phenotype_maps.table(strength).reset_index() for strength in STRENGTHS]
        tables["phenotype_regions"] = pd.concat(maps).rename(columns={"of": "phenotype"})
    with new_folder(out, force) as folder:
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.tsv", sep="\t", na_rep="n/a", index=False, lineterminator="\n")
        why.to_json(folder / "attribution.json")
        figures = _figures(why, folder)
    if json:
        print_json(why.to_dict())
    else:
        say(why.summary())
        say(f"written to {out}: {', '.join([*(f'{name}.tsv' for name in tables), 'attribution.json', *figures])}")
        if not figures:
            say("figures left out: matplotlib is not installed (pip install 'connectome-gnn[viz]')")


def _figures(why: Attribution, folder: Path) -> list[str]:
    """Write figures; names of their files, none without matplotlib."""
    if find_spec("matplotlib") is None:
        return []
    from connectome_gnn.attribution.figures import write_figures

    return write_figures(why, folder)

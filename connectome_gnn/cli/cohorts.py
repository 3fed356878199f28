"""Commands that make cohorts: ``simulate``, ``convert``, ``export``, ``split`` and ``merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.options import CohortFolder, Force, Json, Seed
from connectome_gnn.cli.terminal import print_json, say

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["NewCohort", "convert", "describe_cohort", "export", "merge", "say_cohort", "simulate", "split"]

SHOWN = 3
NewCohort = Annotated[Path, typer.Argument(metavar="OUT", help="Native cohort folder to write.", show_default=False)]
Name = Annotated[str | None, typer.Option(help="Name of the cohort.", show_default=False)]


def simulate(
    out: NewCohort,
    subjects: Annotated[int, typer.Option(help="Number of people.")] = 500,
    regions: Annotated[int, typer.Option(help="Number of regions.")] = 84,
    phenotypes: Annotated[int, typer.Option(help="Number of phenotypes, age and sex among them.")] = 40,
    seed: Seed = 0,
    sites: Annotated[int, typer.Option(help="Number of imaging sites; from 2 on a phenotype 'site' shifts edges.")] = 1,
    explained: Annotated[float, typer.Option(help="R2 beyond the mean that phenotypes explain: the ceiling.")] = 0.06,
    density: Annotated[
        float | None, typer.Option(help="Share of edges present; default .6, for correlations 1.", show_default=False)
    ] = None,
    missing: Annotated[float, typer.Option(help="Share of missing phenotypes.")] = 0.05,
    measure: Annotated[str, typer.Option(help="streamline_count, sift2_fbc or pearson.")] = "streamline_count",
    people_seed: Annotated[int | None, typer.Option(min=0, help="Other people of the world that --seed makes.", show_default=False)] = None,
    name: Name = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate people like UK Biobank's, with their connectomes, and write them as a native cohort folder."""
    from connectome_gnn.native import check_target
    from connectome_gnn.simulate import simulate_cohort

    check_target(out, force)
    cohort = simulate_cohort(
        subjects,
        regions,
        phenotypes,
        seed=seed,
        people_seed=people_seed,
        explained=explained,
        density=density,
        missing=missing,
        n_sites=sites,
        measure=measure,
        name=name or out.resolve().name,
    )
    cohort.save(out, force)
    ceiling = cohort.truth.ceiling
    if json:
        print_json({**describe_cohort(cohort, out), "ceiling": ceiling})
    else:
        say(f"{_sentence(cohort, out)}; phenotypes explain {100 * ceiling:.1f} % of what differs between people")


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder, glob or file of connectomes, or a native folder.", show_default=False)
    ],
    out: NewCohort,
    format: Annotated[
        str | None,
        typer.Option(
            help="mrtrix, ukb, qsirecon, cmp, bids, tvb, nilearn, graphml, pyg, edges, matrices or native; default: by what SOURCE holds.",
            show_default=False,
        ),
    ] = None,
    participants: Annotated[
        Path | None, typer.Option(help="Participants table, or UK Biobank's; default participants.tsv in SOURCE.", show_default=False)
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(
            help="Table of regions, or mrtrix_fs_default or ukb_aparc_tian_s1; default atlas.tsv in SOURCE, or the files' own names.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="What a weight is: streamline_count, mean_fa, pearson, ...", show_default=False)
    ] = None,
    signed: Annotated[
        bool | None,
        typer.Option("--signed/--unsigned", help="Correlations, or non-negative weights; default by measure.", show_default=False),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="A person's file inside SOURCE, as '{participant_id}/dwi/*_connectome.csv'.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Which variable, edge attribute or archive member, where there are several.", show_default=False)
    ] = None,
    first_index: Annotated[
        int | None, typer.Option(min=0, max=1, help="Where edges count regions from: 0 or 1.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option(help="Refuse people on one side only and bad connectomes, or leave them out with a list.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes to read with; default one a core.", show_default=False)] = None,
    name: Name = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert any tool's connectomes with a participants table and an atlas into a native cohort folder."""
    from connectome_gnn.readers import convert_cohort

    cohort = convert_cohort(
        source,
        out,
        format,
        participants=participants,
        atlas=atlas,
        measure=measure,
        signed=signed,
        name=name,
        pattern=pattern,
        key=key,
        first_index=first_index,
        strict=strict,
        workers=workers,
        force=force,
    )
    read_as: dict[str, Any] = {key: cohort.info[key] for key in ("read_from", "because") if key in cohort.info}
    report = cohort.quality().head(len(cohort))  # those left out come after, and are listed by a warning
    flagged = report[report["flagged"]]
    if json:
        noted = {"notes": cohort.info.get("notes", []), "left_out": cohort.info.get("left_out", {})}
        print_json({**describe_cohort(cohort, out), **read_as, **noted, "flagged": flagged["reasons"].to_dict()})
    else:
        if read_as:
            say(f"read as {read_as['read_from']}: {read_as['because']}")
        say(_sentence(cohort, out))
        if len(flagged):
            shown = "; ".join(f"{person}: {reasons}" for person, reasons in flagged["reasons"].head(SHOWN).items())
            say(f"{len(flagged)} of {len(cohort)} people stand out (cohort.quality() lists them all): {shown}")


def export(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.", show_default=False)],
    format: Annotated[
        str, typer.Option(help="csv, bids, graphml, nilearn, nilearn_vectors, pyg (PyTorch Geometric) or native.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a cohort as another tool's files; convert reads them back, nothing lost."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.writers import write_cohort

    loaded = Cohort.load(cohort)
    write_cohort(loaded, out, format, force)
    if json:
        print_json({**describe_cohort(loaded, out), "format": format})
    else:
        say(f"{_sentence(loaded, out)}, written as {format}")


def split(
    cohort: CohortFolder,
    train: Annotated[Path, typer.Option(help="Folder to write the people to fit to.", show_default=False)],
    test: Annotated[Path, typer.Option(help="Folder to write the people held out.", show_default=False)],
    fraction: Annotated[float, typer.Option(help="Share of people in TRAIN.")] = 0.8,
    stratify: Annotated[str | None, typer.Option(help="A phenotype that both should share alike.", show_default=False)] = None,
    groups: Annotated[
        str | None, typer.Option(help="Column of people who belong together; default family_id where there is one.", show_default=False)
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Split a cohort's people at random into those to fit to and those held out; nobody, and no family, is in both."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.errors import ConnectomeError
    from connectome_gnn.native import check_target

    if train.resolve() == test.resolve():
        raise ConnectomeError(f"--train and --test both name {train}; name two folders")
    for out in (train, test):
        check_target(out, force)
    parts = dict(zip((train, test), Cohort.load(cohort).split(fraction, seed=seed, stratify=stratify, groups=groups), strict=True))
    for out, part in parts.items():
        part.save(out, force)
    if json:
        print_json({name: describe_cohort(part, out) for name, (out, part) in zip(("train", "test"), parts.items(), strict=True)})
    else:
        for out, part in parts.items():
            say(_sentence(part, out))


def merge(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="Native cohort folder, whose atlas is kept.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another one, of other people.", show_default=False)],
    out: NewCohort,
    column: Annotated[str | None, typer.Option(help="New column that says which cohort a person comes from.", show_default=False)] = None,
    name: Name = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put the people of two cohorts with the same regions, measure and scale together."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    check_target(out, force)
    merged = Cohort.load(first).merge(Cohort.load(second), column)
    merged.name = name or merged.name
    say_cohort(merged, out, force, json)


def say_cohort(cohort: Cohort, out: Path, force: bool, json: bool) -> None:
    """Write a native cohort folder and say what it holds."""
    cohort.save(out, force)
    if json:
        print_json({**describe_cohort(cohort, out), "processing": cohort.info.get("processing", [])})
    else:
        say(_sentence(cohort, out))


def describe_cohort(cohort: Cohort, out: Path) -> dict[str, Any]:
    """What a cohort folder holds, for a program."""
    from connectome_gnn.phenotypes import KEY_COLUMNS

    return {
        "out": out,
        "name": cohort.name,
        "kind": cohort.kind,
        "n_people": int(cohort.ids.nunique()),
        "n_rows": len(cohort),
        "n_regions": cohort.n_regions,
        "n_edges": cohort.n_edges,
        "measure": cohort.measure,
        "signed": cohort.signed,
        "phenotypes": [name for name in cohort.phenotypes if name not in KEY_COLUMNS],
    }


def _sentence(cohort: Cohort, out: Path) -> str:
    return f"{out}: {len(cohort):,} people, {cohort.n_regions} regions, {cohort.phenotypes.shape[1]} phenotypes, {cohort.measure}"

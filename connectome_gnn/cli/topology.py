"""The command ``topology``: graph measures of a cohort, and how they compare with another cohort's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.options import CohortFolder, Json, Seed
from connectome_gnn.cli.tables import number
from connectome_gnn.cli.terminal import Cell, print_json, say, show_table

if TYPE_CHECKING:
    import pandas as pd

    from connectome_gnn.cohort import Cohort
    from connectome_gnn.topology import TopologyTable

__all__ = ["topology"]


def _list(wanted: bool) -> None:
    """Show every measure and leave."""
    if not wanted:
        return
    from connectome_gnn.topology import list_measures

    known = list_measures()
    columns = ["level", "weights", "signed", "default", "needs", "cost"]
    rows: list[list[Cell]] = [
        [str(name), *(("yes" if value else "") if isinstance(value, bool) else str(value) for value in row)]
        for name, *row in known[columns].itertuples(name=None)
    ]
    caption = "R regions, k neighbours; needs beside weights: given, taken from the atlas or found; citations: cg.topology.list_measures()"
    show_table(["measure", *columns], rows, f"{len(known)} measures", caption)
    raise typer.Exit


def topology(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option("--out", help="Table to write (.tsv): a row a person, a column a value.", show_default=False)],
    measures: Annotated[
        list[str] | None,
        typer.Option(help="Names, by commas or repeated; default the standard panel; 'all' for every one.", show_default=False),
    ] = None,
    list_measures: Annotated[bool, typer.Option("--list", help="List the measures, and leave.", callback=_list, is_eager=True)] = False,
    compare: Annotated[
        Path | None, typer.Option(help="Cohort folder to compare distributions with, as of real people.", show_default=False)
    ] = None,
    networks: Annotated[
        bool, typer.Option("--networks", help="Modules are the atlas's networks, not communities found in each person.")
    ] = False,
    seed: Seed = 0,
    jobs: Annotated[int, typer.Option(help="Threads over people; -1 for all cores.")] = -1,
    force: Annotated[bool, typer.Option("--force", help="Replace the table if it exists.")] = False,
    json: Json = False,
) -> None:
    """Measure everybody's network topology, and write it as a table."""
    import warnings

    from connectome_gnn.errors import ConnectomeWarning
    from connectome_gnn.native import check_file
    from connectome_gnn.topology import measure

    check_file(out, force)
    people = _load(cohort)
    other = _load(compare, people) if compare else None
    wanted = _wanted(measures, people)
    nowhere = _outside_networks(people) if networks else 0

    def measured(one: Cohort) -> TopologyTable:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConnectomeWarning)  # the table's notes say the same
            return measure(one, wanted, partition=one.atlas.network if networks else None, seed=seed, n_jobs=jobs)

    table = measured(people)
    notes = list(table.notes)
    if nowhere:
        notes.append(f"regions that the atlas puts in no network ({nowhere}) count as one more module")
    answer: dict[str, Any] = {
        "out": out,
        "cohort": people.name,
        "n_people": len(people),
        "n_regions": people.n_regions,
        "measures": {name: {"level": table.levels[name], "mean": _mean(table, name)} for name in table},
        "notes": notes,
    }
    distances = None
    if other is not None:
        from connectome_gnn.topology.comparison import compare as distances_between

        distances = distances_between(table, measured(other), seed=seed)
        answer["compared_with"] = other.name
        answer["distances"] = distances.to_dict("index")
    _write(table, out)
    if json:
        print_json(answer)
        return
    if distances is None:
        rows: list[list[Cell]] = [[name, table.levels[name], f"{_mean(table, name):.4g}"] for name in table]
        show_table(["measure", "level", "mean"], rows, f"{len(people):,} people of {people.name}, {people.n_regions} regions")
    elif other is not None:
        _show_distances(distances, people, other)
    for note in notes:
        say(f"Note: {note}.")
    n_values = sum(table[name][0].size for name in table)
    say(f"{out}: {len(table):,} people, {n_values:,} {'value' if n_values == 1 else 'values'} each")


def _load(folder: Path, like: Cohort | None = None) -> Cohort:
    """A cohort; of the same regions as another one, where that is given."""
    import warnings

    from connectome_gnn.cohort import Cohort
    from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

    cohort = Cohort.load(folder)
    if cohort.kind == "expected":
        warnings.warn(
            f"{folder} holds expected connectomes, which are averages: their topology is not that of people; "
            "measure samples, and average the measures",
            ConnectomeWarning,
            stacklevel=2,
        )
    if like is not None:
        match = like.atlas.match(cohort.atlas)
        if not match.same:
            raise ConnectomeError(f"{folder} is of other regions than {like.name}: {match.describe()}; compare cohorts of one atlas")
    return cohort


def _wanted(measures: list[str] | None, people: Cohort) -> list[str] | None:
    """Names asked for; 'all' is every measure that these people's weights and atlas allow."""
    if not measures:
        return None
    names = [name.strip() for part in measures for name in part.split(",") if name.strip()]
    if names != ["all"]:
        return names
    from connectome_gnn.topology import list_measures

    known = list_measures()
    if people.signed:
        known = known[known["signed"]]
    if not people.atlas.has_coordinates:
        known = known[~known["needs"].str.contains("coordinates")]
    return list(known.index)


def _outside_networks(people: Cohort) -> int:
    """Regions without a network; refused if that is all of them."""
    from connectome_gnn.errors import ConnectomeError

    nowhere = sum(network == "n/a" for network in people.atlas.network)
    if nowhere == people.n_regions:
        raise ConnectomeError(f"the atlas of {people.name} names no networks (column network of atlas.tsv); leave out --networks")
    return nowhere


def _mean(table: TopologyTable, name: str) -> float:
    """Mean of what is defined, over people and regions."""
    import numpy as np

    values = table[name].astype(np.float64)
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else float("nan")


def _write(table: TopologyTable, out: Path) -> None:
    """Write the table; it appears complete or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        table.save(staged)
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)


def _show_distances(distances: pd.DataFrame, people: Cohort, other: Cohort) -> None:
    columns = ("ks", "ks_half", "ks_split_half", "energy", "energy_half", "energy_split_half")
    headings = ["measure", "level", *(f"{name}\n{size}" for name in ("KS", "energy") for size in ("all", "half", "split-half"))]
    rows: list[list[Cell]] = [
        [str(name), str(row["level"]), *(number(row[column], 3) for column in columns)] for name, row in distances.iterrows()
    ]
    caption = (
        f"half: {people.name} against a half of {other.name}; split-half: that half against the other one, what chance alone gives; "
        "energy in standard deviations"
    )
    show_table(headings, rows, f"{people.name}, {len(people):,} people, against {other.name}, {len(other):,}", caption)

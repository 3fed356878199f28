"""The command ``demo``: the whole path once, from a cohort to scored new people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.options import Force, Json, Seed
from connectome_gnn.cli.tables import number, show_earned, show_ranking, with_interval
from connectome_gnn.cli.terminal import Cell, print_json, say, show_table

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.evaluation import Evaluation

__all__ = ["demo"]

TRAIN = 0.8


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write everything into.")] = Path("demo"),
    subjects: Annotated[int, typer.Option(help="Number of simulated people.")] = 1000,
    regions: Annotated[int, typer.Option(help="Number of simulated regions.")] = 64,
    phenotypes: Annotated[int, typer.Option(help="Number of simulated phenotypes.")] = 40,
    seed: Seed = 0,
    cohort: Annotated[Path | None, typer.Option(help="A native cohort folder in place of simulated people.", show_default=False)] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate a cohort, fit the generator and every rival, generate held-out people anew, and score them all."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.evaluation import evaluate
    from connectome_gnn.generation.comparison import GENERATOR, compare
    from connectome_gnn.native import check_target, new_folder, write_json
    from connectome_gnn.simulate import simulate_cohort

    check_target(out, force)
    people = Cohort.load(cohort) if cohort else simulate_cohort(subjects, regions, phenotypes, seed=seed)
    train, test = people.split(TRAIN, seed=seed)
    if not json:
        say(f"Cohort {people.name}: {len(people):,} people, {people.n_regions} regions, {people.phenotypes.shape[1]} phenotypes.")
        say(f"Models are fitted to {len(train):,} people and scored on the other {len(test):,}.")
    ranking = compare(train, test, seed=seed)
    model = ranking.models[GENERATOR]
    samples = model.sample(test.phenotypes, n=1, seed=seed)
    of_samples = evaluate(samples, test, reference=train, seed=seed)
    scores: dict[str, Any] = {
        "cohort": people.name,
        "seed": seed,
        "n_train": len(train),
        "n_test": len(test),
        "ranking": ranking.to_records(),
        "expected": ranking.evaluation.to_dict(),
        "samples": of_samples.to_dict(),
    }
    with new_folder(out, force) as folder:
        for name, part in {"train": train, "test": test, "samples": samples, "expected": ranking.expected[GENERATOR]}.items():
            part.save(folder / name)
        for name, part in ranking.expected.items():
            if name != GENERATOR:
                part.save(folder / "rivals" / name.replace(" ", "_"))
        model.save(folder / "model")
        write_json(folder / "scores.json", scores)
    if json:
        print_json({"out": out, **scores})
        return
    show_earned(model.earned, "What each path of the generator earned")
    _show_samples(of_samples, samples, test)
    say(f"Everything is in {out}: train, test, model, samples, expected, rivals and scores.json. To score them again, or others:")
    say(f"connectome-gnn evaluate {out / 'expected'} {out / 'test'} --reference {out / 'train'} --rival ridge={out / 'rivals' / 'ridge'}")
    show_ranking(ranking, "Expected connectomes of the held-out people")


def _show_samples(scores: Evaluation, generated: Cohort, real: Cohort) -> None:
    """Whether samples look like people: as many zeros, as much spread."""
    spread = scores.to_dict()["spread_ratio"]
    rows: list[list[Cell]] = [
        ["share of exact zeros", *(number((cohort.weights == 0).mean(), 3) for cohort in (generated, real))],
        ["spread between people, real people's = 1", with_interval(spread["value"], spread["low"], spread["high"], 2), "1"],
    ]
    show_table(["", "samples", "real people"], rows, "One sample of each held-out person")

"""The commands ``predict-age`` and ``classify``: phenotypes of people from their connectomes, out of fold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectome_gnn.cli.options import CohortFolder, Force, Json, Out, Seed
from connectome_gnn.cli.terminal import print_json, say

if TYPE_CHECKING:
    from connectome_gnn.prediction import PredictionResult

__all__ = ["classify", "predict_age"]

Model = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="mean, ridge, kernel ridge, cpm, brainnetcnn or gnn; repeatable or by commas, compared on the same folds. Default ridge.",
        show_default=False,
    ),
]
Choose = Annotated[
    bool, typer.Option("--choose", help="Take the best of the models, chosen by inner folds of every fold's training people.")
]
By = Annotated[str, typer.Option(help="person, or a column such as site: one level of it left out at a time.")]
FoldsOption = Annotated[int, typer.Option("--folds", min=2, help="Folds of people.")]
Repeats = Annotated[int, typer.Option(min=1, help="Times that everybody is dealt into folds anew.")]
Groups = Annotated[str | None, typer.Option(help="Column of people who belong together, as family_id.", show_default=False)]
Confound = Annotated[
    list[str] | None,
    typer.Option("--confound", help="Column whose effects are taken out of the edges inside folds; repeatable.", show_default=False),
]
Harmonise = Annotated[str | None, typer.Option(help="Column of sites whose effects ComBat takes out inside folds.", show_default=False)]
Bootstrap = Annotated[int, typer.Option("--n-bootstrap", min=0, help="Resamples of people, for intervals.")]
Permutations = Annotated[int, typer.Option("--n-permutations", min=0, help="Permuted targets, for p.")]


def predict_age(
    cohort: CohortFolder,
    out: Out,
    model: Model = None,
    choose: Choose = False,
    target: Annotated[str, typer.Option(help="Column that holds the age.")] = "age",
    correction: Annotated[str, typer.Option(help="Of age bias in the gap: de_lange, cole or none.")] = "de_lange",
    by: By = "person",
    folds: FoldsOption = 5,
    repeats: Repeats = 1,
    groups: Groups = None,
    confound: Confound = None,
    harmonise: Harmonise = None,
    n_bootstrap: Bootstrap = 1000,
    n_permutations: Permutations = 100,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Brain age: everybody's age predicted by models that had not seen them, and the gap.

    Writes scores.tsv, folds.tsv, predictions.tsv, calibration.tsv and prediction.json.
    """
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target
    from connectome_gnn.prediction import predict_age as age_of

    check_target(out, force)
    options = _options(by, folds, repeats, groups, confound, harmonise, n_bootstrap, n_permutations, seed)
    wanted: Any = None if correction == "none" else correction
    _write(age_of(Cohort.load(cohort), _models(model, choose, seed), target, correction=wanted, **options), out, force, json)


def classify(
    cohort: CohortFolder,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Column of levels, as diagnosis.", show_default=False)],
    out: Out,
    model: Model = None,
    choose: Choose = False,
    by: By = "person",
    folds: FoldsOption = 5,
    repeats: Repeats = 1,
    groups: Groups = None,
    confound: Confound = None,
    harmonise: Harmonise = None,
    n_bootstrap: Bootstrap = 1000,
    n_permutations: Permutations = 100,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Classes of people, as a diagnosis, predicted by models that had not seen them.

    Writes scores.tsv, folds.tsv, predictions.tsv, calibration.tsv and prediction.json.
    """
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target
    from connectome_gnn.prediction import classify as classified

    check_target(out, force)
    options = _options(by, folds, repeats, groups, confound, harmonise, n_bootstrap, n_permutations, seed)
    _write(classified(Cohort.load(cohort), column, _models(model, choose, seed), **options), out, force, json)


def _models(model: list[str] | None, choose: bool, seed: int) -> Any:
    from connectome_gnn.prediction import BestOf

    names = [name.strip() for text in model or ["ridge"] for name in text.split(",") if name.strip()]
    return BestOf(names, seed=seed) if choose else names


def _options(
    by: str,
    folds: int,
    repeats: int,
    groups: str | None,
    confound: list[str] | None,
    harmonise: str | None,
    n_bootstrap: int,
    n_permutations: int,
    seed: int,
) -> dict[str, Any]:
    """What both commands pass on."""
    combat = None
    if harmonise is not None:
        from connectome_gnn.harmonisation import ComBat

        combat = ComBat(harmonise, preserve=())  # what is preserved would be read from the people who are to be predicted
    return {
        "by": by,
        "folds": folds,
        "repeats": repeats,
        "groups": groups,
        "confounds": confound or (),
        "harmonise": combat,
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "seed": seed,
    }


def _write(result: PredictionResult, out: Path, force: bool, json: bool) -> None:
    result.save(out, force)
    if json:
        print_json(result.to_dict())
    else:
        say(result.summary())
        say(f"written to {out}: scores.tsv, folds.tsv, predictions.tsv, calibration.tsv and prediction.json")

"""Whether one cohort helps to learn of another: pre-trained, frozen but for the regions that differ, against learning from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.resampling import resamples
from connectome_gnn.prediction.affected import affected_regions
from connectome_gnn.prediction.fine_tuning import fine_tuned
from connectome_gnn.prediction.folds import splits_of_people
from connectome_gnn.prediction.graph_network import ConnectomeGNN
from connectome_gnn.prediction.interface import Target, read_target
from connectome_gnn.prediction.scores import scored
from connectome_gnn.progress import progress

__all__ = ["ARMS", "TransferResult", "transfer"]

ARMS = {
    "scratch": "learned from the target's people alone",
    "source": "the source's model as it is",
    "full": "the source's model, fine-tuned throughout",
    "regions": "the source's model, fine-tuned in the affected regions, all else frozen",
}
"""Ways to learn of the target cohort, and what each is."""


@dataclass(frozen=True, eq=False)
class TransferResult:
    """Whether transfer helped.

    Attributes
    ----------
    table : one row an arm of :data:`ARMS`: ``score`` with ``low`` and ``high`` (95 %, bootstrap over people or groups), ``difference`` from
        scratch with ``difference_low`` and ``difference_high`` (the same resamples: paired).
    score : what is scored, of people an arm has not learned from: ``"r2"`` of numbers, ``"auc"`` of levels.
    affected : as :func:`affected_regions` gives it.
    predictions : one row a predicted person: ``truth`` and a column an arm, numbers or the probability of the second of two levels.
    model : the source's model fine-tuned on all people of the target, in the affected regions.
    name : the phenotype.
    """

    table: pd.DataFrame
    score: str
    affected: pd.DataFrame
    predictions: pd.DataFrame
    model: ConnectomeGNN
    name: str

    @property
    def helped(self) -> bool:
        """Whether fine-tuning in the affected regions did better than learning from scratch, its interval above 0."""
        return bool(dict(self.table.loc["regions"])["difference_low"] > 0)

    @property
    def sentence(self) -> str:
        """What came of it."""
        row, full, scratch = (dict(self.table.loc[arm]) for arm in ("regions", "full", "scratch"))
        n_affected = int(self.affected["affected"].sum())
        verdict = "helped" if self.helped else "did harm" if row["difference_high"] < 0 else "did not help for certain"
        what = (
            f"{n_affected} affected region{'' if n_affected == 1 else 's'} fine-tuned" if n_affected else "no region affected, all frozen"
        )
        return (
            f"Transfer {verdict}: {self.name} is predicted with {self.score} {row['score']:.2f} ({what}) against {scratch['score']:.2f} "
            f"from scratch (difference {_interval(row)}); fine-tuned throughout {full['score']:.2f} ({_interval(full)})."
        )

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.table.round(3).to_string()}"


def transfer(
    source: Cohort | ConnectomeGNN,
    target_cohort: Cohort,
    target: str,
    *,
    test: Cohort | None = None,
    model: ConnectomeGNN | None = None,
    measure: str = "profile",
    relative: bool = True,
    fdr: float = 0.05,
    folds: int = 5,
    groups: str | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> TransferResult:
    """Learn of a cohort with and without what another cohort has taught, and compare on people whom nothing had learned from.

    A model is trained on the source, all but the parameters of regions that differ between the cohorts is frozen, and what is left is
    fine-tuned. The regions are found without looking at the target phenotype. The linear path is part of it: ridge regression whose prior
    mean is a gain times the source's weights.

    Parameters
    ----------
    source : the cohort to learn from first, or a model that has; of a model the people are unknown, and all regions count as affected.
    target_cohort : the cohort of interest, on the same regions.
    target : phenotype of both.
    test : people of the target's kind to be predicted; default the target's own, in folds.
    model : how to learn, unfitted; default ``ConnectomeGNN(seed=seed)``.
    measure, relative, fdr : of :func:`affected_regions`.
    folds : into which the target's people are dealt where there are no test people.
    groups : column of people who belong together.
    n_bootstrap : resamples of people.
    seed : seed of everything.

    Raises
    ------
    ConnectomeError
        If the cohorts do not fit together, the target has gaps or one level, or there are too few people.

    Notes
    -----
    Intervals are over the people who are predicted, for models trained on these people: with few to learn from, other ones would have
    taught something else, and a small difference either way may lie there. Look at several draws before calling it one.
    """
    if n_bootstrap < 1:
        raise ConnectomeError(f"expected 1 or more bootstrap resamples, got {n_bootstrap}")
    wanted = read_target(target_cohort, target)
    judged, truth = (target_cohort, wanted) if test is None else (test, read_target(test, target))
    if isinstance(source, ConnectomeGNN):
        learned, affected = source, target_cohort.atlas.to_frame().set_index("label").assign(affected=True)
    else:
        affected = affected_regions(source, target_cohort, measure=measure, relative=relative, fdr=fdr)
        learned = _fresh(model, seed).fit(source, target, groups=groups)
    regions = list(affected.index[affected["affected"]])
    arms: dict[str, Callable[[Cohort], ConnectomeGNN]] = {
        "scratch": lambda people: _fresh(model, seed).fit(people, target, groups=groups),
        "source": lambda people: learned,
        "full": lambda people: fine_tuned(learned, people, target, groups=groups, seed=seed),
        "regions": lambda people: fine_tuned(learned, people, target, regions=regions, groups=groups, seed=seed),
    }
    splits: list[tuple[Cohort, Cohort, Any]] = [(target_cohort, judged, slice(None))]
    if test is None:
        dealt = splits_of_people(target_cohort.units(groups), wanted, folds, 1, seed)
        splits = [(target_cohort.take(one.train), target_cohort.take(one.test), one.test) for one in dealt]
    said = {arm: _unknown(truth, learned) for arm in ARMS}
    with progress("transfer", len(splits) * len(ARMS)) as advance:
        for people, others, rows in splits:
            for arm, learn in arms.items():
                said[arm][rows] = _said(learn(people), others)
                advance()
    score = "auc" if truth.classes else "r2"
    weights = resamples(pd.factorize(judged.units(groups))[0], n_bootstrap, seed)
    facts = _levels(truth, learned) if truth.classes else truth.values
    table = _table({arm: scored(facts, values, weights)[score] for arm, values in said.items()})
    shown = {arm: values[:, 1] if values.ndim == 2 else values for arm, values in said.items() if values.ndim == 1 or values.shape[1] == 2}
    predictions = pd.DataFrame({"truth": judged.phenotypes[target].to_numpy(), **shown}, index=judged.ids)
    return TransferResult(table, score, affected, predictions, arms["regions"](target_cohort), target)


def _interval(row: Mapping[Any, float]) -> str:
    return f"{row['difference']:+.2f}, 95 % interval {row['difference_low']:+.2f} to {row['difference_high']:+.2f}"


def _fresh(model: ConnectomeGNN | None, seed: int) -> ConnectomeGNN:
    """An unfitted model like another, with the seed."""
    fresh = ConnectomeGNN() if model is None else copy.copy(model)
    fresh.seed = seed
    return fresh


def _unknown(truth: Target, model: ConnectomeGNN) -> NDArray[np.float64]:
    return np.full((len(truth.values), len(model.classes_)) if truth.classes else len(truth.values), np.nan)


def _said(model: ConnectomeGNN, people: Cohort) -> NDArray[np.float64]:
    return model.predict_proba(people) if model.classes_ else model.predict(people)


def _levels(truth: Target, model: ConnectomeGNN) -> NDArray[np.float64]:
    """(N, K) levels of people as 0 and 1, in the model's order."""
    place = np.array([model.classes_.index(level) for level in truth.classes])
    return np.eye(len(model.classes_))[place[truth.values.astype(np.intp)]]


def _table(values: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Scores (1 + B,) of each arm, the first of everybody, as a table."""
    rows: dict[str, dict[str, float]] = {}
    for arm, scores in values.items():
        rows[arm] = {}
        for name, each in (("score", scores), ("difference", scores - values["scratch"])):
            low, high = np.nanquantile(each[1:], [0.025, 0.975])
            prefix = "" if name == "score" else "difference_"
            rows[arm] |= {name: float(each[0]), f"{prefix}low": float(low), f"{prefix}high": float(high)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

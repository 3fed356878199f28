"""Whether one cohort helps to learn of another: pre-trained, frozen but for the regions that differ, against learning from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
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
    table : one row an arm of :data:`ARMS`: ``score`` with ``low`` and ``high`` (95 %, over the people who are predicted and over those
        who are learned from), ``difference`` from scratch with ``difference_low`` and ``difference_high`` (paired).
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
    folds : groups into which the target's people are dealt: one is predicted at a time where there are no test people, and one is left
        out of the learning at a time to see how much hangs on who is learned from.
    groups : column of people who belong together.
    n_bootstrap : resamples of people.
    seed : seed of everything.

    Raises
    ------
    ConnectomeError
        If the cohorts do not fit together, the target has gaps or one level, or there are too few people or folds.

    Notes
    -----
    Other people to learn from would have taught something else, and with few of them a difference hangs on who they are as much as on who
    is predicted. So intervals are percentiles over resamples of the people who are predicted, pooled over models learned from all of the
    target's people and from all but one group of them, each group in turn. Learned from four fifths, models differ from each other by
    about what those of other people altogether would. The source's people are taken as they are.
    """
    if not isinstance(source, (Cohort, ConnectomeGNN)) or (isinstance(source, ConnectomeGNN) and not source.members):
        raise ConnectomeError(f"expected the source as a cohort or a fitted ConnectomeGNN, got {source!r}")
    if not isinstance(model, ConnectomeGNN | None):
        raise ConnectomeError(f"transfer is of a ConnectomeGNN, as model=ConnectomeGNN(epochs=20), got {model!r}")
    if n_bootstrap < 1:
        raise ConnectomeError(f"expected 1 or more bootstrap resamples, got {n_bootstrap}")
    if test is None and folds < 3:
        raise ConnectomeError(f"one fold is predicted and another left out of the learning; expected 3 or more folds, got {folds}")
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
    parts = [one.test for one in splits_of_people(target_cohort.units(groups), wanted, folds, 1, seed)]
    # Row 0: as learned; row 1 + g: as learned without group g.
    said = {arm: np.stack([_unknown(truth, learned)] * (1 + len(parts))) for arm in ARMS}
    left_out = [out for size in ((0, 1) if test is not None else (1, 2)) for out in combinations(range(len(parts)), size)]
    with progress("transfer", len(left_out) * len(ARMS)) as advance:
        for out in left_out:
            rest = np.ones(len(target_cohort), bool)
            for g in out:
                rest[parts[g]] = False
            people = target_cohort.take(rest)
            for arm, learn in arms.items():
                fitted = learn(people)
                if test is not None:
                    said[arm][1 + out[0] if out else 0] = _said(fitted, test)
                for g in out if test is None else ():
                    answer = _said(fitted, target_cohort.take(parts[g]))
                    for other in (0, 1 + g) if len(out) == 1 else (1 + sum(out) - g,):  # without the group itself and the other one
                        said[arm][other, parts[g]] = answer
                advance()
    score = "auc" if truth.classes else "r2"
    weights = resamples(pd.factorize(judged.units(groups))[0], n_bootstrap, seed)
    facts = _levels(truth, learned) if truth.classes else truth.values
    drawn = {arm: np.stack([scored(facts, one, weights)[score] for one in values]) for arm, values in said.items()}
    shown = {
        arm: values[0] if values.ndim == 2 else values[0, :, 1] for arm, values in said.items() if values.ndim == 2 or values.shape[2] == 2
    }
    predictions = pd.DataFrame({"truth": judged.phenotypes[target].to_numpy(), **shown}, index=judged.ids)
    return TransferResult(_table(drawn), score, affected, predictions, arms["regions"](target_cohort), target)


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


def _table(drawn: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Scores (1 + G, 1 + B) of each arm as a table: learned from all, then without each group; of everybody, then of resamples."""
    rows: dict[str, dict[str, float]] = {}
    for arm, scores in drawn.items():
        rows[arm] = {}
        for name, each in (("score", scores), ("difference", scores - drawn["scratch"])):
            low, high = np.nanquantile(each[:, 1:], [0.025, 0.975])
            prefix = "" if name == "score" else "difference_"
            rows[arm] |= {name: float(each[0, 0]), f"{prefix}low": float(low), f"{prefix}high": float(high)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

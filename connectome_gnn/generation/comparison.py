"""The generator and its rivals side by side on held-out people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import Evaluation, evaluate
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.progress import progress

__all__ = ["GENERATOR", "Model", "Ranking", "compare", "default_models", "fit_mean"]

GENERATOR = "generator"
"""Name of the package's own generator among its rivals."""

SCORES = ("r2_beyond_mean", "raw_r", "demeaned_r")
"""Scores of expected connectomes by which models are ranked and compared."""

COLUMNS = {
    "r2_beyond_mean": {
        "value": "r2",
        "low": "r2_low",
        "high": "r2_high",
        "share_of_ceiling": "share_of_ceiling",
        "difference": "difference",
        "difference_low": "difference_low",
        "difference_high": "difference_high",
    },
    "demeaned_r": {"value": "demeaned_r", "low": "demeaned_r_low", "high": "demeaned_r_high"},
}


class Model(Protocol):
    """What the generator and every rival can do."""

    def fit(self, cohort: Cohort) -> Self:
        """Learn from training people."""
        ...

    def expected(self, phenotypes: pd.DataFrame) -> Cohort:
        """Expected connectomes of people with these phenotypes."""
        ...


@dataclass(frozen=True, eq=False)
class Ranking:
    """Models fitted on the same training people and scored on the same held-out people.

    Attributes
    ----------
    table : one row a model, best R2 first. ``rank`` (models of equal R2 share one); ``r2`` beyond the mean with its 95 % interval
        ``r2_low``, ``r2_high``; ``share_of_ceiling`` where the held-out people know their truth, otherwise NaN; ``demeaned_r`` with its
        interval; ``difference``, the first model's R2 minus this one's on the same resamples of people, with its interval (NaN for the
        first model itself); ``seconds`` to fit.
    ours : the model that the differences are taken from.
    evaluation : all scores, ours as ``generated``, the others as its rivals.
    models : the fitted models.
    expected : each model's expected connectomes of the held-out people.
    unfitted : why a rival could not be fitted to these people, in a sentence, by name; it has no row in the table.
    """

    table: pd.DataFrame
    ours: str
    evaluation: Evaluation
    models: dict[str, Any] = field(repr=False)
    expected: dict[str, Cohort] = field(repr=False)
    unfitted: dict[str, str] = field(default_factory=dict)

    def to_records(self) -> list[dict[str, Any]]:
        """The table as plain JSON values, one record a model; None in place of an undefined number."""
        records = self.table.reset_index().to_dict("records")
        return [{str(key): None if isinstance(v, float) and not np.isfinite(v) else v for key, v in record.items()} for record in records]


def default_models(seed: int = 0, rivals: str = "fast") -> dict[str, Any]:
    """The generator and its rivals, not fitted yet, the generator first.

    Parameters
    ----------
    seed : of every model.
    rivals : ``"fast"`` for those that are fitted in seconds, ``"all"`` for the neural ones and the wiring model too.

    Raises
    ------
    ConnectomeError
        If ``rivals`` is anything else.
    """
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.rivals import ALL_RIVALS, RIVALS

    choices = {"fast": RIVALS, "all": ALL_RIVALS}
    if not isinstance(rivals, str) or rivals not in choices:
        raise ConnectomeError(f"the rivals to compare with are {' or '.join(map(repr, choices))}, got {rivals!r}")
    return {GENERATOR: ConnectomeGenerator(seed=seed), **{name: rival(seed) for name, rival in choices[rivals].items()}}


def fit_mean(model: Model, cohort: Cohort) -> Any:
    """Fit a model as far as its expected connectomes need."""
    return model.fit(cohort, distribution=False) if isinstance(model, ConnectomeModel) else model.fit(cohort)


def compare(
    train: Cohort,
    test: Cohort,
    models: Mapping[str, Model] | None = None,
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
    groups: str | None = None,
    mean_only: bool = False,
) -> Ranking:
    """Fit models on training people and rank them on held-out people.

    Parameters
    ----------
    train, test : cohorts of different people, on one atlas.
    models : models by name, not fitted yet; the differences are taken from the first. Default: the generator and the fast rivals,
        :func:`default_models`. The package's own rivals are fitted for their mean alone, since nothing else is compared.
    seed : seed of the default generator and of the bootstrap.
    n_bootstrap : resamples of people behind each interval.
    groups : column of people who belong together in a resample; default ``family_id`` where there is one.
    mean_only : whether the first model, too, is fitted for its mean alone: faster, where it draws nobody afterwards.

    Returns
    -------
    ranking : Ranking, best first. A rival that refuses these people (a wiring model without coordinates) stands in ``unfitted``.

    Raises
    ------
    ConnectomeError
        If models are not given by name; if the first model cannot be fitted to these people, or the two cohorts share people or differ
        in atlas or measure.
    """
    if models is not None and not isinstance(models, Mapping):
        raise ConnectomeError(f"expected models by name, as {{'ridge': Ridge(0)}}, got {type(models).__name__}")
    models = dict(default_models(seed) if models is None else models)
    for name, model in models.items():
        if isinstance(model, type) or not callable(getattr(model, "fit", None)):
            raise ConnectomeError(f"model {name!r} is to be an object that can be fitted, as Ridge(0), got {model!r}")
    if not models:
        raise ConnectomeError("nothing to compare: give at least one model")
    ours = next(iter(models))
    fitted: dict[str, Any] = {}
    expected: dict[str, Cohort] = {}
    seconds: dict[str, float] = {}
    unfitted: dict[str, str] = {}
    with progress("Fitting", len(models)) as advance:
        for name, model in models.items():
            advance(0, f"Fitting {name}")
            start = time.perf_counter()
            try:
                fitted[name] = fit_mean(model, train) if name != ours or mean_only else model.fit(train)
            except ConnectomeError as error:
                if name == ours:
                    raise
                unfitted[name] = str(error)
            else:
                seconds[name] = time.perf_counter() - start
                expected[name] = fitted[name].expected(test.phenotypes)
            advance()
    rivals = {name: cohort for name, cohort in expected.items() if name != ours}
    scores = evaluate(
        expected[ours], test, reference=train, rivals=rivals, parts=SCORES, measures=(), n_bootstrap=n_bootstrap, seed=seed, groups=groups
    )
    return Ranking(_table(scores, ours, seconds), ours, scores, fitted, expected, unfitted)


def _table(scores: Evaluation, ours: str, seconds: Mapping[str, float]) -> pd.DataFrame:
    tidy = scores.to_dataframe()
    columns: dict[str, pd.Series] = {}
    for score, names in COLUMNS.items():
        rows = tidy[tidy["score"] == score].set_index("cohort")
        rows = rows.rename(index={rows.index[0]: ours})  # the evaluation calls its first cohort 'generated'
        columns.update({column: rows[number] for number, column in names.items()})
    table = pd.DataFrame(columns).reindex(list(seconds)).rename_axis("model").assign(seconds=pd.Series(seconds))
    table.insert(0, "rank", table["r2"].rank(method="min", ascending=False).fillna(len(table)).astype(int))
    return table.sort_values("r2", ascending=False, kind="stable")

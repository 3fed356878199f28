"""The best of several models, as inner folds of the training people judge it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.catalogue import chosen_models
from connectome_gnn.prediction.crossvalidation import inner_predictions, with_column
from connectome_gnn.prediction.interface import Predictor, TargetLike, read_target

__all__ = ["BestOf"]


class BestOf:
    """The model with the least squared error, or log loss, on 5 inner folds of the training people, fitted to all of them.

    In :func:`~connectome_gnn.prediction.predict` and its kin it is chosen anew in every fold: nobody who is predicted has a say.

    Parameters
    ----------
    models : names or models.
    seed : of inner folds, and of models given by name.

    Attributes
    ----------
    chosen : name of the one chosen.
    losses : of each, by name: mean squared error, or log loss in nats.
    """

    def __init__(self, models: Sequence[str | Predictor], *, seed: int = 0) -> None:
        self.models, self.seed = list(models), seed
        self.name = "best of " + ", ".join(one if isinstance(one, str) else str(one.name) for one in self.models)
        self.task = ""
        self.classes_: tuple[str, ...] = ()
        self.chosen = ""
        self.losses: dict[str, float] = {}
        self._model: Any = None

    def fit(self, cohort: Cohort, target: TargetLike, *, groups: str | None = None) -> Self:
        """Judge all models, and fit the best one.

        Raises
        ------
        ConnectomeError
            As the models' own ``fit``, or if there is none.
        """
        one = read_target(cohort, target)  # type: ignore[arg-type]
        people = cohort if isinstance(target, str) else with_column(cohort, one)
        models = chosen_models(self.models, one.task, self.seed)
        self.losses = {}
        for name, model in models.items():
            said = inner_predictions(model, people, one, groups, self.seed)
            if one.classes:
                right = said[np.arange(len(said)), one.values.astype(np.intp)]
                self.losses[name] = float(-np.log(np.clip(right, 1e-12, 1)).mean())
            else:
                self.losses[name] = float(((one.values - said) ** 2).mean())
        self.chosen = min(self.losses, key=self.losses.__getitem__)
        self._model = models[self.chosen].fit(people, one.name, groups=groups)
        self.task, self.classes_ = one.task, one.classes
        return self

    def predict(self, cohort: Cohort) -> NDArray[Any]:
        """What the chosen model says, (N,)."""
        return np.asarray(self._fitted().predict(cohort))

    def predict_proba(self, cohort: Cohort) -> NDArray[np.float64]:
        """The chosen model's probabilities, (N, K)."""
        return np.asarray(self._fitted().predict_proba(cohort), np.float64)

    def _fitted(self) -> Any:
        if self._model is None:
            raise ConnectomeError(f"{self.name} predicts nothing before it is fitted; call fit(cohort, target) first")
        return self._model

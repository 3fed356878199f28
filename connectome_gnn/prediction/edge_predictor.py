"""What the baselines share: they learn from edges, say what they learned of others, and are saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from connectome_gnn import native
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.model_folder import WEIGHTS, read_model, write_config, write_weights
from connectome_gnn.prediction.edge_rows import EdgeFormat, EdgeRows
from connectome_gnn.prediction.interface import Target, TargetLike, read_target

__all__ = ["FORMAT_VERSION", "EdgePredictor"]

FORMAT_VERSION = 1
PACKAGES = ("connectome-gnn", "numpy", "scikit-learn", "torch")
TASKS = {"regression": "numbers", "classification": "classes"}


class EdgePredictor(ABC):
    """A model that reads a person's edges on the modelling scale.

    Parameters
    ----------
    seed : seed of everything random in fitting.

    Attributes
    ----------
    name : how tables call it.
    task : ``"regression"`` or ``"classification"``, once it is fitted.
    classes_ : names of the levels, in the order of the columns of :meth:`predict_proba`; empty in regression.
    arrays, facts : what was learned, by name: arrays, and plain JSON values.
    """

    name: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("regression", "classification")
    cheap: ClassVar[bool] = True
    """Whether learning again from a hundred permuted targets takes seconds rather than hours."""
    holds_training_people: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    """Names of the constructor's arguments beside the seed, which are attributes of the same name."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.task = ""
        self.classes_: tuple[str, ...] = ()
        self.target = ""
        self.read_as: EdgeFormat | None = None
        self.arrays: dict[str, NDArray] = {}
        self.facts: dict[str, Any] = {}

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)!r}" for name in self.options]
        return f"{type(self).__name__}({', '.join([*given, f'seed={self.seed}'])})"

    # --- learning ----------------------------------------------------------------------------------------------------

    def fit(self, cohort: Cohort, target: TargetLike, *, groups: str | None = None) -> Self:
        """Learn from training people.

        Parameters
        ----------
        cohort : N training people.
        target : a phenotype, or values (N,).
        groups : column of people who belong together in inner folds; default ``family_id`` where there is one.

        Raises
        ------
        ConnectomeError
            If the target has gaps or one value only, is not of the model's kind, there are several, or an edge is NaN.
        """
        one = read_target(cohort, target)  # type: ignore[arg-type]
        self._learned(cohort, EdgeRows.of(cohort, groups), one)
        return self

    def fit_each(self, cohort: Cohort, targets: Sequence[Target], *, groups: str | None = None) -> Iterator[Self]:
        """Models of each of several targets of the same people; what does not depend on the target is done once."""
        rows = EdgeRows.of(cohort, groups)
        for target in targets:
            model = copy(self)
            model._learned(cohort, rows, target)
            yield model

    def _learned(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        if target.task not in self.tasks:
            raise ConnectomeError(
                f"{self.name} predicts {TASKS[self.tasks[0]]}, and {target.name!r} is made of {TASKS[target.task]}; choose another model"
            )
        self.task, self.classes_, self.target, self.read_as = target.task, target.classes, target.name, rows.read_as
        self.arrays, self.facts = {}, {}
        self._learn(cohort, rows, target)

    @abstractmethod
    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        """Put what is learned into :attr:`arrays` and :attr:`facts`."""

    # --- predicting --------------------------------------------------------------------------------------------------

    @abstractmethod
    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) as :attr:`read_as` reads them."""

    def _said(self, cohort: Cohort) -> NDArray[np.float64]:
        if self.read_as is None:
            raise ConnectomeError(f"{type(self).__name__} predicts nothing before it is fitted; call fit(cohort, target) first")
        return self.say(self.read_as.read(cohort))

    def predict(self, cohort: Cohort) -> NDArray[Any]:
        """Values (N,) in the target's unit; in classification the name of the most probable level.

        Raises
        ------
        ConnectomeError
            If the model is not fitted, or the cohort is on other regions, of another measure, or has NaN among its edges.
        """
        said = self._said(cohort)
        return np.array(self.classes_, dtype=object)[said.argmax(1)] if self.task == "classification" else said

    def predict_proba(self, cohort: Cohort) -> NDArray[np.float64]:
        """Probabilities (N, K) of the levels :attr:`classes_`; raises as :meth:`predict`, and in regression."""
        said = self._said(cohort)
        if self.task != "classification":
            raise ConnectomeError(f"{self.name} was fitted to numbers ({self.target!r}), which have no probabilities; call predict")
        return said

    # --- files -------------------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""
        return {"seed": self.seed, **{name: getattr(self, name) for name in self.options}}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Self:
        """A model that is not fitted, with such arguments; the inverse of :meth:`settings`."""
        return cls(**settings)

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the model as a folder (safetensors and JSON); it appears complete or not at all.

        Raises
        ------
        ConnectomeError
            If it is not fitted, or the folder exists and ``force`` is not given.
        """

        if self.read_as is None:
            raise ConnectomeError(f"{type(self).__name__} is not fitted, so there is nothing to save; call fit(cohort, target) first")
        record = {
            "versions": {name: version(name) for name in PACKAGES},
            "settings": self.settings(),
            "task": self.task,
            "classes": list(self.classes_),
            "target": self.target,
            "regions": list(self.read_as.labels),
            "measure": self.read_as.measure,
            "signed": self.read_as.signed,
            "facts": self.facts,
            "holds_training_people": self.holds_training_people,
        }
        with native.new_folder(path, force) as folder:
            write_weights(folder, self.arrays)
            write_config(folder, FORMAT_VERSION, type(self).__name__, (WEIGHTS,), record)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote: the same predictions.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a file is missing, was changed since, or is of another kind of model.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        record, content = read_model(Path(path), FORMAT_VERSION, (cls.__name__,), (WEIGHTS,))
        try:
            return cls.of_settings(record["settings"])._restore(record, load(content[WEIGHTS]))
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ConnectomeError(
                f"{path}: the folder holds no {cls.__name__} that this version can read ({error!r}); save it again"
            ) from error

    def _restore(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Self:
        """The state that a saved model's record and arrays describe."""
        self.task, self.classes_, self.target = record["task"], tuple(record["classes"]), record["target"]
        self.read_as = EdgeFormat(tuple(record["regions"]), record["measure"], record["signed"])
        self.arrays, self.facts = dict(arrays), dict(record["facts"])
        return self

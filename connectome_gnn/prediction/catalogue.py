"""Models by name, and copies of a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

from connectome_gnn import native
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.model_folder import CONFIG
from connectome_gnn.prediction.interface import Predictor, Task

__all__ = ["MODELS", "chosen_models", "load_predictor", "new_model"]

MODELS = ("mean", "ridge", "kernel ridge", "cpm", "brainnetcnn", "gnn")
"""Names of models. ``"mean"`` is the training mean or the classes' shares, ``"ridge"`` of classes logistic ridge regression (also called
``"logistic"``)."""


def _factories(task: Task) -> dict[str, Any]:
    from connectome_gnn.prediction.brainnetcnn import BrainNetCNN
    from connectome_gnn.prediction.cpm import ConnectomePredictiveModelling
    from connectome_gnn.prediction.graph_network import ConnectomeGNN
    from connectome_gnn.prediction.kernels import KernelRidge
    from connectome_gnn.prediction.linear import LogisticRidge, MeanPredictor, RidgeRegression

    linear: dict[str, Any] = {"ridge": LogisticRidge, "logistic": LogisticRidge} if task == "classification" else {"ridge": RidgeRegression}
    others = {"kernel ridge": KernelRidge, "cpm": ConnectomePredictiveModelling, "brainnetcnn": BrainNetCNN, "gnn": ConnectomeGNN}
    return {"mean": MeanPredictor, **linear, **others}


def new_model(model: str | Predictor, task: Task, seed: int = 0) -> Any:
    """A model by its name, or a copy of one, to be fitted.

    Raises
    ------
    ConnectomeError
        If there is no such model, or the object has no ``fit`` and ``predict``.
    """
    if isinstance(model, str):
        known = _factories(task)
        if model not in known:
            raise ConnectomeError(
                f"no model {model!r} for {task}; the models are {listed(known, 10)}, or an object of your own with fit and predict"
            )
        return known[model](seed=seed)
    if isinstance(model, type) or not (callable(getattr(model, "fit", None)) and callable(getattr(model, "predict", None))):
        came = f"the class {model.__name__}; make an object of it" if isinstance(model, type) else type(model).__name__
        raise ConnectomeError(f"expected a model's name or an object with fit(cohort, target) and predict(cohort), got {came}")
    try:
        signature(model.fit).bind("cohort", "target", groups=None)
    except TypeError as error:
        raise ConnectomeError(
            f"a model is fitted as fit(cohort, target, groups=...) to a Cohort, which {type(model).__name__} is not made for: {error}"
        ) from error
    return deepcopy(model)


def chosen_models(models: str | Predictor | Sequence[str | Predictor], task: Task, seed: int = 0) -> dict[str, Any]:
    """Models by the names that tables call them, not yet fitted.

    Raises
    ------
    ConnectomeError
        If there is none, two have one name, or one is not known.
    """
    given: list[Any] = list(models) if isinstance(models, (list, tuple)) else [models]
    if not given:
        raise ConnectomeError(f"expected at least one model, as 'ridge'; the models are {listed(MODELS, 10)}")
    chosen: dict[str, Any] = {}
    for one in given:
        name = one if isinstance(one, str) else str(getattr(one, "name", type(one).__name__))
        if name in chosen:
            raise ConnectomeError(f"two models are called {name!r}; give each a name of its own, as model.name = 'ridge, once more'")
        chosen[name] = new_model(one, task, seed)
    return chosen


def load_predictor(path: str | Path) -> Any:
    """A saved model of any kind of this room, by what its folder says that it is.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such folder, a file was changed, or it holds something else.
    """
    from connectome_gnn.prediction.graph_network import ConnectomeGNN

    kinds = {one.__name__: one for task in ("regression", "classification") for one in _factories(task).values()}
    folder = Path(path)
    kind = native.read_json(folder / CONFIG).get("kind") if (folder / CONFIG).is_file() else None
    return kinds.get(str(kind), ConnectomeGNN).load(folder)

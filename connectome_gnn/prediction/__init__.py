"""Predicting phenotypes from connectomes: graph networks and the simple models that they have to beat, cross-validated in one call.

====================================  ==========================================================================================
predict_age, classify, predict        a task in one call: out-of-fold predictions, intervals, p, calibration (:class:`PredictionResult`)
ConnectomeGNN                         graph networks over regions, beside a linear path
RidgeRegression, LogisticRidge        on edges
KernelRidge                           linear, cosine, Gaussian and Riemannian kernels
ConnectomePredictiveModelling         CPM: edges that go with the target, summed
BrainNetCNN                           convolutions over rows and columns of the matrix
MeanPredictor, BestOf                 the floor, and a choice among models by inner folds
transfer, affected_regions            pre-train, find what differs, fine-tune that
explain                               which regions a graph network's predictions rest on
load_predictor                        any saved model of this room
====================================  ==========================================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectome_gnn.prediction.affected import affected_regions
    from connectome_gnn.prediction.bias import AgeBias
    from connectome_gnn.prediction.brainnetcnn import BrainNetCNN, BrainNetCNNConfig
    from connectome_gnn.prediction.catalogue import MODELS, load_predictor
    from connectome_gnn.prediction.choice import BestOf
    from connectome_gnn.prediction.cpm import ConnectomePredictiveModelling
    from connectome_gnn.prediction.explaining import Saliency, explain
    from connectome_gnn.prediction.graph_network import ConnectomeGNN
    from connectome_gnn.prediction.interface import Predictor
    from connectome_gnn.prediction.kernels import KernelRidge
    from connectome_gnn.prediction.linear import LogisticRidge, MeanPredictor, RidgeRegression
    from connectome_gnn.prediction.result import PredictionResult
    from connectome_gnn.prediction.tasks import classify, predict, predict_age
    from connectome_gnn.prediction.transferring import TransferResult, transfer

_HOMES = {
    "MODELS": "catalogue",
    "AgeBias": "bias",
    "BestOf": "choice",
    "BrainNetCNN": "brainnetcnn",
    "BrainNetCNNConfig": "brainnetcnn",
    "ConnectomeGNN": "graph_network",
    "ConnectomePredictiveModelling": "cpm",
    "KernelRidge": "kernels",
    "LogisticRidge": "linear",
    "MeanPredictor": "linear",
    "PredictionResult": "result",
    "Predictor": "interface",
    "RidgeRegression": "linear",
    "Saliency": "explaining",
    "TransferResult": "transferring",
    "affected_regions": "affected",
    "classify": "tasks",
    "explain": "explaining",
    "load_predictor": "catalogue",
    "predict": "tasks",
    "predict_age": "tasks",
    "transfer": "transferring",
}

__all__ = [
    "MODELS",
    "AgeBias",
    "BestOf",
    "BrainNetCNN",
    "BrainNetCNNConfig",
    "ConnectomeGNN",
    "ConnectomePredictiveModelling",
    "KernelRidge",
    "LogisticRidge",
    "MeanPredictor",
    "PredictionResult",
    "Predictor",
    "RidgeRegression",
    "Saliency",
    "TransferResult",
    "affected_regions",
    "classify",
    "explain",
    "load_predictor",
    "predict",
    "predict_age",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

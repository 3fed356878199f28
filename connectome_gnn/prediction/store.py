"""Saved graph networks: a folder with model.safetensors and config.json, never a pickle."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from connectome_gnn import native
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.model_folder import CONFIG, WEIGHTS, read_model, write_config, write_weights
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.linear_path import Gate, LinearPath
from connectome_gnn.prediction.network import Scaling
from connectome_gnn.prediction.node_features import RegionTable
from connectome_gnn.prediction.training import Heads

if TYPE_CHECKING:
    from connectome_gnn.prediction.graph_network import ConnectomeGNN

__all__ = ["FORMAT_VERSION", "KIND", "load_graph_network", "save_graph_network"]

FORMAT_VERSION = 2
KIND = "ConnectomeGNN"
PACKAGES = ("connectome-gnn", "torch", "torch-geometric", "numpy")
SCALING = ("edge_mean", "edge_deviation", "measure_mean", "measure_deviation", "backbone")


def save_graph_network(model: ConnectomeGNN, path: Path, force: bool = False) -> Path:
    """See :meth:`connectome_gnn.prediction.ConnectomeGNN.save`."""
    if not model.members:
        raise ConnectomeError("this ConnectomeGNN is not fitted; call fit(cohort, target) before save")
    arrays: dict[str, NDArray[Any]] = {"regions.places": model.regions.places, "regions.systems": model.regions.systems}
    for number, gate in enumerate(model.gating):
        arrays |= {f"gate.{number}.shares": gate.shares, f"gate.{number}.constant": gate.constant}
    if model.linear is not None:
        arrays |= {"linear.mean": model.linear.mean, "linear.deviation": model.linear.deviation}
        for number, (weights, constant) in enumerate(zip(model.linear.coefficients, model.linear.intercepts, strict=True)):
            arrays |= {f"linear.{number}.coefficients": weights, f"linear.{number}.intercepts": constant}
    for number, member in enumerate(model.members):
        arrays |= {f"network.{number}.{name}": value.numpy() for name, value in member.network.state_dict().items()}
    record = {
        "versions": {name: version(name) for name in PACKAGES},
        "network": asdict(model.config),
        "linear_path": model.linear_path,
        "view": None if model.linear is None else model.linear.view,
        "repeats": model.repeats,
        "seed": model.seed,
        "measure": model.measure,
        "signed": model.signed,
        "n_measures": model.n_measures,
        "regions": {"labels": list(model.regions.labels), "systems": list(model.regions.system_names)},
        "targets": [{"name": one.name, "levels": list(one.classes)} for one in model.targets],
        "heads": [asdict(member.heads) for member in model.members],
    }
    with native.new_folder(path, force) as folder:
        write_weights(folder, arrays)
        write_config(folder, FORMAT_VERSION, KIND, (WEIGHTS,), record)
    return path


def load_graph_network(path: Path) -> ConnectomeGNN:
    """See :meth:`connectome_gnn.prediction.ConnectomeGNN.load`."""
    record, content = read_model(path, FORMAT_VERSION, (KIND,), (WEIGHTS,))
    try:
        return _rebuilt(record, load_tensors(content[WEIGHTS]))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConnectomeError(f"{path / CONFIG} does not describe {WEIGHTS} beside it ({error}); save the model again") from error


def _rebuilt(record: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ConnectomeGNN:
    from connectome_gnn.prediction.graph_network import ConnectomeGNN, Member

    options = {**record["network"], "node_features": tuple(record["network"]["node_features"])}
    model = ConnectomeGNN(linear_path=record["linear_path"], repeats=record["repeats"], seed=record["seed"], **options)
    model.regions = RegionTable(
        tuple(record["regions"]["labels"]), arrays["regions.places"], arrays["regions.systems"], tuple(record["regions"]["systems"])
    )
    model.measure, model.signed, model.n_measures = record["measure"], record["signed"], record["n_measures"]
    model.targets = tuple(Target(one["name"], np.empty(0), tuple(one["levels"])) for one in record["targets"])
    model.name_task()
    numbers = range(len(model.targets))
    model.gating = [Gate(arrays[f"gate.{number}.shares"], arrays[f"gate.{number}.constant"]) for number in numbers]
    if model.linear_path:
        weights, constants = (tuple(arrays[f"linear.{number}.{name}"] for number in numbers) for name in ("coefficients", "intercepts"))
        model.linear = LinearPath(record["view"], arrays["linear.mean"], arrays["linear.deviation"], weights, constants)
    for number, described in enumerate(record["heads"]):
        heads = Heads(
            tuple(described["sizes"]),
            tuple(described["means"]),
            tuple(described["deviations"]),
            tuple(tuple(one) for one in described["shares"]),
        )
        prefix = f"network.{number}."
        state = {name[len(prefix) :]: torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)}
        with torch.random.fork_rng(devices=[]):  # first weights are about to be replaced
            network = model.network_of(Scaling(*[state[name] for name in SCALING]), sum(heads.sizes))
        network.load_state_dict(state)
        model.members.append(Member(network.eval(), heads))
    return model

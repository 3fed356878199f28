"""Saved constrained layers and networks: a folder with model.safetensors and config.json, never a pickle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from scipy import sparse
from torch import Tensor, nn
from torch.nn.utils import prune

from connectome_gnn import native
from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.constrained.network import ConnectomeConstrainedNetwork, LayerConfig
from connectome_gnn.constrained.recurrent import ConnectomeRecurrent
from connectome_gnn.constrained.wiring import Wiring
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.model_folder import CONFIG, WEIGHTS, read_model, write_config, write_weights

__all__ = ["FORMAT_VERSION", "Saved", "load_constrained", "save_constrained"]

FORMAT_VERSION = 2
PACKAGES = ("connectome-gnn", "torch", "numpy")
WIRING = "wiring."
LINEAR = ("constraint", "initialise", "compute", "strength", "graded", "seed")
RECURRENT = ("input_size", "units", "trainable", "leak", "input_scaling", "washout")
LAYER = ("units", "constraint", "initialise", "compute", "strength", "graded", "bias", "inhibitory")
NETWORK = ("in_features", "out_features", "activation", "dropout", "project", "seed")
Saved = ConnectomeLinear | ConnectomeRecurrent | ConnectomeConstrainedNetwork
Builder = Callable[[dict[str, Any], dict[str, Tensor]], Saved]


def save_constrained(model: Saved, path: str | Path, force: bool = False) -> Path:
    """Write a constrained layer, recurrent network or network as a folder; it appears complete or not at all.

    Parameters
    ----------
    model : a :class:`ConnectomeLinear`, :class:`ConnectomeRecurrent` or :class:`ConnectomeConstrainedNetwork`, pruned or not.
    path : the folder.
    force : whether to replace what is there.

    Raises
    ------
    ConnectomeError
        If the model is none of those, the folder exists and ``force`` is not given, or the disk does not take it.
    """
    if isinstance(model, ConnectomeLinear):
        config = _of_linear(model)
    elif isinstance(model, ConnectomeRecurrent):
        config = _of_recurrent(model)
    elif isinstance(model, ConnectomeConstrainedNetwork):
        config = _of_network(model)
    else:
        raise ConnectomeError(
            f"expected a ConnectomeLinear, ConnectomeRecurrent or ConnectomeConstrainedNetwork, got {type(model).__name__}; "
            "save its constrained parts one by one"
        )
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    tensors |= _of_wirings(model)
    with native.new_folder(path, force) as folder:
        write_weights(folder, tensors)
        frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
        record = {"versions": {name: version(name) for name in PACKAGES}, "model": config, "frozen": frozen}
        write_config(folder, FORMAT_VERSION, type(model).__name__, (WEIGHTS,), record)
    return Path(path)


def load_constrained(path: str | Path) -> Any:
    """Read what :func:`save_constrained` wrote: a model of the same class, with the same weights to the last bit, pruned and frozen alike.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If a file is missing, was changed since, or is of another format.
    """
    path = Path(path)
    kinds: dict[str, Builder] = {"ConnectomeLinear": _linear, "ConnectomeRecurrent": _recurrent, "ConnectomeConstrainedNetwork": _network}
    record, content = read_model(path, FORMAT_VERSION, tuple(kinds), (WEIGHTS,))
    try:
        return _rebuilt(kinds[record["kind"]], record["model"], load_tensors(content[WEIGHTS]), record["frozen"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConnectomeError(f"{path / CONFIG} does not describe {WEIGHTS} beside it ({error}); save the model again") from error


def _rebuilt(build: Builder, config: dict[str, Any], tensors: dict[str, Tensor], frozen: list[str]) -> Saved:
    # Isolated units were told of when the model was built, and initial weights are about to be replaced: no warning, no draw.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", ConnectomeWarning)
        model = build(config, tensors)
    state = {name: value for name, value in tensors.items() if not name.startswith(WIRING)}
    for pruned in (name.removesuffix("_orig") for name in state if name.endswith("_orig")):
        place, _, name = pruned.rpartition(".")
        prune.identity(model.get_submodule(place), name)
    model.to(next(value.dtype for name, value in state.items() if name.endswith(("weight", "weight_orig"))))
    model.load_state_dict(state)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return model


def _of_linear(layer: ConnectomeLinear) -> dict[str, Any]:
    record = {name: getattr(layer, name) for name in (*LINEAR, "in_features", "out_features")}
    return {**record, "bias": layer.bias is not None, "region_shape": list(layer.region_shape)}


def _linear(config: dict[str, Any], tensors: dict[str, Tensor], prefix: str = "") -> ConnectomeLinear:
    pattern = _pattern(config, tensors, prefix)
    signs = tensors.get(f"{prefix}signs")
    options = {name: config[name] for name in (*LINEAR, "bias")}
    layer = ConnectomeLinear(config["in_features"], config["out_features"], pattern, signs=signs, **options)
    layer.region_shape = (config["region_shape"][0], config["region_shape"][1])
    for name in ("receiving_regions", "sending_regions"):
        layer.register_buffer(name, tensors.get(f"{prefix}{name}"))
    return layer


def _pattern(config: dict[str, Any], tensors: dict[str, Tensor], prefix: str) -> sparse.csr_array:
    """Where a saved layer has connections, (out_features, in_features)."""
    indices = [tensors[f"{prefix}{name}"].numpy() for name in ("col_indices", "crow_indices")]
    return sparse.csr_array((np.ones(len(indices[0])), *indices), shape=(config["out_features"], config["in_features"]))


def _of_recurrent(model: ConnectomeRecurrent) -> dict[str, Any]:
    return {**{name: getattr(model, name) for name in RECURRENT}, "radius": model.radius, "recurrent": _of_linear(model.recurrent)}


def _recurrent(config: dict[str, Any], tensors: dict[str, Tensor]) -> ConnectomeRecurrent:
    layer = _linear(config["recurrent"], tensors, "recurrent.")
    options = {name: config[name] for name in RECURRENT if name not in ("input_size", "units")}
    model = ConnectomeRecurrent(
        config["input_size"], config["units"], _pattern(config["recurrent"], tensors, "recurrent."), spectral_radius=None, **options
    )
    model.radius, model.recurrent = config["radius"], layer
    return model


def _of_network(model: ConnectomeConstrainedNetwork) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(model, name) for name in NETWORK}
    record["layers"] = [{name: getattr(config, name) for name in LAYER} for config in model.configs]
    record["wirings"] = [None if wiring is None else {"name": wiring.name, "labels": list(wiring.labels)} for wiring in model.wirings]
    return record


def _of_wirings(model: nn.Module) -> dict[str, Tensor]:
    """The wirings of a network's layers, from which it is built again."""
    found = {}
    for number, config in enumerate(model.configs if isinstance(model, ConnectomeConstrainedNetwork) else []):
        if config.wiring is not None:
            arrays = {"connectivity": config.wiring.connectivity, "distances": config.wiring.distances, "regions": config.regions}
            for name, array in arrays.items():
                if array is not None:
                    found[f"{WIRING}{number}.{name}"] = torch.from_numpy(np.array(array))
    return found


def _network(config: dict[str, Any], tensors: dict[str, Tensor]) -> ConnectomeConstrainedNetwork:
    layers = []
    for number, (layer, known) in enumerate(zip(config["layers"], config["wirings"], strict=True)):
        wiring = regions = None
        if known is not None:
            arrays = {name: tensors.get(f"{WIRING}{number}.{name}") for name in ("connectivity", "distances", "regions")}
            connectivity, distances, regions = (None if array is None else array.numpy() for array in arrays.values())
            if connectivity is None:
                raise KeyError(f"{WIRING}{number}.connectivity")
            wiring = Wiring(connectivity, distances, tuple(known["labels"]), known["name"])
        layers.append(LayerConfig(wiring=wiring, regions=regions, **layer))
    return ConnectomeConstrainedNetwork(layers=layers, **{name: config[name] for name in NETWORK})

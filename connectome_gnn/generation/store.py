"""Saved generators: a folder with model.safetensors and config.json, never a pickle."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save_file

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.closed_form import ClosedForm, FoldModel
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.generation.recombination import PeopleSampler, Recipe
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.phenotypes import PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = ["FORMAT_VERSION", "load_generator", "save_generator"]

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "model.safetensors", "config.json"
PACKAGES = ("connectome-gnn", "torch", "torch-geometric", "numpy", "scipy", "pandas", "scikit-learn")
SPACE = ("mean", "std", "presence", "kept", "basis")
DIRECTIONS = ("weights", "scale", "mean", "deviation")


def save_generator(model: ConnectomeGenerator, path: Path, force: bool) -> Path:
    """See :meth:`connectome_gnn.ConnectomeGenerator.save`."""
    closed = model.closed_form
    arrays = {f"space.{name}": getattr(model.space, name) for name in SPACE}
    arrays |= {f"residual.{name}": array for name, array in model.residual.arrays().items()}
    arrays |= _arrays_of(closed.directions, "directions.")
    folds: list[list[dict[str, Any]]] = []
    for partition, members in enumerate(closed.without):
        folds.append([])
        for number, fold in enumerate(members):
            prefix = f"without{partition}.{number}."
            arrays |= _arrays_of(fold.directions, prefix)
            arrays |= {f"{prefix}centre": fold.centre, f"{prefix}average": fold.average, f"{prefix}maps": fold.maps}
            folds[-1].append(_kind_of(fold.directions))
    arrays |= {"features.mean": closed.features.mean, "features.scale": closed.features.scale}
    arrays |= {"closed_form.centre": closed.centre, "closed_form.maps": closed.maps}
    arrays["closed_form.patterns"] = closed.basis[model.space.n_components :]
    if model.schema.covariance is not None:
        arrays["schema.covariance"] = model.schema.covariance
    if model.people is not None:
        arrays |= {f"people.{name}": array for name, array in model.people.arrays().items()}
    if model.members:
        arrays |= {"gate": model.gate, "unit": model.members[0].unit.numpy()}
        for number, member in enumerate(model.members):
            arrays |= {f"member{number}.{name}": value.numpy() for name, value in member.state_dict().items()}
    with native.new_folder(path, force) as folder:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, folder / WEIGHTS)
        table = model.atlas.to_frame().astype(object)
        record: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "kind": type(model).__name__,
            "sha256": {WEIGHTS: _sha256((folder / WEIGHTS).read_bytes())},
            "versions": {name: version(name) for name in PACKAGES},
            "atlas": {"name": model.atlas.name, **{c: table[c].where(table[c].notna(), None).tolist() for c in table}},
            "measure": model.measure,
            "signed": model.signed,
            "schema": model.schema.to_dict(),
            "described": model.described,
            "features": closed.features.to_dict(),
            "directions": _kind_of(closed.directions),
            "without": folds,
            "settings": {
                "seed": model.seed,
                "messages": model.messages,
                "n_components": model.n_components,
                "network": None if model.network is None else vars(model.network),
                "sampler": vars(model.sampler) if isinstance(model.sampler, Recipe) else model.sampler,
            },
            "members": len(model.members),
            "training": {"cohort": model.cohort_name, "people": model.n_training, "earned": _records(model.earned)},
            "holds_training_people": model.holds_training_people,
        }
        if model.privacy is not None:
            record["privacy"] = {"network_share": model.privacy.network_share, **(model.account or {})}
        native.write_json(folder / CONFIG, record)
        record = native.read_json(folder / CONFIG)  # keys as text and plain numbers, as they will be read and summed
        record["sha256"][CONFIG] = _sha256_of_record(record)
        native.write_json(folder / CONFIG, record)
    return path


def load_generator(cls: type[ConnectomeGenerator], path: Path) -> Any:
    """See :meth:`connectome_gnn.ConnectomeGenerator.load`."""
    if not path.is_dir():
        raise FileNotFoundError(
            f"no model folder at {path}; expected a folder with {WEIGHTS} and {CONFIG}, as ConnectomeGenerator.save writes it"
        )
    record = native.read_json(path / CONFIG)
    if record.get("format_version") != FORMAT_VERSION or record.get("kind") != cls.__name__:
        raise ConnectomeError(
            f"{path / CONFIG}: expected a {cls.__name__} of format {FORMAT_VERSION}, got {record.get('kind')!r} of format "
            f"{record.get('format_version')!r}; save the model again with this version"
        )
    arrays = _checked_arrays(path, record)
    try:
        return _rebuilt(cls, record, arrays)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConnectomeError(f"{path / CONFIG} does not describe {WEIGHTS} beside it ({error}); save the model again") from error


def _checked_arrays(path: Path, record: dict[str, Any]) -> dict[str, np.ndarray]:
    file = path / WEIGHTS
    if not file.is_file():
        raise FileNotFoundError(f"{path} lacks {WEIGHTS}; a model folder needs it beside {CONFIG}")
    content = file.read_bytes()
    sums = record["sha256"] if isinstance(record.get("sha256"), dict) else {}
    if sums.get(CONFIG) != _sha256_of_record(record):
        raise ConnectomeError(
            f"{path / CONFIG} was changed after the model was saved (its sha256 differs); restore it or save the model again"
        )
    if sums.get(WEIGHTS) != _sha256(content):
        raise ConnectomeError(
            f"{file} is not the file that {CONFIG} was written with (its sha256 differs); restore it or save the model again"
        )
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise ConnectomeError(f"{file} is no safetensors file ({error})") from error


def _rebuilt(cls: type[ConnectomeGenerator], record: dict[str, Any], arrays: dict[str, np.ndarray]) -> ConnectomeGenerator:
    settings, training = record["settings"], record["training"]
    network, sampler = settings["network"], settings["sampler"]
    model = cls(
        settings["seed"],
        messages=settings["messages"],
        network=None if network is None else NetworkConfig(**network),
        n_components=settings["n_components"],
        sampler=Recipe(**sampler) if isinstance(sampler, dict) else sampler,
        privacy=_promised(record.get("privacy")),
    )
    model.account = {key: value for key, value in record["privacy"].items() if key != "network_share"} if model.privacy else None
    model.atlas = Atlas.from_frame(
        pd.DataFrame({key: value for key, value in record["atlas"].items() if key != "name"}), record["atlas"]["name"]
    )
    model.measure, model.signed, model.scale = record["measure"], record["signed"], Scale(record["signed"])
    model.cohort_name, model.described, model.n_training = training["cohort"], record["described"], training["people"]
    model.schema = PhenotypeSchema.from_dict(record["schema"], arrays.get("schema.covariance"))
    model.features = ProfileFeatures.from_dict(record["features"], model.schema, arrays["features.mean"], arrays["features.scale"])
    model.space = EdgeSpace(*(arrays[f"space.{name}"] for name in SPACE))
    model.residual = ResidualModel.from_arrays(_part(arrays, "residual."))
    if model.sampler is not None:
        model.people = PeopleSampler.from_arrays(_part(arrays, "people."))
        model.holds_training_people = model.people.holds_training_people
    without = tuple(
        tuple(_fold(arrays, f"without{partition}.{number}.", kind) for number, kind in enumerate(kinds))
        for partition, kinds in enumerate(record["without"])
    )
    model.earned = pd.DataFrame(training["earned"]).set_index("path").astype(float)
    model.closed_form = ClosedForm(
        model.features,
        _directions(arrays, "directions.", record["directions"]),
        arrays["closed_form.centre"],
        arrays["closed_form.maps"],
        model.earned,
        np.concatenate([model.space.basis, arrays["closed_form.patterns"]]),
        without,
    )
    if record["members"] and model.network is not None:
        model.gate = arrays["gate"]
        task = model._task(arrays["unit"])
        for number in range(record["members"]):
            member = ConnectomeNetwork(task, model.network)
            member.load_state_dict({name: torch.from_numpy(array) for name, array in _part(arrays, f"member{number}.").items()})
            model.members.append(member.eval())
    model._fitted = True
    return model


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _arrays_of(directions: Directions, prefix: str) -> dict[str, np.ndarray]:
    return {prefix + name: getattr(directions, name) for name in DIRECTIONS}


def _kind_of(directions: Directions) -> dict[str, Any]:
    """What directions are beside their arrays, as plain JSON values."""
    return {"groups": list(directions.groups), "age": directions.age, "sex": directions.sex}


def _directions(arrays: dict[str, np.ndarray], prefix: str, kind: dict[str, Any]) -> Directions:
    weights, scale, mean, deviation = (arrays[prefix + name] for name in DIRECTIONS)
    return Directions(weights, tuple(kind["groups"]), kind["age"], kind["sex"], scale, mean, deviation)


def _fold(arrays: dict[str, np.ndarray], prefix: str, kind: dict[str, Any]) -> FoldModel:
    return FoldModel(_directions(arrays, prefix, kind), *(arrays[prefix + name] for name in ("centre", "average", "maps")))


def _promised(account: dict[str, Any] | None) -> DifferentialPrivacy | None:
    """The promise that a model was fitted under; whose noise it was, and what ranges were known, stands in the account and the schema."""
    if account is None:
        return None
    return DifferentialPrivacy(account["epsilon"], account["delta"], network_share=account["network_share"])


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"path": str(path), **{str(name): float(value) for name, value in row.items()}} for path, row in table.iterrows()]


def _sha256_of_record(record: dict[str, Any]) -> str:
    """The checksum of a configuration without its own, whatever its line breaks."""
    sums = {name: value for name, value in record["sha256"].items() if name != CONFIG} if isinstance(record.get("sha256"), dict) else {}
    return _sha256(json.dumps({**record, "sha256": sums}, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

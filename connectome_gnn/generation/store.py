"""Saved generators: a folder with model.safetensors, config.json and card.md, never a pickle."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.card import card_of, card_text
from connectome_gnn.generation.checkpoint import RECORD as CHECKPOINT
from connectome_gnn.generation.closed_form import ClosedForm, FoldModel
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig
from connectome_gnn.generation.nuisance import Nuisances
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.generation.recombination import PeopleSampler, Recipe
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.generation.transfer import Origin, Transfer
from connectome_gnn.model_folder import CONFIG, WEIGHTS, read_model, write_config, write_weights
from connectome_gnn.phenotypes import PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = ["CARD", "FORMAT_VERSION", "check_model_target", "load_generator", "save_generator"]

FORMAT_VERSION = 6
CARD = "card.md"
PACKAGES = ("connectome-gnn", "torch", "torch-geometric", "numpy", "scipy", "pandas", "scikit-learn")
SPACE = ("mean", "std", "presence", "kept", "basis")
MOVED = ("gain", "source_name", "source_people", "source_promise", "blended")
MATCHED = ("shared", "absent", "added")
DIRECTIONS = ("weights", "scale", "mean", "deviation")


def save_generator(model: ConnectomeGenerator, path: Path, force: bool) -> Path:
    """See :meth:`connectome_gnn.ConnectomeGenerator.save`."""
    check_model_target(path, force)
    described, arrays = _described(model)
    versions = {name: version(name) for name in PACKAGES}
    card = card_of(model, versions)
    with native.new_folder(path, force) as folder:
        write_weights(folder, arrays)
        (folder / CARD).write_text(card_text(card), encoding="utf-8", newline="\n")
        record = {"versions": versions, **described, "card": card}
        write_config(folder, FORMAT_VERSION, type(model).__name__, (WEIGHTS, CARD), record)
    return path


def check_model_target(path: Path, force: bool = False) -> None:
    """Refuse an output folder that exists (:func:`connectome_gnn.native.check_target`), that a fit keeps its checkpoint in, or a cohort.

    A model is handed on; a checkpoint and a cohort hold numbers of people, and must not go with it.
    """
    native.check_target(path, force)
    if (path / CHECKPOINT).exists():
        raise ConnectomeError(
            f"{path} holds the checkpoint of a fit, with numbers of the people, which do not belong into a model's folder; "
            "name another folder for the model, or delete the checkpoint"
        )
    if all((path / name).exists() for name in native.NATIVE_FILES):
        raise ConnectomeError(
            f"{path} is a cohort's folder, and people's connectomes do not belong into a model's; name another folder for the model"
        )


def _described(model: ConnectomeGenerator, prefix: str = "") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A model as plain JSON values and arrays, their names behind ``prefix``; what it was fine-tuned from lies within."""
    closed = model.closed_form
    arrays: dict[str, np.ndarray] = {f"space.{name}": getattr(model.space, name) for name in SPACE}
    arrays |= {"features.mean": model.features.mean, "features.scale": model.features.scale}
    arrays["closed_form.patterns"] = closed.basis[model.space.n_components :]
    form, form_arrays = _described_form(closed)
    arrays |= {f"closed_form.{name}": array for name, array in form_arrays.items()}
    if hasattr(model, "residual"):
        arrays |= {f"residual.{name}": array for name, array in model.residual.arrays().items()}
    if model.schema.covariance is not None:
        arrays["schema.covariance"] = model.schema.covariance
    if model.people is not None:
        arrays |= {f"people.{name}": array for name, array in model.people.arrays().items()}
    if model.members:
        arrays |= {"gate": model.gate, "unit": model.members[0].unit.numpy()}
        for number, member in enumerate(model.members):
            arrays |= {f"member{number}.{name}": np.asarray(value) for name, value in member.state_dict().items()}
    record: dict[str, Any] = {
        "atlas": model.atlas.to_dict(),
        "measure": model.measure,
        "signed": model.signed,
        "whole_numbers": model.whole,
        "schema": model.schema.to_dict(),
        "described": model.described,
        "processing": model.processing,
        "features": model.features.to_dict(),
        "closed_form": form,
        "settings": {
            "seed": model.seed,
            "messages": model.messages,
            "n_components": model.n_components,
            "network": None if model.network is None else vars(model.network),
            "sampler": vars(model.sampler) if isinstance(model.sampler, Recipe) else model.sampler,
            "nuisance": list(model.nuisance),
            "nuisance_reference": model.nuisance_reference,
        },
        "members": len(model.members),
        "training": {"cohort": model.cohort_name, "people": model.n_training, "earned": _records(model.earned)},
        "holds_training_people": model.holds_training_people,
    }
    if model.nuisances is not None:
        record["nuisances"] = model.nuisances.to_dict()
    if model.privacy is not None:
        record["privacy"] = {"network_share": model.privacy.network_share, **(model.account or {})}
    if model.transfer is not None:
        record["transfer"], moved = _described_transfer(model.transfer)
        arrays |= {f"transfer.{name}": array for name, array in moved.items()}
    return record, {prefix + name: array for name, array in arrays.items()}


def _described_form(form: ClosedForm) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays: dict[str, np.ndarray] = {"features.mean": form.features.mean, "features.scale": form.features.scale}
    arrays |= {"centre": form.centre, "maps": form.maps}
    arrays |= _arrays_of(form.directions, "directions.")
    folds: list[list[dict[str, Any]]] = []
    for partition, members in enumerate(form.without):
        folds.append([])
        for number, fold in enumerate(members):
            prefix = f"without{partition}.{number}."
            arrays |= _arrays_of(fold.directions, prefix)
            arrays |= {f"{prefix}centre": fold.centre, f"{prefix}average": fold.average, f"{prefix}maps": fold.maps}
            folds[-1].append(_kind_of(fold.directions))
    return {"directions": _kind_of(form.directions), "without": folds, "paths": _records(form.paths)}, arrays


def _described_transfer(transfer: Transfer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays: dict[str, np.ndarray] = {name: getattr(transfer, name) for name in ("own", "theirs", "centre")}
    record: dict[str, Any] = {name: getattr(transfer, name) for name in MOVED} | {name: list(getattr(transfer, name)) for name in MATCHED}
    record |= {"comparison": _records(transfer.comparison), "forms": [], "source": None}
    for number, form in enumerate(transfer.forms):
        described, more = _described_form(form)
        record["forms"].append(described)
        arrays |= {f"form{number}.{name}": array for name, array in more.items()}
    if transfer.origin is not None:
        record["source"], more = _described(transfer.origin.model, "source.")
        arrays |= more
    return record, arrays


def load_generator(cls: type[ConnectomeGenerator], path: Path) -> Any:
    """See :meth:`connectome_gnn.ConnectomeGenerator.load`."""
    record, content = read_model(path, FORMAT_VERSION, (cls.__name__,), (WEIGHTS, CARD))
    try:
        return _rebuilt(cls, record, load_tensors(content[WEIGHTS]))
    except SafetensorError as error:
        raise ConnectomeError(f"{path / WEIGHTS} is no safetensors file ({error})") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConnectomeError(f"{path / CONFIG} does not describe {WEIGHTS} beside it ({error}); save the model again") from error


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
        nuisance=settings["nuisance"],
        nuisance_reference=settings["nuisance_reference"],
    )
    model.account = {key: value for key, value in record["privacy"].items() if key != "network_share"} if model.privacy else None
    model.atlas = Atlas.from_dict(record["atlas"])
    model.measure, model.signed, model.scale = record["measure"], record["signed"], Scale(record["signed"])
    model.whole = record["whole_numbers"]
    model.cohort_name, model.described, model.n_training = training["cohort"], record["described"], training["people"]
    model.processing = record["processing"]
    model.schema = PhenotypeSchema.from_dict(record["schema"], arrays.get("schema.covariance"))
    model.space = EdgeSpace(*(arrays[f"space.{name}"] for name in SPACE))
    basis = np.concatenate([model.space.basis, arrays["closed_form.patterns"]])
    model.closed_form = _form(model.schema, record["features"], record["closed_form"], _part(arrays, "closed_form."), basis)
    model.features = ProfileFeatures.from_dict(record["features"], model.schema, arrays["features.mean"], arrays["features.scale"])
    if "residual.means" in arrays:
        model.residual = ResidualModel.from_arrays(_part(arrays, "residual."))
    if "people.directions" in arrays:
        model.people = PeopleSampler.from_arrays(_part(arrays, "people."))
        model.holds_training_people = model.people.holds_training_people
    model.earned = _table(training["earned"], "path")
    if record["members"] and model.network is not None:
        model.gate = arrays["gate"]
        task = model._task(arrays["unit"])
        for number in range(record["members"]):
            member = ConnectomeNetwork(task, model.network)
            member.load_state_dict({name: torch.from_numpy(array) for name, array in _part(arrays, f"member{number}.").items()})
            model.members.append(member.eval())
    if "transfer" in record:
        model.transfer = _transfer(cls, model, record["transfer"], record["features"], _part(arrays, "transfer."), basis)
    if "nuisances" in record:
        model.nuisances = Nuisances.from_dict(record["nuisances"], model.schema)
    if "card" in record:  # what was learned of the people for it; all else in it follows from the model
        card = record["card"]
        model.people_described = [] if model.privacy is not None else card["phenotypes"]
        model.score, model.held_out = None if model.privacy is not None else card["score"], card["held_out"]
    model._fitted = True
    return model


def _transfer(
    cls: type[ConnectomeGenerator],
    model: ConnectomeGenerator,
    record: dict[str, Any],
    features: dict[str, Any],
    arrays: dict[str, np.ndarray],
    basis: np.ndarray,
) -> Transfer:
    matched = {name: tuple(record[name]) for name in MATCHED}
    forms = tuple(
        _form(model.schema, features, described, _part(arrays, f"form{number}."), basis) for number, described in enumerate(record["forms"])
    )
    origin = None
    if record["source"] is not None:
        source = _rebuilt(cls, record["source"], _part(arrays, "source."))
        source._knows_people = False
        origin = Origin(source, **matched)
    known: dict[str, Any] = {name: record[name] for name in MOVED} | {name: arrays[name] for name in ("own", "theirs", "centre")} | matched
    return Transfer(origin=origin, forms=forms, comparison=_table(record["comparison"], "mean"), **known)


def _form(
    schema: PhenotypeSchema, features: dict[str, Any], record: dict[str, Any], arrays: dict[str, np.ndarray], basis: np.ndarray
) -> ClosedForm:
    without = tuple(
        tuple(_fold(arrays, f"without{partition}.{number}.", kind) for number, kind in enumerate(kinds))
        for partition, kinds in enumerate(record["without"])
    )
    return ClosedForm(
        ProfileFeatures.from_dict(features, schema, arrays["features.mean"], arrays["features.scale"]),
        _directions(arrays, "directions.", record["directions"]),
        arrays["centre"],
        arrays["maps"],
        _table(record["paths"], "path"),
        basis,
        without,
    )


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
    name = str(table.index.name)
    return [{name: str(row), **{str(key): float(value) for key, value in values.items()}} for row, values in table.iterrows()]


def _table(records: list[dict[str, Any]], name: str) -> pd.DataFrame:
    return pd.DataFrame(records).set_index(name).astype(float)

"""Saved harmonisers: a folder with model.safetensors and config.json, never a pickle."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.harmonisation.combat import ComBat
from connectome_gnn.harmonisation.confounds import ConfoundRegression
from connectome_gnn.harmonisation.harmoniser import Harmoniser
from connectome_gnn.model_folder import CONFIG, WEIGHTS, read_model, write_config, write_weights

__all__ = ["FORMAT_VERSION", "load_harmoniser", "save_harmoniser"]

FORMAT_VERSION = 1
PACKAGES = ("connectome-gnn", "numpy")
KINDS: dict[str, type[ComBat] | type[ConfoundRegression]] = {"ComBat": ComBat, "ConfoundRegression": ConfoundRegression}


def save_harmoniser(harmoniser: Harmoniser, path: Path, force: bool = False) -> Path:
    """See :meth:`connectome_gnn.harmonisation.Harmoniser.save`."""
    learned, arrays = harmoniser._learned()
    record = {
        "versions": {name: version(name) for name in PACKAGES},
        "settings": harmoniser._settings(),
        "learned": learned,
        "atlas": harmoniser.atlas.to_dict(),
        "measure": harmoniser.measure,
        "signed": harmoniser.signed,
        "least_weight": harmoniser.least,
        "training": {
            "cohort": harmoniser.cohort_name,
            "people": harmoniser.n_training,
            "processing": harmoniser.before,
            "described": harmoniser.before_described,
        },
    }
    with native.new_folder(path, force) as folder:
        write_weights(folder, arrays)
        write_config(folder, FORMAT_VERSION, type(harmoniser).__name__, (WEIGHTS,), record)
    return path


def load_harmoniser(path: str | Path) -> Any:
    """Open a folder that a harmoniser's ``save`` wrote: a :class:`ComBat` or :class:`ConfoundRegression`, as it was.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If a file is missing, was changed since, or is of another format.
    """
    path = Path(path)
    record, content = read_model(path, FORMAT_VERSION, tuple(KINDS), (WEIGHTS,))
    try:
        harmoniser = KINDS[record["kind"]](**record["settings"])
        harmoniser._relearn(record["learned"], load_arrays(content[WEIGHTS]))
        harmoniser.atlas = Atlas.from_dict(record["atlas"])
        harmoniser.measure, harmoniser.signed, harmoniser.least = record["measure"], record["signed"], record["least_weight"]
        training = record["training"]
        harmoniser.cohort_name, harmoniser.n_training = training["cohort"], training["people"]
        harmoniser.before, harmoniser.before_described = training["processing"], training["described"]
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ConnectomeError(f"{path / CONFIG} does not describe {WEIGHTS} beside it ({error}); save the model again") from error
    harmoniser._fitted = True
    return harmoniser

"""Saved constrained models come back equal, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    ConnectomeLinear,
    ConnectomeRecurrent,
    LayerConfig,
    Wiring,
    load_constrained,
    prune_by_wiring_cost,
    save_constrained,
    wiring_cost,
)
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

PLACES = np.random.default_rng(0).normal(0, 30, (10, 3))


def matrix(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    upper = np.triu(generator.lognormal(0, 1, (10, 10)) * (generator.random((10, 10)) < 0.4), 1) + np.eye(10, k=1)
    return upper + upper.T


def layer(**options: Any) -> ConnectomeLinear:
    return ConnectomeLinear(20, 30, matrix(), **{"assignment": "blocks", "signs": np.resize([1, -1], 10), "seed": 0, **options})


MODELS = {
    "hard": layer,
    "sparse": lambda: layer(compute="sparse", signs=None, bias=False),
    "soft": lambda: layer(constraint="soft", graded=True, strength=0.2),
    "double": lambda: layer(dtype=torch.float64, constraint="init"),
    "reservoir": lambda: ConnectomeRecurrent(20, 10, matrix(), washout=1, input_units=[1, 2], bias=True, leak=0.5, seed=0),
    "cell": lambda: ConnectomeRecurrent(20, 30, matrix(), trainable=True, assignment="blocks", compute="sparse", seed=0),
    "network": lambda: ConnectomeConstrainedNetwork(
        20,
        3,
        [
            LayerConfig(Wiring(matrix(), np.sqrt(((PLACES[:, None] - PLACES[None]) ** 2).sum(-1)), tuple("abcdefghij"), "first"), units=15),
            LayerConfig(units=12),
            LayerConfig(matrix(1), regions=np.arange(20) % 10, constraint="soft", inhibitory=0.3, initialise="connectome"),
        ],
        activation="gelu",
        dropout=0.1,
        seed=0,
    ),
}


def answer(model: nn.Module) -> torch.Tensor:
    kind = next(model.parameters()).dtype
    sequence = isinstance(model, ConnectomeRecurrent)
    inputs = torch.randn(*((4, 6) if sequence else (4,)), 20, generator=torch.manual_seed(0)).to(kind)
    given = model.eval()(inputs)
    return given[0] if isinstance(given, tuple) else given


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("trained", [False, True])
def test_what_was_saved_comes_back_equal(name: str, trained: bool, tmp_path: Path) -> None:
    model = MODELS[name]()
    if trained:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    assert save_constrained(model, tmp_path / "model") == tmp_path / "model"
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"model.safetensors", "config.json"}
    torch.manual_seed(7)
    state = torch.get_rng_state()
    back = load_constrained(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(back) is type(model) and repr(back) == repr(model)
    assert torch.equal(answer(back), answer(model))
    assert back.penalty() == model.penalty()
    assert back.state_dict().keys() == model.state_dict().keys()
    for one, two in zip(back.state_dict().values(), model.state_dict().values(), strict=True):
        assert one.dtype == two.dtype and torch.equal(one, two)
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in model.parameters()]
    save_constrained(back, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_loaded_network_knows_its_wirings_and_learns_on(tmp_path: Path) -> None:
    model = MODELS["network"]()
    save_constrained(model, tmp_path / "model")
    back = load_constrained(tmp_path / "model")
    assert wiring_cost(back, back.distances()) == wiring_cost(model, model.distances())
    assert back.wirings[0].labels == tuple("abcdefghij") and back.wirings[0].name == "first" and back.wirings[1] is None
    answer(back).sum().backward()
    torch.optim.SGD(back.parameters(), lr=0.1).step()
    assert (back.layers[0].dense_weight()[~back.layers[0].mask()] == 0).all()


def test_pruned_models_stay_pruned(tmp_path: Path) -> None:
    model = MODELS["network"]()
    prune_by_wiring_cost(model, 0.5, model.distances())
    single = layer()
    prune_by_wiring_cost(single, 0.3, np.ones((10, 10)))
    for number, one in enumerate((model, single)):
        save_constrained(one, tmp_path / str(number))
        back = load_constrained(tmp_path / str(number))
        assert prune.is_pruned(back)
        assert torch.equal(answer(back), answer(one))


def test_what_is_frozen_stays_frozen_and_other_parameters_stay_pruned(tmp_path: Path) -> None:
    model = MODELS["network"]()
    model.layers[0].requires_grad_(False)
    prune.random_unstructured(model.layers[2], "bias", 0.5)
    prune.random_unstructured(model.head, "weight", 0.5)
    cell = MODELS["cell"]()
    cell.input_weight.requires_grad_(False)
    reservoir = MODELS["reservoir"]().requires_grad_(True)
    for number, one in enumerate((model, cell, reservoir)):
        back = load_constrained(save_constrained(one, tmp_path / str(number)))
        trained = {name: parameter.requires_grad for name, parameter in one.named_parameters()}
        assert {name: parameter.requires_grad for name, parameter in back.named_parameters()} == trained
        assert torch.equal(answer(back), answer(one))
        assert {name for name, _ in back.named_buffers()} == {name for name, _ in one.named_buffers()}


def test_half_precision_is_kept(tmp_path: Path) -> None:
    model = layer(dtype=torch.bfloat16)
    back = load_constrained(save_constrained(model, tmp_path / "model"))
    assert back.weight.dtype == torch.bfloat16 and torch.equal(back.weight, model.weight)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ConnectomeError, match="No space left on device.*make room"):
        save_constrained(layer(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_isolated_regions_are_told_of_once(tmp_path: Path) -> None:
    lonely = matrix()
    lonely[4] = lonely[:, 4] = 0
    with pytest.warns(ConnectomeWarning, match="rows 4"):
        model = ConnectomeLinear(10, 10, lonely, seed=0)
    save_constrained(model, tmp_path / "model")
    assert torch.equal(load_constrained(tmp_path / "model").weight, model.weight)


def test_what_was_changed_or_is_missing_is_refused(tmp_path: Path) -> None:
    folder = save_constrained(layer(), tmp_path / "model")
    with pytest.raises(ConnectomeError, match="exists"):
        save_constrained(layer(), folder)
    save_constrained(layer(seed=3), folder, force=True)
    config = json.loads((folder / "config.json").read_text())

    def refused(message: str, kind: type[Exception] = ConnectomeError) -> None:
        with pytest.raises(kind, match=message):
            load_constrained(folder)
        (folder / "config.json").write_text(json.dumps(config))

    (folder / "config.json").write_text(json.dumps({**config, "model": {**config["model"], "strength": 9}}))
    refused("config.json was changed")
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    refused("of format 99")
    (folder / "config.json").write_text(json.dumps({**config, "kind": "Pickle"}))
    refused("got 'Pickle'")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"x")
    refused("model.safetensors was changed")
    (folder / "model.safetensors").unlink()
    refused("lacks model.safetensors", FileNotFoundError)
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_constrained(tmp_path / "nowhere")
    with pytest.raises(ConnectomeError, match="got Linear"):
        save_constrained(nn.Linear(2, 2), tmp_path / "linear")  # type: ignore[arg-type]

"""Reservoirs and recurrent cells, against torch's own RNN and loops written out."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from connectome_gnn.constrained import ConnectomeRecurrent, dale_signs, spectral_radius
from connectome_gnn.constrained import recurrent as module
from connectome_gnn.errors import ConnectomeError


def small_world(n: int = 20, seed: int = 0) -> np.ndarray:
    graph = nx.connected_watts_strogatz_graph(n, 4, 0.2, seed=seed)
    weights = np.random.default_rng(seed).lognormal(0, 1, (n, n))
    return nx.to_numpy_array(graph) * (weights + weights.T)


@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_states_are_those_of_torch_rnn(compute: str) -> None:
    """With leak 1 the cell is torch.nn.RNN with its recurrent weights masked."""
    cell = ConnectomeRecurrent(3, 20, small_world(), trainable=True, bias=True, compute=compute, seed=0).double()
    rival = nn.RNN(3, 20, batch_first=True).double()
    with torch.no_grad():
        rival.weight_ih_l0.copy_(cell.input_weight)
        rival.weight_hh_l0.copy_(cell.recurrent.dense_weight())
        rival.bias_hh_l0.copy_(cell.recurrent.bias)
        rival.bias_ih_l0.zero_()
    inputs = torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    start = torch.randn(4, 20, dtype=torch.float64, generator=torch.manual_seed(1))
    states, last = cell(inputs, start)
    expected, final = rival(inputs, start[None])
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(last, final[0])
    states.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(cell.recurrent.weight.grad, rival.weight_hh_l0.grad[cell.recurrent.connections()])
    torch.testing.assert_close(cell.input_weight.grad, rival.weight_ih_l0.grad)


def test_leak_and_washout() -> None:
    inputs = torch.randn(2, 7, 3, generator=torch.manual_seed(0))
    cell = ConnectomeRecurrent(3, 20, small_world(), leak=0.3, seed=0)
    state, by_hand = torch.zeros(2, 20), []
    for step in range(7):
        fresh = torch.tanh(state @ cell.recurrent.dense_weight().t() + inputs[:, step] @ cell.input_weight.t())
        state = 0.7 * state + 0.3 * fresh
        by_hand.append(state)
    states, last = cell(inputs)
    torch.testing.assert_close(states, torch.stack(by_hand, 1))
    washed, same = ConnectomeRecurrent(3, 20, small_world(), leak=0.3, washout=4, seed=0)(inputs)
    assert torch.equal(washed, states[:, 4:]) and torch.equal(same, last)
    first, between = cell(inputs[:, :3])
    assert torch.allclose(torch.cat([first, cell(inputs[:, 3:], between)[0]], 1), states)


@pytest.mark.parametrize("radius", [0.5, 1.2])
@pytest.mark.parametrize("dense_up_to", [0, 400])
def test_the_spectral_radius_is_as_asked(radius: float, dense_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_UNITS", dense_up_to)
    for options in ({}, {"signs": dale_signs(40, 0.2), "initialise": "scaled"}, {"constraint": "init"}):
        cell = ConnectomeRecurrent(1, 40, small_world(40), spectral_radius=radius, seed=0, **options)
        values = np.linalg.eigvals(cell.recurrent.dense_weight().detach().double().numpy())
        assert np.abs(values).max() == pytest.approx(radius, rel=1e-4)
        assert spectral_radius(cell.recurrent) == pytest.approx(radius, rel=1e-4)
    free = ConnectomeRecurrent(1, 40, small_world(40), spectral_radius=None, seed=0)
    assert spectral_radius(free.recurrent) != pytest.approx(radius, rel=0.01)


def test_a_reservoir_is_not_trained_and_a_cell_is() -> None:
    reservoir = ConnectomeRecurrent(2, 20, small_world(), bias=True, seed=0)
    assert not any(parameter.requires_grad for parameter in reservoir.parameters())
    assert "reservoir" in repr(reservoir)
    cell = ConnectomeRecurrent(2, 20, small_world(), trainable=True, input_units=[0, 3], seed=0)
    head = nn.Linear(20, 1)
    optimiser = torch.optim.AdamW([*cell.parameters(), *head.parameters()], lr=0.01, weight_decay=0.1)
    inputs = torch.rand(32, 8, 2, generator=torch.manual_seed(0)) - 0.5
    target, losses = inputs[:, -2, :1], []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (head(cell(inputs)[0][:, -1]) - target).pow(2).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert (cell.recurrent.dense_weight()[torch.from_numpy(small_world() == 0)] == 0).all()
    assert (cell.input_weight[[1, 2, *range(4, 20)]] == 0).all()


@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_a_pruned_cell_computes_with_what_was_learned_since(compute: str) -> None:
    """Its layer is not called, so torch's pruning does not renew what it computes."""
    cell = ConnectomeRecurrent(2, 20, small_world(), trainable=True, bias=True, compute=compute, seed=0)
    for name in ("weight", "bias"):
        prune.random_unstructured(cell.recurrent, name, 0.3)
    twin = ConnectomeRecurrent(2, 20, small_world(), trainable=True, bias=True, compute=compute, seed=0)
    with torch.no_grad():
        for name in ("weight", "bias"):
            values = getattr(cell.recurrent, f"{name}_orig").mul_(0.5)
            getattr(twin.recurrent, name).copy_(values * getattr(cell.recurrent, f"{name}_mask"))
    inputs = torch.rand(4, 8, 2, generator=torch.manual_seed(0))
    torch.testing.assert_close(cell(inputs)[0], twin(inputs)[0])


def test_units_in_regions_and_which_hear_the_input() -> None:
    cell = ConnectomeRecurrent(2, 40, small_world(20), assignment="blocks", input_units=np.arange(40) < 10, input_scaling=0.5, seed=0)
    assert torch.equal(cell.recurrent.mask(), torch.from_numpy(np.kron(small_world(20), np.ones((2, 2))) != 0))
    assert (cell.input_weight[10:] == 0).all() and (cell.input_weight[:10] != 0).all()
    assert cell.input_weight.abs().max() <= 0.5
    again = ConnectomeRecurrent(2, 40, small_world(20), assignment="blocks", input_units=range(10), input_scaling=0.5, seed=0)
    assert torch.equal(again.input_weight, cell.input_weight) and torch.equal(again.recurrent.weight, cell.recurrent.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leak": 0}, "leak is a share"),
        ({"spectral_radius": -1.0}, "spectral_radius must be above 0"),
        ({"washout": 1.5}, "washout is a number of steps"),
        ({"input_size": 0}, "input_size must be a whole number"),
        ({"input_scaling": -1.0}, "input_scaling must be a finite number"),
        ({"input_units": [20]}, "positions from 0 to 19"),
        ({"input_units": np.zeros(20, bool)}, "one unit at least"),
        ({"connectivity": np.triu(np.ones((20, 20)), 1)}, "without loops"),
        ({"connectivity": np.ones((5, 5))}, "say which unit belongs to which region"),
    ],
)
@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")
def test_what_cannot_be_used_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        ConnectomeRecurrent(**{"input_size": 2, "units": 20, "connectivity": small_world(), "seed": 0, **options})


def test_sequences_that_do_not_fit_are_refused() -> None:
    cell = ConnectomeRecurrent(2, 20, small_world(), washout=5, seed=0)
    for inputs, initial, message in (
        (torch.ones(4, 9), None, "expected inputs of shape"),
        (torch.ones(4, 9, 3), None, "expected inputs of shape"),
        (torch.ones(4, 5, 2), None, "leave none after a washout"),
        (torch.ones(4, 9, 2), torch.ones(20), "initial state"),
        (torch.ones(4, 9, 2).double(), None, "of the network's type"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            cell(inputs, initial)

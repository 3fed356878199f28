"""Wiring cost and pruning, against sums by hand."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.linalg import expm
from torch import nn
from torch.nn.utils import prune

from connectome_gnn import topology
from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    ConnectomeLinear,
    ConnectomeRecurrent,
    LayerConfig,
    Wiring,
    WiringRegulariser,
    communicability,
    prune_by_wiring_cost,
    ramp,
    wiring_cost,
)
from connectome_gnn.errors import ConnectomeError

PLACES = np.array([[0.0, 0, 0], [30, 40, 0], [0, 0, 12], [30, 40, 12]])
"""Distances 50 (0-1), 12 (0-2), sqrt(2644) (0-3), sqrt(2644) (1-2), 12 (1-3), 50 (2-3)."""

RING = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0.0]])


def between(places: np.ndarray) -> np.ndarray:
    return np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))


def ring(constraint: str = "hard", weights: list[float] | None = None, **options: object) -> ConnectomeLinear:
    """0-1, 0-2, 1-3, 2-3 both ways; row by row (0,1) (0,2) (1,0) (1,3) (2,0) (2,3) (3,1) (3,2)."""
    layer = ConnectomeLinear(4, 4, RING, constraint, seed=0, **options)
    with torch.no_grad():
        values = torch.tensor(weights or [1.0, -2, 3, -4, 5, 6, -7, 8])
        if constraint == "hard":
            layer.weight.copy_(values)
        else:
            layer.weight[layer.connections()] = values
    return layer


@pytest.mark.parametrize("constraint", ["hard", "soft", "init"])
@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_the_cost_is_the_sum_by_hand(constraint: str, compute: str) -> None:
    by_hand = 50 * 1 + 12 * 2 + 50 * 3 + 12 * 4 + 12 * 5 + 50 * 6 + 12 * 7 + 50 * 8
    layer = ring(constraint, compute=compute)
    assert wiring_cost(layer, between(PLACES)).item() == pytest.approx(by_hand, rel=1e-6)
    assert wiring_cost(layer, coordinates=PLACES).item() == pytest.approx(by_hand, rel=1e-6)
    assert wiring_cost(layer, {"": torch.from_numpy(between(PLACES))}).item() == pytest.approx(by_hand, rel=1e-6)


def test_rows_receive() -> None:
    lengths = np.arange(16.0).reshape(4, 4)  # not symmetric: tract lengths of two measurements, say
    assert wiring_cost(ring(), lengths).item() == sum(
        abs(w) * lengths[i, j]
        for w, (i, j) in zip([1, -2, 3, -4, 5, 6, -7, 8], [(0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)], strict=True)
    )


def test_the_gradient_is_sign_times_distance() -> None:
    layer = ring()
    wiring_cost(layer, coordinates=PLACES).backward()
    expected = torch.tensor([50.0, -12, 50, -12, 12, 50, -12, 50])
    assert torch.equal(layer.weight.grad, expected)


def test_it_agrees_with_topology_on_a_symmetric_connectome() -> None:
    generator = np.random.default_rng(0)
    weights = np.triu(generator.lognormal(0, 1, (9, 9)), 1)
    weights += weights.T
    places = generator.normal(0, 40, (9, 3))
    layer = ConnectomeLinear(9, 9, weights, initialise="connectome", dtype=torch.float64)
    scale = float(layer.weight[0].detach()) / weights[0, 1]
    assert wiring_cost(layer, coordinates=places).item() == pytest.approx(2 * scale * topology.wiring_cost(weights, places))


def test_moving_units_apart_raises_it_and_relabelling_leaves_it() -> None:
    generator = np.random.default_rng(1)
    weights = generator.normal(0, 1, (12, 12)) * (generator.random((12, 12)) < 0.4) + np.eye(12, k=1) + np.eye(12, k=-11)
    places = generator.normal(0, 30, (12, 3))
    layer = ConnectomeLinear(12, 12, weights, initialise="connectome", dtype=torch.float64)
    cost = wiring_cost(layer, coordinates=places).item()
    assert wiring_cost(layer, coordinates=1.1 * places).item() == pytest.approx(1.1 * cost)
    away = places.copy()
    away[3] = [900, 0, 0]
    assert wiring_cost(layer, coordinates=away).item() > cost
    order = generator.permutation(12)
    turned = ConnectomeLinear(12, 12, weights[np.ix_(order, order)], initialise="connectome", dtype=torch.float64)
    assert wiring_cost(turned, coordinates=places[order]).item() == pytest.approx(cost, rel=1e-12)
    assert wiring_cost(turned, coordinates=places).item() != pytest.approx(cost, rel=1e-3)


def test_units_cost_by_the_places_of_their_regions() -> None:
    out, back = np.array([1, 0, 2, 3, 3, 1]), np.array([0, 1, 2, 3, 2])
    layer = ConnectomeLinear(5, 6, RING, assignment=(out, back), seed=0, dtype=torch.float64)
    by_hand = (layer.dense_weight().detach().abs().numpy() * between(PLACES)[np.ix_(out, back)]).sum()
    assert wiring_cost(layer, between(PLACES)).item() == pytest.approx(by_hand)
    assert wiring_cost(layer, coordinates=PLACES).item() == pytest.approx(by_hand)
    assert wiring_cost(layer, coordinates=(PLACES[out], PLACES[back])).item() == pytest.approx(by_hand)


def network() -> nn.Sequential:
    return nn.Sequential(ring(), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.ReLU(), ring("soft"))


def test_layers_of_a_network_are_summed() -> None:
    model = network()
    straight = np.full((3, 4), 10.0)
    lengths = {"0": between(PLACES), "2": straight, "4": between(PLACES)}
    parts = [wiring_cost(model, {name: one}).item() for name, one in lengths.items()]
    assert wiring_cost(model, lengths).item() == pytest.approx(sum(parts))
    assert parts[1] == pytest.approx(10 * model[2].weight.abs().sum().item())
    same = nn.Sequential(ring(), ring(weights=[1.0] * 8))
    assert wiring_cost(same, between(PLACES)).item() == pytest.approx(1116 + 4 * 62)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "one of the two"),
        ((np.ones((4, 4)),), {"coordinates": PLACES}, "one of the two"),
        ((np.ones((3, 3)),), {}, "layer '0' needs distances \\(out, in\\) of shape \\(4, 4\\)"),
        ((np.ones((4, 4)),), {}, "layer '2' needs distances"),
        (({"1": np.ones((4, 4))},), {}, "no constrained or linear layer '1'"),
        (({"0": np.full((4, 4), np.nan)},), {}, "8 of its connections have no distance"),
        (({"0": -np.ones((4, 4))},), {}, "0 or more"),
        (({"0": "far"},), {}, "must be numbers"),
        (({"0": np.ones(4)},), {}, "must be a matrix"),
        ((), {"coordinates": {"0": np.where(np.eye(4, 3), np.nan, 1)}}, "no distance"),
        ((), {"coordinates": {"0": (PLACES, PLACES[:, :2])}}, "needs coordinates"),
        (({"2": np.ones((3, 4))},), {"communicability": True}, "from units to themselves"),
    ],
)
def test_distances_that_do_not_fit_are_refused(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        wiring_cost(network(), *arguments, **options)
    with pytest.raises(ConnectomeError, match="no constrained or linear layer whose"):
        wiring_cost(nn.ReLU(), np.ones((4, 4)))


def test_distances_matter_only_where_there_are_connections() -> None:
    unknown = np.where(RING > 0, between(PLACES), np.nan)
    assert wiring_cost(ring(), unknown).item() == pytest.approx(1116)


def test_communicability_is_that_of_scipy_networkx_and_topology() -> None:
    weights = np.abs(np.random.default_rng(0).normal(size=(6, 6)))
    weights[:, 2] = 0  # unit 2 sends nothing
    sent = weights.sum(0)
    scale = np.divide(1, np.sqrt(sent), out=np.zeros(6), where=sent > 0)
    expected = expm(scale[:, None] * weights * scale)
    np.fill_diagonal(expected, 0)
    assert np.allclose(communicability(torch.from_numpy(-weights)).numpy(), expected)
    symmetric = weights + weights.T
    np.fill_diagonal(symmetric, 0)
    ours = topology.communicability(symmetric)
    np.fill_diagonal(ours, 0)
    assert np.allclose(communicability(torch.from_numpy(symmetric)).numpy(), ours)
    cycle = nx.to_numpy_array(nx.cycle_graph(5))
    exponent = nx.communicability_exp(nx.from_numpy_array(cycle / 2))  # binary: weights are not read
    assert exponent[0][1] != pytest.approx(communicability(torch.from_numpy(cycle))[0, 1].item())
    assert communicability(torch.from_numpy(cycle))[0, 1].item() == pytest.approx(expm(cycle / 2)[0, 1])


@pytest.mark.parametrize("constraint", ["hard", "init"])
def test_the_communicability_weighted_cost_and_its_gradient(constraint: str) -> None:
    layer = ring(constraint).double()
    weight = np.abs(layer.dense_weight().detach().numpy())
    sent = weight.sum(0) ** -0.5
    walks = expm(sent[:, None] * weight * sent)
    np.fill_diagonal(walks, 0)
    cost = wiring_cost(layer, coordinates=PLACES, communicability=True)
    assert cost.item() == pytest.approx((weight * walks * between(PLACES)).sum())
    cost.backward()
    step = 1e-6
    with torch.no_grad():
        place = (2,) if constraint == "hard" else (1, 0)
        layer.weight[place] += step
        higher = wiring_cost(layer, coordinates=PLACES, communicability=True).item()
    assert layer.weight.grad[place].item() == pytest.approx((higher - cost.item()) / step, rel=1e-4)


def test_the_regulariser_follows_its_schedule_and_shortens_wires() -> None:
    layer = ring()
    term = WiringRegulariser(layer, coordinates=PLACES, strength=0.01, schedule=ramp(10, start=5))
    assert [round(term(step).item(), 4) for step in (0, 5, 10, 15, 99)] == pytest.approx([0, 0, 5.58, 11.16, 11.16])
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    for step in range(30):
        optimiser.zero_grad()
        term(step).backward()
        optimiser.step()
    assert term(99).item() < 11.16 / 2
    for wrong in (lambda: ramp(0), lambda: WiringRegulariser(layer, coordinates=PLACES, strength=-1)):
        with pytest.raises(ConnectomeError):
            wrong()


# --- pruning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ["hard", "soft", "init"])
def test_what_costs_most_goes_and_the_cost_falls_by_hand(constraint: str) -> None:
    layer = ring(constraint)  # costs 50 24 150 48 60 300 84 400
    done = prune_by_wiring_cost(layer, 3 / 8, between(PLACES))
    left = layer.dense_weight().detach()
    assert left[3, 2] == left[2, 3] == left[1, 0] == 0
    assert int((left != 0).sum()) == 5
    assert wiring_cost(layer, coordinates=PLACES).item() == pytest.approx(1116 - 850)
    assert done.table.to_dict("records") == [
        {"layer": "", "connections_before": 8, "removed": 3, "connections_after": 5, "cost_before": 1116.0, "cost_after": 266.0}
    ]
    assert done.removed == 3 and done.steps == (3,)
    assert (layer(torch.eye(4)) - layer(torch.zeros(4, 4)))[2, 3] == 0  # what unit 3 hears from unit 2


@pytest.mark.parametrize("fraction", [0, 0.1, 0.37, 0.5, 0.99, 1])
@pytest.mark.parametrize("steps", [None, 4])
def test_exactly_the_fraction_goes(fraction: float, steps: int | None) -> None:
    generator = np.random.default_rng(0)
    model = nn.Sequential(
        ConnectomeLinear(20, 30, generator.random((30, 20)) < 0.2 + 0.8 * np.eye(30, 20, k=0) + np.eye(30, 20, k=-12), seed=0),
        nn.Linear(30, 10),
        ConnectomeLinear(10, 10, np.ones((10, 10)) - np.eye(10), "init", seed=1),
    )
    layers = (model[0].dense_weight, lambda: model[1].weight, model[2].dense_weight)
    before = sum(int((weight() != 0).sum()) for weight in layers)
    distances = {"0": generator.random((30, 20)), "1": generator.random((10, 30)), "2": generator.random((10, 10))}
    costs = torch.cat([(weight().detach().abs() * torch.from_numpy(distances[str(k)])).flatten() for k, weight in enumerate(layers)])
    done = prune_by_wiring_cost(model, fraction, distances, schedule=steps)
    after = torch.cat([(weight() != 0).flatten() for weight in layers])
    assert done.removed == before - int(after.sum()) == round(fraction * before)
    gone = ~after & (costs > 0)
    if 0 < int(gone.sum()) < before:
        assert costs[gone].min() >= costs[after].max()  # pooled over layers
    assert done.steps[-1] == round(fraction * before) and list(done.steps) == sorted(done.steps)


@pytest.mark.parametrize("constraint", ["hard", "init"])
def test_connections_that_cost_nothing_go_before_those_that_do_not_exist(constraint: str) -> None:
    layer = ring(constraint)
    assert prune_by_wiring_cost(layer, 0.5, np.zeros((4, 4))).removed == 4
    assert int((layer.dense_weight() != 0).sum()) == 4
    assert prune_by_wiring_cost(layer, 0.5, np.zeros((4, 4))).removed == 2
    assert int((layer.dense_weight() != 0).sum()) == 2


def test_others_tools_understand_it() -> None:
    layer = ring()
    inputs = torch.randn(3, 4, generator=torch.manual_seed(0))
    prune_by_wiring_cost(layer, 0.25, coordinates=PLACES)
    assert prune.is_pruned(layer)
    assert int(layer.weight_mask.sum()) == 6
    prune.l1_unstructured(layer, "weight", amount=2)  # 1 and -2
    prune_by_wiring_cost(layer, 0.25, coordinates=PLACES)  # one of the four left: 150
    expected = torch.tensor([0.0, 0, 0, -4, 5, 0, -7, 0])
    assert torch.equal(layer.values().detach(), expected)
    twin = copy.deepcopy(layer)
    layer(inputs).sum().backward()
    twin = copy.deepcopy(layer)  # also with a computed weight in the parameter's place
    torch.optim.SGD(twin.parameters(), lr=0.5, weight_decay=0.1).step()
    assert torch.equal(twin.values() == 0, expected == 0)
    prune.remove(layer, "weight")
    assert not prune.is_pruned(layer)
    assert torch.equal(layer.weight.detach(), expected)


def test_copies_of_pruned_networks_compute_the_same_and_learn_on_their_own() -> None:
    """Also after a call, which puts a computed tensor in the weight's place, and with masks of any other parameter."""
    wiring = Wiring(RING, between(PLACES))
    network = ConnectomeConstrainedNetwork(3, 2, [LayerConfig(wiring), LayerConfig(units=4), LayerConfig(wiring)], seed=0)
    prune_by_wiring_cost(network, 0.4, {**network.distances(), "layers.1": between(PLACES)})
    cell = ConnectomeRecurrent(3, 4, RING, trainable=True, bias=True, seed=0)
    prune_by_wiring_cost(cell, 0.4, between(PLACES))
    masked = ((network.input, "weight"), (network.head, "bias"), (cell, "input_weight"), (cell.recurrent, "bias"))
    for part, name in masked:
        prune.random_unstructured(part, name, 0.3)
    for model, inputs in ((network, torch.ones(5, 3)), (cell, torch.ones(5, 2, 3))):
        before = model(inputs)  # outputs, or states and the last one
        twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.optim.swa_utils.AveragedModel(model).module]
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for twin in twins:
            assert prune.is_pruned(twin) and twin.state_dict().keys() == state.keys()
            torch.testing.assert_close(twin(inputs), before, rtol=0, atol=0)
            optimiser = torch.optim.SGD(twin.parameters(), lr=0.5, weight_decay=0.1)
            answer = twin(inputs)
            (answer if isinstance(answer, torch.Tensor) else answer[0]).sum().backward()
            optimiser.step()
            after = twin.state_dict()
            assert not all(torch.equal(after[name], value) for name, value in state.items())
            for name in (name for name in state if name.endswith("_mask")):
                assert torch.equal(after[name], state[name])
            copy.deepcopy(twin)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert (copy.deepcopy(network.layers[1]).weight == network.layers[1].weight).all() and isinstance(network.head, nn.Linear)
    plain = nn.Linear(4, 4)  # of torch's own, as the documentation says
    prune_by_wiring_cost(plain, 0.5, between(PLACES))
    copy.deepcopy(plain)
    with torch.no_grad():
        plain(torch.ones(1, 4))
    assert int((copy.deepcopy(plain).weight == 0).sum()) == 8


def test_pruned_weights_stay_gone_under_training_and_dale() -> None:
    layer = ring(weights=[1.0, 2, 3, 4, 5, 6, 7, 8], signs=[1, -1, 1, -1])
    prune_by_wiring_cost(layer, 0.5, coordinates=PLACES)
    gone = layer.values() == 0
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        layer(torch.randn(8, 4)).pow(2).sum().backward()
        optimiser.step()
        cost = wiring_cost(layer, coordinates=PLACES)  # of the weights after the step
    assert int(gone.sum()) == 4 and torch.equal(layer.values() == 0, gone)
    lengths = torch.from_numpy(between(PLACES))[layer.connections()]
    assert cost.item() == pytest.approx(float((layer.weight_orig.detach().abs() * layer.weight_mask * lengths).sum()), rel=1e-5)


def test_the_schedule_prunes_step_by_step_and_fine_tunes_between() -> None:
    layer, seen = ring(), []

    def fine_tune(module: nn.Module, step: int) -> None:
        seen.append((module is layer, step, int((layer.values() != 0).sum()), float(layer.values()[0].detach())))
        with torch.no_grad():
            layer.weight_orig[0] = 100.0  # training may make a cheap connection the costliest

    done = prune_by_wiring_cost(layer, 0.5, coordinates=PLACES, schedule=(0.25, 0.5, 1), fine_tune=fine_tune)
    assert seen == [(True, 0, 7, 1.0), (True, 1, 6, 0.0), (True, 2, 4, 0.0)]
    assert done.steps == (1, 2, 4)
    assert torch.equal(layer.values().detach(), torch.tensor([0.0, -2, 0, -4, 5, 0, -7, 0]))
    cubic = prune_by_wiring_cost(ring(), 1.0, coordinates=PLACES, schedule=2)
    assert cubic.steps == (round(8 * 0.875), 8)


def test_what_a_soft_layer_grows_meanwhile_is_not_counted_as_kept() -> None:
    layer = ConnectomeLinear(6, 6, np.eye(6, k=1) + np.eye(6, k=-1), "soft", seed=0)

    def grow(module: ConnectomeLinear, _: int) -> None:
        with torch.no_grad():
            module.weight_orig.add_(1e-3)

    pruning = prune_by_wiring_cost(layer, 0.5, np.ones((6, 6)), schedule=2, fine_tune=grow)
    assert pruning.removed == pruning.steps[-1] == 5
    assert pruning.table["connections_after"].item() == 36 - 5


def test_structured_pruning_takes_whole_receiving_units() -> None:
    layer = ring()  # units hear for 74, 198, 360 and 484
    done = prune_by_wiring_cost(layer, 0.5, coordinates=PLACES, structured=True)
    assert torch.equal((layer.dense_weight() != 0).any(1), torch.tensor([True, True, False, False]))
    assert done.steps == (2,) and done.removed == 4
    soft = ring("soft")
    prune_by_wiring_cost(soft, 0.25, coordinates=PLACES, structured=True)
    assert torch.equal((soft.dense_weight() != 0).any(1), torch.tensor([True, True, True, False]))


@pytest.mark.parametrize(
    ("fraction", "schedule"),
    [
        *((1.5, None), (-0.1, None), (float("nan"), None)),
        *((0.5, schedule) for schedule in (0, 2.5, "cubic", (0.5, 0.2, 1), (0.5,), (), (np.nan, 1))),
    ],
)
def test_fractions_and_schedules_that_make_no_sense_are_refused(fraction: float, schedule: object) -> None:
    with pytest.raises(ConnectomeError):
        prune_by_wiring_cost(ring(), fraction, coordinates=PLACES, schedule=schedule)


def test_distances_of_regions_are_those_of_units_regions_where_there_are_as_many_units():
    order = np.array([2, 0, 3, 1])
    layer = ConnectomeLinear(4, 4, RING, "hard", assignment=order, seed=0)
    rows, columns = (side.numpy() for side in layer.connections())
    by_hand = (layer.weight.detach().abs().numpy() * between(PLACES)[order[rows], order[columns]]).sum()
    assert float(wiring_cost(layer, between(PLACES))) == pytest.approx(by_hand, rel=1e-6)


def test_lengths_are_computed_of_connections_alone() -> None:
    n = 1500
    chain = sparse.eye_array(n, k=1, format="csr") + sparse.eye_array(n, k=-1)
    places = np.zeros((n, 3))
    places[:, 0] = 2 * np.arange(n)
    units = np.repeat(np.arange(n), 2)
    layers = [ConnectomeLinear(n, n, chain, initialise="connectome", seed=0)]
    layers += [ConnectomeLinear(2 * n, 2 * n, chain, assignment=units, initialise="connectome", seed=0)]
    for layer in layers:
        tracemalloc.start()
        cost = float(wiring_cost(layer, coordinates=places).detach())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert cost == pytest.approx(2 * float(layer.weight.detach().abs().sum()), rel=1e-5)
        assert peak < n * n

"""What a wiring is worth: known scores, planted likeness, lesions undone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, r2_score
from torch import nn
from torch.nn.utils import prune

from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    ConnectomeLinear,
    ConnectomeRecurrent,
    LayerConfig,
    Wiring,
    evaluate_constraints,
    lesion,
    prune_by_wiring_cost,
)
from connectome_gnn.constrained.evaluation import accuracy, r2
from connectome_gnn.constrained.similarity import learned_connectivity, rank_similarity, similarity_table
from connectome_gnn.errors import ConnectomeError

N = 20
FEW = {"n_nulls": 19, "n_lesions": 4, "n_bootstrap": 50}


def wiring(seed: int = 0) -> Wiring:
    """Near regions are joined, the nearer the stronger, with a lot of chance."""
    generator = np.random.default_rng(seed)
    places = generator.normal(0, 30, (N, 3))
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    chance = np.triu(generator.lognormal(0, 1.5, (N, N)), 1)
    weights = (chance + chance.T) * np.exp(-distances / 40)
    return Wiring(np.where(weights > np.quantile(weights, 0.7), weights, 0), distances)


def network(constraint: str = "hard", **options: object) -> ConnectomeConstrainedNetwork:
    layers = [LayerConfig(wiring(), constraint=constraint, **options), LayerConfig(wiring(), units=2 * N, constraint=constraint, **options)]
    return ConnectomeConstrainedNetwork(4, 3, layers, seed=0)


def cases(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(n, 4)), generator.integers(3, size=n)


def test_the_table_holds_what_can_be_counted_by_hand() -> None:
    model = network()
    inputs, targets = cases()
    found = evaluate_constraints(model, (inputs, targets), **FEW)
    predicted = model(torch.from_numpy(inputs).float()).argmax(1).numpy()
    assert found.value("score") == accuracy_score(targets, predicted)
    assert found.value("parameters") == sum(parameter.numel() for parameter in model.parameters())
    connections = [layer.n_connections for layer in model.layers]
    dense = 4 * N + 3 * 2 * N
    assert found.value("connections") == sum(connections) + dense
    assert found.value("nonzero share") == pytest.approx((sum(connections) + dense) / (N * N + 2 * N * N + dense))
    assert found.value("nonzero share", "layers.0") == pytest.approx(connections[0] / N**2)
    assert found.value("wiring cost") == pytest.approx(sum(costs(model)), rel=1e-5)
    rows = found.table.query("measure == 'similarity'")
    assert set(rows["null"]) == {"degree_preserving", "distance_preserving"} and set(rows["layer"]) == {"layers.0", "layers.1"}
    assert ((rows["p"] > 0) & (rows["p"] <= 1)).all() and rows["null_mean"].between(-1, 1).all()
    assert len(found.lesions) == N
    assert (found.lesions["drop"] == found.value("score") - found.lesions["score"]).all()
    assert found.table["measure"].str.startswith("score after lesions").sum() == 4
    with pytest.raises(ConnectomeError, match="no measure"):
        found.value("beauty")


def costs(model: ConnectomeConstrainedNetwork) -> list[float]:
    lengths = [wiring().distances, np.repeat(wiring().distances, 2, 0)]
    weights = [layer.dense_weight().detach().double().abs().numpy() for layer in model.layers]
    return [float((weight * length).sum()) for weight, length in zip(weights, lengths, strict=True)]


def test_the_same_seed_gives_the_same_table() -> None:
    model = network()
    first, second = (evaluate_constraints(model, cases(), seed=3, **FEW) for _ in range(2))
    assert first.to_dataframe().equals(second.to_dataframe()) and first.lesions.equals(second.lesions)


def test_numbers_are_scored_by_r2_and_by_ones_own_score() -> None:
    inputs, _ = cases()
    targets = inputs[:, :3] + 0.1
    model = network()
    found = evaluate_constraints(model, (inputs, targets), **FEW)
    predicted = model(torch.from_numpy(inputs).float()).detach().numpy()
    assert found.value("score") == pytest.approx(1 - ((predicted - targets) ** 2).sum() / ((targets - targets.mean(0)) ** 2).sum())
    assert r2(predicted[:, 0], targets[:, 0]) == pytest.approx(r2_score(targets[:, 0], predicted[:, 0]))
    assert np.isnan(r2(np.ones(3), np.ones(3)))
    mine = evaluate_constraints(model, (inputs, targets), score=lambda p, t: -float(np.abs(p - t).max()), **FEW)
    assert mine.value("score") < 0
    assert accuracy(np.array([-1.0, 2.0, 3.0]), np.array([0, 1, 0])) == pytest.approx(2 / 3)


def test_a_lesion_takes_out_its_region_and_is_undone() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.randn(9, 4, generator=torch.manual_seed(0))
    whole = model(inputs)
    with lesion(model, [3, 7]):
        first, second = model.units(inputs)
        assert (first[:, [3, 7]] == 0).all() and (second[:, [6, 7, 14, 15]] == 0).all()
        lost = model(inputs)
        for layer, rows, columns in ((model.layers[0], [3, 7], [3, 7]), (model.layers[1], [6, 7, 14, 15], [3, 7])):
            weight = layer.dense_weight()
            assert (weight[rows] == 0).all() and (weight[:, columns] == 0).all()
    assert not torch.equal(lost, whole)
    assert torch.equal(model(inputs), whole)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="inside"), lesion(model, [3]):
        raise RuntimeError("inside")
    assert torch.equal(model(inputs), whole)
    with pytest.raises(ConnectomeError, match="regions 0 to 19"), lesion(model, [20]):
        pass


def test_a_lesion_of_every_region_leaves_the_head_alone() -> None:
    model = network()
    with lesion(model, range(N)):
        assert torch.allclose(model(torch.randn(5, 4)), model.head.bias.expand(5, 3))


@pytest.mark.parametrize("trainable", [False, True])
def test_a_reservoir_is_lesioned_too(trainable: bool) -> None:
    reservoir = ConnectomeRecurrent(2, 2 * N, wiring().connectivity, assignment="blocks", trainable=trainable, bias=True, seed=0)
    inputs = torch.randn(2, 6, 2, generator=torch.manual_seed(0))
    before = reservoir(inputs)[0]
    with lesion(reservoir, [4]):
        assert (reservoir(inputs)[0][..., [8, 9]] == 0).all()
    assert torch.equal(reservoir(inputs)[0], before)


def test_pruned_networks_are_lesioned_and_evaluated() -> None:
    model = network()
    prune_by_wiring_cost(model, 0.4, model.distances())
    inputs, targets = cases()
    before = model(torch.from_numpy(inputs).float())
    twin = copy.deepcopy(model)
    found = evaluate_constraints(model, (inputs, targets), **FEW)
    total = sum(layer.n_connections for layer in model.layers)
    assert found.value("connections") == total - round(0.4 * total) + 4 * N + 3 * 2 * N
    assert torch.equal(model(torch.from_numpy(inputs).float()), before) and torch.equal(twin(torch.from_numpy(inputs).float()), before)


def test_a_region_that_carries_the_answer_is_found() -> None:
    """Only region 5 says anything to the head: without it nothing is left."""
    layer = ConnectomeLinear(N, N, np.ones((N, N)), "init", bias=False, seed=0)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 5] = 1.0
    model = nn.Sequential(layer, nn.Linear(N, 1, bias=False))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 0] = 1.0
    inputs = np.random.default_rng(0).normal(size=(50, N))
    found = evaluate_constraints(model, (inputs, inputs[:, 5]), **FEW)
    assert found.value("score") == pytest.approx(1)
    assert set(found.lesions.query("drop > 0.5")["region"]) == {0, 5}
    assert found.lesions.query("drop <= 0.5")["drop"].abs().max() < 1e-6


def test_likeness_is_that_of_scipy_and_beats_nulls_only_where_it_is_planted() -> None:
    real = wiring()
    generator = np.random.default_rng(3)
    upper = np.triu_indices(N, 1)
    noisy = real.connectivity + np.abs(generator.normal(0, 0.02, (N, N)))
    assert rank_similarity((noisy + noisy.T) / 2, real.connectivity) == pytest.approx(
        spearmanr(((noisy + noisy.T) / 2)[upper], real.connectivity[upper]).statistic
    )
    planted = similarity_table(noisy, real.connectivity, real.distances, 99, 0)
    assert (planted["p"] <= 0.02).all()
    by_length = np.exp(-real.distances / 30)  # knows the distances and nothing else
    guessed = similarity_table(by_length, real.connectivity, real.distances, 99, 0).set_index("null")
    assert guessed.loc["degree_preserving", "p"] <= 0.05
    assert guessed.loc["distance_preserving", "p"] > 0.05
    blind = similarity_table(np.abs(generator.normal(size=(N, N))), real.connectivity, None, 99, 0)
    assert (blind["p"].dropna() > 0.02).all()
    assert "not known" in blind.set_index("null").loc["distance_preserving", "reason"]
    same = similarity_table(np.ones((N, N)), real.connectivity, real.distances, 9, 0)
    assert same["value"].isna().all() and (same["reason"] != "").all()
    with pytest.raises(ConnectomeError, match="of the same regions"):
        similarity_table(np.ones((3, 3)), real.connectivity, None, 9, 0)


def test_learned_connectivity_is_the_mean_between_units_of_regions() -> None:
    out, back = np.array([0, 0, 1, 2, 2]), np.array([1, 1, 0, 2])
    layer = ConnectomeLinear(4, 5, np.ones((3, 3)), assignment=(out, back), seed=0)
    weight = layer.dense_weight().detach().abs().double().numpy()
    found = learned_connectivity(layer)
    for i, j in np.ndindex(3, 3):
        assert found[i, j] == pytest.approx(weight[np.ix_(out == i, back == j)].mean())


def test_what_cannot_be_said_has_its_reason() -> None:
    generator = np.random.default_rng(0)
    directed = (generator.random((N, N)) < 0.5) * 1.0 + np.eye(N, k=1)
    found = evaluate_constraints(
        nn.Sequential(ConnectomeLinear(N, N, directed, seed=0), nn.Linear(N, 3)), (np.ones((9, N)), np.arange(9) % 3), **FEW
    )
    reasons = found.table.set_index("measure")["reason"]
    assert "distances are not known" in reasons["wiring cost"] and "symmetric" in reasons["similarity"]
    two = nn.Sequential(nn.Linear(4, 3))
    plain = evaluate_constraints(two, cases(), **FEW)
    assert plain.lesions.empty and "no constrained layer" in plain.table.set_index("measure").loc["score after lesions", "reason"]


def test_regions_without_a_place_leave_the_other_nulls() -> None:
    whole = wiring()
    distances = whole.distances.copy()
    distances[3], distances[:, 3] = np.nan, np.nan
    model = ConnectomeConstrainedNetwork(4, 3, [LayerConfig(Wiring(whole.connectivity, distances))], seed=0)
    found = evaluate_constraints(model, cases(), **FEW)
    rows = found.table.query("measure == 'similarity'").set_index("null")
    assert rows.loc["degree_preserving", ["null_mean", "p"]].notna().all() and not rows.loc["degree_preserving", "reason"]
    assert np.isnan(rows.loc["distance_preserving", "p"]) and "19 pairs of regions" in rows.loc["distance_preserving", "reason"]
    assert np.isnan(found.value("wiring cost")) and "no distance" in found.table.set_index("measure").loc["wiring cost", "reason"]
    known = evaluate_constraints(model, cases(), distances=whole.distances, **FEW)
    assert known.table.query("null == 'distance_preserving'")["p"].notna().all()
    assert known.value("wiring cost") == pytest.approx(costs(network())[0], rel=1e-5)  # input and head lie in no place
    with pytest.raises(ConnectomeError, match="needs distances"):
        evaluate_constraints(model, cases(), distances=np.ones((3, 3)), **FEW)


def test_an_array_is_enough_of_a_connectome() -> None:
    model = ConnectomeConstrainedNetwork(4, 3, [LayerConfig(wiring().connectivity)], seed=0)
    reasons = evaluate_constraints(model, cases(), **FEW).table.query("reason != ''").set_index("measure")["reason"]
    assert set(reasons.index) == {"wiring cost", "similarity"} and reasons.str.contains("not known").all()
    known = evaluate_constraints(model, cases(), distances=wiring().distances, **FEW)
    assert not known.table["reason"].any() and known.table["value"].notna().all()


def test_whole_numbers_are_classes_only_of_a_model_that_scores_them() -> None:
    model = ConnectomeConstrainedNetwork(4, 1, [LayerConfig(wiring())], seed=0)
    inputs, _ = cases()
    ages = np.random.default_rng(2).integers(20, 80, len(inputs))
    predicted = model(torch.from_numpy(inputs).float()).detach().numpy()[:, 0]
    for targets in (ages, ages[:, None], ages * 1.0):
        assert evaluate_constraints(model, (inputs, targets), **FEW).value("score") == pytest.approx(r2_score(ages, predicted))
    old = (ages > 50).astype(int)
    for targets in (old, old > 0):
        assert evaluate_constraints(model, (inputs, targets), **FEW).value("score") == accuracy_score(old, predicted > 0)
    assert evaluate_constraints(model, (inputs, old * 1.0), **FEW).value("score") == pytest.approx(r2_score(old, predicted))
    with pytest.raises(ConnectomeError, match="from 2[0-9] to 7[0-9], which are no classes of a model with 3 outputs"):
        evaluate_constraints(network(), (inputs, ages), **FEW)
    with pytest.raises(ConnectomeError, match="as many numbers as the model's 3 outputs"):
        evaluate_constraints(network(), (inputs, ages * 1.0), **FEW)
    with pytest.raises(ConnectomeError, match="one a case, got tuple"):
        evaluate_constraints(ConnectomeRecurrent(4, N, wiring().connectivity), (inputs[:, None], ages), **FEW)


def test_a_model_in_double_precision_is_given_such_inputs() -> None:
    inputs, targets = cases()
    assert evaluate_constraints(network().double(), (inputs, targets), **FEW).value("score") >= 0


def test_masks_of_any_parameter_survive_a_lesion() -> None:
    model = network()
    prune_by_wiring_cost(model, 0.4, model.distances())
    for layer, name in ((model.layers[1], "bias"), (model.head, "weight"), (model.input, "bias")):
        prune.random_unstructured(layer, name, 0.5)
    inputs = torch.randn(5, 4, generator=torch.manual_seed(0))
    whole = model(inputs)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    computed = {part: part.weight.detach().clone() for part in (model.layers[0], model.head)}
    with lesion(model, [3, 7]):
        assert not model.layers[0].weight.equal(computed[model.layers[0]])
        with torch.no_grad():
            for parameter in model.layers[1].parameters():
                assert parameter.abs().sum() > 0
        assert (model.units(inputs)[1][:, [6, 7, 14, 15]] == 0).all()
        assert not torch.equal(model(inputs), whole)
    assert all(torch.equal(part.weight, before) for part, before in computed.items())  # without a call in between
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(inputs), whole)
    cell = ConnectomeRecurrent(2, N, wiring().connectivity, trainable=True, bias=True, seed=0)
    for part, name in ((cell.recurrent, "weight"), (cell.recurrent, "bias"), (cell, "input_weight")):
        prune.random_unstructured(part, name, 0.3)
    sequence = torch.randn(2, 6, 2, generator=torch.manual_seed(0))
    before = cell(sequence)[0]
    with lesion(cell, [4]):
        assert (cell(sequence)[0][..., 4] == 0).all()
    assert torch.equal(cell(sequence)[0], before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.ones((3, 4)), np.ones(2)), "a target for each of 3"),
        ((np.ones((3, 4)), [1.0, np.nan, 2.0]), "without gaps"),
        ((np.ones((3, 4)), ["a", "b", "c"]), "without gaps"),
        (np.ones((3, 4)), "a pair"),
        ((np.ones((0, 4)), np.ones(0)), "at least one"),
        ((np.full((3, 4), "a"), np.arange(3)), "inputs must be numbers"),
        ((np.full((3, 4), np.nan), np.arange(3)), "answers to 3 of 3 cases are NaN"),
        ((np.ones((3, 5)), np.arange(3)), "inputs of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: object, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        evaluate_constraints(network(), data)


@pytest.mark.parametrize("option", [{"n_nulls": 0}, {"n_lesions": 0}, {"n_bootstrap": -1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ConnectomeError, match=f"expected {next(iter(option))} to be"):
        evaluate_constraints(network(), cases(), **option)


def test_the_model_is_left_as_it_was() -> None:
    model = ConnectomeConstrainedNetwork(4, 3, [LayerConfig(wiring())], dropout=0.5, seed=0).train()
    model.head.eval()
    first, second = (evaluate_constraints(model, cases(), **FEW).value("score") for _ in range(2))
    assert first == second and model.training and model.drop.training and not model.head.training

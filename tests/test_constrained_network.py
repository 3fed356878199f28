"""Where constraints come from, and networks of several."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse
from tiny import make_cohort
from torch import nn

from connectome_gnn import Cohort
from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    ConnectomeLinear,
    LayerConfig,
    Wiring,
    functional,
    local_to_long_range,
    modular,
    prune_by_wiring_cost,
    read_prior,
    spatial,
    structural,
    wiring_cost,
)
from connectome_gnn.errors import ConnectomeError

PLACES = np.random.default_rng(5).normal(0, 40, (12, 3))


def connectome(n: int = 12, seed: int = 0) -> np.ndarray:
    """Two communities of a strongly modular graph, weights log-normal."""
    graph = nx.stochastic_block_model([n // 2, n - n // 2], [[0.9, 0.15], [0.15, 0.9]], seed=seed)
    weights = np.triu(np.random.default_rng(seed).lognormal(0, 1, (n, n)), 1)
    return nx.to_numpy_array(graph) * (weights + weights.T)


def placed(n: int = 12) -> Wiring:
    xyz = PLACES[:n]
    return Wiring(connectome(n), np.sqrt(((xyz[:, None] - xyz[None]) ** 2).sum(-1)), name="placed")


# --- where constraints come from ----------------------------------------------------------------------------------------


def test_structure_of_a_cohort_is_its_backbone(cohort: Cohort) -> None:
    wiring = structural(cohort, threshold=0.8)
    backbone = cohort.backbone(0.8)
    assert np.array_equal(wiring.connectivity != 0, backbone)
    logged = np.log1p(cohort.dense().astype(np.float64)).mean(0)
    assert np.allclose(wiring.connectivity, logged * backbone, rtol=1e-5)
    assert wiring.labels == cohort.atlas.labels
    assert np.array_equal(wiring.distances, cohort.atlas.distances(), equal_nan=True)
    assert np.array_equal(structural(cohort, threshold=0, density=0.4).connectivity != 0, cohort.backbone(0, density=0.4))
    with pytest.raises(ConnectomeError, match="use functional"):
        structural(make_cohort(signed=True))


def test_function_is_thresholded_by_density() -> None:
    cohort = make_cohort(signed=True)
    mean = np.tanh(np.arctanh(cohort.dense().astype(np.float64)).mean(0))
    wiring = functional(cohort, density=0.4)  # 6 of 15 pairs
    strongest = np.sort(np.abs(mean[np.triu_indices(6, 1)]))[-6]
    assert np.allclose(wiring.connectivity, np.where(np.abs(mean) >= strongest - 1e-9, mean, 0), atol=1e-6)
    assert wiring.density == pytest.approx(0.4)
    with pytest.raises(ConnectomeError, match="use structural"):
        functional(make_cohort())
    for density in (-0.1, 1.1):
        with pytest.raises(ConnectomeError, match="between 0 and 1"):
            functional(cohort, density=density)


def test_distance_alone_joins_the_nearest(cohort: Cohort) -> None:
    wiring = spatial(coordinates=PLACES, density=0.25)
    lengths = wiring.distances[np.triu_indices(12, 1)]
    joined = wiring.connectivity[np.triu_indices(12, 1)] != 0
    assert joined.sum() == round(0.25 * 66)
    assert lengths[joined].max() < lengths[~joined].min()
    assert np.array_equal(spatial(distances=wiring.distances, density=0.25).connectivity, wiring.connectivity)
    assert np.array_equal(spatial(placed(), density=0.25).connectivity, wiring.connectivity)
    known = spatial(cohort, density=1.0)  # the last region's place is not known
    assert not known.connectivity[-1].any() and known.connectivity[0, 1:-1].all()
    assert np.array_equal(spatial(cohort.atlas, density=1.0).connectivity, known.connectivity)
    for wrong in ({}, {"distances": np.full((3, 3), np.nan)}, {"coordinates": np.ones(3)}, {"source": Wiring(connectome())}):
        with pytest.raises(ConnectomeError):
            spatial(**wrong)


def test_modules_keep_what_lies_inside_them() -> None:
    matrix, halves = connectome(), np.repeat(["a", "b"], 6)
    inside = halves[:, None] == halves
    assert np.array_equal(modular(matrix, communities=halves).connectivity, matrix * inside)
    binary = (matrix > 0) * 1.0
    assert np.array_equal(modular(binary, seed=1).connectivity, binary * inside)  # Louvain finds the planted ones
    across = np.sort((matrix * ~inside)[np.triu_indices(12, 1)])[::-1]
    n_across = int((across > 0).sum())
    half = modular(matrix, communities=halves, between=0.5).connectivity
    kept = half[(half > 0) & ~inside]
    assert len(kept) == 2 * round(0.5 * n_across) and kept.min() == across[round(0.5 * n_across) - 1]
    assert np.array_equal(modular(matrix, communities=halves, between=1.0).connectivity, matrix)
    signed = modular(make_cohort(signed=True), communities=[0, 0, 0, 1, 1, 1])
    together = np.repeat([0, 1], 3)
    every = functional(make_cohort(signed=True), density=1.0).connectivity
    assert (every < 0).any() and np.array_equal(signed.connectivity, every * (together[:, None] == together))
    with pytest.raises(ConnectomeError, match="a community for each of 12"):
        modular(matrix, communities=[0, 1])


@pytest.mark.parametrize("cumulative", [True, False])
def test_layers_go_from_local_to_long_range(cumulative: bool) -> None:
    whole = placed()
    layers = local_to_long_range(whole, 3, cumulative=cumulative)
    numbers = [int((layer.connectivity != 0).sum()) for layer in layers]
    total = int((whole.connectivity != 0).sum())
    if cumulative:
        assert numbers[2] == total and np.array_equal(layers[2].connectivity, whole.connectivity)
        assert numbers[0] == pytest.approx(total / 3, abs=2) and numbers[1] == pytest.approx(2 * total / 3, abs=2)
    else:
        assert np.array_equal(sum(layer.connectivity for layer in layers), whole.connectivity)
        for near, far in pairwise(layers):
            assert whole.distances[near.connectivity != 0].max() <= whole.distances[far.connectivity != 0].min()
    with pytest.raises(ConnectomeError, match="needs the distance"):
        local_to_long_range(Wiring(connectome()), 2)
    with pytest.raises(ConnectomeError, match="cannot be cut"):
        local_to_long_range(whole, 10_000)


def test_priors_are_read(tmp_path: Path) -> None:
    matrix = connectome().astype(np.float32)
    np.savez(tmp_path / "near.npz", W=matrix, coords=PLACES, labels=np.array([f"r{k}" for k in range(12)]))
    prior = read_prior(tmp_path / "near.npz")
    assert np.array_equal(prior.connectivity, matrix) and prior.labels[3] == "r3" and prior.name == "near"
    assert np.allclose(prior.distances, placed().distances)
    assert np.array_equal(structural(tmp_path / "near.npz").connectivity, matrix)
    np.savez(tmp_path / "asymmetric.npz", W=np.triu(matrix), distance=np.ones((12, 12)))
    np.savez(tmp_path / "empty.npz", other=matrix)
    np.savez(tmp_path / "pickled.npz", W=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("asymmetric", "empty", "pickled", "text"):
        with pytest.raises(ConnectomeError):
            read_prior(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        read_prior(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("name", ["lausanne219_griffa", "hcp_schaefer400", "enigma_hcp_schaefer_200", "enigma_hcp_glasser_360"])
def test_the_priors_of_this_machine_are_read(name: str, data_folder: Any) -> None:
    prior = read_prior(data_folder("priors") / f"{name}.npz")
    assert 0.05 < prior.density < 0.2 and prior.distances is not None


@pytest.mark.parametrize(
    "arguments",
    [
        {"connectivity": np.ones((2, 3))},
        {"connectivity": np.ones((1, 1))},
        {"connectivity": np.full((2, 2), np.nan)},
        {"connectivity": np.ones((2, 2)), "distances": np.ones((3, 3))},
        {"connectivity": np.ones((2, 2)), "labels": ("a",)},
    ],
)
def test_wirings_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConnectomeError):
        Wiring(**arguments)


# --- networks -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*receiving units have no connection")
def test_a_network_is_its_layers_in_order() -> None:
    bands = local_to_long_range(placed(), 3)
    network = ConnectomeConstrainedNetwork(5, 2, [LayerConfig(band) for band in bands], activation="tanh", seed=0)
    inputs = torch.randn(7, 5, generator=torch.manual_seed(0))
    active = torch.tanh(network.input(inputs))
    for layer, band in zip(network.layers, bands, strict=True):
        assert torch.equal(layer.mask(), torch.from_numpy(band.connectivity != 0))
        active = torch.tanh(active @ layer.dense_weight().t() + layer.bias)
    torch.testing.assert_close(network(inputs), network.head(active))
    assert [unit.shape for unit in network.units(inputs)] == [(7, 12)] * 3


def test_layers_differ_in_wiring_constraint_and_size() -> None:
    wiring = placed()
    network = ConnectomeConstrainedNetwork(
        24,
        3,
        [
            LayerConfig(spatial(wiring, density=0.4), units=24, inhibitory=0.25),
            LayerConfig(modular(wiring, communities=np.repeat([0, 1], 6), between=0.3), constraint="soft", strength=0.1),
            LayerConfig(units=14),
            LayerConfig(wiring, regions=np.arange(12).repeat(2), constraint="init", initialise="connectome", bias=False),
        ],
        project=False,
        dropout=0.1,
        seed=0,
    )
    first, second, free, last = network.layers
    assert network.input is None
    assert first.shape == (24, 24) and second.shape == (12, 24) and free.weight.shape == (14, 12) and last.shape == (24, 14)
    assert torch.equal(second.mask(), torch.from_numpy(np.repeat(network.wirings[1].connectivity != 0, 2, 1)))
    assert ((first.dense_weight() * first.signs) >= 0).all() and (first.signs == -1).sum() == 6
    assert isinstance(free, nn.Linear) and not isinstance(free, ConnectomeLinear)
    network(torch.randn(16, 24)).pow(2).mean().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert network.penalty() == second.penalty() > 0
    assert (first.dense_weight()[~first.mask()] == 0).all() and (second.dense_weight()[~second.mask()] != 0).any()
    assert set(network.distances()) == {"layers.0", "layers.1", "layers.3"}


def test_inputs_of_another_width_are_refused() -> None:
    with pytest.raises(ConnectomeError, match="inputs of shape"):
        ConnectomeConstrainedNetwork(5, 2, [LayerConfig(connectome())])(torch.ones(3, 4))


def test_ten_units_cannot_lie_in_twelve_regions_unless_told() -> None:
    with pytest.raises(ConnectomeError, match="cannot be dealt out"):
        ConnectomeConstrainedNetwork(4, 2, [LayerConfig(placed(), units=10)])


def test_a_cohort_an_array_and_a_prior_wire_layers(tmp_path: Path, cohort: Cohort) -> None:
    matrix = connectome(6)
    np.savez(tmp_path / "prior.npz", W=matrix)
    configs = [LayerConfig(cohort), LayerConfig(matrix), LayerConfig(str(tmp_path / "prior.npz"))]
    network = ConnectomeConstrainedNetwork(4, 2, configs, seed=0)
    masks = [cohort.backbone(), matrix != 0, matrix != 0]
    assert all(torch.equal(layer.mask(), torch.from_numpy(mask)) for layer, mask in zip(network.layers, masks, strict=True))
    bare = ConnectomeConstrainedNetwork(4, 2, [cohort, sparse.csr_array(matrix), str(tmp_path / "prior.npz")], seed=0)
    assert torch.equal(bare(torch.ones(1, 4)), network(torch.ones(1, 4)))
    with pytest.raises(ConnectomeError, match="say how they wire"):
        ConnectomeConstrainedNetwork(4, 2, [LayerConfig(make_cohort(signed=True))])


@pytest.mark.filterwarnings("ignore:.*receiving units have no connection")
def test_cost_and_pruning_take_the_networks_own_distances() -> None:
    network = ConnectomeConstrainedNetwork(5, 2, [LayerConfig(band, units=24) for band in local_to_long_range(placed(), 2)], seed=0)
    lengths = np.kron(placed().distances, np.ones((2, 2)))
    by_hand = sum((layer.dense_weight().detach().abs().double().numpy() * lengths).sum() for layer in network.layers)
    assert wiring_cost(network, network.distances()).item() == pytest.approx(by_hand, rel=1e-5)
    existing = sum(int((layer.dense_weight() != 0).sum()) for layer in network.layers)
    assert prune_by_wiring_cost(network, 0.3, network.distances()).removed == round(0.3 * existing)


def test_seeds_decide_the_whole_network() -> None:
    first, second, third = (ConnectomeConstrainedNetwork(5, 2, [LayerConfig(connectome())], seed=seed) for seed in (0, 0, 1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.head.weight, third.head.weight)
    assert not torch.equal(first.layers[0].weight, third.layers[0].weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, "at least one layer"),
        ({"layers": [LayerConfig()]}, "how many units"),
        ({"layers": LayerConfig(connectome())}, "put it in a list"),
        ({"layers": [LayerConfig(units=-3)]}, "layer 0 must be a whole number"),
        ({"in_features": 0}, "in_features must be a whole number"),
        ({"out_features": 2.5}, "out_features must be a whole number"),
        ({"layers": [LayerConfig(connectome()), LayerConfig(connectome(10))]}, "stand on different regions"),
        ({"layers": [LayerConfig(connectome(), regions=[0, 12])]}, "a region from 0 to 11"),
        ({"activation": "sigmoid"}, "activation is one of"),
        ({"dropout": 1}, "dropout is a share"),
        ({"project": False}, "must be the 12 units"),
        ({"layers": [LayerConfig("nowhere.npz")]}, "no file"),
        ({"layers": [LayerConfig(np.triu(connectome()))]}, "must be symmetric"),
        ({"layers": [LayerConfig(object())]}, "expected a cohort"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ConnectomeError, FileNotFoundError), match=message):
        ConnectomeConstrainedNetwork(**{"in_features": 5, "out_features": 2, "layers": [LayerConfig(connectome())], **arguments})
    with pytest.raises(ConnectomeError, match="knows distances"):
        ConnectomeConstrainedNetwork(5, 2, [LayerConfig(connectome())]).distances()


def test_a_prior_with_other_labels_is_another_atlas() -> None:
    named = [Wiring(connectome(), labels=tuple(f"{name}{k}" for k in range(12))) for name in "ab"]
    with pytest.raises(ConnectomeError, match="stand on different regions"):
        ConnectomeConstrainedNetwork(5, 2, [LayerConfig(one) for one in named])

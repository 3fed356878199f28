"""Messages between regions: PyG's own layers are the oracle, both paths agree, and no region's number matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATConv, GCNConv, GINEConv, TransformerConv

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.layers import LAYERS, MessageBlock
from connectome_gnn.prediction.network import GraphNetwork, GraphNetworkConfig, Scaling
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.prediction.pooling import POOLINGS

N_PEOPLE, N_REGIONS, WIDTH = 3, 7, 8


def graph(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, signed weights, mask with a lonely region, and the same as PyG's edges."""
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(N_PEOPLE, N_REGIONS, WIDTH, generator=generator)
    mask = torch.rand(N_REGIONS, N_REGIONS, generator=generator) < 0.5
    mask = (mask | mask.T) & ~torch.eye(N_REGIONS, dtype=torch.bool)
    mask[2] = mask[:, 2] = False
    weight = torch.randn(N_PEOPLE, N_REGIONS, N_REGIONS, generator=generator)
    weight = (weight + weight.mT) * mask
    receiver, sender = mask.nonzero().T
    edge_index = torch.cat([torch.stack([sender, receiver]) + person * N_REGIONS for person in range(N_PEOPLE)], 1)
    return state, weight, mask, edge_index, weight[:, receiver, sender].flatten()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_dense_path_says_what_pygs_layer_says(layer: str) -> None:
    state, weight, mask, edge_index, edge_weight = graph()
    torch.manual_seed(0)
    messages = MessageBlock(layer, WIDTH).messages
    oracle = {
        "gcn": lambda: GCNConv(WIDTH, WIDTH, normalize=False, add_self_loops=False),
        "gat": lambda: GATConv(WIDTH, 2, 4, edge_dim=1, add_self_loops=False),
        "gine": lambda: GINEConv(messages.conv.nn, train_eps=True, edge_dim=1, aggr="mean"),
        "transformer": lambda: TransformerConv(WIDTH, 2, 4, edge_dim=1, root_weight=False),
    }[layer]()
    for name, value in messages.conv.named_parameters():
        torch.nn.init.normal_(value) if "bias" in name or "eps" in name else None
    oracle.load_state_dict(messages.conv.state_dict(), strict=False)
    edges = edge_weight if layer == "gcn" else edge_weight[:, None]
    expected = oracle(state.flatten(0, 1), edge_index, edges).unflatten(0, (N_PEOPLE, N_REGIONS))
    said = messages(state, weight, mask)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)
    assert said.std() > 0.05 and not torch.allclose(said, messages(state, weight * 2, mask), atol=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_of_both_paths_agree(layer: str) -> None:
    state, weight, mask, edge_index, edge_weight = graph(1)
    torch.manual_seed(1)
    block = MessageBlock(layer, WIDTH)
    gradients = []
    for said in (lambda: block(state, weight, mask), lambda: block.sparse(state.flatten(0, 1), edge_index, edge_weight)):
        block.zero_grad()
        said().pow(2).sum().backward()
        gradients.append([value.grad.clone() for value in block.parameters()])
    for dense, sparse in zip(*gradients, strict=True):
        torch.testing.assert_close(dense, sparse, atol=2e-4, rtol=1e-4)


def test_gcn_with_symmetric_weights_is_pygs_own_normalisation() -> None:
    state, weight, mask, edge_index, _ = graph(2)
    weight = weight.abs()
    root = weight.sum(-1).clamp(min=1e-12).rsqrt().where(weight.sum(-1) > 0, torch.tensor(0.0))
    normalised = weight * root[:, :, None] * root[:, None]
    messages = MessageBlock("gcn", WIDTH).messages
    oracle = GCNConv(WIDTH, WIDTH, add_self_loops=False)
    oracle.load_state_dict(messages.conv.state_dict())
    receiver, sender = mask.nonzero().T
    expected = oracle(state.flatten(0, 1), edge_index, weight[:, receiver, sender].flatten())
    torch.testing.assert_close(messages(state, normalised, mask).flatten(0, 1), expected, atol=1e-5, rtol=1e-5)


def network(permutation: torch.Tensor | None = None, **changes: object) -> tuple[GraphNetwork, PeopleInputs]:
    """A network of random weights and its people; with a permutation the same with regions in another order."""
    generator = torch.Generator().manual_seed(3)
    order = torch.arange(N_REGIONS) if permutation is None else permutation
    matrices = torch.randn(N_PEOPLE + 9, N_REGIONS, N_REGIONS, generator=generator)
    matrices = (matrices + matrices.mT)[:, order][:, :, order]
    rows, columns = torch.triu_indices(N_REGIONS, N_REGIONS, 1)
    measures = torch.randn(N_PEOPLE + 9, N_REGIONS, 2, generator=generator)[:, order]
    people = PeopleInputs(matrices[:, rows, columns], measures)
    config = GraphNetworkConfig(**{"hidden": WIDTH, "density": 0.6, **changes})
    torch.manual_seed(4)
    places = torch.randn(N_REGIONS, 3)[order]
    made = GraphNetwork(config, Scaling.of(people, config.density), places, torch.tensor([0, 1, 0, 2, 1, 1, 2])[order], 2)
    torch.nn.init.normal_(made.head.weight)
    with torch.no_grad():
        made.identity.copy_(made.identity[order])
        made.features.weight[:, :N_REGIONS] = made.features.weight[:, order]
        if made.config.pooling == "regions":
            made.pool.shares.copy_(made.pool.shares[:, order])
    return made.eval(), people


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_regions_in_another_order_permute_states_and_leave_the_answer(layer: str, pooling: str) -> None:
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    (one, people), (other, permuted) = network(layer=layer, pooling=pooling), network(order, layer=layer, pooling=pooling)
    with torch.no_grad():
        torch.testing.assert_close(other(permuted.edges, permuted.measures), one(people.edges, people.measures), atol=1e-5, rtol=1e-5)
        states, moved = (net.states(*net.described(who.edges, who.measures)) for net, who in ((one, people), (other, permuted)))
    torch.testing.assert_close(moved, states[:, order], atol=1e-5, rtol=1e-5)
    assert (states[:, order] - states).abs().max() > 0.1


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("normalisation", ["standard", "symmetric", "none"])
def test_dense_and_sparse_networks_agree(layer: str, normalisation: str) -> None:
    (dense, people), (sparse, _) = (network(layer=layer, normalisation=normalisation, compute=path) for path in ("dense", "sparse"))
    with torch.no_grad():
        answers = [net(people.edges, people.measures) for net in (dense, sparse)]
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-5)
    assert answers[0].std() > 0.1


def test_the_backbone_is_the_cohorts(cohort) -> None:
    edges = torch.from_numpy(np.concatenate([values for _, values in cohort.modelled()]))
    scaling = Scaling.of(PeopleInputs(edges, torch.zeros(len(cohort), cohort.n_regions, 0)), 0.4)
    np.testing.assert_array_equal(scaling.backbone.numpy(), cohort.backbone(density=0.4))


def test_wrong_names_and_numbers_are_refused_in_a_sentence() -> None:
    for wrong, said in (
        ({"layer": "conv"}, "layers of messages"),
        ({"layer": "gat", "hidden": 6}, "multiple of 4"),
        ({"pooling": "max"}, "pooling"),
        ({"density": 0.0}, "density"),
        ({"dropout": 1.0}, "dropout"),
        ({"epochs": 0}, "epochs"),
    ):
        with pytest.raises(ConnectomeError, match=said):
            GraphNetworkConfig(**wrong)

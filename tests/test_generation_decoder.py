"""The node-level decoder: PyG's sparse messages equal the dense ones, and regions' order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.nn import DenseGCNConv, GCNConv

from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.decoder import BackboneConvolution, ConnectomeDecoder

N_REGIONS = 11


def strengths(seed: int = 0, density: float = 0.4) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    n_edges = N_REGIONS * (N_REGIONS - 1) // 2
    return torch.from_numpy(to_matrices((draw.uniform(1, 5, n_edges) * (draw.random(n_edges) < density)).astype(np.float32)))


def normalised(strength: torch.Tensor) -> torch.Tensor:
    degree = strength.sum(1).clamp(min=1e-9).rsqrt()
    return strength * degree[:, None] * degree


def decoder(adjacency: torch.Tensor, *, sparse: bool = False, spoken: bool = True, messages: str = "convolution") -> ConnectomeDecoder:
    """A decoder with weights drawn from a seed; ``spoken`` also gives its read-out weights other than 0."""
    torch.manual_seed(0)
    features = torch.randn(N_REGIONS, 4)
    model = ConnectomeDecoder(features, adjacency, context_width=9, width=8, n_layers=2, rank=5, sparse=sparse, messages=messages)
    if spoken:
        torch.nn.init.normal_(model.strength)
        torch.nn.init.normal_(model.additive.weight)
    return model


def contexts(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, 9, generator=draw), torch.randn(1, 9, generator=draw)


def test_a_round_of_messages_by_hand():
    torch.manual_seed(0)
    layer, adjacency = BackboneConvolution(8), normalised(strengths())
    state = torch.randn(3, N_REGIONS, 8)
    own, bias, neighbour = layer.own.weight, layer.own.bias, layer.neighbour.weight
    by_hand = torch.empty_like(state)
    for person in range(3):
        for i in range(N_REGIONS):
            heard = sum(adjacency[i, j] * (neighbour @ state[person, j]) for j in range(N_REGIONS))
            z = own @ state[person, i] + bias + heard
            by_hand[person, i] = state[person, i] + z * torch.sigmoid(z)
    torch.testing.assert_close(layer(state, adjacency), by_hand, atol=1e-5, rtol=1e-5)


def test_messages_are_those_of_pygs_graph_convolutions():
    torch.manual_seed(0)
    layer, strength = BackboneConvolution(8), strengths(density=0.7)
    assert (strength.sum(1) >= 1).all()  # DenseGCNConv clamps smaller degrees
    state, adjacency = torch.randn(N_REGIONS, 8), normalised(strength)
    index = adjacency.nonzero().T
    received = adjacency @ layer.neighbour(state)
    dense, sparse = DenseGCNConv(8, 8, bias=False), GCNConv(8, 8, bias=False, add_self_loops=False)
    dense.lin.weight.data = sparse.lin.weight.data = layer.neighbour.weight.data
    torch.testing.assert_close(received, dense(state, strength, add_loop=False)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(received, sparse(state, index, strength[index[0], index[1]]), atol=1e-5, rtol=1e-5)
    expected = state + torch.nn.functional.silu(layer.own(state) + received)
    torch.testing.assert_close(layer(state, adjacency), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(state, None, index, adjacency[index[0], index[1]]), expected, atol=1e-5, rtol=1e-5)


def test_an_unknown_kind_of_messages_is_refused():
    with pytest.raises(ConnectomeError, match="one of convolution, attention; got 'gossip'"):
        decoder(normalised(strengths()), messages="gossip")


@pytest.mark.parametrize("messages", ["convolution", "attention"])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_the_sparse_path_equals_the_dense_one(density, messages):
    adjacency = normalised(strengths(density=density))
    dense, sparse = decoder(adjacency, messages=messages), decoder(adjacency, sparse=True, messages=messages)
    assert sparse.edge_index.shape[1] == int((adjacency != 0).sum())
    context, reference = (part.requires_grad_() for part in contexts())
    outputs, gradients = [], []
    for model in (dense, sparse):
        edges = model(context, reference)
        loss = (edges * torch.linspace(-1, 1, edges.numel()).view_as(edges)).sum()
        gradients.append(torch.autograd.grad(loss, [context, reference, *model.parameters()], materialize_grads=True))
        outputs.append(edges)
    assert outputs[0].abs().max() > 0.1
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * max(1.0, float(one.abs().max())), rtol=1e-5)


def test_nothing_is_said_at_the_start_and_at_the_reference():
    adjacency = normalised(strengths())
    context, reference = contexts()
    assert (decoder(adjacency, spoken=False)(context, reference) == 0).all()
    model = decoder(adjacency)
    edges = model(torch.cat([context, reference]), reference)
    assert edges.shape == (7, N_REGIONS * (N_REGIONS - 1) // 2)
    assert edges[:-1].abs().amax(1).min() > 0.01
    torch.testing.assert_close(edges[-1], torch.zeros_like(edges[-1]), atol=1e-6, rtol=0)


def test_the_read_out_by_hand():
    model, (context, _) = decoder(normalised(strengths())), contexts()
    state = model.regions(context)
    parts, own = model.project(state), model.additive(state)[..., 0]
    edges = model.edges(context)
    for edge, (i, j) in enumerate(zip(*edge_indices(N_REGIONS), strict=True)):
        expected = (model.strength * parts[:, i] * parts[:, j]).sum(1) + own[:, i] + own[:, j]
        torch.testing.assert_close(edges[:, edge], expected, atol=1e-4, rtol=1e-4)


def test_relabelling_regions_relabels_edges():
    """Edges have no direction and regions no order: the same regions in another order give the same connectome."""
    adjacency = normalised(strengths())
    model, moved = decoder(adjacency), decoder(adjacency)
    order = torch.from_numpy(np.random.default_rng(0).permutation(N_REGIONS))
    moved.embedding.data = model.embedding.data[order]
    moved.region_features = model.region_features[order]
    moved.adjacency = adjacency[order][:, order]
    context, reference = contexts()
    plain, relabelled = (to_matrices(m(context, reference).detach().numpy()) for m in (model, moved))
    np.testing.assert_allclose(relabelled, plain[:, order][:, :, order], atol=1e-4)
    assert not np.allclose(relabelled, plain, atol=1e-2)


def test_without_a_backbone_regions_hear_nothing():
    context, reference = contexts()
    silent, spoken = decoder(torch.zeros(N_REGIONS, N_REGIONS)), decoder(normalised(strengths()))
    for layer in silent.layers:
        torch.nn.init.normal_(layer.neighbour.weight, std=10)
    plain = silent(context, reference)
    for layer in silent.layers:
        torch.nn.init.zeros_(layer.neighbour.weight)
    torch.testing.assert_close(silent(context, reference), plain)
    assert not torch.allclose(spoken(context, reference), plain, atol=1e-2)

"""Attention over the backbone: dense and sparse paths agree, with torch-scatter and without, and it is what its formula says."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import attention
from connectome_gnn.generation.attention import BackboneAttention, edge_softmax
from connectome_gnn.generation.decoder import BackboneConvolution

WITH_SCATTER = find_spec("torch_scatter") is not None
BOTH = [
    pytest.param(False, id="PyG's own"),
    pytest.param(
        True, id="torch-scatter", marks=pytest.mark.skipif(not WITH_SCATTER, reason="torch-scatter (extra 'scatter') is not installed")
    ),
]


def backbone(n_regions: int = 17, density: float = 0.3, seed: int = 0) -> Tensor:
    """Symmetric weights; region 3 has no neighbours."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(n_regions, n_regions, generator=draw) * (torch.rand(n_regions, n_regions, generator=draw) < density)
    weights = weights.triu(1)
    weights[3], weights[:, 3] = 0, 0
    return weights + weights.T


def layer(width: int = 12, n_heads: int = 3) -> BackboneAttention:
    torch.manual_seed(1)
    made = BackboneAttention(width, n_heads)
    torch.nn.init.normal_(made.slope, 1.0, 0.3)
    return made


def edges(adjacency: Tensor) -> tuple[Tensor, Tensor]:
    index = adjacency.nonzero().T.contiguous()
    return index, adjacency[index[0], index[1]]


@pytest.fixture
def scatter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(attention, "_has_scatter", lambda: request.param)
    return request.param


@pytest.mark.parametrize("scatter", BOTH, indirect=True)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shape", [(5, 17, 12), (17, 12), (2, 3, 17, 12)])
def test_dense_and_sparse_paths_agree_in_values_and_gradients(scatter, shape, symmetric):
    adjacency, made = backbone(), layer()
    if not symmetric:
        adjacency = adjacency.tril()
    index, weight = edges(adjacency)
    answers = []
    for where in ({"adjacency": adjacency}, {"edge_index": index, "edge_weight": weight}):
        state = torch.randn(*shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
        made.zero_grad()
        out = made(state, **where)
        assert out.shape == shape
        out.square().sum().backward()
        answers.append([out, state.grad.clone(), *(parameter.grad.clone() for parameter in made.parameters())])
    assert len(answers[0]) == 2 + 6
    for one, other in zip(*answers, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("scatter", BOTH, indirect=True)
def test_shares_are_a_softmax_over_each_regions_edges(scatter):
    adjacency = backbone(density=0.5)
    index, _ = edges(adjacency)
    scores = torch.randn(4, index.shape[1], 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30
    shares = edge_softmax(scores, index[0], len(adjacency))
    for region in index[0].unique():
        mine = index[0] == region
        torch.testing.assert_close(shares[:, mine], scores[:, mine].softmax(1))
    mixed = torch.randperm(len(index[0]))  # edges in no order
    torch.testing.assert_close(edge_softmax(scores[:, mixed], index[0, mixed], len(adjacency)), shares[:, mixed])
    assert edge_softmax(scores[:, :0], index[0, :0], len(adjacency)).shape == (4, 0, 3)


def test_a_region_receives_what_the_formula_says():
    adjacency, made = backbone(), layer(width=4, n_heads=2)
    state = torch.randn(17, 4)
    out = made(state, adjacency)
    region = 5
    near = adjacency[region].nonzero()[:, 0]
    received = torch.zeros(4)
    for head in range(2):
        part = slice(2 * head, 2 * head + 2)
        query, keys, sent = made.query(state)[region, part], made.key(state)[near, part], made.neighbour(state)[near, part]
        shares = (keys @ query / 2**0.5 + made.slope[head] * adjacency[region, near].log()).softmax(0)
        received[part] = shares @ sent
    torch.testing.assert_close(out[region], state[region] + torch.nn.functional.silu(made.own(state)[region] + received))
    torch.testing.assert_close(out[3], state[3] + torch.nn.functional.silu(made.own(state)[3]))  # nobody near


def test_without_queries_it_is_the_mean_over_the_backbone():
    adjacency = backbone()
    made, plain = layer(n_heads=1), BackboneConvolution(12)
    plain.own.load_state_dict(made.own.state_dict())
    plain.neighbour.load_state_dict(made.neighbour.state_dict())
    torch.nn.init.zeros_(made.query.weight)
    torch.nn.init.ones_(made.slope)
    state = torch.randn(2, 17, 12)
    shares = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1e-9)
    torch.testing.assert_close(made(state, adjacency), plain(state, shares), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scatter", BOTH, indirect=True)
def test_messages_that_are_off_stay_off(scatter):
    made, nothing = layer(), torch.zeros(17, 17)
    index, weight = edges(nothing)
    state = torch.randn(2, 17, 12, requires_grad=True)
    alone = state + torch.nn.functional.silu(made.own(state))
    torch.testing.assert_close(made(state, nothing), alone)
    torch.testing.assert_close(made(state, edge_index=index, edge_weight=weight), alone)
    made(state, nothing).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_regions_have_no_order():
    adjacency, made, order = backbone(), layer(), torch.randperm(17)
    state = torch.randn(2, 17, 12)
    torch.testing.assert_close(made(state, adjacency)[:, order], made(state[:, order], adjacency[order][:, order]), atol=1e-5, rtol=1e-4)


def test_heads_share_the_width():
    for width, heads in ((12, 5), (12, 0)):
        with pytest.raises(ConnectomeError, match=f"got 12 for {heads} heads"):
            BackboneAttention(width, heads)

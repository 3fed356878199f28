"""Messages between regions: PyG's own layers over a graph's edges, and the same layers over a batch of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINEConv, TransformerConv

from connectome_gnn.errors import ConnectomeError

__all__ = ["LAYERS", "MessageBlock"]

N_HEADS = 4


class _Gcn(nn.Module):
    """Sums of neighbours' states, weighed by edges (Kipf & Welling 2017, eq. 2, with weights normalised beforehand)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = GCNConv(width, width, normalize=False, add_self_loops=False)

    def sparse(self, state: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        received: Tensor = self.conv(state, edge_index, edge_weight)
        return received

    def forward(self, state: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        received: Tensor = weight @ self.conv.lin(state) + self.conv.bias
        return received


class _Attention(nn.Module):
    """What layers of attention share: heads, and a softmax over the regions that a region has an edge with."""

    conv: Any

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % N_HEADS:
            raise ConnectomeError(
                f"layers of attention have {N_HEADS} heads, which cannot share hidden={width}; give a multiple of {N_HEADS}"
            )

    def sparse(self, state: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        received: Tensor = self.conv(state, edge_index, edge_weight[:, None])
        return received


class _Gat(_Attention):
    """Attention by a sum of what sender, receiver and edge say (Velickovic et al. 2018, eq. 3, with edges' weights)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.conv = GATConv(width, width // N_HEADS, N_HEADS, edge_dim=1, add_self_loops=False)

    def forward(self, state: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        conv = self.conv
        sent = conv.lin(state).unflatten(-1, (N_HEADS, -1))  # (B, R, H, C)
        sender, receiver = ((sent * vector).sum(-1).transpose(1, 2) for vector in (conv.att_src, conv.att_dst))  # (B, H, R)
        slope = (conv.lin_edge.weight.view(1, N_HEADS, -1) * conv.att_edge).sum(-1)[..., None, None]  # (1, H, 1, 1)
        scores = receiver[..., None] + sender[..., None, :] + slope * weight[:, None]
        shares = _shares(nn.functional.leaky_relu(scores, conv.negative_slope), mask)
        received: Tensor = (shares @ sent.transpose(1, 2)).transpose(1, 2).flatten(-2) + conv.bias
        return received


class _Gine(nn.Module):
    """Means of rectified sums of a neighbour's state and what the edge adds to it (Hu et al. 2020, eq. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        perceptron = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        # a mean: sums over hundreds of regions would drown a region's own state
        self.conv = GINEConv(perceptron, train_eps=True, edge_dim=1, aggr="mean")

    def sparse(self, state: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        received: Tensor = self.conv(state, edge_index, edge_weight[:, None])
        return received

    def forward(self, state: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        conv = self.conv
        number = mask.sum(-1).clamp(min=1)[:, None]
        # Region by region: all pairs of regions at once would take R times the memory.
        received = [
            ((state + conv.lin(weight[:, region, :, None])).relu() * mask[region, :, None]).sum(1) / number[region]
            for region in range(len(mask))
        ]
        read: Tensor = conv.nn(torch.stack(received, 1) + (1 + conv.eps) * state)
        return read


class _Transformer(_Attention):
    """Attention by products of queries and keys, to which an edge adds its weight's part (Shi et al. 2021, eq. 3 and 4)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.conv = TransformerConv(width, width // N_HEADS, N_HEADS, edge_dim=1, root_weight=False)
        self.conv.lin_skip = None  # of a root weight that it does not have; parameters without gradients stop training on several devices

    def forward(self, state: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        conv = self.conv
        query, key, value = (
            part(state).unflatten(-1, (N_HEADS, -1)).transpose(1, 2) for part in (conv.lin_query, conv.lin_key, conv.lin_value)
        )
        edge = conv.lin_edge.weight.view(1, N_HEADS, -1, 1)  # (1, H, C, 1): what a weight of 1 adds to keys and values
        scores = query @ key.transpose(-1, -2) + (query @ edge) * weight[:, None]
        shares = _shares(scores * key.shape[-1] ** -0.5, mask)
        received = shares @ value + (shares * weight[:, None]).sum(-1, keepdim=True) * edge.transpose(-1, -2)
        return received.transpose(1, 2).flatten(-2)


LAYERS: dict[str, Callable[[int], nn.Module]] = {"gcn": _Gcn, "gat": _Gat, "gine": _Gine, "transformer": _Transformer}
"""Name and constructor (of a width) of each kind of messages."""


class MessageBlock(nn.Module):
    """One round of messages with a residual connection: h <- h + dropout(SiLU(norm(W h + messages(h)))).

    The messages are those of a PyG layer (``GCNConv``, ``GATConv``, ``GINEConv`` or ``TransformerConv``), whose parameters the dense
    path shares, so that both paths say the same. Weights may be negative: they multiply messages or are read as features of edges, and
    no root is taken of them.

    Parameters
    ----------
    layer : ``"gcn"``, ``"gat"``, ``"gine"`` or ``"transformer"``.
    width : size of a region's state.
    dropout : share of what is added that is left out in training.

    Raises
    ------
    ConnectomeError
        If there is no such layer, or the heads of attention cannot share the width.
    """

    def __init__(self, layer: str, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        if layer not in LAYERS:
            raise ConnectomeError(f"layers of messages are {', '.join(map(repr, LAYERS))}; got {layer!r}")
        self.messages = LAYERS[layer](width)
        self.own = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        """States (B, R, width) after the messages: the dense path.

        Parameters
        ----------
        state : (B, R, width) states of regions.
        weight : (B, R, R) weights, 0 off the mask, rows receiving.
        mask : (R, R) bool, over which edges messages travel.
        """
        return self._added(state, self.messages(state, weight, mask))

    def sparse(self, state: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """The same over PyG's edges: states (M, width), edge_index (2, K) from sender to receiver, edge_weight (K,)."""
        return self._added(state, self.messages.sparse(state, edge_index, edge_weight))  # type: ignore[operator]

    def _added(self, state: Tensor, received: Tensor) -> Tensor:
        added: Tensor = self.dropout(nn.functional.silu(self.norm(self.own(state) + received)))
        return state + added


def _shares(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax (B, H, R, R) over the regions that each region has an edge with, 0 where it has none."""
    alone = ~mask.any(-1, keepdim=True)
    return scores.masked_fill(~(mask | alone), -torch.inf).softmax(-1).masked_fill(alone, 0)

"""The node-level decoder: regions conditioned on a profile exchange messages over the backbone and are read out as edges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.attention import BackboneAttention

__all__ = ["MESSAGES", "BackboneConvolution", "ConnectomeDecoder"]


class BackboneConvolution(MessagePassing):
    """One round of messages over a weighted backbone, with a residual connection.

    h_i <- h_i + SiLU(W h_i + sum_j a_ij V h_j), a the symmetrically normalised backbone (Kipf & Welling 2017, eq. 2).

    Parameters
    ----------
    width : size of a region's state.
    """

    def __init__(self, width: int) -> None:
        super().__init__(aggr="add", node_dim=-2)
        self.own = nn.Linear(width, width)
        self.neighbour = nn.Linear(width, width, bias=False)

    def forward(
        self, state: Tensor, adjacency: Tensor | None = None, edge_index: Tensor | None = None, edge_weight: Tensor | None = None
    ) -> Tensor:
        """States (..., R, width) after the messages.

        Parameters
        ----------
        state : (..., R, width) states of regions.
        adjacency : (R, R) dense normalised backbone: the dense path.
        edge_index, edge_weight : (2, M) and (M,) the same backbone's edges in both directions: PyG's sparse path.
        """
        sent = self.neighbour(state)
        dense = adjacency is not None
        received = adjacency @ sent if dense else self.propagate(edge_index, x=sent, edge_weight=edge_weight)
        return state + nn.functional.silu(self.own(state) + received)

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """What a neighbour sends along an edge: its state times the edge's weight."""
        return x_j * edge_weight[:, None]


MESSAGES: dict[str, Callable[[int], nn.Module]] = {"convolution": BackboneConvolution, "attention": BackboneAttention}
"""Name and constructor (of a width) of each kind of messages."""


class ConnectomeDecoder(nn.Module):
    """Decodes contexts into edge deviations by message passing between regions.

    Each region's learned embedding is modulated by the context (FiLM, Perez et al. 2018), regions exchange messages over the
    backbone, and the edge between i and j is read out as sum_d s_d z_id z_jd + a_i + a_j, which is symmetric and costs
    R^2 rather than R^2 networks. The read-out starts at 0, and the deviation of the reference context is subtracted, so
    that the population's mean profile always decodes to the group mean.

    Parameters
    ----------
    region_features : (R, F) features of regions (coordinates, hemisphere, network).
    adjacency : (R, R) normalised backbone; zeros throughout switch messages off.
    context_width : size of the context.
    width : size of a region's state.
    n_layers : rounds of messages.
    rank : number of bilinear terms of the read-out.
    sparse : whether messages travel over PyG's edge_index rather than the dense matrix.
    messages : ``"convolution"`` (:class:`BackboneConvolution`) or ``"attention"``
        (:class:`~connectome_gnn.generation.attention.BackboneAttention`).

    Raises
    ------
    ConnectomeError
        If there is no such kind of messages.
    """

    adjacency: Tensor
    region_features: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        region_features: Tensor,
        adjacency: Tensor,
        *,
        context_width: int = 64,
        width: int = 32,
        n_layers: int = 2,
        rank: int = 16,
        sparse: bool = False,
        messages: str = "convolution",
    ) -> None:
        super().__init__()
        if messages not in MESSAGES:
            raise ConnectomeError(f"messages between regions are one of {', '.join(MESSAGES)}; got {messages!r}")
        n_regions = len(adjacency)
        self.sparse = sparse
        self.register_buffer("region_features", region_features, persistent=False)
        self.register_buffer("adjacency", adjacency, persistent=False)
        edge_index = adjacency.nonzero().T.contiguous()
        self.register_buffer("edge_index", edge_index, persistent=False)
        self.register_buffer("edge_weight", adjacency[edge_index[0], edge_index[1]], persistent=False)
        rows, columns = torch.triu_indices(n_regions, n_regions, 1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.embedding = nn.Parameter(torch.randn(n_regions, width) * 0.5)
        self.features = nn.Linear(region_features.shape[1], width)
        self.film = nn.Linear(context_width, 2 * width)
        self.layers = nn.ModuleList(MESSAGES[messages](width) for _ in range(n_layers))
        self.project = nn.Linear(width, rank)
        self.strength = nn.Parameter(torch.zeros(rank))
        self.additive = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.additive.weight)

    def regions(self, context: Tensor) -> Tensor:
        """States of regions (B, R, width) after the messages, for contexts (B, context_width)."""
        scale, shift = self.film(context).chunk(2, -1)
        state = (self.embedding + self.features(self.region_features)) * (1 + scale[:, None]) + shift[:, None]
        backbone = (None, self.edge_index, self.edge_weight) if self.sparse else (self.adjacency, None, None)
        for layer in self.layers:
            state = layer(state, *backbone)
        return state

    def edges(self, context: Tensor) -> Tensor:
        """Read-out (B, E) of contexts (B, context_width), before the reference is subtracted."""
        state = self.regions(context)
        bilinear = self.project(state)
        pairs = (bilinear * self.strength) @ bilinear.transpose(-1, -2)
        own = self.additive(state)[..., 0]
        return pairs[:, self.rows, self.columns] + own[:, self.rows] + own[:, self.columns]

    def forward(self, context: Tensor, reference: Tensor) -> Tensor:
        """Edge deviations (B, E) of contexts (B, context_width) from the reference context (1, context_width)."""
        both = self.edges(torch.cat([context, reference]))
        return both[:-1] - both[-1:]

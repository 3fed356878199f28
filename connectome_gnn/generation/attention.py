"""Messages that weigh their senders: graph attention over the backbone, dense or over PyG's edges."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

from connectome_gnn.errors import ConnectomeError

__all__ = ["BackboneAttention", "edge_softmax"]


class BackboneAttention(MessagePassing):
    """One round of attention over a weighted backbone, with a residual connection.

    h_i <- h_i + SiLU(W h_i + sum_j alpha_ij V h_j), with alpha_ij the softmax over i's neighbours j of
    (Q h_i)'(K h_j) / sqrt(d) + s log a_ij in each head (Vaswani et al. 2017, eq. 1, restricted to the backbone's edges as in
    Velickovic et al. 2018). The slope s of a head starts at 1: where queries and keys say nothing, a neighbour counts by its share
    of the backbone a. A region without neighbours receives nothing.

    Called as :class:`~connectome_gnn.generation.decoder.BackboneConvolution`, whose place it can take.

    Parameters
    ----------
    width : size of a region's state.
    n_heads : heads of attention, each of ``width / n_heads`` numbers.

    Raises
    ------
    ConnectomeError
        If the width cannot be shared among the heads.
    """

    def __init__(self, width: int, n_heads: int = 4) -> None:
        super().__init__(aggr="add", flow="target_to_source", node_dim=-2)  # an edge's first region receives, as a matrix's row
        if n_heads < 1 or width % n_heads:
            raise ConnectomeError(f"attention: expected a width that its heads can share, got {width} for {n_heads} heads")
        self.n_heads = n_heads
        self.own = nn.Linear(width, width)
        self.query, self.key, self.neighbour = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.slope = nn.Parameter(torch.ones(n_heads))

    def forward(
        self, state: Tensor, adjacency: Tensor | None = None, edge_index: Tensor | None = None, edge_weight: Tensor | None = None
    ) -> Tensor:
        """States (..., R, width) after the messages.

        Parameters
        ----------
        state : (..., R, width) states of regions.
        adjacency : (R, R) dense backbone, no weight negative, 0 where there is no edge: the dense path.
        edge_index, edge_weight : (2, M) and (M,) the same backbone's edges, as ``adjacency.nonzero().T`` gives them: PyG's sparse path.
        """
        query, key, sent = self.query(state), self.key(state), self.neighbour(state)
        if adjacency is not None:
            received = self._dense(query, key, sent, adjacency)
        else:
            received = self.propagate(edge_index, query=query, key=key, sent=sent, edge_weight=edge_weight)
        return state + nn.functional.silu(self.own(state) + received)

    def _dense(self, query: Tensor, key: Tensor, sent: Tensor, adjacency: Tensor) -> Tensor:
        query, key, sent = (self._heads(part).transpose(-2, -3) for part in (query, key, sent))  # (..., H, R, d)
        absent = adjacency == 0
        alone = absent.all(-1)[:, None]
        # Where there is no edge its logarithm is never taken, nor a softmax of nothing: their gradients would not be numbers.
        weight = adjacency.masked_fill(absent, 1).log()
        scores = query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5 + self.slope[:, None, None] * weight
        shares = scores.masked_fill(absent & ~alone, -torch.inf).softmax(-1).masked_fill(alone, 0)
        return (shares @ sent).transpose(-2, -3).flatten(-2)

    def message(self, query_i: Tensor, key_j: Tensor, sent_j: Tensor, edge_weight: Tensor, index: Tensor, size_i: int) -> Tensor:
        """What a neighbour sends along an edge: its state times the share of attention that it gets, (..., M, width)."""
        query, key, sent = (self._heads(part) for part in (query_i, key_j, sent_j))
        scores = (query * key).sum(-1) * key.shape[-1] ** -0.5 + edge_weight.log()[:, None] * self.slope
        return (edge_softmax(scores, index, size_i)[..., None] * sent).flatten(-2)

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.n_heads, -1))


def edge_softmax(scores: Tensor, index: Tensor, n_regions: int) -> Tensor:
    """Softmax of edges' scores over the edges of each region, (..., M, H).

    With torch-scatter (extra ``scatter``) its segment operations over sorted edges, otherwise PyG's own: the same numbers.

    Parameters
    ----------
    scores : (..., M, H) score of each edge in each head.
    index : (M,) region that each edge belongs to; segments want them in ascending order, and others go to PyG.
    n_regions : number of regions R.
    """
    if not _has_scatter() or (index.diff() < 0).any():
        return softmax(scores, index, num_nodes=n_regions, dim=-2)
    from torch_scatter import gather_csr, segment_csr

    pointers = torch.searchsorted(index, torch.arange(n_regions + 1, device=index.device))
    pointers = pointers.view(*[1] * (scores.dim() - 2), -1)
    pointers = pointers.expand(*scores.shape[:-2], -1)
    largest = segment_csr(scores.detach(), pointers, reduce="max")
    exponentials = (scores - gather_csr(largest, pointers)).exp()
    return exponentials / gather_csr(segment_csr(exponentials, pointers, reduce="sum") + 1e-16, pointers)


@lru_cache(maxsize=1)
def _has_scatter() -> bool:
    return find_spec("torch_scatter") is not None

"""From states of regions to one vector a person: mean, attention, by system, learned clusters, or each region's own weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["POOLINGS", "AttentionPooling", "ClusterPooling", "MeanPooling", "RegionPooling", "SystemPooling"]

N_QUERIES = 8
N_CLUSTERS = 8
N_SUMS = 8


class MeanPooling(nn.Module):
    """Mean over regions, (B, width)."""

    def __init__(self, width: int, systems: Tensor) -> None:
        super().__init__()
        self.n_features = width

    def forward(self, state: Tensor, weight: Tensor) -> Tensor:
        """Vectors (B, n_features) of states (B, R, width); weights (B, R, R) are those that messages travelled over."""
        return state.mean(1)


class AttentionPooling(nn.Module):
    """Several weighed means over regions, (B, queries x width): each query asks every region how much it matters.

    Li et al. 2016, ICLR, eq. 7, with a softmax over regions.
    """

    def __init__(self, width: int, systems: Tensor) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, N_QUERIES, bias=False))
        self.n_features = N_QUERIES * width

    def forward(self, state: Tensor, weight: Tensor) -> Tensor:
        """Vectors (B, n_features) of states (B, R, width)."""
        shares = self.score(state).softmax(1)
        return (shares.transpose(1, 2) @ state).flatten(1)


class RegionPooling(nn.Module):
    """Several sums over regions, each with a learned weight of every region, of either sign: (B, sums x width).

    What one atlas allows and graphs of any regions do not (as the node-to-graph layer of Kawahara et al. 2017, NeuroImage 146:1038).
    """

    def __init__(self, width: int, systems: Tensor) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.randn(N_SUMS, len(systems)) * len(systems) ** -0.5)
        self.n_features = N_SUMS * width

    def forward(self, state: Tensor, weight: Tensor) -> Tensor:
        """Vectors (B, n_features) of states (B, R, width)."""
        return (self.shares @ state).flatten(1)


class SystemPooling(nn.Module):
    """Mean over the regions of each system of the atlas, one after the other, (B, systems x width); regions of none are one more."""

    members: Tensor

    def __init__(self, width: int, systems: Tensor) -> None:
        super().__init__()
        members = nn.functional.one_hot(systems).T.float()
        self.register_buffer("members", members / members.sum(1, keepdim=True), persistent=False)
        self.n_features = len(members) * width

    def forward(self, state: Tensor, weight: Tensor) -> Tensor:
        """Vectors (B, n_features) of states (B, R, width)."""
        return (self.members @ state).flatten(1)


class ClusterPooling(nn.Module):
    """Regions are shared out among learned clusters, which exchange messages once more: (B, clusters x width).

    DiffPool (Ying et al. 2018, NeurIPS, eq. 3 and 4), with means over a cluster's regions.
    """

    def __init__(self, width: int, systems: Tensor) -> None:
        super().__init__()
        self.assign = nn.Linear(width, N_CLUSTERS)
        self.own, self.neighbour = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.n_features = N_CLUSTERS * width

    def forward(self, state: Tensor, weight: Tensor) -> Tensor:
        """Vectors (B, n_features) of states (B, R, width)."""
        shares = self.assign(state).softmax(-1)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)  # means over a cluster's regions, whatever its size
        pooled, links = shares.transpose(1, 2) @ state, shares.transpose(1, 2) @ weight @ shares
        return (pooled + nn.functional.silu(self.own(pooled) + links @ self.neighbour(pooled))).flatten(1)


POOLINGS: dict[str, Callable[[int, Tensor], nn.Module]] = {
    "mean": MeanPooling,
    "attention": AttentionPooling,
    "system": SystemPooling,
    "diffpool": ClusterPooling,
    "regions": RegionPooling,
}
"""Name and constructor (of a width and the system of each region, (R,) long) of each pooling."""

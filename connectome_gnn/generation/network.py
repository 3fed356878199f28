"""The message-passing path: phenotype encoder and node-level decoder, read out in edge components."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.generation.decoder import MESSAGES, ConnectomeDecoder
from connectome_gnn.generation.encoder import PhenotypeEncoder
from connectome_gnn.generation.features import BEYOND
from connectome_gnn.generation.settings import check_setting, check_whole_setting
from connectome_gnn.phenotypes import Encoded
from connectome_gnn.slices import slices

__all__ = ["ConnectomeNetwork", "NetworkConfig", "NetworkTask", "profile_tensors"]

OF = "NetworkConfig"


@dataclass(frozen=True)
class NetworkConfig:
    """Size and training of the message-passing path.

    Parameters
    ----------
    context_width, region_width, rank, n_layers : sizes of the context, a region's state, the bilinear read-out, and rounds of messages.
    epochs, max_steps : training takes this many passes over the people, or this many steps where that is less.
    patience : looks at the validation people without improvement, after the warm-up, that end training; there are ``epochs`` looks.
    batch_size, learning_rate, weight_decay : of AdamW with a one-cycle schedule.
    validation : share of a fold's training people that early stopping looks at.
    sparse : messages over PyG's edge_index in place of the dense backbone.
    messages : ``"convolution"`` or ``"attention"``.

    Raises
    ------
    ConnectomeError
        If a value makes no sense; the sentence says which.
    """

    context_width: int = 64
    region_width: int = 32
    rank: int = 16
    n_layers: int = 2
    epochs: int = 30
    max_steps: int = 900
    patience: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    validation: float = 0.15
    sparse: bool = False
    messages: str = "convolution"

    def __post_init__(self) -> None:
        for name in ("context_width", "region_width", "rank", "epochs", "max_steps", "patience", "batch_size"):
            check_whole_setting(OF, name, getattr(self, name), 1)
        check_whole_setting(OF, "n_layers", self.n_layers, 0)
        check_setting(OF, "learning_rate", self.learning_rate, "a number above 0", lambda value: 0 < value < inf)
        check_setting(OF, "weight_decay", self.weight_decay, "a number from 0 on", lambda value: 0 <= value < inf)
        check_setting(OF, "validation", self.validation, "a share of people above 0 and below 1", lambda value: 0 < value < 1)
        check_setting(OF, "sparse", self.sparse, "True or False", lambda value: isinstance(value, (bool, np.bool_)))
        check_setting(OF, "messages", self.messages, f"one of {', '.join(map(repr, MESSAGES))}", lambda value: value in MESSAGES)


@dataclass(frozen=True)
class NetworkTask:
    """What a network is built from besides its weights; arrays as tensors.

    Parameters
    ----------
    owner, group_of : (F,) phenotype of each encoded column; (P,) number of each phenotype's group.
    region_features : (R, F) features of regions.
    adjacency : (R, R) normalised backbone.
    kept : (kept edges,) numbers of the modelled edges.
    basis : (K, kept edges) components, orthonormal rows.
    unit : (K,) residual standard deviation of each component, which whitens the loss.
    """

    owner: Tensor
    group_of: Tensor
    region_features: Tensor
    adjacency: Tensor
    kept: Tensor
    basis: Tensor
    unit: Tensor


class ConnectomeNetwork(nn.Module):
    """Phenotype encoder and node-level decoder, read out in edge components.

    Parameters
    ----------
    task : what the network is built from.
    config : its size.
    """

    kept: Tensor
    basis: Tensor
    unit: Tensor

    def __init__(self, task: NetworkTask, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = PhenotypeEncoder(task.owner, len(task.group_of), width=config.context_width, group_of=task.group_of)
        self.decoder = ConnectomeDecoder(
            task.region_features,
            task.adjacency,
            context_width=config.context_width,
            width=config.region_width,
            n_layers=config.n_layers,
            rank=config.rank,
            sparse=config.sparse,
            messages=config.messages,
        )
        self.register_buffer("kept", task.kept, persistent=False)
        self.register_buffer("basis", task.basis, persistent=False)
        self.register_buffer("unit", task.unit, persistent=False)

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        """Whitened components (B, K) of encoded columns (B, F) and the mask of missing phenotypes (B, P)."""
        nobody = torch.zeros_like(values[:1]), torch.zeros_like(missing[:1])
        both = self.encoder(torch.cat([values, nobody[0]]), torch.cat([missing, nobody[1]]))
        return self.decoder(both[:-1], both[-1:])[:, self.kept] @ self.basis.T / self.unit

    def silence(self) -> None:
        """Predict nothing: the read-out goes back to the 0 that it started from."""
        nn.init.zeros_(self.decoder.strength)
        nn.init.zeros_(self.decoder.additive.weight)

    @torch.no_grad()
    def components(self, encoded: Encoded, batch_size: int = 256) -> NDArray[np.float64]:
        """Components (N, K) in their own units for encoded profiles."""
        self.eval()
        values, missing = profile_tensors(encoded)
        parts = [self(values[rows], missing[rows]) for rows in slices(len(values), batch_size)]
        return (torch.cat(parts) * self.unit).double().numpy()


def profile_tensors(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """Encoded columns (N, F) float32 and the mask of missing phenotypes (N, P), as the network takes them."""
    return torch.from_numpy(np.clip(encoded.values, -BEYOND, BEYOND).astype(np.float32)), torch.from_numpy(encoded.missing)

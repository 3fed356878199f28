"""A profile as a vector: one embedding per phenotype, a token of its own where it is missing, and interactions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PhenotypeEncoder"]


class PhenotypeEncoder(nn.Module):
    """Embeds people's phenotypes and lets them interact.

    Every phenotype p with encoded columns x_p becomes a token, x_p W_p + b_p, or a learned vector of its own where it is
    missing. The tokens are mixed into a context, which gated cross layers (Wang et al. 2021, DCN V2, eq. 1) and a
    feed-forward layer enrich with interactions.

    Parameters
    ----------
    owner : (F,) index of the phenotype of each encoded column.
    n_phenotypes : number of phenotypes P.
    width : size of the context.
    token_width : size of a phenotype's token.
    n_layers : number of cross layers.
    dropout : share of the context dropped in training.
    group_of : (P,) number of each phenotype's group, for dropping whole groups in training; default one group each.
    group_dropout : chance that a whole group is treated as missing, per person, in training.
    """

    owner: Tensor
    group_of: Tensor

    def __init__(
        self,
        owner: Tensor,
        n_phenotypes: int,
        *,
        width: int = 64,
        token_width: int = 8,
        n_layers: int = 2,
        dropout: float = 0.1,
        group_of: Tensor | None = None,
        group_dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.register_buffer("owner", owner.long(), persistent=False)
        self.register_buffer("group_of", (torch.arange(n_phenotypes) if group_of is None else group_of).long(), persistent=False)
        self.n_phenotypes, self.group_dropout = n_phenotypes, group_dropout
        self.column_weight = nn.Parameter(torch.randn(len(owner), token_width) * token_width**-0.5)
        self.token_bias = nn.Parameter(torch.randn(n_phenotypes, token_width) * 0.02)
        self.missing_token = nn.Parameter(torch.randn(n_phenotypes, token_width) * 0.02)
        self.mix = nn.Linear(n_phenotypes * token_width, width)
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers))
        self.forward_layer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def tokens(self, values: Tensor, missing: Tensor) -> Tensor:
        """Tokens (B, P, token_width) of encoded columns (B, F) and the mask of missing phenotypes (B, P)."""
        weighted = values[..., None] * self.column_weight
        tokens = torch.zeros(len(values), *self.token_bias.shape, dtype=weighted.dtype, device=weighted.device)
        tokens = tokens.index_add(1, self.owner, weighted) + self.token_bias
        return torch.where(missing[..., None], self.missing_token, tokens)

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        """Context (B, width) of encoded columns (B, F) and the mask of missing phenotypes (B, P)."""
        if self.training and self.group_dropout > 0:
            dropped = torch.rand(len(values), int(self.group_of.max()) + 1, device=values.device) < self.group_dropout
            missing = missing | dropped[:, self.group_of]
        return self.context(self.tokens(values, missing))

    def context(self, tokens: Tensor) -> Tensor:
        """Context (B, width) of tokens (B, P, token_width)."""
        first = self.mix(tokens.flatten(1))
        context = first
        for cross in self.crosses:
            context = context + first * cross(context)
        return context + self.forward_layer(context)

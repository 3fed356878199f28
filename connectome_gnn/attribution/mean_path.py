"""The generator's conditional mean as a differentiable function of a profile: the closed form and the network, in torch."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.features import FURTHEST, ProfileFeatures
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.phenotypes import Encoded

__all__ = ["MeanPath"]


class MeanPath:
    """What :meth:`ConnectomeGenerator.expected` computes, with gradients.

    A profile is given as encoded columns ``values`` (n, F), the mask ``missing`` (n, P), and a ``presence`` (n, P) of each phenotype,
    from 1 (as it is) to 0 (missing): in between, its encoded columns are that much smaller, and the network's token lies that far on
    the way from the token of a missing phenotype.

    Parameters
    ----------
    model : a fitted generator.
    dtype : of all computation.

    Attributes
    ----------
    maps : (F + D', kept edges) effect of each feature, in standard deviations of an edge.
    kept, mean, std : (kept edges,) numbers of the modelled edges, (E,) and (kept edges,) statistics of the training people.

    Raises
    ------
    ConnectomeError
        If the model is no fitted ConnectomeGenerator.
    """

    def __init__(self, model: ConnectomeGenerator, dtype: torch.dtype = torch.float64) -> None:
        if not isinstance(model, ConnectomeGenerator):
            raise ConnectomeError(f"gradients are taken through a ConnectomeGenerator, got {type(model).__name__}")
        if not getattr(model, "_fitted", False):
            raise ConnectomeError("this ConnectomeGenerator has not been fitted; call fit(cohort) first")
        if model.transfer is not None:
            raise ConnectomeError(
                "gradients are not taken through a fine-tuned model, whose source reads phenotypes on its own; take another method, or "
                "the source"
            )
        self.dtype, self.signed, self.n_regions = dtype, model.signed, model.atlas.n_regions
        closed, space = model.closed_form, model.space
        self.owner = torch.from_numpy(model.schema.owner)
        self._features, self._directions = _Features(closed.features, dtype), _Directions(closed.directions, dtype)
        self._centre = torch.from_numpy(closed.centre).to(dtype)
        self.maps = torch.from_numpy(closed.maps).to(dtype)
        self.basis = torch.from_numpy(closed.basis).to(dtype)
        self.kept = torch.from_numpy(np.flatnonzero(space.kept))
        self.mean = torch.from_numpy(space.mean).to(dtype)
        self.std = torch.from_numpy(space.std[space.kept]).to(dtype)
        self.members = [copy.deepcopy(member).to(dtype).eval().requires_grad_(False) for member in model.members]
        self.gate = torch.from_numpy(np.asarray(model.gate, np.float64)).to(dtype)

    def tensors(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Encoded profiles as ``values`` and ``missing``."""
        return torch.from_numpy(encoded.values).to(self.dtype), torch.from_numpy(encoded.missing)

    def design(self, values: Tensor) -> Tensor:
        """Centred features (n, F + D') of encoded columns (n, F)."""
        features = self._features(values)
        return torch.cat([features, self._directions(features)], 1) - self._centre

    def components(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor | None:
        """Edge components (n, K) that the network adds; None where its gate is closed."""
        if not self.members:
            return None
        total = torch.zeros((), dtype=self.dtype)
        for member in self.members:
            encoder, decoder = member.encoder, member.decoder
            tokens = encoder.tokens(values, missing)
            if presence is not None:
                tokens = encoder.missing_token + presence[..., None] * (tokens - encoder.missing_token)
            nobody = encoder(torch.zeros_like(values[:1]), torch.zeros_like(missing[:1]))
            total = total + decoder(encoder.context(tokens), nobody)[:, member.kept] @ member.basis.T
        return total / len(self.members) * self.gate

    def coordinates(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor:
        """Deviations from the group mean in the effect space, (n, D); ``coordinates @ basis`` are :meth:`deviation`."""
        if not hasattr(self, "_effects"):
            self._effects = self.maps @ self.basis.T
        found = self.design(self.scaled(values, presence)) @ self._effects
        added = self.components(values, missing, presence)
        return found if added is None else found + torch.nn.functional.pad(added, (0, found.shape[1] - added.shape[1]))

    def deviation(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor:
        """Deviations from the group mean, (n, kept edges), in standard deviations of an edge."""
        found = self.design(self.scaled(values, presence)) @ self.maps
        added = self.components(values, missing, presence)
        return found if added is None else found + added @ self.basis[: added.shape[1]]

    def modelled(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor:
        """Expected edges on the modelling scale, (n, E)."""
        moved = self.mean.repeat(len(values), 1)
        return moved.index_add(1, self.kept, self.deviation(values, missing, presence) * self.std)

    def weights(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor:
        """Expected weights, (n, E), as ``model.expected`` has them."""
        edges = self.modelled(values, missing, presence)
        return torch.tanh(edges) if self.signed else torch.expm1(edges.clamp_min(0))

    def matrices(self, values: Tensor, missing: Tensor, presence: Tensor | None = None) -> Tensor:
        """Expected connectomes, (n, R, R), symmetric with a zero diagonal."""
        return to_square(self.weights(values, missing, presence), self.n_regions)

    def slope(self, edges: Tensor) -> Tensor:
        """Change of the weight for a small change of modelling-scale values, same shape."""
        return 1 - torch.tanh(edges) ** 2 if self.signed else torch.where(edges > 0, torch.exp(edges), 0)

    def scaled(self, values: Tensor, presence: Tensor | None) -> Tensor:
        """Encoded columns (n, F) as far as their phenotypes are present."""
        return values if presence is None else values * presence[:, self.owner]


def to_square(edges: Tensor, n_regions: int) -> Tensor:
    """Symmetric matrices (n, R, R) of edge vectors (n, E)."""
    rows, columns = (torch.from_numpy(np.array(ends)) for ends in edge_indices(n_regions))
    square = edges.new_zeros(len(edges), n_regions * n_regions)
    square = square.index_copy(1, rows * n_regions + columns, edges).index_copy(1, columns * n_regions + rows, edges)
    return square.view(len(edges), n_regions, n_regions)


class _Features:
    """:meth:`ProfileFeatures.transform` in torch."""

    def __init__(self, features: ProfileFeatures, dtype: torch.dtype) -> None:
        columns = list(features.schema.columns)
        self.age = columns.index(features.age) if features.age else None
        self.sex = columns.index(features.sex) if features.sex else None
        self.rest = [place for place in range(len(columns)) if place not in (self.age, self.sex)]
        self.knots = torch.tensor(features.knots, dtype=dtype)
        self.mean, self.scale = torch.from_numpy(features.mean).to(dtype), torch.from_numpy(features.scale).to(dtype)

    def __call__(self, values: Tensor) -> Tensor:
        blocks = [values]
        if self.age is not None:
            age = values[:, [self.age]]
            blocks += [age**2, (age - self.knots).clamp_min(0) ** 2]
            if self.sex is not None:
                blocks.append(values[:, [self.sex]] * age)
            blocks.append(values[:, self.rest] * age)
        found = (torch.cat(blocks, 1) - self.mean) / self.scale
        derived = found[:, values.shape[1] :].clamp(-FURTHEST, FURTHEST)
        return torch.cat([found[:, : values.shape[1]], derived], 1)


class _Directions:
    """:meth:`Directions.transform` in torch."""

    def __init__(self, directions: Directions, dtype: torch.dtype) -> None:
        self.by = [place for place in (directions.age, directions.sex) if place is not None]
        self.weights, self.scale, self.mean, self.deviation = (
            torch.from_numpy(array).to(dtype) for array in (directions.weights, directions.scale, directions.mean, directions.deviation)
        )
        first, second = np.triu_indices(len(directions.groups), 1)
        self.first, self.second = torch.from_numpy(first), torch.from_numpy(second)

    def __call__(self, values: Tensor) -> Tensor:
        along = values[:, : len(self.weights)] @ self.weights / self.scale
        blocks = [along, torch.tanh(along), along**2]
        blocks += [along * values[:, [place]] for place in self.by]
        found = (torch.cat([*blocks, along[:, self.first] * along[:, self.second]], 1) - self.mean) / self.deviation
        return found.clamp(-FURTHEST, FURTHEST)

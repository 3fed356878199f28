"""The weight that a layer really computes with, whether or not torch.nn.utils.prune has taken some of it away."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["current_weight"]


def current_weight(layer: nn.Module) -> Tensor:
    """A layer's stored weight with its pruning mask applied, differentiable.

    ``layer.weight`` of a pruned layer is renewed only when the layer is called, so between a step of the optimiser and the next call it is
    a step behind.
    """
    original = getattr(layer, "weight_orig", None)
    weight: Tensor = layer.weight if original is None else original * layer.weight_mask  # type: ignore[assignment]
    return weight

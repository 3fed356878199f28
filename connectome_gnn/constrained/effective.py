"""What a layer really computes with, whether or not torch.nn.utils.prune has taken some of it away."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["current", "stored"]


def current(layer: nn.Module, name: str = "weight") -> Tensor:
    """A parameter with its pruning mask applied, differentiable.

    The ``weight`` of a pruned layer is renewed only when the layer is called, so between a step of the optimiser and the next call it is
    a step behind.
    """
    original = stored(layer, name)
    mask: Tensor | None = getattr(layer, f"{name}_mask", None)
    return original if mask is None else original * mask


def stored(layer: nn.Module, name: str = "weight") -> Tensor:
    """The parameter behind a pruning mask, or the parameter itself."""
    original: Tensor = getattr(layer, f"{name}_orig" if hasattr(layer, f"{name}_orig") else name)
    return original

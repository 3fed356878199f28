"""What a layer really computes with, whether or not torch.nn.utils.prune has taken some of it away; layers that can be copied then."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["Copied", "Linear", "current", "stored"]


class Copied:
    """A module that can be copied and handed to other processes after torch's pruning.

    Pruning leaves a computed tensor in the parameter's place, which torch refuses to copy; the copy holds its values until a call computes
    them anew.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in vars(self).items()}


class Linear(Copied, nn.Linear):
    """torch.nn.Linear that can be copied when it is pruned."""


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

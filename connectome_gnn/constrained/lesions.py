"""Regions taken out of a network for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.constrained.effective import current, stored
from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.constrained.network import ConnectomeConstrainedNetwork
from connectome_gnn.constrained.recurrent import ConnectomeRecurrent
from connectome_gnn.errors import ConnectomeError

__all__ = ["lesion", "lesion_regions"]


def lesion_regions(module: nn.Module) -> int:
    """Number of regions on which all constrained layers of a module stand.

    Raises
    ------
    ConnectomeError
        If there is no constrained layer, or they stand on different numbers of regions.
    """
    sizes = {size for layer in module.modules() if isinstance(layer, ConnectomeLinear) for size in layer.region_shape}
    if len(sizes) != 1:
        found = f"layers on {', '.join(map(str, sorted(sizes)))} regions" if sizes else "no constrained layer"
        raise ConnectomeError(f"lesions need constrained layers that all stand on the same regions, got {found}")
    return sizes.pop()


@contextmanager
def lesion(module: nn.Module, regions: Sequence[int]) -> Iterator[None]:
    """Inside the ``with``, units of these regions neither hear nor send, in every constrained layer; afterwards all is as it was.

    Weights from and to them are 0 for the while, and so are their biases, their input weights in a recurrent network, and the weights of
    unconstrained layers inside a :class:`~connectome_gnn.constrained.ConnectomeConstrainedNetwork` from and to them.

    Parameters
    ----------
    module : a network with constrained layers on one set of regions.
    regions : positions of the regions.

    Raises
    ------
    ConnectomeError
        As :func:`lesion_regions`; if a region does not exist.
    """
    n_regions = lesion_regions(module)
    if any(not 0 <= region < n_regions for region in regions):
        raise ConnectomeError(f"lesions name regions 0 to {n_regions - 1}, got {list(regions)}")
    lost = torch.zeros(n_regions, dtype=torch.bool)
    lost[list(regions)] = True
    changes: list[tuple[nn.Module, str, Tensor]] = []
    for part in module.modules():
        if isinstance(part, ConnectomeLinear):
            receiving, sending = _lost_units(part, lost)
            rows, columns = part.connections()
            hard = part.constraint == "hard"
            changes.append((part, "weight", receiving[rows] | sending[columns] if hard else receiving[:, None] | sending))
            if part.bias is not None:
                changes.append((part, "bias", receiving))
        elif isinstance(part, ConnectomeRecurrent):
            changes.append((part, "input_weight", _lost_units(part.recurrent, lost)[0][:, None].expand_as(part.input_weight)))
        elif isinstance(part, ConnectomeConstrainedNetwork):
            for layer, receiving_units, sending_units in part.neighbours():
                silent_in, silent_out = _lost_of(receiving_units, lost), _lost_of(sending_units, lost)
                off = torch.zeros(layer.weight.shape, dtype=torch.bool)
                if silent_in is not None:
                    off |= silent_in[:, None]
                    if layer.bias is not None:
                        changes.append((layer, "bias", silent_in))
                if silent_out is not None:
                    off |= silent_out
                changes.append((layer, "weight", off))
    kept = [stored(owner, name).detach().clone() for owner, name, _ in changes]
    try:
        for (owner, name, off), before in zip(changes, kept, strict=True):
            _write(owner, name, stored(owner, name).detach().masked_fill(off.to(before.device), 0))
        yield
    finally:
        for (owner, name, _), before in zip(changes, kept, strict=True):
            _write(owner, name, before)


@torch.no_grad()
def _write(layer: nn.Module, name: str, values: Tensor) -> None:
    """Put values into a parameter, and what torch's pruning computed of it anew: it does so itself only when the layer is called."""
    stored(layer, name).copy_(values)
    if hasattr(layer, f"{name}_mask"):
        setattr(layer, name, current(layer, name))


def _lost_units(layer: ConnectomeLinear, lost: Tensor) -> tuple[Tensor, Tensor]:
    """Which receiving and which sending units are of a lost region, on the layer's device."""
    lost = lost.to(layer.col_indices.device)
    if layer.assignment is None:
        return lost, lost
    receiving, sending = layer.assignment
    return lost[receiving], lost[sending]


def _lost_of(regions: NDArray | None, lost: Tensor) -> Tensor | None:
    return None if regions is None else lost[torch.from_numpy(regions)]

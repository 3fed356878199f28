"""Pruning the wiring that costs most, through torch.nn.utils.prune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from connectome_gnn.constrained.cost import Layer, Weighted, connection_costs, layers_with_lengths
from connectome_gnn.constrained.effective import current
from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.errors import ConnectomeError

__all__ = ["Pruning", "prune_by_wiring_cost"]


@dataclass(frozen=True, eq=False)
class Pruning:
    """What was pruned.

    Attributes
    ----------
    table : one row a layer: ``layer`` (module name), ``connections_before``, ``removed`` of them, ``connections_after`` (fine-tuning may
        have moved weights of a soft layer that were 0), ``cost_before``, ``cost_after`` (weight units times mm; after the last step and its
        fine-tuning).
    steps : number of removed connections (or units) after every step.
    """

    table: pd.DataFrame
    steps: tuple[int, ...]

    @property
    def removed(self) -> int:
        """Connections removed in all layers together."""
        return int(self.table["removed"].sum())

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`."""
        return self.table.copy()


def prune_by_wiring_cost(
    module: nn.Module,
    fraction: float,
    distances: Any = None,
    *,
    coordinates: Any = None,
    schedule: int | Sequence[float] | None = None,
    structured: bool = False,
    fine_tune: Callable[[nn.Module, int], object] | None = None,
) -> Pruning:
    """Remove the connections whose |weight| times distance is largest, over all layers together, in place.

    Parameters
    ----------
    module : a layer or a network with constrained or linear layers.
    fraction : of the existing connections, 0 to 1, exact to the nearest connection. A connection exists while its weight is not exactly 0.
    distances, coordinates : as in :func:`~connectome_gnn.constrained.cost`; a dict by module name says which layers take part.
    schedule : None prunes at once. A number of steps removes as Zhu & Gupta (2018, arXiv:1710.01878) do, most at first: after step t of n
        the share 1 - (1 - t/n)^3. A sequence gives those shares of the fraction itself, rising, the last of them 1. Costs are looked at
        anew at every step.
    structured : remove whole receiving units in place of single connections: those whose incoming connections cost most together; the
        fraction is then of the units that have any.
    fine_tune : called as ``fine_tune(module, step)`` after every step (from 0), to train what is left. Pruned weights stay 0 whatever it
        does.

    Returns
    -------
    pruning : what was removed, and what it saved.

    Raises
    ------
    ConnectomeError
        If the fraction is no share, the schedule does not rise to 1, or distances do not fit.

    Notes
    -----
    Every layer gets a mask named ``weight_mask`` as any method of torch.nn.utils.prune gives it, so that ``prune.is_pruned``,
    ``prune.remove`` and further pruning work; the mask of a hard layer is (connections,), as its weight is. Of equal costs the first
    connection goes first.

    Copies of our layers and networks keep their masks. A plain torch layer of a module of your own can be copied before it is called or
    after a call under ``torch.no_grad()``, as after any pruning by torch: a call puts a computed tensor in the weight's place.
    """
    if not 0 <= fraction <= 1:
        raise ConnectomeError(f"the fraction to prune is a share between 0 and 1, got {fraction}")
    shares = _shares(schedule)
    layers = layers_with_lengths(module, distances, coordinates)
    alive = {name: (current(layer) != 0) for name, (layer, _) in layers.items()}
    before = {name: _row(layer, lengths) for name, (layer, lengths) in layers.items()}
    groups = {name: _groups(layer) if structured else None for name, (layer, _) in layers.items()}
    total = sum(int(_count(alive[name], groups[name]).sum()) for name in layers)
    gone, steps = 0, []
    for step, share in enumerate(shares):
        goal = round(share * fraction * total)
        _remove(layers, alive, groups, goal - gone)
        gone = goal
        steps.append(gone)
        if fine_tune is not None:
            fine_tune(module, step)
    rows = []
    for name, (layer, lengths) in layers.items():
        connections, cost = before[name]
        left, cost_left = _row(layer, lengths)
        rows.append((name, connections, connections - int(alive[name].sum()), left, cost, cost_left))
    columns = ["layer", "connections_before", "removed", "connections_after", "cost_before", "cost_after"]
    return Pruning(pd.DataFrame(rows, columns=columns), tuple(steps))


def _shares(schedule: int | Sequence[float] | None) -> list[float]:
    """Share of the fraction that is gone after every step, rising to 1."""
    if schedule is None:
        return [1.0]
    if isinstance(schedule, (int, np.integer)):
        if schedule < 1:
            raise ConnectomeError(f"a schedule takes 1 step or more, got {schedule}")
        return [1 - (1 - (step + 1) / schedule) ** 3 for step in range(schedule)]
    try:
        shares = [float(share) for share in schedule]
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"a schedule is a number of steps or a sequence of shares, got {schedule!r}") from error
    if not shares or shares[-1] != 1 or not shares[0] >= 0 or not all(later >= sooner for sooner, later in pairwise(shares)):
        raise ConnectomeError(f"a schedule of shares must rise from 0 or more to 1, got {shares}")
    return shares


def _groups(layer: nn.Module) -> Tensor:
    """The receiving unit of every stored weight, of the weight's shape."""
    if isinstance(layer, ConnectomeLinear) and layer.constraint == "hard":
        return layer.connections()[0]
    weight = current(layer)
    return torch.arange(weight.shape[0], device=weight.device)[:, None].expand(weight.shape)


def _count(alive: Tensor, groups: Tensor | None) -> Tensor:
    """Which candidates exist: weights, or units that have any, flat bool."""
    if groups is None:
        return alive.flatten()
    return torch.bincount(groups.flatten(), weights=alive.flatten().double()) > 0


@torch.no_grad()
def _remove(layers: dict[str, Layer], alive: dict[str, Tensor], groups: dict[str, Tensor | None], number: int) -> None:
    """Mask the ``number`` costliest candidates of all layers together, and strike them from those alive."""
    if number <= 0:
        return
    costs, sizes = [], []
    for name, (layer, lengths) in layers.items():
        cost, group = connection_costs(layer, lengths).double().flatten(), groups[name]
        if group is not None:
            cost = torch.bincount(group.flatten(), weights=cost)
        costs.append(torch.where(_count(alive[name], group), cost, -torch.inf).cpu())
        sizes.append(len(cost))
    order = torch.argsort(torch.cat(costs), descending=True, stable=True)
    chosen = torch.zeros(sum(sizes), dtype=torch.bool)
    chosen[order[:number]] = True
    for (name, (layer, _)), some in zip(layers.items(), chosen.split(sizes), strict=True):
        group = groups[name]
        some = some.to(alive[name].device)
        out = (some if group is None else some[group.flatten()]).view(alive[name].shape)
        alive[name] &= ~out
        if out.any():  # torch multiplies the mask with the one that is there
            prune.custom_from_mask(layer, "weight", (~out).to(layer.weight.dtype))


@torch.no_grad()
def _row(layer: Weighted, lengths: Tensor) -> tuple[int, float]:
    """Existing connections and their wiring cost."""
    return int((current(layer) != 0).sum()), float(connection_costs(layer, lengths).sum())

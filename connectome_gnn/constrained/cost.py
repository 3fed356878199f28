"""What a network's wiring costs: weights times the distance they bridge, differentiable, and as a regulariser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.constrained.effective import current
from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.errors import ConnectomeError

__all__ = [
    "Layer",
    "UnknownLength",
    "WiringRegulariser",
    "communicability",
    "connection_costs",
    "layers_with_lengths",
    "ramp",
    "wiring_cost",
]

Weighted = ConnectomeLinear | nn.Linear
Layer = tuple[Weighted, Tensor]
"""A layer, and the length of every stored weight in mm, of the weight's shape."""


class UnknownLength(ConnectomeError):
    """A connection whose length nobody knows."""


def wiring_cost(module: nn.Module, distances: Any = None, *, coordinates: Any = None, communicability: bool = False) -> Tensor:
    """Sum of |weight| times distance over the connectome-constrained and linear layers of a module; differentiable in the weights.

    Parameters
    ----------
    module : a layer or a network. A pruned weight costs nothing.
    distances : (out, in) mm between the units of a layer, rows receiving: Euclidean, or tract lengths; or between the regions to which
        a constrained layer assigns its units. One array serves every layer, which must then all have that shape; a dict by module name
        (``""`` for the module itself) says which layers are counted.
    coordinates : in place of distances, (units or regions, 3) mm, for layers whose two sides lie at the same places; (receiving, sending)
        pairs of those for others; or a dict by module name. Distances are then Euclidean.
    communicability : weigh every connection by its communicability too, as spatially embedded recurrent networks do (Achterberg et al.
        2023, doi:10.1038/s42256-023-00748-9): the sum of |W| * D * C, see :func:`communicability`. Square layers only.

    Returns
    -------
    cost : (), weight units times mm.

    Raises
    ------
    ConnectomeError
        If a layer has no distances, they have another shape, one is negative, or one of a connection is missing (NaN).
    """
    layers = layers_with_lengths(module, distances, coordinates)
    return _total(layers, communicability)


def communicability(weight: Tensor) -> Tensor:
    """Weighted communicability between units, (units, units): exp(S^-1/2 |W| S^-1/2), its diagonal set to 0; differentiable.

    S holds what every unit sends out, the column sums of |W| (Crofts & Higham 2009, doi:10.1098/rsif.2008.0484; of symmetric weights its
    strength). Units that send nothing communicate with no other.
    """
    magnitude = weight.abs()
    sent = magnitude.sum(0)
    sends = sent > 0
    scale = torch.where(sends, torch.where(sends, sent, torch.ones_like(sent)).rsqrt(), torch.zeros_like(sent))
    walks = torch.linalg.matrix_exp(scale[:, None] * magnitude * scale)
    return walks * (1 - torch.eye(len(weight), dtype=walks.dtype, device=walks.device))


class WiringRegulariser:
    """A term of the loss: strength times schedule times wiring cost, with the distances worked out once.

    Parameters
    ----------
    module, distances, coordinates, communicability : as in :func:`wiring_cost`.
    strength : of the term, 0 or more.
    schedule : factor by training step, such as :func:`ramp`; default always 1.

    Examples
    --------
    >>> layer = ConnectomeLinear(2, 2, [[0, 1], [1, 0]], seed=0)
    >>> term = WiringRegulariser(layer, [[0, 30], [30, 0]], strength=1e-3, schedule=ramp(100))
    >>> loss = layer(torch.ones(1, 2)).sum() + term(step=50)
    """

    def __init__(
        self,
        module: nn.Module,
        distances: Any = None,
        *,
        coordinates: Any = None,
        strength: float = 1e-3,
        schedule: Callable[[int], float] | None = None,
        communicability: bool = False,
    ) -> None:
        if not (np.isfinite(strength) and strength >= 0):
            raise ConnectomeError(f"the strength of a wiring cost must be a finite number, 0 or more, got {strength}")
        self.layers = layers_with_lengths(module, distances, coordinates)
        self.strength, self.schedule, self.communicability = float(strength), schedule, communicability

    def __call__(self, step: int = 0) -> Tensor:
        """The term at a training step, ()."""
        factor = 1.0 if self.schedule is None else float(self.schedule(step))
        return self.strength * factor * _total(self.layers, self.communicability)


def ramp(n_steps: int, start: int = 0) -> Callable[[int], float]:
    """A schedule: 0 up to step ``start``, then linearly to 1 within ``n_steps``, and 1 from there on.

    Raises
    ------
    ConnectomeError
        If there are no steps.
    """
    if n_steps < 1:
        raise ConnectomeError(f"a ramp takes 1 step or more, got {n_steps}")
    return partial(_risen, n_steps, start)  # unlike a lambda, it goes along to other processes


def _risen(n_steps: int, start: int, step: int) -> float:
    return min(max((step - start) / n_steps, 0.0), 1.0)


def connection_costs(layer: Weighted, lengths: Tensor) -> Tensor:
    """|weight| times length of every stored weight, of the weight's shape."""
    return current(layer).abs() * lengths.to(current(layer))


def layers_with_lengths(module: nn.Module, distances: Any = None, coordinates: Any = None) -> dict[str, Layer]:
    """The layers whose wiring is counted, by module name, with the length of every stored weight; arguments of :func:`wiring_cost`."""
    if (distances is None) == (coordinates is None):
        raise ConnectomeError("a wiring cost needs either distances (out, in) in mm or coordinates= (units, 3) in mm, one of the two")
    given, of_places = (coordinates, True) if distances is None else (distances, False)
    found = {name: layer for name, layer in module.named_modules() if isinstance(layer, (ConnectomeLinear, nn.Linear))}
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in found]
        if unknown:
            raise ConnectomeError(
                f"there is no constrained or linear layer {unknown[0]!r}; there are {', '.join(map(repr, found)) or 'none'}"
            )
        found = {name: found[name] for name in given}
    if not found:
        raise ConnectomeError(f"{type(module).__name__} has no constrained or linear layer whose wiring could cost anything")
    layers: dict[str, Layer] = {}
    for name, layer in found.items():
        own = given[name] if isinstance(given, Mapping) else given
        layers[name] = (layer, _lengths(layer, own, of_places, f"layer {name!r}" if name else "the layer"))
    return layers


def _lengths(layer: Weighted, given: Any, of_places: bool, what: str) -> Tensor:
    """Length of every stored weight of a layer, of the weight's shape, float64; of places no other pair's is computed."""
    shape = (layer.out_features, layer.in_features)
    constrained = layer if isinstance(layer, ConnectomeLinear) else None
    known = None if constrained is None or constrained.assignment is None else constrained.region_shape
    sides = _places(given, what) if of_places else (_array(given, f"distances of {what}"),)
    size = tuple(map(len, sides)) if of_places else sides[0].shape
    if constrained is not None and constrained.constraint == "hard":
        rows, columns = (units.cpu().numpy() for units in constrained.connections())
    else:
        rows, columns = np.ogrid[: shape[0], : shape[1]]
    if constrained is not None and constrained.assignment is not None and size == known:
        receiving, sending = (regions.cpu().numpy() for regions in constrained.assignment)
        rows, columns = receiving[rows], sending[columns]
    elif size != shape:
        or_regions = f" or, between regions, {known}" if known is not None else ""
        raise ConnectomeError(f"{what} needs distances (out, in) of shape {shape}{or_regions}, got {size}")
    between = np.sqrt(((sides[0][rows] - sides[1][columns]) ** 2).sum(-1)) if of_places else sides[0][rows, columns]
    if np.isnan(between).any():
        raise UnknownLength(
            f"{what}: {int(np.isnan(between).sum())} of its connections have no distance (NaN); fill in missing coordinates"
        )
    if not np.isfinite(between).all() or (between < 0).any():
        raise ConnectomeError(f"{what} needs distances that are finite and 0 or more, got {between.min():g} to {between.max():g}")
    return torch.from_numpy(between).to(layer.weight.device)


def _places(given: Any, what: str) -> tuple[NDArray[np.float64], ...]:
    """Where receiving and sending units, or their regions, lie, (units, 3) each."""
    sides = given if isinstance(given, tuple) else (given, given)
    places = tuple(_array(side, f"coordinates of {what}") for side in sides)
    if len(places) != 2 or places[0].shape[1] != places[1].shape[1]:
        raise ConnectomeError(f"{what} needs coordinates (units, 3) in mm, or a pair of them (receiving, sending)")
    return places


def _array(given: Any, what: str) -> NDArray[np.float64]:
    try:
        array = np.array(given.detach().cpu().numpy() if isinstance(given, Tensor) else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"{what} must be numbers in mm: {error}") from error
    if array.ndim != 2:
        raise ConnectomeError(f"{what} must be a matrix of numbers in mm, got shape {array.shape}")
    return array


def _total(layers: dict[str, Layer], by_communicability: bool) -> Tensor:
    costs = []
    for name, (layer, lengths) in layers.items():
        cost = connection_costs(layer, lengths)
        if by_communicability:
            cost = cost * _walks(layer, name)
        costs.append(cost.sum())
    return torch.stack(costs).sum()


def _walks(layer: Weighted, name: str) -> Tensor:
    """Communicability of every stored weight's pair of units, of the weight's shape."""
    weight = layer.dense_weight() if isinstance(layer, ConnectomeLinear) else current(layer)
    if weight.shape[0] != weight.shape[1]:
        raise ConnectomeError(f"communicability needs a layer from units to themselves, layer {name!r} has shape {tuple(weight.shape)}")
    walks = communicability(weight)
    return walks[layer.connections()] if isinstance(layer, ConnectomeLinear) and layer.constraint == "hard" else walks

"""Feed-forward networks whose layers follow connectomes, each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.cohort import Cohort
from connectome_gnn.constrained.connectivity import blocks
from connectome_gnn.constrained.effective import Linear
from connectome_gnn.constrained.linear import Compute, ConnectomeLinear, Constraint, Initialise, check_number, dale_signs
from connectome_gnn.constrained.wiring import Wiring, structural
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.training import PLAIN, TrainingConfig
from connectome_gnn.prediction.learning import LearningConfig

if TYPE_CHECKING:
    from connectome_gnn.constrained.cost import WiringRegulariser

__all__ = ["Activation", "ConnectomeConstrainedNetwork", "LayerConfig"]

Activation = Literal["relu", "tanh", "gelu", "identity"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "identity": nn.Identity}
"""All give 0 for 0, so that a unit without input is silent."""


@dataclass(frozen=True, eq=False)
class LayerConfig:
    """One layer of a :class:`ConnectomeConstrainedNetwork`.

    Parameters
    ----------
    wiring : what wires it: a :class:`~connectome_gnn.constrained.Wiring` (:func:`structural`, :func:`functional`, :func:`spatial`,
        :func:`modular`, or one band of :func:`local_to_long_range`), or what :func:`structural` takes: a cohort, an (R, R) array, the path
        of a prior. None for a layer that is not constrained.
    units : of the layer; default one a region. More are dealt out to regions in equal blocks, or as ``regions`` says.
    regions : (units,) region of every unit; default blocks.
    constraint, initialise, compute, strength, graded, bias : as in :class:`~connectome_gnn.constrained.ConnectomeLinear`.
    inhibitory : share of the sending units that are inhibitory under Dale's law; None for weights of either sign.
    """

    wiring: Any = None
    units: int | None = None
    regions: Any = None
    constraint: Constraint = "hard"
    initialise: Initialise = "uniform"
    compute: Compute = "auto"
    strength: float = 1e-3
    graded: bool = False
    bias: bool = True
    inhibitory: float | None = None


class ConnectomeConstrainedNetwork(nn.Module):
    """An input projection, layers of units that lie in regions, and a linear head: x -> units -> ... -> outputs.

    Parameters
    ----------
    in_features, out_features : numbers that come in, and outputs (class scores, or regression targets).
    layers : one :class:`LayerConfig` a layer, or only its ``wiring``, in the order of computation. Layer k goes from the units of
        layer k - 1 to its own; the first from its own units, onto which the input is projected.
    activation : after the projection and after every layer: ``"relu"``, ``"tanh"``, ``"gelu"`` or ``"identity"``.
    dropout : share of units silenced in training after every layer.
    project : False when inputs already are activity of the first layer's units (in_features of them).
    seed : of the initial weights of the whole network; None draws from torch's generator.

    Attributes
    ----------
    input : the projection, None without one.
    layers : the layers (``layers.0``, ...), constrained or ``torch.nn.Linear``.
    head : the read-out.

    Raises
    ------
    ConnectomeError
        If there is no layer, an unconstrained one does not say its units, successive layers stand on different regions, or a setting is
        out of range.

    Examples
    --------
    >>> bands = local_to_long_range(structural(cohort), 3)                               # doctest: +SKIP
    >>> network = ConnectomeConstrainedNetwork(64, 10, [LayerConfig(band) for band in bands], seed=0)  # doctest: +SKIP
    >>> wiring_cost(network, network.distances())                                        # doctest: +SKIP
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        layers: Sequence[Any],
        *,
        activation: Activation = "relu",
        dropout: float = 0.0,
        project: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise ConnectomeError(f"activation is one of {', '.join(map(repr, get_args(Activation)))}, got {activation!r}")
        if not 0 <= dropout < 1:
            raise ConnectomeError(f"dropout is a share of units, 0 to below 1, got {dropout}")
        if not layers:
            raise ConnectomeError("a network needs at least one layer; give a LayerConfig for each")
        if isinstance(layers, LayerConfig):
            raise ConnectomeError("layers must be a sequence with a LayerConfig for each layer, got one LayerConfig; put it in a list")
        for name, number in (("in_features", in_features), ("out_features", out_features)):
            check_number(name, number)
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.activation, self.dropout, self.project, self.seed = activation, float(dropout), bool(project), seed
        given = [config if isinstance(config, LayerConfig) else LayerConfig(config) for config in layers]
        self.configs = [_filled(config, number) for number, config in enumerate(given)]
        self.wirings: list[Wiring | None] = [config.wiring for config in self.configs]
        _check_regions(self.wirings)
        first, last = int(self.configs[0].units or 0), int(self.configs[-1].units or 0)
        if not project and self.in_features != first:
            raise ConnectomeError(f"without a projection the input must be the {first} units of the first layer, got {in_features}")
        self.input = Linear(self.in_features, first) if project else None
        built: list[nn.Module] = []
        for number, config in enumerate(self.configs):
            before = self.configs[max(number - 1, 0)]
            built.append(_layer(config, before, None if seed is None else seed + number + 1))
        self.layers = nn.ModuleList(built)
        self.head = Linear(last, self.out_features)
        self.active, self.drop = ACTIVATIONS[activation](), nn.Dropout(self.dropout)
        if seed is not None:
            for number, layer in enumerate(part for part in self.modules() if isinstance(part, nn.Linear)):
                _redraw(layer, torch.Generator().manual_seed(int(seed) + len(built) + number + 1))

    def fit(
        self,
        inputs: Any,
        targets: Any,
        *,
        wiring: WiringRegulariser | None = None,
        learning: LearningConfig | None = None,
        training: TrainingConfig = PLAIN,
        learned_before: bool = False,
        seed: int = 0,
    ) -> Self:
        """Learn a task, by a plain loop or under Lightning; soft layers pay their penalty, and wiring what it costs.

        Parameters
        ----------
        inputs : (N, in_features).
        targets : (N,) classes as whole numbers from 0 (with one output 0 and 1, of which its sign tells), or (N,) or (N, out_features)
            numbers, in any unit: the fitted network gives them in that unit.
        wiring : a term of the loss, with its own strength and schedule over steps; of this network. Numbers are learned in standard
            deviations, so that its strength does not depend on the targets' unit.
        learning : how long and how fast.
        training : engine and device: :class:`connectome_gnn.TrainingConfig`, as of the generator.
        learned_before : whether the network was fitted before and goes on from what it says; where it does not become better than it is, it
            stays so. To prune step by step and train between, give this to the ``fine_tune`` of
            :func:`~connectome_gnn.constrained.prune_by_wiring_cost`.
        seed : of the validation cases, the batches and dropout.

        Returns
        -------
        network : itself, in its best state, in evaluation mode, on the CPU.

        Raises
        ------
        ConnectomeError
            If inputs or targets do not fit, are missing or do not vary; if an engine or a device is asked for and not there.

        Warns
        -----
        ConnectomeWarning
            If it was never closer to the validation cases than saying the same of every case, which it then says.

        Examples
        --------
        >>> network = ConnectomeConstrainedNetwork(3, 1, [LayerConfig(np.ones((4, 4)))], seed=0)
        >>> inputs = np.random.default_rng(0).normal(size=(80, 3))
        >>> network = network.fit(inputs, 50 + 10 * inputs[:, 0])
        >>> 45 < network(torch.zeros(1, 3)).item() < 55
        True
        """
        from connectome_gnn.constrained.training import train_constrained

        train_constrained(self, inputs, targets, wiring, learning or LearningConfig(), training, learned_before, seed)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return self.head(self.units(inputs)[-1])

    def units(self, inputs: Tensor) -> list[Tensor]:
        """Activity of the units of every layer, (..., units) each."""
        if inputs.shape[-1:] != (self.in_features,):
            raise ConnectomeError(f"expected inputs of shape (..., {self.in_features}), got {tuple(inputs.shape)}")
        active = inputs if self.input is None else self.active(self.input(inputs))
        activity = []
        for layer in self.layers:
            active = self.drop(self.active(layer(active)))
            activity.append(active)
        return activity

    def distances(self) -> dict[str, NDArray]:
        """Distances between the regions of every constrained layer whose wiring knows them, by module name: for
        :func:`~connectome_gnn.constrained.cost`.

        Raises
        ------
        ConnectomeError
            If no layer's wiring knows distances.
        """
        known = {
            f"layers.{number}": wiring.distances
            for number, wiring in enumerate(self.wirings)
            if wiring is not None and wiring.distances is not None
        }
        if not known:
            raise ConnectomeError("no layer's wiring knows distances; give them, by module name, to what needs them")
        return known

    def penalty(self) -> Tensor:
        """The soft penalties of all layers together, ()."""
        return torch.stack([layer.penalty() for layer in self.layers if isinstance(layer, ConnectomeLinear)] or [torch.zeros(())]).sum()

    def neighbours(self) -> list[tuple[nn.Linear, NDArray | None, NDArray | None]]:
        """The unconstrained layers, with the region of every receiving and every sending unit where units lie in regions."""
        places = [config.regions for config in self.configs]
        found: list[tuple[nn.Linear, NDArray | None, NDArray | None]] = [] if self.input is None else [(self.input, places[0], None)]
        for number, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear):
                found.append((layer, places[number], places[max(number - 1, 0)]))
        return [*found, (self.head, None, places[-1])]


def _wiring(source: Any) -> Wiring | None:
    if source is None or isinstance(source, Wiring):
        return source
    if isinstance(source, Cohort) and source.signed:
        raise ConnectomeError(f"cohort {source.name!r} holds correlations; say how they wire a layer with functional(cohort, density=...)")
    return structural(source)


def _filled(config: LayerConfig, number: int) -> LayerConfig:
    """A layer's configuration with its wiring, its number of units and, where they lie in regions, the region of each."""
    wiring = _wiring(config.wiring)
    if config.units is not None:
        check_number(f"the number of units of layer {number}", config.units)
    if wiring is None:
        if config.units is None:
            raise ConnectomeError(f"layer {number} is not constrained, so it must say how many units it has")
        return replace(config, regions=None)
    units = config.units if config.units is not None else (wiring.n_regions if config.regions is None else len(config.regions))
    regions = blocks(units, wiring.n_regions) if config.regions is None else np.asarray(config.regions)
    if regions.shape != (units,) or regions.dtype.kind not in "iu" or regions.min() < 0 or regions.max() >= wiring.n_regions:
        raise ConnectomeError(f"layer {number}: expected a region from 0 to {wiring.n_regions - 1} for each of {units} units")
    return replace(config, wiring=wiring, units=units, regions=regions.astype(np.int64))


def _check_regions(wirings: Sequence[Wiring | None]) -> None:
    known = [(number, wiring) for number, wiring in enumerate(wirings) if wiring is not None]
    for (before, first), (number, second) in pairwise(known):
        if first.n_regions != second.n_regions or (first.labels and second.labels and first.labels != second.labels):
            raise ConnectomeError(
                f"layers {before} and {number} stand on different regions ({first.name}: {first.n_regions}, "
                f"{second.name}: {second.n_regions}); "
                "bring both wirings onto one atlas, in the same order"
            )


def _layer(config: LayerConfig, before: LayerConfig, seed: int | None) -> nn.Module:
    units, sending = int(config.units or 0), int(before.units or 0)
    if config.wiring is None:
        return Linear(sending, units, bias=config.bias)
    n_regions = config.wiring.n_regions
    # After an unconstrained layer, units lie in blocks of this layer's regions.
    places = blocks(sending, n_regions) if before.regions is None else before.regions
    each = np.arange(n_regions)
    are_regions = np.array_equal(config.regions, each) and np.array_equal(places, each)
    return ConnectomeLinear(
        sending,
        units,
        config.wiring.connectivity,
        config.constraint,
        config.bias,
        assignment=None if are_regions else (config.regions, places),
        signs=None if config.inhibitory is None else dale_signs(sending, config.inhibitory, seed or 0),
        initialise=config.initialise,
        compute=config.compute,
        strength=config.strength,
        graded=config.graded,
        seed=seed,
    )


@torch.no_grad()
def _redraw(layer: nn.Linear, generator: torch.Generator) -> None:
    """torch.nn.Linear's own initial weights, from a generator of the network's."""
    bound = layer.in_features**-0.5
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator)

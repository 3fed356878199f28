"""A linear layer wired by a connectome."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from connectome_gnn.constrained.connectivity import as_connectivity, units_of_regions, wire_units
from connectome_gnn.constrained.effective import Copied, current
from connectome_gnn.constrained.sparse_product import sparse_is_faster, sparse_product
from connectome_gnn.errors import ConnectomeError

__all__ = ["Compute", "ConnectomeLinear", "Constraint", "Initialise", "check_number", "dale_signs"]

Constraint = Literal["hard", "soft", "init"]
Initialise = Literal["uniform", "scaled", "connectome"]
Compute = Literal["auto", "sparse", "dense"]


class ConnectomeLinear(Copied, nn.Module):
    """A linear layer whose weights follow a connectome: y = W x + b, W (out_features, in_features), row i what unit i receives.

    Parameters
    ----------
    in_features, out_features : numbers of sending and of receiving units.
    connectivity : (out_features, in_features), rows receiving; a connection is whatever is not 0. Of regions rather than units where an
        ``assignment`` says which unit belongs to which. numpy, torch, scipy.sparse, a DataFrame, or a
        :class:`~connectome_gnn.constrained.Wiring`.
    constraint : ``"hard"``: weights exist only where there is a connection. ``"soft"``: all weights exist, those off the connectome start
        at 0 and cost a :meth:`penalty`. ``"init"``: as soft, without a penalty: the connectome is the start and nothing more.
    bias : whether there is a bias.
    assignment : which unit belongs to which region: ``"blocks"`` (regions follow one another, each with as many units), one array of
        regions for a square layer, or (receiving, sending). The matrix itself is never stretched.
    signs : Dale's law: +1 or -1 for every sending unit (or region, with an assignment), kept by all its weights; see :func:`dale_signs`.
    initialise : ``"uniform"``: as ``torch.nn.Linear``, with the number of a unit's connections in place of in_features. ``"scaled"``: those
        times the connection's share of its row's strength, so that strong connections start strong, with the same variance of the output.
        ``"connectome"``: the connectivity itself, signs included, times one number that gives the rows that variance on average.
    compute : of a hard layer. ``"sparse"``: on connections alone; ``"dense"``: connections are laid out in a matrix for each product, which
        needs out x in numbers for a moment; ``"auto"``: the faster as measured (see Notes). Weights, outputs and gradients are the same.
    strength, graded : of the soft penalty. ``graded`` counts weak connections as partly off the connectome, by how far their absolute
        weight is below the largest.
    seed : of the initial weights; None draws from torch's own generator, as torch.nn.Linear does.
    device, dtype : of the parameters, as everywhere in torch.

    Attributes
    ----------
    weight : the parameter. Of a hard layer (connections,), row by row (see :meth:`connections`): there are exactly as many numbers as
        connections, so a forbidden weight has nothing that an optimiser, a checkpoint, a copy or another precision could move from 0.
        Otherwise (out_features, in_features). With signs it is the magnitude: the weight in use is ``sign * |weight|``.
    bias : (out_features,) or None.

    Raises
    ------
    ConnectomeError
        If the connectivity is no finite matrix, wholly zero, or of another shape and no assignment is given; if an option is none of those
        listed; if signs are not +1 or -1 for every sending unit.

    Warns
    -----
    ConnectomeWarning
        If receiving units have no connection, as isolated regions do.

    Notes
    -----
    Signs are kept by the parametrisation, not by projecting after each step: they then hold after any optimiser without its help, no weight
    dies at 0 as it would behind a ReLU, and weight decay still pulls to 0 as it would not behind a softplus.

    ``"auto"`` computes sparsely, on a CPU, up to 10 % density in layers of at least 400 x 400, where a step of training is the faster for
    it, and under 5 % in smaller ones, for memory in proportion to connections: as fast from about 200 x 200, up to 0.1 ms a step slower
    below. Elsewhere connections are laid out densely. benchmarks/constrained.py measures it.

    Examples
    --------
    >>> layer = ConnectomeLinear(3, 3, [[0, 1, 0], [1, 0, 1], [0, 1, 0]], seed=0)
    >>> layer
    ConnectomeLinear(in_features=3, out_features=3, bias=True, constraint=hard, connections=4, density=0.444, compute=dense)
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    crow_indices: Tensor
    col_indices: Tensor
    connection_strength: Tensor
    signs: Tensor | None
    receiving_regions: Tensor | None
    sending_regions: Tensor | None
    _crow_transposed: Tensor
    _col_transposed: Tensor
    _order: Tensor | None
    _places: Tensor | None
    _off: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        connectivity: Any,
        constraint: Constraint = "hard",
        bias: bool = True,
        *,
        assignment: Any = None,
        signs: ArrayLike | None = None,
        initialise: Initialise = "uniform",
        compute: Compute = "auto",
        strength: float = 1e-3,
        graded: bool = False,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("constraint", constraint, Constraint),
            ("initialise", initialise, Initialise),
            ("compute", compute, Compute),
        ):
            if value not in get_args(allowed):
                raise ConnectomeError(f"{name} is one of {', '.join(map(repr, get_args(allowed)))}, got {value!r}")
        if not (math.isfinite(strength) and strength >= 0):
            raise ConnectomeError(f"the strength of the soft penalty must be a finite number, 0 or more, got {strength}")
        for name, number in (("in_features", in_features), ("out_features", out_features)):
            check_number(name, number)
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.constraint, self.initialise, self.compute = constraint, initialise, compute
        self.strength, self.graded, self.seed = float(strength), bool(graded), seed
        matrix = as_connectivity(connectivity)
        self.region_shape: tuple[int, int] = matrix.shape
        regions = units_of_regions(assignment, self.shape, self.region_shape)
        units = wire_units(matrix, regions)
        floats = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        self.register_buffer("crow_indices", torch.from_numpy(units.indptr.astype(np.int32)).to(device))
        self.register_buffer("col_indices", torch.from_numpy(units.indices.astype(np.int32)).to(device))
        self.register_buffer("connection_strength", torch.as_tensor(units.data, **floats))
        for name, side in zip(("receiving_regions", "sending_regions"), regions or (None, None), strict=True):
            self.register_buffer(name, None if side is None else torch.from_numpy(side).to(device))
        kept = (
            None if signs is None else _unit_signs(signs, self.in_features, self.region_shape[1], None if regions is None else regions[1])
        )
        self.register_buffer("signs", None if kept is None else torch.as_tensor(kept, **floats))
        size = (units.nnz,) if constraint == "hard" else self.shape
        self.weight = nn.Parameter(torch.empty(size, **floats))
        self.register_parameter("bias", nn.Parameter(torch.empty(self.out_features, **floats)) if bias else None)
        self._index()
        self.reset_parameters()

    # --- what it is ----------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features)."""
        return self.out_features, self.in_features

    @property
    def n_connections(self) -> int:
        """Connections of the connectome between the layer's units, pruned ones included."""
        return len(self.col_indices)

    @property
    def density(self) -> float:
        """Connections as a share of out_features x in_features."""
        return self.n_connections / (self.out_features * self.in_features)

    @property
    def sparse(self) -> bool:
        """Whether products are computed on connections alone."""
        if self.constraint != "hard" or self.compute != "auto":
            return self.constraint == "hard" and self.compute == "sparse"
        return sparse_is_faster(self.n_connections, self.out_features * self.in_features, self.col_indices.device)

    @property
    def assignment(self) -> tuple[Tensor, Tensor] | None:
        """Region of every receiving and of every sending unit; None where units are regions."""
        if self.receiving_regions is None or self.sending_regions is None:
            return None
        return self.receiving_regions, self.sending_regions

    def connections(self) -> tuple[Tensor, Tensor]:
        """Receiving and sending unit of every connection, (connections,) int64 each, row by row: the order of a hard layer's weight."""
        rows = torch.arange(self.out_features, device=self.crow_indices.device)
        return rows.repeat_interleave(self.crow_indices.diff().long()), self.col_indices.long()

    def mask(self) -> Tensor:
        """Where there is a connection, (out_features, in_features) bool."""
        mask = torch.zeros(self.shape, dtype=torch.bool, device=self.col_indices.device)
        mask[self.connections()] = True
        return mask

    def extra_repr(self) -> str:
        """Sizes, constraint, density and compute path, as they are printed."""
        parts = [f"in_features={self.in_features}", f"out_features={self.out_features}", f"bias={self.bias is not None}"]
        parts += [f"constraint={self.constraint}", f"connections={self.n_connections}", f"density={self.density:.3g}"]
        parts += ["signs=kept"] if self.signs is not None else []
        return ", ".join([*parts, f"compute={'sparse' if self.sparse else 'dense'}"])

    # --- weights -------------------------------------------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Draw the initial weights anew, as ``initialise`` says."""
        device = self.weight.device
        generator = None if self.seed is None else torch.Generator(device).manual_seed(int(self.seed))
        number = self.crow_indices.diff().to(self.connection_strength)
        bound = number.clamp(min=1).rsqrt()
        rows = self.connections()[0]
        with torch.no_grad():
            start = torch.empty(self.n_connections, device=device, dtype=self.weight.dtype).uniform_(-1, 1, generator=generator)
            if self.initialise == "uniform":
                start *= bound[rows]
            elif self.initialise == "scaled":
                squares = torch.zeros_like(number).index_add(0, rows, self.connection_strength**2)
                start *= self.connection_strength.abs() * squares[rows].rsqrt()
            else:
                heard = int((number > 0).sum())
                start = self.connection_strength * torch.sqrt(heard / (3 * (self.connection_strength**2).sum()))
            if self.signs is not None:
                start = start.abs()
            if self.constraint == "hard":
                self.weight.copy_(start)
            else:
                self.weight.zero_()
                self.weight[self.connections()] = start.to(self.weight.dtype)
            if self.bias is not None:
                self.bias.uniform_(-1, 1, generator=generator)
                self.bias.mul_(bound)

    def values(self) -> Tensor:
        """The weights in use, as they are stored: (connections,) of a hard layer, else (out_features, in_features); differentiable."""
        weight = current(self)
        if self.signs is None:
            return weight
        # Not abs(): its gradient at 0 is 0, where weights off a soft connectome start and would stay.
        magnitude = torch.where(weight < 0, -weight, weight)
        return magnitude * (self.signs[self.col_indices] if self.constraint == "hard" else self.signs)

    def dense_weight(self) -> Tensor:
        """The weights in use as a matrix, (out_features, in_features), exactly 0 where a hard layer has no connection; differentiable."""
        values = self.values()
        if self.constraint != "hard":
            return values
        rows, columns = self.connections()
        places = rows * self.in_features + columns if self._places is None else self._places
        flat = torch.zeros(self.out_features * self.in_features, dtype=values.dtype, device=values.device)
        return flat.index_put((places,), values).view(self.shape)

    def penalty(self) -> Tensor:
        """Strength times the sum of squared weights off the connectome, (): 0 for hard and init layers."""
        weight = self.values()
        if self.constraint != "soft":
            return weight.new_zeros(())
        return self.strength * (self._off.to(weight.dtype) * weight**2).sum()

    # --- compute -------------------------------------------------------------------------------------------------------

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return self.prepared()(inputs)

    def prepared(self) -> Callable[[Tensor], Tensor]:
        """The layer with its weights worked out once, for many products in a row, as a recurrent network takes."""
        if self.sparse:
            values, bias = self.values(), self._bias()
            return lambda inputs: self._sparse(self._checked(inputs), values, bias)
        weight, bias = self.dense_weight(), self._bias()
        return lambda inputs: functional.linear(self._checked(inputs), weight, bias)

    def _checked(self, inputs: Tensor) -> Tensor:
        if inputs.shape[-1:] != (self.in_features,):
            raise ConnectomeError(f"expected inputs of shape (..., {self.in_features}), the sending units, got {tuple(inputs.shape)}")
        if inputs.dtype != self.weight.dtype and not torch.is_autocast_enabled(inputs.device.type):
            raise ConnectomeError(f"expected inputs of the layer's type, {self.weight.dtype}, got {inputs.dtype}; convert one with .to()")
        return inputs

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else current(self, "bias")

    def _sparse(self, inputs: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            inputs = inputs.to(torch.get_autocast_dtype(device))
        out = sparse_product(inputs, values, (self.crow_indices, self.col_indices, *self._transpose), self.shape)
        return out if bias is None else out + bias.to(out.dtype)

    # --- what follows from the connections -----------------------------------------------------------------------------

    def _index(self) -> None:
        """Work out what products need besides the connections; no part of the state."""
        rows, columns = self.connections()
        order = torch.argsort(columns, stable=True)
        starts = torch.zeros(self.in_features + 1, dtype=torch.int32, device=rows.device)
        starts[1:] = torch.bincount(columns, minlength=self.in_features).cumsum(0)
        sparse = self.sparse
        self.register_buffer("_crow_transposed", starts if sparse else None, persistent=False)
        self.register_buffer("_col_transposed", rows[order].int() if sparse else None, persistent=False)
        self.register_buffer("_order", order if sparse else None, persistent=False)
        dense = self.constraint == "hard" and not sparse
        self.register_buffer("_places", rows * self.in_features + columns if dense else None, persistent=False)
        self.register_buffer("_off", self._off_connectome() if self.constraint == "soft" else None, persistent=False)

    @property
    def _transpose(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._order is None:  # the layer went to a device on which it computes sparsely
            self._index()
        order: Tensor = self._order  # type: ignore[assignment]
        return self._crow_transposed, self._col_transposed, order

    def _off_connectome(self) -> Tensor:
        """How far off the connectome every weight is, (out_features, in_features) in [0, 1]."""
        off = torch.ones(self.shape, dtype=self.connection_strength.dtype, device=self.connection_strength.device)
        share = self.connection_strength.abs() / self.connection_strength.abs().max()
        off[self.connections()] = 1 - share if self.graded else torch.zeros_like(share)
        return off

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, own in (("crow_indices", self.crow_indices), ("col_indices", self.col_indices)):
            theirs = state_dict.get(f"{prefix}{name}")
            if theirs is not None and theirs.shape != own.shape:
                # Nothing is taken over: row ends of one connectome and columns of another would be neither's.
                args[-1].append(
                    f"size mismatch for {prefix}{name}: the state has {tuple(theirs.shape)}, this layer {tuple(own.shape)}; "
                    "build the layer with the connectivity of the state"
                )
                return
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._index()  # the state brings its own connections


def check_number(what: str, number: object) -> None:
    """Raise a ConnectomeError unless this is a number of units, 1 or more."""
    if not isinstance(number, (int, np.integer)) or number < 1:
        raise ConnectomeError(f"{what} must be a whole number, 1 or more, got {number!r}")


def dale_signs(n_units: int, inhibitory: float = 0.2, seed: int = 0) -> NDArray[np.float64]:
    """Signs of sending units for Dale's law, (n_units,): -1 for a share of them, drawn at random, +1 for the others.

    Parameters
    ----------
    n_units : units, or regions.
    inhibitory : share of inhibitory units, 0 to 1, exact to the nearest unit; cortex has about a fifth.
    seed : of the draw.

    Raises
    ------
    ConnectomeError
        If the share is outside 0 to 1.
    """
    if not 0 <= inhibitory <= 1:
        raise ConnectomeError(f"the share of inhibitory units must be between 0 and 1, got {inhibitory}")
    signs = np.ones(n_units)
    signs[np.random.default_rng(seed).permutation(n_units)[: round(inhibitory * n_units)]] = -1
    return signs


def _unit_signs(signs: ArrayLike, n_units: int, n_regions: int, regions: NDArray[np.int64] | None) -> NDArray[np.float64]:
    try:
        array = np.array(signs.detach().double().cpu() if isinstance(signs, Tensor) else signs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"signs must be +1 or -1 for each of {n_units} sending units (or their regions): {error}") from error
    if regions is not None and array.shape == (n_regions,) and n_units != n_regions:
        array = array[regions]
    if array.shape != (n_units,) or not np.isin(array, (-1, 1)).all():
        raise ConnectomeError(f"signs must be +1 or -1 for each of {n_units} sending units (or their regions), got shape {array.shape}")
    return array

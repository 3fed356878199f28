"""Recurrent networks wired by a connectome: reservoirs, whose wiring stays, and cells that are trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackError, eigs
from torch import Tensor, nn

from connectome_gnn.constrained.effective import Copied
from connectome_gnn.constrained.linear import Compute, ConnectomeLinear, Constraint, Initialise, check_number
from connectome_gnn.errors import ConnectomeError

__all__ = ["ConnectomeRecurrent", "spectral_radius"]

DENSE_UNITS = 400
"""Units up to which all eigenvalues are computed, which is then the faster."""

LEAST_RADIUS = 1e-9


class ConnectomeRecurrent(Copied, nn.Module):
    """Units wired by a connectome that go on from step to step: h' = (1 - leak) h + leak tanh(W h + V u + b).

    A reservoir (echo state network; Jaeger 2001) keeps W, V and b as they start, so that only what reads its states is trained; otherwise
    it is a cell of a recurrent network whose W, V and b are trained.

    Parameters
    ----------
    input_size : numbers that come in at every step.
    units : units; the layer of recurrent weights is :class:`~connectome_gnn.constrained.ConnectomeLinear` (units, units).
    connectivity : (units, units), rows receiving, or of regions with an ``assignment``.
    trainable : whether weights are trained. A reservoir's are parameters too, with ``requires_grad`` off.
    spectral_radius : largest absolute eigenvalue of the recurrent weights at the start; below about 1 the past fades. None leaves the
        weights.
    leak : share of a unit's state that is new at every step, above 0, at most 1.
    input_scaling : input weights are drawn from -input_scaling to input_scaling.
    input_units : units that hear the input: positions or a boolean mask; None for all.
    bias : whether units have a bias. A reservoir's is drawn as a layer's.
    washout : first steps of every sequence that are computed and not given back: they still tell of the initial state.
    constraint, assignment, signs, initialise, compute, strength, seed : of the recurrent weights, as in
        :class:`~connectome_gnn.constrained.ConnectomeLinear`; the connectome's own weights by default. ``seed`` draws the input weights
        too.

    Attributes
    ----------
    recurrent : the recurrent layer.
    input_weight : (units, input_size), exactly 0 for units that hear no input, trained or not.

    Raises
    ------
    ConnectomeError
        As ConnectomeLinear; if a setting is out of range, or weights without any loop should have a spectral radius.

    References
    ----------
    Suarez et al. 2021, Nature Machine Intelligence 3:771 (connectomes as reservoirs).
    """

    input_mask: Tensor

    def __init__(
        self,
        input_size: int,
        units: int,
        connectivity: Any,
        *,
        trainable: bool = False,
        spectral_radius: float | None = 0.9,
        leak: float = 1.0,
        input_scaling: float = 1.0,
        input_units: ArrayLike | None = None,
        bias: bool = False,
        washout: int = 0,
        constraint: Constraint = "hard",
        assignment: Any = None,
        signs: ArrayLike | None = None,
        initialise: Initialise = "connectome",
        compute: Compute = "auto",
        strength: float = 1e-3,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not (isinstance(leak, (int, float, np.floating)) and 0 < leak <= 1):
            raise ConnectomeError(f"leak is a share above 0 and at most 1, got {leak}")
        if spectral_radius is not None and not (math.isfinite(spectral_radius) and spectral_radius > 0):
            raise ConnectomeError(f"spectral_radius must be above 0, or None to leave the weights as they are, got {spectral_radius}")
        if not isinstance(washout, (int, np.integer)) or washout < 0:
            raise ConnectomeError(f"washout is a number of steps, 0 or more, got {washout!r}")
        check_number("input_size", input_size)
        if not (math.isfinite(input_scaling) and input_scaling >= 0):
            raise ConnectomeError(f"input_scaling must be a finite number, 0 or more, got {input_scaling}")
        self.input_size, self.units, self.trainable = int(input_size), int(units), bool(trainable)
        self.radius, self.leak, self.input_scaling, self.washout = spectral_radius, float(leak), float(input_scaling), int(washout)
        self.recurrent = ConnectomeLinear(
            units,
            units,
            connectivity,
            constraint,
            bias,
            assignment=assignment,
            signs=signs,
            initialise=initialise,
            compute=compute,
            strength=strength,
            seed=seed,
        )
        self.register_buffer("input_mask", _heard(input_units, self.units)[:, None])
        self.input_weight = nn.Parameter(torch.empty(self.units, self.input_size))
        self.reset_parameters()
        self.requires_grad_(self.trainable)

    def reset_parameters(self) -> None:
        """Draw the initial weights anew and scale the recurrent ones to the spectral radius."""
        self.recurrent.reset_parameters()
        seed = self.recurrent.seed
        # The stream after the layer's own: its weights and the input's are not the same numbers.
        generator = None if seed is None else torch.Generator(self.input_weight.device).manual_seed(seed + 1)
        with torch.no_grad():
            self.input_weight.uniform_(-self.input_scaling, self.input_scaling, generator=generator)
            self.input_weight.mul_(self.input_mask)
            if self.radius is not None:
                found = spectral_radius(self.recurrent)
                if found < LEAST_RADIUS:
                    raise ConnectomeError(
                        "the recurrent weights have spectral radius 0 (a connectome without loops); give spectral_radius=None"
                    )
                self.recurrent.weight.mul_(self.radius / found)

    def forward(self, inputs: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run sequences through the units.

        Parameters
        ----------
        inputs : (batch, steps, input_size).
        initial : (batch, units) state before the first step; default 0.

        Returns
        -------
        states : (batch, steps - washout, units).
        last : (batch, units) state after the last step, from which a next call can go on.

        Raises
        ------
        ConnectomeError
            If the inputs have another shape, or no step is left after the washout.
        """
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size:
            raise ConnectomeError(f"expected inputs of shape (batch, steps, {self.input_size}), got {tuple(inputs.shape)}")
        if inputs.shape[1] <= self.washout:
            raise ConnectomeError(f"sequences of {inputs.shape[1]} steps leave none after a washout of {self.washout}")
        if initial is not None and initial.shape != (inputs.shape[0], self.units):
            raise ConnectomeError(f"expected an initial state of shape {(inputs.shape[0], self.units)}, got {tuple(initial.shape)}")
        if inputs.dtype != self.input_weight.dtype and not torch.is_autocast_enabled(inputs.device.type):
            raise ConnectomeError(f"expected inputs of the network's type, {self.input_weight.dtype}, got {inputs.dtype}; use .to()")
        driven = inputs @ (self.input_weight * self.input_mask).t()
        state = driven.new_zeros(inputs.shape[0], self.units) if initial is None else initial
        step = self.recurrent.prepared()
        states = []
        for now in driven.unbind(1):
            fresh = torch.tanh(step(state) + now)
            state = fresh if self.leak == 1 else torch.lerp(state, fresh, self.leak)
            states.append(state)
        return torch.stack(states[self.washout :], 1), state

    def penalty(self) -> Tensor:
        """The soft penalty of the recurrent weights, ()."""
        return self.recurrent.penalty()

    def extra_repr(self) -> str:
        """Settings, as they are printed."""
        heard = int(self.input_mask.sum())
        kind = "trainable" if self.trainable else "reservoir"
        return f"input_size={self.input_size}, units={self.units}, {kind}, leak={self.leak:g}, input_units={heard}, washout={self.washout}"


def spectral_radius(layer: ConnectomeLinear) -> float:
    """Largest absolute eigenvalue of a square layer's weights.

    Raises
    ------
    ConnectomeError
        If the layer is not square.
    """
    if layer.in_features != layer.out_features:
        raise ConnectomeError(f"a spectral radius needs a square layer, got {layer.shape}")
    values = layer.values().detach().double().cpu().numpy()
    if layer.constraint == "hard" and layer.in_features > DENSE_UNITS:
        pattern = (layer.col_indices.cpu().numpy(), layer.crow_indices.cpu().numpy())
        matrix = csr_array((values, *pattern), shape=layer.shape)
        try:
            # A given start vector: the same answer every time.
            return float(np.abs(eigs(matrix, k=1, which="LM", v0=np.ones(layer.in_features), return_eigenvectors=False))[0])
        except ArpackError:
            pass  # eigenvalues too alike to be found one at a time
    dense = layer.dense_weight().detach().double().cpu().numpy()
    return float(np.abs(np.linalg.eigvals(dense)).max())


def _heard(input_units: ArrayLike | None, units: int) -> Tensor:
    """Which units hear the input, (units,) bool."""
    if input_units is None:
        return torch.ones(units, dtype=torch.bool)
    given = np.asarray(input_units.detach().cpu().numpy() if isinstance(input_units, Tensor) else input_units)
    mask = np.zeros(units, dtype=bool)
    if given.dtype.kind == "b" and given.shape == (units,):
        mask = given
    elif given.dtype.kind in "iu" and given.ndim == 1 and len(given) and given.min() >= 0 and given.max() < units:
        mask[given] = True
    if not mask.any():
        raise ConnectomeError(f"input_units must be positions from 0 to {units - 1} or a boolean mask ({units},) with one unit at least")
    return torch.from_numpy(mask.copy())

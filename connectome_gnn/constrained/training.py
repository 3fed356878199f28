"""Training of networks wired by connectomes, by the generator's engines: the task, what wiring costs, and soft penalties."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.constrained.cost import WiringRegulariser
from connectome_gnn.constrained.effective import stored
from connectome_gnn.constrained.targets import are_classes, read_values
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.generation.training import TrainingConfig, take_steps
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.learning import LearningConfig
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.prediction.training import Heads, PredictionCourse, validation_rows
from connectome_gnn.progress import progress

if TYPE_CHECKING:
    from connectome_gnn.constrained.network import ConnectomeConstrainedNetwork

__all__ = ["train_constrained"]


class _Outputs(nn.Module):
    """A constrained network as a course calls it; of one score, whose sign says class 1, the scores of both classes."""

    def __init__(self, network: ConnectomeConstrainedNetwork, one_score: bool) -> None:
        super().__init__()
        self.network, self.one_score = network, one_score

    def forward(self, inputs: Tensor, _: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs)
        return torch.cat([torch.zeros_like(outputs), outputs], 1) if self.one_score else outputs


class _Course(PredictionCourse):
    """The training of a constrained network under way.

    The state that is kept is the one whose task and wiring together cost least on the validation cases, the wiring as it counts at the
    end of its schedule, among those that do better than saying the same of every case.
    """

    network: _Outputs

    def __init__(self, wiring: WiringRegulariser | None, network: _Outputs, *args: Any) -> None:
        self.wiring = wiring
        super().__init__(network, *args)  # type: ignore[arg-type]
        if self.kept is None:
            self.best = torch.inf

    def burden(self, step: int) -> Tensor:
        """Penalties of weights at a step."""
        penalty = self.network.network.penalty()
        return penalty if self.wiring is None else penalty + self.wiring(step)

    def loss(self, rows: Tensor, device: torch.device, network: nn.Module, over: int | None = None) -> Tensor:
        """Mean loss over rows and targets with the burden; with ``over`` the rows' share of that mean and of the burden."""
        share = 1.0 if over is None else len(rows) / over
        return super().loss(rows, device, network, over) + share * self.burden(self.step)

    @torch.no_grad()
    def look(self, error: float) -> None:
        """Remember the state if it is the best so far; end when patience is at its end."""
        super().look(error + self.burden(self.total).item() if error < self.silence else torch.inf)


def train_constrained(
    network: ConnectomeConstrainedNetwork,
    inputs: Any,
    targets: Any,
    wiring: WiringRegulariser | None,
    learning: LearningConfig,
    training: TrainingConfig,
    learned_before: bool,
    seed: int,
) -> None:
    """Train a network in place; arguments of :meth:`ConnectomeConstrainedNetwork.fit`."""
    values = _inputs(network, inputs)
    read = _targets(read_values(targets, len(values)), network.out_features)
    if wiring is not None and not {id(layer) for layer, _ in wiring.layers.values()} <= {id(part) for part in network.modules()}:
        raise ConnectomeError("the wiring cost is of layers of another network; make the WiringRegulariser of the network that is fitted")
    held = validation_rows(np.arange(len(values)), read, learning.validation, seed)
    heads = Heads.of([one.take(np.flatnonzero(~held)) for one in read])
    one_score = bool(read[0].classes) and network.out_features == 1
    if learned_before:
        _rescale(network, heads, back=True)
    with torch.random.fork_rng(devices=[]), progress("Network", total=learning.epochs) as advance:
        torch.manual_seed(seed)
        people = PeopleInputs(values, torch.empty(len(values), 0))
        course = _Course(wiring, _Outputs(network, one_score), people, heads.encode(read), heads, learning, held, learned_before)
        take_steps(course, training, advance)
        learned = course.finish()
    network.eval()
    if not learned and not learned_before:
        _say_nothing(network, heads.silence, one_score)
        warnings.warn(
            "the network was never closer to the validation cases than saying the same of every case; it now says that",
            ConnectomeWarning,
            stacklevel=3,
        )
    _rescale(network, heads)


def _inputs(network: ConnectomeConstrainedNetwork, inputs: Any) -> Tensor:
    kind = stored(network.head).dtype
    try:
        values = inputs.detach().cpu().to(kind) if isinstance(inputs, Tensor) else torch.tensor(np.asarray(inputs), dtype=kind)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"inputs must be numbers (N, {network.in_features}): {error}") from error
    if values.ndim != 2 or values.shape[1] != network.in_features:
        raise ConnectomeError(f"expected inputs of shape (N, {network.in_features}), got {tuple(values.shape)}")
    if not values.isfinite().all():
        raise ConnectomeError("inputs must be finite, they hold NaN or infinity; fill in or leave out what is missing")
    return values


def _targets(values: NDArray, n_outputs: int) -> list[Target]:
    """What the outputs stand for: the classes of one target, or a number each."""
    if are_classes(values, n_outputs):
        if len(np.unique(values)) < 2:
            raise ConnectomeError(f"all cases are of class {int(values[0])}; a network needs two classes or more to tell apart")
        return [Target("target", values.astype(np.float64), tuple(map(str, range(max(n_outputs, 2)))))]
    columns = values.reshape(len(values), -1).astype(np.float64).T
    if (np.ptp(columns, axis=1) == 0).any():
        raise ConnectomeError("a target is the same in all cases; there is nothing to learn")
    return [Target("target", column) for column in columns]


@torch.no_grad()
def _rescale(network: ConnectomeConstrainedNetwork, heads: Heads, back: bool = False) -> None:
    """Take the head's outputs from standard deviations around the mean into the targets' own unit, or back."""
    weight, bias = stored(network.head), stored(network.head, "bias")
    spread, mean = (torch.tensor(numbers, dtype=weight.dtype, device=weight.device) for numbers in (heads.deviations, heads.means))
    if not back:
        weight.mul_(spread[:, None])
        bias.mul_(spread).add_(mean)
    else:
        bias.sub_(mean).div_(spread)
        weight.div_(spread[:, None])


@torch.no_grad()
def _say_nothing(network: ConnectomeConstrainedNetwork, silence: Tensor, one_score: bool) -> None:
    stored(network.head).zero_()
    stored(network.head, "bias").copy_(silence.diff() if one_score else silence)

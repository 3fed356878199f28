"""Training of a graph network: the generator's training, with a loss for several targets and validation people who belong to nobody's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn import splits
from connectome_gnn.generation.training import PLAIN, Course, TrainingConfig, take_steps
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.network import GraphNetwork, GraphNetworkConfig
from connectome_gnn.prediction.node_features import PeopleInputs

__all__ = ["Heads", "train_network", "validation_rows"]


@dataclass(frozen=True)
class Heads:
    """What a network's outputs are, one target after the other.

    Attributes
    ----------
    sizes : outputs of each target: 1 for a number, otherwise the number of levels.
    means, deviations : of the training people's numbers; 0 and 1 for levels.
    shares : of training people at each level, empty for numbers.
    """

    sizes: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, targets: Sequence[Target]) -> Heads:
        """Of training people's targets."""
        means, spreads, shares = [], [], []
        for target in targets:
            number, n_levels = not target.classes, len(target.classes)
            means.append(float(target.values.mean()) if number else 0.0)
            spreads.append((float(target.values.std()) or 1.0) if number else 1.0)
            counts = np.zeros(0) if number else np.bincount(target.values.astype(np.intp), minlength=n_levels) + 0.5
            shares.append(tuple((counts / max(counts.sum(), 1)).tolist()))
        return cls(tuple(max(len(target.classes), 1) for target in targets), tuple(means), tuple(spreads), tuple(shares))

    @property
    def slices(self) -> list[slice]:
        """Which outputs belong to each target."""
        ends = np.cumsum([0, *self.sizes]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    @property
    def silence(self) -> Tensor:
        """Outputs that say the same of everybody: means, and logarithms of levels' shares."""
        return torch.tensor(
            [value for shares in self.shares for value in (np.log(shares).tolist() if shares else [0.0])], dtype=torch.float32
        )

    def encode(self, targets: Sequence[Target]) -> Tensor:
        """Targets as a network learns them, (N, T): standardised numbers, positions of levels."""
        columns = [(target.values - mean) / spread for target, mean, spread in zip(targets, self.means, self.deviations, strict=True)]
        return torch.from_numpy(np.stack(columns, 1).astype(np.float32))

    def losses(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        """Loss (B, T) of each person and target: squared error, or log loss in units of what the levels' shares leave open."""
        parts = []
        for number, (part, shares) in enumerate(zip(self.slices, self.shares, strict=True)):
            if shares:
                log_loss = nn.functional.cross_entropy(outputs[:, part], encoded[:, number].long(), reduction="none")
                parts.append(log_loss / float(-(np.array(shares) * np.log(shares)).sum()))
            else:
                parts.append((outputs[:, part.start] - encoded[:, number]) ** 2)
        return torch.stack(parts, 1)


class PredictionCourse(Course):
    """The training of a graph network under way; edges stand for values, measures of regions for gaps.

    Parameters
    ----------
    network, people, encoded, heads, config : what learns, from whom, what, and how.
    held : (N,) the validation people.
    learned_before : whether the network has to become better than it is, rather than better than saying the same of everybody.
    """

    def __init__(
        self,
        network: GraphNetwork,
        people: PeopleInputs,
        encoded: Tensor,
        heads: Heads,
        config: GraphNetworkConfig,
        held: NDArray[np.bool_],
        learned_before: bool = False,
    ) -> None:
        self.heads = heads
        super().__init__(network, people.edges, people.measures, encoded, config)
        self.held, self.rows = (torch.from_numpy(np.flatnonzero(part)) for part in (held, ~held))
        self.total = min(config.epochs * -(-len(self.rows) // config.batch_size), config.max_steps)
        self.between_looks = -(-self.total // config.epochs)
        self.best = self.silence
        if learned_before:
            network.eval()
            self.best = torch.inf
            self.look(self.squared_error(self.held, torch.device("cpu")) / self.n_held)
            self.waited, self.ended = 0, False

    @property
    def silence(self) -> float:
        """Loss on the validation people of saying the same of everybody."""
        said = self.heads.silence.expand(len(self.held), -1)
        return float(self.heads.losses(said, self.target[self.held]).double().mean())

    def loss(self, rows: Tensor, device: torch.device, network: nn.Module, over: int | None = None) -> Tensor:
        """Mean loss over rows and targets; with ``over`` its sum over rows as a share of the mean over that many."""
        losses = self.heads.losses(network(self.values[rows].to(device), self.missing[rows].to(device)), self.target[rows].to(device))
        return losses.mean() if over is None else losses.sum() / (over * losses.shape[1])

    def error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Sum of the losses of people and targets, in float64."""
        return self.heads.losses(predicted, target).double().sum()


def train_network(
    network: GraphNetwork,
    people: PeopleInputs,
    targets: Sequence[Target],
    heads: Heads,
    held: NDArray[np.bool_],
    config: GraphNetworkConfig,
    *,
    training: TrainingConfig = PLAIN,
    learned_before: bool = False,
) -> bool:
    """Train a graph network, by a plain loop or under Lightning; it is left in its best state, in evaluation mode, on the CPU.

    A fresh network that was never closer to the validation people than saying the same of everybody says just that. All randomness
    comes from torch's global generator, which the caller seeds and forks.

    Parameters
    ----------
    network : to be trained.
    people, targets : N people and what is to be predicted of them.
    heads : how outputs stand for targets.
    held : (N,) the validation people.
    config : how long and how fast it learns.
    training : engine and device, as of the generator.
    learned_before : whether it is fine-tuned: where it does not become better than it is, it stays what it is.

    Returns
    -------
    learned : whether it was ever closer.
    """
    course = PredictionCourse(network, people, heads.encode(targets), heads, config, held, learned_before)
    take_steps(course, training)
    learned = course.finish()
    if not learned and not learned_before:
        network.say_nothing(heads.silence)
    return learned


def validation_rows(units: NDArray[np.intp], targets: Sequence[Target], share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows early stopping looks at, (N,): whole units of people, levels shared out alike where there is one such target."""
    ids = pd.Index(np.arange(len(units)).astype(str))
    strata = targets[0].values.astype(np.intp) if len(targets) == 1 and targets[0].classes else None
    return ~splits.draw_part(ids, pd.factorize(units)[0], 1 - share, seed, strata)

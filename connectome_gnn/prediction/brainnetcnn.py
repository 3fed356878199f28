"""BrainNetCNN: convolutions whose filters are whole rows and columns of a connectivity matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.edge_predictor import EdgePredictor
from connectome_gnn.prediction.edge_rows import EdgeRows
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.learning import LearningConfig
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.prediction.training import Heads, train_network, validation_rows
from connectome_gnn.slices import slices

__all__ = ["BrainNetCNN", "BrainNetCNNConfig", "EdgeToEdge"]

PEOPLE_AT_ONCE = 64
SLOPE = 0.33
"""Of the rectifiers below 0, as in the paper."""


@dataclass(frozen=True)
class BrainNetCNNConfig(LearningConfig):
    """What the network is, and how long and how fast it learns; far smaller than the paper's, for cohorts of hundreds on a CPU.

    Parameters
    ----------
    edge_filters, node_filters, graph_filters : outputs of the edge-to-edge, edge-to-node and node-to-graph layers.
    dropout : share of states left out in training.
    epochs, patience, batch_size, learning_rate, weight_decay, validation, max_steps : as of
        :class:`~connectome_gnn.prediction.learning.LearningConfig`.
    """

    SUBJECT: ClassVar[str] = "BrainNetCNN"

    epochs: int = 40
    patience: int = 10
    edge_filters: int = 4
    node_filters: int = 16
    graph_filters: int = 32
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("edge_filters", "node_filters", "graph_filters"):
            if int(getattr(self, name)) < 1:
                raise ConnectomeError(f"BrainNetCNN: expected {name} to be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConnectomeError(f"BrainNetCNN: expected dropout to be at least 0 and below 1, got {self.dropout}")


class EdgeToEdge(nn.Module):
    """A filter of crosses: ``y_ij = sum_k x_ik a_k + sum_k x_kj b_k``, (B, C, R, R) to (B, F, R, R)."""

    def __init__(self, channels: int, filters: int, n_regions: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, filters, (1, n_regions))
        self.column = nn.Conv2d(channels, filters, (n_regions, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Each edge from all edges of both its regions."""
        sums: Tensor = self.row(x) + self.column(x)
        return sums


class CrossNetwork(nn.Module):
    """Edge-to-edge, edge-to-node, node-to-graph and a linear head, which starts at 0.

    Parameters
    ----------
    config : what it is.
    mean, deviation : (E,) of training people's edges; infinite where nothing varies.
    n_outputs : numbers to give a person.
    """

    mean: Tensor
    deviation: Tensor
    places: Tensor

    def __init__(self, config: BrainNetCNNConfig, mean: Tensor, deviation: Tensor, n_outputs: int) -> None:
        super().__init__()
        self.config = config
        places = torch.from_numpy(to_matrices(np.arange(1, len(mean) + 1)))
        n_regions = len(places)
        for name, value in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, value)
        self.register_buffer("places", places, persistent=False)
        self.edge_to_edge = EdgeToEdge(1, config.edge_filters, n_regions)
        self.edge_to_node = nn.Conv2d(config.edge_filters, config.node_filters, (1, n_regions))
        self.node_to_graph = nn.Conv2d(config.node_filters, config.graph_filters, (n_regions, 1))
        self.rectify, self.drop = nn.LeakyReLU(SLOPE), nn.Dropout(config.dropout)
        self.head = nn.Linear(config.graph_filters, n_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, edges: Tensor, measures: Tensor | None = None) -> Tensor:
        """Outputs (B, n_outputs) of people's edges (B, E) on the modelling scale; measures of regions are not looked at."""
        standard = nn.functional.pad((edges - self.mean) / self.deviation, (1, 0))  # 0 is the diagonal
        x = self.rectify(self.edge_to_edge(standard[:, self.places].unsqueeze(1)))
        x = self.drop(self.rectify(self.edge_to_node(x)))
        x = self.drop(self.rectify(self.node_to_graph(x)))
        answer: Tensor = self.head(x.flatten(1))
        return answer

    @torch.no_grad()
    def say_nothing(self, silence: Tensor) -> None:
        """Give everybody the same outputs (n_outputs,)."""
        self.head.weight.zero_()
        self.head.bias.copy_(silence)


class BrainNetCNN(EdgePredictor):
    """A small BrainNetCNN (Kawahara et al. 2017, NeuroImage 146:1038) on standardised edges.

    Parameters
    ----------
    config : what it is and how it learns.
    seed : of initial weights, batches, dropout and validation people.
    """

    name = "brainnetcnn"
    cheap: ClassVar[bool] = False

    def __init__(self, config: BrainNetCNNConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.config = config or BrainNetCNNConfig()

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""
        return {"seed": self.seed, "config": asdict(self.config)}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Self:
        """A network that is not fitted; the inverse of :meth:`settings`."""
        return cls(BrainNetCNNConfig(**settings["config"]), seed=settings["seed"])

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        heads = Heads.of([target])
        mean, deviation = torch.from_numpy(rows.standard.mean), torch.from_numpy(rows.standard.deviation)
        people = PeopleInputs(torch.from_numpy(rows.values), torch.empty(len(rows.values), 0))
        held = validation_rows(rows.units, [target], self.config.validation, self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network: Any = CrossNetwork(self.config, mean, deviation, heads.sizes[0])
            config: Any = self.config
            learned = train_network(network, people, [target], heads, held, config)
        self.facts = {"learned": learned, "mean": heads.means[0], "deviation": heads.deviations[0]}
        self.arrays = {name: value.detach().numpy() for name, value in network.state_dict().items()}
        self._network = network

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        with torch.no_grad():
            parts = [self._network(torch.from_numpy(values[some])) for some in slices(len(values), PEOPLE_AT_ONCE)]
        outputs = torch.cat(parts).double()
        if self.classes_:
            return outputs.softmax(1).numpy()
        return outputs[:, 0].numpy() * self.facts["deviation"] + self.facts["mean"]

    def _restore(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Self:
        super()._restore(record, arrays)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        self._network = CrossNetwork(self.config, tensors["mean"], tensors["deviation"], max(len(self.classes_), 1))
        self._network.load_state_dict(tensors)
        self._network.eval()
        return self

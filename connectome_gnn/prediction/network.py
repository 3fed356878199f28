"""The graph network itself: regions described, messages between them, pooled into one vector a person, read by a head a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.layers import MessageBlock
from connectome_gnn.prediction.learning import LearningConfig
from connectome_gnn.prediction.node_features import PeopleInputs, pair_places
from connectome_gnn.prediction.pooling import POOLINGS

__all__ = ["NORMALISATIONS", "GraphNetwork", "GraphNetworkConfig", "Scaling"]

NORMALISATIONS = ("standard", "symmetric", "none")
COMPUTE = ("auto", "dense", "sparse")
SPARSE_BELOW = {"gcn": 0.01, "gat": 0.12, "gine": 0.4, "transformer": 0.08}
"""Share of edges kept below which ``auto`` takes the sparse path: it was faster there at 100, 200 and 400 regions alike (a benchmark)."""
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class GraphNetworkConfig(LearningConfig):
    """What a graph network is, and how long and how fast it learns.

    Parameters
    ----------
    layer : messages: ``"gcn"``, ``"gat"``, ``"gine"`` or ``"transformer"``.
    node_features : what is known of a region, of ``"profile"`` (its edges to every region, each standardised), ``"identity"`` (a
        learned vector), ``"coordinates"`` (place, hemisphere and system) and topology's measures of regions.
    pooling : ``"regions"`` (each region its own learned weight), ``"mean"``, ``"attention"``, ``"system"`` or ``"diffpool"``.
    hidden, depth : size of a region's state, and rounds of messages (0 for none).
    dropout : share of states left out in training.
    edge_dropout : share of a person's edges set to their mean in training.
    density : share of all edges that messages travel over, the strongest that at least half of the training people have.
    normalisation : of weights that messages travel by, on the modelling scale: ``"standard"`` (deviation from the training mean, in
        standard deviations and divided by the root of R), ``"symmetric"`` (divided by the roots of both regions' summed absolute
        weights) or ``"none"``.
    compute : ``"dense"`` (batches of matrices), ``"sparse"`` (PyG's layers over edges) or ``"auto"``; both give the same to rounding.
    epochs, patience, batch_size, learning_rate, weight_decay, validation, max_steps : as of
        :class:`~connectome_gnn.prediction.learning.LearningConfig`.

    Raises
    ------
    ConnectomeError
        If a name is unknown or a number out of range.
    """

    SUBJECT: ClassVar[str] = "graph network"

    epochs: int = 40
    patience: int = 15
    layer: str = "gcn"
    node_features: tuple[str, ...] = ("profile", "identity", "coordinates")
    pooling: str = "regions"
    hidden: int = 32
    depth: int = 1
    dropout: float = 0.2
    edge_dropout: float = 0.3
    density: float = 0.3
    normalisation: str = "standard"
    compute: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("pooling", tuple(POOLINGS)), ("normalisation", NORMALISATIONS), ("compute", COMPUTE)):
            if getattr(self, name) not in known:
                raise ConnectomeError(f"graph network: expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name, least in (("hidden", 1), ("depth", 0)):
            if int(getattr(self, name)) < least:
                raise ConnectomeError(f"graph network: expected {name} to be at least {least}, got {getattr(self, name)}")
        for name in ("dropout", "edge_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConnectomeError(f"graph network: expected {name} to be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.density <= 1:
            raise ConnectomeError(f"graph network: expected density above 0 and at most 1, got {self.density}")
        MessageBlock(self.layer, self.hidden)

    @property
    def is_sparse(self) -> bool:
        """Whether messages travel over PyG's edges rather than in matrices."""
        return self.compute == "sparse" or (self.compute == "auto" and self.density < SPARSE_BELOW[self.layer])


@dataclass(frozen=True, eq=False)
class Scaling:
    """What is known of training people: means, standard deviations (infinite where nothing varies), and their backbone.

    Attributes
    ----------
    edge_mean, edge_deviation : (E,) on the modelling scale.
    measure_mean, measure_deviation : (R, F) of measures of regions.
    backbone : (R, R) bool, symmetric, the edges that messages travel over.
    """

    edge_mean: Tensor
    edge_deviation: Tensor
    measure_mean: Tensor
    measure_deviation: Tensor
    backbone: Tensor

    @classmethod
    def of(cls, people: PeopleInputs, density: float) -> Scaling:
        """Of training people."""
        edges, n_regions = people.edges, people.measures.shape[1]
        # As Cohort.backbone: the strongest of the edges that at least half of them have.
        strength = edges.abs().mean(0, dtype=torch.float64)
        strength = torch.where(((edges != 0).double().mean(0) >= 0.5) & (strength > 0), strength, -torch.inf)
        kept = torch.argsort(-strength, stable=True)[: max(round(density * len(strength)), 1)]
        chosen = torch.zeros(len(strength) + 1, dtype=torch.bool)
        chosen[kept] = strength[kept] > -torch.inf
        return cls(*_moments(edges), *_moments(people.measures), chosen[pair_places(n_regions)])


class GraphNetwork(nn.Module):
    """Predicts of people from their connectomes; see :class:`GraphNetworkConfig`.

    Every region starts from its features, linearly, plus a learned vector of its own; rounds of messages over the backbone by the person's
    own weights follow; states are pooled and read by one linear head for all targets, which starts at 0.

    Parameters
    ----------
    config : what it is.
    scaling : of the training people; stays with the network.
    places : (R, F) features of regions that all people share.
    systems : (R,) number of each region's system.
    n_outputs : numbers to give a person, all targets together.
    """

    edge_mean: Tensor
    edge_deviation: Tensor
    measure_mean: Tensor
    measure_deviation: Tensor
    backbone: Tensor
    places: Tensor
    pairs: Tensor
    edge_index: Tensor

    def __init__(self, config: GraphNetworkConfig, scaling: Scaling, places: Tensor, systems: Tensor, n_outputs: int) -> None:
        super().__init__()
        self.config, self.n_outputs, self.n_regions = config, n_outputs, len(scaling.backbone)
        for name in ("edge_mean", "edge_deviation", "measure_mean", "measure_deviation", "backbone"):
            self.register_buffer(name, getattr(scaling, name))
        self.register_buffer("places", places if "coordinates" in config.node_features else places[:, :0], persistent=False)
        self.register_buffer("pairs", pair_places(self.n_regions), persistent=False)
        self.profile = "profile" in config.node_features
        n_features = self.profile * self.n_regions + self.places.shape[1] + scaling.measure_mean.shape[1]
        self.features = nn.Linear(n_features, config.hidden) if n_features else None
        self.identity = nn.Parameter(torch.randn(self.n_regions, config.hidden)) if "identity" in config.node_features else None
        self.blocks = nn.ModuleList(MessageBlock(config.layer, config.hidden, config.dropout) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.hidden)
        self.pool = POOLINGS[config.pooling](config.hidden, systems)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(int(self.pool.n_features), n_outputs)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def described(self, edges: Tensor, measures: Tensor) -> tuple[Tensor, Tensor]:
        """Features of regions (B, R, F) and weights of messages (B, R, R) of people.

        Parameters
        ----------
        edges : (B, E) on the modelling scale.
        measures : (B, R, F) measures of regions.
        """
        standard = (edges - self.edge_mean) / self.edge_deviation
        if self.training and self.config.edge_dropout:
            standard = nn.functional.dropout(standard, self.config.edge_dropout)
        profile = self._matrices(standard)
        parts = [profile] if self.profile else []
        parts += [self.places.expand(len(edges), -1, -1), (measures - self.measure_mean) / self.measure_deviation]
        return torch.cat(parts, -1), self._weights(profile, edges)

    def states(self, x: Tensor, weight: Tensor) -> Tensor:
        """States of regions (B, R, hidden) after the messages, of their features and weights as :meth:`described` gives them."""
        if self.config.is_sparse:
            edge_index = self.edges_of(len(x))
            sender, receiver = self.backbone.nonzero().T
            flat = self.sparse_states(x.flatten(0, 1), edge_index, weight[:, receiver, sender].flatten())
            return flat.unflatten(0, (len(x), self.n_regions))
        state = self._start(x)
        for block in self.blocks:
            state = block(state, weight, self.backbone)
        normed: Tensor = self.norm(state)
        return normed

    def sparse_states(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """States (B R, hidden) over PyG's edges: x (B R, F) region after region, edge_index (2, K), edge_weight (K,)."""
        state = self._start(x.unflatten(0, (-1, self.n_regions))).flatten(0, 1)
        for block in self.blocks:
            state = block.sparse(state, edge_index, edge_weight)  # type: ignore[operator]
        normed: Tensor = self.norm(state)
        return normed

    def edges_of(self, n_people: int) -> Tensor:
        """The backbone's edges (2, K) of a batch of people, as PyG's ``Batch`` numbers them."""
        edges = self.backbone.nonzero().T
        offsets = torch.arange(n_people, device=edges.device) * self.n_regions
        return (edges[:, None] + offsets[:, None]).flatten(1)

    def read(self, states: Tensor, weight: Tensor) -> Tensor:
        """Outputs (B, n_outputs) of states of regions (B, R, hidden) and weights (B, R, R)."""
        outputs: Tensor = self.head(self.dropout(self.pool(states, weight)))
        return outputs

    def forward(self, edges: Tensor, measures: Tensor) -> Tensor:
        """Outputs (B, n_outputs) of people's edges (B, E) on the modelling scale and measures of regions (B, R, F)."""
        x, weight = self.described(edges, measures)
        return self.read(self.states(x, weight), weight)

    def of_batch(self, batch: Batch) -> Tensor:
        """Outputs (B, n_outputs) of a PyG batch with ``x`` (B R, F), ``edge_index`` (2, K) and ``edge_weight`` (K,).

        Graphs as :meth:`~connectome_gnn.prediction.ConnectomeGNN.graphs` gives them, regions in the network's order.
        """
        states = self.sparse_states(batch.x, batch.edge_index, batch.edge_weight)
        sender, receiver = batch.edge_index
        weight = batch.edge_weight.new_zeros(int(batch.num_graphs), self.n_regions, self.n_regions)
        place = (receiver // self.n_regions, receiver % self.n_regions, sender % self.n_regions)
        return self.read(states.unflatten(0, (-1, self.n_regions)), weight.index_put(place, batch.edge_weight))

    @torch.no_grad()
    def say_nothing(self, bias: Tensor) -> None:
        """Predict the same of everybody."""
        self.head.weight.zero_()
        self.head.bias.copy_(bias)

    def _start(self, x: Tensor) -> Tensor:
        state = x.new_zeros(*x.shape[:-1], self.config.hidden) if self.features is None else self.features(x)
        return state if self.identity is None else state + self.identity

    def _matrices(self, edges: Tensor) -> Tensor:
        """Symmetric matrices (B, R, R) with a zero diagonal of edges (B, E)."""
        return nn.functional.pad(edges, (0, 1))[:, self.pairs]

    def _weights(self, profile: Tensor, edges: Tensor) -> Tensor:
        if self.config.normalisation == "standard":
            return profile * self.backbone * self.n_regions**-0.5
        weight = self._matrices(edges) * self.backbone
        if self.config.normalisation == "none":
            return weight
        root = weight.abs().sum(-1).clamp(min=LEAST_DEVIATION).rsqrt()
        return weight * root[:, :, None] * root[:, None]


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over people, float32; infinite where nothing varies, so that it takes no part."""
    mean = values.double().mean(0)
    deviation = (values.double() - mean).square().mean(0).sqrt()
    constant = deviation <= torch.clamp(1e-6 * mean.abs(), min=LEAST_DEVIATION)
    return mean.float(), torch.where(constant, torch.inf, deviation).float()

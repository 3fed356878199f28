"""The published conditional variational autoencoder of connectomes given traits (Liu et al. 2025), behind the common interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log, pi
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.settings import check_setting, check_whole_setting
from connectome_gnn.generation.training_data import TrainingData

__all__ = ["PUBLISHED", "SMALL", "ConditionalVAE", "VariationalConfig", "VariationalNetwork"]

OF = "VariationalConfig"
EXPECTED_DRAWS = 64
BOUND_DRAWS = 500
BATCH = 128


@dataclass(frozen=True)
class VariationalConfig:
    """Size and training of the conditional VAE; as they stand, the published ones.

    Parameters
    ----------
    ratio, blocks : each of the encoder's blocks is this many times narrower than the one before; how many there are.
    widest : most units of a hidden layer; None for no limit.
    latent : dimensions of the latent variable, units of the embedded traits, and fewest units of a hidden layer.
    edge_layer : whether the decoder's last block is as wide as there are edges, E, and an E x E linear layer follows, as published (two
        thirds of all parameters), or the narrower block before it is mapped to the edges at once.
    dropout : share of units dropped after every block in training.
    epochs, batch_size, learning_rate, weight_decay : of AdamW.

    Raises
    ------
    ConnectomeError
        If a value makes no sense; the sentence says which.
    """

    ratio: int = 4
    blocks: int = 3
    widest: int | None = None
    latent: int = 128
    edge_layer: bool = True
    dropout: float = 0.5
    epochs: int = 200
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 1e-10

    def __post_init__(self) -> None:
        sizes = {"ratio": 1, "blocks": 1, "widest": 1, "latent": 1, "epochs": 1, "batch_size": 3}
        for name, least in sizes.items():
            if name != "widest" or self.widest is not None:
                check_whole_setting(OF, name, getattr(self, name), least)
        check_setting(OF, "edge_layer", self.edge_layer, "True or False", lambda value: isinstance(value, (bool, np.bool_)))
        number = (int, float, np.number)
        for name, expected, valid in (
            ("dropout", "a share from 0 on and below 1", lambda value: isinstance(value, number) and 0 <= value < 1),
            ("learning_rate", "a number above 0", lambda value: isinstance(value, number) and 0 < value < inf),
            ("weight_decay", "a number from 0 on", lambda value: isinstance(value, number) and 0 <= value < inf),
        ):
            check_setting(OF, name, getattr(self, name), expected, valid)

    def widths(self, n_edges: int) -> tuple[int, ...]:
        """Units of the encoder's layers from the first hidden one to the last, for E edges: 4975, 1243, 310, 128 for 19,900."""
        hidden = []
        width = n_edges
        for _ in range(self.blocks):
            width = min(width // self.ratio, self.widest or width)
            hidden.append(max(width, self.latent))
        return (*hidden, self.latent)

    def n_parameters(self, n_edges: int, n_columns: int) -> int:
        """Number of trained parameters for E edges and F encoded phenotypes; nothing is allocated."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in VariationalNetwork(n_edges, n_columns, self).parameters())


PUBLISHED = VariationalConfig()
"""The published configuration: 607.5 million parameters for 19,900 edges and 194 traits. It wants a GPU."""

SMALL = VariationalConfig(ratio=2, widest=256, latent=32, edge_layer=False, epochs=60, learning_rate=1e-3)
"""Small enough for a CPU: hidden layers of at most 256, 128, 64 and 32 units in place of E/4, E/16, E/64 and 128, 32 latent dimensions in
place of 128, no E x E layer, 60 epochs at a learning rate of 1e-3 in place of 200 at 1e-4. All else as published."""


class VariationalNetwork(nn.Module):
    """Encoder, traits' embedding and decoder.

    Parameters
    ----------
    n_edges : number of edges E that go in and come out, standardised.
    n_columns : number of encoded phenotypes F.
    config : its size.
    """

    def __init__(self, n_edges: int, n_columns: int, config: VariationalConfig) -> None:
        super().__init__()
        widths, latent = config.widths(n_edges), config.latent
        self.encoder = _blocks((n_edges, *widths), config.dropout)
        self.traits = nn.Sequential(nn.Linear(n_columns, latent), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(latent, latent))
        self.mean = nn.Linear(2 * latent, latent)
        self.log_variance = nn.Linear(2 * latent, latent)
        mirrored = (2 * latent, *widths[-2::-1], *((n_edges,) if config.edge_layer else ()))
        self.decoder = _blocks(mirrored, config.dropout)
        self.output = nn.Linear(mirrored[-1], n_edges)

    def encode(self, edges: Tensor, traits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent) of the approximate posterior, from edges (B, E) and embedded traits (B, latent)."""
        both = torch.cat([self.encoder(edges), traits], 1)
        return self.mean(both), self.log_variance(both)

    def decode(self, latent: Tensor, traits: Tensor) -> Tensor:
        """Edges (B, E) of latent variables and embedded traits (B, latent) each."""
        return self.output(self.decoder(torch.cat([latent, traits], 1)))

    def prior_mean(self, draws: Tensor, traits: Tensor) -> Tensor:
        """Edges (B, E) of embedded traits (B, latent), averaged over the same latent draws (S, latent) for everybody."""
        total = torch.zeros((), device=traits.device)
        for latent in draws:
            total = total + self.decoder(torch.cat([latent.expand(len(traits), -1), traits], 1))
        return self.output(total / len(draws))  # the output layer is affine: the mean may be taken before it


def variational_loss(edges: Tensor, decoded: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Squared error averaged over people and edges plus divergence from the prior averaged over people and latent dimensions.

    Both are means, as published. In a variational bound that is a decoder of noise variance E / (2 latent) in squared standard deviations
    of an edge, 78 at the published size: few latent dimensions are worth their price, hence the small spread of samples.

    Parameters
    ----------
    edges, decoded : (B, E).
    mean, log_variance : (B, latent) of the approximate posterior.
    """
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    return ((edges - decoded) ** 2).mean() + divergence.mean()


def importance_bound(
    network: VariationalNetwork, edges: Tensor, traits: Tensor, log_likelihood: Callable[[Tensor], Tensor], noise: Tensor
) -> float:
    """Lower bound of one person's log density, tighter the more draws (Burda, Grosse & Salakhutdinov 2016, equation 8).

    Parameters
    ----------
    edges, traits : (1, E), (1, latent) standardised edges and embedded traits of the person.
    log_likelihood : takes decoded edges (S, E) and gives the log density of the person's edges under each, (S,) float64.
    noise : (S, latent) standard normal draws.
    """
    mean, log_variance = network.encode(edges, traits)
    latent = mean + (0.5 * log_variance).exp() * noise
    # log p(z) - log q(z | x): the constants of the two Gaussians cancel.
    ratio = 0.5 * (noise.double() ** 2 + log_variance.double() - latent.double() ** 2).sum(1)
    weights = log_likelihood(network.decode(latent, traits.expand(len(noise), -1))) + ratio
    return float(torch.logsumexp(weights, 0)) - log(len(noise))


class ConditionalVAE(ConnectomeModel):
    """The published conditional variational autoencoder.

    Edges on the modelling scale, each standardised, go through four blocks (linear, batch norm, ReLU, dropout); the traits, standardised
    and mean-imputed where missing, through two linear layers; a latent Gaussian and the traits go through the mirrored decoder. All edges
    that differ between training people are modelled, rare ones too. What the published model does is kept, its faults included:

    - ``sample`` draws the latent variable from its prior and gives the decoder's output without noise, so that people differ far less
      from each other than real people do, and absent edges are exactly 0 only where the output is negative.
    - ``expected`` is the decoder's output averaged over 64 draws of the latent variable from its prior, 32 and their negatives, the
      same for everybody. That is the model's conditional mean; the output at z = 0 is not, since the decoder is not linear.
    - Nothing stops training early, and the mean may be worse than the group's.

    ``log_prob`` is the importance-weighted bound with 500 draws from the encoder, under a Gaussian around the decoder's output with one
    noise variance in squared standard deviations of an edge, the mean squared error of training people's reconstructions. For
    non-negative weights that Gaussian is cut off at 0, where it has a point mass, as the weights are. Edges in which training people do
    not differ count nothing.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    config : size and training; default :data:`PUBLISHED` on a GPU and :data:`SMALL` on a CPU.
    device : ``"cpu"``, or ``"cuda"`` where there is a GPU.
    n_components : components of the edge space, which this model does not need.

    Raises
    ------
    ConnectomeError
        If a device is asked for that is not there, or the config is no :class:`VariationalConfig`.

    References
    ----------
    Liu et al. 2025, Medical Image Analysis 103761. Kingma & Welling 2014, ICLR. Sohn, Lee & Yan 2015, NeurIPS (conditional).
    """

    label = "conditional VAE"

    def __init__(self, seed: int = 0, *, config: VariationalConfig | None = None, device: str = "cpu", n_components: int = 50) -> None:
        super().__init__(seed, n_components=n_components)
        if device not in ("cpu", "cuda"):
            raise ConnectomeError(f"the conditional VAE runs on the device 'cpu' or 'cuda', got {device!r}")
        if config is not None and not isinstance(config, VariationalConfig):
            raise ConnectomeError(f"the conditional VAE takes its size as a VariationalConfig, got {config!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ConnectomeError("the conditional VAE was asked to run on a GPU, but PyTorch finds none; use device='cpu'")
        self.device = device
        self.config = config or (SMALL if device == "cpu" else PUBLISHED)

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        """Train the network. It hands the components back as they are: what the mean leaves of them is the network's own affair."""
        space, config = self.space, self.config
        self.modelled = space.std > np.maximum(1e-6, 1e-6 * np.abs(space.mean))
        traits = self._tensor(data.encoded.values)
        order = np.random.default_rng(self.seed)
        n = data.cohort.n_people
        n_batches = -(-n // config.batch_size)  # of nearly equal size: batch norm cannot take a single person
        with torch.random.fork_rng(devices=[self.device] if self.device == "cuda" else []):
            torch.manual_seed(self.seed)
            self.network = VariationalNetwork(int(self.modelled.sum()), traits.shape[1], config).to(self.device)
            optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
            for epoch in range(config.epochs):
                for rows in np.array_split(order.permutation(n), n_batches):
                    edges = self._edges(data.cohort, rows)
                    embedded = self.network.traits(traits[rows])
                    mean, log_variance = self.network.encode(edges, embedded)
                    latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
                    loss = variational_loss(edges, self.network.decode(latent, embedded), mean, log_variance)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                advance(1, f"Fitting {self.label}, epoch {epoch + 1} of {config.epochs}")
        self.network.eval()
        return data.scores

    @torch.no_grad()
    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        """The decoder's noise variance, from training people's reconstructions with one draw of the posterior each."""
        generator = np.random.default_rng(self.seed)
        traits = self._tensor(data.encoded.values)
        total, n = 0.0, data.cohort.n_people
        for start in range(0, n, BATCH):
            rows = np.arange(start, min(start + BATCH, n))
            edges, embedded = self._edges(data.cohort, rows), self.network.traits(traits[rows])
            mean, log_variance = self.network.encode(edges, embedded)
            latent = mean + (0.5 * log_variance).exp() * self._normal(generator, len(rows))
            total += float(((edges - self.network.decode(latent, embedded)) ** 2).sum(dtype=torch.float64))
        self.noise_variance = total / (n * int(self.modelled.sum()))

    @torch.no_grad()
    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        half = self._normal(np.random.default_rng(self.seed), EXPECTED_DRAWS // 2)
        draws = torch.cat([half, -half])
        kept = self.space.kept[self.modelled]
        parts = [self.network.prior_mean(draws, part).cpu().numpy()[:, kept] for part in self._embedded(table).split(BATCH)]
        return np.concatenate(parts)

    @torch.no_grad()
    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        values = np.repeat(self.space.mean[None], len(profiles), 0)
        traits = self._embedded(profiles)
        decoded = self.network.decode(self._normal(generator, len(profiles)), traits).cpu().numpy()
        values[:, self.modelled] += decoded * self.space.std[self.modelled]
        return values

    @torch.no_grad()
    def _log_density(self, profiles: pd.DataFrame, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Bounds of the log density, (N,) nats; the same draws for everybody, so that a person's does not depend on the others."""
        noise = self._normal(np.random.default_rng(self.seed), BOUND_DRAWS)
        unit = self._tensor(self.space.std[self.modelled])
        level = self._tensor(self.space.mean[self.modelled]) / unit
        spread = self.noise_variance**0.5
        constant = float(-(0.5 * log(2 * pi) + unit.double().log() + log(spread)).sum())
        bounds = np.empty(len(profiles))
        for place, traits in enumerate(self._embedded(profiles).split(1)):
            edges = self._tensor(values[place : place + 1, self.modelled]) / unit - level
            absent = torch.zeros_like(edges[0], dtype=torch.bool) if self.signed else edges[0] <= -level
            missing_constant = float((0.5 * log(2 * pi) + unit[absent].double().log() + log(spread)).sum())

            def log_likelihood(
                decoded: Tensor, edges: Tensor = edges, absent: Tensor = absent, rest: float = constant + missing_constant
            ) -> Tensor:
                present = -0.5 * (((edges - decoded) / spread)[:, ~absent] ** 2).sum(1, dtype=torch.float64)
                below = torch.special.log_ndtr((-(level + decoded) / spread)[:, absent]).sum(1, dtype=torch.float64)
                return present + below + rest

            bounds[place] = importance_bound(self.network, edges, traits, log_likelihood, noise)
        return bounds

    def _edges(self, cohort: Cohort, rows: NDArray[np.intp]) -> Tensor:
        """Some people's standardised edges, (n, modelled edges)."""
        values = self.scale.forward(cohort.read(rows))[:, self.modelled]
        return self._tensor((values - self.space.mean[self.modelled]) / self.space.std[self.modelled])

    def _embedded(self, table: pd.DataFrame) -> Tensor:
        return self.network.traits(self._tensor(self.schema.encode(table).values))

    def _normal(self, generator: np.random.Generator, n: int) -> Tensor:
        return self._tensor(generator.standard_normal((n, self.config.latent)))

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)


def _blocks(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear, batch norm, ReLU and dropout from each width to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)

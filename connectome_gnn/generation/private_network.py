"""The message-passing network under differential privacy: clipped gradients of people, noise on their sum (Abadi et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask
from connectome_gnn.generation.privacy import Ledger
from connectome_gnn.generation.private_statistics import clipped
from connectome_gnn.phenotypes import Encoded

__all__ = ["TRAINING", "private_gate", "private_network", "training_units", "unit_gradients"]

TRAINING = "gradients of the network"
CLIP = 1.0
RATE = 1e-2
CHUNK = 64
TRAINED = 0.8
GATE_ERRORS = 3.0
GATE_REACH = 2.0


def training_units(n_units: int, seed: int) -> NDArray[np.bool_]:
    """Which units the network is trained on; the others decide about its gate. Drawn by place, whoever stands there."""
    chosen = np.zeros(n_units, bool)
    chosen[np.random.default_rng(seed).permutation(n_units)[: round(TRAINED * n_units)]] = True
    return chosen


def unit_gradients(
    network: ConnectomeNetwork, values: Tensor, missing: Tensor, target: Tensor, units: NDArray[np.intp], n_units: int
) -> dict[str, Tensor]:
    """Sum over units of their gradients, each shortened to length 1 over all parameters together.

    Parameters
    ----------
    values, missing, target : (n, F), (n, P), (n, K) of rows; the loss of a row is the mean squared error over K.
    units : (n,) unit of each row; its gradient is the mean over its rows.
    n_units : number of units.
    """
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def loss(weights: dict[str, Tensor], value: Tensor, gap: Tensor, goal: Tensor) -> Tensor:
        said = torch.func.functional_call(network, (weights, buffers), (value[None], gap[None]))
        return ((said[0] - goal) ** 2).mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))
    total = {name: torch.zeros_like(parameter, dtype=torch.float64) for name, parameter in parameters.items()}
    order = np.argsort(units, kind="stable")
    bounds = np.append(np.searchsorted(units[order], np.arange(n_units)), len(order))
    for first in range(0, n_units, CHUNK):
        last = min(first + CHUNK, n_units)
        rows = order[bounds[first] : bounds[last]]
        if len(rows) == 0:
            continue
        gradients = each(parameters, values[rows], missing[rows], target[rows])
        place = torch.from_numpy(units[rows] - first)
        size = torch.bincount(place, minlength=last - first).clamp(min=1)
        means = {
            name: torch.zeros(last - first, *g.shape[1:], dtype=torch.float64).index_add(0, place, g.double())
            / size.view(-1, *[1] * (g.dim() - 1))
            for name, g in gradients.items()
        }
        squares = sum((mean**2).flatten(1).sum(1) for mean in means.values())
        length = torch.as_tensor(squares).sqrt()
        usable = torch.isfinite(length)
        factor = torch.where(usable, CLIP / length.clamp(min=CLIP), torch.zeros_like(length)) * (1 - 1e-12)
        for name, mean in means.items():
            total[name] += (factor @ torch.where(usable[:, None], mean.flatten(1), 0.0)).view_as(total[name])
    return total


def private_network(
    task: NetworkTask,
    config: NetworkConfig,
    encoded: Encoded,
    residual: NDArray[np.float64],
    units: NDArray[np.intp],
    chosen: NDArray[np.bool_],
    ledger: Ledger,
    share: float,
    seed: int,
    advance: Callable[..., None],
) -> ConnectomeNetwork:
    """Train a network on some units by ``config.epochs`` steps, each over all of them.

    Parameters
    ----------
    residual : (n, K) components that the closed form leaves.
    units : (n,) unit of each row.
    chosen : (units,) which of them are trained on.
    share : of the ledger, for all steps together.
    seed : of the network's first weights, which know nobody.
    """
    rows = np.flatnonzero(chosen[units])
    places = np.cumsum(chosen) - 1
    values, missing = torch.from_numpy(encoded.values[rows].astype(np.float32)), torch.from_numpy(encoded.missing[rows])
    target = torch.from_numpy((residual[rows] / task.unit.numpy()).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConnectomeNetwork(task, config).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=config.weight_decay)
    parameters = dict(network.named_parameters())
    n_chosen = int(chosen.sum())
    for _ in range(config.epochs):
        total = unit_gradients(network, values, missing, target, places[units[rows]].astype(np.intp), n_chosen)
        flat = np.concatenate([total[name].numpy().ravel() for name in parameters])
        noisy, _ = ledger.release(TRAINING, flat, 2 * CLIP, share / config.epochs)
        start = 0
        for parameter in parameters.values():
            part = noisy[start : start + parameter.numel()]
            parameter.grad = torch.from_numpy(part.reshape(parameter.shape) / n_chosen).float()
            start += parameter.numel()
        optimiser.step()
        advance()
    return network.eval()


def private_gate(
    prediction: NDArray[np.float64],
    residual: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_units: int,
    ledger: Ledger,
    share: float,
) -> tuple[float, float]:
    """How much of the network's prediction is worth using, in [0, 1], told by people whom it was not trained on.

    Parameters
    ----------
    prediction, residual : (n, K) whitened, of those people.
    weight : (n,) of their rows.
    n_units : number of units trained on and not.

    Returns
    -------
    gate : 0 unless the gain is above three times its noise.
    gain : squared error that the gated prediction takes away, per person.
    """
    k = prediction.shape[1]
    pairs = np.stack([(prediction * residual).mean(1), (prediction**2).mean(1)], 1)
    exact = (weight[:, None] * clipped(pairs, GATE_REACH)).sum(0)
    noisy, sd = ledger.release("gate of the network", exact, 2 * GATE_REACH, share, others_than=TRAINING)
    along, energy = noisy
    if energy <= GATE_ERRORS * sd or along <= GATE_ERRORS * sd:
        return 0.0, 0.0
    gate = float(min(along / energy, 1.0))
    return gate, float((2 * gate * along - gate**2 * energy) / max((1 - TRAINED) * n_units, 1) * k)

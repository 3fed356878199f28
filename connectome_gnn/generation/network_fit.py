"""Fitting the message-passing path: networks trained on what the closed form leaves, and the gate that they have to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.generation.checkpoint import NO_CHECKPOINT, Checkpoint
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask, profile_tensors
from connectome_gnn.generation.training import PLAIN, TrainingConfig, train
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.graphs import region_features
from connectome_gnn.phenotypes import Encoded, PhenotypeSchema
from connectome_gnn.splits import Folds

__all__ = ["NETWORK_LABEL", "NetworkPath", "component_gate", "cross_fit", "fit_network", "network_task"]

NETWORK_LABEL = "message-passing network"
FOLDS = 3
MOST_COMPONENTS = 200
GATE_ERRORS = 2.0


@dataclass(frozen=True)
class NetworkPath:
    """What the network adds to the closed form.

    Parameters
    ----------
    members : networks whose mean is the path's prediction; none where the gate is shut.
    gate : (K,) share of the prediction that is used of each component; empty where the gate is shut.
    r2 : what it takes away of people left out, as a share of their energy beyond the mean.
    residual : (n, K') what is left of each person's components, cross-fitted.
    """

    members: list[ConnectomeNetwork]
    gate: NDArray[np.float64]
    r2: float
    residual: NDArray[np.float64]


def fit_network(
    task_of: Callable[[NDArray[np.float32]], NetworkTask],
    config: NetworkConfig,
    data: TrainingData,
    residual: NDArray[np.float64],
    *,
    seed: int,
    training: TrainingConfig,
    advance: Callable[..., None],
) -> NetworkPath:
    """Train networks on what the closed form leaves; open the gate as far as they earned it.

    Parameters
    ----------
    task_of : what a network is built from, given the residual standard deviation (K,) of each component.
    config, training : size of the networks, and where and how they are trained.
    data : the training people.
    residual : (n, K') components that the closed form leaves, cross-fitted; the leading ones are learned from.
    seed : of folds and networks.
    advance : called as training goes on.
    """
    k = min(MOST_COMPONENTS, residual.shape[1])
    unit = np.maximum(residual[:, :k].std(0), 1e-6).astype(np.float32)
    folds = data.folds(FOLDS, seed + 2)
    members, held_out = cross_fit(
        task_of(unit),
        config,
        data.encoded,
        residual[:, :k],
        folds,
        seed=seed,
        training=training,
        checkpoint=data.checkpoint,
        advance=advance,
    )
    gate, gain = component_gate(held_out, residual[:, :k], folds)
    if gate.any():
        residual = residual.copy()
        residual[:, :k] -= gate * held_out
    else:
        members, gate = [], np.zeros(0)
    # Beyond the mean, as the other paths: the gain in components as a share of all standardised variance.
    energy = (residual[:, :k] ** 2).sum() / max(1 - gain, 1e-12) / (data.cohort.n_people * data.space.kept.sum())
    return NetworkPath(members, gate, gain * energy, residual)


def network_task(
    schema: PhenotypeSchema, atlas: Atlas, space: EdgeSpace, strength: NDArray[np.float32], unit: NDArray[np.float32]
) -> NetworkTask:
    """What a network is built from.

    Parameters
    ----------
    schema, atlas, space : of the training people.
    strength : (R, R) of the backbone's edges, 0 throughout for no messages.
    unit : (K,) residual standard deviation of each component.
    """
    degree = strength.sum(1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    groups = list(schema.groups)
    return NetworkTask(
        owner=torch.from_numpy(schema.owner),
        group_of=torch.tensor([groups.index(p.group) for p in schema.phenotypes]),
        region_features=torch.from_numpy(region_features(atlas)),
        adjacency=torch.from_numpy(strength * scale[:, None] * scale),
        kept=torch.from_numpy(np.flatnonzero(space.kept)),
        basis=torch.from_numpy(space.basis[: len(unit)]),
        unit=torch.from_numpy(unit),
    )


def cross_fit(
    task: NetworkTask,
    config: NetworkConfig,
    encoded: Encoded,
    residual: NDArray[np.float64],
    folds: Folds,
    *,
    seed: int,
    training: TrainingConfig = PLAIN,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> tuple[list[ConnectomeNetwork], NDArray[np.float64]]:
    """Train one network a fold on what the closed form leaves.

    Parameters
    ----------
    encoded : profiles of the training people.
    residual : (n, K) components that the closed form leaves, cross-fitted.
    folds : training and held-out rows of each fold.
    training, checkpoint : where and how training runs, and where its state is stored.

    Returns
    -------
    members : one network a fold; their mean is the path's prediction. None, without training the others, where the first one was never
        better than saying nothing.
    held_out : (n, K) each person's components predicted by the network that has not seen them.
    """
    values, missing = profile_tensors(encoded)
    target = torch.from_numpy((residual / task.unit.numpy()).astype(np.float32))
    held_out = np.zeros_like(residual)
    members = []
    for number, (rows, held) in enumerate(folds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            network = ConnectomeNetwork(task, config)
            if not train(
                network,
                values[rows],
                missing[rows],
                target[rows],
                config,
                training=training,
                checkpoint=checkpoint,
                stage=f"network fold {number}",
                advance=advance,
            ):
                network.silence()
                if number == 0:  # the gate would not open for what others learned by chance
                    return [], held_out
        members.append(network)
        held_out[held] = network.components(_rows(encoded, held))
    return members, held_out


def component_gate(prediction: NDArray[np.float64], residual: NDArray[np.float64], folds: Folds) -> tuple[NDArray[np.float64], float]:
    """How much of each component's prediction is worth using, in [0, 1], from cross-fitted predictions.

    A component's own least-squares factor is drawn towards the common one in proportion to what the component says about
    itself. The gate opens at all only where the gain of the people of each fold, with factors from the other folds, exceeds twice its
    standard error over people.

    Parameters
    ----------
    prediction, residual : (n, K) cross-fitted predictions and what they should have predicted.
    folds : partition of the people.

    Returns
    -------
    gate : (K,) factors, from everybody.
    gain : share of the residual's squared error that a gate from other people takes away.
    """
    closed = np.zeros(prediction.shape[1])
    saved = np.zeros(len(prediction))
    for rows, held in folds:
        gate = _factors(prediction[rows], residual[rows])
        saved[held] = (residual[held] ** 2 - (residual[held] - gate * prediction[held]) ** 2).sum(1)
    if saved.mean() <= GATE_ERRORS * saved.std() / np.sqrt(len(saved)):
        return closed, 0.0
    return _factors(prediction, residual), float(saved.sum() / (residual**2).sum())


def _factors(prediction: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shrunken least-squares factor of each component, (K,), in [0, 1]; 0 throughout where predictions point the wrong way."""
    along, energy = (prediction * residual).sum(0), (prediction**2).sum(0)
    if energy.sum() <= 0 or along.sum() <= 0:
        return np.zeros(prediction.shape[1])
    prior = energy.sum() / len(energy)
    return np.clip((along + prior * min(along.sum() / energy.sum(), 1.0)) / (energy + prior), 0, 1)


def _rows(encoded: Encoded, rows: NDArray[np.intp]) -> Encoded:
    return Encoded(encoded.values[rows], encoded.missing[rows], encoded.columns, encoded.owner)

"""The generator: a person's connectome from their phenotypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.closed_form import ClosedForm
from connectome_gnn.generation.edge_space import EXACT_PEOPLE
from connectome_gnn.generation.messages import backbone_neighbours, similar_profiles
from connectome_gnn.generation.model import ConnectomeModel, TrainingData
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask, component_gate, cross_fit
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.generation.private_fit import check_private, fit_private
from connectome_gnn.graphs import region_features
from connectome_gnn.progress import progress

__all__ = ["ConnectomeGenerator"]

INNER_FOLDS = 5
NETWORK_FOLDS = 3
NETWORK_COMPONENTS = 200
NETWORK_LABEL = "message-passing network"
DEFAULT_NETWORK = NetworkConfig()
DEFAULT_COMPONENTS = 300


class ConnectomeGenerator(ConnectomeModel):
    """Generates whole connectomes from phenotypes.

    The conditional mean is a stack of closed-form paths (ridge, component ridge, banded component ridge, supervised
    directions, and messages between similar regions and over the backbone as a prior on effects), weighed on inner folds, plus
    what a node-level message-passing decoder adds to it in the whitened space of edge components. Every path has to earn its
    place on people that it has not seen; where none does, the answer is the training mean. Samples are drawn around the mean
    from a low-rank Gaussian copula with each edge's own distribution, zeros included.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    messages : whether messages between regions are used, in the closed form and in the network.
    network : size and training of the message-passing network; None leaves it out.
    n_components : most edge components that are modelled (all of them up to 600 people).
    privacy : a promise of differential privacy (:class:`DifferentialPrivacy`), which everything in the model then keeps; it costs
        fidelity. Smooth patterns of edges take the place of the people's own components. The network takes part where
        ``privacy.network_share`` gives it a share of the budget, and is left out otherwise. Where the budget went stands in
        ``account`` once fitted. ``seed`` plays no part in the noise, which must be secret.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> train, test = cg.simulate_cohort(200, 20, 10, seed=0).split(0.8, seed=0)
    >>> model = cg.ConnectomeGenerator(seed=0).fit(train)
    >>> model.sample(test.phenotypes, n=2, seed=1).n_people
    80
    """

    label = "connectome_gnn"

    def __init__(
        self,
        seed: int = 0,
        *,
        messages: bool = True,
        network: NetworkConfig | None = DEFAULT_NETWORK,
        n_components: int = DEFAULT_COMPONENTS,
        privacy: DifferentialPrivacy | None = None,
    ) -> None:
        super().__init__(seed, n_components=n_components)
        if privacy is not None:
            check_private(privacy, network, DEFAULT_NETWORK, n_components != DEFAULT_COMPONENTS)
        self.messages = messages
        self.network = None if privacy is not None and privacy.network_share == 0 else network
        self.members: list[ConnectomeNetwork] = []
        self.gate: NDArray[np.float64] = np.zeros(0)
        self.privacy = privacy
        self.account: dict[str, Any] | None = None

    def fit(self, cohort: Cohort) -> Self:
        """Learn from training people; with ``privacy`` from bounded, noisy sums over them alone.

        Raises
        ------
        ConnectomeError
            If there are fewer than 20 people, no phenotypes, or all people are alike; with ``privacy``, if a column's range or levels
            are not publicly known.

        Warns
        -----
        PhenotypeWarning
            For phenotypes that are constant, mostly missing, or free text; not with ``privacy``, which keeps it to itself.
        """
        if self.privacy is None:
            return super().fit(cohort)
        with progress(f"Fitting {self.label} privately") as advance:
            fit_private(self, cohort, self.privacy, advance)
        self._fitted = True
        return self

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        backbone = self._backbone()
        neighbours = {}
        if self.messages:
            neighbours = {"similar regions": similar_profiles(backbone), "the backbone": backbone_neighbours(np.maximum(backbone, 0))}
        folds = data.folds(INNER_FOLDS, self.seed)
        if data.cohort.n_people <= EXACT_PEOPLE:  # small cohorts: a second partition steadies the weights
            folds += data.folds(INNER_FOLDS, self.seed + 1)
        self.closed_form, residual = ClosedForm.fit(
            data.features, data.values, data.scores, self.space, data.cohort, folds, neighbours, advance
        )
        self.members, self.gate = [], np.zeros(0)
        earned = self.closed_form.paths.copy()
        if self.network is not None:
            residual, row = self._fit_network(self.network, data, residual, advance)
            earned.loc[NETWORK_LABEL] = row
        self.earned = earned
        return residual

    def _fit_network(
        self, config: NetworkConfig, data: TrainingData, residual: NDArray[np.float64], advance: Any
    ) -> tuple[NDArray[np.float64], list[float]]:
        """Train the network on what the closed form leaves; open the gate as far as it earned it."""
        k = min(NETWORK_COMPONENTS, self.space.n_components)
        unit = np.maximum(residual[:, :k].std(0), 1e-6).astype(np.float32)
        task = self._task(unit)
        folds = data.folds(NETWORK_FOLDS, self.seed + 2)
        members, held_out = cross_fit(task, config, data.encoded, residual[:, :k], folds, seed=self.seed, advance=advance)
        gate, gain = component_gate(held_out, residual[:, :k])
        if gate.any():
            self.members, self.gate = members, gate
            residual = residual.copy()
            residual[:, :k] -= gate * held_out
        # Beyond the mean, as the other paths: the gain in components as a share of all standardised variance.
        energy = (residual[:, :k] ** 2).sum() / max(1 - gain, 1e-12) / (data.cohort.n_people * self.space.kept.sum())
        return residual, [gain * energy, float(gate.mean())]

    def _backbone(self) -> NDArray[np.float32]:
        """Mean connectome of the training people on the modelling scale, (R, R), modelled edges only."""
        return to_matrices(np.where(self.space.kept, self.space.mean, 0).astype(np.float32))

    def _task(self, unit: NDArray[np.float32]) -> NetworkTask:
        strength = np.abs(self._backbone()) if self.messages else np.zeros((self.atlas.n_regions,) * 2, np.float32)
        degree = strength.sum(1)
        scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        groups = list(self.schema.groups)
        return NetworkTask(
            owner=torch.from_numpy(self.schema.owner),
            group_of=torch.tensor([groups.index(p.group) for p in self.schema.phenotypes]),
            region_features=torch.from_numpy(region_features(self.atlas)),
            adjacency=torch.from_numpy(strength * scale[:, None] * scale),
            kept=torch.from_numpy(np.flatnonzero(self.space.kept)),
            basis=torch.from_numpy(self.space.basis[: len(unit)]),
            unit=torch.from_numpy(unit),
        )

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        encoded = self.schema.encode(table)
        deviation = self.closed_form.design(encoded) @ self.closed_form.maps
        if self.members:
            components = np.mean([member.components(encoded) for member in self.members], 0) * self.gate
            deviation += components.astype(np.float32) @ self.space.basis[: len(self.gate)]
        return deviation

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the model folder (model.safetensors, config.json); it appears complete or not at all.

        Raises
        ------
        ConnectomeError
            If the model is not fitted, or the folder exists and ``force`` is not given.
        """
        from connectome_gnn.generation.store import save_generator

        if not self._fitted:
            raise ConnectomeError("this ConnectomeGenerator has not been fitted; call fit(cohort) before save")
        return save_generator(self, Path(path), force)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a model folder; every file is checked against its recorded sha256.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a file is missing, changed, or of a format that this version does not know.
        """
        from connectome_gnn.generation.store import load_generator

        return load_generator(cls, Path(path))

"""ConnectomeGNN: graph networks that read connectomes, beside the linear answer that they have to add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch_geometric.data import Data

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.training import PLAIN, TrainingConfig
from connectome_gnn.prediction.interface import Target, TargetLike, read_targets
from connectome_gnn.prediction.linear_path import Gate, LinearPath, best_view, columns_of, folds_of, views_of
from connectome_gnn.prediction.network import GraphNetwork, GraphNetworkConfig, Scaling
from connectome_gnn.prediction.node_features import PeopleInputs, RegionTable, known_features, read_inputs
from connectome_gnn.prediction.training import Heads, train_network, validation_rows
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices

__all__ = ["ConnectomeGNN", "Member"]

AT_ONCE = 64
"""People that a network reads at once."""
FEWEST = 4
"""People or groups of people of a fold, without whom there is nobody to look at."""


class Member:
    """A network of the ensemble with what its outputs stand for.

    Parameters
    ----------
    network : trained.
    heads : how its outputs stand for targets.
    """

    def __init__(self, network: GraphNetwork, heads: Heads) -> None:
        self.network, self.heads = network, heads

    @torch.no_grad()
    def outputs(self, people: PeopleInputs) -> list[NDArray[np.float64]]:
        """Of each target numbers (N, 1) in its unit, or scores of levels (N, K)."""
        said = np.concatenate(
            [self.network(people.edges[part], people.measures[part]).double().numpy() for part in slices(len(people), AT_ONCE)]
        )
        heads = self.heads
        return [said[:, part] * spread + mean for part, spread, mean in zip(heads.slices, heads.deviations, heads.means, strict=True)]


LineMaker = Callable[[NDArray[np.float32], Sequence[Target], NDArray[np.intp], str], LinearPath]
MemberMaker = Callable[[PeopleInputs, Sequence[Target], NDArray[np.intp], int], Member]


class ConnectomeGNN:
    """Predicts phenotypes from connectomes by graph networks over brain regions.

    Networks are trained on folds of the training people, with early stopping on validation people of their own. With ``linear_path`` a
    ridge or logistic regression on the whole connectome is fitted beside them, and a gate decides from predictions of held-out folds how
    much of either is used, so that the answer is the linear one where networks add nothing. What it reads, the same folds decide: edges,
    or of correlations their matrix logarithm (Arsigny et al. 2006), of other weights the direction in which a person's edges lie from the
    mean. All statistics come from training people.

    Parameters
    ----------
    layer : messages between regions: ``"gcn"``, ``"gat"``, ``"gine"`` or ``"transformer"``.
    node_features : of ``"profile"``, ``"identity"``, ``"coordinates"`` and topology's measures of regions
        (see :class:`~connectome_gnn.prediction.network.GraphNetworkConfig`); values of your own are given to ``fit`` as ``region_values``.
    pooling : ``"regions"``, ``"mean"``, ``"attention"``, ``"system"`` or ``"diffpool"``.
    linear_path : whether a linear model of the connectome stands beside the networks.
    repeats : networks trained on each of 5 folds, from other starts.
    seed : seed of everything.
    training : engine and device: :class:`connectome_gnn.TrainingConfig`, as of the generator.
    options : further fields of :class:`~connectome_gnn.prediction.network.GraphNetworkConfig`: hidden, depth, dropout, edge_dropout,
        density, normalisation, compute, epochs, patience, batch_size, learning_rate, weight_decay, validation, max_steps.

    Attributes
    ----------
    task : ``"regression"``, ``"classification"``, or ``"mixed"`` of several targets.
    classes_ : levels of a single target that has some.
    gates : per target the share of each path, ``{"linear": ..., "network": ...}``.
    linear : the linear path, whose ``view`` says what it reads; None without one.

    Raises
    ------
    ConnectomeError
        If a name is unknown or a number out of range.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> cohort = cg.simulate_cohort(120, 12, 6, seed=0)
    >>> train, test = cohort.split(0.8, seed=0)
    >>> model = ConnectomeGNN(epochs=5, seed=0).fit(train, "age")
    >>> model.predict(test).shape
    (24,)
    """

    name = "ConnectomeGNN"

    def __init__(
        self,
        layer: str = "gcn",
        node_features: str | Sequence[str] = ("profile", "identity", "coordinates"),
        pooling: str = "regions",
        *,
        linear_path: bool = True,
        repeats: int = 1,
        seed: int = 0,
        training: TrainingConfig = PLAIN,
        **options: Any,
    ) -> None:
        known = [field.name for field in fields(GraphNetworkConfig)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ConnectomeError(f"ConnectomeGNN has no option {unknown[0]!r}; it has {listed(sorted(known), 30)}")
        if repeats < 1:
            raise ConnectomeError(f"ConnectomeGNN: expected repeats to be at least 1, got {repeats}")
        self.config = GraphNetworkConfig(layer=layer, node_features=known_features(node_features), pooling=pooling, **options)
        self.linear_path, self.repeats, self.seed, self.training = linear_path, repeats, seed, training
        self.targets: tuple[Target, ...] = ()
        self.members: list[Member] = []
        self.linear: LinearPath | None = None

    def __repr__(self) -> str:
        config = self.config
        return (
            f"ConnectomeGNN({config.layer!r}, {config.node_features}, {config.pooling!r}, linear_path={self.linear_path}, seed={self.seed})"
        )

    # --- learning ----------------------------------------------------------------------------------------------------

    def fit(self, cohort: Cohort, target: TargetLike, *, groups: str | None = None, region_values: NDArray | None = None) -> ConnectomeGNN:
        """Learn from training people.

        Parameters
        ----------
        cohort : N training people.
        target : a phenotype or several, of numbers or levels; or values (N,) or (N, T).
        groups : column of people who belong together; default ``family_id`` where there is one.
        region_values : (N, R, F) further features of each person's regions, in the order of the atlas.

        Raises
        ------
        ConnectomeError
            If the target has gaps or does not vary, an edge is NaN, or there are too few people.
        """
        targets = read_targets(cohort, target)
        units = cohort.units(groups)
        self.regions = RegionTable.of(cohort)
        if self.config.pooling == "system" and len(self.regions.system_names) < 2:
            raise ConnectomeError(f"cohort {cohort.name!r}: the atlas names no systems to pool by; use another pooling than 'system'")
        people = read_inputs(cohort, self.regions, self.config.node_features, region_values)
        self.n_measures, self.signed, self.measure = people.measures.shape[2], cohort.signed, cohort.measure
        self.targets = tuple(Target(one.name, np.empty(0), one.classes) for one in targets)
        self.name_task()
        views = views_of(cohort.signed) if self.linear_path else ()
        return self.learn(people, targets, units, views, self._linear, self._member)

    def learn(
        self,
        people: PeopleInputs,
        targets: Sequence[Target],
        units: NDArray[np.intp],
        views: Sequence[str],
        line: LineMaker,
        member: MemberMaker,
    ) -> ConnectomeGNN:
        """Learn both paths on folds, the gate from people they had not seen, and the linear path once more on everybody.

        Parameters
        ----------
        people, targets, units : N training people, what is to be predicted of them, and who belongs together.
        views : what the linear path may read; none: there is no such path.
        line, member : make the linear path, or one network, of some people, their targets and units.

        Raises
        ------
        ConnectomeError
            If there are too few people for folds.
        """
        folds = folds_of(units, targets, np.random.default_rng(self.seed))
        if len(folds) < 2 or min(len(np.unique(units[rows])) for rows, _ in folds) < FEWEST:
            raise ConnectomeError(
                f"a graph network learns from folds of people and looks at others of them; expected at least {FEWEST + 2} people or "
                f"groups of people, got {len(np.unique(units))}"
            )
        self.members = []
        columns = {view: columns_of(people.edges.numpy(), view) for view in views}
        unseen = {path: [np.zeros((len(people), max(len(one.classes), 1))) for one in targets] for path in (*views, "network")}
        with progress("graph networks", len(folds) * self.repeats) as advance:
            for fold, (rows, held) in enumerate(folds):
                there, out = people.take(rows), people.take(held)
                learned = [one.take(rows) for one in targets]
                said = {view: line(x[rows], learned, units[rows], view).outputs(x[held]) for view, x in columns.items()}
                fresh = []
                for repeat in range(self.repeats):
                    fresh.append(member(there, learned, units[rows], fold * self.repeats + repeat))
                    advance()
                self.members += fresh
                said["network"] = _mean([one.outputs(out) for one in fresh])
                for path, answers in said.items():
                    for everybody, answer in zip(unseen[path], answers, strict=True):
                        everybody[held] = answer
        network = unseen.pop("network")
        self.linear, paths = None, [network]
        if views:
            view = best_view(targets, unseen)
            self.linear, paths = line(columns[view], targets, units, view), [unseen[view], network]
        self.gating = [Gate.fit(one, list(answers)) for one, *answers in zip(targets, *paths, strict=True)]
        return self

    def _linear(self, columns: NDArray[np.float32], targets: Sequence[Target], units: NDArray[np.intp], view: str) -> LinearPath:
        return LinearPath.fit(columns, targets, units, self.seed, view)

    def _member(self, people: PeopleInputs, targets: Sequence[Target], units: NDArray[np.intp], number: int) -> Member:
        seed = int(np.random.default_rng([self.seed, number]).integers(2**31))
        held = validation_rows(units, targets, self.config.validation, seed)
        rows = np.flatnonzero(~held)
        heads = Heads.of([one.take(rows) for one in targets])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network_of(Scaling.of(people.take(rows), self.config.density), sum(heads.sizes))
            train_network(network, people, targets, heads, held, self.config, training=self.training)
        return Member(network, heads)

    def name_task(self) -> None:
        """Say what the targets make of the task, once they are known."""
        tasks = {one.task for one in self.targets}
        self.task: str = next(iter(tasks)) if len(tasks) == 1 else "mixed"
        self.classes_ = self.targets[0].classes if len(self.targets) == 1 else ()

    def network_of(self, scaling: Scaling, n_outputs: int) -> GraphNetwork:
        """A network with its first weights, from torch's global generator."""
        places, systems = torch.from_numpy(self.regions.places), torch.from_numpy(self.regions.systems)
        return GraphNetwork(self.config, scaling, places, systems, n_outputs)

    # --- what it says ------------------------------------------------------------------------------------------------

    def outputs(self, people: PeopleInputs) -> list[NDArray[np.float64]]:
        """Of each target numbers (N, 1) in its unit, or scores of levels (N, K): all paths together."""
        paths = [] if self.linear is None else [self.linear.outputs(columns_of(people.edges.numpy(), self.linear.view))]
        paths.append(_mean([member.outputs(people) for member in self.members]))
        return [gate.outputs([path[number] for path in paths]) for number, gate in enumerate(self.gating)]

    def predict(self, cohort: Cohort, *, region_values: NDArray | None = None) -> NDArray[Any]:
        """What people's phenotypes are.

        Parameters
        ----------
        cohort : N people on the regions of the training people, in any order.
        region_values : (N, R, F), where there were some at ``fit``.

        Returns
        -------
        values : (N,), or (N, T) of several targets: numbers in their unit, names of levels.

        Raises
        ------
        ConnectomeError
            If it is not fitted, the people are on another atlas, or an edge is NaN.
        """
        columns = [
            np.array(target.classes, dtype=object)[said.argmax(1)] if target.classes else said[:, 0]
            for target, said in zip(self.targets, self.outputs(self.inputs(cohort, region_values)), strict=True)
        ]
        if len(columns) == 1:
            return columns[0]
        return np.stack(columns if self.task == "regression" else [column.astype(object) for column in columns], 1)

    def predict_proba(self, cohort: Cohort, target: str | None = None, *, region_values: NDArray | None = None) -> NDArray[np.float64]:
        """Probabilities of levels, (N, K), of ``target``, which only several targets need.

        Raises
        ------
        ConnectomeError
            As :meth:`predict`, and if the target is a number.
        """
        people = self.inputs(cohort, region_values)
        names = [one.name for one in self.targets]
        if target is None and len(names) > 1:
            raise ConnectomeError(f"this model predicts {listed(names)}; say of which target probabilities are wanted")
        number = 0 if target is None else names.index(target) if target in names else -1
        if number < 0 or not self.targets[number].classes:
            raise ConnectomeError(
                f"expected a target that has levels, got {target or names[0]!r} of {listed(names)}; use predict for numbers"
            )
        probabilities: NDArray[np.float64] = softmax(self.outputs(people)[number], axis=1)
        return probabilities

    @torch.no_grad()
    def node_outputs(self, cohort: Cohort, *, region_values: NDArray | None = None) -> NDArray[np.float32]:
        """States of regions after the messages, (N, R, F), of all networks side by side; regions in the cohort's order."""
        people = self.inputs(cohort, region_values)
        states = []
        for part in slices(len(people), AT_ONCE):
            described = [(one.network, *one.network.described(people.edges[part], people.measures[part])) for one in self.members]
            states.append(torch.cat([network.states(x, weight) for network, x, weight in described], -1).numpy())
        return np.concatenate(states)[:, self.place_of(cohort)]

    def graphs(self, cohort: Cohort, member: int = 0, *, region_values: NDArray | None = None) -> list[Data]:
        """People as PyG graphs that a network's sparse path reads, regions in the network's order.

        Returns
        -------
        graphs : those of :meth:`connectome_gnn.Cohort.graphs` over the network's backbone, with x (R, F) the features of regions and
            edge_weight (K,) the weights of messages.
        """
        people = self.inputs(cohort, region_values)
        network = self.members[member].network
        with torch.no_grad():
            x, weight = network.described(people.edges, people.measures)
        place = self.place_of(cohort)
        graphs = cohort.graphs(network.backbone.numpy()[np.ix_(place, place)])
        for person, graph in enumerate(graphs):
            sender, receiver = graph.edge_index = torch.from_numpy(place)[graph.edge_index]
            graph.x, graph.edge_weight = x[person], weight[person, receiver, sender]
        return graphs

    def inputs(self, cohort: Cohort, region_values: NDArray | None = None) -> PeopleInputs:
        """A cohort as the networks read it.

        Raises
        ------
        ConnectomeError
            If the model is not fitted, or does not fit the cohort.
        """
        if not self.members:
            raise ConnectomeError("this ConnectomeGNN is not fitted; call fit(cohort, target) first")
        if cohort.signed != self.signed:
            raise ConnectomeError(
                f"cohort {cohort.name!r} holds {cohort.measure}, the model was fitted on {self.measure}; "
                "predict for people whose edges are alike"
            )
        people = read_inputs(cohort, self.regions, self.config.node_features, region_values)
        if people.measures.shape[2] != self.n_measures:
            raise ConnectomeError(
                f"cohort {cohort.name!r}: the model was fitted with {self.n_measures} measures of each region, got "
                f"{people.measures.shape[2]}; give the same region_values as at fit"
            )
        return people

    def place_of(self, cohort: Cohort) -> NDArray[np.intp]:
        """Place of each of a cohort's regions in the model's order, (R,)."""
        known = {label: place for place, label in enumerate(self.regions.labels)}
        return np.array([known[label] for label in cohort.atlas.labels], np.intp)

    @property
    def gates(self) -> dict[str, dict[str, float]]:
        """Per target, how much of each path is used."""
        names = (["linear"] if self.linear_path else []) + ["network"]
        return {
            target.name: dict(zip(names, gate.shares.tolist(), strict=True)) for target, gate in zip(self.targets, self.gating, strict=True)
        }

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the model as a folder with model.safetensors and config.json; it appears complete or not at all.

        Raises
        ------
        ConnectomeError
            If it is not fitted, or the folder exists and ``force`` is not given.
        """
        from connectome_gnn.prediction.store import save_graph_network

        return save_graph_network(self, Path(path), force)

    @classmethod
    def load(cls, path: str | Path) -> ConnectomeGNN:
        """Read what :meth:`save` wrote: the same predictions to the last bit.

        Raises
        ------
        FileNotFoundError, ConnectomeError
            If a file is missing, was changed since, or is of something else.
        """
        from connectome_gnn.prediction.store import load_graph_network

        return load_graph_network(Path(path))


def _mean(said: Sequence[list[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """Mean over networks of what they say of each target; of levels the mean of their scores."""
    return [np.mean(one, axis=0) for one in zip(*said, strict=True)]

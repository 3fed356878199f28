"""Which regions and edges a prediction rests on: gradients times inputs, or PyG's explainers over the sparse path."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.graph_network import AT_ONCE, ConnectomeGNN
from connectome_gnn.prediction.linear_path import LinearPath, as_read
from connectome_gnn.prediction.matrix_logarithm import log_euclidean_slopes
from connectome_gnn.prediction.network import GraphNetwork
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices

__all__ = ["METHODS", "Saliency", "explain"]

METHODS = ("gradient", "gnnexplainer", "captum", "attention")


@dataclass(frozen=True, eq=False)
class Saliency:
    """What predictions rest on.

    Attributes
    ----------
    edges : (N, R, R) of each person, symmetric, zero diagonal, in the cohort's order. ``"gradient"``, ``"captum"``: contributions of
        either sign, in the target's unit (levels: in log odds); ``"gnnexplainer"``: weights of 0 or more; ``"attention"``: mean
        attention.
    regions : (N, R) half the absolute sum of a region's edges, and what its own measures add.
    ids : (N,) participant_id.
    atlas : the regions.
    method, target : how, and of which target.
    """

    edges: NDArray[np.float64]
    regions: NDArray[np.float64]
    ids: pd.Index
    atlas: Atlas
    method: str
    target: str

    def mean_regions(self) -> NDArray[np.float64]:
        """(R,) mean over people."""
        mean: NDArray[np.float64] = self.regions.mean(0)
        return mean

    def mean_edges(self, absolute: bool = True) -> NDArray[np.float64]:
        """(R, R) mean over people, of absolute values or with signs (which cancel where people lie on both sides of the mean)."""
        mean: NDArray[np.float64] = (np.abs(self.edges) if absolute else self.edges).mean(0)
        return mean

    def to_dataframe(self) -> pd.DataFrame:
        """Mean over people by region: hemisphere, network, x, y, z, saliency and its share of all regions'."""
        saliency = self.mean_regions()
        table = self.atlas.to_frame().set_index("label")
        return table.assign(saliency=saliency, share=saliency / max(saliency.sum(), 1e-300))


def explain(
    model: ConnectomeGNN,
    cohort: Cohort,
    method: str = "gradient",
    *,
    target: str | None = None,
    level: str | None = None,
    part: str = "all",
    region_values: NDArray | None = None,
    steps: int = 100,
    seed: int = 0,
) -> Saliency:
    """Which regions and edges a fitted model's predictions rest on.

    Parameters
    ----------
    model : fitted.
    cohort : N people.
    method : ``"gradient"``: gradient times distance from the training mean, on the dense path, linear path included; of the networks alone,
        over PyG's edges, with :class:`torch_geometric.explain.Explainer`: ``"gnnexplainer"`` (Ying et al. 2019), ``"captum"`` (integrated
        gradients; extra ``attribution``), ``"attention"`` (layers ``"gat"`` and ``"transformer"``).
    target : which of several targets; default the first.
    level : which level's score; default the last.
    part : ``"all"``, or ``"network"``: networks alone, even of ``"gradient"``.
    region_values : as at ``fit``.
    steps : steps of ``"gnnexplainer"`` and ``"captum"``.
    seed : of ``"gnnexplainer"``.

    Raises
    ------
    ConnectomeError
        If a name is unknown, the method does not know the model's layer, or captum is not installed.

    Notes
    -----
    A saliency is what a model uses, not what a phenotype does to a brain: correlated edges stand for each other.
    """
    if method not in METHODS or part not in ("all", "network"):
        raise ConnectomeError(f"explain: methods are {listed(METHODS)} and parts 'all' and 'network'; got {method!r} and {part!r}")
    if method == "attention" and model.config.layer not in ("gat", "transformer"):
        raise ConnectomeError(
            f"attention is looked at in layers 'gat' and 'transformer', this model's is {model.config.layer!r}; use another method"
        )
    if method == "captum" and find_spec("captum") is None:
        raise ConnectomeError("method 'captum' needs captum; install it with: pip install 'connectome-gnn[attribution]'")
    people = model.inputs(cohort, region_values)
    number, place = _output_of(model, target, level)
    if method == "gradient":
        edges, own = _gradients(model, people, number, place, part)
    else:
        edges, own = _explained(model, people, number, place, method, steps, seed)
    order = model.place_of(cohort)
    edges = edges[:, order][:, :, order]
    regions = np.abs(edges).sum(-1) / 2 + own[:, order]
    return Saliency(edges, regions, cohort.ids, cohort.atlas, method, model.targets[number].name)


def _output_of(model: ConnectomeGNN, target: str | None, level: str | None) -> tuple[int, int]:
    """Number of the target and place of the level."""
    names = [one.name for one in model.targets]
    if target is not None and target not in names:
        raise ConnectomeError(f"the model predicts {listed(names)}, not {target!r}")
    number = 0 if target is None else names.index(target)
    levels = model.targets[number].classes
    if level is not None and level not in levels:
        raise ConnectomeError(f"{names[number]!r} has {'levels ' + listed(levels) if levels else 'no levels'}, got {level!r}")
    return number, (levels.index(level) if level is not None else max(len(levels) - 1, 0))


def _contrast(outputs: Tensor, place: int) -> Tensor:
    """What is explained of a target's outputs (B, K): a number, or a level's score beyond the mean of the others'."""
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    others = (outputs.sum(1) - outputs[:, place]) / (outputs.shape[1] - 1)
    return outputs[:, place] - others


def _gradients(model: ConnectomeGNN, people: PeopleInputs, number: int, place: int, part: str) -> tuple[NDArray, NDArray]:
    """Contributions of edges (N, R, R) and absolute ones of regions' own measures (N, R)."""
    n_regions = model.regions.n_regions
    edges, own = np.zeros(people.edges.shape), np.zeros((len(people), n_regions))
    shares = model.gating[number].shares
    if model.linear is not None and part == "all":
        slope = _contrast(torch.from_numpy(model.linear.coefficients[number]), place).numpy()
        edges += shares[0] * _linear_contributions(model, people.edges.numpy(), slope)
    share = shares[-1] if part == "all" else 1.0
    for member in model.members if share else []:
        network, heads = member.network, member.heads
        for rows in slices(len(people), AT_ONCE):
            at, measures = people.edges[rows].clone().requires_grad_(), people.measures[rows].clone().requires_grad_()
            said = _contrast(network(at, measures)[:, heads.slices[number]], place).sum() * heads.deviations[number]
            slopes = torch.autograd.grad(said, [at, measures], allow_unused=True)
            scale = share / len(model.members)
            if slopes[0] is not None:
                edges[rows] += scale * (slopes[0] * (at - network.edge_mean)).detach().numpy()
            if slopes[1] is not None:
                own[rows] += scale * (slopes[1] * (measures - network.measure_mean)).detach().abs().sum(-1).numpy()
    return to_matrices(edges), own


def _linear_contributions(model: ConnectomeGNN, edges: NDArray[np.float32], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """What edges (N, E) add to a sum of the linear path's columns by slopes (F,), (N, E); how long a direction is counts as given."""
    line = cast(LinearPath, model.linear)
    if line.view == "log-euclidean":
        mean = np.mean([member.network.edge_mean.numpy() for member in model.members], 0)
        return log_euclidean_slopes(edges, slope / line.deviation) * (edges - mean)
    return slope * as_read(edges, line.mean, line.deviation, line.view)


class _OneAnswer(nn.Module):
    """A network over PyG's edges that gives one number a graph, as PyG's explainers want it."""

    def __init__(self, network: GraphNetwork, outputs: slice, place: int, scale: float) -> None:
        super().__init__()
        self.network, self.outputs, self.place, self.scale = network, outputs, place, scale

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        states = self.network.sparse_states(x, edge_index, edge_weight)[None]
        sender, receiver = edge_index
        weight = edge_weight.new_zeros(1, self.network.n_regions, self.network.n_regions)
        weight = weight.index_put((torch.zeros_like(sender), receiver, sender), edge_weight)
        return _contrast(self.network.read(states, weight)[:, self.outputs], self.place) * self.scale


def _explained(
    model: ConnectomeGNN, people: PeopleInputs, number: int, place: int, method: str, steps: int, seed: int
) -> tuple[NDArray, NDArray]:
    """Means over networks of what a PyG explainer makes of each person: edges (N, R, R) and regions' own (N, R)."""
    n_regions = model.regions.n_regions
    edges, own = np.zeros((len(people), n_regions, n_regions)), np.zeros((len(people), n_regions))
    with progress(method, len(model.members) * len(people)) as advance, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for member in model.members:
            # a copy: an explainer leaves its masks behind, which the next one stumbles over
            network, heads = copy.deepcopy(member.network), member.heads
            answer = _OneAnswer(network, heads.slices[number], place, heads.deviations[number]).eval()
            explainer = _explainer(answer, method, steps)
            with torch.no_grad():
                x, weight = network.described(people.edges, people.measures)
            edge_index = network.edges_of(1)
            for person in range(len(people)):
                found = explainer(x[person], edge_index, edge_weight=weight[person, edge_index[1], edge_index[0]])
                by_edge, by_region = _maps(network, edge_index, found)
                edges[person] += by_edge / len(model.members)
                own[person] += by_region / len(model.members)
                advance()
    return edges, own


def _explainer(answer: nn.Module, method: str, steps: int) -> Any:
    from torch_geometric.explain import AttentionExplainer, CaptumExplainer, Explainer, GNNExplainer, ModelConfig

    algorithm = {
        "gnnexplainer": lambda: GNNExplainer(epochs=steps),
        "captum": lambda: CaptumExplainer("IntegratedGradients", n_steps=steps),
        "attention": AttentionExplainer,
    }[method]()
    return Explainer(
        answer,
        algorithm,
        explanation_type="model",
        node_mask_type=None if method == "attention" else "attributes",
        edge_mask_type="object",
        model_config=ModelConfig(mode="regression", task_level="graph", return_type="raw"),
    )


def _maps(network: GraphNetwork, edge_index: Tensor, found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges (R, R), symmetric: messages both ways and what regions make of the edges they know; and (R,) what else a region knows."""
    n_regions = network.n_regions
    edges, own = np.zeros((n_regions, n_regions)), np.zeros(n_regions)
    sender, receiver = edge_index.numpy()
    edges[receiver, sender] += found.edge_mask.detach().double().numpy()
    if getattr(found, "node_mask", None) is not None:
        known = found.node_mask.detach().double().numpy()
        if network.profile:
            edges += known[:, :n_regions]
            known = known[:, n_regions:]
        own = np.abs(known).sum(1)
    np.fill_diagonal(edges, 0)
    return edges + edges.T, own

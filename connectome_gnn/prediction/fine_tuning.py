"""A fitted graph network taken to other people: all of it, or what belongs to some regions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.graph_network import ConnectomeGNN, Member
from connectome_gnn.prediction.interface import Target, TargetLike, read_targets
from connectome_gnn.prediction.linear_path import LinearPath, views_of
from connectome_gnn.prediction.network import GraphNetwork
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.prediction.prior_path import fit_with_prior
from connectome_gnn.prediction.training import train_network, validation_rows

__all__ = ["fine_tuned"]

EPOCHS, LEARNING_RATE = 20, 1e-3


def fine_tuned(
    model: ConnectomeGNN,
    cohort: Cohort,
    target: TargetLike | None = None,
    *,
    regions: Sequence[str] | None = None,
    groups: str | None = None,
    region_values: NDArray | None = None,
    seed: int = 0,
) -> ConnectomeGNN:
    """A fitted model that goes on learning from other people; the model itself stays as it is.

    The linear path is learned anew with the model's weights, times a gain, as its prior mean, or reads something else of people than the
    model's and learns that from nothing, whichever does better for people of held-out folds; networks go on from where they are, and stay
    there where validation people are not better off; the gate is set anew from people of held-out folds. Networks' means of edges are
    moved to the new people's as far as they differ by more than chance.

    Parameters
    ----------
    model : fitted.
    cohort : N training people on the same regions.
    target : as at :meth:`ConnectomeGNN.fit`; default the phenotypes of the same names.
    regions : labels of regions whose parameters (learned vectors, weights of their edges) alone may change, all others being frozen;
        default all parameters.
    groups, region_values : as at :meth:`ConnectomeGNN.fit`.
    seed : seed of everything.

    Raises
    ------
    ConnectomeError
        If the model is not fitted, targets or levels are others than the model's, or a region is unknown.
    """
    people = model.inputs(cohort, region_values)
    targets = _as_before(model, cohort, [one.name for one in model.targets] if target is None else target)
    chosen = None if regions is None else _places(model, regions)
    views = views_of(model.signed) if model.linear_path else ()
    free = {view: None if chosen is None else _touching(model.regions.n_regions, chosen, view) for view in views}
    fresh = copy.copy(model)
    fresh.seed = seed

    def tuned_member(there: PeopleInputs, learned: Sequence[Target], units: NDArray[np.intp], number: int) -> Member:
        return _member(model, model.members[number % len(model.members)], there, learned, units, chosen, seed + number)

    def tuned_line(columns: NDArray[np.float32], learned: Sequence[Target], units: NDArray[np.intp], view: str) -> LinearPath:
        before = cast(LinearPath, model.linear)
        prior = before if view == before.view else LinearPath.silent(columns, view, before)
        return fit_with_prior(columns, learned, units, prior, seed, free[view])

    fresh.learn(people, targets, cohort.units(groups), views, tuned_line, tuned_member)
    return fresh


def _as_before(model: ConnectomeGNN, cohort: Cohort, target: TargetLike) -> list[Target]:
    """Targets with the model's levels, in its order.

    Raises
    ------
    ConnectomeError
        If they are others.
    """
    found = read_targets(cohort, target)
    if [bool(one.classes) for one in found] != [bool(one.classes) for one in model.targets]:
        raise ConnectomeError(
            f"cohort {cohort.name!r}: the model predicts {listed(one.name for one in model.targets)}, got "
            f"{listed(one.name for one in found)}; fine-tune on the same targets"
        )
    answer = []
    for one, before in zip(found, model.targets, strict=True):
        unknown = [level for level in one.classes if level not in before.classes]
        if unknown:
            raise ConnectomeError(
                f"cohort {cohort.name!r}: {one.name!r} has level {unknown[0]!r}, which the model does not know ({listed(before.classes)}); "
                "leave those people out"
            )
        codes = np.array([before.classes.index(level) for level in one.classes], np.float64)
        answer.append(Target(before.name, codes[one.values.astype(np.intp)] if one.classes else one.values, before.classes))
    return answer


def _places(model: ConnectomeGNN, regions: Sequence[str]) -> NDArray[np.intp]:
    unknown = [label for label in regions if label not in model.regions.labels]
    if unknown:
        raise ConnectomeError(f"the model knows no region {unknown[0]!r}; its regions are {listed(model.regions.labels)}")
    return np.array([model.regions.labels.index(label) for label in regions], np.intp)


def _touching(n_regions: int, chosen: NDArray[np.intp], view: str) -> NDArray[np.bool_]:
    """Which columns of a linear path belong to some regions, (F,)."""
    edges = np.atleast_1d(np.isin(np.stack(edge_indices(n_regions)), chosen).any(0))
    return edges if view != "log-euclidean" else np.concatenate([np.isin(np.arange(n_regions), chosen), edges])


def _member(
    model: ConnectomeGNN,
    before: Member,
    people: PeopleInputs,
    targets: Sequence[Target],
    units: NDArray[np.intp],
    chosen: NDArray[np.intp] | None,
    seed: int,
) -> Member:
    network = copy.deepcopy(before.network)
    held = validation_rows(units, targets, model.config.validation, seed)
    _move_means(network, people.take(np.flatnonzero(~held)))
    # Without decay, what is frozen stays to the last bit.
    config = replace(model.config, epochs=EPOCHS, learning_rate=LEARNING_RATE, weight_decay=0.0)
    with torch.random.fork_rng(devices=[]), _only(network, chosen) as anything:
        torch.manual_seed(seed)
        if anything:
            train_network(network, people, targets, before.heads, held, config, training=model.training, learned_before=True)
    return Member(network, before.heads)


def _move_means(network: GraphNetwork, people: PeopleInputs) -> None:
    """Move a network's means to those of other people, by the share of their distance that is not chance."""
    for name, values in (("edge", people.edges), ("measure", people.measures)):
        mean, deviation = getattr(network, f"{name}_mean"), getattr(network, f"{name}_deviation")
        distance = values.double().mean(0).float() - mean
        inside = torch.isfinite(deviation)
        if len(values) < 2 or not inside.any():
            continue
        chance = (values.double().var(0)[inside] / len(values) / deviation[inside] ** 2).sum()
        observed = ((distance / deviation)[inside] ** 2).double().sum()
        mean += float((1 - chance / observed.clamp(min=1e-12)).clamp(min=0)) * distance


@contextmanager
def _only(network: GraphNetwork, chosen: NDArray[np.intp] | None) -> Iterator[bool]:
    """Let only what belongs to some regions learn inside the block; says whether there is anything of the kind."""
    if chosen is None:
        yield True
        return
    inside = torch.zeros(network.n_regions)
    inside[torch.from_numpy(chosen)] = 1
    masks: list[tuple[Tensor, Tensor]] = []
    if network.identity is not None:
        masks.append((network.identity, inside[:, None]))
    if network.profile and network.features is not None:
        others = torch.zeros(network.features.in_features - network.n_regions)
        masks.append((network.features.weight, torch.cat([inside, others])))
    if network.config.pooling == "regions":
        masks.append((network.pool.shares, inside))  # type: ignore[arg-type]
    network.requires_grad_(False)
    handles = []
    for parameter, mask in masks if len(chosen) else []:
        parameter.requires_grad_(True)
        handles.append(parameter.register_hook(lambda gradient, mask=mask: gradient * mask))
    try:
        yield bool(handles)
    finally:
        for handle in handles:
            handle.remove()
        network.requires_grad_(True)

"""Counterfactual trajectories: how a measure of the expected connectome changes with a phenotype, all others as they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from connectome_gnn import topology
from connectome_gnn.attribution.arguments import check_model, check_share, check_whole
from connectome_gnn.attribution.changes import known_value, phenotype_of, profiles_at, understood
from connectome_gnn.attribution.refits import Refits, Values
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.resampling import generator_for
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.phenotypes import Phenotype
from connectome_gnn.topology.registry import find_measures

__all__ = ["trajectory"]

POINTS = 11


def trajectory(
    model: ConnectomeModel,
    phenotype: str,
    *,
    by: str | None = None,
    measure: str = "strength",
    values: Sequence[Any] | None = None,
    at: pd.DataFrame | Cohort | pd.Series | Mapping[str, Any] | None = None,
    most_people: int = 50,
    confidence: float = 0.95,
    n_refits: int = 0,
    training: Cohort | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """A measure of the expected connectome over the values of a phenotype, for each level of another.

    The phenotype is set to each value in everybody, all else as it is, and the measure of their expected connectomes is averaged: the
    model's counterfactual, which is as causal as its data. A measure of an expected connectome is no mean over people's measures.

    Parameters
    ----------
    model : a fitted model.
    phenotype : what changes along the trajectory, e.g. ``"age"``.
    by : a phenotype with levels, e.g. ``"sex"``, for each of which there is a trajectory; None for one.
    measure : a global or nodal measure of :func:`connectome_gnn.topology.list_measures`; systems of the atlas are its modules.
    values : of the phenotype; default 11 between the lowest and highest of training people, or its levels.
    at : whose other phenotypes, as for :func:`~connectome_gnn.attribution.effects.effect_map`.
    most_people : at most this many people of ``at`` are averaged over, drawn at random.
    confidence, n_refits, training : as for :func:`~connectome_gnn.attribution.effects.effect_map`.
    seed : of the draw of people, of resamples, and of measures that draw.

    Returns
    -------
    table : long, a row for each value, level and, for nodal measures, region: columns named as the phenotypes; region, hemisphere, network
        (nodal measures); measure, ``value``, ``error``, ``low``, ``high`` (NaN where the model keeps no refits), and ``extrapolated``, the
        share of the profiles that lie outside what training people looked like.

    Raises
    ------
    ConnectomeError
        If a phenotype is unknown or constant, a level is unknown, ``by`` is a number, or the measure is unknown, of edges, or not defined
        for the weights.

    Warns
    -----
    ExtrapolationWarning
        Where profiles lie outside what training people looked like, with the phenotypes' names and ranges.
    """
    check_model(model)
    check_share("confidence", confidence)
    for name, number, least in (("most_people", most_people, 1), ("n_refits", n_refits, 0), ("seed", seed, 0)):
        check_whole(name, number, least)
    if not isinstance(measure, str):
        raise ConnectomeError(f"expected a measure by its name, got {measure!r}")
    if values is not None and (isinstance(values, str) or not isinstance(values, Iterable)):
        raise ConnectomeError(f"expected values of {phenotype!r} as a list, got {values!r}")
    along = phenotype_of(phenotype, model)
    across = None if by is None else phenotype_of(by, model)
    if across is not None and (across.kind == "continuous" or across.name == along.name):
        raise ConnectomeError(f"trajectories are told apart by another phenotype that has levels; {by!r} is no such phenotype")
    table = profiles_at(at, model)
    if len(table) > most_people:
        chosen = generator_for(seed, "people of trajectories").choice(len(table), most_people, replace=False)
        table = table.iloc[np.sort(chosen)]
    points = _points(along) if values is None else [known_value(along, value) for value in values]
    if not points:
        raise ConnectomeError(f"expected at least one value of {phenotype!r}, got none")
    steps = list(itertools.product(points, _points(across) if across else [None]))
    profiles = pd.concat([_set(table, along, value, across, level) for value, level in steps])
    (understood_profiles,) = understood(model, profiles, what=f"trajectory of {measure} over {phenotype}")
    found = _Measure(model, measure, len(steps), seed)
    refits = Refits.bootstrap(model, training, n_refits, seed) if n_refits else Refits.jackknife(model)  # type: ignore[arg-type]
    answer = found.of(lambda rows: model.space.values(model._deviation(rows)), understood_profiles)
    error = np.full(answer.shape, np.nan)
    quantile = np.nan
    if refits is not None:
        error = np.sqrt(refits.variance([[found.of(fit, understood_profiles) for fit in fits] for fits in refits.sets]))
        quantile = float(stats.t.ppf((1 + confidence) / 2, refits.freedom))
    outside = model.schema.extrapolated(profiles)[0].reshape(len(steps), -1).mean(1)
    parts = []
    for number, (value, level) in enumerate(steps):
        columns: dict[str, Any] = {along.name: value} | ({across.name: level} if across else {})
        if answer.ndim == 2:
            columns |= {"region": model.atlas.labels, "hemisphere": model.atlas.hemisphere, "network": model.atlas.network}
        numbers, errors = np.atleast_1d(answer[number]), np.atleast_1d(error[number])
        columns |= {"measure": measure, "value": numbers, "error": errors}
        columns |= {"low": numbers - quantile * errors, "high": numbers + quantile * errors, "extrapolated": outside[number]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


class _Measure:
    """A measure of expected connectomes, averaged over the people of each step.

    Parameters
    ----------
    model : whose connectomes they are.
    name : of the measure.
    n_steps : number of steps, whose profiles follow each other.
    seed : of measures that draw.
    """

    def __init__(self, model: ConnectomeModel, name: str, n_steps: int, seed: int) -> None:
        self.name, self.n_steps = name, n_steps
        self.back = Scale(model.signed)
        networks = model.atlas.network
        (chosen,) = find_measures([name])
        if chosen.level not in ("global", "nodal"):
            raise ConnectomeError(f"trajectories take global and nodal measures, {name!r} is one of {chosen.level}")
        self.given: dict[str, Any] = {"n_jobs": 1, "seed": seed}
        if "partition" in chosen.needs and len(set(networks)) > 1:
            self.given["partition"] = networks
        if "coordinates" in chosen.needs:
            self.given["coordinates"] = model.atlas.xyz

    def of(self, fit: Values, profiles: pd.DataFrame) -> NDArray[np.float64]:
        """Mean over the people of each step: (steps,), or (steps, R) for a nodal measure."""
        table = topology.measure(self.back.inverse(fit(profiles)).astype(np.float64), self.name, **self.given)
        found = np.asarray(table.values[self.name], np.float64)
        averaged: NDArray[np.float64] = found.reshape(self.n_steps, -1, *found.shape[1:]).mean(1)
        return averaged


def _points(phenotype: Phenotype) -> list[Any]:
    """Values that a phenotype is looked at: over the training range, or the levels that training people had."""
    if phenotype.kind == "continuous":
        return np.linspace(phenotype.low or 0.0, phenotype.high or 0.0, POINTS).tolist()
    seen = phenotype.mean if phenotype.kind == "categorical" else [1.0] * len(phenotype.codes)
    return [code for code, share in zip(phenotype.codes, seen, strict=True) if share > 0]


def _set(table: pd.DataFrame, along: Phenotype, value: Any, across: Phenotype | None, level: Any) -> pd.DataFrame:
    changed = table.assign(**{along.name: value})
    return changed if across is None else changed.assign(**{across.name: level})

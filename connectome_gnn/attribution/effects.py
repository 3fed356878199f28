"""Effect maps: what a stated change of phenotypes does to every edge of the expected connectome, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from connectome_gnn.atlas import Atlas
from connectome_gnn.attribution.arguments import check_model, check_share, check_whole
from connectome_gnn.attribution.changes import counterfactual, parse_changes, profiles_at, understood
from connectome_gnn.attribution.explained import STRENGTHS, GlobalStrength, StrengthShares
from connectome_gnn.attribution.pooling import directions, pooled
from connectome_gnn.attribution.refits import Refits, Values
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.edges import Scale, edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.resampling import generator_for
from connectome_gnn.evaluation.statistics import benjamini_hochberg
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.slices import slices

__all__ = ["EffectMap", "effect_map"]

BATCH = 256
ERROR_PEOPLE = 200  # people whom the refits are asked about: the average over them is what moves, and it hardly depends on who they are


@dataclass(frozen=True)
class EffectMap:
    """What a change of phenotypes does to the expected connectome.

    Attributes
    ----------
    change : (R, R) symmetric, mean over people of the edge after minus before; zero diagonal.
    error : (R, R) standard errors: how far ``change`` would move had other people been in the training cohort. NaN where the model
        keeps no fits that tell. What shrinkage leaves out on purpose is not in it. Few fits' errors are drawn towards those of all edges
        (:func:`~connectome_gnn.attribution.pooling.pooled`).
    low, high : (R, R) interval.
    regions : indexed by region: hemisphere, network, x, y, z; ``value`` the change of the region's strength (sum over its edges), with
        ``error``, ``low``, ``high``, two-sided ``p`` and ``q`` (false discovery rate over regions).
    described : the change in words.
    scale : ``"modelling"`` or ``"weights"``.
    n_people : number of people averaged over.
    confidence : of the intervals.
    errors_from : what the errors come from, in words.
    freedom, region_freedom : degrees of freedom of the errors of edges and of regions; NaN without errors.
    """

    change: NDArray[np.float64] = field(repr=False)
    error: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64] = field(repr=False)
    high: NDArray[np.float64] = field(repr=False)
    regions: pd.DataFrame = field(repr=False)
    described: str
    scale: str
    n_people: int
    confidence: float
    errors_from: str
    freedom: float = np.nan
    region_freedom: float = np.nan

    def summary(self) -> str:
        """The change in two sentences: how many edges move, and which regions most."""
        upper = np.triu_indices(len(self.change), 1)
        clear = ((self.low > 0) | (self.high < 0))[upper]
        strongest = self.regions["value"].abs().sort_values(ascending=False).index[:3]
        moved = ", ".join(f"{region} ({self.regions['value'][region]:+.3g})" for region in strongest)
        return (
            f"{self.described}, over {self.n_people} people, {self.scale} scale: {clear.mean():.1%} of edges have an interval clear of 0 "
            f"({self.errors_from}), {(self.regions['q'] < 0.05).sum()} of {len(self.regions)} regions q < .05. "
            f"Strength changes most in {moved}."
        )


def effect_map(
    model: ConnectomeModel,
    change: str | Mapping[str, Any],
    at: pd.DataFrame | Cohort | pd.Series | Mapping[str, Any] | None = None,
    *,
    scale: Literal["modelling", "weights"] = "modelling",
    global_strength: GlobalStrength = "keep",
    confidence: float = 0.95,
    n_refits: int = 0,
    training: Cohort | None = None,
    seed: int = 0,
) -> EffectMap:
    """The change of every edge of the expected connectome for a stated change of phenotypes, all others as they are.

    It is the model's counterfactual: as causal as the data it learned from, and drawn towards 0 where they say little.

    Parameters
    ----------
    model : a fitted model.
    change : ``"age: 50 -> 70"``, ``"sex: F -> M"``, ``"age: +1 SD"`` (of training people, from where each person is), several apart by
        semicolons; or ``{"age": (50, 70)}``.
    at : whose other phenotypes: a cohort or table, over whose people the change is averaged; one profile, e.g. ``{"sex": "F"}``, whose
        other phenotypes are missing; or None, the population mean (all others missing).
    scale : ``"modelling"`` (log1p of weights, or Fisher z) or ``"weights"``.
    global_strength : the change as it is (``keep``), or less what goes with people's total strength (``remove``, modelling scale only):
        each edge's regression on it, as the people of ``training``, or else of the cohort ``at``, show it.
    confidence : of intervals.
    n_refits : 0 takes the errors from fits that the generator kept (the jackknife, at no cost); from 2 on, as many closed-form refits
        on resamples of ``training``, each of which costs a fit without the network.
    training : the cohort that the model was fitted on, for ``n_refits`` and for ``global_strength="remove"``.
    seed : of the resamples, and of the draw of at most 200 people whom the errors are computed for.

    Returns
    -------
    effect : EffectMap.

    Raises
    ------
    ConnectomeError
        If the change cannot be read, names an unknown or constant phenotype or an unknown level, the profiles cannot be used, or total
        strength is to be taken out where nobody shows it.

    Warns
    -----
    ExtrapolationWarning
        Where profiles before or after lie outside what training people looked like, with the phenotypes' names and ranges.
    """
    if scale not in ("modelling", "weights"):
        raise ConnectomeError(f"the scale of an effect map is 'modelling' or 'weights', got {scale!r}")
    check_model(model)
    check_share("confidence", confidence)
    check_whole("n_refits", n_refits, 0)
    check_whole("seed", seed, 0)
    shares = _shares(model, global_strength, scale, at if training is None else training)
    changes = parse_changes(change, model)
    described = "; ".join(map(str, changes))
    tables = counterfactual(changes, profiles_at(at, model))
    before, after = understood(model, *tables, what=described)
    refits = Refits.bootstrap(model, training, n_refits, seed) if n_refits else Refits.jackknife(model)  # type: ignore[arg-type]
    back = Scale(model.signed) if scale == "weights" else None

    def moved(values: Values, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean change of every edge over some people, (E,)."""
        total = np.zeros(model.atlas.n_edges)
        for some in slices(len(rows), BATCH):
            there = [values(table.iloc[rows[some]]) for table in (after, before)]
            last, first = there if back is None else [back.inverse(part) for part in there]
            total += (last - first).sum(0, dtype=np.float64)
        total /= len(rows)
        if shares is not None:
            std = model.space.std[model.space.kept]
            total[model.space.kept] = shares.without((total[model.space.kept] / std)[None])[0] * std
        return total

    everybody = np.arange(len(before))
    edges = moved(lambda profiles: model.space.values(model._deviation(profiles)), everybody)
    if refits is None:
        variance, strength_variance = np.full(len(edges), np.nan), np.full(len(model.atlas), np.nan)
        freedom = strength_freedom = np.nan
    else:
        some = everybody
        if len(some) > ERROR_PEOPLE:
            some = np.sort(generator_for(seed, "people of errors").choice(len(some), ERROR_PEOPLE, replace=False))
        answers = [[moved(values, some) for values in fits] for fits in refits.sets]
        unit = _units(model, scale)
        variance, freedom = _errors(refits, answers, unit)
        strengths = [[_strengths(answer, model.atlas) for answer in fits] for fits in answers]
        strength_variance, strength_freedom = _errors(refits, strengths, np.sqrt(_strengths(unit**2, model.atlas)))
    error, strength_error = np.sqrt(variance), np.sqrt(strength_variance)
    quantile = float(stats.t.ppf((1 + confidence) / 2, freedom))
    return EffectMap(
        change=to_matrices(edges),
        error=to_matrices(error),
        low=to_matrices(edges - quantile * error),
        high=to_matrices(edges + quantile * error),
        regions=_regions(model.atlas, _strengths(edges, model.atlas), strength_error, strength_freedom, confidence),
        described=described,
        scale=scale,
        n_people=len(before),
        confidence=confidence,
        errors_from="no errors: the model keeps no refits" if refits is None else refits.label,
        freedom=freedom,
        region_freedom=strength_freedom,
    )


def _shares(model: ConnectomeModel, global_strength: str, scale: str, people: Any) -> StrengthShares | None:
    """How total strength shows on each edge of some people; None where it is not taken out."""
    if global_strength not in STRENGTHS:
        raise ConnectomeError(f"global_strength is one of {listed(STRENGTHS)}, got {global_strength!r}")
    if global_strength == "keep":
        return None
    if scale != "modelling":
        raise ConnectomeError("total strength is taken out on the modelling scale; leave scale out, or keep total strength")
    if not isinstance(people, Cohort) or people.atlas != model.atlas:
        raise ConnectomeError(
            "taking out total strength needs people on the model's atlas who show it; give the cohort that it was fitted on as training="
        )
    return StrengthShares.of(people, model.space)


def _strengths(edges: NDArray[np.float64], atlas: Atlas) -> NDArray[np.float64]:
    """Sum (R,) over each region's edges."""
    rows, columns = edge_indices(len(atlas))
    return np.bincount(np.concatenate([rows, columns]), np.tile(edges, 2), len(atlas)).astype(np.float64)


def _units(model: ConnectomeModel, scale: str) -> NDArray[np.float64]:
    """What edges (E,) are measured in: a training standard deviation, in weights what it is there around the mean."""
    if scale == "modelling":
        return model.space.std.astype(np.float64)
    back = Scale(model.signed)
    above, below = (back.inverse(model.space.mean + sign * model.space.std) for sign in (1, -1))
    return (above - below).astype(np.float64) / 2


def _errors(refits: Refits, answers: list[list[NDArray[np.float64]]], unit: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Variances of answers and their degrees of freedom, few fits making up for it by the many numbers that they answer."""
    return pooled(refits.variance(answers), unit, refits.freedom, directions(answers, unit))


def _regions(atlas: Atlas, value: NDArray[np.float64], error: NDArray[np.float64], freedom: float, confidence: float) -> pd.DataFrame:
    quantile = stats.t.ppf((1 + confidence) / 2, freedom)
    t = np.divide(np.abs(value), error, out=np.full(len(value), np.nan), where=error > 0)
    p = 2 * stats.t.sf(t, freedom)
    found = {"value": value, "error": error, "low": value - quantile * error, "high": value + quantile * error}
    return atlas.to_frame().rename(columns={"label": "region"}).set_index("region").assign(**found, p=p, q=benjamini_hochberg(p))

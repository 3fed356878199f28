"""Attribution of scores that only samples have: capture of edges or of a topology measure, or a user's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.arguments import numbers
from connectome_gnn.attribution.coalitions import MOST_EXACT, TOGETHER_PAIRS, Coalition, all_coalitions, sampled_together, shapley_weights
from connectome_gnn.attribution.intervals import Ratio, percentiles
from connectome_gnn.attribution.options import OF_SAMPLES
from connectome_gnn.attribution.plan import Plan
from connectome_gnn.attribution.result import Attribution
from connectome_gnn.attribution.tables import Rows, empty_table
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.evaluation.capture import captured
from connectome_gnn.evaluation.resampling import resamples, units_of_rows, weighted_mean
from connectome_gnn.evaluation.sides import chosen_measures
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.slices import slices

__all__ = ["attribute_sampled"]

PEOPLE_AT_ONCE = 128
COLUMNS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class _Samples:
    """A score of generated people of whom only some phenotypes are known: (1 + B,) with everybody as they are, then resampled.

    Every coalition's samples are drawn with the same seeds, so that chance is the same for all of them.
    """

    model: ConnectomeModel
    cohort: Cohort
    score: str | Callable[..., Any]
    n_samples: int
    plan: Plan
    weights: NDArray[np.float32]

    def value(self, unknown: list[str], real: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """The score with some phenotypes missing; ``real`` is what :meth:`of_real` gave."""
        if callable(self.score):
            return self._own(self.score, unknown)
        if real is None:
            raise ConnectomeError("a captured score needs the real people's values")
        known = np.isfinite(real).all(1)
        parts = [self._values(self._generated(rows, unknown), len(range(*rows.indices(len(real))))) for rows in self._batches()]
        generated = np.concatenate(parts)
        known &= np.isfinite(generated).all(1)
        x, y, weights = real[known], generated[known], self.weights[:, known]
        blocks = ((x[:, at].astype(np.float64), y[:, at].astype(np.float64)) for at in slices(x.shape[1], COLUMNS_AT_ONCE))
        return captured(blocks, x.shape[1], weights, np.empty((0, len(x)), np.int32), self.plan.n_jobs).pooled

    def of_real(self) -> NDArray[np.float64] | None:
        """What is compared with generated people, (N, C); None for a user's own score."""
        if callable(self.score):
            return None
        return np.concatenate(
            [self._values(self.cohort.take(rows), len(range(*rows.indices(len(self.cohort))))) for rows in self._batches()]
        )

    def _batches(self) -> list[slice]:
        return list(slices(self.cohort.n_people, PEOPLE_AT_ONCE))

    def _generated(self, rows: slice, unknown: list[str]) -> Cohort:
        table = self.cohort.phenotypes.iloc[rows].copy()
        table[unknown] = np.nan
        table.index = pd.Index([f"person {number}" for number in range(len(table))], name="participant_id")  # scans of one person
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConnectomeWarning)
            return self.model.sample(table, n=self.n_samples, seed=self.plan.seed + rows.start)

    def _values(self, people: Cohort, n: int) -> NDArray[np.float64]:
        """Edges or measures of people, averaged over each one's rows, (n, C)."""
        if callable(self.score):
            raise ConnectomeError("a score of one's own is computed for everybody at once")
        if self.score == "capture":
            values = people.scale.forward(people.read(slice(None)))
        else:
            from connectome_gnn.topology import measure

            coordinates = people.atlas.xyz if people.atlas.has_coordinates else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConnectomeWarning)
                table = measure(people.weights, [self.score], coordinates=coordinates, seed=self.plan.seed, n_jobs=self.plan.n_jobs)
            values = np.asarray(table[self.score]).reshape(people.n_people, -1)
        return values.reshape(n, -1, values.shape[1]).mean(1)

    def _own(self, score: Callable[..., Any], unknown: list[str]) -> NDArray[np.float64]:
        table = self.cohort.phenotypes.copy()
        table[unknown] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConnectomeWarning)
            generated = self.model.sample(table, n=self.n_samples, seed=self.plan.seed)
        values = numbers(score(generated, self.cohort), "what a score of one's own returns")
        if values.shape != (self.cohort.n_people,):
            raise ConnectomeError(
                f"a score of one's own returns one number a person, ({self.cohort.n_people},), got an array of shape {values.shape}"
            )
        return weighted_mean(self.weights, values)


def attribute_sampled(
    model: ConnectomeModel, cohort: Cohort, plan: Plan, score: str | Callable[..., Any], n_samples: int, advance: Callable[..., None]
) -> Attribution:
    """Contributions and Shapley values of groups, in the units of a score of samples; of phenotypes where some are asked for by name."""
    model._check_knows_people()
    name = getattr(score, "__name__", "score") if callable(score) else score
    if not callable(score) and score != "capture":
        chosen_measures([score], cohort)
    methods = [method for method in OF_SAMPLES if method in plan.methods]
    units = units_of_rows(cohort, np.arange(cohort.n_people))
    weights = resamples(units, plan.n_bootstrap, plan.seed)
    samples = _Samples(model, cohort, score, n_samples, plan, weights)
    groups = {group: list(names) for group, names in model.schema.groups.items()}
    real = samples.of_real()
    found: dict[Coalition, NDArray[np.float64]] = {}

    def value(coalition: Coalition) -> NDArray[np.float64]:
        if coalition not in found:
            found[coalition] = samples.value(
                [p for number, names in enumerate(groups.values()) if number not in coalition for p in names], real
            )
            advance()
        return found[coalition]

    everybody = frozenset(range(len(groups)))
    full, null = value(everybody), value(frozenset())
    rows, draws, notes = Rows(), {}, [f"{name}: {n_samples} samples a person and coalition; no test of it is by permutation"]
    by_method: dict[str, Mapping[str, NDArray[np.float64]]] = {}
    if "contribution" in methods:
        by_method["contribution"] = {group: full - value(everybody - {number}) for number, group in enumerate(groups)}
    error = np.full(len(groups), np.nan)
    if "shapley" in methods and len(groups) > MOST_EXACT:
        total, error = sampled_together(value, len(groups), TOGETHER_PAIRS, [plan.seed, 2], lambda step: float(step[0]))
        by_method["shapley"] = dict(zip(groups, total, strict=True))
        notes.append(f"Shapley values of more than {MOST_EXACT} groups are sampled, with their standard error in column error")
    elif "shapley" in methods:
        total = np.zeros((len(groups), len(full)))
        for coalition in all_coalitions(len(groups)):
            total += shapley_weights(len(groups), coalition)[:, None] * value(coalition)
        by_method["shapley"] = dict(zip(groups, total, strict=True))
    for method, values in by_method.items():
        for number, (group, drawn) in enumerate(values.items()):
            keys = {"group": group, "method": method, "missing": "reference"}
            of_sampling = error[number] if method == "shapley" else np.nan
            rows.add(keys, _ratio(drawn), np.array([np.nan]), _share(drawn, full - null), error=of_sampling)
            draws[group, method, "reference"] = drawn.astype(np.float32)
    phenotypes = Rows()
    if "contribution" in methods and len(plan.phenotypes) < len(model.schema.names):
        group_of = {p.name: p.group for p in model.schema.phenotypes}
        for phenotype in plan.phenotypes:
            drawn = full - samples.value([phenotype], real)
            keys = {"phenotype": phenotype, "group": group_of[phenotype], "method": "contribution", "missing": "reference"}
            ratio = _ratio(drawn)
            raw = dict(zip(("raw", "raw_low", "raw_high"), (float(end[0]) for end in (ratio.value, ratio.low, ratio.high)), strict=True))
            phenotypes.add(keys, ratio, np.array([np.nan]), _share(drawn, full - null), **raw)
            advance()
    elif "phenotype" in plan.by:
        notes.append(f"{name} of single phenotypes is computed for those named in phenotypes: each takes samples of everybody")
    scores = {
        label: {"value": r.value[0], "low": r.low[0], "high": r.high[0]} for label, r in (("full", _ratio(full)), ("null", _ratio(null)))
    }
    return Attribution(
        groups=rows.table("groups", ["method", "missing"]),
        phenotypes=phenotypes.table("phenotypes", ["method", "missing"]),
        regions=empty_table("regions"),
        networks=empty_table("networks"),
        interactions=empty_table("interactions"),
        commonality=empty_table("commonality"),
        scores=pd.DataFrame.from_dict(scores, orient="index").rename_axis("score").astype(float),
        score=name,
        notes=tuple(notes),
        every_phenotype=False,
        _draws=draws,
    )


def _ratio(drawn: NDArray[np.float64]) -> Ratio:
    """A value and its resamples, (1 + B,), with a percentile interval."""
    return Ratio(drawn[:1], *percentiles(drawn[1:, None]), drawn[1:, None].astype(np.float32))


def _share(drawn: NDArray[np.float64], whole: NDArray[np.float64]) -> Ratio:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _ratio(np.where(whole > 0, drawn / whole, np.nan))

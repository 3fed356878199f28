"""Topology of generated and real people side by side, each cohort measured once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

if TYPE_CHECKING:
    from connectome_gnn.evaluation.comparison import Comparison

__all__ = ["NO_TOPOLOGY", "TopologySides", "chosen_measures", "level_of", "topology_sides"]

NO_TOPOLOGY = "measures of an average are no person's measures; score samples"
"""Why topology is undefined for expected connectomes."""

UNSIGNED = (
    "degree",
    "strength",
    "clustering",
    "betweenness",
    "participation",
    "density",
    "transitivity",
    "global_efficiency",
    "characteristic_path_length",
    "modularity",
    "assortativity",
    "wiring_cost",
)
"""Measures that samples are judged by where none are named, for weights of 0 or more."""

SIGNED = ("strength", "strength_positive", "strength_negative", "modularity", "participation_positive", "participation_negative")
"""The same for correlations, every measure of which takes negative weights."""

PEOPLE_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class TopologySides:
    """Measures of N real people and of M generated people with K samples each, people sorted by participant_id.

    Attributes
    ----------
    names : measures, in order.
    real : by name, (N,) of a global measure, (N, R) of a nodal one; NaN = undefined for that person or region.
    generated : by name, (M, K) or (M, K, R).
    """

    names: tuple[str, ...]
    real: dict[str, NDArray]
    generated: dict[str, NDArray]

    def level(self, name: str) -> Literal["global", "nodal"]:
        """Whether a measure has one number a person, or one a region."""
        return level_of(name)


def topology_sides(comparison: Comparison) -> TopologySides:
    """Measure generated people, and real people unless another comparison of the same evaluation has already."""
    names, seed, n_jobs = comparison.measures, comparison.seed, comparison.n_jobs
    if comparison.generated.kind == "expected":
        raise ConnectomeError(f"generated cohort {comparison.generated.name!r} holds expected connectomes: {NO_TOPOLOGY}")
    rows = comparison.generated_rows
    real = comparison.shared("topology of real people", lambda: _measured(comparison.real, comparison.real_rows, names, seed, n_jobs))
    generated = _measured(comparison.generated, rows.ravel(), names, seed, n_jobs)
    return TopologySides(names, real, {name: values.reshape(*rows.shape, *values.shape[1:]) for name, values in generated.items()})


def _measured(cohort: Cohort, rows: NDArray[np.intp], names: tuple[str, ...], seed: int, n_jobs: int) -> dict[str, NDArray]:
    from connectome_gnn.topology import measure

    parts: dict[str, list[NDArray]] = {name: [] for name in names}
    coordinates = cohort.atlas.xyz if cohort.atlas.has_coordinates else None
    for start in range(0, len(rows) if names else 0, PEOPLE_AT_ONCE):
        weights = cohort.read(rows[start : start + PEOPLE_AT_ONCE])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConnectomeWarning)
            table = measure(weights, names, coordinates=coordinates, seed=seed, n_jobs=n_jobs)
        for name in names:
            parts[name].append(table[name])
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def chosen_measures(measures: Iterable[str] | str | None, cohort: Cohort) -> tuple[str, ...]:
    """Names of the topology measures to score, checked: those asked for, or the default panel of the cohort's kind of weights.

    Raises
    ------
    ConnectomeError
        If a name is unknown or of an edge-wise measure, negative weights do not allow it, or it needs coordinates that are missing.
    """
    from connectome_gnn.topology.registry import MEASURES, find_measures

    if measures is None:
        names = SIGNED if cohort.signed else UNSIGNED
        return tuple(name for name in names if cohort.atlas.has_coordinates or "coordinates" not in MEASURES[name].needs)
    if not isinstance(measures, str) and not tuple(measures):
        return ()
    chosen = find_measures(measures)
    for one in chosen:
        if one.level not in ("global", "nodal"):
            raise ConnectomeError(f"measure {one.name!r} gives {one.level} values; scores take global and nodal measures")
        if cohort.signed and not one.signed:
            raise ConnectomeError(f"measure {one.name!r} is not defined for the negative weights of {cohort.measure}; leave it out")
        if "coordinates" in one.needs and not cohort.atlas.has_coordinates:
            raise ConnectomeError(f"measure {one.name!r} needs coordinates, which the atlas of cohort {cohort.name!r} does not have")
    return tuple(one.name for one in chosen)


def level_of(name: str) -> Any:
    """``"global"`` or ``"nodal"``."""
    from connectome_gnn.topology.registry import MEASURES

    return MEASURES[name].level

"""What was done to a cohort's weights, step by step: normalising and thresholding, and the record that ``cohort.json`` keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome_gnn.columns import listed
from connectome_gnn.derived import Above, Masked, Scaled, Strongest
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["NORMS", "STEPS", "check_same_scale", "described_steps", "normalise", "steps_of", "threshold", "with_step"]

NORMS = ("max", "total", "median")
STEPS = "processing"
"""The entry of ``cohort.json``."""


def steps_of(cohort: Cohort) -> list[dict[str, Any]]:
    """What was done to a cohort's weights since they were measured, in order: ``{"step": "normalise", "method": "max"}``, ..."""
    steps = cohort.info.get(STEPS, [])
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) and "step" in step for step in steps):
        raise ConnectomeError(f"cohort {cohort.name!r}: its {STEPS!r} (cohort.json) must be a list of objects with 'step', it is {steps!r}")
    return [dict(step) for step in steps]


def with_step(cohort: Cohort, step: Mapping[str, Any]) -> dict[str, Any]:
    """The cohort's ``info`` with one more step of processing."""
    return {**cohort.info, STEPS: [*steps_of(cohort), dict(step)]}


def described_steps(cohort: Cohort) -> str:
    """The steps in words, for a sentence: ``normalise (method max), threshold (density 0.2)``, or ``nothing``."""
    told = []
    for step in steps_of(cohort):
        details = ", ".join(f"{key} {value[:8] if key == 'sha256' else value}" for key, value in step.items() if key != "step")
        told.append(f"{step['step']} ({details})" if details else str(step["step"]))
    return ", ".join(told) or "nothing"


def check_same_scale(one: Cohort, other: Cohort) -> None:
    """Refuse two cohorts whose weights are not on one scale.

    Raises
    ------
    ConnectomeError
        If their measures differ, or what was done to their weights (normalising, thresholds, ...).
    """
    if (one.measure, one.signed) != (other.measure, other.signed):
        raise ConnectomeError(
            f"cohort {one.name!r} holds {_measure(one)}, cohort {other.name!r} {_measure(other)}; expected one measure in both"
        )
    if steps_of(one) != steps_of(other):
        raise ConnectomeError(
            f"the weights of cohorts {one.name!r} and {other.name!r} are not on one scale: done to the first was {described_steps(one)}, "
            f"to the second {described_steps(other)}; do the same to both, from the weights as measured"
        )


def _measure(cohort: Cohort) -> str:
    return f"{cohort.measure} ({'correlations' if cohort.signed else 'non-negative weights'})"


def normalise(cohort: Cohort, method: str) -> Cohort:
    """Divide every person's weights by a number of that person's own.

    Parameters
    ----------
    cohort : non-negative weights.
    method : ``"max"`` (by the largest weight: weights in [0, 1]), ``"total"`` (by the sum over edges, each counted once: weights that
        sum to 1) or ``"median"`` (by the median of the edges that are present).

    Returns
    -------
    cohort : Cohort of float32 weights without unit, computed when they are read; absent edges stay absent, people without any edge as they
        are. ``cohort.info["processing"]`` (and cohort.json) records the step.

    Raises
    ------
    ConnectomeError
        If the method is another, or weights are correlations, which have a scale of their own.
    """
    if method not in NORMS:
        raise ConnectomeError(f"expected to normalise by {listed(NORMS)}, got {method!r}")
    if cohort.signed:
        raise ConnectomeError(
            f"cohort {cohort.name!r} holds correlations ({cohort.measure}), which lie between -1 and 1 already; only non-negative weights "
            "are normalised"
        )
    size = np.empty(cohort.n_people)
    for rows, weights in cohort.batches():
        size[rows] = _sizes(weights, method)
    return cohort.with_weights(Scaled(cohort, np.where(size > 0, size, 1)), step={"step": "normalise", "method": method})


def _sizes(weights: NDArray, method: str) -> NDArray[np.float64]:
    """What each person's weights are divided by, (n,)."""
    if method == "max":
        return weights.max(1).astype(np.float64)
    if method == "total":
        return weights.sum(1, dtype=np.float64)
    return np.array([np.median(row[row > 0]) if (row > 0).any() else 0 for row in weights.astype(np.float64)])


def threshold(
    cohort: Cohort, *, weight: float | None = None, density: float | None = None, backbone: str | ArrayLike | None = None
) -> Cohort:
    """Set weak edges to exactly 0, by one of three rules.

    Parameters
    ----------
    cohort : the cohort.
    weight : keep edges of at least this absolute weight, in the weight's unit.
    density : keep each person's strongest edges by absolute weight, up to this share of all E; of equal ones the first.
    backbone : keep the edges of a group backbone in everybody: (R, R) as :meth:`~connectome_gnn.Cohort.backbone` gives it (for new people
        that of the training people), or the name of a method, for the backbone of these people.

    Returns
    -------
    cohort : Cohort whose weights are computed when they are read; ``cohort.info["processing"]`` (and cohort.json) records the step, of a
        backbone the number of edges and the sha256 of its (E,) bytes.

    Raises
    ------
    ConnectomeError
        If not exactly one rule is given, a number is out of range, or the backbone is not symmetric or of another size.
    """
    given = {"weight": weight, "density": density, "backbone": backbone}
    rules = [name for name, value in given.items() if value is not None]
    if len(rules) != 1:
        raise ConnectomeError(f"expected one of weight, density and backbone to threshold by, got {', '.join(rules) or 'none'}")
    if weight is not None:
        if not 0 <= weight < np.inf:
            raise ConnectomeError(f"a threshold of weights is a number of 0 or more, got {weight}")
        return cohort.with_weights(Above(cohort, float(weight)), step={"step": "threshold", "weight": float(weight)})
    if density is not None:
        if not 0 <= density <= 1:
            raise ConnectomeError(f"a threshold's density is a share between 0 and 1, got {density}")
        kept = Strongest(cohort, round(density * cohort.n_edges))
        return cohort.with_weights(kept, step={"step": "threshold", "density": float(density)})
    named = {"backbone": backbone} if isinstance(backbone, str) else {}
    edges = _edges_of(cohort, cohort.backbone(method=backbone) if isinstance(backbone, str) else np.asarray(backbone))
    digest = {"edges": int(edges.sum()), "sha256": sha256(edges.tobytes()).hexdigest()}
    return cohort.with_weights(Masked(cohort, edges), step={"step": "threshold", **named, **digest})


def _edges_of(cohort: Cohort, backbone: NDArray) -> NDArray[np.bool_]:
    """A backbone as edges (E,)."""
    shape = (cohort.n_regions, cohort.n_regions)
    if backbone.shape != shape:
        raise ConnectomeError(f"expected a backbone of shape {shape} for the regions of the atlas, got {backbone.shape}")
    kept = backbone != 0
    if not np.array_equal(kept, kept.T):
        raise ConnectomeError("expected a symmetric backbone, got one with an edge in one direction only; use backbone | backbone.T")
    return np.ascontiguousarray(to_vectors(kept))

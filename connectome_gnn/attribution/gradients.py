"""Integrated gradients: how much each phenotype moves a measure of a person's generated connectome, through the whole model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.atlas import Atlas
from connectome_gnn.attribution.arguments import check_atlas, check_whole
from connectome_gnn.attribution.mean_path import MeanPath
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.phenotypes import Encoded
from connectome_gnn.slices import slices

__all__ = [
    "Baseline",
    "IntegratedGradients",
    "Presence",
    "Some",
    "encoded_profiles",
    "integrated_gradients",
    "mean_weight",
    "quadrature",
    "refined",
    "region_strength",
]

Baseline = Literal["missing", "mean"]
Measure = Callable[[Tensor], Tensor]

Some = slice | NDArray[np.intp]
"""Which of the people."""

LARGEST_RESIDUAL = 0.01
MOST_STEPS = 256
"""Points up to which those who miss more than ``LARGEST_RESIDUAL`` are gone through again, with twice as many."""

ROWS = 512  # profiles that go through the model at once


@dataclass(frozen=True)
class IntegratedGradients:
    """Attributions of a measure of generated connectomes to phenotypes.

    Attributes
    ----------
    table : (N, P) attributions in the measure's units, indexed by participant_id, one column a phenotype.
    value, baseline : (N,) the measure of each person's expected connectome, and of the one that it is compared with.
    residual : (N,) what the attributions of a person lack of ``value - baseline``, as a share of the mean of ``|value - baseline|``
        over people (completeness, Sundararajan et al. 2017).
    engine : ``"own"`` or ``"captum"``.
    """

    table: pd.DataFrame
    value: NDArray[np.float64]
    baseline: NDArray[np.float64]
    residual: NDArray[np.float64]
    engine: str

    def summary(self) -> pd.DataFrame:
        """Per phenotype ``value`` the mean size of its attributions, and ``mean`` their mean, strongest first."""
        rows = pd.DataFrame({"value": self.table.abs().mean(), "mean": self.table.mean()}).rename_axis("phenotype")
        return rows.sort_values("value", ascending=False)


def region_strength(atlas: Atlas, region: str) -> Measure:
    """The strength of a region, for :func:`integrated_gradients`: the sum of its edges' weights.

    Raises
    ------
    ConnectomeError
        If the atlas has no such region.
    """
    check_atlas(atlas)
    if region not in atlas.labels:
        raise ConnectomeError(f"atlas {atlas.name!r} has no region {region!r}; it has {listed(atlas.labels, 5)}")
    place = atlas.labels.index(region)
    return lambda matrices: matrices[:, place].sum(1)


def mean_weight(atlas: Atlas, network: str, other: str | None = None) -> Measure:
    """The mean weight of the edges within a system, or between it and another, for :func:`integrated_gradients`.

    Raises
    ------
    ConnectomeError
        If the atlas has no such system, or no edge lies there.
    """
    check_atlas(atlas)
    names = np.array(atlas.network)
    masks = []
    for name in (network, network if other is None else other):
        if name not in atlas.network:
            raise ConnectomeError(f"atlas {atlas.name!r} has no system {name!r}; it has {listed(dict.fromkeys(atlas.network))}")
        masks.append(names == name)
    chosen = np.triu(np.outer(*masks) | np.outer(*masks[::-1]), 1)
    if not chosen.any():
        raise ConnectomeError(f"no edge of atlas {atlas.name!r} lies within system {network!r}, which has one region")
    mask = torch.from_numpy(chosen)
    return lambda matrices: matrices[:, mask].mean(1)


def integrated_gradients(
    model: ConnectomeGenerator,
    phenotypes: pd.DataFrame,
    measure: Measure,
    *,
    baseline: Baseline = "missing",
    n_steps: int = 32,
    engine: Literal["auto", "own", "captum"] = "auto",
) -> IntegratedGradients:
    """Attribute a measure of expected connectomes to phenotypes (Sundararajan et al. 2017, equation 1).

    Every phenotype of a person is made present by degrees, from the baseline to what it is, all at once, and the measure's gradient
    with respect to its presence is integrated along the way (Gauss-Legendre quadrature). The gradient runs through the closed form,
    the directions that it learned, and the network where its gate is open. The attributions of a person add up to what the measure
    differs from the baseline's. They say what moves the generated connectome, not what explains real people.

    Parameters
    ----------
    model : a fitted generator.
    phenotypes : (N rows) profiles, as for ``model.expected``.
    measure : a torch function from connectomes (n, R, R), float64, to one number each (n,), as :func:`region_strength` and
        :func:`mean_weight` make them.
    baseline : ``"missing"``: every phenotype that differs between training people missing. ``"mean"``: every phenotype at its training
        mean, which the network tells from missing and the closed form does not.
    n_steps : points of the quadrature; for people whose attributions miss more than 1 % twice as many, and again, up to 256.
    engine : ``"captum"``, ``"own"``, or ``"auto"``: captum (extra ``attribution``) where it is installed. Both give the same.

    Returns
    -------
    found : IntegratedGradients; a phenotype that a person lacks, or that training people did not differ in, has exactly 0.

    Raises
    ------
    ConnectomeError
        If the model is no fitted ConnectomeGenerator, the profiles cannot be used, captum is asked for and not installed, or the measure
        gives something other than one number a connectome.

    Warns
    -----
    ConnectomeWarning
        If a person's residual passes 1 % all the same, as of a measure that jumps.
    """
    path = MeanPath(model)
    chosen = _engine(engine)
    check_whole("n_steps", n_steps, 1)
    if not callable(measure):
        raise ConnectomeError(f"expected a measure as a function of connectomes, as region_strength makes them, got {measure!r}")
    encoded, people = encoded_profiles(model, phenotypes)
    presence = Presence(path, model, encoded, baseline)
    with torch.no_grad():
        value, start = (
            torch.cat([_measured(presence, measure, rows, presence.at(share, rows)) for rows in slices(len(people), ROWS)]).numpy()
            for share in (1.0, 0.0)
        )
    scale = np.abs(value - start).mean()
    integral = _by_captum if chosen == "captum" else _by_quadrature

    def missed(rows: NDArray[np.intp], found: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(found.sum(1) - (value - start)[rows]) / scale if scale > 0 else np.zeros(len(rows))

    attributions, residual = refined(len(people), n_steps, lambda rows, points: integral(presence, measure, rows, points), missed)
    if residual.max() > LARGEST_RESIDUAL:
        warnings.warn(
            f"integrated gradients of {people[int(residual.argmax())]!r} miss {residual.max():.1%} of the difference from the "
            f"baseline with {max(n_steps, MOST_STEPS)} points, as of a measure that jumps; raise n_steps (now {n_steps})",
            ConnectomeWarning,
            stacklevel=2,
        )
    table = pd.DataFrame(attributions, index=people, columns=pd.Index(model.schema.names, name="phenotype"))
    return IntegratedGradients(table, value, start, residual, chosen)


def refined(
    n: int,
    n_steps: int,
    attributed: Callable[[NDArray[np.intp], int], NDArray[Any]],
    missed: Callable[[NDArray[np.intp], NDArray[Any]], NDArray[np.float64]],
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Attributions (n, ...) of people and their residuals (n,), with more points for those who need them.

    Parameters
    ----------
    n : number of people.
    n_steps : points of the quadrature at first.
    attributed : from people's numbers and a number of points to their attributions.
    missed : from people's numbers and attributions to their residuals.
    """
    everybody = np.arange(n)
    found = attributed(everybody, n_steps)
    residual = missed(everybody, found)
    while n_steps < MOST_STEPS and len(far := np.flatnonzero(residual > LARGEST_RESIDUAL)):
        n_steps *= 2
        found[far] = attributed(far, n_steps)
        residual[far] = missed(far, found[far])
    return found, residual


def encoded_profiles(model: ConnectomeGenerator, phenotypes: pd.DataFrame) -> tuple[Encoded, pd.Index]:
    """Encoded profiles and the people's names; refuses what ``model.expected`` refuses, and warns as it does."""
    table, profiles = model._profiles(phenotypes)
    return model.schema.encode(profiles), table.index


@dataclass(frozen=True)
class Presence:
    """Profiles whose phenotypes can be made present by degrees.

    Parameters
    ----------
    path : the model.
    model : where phenotypes' statistics come from.
    encoded : the profiles.
    baseline : what a phenotype of presence 0 is.
    """

    path: MeanPath
    model: ConnectomeGenerator
    encoded: Encoded
    baseline: Baseline
    values: Tensor = field(init=False)
    missing: Tensor = field(init=False)
    varies: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.baseline not in ("missing", "mean"):
            raise ConnectomeError(f"the baseline of integrated gradients is 'missing' or 'mean', got {self.baseline!r}")
        values, missing = self.path.tensors(self.encoded)
        varies = torch.tensor([not phenotype.constant for phenotype in self.model.schema.phenotypes])
        for name, value in (("values", values), ("missing", missing), ("varies", varies)):
            object.__setattr__(self, name, value)

    def at(self, share: float, rows: Some) -> Tensor:
        """Presence (n, P) of every phenotype of some people: ``share``, and 1 for what did not differ between training people."""
        n = len(self.missing[rows])
        return torch.where(self.varies, torch.full((n, len(self.varies)), share, dtype=self.path.dtype), 1)

    def arguments(self, presence: Tensor, values: Tensor, missing: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What :class:`MeanPath` takes."""
        return (values, missing, presence) if self.baseline == "missing" else (values * presence[:, self.path.owner], missing, None)


def _engine(engine: str) -> str:
    if engine not in ("auto", "own", "captum"):
        raise ConnectomeError(f"the engine of integrated gradients is 'auto', 'own' or 'captum', got {engine!r}")
    installed = find_spec("captum") is not None
    if engine == "captum" and not installed:
        raise ConnectomeError("engine='captum' needs captum; install it with: pip install 'connectome-gnn[attribution]'")
    return ("captum" if installed else "own") if engine == "auto" else engine


def _measured(presence: Presence, measure: Measure, rows: Some, at: Tensor) -> Tensor:
    """The measure (n,) of some people's expected connectomes at a presence (n, P)."""
    return _checked(measure, presence.path.matrices(*presence.arguments(at, presence.values[rows], presence.missing[rows])))


def _checked(measure: Measure, matrices: Tensor) -> Tensor:
    found = measure(matrices)
    if not isinstance(found, Tensor) or found.shape != (len(matrices),):
        came = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ConnectomeError(
            f"a measure gives one number for each of {len(matrices)} connectomes, a tensor ({len(matrices)},), got {came}"
        )
    return found


def _by_quadrature(presence: Presence, measure: Measure, people: NDArray[np.intp], n_steps: int) -> NDArray[np.float64]:
    """Attributions (n, P) of some people, our own."""
    shares, weights = quadrature(n_steps)
    total = torch.zeros(presence.missing[people].shape, dtype=torch.float64)
    for some in slices(len(total), ROWS):
        rows = people[some]
        for share, weight in zip(shares, weights, strict=True):
            at = presence.at(share, rows).requires_grad_()
            (gradient,) = torch.autograd.grad(_measured(presence, measure, rows, at).sum(), at)
            total[some] += weight * gradient
    return (total * presence.varies).numpy()


def quadrature(n_steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in (0, 1) and weights, which add up to 1, of Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return (points + 1) / 2, weights / 2


def _by_captum(presence: Presence, measure: Measure, people: NDArray[np.intp], n_steps: int) -> NDArray[np.float64]:
    """Attributions (n, P) of some people by captum."""
    from connectome_gnn.attribution.captum_gradients import captum_attributions

    def forward(at: Tensor, values: Tensor, missing: Tensor) -> Tensor:
        return _checked(measure, presence.path.matrices(*presence.arguments(at, values, missing)))

    start, end = (presence.at(share, people) for share in (0.0, 1.0))
    return captum_attributions(forward, end, start, (presence.values[people], presence.missing[people]), n_steps, ROWS)

"""Effect maps under a prior: what each learned combination of phenotypes does to every edge, smoothed by messages.

A stack of ridge regressions finds the few combinations of phenotypes that move connectomes well, and what each does to the edges
badly: every entry of a map is estimated with the noise of a whole connectome. Here the maps are estimated once more, as a
Gaussian process over edges whose covariance comes from messages along the group's backbone (Kondor & Lafferty 2002, diffusion
kernels on graphs): edges whose ends exchange messages share what a phenotype does to them. How strong each map is decides its
evidence (MacKay 1992); how far messages travel is decided on people left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, n_regions_of
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.messages import backbone_neighbours, pass_messages
from connectome_gnn.generation.scratch import scratch

__all__ = ["MAPS", "EffectSpace", "MapKind", "MapPrior", "Noise", "combinations", "map_kinds", "step_of", "systems_of"]

MAPS = 30
"""Most combinations of phenotypes whose maps are estimated."""

PATTERNS = 300
STEPS = (1, 2, 3, 5)
OWN, FAINT = 0.1, 0.8  # share of a map that is like people's own differences: beside messages, and where messages are faint
STEEP = 1.5
REGIONAL = 0.3  # share that is carried by single regions, or, where the atlas has systems, by regions and pairs of systems
STRENGTHS = np.logspace(-6, 2, 49)
NEGLIGIBLE = 0.05


@dataclass(frozen=True)
class EffectSpace:
    """The components of people, and beside them the smoothest patterns over the backbone, in which effects may lie as well.

    Parameters
    ----------
    basis : (D, kept edges) orthonormal rows: the K components, then patterns.
    components : (n, K) the training people's.
    patterns : (n, D - K) float32, the training people along the patterns.
    energy : (n,) what lies outside of the basis, a person's sum of squares.
    """

    basis: NDArray[np.float32]
    components: NDArray[np.floating]
    patterns: NDArray[np.float32]
    energy: NDArray[np.float64]

    @classmethod
    def fit(cls, space: EdgeSpace, components: NDArray[np.floating], cohort: Cohort, step: NDArray[np.float32] | None) -> EffectSpace:
        """Extend the components (n, K) of training people by patterns that a step of messages, (R, R), hardly changes; None adds none."""
        smooth = np.empty((0, space.basis.shape[1]), np.float32) if step is None else _smooth_patterns(space, step)
        patterns, energy = scratch((len(components), len(smooth)), np.float32), np.empty(len(components))
        for rows, edges in space.standardised(cohort):
            patterns[rows] = edges @ smooth.T
            inside = (components[rows].astype(np.float64) ** 2).sum(1) + (patterns[rows].astype(np.float64) ** 2).sum(1)
            energy[rows] = np.maximum(np.einsum("ne,ne->n", edges, edges, dtype=np.float64) - inside, 0)
        return cls(np.concatenate([space.basis, smooth]), components, patterns, energy)

    @property
    def n_components(self) -> int:
        """K, how many leading coordinates are components."""
        return self.components.shape[1]

    def people(self, rows: NDArray[np.intp], n_coordinates: int | None = None) -> NDArray[np.float64]:
        """Leading coordinates (n, D) of some people, default all."""
        wanted = len(self.basis) if n_coordinates is None else n_coordinates
        out = np.empty((len(rows), wanted))
        out[:, : self.n_components] = self.components[rows, :wanted]
        out[:, self.n_components :] = self.patterns[rows, : max(wanted - self.n_components, 0)]
        return out


def _smooth_patterns(space: EdgeSpace, step: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outer products of the step's slowest modes, without what the components span already, orthonormal rows."""
    n_regions = len(step)
    values, modes = eigh((step + step.T).astype(np.float64) / 2)
    values, modes = values[::-1], modes[:, ::-1]
    first, second = np.triu_indices(n_regions)
    slowest = np.argsort(-np.abs(values[first] * values[second]), kind="stable")[:PATTERNS]
    left, right = modes[:, first[slowest]].T, modes[:, second[slowest]].T
    rows, columns = (ends[space.kept] for ends in edge_indices(n_regions))
    patterns = (left[:, rows] * right[:, columns] + left[:, columns] * right[:, rows]).astype(np.float32)
    norm = np.linalg.norm(patterns, axis=1, keepdims=True)
    patterns = patterns[norm[:, 0] > 0] / norm[norm[:, 0] > 0]
    for _ in range(2):  # once leaves rounding errors
        patterns -= (patterns @ space.basis.T) @ space.basis
    new = patterns[np.linalg.norm(patterns, axis=1) > NEGLIGIBLE]
    if len(new) == 0:
        return new
    basis, triangle, _ = qr(new.T.astype(np.float64), mode="economic", pivoting=True)
    return np.ascontiguousarray(basis[:, np.abs(np.diag(triangle)) > NEGLIGIBLE].T.astype(np.float32))


@dataclass(frozen=True)
class MapKind:
    """A prior idea of effect maps.

    Parameters
    ----------
    covariance : (D, D) of maps whose edges borrow from each other through messages, mean diagonal 1; None for no messages.
    own : share of the map that varies like people's own differences do.
    power : of the people's variances, by which that share goes: above 1 effects lie on the leading components even more.
    """

    covariance: NDArray[np.float64] | None = None
    own: float = 1.0
    power: float = 1.0


def map_kinds(
    basis: NDArray[np.float32], kept: NDArray[np.bool_], step: NDArray[np.float32] | None, systems: NDArray[np.intp] | None
) -> dict[str, MapKind]:
    """Every prior idea of effect maps that is tried, by name.

    Parameters
    ----------
    basis : (D, kept edges) orthonormal rows of the effect space.
    kept : (E,) which edges they hold.
    step : (R, R) row-stochastic, one step of messages over the backbone; None leaves messages out.
    systems : (R,) number of each region's system, -1 for none; None where the atlas has none.
    """
    kinds = {"effect maps": MapKind(), "effect maps on leading components": MapKind(power=STEEP)}
    if step is None:
        return kinds
    rows, columns = (ends[kept] for ends in edge_indices(n_regions_of(len(kept))))
    carried = np.stack([basis[:, (rows == region) | (columns == region)].sum(1) for region in range(len(step))], 1).astype(np.float64)
    shared = [_unit(carried @ carried.T)]
    if systems is not None:
        pairs = np.minimum(systems[rows], systems[columns]) * (systems.max() + 1) + np.maximum(systems[rows], systems[columns])
        pairs[(systems[rows] < 0) | (systems[columns] < 0)] = -1
        joint = np.stack([basis[:, pairs == pair].sum(1) for pair in np.unique(pairs[pairs >= 0])], 1).astype(np.float64)
        shared.append(_unit(joint @ joint.T))
    sent = basis
    for number in range(1, max(STEPS) + 1):
        sent = pass_messages(sent, step.T, kept)  # the other way round, so that products of the results are covariances
        if number in STEPS:
            covariance = (1 - REGIONAL) * _unit(sent.astype(np.float64) @ sent.T.astype(np.float64)) + REGIONAL * np.mean(shared, 0)
            kinds[f"effect maps, {number} step{'s' if number > 1 else ''} of messages"] = MapKind(covariance, OWN)
    kinds["effect maps, faint messages"] = MapKind(covariance, FAINT)
    return kinds


def _mean_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / max(values.mean(), 1e-30)


def _unit(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return covariance / max(np.trace(covariance) / len(covariance), 1e-12)


@dataclass(frozen=True)
class Noise:
    """How people differ around what is predicted: axes and variances.

    Parameters
    ----------
    axes : (D, D) orthonormal columns.
    variance : (D,).
    """

    axes: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, scatter: NDArray[np.float64], n: int) -> Noise:
        """From the sums of products (D, D) of n people's residuals.

        Beyond a tenth as many axes as people, where variances cannot be told apart, they count as equal.
        """
        d = len(scatter)
        variance, axes = eigh(scatter / n, driver="evd")
        variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
        told = n // 10 if d > n / 4 else d
        if told < d:
            variance = np.concatenate([variance[:told], np.full(d - told, variance[told:].mean())])
        return cls(axes, np.maximum(variance, 1e-9 * variance[0] + 1e-30))

    def whitened(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (m, D) in standard deviations along the axes."""
        return values @ self.axes / np.sqrt(self.variance)

    def back(self, whitened: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of :meth:`whitened`."""
        return (whitened * np.sqrt(self.variance)) @ self.axes.T


@dataclass(frozen=True)
class MapPrior:
    """A prior over effect maps in whitened coordinates: its axes and how much of a map lies along each.

    Parameters
    ----------
    axes : (D, D) orthonormal columns.
    share : (D,) prior variance along them, mean 1.
    """

    axes: NDArray[np.float64]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, kind: MapKind, noise: Noise) -> MapPrior:
        """The prior of a kind of maps, where people differ by this noise."""
        total = kind.own * np.diag(_mean_one(noise.variance**kind.power))
        if kind.covariance is not None:
            total += (1 - kind.own) * noise.axes.T @ kind.covariance @ noise.axes
        unit = np.sqrt(noise.variance)
        share, axes = eigh(total / unit[:, None] / unit, driver="evd")
        return cls(axes, _mean_one(np.maximum(share, 0)))

    def posterior(self, estimate: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Posterior means of maps, averaged over the strengths that a map may have in proportion to their evidence.

        Parameters
        ----------
        estimate : (L, D) least-squares maps in whitened coordinates, each with noise of variance 1 / n.
        n : number of people that they were estimated from.
        """
        along = estimate @ self.axes
        signal = STRENGTHS[:, None] * self.share
        variance = signal + 1
        evidence = -0.5 * (n * (1 / variance) @ (along**2).T + np.log(variance).sum(1)[:, None])
        weight = np.exp(evidence - evidence.max(0))
        kept = (weight / weight.sum(0)).T @ (signal / variance)
        return (along * kept) @ self.axes.T


def combinations(gram: NDArray[np.float64], n: int, noise: Noise) -> NDArray[np.float64]:
    """The combinations of phenotypes that move connectomes most.

    Parameters
    ----------
    gram : (D, D) sums of products of whitened predictions for people.
    n : number of people.
    noise : by which they are whitened.

    Returns
    -------
    turned : (D, L) from predictions, not whitened, to uncorrelated scores of unit variance.
    """
    d = len(gram)
    energy, axes = eigh(gram, subset_by_index=(max(d - MAPS, 0), d - 1))
    # A combination that is predicted to move people by less than the noise of their mean, 1 / n of variance, cannot be told from none.
    used = np.flatnonzero(energy > 1)[::-1]
    return noise.axes @ (axes[:, used] * np.sqrt(n / energy[used]) / np.sqrt(noise.variance)[:, None])


def systems_of(atlas: Atlas) -> NDArray[np.intp] | None:
    """Number of each region's system (R,), -1 where it has none; None for an atlas of fewer than two systems."""
    names = sorted({name for name in atlas.network if name and name != "n/a"}) if atlas.network is not None else []
    return np.array([names.index(name) if name in names else -1 for name in atlas.network]) if len(names) > 1 else None


def step_of(backbone: NDArray[np.float32]) -> NDArray[np.float32]:
    """One step of messages over the positive part of the group's connectome, (R, R)."""
    return backbone_neighbours(np.maximum(backbone, 0))

"""What a person's patterns leave to chance: noise of every edge that has the structure of connectomes.

Noise that is independent from edge to edge is what gives generated connectomes away first. Two structures of real noise take its place:
a correlation matrix is computed from a time series of limited length, and where regions end differs between people.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.edges import FISHER_CLIP, edge_indices, n_regions_of, to_matrices
from connectome_gnn.slices import slices

__all__ = ["RegionNoise", "RemainderNoise", "SeriesNoise"]

PROFILES = 10
CALIBRATION = 384
AT_ONCE = 16
RIDGE = 0.1


class RemainderNoise(Protocol):
    """Adds to people's patterns what is missing to unit variance of every edge."""

    def around(self, patterns: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """People (n, E) of unit variance an edge around their patterns (n, E)."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be stored, by name."""
        ...


@dataclass(frozen=True)
class RegionNoise:
    """Noise of each edge's own, and noise that scales a region's whole profile along the group's leading patterns.

    ``N_ij = sqrt(own) e_ij + sqrt(1 - own) sum_r (g_ir p_rj + g_jr p_ri) / s_ij`` with e and g standard normal: every region has its own
    deviations g along the patterns p, the group's strongest modes, as where borders of regions differ between people; s makes every
    edge's variance 1. ``own = 1`` is independent edge noise.

    Parameters
    ----------
    amplitude : (E,) standard deviation of the noise on each edge.
    profiles : (Q, R) patterns over regions, times their strength.
    own : share of each edge's own noise, in [0, 1].
    """

    amplitude: NDArray[np.float32]
    profiles: NDArray[np.float32]
    own: float

    @classmethod
    def of(cls, amplitude: NDArray[np.float32], group: NDArray[np.floating], own: float) -> RegionNoise:
        """Noise along the leading modes of the group's mean connectome (R, R) on the modelling scale."""
        strength, modes = np.linalg.eigh(np.asarray(group, np.float64))
        order = np.argsort(-np.abs(strength))[:PROFILES]
        profiles = (modes[:, order] * np.abs(strength[order])).T
        size = np.sqrt((profiles**2).sum(0).mean())
        return cls(amplitude, (profiles / (size if size > 0 else 1)).astype(np.float32), float(own))

    def around(self, patterns: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """People (n, E) around their patterns (n, E), which are overwritten."""
        if not self.amplitude.any():
            return patterns
        noise = generator.standard_normal(patterns.shape, dtype=np.float32)
        if self.own < 1:
            rows, columns = edge_indices(self.profiles.shape[1])
            size = (self.profiles**2).sum(0)
            unit = np.sqrt((1 - self.own) / np.maximum(size[rows] + size[columns], 1e-12))
            noise *= np.float32(np.sqrt(self.own))
            for some in slices(len(patterns), AT_ONCE):
                own = generator.standard_normal((some.stop - some.start, self.profiles.shape[1], len(self.profiles)), dtype=np.float32)
                part = _both_sides(own @ self.profiles)
                part *= unit
                noise[some] += part
        noise *= self.amplitude
        patterns += noise
        return patterns

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be stored, by name."""
        return {"amplitude": self.amplitude, "profiles": self.profiles, "own": np.array(self.own)}


@dataclass(frozen=True)
class SeriesNoise:
    """The noise of a correlation matrix that comes from a time series: correlations of a simulated series of each person's own.

    With M the group's mean correlation matrix and D what a person's patterns change in it, a series of ``points`` independent time
    points is ``(M^(1/2) + M^(1/2) Q D Q / 2) G``, Q the inverse root of M + .1 and G standard normal: its covariance is M + D up to the
    second order in D and never has a negative eigenvalue. The correlations of that series are a possible correlation matrix, and vary
    around the person's as Wishart's distribution says: more where correlations are weak, together where edges share regions, skewed in
    triangles.

    Parameters
    ----------
    points : effective number of time points.
    centre, unit : (E,) mean and standard deviation of edges over people, Fisher z.
    shift, scale : (E,) mean and standard deviation over people of what the series gives, in units of ``unit``; taken out again.
    """

    points: int
    centre: NDArray[np.float32]
    unit: NDArray[np.float32]
    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        points: int,
        centre: NDArray[np.float32],
        unit: NDArray[np.float32],
        patterns: NDArray[np.float32],
        generator: np.random.Generator,
    ) -> SeriesNoise:
        """Noise of so many time points; ``patterns`` (n, E) of some people show how far it spreads."""
        still = np.zeros(len(unit), np.float32)
        bare = cls(int(points), centre, np.where(unit > 0, unit, 1).astype(np.float32), still, np.ones_like(still))
        drawn = bare.around(patterns.copy(), generator)
        scale = np.where(unit > 0, np.maximum(drawn.std(0), 1e-6), np.inf)
        return cls(bare.points, centre, bare.unit, drawn.mean(0), scale.astype(np.float32))

    def around(self, patterns: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """People (n, E) around their patterns (n, E), which are overwritten."""
        n_regions = n_regions_of(patterns.shape[1])
        roots, both = self._roots
        mean = np.tanh(self.centre)
        for some in slices(len(patterns), AT_ONCE):
            changed = np.tanh(self.centre + self.unit * patterns[some])
            changed -= mean
            # Time points in rows: what is the same for everybody is one product over all people's time points.
            noise = generator.standard_normal((len(changed) * self.points, n_regions), dtype=np.float32) @ roots
            shape = (len(changed), self.points, n_regions)
            moved = np.ascontiguousarray(noise[:, n_regions:]).reshape(shape) @ _symmetric(changed, n_regions)
            series = noise[:, :n_regions] + moved.reshape(-1, n_regions) @ both
            series = series.reshape(shape)
            series /= np.maximum(np.sqrt(np.einsum("ntr,ntr->nr", series, series)), 1e-6)[:, None]
            drawn = _both_sides(series.transpose(0, 2, 1) @ series)
            drawn *= 0.5
            np.clip(drawn, -FISHER_CLIP, FISHER_CLIP, out=drawn)
            values = np.log((1 + drawn) / (1 - drawn))  # twice the Fisher transform, faster than arctanh
            values *= 0.5
            values -= self.centre
            values /= self.unit
            patterns[some] = values
        patterns -= self.shift
        patterns /= self.scale
        return patterns

    @cached_property
    def _roots(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Root of the group's correlation matrix beside the inverse root, (R, 2 R), and half the product of both, (R, R)."""
        matrix = to_matrices(np.tanh(self.centre.astype(np.float64)))
        np.fill_diagonal(matrix, 1)
        values, vectors = np.linalg.eigh(matrix)
        values = np.maximum(values, 1e-3)
        root, inverse = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values + RIDGE)) @ vectors.T
        return np.concatenate([root, inverse], 1).astype(np.float32), (inverse @ root / 2).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be stored, by name."""
        numbers = {name: getattr(self, name) for name in ("centre", "unit", "shift", "scale")}
        return {"points": np.array(self.points), **numbers}


@njit(cache=True, nogil=True)
def _symmetric(edges: NDArray[np.float32], n_regions: int) -> NDArray[np.float32]:
    """Symmetric matrices (n, R, R) of edges (n, E), 0 on the diagonal."""
    matrices = np.zeros((len(edges), n_regions, n_regions), np.float32)
    for person in range(len(edges)):
        edge = 0
        for i in range(n_regions):
            for j in range(i + 1, n_regions):
                matrices[person, i, j] = edges[person, edge]
                matrices[person, j, i] = edges[person, edge]
                edge += 1
    return matrices


@njit(cache=True, nogil=True)
def _both_sides(matrices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Edges (n, E) of matrices (n, R, R): the entry above the diagonal plus the one below it."""
    n, n_regions = matrices.shape[:2]
    edges = np.empty((n, n_regions * (n_regions - 1) // 2), np.float32)
    for person in range(n):
        edge = 0
        for i in range(n_regions):
            for j in range(i + 1, n_regions):
                edges[person, edge] = matrices[person, i, j] + matrices[person, j, i]
                edge += 1
    return edges

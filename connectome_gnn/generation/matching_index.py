"""Generative wiring model: a person's network grown by distance and matching index, with exponents told by phenotypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cholesky

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.linear import RidgeSystem
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.generation.wiring_growth import Wiring, energies, grow
from connectome_gnn.splits import Folds

__all__ = ["MatchingIndex"]

DENSE = 0.9
"""Mean density from which on a network is no wiring diagram, and is cut to its strongest edges."""

DENSITY = 0.2
"""Share of edges that is left then."""

FITTED_PEOPLE = 200
LEVELS = 4
ETA, GAMMA = (-10.0, 2.0), (-1.0, 2.5)
COARSE, FINE = (14, 11), (12, 12)
NETWORKS = (1, 3)
BEST = 8
FOLDS = 5
DRAWS = 50
DIGITS = 2
SEEDS = 2**63 - 1


class MatchingIndex(ConnectomeModel):
    """Networks grown edge by edge, with a chance proportional to ``distance**eta * matching index**gamma`` (Betzel et al. 2016).

    Each of up to 200 training people gets the exponents whose networks are most like the person's: the mean of the eight best points of a
    grid, by the largest of four Kolmogorov-Smirnov distances (degree, clustering, betweenness, length of edges; Akarca et al. 2021). The
    grid is searched twice, coarsely with one network a point and where people lie with three, whose energies are averaged; a network is
    grown once, read at a few numbers of edges, and serves everybody. Exponents and the number of edges are regressed on encoded phenotypes
    (ridge, generalised cross-validation) where that gains anything on people left out, and are the training mean otherwise; new people
    vary around them as training people do.

    The model is binary. An edge that a new person has gets the mean modelling-scale weight of the training people who have it. Networks
    with more than nine tenths of all edges, and signed ones, are cut to the strongest fifth of each person's edges first; the others are
    then absent from generated people. ``expected`` is the mean of 50 seeded draws. ``log_prob`` is not defined.

    Parameters
    ----------
    seed : seed of everything random in fitting, and of the draws behind ``expected``.
    n_components : most edge components of the scale on which deviations are counted.

    Attributes
    ----------
    fits : a row for each person whose exponents were fitted: ``eta``, ``gamma``, ``edges`` and ``energy`` (0 to 1, lower is better).
    gained : cross-validated R2 of the regressions of eta, gamma and the number of edges on phenotypes; 0 where the mean is better.

    References
    ----------
    Vertes et al. 2012, PNAS 109:5868; Betzel et al. 2016, NeuroImage 124:1054; Akarca et al. 2021, Nat. Commun. 12:4237.
    """

    label = "matching-index wiring"

    fits: pd.DataFrame
    gained: dict[str, float]

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        cohort = data.cohort
        if not cohort.atlas.has_coordinates:
            raise ConnectomeError(
                f"a wiring model needs to know where regions are, and the atlas of cohort {cohort.name!r} lacks coordinates; "
                "give x, y and z of every region in its atlas.tsv"
            )
        self.distances = cohort.atlas.distances()
        self.cut = cohort.signed or _mean_density(cohort) > DENSE
        counts, self.present_weight = self._people(cohort)
        draw = np.random.default_rng(self.seed)
        some = np.sort(draw.permutation(cohort.n_people)[:FITTED_PEOPLE])
        self.fits = _fitted_exponents(
            self._edges(cohort, some), counts[some], self.distances, cohort.atlas.edge_distances(), draw, advance
        ).set_index(cohort.ids[some])
        exponents = self.fits[["eta", "gamma"]].to_numpy()
        linear = data.values[:, : len(self.schema.columns)]
        folds = data.folds(FOLDS, self.seed)
        place = np.full(cohort.n_people, -1)
        place[some] = np.arange(len(some))
        inner = [(place[rows][place[rows] >= 0], place[held][place[held] >= 0]) for rows, held in folds]
        self.regressions = [
            *(_Regression.fit(linear[some], target, inner) for target in exponents.T),
            _Regression.fit(linear, counts.astype(np.float64), folds),
        ]
        self.gained = dict(zip(("eta", "gamma", "edges"), (r.gained for r in self.regressions), strict=True))
        left = np.column_stack([*exponents.T, counts[some]]) - self._told(linear[some])
        spread = left.T @ left / len(left)
        self.root = cholesky(spread + np.diag(1e-9 * np.diag(spread) + 1e-12))
        return data.scores - data.scores.mean(0)

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        """People differ around the mean by their exponents, their number of edges and the draw: nothing more to learn."""

    def _edges(self, cohort: Cohort, rows: slice | NDArray[np.intp]) -> NDArray[np.bool_]:
        """(n, E) which edges people have, the strongest ones only where networks are cut."""
        weights = cohort.read(rows)
        if not self.cut:
            return weights != 0
        n_kept = max(round(DENSITY * cohort.n_edges), 1)
        strongest = np.argsort(-weights, axis=1, kind="stable")[:, :n_kept]
        edges = np.zeros(weights.shape, bool)
        np.put_along_axis(edges, strongest, True, 1)
        return edges & (weights > 0)

    def _people(self, cohort: Cohort) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Everybody's number of edges (n,), and each edge's mean modelling-scale weight among those who have it (E,)."""
        counts = np.zeros(cohort.n_people, np.int64)
        total, times = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
        for rows, values in cohort.modelled():
            edges = self._edges(cohort, rows)
            counts[rows] = edges.sum(1)
            total += np.where(edges, values, 0).sum(0)
            times += edges.sum(0)
        anywhere = total.sum() / max(times.sum(), 1)  # for an edge that no training person has
        return counts, np.divide(total, times, out=np.full(cohort.n_edges, anywhere), where=times > 0).astype(np.float32)

    def _told(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """Eta, gamma and number of edges, (n, 3), that encoded phenotypes (n, F) tell."""
        return np.column_stack([regression.predicted(linear) for regression in self.regressions])

    def _of(self, table: pd.DataFrame) -> NDArray[np.float64]:
        return self._told(self.features.of(table)[:, : len(self.schema.columns)])

    def _grown(self, wanted: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
        """Places of the edges of one network with these exponents and number of edges (3,), in the order in which they were added."""
        eta, gamma = np.clip(wanted[0], *ETA), np.clip(wanted[1], *GAMMA)
        n_edges = int(np.clip(np.rint(wanted[2]), 1, len(self.present_weight)))
        return grow(self.distances, float(eta), float(gamma), n_edges, seed)[0]

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        wanted = self._of(profiles)
        wanted += generator.standard_normal(wanted.shape) @ self.root
        values = np.zeros((len(wanted), len(self.present_weight)), np.float32)
        for row, seed in enumerate(generator.integers(SEEDS, size=len(wanted))):
            added = self._grown(wanted[row], int(seed))
            values[row, added] = self.present_weight[added]
        return values

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        told = self._of(table)
        # The first edges of a network are a network of fewer edges: profiles that differ only in their number share the draws.
        exponents, place = np.unique(np.round(told[:, :2], DIGITS), axis=0, return_inverse=True)
        draw = np.random.default_rng(self.seed)
        noise, seeds = draw.standard_normal((DRAWS, 3)) @ self.root, draw.integers(SEEDS, size=DRAWS)
        presence = np.zeros((len(told), len(self.present_weight)), np.float32)
        for which, pair in enumerate(exponents):
            people = np.flatnonzero(place == which)
            for away, seed in zip(noise, seeds, strict=True):
                counts = np.clip(np.rint(told[people, 2] + away[2]), 1, len(self.present_weight)).astype(np.intp)
                added = self._grown(np.array([*(pair + away[:2]), counts.max()]), int(seed))
                rank = np.full(len(self.present_weight), len(self.present_weight))
                rank[added] = np.arange(len(added))
                presence[people] += rank < counts[:, None]
        kept = self.space.kept
        deviation: NDArray[np.float32] = presence[:, kept] / np.float32(DRAWS) * self.present_weight[kept]
        deviation -= self.space.mean[kept]
        deviation /= self.space.std[kept]
        return deviation

    def _log_density(self, profiles: pd.DataFrame, values: NDArray[np.float32]) -> NDArray[np.float64]:
        raise ConnectomeError(
            "a wiring model has no density: the chance of a network sums over all orders in which its edges may have been added; "
            "ask another model for log_prob"
        )


@dataclass(frozen=True)
class _Regression:
    """Ridge regression of one number a person on encoded phenotypes, or its mean.

    Attributes
    ----------
    centre, slopes : (F,) mean of the phenotypes, and their effects.
    mean : of the number.
    gained : cross-validated R2, 0 where the mean is no worse.
    """

    centre: NDArray[np.float64]
    slopes: NDArray[np.float64]
    mean: float
    gained: float

    @classmethod
    def fit(cls, profiles: NDArray[np.float64], target: NDArray[np.float64], folds: Folds) -> _Regression:
        error = total = 0.0
        for rows, held in folds:
            if len(rows) and len(held):
                some = cls._of(profiles[rows], target[rows])
                error += float(((target[held] - some.predicted(profiles[held])) ** 2).sum())
                total += float(((target[held] - some.mean) ** 2).sum())
        gained = max(1 - error / total, 0.0) if total > 0 else 0.0
        everybody = cls._of(profiles, target)
        return cls(everybody.centre, everybody.slopes * (gained > 0), everybody.mean, gained)

    @classmethod
    def _of(cls, profiles: NDArray[np.float64], target: NDArray[np.float64]) -> _Regression:
        centre, mean = profiles.mean(0), float(target.mean())
        unit = max(float(target.std()), 1e-12)
        system = RidgeSystem.of(profiles - centre, (target - mean)[:, None] / unit)
        return cls(centre, system.solve(np.ones(profiles.shape[1]))[0][:, 0] * unit, mean, 0.0)

    def predicted(self, profiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) of phenotypes (n, F)."""
        return self.mean + (profiles - self.centre) @ self.slopes


def _mean_density(cohort: Cohort) -> float:
    return float(sum((weights != 0).sum() for _, weights in cohort.batches()) / (cohort.n_people * cohort.n_edges))


def _best(energy: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n, 8) points of the lowest energy (n, points): single networks are lucky, several of them less so."""
    return np.argsort(energy, axis=1, kind="stable")[:, :BEST]


def _around(found: NDArray[np.float64], axis: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(n,) points from a step of the axis below where people were found to one above, within its ends."""
    low, high = np.quantile(found, (0.05, 0.95))
    step = axis[1] - axis[0]
    return np.linspace(max(low - step, axis[0]), min(high + step, axis[-1]), n)


def _fitted_exponents(
    edges: NDArray[np.bool_],
    counts: NDArray[np.int64],
    distances: NDArray[np.float64],
    lengths: NDArray[np.float64],
    draw: np.random.Generator,
    advance: Any,
) -> pd.DataFrame:
    """Eta, gamma, number of edges and energy of people with these edges (n, E), in their order."""
    levels = np.unique(np.rint(np.quantile(counts, (np.arange(LEVELS) + 0.5) / LEVELS)).astype(np.int64))
    nearest = np.abs(counts[:, None] - levels).argmin(1)
    people = Wiring(edges)
    axes = [np.linspace(*limits, n) for limits, n in zip((ETA, GAMMA), COARSE, strict=True)]
    points, energy = np.zeros((0, 2)), np.zeros((0, 0))
    for size, n_networks in zip((COARSE, FINE), NETWORKS, strict=True):
        if len(points):
            found = points[_best(energy)].mean(1)
            axes = [_around(found[:, place], axis, n) for place, (axis, n) in enumerate(zip(axes, size, strict=True))]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        energy = np.zeros((len(edges), len(points)))
        for _ in range(n_networks):
            grown = np.zeros((len(levels), len(points), edges.shape[1]), bool)
            for place, (eta, gamma) in enumerate(points):
                added = grow(distances, eta, gamma, int(levels[-1]), int(draw.integers(SEEDS)))[0]
                for level, count in enumerate(levels):
                    grown[level, place, added[:count]] = True
            wirings = [Wiring(networks) for networks in grown]
            energy += [energies(people, person, wirings[nearest[person]], lengths) / n_networks for person in range(len(edges))]
            advance()
    best = _best(energy)
    eta, gamma = points[best].mean(1).T
    return pd.DataFrame({"eta": eta, "gamma": gamma, "edges": counts, "energy": np.take_along_axis(energy, best, 1).mean(1)})

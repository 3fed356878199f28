"""Maps over single edges, computed when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from connectome_gnn.attribution.coalitions import Game
from connectome_gnn.attribution.explained import GlobalStrength, StrengthShares
from connectome_gnn.attribution.profiles import MISSING, Missing
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import listed
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.slices import slices

__all__ = ["EdgeMaps"]

PEOPLE_AT_ONCE = 256
Z = float(norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class EdgeMaps:
    """What a phenotype or a group explains of every edge: its contribution, full less without, R x R.

    ``edges["age"]`` is a DataFrame (R, R) indexed by region labels; :meth:`table` has intervals. Nothing is computed before it is asked
    for: one map takes as long as predicting everybody's edges twice, and the memory of a few edge vectors.
    """

    cohort: Cohort
    space: EdgeSpace
    games: tuple[Game, ...]
    units: NDArray[np.intp]

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.map(name)

    def map(self, name: str, missing: Missing = "reference", global_strength: GlobalStrength = "keep") -> pd.DataFrame:
        """The map (R, R) of a group's or a phenotype's contribution, share of each edge's variance; 0 where an edge is not modelled.

        Raises
        ------
        ConnectomeError
            If the model knows no such group or phenotype, or it was attributed with another ``missing``.
        """
        labels = pd.Index(self.cohort.atlas.labels, name="region")
        values = np.zeros(self.cohort.n_edges)
        values[self.space.kept] = self._moments(name, missing, global_strength)[0]
        return pd.DataFrame(to_matrices(values), index=labels, columns=labels.rename(None))

    def table(self, name: str, missing: Missing = "reference", global_strength: GlobalStrength = "keep") -> pd.DataFrame:
        """One row a modelled edge: region, other_region, value, low, high (normal interval over people)."""
        value, error = self._moments(name, missing, global_strength)
        rows, columns = np.triu_indices(self.cohort.n_regions, 1)
        labels = np.asarray(self.cohort.atlas.labels, object)
        kept = self.space.kept
        return pd.DataFrame(
            {
                "region": labels[rows[kept]],
                "other_region": labels[columns[kept]],
                "value": value,
                "low": value - Z * error,
                "high": value + Z * error,
            }
        )

    def _moments(self, name: str, missing: str, strength: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Contribution of every modelled edge and its standard error over units of people, (kept edges,) each."""
        game, player = self._found(name, missing)
        full, without = game.full(), game.without(player)
        basis = game.predictor.basis
        shares = None if strength == "keep" else StrengthShares.of(self.cohort, self.space)
        if shares is not None:
            basis = shares.without(basis)
        order = np.argsort(self.units, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(self.units[order]) != 0))
        bounds = np.append(starts, len(order))
        sums = np.zeros((5, basis.shape[1]))
        mean, std = self.space.mean[self.space.kept], self.space.std[self.space.kept]
        for some in slices(len(starts), PEOPLE_AT_ONCE):
            rows = order[bounds[some.start] : bounds[some.stop]]
            x = self.cohort.scale.forward(self.cohort.read(rows))[:, self.space.kept]
            x = (x - mean) / std
            x = x if shares is None else shares.without(x)
            gain = (x - without[rows] @ basis) ** 2 - (x - full[rows] @ basis) ** 2
            inside = bounds[some] - bounds[some.start]
            gain, total = (np.add.reduceat(part.astype(np.float64), inside, axis=0) for part in (gain, x**2))
            sums += [gain.sum(0), total.sum(0), (gain**2).sum(0), (gain * total).sum(0), (total**2).sum(0)]
        value = sums[0] / sums[1]
        squares = np.maximum(sums[2] - 2 * value * sums[3] + value**2 * sums[4], 0)
        return value, np.sqrt(squares) / sums[1]

    def _found(self, name: str, missing: str) -> tuple[Game, int]:
        for game in self.games:
            if name in game.players and game.missing == missing:
                return game, list(game.players).index(name)
        known = list(dict.fromkeys(player for game in self.games for player in game.players))
        if name not in known:
            raise ConnectomeError(f"the model knows no phenotype or group {name!r}; it knows {listed(known, 20)}")
        if missing not in MISSING:
            raise ConnectomeError(f"missing is one of {listed(MISSING)}, got {missing!r}")
        raise ConnectomeError(f"edges of {name!r} were not attributed with missing={missing!r}; ask attribute() for it")

"""Maps of single phenotypes over regions, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from connectome_gnn.attribution.explained import STRENGTHS, GlobalStrength, Observed
from connectome_gnn.attribution.importance import Parts
from connectome_gnn.attribution.permuted import PermutationTest, centred, leading
from connectome_gnn.attribution.scene import Scene
from connectome_gnn.attribution.shrinkage import of_regions
from connectome_gnn.attribution.tables import Rows
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.progress import progress

__all__ = ["PhenotypeMaps"]

ENERGY = 1e-6
"""Share of what a phenotype moves that its leading directions may leave out."""


@dataclass(frozen=True, eq=False)
class PhenotypeMaps:
    """What every phenotype explains of every region (its contribution), and what it moves there (sensitivity).

    Unknown phenotypes are missing (``reference``). Nothing is computed before it is asked for: then every phenotype that was to be
    reported is gone through, one after the other, in the memory of one of them beside the people's.
    """

    scene: Scene
    _tables: dict[GlobalStrength, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The phenotypes that have maps."""
        return self.scene.plan.phenotypes

    def table(self, global_strength: GlobalStrength = "keep") -> pd.DataFrame:
        """A row a phenotype (column ``of``), method and region, with the columns of ``Attribution.regions``; q is over regions.

        Raises
        ------
        ConnectomeError
            If ``global_strength`` is neither ``keep`` nor ``remove``.
        """
        if global_strength not in STRENGTHS:
            raise ConnectomeError(f"global_strength is one of {listed(STRENGTHS)}, got {global_strength!r}")
        if global_strength not in self._tables:
            scene, rows = self.scene, Rows()
            with threadpool_limits(scene.plan.n_jobs, user_api="blas"), progress("Maps of phenotypes", total=len(self.names)) as advance:
                seen = scene.seen(global_strength)
                for part, method, p in self._parts(seen):
                    name = list(scene.phenotypes)[part.player]
                    keys = {"of": name, "method": method, "missing": "reference", "global_strength": global_strength}
                    found = of_regions(scene.bootstrap, part.regions, seen)
                    rows.add_all({**scene.places, **keys}, found.value, p, found.raw)
                    if method == "sensitivity":
                        advance()
            scene.observed.clear()  # of the size of the cohort
            scene.game(scene.phenotypes, "reference").forget()
            self._tables[global_strength] = rows.table("regions", ["of", "method"])
        return self._tables[global_strength]

    def _parts(self, seen: Observed) -> Iterator[tuple[Parts, str, NDArray[np.float64]]]:
        """Contribution and sensitivity of each phenotype, with p of the regions."""
        scene = self.scene
        game, tested = scene.game(scene.phenotypes, "reference"), scene.tested(scene.phenotypes)
        full, test = game.full(), PermutationTest(seen, tested.full(), scene.orders)
        none = np.zeros((len(seen.region_gram), 0))
        for name in self.names:
            player = list(game.players).index(name)
            everybody_else = game.everybody - {player}
            effect = full - game.coordinates(everybody_else)
            p = test.p(tested.coordinates(everybody_else), scene.others(tested, player), none)[1:]
            yield Parts(player, np.empty(0), regions=explained_there(seen, full, effect)), "contribution", p
            yield Parts(player, np.empty(0), regions=moved_there(seen, effect)), "sensitivity", np.full(len(p), np.nan)


def explained_there(seen: Observed, full: NDArray[np.float32], effect: NDArray[np.float32]) -> NDArray[np.float32]:
    """What an effect (N, L) explains of each region's edges as the last to come, measured and implied, (N, R, 2).

    With ``e`` the effect, ``f`` the whole prediction and ``x`` the person, ``|x - f + e|^2 - |x - f|^2 = 2 (x - f).e + e.e``.
    """
    out = np.zeros((*seen.region_total.shape, 2), np.float32)
    if effect.any():
        turn, score = leading(effect.astype(np.float64), ENERGY)
        along = seen.region_along @ turn.astype(np.float32)
        for region, gram in enumerate(seen.region_gram):
            left = along[:, region] - full @ (gram @ turn).astype(np.float32)
            own = _squares(score, turn, gram)
            out[:, region] = np.stack([2 * np.einsum("nq,nq->n", left, score) + own, own], 1)
    return out


def moved_there(seen: Observed, effect: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squares by which an effect (N, L) moves each region's edges, around its mean, (N, R, 1)."""
    out = np.zeros((*seen.region_total.shape, 1), np.float32)
    if effect.any():
        turn, score = leading(centred(effect), ENERGY)
        for region, gram in enumerate(seen.region_gram):
            out[:, region, 0] = _squares(score, turn, gram)
    return out


def _squares(score: NDArray[np.float32], turn: NDArray[np.float64], gram: NDArray[np.float64]) -> NDArray[np.float32]:
    """Squares (N,) of effects with scores (N, q) on directions (L, q)."""
    return np.einsum("nq,nq->n", score @ (turn.T @ gram @ turn).astype(np.float32), score)

"""Is what a phenotype adds tied to people's connectomes, beyond what the other phenotypes tell? Nulls by permutation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.attribution.explained import Observed
from connectome_gnn.evaluation.statistics import permutation_p

__all__ = ["PermutationTest", "centred", "leading", "unique_part"]

ENERGY = 1e-3
"""Share of a unique effect's energy that the test may leave out, for fewer coordinates."""

PREDICTED = 0.02
"""The same of what is predicted without the player: its leading directions count among what the other players tell."""

ORDERS_AT_ONCE = 32
NOTHING = 1e-10
"""Share of an effect's energy below which nothing of it is unique."""


def unique_part(effect: NDArray[np.float32], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the other phenotypes do not tell of an effect, (N, L): residuals of its regression on them.

    Parameters
    ----------
    effect : (N, L) what a player moves in each person's prediction.
    others : (N, Q) the other players' encoded columns. With fewer people than half as many again, a ridge of strength Q.
    """
    left = centred(effect)
    n, q = others.shape
    design = others - others.mean(0)
    design = design[:, design.any(0)]
    if design.shape[1] == 0:
        return left
    gram = design.T @ design
    if n < 1.5 * q:
        return left - design @ np.linalg.solve(gram + q * np.eye(len(gram)), design.T @ left)
    values, vectors = eigh(gram)
    used = values > 1e-8 * values[-1]
    turned = design @ vectors[:, used]
    return left - turned @ ((turned.T @ left) / values[used, None])


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Permutations of what the whole model leaves of people, held against the unique part of what a player adds.

    The null: given the other players, connectomes do not depend on this one. The statistic is ``sum_n r_n . e_n``: r_n what the
    prediction without the player leaves of person n, e_n the player's effect on the prediction less its regression on the other
    players' columns and on what is predicted of them. Were only r freed of the others, or only e, an effect of theirs that the model got
    wrong would pass for the player's; with both, errors only matter as products (Shah & Peters 2020, Ann. Stat. 48:1514). Under the
    null, residuals change places between people; those of the whole model do so here (ter Braak 1992), one set for all players.

    Attributes
    ----------
    observed : the people.
    full : (N, L) coordinates with everything known.
    orders : (B, N) permutations of the people, those who belong together together.
    """

    observed: Observed
    full: NDArray[np.float32]
    orders: NDArray[np.int32]

    def p(
        self, without: NDArray[np.float32], others: NDArray[np.float64], members: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """One-sided p values: of everything, (1,), or of everything, each region and each network, (1 + R + K,).

        Parameters
        ----------
        without : (N, L) coordinates without the player, best averaged over it given the others.
        others : (N, Q) encoded columns of the other players.
        members : (R, K) which regions make up each network; None for everything alone.

        Returns
        -------
        p : 1 where nothing of the player's effect is unique; NaN without permutations.
        """
        n_targets = 1 if members is None else 1 + len(members) + members.shape[1]
        if len(self.orders) == 0:
            return np.full(n_targets, np.nan)
        effect = self.full - without
        told = leading(centred(without), PREDICTED)[1] if others.shape[1] else others
        unique = unique_part(effect, np.concatenate([others, told], 1))
        energy = float((unique**2).sum())
        if energy <= NOTHING * float((self.full.astype(np.float64) ** 2).sum()) or energy <= NOTHING * float((effect**2).sum()):
            return np.ones(n_targets)
        turn, score = leading(unique, ENERGY)
        left, gained = self._left(turn, score, effect, members)
        null = np.empty((len(self.orders), n_targets))
        flat = np.ascontiguousarray(left.transpose(1, 0, 2)).reshape(n_targets, -1).T
        for start in range(0, len(self.orders), ORDERS_AT_ONCE):
            some = self.orders[start : start + ORDERS_AT_ONCE]
            null[start : start + len(some)] = score[some].reshape(len(some), -1) @ flat
        statistic = np.einsum("ntl,nl->t", left, score, dtype=np.float64) + gained
        return permutation_p(statistic, null)

    def _left(
        self, turn: NDArray[np.float64], score: NDArray[np.float32], effect: NDArray[np.float32], members: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """What the whole model leaves along the leading directions, (N, T, q), and how much larger the statistic (T,) is without the
        player."""
        seen, full = self.observed, self.full
        tied = effect.T.astype(np.float64) @ score  # (L, q)

        def through(gram: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
            turned = gram @ turn
            return full @ turned.astype(np.float32), float((tied * turned).sum())

        predicted, gained = through(seen.gram)
        left: list[NDArray] = [(seen.along @ turn - predicted)[:, None]]
        more = [np.array([gained])]
        if members is not None:
            by_region = seen.region_along @ turn.astype(np.float32)
            in_regions = np.empty(len(seen.region_gram))
            for region, gram in enumerate(seen.region_gram):
                predicted, in_regions[region] = through(gram)
                by_region[:, region] -= predicted
            left += [by_region, np.einsum("nrq,rk->nkq", by_region, members.astype(np.float32), optimize=True)]
            more += [in_regions, in_regions @ members]
        return np.concatenate(left, 1, dtype=np.float32), np.concatenate(more)


def centred(values: NDArray) -> NDArray[np.float64]:
    """Columns less their mean."""
    out = values.astype(np.float64)
    out -= out.mean(0)
    return out


def leading(effects: NDArray[np.float64], energy: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Leading directions (L, q) of effects (N, L) that leave out a share ``energy``, and people's scores on them, (N, q) float32."""
    values, vectors = eigh(effects.T @ effects)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    left = 1 - np.cumsum(values) / max(values.sum(), 1e-300)
    turn = vectors[:, : int((left > energy).sum()) + 1]
    return turn, (effects @ turn).astype(np.float32)

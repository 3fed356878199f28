"""The methods of importance and sensitivity, over all players of a game: what each person adds to the value of each player."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import MOST_EXACT, TOGETHER_PAIRS, Game, sampled_pairs, sampled_shapley, sampled_together
from connectome_gnn.attribution.explained import GlobalStrength, Observed
from connectome_gnn.attribution.importance import Parts, contributions, exact_shapley, permutation_importances, sensitivities
from connectome_gnn.attribution.scene import Scene

__all__ = ["importances"]

EVALUATIONS = 2_000_000
"""Predictions of one person that sampling Shapley values takes, where it can be chosen."""

MOST_PAIRS = 4
ERROR_PEOPLE = 400

PERMUTED_PEOPLE = 10_000
"""Predictions of one person that permuting all players takes, where it can be chosen."""

FEWEST_PERMUTED, FEWEST_OF_MANY, MOST_PERMUTED = 3, 2, 20
"""Times that each player is permuted: at least, at least of more players than are gone through exactly, and at most."""


def importances(scene: Scene, game: Game, strength: GlobalStrength, *, regions: bool) -> Iterator[tuple[str, Iterator[Parts]]]:
    """The methods that go over all players of a game, by name; no Shapley values of many phenotypes given those that are known.

    They would take a regression on the known ones for every coalition that is met.
    """
    plan, seen = scene.plan, scene.seen(strength)
    if "contribution" in plan.methods:
        yield "contribution", contributions(game, seen, regions=regions)
    if "shapley" in plan.methods and (game.missing == "reference" or len(game) <= MOST_EXACT or game.players is scene.groups):
        yield "shapley", _shapley(scene, game, seen, regions=regions)
    if "permutation" in plan.methods:
        fewest = FEWEST_PERMUTED if len(game) <= MOST_EXACT else FEWEST_OF_MANY
        times = int(np.clip(PERMUTED_PEOPLE // (len(game) * len(game.profiles)), fewest, MOST_PERMUTED))
        yield "permutation", permutation_importances(game, seen, regions=regions, seed=[plan.seed, 1], n_permuted=times)
    if "sensitivity" in plan.methods:
        yield "sensitivity", sensitivities(game, seen, regions=regions)


def _shapley(scene: Scene, game: Game, seen: Observed, *, regions: bool) -> Iterator[Parts]:
    full = game.full()

    def gain(coordinates: NDArray[np.float32]) -> NDArray[np.float64]:
        """Measured and implied, of everything and of each region, (N, 1 + R, 2)."""
        everything = seen.gains(coordinates, full)[:, None]
        return np.concatenate([everything, seen.region_gains(coordinates, full)], 1) if regions else everything

    if len(game) <= MOST_EXACT:
        yield from exact_shapley(game, seen, regions=regions, advance=scene.advance)
        return
    if game.missing == "reference":
        n_pairs = _pairs_for(game)
        found = np.sum(list(sampled_pairs(game, gain, n_pairs, [scene.plan.seed, 2], scene.advance)), 0) / n_pairs
        error = _sampling_error(scene, game, seen, n_pairs)
    else:
        values, error = sampled_together(
            lambda coalition: gain(game.coordinates(coalition)),
            len(game),
            TOGETHER_PAIRS,
            [scene.plan.seed, 2],
            lambda step: float(step[:, 0, 0].sum()),
            scene.advance,
        )
        found = values.swapaxes(0, 1)
    for player in range(len(game)):
        of_player = found[:, player]
        measured, implied = of_player[:, 0].T
        yield Parts(player, measured, implied, of_player[:, 1:].astype(np.float32), float(error[player]))


def _pairs_for(game: Game) -> int:
    return int(np.clip(EVALUATIONS // (2 * len(game) * len(game.profiles)), 1, MOST_PAIRS))


def _sampling_error(scene: Scene, game: Game, seen: Observed, n_pairs: int) -> NDArray[np.float64]:
    """Standard error (G,) of the sums over these very people of sampled Shapley values, from some of them in two pairs of orders."""
    n = len(scene.profiles)
    rows = np.random.default_rng([scene.plan.seed, 3]).permutation(n)[:ERROR_PEOPLE]
    few = Game(scene.predictor, scene.profiles.take(rows), game.players, game.missing)
    found = sampled_shapley(few, seen.take(rows).gain, 2, [scene.plan.seed, 4])
    single = 2 * found.variance.mean(0)  # of one person's value from one pair of orders
    return np.sqrt(single * n / n_pairs)

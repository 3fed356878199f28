"""Importance and sensitivity of players in R2: each a sum over people of what is known of each, for everything and for every region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import Game, interaction_weights, shapley_weights
from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.profiles import Profiles
from connectome_gnn.phenotypes import Encoded

__all__ = ["Parts", "contributions", "exact_shapley", "interactions", "permutation_importances", "sensitivities"]

PERMUTED = 5
"""Times that a player is permuted."""

FEWEST_ALIKE = 10
"""People in a stratum."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What each person adds to a score's numerator.

    Attributes
    ----------
    player : number of the player.
    everything : (N,) over all edges.
    implied : (N,) what ``everything`` would be were people what the whole model says of them; for importance.
    regions : (N, R, 2) float32 both over each region's edges, what is implied for importance only, else (N, R, 1); R = 0 without regions.
    error : standard error of the sum of ``everything`` by sampling; NaN where nothing was sampled.
    """

    player: int
    everything: NDArray[np.float64]
    implied: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    regions: NDArray = field(default_factory=lambda: np.empty((0, 0, 2), np.float32))
    error: float = np.nan


def contributions(game: Game, seen: Observed, *, regions: bool) -> Iterator[Parts]:
    """Full less without: what is explained with everybody known, less what is explained without one player."""
    full = game.full()
    whole, parts = seen.gain(full), seen.region_gains(full, full) if regions else None
    for player in range(len(game)):
        without = game.without(player)
        lost, implied = whole - seen.gain(without), seen.squares(full - without)
        yield Parts(player, lost, implied) if parts is None else Parts(player, lost, implied, parts - seen.region_gains(without, full))


def exact_shapley(game: Game, seen: Observed, *, regions: bool, advance: Callable[..., None] = lambda *_: None) -> Iterator[Parts]:
    """Exact Shapley values: all 2^G coalitions, each predicted once."""
    n, n_players = len(game.profiles), len(game)
    everything, full = np.zeros((n_players, n, 2)), game.full()
    by_region = np.zeros((n_players, n, seen.region_along.shape[1] if regions else 0, 2), np.float32)
    for coalition in game.coalitions():
        coordinates = game.coordinates(coalition)
        weights = shapley_weights(n_players, coalition)
        everything += weights[:, None, None] * seen.gains(coordinates, full)
        if regions:
            gain = seen.region_gains(coordinates, full)
            for player, weight in enumerate(weights):
                by_region[player] += np.float32(weight) * gain
        advance()
    for player, numbers in enumerate(game.players.values()):
        if game.profiles.constant[list(numbers)].all():  # nothing changes with it but how sums are rounded
            everything[player], by_region[player] = 0, 0
        yield Parts(player, everything[player, :, 0], everything[player, :, 1], by_region[player])


def interactions(game: Game, seen: Observed) -> NDArray[np.float64]:
    """What pairs of players explain together beyond each alone, (N, G, G): Shapley interaction, person by person."""
    n_players = len(game)
    found = np.zeros((len(game.profiles), n_players, n_players))
    for coalition in game.coalitions():
        found += seen.gain(game.coordinates(coalition))[:, None, None] * interaction_weights(n_players, coalition)
    return found


def sensitivities(game: Game, seen: Observed, *, regions: bool) -> Iterator[Parts]:
    """Squares by which predictions move when a player goes missing, around their mean: a variance, whoever the real people are."""
    full = game.full()
    for player in range(len(game)):
        moved = full - game.without(player)
        moved = moved - moved.mean(0)
        by_region = seen.region_squares(moved) if regions else np.empty((len(full), 0), np.float32)
        yield Parts(player, seen.squares(moved), regions=by_region[..., None])


def permutation_importances(game: Game, seen: Observed, *, regions: bool, seed: list[int], n_permuted: int = PERMUTED) -> Iterator[Parts]:
    """By how much less is explained when a player's phenotypes, all of them together, are another person's.

    With ``missing="reference"`` any other person's; with ``"conditional"`` that of a person of the same stratum, people in whom the other
    phenotypes tell the same of this player's effect (Strobl et al. 2008, BMC Bioinformatics 9:307). A person counts as the one who is
    predicted, and as the one whose values are borrowed.
    """
    full = game.full()

    def gains(coordinates: NDArray[np.float32]) -> list[NDArray]:
        by_region = seen.region_gains(coordinates, full) if regions else np.empty((len(full), 0, 2), np.float32)
        return [seen.gains(coordinates, full), by_region]

    whole = gains(full)
    for player, numbers in enumerate(game.players.values()):
        generator = np.random.default_rng([*seed, player])
        strata = np.zeros(len(full), np.intp) if game.missing == "reference" else strata_of(game, player)
        lost = [np.zeros_like(part) for part in whole]
        for _ in range(n_permuted):
            order = permuted_within(strata, generator)
            found = gains(game.predictor.coordinates(swapped(game.profiles, numbers, order)))
            for total, before, after in zip(lost, whole, found, strict=True):
                total += _hosts_and_donors(before - after, order)
        measured, implied = (lost[0] / n_permuted).T
        yield Parts(player, measured, implied, lost[1] / np.float32(n_permuted))


def _hosts_and_donors(lost: NDArray, order: NDArray[np.intp]) -> NDArray:
    """Each person's part in a mean over pairs, as host and as donor; the sum stays what it is."""
    given = np.empty_like(lost)
    given[order] = lost
    return lost + given - lost.mean(0)


def swapped(profiles: Profiles, numbers: tuple[int, ...], order: NDArray[np.intp]) -> Encoded:
    """Encoded people with some phenotypes taken from others: person n gets those of person order[n]."""
    encoded = profiles.encoded
    numbers = tuple(number for number in numbers if not profiles.constant[number])
    columns = profiles.columns_of(numbers)
    values, missing = encoded.values.copy(), encoded.missing.copy()
    values[:, columns] = encoded.values[order][:, columns]
    missing[:, list(numbers)] = encoded.missing[order][:, list(numbers)]
    return Encoded(values, missing, encoded.columns, encoded.owner)


def strata_of(game: Game, player: int) -> NDArray[np.intp]:
    """Strata of at least ten people alike in what the other phenotypes tell of a player's effect on the prediction.

    The effect, the prediction less that with the player missing, is regressed on the others' encoded columns; its two leading components
    are cut into as many quantiles as people allow, the second within the first.
    """
    profiles = game.profiles
    known = game.mask(game.everybody - {player})
    missing = game.predictor.coordinates(profiles.known(known))
    effect = (game.full() - missing).astype(np.float64)
    others = profiles.encoded.values[:, known[profiles.encoded.owner]]
    others = others - others.mean(0)
    gram = others.T @ others + 0.01 * len(others) * np.eye(others.shape[1])
    told = others @ np.linalg.solve(gram, others.T @ (effect - effect.mean(0)))
    if (told**2).sum() <= 1e-8 * max((effect**2).sum(), 1e-300):
        return np.zeros(len(told), np.intp)
    left, strength, _ = np.linalg.svd(told, full_matrices=False)
    n = len(told)
    second = strength[1:2].sum() > 0.2 * strength[0] and n >= 4 * FEWEST_ALIKE
    cuts = max(n // FEWEST_ALIKE, 1)
    first_cuts = max(int(np.sqrt(cuts)), 1) if second else cuts
    strata = np.empty(n, np.intp)
    order = np.argsort(left[:, 0], kind="stable")
    number = 0
    for part in np.array_split(order, first_cuts):
        inner = part[np.argsort(left[part, 1], kind="stable")] if second else part
        for some in np.array_split(inner, max(len(part) // FEWEST_ALIKE, 1)):
            strata[some] = number
            number += 1
    return strata


def permuted_within(strata: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """A random order (N,) of people in which everybody stays within their stratum."""
    order = np.empty(len(strata), np.intp)
    places = np.argsort(strata, kind="stable")
    shuffled = np.lexsort((generator.random(len(strata)), strata))
    order[places] = shuffled
    return order

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


def permutation_importances(game: Game, seen: Observed, *, regions: bool, seed: list[int], n_permuted: int) -> Iterator[Parts]:
    """By how much less is explained when a player's phenotypes, all of them together, are another person's.

    With ``missing="reference"`` any other person's; with ``"conditional"`` that of a person of the same stratum, people in whom the other
    phenotypes tell the same of this player's effect (Strobl et al. 2008, BMC Bioinformatics 9:307). A person counts as the one who is
    predicted, and as the one whose values are borrowed.

    Permutations show a few of all pairs of people. Did values do the same in whomever they are, the loss over all pairs would be known:
    what the drawn ones differ from it by is taken off (a control variate), and what a person's values do to others is read off it. So
    the chance of the draw is smaller, and counted once; as a part of both people of a pair it would count twice.
    """
    full = game.full()

    def both(everything: Callable[..., NDArray], of_regions: Callable[..., NDArray], *given: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers of everything, and of each region, (N, 1 + R, ...)."""
        found = everything(*given)[:, None]
        return np.concatenate([found, of_regions(*given)], 1) if regions else found

    whole = both(seen.gains, seen.region_gains, full, full)
    for player, numbers in enumerate(game.players.values()):
        generator = np.random.default_rng([*seed, player])
        effect = effect_of(game, player)
        strata = np.zeros(len(full), np.intp) if game.missing == "reference" else strata_of(game, player, effect)
        own = centred_within(effect, strata)
        size = both(seen.squares, seen.region_squares, own)[..., None]
        lost, borrowed = np.zeros_like(whole), np.zeros_like(own)
        for _ in range(n_permuted):
            order = permuted_within(strata, generator)
            swap = game.predictor.coordinates(swapped(game.profiles, numbers, order))
            lost += whole - both(seen.gains, seen.region_gains, swap, full) - size[order]
            borrowed += own[order]
        lost += both(seen.slopes, seen.region_slopes, full - own, borrowed, full)
        lost = lost / n_permuted + size
        yield Parts(player, lost[:, 0, 0], lost[:, 0, 1], lost[:, 1:].astype(np.float32))


def effect_of(game: Game, player: int) -> NDArray[np.float32]:
    """What a player's values do to the prediction, (N, L): as it is, less that with the player missing."""
    if game.missing == "reference":
        return game.full() - game.without(player)
    known = game.mask(game.everybody - {player})
    return game.full() - game.predictor.coordinates(game.profiles.known(known))


def centred_within(values: NDArray[np.float32], strata: NDArray[np.intp]) -> NDArray[np.float32]:
    """Rows (N, L) less the mean of those of the same stratum."""
    sums = np.zeros((strata.max() + 1, values.shape[1]))
    np.add.at(sums, strata, values)
    return values - (sums / np.bincount(strata)[:, None]).astype(np.float32)[strata]


def swapped(profiles: Profiles, numbers: tuple[int, ...], order: NDArray[np.intp]) -> Encoded:
    """Encoded people with some phenotypes taken from others: person n gets those of person order[n]."""
    encoded = profiles.encoded
    numbers = tuple(number for number in numbers if not profiles.constant[number])
    columns = profiles.columns_of(numbers)
    values, missing = encoded.values.copy(), encoded.missing.copy()
    values[:, columns] = encoded.values[order][:, columns]
    missing[:, list(numbers)] = encoded.missing[order][:, list(numbers)]
    return Encoded(values, missing, encoded.columns, encoded.owner)


def strata_of(game: Game, player: int, effect: NDArray[np.float32]) -> NDArray[np.intp]:
    """Strata of at least ten people alike in what the other phenotypes tell of a player's effect (N, L) on the prediction.

    The effect is regressed on the others' encoded columns; its two leading components are cut into as many quantiles as people allow, the
    second within the first.
    """
    profiles = game.profiles
    known, effect = game.mask(game.everybody - {player}), effect.astype(np.float64)
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

"""Coalitions of phenotypes: what is predicted when only some are known, and how each one's part is told from the others'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Missing, Profiles

__all__ = [
    "MOST_EXACT",
    "TOGETHER_PAIRS",
    "Coalition",
    "Game",
    "Sampled",
    "all_coalitions",
    "interaction_weights",
    "sampled_pairs",
    "sampled_shapley",
    "sampled_together",
    "shapley_weights",
]

MOST_EXACT = 10
"""Players whose coalitions, 2^G, are all gone through; more are sampled."""

TOGETHER_PAIRS = 8
"""Pairs of orders where everybody has the same."""

Coalition = frozenset[int]


@dataclass(frozen=True, eq=False)
class Game:
    """Players, each one or several phenotypes, and the prediction of every person when only some of the players are known.

    Attributes
    ----------
    predictor, profiles : the model and the people.
    players : name of each player, and the numbers of its phenotypes.
    missing : whether unknown phenotypes are missing (``reference``), or averaged over given the known ones (``conditional``).
    """

    predictor: Predictor
    profiles: Profiles
    players: Mapping[str, tuple[int, ...]]
    missing: Missing
    _kept: dict[Coalition, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.players)

    @property
    def everybody(self) -> Coalition:
        """The coalition of all players."""
        return frozenset(range(len(self)))

    def mask(self, coalition: Coalition) -> NDArray[np.bool_]:
        """Which phenotypes (P,) a coalition knows; those of no player at all are known to every coalition."""
        members = list(self.players.values())
        unknown = [number for player in self.everybody - coalition for number in members[player]]
        known = np.ones(len(self.profiles.schema.phenotypes), bool)
        known[unknown] = False
        return known

    def coordinates(self, coalition: Coalition, keep: bool = False) -> NDArray[np.float32]:
        """Predicted coordinates (N, L) when only a coalition is known; ``keep`` remembers them."""
        if coalition in self._kept:
            return self._kept[coalition]
        known = self.mask(coalition)
        if self.missing == "reference" or known.all():
            found = self.predictor.coordinates(self.profiles.known(known))
        else:
            parts = [np.float32(weight) * self.predictor.coordinates(encoded) for weight, encoded in self.profiles.draws(known)]
            found = np.sum(parts, 0, dtype=np.float32)
        if keep:
            self._kept[coalition] = found
        return found

    def full(self) -> NDArray[np.float32]:
        """Coordinates with every player known."""
        return self.coordinates(self.everybody, keep=True)

    def without(self, player: int) -> NDArray[np.float32]:
        """Coordinates with every player known but one."""
        return self.coordinates(self.everybody - {player}, keep=True)

    def forget(self) -> None:
        """Let go of all predictions; they are made again when they are asked for."""
        self._kept.clear()

    def coalitions(self) -> Iterator[Coalition]:
        """All 2^G coalitions, small ones first."""
        return all_coalitions(len(self))


def all_coalitions(n: int) -> Iterator[Coalition]:
    """All 2^n coalitions of players numbered from 0, small ones first."""
    return (frozenset(members) for size in range(n + 1) for members in combinations(range(n), size))


def shapley_weights(n: int, coalition: Coalition) -> NDArray[np.float64]:
    """Weight (n,) of a coalition's value in each player's Shapley value (Shapley 1953).

    ``phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))``.
    """
    size = len(coalition)
    joined = factorial(size - 1) * factorial(n - size) / factorial(n) if size else 0.0
    apart = factorial(size) * factorial(n - size - 1) / factorial(n) if size < n else 0.0
    return np.array([joined if player in coalition else -apart for player in range(n)])


def interaction_weights(n: int, coalition: Coalition) -> NDArray[np.float64]:
    """Weight (n, n) of a coalition's value in each pair's Shapley interaction index (Grabisch & Roubens 1999); 0 on the diagonal.

    ``I_ij = sum over S without i, j of |S|! (n - |S| - 2)! / (n - 1)! (v(S + ij) - v(S + i) - v(S + j) + v(S))``.
    """
    weights = np.zeros((n, n))
    for first, second in combinations(range(n), 2):
        inside = (first in coalition) + (second in coalition)
        size = len(coalition) - inside
        weight = factorial(size) * factorial(n - size - 2) / factorial(n - 1)
        weights[first, second] = weights[second, first] = -weight if inside == 1 else weight
    return weights


@dataclass(frozen=True, eq=False)
class Sampled:
    """Shapley values by sampling.

    Attributes
    ----------
    gains : (N, G, ...) each player's part in each of a person's gains; summed over players they are full less null.
    variance : (N, G, ...) variance of that mean over the orders drawn; NaN where there was a single pair.
    """

    gains: NDArray[np.float64]
    variance: NDArray[np.float64]


Gain = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""What coordinates (N, L) explain of each person, (N, ...)."""


def sampled_pairs(
    game: Game, gain: Gain, n_pairs: int, seed: Sequence[int] | int, advance: Callable[..., None] = lambda *_: None
) -> Iterator[NDArray[np.float64]]:
    """Parts (N, G, ...) of players that join in random orders, each person in an order of their own, and in its reverse; pair by pair.

    An order and its reverse (Mitchell et al. 2022, J. Mach. Learn. Res. 23:43) take away what is odd in a player's place. That everybody
    has their own order averages over as many orders as there are people, at the price of one. Over players parts sum to full less null.

    Parameters
    ----------
    game : with unknown phenotypes missing.
    gain : of coordinates.
    n_pairs : pairs of orders a person.
    seed : of the orders.
    """
    n, n_players = len(game.profiles), len(game)
    member = np.zeros((n_players, len(game.profiles.schema.phenotypes)), bool)
    for player, numbers in enumerate(game.players.values()):
        member[player, list(numbers)] = True
    nothing, everything = gain(game.coordinates(frozenset())), gain(game.full())
    always = game.mask(frozenset())
    generator = np.random.default_rng(seed)
    people = np.arange(n)
    for _ in range(n_pairs):
        order = generator.random((n, n_players)).argsort(1)
        pair = np.zeros((n, n_players, *nothing.shape[1:]))
        for joining in (order, order[:, ::-1]):
            known = np.broadcast_to(always, (n, len(always))).copy()
            before = nothing
            for place in range(n_players):
                players = joining[:, place]
                known |= member[players]
                last = place == n_players - 1
                after = everything if last else gain(game.predictor.coordinates(game.profiles.known(known)))
                pair[people, players] += (after - before) / 2
                before = after
                advance()
        yield pair


def sampled_shapley(game: Game, gain: Gain, n_pairs: int, seed: Sequence[int] | int) -> Sampled:
    """Shapley values as means of :func:`sampled_pairs`, with their variance."""
    pairs = np.stack(list(sampled_pairs(game, gain, n_pairs, seed)))
    variance = pairs.var(0, ddof=1) / n_pairs if n_pairs > 1 else np.full(pairs.shape[1:], np.nan)
    return Sampled(pairs.mean(0), variance)


def sampled_together(
    value: Callable[[Coalition], NDArray],
    n_players: int,
    n_pairs: int,
    seed: Sequence[int] | int,
    counted: Callable[[NDArray], float],
    advance: Callable[..., None] = lambda *_: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapley values by players joining in random orders that are the same for everybody, and in their reverses.

    For values that take as long for one person as for everybody of whom the same is known.

    Parameters
    ----------
    value : of a coalition, (...).
    n_players : number of players G.
    n_pairs : pairs of orders, from 2 on.
    seed : of the orders.
    counted : the number, linear in values, whose error is wanted.

    Returns
    -------
    values : (G, ...) which sum to the value of everybody less that of nobody.
    error : (G,) standard error of the number of each, from how far pairs of orders differ.
    """
    nothing, everything = value(frozenset()), value(frozenset(range(n_players)))
    generator = np.random.default_rng(seed)
    total = np.zeros((n_players, *nothing.shape))
    numbers = np.zeros((n_pairs, n_players))
    for pair in numbers:
        order = generator.permutation(n_players)
        for joining in (order, order[::-1]):
            before = nothing
            for place, player in enumerate(joining):
                after = everything if place == n_players - 1 else value(frozenset(joining[: place + 1].tolist()))
                step = (after - before) / 2
                total[player] += step
                pair[player] += counted(step)
                before = after
                advance()
    return total / n_pairs, numbers.std(0, ddof=1) / np.sqrt(n_pairs)

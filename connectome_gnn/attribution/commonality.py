"""Commonality analysis: what a phenotype explains alone, what only it explains, and what others tell as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import Game
from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.intervals import Bootstrap
from connectome_gnn.attribution.profiles import Profiles
from connectome_gnn.attribution.tables import COLUMNS
from connectome_gnn.phenotypes import Encoded

__all__ = ["alone", "commonality"]

TOGETHER = 0.3
"""Correlation from which on phenotypes are said to go together."""

MOST_NAMED = 5
NODES = 15
"""Values of a phenotype at which the expectation given it alone is computed; in between it is interpolated."""

DRAWN = 256
"""Draws of all other phenotypes at each of them."""


def commonality(game: Game, seen: Observed, bootstrap: Bootstrap, wanted: Sequence[str]) -> pd.DataFrame:
    """Unique and shared parts of phenotypes (Nimon et al. 2008, Behav. Res. Methods 40:457), in R2.

    ``alone`` is R2 with one phenotype known less R2 with none; ``unique`` is R2 with all known less R2 with all others; ``shared`` is the
    rest of what it explains alone: others tell it as well. Where they hide what it explains, shared is negative (suppression).

    Parameters
    ----------
    game : of single phenotypes, unknown ones averaged over given the known ones.
    wanted : the phenotypes to report.
    """
    profiles, names = game.profiles, list(game.players)
    full = seen.gain(game.full())
    nothing = seen.gain(game.coordinates(frozenset()))
    places = [names.index(name) for name in wanted]
    above = np.empty((len(full), 3 * len(places)))
    for number, player in enumerate(places):
        constant = profiles.constant[list(game.players.values())[player][0]]
        own = np.zeros_like(nothing) if constant else seen.gain(alone(game, player)) - nothing
        unique = full - seen.gain(game.without(player))
        above[:, 3 * number : 3 * number + 3] = np.stack([own, unique, own - unique], 1)
    ratio = bootstrap.ratio(above, np.broadcast_to(seen.total[:, None], above.shape))
    together, copies = _together(profiles)
    rows = []
    for number, player in enumerate(places):
        row: dict[str, object] = {"phenotype": names[player], "group": profiles.schema.phenotypes[player].group}
        for part, at in zip(("alone", "unique", "shared"), range(3 * number, 3 * number + 3), strict=True):
            row |= {part: ratio.value[at], f"{part}_low": ratio.low[at], f"{part}_high": ratio.high[at]}
        near = [other for other in np.argsort(-together[player], kind="stable") if together[player, other] >= TOGETHER][:MOST_NAMED]
        row["goes_with"] = ", ".join(names[other] for other in near)
        row["copies"] = ", ".join(names[other] for other in sorted(copies[player]))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS["commonality"]).set_index("phenotype")


def alone(game: Game, player: int) -> NDArray[np.float32]:
    """Expected coordinates (N, L) of people of whom one phenotype is known.

    They are a function of one phenotype, computed at each of its values, or at some quantiles and interpolated, by draws of all others.
    """
    profiles = game.profiles
    number = list(game.players.values())[player][0]
    columns = profiles.columns_of((number,))
    values = profiles.encoded.values[:, columns]
    shown, person = np.unique(values, axis=0, return_inverse=True)
    person = person.ravel()
    interpolated = values.shape[1] == 1 and len(shown) > NODES
    if interpolated:
        shown = np.unique(np.quantile(values[:, 0], np.linspace(0, 1, NODES)))[:, None]
    known = np.zeros(len(profiles.schema.phenotypes), bool)
    known[number] = True
    encoded = profiles.encoded
    everybody = np.zeros((len(shown), encoded.values.shape[1]))
    everybody[:, columns] = shown
    there = Profiles(
        profiles.schema,
        Encoded(np.repeat(everybody, DRAWN, 0), np.zeros((len(shown) * DRAWN, len(known)), bool), encoded.columns, encoded.owner),
        profiles.seed,
        profiles.copies,
    )
    parts = [weight * game.predictor.coordinates(drawn) for weight, drawn in there.draws(known, 2)]
    at = np.sum(parts, 0).reshape(len(shown), DRAWN, -1).mean(1)
    if not interpolated:
        return at[person].astype(np.float32)
    return np.stack([np.interp(values[:, 0], shown[:, 0], column) for column in at.T], 1).astype(np.float32)


def _together(profiles: Profiles) -> tuple[NDArray[np.float64], list[set[int]]]:
    """Largest correlation (P, P) between columns of two phenotypes, 0 on the diagonal, and the copies of each phenotype."""
    owner, n = profiles.encoded.owner, len(profiles.schema.phenotypes)
    centred = profiles.encoded.values - profiles.encoded.values.mean(0)
    length = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(length > 0, length, 1)
    r = np.abs(unit.T @ unit)
    largest = np.zeros((n, n))
    np.maximum.at(largest, (owner[:, None], owner[None]), r)
    np.fill_diagonal(largest, 0)
    copies: list[set[int]] = [set() for _ in range(n)]
    pairs = {(owner[a], owner[b]) for a, b, _ in profiles.copies if owner[a] != owner[b]}
    for first, second in pairs:
        copies[first].add(int(second))
        copies[second].add(int(first))
    return largest, copies

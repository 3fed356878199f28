"""Attribution of R2 beyond the mean: every table from sums over people of what predictions explain of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import MOST_EXACT, Game, sampled_shapley
from connectome_gnn.attribution.commonality import commonality
from connectome_gnn.attribution.explained import GlobalStrength, Observed
from connectome_gnn.attribution.importance import (
    PERMUTED,
    Parts,
    contributions,
    exact_shapley,
    interactions,
    permutation_importances,
    sensitivities,
)
from connectome_gnn.attribution.intervals import Bootstrap, Ratio
from connectome_gnn.attribution.maps import EdgeMaps
from connectome_gnn.attribution.path_gradients import path_gradients
from connectome_gnn.attribution.permuted import PermutationTest
from connectome_gnn.attribution.plan import Plan
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Missing, Profiles
from connectome_gnn.attribution.result import ALL, Attribution
from connectome_gnn.attribution.tables import Rows, empty_table
from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.resampling import generator_for, permutations, units_of_rows
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.model import ConnectomeModel

__all__ = ["attribute_r2"]

TOLERANCE = 1e-6
"""Share of the predictions' energy that a smaller basis may leave out."""

EVALUATIONS = 2_000_000
"""Predictions of one person that sampling Shapley values of phenotypes takes, where it can be chosen."""

MOST_PAIRS = 4
ERROR_PEOPLE = 400
PERMUTED_PHENOTYPES = 2


SHARELESS = ("permutation", "sensitivity")
"""Methods whose values are no parts of what everything known explains: what a permutation loses counts errors of its own."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """The people as a model of few coordinates sees them."""

    model: ConnectomeModel
    cohort: Cohort
    plan: Plan
    profiles: Profiles
    predictor: Predictor
    bootstrap: Bootstrap
    orders: NDArray[np.int32]
    advance: Callable[..., None]
    members: NDArray[np.float64]
    networks: tuple[str, ...]
    games: dict[Any, Game] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ConnectomeModel, cohort: Cohort, plan: Plan, advance: Callable[..., None]) -> _Scene:
        encoded = model.schema.encode(cohort.phenotypes)
        profiles = Profiles.of(model.schema, encoded, plan.seed)
        predictor = Predictor.of(model, encoded, plan.n_jobs)
        groups = _groups(model)
        wide = Game(predictor, profiles, groups, "reference")
        seen = [wide.full(), wide.coordinates(frozenset())]
        seen += [
            part
            for player in range(len(wide))
            for part in (wide.coordinates(frozenset({player})), wide.coordinates(wide.everybody - {player}))
        ]
        predictor = predictor.reduced(seen, TOLERANCE)
        units = units_of_rows(cohort, np.arange(cohort.n_people))
        orders = permutations(units, plan.n_permutations, generator_for(plan.seed, "permutations of people"))
        names = [name for name in dict.fromkeys(cohort.atlas.network) if name != "n/a"]
        members = np.array([[network == name for name in names] for network in cohort.atlas.network], float).reshape(
            cohort.n_regions, len(names)
        )
        bootstrap = Bootstrap.of(units, plan.n_bootstrap, plan.seed)
        return cls(model, cohort, plan, profiles, predictor, bootstrap, orders, advance, members, tuple(names))

    def game(self, players: Mapping[str, tuple[int, ...]], missing: Missing) -> Game:
        """A game of these players, remembered by its kind."""
        key = (missing, *players.items())
        if key not in self.games:
            self.games[key] = Game(self.predictor, self.profiles, players, missing)
        return self.games[key]

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the phenotypes of each group."""
        return _groups(self.model)

    @cached_property
    def phenotypes(self) -> dict[str, tuple[int, ...]]:
        """Number of each phenotype."""
        return {name: (number,) for number, name in enumerate(self.model.schema.names)}

    @cached_property
    def observed(self) -> dict[str, Observed]:
        """The people with their total strength, and without, as far as they have been looked at."""
        return {}

    def seen(self, strength: GlobalStrength) -> Observed:
        """The people, looked at once for each ``strength``."""
        if strength not in self.observed:
            self.observed[strength] = Observed.of(self.cohort, self.model.space, self.predictor.basis, strength, regions=self.plan.mapped)
        return self.observed[strength]

    @cached_property
    def gradients(self) -> NDArray[np.float64] | None:
        """Integrated gradients (N, P) of what is explained of each person; None where the model has none, or nobody asked."""
        if "gradient" not in self.plan.methods or not isinstance(self.model, ConnectomeGenerator) or not self.has_gradients:
            return None
        return path_gradients(self.model, self.profiles.encoded, self.seen("keep"), self.predictor)

    @property
    def has_gradients(self) -> bool:
        """Whether gradients can be taken through the model."""
        return isinstance(self.model, ConnectomeGenerator) and self.model.transfer is None

    def tested(self, players: Mapping[str, tuple[int, ...]]) -> Game:
        """The game whose predictions without a player p values rest on: averaged over it, where the model can do that."""
        return self.game(players, "reference" if self.model.schema.covariance is None else "conditional")

    def others(self, game: Game, player: int) -> NDArray[np.float64]:
        """Encoded columns (N, Q) of the other players."""
        numbers = list(game.players.values())[player]
        return self.profiles.encoded.values[:, ~self.profiles.columns_of(numbers)]


def attribute_r2(model: ConnectomeModel, cohort: Cohort, plan: Plan, advance: Callable[..., None]) -> Attribution:
    """Attribution of R2 beyond the mean to groups and phenotypes, over everything and over the brain."""
    scene = _Scene.of(model, cohort, plan, advance)
    notes: list[str] = []
    if "gradient" in plan.methods and not scene.has_gradients:
        notes.append("gradients are taken through a ConnectomeGenerator that was not fine-tuned; there are none of this model")
    scores, way = _scores(scene)
    draws: dict[Any, NDArray[np.float32]] = {}
    network_draws: dict[Any, NDArray[np.float32]] = {}
    groups, regions, networks = Rows(), Rows(), Rows()
    pairs = Rows()
    if {"group", "region", "network"} & set(plan.by):
        strengths: tuple[GlobalStrength, ...] = ("keep", "remove") if plan.mapped and "remove" in plan.global_strength else ("keep",)
        for strength in strengths:
            _by_group(scene, strength, way, groups, regions, networks, draws, network_draws)
            if strength != "keep":
                scene.observed.pop(strength)
        if "group" in plan.by and "shapley" in plan.methods and len(scene.groups) <= MOST_EXACT:
            _pairs(scene, pairs)
    phenotypes = Rows()
    common = empty_table("commonality")
    if "phenotype" in plan.by:
        _by_phenotype(scene, way, phenotypes, notes)
        if "conditional" in plan.missing:
            common = commonality(scene.game(scene.phenotypes, "conditional"), scene.seen("keep"), scene.bootstrap, plan.phenotypes)
            copies = sorted({(common.index[a], b) for a, row in enumerate(common["copies"]) for b in row.split(", ") if b})
            for first, second in copies:
                if first < second:
                    notes.append(
                        f"{first!r} and {second!r} are copies of each other: nothing is unique to either, all they explain is shared"
                    )
    return Attribution(
        groups=groups.table("groups", ["method", "missing"]) if "group" in plan.by else empty_table("groups"),
        phenotypes=phenotypes.table("phenotypes", ["method", "missing"]),
        regions=regions.table("regions", ["of", "method", "missing", "global_strength"]) if "region" in plan.by else empty_table("regions"),
        networks=networks.table("networks", ["of", "method", "missing", "global_strength"])
        if "network" in plan.by
        else empty_table("networks"),
        interactions=pairs.table("interactions", []),
        commonality=common,
        scores=scores,
        score="r2",
        notes=tuple(notes),
        every_phenotype=len(plan.phenotypes) == len(model.schema.names),
        edges=EdgeMaps(cohort, model.space, tuple(_edge_games(scene)), scene.bootstrap.units),
        _draws=draws,
        _network_draws=network_draws,
    )


def _groups(model: ConnectomeModel) -> dict[str, tuple[int, ...]]:
    place = {name: number for number, name in enumerate(model.schema.names)}
    return {group: tuple(place[name] for name in names) for group, names in model.schema.groups.items()}


def _edge_games(scene: _Scene) -> Iterator[Game]:
    for missing in scene.plan.missing:
        for players in (scene.groups, scene.phenotypes):
            game = scene.game(players, missing)
            game.forget()
            yield game


def _scores(scene: _Scene) -> tuple[pd.DataFrame, dict[str, Ratio]]:
    """The score with everything known and with nothing, and their difference by ``missing``."""
    seen = scene.seen("keep")
    table: dict[str, Ratio] = {}
    way: dict[str, Ratio] = {}
    for missing in scene.plan.missing:
        game = scene.game(scene.groups, missing)
        parts = {
            "full": seen.gain(game.full()),
            "null" if missing == "reference" else "null, conditional": seen.gain(game.coordinates(frozenset())),
        }
        for name, part in parts.items():
            table[name] = scene.bootstrap.ratio(part[:, None], seen.total[:, None])
        full, null = parts.values()
        way[missing] = scene.bootstrap.ratio((full - null)[:, None], seen.total[:, None])
    if "null" not in table:
        game = Game(scene.predictor, scene.profiles, scene.groups, "reference")
        table["null"] = scene.bootstrap.ratio(seen.gain(game.coordinates(frozenset()))[:, None], seen.total[:, None])
    rows = {name: {"value": r.value[0], "low": r.low[0], "high": r.high[0]} for name, r in table.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score").astype(float), way


def _importances(scene: _Scene, game: Game, strength: GlobalStrength, *, regions: bool) -> Iterator[tuple[str, Iterator[Parts]]]:
    """The methods that go over all players of a game, by name."""
    plan, seen = scene.plan, scene.seen(strength)
    if "contribution" in plan.methods:
        yield "contribution", contributions(game, seen, regions=regions)
    if "shapley" in plan.methods:
        yield "shapley", _shapley(scene, game, seen, regions=regions)
    if "permutation" in plan.methods:
        times = PERMUTED if len(game) <= MOST_EXACT else PERMUTED_PHENOTYPES
        yield "permutation", permutation_importances(game, seen, regions=regions, seed=[plan.seed, 1], n_permuted=times)
    if "sensitivity" in plan.methods:
        yield "sensitivity", sensitivities(game, seen, regions=regions)


def _shapley(scene: _Scene, game: Game, seen: Observed, *, regions: bool) -> Iterator[Parts]:
    if len(game) <= MOST_EXACT:
        yield from exact_shapley(game, seen, regions=regions, advance=scene.advance)
    elif game.missing == "reference" and not regions:
        found = sampled_shapley(game, seen.gain, _pairs_for(game), [scene.plan.seed, 2], scene.advance)
        for player, gains in enumerate(found.gains.T):
            yield Parts(player, gains)


def _pairs_for(game: Game) -> int:
    return int(np.clip(EVALUATIONS // (2 * len(game) * len(game.profiles)), 1, MOST_PAIRS))


def _by_group(
    scene: _Scene,
    strength: GlobalStrength,
    way: Mapping[str, Ratio],
    groups: Rows,
    regions: Rows,
    networks: Rows,
    draws: dict[Any, NDArray[np.float32]],
    network_draws: dict[Any, NDArray[np.float32]],
) -> None:
    """Rows of every group, over everything (total strength kept), every region and every network."""
    plan, seen, mapped = scene.plan, scene.seen(strength), scene.plan.mapped and strength in scene.plan.global_strength
    members = scene.members if mapped else None

    def add(name: str, method: str, missing: str, part: Parts, p: NDArray[np.float64]) -> None:
        below = _all_targets(seen.total, seen.region_total, members) if method != "sensitivity" else _edge_counts(seen, members)
        ratio = scene.bootstrap.ratio(
            _all_targets(part.everything, part.regions, members), np.broadcast_to(below, (len(seen.total), below.shape[1]))
        )
        p = np.full(len(ratio.value), np.nan) if method == "sensitivity" else np.where(np.isfinite(ratio.value), p, np.nan)
        if strength == "keep" and name != ALL:
            share = None if method in SHARELESS else scene.bootstrap.quotient(_first(ratio), way[missing])
            groups.add({"group": name, "method": method, "missing": missing}, _first(ratio), p[:1], share)
            draws[name, method, missing] = np.append(np.float32(ratio.value[0]), ratio.draws[:, 0]).astype(np.float32)
        if members is not None:
            keys = {"of": name, "method": method, "missing": missing, "global_strength": strength}
            n_regions = len(members)
            atlas = scene.cohort.atlas
            xyz = atlas.xyz
            for region in range(n_regions):
                place = {"region": atlas.labels[region], **keys, "hemisphere": atlas.hemisphere[region], "network": atlas.network[region]}
                place |= dict(zip("xyz", xyz[region].tolist(), strict=True))
                regions.add_one(place, ratio, p, 1 + region)
            for number, network in enumerate(scene.networks):
                networks.add_one({"network": network, **keys}, ratio, p, 1 + n_regions + number)
            at = slice(1 + n_regions, None)
            network_draws[name, method, f"{missing} {strength}"] = np.concatenate(
                [ratio.value[None, at].astype(np.float32), ratio.draws[:, at]]
            )

    tested = scene.tested(scene.groups)
    test = PermutationTest(seen, tested.full(), scene.orders)
    p = {player: test.p(tested.without(player), scene.others(tested, player), members) for player in range(len(tested))}
    for missing in plan.missing:
        game = scene.game(scene.groups, missing)
        names = list(game.players)
        for method, parts in _importances(scene, game, strength, regions=mapped):
            for part in parts:
                add(names[part.player], method, missing, part, p[part.player])
                scene.advance()
        nothing = game.coordinates(frozenset())
        everything = seen.gain(game.full()) - seen.gain(nothing)
        if members is not None:
            by_region = seen.region_gain(game.full()) - seen.region_gain(nothing)
            of_all = test.p(nothing, np.zeros((len(nothing), 0)), members)
            add(ALL, "contribution", missing, Parts(-1, everything, by_region), of_all)
        if missing == "reference" and strength == "keep" and (gradients := scene.gradients) is not None:
            members, kept = None, members
            for player, numbers in enumerate(game.players.values()):
                add(names[player], "gradient", missing, Parts(player, gradients[:, list(numbers)].sum(1)), p[player][:1])
            members = kept


def _first(ratio: Ratio) -> Ratio:
    return Ratio(ratio.value[:1], ratio.low[:1], ratio.high[:1], ratio.draws[:, :1])


def _all_targets(everything: NDArray, by_region: NDArray, members: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(N, 1 + R + K): everything, regions, networks; everything alone without members."""
    if members is None:
        return np.asarray(everything, np.float64)[:, None]
    return np.concatenate([np.asarray(everything)[:, None], by_region, by_region @ members], 1)


def _edge_counts(seen: Observed, members: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Number of modelled edges of everything, of regions and of networks, (1, T)."""
    of_region = seen.of_region.astype(np.float64)
    return np.concatenate([[seen.n_edges], *([] if members is None else [of_region, of_region @ members])])[None]


def _pairs(scene: _Scene, pairs: Rows) -> None:
    """Rows of every pair of groups."""
    seen = scene.seen("keep")
    for missing in scene.plan.missing:
        game = scene.game(scene.groups, missing)
        names = list(game.players)
        if len(names) < 2:
            continue
        found = interactions(game, seen)
        first, second = np.triu_indices(len(names), 1)
        above = found[:, first, second]
        ratio = scene.bootstrap.ratio(above, np.broadcast_to(seen.total[:, None], above.shape))
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            pairs.add_one({"group": names[a], "other_group": names[b], "missing": missing}, ratio, np.full(len(first), np.nan), number)


def _by_phenotype(scene: _Scene, way: Mapping[str, Ratio], rows: Rows, notes: list[str]) -> None:
    """Rows of every phenotype asked for."""
    plan, seen = scene.plan, scene.seen("keep")
    wanted = {list(scene.phenotypes).index(name) for name in plan.phenotypes}
    group_of = {p.name: p.group for p in scene.model.schema.phenotypes}
    names = list(scene.phenotypes)
    tested = scene.tested(scene.phenotypes)
    test = PermutationTest(seen, tested.full(), scene.orders)
    p = np.full(len(tested), np.nan)
    for player in sorted(wanted):
        p[player] = test.p(tested.without(player), scene.others(tested, player))[0]
        scene.advance()
    for missing in plan.missing:
        game = scene.game(scene.phenotypes, missing)
        every: list[tuple[str, NDArray[np.float64]]] = []
        for method, parts in _importances(scene, game, "keep", regions=False):
            columns = {part.player: part.everything for part in parts}
            if columns:
                every.append((method, np.stack([columns[player] for player in range(len(game))], 1)))
        if missing == "reference" and scene.gradients is not None:
            every.append(("gradient", scene.gradients))
        for method, above in every:
            below = (
                np.full(above.shape, float(seen.n_edges)) if method == "sensitivity" else np.broadcast_to(seen.total[:, None], above.shape)
            )
            ratio = scene.bootstrap.ratio(above, below)
            shares = None if method in SHARELESS else scene.bootstrap.quotient(ratio, way[missing])
            error = _sampling_error(scene, game) if method == "shapley" and len(game) > MOST_EXACT else np.full(len(game), np.nan)
            for player in sorted(wanted):
                keys = {"phenotype": names[player], "group": group_of[names[player]], "method": method, "missing": missing}
                one = None if shares is None else _at(shares, player)
                null = np.array([np.nan if method == "sensitivity" else p[player]])
                rows.add(keys, _at(ratio, player), null, one, error=error[player])
    if "conditional" in plan.missing and "shapley" in plan.methods and len(scene.phenotypes) > MOST_EXACT:
        notes.append(
            f"Shapley values of more than {MOST_EXACT} phenotypes are sampled, and with unknown phenotypes missing only: "
            "given the known ones they would take a regression for every person and order"
        )


def _at(ratio: Ratio, place: int) -> Ratio:
    at = slice(place, place + 1)
    return Ratio(ratio.value[at], ratio.low[at], ratio.high[at], ratio.draws[:, at])


def _sampling_error(scene: _Scene, game: Game) -> NDArray[np.float64]:
    """Standard error (P,) of sampled Shapley values for these very people, from some of them in two pairs of orders."""
    n = len(scene.profiles)
    rows = np.random.default_rng([scene.plan.seed, 3]).permutation(n)[:ERROR_PEOPLE]
    seen = scene.seen("keep")
    few = Game(scene.predictor, scene.profiles.take(rows), game.players, game.missing)
    part = seen.take(rows)
    found = sampled_shapley(few, part.gain, 2, [scene.plan.seed, 4])
    single = 2 * found.variance.mean(0)  # of one person's value from one pair of orders
    return np.sqrt(single * n / _pairs_for(game)) / seen.total.sum()

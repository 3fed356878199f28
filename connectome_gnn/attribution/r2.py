"""Attribution of R2 beyond the mean: every table from sums over people of what predictions explain of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import MOST_EXACT, Game
from connectome_gnn.attribution.commonality import commonality
from connectome_gnn.attribution.explained import GlobalStrength, Observed
from connectome_gnn.attribution.importance import Parts, interactions
from connectome_gnn.attribution.intervals import Ratio
from connectome_gnn.attribution.maps import EdgeMaps
from connectome_gnn.attribution.methods import importances
from connectome_gnn.attribution.permuted import PermutationTest
from connectome_gnn.attribution.phenotype_maps import PhenotypeMaps
from connectome_gnn.attribution.plan import Plan
from connectome_gnn.attribution.result import ALL, Attribution
from connectome_gnn.attribution.scene import Scene, has_gradients
from connectome_gnn.attribution.shrinkage import Estimate, estimated, of_regions
from connectome_gnn.attribution.tables import Rows, empty_table
from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.model import ConnectomeModel

__all__ = ["attribute_r2"]

SHARELESS = ("permutation", "sensitivity")
"""Methods whose values are no parts of what everything known explains: what a permutation loses counts errors of its own."""


def attribute_r2(model: ConnectomeModel, cohort: Cohort, plan: Plan, advance: Callable[..., None]) -> Attribution:
    """Attribution of R2 beyond the mean to groups and phenotypes, over everything and over the brain."""
    scene = Scene.of(model, cohort, plan, advance)
    notes: list[str] = []
    if "gradient" in plan.methods and not has_gradients(model):
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
        if "shapley" in plan.methods and len(scene.groups) > MOST_EXACT:
            notes.append(
                f"Shapley values of more than {MOST_EXACT} groups are sampled, with their standard error in column error; "
                "interactions of so many are left out"
            )
        elif "shapley" in plan.methods and "group" in plan.by:
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
    scene.observed.clear()  # of the size of the cohort; maps of phenotypes look again
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
        phenotype_maps=PhenotypeMaps(replace(scene, advance=_silent)) if {"phenotype", "region"} <= set(plan.by) else None,
        _draws=draws,
        _network_draws=network_draws,
    )


def _silent(*_: Any) -> None:
    """Progress of what is over; unlike a bar's it can be pickled."""


def _edge_games(scene: Scene) -> Iterator[Game]:
    for missing in scene.plan.missing:
        for players in (scene.groups, scene.phenotypes):
            game = scene.game(players, missing)
            game.forget()
            yield game


def _scores(scene: Scene) -> tuple[pd.DataFrame, dict[str, Ratio]]:
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


def _by_group(
    scene: Scene,
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
        moved = method == "sensitivity"
        below = _edge_counts(seen, members) if moved else _with_networks(seen.total, seen.region_total, members)
        above = _with_networks(part.everything, part.regions[..., 0], members)
        ratio = scene.bootstrap.ratio(above, np.broadcast_to(below, above.shape))
        p = np.full(len(p), np.nan) if moved else p
        if strength == "keep" and name != ALL:
            share = None if method in SHARELESS else scene.bootstrap.quotient(_at(ratio, 0), way[missing])
            error = part.error / seen.total.sum()
            groups.add({"group": name, "method": method, "missing": missing}, _at(ratio, 0), p[:1], share, error=error)
            draws[name, method, missing] = np.append(np.float32(ratio.value[0]), ratio.draws[:, 0]).astype(np.float32)
        if members is not None:
            keys = {"of": name, "method": method, "missing": missing, "global_strength": strength}
            tests = np.split(p, [1, 1 + len(members)])
            found = of_regions(scene.bootstrap, part.regions, seen)
            regions.add_all({**scene.places, **keys}, found.value, tests[1], found.raw)
            of_networks = _at(ratio, slice(1, None))
            networks.add_all({"network": list(scene.networks), **keys}, of_networks, tests[2])
            network_draws[name, method, f"{missing} {strength}"] = np.concatenate([of_networks.value[None], of_networks.draws]).astype(
                np.float32
            )

    tested = scene.tested(scene.groups)
    test = PermutationTest(seen, tested.full(), scene.orders)
    p = {player: test.p(tested.without(player), scene.others(tested, player), members) for player in range(len(tested))}
    for missing in plan.missing:
        game = scene.game(scene.groups, missing)
        names = list(game.players)
        for method, parts in importances(scene, game, strength, regions=mapped):
            for part in parts:
                add(names[part.player], method, missing, part, p[part.player])
                scene.advance()
        nothing = game.coordinates(frozenset())
        everything = seen.gain(game.full()) - seen.gain(nothing)
        if members is not None:
            full = game.full()
            by_region = seen.region_gains(full, full) - seen.region_gains(nothing, full)
            of_all = test.p(nothing, np.zeros((len(nothing), 0)), members)
            add(ALL, "contribution", missing, Parts(-1, everything, regions=by_region), of_all)
        if missing == "reference" and strength == "keep" and (gradients := scene.gradients) is not None:
            members, kept = None, members
            for player, numbers in enumerate(game.players.values()):
                add(names[player], "gradient", missing, Parts(player, gradients[:, list(numbers), 0].sum(1)), p[player][:1])
            members = kept


def _with_networks(everything: NDArray, by_region: NDArray, members: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(N, 1 + K): everything, and each network; everything alone without members."""
    everything = np.asarray(everything, np.float64)[:, None]
    return everything if members is None else np.concatenate([everything, by_region @ members], 1)


def _edge_counts(seen: Observed, members: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Number of modelled edges of everything and of networks, (1, 1 + K)."""
    return _with_networks(np.array([seen.n_edges]), seen.of_region[None].astype(np.float64), members)


def _pairs(scene: Scene, pairs: Rows) -> None:
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


def _by_phenotype(scene: Scene, way: Mapping[str, Ratio], rows: Rows, notes: list[str]) -> None:
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
        every = [(method, list(parts)) for method, parts in importances(scene, game, "keep", regions=False)]
        if missing == "reference" and (gradients := scene.gradients) is not None:
            every.append(("gradient", [Parts(player, *gradients[:, player].T) for player in range(len(game))]))
        for method, of_players in every:
            value, raw = _estimate(scene, method, of_players)
            shares = None if method in SHARELESS else scene.bootstrap.quotient(value, way[missing])
            for part in of_players:
                if part.player in wanted:
                    keys = {"phenotype": names[part.player], "group": group_of[names[part.player]], "method": method, "missing": missing}
                    one = None if shares is None else _at(shares, part.player)
                    null = np.array([np.nan if method == "sensitivity" else p[part.player]])
                    more = {"raw": raw.value, "raw_low": raw.low, "raw_high": raw.high}
                    rows.add(
                        keys,
                        _at(value, part.player),
                        null,
                        one,
                        error=part.error / seen.total.sum(),
                        **{n: float(a[part.player]) for n, a in more.items()},
                    )
    if "conditional" in plan.missing and "shapley" in plan.methods and len(scene.phenotypes) > MOST_EXACT:
        notes.append(
            f"Shapley values of more than {MOST_EXACT} phenotypes are sampled, and with unknown phenotypes missing only: "
            "given the known ones they would take a regression for every coalition that is met"
        )
    if any(method != "sensitivity" for method in plan.methods):
        notes.append(
            "single phenotypes: value is what the model implies, corrected by held-out people as far as they tell phenotypes apart; raw is "
            "what was measured on them and nothing else"
        )


def _estimate(scene: Scene, method: str, of_players: list[Parts]) -> Estimate:
    """Values of all phenotypes by one method; as they are measured where nothing is implied of real people."""
    seen = scene.seen("keep")
    measured = np.stack([part.everything for part in of_players], 1)
    if method == "sensitivity":
        ratio = scene.bootstrap.ratio(measured, np.full(measured.shape, float(seen.n_edges)))
        return Estimate(ratio, ratio)
    return estimated(scene.bootstrap, measured, np.stack([part.implied for part in of_players], 1), seen.total)


def _at(ratio: Ratio, places: int | slice) -> Ratio:
    """A ratio of some of the targets."""
    at = slice(places, places + 1) if isinstance(places, int) else places
    return Ratio(ratio.value[at], ratio.low[at], ratio.high[at], ratio.draws[:, at])

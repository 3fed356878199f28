"""Attribution on simulated people: is the truth recovered, do intervals cover, is p uniform where nothing is planted; and the time.

python benchmarks/attribution.py [--people 8086] [--regions 200] [--phenotypes 194] [--cohorts 100] [--splits 20]
    [--parts NAME ...] [--small]

The truth of groups and of phenotypes is the simulator's own Shapley values of the true mean; contributions and permutation, which ask what
is lost without a phenotype, are ranked against the simulator's own contributions too. An interval is judged against the same fitted
model's value on 20,000 fresh people of the same world. Age maps are those of real cohorts in CONNECTOME_GNN_DATA, and left out without it.
Parts that are not measured again keep their place in results/attribution.json. ``--small`` runs every part at a size of seconds and writes
nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import harness
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

import connectome_gnn as cg
from connectome_gnn.attribution import MapComparison, compare_maps
from connectome_gnn.attribution.explained import STRENGTHS
from connectome_gnn.edges import edge_indices
from connectome_gnn.generation.rivals import ComponentRidge
from connectome_gnn.simulated_effects import shapley
from connectome_gnn.simulated_truth import World

FRESH = 20_000
ORDERS = 2  # pairs of orders a person, for the true Shapley values of phenotypes
REFERENCE = 3_000  # people of the simulator's population that they are taken over
SEEDS = 3
AGE_COHORTS = ("lemon", "ucl_parkinson")
TRAINING, HELD_OUT = 200, 100
STRONG, WEAK = ["age_sex", "body"], ["cognition", "lifestyle"]
ASSOCIATION, SENSORY = ["Frontoparietal", "Default"], ["Visual"]
PARTS = ("truth", "coverage", "no_effect", "seeds", "age_maps")
SHARES = ("contribution", "shapley", "gradient")
"""Methods whose values are parts of what all phenotypes explain together."""
LOSSES = ("contribution", "permutation")
"""Methods that ask what is lost without a phenotype."""


def truth_recovered(people: int, regions: int, phenotypes: int, seed: int, settings: dict) -> dict:
    """Shares, contrasts, ranks and time at one size: fitted to four fifths, attributed on the others."""
    cohort = cg.simulate_cohort(people, regions, phenotypes, seed=seed)
    train, test = cohort.split(0.8, seed=seed)
    model = cg.ConnectomeGenerator(seed=seed).fit(train, distribution=False)
    start = time.perf_counter()
    why = cg.attribute(model, test, by=("group", "phenotype", "region", "network"), seed=seed, **settings)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    cg.attribute(model, cohort, by=("group", "phenotype", "region", "network"), seed=seed, **settings)
    everybody = time.perf_counter() - start
    truth = cohort.truth
    maps = true_maps(truth.world)
    groups = why.groups[why.groups["missing"] == "reference"].set_index(["method", "group"])
    planted = truth.by_phenotype["variance"] > 0
    ranks: dict[str, dict[str, float]] = {}
    values, alone = true_phenotypes(truth.world), true_contributions(truth.world)
    for method in dict.fromkeys(why.phenotypes["method"]):
        rows = why.phenotypes[(why.phenotypes["method"] == method) & (why.phenotypes["missing"] == "reference")].set_index("phenotype")
        if method == "sensitivity":
            ranks[method] = {"value": rank(rows["value"][planted], truth.by_phenotype["variance"][planted])}
        else:
            ranks[method] = {column: rank(rows[column][planted], values[planted]) for column in ("value", "raw")}
        if method in LOSSES:
            ranks[f"{method}, of true contributions"] = {column: rank(rows[column][planted], alone[planted]) for column in ("value", "raw")}
    return {
        "people": people,
        "regions": regions,
        "phenotypes": phenotypes,
        "seconds_held_out": seconds,
        "seconds_everybody": everybody,
        "shares": {method: {group: float(groups.loc[(method, group), "share"]) for group in truth.by_group.index} for method in SHARES},
        "true_shares": truth.by_group["share"].to_dict(),
        "largest_share_error": float((groups.loc["shapley", "share"] - truth.by_group["share"]).abs().max()),
        "four_to_one": why.ratio(STRONG, WEAK)._asdict(),
        "association_less_visual": why.network_difference("cognition", ASSOCIATION, SENSORY)._asdict(),
        "rank_over_phenotypes": ranks,
        "rank_over_regions": {
            of: {
                "importance": rank(why.region_map(of)["value"], maps[of]),
                **({} if of == "all" else {"sensitivity": rank(why.region_map(of, "sensitivity")["value"], truth.by_region[of])}),
            }
            for of in maps
        },
        "checks": int(why.validate()["passed"].sum()),
    }


def true_maps(world: World) -> pd.DataFrame:
    """Exact Shapley value (R, groups) of each group in each region, from the true mean, and of ``all`` together."""
    ends = np.concatenate(edge_indices(world.atlas.n_regions))
    counted = np.tile(world.present.astype(float), 2)
    n_edges = np.maximum(np.bincount(ends, counted, world.atlas.n_regions), 1)
    values = {}
    for groups, matrix in world.effects.coalitions.items():
        by_edge = ((matrix @ world.maps) * world.maps).sum(0) * world.unit**2
        values[groups] = np.bincount(ends, counted * np.tile(by_edge, 2), world.atlas.n_regions) / n_edges
    names = list(world.effects.schema.groups)
    maps = pd.DataFrame(shapley(names, values.__getitem__), index=pd.Index(world.atlas.labels, name="region"))
    return maps.assign(all=values[frozenset(names)] - values[frozenset()])


def true_phenotypes(world: World) -> pd.Series:
    """Shapley value (P,) of each phenotype, from the true mean, over orders in which phenotypes become known, an order a person."""
    effects = world.effects
    names = effects.schema.names
    people = effects.reference[:REFERENCE]
    lost = losses(world, people)
    generator, total = np.random.default_rng(0), np.zeros(len(names))
    for _ in range(ORDERS):
        order = generator.random((len(people), len(names))).argsort(1)
        for joining in (order, order[:, ::-1]):
            known = np.zeros((len(people), len(names)), bool)
            before = lost(known)
            for joined in joining.T:
                known[np.arange(len(people)), joined] = True
                after = lost(known)
                np.add.at(total, joined, before - after)
                before = after
    return pd.Series(total / (2 * ORDERS * len(people)), index=pd.Index(names, name="phenotype"))


def true_contributions(world: World) -> pd.Series:
    """What is lost (P,) without each phenotype, from the true mean."""
    names, people = world.effects.schema.names, world.effects.reference[:REFERENCE]
    lost = losses(world, people)
    without = ~np.eye(len(names), dtype=bool)
    values = [lost(np.broadcast_to(known, (len(people), len(names)))).mean() for known in without]
    return pd.Series(values, index=pd.Index(names, name="phenotype"))


def losses(world: World, people: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What the true mean of people loses (N,) where only some of their phenotypes are known, (N, P)."""
    effects = world.effects
    owner = np.append(effects.schema.owner, effects.schema.names.index("age"))
    everything = effects.scores(people)

    def lost(known: np.ndarray) -> np.ndarray:
        left = everything - effects.scores(np.where(known[:, owner], people, 0))
        return np.einsum("nq,nq->n", left @ world.products, left)

    return lost


def seeds_agree(people: int, regions: int, phenotypes: int, settings: dict) -> dict:
    """How often a model's values of groups lie within the intervals of a model trained with another seed, networks included."""
    cohort = cg.simulate_cohort(people, regions, phenotypes, seed=0)
    train, test = cohort.split(0.8, seed=0)
    kinds = {"by": ("group",), "methods": ("contribution", "shapley"), "missing": ("reference",), "n_permutations": 0}
    fits = [cg.ConnectomeGenerator(seed=seed).fit(train, distribution=False) for seed in range(SEEDS)]
    tables = [cg.attribute(model, test, **{**settings, **kinds}).groups for model in fits]
    within = [((other["low"] <= one["value"]) & (one["value"] <= other["high"])).mean() for one, other in permutations(tables, 2)]
    values = np.stack([table["value"] for table in tables])
    return {
        "people": people,
        "fits": SEEDS,
        "networks": [len(model.members) for model in fits],
        "within": float(np.mean(within)),
        "largest difference in half widths": float((np.ptp(values, 0) / ((tables[0]["high"] - tables[0]["low"]) / 2)).max()),
    }


def age_maps(names: tuple[str, ...], splits: int, surrogates: int) -> dict:
    """How alike the effect of age on every region's strength is in random halves of a real cohort, and how alike maps as smooth are.

    Each half is fitted by itself; a map is the change of every region's strength for a standard deviation of age, as it is and with what
    goes with total strength taken out. Per split the maps' correlation over regions, and that of the second map with surrogates of the
    first one that keep its variogram. Splits go to as many processes as there are cores.
    """
    data = os.environ.get("CONNECTOME_GNN_DATA")
    found: dict[str, dict] = {}
    for name in names if data else ():
        folder = Path(data or "") / name
        cohort = cg.Cohort.load(folder)
        alike = Parallel(n_jobs=min(splits, os.cpu_count() or 1))(delayed(halves_alike)(folder, seed, surrogates) for seed in range(splits))
        found[name] = {
            "people": cohort.n_people,
            "regions": cohort.n_regions,
            "splits": splits,
            **{strength: over_splits([of_split[strength] for of_split in alike]) for strength in STRENGTHS},
        }
    return found


def halves_alike(folder: Path, seed: int, surrogates: int) -> dict[str, MapComparison]:
    """Age maps of the halves of one split compared, by what becomes of total strength."""
    warnings.simplefilter("ignore", cg.ConnectomeWarning)
    cohort = cg.Cohort.load(folder)
    halves = cohort.split(0.5, seed=seed)
    fits = [cg.ConnectomeGenerator(seed=seed, network=None).fit(half, distribution=False) for half in halves]
    alike = {}
    for strength in STRENGTHS:
        maps = [
            cg.effect_map(model, "age: +1 SD", global_strength=strength, training=half).regions["value"]
            for model, half in zip(fits, halves, strict=True)
        ]
        alike[strength] = compare_maps(*maps, cohort.atlas, null="variogram", n=surrogates, seed=seed)
    print(
        f"{folder.name}: split seed {seed} done, " + ", ".join(f"{s} r = {c.r:.3f}" for s, c in alike.items()), file=sys.stderr, flush=True
    )
    return alike


def over_splits(alike: list[MapComparison]) -> dict:
    """Mean correlation of the maps of two halves, its spread over splits, and the surrogates'."""
    r = [one.r for one in alike]
    return {
        "r": float(np.mean(r)),
        "low": float(np.quantile(r, 0.025)),
        "high": float(np.quantile(r, 0.975)),
        "null_low": float(np.mean([one.low for one in alike])),
        "null_high": float(np.mean([one.high for one in alike])),
        "p": float(np.median([one.p for one in alike])),
        "each": r,
    }


def coverage(cohorts: int, people: int, settings: dict) -> dict:
    """How often 95 % intervals hold the same model's value on fresh people, by method and ``missing``, over small cohorts."""
    hits = Parallel(n_jobs=-1)(delayed(hits_of)(seed, people, settings) for seed in range(cohorts))
    table = pd.concat(hits).groupby(["of", "method", "missing"])["hit"].mean()
    return {f"{of}: {method}, {missing}": float(share) for (of, method, missing), share in table.items()}


def hits_of(seed: int, people: int, settings: dict) -> pd.DataFrame:
    """Which intervals of one cohort's groups, phenotypes and regions hold the value on fresh people.

    Shapley values of phenotypes given those that are known take a regression for every coalition, and are left out.
    """
    methods = ("contribution", "permutation", "sensitivity")
    kinds: list[dict] = [
        {"by": ("group", "phenotype", "region"), "methods": (*methods, "shapley"), "missing": ("reference",), "global_strength": ("keep",)},
        {"by": ("group",), "methods": (*methods, "shapley"), "missing": ("conditional",)},
        {"by": ("phenotype",), "methods": methods, "missing": ("conditional",)},
    ]
    cohort = cg.simulate_cohort(TRAINING + HELD_OUT, 16, 8, seed=seed)
    model = ComponentRidge(seed=0, age_terms=True).fit(cohort.take(slice(0, TRAINING)), distribution=False)
    fresh = cg.simulate_cohort(people, 16, 8, seed=seed, people_seed=10_000 + seed)
    hits: list[pd.DataFrame] = []
    for kind in kinds:
        more = {**settings, **kind, "n_permutations": 0, "seed": seed, "n_jobs": 1}
        found = cg.attribute(model, cohort.take(slice(TRAINING, None)), **more)
        truth = cg.attribute(model, fresh, **{**more, "n_bootstrap": 0})
        for name, column in (("groups", "value"), ("phenotypes", "raw"), ("regions", "raw")):
            rows, true = getattr(found, name), getattr(truth, name)
            if len(rows):
                named = rows.drop(columns="of", errors="ignore").assign(of=name, hit=inside(rows, true[column]))
                hits.append(named[["of", "method", "missing", "hit"]])
    return pd.concat(hits)


def inside(found: pd.DataFrame, value: pd.Series) -> pd.Series:
    """Which intervals hold a value; undefined where it is exactly 0, as of a constant."""
    return ((found["low"] <= value) & (value <= found["high"])).where(value != 0).astype(float)


def nothing_planted(cohorts: int, settings: dict) -> dict:
    """Share of p below .05, distance of p from uniform, and share of maps with a region below q .05, where phenotypes do nothing."""
    groups, phenotypes, maps = [], [], []
    for seed in range(cohorts):
        cohort = cg.simulate_cohort(320, 20, 10, seed=seed, explained=0.0)
        model = ComponentRidge(seed=0, age_terms=True).fit(cohort.take(slice(0, TRAINING)), distribution=False)
        kinds = {"by": ("group", "phenotype", "region"), "methods": ("contribution",), "missing": ("reference",)}
        why = cg.attribute(model, cohort.take(slice(TRAINING, None)), seed=seed, **{**settings, **kinds})
        groups.append(why.groups["p"])
        phenotypes.append(why.phenotypes["p"])
        maps += [bool((rows["q"] < 0.05).any()) for _, rows in why.regions.groupby(["of", "global_strength"])]
    levels = {name: pd.concat(p).to_numpy() for name, p in (("groups", groups), ("phenotypes", phenotypes))}
    return {
        **{f"{name} below .05": float((p < 0.05).mean()) for name, p in levels.items()},
        **{f"{name}: largest distance from uniform": float(distance(p)) for name, p in levels.items()},
        "maps with a region below q .05": float(np.mean(maps)),
    }


def rank(found: pd.Series, true: pd.Series) -> float:
    """Spearman correlation."""
    return float(found.corr(true.reindex(found.index), method="spearman"))


def distance(p: np.ndarray) -> float:
    """Kolmogorov's distance of p values from uniform."""
    ordered = np.sort(p)
    return float(np.abs(ordered - (np.arange(len(p)) + 0.5) / len(p)).max())


def main() -> None:
    """Measure, write results/attribution.json, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("people", 8086), ("regions", 200), ("phenotypes", 194), ("cohorts", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", cg.ConnectomeWarning)
    record = {} if options.small else harness.known("attribution")
    if options.small:
        options.people, options.regions, options.phenotypes, options.cohorts = 400, 20, 12, 2
    for part in options.parts:
        record.update(measured(part, options))
        if not options.small:
            harness.write("attribution", {name: entry for name, entry in record.items() if name != "machine"})
    print(summary(record))


def measured(part: str, options: argparse.Namespace) -> dict:
    """What a part adds to the record."""
    number = 100 if options.small else 1000
    settings = {"n_bootstrap": number, "n_permutations": number}
    if part == "truth":
        return {part: truth_recovered(options.people, options.regions, options.phenotypes, options.seed, settings)}
    if part == "coverage":
        return {part: coverage(options.cohorts, 2000 if options.small else FRESH, settings), "cohorts": options.cohorts}
    if part == "no_effect":
        return {part: nothing_planted(options.cohorts, settings)}
    if part == "seeds":
        return {part: seeds_agree(*((300, 12, 8) if options.small else (1500, 40, 24)), settings)}
    return {part: age_maps(AGE_COHORTS[: 1 if options.small else None], 1 if options.small else options.splits, number)}


def summary(record: dict) -> str:
    """The answers in Markdown, of the parts that were measured."""
    writers = {"truth": _truth, "coverage": _coverage, "no_effect": _no_effect, "seeds": _seeds, "age_maps": _age_maps}
    return "\n\n".join(write(record) for part, write in writers.items() if record.get(part))


def _truth(record: dict) -> str:
    truth = record["truth"]
    lines = [
        f"{truth['people']:,} people x {truth['regions']} regions x {truth['phenotypes']} phenotypes: attributed in "
        f"{truth['seconds_held_out']:.0f} s on held-out people, in {truth['seconds_everybody']:.0f} s on everybody. Shares of groups:",
        "",
        "| group | true share | " + " | ".join(SHARES) + " |",
        "|---" * (2 + len(SHARES)) + "|",
    ]
    for group, share in truth["true_shares"].items():
        lines.append(f"| {group} | {share:.2f} | " + " | ".join(f"{truth['shares'][m][group]:.2f}" for m in SHARES) + " |")
    contrasts = {
        "four_to_one": "age, sex and body against cognition and lifestyle, as a ratio",
        "association_less_visual": "cognition in association networks less in the visual one",
    }
    lines += ["", "| contrast | value | 95 % interval |", "|---|---|---|"]
    for name, words in contrasts.items():
        value, low, high = truth[name].values()
        lines.append(f"| {words} | {value:.4g} | {low:.4g} to {high:.4g} |")
    lines += ["", "| rank correlation with the truth over | estimate | raw |", "|---|---|---|"]
    for method, found in truth["rank_over_phenotypes"].items():
        raw = f"{found['raw']:.2f}" if "raw" in found else ""
        lines.append(f"| phenotypes with a planted effect, {method} | {found['value']:.2f} | {raw} |")
    for of, kinds in truth["rank_over_regions"].items():
        lines += [f"| regions, {of}, {kind} | {value:.2f} | |" for kind, value in kinds.items()]
    return "\n".join(lines)


def _coverage(record: dict) -> str:
    lines = [f"| 95 % intervals over {record['cohorts']} cohorts of {HELD_OUT} people | coverage |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {share:.3f} |" for name, share in record["coverage"].items())])


def _no_effect(record: dict) -> str:
    lines = ["| no effect planted | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {share:.3f} |" for name, share in record["no_effect"].items())])


def _seeds(record: dict) -> str:
    seeds = record["seeds"]
    return (
        f"{seeds['fits']} models of {seeds['people']:,} people trained with different seeds: {seeds['within']:.0%} of the values of groups "
        f"lie within the other models' intervals; the farthest two are {seeds['largest difference in half widths']:.2f} half widths apart."
    )


def _age_maps(record: dict) -> str:
    lines = [
        "| age map between random halves of | people | regions | splits | strength | r | 95 % of splits | 95 % of surrogates | median p |",
        "|---" * 9 + "|",
    ]
    words = {"keep": "kept", "remove": "taken out"}
    for name, found in record["age_maps"].items():
        for strength in (strength for strength in STRENGTHS if strength in found):
            of = found[strength]
            lines.append(
                f"| {name} | {found['people']} | {found['regions']} | {found['splits']} | {words[strength]} | {of['r']:.2f} | "
                f"{of['low']:.2f} to {of['high']:.2f} | {of['null_low']:.2f} to {of['null_high']:.2f} | {of['p']:.3f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

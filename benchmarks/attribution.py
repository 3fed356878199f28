"""Attribution on simulated people: is the truth recovered, do intervals cover, is p uniform where nothing is planted; and the time.

python benchmarks/attribution.py [--people 8086] [--regions 200] [--phenotypes 194] [--cohorts 100] [--small]

The truth of groups is the simulator's own Shapley values of the true mean; an interval is judged against the same fitted model's value on
20,000 fresh people of the same world. ``--small`` runs every part at a size of seconds and writes nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings

import harness
import numpy as np
import pandas as pd

import connectome_gnn as cg
from connectome_gnn.edges import edge_indices
from connectome_gnn.generation.rivals import ComponentRidge
from connectome_gnn.simulated_effects import shapley
from connectome_gnn.simulated_truth import World

FRESH = 20_000
TRAINING, HELD_OUT = 200, 100
STRONG, WEAK = ["age_sex", "body"], ["cognition", "lifestyle"]
ASSOCIATION, SENSORY = ["Frontoparietal", "Default"], ["Visual"]
IMPORTANCES = ("contribution", "shapley", "permutation", "gradient")


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
    ranks = {}
    for method in dict.fromkeys(why.phenotypes["method"]):
        rows = why.phenotypes[(why.phenotypes["method"] == method) & (why.phenotypes["missing"] == "reference")].set_index("phenotype")
        ranks[method] = rank(rows["value"][planted], truth.by_phenotype["variance"][planted])
    return {
        "people": people,
        "regions": regions,
        "phenotypes": phenotypes,
        "seconds_held_out": seconds,
        "seconds_everybody": everybody,
        "shares": {
            method: {group: float(groups.loc[(method, group), "share"]) for group in truth.by_group.index} for method in IMPORTANCES
        },
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


def coverage(cohorts: int, settings: dict) -> dict:
    """How often 95 % intervals hold the same model's value on fresh people, by method and ``missing``, over groups and small cohorts."""
    kinds = {"by": ("group",), "methods": ("contribution", "shapley", "permutation", "sensitivity"), "n_permutations": 0}
    hits: list[pd.DataFrame] = []
    for seed in range(cohorts):
        cohort = cg.simulate_cohort(TRAINING + HELD_OUT, 16, 8, seed=seed)
        model = ComponentRidge(seed=0, age_terms=True).fit(cohort.take(slice(0, TRAINING)), distribution=False)
        found = cg.attribute(model, cohort.take(slice(TRAINING, None)), seed=seed, **{**settings, **kinds}).groups
        fresh = cg.simulate_cohort(FRESH, 16, 8, seed=seed, people_seed=10_000 + seed)
        value = cg.attribute(model, fresh, seed=seed, **{**settings, **kinds, "n_bootstrap": 0}).groups["value"]
        hits.append(found.assign(hit=(found["low"] <= value) & (value <= found["high"])))
    table = pd.concat(hits).groupby(["method", "missing"])["hit"].mean()
    return {f"{method}, {missing}": float(share) for (method, missing), share in table.items()}


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
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", cg.ConnectomeWarning)
    settings = {"n_bootstrap": 1000, "n_permutations": 1000}
    if options.small:
        options.people, options.regions, options.phenotypes, options.cohorts = 400, 20, 12, 3
        settings = {"n_bootstrap": 100, "n_permutations": 100}
    record = {
        "truth": truth_recovered(options.people, options.regions, options.phenotypes, options.seed, settings),
        "coverage": coverage(options.cohorts, settings),
        "no_effect": nothing_planted(options.cohorts, settings),
        "cohorts": options.cohorts,
    }
    if not options.small:
        harness.write("attribution", record)
    print(summary(record))


def summary(record: dict) -> str:
    """The answers in Markdown."""
    truth = record["truth"]
    lines = [
        f"{truth['people']:,} people x {truth['regions']} regions x {truth['phenotypes']} phenotypes: {truth['seconds_held_out']:.0f} s on "
        f"held-out people, {truth['seconds_everybody']:.0f} s on everybody",
        "",
        "| group | true share | " + " | ".join(IMPORTANCES) + " |",
        "|---" * (2 + len(IMPORTANCES)) + "|",
    ]
    for group, share in truth["true_shares"].items():
        lines.append(f"| {group} | {share:.2f} | " + " | ".join(f"{truth['shares'][m][group]:.2f}" for m in IMPORTANCES) + " |")
    for name in ("four_to_one", "association_less_visual"):
        value, low, high = truth[name].values()
        lines.append(f"\n{name.replace('_', ' ')}: {value:.4g} [{low:.4g}, {high:.4g}]")
    lines.append(f"\nrank over phenotypes: {truth['rank_over_phenotypes']}\n\nrank over regions: {truth['rank_over_regions']}")
    lines.append(f"\ncoverage of 95 % intervals over {record['cohorts']} cohorts: {record['coverage']}")
    lines.append(f"\nno effect planted: {record['no_effect']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

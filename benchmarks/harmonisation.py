"""Whether a site can still be told from connectomes of people left out, and age and sex still be predicted, before and after ComBat.

python benchmarks/harmonisation.py [--cohort corr_kki] [--seeds 0 1] [--small] [--size 8086 200]

Harmonisers and learners are fitted to the training people of 5 folds. The rival is neuroCombat as it is used: on everybody at once, the
people who are then left out among them, absent edges as values of 0, and mapped back with negative weights set to 0. A real cohort needs
CONNECTOME_GNN_DATA; ``--small`` takes a small simulated one and writes nothing. ``--size`` measures time and memory instead, on a
simulated cohort of so many people and regions that is written to disk and memory-mapped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
import scale

from connectome_gnn import Cohort, simulate_cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.harmonisation import ComBat, site_check

PEOPLE, REGIONS = 40, 8
PHENOTYPES, SITES = 10, 3
"""Of the cohort that time and memory are measured on."""
EDGES = {"all": "all edges", "weights": "weights of edges that are there", "presence": "which edges are there"}


def main() -> None:
    """Measure, print and write results/harmonisation.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="corr_kki")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--size", type=int, nargs=2, metavar=("PEOPLE", "REGIONS"), help="measure time and memory on so many")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(stages(options.one)))
        return
    if options.size:
        record = {**harness.known("harmonisation"), "size": at_size(*options.size)}
        print(size_line(record["size"]))
        harness.write("harmonisation", record)
        return
    if options.small:
        cohort, seeds = simulate_cohort(PEOPLE, REGIONS, 4, seed=0, n_sites=2, missing=0.0, name="simulated"), [0]
    else:
        folder = os.environ.get("CONNECTOME_GNN_DATA")
        if not folder or not (Path(folder) / options.cohort).is_dir():
            sys.exit(f"CONNECTOME_GNN_DATA names no folder that holds {options.cohort}")
        cohort, seeds = Cohort.load(Path(folder) / options.cohort), options.seeds
    record = {**harness.known("harmonisation"), "cohort": cohort.name, "people": len(cohort), "seeds": seeds, "checks": []}
    for seed in seeds:
        start = time.perf_counter()
        record["checks"] += checked(cohort, seed, options.small)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    show(pd.DataFrame(record["checks"]))
    if not options.small:
        harness.write("harmonisation", record)


def checked(cohort: Cohort, seed: int, small: bool = False) -> list[dict[str, Any]]:
    """Rows of :func:`site_check`, on all edges and on those that everybody has; of ComBat alone on all edges in the small form."""
    harmonisers = {
        "ComBat": ComBat("site", ["sex", "age"]),
        "ComBat, sex preserved": ComBat("site", ["sex"]),
        "CovBat, sex preserved": ComBat("site", ["sex"], covbat=True),
    }
    if small:
        harmonisers = {"ComBat": harmonisers["ComBat"]}
    tables = [site_check(cohort, harmonisers, seed=seed).assign(cohort="all edges")]
    rival = site_check(neurocombat(cohort), {}, seed=seed)
    tables.append(rival.assign(cohort="all edges", connectomes="neuroCombat on everybody", change=None, change_low=None, change_high=None))
    everybody = np.ones(cohort.n_edges, bool)
    for _, weights in cohort.batches():
        everybody &= (weights != 0).all(0)
    if everybody.any() and not small:
        dense = cohort.threshold(backbone=to_matrices(everybody))
        tables.append(site_check(dense, harmonisers, keep=(), seed=seed).assign(cohort=f"{everybody.sum()} edges that everybody has"))
    return [row for table in tables for row in table.assign(seed=seed).replace({np.nan: None}).to_dict("records")]


def at_size(n_people: int, n_regions: int) -> dict[str, Any]:
    """Time and memory of fitting and applying to a memory-mapped cohort, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="harmonisation-") as folder:
        scale.write_cohort(Path(folder), n_people, n_regions, PHENOTYPES)
        ran = subprocess.run([sys.executable, __file__, "--one", folder], stdout=subprocess.PIPE, text=True, check=True)
        return {"people": n_people, "regions": n_regions, "sites": SITES, "stages": json.loads(ran.stdout.splitlines()[-1])}


def stages(folder: Path) -> dict[str, dict[str, float]]:
    """ComBat and CovBat fitted to a folder's people, and applied to the same people and saved: seconds and memory, stage by stage."""
    cohort = Cohort.load(folder)
    cohort.phenotypes["site"] = np.array(["a", "b", "c"])[np.random.default_rng(0).integers(SITES, size=len(cohort))]
    processor: dict[str, float] = {}
    with scale._Watch(len(cohort)) as watch:
        for covbat in (False, True):
            harmoniser = ComBat("site", ["age", "sex"], covbat=covbat)
            with _stage(watch, f"{harmoniser.step} fitted", processor):
                harmoniser.fit(cohort)
            with _stage(watch, f"{harmoniser.step} applied and saved", processor):
                harmoniser.transform(cohort).save(folder / "harmonised", force=True)
    return {name: {**watch.stages[name], "processor_seconds": seconds} for name, seconds in processor.items()}


@contextlib.contextmanager
def _stage(watch: scale._Watch, name: str, processor: dict[str, float]) -> Iterator[None]:
    """A stage whose processor time is kept too, which does not depend on what else the machine does."""
    watch.stage(name)
    start = time.process_time()
    yield
    processor[name] = time.process_time() - start


def size_line(size: Mapping[str, Any]) -> str:
    """What was measured, in words."""
    told = [
        f"{name} in {stage['seconds']:.0f} s ({stage['processor_seconds']:.0f} s of processor time) with {stage['megabytes']:,.0f} MB"
        for name, stage in size["stages"].items()
    ]
    return f"{size['people']:,} people x {size['regions']} regions from {size['sites']} sites, memory-mapped: {', '.join(told)}."


def neurocombat(cohort: Cohort) -> Cohort:
    """The cohort harmonised by neuroCombat; edges that do not vary in a site stay as they are."""
    from neuroCombat import neuroCombat

    values = cohort.scale.forward(cohort.weights, np.float64)
    site = cohort.phenotypes["site"].to_numpy()
    varies = np.all([values[site == name].std(0) > 0 for name in np.unique(site)], 0)
    covariates = cohort.phenotypes[["site", "sex", "age"]].reset_index(drop=True)
    with contextlib.redirect_stdout(io.StringIO()):
        values[:, varies] = neuroCombat(values[:, varies].T, covariates, "site", ["sex"], ["age"])["data"].T
    return cohort.with_weights(cohort.scale.inverse(values.astype(np.float32)), step={"step": "neuroCombat"})


def show(table: pd.DataFrame) -> None:
    """Print means over seeds, with the mean ends of intervals."""
    keys = ["cohort", "target", "edges", "learner", "connectomes"]
    print(table.groupby(keys, sort=False)[["value", "low", "high"]].mean().round(3).to_string())


def summary(record: Mapping[str, Any]) -> str:
    """The table in Markdown: means over seeds, with the mean ends of intervals."""
    table = pd.DataFrame(record["checks"])
    table = table[table["cohort"] == "all edges"]
    keys = ["target", "edges", "learner", "connectomes"]
    means = table.groupby(keys, sort=False)[["value", "low", "high"]].mean()
    ways = list(dict.fromkeys(table["connectomes"]))
    lines = [f"| what is told | from | learner | {' | '.join(ways)} |", "|" + "---|" * (3 + len(ways))]
    for target, edges, learner in dict.fromkeys(tuple(key[:3]) for key in means.index):
        cells = []
        for way in ways:
            there = (target, edges, learner, way) in means.index
            value, low, high = means.loc[(target, edges, learner, way)] if there else (0, 0, 0)
            cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]" if there else "")
        lines.append(f"| {target} ({'r' if target == 'age' else 'AUC'}) | {EDGES[edges]} | {learner} | {' | '.join(cells)} |")
    measured = f"\n\n{size_line(record['size'])}" if "size" in record else ""
    return f"{record['cohort']}, {record['people']} people, seeds {', '.join(map(str, record['seeds']))}\n\n" + "\n".join(lines) + measured


if __name__ == "__main__":
    main()

"""Time and memory of a fit by people and regions, and the slope of each.

python benchmarks/scale.py [--people 1000 2000 ...] [--regions 84 200 400] [--phenotypes 40] [--folder DIR] [--again] [--quick]

Every size runs in a process of its own, on a memory-mapped cohort that is written in chunks and deleted again (16 GB for 50,000
people of 400 regions). What is measured already is not measured again, so that a run may be broken off; ``--again`` forgets it.
Memory is what the process itself holds (anonymous pages, sampled), beside the kernel's peak, which counts the pages of the cohort's
file that happen to be cached. A slope is the exponent of a power law, by least squares on logarithms.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd

from connectome_gnn import Cohort, ConnectomeGenerator, ConnectomeWarning, simulate_cohort
from connectome_gnn.native import write_rows
from connectome_gnn.simulated_people import draw_people, leave_gaps
from connectome_gnn.simulated_traits import choose_traits

PEOPLE = [1000, 2000, 5000, 10_000, 20_000, 50_000]
REGIONS = [84, 200, 400]
MISSING = 0.05
SPARE = 1.2
"""Free space asked for, in sizes of the cohort's file."""
WHAT = ("seconds", "megabytes", "megabytes_above_start")


def main() -> None:
    """Measure what is missing, write results/scale.json after every size, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", nargs="*", type=int, default=PEOPLE)
    parser.add_argument("--regions", nargs="*", type=int, default=REGIONS)
    parser.add_argument("--phenotypes", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="where cohorts are written for the time being; default the system's temporary folder")
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--quick", action="store_true", help="three tiny sizes, nothing written")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "PEOPLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(fitted(Path(options.one[0]), int(options.one[1]))))
        return
    if options.quick:
        options.people, options.regions = [700, 1000, 1400], [20]
    found = {} if options.again or options.quick else harness.known("scale")
    rows: list[dict[str, Any]] = [row for row in found.get("sizes", []) if row["phenotypes"] == options.phenotypes]
    for n_regions in options.regions:
        done = {row["people"] for row in rows if row["regions"] == n_regions}
        missing = sorted(set(options.people) - done)
        if not missing:
            continue
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="scale-") as folder:
            needed = 4 * missing[-1] * n_regions * (n_regions - 1) // 2
            if shutil.disk_usage(folder).free < SPARE * needed:
                print(f"{n_regions} regions: {needed / 1e9:.0f} GB for {missing[-1]:,} people do not fit into {folder}; left out")
                continue
            start = time.perf_counter()
            write_cohort(Path(folder), missing[-1], n_regions, options.phenotypes)
            print(f"{n_regions} regions: {missing[-1]:,} people written in {time.perf_counter() - start:.0f} s", flush=True)
            for n_people in missing:
                command = [sys.executable, __file__, "--one", folder, str(n_people)]
                ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if ran.returncode:  # the memory of this machine may not do, which the sizes measured so far should survive
                    print(f"{n_people:,} people x {n_regions} regions ended with exit code {ran.returncode}; left out", flush=True)
                    continue
                answer = json.loads(ran.stdout.splitlines()[-1])
                rows.append({"people": n_people, "regions": n_regions, "phenotypes": options.phenotypes, **answer})
                print(line(rows[-1]), flush=True)
                if not options.quick:
                    harness.write("scale", {"sizes": ordered(rows), "slopes": slopes(rows)})
    for row in ordered(rows):
        print(line(row))
    for label, exponents in slopes(rows).items():
        print(f"{label}: " + ", ".join(f"{what} {exponent:.2f}" for what, exponent in exponents.items()))


def write_cohort(folder: Path, n_people: int, n_regions: int, n_phenotypes: int) -> None:
    """A simulated cohort, drawn and written a chunk at a time."""
    small = simulate_cohort(2, n_regions, n_phenotypes, seed=0, measure="sift2_fbc", missing=0)
    world, draw = small.truth.world, np.random.default_rng(1)
    traits = choose_traits(n_phenotypes)
    table = leave_gaps(draw_people(traits, n_people, draw), traits, MISSING, draw)
    scores = world.effects.scores(world.effects.encode(table))
    everybody = Cohort(
        np.broadcast_to(np.float32(0), (n_people, small.n_edges)),
        table,
        small.atlas,
        measure=small.measure,
        name=f"{n_people} x {n_regions}",
        described=small.described,
        check=False,
    )
    write_rows(folder / "connectomes.npy", everybody.weights.shape, lambda rows: world.draw(scores[rows], draw))
    everybody.write_tables(folder)


def fitted(folder: Path, n_people: int) -> dict[str, Any]:
    """Fit the generator to a folder's first people, in this process."""
    warnings.simplefilter("ignore", ConnectomeWarning)
    whole = Cohort.load(folder)
    cohort = Cohort(
        whole.weights[:n_people],
        whole.phenotypes.iloc[:n_people],
        whole.atlas,
        measure=whole.measure,
        name=whole.name,
        described=whole.described,
        check=False,
    )
    counter = _Rows(cohort)
    with _Memory() as memory:
        start = time.perf_counter()
        model = ConnectomeGenerator(seed=0).fit(cohort)
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "megabytes": memory.peak / 1e6,
        "megabytes_above_start": (memory.peak - memory.start) / 1e6,
        "megabytes_with_cached_file": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_megabytes": 4 * n_people * cohort.n_edges / 1e6,
        "readings_of_the_file": counter.rows / n_people,
        "r2": float(model.earned["r2"].drop("message-passing network", errors="ignore").iloc[-1]),
    }


class _Rows:
    """Counts the rows that are read of a cohort and of what is taken of it."""

    def __init__(self, cohort: Cohort) -> None:
        self.rows = 0
        read = Cohort.read

        def counted(part: Cohort, rows: Any) -> Any:
            values = read(part, rows)
            self.rows += len(values)
            return values

        Cohort.read = counted  # type: ignore[method-assign]


class _Memory:
    """The most anonymous memory of this process (bytes) while a block runs: pages of mapped files do not count."""

    def __enter__(self) -> _Memory:
        self.start = self.peak = _anonymous()
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.over.wait(0.01):
            self.peak = max(self.peak, _anonymous())


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(row for row in status.splitlines() if row.startswith("RssAnon")).split()[1])


def slopes(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Exponent of time and memory in the number of people, for each number of regions, and in regions, for each number of people."""
    table = pd.DataFrame(rows)
    answer = {}
    for by, along in (("regions", "people"), ("people", "regions")):
        for value, part in table.groupby(by):
            if len(part) > 1:
                answer[f"in {along}, {value:,} {by}"] = {
                    what: float(np.polyfit(np.log(part[along]), np.log(part[what].clip(lower=1e-6)), 1)[0]) for what in WHAT
                }
    return answer


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by regions, then people."""
    return sorted(rows, key=lambda row: (row["regions"], row["people"]))


def line(row: dict[str, Any]) -> str:
    """One size in words."""
    return (
        f"{row['people']:6,} people x {row['regions']:3d} regions: {row['seconds']:7.1f} s, {row['megabytes']:6.0f} MB "
        f"(file {row['file_megabytes']:6.0f} MB, read {row['readings_of_the_file']:.1f} times)"
    )


if __name__ == "__main__":
    main()

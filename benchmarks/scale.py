"""Time and memory of a fit by people and regions, and the slope of each.

python benchmarks/scale.py [--people 1000 2000 ...] [--regions 84 200 400] [--phenotypes 40] [--folder DIR] [--again] [--quick]

Every size runs in a process of its own, on a memory-mapped cohort that is written in chunks and deleted again (16 GB for 50,000
people of 400 regions). What is measured already is not measured again, so that a run may be broken off; ``--again`` forgets it.
Stages are told apart: decomposition (with everything before it), closed form, network, residual, and drawing 1,000 people.
Memory is what the process itself holds (anonymous pages, looked at every 5 ms), beside the kernel's peak, which counts the pages of
files that happen to be cached. A slope is the exponent of a power law, by least squares on logarithms.
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

FULL = {84: [1000, 2000, 5000, 10_000, 20_000, 50_000], 200: [1000, 5000, 20_000], 400: [1000, 5000, 20_000, 50_000]}
QUICK = {48: [1000, 2000, 4000], 96: [1000]}
"""Numbers of people, by numbers of regions."""
MISSING = 0.05
SPARE = 1.2
"""Free space asked for, in sizes of the cohort's file."""
SAMPLES = 1000
WHAT = ("seconds", "megabytes", "megabytes_above_start")


def main() -> None:
    """Measure what is missing, write results/scale.json after every size, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", nargs="*", type=int, help="default: a choice of 1,000 to 50,000 that depends on the regions")
    parser.add_argument("--regions", nargs="*", type=int, default=list(FULL))
    parser.add_argument("--phenotypes", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="where cohorts are written for the time being; default the system's temporary folder")
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--quick", action="store_true", help="four small sizes, nothing written")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "PEOPLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(fitted(Path(options.one[0]), int(options.one[1]))))
        return
    sizes = QUICK if options.quick else {number: options.people or FULL.get(number, FULL[84]) for number in options.regions}
    found = {} if options.again or options.quick else harness.known("scale")
    rows: list[dict[str, Any]] = [row for row in found.get("sizes", []) if row["phenotypes"] == options.phenotypes]
    for n_regions, people in sizes.items():
        done = {row["people"] for row in rows if row["regions"] == n_regions}
        missing = sorted(set(people) - done)
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
    print(summary({"sizes": ordered(rows), "slopes": slopes(rows)}))


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
    """Fit the generator to a folder's first people and draw new ones, in this process."""
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
    with _Watch(n_people) as watch:
        model = _Staged(watch).fit(cohort)
        fit_seconds, readings = watch.seconds, watch.readings
        watch.stage("sample")
        model.sample(cohort.phenotypes.iloc[:SAMPLES], seed=0)
    megabytes = max(stage["megabytes"] for name, stage in watch.stages.items() if name != "sample")
    return {
        "seconds": fit_seconds,
        "megabytes": megabytes,
        "megabytes_above_start": megabytes - watch.at_start / 1e6,
        "megabytes_with_cached_files": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_megabytes": 4 * n_people * cohort.n_edges / 1e6,
        "readings_of_the_file": readings,
        "samples_a_second": min(SAMPLES, n_people) / watch.stages["sample"]["seconds"],
        "r2": float(model.closed_form.paths["r2"].iloc[-1]),
        "stages": watch.stages,
    }


class _Watch:
    """Seconds, readings of the cohort and the most memory, stage by stage.

    Memory is this process's anonymous pages, looked at every few milliseconds: pages of files, which the system takes back whenever it
    needs them, do not count, neither the cohort's nor those of temporary files.
    """

    def __init__(self, n_people: int) -> None:
        self.n_people, self.rows = n_people, 0
        self.stages: dict[str, dict[str, float]] = {}

    def __enter__(self) -> _Watch:
        read = Cohort.read

        def counted(part: Cohort, rows: Any) -> Any:
            values = read(part, rows)
            self.rows += len(values)
            return values

        Cohort.read = counted  # type: ignore[method-assign]
        self.at_start = self.peak = _anonymous()
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self._look, daemon=True)
        self.watcher.start()
        self.name, self.since, self.rows_before = "decomposition", time.perf_counter(), 0
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.over.set()
        self.watcher.join()

    def stage(self, name: str) -> None:
        """From here on it is another stage."""
        self._close()
        self.name, self.since, self.rows_before, self.peak = name, time.perf_counter(), self.rows, _anonymous()

    def _close(self) -> None:
        self.peak = max(self.peak, _anonymous())
        self.stages[self.name] = {
            "seconds": time.perf_counter() - self.since,
            "megabytes": self.peak / 1e6,
            "readings_of_the_file": (self.rows - self.rows_before) / self.n_people,
        }

    @property
    def seconds(self) -> float:
        """Of all stages so far, the one at work included."""
        return sum(stage["seconds"] for stage in self.stages.values()) + time.perf_counter() - self.since

    @property
    def readings(self) -> float:
        """How often the cohort's file has been read so far."""
        return self.rows / self.n_people

    def _look(self) -> None:
        while not self.over.wait(0.005):
            self.peak = max(self.peak, _anonymous())


class _Staged(ConnectomeGenerator):
    """The generator, telling a watch where it is."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__(seed=0)
        self.watch = watch

    def _fit_closed_form(self, *given: Any) -> Any:
        self.watch.stage("closed form")
        return super()._fit_closed_form(*given)

    def _fit_network(self, *given: Any) -> Any:
        self.watch.stage("network")
        return super()._fit_network(*given)

    def _fit_residual(self, *given: Any) -> Any:
        self.watch.stage("residual")
        return super()._fit_residual(*given)


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


def summary(record: dict[str, Any]) -> str:
    """The tables in Markdown."""
    lines = [
        "| people | regions | fit, s | memory, MB | of which the fit's | file, MB | readings of the file | samples a second, first draw |",
        "|---" * 8 + "|",
        *(
            f"| {row['people']:,} | {row['regions']} | {row['seconds']:.0f} | {row['megabytes']:,.0f} "
            f"| {row['megabytes_above_start']:,.0f} | {row['file_megabytes']:,.0f} | {row['readings_of_the_file']:.1f} "
            f"| {row['samples_a_second']:,.0f} |"
            for row in record["sizes"]
        ),
    ]
    lines += ["", "| exponent | of time | of memory | of memory above the start |", "|---" * 4 + "|"]
    for label, exponents in record["slopes"].items():
        lines.append(f"| {label} | {' | '.join(f'{exponents[what]:.2f}' for what in WHAT)} |")
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    """One size in words."""
    stages = ", ".join(
        f"{name} {stage['seconds']:.0f} s {stage['megabytes']:.0f} MB {stage['readings_of_the_file']:.1f} x"
        for name, stage in row["stages"].items()
    )
    return (
        f"{row['people']:6,} people x {row['regions']:3d} regions: {row['seconds']:7.1f} s, {row['megabytes']:6.0f} MB "
        f"(file {row['file_megabytes']:6.0f} MB, read {row['readings_of_the_file']:.1f} times; {stages}; "
        f"{row['samples_a_second']:.0f} samples a second)"
    )


if __name__ == "__main__":
    main()

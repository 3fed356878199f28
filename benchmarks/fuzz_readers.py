"""Every reader on damaged files: a sentence or a right answer, never another exception, a crash, a hang or memory without bound.

python benchmarks/fuzz_readers.py [--inputs 100000] [--reader csv --reader mat5 ...]

Each reader gets its inputs from three engines: seeded mutations of real files, hypothesis (which shrinks what fails), and atheris, which
follows the code that an input reaches. An engine's inputs come in parts, each in a process of its own, so that a crash or a hang is a
result too; the input that failed is kept in the folder that is printed. Results are written after every part: the same call after an
interruption goes on with the parts that are missing or failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

SHARES = {"mutation": 0.4, "hypothesis": 0.1, "atheris": 0.5}
PARTS = {"mutation": 10_000, "hypothesis": 10_000, "atheris": 50_000}
"""Inputs of a part; atheris learns within a part, so that its parts are long."""
LONGEST = 30
"""Seconds that one input may take."""
MOST_MEMORY_MB = 1024
"""Memory that an engine may grow by."""


def largest_memory() -> float:
    """Largest resident memory of this process so far, MB (ru_maxrss would count the parent's)."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Counter:
    """Counts what became of inputs, and says so in a file at the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, Any] = {"inputs": 0, "read": 0, "refused": 0, "slowest_seconds": 0.0, "failure": None}
        self.before = largest_memory()

    def feed(self, target: Any, content: bytes, folder: Path) -> None:
        """Run one input; an exception that is not allowed is noted and raised."""
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        start = time.perf_counter()
        self.counts["inputs"] += 1
        try:
            self.counts["read" if target.run(content, folder) else "refused"] += 1
        except BaseException:
            self.counts["failure"] = traceback.format_exc()[-3000:]
            self.save()
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.counts["slowest_seconds"] = max(self.counts["slowest_seconds"], time.perf_counter() - start)
        if self.counts["inputs"] % 500 == 0:
            self.save()

    def save(self) -> None:
        """Write the counts."""
        self.counts["memory_growth_mb"] = round(largest_memory() - self.before, 1)
        self.path.write_text(json.dumps(self.counts))


def by_mutation(name: str, n_inputs: int, seed: int, folder: Path) -> None:
    """Seeded mutations of the target's files."""
    from fuzz_targets import TARGETS, mutated

    target, rng, counter = TARGETS[name], np.random.default_rng(seed), Counter(folder / "counts.json")
    for _ in range(n_inputs):
        counter.feed(target, mutated(rng, target.seeds), folder)
    counter.save()


def by_hypothesis(name: str, n_inputs: int, seed: int, folder: Path) -> None:
    """Changes drawn, and shrunk, by hypothesis."""
    import hypothesis
    from fuzz_targets import TARGETS, TOKENS
    from hypothesis import strategies as st

    target, counter = TARGETS[name], Counter(folder / "counts.json")
    change = st.tuples(st.integers(0, max(map(len, target.seeds))), st.integers(0, 60), st.sampled_from(TOKENS) | st.binary(max_size=12))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n_inputs,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(st.sampled_from(target.seeds), st.lists(change, min_size=1, max_size=6))
    def run(content: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        for place, length, piece in changes:
            content = content[:place] + piece + content[place + length :]
        counter.feed(target, content, folder)

    run()
    counter.save()


def by_atheris(name: str, n_inputs: int, seed: int, folder: Path) -> None:
    """Inputs that atheris makes of the seeds, guided by the readers' code."""
    import atheris

    with atheris.instrument_imports(include=["connectome_gnn.readers"]):
        from fuzz_targets import TARGETS
    target, counter = TARGETS[name], Counter(folder / "counts.json")
    corpus = folder / "corpus"
    corpus.mkdir()
    for n, content in enumerate(target.seeds):
        (corpus / str(n)).write_bytes(content)

    def run(content: bytes) -> None:
        counter.feed(target, content, folder)
        if counter.counts["inputs"] >= n_inputs:
            counter.save()
            os._exit(0)

    most = max(map(len, target.seeds)) * 2 + 256
    atheris.Setup([sys.argv[0], f"-seed={seed + 1}", f"-max_len={most}", "-verbosity=0", f"-artifact_prefix={folder}/", str(corpus)], run)
    atheris.Fuzz()


ENGINES = {"mutation": by_mutation, "hypothesis": by_hypothesis, "atheris": by_atheris}


def engine(name: str, how: str, n_inputs: int, seed: int) -> dict[str, Any]:
    """One engine on one reader, in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz_{name}_{how}_"))
    command = [sys.executable, __file__, "--run", name, how, str(n_inputs), str(seed), str(folder)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    counts = json.loads((folder / "counts.json").read_text()) if (folder / "counts.json").is_file() else {"inputs": 0, "failure": None}
    if counts["failure"] is None and done.returncode != 0:
        counts["failure"] = f"ended with {done.returncode}: {done.stderr[-2000:]}"
    if counts["failure"] is None and counts.get("memory_growth_mb", 0) > MOST_MEMORY_MB:
        counts["failure"] = f"memory grew by {counts['memory_growth_mb']} MB"
    counts["seconds"] = round(time.perf_counter() - start, 1)
    if counts["failure"] is None:
        shutil.rmtree(folder)
    else:
        print(f"{name} by {how}: {counts['failure']}\nthe input is in {folder}")
    return counts


def summary(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An engine's parts together."""
    done = parts.values()
    counts: dict[str, Any] = {name: sum(part.get(name, 0) for part in done) for name in ("inputs", "read", "refused")}
    for name in ("slowest_seconds", "memory_growth_mb"):
        counts[name] = max(part.get(name, 0.0) for part in done)
    counts["seconds"] = round(sum(part["seconds"] for part in done), 1)
    counts["failure"] = next((part["failure"] for part in done if part["failure"] is not None), None)
    return {**counts, "parts": parts}


def whole(part: dict[str, Any] | None) -> bool:
    """Whether a part was run without a failure."""
    return part is not None and part["failure"] is None


def main() -> None:
    """Fuzz the readers asked for, and write ``results/fuzz_readers.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs a reader")
    parser.add_argument("--reader", action="append", help="a reader (several allowed); default all")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="an engine (several allowed); default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--anew", action="store_true", help="run parts that were run before again")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        warnings.simplefilter("ignore")
        name, how, n_inputs, seed, folder = asked.run
        ENGINES[how](name, int(n_inputs), int(seed), Path(folder))
        return
    from fuzz_targets import TARGETS
    from harness import known, write

    engines = asked.engine or list(ENGINES)
    share = sum(SHARES[how] for how in engines)
    readers = {} if asked.anew else known("fuzz_readers").get("readers", {})
    for name in asked.reader or TARGETS:
        results = readers.setdefault(name, {})
        for how in engines:
            n_inputs = round(asked.inputs * SHARES[how] / share)
            parts: dict[str, dict[str, Any]] = {}
            before = results.get(how, {}).get("parts", {})
            for first in range(0, n_inputs, PARTS[how]):
                size = min(PARTS[how], n_inputs - first)
                key = f"seed {asked.seed}, {size} inputs from {first}"
                parts[key] = before[key] if whole(before.get(key)) else engine(name, how, size, 1000 * asked.seed + first // PARTS[how])
                results[how] = summary(parts)
                write("fuzz_readers", {"readers": readers})
            print(name, how, {key: value for key, value in results[how].items() if key not in ("failure", "parts")}, flush=True)
    chosen = [readers[name][how] for name in asked.reader or TARGETS for how in engines]
    print(f"{sum(result['inputs'] for result in chosen):,} inputs, {sum(result['failure'] is not None for result in chosen)} failures")
    sys.exit(1 if any(result["failure"] is not None for result in chosen) else 0)


if __name__ == "__main__":
    main()

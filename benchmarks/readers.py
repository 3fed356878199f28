"""How fast and in how much memory people are read: 1,000 UK Biobank archives, and a table of 500,000 people's phenotypes.

Each reading runs in a process of its own, whose resident memory (with its workers') is sampled. Rivals: the loop that a user
would write (zipfile and numpy.loadtxt), and pandas.read_csv of the whole table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

TASKS = {
    "archives": """
import warnings
warnings.simplefilter("ignore")
from connectome_gnn.readers import convert_cohort
import pandas as pd
people = pd.read_csv(source + "/people.tsv", sep="\\t", dtype={"participant_id": str}).set_index("participant_id")
cohort = convert_cohort(source + "/bulk", out, participants=people, atlas="ukb_aparc_tian_s1", measure="streamline_count", workers=workers)
answer["n_people"] = len(cohort)
""",
    "archives_rival": """
import zipfile, io, glob
import numpy as np
rows = []
for path in sorted(glob.glob(source + "/bulk/*.zip")):
    with zipfile.ZipFile(path) as archive:
        matrix = np.loadtxt(io.TextIOWrapper(archive.open("connectome_streamline_count_10M.csv")), delimiter=",")
    rows.append(matrix[np.triu_indices(84, 1)].astype(np.float32))
np.save(out + ".npy", np.array(rows))
answer["n_people"] = len(rows)
""",
    "phenotypes": """
from connectome_gnn.readers import read_ukb_phenotypes
table, described = read_ukb_phenotypes(source + "/ukb.csv", instance=2)
answer["n_people"], answer["n_columns"] = table.shape
""",
    "phenotypes_rival": """
import pandas as pd
table = pd.read_csv(source + "/ukb.csv", low_memory=False)
answer["n_people"], answer["n_columns"] = table.shape
""",
}

RUN = """
import json, os, sys, threading, time
from pathlib import Path
source, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
answer = {"peak_mb": 0.0}

def resident(pid):
    try:
        parts = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return int(parts.get("VmRSS", "0 kB").split()[0]) / 1024 + sum(map(resident, children))

def watch():
    while True:
        answer["peak_mb"] = max(answer["peak_mb"], resident(os.getpid()))
        time.sleep(0.02)

import numpy, pandas
answer["before_mb"] = resident(os.getpid())
threading.Thread(target=watch, daemon=True).start()
start = time.perf_counter()
%s
answer["seconds"] = time.perf_counter() - start
print(json.dumps(answer))
"""


def run(task: str, source: Path, workers: int = 0) -> dict[str, float]:
    """A task in a process of its own: seconds and largest memory."""
    out = source / f"out_{task}_{workers}"
    command = [sys.executable, "-c", RUN % TASKS[task], str(source), str(out), str(workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def write_archives(folder: Path, n_people: int) -> None:
    """People of UK Biobank's 84 regions, four measures each."""
    from brains import brain, ukb_zip

    from connectome_gnn.atlases.lists import LISTS

    labels = LISTS["ukb_aparc_tian_s1"]
    base = [brain(labels, seed) for seed in range(20)]
    for n in range(n_people):
        matrix = np.round(base[n % 20] * (1 + (n % 97) / 97))
        ukb_zip(folder / "bulk", str(1_000_000 + n), matrix)
    ids = "\n".join(f"{1_000_000 + n}\t{45 + n % 40}" for n in range(n_people))
    (folder / "people.tsv").write_text(f"participant_id\tage\n{ids}\n")


def write_phenotypes(path: Path, n_people: int, n_columns: int) -> None:
    """A table in UK Biobank's style: numbers, codes with negative ones among them, words, gaps."""
    rng = np.random.default_rng(0)
    fields = [31, 21003, 21001, 20116, 1558, 1160, *range(25000, 25000 + n_columns - 6)]
    names = ["eid", *(f"p{field}" if field == 31 else f"p{field}_i2" for field in fields)]
    block = 5_000
    with path.open("w") as file:
        file.write(",".join(names) + "\n")
        numbers = rng.normal(100, 10, (block, n_columns - 6)).round(3).astype(str)
        numbers[rng.uniform(size=numbers.shape) < 0.2] = ""
        tails = [",".join(row) for row in numbers]
        for start in range(0, n_people, block):
            n = min(block, n_people - start)
            sex, age, bmi = rng.integers(0, 2, n), rng.integers(45, 83, n), rng.normal(27, 4, n).round(1)
            smoking = rng.choice(["Never", "Previous", "Current", "Prefer not to answer", ""], n)
            alcohol, sleep = rng.choice([1, 2, 3, 4, 5, 6, -3], n), rng.choice([5, 6, 7, 8, 9, -1, -3], n)
            file.writelines(
                f"{1_000_000 + start + i},{sex[i]},{age[i]},{bmi[i]},{smoking[i]},{alcohol[i]},{sleep[i]},{tails[i]}\n" for i in range(n)
            )


def main() -> None:
    """Run the benchmark and write ``results/readers.json``."""
    from harness import write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--participants", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=200)
    asked = parser.parse_args()
    record: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for n_people in (asked.people // 4, asked.people):
            part = place / f"ukb{n_people}"
            write_archives(part, n_people)
            for workers in (0, 1, 2):
                record[f"archives_{n_people}_people_{workers or 'default'}_workers"] = run("archives", part, workers)
            record[f"archives_{n_people}_people_rival"] = run("archives_rival", part)
        start = time.perf_counter()
        write_phenotypes(place / "ukb.csv", asked.participants, asked.columns)
        print(f"wrote {(place / 'ukb.csv').stat().st_size / 1e6:,.0f} MB in {time.perf_counter() - start:.0f} s")
        record["phenotypes"] = run("phenotypes", place)
        record["phenotypes_rival"] = run("phenotypes_rival", place)
    for name, row in record.items():
        print(name, row)
    write("readers", record)


if __name__ == "__main__":
    main()

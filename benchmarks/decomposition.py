"""How much of the variance of exact components the streamed decomposition holds, beside scikit-learn's, and in what time.

python benchmarks/decomposition.py [--people 3000] [--regions 64] [--components 300]

The rivals get the standardised edges in memory; ours reads the cohort batch by batch. Times are of one processor core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import harness
import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.decomposition import IncrementalPCA
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from connectome_gnn import simulate_cohort
from connectome_gnn.generation.edge_space import EdgeSpace

LEADING = 50


def main() -> None:
    """Measure, print and write results/decomposition.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--regions", type=int, default=64)
    parser.add_argument("--components", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = compared(options.people, options.regions, options.components)
    for name, row in table.items():
        readings = "in memory" if row["readings"] is None else f"{row['readings']:.0f} readings"
        print(f"{name}: {row['captured']:.4f} of exact, first {LEADING} {row['captured_leading']:.5f}, {row['seconds']:.1f} s, {readings}")
    harness.write("decomposition", {**vars(options), "methods": table})


def compared(n_people: int, n_regions: int, k: int) -> dict[str, dict[str, float | None]]:
    """By method: variance held by its components as a share of exact ones', all and the leading ones, processor seconds, readings."""
    cohort = simulate_cohort(n_people, n_regions, 40, seed=0)
    start = time.process_time()
    space, scores = EdgeSpace.fit(cohort, n_components=k)
    ours = time.process_time() - start
    z = np.concatenate([values.copy() for _, values in space.standardised(cohort)])

    def exact() -> np.ndarray:
        return eigh(z.T.astype(np.float64) @ z, subset_by_index=(z.shape[1] - k, z.shape[1] - 1))[1][:, ::-1].T

    rivals: dict[str, tuple[Callable[[], np.ndarray], float | None]] = {
        "exact": (exact, None),
        "scikit-learn, incremental": (lambda: IncrementalPCA(k, batch_size=512).fit(z).components_, 1),
        "scikit-learn, randomised, 2 iterations": (lambda: randomized_svd(z, k, n_oversamples=20, n_iter=2, random_state=0)[2], 6),
    }
    held: dict[str, tuple[np.ndarray, float, float | None]] = {"ours": ((scores**2).sum(0), ours, 4)}
    for name, (components, readings) in rivals.items():
        start = time.process_time()
        basis = components()
        held[name] = (((z @ basis.T.astype(np.float32)) ** 2).sum(0, dtype=np.float64), time.process_time() - start, readings)
    best = held["exact"][0]
    return {
        name: {
            "captured": float(part.sum() / best.sum()),
            "captured_leading": float(part[:LEADING].sum() / best[:LEADING].sum()),
            "seconds": seconds,
            "readings": readings,
        }
        for name, (part, seconds, readings) in held.items()
    }


if __name__ == "__main__":
    main()

"""Planted cases of fidelity: shuffled people, whose p values must be uniform, and people who share part of their variance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome_gnn import Cohort, evaluate
from connectome_gnn.atlas import Atlas

TESTED = ("capture_edge_weight", "capture_strength", "capture_transitivity")
IDENTIFICATION = tuple(f"identification_{name}" for name in ("top1", "top5", "hungarian", "rank", "difference"))
ESTIMATED = ("r2_beyond_mean", "raw_r", "demeaned_r", *TESTED, *IDENTIFICATION, *(f"{name}_raw" for name in IDENTIFICATION))
REGIONS = 14


def study(n: int, seed: int, signal: float) -> tuple[Cohort, Cohort, Cohort]:
    """Generated, real and training people of one population; generated ones share ``signal`` of their variance with the real ones."""
    n_edges = REGIONS * (REGIONS - 1) // 2
    atlas = Atlas([f"region {i}" for i in range(REGIONS)])
    population, rng = np.random.default_rng(7), np.random.default_rng(seed)
    base, maps = population.uniform(2, 4, n_edges), 0.2 * population.standard_normal((10, n_edges))

    def people(factors: np.ndarray, prefix: str) -> Cohort:
        values = np.maximum(base + factors @ maps + 0.2 * rng.standard_normal((len(factors), n_edges)), 0)
        table = pd.DataFrame({"age": 50.0}, index=pd.Index([f"{prefix}{i:04d}" for i in range(len(factors))], name="participant_id"))
        return Cohort(np.expm1(values), table, atlas, measure="streamline_count")

    shared, own = rng.standard_normal((n, 10)), rng.standard_normal((n, 10))
    real = people(shared, "p")
    generated = people(np.sqrt(signal) * shared + np.sqrt(1 - signal) * own, "p")
    generated.kind = "sample"
    return generated, real, people(rng.standard_normal((200, 10)), "t")


def chance_p_values(repeats: int, seed: int = 0, n: int = 40, n_permutations: int = 199) -> pd.DataFrame:
    """p values of shuffled people, generated without a link to the real ones: one row a repeat, one column a score."""
    rows = []
    for repeat in range(repeats):
        generated, real, train = study(n, seed + repeat, signal=0.0)
        parts = [*TESTED, *IDENTIFICATION]
        scores = evaluate(
            generated,
            real,
            train,
            parts=parts,
            measures=("strength", "transitivity"),
            n_bootstrap=0,
            n_permutations=n_permutations,
            seed=repeat,
        )
        rows.append(scores.table.set_index("score")["p"])
    return pd.DataFrame(rows).reset_index(drop=True)


def interval_hits(repeats: int, seed: int = 0, n: int = 60, signal: float = 0.4, n_bootstrap: int = 300) -> pd.DataFrame:
    """Whether each score's interval holds what the score is on average: index score; columns truth, hits, repeats, coverage."""
    tables = []
    for repeat in range(repeats):
        generated, real, train = study(n, seed + repeat, signal)
        options = {"measures": ("strength", "transitivity"), "n_bootstrap": n_bootstrap, "n_permutations": 0, "seed": repeat}
        tables.append(evaluate(generated, real, train, parts=list(ESTIMATED), **options).table.set_index("score"))
    found = pd.concat(tables, keys=range(repeats), names=["repeat"])
    truth = found["value"].groupby("score", sort=False).mean()
    inside = (found["low"] <= truth.reindex(found.index, level="score")) & (truth.reindex(found.index, level="score") <= found["high"])
    hits = inside.groupby("score", sort=False).sum()
    return pd.DataFrame({"truth": truth, "hits": hits, "repeats": repeats, "coverage": hits / repeats})

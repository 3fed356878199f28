"""Planted cases of distribution: generators that are right, or wrong in a known way, study after study.

Every study draws real people afresh and a generator's samples for them. What a score estimates is its expectation for cohorts of these
sizes, that is, its average over studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import Scale
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.distribution import distribution_scores
from connectome_gnn.evaluation.reference import Reference

__all__ = ["CASES", "NOTHING_TO_FIND", "studies", "study"]

CASES = {
    "same": {},
    "other people": {"paired": False},
    "narrow": {"spread": 0.7},
    "shifted": {"shift": 0.15},
    "one sample": {"samples": 1},
}
"""Generators: the truth itself; the truth, for other people; too little spread; everything stronger; one sample a person."""

NOTHING_TO_FIND = ("same", "other people", "one sample")
"""Cases in which generated people are drawn as the real ones are, so that every p is uniform."""

CLASSIFIERS = ("two_sample_auc_components", "two_sample_auc_topology")
"""Scores that take ten times as long as all the others together."""


@dataclass(frozen=True)
class World:
    """People of ``n_regions`` regions whose edges share factors, a tenth of which phenotypes explain, with absent edges."""

    n_regions: int = 16
    n_factors: int = 4

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return self.n_regions * (self.n_regions - 1) // 2

    def cohort(self, expected: NDArray, ids: Sequence[str], rng: np.random.Generator, samples: int, spread: float, shift: float) -> Cohort:
        """Connectomes of people with these expectations."""
        fixed = np.random.default_rng(0)
        load = 0.3 * fixed.standard_normal((self.n_factors, self.n_edges))
        presence = np.clip(fixed.uniform(0.4, 1.6, self.n_edges), 0, 1)
        n = len(expected) * samples
        noise = rng.standard_normal((n, self.n_factors)) @ load + 0.3 * rng.standard_normal((n, self.n_edges))
        weights = Scale(False).inverse(np.repeat(expected, samples, 0) + shift + spread * noise) * (
            rng.random((n, self.n_edges)) < presence
        )
        table = pd.DataFrame({"age": np.full(n, 50.0)}, index=pd.Index(np.repeat(ids, samples), name="participant_id"))
        if samples > 1:
            table["sample"] = np.tile(np.arange(samples), len(expected))
        places = fixed.normal(0, 40, (self.n_regions, 3))
        atlas = Atlas([f"region {i}" for i in range(self.n_regions)], xyz=places)
        return Cohort(weights, table, atlas, measure="streamline_count", kind="sample" if spread else "expected")

    def expectations(self, n: int, rng: np.random.Generator) -> NDArray:
        """(n, E) what phenotypes say of n people."""
        fixed = np.random.default_rng(1)
        return fixed.uniform(2, 4, self.n_edges) + 0.15 * rng.standard_normal((n, 2)) @ fixed.standard_normal((2, self.n_edges))


def study(
    case: str, seed: int, n_people: int = 60, n_bootstrap: int = 300, n_permutations: int = 99, classifiers: bool = False
) -> list[dict[str, Any]]:
    """One study: every distribution score but the classifiers', or those alone, with its interval and p, a row each."""
    options = {"samples": 3, "spread": 1.0, "shift": 0.0, "paired": True} | CASES[case]
    world, rng = World(), np.random.default_rng([seed, len(case)])
    train = world.cohort(
        world.expectations(200, np.random.default_rng(7)), [f"t{i}" for i in range(200)], np.random.default_rng(8), 1, 1, 0
    )
    ids = [f"p{i:04d}" for i in range(n_people)]
    expected = world.expectations(n_people, rng)
    real = world.cohort(expected, ids, rng, 1, 1, 0)
    if not options["paired"]:
        ids, expected = [f"q{i:04d}" for i in range(n_people)], world.expectations(n_people, rng)
    generated = world.cohort(expected, ids, rng, options["samples"], options["spread"], options["shift"])
    comparison = Comparison.of(
        generated, real, Reference.of(train), paired=False, n_bootstrap=n_bootstrap, n_permutations=n_permutations, seed=seed
    )
    rows = []
    for score in distribution_scores(comparison.measures):
        if (score.name in CLASSIFIERS) != classifiers or (score.paired and not comparison.paired):
            continue
        found = score.estimate(comparison)
        if np.isfinite(found.values[0]):
            low, high = np.quantile(found.values[1:], (0.025, 0.975))
            row = {"score": score.name, "value": found.values[0], "low": low, "high": high, "p": found.p, "null": found.null}
            rows.append(row | {"real_vs_real": found.real_vs_real})
    return rows


def studies(case: str, repeats: int = 200, n_jobs: int = 1, **options: Any) -> pd.DataFrame:
    """Many studies of one case."""
    tables = Parallel(n_jobs=n_jobs)(delayed(study)(case, seed, **options) for seed in range(repeats))
    return pd.DataFrame([row for rows in tables for row in rows])

"""Tiny cohorts for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort


def make_atlas(n_regions: int = 6) -> Atlas:
    """Regions on a half circle in each hemisphere, alternating between two networks; the last one's place is unknown."""
    angle = np.arange(n_regions) * np.pi / n_regions
    xyz = np.stack([40 * np.cos(angle) + 0.1 / 3, 60 * np.sin(angle), angle * 10], 1)
    xyz[-1] = np.nan
    return Atlas(
        [f"Région {n}" for n in range(n_regions)],
        hemisphere=["L" if 2 * n < n_regions else "R" for n in range(n_regions - 1)] + ["n/a"],
        network=[("Visual", "Default")[n % 2] for n in range(n_regions - 1)] + ["n/a"],
        xyz=xyz,
        name="half circles",
    )


DESCRIBED = {
    "age": {"Description": "age at scan", "Units": "years", "Group": "age_sex"},
    "sex": {"Description": "sex, coded", "Levels": {"0": "female", "1": "male"}, "Group": "age_sex"},
    "site": {"Levels": {"c": "Zürich", "a": "Aachen", "b": "Bonn"}, "Group": "site"},
    "smoking": {"Levels": {"0": "never", "1": "former", "2": "current"}, "Kind": "ordinal", "Group": "lifestyle"},
}


def make_phenotypes(n_people: int = 12, seed: int = 0) -> pd.DataFrame:
    """A phenotype of each kind, with a gap in each."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": generator.normal(60, 8, n_people),
            "sex": generator.choice(["0", "1"], n_people),
            "site": generator.choice(["a", "b", "c"], n_people),
            "smoking": generator.choice(["0", "1", "2"], n_people),
            "trials": generator.integers(3, 90, n_people),
        },
        index=pd.Index([f"sub-{n:03d}" for n in range(n_people)], name="participant_id"),
    )
    for person, name in zip(table.index, ["age", "sex", "site", "smoking"], strict=False):
        table.loc[person, name] = np.nan
    return table


def make_weights(n_people: int = 12, n_regions: int = 6, signed: bool = False, seed: int = 0) -> np.ndarray:
    """Edge weights (N, E) float32: correlations, or log-normal counts with exact zeros."""
    generator = np.random.default_rng(seed)
    shape = (n_people, n_regions * (n_regions - 1) // 2)
    if signed:
        return np.tanh(generator.normal(0.2, 0.4, shape)).astype(np.float32)
    return (generator.lognormal(3, 1, shape) * (generator.random(shape) > 0.3)).astype(np.float32)


def make_cohort(n_people: int = 12, n_regions: int = 6, signed: bool = False, seed: int = 0, **changes: Any) -> Cohort:
    """A small cohort; ``changes`` replace arguments of Cohort."""
    arguments: dict[str, Any] = {
        "weights": make_weights(n_people, n_regions, signed, seed),
        "phenotypes": make_phenotypes(n_people, seed),
        "atlas": make_atlas(n_regions),
        "measure": "pearson" if signed else "streamline_count",
        "signed": signed,
        "name": "tiny",
        "described": DESCRIBED,
        "info": {"licence": "none", "year": 2024},
    }
    return Cohort(**{**arguments, **changes})


def make_samples(n_people: int = 4, n_samples: int = 3, **changes: Any) -> Cohort:
    """Several samples of each person, a person's rows together."""
    table = make_phenotypes(n_people)
    table = table.loc[np.repeat(table.index, n_samples)].assign(sample=np.tile(np.arange(n_samples), n_people))
    return make_cohort(n_people * n_samples, **{"phenotypes": table, "kind": "sample", **changes})

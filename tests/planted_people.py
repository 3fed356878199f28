"""People whose phenotypes are written into their edges, for the tests of prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from tiny import make_atlas

from connectome_gnn.cohort import Cohort

DESCRIBED = {
    "age": {"Units": "years"},
    "noise": {"Units": "points"},
    "motion": {"Units": "mm"},
    "sex": {"Levels": {"F": "female", "M": "male"}},
    "group": {"Levels": {"0": "control", "1": "mild", "2": "severe"}},
    "coin": {"Levels": {"a": "heads", "b": "tails"}},
    "site": {"Levels": {"x": "X", "y": "Y", "z": "Z"}},
}


def planted(n_people: int = 90, n_regions: int = 10, signed: bool = True, strength: float = 1.0, seed: int = 0, **changes: Any) -> Cohort:
    """People whose age, sex and group move some edges, whose motion moves others; noise and coin move none."""
    generator = np.random.default_rng(seed)
    n_edges = n_regions * (n_regions - 1) // 2
    table = pd.DataFrame(
        {
            "age": generator.uniform(20, 80, n_people).round(1),
            "noise": generator.normal(0, 1, n_people),
            "motion": generator.exponential(1, n_people),
            "sex": generator.permutation(np.resize(["F", "M"], n_people)),
            "group": generator.permutation(np.resize(["0", "1", "2"], n_people)),
            "coin": generator.permutation(np.resize(["a", "b"], n_people)),
            "site": generator.permutation(np.resize(["x", "y", "z"], n_people)),
        },
        index=pd.Index([f"sub-{n:03d}" for n in range(n_people)], name="participant_id"),
    )
    z = generator.normal(0.3, 0.2, (n_people, n_edges))
    effects = {"age": (table["age"] - 50) / 20, "sex": table["sex"] == "M", "motion": table["motion"]}
    for place, values in enumerate(effects.values()):
        z[:, place::6] += 0.15 * strength * np.asarray(values, float)[:, None]
    for level in range(3):
        z[:, 3 + level :: 9] += 0.2 * strength * (table["group"] == str(level)).to_numpy(float)[:, None]
    weights = np.tanh(z) if signed else np.expm1(np.maximum(z + 2, 0))
    arguments: dict[str, Any] = {
        "weights": weights.astype(np.float32),
        "phenotypes": table,
        "atlas": make_atlas(n_regions),
        "measure": "pearson" if signed else "streamline_count",
        "signed": signed,
        "name": "planted",
        "described": DESCRIBED,
    }
    return Cohort(**{**arguments, **changes})

"""Cohorts of several sites whose effects are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from tiny import make_atlas

from connectome_gnn.cohort import Cohort

DESCRIBED = {
    "age": {"Units": "years", "Group": "age_sex"},
    "sex": {"Levels": {"0": "female", "1": "male"}, "Group": "age_sex"},
    "site": {"Levels": {"a": "Aachen", "b": "Bonn", "c": "Celle"}, "Group": "site"},
}


def make_sites(
    n_people: int = 90,
    n_regions: int = 10,
    *,
    sites: str = "abc",
    shift: float = 0.6,
    spread: float = 0.7,
    absent: float = 0.0,
    signed: bool = False,
    seed: int = 0,
    **columns: Any,
) -> Cohort:
    """People of sites of equal size, with effects of age and sex, and of the site on means (``shift``) and spreads (``spread``).

    The truth on the modelling scale: ``cohort.info["clean"]``, values without site effects, and ``cohort.info["age"]``, the age slopes.
    """
    generator = np.random.default_rng(seed)
    n_edges = n_regions * (n_regions - 1) // 2
    site = np.arange(n_people) % len(sites)
    age, sex = generator.integers(40, 80, n_people).astype(float), generator.integers(0, 2, n_people)
    slopes = generator.normal(0, 0.1, n_edges)
    clean = (age[:, None] - 60) / 10 * slopes + sex[:, None] * generator.normal(0, 0.2, n_edges)
    noise = generator.normal(0, 0.3, (n_people, n_edges))
    shifts = shift * generator.normal(0.3, 0.5, (len(sites), n_edges))
    spreads = np.exp(spread * generator.normal(0, 0.5, (len(sites), 1)) + 0.2 * spread * generator.normal(size=(len(sites), n_edges)))
    level = generator.normal(0.1 if signed else 4, 0.2, n_edges)
    values = level + clean + shifts[site] + spreads[site] * noise
    weights = np.tanh(values * 0.3) if signed else np.expm1(np.maximum(values, 0.2))
    weights *= generator.random((n_people, n_edges)) >= absent
    names = np.array(list(sites))[site]
    index = pd.Index([f"sub-{n:03d}" for n in range(n_people)], name="participant_id")
    table = pd.DataFrame({"age": age, "sex": sex.astype(str), "site": names, **columns}, index=index)
    return Cohort(
        weights,
        table,
        make_atlas(n_regions),
        measure="pearson" if signed else "streamline_count",
        signed=signed,
        name="sites",
        described=DESCRIBED,
        info={"clean": level + clean + noise, "age": slopes},
    )


def modelled(cohort: Cohort) -> np.ndarray:
    """Everybody's values on the modelling scale, (N, E) float64."""
    return cohort.scale.forward(cohort.weights, np.float64)

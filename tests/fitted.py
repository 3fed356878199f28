"""Simulated cohorts and models fitted on them, made once for all tests that look at them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.rivals import RIVALS
from connectome_gnn.simulate import simulate_cohort


@cache
def halves(measure: str = "streamline_count") -> tuple[Cohort, Cohort]:
    """400 people to train on and 800 to test on, 20 regions, 12 phenotypes."""
    cohort = simulate_cohort(1200, 20, 12, seed=1, measure=measure)
    return cohort.split(1 / 3, seed=0)


@cache
def generator(measure: str = "streamline_count") -> ConnectomeGenerator:
    """The generator fitted on the training people of :func:`halves`."""
    return ConnectomeGenerator(seed=0).fit(halves(measure)[0])


@cache
def rival(name: str) -> ConnectomeModel:
    """A rival fitted on the training people of :func:`halves`."""
    return RIVALS[name](0).fit(halves()[0])


def modelled(cohort: Cohort) -> NDArray[np.float64]:
    """Weights (N, E) on the modelling scale, float64."""
    return cohort.scale.forward(cohort.weights).astype(np.float64)


def standardised(cohort: Cohort, training: Cohort) -> NDArray[np.float64]:
    """Edges (N, kept) in standard deviations of training people, those that half of them have and that differ."""
    values = modelled(training)
    kept = ((values != 0).mean(0) >= 0.5) & (values.std(0) > 1e-6)
    return ((modelled(cohort) - values.mean(0)) / np.where(kept, values.std(0), 1))[:, kept]


def squared_errors(expected: Cohort, real: Cohort, training: Cohort) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each person's squared distance to the expected connectome and to the training mean, (N,) each."""
    ours, theirs = standardised(expected, training), standardised(real, training)
    return ((theirs - ours) ** 2).sum(1), (theirs**2).sum(1)


def r2_beyond_mean(model: ConnectomeModel, real: Cohort, training: Cohort) -> float:
    """Share of held-out people's distance to the training mean that the model takes away."""
    error, total = squared_errors(model.expected(real.phenotypes), real, training)
    return float(1 - error.sum() / total.sum())


def plain_table(n_people: int, seed: int = 0) -> pd.DataFrame:
    """Complete phenotypes of every kind but text: age, sex, two traits and a site."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": draw.uniform(45, 82, n_people),
            "sex": draw.choice(["F", "M"], n_people),
            "height": draw.normal(170, 9, n_people),
            "memory": draw.normal(0, 1, n_people),
            "site": draw.choice(["a", "b", "c"], n_people),
        },
        index=pd.Index([f"p{n}" for n in range(n_people)], name="participant_id"),
    )


DESCRIBED = {
    "age": {"Units": "years", "Group": "age_sex"},
    "sex": {"Levels": {"F": "female", "M": "male"}, "Group": "age_sex"},
    "height": {"Units": "cm", "Group": "body"},
    "memory": {"Units": "z", "Group": "cognition"},
    "site": {"Levels": {"a": "A", "b": "B", "c": "C"}, "Group": "site"},
}

FAST = NetworkConfig(epochs=3)


def small_cohort(n_people: int = 40, n_regions: int = 6, signed: bool = False, seed: int = 0, **changes: Any) -> Cohort:
    """People whose edges depend on height and site; ``changes`` replace arguments of Cohort."""
    table = plain_table(n_people, seed)
    draw = np.random.default_rng(seed + 1)
    effect = (table["height"].to_numpy() - 170)[:, None] / 9 * 0.5 + (table["site"] == "b").to_numpy()[:, None] * 0.8
    latent = effect + draw.standard_normal((n_people, n_regions * (n_regions - 1) // 2))
    arguments: dict[str, Any] = {
        "weights": (np.tanh(0.3 * latent) if signed else np.expm1(np.maximum(3 + latent, 0))).astype(np.float32),
        "phenotypes": table,
        "atlas": make_atlas(n_regions),
        "measure": "pearson" if signed else "streamline_count",
        "signed": signed,
        "described": DESCRIBED,
    }
    return Cohort(**{**arguments, **changes})


def fit_small(cohort: Cohort, **arguments: Any) -> ConnectomeGenerator:
    """The generator without its network, which takes most of the time, or with ``network=FAST``."""
    return ConnectomeGenerator(seed=0, **{"network": None, **arguments}).fit(cohort)

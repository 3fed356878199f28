"""People like UK Biobank's: named traits in real units, with realistic ranges, correlations and gaps.

Every trait is a sum of age, sex, a few shared factors (adiposity, muscle, intellect, ...) and its own part, mapped to its unit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from connectome_gnn.simulated_traits import AGE_MEAN, AGE_RANGE, AGE_SD, BODY_MASS_INDEX, DRINKS, GROUPS, SHARE_OF_MEN, Trait

__all__ = ["draw_people", "leave_gaps"]

GAP_CORRELATION = 0.6  # how much a missing answer goes with other missing answers of the same group

# Factors shared between traits, and how they correlate.
CORRELATIONS = {
    ("adiposity", "exercise"): -0.35, ("adiposity", "metabolic"): 0.35, ("adiposity", "screen"): 0.25, ("vascular", "metabolic"): 0.25,
    ("stature", "lung"): 0.2, ("stature", "muscle"): 0.2, ("muscle", "exercise"): 0.3, ("muscle", "bone"): 0.25,
    ("lung", "exercise"): 0.2, ("lung", "smoke"): -0.25, ("intellect", "speed"): 0.4, ("intellect", "memory"): 0.5,
    ("speed", "memory"): 0.35, ("intellect", "education"): 0.45, ("education", "smoke"): -0.2, ("education", "diet"): 0.25,
    ("diet", "exercise"): 0.25, ("diet", "smoke"): -0.25, ("smoke", "drink"): 0.3, ("distress", "sleep"): -0.4,
    ("distress", "speed"): -0.1, ("screen", "exercise"): -0.3,
}  # fmt: skip
FACTORS = sorted({name for pair in CORRELATIONS for name in pair})


def draw_people(traits: tuple[Trait, ...], n_people: int, generator: np.random.Generator) -> pd.DataFrame:
    """Draw people of whom everything is known.

    Parameters
    ----------
    traits : the columns of the table, age and sex first.
    n_people : number of people N.
    generator : source of randomness.

    Returns
    -------
    table : (N, P) indexed by participant_id; numbers, and text codes for traits with levels. Weight, height and BMI agree.
    """
    names = [trait.name for trait in traits]
    drawn = list(traits)
    if "weight" in names and "bmi" not in names:  # weight follows from height and body mass index
        drawn.append(BODY_MASS_INDEX)
    correlation = np.eye(len(FACTORS))
    for (first, second), r in CORRELATIONS.items():
        correlation[FACTORS.index(first), FACTORS.index(second)] = correlation[FACTORS.index(second), FACTORS.index(first)] = r
    factors = generator.standard_normal((n_people, len(FACTORS))) @ np.linalg.cholesky(correlation).T
    low, high = ndtr((np.array(AGE_RANGE) - AGE_MEAN) / AGE_SD)
    age = ndtri(generator.uniform(low, high, n_people))
    man = generator.random(n_people) < SHARE_OF_MEN
    sex = np.where(man, 1.0, -1.0)
    own = generator.standard_normal((n_people, len(drawn)))
    columns: dict[str, NDArray] = {}
    for number, trait in enumerate(drawn):
        loadings = np.zeros(len(FACTORS))
        for factor, weight in trait.factors:
            loadings[FACTORS.index(factor)] = weight
        own_part = 1 - trait.age**2 - trait.sex**2 - float(loadings @ correlation @ loadings)
        score = trait.age * age + trait.sex * sex + factors @ loadings + np.sqrt(max(own_part, 0.05)) * own[:, number]
        if trait.name == "age":
            columns["age"] = _in_units(trait, age)
        elif trait.name == "sex":
            columns["sex"] = np.where(man, "M", "F").astype(object)
        else:
            columns[trait.name] = _in_levels(trait, score) if trait.levels else _in_units(trait, score)
    _make_consistent(columns)
    table = pd.DataFrame(columns, index=pd.Index([f"sub-{n + 1:05d}" for n in range(n_people)], name="participant_id", dtype=object))
    return table[names]


def _in_units(trait: Trait, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard scores in a trait's unit, within its range, rounded to its step."""
    value = trait.centre * trait.spread**score if trait.log_normal else trait.centre + trait.spread * score
    return np.round(np.round(np.clip(value, trait.low, trait.high) / trait.step) * trait.step, 4)


def _in_levels(trait: Trait, score: NDArray[np.float64]) -> NDArray[np.object_]:
    """Codes of levels from standard scores: each level has its share of a standard normal, the first the lowest scores."""
    codes = np.array([code for code, _ in trait.levels], object)
    shares = np.array([share for _, share in trait.levels])
    return codes[np.searchsorted(ndtri(shares.cumsum()[:-1] / shares.sum()), score)]


def _make_consistent(columns: dict[str, NDArray]) -> None:
    """Make traits agree that are tied by definition, in place."""
    if "weight" in columns:
        metres = columns["height"] / 100
        columns["weight"] = np.round(columns["bmi"] * metres**2, 1)
        columns["bmi"] = np.round(columns["weight"] / metres**2, 2)
    if "diastolic_bp" in columns:
        columns["diastolic_bp"] = np.minimum(columns["diastolic_bp"], columns["systolic_bp"] - 20)
    if "fvc" in columns:
        columns["fev1"] = np.minimum(columns["fev1"], np.round(0.95 * columns["fvc"], 2))
    if "alcohol_frequency" in columns:
        for name in {"alcohol_units", *(f"{drink}_glasses" for drink in DRINKS)} & set(columns):
            columns[name] = np.where(columns["alcohol_frequency"] == "never", 0, columns[name])


def leave_gaps(table: pd.DataFrame, traits: tuple[Trait, ...], missing: float, generator: np.random.Generator) -> pd.DataFrame:
    """Leave out values of all traits but age, sex and site: some traits more often than others, some people more often within a group.

    Parameters
    ----------
    table : (N, P) of :func:`draw_people`.
    traits : its columns.
    missing : expected share of gaps (a few more where BMI lacks its height or weight).
    generator : source of randomness.
    """
    groups = {group: generator.standard_normal(len(table)) for group in GROUPS}
    rates = missing * generator.uniform(0.4, 1.6, len(traits))
    own = generator.standard_normal(table.shape)
    gap = np.zeros(table.shape, bool)
    for column, trait in enumerate(traits):
        if trait.group in ("body", "cognition", "lifestyle"):
            score = GAP_CORRELATION * groups[trait.group] + np.sqrt(1 - GAP_CORRELATION**2) * own[:, column]
            gap[:, column] = score < ndtri(rates[column])
    place = {trait.name: column for column, trait in enumerate(traits)}
    if "bmi" in place:
        gap[:, place["bmi"]] = gap[:, place["height"]] | gap[:, place["weight"]]
    return table.mask(gap)

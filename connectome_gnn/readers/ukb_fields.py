"""UK Biobank's common fields: names, units, codes and groups; and the groups of other fields by their place in the showcase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FIELDS", "Field", "group_of"]


@dataclass(frozen=True)
class Field:
    """What is known of a field.

    Attributes
    ----------
    name : column name in the cohort.
    description : UK Biobank's title.
    group : phenotype group (age_sex, body, cognition, lifestyle, ...).
    units : of numbers, empty for codes.
    levels : meaning of every code, in order, empty for numbers.
    kind : binary, categorical or ordinal for codes; continuous for numbers.
    once : whether there is one value a person, not one a visit.
    signed : whether negative values are values.
    """

    name: str
    description: str
    group: str
    units: str = ""
    levels: Mapping[str, str] = field(default_factory=dict)
    kind: str = "continuous"
    once: bool = False
    signed: bool = False


SMOKING = {"0": "never", "1": "previous", "2": "current"}
ALCOHOL = {
    "1": "daily or almost daily",
    "2": "three or four times a week",
    "3": "once or twice a week",
    "4": "one to three times a month",
    "5": "special occasions only",
    "6": "never",
}
HEALTH = {"1": "excellent", "2": "good", "3": "fair", "4": "poor"}

FIELDS: dict[int, Field] = {
    31: Field("sex", "Sex", "age_sex", levels={"0": "female", "1": "male"}, kind="binary", once=True),
    21003: Field("age", "Age when attended assessment centre", "age_sex", "years"),
    21022: Field("age_at_recruitment", "Age at recruitment", "age_sex", "years", once=True),
    34: Field("year_of_birth", "Year of birth", "age_sex", "years", once=True),
    54: Field("site", "UK Biobank assessment centre", "site", levels={}, kind="categorical"),
    50: Field("height", "Standing height", "body", "cm"),
    12144: Field("height_imaging", "Height", "body", "cm"),
    21001: Field("bmi", "Body mass index (BMI)", "body", "kg/m2"),
    21002: Field("weight", "Weight", "body", "kg"),
    48: Field("waist", "Waist circumference", "body", "cm"),
    49: Field("hip", "Hip circumference", "body", "cm"),
    46: Field("grip_left", "Hand grip strength (left)", "body", "kg"),
    47: Field("grip_right", "Hand grip strength (right)", "body", "kg"),
    4079: Field("diastolic", "Diastolic blood pressure, automated reading", "body", "mmHg"),
    4080: Field("systolic", "Systolic blood pressure, automated reading", "body", "mmHg"),
    20016: Field("fluid_intelligence", "Fluid intelligence score", "cognition", "correct answers"),
    20023: Field("reaction_time", "Mean time to correctly identify matches", "cognition", "ms"),
    20116: Field("smoking", "Smoking status", "lifestyle", levels=SMOKING, kind="ordinal"),
    1558: Field("alcohol_frequency", "Alcohol intake frequency", "lifestyle", levels=ALCOHOL, kind="ordinal"),
    1160: Field("sleep_duration", "Sleep duration", "lifestyle", "hours a day"),
    2178: Field("health_rating", "Overall health rating", "clinical", levels=HEALTH, kind="ordinal"),
    189: Field("townsend", "Townsend deprivation index at recruitment", "demographic", "index", once=True, signed=True),
    22009: Field("genetic_pc", "Genetic principal components", "genetic", "score", once=True, signed=True),
    24441: Field("head_motion", "Head motion", "motion", "mm"),
}

GROUPS = (
    ("imaging", "imaging"),
    ("cognitive", "cognition"),
    ("anthropometry", "body"),
    ("body size", "body"),
    ("body composition", "body"),
    ("impedance", "body"),
    ("physical measures", "body"),
    ("blood pressure", "body"),
    ("mental health", "psychology"),
    ("psychosocial", "psychology"),
    ("lifestyle", "lifestyle"),
    ("diet", "lifestyle"),
    ("sociodemographic", "demographic"),
    ("population characteristics", "demographic"),
    ("early life", "demographic"),
    ("family history", "clinical"),
    ("medical", "clinical"),
    ("health-related outcomes", "clinical"),
    ("genomics", "genetic"),
    ("genetic", "genetic"),
    ("biological samples", "biomarker"),
    ("assays", "biomarker"),
)


def group_of(path: str) -> str:
    """Phenotype group of a field by its path of categories in the showcase (``"... > Physical measures > Anthropometry"``)."""
    lowered = path.lower()
    return next((group for words, group in GROUPS if words in lowered), "other")

"""The traits of simulated people: 194 named ones with their units, ranges, levels and what they share with each other.

They stand in the order in which they enter a table: the first of each group are the ones a study would ask for first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AGE_MEAN",
    "AGE_RANGE",
    "AGE_SD",
    "BODY_MASS_INDEX",
    "DRINKS",
    "GROUPS",
    "SHARE_OF_MEN",
    "Trait",
    "choose_traits",
    "describe",
    "site_trait",
]

AGE_RANGE = (45.0, 82.0)
"""Youngest and oldest age, years."""

GROUPS = {"age_sex": 2, "lifestyle": 85, "body": 78, "cognition": 29}
"""Number of named traits in each group."""

AGE_MEAN, AGE_SD, SHARE_OF_MEN = 64.0, 7.7, 0.47

# name | unit | centre, spread (*1.2: log-normal with that geometric SD), low, high, step | age, sex (men up) | shared factors | meaning
BODY = """
height               | cm        | 169 9.3 140 205 0.5      | -.12 .70  | stature .65                 | standing height
weight               | kg        | 76 15 32 200 0.1         | 0 0       |                             | body weight
bmi                  | kg/m2     | 26.4 *1.165 16 55 0.01   | 0 .14     | adiposity .92               | body mass index: weight / height^2
waist                | cm        | 88 12.5 55 155 1         | .10 .42   | adiposity .78 stature .12   | waist circumference
grip_strength        | kg        | 31 10.5 3 75 0.5         | -.28 .68  | muscle .50 stature .15      | grip strength, mean of both hands
systolic_bp          | mmHg      | 138 18 85 220 1          | .30 .15   | vascular .70 adiposity .12  | systolic blood pressure
diastolic_bp         | mmHg      | 79 10 42 125 1           | -.08 .17  | vascular .75 adiposity .15  | diastolic blood pressure
hip                  | cm        | 101 8.5 72 165 1         | -.02 -.02 | adiposity .82 stature .20   | hip circumference
heart_rate           | beats/min | 69 11 38 130 1           | -.05 -.10 | exercise -.35 adiposity .15 | resting heart rate
bone_density         | g/cm2     | 1.20 0.14 0.65 1.9 0.001 | -.18 .42  | bone .75                    | bone mineral density, whole body
fev1                 | L         | 2.75 0.72 0.6 6.5 0.01   | -.40 .52  | lung .52 stature .30        | forced expiratory volume in 1 s
fvc                  | L         | 3.65 0.92 0.9 8.5 0.01   | -.33 .58  | lung .52 stature .33        | forced vital capacity
body_fat             | %         | 31 8 7 60 0.1            | .05 -.55  | adiposity .68               | body fat percentage
hba1c                | mmol/mol  | 35.5 *1.11 20 120 0.1    | .20 .02   | metabolic .60 adiposity .15 | glycated haemoglobin
ldl                  | mmol/L    | 3.55 0.87 0.8 8 0.01     | -.05 -.06 | metabolic .20               | LDL cholesterol
hdl                  | mmol/L    | 1.45 *1.28 0.5 4 0.01    | .05 -.42  | metabolic -.35 drink .20    | HDL cholesterol
triglycerides        | mmol/L    | 1.5 *1.6 0.3 10 0.01     | .03 .22   | metabolic .50 adiposity .20 | triglycerides
c_reactive_protein   | mg/L      | 1.3 *2.7 0.1 60 0.01     | .08 -.05  | adiposity .40 exercise -.10 | C-reactive protein
creatinine           | umol/L    | 72 *1.2 30 200 0.1       | .12 .60   | muscle .20                  | creatinine in blood
cystatin_c           | mg/L      | 0.9 *1.16 0.4 3 0.001    | .35 .12   | adiposity .20 smoke .10     | cystatin C in blood
urate                | umol/L    | 305 78 90 700 0.1        | .05 .50   | metabolic .35 drink .10     | urate in blood
vitamin_d            | nmol/L    | 50 *1.5 10 160 0.1       | .05 .00   | exercise .20 adiposity -.15 | vitamin D in blood
haemoglobin          | g/dL      | 14.2 1.2 9 19 0.01       | -.05 .60  | smoke .10                   | haemoglobin
white_cells          | 10^9/L    | 6.6 *1.27 2.5 20 0.01    | .00 .02   | smoke .30 adiposity .20     | white blood cell count
platelets            | 10^9/L    | 250 58 80 600 1          | -.10 -.22 |                             | platelet count
albumin              | g/L       | 45 2.6 33 56 0.1         | -.20 .10  |                             | albumin in blood
alanine_transaminase | U/L       | 20.5 *1.55 5 200 0.1     | -.08 .32  | adiposity .30 drink .15     | alanine aminotransferase
igf1                 | nmol/L    | 21 5.6 5 45 0.01         | -.28 .12  | muscle .10                  | insulin-like growth factor 1
glucose              | mmol/L    | 5.0 *1.14 3 20 0.01      | .12 .04   | metabolic .50               | glucose in blood
basal_metabolism     | kJ        | 6600 1300 3800 13000 1   | -.22 .70  | muscle .30 adiposity .45    | basal metabolic rate
visceral_fat         | L         | 3.2 *1.9 0.1 15 0.01     | .12 .45   | adiposity .70 metabolic .10 | visceral adipose tissue
liver_fat            | %         | 2.9 *2.0 0.5 45 0.01     | .02 .15   | metabolic .40 adiposity .35 | liver fat fraction
peak_flow            | L/min     | 410 120 80 850 1         | -.25 .55  | lung .50 stature .20        | peak expiratory flow
arterial_stiffness   | m/s       | 9.6 2.8 3 22 0.01        | .20 .28   | vascular .30 smoke .10      | pulse wave arterial stiffness index
ejection_fraction    | %         | 59 6 30 80 0.1           | -.02 -.25 | vascular -.10               | ejection fraction, left ventricle
ventricle_volume     | mL        | 148 33 60 330 0.1        | -.20 .50  | stature .30 exercise .20    | end-diastolic volume, left ventricle
ventricle_mass       | g         | 88 23 35 220 0.1         | -.02 .65  | vascular .25 muscle .20     | left ventricular mass
stroke_volume        | mL        | 87 19 35 190 0.1         | -.15 .40  | stature .30 exercise .25    | stroke volume
cardiac_output       | L/min     | 5.4 1.2 2 12 0.01        | -.15 .40  | adiposity .30 stature .15   | cardiac output
pq_interval          | ms        | 163 26 90 320 1          | .15 .20   | vascular .10                | electrocardiogram: PQ interval
qrs_duration         | ms        | 89 13 60 170 1           | .10 .40   |                             | electrocardiogram: QRS duration
qt_interval          | ms        | 418 33 300 560 1         | .10 -.20  | exercise .20                | electrocardiogram: QT interval
hearing_left         | dB        | -6.9 1.8 -12 8 0.1       | .32 .08   |                             | speech reception, left ear
hearing_right        | dB        | -7.0 1.8 -12 8 0.1       | .32 .08   |                             | speech reception, right ear
visual_acuity        | logMAR    | 0.03 0.17 -0.4 1.2 0.01  | .25 -.05  |                             | visual acuity, better eye
eye_pressure         | mmHg      | 15.8 3.4 6 40 0.1        | .08 .05   | vascular .20                | intraocular pressure
"""
REGIONS_OF_THE_BODY = {
    "arm_left": 0.055,
    "arm_right": 0.06,
    "leg_left": 0.17,
    "leg_right": 0.175,
    "trunk": 0.47,
    "android": 0.075,
    "gynoid": 0.16,
}
BONES = {"femoral_neck": 0.93, "femur": 1.01, "lumbar_spine": 1.15, "pelvis": 1.1, "ribs": 0.85, "arms": 0.92, "legs": 1.2, "head": 2.1}
IMPEDANCES = {"arm_left": 300, "arm_right": 295, "leg_left": 252, "leg_right": 255, "whole_body": 590}

COGNITION = """
fluid_intelligence | score    | 6.6 2.1 0 13 1       | -.10 .05  | intellect .72               | fluid intelligence, correct of 13
reaction_time      | ms       | 590 *1.18 340 1600 1 | .25 -.10  | speed -.55                  | mean time to react to a matching pair
numeric_memory     | digits   | 6.7 1.5 2 12 1       | -.12 .08  | memory .50 intellect .20    | longest number recalled
trail_making_b     | s        | 57 *1.42 20 300 0.1  | .35 .00   | speed -.40 intellect -.30   | trail making, letters and numbers
symbol_digit       | score    | 19.0 5.2 1 40 1      | -.42 -.05 | speed .55 intellect .20     | symbol digit substitution, correct
pairs_matching     | errors   | 3.6 2.6 0 25 1       | .12 -.03  | memory -.50                 | incorrect matches in the pairs test
matrix_reasoning   | score    | 8.0 2.1 0 15 1       | -.22 .05  | intellect .65               | matrix pattern completion, correct of 15
trail_making_a     | s        | 37 *1.33 14 180 0.1  | .32 .00   | speed -.50                  | trail making, numbers only
paired_associates  | score    | 6.9 2.6 0 10 1       | -.22 -.22 | memory .55                  | word pairs recalled of 10
tower_rearranging  | score    | 9.9 3.2 0 18 1       | -.25 .10  | intellect .40 speed .20     | tower rearranging, correct
picture_vocabulary | score    | 67 6 30 90 0.1       | .12 .03   | education .35 intellect .40 | picture vocabulary
prospective_memory | score    | 1.8 0.5 0 2 1        | -.15 .00  | memory .35                  | prospective memory, 2 = recalled at once
reaction_spread    | ms       | 105 *1.45 25 600 1   | .15 .00   | speed -.35                  | standard deviation of reaction times
trail_errors_a     | errors   | 0.4 1.0 0 12 1       | .08 .00   | speed -.15                  | errors in trail making, numbers only
trail_errors_b     | errors   | 1.2 2.2 0 25 1       | .15 .00   | intellect -.25              | errors in trail making, letters and numbers
symbol_attempts    | attempts | 20 5 2 42 1          | -.42 -.05 | speed .55                   | symbol digit substitutions attempted
matrix_attempts    | attempts | 8.7 2.0 1 15 1       | -.20 .05  | intellect .35 speed .15     | matrix patterns viewed
tower_attempts     | attempts | 13 3.5 1 25 1        | -.25 .08  | speed .35                   | tower puzzles attempted
"""
TIMED_TESTS = {"pairs": 26, "matrix": 9.5, "tower": 13, "numeric_memory": 2.6, "fluid": 7.5, "symbol": 2.7}
LEARNING_LISTS = ("words_immediate", "words_delayed", "faces", "stories", "designs")

LIFESTYLE = """
sleep_duration    | h/day       | 7.15 1.0 3 12 0.5     | .05 -.02  | sleep .60                 | sleep in 24 hours
activity          | mg          | 28 8 8 80 0.1         | -.25 -.05 | exercise .70              | mean acceleration over a week
television        | h/day       | 2.7 1.5 0 10 0.5      | .22 .02   | screen .60 education -.20 | time watching television
alcohol_units     | units/week  | 9 11 0 90 1           | .00 .25   | drink .75                 | alcohol in a week
education         | years       | 16 3.5 7 24 1         | -.10 .05  | education .80             | years of education
deprivation       | index       | -1.9 2.7 -6.3 11 0.01 | -.08 .00  | education -.25 smoke .15  | Townsend deprivation index
coffee            | cups/day    | 2.0 1.8 0 12 1        | .03 .08   | drink .20 smoke .15       | coffee
fruit             | pieces/day  | 2.2 1.4 0 10 1        | .10 -.15  | diet .55                  | fresh fruit
vegetables        | spoons/day  | 4.8 2.8 0 20 1        | .02 -.12  | diet .55                  | cooked and raw vegetables
neuroticism       | score       | 3.7 3.1 0 12 1        | -.12 -.15 | distress .75              | neuroticism
vigorous_activity | days/week   | 1.8 1.9 0 7 1         | -.08 .12  | exercise .60              | days with vigorous activity
moderate_activity | days/week   | 3.6 2.3 0 7 1         | .03 .02   | exercise .50              | days with moderate activity
walking           | min/day     | 50 *1.9 0 300 5       | .02 .00   | exercise .45              | time walking
computer          | h/day       | 1.4 1.5 0 10 0.5      | -.15 .12  | screen .45 education .25  | leisure time at a computer
tea               | cups/day    | 3.3 2.5 0 15 1        | .05 -.03  |                           | tea
water             | glasses/day | 2.9 2.1 0 14 1        | -.05 -.12 | diet .25 exercise .15     | water
income            | kGBP/year   | 42 *1.75 8 250 1      | -.28 .12  | education .40             | household income before tax
driving           | h/day       | 0.9 0.8 0 6 0.5       | -.12 .18  | screen .10                | time driving
job_hours         | h/week      | 15 20 0 70 1          | -.65 .12  |                           | working hours
commute           | km          | 4 12 0 120 1          | -.45 .10  |                           | way to work
outdoors_summer   | h/day       | 3.6 2.0 0 12 0.5      | .18 .15   | exercise .25              | time outdoors in summer
outdoors_winter   | h/day       | 1.8 1.5 0 10 0.5      | .15 .18   | exercise .25              | time outdoors in winter
household         | people      | 2.2 0.9 1 8 1         | -.35 .08  |                           | people in the household
bread             | slices/week | 11 7 0 50 1           | .02 .20   | diet -.20                 | bread
cereal            | bowls/week  | 4.4 2.7 0 14 1        | .15 .02   | diet .20                  | breakfast cereal
dried_fruit       | pieces/day  | 0.8 1.3 0 10 1        | .08 -.08  | diet .30                  | dried fruit
nitrogen_dioxide  | ug/m3       | 26 7.5 9 80 0.1       | -.03 .00  | education .05             | nitrogen dioxide at home
particles         | ug/m3       | 9.9 1.0 8 18 0.01     | -.02 .00  |                           | particulate matter below 2.5 um at home
noise             | dB          | 55 4 48 80 0.1        | .00 .00   |                           | traffic noise at home by day
greenspace        | %           | 45 22 2 99 0.1        | .05 .00   | exercise .08              | green space within 300 m of home
"""
# name | kind | levels with their shares, from the low to the high end | age, sex | shared factors | meaning
CODED_LIFESTYLE = """
smoking | categorical | never .60, previous .36, current .04 | .03 .10 | smoke .70 | smoking status
alcohol_frequency | ordinal | never .06, occasionally .11, monthly .12, weekly .27, often .28, daily .16 | .06 .18 | drink .70 | alcohol use
insomnia | ordinal | rarely .25, sometimes .48, usually .27 | .08 -.15 | sleep -.50 | trouble sleeping
social_visits | ordinal | never .02, seldom .08, monthly .15, weekly .37, often .30, daily .08 | .10 -.10 | distress -.20 | social visits
chronotype | ordinal | morning .26, rather_morning .36, rather_evening .29, evening .09 | -.08 .02 | sleep -.15 | morning or evening person
napping | ordinal | rarely .56, sometimes .39, usually .05 | .22 .15 | sleep -.10 | naps by day
added_salt | ordinal | rarely .58, sometimes .27, usually .11, always .04 | .05 .05 | diet -.30 | how often salt is added to food
job_type | categorical | retired .52, sitting .26, standing .14, manual .08 | -.60 .05 | education -.1 | main occupation
snoring | binary | no .63, yes .37 | .00 .18 | adiposity .25 | snores
loneliness | binary | no .84, yes .16 | -.05 -.08 | distress .45 | often feels lonely
"""
WHOLESOME = ("oily_fish", "other_fish", "poultry", "milk", "yoghurt", "nuts", "legumes")
INDULGENT = ("processed_meat", "beef", "lamb", "pork", "cheese", "eggs", "sweets", "cakes", "crisps", "soft_drinks", "juice")
FREQUENCIES = "never .10, seldom .22, weekly .28, often .28, frequently .08, daily .04"
SUPPLEMENTS = ("vitamin_d", "multivitamin", "vitamin_c", "fish_oil", "glucosamine", "calcium", "zinc", "iron", "folic_acid")
LEISURE = ("gym", "pub", "religious_group", "adult_education", "choir", "volunteering", "gardening", "cycling", "swimming")
SCREENS = {"phone_calls": 0.4, "mobile_internet": 0.8, "video_games": 0.2, "reading": 1.1, "radio": 1.3}
DRINKS = ("red_wine", "white_wine", "beer", "spirits")


@dataclass(frozen=True)
class Trait:
    """One phenotype of simulated people: its unit or levels, and what it shares with others.

    Parameters
    ----------
    name, group, meaning : column name, group of phenotypes, description.
    kind : continuous, binary, categorical or ordinal.
    units : unit of a continuous trait, "" otherwise.
    centre, spread : mean and SD; of a log-normal trait its median and geometric SD.
    log_normal : whether the trait is skewed.
    low, high, step : smallest and largest value that is recorded, and the step to which it is rounded.
    levels : share of each level, in order, of a coded trait.
    age, sex : correlation with age, and with being a man.
    factors : correlation with each shared factor.
    """

    name: str
    group: str
    meaning: str
    kind: str = "continuous"
    units: str = ""
    centre: float = 0.0
    spread: float = 1.0
    log_normal: bool = False
    low: float = -np.inf
    high: float = np.inf
    step: float = 1.0
    levels: tuple[tuple[str, float], ...] = ()
    age: float = 0.0
    sex: float = 0.0
    factors: tuple[tuple[str, float], ...] = ()


def _read(table: str, group: str) -> list[Trait]:
    """Traits from a table of numeric or of coded ones (the comments above name the columns)."""
    traits = []
    for line in table.strip().splitlines():
        name, unit, values, person, factors, meaning = (cell.strip() for cell in line.split("|"))
        age, sex = (float(v) for v in person.split())
        words = factors.split()
        shared = tuple((factor, float(weight)) for factor, weight in zip(words[::2], words[1::2], strict=True))
        if unit in ("binary", "categorical", "ordinal"):
            levels = tuple((code, float(share)) for code, share in (level.split() for level in values.split(",")))
            traits.append(Trait(name, group, meaning, unit, levels=levels, age=age, sex=sex, factors=shared))
            continue
        centre, spread, low, high, step = values.split()
        numbers = float(centre), float(spread.lstrip("*")), spread.startswith("*"), float(low), float(high), float(step)
        traits.append(Trait(name, group, meaning, "continuous", unit, *numbers, (), age, sex, shared))
    return traits


def _body() -> list[Trait]:
    """Body traits: the table's first thirty, then the same measures at one site after another."""
    traits = _read(BODY, "body")

    def add(
        name: str, meaning: str, units: str, centre: float, spread: float, step: float, person: tuple[float, float], **factors: float
    ) -> None:
        low, high = max(centre - 4 * spread, 0.05 * centre), centre + 6 * spread
        numbers = (centre, spread, False, round(low, 4), round(high, 4), step)
        traits.append(Trait(name, "body", meaning, "continuous", units, *numbers, (), *person, tuple(factors.items())))

    for place, share in REGIONS_OF_THE_BODY.items():
        words = place.replace("_", " ")
        add(f"fat_{place}", f"fat mass, {words}", "kg", 25 * share, 8.5 * share, 0.001, (0.02, -0.2), adiposity=0.85)
        add(
            f"lean_{place}",
            f"lean mass, {words}",
            "kg",
            47 * share,
            9.5 * share,
            0.001,
            (-0.14, 0.75),
            muscle=0.35,
            stature=0.25,
            adiposity=0.2,
        )
    for bone, density in BONES.items():
        words = bone.replace("_", " ")
        add(f"bone_density_{bone}", f"bone mineral density, {words}", "g/cm2", density, 0.14 * density, 0.001, (-0.15, 0.3), bone=0.7)
    for place, ohm in IMPEDANCES.items():
        words = place.replace("_", " ")
        add(
            f"impedance_{place}", f"bioelectrical impedance, {words}", "ohm", ohm, 0.13 * ohm, 1, (0.0, -0.5), muscle=-0.35, adiposity=-0.35
        )
    for angle in (120, 150, 210, 240):
        meaning = f"carotid intima-media thickness at {angle} degrees"
        add(f"carotid_{angle}", meaning, "um", 690, 125, 1, (0.4, 0.15), vascular=0.25, smoke=0.1)
    add("urea", "urea in blood", "mmol/L", 5.4, 1.3, 0.01, (0.2, 0.15), muscle=0.1)
    return traits


def _cognition() -> list[Trait]:
    """Cognitive traits: the table's, then times taken, confidence and learning of lists."""
    traits = _read(COGNITION, "cognition")
    for test, seconds in TIMED_TESTS.items():
        numbers = (seconds, 1.3, True, round(seconds / 4, 3), round(seconds * 6, 3), 0.01)
        meaning = f"time for an item of the {test.replace('_', ' ')} test"
        traits.append(Trait(f"{test}_time", "cognition", meaning, "continuous", "s", *numbers, (), 0.3, 0.0, (("speed", -0.5),)))
    for task in LEARNING_LISTS:
        meaning = f"learning: {task.replace('_', ' ')}"
        traits.append(
            Trait(task, "cognition", meaning, "continuous", "score", 50, 10, False, 10, 90, 1, (), -0.25, -0.12, (("memory", 0.6),))
        )
    return traits


def _lifestyle() -> list[Trait]:
    """Lifestyle traits: coded and numeric ones in turn, then foods, supplements, leisure, screens and drinks."""
    numeric, coded = _read(LIFESTYLE, "lifestyle"), _read(CODED_LIFESTYLE, "lifestyle")
    traits = [trait for pair in zip(coded, numeric, strict=False) for trait in pair] + numeric[len(coded) :]

    def code(name: str, kind: str, levels: str, meaning: str, age: float, sex: float, **factors: float) -> None:
        shares = tuple((level, float(share)) for level, share in (part.split() for part in levels.split(",")))
        traits.append(Trait(name, "lifestyle", meaning, kind, levels=shares, age=age, sex=sex, factors=tuple(factors.items())))

    for food in WHOLESOME + INDULGENT:
        good = food in WHOLESOME
        code(
            food,
            "ordinal",
            FREQUENCIES,
            f"eats or drinks {food.replace('_', ' ')}",
            0.05,
            -0.03 if good else 0.12,
            diet=0.35 if good else -0.4,
        )
    for supplement in SUPPLEMENTS:
        code(f"takes_{supplement}", "binary", "no .82, yes .18", f"takes {supplement.replace('_', ' ')}", 0.08, -0.12, diet=0.25)
    for pursuit in LEISURE:
        code(
            f"leisure_{pursuit}",
            "binary",
            "no .78, yes .22",
            f"leisure: {pursuit.replace('_', ' ')}",
            0.02,
            0.02,
            exercise=0.2,
            distress=-0.1,
        )
    for screen, hours in SCREENS.items():
        numbers = (hours, 0.9, False, 0, 10, 0.1)
        meaning = f"time with {screen.replace('_', ' ')}"
        traits.append(Trait(f"{screen}_time", "lifestyle", meaning, "continuous", "h/day", *numbers, (), -0.1, 0.03, (("screen", 0.25),)))
    for drink in DRINKS:
        numbers = (2.5, 4.0, False, 0, 50, 1)
        meaning = f"{drink.replace('_', ' ')} in a week"
        traits.append(
            Trait(f"{drink}_glasses", "lifestyle", meaning, "continuous", "glasses/week", *numbers, (), 0.0, 0.12, (("drink", 0.45),))
        )
    return traits


def choose_traits(n_phenotypes: int) -> tuple[Trait, ...]:
    """The traits of a table with that many phenotypes: age and sex, and the other groups in UK Biobank's proportions.

    Beyond the named traits of a group follow numbered ones (``body_079``, ...).
    """
    age = Trait("age", "age_sex", "age at the visit", "continuous", "years", AGE_MEAN, AGE_SD, False, *AGE_RANGE, 0.1)
    sex = Trait("sex", "age_sex", "sex", "binary", levels=(("F", 1 - SHARE_OF_MEN), ("M", SHARE_OF_MEN)))
    traits = [age, sex]
    others = {group: count for group, count in GROUPS.items() if group != "age_sex"}
    named = {"lifestyle": _lifestyle(), "body": _body(), "cognition": _cognition()}
    exact = {group: (n_phenotypes - 2) * count / sum(others.values()) for group, count in others.items()}
    counts = {group: int(share) for group, share in exact.items()}
    for group in sorted(exact, key=lambda g: counts[g] - exact[g])[: n_phenotypes - 2 - sum(counts.values())]:
        counts[group] += 1
    for group, count in counts.items():
        traits += named[group][:count]
        for number in range(len(named[group]) + 1, count + 1):
            meaning = f"further {group} score {number}"
            numbers = (50, 10, False, 0, 100, 0.1)
            traits.append(Trait(f"{group}_{number:03d}", group, meaning, "continuous", "score", *numbers, (), -0.1, 0.0, (("diet", 0.2),)))
    return tuple(traits)


def site_trait(shares: NDArray[np.float64]) -> Trait:
    """The phenotype that says where a person was scanned, with the share of people of each site."""
    levels = tuple((f"site-{number + 1:02d}", float(share)) for number, share in enumerate(shares))
    return Trait("site", "site", "imaging centre", "categorical", levels=levels)


def describe(traits: tuple[Trait, ...]) -> dict[str, dict[str, object]]:
    """``participants.json`` of some traits: Description, Units with Minimum and Maximum, or Levels, Kind and Group of each column."""
    described: dict[str, dict[str, object]] = {}
    for trait in traits:
        what: dict[str, object] = {"Units": trait.units, "Minimum": trait.low, "Maximum": trait.high}
        if trait.levels:
            what = {"Levels": {code: _meaning(code) for code, _ in trait.levels}}
        described[trait.name] = {"Description": trait.meaning, **what, "Group": trait.group, "Kind": trait.kind}
    return described


def _meaning(code: str) -> str:
    return {"F": "female", "M": "male"}.get(code, code.replace("_", " "))


BODY_MASS_INDEX = next(trait for trait in _body() if trait.name == "bmi")
"""Weight follows from it and height."""

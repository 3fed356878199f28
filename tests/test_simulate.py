"""The simulator: are its people like people, its connectomes like connectomes, and is its truth true?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
import pytest

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.simulate import simulate_cohort
from connectome_gnn.simulated_brain import SYSTEMS, homotopic_partner
from connectome_gnn.simulated_truth import _variance_above, presence


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(3000, 40, 40, seed=0)


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return simulate_cohort(4000, 4, 194, seed=1).phenotypes


def without(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table.assign(**dict.fromkeys(columns, np.nan))


def moved(cohort: Cohort, columns: list[str], rows: int = 1500) -> np.ndarray:
    """Variance over people of what goes missing from the true mean with some columns, by edge."""
    table = cohort.phenotypes[:rows]
    return (cohort.truth.mean(table) - cohort.truth.mean(without(table, *columns))).astype(float).var(0)


def groups(cohort: Cohort) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in cohort.phenotypes:
        names.setdefault(cohort.described[name]["Group"], []).append(name)
    return names


# --- the same and others ------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bytes():
    first, second, other = (simulate_cohort(30, 12, 15, seed=seed) for seed in (3, 3, 4))
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.truth.expected.tobytes() == second.truth.expected.tobytes()
    pd.testing.assert_frame_equal(first.phenotypes, second.phenotypes)
    assert first.atlas == second.atlas
    assert not np.array_equal(first.weights, other.weights)
    assert first.weights.dtype == first.truth.expected.dtype == np.float32


def test_another_people_seed_gives_other_people_of_the_same_world():
    first, other = simulate_cohort(30, 12, 15, seed=3), simulate_cohort(80, 12, 15, seed=3, people_seed=9)
    assert first.atlas == other.atlas
    assert not first.phenotypes["age"].equals(other.phenotypes["age"][:30])
    np.testing.assert_array_equal(first.truth.world.maps, other.truth.world.maps)
    np.testing.assert_array_equal(other.truth.mean(first.phenotypes), first.truth.expected)


# --- people -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_phenotypes", [2, 3, 7, 40, 194, 230])
def test_any_number_of_phenotypes(n_phenotypes):
    cohort = simulate_cohort(400, 5, n_phenotypes, seed=0)
    assert cohort.phenotypes.shape == (400, n_phenotypes)
    assert list(cohort.phenotypes)[:2] == ["age", "sex"]
    assert list(cohort.described) == list(cohort.phenotypes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = PhenotypeSchema.fit(cohort.phenotypes, cohort.described)
    assert schema.names == tuple(cohort.phenotypes)
    counted = {group: len(names) for group, names in schema.groups.items()}
    if n_phenotypes == 194:
        assert counted == {"age_sex": 2, "lifestyle": 85, "body": 78, "cognition": 29}
    if n_phenotypes == 230:
        assert {"lifestyle_101", "body_093", "cognition_034"} <= set(schema.names)
    for group, count in {"lifestyle": 85, "body": 78, "cognition": 29}.items():
        assert abs(counted.get(group, 0) - (n_phenotypes - 2) * count / 192) < 1


def test_every_phenotype_is_described(cohort):
    for name, note in cohort.described.items():
        assert note["Description"] and note["Group"] in ("age_sex", "body", "cognition", "lifestyle")
        assert ("Units" in note) != ("Levels" in note)
        values = cohort.phenotypes[name].dropna()
        if "Levels" in note:
            assert set(values) == set(note["Levels"])
        else:
            assert pd.api.types.is_float_dtype(cohort.phenotypes[name])
    assert cohort.described["sex"]["Levels"] == {"F": "female", "M": "male"}
    assert cohort.described["height"]["Units"] == "cm"
    assert cohort.described["alcohol_frequency"]["Kind"] == "ordinal"
    assert cohort.described["smoking"]["Kind"] == "categorical"


def test_ranges_and_units(people):
    # Population mean and SD of older adults; the tolerance is 4 standard errors of 4,000 people plus half a rounding step.
    known = {
        "height": (169, 9.3),
        "waist": (88, 12.5),
        "systolic_bp": (138, 18),
        "fluid_intelligence": (6.6, 2.1),
        "bone_density": (1.2, 0.14),
    }
    for name, (mean, sd) in known.items():
        values = people[name].dropna()
        assert values.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(len(values)) + 0.03 * sd)
        assert values.std() == pytest.approx(sd, rel=0.06)
    assert people["age"].between(45, 82).all()
    assert people["age"].mean() == pytest.approx(64, abs=0.5)
    assert (people["sex"] == "M").mean() == pytest.approx(0.47, abs=4 * 0.5 / np.sqrt(4000))
    for name, low, high in (
        ("height", 140, 205),
        ("weight", 32, 200),
        ("sleep_duration", 3, 12),
        ("heart_rate", 38, 130),
        ("fev1", 0.6, 6.5),
    ):
        assert people[name].dropna().between(low, high).all()
    assert people["smoking"].value_counts(normalize=True)["never"] == pytest.approx(0.6, abs=0.04)


def test_traits_that_belong_together_agree(people):
    bmi = people["weight"] / (people["height"] / 100) ** 2
    known = people["bmi"].notna()
    np.testing.assert_allclose(people["bmi"][known], bmi[known], atol=0.0051)
    assert (known == (people["height"].notna() & people["weight"].notna())).all()
    pressure = people[["systolic_bp", "diastolic_bp"]].dropna()
    assert (pressure["diastolic_bp"] <= pressure["systolic_bp"] - 20).all()
    lung = people[["fev1", "fvc"]].dropna()
    assert (lung["fev1"] <= lung["fvc"]).all()
    assert (people.loc[people["alcohol_frequency"] == "never", "alcohol_units"].dropna() == 0).all()


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ("sex", "height", 0.6, 0.8),
        ("sex", "grip_strength", 0.55, 0.8),
        ("age", "grip_strength", -0.4, -0.15),
        ("age", "symbol_digit", -0.5, -0.3),
        ("age", "reaction_time", 0.15, 0.35),
        ("age", "systolic_bp", 0.2, 0.4),
        ("age", "job_hours", -0.75, -0.4),
        ("height", "weight", 0.4, 0.75),
        ("bmi", "waist", 0.65, 0.9),
        ("systolic_bp", "diastolic_bp", 0.4, 0.75),
        ("fluid_intelligence", "education", 0.1, 0.5),
        ("fluid_intelligence", "reaction_time", -0.4, -0.05),
        ("bmi", "activity", -0.45, -0.1),
    ],
)
def test_correlations_are_sensible(people, first, second, low, high):
    table = people.assign(sex=(people["sex"] == "M") * 1.0)
    assert low < table[first].corr(table[second]) < high


def test_gaps():
    table = simulate_cohort(3000, 4, 60, seed=2, missing=0.1).phenotypes
    assert not table[["age", "sex"]].isna().to_numpy().any()
    gaps = table.drop(columns=["age", "sex", "bmi"]).isna()
    # Rates differ between traits (SD 0.035 over 57 of them) and a group's gaps go together.
    assert gaps.to_numpy().mean() == pytest.approx(0.1, abs=4 * 0.035 / np.sqrt(57))
    assert gaps["waist"].corr(gaps["heart_rate"]) > 0.1
    assert not simulate_cohort(50, 4, 60, seed=2, missing=0).phenotypes.isna().to_numpy().any()


# --- the brain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_regions", [4, 5, 14, 85, 200])
def test_regions(n_regions):
    atlas = simulate_cohort(3, n_regions, 2, seed=0).atlas
    assert atlas.n_regions == n_regions
    assert atlas.has_coordinates
    left, side = np.array(atlas.hemisphere) == "L", atlas.xyz[:, 0]
    assert (side[left] < 0).all()
    assert (side[~left] > 0).all()
    assert left.sum() - (~left).sum() == n_regions % 2
    assert (np.abs(atlas.xyz) < 115).all()
    assert set(atlas.network) <= set(SYSTEMS)
    assert len(set(atlas.network)) == 7 or n_regions < 13
    partner = homotopic_partner(atlas)
    paired = partner >= 0
    assert (~paired).sum() == n_regions % 2
    assert (partner[partner[paired]] == np.flatnonzero(paired)).all()
    assert (np.array(atlas.network)[partner[paired]] == np.array(atlas.network)[paired]).all()
    np.testing.assert_allclose(atlas.xyz[partner[paired]] * (-1, 1, 1), atlas.xyz[paired], atol=10)


@pytest.mark.parametrize("density", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("measure", ["streamline_count", "sift2_fbc"])
def test_share_of_zeros(measure, density):
    weights = simulate_cohort(400, 40, 5, seed=1, measure=measure, density=density).weights
    assert (weights != 0).mean() == pytest.approx(density, abs=0.01)
    assert (weights >= 0).all()
    assert (weights == np.round(weights)).all() == (measure == "streamline_count")


def test_density_of_one_has_no_zeros():
    weights = simulate_cohort(300, 40, 5, seed=1, density=1).weights
    assert (weights >= 1).all()
    assert weights.max() < 2**24  # beyond which float32 cannot hold every whole number


def test_strong_edges_are_always_there_and_weak_ones_often_absent(cohort):
    present = (cohort.weights != 0).mean(0)
    strength = cohort.truth.world.baseline
    order = np.argsort(strength)
    assert (present[order[-100:]] == 1).all()
    assert present[order[:100]].max() < 0.2
    assert ((present > 0.05) & (present < 0.95)).mean() > 0.3
    assert 0.02 < (cohort.weights != 0).mean(1).std() < 0.1  # people differ in density


def test_connectivity_by_distance_system_and_hemisphere(cohort):
    strength, distance = cohort.scale.forward(cohort.weights[:500]).mean(0), cohort.atlas.edge_distances()
    rows, columns = edge_indices(cohort.n_regions)
    network, side = np.array(cohort.atlas.network), np.array(cohort.atlas.hemisphere)
    homotopic, across = homotopic_partner(cohort.atlas)[rows] == columns, side[rows] != side[columns]
    assert strength[homotopic].mean() > strength[across & ~homotopic].mean() + 1.5
    assert np.corrcoef(strength[~homotopic], distance[~homotopic])[0, 1] < -0.5
    near = (distance < 70) & ~across
    assert strength[near & (network[rows] == network[columns])].mean() > strength[near & (network[rows] != network[columns])].mean()
    values = cohort.weights[cohort.weights > 0]
    assert abs(pd.Series(np.log(values[values > 20])).skew()) < pd.Series(values[values > 20]).skew() / 2  # log-normal rather than normal


def test_residuals_share_global_factors(cohort):
    draws = cohort.truth.take(np.zeros(1500, int)).draw(0)
    common = (draws != 0).mean(0) > 0.9
    values = cohort.scale.forward(draws[:, common])
    share = np.linalg.eigvalsh(np.corrcoef(values, rowvar=False))[::-1] / common.sum()
    # Independent edges would have a largest share of (1 + sqrt(E / N))^2 / E (Marchenko & Pastur 1967).
    assert share[0] > 10 * (1 + np.sqrt(common.sum() / 1500)) ** 2 / common.sum()
    assert 0.35 < share[:16].sum() < 0.75


# --- the truth ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"density": 0.2},
        {"density": 1.0},
        {"measure": "sift2_fbc"},
        {"measure": "pearson"},
        {"explained": 0.4, "n_sites": 3},
    ],
)
def test_expected_is_the_conditional_mean(arguments):
    cohort = simulate_cohort(40, 9, 12, seed=5, **arguments)
    n_draws, n_people = 4000, 12
    truth = cohort.truth.take(np.repeat(np.arange(n_people), n_draws))
    values = cohort.scale.forward(truth.draw(11)).reshape(n_people, n_draws, -1).astype(float)
    error = values.std(1) / np.sqrt(n_draws)
    seen = error > 1e-4
    z = (values.mean(1) - cohort.truth.take(slice(n_people)).expected)[seen] / error[seen]
    # Standard normal if expected is right; edges are correlated, so the number of independent values is taken as a tenth.
    assert abs(z.mean()) < 4 / np.sqrt(len(z) / 10)
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(z) / 10))
    assert np.abs(z).max() < 5.5


def test_draw_is_a_draw_of_the_same_people(cohort):
    truth = cohort.truth.take(slice(50))
    np.testing.assert_array_equal(truth.draw(1), truth.draw(1))
    assert not np.array_equal(truth.draw(1), truth.draw(2))
    assert truth.draw(1).shape == (50, cohort.n_edges)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("floor", [0.0, float(np.log(2))])
def test_presence_and_variance_formulas(whole, floor):
    generator = np.random.default_rng(0)
    mean, spread = np.array([-1.5, 0, 0.5, 1, 2.5, 6]), np.array([1, 1.1, 0.5, 0.8, 0.7, 0.3])
    world = simulate_cohort(2, 4, 2, seed=0).truth.world
    latent = (mean + spread * generator.standard_normal((400_000, 6))).astype(np.float32)
    weights = replace(world, floor=floor, whole=whole)._observe(latent, generator)
    values = np.log1p(weights.astype(float))
    squares = (values - values.mean(0)) ** 2
    assert (np.abs(_variance_above(mean, spread, floor, whole) - squares.mean(0)) < 4 * squares.std(0) / np.sqrt(400_000)).all()
    np.testing.assert_allclose(presence(mean, spread, floor, whole), (weights > 0).mean(0), atol=4 * 0.5 / np.sqrt(400_000))


@pytest.mark.parametrize("measure", ["streamline_count", "pearson"])
def test_ceiling_is_hit(measure):
    ceilings = [simulate_cohort(3000, 40, 40, seed=seed, measure=measure).truth.ceiling for seed in range(5)]
    # Twice the mean product of signal and residual is chance, with an SD of .0018 over seeds (it falls with the root of N).
    assert np.mean(ceilings) == pytest.approx(0.06, abs=3 * 0.0018 / np.sqrt(5))
    assert np.abs(np.array(ceilings) - 0.06).max() < 3.5 * 0.0018


@pytest.mark.parametrize("explained", [0.01, 0.25, 0.6])
def test_other_ceilings_are_hit(explained):
    cohort = simulate_cohort(3000, 40, 20, seed=2, explained=explained)
    assert cohort.truth.world.ceiling == pytest.approx(explained, abs=1e-4)
    assert cohort.truth.ceiling == pytest.approx(explained, abs=0.004 + 0.04 * explained)


def test_ceiling_is_what_it_says(cohort):
    values = cohort.scale.forward(cohort.weights).astype(float)
    counted = (values != 0).mean(0) >= 0.5
    values, expected = values[:, counted], cohort.truth.expected[:, counted]
    mean, sd = values.mean(0), values.std(0)
    by_hand = 1 - (((values - expected) / sd) ** 2).sum() / (((values - mean) / sd) ** 2).sum()
    assert cohort.truth.ceiling == pytest.approx(by_hand, abs=1e-5)
    rows = np.arange(0, 3000, 5)
    part = 1 - (((values - expected) / sd)[rows] ** 2).sum() / (((values - mean) / sd)[rows] ** 2).sum()
    assert cohort.truth.take(rows).ceiling == pytest.approx(part, abs=1e-5)


def test_nothing_beats_the_expected_connectome(cohort):
    """Shrinking or stretching the truth away from the mean, or shifting it, fits worse."""
    values, expected = cohort.scale.forward(cohort.weights[:, ::3]).astype(float), cohort.truth.expected[:, ::3].astype(float)
    mean = expected.mean(0)
    errors = [((values - mean - factor * (expected - mean)) ** 2).sum() for factor in (0.7, 1.0, 1.3)]
    assert errors[1] < min(errors[0], errors[2])


def test_truth_follows_rows(cohort):
    expected = cohort.truth.expected
    assert expected.shape == cohort.weights.shape
    np.testing.assert_array_equal(cohort.truth.take(slice(10, 20)).expected, expected[10:20])
    rows = np.array([7, 3, 3, 900])
    np.testing.assert_allclose(cohort.take(rows).truth.expected, expected[rows], rtol=1e-5, atol=1e-6)
    mask = np.arange(3000) % 7 == 0
    assert len(cohort.truth.take(mask)) == mask.sum()
    _, test = cohort.split(0.8, seed=0)
    np.testing.assert_allclose(test.truth.mean(test.phenotypes), test.truth.expected, rtol=1e-5, atol=1e-6)


def test_mean_of_any_table(cohort):
    table = cohort.phenotypes[:200]
    np.testing.assert_allclose(cohort.truth.mean(table), cohort.truth.take(slice(200)).expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cohort.truth.mean(table[::-1]), cohort.truth.mean(table)[::-1], rtol=1e-5, atol=1e-6)
    assert cohort.truth.mean(table.assign(more=1.0)).shape == (200, cohort.n_edges)
    nothing = cohort.truth.mean(without(table, *table.columns))
    assert (nothing == nothing[0]).all()
    # A missing number counts as its mean over the population, which a cohort of 3,000 knows to 2 % of a standard deviation.
    height = float(cohort.phenotypes["height"].mean())
    sd = float(np.sqrt(moved(cohort, ["height"]).max()))
    np.testing.assert_allclose(cohort.truth.mean(without(table, "height")), cohort.truth.mean(table.assign(height=height)), atol=0.2 * sd)
    with pytest.raises(ConnectomeError, match="height"):
        cohort.truth.mean(table.drop(columns="height"))
    with pytest.raises(ConnectomeError, match="unknown level"):
        cohort.truth.mean(table.assign(smoking="sometimes"))


# --- effects ------------------------------------------------------------------------------------------------------------


def test_four_to_one(cohort):
    """Age, sex and body explain four times what cognition and lifestyle do: as stated, and by Shapley values of the true mean."""
    shapley = cohort.truth.by_group["shapley"]
    assert (shapley["age_sex"] + shapley["body"]) / (shapley["cognition"] + shapley["lifestyle"]) == pytest.approx(4, abs=0.01)
    assert shapley.sum() == pytest.approx(0.06, rel=0.05)
    assert cohort.truth.by_group["share"].sum() == pytest.approx(1)
    names, rows = groups(cohort), slice(1500)
    unit = np.where(cohort.truth.world.present, 1 / cohort.scale.forward(cohort.weights).std(0).clip(1e-3), 0)
    full = cohort.truth.take(rows).expected * unit
    total = ((full - full.mean(0)) ** 2).sum()
    value = {}
    for size in range(5):
        for known in combinations(names, size):
            gone = [name for group in names if group not in known for name in names[group]]
            lost = cohort.truth.mean(without(cohort.phenotypes[rows], *gone)) * unit - full
            value[frozenset(known)] = 1 - (lost**2).sum() / total
    exact = {
        group: sum(
            factorial(k) * factorial(3 - k) / 24 * (value[frozenset(team) | {group}] - value[frozenset(team)])
            for k in range(4)
            for team in combinations([g for g in names if g != group], k)
        )
        for group in names
    }
    # 1,500 people know a share to about 3 % of itself, and the stated values are of first order in the effects.
    for group, share in exact.items():
        assert share == pytest.approx(cohort.truth.by_group["share"][group], rel=0.12)
    assert (exact["age_sex"] + exact["body"]) / (exact["cognition"] + exact["lifestyle"]) == pytest.approx(4, rel=0.12)


def test_cognition_is_stronger_in_association_cortex(cohort):
    network = np.array(cohort.atlas.network)
    association = np.isin(network, ["Frontoparietal", "Default", "DorsalAttention"])
    stated = cohort.truth.by_region
    assert list(stated.index) == list(cohort.atlas.labels)
    assert stated["cognition"][association].mean() > 2 * stated["cognition"][network == "Visual"].mean()
    contrast = stated["cognition"] / stated["age_sex"]
    assert contrast[association].mean() > 2 * contrast[network == "Visual"].mean()
    by_region = to_matrices(moved(cohort, groups(cohort)["cognition"]) / cohort.scale.forward(cohort.weights).var(0).clip(1e-3)).sum(1)
    assert by_region[association].mean() > 2 * by_region[network == "Visual"].mean()


def test_effect_variance_of_phenotypes_groups_and_edges(cohort):
    """What is stated, to first order, is the variance that goes when values go missing."""
    truth, variance = cohort.truth, cohort.scale.forward(cohort.weights).var(0).clip(1e-9)
    common = truth.world.present
    for columns in (["age"], ["sex"], ["height"], groups(cohort)["body"], groups(cohort)["lifestyle"]):
        by_hand = moved(cohort, columns) / variance
        stated = truth.effect_variance(columns)
        assert np.corrcoef(by_hand[common], stated[common])[0, 1] > 0.98
        assert by_hand[common].mean() == pytest.approx(stated[common].mean(), rel=0.15)
    by_phenotype = truth.by_phenotype
    assert list(by_phenotype.index) == list(cohort.phenotypes)
    assert by_phenotype["variance"].idxmax() in ("age", "sex")
    assert (by_phenotype["variance"] > 0).all()
    assert by_phenotype["variance"]["age"] == pytest.approx(truth.effect_variance(["age"])[common].mean())
    assert list(truth.by_edge) == [*groups(cohort), "all"]
    np.testing.assert_allclose(truth.by_edge["body"], truth.effect_variance(groups(cohort)["body"]))
    assert truth.by_group["variance"]["body"] == pytest.approx(truth.by_edge["body"][common].mean())
    rows, columns = edge_indices(cohort.n_regions)
    of_first = ((rows == 0) | (columns == 0)) & common
    assert truth.by_region["all"].iloc[0] == pytest.approx(truth.by_edge["all"][of_first].mean())
    with pytest.raises(ConnectomeError, match="shoe_size"):
        truth.effect_variance(["shoe_size"])


def test_ageing_accelerates_and_differs_by_sex():
    truth = simulate_cohort(2, 30, 2, seed=0, measure="pearson").truth
    ages = pd.DataFrame({"age": [50.0, 55, 75, 80] * 2, "sex": ["F"] * 4 + ["M"] * 4})
    mean = truth.mean(ages).astype(float)
    early, late = ((mean[k + 1] - mean[k]) for k in (0, 2))
    assert (late**2).sum() > 1.5 * (early**2).sum()
    men, women = mean[7] - mean[4], mean[3] - mean[0]
    assert ((men - women) ** 2).sum() > 0.02 * (women**2).sum()


def test_nonlinearity():
    """On Fisher's scale the expected edges of a linear world are affine in the encoded phenotypes, and else they are not."""
    left = {}
    for nonlinearity in (0.0, 0.4, 1.0):
        cohort = simulate_cohort(600, 8, 20, seed=3, measure="pearson", nonlinearity=nonlinearity)
        encoded = PhenotypeSchema.fit(cohort.phenotypes, cohort.described).encode(cohort.phenotypes).values
        # A person without a value has the population's mean, not the cohort's: an indicator of the gap makes up for the difference.
        gaps = cohort.phenotypes.isna().to_numpy(float)
        design = np.column_stack([np.ones(600), encoded, gaps])
        expected = cohort.truth.expected.astype(float)
        residual = expected - design @ np.linalg.lstsq(design, expected, rcond=None)[0]
        left[nonlinearity] = (residual**2).sum() / ((expected - expected.mean(0)) ** 2).sum()
    assert left[0.0] < 1e-8
    assert 0.02 < left[0.4] < left[1.0]


def test_backbone_spread_makes_neighbours_alike():
    alike = {}
    for spread in (0.0, 0.5, 1.0):
        cohort = simulate_cohort(2, 50, 20, seed=1, backbone_spread=spread)
        world = cohort.truth.world
        strength = to_matrices(world.baseline - world.baseline.min())
        backbone = strength * (strength > np.quantile(strength, 0.8))
        backbone /= backbone.sum(1, keepdims=True)
        maps = to_matrices(world.maps / world.spread)
        maps -= maps.mean((1, 2), keepdims=True)
        alike[spread] = np.mean([np.corrcoef(m.ravel(), (backbone @ m).ravel())[0, 1] for m in maps])
    assert alike[0.0] < alike[0.5] < alike[1.0]
    assert alike[1.0] > alike[0.0] + 0.1


def test_phenotypes_without_any_effect():
    truth = simulate_cohort(50, 10, 42, seed=0, null_share=0.5).truth
    silent = truth.by_phenotype["variance"] == 0
    assert silent.sum() == 20
    assert not silent[["age", "sex"]].any()
    assert truth.world.ceiling == pytest.approx(0.06, abs=1e-4)


def test_no_signal():
    cohort = simulate_cohort(1000, 15, 20, seed=0, explained=0)
    expected = cohort.truth.expected
    assert (expected == expected[0]).all()
    assert -0.01 < cohort.truth.ceiling < 0  # the mean of 1,000 people fits them 0.1 % better, on average, than the true mean
    assert (cohort.truth.by_phenotype["variance"] == 0).all()
    assert (cohort.truth.by_group[["variance", "shapley", "share"]] == 0).all(axis=None)
    assert (cohort.truth.by_region == 0).all(axis=None)


def test_sites():
    cohort = simulate_cohort(3000, 30, 20, seed=0, n_sites=4)
    assert cohort.phenotypes.shape[1] == 21
    assert cohort.described["site"]["Group"] == "site"
    assert set(cohort.phenotypes["site"]) == set(cohort.described["site"]["Levels"])
    assert len(cohort.described["site"]["Levels"]) == 4
    assert cohort.truth.world.ceiling == pytest.approx(0.09, abs=1e-4)
    assert cohort.truth.ceiling == pytest.approx(0.09, abs=3.5 * 0.0025)
    assert cohort.truth.by_group["shapley"]["site"] == pytest.approx(0.03, rel=0.05)
    values = cohort.scale.forward(cohort.weights)
    common = cohort.truth.world.present
    between = pd.DataFrame(values[:, common]).groupby(cohort.phenotypes["site"].to_numpy()).transform("mean")
    # Site means explain what site does, and 3 degrees of freedom of 3,000 by chance.
    assert (between.var() / values[:, common].var(0)).mean() == pytest.approx(0.03 + 3 / 3000, rel=0.25)
    assert "site" not in simulate_cohort(10, 5, 5).phenotypes
    alone = simulate_cohort(300, 10, 10, seed=0, n_sites=2, explained=0)
    assert alone.truth.world.ceiling == pytest.approx(0.03, abs=1e-4)
    assert alone.truth.by_group["shapley"].drop("site").abs().max() < 1e-12


def test_signed_cohort():
    cohort = simulate_cohort(300, 30, 10, seed=0, measure="pearson")
    assert cohort.signed
    assert cohort.measure == "pearson"
    assert (np.abs(cohort.weights) < 1).all()
    assert (cohort.weights < 0).mean() > 0.1
    assert (cohort.weights != 0).all()
    rows, columns = edge_indices(30)
    network = np.array(cohort.atlas.network)
    mean = cohort.weights.mean(0)
    assert mean[network[rows] == network[columns]].mean() > mean[network[rows] != network[columns]].mean() + 0.1
    assert mean[homotopic_partner(cohort.atlas)[rows] == columns].mean() > 0.3


def test_ridge_finds_part_of_the_truth(cohort):
    """The default cohort is neither trivial nor hopeless: plain ridge on held-out people finds some, not all, of what can be found."""
    train, test = cohort.split(0.8, seed=0)
    schema = PhenotypeSchema.fit(train.phenotypes, train.described)
    features, others = (schema.encode(part.phenotypes).values for part in (train, test))
    values, held_out = (cohort.scale.forward(part.weights) for part in (train, test))
    counted = (values != 0).mean(0) >= 0.5
    mean, sd = values[:, counted].mean(0), values[:, counted].std(0)
    target, real = (values[:, counted] - mean) / sd, (held_out[:, counted] - mean) / sd
    weights = np.linalg.solve(features.T @ features + 300 * np.eye(features.shape[1]), features.T @ target)
    r2 = 1 - ((real - others @ weights) ** 2).sum() / (real**2).sum()
    assert 0.4 < r2 / test.truth.ceiling < 0.85


# --- what it refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_people": 1}, "at least 2 people, got 1"),
        ({"n_regions": 3}, "at least 4 regions, got 3"),
        ({"n_phenotypes": 1}, "at least 2 phenotypes"),
        ({"n_people": 10.5}, "whole number of people, got 10.5"),
        ({"n_sites": 0}, "at least 1 site, got 0"),
        ({"explained": 1.0}, "explained must be at least 0 and below 1, got 1.0"),
        ({"explained": -0.1}, "explained must"),
        ({"explained": float("nan")}, "explained must"),
        ({"explained": 0.98, "n_sites": 2}, "add up to less than 1"),
        ({"density": 0}, "density must be above 0"),
        ({"density": 1.2}, "density must be above 0 and at most 1, got 1.2"),
        ({"density": 0.5, "measure": "pearson"}, "no absent edges"),
        ({"missing": 0.7}, "missing must lie between 0 and 0.5, got 0.7"),
        ({"backbone_spread": 2}, "backbone_spread must lie"),
        ({"nonlinearity": -1}, "nonlinearity must lie"),
        ({"null_share": 1}, "null_share must"),
        ({"measure": "volume"}, "measure must be one of 'streamline_count'.*got 'volume'"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ConnectomeError, match=words):
        simulate_cohort(**{"n_people": 10, "n_regions": 6, "n_phenotypes": 5, **arguments})

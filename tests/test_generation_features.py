"""Profile features: how many, of which band, and what numbers stand in them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from fitted import DESCRIBED, plain_table

from connectome_gnn.errors import PhenotypeWarning
from connectome_gnn.generation.features import AGE_SPLINE, AGE_SQUARED, SEX_BY_AGE, TRAITS_BY_AGE, ProfileFeatures, age_and_sex
from connectome_gnn.phenotypes import PhenotypeSchema


def fit(table: pd.DataFrame, described: dict | None = None) -> tuple[ProfileFeatures, PhenotypeSchema]:
    schema = PhenotypeSchema.fit(table, DESCRIBED if described is None else described)
    return ProfileFeatures.fit(schema, schema.encode(table)), schema


def unit(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def test_bands_and_numbers():
    table = plain_table(300)
    features, schema = fit(table)
    assert schema.columns == ("age", "sex", "height", "memory", "site=a", "site=b", "site=c")
    linear = ("age_sex", "age_sex", "body", "cognition", "site", "site", "site")
    assert features.bands == (*linear, AGE_SQUARED, *(AGE_SPLINE,) * 3, SEX_BY_AGE, *(TRAITS_BY_AGE,) * 5)
    values = features.of(table)
    assert values.shape == (300, len(features.bands))
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-12)
    age, height = unit(table["age"].to_numpy()), unit(table["height"].to_numpy())
    sex = unit((table["sex"] == "M").to_numpy(float))
    band = np.array(features.bands)
    np.testing.assert_allclose(values[:, 0], age)
    np.testing.assert_allclose(values[:, band == AGE_SQUARED], unit(age[:, None] ** 2))
    knots = np.quantile(age, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(values[:, band == AGE_SPLINE], unit(np.maximum(age[:, None] - knots, 0) ** 2))
    np.testing.assert_allclose(values[:, band == SEX_BY_AGE][:, 0], unit(sex * age))
    np.testing.assert_allclose(values[:, band == TRAITS_BY_AGE][:, 0], unit(height * age))


def test_terms_that_may_be_chosen():
    features, _ = fit(plain_table(100))
    bands = np.array(features.bands)
    np.testing.assert_array_equal(np.flatnonzero(features.select("linear")), np.arange(7))
    assert set(bands[features.select("age")][7:]) == {AGE_SQUARED, SEX_BY_AGE, TRAITS_BY_AGE}
    assert features.select("all").all()


def test_new_people_are_measured_by_training_people():
    table = plain_table(200)
    features, _ = fit(table.iloc[:150])
    together, alone = features.of(table.iloc[150:]), np.concatenate([features.of(table.iloc[[row]]) for row in range(150, 200)])
    np.testing.assert_allclose(together, alone)
    age = table["age"].to_numpy()
    np.testing.assert_allclose(together[:, 0], (age[150:] - age[:150].mean()) / age[:150].std())
    assert np.abs(together.mean(0)).max() > 0.01


@pytest.mark.parametrize(
    ("gone", "bands"), [(["age"], set()), (["sex"], {AGE_SQUARED, AGE_SPLINE, TRAITS_BY_AGE}), (["age", "sex"], set())]
)
def test_without_age_or_sex(gone, bands):
    table = plain_table(100).drop(columns=gone)
    features, schema = fit(table)
    assert set(features.bands[len(schema.columns) :]) == bands
    values = features.of(table)
    assert values.shape == (100, len(features.bands))
    np.testing.assert_allclose(values.std(0), 1)


def test_a_missing_trait_counts_as_the_training_mean_and_changes_nothing_else():
    table = plain_table(400)
    table.loc[table.index[::7], "height"] = np.nan
    features, _ = fit(table)
    person = table.iloc[[1]]
    missing, average = person.assign(height=np.nan), person.assign(height=table["height"].mean())
    np.testing.assert_allclose(features.of(missing), features.of(average), atol=1e-9)
    assert not np.allclose(features.of(missing), features.of(person))
    nobody = person.assign(age=np.nan)
    assert np.isfinite(features.of(nobody)).all()
    np.testing.assert_allclose(features.of(nobody), features.of(person.assign(age=table["age"].mean())), atol=1e-9)


def test_a_constant_phenotype_says_nothing():
    table = plain_table(60).assign(handedness=1.0)
    with pytest.warns(PhenotypeWarning, match="handedness"):
        features, schema = fit(table)
    values = features.of(table)
    assert np.isfinite(values).all()
    assert (values[:, schema.columns.index("handedness")] == 0).all()
    assert (features.of(table.assign(handedness=5.0)) == values).all()


def test_which_columns_are_age_and_sex():
    def found(table: pd.DataFrame, described: dict | None = None) -> tuple[str | None, str | None]:
        return age_and_sex(PhenotypeSchema.fit(table, described))

    table = plain_table(40)
    assert found(table) == ("age", "sex")
    assert found(table.rename(columns={"age": "Age_at_scan", "sex": "Gender"})) == ("Age_at_scan", "Gender")
    renamed = table[["height", "site", "age", "sex"]].rename(columns={"age": "years", "sex": "f21"})
    assert found(renamed) == (None, None)
    assert found(renamed, {"years": {"Units": "a", "Group": "age_sex"}, "f21": {"Levels": {"F": "", "M": ""}, "Group": "age_sex"}}) == (
        "years",
        "f21",
    )
    assert found(table.assign(age=["old", "young"] * 20)) == (None, "sex")
    with pytest.warns(PhenotypeWarning, match="age"):
        assert found(table.assign(age=50.0)) == (None, "sex")


def test_features_survive_a_file():
    table = plain_table(80)
    features, schema = fit(table)
    again = ProfileFeatures.from_dict(json.loads(json.dumps(features.to_dict())), schema, features.mean, features.scale)
    np.testing.assert_array_equal(again.of(table), features.of(table))

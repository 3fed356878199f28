"""Supervised directions find what moves connectomes, and their derived features are what they are said to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fitted import DESCRIBED, plain_table

from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.features import FURTHEST, ProfileFeatures
from connectome_gnn.phenotypes import PhenotypeSchema


def profile(drop: list[str] | None = None, n_people: int = 300) -> tuple[ProfileFeatures, np.ndarray]:
    table: pd.DataFrame = plain_table(n_people).drop(columns=drop or [])
    schema = PhenotypeSchema.fit(table, DESCRIBED)
    encoded = schema.encode(table)
    features = ProfileFeatures.fit(schema, encoded)
    return features, features.transform(encoded)


def coefficients(features: ProfileFeatures, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((len(features.bands), 30))


@pytest.mark.parametrize("drop", [[], ["sex"], ["age"], ["age", "sex"]])
def test_every_derived_feature_has_a_band_and_unit_variance(drop):
    features, values = profile(drop)
    directions = Directions.fit(features, lambda: [values], coefficients(features), np.ones(30))
    derived = directions.transform(values)
    n = len(directions.groups)
    assert n == directions.weights.shape[1] > 0
    assert derived.shape == (300, len(directions.bands))
    assert len(directions.bands) == n * (3 + ("age" not in drop) + ("sex" not in drop)) + n * (n - 1) // 2
    whole = derived[:, (directions.deviation < np.inf) & (np.abs(derived).max(0) < FURTHEST)]  # nobody beyond what is let through
    assert whole.shape[1] > 0.8 * derived.shape[1]
    np.testing.assert_allclose(whole.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(whole.std(0), 1)


def test_derived_features_by_hand():
    features, values = profile()
    directions = Directions.fit(features, lambda: [values], coefficients(features), np.ones(30))
    linear = values[:, :7]
    along = linear @ directions.weights
    along /= along.std(0)
    bands, derived = np.array(directions.bands), directions.transform(values)

    def unit(block: np.ndarray) -> np.ndarray:
        return np.clip((block - block.mean(0)) / block.std(0), -FURTHEST, FURTHEST)

    np.testing.assert_allclose(derived[:, bands == "directions"], unit(along), atol=1e-9)
    np.testing.assert_allclose(derived[:, bands == "tanh of directions"], unit(np.tanh(along)), atol=1e-9)
    np.testing.assert_allclose(derived[:, bands == "squares of directions"], unit(along**2), atol=1e-9)
    np.testing.assert_allclose(derived[:, bands == "directions x age"], unit(along * values[:, [0]]), atol=1e-9)
    np.testing.assert_allclose(derived[:, bands == "directions x sex"], unit(along * values[:, [1]]), atol=1e-9)
    np.testing.assert_allclose(derived[:, bands == "products of directions"][:, 0], unit(along[:, 0] * along[:, 1]), atol=1e-9)


def test_unusual_profiles_do_not_run_away():
    """Two rare levels that no training person has together: their product lies hundreds of standard deviations out."""
    draw = np.random.default_rng(0)
    table = plain_table(300)[["age", "height"]].assign(first=0.0, second=0.0)
    table.loc[table.index[:2], "first"] = table.loc[table.index[2:4], "second"] = 1.0
    schema = PhenotypeSchema.fit(table, {name: {"Group": name} for name in table})
    features = ProfileFeatures.fit(schema, schema.encode(table))
    values = features.of(table)
    directions = Directions.fit(features, lambda: [values], draw.standard_normal((len(features.bands), 30)), np.ones(30))
    unusual = features.of(pd.DataFrame({"age": [75.0, 200.0], "height": [170.0, 170.0], "first": 1.0, "second": 1.0}, ["a", "b"]))
    raw = (directions._raw(unusual) - directions.mean) / directions.deviation
    assert np.abs(raw[0]).max() > 100
    assert np.abs(directions.transform(unusual)).max() == FURTHEST
    n_linear = len(schema.columns)
    assert np.abs(unusual[1, n_linear:]).max() == FURTHEST
    assert unusual[1, 0] > FURTHEST  # what people have is left as it is


def test_a_direction_is_the_combination_that_moves_connectomes():
    features, values = profile()
    effects = np.zeros((len(features.bands), 30))
    combination = np.array([0.6, -0.8])  # of age and sex
    effects[:2] = np.outer(combination, np.random.default_rng(0).standard_normal(30))
    directions = Directions.fit(features, lambda: [values], effects, np.ones(30))
    first = directions.weights[:, directions.groups.index("age_sex")]
    np.testing.assert_allclose(np.abs(first[:2] @ combination), 1, atol=1e-9)
    assert (directions.weights[2:] == 0).all()
    assert set(directions.groups) <= {"age_sex", "*"}


def test_coefficients_are_whitened_first():
    """A component that nothing else moves counts in units of its own noise."""
    features, values = profile()
    effects = np.zeros((len(features.bands), 2))
    effects[0, 0], effects[1, 1] = 5, 1
    unit = np.array([100.0, 0.01])
    loud, fair = (Directions.fit(features, lambda: [values], effects, scale).weights[:, 0] for scale in (np.ones(2), unit))
    np.testing.assert_allclose(np.abs(loud[:2]), [1, 0], atol=1e-9)
    np.testing.assert_allclose(np.abs(fair[:2]), [0, 1], atol=1e-9)


def test_no_effects_make_no_directions():
    features, values = profile()
    directions = Directions.fit(features, lambda: [values], np.zeros((len(features.bands), 30)), np.ones(30))
    assert directions.groups == ()
    assert directions.bands == ()
    assert directions.transform(values).shape == (300, 0)


def test_people_may_come_some_at_a_time():
    features, values = profile()
    effects = coefficients(features)
    once = Directions.fit(features, lambda: [values], effects, np.ones(30))
    parts = Directions.fit(features, lambda: np.array_split(values, 7), effects, np.ones(30))
    for name in ("weights", "scale", "mean", "deviation"):
        np.testing.assert_allclose(getattr(parts, name), getattr(once, name), rtol=1e-12, atol=1e-12, err_msg=name)

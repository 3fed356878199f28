"""Confound regression: least squares on training people, taken out of people left out, edges that are there alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sites import make_sites, modelled

from connectome_gnn import ConfoundRegression
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning
from connectome_gnn.harmonisation import load_harmoniser


def moving(n_people: int = 120, absent: float = 0.0, seed: int = 0) -> Cohort:
    """People whose head motion lowers every edge, in the scanner 'b' too."""
    generator = np.random.default_rng(seed)
    motion = generator.gamma(2, 0.1, n_people)
    cohort = make_sites(n_people, 8, sites="ab", shift=0.0, spread=0.0, absent=absent, seed=seed, motion=motion)
    effect = -np.linspace(0.5, 3, cohort.n_edges)
    weights = np.where(cohort.weights != 0, np.expm1(np.maximum(modelled(cohort) + motion[:, None] * effect, 0.1)), 0)
    return cohort.with_weights(weights)


def test_complete_data_give_least_squares_and_the_mean_stays() -> None:
    train, test = moving().split(0.7, seed=0)
    regression = ConfoundRegression(["motion", "sex", "site"]).fit(train)

    def design(cohort: Cohort) -> np.ndarray:
        table = cohort.phenotypes
        return np.column_stack([table["motion"], table["sex"] == "1", table["site"] == "b"]).astype(float)

    centre = design(train).mean(0)
    columns = np.column_stack([np.ones(len(train)), design(train) - centre])
    effects = np.linalg.lstsq(columns, modelled(train), rcond=None)[0][1:]
    expected = modelled(test) - (design(test) - centre) @ effects
    assert modelled(regression.transform(test)) == pytest.approx(expected, abs=1e-5)
    after = modelled(regression.transform(train))
    assert after.mean(0) == pytest.approx(modelled(train).mean(0), abs=1e-5)
    assert np.abs([np.corrcoef(train.phenotypes["motion"], edge)[0, 1] for edge in after.T]).max() < 1e-4


def test_motion_is_gone_from_people_left_out_and_age_is_not() -> None:
    train, test = moving(400, absent=0.3).split(0.6, seed=1)
    harmonised = ConfoundRegression("motion").fit(train).transform(test)
    assert np.array_equal(harmonised.weights != 0, test.weights != 0)

    def slopes(cohort: Cohort, name: str) -> np.ndarray:
        values, x = modelled(cohort), cohort.phenotypes[name].to_numpy()
        return np.array([np.polyfit(x[there], edge[there], 1)[0] for edge, there in zip(values.T, (cohort.weights != 0).T, strict=True)])

    assert slopes(test, "motion").mean() < -1
    assert abs(slopes(harmonised, "motion").mean()) < 0.2
    assert slopes(harmonised, "age") == pytest.approx(slopes(test, "age"), abs=0.01)


def test_missing_values_change_nothing_and_are_said() -> None:
    train, test = moving().split(0.7, seed=0)
    table = test.phenotypes.copy()
    table.iloc[0, table.columns.get_loc("motion")] = np.nan
    gap = Cohort(test.weights, table, test.atlas, measure=test.measure, described=test.described)
    regression = ConfoundRegression("motion").fit(train)
    assert regression.transform(gap).weights[0] == pytest.approx(test.weights[0])
    assert np.array_equal(regression.transform(gap).weights[1:], regression.transform(test).weights[1:])
    with pytest.warns(PhenotypeWarning, match=r"counted as their mean: 'motion'"):
        ConfoundRegression("motion").fit(gap)


def test_edges_of_too_few_people_stay_as_they_are() -> None:
    cohort = moving(60)
    weights = np.array(cohort.weights)
    weights[6:, 0] = 0
    regression = ConfoundRegression(["motion", "age"]).fit(cohort.with_weights(weights))
    harmonised = regression.transform(cohort.with_weights(weights))
    assert np.array_equal(harmonised.weights[:, 0], weights[:, 0].astype(np.float32))
    assert regression.record()["edges_left"] == 1
    assert harmonised.info["processing"][-1]["confounds"] == ["motion", "age"]


def test_a_saved_regression_is_the_same(tmp_path: Any) -> None:
    train, test = moving(absent=0.2).split(0.7, seed=0)
    regression = ConfoundRegression(["motion", "site"]).fit(train)
    again = load_harmoniser(regression.save(tmp_path / "model"))
    assert type(again) is ConfoundRegression
    assert np.array_equal(again.transform(test).weights, regression.transform(test).weights)


def test_mistakes_are_sentences() -> None:
    with pytest.raises(ConnectomeError, match="at least one confound"):
        ConfoundRegression([])
    with pytest.raises(ConnectomeError, match="different names of columns"):
        ConfoundRegression(["age", "age"])
    with pytest.raises(ConnectomeError, match="no column 'iq' to take out"):
        ConfoundRegression("iq").fit(moving(60))
    regression = ConfoundRegression("motion").fit(moving(60))
    with pytest.raises(ConnectomeError, match="lacks 'motion'"):
        regression.transform(make_sites(60, 8))

"""Effect maps and trajectories: the difference of what the model expects, and errors that are the spread over other people's fits."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import fit_small, small_cohort
from scipy import stats

from connectome_gnn import topology
from connectome_gnn.attribution.changes import parse_changes, profiles_at
from connectome_gnn.attribution.effects import effect_map
from connectome_gnn.attribution.pooling import directions, pooled
from connectome_gnn.attribution.refits import Refits
from connectome_gnn.attribution.trajectories import trajectory
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError, ExtrapolationWarning, PhenotypeWarning
from connectome_gnn.evaluation.statistics import benjamini_hochberg
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.rivals import RIVALS
from connectome_gnn.simulate import simulate_cohort


@cache
def people() -> Cohort:
    return small_cohort(60, 8)


@cache
def model() -> ConnectomeGenerator:
    return fit_small(people())


def inside(n: int = 60) -> pd.DataFrame:
    """People for whom no change of a few years leaves the training range."""
    return people().phenotypes.iloc[:n]


def expected_change(table: pd.DataFrame, after: dict[str, Any], before: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of every edge on the modelling scale and in weights, from what the model expects of everybody."""
    last, first = (model().expected(table.assign(**values)).weights for values in (after, before))
    scale = people().scale
    return (scale.forward(last) - scale.forward(first)).mean(0), (last - first).mean(0)


@pytest.mark.parametrize(
    "change", ["age: 50 -> 70", " age : 50->70 ", "age:5e1 -> 70.0", {"age": (50, 70)}, {"age": ["50", 70.0]}, {"age": "50 -> 70"}]
)
def test_a_change_is_the_difference_of_what_is_expected(change: Any) -> None:
    found = effect_map(model(), change, at=inside())
    modelled, weights = expected_change(inside(), {"age": 70}, {"age": 50})
    np.testing.assert_allclose(to_vectors(found.change), modelled, atol=2e-6)
    assert found.described == "age: 50 -> 70" and found.n_people == 60
    np.testing.assert_allclose(to_vectors(effect_map(model(), change, at=inside(), scale="weights").change), weights, rtol=1e-3, atol=1e-3)


def test_levels_go_by_code_or_meaning_and_changes_together() -> None:
    by_code, by_meaning = (effect_map(model(), change, at=inside()) for change in ("sex: F -> M", {"sex": ("female", "male")}))
    np.testing.assert_array_equal(by_code.change, by_meaning.change)
    modelled, _ = expected_change(inside(), {"sex": "M", "site": "b"}, {"sex": "F", "site": "a"})
    both = effect_map(model(), "sex: F -> M; site: a -> b", at=inside())
    np.testing.assert_allclose(to_vectors(both.change), modelled, atol=2e-6)
    assert both.described == "sex: F -> M; site: a -> b"


def test_a_standard_deviation_is_the_training_peoples() -> None:
    table = inside().assign(height=np.where(np.arange(60) % 2, 165.0, np.nan))
    height = next(p for p in model().schema.phenotypes if p.name == "height")
    start = table["height"].fillna(height.mean[0])
    found = effect_map(model(), "height: +0.5 SD", at=table)
    modelled, _ = expected_change(table, {"height": start + 0.5 * height.scale[0]}, {"height": start})
    np.testing.assert_allclose(to_vectors(found.change), modelled, atol=2e-6)
    back = effect_map(model(), {"height": "-0.5 SD"}, at={"memory": 0.0})
    assert np.sign(back.regions["value"].sum()) == -np.sign(found.regions["value"].sum()) and back.described == "height: -0.5 SD"


def test_a_profile_and_the_population_mean() -> None:
    one = effect_map(model(), "age: 55 -> 65", at={"sex": "M"})
    table = inside().iloc[:1].assign(age=np.nan, sex="M", height=np.nan, memory=np.nan, site=np.nan)
    np.testing.assert_allclose(to_vectors(one.change), expected_change(table, {"age": 65}, {"age": 55})[0], atol=2e-6)
    np.testing.assert_array_equal(effect_map(model(), "age: 55 -> 65", at={"sex": "male", "memory": np.nan}).change, one.change)
    mean = effect_map(model(), "age: 55 -> 65")
    assert mean.n_people == 1 and np.abs(mean.change - one.change).max() > 1e-6


def test_regions_are_sums_over_their_edges() -> None:
    found = effect_map(model(), "height: 160 -> 175", at=people())
    regions = found.regions
    np.testing.assert_allclose(regions["value"], found.change.sum(1), atol=1e-9)
    assert list(regions.columns) == ["hemisphere", "network", "x", "y", "z", "value", "error", "low", "high", "p", "q"]
    assert list(regions.index) == list(people().atlas.labels)
    np.testing.assert_allclose(regions["p"], 2 * stats.t.sf(np.abs(regions["value"] / regions["error"]), found.region_freedom))
    np.testing.assert_allclose(regions["q"], benjamini_hochberg(regions["p"]))
    assert min(found.freedom, found.region_freedom) > 4  # of five folds
    np.testing.assert_allclose(regions["high"] - regions["value"], stats.t.ppf(0.975, found.region_freedom) * regions["error"])
    np.testing.assert_allclose(found.change - found.low, stats.t.ppf(0.975, found.freedom) * found.error)
    assert (regions["value"] > 0).all()  # what the cohort was made with: height strengthens every edge
    assert "over 60 people" in found.summary() and "jackknife over 5 folds" in found.summary()


def test_errors_are_the_jackknife_of_the_contrast() -> None:
    found = effect_map(model(), "age: 55 -> 65", at=inside(20))
    closed, space = model().closed_form, model().space
    after, before = (closed.features.of(inside(20).assign(age=age)) for age in (65.0, 55.0))
    variance = np.zeros(len(space.mean))
    for folds in closed.without:
        moved = np.stack([(fold.predicted(after) - fold.predicted(before)).mean(0) @ closed.basis for fold in folds])
        variance[space.kept] += 0.8 * ((moved - moved.mean(0)) ** 2).sum(0) * space.std[space.kept] ** 2 / len(closed.without)
    by_hand = np.sqrt(pooled(variance, space.std.astype(float), 4, 1)[0])
    np.testing.assert_allclose(to_vectors(found.error), by_hand, rtol=1e-3, atol=1e-6)
    nothing = effect_map(model(), "age: 60 -> 60", at=inside(20))  # of no change, sure; of either prediction, not
    assert np.abs(nothing.change).max() == 0 == np.abs(nothing.error).max() and nothing.regions["p"].isna().all()
    assert model().standard_error(inside(20).assign(age=60.0)).mean() > 0


def test_errors_are_the_spread_over_fits_on_other_people() -> None:
    found = []
    for number in range(5):
        cohort = simulate_cohort(320, 10, 4, seed=3, people_seed=50 + number)
        found.append(effect_map(ConnectomeGenerator(network=None).fit(cohort, distribution=False), "age: 55 -> 65"))
    spread = np.std([one.change for one in found], axis=0, ddof=1)
    error = np.sqrt(np.mean([one.error**2 for one in found], axis=0))
    assert 0.6 < np.sqrt((error**2).sum() / (spread**2).sum()) < 1.6
    others = [np.mean([two.change for two in found if two is not one], axis=0) for one in found]
    covered = np.mean([to_vectors((one.low <= mean) & (mean <= one.high)).mean() for one, mean in zip(found, others, strict=True)])
    assert covered > 0.85


def test_refits_on_resamples_say_about_the_same() -> None:
    kept = effect_map(model(), "height: 160 -> 175")
    found = effect_map(model(), "height: 160 -> 175", n_refits=3, training=people(), seed=1)
    np.testing.assert_array_equal(found.change, kept.change)
    assert found.errors_from == "bootstrap of 3 refits"
    assert 0.3 < found.error.mean() / kept.error.mean() < 3
    np.testing.assert_allclose(found.high - found.change, stats.t.ppf(0.975, found.freedom) * found.error)


@pytest.mark.parametrize("rank", [1, 400])
def test_pooled_errors_of_few_fits_hold_and_are_narrower_where_numbers_move_apart(rank: int) -> None:
    draw = np.random.default_rng(0)
    unit = np.exp(draw.standard_normal(400))
    hit, freedoms, width = [], [], []
    for _ in range(300):
        mixing = np.eye(400) if rank == 400 else np.sign(draw.standard_normal((1, 400)))
        answers = draw.standard_normal((6, rank)) @ mixing * unit
        variance, freedom = pooled(answers[:5].var(0, ddof=1), unit, 4, directions([list(answers[:5])], unit))
        half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        hit.append((np.abs(answers[5]) < half).mean())
        freedoms.append(freedom)
        width.append((half / unit).mean())
    assert 0.91 < np.mean(hit) < 0.98
    if rank == 1:
        assert np.median(freedoms) == pytest.approx(4)
    else:
        assert np.median(freedoms) > 100 and np.mean(width) < 2.1  # by themselves 2.78 times .94


def test_a_number_that_never_moves_has_no_error() -> None:
    variance = np.array([0.0, 1.0, 2.0, 3.0])
    assert pooled(variance, np.ones(4), 4, 3)[0][0] == 0
    np.testing.assert_array_equal(pooled(variance[:3], np.ones(3), 4, 3)[0], variance[:3])


def test_resamples_keep_every_level_and_enough_people(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Cohort] = []

    def fit(self: ConnectomeGenerator, cohort: Cohort, **_: Any) -> ConnectomeGenerator:
        drawn.append(cohort)
        return self

    cohort = small_cohort(60, 8)
    site = np.where(np.arange(60) == 0, "b", "a")
    cohort.phenotypes["site"] = site
    monkeypatch.setattr(ConnectomeGenerator, "fit", fit)
    Refits.bootstrap(model(), cohort, 12, seed=0)
    assert all((some.phenotypes["site"] == "b").any() for some in drawn)
    with pytest.raises(ConnectomeError, match="at least 20 people"):
        Refits.bootstrap(model(), cohort.take(slice(0, 22)), 2, seed=0)
    with pytest.raises(ConnectomeError, match="n_refits as a whole number"):
        Refits.bootstrap(model(), cohort, 2.5, seed=0)  # type: ignore[arg-type]


def test_families_are_resampled_together(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Cohort] = []

    def fit(self: ConnectomeGenerator, cohort: Cohort, **_: Any) -> ConnectomeGenerator:
        drawn.append(cohort)
        return self

    cohort = small_cohort(60, 8)
    cohort.phenotypes["family_id"] = np.repeat([f"f{n}" for n in range(20)], 3)
    monkeypatch.setattr(ConnectomeGenerator, "fit", fit)
    for _ in range(2):
        Refits.bootstrap(model(), cohort, 4, seed=0)
    assert [tuple(some.ids) for some in drawn[:4]] == [tuple(some.ids) for some in drawn[4:]]
    for some in drawn:
        times = some.phenotypes.groupby("family_id").size()
        each = some.phenotypes.groupby(["family_id", some.ids]).size()
        assert (times % 3 == 0).all() and each.groupby("family_id").nunique().eq(1).all() and times.max() > 3
    assert len({tuple(some.ids) for some in drawn}) == 4


def test_models_that_keep_no_fits_have_no_errors() -> None:
    rival = RIVALS["ridge"](0).fit(people())
    found = effect_map(rival, "sex: F -> M", at=inside())
    last, first = (rival.expected(inside().assign(sex=sex)).weights for sex in "MF")
    scale = people().scale
    np.testing.assert_allclose(to_vectors(found.change), (scale.forward(last) - scale.forward(first)).mean(0), atol=2e-6)
    assert np.isnan(to_vectors(found.error)).all() and found.regions["p"].isna().all() and "no errors" in found.summary()
    assert trajectory(rival, "sex")["low"].isna().all()
    with pytest.raises(ConnectomeError, match="only the closed form"):
        effect_map(rival, "sex: F -> M", n_refits=5, training=people())


def test_beyond_the_training_range_is_said_by_name() -> None:
    with pytest.warns(ExtrapolationWarning, match=r"age: 60 -> 95: up to 60 of 60 profiles.*'age' \(45.*to 81"):
        effect_map(model(), "age: 60 -> 95", at=inside())
    with pytest.warns(ExtrapolationWarning, match="'age'"):
        table = trajectory(model(), "age", values=[60, 95])
    assert table.drop_duplicates("age")["extrapolated"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("age 50 -> 70", "expected a change like"),
        ("", "expected a change like"),
        (7, "expected a change like"),
        ("weight: 1 -> 2", "knows no phenotype 'weight'"),
        ("sex: F -> X", "unknown level 'X'; the levels are 'F', 'M'"),
        ("sex: +1 SD", "no standard deviations"),
        ("age: 50", "expected two values"),
        ({"age": (1, 2, 3)}, "expected two values"),
        ("age: young -> old", "expected a finite number, got 'young'"),
        ({"age": (50, np.inf)}, "expected a finite number"),
    ],
)
def test_changes_that_make_no_sense_are_refused(change: Any, says: str) -> None:
    with pytest.raises(ConnectomeError, match=says):
        effect_map(model(), change)


def test_total_strength_is_taken_out_of_a_change() -> None:
    kept, removed = (effect_map(model(), "age: 50 -> 70", global_strength=how, training=people()) for how in ("keep", "remove"))
    assert abs(removed.regions["value"].sum()) < 1e-5 < abs(kept.regions["value"].sum())
    edges = people().scale.forward(people().weights)[:, model().space.kept].astype(float)
    total = edges.sum(1)
    slope = np.array([np.polyfit(total, edge, 1)[0] for edge in edges.T])
    before = to_vectors(kept.change)[model().space.kept]
    np.testing.assert_allclose(to_vectors(removed.change)[model().space.kept], before - before.sum() * slope, atol=1e-5)
    of_people = effect_map(model(), "age: 50 -> 70", at=people(), global_strength="remove")
    np.testing.assert_allclose(removed.change, of_people.change, atol=1e-5)
    with pytest.raises(ConnectomeError, match="people on the model's atlas who show it"):
        effect_map(model(), "age: 50 -> 70", global_strength="remove")
    with pytest.raises(ConnectomeError, match="on the modelling scale"):
        effect_map(model(), "age: 50 -> 70", scale="weights", global_strength="remove", training=people())
    with pytest.raises(ConnectomeError, match="global_strength is one of"):
        effect_map(model(), "age: 50 -> 70", global_strength="gone")  # type: ignore[arg-type]


def test_constant_phenotypes_and_levels_that_nobody_had_are_refused() -> None:
    cohort = small_cohort(30, 6, described={"site": {"Levels": {"a": "A", "b": "B", "c": "C", "d": "D"}}})
    cohort.phenotypes["scanner"] = 3.0
    with pytest.warns(PhenotypeWarning, match="constant"):
        fitted = RIVALS["ridge"](0).fit(cohort)
    with pytest.raises(ConnectomeError, match="'scanner' did not differ"):
        parse_changes("scanner: 3 -> 4", fitted)
    with pytest.raises(ConnectomeError, match="no training person had level 'd'"):
        parse_changes("site: a -> d", fitted)
    assert trajectory(fitted, "site", measure="density")["site"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"at": inside().drop(columns="sex")}, "lacks 'sex'"),
        ({"at": {"weight": 3}}, "knows no phenotype 'weight'"),
        ({"at": [1, 2]}, "got list"),
        ({"at": {"sex": "X"}}, "unknown level 'X'"),
        ({"scale": "log"}, "'modelling' or 'weights'"),
        ({"confidence": 1}, "confidence in"),
        ({"n_refits": 1, "training": people()}, "from 2 on"),
        ({"n_refits": 3}, "training="),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConnectomeError, match=says):
        effect_map(model(), "age: 50 -> 60", **arguments)
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        profiles_at(None, ConnectomeGenerator())


def test_a_trajectory_is_the_measure_of_what_is_expected() -> None:
    table = trajectory(model(), "age", by="sex", at=inside(10), values=[55, 65])
    assert len(table) == 2 * 2 * 8
    columns = ["age", "sex", "region", "hemisphere", "network", "measure", "value", "error", "low", "high", "extrapolated"]
    assert list(table.columns) == columns
    for (age, sex), rows in table.groupby(["age", "sex"]):
        expected = model().expected(inside(10).assign(age=age, sex=sex)).dense()
        np.testing.assert_allclose(rows["value"], expected.sum(2).mean(0), rtol=1e-4)
        assert list(rows["region"]) == list(people().atlas.labels)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()


def test_trajectories_of_other_measures() -> None:
    table = trajectory(model(), "age", measure="global_efficiency", at=inside(5))
    assert len(table) == 11 and "region" not in table and "sex" not in table
    age = model().schema.phenotypes[0]
    np.testing.assert_allclose(table["age"], np.linspace(age.low or 0, age.high or 0, 11))
    first = model().expected(inside(5).assign(age=age.low)).weights.astype(np.float64)
    wanted = topology.measure(first, "global_efficiency")["global_efficiency"].mean()
    assert table["value"][0] == pytest.approx(wanted, rel=1e-4)
    modules = trajectory(model(), "age", measure="participation", values=[60])
    wanted = topology.measure(
        model().expected(profiles_at({"age": 60.0}, model())).weights, "participation", partition=people().atlas.network
    )
    np.testing.assert_allclose(modules["value"], wanted["participation"][0], rtol=1e-4)


def test_at_most_so_many_people_by_seed() -> None:
    found = [trajectory(model(), "age", values=[60], at=people(), most_people=5, seed=seed)["value"] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"by": "height"}, "'height' is no such"),
        ({"by": "age"}, "'age' is no such"),
        ({"by": "weight"}, "knows no phenotype"),
        ({"measure": "strenght"}, "nearest is 'strength"),
        ({"measure": "edge_betweenness"}, "is one of edge"),
        ({"values": []}, "at least one value"),
        ({"values": ["old"]}, "finite number"),
        ({"most_people": 0}, "most_people"),
    ],
)
def test_trajectories_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConnectomeError, match=says):
        trajectory(model(), "age", **arguments)


def test_one_person_is_a_row_of_the_table_and_ends_may_be_an_array() -> None:
    person = inside().iloc[3]
    changes: tuple[Any, ...] = ({"age": np.array([50, 60])}, "age: 50 -> 60")
    found = [effect_map(model(), change, at=person).change for change in changes]
    by_name = effect_map(model(), "age: 50 -> 60", at=dict(person)).change
    for one in found:
        np.testing.assert_array_equal(one, by_name)

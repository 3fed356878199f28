"""ComBat for edges: neuroCombat's numbers, planted site effects, absent edges, new people, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sites import make_sites, modelled

from connectome_gnn import ComBat
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning, PhenotypeWarning
from connectome_gnn.harmonisation import empirical_bayes, load_harmoniser, regression


def by_neurocombat(cohort: Cohort, **options: Any) -> np.ndarray:
    """The rival's values (N, E); it prints, and asks numpy for a name that is no more."""
    neurocombat = pytest.importorskip("neuroCombat").neuroCombat
    covariates = cohort.phenotypes[["site", "sex", "age"]].reset_index(drop=True).astype({"site": object, "sex": object})
    patch = pytest.MonkeyPatch()
    patch.setattr(sys.modules["neuroCombat.neuroCombat"].np, "int", int, raising=False)
    with contextlib.redirect_stdout(io.StringIO()):
        values = neurocombat(modelled(cohort).T.copy(), covariates, "site", ["sex"], ["age"], **options)["data"].T
    patch.undo()
    return values


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"empirical_bayes": False}, {"eb": False}),
        ({"parametric": False}, {"parametric": False}),
        ({"reference": "b"}, {"ref_batch": "b"}),
    ],
)
def test_complete_data_give_neurocombats_numbers(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    cohort = make_sites()
    harmonised = modelled(ComBat("site", ["age", "sex"], **ours).fit_transform(cohort))
    assert np.abs(harmonised - by_neurocombat(cohort, **theirs)).max() < 1e-6
    assert np.abs(harmonised - modelled(cohort)).max() > 0.3


def test_planted_site_effects_are_gone_in_people_left_out_and_age_is_kept() -> None:
    cohort = make_sites(600, 8, seed=1)
    train, test = cohort.take(slice(0, 300)), cohort.take(slice(300, 600))
    site, age = test.phenotypes["site"].to_numpy(), test.phenotypes["age"].to_numpy()
    raw, harmonised = modelled(test), modelled(ComBat().fit(train).transform(test))
    spread_before, spread_after = (np.ptp([np.log(values[site == name].std(0)).mean() for name in "abc"]) for values in (raw, harmonised))
    shift_before, shift_after = (np.ptp([values[site == name].mean(0) for name in "abc"], axis=0).mean() for values in (raw, harmonised))
    assert spread_before > 0.3
    assert spread_after < 0.1
    assert shift_before > 0.5
    assert shift_after < 0.15  # two sites' means of 100 people each still differ by chance
    slopes = np.polyfit(age / 10, harmonised, 1)[0]
    assert np.corrcoef(slopes, cohort.info["age"])[0, 1] > 0.9
    assert abs(np.polyfit(cohort.info["age"], slopes, 1)[0] - 1) < 0.15
    # Not preserved where age differs between sites: then its effect goes with the site's.
    older = np.where(train.phenotypes["site"] == "a", train.phenotypes["age"] + 30, train.phenotypes["age"])
    assert ComBat(preserve=["age"]).fit(train).effects.shape == (1, cohort.n_edges)
    confounded = Cohort(train.weights, train.phenotypes.assign(age=older), train.atlas, measure=train.measure, described=train.described)
    with pytest.warns(PhenotypeWarning, match=r"confounded with 'site'.*'age' \(\d+ % of its variance\)"):
        ComBat(preserve=["age"]).fit(confounded)


@pytest.mark.parametrize("signed", [False, True])
def test_absent_edges_stay_absent_and_others_stay(signed: bool) -> None:
    cohort = make_sites(absent=0.4, signed=signed, shift=2.0)
    harmonised = ComBat().fit_transform(cohort)
    weights = harmonised.weights
    assert weights.dtype == np.float32
    assert np.array_equal(weights != 0, np.asarray(cohort.weights) != 0)
    assert np.abs(weights).max() < 1 if signed else weights.min() >= 0
    least = np.abs(cohort.weights[cohort.weights != 0]).min()
    assert np.abs(weights[weights != 0]).min() >= least * (1 - 1e-6)
    assert not np.array_equal(weights, cohort.weights)


def test_an_edge_is_regressed_over_the_people_who_have_it() -> None:
    cohort = make_sites(absent=0.3, seed=2)
    harmoniser = ComBat(empirical_bayes=False).fit(cohort)
    values, present = modelled(cohort), cohort.weights != 0
    table = cohort.phenotypes
    design = np.column_stack([table["site"] == name for name in "abc"] + [table["age"].astype(float), table["sex"] == "1"]).astype(float)
    for edge in (0, 7, 44):
        there = present[:, edge]
        coefficients, *_ = np.linalg.lstsq(design[there], values[there, edge], rcond=None)
        left = values[there, edge] - design[there] @ coefficients
        counts = design[there, :3].sum(0)
        assert harmoniser.deviation[edge] == pytest.approx(np.sqrt((left**2).mean()))
        level = coefficients[:3] - counts @ coefficients[:3] / counts.sum()
        assert harmoniser.shift[:, edge] * harmoniser.deviation[edge] == pytest.approx(level)


def test_edges_that_few_people_of_a_site_have_are_said_and_drawn_towards_the_others() -> None:
    cohort = make_sites(120, 10, seed=3)
    weights, site = np.array(cohort.weights), cohort.phenotypes["site"].to_numpy()
    first = np.flatnonzero(site == "a")
    weights[first, 0] = 0  # nobody of a site
    weights[first[3:], 1] = 0  # three of it
    weights[site != "b", 2] = 0  # one site alone
    weights[:, 3] = 0  # nobody at all
    weights[:, 4] = np.where(np.arange(120) < 4, weights[:, 4], 0)  # hardly anybody
    weights[:, 5] = 7.0  # everybody alike
    sparse = cohort.with_weights(weights)
    harmoniser = ComBat().fit(sparse)
    report = harmoniser.report()
    assert report.loc["a", ["people", "edges_own", "edges_drawn", "edges_left"]].tolist() == [40, 39, 2, 4]
    assert report.loc["b", "edges_drawn"] == 0
    record = harmoniser.record()
    assert (record["edges_left"], record["edges_drawn"]) == (4, {"a": 2, "b": 0, "c": 0})
    assert harmoniser.adjusted[:6].tolist() == [True, True, False, False, False, False]
    assert harmoniser.shift[0, 0] == pytest.approx(harmoniser.shift[0, 6:].mean(), abs=0.2)  # what is known of the site
    assert np.array_equal(harmoniser.transform(sparse).weights[:, 2:6], weights[:, 2:6].astype(np.float32))
    # A new person of the site who has the edge is brought over by that much.
    person = cohort.take([int(first[0])])
    moved = modelled(harmoniser.transform(person))[0, 0] - modelled(person)[0, 0]
    assert np.sign(moved) == -np.sign(harmoniser.shift[0, 0])
    plain = ComBat(empirical_bayes=False).fit(sparse)
    assert plain.shift[0, :2].tolist() == [0, 0]
    assert plain.spread[0, :2].tolist() == [1, 1]


def test_nothing_of_a_person_depends_on_who_else_is_harmonised() -> None:
    cohort = make_sites(absent=0.2)
    train, test = cohort.split(0.7, seed=0, stratify="site")
    harmoniser = ComBat(covbat=True).fit(train)
    known = {name: getattr(harmoniser, name).copy() for name in ("mean", "effects", "deviation", "shift", "spread")}
    together = harmoniser.transform(test).weights
    wild = test.with_weights(test.weights * np.where(np.arange(len(test)) == 0, 1, 50)[:, None])
    assert np.array_equal(harmoniser.transform(wild).weights[0], together[0])
    assert np.array_equal(harmoniser.transform(test.take([4, 2])).weights, together[[4, 2]])
    for name, value in known.items():
        assert np.array_equal(getattr(harmoniser, name), value)
    assert np.array_equal(harmoniser.fit(train).transform(test).weights, together)


def test_the_order_of_people_and_the_size_of_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_sites(absent=0.2)
    whole = modelled(ComBat().fit_transform(cohort))
    order = np.random.default_rng(0).permutation(len(cohort))
    shuffled = modelled(ComBat().fit_transform(cohort.take(order)))
    assert np.abs(shuffled - whole[order]).max() < 1e-6
    monkeypatch.setattr(regression, "VALUES_AT_ONCE", 7 * cohort.n_edges)
    assert np.abs(modelled(ComBat().fit_transform(cohort)) - whole).max() < 1e-6


@pytest.mark.parametrize("covbat", [False, True])
def test_big_cohorts_are_harmonised_when_they_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, covbat: bool) -> None:
    cohort = make_sites(absent=0.2)
    cohort.info.clear()
    train, test = Cohort.load(cohort.save(tmp_path / "cohort")).split(0.6, seed=0, stratify="site")
    harmoniser = ComBat(covbat=covbat, reference="b").fit(train)
    kept = harmoniser.transform(test)
    monkeypatch.setattr("connectome_gnn.harmonisation.harmoniser.MOST_KEPT", 0)
    monkeypatch.setattr(regression, "VALUES_AT_ONCE", 7 * cohort.n_edges)
    read = harmoniser.transform(test)
    harmoniser.fit(test)  # is of no consequence for what was transformed before
    assert isinstance(kept._stored, np.ndarray)
    assert not isinstance(read._stored, np.ndarray)
    assert read.weights.dtype == read.read([]).dtype == np.float32
    assert read.weights == pytest.approx(kept.weights, rel=1e-6)
    assert read.read([5, 30, 2]) == pytest.approx(kept.weights[[5, 30, 2]], rel=1e-6)
    assert read.take([8, 4]).weights == pytest.approx(kept.weights[[8, 4]], rel=1e-6)
    assert read.info == kept.info
    assert Cohort.load(read.save(tmp_path / "harmonised")).weights == pytest.approx(kept.weights, rel=1e-6)


def test_non_parametric_estimates_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_sites(absent=0.2)
    whole = ComBat(parametric=False).fit(cohort)
    monkeypatch.setattr(empirical_bayes, "EDGES_AT_ONCE", 4)
    assert ComBat(parametric=False).fit(cohort).shift == pytest.approx(whole.shift)


def test_the_reference_stays_as_it_is() -> None:
    cohort = make_sites(absent=0.2)
    harmonised = ComBat(reference="b").fit_transform(cohort)
    is_reference = (cohort.phenotypes["site"] == "b").to_numpy()
    same = (harmonised.weights == cohort.weights.astype(np.float32)).all(1)
    assert same[is_reference].all()
    assert not same[~is_reference].any()


def test_new_sites_are_refused_by_name_or_learned_where_asked() -> None:
    cohort = make_sites(400, 8, sites="abcd", seed=4)
    known = cohort.take((cohort.phenotypes["site"] != "d").to_numpy())
    new = cohort.take((cohort.phenotypes["site"] == "d").to_numpy())
    harmoniser = ComBat(covbat=True).fit(known)
    with pytest.raises(ConnectomeError, match=r"people of site 'd', which no training person is from \(known: 'a', 'b', 'c'\)"):
        harmoniser.transform(new)
    before = modelled(harmoniser.transform(known))
    wider = harmoniser.adapt(new.take(slice(0, 50)))
    assert (harmoniser.sites, wider.sites) == (("a", "b", "c"), ("a", "b", "c", "d"))
    assert np.array_equal(modelled(wider.transform(known)), before)
    rest, raw = modelled(wider.transform(new.take(slice(50, 100)))), modelled(new.take(slice(50, 100)))
    gap_before, gap_after = (np.abs(values.mean(0) - before.mean(0)).mean() for values in (raw, rest))
    assert gap_after < 0.4 * gap_before
    with pytest.raises(ConnectomeError, match="no site that is new"):
        harmoniser.adapt(known)


def test_a_site_of_one_person_is_said_and_shifted_alone() -> None:
    cohort = make_sites()
    table = cohort.phenotypes.copy()
    table.iloc[0, table.columns.get_loc("site")] = "d"
    alone = Cohort(cohort.weights, table, cohort.atlas, measure="m", described={"age": {"Units": "y"}})
    with pytest.warns(ConnectomeWarning, match="sites of a single training person: 'd'"):
        harmoniser = ComBat().fit(alone)
    assert (harmoniser.spread[3] == 1).all()
    assert (np.abs(harmoniser.shift[3]) > 0.01).any()
    assert np.isfinite(harmoniser.transform(alone).weights).all()


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"site": "a"}, {}, "everybody's 'site' is 'a', so there is nothing to harmonise"),
        ({}, {"batch": "scanner"}, "no column 'scanner' to harmonise by; it has 'age', 'sex', 'site'"),
        ({}, {"preserve": ["iq"]}, "no column 'iq' to preserve"),
        ({}, {"reference": "z"}, "no training person is from the reference 'z'; the sites are 'a', 'b', 'c'"),
        ({"notes": "text"}, {"preserve": ["notes"]}, "column 'notes' is text with almost as many values as people"),
        ({"site": None}, {}, "column 'site' is missing for 'sub-000', 'sub-001'"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_a_sentence(changes: dict[str, Any], options: dict[str, Any], sentence: str) -> None:
    cohort = make_sites(60)
    table = cohort.phenotypes.copy()
    for name, value in changes.items():
        column = pd.Series([value] * 60 if value else [None, None, *table["site"][2:]], table.index, object)
        table[name] = [f"{value} {n}" for n in range(60)] if name == "notes" else column
    with pytest.raises(ConnectomeError, match=sentence):
        ComBat(**options).fit(Cohort(cohort.weights, table, cohort.atlas, measure="m"))


def test_what_cannot_be_transformed_is_said_in_a_sentence() -> None:
    cohort = make_sites(60)
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        ComBat().transform(cohort)
    harmoniser = ComBat().fit(cohort)
    with pytest.raises(ConnectomeError, match="not on the atlas of training cohort 'sites'"):
        harmoniser.transform(make_sites(60, 9))
    with pytest.raises(ConnectomeError, match=r"was normalise \(method total\), to those of training cohort 'sites' nothing"):
        harmoniser.transform(cohort.normalise("total"))
    with pytest.raises(ConnectomeError, match="a column that is not preserved"):
        ComBat("age", ["age"])
    with pytest.raises(ConnectomeError, match="no edge can be harmonised"):
        ComBat().fit(cohort.with_weights(np.ones((60, cohort.n_edges))))
    with pytest.raises(ConnectomeError, match="every weight is 0"):
        ComBat().fit(cohort.with_weights(np.zeros((60, cohort.n_edges))))


def test_missing_phenotypes_count_as_the_mean_and_are_said() -> None:
    cohort = make_sites(60)
    table = cohort.phenotypes.copy()
    table.iloc[:6, 0] = np.nan
    gaps = Cohort(cohort.weights, table, cohort.atlas, measure="m", described=cohort.described)
    with pytest.warns(PhenotypeWarning, match=r"missing in training people, counted as their mean: 'age' \(10 %\)"):
        harmonised = ComBat().fit_transform(gaps)
    filled = table.assign(age=table["age"].fillna(table["age"].mean()))
    # The same but for the scale of age, which the effects take up.
    expected = ComBat().fit_transform(Cohort(cohort.weights, filled, cohort.atlas, measure="m", described=cohort.described))
    assert modelled(harmonised) == pytest.approx(modelled(expected), abs=1e-5)


@pytest.mark.parametrize("covbat", [False, True])
def test_a_saved_harmoniser_is_the_same(tmp_path: Any, covbat: bool) -> None:
    cohort = make_sites(absent=0.2)
    train, test = cohort.split(0.7, seed=1, stratify="site")
    harmoniser = ComBat(reference="a", covbat=covbat).fit(train)
    folder = harmoniser.save(tmp_path / "model")
    again = load_harmoniser(folder)
    assert type(again) is ComBat
    assert np.array_equal(again.transform(test).weights, harmoniser.transform(test).weights)
    assert again.record() == harmoniser.record()
    assert again.report().equals(harmoniser.report())
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"reference": "a"', '"reference": "b"'))
    with pytest.raises(ConnectomeError, match="was changed after the model was saved"):
        load_harmoniser(folder)
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        ComBat().save(tmp_path / "none")


def test_what_was_done_stands_in_the_cohort(tmp_path: Any) -> None:
    cohort = make_sites(60).threshold(weight=5.0)
    harmonised = ComBat().fit_transform(cohort)
    harmonised.info.pop("clean"), harmonised.info.pop("age")
    steps = Cohort.load(harmonised.save(tmp_path / "cohort")).info["processing"]
    assert [step["step"] for step in steps] == ["threshold", "ComBat"]
    assert (steps[1]["batch"], steps[1]["preserve"], steps[1]["fitted_on"], steps[1]["fitted_people"]) == (
        "site",
        ["age", "sex"],
        "sites",
        60,
    )
    assert cohort.info["processing"] == steps[:1]


def test_warnings_are_not_for_sites_that_are_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ComBat().fit(make_sites(60))

"""Nuisances: they condition the fit, and generation sets them to a reference or averages over them."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sites import make_sites, modelled

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.nuisance import Nuisances
from connectome_gnn.phenotypes import PhenotypeSchema


def people() -> Cohort:
    """Two thirds from Aachen, and people of other sites and motion."""
    motion = np.random.default_rng(1).gamma(2, 0.1, 120)
    return make_sites(120, 7, sites="abaaca", shift=1.0, spread=0.0, absent=0.1, motion=motion)


@cache
def plain() -> ConnectomeGenerator:
    return ConnectomeGenerator(0, network=None, sampler="copula").fit(people())


@cache
def fitted() -> ConnectomeGenerator:
    return ConnectomeGenerator(0, network=None, sampler="copula", nuisance=["site", "motion"]).fit(people())


def averaging() -> ConnectomeGenerator:
    """As a fit with nuisance_reference="average" gives it."""
    model = copy(fitted())
    model.nuisance_reference = "average"
    return model._learn_nuisances(people().phenotypes)


def test_generation_needs_no_nuisances_and_ignores_them() -> None:
    model, table = fitted(), people().phenotypes
    expected = model.expected(table.drop(columns=["site", "motion"]))
    assert np.array_equal(expected.weights, model.expected(table).weights)
    assert set(expected.phenotypes["site"]) == {"a"}
    assert expected.phenotypes["motion"].to_numpy() == pytest.approx(table["motion"].mean())
    sample = model.sample(table.drop(columns=["motion", "site"]), seed=3)
    assert np.array_equal(sample.weights, model.sample(table, seed=3).weights)
    assert np.array_equal(model.standard_error(table), model.standard_error(table.drop(columns="site")))


def test_nuisances_are_set_as_asked() -> None:
    model, table = fitted(), people().phenotypes
    assert np.array_equal(model.expected(table, nuisance="own").weights, plain().expected(table).weights)
    at_b = model.expected(table, nuisance={"site": "b"})
    told = plain().expected(table.assign(site="b", motion=model.nuisances.reference["motion"]))
    assert np.array_equal(at_b.weights, told.weights)
    # Aachen's people differ from Bonn's by what was planted.
    shift = modelled(at_b).mean(0) - modelled(model.expected(table)).mean(0)
    planted = (lambda site, values: values[site == "b"].mean(0) - values[site == "a"].mean(0))(table["site"].to_numpy(), modelled(people()))
    assert np.corrcoef(shift, planted)[0, 1] > 0.9


def test_averages_are_over_training_peoples_nuisances() -> None:
    model, table = averaging(), people().phenotypes.iloc[:20]
    expected = model.expected(table)
    assert expected.phenotypes[["site", "motion"]].isna().all(axis=None)
    combinations, shares = model.nuisances.table, model.nuisances.shares
    assert shares.sum() == pytest.approx(1)
    assert shares @ combinations["motion"].to_numpy() == pytest.approx(people().phenotypes["motion"].mean())
    assert shares[(combinations["site"] == "a").to_numpy()].sum() == pytest.approx(2 / 3)
    each = [modelled(model.expected(table, nuisance=dict(row))) for _, row in combinations.iterrows()]
    assert modelled(expected) == pytest.approx(np.tensordot(shares, np.array(each), 1), abs=1e-4)
    # People drawn are of all sites.
    drawn = modelled(model.sample(table.iloc[:1], n=1500, seed=0)).mean(0)
    at_one = modelled(model.expected(table.iloc[:1], nuisance="reference"))[0]
    assert np.abs(drawn - modelled(expected)[0]).mean() < 0.5 * np.abs(drawn - at_one).mean()
    assert np.array_equal(model.sample(table, seed=5).weights, model.sample(table, seed=5).weights)


def test_observed_people_keep_their_own() -> None:
    model = fitted()
    some = people().take(slice(0, 12))
    assert np.array_equal(model.deviation(some).edges, plain().deviation(some).edges)
    assert np.array_equal(model.log_prob(some), plain().log_prob(some))
    changed = model.interpolate(some, {"age": [50.0]})
    assert changed.phenotypes["site"].tolist() == some.phenotypes["site"].tolist()
    assert np.array_equal(changed.weights, plain().interpolate(some, {"age": [50.0]}).weights)


@pytest.mark.parametrize("way", [None, "average"])
def test_a_saved_model_knows_its_nuisances(tmp_path: Any, way: str | None) -> None:
    model = fitted() if way is None else averaging()
    folder = model.save(tmp_path / "model")
    again = ConnectomeGenerator.load(folder)
    table = people().phenotypes.drop(columns=["site", "motion"])
    assert (again.nuisance, again.nuisance_reference) == (("site", "motion"), way)
    for nuisance in (None, "average"):
        assert np.array_equal(
            again.sample(table, seed=1, nuisance=nuisance).weights, model.sample(table, seed=1, nuisance=nuisance).weights
        )
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert ("set to: site a, motion 0." if way is None else "site, motion; averaged over") in card


def test_references_by_kind_and_missing_nuisances() -> None:
    cohort = people()
    table = cohort.phenotypes.assign(visit=np.where(np.arange(120) % 3, "2", "1"), dose=np.arange(120) % 3)
    table.iloc[:3, table.columns.get_loc("motion")] = np.nan
    table.iloc[3:6, table.columns.get_loc("site")] = None
    described = {**cohort.described, "dose": {"Levels": {"0": "none", "1": "low", "2": "high"}, "Kind": "ordinal"}}
    schema = PhenotypeSchema.fit(table, described)
    names = ("site", "motion", "visit", "dose")
    with pytest.raises(ConnectomeError, match="unknown level 'z'"):
        Nuisances.learn(names, {"site": "z"}, schema, table)
    nuisances = Nuisances.learn(names, {"dose": 2}, schema, table)
    assert nuisances.reference == {"site": "a", "motion": pytest.approx(table["motion"].mean()), "visit": "2", "dose": "2"}
    known = Nuisances.from_dict(nuisances.to_dict(), schema)
    assert known.table.equals(nuisances.table)
    assert known.table["site"].isna().any()
    assert len(known.shares) <= 64
    drawn = known.drawn(known.set(table, "average"), np.random.default_rng(0))
    assert abs((drawn["visit"] == "2").mean() - 2 / 3) < 0.2
    assert drawn["age"].equals(table["age"])
    half = table.copy()
    half.loc[half.index[:60], list(names)] = None
    assert known.averaged(half).sum() == 60
    assert known.drawn(half, np.random.default_rng(0)).iloc[60:].astype(str).equals(half.iloc[60:].astype(str))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"nuisance": ["site", "site"]}, "different names of phenotypes"),
        ({"nuisance": "site", "nuisance_reference": {"motion": 1}}, "names 'motion', which is no nuisance"),
        ({"nuisance": "site", "nuisance_reference": "mean"}, "values by nuisance or 'average'"),
        ({"nuisance": "scanner"}, "no phenotype 'scanner'"),
        ({"nuisance": None}, "different names of phenotypes, got None"),
        ({"nuisance": "site", "nuisance_reference": pd.Series({"site": "a"})}, "values by nuisance or 'average'"),
    ],
)
def test_what_cannot_be_set_is_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConnectomeError, match=sentence):
        ConnectomeGenerator(0, network=None, sampler="copula", **options).fit(people(), distribution=False)


def test_what_cannot_be_asked_is_a_sentence() -> None:
    model, table = fitted(), people().phenotypes
    for asked, sentence in {"mean": "expected nuisance as one of", "age": "'age' is no nuisance", "site": "unknown level 'z'"}.items():
        with pytest.raises(ConnectomeError, match=sentence):
            model.expected(table, nuisance=asked if asked == "mean" else {asked: "z"})
    with pytest.raises(ConnectomeError, match="expected nuisance as one of"):
        model.sample(table, nuisance=table)  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="fitted without nuisance"):
        plain().expected(table, nuisance="average")

"""Nuisances on every way to a model: fine-tuning, differential privacy, and the commands fit, finetune and generate."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sites import make_sites, modelled
from test_cli import refused, run

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.privacy import DifferentialPrivacy


def people(n_people: int = 60, sites: str = "aab", seed: int = 0) -> Cohort:
    """People of two sites that differ in everything, and in how still they lay."""
    motion = np.random.default_rng(seed).gamma(2, 0.1, n_people)
    cohort = make_sites(n_people, 6, sites=sites, shift=1.0, spread=0.0, seed=seed, motion=motion)
    cohort.info.clear()
    return cohort


def without(cohort: Cohort, *columns: str) -> Cohort:
    """The same people with fewer phenotypes."""
    described = {name: note for name, note in cohort.described.items() if name not in columns}
    return Cohort(cohort.weights, cohort.phenotypes.drop(columns=list(columns)), cohort.atlas, measure=cohort.measure, described=described)


@cache
def source(way: str | None = None) -> ConnectomeGenerator:
    model = ConnectomeGenerator(0, network=None, sampler="copula", nuisance=["site", "motion"], nuisance_reference=way)
    return model.fit(people())


# --- fine-tuning --------------------------------------------------------------------------------------------------------


def test_a_fine_tuned_model_keeps_the_nuisances_and_sets_them_as_its_own_people_are(tmp_path: Path) -> None:
    small = people(30, sites="abb", seed=1)
    tuned = source().finetune(small)
    assert (tuned.nuisance, tuned.nuisance_reference) == (("site", "motion"), None)
    assert tuned.nuisances is not None
    assert tuned.nuisances.reference == {"site": "b", "motion": pytest.approx(small.phenotypes["motion"].mean())}
    table = small.phenotypes[["age", "sex"]]
    expected = tuned.expected(table)
    assert np.array_equal(expected.weights, tuned.expected(small.phenotypes).weights)
    assert set(expected.phenotypes["site"]) == {"b"}
    again = ConnectomeGenerator.load(tuned.save(tmp_path / "tuned"))
    assert again.nuisances is not None
    assert np.array_equal(again.sample(table, seed=1).weights, tuned.sample(table, seed=1).weights)


def test_a_nuisance_that_the_small_cohort_lacks_is_none_of_its_model() -> None:
    small = without(people(30, seed=1), "motion")
    tuned = source("average").finetune(small)
    assert (tuned.nuisance, tuned.nuisance_reference) == (("site",), "average")
    expected = tuned.expected(small.phenotypes[["age", "sex"]])
    assert "motion" not in expected.phenotypes
    assert expected.phenotypes["site"].isna().all()


# --- differential privacy ---------------------------------------------------------------------------------------------------


def test_a_private_model_has_nuisances_and_keeps_nobodys(tmp_path: Path) -> None:
    cohort = people(200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConnectomeWarning)
        promise = DifferentialPrivacy(50.0, bounds={"age": (40, 80), "motion": (0, 2)}, noise_seed=0)
        model = ConnectomeGenerator(privacy=promise, network=None, nuisance=["site", "motion"]).fit(cohort)
        table = cohort.phenotypes[["age", "sex"]]
        at_a = model.expected(table)
        at_b = model.expected(table, nuisance={"site": "b"})
    assert model.nuisances is not None
    assert model.nuisances.table is None  # which people have what together is nobody's to know
    assert set(at_a.phenotypes["site"]) == {"a"}
    shift = modelled(at_b).mean(0) - modelled(at_a).mean(0)
    site, values = cohort.phenotypes["site"].to_numpy(), modelled(cohort)
    assert np.corrcoef(shift, values[site == "b"].mean(0) - values[site == "a"].mean(0))[0, 1] > 0.5
    folder = model.save(tmp_path / "model")
    assert json.loads((folder / "config.json").read_text())["nuisances"]["table"] is None
    for refuse in (model, ConnectomeGenerator.load(folder)):
        with pytest.raises(ConnectomeError, match="does not know which nuisances go together, so it cannot average over them"):
            refuse.expected(table, nuisance="average")
    with pytest.raises(ConnectomeError, match="cannot average over them"):
        ConnectomeGenerator(privacy=promise, nuisance="site", nuisance_reference="average")


# --- the command line ---------------------------------------------------------------------------------------------------


def test_fit_scores_people_at_their_own_site_and_generates_as_at_one(tmp_path: Path) -> None:
    people().save(tmp_path / "cohort")
    (tmp_path / "asked.tsv").write_text("participant_id\tage\tsex\nnew\t60\t1\n", encoding="utf-8")
    options = ("--nuisance", "site, motion", "--holdout", 0.25, "--compare", "--json")
    answer = json.loads(run("fit", tmp_path / "cohort", "--out", tmp_path / "model", *options))
    assert (answer["holdout"]["n_train"], answer["holdout"]["n_test"]) == (45, 15)
    assert {"generator", "ridge"} <= {row["model"] for row in answer["holdout"]["ranking"]}
    assert answer["holdout"]["scores"]["r2_beyond_mean"]["value"] > 0  # the sites differ
    card = (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    assert "set to: site a, motion 0." in card and "held out are at everybody's own values" in card
    run("generate", tmp_path / "model", tmp_path / "asked.tsv", "--out", tmp_path / "people", "--samples", 2)
    assert Cohort.load(tmp_path / "people").phenotypes["site"].tolist() == ["a", "a"]


def test_a_nuisance_that_nobody_has_is_refused_before_anything_is_ranked(tmp_path: Path) -> None:
    people().save(tmp_path / "cohort")
    said = refused("fit", tmp_path / "cohort", "--out", tmp_path / "model", "--nuisance", "sight", "--holdout", 0.25)
    assert "no phenotype 'sight'" in said
    assert not (tmp_path / "model").exists()

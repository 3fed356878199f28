"""The command that harmonises a cohort: learned of training people, applied to others, kept in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sites import make_sites
from test_cli import refused, run

from connectome_gnn import ComBat
from connectome_gnn.cohort import Cohort


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    cohort = make_sites(60, 6, absent=0.2)
    cohort.info.clear()
    train, test = cohort.split(0.6, seed=0, stratify="site")
    for name, part in {"train": train, "test": test}.items():
        part.save(tmp_path / name)
    return {name: tmp_path / name for name in ("train", "test", "out", "again", "model")}


def test_a_cohort_is_harmonised_as_training_people_say(folders: dict[str, Path]) -> None:
    said = run("harmonise", folders["test"], folders["out"], "--fit-on", folders["train"], "--model", folders["model"])
    assert "24 people, ComBat learned from 36 of sites" in said
    expected = ComBat().fit(Cohort.load(folders["train"])).transform(Cohort.load(folders["test"]))
    written = Cohort.load(folders["out"])
    assert np.array_equal(written.weights, expected.weights)
    assert written.info["processing"] == expected.info["processing"]
    answer = json.loads(run("harmonise", folders["test"], folders["again"], "--model", folders["model"], "--json"))
    assert (answer["n_people"], answer["step"], answer["preserve"]) == (24, "ComBat", ["age", "sex"])
    assert np.array_equal(Cohort.load(folders["again"]).weights, expected.weights)


def test_mistakes_are_one_line(folders: dict[str, Path]) -> None:
    assert "no column 'scanner'" in refused("harmonise", folders["test"], folders["out"], "--batch", "scanner")
    run("harmonise", folders["test"], folders["out"], "--preserve", "", "--covbat", "--model", folders["model"])
    assert "exists" in refused("harmonise", folders["test"], folders["out"])
    both = ("--model", folders["model"], "--fit-on", folders["train"])
    assert "learned already" in refused("harmonise", folders["test"], folders["again"], *both)


def test_a_model_with_nuisances_generates_without_them(folders: dict[str, Path]) -> None:
    run("fit", folders["train"], "--out", folders["model"], "--nuisance", "site")
    table = folders["out"].with_suffix(".tsv")
    table.write_text("participant_id\tage\tsex\nnew\t60\t1\n", encoding="utf-8")
    run("generate", folders["model"], table, "--out", folders["out"], "--mean")
    assert Cohort.load(folders["out"]).phenotypes["site"].tolist() == ["a"]

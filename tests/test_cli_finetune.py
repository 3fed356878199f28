"""The command that starts from a model of a big cohort for a small one, and where a model's card lies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from test_cli import contents, refused, run

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.generator import ConnectomeGenerator

WORLD = ("--regions", 8, "--phenotypes", 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A cohort, its model, and a small cohort with one phenotype less and one more."""
    folder = tmp_path_factory.mktemp("finetune")
    run("simulate", folder / "big", "--subjects", 60, *WORLD)
    run("simulate", folder / "other", "--subjects", 26, *WORLD)
    people = Cohort.load(folder / "other")
    table = people.phenotypes.drop(columns="sex").assign(lesion=np.arange(26) % 7)
    weights = np.ascontiguousarray(people.weights)
    small = Cohort(weights, table, people.atlas, measure=people.measure, signed=False, name="small", described=people.described)
    small.save(folder / "small")
    ConnectomeGenerator(0, network=None).fit(Cohort.load(folder / "big")).save(folder / "model")
    return {name: folder / name for name in ("big", "small", "model")}


@pytest.fixture(scope="module")
def tuned(folders) -> Path:
    out = folders["model"].parent / "tuned"
    said = " ".join(run("finetune", folders["model"], folders["small"], "--out", out).split())
    assert "phenotypes known to the model alone: 'sex'" in said
    assert "phenotypes known to the cohort alone: 'lesion'" in said
    assert "the model of 'big'" in said
    assert "R2" in said
    assert "card.md: whom it was fitted to" in said
    return out


def test_it_writes_a_model_like_any_other(folders, tuned, tmp_path):
    before = contents(folders["model"])
    assert {"model.safetensors", "config.json", "card.md"} == set(contents(tuned))
    card = (tuned / "card.md").read_text(encoding="utf-8")
    assert "started from a model of 60 people of big" in card
    run("generate", tuned, folders["small"] / "participants.tsv", "--out", tmp_path / "people")
    assert len(Cohort.load(tmp_path / "people")) == 26
    again = json.loads(run("finetune", folders["model"], folders["small"], "--out", tmp_path / "again", "--json"))
    assert contents(tmp_path / "again") == contents(tuned)
    assert contents(folders["model"]) == before
    assert again["helped"].startswith(("the model of 'big'", "whether the model of 'big'"))
    assert [row["mean"] for row in again["comparison"]] == ["from scratch", "source alone", "fine-tuned", "fine-tuned minus from scratch"]
    assert again["phenotypes"]["added"] == ["lesion"]
    assert Path(again["card"]).is_file()


def test_held_out_people_are_scored_and_stand_in_the_card(folders, tmp_path):
    answer = json.loads(run("finetune", folders["model"], folders["small"], "--out", tmp_path / "out", "--holdout", 0.2, "--json"))
    assert {row["model"] for row in answer["holdout"]["ranking"]} == {"fine-tuned", "from scratch"}
    assert (answer["holdout"]["n_train"], answer["holdout"]["n_test"]) == (21, 5)
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "fitted to 21 of the people and scored on the other 5" in card
    assert "| from scratch |" in card
    assert ConnectomeGenerator.load(tmp_path / "out").n_training == 26


def test_what_cannot_be_fine_tuned_is_one_sentence_and_nothing_is_written(folders, tmp_path):
    run("simulate", tmp_path / "elsewhere", "--subjects", 24, "--regions", 6, "--phenotypes", 6)
    there = sorted(tmp_path.iterdir())
    out = tmp_path / "out"
    model, small = folders["model"], folders["small"]
    refused("finetune", model, tmp_path / "elsewhere", "--out", out, says="is on another atlas than the model of 'big'")
    refused("finetune", model, "nowhere", "--out", out, says="no cohort folder at nowhere")
    refused("finetune", "nowhere", small, "--out", out, says="no model folder at nowhere")
    refused("finetune", small, small, "--out", out, says="config.json")
    refused("finetune", model, small, "--out", model, "--force", says="which stays as it is")
    refused("finetune", model, small, "--out", small, says="exists")
    refused("finetune", model, small, "--out", out, "--holdout", 2, says="--holdout is a share of people")
    refused("finetune", model, small, "--out", out, "--rivals", "all", says="--rivals belongs to --compare")
    refused("finetune", model, small, "--out", out, "--checkpoint", out / "stages", says="--checkpoint holds numbers of the people")
    assert sorted(tmp_path.iterdir()) == there


def test_a_checkpoint_is_no_place_for_a_model(folders, tmp_path):
    stages = tmp_path / "stages"
    run("finetune", folders["model"], folders["small"], "--out", tmp_path / "out", "--checkpoint", stages)
    before = contents(stages)
    assert "checkpoint.json" in before
    for command in (("finetune", folders["model"], folders["small"]), ("fit", folders["small"])):
        refused(*command, "--out", stages, "--force", says="holds the checkpoint of a fit")
    assert contents(stages) == before


def test_a_cohorts_folder_is_no_place_for_a_model_nor_a_models_for_a_cohort(folders):
    before = {name: contents(folder) for name, folder in folders.items()}
    small = folders["small"]
    for command in (("fit", small), ("finetune", folders["model"], small)):
        refused(*command, "--out", small, "--force", says="is a cohort's folder")
    refused("generate", folders["model"], small, "--out", folders["model"], "--force", says="names the folder of MODEL")
    assert {name: contents(folder) for name, folder in folders.items()} == before


def test_a_place_that_cannot_be_written_is_named_before_the_work(folders, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("x")
    commands = (
        ("fit", folders["small"]),
        ("finetune", folders["model"], folders["small"]),
        ("generate", folders["model"], folders["small"]),
    )
    for command in commands:
        refused(*command, "--out", file / "deep" / "out", says=f"since {file} is a file")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode & os.W_OK == 0 and allowed(path, mode, **more))
    for command in commands:
        refused(*command, "--out", tmp_path / "out", says=f"no permission to write to {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_sentence_and_nothing_stays(folders, tmp_path, monkeypatch):
    def full(*given: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    for command in (("fit", folders["small"]), ("finetune", folders["model"], folders["small"])):
        refused(*command, "--out", tmp_path / "out", says=("cannot be written to", "No space left on device", "make room"))
    assert list(tmp_path.iterdir()) == []


def test_a_changed_card_is_refused(tuned, tmp_path):
    folder = Path(shutil.copytree(tuned, tmp_path / "model"))
    text = (folder / "card.md").read_text(encoding="utf-8")
    (folder / "card.md").write_text(text.replace("not for diagnosis", "for diagnosis"), encoding="utf-8")
    refused("generate", folder, "x.tsv", "--out", tmp_path / "people", says="card.md was changed after the model was saved")

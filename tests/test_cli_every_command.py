"""Every command's mistakes, the same for all: one sentence on standard error, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from test_cli import COMMANDS, contents, edit_text, edit_weights, refused
from tiny import make_cohort

from connectome_gnn.generation.generator import ConnectomeGenerator

CALLS: dict[str, tuple[str, ...]] = {
    "demo": ("--cohort", "BAD", "--out", "OUT"),
    "simulate": ("OUT", "--subjects", "20", "--regions", "8"),
    "fetch": ("corr_kki", "OUT"),
    "convert": ("BAD", "OUT"),
    "export": ("BAD", "OUT", "--format", "csv"),
    "split": ("BAD", "--train", "OUT", "--test", "OTHER"),
    "merge": ("GOOD", "BAD", "OUT"),
    "select": ("BAD", "OUT", "--hemisphere", "L"),
    "reorder": ("BAD", "OUT", "--atlas", "ATLAS"),
    "normalise": ("BAD", "OUT", "--by", "max"),
    "threshold": ("BAD", "OUT", "--weight", "2"),
    "backbone": ("BAD", "OUT.tsv"),
    "harmonise": ("BAD", "OUT", "--batch", "sex", "--preserve", "age"),
    "fit": ("BAD", "--out", "OUT"),
    "finetune": ("MODEL", "BAD", "--out", "OUT"),
    "generate": ("MODEL", "BAD", "--out", "OUT"),
    "evaluate": ("BAD", "GOOD", "--reference", "GOOD", "--json", "OUT.json"),
    "attribute": ("MODEL", "BAD", "--out", "OUT"),
    "privacy": ("GOOD", "--train", "BAD", "--holdout", "GOOD", "--json", "OUT.json"),
    "augment": ("BAD", "--out", "OUT.tsv"),
    "topology": ("BAD", "--out", "OUT.tsv"),
    "predict-age": ("BAD", "--out", "OUT"),
    "classify": ("BAD", "sex", "--out", "OUT"),
}
"""A call of each command: BAD for the cohort folder that is at fault, OUT for what it would write."""
OPENING = [command for command in CALLS if command not in ("simulate", "fetch")]
TABLE_ALONE = "generate"
"""Looks at a cohort folder's people and regions, and not at its connectomes."""
WRITING = [command for command in CALLS if command not in ("evaluate", "privacy")]
"""Those that ask for --force; the others' scores are beside the point of what they read, and are written anew."""


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A sound cohort folder, and a model of it beside."""
    folder = tmp_path_factory.mktemp("every")
    cohort = make_cohort(24)
    cohort.save(folder / "good")
    ConnectomeGenerator(0, network=None, sampler="copula").fit(cohort).save(folder / "model")
    return folder / "good"


def call(command: str, good: Path, bad: Path, folder: Path) -> list[object]:
    """The words of a command's call."""
    places = {"GOOD": good, "BAD": bad, "MODEL": good.parent / "model", "ATLAS": good / "atlas.tsv", "OTHER": folder / "other"}
    written = {f"OUT{suffix}": folder / f"out{suffix}" for suffix in ("", ".tsv", ".json")}
    return [command, *({**places, **written}.get(word, word) for word in CALLS[command])]


def test_no_command_is_left_out():
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.parametrize("command", CALLS)
def test_options_that_do_not_exist_and_arguments_that_are_missing(command, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*call(command, good, good, tmp_path), "--wrong", says=("No such option: --wrong", f"{command} --help'"))
    if command != "demo":  # needs none
        refused(command, says="Missing ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", OPENING)
def test_a_folder_that_is_not_there(command, good, tmp_path):
    bad = tmp_path / "nowhere"
    refused(*call(command, good, bad, tmp_path), says=("no", "nowhere"))
    assert list(tmp_path.iterdir()) == []


FAULTS = {
    "truncated": lambda folder: (folder / "connectomes.npy").write_bytes((folder / "connectomes.npy").read_bytes()[:-100]),
    "another size": edit_weights(lambda weights: weights[:, :-1]),
    "NaN": edit_weights(lambda weights: np.where(np.arange(len(weights)) == 3, np.nan, weights.T).T.astype(np.float32)),
    "no table": lambda folder: (folder / "participants.tsv").unlink(),
    "not JSON": edit_text("cohort.json", "{", ""),
}


@pytest.mark.parametrize(
    ("command", "fault"), [(command, fault) for command in OPENING for fault in FAULTS if command != TABLE_ALONE or fault == "no table"]
)
def test_a_folder_that_is_damaged(command, fault, good, tmp_path):
    bad = Path(shutil.copytree(good, tmp_path / "bad"))
    FAULTS[fault](bad)
    refused(*call(command, good, bad, tmp_path), says="bad")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize("command", WRITING)
def test_what_exists_is_kept(command, good, tmp_path):
    arguments = call(command, good, good, tmp_path)
    out = next(word for word in arguments if isinstance(word, Path) and word.parent == tmp_path)
    if out.suffix:
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    refused(*arguments, says=(f"{out.name} exists", "--force"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_cannot_be_written_to(command, good, tmp_path):
    """A file where the folder of the output should be."""
    (tmp_path / "file").write_text("mine")
    refused(*call(command, good, good, tmp_path / "file"), says="file")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fetch", "hcp"), ("'hcp'", "expected one of ucl_parkinson, lemon")),
        (("split", "--fraction", "2"), "a split needs a fraction between 0 and 1, got 2"),
        (("select", "--region", "Hippocampus"), "'Hippocampus'"),
        (("reorder", "--atlas", "nowhere.tsv"), "nowhere.tsv"),
        (("normalise", "--by", "zscore"), "got 'zscore'"),
        (("threshold", "--density", "0.3"), "got weight, density"),
        (("backbone", "--method", "mst"), "got 'mst'"),
        (("backbone", "--alpha", "0.1"), "got alpha as well"),
        (("export", "--format", "gpickle"), "got 'gpickle'"),
        (("convert", "--format", "gpickle"), "gpickle"),
        (("harmonise", "--batch", "scanner"), "no column 'scanner' to harmonise by"),
        (("harmonise", "--preserve", "sex"), "a column that is not preserved"),
        (("attribute", "--jobs", "0"), "--jobs is a number of threads"),
        (("attribute", "--score", "shoe"), "shoe"),
        (("augment", "--sizes", "many"), "--sizes are whole numbers by commas"),
        (("augment", "--generator", "gan"), "unknown generator 'gan'"),
        (("topology", "--measures", "strenght"), "strenght"),
        (("predict-age", "--model", "oracle"), "oracle"),
        (("predict-age", "--correction", "beheshti"), "beheshti"),
        (("predict-age", "--folds", "1"), "--folds"),
        (("classify", "--by", "scanner"), "scanner"),
        (("classify", "--confound", "scanner"), "scanner"),
        (("fit", "--nuisance", "scanner"), "scanner"),
        (("fit", "--delta", "0.1"), "--delta belongs to --epsilon"),
    ],
)
def test_values_that_cannot_be(arguments, says, good, tmp_path):
    command, *options = arguments
    words = call(command, good, good, tmp_path)
    if command == "fetch":
        words[1:2], options = options, []
    refused(*words, *options, says=says)
    assert list(tmp_path.iterdir()) == []

"""The command line: what it writes and prints, and one sentence with exit code 2 for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer.main
from typer.testing import CliRunner

from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices

COMMANDS = tuple(typer.main.get_command(app).commands)
SMALL = ("--subjects", 48, "--regions", 8, "--phenotypes", 6)


def run(*arguments: object) -> str:
    """Standard output of a command that works."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object, says: str | tuple[str, ...] = ()) -> str:
    """The sentence of a command that is refused: one line on standard error, exit code 2, nothing on standard output."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in result.stderr
    assert result.stderr.count("error: ") == 1
    for words in (says,) if isinstance(says, str) else says:
        assert words in last, last
    return last


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """A simulated cohort folder; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("cli") / "cohort"
    run("simulate", folder, *SMALL)
    return folder


@pytest.fixture
def copy(cohort, tmp_path) -> Path:
    return Path(shutil.copytree(cohort, tmp_path / "copy"))


@pytest.fixture
def matrices(cohort, tmp_path) -> Path:
    """The cohort as a folder of .csv matrices, with its tables beside them."""
    loaded, folder = Cohort.load(cohort), tmp_path / "matrices"
    folder.mkdir()
    for name, matrix in zip(loaded.ids, loaded.dense(), strict=True):
        np.savetxt(folder / f"{name}.csv", matrix, delimiter=",")
    for table in ("participants.tsv", "participants.json", "atlas.tsv"):
        shutil.copy(cohort / table, folder / table)
    return folder


# --- help and usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help(command):
    assert "Usage" in run(*command, "--help")
    assert "Usage" in run(*command, "-h")


def test_without_a_command_help_is_shown():
    assert run() == run("--help")


def test_version():
    from connectome_gnn import __version__

    assert run("--version").strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "No such command 'nothing'"),
        (("fit",), "Missing argument 'COHORT'"),
        (("fit", "x"), "Missing option '--out'"),
        (("fit", "x", "--out", "y", "--wrong"), "No such option"),
        (("simulate", "x", "--subjects", "many"), "'--subjects'"),
        (("simulate", "x", "--seed", "-1"), "'--seed'"),
        (("generate", "x", "y", "--out", "z", "--samples", "0"), "'--samples'"),
        (("generate", "x", "y", "--out", "z", "--samples", "2", "--mean"), "--mean and --samples exclude each other"),
        (("fit", "x", "--out", "y", "--holdout", "1.5"), "--holdout is a share of people between 0 and 1, got 1.5"),
        (("fit", "x", "--out", "y", "--compare", "--rivals", "some"), "--rivals is fast or all, got some"),
        (("fit", "x", "--out", "y", "--rivals", "all"), "--rivals belongs to --compare"),
        (("evaluate", "x", "y"), "Missing option '--reference'"),
        (("evaluate", "x", "y", "--reference", "z", "--rival", "ridge"), "--rival takes NAME=DIR, as ridge=rivals/ridge, got 'ridge'"),
        (("evaluate", "x", "y", "--reference", "z", "--rival", "a=b", "--rival", "a=c"), "--rival: every rival needs a name of its own"),
        (("evaluate", "x", "y", "--reference", "z", "--json", "no/such/folder.json"), "no folder"),
        (("fit", "x", "--out", "y"), "no cohort folder at x"),
        (("demo", "--out", "y", "--cohort", "x"), "no cohort folder at x"),
        (("evaluate", "x", "y", "--reference", "z"), "no cohort folder at x"),
        (("convert", "x", "y"), "nothing at x"),
    ],
)
def test_usage_errors(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*arguments, says=says)
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own(tmp_path):
    """No traceback, no colour codes in a pipe, errors on standard error, the exit code."""
    command = [sys.executable, "-W", "ignore", "-c", "from connectome_gnn.cli import main; main()", "fit", "nowhere", "--out", "model"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no cohort folder at nowhere") and done.stderr.count("\n") == 1


def test_a_terminal_without_unicode(parts, tmp_path):
    command = [sys.executable, "-c", "from connectome_gnn.cli import main; main()", "evaluate", "good", "test", "--reference", "train"]
    done = subprocess.run(command, cwd=parts, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert b"r2_beyond_mean" in done.stdout


def test_help_does_not_load_the_heavy_parts():
    code = "import sys; from connectome_gnn.cli import app; print([m for m in ('torch', 'sklearn', 'scipy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- simulate ------------------------------------------------------------------------------------------------------------


def test_simulate_gives_the_same_bytes_for_the_same_seed(cohort, tmp_path):
    run("simulate", tmp_path / "cohort", *SMALL)
    assert contents(tmp_path / "cohort") == contents(cohort)
    run("simulate", tmp_path / "other", *SMALL, "--seed", 1)
    assert contents(tmp_path / "other")["connectomes.npy"] != contents(cohort)["connectomes.npy"]
    loaded = Cohort.load(cohort)
    assert loaded.weights.shape == (48, 28) and loaded.phenotypes.shape == (48, 6) and loaded.name == "cohort"


def test_split_parts_people_and_says_so(cohort, tmp_path):
    train, test = tmp_path / "train", tmp_path / "test"
    told = json.loads(run("split", cohort, "--train", train, "--test", test, "--fraction", 0.75, "--stratify", "sex", "--json"))
    whole, first, second = (Cohort.load(folder) for folder in (cohort, train, test))
    assert not set(first.ids) & set(second.ids)
    assert set(first.ids) | set(second.ids) == set(whole.ids)
    assert (told["train"]["n_people"], told["test"]["n_people"]) == (len(first), len(second))
    assert len(first) == round(0.75 * len(whole))
    expected = whole.split(0.75, seed=0, stratify="sex")[1]
    assert np.array_equal(second.weights, expected.weights)
    assert list(second.ids) == list(expected.ids)


def test_split_refuses_one_folder_for_both_and_folders_that_exist(cohort, tmp_path):
    refused("split", cohort, "--train", tmp_path / "a", "--test", tmp_path / "a", says="name two folders")
    run("split", cohort, "--train", tmp_path / "a", "--test", tmp_path / "b")
    refused("split", cohort, "--train", tmp_path / "c", "--test", tmp_path / "b", says="--force")
    assert not (tmp_path / "c").exists()
    refused("split", cohort, "--train", tmp_path / "c", "--test", tmp_path / "d", "--stratify", "shoe", says="shoe")


def test_simulate_answers_programs(tmp_path):
    answer = json.loads(run("simulate", tmp_path / "c", *SMALL, "--sites", 2, "--measure", "pearson", "--json"))
    assert answer["n_people"] == 48 and answer["signed"] and "site" in answer["phenotypes"] and 0 < answer["ceiling"] < 1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--subjects", 1, "at least 2 people, got 1"),
        ("--regions", 2, "at least 4 regions, got 2"),
        ("--density", 2, "density must be above 0 and at most 1, got 2"),
        ("--explained", 1, "explained must be at least 0 and below 1, got 1"),
        ("--measure", "volts", "got 'volts'"),
    ],
)
def test_simulate_refuses(option, value, says, tmp_path):
    refused("simulate", tmp_path / "c", *SMALL, option, value, says=says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("simulate",), ("convert", "SOURCE")])
def test_an_output_folder_that_exists_asks_for_force(command, matrices, copy):
    before = contents(copy)
    arguments = [matrices if word == "SOURCE" else word for word in command]
    options = SMALL if command == ("simulate",) else ("--measure", "streamline_count")
    refused(*arguments, copy, *options, says=("copy exists", "--force"))
    assert contents(copy) == before
    (copy / "mine.txt").write_text("mine")
    (copy / "connectomes.npy").write_bytes(b"")
    run(*arguments, copy, *options, "--force")
    assert Cohort.load(copy).n_people == 48
    assert (copy / "mine.txt").read_text() == "mine"
    refused(*arguments, copy / "mine.txt", *options, "--force", says="mine.txt is a file; name a folder")


# --- convert -------------------------------------------------------------------------------------------------------------


def test_convert_gives_the_cohort_back(cohort, matrices, tmp_path):
    assert "48 people, 8 regions, 6 phenotypes, streamline_count" in run(
        "convert", matrices, tmp_path / "out", "--format", "matrices", "--measure", "streamline_count", "--name", "mine"
    )
    before, after = Cohort.load(cohort), Cohort.load(tmp_path / "out")
    np.testing.assert_array_equal(before.weights, after.weights)
    pd.testing.assert_frame_equal(before.phenotypes, after.phenotypes)
    assert before.atlas == after.atlas and after.name == "mine" and before.described == after.described
    answer = json.loads(run("convert", matrices, tmp_path / "again", "--measure", "streamline_count", "--json"))
    assert answer["n_people"] == 48 and answer["notes"] == []


def test_convert_one_array_with_tables_elsewhere(cohort, tmp_path):
    np.save(tmp_path / "all.npy", Cohort.load(cohort).dense())
    tables = ("--participants", cohort / "participants.tsv", "--atlas", cohort / "atlas.tsv", "--measure", "streamline_count")
    run("convert", tmp_path / "all.npy", tmp_path / "out", *tables)
    assert contents(tmp_path / "out")["connectomes.npy"] == contents(cohort)["connectomes.npy"]


def test_self_loops_are_dropped_with_one_yellow_line(cohort, tmp_path):
    matrices = Cohort.load(cohort).dense()
    matrices[:, 3, 3] = 5
    np.save(tmp_path / "all.npy", matrices)
    tables = ("--participants", cohort / "participants.tsv", "--atlas", cohort / "atlas.tsv", "--measure", "streamline_count")
    result = CliRunner().invoke(app, [str(a) for a in ("convert", tmp_path / "all.npy", tmp_path / "out", *tables)])
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1 and "48 self-loops (non-zero diagonal cells) in 48 of 48 connectomes dropped" in warned[0]
    assert contents(tmp_path / "out")["connectomes.npy"] == contents(cohort)["connectomes.npy"]


def edit_matrix(row: int, column: int, value: float, both: bool = True) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "sub-00003.csv"
        matrix = np.loadtxt(file, delimiter=",")
        matrix[row, column] = value
        if both:
            matrix[column, row] = value
        np.savetxt(file, matrix, delimiter=",")

    return edit


def edit_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def relabel(name: str, labels: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Another atlas in place of a folder's own."""

    def edit(folder: Path) -> None:
        table = pd.read_csv(folder / name, sep="\t", keep_default_na=False)
        table["label"] = labels(list(table["label"]))
        table.to_csv(folder / name, sep="\t", index=False)

    return edit


BAD_MATRICES = {
    "NaN": (edit_matrix(1, 4, np.nan), ("sub-00003.csv: expected finite weights, got nan between", "{1}", "{4}")),
    "infinity": (edit_matrix(1, 4, np.inf), ("sub-00003.csv: expected finite weights, got inf between", "{1}", "{4}")),
    "negative": (edit_matrix(1, 4, -3), ("sub-00003.csv: expected finite weights of 0 or more, got -3 between", "{1}", "{4}")),
    "asymmetric": (edit_matrix(1, 4, 1e6, both=False), ("sub-00003.csv: expected a symmetric matrix, got 1000000 from", "{1}", "{4}")),
    "empty": (lambda folder: (folder / "sub-00003.csv").write_text(""), "sub-00003.csv is empty"),
    "size": (
        lambda folder: np.savetxt(folder / "sub-00003.csv", np.zeros((7, 7)), delimiter=","),
        "expected 8 x 8 numbers for the 8 regions",
    ),
    "text": (lambda folder: (folder / "sub-00003.csv").write_text("a,b\nc,d\n"), "sub-00003.csv: expected 8 x 8 numbers"),
    "no table": (lambda folder: (folder / "participants.tsv").write_text(""), "participants.tsv is empty"),
    "no people": (
        lambda folder: (folder / "participants.tsv").write_text("participant_id\tage\n"),
        "participants.tsv has a header but no people",
    ),
    "duplicate id": (edit_text("participants.tsv", "sub-00004", "sub-00003"), ("participants.tsv", "'sub-00003' occurs more than once")),
    "unknown id": (edit_text("participants.tsv", "sub-00003", "sub-x"), ("'sub-x'", "have no row in", "'sub-00003'")),
    "person without a matrix": (
        lambda folder: (folder / "sub-00003.csv").unlink(),
        ("1 of 48 participants", "no connectome", "'sub-00003'"),
    ),
    "person without a row": (edit_text("participants.tsv", "sub-00003\t", "#\t"), ("have no row in", "'sub-00003'")),
    "atlas missing": (lambda folder: (folder / "atlas.tsv").unlink(), "give the atlas of"),
    "atlas empty": (lambda folder: (folder / "atlas.tsv").write_text(""), "atlas.tsv is empty"),
    "label missing": (relabel("atlas.tsv", lambda labels: ["", *labels[1:]]), "atlas.tsv"),
    "label twice": (relabel("atlas.tsv", lambda labels: [labels[1], *labels[1:]]), "occurs more than once"),
}


@pytest.mark.parametrize("fault", BAD_MATRICES)
def test_convert_refuses_bad_matrices_and_writes_nothing(fault, matrices, cohort, tmp_path):
    spoil, says = BAD_MATRICES[fault]
    spoil(matrices)
    labels = Cohort.load(cohort).atlas.labels
    words = (says,) if isinstance(says, str) else says
    words = tuple(f"'{labels[int(word[1:-1])]}'" if word[0] == "{" else word for word in words)
    refused("convert", matrices, tmp_path / "out", "--measure", "streamline_count", says=words)
    assert [path.name for path in tmp_path.iterdir()] == ["matrices"]


def test_convert_refuses_correlations_beyond_1_and_pickles(cohort, tmp_path):
    tables = ("--participants", cohort / "participants.tsv", "--atlas", cohort / "atlas.tsv")
    r = np.full((48, 28), 0.5)
    r[2, 9] = 1.5
    np.save(tmp_path / "all.npy", to_matrices(r))
    says = ("all.npy row 2 (participant 'sub-00003'): expected correlations between -1 and 1, got 1.5 between",)
    refused("convert", tmp_path / "all.npy", tmp_path / "out", *tables, "--measure", "pearson", says=says)
    refused("convert", tmp_path / "all.npy", tmp_path / "out", *tables, "--measure", "z", "--signed", says=says)
    np.save(tmp_path / "all.npy", np.array([{}]), allow_pickle=True)
    refused("convert", tmp_path / "all.npy", tmp_path / "out", *tables, "--measure", "pearson", says=("all.npy", "never loaded"))
    np.save(tmp_path / "all.npy", np.zeros((48, 28)))
    refused("convert", tmp_path / "all.npy", tmp_path / "out", *tables, says="say what a weight of")
    assert [path.name for path in tmp_path.iterdir()] == ["all.npy"]


# --- any command that opens a cohort folder -------------------------------------------------------------------------------


def edit_weights(edit: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = np.load(folder / "connectomes.npy")
        edited = edit(weights)
        np.save(folder / "connectomes.npy", weights if edited is None else edited)

    return spoil


def put(value: float) -> Callable[[Path], None]:
    def edit(weights: np.ndarray) -> None:
        weights[2, 5] = value

    return edit_weights(edit)


def truncate(folder: Path) -> None:
    content = (folder / "connectomes.npy").read_bytes()
    (folder / "connectomes.npy").write_bytes(content[:-100])


BAD_COHORTS = {
    **{
        f"{name} missing": ((lambda folder, name=name: (folder / name).unlink()), name)
        for name in ("connectomes.npy", "participants.tsv", "atlas.tsv", "cohort.json")
    },
    **{
        f"{name} empty": ((lambda folder, name=name: (folder / name).write_text("")), name)
        for name in ("connectomes.npy", "participants.tsv", "atlas.tsv", "cohort.json")
    },
    "number of edges": (edit_weights(lambda weights: weights[:, :-1]), ("connectomes.npy", "28", "(48, 27)")),
    "number of people": (edit_weights(lambda weights: weights[:-1]), ("connectomes.npy", "47", "48")),
    "NaN": (put(np.nan), ("copy", "nan", "'sub-00003'")),
    "infinity": (put(np.inf), ("copy", "inf", "'sub-00003'")),
    "negative": (put(-1), ("copy", "-1", "'sub-00003'")),
    "truncated": (truncate, "connectomes.npy"),
    "pickle": (lambda folder: np.save(folder / "connectomes.npy", np.array([{}]), allow_pickle=True), ("connectomes.npy", "never loaded")),
    "duplicate id": (edit_text("participants.tsv", "sub-00004", "sub-00003"), "'sub-00003' occurs more than once"),
    "label twice": (relabel("atlas.tsv", lambda labels: [labels[1], *labels[1:]]), ("atlas.tsv", "more than once")),
    "label missing": (relabel("atlas.tsv", lambda labels: ["", *labels[1:]]), "atlas.tsv"),
    "correlation beyond 1": (edit_text("cohort.json", '"signed": false', '"signed": true'), ("copy", "between -1 and 1")),
    "text in a numeric column": (
        edit_text("participants.tsv", "sub-00003\t", "sub-00003\told"),
        ("participants.tsv", "'age'", "'sub-00003'"),
    ),
    "not JSON": (edit_text("cohort.json", "{", ""), "cohort.json is not valid JSON"),
}


@pytest.mark.parametrize("fault", BAD_COHORTS)
def test_bad_cohort_folders_are_refused(fault, cohort, copy, tmp_path):
    spoil, says = BAD_COHORTS[fault]
    spoil(copy)
    refused("fit", copy, "--out", tmp_path / "model", says=says)
    refused("evaluate", cohort, copy, "--reference", cohort, "--json", tmp_path / "scores.json", says=says)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


# --- evaluate ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def parts(cohort, tmp_path_factory) -> Path:
    """Training and held-out people of the cohort, and two sets of connectomes that pass for generated ones."""
    folder = tmp_path_factory.mktemp("parts")
    train, test = Cohort.load(cohort).split(0.5, seed=0)
    train.save(folder / "train"), test.save(folder / "test")
    rng = np.random.default_rng(0)
    for name in ("good", "bad"):
        weights = test.weights * rng.lognormal(0, 0.2 if name == "good" else 1.5, test.weights.shape)
        Cohort(weights, test.phenotypes, test.atlas, measure=test.measure, kind="sample").save(folder / name)
    return folder


def test_evaluate_prints_and_writes_the_scores(parts, tmp_path):
    arguments = ("evaluate", parts / "good", parts / "test", "--reference", parts / "train", "--rival", f"worse={parts / 'bad'}")
    arguments += ("--parts", "r2_beyond_mean, capture_strength", "--measures", "strength", "--n-jobs", "1")
    printed = run(*arguments, "--json", tmp_path / "scores.json")
    assert "r2_beyond_mean" in printed and "worse" in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores) == ["r2_beyond_mean", "capture_strength"]
    score = scores["r2_beyond_mean"]
    assert score["value"] > score["rivals"]["worse"]["value"] and score["rivals"]["worse"]["difference_low"] > 0
    assert json.loads(run(*arguments, "--json", "-")) == scores
    assert not (tmp_path / "-").exists()


def test_evaluate_refuses_another_atlas_and_other_people(parts, tmp_path):
    other = Path(shutil.copytree(parts / "good", tmp_path / "other"))
    relabel("atlas.tsv", lambda labels: [f"x{label}" for label in labels])(other)
    refused("evaluate", other, parts / "test", "--reference", parts / "train", says="'x")
    refused("evaluate", parts / "good", parts / "test", "--reference", parts / "test")
    refused("evaluate", parts / "train", parts / "test", "--reference", parts / "train", says="sub-")
    refused("evaluate", parts / "good", parts / "test", "--reference", parts / "train", "--json", tmp_path, says="is a folder")
    refused(
        "evaluate", parts / "good", parts / "test", "--reference", parts / "train", "--parts", "fidelty", says="nearest name is 'fidelity'"
    )
    refused("evaluate", parts / "good", parts / "test", "--reference", parts / "train", "--measures", "strenght", says="'strength'")


def test_evaluate_takes_a_second_scan_as_ceiling(parts):
    arguments = ("evaluate", parts / "bad", parts / "test", "--reference", parts / "train", "--parts", "raw_r", "--measures", "none")
    people = Cohort.load(parts / "good")
    people.kind = "observed"
    again = people.save(parts / "again")
    score = json.loads(run(*arguments, "--ceiling", again, "--json", "-"))["raw_r"]
    assert 0 < score["value"] < score["null"] < score["ceiling"] < 1  # a bad one: further from people than the training mean is
    reached = (score["value"] - score["null"]) / (score["ceiling"] - score["null"])
    assert score["share_of_ceiling"] == pytest.approx(reached) and reached < 0


# --- fit -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model(cohort, tmp_path_factory) -> Path:
    """A model of the simulated cohort; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("model") / "model"
    printed = run("fit", cohort, "--out", folder)
    assert "What each path earned, 48 people of cohort" in printed and "message-passing network" in printed
    assert "card.md: whom it was fitted to" in " ".join(printed.split())
    return folder


def test_fit_gives_the_same_bytes_for_the_same_seed(cohort, model, tmp_path):
    answer = json.loads(run("fit", cohort, "--out", tmp_path / "model", "--json"))
    assert answer["n_people"] == 48 and {"path", "r2", "weight"} <= set(answer["earned"][0])
    assert contents(tmp_path / "model") == contents(model)
    refused("fit", cohort, "--out", tmp_path / "model", says=("model exists", "--force"))
    run("fit", cohort, "--out", tmp_path / "model", "--seed", 1, "--force")
    assert contents(tmp_path / "model") != contents(model)


def test_fit_reports_held_out_scores_and_then_uses_everybody(cohort, model, tmp_path):
    answer = json.loads(run("fit", cohort, "--out", tmp_path / "model", "--holdout", 0.25, "--json"))
    assert (answer["holdout"]["n_train"], answer["holdout"]["n_test"]) == (36, 12)
    assert [record["model"] for record in answer["holdout"]["ranking"]] == ["generator"]
    assert answer["holdout"]["scores"]["r2_beyond_mean"]["value"] == answer["holdout"]["ranking"][0]["r2"]
    same, before = contents(tmp_path / "model"), contents(model)
    assert same["model.safetensors"] == before["model.safetensors"]
    assert b"fitted to 36 of the people and scored on the other 12" in same["card.md"]
    assert b"No held-out comparison" in before["card.md"]


def test_fit_ranks_every_rival(cohort, tmp_path):
    from connectome_gnn.generation.rivals import RIVALS

    printed = run("fit", cohort, "--out", tmp_path / "model", "--compare")
    table = printed[: printed.index("What each path earned")]
    assert "10 held-out people of cohort, models fitted to 38" in table
    places = [table.index(f" {name} ") for name in ("generator", *RIVALS)]
    assert all(place > 0 for place in places)
    assert "--rivals all ranks flow matching, conditional VAE and matching-index wiring too, which takes minutes" in printed
    assert (tmp_path / "model" / "config.json").is_file()
    card = (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in card for name in ("generator", *RIVALS))


def alike(folder: Path) -> None:
    edit_weights(lambda weights: np.repeat(weights[:1], len(weights), 0))(folder)


def test_fit_refuses_too_few_people_and_people_all_alike(cohort, copy, tmp_path):
    Cohort.load(cohort).take(range(19)).save(tmp_path / "few")
    refused("fit", tmp_path / "few", "--out", tmp_path / "model", says=("19 people", "20"))
    refused("fit", cohort, "--out", tmp_path / "model", "--holdout", 0.6, says=("19 people", "20"))
    alike(copy)
    refused("fit", copy, "--out", tmp_path / "model", says="cohort")
    assert not (tmp_path / "model").exists()


def test_fit_warns_of_a_constant_column_in_one_line(copy, tmp_path):
    table = pd.read_csv(copy / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    table.assign(height="170.0").to_csv(copy / "participants.tsv", sep="\t", index=False)
    result = CliRunner().invoke(app, ["fit", str(copy), "--out", str(tmp_path / "model"), "--holdout", "0.2"])
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if "constant" in line]
    assert len(warned) == 1 and warned[0].startswith("warning: ") and "'height'" in warned[0]


# --- generate ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(cohort, tmp_path) -> Path:
    """Three people of the cohort under names of their own, not in order."""
    table = pd.read_csv(cohort / "participants.tsv", sep="\t", dtype=str, keep_default_na=False).iloc[[9, 2, 30]]
    table["participant_id"] = ["z", "007", "a"]
    table.to_csv(tmp_path / "asked.tsv", sep="\t", index=False)
    return tmp_path / "asked.tsv"


def test_generate_gives_exactly_the_people_asked_for(cohort, model, asked, tmp_path):
    run("generate", model, asked, "--out", tmp_path / "one")
    run("generate", model, asked, "--out", tmp_path / "two", "--samples", 2)
    run("generate", model, asked, "--out", tmp_path / "mean", "--mean")
    one, two, mean = (Cohort.load(tmp_path / name) for name in ("one", "two", "mean"))
    assert list(one.ids) == list(mean.ids) == ["z", "007", "a"]
    assert list(two.ids) == ["z", "z", "007", "007", "a", "a"] and list(two.phenotypes["sample"]) == [0, 1] * 3
    assert (one.kind, two.kind, mean.kind) == ("sample", "sample", "expected")
    real = Cohort.load(cohort)
    assert mean.atlas == real.atlas and mean.measure == real.measure and mean.described == real.described
    given = real.phenotypes.iloc[[9, 2, 30]]
    pd.testing.assert_frame_equal(mean.phenotypes.drop(columns="extrapolated").set_axis(given.index), given)
    assert set(mean.phenotypes["extrapolated"].astype(str)) <= {"True", "False"}
    answer = json.loads(run("generate", model, asked, "--out", tmp_path / "json", "--json", "--samples", 2))
    assert (answer["n_people"], answer["n_rows"]) == (3, 6) and answer["phenotypes"] == list(given.columns)


@pytest.mark.parametrize("how", [("--mean",), ("--samples", 2, "--seed", 5)])
def test_generate_gives_the_same_bytes_as_the_model_before_it_was_saved(how, cohort, model, asked, tmp_path):
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.native import read_participants

    for name in ("first", "second"):
        run("generate", model, asked, "--out", tmp_path / name, *how)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    fitted, (table, _) = ConnectomeGenerator(seed=0).fit(Cohort.load(cohort)), read_participants(asked)
    direct = fitted.expected(table) if how == ("--mean",) else fitted.sample(table, n=2, seed=5)
    np.testing.assert_array_equal(direct.weights, Cohort.load(tmp_path / "first").weights)


def test_generate_does_not_replace_the_people_it_is_asked_for(model, copy):
    before = contents(copy)
    for participants in (copy, copy / "participants.tsv"):
        refused("generate", model, participants, "--out", copy, "--force", says="--out names the cohort folder of PARTICIPANTS")
    assert contents(copy) == before


def test_generate_takes_a_cohort_folder_of_the_same_atlas(cohort, copy, model, tmp_path):
    run("generate", model, cohort, "--out", tmp_path / "folder", "--seed", 1)
    run("generate", model, cohort / "participants.tsv", "--out", tmp_path / "table", "--seed", 1)
    assert contents(tmp_path / "folder") == contents(tmp_path / "table")
    relabel("atlas.tsv", lambda labels: [*labels[:-1], "Hippocampus"])(copy)
    says = ("copy/atlas.tsv is of another atlas than the model's", "'Hippocampus'", "participants.tsv")
    refused("generate", model, copy, "--out", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()


def test_profiles_outside_the_training_range_are_named(model, asked, tmp_path):
    table = pd.read_csv(asked, sep="\t", dtype=str, keep_default_na=False)
    table.loc[1, "age"] = "20"
    table.to_csv(asked, sep="\t", index=False)
    result = CliRunner().invoke(app, ["generate", str(model), str(asked), "--out", str(tmp_path / "out")])
    warned = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert result.exit_code == 0 and len(warned) == 1 and "'age'" in warned[0]
    assert Cohort.load(tmp_path / "out").phenotypes["extrapolated"].astype(str).loc["007"] == "True"


def cell(column: str, value: str) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        table.loc[1, column] = value
        table.to_csv(file, sep="\t", index=False)

    return edit


def drop(column: str) -> Callable[[Path], None]:
    return lambda file: (
        pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False).drop(columns=column).to_csv(file, sep="\t", index=False)
    )


BAD_PROFILES = {
    "missing": (Path.unlink, ("asked.tsv",)),
    "empty": (lambda file: file.write_text(""), ("asked.tsv is empty",)),
    "no people": (lambda file: file.write_text(file.read_text().splitlines()[0] + "\n"), ("asked.tsv", "no people")),
    "no ids": (drop("participant_id"), ("asked.tsv has no column 'participant_id'",)),
    "missing column": (drop("height"), ("asked.tsv lacks 'height'",)),
    "text in a numeric column": (cell("age", "old"), ("asked.tsv", "column 'age'", "'old'", "'007'")),
    "infinity": (cell("age", "inf"), ("asked.tsv", "column 'age'", "'inf'")),
    "unknown level": (cell("sex", "X"), ("asked.tsv", "column 'sex'", "unknown level 'X'", "'007'")),
    "duplicate id": (cell("participant_id", "a"), ("'a' occurs more than once",)),
    "binary": (lambda file: file.write_bytes(b"\x93NUMPY\xff\x00"), ("asked.tsv",)),
}


@pytest.mark.parametrize("fault", BAD_PROFILES)
def test_generate_refuses_bad_profiles(fault, model, asked, tmp_path):
    spoil, says = BAD_PROFILES[fault]
    spoil(asked)
    refused("generate", model, asked, "--out", tmp_path / "out", says=says)
    assert {path.name for path in tmp_path.iterdir()} <= {"asked.tsv"}


def test_a_missing_value_is_no_mistake(model, asked, tmp_path):
    cell("age", "n/a")(asked), cell("sex", "n/a")(asked)
    run("generate", model, asked, "--out", tmp_path / "out")
    assert len(Cohort.load(tmp_path / "out")) == 3


BAD_MODELS = {
    "no folder": (lambda folder: shutil.rmtree(folder), "no model folder at"),
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "config missing": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "weights changed": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1] + b"x"),
        "sha256",
    ),
    "weights empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors"),
    "config empty": (lambda folder: (folder / "config.json").write_text(""), "config.json is not valid JSON"),
    "config of another kind": (lambda folder: (folder / "config.json").write_text("{}"), "config.json"),
}


@pytest.mark.parametrize("fault", BAD_MODELS)
def test_generate_refuses_bad_models(fault, model, asked, tmp_path):
    spoil, says = BAD_MODELS[fault]
    copied = Path(shutil.copytree(model, tmp_path / "model"))
    spoil(copied)
    refused("generate", copied, asked, "--out", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()


def test_generate_asks_for_force(model, asked, copy):
    before = contents(copy)
    refused("generate", model, asked, "--out", copy, says=("copy exists", "--force"))
    assert contents(copy) == before
    run("generate", model, asked, "--out", copy, "--force")
    assert list(Cohort.load(copy).ids) == ["z", "007", "a"]


# --- demo ----------------------------------------------------------------------------------------------------------------


def test_demo_tells_the_whole_story(tmp_path):
    from connectome_gnn.generation.rivals import RIVALS

    printed = run("demo", "--out", tmp_path / "demo", *SMALL)
    for words in (
        "Cohort simulated: 48 people, 8 regions, 6 phenotypes",
        "scored on the other 10",
        "generator",
        *RIVALS,
        "share of exact zeros",
    ):
        assert words in printed
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "train",
        "test",
        "model",
        "samples",
        "expected",
        "rivals",
        "scores.json",
    }
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    r2 = [record["r2"] for record in scores["ranking"]]
    assert r2 == sorted(r2, reverse=True) and {record["model"] for record in scores["ranking"]} == {"generator", *RIVALS}
    samples, test = (Cohort.load(tmp_path / "demo" / name) for name in ("samples", "test"))
    assert list(samples.ids) == list(test.ids) and samples.kind == "sample"
    assert printed.rindex("nearest neighbours") > printed.index("share of exact zeros")  # the ranking comes last
    assert len(list((tmp_path / "demo" / "rivals").iterdir())) == len(RIVALS)
    suggested = printed[printed.index("connectome-gnn evaluate") : printed.index("Expected connectomes of the held-out people")]
    again = suggested.split()[1:]  # the command it suggests works
    assert "r2_beyond_mean" in run(*again)
    generated = run("generate", tmp_path / "demo" / "model", tmp_path / "demo" / "test", "--out", tmp_path / "again")
    assert "10 people" in generated
    assert contents(tmp_path / "again")["connectomes.npy"] == contents(tmp_path / "demo" / "samples")["connectomes.npy"]
    refused("demo", "--out", tmp_path / "demo", says="--force")


def test_demo_takes_a_cohort_and_answers_programs(cohort, tmp_path):
    answers = [json.loads(run("demo", "--out", tmp_path / "demo", "--cohort", cohort, "--json", "--force")) for _ in range(2)]
    for answer in answers:
        assert answer["cohort"] == "cohort" and answer["n_train"] == 38
        for record in answer["ranking"]:
            del record["seconds"]
    assert answers[0] == answers[1]

"""A fit that is killed goes on to the same bytes; a checkpoint of anything else is refused, a damaged one computed again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fitted import FAST, small_cohort
from safetensors.numpy import load_file
from tiny import make_cohort, make_phenotypes, make_weights
from typer.testing import CliRunner

from connectome_gnn.cli import app
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import checkpoint as module
from connectome_gnn.generation.checkpoint import NO_CHECKPOINT, Checkpoint, cohort_digest, digest
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.simulate import simulate_cohort

SETTINGS = {"seed": 0, "network": {"epochs": 3}}


@dataclass(frozen=True)
class Part:
    numbers: np.ndarray
    label: str | None


def result(known: object) -> dict[str, Any]:
    """One of everything that a stage may return."""
    return {
        "arrays": (np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.float32(1.5), np.zeros((0, 4), np.float32), np.array(7)),
        "plain": [None, True, 3, 0.1 + 0.2, float("inf"), "größe", {"a": 1, 2: [()]}],
        "part": Part(np.arange(3, dtype=np.int64), None),
        "tensor": torch.arange(4.0).reshape(2, 2),
        "table": pd.DataFrame({"r2": [0.1, np.nan], "name": ["x", "y"]}, index=pd.Index(["a", "b"], name="path")),
        "known": [known, Part(np.ones(1), "b")],
    }


def test_a_stage_comes_back_as_it_was_computed(tmp_path):
    known = object()
    calls: list[int] = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return result(known)

    checkpoint = Checkpoint(tmp_path)
    first = checkpoint.stage("a stage", compute, types=(Part,), given=(known,))
    assert first["known"][0] is known
    again = Checkpoint(tmp_path).stage("a stage", compute, types=(Part,), given=(known,))
    assert len(calls) == 1
    for one, other in zip(first["arrays"], again["arrays"], strict=True):
        assert type(one) is type(other)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert again["plain"] == first["plain"]
    assert [type(value) for value in again["plain"]] == [type(value) for value in first["plain"]]
    assert type(again["part"]) is Part and again["part"].label is None
    np.testing.assert_array_equal(again["part"].numbers, np.arange(3))
    assert torch.equal(again["tensor"], first["tensor"])
    pd.testing.assert_frame_equal(again["table"], first["table"])
    assert again["known"][0] is known and again["known"][1].label == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["a-stage.safetensors"]  # nothing half written lies about
    assert NO_CHECKPOINT.stage("a stage", compute)["plain"] == first["plain"]
    assert len(calls) == 2


def test_what_a_stage_cannot_hold_is_named():
    for value, shown in (({1, 2}, "set"), (Part(np.ones(1), ""), "Part"), ([lambda: 0], "function")):
        with pytest.raises(TypeError, match=f"cannot hold a {shown}"):
            Checkpoint(Path("unused")).stage("x", lambda value=value: value)


@pytest.mark.parametrize("harm", ["truncated", "empty", "a bit", "another's", "not ours", "gone"])
def test_a_damaged_stage_is_computed_again(tmp_path, harm):
    checkpoint = Checkpoint(tmp_path)
    values = np.random.default_rng(0).standard_normal(1000)
    checkpoint.stage("x", lambda: values)
    file = tmp_path / "x.safetensors"
    content = bytearray(file.read_bytes())
    if harm == "truncated":
        file.write_bytes(content[:-9])
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "a bit":
        content[-20] ^= 1
        file.write_bytes(content)
    elif harm == "another's":
        checkpoint.stage("y", lambda: values + 1)
        file.write_bytes((tmp_path / "y.safetensors").read_bytes())
    elif harm == "not ours":
        stored = checkpoint.read("x")
        assert stored
        checkpoint.write("x", stored[0], {**stored[1], "tree": {"object": "Path", "fields": {}}})
    else:
        file.unlink()
    np.testing.assert_array_equal(checkpoint.stage("x", lambda: values), values)
    np.testing.assert_array_equal(checkpoint.stage("x", lambda: values * 0), values)  # and stored again


def test_a_stage_of_other_arrays_is_computed_again(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    for value, expected in ((1.0, 1), (1.0, 1), (2.0, 3), (1.0, 4)):
        calls = checkpoint.read("x")
        answer = checkpoint.stage("x", lambda expected=expected: expected, depends={"residual": np.full(3, value)})
        assert answer == expected, calls


def test_a_stage_appears_complete_or_not_at_all(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.write("x", {"a": np.ones(3)}, {"n": 1})
    flushed: list[int] = []
    monkeypatch.setattr(module.os, "fsync", lambda number: flushed.append(number))

    def killed(old: Path, new: Path) -> None:
        assert flushed  # the disk has it before it takes its name
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write("x", {"a": np.zeros(3)}, {"n": 2})
    arrays, record = checkpoint.read("x")
    assert record == {"n": 1} and (arrays["a"] == 1).all()


def test_a_disk_that_is_full_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "save_file", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConnectomeError, match="cannot be written .*No space left"):
        Checkpoint(tmp_path).write("x", {"a": np.ones(3)}, {})
    (tmp_path / "f").write_text("")
    with pytest.raises(ConnectomeError, match="is a file"):
        Checkpoint.open(tmp_path / "f", make_cohort(), SETTINGS)


def test_every_difference_counts():
    cohort = make_cohort()
    same = cohort_digest(make_cohort())
    assert cohort_digest(cohort) == same
    for place in ((0, 0), (3, 7), (11, 14)):
        weights = make_weights()
        weights[place] = np.nextafter(weights[place], np.float32(9))
        assert cohort_digest(make_cohort(weights=weights))["weights"] != same["weights"]
    assert cohort_digest(make_cohort(weights=make_weights().astype(np.float64)))["weights"] != same["weights"]
    table = make_phenotypes()
    table.iloc[4, 0] += 1e-12
    assert cohort_digest(make_cohort(phenotypes=table))["phenotypes"] != same["phenotypes"]
    assert cohort_digest(make_cohort(phenotypes=make_phenotypes().rename(index={"sub-002": "sub-999"})))["phenotypes"] != same["phenotypes"]
    as_text = make_phenotypes().astype({"trials": str})
    assert cohort_digest(make_cohort(phenotypes=as_text))["phenotypes"] != same["phenotypes"]
    assert cohort_digest(make_cohort(described={}))["description"] != same["description"]
    assert cohort_digest(make_cohort(measure="fa"))["description"] != same["description"]
    order = np.r_[1, 0, 2:12]
    moved = cohort_digest(cohort.take(order))
    assert moved["weights"] != same["weights"] and moved["phenotypes"] != same["phenotypes"]
    assert digest({"a": np.ones(2), "b": np.zeros(1)}, 1) == digest({"b": np.zeros(1), "a": np.ones(2)}, 1)
    assert digest({"a": np.ones(2)}, 1) != digest({"a": np.ones((2, 1))}, 1) != digest({"a": np.ones((2, 1), np.float32)}, 1)


def test_a_checkpoint_of_something_else_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "checkpoint"
    assert Checkpoint.open(folder, make_cohort(), SETTINGS).folder == folder
    Checkpoint.open(folder, make_cohort(), SETTINGS)
    cases = [
        (make_cohort(weights=make_weights(seed=1)), SETTINGS, "other connectomes"),
        (make_cohort(phenotypes=make_phenotypes(seed=1)), SETTINGS, "other people or phenotypes"),
        (make_cohort(name="another"), SETTINGS, "another cohort"),
        (make_cohort(), {**SETTINGS, "seed": 1}, "other settings .seed was 0, now 1"),
        (make_cohort(), {**SETTINGS, "network": {"epochs": 4}}, "other settings .network: epochs was 3, now 4"),
        (make_cohort(), {**SETTINGS, "network": None}, "network was .*now None"),
    ]
    for cohort, settings, said in cases:
        with pytest.raises(ConnectomeError, match=said):
            Checkpoint.open(folder, cohort, settings)
    monkeypatch.setattr(module, "_versions", lambda: {"torch": "9"})
    with pytest.raises(ConnectomeError, match="other versions .*now '9'"):
        Checkpoint.open(folder, make_cohort(), SETTINGS)
    (folder / "checkpoint.json").write_text("{")
    with pytest.raises(ConnectomeError, match="not valid JSON"):
        Checkpoint.open(folder, make_cohort(), SETTINGS)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("John")
    with pytest.raises(ConnectomeError, match="holds files but no checkpoint"):
        Checkpoint.open(tmp_path / "letters", make_cohort(), SETTINGS)
    assert Checkpoint.open(None, make_cohort(), SETTINGS) is NO_CHECKPOINT


class Killed(BaseException):
    """What a test throws in place of SIGKILL."""


def test_a_folder_in_place_of_the_record_is_one_sentence(tmp_path):
    (tmp_path / "checkpoint.json").mkdir()
    with pytest.raises(ConnectomeError, match="checkpoint.json is a folder, where a checkpoint has a file"):
        Checkpoint.open(tmp_path, make_cohort(), {})


def test_the_decomposition_goes_on_between_readings(tmp_path, monkeypatch):
    cohort = simulate_cohort(640, 12, 5, seed=0)
    space, scores = EdgeSpace.fit(cohort, n_components=20)
    readings: list[int] = []
    read = type(cohort).modelled

    def counted(self: Any, *arguments: Any) -> Any:
        readings.append(1)
        if len(readings) == fatal:
            raise Killed
        return read(self, *arguments)

    monkeypatch.setattr(type(cohort), "modelled", counted)
    checkpoint = Checkpoint(tmp_path)
    fatal = 2
    for _ in range(3):
        readings.clear()
        with pytest.raises(Killed):
            EdgeSpace.fit(cohort, n_components=20, checkpoint=checkpoint)
    fatal = 0
    readings.clear()
    again, again_scores = EdgeSpace.fit(cohort, n_components=20, checkpoint=checkpoint)
    assert len(readings) == 1  # of four
    assert again_scores.tobytes() == scores.tobytes()
    assert again.basis.tobytes() == space.basis.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["edge-space.safetensors"]


SERVER = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import numpy as np
import torch
torch.set_num_threads(1)
from fitted import small_cohort
from connectome_gnn.generation import checkpoint as module
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import NetworkConfig

def fatal_with(name):  # the file after which, or in the middle of which, the process is killed
    appear = module._appear
    def die(path=None):
        os.kill(os.getpid(), signal.SIGKILL)
    def fatal(path, write):
        appear(path, (lambda partial: (write(partial), die())) if name == f".{{path.name}}.partial" else write)
        if path.name == name:
            die()
    module._appear = fatal

plain = small_cohort(620, 8)
wave = 4 * np.sin(3 * plain.phenotypes["memory"].to_numpy())  # what only the network finds
cohort = small_cohort(620, 8, weights=(plain.weights * np.exp(wave)[:, None]).astype(np.float32))
for line in sys.stdin:  # every fit in a process of its own, which the imports do not slow down
    checkpoint, out, fatal = line.split()
    child = os.fork()
    if child == 0:
        fatal_with(fatal)
        model = ConnectomeGenerator(seed=3, n_components=20, network=NetworkConfig(epochs=20, learning_rate=1e-2))
        model.fit(cohort, checkpoint=None if checkpoint == "none" else checkpoint).save(out)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Fits:
    """Starts fits in processes of their own, and kills them."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        code = SERVER.format(tests=str(Path(__file__).parent))
        self.server = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, checkpoint: Path | str, out: Path, fatal: str = "none", killed: Callable[[], bool] = lambda: False) -> bool:
        """Whether the fit ended before the file ``fatal`` appeared, or ``killed`` said yes."""
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(f"{checkpoint} {out} {fatal}\n")
        self.server.stdin.flush()
        child = int(self.server.stdout.readline())
        ended: list[int] = []
        waiting = threading.Thread(target=lambda: ended.append(int(self.server.stdout.readline())))
        waiting.start()
        while waiting.is_alive():
            if killed():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.001)
        waiting.join()
        assert ended[0] in (0, -signal.SIGKILL)
        return ended[0] == 0


@pytest.fixture(scope="module")
def fits() -> Iterator[Fits]:
    fits = Fits()
    yield fits
    fits.server.communicate()


@pytest.fixture(scope="module")
def whole(fits: Fits, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Checksum of the model that was never killed, and stored nothing on its way."""
    out = tmp_path_factory.mktemp("whole") / "model"
    assert fits.run("none", out)
    assert "member2.decoder.embedding" in load_file(out / "model.safetensors")
    return sha256(out)


def sha256(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


STAGES = (
    "checkpoint.json",
    "edge-statistics",
    "edge-sums-1",
    "edge-space",
    "closed-form",
    "network-fold-0-under-way",
    "network-fold-0",
    "network-fold-1-under-way",
    "network-fold-2",
    "residual",
)


def test_a_fit_killed_at_every_stage_ends_in_the_same_bytes(fits, whole, tmp_path):
    folder = tmp_path / "checkpoint"
    for stage in STAGES:
        name = stage if "." in stage else f"{stage}.safetensors"
        for fatal in (f".{name}.partial", name):  # written but not yet there, and there
            assert not fits.run(folder, tmp_path / "never", fatal=fatal), fatal
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert fits.run(folder, tmp_path / "model")
    assert sha256(tmp_path / "model") == whole
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps  # nothing was computed twice
    assert sorted(stamps) == sorted(
        ["checkpoint.json", *(f"{name}.safetensors" for name in STAGES[3:] if not name.endswith("way")), "network-fold-1.safetensors"]
    )


def test_a_fit_killed_at_any_moment_ends_in_the_same_bytes(fits, whole, tmp_path):
    draw = np.random.default_rng(0)
    folder, kills = tmp_path / "checkpoint", 0
    while True:
        end = time.monotonic() + draw.uniform(0.1, 1.5)
        if fits.run(folder, tmp_path / f"model{kills}", killed=lambda end=end: time.monotonic() > end):
            break
        kills += 1
        if kills == 5:
            assert fits.run(folder, tmp_path / "model5")
            break
    assert sha256(tmp_path / f"model{kills}") == whole


def test_a_fit_goes_on_for_the_same_people_and_settings_only(tmp_path):
    cohort = small_cohort(60)
    folder = tmp_path / "checkpoint"
    model = ConnectomeGenerator(seed=0, network=FAST).fit(cohort, checkpoint=folder)
    for other in ({"seed": 1}, {"network": None}, {"messages": False}, {"n_components": 7}):
        with pytest.raises(ConnectomeError, match="is of a fit with other settings"):
            ConnectomeGenerator(**{"seed": 0, "network": FAST, **other}).fit(cohort, checkpoint=folder)
    with pytest.raises(ConnectomeError, match="other connectomes"):
        ConnectomeGenerator(seed=0, network=FAST).fit(small_cohort(60, seed=4), checkpoint=folder)
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors"}  # never a pickle
    for file in folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-5])
    again = ConnectomeGenerator(seed=0, network=FAST).fit(cohort, checkpoint=folder)
    assert sha256(model.save(tmp_path / "a")) == sha256(again.save(tmp_path / "b"))


def test_the_command_line_goes_on_too(tmp_path):
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    small_cohort(40).save(tmp_path / "cohort")
    for name in ("first", "again"):
        answer = run("fit", tmp_path / "cohort", "--out", tmp_path / name, "--checkpoint", tmp_path / "c")
        assert answer.exit_code == 0, answer.output
        if name == "first":
            stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()}
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()}
    assert "closed-form.safetensors" in stamps
    assert sha256(tmp_path / "first") == sha256(tmp_path / "again")
    cases = ((("--seed", 1), "other settings (seed was 0, now 1)"), (("--epsilon", 3), "leave --checkpoint out"))
    for arguments, said in cases:
        answer = run("fit", tmp_path / "cohort", "--out", tmp_path / "never", "--checkpoint", tmp_path / "c", *arguments)
        assert answer.exit_code == 2
        assert said in " ".join(answer.stderr.split())
    assert not (tmp_path / "never").exists()


def test_a_private_fit_stores_nothing_on_its_way(tmp_path):
    with pytest.raises(ConnectomeError, match="differential privacy"):
        ConnectomeGenerator(privacy=DifferentialPrivacy(1.0)).fit(small_cohort(40), checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()

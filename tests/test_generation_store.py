"""Saved generators: the same model comes back, and nothing damaged or foreign does."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from fitted import fit_small, generator, halves, small_cohort
from safetensors.numpy import load_file

from connectome_gnn import model_folder
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import store
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig
from connectome_gnn.generation.recombination import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")


def with_network(model: ConnectomeGenerator) -> ConnectomeGenerator:
    """The model with a network whose gate is open, whatever it earned."""
    torch.manual_seed(0)
    k = 10
    task = model._task(np.ones(k, np.float32))
    model.members = [ConnectomeNetwork(task, model.network).eval() for _ in range(2)]
    for member in model.members:
        torch.nn.init.normal_(member.decoder.strength)
    model.gate = np.linspace(0, 1, k)
    return model


@pytest.fixture(scope="module", params=["counts", "correlations", "network", "no network", "recombined", "recipe"])
def model(request) -> ConnectomeGenerator:
    if request.param == "counts":
        return generator()
    if request.param == "network":
        return with_network(fit_small(small_cohort(60), network=NetworkConfig(epochs=1, context_width=12, region_width=6, rank=3)))
    if request.param == "recombined":
        return fit_small(small_cohort(40), sampler="recombined")
    if request.param == "recipe":
        return fit_small(small_cohort(40, signed=True), sampler=Recipe(recombined=0, noise="series", points=30))
    return fit_small(small_cohort(60, signed=request.param == "correlations"), messages=request.param != "no network")


def profiles(model: ConnectomeGenerator):
    return halves()[1].phenotypes.iloc[:30] if model is generator() else small_cohort(30, seed=5).phenotypes


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder of a small model, for breaking."""
    if not SMALL:
        SMALL.append(fit_small(small_cohort(30)))
    return SMALL[0].save(tmp_path / "model")


SMALL: list[ConnectomeGenerator] = []


def test_the_same_model_comes_back(model, tmp_path):
    table = profiles(model)
    folder = model.save(tmp_path / "new" / "model")
    again = ConnectomeGenerator.load(folder)
    for one, other in ((model.expected(table), again.expected(table)), (model.sample(table, 3, seed=2), again.sample(table, 3, seed=2))):
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.phenotypes.equals(other.phenotypes)
        assert (one.name, one.kind, one.measure, one.signed, one.info, one.described) == (
            other.name,
            other.kind,
            other.measure,
            other.signed,
            other.info,
            other.described,
        )
        assert one.atlas == other.atlas
    assert again.earned.equals(model.earned.astype(float))
    assert again.closed_form.paths.equals(model.closed_form.paths)  # without the network's row, which is no path of the closed form
    assert (again.score, again.people_described) == (model.score, model.people_described)
    for name in ("seed", "messages", "n_components", "network", "sampler", "holds_training_people"):
        assert getattr(again, name) == getattr(model, name)
    assert model.holds_training_people == (model.sampler == "recombined")
    assert again.standard_error(table).tobytes() == model.standard_error(table).tobytes()
    assert len(again.members) == len(model.members)
    twice = again.save(tmp_path / "twice")
    for name in ("model.safetensors", "config.json", "card.md"):
        assert (twice / name).read_bytes() == (folder / name).read_bytes()


def test_it_is_numbers_and_text_and_never_a_pickle(model, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was pickled")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)
    folder = model.save(tmp_path / "model")
    ConnectomeGenerator.load(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "config.json", "model.safetensors"]
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert record["format_version"] == store.FORMAT_VERSION
    assert record["atlas"]["label"] == list(model.atlas.labels)
    assert [p["name"] for p in record["schema"]["phenotypes"]] == list(model.schema.names)
    assert record["holds_training_people"] is (model.sampler == "recombined")
    assert record["training"]["people"] == model.n_training
    assert set(record["versions"]) >= {"torch", "numpy", "connectome-gnn"}
    content = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert set(json.loads(content[8 : 8 + length])) == set(load_file(folder / "model.safetensors"))
    # No array has a row for each training person, unless the model says that it holds them.
    people = {model.n_training, model.n_training - 1}
    arrays = load_file(folder / "model.safetensors").items()
    rows = {name for name, array in arrays if array.ndim == 2 and array.size and len(array) in people}
    held = {"people.donors"} if model.holds_training_people else set()
    assert rows <= {"space.basis", "residual.loadings", "people.directions"} | held
    assert held <= rows


def test_sources_do_not_know_pickles():
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(store.__file__).parent.glob("*.py"))
    for word in ("import pickle", "torch.load", "torch.save", "joblib", "allow_pickle=True"):
        assert word not in sources


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "card.md"])
def test_a_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        ConnectomeGenerator.load(saved)


def test_no_folder(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ConnectomeGenerator.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        ConnectomeGenerator.load(saved / "config.json")


@pytest.mark.parametrize("place", [3, 500, -1])
def test_a_changed_byte(saved, place):
    file = saved / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConnectomeError, match=r"model\.safetensors.*sha256"):
        ConnectomeGenerator.load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "card.md"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file(saved, name, share):
    file = saved / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConnectomeError, match=name.replace(".", r"\.")):
        ConnectomeGenerator.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["schema"]["phenotypes"][0].update(mean=[1.0]),
        lambda r: r.update(measure="other"),
        lambda r: r.update(signed=True),
        lambda r: r["settings"].update(seed=7),
        lambda r: r.pop("schema"),
        lambda r: r["atlas"]["label"].reverse(),
        lambda r: r.update(sha256=None),
        lambda r: r["sha256"].pop("model.safetensors"),
        lambda r: r["sha256"].clear(),
    ],
)
def test_a_changed_configuration(saved, change):
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    change(record)
    (saved / "config.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConnectomeError, match=r"config\.json"):
        ConnectomeGenerator.load(saved)


@pytest.mark.parametrize("change", [{"format_version": 99}, {"kind": "SomethingElse"}, {"format_version": None}])
def test_another_format(saved, change):
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    (saved / "config.json").write_text(json.dumps({**record, **change}), encoding="utf-8")
    with pytest.raises(ConnectomeError, match=rf"config\.json: expected a ConnectomeGenerator of format {store.FORMAT_VERSION}"):
        ConnectomeGenerator.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "not json", "{}", '{"format_version": 1, "kind": "ConnectomeGenerator"}'])
def test_a_configuration_that_is_none(saved, content):
    (saved / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConnectomeError, match=r"config\.json"):
        ConnectomeGenerator.load(saved)


def test_a_configuration_that_was_sealed_again_but_does_not_fit(saved):
    """Whoever writes the checksum too still gets a sentence."""
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    for change in ({"settings": []}, {"atlas": []}, {"schema": {}}, {"atlas": {**record["atlas"], "label": ["a"]}}):
        broken = {**record, **change}
        broken["sha256"] = {**record["sha256"], "config.json": model_folder._sha256_of(broken)}
        (saved / "config.json").write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(ConnectomeError, match=r"config\.json does not describe model\.safetensors"):
            ConnectomeGenerator.load(saved)


def test_a_pickle_in_place_of_the_weights(saved):
    content = pickle.dumps({"space.mean": 1})
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(ConnectomeError, match=r"model\.safetensors"):
        ConnectomeGenerator.load(saved)


@pytest.mark.parametrize("version", [1, 2, store.FORMAT_VERSION + 1])
def test_a_model_of_another_version_is_refused_by_its_number(saved, version):
    record = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    (saved / "config.json").write_text(json.dumps({**record, "format_version": version}), encoding="utf-8")
    with pytest.raises(ConnectomeError, match=rf"of format {version}; save the model again with this version"):
        ConnectomeGenerator.load(saved)


def test_a_model_does_not_go_where_a_checkpoint_is(saved, tmp_path):
    """A model's folder is handed on; numbers of people must not go with it."""
    folder = tmp_path / "checkpoint"
    fit_small(small_cohort(30)).fit(small_cohort(30), checkpoint=folder)
    before = sorted(path.name for path in folder.iterdir())
    assert before
    for force in (False, True):
        with pytest.raises(ConnectomeError, match="exists|checkpoint of a fit, with numbers of the people"):
            ConnectomeGenerator.load(saved).save(folder, force=force)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_existing_folder_needs_force(saved):
    before = (saved / "config.json").read_bytes()
    other = fit_small(small_cohort(30, seed=3))
    with pytest.raises(ConnectomeError, match="exists"):
        other.save(saved)
    assert (saved / "config.json").read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model"]  # nothing half-written beside it
    other.save(saved, force=True)
    table = small_cohort(9).phenotypes
    assert ConnectomeGenerator.load(saved).expected(table).weights.tobytes() == other.expected(table).weights.tobytes()
    with pytest.raises(ConnectomeError, match="is a file"):
        other.save(saved / "config.json", force=True)


def test_a_folder_may_be_moved(saved, tmp_path):
    shutil.move(saved, tmp_path / "elsewhere")
    assert np.isfinite(ConnectomeGenerator.load(tmp_path / "elsewhere").expected(small_cohort(5).phenotypes).weights).all()


def test_descriptions_of_any_plain_kind_are_kept(tmp_path):
    """Codes that are numbers, numpy's numbers and missing ones come back as text and plain values."""
    levels = {code: str(code) for code in range(12)}
    cohort = small_cohort(60)
    described = {**cohort.described, "centre": {"Levels": levels, "Group": "site", "Rank": np.int64(3), "Weight": float("nan")}}
    cohort = small_cohort(60, phenotypes=cohort.phenotypes.assign(centre=[str(n % 12) for n in range(60)]), described=described)
    model = fit_small(cohort)
    again = ConnectomeGenerator.load(model.save(tmp_path / "model"))
    assert again.described["centre"]["Levels"] == {str(code): str(code) for code in range(12)}
    assert again.described["centre"]["Rank"] == 3
    table = cohort.phenotypes.iloc[:5]
    assert again.expected(table).weights.tobytes() == model.expected(table).weights.tobytes()

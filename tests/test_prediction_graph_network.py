"""ConnectomeGNN: what it learns and refuses, whatever the order of regions, and saved to the last bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch

import connectome_gnn as cg
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction import graph_network
from connectome_gnn.prediction.explaining import explain
from connectome_gnn.prediction.fine_tuning import fine_tuned
from connectome_gnn.prediction.graph_network import ConnectomeGNN
from connectome_gnn.prediction.interface import Predictor, read_target, read_targets
from connectome_gnn.prediction.linear_path import Gate, LinearPath, as_read, best_view, columns_of, views_of

SMALL = {"epochs": 4, "hidden": 8, "depth": 1, "batch_size": 16}
pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def people() -> Cohort:
    """90 people on 10 regions; age and sex show in their correlations."""
    return cg.simulate_cohort(90, 10, 4, seed=3, measure="pearson", explained=0.3, missing=0.0)


@pytest.fixture(scope="module")
def fitted(people: Cohort) -> ConnectomeGNN:
    return ConnectomeGNN(node_features=("profile", "identity", "coordinates", "strength"), **SMALL).fit(people.take(slice(0, 70)), "age")


def permuted(cohort: Cohort, order: np.ndarray) -> Cohort:
    """The same people with regions in another order."""
    atlas = cohort.atlas
    moved = Atlas(
        [atlas.labels[i] for i in order], [atlas.hemisphere[i] for i in order], [atlas.network[i] for i in order], atlas.xyz[order]
    )
    weights = to_vectors(to_matrices(cohort.weights)[:, order][:, :, order])
    return Cohort(weights, cohort.phenotypes, moved, measure=cohort.measure, signed=cohort.signed, described=cohort.described)


def test_it_predicts_what_shows_in_connectomes_and_nothing_where_labels_are_shuffled() -> None:
    train, test = cg.simulate_cohort(300, 10, 4, seed=3, measure="pearson", explained=0.3, missing=0.0).split(0.6, seed=0)
    age = test.phenotypes["age"].to_numpy()
    model = ConnectomeGNN(linear_path=False, **{**SMALL, "epochs": 20}).fit(train, "age")
    assert np.corrcoef(model.predict(test), age)[0, 1] > 0.5
    shuffled = np.random.default_rng(0).permutation(train.phenotypes["age"].to_numpy())
    said = ConnectomeGNN(**SMALL).fit(train, shuffled).predict(test)
    assert abs(np.corrcoef(said, age)[0, 1]) < 0.3 or said.std() < 0.2 * age.std()
    assert ((said - age) ** 2).mean() < 1.2 * age.var()


def test_levels_and_their_probabilities(people: Cohort) -> None:
    train, test = people.split(0.75, seed=0, stratify="sex")
    model = ConnectomeGNN(**SMALL).fit(train, "sex")
    said, probabilities = model.predict(test), model.predict_proba(test)
    assert model.task == "classification" and isinstance(model, Predictor)
    assert set(said) <= set(model.classes_) and probabilities.shape == (len(test), 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(said, np.array(model.classes_, object)[probabilities.argmax(1)])
    assert (said == test.phenotypes["sex"].astype(str)).mean() > 0.6


def test_several_targets_of_both_kinds_at_once(people: Cohort) -> None:
    model = ConnectomeGNN(**SMALL).fit(people, ["age", "sex"])
    said = model.predict(people)
    assert model.task == "mixed" and said.shape == (90, 2) and set(model.gates) == {"age", "sex"}
    assert np.corrcoef(said[:, 0].astype(float), people.phenotypes["age"])[0, 1] > 0.5
    assert model.predict_proba(people, "sex").shape == (90, 2)
    with pytest.raises(ConnectomeError, match="say of which"):
        model.predict_proba(people)
    with pytest.raises(ConnectomeError, match="use predict"):
        model.predict_proba(people, "age")
    both = ConnectomeGNN(**SMALL).fit(people, people.phenotypes[["age", "age"]].to_numpy())
    assert both.task == "regression" and both.predict(people).dtype == np.float64


def test_the_order_of_regions_changes_nothing(people: Cohort, fitted: ConnectomeGNN) -> None:
    order = np.random.default_rng(1).permutation(10)
    moved = permuted(people, order)
    np.testing.assert_allclose(fitted.predict(moved), fitted.predict(people), atol=1e-5)
    states = fitted.node_outputs(people)
    assert states.shape == (90, 10, 5 * 8)
    np.testing.assert_allclose(fitted.node_outputs(moved), states[:, order], atol=1e-5)
    again = ConnectomeGNN(node_features=fitted.config.node_features, **SMALL).fit(moved.take(slice(0, 70)), "age")
    np.testing.assert_allclose(again.predict(people), fitted.predict(people), atol=1e-5)


@pytest.mark.parametrize("layer", ["gcn", "gat", "gine", "transformer"])
def test_pygs_graphs_say_what_matrices_say(people: Cohort, layer: str) -> None:
    model = ConnectomeGNN(layer, pooling="diffpool", compute="dense", linear_path=False, **{**SMALL, "epochs": 2}).fit(people, "age")
    moved = permuted(people, np.random.default_rng(2).permutation(10)).take(slice(0, 5))
    network, heads = model.members[1].network, model.members[1].heads
    graphs = model.graphs(moved, 1)
    with torch.no_grad():
        said = network.of_batch(Batch.from_data_list(graphs))
    read = model.inputs(moved)
    expected = model.members[1].outputs(read)[0][:, 0]
    np.testing.assert_allclose(said.numpy()[:, 0] * heads.deviations[0] + heads.means[0], expected, atol=1e-4)
    assert graphs[0].participant_id == moved.ids[0]


def test_dense_and_sparse_fits_agree(people: Cohort) -> None:
    said = [
        ConnectomeGNN(compute=path, dropout=0.0, edge_dropout=0.0, **{**SMALL, "epochs": 2}).fit(people, "age").predict(people)
        for path in ("dense", "sparse")
    ]
    np.testing.assert_allclose(said[0], said[1], atol=1e-2)


def test_the_same_seed_gives_the_same_bytes_and_lightning_the_same_numbers(people: Cohort) -> None:
    pytest.importorskip("lightning")
    engines = [
        cg.TrainingConfig(engine="plain"),
        cg.TrainingConfig(engine="plain"),
        cg.TrainingConfig(engine="lightning", accelerator="cpu"),
    ]
    said = [ConnectomeGNN(training=one, **SMALL).fit(people, "age").predict(people) for one in engines]
    np.testing.assert_array_equal(said[0], said[1])
    np.testing.assert_array_equal(said[0], said[2])
    assert not np.array_equal(said[0], ConnectomeGNN(seed=1, **SMALL).fit(people, "age").predict(people))


def test_nothing_is_learned_from_people_who_are_predicted(people: Cohort) -> None:
    train, test = people.take(slice(0, 70)), people.take(slice(70, 90))
    model = ConnectomeGNN(**SMALL).fit(train, "age")
    changed = test.phenotypes.assign(age=0.0)
    other = Cohort(test.weights, changed, test.atlas, measure=test.measure, signed=True, described=test.described)
    np.testing.assert_array_equal(model.predict(other), model.predict(test))
    alone = np.concatenate([model.predict(test.take([n])) for n in range(3)])
    np.testing.assert_allclose(alone, model.predict(test)[:3], rtol=1e-5)


def test_saved_to_the_last_bit_and_nothing_else_is_read(people: Cohort, fitted: ConnectomeGNN, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "model")
    again = ConnectomeGNN.load(folder)
    np.testing.assert_array_equal(again.predict(people), fitted.predict(people))
    np.testing.assert_array_equal(again.node_outputs(people), fitted.node_outputs(people))
    assert again.gates == fitted.gates and again.task == "regression"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(ConnectomeError, match="exists"):
        fitted.save(folder)
    levels = ConnectomeGNN(linear_path=False, **{**SMALL, "epochs": 1}).fit(people, "sex")
    loaded = ConnectomeGNN.load(levels.save(tmp_path / "sex"))
    np.testing.assert_array_equal(loaded.predict_proba(people), levels.predict_proba(people))
    record = json.loads((folder / "config.json").read_text())
    assert record["regions"]["labels"] == sorted(people.atlas.labels)
    (folder / "config.json").write_text(json.dumps({**record, "kind": "ConnectomeGenerator"}))
    with pytest.raises(ConnectomeError, match="expected a ConnectomeGNN"):
        ConnectomeGNN.load(folder)
    with pytest.raises(FileNotFoundError, match="no model folder"):
        ConnectomeGNN.load(tmp_path / "nowhere")


def test_people_who_belong_together_stay_together(people: Cohort) -> None:
    twins = people.phenotypes.assign(family=np.arange(90) // 2)
    cohort = Cohort(people.weights, twins, people.atlas, measure=people.measure, signed=True, described=people.described)
    parts: list[np.ndarray] = []
    model = ConnectomeGNN(**SMALL)
    learn = model._member

    def watched(there, learned, units, number):
        parts.append(units)
        return learn(there, learned, units, number)

    model._member = watched  # type: ignore[method-assign]
    model.fit(cohort, "age", groups="family")
    for units in parts:
        assert set(np.bincount(units)) <= {0, 2}


def test_values_of_ones_own_and_measures_of_regions(people: Cohort) -> None:
    given = np.random.default_rng(0).normal(size=(90, 10, 2))
    given[:, 4, 0] = people.phenotypes["age"]
    options = {
        "node_features": "identity",
        "pooling": "regions",
        "depth": 0,
        "linear_path": False,
        "epochs": 60,
        "hidden": 8,
        "edge_dropout": 0.0,
    }
    model = ConnectomeGNN(**options).fit(people, "age", region_values=given)
    assert np.corrcoef(model.predict(people, region_values=given), people.phenotypes["age"])[0, 1] > 0.9
    with pytest.raises(ConnectomeError, match="give the same region_values"):
        model.predict(people)
    with pytest.raises(ConnectomeError, match="region_values of shape"):
        model.predict(people, region_values=given[:, :4])


def refusals(people: Cohort) -> list[tuple[str, object]]:
    gaps = people.phenotypes.assign(age=people.phenotypes["age"].where(np.arange(90) > 2), one="a", text=[f"note {n}" for n in range(90)])
    cohort = Cohort(people.weights, gaps, people.atlas, measure=people.measure, signed=True, described=people.described)
    weights = people.weights.copy()
    weights[5, 3] = np.nan
    broken = Cohort(weights, people.phenotypes, people.atlas, measure=people.measure, signed=True, check=False)
    fit = ConnectomeGNN(**SMALL).fit
    return [
        ("3 of 90 people have no 'age'", lambda: fit(cohort, "age")),
        ("everybody's 'one' is 'a'", lambda: fit(cohort, "one")),
        ("free text", lambda: fit(cohort, "text")),
        ("has no phenotype 'wealth'", lambda: fit(cohort, "wealth")),
        ("NaN or infinite", lambda: fit(broken, people.phenotypes["age"].to_numpy())),
        ("is 1 for everybody", lambda: fit(people, np.ones(90))),
        ("expected a target as", lambda: fit(people, np.ones(7))),
        ("expected at least 6 people", lambda: fit(people.take(slice(0, 4)), "age")),
        ("not fitted", lambda: ConnectomeGNN().predict(people)),
        ("not fitted", lambda: ConnectomeGNN().save("nowhere")),
        ("no option 'width'", lambda: ConnectomeGNN(width=3)),
        ("no option 'SUBJECT'", lambda: ConnectomeGNN(SUBJECT="mine")),
        ("features of regions are", lambda: ConnectomeGNN(node_features="wealth")),
    ]


def test_what_it_refuses_it_refuses_in_a_sentence(people: Cohort, fitted: ConnectomeGNN) -> None:
    for said, attempt in refusals(people):
        with pytest.raises(ConnectomeError, match=said):
            attempt()  # type: ignore[operator]
    other = cg.simulate_cohort(5, 11, 4, seed=0, measure="pearson")
    with pytest.raises(ConnectomeError, match="another atlas"):
        fitted.predict(other)
    counts = Cohort(np.abs(people.weights), people.phenotypes, people.atlas, measure="streamline_count")
    with pytest.raises(ConnectomeError, match="fitted on pearson"):
        fitted.predict(counts)
    unknown = Atlas(people.atlas.labels)
    nowhere = Cohort(people.weights, people.phenotypes, unknown, measure="pearson", signed=True)
    with pytest.raises(ConnectomeError, match="names no systems"):
        ConnectomeGNN(pooling="system", **SMALL).fit(nowhere, "age")
    ConnectomeGNN(**{**SMALL, "epochs": 1}).fit(nowhere, "age")  # places are not needed


def test_before_fit_it_is_cheap_to_copy() -> None:
    model = copy.deepcopy(ConnectomeGNN(seed=4))
    assert model.seed == 4 and "gcn" in repr(model)


def test_targets_are_what_their_description_says(people: Cohort) -> None:
    assert read_target(people, "sex").classes and not read_target(people, "age").classes
    assert read_target(people, np.arange(90) % 2).task == "regression"
    assert read_target(people, np.arange(90) % 2 == 1).classes == ("False", "True")
    assert [one.name for one in read_targets(people, ["age", "sex"])] == ["age", "sex"]
    assert read_target(people, pd.Series(["b", "a"] * 45)).classes == ("a", "b")


def test_the_linear_path_is_ridge_and_the_gate_may_say_nothing(people: Cohort) -> None:
    edges = np.concatenate([values for _, values in people.modelled()])
    target = read_target(people, "age")
    line = LinearPath.fit(edges, [target], people.units(), 0)
    from sklearn.linear_model import Ridge

    x = (edges - edges.mean(0)) / edges.std(0)
    closest = min(
        np.abs(Ridge(alpha=alpha).fit(x, target.values).predict(x) - line.outputs(edges)[0][:, 0]).max()
        for alpha in np.geomspace(1e2, 1e-2, 9) * (x**2).sum() / len(x)
    )
    assert closest < 0.05
    noise = np.random.default_rng(0).normal(size=(90, 1))
    gate = Gate.fit(target, [target.values[:, None] * 0.5, -target.values[:, None] + 0.01 * noise])
    np.testing.assert_allclose(gate.shares, [2, 0], atol=1e-6)
    sex = read_target(people, "sex")
    odds = np.stack([np.zeros(90), 2 * sex.values - 1 + noise[:, 0]], 1)
    useful = Gate.fit(sex, [odds, noise @ np.ones((1, 2)) * [0, 1]])
    assert useful.shares[0] > 1 and useful.shares[1] < 0.5
    worst = Gate.fit(sex, [np.zeros((90, 2))])
    assert worst.loss(sex, [np.zeros((90, 2))]) == pytest.approx(1, abs=1e-4)
    assert useful.loss(sex, [odds, noise @ np.ones((1, 2)) * [0, 1]]) < 0.6
    assert gate.loss(target, [target.values[:, None] * 0.5, noise]) == pytest.approx(0, abs=1e-9)


def test_the_linear_path_reads_what_does_best_on_people_it_has_not_seen(people: Cohort) -> None:
    edges = np.concatenate([values for _, values in people.modelled()])
    logs = columns_of(edges, "log-euclidean").astype(np.float64)
    generator = np.random.default_rng(0)
    # Along the direction in which matrix logarithms differ least, which edges hardly show.
    direction = np.linalg.svd(logs - logs.mean(0))[2][20]
    hidden = (logs - logs.mean(0)) @ direction
    hidden = hidden / hidden.std() + 0.1 * generator.normal(size=90)
    model = ConnectomeGNN(**{**SMALL, "epochs": 1}).fit(people, hidden)
    assert model.linear is not None and model.linear.view in views_of(True)
    assert model.linear.coefficients[0].shape == (edges.shape[1] + 10 * (model.linear.view == "log-euclidean"), 1)
    target = read_target(people, "age")
    poor, good = target.values[:, None] + generator.normal(size=(2, 90, 1)) * [[[20.0]], [[2.0]]]
    assert best_view([target], {"edges": [poor], "log-euclidean": [good]}) == "log-euclidean"
    assert best_view([target], {"edges": [0.1 * good], "log-euclidean": [poor]}) == "edges"  # a gate undoes what is shrunk
    assert best_view([target], {"edges": [good], "log-euclidean": [good]}) == "edges"
    x = as_read(edges, edges.mean(0), edges.std(0), "direction")
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(as_read(2 * edges, 2 * edges.mean(0), edges.std(0), "direction"), x, atol=1e-5)
    assert views_of(False) == ("edges", "direction")


@pytest.mark.parametrize("view", ["log-euclidean", "direction"])
def test_every_view_is_saved_and_fine_tuned(people: Cohort, view: str, tmp_path: Path) -> None:
    signed = view == "log-euclidean"
    weights = people.weights if signed else np.abs(people.weights)
    cohort = Cohort(weights, people.phenotypes, people.atlas, measure="pearson" if signed else "streamline_count", signed=signed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_network, "views_of", lambda signed: (view,))
        model = ConnectomeGNN(**{**SMALL, "epochs": 1}).fit(cohort, "age")
    model.gating[0].shares[:] = [1.0, 0.0]
    again = ConnectomeGNN.load(model.save(tmp_path / "model"))
    assert again.linear is not None and again.linear.view == view
    np.testing.assert_array_equal(again.predict(cohort), model.predict(cohort))
    labels = model.regions.labels
    tuned = fine_tuned(model, cohort.take(slice(0, 40)), regions=labels[:2])
    assert tuned.linear is not None and tuned.linear.view == view
    found = explain(model, cohort.take(slice(0, 3)), part="all")
    assert np.isfinite(found.edges).all() and np.abs(found.edges).max() > 0

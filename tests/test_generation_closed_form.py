"""The stack of closed-form paths: its weights and residuals are those of explicit predictions for people left out."""

from __future__ import annotations

import numpy as np
import pytest

from connectome_gnn.edges import to_matrices
from connectome_gnn.generation.closed_form import TOGETHER, ClosedForm, _LeftOut, _Partition
from connectome_gnn.generation.effect_maps import EffectSpace, MapKind, map_kinds, step_of
from connectome_gnn.generation.messages import message_matrix
from connectome_gnn.generation.model import TrainingData
from connectome_gnn.generation.paths import Paths, Statistics
from connectome_gnn.generation.stacking import Agreement
from connectome_gnn.simulate import simulate_cohort


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(simulate_cohort(150, 14, 8, seed=2, explained=0.2), n_components=300, seed=0)


@pytest.fixture(scope="module")
def step(data) -> np.ndarray:
    return step_of(to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32)))


@pytest.fixture(scope="module")
def space(data, step) -> EffectSpace:
    return EffectSpace.fit(data.space, data.scores, data.cohort, step)


@pytest.fixture(scope="module")
def messages(data, space, step) -> dict[str, np.ndarray]:
    return {"the backbone": message_matrix(space.basis, step, data.space.kept)}


@pytest.fixture(scope="module")
def kinds(data, space, step) -> dict[str, MapKind]:
    return map_kinds(space.basis, data.space.kept, step, None)


@pytest.fixture(scope="module")
def fitted(data, space, messages, kinds) -> tuple[ClosedForm, np.ndarray]:
    return ClosedForm.fit(data.features, data.values, space, [data.folds(3, 0), data.folds(4, 1)], messages, kinds)


def paths_of(data: TrainingData, space: EffectSpace, rows: np.ndarray, messages: dict[str, np.ndarray]) -> Paths:
    return Paths.fit(data.features, data.values[rows], space.scores[rows], space.n_components, messages)


def partition(data, space, messages, kinds, folds, scores=None) -> _Partition:
    people = space if scores is None else EffectSpace(space.basis, scores, space.energy, space.n_components)
    whole = paths_of(data, people, np.arange(150), messages)
    return _Partition.fit(data.features, data.values, people, folds, messages, kinds, whole, lambda *_, **__: None)


def test_statistics_give_centred_normal_equations(data):
    values, scores = data.values[:90], data.scores[:90]
    system, rotation = Statistics.of(values, scores).system()
    a, t = values - values.mean(0), (scores - scores.mean(0)) @ rotation
    np.testing.assert_allclose(system.gram, a.T @ a, atol=1e-8)
    np.testing.assert_allclose(system.cross, a.T @ t, atol=1e-7)
    np.testing.assert_allclose(t.T @ t, np.diag(system.total), atol=1e-6 * system.total[0])
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(rotation.shape[1]), atol=1e-10)
    assert (np.diff(system.total) <= 0).all()


def test_known_scales_save_the_search_and_change_nothing(data, space, messages):
    searched = paths_of(data, space, np.arange(100), messages)
    given = Paths.fit(data.features, data.values[:100], space.scores[:100], space.n_components, messages, searched.scales)
    for name, effect in searched.maps.items():
        np.testing.assert_allclose(given.maps[name], effect, atol=1e-9, err_msg=name)


def test_people_left_out_agree_as_explicit_predictions_do(data, space, messages):
    rows, held = data.folds(3, 0)[0]
    paths = paths_of(data, space, rows, messages)
    some = _LeftOut.of(paths, data.values[held], space.scores[held], 5.0)
    explicit = np.stack([paths.design(data.values[held]) @ effect for effect in paths.maps.values()])
    real = space.scores[held] - space.scores[rows].mean(0)
    expected = Agreement.of(explicit, real, (real**2).sum() + 5)
    found = some.agreement()
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-3, atol=1e-3 * np.abs(expected.gram).max())
    np.testing.assert_allclose(found.along, expected.along, rtol=1e-3, atol=1e-3 * np.abs(expected.along).max())
    assert found.energy == pytest.approx(expected.energy)
    weights = np.linspace(0, 0.2, len(explicit))
    np.testing.assert_allclose(some.predicted(weights), np.tensordot(weights, explicit, 1), atol=1e-4)


def test_the_table_and_the_residual_are_those_of_people_left_out(data, space, messages, kinds, fitted):
    model, residual = fitted
    parts = [partition(data, space, messages, kinds, folds) for folds in (data.folds(3, 0), data.folds(4, 1))]
    weights = (parts[0].agreement + parts[1].agreement).weights
    left = [part.real - np.tensordot(weights, part.predictions, 1) for part in parts]
    np.testing.assert_allclose(residual, np.mean(left, 0)[:, : space.n_components], atol=1e-6)
    energy = sum((part.real**2).sum() + space.energy.sum() for part in parts)
    gain = sum((part.real**2).sum() - (error**2).sum() for part, error in zip(parts, left, strict=True))
    table = model.paths
    assert list(table.index)[-len(kinds) - 1 :] == [*kinds, TOGETHER]
    assert table.loc[TOGETHER, "r2"] == pytest.approx(gain / energy, abs=1e-5)
    assert table.loc[TOGETHER, "r2"] > 0.05
    assert (table["weight"] >= 0).all()
    assert table["weight"].iloc[:-1].sum() == pytest.approx(table.loc[TOGETHER, "weight"])
    assert table["weight"].iloc[:-1].sum() <= 1 + 1e-9
    for number, name in enumerate(kinds, start=1):
        error = sum(((part.real - part.predictions[number]) ** 2).sum() + space.energy.sum() for part in parts)
        assert table.loc[name, "r2"] == pytest.approx(1 - error / energy, abs=1e-5)


def test_the_model_is_its_weights_on_everybody(data, space, messages, kinds, fitted):
    model, _ = fitted
    whole = paths_of(data, space, np.arange(150), messages)
    expected = 0.0
    second = [partition(data, space, messages, kinds, folds) for folds in (data.folds(3, 0), data.folds(4, 1))]
    weights = (second[0].agreement + second[1].agreement).weights
    for part in second:
        ridges = sum(w * effect for w, effect in zip(part.weights, whole.maps.values(), strict=True))
        maps = sum(w * effect for w, effect in zip(weights[1:], part.priors.values(), strict=True))
        expected = expected + (weights[0] * ridges + ridges @ part.turned @ maps) / 2
    np.testing.assert_allclose(model.maps, expected @ space.basis, atol=1e-5)
    design = model.design(data.schema.encode(data.cohort.phenotypes))
    np.testing.assert_allclose(design.mean(0), 0, atol=1e-5)
    assert design.shape == (150, len(model.maps))


def test_people_left_out_have_no_part_in_their_own_prediction(data, space, messages):
    """Other connectomes for a fold's people change nothing that the first stack predicts for them; the residual's covariance alone,
    which is one for all folds, knows them."""
    folds = data.folds(4, 1)
    held = folds[2][1]
    other = space.scores.copy()
    other[held] = other[held][::-1] * 1.5 + 1
    before, after = (partition(data, space, messages, {"effect maps": MapKind()}, folds, scores) for scores in (None, other))
    np.testing.assert_allclose(before.predictions[0, held], after.predictions[0, held], atol=1e-5)
    rest = np.setdiff1d(np.arange(150), held)
    assert np.abs(before.predictions[0, rest] - after.predictions[0, rest]).max() > 1e-3


def test_without_messages_there_are_no_paths_of_messages(data):
    bare = EffectSpace.fit(data.space, data.scores, data.cohort, None)
    kinds = map_kinds(bare.basis, data.space.kept, None, None)
    model, _ = ClosedForm.fit(data.features, data.values, bare, [data.folds(3, 0)], {}, kinds)
    assert not any("messages" in name for name in model.paths.index)
    assert model.paths.loc[TOGETHER, "r2"] > 0.05


def test_nothing_to_find_weighs_nothing():
    """Without effects the stack promises nothing and moves nobody."""
    data = TrainingData(simulate_cohort(300, 12, 8, seed=5, explained=0), n_components=300, seed=0)
    step = step_of(to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32)))
    space = EffectSpace.fit(data.space, data.scores, data.cohort, step)
    kinds = map_kinds(space.basis, data.space.kept, step, None)
    model, residual = ClosedForm.fit(data.features, data.values, space, [data.folds(5, 0), data.folds(5, 1)], {}, kinds)
    assert abs(model.paths.loc[TOGETHER, "r2"]) < 0.003
    deviation = model.design(data.schema.encode(data.cohort.phenotypes)) @ model.maps
    assert (deviation**2).sum() < 0.01 * (data.scores**2).sum()
    assert residual.var() == pytest.approx(data.scores.var(), rel=0.02)


def test_folds_left_out_are_whole_models(data, space, messages, kinds, fitted):
    """Each one predicts for its own fold what the stack predicted for people left out."""
    model, residual = fitted
    assert [len(members) for members in model.without] == [3, 4]
    left = np.zeros((2, *space.scores.shape))
    for number, (members, folds) in enumerate(zip(model.without, (data.folds(3, 0), data.folds(4, 1)), strict=True)):
        for member, (_, held) in zip(members, folds, strict=True):
            left[number, held] = space.scores[held] - member.predicted(data.values[held])
    np.testing.assert_allclose(left.mean(0)[:, : space.n_components], residual, atol=1e-4)


def test_standard_errors_are_the_jackknife_written_out(data, fitted):
    model, _ = fitted
    encoded = data.schema.encode(data.cohort.phenotypes.iloc[:6])
    values = model.features.transform(encoded)
    variance = 0.0
    for members in model.without:
        edges = np.stack([member.predicted(values) @ model.basis for member in members]).astype(np.float64)
        variance = variance + (len(members) - 1) / len(members) * ((edges - edges.mean(0)) ** 2).sum(0) / 2
    np.testing.assert_allclose(model.standard_error(encoded), np.sqrt(variance), rtol=1e-3, atol=1e-6)


def test_standard_errors_say_how_far_other_people_would_move_the_answer():
    """Against models fitted to other people of the same world; edges share the error, so that few of them say much."""
    worlds = [simulate_cohort(300, 12, 6, seed=7, people_seed=seed, explained=0.15) for seed in range(12)]
    profiles = worlds[0].phenotypes.iloc[:40]
    expected, errors = [], []
    for cohort in worlds[1:]:
        data = TrainingData(cohort, n_components=300, seed=0)
        step = step_of(to_matrices(np.where(data.space.kept, data.space.mean, 0).astype(np.float32)))
        space = EffectSpace.fit(data.space, data.scores, cohort, step)
        kinds = map_kinds(space.basis, data.space.kept, step, None)
        model, _ = ClosedForm.fit(data.features, data.values, space, [data.folds(5, 0)], {}, kinds)
        encoded = data.schema.encode(profiles)
        edges = np.full((40, cohort.n_edges), np.nan)
        edges[:, data.space.kept] = data.space.mean[data.space.kept] + model.design(encoded) @ model.maps * data.space.std[data.space.kept]
        expected.append(edges)
        error = np.full_like(edges, np.nan)
        error[:, data.space.kept] = model.standard_error(encoded) * data.space.std[data.space.kept]
        errors.append(error)
    spread = np.std(expected, axis=0, ddof=1)
    everywhere = np.isfinite(spread).all(0)
    ratio = np.sqrt((np.mean(errors, 0)[:, everywhere] ** 2).sum() / (spread[:, everywhere] ** 2).sum())
    assert 0.7 < ratio < 1.4

"""The stack of closed-form paths: its weights and residuals are those of explicit predictions for people left out."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from connectome_gnn.edges import to_matrices
from connectome_gnn.generation.closed_form import TOGETHER, ClosedForm, _LeftOut, _Partition, standard_error
from connectome_gnn.generation.effect_maps import MAPS, EffectSpace, MapKind, MapPrior, Noise, map_kinds, step_of
from connectome_gnn.generation.features import ProfileFeatures
from connectome_gnn.generation.messages import message_matrix
from connectome_gnn.generation.paths import Paths, People, Statistics
from connectome_gnn.generation.stacking import Agreement
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.phenotypes import PhenotypeSchema
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


def people_of(data: TrainingData, space: EffectSpace, *parts: np.ndarray) -> People:
    return People.of(data.features, data.values, space, parts)


def paths_of(data: TrainingData, space: EffectSpace, rows: np.ndarray, messages: dict[str, np.ndarray]) -> Paths:
    return Paths.fit(people_of(data, space, rows), messages)


def scores_of(space: EffectSpace) -> np.ndarray:
    return np.concatenate([space.components, space.patterns], 1).astype(np.float64)


class Plain:
    """Both stacks on one partition from people's rows: every prediction written out, then singular values and least squares."""

    def __init__(self, data, space, messages, kinds, folds):
        self.data, self.space, self.messages = data, space, messages
        self.helds = [held for _, held in folds]
        single = [self.left_out(number, paths_of(data, space, rows, messages)) for number, (rows, _) in enumerate(folds)]
        everybody = self.stacked(single)
        residual = everybody["real"] - everybody["predicted"]
        noise = Noise.of(residual.T @ residual, len(residual))
        priors = {name: MapPrior.of(kind, noise) for name, kind in kinds.items()}
        self.ridges, self.weights = everybody["agreement"], everybody["weights"]
        self.turned, self.maps = self.second(everybody, noise, priors)
        self.predictions, self.real = np.zeros((1 + len(kinds), *scores_of(space).shape)), np.zeros_like(scores_of(space))
        for number, held in enumerate(self.helds):
            pairs = []
            for other in range(len(folds)):
                if other != number:
                    rest = np.setdiff1d(folds[number][0], self.helds[other])
                    known = single[number]["paths"].scales
                    pairs.append(self.left_out(other, Paths.fit(people_of(data, space, rest), messages, known)))
            stacked = self.stacked(pairs)
            turned, maps = self.second(stacked, noise, priors)
            together = np.tensordot(stacked["weights"], single[number]["predictions"], 1)
            self.real[held] = single[number]["real"]
            self.predictions[:, held] = [together, *(together @ turned @ effect for effect in maps.values())]
        self.agreement = Agreement.of(self.predictions, self.real, (self.real**2).sum() + space.energy.sum())

    def by_the_others(self) -> np.ndarray:
        """What is predicted with weights that each fold's people had no say in, (n, D)."""
        predicted = np.zeros_like(self.real)
        for held in self.helds:
            others = np.setdiff1d(np.arange(len(self.real)), held)
            weights = Agreement.of(self.predictions[:, others], self.real[others], 1.0).weights
            predicted[held] = np.tensordot(weights, self.predictions[:, held], 1)
        return predicted

    def left_out(self, number, paths):
        held = self.helds[number]
        design = paths.design(self.data.values[held])
        real = scores_of(self.space)[held] - paths.average
        energy = (real**2).sum() + self.space.energy[held].sum()
        return {"paths": paths, "predictions": np.stack([design @ m for m in paths.maps.values()]), "real": real, "energy": energy}

    @staticmethod
    def stacked(parts):
        predictions, real = (np.concatenate([part[what] for part in parts], -2) for what in ("predictions", "real"))
        agreement = Agreement.of(predictions, real, sum(part["energy"] for part in parts))
        predicted = np.tensordot(agreement.weights, predictions, 1)
        return {"agreement": agreement, "weights": agreement.weights, "predicted": predicted, "real": real}

    @staticmethod
    def second(stacked, noise, priors):
        predicted, n = stacked["predicted"], len(stacked["predicted"])
        _, strength, right = np.linalg.svd(noise.whitened(predicted), full_matrices=False)
        used = min(MAPS, int((strength > 1).sum()))
        turned = noise.axes @ (right[:used].T / strength[:used] * np.sqrt(n) / np.sqrt(noise.variance)[:, None])
        estimate = noise.whitened(np.linalg.lstsq(predicted @ turned, stacked["real"], rcond=None)[0])
        return turned, {name: noise.back(prior.posterior(estimate, n)) for name, prior in priors.items()}


@pytest.fixture(scope="module")
def plain(data, space, messages, kinds) -> list[Plain]:
    return [Plain(data, space, messages, kinds, folds) for folds in (data.folds(3, 0), data.folds(4, 1))]


def test_statistics_give_centred_normal_equations(data):
    values, scores = data.values[:90], data.scores[:90].astype(np.float64)
    system, rotation = Statistics.of(values, data.scores[:90]).system()
    a, t = values - values.mean(0), (scores - scores.mean(0)) @ rotation
    np.testing.assert_allclose(system.gram, a.T @ a, atol=1e-8)
    np.testing.assert_allclose(system.cross, a.T @ t, atol=1e-7)
    np.testing.assert_allclose(t.T @ t, np.diag(system.total), atol=1e-6 * system.total[0])
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(rotation.shape[1]), atol=1e-10)
    assert (np.diff(system.total) <= 0).all()


def assert_same_sums(found: Statistics, expected: Statistics) -> None:
    assert found.n == expected.n
    for name in ("features", "scores", "gram", "cross", "scatter"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-8, err_msg=name)


def test_sums_around_other_means(data):
    values, scores = data.values[:40], data.scores[:40].astype(np.float64)
    draw = np.random.default_rng(0)
    feature, score = draw.standard_normal(values.shape[1]), draw.standard_normal(scores.shape[1])
    assert_same_sums(Statistics.of(values, scores).around(feature, score), Statistics.of(values - feature, scores - score))


@pytest.mark.parametrize("batch", [7, 2048])
def test_sums_with_derived_features_are_those_of_all_rows_at_once(data, space, messages, monkeypatch, batch):
    monkeypatch.setattr("connectome_gnn.generation.paths.BATCH", batch)
    first, second = np.arange(0, 60, 2), np.arange(1, 91, 3)
    people = people_of(data, space, first, second)
    rows = np.concatenate([first, second])
    scores = scores_of(space)[rows]
    assert_same_sums(people.statistics, Statistics.of(data.values[rows], scores))
    directions = paths_of(data, space, np.arange(100), messages).directions
    extended = directions.extended(data.values[rows])
    assert extended.shape[1] > data.values.shape[1] + 20
    assert_same_sums(people.extended(directions), Statistics.of(extended, scores))
    k = space.n_components - 3
    assert_same_sums(people.extended(directions, k), Statistics.of(extended, scores[:, :k]))
    assert_same_sums(people.only(1).statistics, Statistics.of(data.values[second], scores[len(first) :]))


@pytest.mark.parametrize("batch", [7, 2048])
def test_paths_do_not_mind_how_people_come(data, space, messages, monkeypatch, batch):
    expected = paths_of(data, space, np.arange(100), messages)
    monkeypatch.setattr("connectome_gnn.generation.paths.BATCH", batch)
    rows = np.random.default_rng(1).permutation(100)
    found = Paths.fit(people_of(data, space, rows[:30], rows[30:]), messages)
    for name, effect in expected.maps.items():
        np.testing.assert_allclose(found.maps[name], effect, atol=1e-8, err_msg=name)


def test_known_scales_save_the_search_and_change_nothing(data, space, messages):
    searched = paths_of(data, space, np.arange(100), messages)
    given = Paths.fit(people_of(data, space, np.arange(100)), messages, searched.scales)
    for name, effect in searched.maps.items():
        np.testing.assert_allclose(given.maps[name], effect, atol=1e-9, err_msg=name)


def test_people_left_out_agree_as_explicit_predictions_do(data, space, messages):
    rows, held = data.folds(3, 0)[0]
    paths = paths_of(data, space, rows, messages)
    some = _LeftOut.of(paths, people_of(data, space, held))
    explicit = np.stack([paths.design(data.values[held]) @ effect for effect in paths.maps.values()])
    real = scores_of(space)[held] - scores_of(space)[rows].mean(0)
    expected = Agreement.of(explicit, real, (real**2).sum() + space.energy[held].sum())
    found = some.agreement(some.maps)
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-3, atol=1e-5 * np.abs(expected.gram).max())
    np.testing.assert_allclose(found.along, expected.along, rtol=1e-3, atol=1e-5 * np.abs(expected.along).max())
    assert found.energy == pytest.approx(expected.energy)
    weights = np.linspace(0, 0.2, len(explicit))
    predicted = paths.design(data.values[held]) @ some.map(weights)
    np.testing.assert_allclose(predicted, np.tensordot(weights, explicit, 1), atol=1e-4)


def test_the_table_and_the_residual_are_those_of_people_left_out(space, kinds, fitted, plain):
    model, residual = fitted
    left = [part.real - part.by_the_others() for part in plain]
    np.testing.assert_allclose(residual, np.mean(left, 0)[:, : space.n_components], atol=2e-5)
    energy = sum(part.agreement.energy for part in plain)
    gain = sum((part.real**2).sum() - (error**2).sum() for part, error in zip(plain, left, strict=True))
    table = model.paths
    assert list(table.index)[-len(kinds) - 1 :] == [*kinds, TOGETHER]
    assert table.loc[TOGETHER, "r2"] == pytest.approx(gain / energy, abs=1e-5)
    assert table.loc[TOGETHER, "r2"] > 0.05
    assert (table["weight"] >= 0).all()
    assert table["weight"].iloc[:-1].sum() == pytest.approx(table.loc[TOGETHER, "weight"])
    assert table["weight"].iloc[:-1].sum() <= 1 + 1e-9
    np.testing.assert_allclose(table["r2"].iloc[: -len(kinds) - 1], (plain[0].ridges + plain[1].ridges).r2_alone, atol=1e-5)
    for number, name in enumerate(kinds, start=1):
        error = sum(((part.real - part.predictions[number]) ** 2).sum() + space.energy.sum() for part in plain)
        assert table.loc[name, "r2"] == pytest.approx(1 - error / energy, abs=1e-5)


def told(along: float, size: float = 1.0, energy: float = 100.0) -> Agreement:
    """One path's agreement with the people of a fold."""
    return Agreement(np.array([[size]]), np.array([along]), energy)


def partition(*agreements: Agreement) -> _Partition:
    return _Partition(agreements[0], np.ones(1), agreements, None, ())


def test_whoever_is_scored_has_no_say_in_the_weights():
    for own in (told(5.0), told(-5.0), told(0.0)):
        assert partition(told(0.3), told(0.5), own)._others(2) == pytest.approx(0.4)
    gained, energy = partition(told(0.8), told(-0.8))._others(0), partition(told(0.8), told(-0.8)).gained()
    assert gained == pytest.approx(0)
    assert energy[0] == pytest.approx(2 * 0.8 * -0.8 - 0.8**2)  # the second fold by what the first one says, not the other way round
    assert energy[1] == 200


def test_a_fold_of_nearly_everybody_keeps_everybodys_weights():
    assert partition(told(0.1, energy=10.0), told(0.9, energy=100.0))._others(1) == pytest.approx(0.5)
    assert partition(told(0.1, energy=60.0), told(0.9, energy=100.0))._others(1) == pytest.approx(0.1)


def test_profiles_far_from_the_others_do_not_run_away():
    """Predictions hundreds of times as large as those that the weights were told by are held back."""
    far = partition(told(0.5), told(0.5), told(0.0, size=900.0))
    assert far._others(2) == pytest.approx(0.5 * np.sqrt(4 / 900))
    assert far.gained()[0] > -2


def test_the_model_is_its_weights_on_everybody(data, space, messages, fitted, plain):
    model, _ = fitted
    whole = paths_of(data, space, np.arange(150), messages)
    weights = (plain[0].agreement + plain[1].agreement).weights
    expected = 0.0
    for part in plain:
        ridges = sum(w * effect for w, effect in zip(part.weights, whole.maps.values(), strict=True))
        maps = sum(w * effect for w, effect in zip(weights[1:], part.maps.values(), strict=True))
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
    components, patterns = space.components.copy(), space.patterns.copy()
    for coordinates in (components, patterns):
        coordinates[held] = coordinates[held][::-1] * 1.5 + 1

    def first_stacks(people: EffectSpace) -> list[np.ndarray]:
        parts = people_of(data, people, *(held for _, held in folds))
        part = _Partition.fit(parts, messages, {"effect maps": MapKind()}, Paths.fit(parts, messages), lambda *_, **__: None)
        models = [stacks.model(np.array([1.0, 0.0])) for stacks in part.without]
        return [model.predicted(data.values[some]) for model, (_, some) in zip(models, folds, strict=True)]

    before, after = first_stacks(space), first_stacks(replace(space, components=components, patterns=patterns))
    np.testing.assert_allclose(before[2], after[2], atol=1e-5)
    for number in (0, 1, 3):
        assert np.abs(before[number] - after[number]).max() > 1e-3


def test_without_messages_there_are_no_paths_of_messages_and_one_thread_does_it(data):
    bare = EffectSpace.fit(data.space, data.scores, data.cohort, None)
    kinds = map_kinds(bare.basis, data.space.kept, None, None)
    threads = []

    def advance() -> None:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    with threadpool_limits(2, "blas"):
        model, _ = ClosedForm.fit(data.features, data.values, bare, [data.folds(3, 0)], {}, kinds, advance)
    assert set(threads) == {1}
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
    assert (deviation**2).sum() < 0.01 * (data.scores.astype(np.float64) ** 2).sum()
    assert residual.var() == pytest.approx(data.scores.var(), rel=0.02)


def test_folds_left_out_are_whole_models(data, space, messages, kinds, fitted):
    """Each one predicts for its own fold what the stack predicted for people left out."""
    model, residual = fitted
    assert [len(members) for members in model.without] == [3, 4]
    left = np.zeros((2, *scores_of(space).shape))
    for number, (members, folds) in enumerate(zip(model.without, (data.folds(3, 0), data.folds(4, 1)), strict=True)):
        for member, (_, held) in zip(members, folds, strict=True):
            left[number, held] = scores_of(space)[held] - member.predicted(data.values[held])
    np.testing.assert_allclose(left.mean(0)[:, : space.n_components], residual, atol=1e-4)


def test_standard_errors_are_the_jackknife_written_out(data, fitted):
    model, _ = fitted
    encoded = data.schema.encode(data.cohort.phenotypes.iloc[:6])
    values = model.features.transform(encoded)
    variance = 0.0
    for members in model.without:
        edges = np.stack([member.predicted(values) @ model.basis for member in members]).astype(np.float64)
        variance = variance + (len(members) - 1) / len(members) * ((edges - edges.mean(0)) ** 2).sum(0) / 2
    np.testing.assert_allclose(standard_error([model], encoded), np.sqrt(variance), rtol=1e-3, atol=1e-6)


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
        error[:, data.space.kept] = standard_error([model], encoded) * data.space.std[data.space.kept]
        errors.append(error)
    spread = np.std(expected, axis=0, ddof=1)
    everywhere = np.isfinite(spread).all(0)
    ratio = np.sqrt((np.mean(errors, 0)[:, everywhere] ** 2).sum() / (spread[:, everywhere] ** 2).sum())
    assert 0.7 < ratio < 1.4


def test_memory_does_not_grow_with_people():
    """Beside its answer, the residual of the components, a fit needs no more for 18,000 people than for 9,000."""
    n_components, n_patterns = 30, 10
    peaks = {}
    for n in (9_000, 18_000):
        draw = np.random.default_rng(n)
        table = pd.DataFrame({"age": draw.uniform(20, 80, n), "bmi": draw.normal(25, 4, n)}, index=pd.Index(np.arange(n).astype(str)))
        schema = PhenotypeSchema.fit(table, {})
        features = ProfileFeatures.fit(schema, schema.encode(table))
        values = features.transform(schema.encode(table))
        scores = draw.standard_normal((n, n_components + n_patterns), np.float32)
        basis = np.eye(n_components + n_patterns, dtype=np.float32)
        space = EffectSpace(basis, scores[:, :n_components], scores[:, n_components:], np.zeros(n))
        place = draw.permutation(n) % 3
        folds = [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(3)]
        tracemalloc.start()
        _, residual = ClosedForm.fit(features, values, space, [folds], {}, {"effect maps": MapKind()})
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert residual.dtype == np.float32
        assert residual.var() == pytest.approx(1, abs=0.01)
    answer = 4 * n_components * 9_000
    assert peaks[18_000] - peaks[9_000] < 1.25 * answer

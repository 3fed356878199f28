"""The message-passing path opens where only it can see a signal, stays closed on noise, and keeps its randomness to itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.linear import RidgeSystem
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask
from connectome_gnn.generation.network_fit import component_gate, cross_fit
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.simulate import simulate_cohort


def training(n_people: int, seed: int, n_components: int = 60) -> tuple[NetworkTask, TrainingData]:
    """People whose phenotypes say nothing, and a network's task on them."""
    data = TrainingData(
        simulate_cohort(n_people, 12, 8, seed=seed, explained=0, measure="pearson", missing=0), n_components=n_components, seed=0
    )
    model = ConnectomeGenerator()
    model.atlas, model.schema, model.space = data.cohort.atlas, data.schema, data.space
    return model._task(data.scores.std(0).astype(np.float32)), data


def invisible(data: TrainingData, share: float, seed: int) -> np.ndarray:
    """Components with a signal of traits' products and sizes that no sum of profile features has anything of, (n, K)."""
    draw = np.random.default_rng(seed)
    columns = list(data.schema.columns)
    names = ("sleep_duration", "height", "weight", "fluid_intelligence")
    sleep, height, weight, wit = (data.encoded.values[:, columns.index(name)] for name in names)
    signal = np.stack([sleep * height, np.abs(weight), np.tanh(2 * sleep * wit)], 1)
    design = np.column_stack([np.ones(len(signal)), data.values])
    signal -= design @ np.linalg.lstsq(design, signal, rcond=None)[0]
    signal /= signal.std(0)
    size = np.sqrt(share / 3) * data.scores.std(0)
    return data.scores + signal @ (draw.standard_normal((3, data.scores.shape[1])) * size)


@pytest.mark.parametrize("seed", range(3))
def test_the_gate_opens_on_what_the_closed_form_cannot_see(seed):
    task, data = training(600, seed)
    components = invisible(data, 0.25, seed)
    _, error = RidgeSystem.of(data.values, components).solve(np.ones(data.values.shape[1]))
    assert error.sum() > 0.998 * components.var(0).sum()
    _, held_out = cross_fit(task, NetworkConfig(), data.encoded, components, data.folds(3, 2), seed=0)
    gate, gain = component_gate(held_out, components, data.folds(3, 2))
    assert gate.mean() > 0.3
    assert gain > 0.02


def test_the_gate_stays_closed_on_noise():
    opened = []
    for seed in range(5):
        task, data = training(300, seed, n_components=300)
        _, held_out = cross_fit(task, NetworkConfig(), data.encoded, data.scores, data.folds(3, 2), seed=seed)
        gate, gain = component_gate(held_out, data.scores, data.folds(3, 2))
        opened.append(gate.any())
        assert gain == 0 or gate.any()
        assert gain < 0.002
    assert sum(opened) <= 1  # the gate is a test at two standard errors: one seed in forty may pass it


def thirds(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = np.arange(n) % 3
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]


def test_predictions_that_know_nothing_do_not_open_the_gate():
    """Two hundred factors always find something in the people that they were found in; in others they lose."""
    draw = np.random.default_rng(0)
    opened = [component_gate(*draw.standard_normal((2, 300, 200)), thirds(300))[0].any() for _ in range(200)]
    assert np.mean(opened) < 0.05


def test_the_gate_by_hand():
    draw = np.random.default_rng(0)
    residual = draw.standard_normal((5000, 4)) * [3, 1, 1, 1]
    prediction = np.column_stack([0.5 * residual[:, 0], 4 * residual[:, 1], -4 * residual[:, 2], np.zeros(5000)])
    prediction += 0.01 * draw.standard_normal(prediction.shape)
    gate, gain = component_gate(prediction, residual, thirds(len(residual)))
    along, energy = (prediction * residual).sum(0), (prediction**2).sum(0)
    common, prior = min(along.sum() / energy.sum(), 1), energy.mean()
    np.testing.assert_allclose(gate, np.clip((along + prior * common) / (energy + prior), 0, 1))
    assert gate[0] > gate[3] > gate[2] == 0  # a component that says nothing itself gets the common factor
    assert gate[3] == pytest.approx(common, rel=0.01)
    assert gain == pytest.approx(1 - ((residual - gate * prediction) ** 2).sum() / (residual**2).sum(), rel=0.01)
    closed, nothing = component_gate(-prediction[:, :1], residual[:, :1], thirds(5000))
    assert (closed == 0).all()
    assert nothing == 0
    closed, nothing = component_gate(np.zeros((50, 3)), residual[:50, :3], thirds(50))
    assert (closed == 0).all()
    assert nothing == 0


def test_a_gain_of_one_person_does_not_open_the_gate():
    residual = np.zeros((100, 3)) + 0.01
    prediction = np.zeros((100, 3))
    residual[7], prediction[7] = 10, 10
    assert not component_gate(prediction, residual, thirds(len(residual)))[0].any()
    prediction[:] = residual
    residual[:] = prediction = np.random.default_rng(0).standard_normal((100, 3))
    assert component_gate(prediction, residual, thirds(len(residual)))[0] == pytest.approx(1)


SMALL = NetworkConfig(epochs=4, context_width=16, region_width=8, rank=4)


@pytest.fixture(scope="module")
def small() -> tuple[NetworkTask, TrainingData, np.ndarray]:
    task, data = training(90, 0)
    return task, data, invisible(data, 0.5, 0)


def test_training_leaves_the_worlds_randomness_alone(small):
    task, data, components = small
    folds = data.folds(3, 0)
    torch.manual_seed(123)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    members, held_out = cross_fit(task, SMALL, data.encoded, components, folds, seed=5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert torch.is_grad_enabled()
    torch.manual_seed(999)  # nor does the world's randomness reach in
    again, held_again = cross_fit(task, SMALL, data.encoded, components, folds, seed=5)
    assert held_again.tobytes() == held_out.tobytes()
    for one, other in zip(members, again, strict=True):
        assert not one.training
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
    others, _ = cross_fit(task, SMALL, data.encoded, components, folds, seed=6)
    assert not torch.equal(others[0].decoder.embedding, members[0].decoder.embedding)


def test_nobody_is_predicted_by_a_network_that_has_seen_them(small):
    task, data, components = small
    folds = data.folds(3, 0)
    members, held_out = cross_fit(task, SMALL, data.encoded, components, folds, seed=5)
    changed = components.copy()
    changed[folds[1][1]] *= 0.7  # with the sign turned the others would find nothing to learn at all
    _, other_held_out = cross_fit(task, SMALL, data.encoded, changed, folds, seed=5)
    assert len(members) == 3
    assert other_held_out[folds[1][1]].tobytes() == held_out[folds[1][1]].tobytes()
    assert other_held_out[folds[0][1]].tobytes() != held_out[folds[0][1]].tobytes()
    everybody = members[1].components(data.encoded)
    np.testing.assert_allclose(everybody[folds[1][1]], held_out[folds[1][1]], atol=1e-5)
    np.testing.assert_allclose(members[1].components(data.encoded, batch_size=7), everybody, atol=1e-5)


def test_the_average_profile_is_the_group_mean(small):
    task, _, _ = small
    torch.manual_seed(0)
    network = ConnectomeNetwork(task, SMALL)
    values, missing = torch.randn(5, len(task.owner)), torch.zeros(5, len(task.group_of), dtype=torch.bool)
    assert (network(values, missing) == 0).all()  # nothing is said before training
    torch.nn.init.normal_(network.decoder.strength)
    network.eval()
    assert network(values, missing).abs().max() > 1e-3
    torch.testing.assert_close(network(values * 0, missing), torch.zeros(5, len(task.basis)), atol=1e-5, rtol=0)


def test_components_are_edges_seen_through_the_basis(small):
    task, data, _ = small
    torch.manual_seed(0)
    network = ConnectomeNetwork(task, SMALL).eval()
    torch.nn.init.normal_(network.decoder.strength)
    values = torch.from_numpy(data.encoded.values[:6].astype(np.float32))
    missing = torch.from_numpy(data.encoded.missing[:6])
    context, nobody = network.encoder(values, missing), network.encoder(values[:1] * 0, missing[:1])
    edges = network.decoder(context, nobody).detach().numpy()[:, data.space.kept]
    np.testing.assert_allclose(network.components(data.encoded)[:6], edges @ data.space.basis.T, atol=1e-4)
    np.testing.assert_allclose(network(values, missing).detach() * task.unit, edges @ data.space.basis.T, atol=1e-4)


def test_where_training_never_helps_the_network_says_nothing(small):
    task, data, _ = small
    noise = np.random.default_rng(0).standard_normal(data.scores.shape)
    useless = NetworkConfig(epochs=2, learning_rate=1.0, context_width=16, region_width=8, rank=4)
    looks: list[int] = []
    members, held_out = cross_fit(task, useless, data.encoded, noise, data.folds(2, 0), seed=0, advance=lambda: looks.append(1))
    assert members == []
    assert (held_out == 0).all()
    assert len(looks) <= useless.epochs  # one network was trained, and the other not even started


def test_training_is_not_given_up_before_its_steps_are_full(small):
    """On noise nothing ever improves: training ends soon after the warm-up, but not within it."""
    task, data, _ = small
    noise = np.random.default_rng(1).standard_normal(data.scores.shape)
    impatient = NetworkConfig(epochs=20, patience=1, context_width=16, region_width=8, rank=4)
    looks: list[int] = []
    folds = data.folds(2, 0)
    for fold in folds:
        looks.append(0)
        cross_fit(task, impatient, data.encoded, noise, [fold], seed=0, advance=lambda: looks.append(looks.pop() + 1))
    assert 0.3 * 20 <= min(looks) < 20

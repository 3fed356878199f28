"""Training of constrained networks: in the targets' own unit, by both engines, with what wiring costs."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

import connectome_gnn as cg
from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    LayerConfig,
    LearningConfig,
    Wiring,
    WiringRegulariser,
    prune_by_wiring_cost,
    ramp,
    wiring_cost,
)
from connectome_gnn.constrained.training import _Course, _Outputs
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.node_features import PeopleInputs
from connectome_gnn.prediction.training import Heads

N = 10
QUICK = LearningConfig(epochs=40, batch_size=90, learning_rate=2e-2)
generator = np.random.default_rng(0)
PLACES = generator.normal(0, 30, (N, 3))
DISTANCES = np.sqrt(((PLACES[:, None] - PLACES[None]) ** 2).sum(-1))
UPPER = np.triu(generator.random((N, N)) < 0.4, 1) | np.eye(N, k=1, dtype=bool)
INPUTS = generator.normal(size=(200, 3))
AGES = 50 + 10 * INPUTS[:, 0] + 5 * np.abs(INPUTS[:, 1])


def network(outputs: int = 1, **options: Any) -> ConnectomeConstrainedNetwork:
    wiring = Wiring((UPPER | UPPER.T) * 1.0, DISTANCES)
    layers = [LayerConfig(wiring), LayerConfig(wiring, constraint="soft", strength=0.1)]
    return ConnectomeConstrainedNetwork(3, outputs, layers, seed=0, **options)


def said(model: ConnectomeConstrainedNetwork) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(INPUTS).float()).double().numpy()


def test_numbers_are_learned_in_their_own_unit() -> None:
    model = network()
    state = torch.get_rng_state()
    assert model.fit(INPUTS, AGES, learning=QUICK) is model and not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert ((said(model)[:, 0] - AGES) ** 2).mean() < 0.1 * AGES.var()
    first = model.layers[0]
    assert (first.dense_weight()[~first.mask()] == 0).all()
    days = network().fit(INPUTS, 365 * AGES, learning=QUICK)
    np.testing.assert_allclose(said(days), 365 * said(model), rtol=1e-3)
    both = network(2).fit(INPUTS, np.stack([AGES, -3 * INPUTS[:, 2]], 1), learning=QUICK)
    assert ((said(both) - np.stack([AGES, -3 * INPUTS[:, 2]], 1)) ** 2).mean(0)[1] < 0.2 * 9


def test_whole_numbers_are_classes_only_where_they_can_be() -> None:
    whole = np.round(AGES).astype(int)
    np.testing.assert_array_equal(
        said(network().fit(INPUTS, whole, learning=QUICK)), said(network().fit(INPUTS, whole * 1.0, learning=QUICK))
    )
    old = (AGES > 54).astype(int)
    scores = said(network(2).fit(INPUTS, old, learning=QUICK))
    assert (scores.argmax(1) == old).mean() > 0.9
    one = said(network().fit(INPUTS, old, learning=QUICK))[:, 0]
    assert ((one > 0) == old).mean() > 0.9
    with pytest.raises(ConnectomeError, match="no classes of a model with 2 outputs"):
        network(2).fit(INPUTS, whole)


def test_both_engines_learn_the_same() -> None:
    pytest.importorskip("lightning")
    answers = []
    for training in (cg.TrainingConfig(), cg.TrainingConfig(engine="lightning", accelerator="cpu")):
        model = network(dropout=0.1)
        cost = WiringRegulariser(model, model.distances(), strength=1e-5, schedule=ramp(30))
        answers.append(said(model.fit(INPUTS, AGES, wiring=cost, learning=QUICK, training=training, seed=3)))
    np.testing.assert_array_equal(*answers)


def course_of(model: ConnectomeConstrainedNetwork) -> _Course:
    heads = Heads.of([Target("target", AGES)])
    cost = WiringRegulariser(model, model.distances(), strength=0.1, schedule=ramp(10))
    people = PeopleInputs(torch.from_numpy(INPUTS).float(), torch.empty(200, 0))
    encoded = heads.encode([Target("target", AGES)])
    return _Course(cost, _Outputs(model, False), people, encoded, heads, QUICK, np.arange(200) < 30, False)


def test_the_state_that_is_kept_is_the_best_of_task_and_wiring_together() -> None:
    model = network()
    course = course_of(model)
    heavy = model.layers[0].weight.detach().clone()
    course.look(0.5 * course.silence)
    with torch.no_grad():
        model.layers[0].weight.mul_(0.5)
    course.look(0.51 * course.silence)  # a little worse at the task, much cheaper
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.zero_()
    course.look(1.01 * course.silence)  # the cheapest, and no better than saying nothing
    assert course.finish()
    assert torch.equal(model.layers[0].weight, 0.5 * heavy)


def test_shares_of_a_batch_add_up_to_its_loss() -> None:
    """As several processes take them."""
    model = network()
    course = course_of(model)
    course.step = 10  # where the schedule is at its end
    device, rows = torch.device("cpu"), torch.arange(40, 71)
    with torch.no_grad():
        model.layers[1].weight.add_(0.1)
        whole = course.loss(rows, device, course.network)
        parts = sum(course.loss(rows[rank::2], device, course.network, over=len(rows)) for rank in (0, 1))
        task = ((model(course.values[rows]) - course.target[rows]) ** 2).mean()
        by_hand = task + 0.1 * wiring_cost(model, model.distances()) + model.penalty()
    assert model.penalty() > 0
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(whole.double(), by_hand.double())
    assert pickle.loads(pickle.dumps(course)).loss(rows, device, course.network).item() == pytest.approx(whole.item())


def test_what_wiring_costs_shortens_it_and_its_schedule_counts() -> None:
    costs = []
    for strength, schedule in ((0.0, None), (1e-4, None), (1e-4, lambda step: 0.0), (1e-4, ramp(50))):
        model = network()
        term = WiringRegulariser(model, model.distances(), strength=strength, schedule=schedule)
        model.fit(INPUTS, AGES, wiring=term, learning=QUICK)
        costs.append(float(wiring_cost(model, model.distances()).detach()))
        assert ((said(model)[:, 0] - AGES) ** 2).mean() < 0.3 * AGES.var()
    free, dear, never, ramped = costs
    assert dear < 0.7 * free and ramped < 0.7 * free
    assert never == free
    with pytest.raises(ConnectomeError, match="of another network"):
        network().fit(INPUTS, AGES, wiring=term, learning=QUICK)


def test_pruning_goes_on_step_by_step_with_training_between() -> None:
    model = network(activation="tanh").fit(INPUTS, AGES, learning=QUICK)
    existing = sum(int((layer.dense_weight() != 0).sum()) for layer in model.layers)
    untrained = network(activation="tanh")
    untrained.load_state_dict(model.state_dict())
    prune_by_wiring_cost(untrained, 0.5, untrained.distances())
    errors: list[float] = []

    def train(part: ConnectomeConstrainedNetwork, step: int) -> None:
        part.fit(INPUTS, AGES, learned_before=True, learning=QUICK)
        errors.append(float(((said(part)[:, 0] - AGES) ** 2).mean()))

    pruning = prune_by_wiring_cost(model, 0.5, model.distances(), schedule=3, fine_tune=train)
    assert pruning.removed == round(0.5 * existing) and len(errors) == 3
    assert errors[-1] < 0.2 * ((said(untrained)[:, 0] - AGES) ** 2).mean()


def test_a_fitted_network_goes_on_from_what_it_says() -> None:
    model = network().fit(INPUTS, AGES, learning=QUICK)
    before = said(model)
    still = LearningConfig(epochs=2, learning_rate=1e-12)
    np.testing.assert_allclose(said(model.fit(INPUTS, AGES, learned_before=True, learning=still)), before, rtol=1e-5)
    wild = LearningConfig(epochs=2, learning_rate=10.0)
    np.testing.assert_allclose(said(model.fit(INPUTS, AGES, learned_before=True, learning=wild)), before, rtol=1e-5)
    frozen = network()
    frozen.layers[0].requires_grad_(False)
    start = frozen.layers[0].weight.detach().clone()
    frozen.fit(INPUTS, AGES, learning=QUICK)
    assert torch.equal(frozen.layers[0].weight, start)


@pytest.mark.parametrize("targets", [generator.normal(100, 5, 200), generator.integers(2, size=200)])
def test_where_there_is_nothing_to_learn_it_says_the_same_of_every_case(targets: np.ndarray) -> None:
    dear = network()
    with pytest.warns(ConnectomeWarning, match="never closer"):
        dear.fit(np.zeros((200, 3)), targets, learning=LearningConfig(epochs=2, learning_rate=1e-12))
    if targets.dtype.kind == "f":
        assert np.ptp(said(dear)) == 0 and said(dear)[0, 0] == pytest.approx(targets.mean(), abs=1)
    else:
        share = 1 / (1 + np.exp(-said(dear)[0, 0]))
        assert np.ptp(said(dear)) == 0 and share == pytest.approx(targets.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (INPUTS[:, :2], AGES, "expected inputs of shape \\(N, 3\\)"),
        (np.where(INPUTS > 2, np.nan, INPUTS), AGES, "must be finite"),
        ([["a", "b", "c"]], [1.0], "must be numbers"),
        (INPUTS, AGES[:5], "a target for each of 200"),
        (INPUTS, np.where(AGES > 60, np.nan, AGES), "without gaps"),
        (INPUTS, np.ones(200), "the same in all cases"),
        (INPUTS, np.ones(200, int), "all cases are of class 1"),
        (INPUTS, np.stack([AGES, AGES], 1), "as many numbers as the model's 1 outputs"),
        (INPUTS[:1], AGES[:1], "the same in all cases"),
    ],
)
def test_cases_that_cannot_be_learned_from_are_refused(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        network().fit(inputs, targets)


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 0}, {"validation": 1.0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_learning_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConnectomeError, match="learning: expected"):
        LearningConfig(**options)

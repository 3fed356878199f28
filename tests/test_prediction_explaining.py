"""What a prediction rests on: the planted region is found by every method, and maps are symmetric and of known size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import connectome_gnn as cg
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.explaining import explain
from connectome_gnn.prediction.graph_network import ConnectomeGNN

PLANTED = 3
pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def planted() -> tuple[Cohort, np.ndarray]:
    """A number that shows in the edges of one region of 10 and nowhere else."""
    noise = cg.simulate_cohort(120, 10, 4, seed=0, measure="pearson", explained=0.0)
    truth = np.random.default_rng(0).normal(size=120)
    touched = (np.stack(edge_indices(10)) == PLANTED).any(0)
    z = np.arctanh(np.clip(noise.weights, -0.99, 0.99)) + 0.2 * truth[:, None] * touched
    return Cohort(np.tanh(z), noise.phenotypes, noise.atlas, measure="pearson", signed=True), truth


@pytest.fixture(scope="module")
def fitted(planted: tuple[Cohort, np.ndarray]) -> dict[str, ConnectomeGNN]:
    cohort, truth = planted
    return {
        layer: ConnectomeGNN(layer, epochs=12, hidden=8, depth=1, linear_path=layer == "gcn").fit(cohort, truth) for layer in ("gcn", "gat")
    }


@pytest.mark.parametrize(
    ("layer", "method"), [("gcn", "gradient"), ("gcn", "gnnexplainer"), ("gat", "captum"), ("gat", "gnnexplainer"), ("gat", "attention")]
)
def test_the_planted_region_is_found(planted: tuple[Cohort, np.ndarray], fitted: dict[str, ConnectomeGNN], layer: str, method: str) -> None:
    if method == "captum":
        pytest.importorskip("captum")
    cohort = planted[0].take(slice(0, 2))
    found = explain(fitted[layer], cohort, method, steps=25)
    assert found.edges.shape == (2, 10, 10) and found.regions.shape == (2, 10)
    np.testing.assert_array_equal(found.edges, found.edges.transpose(0, 2, 1))
    assert not np.diagonal(found.edges, axis1=1, axis2=2).any()
    assert found.mean_regions().argmax() == PLANTED
    assert found.to_dataframe()["saliency"].idxmax() == cohort.atlas.labels[PLANTED]
    if method in ("gradient", "captum"):
        assert found.mean_regions()[PLANTED] > 1.4 * np.delete(found.mean_regions(), PLANTED).max()


def test_gradients_of_the_linear_path_add_up_to_what_it_says(planted: tuple[Cohort, np.ndarray]) -> None:
    cohort, truth = planted
    model = ConnectomeGNN(epochs=1, hidden=8, depth=1).fit(cohort, truth)
    model.gating[0].shares[:] = [0.7, 0.0]
    found = explain(model, cohort)
    said = model.predict(cohort)
    total = to_vectors(found.edges).sum(1)
    np.testing.assert_allclose(total - total.mean(), said - said.mean(), atol=1e-4)


def test_gradients_are_those_of_small_steps(planted: tuple[Cohort, np.ndarray], fitted: dict[str, ConnectomeGNN]) -> None:
    cohort, model = planted[0].take([5]), fitted["gat"]
    found = to_vectors(explain(model, cohort).edges)[0]
    people = model.inputs(cohort)
    mean = np.mean([member.network.edge_mean.numpy() for member in model.members], 0)
    for edge in (4, 17, 40):
        i, j = (model.place_of(cohort)[region[edge]] for region in edge_indices(10))
        place = np.flatnonzero((np.stack(edge_indices(10)) == [[min(i, j)], [max(i, j)]]).all(0))[0]
        answers = []
        for step in (-0.01, 0.01):
            edges = people.edges.double().clone()
            edges[0, place] += step
            with torch.no_grad():
                each = [
                    float(one.network.double()(edges, people.measures.double())[0, 0]) * one.heads.deviations[0] for one in model.members
                ]
            answers.append(np.mean(each) * model.gating[0].shares[0])
        slope = (answers[1] - answers[0]) / 0.02
        assert found[edge] == pytest.approx(slope * (float(people.edges[0, place]) - mean[place]), rel=0.15, abs=2e-3)
    for member in model.members:
        member.network.float()


def test_order_of_regions_and_levels(planted: tuple[Cohort, np.ndarray]) -> None:
    cohort, truth = planted
    model = ConnectomeGNN(epochs=4, hidden=8, depth=1).fit(cohort, np.where(truth > 0, "high", "low"))
    one, other = (explain(model, cohort.take(slice(0, 5)), level=level) for level in ("high", "low"))
    np.testing.assert_allclose(one.edges, -other.edges, atol=1e-6)
    assert one.mean_edges(absolute=False).shape == (10, 10)


def test_refusals(planted: tuple[Cohort, np.ndarray], fitted: dict[str, ConnectomeGNN]) -> None:
    cohort = planted[0].take([0])
    for arguments, said in (
        ({"method": "guess"}, "methods are"),
        ({"method": "attention"}, "layers 'gat' and 'transformer'"),
        ({"target": "age"}, "not 'age'"),
        ({"level": "high"}, "no levels"),
    ):
        with pytest.raises(ConnectomeError, match=said):
            explain(fitted["gcn"], cohort, **arguments)

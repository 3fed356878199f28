"""Cohorts as PyG graphs and back."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import DESCRIBED, make_atlas, make_cohort, make_phenotypes, make_samples, make_weights
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.utils import coalesce, to_dense_adj, to_networkx

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.graphs import region_features


def assert_same(cohort: Cohort, expected: Cohort) -> None:
    np.testing.assert_array_equal(cohort.weights, expected.weights)
    pd.testing.assert_frame_equal(cohort.phenotypes, expected.phenotypes, check_exact=True)
    assert cohort.atlas == expected.atlas
    for name in ("measure", "signed", "name", "kind", "described", "info"):
        assert getattr(cohort, name) == getattr(expected, name), name


COHORTS = {
    "counts": make_cohort(),
    "correlations": make_cohort(signed=True),
    "samples": make_samples(),
    "many": make_cohort(150),
    "selection": make_cohort().take([5, 2, 7]),
    "families": make_cohort(
        phenotypes=make_phenotypes().assign(family_id=["f1", None] * 6, session_id="01", extrapolated=[True, False] * 6)
    ),
    "no phenotypes": make_cohort(phenotypes=pd.DataFrame(index=make_phenotypes().index)),
    "no edges": make_cohort(weights=np.zeros((12, 15), np.float32)),
}


@pytest.mark.parametrize("name", COHORTS)
def test_graphs_give_the_cohort_back(name):
    cohort = COHORTS[name]
    graphs = cohort.graphs()
    assert len(graphs) == len(cohort)
    assert_same(Cohort.from_graphs(graphs), cohort)
    for size in (1, 5):
        batches = list(DataLoader(graphs, batch_size=size))
        assert_same(Cohort.from_graphs([graph for batch in batches for graph in batch.to_data_list()]), cohort)
    assert_same(Cohort.from_graphs(Batch.from_data_list(graphs)), cohort)


@pytest.mark.parametrize(
    "column",
    [
        [1.5, np.nan, 0.1 + 0.2, 1e-320],
        [1, 2, 3, 2**53],
        pd.array([1, None, 3, 4], "Int64"),
        pd.array([1.5, None, 3, 4], "Float64"),
        np.array([1.5, 0.1, 2, 3], np.float32),
        [True, False, True, True],
        pd.array([True, None, False, True], "boolean"),
        ["b", None, "a", "ä\t\n"],
        pd.array(["b", pd.NA, "a", ""], "string"),
        pd.Series(["0", None, "0.0", "00"], dtype=object),
        pd.Series([True, None, 2.5, "x"], dtype=object),
        [np.nan] * 4,
        [None] * 4,
        pd.Categorical(["lo", None, "hi", "lo"], ["lo", "mid", "hi"], ordered=True),
        pd.Categorical([10, 2, None, 10]),
        pd.to_datetime(["2020-01-01", None, "2021-05-05", "2020-01-01"]),
    ],
)
def test_columns_of_any_type_come_back(column):
    table = pd.DataFrame({"x": column, "age": [1.0, 2, 3, 4]}, index=pd.Index(list("abcd"), name="participant_id", dtype=object))
    cohort = make_cohort(4, phenotypes=table)
    pd.testing.assert_frame_equal(Cohort.from_graphs(cohort.graphs()).phenotypes, cohort.phenotypes, check_exact=True)


@given(st.integers(2, 7), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_graphs_are_valid_symmetric_and_sorted(n_regions, n_people, signed, seed):
    cohort = make_cohort(n_people, n_regions, signed, seed, phenotypes=make_phenotypes(max(n_people, 5), seed).iloc[:n_people])
    for graph, matrix in zip(cohort.graphs(), cohort.dense(), strict=True):
        assert graph.validate()
        assert graph.num_nodes == n_regions
        assert graph.is_undirected()
        assert not graph.has_self_loops()
        assert graph.is_coalesced()
        index, weights = coalesce(graph.edge_index, graph.edge_attr)
        assert torch.equal(index, graph.edge_index)
        assert torch.equal(weights, graph.edge_attr)
        np.testing.assert_array_equal(
            to_dense_adj(graph.edge_index, edge_attr=graph.edge_attr, max_num_nodes=n_regions)[0, :, :, 0], matrix
        )


def test_what_a_graph_holds():
    cohort = make_cohort()
    graph = cohort.graphs()[4]
    assert graph.x.shape == (6, 7)  # x, y, z; left, right; two networks
    assert graph.x.dtype == graph.edge_attr.dtype == torch.float32
    assert graph.edge_index.dtype == torch.int64
    assert graph.edge_attr.shape == (graph.edge_index.shape[1], 1)
    assert graph.phenotypes.shape == (1, 5)
    assert graph.phenotypes.dtype == torch.float64
    assert graph.participant_id == "sub-004"
    assert "identifiers" not in graph
    profile = cohort.phenotypes.iloc[4]
    expected = [profile["age"], int(profile["sex"]), ["c", "a", "b"].index(profile["site"]), int(profile["smoking"]), profile["trials"]]
    np.testing.assert_array_equal(graph.phenotypes[0], expected)  # levels by their position in the description
    assert cohort.graphs()[0].phenotypes[0, 0].isnan()
    assert "GraphInfo('tiny', 6 regions" in repr(graph)
    assert len(repr(graph)) < 300
    network = to_networkx(graph, to_undirected=True)
    assert network.number_of_edges() == (cohort.weights != 0).any(0).sum()


def test_codes_do_not_depend_on_the_type_of_the_column():
    text = make_cohort().phenotypes
    numbers = text.assign(sex=text["sex"].astype(float), smoking=text["smoking"].astype("Int64"))
    for a, b in zip(make_cohort().graphs(), make_cohort(phenotypes=numbers).graphs(), strict=True):
        np.testing.assert_array_equal(a.phenotypes, b.phenotypes)
    assert_same(Cohort.from_graphs(make_cohort(phenotypes=numbers).graphs()), make_cohort(phenotypes=numbers))


def test_identifiers_are_no_phenotypes():
    graph = make_samples().graphs()[5]
    assert graph.phenotypes.shape == (1, 5)
    assert graph.identifiers.tolist() == [[2]]


def test_batches_of_a_data_loader():
    cohort = make_cohort()
    batch = next(iter(DataLoader(cohort.graphs(), batch_size=5)))
    assert batch.x.shape == (30, 7)
    assert batch.phenotypes.shape == (5, 5)
    assert batch.participant_id == cohort.ids[:5].tolist()
    assert batch.batch.bincount().tolist() == [6] * 5
    n = batch.edge_index.shape[1] // 5
    np.testing.assert_array_equal(batch.edge_index[:, n : 2 * n] - 6, batch.edge_index[:, :n])


def test_region_features():
    features = region_features(make_atlas(5))
    assert features.shape == (5, 7)
    np.testing.assert_allclose(features[:4, :3] * 100, make_atlas(5).xyz[:4], rtol=1e-5)
    assert not features[4].any()  # nothing is known of the last region
    assert features[:4, 3:5].sum(1).tolist() == features[:4, 5:].sum(1).tolist() == [1] * 4
    assert region_features(Atlas(["a", "b", "c"])).shape == (3, 5)


def test_a_backbone_restricts_the_edges():
    cohort = make_cohort()
    backbone = cohort.backbone(threshold=0.75)
    kept = backbone[np.triu_indices(6, 1)]
    assert 0 < kept.sum() < 15
    restricted = Cohort.from_graphs(cohort.graphs(backbone))
    np.testing.assert_array_equal(restricted.weights, cohort.weights * kept)
    everything = cohort.graphs(np.ones((6, 6), bool))  # the diagonal is no edge
    assert everything[0].edge_index.shape == (2, 30)
    assert_same(Cohort.from_graphs(everything), cohort)
    assert_same(Cohort.from_graphs(cohort.graphs(np.ones((6, 6)).tolist())), cohort)
    with pytest.raises(ConnectomeError, match=r"backbone of shape \(6, 6\) for the regions of the atlas, got \(5, 5\)"):
        cohort.graphs(np.ones((5, 5), bool))
    with pytest.raises(ConnectomeError, match="symmetric backbone"):
        cohort.graphs(np.triu(np.ones((6, 6), bool)))


def test_graphs_of_two_parts_go_together():
    """Each part has levels of its own, and still every value is read as it was."""
    table = make_phenotypes(12).assign(town=list("zyxwvutsrqpo"))
    cohort = make_cohort(12, phenotypes=table)
    first, second = cohort.take(np.arange(0, 12, 2)), cohort.take(np.arange(1, 12, 2))
    mixed = [graph for pair in zip(first.graphs(), second.graphs(), strict=True) for graph in pair]
    assert_same(Cohort.from_graphs(mixed), cohort)
    pd.testing.assert_frame_equal(Cohort.from_graphs(second.graphs(), like=first).phenotypes, second.phenotypes)


def own_graphs(cohort: Cohort) -> list[Data]:
    """Graphs as a user builds them, with nothing of the cohort attached."""
    fields = ("edge_index", "edge_attr", "phenotypes", "participant_id")
    return [Data(x=torch.zeros(6, 2), **{field: copy.copy(graph[field]) for field in fields}) for graph in cohort.graphs()]


def test_graphs_of_the_users_own():
    cohort = make_cohort()
    graphs = own_graphs(cohort)
    with pytest.raises(
        ConnectomeError, match=r"graph 0 \(sub-000\) does not say its atlas and measure; give a cohort on the same atlas as like="
    ):
        Cohort.from_graphs(graphs)
    assert_same(Cohort.from_graphs(graphs, like=cohort), cohort)
    for graph in graphs:  # any order of the edges, one value an edge, another precision, gradients
        order = torch.randperm(graph.edge_index.shape[1], generator=torch.manual_seed(0))
        graph.edge_index, graph.edge_attr = graph.edge_index[:, order], graph.edge_attr[order, 0].double().requires_grad_()
        graph.phenotypes = graph.phenotypes[0]
    assert_same(Cohort.from_graphs(graphs, like=cohort), cohort)


def spoil(**changes):
    def change(graph: Data) -> None:
        for name, value in changes.items():
            graph[name] = value(graph) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((spoil(**{field: None}), f"lacks {field}; expected the fields") for field in ("edge_index", "edge_attr", "phenotypes")),
        (spoil(x=torch.zeros(5, 2)), "has 5 regions, the atlas has 6"),
        (spoil(edge_index=lambda g: g.edge_index + 1), "has an edge to region 6, the atlas has regions 0 to 5"),
        (spoil(edge_index=lambda g: g.edge_index - 1), "has an edge to region"),
        (spoil(edge_attr=lambda g: g.edge_attr.repeat(1, 2)), "edges and .* values in edge_attr; expected one weight an edge"),
        (spoil(edge_attr=lambda g: torch.arange(len(g.edge_attr))), "not symmetric; every edge must occur in both directions"),
        (spoil(edge_index=lambda g: g.edge_index[:, :-1], edge_attr=lambda g: g.edge_attr[:-1] + 1), "not symmetric"),
        (
            spoil(
                edge_index=lambda g: torch.cat([g.edge_index, torch.tensor([[2], [2]])], 1),
                edge_attr=lambda g: torch.cat([g.edge_attr, torch.ones(1, 1)]),
            ),
            "has self-loops; remove them",
        ),
        (
            spoil(edge_index=lambda g: g.edge_index.repeat(1, 2), edge_attr=lambda g: g.edge_attr.repeat(2, 1)),
            "has an edge more than once; coalesce it",
        ),
        (spoil(phenotypes=torch.zeros(1, 4)), "has 4 phenotypes, expected 5: age, sex, site, smoking, trials"),
        (spoil(phenotypes=torch.full((1, 5), 7.0)), "'sex' is 7.0, expected the position of one of its levels '0', '1'"),
        (spoil(phenotypes=torch.full((1, 5), 0.5)), "'sex' is 0.5"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_wrong_graph_is_named(change, message, own):
    cohort = make_cohort()
    graphs = own_graphs(cohort) if own else cohort.graphs()
    change(graphs[3])
    with pytest.raises(ConnectomeError, match=rf"^graph 3 \(sub-003\).*{message}"):
        Cohort.from_graphs(graphs, like=cohort if own else None)


def test_other_wrong_graphs_are_named():
    cohort = make_cohort()
    with pytest.raises(ConnectomeError, match="at least one graph, got none"):
        Cohort.from_graphs([])
    graphs = cohort.graphs()
    del graphs[2].participant_id
    with pytest.raises(ConnectomeError, match=r"graph 2 \(no participant_id\) lacks participant_id"):
        Cohort.from_graphs(graphs)
    with pytest.raises(ConnectomeError, match="participant_id must be unique, 'sub-000'"):
        Cohort.from_graphs(cohort.graphs()[:1] * 2)
    other = make_cohort(atlas=Atlas([f"other {n}" for n in range(6)]), measure="mean_fa")
    with pytest.raises(ConnectomeError, match="graph 1 .* holds mean_fa on atlas '', expected streamline_count on 'half circles'"):
        Cohort.from_graphs([cohort.graphs()[0], other.graphs()[1]])
    with pytest.raises(ConnectomeError, match="graph 0 .* holds streamline_count on atlas 'half circles', expected mean_fa"):
        Cohort.from_graphs(cohort.graphs(), like=other)
    for value, message in ((np.nan, "got nan"), (-1.0, "got -1.0")):
        graphs = cohort.graphs()
        graphs[1].edge_attr[:] = value
        with pytest.raises(ConnectomeError, match=f"{message} for participant 'sub-001'"):
            Cohort.from_graphs(graphs)
    samples = make_samples().graphs()
    del samples[1].identifiers
    with pytest.raises(ConnectomeError, match=r"graph 1 \(sub-000\) lacks identifiers"):
        Cohort.from_graphs(samples)


def test_columns_that_are_no_profile_are_named():
    table = make_phenotypes().assign(age=np.inf)
    with pytest.raises(ConnectomeError, match="'age': expected finite numbers or n/a, got 'inf'"):
        make_cohort(phenotypes=table, described=DESCRIBED).graphs()


def test_the_precision_of_graphs_is_float32():
    weights = make_weights().astype(np.float64) + 0.1
    back = Cohort.from_graphs(make_cohort(weights=weights).graphs())
    np.testing.assert_array_equal(back.weights, weights.astype(np.float32))


def test_a_real_cohort_comes_back(data_folder):
    for name in ("corr_kki", "lemon"):
        cohort = Cohort.load(data_folder(name)).take(slice(0, 25))
        assert_same(Cohort.from_graphs(cohort.graphs()), cohort)

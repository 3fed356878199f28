"""What goes in and comes out of graph measures: every form of weights, tables, the default panel, backends, devices, clusters, mistakes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from joblib import parallel_config
from numpy.typing import NDArray
from tiny import make_cohort, make_samples
from zoo import SIGNED, ZOO, random_graph

import connectome_gnn as cg
from connectome_gnn import topology
from connectome_gnn.edges import to_lengths, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.topology import basic
from connectome_gnn.topology.arrays import Graphs, as_graphs, map_graphs, person_seeds, tasks
from connectome_gnn.topology.backends import BACKENDS
from connectome_gnn.topology.dense_torch import TORCH_MEASURES
from connectome_gnn.topology.registry import MEASURES, PANEL, SIGNED_PANEL

QUICK = [name for name, one in MEASURES.items() if "nulls" not in one.cost and "coordinates" not in one.needs]


def people(n: int = 7, n_regions: int = 12, kind: str = "lognormal") -> NDArray[np.float64]:
    return np.stack([to_vectors(random_graph(n_regions, 0.5, seed, kind)) for seed in range(n)])


def refused(says: str, call: Any, *arguments: Any, **options: Any) -> None:
    """The call is refused in one sentence, and numpy says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConnectomeError) as error:
            call(*arguments, **options)
    assert says in str(error.value) and "\n" not in str(error.value), str(error.value)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_every_form_of_weights_is_the_same(tmp_path: Path) -> None:
    vectors = people()
    expected = to_matrices(vectors).sum(1)
    np.save(tmp_path / "weights.npy", vectors)
    frozen = vectors.copy()
    frozen.setflags(write=False)
    for given_weights in (
        vectors,
        frozen,
        np.load(tmp_path / "weights.npy", mmap_mode="r"),
        to_matrices(vectors),
        np.asfortranarray(to_matrices(vectors)),
        np.repeat(vectors, 2, 0)[::2],
        vectors.tolist(),
        torch.tensor(vectors),
        torch.tensor(to_matrices(vectors), requires_grad=True),
        pd.DataFrame(vectors),
    ):
        result = topology.strength(given_weights)
        assert result.shape == (7, 12) and result.dtype == np.float64
        np.testing.assert_allclose(result, expected, rtol=1e-12)
    one = to_matrices(vectors[3])
    assert topology.strength(one).shape == (12,) and topology.density(one).shape == ()
    np.testing.assert_array_equal(topology.strength(one), topology.strength(vectors)[3])
    np.testing.assert_array_equal(topology.density(vectors)[3], topology.density(one))


@pytest.mark.parametrize(("given_type", "comes_back"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), ("?", "f8")])
def test_types_of_weights(given_type: str, comes_back: str) -> None:
    weights = people(kind="integer").astype(given_type)
    result = topology.strength(weights)
    assert result.dtype == comes_back
    np.testing.assert_allclose(result, to_matrices(weights.astype(float)).sum(1), rtol=1e-6)
    assert topology.strength(torch.tensor(people()).bfloat16()).dtype == np.float32


def test_read_only_and_writeable_share_a_compilation() -> None:
    weights = people()
    frozen = weights.astype(np.float32)
    frozen.setflags(write=False)
    for one in (weights, frozen, frozen.copy(), to_matrices(frozen), weights[:, ::-1]):
        topology.strength(one)
    assert len(basic._strength.signatures) <= 2


def test_weights_are_never_changed() -> None:
    for weights in (people(), to_matrices(people()), random_graph()):
        before = weights.copy()
        topology.measure(weights, QUICK)
        np.testing.assert_array_equal(weights, before)


def test_a_square_array_is_one_graph_only_if_it_can_be() -> None:
    assert as_graphs(random_graph(10)).single
    assert not as_graphs(np.random.default_rng(0).random((10, 10))).single  # ten people of five regions
    with pytest.warns(ConnectomeWarning, match=r"read as 3 graphs of 3 regions, \(N, E\); if it is one graph, set its diagonal to 0"):
        assert not as_graphs(np.ones((3, 3))).single
    rounded = random_graph(10) * (1 + np.triu(np.full((10, 10), 1e-15)))
    assert as_graphs(rounded).single
    assert (as_graphs(rounded).matrix(0) == as_graphs(rounded).matrix(0).T).all()
    assert topology.degree(np.zeros((1, 1))).shape == (1,)


def test_weights_that_are_no_graphs_are_refused() -> None:
    strength, clustering = topology.strength, topology.clustering
    asymmetric, loop, hole = random_graph(8), random_graph(8), random_graph(8)
    asymmetric[2, 5] += 1
    loop[3, 3] = 1.5
    hole[1, 4] = hole[4, 1] = np.nan
    refused("strength needs a symmetric matrix", strength, asymmetric)
    refused("between regions 2 and 5", strength, asymmetric)
    refused("got a self-loop of 1.5 at region 3 (counted from 0); set it to 0", strength, loop)
    refused("got nan between regions 1 and 4", strength, hole)
    refused("of graph 1 (counted from 0)", strength, np.stack([random_graph(8), hole]))
    refused("finite weights, got inf between regions 0 and 2 of graph 0", strength, [[0.0, np.inf, 1.0]])
    refused("clustering needs non-negative weights, got -1 between regions 0 and 1 of graph 0", clustering, [[-1.0, 0, 0]])
    refused("(R, R), (N, R, R) or (N, E), got shape (2, 4): expected R(R-1)/2 edges", strength, np.ones((2, 4)))
    refused("got an array of shape (2, 3, 4)", strength, np.ones((2, 3, 4)))
    refused("got an array of shape (6,)", strength, np.ones(6))
    refused("real numbers", strength, [["a", "b", "c"]])
    refused("real numbers", strength, np.ones((2, 3), complex))
    refused("inhomogeneous", strength, [[0, 1], [1]])
    refused("at least one graph", strength, np.empty((0, 3)))
    refused("at least one graph", strength, np.empty((1, 0, 0)))


def test_results_do_not_depend_on_threads_or_company() -> None:
    weights = people(40)
    alone = topology.measure(weights, QUICK, n_jobs=1, seed=3)
    together = topology.measure(weights, QUICK, n_jobs=2, seed=3)
    few = topology.measure(weights[:5], QUICK, seed=3)
    for name in QUICK:
        assert alone[name].tobytes() == together[name].tobytes(), name
        assert alone[name][:5].tobytes() == few[name].tobytes(), name
    np.testing.assert_array_equal(person_seeds(1, 9)[4:], person_seeds(1, 5, 4))
    assert len(set(person_seeds(0, 1000))) == 1000 and (person_seeds(0, 1000) >= 0).all()


def test_threads_and_seeds_that_do_not_exist_are_refused() -> None:
    refused("n_jobs is a number of threads, or -1 for all cores, got 0", topology.strength, people(), n_jobs=0)
    refused("n_jobs is a number of threads, or -1 for all cores, got None", topology.measure, people(), "degree", n_jobs=None)
    refused("a seed is a whole number of 0 or more, got -1", topology.measure, people(), "participation", seed=-1)
    refused("a seed is a whole number of 0 or more, got 'x'", topology.louvain, people(), seed="x")


def test_map_graphs_hands_each_graph_its_own() -> None:
    graphs = as_graphs(people(9))
    total, seeds = map_graphs(graphs, _sum_and_seed, 2.0, each=(np.arange(9), graphs), n_jobs=2)
    np.testing.assert_allclose(total, 2 * 3 * people(9).sum(1), rtol=1e-12)
    assert seeds.dtype == np.int64 and (seeds == np.arange(9)).all()
    assert [part.stop - part.start for part in tasks(10, 1)] == [10]
    assert sum(part.stop - part.start for part in tasks(1001, 2, 64)) == 1001


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_takes_long_shows_a_bar(monkeypatch: pytest.MonkeyPatch, n_jobs: int) -> None:
    shown: list[tuple[str, float, list[int]]] = []

    @contextmanager
    def bar(description: str, total: float) -> Iterator[Callable[[int], None]]:
        shown.append((description, total, []))
        yield shown[-1][2].append

    monkeypatch.setattr("connectome_gnn.topology.arrays.progress", bar)
    weights = people(30)
    nulls = topology.degree_preserving(weights, n_jobs=n_jobs)
    topology.small_world(weights, n_nulls=2, n_lattices=1, n_jobs=n_jobs)
    topology.against_nulls(weights[:2], topology.density, n_nulls=2, n_jobs=n_jobs)
    topology.consensus(weights, n_runs=3, n_jobs=n_jobs)
    topology.strength(weights, n_jobs=n_jobs)
    assert [(what, total, sum(steps)) for what, total, steps in shown] == [
        ("Null graphs", 30, 30),
        ("Null graphs", 30, 30),
        ("Null graphs", 2, 2),
        ("Consensus communities", 30, 30),
    ]
    assert all(len(steps) > 1 for _, _, steps in shown)
    np.testing.assert_array_equal(nulls[7], topology.degree_preserving(to_matrices(weights), n_jobs=1)[7])


def _sum_and_seed(matrix: NDArray, seed: int, again: NDArray, factor: float) -> tuple[float, int]:
    return factor * (matrix.sum() + again.sum() / 2), int(seed)


def test_names_are_functions_whatever_is_imported() -> None:
    for name in topology.__all__:
        import_module("connectome_gnn.topology.clustering")
        assert callable(getattr(topology, name)) and not isinstance(getattr(topology, name), ModuleType), name
    assert cg.topology is topology


# --- the table -------------------------------------------------------------------------------------------------------


def test_measures_are_the_plain_functions() -> None:
    weights = people()
    table = topology.measure(weights, ["degree", "clustering", "global_efficiency", "matching_index", "strength_positive"])
    np.testing.assert_array_equal(table["degree"], topology.degree(weights))
    np.testing.assert_array_equal(table["clustering"], topology.clustering(weights))
    np.testing.assert_array_equal(table["global_efficiency"], topology.global_efficiency(weights))
    np.testing.assert_array_equal(table["matching_index"], to_vectors(topology.matching_index(weights)))
    np.testing.assert_array_equal(table["strength_positive"], topology.strength(weights))
    assert list(table.nodal) == ["degree", "clustering", "strength_positive"]
    assert list(table.edges) == ["matching_index"] and table.edges["matching_index"].shape == (7, 66)
    assert list(table.global_measures) == ["global_efficiency"] and len(table) == 7 and "degree" in table
    assert repr(table).startswith("TopologyTable(7 people, 12 regions: degree")
    refused("no measure 'strength'; it has degree,", table.__getitem__, "strength")


def test_every_measure_has_the_shape_of_its_level() -> None:
    weights = people(3, 6)
    table = topology.measure(weights, list(MEASURES), coordinates=np.random.default_rng(0).normal(0, 30, (6, 3)))
    assert list(table) == list(MEASURES)
    for name, one in MEASURES.items():
        assert table[name].shape == {"global": (3,), "nodal": (3, 6), "edge": (3, 15), "curve": (3, 5)}[one.level], name
    listed = topology.list_measures()
    assert list(listed.index) == list(MEASURES) and listed["citation"].str.len().min() > 10
    assert set(listed["level"]) == {"global", "nodal", "edge", "curve"} and set(listed["weights"]) == {"weighted", "binary"}
    assert tuple(listed.index[listed["default"]]) == tuple(name for name in MEASURES if name in PANEL)


def test_single_precision_agrees_with_double() -> None:
    weights = people(6).astype(np.float32)
    double = topology.measure(weights.astype(np.float64), QUICK, partition=np.arange(12) % 3)
    single = topology.measure(weights, QUICK, partition=np.arange(12) % 3)
    for name in QUICK:
        np.testing.assert_allclose(single[name], double[name], rtol=1e-5, atol=1e-6, err_msg=name)
        assert single[name].dtype in (np.float32, np.int64), name


@pytest.mark.parametrize("graph", ZOO)
def test_every_measure_of_every_graph_is_quiet_and_follows_its_regions(graph: str) -> None:
    w = ZOO[graph]
    order = np.random.default_rng(1).permutation(len(w))
    modules = np.arange(len(w)) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = topology.measure(w, QUICK, partition=modules)
        moved = topology.measure(w[np.ix_(order, order)], QUICK, partition=modules[order])
    for name in QUICK:
        assert not np.isinf(table[name]).any() or name == "shortest_path_length", name
        expected = table[name][0]
        if MEASURES[name].level == "nodal":
            expected = expected[order]
        elif MEASURES[name].level == "edge" and len(w) > 1:
            expected = to_vectors(to_matrices(expected)[np.ix_(order, order)])
        np.testing.assert_allclose(moved[name][0], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_wide_and_long_tables_hold_the_same() -> None:
    cohort = make_samples()
    table = topology.measure(cohort, ["strength", "density", "matching_index"])
    assert table.regions == cohort.atlas.labels and table.people.names == ["participant_id", "sample"]
    wide, long = table.to_dataframe(), table.to_dataframe("long")
    assert wide.shape == (12, 6 + 1 + 15) and long.shape == (12 * 22, 2 + 6)
    assert (
        wide.columns[0] == "strength:Région 0" and wide.columns[6] == "density" and wide.columns[-1] == "matching_index:Région 4--Région 5"
    )
    row = long.query("participant_id == 'sub-002' and sample == 1 and measure == 'matching_index'").iloc[-1]
    assert (row["region"], row["other_region"]) == ("Région 4", "Région 5")
    assert row["value"] == wide.loc[("sub-002", 1)].iloc[-1]
    assert table.to_dataframe("long", "global")["measure"].unique().tolist() == ["density"]
    assert table.to_dataframe(level="nodal").shape == (12, 6)
    assert topology.measure(cohort, "density").to_dataframe(level="edge").shape == (12, 0)
    assert topology.measure(cohort, "density").to_dataframe("long", "edge").empty
    refused("form is 'wide' or 'long', got 'tall'", table.to_dataframe, "tall")
    refused("level is 'global', 'nodal', 'edge', 'curve' or None, got 'node'", table.to_dataframe, level="node")


def test_a_curve_has_a_value_for_every_degree() -> None:
    cohort = make_cohort()
    table = topology.measure(cohort, ["density", "rich_club", "rich_club_binary", "rich_club_normalised"], seed=4)
    assert list(table.curves) == ["rich_club", "rich_club_binary", "rich_club_normalised"]
    np.testing.assert_array_equal(table["rich_club"], topology.rich_club(cohort.weights))
    np.testing.assert_array_equal(table["rich_club_binary"], topology.rich_club(cohort.weights, weighted=False))
    np.testing.assert_array_equal(table["rich_club_normalised"], topology.normalised_rich_club(cohort.weights, seed=4))
    wide, long = table.to_dataframe(level="curve"), table.to_dataframe("long")
    assert list(wide)[:6] == ["rich_club:k=0", "rich_club:k=1", "rich_club:k=2", "rich_club:k=3", "rich_club:k=4", "rich_club_binary:k=0"]
    row = long.query("participant_id == 'sub-002' and measure == 'rich_club' and k == 2").squeeze()
    assert row["region"] is None and (row["value"] == wide.loc["sub-002", "rich_club:k=2"] or np.isnan(row["value"]))
    assert long.query("measure == 'density'")["k"].isna().all() and long["k"].dtype == "Int64"
    assert topology.measure(np.zeros((2, 1, 1)), "rich_club").to_dataframe().shape == (2, 0)


def test_a_saved_table_reads_back(tmp_path: Path) -> None:
    cohort = make_cohort()
    table = topology.measure(cohort, ["strength", "density"])
    frame = pd.read_csv(table.save(tmp_path / "measures.tsv"), sep="\t", index_col="participant_id", na_values="n/a")
    assert list(frame.index) == list(cohort.ids)
    np.testing.assert_allclose(frame.to_numpy(), table.to_dataframe().to_numpy(), rtol=1e-6)


# --- what is chosen --------------------------------------------------------------------------------------------------


def test_the_default_panel() -> None:
    table = topology.measure(people())
    assert tuple(table) == PANEL
    assert table.notes == ("modules are the communities that Leiden found in each person, best of 3 runs (seed 0)",)
    found = topology.leiden(people(), n_runs=3)
    np.testing.assert_allclose(table["modularity"], found.modularity, rtol=1e-12)
    np.testing.assert_allclose(table["participation"], topology.participation(people(), found.labels), rtol=1e-12)


def test_negative_weights_leave_out_what_is_not_defined_and_say_so() -> None:
    signed = to_vectors(np.stack([SIGNED["signed"], SIGNED["signed and sparse"]]))
    with pytest.warns(ConnectomeWarning, match="some weights are negative: left out clustering, transitivity, .* threshold the weights"):
        table = topology.measure(signed)
    assert tuple(table) == SIGNED_PANEL and "left out" in table.notes[0]
    assert all(MEASURES[name].signed for name in SIGNED_PANEL)
    refused("clustering needs non-negative weights, got", topology.measure, signed, ["strength", "clustering"])
    refused("of graph 0", topology.measure, signed, ["clustering"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tuple(topology.measure(np.abs(signed))) == PANEL


def test_a_partition_given_is_used() -> None:
    weights, names = people(), np.array(["visual", "motor", "default"])[np.arange(12) % 3]
    table = topology.measure(weights, ["modularity", "participation", "within_module_z"], partition=names)
    assert table.notes == ()
    np.testing.assert_allclose(table["modularity"], topology.modularity(weights, names), rtol=1e-12)
    by_person = np.tile(np.arange(12) % 3, (7, 1))
    again = topology.measure(weights, "participation", partition=by_person)["participation"]
    np.testing.assert_allclose(again, table["participation"], rtol=1e-12)
    refused("modularity needs a partition of the 12 regions", topology.measure, weights, "modularity", partition=np.arange(11))
    refused("a label for every region", topology.measure, weights, "participation", partition=np.full(12, np.nan))


def test_lengths_take_the_place_of_one_over_the_weight() -> None:
    weights = people()
    names = ["characteristic_path_length", "betweenness", "edge_betweenness", "shortest_path_length", "strength"]
    plain = topology.measure(weights, names)
    for lengths in (to_lengths(weights), to_matrices(np.where(weights > 0, to_lengths(weights), 0))):
        same = topology.measure(weights, names, lengths=lengths)
        for name in names:
            np.testing.assert_allclose(same[name], plain[name], rtol=1e-12, err_msg=name)
    longer = topology.measure(weights, names, lengths=2 * to_lengths(weights))
    np.testing.assert_allclose(longer["characteristic_path_length"], 2 * plain["characteristic_path_length"], rtol=1e-12)
    np.testing.assert_allclose(longer["betweenness"], plain["betweenness"], rtol=1e-12)
    local = topology.measure(weights, ["local_efficiency", "local_efficiency_wang", "radius"], lengths=2 * to_lengths(weights))
    assert local.notes == (
        "local_efficiency, local_efficiency_wang take paths over 1 / weight, as they are defined, not over the lengths given",
    )
    np.testing.assert_array_equal(local["local_efficiency"], topology.local_efficiency(weights))
    assert plain.notes == longer.notes == ()
    one = random_graph(9)
    np.testing.assert_allclose(topology.measure(one, "diameter", lengths=to_lengths(one))["diameter"], topology.diameter(one))
    refused("lengths must be 0 or more", topology.measure, weights, "radius", lengths=-weights)
    refused("got NaN", topology.measure, weights, "radius", lengths=weights * np.nan)
    refused(
        "lengths must be of the 7 graphs of 12 regions that the weights have, got 6 of 12",
        topology.measure,
        weights,
        "radius",
        lengths=weights[:6],
    )


def test_coordinates_are_the_cohorts_or_given_or_missed() -> None:
    cohort = make_cohort()  # whose last region lies nowhere
    refused("wiring_cost needs coordinates of every region", topology.measure, cohort, "wiring_cost", coordinates=cohort.atlas.xyz)
    refused("wiring_cost needs the regions' coordinates; give coordinates=(R, 3)", topology.measure, cohort, ["strength", "wiring_cost"])
    places = np.nan_to_num(cohort.atlas.xyz)
    whole = make_cohort(atlas=cg.Atlas(cohort.atlas.labels, xyz=places))
    known = topology.measure(whole, "wiring_cost")["wiring_cost"]
    np.testing.assert_allclose(known, topology.wiring_cost(cohort.weights, places), rtol=1e-6)


def test_unknown_measures_suggest_the_nearest() -> None:
    refused("no measure 'strengt'; the nearest is 'strength'", topology.measure, people(), ["degree", "strengt"])
    refused("the nearest is 'betweenness'", topology.measure, people(), "betweeness")
    refused("no measures named", topology.measure, people(), [])
    refused("no measure 5; the nearest is", topology.measure, people(), 5)


@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 10**6))
def test_any_graph_has_a_panel(n: int, density: float, seed: int) -> None:
    w = random_graph(n, density, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = topology.measure(w, n_jobs=1)
    for name in ("degree", "strength", "clustering", "betweenness", "participation", "global_efficiency", "local_efficiency"):
        assert np.isfinite(table[name]).all() and (table[name] >= -1e-12).all(), name


# --- other ways of computing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ZOO)
def test_torch_gives_the_same_numbers(graph: str) -> None:
    names, partition = sorted(TORCH_MEASURES), np.arange(len(ZOO[graph])) % 3
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        w = np.stack([ZOO[graph], 2 * ZOO[graph]]).astype(dtype)
        ours = topology.measure(w, names, partition=partition)
        dense = topology.measure(w, names, partition=partition, device="cpu")
        assert dense.notes == ()
        for name in names:
            np.testing.assert_allclose(dense[name], ours[name], rtol=tolerance, atol=tolerance / 100, err_msg=name)
            assert dense[name].dtype == ours[name].dtype, name


def test_a_device_measures_what_it_can() -> None:
    weights = people()
    table = topology.measure(weights, ["strength", "pagerank", "global_efficiency"], device="cpu", lengths=3 * to_lengths(weights))
    assert list(table) == ["strength", "pagerank", "global_efficiency"]
    assert "pagerank computed by numba, not on cpu" in table.notes[0]
    np.testing.assert_allclose(table["global_efficiency"], topology.global_efficiency(weights) / 3, rtol=1e-12)
    refused("torch has no device 'abacus' here", topology.measure, weights, device="abacus")
    refused("exclude each other", topology.measure, weights, "strength", device="cpu", backend="bctpy")
    if not torch.cuda.is_available():
        refused("torch has no device 'cuda' here (cpu will do)", topology.measure, weights, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_numbers() -> None:
    names = sorted(TORCH_MEASURES)
    weights = people(8, 40).astype(np.float32)
    ours, dense = topology.measure(weights, names), topology.measure(weights, names, device="cuda")
    for name in names:
        np.testing.assert_allclose(dense[name], ours[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("kind", ["lognormal", "integer"])
def test_backends_agree(backend: Any, kind: str) -> None:
    weights = np.stack([to_vectors(random_graph(14, 0.6, seed, kind)) for seed in range(3)])
    names, partition = list(BACKENDS[backend]), np.arange(14) % 4
    ours = topology.measure(weights, names, partition=partition)
    theirs = topology.measure(weights, names, partition=partition, backend=backend)
    for name in names:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert theirs[name].shape == ours[name].shape


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_backends_read_disconnected_paths_alike(backend: Any) -> None:
    names = [
        "shortest_path_length",
        "characteristic_path_length",
        "disconnected",
        "eccentricity",
        "radius",
        "diameter",
        "global_efficiency",
    ]
    for graph in ("disconnected", "isolated", "empty", "star"):
        ours, theirs = (topology.measure(ZOO[graph], names, backend=one) for one in (None, backend))
        for name in names:
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-9, err_msg=f"{name}, {graph}")


def test_backends_say_what_they_lack() -> None:
    table = topology.measure(people(2), backend="networkx")
    assert "left out: networkx does not define transitivity, local_efficiency, participation as we do" in table.notes
    refused("igraph does not define clustering as we do; it offers degree,", topology.measure, people(), ["clustering"], backend="igraph")
    refused("no backend 'matlab'; there are 'bctpy', 'networkx', 'igraph'", topology.measure, people(), backend="matlab")


def test_a_cluster_gives_the_same_bytes() -> None:
    distributed = pytest.importorskip("distributed")
    weights = people(210, 8)
    names = ["strength", "global_efficiency", "modularity", "matching_index"]
    ours = topology.measure(weights, names, seed=5)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        assert [part.stop - part.start for part in tasks(210, -1, 64)] == [100, 100, 10]
        theirs = topology.measure(weights, names, seed=5)
        strength = topology.strength(weights)
    for name in names:
        assert theirs[name].tobytes() == ours[name].tobytes(), name
    assert strength.tobytes() == ours["strength"].tobytes()


def test_graphs_are_not_copied() -> None:
    weights = people(20)
    graphs = as_graphs(weights)
    assert isinstance(graphs, Graphs) and np.shares_memory(graphs.take(slice(3, 9)).values, weights)
    refused("of graph 4", as_graphs(np.where(np.arange(20)[:, None] == 4, np.nan, weights)).take(slice(3, 9)).matrix, 1)


# --- comparing cohorts -----------------------------------------------------------------------------------------------


def test_distances_are_scipys() -> None:
    first, second = topology.measure(people(30), ["strength", "density"]), topology.measure(2 * people(41)[5:], ["strength", "density"])
    found = topology.compare(first, second)
    x, y = first["strength"], second["strength"]
    ks = [scipy.stats.ks_2samp(x[:, i], y[:, i]).statistic for i in range(12)]
    energy = [scipy.stats.energy_distance(x[:, i] / y[:, i].std(ddof=1), y[:, i] / y[:, i].std(ddof=1)) for i in range(12)]
    assert found.loc["strength", "ks"] == pytest.approx(np.mean(ks), rel=1e-12)
    assert found.loc["strength", "energy"] == pytest.approx(np.mean(energy), rel=1e-12)
    assert found.loc["density", "ks"] == pytest.approx(scipy.stats.ks_2samp(first["density"], second["density"]).statistic)
    assert found.loc["strength", "ks_half"] > 2 * found.loc["strength", "ks_split_half"]
    pd.testing.assert_frame_equal(found, topology.compare(first, second))


def test_comparisons_of_the_same_of_few_and_of_undefined() -> None:
    table = topology.measure(people(12), ["strength", "assortativity"])
    same = topology.compare(table, table)
    assert (same[["ks", "energy"]] == 0).all().all() and (same["ks_split_half"] > 0).all()
    few = topology.compare(topology.measure(people(3), "strength"), topology.measure(people(3), "strength"))
    assert few[["ks_half", "energy_split_half"]].isna().all().all()
    empty = topology.measure(np.zeros((5, 6)), ["assortativity", "degree"])
    nothing = topology.compare(empty, empty)
    assert np.isnan(nothing.loc["assortativity", "ks"]) and nothing.loc["degree", "ks"] == 0 and np.isnan(nothing.loc["degree", "energy"])
    refused("share no measure", topology.compare, table, topology.measure(people(12), "degree"))
    refused("tables of different regions", topology.compare, table, empty)


def test_halves_keep_a_persons_samples_together() -> None:
    table = topology.measure(make_samples(8, 3), "strength")
    distances = topology.compare(table, table, n_splits=3)
    assert distances.notna().all().all()


# --- real cohorts ----------------------------------------------------------------------------------------------------


def test_a_real_cohort_and_its_own_library(data_folder: Any) -> None:
    cohort = cg.Cohort.load(data_folder("corr_kki"))
    names = ["strength", "clustering", "global_efficiency", "betweenness", "participation", "assortativity"]
    few = cohort.take(np.arange(2))
    ours = topology.measure(few, names, partition=few.atlas.network)
    theirs = topology.measure(few, names, partition=few.atlas.network, backend="bctpy")
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)

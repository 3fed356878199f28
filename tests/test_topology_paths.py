"""Shortest paths, betweenness and local efficiency against scipy, bctpy, networkx, igraph and exact fractions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import bct
import igraph
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_lengths, to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology import cohorts
from connectome_gnn.topology.betweenness import betweenness, edge_betweenness
from connectome_gnn.topology.clustering import clustering
from connectome_gnn.topology.local_efficiency import SIDE_BY_SIDE as NEIGHBOURS
from connectome_gnn.topology.local_efficiency import local_efficiency
from connectome_gnn.topology.paths import (
    _shortest_paths,
    characteristic_path_length,
    diameter,
    disconnected,
    eccentricity,
    global_efficiency,
    path_measures,
    radius,
    shortest_paths,
)
from connectome_gnn.topology.side_by_side import SIDE_BY_SIDE, people_side_by_side

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}


@pytest.fixture(autouse=True)
def no_numpy_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        yield


def symmetric(weights: np.ndarray) -> np.ndarray:
    upper = np.triu(weights, 1)
    return upper + upper.T


def random_graph(n: int, density: float, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return symmetric(np.exp(spread * generator.normal(size=(n, n))) * (generator.random((n, n)) < density))


def two_parts() -> np.ndarray:
    w = random_graph(30, 0.4, seed=3)
    w[:12, 12:] = w[12:, :12] = 0
    return w


def isolated() -> np.ndarray:
    w = random_graph(20, 0.5, seed=4)
    w[[3, 11]] = 0
    w[:, [3, 11]] = 0
    return w


def from_networkx(graph: nx.Graph) -> np.ndarray:
    return nx.to_numpy_array(graph, weight=None).astype(float)


GRAPHS = {
    "random": random_graph(40, 0.3),
    "sparse": random_graph(60, 0.04, seed=1),
    "dense": random_graph(33, 0.9, seed=2),
    "wide range": random_graph(40, 0.3, seed=8, spread=4.0),
    "narrow range": symmetric(np.random.default_rng(5).uniform(0.2, 0.6, (37, 37))),
    "two parts": two_parts(),
    "isolated": isolated(),
    "star": from_networkx(nx.star_graph(12)),
    "ring": from_networkx(nx.cycle_graph(17)),
    "path": from_networkx(nx.path_graph(24)),
    "complete": from_networkx(nx.complete_graph(16)),
    "grid, tied": from_networkx(nx.grid_2d_graph(5, 6)),
    "empty": np.zeros((7, 7)),
    "pair": np.array([[0, 2.0], [2.0, 0]]),
    "whole numbers": symmetric(np.random.default_rng(6).integers(0, 5, (25, 25)).astype(float)),
    "larger": random_graph(130, 0.3, seed=7),
    "larger, few connections": random_graph(150, 0.02, seed=9, spread=2.0),
    "larger, narrow range": symmetric(np.random.default_rng(10).uniform(0.2, 0.6, (101, 101))),
    "larger, one by one": random_graph(SIDE_BY_SIDE + 13, 0.3, seed=11),
    "larger, one by one, few connections": random_graph(SIDE_BY_SIDE + 30, 0.02, seed=12, spread=2.0),
    "larger, one by one, narrow range": symmetric(np.random.default_rng(13).uniform(0.2, 0.6, (SIDE_BY_SIDE + 1, SIDE_BY_SIDE + 1))),
}


def weights_as(name: str, kind: type) -> np.ndarray:
    return GRAPHS[name].astype(kind)


def lengths_of(w: np.ndarray) -> np.ndarray:
    """1 / w in float64, 0 where there is no edge: what the other libraries take."""
    lengths = to_lengths(w.astype(float))
    return np.where(np.isinf(lengths), 0, lengths)


def exact_paths(w: np.ndarray) -> np.ndarray:
    return shortest_path(lengths_of(w), method="D", directed=False)


def as_igraph(w: np.ndarray) -> tuple[igraph.Graph, np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(np.triu(w))
    return igraph.Graph(n=len(w), edges=list(zip(rows.tolist(), columns.tolist(), strict=True))), rows, columns


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.nan_to_num(np.abs(theirs), posinf=0).max(initial=0) * 1e-3)


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("name", GRAPHS)
def test_shortest_paths_equal_scipys(name: str, kind: type) -> None:
    w = weights_as(name, kind)
    ours = shortest_paths(w)
    assert ours.dtype == kind
    np.testing.assert_array_equal(ours, ours.T)
    close(ours, exact_paths(w), TOLERANCE[kind])


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("name", GRAPHS)
def test_path_measures_equal_bctpys(name: str, kind: type) -> None:
    w = weights_as(name, kind)
    ours = path_measures(w)
    far = exact_paths(w)
    assert ours.disconnected == np.isinf(far[edge_indices(len(w))]).sum()
    if not w.any():
        assert np.isnan([ours.characteristic_path_length, ours.radius, ours.diameter]).all()
        assert np.isnan(ours.eccentricity).all() and ours.global_efficiency == 0
        return
    with np.errstate(all="ignore"):
        mean, _, farthest, _, _ = bct.charpath(far, include_infinite=False)
        efficiency = bct.efficiency_wei(w.astype(float))
    alone = ~w.any(axis=1)
    assert (np.isnan(ours.eccentricity) == alone).all()
    close(ours.characteristic_path_length, mean, TOLERANCE[kind])
    farthest = np.asarray(farthest, float)[~alone]  # bctpy gives an isolated region, and so the diameter, 1e20
    close(ours.eccentricity[~alone], farthest, TOLERANCE[kind])
    close(ours.diameter, farthest.max(), TOLERANCE[kind])
    close(ours.radius, farthest.min(), TOLERANCE[kind])
    close(ours.global_efficiency, efficiency, TOLERANCE[kind])


def test_each_path_measure_by_itself_is_the_same() -> None:
    w = GRAPHS["two parts"]
    together = path_measures(w)
    alone = (characteristic_path_length, global_efficiency, radius, diameter, disconnected, eccentricity)
    for measure in alone:
        np.testing.assert_array_equal(measure(w), getattr(together, measure.__name__))


def test_a_single_region() -> None:
    w = np.zeros((1, 1))
    paths = path_measures(w)
    assert shortest_paths(w).tolist() == [[0]]
    assert np.isnan(paths.characteristic_path_length) and np.isnan(paths.eccentricity).all()
    assert paths.global_efficiency == 0 and paths.disconnected == 0
    assert betweenness(w).tolist() == [0] and local_efficiency(w).tolist() == [0]


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("name", GRAPHS)
def test_betweenness_equals_igraphs(name: str, kind: type) -> None:
    w = weights_as(name, kind)
    graph, rows, columns = as_igraph(w)
    lengths = lengths_of(w)[rows, columns].tolist()
    theirs = np.array(graph.betweenness(weights=lengths or None, directed=False))
    close(betweenness(w), 2 * theirs, TOLERANCE[kind])
    along = edge_betweenness(w)
    np.testing.assert_array_equal(along, along.T)
    close(along[rows, columns], np.array(graph.edge_betweenness(weights=lengths or None, directed=False)), TOLERANCE[kind])
    assert not along[w == 0].any()


@pytest.mark.parametrize("name", ["random", "sparse", "two parts", "star", "ring", "grid, tied", "complete", "isolated"])
def test_betweenness_equals_bctpys_and_twice_networkxs(name: str) -> None:
    w = GRAPHS[name]
    lengths = lengths_of(w)
    close(betweenness(w), bct.betweenness_wei(lengths), 1e-10)
    close(edge_betweenness(w), bct.edge_betweenness_wei(lengths)[0], 1e-10)
    graph = nx.from_numpy_array(lengths)
    theirs = nx.betweenness_centrality(graph, normalized=False, weight="weight")
    close(betweenness(w), 2 * np.array([theirs[i] for i in range(len(w))]), 1e-10)


def brandes_in_fractions(w: np.ndarray) -> np.ndarray:
    """Node betweenness of whole-number weights by the definition, in exact arithmetic."""
    n = len(w)
    far = [[Fraction(0) if i == j else Fraction(1, int(w[i, j])) if w[i, j] else None for j in range(n)] for i in range(n)]
    edge = [row[:] for row in far]
    for k in range(n):
        for i in range(n):
            for j in range(n):
                if far[i][k] is not None and far[k][j] is not None:
                    way = far[i][k] + far[k][j]
                    far[i][j] = way if far[i][j] is None else min(way, far[i][j])
    reached = lambda s: [v for v in range(n) if far[s][v] is not None]  # noqa: E731
    paths = [[0] * n for _ in range(n)]
    for s in range(n):
        for v in sorted(reached(s), key=lambda v: far[s][v]):
            before = [u for u in reached(s) if u != v and edge[u][v] is not None and far[s][u] + edge[u][v] == far[s][v]]
            paths[s][v] = 1 if v == s else sum(paths[s][u] for u in before)
    result = np.zeros(n)
    for s in range(n):
        for t in reached(s):
            for v in reached(s):
                if len({s, t, v}) == 3 and far[v][t] is not None and far[s][v] + far[v][t] == far[s][t]:
                    result[v] += paths[s][v] * paths[v][t] / paths[s][t]
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", TOLERANCE)
def test_ties_are_those_of_exact_arithmetic(seed: int, kind: type) -> None:
    w = symmetric(np.random.default_rng(seed).integers(0, 16, (14, 14))).astype(kind)
    close(betweenness(w), brandes_in_fractions(w), TOLERANCE[kind])


def test_a_tie_that_rounding_hides_is_a_tie() -> None:
    w = np.zeros((3, 3))
    w[0, 1], w[1, 2], w[0, 2] = 10, 15, 6  # 1/10 + 1/15 = 1/6
    assert betweenness(w + w.T).tolist() == [0, 1, 0]


@cache
def local_efficiency_of_bctpy(name: str, which: str | bool) -> np.ndarray:
    with np.errstate(all="ignore"):
        return bct.efficiency_wei(GRAPHS[name], local=which)


@pytest.mark.parametrize(("variant", "theirs"), [("rubinov", "original"), ("wang", True)])
@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("name", [name for name in GRAPHS if "larger" not in name])
def test_local_efficiency_equals_bctpys(name: str, kind: type, variant: str, theirs: str | bool) -> None:
    ours = local_efficiency(weights_as(name, kind), variant=variant)
    assert ours.dtype == kind
    close(ours, local_efficiency_of_bctpy(name, theirs), TOLERANCE[kind])


def test_wangs_local_efficiency_is_the_binary_one_without_weights() -> None:
    w = (GRAPHS["random"] > 0).astype(float)
    graph = nx.from_numpy_array(w)
    expected = [nx.global_efficiency(graph.subgraph(graph[v])) for v in graph]
    close(local_efficiency(w, variant="wang"), np.array(expected), 1e-10)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConnectomeError, match=r"variants 'rubinov' and 'wang', got 'latora'"):
        local_efficiency(GRAPHS["ring"], variant="latora")


@pytest.mark.parametrize("measure", [shortest_paths, global_efficiency, betweenness, edge_betweenness, local_efficiency])
def test_negative_weights_are_refused_by_name(measure: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ConnectomeError, match=rf"{measure.__name__} needs non-negative weights"):
        measure(-GRAPHS["ring"])


def test_weights_of_every_layout_give_the_same() -> None:
    w = np.stack([random_graph(12, 0.4, seed) for seed in range(5)])
    vectors = w[:, *edge_indices(12)]
    frozen = vectors.astype(np.float32)
    frozen.setflags(write=False)
    for measure in (global_efficiency, eccentricity, betweenness, local_efficiency, shortest_paths, edge_betweenness):
        one_by_one = np.stack([measure(one) for one in w])
        np.testing.assert_array_equal(measure(w), one_by_one)
        np.testing.assert_array_equal(measure(vectors, n_jobs=2), one_by_one)
        np.testing.assert_allclose(measure(frozen), one_by_one, rtol=1e-5)
        assert measure(frozen).dtype == np.float32


@pytest.mark.parametrize("name", ["corr_kki", "ucl_parkinson", "lemon"])
def test_real_connectomes(name: str, data_folder: Callable[[str], Path]) -> None:
    cohort = Cohort.load(data_folder(name))
    w = to_matrices(np.maximum(np.asarray(cohort.weights[0], float), 0))
    far = exact_paths(w)
    close(shortest_paths(w), far, 1e-10)
    close(shortest_paths(w.astype(np.float32)), far, 1e-5)
    graph, rows, columns = as_igraph(w)
    lengths = lengths_of(w)[rows, columns].tolist()
    close(betweenness(w), 2 * np.array(graph.betweenness(weights=lengths, directed=False)), 1e-10)
    regions = np.argsort(w.sum(0))[[0, len(w) // 2, -40]]
    for region in regions:
        near = np.flatnonzero(w[region])
        share = np.cbrt(w[region, near])
        far = exact_paths(w[np.ix_(near, near)])
        inverse = np.divide(1, far, out=np.zeros_like(far), where=far > 0)
        expected = share @ np.cbrt(inverse) @ share / (len(near) * (len(near) - 1)) if len(near) > 1 else 0
        close(local_efficiency(w)[region], np.array(expected), 1e-10)


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("n", [3, 17, 40, SIDE_BY_SIDE + 3])
def test_everybody_gets_what_they_get_alone(n: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lies beside them in a vector, and however few are left for the last one."""
    monkeypatch.setattr(cohorts, "WORTH_THREADS", 0)
    w = np.stack([random_graph(n, 0.05 + 0.05 * seed, seed) for seed in range(18 if n < 100 else 2)]).astype(kind)
    vectors = w[:, *edge_indices(n)]
    vectors.setflags(write=False)
    for measure in (shortest_paths, global_efficiency, eccentricity, betweenness, edge_betweenness, local_efficiency, clustering):
        alone = np.stack([measure(one) for one in w])
        np.testing.assert_array_equal(measure(vectors, n_jobs=2), alone)
        np.testing.assert_array_equal(measure(w), alone)


KINDS_OF_GRAPHS: dict[str, Callable[[int, int], np.ndarray]] = {
    "random": lambda n, seed: random_graph(n, 0.3, seed),
    "disconnected": lambda n, seed: random_graph(n, min(1.5 / n, 1), seed, spread=2.0),
    "tied": lambda n, seed: symmetric(np.random.default_rng(seed).integers(0, 4, (n, n)).astype(float)),
    "narrow range": lambda n, seed: symmetric(np.random.default_rng(seed).uniform(0.2, 0.6, (n, n))),
    "wide range": lambda n, seed: random_graph(n, 0.6, seed, spread=5.0),
}


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("which", KINDS_OF_GRAPHS)
def test_one_graph_and_graphs_side_by_side_agree_to_the_last_bit(which: str, kind: type) -> None:
    """A single graph goes through other code than a vector full of them, and must not show it."""
    for n in (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 30, 41, 84, SIDE_BY_SIDE):
        w = np.stack([KINDS_OF_GRAPHS[which](n, seed) for seed in range(16)]).astype(kind)
        assert people_side_by_side(16, n, w) == 16 and people_side_by_side(1, n, w) == 0
        for measure in (shortest_paths, betweenness, edge_betweenness):
            together = measure(w)
            for k in (0, 7, 15):
                np.testing.assert_array_equal(measure(w[k]), together[k], err_msg=f"{n} regions")
        together = path_measures(w)
        for k in (0, 7, 15):
            for name, one in path_measures(w[k])._asdict().items():
                np.testing.assert_array_equal(one, getattr(together, name)[k], err_msg=f"{name}, {n} regions")


def test_few_graphs_go_one_by_one() -> None:
    for kind, lanes in ((np.float64, 8), (np.float32, 16)):
        like = np.zeros(1, kind)
        assert [people_side_by_side(people, 84, like) for people in (0, 1, lanes // 2, lanes - 1)] == [0, 0, 0, lanes - 1]
        assert people_side_by_side(2 * lanes + 1, 84, like) == 2 * lanes
        assert people_side_by_side(lanes, SIDE_BY_SIDE + 1, like) == 0


def test_little_work_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("threads were started")

    monkeypatch.setattr(cohorts.joblib, "Parallel", refuse)
    w = np.stack([GRAPHS["random"]] * 20)
    for measure in (shortest_paths, path_measures, betweenness, local_efficiency, clustering):
        measure(w, n_jobs=2)
        measure(w[0], n_jobs=2)
    monkeypatch.setattr(cohorts, "WORTH_THREADS", 0)
    shortest_paths(w[0], n_jobs=2)
    with pytest.raises(AssertionError, match="threads were started"):
        shortest_paths(w, n_jobs=2)


def test_kernels_are_compiled_once_for_all_who_call_them() -> None:
    w = np.stack([GRAPHS["random"]] * 3)
    vectors = w[:, *edge_indices(40)]
    frozen = vectors.copy()
    frozen.setflags(write=False)
    shortest_paths(w)
    before = len(_shortest_paths.signatures)
    for same in (vectors, np.asfortranarray(vectors), frozen, w[0], w[::2], vectors.astype(int), np.broadcast_to(w[0], (2, 40, 40))):
        shortest_paths(same)
    assert len(_shortest_paths.signatures) == before


@pytest.mark.parametrize("kind", TOLERANCE)
def test_graphs_of_every_size_equal_scipys(kind: type) -> None:
    """Whole tiles and vectors, and all that can be left over."""
    for n in range(1, 37):
        w = random_graph(n, 0.5, seed=n).astype(kind)
        close(shortest_paths(w), exact_paths(w), TOLERANCE[kind])


def test_a_region_of_very_many_neighbours() -> None:
    w = random_graph(NEIGHBOURS + 12, 0.05, seed=14)
    w[0, 1:] = w[1:, 0] = np.random.default_rng(15).uniform(0.5, 2, len(w) - 1)
    with np.errstate(all="ignore"):
        expected = bct.efficiency_wei(w, local="original")
    close(local_efficiency(w), expected, 1e-10)
    close(local_efficiency(w.astype(np.float32)), expected, 1e-5)


@pytest.mark.parametrize("kind", TOLERANCE)
def test_one_over_the_weight_is_that_of_a_division(kind: type) -> None:
    most = np.finfo(kind).max
    w = np.concatenate(
        [np.exp(np.random.default_rng(0).uniform(-60, 60, 400)), [1, 3, 1 / most, most, np.finfo(kind).tiny, 0, -0.0]]
    ).astype(kind)
    pairs = np.zeros((len(w), 28), kind)  # eight regions, and each weight alone between two of them
    pairs[np.arange(len(w)), np.arange(len(w)) % 28] = w
    with np.errstate(divide="ignore", over="ignore"):
        expected = np.where(w > 0, 1 / w, np.inf)
    ours = shortest_paths(pairs)[np.arange(len(w)), *(index[np.arange(len(w)) % 28] for index in edge_indices(8))]
    np.testing.assert_allclose(ours, expected, rtol=np.finfo(kind).eps)


@st.composite
def graphs(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.05, 0.2, 0.5, 1.0]))
    kind = draw(st.sampled_from(["lognormal", "whole", "uniform", "ones"]))
    weights = {
        "lognormal": np.exp(draw(st.sampled_from([0.5, 2.0, 5.0])) * generator.normal(size=(n, n))),
        "whole": generator.integers(1, 9, (n, n)).astype(float),
        "uniform": generator.uniform(0.1, 1, (n, n)),
        "ones": np.ones((n, n)),
    }[kind]
    return symmetric(weights * (generator.random((n, n)) < density))


@given(graphs())
def test_any_graph_agrees_with_the_libraries(w: np.ndarray) -> None:
    close(shortest_paths(w), exact_paths(w), 1e-10)
    graph, rows, columns = as_igraph(w)
    lengths = lengths_of(w)[rows, columns].tolist()
    close(betweenness(w), 2 * np.array(graph.betweenness(weights=lengths or None, directed=False)), 1e-9)
    with np.errstate(all="ignore"):
        close(local_efficiency(w), bct.efficiency_wei(w, local="original"), 1e-10)


@given(graphs(), st.integers(0, 99), st.sampled_from([2.0, 0.3, 1e6]))
def test_relabelling_and_scaling(w: np.ndarray, seed: int, factor: float) -> None:
    order = np.random.default_rng(seed).permutation(len(w))
    moved = w[np.ix_(order, order)]
    close(shortest_paths(moved), shortest_paths(w)[np.ix_(order, order)], 1e-12)
    for measure in (eccentricity, betweenness, local_efficiency):
        close(measure(moved), measure(w)[order], 1e-12)
    close(global_efficiency(factor * w), factor * global_efficiency(w), 1e-12)
    close(characteristic_path_length(factor * w), characteristic_path_length(w) / factor, 1e-12)
    close(betweenness(factor * w), betweenness(w), 1e-12)
    close(local_efficiency(factor * w), factor * local_efficiency(w), 1e-12)


@given(graphs())
def test_hops_of_all_paths_are_counted_once(w: np.ndarray) -> None:
    """Where shortest paths are unique, each inner region of each path counts once."""
    w = w * np.exp(np.add.outer(np.arange(len(w)) * np.pi, np.arange(len(w)) * np.pi) % 1)
    far, lengths = shortest_paths(w), lengths_of(w)
    joined = np.isfinite(far) & (far > 0)
    along = edge_betweenness(w)
    np.testing.assert_allclose((along * lengths).sum() / 2, far[joined].sum() / 2, rtol=1e-9)
    np.testing.assert_allclose(along.sum() - joined.sum(), betweenness(w).sum(), rtol=1e-9, atol=1e-9)

"""Graph measures, time per graph: ours, bctpy, networkx, igraph, networkit and scipy in the same run, one thread each.

python benchmarks/topology.py [--regions 84 200 400] [--patience 60] [--cohort]

Graphs are log-normal random weights at density .3, a different one for each person. Every library gets its own graph object or matrix,
built beforehand. Ours is timed on a cohort of edge vectors, the compiled kernel alone (everything from weights to the measure) and the
public function, with checks and memory for its results; and on a single (R, R) matrix, the public function. The arithmetic floor is the
number of operations (below) over this machine's own rate in a matrix product, measured next to each kernel, as other work on the machine
slows both. ``--cohort`` adds the standard panel on 8,086 people with 200 regions.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import bct
import harness
import igraph
import networkx as nx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra, floyd_warshall
from threadpoolctl import threadpool_limits

from connectome_gnn import topology
from connectome_gnn.edges import to_vectors

try:
    import networkit
except ImportError:
    networkit = None

DENSITY = 0.3
PEOPLE = {84: 64, 200: 64, 400: 16}
COHORT = (8086, 200)
LIBRARIES = ("bctpy", "networkx", "igraph", "networkit", "scipy")

KERNELS: dict[str, tuple[str, Callable[[int], list[tuple[tuple[int, ...], type | None]]], tuple[Any, ...]]] = {
    "shortest paths": ("paths:_shortest_paths", lambda n: [((n, n), None)], ()),
    "path measures": ("paths:_path_measures", lambda n: [((), None)] * 4 + [((), np.int64), ((n,), None)], ()),
    "betweenness": ("betweenness:_node_betweenness", lambda n: [((n,), None)], ()),
    "edge betweenness": ("betweenness:_edge_betweenness", lambda n: [((n, n), None)], ()),
    "local efficiency": ("local_efficiency:_local_efficiency", lambda n: [((n,), None)], (False,)),
    "clustering": ("clustering:_clustering", lambda n: [((n,), None)], (False,)),
}
"""By measure: the kernel of whole cohorts, what it gives for a person (shape, type or None for the weights'), and further arguments."""

OPERATIONS = {
    "shortest paths": ("R^3: a sum and a comparison for every pair and region between", lambda w: len(w) ** 3),
    "path measures": ("R^3, as shortest paths", lambda w: len(w) ** 3),
    "betweenness": ("3 R^3: shortest paths; a sum and a comparison for every source, region and region before", lambda w: 3 * len(w) ** 3),
    "edge betweenness": ("3 R^3, as betweenness", lambda w: 3 * len(w) ** 3),
    "local efficiency": ("sum of k^3 over regions: shortest paths among k neighbours", lambda w: int(((w > 0).sum(0) ** 3).sum())),
    "clustering": ("R^3: half of a product of two matrices, which is symmetric", lambda w: len(w) ** 3),
}


def random_graph(n_regions: int, seed: int) -> np.ndarray:
    """Log-normal weights at density .3, (R, R)."""
    generator = np.random.default_rng(seed)
    upper = np.triu(np.exp(generator.normal(size=(n_regions, n_regions))) * (generator.random((n_regions, n_regions)) < DENSITY), 1)
    return upper + upper.T


def seconds(call: Callable[[], Any], *, at_least: float = 0.3, most: int = 200) -> float:
    """Least processor time of one call, over as many calls as fit into ``at_least`` seconds (one, if one takes longer)."""
    best, spent, calls = np.inf, 0.0, 0
    while spent < at_least and calls < most:
        start = time.process_time()
        call()
        took = time.process_time() - start
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best


def product_rate(kind: type) -> float:
    """Operations a second of an (800, 800) matrix product on one thread."""
    a = np.random.default_rng(0).random((800, 800)).astype(kind)
    out = np.empty_like(a)
    return 2 * 800**3 / seconds(lambda: np.dot(a, a, out=out), at_least=0.4)


def time_kernel(measure: str, cohort: np.ndarray, n_regions: int) -> float:
    """Seconds a person that our kernel takes on a cohort (N, E)."""
    where, shapes, rest = KERNELS[measure]
    module, name = where.split(":")
    kernel = getattr(importlib.import_module(f"connectome_gnn.topology.{module}"), name)
    results = [np.empty((len(cohort), *shape), dtype or cohort.dtype) for shape, dtype in shapes(n_regions)]
    once = partial(kernel, cohort, n_regions, *results, *rest)
    once()
    return seconds(once, at_least=0.6) / len(cohort)


def ours(weights: np.ndarray, partition: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Our functions on a cohort of edge vectors or on one matrix, by measure."""
    return {
        "shortest paths": lambda: topology.shortest_paths(weights, n_jobs=1),
        "path measures": lambda: topology.path_measures(weights, n_jobs=1),
        "betweenness": lambda: topology.betweenness(weights, n_jobs=1),
        "edge betweenness": lambda: topology.edge_betweenness(weights, n_jobs=1),
        "local efficiency": lambda: topology.local_efficiency(weights, n_jobs=1),
        "clustering": lambda: topology.clustering(weights, n_jobs=1),
        "Louvain": lambda: topology.louvain(weights, n_jobs=1),
        "participation": lambda: topology.participation(weights, partition, n_jobs=1),
        "rich club": lambda: topology.rich_club(weights, n_jobs=1),
        "assortativity": lambda: topology.assortativity(weights, n_jobs=1),
    }


def rivals(w: np.ndarray, partition: np.ndarray) -> dict[str, dict[str, Callable[[], Any]]]:
    """Other libraries' functions of the same definition, by measure and library."""
    n = len(w)
    rows, columns = np.nonzero(np.triu(w))
    length = 1 / w[rows, columns]
    lengths = np.divide(1, w, out=np.zeros_like(w), where=w > 0)
    absent = np.where(w > 0, lengths, np.inf)
    sparse = csr_array(lengths)
    graph = nx.from_numpy_array(w)
    for a, b, edge in graph.edges(data=True):
        edge["length"] = lengths[a, b]
    edges = list(zip(rows.tolist(), columns.tolist(), strict=True))
    ig = igraph.Graph(n=n, edges=edges)
    ig.es["weight"], ig.es["length"] = w[rows, columns].tolist(), length.tolist()
    strength = w.sum(0).tolist()
    found: dict[str, dict[str, Callable[[], Any]]] = {
        "shortest paths": {
            "bctpy": lambda: bct.distance_wei(lengths),
            "networkx": lambda: dict(nx.all_pairs_dijkstra_path_length(graph, weight="length")),
            "igraph": lambda: ig.distances(weights="length"),
            "scipy": lambda: floyd_warshall(absent, directed=False),
            "scipy, Dijkstra": lambda: dijkstra(sparse, directed=False),
        },
        "path measures": {"bctpy": lambda: bct.efficiency_wei(w)},
        "betweenness": {
            "bctpy": lambda: bct.betweenness_wei(lengths),
            "networkx": lambda: nx.betweenness_centrality(graph, normalized=False, weight="length"),
            "igraph": lambda: ig.betweenness(directed=False, weights="length"),
        },
        "edge betweenness": {
            "bctpy": lambda: bct.edge_betweenness_wei(lengths),
            "networkx": lambda: nx.edge_betweenness_centrality(graph, normalized=False, weight="length"),
            "igraph": lambda: ig.edge_betweenness(directed=False, weights="length"),
        },
        "local efficiency": {"bctpy": lambda: bct.efficiency_wei(w, local="original")},
        "clustering": {"bctpy": lambda: bct.clustering_coef_wu(w), "networkx": lambda: nx.clustering(graph, weight="weight")},
        "Louvain": {
            "bctpy": lambda: bct.community_louvain(w, seed=0),
            "networkx": lambda: nx.community.louvain_communities(graph, seed=0),
            "igraph": lambda: ig.community_multilevel(weights="weight"),
        },
        "participation": {"bctpy": lambda: bct.participation_coef(w, partition + 1)},
        "rich club": {"bctpy": lambda: bct.rich_club_wu(w)},
        "assortativity": {"bctpy": lambda: bct.assortativity_wei(w), "igraph": lambda: ig.assortativity(strength, directed=False)},
    }
    if networkit is not None:
        by_length, by_weight = networkit.Graph(n, weighted=True), networkit.Graph(n, weighted=True)
        for (a, b), one in zip(edges, length.tolist(), strict=True):
            by_length.addEdge(a, b, one)
            by_weight.addEdge(a, b, 1 / one)
        by_length.indexEdges()
        found["shortest paths"]["networkit"] = lambda: networkit.distance.APSP(by_length).run().getDistances(asarray=True)
        found["betweenness"]["networkit"] = lambda: networkit.centrality.Betweenness(by_length).run().scores()
        found["edge betweenness"]["networkit"] = lambda: (
            networkit.centrality.Betweenness(by_length, computeEdgeCentrality=True).run().edgeScores()
        )
        found["Louvain"]["networkit"] = lambda: networkit.community.PLM(by_weight, refine=False).run().getPartition()
    return found


def time_graphs(n_regions: int, patience: float, expected: dict[tuple[str, str], float]) -> dict[str, Any]:
    """Microseconds per graph by measure; a library expected to take more than ``patience`` seconds is left out."""
    graphs = [random_graph(n_regions, seed) for seed in range(PEOPLE.get(n_regions, 16))]
    w, cohort = graphs[0], np.ascontiguousarray(to_vectors(np.stack(graphs)))
    partition = np.arange(n_regions) % 7
    others, alone = rivals(w, partition), ours(w, partition)
    entries: dict[str, Any] = {}
    for measure, call in ours(cohort, partition).items():
        call()
        alone[measure]()
        entry: dict[str, Any] = {"ours": 1e6 * seconds(call, at_least=1.0) / len(graphs), "single": 1e6 * seconds(alone[measure])}
        entry["libraries"] = {}
        if measure in KERNELS:
            operations = float(np.mean([OPERATIONS[measure][1](one) for one in graphs]))
            for precision, kind in (("float64", np.float64), ("float32", np.float32)):
                before = product_rate(kind)
                took = time_kernel(measure, cohort.astype(kind), n_regions)
                rate = max(before, product_rate(kind))
                entry[f"kernel {precision}"], entry[f"floor {precision}"] = 1e6 * took, 1e6 * operations / rate
        for library, other in others[measure].items():
            if expected.get((measure, library), 0) > patience:
                entry["libraries"][library] = None
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                took = seconds(other)
            entry["libraries"][library] = 1e6 * took
            expected[(measure, library)] = took * 12
        entries[measure] = entry
        print(f"R = {n_regions}: {measure} done", file=sys.stderr, flush=True)
    return entries


def time_cohort(threads: int) -> dict[str, Any]:
    """Seconds of the standard panel on a cohort of UK Biobank's size, float32 edge vectors."""
    people, n_regions = COHORT
    generator = np.random.default_rng(0)
    n_edges = n_regions * (n_regions - 1) // 2
    weights = np.zeros((people, n_edges), np.float32)
    for row in weights:
        present = generator.random(n_edges, dtype=np.float32) < DENSITY
        row[present] = np.exp(generator.standard_normal(present.sum(), dtype=np.float32))
    topology.measure(weights[:4], n_jobs=1)  # compiles
    start, processor = time.perf_counter(), time.process_time()
    table = topology.measure(weights, n_jobs=threads)
    return {
        "people": people,
        "regions": n_regions,
        "threads": threads,
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - processor,
        "measures": list(table.values),
    }


def main() -> None:
    """Measure, write results/topology.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, nargs="+", default=(84, 200, 400))
    parser.add_argument("--patience", type=float, default=60, help="leave a library out where it is expected to take longer, in seconds")
    parser.add_argument("--cohort", action="store_true", help="add the standard panel on 8,086 people with 200 regions, 2 threads")
    options = parser.parse_args()
    if networkit is not None:
        networkit.setNumberOfThreads(1)
    threadpool_limits(1)
    rates = {"float64": product_rate(np.float64), "float32": product_rate(np.float32)}
    expected: dict[tuple[str, str], float] = {}
    record: dict[str, Any] = {
        "threads_of_each": 1,
        "density": DENSITY,
        "unit": "microseconds of processor time per graph, least of several",
        "people": {str(n): PEOPLE.get(n, 16) for n in options.regions},
        "product_rate": rates,
        "operations": {measure: what for measure, (what, _) in OPERATIONS.items()},
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "regions": {str(n): time_graphs(n, options.patience, expected) for n in options.regions},
    }
    harness.write("topology", record)
    if options.cohort:
        record["cohort"] = time_cohort(2)
        harness.write("topology", record)
    print(summary(record))


def version_of(name: str) -> str | None:
    """A library's version, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def summary(record: dict) -> str:
    """The tables in Markdown."""
    rates = record["product_rate"]
    used = ", ".join(f"{name} {version or '(not installed)'}" for name, version in record["libraries"].items())
    columns = ["scipy, Dijkstra" if name == "Dijkstra" else name for name in (*LIBRARIES, "Dijkstra")]
    lines = [
        f"Microseconds per graph, {record['threads_of_each']} thread each, log-normal weights, density {record['density']}, float64; "
        f"{used}. "
        f"*cohort*: the public function on a cohort's edge vectors, checks included; *kernel*: the compiled part of it, from weights to "
        f"measure; *one matrix*: the public function on a single (R, R) matrix, as the other libraries have it. "
        f"Floor: operations over the rate of a matrix product, measured next to each kernel ({rates['float64'] / 1e9:.0f} and, in "
        f"float32, {rates['float32'] / 1e9:.0f} GFLOP/s at the start).",
        "",
        "| measure | R | cohort | kernel | over its floor | kernel, float32 | one matrix | "
        + " | ".join(columns)
        + " | fastest other over cohort | over one matrix |",
        "|" + "---|" * (len(columns) + 9),
    ]
    measures = list(next(iter(record["regions"].values())))
    for measure in measures:
        for n, entries in record["regions"].items():
            entry = entries[measure]
            timed = {name: took for name, took in entry["libraries"].items() if took is not None}
            kernel = entry.get("kernel float64")
            cells = [
                measure,
                n,
                number(entry["ours"]),
                number(kernel),
                f"{kernel / entry['floor float64']:.1f}" if kernel else "",
                number(entry.get("kernel float32")),
                number(entry["single"]),
                *("left out" if name in entry["libraries"] and name not in timed else number(timed.get(name)) for name in columns),
                *(f"{min(timed.values()) / entry[which]:.1f}" if timed else "" for which in ("ours", "single")),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Operations: " + "; ".join(f"{measure}, {what}" for measure, what in record["operations"].items()) + "."]
    if "cohort" in record:
        entry = record["cohort"]
        lines += [
            "",
            f"Standard panel, {entry['people']:,} people x {entry['regions']} regions, {entry['threads']} threads: "
            f"{entry['seconds']:.0f} s ({entry['processor_seconds']:.0f} s of processor time).",
        ]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Microseconds to three figures."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()

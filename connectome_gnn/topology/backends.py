"""Other people's libraries in place of ours: for a user who checks our numbers against what they trust.

Each of bctpy, networkx and igraph is offered for the measures that it defines as we do, or up to a factor that is stated here:

- networkx ``clustering`` divides by the largest weight: taken back; its ``betweenness`` counts each pair once: doubled, as igraph's;
- networkx and igraph give distances; path length, eccentricity, radius, diameter and efficiency are read off them here, pairs without
  a path left out (efficiency: counted 0), since on disconnected graphs each library has its own rule, or none;
- igraph's eigenvector centrality, largest value 1, is brought to unit norm;
- networkx's rich club goes on below the least degree, where it is the density: left out.

On graphs where a library's own algorithm is ambiguous or fails (an eigenvector shared by components, say) its answer is passed on as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices, to_lengths, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import Graphs, map_graphs
from connectome_gnn.topology.registry import Measure

__all__ = ["BACKENDS", "compute", "offered"]

Call = Callable[[Any, NDArray, NDArray], Any]
"""The library, one person's weights (R, R) float64 and modules (R,) counted from 1, to a number or an array."""

DAMPING = 0.85


def offered(backend: str, chosen: Iterable[Measure], notes: list[str], *, explicit: bool) -> tuple[Measure, ...]:
    """The chosen measures that a backend offers; others are an error where they were asked for, otherwise a note.

    Raises
    ------
    ConnectomeError
        If the backend is unknown or not installed, or does not define a measure that was asked for.
    """
    if backend not in BACKENDS:
        raise ConnectomeError(f"no backend {backend!r}; there are {', '.join(map(repr, BACKENDS))}, or None for ours")
    if find_spec(_MODULES[backend]) is None:
        raise ConnectomeError(f"backend={backend!r} needs {backend}; install it with: pip install 'connectome-gnn[reference]'")
    chosen = tuple(chosen)
    missing = [one.name for one in chosen if one.name not in BACKENDS[backend]]
    if missing:
        sentence = f"{backend} does not define {', '.join(missing)} as we do"
        if explicit:
            raise ConnectomeError(f"{sentence}; it offers {', '.join(BACKENDS[backend])}")
        notes.append(f"left out: {sentence}")
    return tuple(one for one in chosen if one.name in BACKENDS[backend])


def compute(backend: str, one: Measure, graphs: Graphs, given: Mapping[str, Any]) -> NDArray:
    """A measure by another library, one graph at a time, its warnings kept quiet; float32 weights are given to it as float64."""
    if "lengths" in one.needs and given["lengths"] is not None:
        graphs = given["lengths"]
    modules = given["partition"] + 1 if "partition" in one.needs else np.ones((graphs.n, graphs.n_regions), np.int64)
    library, call = import_module(_MODULES[backend]), BACKENDS[backend][one.name]

    def kernel(matrix: NDArray, module: NDArray) -> NDArray:
        value = np.asarray(call(library, matrix.astype(np.float64), module))
        return to_vectors(value) if one.level == "edge" else value

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result: NDArray = map_graphs(graphs, kernel, each=(modules,), n_jobs=1)
    return result


def _lengths_of(w: NDArray) -> NDArray:
    """1 / w where there is an edge, 0 elsewhere: bctpy's form."""
    lengths = to_lengths(w)
    lengths[np.isinf(lengths)] = 0
    return lengths


def _read(distances: NDArray, what: str) -> Any:
    """A measure of paths from distances (R, R), infinite where there is no path."""
    n = len(distances)
    apart = ~np.eye(n, dtype=bool)
    reached = apart & np.isfinite(distances)
    if what == "shortest_path_length":
        return distances
    if what == "disconnected":
        return int((apart & ~reached).sum()) // 2
    if what == "global_efficiency":
        return (1 / distances[reached]).sum() / (n * (n - 1)) if n > 1 else 0.0
    if what == "characteristic_path_length":
        return distances[reached].mean() if reached.any() else np.nan
    farthest = np.where(reached.any(1), np.where(reached, distances, 0).max(1), np.nan)
    if what == "eccentricity" or np.isnan(farthest).all():
        return farthest if what == "eccentricity" else np.nan
    return np.nanmin(farthest) if what == "radius" else np.nanmax(farthest)


PATHS = (
    "shortest_path_length",
    "characteristic_path_length",
    "disconnected",
    "eccentricity",
    "radius",
    "diameter",
    "global_efficiency",
)


def _paths(distances: Callable[[Any, NDArray], NDArray]) -> dict[str, Call]:
    return {what: lambda lib, w, c, what=what: _read(distances(lib, w), what) for what in PATHS}  # type: ignore[misc]


def _symmetric(n: int, values: Mapping[tuple[int, int], float]) -> NDArray:
    matrix = np.zeros((n, n))
    for (i, j), value in values.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def _by_node(values: Mapping[int, float]) -> NDArray:
    return np.array([values[node] for node in range(len(values))])


# --- networkx --------------------------------------------------------------------------------------------------------


def _networkx(nx: Any, w: NDArray) -> Any:
    graph = nx.from_numpy_array(w)
    for _, _, edge in graph.edges(data=True):
        edge["length"] = 1 / edge["weight"]
    return graph


def _networkx_distances(nx: Any, w: NDArray) -> NDArray:
    distances = np.full(w.shape, np.inf)
    for source, lengths in nx.all_pairs_dijkstra_path_length(_networkx(nx, w), weight="length"):
        for target, length in lengths.items():
            distances[source, target] = length
    return distances


def _networkx_modularity(nx: Any, w: NDArray, c: NDArray) -> float:
    if not w.any():
        return np.nan
    value: float = nx.community.modularity(_networkx(nx, w), [set(np.flatnonzero(c == label)) for label in np.unique(c)])
    return value


def _networkx_rich_club(nx: Any, w: NDArray, c: NDArray) -> NDArray:
    least = (w > 0).sum(0).min()
    values = nx.rich_club_coefficient(_networkx(nx, w), normalized=False) if w.any() else {}
    return np.array([values.get(k, np.nan) if k >= least else np.nan for k in range(len(w) - 1)])


# --- igraph ----------------------------------------------------------------------------------------------------------


def _igraph(ig: Any, w: NDArray) -> Any:
    rows, columns = edge_indices(len(w))
    present = w[rows, columns] != 0
    graph = ig.Graph(len(w), list(zip(rows[present].tolist(), columns[present].tolist(), strict=True)))
    graph.es["weight"] = w[rows, columns][present]
    graph.es["length"] = 1 / w[rows, columns][present]
    return graph


def _igraph_edges(ig: Any, w: NDArray) -> NDArray:
    graph = _igraph(ig, w)
    values = graph.edge_betweenness(directed=False, weights="length")
    return _symmetric(len(w), {edge.tuple: value for edge, value in zip(graph.es, values, strict=True)})


def _igraph_eigenvector(ig: Any, w: NDArray) -> NDArray:
    values = np.array(_igraph(ig, w).eigenvector_centrality(weights="weight"))
    return values / np.linalg.norm(values)


_MODULES = {"bctpy": "bct", "networkx": "networkx", "igraph": "igraph"}

BACKENDS: dict[str, dict[str, Call]] = {
    "bctpy": {
        "degree": lambda bct, w, c: bct.degrees_und(w),
        "strength": lambda bct, w, c: bct.strengths_und(w),
        "strength_positive": lambda bct, w, c: bct.strengths_und_sign(w)[0],
        "strength_negative": lambda bct, w, c: bct.strengths_und_sign(w)[1],
        "density": lambda bct, w, c: bct.density_und(w)[0],
        "clustering": lambda bct, w, c: bct.clustering_coef_wu(w),
        "transitivity": lambda bct, w, c: bct.transitivity_wu(w),
        **_paths(lambda bct, w: bct.distance_wei(_lengths_of(w))[0]),
        "global_efficiency": lambda bct, w, c: bct.efficiency_wei(w),
        "local_efficiency": lambda bct, w, c: bct.efficiency_wei(w, local="original"),
        "local_efficiency_wang": lambda bct, w, c: bct.efficiency_wei(w, local=True),
        "betweenness": lambda bct, w, c: bct.betweenness_wei(_lengths_of(w)),
        "edge_betweenness": lambda bct, w, c: bct.edge_betweenness_wei(_lengths_of(w))[0],
        "modularity": lambda bct, w, c: bct.modularity_und_sign(w, c)[1],
        "participation": lambda bct, w, c: bct.participation_coef(w, c),
        "participation_positive": lambda bct, w, c: bct.participation_coef_sign(w, c)[0],
        "participation_negative": lambda bct, w, c: bct.participation_coef_sign(w, c)[1],
        "within_module_z": lambda bct, w, c: bct.module_degree_zscore(w, c),
        "assortativity": lambda bct, w, c: bct.assortativity_wei(w),
        "degree_assortativity": lambda bct, w, c: bct.assortativity_bin((w > 0).astype(float)),
        "eigenvector_centrality": lambda bct, w, c: bct.eigenvector_centrality_und(w),
        "pagerank": lambda bct, w, c: bct.pagerank_centrality(w, DAMPING),
        "diffusion_efficiency": lambda bct, w, c: bct.diffusion_efficiency(w)[0],
        "rich_club": lambda bct, w, c: bct.rich_club_wu(w, len(w) - 1) if w.any() else np.full(len(w) - 1, np.nan),
        "k_core": lambda bct, w, c: bct.kcoreness_centrality_bu((w > 0).astype(float))[0],
        "matching_index": lambda bct, w, c: bct.matching_ind((w > 0).astype(float))[0],
    },
    "networkx": {
        "degree": lambda nx, w, c: _by_node(dict(_networkx(nx, w).degree())),
        "strength": lambda nx, w, c: _by_node(dict(_networkx(nx, w).degree(weight="weight"))),
        "density": lambda nx, w, c: nx.density(_networkx(nx, w)),
        "clustering": lambda nx, w, c: _by_node(nx.clustering(_networkx(nx, w), weight="weight")) * w.max(),
        **_paths(_networkx_distances),
        "betweenness": lambda nx, w, c: 2 * _by_node(nx.betweenness_centrality(_networkx(nx, w), normalized=False, weight="length")),
        "edge_betweenness": lambda nx, w, c: _symmetric(
            len(w), nx.edge_betweenness_centrality(_networkx(nx, w), normalized=False, weight="length")
        ),
        "modularity": _networkx_modularity,
        "assortativity": lambda nx, w, c: nx.degree_pearson_correlation_coefficient(_networkx(nx, w), weight="weight"),
        "degree_assortativity": lambda nx, w, c: nx.degree_pearson_correlation_coefficient(_networkx(nx, w)),
        "eigenvector_centrality": lambda nx, w, c: np.abs(_by_node(nx.eigenvector_centrality_numpy(_networkx(nx, w), weight="weight"))),
        "pagerank": lambda nx, w, c: _by_node(nx.pagerank(_networkx(nx, w), DAMPING, tol=1e-14, max_iter=10_000)),
        "rich_club_binary": _networkx_rich_club,
        "k_core": lambda nx, w, c: _by_node(nx.core_number(_networkx(nx, w))),
        "spectral_gap": lambda nx, w, c: np.sort(nx.normalized_laplacian_spectrum(_networkx(nx, w)))[1],
        "algebraic_connectivity": lambda nx, w, c: np.sort(nx.laplacian_spectrum(_networkx(nx, w)))[1],
    },
    "igraph": {
        "degree": lambda ig, w, c: _igraph(ig, w).degree(),
        "strength": lambda ig, w, c: _igraph(ig, w).strength(weights="weight"),
        "density": lambda ig, w, c: _igraph(ig, w).density(),
        **_paths(lambda ig, w: np.array(_igraph(ig, w).distances(weights="length"))),
        "betweenness": lambda ig, w, c: 2 * np.array(_igraph(ig, w).betweenness(directed=False, weights="length")),
        "edge_betweenness": lambda ig, w, c: _igraph_edges(ig, w),
        "modularity": lambda ig, w, c: _igraph(ig, w).modularity((c - 1).tolist(), weights="weight"),
        "assortativity": lambda ig, w, c: _igraph(ig, w).assortativity(w.sum(0).tolist(), directed=False),
        "degree_assortativity": lambda ig, w, c: _igraph(ig, w).assortativity_degree(directed=False),
        "eigenvector_centrality": lambda ig, w, c: _igraph_eigenvector(ig, w),
        "pagerank": lambda ig, w, c: _igraph(ig, w).pagerank(damping=DAMPING, weights="weight"),
        "k_core": lambda ig, w, c: _igraph(ig, w).coreness(),
    },
}
"""By library, the measures it defines as we do."""

"""The same measures on a torch device, everybody of a batch at once: what a GPU is for. The numbers are those of the numba kernels.

All take a batch w (B, R, R) of symmetric, non-negative float32 or float64 matrices with zero diagonals and give (B,), (B, R) or (B, E).
Spectra are computed in float64: single precision cannot tell close eigenvalues apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.slices import slices
from connectome_gnn.topology.arrays import Graphs

__all__ = ["TORCH_MEASURES", "as_device", "measure_dense"]

NUMBERS_AT_ONCE = 1 << 28
"""Numbers of one (B, R, R) intermediate held on the device: 1 GiB of float32."""

SAME_EIGENVALUE = 1e-10


def as_device(device: Any) -> torch.device:
    """A torch device that is there.

    Raises
    ------
    ConnectomeError
        If there is no such device on this machine.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, TypeError, AssertionError) as error:
        known = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        raise ConnectomeError(f"torch has no device {str(device)!r} here ({', '.join(known)} will do)") from error
    return found


def measure_dense(graphs: Graphs, names: Sequence[str], given: Mapping[str, Any], device: torch.device) -> dict[str, NDArray]:
    """Measures of graphs on a device, a batch at a time.

    Parameters
    ----------
    graphs : N graphs.
    names : of :data:`TORCH_MEASURES`.
    given : ``partition`` (N, R) and ``lengths`` (graphs whose weights are one over the lengths, or None), where measures need them.
    device : where to compute.

    Returns
    -------
    values : by name, (N,), (N, R) or (N, E), in the graphs' precision; degree as int64.
    """
    size = max(NUMBERS_AT_ONCE // graphs.n_regions**2, 1)
    batches = [_batch(graphs.take(rows), names, _rows(given, rows), device) for rows in slices(graphs.n, size)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _rows(given: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    lengths, partition = given.get("lengths"), given.get("partition")
    return {"lengths": None if lengths is None else lengths.take(rows), "partition": None if partition is None else partition[rows]}


def _batch(graphs: Graphs, names: Sequence[str], given: Mapping[str, Any], device: torch.device) -> dict[str, NDArray]:
    w = _tensor(graphs, device)
    distances: Tensor | None = None
    values: dict[str, NDArray] = {}
    for name in names:
        if name in OF_PATHS:
            if distances is None:
                distances = shortest_paths(w if given["lengths"] is None else _tensor(given["lengths"], device))
            value = OF_PATHS[name](distances)
        elif name in OF_MODULES:
            value = OF_MODULES[name](w, torch.as_tensor(given["partition"], device=device))
        else:
            value = OF_WEIGHTS[name](w)
        array = value.cpu().numpy()
        values[name] = array.astype(graphs.dtype) if array.dtype.kind == "f" else array
    return values


def _tensor(graphs: Graphs, device: torch.device) -> Tensor:
    return torch.as_tensor(np.stack([graphs.matrix(k) for k in range(graphs.n)]), device=device)


def _ratio(above: Tensor, below: Tensor, otherwise: float) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), otherwise)


def _edges(matrices: Tensor) -> Tensor:
    rows, columns = (torch.as_tensor(one.copy(), device=matrices.device) for one in edge_indices(matrices.shape[-1]))
    return matrices[:, rows, columns]


# --- weights ---------------------------------------------------------------------------------------------------------


def degree(w: Tensor) -> Tensor:
    """Number of edges, (B, R) int64."""
    return (w != 0).sum(-1)


def density(w: Tensor) -> Tensor:
    """Share of possible edges that are present, (B,)."""
    n = w.shape[-1]
    present = (w != 0).sum((-1, -2)).to(w.dtype)
    return present / (n * (n - 1)) if n > 1 else torch.full_like(present, torch.nan)


def clustering(w: Tensor) -> Tensor:
    """Onnela's clustering coefficient, (B, R)."""
    around, possible = _triangles(w)
    return _ratio(around, possible, 0.0)


def transitivity(w: Tensor) -> Tensor:
    """Weighted transitivity, (B,)."""
    around, possible = _triangles(w)
    return _ratio(around.sum(-1), possible.sum(-1), 0.0)


def _triangles(w: Tensor) -> tuple[Tensor, Tensor]:
    root = w.pow(1 / 3)
    k = (w > 0).sum(-1).to(w.dtype)
    return ((root @ root) * root).sum(-1), k * (k - 1)


def assortativity(w: Tensor) -> Tensor:
    """Correlation of strength between the ends of edges, (B,)."""
    s = w.double().sum(-1)
    present = (w > 0).double()
    ends = present.sum((-1, -2))
    k = present.sum(-1)
    centred = s - _ratio((s * k).sum(-1), ends, 0.0)[:, None]
    variance = (k * centred**2).sum(-1)
    covariance = (centred[:, None] @ present @ centred[..., None])[:, 0, 0]
    return torch.where(variance > 1e-14 * (k * s**2).sum(-1), _ratio(covariance, variance, torch.nan), torch.nan)


def participation(w: Tensor, modules: Tensor) -> Tensor:
    """Participation coefficient, (B, R), for modules (B, R) counted from 0."""
    one_hot = torch.nn.functional.one_hot(modules).double()
    strengths = w.double().sum(-1)
    share = w.double() @ one_hot / torch.where(strengths > 0, strengths, 1)[..., None]
    return torch.where(strengths > 0, 1 - (share**2).sum(-1), 0.0)


# --- paths -----------------------------------------------------------------------------------------------------------


def shortest_paths(w: Tensor) -> Tensor:
    """Shortest path lengths on 1 / w, (..., R, R): Floyd and Warshall, one pivot after the other, for all graphs together."""
    distances = torch.where(w > 0, 1 / torch.where(w > 0, w, 1), torch.inf)
    distances.diagonal(dim1=-2, dim2=-1).zero_()
    return _relax(distances)


def _relax(distances: Tensor) -> Tensor:
    through = torch.empty_like(distances)
    for k in range(distances.shape[-1]):
        torch.add(distances[..., :, k, None], distances[..., None, k, :], out=through)
        torch.minimum(distances, through, out=distances)
    return distances


def _reached(distances: Tensor) -> Tensor:
    return torch.isfinite(distances) & ~torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device)


def characteristic_path_length(distances: Tensor) -> Tensor:
    """Mean over pairs that a path joins, (B,)."""
    reached = _reached(distances)
    total = torch.where(reached, distances, 0).sum((-1, -2), dtype=torch.float64)
    return _ratio(total, reached.sum((-1, -2)).double(), torch.nan)


def global_efficiency(distances: Tensor) -> Tensor:
    """Mean of 1 / distance over pairs, (B,)."""
    n = distances.shape[-1]
    reached = _reached(distances)
    inverse = torch.where(reached, 1 / torch.where(reached, distances, 1), 0)
    return inverse.sum((-1, -2), dtype=torch.float64) / max(n * (n - 1), 1)


def disconnected(distances: Tensor) -> Tensor:
    """Number of pairs that no path joins, (B,) int64."""
    return torch.isinf(distances).sum((-1, -2)) // 2


def eccentricity(distances: Tensor) -> Tensor:
    """Longest of the shortest paths from each region, (B, R); NaN for a region without any."""
    reached = _reached(distances)
    return torch.where(reached.any(-1), torch.where(reached, distances, 0).amax(-1), torch.nan)


def radius(distances: Tensor) -> Tensor:
    """Least eccentricity, (B,)."""
    farthest = eccentricity(distances)
    least = torch.where(farthest.isnan(), torch.inf, farthest).amin(-1)
    return torch.where(torch.isfinite(least), least, torch.nan)


def diameter(distances: Tensor) -> Tensor:
    """Greatest eccentricity, (B,)."""
    farthest = eccentricity(distances)
    most = torch.where(farthest.isnan(), -torch.inf, farthest).amax(-1)
    return torch.where(torch.isfinite(most), most, torch.nan)


def local_efficiency(w: Tensor) -> Tensor:
    """Local efficiency of Rubinov & Sporns, (B, R): paths among a region's neighbours only, all regions' neighbourhoods together."""
    return torch.stack([_local_efficiency(one) for one in w])


def _local_efficiency(w: Tensor) -> Tensor:
    n = w.shape[-1]
    lengths = torch.where(w > 0, 1 / torch.where(w > 0, w, 1), torch.inf)
    root = w.pow(1 / 3)
    k = (w > 0).sum(-1).double()
    sums = torch.empty(n, dtype=torch.float64, device=w.device)
    size = max(NUMBERS_AT_ONCE // (4 * n * n), 1)
    for start in range(0, n, size):
        inside = w[start : start + size] > 0  # (b, R): the neighbours of each of these regions
        both = inside[:, :, None] & inside[:, None, :]
        distances = torch.where(both, lengths, torch.inf)
        distances.diagonal(dim1=-2, dim2=-1).zero_()
        _relax(distances)
        reached = both & _reached(distances)
        inverse = torch.where(reached, torch.where(reached, distances, 1).pow(-1 / 3), 0)
        edge = root[start : start + size]
        sums[start : start + size] = (edge[:, :, None] * edge[:, None, :] * inverse).sum((-1, -2), dtype=torch.float64)
    return _ratio(sums, k * (k - 1), 0.0)


# --- spectra ---------------------------------------------------------------------------------------------------------


def communicability(w: Tensor) -> Tensor:
    """Communicability of the weights divided by the root of both strengths, (B, E)."""
    return _edges(torch.linalg.matrix_exp(_by_strength(w)))


def _by_strength(w: Tensor) -> Tensor:
    w = w.double()
    s = w.sum(-1)
    inverse = torch.where(s > 0, s, 1).rsqrt()
    return w * inverse[:, :, None] * inverse[:, None, :]


def eigenvector_centrality(w: Tensor) -> Tensor:
    """Leading eigenvector, (B, R), nearest to equal values where components share the eigenvalue."""
    values, vectors = torch.linalg.eigh(w.double())
    top = values[:, -1:]
    leading = values >= top - SAME_EIGENVALUE * top.abs()
    along = torch.where(leading, vectors.sum(-2), 0)
    centrality = (vectors @ along[..., None])[..., 0].abs()
    return centrality / torch.linalg.norm(centrality, dim=-1, keepdim=True)


def spectral_gap(w: Tensor) -> Tensor:
    """Second smallest eigenvalue of the normalised Laplacian, (B,)."""
    n = w.shape[-1]
    if n == 1:
        return torch.full_like(w[:, 0, 0], torch.nan)
    adjacency = _by_strength(w)
    adjacency.diagonal(dim1=-2, dim2=-1).add_((w.sum(-1) == 0).double())  # an isolated region is a component: eigenvalue 1
    gap = 1 - torch.linalg.eigvalsh(adjacency)[:, -2]
    return torch.where(gap > 1e-12, gap, 0)


OF_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "degree": degree,
    "strength": lambda w: w.sum(-1),
    "density": density,
    "clustering": clustering,
    "transitivity": transitivity,
    "local_efficiency": local_efficiency,
    "assortativity": assortativity,
    "communicability": communicability,
    "eigenvector_centrality": eigenvector_centrality,
    "spectral_gap": spectral_gap,
}
OF_PATHS: dict[str, Callable[[Tensor], Tensor]] = {
    "shortest_path_length": _edges,
    "characteristic_path_length": characteristic_path_length,
    "global_efficiency": global_efficiency,
    "disconnected": disconnected,
    "eccentricity": eccentricity,
    "radius": radius,
    "diameter": diameter,
}
OF_MODULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"participation": participation}

TORCH_MEASURES = frozenset({*OF_WEIGHTS, *OF_PATHS, *OF_MODULES})
"""Measures that have a torch form."""

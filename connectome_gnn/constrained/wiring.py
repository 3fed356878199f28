"""Where a constraint comes from: structure, function, distance or modules, of a cohort, an array or a saved prior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology import louvain

__all__ = ["Wiring", "functional", "local_to_long_range", "modular", "read_prior", "spatial", "structural"]

ASYMMETRY = 1e-5
"""Relative difference between w_ij and w_ji that rounding may leave."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Connections between regions, and how long they are: what a layer can be constrained to.

    Parameters
    ----------
    connectivity : (R, R) float64, rows receiving; 0 where there is no connection.
    distances : (R, R) mm between regions, NaN where unknown; None where unknown throughout.
    labels : names of the regions, in order; empty where unknown.
    name : where it comes from, for reports.
    """

    connectivity: NDArray[np.float64]
    distances: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    name: str = "connectome"

    def __post_init__(self) -> None:
        connectivity = np.array(self.connectivity, dtype=np.float64)
        if connectivity.ndim != 2 or connectivity.shape[0] != connectivity.shape[1]:
            raise ConnectomeError(f"a wiring needs a square connectivity (regions, regions), got shape {connectivity.shape}")
        if len(connectivity) < 2:
            raise ConnectomeError(f"a wiring connects two regions or more, got a connectivity of shape {connectivity.shape}")
        if not np.isfinite(connectivity).all():
            raise ConnectomeError(f"the connectivity of {self.name} must be finite, it holds NaN or infinity; set absent connections to 0")
        object.__setattr__(self, "connectivity", connectivity)
        if self.distances is not None:
            distances = np.array(self.distances, dtype=np.float64)
            if distances.shape != connectivity.shape:
                raise ConnectomeError(f"distances must be {connectivity.shape}, as the connectivity, got shape {distances.shape}")
            object.__setattr__(self, "distances", distances)
        if self.labels and len(self.labels) != len(connectivity):
            raise ConnectomeError(f"expected a label for each of {len(connectivity)} regions, got {len(self.labels)}")

    @property
    def n_regions(self) -> int:
        """Number of regions R."""
        return len(self.connectivity)

    @property
    def density(self) -> float:
        """Share of ordered pairs of different regions that are connected."""
        off = ~np.eye(self.n_regions, dtype=bool)
        return float((self.connectivity[off] != 0).mean())

    def __repr__(self) -> str:
        known = "with distances" if self.distances is not None else "without distances"
        return f"Wiring({self.name!r}, {self.n_regions} regions, density {self.density:.3f}, {known})"


def structural(source: Any, *, density: float | None = None, threshold: float = 0.5) -> Wiring:
    """Structural connectivity: a cohort's backbone, or a matrix.

    Parameters
    ----------
    source : a :class:`~connectome_gnn.Cohort` of non-negative weights (the edges that at least ``threshold`` of people have, with their
        mean weight on the modelling scale, which counts of very different size can share); a Wiring; an (R, R) array; or the path of a
        prior.
    density : keep only the strongest connections, by absolute weight, up to this share of all pairs.
    threshold : see :meth:`connectome_gnn.Cohort.backbone`.

    Raises
    ------
    ConnectomeError
        If the source is none of those, a matrix is not symmetric, or a share is no share.
    """
    if isinstance(source, Cohort):
        if source.signed:
            raise ConnectomeError(f"cohort {source.name!r} holds correlations, which are functional connectivity; use functional(cohort)")
        kept = source.backbone(threshold)
        return _strongest(_of_cohort(source, _mean_modelled(source) * to_vectors(kept), "structural"), density)
    return _strongest(_as_wiring(source), density)


def functional(source: Any, *, density: float = 0.1) -> Wiring:
    """Functional connectivity thresholded by density: the strongest correlations, of either sign, with their signs.

    Parameters
    ----------
    source : a cohort of correlations (their mean over people by way of Fisher z), a Wiring, an (R, R) array or the path of a prior.
    density : share of all pairs that is kept.

    Raises
    ------
    ConnectomeError
        As :func:`structural`; if the cohort holds no correlations.
    """
    if isinstance(source, Cohort):
        if not source.signed:
            raise ConnectomeError(f"cohort {source.name!r} holds {source.measure}, not correlations; use structural(cohort)")
        return _strongest(_of_cohort(source, np.tanh(_mean_modelled(source)), "functional"), density)
    return _strongest(_as_wiring(source), density)


def spatial(
    source: Any = None, *, coordinates: ArrayLike | None = None, distances: ArrayLike | None = None, density: float = 0.1
) -> Wiring:
    """Wiring by distance alone: the nearest pairs of regions are connected, each with weight 1.

    Parameters
    ----------
    source : a Cohort, an Atlas or a Wiring that knows where its regions lie; or None with ``coordinates`` (R, 3) or ``distances`` (R, R),
        mm.
    density : share of all pairs that is connected; pairs of unknown distance never are.

    Raises
    ------
    ConnectomeError
        If no distance is known.
    """
    labels: tuple[str, ...] = ()
    if isinstance(source, (Cohort, Atlas)):
        atlas = source.atlas if isinstance(source, Cohort) else source
        between, labels = atlas.distances(), atlas.labels
    elif isinstance(source, Wiring):
        between, labels = (np.empty((0, 0)) if source.distances is None else source.distances), source.labels
    elif coordinates is not None:
        xyz = np.asarray(coordinates, dtype=np.float64)
        if xyz.ndim != 2:
            raise ConnectomeError(f"coordinates must be (regions, 3) in mm, got shape {xyz.shape}")
        between = np.sqrt(((xyz[:, None] - xyz[None]) ** 2).sum(-1))
    elif distances is not None:
        between = np.asarray(distances, dtype=np.float64)
    else:
        raise ConnectomeError("wiring by distance needs a cohort, an atlas or a wiring with coordinates, or coordinates= or distances=")
    if between.ndim != 2 or between.shape[0] != between.shape[1] or not np.isfinite(to_vectors(between)).any():
        raise ConnectomeError("wiring by distance needs regions' coordinates or distances, (regions, regions) in mm, and none is known")
    near = -np.where(np.isfinite(to_vectors(between)), to_vectors(between), np.inf)
    kept = _largest(near, density, np.isfinite(near))
    return Wiring(to_matrices(kept.astype(np.float64)), between, labels, "distance")


def modular(
    source: Any, *, communities: ArrayLike | None = None, between: float = 0.0, gamma: float = 1.0, n_runs: int = 10, seed: int = 0
) -> Wiring:
    """Modular wiring: a connectome's connections inside communities, and some of those between them.

    Parameters
    ----------
    source : as :func:`structural`, or a cohort of correlations.
    communities : (R,) label of every region, such as ``cohort.atlas.network``; default those that Louvain finds in the source.
    between : share of the connections between communities that is kept, the strongest ones.
    gamma, n_runs, seed : of :func:`connectome_gnn.topology.louvain`.

    Raises
    ------
    ConnectomeError
        As :func:`structural`; if there is not a label a region or a share is no share.
    """
    wiring = functional(source, density=1.0) if isinstance(source, Cohort) and source.signed else structural(source)
    if communities is None:
        labels = louvain(wiring.connectivity, gamma=gamma, n_runs=n_runs, seed=seed).labels
    else:
        labels = np.asarray(communities)
        if labels.shape != (wiring.n_regions,):
            raise ConnectomeError(f"expected a community for each of {wiring.n_regions} regions, got shape {labels.shape}")
    weights = to_vectors(wiring.connectivity)
    rows, columns = edge_indices(wiring.n_regions)
    inside = (labels[rows] == labels[columns]) & (weights != 0)
    across = (labels[rows] != labels[columns]) & (weights != 0)
    kept = inside | _largest(np.abs(weights), between, across, of=int(across.sum()))
    return replace(wiring, connectivity=to_matrices(np.where(kept, weights, 0)), name=f"modules of {wiring.name}")


def local_to_long_range(wiring: Wiring, n_layers: int, *, cumulative: bool = True) -> list[Wiring]:
    """Wirings of successive layers, from early local ones to late long-range ones.

    Parameters
    ----------
    wiring : with distances. Its connections are put in order of length and cut into ``n_layers`` bands of equal number.
    n_layers : layers.
    cumulative : layer k has the k shortest bands, so that the last has every connection; otherwise the k-th band alone, which leaves
        regions without connections sooner.

    Raises
    ------
    ConnectomeError
        If distances are missing, or there are fewer connections than layers.
    """
    weights = to_vectors(wiring.connectivity)
    present = np.flatnonzero(weights)
    if not 1 <= n_layers <= max(len(present), 1):
        raise ConnectomeError(f"{len(present)} connections cannot be cut into {n_layers} bands; give 1 to {len(present)} layers")
    if wiring.distances is None or not np.isfinite(to_vectors(wiring.distances)[present]).all():
        raise ConnectomeError(f"local_to_long_range needs the distance of every connection of {wiring.name}, in mm; some are missing")
    order = present[np.argsort(to_vectors(wiring.distances)[present], kind="stable")]
    layers = []
    for k, band in enumerate(np.array_split(order, n_layers)):
        kept = np.zeros(len(weights))
        places = order[: sum(map(len, np.array_split(order, n_layers)[: k + 1]))] if cumulative else band
        kept[places] = weights[places]
        layers.append(replace(wiring, connectivity=to_matrices(kept), name=f"{wiring.name}, range {k + 1} of {n_layers}"))
    return layers


def read_prior(path: str | Path) -> Wiring:
    """A group connectome from an .npz archive: ``W`` (R, R), and ``distance`` (R, R) or ``coords`` (R, 3) in mm, and ``labels``, where it
    has them.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If there is no such file, or it is no such archive; pickled objects are never loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected an .npz archive with W (regions, regions)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("W", "distance", "coords", "labels") if name in archive}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise ConnectomeError(f"{path} cannot be read as an .npz archive of arrays: {error}") from error
    if "W" not in arrays:
        raise ConnectomeError(f"{path} has no array W (regions, regions)")
    distances = arrays.get("distance")
    if distances is None and "coords" in arrays:
        xyz = arrays["coords"].astype(np.float64)
        distances = np.sqrt(((xyz[:, None] - xyz[None]) ** 2).sum(-1))
    return _symmetric(Wiring(arrays["W"], distances, tuple(map(str, arrays.get("labels", ()))), path.stem))


def _as_wiring(source: Any) -> Wiring:
    if isinstance(source, Wiring):
        return _symmetric(source)
    if isinstance(source, (str, Path)):
        return read_prior(source)
    try:
        array = np.asarray(source.toarray() if sparse.issparse(source) else source, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"expected a cohort, a wiring, an (R, R) array or a path, got {type(source).__name__}: {error}") from error
    return _symmetric(Wiring(array))


def _symmetric(wiring: Wiring) -> Wiring:
    weights = wiring.connectivity
    if np.abs(weights - weights.T).max() > ASYMMETRY * max(np.abs(weights).max(), 1e-300):
        raise ConnectomeError(f"the connectivity of {wiring.name} must be symmetric, as connectomes are; symmetrise it with (w + w.T) / 2")
    return replace(wiring, connectivity=to_matrices(to_vectors(weights)))


def _mean_modelled(cohort: Cohort) -> NDArray[np.float64]:
    """(E,) mean over people on the modelling scale."""
    total = np.zeros(cohort.n_edges)
    for _, values in cohort.modelled():
        total += values.sum(0, dtype=np.float64)
    return total / cohort.n_people


def _of_cohort(cohort: Cohort, weights: NDArray[np.float64], kind: str) -> Wiring:
    distances = cohort.atlas.distances()
    known = np.isfinite(to_vectors(distances)).any()
    return Wiring(to_matrices(weights), distances if known else None, cohort.atlas.labels, f"{kind} connectivity of {cohort.name}")


def _strongest(wiring: Wiring, density: float | None) -> Wiring:
    if density is None:
        return wiring
    weights = to_vectors(wiring.connectivity)
    return replace(wiring, connectivity=to_matrices(np.where(_largest(np.abs(weights), density, weights != 0), weights, 0)))


def _largest(values: NDArray, share: float, allowed: NDArray[np.bool_], of: int | None = None) -> NDArray[np.bool_]:
    """Which entries are among the largest ``share`` of all (of ``of``), where allowed; the first of equals."""
    if not (isinstance(share, (int, float, np.number)) and 0 <= share <= 1):
        raise ConnectomeError(f"a density or share is a number between 0 and 1, got {share!r}")
    order = np.argsort(np.where(allowed, -values, np.inf), kind="stable")
    kept = np.zeros(len(values), dtype=bool)
    kept[order[: round(share * (len(values) if of is None else of))]] = True
    return kept & allowed

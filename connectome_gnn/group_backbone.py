"""The backbone of a cohort: what its people have in common, by any method of :mod:`connectome_gnn.backbones`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectome_gnn import backbones
from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.columns import listed
from connectome_gnn.edges import edge_indices, to_matrices
from connectome_gnn.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["METHODS", "cohort_backbone"]

METHODS = {
    "consistency": ("threshold", "density"),
    "distance": ("n_bins",),
    "proportional": ("density",),
    "absolute": ("weight",),
    "disparity": ("alpha",),
    "spanning_tree": ("density",),
}
"""The methods, and the options each takes."""
NEEDED = {"proportional": "density", "absolute": "weight"}


def cohort_backbone(
    cohort: Cohort,
    threshold: float | None = None,
    density: float | None = None,
    *,
    method: str = "consistency",
    weight: float | None = None,
    alpha: float | None = None,
    n_bins: int | None = None,
) -> NDArray[np.bool_]:
    """See :meth:`connectome_gnn.Cohort.backbone`."""
    if method not in METHODS:
        raise ConnectomeError(f"expected a backbone's method among {listed(METHODS)}, got {method!r}")
    given = {"threshold": threshold, "density": density, "weight": weight, "alpha": alpha, "n_bins": n_bins}
    foreign = [name for name, value in given.items() if value is not None and name not in METHODS[method]]
    if foreign:
        raise ConnectomeError(f"a backbone by {method!r} takes {', '.join(METHODS[method])}, got {', '.join(foreign)} as well")
    needed = NEEDED.get(method)
    if needed is not None and given[needed] is None:
        raise ConnectomeError(f"a backbone by {method!r} needs {needed}; say how much to keep")
    if method == "consistency":
        present, strength = _present(cohort, modelled=True)
        kept = backbones.consistency(present, cohort.n_people, strength, 0.5 if threshold is None else threshold, density)
        return to_matrices(kept)
    if method == "distance":
        distance, across = _lengths(cohort.atlas)
        present, strength = _present(cohort)
        mean = np.divide(strength, present, out=np.zeros_like(strength), where=present > 0)
        return to_matrices(backbones.distance_dependent(present, cohort.n_people, mean, distance, across, n_bins))
    strength = _present(cohort)[1] / cohort.n_people
    if method == "proportional":
        return to_matrices(backbones.proportional(strength, float(density or 0)))
    if method == "absolute":
        return to_matrices(backbones.absolute(strength, float(weight or 0)))
    if method == "disparity":
        return to_matrices(backbones.disparity(strength, 0.05 if alpha is None else alpha))
    return to_matrices(backbones.spanning_tree(strength, density))


def _present(cohort: Cohort, modelled: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many people have each edge (E,), and the sum of absolute weights over people (E,), on the modelling scale or in their unit."""
    present, strength = np.zeros(cohort.n_edges), np.zeros(cohort.n_edges)
    for _, values in cohort.modelled() if modelled else cohort.batches():
        present += (values != 0).sum(0)
        strength += np.abs(values).sum(0, dtype=np.float64)
    return present, strength


def _lengths(atlas: Atlas) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Length of every edge (E,), mm, and whether it joins the hemispheres (E,); one that ends on the midline (``"n/a"``) does not."""
    side = np.array(atlas.hemisphere)
    if (side == UNKNOWN).all():
        raise ConnectomeError(
            "a distance-dependent consensus needs to know which regions are on the left and which on the right, unknown for all "
            f"{len(atlas)}; give their hemispheres in the atlas table"
        )
    nowhere = [atlas.labels[row] for row in np.flatnonzero(~np.isfinite(atlas.xyz.sum(1)))]
    if nowhere:
        raise ConnectomeError(
            f"a distance-dependent consensus needs the coordinates of every region, unknown for {len(nowhere)} of {len(atlas)} "
            f"({listed(nowhere, 3)}); give them in the atlas table, or leave these regions out with cohort.select()"
        )
    rows, columns = edge_indices(len(atlas))
    known = (side[rows] != UNKNOWN) & (side[columns] != UNKNOWN)
    return atlas.edge_distances(), known & (side[rows] != side[columns])

"""What predictions explain of real people, by person and region: squared error of the group mean less that of the prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.generation.edge_space import EdgeSpace

__all__ = ["STRENGTHS", "GlobalStrength", "Observed"]

GlobalStrength = Literal["keep", "remove"]
STRENGTHS: tuple[GlobalStrength, ...] = get_args(GlobalStrength)


@dataclass(frozen=True, eq=False)
class Observed:
    """Real people x, in standard deviations of an edge, as far as predictions ``d = coordinates @ basis`` have to do with them.

    What a prediction explains of a person, ``|x|^2 - |x - d|^2 = 2 x.d - d.d``, needs of the person only ``basis x``. With the total
    strength taken out, x and d are projected alike: each edge less its regression on the person's total strength.

    Attributes
    ----------
    total : (N,) sum of squares of each person's edges.
    along : (N, L) ``basis x``.
    gram : (L, L) products of the basis' rows.
    n_edges : number of modelled edges.
    of_region : (R,) number of modelled edges of each region.
    region_total : (N, R) sum of squares over each region's edges; empty without regions.
    region_along : (N, R, L) float32 ``basis x`` over each region's edges.
    region_gram : (R, L, L) products of the basis' rows over each region's edges.
    """

    total: NDArray[np.float64]
    along: NDArray[np.float64]
    gram: NDArray[np.float64]
    n_edges: int
    of_region: NDArray[np.intp]
    region_total: NDArray[np.float64]
    region_along: NDArray[np.float32]
    region_gram: NDArray[np.float64]

    @classmethod
    def of(
        cls, cohort: Cohort, space: EdgeSpace, basis: NDArray[np.float32], strength: GlobalStrength = "keep", *, regions: bool = True
    ) -> Observed:
        """Look at everybody once; twice where the total strength is taken out.

        Parameters
        ----------
        cohort : the people.
        space : the model's edges: their means and standard deviations in training people.
        basis : (L, kept edges) what predictions are made of.
        strength : whether each person's total strength stays in, or is taken out.
        regions : whether to look at regions one by one, which takes N R L numbers of memory.
        """
        n, n_regions = cohort.n_people, cohort.n_regions
        first, second = (ends[space.kept] for ends in edge_indices(n_regions))
        shares = None if strength == "keep" else StrengthShares.of(cohort, space)
        if shares is not None:
            basis = shares.without(basis)
        length = len(basis)
        total, along = np.empty(n), np.empty((n, length))
        region_total = np.empty((n, n_regions) if regions else (n, 0))
        region_along = np.zeros((n, n_regions, length) if regions else (n, 0, length), np.float32)
        places = _places(first, second, n_regions)
        for rows, values in space.standardised(cohort):
            x = values if shares is None else shares.without(values)
            total[rows] = np.einsum("ne,ne->n", x, x, dtype=np.float64)
            along[rows] = x @ basis.T
            if regions:
                region_total[rows] = sums_by_region(x**2, first, second, n_regions)
                for region, edges in enumerate(places):
                    region_along[rows, region] = x[:, edges] @ basis[:, edges].T
        gram = np.stack([basis[:, edges] @ basis[:, edges].T for edges in places]) if regions else np.empty((0, length, length))
        of_region = np.bincount(first, minlength=n_regions) + np.bincount(second, minlength=n_regions)
        whole = (basis @ basis.T).astype(np.float64)
        return cls(total, along, whole, basis.shape[1], of_region, region_total, region_along, gram.astype(np.float64))

    def take(self, rows: NDArray[np.intp]) -> Observed:
        """Some of the people, without their regions."""
        return replace(
            self,
            total=self.total[rows],
            along=self.along[rows],
            region_total=np.empty((len(rows), 0)),
            region_along=np.empty((len(rows), 0, len(self.gram)), np.float32),
            region_gram=self.region_gram[:0],
        )

    def gain(self, coordinates: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squares (N,) that predictions with these coordinates (N, L) explain of each person; below 0 where they are worse than nothing."""
        c = coordinates.astype(np.float64)
        return 2 * np.einsum("nl,nl->n", self.along, c) - np.einsum("nl,nl->n", c @ self.gram, c)

    def gains(self, coordinates: NDArray[np.float32], full: NDArray[np.float32]) -> NDArray[np.float64]:
        """:meth:`gain`, and what it would be were people what predictions with coordinates ``full`` (N, L) say of them, (N, 2)."""
        c = coordinates.astype(np.float64)
        turned = c @ self.gram
        own = np.einsum("nl,nl->n", turned, c)
        return np.stack([2 * np.einsum("nl,nl->n", some, other) - own for some, other in ((self.along, c), (full, turned))], 1)

    def region_gains(self, coordinates: NDArray[np.float32], full: NDArray[np.float32]) -> NDArray[np.float32]:
        """:meth:`gains` over each region's edges, (N, R, 2)."""
        out = np.empty((*self.region_along.shape[:2], 2), np.float32)
        out[..., 0] = np.einsum("nrl,nl->nr", self.region_along, 2 * coordinates, optimize=False)
        for region, gram in enumerate(self.region_gram.astype(np.float32)):
            turned = coordinates @ gram
            own = np.einsum("nl,nl->n", turned, coordinates)
            out[:, region, 0] -= own
            out[:, region, 1] = 2 * np.einsum("nl,nl->n", turned, full) - own
        return out

    def slopes(self, coordinates: NDArray[np.float32], moves: NDArray[np.float32], full: NDArray[np.float32]) -> NDArray[np.float64]:
        """How fast :meth:`gains` grow where predictions with some coordinates start to move, all (N, L): ``2 (x - c) . m``, (N, 2)."""
        c, m, f = (some.astype(np.float64) for some in (coordinates, moves, full))
        turned = m @ self.gram
        measured = np.einsum("nl,nl->n", self.along, m) - np.einsum("nl,nl->n", c, turned)
        return 2 * np.stack([measured, np.einsum("nl,nl->n", f - c, turned)], 1)

    def region_slopes(self, coordinates: NDArray[np.float32], moves: NDArray[np.float32], full: NDArray[np.float32]) -> NDArray[np.float32]:
        """:meth:`slopes` over each region's edges, (N, R, 2)."""
        out = np.empty((*self.region_along.shape[:2], 2), np.float32)
        out[..., 0] = np.einsum("nrl,nl->nr", self.region_along, 2 * moves, optimize=False)
        for region, gram in enumerate(self.region_gram.astype(np.float32)):
            turned = 2 * moves @ gram
            out[:, region, 0] -= np.einsum("nl,nl->n", coordinates, turned)
            out[:, region, 1] = np.einsum("nl,nl->n", full - coordinates, turned)
        return out

    def squares(self, coordinates: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum of squares (N,) of predictions with these coordinates (N, L)."""
        c = coordinates.astype(np.float64)
        return np.einsum("nl,nl->n", c @ self.gram, c)

    def region_squares(self, coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same over each region's edges, (N, R)."""
        out = np.empty((len(coordinates), len(self.region_gram)), np.float32)
        for region, gram in enumerate(self.region_gram.astype(np.float32)):
            out[:, region] = np.einsum("nl,nl->n", coordinates @ gram, coordinates)
        return out


@dataclass(frozen=True, eq=False)
class StrengthShares:
    """How a person's total strength shows on each edge.

    Attributes
    ----------
    weight : (kept edges,) what a standard deviation of each edge adds to the total strength, modelling scale.
    share : (kept edges,) regression of each edge, in standard deviations, on the total strength.
    """

    weight: NDArray[np.float32]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, cohort: Cohort, space: EdgeSpace) -> StrengthShares:
        """Learned from the cohort's people: each edge's regression on the person's sum over the modelled edges, modelling scale."""
        weight = space.std[space.kept]
        sums, products = np.zeros(len(weight)), np.zeros(len(weight))
        totals = np.empty(cohort.n_people)
        for rows, values in space.standardised(cohort):
            totals[rows] = values @ weight
            sums += values.sum(0, dtype=np.float64)
            products += totals[rows] @ values
        mean = totals.mean()
        variance = ((totals - mean) ** 2).sum()
        share = (products - mean * sums) / variance if variance > 0 else np.zeros_like(products)
        return cls(weight, share.astype(np.float32))

    def without(self, values: NDArray[Any]) -> NDArray[Any]:
        """Standardised edges (n, kept edges) less what goes with their total strength."""
        return values - (values @ self.weight)[:, None] * self.share


def sums_by_region(values: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp], n_regions: int) -> NDArray[np.float64]:
    """Sums (n, R) of (n, edges) values over each region's edges."""
    out = np.zeros((len(values), n_regions))
    _add_up(np.ascontiguousarray(values), first, second, out)
    return out


@njit(cache=True, nogil=True)
def _add_up(values: NDArray, first: NDArray, second: NDArray, out: NDArray) -> None:
    for person in range(len(values)):
        for edge in range(values.shape[1]):
            value = values[person, edge]
            out[person, first[edge]] += value
            out[person, second[edge]] += value


def _places(first: NDArray[np.intp], second: NDArray[np.intp], n_regions: int) -> list[NDArray[np.intp]]:
    """Numbers of the edges of each region."""
    return [np.flatnonzero((first == region) | (second == region)) for region in range(n_regions)]

"""Regression of every edge on groups and covariates, over the people who have the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort

__all__ = ["LEAST_FREEDOM", "EdgeRegression", "GroupMoments", "edges_of"]

VALUES_AT_ONCE = 4_000_000
"""Weights that are in memory in float64 at a time."""

LEAST_FREEDOM = 5
"""Degrees of freedom that an edge's regression must leave, for its effects to be trusted."""

DETERMINED = 1e-6
"""Share of a covariate's variance that must be left within groups, among the people who have the edge, for an effect of it."""


def edges_of(cohort: Cohort) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.bool_]]]:
    """Slices of rows, their values on the modelling scale (n, E) float64, and which edges are there (n, E); absent edges are 0."""
    for rows, weights in cohort.batches(max(VALUES_AT_ONCE // cohort.n_edges, 1)):
        yield rows, cohort.scale.forward(weights, np.float64), weights != 0


@dataclass(frozen=True)
class EdgeRegression:
    """``x = level of the group + covariates @ effects``, by least squares over the people who have the edge.

    Attributes
    ----------
    n : (G, E) people of each group who have the edge.
    level : (G, E) intercept of each group; 0 where nobody of it has the edge.
    effects : (F, E) effects of covariates; of those that the groups determine, the shortest solution.
    rank : (E,) number of directions of the covariates that differ within groups.
    """

    n: NDArray[np.float64]
    level: NDArray[np.float64]
    effects: NDArray[np.float64]
    rank: NDArray[np.intp]

    @classmethod
    def fit(cls, cohort: Cohort, group: NDArray[np.intp], n_groups: int, covariates: NDArray[np.float64]) -> EdgeRegression:
        """Fit in one pass over the people, some at a time.

        Parameters
        ----------
        cohort : the people.
        group : (N,) group of each row.
        n_groups : number of groups G.
        covariates : (N, F), mean 0 and variance of about 1.
        """
        n_columns, n_edges = covariates.shape[1], cohort.n_edges
        sums = np.zeros((n_groups, 1 + n_columns, n_edges))  # number of people, and sums of covariates
        totals = np.zeros((n_groups, n_edges))
        products = np.zeros((n_edges, n_columns, n_columns))
        cross = np.zeros((n_columns, n_edges))
        first, second = np.triu_indices(n_columns)
        for rows, values, present in edges_of(cohort):
            there, z = present.astype(np.float64), covariates[rows]
            for number in np.unique(group[rows]):
                members = group[rows] == number
                sums[number] += np.column_stack([np.ones(members.sum()), z[members]]).T @ there[members]
                totals[number] += values[members].sum(0)
            if n_columns:
                cross += z.T @ values
                products[:, first, second] += ((z[:, first] * z[:, second]).T @ there).T
        products[:, second, first] = products[:, first, second]
        n, totals_of_covariates = sums[:, 0], sums[:, 1:]
        counted = np.maximum(n, 1)
        mean = totals / counted
        centre = totals_of_covariates / counted[:, None]
        within = products - np.einsum("gfe,gke->efk", totals_of_covariates, centre)
        effects, rank = _solved(within, (cross - np.einsum("gfe,ge->fe", totals_of_covariates, mean)).T, n.sum(0))
        level = np.where(n > 0, mean - np.einsum("gfe,fe->ge", centre, effects.T), 0)
        return cls(n, level, np.ascontiguousarray(effects.T), rank)

    @property
    def freedom(self) -> NDArray[np.float64]:
        """Degrees of freedom (E,) that each edge's regression leaves."""
        return self.n.sum(0) - (self.n > 0).sum(0) - self.rank


def _solved(
    within: NDArray[np.float64], cross: NDArray[np.float64], n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Shortest effects (E, F) of each edge's normal equations, and their rank (E,)."""
    if not within.shape[1]:
        return np.zeros((len(within), 0)), np.zeros(len(within), np.intp)
    values, vectors = np.linalg.eigh(within)
    usable = values > DETERMINED * np.maximum(n, 1)[:, None]
    turned = np.einsum("efk,ef->ek", vectors, cross)
    turned = np.divide(turned, values, out=np.zeros_like(turned), where=usable)
    return np.einsum("efk,ek->ef", vectors, turned), usable.sum(1)


@dataclass(frozen=True)
class GroupMoments:
    """How residuals lie in each group, edge by edge, over the people who have the edge.

    Attributes
    ----------
    n : (G, E) people.
    mean : (G, E) of their residuals; 0 where there is nobody.
    scatter : (G, E) sum of squares around that mean.
    """

    n: NDArray[np.float64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(
        cls, cohort: Cohort, group: NDArray[np.intp], n_groups: int, residual: Callable[[slice, NDArray[np.float64]], NDArray[np.float64]]
    ) -> GroupMoments:
        """Moments of ``residual(rows, values)`` in one pass; rows of group -1 are left out."""
        n, total, squares = (np.zeros((n_groups, cohort.n_edges)) for _ in range(3))
        for rows, values, present in edges_of(cohort):
            left = np.where(present, residual(rows, values), 0)
            for number in np.unique(group[rows]):
                members = group[rows] == number
                if number >= 0:
                    n[number] += present[members].sum(0)
                    total[number] += left[members].sum(0)
                    squares[number] += (left[members] ** 2).sum(0)
        mean = total / np.maximum(n, 1)
        return cls(n, mean, np.maximum(squares - n * mean**2, 0))

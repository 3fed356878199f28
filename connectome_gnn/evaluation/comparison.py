"""A generated cohort beside the real people: rows paired, read in batches, and resampled together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.pairing import check_same_people, rows_by_person
from connectome_gnn.evaluation.people import PersonSums, person_sums
from connectome_gnn.evaluation.reference import ROWS, Reference, modelled
from connectome_gnn.evaluation.resampling import generator_for, halves, permutations, resamples, units_of_rows
from connectome_gnn.evaluation.sides import TopologySides, chosen_measures, topology_sides
from connectome_gnn.slices import slices

__all__ = ["Comparison"]

Result = TypeVar("Result")
Edges = NDArray[np.intp] | slice
EVERY_EDGE = slice(None)

N_PERMUTATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Comparison:
    """A generated cohort beside the real people and the training people: what a score computes from.

    Attributes
    ----------
    generated : the generated cohort.
    real : the real people, one row each.
    reference : statistics of the training people.
    real_rows : (N,) rows of the real people, sorted by participant_id.
    generated_rows : (M, K) rows of the generated people, sorted alike, K samples a person.
    units, generated_units : (N,), (M,) unit, counted from 0, of each person; people of one unit belong together.
    weights : (1 + B, N) how often each real person is drawn: once in the first row, then in B bootstrap resamples.
    generated_weights : (1 + B, M) the same for generated people; ``weights`` itself where both cohorts hold the same people.
    paired : whether both cohorts hold the same people, so that row i of the one is row i of the other.
    seed : seed of everything random.
    n_permutations : permutations behind each p value.
    measures : topology measures to score, global and nodal.
    n_jobs : threads.
    log_prob : log density of connectomes under the generator, where it gives one.
    make_generator : makes a fresh generator to fit, where one is given.
    ceiling : the truth, or a second scan of the real people, in the place of the generated cohort.
    """

    generated: Cohort
    real: Cohort
    reference: Reference
    real_rows: NDArray[np.intp]
    generated_rows: NDArray[np.intp]
    units: NDArray[np.intp]
    generated_units: NDArray[np.intp]
    weights: NDArray[np.float32]
    generated_weights: NDArray[np.float32]
    paired: bool = True
    seed: int = 0
    n_permutations: int = N_PERMUTATIONS
    measures: tuple[str, ...] = ()
    n_jobs: int = 1
    log_prob: Callable[..., Any] | None = None
    make_generator: Callable[..., Any] | None = None
    ceiling: Comparison | None = None
    of_real: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        generated: Cohort,
        real: Cohort,
        reference: Reference,
        *,
        paired: bool = True,
        n_bootstrap: int = 1000,
        seed: int = 0,
        groups: str | None = None,
        role: str = "generated",
        measures: Iterable[str] | str | None = None,
        beside: Comparison | None = None,
        **options: Any,
    ) -> Comparison:
        """Pair the people of two cohorts of one atlas and measure.

        Parameters
        ----------
        generated, real : Cohort.
        reference : statistics of the training people.
        paired : whether the same people are needed in both; people in only one of the two are then an error.
        n_bootstrap, seed : number and seed of bootstrap resamples of people.
        groups : column of people who belong together; default ``family_id`` where there is one.
        role : what the generated cohort is to the user, for error messages.
        measures : topology measures to score; default a panel (:func:`~connectome_gnn.evaluation.sides.chosen_measures`).
        beside : a comparison with the same real people, whose resamples, and whatever else depends on real people alone, are shared.
        options : further attributes by name.

        Raises
        ------
        ConnectomeError
            If a cohort has fewer than 2 people, real people have several rows, samples are uneven, or people do not match.
        """
        people, real_rows = rows_by_person(real, "real")
        if real_rows.shape[1] > 1:
            raise ConnectomeError(f"real cohort {real.name!r} has {real_rows.shape[1]} rows a person; expected one")
        generated_people, generated_rows = rows_by_person(generated, role)
        if paired:
            check_same_people(generated_people, people, role)
        same = people.equals(generated_people)
        if beside is None:
            units = units_of_rows(real, real_rows[:, 0], groups)
            weights, of_real = resamples(units, n_bootstrap, seed), {}
        else:
            units, weights, of_real = beside.units, beside.weights, beside.of_real
        generated_units = units if same else units_of_rows(generated, generated_rows[:, 0], groups)
        return cls(
            generated,
            real,
            reference,
            real_rows[:, 0],
            generated_rows,
            units,
            generated_units,
            weights,
            weights if same else resamples(generated_units, n_bootstrap, [seed, 1]),
            paired=same,
            seed=seed,
            measures=chosen_measures(measures, real),
            of_real=of_real,
            **options,
        )

    # --- people ------------------------------------------------------------------------------------------------------

    @property
    def n_people(self) -> int:
        """Number of real people N."""
        return len(self.real_rows)

    @property
    def n_samples(self) -> int:
        """Number of generated connectomes K of each person."""
        return self.generated_rows.shape[1]

    def rng(self, name: str) -> np.random.Generator:
        """A random generator for a named purpose: the same whatever else is computed."""
        return generator_for(self.seed, name)

    def shared(self, name: str, build: Callable[[], Result]) -> Result:
        """What ``build`` gives, built once for all comparisons with the same real people; it must depend on nothing else."""
        if name not in self.of_real:
            self.of_real[name] = build()
        result: Result = self.of_real[name]
        return result

    def once(self, name: str, build: Callable[[], Result]) -> Result:
        """What ``build`` gives, built once for all scores of this comparison."""
        if name not in self._kept:
            self._kept[name] = build()
        result: Result = self._kept[name]
        return result

    @cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    @property
    def halves(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions among the N real people of two random halves, for real people against real people."""
        return self.shared("halves", lambda: halves(self.units, self.rng("halves")))

    @property
    def permutations(self) -> NDArray[np.int32]:
        """(P, N) random orders of the real people, the same for every score; units of people stay whole."""
        number = self.n_permutations
        return self.shared(f"{number} permutations", lambda: permutations(self.units, number, self.rng("permutations")))

    # --- connectomes -------------------------------------------------------------------------------------------------

    def real_batches(self, edges: Edges = EVERY_EDGE) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Slices of real people and their x on the modelling scale, (n, E), people sorted by participant_id; or some edges of it."""
        for part in self._slices(self.n_people):
            yield part, modelled(self.real, self.real_rows[part], edges)

    def generated_batches(self, edges: Edges = EVERY_EDGE) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Slices of generated people and their samples y on the modelling scale, (n, K, E), sorted alike; or some edges of it."""
        for part in self._slices(len(self.generated_rows)):
            rows = self.generated_rows[part]
            values = modelled(self.generated, rows.ravel(), edges)
            yield part, values.reshape(*rows.shape, values.shape[1])

    def real_values(self, edges: Edges = EVERY_EDGE, dtype: DTypeLike = np.float32) -> NDArray:
        """Real people on the modelling scale at once, (N, E'): for scores that need everybody's edges together."""
        return np.concatenate([values.astype(dtype) for _, values in self.real_batches(edges)])

    def generated_values(self, edges: Edges = EVERY_EDGE, dtype: DTypeLike = np.float32) -> NDArray:
        """Generated people on the modelling scale at once, (M, K, E')."""
        return np.concatenate([values.astype(dtype) for _, values in self.generated_batches(edges)])

    def generated_means(self, edges: Edges = EVERY_EDGE, dtype: DTypeLike = np.float32) -> NDArray:
        """Mean of each generated person's samples on the modelling scale, (M, E')."""
        return np.concatenate([values.mean(1).astype(dtype) for _, values in self.generated_batches(edges)])

    def _slices(self, n_people: int) -> Iterator[slice]:
        return slices(n_people, max(ROWS // self.n_samples, 1))

    # --- what several scores share -----------------------------------------------------------------------------------

    @cached_property
    def sums(self) -> PersonSums:
        """Every person's part of the fidelity scores."""
        return person_sums(self)

    @cached_property
    def topology(self) -> TopologySides:
        """Topology of both cohorts, measured when first asked for; an error for expected connectomes."""
        return topology_sides(self)

    @cached_property
    def densities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of all E edges that are not exactly 0: of each real person (N,), of each generated one (M,), samples averaged."""
        return self._densities(self.real, self.real_rows[:, None]), self._densities(self.generated, self.generated_rows)

    def _densities(self, cohort: Cohort, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        shares = [np.count_nonzero(cohort.read(rows[part].ravel()), axis=1) / cohort.n_edges for part in self._slices(len(rows))]
        return np.concatenate(shares).reshape(rows.shape).mean(1)

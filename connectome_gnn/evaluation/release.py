"""Generated connectomes beside the people they may give away: everybody on one scale, and who lies closest to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.makers import MakeGenerator
from connectome_gnn.evaluation.pairing import check_comparable, check_people, rows_by_person
from connectome_gnn.evaluation.reference import COMMON, LEAST_DEVIATION, Reference, modelled
from connectome_gnn.evaluation.resampling import generator_for, units_of_rows
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices

__all__ = ["Neighbours", "People", "Release"]

ROWS = 512
"""Connectomes compared with everybody at a time."""

LIST = 16
"""A list of neighbours is so long that a random group of either size is missed by it with a probability below exp(-16)."""

EXCHANGE_LIST = 8
"""The same for lists that are looked at anew after every exchange of people: exp(-8)."""

EXACT = 3
"""So many of the closest people of either group get their distance in float64; those behind them are good to six digits."""

PAIRS = 256


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The people closest to each of Q connectomes, closest first.

    Attributes
    ----------
    index : (Q, k) numbers of the people.
    distance : (Q, k) Euclidean distances on standardised edges.
    """

    index: NDArray[np.int32]
    distance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class People:
    """Training and held-out people, standardised alike.

    Edges are those that at least half of all these people have and that differ between them, on the modelling scale, in standard
    deviations from their mean. Mean and deviation are of training and held-out people together, a person counting as a person: they do
    not know who was trained on, so that they favour neither group, and exchanging people between the groups leaves them as they are.

    Attributes
    ----------
    train, holdout : the cohorts, one row a person.
    rows : (P,) the row of each person in their cohort; training people first, both groups sorted by participant_id.
    trained : (P,) whether the person is a training person.
    units : (P,) unit of people who belong together, within the group; numbered over both groups.
    ids : (P,) participant_id.
    """

    train: Cohort
    holdout: Cohort
    rows: NDArray[np.intp]
    trained: NDArray[np.bool_]
    units: NDArray[np.intp]
    ids: pd.Index
    common: NDArray[np.intp]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, train: Cohort, holdout: Cohort, reference: Reference | None = None) -> People:
        """Training and held-out people of one atlas and measure.

        Parameters
        ----------
        train, holdout : cohorts of different people.
        reference : statistics of the training people where they are known already.

        Raises
        ------
        ConnectomeError
            If a cohort has fewer than 2 people (or groups of people), several rows a person or expected connectomes, somebody is in both,
            or no edge is left.
        """
        check_comparable(train, "training", holdout)
        found = []
        for cohort, role in ((train, "training"), (holdout, "held-out")):
            check_people(cohort, role)
            people, rows = rows_by_person(cohort, role)
            if rows.shape[1] > 1:
                raise ConnectomeError(f"{role} cohort {cohort.name!r} has {rows.shape[1]} rows a person; expected one")
            found.append((people, rows[:, 0], units_of_rows(cohort, rows[:, 0])))
        (ids, train_rows, train_units), (holdout_ids, holdout_rows, holdout_units) = found
        both = ids[ids.isin(holdout_ids)]
        if len(both):
            named = ", ".join(map(repr, both[:3])) + (", ..." if len(both) > 3 else "")
            raise ConnectomeError(
                f"{len(both)} people are in both the training and the held-out cohort ({named}); held-out people are those the generator "
                "has never seen: take them out of one of the two"
            )
        first, second = reference or Reference.of(train), Reference.of(holdout)
        share = len(ids) / (len(ids) + len(holdout_ids))
        mean = share * first.mean + (1 - share) * second.mean
        variance = share * first.deviation**2 + (1 - share) * second.deviation**2 + share * (1 - share) * (first.mean - second.mean) ** 2
        frequency = share * first.frequency + (1 - share) * second.frequency
        common = np.flatnonzero((frequency >= COMMON) & (variance > LEAST_DEVIATION**2))
        if not len(common):
            raise ConnectomeError(
                f"no edge is present in half of the people of {train.name!r} and {holdout.name!r} and differs between them; there is "
                "nothing to compare connectomes by"
            )
        return cls(
            train,
            holdout,
            np.concatenate([train_rows, holdout_rows]),
            np.arange(len(ids) + len(holdout_ids)) < len(ids),
            np.concatenate([train_units, train_units.max() + 1 + holdout_units]),
            ids.append(holdout_ids),
            common,
            mean[common],
            np.sqrt(variance[common]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_train(self) -> int:
        """Number of training people."""
        return int(self.trained.sum())

    @property
    def n_holdout(self) -> int:
        """Number of held-out people."""
        return len(self) - self.n_train

    @property
    def n_equal(self) -> int:
        """Number of people in the smaller of the two groups."""
        return min(self.n_train, self.n_holdout)

    @property
    def list_length(self) -> int:
        """How many neighbours of a connectome are kept, of each group."""
        return int(np.ceil(LIST * len(self) / self.n_equal))

    @property
    def exchange_length(self) -> int:
        """How many neighbours of either group are looked at after an exchange of people: missed by chance in 1 of 3,000 connectomes."""
        return int(np.ceil(EXCHANGE_LIST * len(self) / self.n_equal))

    def standardise(self, cohort: Cohort, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Common edges of some rows of a cohort, (n, E') float32; equal connectomes give equal numbers, to the last bit."""
        return ((modelled(cohort, rows, self.common) - self.mean) / self.deviation).astype(np.float32)

    @cached_property
    def records(self) -> NDArray[np.float32]:
        """Everybody's standardised edges, (P, E')."""
        values = np.empty((len(self), len(self.common)), np.float32)
        for cohort, group in ((self.train, self.trained), (self.holdout, ~self.trained)):
            places = np.flatnonzero(group)
            for start in range(0, len(places), ROWS):
                part = places[start : start + ROWS]
                values[part] = self.standardise(cohort, self.rows[part])
        return values

    @cached_property
    def squares(self) -> NDArray[np.float64]:
        """Everybody's sum of squares, (P,)."""
        return np.concatenate([_squares(self.records[start : start + ROWS]) for start in range(0, len(self), ROWS)])

    @cached_property
    def neighbours(self) -> tuple[Neighbours, Neighbours]:
        """The other training people, and the other held-out people, closest to everybody."""
        parts = []
        with progress("Distances between people", total=len(self)) as advance:
            for rows in slices(len(self), ROWS):
                squared = self.squared_distances(self.records[rows])
                squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
                parts.append(self.closest(self.records[rows], squared))
                advance(len(squared))
        return joined(parts)

    def squared_distances(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances of standardised connectomes (n, E') to everybody, (n, P) float32, good to about six digits."""
        squared = values @ self.records.T
        squared *= -2
        squared += _squares(values).astype(np.float32)[:, None]
        squared += self.squares.astype(np.float32)
        return np.maximum(squared, 0, out=squared)

    def closest(self, values: NDArray[np.float32], squared: NDArray[np.float32]) -> tuple[Neighbours, Neighbours]:
        """Closest training and closest held-out people of connectomes (n, E') whose squared distances (n, P) are known."""
        return self._closest(values, squared, np.flatnonzero(self.trained)), self._closest(values, squared, np.flatnonzero(~self.trained))

    def _closest(self, values: NDArray[np.float32], squared: NDArray[np.float32], group: NDArray[np.intp]) -> Neighbours:
        """Closest people of one group, whose numbers follow each other."""
        within = squared[:, group[0] : group[-1] + 1]
        length = min(self.list_length, len(group))
        index = (
            np.argpartition(within, length - 1, axis=1)[:, :length] if length < len(group) else np.tile(np.arange(length), (len(values), 1))
        )
        distance = np.sqrt(np.take_along_axis(within, index, 1).astype(np.float64))
        order = np.argsort(distance, 1, kind="stable")
        index, distance = np.take_along_axis(index, order, 1) + group[0], np.take_along_axis(distance, order, 1)
        few = min(EXACT, length)
        people = np.repeat(np.arange(len(values)), few)
        exact = exact_distances(values, self.records, people, index[:, :few].ravel()).reshape(-1, few)
        distance[:, :few] = np.where(np.isfinite(distance[:, :few]), exact, np.inf)  # infinite: a person and themselves
        order = np.argsort(distance, 1, kind="stable")
        return Neighbours(np.take_along_axis(index, order, 1).astype(np.int32), np.take_along_axis(distance, order, 1))


@dataclass(frozen=True, eq=False)
class Release:
    """A generated cohort beside the people it may give away, and how to judge it.

    Attributes
    ----------
    generated : the generated cohort; K samples of a person each count for themselves.
    rows : (M, K) its rows, people sorted by participant_id.
    ids : (M,) participant_id of its people.
    units : (M,) unit of generated people who belong together.
    people : training and held-out people.
    seed : seed of everything random.
    n_bootstrap : draws behind each interval and p value.
    n_draws : subsets of the larger group that scores are averaged over where the groups differ in size.
    n_shadows : generators fitted for the shadow-model attack.
    n_jobs : processes that fit them.
    log_prob, make_generator : what the attacks by likelihood and by shadow models need; may be None.
    """

    generated: Cohort
    rows: NDArray[np.intp]
    ids: pd.Index
    units: NDArray[np.intp]
    people: People
    seed: int = 0
    n_bootstrap: int = 1000
    n_draws: int = 50
    n_shadows: int = 16
    n_jobs: int = 1
    log_prob: Callable[[Cohort], Any] | None = None
    make_generator: MakeGenerator | None = None

    @classmethod
    def of(cls, generated: Cohort, people: People, **options: Any) -> Release:
        """A generated cohort on the atlas of the people, with their measure; ``options`` are further attributes by name.

        Raises
        ------
        ConnectomeError
            If atlas or measure differ, samples are uneven, or there are fewer than 2 generated people.
        """
        check_comparable(generated, "generated", people.holdout)
        ids, rows = rows_by_person(generated, "generated")
        return cls(generated, rows, ids, units_of_rows(generated, rows[:, 0]), people, **options)

    @property
    def n_people(self) -> int:
        """Number of generated people M."""
        return len(self.rows)

    def rng(self, name: str) -> np.random.Generator:
        """A random generator for a named purpose: the same whatever else is computed."""
        return generator_for(self.seed, name)

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """Standardised generated connectomes, (n, E') at a time, the samples of a person together."""
        flat = self.rows.ravel()
        for start in range(0, len(flat), ROWS):
            yield self.people.standardise(self.generated, flat[start : start + ROWS])

    @cached_property
    def _found(self) -> tuple[tuple[Neighbours, Neighbours], NDArray[np.float64], NDArray[np.intp]]:
        parts = []
        nearest = _Nearest(self.people)
        with progress("Distances to people", total=self.rows.size) as advance:
            for values in self.batches():
                squared = self.people.squared_distances(values)
                parts.append(self.people.closest(values, squared))
                nearest.look(values, squared)
                advance(len(values))
        return joined(parts), nearest.distance, nearest.index

    @property
    def neighbours(self) -> tuple[Neighbours, Neighbours]:
        """Training people, and held-out people, closest to each of the M K generated connectomes."""
        return self._found[0]

    @property
    def distances(self) -> NDArray[np.float64]:
        """(P,) distance of everybody to the generated connectome closest to them."""
        return self._found[1]

    @property
    def closest_generated(self) -> NDArray[np.intp]:
        """(P,) number, among the M K, of the generated connectome closest to everybody."""
        return self._found[2]


class _Nearest:
    """The connectome closest to each person among those seen so far."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.distance = np.full(len(people), np.inf)
        self.index = np.zeros(len(people), np.intp)
        self.seen = 0

    def look(self, values: NDArray[np.float32], squared: NDArray[np.float32]) -> None:
        """Look at further connectomes (n, E') whose squared distances to the people, (n, P), are known to six digits."""
        best = squared.argmin(0)
        slack = 1e-5 * (self.people.squares + _squares(values)[best])
        nearer = np.flatnonzero(squared[best, np.arange(len(best))] <= self.distance**2 + slack)
        exact = exact_distances(values, self.people.records, best[nearer], nearer)
        better = exact < self.distance[nearer]
        self.distance[nearer[better]] = exact[better]
        self.index[nearer[better]] = self.seen + best[nearer[better]]
        self.seen += len(values)


def exact_distances(
    values: NDArray[np.float32], records: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Distances of pairs (values[first], records[second]), summed in float64: exactly 0 between equals, which no product of matrices is."""
    distances = np.empty(len(first))
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        distances[part] = np.sqrt(_squares(values[first[part]].astype(np.float64) - records[second[part]]))
    return distances


def joined(parts: Iterable[tuple[Neighbours, Neighbours]]) -> tuple[Neighbours, Neighbours]:
    """Neighbours of batches of connectomes as those of all of them."""
    train, holdout = (
        Neighbours(np.concatenate([part.index for part in side]), np.concatenate([part.distance for part in side]))
        for side in zip(*parts, strict=True)
    )
    return train, holdout


def _squares(values: NDArray) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", values, values, dtype=np.float64)

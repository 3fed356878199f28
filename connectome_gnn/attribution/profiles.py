"""Profiles of which only some phenotypes are known: the others missing, or drawn given those that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import RARE, Encoded, PhenotypeSchema

__all__ = ["MISSING", "Missing", "Profiles"]

Missing = Literal["reference", "conditional"]
Copy = tuple[int, int, int]
MISSING: tuple[Missing, ...] = get_args(Missing)

DRAWS = 16
"""Draws of several unknown columns: in pairs mirrored around their expectation, so that what is linear in them is exact."""

COPIES = 1 - 1e-6
"""Correlation from which on two encoded columns are one and the same."""

LIKELY_COPIES = 0.5
"""Least correlation in training people, whose estimate is drawn towards 0, of columns that may be copies."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """Encoded people, and what remains of them when phenotypes are not known.

    Attributes
    ----------
    schema : the model's phenotypes; its covariance is what unknown phenotypes are drawn from.
    encoded : the people.
    seed : of the draws.
    copies : encoded columns that are copies of an earlier one: column, the earlier one, and 1 or -1.
    """

    schema: PhenotypeSchema
    encoded: Encoded
    seed: int
    copies: tuple[Copy, ...] = ()

    @classmethod
    def of(cls, schema: PhenotypeSchema, encoded: Encoded, seed: int) -> Profiles:
        """People, and which of their columns are copies of each other."""
        values = np.where(np.ptp(encoded.values, axis=0) > 0, encoded.values, 0)
        length = np.sqrt((values**2).sum(0))
        unit = values / np.where(length > 0, length, 1)
        r = np.triu(unit.T @ unit, 1)
        if schema.covariance is not None:  # few people may agree by chance in what many do not
            deviation = np.sqrt(np.diag(schema.covariance))
            r[np.abs(schema.covariance) < LIKELY_COPIES * np.outer(deviation, deviation)] = 0
        pairs = np.argwhere(np.abs(r) > COPIES)
        return cls(schema, encoded, seed, tuple((int(later), int(first), int(np.sign(r[first, later]))) for first, later in pairs))

    def __len__(self) -> int:
        return len(self.encoded.values)

    def take(self, rows: NDArray[np.intp]) -> Profiles:
        """Some of the people."""
        encoded = self.encoded
        return replace(self, encoded=Encoded(encoded.values[rows], encoded.missing[rows], encoded.columns, encoded.owner))

    def columns_of(self, phenotypes: Sequence[int] | NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which encoded columns (F,) belong to some phenotypes."""
        return np.isin(self.encoded.owner, phenotypes)

    def known(self, known: NDArray[np.bool_]) -> Encoded:
        """The people with all other phenotypes missing.

        Parameters
        ----------
        known : (P,) for everybody alike, or (N, P), the phenotypes that are known.
        """
        known = known | self.constant  # nothing can be learned from a constant, not even that it is missing
        known = np.broadcast_to(known, self.encoded.missing.shape)
        values = np.where(known[:, self.encoded.owner], self.encoded.values, 0)
        return Encoded(values, self.encoded.missing | ~known, self.encoded.columns, self.encoded.owner)

    def draws(self, known: NDArray[np.bool_], n_draws: int = DRAWS) -> list[tuple[float, Encoded]]:
        """The people with all other phenotypes drawn given the known ones (P,), each draw with its weight; weights add up to 1.

        Unknown columns are Gaussian given the known ones, by the training people's covariance. It is that of encoded values, gaps at 0,
        so that a person with gaps is drawn like training people with theirs. Rare levels, which take no part in it, stay at their mean; a
        column that is a copy of a known one follows it. A single unknown column takes the three values of a Gauss-Hermite rule, several
        take random ones in pairs mirrored around their expectation. What a person lacks is not drawn: it is not known of them either way.
        """
        unknown = ~known[self.encoded.owner]
        twins = self._twins(unknown)
        free = unknown & self._varying
        free[[column for column, _, _ in twins]] = False
        centre, root = self._given(unknown, free)
        nodes: list[tuple[float, NDArray[np.float64] | float]] = [(1.0, 0.0)]
        if root.shape[1] == 1:
            nodes = [(2 / 3, 0.0), (1 / 6, np.sqrt(3.0) * root[:, 0]), (1 / 6, -np.sqrt(3.0) * root[:, 0])]
        elif root.shape[1] > 1:
            generator = np.random.default_rng([self.seed, *np.flatnonzero(free).tolist()])
            half = [generator.standard_normal((len(self), root.shape[1])) @ root.T for _ in range(n_draws // 2)]
            nodes = [(1 / n_draws, sign * away) for away in half for sign in (1, -1)]
        drawn = []
        for weight, away in nodes:
            values = np.where(unknown, 0, self.encoded.values)
            values[:, free] = centre + away
            for column, twin, direction in twins:
                values[:, column] = direction * values[:, twin]
            values[self.encoded.missing[:, self.encoded.owner]] = 0
            drawn.append((weight, Encoded(values, self.encoded.missing, self.encoded.columns, self.encoded.owner)))
        return drawn

    def _given(self, unknown: NDArray[np.bool_], free: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expectation (N, U) of U free columns given the known ones, and a root (U, q) of their covariance."""
        told = ~unknown & self._varying
        across = self._covariance[np.ix_(told, free)]
        slope = np.linalg.solve(self._covariance[np.ix_(told, told)], across) if told.any() else across
        spread = self._covariance[np.ix_(free, free)] - across.T @ slope
        values, vectors = np.linalg.eigh((spread + spread.T) / 2)
        kept = values > 1e-9
        return self.encoded.values[:, told] @ slope, vectors[:, kept] * np.sqrt(values[kept])

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """Phenotypes (P,) in which training people did not differ."""
        return np.array([p.constant for p in self.schema.phenotypes])

    @cached_property
    def _varying(self) -> NDArray[np.bool_]:
        """Encoded columns (F,) that are neither constant nor of a rare level."""
        return np.array(
            [
                scale > 0 and not (p.kind in ("binary", "categorical") and not RARE <= mean <= 1 - RARE)
                for p in self.schema.phenotypes
                for mean, scale in zip(p.mean, p.scale, strict=True)
            ]
        )

    @cached_property
    def _covariance(self) -> NDArray[np.float64]:
        """The training people's covariance with a little on its diagonal, so that it can be inverted."""
        if self.schema.covariance is None:
            raise ConnectomeError(
                "this model does not know how phenotypes go together, which conditional values need; use missing='reference'"
            )
        return self.schema.covariance + 1e-9 * np.eye(len(self.schema.covariance))

    def _twins(self, unknown: NDArray[np.bool_]) -> list[Copy]:
        """Unknown columns that a known one tells exactly."""
        found = [
            (column, twin, sign) for a, b, sign in self.copies for column, twin in ((a, b), (b, a)) if unknown[column] and not unknown[twin]
        ]
        return list({column: (column, twin, sign) for column, twin, sign in found}.values())

"""A model's expected connectomes as a few coordinates: what a profile does, without ever writing out all edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.phenotypes import Encoded, Phenotype, PhenotypeSchema
from connectome_gnn.slices import slices

__all__ = ["Predictor"]

PEOPLE_AT_ONCE = 1024
TRIED = 64
"""People whose predictions show whether they lie in the space of a model's components."""

OUTSIDE = 1e-5
"""Share of a prediction's length that float32 may leave outside."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """Deviations from the group mean, in standard deviations of an edge, as ``coordinates(profile) @ basis``.

    Attributes
    ----------
    schema : the phenotypes that the model knows.
    basis : (L, kept edges) float32 orthonormal rows.
    design : from encoded profiles to (n, Q) numbers of which coordinates are sums.
    maps : (Q, L) those sums.
    n_jobs : threads over people.
    """

    schema: PhenotypeSchema
    basis: NDArray[np.float32]
    design: Callable[[Encoded], NDArray[np.float32]]
    maps: NDArray[np.float32]
    n_jobs: int = 1

    @classmethod
    def of(cls, model: ConnectomeModel, people: Encoded, n_jobs: int = 1) -> Predictor:
        """The predictor of a fitted model; ``people`` are some profiles to try it on.

        Raises
        ------
        ConnectomeError
            If it is no fitted model.
        """
        if not isinstance(model, ConnectomeModel):
            raise ConnectomeError(f"expected a fitted model of connectomes, got {type(model).__name__}; open a folder with its load")
        model._check_fitted()
        if isinstance(model, ConnectomeGenerator) and model.transfer is None:
            return replace(_of_generator(model), n_jobs=n_jobs)
        deviation = _deviation_of(model)
        some = Encoded(people.values[:TRIED], people.missing[:TRIED], people.columns, people.owner)
        tried, basis = deviation(some), model.space.basis
        inside = tried @ basis.T @ basis if len(basis) else np.zeros_like(tried)
        if isinstance(model, ConnectomeGenerator) or ((tried - inside) ** 2).sum() > OUTSIDE**2 * (tried**2).sum():
            basis = np.eye(tried.shape[1], dtype=np.float32)
        return cls(model.schema, basis, deviation, np.ascontiguousarray(basis.T), n_jobs)

    def coordinates(self, encoded: Encoded) -> NDArray[np.float32]:
        """Coordinates (n, L) of encoded profiles."""
        out = np.empty((len(encoded.values), len(self.basis)), np.float32)

        def fill(rows: slice) -> None:
            some = Encoded(encoded.values[rows], encoded.missing[rows], encoded.columns, encoded.owner)
            np.matmul(self.design(some), self.maps, out=out[rows])

        parts = list(slices(len(out), PEOPLE_AT_ONCE))
        if self.n_jobs == 1 or len(parts) == 1:
            for rows in parts:
                fill(rows)
        else:
            with ThreadPoolExecutor(self.n_jobs) as pool:
                list(pool.map(fill, parts))
        return out

    def reduced(self, coordinates: Sequence[NDArray[np.float32]], tolerance: float) -> Predictor:
        """The same with as few coordinates as hold all but a share ``tolerance`` of the energy of those given, (n, L) each."""
        gram = np.zeros((len(self.basis),) * 2)
        for some in coordinates:
            part = some.astype(np.float64)
            gram += part.T @ part
        values, vectors = eigh(gram)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        left = 1 - np.cumsum(values) / max(values.sum(), 1e-300)
        number = min(int((left > tolerance).sum()) + 1, len(values)) if values.sum() > 0 else 1
        turn = np.ascontiguousarray(vectors[:, :number]).astype(np.float32)
        return replace(self, basis=np.ascontiguousarray(turn.T @ self.basis), maps=self.maps @ turn)


def _of_generator(model: ConnectomeGenerator) -> Predictor:
    closed = model.closed_form
    maps = closed.maps @ closed.basis.T
    if not model.members:
        return Predictor(model.schema, closed.basis, closed.design, maps)
    k = len(model.gate)
    gate = np.zeros((k, len(closed.basis)), np.float32)
    gate[:, :k] = np.diag(model.gate)  # the components come first in the basis
    return Predictor(model.schema, closed.basis, partial(_with_network, model), np.concatenate([maps, gate]))


def _with_network(model: ConnectomeGenerator, encoded: Encoded) -> NDArray[np.float32]:
    """Features of the closed form, and behind them what the network adds to the components."""
    components = np.mean([member.components(encoded) for member in model.members], 0)
    return np.concatenate([model.closed_form.design(encoded), components.astype(np.float32)], 1)


class _PassingSchema(PhenotypeSchema):
    """A schema for profiles that are encoded already."""

    def encode(self, table: Any) -> Encoded:
        return table if isinstance(table, Encoded) else super().encode(table)


def _deviation_of(model: ConnectomeModel) -> Callable[[Encoded], NDArray[np.float32]]:
    """A model's deviations of encoded profiles in place of a table; levels that only the source of a fine-tuned one knows are lost."""
    if hasattr(model, "classes") or getattr(model, "transfer", None) is not None:  # looks at the table itself
        return partial(_of_table, model)
    twin = copy(model)
    twin.schema = _PassingSchema(model.schema.phenotypes, model.schema.covariance, model.schema.limit)
    twin.features = replace(model.features, schema=twin.schema)
    return twin._deviation  # type: ignore[return-value]


def _of_table(model: ConnectomeModel, encoded: Encoded) -> NDArray[np.float32]:
    return model._deviation(_table(model.schema, encoded))


def _table(schema: PhenotypeSchema, encoded: Encoded) -> pd.DataFrame:
    """Encoded profiles as the table they could come from; values between two levels become the nearer one."""
    columns = {}
    for number, phenotype in enumerate(schema.phenotypes):
        values = encoded.values[:, encoded.owner == number] * np.array(phenotype.scale) + np.array(phenotype.mean)
        known = _values(phenotype, values)
        known[encoded.missing[:, number]] = None
        columns[phenotype.name] = known
    table = pd.DataFrame(columns, dtype=object)
    return table.assign(**{p.name: pd.to_numeric(table[p.name]) for p in schema.phenotypes if p.kind == "continuous"})


def _values(phenotype: Phenotype, raw: NDArray[np.float64]) -> NDArray[Any]:
    if phenotype.kind == "continuous":
        return raw[:, 0].astype(object)
    codes = np.array(phenotype.codes, object)
    place = raw.argmax(1) if phenotype.kind == "categorical" else np.clip(np.rint(raw[:, 0]), 0, len(codes) - 1).astype(int)
    return codes[place]

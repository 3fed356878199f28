"""Nuisances: phenotypes that shape connectomes and are of no interest, as the site; what generation sets them to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.cohort import Cohort

__all__ = ["Nuisance", "Nuisances", "check_nuisance", "check_present"]

Nuisance = str | Mapping[str, Any] | None
"""What is asked of nuisances in generation: ``"reference"``, ``"average"``, ``"own"``, or values by name."""

WAYS = ("reference", "average", "own")
BINS = 5
"""A number is averaged over by the means of its fifths."""

MOST_ROWS = 64
"""Combinations of nuisances that are averaged over, the commonest ones."""


def check_nuisance(names: Sequence[str] | str, reference: Mapping[str, Any] | str | None, private: bool) -> tuple[str, ...]:
    """Names of nuisances, each once.

    Raises
    ------
    ConnectomeError
        If a name is no text or occurs twice; if the reference is neither ``"average"`` nor values of nuisances; if a differentially private
        model is to average, which would need their joint distribution.
    """
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    if not all(isinstance(name, str) and name for name in found) or len(set(found)) < len(found):
        raise ConnectomeError(f"expected nuisance as different names of phenotypes, got {names!r}")
    if isinstance(reference, Mapping):
        unknown = [name for name in reference if name not in found]
        if unknown:
            raise ConnectomeError(f"nuisance_reference names {unknown[0]!r}, which is no nuisance; these are {listed(found) or 'none'}")
    elif reference is not None and not (isinstance(reference, str) and reference == "average"):
        raise ConnectomeError(f"expected nuisance_reference as values by nuisance or 'average', got {reference!r}")
    if private and reference == "average":
        raise ConnectomeError("a differentially private model does not know which nuisances go together, so it cannot average over them")
    return found


def check_present(names: Sequence[str], cohort: Cohort) -> None:
    """Raise unless a cohort has all of these phenotypes."""
    absent = [name for name in names if name not in cohort.phenotypes]
    if absent:
        raise ConnectomeError(f"cohort {cohort.name!r} has no phenotype {absent[0]!r}, which was named as a nuisance; leave it out")


@dataclass(frozen=True, eq=False)
class Nuisances:
    """Nuisances of a fitted model.

    Attributes
    ----------
    phenotypes : as they were in training people.
    reference : value of each that generation sets it to: a number, or the code of a level.
    way : what generation does unless asked otherwise: ``"reference"`` or ``"average"``.
    table : (K, n) combinations in training people, numbers by the means of their fifths; None where they must not be known.
    shares : (K,) of training people.
    """

    phenotypes: tuple[Phenotype, ...]
    reference: dict[str, Any]
    way: str
    table: pd.DataFrame | None
    shares: NDArray[np.float64]

    @classmethod
    def learn(
        cls, names: Sequence[str], reference: Mapping[str, Any] | str | None, schema: PhenotypeSchema, people: pd.DataFrame | None
    ) -> Nuisances:
        """Of training people.

        Parameters
        ----------
        names : of the nuisances.
        reference : values of some of them, otherwise the commonest level or the mean; or ``"average"``.
        schema : of the training people's phenotypes.
        people : their table; None for what the schema says alone.

        Raises
        ------
        ConnectomeError
            If a name is none of the model's phenotypes, or a value none that the phenotype can have.
        """
        phenotypes = tuple(_known(schema, name) for name in names)
        values = {p.name: _typical(p) for p in phenotypes}
        if isinstance(reference, Mapping):
            values |= {p.name: _value(p, reference[p.name]) for p in phenotypes if p.name in reference}
        table, shares = (None, np.zeros(0)) if people is None else _combinations(phenotypes, people)
        return cls(phenotypes, values, "average" if reference == "average" else "reference", table, shares)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(p.name for p in self.phenotypes)

    def set(self, table: pd.DataFrame, asked: Nuisance = None) -> pd.DataFrame:
        """Profiles with their nuisances as asked; those of people to be averaged over are missing.

        Parameters
        ----------
        table : a row a person; it need not have columns of nuisances.
        asked : ``"reference"``, ``"average"``, ``"own"`` (as the table has them), or values by name, others at the reference; default the
            model's :attr:`way`.

        Raises
        ------
        ConnectomeError
            If something else is asked, or a value is none that the phenotype can have.
        """
        way = self.way if asked is None else asked
        if isinstance(way, Mapping):
            unknown = [name for name in way if name not in self.names]
            if unknown:
                raise ConnectomeError(f"{unknown[0]!r} is no nuisance of the model; these are {listed(self.names)}")
            values = self.reference | {p.name: _value(p, way[p.name]) for p in self.phenotypes if p.name in way}
        elif not isinstance(way, str) or way not in WAYS:
            raise ConnectomeError(f"expected nuisance as one of {listed(WAYS)} or as values by name, got {way!r}")
        elif way == "own":
            return table
        elif way == "average" and self.table is None:
            raise ConnectomeError(
                "a differentially private model does not know which nuisances go together, so it cannot average over them"
            )
        else:
            values = self.reference if way == "reference" else dict.fromkeys(self.names, np.nan)
        columns = {p.name: pd.Series(values[p.name], table.index, float if p.kind == "continuous" else object) for p in self.phenotypes}
        return table.assign(**columns)

    def averaged(self, profiles: pd.DataFrame) -> NDArray[np.bool_]:
        """Rows (n,) of profiles without any nuisance, which are averaged over."""
        if self.table is None:
            return np.zeros(len(profiles), bool)
        missing: NDArray[np.bool_] = profiles[list(self.names)].isna().to_numpy()
        return np.asarray(missing.all(1))

    def each(self, profiles: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
        """Profiles with each combination of nuisances that training people have, and the share of those people."""
        if self.table is None:
            return [(1.0, profiles)]
        rows = range(len(self.table))
        return [(float(self.shares[row]), self._placed(profiles, np.full(len(profiles), row))) for row in rows]

    def drawn(self, profiles: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
        """Profiles with nuisances drawn as training people have them, for those without any."""
        rows = self.averaged(profiles)
        if not rows.any():
            return profiles
        drawn = self._placed(profiles, generator.choice(len(self.shares), len(profiles), p=self.shares))
        return drawn if rows.all() else drawn.where(pd.Series(rows, profiles.index), profiles)

    def _placed(self, profiles: pd.DataFrame, rows: NDArray[np.intp]) -> pd.DataFrame:
        if self.table is None:
            return profiles
        return profiles.assign(**{name: self.table[name].to_numpy()[rows] for name in self.names})

    def to_dict(self) -> dict[str, Any]:
        """What was learned beside the schema, as plain JSON values."""
        rows = None if self.table is None else self.table.astype(object).where(self.table.notna(), None).to_dict("list")
        return {"names": list(self.names), "reference": self.reference, "way": self.way, "table": rows, "shares": self.shares.tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], schema: PhenotypeSchema) -> Nuisances:
        """The inverse of :meth:`to_dict`."""
        phenotypes = tuple(_known(schema, name) for name in record["names"])
        rows = record["table"]
        table = None if rows is None else _typed(phenotypes, pd.DataFrame(rows, dtype=object))
        return cls(phenotypes, dict(record["reference"]), record["way"], table, np.array(record["shares"], float))


def _known(schema: PhenotypeSchema, name: str) -> Phenotype:
    found = next((p for p in schema.phenotypes if p.name == name), None)
    if found is None:
        raise ConnectomeError(f"nuisance {name!r} is none of the training people's phenotypes, which are {listed(schema.names)}")
    return found


def _typical(phenotype: Phenotype) -> Any:
    """The mean of a number, the commonest level, or the ordinal level nearest to the mean; from the schema, which privacy allows."""
    if phenotype.kind == "continuous":
        return float(phenotype.mean[0])
    place = int(np.argmax(phenotype.mean)) if phenotype.kind == "categorical" else round(phenotype.mean[0])
    return phenotype.codes[min(max(place, 0), len(phenotype.codes) - 1)]


def _value(phenotype: Phenotype, value: Any) -> Any:
    """A value as the phenotype has it.

    Raises
    ------
    ConnectomeError
        If it can have no such value.
    """
    (position,) = phenotype.positions(pd.Series([value], ["of the nuisance"], name=phenotype.name))
    if np.isnan(position):
        raise ConnectomeError(f"nuisance {phenotype.name!r}: expected a value, got {value!r}")
    return float(position) if phenotype.kind == "continuous" else phenotype.codes[int(position)]


def _combinations(phenotypes: tuple[Phenotype, ...], people: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Combinations of nuisances in people, commonest first, and their shares."""
    columns = {}
    for phenotype in phenotypes:
        column = people[phenotype.name]
        if phenotype.kind == "continuous":
            numbers = pd.Series(phenotype.positions(column))
            fifth = pd.qcut(numbers, BINS, labels=False, duplicates="drop")
            columns[phenotype.name] = numbers.groupby(fifth, dropna=False).transform("mean").where(numbers.notna())
        else:
            columns[phenotype.name] = pd.Series(
                [None if missing else level_text(v) for v, missing in zip(column, column.isna(), strict=True)]
            )
    table = _typed(phenotypes, pd.DataFrame(columns, dtype=object))
    counts = table.value_counts(dropna=False, sort=False)
    order = np.argsort(-counts.to_numpy(), kind="stable")[:MOST_ROWS]
    found = counts.index.to_frame(index=False).iloc[order].reset_index(drop=True)
    shares = counts.to_numpy(np.float64)[order]
    return _typed(phenotypes, found), shares / shares.sum()


def _typed(phenotypes: tuple[Phenotype, ...], table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float64, levels as text, missing ones as NaN."""
    return pd.DataFrame(
        {
            p.name: pd.to_numeric(table[p.name]).astype(float)
            if p.kind == "continuous"
            else pd.Series([np.nan if pd.isna(value) else str(value) for value in table[p.name]], table.index, object)
            for p in phenotypes
        }
    )

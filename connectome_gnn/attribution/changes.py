"""Stated changes of phenotypes: ``"age: 50 -> 70"``, ``"sex: F -> M"``, ``"age: +1 SD"``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.attribution.arguments import check_model
from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError, ExtrapolationWarning
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.phenotypes import Phenotype

__all__ = ["Change", "counterfactual", "known_value", "parse_changes", "phenotype_of", "profiles_at", "understood"]

NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
STEPS = re.compile(rf"\s*({NUMBER})\s*SDs?\s*", re.IGNORECASE)
POPULATION = "population mean"


@dataclass(frozen=True)
class Change:
    """A phenotype's change.

    Parameters
    ----------
    name : of the phenotype.
    before, after : its values; or, with ``steps``, both None.
    steps : how many training standard deviations are added to what each person has.
    mean, scale : of the phenotype in training people, for ``steps``.
    """

    name: str
    before: Any = None
    after: Any = None
    steps: float | None = None
    mean: float = 0.0
    scale: float = 1.0

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.name}: {self.steps:+g} SD"
        before, after = (f"{end:g}" if isinstance(end, float) else end for end in (self.before, self.after))
        return f"{self.name}: {before} -> {after}"

    def apply(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Profiles before and after; with ``steps`` a missing value counts as the training mean."""
        if self.steps is None:
            return table.assign(**{self.name: self.before}), table.assign(**{self.name: self.after})
        start = pd.to_numeric(table[self.name]).astype(np.float64).fillna(self.mean)
        return table.assign(**{self.name: start}), table.assign(**{self.name: start + self.steps * self.scale})


def parse_changes(changes: str | Mapping[str, Any], model: ConnectomeModel) -> tuple[Change, ...]:
    """Changes from text or a mapping.

    Parameters
    ----------
    changes : ``"age: 50 -> 70"``, ``"sex: F -> M"``, ``"age: +1 SD"``, several apart by semicolons; or by phenotype
        ``{"age": (50, 70), "sex": ("F", "M"), "memory": "+1 SD"}``.
    model : a fitted model, which knows the phenotypes.

    Raises
    ------
    ConnectomeError
        If the text cannot be read, a phenotype is unknown or did not differ between training people, a level is unknown or no training
        person had it, or a step of standard deviations is asked of something other than a number.
    """
    if isinstance(changes, str):
        parts = [part for part in changes.split(";") if part.strip()]
        split = [part.rpartition(":") if "->" not in part else part[: part.index("->")].rpartition(":") for part in parts]
        named = {name.strip(): part[len(name) + 1 :] for part, (name, _, _) in zip(parts, split, strict=True)}
    elif isinstance(changes, Mapping):
        named = {str(name): change for name, change in changes.items()}
    else:
        named = {}
    if not named or "" in named:
        raise ConnectomeError(f'expected a change like "age: 50 -> 70", "age: +1 SD" or {{"age": (50, 70)}}, got {changes!r}')
    return tuple(_change(phenotype_of(name, model), change) for name, change in named.items())


def phenotype_of(name: str, model: ConnectomeModel) -> Phenotype:
    """A phenotype of the model by name; refuses unknown and constant ones."""
    check_model(model)
    found = next((phenotype for phenotype in model.schema.phenotypes if phenotype.name == name), None)
    if found is None:
        raise ConnectomeError(f"the model knows no phenotype {name!r}; it has {listed(model.schema.names)}")
    if found.constant:
        raise ConnectomeError(f"phenotype {name!r} did not differ between the training people, so the model does not know what it changes")
    return found


def _change(phenotype: Phenotype, change: Any) -> Change:
    if isinstance(change, str) and (steps := STEPS.fullmatch(change)):
        if phenotype.kind != "continuous":
            raise ConnectomeError(f"phenotype {phenotype.name!r} is {phenotype.kind} and has no standard deviations; write level -> level")
        return Change(phenotype.name, steps=float(steps[1]), mean=phenotype.mean[0], scale=phenotype.scale[0])
    ends = [end.strip() for end in change.split("->")] if isinstance(change, str) else change
    if not isinstance(ends, (tuple, list, np.ndarray)) or len(ends) != 2:
        raise ConnectomeError(f"change of {phenotype.name!r}: expected two values, as in 50 -> 70 or (50, 70), or +1 SD, got {change!r}")
    before, after = (known_value(phenotype, end) for end in ends)
    return Change(phenotype.name, before, after)


def known_value(phenotype: Phenotype, value: Any) -> Any:
    """A value as a table may hold it: a number, or the code of a level that some training person had (given by code or meaning)."""
    if phenotype.kind == "continuous":
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if not np.isfinite(number):
            raise ConnectomeError(f"phenotype {phenotype.name!r}: expected a finite number, got {value!r}")
        return number
    meanings = {str(meaning): code for code, meaning in (phenotype.levels or {}).items()}
    text = level_text(value)
    code = text if text in phenotype.codes else meanings.get(text)
    if code is None:
        raise ConnectomeError(f"phenotype {phenotype.name!r}: unknown level {text!r}; the levels are {listed(phenotype.codes, 20)}")
    if phenotype.kind == "categorical" and phenotype.mean[phenotype.codes.index(code)] == 0:
        raise ConnectomeError(f"phenotype {phenotype.name!r}: no training person had level {code!r}, so the model knows nothing of it")
    return code


def profiles_at(at: pd.DataFrame | Cohort | pd.Series | Mapping[str, Any] | None, model: ConnectomeModel) -> pd.DataFrame:
    """Profiles, a row a person, with the model's phenotypes: of a table or cohort, of one profile, or (None) of the population mean.

    Raises
    ------
    ConnectomeError
        If a profile names a phenotype that the model does not know, or a table lacks one.
    """
    check_model(model)
    names = model.schema.names
    if isinstance(at, pd.Series):
        at = {str(name): value for name, value in at.items()}
    if at is None or isinstance(at, Mapping):
        known = {phenotype.name: phenotype for phenotype in model.schema.phenotypes}
        strange = [name for name in at or {} if name not in known]
        if strange:
            raise ConnectomeError(f"the model knows no phenotype {strange[0]!r}; it has {listed(model.schema.names)}")
        given = {name: np.nan if pd.isna(value) else known_value(known[name], value) for name, value in (at or {}).items()}
        return pd.DataFrame({name: [given.get(name, np.nan)] for name in names}, index=pd.Index([POPULATION], name="participant_id"))
    table = at.phenotypes if isinstance(at, Cohort) else at
    if not isinstance(table, pd.DataFrame):
        raise ConnectomeError(f"expected people as a cohort, a table of phenotypes, one profile or None, got {type(table).__name__}")
    absent = [name for name in names if name not in table]
    if absent:
        raise ConnectomeError(f"the table of profiles lacks {listed(absent)}; the model was fitted with {listed(names)}")
    return table[list(names)]


def counterfactual(changes: tuple[Change, ...], table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Profiles before and after all changes."""
    before = after = table
    for change in changes:
        before, after = change.apply(before)[0], change.apply(after)[1]
    return before, after


def understood(model: ConnectomeModel, *tables: pd.DataFrame, what: str, stacklevel: int = 3) -> list[pd.DataFrame]:
    """Tables as the model understands them; warns once, by name, where profiles lie outside the training people's."""
    profiles, outside, columns = [], 0, []
    for table in tables:
        marked, profile = model._understood(table)
        profiles.append(profile)
        outside = max(outside, int(marked["extrapolated"].sum()))
        columns += [name for name in model.schema.extrapolated(table)[1] if name not in columns]
    if outside:
        ranges = [f"{p.name!r} ({p.low:g} to {p.high:g})" for p in model.schema.phenotypes if p.name in columns]
        where = f", beyond the training range of {', '.join(ranges)}" if ranges else ""
        warnings.warn(
            f"{what}: up to {outside} of {len(tables[0])} profiles lie outside what the {model.n_training} training people looked "
            f"like{where}; the model extrapolates there",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )
    return profiles

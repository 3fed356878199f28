"""Columns of the participants table that harmonisation looks at: which site a person is from, and the covariates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning
from connectome_gnn.phenotypes import PhenotypeSchema

__all__ = ["fit_covariates", "named_columns", "sites_of", "warn_of_confounded"]

CONFOUNDED = 0.5
"""Share of a preserved phenotype's variance between sites from which it is warned of."""


def named_columns(names: Sequence[str] | str | None, what: str) -> tuple[str, ...]:
    """Names of columns, each once.

    Raises
    ------
    ConnectomeError
        If a name is no text, or occurs twice.
    """
    columns = (names,) if isinstance(names, str) else tuple(names or ())
    if not all(isinstance(name, str) and name for name in columns) or len(set(columns)) < len(columns):
        raise ConnectomeError(f"expected {what} as different names of columns, got {names!r}")
    return columns


def sites_of(cohort: Cohort, batch: str) -> NDArray[np.object_]:
    """Site of each row as text, (N,).

    Raises
    ------
    ConnectomeError
        If there is no such column, or somebody's site is missing; names them.
    """
    column = cohort._column(batch, "harmonise by")
    unknown = column.isna().to_numpy()
    if unknown.any():
        who = listed(cohort.ids[unknown].unique().astype(str), 5)
        raise ConnectomeError(
            f"cohort {cohort.name!r}: column {batch!r} is missing for {who}; nobody can be harmonised whose {batch} is not known, "
            "so fill it in or leave them out"
        )
    return np.array([level_text(value) for value in column], object)


def fit_covariates(cohort: Cohort, names: Sequence[str], what: str) -> PhenotypeSchema:
    """Schema of some columns, fitted on training people.

    Raises
    ------
    ConnectomeError
        If a column does not exist, or is free text.
    """
    table = pd.DataFrame({name: cohort._column(name, what) for name in names}, index=cohort.ids)
    if not names:
        return PhenotypeSchema(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhenotypeWarning)  # said below in the words of harmonisation
        schema = PhenotypeSchema.fit(table, cohort.described)
    free = [name for name in names if name not in schema.names]
    if free:
        raise ConnectomeError(
            f"cohort {cohort.name!r}: column {free[0]!r} is text with almost as many values as people, which nothing can be learned of; "
            "leave it out, or give its Levels in participants.json"
        )
    constant = [p.name for p in schema.phenotypes if p.constant]
    if constant:
        warnings.warn(f"{listed(constant)}: everybody alike in the training people, so there is nothing to {what}", PhenotypeWarning, 4)
    gaps = [f"{p.name!r} ({100 * p.missing:.0f} %)" for p in schema.phenotypes if p.missing > 0]
    if gaps:
        warnings.warn(f"missing in training people, counted as their mean: {', '.join(gaps)}", PhenotypeWarning, 4)
    return schema


def warn_of_confounded(schema: PhenotypeSchema, values: NDArray[np.float64], group: NDArray[np.intp], batch: str) -> None:
    """Warn of preserved phenotypes that differ more between sites than within them: what is whose cannot be told well.

    Parameters
    ----------
    schema : of the preserved phenotypes.
    values : (N, F) encoded training people.
    group : (N,) site of each.
    batch : name of the site's column.
    """
    number = np.bincount(group)
    mean = np.stack([np.bincount(group, column) / number for column in values.T], 1) if values.shape[1] else np.zeros((len(number), 0))
    within, total = ((values - mean[group]) ** 2).sum(0), ((values - values.mean(0)) ** 2).sum(0)
    share = 1 - np.divide(within, total, out=np.ones_like(total), where=total > 0)
    found = [(p.name, float(share[schema.owner == place].max())) for place, p in enumerate(schema.phenotypes)]
    told = [f"{name!r} ({100 * part:.0f} % of its variance)" for name, part in found if part > CONFOUNDED]
    if told:
        warnings.warn(
            f"confounded with {batch!r}, between whose levels they differ: {', '.join(told)}; what the site does and what they do can "
            "hardly be told apart, so either may be left in or taken out with the other",
            PhenotypeWarning,
            stacklevel=4,
        )

"""Classes of people by their phenotypes, for models that know classes only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.generation.features import age_and_sex
from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema

__all__ = ["PhenotypeClasses"]

TERCILES = (1 / 3, 2 / 3)


@dataclass(frozen=True)
class PhenotypeClasses:
    """Classes by terciles of age and by sex; without either by the phenotype that tells most about connectomes.

    Parameters
    ----------
    factors : the phenotypes that make up the classes.
    cuts : for each the values between its bins on its numeric scale (positions of the levels of what is not continuous).
    shares : (C,) share of training people in each class, the classes being all combinations of bins, the last factor's fastest.
    """

    factors: tuple[Phenotype, ...]
    cuts: tuple[tuple[float, ...], ...]
    shares: NDArray[np.float64]

    @classmethod
    def fit(cls, schema: PhenotypeSchema, table: pd.DataFrame, scores: NDArray[np.float64]) -> PhenotypeClasses:
        """Learn the classes from training people.

        Parameters
        ----------
        table : phenotypes of the training people.
        scores : (n, K) what the leading phenotype is to explain: the one whose bins leave the least squared error for each degree of
            freedom. Where no phenotype differs between people, all are of one class.
        """
        names = [name for name in age_and_sex(schema) if name is not None]
        factors = [next(p for p in schema.phenotypes if p.name == name) for name in names]
        if not factors:
            candidates = [p for p in schema.phenotypes if not p.constant]
            factors = sorted(candidates, key=lambda p: _unexplained(_bins(p, _cuts(p, table), table), scores))[:1]
        cuts = tuple(_cuts(p, table) for p in factors)
        alike = cls(tuple(factors), cuts, np.ones(int(np.prod([len(c) + 1 for c in cuts]))))
        return cls(alike.factors, cuts, alike.memberships(table).mean(0))

    @property
    def n_classes(self) -> int:
        """Number of classes C, those without training people included."""
        return len(self.shares)

    def memberships(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """How likely each person is of each class, (N, C), rows summing to 1.

        1 for the class of a person whose phenotypes are known; where some are missing, shares of the classes that fit the others.
        """
        fits = np.ones((len(table), 1))
        for phenotype, cuts in zip(self.factors, self.cuts, strict=True):
            bins = _bins(phenotype, cuts, table)
            of_bin = (bins[:, None] == np.arange(len(cuts) + 1)) | (bins < 0)[:, None]
            fits = (fits[:, :, None] * of_bin[:, None]).reshape(len(table), -1)
        weights = fits * self.shares
        # A class without training people tells nothing: such profiles are like everybody.
        weights[weights.sum(1) == 0] = self.shares
        return weights / weights.sum(1, keepdims=True)


def _cuts(phenotype: Phenotype, table: pd.DataFrame) -> tuple[float, ...]:
    """Terciles of a continuous phenotype; halfway between the levels of any other."""
    if phenotype.kind != "continuous":
        return tuple(np.arange(len(phenotype.codes) - 1) + 0.5)
    values = phenotype.positions(table[phenotype.name])
    return tuple(map(float, np.unique(np.nanquantile(values, TERCILES))))


def _bins(phenotype: Phenotype, cuts: tuple[float, ...], table: pd.DataFrame) -> NDArray[np.intp]:
    """The bin of every person, (N,), -1 where the phenotype is missing."""
    values = phenotype.positions(table[phenotype.name])
    return np.where(np.isnan(values), -1, np.searchsorted(np.array(cuts), values, side="left"))


def _unexplained(bins: NDArray[np.intp], scores: NDArray[np.float64]) -> float:
    """Squared error of people around the means of their bins, those without a value a bin of their own, for each degree of freedom."""
    found = np.unique(bins)
    error = sum(((scores[bins == number] - scores[bins == number].mean(0)) ** 2).sum() for number in found)
    return float(error / max(len(scores) - len(found), 1))

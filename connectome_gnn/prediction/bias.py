"""Bias of predicted ages: the young are predicted too old and the old too young, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.errors import ConnectomeError

__all__ = ["AgeBias", "Correction"]

Correction = Literal["de_lange", "cole"]

LEAST_SLOPE = 0.01


@dataclass(frozen=True)
class AgeBias:
    """The line ``predicted = slope * age + intercept`` through training people whom their predictions had not seen.

    The gap of a person is what is left of the prediction beside that line. ``de_lange`` (de Lange et al. 2019, PNAS 116:22341; Beheshti
    et al. 2019): ``gap = predicted - (slope * age + intercept)``, in years of prediction. ``cole`` (Cole et al. 2018, Mol Psychiatry
    23:1385): ``gap = (predicted - intercept) / slope - age``, the same in years of age. The corrected prediction is age plus gap: it holds
    the person's own age, so its correlation with age says nothing about the model.

    Attributes
    ----------
    slope, intercept : the line.
    correction : which of the two.
    """

    slope: float
    intercept: float
    correction: Correction = "de_lange"

    @classmethod
    def fit(cls, age: NDArray[np.float64], predicted: NDArray[np.float64], correction: Correction = "de_lange") -> AgeBias:
        """Least squares through training people's ages (n,) and their predictions by models that had not seen them (n,)."""
        if correction not in get_args(Correction):
            raise ConnectomeError(f"expected correction to be one of {', '.join(get_args(Correction))} or None, got {correction!r}")
        centred = age - age.mean()
        slope = float(centred @ predicted / (centred @ centred))
        return cls(slope, float(predicted.mean() - slope * age.mean()), correction)

    def gap(self, age: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrected gap (N,) of people with these ages and predictions (N,), in years; NaN where a slope of 0 cannot divide."""
        if self.correction == "cole":
            if abs(self.slope) < LEAST_SLOPE:
                return np.full(len(age), np.nan)
            return (predicted - self.intercept) / self.slope - age
        return predicted - (self.slope * age + self.intercept)

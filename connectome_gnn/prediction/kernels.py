"""Kernel ridge regression on connectomes: linear, cosine, Gaussian, and along the Riemannian geometry of correlation matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction.edge_predictor import EdgePredictor
from connectome_gnn.prediction.edge_rows import EdgeRows
from connectome_gnn.prediction.interface import Target
from connectome_gnn.prediction.linear import against_others, one_column, prior_odds
from connectome_gnn.prediction.matrix_logarithm import log_euclidean
from connectome_gnn.prediction.spectrum import Spectrum

__all__ = ["KERNELS", "KernelRidge"]

KERNELS = ("linear", "cosine", "rbf", "riemannian")
WIDTHS = (0.5, 2.0, 8.0)
"""Squared length scales of the Gaussian kernel, in median squared distances between training people."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel between a person and each training person, centred in training people.

    Attributes
    ----------
    name : one of :data:`KERNELS`.
    width : squared length scale of the Gaussian, 0 for the others.
    mean, deviation : (E,) of training people's edges, by which others' are standardised.
    points : (n, F) what training people are compared by.
    """

    name: str
    width: float
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    points: NDArray[np.float32]
    _last: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def plain(self) -> NDArray[np.float64]:
        """(n, n) the kernel between training people before centring."""
        return self._between(self.points)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the centred kernel between training people."""
        return Spectrum.of_kernel(self._centred(self.plain))

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, n) the centred kernel between people with edges (N, E) on the modelling scale and training people.

        That of the people last asked for is kept: models of many targets share a kernel.
        """
        if self._last.get("values") is not values:
            self._last.update(values=values, answer=self._centred(self._between(self.features(values))))
        return self._last["answer"]

    def features(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) what people are compared by."""
        if self.name == "riemannian":
            return log_euclidean(values)
        x = (values - self.mean) / self.deviation
        if self.name == "linear":
            return x / np.float32(np.sqrt(x.shape[1]))
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) if self.name == "cosine" else x

    def _between(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        products = (features @ self.points.T).astype(np.float64)
        if self.name != "rbf":
            return products
        sizes, own = (features.astype(np.float64) ** 2).sum(1), (self.points.astype(np.float64) ** 2).sum(1)
        return np.exp(-np.maximum(sizes[:, None] + own - 2 * products, 0) / (2 * self.width))

    def _centred(self, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
        return kernel - self.plain.mean(0) - kernel.mean(1, keepdims=True) + self.plain.mean()


class KernelRidge(EdgePredictor):
    """Kernel ridge regression, the kernel and its strength chosen by the squared error for people left out, which needs no refitting.

    Kernels of standardised edges: ``linear``; ``cosine``, blind to how far a person is from the mean; ``rbf``, Gaussian, of three widths.
    Of correlations also ``riemannian``: the inner product of matrix logarithms (log-Euclidean; Arsigny et al. 2006). Kernels are centred
    in training people. Classes are regressed as 0 and 1, each against the others, and the value predicted for those left out becomes a
    probability by logistic regression (Platt 1999). The training people's edges are part of the model (``holds_training_people``).

    Parameters
    ----------
    kernels : which to choose from; default all that the weights allow.
    seed : of nothing; kernel ridge draws nothing at random.

    Raises
    ------
    ConnectomeError
        If a kernel is not known; on fitting, if the only kernel is for correlations and the weights are none.
    """

    name = "kernel ridge"
    holds_training_people = True
    options = ("kernels",)

    def __init__(self, kernels: Sequence[str] | None = None, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        unknown = [kernel for kernel in kernels or () if kernel not in KERNELS]
        if unknown or (kernels is not None and not kernels):
            raise ConnectomeError(f"kernel ridge chooses from the kernels {', '.join(KERNELS)}, got {', '.join(unknown) or 'none'}")
        self.kernels = None if kernels is None else tuple(kernels)

    def _learn(self, cohort: Cohort, rows: EdgeRows, target: Target) -> None:
        y = against_others(target) if target.classes else target.values[:, None]
        wanted = tuple(name for name in self.kernels or KERNELS if name != "riemannian" or rows.read_as.signed)
        if not wanted:
            raise ConnectomeError("the riemannian kernel compares correlation matrices, and these weights are none; choose another kernel")
        best: tuple[Kernel, float] | None = None
        least = np.inf
        for kernel in rows.once(wanted, lambda: _kernels(rows, wanted)):
            for strength in kernel.spectrum.strengths():  # one for all classes
                error = float(((y - kernel.spectrum.left_out(y, float(strength), rows.units)) ** 2).sum())
                if best is None or error < least:
                    best, least = (kernel, float(strength)), error
        kernel, strength = cast(tuple[Kernel, float], best)
        self._kernel: Kernel = kernel
        self.facts = {"kernel": kernel.name, "width": kernel.width, "strength": strength}
        self.arrays = {
            **{name: getattr(kernel, name) for name in ("points", "mean", "deviation")},
            "dual": kernel.spectrum.dual(y, np.full(y.shape[1], strength)),
            "intercepts": y.mean(0),
        }
        if target.classes:
            left_out = kernel.spectrum.left_out(y, strength, rows.units)
            self.arrays["platt"] = np.array([_platt(left_out[:, place], y[:, place]) for place in range(y.shape[1])])

    def say(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers (N,), or probabilities (N, K), of people with edges (N, E) on the modelling scale."""
        answer = self._kernel.of(values) @ self.arrays["dual"] + self.arrays["intercepts"]
        if not self.classes_:
            return answer[:, 0]
        slope, intercept = self.arrays["platt"].T
        return one_column(expit(slope * answer + intercept))

    def _restore(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Self:
        super()._restore(record, arrays)
        self._kernel = Kernel(self.facts["kernel"], self.facts["width"], arrays["mean"], arrays["deviation"], arrays["points"])
        return self


def _kernels(rows: EdgeRows, wanted: Sequence[str]) -> list[Kernel]:
    """Kernels of training people by name, the Gaussian in each width."""
    nobody = np.empty((0, 0), np.float32)
    made = []
    for name in wanted:
        points = Kernel(name, 0.0, rows.standard.mean, rows.standard.deviation, nobody).features(rows.values)
        widths = [0.0]
        if name == "rbf":
            sizes = (points.astype(np.float64) ** 2).sum(1)
            apart = sizes[:, None] + sizes - 2 * points @ points.T
            typical = float(np.median(apart[np.triu_indices(len(points), 1)]))
            widths = [width * max(typical, 1e-12) for width in WIDTHS]
        made += [Kernel(name, width, rows.standard.mean, rows.standard.deviation, points) for width in widths]
    return made


def _platt(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the log odds in a score; slope 0 where those left out score higher in the other class, by chance."""
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std())
    if spread > 1e-12 and np.ptp(labels) > 0:
        model = LogisticRegression(C=100.0).fit(scores[:, None] / spread, labels.astype(np.intp))
        if model.coef_[0, 0] > 0:
            return float(model.coef_[0, 0] / spread), float(model.intercept_[0])
    return 0.0, prior_odds(labels)

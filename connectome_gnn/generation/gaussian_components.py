"""A joint Gaussian of edge components and phenotypes: conditional mean, spread and density in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky
from sklearn.covariance import ledoit_wolf

from connectome_gnn.cohort import Cohort
from connectome_gnn.generation.dependence import low_rank_draw
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.likelihood import log_density
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.training_data import TrainingData

__all__ = ["ClippedGaussian", "GaussianComponents", "edge_shrinkage"]

FOLDS = 5
JOINT = (0, 5, 10, 20, 40, 80, 160, 320)
"""Numbers of leading components that cross-validation chooses from for the joint covariance."""

FAR = 1000.0
"""Standard deviations that stand for infinitely far."""


@dataclass(frozen=True)
class ClippedGaussian:
    """Edges that are normal on the modelling scale with low-rank plus diagonal covariance; what falls below 0 is an absent edge.

    Parameters
    ----------
    mean, std : (E,) of training people's edges, modelling scale.
    loadings : (Q, E) factors around the conditional mean, in standard deviations of an edge.
    noise : (E,) standard deviation of each edge's own part, in the same unit; 0 for edges that do not vary.
    signed : whether weights are correlations, of which none is clipped.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    signed: bool

    @property
    def marginals(self) -> ClippedGaussian:
        """Each edge's distribution over people: this one's :meth:`scores` and :attr:`thresholds`."""
        return self

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """(2, E) standardised values between which an edge is absent; the same number twice where none is."""
        high = np.zeros(len(self.std)) if self.signed else -self.mean.astype(np.float64) / np.where(self.noise > 0, self.std, 1)
        return np.stack([high if self.signed else np.minimum(high, 0) - FAR, high])

    def scores(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standardised edges (n, E), NaN where absent, and the logarithm of the modelling-scale value's slope in them, (n, E)."""
        unit = np.where(self.noise > 0, self.std, 1).astype(np.float64)
        absent = np.zeros(values.shape, bool) if self.signed else values <= 0
        scores = np.where(absent, np.nan, (values - self.mean) / unit)
        return scores, np.where(absent | (self.noise <= 0), 0, np.log(unit))

    def draw(self, deviation: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """Modelling-scale values (n, E) of new people around deviations (n, E) in standard deviations of an edge."""
        latent = low_rank_draw(len(deviation), self.loadings, self.noise, generator)
        latent += deviation
        values = self.mean + self.std * latent
        return values if self.signed else np.maximum(values, 0)

    def log_density(self, values: NDArray[np.float32], deviation: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log density (n,) of modelling-scale values (n, E) around deviations (n, E), an absent edge by its probability, in nats.

        Woodbury's identity and the determinant lemma where nothing is absent, Laplace's approximation over the factors otherwise; see
        :func:`~connectome_gnn.generation.likelihood.log_density`.
        """
        gaussian: Any = self  # all that the function asks of a distribution: marginals, loadings and noise
        return log_density(gaussian, values, deviation)


class GaussianComponents(ConnectomeModel):
    """Phenotypes and edge components as one Gaussian; new people are drawn given their phenotypes, edges clipped to their support.

    The covariance of encoded phenotypes and leading components, all in units of their standard deviations, is shrunk towards the identity
    (Ledoit & Wolf 2004, J. Multivariate Anal. 88:365). How many components, is chosen by cross-validation: with many of them, all noise,
    nothing but the identity is left; the others are independent of phenotypes. Mean and covariance of the components given the phenotypes
    follow in closed form. Around the components every edge has independent noise: the variance that components leave, and what shrinking
    the covariance of edges in the same way moves onto its diagonal. Edges that fewer than half of the people have are independent of
    everything.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    n_components : most edge components that are modelled (all of them up to 600 people).

    Attributes
    ----------
    n_joint : number of components that phenotypes tell something about.
    shrinkage : share of the identity in the covariance of phenotypes and these components, 0 to 1.
    gaussian : the distribution of edges around the conditional mean.
    """

    label = "Gaussian on components"

    n_joint: int
    shrinkage: float
    gaussian: ClippedGaussian

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        self.n_linear = len(self.schema.columns)
        profiles = data.values[:, : self.n_linear]
        sizes = sorted({min(size, data.scores.shape[1]) for size in JOINT})
        fitted, errors = [], np.zeros(len(sizes))
        for rows, held in data.folds(FOLDS, self.seed):
            joints = [_Joint.of(profiles[rows], data.scores[rows], size) for size in sizes]
            errors += [float((joint.left(profiles[held], data.scores[held]) ** 2).sum()) for joint in joints]
            fitted.append((held, joints))
            advance()
        best = int(errors.argmin())
        residual = np.empty_like(data.scores)
        for held, joints in fitted:
            residual[held] = joints[best].left(profiles[held], data.scores[held])
        self.n_joint = sizes[best]
        joint = _Joint.of(profiles, data.scores, self.n_joint)
        self.shrinkage, self.centre = joint.shrinkage, joint.centre
        self.maps = joint.effects.astype(np.float32) @ self.space.basis
        self._covariance = joint.covariance
        return residual

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        kept, n_edges = self.space.kept, data.cohort.n_edges
        shrinkage = edge_shrinkage(self.space, data.cohort, data.scores)
        # A component's variance is that of the people's scores; the covariance given the phenotypes is not larger in any direction.
        held = (data.scores**2).mean(0) @ self.space.basis.astype(np.float64) ** 2
        root = cholesky(self._covariance + 1e-9 * np.trace(self._covariance) / len(self._covariance) * np.eye(len(self._covariance)))
        loadings = np.zeros((len(root), n_edges), np.float32)
        loadings[:, kept] = np.sqrt(1 - shrinkage) * (root.astype(np.float32) @ self.space.basis)
        noise = np.where(self.space.std > 0, 1.0, 0.0)
        noise[kept] = np.sqrt(shrinkage + (1 - shrinkage) * np.maximum(1 - held, 0))
        self.gaussian = ClippedGaussian(self.space.mean, self.space.std, loadings, noise.astype(np.float32), self.signed)
        del self._covariance

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        return (self.features.of(table)[:, : self.n_linear] - self.centre).astype(np.float32) @ self.maps

    def _everywhere(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Deviations (n, E), 0 for edges that are not modelled."""
        deviation = np.zeros((len(table), len(self.space.kept)), np.float32)
        deviation[:, self.space.kept] = self._deviation(table)
        return deviation

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        return self.gaussian.draw(self._everywhere(profiles), generator)

    def _log_density(self, profiles: pd.DataFrame, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.gaussian.log_density(values, self._everywhere(profiles))


@dataclass(frozen=True)
class _Joint:
    """The conditional Gaussian of components (K) given phenotypes (F).

    Attributes
    ----------
    centre, mean : (F,) mean of phenotypes, (K,) of components.
    effects : (F, K) of phenotypes on components.
    covariance : (K, K) of components given phenotypes.
    shrinkage : share of the identity.
    """

    centre: NDArray[np.float64]
    mean: NDArray[np.float64]
    effects: NDArray[np.float64]
    covariance: NDArray[np.float64]
    shrinkage: float

    @classmethod
    def of(cls, profiles: NDArray[np.float64], scores: NDArray[np.float64], n_joint: int) -> _Joint:
        """Of people's phenotypes (n, F) and components (n, K), the first ``n_joint`` of which go with the phenotypes."""
        both = np.concatenate([profiles, scores], 1)
        centre = both.mean(0)
        unit = both.std(0)
        n_profiles = profiles.shape[1]
        own, theirs = unit[:n_profiles], unit[n_profiles:]
        varies = np.flatnonzero((unit > 1e-9) & (np.arange(len(unit)) < n_profiles + n_joint))
        shrunk, shrinkage = np.eye(len(unit)), 1.0
        if len(varies):
            shrunk[np.ix_(varies, varies)], shrinkage = ledoit_wolf((both - centre)[:, varies] / unit[varies], assume_centered=True)
        across = shrunk[:n_profiles, n_profiles:]
        effects = cho_solve(cho_factor(shrunk[:n_profiles, :n_profiles]), across)
        left = shrunk[n_profiles:, n_profiles:] - across.T @ effects
        effects *= np.divide(1, own, out=np.zeros(n_profiles), where=own > 1e-9)[:, None] * theirs
        return cls(centre[:n_profiles], centre[n_profiles:], effects, left * np.outer(theirs, theirs), float(shrinkage))

    def left(self, profiles: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the conditional mean leaves of the components (n, K) of people with phenotypes (n, F)."""
        return scores - self.mean - (profiles - self.centre) @ self.effects


def edge_shrinkage(space: EdgeSpace, cohort: Cohort, scores: NDArray[np.float64]) -> float:
    """Ledoit and Wolf's share of the identity for the covariance of standardised edges, 0 to 1, without that covariance.

    Parameters
    ----------
    space, scores : the edge space and the people's components (n, K); beyond 600 people the eigenvalues past K are taken as equal.
    cohort : the people, read once.
    """
    n, n_edges = cohort.n_people, int(space.kept.sum())
    size = np.concatenate([(values.astype(np.float64) ** 2).sum(1) for _, values in space.standardised(cohort)])
    eigenvalues = (scores**2).mean(0)
    trace = float(size.mean())
    tail = max(min(n - 1, n_edges) - len(eigenvalues), 0)
    rest = max(trace - float(eigenvalues.sum()), 0.0)
    squares = float((eigenvalues**2).sum()) + (rest**2 / tail if tail else 0.0)
    error = max((float((size**2).mean()) - squares) / n, 0.0)
    return float(min(error / max(squares - trace**2 / n_edges, 1e-12), 1.0))

"""Class-conditional flow matching in component space, after DiffeoCFM (Collas et al. 2025), behind the common interface."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular
from scipy.special import log_ndtr, logsumexp
from sklearn.covariance import oas

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.correlation_coordinates import CoordinateCohort, ScaleCoordinates, check_coordinates, coordinates_of
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.phenotype_classes import PhenotypeClasses
from connectome_gnn.generation.settings import check_whole_setting
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.generation.vector_field import FlowConfig, train_field

__all__ = ["ClassPrior", "FlowMatching"]

PEOPLE_PER_COMPONENT = 4
FEWEST_OF_CLASS = 8
LEAST_NOISE = 1e-3
VALIDATION_FOLDS = 10
DENSITY_DRAWS = 64
NEWTON_STEPS = 8
DEFAULT_CONFIG = FlowConfig()


@dataclass(frozen=True)
class ClassPrior:
    """A Gaussian for each class.

    Parameters
    ----------
    means : (C, K) of the components.
    roots : (C, K, K) symmetric square roots of the covariances.
    """

    means: NDArray[np.float64]
    roots: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: NDArray[np.float64], memberships: NDArray[np.float64], classes: NDArray[np.intp]) -> ClassPrior:
        """Learn the Gaussians from training people.

        A class's covariance, in units of all classes' standard deviations within, is drawn towards a multiple of the identity by the
        oracle approximating shrinkage (Chen, Wiesel, Eldar & Hero 2010), that is, towards that of all classes together; a class of fewer
        than 8 people has that one.

        Parameters
        ----------
        scores : (n, K) components.
        memberships : (n, C) how likely each person is of each class.
        classes : (n,) the class each person counts for.
        """
        means = class_means(scores, memberships)
        within = scores - means[classes]
        unit = np.maximum(within.std(0), 1e-9)
        roots = np.repeat(np.diag(unit)[None], len(means), 0)
        for number in np.flatnonzero(np.bincount(classes) >= FEWEST_OF_CLASS):
            covariance = oas(within[classes == number] / unit, assume_centered=True)[0] * np.outer(unit, unit)
            values, vectors = eigh(covariance)
            roots[number] = vectors * np.sqrt(np.maximum(values, 1e-12 * values[-1])) @ vectors.T
        return cls(means, roots)

    def whitened(self, scores: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scores (n, K) in which people of every class have mean 0 and covariance 1."""
        return np.asarray(np.linalg.solve(self.roots[classes], (scores - self.means[classes])[..., None])[..., 0], np.float64)

    def scores(self, whitened: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """The inverse of :meth:`whitened`."""
        return self.means[classes] + np.einsum("nkl,nl->nk", self.roots[classes], whitened)


class FlowMatching(ConnectomeModel):
    """Conditional flow matching given classes of people.

    Connectomes are pulled back to a vector space, edges standardised, and projected on their leading components. A vector field carries a
    Gaussian with the mean and shrunk covariance of a person's class to the class's distribution of components. Classes are terciles of
    age by sex, without either the bins of the phenotype that explains most. What differs from the published recipe:
    components in place of all edges; class means and covariances that borrow from each other; a field that has to learn only what is not
    Gaussian, stopped where it fits held-out training people best (with few people nothing may be left of it).

    - ``expected`` is the mean of the person's class on the modelling scale, averaged over classes where age or sex is missing.
    - ``sample`` adds an independent part to each edge, with the variance that the components leave of it; the published recipe has no
      components and needs none. For non-negative weights an edge is absent where the result is negative, about half as often as in
      real people: the recipe is one for correlations.
    - ``log_prob`` integrates over the components by importance sampling, 64 draws around the components that explain the person best:
      the flow's density by the instantaneous change of variables with the exact divergence, times the independent Gaussians of the edges
      given the components, cut off at 0 for non-negative weights. Edges in which training people do not differ count nothing.

    Parameters
    ----------
    seed : seed of everything random in fitting.
    coordinates : the vector space: ``"scale"``, the modelling scale, or ``"cholesky"``, normalised Cholesky factors as published, for
        cohorts of correlation matrices. The latter give every sample positive eigenvalues and held-out people a far higher density, but
        independent parts of them add up to samples that look less like people than those on the modelling scale.
    flow_components : most components that the flow models; no more than one for every 4 training people.
    config : the field's size and training.
    n_components : most edge components of the mean.

    Raises
    ------
    ConnectomeError
        If there are no such coordinates, or ``flow_components`` or ``config`` make no sense; when fitted, if the people have no such
        coordinates.

    References
    ----------
    Collas, Ju, Salvy & Thirion 2025, NeurIPS (arXiv:2505.18193). Lipman et al. 2023, ICLR. Albergo & Vanden-Eijnden 2023, ICLR.
    """

    label = "flow matching"

    def __init__(
        self,
        seed: int = 0,
        *,
        coordinates: str = "scale",
        flow_components: int = 50,
        config: FlowConfig = DEFAULT_CONFIG,
        n_components: int = 300,
    ) -> None:
        super().__init__(seed, n_components=n_components)
        check_coordinates(coordinates)
        check_whole_setting("flow matching", "flow_components", flow_components, 1)
        if not isinstance(config, FlowConfig):
            raise ConnectomeError(f"flow matching takes its size as a FlowConfig, got {config!r}")
        self.coordinates_name = coordinates
        self.flow_components = int(flow_components)
        self.config = config

    def _fit_mean(self, data: TrainingData, advance: Any) -> NDArray[np.float64]:
        """Class means, and the flow. What it returns is not cross-fitted: nothing is learned from it."""
        table = data.cohort.phenotypes
        self.classes = PhenotypeClasses.fit(self.schema, table, data.scores)
        memberships = self.classes.memberships(table)
        self.class_scores = class_means(data.scores, memberships)
        self.coordinates = coordinates_of(data.cohort, self.coordinates_name)
        self.flow_space, scores = self.space, data.scores
        if not isinstance(self.coordinates, ScaleCoordinates):
            pulled = CoordinateCohort(data.cohort, self.coordinates)
            self.flow_space, scores = EdgeSpace.fit(pulled, n_components=self.flow_components, seed=self.seed)
        scores = scores[:, : max(min(self.flow_components, len(scores) // PEOPLE_PER_COMPONENT, len(scores[0]) - 1), 1)]
        of_class = _drawn(memberships, np.random.default_rng(self.seed))
        self.prior = ClassPrior.fit(scores, memberships, of_class)
        held = data.folds(VALIDATION_FOLDS, self.seed)[0][1]
        whitened = self.prior.whitened(scores, of_class)
        self.field = train_field(whitened, of_class, held, self.config, n_classes=self.classes.n_classes, seed=self.seed, advance=advance)
        return data.scores - memberships @ self.class_scores

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        """The variance that the components leave of each edge, (E,)."""
        space = self.flow_space
        self.varies = space.std > np.maximum(1e-6, 1e-6 * np.abs(space.mean))
        self.loadings = np.zeros((self.prior.means.shape[1], len(space.std)))
        self.loadings[:, space.kept] = space.basis[: len(self.loadings)]
        left = np.zeros(int(space.kept.sum()))
        basis = self.loadings[:, space.kept].astype(np.float32)
        for _, values in space.standardised(CoordinateCohort(data.cohort, self.coordinates)):
            left += ((values - values @ basis.T @ basis).astype(np.float64) ** 2).sum(0)
        self.noise = self.varies.astype(np.float64)
        self.noise[space.kept] = np.maximum(left / data.cohort.n_people, LEAST_NOISE)

    def _deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        return (self.classes.memberships(table) @ self.class_scores).astype(np.float32) @ self.space.basis

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        of_class = _drawn(self.classes.memberships(profiles), generator)
        whitened = self.field.transport(generator.standard_normal((len(of_class), len(self.loadings))), of_class)
        standardised = self.prior.scores(whitened, of_class) @ self.loadings
        standardised += generator.standard_normal(standardised.shape, dtype=np.float32) * np.sqrt(self.noise)
        return self.coordinates.inverse(self.flow_space.mean + standardised * self.flow_space.std).astype(np.float32)

    def _log_density(self, profiles: pd.DataFrame, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log densities (N,) in nats; the same draws for everybody, so that a person's does not depend on the others."""
        noise = np.random.default_rng(self.seed).standard_normal((DENSITY_DRAWS, len(self.loadings)))
        edges = EdgesGivenComponents(
            self.loadings[:, self.varies],
            self.noise[self.varies],
            self.flow_space.mean[self.varies].astype(np.float64),
            self.flow_space.std[self.varies].astype(np.float64),
            censored=not self.signed,
        )
        densities = np.empty(len(profiles))
        for row, (weights, coordinates) in enumerate(
            zip(self.classes.memberships(profiles), self.coordinates.forward(values), strict=True)
        ):
            possible = np.flatnonzero(weights > 0)
            person = edges.of(coordinates[self.varies])
            of_class = [log(weights[number]) + self._integral(person, int(number), noise) for number in possible]
            densities[row] = logsumexp(of_class)
        return densities + self.coordinates.log_volume(values)

    def _integral(self, person: PersonLikelihood, number: int, noise: NDArray[np.float64]) -> float:
        """Log of the integral over components of their density in a class times a person's density given them.

        Importance sampling from a Gaussian at the mode under the class's Gaussian prior, with the curvature there (Laplace).
        """
        root = self.prior.roots[number]
        inverse = np.linalg.inv(root)
        precision, mode = inverse @ inverse, self.prior.means[number].copy()
        for _ in range(NEWTON_STEPS):
            gradient, curvature = person.derivatives(mode)
            factor = cho_factor(precision + curvature, lower=True)
            step = cho_solve(factor, gradient - precision @ (mode - self.prior.means[number]))
            mode = mode + step
            if step @ (precision + curvature) @ step < 1e-6:
                break
        factor = cho_factor(precision + person.derivatives(mode)[1], lower=True)
        draws = mode + solve_triangular(factor[0], noise.T, lower=True, trans="T").T
        proposal = np.log(np.diagonal(factor[0])).sum() - 0.5 * (noise**2).sum(1) - 0.5 * len(mode) * log(2 * pi)
        of_class = np.full(len(draws), number)
        flow = self.field.log_density(self.prior.whitened(draws, of_class), of_class) - np.linalg.slogdet(root)[1]
        return float(logsumexp(flow + person.log_density(draws) - proposal) - log(len(draws)))


@dataclass(frozen=True)
class EdgesGivenComponents:
    """Edges that are independent Gaussians given the components, cut off at 0 where ``censored``.

    Parameters
    ----------
    loadings : (K, E) of standardised edges.
    noise : (E,) variance of each standardised edge given the components.
    mean, std : (E,) of the edges.
    """

    loadings: NDArray[np.float64]
    noise: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    censored: bool

    def of(self, edges: NDArray[np.float64]) -> PersonLikelihood:
        """The density of one person's edges (E,), as a function of the components."""
        absent = (edges <= 0) if self.censored else np.zeros(len(edges), bool)
        spread = np.sqrt(self.noise)
        scaled = self.loadings / spread
        target = (np.where(absent, 0, edges) - self.mean) / (self.std * spread)
        constant = -(0.5 * log(2 * pi) + np.log(self.std * spread))[~absent].sum()
        present = scaled[:, ~absent]
        return PersonLikelihood(present, target[~absent], present @ present.T, scaled[:, absent], target[absent], float(constant))


@dataclass(frozen=True)
class PersonLikelihood:
    """One person's density as a function of the components.

    Parameters
    ----------
    present, target : (K, P) loadings and (P,) values of present edges, in standard deviations given the components.
    gram : (K, K) ``present @ present.T``.
    absent, limit : (K, A) loadings of absent edges and (A,) where 0 lies.
    constant : what does not depend on the components.
    """

    present: NDArray[np.float64]
    target: NDArray[np.float64]
    gram: NDArray[np.float64]
    absent: NDArray[np.float64]
    limit: NDArray[np.float64]
    constant: float

    def log_density(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log density (S,) given components (S, K)."""
        error = self.target - components @ self.present
        return self.constant - 0.5 * (error**2).sum(1) + log_ndtr(self.limit - components @ self.absent).sum(1)

    def derivatives(self, components: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gradient (K,) and negative second derivatives (K, K) of the log density at components (K,)."""
        below = self.limit - components @ self.absent
        ratio = np.exp(-0.5 * below**2 - 0.5 * log(2 * pi) - log_ndtr(below))  # of the normal density to the distribution function
        gradient = self.present @ (self.target - components @ self.present) - self.absent @ ratio
        return gradient, self.gram + self.absent * (ratio * (below + ratio)) @ self.absent.T


def class_means(scores: NDArray[np.float64], memberships: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means (C, K) of classes, drawn towards everybody's as far as their differences are no larger than chance makes them.

    A one-way random-effects model for each component, its variances by moments (Searle, Casella & McCulloch 1992, section 3.6).

    Parameters
    ----------
    scores : (n, K) components.
    memberships : (n, C) how likely each person is of each class.
    """
    n, size = len(scores), memberships.sum(0)
    centre = scores.mean(0)
    found = size > 0
    if found.sum() < 2 or n <= found.sum():
        return np.repeat(centre[None], len(size), 0)
    means = memberships.T @ scores / np.where(found, size, 1)[:, None]
    between = (size[:, None] * (means - centre) ** 2).sum(0)
    within = np.maximum(((scores - centre) ** 2).sum(0) - between, 0) / (n - found.sum())
    typical = (n - (size**2).sum() / n) / (found.sum() - 1)
    variance = np.maximum(between / (found.sum() - 1) - within, 0) / typical
    noise = variance[None] + within[None] / np.where(found, size, 1)[:, None]
    return centre + np.where(found[:, None], variance / np.where(noise > 0, noise, 1), 0) * (means - centre)


def _drawn(memberships: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.intp]:
    """A class for each row of memberships (n, C), drawn with those probabilities."""
    place = generator.random(len(memberships))
    return np.minimum((memberships.cumsum(1) <= place[:, None]).sum(1), memberships.shape[1] - 1)

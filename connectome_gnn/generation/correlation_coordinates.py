"""Coordinates in which people's connectomes fill a whole vector space: the modelling scale, or the normalised Cholesky factor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError

__all__ = ["CholeskyCoordinates", "CoordinateCohort", "ScaleCoordinates", "check_coordinates", "coordinates_of"]

LEAST_EIGENVALUE = 1e-3
MOST_REPAIRED = 0.05


class ScaleCoordinates:
    """The modelling scale itself."""

    def forward(self, values: NDArray) -> NDArray[np.float64]:
        """Coordinates (n, E) of modelling-scale values (n, E)."""
        return np.asarray(values, np.float64)

    def inverse(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Modelling-scale values (n, E) of coordinates (n, E)."""
        return coordinates

    def log_volume(self, values: NDArray) -> NDArray[np.float64]:
        """Log of the volume of coordinates to one of modelling-scale values, (n,)."""
        return np.zeros(len(values))


class CholeskyCoordinates:
    """The strict lower triangle of a correlation matrix's Cholesky factor, each row divided by its diagonal entry.

    A smooth one-to-one map between correlation matrices and vectors of E numbers, so that whatever vector comes back is a correlation
    matrix, with positive eigenvalues. A matrix that has eigenvalues below 0.001 is drawn towards the identity until it has none.
    Source: David & Gu 2019, SIAM J. Matrix Anal. Appl. 40:1293; Collas et al. 2025 (normalised Cholesky decomposition).
    """

    def forward(self, values: NDArray) -> NDArray[np.float64]:
        """Coordinates (n, E) of Fisher z values (n, E)."""
        factor = np.linalg.cholesky(self._correlations(values))
        rows = factor / np.diagonal(factor, axis1=1, axis2=2)[..., None]
        return to_vectors(np.swapaxes(rows, 1, 2))

    def inverse(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fisher z values (n, E) of coordinates (n, E)."""
        rows = np.tril(to_matrices(coordinates))
        rows[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] = 1
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        limit = np.nextafter(1.0, 0.0)
        return np.arctanh(np.clip(to_vectors(rows @ np.swapaxes(rows, 1, 2)), -limit, limit))

    def log_volume(self, values: NDArray) -> NDArray[np.float64]:
        """Log of the volume of coordinates to one of Fisher z values, (n,): from the Cholesky factor's (Lewandowski et al. 2009)."""
        correlations = self._correlations(values)
        slope = np.log1p(-(to_vectors(correlations) ** 2)).sum(1)
        return slope - (correlations.shape[1] + 1) / 2 * np.linalg.slogdet(correlations)[1]

    def _correlations(self, values: NDArray) -> NDArray[np.float64]:
        """Correlation matrices (n, R, R) of Fisher z values, with eigenvalues of at least 0.001."""
        matrices = to_matrices(np.tanh(np.asarray(values, np.float64)))
        matrices += np.eye(matrices.shape[1])
        least = np.linalg.eigvalsh(matrices)[:, 0]
        share = np.clip((LEAST_EIGENVALUE - least) / (1 - least), 0, 1)[:, None, None]
        return (1 - share) * matrices + share * np.eye(matrices.shape[1])


class CoordinateCohort(Cohort):
    """A cohort that is read in coordinates in place of the modelling scale.

    Parameters
    ----------
    cohort : the people.
    coordinates : what they are read in.
    """

    def __init__(self, cohort: Cohort, coordinates: ScaleCoordinates | CholeskyCoordinates) -> None:
        self.__dict__.update(cohort.__dict__)
        self.coordinates = coordinates

    def modelled(self, size: int = 512) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Slices of rows and their coordinates, (n, E)."""
        for rows, values in super().modelled(size):
            yield rows, self.coordinates.forward(values).astype(np.float32)


def check_coordinates(name: object) -> None:
    """Raise a ConnectomeError unless this names coordinates."""
    if name not in ("scale", "cholesky"):
        raise ConnectomeError(f"flow matching: coordinates are 'scale' or 'cholesky', got {name!r}")


def coordinates_of(cohort: Cohort, name: str) -> ScaleCoordinates | CholeskyCoordinates:
    """The coordinates called ``"scale"`` or ``"cholesky"``, for these training people.

    Raises
    ------
    ConnectomeError
        If the name is another, or Cholesky coordinates are asked for and more than one person in 20 has no positive definite correlation
        matrix (thresholded or partial correlations, fewer time points than regions, weights that are no correlations).
    """
    check_coordinates(name)
    if name == "scale":
        return ScaleCoordinates()
    if not cohort.signed:
        raise ConnectomeError(f"Cholesky coordinates are for correlations, cohort {cohort.name!r} has non-negative weights; use 'scale'")
    repaired = 0
    for _, values in cohort.modelled():
        matrices = to_matrices(np.tanh(values.astype(np.float64))) + np.eye(cohort.n_regions)
        repaired += int((np.linalg.eigvalsh(matrices)[:, 0] < LEAST_EIGENVALUE).sum())
    if repaired > MOST_REPAIRED * cohort.n_people:
        raise ConnectomeError(
            f"Cholesky coordinates need positive definite correlation matrices, but {repaired} of {cohort.n_people} people of cohort "
            f"{cohort.name!r} have an eigenvalue below {LEAST_EIGENVALUE}; use 'scale'"
        )
    return CholeskyCoordinates()

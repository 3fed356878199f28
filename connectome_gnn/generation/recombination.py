"""How people differ from what their profile tells: patterns of real people recombined, and noise with the structure of connectomes.

A new person's residual is the sum of patterns (principal components of training people's residuals) and noise. Scores on the leading
patterns are those of three training people, mixed with positive weights of unit norm: unlike any Gaussian this keeps how patterns go
together, and the skewness of triangles. Scores on the others are normal. A pattern varies as much as it does in people who took no part
in finding it, and the rest of every edge's variance is noise (:mod:`~connectome_gnn.generation.remainder_noise`): sums of training people
alone vary too much along training people, and not at all elsewhere. Or patterns are the factors of a copula, and only the noise around
them has structure: then nothing of any person is held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.dependence import LEAST_OWN, principal_mixtures
from connectome_gnn.generation.edge_space import EXACT_PEOPLE
from connectome_gnn.generation.remainder_noise import CALIBRATION, RegionNoise, RemainderNoise, SeriesNoise
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.slices import slices

__all__ = ["COPULA", "EVERYTHING", "SAMPLING_RIVALS", "Patterns", "PeopleSampler", "Recipe", "mixing_weights"]

MOST_PATTERNS = 200
FOLDS = 5
POWER_ITERATIONS = 3
OVERSAMPLING = 20
DONORS = 3
LEAST = 1e-6
LEAST_LEFT = 1e-4
"""Share of an edge's variance below which nothing is left to noise: what sums in float32 leave."""
EVERYTHING = 1_000_000


@dataclass(frozen=True)
class Recipe:
    """How new people are put together.

    Parameters
    ----------
    recombined : leading patterns whose scores come from training people, all of them together; the others' scores are normal.
    held_out : how far a pattern's variance goes from that in the people it was found in (0) to that in other people (1).
    noise : ``"regions"`` or ``"series"`` (correlations only).
    own : share of independent noise, for ``"regions"``.
    points : effective number of time points, for ``"series"``.
    donors : training people mixed into a new person.
    positive : whether people are mixed with positive weights alone; weights of both signs undo the skewness of triangles.
    patterns : most patterns that are used.
    factors : whether patterns are the copula's factors, and normal, in place of principal components of people; what goes before about
        patterns says nothing then.
    shared : by what the variance along the copula's factors is multiplied, at the cost of noise: every edge's variance stays.
    """

    recombined: int = 10
    held_out: float = 1.0
    noise: str = "regions"
    own: float = 1.0
    points: int = 60
    donors: int = DONORS
    positive: bool = True
    patterns: int = EVERYTHING
    factors: bool = False
    shared: float = 1.0


COPULA = Recipe(factors=True)
"""The factor copula as it is: every edge's own part independent of the others'."""


SAMPLING_RIVALS: dict[str, Recipe] = {
    "low-rank Gaussian, independent noise": Recipe(0, 0.0, patterns=20),
    "full-covariance Gaussian": Recipe(0, 0.0),
    "three people, weights of both signs": Recipe(EVERYTHING, 0.0, positive=False),
    "three people recombined": Recipe(EVERYTHING, 0.0),
    "two people recombined": Recipe(EVERYTHING, 0.0, donors=2),
}
"""Other ways to draw residuals, to be measured against."""


@dataclass(frozen=True)
class Patterns:
    """Principal components of people's residual scores.

    Parameters
    ----------
    directions : (K, E) orthonormal rows.
    scores : (n, K) people's components, unit mean square each.
    variance : (K,) of the components in these people.
    held_out : (K,) of components in people who took no part in finding them, at most ``variance``.
    live : (E,) edges that vary.
    """

    directions: NDArray[np.float32]
    scores: NDArray[np.float32]
    variance: NDArray[np.float64]
    held_out: NDArray[np.float64]
    live: NDArray[np.bool_]

    @classmethod
    def of(cls, residual: NDArray[np.float32], *, most: int = MOST_PATTERNS, seed: int = 0) -> Patterns:
        """Patterns of residual scores (n, E) of unit variance; all of them up to 600 people, else the leading ones."""
        n = len(residual)
        if n <= EXACT_PEOPLE:
            gram = residual.astype(np.float64) @ residual.T.astype(np.float64) if residual.size < 3e7 else _gram(residual)
            values, vectors = eigh(gram)
            kept = np.flatnonzero(values > LEAST * values[-1])[::-1]
            whitened = vectors[:, kept] * np.sqrt(n)
            directions = ((vectors[:, kept] / np.sqrt(values[kept])).T.astype(np.float32)) @ residual
            variance, held_out = values[kept] / n, _held_out(gram, len(kept), seed)
        else:
            directions = _leading(residual, most, seed)
            scores = (residual @ directions.T).astype(np.float64)
            variance = (scores**2).mean(0)
            whitened = scores / np.sqrt(variance)
            fold = np.random.default_rng(seed).permutation(n) % FOLDS == 0
            found = _leading(residual[~fold], most, seed)
            held_out = ((residual[fold] @ found.T).astype(np.float64) ** 2).mean(0)
        return cls(
            np.ascontiguousarray(directions, np.float32),
            whitened.astype(np.float32),
            variance,
            np.clip(held_out, 0, variance),
            residual.std(0) > LEAST,
        )


@dataclass(frozen=True)
class PeopleSampler:
    """Draws residual scores of new people.

    Parameters
    ----------
    directions : (K, E) patterns, each times the standard deviation of its score.
    donors : (n, R) scores of training people on the leading patterns, unit mean square; with R = 0 nobody's are held.
    noise : what patterns leave to chance.
    recipe : how it was made.
    """

    directions: NDArray[np.float32]
    donors: NDArray[np.float32]
    noise: RemainderNoise
    recipe: Recipe

    @property
    def holds_training_people(self) -> bool:
        """Whether training people's scores are part of the sampler."""
        return self.donors.shape[1] > 0

    @classmethod
    def of(
        cls, patterns: Patterns, recipe: Recipe, centre: NDArray[np.floating], unit: NDArray[np.floating], *, seed: int = 0
    ) -> PeopleSampler:
        """A sampler after a recipe.

        Parameters
        ----------
        patterns : of training people.
        centre, unit : (E,) mean and standard deviation over people of every edge, modelling scale.
        seed : of the draws that calibrate noise.

        Raises
        ------
        ConnectomeError
            If the recipe's kind of noise is unknown.
        """
        variance = (patterns.variance + recipe.held_out * (patterns.held_out - patterns.variance))[: recipe.patterns]
        directions = np.sqrt(variance).astype(np.float32)[:, None] * patterns.directions[: recipe.patterns]
        left = 1 - np.einsum("ke,ke->e", directions, directions)
        left = np.where(patterns.live & (left > LEAST_LEFT), left, 0)
        donors = patterns.scores[:, : min(recipe.recombined, len(directions))]
        if len(donors) < recipe.donors:
            recipe = replace(recipe, donors=len(donors))
        return cls._with_noise(directions, donors, np.sqrt(left), recipe, centre, unit, patterns.live, seed)

    @classmethod
    def of_factors(
        cls,
        model: ResidualModel,
        recipe: Recipe,
        centre: NDArray[np.floating],
        unit: NDArray[np.floating],
        *,
        seed: int = 0,
        series: SeriesNoise | None = None,
    ) -> PeopleSampler:
        """A sampler after a recipe for noise around the factors of a copula; parameters as for :meth:`of`.

        ``series`` is the noise of time series where it is known, as from factors of more people, which saves its calibration.
        """
        size = model.deviations()[0]
        live = model.noise > 0
        directions, left = (np.divide(part, size, out=np.zeros_like(part), where=live) for part in (model.loadings, model.noise))
        if recipe.shared != 1:
            told = np.einsum("qe,qe->e", directions, directions)
            multiple = np.minimum(recipe.shared, (1 - LEAST_OWN) / np.maximum(told, LEAST))
            directions *= np.sqrt(multiple)
            left = np.where(live, np.sqrt(1 - multiple * told), 0)
        return cls._with_noise(directions, np.zeros((1, 0), np.float32), left, recipe, centre, unit, live, seed, series)

    @classmethod
    def _with_noise(
        cls,
        directions: NDArray[np.float32],
        donors: NDArray[np.float32],
        left: NDArray[np.floating],
        recipe: Recipe,
        centre: NDArray[np.floating],
        unit: NDArray[np.floating],
        live: NDArray[np.bool_],
        seed: int,
        series: SeriesNoise | None = None,
    ) -> PeopleSampler:
        """Patterns with the noise that a recipe asks for, of standard deviations ``left`` (E,)."""
        if recipe.noise not in ("regions", "series"):
            raise ConnectomeError(f"noise is 'regions' or 'series', got {recipe.noise!r}")
        noise = RegionNoise.of(left.astype(np.float32), to_matrices(np.asarray(centre, np.float64)), recipe.own)
        bare = cls(directions, donors, noise, recipe)
        if recipe.noise == "regions":
            return bare
        if series is not None:
            return replace(bare, noise=series)
        generator = np.random.default_rng(seed)
        middle, spread = np.asarray(centre, np.float32), np.where(live, unit, 0).astype(np.float32)
        return replace(bare, noise=SeriesNoise.of(recipe.points, middle, spread, bare.patterns(CALIBRATION, generator), generator))

    def patterns(self, n: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """What patterns contribute to n new people, (n, E)."""
        scores = generator.standard_normal((n, len(self.directions)), dtype=np.float32)
        if self.holds_training_people:
            people, weights = mixing_weights(n, len(self.donors), self.recipe.donors, generator, positive=self.recipe.positive)
            scores[:, : self.donors.shape[1]] = np.einsum("nm,nmk->nk", weights, self.donors[people])
        return scores @ self.directions

    def draw(self, n: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Residual scores (n, E) of new people: mean 0, variance 1 on every edge that varies."""
        return self.noise.around(self.patterns(n, generator), generator)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays by name, the inverse of :meth:`from_arrays`."""
        recipe = {f"recipe_{name}": np.array(value) for name, value in vars(self.recipe).items() if name != "noise"}
        noise = {f"noise_{name}": value for name, value in self.noise.arrays().items()}
        return {"directions": self.directions, "donors": self.donors, **recipe, **noise}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> PeopleSampler:
        """A sampler from :meth:`arrays`."""
        series = "noise_points" in arrays
        recipe = Recipe(
            recombined=int(arrays["recipe_recombined"]),
            held_out=float(arrays["recipe_held_out"]),
            noise="series" if series else "regions",
            own=float(arrays["recipe_own"]),
            points=int(arrays["recipe_points"]),
            donors=int(arrays["recipe_donors"]),
            positive=bool(arrays["recipe_positive"]),
            patterns=int(arrays["recipe_patterns"]),
            factors=bool(arrays["recipe_factors"]),
            shared=float(arrays["recipe_shared"]),
        )
        noise: RemainderNoise
        if series:
            noise = SeriesNoise(recipe.points, *(arrays[f"noise_{name}"] for name in ("centre", "unit", "shift", "scale")))
        else:
            noise = RegionNoise(arrays["noise_amplitude"], arrays["noise_profiles"], recipe.own)
        return cls(arrays["directions"], arrays["donors"], noise, recipe)


def mixing_weights(
    n: int, n_people: int, donors: int, generator: np.random.Generator, *, positive: bool = True
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Who is mixed into each of n new people, (n, donors) different ones, and by which weights of unit norm.

    Positive weights are uniform over the simplex, others normal, divided by their norm: sums of unit-variance scores have unit variance
    again.
    """
    people = np.argpartition(generator.random((n, n_people), dtype=np.float32), donors - 1, axis=1)[:, :donors]
    weights = generator.dirichlet(np.ones(donors), n) if positive else generator.standard_normal((n, donors))
    return people, (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _gram(residual: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inner products (n, n) of rows, summed in float64 over blocks of edges."""
    gram = np.zeros((len(residual), len(residual)))
    for edges in slices(residual.shape[1], 4096):
        block = residual[:, edges]
        gram += block @ block.T
    return gram


def _held_out(gram: NDArray[np.float64], number: int, seed: int) -> NDArray[np.float64]:
    """Mean square (K,) along the k-th component of the other folds, of people held out; from inner products (n, n) alone."""
    n = len(gram)
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    squares, count = np.zeros(number), np.zeros(number)
    for f in range(FOLDS):
        held, others = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        mixtures = principal_mixtures(gram[np.ix_(others, others)], number)
        kept = int(mixtures.any(0).sum())
        squares[:kept] += ((gram[np.ix_(held, others)] @ mixtures[:, :kept]) ** 2).sum(0)
        count[:kept] += len(held)
    return np.divide(squares, count, out=np.zeros(number), where=count > 0)


def _leading(residual: NDArray[np.float32], number: int, seed: int) -> NDArray[np.float32]:
    """Leading principal directions (K, E) of (n, E) rows, strongest first (Halko, Martinsson & Tropp 2011, algorithm 4.4)."""
    width = min(number + OVERSAMPLING, *residual.shape)
    sketch = np.random.default_rng(seed).standard_normal((len(residual), width)).astype(np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr((sketch.T @ residual).T)[0]
        sketch = residual @ basis
    vectors = np.linalg.svd(sketch, full_matrices=False)[2][: min(number, width)]
    return np.ascontiguousarray(vectors @ basis.T)

"""How much people share: found again where it is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome_gnn.generation.shared_variance import LEAST, MOST, beyond_components, shared_variance

PEOPLE, EDGES = 300, 500
LOADINGS = np.random.default_rng(0).standard_normal((5, EDGES)) * 0.25


def people(multiple: float, seed: int, n_people: int = PEOPLE) -> NDArray[np.float32]:
    """Edges of variance 1, with so many times the variance along factors."""
    generator = np.random.default_rng(seed)
    told = multiple * (LOADINGS**2).sum(0)
    scores = generator.standard_normal((n_people, len(LOADINGS))) * np.sqrt(multiple)
    own = generator.standard_normal((n_people, EDGES)) * np.sqrt(np.maximum(1 - told, 0.02))
    return (scores @ LOADINGS + own).astype(np.float32)


def counted(seed: int) -> tuple[Callable[[float], NDArray[np.float32]], list[float]]:
    """People by multiple, and the list of multiples that were asked for."""
    asked: list[float] = []

    def drawn(multiple: float) -> NDArray[np.float32]:
        asked.append(multiple)
        return people(multiple, seed)

    return drawn, asked


@pytest.mark.parametrize("truth", [0.6, 0.8, 1.3, 1.6])
def test_the_multiple_that_people_have_is_found(truth: float) -> None:
    drawn, asked = counted(2)
    assert shared_variance(people(truth, 1), drawn) == pytest.approx(truth, rel=0.06)
    assert len(asked) <= 4


def test_people_like_the_drawn_ones_are_left_as_they_are() -> None:
    drawn, asked = counted(2)
    assert shared_variance(people(1.0, 2), drawn) == 1
    assert asked == [1]


def test_the_multiple_stays_within_bounds() -> None:
    assert shared_variance(people(0.0, 1), counted(2)[0]) == LEAST
    independent = np.random.default_rng(3).standard_normal((PEOPLE, EDGES)).astype(np.float32)
    assert shared_variance(people(1.0, 1), lambda multiple: independent) == 1  # no factors to be multiplied
    assert shared_variance(people(1.6, 1), lambda multiple: people(0.3 * multiple, 2)) == MOST


def test_what_leading_components_leave() -> None:
    values = people(1.0, 4, 40)
    centred = values.astype(np.float64) - values.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    left = centred - (centred @ directions[:8].T) @ directions[:8]
    np.testing.assert_allclose(beyond_components(values), (left**2).sum(1), rtol=1e-3)

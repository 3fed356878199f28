"""How much of the differences between people is shared between edges: in samples as much as in real people.

Factors that few people tell of are shrunk, and weak ones are missing, which makes new people as likely as can be; what factors lack
becomes the edges' own noise. So people drawn from them have too little in common along leading directions and too much beyond, which is
the first thing that gives them away: their distance from the leading directions is too long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from connectome_gnn.evaluation.classifier import number_of_components

__all__ = ["beyond_components", "shared_variance"]

LEAST, MOST = 0.5, 2.0
"""Bounds of what factors' variance is multiplied by."""
NEAR = 0.03
"""People who are this many standard deviations too far from the leading directions cannot be told."""
MOST_STEPS = 4


def shared_variance(real: NDArray[np.float32], drawn: Callable[[float], NDArray[np.float32]]) -> float:
    """By what the variance along factors has to be multiplied, every edge's variance kept, for people to share as much as real ones do.

    Parameters
    ----------
    real : (n, E) people, modelling scale.
    drawn : of such a multiple, as many people drawn with the same profiles, (n, E); the same random numbers for every multiple.

    Returns
    -------
    multiple : between .5 and 2, at which drawn people lie as far from their leading principal components, squared, as real people do from
        theirs; by the secant method.
    """
    far = beyond_components(real)
    wanted, near = far.mean(), NEAR * far.std()
    tried: list[tuple[float, float]] = []
    multiple = 1.0
    for _ in range(MOST_STEPS):
        people = drawn(multiple)
        found = beyond_components(people).mean()
        tried.append((multiple, found))
        if abs(found - wanted) <= near:
            break
        if len(tried) == 1:
            # What factors gain, own parts lose.
            slope = found - people.var(0, dtype=np.float64).sum()
        else:
            (before, there), (now, here) = tried[-2:]
            slope = (here - there) / (now - before) if now != before else 0.0
        if slope >= 0:
            break
        multiple = float(np.clip(multiple + (wanted - found) / slope, LEAST, MOST))
    return min(tried, key=lambda one: abs(one[1] - wanted))[0]


def beyond_components(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distance (n,) of people (n, E) from as many of their leading principal components as a classifier looks at."""
    centred = values - values.mean(0)
    gram = (centred @ centred.T).astype(np.float64)
    length, vectors = eigh(gram, subset_by_index=(len(values) - number_of_components(values), len(values) - 1))
    beyond: NDArray[np.float64] = np.diag(gram) - (vectors**2) @ length
    return beyond

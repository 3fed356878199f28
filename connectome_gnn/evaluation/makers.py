"""What evaluation asks of a generator that it fits itself, and how a fresh one is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, Self

import pandas as pd

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError

__all__ = ["Generator", "MakeGenerator", "fresh_generator"]


class Generator(Protocol):
    """What can be fitted to people and then draws new ones: the package's generator, its rivals, or anybody's."""

    def fit(self, cohort: Cohort) -> Self:
        """Learn from people."""
        ...

    def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
        """Connectomes of people with these phenotypes, n rows a person."""
        ...


MakeGenerator = Callable[..., Generator]
"""Makes a generator that has not been fitted: a class such as ``ConnectomeGenerator``, or a function, of a seed or of nothing."""


def fresh_generator(make_generator: MakeGenerator, seed: int) -> Any:
    """A generator that has not been fitted.

    Parameters
    ----------
    make_generator : a class or function. It is given the seed by name where it has an argument ``seed``, by position where it cannot do
        without an argument, and is otherwise called with nothing.
    seed : seed of everything random in fitting.

    Raises
    ------
    ConnectomeError
        If what it makes cannot be fitted or sampled from.
    """
    arguments: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):  # some built-in callables show no signature
        arguments = inspect.signature(make_generator).parameters
    needed = [
        one for one in arguments.values() if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if "seed" in arguments and arguments["seed"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        made = make_generator(seed=seed)
    else:
        made = make_generator(seed) if needed else make_generator()
    if not (hasattr(made, "fit") and (hasattr(made, "sample") or hasattr(made, "expected"))):
        raise ConnectomeError(
            f"make_generator should make a generator with fit(cohort) and sample(phenotypes, n, seed), got {type(made).__name__}"
        )
    return made

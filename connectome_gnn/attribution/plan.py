"""What is asked of an attribution."""

from __future__ import annotations

from dataclasses import dataclass

from connectome_gnn.attribution.explained import GlobalStrength
from connectome_gnn.attribution.profiles import Missing

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What is asked of an attribution; see :func:`~connectome_gnn.attribution.attribute`."""

    methods: tuple[str, ...]
    by: tuple[str, ...]
    missing: tuple[Missing, ...]
    global_strength: tuple[GlobalStrength, ...]
    phenotypes: tuple[str, ...]
    n_bootstrap: int
    n_permutations: int
    seed: int
    n_jobs: int

    @property
    def mapped(self) -> bool:
        """Whether anything is asked by region or network."""
        return "region" in self.by or "network" in self.by

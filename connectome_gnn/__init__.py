"""Whole-brain connectomes generated from people's phenotypes, and what in the phenotypes mattered, where.

Names load when they are first used, so that ``import connectome_gnn`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.edges import Scale
    from connectome_gnn.errors import ConnectomeError, ConnectomeWarning, ExtrapolationWarning, PhenotypeWarning
    from connectome_gnn.evaluation import Evaluation, evaluate
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema
    from connectome_gnn.readers import read_cohort
    from connectome_gnn.simulate import simulate_cohort

__version__ = "0.1.0"

_HOMES = {
    "Atlas": "atlas",
    "Cohort": "cohort",
    "ConnectomeError": "errors",
    "ConnectomeGenerator": "generation.generator",
    "ConnectomeWarning": "errors",
    "Evaluation": "evaluation",
    "ExtrapolationWarning": "errors",
    "Phenotype": "phenotypes",
    "PhenotypeSchema": "phenotypes",
    "PhenotypeWarning": "errors",
    "Scale": "edges",
    "evaluate": "evaluation",
    "read_cohort": "readers",
    "simulate_cohort": "simulate",
}

__all__ = [
    "Atlas",
    "Cohort",
    "ConnectomeError",
    "ConnectomeGenerator",
    "ConnectomeWarning",
    "Evaluation",
    "ExtrapolationWarning",
    "Phenotype",
    "PhenotypeSchema",
    "PhenotypeWarning",
    "Scale",
    "evaluate",
    "read_cohort",
    "simulate_cohort",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"connectome_gnn.{_HOMES[name]}"), name)
    elif name in ("evaluation", "generation", "readers", "simulate", "topology"):
        value = import_module(f"connectome_gnn.{name}")
    else:
        raise AttributeError(f"module 'connectome_gnn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

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
    from connectome_gnn.errors import ConnectomeError, ConnectomeWarning, ExtrapolationWarning, PhenotypeWarning, PrivacyWarning
    from connectome_gnn.evaluation import (
        AugmentationStudy,
        Evaluation,
        PrivacyReport,
        augmentation_study,
        evaluate,
        noise_ceiling,
        privacy_report,
        register_score,
        train_on_generated,
        unregister_score,
    )
    from connectome_gnn.generation.generator import ConnectomeGenerator
    from connectome_gnn.generation.privacy import DifferentialPrivacy
    from connectome_gnn.generation.training import TrainingConfig
    from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema
    from connectome_gnn.readers import convert_cohort, read_cohort, read_ukb_phenotypes
    from connectome_gnn.simulate import simulate_cohort

__version__ = "0.1.0"

_HOMES = {
    "Atlas": "atlas",
    "AugmentationStudy": "evaluation",
    "Cohort": "cohort",
    "ConnectomeError": "errors",
    "ConnectomeGenerator": "generation.generator",
    "ConnectomeWarning": "errors",
    "DifferentialPrivacy": "generation.privacy",
    "Evaluation": "evaluation",
    "ExtrapolationWarning": "errors",
    "Phenotype": "phenotypes",
    "PhenotypeSchema": "phenotypes",
    "PhenotypeWarning": "errors",
    "PrivacyWarning": "errors",
    "PrivacyReport": "evaluation",
    "Scale": "edges",
    "TrainingConfig": "generation.training",
    "augmentation_study": "evaluation",
    "convert_cohort": "readers",
    "evaluate": "evaluation",
    "noise_ceiling": "evaluation",
    "privacy_report": "evaluation",
    "read_cohort": "readers",
    "read_ukb_phenotypes": "readers",
    "register_score": "evaluation",
    "simulate_cohort": "simulate",
    "train_on_generated": "evaluation",
    "unregister_score": "evaluation",
}

__all__ = [
    "Atlas",
    "AugmentationStudy",
    "Cohort",
    "ConnectomeError",
    "ConnectomeGenerator",
    "ConnectomeWarning",
    "DifferentialPrivacy",
    "Evaluation",
    "ExtrapolationWarning",
    "Phenotype",
    "PhenotypeSchema",
    "PhenotypeWarning",
    "PrivacyReport",
    "PrivacyWarning",
    "Scale",
    "TrainingConfig",
    "augmentation_study",
    "convert_cohort",
    "evaluate",
    "noise_ceiling",
    "privacy_report",
    "read_cohort",
    "read_ukb_phenotypes",
    "register_score",
    "simulate_cohort",
    "train_on_generated",
    "unregister_score",
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

"""Whole-brain connectomes generated from people's phenotypes, and what in the phenotypes mattered, where.

Names load when they are first used, so that ``import connectome_gnn`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectome_gnn.atlas import Atlas
    from connectome_gnn.attribution import Attribution, attribute, compare_maps, effect_map, enrichment, trajectory
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.constrained import (
        ConnectomeConstrainedNetwork,
        ConnectomeLinear,
        ConnectomeRecurrent,
        evaluate_constraints,
        prune_by_wiring_cost,
        wiring_cost,
    )
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
    from connectome_gnn.harmonisation import ComBat, ConfoundRegression, site_check
    from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema
    from connectome_gnn.prediction import ConnectomeGNN, affected_regions, classify, predict_age
    from connectome_gnn.readers import convert_cohort, read_cohort, read_ukb_phenotypes
    from connectome_gnn.simulate import simulate_cohort
    from connectome_gnn.writers import write_cohort

__version__ = "0.1.0"

_HOMES = {
    "Atlas": "atlas",
    "Attribution": "attribution",
    "AugmentationStudy": "evaluation",
    "Cohort": "cohort",
    "ComBat": "harmonisation",
    "ConfoundRegression": "harmonisation",
    "ConnectomeConstrainedNetwork": "constrained",
    "ConnectomeError": "errors",
    "ConnectomeGNN": "prediction",
    "ConnectomeGenerator": "generation.generator",
    "ConnectomeLinear": "constrained",
    "ConnectomeRecurrent": "constrained",
    "ConnectomeWarning": "errors",
    "DifferentialPrivacy": "generation.privacy",
    "Evaluation": "evaluation",
    "ExtrapolationWarning": "errors",
    "Phenotype": "phenotypes",
    "PhenotypeSchema": "phenotypes",
    "PhenotypeWarning": "errors",
    "PrivacyReport": "evaluation",
    "PrivacyWarning": "errors",
    "Scale": "edges",
    "TrainingConfig": "generation.training",
    "affected_regions": "prediction",
    "attribute": "attribution",
    "augmentation_study": "evaluation",
    "classify": "prediction",
    "compare_maps": "attribution",
    "convert_cohort": "readers",
    "effect_map": "attribution",
    "enrichment": "attribution",
    "evaluate": "evaluation",
    "evaluate_constraints": "constrained",
    "noise_ceiling": "evaluation",
    "predict_age": "prediction",
    "privacy_report": "evaluation",
    "prune_by_wiring_cost": "constrained",
    "read_cohort": "readers",
    "read_ukb_phenotypes": "readers",
    "register_score": "evaluation",
    "simulate_cohort": "simulate",
    "site_check": "harmonisation",
    "train_on_generated": "evaluation",
    "trajectory": "attribution",
    "unregister_score": "evaluation",
    "wiring_cost": "constrained",
    "write_cohort": "writers",
}

__all__ = [
    "Atlas",
    "Attribution",
    "AugmentationStudy",
    "Cohort",
    "ComBat",
    "ConfoundRegression",
    "ConnectomeConstrainedNetwork",
    "ConnectomeError",
    "ConnectomeGNN",
    "ConnectomeGenerator",
    "ConnectomeLinear",
    "ConnectomeRecurrent",
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
    "affected_regions",
    "attribute",
    "augmentation_study",
    "classify",
    "compare_maps",
    "convert_cohort",
    "effect_map",
    "enrichment",
    "evaluate",
    "evaluate_constraints",
    "noise_ceiling",
    "predict_age",
    "privacy_report",
    "prune_by_wiring_cost",
    "read_cohort",
    "read_ukb_phenotypes",
    "register_score",
    "simulate_cohort",
    "site_check",
    "train_on_generated",
    "trajectory",
    "unregister_score",
    "wiring_cost",
    "write_cohort",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"connectome_gnn.{_HOMES[name]}"), name)
    elif name in (
        "attribution",
        "constrained",
        "datasets",
        "evaluation",
        "generation",
        "harmonisation",
        "prediction",
        "readers",
        "simulate",
        "topology",
    ):
        value = import_module(f"connectome_gnn.{name}")
    else:
        raise AttributeError(f"module 'connectome_gnn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Evaluation of anyone's generated connectomes: cohorts in, scores with intervals, nulls and rivals out."""

from connectome_gnn.evaluation.augmentation import augmentation_study
from connectome_gnn.evaluation.catalogue import PARTS, register_score, scores_of, unregister_score
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.learning_curves import AugmentationStudy
from connectome_gnn.evaluation.privacy import PrivacyReport, privacy_report
from connectome_gnn.evaluation.reference import Reference
from connectome_gnn.evaluation.repeat_scans import noise_ceiling
from connectome_gnn.evaluation.result import Evaluation
from connectome_gnn.evaluation.scores import Estimate, Score, SharedScore
from connectome_gnn.evaluation.scoring import evaluate
from connectome_gnn.evaluation.usefulness import train_on_generated

__all__ = [
    "PARTS",
    "AugmentationStudy",
    "Comparison",
    "Estimate",
    "Evaluation",
    "PrivacyReport",
    "Reference",
    "Score",
    "SharedScore",
    "augmentation_study",
    "evaluate",
    "noise_ceiling",
    "privacy_report",
    "register_score",
    "scores_of",
    "train_on_generated",
    "unregister_score",
]

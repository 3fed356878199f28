"""Evaluation of anyone's generated connectomes: cohorts in, scores with intervals, nulls and rivals out."""

from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.reference import Reference
from connectome_gnn.evaluation.result import Evaluation
from connectome_gnn.evaluation.scores import Estimate, Score
from connectome_gnn.evaluation.scoring import PARTS, evaluate

__all__ = ["PARTS", "Comparison", "Estimate", "Evaluation", "Reference", "Score", "evaluate"]

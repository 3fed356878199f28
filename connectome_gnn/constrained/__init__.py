"""Networks wired by connectomes: layers, recurrent networks, wiring cost, pruning, and what the wiring is worth.

==============================  ======================================================================================================
ConnectomeLinear                a linear layer with weights only where there are connections, or drawn to them
ConnectomeRecurrent             a reservoir, or a trained recurrent cell
ConnectomeConstrainedNetwork    stacked layers, each with a wiring of its own (:class:`LayerConfig`); ``fit`` trains them
Wiring                          what constrains: structural, functional, spatial, modular, read_prior, local_to_long_range
wiring_cost, WiringRegulariser  the sum of |weight| times distance, and as a term of the loss
prune_by_wiring_cost            remove what costs most
evaluate_constraints            score, size, cost, likeness to the brain, robustness to lesions
save_constrained                and load_constrained: a folder with safetensors and JSON
==============================  ======================================================================================================
"""

from __future__ import annotations

from connectome_gnn.constrained.cost import WiringRegulariser, communicability, ramp, wiring_cost
from connectome_gnn.constrained.evaluation import ConstraintEvaluation, evaluate_constraints
from connectome_gnn.constrained.lesions import lesion
from connectome_gnn.constrained.linear import ConnectomeLinear, dale_signs
from connectome_gnn.constrained.network import ConnectomeConstrainedNetwork, LayerConfig
from connectome_gnn.constrained.pruning import Pruning, prune_by_wiring_cost
from connectome_gnn.constrained.recurrent import ConnectomeRecurrent, spectral_radius
from connectome_gnn.constrained.store import load_constrained, save_constrained
from connectome_gnn.constrained.wiring import Wiring, functional, local_to_long_range, modular, read_prior, spatial, structural
from connectome_gnn.prediction.learning import LearningConfig

__all__ = [
    "ConnectomeConstrainedNetwork",
    "ConnectomeLinear",
    "ConnectomeRecurrent",
    "ConstraintEvaluation",
    "LayerConfig",
    "LearningConfig",
    "Pruning",
    "Wiring",
    "WiringRegulariser",
    "communicability",
    "dale_signs",
    "evaluate_constraints",
    "functional",
    "lesion",
    "load_constrained",
    "local_to_long_range",
    "modular",
    "prune_by_wiring_cost",
    "ramp",
    "read_prior",
    "save_constrained",
    "spatial",
    "spectral_radius",
    "structural",
    "wiring_cost",
]

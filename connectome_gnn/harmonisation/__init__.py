"""Site effects and confounds taken out of connectomes, learned from training people and applied to new ones."""

from connectome_gnn.harmonisation.combat import ComBat
from connectome_gnn.harmonisation.confounds import ConfoundRegression
from connectome_gnn.harmonisation.harmoniser import Harmoniser
from connectome_gnn.harmonisation.site_telling import site_check
from connectome_gnn.harmonisation.store import load_harmoniser

__all__ = ["ComBat", "ConfoundRegression", "Harmoniser", "load_harmoniser", "site_check"]

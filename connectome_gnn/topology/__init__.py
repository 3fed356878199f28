"""Graph measures of whole cohorts: arrays in, arrays out, each measure defined once and exact.

:func:`measure` gives a table of many measures at once; each is also a plain function of weights: () or (R,) for one square matrix, (N,)
or (N, R) for many, measures of edges (R, R) or (N, R, R) (in the table (N, E)). :func:`list_measures` tells what the table can hold.
The table holds numbers of people, regions and edges, and curves over degrees (the rich club). Beside it stand communities
(:func:`louvain`, :func:`leiden`, :func:`consensus`) and their agreement, null graphs, signed too, and :func:`against_nulls`, which sets
any measure against them. :func:`compare` tells how alike two cohorts' tables are.

People are measured in threads of this machine. On a cluster, joblib's Dask backend hands them to the workers, at least 100 a task, and the
answer is the same to the last bit::

    from dask.distributed import Client
    from joblib import parallel_config

    with Client("scheduler:8786"), parallel_config("dask"):
        table = cg.topology.measure(cohort)
"""

from __future__ import annotations

from connectome_gnn.topology.agreement import adjusted_rand, normalised_mutual_information, variation_of_information
from connectome_gnn.topology.basic import assortativity, degree, density, strength
from connectome_gnn.topology.betweenness import betweenness, edge_betweenness
from connectome_gnn.topology.clustering import clustering, transitivity
from connectome_gnn.topology.communities import Communities, consensus, leiden, louvain, modularity
from connectome_gnn.topology.comparison import compare
from connectome_gnn.topology.cores import k_core, s_core
from connectome_gnn.topology.local_efficiency import local_efficiency
from connectome_gnn.topology.measure import measure
from connectome_gnn.topology.modules import participation, within_module_z
from connectome_gnn.topology.motifs import matching_index, motif_intensity, motifs_of_four, motifs_of_three
from connectome_gnn.topology.nulls import degree_preserving, geometry_preserving, lattice, strength_preserving
from connectome_gnn.topology.paths import (
    characteristic_path_length,
    diameter,
    disconnected,
    eccentricity,
    global_efficiency,
    path_measures,
    radius,
    shortest_paths,
)
from connectome_gnn.topology.registry import list_measures
from connectome_gnn.topology.rich_club import normalised_rich_club, rich_club
from connectome_gnn.topology.small_world import against_nulls, omega, propensity, sigma, small_world
from connectome_gnn.topology.spectral import (
    communicability,
    diffusion_efficiency,
    eigenvector_centrality,
    laplacian_spectrum,
    pagerank,
    spectral_gap,
)
from connectome_gnn.topology.table import TopologyTable
from connectome_gnn.topology.wiring import edge_length, mean_edge_length, wiring_cost

__all__ = [
    "Communities",
    "TopologyTable",
    "adjusted_rand",
    "against_nulls",
    "assortativity",
    "betweenness",
    "characteristic_path_length",
    "clustering",
    "communicability",
    "compare",
    "consensus",
    "degree",
    "degree_preserving",
    "density",
    "diameter",
    "diffusion_efficiency",
    "disconnected",
    "eccentricity",
    "edge_betweenness",
    "edge_length",
    "eigenvector_centrality",
    "geometry_preserving",
    "global_efficiency",
    "k_core",
    "laplacian_spectrum",
    "lattice",
    "leiden",
    "list_measures",
    "local_efficiency",
    "louvain",
    "matching_index",
    "mean_edge_length",
    "measure",
    "modularity",
    "motif_intensity",
    "motifs_of_four",
    "motifs_of_three",
    "normalised_mutual_information",
    "normalised_rich_club",
    "omega",
    "pagerank",
    "participation",
    "path_measures",
    "propensity",
    "radius",
    "rich_club",
    "s_core",
    "shortest_paths",
    "sigma",
    "small_world",
    "spectral_gap",
    "strength",
    "strength_preserving",
    "transitivity",
    "variation_of_information",
    "wiring_cost",
    "within_module_z",
]

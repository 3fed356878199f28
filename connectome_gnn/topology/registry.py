"""Every measure that :func:`connectome_gnn.topology.measure` knows: its level, what weights it takes, what else it needs, its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from operator import attrgetter
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.arrays import Graphs
from connectome_gnn.topology.table import Level

__all__ = ["MEASURES", "PANEL", "SIGNED_PANEL", "Measure", "find_measures", "list_measures"]

Need = Literal["lengths", "partition", "coordinates", "seed"]


@dataclass(frozen=True)
class Measure:
    """One measure of the table.

    Parameters
    ----------
    name : as in tables and on the command line.
    level : ``"global"``, ``"nodal"``, ``"edge"`` or ``"curve"`` (over degrees).
    function : ``module:function`` of this package, a plain function of weights.
    cost : how the arithmetic of one graph grows with its regions R, edges E and nulls.
    citation : where it is defined.
    weights : ``"weighted"`` or ``"binary"`` (only whether an edge is present counts).
    signed : whether negative weights are allowed.
    needs : what the function takes beside weights.
    settings : further arguments of the function that make it this measure.
    part : which of the function's several results it is, by attribute (``"paw.intensity"``).
    """

    name: str
    level: Level
    function: str
    cost: str
    citation: str
    weights: Literal["weighted", "binary"] = "weighted"
    signed: bool = False
    needs: tuple[Need, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    part: str | None = None

    def compute(self, graphs: Graphs, given: Mapping[str, Any], known: dict[str, Any]) -> NDArray:
        """The measure of graphs, in this thread.

        Parameters
        ----------
        graphs : N graphs.
        given : what the measure :attr:`needs`; ``lengths`` are graphs whose weights are one over the lengths, or None.
        known : results that several measures share, by function; filled here.
        """
        if self.function not in known or self.part is None:
            home, name = self.function.split(":")
            call: Callable[..., Any] = getattr(import_module(f"connectome_gnn.topology.{home}"), name)
            if "lengths" in self.needs and given["lengths"] is not None:
                graphs = given["lengths"]
            arguments = {need: given[need] for need in self.needs if need != "lengths"}
            known[self.function] = call(graphs, **arguments, **self.settings, n_jobs=1)
        result: NDArray = known[self.function] if self.part is None else attrgetter(self.part)(known[self.function])
        return to_vectors(result) if self.level == "edge" and result.ndim == 3 else result


RUBINOV = "Rubinov & Sporns 2010, NeuroImage 52:1059"
SIGNED = "Rubinov & Sporns 2011, NeuroImage 56:2068"
GUIMERA = "Guimera & Amaral 2005, Nature 433:895"
OPSAHL = "Opsahl et al. 2008, PRL 101:168702"
COLIZZA = "Colizza et al. 2006, Nature Physics 2:110"
WANG = "Wang et al. 2017, J. Comput. Neurosci. 43:1"
LATORA = "Latora & Marchiori 2001, PRL 87:198701"
BRANDES = "Brandes 2001, J. Math. Sociology 25:163"
ONNELA = "Onnela et al. 2005, Physical Review E 71:065103"


def _path(name: str, level: Level, citation: str) -> Measure:
    return Measure(name, level, "paths:path_measures", "R^3", citation, needs=("lengths",), part=name)


def _small_world(part: str, citation: str) -> Measure:
    return Measure(f"small_world_{part}", "global", "small_world:small_world", "R^3 x 110 nulls", citation, needs=("seed",), part=part)


def _motif(function: str, motif: str, what: str, cost: str) -> Measure:
    name = f"{'open_triad' if motif == 'open' else motif}_{what}"
    return Measure(name, "nodal", f"motifs:{function}", cost, ONNELA, part=f"{motif}.{what}")


_ALL = (
    Measure("degree", "nodal", "basic:degree", "R^2", RUBINOV, "binary", signed=True),
    Measure("strength", "nodal", "basic:strength", "R^2", RUBINOV, signed=True),
    Measure("strength_positive", "nodal", "basic:strength", "R^2", SIGNED, signed=True, settings={"sign": "positive"}),
    Measure("strength_negative", "nodal", "basic:strength", "R^2", SIGNED, signed=True, settings={"sign": "negative"}),
    Measure("density", "global", "basic:density", "R^2", RUBINOV, "binary", signed=True),
    Measure("clustering", "nodal", "clustering:clustering", "R^3", ONNELA),
    Measure("transitivity", "global", "clustering:transitivity", "R^3", ONNELA),
    Measure("shortest_path_length", "edge", "paths:shortest_paths", "R^3", RUBINOV, needs=("lengths",)),
    _path("characteristic_path_length", "global", RUBINOV),
    _path("disconnected", "global", RUBINOV),
    _path("eccentricity", "nodal", RUBINOV),
    _path("radius", "global", RUBINOV),
    _path("diameter", "global", RUBINOV),
    _path("global_efficiency", "global", LATORA),
    Measure("local_efficiency", "nodal", "local_efficiency:local_efficiency", "R k^3", RUBINOV),
    Measure("local_efficiency_wang", "nodal", "local_efficiency:local_efficiency", "R k^3", WANG, settings={"variant": "wang"}),
    Measure("betweenness", "nodal", "betweenness:betweenness", "R^3", BRANDES, needs=("lengths",)),
    Measure("edge_betweenness", "edge", "betweenness:edge_betweenness", "R^3", BRANDES, needs=("lengths",)),
    Measure("modularity", "global", "communities:modularity", "R^2", SIGNED, signed=True, needs=("partition",)),
    Measure("participation", "nodal", "modules:participation", "R^2", GUIMERA, needs=("partition",)),
    Measure(
        "participation_positive",
        "nodal",
        "modules:participation",
        "R^2",
        SIGNED,
        signed=True,
        needs=("partition",),
        settings={"sign": "positive"},
    ),
    Measure(
        "participation_negative",
        "nodal",
        "modules:participation",
        "R^2",
        SIGNED,
        signed=True,
        needs=("partition",),
        settings={"sign": "negative"},
    ),
    Measure("within_module_z", "nodal", "modules:within_module_z", "R^2", GUIMERA, needs=("partition",)),
    Measure("assortativity", "global", "basic:assortativity", "R^2", "Newman 2002, PRL 89:208701"),
    Measure(
        "degree_assortativity", "global", "basic:assortativity", "R^2", "Newman 2002, PRL 89:208701", "binary", settings={"binary": True}
    ),
    _small_world("sigma", "Humphries & Gurney 2008, PLoS ONE 3:e2051"),
    _small_world("omega", "Telesford et al. 2011, Brain Connectivity 1:367"),
    _small_world("propensity", "Muldoon et al. 2016, Scientific Reports 6:22057"),
    Measure("eigenvector_centrality", "nodal", "spectral:eigenvector_centrality", "R^3", "Bonacich 1972, J. Math. Sociology 2:113"),
    Measure("pagerank", "nodal", "spectral:pagerank", "R^3", "Boldi et al. 2009, ACM Trans. Inf. Syst. 27:19"),
    Measure("communicability", "edge", "spectral:communicability", "R^3", "Crofts & Higham 2009, J. R. Soc. Interface 6:411"),
    Measure("diffusion_efficiency", "global", "spectral:diffusion_efficiency", "R^3", "Goni et al. 2013, PLoS ONE 8:e58070"),
    Measure("spectral_gap", "global", "spectral:spectral_gap", "R^3", "Chung 1997, Spectral Graph Theory"),
    Measure(
        "algebraic_connectivity",
        "global",
        "spectral:spectral_gap",
        "R^3",
        "Fiedler 1973, Czech. Math. J. 23:298",
        settings={"of": "laplacian"},
    ),
    Measure("rich_club", "curve", "rich_club:rich_club", "R^2", OPSAHL),
    Measure("rich_club_binary", "curve", "rich_club:rich_club", "R^2", COLIZZA, "binary", settings={"weighted": False}),
    Measure("rich_club_normalised", "curve", "rich_club:normalised_rich_club", "R^2 x 100 nulls", OPSAHL, needs=("seed",)),
    Measure(
        "rich_club_binary_normalised",
        "curve",
        "rich_club:normalised_rich_club",
        "R^2 x 100 nulls",
        COLIZZA,
        "binary",
        needs=("seed",),
        settings={"weighted": False},
    ),
    Measure("k_core", "nodal", "cores:k_core", "R^2", "Seidman 1983, Social Networks 5:269", "binary"),
    Measure("s_core", "nodal", "cores:s_core", "R^2", "Eidsaa & Almaas 2013, Physical Review E 88:062819"),
    Measure("matching_index", "edge", "motifs:matching_index", "R^3", "Betzel et al. 2016, NeuroImage 124:1054", "binary"),
    *(_motif("motifs_of_three", motif, what, "R^3") for what in ("intensity", "coherence") for motif in ("triangle", "open")),
    *(
        _motif("motifs_of_four", motif, what, "R^4")
        for what in ("intensity", "coherence")
        for motif in ("path4", "star4", "cycle4", "paw", "diamond", "clique4")
    ),
    Measure("edge_length", "edge", "wiring:edge_length", "R^2", "Betzel & Bassett 2018, PNAS 115:E4880", "binary", True, ("coordinates",)),
    Measure(
        "mean_edge_length",
        "global",
        "wiring:mean_edge_length",
        "R^2",
        "Betzel & Bassett 2018, PNAS 115:E4880",
        "binary",
        True,
        ("coordinates",),
    ),
    Measure(
        "wiring_cost",
        "global",
        "wiring:wiring_cost",
        "R^2",
        "Bullmore & Sporns 2012, Nature Reviews Neuroscience 13:336",
        needs=("coordinates",),
    ),
)

MEASURES: Mapping[str, Measure] = {one.name: one for one in _ALL}
"""Every measure by name."""

PANEL = (
    "degree",
    "strength",
    "density",
    "clustering",
    "transitivity",
    "characteristic_path_length",
    "global_efficiency",
    "local_efficiency",
    "betweenness",
    "modularity",
    "participation",
    "assortativity",
)
"""What is measured by default."""

SIGNED_PANEL = (
    "degree",
    "strength",
    "strength_positive",
    "strength_negative",
    "density",
    "modularity",
    "participation_positive",
    "participation_negative",
)
"""What is measured by default where weights are negative too."""


def list_measures() -> pd.DataFrame:
    """Every measure that :func:`~connectome_gnn.topology.measure` knows.

    Returns
    -------
    measures : indexed by name, with level (global, nodal, edge, or curve: a value for every degree k), weights (weighted or binary),
        signed (whether negative weights are allowed), default (in the panel measured where none are named), needs (beside weights), cost
        (how the arithmetic of one graph grows with regions R, edges E, neighbours k) and citation.
    """
    rows = [
        {
            "name": one.name,
            "level": one.level,
            "weights": one.weights,
            "signed": one.signed,
            "default": one.name in PANEL,
            "needs": ", ".join(one.needs),
            "cost": one.cost,
            "citation": one.citation,
        }
        for one in _ALL
    ]
    return pd.DataFrame(rows).set_index("name")


def find_measures(names: str | Iterable[str]) -> tuple[Measure, ...]:
    """Measures by name, each once, in the order given.

    Raises
    ------
    ConnectomeError
        If there are none, or a name is unknown; the nearest is suggested.
    """
    wanted = dict.fromkeys([names] if isinstance(names, str) or not isinstance(names, Iterable) else names)
    if not wanted:
        raise ConnectomeError("no measures named; name at least one of cg.topology.list_measures(), or give none for the default panel")
    for name in wanted:
        if name not in MEASURES:
            near = get_close_matches(str(name), MEASURES, n=1, cutoff=0)[0]
            everything = f"all {len(MEASURES)}: cg.topology.list_measures(), or connectome-gnn topology --list"
            raise ConnectomeError(f"no measure {name!r}; the nearest is {near!r} ({everything})")
    return tuple(MEASURES[name] for name in wanted)

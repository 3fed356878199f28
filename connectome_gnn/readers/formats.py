"""The formats that can be read, and which of them a path is."""

from __future__ import annotations

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.apart import below
from connectome_gnn.readers.bids import BIDS
from connectome_gnn.readers.cmp import CMP, PICKLE
from connectome_gnn.readers.edgelist import EDGELIST
from connectome_gnn.readers.graphml import GRAPHML
from connectome_gnn.readers.matrices import MATRICES
from connectome_gnn.readers.mrtrix import MRTRIX
from connectome_gnn.readers.nilearn_arrays import NILEARN
from connectome_gnn.readers.pyg import PYG
from connectome_gnn.readers.qsirecon import QSIRECON
from connectome_gnn.readers.source import Claim, Format, Request, Source
from connectome_gnn.readers.tvb import TVB
from connectome_gnn.readers.ukb import UKB

__all__ = ["FORMATS", "detect"]

PICKLES = (".gpickle", ".pkl", ".pickle")


def _recognise_native(request: Request) -> Claim | None:
    place = request.place
    found = place.is_folder and (place.root / "connectomes.npy").is_file()
    return Claim("a folder with connectomes.npy", frozenset(place.own)) if found else None


def _open_native(request: Request) -> Source:
    raise ConnectomeError(f"{request.place.root} is no native cohort folder")


FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("native", "a native cohort folder", _recognise_native, _open_native),
        MRTRIX,
        UKB,
        QSIRECON,
        CMP,
        BIDS,
        TVB,
        NILEARN,
        GRAPHML,
        PYG,
        EDGELIST,
        MATRICES,
    )
}
"""Every format that can be read, by the name that the user says."""


def detect(request: Request) -> tuple[Format, str]:
    """The format of what a user points at, and why it is taken for that.

    A format of its own (a tool's) goes before plain matrices and lists where all files are its own.

    Raises
    ------
    ConnectomeError
        If nothing fits, or more than one format does: the message names all that do.
    """
    place = request.place
    claims = {name: claim for name, format in FORMATS.items() if (claim := format.recognise(request)) is not None}
    if "native" in claims:  # its connectomes.npy is a stack of edges too, with less around it
        return FORMATS["native"], claims["native"].reason
    tools = [name for name in claims if not FORMATS[name].plain]
    if len(tools) == 1:
        own = claims[tools[0]].files
        claims = {name: claim for name, claim in claims.items() if name == tools[0] or not claim.files <= own}
    if len(claims) == 1:
        name, claim = next(iter(claims.items()))
        return FORMATS[name], claim.reason
    if claims:
        shown = " or ".join(f"{name} ({claim.reason})" for name, claim in claims.items())
        raise ConnectomeError(f"{place.root} could be {shown}; say which by format (--format)")
    pickled = next((path for path in place.own if path.suffix.lower() in PICKLES), None)
    if pickled is not None:
        raise ConnectomeError(f"{pickled}: {PICKLE}")
    patterns = below(place)
    if patterns:
        raise ConnectomeError(f"{place.root} holds connectomes in folders below; say which by a pattern (--pattern), as {patterns}")
    raise ConnectomeError(
        f"{place.root} holds nothing that can be read; expected a native cohort folder, .npy, .npz, .csv, .tsv, .txt, .mat or .graphml "
        "files, or archives of UK Biobank or The Virtual Brain; connectomes in folders below need a pattern (--pattern)"
    )

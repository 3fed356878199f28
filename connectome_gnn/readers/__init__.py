"""Connectomes from files: one module a format, and the functions that read and convert whole cohorts."""

from __future__ import annotations

from pathlib import Path

from connectome_gnn import native
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.readers.exported import exported
from connectome_gnn.readers.formats import FORMATS
from connectome_gnn.readers.people import Table
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.reading import Options, Reading
from connectome_gnn.readers.regions import read_regions
from connectome_gnn.readers.source import Request
from connectome_gnn.readers.ukb_phenotypes import read_ukb_phenotypes

__all__ = ["FORMATS", "convert_cohort", "read_cohort", "read_regions", "read_ukb_phenotypes"]


def read_cohort(
    source: str | Path,
    format: str | None = None,
    participants: Table | None = None,
    atlas: Atlas | str | Path | None = None,
    measure: str | None = None,
    strict: bool = True,
    *,
    signed: bool | None = None,
    name: str | None = None,
    pattern: str | None = None,
    key: str | None = None,
    first_index: int | None = None,
    workers: int | None = None,
) -> Cohort:
    """Read a cohort into memory, from the files of any of a dozen tools.

    Parameters
    ----------
    source : a folder with a file (or files) a person, a glob of such files, one array of everybody whose rows are those of the
        participants table, one person's file, or a native cohort folder.
    format : ``"native"``, ``"mrtrix"`` (tck2connectome), ``"ukb"`` (UK Biobank's zips), ``"qsirecon"`` (also QSIPrep), ``"cmp"``
        (Connectome Mapper 3), ``"bids"`` (relmat, giga-connectome), ``"tvb"`` (The Virtual Brain's zips), ``"nilearn"`` (arrays),
        ``"graphml"`` (ndmg), ``"pyg"`` (a dataset of :func:`connectome_gnn.write_cohort`), ``"edges"`` (lists ``i j w``) or ``"matrices"``
        (.npy, .npz, .csv, .tsv, .txt, .mat); default: what the source looks like. ``cohort.info["read_from"]`` and
        ``["because"]`` say what it was taken for, and why.
    participants : participants table (BIDS), its file, a UK Biobank table, or what :func:`read_ukb_phenotypes` gives; default
        ``participants.tsv`` in the source folder. The cohort is in its order.
    atlas : the atlas, a table of its regions (:func:`read_regions`: BIDS, MRtrix ``labelconvert``, brainGraph, ...), or its name
        (``"mrtrix_fs_default"``, ``"ukb_aparc_tian_s1"``, ``"schaefer200"``: :meth:`connectome_gnn.Atlas.load`); default ``atlas.tsv`` in
        the source folder, or the names that the files give. The number of regions alone never decides it.
    measure : what a weight is (``"streamline_count"``, ``"mean_fa"``, ``"pearson"``, ...), where the files do not say; where they hold
        several, the one to read.
    strict : whether a person who is only in the table or only among the files, or whose connectome cannot be used, is an error;
        otherwise such people are left out, and ``cohort.info["left_out"]`` and a warning list them.
    signed : True for correlations, False for non-negative weights; default by ``measure``.
    name : name of the cohort; default the source's.
    pattern : path of a person's file inside the source folder, as ``"{participant_id}/dwi/*_connectome.csv"``; default: by the format.
    key : which of several variables of a .mat or .npz, attributes of edges, or members of an archive is meant.
    first_index : 0 or 1, where edges are between counted regions and the files do not show which counting it is.
    workers : processes to read with; default one a core (at most 8) where more than some seconds of work are left.

    Returns
    -------
    cohort : Cohort with float32 weights (N, E).

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If a file is missing or does not hold what it should, or two formats fit; the sentence names the file and the regions.

    Warns
    -----
    ConnectomeWarning
        For tables and texts in the folder that were left unread, self-loops that were dropped, matrices with one triangle that were
        mirrored, empty connectomes, people left out, and rows that do not look like the atlas's regions.

    See Also
    --------
    convert_cohort : the same, written straight to disk.
    connectome_gnn.Cohort.quality : who stands out, and why.
    """
    options = Options(format, participants, atlas, measure, signed, name, pattern, key, first_index, strict, workers)
    place, options = _place(source, options)
    if _is_native(place, options):
        return _load_native(place.root, options)
    return Reading.open(place, options).in_memory()


def convert_cohort(
    source: str | Path,
    out: str | Path,
    format: str | None = None,
    participants: Table | None = None,
    atlas: Atlas | str | Path | None = None,
    measure: str | None = None,
    strict: bool = True,
    *,
    signed: bool | None = None,
    name: str | None = None,
    pattern: str | None = None,
    key: str | None = None,
    first_index: int | None = None,
    workers: int | None = None,
    force: bool = False,
) -> Cohort:
    """Read a cohort straight into a native folder, so that memory does not grow with the number of people.

    When the process is killed or interrupted, the same call goes on where it was; the folder appears complete or not at all.

    Parameters
    ----------
    source, format, participants, atlas, measure, strict, signed, name, pattern, key, first_index, workers : as for :func:`read_cohort`.
    out : the native folder.
    force : whether to replace the files of a folder that exists.

    Returns
    -------
    cohort : the native folder, loaded (memory-mapped).
    """
    options = Options(format, participants, atlas, measure, signed, name, pattern, key, first_index, strict, workers)
    out = Path(out)
    native.check_target(out, force)
    place, options = _place(source, options)
    if _is_native(place, options):
        _load_native(place.root, options).save(out, force)
        return Cohort.load(out, check=False)
    return Reading.open(place, options).on_disk(out, force)


def _place(source: str | Path, options: Options) -> tuple[Place, Options]:
    if options.format is not None and options.format not in FORMATS:
        raise ConnectomeError(f"expected a format among {', '.join(FORMATS)}, got {options.format!r}")
    return exported(Path(source), options) or (options.place(source), options)


def _is_native(place: Place, options: Options) -> bool:
    if options.format is not None:
        return options.format == "native"
    return place.is_folder and FORMATS["native"].recognise(Request(place)) is not None


def _load_native(source: Path, options: Options) -> Cohort:
    extra = options.given()
    if extra and (source / "connectomes.npy").is_file():
        raise ConnectomeError(
            f"{source} is a native cohort folder, which brings its own {', '.join(extra)}; leave {'it' if len(extra) == 1 else 'them'} out"
        )
    cohort = Cohort.load(source)
    cohort.name = options.name or cohort.name
    return cohort

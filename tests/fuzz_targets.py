"""What is fuzzed: for each reader real files to begin with, and a check of what comes of any bytes in their place.

Whatever the bytes, a reader answers with a sentence (ConnectomeError) or with numbers that a cohort can hold.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse
from brains import brain, text_of

from connectome_gnn import graph_dataset
from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.graphs import GraphInfo
from connectome_gnn.readers import read_regions
from connectome_gnn.readers.checks import check_raw
from connectome_gnn.readers.formats import FORMATS, detect
from connectome_gnn.readers.place import Place
from connectome_gnn.readers.pyg import DATABASE
from connectome_gnn.readers.source import Request
from connectome_gnn.readers.ukb_phenotypes import read_ukb_phenotypes
from connectome_gnn.writers import write_cohort

LABELS = ("L_V1", "L_A1", "L_M1", "R_V1", "R_A1", "R_M1")
ATLAS = Atlas(LABELS, ["L"] * 3 + ["R"] * 3, name="six")
MATRIX = brain(LABELS)


@dataclass(frozen=True)
class Target:
    """A reader to fuzz.

    Attributes
    ----------
    name : what it is called.
    file : name of the file that it reads.
    seeds : contents that it can read.
    check : reads the file, and raises where the answer is not right.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    check: Callable[[Path], None]

    def run(self, content: bytes, folder: Path) -> bool:
        """Whether the content was read; False where it was refused in a sentence. Anything else is raised."""
        path = folder / self.file
        path.write_bytes(content)
        try:
            self.check(path)
        except ConnectomeError as error:
            if not str(error) or len(str(error)) > 2000:
                raise AssertionError(f"{len(str(error))} characters are no sentence") from error
            return False
        return True


def by_format(name: str | None, *, atlas: bool = True, measure: str = "streamline_count", key: str | None = None) -> Callable[[Path], None]:
    """Read one person's file as a cohort is: the format found (or given), opened, the matrix read and checked."""

    def check(path: Path) -> None:
        signed = measure == "pearson"
        request = Request(Place.find(path), ATLAS if atlas else None, ("a",), measure, signed, key)
        format = FORMATS[name] if name is not None else detect(request)[0]
        if format.name == "native":
            raise ConnectomeError("a native folder")
        source = format.open(request)
        if source.atlas is None:
            raise ConnectomeError("no atlas")
        for item in source.items:
            edges = check_raw(source.read(item), source.atlas, signed).edges
            assert edges.shape == (source.atlas.n_edges,) and edges.dtype == np.float32
            assert np.isfinite(edges).all() and (edges >= (-1 if signed else 0)).all() and (not signed or (edges <= 1).all())

    return check


def check_regions(path: Path) -> None:
    atlas = read_regions(path)
    assert len(set(atlas.labels)) == len(atlas) >= 2 and not np.isinf(atlas.xyz).any()


def check_phenotypes(path: Path) -> None:
    table, described = read_ukb_phenotypes(path)
    assert table.index.is_unique and list(table.columns) == list(described) and len(table)


def check_pyg(path: Path) -> None:
    """Read a PyTorch Geometric dataset whose database has these bytes; its tables, which stay the same, are read once."""
    root = path.parent / "pyg"
    for name, content in PYG.items():
        if not (root / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    (root / DATABASE).write_bytes(path.read_bytes())
    with patch.object(graph_dataset, "_shared", lambda folder: PYG_SHARED):
        by_format("pyg")(root)


def saved(write: Callable[[Path], None], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        write(path)
        return path.read_bytes()


def zipped(members: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def labelled(delimiter: str, matrix: np.ndarray = MATRIX) -> bytes:
    return pd.DataFrame(matrix, index=LABELS, columns=LABELS).to_csv(sep=delimiter).encode()


def graph(matrix: np.ndarray = MATRIX, attribute: str = "weight") -> nx.Graph:
    return nx.relabel_nodes(nx.from_numpy_array(matrix, edge_attr=attribute), {n: n + 1 for n in range(len(matrix))})


def mapper_graph() -> nx.Graph:
    made = graph(attribute="number_of_fibers")
    nx.set_node_attributes(made, {n + 1: {"dn_name": label, "dn_hemisphere": "left"} for n, label in enumerate(LABELS)})
    return made


def graphml(made: nx.Graph) -> bytes:
    return "\n".join(nx.generate_graphml(made)).encode()


def edge_list(first: int, delimiter: str) -> bytes:
    pairs = zip(*np.nonzero(np.triu(MATRIX)), strict=True)
    return "\n".join(delimiter.join((str(i + first), str(j + first), f"{MATRIX[i, j]:g}")) for i, j in pairs).encode()


def mat5(**options: bool) -> bytes:
    variables = {"SC": MATRIX, "labels": np.array(LABELS, dtype=object), "other": {"a": 1.0, "b": "text"}}
    return saved(lambda path: scipy.io.savemat(path, variables, **options), ".mat")


def sparse5() -> bytes:
    return saved(lambda path: scipy.io.savemat(path, {"SC": scipy.sparse.csc_array(MATRIX)}), ".mat")


def mat73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("SC", data=MATRIX.T, compression="gzip").attrs["MATLAB_class"] = np.bytes_("double")
        file.create_group("more").create_dataset("age", data=np.array([[7.0]]))
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def qsirecon5() -> bytes:
    variables = {
        "atlas_Six_region_ids": np.arange(6),
        "atlas_Six_region_labels": np.array(LABELS, dtype=object),
        "atlas_Six_count_connectivity": MATRIX,
    }
    return saved(lambda path: scipy.io.savemat(path, variables, long_field_names=True), ".mat")


def mapper5() -> bytes:
    variables = {"sc": {"number_of_fibers": MATRIX}, "nodes": {"dn_name": np.array(LABELS, dtype=object)}}
    return saved(lambda path: scipy.io.savemat(path, variables, long_field_names=True), ".mat")


def pyg_files() -> tuple[dict[str, bytes], tuple[GraphInfo, pd.DataFrame]]:
    """A dataset of two people, by its files' names, and what its graphs share."""
    people = pd.DataFrame({"age": [60.0, 70.0], "sex": ["F", "M"]}, index=["a", "b"])
    cohort = Cohort(to_vectors(np.stack([MATRIX, MATRIX * 2])), people, ATLAS, measure="streamline_count")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "pyg"
        write_cohort(cohort, root, "pyg")
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        return files, graph_dataset._shared(root)


CENTRES = "\n".join(f"{label} {n} 2 3.5" for n, label in enumerate(LABELS))
REGIONS = (
    b"label\themisphere\tnetwork\tx\ty\tz\na\tL\tVis\t1\t2\t3\nb\tR\tn/a\tn/a\tn/a\tn/a\n",
    b"0 ??? Unknown 0 0 0 0\n1 L.BSTS ctx-lh-bankssts 25 100 40 255\n2 R.TH Right-Thalamus 0 118 14 255\n",
    b'name,x.mni,y.mni,z.mni,lobe,hemi\n"lA",-1.5,2,3,Frontal,L\nrA,1,2,3,Frontal,R\n',
    b"HIP-rh\n1 171 243 85 255\nHIP-lh\n2 171 243 85 255\n",
)
PHENOTYPES = (
    b"eid,31-0.0,21003-2.0,20116-2.0,189-0.0\n1000001,0,63,2,-1.5\n1000002,1,55,-3,2.25\n",
    b"eid\tp31\tp21003_i2\tp20116_i2\tp53_i2\n1\tFemale\t63\tNever\t2014-05-06\n2\tMale\t\tPrefer not to answer\t\n",
)
RELMAT = text_of(MATRIX / MATRIX.max(), "\t", "%.6f").encode()
PYG, PYG_SHARED = pyg_files()
UKB = {f"connectome_{measure}_10M.csv": text_of(MATRIX) for measure in ("streamline_count", "sift2_fbc")}

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "csv",
            "a.csv",
            (text_of(MATRIX).encode(), labelled(","), text_of(MATRIX, ";").replace(".", ",").encode()),
            by_format("matrices"),
        ),
        Target(
            "csv_any_atlas", "a.csv", (labelled(","), labelled("\t"), text_of(MATRIX).encode("utf-16")), by_format("matrices", atlas=False)
        ),
        Target("npy", "a.npy", (npy(MATRIX), npy(MATRIX.astype(np.float16)), npy(MATRIX.astype(">i4"))), by_format("matrices")),
        Target("npz", "a.npz", (zipped({"W.npy": npy(MATRIX), "labels.npy": npy(np.array(LABELS))}),), by_format("matrices")),
        Target("mat5", "a.mat", (mat5(), mat5(do_compression=True), sparse5()), by_format("matrices")),
        Target("mat73", "a.mat", (saved(mat73, ".mat"),), by_format("matrices")),
        Target("detected", "a.csv", (text_of(MATRIX).encode(), edge_list(0, ","), labelled(";")), by_format(None)),
        Target(
            "mrtrix",
            "sub-a_connectome.csv",
            (b"# command_history: tck2connectome x\n" + text_of(np.triu(MATRIX), " ").encode(), text_of(np.pad(MATRIX, (1, 0))).encode()),
            by_format("mrtrix"),
        ),
        Target(
            "ukb",
            "1_31020_2_0.zip",
            (zipped(UKB), zipped(UKB, zipfile.ZIP_STORED), zipped({f"{n}.gz": gzip.compress(t.encode()) for n, t in UKB.items()})),
            by_format("ukb"),
        ),
        Target("tvb", "a.zip", (zipped({"weights.txt": text_of(MATRIX, " "), "centres.txt": CENTRES}),), by_format("tvb", atlas=False)),
        Target("qsirecon", "sub-a_connectivity.mat", (qsirecon5(),), by_format("qsirecon", atlas=False)),
        Target(
            "cmp_table",
            "sub-a_conndata-network_connectivity.tsv",
            (nx.to_pandas_edgelist(mapper_graph()).to_csv(sep="\t", index=False).encode(),),
            by_format("cmp", measure="number_of_fibers"),
        ),
        Target(
            "cmp_graphml",
            "sub-a_conndata-network_connectivity.graphml",
            (graphml(mapper_graph()),),
            by_format("cmp", atlas=False, measure="number_of_fibers"),
        ),
        Target(
            "cmp_mat",
            "sub-a_conndata-network_connectivity.mat",
            (mapper5(),),
            by_format("cmp", atlas=False, measure="number_of_fibers"),
        ),
        Target(
            "bids", "sub-a_meas-PearsonCorrelation_relmat.tsv", (RELMAT, labelled("\t", MATRIX / 1e4)), by_format("bids", measure="pearson")
        ),
        Target("nilearn", "a.npy", (npy(np.ones((1, 21)) / 2), npy(np.ones((1, 6, 6)) / 2)), by_format("nilearn", measure="pearson")),
        Target("graphml", "a.graphml", (graphml(graph()), graphml(graph().to_directed())), by_format("graphml")),
        Target("edges", "a.txt", (edge_list(0, " "), edge_list(1, "\t")), by_format("edges")),
        Target("regions", "regions.txt", REGIONS, check_regions),
        Target("pyg", "sqlite.db", (PYG[DATABASE],), check_pyg),
        Target("ukb_phenotypes", "ukb.csv", PHENOTYPES, check_phenotypes),
    )
}

TOKENS = [
    *(
        b"0",
        b"-1",
        b"1e309",
        b"nan",
        b"inf",
        b"1_0",
        b"0,5",
        b"1,000.5",
        b"9" * 40,
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n",
        b"\t",
        b";",
    ),
    *(
        b'"',
        b"'",
        b"#",
        b"\xe9",
        "\u0661".encode(),
        "\u2212".encode(),
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"\x80\x04",
        b"\x93NUMPY",
        b"../",
        b"L_V1",
    ),
    *(
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"&a;",
        b"</node>",
        b"<edge/>",
        b"\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x80",
        b" " * 64,
    ),
]


def mutated(rng: np.random.Generator, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with one to eight changes: bits, bytes, tokens, pieces moved, doubled, cut out or taken from another seed."""
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(int(rng.integers(2, 9)) if rng.uniform() < 0.4 else 1):
        place = int(rng.integers(len(content) + 1))
        match int(rng.integers(9)):
            case 0 if content:
                content[place % len(content)] ^= 1 << int(rng.integers(8))
            case 1 if content:
                content[place % len(content)] = int(rng.integers(256))
            case 2:
                content[place:place] = TOKENS[rng.integers(len(TOKENS))]
            case 3:
                token = TOKENS[rng.integers(len(TOKENS))]
                content[place : place + len(token)] = token
            case 4:
                del content[place : place + int(rng.integers(1, 40))]
            case 5:
                content[place:place] = content[place : place + int(rng.integers(1, 200))]
            case 6:
                other = seeds[rng.integers(len(seeds))]
                start = int(rng.integers(len(other) + 1))
                content[place : place + 32] = other[start : start + int(rng.integers(1, 64))]
            case 7:
                content = content[: place + 1]
            case 8:
                number = int(rng.integers(0, 2**32)) if rng.uniform() < 0.5 else int(rng.integers(0, 300))
                content[place : place + 4] = number.to_bytes(4, "little")
    return bytes(content)

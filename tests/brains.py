"""Matrices that look like a brain's on a list of regions, and the files that tools write of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from connectome_gnn.atlases.sides import hemisphere_of, without_side


def brain(labels: Sequence[str], seed: int = 0, strength: float = 300.0) -> np.ndarray:
    """(R, R) symmetric counts: strong within a hemisphere and between fellow regions, weak otherwise, zero on the diagonal."""
    rng = np.random.default_rng(seed)
    sides = np.array([hemisphere_of(label) for label in labels])
    names = np.array([without_side(label) for label in labels])
    expected = np.where(sides[:, None] == sides[None], strength, strength / 15)
    expected = np.where((names[:, None] == names[None]) & (sides[:, None] != sides[None]), 2 * strength, expected)
    matrix = np.triu(rng.poisson(expected * rng.uniform(0.5, 1.5, expected.shape)) * (rng.uniform(size=expected.shape) < 0.8), 1)
    return (matrix + matrix.T).astype(float)


def text_of(matrix: np.ndarray, delimiter: str = ",", form: str = "%.10g") -> str:
    buffer = io.StringIO()
    np.savetxt(buffer, matrix, fmt=form, delimiter=delimiter)
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def ukb_zip(folder: Path, eid: str, matrix: np.ndarray, field: int = 31020, packed: bool = False) -> Path:
    """A person's archive as UK Biobank delivers it; the other measures are multiples."""
    import gzip

    members: dict[str, str | bytes] = {}
    for factor, measure in enumerate(("streamline_count", "sift2_fbc", "mean_FA", "mean_length"), 1):
        text = text_of(matrix * factor)
        name = f"connectome_{measure}_10M.csv"
        members[name + ".gz" if packed else name] = gzip.compress(text.encode()) if packed else text
    return write_zip(folder / f"{eid}_{field}_2_0.zip", members)

"""Commands that change a cohort's regions or weights: ``select``, ``reorder``, ``normalise``, ``threshold``, and its ``backbone``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connectome_gnn.cli.cohorts import NewCohort, say_cohort
from connectome_gnn.cli.options import CohortFolder, Force, Json
from connectome_gnn.cli.terminal import print_json, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from connectome_gnn.atlas import Atlas

__all__ = ["backbone", "normalise", "reorder", "select", "threshold"]


def select(
    cohort: CohortFolder,
    out: NewCohort,
    region: Annotated[
        list[str] | None, typer.Option(help="Label of a region to keep; repeat for more, in the order wanted.", show_default=False)
    ] = None,
    network: Annotated[list[str] | None, typer.Option(help="Network to keep; repeat for more.", show_default=False)] = None,
    hemisphere: Annotated[str | None, typer.Option(help="Side to keep, L or R.", show_default=False)] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Keep some regions of a cohort, and the edges between them."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    check_target(out, force)
    part = Cohort.load(cohort).select(region or None, network=network or None, hemisphere=hemisphere)
    say_cohort(part, out, force, json)


def reorder(
    cohort: CohortFolder,
    out: NewCohort,
    atlas: Annotated[str, typer.Option(help="Table of the same regions in the order wanted, or an atlas's name.", show_default=False)],
    force: Force = False,
    json: Json = False,
) -> None:
    """Bring a cohort's regions into the order of an atlas, by label."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target
    from connectome_gnn.readers.regions import read_atlas

    check_target(out, force)
    say_cohort(Cohort.load(cohort).reorder(read_atlas(atlas)), out, force, json)


def normalise(
    cohort: CohortFolder,
    out: NewCohort,
    by: Annotated[str, typer.Option(help="max, total or median of each person's weights.", show_default=False)],
    force: Force = False,
    json: Json = False,
) -> None:
    """Divide each person's weights by their largest, total or median; cohort.json records it."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    check_target(out, force)
    say_cohort(Cohort.load(cohort).normalise(by), out, force, json)


def threshold(
    cohort: CohortFolder,
    out: NewCohort,
    weight: Annotated[float | None, typer.Option(help="Keep edges of at least this weight.", show_default=False)] = None,
    density: Annotated[float | None, typer.Option(help="Keep each person's strongest edges, up to this share.", show_default=False)] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Keep the edges of a backbone in everybody: a table of the command backbone, or a method.", show_default=False),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Set weak edges to 0, by weight, density or a group's backbone; cohort.json records it."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_target

    check_target(out, force)
    loaded = Cohort.load(cohort)
    kept = _read_backbone(Path(backbone), loaded.atlas) if backbone is not None and Path(backbone).is_file() else backbone
    say_cohort(loaded.threshold(weight=weight, density=density, backbone=kept), out, force, json)


def backbone(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT.tsv", help="Table of 0 and 1 to write, regions around it.", show_default=False)],
    method: Annotated[str, typer.Option(help="consistency, distance, proportional, absolute, disparity or spanning_tree.")] = "consistency",
    share: Annotated[
        float | None, typer.Option(help="consistency: share of people who have an edge; default .5.", show_default=False)
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="consistency, proportional, spanning_tree: share of all edges.", show_default=False)
    ] = None,
    weight: Annotated[float | None, typer.Option(help="absolute: smallest mean weight.", show_default=False)] = None,
    alpha: Annotated[float | None, typer.Option(help="disparity: level of significance; default .05.", show_default=False)] = None,
    bins: Annotated[int | None, typer.Option(help="distance: number of bins of lengths.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a table that exists.")] = False,
    json: Json = False,
) -> None:
    """Write which edges a group's people have in common."""
    from connectome_gnn.cohort import Cohort
    from connectome_gnn.native import check_file

    check_file(out, force)
    loaded = Cohort.load(cohort)
    kept = loaded.backbone(share, density, method=method, weight=weight, alpha=alpha, n_bins=bins)
    _write_backbone(kept, loaded.atlas, out)
    n_edges = int(kept.sum()) // 2
    if json:
        print_json({"out": out, "method": method, "n_edges": n_edges, "density": n_edges / loaded.n_edges})
    else:
        say(f"{out}: {n_edges:,} of {loaded.n_edges:,} edges by {method}")


def _write_backbone(kept: NDArray[np.bool_], atlas: Atlas, out: Path) -> None:
    import pandas as pd

    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    pd.DataFrame(kept.astype(int), index=atlas.labels, columns=atlas.labels).to_csv(unfinished, sep="\t", lineterminator="\n")
    unfinished.replace(out)


def _read_backbone(path: Path, atlas: Atlas) -> NDArray[np.float64]:
    from connectome_gnn.readers.text import read_text_matrix

    return read_text_matrix(path, atlas)

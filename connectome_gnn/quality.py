"""The quality of a cohort's connectomes: people who stand out from the others, and why; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.progress import progress

__all__ = ["quality"]

FAR = 5.0
"""Robust standard deviations (1.4826 times the median absolute deviation) beyond which a person's value is an outlier."""
FEWEST = 8
"""People below which nobody is an outlier."""
LEAST_SPREAD = 0.01
"""Least robust standard deviation, as a share of the median: in a cohort of nearly the same values nobody is an outlier."""
MEASURES = ("density", "strength", "similarity")


def quality(cohort: Cohort) -> pd.DataFrame:
    """Measures of every connectome, and what is unusual about it.

    Parameters
    ----------
    cohort : the cohort; what was noted on reading it (self-loops, asymmetry, people left out) is taken from ``cohort.info``.

    Returns
    -------
    report : DataFrame with one row a row of the cohort, in its order, then one a person left out on reading, indexed by participant_id:

        - ``density``: share of edges that are present, 0 to 1.
        - ``strength``: mean weight of all edges (of their absolute value, for correlations), in the weight's unit.
        - ``similarity``: correlation of the edges, on the modelling scale, with the mean of the other people, -1 to 1.
        - ``empty_regions``: number of regions without an edge. ``components``: number of connected parts, empty regions left out.
        - ``negative``: share of negative weights. ``beyond``: number of weights off the measure's support or not finite.
        - ``self_loops``: number dropped on reading. ``asymmetry``: largest relative difference of the two cells of an edge, which is
          rounding at most. ``one_triangle``: whether the other was filled from it. ``unassigned``: streamlines that ended in no region.
        - ``duplicate_of``: the first participant with the same matrix, empty where there is none.
        - ``left_out``: why the person was left out on reading (another atlas's labels, negative weights, no row in the table, ...),
          empty for everybody in the cohort.
        - ``reasons``: what is unusual, in words; ``flagged``: whether anything is.

        Outliers are further than 5 robust standard deviations from the median of the cohort, among 8 people or more.
    """
    report = _measured(cohort)
    read = cohort.info.get("reading", {})
    for column, fact in (
        ("self_loops", "self_loops"),
        ("asymmetry", "asymmetry"),
        ("one_triangle", "mirrored"),
        ("unassigned", "unassigned"),
    ):
        known = read.get(fact, {})
        report[column] = [known.get(person, 0) for person in report.index]
    report["one_triangle"] = report["one_triangle"].astype(bool)
    report["left_out"] = ""
    report["reasons"] = ["; ".join(reasons) for reasons in _reasons(report)]
    left_out = {str(person): str(reason) for person, reason in cohort.info.get("left_out", {}).items() if person not in set(report.index)}
    if left_out:
        absent = pd.DataFrame(index=pd.Index(list(left_out), name=report.index.name, dtype=object), columns=report.columns)
        absent = absent.assign(duplicate_of="", one_triangle=False, left_out=list(left_out.values()))
        absent["reasons"] = [f"left out on reading: {reason}" for reason in left_out.values()]
        report = pd.concat([report.astype(object), absent.astype(object)]).infer_objects()
    report["flagged"] = report["reasons"].astype(bool)
    return report


def _measured(cohort: Cohort) -> pd.DataFrame:
    """Everything that the weights themselves show."""
    n_people, n_edges, n_regions = len(cohort), cohort.n_edges, cohort.n_regions
    mean = np.zeros(n_edges)
    with progress("Looking at connectomes", 2 * n_people) as advance:
        for rows, values in cohort.modelled():
            mean += np.where(np.isfinite(values), values, 0).sum(0, dtype=np.float64)
            advance(rows.stop - rows.start)
        columns: dict[str, NDArray] = {
            name: np.zeros(n_people) for name in ("density", "strength", "similarity", "empty_regions", "components", "negative", "beyond")
        }
        first: dict[bytes, str] = {}
        duplicate_of = [""] * n_people
        for rows, weights in cohort.batches():
            finite = np.isfinite(weights)
            known = np.where(finite, weights, 0)
            columns["density"][rows] = (known != 0).mean(1)
            columns["strength"][rows] = np.abs(known).mean(1, dtype=np.float64)
            columns["negative"][rows] = (known < 0).mean(1)
            columns["beyond"][rows] = (~finite | ((np.abs(known) > 1 + 1e-6) if cohort.signed else (known < 0))).sum(1)
            values = np.where(finite, cohort.scale.forward(np.where(known < 0, 0, known) if not cohort.signed else known), 0)
            columns["similarity"][rows] = _similarity(values, mean, n_people)
            for row, present in enumerate(known != 0, rows.start):
                columns["empty_regions"][row], columns["components"][row] = _parts(present, n_regions)
                if present.any():
                    mark = blake2b(np.ascontiguousarray(known[row - rows.start], dtype=np.float32).data, digest_size=16).digest()
                    duplicate_of[row] = first.get(mark, "")
                    first.setdefault(mark, str(cohort.ids[row]))
            advance(rows.stop - rows.start)
    report = pd.DataFrame(columns, index=cohort.ids)
    for name in ("empty_regions", "components", "beyond"):
        report[name] = report[name].astype(int)
    report["duplicate_of"] = duplicate_of
    return report


def _similarity(values: NDArray, total: NDArray[np.float64], n_people: int) -> NDArray[np.float64]:
    """Correlation of each row with the mean of the other people; NaN where either has no variance."""
    others = (total - values) / max(n_people - 1, 1)
    one, other = values - values.mean(1, keepdims=True), others - others.mean(1, keepdims=True)
    norm = np.sqrt((one**2).sum(1, dtype=np.float64) * (other**2).sum(1))
    return np.divide((one * other).sum(1), norm, out=np.full(len(values), np.nan), where=norm > 0)


def _parts(present: NDArray[np.bool_], n_regions: int) -> tuple[int, int]:
    """Number of regions without an edge, and of connected parts among the others."""
    rows, columns = (index[present] for index in edge_indices(n_regions))
    n_empty = n_regions - len(np.union1d(rows, columns))
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n_regions, n_regions))
    return n_empty, int(connected_components(graph, directed=False, return_labels=False)) - n_empty


def _reasons(report: pd.DataFrame) -> list[list[str]]:
    """What is unusual about each person, in words."""
    reasons: list[list[str]] = [[] for _ in range(len(report))]

    def say(rows: NDArray[np.bool_] | pd.Series, words: Callable[[int], str]) -> None:
        for row in np.flatnonzero(np.asarray(rows)):
            reasons[row].append(words(int(row)))

    say(report["density"] == 0, lambda row: "no edge at all")
    for measure in MEASURES:
        values = report[measure].to_numpy(np.float64)
        middle, spread = _robust(values)
        if middle is None:
            continue
        away = (values - middle) / spread
        # A connectome that is much like the group's is no fault.
        outlying = away < -FAR if measure == "similarity" else np.abs(away) > FAR
        for row in np.flatnonzero(outlying):
            side = "above" if away[row] > 0 else "below"
            told = f"{measure} {values[row]:.4g} where the median is {middle:.4g}"
            reasons[row].append(f"{told} ({abs(away[row]):.1f} robust sd {side})")
    empty = report["empty_regions"].to_numpy()
    usual = float(np.median(empty)) if len(empty) else 0.0
    say((empty > usual) & (report["density"] > 0), lambda row: f"{empty[row]} regions without an edge (the median is {usual:.0f})")
    parts = report["components"].to_numpy()
    say(parts > 1, lambda row: f"disconnected: {parts[row]} parts")
    say(report["negative"].where(report["beyond"] > 0, 0) > 0, lambda row: "negative weights")
    say(report["beyond"] > 0, lambda row: f"{report['beyond'].iloc[row]} weights off the measure's support")
    say(report["duplicate_of"] != "", lambda row: f"the same matrix as {report['duplicate_of'].iloc[row]!r}")
    loops = report["self_loops"].to_numpy()
    if len(loops) and np.median(loops > 0) == 0:  # a tool that writes them writes them for everybody
        say(loops > 0, lambda row: f"{loops[row]} self-loops, which others do not have")
    triangle = report["one_triangle"].to_numpy(bool)
    if triangle.any() and not triangle.all():
        say(triangle if triangle.mean() <= 0.5 else ~triangle, lambda row: "one triangle filled, or both, unlike the others")
    return reasons


def _robust(values: NDArray[np.float64]) -> tuple[float | None, float]:
    """Median and robust standard deviation; None where there are too few people to tell."""
    known = values[np.isfinite(values)]
    if len(known) < FEWEST:
        return None, 0.0
    middle = float(np.median(known))
    return middle, max(1.4826 * float(np.median(np.abs(known - middle))), LEAST_SPREAD * abs(middle), 1e-12)

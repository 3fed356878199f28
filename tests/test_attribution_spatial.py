"""Spatial nulls: rotations and surrogates are what they should be, and tests with them call as often as they say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from connectome_gnn.atlas import Atlas
from connectome_gnn.attribution.map_comparison import compare_maps
from connectome_gnn.attribution.spatial_nulls import _rotations, null_maps, region_map, spin_orders, variogram, variogram_surrogates
from connectome_gnn.attribution.system_enrichment import enrichment
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.statistics import benjamini_hochberg
from connectome_gnn.simulated_brain import draw_atlas


@cache
def brain(n_regions: int = 60) -> Atlas:
    return draw_atlas(n_regions, np.random.default_rng(0))


@cache
def mirrored() -> Atlas:
    """30 regions of the left hemisphere and their exact mirror images."""
    left = brain().xyz[:30]
    return Atlas([f"r{n}" for n in range(60)], ["L"] * 30 + ["R"] * 30, brain().network, np.concatenate([left, left * (-1, 1, 1)]))


def smooth_maps(n: int, reach: float = 30.0, seed: int = 0, alike: bool = True) -> NDArray[np.float64]:
    """Independent maps (n, R) whose correlation falls with distance; ``alike`` in both hemispheres."""
    xyz = np.column_stack([np.abs(brain().xyz[:, 0]), brain().xyz[:, 1:]]) if alike else brain().xyz
    apart = ((xyz[:, None] - xyz[None]) ** 2).sum(-1)
    root = np.linalg.cholesky(np.exp(-apart / reach**2 / 2) + 0.02 * np.eye(len(xyz)))
    return np.random.default_rng(seed).standard_normal((n, len(xyz))) @ root.T


def test_rotations_are_uniform_and_proper() -> None:
    turns = _rotations(4000, np.random.default_rng(0))
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    assert np.abs(turns.mean(0)).max() < 0.04  # standard error 1 / sqrt(3 * 4000) = .009
    np.testing.assert_allclose((turns**2).mean(0), 1 / 3, atol=0.03)


@pytest.mark.parametrize("assignment", ["nearest", "optimal"])
def test_hemispheres_turn_by_themselves_and_as_mirror_images(assignment: Any) -> None:
    orders = spin_orders(mirrored(), 40, seed=3, assignment=assignment)
    assert (orders[:, :30] < 30).all()
    np.testing.assert_array_equal(orders[:, 30:], orders[:, :30] + 30)
    assert (orders != np.arange(60)).mean() > 0.8


def test_nearest_is_what_a_tree_finds_and_optimal_takes_everyone_once() -> None:
    nearest, optimal = (spin_orders(brain(), 30, seed=5, assignment=how) for how in ("nearest", "optimal"))
    np.testing.assert_array_equal(np.sort(optimal, 1), np.tile(np.arange(60), (30, 1)))
    assert any(len(set(order)) < 60 for order in nearest.tolist())
    left = np.flatnonzero(np.array(brain().hemisphere) == "L")
    places = brain().xyz[left] - brain().xyz[left].mean(0)
    places /= np.linalg.norm(places, axis=1)[:, None]
    for order, turn in zip(nearest, _rotations(30, np.random.default_rng(5)), strict=True):
        np.testing.assert_array_equal(order[left], left[cKDTree(places @ turn.T).query(places)[1]])


def off(maps: NDArray[np.float64], values: NDArray[np.float64], shape: bool = False) -> float:
    """How far the mean variogram of maps is from a map's, or its shape from the other's, as a share of the mean."""
    given, found = (variogram(np.atleast_2d(some), brain().distances())[1].mean(0) for some in (values, maps))
    return float(np.abs(found / (found if shape else given).mean() - given / given.mean()).mean())


def test_rotated_maps_stay_smooth() -> None:
    smooth = smooth_maps(12, reach=45, seed=1, alike=False)
    rough = np.random.default_rng(0).permuted(smooth, axis=1)
    kept, lost = (
        np.mean([off(null_maps(some, brain(), "spin", 30), like, shape=True) for some, like in zip(maps, smooth, strict=True)])
        for maps in (smooth, rough)
    )
    assert kept < 0.8 * lost


def test_a_variogram_is_half_the_mean_squared_difference() -> None:
    line = np.abs(np.arange(200.0)[:, None] - np.arange(200.0))
    apart, found = variogram(np.arange(200.0), line)
    inner = slice(4, -6)  # of a kernel that reaches over the ends
    np.testing.assert_allclose(found[inner], apart[inner] ** 2 / 2, rtol=0.12)
    np.testing.assert_allclose(variogram(np.stack([np.ones(200), np.arange(200.0)]), line)[1], [np.zeros(25), found])


@pytest.mark.parametrize("same_values", [True, False])
def test_surrogates_have_the_variogram_and_no_more(same_values: bool) -> None:
    values = smooth_maps(1, seed=1, alike=False)[0]
    surrogates = variogram_surrogates(values, brain().distances(), 300, seed=1, same_values=same_values)
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (300, 1)), axis=1)
    # Values of the map itself, put in the order of a surrogate, keep the map's variance: what can be kept beside is the shape.
    assert off(surrogates, values, same_values) < 0.15 and off(shuffled, values, same_values) > 0.3
    assert abs(np.mean([np.corrcoef(values, some)[0, 1] for some in surrogates])) < 0.1
    if same_values:
        np.testing.assert_array_equal(np.sort(surrogates, 1), np.tile(np.sort(values), (300, 1)))
    np.testing.assert_allclose(surrogates.mean(1), values.mean())


def test_a_map_alike_in_both_hemispheres_has_surrogates_that_are() -> None:
    values = smooth_maps(1)[0]
    values[30:] = values[:30]
    both = null_maps(values, mirrored(), "variogram", 100)
    straight = variogram_surrogates(values, mirrored().distances(), 100)
    alike = [np.mean([np.corrcoef(some[:30], some[30:])[0, 1] for some in maps]) for maps in (both, straight)]
    assert alike[0] > 0.6 > alike[1] + 0.1


@pytest.mark.parametrize("null", ["spin", "variogram"])
def test_unrelated_smooth_maps_are_called_about_as_often_as_promised(null: Any) -> None:
    pairs = smooth_maps(160, seed=7).reshape(80, 2, 60)
    found = [compare_maps(first, second, brain(), null=null, n=99, seed=n) for n, (first, second) in enumerate(pairs)]
    called = np.mean([one.p <= 0.05 for one in found])
    naive = np.mean([one.p_naive <= 0.05 for one in found])
    assert naive > 0.25
    assert called < 0.14  # .05 and three standard errors of 80 pairs: .123; rotations of parcels call .04 to .08 of them


@pytest.mark.parametrize("null", ["spin", "variogram"])
def test_a_map_and_itself(null: Any) -> None:
    values = smooth_maps(1, seed=4)[0]
    same = compare_maps(values, values, brain(), null=null, n=199)
    assert same.r == pytest.approx(1) and same.p == 1 / 200
    against = compare_maps(values, -values, brain(), null=null, n=199)
    assert against.r == pytest.approx(-1) and against.p == 1 / 200
    assert len(same.null) == 199 and same.low < 0 < same.high
    assert "199 maps by" in same.summary() and same.to_dict()["n"] == 199


def test_maps_go_by_label_and_by_seed() -> None:
    first, second = smooth_maps(2, seed=5)
    table = pd.Series(first, brain().labels)
    shuffled = table.sample(frac=1, random_state=0)
    found = compare_maps(first, second, brain(), n=50, seed=1)
    again = compare_maps(shuffled, pd.Series(second, brain().labels), brain(), n=50, seed=1)
    np.testing.assert_array_equal(found.null, again.null)
    assert found.p == again.p and found.r == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert (compare_maps(first, second, brain(), n=50, seed=2).null != found.null).any()
    ranks = compare_maps(np.exp(3 * first), second, brain(), n=50, method="spearman")
    assert ranks.r == pytest.approx(spearmanr(first, second)[0])
    np.testing.assert_array_equal(ranks.null, compare_maps(first, second, brain(), n=50, method="spearman").null)


@pytest.mark.parametrize("null", ["spin", "variogram"])
def test_a_system_that_stands_out_is_found(null: Any) -> None:
    visual = np.array(brain().network) == "Visual"
    values = 3.0 * visual + np.random.default_rng(0).standard_normal(60)
    table = enrichment(values, brain(), null=null, n=499)
    np.testing.assert_allclose(table["value"] - table["elsewhere"], table["difference"])
    assert table.loc["Visual", "value"] == pytest.approx(values[visual].mean())
    assert table.loc["Visual", "elsewhere"] == pytest.approx(values[~visual].mean())
    assert (
        table.loc["Visual", "p"] < 0.02 and table.loc["Visual", "z"] > 2 and table.loc["Visual", "difference"] > table.loc["Visual", "high"]
    )
    assert table["p"].idxmin() == "Visual" and (table["q"].drop("Visual") > 0.05).all()
    np.testing.assert_allclose(table["q"], benjamini_hochberg(table["p"]))
    assert table["regions"].sum() == 60


def test_systems_of_smooth_noise_are_not_called() -> None:
    called = [(enrichment(some, brain(), n=99, seed=n)["p"] <= 0.05).mean() for n, some in enumerate(smooth_maps(30, seed=9))]
    assert np.mean(called) < 0.12


def without(**changes: Any) -> Callable[[], Atlas]:
    atlas = brain()
    given = {"hemisphere": atlas.hemisphere, "network": atlas.network, "xyz": atlas.xyz} | changes
    return lambda: Atlas(atlas.labels, name="partial", **given)


@pytest.mark.parametrize(
    ("atlas", "arguments", "says"),
    [
        (without(xyz=None), {}, "no coordinates"),
        (without(hemisphere=["n/a"] + ["L"] * 59), {}, "use null='variogram'"),
        (brain, {"null": "moran"}, "'spin' or 'variogram'"),
        (brain, {"method": "kendall"}, "'pearson' or 'spearman'"),
        (brain, {"assignment": "vasa"}, "'optimal' or 'nearest'"),
        (brain, {"n": 0}, "from 1 on"),
    ],
)
def test_what_cannot_be_compared_is_refused(atlas: Callable[[], Atlas], arguments: dict[str, Any], says: str) -> None:
    first, second = smooth_maps(2)
    with pytest.raises(ConnectomeError, match=says):
        compare_maps(first, second, atlas(), **arguments)


def test_variograms_need_no_hemispheres() -> None:
    first, second = smooth_maps(2)
    assert 0 < compare_maps(first, second, without(hemisphere=None)(), null="variogram", n=20).p <= 1


def test_maps_that_are_none_are_refused() -> None:
    values = smooth_maps(1)[0]
    holes = np.where(np.arange(60) == 7, np.nan, values)
    for wrong, says in (
        (values[:-1], "one number for each"),
        (holes, brain().labels[7]),
        (np.ones(60), "same value in every region"),
        (pd.Series(values, [f"x{n}" for n in range(60)]), "lacks"),
        (pd.Series(np.append(values, 1.0), [*brain().labels, "cerebellum"]), "'cerebellum' too"),
    ):
        with pytest.raises(ConnectomeError, match=says):
            region_map(wrong, brain())
    few = Atlas([f"r{n}" for n in range(8)], ["L"] * 8, None, brain().xyz[:8])
    with pytest.raises(ConnectomeError, match="at least 10"):
        compare_maps(np.arange(8.0), np.arange(8.0), few)
    with pytest.raises(ConnectomeError, match="has 0"):
        enrichment(values, without(network=None)())
    with pytest.raises(ConnectomeError, match="system for each"):
        enrichment(values, brain(), systems=["a", "b"])

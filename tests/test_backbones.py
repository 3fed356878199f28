"""Backbones: every method against another road to the same edges."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from tiny import make_cohort

from connectome_gnn import backbones
from connectome_gnn.atlas import Atlas
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError

REGIONS, PEOPLE = 14, 9


def brain(n_regions: int = REGIONS, seed: int = 0) -> Atlas:
    xyz = np.random.default_rng(seed).uniform([5, -90, -50], [60, 70, 70], (n_regions, 3))
    xyz[: n_regions // 2, 0] *= -1
    return Atlas(
        [f"r{n}" for n in range(n_regions)], ["L"] * (n_regions // 2) + ["R"] * (n_regions - n_regions // 2), xyz=xyz, name="brain"
    )


def people(seed: int = 0, present: float = 0.5, **changes):
    """A cohort whose nearer regions are joined more often, with ties in who has what."""
    generator = np.random.default_rng(seed)
    atlas = brain()
    likely = present * 2 * np.exp(-atlas.edge_distances() / 60)
    weights = generator.lognormal(2, 1, (PEOPLE, atlas.n_edges)) * (generator.random((PEOPLE, atlas.n_edges)) < likely)
    table = pd.DataFrame({"age": range(PEOPLE)}, index=[f"p{n}" for n in range(PEOPLE)])
    return make_cohort(
        PEOPLE, REGIONS, **{"weights": weights.astype(np.float32), "atlas": atlas, "phenotypes": table, "described": {}, **changes}
    )


@pytest.mark.parametrize("n_bins", [1, 3, 7, None])
@pytest.mark.parametrize("seed", [0, 1])
def test_distance_dependent_consensus_person_by_person(seed, n_bins):
    """The published procedure (bins of equal width, as many edges a bin as people have on average), by loops over full matrices."""
    cohort = people(seed)
    matrices = cohort.dense().astype(float)
    distance, side = cohort.atlas.distances(), np.array(cohort.atlas.hemisphere)
    count, bins = (matrices > 0).sum(0), n_bins or round(np.sqrt(np.mean([(m > 0).sum() / 2 for m in matrices])))
    mean = np.nan_to_num(matrices.sum(0) / np.where(count, count, np.nan))
    upper = [(i, j) for i in range(REGIONS) for j in range(i + 1, REGIONS)]
    bounds = np.linspace(min(distance[e] for e in upper), max(distance[e] for e in upper), bins + 1)
    bounds[-1] += 1
    expected = np.zeros((REGIONS, REGIONS), bool)
    for across in (True, False):
        for low, high in pairwise(bounds):
            edges = [(i, j) for i, j in upper if (side[i] != side[j]) == across and low <= distance[i, j] < high]
            wanted = np.mean([sum(m[e] > 0 for e in edges) for m in matrices])
            ranked = sorted(edges, key=lambda e: (-count[e], -mean[e]))
            for i, j in ranked[: int(np.floor(wanted + 0.5))]:
                expected[i, j] = expected[j, i] = True
    kept = cohort.backbone(method="distance", n_bins=n_bins)
    np.testing.assert_array_equal(kept, expected)
    assert 0 < kept.sum() < (count > 0).sum()
    lengths = [distance[m > 0].mean() for m in matrices]  # what the method is for: edges as long as people's
    consistent = to_matrices(backbones.strongest(to_vectors(count).astype(float), int(kept.sum()) // 2))
    if n_bins != 1:
        assert abs(distance[kept].mean() - np.mean(lengths)) < abs(distance[consistent].mean() - np.mean(lengths))


def test_edges_of_midline_regions_go_with_those_within_hemispheres():
    cohort = people()
    labels, sides = cohort.atlas.labels, list(cohort.atlas.hemisphere)
    midline = cohort.with_weights(cohort.weights, Atlas(labels, [*sides[:-2], "n/a", "n/a"], xyz=cohort.atlas.xyz))
    kept = to_vectors(midline.backbone(method="distance"))
    rows, columns = edge_indices(REGIONS)
    across = (rows < REGIONS // 2) & (columns >= REGIONS // 2) & (columns < REGIONS - 2)
    count = (cohort.weights > 0).sum(0)
    mean = cohort.weights.sum(0, dtype=np.float64) / np.maximum(count, 1)
    expected = backbones.distance_dependent(count, PEOPLE, mean, cohort.atlas.edge_distances(), across)
    np.testing.assert_array_equal(kept, expected)
    assert (kept != to_vectors(cohort.backbone(method="distance"))).any()


def test_distance_dependent_consensus_needs_to_know_the_brain():
    cohort = people()
    labels, sides = cohort.atlas.labels, list(cohort.atlas.hemisphere)
    with pytest.raises(ConnectomeError, match="which regions are on the left and which on the right, unknown for all 14; give their"):
        cohort.with_weights(cohort.weights, Atlas(labels, xyz=cohort.atlas.xyz)).backbone(method="distance")
    nowhere = Atlas(labels, sides)
    with pytest.raises(
        ConnectomeError, match=r"needs the coordinates of every region, unknown for 14 of 14 \('r0', 'r1', 'r2' and 11 more\)"
    ):
        cohort.with_weights(cohort.weights, nowhere).backbone(method="distance")
    with pytest.raises(ConnectomeError, match="at least one bin, got n_bins=0"):
        cohort.backbone(method="distance", n_bins=0)
    with pytest.raises(ConnectomeError, match="needs the length of every edge, 1 of 3 are unknown"):
        backbones.distance_dependent([1, 1, 1], 1, [1, 1, 1], [1, np.nan, 2], [True, False, False])


def test_proportional_and_absolute_thresholds():
    cohort = people()
    mean = cohort.weights.astype(float).mean(0)
    kept = to_vectors(cohort.backbone(method="proportional", density=0.2))
    assert kept.sum() == round(0.2 * cohort.n_edges)
    assert mean[kept].min() > mean[~kept].max()
    assert to_vectors(cohort.backbone(method="proportional", density=1)).sum() == (mean > 0).sum()
    level = float(np.median(mean))
    np.testing.assert_array_equal(to_vectors(cohort.backbone(method="absolute", weight=level)), mean >= level)
    np.testing.assert_array_equal(to_vectors(cohort.backbone(method="absolute", weight=0)), mean > 0)
    np.testing.assert_array_equal(backbones.proportional([1, 3, 3, 0, 3, 2], 0.5), [False, True, True, False, True, False])
    np.testing.assert_array_equal(backbones.proportional([1, 3, 3, 0, 3, 2], 0.3), [False, True, True, False, False, False])
    with pytest.raises(ConnectomeError, match="0 or more, got -1"):
        cohort.backbone(method="absolute", weight=-1)
    with pytest.raises(ConnectomeError, match="density is a share between 0 and 1, got 2"):
        cohort.backbone(method="proportional", density=2)


def test_proportional_threshold_agrees_with_bctpy():
    bct = pytest.importorskip("bct")
    mean = to_matrices(people(3).weights.astype(float).mean(0))
    for density in (0.1, 0.33, 0.7):
        theirs = bct.threshold_proportional(mean.copy(), density) != 0
        np.testing.assert_array_equal(to_matrices(backbones.proportional(to_vectors(mean), density)), theirs)


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.3, 1])
def test_disparity_filter_by_hand(alpha):
    mean = people(2, present=0.35).weights.astype(float).mean(0)
    mean[:3] = 0
    graph = nx.from_numpy_array(to_matrices(mean))
    expected = np.zeros((REGIONS, REGIONS), bool)
    for region in graph:
        strength, degree = graph.degree(region, weight="weight"), graph.degree(region)
        for other in graph[region]:
            # eq. 2, by integrating the null density (k - 1)(1 - x)^(k - 2) from the edge's share on
            share = np.linspace(graph[region][other]["weight"] / strength, 1, 200_001)
            p = np.trapezoid((degree - 1) * (1 - share) ** (degree - 2), share) if degree > 1 else 1.0
            if p < alpha:
                expected[region, other] = expected[other, region] = True
    np.testing.assert_array_equal(to_matrices(backbones.disparity(mean, alpha)), expected)


def test_disparity_filter_of_small_networks():
    star = np.zeros((5, 5))
    star[0, 1:] = star[1:, 0] = [90, 4, 3, 3]
    assert to_matrices(backbones.disparity(to_vectors(star), 0.01))[0].tolist() == [False, True, False, False, False]  # .1^3
    assert not backbones.disparity(to_vectors(star), 0.0005).any()
    assert not backbones.disparity(np.zeros(10)).any()
    with pytest.raises(ConnectomeError, match=r"\(alpha\) is between 0 and 1, got 0"):
        backbones.disparity(np.ones(10), 0)


@pytest.mark.parametrize("seed", range(4))
def test_spanning_tree_is_networkx_s(seed):
    cohort = people(seed, present=0.3)
    mean = cohort.weights.astype(float).mean(0)
    tree = cohort.backbone(method="spanning_tree")
    theirs = nx.to_numpy_array(nx.maximum_spanning_tree(nx.from_numpy_array(to_matrices(mean))), weight=None) != 0
    np.testing.assert_array_equal(tree, theirs)
    more = cohort.backbone(method="spanning_tree", density=0.4)
    assert more.sum() // 2 == min(round(0.4 * cohort.n_edges), int((mean > 0).sum()))
    assert (more >= tree).all() and nx.is_connected(nx.from_numpy_array(more.astype(int)))
    np.testing.assert_array_equal(cohort.backbone(method="spanning_tree", density=0), tree)


def test_spanning_trees_with_ties_and_parts():
    assert backbones.spanning_tree(np.ones(6)).tolist() == [True, True, True, False, False, False]
    parts = np.zeros((7, 7))
    parts[0, 1] = parts[1, 2] = parts[0, 2] = 2
    parts[3, 4] = parts[4, 5] = 1  # and region 6 alone
    kept = to_matrices(backbones.spanning_tree(to_vectors(parts + parts.T)))
    assert kept.sum() // 2 == 4
    assert nx.number_connected_components(nx.from_numpy_array(kept.astype(int))) == 3
    assert not backbones.spanning_tree(np.zeros(6)).any()


@pytest.mark.parametrize(
    "options", [{}, {"density": 0.3}, {"method": "distance"}, {"method": "disparity", "alpha": 0.2}, {"method": "spanning_tree"}]
)
def test_backbones_do_not_depend_on_the_order_of_regions_nor_on_signs(options):
    cohort = people(5)
    order = np.random.default_rng(0).permutation(REGIONS)
    shuffled = cohort.select([cohort.atlas.labels[row] for row in order])
    np.testing.assert_array_equal(shuffled.backbone(**options), cohort.backbone(**options)[np.ix_(order, order)])
    weights = cohort.weights / cohort.weights.max()
    signs = np.where(np.arange(cohort.n_edges) % 2, -1, 1)
    one, other = (people(weights=values, signed=True, measure="pearson") for values in (weights, weights * signs))
    np.testing.assert_array_equal(one.backbone(**options), other.backbone(**options))


def test_methods_and_options_that_do_not_fit_are_named():
    cohort = people()
    with pytest.raises(ConnectomeError, match="method among 'consistency', 'distance', .*'spanning_tree', got 'mst'"):
        cohort.backbone(method="mst")
    with pytest.raises(ConnectomeError, match="by 'disparity' takes alpha, got threshold, density as well"):
        cohort.backbone(0.5, 0.2, method="disparity")
    for method, option in (("absolute", "weight"), ("proportional", "density")):
        with pytest.raises(ConnectomeError, match=f"by '{method}' needs {option}"):
            cohort.backbone(method=method)


def test_consistency_is_what_it_was():
    """The default, recomputed as it was first defined."""
    cohort = people(7)
    modelled = np.log1p(cohort.weights)
    present = (modelled != 0).sum(0)
    for threshold, density in ((0.5, None), (0.3, 0.2), (0, 0.5), (1, None)):
        kept = (present >= threshold * PEOPLE) & (present > 0)
        if density is not None:
            strength = np.where(kept, modelled.sum(0, dtype=float), -1)
            kept &= strength >= np.sort(strength)[-round(density * cohort.n_edges)]
        np.testing.assert_array_equal(to_vectors(cohort.backbone(threshold, density)), kept)
    rows, columns = edge_indices(REGIONS)
    assert cohort.backbone()[rows, columns].sum() == (present >= PEOPLE / 2).sum()

from __future__ import annotations

import bct
import igraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.topology.agreement import adjusted_rand, normalised_mutual_information, variation_of_information


def partitions(count):
    return st.integers(2, 20).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * count))


@settings(max_examples=60)
@given(partitions(2))
def test_equal_to_scikit_learn_igraph_and_bctpy(pair):
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in pair)
    near = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(adjusted_rand(a, b), adjusted_rand_score(a, b), **near)
    np.testing.assert_allclose(normalised_mutual_information(a, b), normalized_mutual_info_score(a, b), **near)
    np.testing.assert_allclose(variation_of_information(a, b), igraph.compare_communities(a.tolist(), b.tolist(), method="vi"), **near)
    np.testing.assert_allclose(variation_of_information(a, b, normalise=True), bct.partition_distance(a + 1, b + 1)[0], **near)


@settings(max_examples=60)
@given(partitions(3))
def test_variation_of_information_is_a_metric_and_names_do_not_matter(three):
    a, b, c = (np.array(labels) for labels in three)
    assert variation_of_information(a, c) <= variation_of_information(a, b) + variation_of_information(b, c) + 1e-12
    for measure in (variation_of_information, normalised_mutual_information, adjusted_rand):
        np.testing.assert_allclose(measure(a, b), measure(b, a), atol=1e-14)
        np.testing.assert_allclose(measure(a, b), measure(np.array([*"fedcba"])[a], b * 7 - 3), atol=1e-14)
    same = np.array([*"fedcba"])[a]
    np.testing.assert_allclose([variation_of_information(a, same), normalised_mutual_information(a, same)], [0, 1], atol=1e-12)
    assert adjusted_rand(a, same) == 1


def test_one_against_many_and_many_against_many():
    many = np.random.default_rng(0).integers(0, 3, (4, 12))
    for measure in (variation_of_information, normalised_mutual_information, adjusted_rand):
        one_by_one = [measure(row, many[0]) for row in many]
        np.testing.assert_array_equal(measure(many, many[0]), one_by_one)
        np.testing.assert_allclose(measure(many[0], many), one_by_one, rtol=1e-12, atol=1e-14)
        assert measure(many, many).shape == (4,) and np.ndim(one_by_one[0]) == 0


def test_partitions_that_say_nothing():
    whole, alone = np.zeros(5), np.arange(5)
    assert adjusted_rand(whole, whole) == adjusted_rand(alone, alone) == normalised_mutual_information(whole, whole) == 1
    assert adjusted_rand(whole, alone) == normalised_mutual_information(whole, alone) == 0
    np.testing.assert_allclose(variation_of_information(whole, alone, normalise=True), 1)
    assert variation_of_information([3], ["a"], normalise=True) == 0 and adjusted_rand([3], ["a"]) == 1


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([0, 1], [0, 1, 1], r"same regions, \(R,\) or \(N, R\) labels, got shapes \(2,\) and \(3,\)"),
        (np.zeros((2, 4)), np.zeros((3, 4)), "same regions"),
        ([], [], r"at least one region, got shape \(0,\)"),
        (3, 4, r"got shape \(\)"),
        ([0, np.nan], [0, 1], "a label for every region"),
        (["a", None], [0, 1], "a label for every region"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(a, b, says):
    with pytest.raises(ConnectomeError, match=says):
        adjusted_rand(a, b)

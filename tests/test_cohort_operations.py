"""Cohorts with other regions, other people or other weights: nothing copied, everything recorded."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from tiny import DESCRIBED, make_atlas, make_cohort, make_phenotypes, make_samples

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.native import open_array
from connectome_gnn.processing import check_same_scale, described_steps, steps_of


def relabelled(atlas: Atlas, **changes) -> Atlas:
    fields = {"labels": atlas.labels, "hemisphere": atlas.hemisphere, "network": atlas.network, "xyz": atlas.xyz, "name": atlas.name}
    return Atlas(**{**fields, **changes})


def others(n_people: int = 5, **changes) -> Cohort:
    """People of another study: other ids, one column less and one more."""
    table = make_phenotypes(n_people, seed=1)
    table = table.drop(columns="trials").assign(height=np.linspace(1.5, 1.9, n_people))
    table.index = pd.Index([f"other-{n}" for n in range(n_people)], name="participant_id")
    described = {name: note for name, note in DESCRIBED.items() if name != "trials"}
    return make_cohort(
        n_people,
        **{"seed": 1, "phenotypes": table, "name": "other", "described": described, "info": {"licence": "CC0", "year": 2024}, **changes},
    )


# --- regions ---------------------------------------------------------------------------------------------------------------


def test_reordering_permutes_matrices_and_fills_what_the_atlas_does_not_know(cohort):
    order = np.array([3, 0, 5, 1, 4, 2])
    bare = Atlas([cohort.atlas.labels[row] for row in order], name="bare")
    turned = cohort.reorder(bare)
    np.testing.assert_array_equal(turned.dense(), cohort.dense()[:, order][:, :, order])
    np.testing.assert_array_equal(turned.atlas.xyz, cohort.atlas.xyz[order])
    assert turned.atlas.hemisphere == tuple(cohort.atlas.hemisphere[row] for row in order)
    assert turned.atlas.name == "bare"
    assert turned.phenotypes is cohort.phenotypes and turned.described == cohort.described and turned.info == cohort.info
    back = turned.reorder(cohort.atlas)
    np.testing.assert_array_equal(back.weights, cohort.weights)
    assert back.atlas == cohort.atlas
    moved = relabelled(cohort.atlas, xyz=cohort.atlas.xyz + 3, network=["n/a", *["New"] * 5])
    known = cohort.reorder(moved).atlas
    np.testing.assert_array_equal(known.xyz, moved.xyz)
    assert known.network == (cohort.atlas.network[0], *["New"] * 5)


def test_what_cannot_be_reordered_is_named(cohort):
    atlas = cohort.atlas
    with pytest.raises(
        ConnectomeError, match=r"does not hold the regions of 'other' \(6\): 1 missing \('Thalamus'\); 1 extra \('Région 5'\)"
    ):
        cohort.reorder(relabelled(atlas, labels=[*atlas.labels[:5], "Thalamus"], name="other"))
    with pytest.raises(ConnectomeError, match=r"1 extra \('Région 5'\); cohort.select\(\) takes the regions that both have"):
        cohort.reorder(cohort.select(atlas.labels[:5]).atlas)
    with pytest.raises(ConnectomeError, match="region 'Région 0' is on the R side in atlas 'half circles' and on the other"):
        cohort.reorder(relabelled(atlas, hemisphere=["R", *atlas.hemisphere[1:]]))
    xyz = atlas.xyz.copy()
    xyz[[1, 2]] = xyz[[2, 1]]
    with pytest.raises(ConnectomeError, match=r"region 'Région 1' of atlas 'half circles' lies \d+ mm from that"):
        cohort.reorder(relabelled(atlas, xyz=xyz))
    with pytest.raises(TypeError, match="expected an Atlas to reorder by, got str"):
        cohort.reorder("aal")


def test_regions_by_label_mask_network_and_hemisphere(cohort):
    full, labels = cohort.dense(), cohort.atlas.labels

    def chosen(*arguments, **options):
        part = cohort.select(*arguments, **options)
        rows = [labels.index(label) for label in part.atlas.labels]
        np.testing.assert_array_equal(part.dense(), full[:, rows][:, :, rows])
        np.testing.assert_array_equal(part.atlas.xyz, cohort.atlas.xyz[rows])
        assert part.weights.shape == (12, part.n_edges)
        return rows

    assert chosen(["Région 4", "Région 0", "Région 2"]) == [4, 0, 2]
    assert chosen(pd.Series(labels[1:3])) == [1, 2]
    assert chosen(np.array([True, False, True, True, False, False])) == [0, 2, 3]
    assert chosen(cohort.atlas.to_frame()["hemisphere"] == "L") == [0, 1, 2]
    assert chosen(network="Visual") == [0, 2, 4]
    assert chosen(network=["Visual", "Default"]) == [0, 1, 2, 3, 4]
    assert chosen(hemisphere="R") == [3, 4]
    assert chosen(["Région 4", "Région 1", "Région 0"], network="Visual") == [4, 0]
    assert chosen(network="Visual", hemisphere="L") == [0, 2]
    assert chosen() == list(range(6))


def test_regions_that_do_not_exist_are_named(cohort):
    for wrong, message in (
        (
            ["Région 0", "Pons", "Cuneus"],
            r"2 regions are not in atlas 'half circles' \('Pons', 'Cuneus'\); its labels begin with 'Région 0'",
        ),
        ([True, False], "expected a mask of the 6 regions"),
        ([0, 1], "expected labels of regions or a boolean mask, got int"),
        (["Région 0", "Région 1", "Région 0"], "'Région 0' is named more than once"),
        (["Région 0"], "at least two regions to select, got 1"),
        ("Région 0", "at least two regions to select, got 1"),
        ([], "at least two regions to select, got 0"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            cohort.select(wrong)
    with pytest.raises(ConnectomeError, match="no region of network 'Limbic'; its networks are 'Default', 'Visual'"):
        cohort.select(network="Limbic")
    with pytest.raises(ConnectomeError, match="no region of hemisphere 'left'; its hemispheres are 'L', 'R'"):
        cohort.select(hemisphere="left")
    with pytest.raises(ConnectomeError, match="no region of network 'n/a'; its networks are not known"):
        cohort.with_weights(cohort.weights, Atlas(cohort.atlas.labels)).select(network="n/a")


# --- weights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["max", "total", "median"])
def test_normalised_weights_and_their_record(cohort, method, tmp_path):
    weights = cohort.weights.astype(float)
    weights[3] = 0
    cohort = make_cohort(weights=weights.astype(np.float32))
    size = {
        "max": lambda row: row.max(),
        "total": lambda row: row.sum(),
        "median": lambda row: np.median(row[row > 0]),
    }[method]
    changed = cohort.normalise(method)
    expected = np.array([row / size(row) if row.any() else row for row in cohort.weights.astype(float)])
    np.testing.assert_allclose(changed.weights, expected, rtol=1e-6)
    assert changed.weights.dtype == np.float32
    np.testing.assert_array_equal(changed.weights == 0, cohort.weights == 0)
    assert changed.info == {"licence": "none", "year": 2024, "processing": [{"step": "normalise", "method": method}]}
    assert "processing" not in cohort.info
    changed.save(tmp_path / "out")
    loaded = Cohort.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.weights, changed.weights)
    assert steps_of(loaded) == [{"step": "normalise", "method": method}]
    assert json.loads((tmp_path / "out" / "cohort.json").read_text())["processing"] == steps_of(changed)
    again = loaded.threshold(density=0.5)
    assert described_steps(again) == f"normalise (method {method}), threshold (density 0.5)"


def test_thresholds_keep_what_they_say(cohort):
    weights = cohort.weights
    by_weight = cohort.threshold(weight=20)
    np.testing.assert_array_equal(by_weight.weights, np.where(weights >= 20, weights, 0))
    by_density = cohort.threshold(density=0.4)
    for row, kept in zip(weights, by_density.weights, strict=True):
        assert (kept > 0).sum() == min(6, (row > 0).sum())
        np.testing.assert_array_equal(kept[kept > 0], row[kept > 0])
        assert row[kept == 0].max() <= kept[kept > 0].min()
    backbone = cohort.backbone(0.8)
    by_backbone = cohort.threshold(backbone=backbone)
    np.testing.assert_array_equal(by_backbone.dense(), cohort.dense() * backbone)
    tree = cohort.threshold(backbone="spanning_tree")
    np.testing.assert_array_equal(tree.dense(), cohort.dense() * cohort.backbone(method="spanning_tree"))
    step = steps_of(tree)[0]
    assert (step["step"], step["backbone"], step["edges"], len(step["sha256"])) == ("threshold", "spanning_tree", 5, 64)
    np.testing.assert_array_equal(cohort.threshold(density=1).weights, weights)
    assert not cohort.threshold(density=0).weights.any()
    ties = make_cohort(2, 4, weights=np.array([[2, 1, 2, 2, 0, 1], [0, 0, 0, 0, 0, 3]], np.float32), phenotypes=make_phenotypes(2))
    np.testing.assert_array_equal(ties.threshold(density=1 / 3).weights, [[2, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 3]])


def test_thresholds_of_correlations_go_by_their_size():
    cohort = make_cohort(signed=True)
    np.testing.assert_array_equal(cohort.threshold(weight=0.3).weights, np.where(np.abs(cohort.weights) >= 0.3, cohort.weights, 0))
    kept = cohort.threshold(density=0.2).weights
    assert ((kept != 0).sum(1) == 3).all() and (kept < 0).any()
    with pytest.raises(ConnectomeError, match=r"holds correlations \(pearson\), which lie between -1 and 1 already"):
        cohort.normalise("max")


def test_wrong_norms_and_thresholds_are_named(cohort):
    with pytest.raises(ConnectomeError, match="normalise by 'max', 'total', 'median', got 'zscore'"):
        cohort.normalise("zscore")
    for options, message in (
        ({}, "expected one of weight, density and backbone to threshold by, got none"),
        ({"weight": 1, "density": 0.1}, "got weight, density"),
        ({"weight": -1}, "0 or more, got -1"),
        ({"weight": np.nan}, "0 or more, got nan"),
        ({"density": 1.5}, "share between 0 and 1, got 1.5"),
        ({"backbone": np.ones((3, 3))}, r"backbone of shape \(6, 6\) .* got \(3, 3\)"),
        ({"backbone": np.triu(np.ones((6, 6)), 1)}, "expected a symmetric backbone"),
        ({"backbone": "mst"}, "backbone's method among"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            cohort.threshold(**options)
    wrong = make_cohort(info={"processing": "scaled"})
    with pytest.raises(ConnectomeError, match="must be a list of objects with 'step', it is 'scaled'"):
        wrong.threshold(weight=1)


def test_other_weights_for_the_same_people(cohort):
    doubled = cohort.with_weights(cohort.weights * 2, step={"step": "double"})
    np.testing.assert_array_equal(doubled.weights, 2 * cohort.weights)
    assert doubled.info["processing"] == [{"step": "double"}]
    with pytest.raises(ConnectomeError, match=r"expected \(12, 15\) weights for its people and atlas, got \(12, 3\)"):
        cohort.with_weights(cohort.weights[:, :3])
    with pytest.raises(ConnectomeError, match="finite weights of 0 or more"):
        cohort.with_weights(-cohort.weights)


# --- people ----------------------------------------------------------------------------------------------------------------


def test_merged_people_and_their_columns(cohort, tmp_path):
    other = others()
    order = [2, 5, 0, 1, 4, 3]
    merged = cohort.merge(other.select([other.atlas.labels[row] for row in order]), column="study")
    assert merged.atlas == cohort.atlas
    assert len(merged) == 17 and list(merged.ids) == [*cohort.ids, *other.ids]
    np.testing.assert_array_equal(merged.weights, np.concatenate([cohort.weights, other.weights]))
    np.testing.assert_array_equal(merged.read([14, 0, 13]), np.stack([other.weights[2], cohort.weights[0], other.weights[1]]))
    np.testing.assert_array_equal(merged.read(slice(10, 14)), np.concatenate([cohort.weights[10:], other.weights[:2]]))
    assert list(merged.phenotypes) == ["age", "sex", "site", "smoking", "trials", "height", "study"]
    for name in ("age", "sex", "site", "smoking"):
        pd.testing.assert_series_equal(merged.phenotypes[name][:12], cohort.phenotypes[name], check_dtype=False)
        pd.testing.assert_series_equal(merged.phenotypes[name][12:], other.phenotypes[name], check_dtype=False)
    assert merged.phenotypes["trials"][12:].isna().all() and merged.phenotypes["height"][:12].isna().all()
    assert merged.phenotypes["study"].tolist() == ["tiny"] * 12 + ["other"] * 5
    assert merged.info["licence"] == "tiny: none; other: CC0"
    assert merged.info["year"] == 2024
    assert [part["name"] for part in merged.info["merged"]] == ["tiny", "other"]
    merged.save(tmp_path / "out")
    loaded = Cohort.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.weights, merged.weights)
    pd.testing.assert_frame_equal(loaded.phenotypes, merged.phenotypes, check_dtype=False)
    third = others(3, name="third", phenotypes=others(3).phenotypes.set_axis(["x", "y", "z"], axis=0))
    assert [part["name"] for part in merged.merge(third).info["merged"]] == ["tiny", "other", "third"]
    assert "study" not in cohort.merge(other).phenotypes


def test_merging_samples_and_what_was_noted_on_reading():
    samples = make_samples(2, 3)
    table = make_phenotypes(2).set_axis(["a", "b"], axis=0)
    merged = samples.merge(make_cohort(2, phenotypes=table, name="one each", kind="sample"))
    assert merged.phenotypes["sample"].tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
    one = make_cohort(info={"left_out": {"p": "no edges"}, "reading": {"self_loops": {"sub-000": 2}}})
    other = others(info={"left_out": {"q": "no row"}, "reading": {"self_loops": {"other-1": 3}}})
    info = one.merge(other).info
    assert info["left_out"] == {"p": "no edges", "q": "no row"}
    assert info["reading"] == {"self_loops": {"sub-000": 2, "other-1": 3}}
    assert one.merge(other).quality()["self_loops"].to_numpy()[[0, 13]].tolist() == [2, 3]


def test_levels_are_joined_where_they_mean_the_same(cohort):
    more = others()
    described = {**DESCRIBED, "site": {"Levels": {"d": "Delft", "b": "Bonn"}}}
    levels = cohort.merge(others(described=described, phenotypes=more.phenotypes.assign(site="d"))).described["site"]["Levels"]
    assert levels == {"c": "Zürich", "a": "Aachen", "b": "Bonn", "d": "Delft"}
    numbers = more.phenotypes.assign(sex=[0.0, 1.0, np.nan, 1.0, 0.0])
    merged = cohort.merge(others(described={}, phenotypes=numbers))
    assert merged.phenotypes["sex"][12:].tolist()[:2] == ["0", "1"]


def test_what_cannot_be_merged_is_named(cohort):
    other = others()
    text = other.phenotypes.assign(trials=["many"] * 5)
    cases = (
        (make_cohort(name="again"), r"12 participants are in cohort 'tiny' and in 'again' \('sub-000', 'sub-001', 'sub-002' and 9 more\)"),
        (others(measure="sift2_fbc"), r"holds streamline_count \(non-negative weights\), cohort 'other' sift2_fbc"),
        (others(kind="expected"), "holds observed connectomes, cohort 'other' expected"),
        (other.normalise("max"), r"not on one scale: done to the first was nothing, to the second normalise \(method max\)"),
        (
            other.select(other.atlas.labels[:5]),
            r"\(5 regions\) does not hold the regions of 'half circles' \(6\): 1 missing \('Région 5'\)",
        ),
        (others(described={**DESCRIBED, "age": {"Units": "months"}}), "Units are 'months' and 'years'"),
        (others(described={**DESCRIBED, "age": {"Levels": ["old", "young"]}}), "numbers in one and levels in the other"),
        (others(described={**DESCRIBED, "sex": {"Levels": {"0": "male", "1": "female"}}}), "level '0' means 'female' in one and 'male' in"),
        (others(phenotypes=text), "column 'trials' is numbers in cohort 'tiny' and text in 'other'"),
        (others(described={}, phenotypes=other.phenotypes.assign(age="old")), r"cohort 'other': column 'age': expected finite numbers"),
    )
    for wrong, message in cases:
        with pytest.raises(ConnectomeError, match=message):
            cohort.merge(wrong)
    with pytest.raises(ConnectomeError, match="in a column 'age', which exists"):
        cohort.merge(other, column="age")
    with pytest.raises(ConnectomeError, match="both cohorts are named 'tiny'"):
        cohort.merge(others(name="tiny"), column="study")
    check_same_scale(cohort.normalise("max"), other.normalise("max"))


# --- laziness --------------------------------------------------------------------------------------------------------------


def everything(cohort: Cohort, other: Cohort) -> Cohort:
    """Every operation on another one's result."""
    turned = cohort.merge(other).reorder(relabelled(cohort.atlas, labels=cohort.atlas.labels))
    return turned.threshold(backbone=np.ones((cohort.n_regions,) * 2)).normalise("max").threshold(weight=0.01).threshold(density=0.9)


def test_operations_follow_one_another_and_rows_can_be_taken_anywhere(cohort):
    made = everything(cohort, others())
    weights = made.weights
    rows = np.array([16, 3, 3, 0, 12])
    np.testing.assert_array_equal(made.take(rows).weights, weights[rows])
    np.testing.assert_array_equal(
        made.take(rows).select(cohort.atlas.labels[:4]).weights, weights[rows][:, to_vectors(place(6))[kept(4, 6)]]
    )
    np.testing.assert_array_equal(everything(cohort.take(slice(None, None, -1)), others()).weights[:12], weights[:12][::-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).weights, weights)
    np.testing.assert_array_equal(np.concatenate([part for _, part in made.batches(5)]), weights)
    assert made.quality().shape[0] == 17
    first, second = made.split(seed=0)
    assert len(first) + len(second) == 17


def place(n: int) -> np.ndarray:
    return to_matrices(np.arange(n * (n - 1) // 2))


def kept(n_kept: int, n: int) -> np.ndarray:
    rows, columns = np.triu_indices(n, 1)
    return (rows < n_kept) & (columns < n_kept)


def test_memory_does_not_grow_with_people(tmp_path):
    n_regions, n_people = 40, 4000
    generator = np.random.default_rng(0)
    weights = np.lib.format.open_memmap(tmp_path / "w.npy", "w+", np.float32, (n_people, n_regions * (n_regions - 1) // 2))
    weights[:] = generator.lognormal(size=weights.shape)
    size = weights.nbytes
    weights.flush()
    table = pd.DataFrame({"age": np.arange(n_people)}, index=[f"a{n}" for n in range(n_people)])
    again = table.set_axis("b" + table.index, axis=0)
    one = make_cohort(weights=open_array(tmp_path / "w.npy"), atlas=make_atlas(n_regions), phenotypes=table, described={}, check=False)
    other = make_cohort(weights=open_array(tmp_path / "w.npy"), atlas=make_atlas(n_regions), phenotypes=again, described={}, check=False)
    tracemalloc.start()
    made = everything(one, other).select(network="Visual")
    made.save(tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size, (peak, size)
    assert Cohort.load(tmp_path / "out").n_people == 2 * n_people
    assert made.n_edges == 190

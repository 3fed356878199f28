"""Cohorts: who is in them, how they are divided, and how they are kept on disk."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import DESCRIBED, make_atlas, make_cohort, make_phenotypes, make_samples, make_weights

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError


class Truth:
    """What a simulator knows, as far as Cohort is concerned."""

    def __init__(self, rows):
        self.rows = np.asarray(rows)

    def take(self, rows):
        return Truth(self.rows[rows])


def families(n_people: int, seed: int = 0) -> pd.DataFrame:
    """A table whose people belong to families of one to four; some have no family."""
    family = pd.Series(np.random.default_rng(seed).integers(0, n_people // 2, n_people)).map("f{}".format)
    family[::7] = None
    return make_phenotypes(n_people).assign(family_id=family.to_numpy())


# --- what it holds ---------------------------------------------------------------------------------------------------------


def test_what_it_holds(cohort):
    assert (len(cohort), cohort.n_people, cohort.n_regions, cohort.n_edges) == (12, 12, 6, 15)
    assert cohort.ids[0] == "sub-000"
    assert cohort.ids.name == "participant_id"
    assert cohort.scale.name == "log1p"
    assert make_cohort(signed=True).scale.name == "fisher_z"
    assert "12 observed, 5 phenotypes, 6 regions, streamline_count" in repr(cohort)
    assert (cohort.kind, cohort.measure, cohort.signed, cohort.name) == ("observed", "streamline_count", False, "tiny")
    np.testing.assert_array_equal(cohort.dense(), to_matrices(make_weights()))
    assert cohort.dense().dtype == np.float32
    np.testing.assert_array_equal(cohort.dense([3, 1]), cohort.dense()[[3, 1]])


def test_weights_are_not_copied():
    weights = make_weights()
    cohort = make_cohort(weights=weights)
    assert cohort.weights is weights
    assert cohort.read(slice(2, 5)).base is weights
    part = cohort.take([3, 1, 4])
    assert part._stored is weights
    np.testing.assert_array_equal(part.weights, weights[[3, 1, 4]])
    np.testing.assert_array_equal(part.take([2, 0]).weights, weights[[4, 3]])
    np.testing.assert_array_equal(make_cohort(weights=weights.tolist()).weights, weights)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(2, 8, 3), [2, 5]),
        (slice(None, None, -5), [11, 6, 1]),
        ([5, 2, 2], [5, 2, 2]),
        (np.arange(12) % 5 == 0, [0, 5, 10]),
        (-1, [11]),
        (np.int64(3), [3]),
        ((4, 5), [4, 5]),
        (pd.Index([1, 0]), [1, 0]),
    ],
)
def test_rows_by_slice_position_and_mask(rows, expected):
    cohort = make_cohort(truth=Truth(range(12)))
    again = cohort.take(range(12))  # a selection of everybody
    for whole in (cohort, again):
        part = whole.take(rows)
        assert part.ids.tolist() == cohort.ids[expected].tolist()
        np.testing.assert_array_equal(part.weights, cohort.weights[expected])
        np.testing.assert_array_equal(whole.read(rows), cohort.weights[expected])
        np.testing.assert_array_equal(part.truth.rows, expected)
        pd.testing.assert_frame_equal(part.phenotypes, cohort.phenotypes.iloc[expected])
    assert part.described == DESCRIBED
    part.described["age"] = part.info["year"] = None
    assert cohort.described["age"] is not None
    assert cohort.info["year"] == 2024


def test_selections_that_make_no_sense():
    cohort = make_cohort()
    for nobody in ([], slice(0, 0), np.zeros(12, bool)):
        with pytest.raises(ConnectomeError, match="'tiny': no rows were selected"):
            cohort.take(nobody)
        assert cohort.read(nobody).shape == (0, 15)
    for rows in ([12], np.zeros(5, bool), ["sub-000"], [0.5]):
        with pytest.raises(IndexError):
            cohort.take(rows)


def test_batches_cover_everybody_once():
    cohort = make_cohort(12).take(np.arange(11, -1, -1))
    for size in (1, 5, 12, 100):
        parts = list(cohort.batches(size))
        assert max(len(weights) for _, weights in parts) <= size
        np.testing.assert_array_equal(np.concatenate([weights for _, weights in parts]), cohort.weights)
        assert [rows.start for rows, _ in parts] == list(range(0, 12, size))
        modelled = np.concatenate([values for _, values in cohort.modelled(size)])
        np.testing.assert_array_equal(modelled, np.log1p(cohort.weights))


# --- who is in it ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([3, 1, 2], dtype="int64"),
        pd.Index([3.0, 1.0, 2.0]),
        pd.Index(["3", "1", "2"], dtype="string"),
        pd.Index(["3", "1", "2"], dtype=object, name="anything"),
        pd.CategoricalIndex(["3", "1", "2"]),
    ],
)
def test_ids_are_text(index):
    for table in (
        pd.DataFrame({"age": [1, 2, 3]}, index=index),
        pd.DataFrame({"age": [1, 2, 3]}).assign(participant_id=index),
    ):
        cohort = make_cohort(3, phenotypes=table)
        assert cohort.ids.tolist() == ["3", "1", "2"]
        assert cohort.ids.name == "participant_id"
        assert cohort.phenotypes.columns.tolist() == ["age"]


def test_the_users_table_is_left_alone():
    table = make_phenotypes().reset_index()
    cohort = make_cohort(phenotypes=table)
    assert "participant_id" in table
    cohort.phenotypes["new"] = 1
    assert "new" not in table


def test_samples_by_a_double_index():
    single = make_samples()
    double = single.phenotypes.set_index("sample", append=True)
    pd.testing.assert_frame_equal(make_samples(phenotypes=double).phenotypes[single.phenotypes.columns], single.phenotypes)


NAMED = {"index": pd.Index(["a", "b"], name="participant_id")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weights": np.zeros((2, 14))},
            r"'tiny': expected weights of shape \(people, 15\) for the 6 regions of the atlas, got \(2, 14\); give the upper",
        ),
        ({"weights": np.zeros(15)}, r"got \(15,\)"),
        ({"weights": np.zeros((2, 6, 6))}, r"got \(2, 6, 6\)"),
        ({"weights": np.zeros((3, 15))}, "'tiny': 3 connectomes but 2 rows of phenotypes; every person needs both"),
        ({"weights": np.zeros((0, 15)), "phenotypes": pd.DataFrame({"age": []})}, "'tiny' has no people"),
        ({"weights": np.full((2, 15), "1")}, "expected weights that are real numbers, got <U1"),
        ({"weights": np.zeros((2, 15), complex)}, "real numbers, got complex128"),
        ({"weights": np.zeros((2, 15), object)}, "real numbers, got object"),
        ({"kind": "average"}, "kind is one of observed, expected, sample, got 'average'"),
        ({"phenotypes": pd.DataFrame({"age": [1, 2]}, ["a", "a"])}, "participant_id must be unique, 'a' occurs more than once"),
        ({"phenotypes": pd.DataFrame({"age": [1, 2]}, ["a", None])}, "row 2 below the header has none"),
        ({"phenotypes": pd.DataFrame({"age": [1, 2]}, ["a", ""])}, "row 2 below the header has none"),
        ({"phenotypes": pd.DataFrame([[1, 2], [3, 4]], columns=["age", "age"])}, "column 'age' more than once"),
        ({"phenotypes": pd.DataFrame({"sample": [0, 2]}, ["a", "a"])}, "participant 'a' has 2 in place of 1"),
        ({"phenotypes": pd.DataFrame({"sample": ["first", "second"]}, ["a", "a"])}, "'a' has first in place of 0"),
        ({"phenotypes": pd.DataFrame({"age": [1, 2]}, pd.MultiIndex.from_tuples([("a", 0), ("b", 0)]))}, "index it by participant_id"),
    ],
)
def test_what_is_no_cohort_is_refused(changes, message):
    arguments = {"weights": np.zeros((2, 15)), "phenotypes": pd.DataFrame({"age": [1, 2]}, **NAMED), **changes}
    with pytest.raises(ConnectomeError, match=message):
        make_cohort(2, **arguments)


def test_arguments_of_another_type_are_refused():
    with pytest.raises(TypeError, match="expected phenotypes as a pandas DataFrame, got dict"):
        make_cohort(phenotypes={"age": [1]})
    with pytest.raises(TypeError, match="expected an Atlas, got list"):
        make_cohort(atlas=["a", "b"])


def test_rows_of_a_person_must_lie_together():
    table = make_samples(3, 2).phenotypes.iloc[[0, 2, 1, 3, 4, 5]]
    with pytest.raises(ConnectomeError, match="those of 'sub-000' do not"):
        make_cohort(6, phenotypes=table)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("signed", "value"), [(False, np.nan), (False, np.inf), (False, -1), (True, np.nan), (True, -np.inf), (True, 1.01), (True, -2)]
)
@pytest.mark.filterwarnings("error")
def test_weights_off_their_support_are_named(dtype, signed, value):
    weights = make_weights(12, signed=signed).astype(dtype)
    weights[7, 6] = value  # between regions 1 and 3
    with pytest.raises(ConnectomeError) as caught:
        make_cohort(12, signed=signed, weights=weights)
    expected = "correlations between -1 and 1 (pearson)" if signed else "finite weights of 0 or more (streamline_count)"
    assert f"expected {expected}, got {weights[7, 6]} for participant 'sub-007' between 'Région 1' and 'Région 3'" in str(caught.value)
    make_cohort(12, signed=signed, weights=weights, check=False)


def test_weights_at_the_edge_of_their_support_are_taken():
    weights = np.zeros((2, 15))
    weights[0, :4] = [1 + 2e-16, -1 - 2e-16, 1, -1]  # what rounding makes of a perfect correlation
    make_cohort(2, signed=True, weights=weights)
    make_cohort(2, weights=np.full((2, 15), 255, np.uint8))
    make_cohort(2, weights=np.full((2, 15), -0.0))
    with pytest.raises(ConnectomeError, match="got -1 for participant"):
        make_cohort(2, weights=np.full((2, 15), -1, np.int64))
    with pytest.raises(ConnectomeError, match=r"got 1e\+39"):  # no float32, so it could not be saved
        make_cohort(2, weights=np.full((2, 15), 1e39))


def test_all_of_a_large_cohort_is_checked():
    weights = np.zeros((1500, 15), np.float32)
    weights[1400, 14] = np.nan
    with pytest.raises(ConnectomeError, match="participant 'sub-1400' between 'Région 4' and 'Région 5'"):
        make_cohort(1500, weights=weights)


# --- dividing people -------------------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_split_is_exact_seeded_and_complete(n_people, fraction, seed):
    cohort = make_cohort(n_people, phenotypes=pd.DataFrame({"age": range(n_people)}))
    train, test = cohort.split(fraction, seed=seed)
    assert abs(len(train) - fraction * n_people) <= 0.5 or min(len(train), len(test)) == 1
    assert sorted([*train.phenotypes["age"], *test.phenotypes["age"]]) == list(range(n_people))
    assert train.phenotypes["age"].is_monotonic_increasing  # rows in their original order
    np.testing.assert_array_equal(train.weights, cohort.weights[train.phenotypes["age"]])
    again, _ = cohort.split(fraction, seed=seed)
    assert again.ids.equals(train.ids)


def test_every_person_is_as_likely_as_any_other():
    cohort = make_cohort(40, phenotypes=families(40).assign(sex=["0", "1"] * 20))
    sizes = np.bincount(cohort.units())[cohort.units()]
    assert sizes.max() >= 4
    for arguments in ({"groups": "trials"}, {"stratify": "sex", "groups": "trials"}, {"stratify": "sex"}, {}):
        times = sum(np.isin(cohort.ids, cohort.split(0.7, seed=seed, **arguments)[0].ids) for seed in range(300))
        assert (np.abs(times / 300 - 0.7) < 0.12).all()
        assert abs(times[sizes >= 3].mean() - times[sizes == 1].mean()) / 300 < 0.05  # nor do large families go rather one way
    assert cohort.split(0.7, seed=0)[0].ids.tolist() != cohort.split(0.7, seed=1)[0].ids.tolist()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.floats(0.1, 0.9), st.integers(0, 99))
def test_a_stratified_split_keeps_proportions_within_one_person(counts, fraction, seed):
    level = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(level)
    if len(level) < 2:
        return
    table = pd.DataFrame({"level": [f"l{k}" if k else None for k in level]})  # missing is a stratum of its own
    train, test = make_cohort(len(level), phenotypes=table).split(fraction, seed=seed, stratify="level")
    assert abs(len(train) - fraction * len(level)) <= 0.5 or min(len(train), len(test)) == 1
    if min(len(train), len(test)) > 1:
        for value in [None, *table["level"].dropna().unique()]:
            first, second = (part.phenotypes["level"].fillna("none").eq(value or "none").sum() for part in (train, test))
            assert abs(first - fraction * (first + second)) <= 1 + 1e-9


def test_a_split_stratified_by_numbers_goes_by_fifths():
    table = pd.DataFrame({"age": np.random.default_rng(0).normal(60, 8, 200)})
    train, test = make_cohort(200, phenotypes=table).split(0.5, stratify="age")
    edges = np.quantile(table["age"], [0.2, 0.4, 0.6, 0.8])
    assert np.bincount(np.digitize(train.phenotypes["age"], edges)).tolist() == [20] * 5
    gap = [
        abs(a.phenotypes["age"].mean() - b.phenotypes["age"].mean())
        for a, b in [(train, test), make_cohort(200, phenotypes=table).split(0.5)]
    ]
    assert gap[0] < gap[1]


@pytest.mark.parametrize("groups", [None, "family_id", "household"])
def test_groups_are_never_divided(groups):
    table = families(80)
    if groups == "household":
        table = table.rename(columns={"family_id": "household"})
    cohort = make_cohort(80, phenotypes=table)
    family = table[groups or "family_id"]
    assert family.value_counts().max() >= 3
    for seed in range(5):
        train, test = cohort.split(0.8, seed=seed, groups=groups)
        assert abs(len(train) - 64) <= family.value_counts().max() / 2  # the share is one of people, not of families
        parts = [(train.ids, test.ids), *((cohort.ids[a], cohort.ids[b]) for a, b in cohort.folds(5, seed=seed, groups=groups))]
        for first, second in parts:
            assert not set(family[first].dropna()) & set(family[second].dropna())
            assert not set(first) & set(second)
            assert len(first) + len(second) == 80


def test_people_without_a_family_are_on_their_own():
    table = make_phenotypes(6).assign(family_id=[1.0, np.nan, 1, np.nan, 2, np.nan])
    assert make_cohort(6, phenotypes=table).units().tolist() == [0, 1, 0, 2, 3, 4]
    assert make_cohort(6, phenotypes=table.drop(columns="family_id")).units().tolist() == list(range(6))
    assert make_cohort(6, phenotypes=table.assign(family_id=None)).units().tolist() == list(range(6))
    # a person and a family of the same name are two things
    table = make_phenotypes(3).assign(family_id=["sub-001", None, "sub-001"])
    assert make_cohort(3, phenotypes=table).units().tolist() == [0, 1, 0]


def test_samples_of_a_person_stay_together():
    cohort = make_samples(8, 3)
    assert cohort.units().tolist() == np.repeat(range(8), 3).tolist()
    for seed in range(5):
        train, test = cohort.split(0.75, seed=seed, stratify="sex")
        assert (len(train), len(test)) == (18, 6)
        assert not set(train.ids) & set(test.ids)
        for a, b in cohort.folds(4, seed=seed):
            assert len(b) == 6
            assert not set(cohort.ids[a]) & set(cohort.ids[b])
    # whatever the column says of a person's rows: scanned at a, and b; c shares b
    table = make_samples(3, 2).phenotypes.assign(scanner=["a", "b", "b", None, None, None])
    cohort = make_cohort(6, phenotypes=table)
    assert cohort.units("scanner").tolist() == [0, 0, 0, 0, 1, 1]
    assert cohort.units().tolist() == [0, 0, 1, 1, 2, 2]


def test_folds_are_seeded_balanced_and_complete():
    cohort = make_cohort(13)
    folds = cohort.folds(4, seed=3)
    assert sorted(len(test) for _, test in folds) == [3, 3, 3, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(13))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(13))
    same, other = cohort.folds(4, seed=3), cohort.folds(4, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(folds[0], same[0], strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_splits_that_cannot_be_are_refused():
    cohort = make_cohort(12)
    for fraction in (0, 1, -0.5, 80, np.nan):
        with pytest.raises(ConnectomeError, match=f"'tiny': a split needs a fraction between 0 and 1, got {fraction}"):
            cohort.split(fraction)
    with pytest.raises(
        ConnectomeError, match="'tiny' has no column 'height' to stratify by; it has 'age', 'sex', 'site', 'smoking', 'trials'"
    ):
        cohort.split(stratify="height")
    for divide in (cohort.split, cohort.folds):
        with pytest.raises(ConnectomeError, match="has no column 'household' to keep people together by; it has 'age'"):
            divide(groups="household")
    with pytest.raises(ConnectomeError, match="one person or group of people cannot be split"):
        make_cohort(1, phenotypes=make_phenotypes(5).iloc[:1]).split()
    with pytest.raises(ConnectomeError, match="one person or group of people cannot be split"):
        make_cohort(12, phenotypes=make_phenotypes(12).assign(family_id="f")).split()
    for k in (0, 1, 13):
        with pytest.raises(ConnectomeError, match=f"expected between 2 and 12 folds for 12 people or groups of people, got {k}"):
            cohort.folds(k)


# --- backbone --------------------------------------------------------------------------------------------------------------


def test_the_backbone_holds_what_most_people_have():
    weights = np.zeros((4, 6))
    weights[:, 0] = 1  # everybody, weakly
    weights[:3, 1] = 100
    weights[:2, 2] = 50
    weights[0, 3] = 1000
    cohort = make_cohort(4, 4, weights=weights, phenotypes=pd.DataFrame({"age": range(4)}))
    rows, columns = np.triu_indices(4, 1)

    def edges(**arguments):
        backbone = cohort.backbone(**arguments)
        assert backbone.dtype == bool
        np.testing.assert_array_equal(backbone, backbone.T)
        assert not backbone.diagonal().any()
        return np.flatnonzero(backbone[rows, columns]).tolist()

    assert edges() == [0, 1, 2]
    assert edges(threshold=0.75) == [0, 1]
    assert edges(threshold=1) == [0]
    assert edges(threshold=0) == [0, 1, 2, 3]
    assert edges(density=1 / 6) == [1]
    assert edges(density=2 / 6) == [1, 2]
    assert edges(density=1) == [0, 1, 2]
    negative = make_cohort(4, 4, signed=True, weights=-weights / 1000, phenotypes=pd.DataFrame({"age": range(4)}))
    np.testing.assert_array_equal(negative.backbone(density=1 / 6), cohort.backbone(density=1 / 6))
    for what in ("threshold", "density"):
        with pytest.raises(ConnectomeError, match=f"a backbone's {what} is a share between 0 and 1, got 5"):
            cohort.backbone(**{what: 5})


# --- files -----------------------------------------------------------------------------------------------------------------


def assert_same(cohort: Cohort, expected: Cohort) -> None:
    np.testing.assert_array_equal(np.asarray(cohort.weights), np.asarray(expected.weights).astype(np.float32))
    pd.testing.assert_frame_equal(cohort.phenotypes, expected.phenotypes, check_exact=True)
    assert cohort.atlas == expected.atlas
    assert cohort.atlas.name == expected.atlas.name
    for name in ("measure", "signed", "name", "kind", "described", "info"):
        assert getattr(cohort, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    "cohort",
    [
        make_cohort(),
        make_cohort(signed=True, name="Köln „2“", measure="Pearson r, größer"),
        make_cohort(kind="expected", info={}, described={}, phenotypes=make_phenotypes()[["age", "trials"]]),
        make_samples(),
        make_cohort(600),
        make_cohort(12).take([5, 2, 7]),
        make_cohort(atlas=Atlas([f"r{n}" for n in range(6)])),
        make_cohort(phenotypes=pd.DataFrame(index=make_phenotypes().index)),
        make_cohort(phenotypes=make_phenotypes().assign(family_id=["01", None] * 6, session_id="1", extrapolated=False)),
    ],
    ids=["counts", "correlations", "expected", "samples", "many", "selection", "plain atlas", "no phenotypes", "keys"],
)
def test_saved_and_loaded_it_is_the_same(tmp_path, cohort):
    assert cohort.save(tmp_path / "ä" / "study") == tmp_path / "ä" / "study"
    loaded = Cohort.load(tmp_path / "ä" / "study")
    if "extrapolated" in loaded.phenotypes:
        loaded.phenotypes["extrapolated"] = loaded.phenotypes["extrapolated"] == "True"
    assert_same(loaded, cohort)
    loaded.save(tmp_path / "again")
    for file in ("connectomes.npy", "participants.tsv", "participants.json", "atlas.tsv", "cohort.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "ä" / "study" / file).read_bytes()
    raw = np.load(tmp_path / "again" / "connectomes.npy")
    assert raw.dtype == np.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "ä"]


def test_what_the_cohort_is_comes_before_further_fields(tmp_path):
    make_cohort(info={"measure": "something else", "kind": "odd", "licence": "CC0", "n": np.int64(3)}).save(tmp_path / "study")
    record = json.loads((tmp_path / "study" / "cohort.json").read_text())
    assert (record["measure"], record["kind"], record["n"]) == ("streamline_count", "observed", 3)
    assert record["directed"] is record["diagonal"] is record["signed"] is False
    assert Cohort.load(tmp_path / "study").info == {"licence": "CC0", "n": 3}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint16, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_connectomes_stay_on_disk(tmp_path, dtype, order):
    cohort = make_cohort()
    cohort.save(tmp_path / "study")
    stored = np.asarray(cohort.weights.round()).astype(dtype, order=order)
    np.save(tmp_path / "study" / "connectomes.npy", stored)
    loaded = Cohort.load(tmp_path / "study")
    assert isinstance(loaded.weights, np.memmap)
    assert loaded.weights.dtype == stored.dtype
    assert loaded.read(slice(2, 4)).base is not None  # a view of the map
    part = loaded.take([7, 2])
    assert part._stored is loaded.weights
    for values, rows in ((loaded.weights, slice(None)), (part.weights, [7, 2]), (part.read([1]), [2]), (loaded.read([3]), [3])):
        np.testing.assert_array_equal(values, stored[rows])
    assert loaded.dense().dtype == np.float32
    np.testing.assert_array_equal(part.dense(), to_matrices(stored[[7, 2]].astype(np.float32)))
    assert next(loaded.modelled())[1].dtype == np.float32


def test_memory_grows_with_the_batch(tmp_path):
    """20 MB on disk; loading, checking, selecting and saving them takes a fraction of that."""
    n_people, n_regions = 2000, 72
    table = pd.DataFrame({"age": np.arange(n_people)})
    weights = np.ones((n_people, n_regions * (n_regions - 1) // 2), np.float32)
    make_cohort(n_people, n_regions, weights=weights, phenotypes=table).save(tmp_path / "study")
    Cohort.load(tmp_path / "study")
    tracemalloc.start()
    try:
        cohort = Cohort.load(tmp_path / "study")
        train, test = cohort.split(0.8)
        train.read([5, 3])
        test.save(tmp_path / "test")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.55 * weights.nbytes


def test_saving_onto_itself(tmp_path):
    cohort = make_cohort()
    cohort.save(tmp_path / "study")
    (tmp_path / "study" / "notes.md").write_text("mine")
    loaded = Cohort.load(tmp_path / "study")
    with pytest.raises(ConnectomeError, match="study exists; choose another folder, or replace its files with --force"):
        loaded.save(tmp_path / "study")
    part = loaded.take([4, 2])
    part.save(tmp_path / "study", force=True)
    assert_same(Cohort.load(tmp_path / "study"), cohort.take([4, 2]))
    assert_same(part, cohort.take([4, 2]))  # still reads the file that was replaced
    assert (tmp_path / "study" / "notes.md").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


@pytest.mark.parametrize("where", ["write_rows", "write_participants", "write_json"])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_in_the_middle_of_saving_leaves_nothing(tmp_path, monkeypatch, where, existing):
    cohort, other = make_cohort(), make_cohort(seed=1)
    if existing:
        cohort.save(tmp_path / "study")
    before = {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()} if existing else {}

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(f"connectome_gnn.native.{where}", fail)
    with pytest.raises(OSError, match="disk full"):
        other.save(tmp_path / "study", force=True)
    assert [path.name for path in tmp_path.iterdir()] == (["study"] if existing else [])
    if existing:
        assert {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()} == before


def test_a_cohort_that_could_not_be_loaded_is_not_saved(tmp_path):
    with pytest.raises(ConnectomeError, match="participant_id must be unique, 'sub-003' occurs more than once"):
        make_cohort().take([3, 3]).save(tmp_path / "study")
    with pytest.raises(ConnectomeError, match="participant 'sub-000' has 1 in place of 0"):
        make_samples().take([1]).save(tmp_path / "study")
    with pytest.raises(ConnectomeError, match=r"cohort\.json can hold text, numbers"):
        make_cohort(info={"truth": Truth([1])}).save(tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def spoil_json(**changes):
    def spoil(path):
        record = {**json.loads((path / "cohort.json").read_text()), **changes}
        (path / "cohort.json").write_text(json.dumps({key: value for key, value in record.items() if value is not None}))

    return spoil


def spoil_weights(**changes):
    def spoil(path):
        weights = np.load(path / "connectomes.npy")
        for change in changes.values():
            weights = change(weights)
        np.save(path / "connectomes.npy", weights)

    return spoil


def spoil_text(name, old, new):
    return lambda path: (path / name).write_text((path / name).read_text().replace(old, new))


def put(value):
    def change(weights):
        weights[3, 5] = value
        return weights

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "cohort.json").write_text("{"), r"cohort\.json is not valid JSON"),
        (spoil_json(measure=None), r"cohort\.json must say 'measure' \(text\)"),
        (spoil_json(signed="no"), r"cohort\.json must say 'signed' \(true or false\)"),
        (spoil_json(directed=True), r"cohort\.json says directed; expected undirected"),
        (spoil_json(kind="average"), "kind is one of observed, expected, sample, got 'average'"),
        (spoil_json(signed=True), r"connectomes\.npy: expected correlations between -1 and 1"),
        (spoil_weights(a=put(np.nan)), r"connectomes\.npy: .*got nan for participant 'sub-003' between 'Région 1' and 'Région 2'"),
        (spoil_weights(a=put(np.inf)), "got inf for participant 'sub-003'"),
        (spoil_weights(a=put(-2)), r"got -2\.0 for participant 'sub-003'"),
        (
            spoil_weights(a=lambda w: w[:, :-1]),
            r"connectomes\.npy: expected \(people, 15\) for the 6 regions of atlas\.tsv, got \(12, 14\)",
        ),
        (spoil_weights(a=lambda w: w[0]), r"connectomes\.npy: expected \(people, 15\) .* got \(15,\)"),
        (spoil_weights(a=to_matrices), r"got \(12, 6, 6\)"),
        (spoil_weights(a=lambda w: w[:-2]), r"connectomes\.npy holds 10 people, participants\.tsv 12; every person needs a row in both"),
        (spoil_weights(a=lambda w: w[:0]), r"connectomes\.npy holds no people"),
        (
            lambda path: (path / "connectomes.npy").write_bytes((path / "connectomes.npy").read_bytes()[:-4]),
            r"connectomes\.npy cannot be read: .*truncated",
        ),
        (lambda path: (path / "connectomes.npy").write_bytes(b""), r"connectomes\.npy is empty"),
        (
            lambda path: np.save(path / "connectomes.npy", np.array([[None]]), allow_pickle=True),
            r"connectomes\.npy cannot be read: .*pickled",
        ),
        (lambda path: (path / "participants.tsv").write_text(""), r"participants\.tsv is empty"),
        (spoil_text("participants.tsv", "sub-011", "sub-010"), r"participants\.tsv: participant_id must be unique, 'sub-010' occurs"),
        (
            spoil_text("participants.tsv", "sub-004\t", "sub-004\told"),
            r"participants\.tsv: column 'age': expected finite numbers \(years\)",
        ),
        (spoil_text("participants.json", '"Group": "site"', '"Kind": "place"'), r"participants\.json: column 'site': Kind is one of"),
        (spoil_text("atlas.tsv", "Région 5", "Région 4"), r"atlas\.tsv: region labels must be unique, 'Région 4' occurs"),
        (spoil_text("atlas.tsv", "Région 5", ""), r"atlas\.tsv: every region needs a label, region 6"),
        (spoil_text("atlas.tsv", "label", "name"), r"atlas\.tsv needs a column 'label'"),
        (lambda path: (path / "atlas.tsv").write_text("label\nonly\n"), r"atlas\.tsv: an atlas needs at least 2 regions, got 1"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_spoilt_folder_is_named_in_one_sentence(tmp_path, spoil, message):
    make_cohort().save(tmp_path / "study")
    spoil(tmp_path / "study")
    with pytest.raises(ConnectomeError, match=message) as caught:
        Cohort.load(tmp_path / "study")
    assert str(tmp_path / "study") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["connectomes.npy", "participants.tsv", "atlas.tsv", "cohort.json"])
def test_a_missing_file_is_named(tmp_path, file):
    make_cohort().save(tmp_path / "study")
    (tmp_path / "study" / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        Cohort.load(tmp_path / "study")
    with pytest.raises(FileNotFoundError, match="no cohort folder at .*nowhere; expected a folder with connectomes.npy"):
        Cohort.load(tmp_path / "nowhere")


def test_a_folder_without_descriptions_loads(tmp_path):
    make_cohort().save(tmp_path / "study")
    (tmp_path / "study" / "participants.json").unlink()
    cohort = Cohort.load(tmp_path / "study")
    assert cohort.described == {}
    assert cohort.phenotypes["sex"].dtype == np.float64  # codes are numbers where nothing says otherwise


def test_a_folder_by_other_hands(tmp_path):
    """Only what the format asks for, by other programs: no kind, no name, no atlas name, a byte order mark."""
    np.save(tmp_path / "connectomes.npy", np.array([[0.5, -0.25, 0]]))
    (tmp_path / "participants.tsv").write_bytes(b"\xef\xbb\xbfparticipant_id\tage\r\n001\t30\r\n")
    (tmp_path / "atlas.tsv").write_text("label\na\nb\nc\n")
    (tmp_path / "cohort.json").write_text('{"measure": "pearson", "signed": true, "licence": "CC0"}')
    cohort = Cohort.load(tmp_path)
    assert cohort.ids.tolist() == ["001"]
    assert cohort.kind == "observed"
    assert cohort.name == tmp_path.name
    assert cohort.info == {"licence": "CC0"}
    np.testing.assert_array_equal(cohort.dense()[0], [[0, 0.5, -0.25], [0.5, 0, 0], [-0.25, 0, 0]])


@pytest.mark.parametrize(
    ("name", "people", "regions", "signed"), [("ucl_parkinson", 134, 379, False), ("corr_kki", 337, 70, False), ("lemon", 225, 200, True)]
)
def test_real_cohorts(data_folder, tmp_path, name, people, regions, signed):
    cohort = Cohort.load(data_folder(name))
    assert (len(cohort), cohort.n_regions, cohort.signed, cohort.name) == (people, regions, signed, name)
    assert isinstance(cohort.weights, np.memmap)
    part = cohort.take(slice(0, 10))
    part.save(tmp_path / name)
    assert_same(Cohort.load(tmp_path / name), part)


def test_make_atlas_is_the_one_of_the_cohort():
    assert make_cohort().atlas == make_atlas()

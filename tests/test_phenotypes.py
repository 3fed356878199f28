"""What each phenotype is, and how a profile becomes numbers by the statistics of training people."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import DESCRIBED, make_cohort, make_phenotypes

from connectome_gnn.columns import level_text, numeric_column
from connectome_gnn.errors import ConnectomeError, PhenotypeWarning
from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema


@pytest.fixture(autouse=True)
def no_stray_warnings():
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def people(**columns) -> pd.DataFrame:
    """A table of people named a, b, c, ..."""
    table = pd.DataFrame(columns)
    return table.set_axis(pd.Index([chr(97 + n % 26) * (1 + n // 26) for n in range(len(table))], name="participant_id"), axis=0)


def kind_of(column, note=None) -> Phenotype:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhenotypeWarning)
        return PhenotypeSchema.fit(people(x=column), {"x": note or {}}).phenotypes[0]


# --- kinds -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "note", "kind", "codes"),
    [
        ([1.5, 2.5, 4], {}, "continuous", ()),
        ([1, 2, 3, 1, 2], {}, "continuous", ()),
        ([0, 1, 1], {}, "binary", ("0", "1")),
        ([10.0, 9.0, np.nan, 9.0], {}, "binary", ("9", "10")),
        (["no", "yes", None], {}, "binary", ("no", "yes")),
        ([True, False, True], {}, "binary", ("False", "True")),
        ([True, True, None], {}, "binary", ("False", "True")),
        (["a", "c", "b"], {}, "categorical", ("a", "b", "c")),
        (["1", "2", "5"], {}, "continuous", ()),
        ([0, 1, 2], {"Levels": {"2": "two", "0": "none", "1": "one"}}, "categorical", ("2", "0", "1")),
        ([0.0, 1.0, np.nan], {"Levels": {"0": "no", "1": "yes"}}, "binary", ("0", "1")),
        (["0", "1.0"], {"Levels": {"0.0": "no", "1.0": "yes"}}, "binary", ("0", "1")),
        (["0", "1"], {"Levels": ["0", "1", "2"]}, "categorical", ("0", "1", "2")),
        (["0", "1"], {"Levels": {"0": "no", "1": "yes", "n/a": "missing"}}, "binary", ("0", "1")),
        ([0, 1, 2], {"Levels": {"0": "never", "1": "former", "2": "current"}, "Kind": "ordinal"}, "ordinal", ("0", "1", "2")),
        ([3, 1, 10], {"Kind": "ordinal"}, "ordinal", ("1", "3", "10")),
        ([3, 1, 10], {"Kind": "categorical"}, "categorical", ("1", "3", "10")),
        ([0, 1, 0], {"Units": "cups"}, "continuous", ()),
        ([0, 1, 0], {"Kind": "continuous"}, "continuous", ()),
        ([0, 1, -3], {"Kind": "continuous", "Levels": {"-3": "refused"}}, "continuous", ()),
        (["a", "b", "c"], {"Units": ""}, "categorical", ("a", "b", "c")),
        (["a", "b", "c"], {"Units": None, "Levels": {}}, "categorical", ("a", "b", "c")),
        ([1, 2, 4], {"Levels": None}, "continuous", ()),
        (pd.Categorical(["lo", "hi", "lo"], ["lo", "mid", "hi"], ordered=True), {}, "ordinal", ("lo", "mid", "hi")),
        (pd.Categorical(["lo", "hi", "lo"], ["lo", "mid", "hi"]), {}, "categorical", ("lo", "mid", "hi")),
        (pd.Categorical([1, 2, None], [1, 2]), {}, "binary", ("1", "2")),
        (pd.Categorical(["1", "2.5", "7"]), {"Units": "mm"}, "continuous", ()),
        (pd.array([1, None, 5, 7], "Int64"), {}, "continuous", ()),
        (pd.array([1, None, 0], "Int64"), {}, "binary", ("0", "1")),
        (pd.array([True, None, False], "boolean"), {}, "binary", ("False", "True")),
        (pd.array(["x", None, "y", "z"], "string"), {}, "categorical", ("x", "y", "z")),
        (pd.array(["1", None, "7.5", "3"], "string"), {}, "continuous", ()),
        (pd.array([1.5, pd.NA, 2, 7], object), {}, "continuous", ()),
        ([np.nan, np.nan], {}, "continuous", ()),
        ([None, None], {"Levels": {"0": "no", "1": "yes"}}, "binary", ("0", "1")),
        (["only", "only"], {}, "binary", ("only",)),
        ([*"0123456789", "10", "V1", "V2", "V3"] * 3, {}, "categorical", (*"01", "10", *"23456789", "V1", "V2", "V3")),
    ],
)
def test_kinds(column, note, kind, codes):
    phenotype = kind_of(column, note)
    assert phenotype.kind == kind
    assert phenotype.codes == codes
    assert len(phenotype.columns) == (len(codes) if kind == "categorical" else 1)


def test_descriptions_are_kept():
    schema = PhenotypeSchema.fit(make_phenotypes(40), DESCRIBED)
    age, sex, site = schema.phenotypes[:3]
    assert (age.units, age.group, age.description) == ("years", "age_sex", "age at scan")
    assert sex.levels == {"0": "female", "1": "male"}
    assert site.codes == ("c", "a", "b")
    assert [p.kind for p in schema.phenotypes] == ["continuous", "binary", "categorical", "ordinal", "continuous"]
    assert schema.names == ("age", "sex", "site", "smoking", "trials")
    assert schema.groups == {"age_sex": ("age", "sex"), "site": ("site",), "lifestyle": ("smoking",), "other": ("trials",)}
    assert schema.columns == ("age", "sex", "site=c", "site=a", "site=b", "smoking", "trials")
    assert list(schema.owner) == [0, 1, 2, 2, 2, 3, 4]
    report = schema.report()
    assert list(report.index) == list(schema.names)
    assert report.loc["age", "units or levels"] == "years"
    assert report.loc["sex", "units or levels"] == "0, 1"
    # BIDS lets a level be described by an object
    described = {"x": {"Levels": {"0": {"Description": "no", "TermURL": "http://"}, "1": "yes"}}}
    assert PhenotypeSchema.fit(people(x=[0, 1]), described).phenotypes[0].levels == {"0": "no", "1": "yes"}


def test_key_columns_are_never_phenotypes():
    table = make_phenotypes(20).assign(sample=0, session_id="1", family_id="f", extrapolated=False).reset_index()
    assert PhenotypeSchema.fit(table, DESCRIBED).names == ("age", "sex", "site", "smoking", "trials")


@pytest.mark.parametrize(
    ("column", "note", "message"),
    [
        ([1, 2], {"Kind": "numeric"}, "'x': Kind is one of continuous, binary, categorical, ordinal, its description says 'numeric'"),
        ([1, 2, 3], {"Kind": "binary"}, r"'x': a binary phenotype has two levels, this one has 3 \('1', '2', '3'\)"),
        ([0, 1], {"Kind": "binary", "Levels": {"0": "", "1": "", "2": ""}}, "two levels, this one has 3"),
        (["lo", "hi"], {"Kind": "ordinal"}, "'x': an ordinal phenotype of text needs its Levels in order"),
        ([0, 1], {"Levels": "0 or 1"}, "Levels are an object of codes and meanings, its description says '0 or 1'"),
        ([0, 1], {"Levels": {"0": "a", "0.0": "b"}}, "level '0' occurs more than once"),
        ([0, 1], "text", "the description of 'x' must be an object"),
        ([0, 1, 2], {"Levels": {"0": "a", "1": "b"}}, r"'x': unknown level '2' \(participant 'c'\); the levels are '0', '1', or n/a"),
        ([1, 2, "three"], {"Units": "mm"}, r"'x': expected finite numbers \(mm\) or n/a, got 'three' \(participant 'c'\)"),
        ([1, 2, np.inf], {}, r"'x': expected finite numbers or n/a, got 'inf' \(participant 'c'\)"),
        ([1, -np.inf], {}, r"got '-inf' \(participant 'b'\)"),
        ([*range(30), "old"], {}, "'x': most values are numbers, participant 'ee' has 'old'; correct it, or give"),
        ([True, "x"], {"Units": "mm"}, "got 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused(column, note, message):
    with pytest.raises(ConnectomeError, match=message):
        PhenotypeSchema.fit(people(x=column), {"x": note})


def test_dates_are_no_quantities():
    dates = pd.to_datetime(["2020-01-01", None, "2021-01-01"])
    assert kind_of(dates).kind == "binary"  # two labels
    with pytest.raises(ConnectomeError, match=r"got '2020-01-01 00:00:00' \(participant 'a'\)"):
        PhenotypeSchema.fit(people(x=dates), {"x": {"Units": "days"}})


def test_an_empty_or_repetitive_table_is_refused():
    for attempt in (PhenotypeSchema.fit, PhenotypeSchema.fit(make_phenotypes(20), DESCRIBED).encode):
        with pytest.raises(ConnectomeError, match="table is empty"):
            attempt(make_phenotypes(20).iloc[:0])
    table = pd.concat([make_phenotypes(20)] * 2, axis=1)
    with pytest.raises(ConnectomeError, match="'age' more than once"):
        PhenotypeSchema.fit(table, DESCRIBED)
    with pytest.raises(ConnectomeError, match="a kind is one of"):
        Phenotype("x", "number")


# --- warnings --------------------------------------------------------------------------------------------------------------


def test_phenotypes_that_carry_little_are_named():
    n = 40
    table = people(
        fine=np.arange(n),
        same=np.full(n, 7.3),
        same_text=["x"] * n,
        rounded=0.3 + np.arange(n) % 3 * 1e-16,
        gaps=[np.nan] * 21 + list(range(19)),
        half=[np.nan] * 20 + list(range(20)),
        nothing=[np.nan] * n,
        comment=[f"said {k}" for k in range(n)],
    )
    with pytest.warns(PhenotypeWarning) as caught:
        schema = PhenotypeSchema.fit(table)
    constant, sparse, free = (str(warning.message) for warning in caught)
    assert constant.endswith("constant in the training people, so nothing can be learned from them: 'same', 'same_text', 'rounded'")
    assert sparse.endswith("missing in more than half of the training people: 'gaps', 'nothing'")
    assert free.endswith("left out: 'comment'")
    assert "comment" not in schema.names
    assert [p.name for p in schema.phenotypes if p.constant] == ["same", "same_text", "rounded", "nothing"]
    assert all(warning.filename == __file__ for warning in caught)


def test_constant_and_empty_columns_encode_as_zero_whatever_comes():
    with pytest.warns(PhenotypeWarning):
        schema = PhenotypeSchema.fit(people(same=[7.0, 7, 7], nothing=[np.nan] * 3, fine=[1.0, 2, 3]))
    encoded = schema.encode(people(same=[9.0, np.nan], nothing=[3.0, np.nan], fine=[2.0, 2]))
    assert not encoded.values.any()
    assert encoded.missing.tolist() == [[False, False, False], [True, True, False]]


def test_a_level_that_no_training_person_had_is_missing_and_named():
    described = {"site": {"Levels": {"a": "", "b": "", "c": ""}}}
    schema = PhenotypeSchema.fit(people(site=["a", "b", "a", None]), described)
    with pytest.warns(PhenotypeWarning, match="no training person had, treated as missing: 'site'"):
        encoded = schema.encode(people(site=["c", "a", None]))
    assert encoded.missing[:, 0].tolist() == [True, False, True]
    assert not encoded.values[[0, 2]].any()
    assert encoded.values[1].any()


# --- encoding --------------------------------------------------------------------------------------------------------------


def test_training_people_have_mean_zero_and_variance_one():
    table = make_phenotypes(200)
    encoded = PhenotypeSchema.fit(table, DESCRIBED).encode(table)
    assert encoded.values.shape == (200, 7)
    assert encoded.columns == ("age", "sex", "site=c", "site=a", "site=b", "smoking", "trials")
    for column, owner in zip(encoded.values.T, encoded.owner, strict=True):
        known = ~encoded.missing[:, owner]
        assert column[known].mean() == pytest.approx(0, abs=1e-12)
        assert column[known].std() == pytest.approx(1)
        assert not column[~known].any()  # the training mean
    np.testing.assert_array_equal(encoded.missing, table.isna().to_numpy())
    order = table["smoking"].map({"0": 0, "1": 1, "2": 2})
    known = order.notna()
    np.testing.assert_allclose(encoded.values[known, 5], (order[known] - order.mean()) / order[known].std(ddof=0))
    site = encoded.values[:, 2:5].argmax(1)[~encoded.missing[:, 2]]
    np.testing.assert_array_equal(np.array(["c", "a", "b"])[site], table["site"].dropna())


def test_a_profile_is_encoded_by_training_people_whoever_comes_with_it():
    table = make_phenotypes(60)
    train, test = table.iloc[:40], table.iloc[40:]
    schema = PhenotypeSchema.fit(train, DESCRIBED)
    everybody = schema.encode(table)
    np.testing.assert_array_equal(everybody.values[40:], schema.encode(test).values)
    np.testing.assert_array_equal(everybody.values[45:46], schema.encode(table.iloc[45:46]).values)
    columns_moved = schema.encode(test[test.columns[::-1]].assign(other="unused"))
    np.testing.assert_array_equal(columns_moved.values, everybody.values[40:])


def test_training_statistics_come_from_training_people_only():
    cohort = make_cohort(60)
    train, test = cohort.split(0.7, seed=1)
    before = PhenotypeSchema.fit(train.phenotypes, train.described)
    changed = cohort.phenotypes.copy()
    changed.loc[test.ids, "age"] = 1e6
    changed.loc[test.ids, ["sex", "site", "smoking"]] = np.nan
    train_again, test_again = make_cohort(60, phenotypes=changed).split(0.7, seed=1)
    assert (test_again.phenotypes["age"] == 1e6).all()
    after = PhenotypeSchema.fit(train_again.phenotypes, train.described)
    assert after == before
    np.testing.assert_array_equal(after.covariance, before.covariance)


def test_missing_columns_and_text_are_named():
    table = make_phenotypes(30)
    schema = PhenotypeSchema.fit(table, DESCRIBED)
    for attempt in (schema.encode, schema.extrapolated):
        with pytest.raises(
            ConnectomeError, match="lacks 'age', 'site'; the model was fitted with 'age', 'sex', 'site', 'smoking', 'trials'"
        ):
            attempt(table.drop(columns=["age", "site"]))
        with pytest.raises(
            ConnectomeError, match=r"'age': expected finite numbers \(years\) or n/a, got 'sixty' \(participant 'sub-004'\)"
        ):
            attempt(table.astype({"age": object}).replace({"age": {table["age"].iloc[4]: "sixty"}}))
        with pytest.raises(ConnectomeError, match=r"'sex': unknown level 'F' \(participant 'sub-000'\); the levels are '0', '1', or n/a"):
            attempt(table.assign(sex="F"))


@pytest.mark.parametrize(
    "dtype", [float, "Float64", "Int64", "Int8", "UInt8", "float32", object, "str", "string", pd.CategoricalDtype([3, 5, 8, 9])]
)
def test_numbers_in_any_type(dtype):
    expected = PhenotypeSchema.fit(people(x=[3.0, 5, 8, 9]))
    column = pd.Series([3, 5, None if dtype is not int else 0, 9], dtype="Int64")
    column = column.astype(float) if dtype in (float, "float32") or isinstance(dtype, pd.CategoricalDtype) else column
    encoded = expected.encode(people(x=column.astype(dtype).to_numpy(object) if dtype is object else column.astype(dtype)))
    np.testing.assert_allclose(encoded.values[[0, 1, 3]], expected.encode(people(x=[3, 5, 9])).values)
    assert encoded.missing[:, 0].tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "column",
    [
        ["0", "1", None],
        [0, 1, None],
        [0.0, 1.0, np.nan],
        ["0.0", " 1 ", None],
        [False, True, None],
        pd.array([0, 1, None], "Int64"),
        pd.array([0, 1, None], "Float32"),
        pd.array([False, True, None], "boolean"),
        pd.array(["0", "1", pd.NA], "string"),
        pd.array(["0", "1", pd.NA], object),
        pd.Categorical([0, 1, None]),
        pd.Categorical(["0", "1", None], ["0", "1", "2"]),
        np.array([0, 1, np.nan], np.float16),
    ],
)
def test_codes_in_any_type(column):
    schema = PhenotypeSchema.fit(people(x=["0", "1", "1"]), {"x": {"Levels": {"0": "no", "1": "yes"}}})
    encoded = schema.encode(people(x=column))
    assert encoded.missing[:, 0].tolist() == [False, False, True]
    assert encoded.values[0, 0] < 0 < encoded.values[1, 0]


def test_true_is_no_level_1_where_both_are_levels():
    schema = PhenotypeSchema.fit(people(kind=["1", "True", "x", "x"]), {"kind": {"Levels": {"1": "", "True": "", "x": ""}}})
    column = pd.Series([1, True, 1.0, "1", "True", "x"], dtype=object, index=list("abcdef"))
    assert schema.phenotypes[0].positions(column).tolist() == [0, 1, 0, 0, 1, 2]


def test_the_text_of_levels():
    for value in (0, 0.0, np.int8(0), np.float32(0), "0", "0.0", " 0.00 "):
        assert level_text(value) == "0"
    assert [level_text(v) for v in (1.5, "1.50", "-3.0", True, np.True_, "a.0", "1.", "v1.0", 1e22)] == [
        "1.5",
        "1.50",
        "-3",
        "True",
        "True",
        "a.0",
        "1.",
        "v1.0",
        "1" + "0" * 22,
    ]


def test_numbers_are_read_exactly():
    column = pd.Series(["0.1", "1e-320", "123456789.123456789", None, "-7"])
    np.testing.assert_array_equal(numeric_column(column), [0.1, 1e-320, 123456789.123456789, np.nan, -7])
    with pytest.raises(ConnectomeError, match=r"^t\.tsv: column 'w': expected finite numbers \(kg\) or n/a, got '1,5' \(participant 1\)"):
        numeric_column(pd.Series(["1", "1,5"], name="w"), "kg", "t.tsv")
    with pytest.raises(ConnectomeError, match=r"got '\(1\+2j\)'"):
        numeric_column(pd.Series([1 + 2j]))
    assert numeric_column(pd.Series([0.5, 10**30], dtype=object)).tolist() == [0.5, 1e30]


# --- extrapolation ---------------------------------------------------------------------------------------------------------


def test_profiles_out_of_the_training_range_are_named():
    generator = np.random.default_rng(0)
    table = people(age=generator.uniform(45, 82, 300), height=generator.normal(170, 9, 300), sex=generator.choice(["F", "M"], 300))
    schema = PhenotypeSchema.fit(table)
    outside, columns = schema.extrapolated(people(age=[20, 60, 60, np.nan], height=[170, 1.7, 170, np.nan], sex=["F", "F", "M", None]))
    assert outside.tolist() == [True, True, False, False]
    assert columns == ("age", "height")
    assert schema.extrapolated(table.iloc[:5]) == (pytest.approx(np.zeros(5, bool)), ())
    assert schema.extrapolated(table)[0].mean() < 0.02


@pytest.mark.filterwarnings("error")
def test_profiles_very_far_away_are_found():
    schema = PhenotypeSchema.fit(people(a=np.random.default_rng(0).normal(size=50), b=np.random.default_rng(1).normal(size=50)))
    assert schema.extrapolated(people(a=[1e300, -1e200, 0], b=[0, 1e250, 0]))[0].tolist() == [True, True, False]


def test_profiles_of_an_unheard_of_combination_are_found():
    """Each value within its range, but not together: as tall as the tallest, lighter than nine in ten. A rare diagnosis hides nobody."""
    generator = np.random.default_rng(0)
    height = generator.normal(170, 9, 500)
    diagnoses = {f"diagnosis_{n}": (generator.random(500) < 0.01).astype(int) for n in range(4)}
    table = people(height=height, weight=height - 100 + generator.normal(0, 5, 500), **diagnoses)
    schema = PhenotypeSchema.fit(table)
    odd = people(height=[height.max(), 180], weight=[table["weight"].quantile(0.1), 80], **{name: [0, 1] for name in diagnoses})
    outside, columns = schema.extrapolated(odd)
    assert outside.tolist() == [True, False]
    assert columns == ()


@pytest.mark.parametrize(
    ("n_people", "n_traits", "missing"),
    [(30, 5, 0), (60, 57, 0), (180, 57, 0), (180, 57, 0.3), (100, 200, 0), (1000, 30, 0)],
)
def test_few_people_of_the_same_distribution_are_extrapolated(n_people, n_traits, missing):
    """Correlated Gaussian traits, more traits than people too: about one in a thousand lies beyond the 99.9 % distance."""
    flagged = []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        mixing = generator.normal(size=(n_traits, n_traits)) * np.exp(-np.arange(n_traits) / (n_traits / 6))
        traits = generator.normal(size=(n_people + 1000, n_traits)) @ mixing.T
        traits[generator.random(traits.shape) < missing] = np.nan
        table = pd.DataFrame(traits, columns=[f"t{n}" for n in range(n_traits)])
        schema = PhenotypeSchema.fit(table.iloc[:n_people])
        wide = PhenotypeSchema(
            tuple(Phenotype(**{**vars(p), "low": None, "high": None}) for p in schema.phenotypes), schema.covariance, schema.limit
        )
        flagged.append(wide.extrapolated(table.iloc[n_people:])[0].mean())
    assert np.mean(flagged) < 0.015


def test_extrapolation_survives_singular_covariances():
    generator = np.random.default_rng(0)
    trait = generator.choice([-1.0, 1.0], 50)
    twins = people(a=trait, b=trait, c=-trait, site=generator.choice(list("xyz"), 50))
    schema = PhenotypeSchema.fit(twins)
    assert not schema.extrapolated(twins)[0].any()
    opposites = people(a=[-1.0, 1.0] * 25, b=[1.0, -1.0] * 25)  # nothing is shrunken here
    assert not PhenotypeSchema.fit(opposites).extrapolated(opposites)[0].any()
    alone = PhenotypeSchema.fit(people(a=np.tile([0.0, 1.0], 10)))
    assert not alone.extrapolated(people(a=[0.0, 1.0]))[0].any()
    for table in (twins.iloc[:1], twins.iloc[:3], twins[["site"]].iloc[:2]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PhenotypeWarning)
            small = PhenotypeSchema.fit(table)
        assert not small.extrapolated(table)[0].any()


# --- files -----------------------------------------------------------------------------------------------------------------


def test_through_json_and_back():
    table = make_phenotypes(30).assign(place=pd.Categorical(["x", "y", "z"] * 10), same=1.0)
    with pytest.warns(PhenotypeWarning, match="'same'"):
        schema = PhenotypeSchema.fit(table, DESCRIBED)
    record = json.loads(json.dumps(schema.to_dict(), allow_nan=False))
    again = PhenotypeSchema.from_dict(record, schema.covariance)
    assert again == schema
    assert json.dumps(again.to_dict()) == json.dumps(schema.to_dict())
    for mine, other in zip(schema.extrapolated(table), again.extrapolated(table), strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(again.encode(table).values, schema.encode(table).values)
    assert PhenotypeSchema.from_dict(record).extrapolated(table)[0].sum() == 0  # the range alone


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.none(), min_size=3, max_size=30))
def test_any_numbers_encode_to_finite_ones(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhenotypeWarning)
        schema = PhenotypeSchema.fit(people(x=pd.Series(values, dtype=float)), {"x": {"Units": "m"}})
        encoded = schema.encode(people(x=pd.Series(values, dtype=float)))
    assert np.isfinite(encoded.values).all()
    assert np.abs(encoded.values).max() <= np.sqrt(len(values))
    assert schema.extrapolated(people(x=pd.Series(values, dtype=float)))[0].sum() <= len(values)


def test_the_real_cohorts(data_folder):
    from connectome_gnn.cohort import Cohort

    for name, kinds in (("ucl_parkinson", ["continuous", "binary", "binary"]), ("corr_kki", ["continuous", "binary", "categorical"])):
        cohort = Cohort.load(data_folder(name))
        schema = PhenotypeSchema.fit(cohort.phenotypes, cohort.described)
        assert [p.kind for p in schema.phenotypes] == kinds
    cohort = Cohort.load(data_folder("lemon"))
    schema = PhenotypeSchema.fit(cohort.phenotypes, cohort.described)
    assert len(schema.phenotypes) == 57
    assert schema.encode(cohort.phenotypes).missing.sum() == cohort.phenotypes.isna().to_numpy().sum() > 0
    assert schema.extrapolated(cohort.phenotypes)[0].mean() < 0.02

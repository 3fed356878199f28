"""The generator as a whole: better than its rivals where there is a signal, silent where there is none, and at ease with any cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fitted import (
    DESCRIBED,
    FAST,
    fit_small,
    generator,
    halves,
    modelled,
    plain_table,
    r2_beyond_mean,
    small_cohort,
    squared_errors,
)
from threadpoolctl import threadpool_limits

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning, ExtrapolationWarning, PhenotypeWarning
from connectome_gnn.evaluation import evaluate
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.network_fit import NETWORK_LABEL
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.generation.rivals import RIVALS
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.simulate import simulate_cohort

quiet = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")
# --- what it is worth ---------------------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize(("measure", "seed"), [("streamline_count", 0), ("pearson", 1)])
def test_no_rival_is_better_on_simulated_people(measure, seed):
    cohort = simulate_cohort(1500, 30, 20, seed=seed, measure=measure)
    train, test = cohort.split(700 / 1500, seed=0)
    model = ConnectomeGenerator(seed=0).fit(train, distribution=False)
    ours = r2_beyond_mean(model, test, train)
    theirs = {name: r2_beyond_mean(make(0).fit(train, distribution=False), test, train) for name, make in RIVALS.items()}
    assert ours > max(theirs.values()) - 0.002
    linear = ("ridge", "component ridge", "component ridge with age terms")
    assert ours > 1.05 * max(theirs[name] for name in linear)
    assert 0.5 * test.truth.ceiling < ours < test.truth.ceiling
    # What the paths are said to have earned within training people is what they earn on new ones, but for chance.
    assert model.earned.loc["all together", "r2"] == pytest.approx(ours, abs=0.012)


@quiet
@pytest.mark.parametrize(("n_people", "seed"), [(200, 0), (200, 1), (800, 2)])
def test_where_there_is_nothing_to_learn_the_answer_is_the_training_mean(n_people, seed):
    cohort = simulate_cohort(n_people + 800, 16, 15, seed=seed, explained=0)
    train, test = cohort.split(n_people / len(cohort), seed=0)
    assert abs(r2_beyond_mean(ConnectomeGenerator(seed=0).fit(train, distribution=False), test, train)) < 0.003


@quiet
def test_messages_over_the_backbone_earn_their_place():
    """Effects that spread along the backbone are learned better with the edges between regions than without them."""
    gains, totals, worlds = [], [], []
    for seed in range(3):
        cohort = simulate_cohort(840, 40, 20, seed=seed, backbone_spread=1)
        train, test = cohort.split(240 / 840, seed=seed)
        errors = {}
        for messages in (True, False):
            model = ConnectomeGenerator(seed=0, messages=messages, network=None).fit(train, distribution=False)
            errors[messages], total = squared_errors(model.expected(test.phenotypes), test, train)
        gains.append(errors[False] - errors[True])
        totals.append(total)
        worlds.append(gains[-1].sum() / total.sum())
    gain, total = np.concatenate(gains), np.concatenate(totals)
    draw = np.random.default_rng(0)
    chosen = [draw.integers(0, len(gain), len(gain)) for _ in range(2000)]
    low = np.quantile([gain[rows].sum() / total[rows].sum() for rows in chosen], 0.005)
    assert low > 0
    assert gain.sum() / total.sum() > 0.002
    assert min(worlds) > 0


@quiet
def test_what_each_path_earned():
    earned = generator().earned
    assert list(earned.columns) == ["r2", "weight"]
    assert list(earned.index[-2:]) == ["all together", NETWORK_LABEL]
    assert (earned["weight"] >= 0).all()
    assert earned.loc["all together", "weight"] == pytest.approx(earned["weight"].iloc[:-2].sum())
    assert earned.loc["all together", "weight"] <= 1 + 1e-9
    # Each person is scored by weights of the other folds, which costs a little; each path alone has no weights to find.
    assert earned.loc["all together", "r2"] >= earned["r2"].iloc[:-2].max() - 0.002
    assert np.isfinite(earned).all(axis=None)
    alone = fit_small(small_cohort(), messages=False).earned
    assert not any("messages" in path or path == NETWORK_LABEL for path in alone.index)


# --- randomness ---------------------------------------------------------------------------------------------------------


@quiet
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads():
    train, test = (part.take(slice(150)) for part in halves())
    models, before = [], torch.get_num_threads()
    for seed, threads in ((4, 1), (4, 2), (5, 1)):
        torch.set_num_threads(threads)
        with threadpool_limits(threads, "blas"):
            models.append(ConnectomeGenerator(seed=seed, network=NetworkConfig(epochs=12)).fit(train))
            assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    expected = [model.expected(test.phenotypes).weights.tobytes() for model in models]
    samples = [model.sample(test.phenotypes, 2, seed=9).weights.tobytes() for model in models]
    assert expected[0] == expected[1] != expected[2]
    assert samples[0] == samples[1] != samples[2]
    assert models[0].earned.equals(models[1].earned)


@quiet
def test_test_people_are_never_seen():
    cohort = halves()[0].take(slice(120))
    weights, table = cohort.weights.copy(), cohort.phenotypes.copy()
    rows = np.arange(120) % 3 != 0
    models = []
    for change in (False, True):
        if change:
            weights[~rows] *= 100
            numeric = table.select_dtypes("number").columns
            table.loc[~rows, numeric] = table.loc[~rows, numeric] * 3
        everybody = Cohort(weights.copy(), table.copy(), cohort.atlas, measure="m", described=cohort.described)
        models.append(fit_small(everybody.take(rows)))
    one, other = (model.expected(cohort.phenotypes).weights.tobytes() for model in models)
    assert one == other
    one, other = (model.sample(cohort.phenotypes, seed=1).weights.tobytes() for model in models)
    assert one == other


@pytest.fixture(scope="module")
def small_model() -> ConnectomeGenerator:
    return fit_small(small_cohort(60))


# --- people asked for ---------------------------------------------------------------------------------------------------


@quiet
def test_people_come_back_in_order_with_their_phenotypes():
    model, table = generator(), halves()[1].phenotypes
    asked = table.iloc[[30, 4, 17, 300]].assign(session_id="s1", remark=["a", "b", "c", "d"])
    asked = asked[asked.columns[::-1]]
    expected = model.expected(asked)
    pd.testing.assert_frame_equal(expected.phenotypes.drop(columns="extrapolated"), asked)
    everybody = modelled(model.expected(table))
    np.testing.assert_allclose(modelled(expected), everybody[[30, 4, 17, 300]], atol=1e-4)
    alone = [modelled(model.expected(asked.iloc[[row]])) for row in range(4)]
    np.testing.assert_allclose(modelled(expected), np.concatenate(alone), atol=1e-4)
    as_column = asked.reset_index()
    pd.testing.assert_frame_equal(model.expected(as_column).phenotypes, expected.phenotypes)
    sample = model.sample(asked, 3, seed=0)
    pd.testing.assert_frame_equal(sample.phenotypes[asked.columns].iloc[::3], asked)
    again = model.sample(sample.phenotypes[sample.phenotypes["sample"] == 0], 1)  # a table of samples is a table of profiles
    assert list(again.ids) == list(asked.index)


def test_profiles_far_out_are_named():
    model = fit_small(small_cohort(200))
    table = plain_table(200).iloc[:4]
    table.iloc[1, table.columns.get_loc("age")] = 20.0
    with pytest.warns(ExtrapolationWarning, match=r"1 of 4 profiles.*'age'"):
        expected = model.expected(table)
    assert list(expected.phenotypes["extrapolated"]) == [False, True, False, False]


@quiet
def test_missing_values_are_a_state_of_their_own_and_never_refused():
    model, table = generator(), halves()[1].phenotypes.iloc[:5]
    gone = table.assign(height=np.nan)
    assert np.isfinite(model.expected(gone).weights).all()
    nothing = table.assign(**dict.fromkeys(table.columns, np.nan))
    weights = model.expected(nothing).weights
    assert (weights == weights[0]).all()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="memory"), "lacks.*'memory'"),
        (lambda t: t.assign(site="Z"), "column 'site': unknown level 'Z'.*'p0'"),
        (lambda t: t.assign(height="tall"), "column 'height'.*'tall'"),
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t.set_axis(["x"] * len(t)), "'x' occurs more than once"),
        (lambda t: t.to_numpy(), "DataFrame.*ndarray"),
        (lambda t: pd.concat([t, t[["age"]]], axis=1), "'age' more than once"),
    ],
)
def test_tables_that_cannot_be_used(small_model, change, words):
    table = change(plain_table(5))
    for ask in (small_model.expected, small_model.sample):
        with pytest.raises(ConnectomeError, match=words):
            ask(table)


def test_calls_that_make_no_sense():
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        ConnectomeGenerator().expected(plain_table(3))
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        ConnectomeGenerator().save("nowhere")
    with pytest.raises(ConnectomeError, match="at least one sample a person, got n=0"):
        fit_small(small_cohort()).sample(plain_table(3), 0)


# --- cohorts of every kind ----------------------------------------------------------------------------------------------


def finite_and_on_support(model: ConnectomeGenerator, table: pd.DataFrame) -> None:
    for made in (model.expected(table), model.sample(table, 2, seed=1)):
        weights = made.weights
        assert np.isfinite(weights).all()
        assert (np.abs(weights) < 1).all() if model.signed else (weights >= 0).all()


@quiet
@pytest.mark.parametrize("signed", [False, True])
def test_signals_of_tiny_cohorts_are_found(signed):
    train, test = small_cohort(400, signed=signed).split(0.5, seed=0)
    model = fit_small(train, network=FAST)
    assert r2_beyond_mean(model, test, train) > 0.2
    finite_and_on_support(model, test.phenotypes)


def test_twenty_people_are_enough_and_nineteen_too_few():
    finite_and_on_support(ConnectomeGenerator(seed=0).fit(small_cohort(20)), plain_table(20))
    with pytest.raises(ConnectomeError, match="has 19 people; at least 20 are needed"):
        fit_small(small_cohort(19))
    many = small_cohort(38)
    table = many.phenotypes.iloc[np.repeat(np.arange(19), 2)].assign(sample=[0, 1] * 19)
    with pytest.raises(ConnectomeError, match="19 people"):  # rows are not people
        fit_small(small_cohort(38, phenotypes=table))


def test_cohorts_that_cannot_be_learned_from():
    alike = np.tile(small_cohort(1).weights, (30, 1))
    with pytest.raises(ConnectomeError, match="no edge.*differs between people"):
        fit_small(small_cohort(30, weights=alike))
    with pytest.raises(ConnectomeError, match="no phenotypes"):
        fit_small(small_cohort(30, phenotypes=plain_table(30)[[]]))
    with pytest.raises(ConnectomeError, match="expected connectomes, which are no people"):
        fit_small(small_cohort(30, kind="expected"))


def test_people_whose_profiles_are_alike_get_the_mean():
    table = plain_table(1).iloc[np.zeros(40, int)].set_axis([f"p{n}" for n in range(40)])
    with pytest.warns(PhenotypeWarning, match="constant"):
        model = fit_small(small_cohort(40, phenotypes=table))
    expected = model.expected(table)
    np.testing.assert_allclose(modelled(expected), np.tile(modelled(small_cohort(40)).mean(0), (40, 1)), atol=1e-4)


@pytest.mark.parametrize("gone", [["age"], ["sex"], ["age", "sex"], ["age", "sex", "memory", "site"]])
@quiet
def test_cohorts_without_age_or_sex(gone):
    cohort = small_cohort(200)
    cohort.phenotypes = cohort.phenotypes.drop(columns=gone)
    train, test = cohort.split(0.7, seed=0)
    model = fit_small(train, network=FAST)
    finite_and_on_support(model, test.phenotypes)
    assert r2_beyond_mean(model, test, train) > 0.1


@quiet
def test_a_phenotype_that_nobody_has_or_everybody_shares():
    plain, table = small_cohort(200), plain_table(200)
    with pytest.warns(PhenotypeWarning, match="missing in more than half.*'empty'"):
        model = fit_small(small_cohort(200, phenotypes=table.assign(empty=np.nan)))
    np.testing.assert_allclose(modelled(model.expected(table.assign(empty=np.nan))), modelled(fit_small(plain).expected(table)), atol=0.05)
    with pytest.warns(PhenotypeWarning, match="constant.*'same'"):
        model = fit_small(small_cohort(200, phenotypes=table.assign(same=3.0)))
    expected = modelled(model.expected(table.assign(same=3.0)))
    np.testing.assert_allclose(expected, modelled(model.expected(table.assign(same=4.0))), atol=1e-6)


def test_a_level_that_no_training_person_had_counts_as_missing():
    described = {**DESCRIBED, "site": {"Levels": {"a": "A", "b": "B", "c": "C", "d": "D"}, "Group": "site"}}
    model = fit_small(small_cohort(120, described=described))
    table = plain_table(4)
    with pytest.warns(PhenotypeWarning, match="no training person had, treated as missing: 'site'") as said:
        unseen = model.expected(table.assign(site="d"))
    assert len(said) == 1
    assert list(unseen.phenotypes["site"]) == ["d"] * 4  # what was asked for is what comes back
    np.testing.assert_array_equal(unseen.weights, model.expected(table.assign(site=None)).weights)


@quiet
def test_copies_of_a_phenotype_do_no_harm():
    table = plain_table(300)
    copied = table.assign(height_again=table["height"], height_in_metres=table["height"] / 100)
    described = {**DESCRIBED, "height_again": DESCRIBED["height"], "height_in_metres": DESCRIBED["height"]}
    scores = []
    for cohort in (small_cohort(300), small_cohort(300, phenotypes=copied, described=described)):
        train, test = cohort.split(0.5, seed=0)
        model = fit_small(train)
        finite_and_on_support(model, test.phenotypes)
        scores.append(r2_beyond_mean(model, test, train))
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


@quiet
def test_more_phenotypes_than_people():
    draw = np.random.default_rng(0)
    noise = pd.DataFrame(draw.standard_normal((90, 60)), columns=[f"noise{n}" for n in range(60)], index=plain_table(90).index)
    train, test = small_cohort(90, phenotypes=pd.concat([plain_table(90), noise], axis=1)).split(0.5, seed=0)
    model = fit_small(train, network=FAST)
    finite_and_on_support(model, test.phenotypes)
    assert r2_beyond_mean(model, test, train) > -0.03
    for name in ("ridge", "component ridge", "banded component ridge"):  # none of them fits noise through every point
        assert r2_beyond_mean(RIVALS[name](0).fit(train, distribution=False), test, train) > -0.15


@quiet
@pytest.mark.parametrize("kind", [np.int32, np.float64, np.float16])
def test_weights_of_any_number_type(kind, tmp_path):
    signed = kind is np.float16
    base = small_cohort(60, signed=signed)
    weights = (base.weights if signed else np.round(base.weights)).astype(kind)
    np.save(tmp_path / "w.npy", weights)
    mapped = np.load(tmp_path / "w.npy", mmap_mode="r")
    model = fit_small(small_cohort(60, signed=signed, weights=mapped))
    plain = fit_small(small_cohort(60, signed=signed, weights=weights.astype(np.float32)))
    for ask in ("expected", "sample"):
        made, same = (getattr(m, ask)(plain_table(9)).weights for m in (model, plain))
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, same, rtol=1e-4, atol=1e-5)


@quiet
def test_families_stay_together():
    """Twins share what phenotypes do not tell; folds that part them would take that for an effect of phenotypes."""
    draw = np.random.default_rng(0)
    table = plain_table(60).iloc[np.repeat(np.arange(60), 2)].set_axis([f"t{n}" for n in range(120)])
    table["family_id"] = np.repeat([f"f{n}" for n in range(60)], 2)
    shared = np.repeat(draw.standard_normal((60, 15)), 2, 0)
    cohort = small_cohort(
        120, phenotypes=table, weights=np.expm1(4 + shared + 0.2 * draw.standard_normal((120, 15))).clip(0).astype(np.float32)
    )
    data = TrainingData(cohort, n_components=300, seed=0)
    for rows, held in data.folds(5, 0):
        assert not set(table["family_id"].iloc[rows]) & set(table["family_id"].iloc[held])
        assert len(rows) + len(held) == 120
    assert "family_id" not in data.schema.names
    together = fit_small(cohort).earned
    apart = fit_small(small_cohort(120, phenotypes=table.drop(columns="family_id"), weights=cohort.weights)).earned
    assert together.loc["all together", "r2"] < 0.05
    assert apart.loc["all together", "r2"] > together.loc["all together", "r2"] + 0.1


def test_two_families_are_folds_enough():
    table = plain_table(40).assign(family_id=["a"] * 20 + ["b"] * 20)
    finite_and_on_support(fit_small(small_cohort(40, phenotypes=table), network=FAST), table)


@quiet
def test_regions_that_nothing_reaches():
    cohort = small_cohort(60, n_regions=7)
    weights = cohort.weights.copy()
    weights[:, :6] = 0  # every edge of the first region
    model = fit_small(small_cohort(60, n_regions=7, weights=weights), network=FAST)
    finite_and_on_support(model, plain_table(60))
    assert (model.sample(plain_table(20), seed=0).weights[:, :6] == 0).all()
    assert (model.expected(plain_table(20)).weights[:, :6] == 0).all()


@quiet
def test_a_fit_for_the_mean_alone_knows_nothing_else(tmp_path):
    cohort = small_cohort(40)
    whole, mean = (ConnectomeGenerator(network=None).fit(cohort, distribution=known) for known in (True, False))
    table = plain_table(10)
    assert mean.expected(table).weights.tobytes() == whole.expected(table).weights.tobytes()
    assert mean.standard_error(table).tobytes() == whole.standard_error(table).tobytes()
    for use in (
        lambda: mean.sample(table),
        lambda: mean.log_prob(cohort),
        lambda: mean.deviation(cohort),
        lambda: mean.interpolate(cohort, {"age": [50]}),
        lambda: mean.save(tmp_path / "model"),
    ):
        with pytest.raises(ConnectomeError, match="knows expected connectomes only; fit it without distribution=False"):
            use()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": -1}, "expected seed as a whole number from 0 on, got -1"),
        ({"seed": "a"}, "expected seed as a whole number from 0 on, got 'a'"),
        ({"seed": 2**63}, "expected seed below two to the power of 63, got 9223372036854775808"),
        ({"n_components": 0}, "expected n_components as a whole number from 1 on, got 0"),
        ({"messages": "no"}, "expected messages as True or False, got 'no'"),
        ({"network": {"rank": 4}}, "expected network as a NetworkConfig, or None"),
        ({"training": "lightning"}, "expected training as a TrainingConfig, got 'lightning'"),
        ({"sampler": np.array(["auto"])}, "sampler is one of 'auto'"),
    ],
)
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(ConnectomeError, match=said):
        ConnectomeGenerator(**settings)


def test_one_family_is_nobody_to_leave_out():
    table = plain_table(30).assign(family_id="a")
    with pytest.raises(ConnectomeError, match="everybody belongs to one family"):
        ConnectomeGenerator().fit(small_cohort(30, phenotypes=table))


def nearly_one_family(n_people: int, others: int) -> Cohort:
    """All but some people are one family."""
    families = ["one"] * (n_people - others) + [f"family {number}" for number in range(others)]
    return small_cohort(n_people, phenotypes=plain_table(n_people).assign(family_id=families))


@quiet
@pytest.mark.parametrize("n_people", [30, 120])
@pytest.mark.parametrize("others", [1, 2, 3])
def test_one_family_of_nearly_everybody_is_one_sentence(n_people, others):
    said = f"{n_people - others} of {n_people} people belong to one family, and with them left out {others} are left to learn from"
    for fit in (ConnectomeGenerator().fit, ConnectomeGenerator(network=None).fit, fit_small(small_cohort(40)).finetune):
        with pytest.raises(ConnectomeError, match=said):
            fit(nearly_one_family(n_people, others))


@quiet
@pytest.mark.parametrize(("n_people", "others"), [(30, 10), (120, 12)])
def test_one_family_of_most_people_is_fitted_saved_and_drawn_from(n_people, others, tmp_path):
    cohort = nearly_one_family(n_people, others)
    tiny = NetworkConfig(epochs=1, context_width=8, region_width=4, rank=2)
    for number, fit in enumerate((ConnectomeGenerator(network=tiny).fit, fit_small(small_cohort(40, seed=9)).finetune)):
        model = fit(cohort)
        assert model.score["r2"] > -0.05  # by the few others' weights it would be far below
        again = ConnectomeGenerator.load(model.save(tmp_path / str(number)))
        assert np.isfinite(again.sample(cohort.phenotypes, seed=1).weights).all()
        assert np.isfinite(again.log_prob(cohort)).all()
        assert np.isfinite(again.standard_error(cohort.phenotypes)).all()


@quiet
def test_samples_and_changes_that_make_no_sense():
    cohort = small_cohort(40)
    model = fit_small(cohort)
    for ask, said in (
        (lambda: model.sample(cohort.phenotypes, n=2.5), "at least one sample a person, got n=2.5"),
        (lambda: model.sample(cohort.phenotypes, seed=-1), "seed as a whole number from 0 on, got -1"),
        (lambda: model.interpolate(cohort, {"age": []}), "name no value"),
    ):
        with pytest.raises(ConnectomeError, match=said):
            ask()
    assert len(model.interpolate(cohort, {"age": np.array(50.0)})) == 40


@pytest.mark.parametrize("seed", [-1, None, 1.5, "a"])
def test_seeds_that_are_none_are_refused_wherever_one_is_asked_for(small_model, seed):
    cohort = small_cohort(20)
    for ask in (small_model.deviation, lambda cohort, seed: small_model.interpolate(cohort, {"age": [50]}, seed)):
        with pytest.raises(ConnectomeError, match="expected seed as a whole number from 0 on"):
            ask(cohort, seed=seed)


def test_arguments_of_another_kind_are_a_sentence(small_model):
    table = plain_table(3)
    for ask, said in (
        (lambda: ConnectomeGenerator().fit(table), "expected a Cohort of observed connectomes, got DataFrame"),
        (lambda: ConnectomeGenerator(nuisance="sex").fit(None), "expected a Cohort of observed connectomes, got NoneType"),
        (lambda: RIVALS["ridge"]().fit(table), "expected a Cohort of observed connectomes, got DataFrame"),
        (lambda: small_model.sample(table, counts="no"), "expected counts as True, False, or None"),
        (lambda: small_model.expected(table, nuisance=table), "fitted without nuisance"),
        (lambda: small_model.log_prob(small_cohort(20), per=np.array(["edge"])), "per 'person' or per 'edge'"),
    ):
        with pytest.raises(ConnectomeError, match=said):
            ask()


@quiet
def test_a_model_whose_next_fit_fails_is_not_half_of_the_last_one():
    cohort = small_cohort(40)
    model = fit_small(cohort, network=None, sampler="copula", nuisance="sex")
    table = cohort.phenotypes.drop(columns="sex")
    assert len(model.expected(table)) == 40
    with pytest.raises(ConnectomeError, match="no phenotype 'sex'"):
        model.fit(small_cohort(40, phenotypes=table))
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        model.expected(cohort.phenotypes)


@quiet
@pytest.mark.parametrize("age", [1e15, -1e30, 1e300])
def test_numbers_that_no_person_has_lead_to_finite_answers(small_model, age):
    table = plain_table(4).assign(age=age)
    cohort = small_cohort(4, phenotypes=table)
    with np.errstate(all="raise", under="ignore"):
        weights = small_model.expected(table).weights, small_model.sample(table).weights
        others = small_model.standard_error(table), small_model.log_prob(cohort), small_model.deviation(cohort).people.to_numpy()
    assert all(np.isfinite(numbers).all() for numbers in (*weights, *others))


@quiet
def test_every_sampler_takes_two_families():
    table = plain_table(60).assign(family_id=["a"] * 30 + ["b"] * 30)
    for sampler in ("auto", "recombined"):
        finite_and_on_support(fit_small(small_cohort(60, phenotypes=table), network=None, sampler=sampler), table)


def test_samplers_that_do_not_exist_or_may_not_be():
    with pytest.raises(ConnectomeError, match="one of 'auto', 'copula', 'recombined', or a Recipe, got 'copy'"):
        ConnectomeGenerator(sampler="copy")
    with pytest.raises(ConnectomeError, match="leave sampler out"):
        ConnectomeGenerator(sampler="recombined", privacy=DifferentialPrivacy(1.0))


@quiet
def test_recombined_people_are_drawn_around_the_same_mean():
    """Other people than the copula's, with the same expectation, spread and log density."""
    cohort = small_cohort(60)
    plain, mixed = fit_small(cohort), fit_small(cohort, sampler="recombined")
    table = plain_table(30)
    assert mixed.expected(table).weights.tobytes() == plain.expected(table).weights.tobytes()
    one, other = (np.log1p(model.sample(table, 40, seed=1).weights) for model in (plain, mixed))
    assert one.tobytes() != other.tobytes()
    np.testing.assert_allclose(other.mean(), one.mean(), atol=0.05)
    assert np.median(other.std(0) / np.maximum(one.std(0), 1e-9)) == pytest.approx(1, abs=0.15)
    assert mixed.holds_training_people
    assert not plain.holds_training_people
    np.testing.assert_array_equal(mixed.log_prob(cohort), plain.log_prob(cohort))


@quiet
def test_generated_weights_carry_what_was_done_to_the_training_weights(tmp_path: Path):
    """Samples of a cohort that was normalised are on its scale, and scored against none on another."""
    cohort = small_cohort(60).normalise("max")
    train, test = cohort.split(0.6, seed=0)
    model = fit_small(train)
    model.save(tmp_path / "model")
    for one in (model, ConnectomeGenerator.load(tmp_path / "model")):
        people = one.sample(test.phenotypes, seed=1)
        assert people.info["processing"] == [{"step": "normalise", "method": "max"}]
    scores = ["spread_ratio"]
    assert evaluate(people, test, train, parts=scores, n_bootstrap=0, n_permutations=0).to_dict()["spread_ratio"]["value"] > 0
    others, measured = small_cohort(60).split(0.6, seed=0)
    said = r"generated cohort .* may not be on one scale: done to the first was normalise \(method max\), to the second "
    with pytest.raises(ConnectomeError, match=said + r"normalise \(method total\)"):
        evaluate(people, measured.normalise("total"), others.normalise("total"), parts=scores)
    with pytest.warns(ConnectomeWarning, match=said + "nothing"):
        evaluate(people, measured, others, parts=scores, n_bootstrap=0, n_permutations=0)


@pytest.mark.parametrize(("measure", "network"), [("sift2_fbc", None), ("sift2_fbc", FAST), ("pearson", None)])
def test_float32_and_float64_agree(measure, network):
    """Weights as float64, and as float32 that were rounded twice on their way: by up to two of its last places."""
    cohort = simulate_cohort(80, 8, 5, seed=1, measure=measure)
    exact = cohort.weights.astype(np.float64)
    away = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], exact.shape) * np.spacing(cohort.weights)
    single, double, moved = (
        ConnectomeGenerator(seed=0, network=network).fit(
            Cohort(weights, cohort.phenotypes, cohort.atlas, measure=measure, signed=cohort.signed, described=cohort.described)
        )
        for weights in (cohort.weights, exact, np.where(exact != 0, exact + away, 0))
    )
    table = cohort.phenotypes.iloc[:20]
    for other in (double, moved):
        np.testing.assert_allclose(modelled(other.expected(table)), modelled(single.expected(table)), atol=1e-4)
        np.testing.assert_allclose(modelled(other.sample(table, 3, seed=1)), modelled(single.sample(table, 3, seed=1)), atol=1e-4)
        np.testing.assert_allclose(other.log_prob(cohort) / cohort.n_edges, single.log_prob(cohort) / cohort.n_edges, atol=1e-4)
        np.testing.assert_allclose(other.standard_error(table), single.standard_error(table), atol=1e-4)
    assert double.expected(table).weights.tobytes() == single.expected(table).weights.tobytes()
    assert double.sample(table, 3, seed=1).weights.tobytes() == single.sample(table, 3, seed=1).weights.tobytes()

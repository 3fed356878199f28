"""Values of coalitions against loops over people, edges and orders, and against what simulated people are made of."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fitted import fit_small, small_cohort

import connectome_gnn as cg
from connectome_gnn.attribution.coalitions import Game, interaction_weights, sampled_shapley, shapley_weights
from connectome_gnn.attribution.explained import Observed, StrengthShares
from connectome_gnn.attribution.importance import effect_of, permutation_importances, permuted_within, strata_of, swapped
from connectome_gnn.attribution.mean_path import MeanPath
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Profiles
from connectome_gnn.evaluation import Comparison, Reference
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig
from connectome_gnn.generation.rivals import ComponentRidge, NearestPeople, Ridge, TrainingMean

QUICK: dict[str, Any] = {"n_bootstrap": 40, "n_permutations": 40, "n_jobs": 1}


@cache
def simulated() -> tuple[cg.Cohort, cg.Cohort, ComponentRidge]:
    """Training people, held-out ones, and a model of few features, on a strong signal."""
    train, test = cg.simulate_cohort(500, 16, 8, seed=3, explained=0.3).split(0.6, seed=0)
    return train, test, ComponentRidge(seed=0, age_terms=True).fit(train, distribution=False)


@cache
def generator() -> tuple[cg.Cohort, cg.ConnectomeGenerator]:
    """A generator whose network has learned nothing much but takes part, and the people."""
    cohort = small_cohort(80)
    model = fit_small(cohort)
    torch.manual_seed(0)
    k = min(5, model.space.n_components)
    model.members = [ConnectomeNetwork(model._task(np.ones(k, np.float32)), NetworkConfig()).eval()]
    for parameter in model.members[0].parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.gate = np.linspace(0.2, 1, k)
    return cohort, model


@cache
def explained() -> cg.Attribution:
    _, test, model = simulated()
    return cg.attribute(model, test, **QUICK)


def masked(table: pd.DataFrame, names: Any) -> pd.DataFrame:
    """The table with some phenotypes missing."""
    table = table.copy()
    table[list(names)] = np.nan
    return table


def standardised(model: Any, cohort: cg.Cohort) -> np.ndarray:
    """Modelled edges in training standard deviations, (N, kept edges)."""
    kept = model.space.kept
    values = cohort.scale.forward(cohort.weights)[:, kept].astype(float)
    return (values - model.space.mean[kept]) / model.space.std[kept]


def r2(model: Any, cohort: cg.Cohort, unknown: Any) -> float:
    x, d = standardised(model, cohort), model._deviation(masked(cohort.phenotypes, unknown))
    return 1 - ((x - d) ** 2).sum() / (x**2).sum()


def parts(model: Any, cohort: cg.Cohort, missing: str = "reference") -> tuple[Game, Observed]:
    encoded = model.schema.encode(cohort.phenotypes)
    predictor = Predictor.of(model, encoded)
    players = {group: tuple(model.schema.names.index(n) for n in names) for group, names in model.schema.groups.items()}
    game = Game(predictor, Profiles.of(model.schema, encoded, 0), players, missing)  # type: ignore[arg-type]
    return game, Observed.of(cohort, model.space, predictor.basis)


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")
def test_the_score_is_that_of_the_evaluation() -> None:
    train, test, model = simulated()
    sums = Comparison.of(model.expected(test.phenotypes), test, Reference.of(train), n_bootstrap=0).sums
    evaluated = 1 - sums.error.sum() / sums.error_of_mean.sum()
    # What is evaluated are weights, which are never below 0.
    assert explained().scores.loc["full", "value"] == pytest.approx(evaluated, abs=1e-3)
    assert explained().scores.loc["full", "value"] == pytest.approx(r2(model, test, []), abs=2e-5)


@pytest.mark.parametrize("rival", [Ridge, NearestPeople, TrainingMean])
def test_coordinates_are_what_any_model_predicts(rival: Any) -> None:
    train, test, _ = simulated()
    model = rival(seed=0).fit(train, distribution=False)
    game, _ = parts(model, test)
    unknown = model.schema.groups["body"]
    player = list(game.players).index("body")
    np.testing.assert_allclose(game.without(player) @ game.predictor.basis, model._deviation(masked(test.phenotypes, unknown)), atol=2e-5)


def test_a_generator_with_its_network_knows_missing_phenotypes() -> None:
    cohort, model = generator()
    game, seen = parts(model, cohort)
    player = list(game.players).index("body")
    np.testing.assert_allclose(
        game.without(player) @ game.predictor.basis, model._deviation(masked(cohort.phenotypes, ["height"])), atol=2e-5
    )
    assert seen.gain(game.full()).sum() / seen.total.sum() == pytest.approx(r2(model, cohort, []), abs=1e-5)


@pytest.mark.parametrize("strength", ["keep", "remove"])
def test_what_is_explained_of_each_region_by_loops_over_its_edges(strength: Any) -> None:
    _, test, model = simulated()
    game, _ = parts(model, test)
    basis = game.predictor.basis
    seen = Observed.of(test, model.space, basis, strength)
    x, d = standardised(model, test), (game.full() @ basis).astype(float)
    if strength == "remove":
        weight = model.space.std[model.space.kept].astype(float)
        total = x @ weight
        share = np.array([np.polyfit(total, edge, 1)[0] for edge in x.T])
        x, d = x - np.outer(total, share), d - np.outer(d @ weight, share)
        assert np.abs(x @ weight).max() < 1e-9
    rows, columns = (ends[model.space.kept] for ends in np.triu_indices(16, 1))
    for region in (0, 9):
        edges = (rows == region) | (columns == region)
        by_hand = (x[:, edges] ** 2).sum(1) - ((x - d)[:, edges] ** 2).sum(1)
        np.testing.assert_allclose(seen.region_gains(game.full(), game.full())[:, region, 0], by_hand, atol=1e-3)
        np.testing.assert_allclose(seen.region_gains(game.full(), game.full())[:, region, 1], (d[:, edges] ** 2).sum(1), atol=1e-3)
        np.testing.assert_allclose(seen.region_total[:, region], (x[:, edges] ** 2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(seen.gain(game.full()), (x**2).sum(1) - ((x - d) ** 2).sum(1), atol=1e-2)
    np.testing.assert_allclose(seen.region_gains(game.full(), game.full()).sum(1) / 2, seen.gains(game.full(), game.full()), atol=1e-2)


def test_shapley_values_by_all_orders() -> None:
    _, test, model = simulated()
    groups = model.schema.groups
    found = explained().groups.query("method == 'shapley' and missing == 'reference'").set_index("group")["value"]

    def value(known: tuple[str, ...]) -> float:
        return r2(model, test, [name for group, names in groups.items() if group not in known for name in names])

    by_hand = dict.fromkeys(groups, 0.0)
    orders = list(permutations(groups))
    for order in orders:
        for place, group in enumerate(order):
            by_hand[group] += (value(order[: place + 1]) - value(order[:place])) / len(orders)
    for group in groups:
        assert found[group] == pytest.approx(by_hand[group], abs=3e-5)
    contribution = explained().groups.query("method == 'contribution' and missing == 'reference'").set_index("group")["value"]
    assert contribution["body"] == pytest.approx(r2(model, test, []) - r2(model, test, groups["body"]), abs=3e-5)
    share = explained().groups.query("method == 'contribution' and missing == 'reference'").set_index("group")["share"]
    full, null = r2(model, test, []), r2(model, test, model.schema.names)
    assert share["body"] == pytest.approx(contribution["body"] / (full - null), rel=1e-3)


def test_weights_of_a_game_done_by_hand() -> None:
    # v = 2 for {0}, 3 for {1}, 10 for both: phi = 4.5 and 5.5, interaction 5.
    values = {frozenset(): 0.0, frozenset({0}): 2.0, frozenset({1}): 3.0, frozenset({0, 1}): 10.0}
    np.testing.assert_allclose(sum(v * shapley_weights(2, s) for s, v in values.items()), [4.5, 5.5])
    assert sum(v * interaction_weights(2, s) for s, v in values.items())[0, 1] == 5


def test_sampled_values_lie_within_their_error_of_exact_ones() -> None:
    _, test, model = simulated()
    game, seen = parts(model, test)
    singles = Game(game.predictor, game.profiles, {name: (number,) for number, name in enumerate(model.schema.names)}, "reference")
    total = seen.total.sum()
    exact = np.zeros(len(singles))
    for coalition in singles.coalitions():
        exact += shapley_weights(len(singles), coalition) * seen.gain(singles.coordinates(coalition)).sum() / total
    found = sampled_shapley(singles, seen.gain, 3, 0)
    error = np.sqrt(found.variance.sum(0)) / total
    assert (error > 0).all() and (error < 1e-3).all()
    z = (found.gains.sum(0) / total - exact) / error
    assert np.abs(z).max() < 4 and np.abs(z).max() > 0.05
    np.testing.assert_allclose(found.gains.sum(1), seen.gain(game.full()) - seen.gain(game.coordinates(frozenset())), atol=1e-6)


def test_conditional_predictions_of_a_linear_model_are_those_at_the_conditional_mean() -> None:
    train, test, _ = simulated()
    model = Ridge(seed=0).fit(train, distribution=False)
    game, _ = parts(model, test, "conditional")
    player = list(game.players).index("body")
    encoded = game.profiles.encoded
    gone = np.isin(encoded.owner, game.players["body"])
    covariance = model.schema.covariance
    expected = encoded.values.copy()
    expected[:, gone] = encoded.values[:, ~gone] @ np.linalg.solve(covariance[np.ix_(~gone, ~gone)], covariance[np.ix_(~gone, gone)])
    expected[encoded.missing[:, encoded.owner] & gone] = 0
    by_hand = (expected - model.features.mean[: expected.shape[1]]) / model.features.scale[: expected.shape[1]]
    used = model.features.select("linear")
    features = np.zeros((len(test), len(used)))
    features[:, used] = by_hand
    deviation = (features - np.where(used, model.centre, 0)) @ np.where(used[:, None], model.maps, 0)
    np.testing.assert_allclose(game.without(player) @ game.predictor.basis, deviation, atol=1e-4)


def test_conditional_values_tell_what_correlated_groups_share() -> None:
    by = {
        m: explained().groups.query(f"method == 'contribution' and missing == '{m}'").set_index("group")["value"]
        for m in ("reference", "conditional")
    }
    # Age and sex go with body measures: what these tell of them is not lost with them.
    assert by["conditional"]["age_sex"] < by["reference"]["age_sex"]


def test_strata_hold_ten_people_alike_and_permutations_stay_inside() -> None:
    _, test, model = simulated()
    game, _ = parts(model, test, "conditional")
    player = list(game.players).index("body")
    strata = strata_of(game, player, effect_of(game, player))
    assert np.bincount(strata).min() >= 10
    order = permuted_within(strata, np.random.default_rng(0))
    assert sorted(order) == list(range(len(test))) and (strata[order] == strata).all() and (order != np.arange(len(test))).mean() > 0.8
    sex = (test.phenotypes["sex"] == "M").to_numpy()
    assert np.mean([sex[strata == s].var() for s in np.unique(strata)]) < 0.6 * sex.var()  # height and weight go with sex


@pytest.mark.parametrize("missing", ["reference", "conditional"])
def test_one_permutation_of_what_is_the_same_in_everybody_tells_all_pairs(missing: str) -> None:
    train, test, _ = simulated()
    test = test.take(slice(0, 60))
    game, seen = parts(Ridge(seed=0).fit(train, distribution=False), test, missing)
    full, everybody = game.full(), np.arange(len(test))
    for part in permutation_importances(game, seen, regions=True, seed=[0], n_permuted=1):
        numbers = list(game.players.values())[part.player]
        strata = strata_of(game, part.player, effect_of(game, part.player)) if missing == "conditional" else np.zeros(len(test), int)
        pairs = np.full((len(test), len(test), 2), np.nan)  # who is predicted, whose values, measured and implied
        for donor in everybody:
            swap = game.predictor.coordinates(swapped(game.profiles, numbers, np.full(len(test), donor)))
            alike = strata == strata[donor]
            pairs[alike, donor] = (seen.gains(full, full) - seen.gains(swap, full))[alike]
        as_host, as_donor = np.nanmean(pairs, 1), np.nanmean(pairs, 0)
        of_stratum = np.array([np.nanmean(as_host[strata == one], 0) for one in strata])
        assert part.everything.sum() == pytest.approx(as_host[:, 0].sum(), rel=1e-4, abs=1e-2)
        np.testing.assert_allclose(part.implied, (as_host + as_donor - of_stratum)[:, 1], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(part.regions.sum(1)[:, 0] / 2, part.everything, rtol=1e-3, atol=1e-2)


def test_permutations_of_interacting_phenotypes_are_right_on_average_and_count_their_chance_once() -> None:
    _, test, model = simulated()
    test = test.take(slice(0, 60))
    game, seen = parts(model, test)
    player = list(game.players).index("age_sex")
    numbers, full = game.players["age_sex"], game.full()
    donors = (game.predictor.coordinates(swapped(game.profiles, numbers, np.full(len(test), one))) for one in range(len(test)))
    truth = seen.gain(full) - np.mean([seen.gain(swap) for swap in donors], 0)
    drawn = [list(permutation_importances(game, seen, regions=False, seed=[seed], n_permuted=3))[player].everything for seed in range(40)]
    chance = np.std([part.sum() for part in drawn], ddof=1)
    assert abs(np.mean([part.sum() for part in drawn]) - truth.sum()) < 4 * chance / np.sqrt(40)
    # What chance adds to the variance that parts of people show is what it adds to their sum.
    own = np.sum((np.mean(drawn, 0) - np.mean(drawn)) ** 2)
    shown = np.mean([np.sum((part - part.mean()) ** 2) for part in drawn]) - own
    assert 0.4 * chance**2 < shown < 2.5 * chance**2


def test_total_strength_is_one_direction() -> None:
    _, test, model = simulated()
    shares = StrengthShares.of(test, model.space)
    x = standardised(model, test).astype(np.float32)
    assert shares.weight @ shares.share == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(shares.without(shares.without(x)), shares.without(x), atol=2e-3)


def test_truth_of_a_strong_signal() -> None:
    _, test, _ = simulated()
    why = explained()
    share = why.groups.query("method == 'shapley' and missing == 'reference'").set_index("group")["share"]
    truth = test.truth.by_group["share"]
    assert (share - truth).abs().max() < 0.08
    moved = why.phenotypes.query("method == 'sensitivity' and missing == 'reference'").set_index("phenotype")["value"]
    assert moved.corr(test.truth.by_phenotype["variance"], method="spearman") > 0.85
    region = why.region_map()["value"]
    assert region.corr(test.truth.by_region["all"], method="spearman") > 0.8
    ratio = why.ratio(["age_sex", "body"], ["cognition", "lifestyle"])
    assert 2 < ratio.low < ratio.value < ratio.high < 10


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")
def test_a_fine_tuned_model_is_attributed_with_its_source() -> None:
    source = simulated()[0]
    small, fresh = (cg.simulate_cohort(100, 16, 8, seed=3, people_seed=9, explained=0.3).take(rows) for rows in (range(40), range(40, 100)))
    tuned = cg.ConnectomeGenerator(seed=0, network=None).fit(source, distribution=False).finetune(small, distribution=False)
    assert tuned.transfer is not None and tuned.transfer.gain > 0
    # A level that only the source knows is not known of people here.
    fresh = fresh.take(np.flatnonzero(fresh.phenotypes["smoking"].isin(small.phenotypes["smoking"].dropna().unique())))
    why = cg.attribute(tuned, fresh, by=("group",), **QUICK)
    assert why.scores["value"]["full"] == pytest.approx(r2(tuned, fresh, []), rel=1e-4)
    why.validate()
    assert any("gradients" in note for note in why.notes)
    with pytest.raises(cg.ConnectomeError, match="fine-tuned"):
        MeanPath(tuned)


def test_columns_that_are_the_same_for_all_held_out_people_are_no_copies() -> None:
    _, test, model = simulated()
    encoded = model.schema.encode(test.phenotypes)
    women = np.flatnonzero(test.phenotypes["sex"] == "F")
    assert Profiles.of(model.schema, encoded, 0).take(women).copies == ()
    few = [Profiles.of(model.schema, model.schema.encode(test.phenotypes.iloc[rows]), 0) for rows in (women, slice(2), slice(3))]
    assert [profiles.copies for profiles in few] == [(), (), ()]


def test_a_group_may_be_called_like_a_phenotype() -> None:
    train, test, _ = simulated()
    described = {
        name: {**entry, "Group": "sex" if entry.get("Group") == "body" else entry.get("Group")} for name, entry in train.described.items()
    }
    train, test = (
        cg.Cohort(part.weights, part.phenotypes, part.atlas, measure=part.measure, described=described) for part in (train, test)
    )
    why = cg.attribute(
        ComponentRidge(seed=0).fit(train, distribution=False), test, by=("group", "phenotype"), missing=("reference",), **QUICK
    )
    assert "sex" in set(why.groups["group"]) and "sex" in set(why.phenotypes["phenotype"])


def test_maps_without_total_strength_leave_the_groups_as_they_are() -> None:
    _, test, model = simulated()
    why = cg.attribute(model, test, methods=("contribution",), by=("group", "region"), global_strength=("remove",), **QUICK)
    whole = explained().groups.query("method == 'contribution'")
    np.testing.assert_allclose(why.groups["value"], whole["value"], rtol=1e-6)
    assert set(why.regions["global_strength"]) == {"remove"}


def test_where_the_others_tell_nothing_all_people_are_one_stratum() -> None:
    _, test, model = simulated()
    encoded = model.schema.encode(test.phenotypes)
    everything = {"all": tuple(range(len(model.schema.names)))}
    game = Game(Predictor.of(model, encoded), Profiles.of(model.schema, encoded, 0), everything, "conditional")
    assert (strata_of(game, 0, effect_of(game, 0)) == 0).all()

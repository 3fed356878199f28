"""What was asked for and cannot be had is refused or said; users' mistakes are answered in a sentence; many groups are sampled."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import fit_small, small_cohort
from tiny import make_atlas

import connectome_gnn as cg
from connectome_gnn.attribution import (
    compare_maps,
    effect_map,
    enrichment,
    integrated_gradients,
    mean_weight,
    region_strength,
    regional_gradients,
    spin_orders,
    trajectory,
    variogram_surrogates,
)
from connectome_gnn.attribution.coalitions import Game, sampled_together, shapley_weights
from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Profiles
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.generation.rivals import ComponentRidge

QUICK: dict[str, Any] = {"n_bootstrap": 20, "n_permutations": 20, "n_jobs": 1}


@cache
def generator() -> cg.ConnectomeGenerator:
    return fit_small(small_cohort(80).take(slice(0, 60)))


@cache
def ridge() -> ComponentRidge:
    return ComponentRidge(seed=0).fit(small_cohort(80).take(slice(0, 60)), distribution=False)


def held_out() -> cg.Cohort:
    return small_cohort(80).take(slice(60, 80))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": "gradient"}, "not fine-tuned"),
        ({"score": "capture", "methods": ("gradient", "permutation")}, "'contribution', 'shapley' alone"),
        ({"score": "capture", "by": "region"}, "one number for the whole brain"),
        ({"score": "capture", "missing": "conditional"}, "missing only"),
        ({"score": "capture", "global_strength": "remove"}, "no maps"),
        ({"by": "group", "global_strength": "remove"}, "by= asks for none"),
    ],
)
def test_what_cannot_be_had_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        cg.attribute(ridge(), held_out(), **settings, **QUICK)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("gradient", "contribution")}, "methods: 'gradient' left out"),
        ({"by": ("group",), "phenotypes": ["age"]}, "by='phenotype', which was not asked for"),
        ({"by": ("group",), "global_strength": ("keep", "remove")}, "global_strength: 'remove' left out"),
    ],
)
def test_what_is_left_out_is_said_once(settings: dict[str, Any], message: str) -> None:
    with pytest.warns(ConnectomeWarning, match=message) as told:
        cg.attribute(ridge(), held_out(), **{"by": ("group",), "missing": ("reference",), **settings}, **QUICK)
    assert len(told) == 1


def test_defaults_are_what_can_be_had_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConnectomeWarning)
        cg.attribute(ridge(), held_out(), **QUICK)


@cache
def many_groups() -> tuple[cg.Cohort, cg.Cohort, ComponentRidge]:
    """12 phenotypes, each a group of its own."""
    cohort = cg.simulate_cohort(260, 12, 12, seed=1, explained=0.3)
    described = {name: {**entry, "Group": f"group of {name}"} for name, entry in cohort.described.items()}
    cohort = cg.Cohort(cohort.weights, cohort.phenotypes, cohort.atlas, measure=cohort.measure, described=described)
    train, test = cohort.split(0.7, seed=0)
    return train, test, ComponentRidge(seed=0).fit(train, distribution=False)


@pytest.mark.parametrize("missing", ["reference", "conditional"])
def test_more_than_ten_groups_are_sampled_with_their_error(missing: Any) -> None:
    _, test, model = many_groups()
    why = cg.attribute(model, test, methods=("shapley", "contribution"), by=("group", "region"), missing=(missing,), **QUICK)
    rows = why.groups.query("method == 'shapley'").set_index("group")
    assert len(rows) == len(model.schema.groups) > 10
    null = "null" if missing == "reference" else "null, conditional"
    assert rows["value"].sum() == pytest.approx(why.scores.loc["full", "value"] - why.scores.loc[null, "value"], abs=1e-6)
    assert (rows["error"] >= 0).all() and rows["error"].max() < 0.02 and why.validate()["passed"].all()
    assert any("groups are sampled" in note for note in why.notes)
    assert len(why.region_map(rows["value"].idxmax(), missing=missing)) == 12
    # What is sampled is what all coalitions say, within its error.
    encoded = model.schema.encode(test.phenotypes)
    players = {group: tuple(model.schema.names.index(name) for name in names) for group, names in model.schema.groups.items()}
    game = Game(Predictor.of(model, encoded), Profiles.of(model.schema, encoded, 0), players, missing)
    seen = Observed.of(test, model.space, game.predictor.basis, regions=False)
    if missing == "reference":
        exact = sum(shapley_weights(len(game), some) * seen.gain(game.coordinates(some)).sum() for some in game.coalitions())
        z = (rows["value"] - exact / seen.total.sum()) / rows["error"].clip(lower=1e-6)
        assert z.abs().max() < 4.5


def test_orders_that_everybody_shares_give_the_exact_values_of_a_small_game() -> None:
    values = {frozenset(): 0.0, frozenset({0}): 2.0, frozenset({1}): 3.0, frozenset({0, 1}): 10.0}
    found, error = sampled_together(lambda some: np.array([values[some]]), 2, 4, 0, lambda step: float(step[0]))
    np.testing.assert_allclose(found[:, 0], [4.5, 5.5])  # an order and its reverse are all orders of two
    np.testing.assert_allclose(error, 0, atol=1e-12)


def test_many_groups_of_a_score_of_samples() -> None:
    cohort = small_cohort(80)
    described = {name: {**entry, "Group": f"g{name}"} for name, entry in cohort.described.items()}
    model = generator()
    why = cg.attribute(model, held_out(), score="strength", missing="reference", n_samples=1, **QUICK)
    assert why.groups["error"].isna().all() and len(described) >= len(model.schema.names) - 1


NAN_PROFILE = {"age": np.inf}


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")
@pytest.mark.parametrize(
    "mistake",
    [
        lambda m, c: cg.attribute(m, c, methods=[]),
        lambda m, c: cg.attribute(m, c, methods=3),
        lambda m, c: cg.attribute(m, c, methods=[["shapley"]]),
        lambda m, c: cg.attribute(m, c, by=None),
        lambda m, c: cg.attribute(m, c, phenotypes=[]),
        lambda m, c: cg.attribute(m, c, phenotypes=[1]),
        lambda m, c: cg.attribute(m, c, score=3),
        lambda m, c: cg.attribute(m, c, score="no measure"),
        lambda m, c: cg.attribute(m, c, score=lambda generated, real: "text", missing="reference", by="group"),
        lambda m, c: cg.attribute(m, c, score=lambda generated, real: np.zeros(3), missing="reference", by="group"),
        lambda m, c: cg.attribute(m, c, n_bootstrap=-1),
        lambda m, c: cg.attribute(m, c, n_bootstrap=2.5),
        lambda m, c: cg.attribute(m, c, n_jobs=0),
        lambda m, c: cg.attribute(m, c, n_jobs="all"),
        lambda m, c: cg.attribute(m, c, seed="one"),
        lambda m, c: cg.attribute(m, c.take([0])),
        lambda m, c: cg.attribute(m, c.phenotypes),
        lambda m, c: cg.attribute(None, c),
        lambda m, c: cg.attribute(cg.ConnectomeGenerator(), c),
        lambda m, c: cg.attribute(m, small_cohort(20, n_regions=7)),
        lambda m, c: effect_map(m, 3),
        lambda m, c: effect_map(m, ""),
        lambda m, c: effect_map(m, "age"),
        lambda m, c: effect_map(m, {"age": (50,)}),
        lambda m, c: effect_map(m, {"age": (50, np.nan)}),
        lambda m, c: effect_map(m, "iq: 1 -> 2"),
        lambda m, c: effect_map(m, "sex: F -> X"),
        lambda m, c: effect_map(m, "sex: +1 SD"),
        lambda m, c: effect_map(m, "age: 50 -> 60", at=[1, 2]),
        lambda m, c: effect_map(m, "age: 50 -> 60", at=c.phenotypes.iloc[:0]),
        lambda m, c: effect_map(m, "age: 50 -> 60", at=c.phenotypes[["age"]]),
        lambda m, c: effect_map(m, "age: 50 -> 60", at={"iq": 3}),
        lambda m, c: effect_map(m, "age: 50 -> 60", at=NAN_PROFILE),
        lambda m, c: effect_map(m, "age: 50 -> 60", scale="log"),
        lambda m, c: effect_map(m, "age: 50 -> 60", confidence="high"),
        lambda m, c: effect_map(m, "age: 50 -> 60", n_refits=3),
        lambda m, c: effect_map(m, "age: 50 -> 60", n_refits="many", training=c),
        lambda m, c: effect_map(None, "age: 50 -> 60"),
        lambda m, c: effect_map(cg.ConnectomeGenerator(), "age: 50 -> 60"),
        lambda m, c: trajectory(m, "iq"),
        lambda m, c: trajectory(m, ["age"]),
        lambda m, c: trajectory(m, "age", by="height"),
        lambda m, c: trajectory(m, "age", by="iq"),
        lambda m, c: trajectory(m, "age", measure="no measure"),
        lambda m, c: trajectory(m, "age", measure=3),
        lambda m, c: trajectory(m, "age", values=[]),
        lambda m, c: trajectory(m, "age", values=["old"]),
        lambda m, c: trajectory(m, "age", values=50),
        lambda m, c: trajectory(m, "age", most_people="all"),
        lambda m, c: trajectory(m, "age", confidence="high"),
        lambda m, c: trajectory(None, "age"),
        lambda m, c: trajectory(m, "age", at=c.phenotypes.iloc[:0]),
        lambda m, c: integrated_gradients(None, c.phenotypes, region_strength(c.atlas, c.atlas.labels[0])),
        lambda m, c: integrated_gradients(m, "people", region_strength(c.atlas, c.atlas.labels[0])),
        lambda m, c: integrated_gradients(m, c.phenotypes.iloc[:0], region_strength(c.atlas, c.atlas.labels[0])),
        lambda m, c: integrated_gradients(m, c.phenotypes, "strength"),
        lambda m, c: integrated_gradients(m, c.phenotypes, lambda matrices: matrices),
        lambda m, c: integrated_gradients(m, c.phenotypes, lambda matrices: 1.0),
        lambda m, c: integrated_gradients(m, c.phenotypes, region_strength(c.atlas, c.atlas.labels[0]), n_steps=0),
        lambda m, c: integrated_gradients(m, c.phenotypes, region_strength(c.atlas, c.atlas.labels[0]), baseline="zero"),
        lambda m, c: integrated_gradients(m, c.phenotypes, region_strength(c.atlas, c.atlas.labels[0]), engine="theirs"),
        lambda m, c: region_strength(c.atlas, "no region"),
        lambda m, c: region_strength("atlas", "no region"),
        lambda m, c: mean_weight(c.atlas, "no network"),
        lambda m, c: mean_weight("atlas", "Visual"),
        lambda m, c: regional_gradients(None, c.phenotypes),
        lambda m, c: regional_gradients(m, None),
        lambda m, c: regional_gradients(m, c.phenotypes.iloc[:0]),
        lambda m, c: regional_gradients(m, c.phenotypes, most_people=0),
        lambda m, c: regional_gradients(m, c.phenotypes, n_steps=1.5),
        lambda m, c: regional_gradients(m, c.phenotypes, confidence="high"),
        lambda m, c: regional_gradients(m, c.phenotypes, baseline="zero"),
        lambda m, c: regional_gradients(m, c.phenotypes, n_bootstrap=-1),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(mistake: Any) -> None:
    with pytest.raises(ConnectomeError) as told:
        mistake(generator(), held_out())
    assert len(str(told.value)) > 20


FRONT = np.arange(12.0)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda a: compare_maps(FRONT[:5], FRONT, a),
        lambda a: compare_maps("map", FRONT, a),
        lambda a: compare_maps(None, FRONT, a),
        lambda a: compare_maps(np.where(FRONT == 3, np.nan, FRONT), FRONT, a),
        lambda a: compare_maps(FRONT, FRONT, "atlas"),
        lambda a: compare_maps(FRONT, FRONT, a, null="shuffle"),
        lambda a: compare_maps(FRONT, FRONT, a, method="kendall"),
        lambda a: compare_maps(FRONT, FRONT, a, n=0),
        lambda a: compare_maps(FRONT, FRONT, a, assignment="any"),
        lambda a: compare_maps(pd.Series(FRONT, index=[f"x{n}" for n in range(12)]), FRONT, a),
        lambda a: enrichment(FRONT, a, systems=["a"] * 12),
        lambda a: enrichment(FRONT, a, systems=["a", "b"]),
        lambda a: enrichment(FRONT, a, systems=3),
        lambda a: enrichment(FRONT, "atlas"),
        lambda a: enrichment(FRONT, a, null="shuffle"),
        lambda a: spin_orders("atlas"),
        lambda a: spin_orders(a, -1),
        lambda a: spin_orders(a, "many"),
        lambda a: variogram_surrogates(FRONT, np.zeros((3, 3))),
        lambda a: variogram_surrogates(FRONT, "far"),
        lambda a: variogram_surrogates("map", np.ones((12, 12))),
        lambda a: variogram_surrogates(FRONT, np.ones((12, 12)), -1),
        lambda a: variogram_surrogates(FRONT, np.full((12, 12), np.nan)),
    ],
)
def test_a_mistake_about_maps_is_answered_in_a_sentence(mistake: Any) -> None:
    with pytest.raises(ConnectomeError) as told:
        mistake(make_atlas(12))
    assert len(str(told.value)) > 20


def test_people_of_a_family_count_once_in_regional_gradients() -> None:
    table = held_out().phenotypes.iloc[:8]
    twice = table.iloc[np.repeat(np.arange(8), 2)]
    twice.index = pd.Index([f"p{n}" for n in range(16)], name="participant_id")
    twice = twice.assign(family_id=np.repeat([f"f{n}" for n in range(8)], 2))
    settings: dict[str, Any] = {"n_steps": 2, "n_bootstrap": 100}
    single, double, apart = (
        regional_gradients(generator(), some, **settings).by_group() for some in (table, twice, twice.drop(columns="family_id"))
    )
    np.testing.assert_allclose(single, double, rtol=1e-4)
    width = lambda found: (found["high"] - found["low"]).mean()  # noqa: E731
    assert width(apart) < 0.85 * width(double)

"""Estimates of many phenotypes: nearer the truth than what was measured alone, with intervals that hold, and sums that stay."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import connectome_gnn as cg
from connectome_gnn.attribution.coalitions import Game
from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.importance import contributions, exact_shapley, permutation_importances
from connectome_gnn.attribution.intervals import Bootstrap
from connectome_gnn.attribution.path_gradients import path_gradients
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Profiles
from connectome_gnn.attribution.shrinkage import Estimate, estimated, shrinkage
from connectome_gnn.generation.rivals import ComponentRidge

QUICK: dict[str, Any] = {"n_bootstrap": 200, "n_permutations": 0, "n_jobs": 1}
N, P = 120, 30


def drawn(seed: int, slope: float, own: float) -> tuple[NDArray[np.float64], Estimate]:
    """True importances (P,), and their estimate from people who measure each with noise; the model is wrong by a common share and more."""
    draw = np.random.default_rng(seed)
    implied = draw.gamma(0.5, 0.02, P)
    error = 0.02 * np.sqrt(implied)
    truth = (1 + slope) * implied + own * error * draw.standard_normal(P)
    of_people = implied * (1 + 0.3 * draw.standard_normal((N, P)))
    measured = of_people + truth - implied + np.sqrt(N) * error * draw.standard_normal((N, P))
    return truth, estimated(Bootstrap.of(np.arange(N), 300, seed), measured, of_people, np.ones(N))


@pytest.mark.parametrize(("slope", "own"), [(0.0, 0.0), (-0.5, 0.3), (0.3, 1.0), (-2.0, 0.0), (0.0, 5.0)])
def test_estimates_are_nearer_and_their_intervals_hold(slope: float, own: float) -> None:
    errors, raw_errors, held, narrower = [], [], [], []
    for seed in range(20):
        truth, found = drawn(seed, slope, own)
        errors.append(np.mean((found.value.value - truth) ** 2))
        raw_errors.append(np.mean((found.raw.value - truth) ** 2))
        held.append(((found.value.low <= truth) & (truth <= found.value.high)).mean())
        narrower.append(np.mean(found.value.high - found.value.low) / np.mean(found.raw.high - found.raw.low))
        assert found.value.value.sum() == pytest.approx(found.raw.value.sum(), abs=1e-12)
    # Where the model is right of each, nobody knows it beforehand, and intervals are wider than they need be.
    assert np.mean(held) >= 0.92 and (own < 1 or np.mean(held) <= 0.985)
    ratio, width = np.sqrt(np.mean(errors) / np.mean(raw_errors)), np.mean(narrower)
    if own < 1:
        assert ratio < 0.75 and width < 0.85
    else:  # where phenotypes' own corrections are as large as the noise, held-out people are heard
        assert ratio < 1.03 and width < 1.05


def test_little_spread_is_noise_and_much_is_not() -> None:
    assert shrinkage(0.8, 50)[0] > 0.85 and shrinkage(20.0, 50)[0] < 0.06
    # Of one correction hardly anything is known: the prior stays wide.
    assert 0.3 < shrinkage(1.0, 1)[0] < 0.7 and shrinkage(1.0, 1)[1] > 0.05
    grid = np.linspace(1e-6, 1, 100_001)
    density = grid ** (7 / 2) * np.exp(-grid * 7 * 1.4 / 2)
    mean = (grid * density).sum() / density.sum()
    np.testing.assert_allclose(shrinkage(1.4, 7), [mean, ((grid - mean) ** 2 * density).sum() / density.sum()], rtol=1e-3)


def test_few_phenotypes_and_models_that_say_nothing_stay_as_measured() -> None:
    draw = np.random.default_rng(0)
    measured, implied = draw.standard_normal((50, 3)), draw.random((50, 3))
    bootstrap = Bootstrap.of(np.arange(50), 50, 0)
    few = estimated(bootstrap, measured, implied, np.ones(50))
    np.testing.assert_array_equal(few.value.value, few.raw.value)
    measured, implied = draw.standard_normal((50, 6)), np.zeros((50, 6))
    nothing = estimated(bootstrap, measured, implied, np.ones(50))
    np.testing.assert_array_equal(nothing.value.value, nothing.raw.value)
    implied = draw.random((50, 6))
    measured[:, 2] = implied[:, 2] = 0
    found = estimated(bootstrap, measured, implied, np.ones(50)).value
    assert found.value[2] == found.low[2] == found.high[2] == 0


@cache
def simulated() -> tuple[cg.Cohort, cg.Cohort, cg.Cohort]:
    """Training people, held-out people, and many fresh ones of the same world."""
    cohort = cg.simulate_cohort(500, 14, 24, seed=5)
    train, test = cohort.split(0.7, seed=0)
    return train, test, cg.simulate_cohort(3000, 14, 24, seed=5, people_seed=77)


def test_what_is_implied_is_measured_on_people_whom_the_model_has_right() -> None:
    train, test, _ = simulated()
    model = cg.ConnectomeGenerator(seed=0, network=None).fit(train, distribution=False)
    encoded = model.schema.encode(test.phenotypes)
    predictor, profiles = Predictor.of(model, encoded), Profiles.of(model.schema, encoded, 0)
    some, every = ({name: (number,) for number, name in enumerate(model.schema.names[:most])} for most in (4, None))
    game = Game(predictor, profiles, some, "reference")
    seen = Observed.of(test, model.space, predictor.basis)
    full = game.full()
    there = np.einsum("nl,rlk->nrk", full, seen.region_gram).astype(np.float32)
    right = replace(seen, along=full.astype(float) @ seen.gram, region_along=there)
    methods = (contributions, exact_shapley, partial(permutation_importances, seed=[0], n_permuted=3))
    for method in methods:
        for part, of_right in zip(method(game, seen, regions=True), method(game, right, regions=True), strict=True):
            np.testing.assert_allclose(part.regions[..., 1], of_right.regions[..., 0], atol=1e-2)
            np.testing.assert_allclose(of_right.regions[..., 1], of_right.regions[..., 0], atol=1e-2)
            np.testing.assert_allclose(part.implied, of_right.everything, atol=1e-3)
            np.testing.assert_allclose(of_right.implied, of_right.everything, atol=1e-3)
    found, there = (path_gradients(model, encoded, people, predictor) for people in (seen, right))
    np.testing.assert_allclose(found[..., 1], there[..., 0], atol=1e-2)
    nothing = Game(predictor, profiles, every, "reference").coordinates(frozenset())
    np.testing.assert_allclose(found[..., 0].sum(1), seen.gain(game.full()) - seen.gain(nothing), atol=0.5)


def test_phenotypes_of_few_held_out_people_are_ranked_by_their_estimates() -> None:
    train, test, fresh = simulated()
    model = ComponentRidge(seed=0, age_terms=True).fit(train, distribution=False)
    settings: dict[str, Any] = {"by": ("phenotype",), "methods": ("contribution", "shapley"), "missing": ("reference",)}
    found = cg.attribute(model, test, **settings, **QUICK)
    truth = cg.attribute(model, fresh, **settings, **{**QUICK, "n_bootstrap": 0}).phenotypes.set_index(["method", "phenotype"])["raw"]
    assert found.validate()["passed"].all() and found.validate()["check"].str.contains("raw Shapley").any()
    assert any("raw is what was measured" in note for note in found.notes)
    for _, rows in found.phenotypes.groupby("method"):
        rows = rows.set_index(["method", "phenotype"])
        true = truth[rows.index]
        assert ((rows["value"] - true) ** 2).sum() < 0.8 * ((rows["raw"] - true) ** 2).sum()
        assert rows["value"].corr(true, method="spearman") >= rows["raw"].corr(true, method="spearman")
        assert ((rows["low"] <= true) & (true <= rows["high"])).mean() >= 0.85
        assert (rows["high"] - rows["low"]).mean() < (rows["raw_high"] - rows["raw_low"]).mean()


def test_regions_of_few_held_out_people_are_ranked_by_their_estimates() -> None:
    train, test, fresh = simulated()
    model = ComponentRidge(seed=0, age_terms=True).fit(train, distribution=False)
    settings: dict[str, Any] = {"by": ("region",), "methods": ("shapley",), "missing": ("reference",), "global_strength": ("keep",)}
    keys = ["of", "region"]
    found = cg.attribute(model, test, **settings, **QUICK).regions.reset_index().set_index(keys)
    truth = cg.attribute(model, fresh, **settings, **{**QUICK, "n_bootstrap": 0}).regions.reset_index().set_index(keys)["raw"]
    better = []
    for of, rows in found.groupby("of"):
        true = truth[rows.index]
        assert ((rows["value"] - true) ** 2).sum() < ((rows["raw"] - true) ** 2).sum(), of
        better.append(rows["value"].corr(true, method="spearman") - rows["raw"].corr(true, method="spearman"))
        assert rows["value"].mean() == pytest.approx(rows["raw"].mean(), abs=1e-9)
    assert np.mean(better) > 0.02
    inside = (found["low"] <= truth) & (truth <= found["high"])
    assert inside.mean() >= 0.85


def test_regions_without_edges_stay_undefined_beside_others() -> None:
    draw = np.random.default_rng(0)
    measured, implied, total = draw.random((60, 8)), draw.random((60, 8)), 5 + draw.random((60, 8))
    total[:, 3] = measured[:, 3] = implied[:, 3] = 0
    bootstrap = Bootstrap.of(np.arange(60), 50, 0)
    found = estimated(bootstrap, measured, implied, total)
    alone = estimated(bootstrap, *(np.delete(part, 3, 1) for part in (measured, implied, total)))
    for one, other in zip(found, alone, strict=True):
        assert np.isnan([one.value[3], one.low[3], one.high[3]]).all()
        np.testing.assert_allclose(np.delete(one.value, 3), other.value, rtol=1e-12)
        np.testing.assert_allclose(np.delete(one.draws, 3, 1), other.draws, rtol=1e-5)


def test_models_trained_with_other_seeds_say_the_same_of_missing_groups() -> None:
    train, test, _ = simulated()
    fits = [cg.ConnectomeGenerator(seed=seed).fit(train, distribution=False) for seed in (0, 1)]
    settings: dict[str, Any] = {"by": ("group",), "methods": ("contribution", "shapley"), "missing": ("reference",)}
    one, other = (cg.attribute(model, test, **settings, **QUICK).groups for model in fits)
    for inner, outer in ((one, other), (other, one)):
        assert ((outer["low"] <= inner["value"]) & (inner["value"] <= outer["high"])).all()
    assert not np.array_equal(one["value"], other["value"])

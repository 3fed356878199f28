"""Gradients through the generator's mean: equal to what it computes, to captum, and to differences; complete."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fitted import FAST, fit_small, small_cohort
from torch import Tensor

from connectome_gnn.attribution.gradients import integrated_gradients, mean_weight, region_strength
from connectome_gnn.attribution.mean_path import MeanPath
from connectome_gnn.attribution.region_gradients import RegionGradients, regional_gradients
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning, PhenotypeWarning
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import ConnectomeNetwork
from connectome_gnn.generation.rivals import RIVALS


@cache
def closed(signed: bool = False) -> ConnectomeGenerator:
    return fit_small(small_cohort(60, 8, signed))


@cache
def opened(messages: str = "convolution") -> ConnectomeGenerator:
    return with_networks(closed(), messages)


def with_networks(fitted: ConnectomeGenerator, messages: str = "convolution") -> ConnectomeGenerator:
    """The same with two networks of random weights, whose gate is half open: nothing that the path can leave out unseen."""
    model = copy.copy(fitted)
    config = replace(FAST, messages=messages)
    task = model._task(np.ones(model.space.n_components, np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.members = [ConnectomeNetwork(task, config).eval() for _ in range(2)]
        for member in model.members:
            torch.nn.init.normal_(member.decoder.strength, std=0.3)
            torch.nn.init.normal_(member.decoder.additive.weight, std=0.3)
    model.gate = np.linspace(0, 0.5, model.space.n_components)
    return model


MODELS = {"closed form": closed, "with network": opened, "with attention": lambda: opened("attention"), "signed": lambda: closed(True)}
BOTH = pytest.mark.parametrize("name", ["closed form", "with network"])
BASELINES = pytest.mark.parametrize("baseline", ["missing", "mean"])


def profiles(n: int = 12) -> pd.DataFrame:
    """People within the training range, two of them with gaps."""
    table = small_cohort(60, 8).phenotypes.iloc[:n].copy()
    table.loc["p1", "height"] = np.nan
    table.loc["p2", "site"] = np.nan
    return table


def strength(region: int = 2) -> Any:
    return region_strength(closed().atlas, closed().atlas.labels[region])


@pytest.mark.parametrize("name", list(MODELS))
def test_the_path_is_the_models_mean(name: str) -> None:
    model = MODELS[name]()
    path = MeanPath(model)
    assert bool(path.members) == ("with" in name)
    given = path.tensors(model.schema.encode(profiles()))
    expected = model.expected(profiles())
    weights = path.weights(*given)
    np.testing.assert_allclose(weights.numpy(), expected.weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(path.matrices(*given).numpy(), expected.dense(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((path.coordinates(*given) @ path.basis).numpy(), path.deviation(*given).numpy(), atol=1e-5)
    everything = torch.ones(given[1].shape, dtype=torch.float64)
    np.testing.assert_allclose(path.weights(*given, everything).numpy(), weights.numpy(), rtol=1e-12)


@BOTH
def test_nothing_present_is_everything_missing(name: str) -> None:
    model = MODELS[name]()
    path = MeanPath(model)
    given = path.tensors(model.schema.encode(profiles()))
    nobody = path.weights(*given, torch.zeros(given[1].shape, dtype=torch.float64)).numpy()
    nothing = profiles().iloc[:1].assign(**dict.fromkeys(model.schema.names, np.nan))
    np.testing.assert_allclose(nobody, np.repeat(model.expected(nothing).weights, len(nobody), 0), rtol=1e-5, atol=1e-5)


def test_gradients_are_differences() -> None:
    model = opened()
    path = MeanPath(model)
    values, missing = path.tensors(model.schema.encode(profiles(3)))
    moving = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(path.deviation(moving, missing).pow(2).sum(), moving)
    for column in range(values.shape[1]):
        step = torch.zeros_like(values)
        step[:, column] = 1e-5
        ahead, behind = (path.deviation(values + sign * step, missing).pow(2).sum(1) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, column], (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-4)


@BOTH
@BASELINES
def test_attributions_are_complete_and_the_two_engines_agree(name: str, baseline: Any) -> None:
    model = MODELS[name]()
    own = integrated_gradients(model, profiles(), strength(), baseline=baseline, engine="own")
    assert own.engine == "own" and own.residual.max() < 1e-4
    expected = model.expected(profiles()).dense()[:, 2].sum(1)
    np.testing.assert_allclose(own.value, expected, rtol=1e-5)
    np.testing.assert_allclose(own.table.sum(axis=1), own.value - own.baseline, atol=1e-4 * np.abs(own.value - own.baseline).mean())
    assert own.table.loc["p1", "height"] == 0 == own.table.loc["p2", "site"]
    pytest.importorskip("captum", reason="captum is not installed (extra attribution)")
    captum = integrated_gradients(model, profiles(), strength(), baseline=baseline, engine="captum")
    assert captum.engine == "captum" == integrated_gradients(model, profiles(), strength(), baseline=baseline).engine
    np.testing.assert_allclose(captum.table, own.table, rtol=1e-5, atol=1e-5 * np.abs(own.table.to_numpy()).max())


def test_who_misses_more_than_a_hundredth_is_gone_through_with_more_points() -> None:
    given: dict[str, Any] = {"phenotypes": profiles(), "n_steps": 1}
    own = integrated_gradients(closed(), measure=strength(), engine="own", **given)
    assert own.residual.max() < 0.01
    assert regional_gradients(closed(), n_bootstrap=5, **given).residual.max() < 0.01
    pytest.importorskip("captum", reason="captum is not installed (extra attribution)")
    captum = integrated_gradients(closed(), measure=strength(), engine="captum", **given)
    np.testing.assert_allclose(captum.table, own.table, rtol=1e-5, atol=1e-5 * np.abs(own.table.to_numpy()).max())


def test_captum_on_encoded_columns_gives_the_same() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed (extra attribution)")
    model = opened()
    path = MeanPath(model)
    values, missing = path.tensors(model.schema.encode(profiles()))

    def forward(columns: Tensor, gaps: Tensor) -> Tensor:
        return path.matrices(columns, gaps)[:, 2].sum(1)

    by_column = captum.IntegratedGradients(forward).attribute(values, torch.zeros_like(values), None, missing, n_steps=40).detach()
    by_phenotype = torch.zeros(missing.shape, dtype=torch.float64).index_add(1, path.owner, by_column)
    own = integrated_gradients(model, profiles(), strength(), baseline="mean", n_steps=40, engine="own")
    np.testing.assert_allclose(own.table, by_phenotype, rtol=1e-5, atol=1e-5 * np.abs(by_phenotype.numpy()).max())


def test_a_linear_measure_of_one_cause_is_attributed_to_it() -> None:
    """Where only height moves, everything is height's: the deviation of one encoded column against the rest held at their mean."""
    model = closed()
    alone = profiles(6).assign(age=np.nan, sex=np.nan, memory=np.nan, site=np.nan)
    found = integrated_gradients(model, alone, mean_weight(model.atlas, "Visual", "Default"), engine="own")
    np.testing.assert_allclose(found.table["height"], found.value - found.baseline, atol=1e-6 * np.abs(found.value).max())
    assert (found.table.drop(columns="height") == 0).all(axis=None)
    assert found.summary().index[0] == "height"


def test_a_constant_phenotype_gets_nothing() -> None:
    cohort = small_cohort(30, 6)
    cohort.phenotypes["scanner"] = 3.0
    with pytest.warns(PhenotypeWarning, match="constant"):
        model = with_networks(fit_small(cohort))
    table = cohort.phenotypes.iloc[:8]
    for measured in (strength(0), region_strength(model.atlas, model.atlas.labels[1])):
        found = integrated_gradients(model, table, measured, engine="own")
        assert (found.table["scanner"] == 0).all() and found.residual.max() < 1e-4
    regions = regional_gradients(model, table, n_bootstrap=5)
    assert (regions.values[:, regions.schema.names.index("scanner")] == 0).all()


@cache
def by_region(name: str = "with network", baseline: Any = "missing") -> RegionGradients:
    return regional_gradients(MODELS[name](), profiles(24), baseline=baseline, n_bootstrap=200)


@BOTH
@BASELINES
def test_all_regions_at_once_are_each_by_itself(name: str, baseline: Any) -> None:
    found = by_region(name, baseline)
    assert found.residual.max() < 0.01
    for region in (0, 5):
        one = integrated_gradients(MODELS[name](), profiles(24), strength(region), baseline=baseline, engine="own").table.to_numpy()
        np.testing.assert_allclose(found.values[:, :, region], one, atol=2e-3 * np.abs(one).max())


def test_averages_over_people_carry_intervals() -> None:
    found = by_region("closed form")
    table = found.table()
    assert len(table) == 5 * 8 and {"phenotype", "group", "region", "hemisphere", "network", "x", "y", "z"} <= set(table)
    size = np.abs(found.values).mean(0)
    np.testing.assert_allclose(table["value"], size.reshape(-1), rtol=1e-5)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    height = table[table["phenotype"] == "height"]
    x = found.standardised[:, found.schema.columns.index("height")]
    slope = [np.polyfit(x, y - 0, 1)[0] for y in found.values[:, 2].T]
    np.testing.assert_allclose(height["slope"], slope, rtol=0.2)  # a fit through the origin beside one with an intercept
    assert (height["slope_low"] > 0).all()  # what the cohort was made with: height strengthens every edge
    assert table[table["phenotype"] == "site"]["slope"].isna().all()
    strongest = found.by_phenotype()["value"].nlargest(2).index
    assert set(strongest) == {"height", "site"}
    np.testing.assert_allclose(found.by_phenotype().loc["height", "value"], size[2].mean(), rtol=1e-5)


def test_groups_add_up_before_they_are_sized() -> None:
    found = by_region("closed form")
    together = np.abs(found.values[:, :2].sum(1)).mean()
    assert found.by_group().loc["age_sex", "value"] == pytest.approx(together, rel=1e-5)
    assert together < found.by_phenotype()["value"][:2].sum()
    systems = found.by_network()
    assert set(systems["network"]) == {"Visual", "Default", "n/a"} and len(systems) == 12


def test_the_same_seed_draws_the_same_people() -> None:
    first, again = (regional_gradients(closed(), profiles(24), most_people=10, n_steps=2, n_bootstrap=20, seed=4) for _ in range(2))
    assert len(first.people) == 10 and list(first.people) == list(again.people)
    pd.testing.assert_frame_equal(first.table(), again.table())
    other = regional_gradients(closed(), profiles(24), most_people=10, n_steps=2, n_bootstrap=20, seed=5)
    assert list(other.people) != list(first.people)


def test_what_jumps_is_said_to() -> None:
    def jumps(matrices: Tensor) -> Tensor:
        total = matrices.sum((1, 2))
        return 1e3 * (total > total.detach().median()).double() + 1e-3 * total

    with pytest.warns(ConnectomeWarning, match="raise n_steps"):
        integrated_gradients(closed(), profiles(), jumps, engine="own")


def test_what_cannot_be_differentiated_is_refused() -> None:
    model = closed()
    with pytest.raises(ConnectomeError, match="got Ridge"):
        MeanPath(RIVALS["ridge"](0))  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="has not been fitted"):
        MeanPath(ConnectomeGenerator())
    for arguments, says in (
        ({"measure": lambda matrices: matrices.sum()}, "one number for each of"),
        ({"measure": lambda matrices: 1.0}, "got float"),
        ({"baseline": "zero"}, "'missing' or 'mean'"),
        ({"engine": "jax"}, "'auto', 'own' or 'captum'"),
        ({"n_steps": 0}, "from 1 on"),
        ({"phenotypes": profiles().drop(columns="sex")}, "lacks 'sex'"),
    ):
        with pytest.raises(ConnectomeError, match=says):
            integrated_gradients(**{"model": model, "phenotypes": profiles(), "measure": strength(), **arguments})
    with pytest.raises(ConnectomeError, match="no region 'V1'"):
        region_strength(model.atlas, "V1")
    with pytest.raises(ConnectomeError, match="no system 'Motor'"):
        mean_weight(model.atlas, "Motor")
    with pytest.raises(ConnectomeError, match="has one region"):
        mean_weight(model.atlas, "n/a")
    with pytest.raises(ConnectomeError, match="most_people"):
        regional_gradients(model, profiles(), most_people=0)

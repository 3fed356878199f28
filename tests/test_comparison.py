"""Ranking models on held-out people: the order, the differences and the ties are what they should be."""

from __future__ import annotations

import json
from typing import Self

import numpy as np
import pandas as pd
import pytest

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.comparison import GENERATOR, compare, default_models
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.rivals import ALL_RIVALS, RIVALS, Ridge
from connectome_gnn.simulate import simulate_cohort


class Pull:
    """The training mean, moved by a share towards what is true of each person: a model as good as one likes."""

    def __init__(self, everybody: Cohort, share: float) -> None:
        self.everybody, self.share = everybody, share

    def fit(self, cohort: Cohort) -> Self:
        self.mean = np.concatenate([values for _, values in cohort.modelled()]).mean(0)
        return self

    def expected(self, phenotypes: pd.DataFrame) -> Cohort:
        like = self.everybody.take(self.everybody.ids.get_indexer(phenotypes.index))
        values = self.mean + self.share * (like.truth.expected - self.mean)
        return Cohort(like.scale.inverse(values), phenotypes, like.atlas, measure=like.measure, kind="expected")


@pytest.fixture(scope="module")
def everybody() -> Cohort:
    return simulate_cohort(160, 12, 6, seed=3, explained=0.3)


@pytest.fixture(scope="module")
def halves(everybody) -> tuple[Cohort, Cohort]:
    return everybody.split(0.5, seed=0)


def models(everybody: Cohort, *shares: float) -> dict[str, Pull]:
    return {f"m{share:g}" + "'" * sum(s == share for s in shares[:n]): Pull(everybody, share) for n, share in enumerate(shares)}


def test_the_better_model_comes_first_whatever_its_place(everybody, halves):
    ranking = compare(*halves, models(everybody, 0.3, 1.0, 0.0, -1.0), n_bootstrap=200)
    assert list(ranking.table.index) == ["m1", "m0.3", "m0", "m-1"]
    assert list(ranking.table["rank"]) == [1, 2, 3, 4]
    assert ranking.ours == "m0.3"
    r2 = ranking.table["r2"]
    assert r2["m1"] > 0.15 and abs(r2["m0"]) < 1e-6 and r2["m-1"] < 0
    assert ranking.table.loc["m1", "share_of_ceiling"] == pytest.approx(1, abs=1e-4)
    assert (ranking.table["seconds"] >= 0).all()
    assert set(ranking.models) == set(ranking.expected) == set(ranking.table.index)


def test_differences_are_ours_minus_theirs_on_the_same_people(everybody, halves):
    table = compare(*halves, models(everybody, 0.3, 1.0, 0.0), n_bootstrap=200).table
    assert np.isnan(table.loc["m0.3", "difference"])
    for name in ("m1", "m0"):
        row = table.loc[name]
        assert row["difference"] == pytest.approx(table.loc["m0.3", "r2"] - row["r2"], abs=1e-12)
        assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert table.loc["m1", "difference_high"] < 0 < table.loc["m0", "difference_low"]


def test_models_of_equal_r2_share_a_place(everybody, halves):
    table = compare(*halves, models(everybody, 0.5, 0.5, 1.0), n_bootstrap=50).table
    assert list(table["rank"]) == [1, 2, 2]
    assert table.loc["m0.5'", "difference"] == 0 == table.loc["m0.5'", "difference_low"]


def test_records_are_plain_json(everybody, halves):
    ranking = compare(*halves, models(everybody, 0.3, 0.0), n_bootstrap=20)
    records = json.loads(json.dumps(ranking.to_records(), allow_nan=False))
    assert [record["model"] for record in records] == ["m0.3", "m0"]
    assert records[0]["difference"] is None and records[1]["demeaned_r"] is None  # the training mean has no direction
    assert isinstance(records[0]["rank"], int)


def test_one_seed_one_answer(everybody, halves):
    first, second = (compare(*halves, models(everybody, 0.3, 1.0), seed=4, n_bootstrap=50).table for _ in range(2))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))


def test_what_cannot_be_compared(everybody, halves):
    with pytest.raises(ConnectomeError, match="at least one model"):
        compare(*halves, {})
    with pytest.raises(ConnectomeError, match="models by name.*got list"):
        compare(*halves, [Ridge(0)])
    for model in (Ridge, "ridge", None):
        with pytest.raises(ConnectomeError, match="model 'b' is to be an object that can be fitted"):
            compare(*halves, {**models(everybody, 1.0), "b": model})
    with pytest.raises(ConnectomeError, match="'fast' or 'all'"):
        default_models(0, rivals=["fast"])
    with pytest.raises(ConnectomeError):
        compare(halves[0], halves[0], models(everybody, 1.0))


class Refusing(Pull):
    """A model that cannot be fitted to these people."""

    def fit(self, cohort: Cohort) -> Self:
        raise ConnectomeError("these people will not do; find others")


def test_a_rival_that_refuses_is_listed_with_its_reason(everybody, halves):
    several = {**models(everybody, 0.3, 1.0), "picky": Refusing(everybody, 0)}
    ranking = compare(*halves, several, n_bootstrap=20)
    assert list(ranking.table.index) == ["m1", "m0.3"] and set(ranking.models) == set(ranking.expected) == {"m1", "m0.3"}
    assert ranking.unfitted == {"picky": "these people will not do; find others"}
    assert compare(*halves, models(everybody, 0.3, 1.0), n_bootstrap=20).unfitted == {}
    with pytest.raises(ConnectomeError, match="will not do"):
        compare(*halves, {"picky": Refusing(everybody, 0), **models(everybody, 0.3)})


def test_a_mistake_in_a_model_is_not_taken_for_a_refusal(everybody, halves):
    class Broken(Pull):
        def fit(self, cohort: Cohort) -> Self:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compare(*halves, {**models(everybody, 0.3), "broken": Broken(everybody, 0)}, n_bootstrap=20)


def test_the_rivals_by_default_and_all_of_them():
    fast, everyone = default_models(3), default_models(3, "all")
    assert list(fast) == [GENERATOR, *RIVALS] and list(everyone) == [GENERATOR, *ALL_RIVALS]
    assert set(everyone) - set(fast) == {"flow matching", "conditional VAE", "matching-index wiring"}
    for name, model in everyone.items():
        assert isinstance(model, ConnectomeModel) and model.seed == 3
        assert name == GENERATOR or model.label == name
    with pytest.raises(ConnectomeError, match="'fast' or 'all', got 'some'"):
        default_models(rivals="some")


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")
def test_a_wiring_model_without_coordinates_takes_no_part():
    train, test = simulate_cohort(80, 8, 4, seed=0).split(0.5, seed=0)
    blind = [
        Cohort(part.weights, part.phenotypes, Atlas(part.atlas.labels), measure=part.measure, described=part.described)
        for part in (train, test)
    ]
    rivals = {name: ALL_RIVALS[name](0) for name in ("training mean", "matching-index wiring")}
    ranking = compare(*blind, rivals, n_bootstrap=20)
    assert list(ranking.table.index) == ["training mean"]
    assert "coordinates" in ranking.unfitted["matching-index wiring"]


@pytest.mark.filterwarnings("ignore::connectome_gnn.ExtrapolationWarning")
def test_models_that_are_only_compared_learn_their_mean_alone(halves):
    names = ("ridge", "component ridge")
    for mean_only in (False, True):
        ranking = compare(*halves, {name: RIVALS[name](0) for name in names}, n_bootstrap=50, mean_only=mean_only)
        for name, knows in zip(names, (not mean_only, False), strict=True):
            if knows:
                assert ranking.models[name].sample(halves[0].phenotypes).n_people == len(halves[0])
            else:
                with pytest.raises(ConnectomeError, match="knows expected connectomes only"):
                    ranking.models[name].sample(halves[0].phenotypes)

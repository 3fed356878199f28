"""Fine-tuning: what a big cohort knows helps a small one where it is true there, does no harm where it is not, and the model says which."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from fitted import FAST, fit_small, modelled, r2_beyond_mean, small_cohort

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import residual as residual_room
from connectome_gnn.generation.checkpoint import Checkpoint
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig
from connectome_gnn.generation.residual import ResidualModel
from connectome_gnn.generation.transfer import FINE_TUNED, FROM_SCRATCH, GAINED, FineTuned, Origin, source_gain
from connectome_gnn.generation.transfer_fit import _only
from connectome_gnn.generation.transfer_residual import blended
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")

N_REGIONS, N_PHENOTYPES, FEW = 10, 6, 40
STRENGTH = 0.4


def world(n_people: int, people_seed: int, seed: int = 1) -> Cohort:
    """People of one world: the same effects for one seed, other people for another seed of people."""
    return simulate_cohort(n_people, N_REGIONS, N_PHENOTYPES, seed=seed, people_seed=people_seed, explained=0.15, density=1.0, missing=0)


def scanned_elsewhere(cohort: Cohort, *, dropped: tuple[str, ...] = (), lesion: bool = False, seed: int = 0) -> Cohort:
    """The same people with every edge's mean and spread changed, fewer phenotypes, and one that moves regions and nobody else knows."""
    draw = np.random.default_rng(seed)
    values = modelled(cohort)
    table = cohort.phenotypes.drop(columns=list(dropped))
    described = dict(cohort.described)
    if lesion:
        table["lesion"] = draw.standard_normal(len(table))
        described["lesion"] = {"Units": "ml", "Group": "clinical"}
        carried = np.random.default_rng(9).standard_normal(N_REGIONS)
        first, second = edge_indices(N_REGIONS)
        values = values + STRENGTH * table["lesion"].to_numpy()[:, None] * (carried[first] + carried[second]) * values.std(0)
    shift, scale = np.random.default_rng(8).normal(1, 0.3, (2, cohort.n_edges))
    weights = np.expm1(np.maximum(values * np.abs(scale) + shift, 0)).astype(np.float32)
    return Cohort(weights, table, cohort.atlas, measure=cohort.measure, signed=False, name="small", described=described)


@cache
def big() -> ConnectomeGenerator:
    """A model of 700 people, without a network."""
    return fit_small(world(700, 5))


@cache
def tuned(kind: str) -> tuple[ConnectomeGenerator, Cohort, Cohort]:
    """The big model fine-tuned on 40 people, those people, and 600 others like them."""
    people = {
        "shared": lambda: scanned_elsewhere(world(FEW + 600, 6)),
        "other phenotypes": lambda: scanned_elsewhere(world(FEW + 600, 6), dropped=("sex", "height"), lesion=True),
        "nothing shared": lambda: scanned_elsewhere(world(FEW + 600, 6, seed=2)),
    }[kind]()
    few, others = people.take(np.arange(FEW)), people.take(np.arange(FEW, FEW + 600))
    return big().finetune(few, seed=3), few, others


def gained(kind: str) -> tuple[float, float]:
    """By how much fine-tuning beats a fit from scratch on fresh people, and the standard error over them."""
    model, few, others = tuned(kind)
    scratch = fit_small(few)
    scale = modelled(few).std(0)
    errors = [(((modelled(m.expected(others.phenotypes)) - modelled(others)) / scale) ** 2).sum(1) for m in (scratch, model)]
    total = (((modelled(others) - modelled(few).mean(0)) / scale) ** 2).sum(1)
    saved = (errors[0] - errors[1]) / total.mean()
    return float(saved.mean()), float(saved.std() / np.sqrt(len(saved)))


@pytest.mark.parametrize("kind", ["shared", "other phenotypes"])
def test_what_is_shared_helps_on_fresh_people_and_the_model_says_so(kind):
    model, few, others = tuned(kind)
    better, error = gained(kind)
    assert better > 4 * error
    assert better > 0.02
    table = model.transfer.comparison
    assert table.loc[GAINED, "low"] > 0
    assert model.transfer.helped.startswith("the model of 'simulated' helped")
    assert model.transfer.gain > 0.5
    assert r2_beyond_mean(model, others, few) > table.loc[FINE_TUNED, "low"]  # what it says of people left out is not too good
    assert model.earned.loc["all together", "r2"] == table.loc[FINE_TUNED, "r2"]


def test_where_nothing_is_shared_the_model_is_the_one_from_scratch_and_says_so():
    model, few, others = tuned("nothing shared")
    assert "did not help" in model.transfer.helped
    assert model.transfer.origin is None
    scratch = ConnectomeGenerator(3, network=None).fit(few)
    assert model.expected(others.phenotypes).weights.tobytes() == scratch.expected(others.phenotypes).weights.tobytes()
    assert model.standard_error(few.phenotypes).tobytes() == scratch.standard_error(few.phenotypes).tobytes()
    assert model.transfer.comparison.loc[GAINED].tolist() == [0, 0, 0]


def test_a_phenotype_that_only_the_small_cohort_has_gets_a_path_of_its_own():
    model, few, others = tuned("other phenotypes")
    assert model.transfer.added == ("lesion",)
    assert set(model.transfer.absent) == {"sex", "height"}
    assert {"source prediction", "source and correction", "source and own phenotypes"} <= set(model.earned.index)
    assert model.earned.loc["source and own phenotypes", "r2"] > model.earned.loc["source prediction", "r2"] + 0.01
    changed = others.phenotypes.iloc[:50]
    more, less = (modelled(model.expected(changed.assign(lesion=value))) for value in (1.5, -1.5))
    carried = np.random.default_rng(9).standard_normal(N_REGIONS)
    first, second = edge_indices(N_REGIONS)
    moved = ((more - less).mean(0) / modelled(few).std(0))[model.space.kept]
    assert np.corrcoef(moved, (carried[first] + carried[second])[model.space.kept])[0, 1] > 0.7


def test_what_absent_phenotypes_would_have_said_is_said_by_the_others():
    """Where the waist is not known, the weight stands for it as far as the two go together."""
    train = world(700, 5)
    other = train.phenotypes.drop(columns="height")
    origin = Origin.of(big(), PhenotypeSchema.fit(other, train.described), other, "small")
    encoded = origin.encoded(origin.profiles(other))
    place = encoded.columns.index("height")
    assert np.corrcoef(encoded.values[:, place], train.phenotypes["height"])[0, 1] > 0.5  # by sex and weight
    assert encoded.missing[:, big().schema.names.index("height")].all()
    known = big().schema.encode(train.phenotypes)
    others = np.arange(len(encoded.columns)) != place
    assert np.allclose(encoded.values[:, others], known.values[:, others])


def test_profiles_beyond_the_source_are_held_at_its_edge_and_new_sites_are_no_mistake():
    cohort = small_cohort(60)
    source = fit_small(cohort)
    table = cohort.phenotypes.assign(age=[20, 120] * 30, site=["new", "a"] * 30)
    described = {**cohort.described, "site": {"Levels": {"new": "N", "a": "A"}}}
    origin = Origin.of(source, PhenotypeSchema.fit(table, described), table, "small")
    profiles = origin.profiles(table)
    age = next(p for p in source.schema.phenotypes if p.name == "age")
    assert sorted(set(profiles["age"])) == [age.low, age.high]
    assert profiles["site"].isna().tolist() == [True, False] * 30


def test_the_source_stays_as_it_is():
    before = big().expected(world(20, 7).phenotypes).weights.tobytes()
    model, _, _ = tuned("shared")
    assert big().expected(world(20, 7).phenotypes).weights.tobytes() == before
    assert big().cohort_name == "simulated"
    assert big().transfer is None
    assert big().n_training == 700
    assert (model.cohort_name, model.n_training) == ("small", FEW)


def test_a_fine_tuned_model_is_saved_and_loaded_like_any_other(tmp_path):
    model, _, others = tuned("other phenotypes")
    table = others.phenotypes.iloc[:30]
    again = ConnectomeGenerator.load(model.save(tmp_path / "model"))
    assert again.expected(table).weights.tobytes() == model.expected(table).weights.tobytes()
    assert again.sample(table, 2, seed=1).weights.tobytes() == model.sample(table, 2, seed=1).weights.tobytes()
    assert again.standard_error(table).tobytes() == model.standard_error(table).tobytes()
    assert again.log_prob(others.take(np.arange(5))).tolist() == model.log_prob(others.take(np.arange(5))).tolist()
    assert again.transfer.helped == model.transfer.helped
    pd.testing.assert_frame_equal(again.transfer.comparison, model.transfer.comparison)
    twice = again.save(tmp_path / "twice")
    for name in ("model.safetensors", "config.json", "card.md"):
        assert (twice / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    card = (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    assert "started from a model of 700 people of simulated" in card
    assert "Only here: lesion" in card


def test_a_loaded_fine_tuned_model_with_an_open_network_can_be_fine_tuned_again(tmp_path):
    """What it expects passes through every source behind it."""
    cohort = small_cohort(60)
    first = fit_small(cohort, network=NetworkConfig(epochs=1, context_width=12, region_width=6, rank=3))
    task = first._task(np.ones(8, np.float32))
    first.members = [ConnectomeNetwork(task, first.network).eval()]
    first.members[0].decoder.strength.data.fill_(0.5)
    first.gate = np.full(8, 0.5)
    second = first.finetune(first.sample(cohort.phenotypes.iloc[:30], seed=4).take(np.arange(30)), distribution=True)
    assert second.transfer.origin is not None, second.transfer.helped
    again = ConnectomeGenerator.load(second.save(tmp_path / "second"))
    table = cohort.phenotypes.iloc[30:]
    assert again.expected(table).weights.tobytes() == second.expected(table).weights.tobytes()
    third = again.finetune(again.sample(table, seed=5), distribution=False)
    assert third.expected(table).weights.shape == (30, cohort.n_edges)


def test_the_same_seed_gives_the_same_bytes_and_a_killed_fit_goes_on_to_them(tmp_path):
    model, few, others = tuned("shared")
    folder = tmp_path / "stages"
    once = big().finetune(few, seed=3, checkpoint=folder)
    again = big().finetune(few, seed=3, checkpoint=folder)
    for other in (once, again):
        assert other.expected(others.phenotypes).weights.tobytes() == model.expected(others.phenotypes).weights.tobytes()
        assert other.sample(few.phenotypes, seed=1).weights.tobytes() == model.sample(few.phenotypes, seed=1).weights.tobytes()
    with pytest.raises(ConnectomeError, match="source"):
        fit_small(few).finetune(few, seed=3, checkpoint=folder)


class Killed(BaseException):
    """What a test throws in place of SIGKILL."""


def test_fine_tuning_killed_after_every_stage_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    source, few = fit_small(small_cohort(60), network=FAST), small_cohort(40, seed=3)
    whole = source.finetune(few, seed=3).save(tmp_path / "whole")
    twice = source.finetune(few, seed=3).save(tmp_path / "twice")
    assert (twice / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    stages, write = [], Checkpoint.write

    def fatal(self: Checkpoint, name: str, *content: object) -> None:
        write(self, name, *content)
        stages.append(name)
        raise Killed

    monkeypatch.setattr(Checkpoint, "write", fatal)
    for _ in range(30):
        try:
            model = source.finetune(few, seed=3, checkpoint=tmp_path / "stages")
            break
        except Killed:
            continue
    assert {FROM_SCRATCH, "source and correction", "network fold 0", "residual"} <= set(stages)
    finished = [name for name in stages if not name.endswith("under way")]
    assert len(set(finished)) == len(finished)  # nothing was computed twice
    again = model.save(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "card.md"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_it_is_a_model_that_can_be_compared():
    few = tuned("shared")[1]
    fitted = FineTuned(big(), 3).fit(few)
    assert fitted.expected(few.phenotypes).weights.tobytes() == tuned("shared")[0].expected(few.phenotypes).weights.tobytes()
    with pytest.raises(ConnectomeError, match="distribution=False"):
        fitted.sample(few.phenotypes)


def renamed(cohort: Cohort, labels: list[str]) -> Cohort:
    from connectome_gnn.atlas import Atlas

    return Cohort(cohort.weights, cohort.phenotypes, Atlas(labels), measure=cohort.measure, signed=False, described=cohort.described)


def test_what_cannot_be_transferred_is_refused_by_name():
    cohort = small_cohort(40)
    source = fit_small(cohort)
    labels = list(cohort.atlas.labels)
    with pytest.raises(ConnectomeError, match="1 missing .*1 extra .*'elsewhere'"):
        source.finetune(renamed(cohort, ["elsewhere", *labels[1:]]))
    with pytest.raises(ConnectomeError, match="another order"):
        source.finetune(renamed(cohort, labels[::-1]))
    with pytest.raises(ConnectomeError, match="signed=True"):
        source.finetune(small_cohort(40, signed=True))
    with pytest.raises(ConnectomeError, match="measure='sift2_fbc'"):
        source.finetune(small_cohort(40, measure="sift2_fbc"))
    table = pd.DataFrame({"lesion": np.arange(40.0)}, cohort.phenotypes.index)
    with pytest.raises(ConnectomeError, match="shares no phenotype"):
        source.finetune(small_cohort(40, phenotypes=table, described={}))
    with pytest.raises(ConnectomeError, match="'height' is in cm .* and in m "):
        source.finetune(small_cohort(40, described={**cohort.described, "height": {"Units": "m"}}))
    coded = cohort.phenotypes.assign(sex=["1", "0"] * 20)
    with pytest.raises(ConnectomeError, match="'sex' .* is not what it was .* unknown level '1'"):
        source.finetune(small_cohort(40, phenotypes=coded, described={**cohort.described, "sex": {"Levels": {"0": "f", "1": "m"}}}))
    with pytest.raises(ConnectomeError, match="expected a Cohort"):
        source.finetune(cohort.phenotypes)
    with pytest.raises(ConnectomeError, match="not been fitted"):
        ConnectomeGenerator().finetune(cohort)
    with pytest.raises(ConnectomeError, match="10 people; at least 20"):
        source.finetune(cohort.take(np.arange(10)))


def test_the_gain_is_found_in_whitened_components():
    draw = np.random.default_rng(0)
    variance = np.array([100.0, *np.ones(30)])
    expected = draw.standard_normal((50, 31)) * np.sqrt(0.1 * variance)
    people = 0.8 * expected + draw.standard_normal((50, 31)) * np.sqrt(variance)
    units = np.arange(50)
    assert source_gain(expected, people, units) == pytest.approx(0.8, abs=0.2)
    assert source_gain(expected, draw.permutation(people), units) == 0
    assert source_gain(expected, -people, units) == 0
    assert source_gain(expected, 9 * expected + people, units) == 2  # at most
    assert source_gain(np.zeros_like(expected), people, units) == 0
    once = source_gain(expected, people, units)
    doubled = source_gain(np.repeat(expected, 2, 0), np.repeat(people, 2, 0), np.repeat(units, 2))
    assert doubled == pytest.approx(once)


def test_features_of_some_phenotypes_alone():
    features = big().features
    chosen = np.isfinite(_only(["weight", "age"], features).scale)
    columns = list(features.schema.columns)
    assert chosen[: len(columns)].tolist() == [name in ("weight", "age") for name in columns]
    bands = np.array(features.bands)[len(columns) :]
    behind = chosen[len(columns) :]
    assert behind[np.isin(bands, ["age^2", "age spline"])].all()
    assert not behind[bands == "sex x age"].any()
    rest = [name for name in columns if name not in (features.age, features.sex)]
    assert behind[bands == "traits x age"].tolist() == [name == "weight" for name in rest]
    assert _only([], features) is None


def test_a_blend_keeps_every_edges_own_variance():
    own, source = tuned("nothing shared")[0].residual, big().residual
    left = (own.loadings**2).sum(0) + own.noise**2
    for share in (0.0, 0.4, 1.0):
        model: ResidualModel = blended(own, source, share)
        assert np.allclose((model.loadings**2).sum(0) + model.noise**2, left, atol=1e-5)
        assert model.marginals is own.marginals
    assert blended(own, source, 0.0) is own
    theirs = blended(own, source, 1.0)
    varies = (left > 0) & ((source.loadings**2).sum(0) + source.noise**2 > 0)
    shared = (theirs.loadings**2).sum(0)[varies] / left[varies]
    was = (source.loadings**2).sum(0)[varies] / ((source.loadings**2).sum(0) + source.noise**2)[varies]
    assert np.allclose(shared, was, atol=1e-5)


def test_the_sources_dependence_makes_fresh_people_more_likely():
    model, few, others = tuned("shared")
    assert model.transfer.blended > 0.3
    some = others.take(np.arange(100))
    scratch = fit_small(few)
    better = model.log_prob(some) - scratch.log_prob(some)
    assert better.mean() > 3 * better.std() / 10
    again = model.deviation(some).people["extremeness"]
    assert abs(again.mean()) < 0.6
    assert 0.5 < again.std() < 1.6
    assert model.transfer.comparison.loc[FROM_SCRATCH, "r2"] < model.transfer.comparison.loc[FINE_TUNED, "r2"]


def test_two_families_can_be_fine_tuned():
    source = fit_small(world(300, 1))
    small = world(30, 2)
    table = small.phenotypes.assign(family_id=np.arange(30) % 2)
    small = Cohort(small.weights, table, small.atlas, measure=small.measure, described=small.described)
    tuned = source.finetune(small)
    assert np.isfinite(tuned.log_prob(small)).all()


def test_a_column_that_nobody_in_the_small_cohort_has_a_value_of_is_not_shared():
    source = fit_small(small_cohort(60))
    other = small_cohort(40, seed=3)
    empty = small_cohort(40, seed=3, phenotypes=other.phenotypes.assign(memory=np.nan))
    with_it, without = (source.finetune(some, distribution=False) for some in (other, empty))
    assert "memory" in with_it.transfer.shared
    assert "memory" not in without.transfer.shared
    assert without.transfer.absent == ("memory",)
    assert without.transfer.added == ()
    dropped = source.finetune(small_cohort(40, seed=3, phenotypes=other.phenotypes.drop(columns="memory")), distribution=False)
    assert dropped.transfer.absent == without.transfer.absent
    with pytest.raises(ConnectomeError, match="shares no phenotype"):
        source.finetune(
            small_cohort(40, phenotypes=other.phenotypes.assign(**dict.fromkeys(other.phenotypes, np.nan), own=np.arange(40.0)))
        )


def test_a_blend_asks_for_no_baselines_but_its_own(monkeypatch):
    """Refits without a fold's people are weighed by their density alone: how far people are from them is asked of the blend, once."""
    small = scanned_elsewhere(world(FEW, 6))
    counted = []
    measured = residual_room.extremeness_of
    monkeypatch.setattr(residual_room, "extremeness_of", lambda *given: counted.append(1) or measured(*given))
    assert big().finetune(small, seed=3).transfer.blended > 0
    assert len(counted) == 1


def test_a_level_that_became_a_number_is_refused():
    levels = np.random.default_rng(0).choice(["1", "2", "3"], 120)
    described = {"edu": {"Levels": {"1": "low", "2": "middle", "3": "high"}, "Group": "lifestyle"}}
    first = small_cohort(120)
    source = fit_small(small_cohort(120, phenotypes=first.phenotypes.assign(edu=levels), described={**first.described, **described}))
    other = small_cohort(40)
    table = other.phenotypes.assign(edu=np.random.default_rng(1).normal(10, 2, 40))
    other = small_cohort(40, phenotypes=table, described={**other.described, "edu": {"Units": "years", "Group": "lifestyle"}})
    with pytest.raises(ConnectomeError, match="'edu' has levels in the model's cohort and is a number"):
        source.finetune(other, distribution=False)

"""What an attribution says of itself: intervals, nulls, copies, constants, names, other scores, the command."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted import DESCRIBED, fit_small, small_cohort
from matplotlib.image import imread
from typer.testing import CliRunner

import connectome_gnn as cg
from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.figures import write_figures
from connectome_gnn.attribution.importance import contributions, sensitivities
from connectome_gnn.attribution.intervals import Bootstrap
from connectome_gnn.attribution.permuted import PermutationTest, unique_part
from connectome_gnn.attribution.phenotype_maps import explained_there
from connectome_gnn.cli import app
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.rivals import ComponentRidge

QUICK: dict[str, Any] = {"n_bootstrap": 30, "n_permutations": 30, "n_jobs": 1}


@cache
def people() -> cg.Cohort:
    """People with a copy of their height and a column that is the same for everybody."""
    cohort = small_cohort(120)
    table = cohort.phenotypes.assign(same=1.0, inches=cohort.phenotypes["height"] / 2.54)
    described = {**DESCRIBED, "same": {"Units": "1", "Group": "body"}, "inches": {"Units": "in", "Group": "body"}}
    return small_cohort(120, phenotypes=table, described=described)


@cache
def ridge() -> ComponentRidge:
    with pytest.warns(cg.PhenotypeWarning, match="constant"):
        return ComponentRidge(seed=0).fit(people().take(slice(0, 70)), distribution=False)


@cache
def why() -> cg.Attribution:
    return cg.attribute(ridge(), people().take(slice(70, 120)), **QUICK)


@cache
def generator() -> cg.ConnectomeGenerator:
    return fit_small(small_cohort(80).take(slice(0, 60)))


def held_out() -> cg.Cohort:
    return small_cohort(80).take(slice(60, 80))


def test_a_constant_phenotype_is_exactly_nothing() -> None:
    rows = why().phenotypes.query("phenotype == 'same'")
    assert len(rows) and (rows[["value", "low", "high"]] == 0).all(axis=None)
    assert (rows["p"].dropna() == 1).all()


def test_copies_share_everything_and_it_is_said() -> None:
    table = why().commonality.loc[["height", "inches"]]
    assert (table["unique"].abs() < 1e-6).all() and (table["shared"] > 0.02).all()
    np.testing.assert_allclose(table["shared"], table["alone"], atol=1e-6)
    assert table["copies"].tolist() == ["inches", "height"]
    assert any("copies" in note and "'height'" in note and "'inches'" in note for note in why().notes)
    assert why().commonality.loc["site", "unique"] > 0.01


def test_tables_have_the_columns_that_they_promise() -> None:
    result = why()
    assert list(result.groups)[:8] == ["group", "method", "missing", "value", "low", "high", "p", "q"]
    assert list(result.region_map("body")) == ["hemisphere", "network", "x", "y", "z", "value", "low", "high", "p", "q"]
    assert list(result.region_map("body").index) == list(people().atlas.labels)
    assert set(result.regions["global_strength"]) == {"keep", "remove"} and set(result.networks.index) == {"Visual", "Default"}
    assert set(result.groups["kind"][result.groups["method"] == "sensitivity"]) == {"sensitivity"}
    assert set(result.groups["kind"][result.groups["method"] != "sensitivity"]) == {"importance"}
    assert result.validate()["passed"].all()


def test_a_network_is_the_mean_of_its_regions() -> None:
    result = why()
    regions = result.regions.query("of == 'body' and method == 'shapley' and missing == 'reference' and global_strength == 'keep'")
    visual = regions["raw"][regions["network"] == "Visual"]
    assert visual.min() <= result.network_map("body").loc["Visual", "value"] <= visual.max()


def test_edges_add_up_to_the_region() -> None:
    result, cohort = why(), people().take(slice(70, 120))
    table = result.edges.table("site")  # type: ignore[union-attr]
    game, player = result.edges._found("site", "reference")  # type: ignore[union-attr]
    basis, space = game.predictor.basis, ridge().space
    x = (cohort.scale.forward(cohort.weights)[:, space.kept] - space.mean[space.kept]) / space.std[space.kept]
    full, without = game.full() @ basis, game.without(player) @ basis
    by_hand = ((x - without) ** 2 - (x - full) ** 2).sum(0) / (x**2).sum(0)
    np.testing.assert_allclose(table["value"], by_hand, atol=1e-4)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    square = result.edges["site"]  # type: ignore[index]
    first = table.iloc[0]
    assert square.shape == (6, 6) and square.loc[first["other_region"], first["region"]] == pytest.approx(first["value"])


def test_the_same_seed_gives_the_same_numbers_and_json_holds_them() -> None:
    again = cg.attribute(ridge(), people().take(slice(70, 120)), **QUICK)
    assert again.to_json() == why().to_json()
    other = cg.attribute(ridge(), people().take(slice(70, 120)), **{**QUICK, "by": ("group",)}, seed=1)
    assert not np.array_equal(other.groups["low"], why().groups["low"])
    record = json.loads(why().to_json())
    assert record["groups"][0]["group"] == "age_sex" and record["score"] == "r2"
    assert "age_sex" in why().summary() and "site" in why().summary()


def test_families_are_drawn_whole() -> None:
    cohort = people().take(slice(70, 120))
    twice = cohort.take(np.repeat(np.arange(50), 2))
    twice.phenotypes = twice.phenotypes.assign(family_id=np.repeat([f"f{n}" for n in range(50)], 2))
    settings: dict[str, Any] = {**QUICK, "by": ("group",), "methods": ("contribution", "shapley"), "n_permutations": 0}
    single, double = (cg.attribute(ridge(), some, **settings).groups for some in (cohort, twice))
    np.testing.assert_allclose(single[["value", "low", "high"]], double[["value", "low", "high"]], atol=1e-5)


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")
def test_what_cannot_be_attributed_is_refused_by_name() -> None:
    model, cohort = ridge(), people().take(slice(70, 120))
    with pytest.raises(ConnectomeError, match="'iq'"):
        cg.attribute(model, cohort, phenotypes=["age", "iq"])
    with pytest.raises(ConnectomeError, match="'iq'"):
        why().edges["iq"]  # type: ignore[index]
    with pytest.raises(ConnectomeError, match="'iq'"):
        why().region_map("iq")
    with pytest.raises(ConnectomeError, match="'guess'"):
        cg.attribute(model, cohort, methods=["guess"])
    with pytest.raises(ConnectomeError, match="'Frontal'"):
        why().network_difference("body", ["Frontal"], ["Visual"])
    with pytest.raises(ConnectomeError, match="no group 'iq'"):
        why().ratio(["iq"], ["body"])
    with pytest.raises(ConnectomeError, match="atlas"):
        cg.attribute(model, small_cohort(20, n_regions=7))
    with pytest.raises(ConnectomeError, match="expected a fitted model"):
        cg.attribute("model", cohort)  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="not been fitted"):
        cg.attribute(ComponentRidge(), cohort)
    with pytest.raises(ConnectomeError, match="no people"):
        cg.attribute(model, model.expected(cohort.phenotypes))


def test_only_the_phenotypes_asked_for_are_reported() -> None:
    some = cg.attribute(ridge(), people().take(slice(70, 120)), phenotypes=["age"], by=("phenotype",), **QUICK)
    assert set(some.phenotypes["phenotype"]) == {"age"} and some.groups.empty and some.regions.empty
    everybody = why().phenotypes.query("phenotype == 'age' and method == 'contribution'")["value"].to_numpy()
    np.testing.assert_allclose(some.phenotypes.query("method == 'contribution'")["value"], everybody, atol=1e-7)


def test_integrated_gradients_sum_to_what_is_explained() -> None:
    result = cg.attribute(generator(), held_out(), methods=("gradient", "shapley"), by=("group", "phenotype"), **QUICK)
    checks = result.validate()
    assert checks["check"].str.contains("gradients").sum() == 2
    rows = result.groups.query("missing == 'reference'").set_index(["method", "group"])["value"]
    way = result.scores.loc["full", "value"] - result.scores.loc["null", "value"]
    assert rows["gradient"].sum() == pytest.approx(way, rel=1e-2)
    # The model is all but linear, what it explains quadratic: of such a game both values are the same.
    np.testing.assert_allclose(rows["gradient"], rows["shapley"], atol=0.25 * abs(way))
    assert rows["gradient"].idxmax() == rows["shapley"].idxmax()


def test_what_bends_takes_more_points() -> None:
    train, test = cg.simulate_cohort(120, 12, 6, seed=2, measure="pearson").split(0.6, seed=0)
    model = cg.ConnectomeGenerator(seed=0, network=None).fit(train, distribution=False)
    result = cg.attribute(model, test, methods=("gradient",), by=("group", "phenotype"), n_bootstrap=2, n_permutations=0, n_jobs=1)
    assert result.validate().set_index("check").filter(like="gradients", axis=0)["found"].max() < 0.003


@pytest.mark.parametrize("score", ["capture", "strength", "own"])
def test_scores_of_samples(score: str) -> None:
    def own(generated: cg.Cohort, real: cg.Cohort) -> np.ndarray:
        mean = generated.weights.reshape(len(real), -1, generated.n_edges).mean(1)
        return -np.abs(mean - real.weights).mean(1)

    wanted: Any = own if score == "own" else score
    result = cg.attribute(generator(), held_out(), score=wanted, missing="reference", n_samples=2, **QUICK)
    values = result.groups.query("method == 'shapley'")["value"]
    assert values.sum() == pytest.approx(result.scores.loc["full", "value"] - result.scores.loc["null", "value"], abs=1e-9)
    assert result.groups["p"].isna().all() and result.score == score
    assert (result.groups["low"] <= result.groups["high"]).all()
    assert result.validate()["passed"].all()


def test_a_captured_score_is_that_of_the_evaluation() -> None:
    train, test = small_cohort(80).take(slice(0, 60)), held_out()
    settings: dict[str, Any] = {"score": "capture", "missing": "reference", "methods": "contribution", "n_samples": 3, **QUICK}
    result = cg.attribute(generator(), test, **settings)
    samples = generator().sample(test.phenotypes.rename(index=lambda name: f"person {list(test.ids).index(name)}"), n=3, seed=0)
    samples.phenotypes.index = pd.Index(np.repeat(test.ids, 3), name="participant_id")
    scores = cg.evaluate(samples, test, reference=train, parts="fidelity", measures=(), n_bootstrap=0, n_permutations=0).to_dict()
    assert result.scores.loc["full", "value"] == pytest.approx(scores["capture_edge_weight"]["value"], abs=1e-6)


def test_intervals_of_skewed_ratios_hold() -> None:
    draw = np.random.default_rng(0)
    above, below = draw.gamma(1.5, 1, (300, 40)), draw.gamma(4, 0.25, (300, 40))
    hit = []
    for x, y in zip(above, below, strict=True):
        found = Bootstrap.of(np.arange(40), 400, 1).ratio((x * y)[:, None], y[:, None])
        hit.append(found.low[0] <= 1.5 <= found.high[0])
    assert 0.90 <= np.mean(hit) <= 0.99


def test_p_knows_the_null_where_others_matter_and_finds_what_is_there() -> None:
    draw = np.random.default_rng(0)
    n, null, found = 80, [], []
    for _ in range(120):
        other = draw.standard_normal((n, 2))
        own = 0.8 * other[:, :1] + 0.6 * draw.standard_normal((n, 1))
        for effect, into in ((0.0, null), (0.5, found)):
            x = 2 * other @ np.ones((2, 3)) + effect * own + draw.standard_normal((n, 3))
            # What the model holds of the others is wrong, and so is what it holds of the tested one.
            without, full = other @ np.full((2, 3), 1.2), other @ np.full((2, 3), 1.2) + 0.4 * own
            seen = Observed(
                (x**2).sum(1), x, np.eye(3), 3, np.zeros(0, int), np.empty((n, 0)), np.empty((n, 0, 3), np.float32), np.empty((0, 3, 3))
            )
            orders = np.stack([draw.permutation(n) for _ in range(99)]).astype(np.int32)
            into.append(PermutationTest(seen, full.astype(np.float32), orders).p(without.astype(np.float32), other)[0])
    assert np.mean(np.array(null) <= 0.05) <= 0.10 and 0.38 < np.mean(null) < 0.62
    assert np.mean(np.array(found) <= 0.05) > 0.6


def test_what_others_tell_is_not_unique() -> None:
    draw = np.random.default_rng(0)
    others = draw.standard_normal((60, 3))
    effect = (others @ draw.standard_normal((3, 2))).astype(np.float32)
    assert np.abs(unique_part(effect, others)).max() < 1e-5
    own = draw.standard_normal((60, 2)).astype(np.float32)
    assert np.abs(unique_part(effect + own, others).T @ (others - others.mean(0))).max() < 1e-4


def test_single_phenotypes_have_maps_that_are_computed_when_they_are_looked_at() -> None:
    result, cohort = why(), people().take(slice(70, 120))
    assert result.phenotype_maps is not None and result.edges is not None
    table = result.phenotype_maps.table("remove")
    game = next(game for game in result.edges.games if "height" in game.players and game.missing == "reference")
    seen = Observed.of(cohort, ridge().space, game.predictor.basis, "remove")
    below = {"contribution": seen.region_total.sum(0), "sensitivity": seen.of_region * len(cohort)}
    for method, parts in (("contribution", contributions), ("sensitivity", sensitivities)):
        for part, name in zip(parts(game, seen, regions=True), game.players, strict=True):
            rows = table[(table["of"] == name) & (table["method"] == method)]
            assert list(rows.index) == list(cohort.atlas.labels)
            by_hand = part.regions[..., 0].sum(0, dtype=float) / below[method]
            np.testing.assert_allclose(rows["raw"], by_hand, atol=1e-5)
            if part.regions.shape[2] > 1:
                full, effect = game.full(), game.full() - game.without(part.player)
                np.testing.assert_allclose(explained_there(seen, full, effect), part.regions, atol=2e-3)
    height = result.region_map("height", global_strength="remove")
    assert list(height) == list(result.region_map("body")) and (height["q"] >= height["p"]).all() and (height["value"] != 0).any()
    assert (result.region_map("same")[["value", "low", "high"]] == 0).all(axis=None)
    with pytest.raises(ConnectomeError, match="global_strength is one of"):
        result.phenotype_maps.table("gone")  # type: ignore[arg-type]
    assert cg.attribute(ridge(), cohort, by=("group", "region"), **QUICK).phenotype_maps is None


def test_it_can_be_handed_to_another_process() -> None:
    result = cg.attribute(generator(), held_out(), missing=("reference",), **QUICK)
    again = pickle.loads(pickle.dumps(result))
    assert again.to_json() == result.to_json()
    pd.testing.assert_frame_equal(again.region_map("age"), result.region_map("age"))
    pd.testing.assert_frame_equal(again.edges["age"], result.edges["age"])


def test_a_single_group_or_network_needs_no_list() -> None:
    np.testing.assert_array_equal(why().ratio("body", "age_sex"), why().ratio(["body"], ["age_sex"]))
    assert why().network_difference("body", "Visual", "Default") == why().network_difference("body", ["Visual"], ["Default"])


def test_figures_show_what_there_is_to_see(tmp_path: Path) -> None:
    cohort = cg.simulate_cohort(70, 14, 6, seed=0)
    model = ComponentRidge(seed=0).fit(cohort.take(slice(0, 40)), distribution=False)
    found = cg.attribute(model, cohort.take(slice(40, 70)), methods=("contribution", "sensitivity"), **QUICK)
    names = write_figures(found, tmp_path)
    assert names == ["groups.png", "phenotypes.png", "regions_keep.png", "regions_remove.png", "networks.png"]
    for name in names:
        picture = imread(tmp_path / name)[..., :3]
        colours = np.unique((picture * 255).astype(int).reshape(-1, 3), axis=0)
        assert min(picture.shape[:2]) > 200 and (np.ptp(colours, 1) > 60).sum() > 5, name  # more than grey text
    few = cg.attribute(model, cohort.take(slice(40, 70)), methods=("sensitivity",), by=("phenotype",), **QUICK)
    (tmp_path / "few").mkdir()
    assert write_figures(few, tmp_path / "few") == ["phenotypes.png"]


def test_the_command_writes_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cohort, out = tmp_path / "model", tmp_path / "cohort", tmp_path / "out"
    generator().save(model)
    held_out().save(cohort)
    arguments = ["attribute", str(model), str(cohort), "--out", str(out), "--n-bootstrap", "20", "--n-permutations", "20", "--jobs", "1"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    figures = {"groups.png", "phenotypes.png", "networks.png"}  # regions of this atlas have no coordinates
    tables = {"groups.tsv", "networks.tsv", "phenotypes.tsv", "phenotype_regions.tsv", "regions.tsv"}
    assert {file.name for file in out.iterdir()} == {"attribution.json", *tables, *figures}
    assert "networks.png" in answer.output
    by_region = pd.read_csv(out / "phenotype_regions.tsv", sep="\t", na_values="n/a", keep_default_na=False)
    assert set(by_region["phenotype"]) == set(generator().schema.names) and set(by_region["global_strength"]) == {"keep", "remove"}
    groups = pd.read_csv(out / "groups.tsv", sep="\t", na_values="n/a", keep_default_na=False)
    assert list(groups) == ["group", "method", "missing", "value", "low", "high", "p", "q"]
    assert set(groups["group"]) == {"age_sex", "body", "cognition", "site"} and set(groups["missing"]) == {"reference", "conditional"}
    assert set(groups["method"]) == {"contribution", "shapley", "permutation", "sensitivity", "gradient"}
    assert "age_sex" in answer.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    monkeypatch.setattr("connectome_gnn.cli.attribution.find_spec", lambda name: None)
    plain = CliRunner().invoke(app, [*arguments[:4], str(tmp_path / "plain"), *arguments[5:]])
    assert plain.exit_code == 0 and "figures left out: matplotlib is not installed (pip install 'connectome-gnn[viz]')" in plain.output
    assert {file.name for file in (tmp_path / "plain").iterdir()} == {"attribution.json", *tables}
    nowhere = CliRunner().invoke(app, [*arguments[:2], str(tmp_path / "nowhere"), "--out", str(tmp_path / "other")])
    assert nowhere.exit_code == 2 and "nowhere" in nowhere.output

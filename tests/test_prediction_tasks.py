from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_people import planted
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, mean_absolute_error, r2_score, roc_auc_score
from typer.testing import CliRunner

from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction import (
    AgeBias,
    BestOf,
    BrainNetCNN,
    BrainNetCNNConfig,
    ConnectomeGNN,
    RidgeRegression,
    classify,
    predict,
    predict_age,
)
from connectome_gnn.prediction.catalogue import new_model
from connectome_gnn.prediction.confounds import ConfoundRemoval
from connectome_gnn.prediction.crossvalidation import inner_predictions
from connectome_gnn.prediction.edge_rows import modelled_edges
from connectome_gnn.prediction.folds import splits_by_column, splits_of_people
from connectome_gnn.prediction.interface import read_target
from connectome_gnn.prediction.scores import calibration_table, scored

FAST = {"n_bootstrap": 200, "n_permutations": 0}


@pytest.fixture(scope="module")
def people() -> Cohort:
    return planted(100, strength=1.3)


class Recorder(RidgeRegression):
    """Ridge that remembers whom it learned from, by the class, since copies are fitted."""

    seen: list[tuple[set[str], np.ndarray]] = []

    def fit(self, cohort, target, *, groups=None):  # type: ignore[no-untyped-def]
        Recorder.seen.append((set(cohort.ids), cohort.phenotypes["age"].to_numpy()))
        return super().fit(cohort, target, groups=groups)


def test_everybody_is_predicted_by_models_that_had_not_seen_them(people: Cohort) -> None:
    Recorder.seen = []
    result = predict(people, "age", Recorder(), folds=4, repeats=2, **FAST)
    mine = result.predictions[result.predictions["model"] == "ridge"]
    assert len(mine) == 2 * len(people) and len(Recorder.seen) == 8
    for place, (_, part) in enumerate(mine.groupby(["repeat", "fold"], sort=True)):
        assert not set(part["participant_id"]) & Recorder.seen[place][0]
    split = mine[(mine["repeat"] == 0) & (mine["fold"] == "1")]
    test = people.ids.isin(split["participant_id"])
    again = RidgeRegression().fit(people.take(~test), "age").predict(people.take(test))
    np.testing.assert_allclose(split["predicted"], again, rtol=1e-6)


def test_scores_of_numbers_are_scikit_learns(people: Cohort) -> None:
    result = predict(people, "age", "ridge", **FAST)
    mine = result.predictions[result.predictions["model"] == "ridge"]
    truth, said = mine["truth"].to_numpy(float), mine["predicted"].to_numpy(float)
    assert result.score("mae") == pytest.approx(mean_absolute_error(truth, said))
    assert result.score("r2") == pytest.approx(r2_score(truth, said))
    assert result.score("r") == pytest.approx(np.corrcoef(truth, said)[0, 1])
    assert result.score("calibration_slope") == pytest.approx(LinearRegression().fit(said[:, None], truth).coef_[0])
    assert result.score("r") > 0.6 and result.score("mae", "mean") > result.score("mae")
    row = result.scores.set_index(["model", "score"]).loc[("mean", "mae")]
    assert row["difference"] == pytest.approx(result.score("mae", "mean") - result.score("mae")) and row["difference_low"] > 0
    assert set(result.folds["n_test"]) == {20} and len(result.folds) == 10


def test_scores_of_classes_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    p = generator.beta(1, 1, 400)
    y = (generator.random(400) < p**2).astype(float)
    truth, said = np.stack([1 - y, y], 1), np.stack([1 - p, p], 1)
    found = {name: float(value[0]) for name, value in scored(truth, said).items()}
    assert found["auc"] == pytest.approx(roc_auc_score(y, p))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, p > 0.5))
    oracle = LogisticRegression(C=1e8, solver="newton-cholesky", tol=1e-10).fit(np.log(p / (1 - p))[:, None], y)
    assert found["calibration_slope"] == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    table = calibration_table(truth, said)
    observed, predicted = calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose(table[["predicted", "observed"]], np.stack([predicted, observed], 1))
    assert found["ece"] == pytest.approx((np.abs(table["predicted"] - table["observed"]) * table["n"]).sum() / 400)
    weights = np.r_[np.ones((1, 400)), generator.multinomial(400, np.full(400, 1 / 400), 1)]
    rows = np.repeat(np.arange(400), weights[1].astype(int))
    for name, value in scored(truth, said, weights).items():
        assert value[1] == pytest.approx(scored(truth[rows], said[rows])[name][0], rel=1e-6), name


def test_several_classes_are_scored_one_against_the_others(people: Cohort) -> None:
    result = classify(people, "group", "ridge", **FAST)
    mine = result.predictions[result.predictions["model"] == "ridge"]
    said = mine[["p_0", "p_1", "p_2"]].to_numpy(float)
    assert result.score("auc") == pytest.approx(roc_auc_score(mine["truth"], said, multi_class="ovr", average="macro"))
    assert result.score("log_loss") == pytest.approx(log_loss(mine["truth"], said), rel=1e-6)
    assert result.score("auc") > 0.7
    assert result.score("balanced_accuracy", "mean") == pytest.approx(1 / 3, abs=0.01)


def test_bias_of_age_by_hand() -> None:
    age, said = np.array([20.0, 40, 60, 80]), np.array([35.0, 44, 57, 64])
    slope, intercept = np.polyfit(age, said, 1)
    for correction, expected in (("de_lange", said - (slope * age + intercept)), ("cole", (said - intercept) / slope - age)):
        bias = AgeBias.fit(age, said, correction)  # type: ignore[arg-type]
        assert (bias.slope, bias.intercept) == pytest.approx((slope, intercept))
        np.testing.assert_allclose(bias.gap(age, said), expected, atol=1e-10)
        assert abs(np.corrcoef(bias.gap(age, said), age)[0, 1]) < 1e-9
    assert np.isnan(AgeBias(0.0, 50.0, "cole").gap(age, said)).all()


def test_brain_age_learns_its_bias_from_training_people_only(people: Cohort) -> None:
    result = predict_age(people, "ridge", folds=3, **FAST)
    mine = result.predictions[(result.predictions["model"] == "ridge") & (result.predictions["fold"] == "2")]
    test = people.ids.isin(mine["participant_id"])
    train = people.take(~test)
    target = read_target(train, "age")
    bias = AgeBias.fit(target.values, inner_predictions(RidgeRegression(), train, target, None, 0))
    np.testing.assert_allclose(mine["gap"], mine["predicted"] - (bias.slope * mine["truth"] + bias.intercept))
    np.testing.assert_allclose(mine["corrected"], mine["truth"] + mine["gap"])
    np.testing.assert_allclose(mine["raw_gap"], mine["predicted"] - mine["truth"])
    assert abs(result.score("gap_r_with_age")) < abs(result.score("raw_gap_r_with_age"))
    everybody = result.predictions[result.predictions["model"] == "ridge"]
    assert result.score("r") == pytest.approx(np.corrcoef(everybody["truth"], everybody["predicted"])[0, 1])  # never of the corrected
    assert predict_age(people, "ridge", correction=None, **FAST).predictions["gap"].isna().all()


def test_shuffled_labels_give_chance() -> None:
    aucs, correlations = [], []
    for seed in range(6):
        people = planted(90, strength=2.0, seed=seed)
        aucs.append(classify(people, "coin", ["ridge", "kernel ridge"], seed=seed, n_bootstrap=0, n_permutations=0))
        correlations.append(predict(people, "noise", ["ridge", "cpm"], seed=seed, n_bootstrap=0, n_permutations=0))
    for model in ("ridge", "kernel ridge"):
        assert abs(np.mean([one.score("auc", model) for one in aucs]) - 0.5) < 0.1
    for model in ("ridge", "cpm"):
        # Below 0 rather than 0: what is predicted of a fold is near the others' mean, which is low where the fold's own is high.
        assert -0.3 < np.mean([one.score("r", model) for one in correlations]) < 0.1


EVERY = {
    "mean": "mean",
    "ridge": "ridge",
    "kernel ridge": "kernel ridge",
    "cpm": "cpm",
    "best of": BestOf(["mean", "ridge"]),
    "brainnetcnn": BrainNetCNN(BrainNetCNNConfig(epochs=4, edge_filters=2, node_filters=4, graph_filters=8)),
    "gnn": ConnectomeGNN(epochs=4, hidden=4),
}
every_model = pytest.mark.parametrize("model", EVERY.values(), ids=list(EVERY))


@pytest.mark.parametrize("model", [EVERY["best of"], EVERY["brainnetcnn"], EVERY["gnn"]], ids=["best of", "brainnetcnn", "gnn"])
def test_shuffled_labels_give_chance_whatever_the_model(model) -> None:  # type: ignore[no-untyped-def]
    people = planted(160, strength=2.0)
    people.phenotypes = people.phenotypes.assign(age=people.phenotypes["age"].sample(frac=1, random_state=0).to_numpy())
    auc = classify(people, "coin", model, folds=2, n_bootstrap=0, n_permutations=0).score("auc")
    r2 = predict_age(people, model, correction=None, folds=2, n_bootstrap=0, n_permutations=0).score("r2")
    assert abs(auc - 0.5) < 0.13 and -0.5 < r2 < 0.03


@every_model
def test_every_model_is_asked_for_what_can_be_learned_only(people: Cohort, model) -> None:  # type: ignore[no-untyped-def]
    some = people.take(slice(0, 48))
    table = some.phenotypes
    some.phenotypes = table.assign(
        age=table["age"].where(np.arange(48) >= 6), sex=np.where(np.arange(48) < 3, "M", "F"), group="0", coin=["a", *["b"] * 47]
    )
    with pytest.raises(ConnectomeError, match="everybody's 'group' is '0'; a classification needs people of at least two levels"):
        classify(some, "group", model, **FAST)
    with pytest.raises(ConnectomeError, match="3 people or groups with sex 'M' cannot be shared out to 5 folds"):
        classify(some, "sex", model, **FAST)
    alone = new_model(model, "regression")
    with pytest.raises(ConnectomeError, match="6 of 48 people have no 'age'"):
        alone.fit(some, "age")
    result = predict_age(some, model, correction=None, folds=2, **FAST)
    assert result.left_out == 6 and result.n_people == 42
    assert np.isfinite(result.predictions["predicted"]).all() and not set(result.predictions["participant_id"]) & set(some.ids[:6])
    if not isinstance(model, BestOf):  # whose own folds would hold one class only
        rare = new_model(model, "classification").fit(some, "coin")  # one person of a class
        assert np.isfinite(rare.predict_proba(some)).all() and rare.predict_proba(some)[:, 1].mean() > 0.5


def test_p_is_small_where_something_is_there_and_only_there(people: Cohort) -> None:
    age = predict(people, "age", ["ridge", "cpm"], n_bootstrap=0, n_permutations=19)
    p = age.scores[age.scores["score"] == "r"].set_index("model")["p"]
    assert p["ridge"] == p["cpm"] == pytest.approx(0.05) and np.isnan(p["mean"])
    noise = predict(people, "noise", "ridge", n_bootstrap=0, n_permutations=19)
    assert noise.scores.set_index(["model", "score"]).loc[("ridge", "r"), "p"] > 0.05
    sex = classify(people, "sex", "ridge", n_bootstrap=0, n_permutations=19)
    assert sex.scores.set_index(["model", "score"]).loc[("ridge", "auc"), "p"] == pytest.approx(0.05)


def test_families_and_repeat_scans_stay_together(people: Cohort) -> None:
    family = np.repeat(np.arange(25), 4).astype(str)
    kin = people.take(slice(None))
    kin.phenotypes = kin.phenotypes.assign(kin=family)
    result = predict(kin, "age", "ridge", groups="kin", n_bootstrap=50, n_permutations=3)
    fold = result.predictions[result.predictions["model"] == "ridge"].set_index("participant_id")["fold"]
    assert fold.groupby(family).nunique().max() == 1
    twice = kin.take(np.repeat(np.arange(40), 2))
    twice.phenotypes = twice.phenotypes.assign(sample=np.tile([0, 1], 40))
    again = predict(twice, "age", "ridge", **FAST).predictions
    assert again.groupby("participant_id")["fold"].nunique().max() == 1 and set(again["sample"]) == {0, 1}


def test_one_site_at_a_time(people: Cohort) -> None:
    result = classify(people, "sex", "ridge", by="site", n_bootstrap=50, n_permutations=9)
    for site, part in result.predictions.groupby("fold"):
        assert set(people.phenotypes.loc[part["participant_id"], "site"]) == {site}
    folds = result.folds[result.folds["model"] == "ridge"]
    within = np.average(folds["auc"], weights=folds["n_test"])
    assert result.score("auc", over="within folds") == pytest.approx(within)
    assert result.settings["permute_within"] == "site" and "One site at a time" in result.summary()


def test_confounds_are_taken_out_inside_folds() -> None:
    people = planted(150, strength=1.5)
    table = people.phenotypes
    people.phenotypes = table.assign(score=table["motion"] + 0.2 * table["noise"])
    free = predict(people, "score", "ridge", **FAST).score("r")
    held = predict(people, "score", "ridge", confounds=["motion"], **FAST)
    assert free > 0.5 and held.score("r") < 0.2
    assert predict(people, "age", "ridge", confounds=["motion"], **FAST).score("r") > 0.6
    assert "'motion'" in held.summary()


def test_no_edge_tells_a_confound_any_longer() -> None:
    for signed in (True, False):
        train, test = planted(80, signed=signed).split(0.7, seed=0)
        if not signed:  # whether an edge is there tells the site
            weights = train.weights * (train.phenotypes["site"] != "x").to_numpy()[:, None]
            train = planted(len(train), weights=weights, phenotypes=train.phenotypes, signed=False)
        removal = ConfoundRemoval(["motion", "site"]).fit(train)
        left = modelled_edges(removal.transform(train)).astype(np.float64)
        confounds = np.c_[train.phenotypes["motion"], pd.get_dummies(train.phenotypes["site"])].astype(float)
        confounds -= confounds.mean(0)
        assert np.abs(confounds.T @ (left - left.mean(0))).max() < 1e-3
        spread = np.corrcoef(
            left[:, 0], modelled_edges(train)[:, 0] - LinearRegression().fit(confounds, modelled_edges(train)[:, 0]).predict(confounds)
        )
        assert spread[0, 1] == pytest.approx(1, abs=1e-5)
        assert removal.transform(test).weights.min() >= (-1 if signed else 0)
    people = planted(120, signed=False)
    there = (people.phenotypes["sex"] == "M").to_numpy()[:, None] | (np.random.default_rng(0).random(people.weights.shape) < 0.5)
    people = planted(120, signed=False, weights=people.weights * there)
    assert classify(people, "sex", "ridge", **FAST).score("auc") > 0.95
    # Through harmonise, since a confound that is the target itself is refused.
    assert classify(people, "sex", "ridge", harmonise=ConfoundRemoval(["sex"]), **FAST).score("auc") < 0.65


class Shift:
    """Adds a site's offset; remembers who it was fitted to."""

    fitted: list[set[str]] = []

    def fit(self, cohort: Cohort) -> Shift:
        Shift.fitted.append(set(cohort.ids))
        return self

    def transform(self, cohort: Cohort) -> Cohort:
        return cohort


def test_harmonisation_is_fitted_to_training_people(people: Cohort) -> None:
    Shift.fitted = []
    result = predict(people, "age", "ridge", harmonise=Shift(), **FAST)
    mine = result.predictions[result.predictions["model"] == "ridge"]
    for place, (_, part) in enumerate(mine.groupby("fold", sort=True)):
        assert Shift.fitted[place] == set(people.ids) - set(part["participant_id"])
    guilty = Shift()
    guilty.preserve = ("age",)  # type: ignore[attr-defined]
    with pytest.raises(ConnectomeError, match="gives it away"):
        predict(people, "age", "ridge", harmonise=guilty, **FAST)


def test_choice_among_models_is_nested(people: Cohort) -> None:
    result = predict(people, "age", [BestOf(["mean", "ridge"]), "ridge"], **FAST)
    assert result.models == ("best of mean, ridge", "ridge", "mean")
    assert result.score("r") == pytest.approx(result.score("r", "ridge"))


def test_people_without_a_value_are_left_out_and_counted(people: Cohort) -> None:
    gaps = people.take(slice(None))
    gaps.phenotypes = gaps.phenotypes.assign(age=gaps.phenotypes["age"].where(gaps.phenotypes["age"] > 30))
    lost = int(gaps.phenotypes["age"].isna().sum())
    result = predict_age(gaps, "ridge", **FAST)
    assert result.left_out == lost and result.n_people == 100 - lost
    assert f"{lost} of 100 people have no age" in result.summary()
    assert json.loads(result.to_json())["left_out"] == lost


def test_the_same_seed_gives_the_same_result(people: Cohort) -> None:
    first, second = (predict(people, "age", ["ridge", "cpm"], seed=3, n_bootstrap=50, n_permutations=3) for _ in range(2))
    assert first.to_json() == second.to_json()
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    assert predict(people, "age", "ridge", seed=4, **FAST).score("r") != first.score("r")


def test_graph_networks_take_part() -> None:
    result = classify(planted(40), "sex", ["ridge", ConnectomeGNN(epochs=1, hidden=4)], folds=2, **FAST)
    assert result.models == ("ridge", "ConnectomeGNN", "mean")
    assert result.predictions["p_M"].between(0, 1).all()


def test_bad_requests_are_refused_in_a_sentence(people: Cohort) -> None:
    rare = people.take(slice(None))
    rare.phenotypes = rare.phenotypes.assign(sex=np.where(np.arange(100) < 3, "M", "F"), site="x", half=[None] * 50 + ["x"] * 50)
    cases = [
        (lambda: classify(rare, "sex", **FAST), "3 people or groups with sex 'M' cannot be shared out to 5 folds"),
        (lambda: classify(rare.take(slice(5, None)), "sex", **FAST), "at least two levels"),
        (lambda: classify(people, "sex", by="nowhere", **FAST), "no column 'nowhere'"),
        (lambda: predict(rare, "age", by="site", **FAST), "everybody's 'site' is 'x'"),
        (lambda: predict(rare, "age", by="half", **FAST), "50 people have no 'half'"),
        (lambda: predict(people, "height", **FAST), "no column 'height'"),
        (lambda: predict(people, "sex", **FAST), "use classify"),
        (lambda: classify(people, "age", **FAST), "use predict"),
        (lambda: predict(people, "age", "forest", **FAST), "no model 'forest'"),
        (lambda: predict(people, "age", ["ridge", "ridge"], **FAST), "two models are called 'ridge'"),
        (lambda: predict(people, "age", folds=200, **FAST), "between 2 and 100 folds"),
        (lambda: predict(people, "age", confounds="age", **FAST), "cannot be taken out"),
        (lambda: predict(people, "age", by="site", confounds="site", **FAST), "cannot be learned"),
        (lambda: predict(people, "age", by="site", repeats=2, **FAST), "one way"),
        (lambda: predict_age(people, correction="smith", **FAST), "correction"),  # type: ignore[arg-type]
        (lambda: predict(people, "age", groups="clan", **FAST), "clan"),
        (lambda: predict(people, "age", folds=2.5, **FAST), "folds to be 0 or more, a whole number, got 2.5"),  # type: ignore[arg-type]
        (lambda: predict(people, "age", RidgeRegression, **FAST), "make an object of it"),  # type: ignore[arg-type]
        (lambda: predict(people, "age", LinearRegression(), **FAST), "LinearRegression is not made for"),
        (lambda: predict(people, "age", harmonise="site", **FAST), "ComBat"),  # type: ignore[arg-type]
    ]
    for call, sentence in cases:
        with pytest.raises(ConnectomeError, match=sentence):
            call()


@pytest.mark.parametrize("model", ["ridge", "kernel ridge", "cpm"])
def test_a_class_may_have_as_many_people_as_there_are_folds(people: Cohort, model: str) -> None:
    """Permuted, all of them may be among those who are predicted, and a training fold has one class."""
    few = people.take(slice(0, 30))
    few.phenotypes = few.phenotypes.assign(group=["a"] * 27 + ["b"] * 3)
    result = classify(few, "group", model, folds=3, n_bootstrap=20, n_permutations=30)
    row = result.scores[(result.scores["score"] == "auc") & (result.scores["model"] == model)].iloc[0]
    assert 0 <= row["value"] <= 1 and 0 < row["p"] <= 1


def test_splits_are_shared_out_by_class(people: Cohort) -> None:
    target = read_target(people, "group")
    for split in splits_of_people(people.units(), target, 5, 1, 0):
        counts = np.bincount(target.values[split.test].astype(int), minlength=3)
        assert counts.min() >= 6 and counts.max() <= 8
    mixed = people.take(slice(None))
    mixed.phenotypes = mixed.phenotypes.assign(pair=np.arange(100) // 2, place=np.resize(["a", "b"], 100))
    with pytest.raises(ConnectomeError, match="to learn from"):  # every pair has one at either place
        splits_by_column(mixed, "place", mixed.units("pair"), target)


def test_commands(people: Cohort, tmp_path: Path) -> None:
    people.save(tmp_path / "cohort")
    quick = ["--n-bootstrap", "20", "--n-permutations", "0", "--folds", "3"]
    run = CliRunner().invoke(app, ["predict-age", str(tmp_path / "cohort"), "--out", str(tmp_path / "age"), "--model", "ridge,cpm", *quick])
    assert run.exit_code == 0, run.output
    assert "MAE, years" in run.output and "cpm" in run.output
    assert {one.name for one in (tmp_path / "age").iterdir()} == {
        "scores.tsv", "folds.tsv", "predictions.tsv", "calibration.tsv", "prediction.json",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "age" / "predictions.tsv", sep="\t")
    assert {"participant_id", "predicted", "gap", "corrected"} <= set(table) and len(table) == 300
    command = [
        "classify",
        str(tmp_path / "cohort"),
        "sex",
        "--out",
        str(tmp_path / "sex"),
        "--by",
        "site",
        "--confound",
        "motion",
        "--json",
    ]
    run = CliRunner().invoke(app, [*command, *quick])
    assert run.exit_code == 0, run.output
    answer = json.loads(run.stdout)
    assert answer["settings"]["by"] == "site" and 0 <= answer["models"]["ridge"]["everybody"]["auc"]["value"] <= 1
    again = CliRunner().invoke(app, [*command, *quick])
    assert again.exit_code == 2 and "exists" in str(again.output) + str(again.stderr)

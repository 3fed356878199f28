"""Train on generated, test on real, and the reverse: copies are as good as real people, noise is as good as nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import RidgeCV
from tiny import make_atlas, make_cohort

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import evaluate, train_on_generated
from connectome_gnn.evaluation.usefulness import TransferScore, usefulness_scores

R = 12
E = R * (R - 1) // 2
RNG = np.random.default_rng(0)
EFFECTS, SHARED = 0.25 * RNG.standard_normal((2, E)), 0.6 * RNG.standard_normal((4, E))
DESCRIBED = {"age": {"Units": "years"}, "sex": {"Levels": {"0": "female", "1": "male"}}}


def profiles(n: int, prefix: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    people = pd.Index([f"{prefix}{number:04d}" for number in range(n)], name="participant_id")
    return pd.DataFrame({"age": rng.normal(60, 8, n), "sex": rng.choice(["0", "1"], n)}, index=people)


def people(table: pd.DataFrame, seed: int, noise: float = 1.0, **changes: Any) -> Cohort:
    """People with these profiles; ``noise`` is how far they are from what their profile alone would make of them."""
    rng = np.random.default_rng([7, seed])
    profile = np.stack([(table["age"] - 60) / 8, np.where(table["sex"] == "1", 1, -1)], 1)
    own = rng.standard_normal((len(table), 4)) @ SHARED + rng.standard_normal((len(table), E))
    weights = np.expm1(np.maximum(4 + profile @ EFFECTS + noise * own, 0)).astype(np.float32)
    return Cohort(weights, table, make_atlas(R), **{"measure": "streamline_count", "described": DESCRIBED, **changes})


@pytest.fixture(scope="module")
def train() -> Cohort:
    return people(profiles(240, "train", 1), 1)


@pytest.fixture(scope="module")
def real() -> Cohort:
    return people(profiles(160, "test", 2), 2)


def shuffled(cohort: Cohort, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    table = cohort.phenotypes.apply(lambda column: rng.permutation(column.to_numpy()))
    return Cohort(cohort.weights, table, cohort.atlas, measure=cohort.measure, described=cohort.described, kind="sample")


def scored(generated: Cohort, real: Cohort, train: Cohort, **options: Any) -> dict[str, dict[str, Any]]:
    given = {"parts": "usefulness", "measures": (), "n_bootstrap": 200, "n_permutations": 200, **options}
    return evaluate(generated, real, train, **given).to_dict()


# --- known truths ---------------------------------------------------------------------------------------------------------


def test_new_people_of_the_same_world_are_as_good_as_real_ones(train, real):
    scores = scored(people(profiles(240, "new", 3), 3, kind="sample"), real, train)
    for target in ("age", "sex"):
        ours, theirs, reverse = (scores[f"{name}_{target}"] for name in ("train_on_generated", "train_on_real", "test_on_generated"))
        assert ours["low"] < theirs["value"] < ours["high"]
        assert ours["value"] == pytest.approx(theirs["value"], abs=0.1) and reverse["value"] == pytest.approx(theirs["value"], abs=0.1)
        assert ours["low"] < ours["value"] < ours["high"] and ours["low"] > ours["null"] + 0.2
        assert ours["n"] == 160 and reverse["n"] == 240
    assert scores["train_on_real_age"]["null"] == 0 and scores["train_on_real_sex"]["null"] == 0.5


def test_copies_of_training_people_teach_what_those_teach(train, real):
    copies = Cohort(train.weights, train.phenotypes.set_axis(train.ids + "x"), train.atlas, measure=train.measure, described=DESCRIBED)
    scores = scored(copies, real, train)
    for target in ("age", "sex"):
        ours, theirs = scores[f"train_on_generated_{target}"]["value"], scores[f"train_on_real_{target}"]["value"]
        assert ours == pytest.approx(theirs, abs=0.02)
    assert scores["test_on_generated_age"]["value"] > scores["train_on_real_age"]["value"] + 0.02  # the learner has seen them


def test_people_without_their_targets_teach_nothing(train, real):
    scores = scored(shuffled(people(real.phenotypes, 4)), real, train)
    for target in ("age", "sex"):
        for direction in ("train_on_generated", "test_on_generated"):
            score = scores[f"{direction}_{target}"]
            assert score["low"] < score["null"] < score["high"]
        assert scores[f"train_on_real_{target}"]["low"] > score["null"] + 0.2


def test_stereotypes_are_too_easy(train, real):
    """People with half of what is their own: the reverse is better on them than on real people."""
    scores = scored(people(real.phenotypes, 5, noise=0.5, kind="sample"), real, train)
    assert scores["test_on_generated_age"]["low"] > scores["train_on_real_age"]["value"]


# --- numbers --------------------------------------------------------------------------------------------------------------


def test_scores_are_scikit_learns(train, real):
    score = TransferScore("train_on_real", "age").compute(people(real.phenotypes, 4), real, train)
    x, x_test = np.log1p(train.weights), np.log1p(real.weights)
    z, z_test = (x - x.mean(0)) / x.std(0), (x_test - x.mean(0)) / x.std(0)
    theirs = RidgeCV(np.geomspace(1, 1e5, 40)).fit(z, train.phenotypes["age"]).predict(z_test)
    # The scores learn from as many of the reference as there are generated people, 160 of 240, on a strength chosen by other folds.
    assert score.values[0] == pytest.approx(pearsonr(theirs, real.phenotypes["age"])[0], abs=0.05)
    assert score.details.loc[0, ["trained on", "tested on"]].tolist() == [160, 160]


def test_intervals_hold_what_is_expected():
    """Coverage over worlds in which everybody is drawn anew, learned from and tested on; the truth is the mean over them."""
    values, held = [], []
    for seed in range(40):
        teachers, tested = people(profiles(60, "train", 300 + seed), 300 + seed), people(profiles(60, "test", 400 + seed), 400 + seed)
        options = {"parts": [TransferScore("train_on_generated", "age")], "n_permutations": 0, "measures": (), "n_bootstrap": 200}
        row = evaluate(teachers, tested, people(profiles(60, "other", seed), seed), **options).table.iloc[0]
        values.append(row["value"])
        held.append((row["low"], row["high"]))
    low, high = np.array(held).T
    assert np.mean((low <= np.mean(values)) & (np.mean(values) <= high)) >= 0.87
    assert np.mean(high - low) < 6 * np.std(values)


def test_samples_of_a_person_are_rows_of_one_person(train, real):
    table = real.phenotypes.loc[np.repeat(real.ids, 2)].assign(sample=np.tile([0, 1], 160))
    generated = people(table, 6, kind="sample")
    scores = scored(generated, real, train)
    alone = scored(people(real.phenotypes, 4, kind="sample"), real, train)
    assert scores["test_on_generated_age"]["n"] == 160
    width = [s["test_on_generated_age"]["high"] - s["test_on_generated_age"]["low"] for s in (scores, alone)]
    assert width[0] < width[1]
    estimate = TransferScore("train_on_generated", "age").compute(generated, real, train)
    assert estimate.details.loc[0, "trained on"] == 240  # as many as the reference has, of 320 rows


# --- what is undefined ----------------------------------------------------------------------------------------------------


def test_three_scores_a_target_and_none_of_them_needs_the_same_people():
    names = [score.name for score in usefulness_scores()]
    assert names == [f"{d}_{t}" for t in ("age", "sex") for d in ("train_on_generated", "train_on_real", "test_on_generated")]
    assert not any(score.paired or score.topology for score in usefulness_scores())


def test_what_is_not_there_is_undefined_with_its_reason(train, real):
    generated = people(real.phenotypes, 4, kind="sample")

    def without(cohort: Cohort, table: pd.DataFrame) -> Cohort:
        return Cohort(cohort.weights, table, cohort.atlas, measure=cohort.measure, described=cohort.described)

    scores = scored(without(generated, generated.phenotypes[["sex"]]), real, train)
    assert scores["train_on_generated_age"]["value"] is None
    assert "has no phenotype 'age' to predict; it has 'sex'" in scores["train_on_generated_age"]["reason"]
    assert scores["train_on_generated_sex"]["value"] > 0.7
    scores = scored(generated, real, without(train, train.phenotypes.assign(sex="1")))
    assert "everybody has sex '1'" in scores["train_on_real_sex"]["reason"]
    scores = scored(people(real.phenotypes, 4, kind="expected"), real, train)
    assert all("score samples" in score["reason"] and score["value"] is None for score in scores.values())
    scores = scored(
        generated, real, Cohort(train.weights, train.phenotypes.assign(sex=RNG.random(240)), train.atlas, measure=train.measure)
    )
    assert "a number in one cohort and a class in another" in scores["train_on_real_sex"]["reason"]


def test_people_without_a_target_are_left_out(train, real):
    table = real.phenotypes.copy()
    table.iloc[:30, 0] = np.nan
    scores = scored(people(table.fillna({"age": 60}), 4), Cohort(real.weights, table, real.atlas, measure=real.measure), train)
    assert scores["train_on_generated_age"]["n"] == 130 and scores["train_on_generated_sex"]["n"] == 160


# --- the function ---------------------------------------------------------------------------------------------------------


def test_a_table_of_learners_and_directions(train, real):
    generated = people(real.phenotypes, 4, kind="sample")
    table = train_on_generated(generated, real, reference=train, n_bootstrap=100)
    assert set(table["learner"]) == {"lasso", "ridge", "l1 logistic", "l2 logistic"}
    pairs = table[["trained_on", "tested_on"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["generated", "real"], ["reference", "real"], ["reference", "generated"]]
    main = table[table["score"].isin(["r", "auc"])]
    assert (
        (main["low"] < main["value"]).all() and (main["value"] < main["high"] + 1e-12).all() and (main["value"] > main["null"] + 0.2).all()
    )
    assert set(table["n_train"]) == {160} and set(table["n_test"]) == {160}
    pd.testing.assert_frame_equal(table, train_on_generated(generated, real, reference=train, n_bootstrap=100))
    reverse = train_on_generated(generated, real, ("age",), learners=("ridge",), n_bootstrap=0)
    assert reverse[["trained_on", "tested_on"]].drop_duplicates().to_numpy().tolist() == [["generated", "real"], ["real", "generated"]]
    assert reverse["low"].isna().all()


def test_mistakes_are_sentences(train, real):
    generated = people(real.phenotypes, 4, kind="sample")
    renamed = real.phenotypes[["age"]].rename(columns={"age": "years"})
    with pytest.raises(ConnectomeError, match="no phenotype 'height'"):
        train_on_generated(generated, real, ("height",))
    with pytest.raises(ConnectomeError, match="neither age nor sex in common"):
        train_on_generated(Cohort(real.weights, renamed, real.atlas, measure=real.measure), real)
    with pytest.raises(ConnectomeError, match="no learner given predicts"):
        train_on_generated(generated, real, ("age",), learners=("l2 logistic",))
    with pytest.raises(ConnectomeError, match="not on the atlas"):
        train_on_generated(make_cohort(20), real)
    with pytest.raises(ConnectomeError, match="expected connectomes, which are no people"):
        train_on_generated(people(real.phenotypes, 4, kind="expected"), real)

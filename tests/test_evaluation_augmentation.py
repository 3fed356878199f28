"""The augmentation study: no leak, known truths, the same numbers however it is run, and sentences for mistakes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from tiny import make_atlas, make_cohort
from typer.testing import CliRunner

from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import augmentation_study
from connectome_gnn.evaluation.arms import averaged_pairs, mixed_up, real_people
from connectome_gnn.evaluation.learning_curves import AugmentationStudy, corrected_interval
from connectome_gnn.generation.rivals import RIVALS

R = 12
E = R * (R - 1) // 2
BOTH = {"targets": ("age", "sex"), "learners": ("ridge", "l2 logistic")}
PLAIN = {"targets": ("age", "sex"), "learners": {"r": Ridge(50), "l": LogisticRegression(C=0.01)}}
"""Both targets, where the learner is not what matters."""


class World:
    """People whose age and sex move edges by a known amount, on the modelling scale."""

    def __init__(self, seed: int = 0, size: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.effects = size * rng.standard_normal((2, E))
        self.shared = 0.6 * rng.standard_normal((4, E))

    def weights(self, table: pd.DataFrame, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        profile = np.stack([(table["age"] - 60) / 8, np.where(table["sex"] == "1", 1, -1)], 1)
        values = 4 + profile @ self.effects + rng.standard_normal((len(table), 4)) @ self.shared + rng.standard_normal((len(table), E))
        return np.expm1(np.maximum(values, 0)).astype(np.float32)

    def cohort(self, n: int = 120, seed: int = 1, **changes: Any) -> Cohort:
        rng = np.random.default_rng(seed)
        people = pd.Index([f"p{number:04d}" for number in range(n)], name="participant_id")
        table = pd.DataFrame({"age": rng.normal(60, 8, n), "sex": rng.choice(["0", "1"], n)}, index=people)
        return self.as_cohort(self.weights(table, seed + 1), table, **changes)

    def as_cohort(self, weights: np.ndarray, table: pd.DataFrame, **changes: Any) -> Cohort:
        described = {"age": {"Units": "years"}, "sex": {"Levels": {"0": "female", "1": "male"}}}
        options: dict[str, Any] = {"measure": "streamline_count", "described": described, **changes}
        return Cohort(weights, table, make_atlas(R), **options)


class Fresh:
    """A generator that knows the truth: new people of the same world."""

    def __init__(self, seed: int) -> None:
        pass

    def fit(self, cohort: Cohort) -> Fresh:
        return self

    def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
        return WORLD.as_cohort(WORLD.weights(phenotypes, seed), phenotypes, kind="sample")


class Noise(Fresh):
    """A generator that knows nothing: people of no particular age or sex."""

    def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
        shuffled = phenotypes.sample(frac=1, random_state=seed).set_axis(phenotypes.index)
        return WORLD.as_cohort(WORLD.weights(shuffled, seed), phenotypes, kind="sample")


class Fussy(Fresh):
    """A generator that needs 20 people."""

    def fit(self, cohort: Cohort) -> Fresh:
        if len(cohort) < 20:
            raise ConnectomeError(f"{len(cohort)} people are too few, 20 are needed")
        return self


WORLD = World()


def study(cohort: Cohort | None = None, make: Any = Fresh, **options: Any) -> AugmentationStudy:
    given = {"targets": ("age",), "sizes": (16,), "repeats": 3, "learners": ("ridge",), "arms": ("real", "real+generated"), **options}
    return augmentation_study(make, WORLD.cohort() if cohort is None else cohort, **given)


def point(answer: AugmentationStudy, **where: Any) -> pd.Series:
    curves = answer.curves
    for name, value in where.items():
        curves = curves[curves[name] == value]
    assert len(curves) == 1
    return curves.iloc[0]


# --- no leak --------------------------------------------------------------------------------------------------------------


def test_a_generator_sees_the_n_people_and_nobody_held_out():
    seen: list[tuple[list[str], list[str], pd.DataFrame]] = []

    class Spy(Fresh):
        def fit(self, cohort: Cohort) -> Fresh:
            self.people = list(cohort.ids)
            self.table = cohort.phenotypes
            np.testing.assert_array_equal(cohort.weights, everybody.take(everybody.ids.get_indexer(cohort.ids)).weights)
            return self

        def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
            seen.append((self.people, list(phenotypes.index), phenotypes.merge(self.table, on=["age", "sex"], how="left", indicator=True)))
            return super().sample(phenotypes, n, seed)

    everybody = WORLD.cohort(60)
    table = study(everybody, Spy, sizes=(8, 16, 32), repeats=2, holdout=0.4, arms=("real", "real+generated", "generated")).table
    assert [len(people) for people, _, _ in seen] == [8, 8, 16, 16, 32, 32]  # one fit a repeat and size, both arms from it
    for people, names, found in seen:
        assert len(set(people)) == len(people) == len(names)
        assert not set(names) & set(everybody.ids)
        assert (found["_merge"] == "both").all()  # profiles are those of the people fitted to, each once
        assert not found["age"].duplicated().any()
    by_repeat = [[set(people) for people, _, _ in seen[repeat::2]] for repeat in (0, 1)]
    for small, middle, large in by_repeat:
        assert small < middle < large
    assert by_repeat[0][2] != by_repeat[1][2]
    assert set(table["n_test"]) == {24}

    # Held-out people are the only others who matter: change everybody who is neither learned from nor held out, and nothing changes.
    before = study(everybody, sizes=(8, 16), repeats=1, holdout=0.4).table
    weights = everybody.weights.copy()
    idle = everybody.ids.isin(by_repeat[0][2] - by_repeat[0][1])
    weights[idle] = 0
    after = study(WORLD.as_cohort(weights, everybody.phenotypes), sizes=(8, 16), repeats=1, holdout=0.4).table
    pd.testing.assert_frame_equal(before, after)
    weights[everybody.ids.isin(by_repeat[0][0])] = 0
    changed = study(WORLD.as_cohort(weights, everybody.phenotypes), sizes=(8, 16), repeats=1, holdout=0.4).table
    assert (changed["value"] != before["value"]).all()


def test_nobody_is_learned_from_and_tested_on():
    taught: list[set[bytes]] = []
    tested: list[set[bytes]] = []

    class Recorder(RegressorMixin, BaseEstimator):
        def fit(self, x: np.ndarray, y: np.ndarray) -> Recorder:
            taught.append({row.tobytes() for row in x})
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            tested.append({row.tobytes() for row in x})
            return np.zeros(len(x))

    study(WORLD.cohort(60), sizes=(10, 42), repeats=4, arms=("real",), learners={"recorder": Recorder()})
    assert [len(rows) for rows in taught] == [10] * 4 + [42] * 4 and [len(rows) for rows in tested] == [18] * 8
    for learned, held in zip(taught, tested, strict=True):  # standardised alike, so a person is the same bytes on both sides
        assert not learned & held


def test_people_who_belong_together_are_never_on_both_sides():
    everybody = WORLD.cohort(80)
    family = np.arange(80) // 4
    everybody = WORLD.as_cohort(everybody.weights, everybody.phenotypes.assign(family_id=[f"f{number}" for number in family]))
    seen: list[set[str]] = []

    class Spy(Fresh):
        def fit(self, cohort: Cohort) -> Fresh:
            seen.append(set(cohort.phenotypes["family_id"]))
            return self

    answer = study(everybody, Spy, sizes=(56,), repeats=4, holdout=0.3)
    assert [len(families) for families in seen] == [14] * 4  # all 56 others, whole families, so the 6 held out are whole too
    assert set(answer.table["n_test"]) == {24}


def test_two_of_each_class_come_first():
    everybody = WORLD.cohort(100)
    rare = everybody.phenotypes.assign(diagnosis=["0"] * 8 + ["1"] * 92)
    seen: list[pd.Series] = []

    class Spy(Fresh):
        def fit(self, cohort: Cohort) -> Fresh:
            seen.append(cohort.phenotypes["diagnosis"].value_counts())
            return self

    cohort = WORLD.as_cohort(everybody.weights, rare)
    table = study(cohort, Spy, targets=("diagnosis", "sex"), sizes=(8, 40), repeats=3, learners=PLAIN["learners"]).table
    assert all(counts["0"] >= 2 for counts in seen)
    assert all(counts["0"] <= 6 for counts in seen)
    assert table["value"].notna().all()


# --- known truths ---------------------------------------------------------------------------------------------------------


def test_new_people_help_and_noise_does_not():
    arms = ("real", "real+generated", "generated")
    options = {"sizes": (8,), "repeats": 8, "arms": arms, "n_generated": 60, **BOTH}
    truth, noise = (study(WORLD.cohort(200), make, **options) for make in (Fresh, Noise))
    for target, score in (("age", "r"), ("sex", "auc")):
        where = {"target": target, "score": score}
        assert point(truth, arm="real+generated", **where)["difference_low"] > 0
        assert point(truth, arm="generated", **where)["difference"] > 0
        assert point(noise, arm="real+generated", **where)["difference"] < 0.02
        chance = point(noise, arm="generated", **where)
        assert chance["low"] < (0.5 if score == "auc" else 0) < chance["high"]
        assert point(noise, arm="generated", **where)["difference_high"] < 0.1
        # The same people in the same repeats: what was made of them does not touch the real arm.
        assert point(truth, arm="real", **where)["value"] == point(noise, arm="real", **where)["value"]


def test_shuffled_targets_are_predicted_by_chance_in_every_arm():
    cohort = WORLD.cohort(100)
    rng = np.random.default_rng(3)
    shuffled = cohort.phenotypes.apply(lambda column: rng.permutation(column.to_numpy()))
    answer = study(
        WORLD.as_cohort(cohort.weights, shuffled),
        lambda seed: RIVALS["ridge"](seed),
        sizes=(40,),
        repeats=4,
        arms=("real", "real+generated", "generated", "pairs averaged", "mixup"),
        **BOTH,
    )
    for row in answer.curves[answer.curves["score"].isin(["r", "auc"])].itertuples():
        assert row.low <= (0.5 if row.score == "auc" else 0) <= row.high, row


def test_more_people_predict_better_and_r2_and_errors_say_so_too():
    answer = study(sizes=(8, 72), arms=("real",), repeats=3, targets=("age", "sex"), learners=None)
    curves = answer.curves.set_index(["learner", "score", "size"])["value"]
    for learner, score in (("ridge", "r"), ("ridge", "r2"), ("lasso", "r"), ("l1 logistic", "auc"), ("l2 logistic", "accuracy")):
        assert curves[learner, score, 72] > curves[learner, score, 8] + 0.05
    assert curves["ridge", "mae", 72] < curves["ridge", "mae", 8]


def test_copies_of_real_people_change_nothing_much():
    class Copies(Fresh):
        def fit(self, cohort: Cohort) -> Fresh:
            self.cohort = cohort
            return self

        def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
            of = pd.Index(self.cohort.phenotypes["age"]).get_indexer(phenotypes["age"])
            return WORLD.as_cohort(self.cohort.weights[of], phenotypes, kind="sample")

    answer = study(make=Copies, sizes=(32,), repeats=3, arms=("real", "real+generated", "generated"), **BOTH)
    rows = answer.curves[(answer.curves["arm"] != "real") & answer.curves["score"].isin(["r", "auc"])]
    # The inner folds know a copy by the person it was made from, so that the strengths are those of the real arm.
    assert rows["difference"].abs().max() < 0.02


# --- arms -----------------------------------------------------------------------------------------------------------------


def test_averages_are_of_two_people_of_one_class():
    cohort = WORLD.cohort(30)
    sexes = cohort.phenotypes["sex"].to_numpy().astype(int)
    real = real_people(cohort, {"age": cohort.phenotypes["age"].to_numpy(), "sex": np.eye(2)[sexes]})
    made = averaged_pairs(real, sexes, 50, np.random.default_rng(0))
    first, second = made.made_from.T
    assert len(made) == 50 and (first != second).all() and (sexes[first] == sexes[second]).all()
    np.testing.assert_allclose(made.x, (np.log1p(cohort.weights)[first] + np.log1p(cohort.weights)[second]) / 2, rtol=1e-5)
    np.testing.assert_allclose(made.y["age"], (real.y["age"][first] + real.y["age"][second]) / 2)
    np.testing.assert_array_equal(made.y["sex"], np.eye(2)[sexes[first]])
    assert not made.real.any()
    with pytest.raises(ConnectomeError, match="no two of 30 people are of the same class"):
        averaged_pairs(real, np.arange(30), 5, np.random.default_rng(0))


def test_mixtures_lie_between_two_people_targets_included():
    cohort = WORLD.cohort(30)
    sexes = cohort.phenotypes["sex"].to_numpy().astype(int)
    real = real_people(cohort, {"age": cohort.phenotypes["age"].to_numpy(), "sex": np.eye(2)[sexes]})
    made = mixed_up(real, 400, np.random.default_rng(0))
    first, second = made.made_from.T
    assert (first != second).all() and (sexes[first] != sexes[second]).any()
    share = (made.y["age"] - real.y["age"][second]) / (real.y["age"][first] - real.y["age"][second])
    np.testing.assert_allclose(made.x, share[:, None] * real.x[first] + (1 - share[:, None]) * real.x[second], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(made.y["sex"], share[:, None] * real.y["sex"][first] + (1 - share[:, None]) * real.y["sex"][second])
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert share.var() == pytest.approx(0.25 / 1.8, rel=0.15)  # of a Beta(.4, .4)


def test_every_arm_has_as_many_made_up_people():
    arms = ("real", "real+generated", "generated", "pairs averaged", "mixup")
    for n_generated, made in ((None, 12), (30, 30)):
        table = study(sizes=(12,), repeats=1, arms=arms, n_generated=n_generated).table
        assert table.groupby("arm")["n_train"].first().to_dict() == {
            "real": 12,
            "generated": made,
            "real+generated": 12 + made,
            "pairs averaged": 12 + made,
            "mixup": 12 + made,
        }


# --- what cannot be had ---------------------------------------------------------------------------------------------------


def test_too_few_people_for_a_generator_are_a_reason_and_no_crash():
    answer = study(make=Fussy, sizes=(8, 24), repeats=2, arms=("real", "real+generated", "mixup"))
    small = answer.table[(answer.table["size"] == 8) & (answer.table["arm"] == "real+generated")]
    assert small["value"].isna().all() and set(small["reason"]) == {"8 people are too few, 20 are needed"}
    assert answer.table.drop(small.index)["value"].notna().all()
    row = point(answer, target="age", score="r", size=8, arm="real+generated")
    assert (row["n_repeats"], row["reason"]) == (0, "8 people are too few, 20 are needed") and np.isnan(row["difference"])
    assert "real+generated at n = 8: 8 people are too few, 20 are needed" in answer.summary()


def test_sizes_beyond_the_cohort_are_skipped_with_a_reason():
    answer = study(sizes=(16, 512))
    large = answer.table[answer.table["size"] == 512]
    assert large["value"].isna().all() and set(large["reason"]) == {"only 84 people to learn from: 120 without those held out"}
    with pytest.raises(ConnectomeError, match="leaves 84 people to learn from, fewer than the smallest size 200"):
        study(sizes=(200, 512))


def test_people_without_a_target_are_left_out_and_counted():
    cohort = WORLD.cohort(60)
    table = cohort.phenotypes.copy()
    table.iloc[:7, 0], table.iloc[5:9, 1] = np.nan, None
    seen: set[str] = set()

    class Spy(Fresh):
        def fit(self, cohort: Cohort) -> Fresh:
            seen.update(cohort.ids)
            return self

    answer = study(WORLD.as_cohort(cohort.weights, table), Spy, sizes=(30,), **{**PLAIN, "repeats": 6})
    assert answer.notes == ("9 of 60 people lack age or sex and are left out",)
    assert not seen & set(cohort.ids[:9]) and len(seen) > 40
    assert answer.notes[0] in answer.summary()


def test_too_few_of_a_class_are_a_reason():
    answer = study(sizes=(3, 16), arms=("real",), **{**PLAIN, "repeats": 2})
    small = answer.table[(answer.table["size"] == 3) & (answer.table["target"] == "sex")]
    assert small["reason"].str.contains("fewer than 2 training people with sex").all()
    assert answer.table.drop(small.index)["value"].notna().all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": ("agee",)}, "no phenotype 'agee' to predict; it has 'age', 'sex'"),
        ({"targets": ()}, "at least one target"),
        ({"arms": ("real", "fake")}, "unknown arm 'fake'; the arms are 'real', 'real\\+generated'"),
        ({"sizes": (1, 8)}, "a size counts people: expected a whole number of 2 or more, got 1"),
        ({"sizes": ()}, "at least one size"),
        ({"sizes": (8.5,)}, "got 8.5"),
        ({"repeats": 0}, "repeats are counted"),
        ({"n_generated": 0}, "n_generated counts people"),
        ({"holdout": 1.0}, "holdout is a share of people between 0 and 1, got 1.0"),
        ({"seed": -1}, "seed"),
        ({"targets": ("sex",)}, "target 'sex' needs a learner of classes; 'ridge' is none"),
        ({"targets": ("sex",), "learners": {"ols": LinearRegression()}}, "'ols' is none"),
    ],
)
def test_mistakes_are_sentences(options, says):
    with pytest.raises(ConnectomeError, match=says):
        study(**options)


def test_cohorts_that_will_not_do():
    cohort = WORLD.cohort(40)
    twice = cohort.phenotypes.iloc[np.repeat(np.arange(20), 2)].assign(sample=[0, 1] * 20)
    with pytest.raises(ConnectomeError, match="everybody has age '60'"):
        study(WORLD.as_cohort(cohort.weights, cohort.phenotypes.assign(age=60.0)))
    with pytest.raises(ConnectomeError, match="everybody has sex '1'"):
        study(WORLD.as_cohort(cohort.weights, cohort.phenotypes.assign(sex="1")), targets=("sex",))
    with pytest.raises(ConnectomeError, match="expected connectomes, which are no people"):
        study(WORLD.cohort(kind="expected"))
    with pytest.raises(ConnectomeError, match="several rows a person"):
        study(WORLD.as_cohort(cohort.weights, twice))


def test_a_generator_that_hands_back_something_else():
    class Short(Fresh):
        def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
            return super().sample(phenotypes.iloc[1:], n, seed)

    class Other(Fresh):
        def sample(self, phenotypes: pd.DataFrame, n: int = 1, seed: int = 0) -> Cohort:
            return make_cohort(len(phenotypes), phenotypes=phenotypes)

    assert "one row for each of 16 profiles" in study(make=Short).table["reason"].max()
    assert "not on the atlas" in study(make=Other).table["reason"].max()


# --- the same numbers however it is run -----------------------------------------------------------------------------------


def test_one_seed_one_answer_whatever_else_is_asked_for():
    first = study(sizes=(8, 24)).table
    pd.testing.assert_frame_equal(first, study(sizes=(8, 24)).table)
    assert not first["value"].equals(study(sizes=(8, 24), seed=1).table["value"])
    more = study(sizes=(8, 16, 24), repeats=4, arms=("mixup", "real", "generated", "real+generated")).table
    keys = ["target", "learner", "arm", "size", "repeat", "score"]
    both = first.merge(more, on=keys, suffixes=("", "_more"))
    assert len(both) == len(first)
    np.testing.assert_array_equal(both["value"], both["value_more"])


def test_processes_do_not_change_the_numbers():
    options = {"sizes": (8, 24), "repeats": 2, "arms": ("real", "pairs averaged", "mixup"), "learners": ("ridge", "l1 logistic")}
    cohort = make_cohort(80, signed=True)
    one = augmentation_study(Fresh, cohort, **options)
    two = augmentation_study(Fresh, cohort, **options, n_jobs=2)
    pd.testing.assert_frame_equal(one.table, two.table)


def test_a_broken_run_goes_on_where_it_stopped(tmp_path):
    options = {"sizes": (8, 24), "repeats": 3}
    whole = study(**options).table
    fits: list[int] = []

    class Dies(Fresh):
        __qualname__ = Fresh.__qualname__
        after = 3

        def fit(self, cohort: Cohort) -> Fresh:
            if len(fits) == self.after:
                raise KeyboardInterrupt
            fits.append(len(cohort))
            return self

    file = tmp_path / "folder" / "study.jsonl"
    with pytest.raises(KeyboardInterrupt):
        study(make=Dies, resume=file, **options)
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 3
    file.write_text("".join(lines) + '{"repeat": 1, "size": 24, "rows": [{"tar')  # killed while it wrote
    Dies.after = 100
    pd.testing.assert_frame_equal(study(make=Dies, resume=file, **options).table, whole)
    assert len(fits) == 3 + 3
    pd.testing.assert_frame_equal(study(make=Dies, resume=file, **options).table, whole)
    assert len(fits) == 6  # nothing is left to do
    longer = study(make=Dies, resume=file, sizes=(8, 24), repeats=4)
    assert len(fits) == 8
    pd.testing.assert_frame_equal(longer.table, study(sizes=(8, 24), repeats=4).table)
    assert json.loads(file.read_text().splitlines()[0])["study"]["seed"] == 0


def test_another_studys_file_is_refused(tmp_path):
    file = tmp_path / "study.jsonl"
    study(resume=file, repeats=1)
    for options, says in (
        ({"seed": 1}, "its seed is 0, here it is 1"),
        ({"n_generated": 4}, "its n_generated is null, here it is 4"),
        ({"cohort": WORLD.cohort(seed=5)}, "its fingerprint"),
        ({"make": Noise}, 'its generator is "Fresh"'),
    ):
        with pytest.raises(ConnectomeError, match=says):
            study(resume=file, repeats=1, **options)
    file.write_text("age\tsex\n1\t2\n")
    with pytest.raises(ConnectomeError, match="holds no finished repeats"):
        study(resume=file)
    with pytest.raises(ConnectomeError, match="is a folder"):
        study(resume=tmp_path)


# --- the table and its intervals ------------------------------------------------------------------------------------------


def test_curves_are_means_of_the_table_and_differences_are_paired():
    answer = study(repeats=5)
    wide = answer.table.pivot(index="repeat", columns=["target", "score", "arm"], values="value")
    real, both = wide["age", "r", "real"], wide["age", "r", "real+generated"]
    row = point(answer, target="age", score="r", arm="real+generated")
    assert row["value"] == pytest.approx(both.mean()) and row["difference"] == pytest.approx((both - real).mean())
    assert row["low"] < row["value"] < row["high"] and row["difference_low"] < row["difference"] < row["difference_high"]
    assert np.isnan(point(answer, target="age", score="r", arm="real")["difference"])
    without = study(repeats=2, arms=("mixup",)).curves
    assert without["difference"].isna().all() and without["value"].notna().all()


def test_intervals_are_corrected_resampled_t():
    values = np.random.default_rng(0).normal(0.4, 0.1, 12)
    mean, low, high = corrected_interval(values, 0.25)
    plain = ttest_1samp(values, 0).confidence_interval(0.95)
    # Nadeau & Bengio: 1 / J becomes 1 / J + n_test / n_train.
    assert (high - low) / (plain.high - plain.low) == pytest.approx(np.sqrt((1 / 12 + 1 / 3) / (1 / 12)))
    assert mean == pytest.approx(values.mean()) == pytest.approx((low + high) / 2)
    gap = corrected_interval(np.append(values, np.nan), 0.25)
    assert gap == (mean, low, high)
    assert corrected_interval(np.array([0.98, 0.9, 0.99]), 0.3, (0, 1))[2] == 1
    assert np.isnan(corrected_interval(np.array([0.4]), 0.3)[1:]).all() and np.isnan(corrected_interval(np.array([np.nan]), 0.3)).all()


def test_answers_for_programs_and_people(tmp_path):
    answer = study(make=Fussy, sizes=(8, 24))
    record = json.loads(answer.to_json(tmp_path / "study.json"))
    assert json.loads((tmp_path / "study.json").read_text()) == record
    assert len(record["curves"]) == len(answer.curves) and (record["n_people"], record["n_test"]) == (120, 36)
    assert any(point["value"] is None and point["reason"] for point in record["curves"])
    printed = str(answer)
    assert "n = 24" in printed and "ridge" in printed and "undefined" in printed and "(+" in printed
    assert answer.to_dataframe().equals(answer.table) and answer.to_dataframe() is not answer.table


# --- the command line -----------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_the_table(tmp_path):
    folder, out = tmp_path / "cohort", tmp_path / "tables" / "study.tsv"
    cohort = WORLD.cohort(70)
    cohort.save(folder)
    options = ("--sizes", "8,24", "--repeats", 2, "--learners", "ridge,l2 logistic", "--generator", "ridge", "--arms", "real")
    result = run("augment", folder, "--out", out, *options, "--arms", "real+generated", "--resume", tmp_path / "study.jsonl")
    assert result.exit_code == 0, result.output
    assert "real+generated" in result.stdout and "at least 20 are needed" in result.stdout
    theirs = augmentation_study(
        RIVALS["ridge"], Cohort.load(folder), sizes=(8, 24), repeats=2, learners=BOTH["learners"], arms=("real", "real+generated")
    ).table
    ours = pd.read_csv(out, sep="\t", keep_default_na=False, na_values="n/a")
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
    again = run("augment", folder, "--out", out, *options, "--force", "--json")
    assert again.exit_code == 0, again.output
    assert {"curves", "notes", "out", "generator", "n_people"} <= set(json.loads(again.stdout))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sizes", "8,x"), "--sizes are whole numbers by commas"),
        (("--generator", "magic"), "unknown generator 'magic'; the generators are 'connectome_gnn', 'training mean'"),
        (("--targets", "height"), "no phenotype 'height'"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, options, says):
    WORLD.cohort(30).save(tmp_path / "cohort")
    result = run("augment", tmp_path / "cohort", "--out", tmp_path / "study.tsv", *options)
    assert result.exit_code == 2 and says in result.stderr, result.output
    assert not (tmp_path / "study.tsv").exists()


def test_a_table_is_not_overwritten(tmp_path):
    WORLD.cohort(30).save(tmp_path / "cohort")
    (tmp_path / "study.tsv").write_text("mine")
    result = run("augment", tmp_path / "cohort", "--out", tmp_path / "study.tsv")
    assert result.exit_code == 2 and "--force" in result.stderr
    assert (tmp_path / "study.tsv").read_text() == "mine"

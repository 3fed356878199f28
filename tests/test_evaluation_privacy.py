"""The privacy report: planted leaks are found, fresh people are not, and every distance is the plain one."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from sklearn.neighbors import NearestNeighbors
from typer import Typer
from typer.testing import CliRunner

import connectome_gnn as cg
from connectome_gnn.cli.privacy import privacy
from connectome_gnn.cli.terminal import Commands
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import closest_records
from connectome_gnn.evaluation.closest_records import authenticity, closest_record_share, nearest_neighbour_distance_ratio, relabelled
from connectome_gnn.evaluation.privacy import SCORES, privacy_report, privacy_scores
from connectome_gnn.evaluation.reidentification import reidentification_top1
from connectome_gnn.evaluation.release import People, Release
from connectome_gnn.evaluation.share_intervals import share_draws, unit_variance
from connectome_gnn.simulate import simulate_cohort

NEVER = re.compile(r"anonym|\bsafe|unsafe|safely|safety", re.IGNORECASE)
DISTANCE_SCORES = (
    "closest_record_share",
    "nearest_neighbour_distance_ratio",
    "authenticity",
    "membership_auc_distance",
    "reidentification_top1",
)


@pytest.fixture(scope="module")
def everybody():
    """People of one world, in random order."""
    cohort = simulate_cohort(2600, 14, 8, seed=3)
    return cohort.take(np.random.default_rng(0).permutation(len(cohort)))


@pytest.fixture(scope="module")
def train(everybody):
    return everybody.take(slice(0, 200))


@pytest.fixture(scope="module")
def holdout(everybody):
    return everybody.take(slice(200, 400))


@pytest.fixture(scope="module")
def fresh(everybody):
    return everybody.take(slice(400, 550))


def of_weights(weights, like, ids=None, samples=0, **options):
    """A generated cohort on the atlas of another one."""
    ids = [f"new{n:04d}" for n in range(len(weights) // max(samples, 1))] if ids is None else ids
    table = pd.DataFrame({"age": 60.0}, index=pd.Index(np.repeat(ids, max(samples, 1)), name="participant_id"))
    if samples:
        table["sample"] = np.tile(np.arange(samples), len(ids))
    return Cohort(
        np.asarray(weights, np.float32), table, like.atlas, **{"measure": like.measure, "signed": like.signed, "kind": "sample"} | options
    )


def noisy_copies(cohort, n, noise, seed=0):
    """Random people of a cohort with noise of so many standard deviations on each edge."""
    rng = np.random.default_rng(seed)
    z = cohort.scale.forward(cohort.weights, np.float64)
    z = z[rng.integers(len(z), size=n)] + noise * z.std(0) * rng.standard_normal((n, z.shape[1]))
    return of_weights(cohort.scale.inverse(np.maximum(z, 0)), cohort)


def mean_of(cohort, n):
    return of_weights(
        np.tile(cohort.scale.inverse(cohort.scale.forward(cohort.weights, np.float64).mean(0)), (n, 1)), cohort, kind="expected"
    )


def report(generated, train, holdout, **options):
    return privacy_report(generated, train, holdout, **{"n_bootstrap": 200} | options)


def scored(generated, train, holdout, **options):
    return report(generated, train, holdout, **options).to_dict()


def release(generated, train, holdout, **options):
    return Release.of(generated, People.of(train, holdout), **{"n_bootstrap": 200} | options)


def plain(cohorts):
    """Standardised common edges of training, held-out and generated people, straight from the definition."""
    z = [cohort.scale.forward(cohort.weights, np.float64) for cohort in cohorts]
    pool = np.concatenate(z[:2])
    common = ((pool != 0).mean(0) >= 0.5) & (pool.std(0) > 1e-6)
    return [((values - pool.mean(0)) / np.where(common, pool.std(0), 1))[:, common] for values in z]


# --- planted truths -------------------------------------------------------------------------------------------------------


def test_training_people_themselves_scream(train, holdout):
    scores = scored(train, train, holdout)
    assert scores["closest_record_share"]["value"] == 1
    assert scores["authenticity"]["value"] == 0
    assert scores["nearest_neighbour_distance_ratio"]["value"] == 0
    assert scores["membership_auc_distance"]["value"] == 1
    assert scores["membership_auc_distance"]["low"] > 0.98
    assert scores["reidentification_top1"]["value"] == 1
    assert scores["reidentification_top1"]["null"] == 1 / len(train)
    assert scores["identification_top1"]["value"] == scores["r2_beyond_mean"]["value"] == 1
    for name in DISTANCE_SCORES:
        assert scores[name]["p"] == pytest.approx(1 / 201)
        assert scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"]
        assert "left traces" in scores[name]["reading"]
    found = report(train, train, holdout)
    assert found.conclusion.startswith("Training people left traces")
    assert "200 of 200 generated connectomes are exact copies" in found.summary()


def test_copies_under_other_names_are_found_by_closest_record(train, holdout):
    scores = scored(of_weights(train.weights, train), train, holdout)
    assert scores["reidentification_top1"]["value"] == 1
    assert scores["reidentification_top1"]["null"] == 0
    assert scores["membership_auc_distance"]["value"] == 1


def test_people_of_the_same_world_leak_nothing(train, holdout, fresh):
    found = report(fresh, train, holdout)
    scores = found.to_dict()
    for name in DISTANCE_SCORES:
        assert scores[name]["low"] <= scores[name]["null"] <= scores[name]["high"], name
        assert scores[name]["p"] > 0.02
    assert "promises nothing" in found.conclusion


def test_near_copies_are_found_the_less_the_noisier(train, holdout):
    near, far = (scored(noisy_copies(train, 150, noise), train, holdout) for noise in (0.2, 1.5))
    for name in ("closest_record_share", "nearest_neighbour_distance_ratio", "authenticity", "membership_auc_distance"):
        assert near[name]["p"] < 0.01, name
    assert near["authenticity"]["value"] == 0
    assert near["nearest_neighbour_distance_ratio"]["value"] < 0.35 < 0.7 < far["nearest_neighbour_distance_ratio"]["value"]
    assert near["reidentification_top1"]["value"] > far["reidentification_top1"]["value"] > 10 * far["reidentification_top1"]["null"]


def test_mean_of_the_training_people_does_not_scream(train, holdout):
    """Every copy of the mean has the same closest record, so that its share is 0 or 1 by chance alone: intervals and p know."""
    for one, other in ((train, holdout), (holdout, train)):
        found = report(mean_of(one, 100), one, other)
        scores = found.to_dict()
        for name in DISTANCE_SCORES:
            assert scores[name]["p"] > 0.05, name
        assert scores["closest_record_share"]["value"] in (0, 1)
        assert scores["closest_record_share"]["low"] <= 0.5 <= scores["closest_record_share"]["high"]
        assert any("averages" in note for note in found.notes)


def test_unequal_groups_are_made_equal(everybody):
    train, holdout, fresh = everybody.take(slice(0, 800)), everybody.take(slice(800, 900)), everybody.take(slice(900, 1200))
    case = release(fresh, train, holdout)
    estimate = closest_record_share(case)
    low, high = np.quantile(estimate.values[1:], (0.025, 0.975))
    assert low < 0.5 < high
    assert estimate.values[0] == pytest.approx(0.5, abs=0.12)
    assert estimate.details["share_of_all"][0] > 0.85
    assert estimate.details["expected_of_all"][0] == pytest.approx(800 / 900)
    mirrored = closest_record_share(release(fresh, holdout, train))
    assert mirrored.values[0] == pytest.approx(1 - estimate.values[0], abs=0.02)
    assert mirrored.details["share_of_all"][0] == pytest.approx(1 - estimate.details["share_of_all"][0])


def calibration(everybody, n_repeats, sizes, n_bootstrap=60):
    """Value, interval and p of the distance scores for fresh people, over repeats with other people each time: (repeats, scores, 4)."""
    rng = np.random.default_rng(1)
    answers = []
    for repeat in range(n_repeats):
        order = np.split(rng.permutation(len(everybody)), np.cumsum(sizes))
        groups = [everybody.take(rows) for rows in order[:3]]
        case = release(groups[2], groups[0], groups[1], n_bootstrap=n_bootstrap, n_draws=20, seed=repeat)
        estimates = [SCORES[name](case) for name in DISTANCE_SCORES]
        answers.append([[e.values[0], *np.quantile(e.values[1:], (0.025, 0.975)), e.p] for e in estimates])
    return np.array(answers)


def test_intervals_hold_one_half_and_p_is_uniform_for_fresh_people(everybody):
    answers = calibration(everybody, 25, (70, 50, 50))
    for score in (0, 3):  # both expect 0.5
        value, low, high, _ = answers[:, score].T
        assert abs(value.mean() - 0.5) < 3 * value.std() / np.sqrt(25)
        assert ((low <= 0.5) & (high >= 0.5)).mean() >= 0.85
    for score, name in enumerate(DISTANCE_SCORES):
        assert kstest(answers[:, score, 3], "uniform").pvalue > 0.001, name
        truth = answers[:, score, 0].mean()
        assert ((answers[:, score, 1] <= truth) & (truth <= answers[:, score, 2])).mean() >= 0.85, name
        width = (answers[:, score, 2] - answers[:, score, 1]).mean() / (2 * 1.96)
        assert 0.6 < width / answers[:, score, 0].std() < 1.6, name


# --- agreement with plain and other people's implementations -----------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_distances_are_those_of_scikit_learn(signed):
    cohort = simulate_cohort(260, 10, 6, seed=5, measure="pearson" if signed else "streamline_count")
    train, holdout, generated = cohort.take(slice(0, 100)), cohort.take(slice(100, 180)), cohort.take(slice(180, 260))
    case = release(generated, train, holdout)
    order = [cohort.take(np.argsort(cohort.ids.to_numpy(str))) for cohort in (train, holdout, generated)]
    exact = plain(order)
    assert case.people.records == pytest.approx(np.concatenate(exact[:2]), abs=1e-5)
    values = [
        case.people.records[:100].astype(float),
        case.people.records[100:].astype(float),
        np.concatenate(list(case.batches())).astype(float),
    ]
    assert values[2] == pytest.approx(exact[2], abs=1e-5)
    for group, found, among in zip(values[:2], case.neighbours, case.people.neighbours, strict=True):
        distance, index = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(group).kneighbors(values[2])
        assert found.distance[:, :3] == pytest.approx(distance, rel=1e-8)
        first = 0 if group is values[0] else 100
        assert np.array_equal(found.index[:, :3], index + first)
        theirs = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(group).kneighbors(group)[0][:, 1]
        assert among.distance[first : first + len(group), 0] == pytest.approx(theirs, rel=1e-8)
    nearest = NearestNeighbors(n_neighbors=1).fit(values[2]).kneighbors(np.concatenate(values[:2]))
    assert case.distances == pytest.approx(nearest[0][:, 0], rel=1e-8)
    assert np.array_equal(case.closest_generated, nearest[1][:, 0])


def test_scores_are_those_of_plain_loops(train, holdout, fresh):
    order = [cohort.take(np.argsort(cohort.ids.to_numpy(str))) for cohort in (train, holdout, fresh)]
    t, h, g = plain(order)

    def nearest(values, group, k=1):
        return np.sort(np.linalg.norm(values[:, None] - group, axis=2), 1)[:, :k]

    case = release(fresh, train, holdout)
    assert closest_record_share(case).values[0] == (nearest(g, t) < nearest(g, h)).mean()
    for group, value in ((t, nearest_neighbour_distance_ratio(case).values[0]), (h, nearest_neighbour_distance_ratio(case).null)):
        pairs = nearest(g, group, 2)
        assert value == pytest.approx((pairs[:, 0] / pairs[:, 1]).mean(), abs=1e-7)
    for group, value in ((t, authenticity(case).values[0]), (h, authenticity(case).null)):
        closest = np.linalg.norm(g[:, None] - group, axis=2).argmin(1)
        assert value == (nearest(g, group)[:, 0] > nearest(group, group, 2)[closest, 1]).mean()


def test_scores_of_a_case_worked_by_hand(train):
    """People who differ on one edge alone: places on a line."""

    def on_a_line(places, prefix):
        weights = np.ones((len(places), train.n_edges))
        weights[:, 0] = np.expm1(np.array(places) / 10 + 1)
        table = pd.DataFrame(index=pd.Index([f"{prefix}{n}" for n in range(len(places))], name="participant_id"))
        return Cohort(weights, table, train.atlas, measure=train.measure)

    case = release(on_a_line([0.4, 2.2, 5.5, 9.5, 31], "g"), on_a_line([0, 1, 5, 20], "t"), on_a_line([40, 44, 60, 90], "h"))
    assert len(case.people.common) == 1
    # 0.4 to 0: 0.4 < 1, no. 2.2 to 1: 1.2 > 1, yes. 5.5 to 5: 0.5 < 4, no. 9.5 to 5: 4.5 > 4, yes. 31 to 20: 11 < 15, no.
    assert authenticity(case).values[0] == 2 / 5
    # All are closest to the held-out person at 40, whose neighbour is 4 away: all are farther than that.
    assert authenticity(case).null == 1
    assert closest_record_share(case).values[0] == 4 / 5
    ratios = [0.4 / 0.6, 1.2 / 2.2, 0.5 / 4.5, 4.5 / 8.5, 11 / 26]
    assert nearest_neighbour_distance_ratio(case).values[0] == pytest.approx(np.mean(ratios), rel=1e-5)
    # The closest to 0 is 0.4, and back; to 1 is 0.4, closest to 0; to 5 is 5.5, and back; to 20 is 9.5, closest to 5.
    assert reidentification_top1(case).values[0] == 2 / 4


def test_subsets_in_closed_form_are_the_average_of_many(everybody):
    train, holdout, fresh = everybody.take(slice(0, 90)), everybody.take(slice(90, 120)), everybody.take(slice(120, 180))
    case = release(fresh, train, holdout, n_draws=4000, n_bootstrap=20)
    merged, trained = closest_records._merged(*case.neighbours, 500), case.people.trained
    share = closest_records._share_of(trained[merged.index], trained)
    assert closest_record_share(case).values[0] == pytest.approx(share, abs=0.004)
    ratios = closest_records._subset_ratios(merged.distance, trained[merged.index], 90, 30)
    assert nearest_neighbour_distance_ratio(case).values[0] == pytest.approx(ratios.mean(), abs=3e-4)
    other_way = closest_records._share_of(~trained[merged.index], ~trained)
    assert other_way == pytest.approx(1 - share)


def test_ties_count_half(train, holdout, fresh):
    """Held-out people who have the very connectomes of training people."""
    doubles = of_weights(train.weights, train, [f"double{n:04d}" for n in range(len(train))])
    scores = scored(fresh, train, doubles)
    assert scores["closest_record_share"]["value"] == 0.5
    assert scores["membership_auc_distance"]["value"] == 0.5
    assert scored(of_weights(np.repeat(train.weights[:1], 5, 0), train), train, holdout)["closest_record_share"]["value"] == 1


def test_reidentification_by_name_is_plain_identification(train, holdout):
    rng = np.random.default_rng(0)
    z = train.scale.forward(train.weights, np.float64)
    noisy = [np.expm1(np.maximum(z + 1.5 * z.std(0) * rng.standard_normal(z.shape), 0)) for _ in range(2)]
    weights = np.stack(noisy, 1).reshape(-1, train.n_edges)
    generated = of_weights(weights, train, train.ids, samples=2)
    t, _, _ = plain((train, holdout, holdout))
    pool = np.concatenate([train.scale.forward(c.weights, np.float64) for c in (train, holdout)])
    common = ((pool != 0).mean(0) >= 0.5) & (pool.std(0) > 1e-6)
    y = ((train.scale.forward(generated.weights, np.float64) - pool.mean(0)) / np.where(common, pool.std(0), 1))[:, common]
    r = np.corrcoef(t, y.reshape(len(train), 2, -1).mean(1))[: len(t), len(t) :]
    expected = (r.argmax(1) == np.arange(len(t))).mean()
    estimate = reidentification_top1(release(generated, train, holdout))
    assert 0.2 < expected < 1
    assert estimate.values[0] == pytest.approx(expected)
    assert estimate.n == len(train)
    shuffled = generated.take(np.arange(len(generated)))
    shuffled.phenotypes = generated.phenotypes.set_axis(pd.Index(np.repeat(np.roll(train.ids, 7), 2), name="participant_id"))
    chance = reidentification_top1(release(shuffled, train, holdout))
    assert chance.values[0] < 0.05 < chance.p
    same = of_weights(np.tile(train.weights[:1], (len(train), 1)), train, train.ids)
    assert reidentification_top1(release(same, train, holdout)).values[0] == pytest.approx(1 / len(train))


# --- symmetry, intervals, people who belong together -------------------------------------------------------------------------


def test_standardisation_does_not_know_who_was_trained_on(train, holdout):
    one, other = People.of(train, holdout), People.of(holdout, train)
    assert np.array_equal(one.common, other.common)
    assert one.mean == pytest.approx(other.mean, abs=1e-12)
    assert one.deviation == pytest.approx(other.deviation, abs=1e-12)


def test_order_of_rows_changes_nothing(train, holdout, fresh):
    turned = [cohort.take(np.random.default_rng(1).permutation(len(cohort))) for cohort in (fresh, train, holdout)]
    first, second = (report(*cohorts, n_bootstrap=50).table for cohorts in (turned, (fresh, train, holdout)))
    pd.testing.assert_frame_equal(first, second)


def test_samples_count_for_themselves_and_people_for_the_interval(train, holdout, fresh):
    doubled = of_weights(np.repeat(fresh.weights, 3, 0), fresh, fresh.ids, samples=3)
    once, thrice = scored(fresh, train, holdout), scored(doubled, train, holdout)
    for name in DISTANCE_SCORES:
        for key in ("value", "low", "high", "null"):
            assert thrice[name][key] == pytest.approx(once[name][key], abs=0.02), (name, key)
        assert thrice[name]["n"] == once[name]["n"]


def with_families(cohort, size, prefix):
    """Families whose members have the very same connectome."""
    families = np.arange(len(cohort)) // size
    table = pd.DataFrame(
        {"family_id": [f"{prefix}{family}" for family in families]},
        index=pd.Index([f"{prefix}{n:04d}" for n in range(len(cohort))], name="participant_id"),
    )
    return Cohort(cohort.weights[families * size], table, cohort.atlas, measure=cohort.measure)


def test_families_widen_the_intervals_and_are_exchanged_whole(train, holdout, fresh):
    together = [with_families(cohort, 4, prefix) for cohort, prefix in ((train, "t"), (holdout, "h"))]
    alone = [Cohort(c.weights, c.phenotypes.drop(columns="family_id"), c.atlas, measure=c.measure) for c in together]
    wide, narrow = scored(fresh, *together), scored(fresh, *alone)
    name = "membership_auc_distance"
    assert wide[name]["value"] == narrow[name]["value"]
    ratio = (wide[name]["high"] - wide[name]["low"]) / (narrow[name]["high"] - narrow[name]["low"])
    assert ratio == pytest.approx(2, abs=0.25)
    case = release(fresh, *together)
    for trained in relabelled(case, "families"):
        assert trained.sum() == case.people.n_train
        assert all(len(set(trained[case.people.units == unit])) == 1 for unit in range(5))
    shared = with_families(holdout, 4, "t")
    shared.phenotypes.index = [f"h{n:04d}" for n in range(len(shared))]
    assert any("50 families are in both" in note for note in report(fresh, together[0], shared, n_bootstrap=20).notes)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.95])
def test_interval_of_a_share_covers_it(share):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        answers = rng.random(60) < share
        draws = share_draws(answers.mean(), unit_variance(answers / 60, np.arange(60)), 60, 400, rng)
        low, high = np.quantile(draws[1:], (0.025, 0.975))
        assert low <= answers.mean() <= high
        hits += low <= share <= high
    assert hits / 400 > 0.92


def test_same_seed_same_bytes_and_another_differs(train, holdout, fresh):
    unequal = holdout.take(slice(0, 50))
    first, again, other = (report(fresh, train, unequal, seed=seed, n_bootstrap=50).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first != other


# --- the report ---------------------------------------------------------------------------------------------------------------


def everything(found):
    return "\n".join([found.summary(), found.to_json(), found.to_dataframe().to_csv(), found.fidelity.to_csv(), *found.notes, str(found)])


def test_no_verdict_of_harmlessness_whatever_happens(train, holdout, fresh):
    for generated in (train, fresh, mean_of(train, 50), noisy_copies(train, 60, 1.0)):
        for n_bootstrap in (0, 60):
            found = report(generated, train, holdout, n_bootstrap=n_bootstrap)
            assert not NEVER.search(everything(found))
            assert all(found.table["reading"].str.endswith("."))


def test_report_has_its_columns_and_plain_json(train, holdout, fresh, tmp_path):
    found = report(fresh, train, holdout)
    assert list(found.table) == ["score", "value", "low", "high", "expected", "p", "n", "reading", "reason"]
    assert list(found.table["score"]) == list(SCORES)
    written = json.loads(found.to_json(tmp_path / "privacy.json"))
    assert json.loads((tmp_path / "privacy.json").read_text()) == written == found.to_dict()
    assert set(written) == {*SCORES, "spread_ratio", "r2_beyond_mean", "identification_top1"}
    for name in ("membership_auc_likelihood", "membership_auc_shadow"):
        assert written[name]["value"] is None
        assert written[name]["null"] == 0.5
        assert "give" in written[name]["reason"]
    assert written["r2_beyond_mean"]["value"] is None
    assert written["spread_ratio"]["value"] == pytest.approx(1, abs=0.1)
    assert "fidelity" in found.summary()
    changed = found.to_dataframe()
    changed["value"] = 0
    assert (found.table["value"].dropna() != 0).all()


def test_without_draws_there_is_no_interval_and_it_is_said(train, holdout, fresh):
    found = report(fresh, train, holdout, n_bootstrap=0)
    assert found.table["low"].isna().all()
    assert "n_bootstrap" in found.conclusion
    assert found.to_dict()["closest_record_share"]["low"] is None


def test_profiles_of_one_group_are_named(train, holdout):
    notes = " ".join(report(holdout, train, holdout, n_bootstrap=20).notes)
    assert "200 generated people have the participant_id of a held-out person" in notes
    assert "lowers closest_record_share" in notes
    assert "raises closest_record_share" in " ".join(report(train, train, holdout, n_bootstrap=20).notes)


def test_evaluate_gives_the_same_numbers(train, holdout, fresh):
    by_part = cg.evaluate(fresh, holdout, train, parts="privacy", n_bootstrap=100, seed=3).to_dict()
    alone = privacy_report(fresh, train, holdout, n_bootstrap=100, seed=3).to_dict()
    assert list(by_part) == list(SCORES)
    for name, entry in by_part.items():
        for key in ("value", "low", "high", "null", "n", "p"):
            assert entry.get(key) == alone[name].get(key), (name, key)


def test_evaluate_says_why_where_people_overlap(train, holdout, fresh):
    scores = cg.evaluate(fresh, train, train, parts="privacy", n_bootstrap=20, allow_overlap=True).to_dict()
    assert all(entry["value"] is None and "never seen" in entry["reason"] for entry in scores.values())


def test_a_score_alone_obeys_the_protocol(train, holdout, fresh):
    score = next(score for score in privacy_scores() if score.name == "authenticity")
    assert score.compute(fresh, holdout, train).values[0] == authenticity(release(fresh, train, holdout)).values[0]


# --- bad input -----------------------------------------------------------------------------------------------------------------


def changed(cohort, **options):
    arguments = {"weights": cohort.weights, "phenotypes": cohort.phenotypes, "atlas": cohort.atlas, "measure": cohort.measure}
    return Cohort(**{**arguments, **options})


def test_bad_input_is_refused_in_a_sentence(train, holdout, fresh):
    other = simulate_cohort(30, 10, 4, seed=1)
    broken = fresh.weights.copy()
    broken[3, 4] = np.nan
    uneven = of_weights(fresh.weights[:10], fresh, samples=2).take(slice(0, 9))
    refusals = [
        ((other, train, holdout), {}, "atlas"),
        ((fresh, other, holdout), {}, "atlas"),
        ((changed(fresh, measure="mean_fa"), train, holdout), {}, "measure"),
        ((fresh, changed(train, measure="mean_fa"), holdout), {}, "measure"),
        ((fresh, train, train.take(slice(0, 50))), {}, "50 people are in both the training and the held-out cohort"),
        ((fresh, train.take([0]), holdout), {}, "at least 2"),
        ((fresh, train, holdout.take([0])), {}, "at least 2"),
        ((fresh.take([0]), train, holdout), {}, "at least 2"),
        ((changed(fresh, weights=broken, check=False), train, holdout), {}, repr(fresh.ids[3])),
        ((uneven, train, holdout), {}, "uneven"),
        ((fresh, changed(train, kind="expected"), holdout), {}, "expected connectomes"),
        ((fresh, of_weights(fresh.weights[:20], fresh, samples=2), holdout), {}, "2 rows a person"),
        ((fresh, train, holdout), {"n_draws": 0}, "n_draws"),
        ((fresh, train, holdout), {"seed": -1}, "seed must be at least 0, got -1"),
        ((fresh, train, holdout), {"n_bootstrap": -1}, "n_bootstrap"),
        ((fresh, train, holdout), {"n_shadows": 2}, "n_shadows"),
    ]
    for cohorts, options, words in refusals:
        with pytest.raises(ConnectomeError, match=re.escape(words)):
            report(*cohorts, **options)
    flat = [of_weights(np.ones((5, fresh.n_edges)), fresh, [f"{prefix}{n}" for n in range(5)]) for prefix in "gth"]
    with pytest.raises(ConnectomeError, match="no edge"):
        report(*flat)


# --- the command line ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(everybody, tmp_path_factory):
    root = tmp_path_factory.mktemp("privacy")
    for name, rows in {"train": slice(0, 40), "holdout": slice(40, 80), "generated": slice(80, 120)}.items():
        everybody.take(rows).save(root / name)
    return root


def run(*arguments):
    app = Typer(cls=Commands, pretty_exceptions_enable=False)
    app.command()(privacy)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["privacy", *map(str, arguments)])


def test_command_line(folders, tmp_path):
    arguments = (folders / "generated", "--train", folders / "train", "--holdout", folders / "holdout")
    written = tmp_path / "privacy.json"
    shown = run(*arguments, "--json", written)
    assert shown.exit_code == 0, shown.output
    assert "closest_record_share" in shown.stdout
    printed = run(*arguments, "--json", "-")
    assert json.loads(printed.stdout) == json.loads(written.read_text())
    assert set(SCORES) <= set(json.loads(printed.stdout))
    assert not NEVER.search(shown.stdout + written.read_text() + run("--help").stdout)


def test_command_line_refuses_in_one_line(folders, tmp_path):
    good = (folders / "generated", "--train", folders / "train", "--holdout", folders / "holdout")
    for arguments, words in (
        ((folders / "generated", "--train", folders / "train", "--holdout", folders / "train"), "are in both"),
        ((folders / "nothing", *good[1:]), "nothing"),
        ((*good, "--json", tmp_path), "is a folder"),
        ((*good, "--json", tmp_path / "missing" / "f.json"), "no folder"),
        (good[:3], "--holdout"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.strip().startswith("error: ")
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_privacy_never_imports_a_generator():
    code = (
        "import sys, connectome_gnn.evaluation.privacy as here; "
        "print([m for m in sys.modules if m.startswith('connectome_gnn.')], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "generation" not in answer
    assert "simulat" not in answer
    assert answer.strip().endswith("False")

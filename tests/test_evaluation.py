import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import Comparison, Estimate, Evaluation, Reference, distribution, evaluate, reference, scores_of
from connectome_gnn.evaluation.resampling import resamples, units_of_rows, weighted_mean

R = 12
E = R * (R - 1) // 2
SHARE = 0.2
FIDELITY = ("r2_beyond_mean", "raw_r", "demeaned_r", "presence_auc", "presence_brier")
DISTRIBUTION = ("spread_ratio", "density_difference", "zeros_difference")
QUICK = {"parts": FIDELITY + DISTRIBUTION, "measures": ()}


@dataclass
class Truth:
    """Expected connectomes of simulated people, as a cohort's truth offers them."""

    expected: np.ndarray

    def take(self, rows):
        return Truth(self.expected[rows])


class World:
    """People whose phenotypes explain a known share of every edge's variance, on the modelling scale."""

    def __init__(self, signed=False, absent=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.signed, self.scale = signed, Scale(signed)
        self.base = rng.uniform(-0.4, 0.6, E) if signed else rng.uniform(4, 6, E)
        self.effects = rng.standard_normal((8, E))
        self.effects *= np.sqrt(SHARE) * 0.3 / np.linalg.norm(self.effects, axis=0)
        self.noise = np.sqrt(1 - SHARE) * 0.3
        self.presence = np.clip(1 - absent * rng.uniform(0, 1.6, E), 0.05, 1)
        self.atlas = Atlas([f"region {i}" for i in range(R)])

    def people(self, n, prefix, seed, truth=False):
        rng = np.random.default_rng(seed)
        expected = self.base + rng.standard_normal((n, 8)) @ self.effects
        z = expected + self.noise * rng.standard_normal((n, E))
        weights = self.scale.inverse(z) * (rng.random((n, E)) < self.presence)
        return self.cohort(weights, [f"{prefix}{i:04d}" for i in range(n)], truth=Truth(expected) if truth else None)

    def samples(self, real, k, seed, spread=1.0):
        """K people drawn for every person from their true distribution."""
        rng = np.random.default_rng(seed)
        z = np.repeat(real.truth.expected, k, 0) + spread * self.noise * rng.standard_normal((len(real) * k, E))
        weights = self.scale.inverse(z) * (rng.random(z.shape) < self.presence)
        return self.cohort(weights, np.repeat(real.ids, k), samples=k, kind="sample")

    def expected(self, z, ids):
        return self.cohort(self.scale.inverse(z), ids, kind="expected")

    def cohort(self, weights, ids, samples=0, **options):
        table = pd.DataFrame({"age": np.linspace(45, 82, len(weights))}, index=pd.Index(ids, name="participant_id"))
        if samples:
            table["sample"] = np.tile(np.arange(samples), len(weights) // samples)
        options = {"measure": "pearson" if self.signed else "streamline_count", "signed": self.signed, "atlas": self.atlas} | options
        return Cohort(weights, table, **options)


def modelled(cohort):
    return cohort.scale.forward(cohort.weights, np.float64)


def scored(generated, real, train, **options):
    return evaluate(generated, real, reference=train, **{"n_bootstrap": 50, **QUICK, **options}).to_dict()


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def train(world):
    return world.people(400, "train", 1)


@pytest.fixture(scope="module")
def real(world):
    return world.people(300, "test", 2, truth=True)


# --- known truths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_truth_explains_its_share_and_reaches_its_ceiling(signed):
    world = World(signed)
    train, real = world.people(800, "train", 1), world.people(800, "test", 2, truth=True)
    scores = scored(world.expected(real.truth.expected, real.ids), real, train)
    assert scores["r2_beyond_mean"]["value"] == pytest.approx(SHARE, abs=0.01)
    assert scores["r2_beyond_mean"]["low"] < SHARE < scores["r2_beyond_mean"]["high"]
    assert scores["r2_beyond_mean"]["ceiling"] == pytest.approx(scores["r2_beyond_mean"]["value"], abs=1e-9)
    assert scores["r2_beyond_mean"]["share_of_ceiling"] == pytest.approx(1, abs=1e-9)
    assert scores["r2_beyond_mean"]["share_of_ceiling_low"] == pytest.approx(1, abs=1e-9)
    assert scores["demeaned_r"]["value"] == pytest.approx(np.sqrt(SHARE), abs=0.03)
    assert abs(scores["demeaned_r"]["null"]) < 0.01
    assert scores["spread_ratio"]["value"] == pytest.approx(np.sqrt(SHARE), abs=0.02)


@pytest.mark.parametrize(
    ("signed", "dtype"), [(False, np.float64), (False, np.float32), (True, np.float64), (True, np.float32), (True, np.float16)]
)
def test_group_mean_explains_nothing_and_has_no_demeaned_r(signed, dtype):
    world = World(signed)
    train, real = world.people(400, "train", 1), world.people(300, "test", 2)
    mean = np.tile(modelled(train).mean(0), (len(real), 1))
    generated = world.cohort(world.scale.inverse(mean).astype(dtype), real.ids, kind="expected")
    scores = scored(generated, real, train)
    assert scores["r2_beyond_mean"]["value"] == pytest.approx(0, abs={np.float64: 1e-12, np.float32: 1e-6, np.float16: 1e-3}[dtype])
    assert scores["demeaned_r"]["value"] is None
    assert "training mean" in scores["demeaned_r"]["reason"]
    assert scores["raw_r"]["value"] == pytest.approx(scores["raw_r"]["null"], abs=1e-3)
    assert scores["spread_ratio"]["value"] == pytest.approx(0, abs=1e-3)


def test_real_people_themselves_are_perfect(train, real):
    scores = scored(real, real, train)
    for name in ("r2_beyond_mean", "raw_r", "demeaned_r", "spread_ratio"):
        assert [scores[name][key] for key in ("value", "low", "high")] == pytest.approx([1, 1, 1], abs=1e-6)
    assert scores["density_difference"]["value"] == scores["zeros_difference"]["value"] == 0


def test_bad_models_score_badly(world, train, real):
    someone_else = real.take(np.roll(np.arange(len(real)), 1))
    stranger = world.cohort(someone_else.weights, real.ids)
    opposite = world.expected(2 * modelled(train).mean(0) - real.truth.expected, real.ids)
    scores = scored(stranger, real, train, rivals={"opposite": opposite})
    assert scores["r2_beyond_mean"]["high"] < -0.5
    assert scores["raw_r"]["value"] < scores["raw_r"]["null"]
    assert scores["demeaned_r"]["low"] < scores["demeaned_r"]["null"] < scores["demeaned_r"]["high"]
    assert scores["r2_beyond_mean"]["rivals"]["opposite"]["high"] < 0
    assert scores["demeaned_r"]["rivals"]["opposite"]["high"] < -0.3


def test_samples_of_the_truth_have_its_spread_and_half_the_noise_is_found(world, train, real):
    assert scored(world.samples(real, 3, 5), real, train)["spread_ratio"]["value"] == pytest.approx(1, abs=0.02)
    narrow = scored(world.samples(real, 3, 5, spread=0.5), real, train)["spread_ratio"]
    assert narrow["value"] == pytest.approx(np.sqrt(SHARE + 0.25 * (1 - SHARE)), abs=0.02)
    assert narrow["high"] < 0.7


def test_presence_beats_the_training_frequency_only_when_it_knows_the_person(train):
    world = World(absent=0.9)
    train, real = world.people(400, "train", 1), world.people(200, "test", 2, truth=True)
    knows = world.cohort(np.repeat(real.weights, 4, 0), np.repeat(real.ids, 4), samples=4, kind="sample")
    guesses = world.samples(real, 40, 7)
    scores = scored(knows, real, train, rivals={"guesses": guesses})
    assert scores["presence_auc"]["value"] == 1
    assert scores["presence_brier"]["value"] == 0
    assert scores["presence_auc"]["rivals"]["guesses"]["value"] == pytest.approx(scores["presence_auc"]["null"], abs=0.02)
    assert scores["presence_brier"]["rivals"]["guesses"]["value"] == pytest.approx(scores["presence_brier"]["null"], abs=0.003)


def test_brier_score_does_not_depend_on_the_number_of_samples():
    world = World(absent=0.9)
    train, real = world.people(400, "train", 1), world.people(300, "test", 2, truth=True)
    few, many = (scored(world.samples(real, k, 3), real, train)["presence_brier"]["value"] for k in (2, 30))
    assert few == pytest.approx(many, abs=0.004)


# --- agreement with plain implementations ---------------------------------------------------------------------------------


def naive_scores(generated, real, train):
    """Every score by loops over people, straight from the definitions."""
    z = modelled(train)
    m, s, frequency = z.mean(0), z.std(0), (z != 0).mean(0)
    common, rare = (frequency >= 0.5) & (s > 1e-6), frequency < 0.5
    samples = {i: modelled(generated)[generated.ids == i] for i in real.ids}
    x = modelled(real)
    y = np.array([samples[i].mean(0) for i in real.ids])
    share = np.array([(samples[i] != 0).mean(0) for i in real.ids])
    k = len(samples[real.ids[0]])
    error, total, raw, raw_mean, demeaned, others, auc, auc_mean, brier = 0.0, 0.0, [], [], [], [], [], [], []
    for i in range(len(real)):
        error += sum(((x[i] - y[i])[common] / s[common]) ** 2)
        total += sum(((x[i] - m)[common] / s[common]) ** 2)
        raw.append(pearsonr(x[i], y[i])[0])
        raw_mean.append(pearsonr(x[i], m)[0])
        for j in range(len(real)):
            (demeaned if i == j else others).append(pearsonr((x[i] - m)[common], (y[j] - m)[common])[0])
        if rare.any():
            auc.append(roc_auc_score(x[i][rare] != 0, share[i][rare]))
            auc_mean.append(roc_auc_score(x[i][rare] != 0, frequency[rare]))
            p = share[i][rare]
            brier.append(np.mean((p - (x[i][rare] != 0)) ** 2 - p * (1 - p) / max(k - 1, 1)))
    variance = y.var(0, ddof=1) + np.mean([samples[i].var(0) for i in real.ids], axis=0)
    zeros = np.mean([(samples[i] == 0).mean() for i in real.ids]) - (x == 0).mean()
    return {
        "r2_beyond_mean": (1 - error / total, 0),
        "raw_r": (np.mean(raw), np.mean(raw_mean)),
        "demeaned_r": (np.mean(demeaned), np.mean(others)),
        "presence_auc": (np.mean(auc), np.mean(auc_mean)) if rare.any() else (None, None),
        "presence_brier": (np.mean(brier), ((frequency - (x != 0))[:, rare] ** 2).mean()) if rare.any() and k > 1 else (None, None),
        "spread_ratio": (np.median(np.sqrt(variance[common] / x.var(0, ddof=1)[common])), 1),
        "density_difference": (-zeros, 0),
        "zeros_difference": (zeros, 0),
    }


@pytest.mark.parametrize("signed", [False, True])
def test_reference_is_the_plain_mean_deviation_and_frequency(signed):
    train = World(signed, absent=0.6).people(600, "train", 1)
    z, of = modelled(train), Reference.of(train)
    assert of.mean == pytest.approx(z.mean(0), abs=1e-12)
    assert of.deviation == pytest.approx(z.std(0), abs=1e-12)
    assert np.array_equal(of.frequency, (z != 0).mean(0))
    assert np.array_equal(of.common, (z != 0).mean(0) >= 0.5)
    assert np.array_equal(of.rare, ~of.common)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("signed", "absent"), [(False, 0.0), (False, 0.9), (True, 0.0), (True, 0.6)])
def test_scores_are_those_of_a_plain_implementation(signed, absent, dtype, k):
    world = World(signed, absent)
    train, real = world.people(60, "train", 1), world.people(25, "test", 2, truth=True)
    generated = world.samples(real, k, 3)
    train, real = (world.cohort(c.weights.astype(dtype), c.ids) for c in (train, real))
    generated = world.cohort(generated.weights.astype(dtype), generated.ids, samples=k, kind="sample")
    scores = scored(generated, real, train)
    for name, (value, null) in naive_scores(generated, real, train).items():
        for got, expected in ((scores[name]["value"], value), (scores[name]["null"], null)):
            assert got == (None if expected is None else pytest.approx(expected, abs=1e-10)), name


def test_bootstrap_resamples_are_the_scores_of_resampled_people():
    world = World(absent=0.9)
    train, real = world.people(60, "train", 1), world.people(20, "test", 2, truth=True)
    generated = world.samples(real, 2, 3)
    comparison = Comparison.of(generated, real, Reference.of(train), n_bootstrap=3, seed=4)
    for draw in range(1, 4):
        chosen = np.repeat(np.arange(20), comparison.weights[draw].astype(int))
        assert len(chosen) == 20
        ids = [f"again{i:02d}" for i in range(20)]
        again = world.cohort(real.weights[chosen], ids)
        pairs = (2 * chosen[:, None] + np.arange(2)).ravel()
        generated_again = world.cohort(generated.weights[pairs], np.repeat(ids, 2), samples=2, kind="sample")
        expected = naive_scores(generated_again, again, train)
        for score in [*scores_of("fidelity"), *scores_of("distribution")]:
            if score.name in expected and score.name != "spread_ratio":  # below
                assert score.estimate(comparison).values[draw] == pytest.approx(expected[score.name][0], abs=1e-10), score.name


def test_spread_leaves_out_edges_on_which_real_people_do_not_differ(world, train, real):
    weights = real.weights.copy()
    weights[:, :40] = weights[0, :40]
    alike = world.cohort(weights, real.ids)
    generated = world.samples(real, 1, 5)
    spread = scored(generated, alike, train)["spread_ratio"]
    assert spread["value"] == pytest.approx(np.median((modelled(generated).std(0) / modelled(real).std(0))[40:]), abs=1e-10)


@pytest.mark.parametrize("k", [1, 5])
def test_variance_is_that_of_one_sample_a_person_however_many_there_are(k):
    # Few people and many edges, so that a wrong n - 1 shows: variance 1 between people and 4 within, in the cohort and its resamples.
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((6, 1, 40_000)) + 2 * rng.standard_normal((6, k, 40_000))
    weights = np.vstack([np.ones(6), rng.multinomial(6, np.full(6, 1 / 6), size=400)]).astype(np.float32)
    point, draws = distribution._variances([samples[:2], samples[2:]], weights)
    assert point.mean() == pytest.approx(5, rel=0.02)
    assert draws.mean() == pytest.approx(5, rel=0.04)


def test_interval_of_the_spread_lies_around_its_value(world, train, real):
    spread = scored(world.samples(real, 5, 3), real, train, n_bootstrap=400)["spread_ratio"]
    assert spread["low"] < spread["value"] < spread["high"]
    assert spread["value"] - spread["low"] == pytest.approx(spread["high"] - spread["value"], rel=1)


# --- intervals ------------------------------------------------------------------------------------------------------------


def coverage(world, train, score, expected_of, **options):
    """In how many of 40 studies of 60 people the interval holds what 6,000 people say, for one fixed generator."""
    reference_value = None
    hits = 0
    for study in range(41):
        real = world.people(6000 if study == 0 else 60, "test", 100 + study, truth=True)
        result = scored(expected_of(real), real, train, parts=score, n_bootstrap=0 if study == 0 else 300, **options)[score]
        if study == 0:
            reference_value = result["value"]
        else:
            hits += result["low"] <= reference_value <= result["high"]
    return hits


@pytest.mark.parametrize("score", ["r2_beyond_mean", "raw_r", "demeaned_r"])
def test_intervals_cover(world, train, score):
    hits = coverage(world, train, score, lambda real: world.expected(0.7 * real.truth.expected + 0.3 * world.base, real.ids))
    assert 34 <= hits <= 40


def test_interval_honours_families(world, train, real):
    twins = world.cohort(np.repeat(real.weights[:100], 2, 0), [f"twin{i:03d}" for i in range(200)])
    twins.phenotypes["household"] = np.repeat([f"h{i}" for i in range(100)], 2)
    generated = world.cohort(np.repeat(world.scale.inverse(real.truth.expected[:100]), 2, 0), twins.ids, kind="expected")
    alone, together = (scored(generated, twins, train, n_bootstrap=2000, groups=groups)["raw_r"] for groups in (None, "household"))
    assert together["value"] == alone["value"]
    assert (together["high"] - together["low"]) / (alone["high"] - alone["low"]) == pytest.approx(np.sqrt(2), rel=0.1)
    twins.phenotypes["family_id"] = twins.phenotypes["household"]
    assert scored(generated, twins, train, n_bootstrap=2000)["raw_r"] == together


def test_resamples_keep_units_whole_and_the_first_is_everybody(real):
    units = units_of_rows(real, np.arange(len(real)))
    weights = resamples(units, 20, seed=3)
    assert weights.shape == (21, 300)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 300).all()
    assert np.array_equal(weights, resamples(units, 20, seed=3))
    assert not np.array_equal(weights, resamples(units, 20, seed=4))


def test_weighted_mean_leaves_undefined_people_out():
    weights = np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]], np.float32)
    mean = weighted_mean(weights, np.array([1.0, np.nan, 4.0]))
    assert np.array_equal(mean, [2.5, np.nan, 2.0], equal_nan=True)


# --- rivals ---------------------------------------------------------------------------------------------------------------


def test_rivals_differences_are_paired(world, train, real):
    ours = world.expected(real.truth.expected, real.ids)
    twin = world.expected(real.truth.expected, real.ids)
    shrunken = world.expected(0.5 * (real.truth.expected + world.base), real.ids)
    scores = scored(ours, real, train, rivals={"twin": twin, "shrunken": shrunken}, n_bootstrap=300)
    for name in ("r2_beyond_mean", "raw_r", "demeaned_r", "spread_ratio"):
        rivals = scores[name]["rivals"]
        assert list(rivals) == ["twin", "shrunken"]
        assert [rivals["twin"][key] for key in ("difference", "difference_low", "difference_high")] == [0, 0, 0]
        assert rivals["twin"]["low"] == scores[name]["low"]
        assert rivals["shrunken"]["difference"] == pytest.approx(scores[name]["value"] - rivals["shrunken"]["value"], abs=1e-15)
    r2 = scores["r2_beyond_mean"]
    assert r2["rivals"]["shrunken"]["difference_low"] > 0
    # Paired: far narrower than the difference of two independent intervals.
    width = r2["rivals"]["shrunken"]["difference_high"] - r2["rivals"]["shrunken"]["difference_low"]
    assert width < 0.8 * (r2["high"] - r2["low"] + r2["rivals"]["shrunken"]["high"] - r2["rivals"]["shrunken"]["low"])


def test_undefined_rival_has_a_reason_and_no_difference(world, train, real):
    mean = world.expected(np.tile(modelled(train).mean(0), (len(real), 1)), real.ids)
    ours = world.expected(real.truth.expected, real.ids)
    rival = scored(ours, real, train, rivals={"mean": mean})["demeaned_r"]["rivals"]["mean"]
    assert rival["value"] is rival["low"] is rival["difference"] is rival["difference_low"] is None
    assert "training mean" in rival["reason"]
    swapped = scored(mean, real, train, rivals={"ours": ours})["demeaned_r"]["rivals"]["ours"]
    assert swapped["value"] > 0.3
    assert swapped["difference"] is None
    assert "generated cohort's score is undefined" in swapped["reason"]


# --- people, samples, order -----------------------------------------------------------------------------------------------


def test_order_of_rows_does_not_matter(world, train, real):
    rng = np.random.default_rng(0)
    generated = world.samples(real, 3, 5)
    ridge = world.expected(0.5 * (real.truth.expected + world.base), real.ids)
    people = rng.permutation(len(real))
    shuffled = generated.take((3 * people[:, None] + np.arange(3)).ravel())
    one = evaluate(generated, real, reference=train, **QUICK, rivals={"ridge": ridge}, n_bootstrap=50)
    two = evaluate(
        shuffled,
        real.take(rng.permutation(len(real))),
        reference=train,
        **QUICK,
        rivals={"ridge": ridge.take(rng.permutation(len(real)))},
        n_bootstrap=50,
    )
    assert one.to_json() == two.to_json()
    reordered = evaluate(
        generated, real, reference=train.take(rng.permutation(len(train))), rivals={"ridge": ridge}, n_bootstrap=50, **QUICK
    )
    pd.testing.assert_frame_equal(one.table, reordered.table, rtol=1e-6)


def test_same_seed_same_bytes_other_seed_other_interval(world, train, real):
    generated = world.samples(real, 1, 5)
    one, again, other = (evaluate(generated, real, reference=train, **QUICK, seed=seed).to_json() for seed in (0, 0, 1))
    assert one == again
    assert json.loads(one)["raw_r"]["value"] == json.loads(other)["raw_r"]["value"]
    assert json.loads(one)["raw_r"]["low"] != json.loads(other)["raw_r"]["low"]


def test_samples_are_averaged_on_the_modelling_scale(world, train, real):
    samples = world.samples(real, 5, 5)
    mean = world.cohort(world.scale.inverse(modelled(samples).reshape(len(real), 5, E).mean(1)), real.ids, kind="expected")
    by_samples, by_mean = (scored(generated, real, train) for generated in (samples, mean))
    for name in ("r2_beyond_mean", "raw_r", "demeaned_r"):
        assert by_samples[name]["value"] == pytest.approx(by_mean[name]["value"], abs=1e-10)
        assert by_samples[name]["low"] == pytest.approx(by_mean[name]["low"], abs=1e-10)
    weights_mean = world.cohort(samples.weights.reshape(len(real), 5, E).mean(1), real.ids, kind="expected")
    assert scored(weights_mean, real, train)["r2_beyond_mean"]["value"] != pytest.approx(by_mean["r2_beyond_mean"]["value"], abs=1e-4)


def test_distribution_alone_needs_no_common_people(world, train, real):
    others = world.people(150, "new", 9, truth=True)
    generated = world.samples(others, 2, 5)
    scores = scored(generated, real, train, parts=("distribution",))
    assert set(DISTRIBUTION) <= set(scores) - set(FIDELITY)
    assert scores["spread_ratio"]["value"] == pytest.approx(1, abs=0.05)
    assert scores["spread_ratio"]["low"] < 1 < scores["spread_ratio"]["high"]


def test_batches_and_blocks_change_nothing(world, train, real, monkeypatch):
    generated = world.samples(real, 3, 5)
    whole = evaluate(generated, real, reference=train, **QUICK, n_bootstrap=20).table
    monkeypatch.setattr(reference, "ROWS", 7)
    monkeypatch.setattr("connectome_gnn.evaluation.comparison.ROWS", 7)
    monkeypatch.setattr(distribution, "VALUES_AT_ONCE", 21 * 10)
    pd.testing.assert_frame_equal(whole, evaluate(generated, real, reference=train, **QUICK, n_bootstrap=20).table, rtol=1e-5, atol=1e-6)


def test_memory_grows_with_the_batch_not_with_the_people(world):
    def peak(n):
        train, real = world.people(n, "train", 1), world.people(n, "test", 2)
        tracemalloc.start()
        evaluate(
            real, real, reference=train, parts=FIDELITY + DISTRIBUTION[1:], measures=(), n_bootstrap=10
        )  # the others take blocks of edges
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(600), peak(6000)
    assert large - small < 0.5 * 5400 * E * 8


def test_memory_mapped_float16_cohorts(tmp_path):
    world = World(signed=True)
    parts = {"train": world.people(60, "train", 1), "real": world.people(40, "test", 2)}
    parts["generated"] = world.cohort(parts["real"].weights * 0.9, parts["real"].ids)
    kept, loaded = {}, {}
    for name, cohort in parts.items():
        half = cohort.weights.astype(np.float16)
        kept[name] = world.cohort(half, cohort.ids)
        cohort.save(tmp_path / name)
        np.save(tmp_path / name / "connectomes.npy", half)
        loaded[name] = Cohort.load(tmp_path / name)
        assert isinstance(loaded[name].weights, np.memmap)
        assert loaded[name].weights.dtype == np.float16
    scores = [scored(c["generated"], c["real"], c["train"]) for c in (kept, loaded)]
    assert scores[0] == scores[1]
    plain = naive_scores(kept["generated"], kept["real"], kept["train"])
    assert scores[0]["r2_beyond_mean"]["value"] == pytest.approx(plain["r2_beyond_mean"][0], abs=1e-10)


# --- input that cannot be scored ------------------------------------------------------------------------------------------


def test_other_people_are_named(world, train, real):
    with pytest.raises(ConnectomeError, match=r"same people.*1 only in real \('test0000'\)"):
        scored(real.take(slice(1, None)), real, train)
    with pytest.raises(ConnectomeError, match=r"4 only in generated \('test0001', 'test0002', 'test0003', ...\)"):
        scored(real.take(slice(0, 10)), real.take([0, 5, 6, 7, 8, 9]), train)
    with pytest.raises(ConnectomeError, match=r"rival 'ridge' and real cohort must hold the same people"):
        scored(real, real, train, rivals={"ridge": real.take(slice(1, None))})
    with pytest.raises(ConnectomeError, match=r"no participant_id in common \(generated has 'train0000'.*real has 'test0000'"):
        scored(train, real, world.people(50, "reference", 3))


def test_leak_is_refused_by_name_unless_forced(train, real):
    with pytest.raises(ConnectomeError, match=r"300 people of the reference.*'test0000', 'test0001', 'test0002', \.\.\."):
        scored(real, real, real)
    assert scored(real, real, real, allow_overlap=True)["r2_beyond_mean"]["value"] == 1


def test_other_atlas_is_refused_by_region(world, train, real):
    labels = world.atlas.labels
    for other, sentence in (
        (["elsewhere", *labels[1:]], r"1 missing \('region 0'\); 1 extra \('elsewhere'\)"),
        ([labels[1], labels[0], *labels[2:]], r"another order; reorder its regions"),
    ):
        moved = world.cohort(real.weights, real.ids, atlas=Atlas(other))
        with pytest.raises(ConnectomeError, match="generated cohort.*" + sentence):
            scored(moved, real, train)
        with pytest.raises(ConnectomeError, match="rival 'r' cohort.*" + sentence):
            scored(real, real, train, rivals={"r": moved})
        with pytest.raises(ConnectomeError, match="reference cohort.*" + sentence):
            scored(real, real, world.cohort(train.weights, train.ids, atlas=Atlas(other)))


def test_other_weights_are_refused(world, train, real):
    with pytest.raises(ConnectomeError, match=r"measure='mean_fa'.*measure='streamline_count'"):
        scored(world.cohort(real.weights, real.ids, measure="mean_fa"), real, train)
    correlations = World(signed=True).people(300, "test", 2)
    with pytest.raises(ConnectomeError, match=r"signed=True.*signed=False"):
        scored(correlations, real, train)


def test_uneven_samples_and_repeated_real_people_are_refused(world, train, real):
    samples = world.samples(real, 3, 5)
    with pytest.raises(ConnectomeError, match=r"uneven samples: participant 'test0299' has 2, 'test0000' has 3"):
        scored(samples.take(slice(0, -1)), real, train)
    with pytest.raises(ConnectomeError, match="has 3 rows a person; expected one"):
        scored(samples, samples, train)


def test_too_few_people_are_refused(train, real):
    with pytest.raises(ConnectomeError, match="has 1 people; scores need at least 2"):
        scored(real.take([0]), real.take([0]), train)
    with pytest.raises(ConnectomeError, match=r"reference cohort.*1 people"):
        scored(real, real, train.take([0]))
    family = real.take([0, 1, 2])
    family.phenotypes = family.phenotypes.assign(family_id="one")
    with pytest.raises(ConnectomeError, match="single group"):
        scored(family, family, train)


def test_expected_connectomes_in_the_place_of_people_are_refused(world, train, real):
    expected = world.expected(real.truth.expected, real.ids)
    with pytest.raises(ConnectomeError, match=r"real cohort.*no people"):
        scored(real, expected, train)


def test_values_that_are_not_numbers_are_refused(world, train, real):
    weights = real.weights.copy()
    weights[4, 7] = np.nan
    for place in ("generated", "real", "reference"):
        broken = world.cohort(weights, real.ids, check=False)
        with pytest.raises(ConnectomeError, match="participant 'test0004' has a weight that is not a finite number"):
            scored(
                broken if place == "generated" else real,
                broken if place == "real" else real,
                broken if place == "reference" else train,
                allow_overlap=True,
            )


def test_wrong_arguments_are_refused(train, real):
    with pytest.raises(TypeError, match=r"generated: expected a Cohort, got str; open a folder with Cohort\.load"):
        scored("people", real, train)
    with pytest.raises(ConnectomeError, match=r"unknown part or score 'topology'.*'fidelity', 'distribution'"):
        scored(real, real, train, parts=("topology",))
    with pytest.raises(ConnectomeError, match="nothing to score"):
        scored(real, real, train, parts=())
    with pytest.raises(ConnectomeError, match="cannot be called 'generated'"):
        scored(real, real, train, rivals={"generated": real})
    for option in ("n_bootstrap", "seed"):
        with pytest.raises(ConnectomeError, match=f"{option}.*0 or more, got -1"):
            scored(real, real, train, **{option: -1})
    with pytest.raises(ConnectomeError, match="n_jobs counts threads.*got 0"):
        scored(real, real, train, n_jobs=0)
    with pytest.raises(ConnectomeError, match="no column 'household'"):
        scored(real, real, train, groups="household")
    with pytest.raises(TypeError, match="compute"):
        scored(real, real, train, parts=("fidelity", object()))
    with pytest.raises(ConnectomeError, match="'raw_r' occurs 2 times"):
        scored(real, real, train, parts=("raw_r", "fidelity"))


def test_undefined_scores_say_why(world, train, real):
    scores = scored(world.expected(real.truth.expected, real.ids), real, train)
    assert "samples" in scores["presence_auc"]["reason"]
    assert "samples" in scores["zeros_difference"]["reason"]
    dense = scored(world.samples(real, 2, 5), real, train)
    assert "none is rare" in dense["presence_auc"]["reason"]
    sparse = World(absent=0.9)
    people = sparse.people(50, "test", 2, truth=True)
    assert "at least 2" in scored(sparse.samples(people, 1, 3), people, sparse.people(50, "train", 1))["presence_brier"]["reason"]
    assert "no interval" in scored(real, real, train, n_bootstrap=0)["raw_r"]["reason"]
    alike = world.cohort(np.tile(train.weights[:1], (400, 1)), train.ids)
    flat = scored(real, real, alike)
    for name in ("r2_beyond_mean", "demeaned_r", "spread_ratio"):
        assert flat[name]["value"] is None
        assert "edge" in flat[name]["reason"]
    for weights in (np.zeros(300), np.linspace(0.1, 90, 300)):
        constant = world.cohort(np.tile(weights[:, None], (1, E)), real.ids)
        assert "constant" in scored(constant, real, train)["raw_r"]["reason"]
    mean = modelled(train).mean(0)
    of_mean = Comparison.of(real, world.expected(np.tile(mean, (300, 1)), real.ids), Reference.of(train), n_bootstrap=2)
    at_mean = replace(of_mean, reference=replace(of_mean.reference, mean=modelled(of_mean.real)[0]))
    assert "no real person differs" in scores_of("fidelity")[0].estimate(at_mean).reason


def test_ceiling_that_is_not_above_zero_has_no_share(world, train, real):
    lost = world.cohort(real.weights, real.ids, truth=Truth(np.zeros((len(real), E))))
    r2 = scored(real, lost, train)["r2_beyond_mean"]
    assert r2["ceiling"] < 0
    assert r2["share_of_ceiling"] is None
    assert "ceiling" in r2["reason"]
    misshapen = world.cohort(real.weights, real.ids, truth=Truth(np.zeros((len(real), 3))))
    with pytest.raises(ConnectomeError, match=r"expected connectome of 66 edges.*\(\d+, 3\)"):
        scored(real, misshapen, train)


# --- the answer -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluation(world, train, real):
    mean = world.expected(np.tile(modelled(train).mean(0), (len(real), 1)), real.ids)
    return evaluate(world.samples(real, 2, 5), real, reference=train, **QUICK, rivals={"mean": mean}, n_bootstrap=50)


def test_json_has_stable_keys_and_nothing_else(evaluation, tmp_path):
    text = evaluation.to_json(tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == text
    scores = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert scores == evaluation.to_dict()
    assert tuple(scores) == FIDELITY + DISTRIBUTION
    ceiling = {"ceiling", "share_of_ceiling", "share_of_ceiling_low", "share_of_ceiling_high"}
    for name, entry in scores.items():
        own = {"value", "low", "high", "null", "n", "rivals"} | (ceiling if name in ("r2_beyond_mean", "raw_r", "demeaned_r") else set())
        tests = {"real_vs_real"} if name in DISTRIBUTION else set()
        assert set(entry) - {"reason"} == own | tests
        assert ("reason" in entry) == (entry["value"] is None)
        rival = {"value", "low", "high", "difference", "difference_low", "difference_high"}
        assert set(entry["rivals"]["mean"]) - {"reason"} - tests == rival | (ceiling if name in ("r2_beyond_mean", "raw_r") else set())
        assert entry["n"] == (0 if entry["value"] is None else 300)


def test_table_is_tidy_and_a_copy(evaluation):
    table = evaluation.to_dataframe()
    assert list(zip(table["score"], table["cohort"], strict=True)) == [
        (s, c) for s in FIDELITY + DISTRIBUTION for c in ("generated", "mean")
    ]
    table["value"] = 0
    assert (evaluation.table["value"] != 0).any()
    first = evaluation.table.iloc[0]
    assert first["low"] < first["value"] < first["high"]


def test_summary_shows_rivals_nulls_and_reasons(evaluation):
    text = evaluation.summary()
    assert str(evaluation) == text
    lines = text.splitlines()
    assert "generated - rival" in lines[0]
    assert "share of ceiling" in lines[0]
    row = next(i for i, line in enumerate(lines) if "r2_beyond_mean" in line)
    assert "generated" in lines[row]
    assert lines[row + 1].split()[0] == "mean"
    assert "null" in lines[0]
    assert "demeaned_r of mean: every generated connectome is the training mean" in text
    assert "2 samples a person (generated)" in text
    assert "presence_auc, presence_brier, density_difference, zeros_difference of mean: expected" in text
    assert "nan" not in text
    assert "-0.0000" not in text


def test_summary_without_rivals_or_truth_is_narrow(world, train, real):
    own = world.cohort(real.weights, real.ids)
    evaluation = evaluate(own, own, reference=train, parts=FIDELITY, measures=(), n_bootstrap=5)
    assert isinstance(evaluation, Evaluation)
    heading = evaluation.summary().splitlines()[0]
    assert heading.split() == ["score", "value", "95", "%", "interval", "null"]


def test_scores_of_ones_own(world, train, real):
    class LargestWeight:
        name = "largest_weight"
        paired = topology = False

        def compute(self, generated, real, reference):
            return Estimate(np.array([modelled(generated).max()]), len(real))

    scores = scored(real, real, train, parts=("density_difference", LargestWeight()))
    assert scores["largest_weight"]["value"] == modelled(real).max()
    assert scores["largest_weight"]["low"] is None


def test_evaluation_never_imports_a_generator():
    code = (
        "import sys, connectome_gnn.evaluation; print([m for m in sys.modules if m.startswith('connectome_gnn.')], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "generation" not in answer
    assert "simulat" not in answer
    assert answer.strip().endswith("False")


# --- real people ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif("CONNECTOME_GNN_DATA" not in os.environ, reason="CONNECTOME_GNN_DATA does not say where the real cohorts are")
def test_lemon():
    cohort = Cohort.load(os.path.join(os.environ["CONNECTOME_GNN_DATA"], "lemon"))
    train, real = cohort.split(0.8, seed=0)
    mean = Scale(True).inverse(modelled(train).mean(0))

    def of(weights, kind):
        return Cohort(weights, real.phenotypes, real.atlas, measure=real.measure, signed=True, kind=kind)

    stranger = of(real.weights[np.roll(np.arange(len(real)), 1)], "sample")
    scores = scored(real, real, train, rivals={"mean": of(np.tile(mean, (len(real), 1)), "expected"), "stranger": stranger})
    assert scores["r2_beyond_mean"]["value"] == 1
    rivals = {name: entry["rivals"] for name, entry in scores.items()}
    assert rivals["r2_beyond_mean"]["mean"]["value"] == pytest.approx(0, abs=1e-9)
    assert rivals["demeaned_r"]["mean"]["value"] is None
    assert rivals["r2_beyond_mean"]["stranger"]["high"] < -0.3
    assert rivals["raw_r"]["stranger"]["value"] < scores["raw_r"]["null"] < 0.9
    assert rivals["spread_ratio"]["stranger"]["value"] == pytest.approx(1, abs=1e-6)
    assert rivals["zeros_difference"]["stranger"]["value"] == 0

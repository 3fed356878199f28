import numpy as np
import pytest
from planted import planted_fidelity
from scipy.stats import pearsonr
from test_evaluation import SHARE, E, R, World, modelled

from connectome_gnn import evaluate, topology
from connectome_gnn.evaluation import Comparison, Reference, capture
from connectome_gnn.evaluation.capture import CaptureEdges, CaptureMeasure, captured
from connectome_gnn.evaluation.resampling import permutations, resamples
from connectome_gnn.evaluation.statistics import benjamini_hochberg, pooled_r


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def train(world):
    return world.people(100, "train", 1)


@pytest.fixture(scope="module")
def real(world):
    return world.people(80, "test", 2, truth=True)


def compared(generated, real, train, **options):
    return Comparison.of(generated, real, Reference.of(train), **{"n_bootstrap": 20, "n_permutations": 99, "measures": (), **options})


def columns(n, c, signal, seed=0):
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, n, c))
    return x, signal * x + noise


def test_correlations_resamples_and_permutations_are_those_of_a_plain_implementation():
    n, c = 31, 70  # more columns than are permuted together
    x, y = columns(n, c, np.linspace(0, 0.6, c))
    weights, orders = resamples(np.arange(n), 5, 1), permutations(np.arange(n), 60, np.random.default_rng(2))
    found = captured([(x[:, :50], y[:, :50]), (x[:, 50:], y[:, 50:])], c, weights, orders)
    r = np.array([pearsonr(x[:, j], y[:, j])[0] for j in range(c)])
    assert found.r == pytest.approx(r, abs=1e-12)
    assert found.pooled[0] == pytest.approx(np.tanh(np.arctanh(r).mean()), abs=1e-12)
    for draw in range(1, 6):
        chosen = np.repeat(np.arange(n), weights[draw].astype(int))
        again = [pearsonr(x[chosen, j], y[chosen, j])[0] for j in range(c)]
        assert found.pooled[draw] == pytest.approx(pooled_r(again), abs=1e-5)
    null = np.array([np.diagonal(np.corrcoef(x, y[order], rowvar=False)[:c, c:]) for order in orders])
    assert found.null == pytest.approx(np.tanh(np.arctanh(null).mean(1)), abs=1e-5)
    assert found.p == pytest.approx((1 + (null >= r).sum(0)) / 61, abs=1e-12)
    assert found.q == pytest.approx(benjamini_hochberg(found.p))
    assert captured([(x, y)], c, weights, orders, n_jobs=2).null == pytest.approx(found.null, abs=1e-7)


def test_columns_that_do_not_vary_are_undefined_and_the_others_unchanged():
    x, y = columns(20, 5, 0.5)
    x[:, 1], y[:, 3], y[4, 4] = 3.7, 0, np.nan
    weights, orders = resamples(np.arange(20), 3, 1), permutations(np.arange(20), 9, np.random.default_rng(2))
    found, alone = captured([(x, y)], 5, weights, orders), captured([(x[:, [0, 2]], y[:, [0, 2]])], 2, weights, orders)
    assert np.isnan(found.r[[1, 3, 4]]).all() and np.isnan(found.p[[1, 3, 4]]).all() and np.isnan(found.q[[1, 3, 4]]).all()
    assert found.pooled == pytest.approx(alone.pooled, abs=1e-7)
    assert found.null == pytest.approx(alone.null, abs=1e-7)
    nothing = captured([(x[:, [1]], y[:, [1]])], 1, weights, orders)
    assert np.isnan(nothing.pooled).all() and len(nothing.null) == 0


def test_capture_of_edges_is_r_across_people_and_no_share_of_variance(world, train, real):
    # r of the truth is the root of the share of variance it explains; printed as a share itself it would flatter fivefold.
    generated = world.expected(real.truth.expected, real.ids)
    evaluation = evaluate(generated, real, train, parts=("r2_beyond_mean", "capture_edge_weight"), measures=(), n_permutations=99)
    scores, details = evaluation.to_dict(), evaluation.details["capture_edge_weight"]
    assert scores["capture_edge_weight"]["value"] == pytest.approx(np.sqrt(SHARE), abs=0.05)
    assert scores["r2_beyond_mean"]["value"] == pytest.approx(SHARE, abs=0.05)
    assert scores["capture_edge_weight"]["p"] == 0.01
    assert scores["capture_edge_weight"]["null"] == 0
    assert scores["capture_edge_weight"]["low"] < scores["capture_edge_weight"]["value"] < scores["capture_edge_weight"]["high"]
    assert len(details) == E
    x = modelled(real)
    assert details["r"].to_numpy() == pytest.approx([pearsonr(x[:, j], real.truth.expected[:, j])[0] for j in range(E)], abs=1e-9)
    assert details["q"].to_numpy() == pytest.approx(benjamini_hochberg(details["p"]))
    assert tuple(details.iloc[E - 1][["region", "other_region"]]) == (f"region {R - 2}", f"region {R - 1}")


def test_blocks_of_edges_change_nothing(world, train, real, monkeypatch):
    generated = world.samples(real, 2, 3)
    whole = CaptureEdges().estimate(compared(generated, real, train))
    monkeypatch.setattr(capture, "COLUMNS_AT_ONCE", 7)
    blocks = CaptureEdges().estimate(compared(generated, real, train))
    assert blocks.values == pytest.approx(whole.values, abs=1e-6)
    assert blocks.p == whole.p
    assert blocks.details.equals(whole.details)


def test_the_group_mean_captures_nothing_and_says_so(world, train, real):
    mean = world.expected(np.tile(modelled(train).mean(0), (len(real), 1)), real.ids)
    scores = evaluate(mean, real, train, parts="capture_edge_weight", measures=(), n_permutations=9).to_dict()
    assert scores["capture_edge_weight"]["value"] is None
    assert "differ" in scores["capture_edge_weight"]["reason"]


def test_topology_takes_the_mean_over_samples_of_a_measure_not_the_measure_of_a_mean(world, train, real):
    generated = world.samples(real, 3, 5)
    names = ("strength", "transitivity")
    comparison = compared(generated, real, train, measures=names)
    measures = topology.measure(generated.weights, names)
    of_real = topology.measure(real.weights, names)
    of_mean = topology.measure(generated.weights.reshape(len(real), 3, E).mean(1), names)["transitivity"]
    transitivity = CaptureMeasure("transitivity").estimate(comparison)
    expected = pearsonr(of_real["transitivity"], measures["transitivity"].reshape(-1, 3).mean(1))[0]
    assert transitivity.values[0] == pytest.approx(expected, abs=1e-9)
    assert transitivity.values[0] != pytest.approx(pearsonr(of_real["transitivity"], of_mean)[0], abs=1e-4)
    assert transitivity.details is None
    strength = CaptureMeasure("strength").estimate(comparison)
    y = measures["strength"].reshape(-1, 3, R).mean(1)
    r = [pearsonr(of_real["strength"][:, i], y[:, i])[0] for i in range(R)]
    assert strength.values[0] == pytest.approx(pooled_r(r), abs=1e-9)
    assert list(strength.details["region"]) == [f"region {i}" for i in range(R)]
    assert strength.details["r"].to_numpy() == pytest.approx(r, abs=1e-9)


def test_expected_connectomes_have_no_topology(world, train, real):
    expected = world.expected(real.truth.expected, real.ids)
    scores = evaluate(expected, real, train, parts=("capture_strength",), measures="strength").to_dict()
    assert scores["capture_strength"]["reason"] == "measures of an average are no person's measures; score samples"


def test_measures_that_do_not_vary_or_are_undefined_of_somebody(world, train, real):
    comparison = compared(world.samples(real, 1, 5), real, train, measures=("density", "strength"))
    assert "do not differ in density" in CaptureMeasure("density").estimate(comparison).reason
    sides = comparison.topology
    sides.real["density"] = np.random.default_rng(0).random(len(real))
    sides.generated["density"] = sides.real["density"][:, None].copy()
    sides.real["density"][3], sides.generated["density"][7] = np.nan, np.nan
    some = CaptureMeasure("density").estimate(comparison)
    assert some.n == len(real) - 2
    assert some.values[0] == 1
    assert some.p == 0.01
    sides.generated["strength"][5, 0, 2] = np.nan
    strength = CaptureMeasure("strength").estimate(comparison)
    assert np.flatnonzero(strength.details["r"].isna()).tolist() == [2]


def test_families_are_permuted_whole(world, train, real):
    # Twins with the same connectomes: permuted one by one the null would be too narrow.
    twins = world.cohort(np.repeat(real.weights[:30], 2, 0), [f"twin{i:03d}" for i in range(60)])
    generated = world.cohort(np.repeat(world.samples(real, 1, 5).weights[30:60], 2, 0), twins.ids, kind="sample")
    alone = CaptureEdges().found(compared(generated, twins, train, n_permutations=400))[0]
    twins.phenotypes["family_id"] = np.repeat([f"f{i}" for i in range(30)], 2)
    together = CaptureEdges().found(compared(generated, twins, train, n_permutations=400))[0]
    assert together.null.std() / alone.null.std() == pytest.approx(np.sqrt(2), rel=0.2)


def test_shuffled_people_are_at_chance_with_p_as_it_should_be():
    # The small form of the 200 repeats of benchmarks/planted_fidelity.py.
    p = planted_fidelity.chance_p_values(20, n_permutations=99)
    assert list(p.columns) == [*planted_fidelity.TESTED, *planted_fidelity.IDENTIFICATION]
    assert (p > 0).all(axis=None) and (p <= 1).all(axis=None)
    for name in p:
        assert (p[name] <= 0.05).sum() <= 4, name  # binomial: more than 4 of 20 once in 400
        assert 0.3 < p[name].mean() < 0.7, name


def test_people_as_they_are_are_pooled_as_permuted_ones_are():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 12, 3))
    x[:, 0] = y[:, 0] = np.arange(12) == 5  # an edge of one person alone, by chance the same one: r = 1
    orders = np.stack([np.arange(12), *(rng.permutation(12) for _ in range(9))]).astype(np.int32)
    found = captured([(x, y)], 3, np.ones((3, 12), np.float32), orders)
    assert found.r[0] == pytest.approx(1, abs=1e-12)
    assert found.null[0] == pytest.approx(found.tested, abs=1e-6)
    assert found.pooled[1:] == pytest.approx(found.pooled[0], abs=1e-3)


def test_p_of_few_people_counts_their_own_order(world, train):
    few = world.people(4, "few", 3)
    entry = evaluate(few, few, train, parts="capture_edge_weight", measures=(), n_bootstrap=0, n_permutations=2000).to_dict()
    assert entry["capture_edge_weight"]["p"] == pytest.approx(1 / 24, abs=0.02)  # one order in 24 is their own

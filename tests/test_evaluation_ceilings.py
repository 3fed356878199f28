import numpy as np
import pytest
from test_evaluation import E, Truth, World, modelled

import connectome_gnn as cg
from connectome_gnn import evaluate
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.ceilings import attenuated, pooled_ceiling

EDGES = ("r2_beyond_mean", "raw_r", "demeaned_r", "capture_edge_weight")
NAMES = tuple(f"identification_{name}{suffix}" for suffix in ("", "_raw") for name in ("top1", "top5", "hungarian", "rank", "difference"))
RELIABILITY = 0.6


class Scans:
    """People scanned again and again: what is stable in them, and error, by the reliability of every edge."""

    def __init__(self, n, seed=0, absent=0.0):
        self.world, rng = World(absent=absent), np.random.default_rng(seed)
        maps = 0.15 * np.random.default_rng(99).standard_normal((6, E))
        self.stable = self.world.base + rng.standard_normal((n, 6)) @ maps + 0.1 * rng.standard_normal((n, E))
        self.error = np.sqrt(((maps**2).sum(0) + 0.01) * (1 - RELIABILITY) / RELIABILITY)
        self.ids = [f"p{i:04d}" for i in range(n)]
        self.present = rng.beta(0.3, 0.3, (n, E)) if absent else np.ones((n, E))  # everybody's own probability of each edge
        self.present[:, : E // 2] *= np.where(absent, 0.7, 1)
        self.rng = rng

    def scan(self):
        z = self.stable + self.error * self.rng.standard_normal(self.stable.shape)
        return self.world.cohort(self.world.scale.inverse(z) * (self.rng.random(z.shape) < self.present), self.ids)

    def truth(self):
        return self.world.expected(self.stable, self.ids)


@pytest.fixture(scope="module")
def scans():
    return Scans(200)


@pytest.fixture(scope="module")
def train():
    many = Scans(400, seed=1)
    return many.world.cohort(many.scan().weights, [f"t{i:04d}" for i in range(400)])


def test_truth_of_a_simulated_cohort_reaches_all_of_its_ceiling():
    train, real = cg.simulate_cohort(160, 16, 10, seed=0, explained=0.2).split(0.6, seed=0)
    expected = real.truth.expected
    generated = cg.Cohort(
        real.scale.inverse(expected), real.phenotypes, real.atlas, measure=real.measure, signed=real.signed, kind="expected"
    )
    options = {"parts": EDGES + NAMES, "measures": (), "n_bootstrap": 20, "n_permutations": 0}
    for ceiling in (None, real.truth, generated):
        scores = evaluate(generated, real, train, ceiling=ceiling, **options).to_dict()
        for name, entry in scores.items():
            assert entry["share_of_ceiling"] == pytest.approx(1, abs=1e-9), name
            assert entry["ceiling"] == entry["value"], name
            assert [entry["share_of_ceiling_low"], entry["share_of_ceiling_high"]] == pytest.approx([1, 1], abs=1e-9), name


def test_samples_of_the_truth_are_a_ceiling_of_topology_and_presence():
    world = World(absent=0.9)
    train, real = world.people(200, "train", 1), world.people(100, "test", 2, truth=True)
    parts = ("capture_strength", "presence_auc", "presence_brier")
    samples, others = world.samples(real, 8, 3), world.samples(real, 8, 4)
    options = {"parts": parts, "measures": "strength", "n_bootstrap": 20, "n_permutations": 0}
    scores = evaluate(samples, real, train, ceiling=samples, **options).to_dict()
    assert [scores[name]["share_of_ceiling"] for name in parts] == pytest.approx([1, 1, 1], abs=1e-9)
    scores = evaluate(others, real, train, ceiling=samples, **options).to_dict()
    of_samples = evaluate(samples, real, train, **options).to_dict()
    assert [scores[name]["ceiling"] for name in parts] == [of_samples[name]["value"] for name in parts]
    by_default = evaluate(samples, real, train, **options).to_dict()
    assert "ceiling" not in by_default["capture_strength"]  # the expected truth has no topology


def test_repeated_scans_tell_what_the_error_free_connectome_would_score(scans, train):
    first, second = scans.scan(), scans.scan()
    ceilings = cg.noise_ceiling(first, second, reference=train, measures=(), n_bootstrap=100).to_dict()
    options = {"measures": (), "n_bootstrap": 0, "n_permutations": 0}
    best = evaluate(scans.truth(), first, train, parts=EDGES + NAMES, **options).to_dict()
    for name in (*EDGES, "identification_difference", "identification_difference_raw"):
        assert ceilings[name]["value"] == pytest.approx(best[name]["value"], rel=0.03), name
        assert ceilings[name]["low"] < ceilings[name]["value"] < ceilings[name]["high"], name
    assert ceilings["r2_beyond_mean"]["value"] == pytest.approx(RELIABILITY, abs=0.02)
    assert ceilings["capture_edge_weight"]["value"] == pytest.approx(np.sqrt(RELIABILITY), abs=0.02)
    assert ceilings["r2_beyond_mean"]["low"] < RELIABILITY < ceilings["r2_beyond_mean"]["high"]
    # Of who is identified the ceiling is nearer to the truth than what the second scan itself reaches, and not above it.
    itself = evaluate(second, first, train, parts=NAMES, **options).to_dict()
    for name in NAMES:
        assert itself[name]["value"] < ceilings[name]["value"] <= best[name]["value"] * 1.03, name


def test_second_scan_as_a_ceiling_gives_the_share_reached(scans, train):
    first, second = scans.scan(), scans.scan()
    options = {"parts": EDGES, "measures": (), "n_bootstrap": 100, "n_permutations": 0}
    scores = evaluate(scans.truth(), first, train, ceiling=second, **options).to_dict()
    ceilings = cg.noise_ceiling(first, second, reference=train, measures=(), n_bootstrap=100).to_dict()
    for name in EDGES:
        assert scores[name]["ceiling"] == pytest.approx(ceilings[name]["value"], abs=1e-12), name
        assert scores[name]["share_of_ceiling"] == pytest.approx(1, abs=0.03), name
    half = scans.world.expected((scans.stable + scans.world.base) / 2, scans.ids)
    shares = evaluate(half, first, train, ceiling=second, **options).to_dict()
    assert shares["r2_beyond_mean"]["share_of_ceiling"] == pytest.approx(0.75, abs=0.05)  # 1 - (1/2)^2 of what is stable
    assert shares["r2_beyond_mean"]["share_of_ceiling_low"] < shares["r2_beyond_mean"]["share_of_ceiling"]


def test_presence_is_scored_against_the_disagreement_of_scans():
    scans = Scans(80, absent=0.9)
    first, second = scans.scan(), scans.scan()
    many = Scans(300, seed=1, absent=0.9)
    train = many.world.cohort(many.scan().weights, [f"t{i:04d}" for i in range(300)])
    ceilings = cg.noise_ceiling(first, second, reference=train, measures=(), n_bootstrap=50).to_dict()
    rare = (modelled(train) != 0).mean(0) < 0.5
    assert rare.any()
    own = (scans.present * (1 - scans.present))[:, rare].mean()  # Brier score of everybody's own probabilities
    assert ceilings["presence_brier"]["value"] == pytest.approx(own, rel=0.05)
    draws = np.stack([scans.scan().weights for _ in range(20)], 1).reshape(-1, E)
    samples = scans.world.cohort(draws, np.repeat(scans.ids, 20), samples=20, kind="sample")
    scores = evaluate(samples, first, train, ceiling=second, parts="presence_brier", measures=(), n_bootstrap=50).to_dict()
    assert scores["presence_brier"]["share_of_ceiling"] == pytest.approx(1, abs=0.05)


def test_repeated_scans_in_one_cohort_are_those_of_two(scans, train):
    first, second = scans.scan(), scans.scan()
    weights = np.stack([second.weights, first.weights, first.weights], 1).reshape(-1, E)
    together = scans.world.cohort(weights, np.repeat(scans.ids, 3), samples=3)
    together.phenotypes["session_id"] = np.tile(["ses-2", "ses-1", "ses-3"], len(scans.ids))
    options = {"reference": train, "measures": "strength", "n_bootstrap": 20}
    assert cg.noise_ceiling(together, **options).to_dict() == cg.noise_ceiling(first, second, **options).to_dict()
    text = cg.noise_ceiling(first, second, **options).summary()
    assert "NOISE CEILING" in text
    assert "no score of a generator" in text


def test_one_scan_of_each_person_is_refused(scans, train):
    first = scans.scan()
    with pytest.raises(ConnectomeError, match="one scan of each person"):
        cg.noise_ceiling(first)
    with pytest.raises(ConnectomeError, match="second scan and real cohort have no participant_id in common"):
        cg.noise_ceiling(first, train)
    with pytest.raises(ConnectomeError, match="no people"):
        cg.noise_ceiling(first, scans.truth())


def test_wrong_ceilings_are_refused(scans, train):
    first = scans.scan()
    with pytest.raises(TypeError, match="ceiling: expected a Cohort"):
        evaluate(first, first, train, ceiling="second", parts="raw_r")
    with pytest.raises(ConnectomeError, match=r"expected connectome of 66 edges.*\(200, 3\)"):
        evaluate(first, first, train, ceiling=Truth(np.zeros((200, 3))), parts="raw_r")
    with pytest.raises(ConnectomeError, match="ceiling and real cohort must hold the same people"):
        evaluate(first, first, train, ceiling=scans.scan().take(slice(0, 50)), parts="raw_r")


def test_pooled_ceiling_draws_reliabilities_together_before_the_root():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.5, 4000)
    found = np.tanh(np.arctanh(true) + rng.standard_normal(4000) / np.sqrt(10))
    expected = np.tanh(np.arctanh(np.sqrt(true)).mean())
    pooled = np.tanh(np.arctanh(found).mean())
    assert pooled_ceiling(found, np.array([pooled]), 13) == pytest.approx([expected], abs=0.002)
    assert pooled_ceiling(np.array([0.49]), np.array([0.49, 0.64]), 30) == pytest.approx([0.7, 0.8])
    assert np.isnan(pooled_ceiling(np.array([np.nan]), np.array([np.nan]), 30)).all()
    assert attenuated(np.array([0.25, -0.1])) == pytest.approx([0.5, 0])

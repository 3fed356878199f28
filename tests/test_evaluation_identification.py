from types import SimpleNamespace

import numpy as np
import pytest
from planted import planted_fidelity
from scipy.optimize import linear_sum_assignment
from scipy.stats import pearsonr
from test_evaluation import World, modelled

from connectome_gnn import evaluate
from connectome_gnn.evaluation import Comparison, Reference
from connectome_gnn.evaluation import similarity as similarities
from connectome_gnn.evaluation.identification import identification_scores, pair_pseudovalues, restricted, wilson
from connectome_gnn.evaluation.similarity import Identified, similarity

NAMES = tuple(f"identification_{name}" for name in ("top1", "top5", "hungarian", "rank", "difference"))
RAW = tuple(f"{name}_raw" for name in NAMES)


@pytest.fixture(scope="module")
def world():
    return World(absent=0.3)


@pytest.fixture(scope="module")
def train(world):
    return world.people(100, "train", 1)


@pytest.fixture(scope="module")
def real(world):
    return world.people(40, "test", 2, truth=True)


def scored(generated, real, train, **options):
    options = {"parts": NAMES + RAW, "measures": (), "n_bootstrap": 50, "n_permutations": 99, **options}
    return evaluate(generated, real, train, **options).to_dict()


def values(s):
    return {score.name: score.value(Identified(np.arange(len(s)), np.asarray(s, float))) for score in identification_scores()[:5]}


def naive(s):
    n = len(s)
    matches = linear_sum_assignment(1 - s)[1]
    others = [s[i, j] for i in range(n) for j in range(n) if i != j]
    return {
        "identification_top1": np.mean([s[i].argmax() == i for i in range(n)]),
        "identification_top5": np.mean([i in np.argsort(s[i])[-5:] for i in range(n)]),
        "identification_hungarian": np.mean(matches == np.arange(n)),
        "identification_rank": np.mean([np.mean([s[i, j] < s[i, i] for j in range(n) if j != i]) for i in range(n)]),
        "identification_difference": np.diagonal(s).mean() - np.mean(others),
    }


def test_scores_are_those_of_a_plain_implementation(world, train, real, monkeypatch):
    monkeypatch.setattr(similarities, "EDGES_AT_ONCE", 11)
    generated = world.samples(real, 2, 5)
    scores = scored(generated, real, train)
    m, common = modelled(train).mean(0), Reference.of(train).common
    x, y = modelled(real), modelled(generated).reshape(len(real), 2, -1).mean(1)
    n = len(real)
    raw = np.array([[pearsonr(x[i], y[j])[0] for j in range(n)] for i in range(n)])
    demeaned = np.array([[pearsonr((x[i] - m)[common], (y[j] - m)[common])[0] for j in range(n)] for i in range(n)])
    for s, names in ((demeaned, NAMES), (raw, RAW)):
        for name, value in zip(names, naive(s).values(), strict=True):
            assert scores[name]["value"] == pytest.approx(value, abs=1e-9), name
            assert scores[name]["n"] == n
            assert scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"]
            assert 0.01 <= scores[name]["p"] <= scores[name]["q"] <= 1
    assert [scores[name]["null"] for name in NAMES] == [1 / n, 5 / n, 1 / n, 0.5, 0]


def test_real_people_themselves_are_identified(train, real):
    scores = scored(real, real, train)
    for name in NAMES[:4] + RAW[:4]:
        assert scores[name]["value"] == scores[name]["high"] == 1
        assert scores[name]["low"] > 0.8
        assert scores[name]["p"] == 0.01


def test_group_mean_identifies_nobody(world, train, real):
    mean = world.expected(np.tile(modelled(train).mean(0), (len(real), 1)), real.ids)
    scores = scored(mean, real, train)
    for name in NAMES:
        assert scores[name]["value"] is None
        assert "deviates from the training mean" in scores[name]["reason"]
    for name in RAW:  # all alike: exactly chance
        assert scores[name]["value"] == pytest.approx(scores[name]["null"], abs=1e-12)
        assert scores[name]["p"] == 1
    constant = world.cohort(np.ones_like(real.weights), real.ids)
    assert "varies over its edges" in scored(constant, real, train)[RAW[0]]["reason"]


def test_ties_count_as_chance():
    # Two people whose generated connectomes are the same, and who are closest to them; a third is right.
    s = np.array([[0.9, 0.9, 0.1], [0.8, 0.8, 0.1], [0.1, 0.1, 0.7]])
    found = values(s)
    assert found["identification_top1"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["identification_hungarian"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["identification_rank"] == pytest.approx((0.75 + 0.75 + 1) / 3)
    assert values(np.full((7, 7), 0.4)) == pytest.approx({NAMES[0]: 1 / 7, NAMES[1]: 5 / 7, NAMES[2]: 1 / 7, NAMES[3]: 0.5, NAMES[4]: 0})


def test_a_rank_does_not_count_the_person_themselves():
    # Published code ranks among all N: with the person last that gives 1 / N, with the person first 1 - 1 / N or more than there is.
    first, last = np.eye(4), 1 - np.eye(4)
    assert values(first)["identification_rank"] == 1
    assert values(last)["identification_rank"] == 0
    half = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    assert values(half)["identification_rank"] == 0.5


def test_the_mean_of_others_leaves_the_diagonal_out():
    # Published code masked with ``~np.eye(n)`` of floats or with ones, and so averaged the diagonal into the others.
    s = np.full((5, 5), 0.2)
    np.fill_diagonal(s, 0.7)
    assert values(s)["identification_difference"] == pytest.approx(0.5, abs=1e-15)
    assert s.mean() != pytest.approx(0.2)


def test_people_without_a_direction_are_left_out(world, train, real):
    generated = world.samples(real, 1, 5)
    weights = generated.weights.copy()
    weights[3] = world.scale.inverse(modelled(train).mean(0))
    scores = scored(world.cohort(weights, real.ids), real, train)
    kept = np.delete(np.arange(len(real)), 3)
    alone = scored(world.cohort(weights[kept], real.ids[kept]), real.take(kept), train)
    for name in NAMES:
        assert scores[name]["n"] == len(real) - 1
        assert scores[name]["value"] == alone[name]["value"]
    assert scores[RAW[0]]["n"] == len(real)
    orders = np.array([[2, 0, 3, 1], [3, 2, 1, 0]], np.int32)
    assert restricted(orders, np.array([0, 1, 3])).tolist() == [[0, 2, 1], [2, 1, 0]]


def test_pseudovalues_are_those_of_people_left_out():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((9, 9))
    n, others = 9, ~np.eye(9, dtype=bool)
    whole = s[others].mean()
    for k, pseudo in enumerate(pair_pseudovalues(s)):
        kept = np.delete(np.arange(n), k)
        part = s[np.ix_(kept, kept)]
        assert pseudo == pytest.approx(n * whole - (n - 1) * part[~np.eye(8, dtype=bool)].mean(), abs=1e-12)


def test_wilsons_interval_is_that_of_scipy():
    from scipy.stats import binomtest

    for hits in (0, 3, 17, 20):
        low, high = wilson(hits / 20, hits / 20 * (1 - hits / 20) / 20, 20)
        expected = binomtest(hits, 20).proportion_ci(0.95, "wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_scatter_of_halves_is_that_of_studies():
    # Forty studies of 50 people: the standard deviation over them against what a study says of itself.
    rng = np.random.default_rng(0)
    scores = identification_scores()[:3]
    found = {score.name: [] for score in scores}
    claimed = {score.name: [] for score in scores}
    for repeat in range(40):
        t, x, y = rng.standard_normal((3, 50, 40))
        study = Identified(np.arange(50), np.round(np.corrcoef(t + x, 0.6 * t + y)[:50, 50:], 10))
        comparison = SimpleNamespace(
            weights=np.ones((9, 50), np.float32),
            units=np.arange(50),
            n_people=50,
            rng=lambda name, repeat=repeat: np.random.default_rng(repeat),
            shared=lambda name, build: build(),
        )
        for score in scores:
            value = score.value(study)
            found[score.name].append(value)
            claimed[score.name].append(score.draws(study, value, comparison)[1:].std())
    for score in scores:
        assert 0.8 < np.mean(claimed[score.name]) / np.std(found[score.name]) < 2, score.name  # matchings of halves vary more than of all


def test_details_say_who_was_taken_for_whom(world, train, real):
    generated = real.take(np.roll(np.arange(len(real)), 1))
    swapped = world.cohort(generated.weights, real.ids)
    details = evaluate(swapped, real, train, parts=NAMES[0], measures=(), n_bootstrap=0).details[NAMES[0]]
    assert list(details["participant_id"]) == list(real.ids)
    assert list(details["most_similar"]) == list(np.roll(real.ids, -1)) == list(details["matched_with"])
    assert details["largest_similarity"].to_numpy() == pytest.approx(1)
    assert (details["rank"] > 1).all()


def test_intervals_hold_what_studies_say_on_average():
    # The small form of the 200 repeats of benchmarks/planted_fidelity.py.
    found = planted_fidelity.interval_hits(25, n=40, n_bootstrap=100)
    assert (found["hits"] >= 20).all(), found


def test_similarity_of_errors_is_that_of_differences_of_scans(world, train, real):
    again = world.people(40, "test", 9)
    comparison = Comparison.of(again, real, Reference.of(train), n_bootstrap=0, measures=())
    x, difference = modelled(real), modelled(again) - modelled(real)
    expected = [[pearsonr(x[i], difference[j])[0] for j in range(3)] for i in range(3)]
    assert similarity(comparison, demeaned=False, of_error=True)[:3, :3] == pytest.approx(np.array(expected), abs=1e-9)

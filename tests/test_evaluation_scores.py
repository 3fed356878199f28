import numpy as np
import pytest
from test_evaluation import DISTRIBUTION, FIDELITY, World, modelled

import connectome_gnn as cg
from connectome_gnn import Cohort, evaluate
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation import PARTS, Comparison, Estimate, Reference, Score, scores_of
from connectome_gnn.evaluation.resampling import weighted_mean
from connectome_gnn.evaluation.sides import SIGNED, UNSIGNED, chosen_measures
from connectome_gnn.topology.registry import MEASURES


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def train(world):
    return world.people(100, "train", 1)


@pytest.fixture(scope="module")
def real(world):
    return world.people(60, "test", 2, truth=True)


class MeanWeight:
    """Generated minus real mean weight, modelling scale."""

    name = "mean_weight"
    paired = topology = False

    def compute(self, generated, real, reference):
        return modelled(generated).mean() - modelled(real).mean()


class SameRow:
    """Whether a score is given aligned cohorts."""

    name = "same_row"
    paired, topology = True, False

    def compute(self, generated, real, reference):
        assert isinstance(reference, Cohort)
        assert list(generated.ids) == list(np.repeat(real.ids, 3))
        assert list(real.ids) == sorted(real.ids, key=lambda name: name.partition("#")[0])
        return float(np.mean([w @ v for w, v in zip(modelled(generated)[::3], modelled(real), strict=True)]))


class Degrees:
    """A score of networks."""

    name = "degrees"
    paired, topology = False, True

    def compute(self, generated, real, reference):
        return Estimate(np.array([1.0]), len(real), null=1.0, p=0.5)


@pytest.fixture
def registered():
    yield
    for name in ("mean_weight", "same_row", "degrees"):
        try:
            cg.unregister_score(name)
        except ConnectomeError:
            continue


def test_a_number_gets_its_interval_from_people_resampled(world, train, real):
    rng = np.random.default_rng(0)
    generated = world.samples(real, 3, 5).take((3 * rng.permutation(len(real))[:, None] + np.arange(3)).ravel())
    evaluation = evaluate(generated, real.take(rng.permutation(len(real))), train, parts=(MeanWeight(), SameRow()), n_bootstrap=300)
    entry = evaluation.to_dict()["mean_weight"]
    comparison = Comparison.of(generated, real, Reference.of(train), n_bootstrap=200, measures=())
    y = np.concatenate([samples.mean((1, 2)) for _, samples in comparison.generated_batches()])
    x = np.concatenate([values.mean(1) for _, values in comparison.real_batches()])
    draws = weighted_mean(comparison.weights, y) - weighted_mean(comparison.weights, x)
    assert entry["value"] == pytest.approx(draws[0], abs=1e-9)
    more = Comparison.of(generated, real, Reference.of(train), n_bootstrap=300, measures=()).weights[:201]
    first = weighted_mean(more, y) - weighted_mean(more, x)
    assert [entry["low"], entry["high"]] == pytest.approx(np.quantile(first[1:], [0.025, 0.975]), abs=1e-9)
    assert evaluation.to_dict()["same_row"]["low"] < evaluation.to_dict()["same_row"]["high"]


def test_scores_are_registered_and_taken_back(world, train, real, registered):
    assert isinstance(MeanWeight(), Score)
    cg.register_score(MeanWeight(), part="distribution")
    cg.register_score(Degrees())
    assert "mean_weight" in evaluate(real, real, train, parts="mean_weight").to_dict()
    assert list(evaluate(real, real, train, parts="own").to_dict()) == ["degrees"]
    with pytest.raises(ConnectomeError, match="there is a score 'mean_weight' already"):
        cg.register_score(MeanWeight())
    taken = MeanWeight()
    taken.name = "raw_r"
    with pytest.raises(ConnectomeError, match="there is a score 'raw_r' already"):
        cg.register_score(taken)
    with pytest.raises(TypeError, match="a score has a name, paired, topology and compute"):
        cg.register_score(object())
    cg.unregister_score("mean_weight")
    with pytest.raises(ConnectomeError, match="no score 'mean_weight' was registered; registered are 'degrees'"):
        cg.unregister_score("mean_weight")
    with pytest.raises(ConnectomeError, match="unknown part or score 'mean_weight'"):
        evaluate(real, real, train, parts="mean_weight")


def test_what_a_score_needs_is_seen_to(world, train, real):
    expected = world.expected(real.truth.expected, real.ids)
    assert "no person's measures" in evaluate(expected, real, train, parts=Degrees()).to_dict()["degrees"]["reason"]
    assert evaluate(real, real, train, parts=Degrees()).to_dict()["degrees"]["p"] == 0.5
    others = world.people(50, "new", 9)
    with pytest.raises(ConnectomeError, match="no participant_id in common"):
        evaluate(others, real, train, parts=SameRow())
    with pytest.raises(ConnectomeError, match="no participant_id in common"):
        evaluate(others, real, train, parts="raw_r")


def test_every_score_of_ours_obeys_the_small_protocol(world, train, real):
    generated = world.samples(real, 2, 5)
    for part in PARTS:
        for score in scores_of(part, ("strength",)):
            assert isinstance(score, Score), score
            assert score.name == score.name.lower()
            assert score.__doc__ or type(score).__doc__, score.name
    raw = next(score for score in scores_of("fidelity") if score.name == "raw_r")
    assert raw.compute(generated, real, train).values[0] == evaluate(generated, real, train, parts="raw_r").table["value"][0]


def test_default_measures_are_those_the_weights_allow(world):
    people = world.people(5, "p", 0)
    assert chosen_measures(None, people) == tuple(name for name in UNSIGNED if name != "wiring_cost")  # no coordinates
    assert chosen_measures(None, World(signed=True).people(5, "p", 0)) == SIGNED
    assert all(MEASURES[name].level in ("global", "nodal") for name in UNSIGNED + SIGNED)
    assert chosen_measures((), people) == ()
    assert chosen_measures("strength", people) == ("strength",)
    for name, sentence in (
        ("edge_betweenness", "edge values"),
        ("wiring_cost", "needs coordinates"),
        ("strenght", "nearest is 'strength'"),
    ):
        with pytest.raises(ConnectomeError, match=sentence):
            chosen_measures(name, people)
    with pytest.raises(ConnectomeError, match="not defined for the negative weights of pearson"):
        chosen_measures(["clustering"], World(signed=True).people(5, "p", 0))


def test_all_is_every_part_and_json_has_no_other_keys():
    people = cg.simulate_cohort(90, 12, 6, seed=0)
    train, real = people.split(0.6, seed=0)
    draws = np.stack([real.truth.draw(seed) for seed in range(2)], 1).reshape(-1, real.n_edges)
    table = real.phenotypes.loc[np.repeat(real.ids, 2)].assign(sample=np.tile([0, 1], len(real)))
    generated = Cohort(draws, table, real.atlas, measure=real.measure, kind="sample")
    options = {"measures": ("strength", "transitivity"), "n_bootstrap": 20, "n_permutations": 19}
    evaluation = evaluate(generated, real, train, parts="all", **options)
    scores = evaluation.to_dict()
    assert list(scores) == [score.name for part in PARTS for score in scores_of(part, options["measures"])]
    assert set(evaluation.table["part"]) == set(PARTS)
    keys = {"value", "low", "high", "null", "n", "p", "q", "real_vs_real", "reason", "ceiling"}
    keys |= {"share_of_ceiling", "share_of_ceiling_low", "share_of_ceiling_high"}
    for name, entry in scores.items():
        assert {"value", "low", "high", "null", "n"} <= set(entry) <= keys, name
        assert (entry["value"] is not None) or entry["reason"], name
        assert all(value is None or np.isfinite(value) for key, value in entry.items() if key != "reason"), name
    tested = evaluation.table.dropna(subset="p")
    assert (tested["q"] >= tested["p"]).all()
    lines = evaluation.summary().splitlines()
    assert [line.strip() for line in lines if line.strip().isupper()] == [part.upper() for part in PARTS]
    assert max(map(len, lines)) <= 160
    assert set(evaluation.details) <= set(scores)
    assert len(evaluation.details["capture_strength"]) == real.n_regions


def test_threads_change_nothing(world, train, real):
    generated = world.samples(real, 2, 5)
    options = {"parts": "fidelity", "measures": ("strength", "modularity"), "n_bootstrap": 20, "n_permutations": 49}
    one, two = (evaluate(generated, real, train, n_jobs=jobs, **options).to_json() for jobs in (1, 2))
    assert one == two


def test_bad_input_in_a_sentence_each(world, train, real):
    options = {"measures": "strength", "n_bootstrap": 5, "n_permutations": 9}
    broken = real.weights.copy()
    broken[3, 4] = np.nan
    for cohorts, sentence in (
        ((world.samples(real, 2, 5).take(slice(0, -1)), real, train), "uneven samples"),
        ((train, real, train), "no participant_id in common"),
        ((world.cohort(real.weights, real.ids, measure="mean_fa"), real, train), "only weights of one kind can be compared"),
        ((World(signed=True).people(60, "test", 2), real, train), "signed=True"),
        ((real.take([0]), real.take([0]), train), "has 1 people"),
        ((world.cohort(broken, real.ids, check=False), real, train), "not a finite number"),
        ((real, real, real), "people of the reference are also among the real people"),
    ):
        with pytest.raises(ConnectomeError, match=sentence):
            evaluate(*cohorts, parts=("fidelity", "distribution"), **options)
    constant = world.cohort(np.ones_like(real.weights), real.ids)
    scores = evaluate(constant, real, train, parts="fidelity", **options).to_dict()
    assert scores["raw_r"]["reason"] == "every generated connectome is constant over its edges"
    for name in ("capture_edge_weight", "capture_strength", "identification_top1_raw"):
        assert scores[name]["value"] is None and scores[name]["reason"]
    assert scores["identification_top1"]["value"] == pytest.approx(1 / 60)  # the same deviation from the mean for everybody: chance
    pair = real.take([0, 1])
    assert "fewer than 3 people" in evaluate(pair, pair, train, parts="identification_top1").to_dict()["identification_top1"]["reason"]
    for option in ("n_bootstrap", "n_permutations"):
        with pytest.raises(ConnectomeError, match=f"{option} counts.*got -1"):
            evaluate(real, real, train, **{option: -1})


def test_scores_of_ones_own_that_are_none_say_what_is_wrong(world, train, real):
    def answering(answer):
        score = MeanWeight()
        score.compute = lambda generated, real, reference: answer
        return score

    options = {"measures": (), "n_bootstrap": 5}
    for answer in (float("nan"), Estimate(np.array([np.nan]), 60)):
        entry = evaluate(real, real, train, parts=answering(answer), **options).to_dict()["mean_weight"]
        assert entry["value"] is None
        assert "no finite number" in entry["reason"]
    with pytest.raises(TypeError, match="score 'mean_weight': compute gives a number or an Estimate, got NoneType"):
        evaluate(real, real, train, parts=answering(None), **options)
    with pytest.raises(ConnectomeError, match=r"score 'mean_weight': the values of an Estimate are an array \(1 \+ B,\)"):
        evaluate(real, real, train, parts=answering(Estimate(np.float64(3.0), 60)), **options)
    with pytest.raises(TypeError, match=r"an object, not its class; give MeanWeight\(\)"):
        evaluate(real, real, train, parts=[MeanWeight], **options)


def test_names_of_the_first_scores_stay(world, train, real):
    names = [score.name for score in scores_of("fidelity", ("strength",))]
    assert tuple(names[:5]) == FIDELITY
    assert names[5:7] == ["capture_edge_weight", "capture_strength"]
    assert set(DISTRIBUTION) <= {score.name for score in scores_of("distribution")}

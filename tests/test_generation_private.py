"""The private generator as a whole: everything in it comes from the noisy releases, one person cannot be told, and what that costs."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache
from itertools import count

import numpy as np
import pytest
from fitted import DESCRIBED, FAST, halves, plain_table, r2_beyond_mean, rival, small_cohort, standardised
from scipy.stats import norm
from test_cli import refused, run

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, ExtrapolationWarning, PrivacyWarning
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.network_fit import NETWORK_LABEL
from connectome_gnn.generation.privacy import DifferentialPrivacy, Ledger, largest_mu
from connectome_gnn.simulated_traits import choose_traits

pytestmark = [pytest.mark.filterwarnings(f"ignore::connectome_gnn.errors.{kind}") for kind in ("PrivacyWarning", "ExtrapolationWarning")]

BOUNDS = {"age": (45, 82), "height": (130, 210), "memory": (-4, 4)}
SIMULATED = {trait.name: (trait.low, trait.high) for trait in choose_traits(12) if not trait.levels}
TINY = NetworkConfig(epochs=4, context_width=8, region_width=4, rank=2, n_layers=1)


def private(cohort: Cohort, epsilon: float = 3.0, seed: int | None = 0, bounds: dict | None = None, **arguments) -> ConnectomeGenerator:
    network = {name: arguments.pop(name) for name in ("network", "messages") if name in arguments}
    promise = DifferentialPrivacy(epsilon, bounds=BOUNDS if bounds is None else bounds, noise_seed=seed, **arguments)
    return ConnectomeGenerator(privacy=promise, **network).fit(cohort)


@cache
def of_simulated(epsilon: float, seed: int = 0) -> ConnectomeGenerator:
    return private(halves()[0], epsilon, seed, SIMULATED)


# --- nothing but the releases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("signed", [False, True])
def test_other_people_with_the_same_releases_give_the_same_bytes(monkeypatch, tmp_path, signed, share):
    """Whatever the people are, the saved model is a function of the noisy numbers alone: the rest is post-processing."""
    recorded: list[tuple[str, np.ndarray, float]] = []
    original = Ledger.release

    def record(self, name, values, sensitivity, part, **others):
        noisy, sd = original(self, name, values, sensitivity, part, **others)
        recorded.append((name, noisy, sd))
        return noisy, sd

    arguments = {"network": TINY, "network_share": share} if share else {}
    monkeypatch.setattr(Ledger, "release", record)
    model = private(small_cohort(60, signed=signed), 20.0, seed=None, **arguments)
    model.save(tmp_path / "model")
    assert model.account["noise"] == "operating system"

    turn = count()

    def replay(self, name, values, sensitivity, part, **others):
        original(self, name, values, sensitivity, part, **others)
        known, noisy, sd = recorded[next(turn)]
        assert known == name and np.shape(values) == noisy.shape
        return noisy, sd

    monkeypatch.setattr(Ledger, "release", replay)
    strangers = plain_table(60, seed=77).assign(age=1e9, height=np.nan, sex="M", site=None).set_axis([f"other{n}" for n in range(60)])
    weights = np.random.default_rng(5).random((60, 15)).astype(np.float32) ** 8
    other = private(small_cohort(60, signed=signed, phenotypes=strangers, weights=weights), 20.0, seed=None, **arguments)
    assert next(turn) == len(recorded)
    other.save(tmp_path / "other")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    table = small_cohort(20, seed=3).phenotypes
    assert model.sample(table, 2, seed=0).weights.tobytes() == other.sample(table, 2, seed=0).weights.tobytes()


def test_the_account_adds_up_to_the_promise():
    for share in (0.0, 0.3):
        arguments = {"network": TINY, "network_share": share} if share else {}
        account = private(small_cohort(80), 2.0, **arguments).account
        assert account["delta"] == 1 / 800
        assert account["mu"] == pytest.approx(largest_mu(2.0, 1 / 800))
        assert sum(entry["share"] for entry in account["releases"]) <= 1 + 1e-9
        mus = [entry["sensitivity"] / entry["noise"] for entry in account["releases"] if entry["share"] > 0]
        assert np.sqrt(np.square(mus).sum()) == pytest.approx(account["mu"], rel=1e-6)  # all of it is used
        assert len(account["releases"]) > (12 if share else 8)


def test_one_person_cannot_be_told_but_could_be_without_privacy():
    """An attacker who knows everybody else and looks where the one person differs most."""
    epsilon, repeats = 1.0, 60
    base = small_cohort(40, n_regions=4)
    weights = base.weights.copy()
    weights[0] = np.expm1(14)  # an outlier in every edge
    outlier = small_cohort(40, n_regions=4, weights=weights)
    everyone = Cohort(weights, base.phenotypes, base.atlas, measure=base.measure, described=DESCRIBED)
    plain = [ConnectomeGenerator(network=None, seed=seed).fit(c).space.mean.sum() for seed in range(3) for c in (base, everyone)]
    assert min(plain[1::2]) > max(plain[::2]) + 1  # told apart every time
    seen: dict[str, list[np.ndarray]] = {"without": [], "with": []}
    for seed in range(repeats):
        for name, cohort in (("without", base), ("with", outlier)):
            model = private(cohort, epsilon, 1000 * seed + (name == "with"))
            seen[name].append(np.array([model.space.mean.sum(), model.space.std.sum(), model.space.presence.sum()]))
    without, others = (np.array(seen[name]) for name in ("without", "with"))
    mu = largest_mu(epsilon, 1 / 400)
    for place in range(3):
        difference = others[:, None, place] - without[None, :, place]
        auc = ((difference > 0) + 0.5 * (difference == 0)).mean()
        limit = norm.cdf(mu / np.sqrt(2))  # the best that any attack can reach
        assert max(auc, 1 - auc) < limit + 3 * np.sqrt(1 / (6 * repeats))
        for threshold in np.quantile(without[:, place], [0.1, 0.5, 0.9]):
            false, true = (without[:, place] > threshold).mean(), (others[:, place] > threshold).mean()
            assert true <= np.exp(epsilon) * false + 1 / 400 + 3 * np.sqrt(0.25 / repeats) * np.exp(epsilon / 2)


# --- randomness, files --------------------------------------------------------------------------------------------------


def test_noise_is_secret_unless_a_seed_is_given():
    cohort, table = small_cohort(60), small_cohort(10, seed=4).phenotypes
    one, same, other, secret, again = (private(cohort, seed=seed).expected(table).weights.tobytes() for seed in (1, 1, 2, None, None))
    assert one == same
    assert len({one, other, secret, again}) == 4
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        DifferentialPrivacy(1.0, noise_seed=3)
        DifferentialPrivacy(1.0)
    assert [w.category for w in said] == [PrivacyWarning]
    # The generator's own seed, which is saved with the model, plays no part in the noise.
    models = [ConnectomeGenerator(seed=0, privacy=DifferentialPrivacy(3.0, bounds=BOUNDS)).fit(cohort) for _ in range(2)]
    assert models[0].expected(table).weights.tobytes() != models[1].expected(table).weights.tobytes()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_saved_and_loaded(tmp_path, share):
    arguments = {"network": TINY, "network_share": share} if share else {}
    model = private(small_cohort(200), 1e5, seed=12345, **arguments)
    folder = model.save(tmp_path / "model")
    again = ConnectomeGenerator.load(folder)
    table = small_cohort(30, seed=5).phenotypes
    for kind in ("expected", "sample"):
        assert getattr(model, kind)(table).weights.tobytes() == getattr(again, kind)(table).weights.tobytes()
    assert again.account == model.account
    assert again.privacy.epsilon == 1e5
    assert len(again.members) == len(model.members)
    again.save(tmp_path / "twice")
    assert (tmp_path / "twice" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    text = (folder / "config.json").read_text()
    record = json.loads(text)
    assert "12345" not in text  # whoever has the seed takes the noise away
    assert record["privacy"]["noise"] == "a known seed: not private"
    assert record["holds_training_people"] is False
    assert not any(name in text for name in small_cohort(200).ids[:50].map(lambda name: f'"{name}"'))
    assert {p["name"]: (p["low"], p["high"]) for p in record["schema"]["phenotypes"] if p["kind"] == "continuous"} == BOUNDS


# --- what it costs ------------------------------------------------------------------------------------------------------


def test_fidelity_grows_with_epsilon_up_to_the_plain_ridge():
    train, test = halves()
    plain = r2_beyond_mean(rival("component ridge"), test, train)
    r2 = {epsilon: np.mean([r2_beyond_mean(of_simulated(epsilon, seed), test, train) for seed in range(2)]) for epsilon in (0.3, 3, 30)}
    assert r2[0.3] < r2[3] < r2[30]
    assert r2[30] > 0.005
    assert r2_beyond_mean(of_simulated(1e6), test, train) > 0.8 * plain
    earned = of_simulated(1e6).earned
    assert earned.loc["all together", "r2"] == pytest.approx(r2_beyond_mean(of_simulated(1e6), test, train), abs=0.02)


def test_people_differ_as_real_people_do():
    train, test = halves()
    for epsilon, within in ((1e6, 0.1), (5.0, 0.3)):
        drawn = of_simulated(epsilon).sample(test.phenotypes, seed=0)
        ratio = standardised(drawn, train).std(0) / standardised(test, train).std(0)
        assert np.median(ratio) == pytest.approx(1, abs=within)
        assert (drawn.weights >= 0).all() and np.isfinite(drawn.weights).all()
    exact = of_simulated(1e6)
    assert (exact.sample(test.phenotypes, seed=0).weights == 0).mean() == pytest.approx((test.weights == 0).mean(), abs=0.01)
    correlated = [np.corrcoef(standardised(c, train)[:, :60].T)[np.triu_indices(60, 1)] for c in (exact.sample(test.phenotypes), test)]
    assert np.corrcoef(*correlated)[0, 1] > 0.7


def test_without_effects_the_answer_is_the_released_mean():
    cohort, test = halves()
    shuffled = cohort.weights[np.random.default_rng(0).permutation(len(cohort))]
    strangers = Cohort(shuffled, cohort.phenotypes, cohort.atlas, measure=cohort.measure, described=cohort.described)
    for epsilon in (2.0, 10.0, 1e6):
        model = private(strangers, epsilon, 0, SIMULATED)
        with_effects = r2_beyond_mean(model, test, cohort)
        model.closed_form = replace(model.closed_form, maps=np.zeros_like(model.closed_form.maps))
        assert with_effects > r2_beyond_mean(model, test, cohort) - 0.01


def test_a_network_takes_part_where_it_has_a_share_and_earns_it():
    cohort = small_cohort(300)
    model = private(cohort, 1e4, network=NetworkConfig(epochs=12, context_width=16, region_width=8, rank=4), network_share=0.5)
    assert NETWORK_LABEL in model.earned.index
    assert 0 <= model.earned.loc[NETWORK_LABEL, "weight"] <= 1
    assert bool(model.members) == (model.earned.loc[NETWORK_LABEL, "weight"] > 0)
    weak = private(cohort, 0.5, network=TINY, network_share=0.3)
    assert weak.members == [] and weak.earned.loc[NETWORK_LABEL, "weight"] == 0
    assert NETWORK_LABEL not in private(cohort).earned.index


# --- who counts as one --------------------------------------------------------------------------------------------------


def test_a_family_counts_as_one():
    table = plain_table(90)
    family = small_cohort(90, phenotypes=table.assign(family_id=np.arange(90) // 3))
    model = private(family)
    assert model.n_training == 30
    assert model.account["delta"] == 1 / 300
    twice = plain_table(45).iloc[np.repeat(np.arange(45), 2)].assign(sample=np.tile([0, 1], 45))
    assert private(small_cohort(90, phenotypes=twice)).n_training == 45
    with pytest.raises(ConnectomeError, match="has 18 people or families"):
        private(small_cohort(90, phenotypes=table.assign(family_id=np.arange(90) // 5)))


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_what_a_private_fit_would_not_do_is_refused():
    with pytest.raises(ConnectomeError, match=r"with privacy a network costs a part.*network_share"):
        ConnectomeGenerator(network=FAST, privacy=DifferentialPrivacy(1.0))
    with pytest.raises(ConnectomeError, match="network_share is 0.2 but network is None"):
        ConnectomeGenerator(network=None, privacy=DifferentialPrivacy(1.0, network_share=0.2))
    with pytest.raises(ConnectomeError, match="n_components cannot be chosen"):
        ConnectomeGenerator(n_components=20, privacy=DifferentialPrivacy(1.0))
    with pytest.raises(ConnectomeError, match="DifferentialPrivacy.*got 3"):
        ConnectomeGenerator(privacy=3)
    with pytest.raises(ConnectomeError, match="publicly for 'age', 'height', 'memory'"):
        private(small_cohort(60), bounds={})
    with pytest.raises(ConnectomeError, match="no people; fit on observed"):
        private(small_cohort(60, kind="expected"))


def test_any_people_can_be_fitted_without_a_word_about_them():
    """Odd people raise and warn nothing, for even a warning would be a release."""
    table = plain_table(60).astype(object)
    table.iloc[0] = [1e12, "F", "tall", None, "elsewhere"]
    table.iloc[1:40] = np.nan
    table = table.assign(constant=1.0, text=[f"word {n}" for n in range(60)])
    weights = small_cohort(60).weights.copy()
    weights[3], weights[4, 0] = 0, 3e38
    bounds = {**BOUNDS, "constant": (0, 2), "text": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PrivacyWarning)
        model = private(small_cohort(60, phenotypes=table, weights=weights), bounds=bounds)
    assert "text" not in model.schema.names
    expected = model.expected(plain_table(5).assign(constant=1.0))
    assert np.isfinite(expected.weights).all() and (expected.weights >= 0).all()


def test_profiles_beyond_the_public_range_are_named():
    model = private(small_cohort(200), 100.0)
    table = plain_table(4)
    table.iloc[1, table.columns.get_loc("age")] = 20.0
    with pytest.warns(ExtrapolationWarning, match="1 of 4 profiles.*'age'"):
        model.expected(table)
    nothing = model.expected(table.iloc[[0]].assign(**dict.fromkeys(table.columns, np.nan)))
    assert np.isfinite(nothing.weights).all()


@pytest.mark.parametrize("gone", [["age"], ["age", "sex", "memory", "site"]])
def test_cohorts_and_atlases_of_every_kind(gone):
    cohort = small_cohort(80)
    cohort.phenotypes = cohort.phenotypes.drop(columns=gone)
    bounds = {name: bound for name, bound in BOUNDS.items() if name not in gone}
    for messages in (True, False):
        model = private(cohort, 50.0, bounds=bounds, messages=messages)
        assert np.isfinite(model.sample(cohort.phenotypes, 2).weights).all()
    bare = Cohort(cohort.weights, cohort.phenotypes, type(cohort.atlas)(cohort.atlas.labels), measure="m", described=cohort.described)
    for messages in (True, False):
        assert np.isfinite(private(bare, 50.0, bounds=bounds, messages=messages).expected(cohort.phenotypes).weights).all()


# --- the command line ---------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path):
    cohort = small_cohort(60)
    cohort.save(tmp_path / "plain")
    arguments = ("--out", tmp_path / "model", "--epsilon", 2)
    refused("fit", tmp_path / "plain", *arguments, says="publicly for 'age', 'height', 'memory'")
    ranges = {name: {"Minimum": low, "Maximum": high} for name, (low, high) in BOUNDS.items()}
    described = {name: {**note, **ranges.get(name, {})} for name, note in DESCRIBED.items()}
    small_cohort(60, described=described).save(tmp_path / "known")
    for options in (["--holdout", 0.2], ["--compare"]):
        refused("fit", tmp_path / "known", *arguments, *options, says="--epsilon covers one fit")
    refused("fit", tmp_path / "known", "--out", tmp_path / "model", "--delta", 0.01, says="--delta belongs to --epsilon")
    said = json.loads(run("fit", tmp_path / "known", *arguments, "--delta", "1e-4", "--json"))
    assert said["privacy"]["epsilon"] == 2
    assert said["privacy"]["delta"] == 1e-4
    assert ConnectomeGenerator.load(tmp_path / "model").privacy.delta == 1e-4
    assert [row["path"] for row in said["earned"]][-1] == "all together"
    run("fit", tmp_path / "known", *arguments, "--force")

"""Membership inference: areas under the curve are other people's, and attacks find generators that remember."""

import re
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_evaluation_privacy import NEVER, of_weights, release, with_families

import connectome_gnn as cg
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.makers import fresh_generator
from connectome_gnn.evaluation.membership import (
    _attack,
    likelihood_ratio,
    membership_by_distance,
    membership_by_likelihood,
    membership_by_shadows,
    shadow_features,
)
from connectome_gnn.evaluation.privacy import privacy_report
from connectome_gnn.simulate import simulate_cohort


class Memoriser:
    """A generator that hands out its training people with noise of so many standard deviations on each edge."""

    def __init__(self, noise=1.0):
        self.noise = noise

    def fit(self, cohort):
        self.people = cohort
        return self

    def sample(self, phenotypes, n=1, seed=0):
        rng = np.random.default_rng(seed)
        z = self.people.scale.forward(self.people.weights, np.float64)
        drawn = z[rng.integers(len(z), size=len(phenotypes) * n)]
        drawn = drawn + self.noise * z.std(0) * rng.standard_normal(drawn.shape)
        return self.cohort(np.maximum(drawn, 0), phenotypes, n)

    def cohort(self, z, phenotypes, n, kind="sample"):
        table = phenotypes[["age"]].iloc[np.repeat(np.arange(len(phenotypes)), n)]
        if n > 1:
            table = table.assign(sample=np.tile(np.arange(n), len(phenotypes)))
        weights = self.people.scale.inverse(z).astype(np.float32)
        return Cohort(weights, table, self.people.atlas, measure=self.people.measure, kind=kind)


class Recombiner(Memoriser):
    """A Gaussian with the covariance of its training people: random combinations of their deviations from the mean, nobody copied."""

    def sample(self, phenotypes, n=1, seed=0):
        z = self.people.scale.forward(self.people.weights, np.float64)
        weights = np.random.default_rng(seed).standard_normal((len(phenotypes) * n, len(z))) / np.sqrt(len(z))
        return self.cohort(np.maximum(z.mean(0) + weights @ (z - z.mean(0)), 0), phenotypes, n)


class MeanOfFew(Memoriser):
    """A generator whose expected connectomes are each the mean of three training people."""

    def expected(self, phenotypes):
        z = self.people.scale.forward(self.people.weights, np.float64)
        return self.cohort(z[np.arange(3 * len(phenotypes)) % len(z)].reshape(len(phenotypes), 3, -1).mean(1), phenotypes, 1, "expected")


class Deaf(Memoriser):
    """A generator that learns nothing: it remembers people who are in neither group."""

    others = None

    def fit(self, cohort):
        self.people = type(self).others
        return self


@pytest.fixture(scope="module")
def everybody():
    cohort = simulate_cohort(700, 12, 6, seed=4)
    return cohort.take(np.random.default_rng(0).permutation(len(cohort)))


@pytest.fixture(scope="module")
def train(everybody):
    return everybody.take(slice(0, 120))


@pytest.fixture(scope="module")
def holdout(everybody):
    return everybody.take(slice(120, 240))


@pytest.fixture(scope="module")
def fresh(everybody):
    return everybody.take(slice(240, 340))


@pytest.fixture(scope="module")
def remembered(train, fresh):
    """Noisy copies of training people, for other people's profiles."""
    return Memoriser(1.0).fit(train).sample(fresh.phenotypes, seed=7)


# --- area under the curve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [3, 10_000])
def test_area_and_its_variance_are_the_plain_ones(train, holdout, fresh, levels):
    case = release(fresh, train, holdout.take(slice(0, 70)), n_bootstrap=2000)
    rng = np.random.default_rng(levels)
    score = rng.integers(levels, size=190).astype(float) + (np.arange(190) < 120) * levels / 5
    estimate = _attack(case, score, "trial")
    value = roc_auc_score(case.people.trained, score)
    assert estimate.values[0] == pytest.approx(value, abs=1e-12)
    wins = (score[:120, None] > score[None, 120:]) + 0.5 * (score[:120, None] == score[None, 120:])
    variance = wins.mean(1).var(ddof=1) / 120 + wins.mean(0).var(ddof=1) / 70  # DeLong et al. 1988
    assert estimate.values[1:].std() == pytest.approx(np.sqrt(variance), rel=0.02)
    assert estimate.n == 190
    assert estimate.p < 0.01


def test_distance_attack_is_the_area_of_distances(train, holdout, remembered):
    case = release(remembered, train, holdout)
    estimate = membership_by_distance(case)
    assert estimate.values[0] == pytest.approx(roc_auc_score(case.people.trained, -case.distances), abs=1e-12)
    assert estimate.values[0] > 0.6
    assert estimate.null == 0.5


def test_p_is_as_likely_below_5_percent_as_it_says(train, holdout, fresh):
    rng = np.random.default_rng(0)
    case = release(fresh, train, holdout, n_bootstrap=99)
    false = np.mean([_attack(case, rng.standard_normal(240), f"trial {n}").p <= 0.05 for n in range(200)])
    assert false < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert false > 0


# --- by likelihood ---------------------------------------------------------------------------------------------------------------


def test_likelihood_attack_finds_a_generator_that_overfits(train, holdout, fresh):
    z = train.scale.forward(train.weights, np.float64)
    z = z[:, (z != 0).mean(0) > 0.5]
    covariance = np.linalg.inv(np.cov(z.T) + 1e-3 * np.eye(z.shape[1]))

    class Gaussian:
        def log_prob(self, cohort):
            x = cohort.scale.forward(cohort.weights, np.float64)[:, (train.weights != 0).mean(0) > 0.5] - z.mean(0)
            return -np.einsum("ij,jk,ik->i", x, covariance, x)

    case = release(fresh, train, holdout, log_prob=Gaussian())
    estimate = membership_by_likelihood(case)
    both = np.concatenate([Gaussian().log_prob(train), Gaussian().log_prob(holdout)])
    assert estimate.values[0] == pytest.approx(roc_auc_score(np.arange(240) < 120, both), abs=1e-12)
    assert estimate.values[0] > 0.8
    assert estimate.p < 0.01
    by_function = membership_by_likelihood(release(fresh, train, holdout, log_prob=Gaussian().log_prob))
    assert by_function.values[0] == estimate.values[0]


def test_likelihood_belongs_to_the_person_whatever_the_order_of_rows(train, holdout, fresh):
    """Relatives are as likely as each other, so that an interval which knew them by the wrong rows would be too narrow."""
    one, other = (with_families(cohort, 4, prefix) for cohort, prefix in ((train, "t"), (holdout, "h")))
    turned = one.take(np.random.default_rng(0).permutation(len(one)))

    def of_family(cohort):
        return np.array([crc32(family.encode()) % 1000 for family in cohort.phenotypes["family_id"]], float)

    first, second = (membership_by_likelihood(release(fresh, t, other, log_prob=of_family)) for t in (one, turned))
    assert np.array_equal(first.values, second.values)


def test_likelihood_of_the_wrong_kind_is_refused(train, holdout, fresh):
    for log_prob, words in (
        (lambda cohort: np.zeros((len(cohort), 2)), "one number for each of the 120 people"),
        (lambda cohort: np.full(len(cohort), np.nan), "NaN for participant"),
    ):
        with pytest.raises(ConnectomeError, match=re.escape(words)):
            membership_by_likelihood(release(fresh, train, holdout, log_prob=log_prob))
    impossible = membership_by_likelihood(release(fresh, train, holdout, log_prob=lambda cohort: np.full(len(cohort), -np.inf)))
    assert impossible.values[0] == 0.5


# --- by shadow models ------------------------------------------------------------------------------------------------------------


def test_shadow_models_find_a_generator_that_remembers(train, holdout, remembered):
    case = release(remembered, train, holdout, make_generator=Memoriser)
    estimate = membership_by_shadows(case)
    assert estimate.values[0] > 0.65
    assert estimate.values[0] > membership_by_distance(case).values[0] - 0.02
    assert estimate.p < 0.01


def test_shadow_models_are_stronger_than_distance_where_nobody_was_copied(everybody, fresh):
    train, holdout = everybody.take(slice(400, 550)), everybody.take(slice(550, 700))
    generated = Recombiner().fit(train).sample(fresh.phenotypes, n=4, seed=1)
    case = release(generated, train, holdout, make_generator=Recombiner)
    shadow, distance = membership_by_shadows(case), membership_by_distance(case)
    assert shadow.values[0] > distance.values[0] + 0.05
    assert shadow.p < 0.01


def test_shadow_models_find_nothing_where_nothing_is_kept(everybody, train, holdout, fresh):
    Deaf.others = everybody.take(slice(340, 400))
    values = []
    for seed in range(12):
        generated = Deaf(0.5).fit(train).sample(fresh.phenotypes, seed=100 + seed)
        case = release(generated, train, holdout, make_generator=lambda: Deaf(0.5), n_shadows=8, seed=seed)
        estimate = membership_by_shadows(case)
        values.append(estimate.values[0])
        low, high = np.quantile(estimate.values[1:], (0.025, 0.975))
        assert low - 0.05 < 0.5 < high + 0.05
    assert np.mean(values) == pytest.approx(0.5, abs=0.035)


def test_shadows_hold_everybody_equally_often_and_families_whole(train, holdout, fresh):
    together = [with_families(cohort, 4, prefix) for cohort, prefix in ((train, "t"), (holdout, "h"))]
    together = [Cohort(c.weights, c.phenotypes.assign(age=50.0), c.atlas, measure=c.measure) for c in together]
    case = release(fresh, *together, make_generator=Memoriser, n_shadows=6)
    trained_on, features = shadow_features(case)
    assert trained_on.shape == features.shape == (6, 240)
    assert (trained_on.sum(0) == 3).all()
    assert (trained_on.sum(1) == 120).all()
    for unit in np.unique(case.people.units):
        members = trained_on[:, case.people.units == unit]
        assert (members == members[:, :1]).all()


def test_likelihood_ratio_is_that_of_its_gaussians():
    """Known means with and without each person, many shadows: the attack's order is the true log ratio's."""
    rng = np.random.default_rng(0)
    n, shadows = 400, 400
    base, effect = rng.standard_normal(n), -1 - 0.5 * rng.random(n)
    trained_on = np.zeros((shadows, n), bool)
    for pair in range(0, shadows, 2):
        trained_on[pair, rng.permutation(n)[: n // 2]] = True
        trained_on[pair + 1] = ~trained_on[pair]
    features = base + effect * trained_on + rng.standard_normal((shadows, n))
    inside = np.arange(n) < n // 2
    observed = base + effect * inside + rng.standard_normal(n)
    truth = ((observed - base) ** 2 - (observed - base - effect) ** 2) / 2
    score = likelihood_ratio(observed, features, trained_on)
    assert np.corrcoef(score, truth)[0, 1] > 0.98
    assert roc_auc_score(inside, score) == pytest.approx(roc_auc_score(inside, truth), abs=0.02)
    assert roc_auc_score(inside, score) > roc_auc_score(inside, -observed) + 0.05


def test_shadow_models_of_samples_and_of_expected_connectomes(train, holdout, fresh):
    several = Memoriser(0.5).fit(train).sample(fresh.phenotypes, n=3, seed=1)
    assert membership_by_shadows(release(several, train, holdout, make_generator=lambda: Memoriser(0.5), n_shadows=4)).values[0] > 0.7
    expected = MeanOfFew().fit(train).expected(fresh.phenotypes)
    assert membership_by_shadows(release(expected, train, holdout, make_generator=MeanOfFew, n_shadows=8)).values[0] > 0.7


def test_shadow_models_do_not_depend_on_how_many_processes_fit_them(train, holdout, remembered):
    one, two = (membership_by_shadows(release(remembered, train, holdout, make_generator=Memoriser, n_shadows=4, n_jobs=n)) for n in (1, 2))
    assert np.array_equal(one.values, two.values)


def test_shadows_come_in_pairs(train, holdout, remembered):
    with pytest.raises(ConnectomeError, match="pairs"):
        privacy_report(remembered, train, holdout, make_generator=Memoriser, n_shadows=5, n_bootstrap=20)


# --- in the report ---------------------------------------------------------------------------------------------------------------


def test_report_and_evaluation_agree_on_all_attacks(train, holdout, remembered):
    options = {"make_generator": Memoriser, "log_prob": lambda cohort: np.arange(len(cohort)), "n_bootstrap": 60, "seed": 2}
    found = privacy_report(remembered, train, holdout, **options)
    scores = cg.evaluate(remembered, holdout, train, parts="privacy", **options).to_dict()
    alone = found.to_dict()
    for name, entry in scores.items():
        assert entry["value"] is not None
        assert [entry[key] for key in ("value", "low", "high", "p", "n")] == [
            alone[name][key] for key in ("value", "low", "high", "p", "n")
        ]
    assert not NEVER.search(found.summary() + found.to_json())
    assert not pd.isna(found.table["value"]).any()


def test_copies_are_found_by_every_attack(train, holdout):
    copies = of_weights(train.weights, train)
    copies.phenotypes["age"] = 60.0
    found = privacy_report(copies, train, holdout, make_generator=lambda: Memoriser(0.0), n_bootstrap=60).to_dict()
    assert found["membership_auc_distance"]["value"] == 1
    assert found["membership_auc_shadow"]["value"] > 0.99


class Seeded:
    """Remembers the seed it was made with."""

    def __init__(self, seed=None):
        self.seed = seed

    def fit(self, cohort):
        return self

    def sample(self, phenotypes, n=1, seed=0):
        return None


class WithWidth(Seeded):
    """Takes no seed."""

    def __init__(self, width=3):
        super().__init__()


@pytest.mark.parametrize(
    ("maker", "seed"), [(Seeded, 7), (lambda seed: Seeded(seed), 7), (lambda s: Seeded(s), 7), (lambda: Seeded(), None), (WithWidth, None)]
)
def test_a_generator_is_made_from_a_seed_or_from_nothing(maker, seed):
    assert fresh_generator(maker, 7).seed == seed


def test_what_is_no_generator_is_refused():
    with pytest.raises(ConnectomeError, match=r"fit\(cohort\) and sample.* got dict"):
        fresh_generator(dict, 0)

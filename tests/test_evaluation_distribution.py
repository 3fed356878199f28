"""Planted truths of the distribution scores, through cohorts: the truth itself, the group mean, too little spread, averages."""

import numpy as np
import pandas as pd
import pytest

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import Scale
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.comparison import Comparison
from connectome_gnn.evaluation.distribution import distribution_scores
from connectome_gnn.evaluation.edge_covariance import agreement, agreement_and_influence
from connectome_gnn.evaluation.edge_lengths import length_distributions
from connectome_gnn.evaluation.reference import Reference

R, E = 12, 66
RNG = np.random.default_rng(0)
BASE, LOAD, PRESENCE = RNG.uniform(2, 4, E), RNG.standard_normal((3, E)), np.where(RNG.random(E) < 0.15, RNG.uniform(0.6, 0.95, E), 1)
PLACES = RNG.normal(0, 40, (R, 3))
MEASURES = ("degree", "strength", "clustering", "betweenness", "density", "global_efficiency")


def people(n, prefix, seed, *, samples=1, spread=1.0, signed=False, kind="observed", xyz=PLACES):
    rng = np.random.default_rng(seed)
    z = spread * (0.5 * rng.standard_normal((n * samples, 3)) @ LOAD + 0.5 * rng.standard_normal((n * samples, E)))
    weights = Scale(signed).inverse(z if signed else BASE + z) * (rng.random(z.shape) < PRESENCE)
    return cohort(weights, np.repeat([f"{prefix}{i:03d}" for i in range(n)], samples), samples, signed=signed, kind=kind, xyz=xyz)


def cohort(weights, ids, samples=1, *, signed=False, kind="observed", xyz=PLACES):
    table = pd.DataFrame({"age": np.full(len(ids), 50.0)}, index=pd.Index(ids, name="participant_id"))
    if samples > 1:
        table["sample"] = np.tile(np.arange(samples), len(ids) // samples)
    atlas = Atlas([f"region {i}" for i in range(R)], xyz=xyz)
    return Cohort(weights, table, atlas, measure="pearson" if signed else "streamline_count", signed=signed, kind=kind)


def scored(generated, real, train, names=None, measures=MEASURES, **options):
    settings = {"n_bootstrap": 60, "n_permutations": 60, "measures": measures} | options
    comparison = Comparison.of(generated, real, Reference.of(train), paired=False, **settings)
    scores = [score for score in distribution_scores(comparison.measures) if names is None or score.name in names]
    usable = [s for s in scores if not (s.topology and generated.kind == "expected") and not (s.paired and not comparison.paired)]
    return {score.name: score.estimate(comparison) for score in usable}


@pytest.fixture(scope="module")
def train():
    return people(120, "t", 1)


@pytest.fixture(scope="module")
def real():
    return people(60, "p", 2)


@pytest.fixture(scope="module")
def truth(train, real):
    return scored(people(60, "p", 3, samples=3, kind="sample"), real, train)


def test_every_score_is_there_with_interval_and_real_halves(truth):
    names = {"spread_ratio", "edge_covariance_r", "density_difference", "zeros_difference", "log_likelihood", "pit_deviation"}
    names |= {f"{kind}_{what}" for kind in ("ks", "energy") for what in ("edges", "edge_length", *MEASURES)}
    names |= {"two_sample_auc_components", "two_sample_auc_topology", "alpha_precision", "beta_recall", "wiring_energy"}
    names |= {f"mmd_{what}" for what in ("degree", "strength", "clustering", "laplacian")} | {"manifold_density", "manifold_coverage"}
    names |= {f"coverage_{level}" for level in (50, 80, 90, 95)} | {"wiring_degree_r"}
    names |= {f"{score}_{what}" for score in ("coverage_90", "pit_deviation") for what in MEASURES}
    assert set(truth) == names
    for name, found in truth.items():
        if name == "log_likelihood":
            assert "log_prob" in found.reason
            continue
        assert found.values.shape == (61,), name
        low, high = np.quantile(found.values[1:], (0.025, 0.975))
        assert low <= found.values[0] <= high, name
        assert np.isfinite(found.real_vs_real), name


def test_truth_is_not_told_from_people(truth):
    for name, found in truth.items():
        if np.isfinite(found.p):
            assert found.p > 0.01, name
    for name in ("two_sample_auc_components", "two_sample_auc_topology"):
        low, high = np.quantile(truth[name].values[1:], (0.01, 0.99))
        assert low < 0.5 < high
    assert truth["coverage_90"].values[0] == pytest.approx(0.9, abs=0.02)
    assert truth["spread_ratio"].values[0] == pytest.approx(1, abs=0.1)
    assert truth["edge_covariance_r"].values[0] == pytest.approx(truth["edge_covariance_r"].real_vs_real, abs=0.1)
    assert truth["wiring_energy"].values[0] == pytest.approx(truth["wiring_energy"].real_vs_real, abs=0.1)


def test_too_little_spread_is_found(train, real, truth):
    names = ("spread_ratio", "coverage_90", "pit_deviation", "two_sample_auc_components", "ks_edges", "energy_edges", "alpha_precision")
    narrow = scored(people(60, "p", 3, samples=3, spread=0.4, kind="sample"), real, train, names)
    assert np.quantile(narrow["spread_ratio"].values[1:], 0.975) < 0.8
    assert np.quantile(narrow["coverage_90"].values[1:], 0.975) < 0.89 < np.quantile(truth["coverage_90"].values[1:], 0.975)
    assert np.quantile(narrow["two_sample_auc_components"].values[1:], 0.025) > 0.7
    assert np.quantile(narrow["pit_deviation"].values[1:], 0.025) > truth["pit_deviation"].values[0]
    assert max(narrow["ks_edges"].p, narrow["energy_edges"].p) < 0.02
    assert narrow["alpha_precision"].values[0] < truth["alpha_precision"].values[0]


def test_group_mean_repeated_is_found_and_undefined_where_that_is_right(train, real):
    mean = Scale(False).inverse(Scale(False).forward(train.weights, np.float64).mean(0))
    found = scored(cohort(np.tile(mean, (60, 1)), real.ids, kind="expected"), real, train)
    assert found["two_sample_auc_components"].values[0] > 0.99
    assert found["spread_ratio"].values[0] == pytest.approx(0, abs=1e-6)
    assert "do not differ" in found["edge_covariance_r"].reason
    assert "samples" in found["density_difference"].reason
    assert "samples" in found["ks_edge_length"].reason
    assert found["ks_edges"].p < 0.02
    assert not any(name.startswith(("mmd", "wiring", "ks_degree")) for name in found)


def test_one_sample_a_person_tells_no_interval(train, real):
    found = scored(people(60, "p", 3, kind="sample"), real, train, ("coverage_90", "pit_deviation", "coverage_90_degree"))
    assert all("one sample" in estimate.reason for estimate in found.values())


def test_details_say_where(train, real, truth):
    edges = truth["ks_edges"].details
    assert len(edges) == E
    assert edges["ks"].mean() == pytest.approx(truth["ks_edges"].values[0])
    assert list(edges[["region", "other_region"]].iloc[0]) == ["region 0", "region 1"]
    assert (edges["q"] >= edges["p"]).all()
    shifted = people(60, "p", 3, kind="sample")
    weights = shifted.weights.copy()
    weights[:, 5] *= 3
    found = scored(cohort(weights, shifted.ids, kind="sample"), real, train, ("ks_edges",))["ks_edges"].details
    assert found["ks"].idxmax() == 5
    assert found["q"].iloc[5] == found["q"].min()
    assert len(truth["ks_degree"].details) == R
    assert set(truth["mmd_degree"].details["kernel"]) == {"gaussian", "total_variation"}
    levels = truth["coverage_90_strength"].details[[f"coverage_{level}" for level in (50, 80, 90, 95)]]
    assert len(levels) == R
    assert (levels.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert levels["coverage_90"].mean() == pytest.approx(truth["coverage_90_strength"].values[0])


def test_the_transform_of_measures_finds_too_little_spread(train, real, truth):
    names = ("pit_deviation_strength", "pit_deviation_global_efficiency")
    for name in names:
        assert truth[name].values[0] < 0.1
    narrow = scored(people(60, "p", 3, samples=5, spread=0.3, kind="sample"), real, train, names)
    assert narrow["pit_deviation_strength"].values[0] > 2 * truth["pit_deviation_strength"].values[0]
    assert narrow["pit_deviation_strength"].values[0] > 2 * narrow["pit_deviation_strength"].real_vs_real


def test_real_people_themselves_do_not_differ(train, real):
    found = scored(cohort(real.weights, real.ids, kind="sample"), real, train, ("ks_edges", "ks_degree", "mmd_degree", "wiring_energy"))
    assert found["ks_edges"].values[0] == pytest.approx(0, abs=1e-12)
    assert found["wiring_energy"].values[0] == 0
    assert found["ks_edges"].p == found["ks_degree"].p == 1
    assert found["mmd_degree"].p > 0.2


def test_complete_networks_do_not_differ_in_the_lengths_of_their_edges():
    train, real = people(40, "t", 1, signed=True), people(27, "p", 2, signed=True)
    complete = [cohort(np.where(side.weights == 0, 0.1, side.weights), side.ids, signed=True) for side in (train, real)]
    generated = cohort(np.repeat(complete[1].weights[::-1], 3, 0), np.repeat(real.ids, 3), 3, signed=True, kind="sample")
    found = scored(generated, complete[1], complete[0], ("ks_edge_length", "energy_edge_length", "wiring_energy"), None)
    for name in ("ks_edge_length", "energy_edge_length"):
        assert found[name].values[0] == pytest.approx(0, abs=1e-12)
        assert found[name].p == 1
    assert "negative weights" in found["wiring_energy"].reason


def test_few_resamples_are_few_and_no_crash(train, real):
    names = ("ks_edges", "energy_strength", "mmd_strength", "spread_ratio", "edge_covariance_r", "ks_edge_length", "pit_deviation")
    names += ("alpha_precision", "beta_recall", "manifold_density", "manifold_coverage", "coverage_90")
    for number in (1, 5):
        options = {"n_bootstrap": number, "n_permutations": number}
        found = scored(people(60, "p", 3, samples=2, kind="sample"), real, train, names, ("strength",), **options)
        assert set(found) == set(names)
        assert all(estimate.values.shape == (1 + number,) for estimate in found.values())


def test_other_people_and_uneven_numbers(train, real):
    found = scored(people(45, "q", 5, samples=2, kind="sample"), real, train)
    assert not any(name.startswith(("coverage", "pit", "wiring")) for name in found)
    for name, estimate in found.items():
        assert np.isfinite(estimate.values).all() or estimate.reason, name
    assert found["ks_edges"].p > 0.01
    assert found["two_sample_auc_components"].n == found["alpha_precision"].n == 45


def test_same_seed_same_numbers(train, real):
    names = ("ks_edges", "ks_edge_length", "mmd_strength", "coverage_90", "beta_recall", "edge_covariance_r", "two_sample_auc_topology")
    generated = people(60, "p", 3, samples=2, kind="sample")
    one, again, threads = (scored(generated, real, train, names, n_jobs=jobs) for jobs in (1, 1, 2))
    for name in names:
        assert np.array_equal(one[name].values, again[name].values)
        assert one[name].values == pytest.approx(threads[name].values, abs=1e-9)


def test_few_people_have_reasons_not_errors(train):
    real = people(4, "p", 2)
    found = scored(people(4, "p", 3, samples=2, kind="sample"), real, train)
    for name, estimate in found.items():
        assert np.isfinite(estimate.values[0]) or estimate.reason, name
    assert "at least" in found["two_sample_auc_components"].reason
    assert "at least" in found["alpha_precision"].reason


def test_without_bootstrap_and_permutations_there_is_only_the_value(train, real):
    found = scored(people(60, "p", 3, samples=2, kind="sample"), real, train, n_bootstrap=0, n_permutations=0)
    for name, estimate in found.items():
        assert estimate.values.shape == (1,), name
        assert np.isnan(estimate.p), name


def test_signed_weights_and_no_coordinates():
    train, real = people(80, "t", 1, signed=True, xyz=None), people(40, "p", 2, signed=True, xyz=None)
    generated = people(40, "p", 3, samples=2, signed=True, kind="sample", xyz=None)
    found = scored(generated, real, train, measures=None)
    assert "negative" in found["mmd_clustering"].reason
    assert "coordinates" in found["ks_edge_length"].reason
    assert "coordinates" in found["wiring_energy"].reason
    assert np.isfinite(found["ks_strength"].values[0])
    assert np.isfinite(found["two_sample_auc_topology"].values[0])


def test_log_likelihood_is_the_mean_per_edge(train, real):
    def log_prob(people):
        return -np.arange(len(people), dtype=float) * E

    generated = people(60, "p", 3, samples=2, kind="sample")
    found = scored(generated, real, train, ("log_likelihood",), log_prob=log_prob)["log_likelihood"]
    assert found.values[0] == pytest.approx(-29.5)
    assert list(found.details["nats_per_edge"][:3]) == [0, -1, -2]
    infinite = scored(generated, real, train, ("log_likelihood",), log_prob=lambda c: np.where(c.ids == "p003", -np.inf, 0.0))
    assert "'p003'" in infinite["log_likelihood"].reason
    with pytest.raises(ConnectomeError, match="one log density a row"):
        scored(generated, real, train, ("log_likelihood",), log_prob=lambda c: np.zeros(3))


def test_edge_covariance_is_numpys_and_its_influence_the_derivative():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, 8)) @ rng.standard_normal((8, 8)), rng.standard_normal((25, 8)) @ rng.standard_normal((8, 8))
    upper = np.triu_indices(8, 1)
    plain = np.corrcoef(np.corrcoef(x.T)[upper], np.corrcoef(y.T)[upper])[0, 1]
    r, of_x, _ = agreement_and_influence(x, y)
    assert r == pytest.approx(plain, abs=1e-12)

    def weighted(values, weight):
        covariance = np.cov(values.T, aweights=weight, ddof=0)
        return (covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))))[upper]

    weight = np.ones(30)
    weight[4] += 1e-6
    slope = (np.corrcoef(weighted(x, weight), weighted(y, np.ones(25)))[0, 1] - r) / 1e-6
    assert of_x[4] == pytest.approx(slope, abs=1e-5)
    assert of_x.sum() == pytest.approx(0, abs=1e-9)
    assert agreement(x, x) == pytest.approx(1)


def test_length_distributions_are_shares_of_present_edges(real):
    lengths = real.atlas.edge_distances()
    found = length_distributions(real, np.arange(5), lengths)
    has = real.weights[2] != 0
    for point in (3, 30):
        assert found.shares[2, point] == pytest.approx((lengths[has] <= found.points[point]).mean())
    assert found.deviation == pytest.approx(np.concatenate([lengths[w != 0] for w in real.weights[:5]]).std())

"""The account of privacy, and that no statistic moves further for one unit of people than it says."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest, norm
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError, PrivacyWarning
from connectome_gnn.generation.network import ConnectomeNetwork, NetworkConfig, NetworkTask
from connectome_gnn.generation.privacy import FINE, DifferentialPrivacy, Ledger, delta_of, epsilon_of, largest_mu
from connectome_gnn.generation.private_network import training_units, unit_gradients
from connectome_gnn.generation.private_regression import NoisyRegression, denoised, shrunk
from connectome_gnn.generation.private_schema import bounded_table, profile_moments, public_schema
from connectome_gnn.generation.private_statistics import (
    ONE_HOT,
    clipped,
    edge_moments,
    joint_moments,
    map_moments,
    packed,
    size_counts,
    unit_weights,
    unpacked,
)

# --- the account --------------------------------------------------------------------------------------------------------


def hockey_stick(epsilon: float, mu: float) -> float:
    """The largest excess of one normal distribution over exp(epsilon) times another, mu apart, by integration."""
    start = epsilon / mu + mu / 2
    return quad(lambda x: norm.pdf(x - mu) - np.exp(epsilon) * norm.pdf(x), start, start + 40, epsabs=1e-14)[0]


@pytest.mark.parametrize(("epsilon", "mu"), [(0.1, 0.05), (0.5, 0.3), (1.0, 0.5), (3.0, 1.0), (8.0, 2.5)])
def test_delta_is_the_distance_between_two_normal_distributions(epsilon, mu):
    assert delta_of(epsilon, mu) == pytest.approx(hockey_stick(epsilon, mu), rel=1e-5, abs=1e-13)


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("mu", [0.1, 0.5, 2.0])
def test_the_account_agrees_with_opacus(mu, delta):
    gdp = pytest.importorskip("opacus.accountants.analysis.gdp")
    from opacus.accountants import PRVAccountant, RDPAccountant

    assert epsilon_of(delta, mu) == pytest.approx(gdp.eps_from_mu(mu=mu, delta=delta), rel=1e-6)
    accounts = []
    for kind in (RDPAccountant, PRVAccountant):
        account = kind()
        account.history = [(2 / mu, 1.0, 4)]  # four releases of half the mu make mu
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            accounts.append(account.get_epsilon(delta=delta))
    renyi, numerical = accounts
    assert epsilon_of(delta, mu) <= renyi <= 1.4 * epsilon_of(delta, mu) + 0.15  # Renyi's bound holds and is loose
    assert epsilon_of(delta, mu) == pytest.approx(numerical, abs=0.03)


@given(st.floats(0.01, 1e4), st.floats(1e-12, 0.3))
def test_epsilon_delta_and_mu_are_inverse(epsilon, delta):
    mu = largest_mu(epsilon, delta)
    assert delta_of(epsilon, mu) <= delta * (1 + 1e-9)
    assert epsilon_of(delta, mu) == pytest.approx(epsilon, rel=1e-6, abs=1e-9)
    classical = epsilon / np.sqrt(2 * np.log(1.25 / delta))
    assert epsilon > 1 or mu > classical  # the analytic mechanism needs less noise than Dwork's and Roth's


def test_a_promise_is_checked():
    for wrong in (0, -1, np.inf, np.nan):
        with pytest.raises(ConnectomeError, match="epsilon is a number above 0"):
            DifferentialPrivacy(wrong)
    for wrong in (0, 1, -0.1):
        with pytest.raises(ConnectomeError, match="delta is a chance"):
            DifferentialPrivacy(1, wrong)
    with pytest.raises(ConnectomeError, match="network_share"):
        DifferentialPrivacy(1, network_share=1)
    with pytest.warns(PrivacyWarning, match="known seed"):
        DifferentialPrivacy(1, noise_seed=0)
    assert DifferentialPrivacy(1).budget(500)["delta"] == 1 / 5000
    assert DifferentialPrivacy(1, 1e-7).budget(500)["delta"] == 1e-7


def test_noise_is_as_large_as_sensitivity_and_share_ask_for():
    for seed in (None, 3):
        ledger = Ledger(0.7, seed)
        values = np.linspace(-1e3, 1e3, 40_000)
        noisy, sd = ledger.release("a", values, 5.0, 0.25)
        assert sd == pytest.approx(5 / (0.7 * 0.5))
        away = (noisy - values) / sd
        assert away.std() == pytest.approx(1, abs=0.02)
        assert kstest(away, "norm").pvalue > 1e-4
        grid = noisy[0] / 2.0 ** np.floor(np.log2(sd * FINE))
        assert grid == round(grid)
    assert not np.array_equal(*(Ledger(1.0).release("a", np.zeros(9), 1, 0.5)[0] for _ in range(2)))


def test_a_ledger_cannot_be_overdrawn():
    ledger = Ledger(1.0, 0)
    ledger.release("a", np.zeros(3), 1, 0.5)
    ledger.release("b", np.zeros(3), 1, 0.3)
    ledger.release("c", np.zeros(3), 1, 0.3, others_than="b")  # other people: nobody pays twice
    assert ledger.spent == pytest.approx(0.8)
    ledger.release("d", np.zeros(3), 1, 0.5, others_than="b")
    assert ledger.spent == pytest.approx(1.0)
    for share in (0.1, 0.0):
        with pytest.raises(ConnectomeError, match="budget is spent: 'e'"):
            ledger.release("e", np.zeros(3), 1, share)
    # In sum: the distances that mu allows are those of the releases together.
    mus = [entry["sensitivity"] / entry["noise"] for entry in ledger.entries if entry["release"] in "ab"]
    assert np.sqrt(np.square(mus).sum()) == pytest.approx(np.sqrt(0.8))


# --- sensitivity --------------------------------------------------------------------------------------------------------

BOUNDS = {"age": (45, 82), "sex": ["F", "M"], "site": ["a", "b", "c"], "pain": ["0", "1", "2"]}
SCHEMA = public_schema(
    list(BOUNDS), {"pain": {"Kind": "ordinal", "Levels": ["0", "1", "2"]}}, {**BOUNDS, "pain": None} | {"pain": BOUNDS["pain"]}
)
EXTREME = st.sampled_from([0.0, 1e-30, -1e30, 1e30, 1.0, -1.0, 3.0, np.nan, np.inf, -np.inf])
WEIGHT = st.sampled_from([0.0, 1.0, 1e-20, 1e5, 3e38, 7.0])


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(one) - np.asarray(other)))


def rows_of(width: int, value: st.SearchStrategy, n: int = 5) -> st.SearchStrategy:
    row = st.lists(value, min_size=width, max_size=width)
    return st.lists(row, min_size=n, max_size=n).map(lambda rows: np.array(rows, np.float32))


def source(values: np.ndarray):
    return lambda: iter([(slice(0, 2), values[:2]), (slice(2, len(values)), values[2:])])


UNITS = np.array([0, 1, 2, 2, 2])
"""Two people and a family of three, which is the one that changes."""


@given(rows_of(6, EXTREME), rows_of(6, EXTREME))
def test_lengths_of_neighbours(one, other):
    other[:2] = one[:2]
    weight, n = unit_weights(UNITS)
    first, second = (size_counts(source(values), weight)[0] for values in (one, other))
    assert first.sum() == pytest.approx(n)
    assert distance(first, second) <= ONE_HOT + 1e-9
    for values in (one, other):
        assert np.linalg.norm(clipped(values, 2.0), axis=1).max() <= 2.0


@given(rows_of(15, WEIGHT), rows_of(15, WEIGHT))
def test_moments_of_neighbours_edges(one, other):
    other[:2] = one[:2]
    weight, _ = unit_weights(UNITS)
    table = pd.DataFrame(index=[f"p{n}" for n in range(5)])
    parts = []
    for weights in (one, other):
        cohort = Cohort(weights, table, make_atlas(6), measure="m", check=False)
        moments = edge_moments(cohort, weight, np.full(15, 3.0), 4.0, 2.0, (0.5, 0.3))
        parts.append(np.concatenate([moments.first, moments.second, moments.present]))
    assert distance(*parts) <= moments.sensitivity


@given(rows_of(4, EXTREME), rows_of(4, EXTREME), rows_of(7, EXTREME), rows_of(7, EXTREME))
def test_joint_moments_and_maps_of_neighbours(left, other_left, right, other_right):
    other_left[:2], other_right[:2] = left[:2], right[:2]
    weight, _ = unit_weights(UNITS)
    with np.errstate(all="ignore"):
        joint = [joint_moments(a.astype(float), source(t), weight, 2.0) for a, t in ((left, right), (other_left, other_right))]
        maps = [
            map_moments(a.astype(float), np.array([0, 0, 1, 1]), source(t), weight, 2.0)
            for a, t in ((left, right), (other_left, other_right))
        ]
    assert distance(joint[0][0], joint[1][0]) <= joint[0][1]
    cross = distance(maps[0][0].ravel(), maps[1][0].ravel())
    assert np.hypot(cross, distance(maps[0][1], maps[1][1])) <= maps[0][2]


def test_bounds_are_reached_so_they_are_no_larger_than_they_need_be():
    one = np.ones(1)
    e = np.eye(6, dtype=np.float32)
    sums = [joint_moments(np.eye(6)[[k]], lambda k=k: iter([(slice(0, 1), e[[k]])]), one, 1.0) for k in (0, 1)]
    assert 0.95 * sums[0][1] < distance(sums[0][0], sums[1][0]) <= sums[0][1]
    maps = [map_moments(np.eye(2)[[0]], np.zeros(2, int), lambda s=s: iter([(slice(0, 1), s * e[[0]])]), one, 1.0) for s in (1, -1)]
    assert 0.95 * maps[0][2] < distance(maps[0][0], maps[1][0]) <= maps[0][2]
    counts = [size_counts(lambda k=k: iter([(slice(0, 1), np.full((1, 3), k))]), one)[0] for k in (0.1, 9.0)]
    assert distance(*counts) == pytest.approx(ONE_HOT)
    people = pd.DataFrame(index=["p0"])
    found = []
    for weight in (0, 1e5):
        cohort = Cohort(np.full((1, 15), weight, np.float32), people, make_atlas(6), measure="m")
        moments = edge_moments(cohort, one, np.full(15, 3.0), 4.0, 2.0, (0.5, 0.3))
        found.append(np.concatenate([moments.first, moments.second, moments.present]))
    assert 0.9 * moments.sensitivity < distance(*found) <= moments.sensitivity
    youngest, oldest = (
        pd.DataFrame({"age": [age], "sex": [sex], "site": ["a"], "pain": [pain]}) for age, sex, pain in ((45, "F", 0), (82, "M", 2))
    )
    sums = [profile_moments(SCHEMA, bounded_table(SCHEMA, table), one) for table in (youngest, oldest)]
    assert 0.5 * sums[0][1] < distance(*(np.concatenate(parts) for parts, _ in sums)) <= sums[0][1]


VALUES = {
    "age": st.sampled_from([45, 82, 60.5, -1e9, 1e9, np.nan, np.inf, "old", None]),
    "sex": st.sampled_from(["F", "M", "x", None, 3]),
    "site": st.sampled_from(["a", "b", "c", "zz", None]),
    "pain": st.sampled_from(["0", "1", 2, 2.0, "3", None, True]),
}


def tables(n: int) -> st.SearchStrategy:
    person = st.fixed_dictionaries(VALUES)
    index = [f"p{k}" for k in range(n)]
    return st.lists(person, min_size=n, max_size=n).map(lambda people: pd.DataFrame(people, dtype=object).set_axis(index))


@given(tables(5), tables(5))
def test_moments_of_neighbours_profiles(one, other):
    other = pd.concat([one.iloc[:2], other.iloc[2:]])
    weight, _ = unit_weights(UNITS)
    sums = []
    for table in (one, other):
        parts, sensitivity = profile_moments(SCHEMA, bounded_table(SCHEMA, table), weight)
        sums.append(np.concatenate(parts))
    assert distance(*sums) <= sensitivity


def test_what_is_not_known_counts_as_missing_and_what_is_beyond_as_the_end():
    table = pd.DataFrame(
        {"age": [20, "old", np.inf, 50], "sex": ["F", "x", None, "M"], "site": list("abcz"), "pain": [0, 1, True, 7]}, dtype=object
    )
    got = bounded_table(SCHEMA, table)
    np.testing.assert_array_equal(got["age"], [45, np.nan, 82, 50])
    assert list(got["sex"].isna()) == [False, True, True, False]
    assert list(got["site"].isna()) == [False, False, False, True]
    assert list(got["pain"].isna()) == [False, False, True, True]
    assert [p.kind for p in SCHEMA.phenotypes] == ["continuous", "binary", "categorical", "ordinal"]


@settings(max_examples=10)
@given(st.floats(1e-3, 1e6), st.integers(0, 5))
def test_gradients_of_units_are_shortened_and_families_averaged(size, seed):
    torch.manual_seed(seed)
    regions, k = 4, 3
    task = NetworkTask(
        torch.tensor([0, 1]), torch.tensor([0, 0]), torch.randn(regions, 3), torch.rand(regions, regions),
        torch.arange(6), torch.linalg.qr(torch.randn(6, k))[0].T.contiguous(), torch.ones(k),
    )  # fmt: skip
    network = ConnectomeNetwork(task, NetworkConfig(context_width=8, region_width=4, rank=2, n_layers=1)).eval()
    torch.nn.init.normal_(network.decoder.strength)
    values, missing, target = torch.randn(5, 2), torch.zeros(5, 2, dtype=torch.bool), size * torch.randn(5, k)
    expected = 0
    for unit in range(3):
        rows = np.flatnonzero(unit == UNITS)
        network.zero_grad()
        sum((((network(values[[r]], missing[[r]])[0] - target[r]) ** 2).mean()) for r in rows).backward()
        flat = torch.cat([p.grad.ravel() for p in network.parameters()]).double() / len(rows)
        expected = expected + flat * min(1.0, 1 / float(flat.norm()))
    total = unit_gradients(network, values, missing, target, UNITS, 3)
    got = torch.cat([total[name].ravel() for name, _ in network.named_parameters()])
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    alone = unit_gradients(network, values[:1], missing[:1], target[:1] * torch.inf, UNITS[:1], 1)
    assert all((value == 0).all() for value in alone.values())  # what is no number counts for nothing


def test_the_people_who_decide_about_the_gate_are_others():
    chosen = training_units(50, 0)
    assert chosen.sum() == 40
    assert np.array_equal(chosen, training_units(50, 0))


# --- what is known about a column ---------------------------------------------------------------------------------------


def test_ranges_and_levels_come_from_bounds_or_descriptions():
    described = {
        "age": {"Units": "years", "Minimum": 18, "Maximum": 100, "Group": "age_sex"},
        "iq": {"Range": [40, 160]},
        "sex": {"Levels": {"0": "female", "1": "male"}},
        "site": {"Levels": ["x", "y", "z"]},
    }
    schema = public_schema(["participant_id", "age", "iq", "sex", "site", "free"], described, {"iq": (0, 200), "free": None})
    assert schema.names == ("age", "iq", "sex", "site")
    assert [(p.low, p.high) for p in schema.phenotypes][:2] == [(18, 100), (0, 200)]
    assert [p.kind for p in schema.phenotypes] == ["continuous", "continuous", "binary", "categorical"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({}, "read ranges and levels off its people.*'age', 'sex'"),
        ({"age": (45, 82)}, "publicly for 'sex'"),
        ({"age": (82, 45), "sex": ["F", "M"]}, "range of 'age'.*the smaller first"),
        ({"age": (1, np.inf), "sex": ["F", "M"]}, "range of 'age'"),
        ({"age": "45-82", "sex": ["F", "M"]}, "bounds of 'age' are a range"),
        ({"age": (45, 82), "sex": ["F", "M"], "weight": (1, 2)}, "bounds for 'weight', which the participants table lacks"),
        ({"age": None, "sex": None}, "no phenotypes are left"),
    ],
)
def test_columns_of_which_nothing_is_known_are_refused_by_name(bounds, words):
    with pytest.raises(ConnectomeError, match=words):
        public_schema(["age", "sex"], {"age": {"Units": "years"}, "sex": {"Kind": "binary"}}, bounds)


# --- noise taken into account -------------------------------------------------------------------------------------------


def test_packing_keeps_distances():
    draw = np.random.default_rng(0)
    one, other = (m + m.T for m in draw.standard_normal((2, 5, 5)))
    assert distance(packed(one), packed(other)) == pytest.approx(distance(one, other))
    np.testing.assert_allclose(unpacked(packed(one)), one)


def test_low_rank_matrices_are_cleaned_of_noise():
    draw = np.random.default_rng(1)
    truth = draw.standard_normal((40, 2)) @ draw.standard_normal((2, 60)) * 2
    noisy = truth + draw.standard_normal(truth.shape)
    assert distance(denoised(noisy, 1.0), truth) < 0.45 * distance(noisy, truth)
    assert np.abs(denoised(draw.standard_normal((40, 60)), 1.0)).max() < 0.2
    np.testing.assert_array_equal(denoised(noisy, 0.0), noisy)
    gram = np.eye(20) * 5 + 0.5
    rough = gram + (lambda g: (g + g.T) / 2)(draw.standard_normal((20, 20)))
    clean = shrunk(rough, 1.0, np.full(20, 5.0))
    assert distance(clean, gram) < distance(rough, gram)
    assert np.linalg.eigvalsh(shrunk(-rough, 1.0, np.full(20, 5.0))).min() > 0


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_effects_are_found_where_there_are_some(effect):
    opened, gains, promised = 0, [], []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        n, f, k, sd = 2000, 6, 10, 60.0
        a, b = draw.standard_normal((n, f)), np.zeros((f, k))
        b[0, :2] = effect
        t = a @ b + draw.standard_normal((n, k))
        cross = a.T @ t + sd * draw.standard_normal((f, k))
        got = NoisyRegression.fit(a.T @ a, cross, (t**2).mean(0), n, sd, [np.array([0, 1]), np.arange(f)])
        opened += got.coefficients.any()
        gains.append((b**2).sum() - ((got.coefficients - b) ** 2).sum())
        promised.append(got.gain)
    if effect:
        assert opened == 20
        assert min(gains) > 0.1
        assert np.mean(promised) == pytest.approx(np.mean(gains), abs=0.03)
    else:
        assert opened <= 4
        assert np.mean(gains) > -0.01

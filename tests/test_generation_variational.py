"""The published conditional VAE: its size, its loss, its bound against exact likelihoods, and what it does to people."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.variational import (
    PUBLISHED,
    SMALL,
    ConditionalVAE,
    VariationalNetwork,
    importance_bound,
    variational_loss,
)
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")

QUICK = replace(SMALL, epochs=30)
BRIEF = replace(SMALL, epochs=1)


@cache
def cohorts(measure: str = "streamline_count") -> tuple[Cohort, Cohort]:
    return simulate_cohort(400, 8, 5, seed=0, explained=0.6, measure=measure).split(0.75, seed=0)


@cache
def fitted(measure: str = "streamline_count", seed: int = 0) -> ConditionalVAE:
    return ConditionalVAE(seed, config=QUICK).fit(cohorts(measure)[0])


def modelled(cohort: Cohort) -> NDArray[np.float64]:
    return cohort.scale.forward(cohort.weights).astype(np.float64)


class LinearNetwork(nn.Module):
    """A network whose likelihood is known: x = W z + shift, its posterior that of ``noise_variance``, or off by a factor."""

    def __init__(self, loadings: NDArray, shift: NDArray, noise_variance: float, posterior_scale: float = 1.0) -> None:
        super().__init__()
        self.loadings, self.shift = torch.tensor(loadings, dtype=torch.float32), torch.tensor(shift, dtype=torch.float32)
        precision = np.eye(loadings.shape[1]) + loadings.T @ loadings / noise_variance
        self.gain = torch.tensor(np.linalg.solve(precision, loadings.T / noise_variance), dtype=torch.float32)
        self.variance = torch.tensor(posterior_scale / np.diag(precision), dtype=torch.float32)

    def traits(self, values: Tensor) -> Tensor:
        return torch.zeros(len(values), self.loadings.shape[1])

    def encode(self, edges: Tensor, traits: Tensor) -> tuple[Tensor, Tensor]:
        return (edges - self.shift) @ self.gain.T, self.variance.log().expand(len(edges), -1)

    def decode(self, latent: Tensor, traits: Tensor) -> Tensor:
        return latent @ self.loadings.T + self.shift


def orthogonal(n_edges: int, latent: int, seed: int = 0) -> NDArray[np.float64]:
    """Loadings with orthogonal columns, so that the exact posterior has a diagonal covariance."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n_edges, latent)))[0] * np.linspace(1, 2, latent)


def test_the_published_size():
    assert PUBLISHED.widths(19_900) == (4975, 1243, 310, 128)
    assert round(PUBLISHED.n_parameters(19_900, 194) / 1e6, 1) == 607.5
    assert SMALL.n_parameters(19_900, 194) < 12e6
    assert min(SMALL.widths(15)) >= SMALL.latent


def test_the_published_layers():
    network = VariationalNetwork(64, 5, replace(PUBLISHED, latent=2))
    linear = [(layer.in_features, layer.out_features) for layer in network.encoder if isinstance(layer, nn.Linear)]
    assert linear == list(pairwise([64, 16, 4, 2, 2]))
    mirrored = [(layer.in_features, layer.out_features) for layer in network.decoder if isinstance(layer, nn.Linear)]
    assert mirrored == list(pairwise([4, 2, 4, 16, 64]))
    assert (network.output.in_features, network.output.out_features) == (64, 64)
    kinds = [type(layer) for layer in network.encoder[:4]]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert network.encoder[3].p == 0.5


def test_the_loss_is_squared_error_and_divergence():
    draw = torch.Generator().manual_seed(0)
    edges, decoded = torch.randn(6, 9, generator=draw), torch.randn(6, 9, generator=draw)
    mean, log_variance = torch.randn(6, 4, generator=draw), torch.randn(6, 4, generator=draw)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    error = nn.functional.mse_loss(decoded, edges)
    torch.testing.assert_close(variational_loss(edges, decoded, mean, log_variance), error + divergence)


def test_the_bound_is_exact_with_the_exact_posterior_and_below_without():
    loadings, shift, variance = orthogonal(7, 2), np.linspace(-1, 1, 7), 0.3
    person = np.random.default_rng(1).standard_normal(7)
    exact = multivariate_normal(shift, loadings @ loadings.T + variance * np.eye(7)).logpdf(person)
    edges, traits = torch.tensor(person[None], dtype=torch.float32), torch.zeros(1, 2)

    def likelihood(decoded: Tensor) -> Tensor:
        return torch.distributions.Normal(decoded.double(), variance**0.5).log_prob(edges.double()).sum(1)

    def bound(scale: float, draws: int, seed: int = 0) -> float:
        noise = torch.randn(draws, 2, generator=torch.Generator().manual_seed(seed))
        return importance_bound(LinearNetwork(loadings, shift, variance, scale), edges, traits, likelihood, noise)

    assert bound(1.0, 3) == pytest.approx(exact, abs=1e-4)
    few = np.mean([bound(3.0, 1, seed) for seed in range(200)])
    many = np.mean([bound(3.0, 500, seed) for seed in range(20)])
    assert few < exact - 0.3
    assert exact - 0.05 < many < exact + 0.02


def test_log_prob_is_on_the_modelling_scale():
    """Against the exact density of a linear-Gaussian decoder, in the units of Fisher z."""
    train, test = cohorts("pearson")
    model = ConditionalVAE(0, config=BRIEF).fit(train)
    n_edges, latent = train.n_edges, QUICK.latent
    loadings, shift = orthogonal(n_edges, 5), np.linspace(-0.2, 0.2, n_edges)
    loadings = np.concatenate([loadings, np.zeros((n_edges, latent - 5))], 1)
    model.noise_variance = 0.6
    model.network = LinearNetwork(loadings, shift, 0.6)
    unit = np.diag(model.space.std.astype(np.float64))
    exact = multivariate_normal(
        model.space.mean + shift * model.space.std, unit @ (loadings @ loadings.T + 0.6 * np.eye(n_edges)) @ unit
    ).logpdf(modelled(test))
    np.testing.assert_allclose(model.log_prob(test), exact, atol=1e-3)


def test_absent_edges_have_the_probability_of_a_normal_cut_off_at_0():
    train, test = cohorts()
    model = ConditionalVAE(0, config=BRIEF).fit(train)
    shift = np.linspace(-0.2, 0.2, int(model.modelled.sum()))
    model.network = LinearNetwork(np.zeros((len(shift), QUICK.latent)), shift, 1.0)
    model.noise_variance = 0.8
    std = model.space.std[model.modelled].astype(np.float64)
    edge = norm(model.space.mean[model.modelled] + shift * std, 0.8**0.5 * std)
    values = modelled(test)[:, model.modelled]
    assert 0.05 < (values == 0).mean() < 0.95
    np.testing.assert_allclose(model.log_prob(test), np.where(values == 0, edge.logcdf(0), edge.logpdf(values)).sum(1), atol=2e-3)


def test_the_noise_variance_is_the_error_of_reconstructions():
    model, (train, _) = fitted(), cohorts()
    assert 0.3 < model.noise_variance < 1
    model = ConditionalVAE(0, config=BRIEF).fit(train)
    values = modelled(train)[:, model.modelled]
    assert model.noise_variance == pytest.approx(((values - values.mean(0)) ** 2 / values.var(0)).mean(), rel=0.1)


def test_it_learns_what_phenotypes_do():
    train, test = cohorts()
    values, mean = modelled(test), modelled(train).mean(0)
    expected = modelled(fitted().expected(test.phenotypes))
    kept = fitted().space.kept
    unit = fitted().space.std[kept]
    error, total = (((values - there)[:, kept] / unit) ** 2 for there in (expected, mean))
    assert 1 - error.sum() / total.sum() > 0.1


def test_expected_is_the_mean_over_the_prior():
    """Of the decoder's output, and not its output at the prior's mean."""
    model, (_, test) = fitted(), cohorts()
    table = test.phenotypes.iloc[:2]
    profiles = table.loc[np.repeat(table.index, 20_000)][list(model.schema.names)]
    draws = model._draw(profiles, np.random.default_rng(3)).reshape(2, 20_000, -1)[:, :, model.space.kept]
    unit = model.space.std[model.space.kept]
    expected = model._deviation(table[list(model.schema.names)])
    theirs = (draws.mean(1) - model.space.mean[model.space.kept]) / unit
    assert np.abs(expected - theirs).max() < 0.06
    spread = (draws.std(1) / unit).mean()
    assert spread > 0.02
    again = model._deviation(table[list(model.schema.names)].iloc[::-1])
    np.testing.assert_allclose(again[::-1], expected, atol=1e-5)


def test_expected_of_a_linear_decoder_is_its_output_at_0():
    """The draws come with their negatives, so that chance is in what is not linear alone."""
    model = ConditionalVAE(0, config=BRIEF).fit(cohorts()[0])
    shift = np.linspace(-0.2, 0.2, int(model.modelled.sum()))
    loadings = np.random.default_rng(0).standard_normal((len(shift), QUICK.latent))
    linear = LinearNetwork(loadings, shift, 1.0)
    linear.prior_mean = lambda draws, traits: linear.decode(draws, traits).mean(0).expand(len(traits), -1)
    model.network = linear
    expected = model._deviation(cohorts()[1].phenotypes[list(model.schema.names)])
    np.testing.assert_allclose(expected, np.tile(shift[model.space.kept[model.modelled]], (len(expected), 1)), atol=1e-5)


def test_samples_are_the_decoders_output_on_the_weights_support():
    model, (_, test) = fitted(), cohorts()
    people = model.sample(test.phenotypes, 2, seed=0)
    assert people.kind == "sample" and (people.weights >= 0).all()
    values, real = modelled(people), modelled(test)
    kept = model.space.kept
    ratio = np.median(values[:, kept].std(0) / real[:, kept].std(0))
    assert 0.1 < ratio < 0.9  # published samples carry no noise: too little spread, and that is not mended here
    assert not np.allclose(values[0], values[1])
    signed = fitted("pearson").sample(cohorts("pearson")[1].phenotypes, seed=0).weights
    assert (np.abs(signed) < 1).all() and (signed < 0).any()


def test_edges_that_nobody_has_stay_absent():
    train, test = cohorts()
    weights = train.weights.copy()
    weights[:, 3] = 0
    cohort = Cohort(weights, train.phenotypes, train.atlas, measure=train.measure, described=train.described)
    model = ConditionalVAE(0, config=BRIEF).fit(cohort)
    assert (model.sample(test.phenotypes).weights[:, 3] == 0).all()
    assert np.isfinite(model.log_prob(test)).all()


def test_missing_phenotypes_are_imputed_with_the_mean():
    model, (train, test) = fitted(), cohorts()
    table = test.phenotypes.copy()
    table["age"] = np.nan
    imputed = table.assign(age=train.phenotypes["age"].mean())
    ours, theirs = model.expected(table).weights, model.expected(imputed).weights
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert not np.allclose(ours, model.expected(test.phenotypes).weights, rtol=1e-3)
    everything = test.phenotypes.assign(**dict.fromkeys(model.schema.names, np.nan))
    assert np.isfinite(model.expected(everything).weights).all()


def test_same_seed_same_bytes():
    train, test = cohorts()
    state = torch.random.get_rng_state()
    once = ConditionalVAE(0, config=replace(SMALL, epochs=2)).fit(train)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)  # what others drew before must not matter
    again, other = (ConditionalVAE(seed, config=replace(SMALL, epochs=2)).fit(train) for seed in (0, 1))
    for first, second in zip(once.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(first, second)
    table = test.phenotypes
    assert again.expected(table).weights.tobytes() == once.expected(table).weights.tobytes()
    assert again.sample(table, seed=4).weights.tobytes() == once.sample(table, seed=4).weights.tobytes()
    assert again.sample(table, seed=5).weights.tobytes() != once.sample(table, seed=4).weights.tobytes()
    assert again.log_prob(test).tobytes() == once.log_prob(test).tobytes()
    assert not np.array_equal(other.expected(table).weights, once.expected(table).weights)


@pytest.mark.parametrize("n_people", [33, 65])
def test_no_batch_has_a_single_person(n_people):
    train, _ = cohorts()
    assert ConditionalVAE(0, config=BRIEF).fit(train.take(np.arange(n_people))).noise_variance > 0


def test_devices(monkeypatch):
    with pytest.raises(ConnectomeError, match="'cpu' or 'cuda', got 'tpu'"):
        ConditionalVAE(device="tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConnectomeError, match="PyTorch finds none; use device='cpu'"):
        ConditionalVAE(device="cuda")
    assert ConditionalVAE().config is SMALL
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ConditionalVAE(device="cuda").config is PUBLISHED


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("ratio", "blocks", "widest", "latent", "epochs")),
        *({"epochs": value} for value in (1.5, "60", None, True, float("nan"))),
        *({"dropout": value} for value in (1, -0.1, "half", float("nan"))),
        *({"learning_rate": value} for value in (0, None, float("inf"))),
        {"batch_size": 2},
        {"weight_decay": -1.0},
        {"edge_layer": "yes"},
    ],
)
def test_a_size_that_makes_no_sense(wrong):
    with pytest.raises(ConnectomeError, match=f"^VariationalConfig: {next(iter(wrong))} is "):
        replace(SMALL, **wrong)


def test_the_smallest_batch_leaves_no_person_alone():
    train, _ = cohorts()
    assert ConditionalVAE(0, config=replace(BRIEF, batch_size=3)).fit(train.take(np.arange(31))).noise_variance > 0


def test_a_config_of_another_kind():
    with pytest.raises(ConnectomeError, match="as a VariationalConfig, got 'small'"):
        ConditionalVAE(config="small")

"""Flow matching: known densities, coordinates of correlation matrices, classes, and the model behind the common interface."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import OAS
from tiny import make_atlas

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices, to_vectors
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import flow_matching
from connectome_gnn.generation.correlation_coordinates import CholeskyCoordinates, ScaleCoordinates, coordinates_of
from connectome_gnn.generation.flow_matching import ClassPrior, FlowMatching, class_means
from connectome_gnn.generation.phenotype_classes import PhenotypeClasses
from connectome_gnn.generation.vector_field import FlowConfig, VectorField, train_field
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.simulate import simulate_cohort

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ExtrapolationWarning")

QUICK = FlowConfig(hidden=64, epochs=3)


def people(n: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": draw.uniform(20, 80, n), "sex": draw.choice(["F", "M"], n)},
        index=pd.Index([f"p{number}" for number in range(n)], name="participant_id"),
    )


@cache
def correlated(n: int = 80, n_regions: int = 5, time_points: int = 60) -> Cohort:
    """Correlation matrices of people's time series, their regions more alike with age."""
    draw = np.random.default_rng(0)
    table = people(n)
    shared = draw.standard_normal((n, time_points, 1)) * (table["age"].to_numpy()[:, None, None] / 60)
    series = draw.standard_normal((n, time_points, n_regions)) + shared
    weights = np.stack([to_vectors(np.corrcoef(person.T)) for person in series]).astype(np.float32)
    return Cohort(weights, table, make_atlas(n_regions), measure="pearson", signed=True)


def two_regions(signed: bool) -> Cohort:
    """One edge, so that a density can be integrated: a correlation, or a weight that a third of people lack."""
    draw = np.random.default_rng(0)
    table = people(60)
    latent = 0.5 + 0.02 * (table["age"].to_numpy() - 50) + 0.8 * draw.standard_normal(60)
    weights = np.tanh(0.4 * latent) if signed else np.expm1(np.maximum(latent, 0))
    return Cohort(weights[:, None].astype(np.float32), table, make_atlas(2), measure="any", signed=signed)


@cache
def cohorts() -> tuple[Cohort, Cohort]:
    return simulate_cohort(300, 8, 5, seed=0, explained=0.5).split(0.7, seed=0)


@cache
def fitted() -> FlowMatching:
    return FlowMatching(0, config=QUICK).fit(cohorts()[0])


def modelled(cohort: Cohort) -> NDArray[np.float64]:
    return cohort.scale.forward(cohort.weights).astype(np.float64)


def bumps(n: int, classes: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
    """Points of a mixture of two Gaussians, the classes mirror images."""
    draw = np.random.default_rng(seed)
    side = np.where(draw.random(n) < 0.7, 1.0, -1.2)
    points = draw.standard_normal((n, 2)) * 0.5 + np.stack([side, 0.5 * side], 1)
    return np.where(classes[:, None] == 0, points, -points)


@cache
def bump_field() -> VectorField:
    classes = np.arange(1600) % 2
    config = FlowConfig(hidden=256, epochs=80, learning_rate=1e-2, batch_size=128, steps=8)
    return train_field(bumps(1600, classes, 0), classes, np.arange(200), config, n_classes=2, seed=0)


def moved_field(n_components: int, n_classes: int = 2) -> VectorField:
    """A field that is not 0 anywhere, without training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = VectorField(n_components, n_classes, FlowConfig(hidden=16))
        torch.nn.init.normal_(field.outer.weight, std=0.3)
    return field.double()


def test_the_divergence_is_autograds():
    field = moved_field(4)
    x, t, classes = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), torch.tensor([0, 1, 1])
    velocity, divergence = field.with_divergence(x, t, classes)
    torch.testing.assert_close(velocity, field(x, t, classes))
    for row in range(3):

        def of_point(point: torch.Tensor, row: int = row) -> torch.Tensor:
            return field(point[None], t[[row]], classes[[row]])[0]

        trace = torch.autograd.functional.jacobian(of_point, x[row]).trace()
        torch.testing.assert_close(divergence[row], trace)


def test_a_fresh_field_leaves_noise_as_it_is():
    field = VectorField(3, 2, QUICK).double()
    noise, classes = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 0, 1, 0])
    np.testing.assert_array_equal(field.transport(noise, classes), noise)
    np.testing.assert_allclose(field.log_density(noise, classes), norm.logpdf(noise).sum(1))


def test_the_density_integrates_to_1_in_one_dimension():
    grid = np.linspace(-12, 12, 4001)[:, None]
    for number in (0, 1):
        density = np.exp(moved_field(1).log_density(grid, np.full(len(grid), number)))
        assert density.max() > 0.3
        assert density.sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1, abs=1e-4)


def test_the_density_is_that_of_what_is_transported():
    noise = np.random.default_rng(0).standard_normal((20_000, 1))
    classes = np.zeros(len(noise), np.intp)
    points = np.sort(moved_field(1).transport(noise, classes)[:, 0])
    grid = np.linspace(points[100], points[-100], 40)
    shares = np.diff(np.searchsorted(points, grid)) / len(points)
    middle = (grid[1:] + grid[:-1]) / 2
    density = np.exp(moved_field(1).log_density(middle[:, None], classes[: len(middle)]))
    np.testing.assert_allclose(density * np.diff(grid), shares, atol=0.005)


def test_it_learns_a_mixture_of_each_class():
    field = bump_field()
    axis = np.linspace(-4.5, 4.5, 41)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    for number in (0, 1):
        classes = np.full(2500, number)
        real = bumps(2500, classes, 5)
        drawn = field.transport(np.random.default_rng(1).standard_normal((2500, 2)), classes)
        np.testing.assert_allclose(drawn.mean(0), real.mean(0), atol=0.15)
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(real.T), atol=0.15)
        third = [(((points - points.mean(0)) / points.std(0)) ** 3).mean(0)[0] for points in (drawn, real)]
        assert abs(third[1]) > 0.5
        assert third[0] == pytest.approx(third[1], abs=0.3)
        density = np.exp(field.log_density(grid, np.full(len(grid), number)))
        assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=0.005)
        mirrored = (1 if number == 0 else -1) * np.array([[1, 0.5], [-1.2, -0.6]])
        true = np.log(sum(share * norm.pdf(real, centre, 0.5).prod(1) for share, centre in zip((0.7, 0.3), mirrored, strict=True)))
        gaussian = multivariate_normal(real.mean(0), np.cov(real.T)).logpdf(real)
        found = field.log_density(real, classes)
        assert (true - gaussian).mean() > 0.25
        assert (true - found).mean() < 0.4 * (true - gaussian).mean()


def test_few_gaussian_people_leave_nothing_to_learn():
    points = np.random.default_rng(0).standard_normal((60, 8))
    field = train_field(points, np.zeros(60, np.intp), np.arange(12), FlowConfig(epochs=30), n_classes=1, seed=0)
    fresh = np.random.default_rng(1).standard_normal((500, 8))
    loss = norm.logpdf(fresh).sum(1).mean() - field.log_density(fresh, np.zeros(500, np.intp)).mean()
    assert loss < 0.1


def test_cholesky_coordinates_and_back():
    vectors = np.random.default_rng(0).standard_normal((4, 15))
    coordinates = CholeskyCoordinates()
    values = coordinates.inverse(vectors)
    matrices = to_matrices(np.tanh(values)) + np.eye(6)
    assert np.linalg.eigvalsh(matrices).min() > 0
    np.testing.assert_allclose(coordinates.forward(values), vectors, atol=1e-9)
    factor = np.linalg.cholesky(matrices[0])
    np.testing.assert_allclose(to_matrices(vectors)[0][3, :3], factor[3, :3] / factor[3, 3], atol=1e-9)


def test_the_volume_is_the_jacobians():
    coordinates = CholeskyCoordinates()
    values = coordinates.inverse(np.random.default_rng(0).standard_normal((3, 6)))
    for person in values:
        steps = 1e-6 * np.eye(6)
        jacobian = (coordinates.forward(person + steps) - coordinates.forward(person - steps)) / 2e-6
        assert np.linalg.slogdet(jacobian)[1] == pytest.approx(coordinates.log_volume(person[None])[0], abs=1e-6)


def test_a_matrix_that_misses_positive_definiteness_is_drawn_in():
    matrix = np.full((3, 3), -0.5000002)
    np.fill_diagonal(matrix, 1)
    coordinates = CholeskyCoordinates()
    values = np.arctanh(to_vectors(matrix[None]))
    back = coordinates.inverse(coordinates.forward(values))
    np.testing.assert_allclose(np.tanh(back), np.tanh(values), atol=1e-3)
    far = coordinates.inverse(coordinates.forward(np.arctanh(np.full((1, 3), -0.6))))
    for drawn in (back, far):
        assert np.linalg.eigvalsh(to_matrices(np.tanh(drawn))[0] + np.eye(3)).min() == pytest.approx(1e-3, rel=1e-6)


def test_which_coordinates():
    assert isinstance(coordinates_of(correlated(), "cholesky"), CholeskyCoordinates)
    assert isinstance(coordinates_of(correlated(), "scale"), ScaleCoordinates)
    with pytest.raises(ConnectomeError, match="80 of 80 people of cohort 'cohort' have an eigenvalue below 0.001; use 'scale'"):
        coordinates_of(correlated(time_points=4), "cholesky")
    with pytest.raises(ConnectomeError, match="non-negative weights; use 'scale'"):
        coordinates_of(cohorts()[0], "cholesky")
    with pytest.raises(ConnectomeError, match="'scale' or 'cholesky', got 'log'"):
        coordinates_of(correlated(), "log")


def test_classes_are_terciles_of_age_by_sex():
    table = people(91)
    schema = PhenotypeSchema.fit(table)
    classes = PhenotypeClasses.fit(schema, table, np.zeros((91, 2)))
    memberships = classes.memberships(table)
    reference = pd.qcut(table["age"], 3, labels=False).to_numpy() * 2 + (table["sex"] == "M").to_numpy()
    np.testing.assert_array_equal(memberships, np.eye(6)[reference])
    np.testing.assert_allclose(classes.shares, np.bincount(reference) / 91)


def test_people_without_age_or_sex_are_of_all_classes_that_fit():
    table = people(90)
    table.loc["p0", "sex"] = None
    table.loc["p1", ["age", "sex"]] = None
    classes = PhenotypeClasses.fit(PhenotypeSchema.fit(table), table, np.zeros((90, 2)))
    memberships = classes.memberships(table)
    np.testing.assert_allclose(memberships.sum(1), 1)
    tercile = int(pd.qcut(table["age"], 3, labels=False).iloc[0])
    pair = classes.shares[2 * tercile : 2 * tercile + 2]
    np.testing.assert_allclose(memberships[0, 2 * tercile : 2 * tercile + 2], pair / pair.sum())
    np.testing.assert_allclose(memberships[1], classes.shares)


def test_without_age_and_sex_the_phenotype_that_tells_most():
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"noise": draw.standard_normal(60), "dose": draw.standard_normal(60), "site": draw.choice(list("abcd"), 60)})
    table.index = pd.Index([f"p{n}" for n in range(60)], name="participant_id")
    scores = np.outer(table["dose"], [1.0, -1]) + 0.3 * draw.standard_normal((60, 2))
    schema = PhenotypeSchema.fit(table, {"site": {"Levels": dict.fromkeys("abcd", "")}})
    classes = PhenotypeClasses.fit(schema, table, scores)
    assert [p.name for p in classes.factors] == ["dose"]
    np.testing.assert_allclose(classes.shares, 1 / 3)
    of_site = np.eye(4)[[list("abcd").index(site) for site in table["site"]]]
    classes = PhenotypeClasses.fit(schema, table, 3 * of_site + draw.standard_normal((60, 4)))
    assert [p.name for p in classes.factors] == ["site"]
    np.testing.assert_array_equal(classes.memberships(table), of_site)
    table["ward"] = [f"w{n % 20:02d}" for n in range(60)]  # many levels explain much by chance
    described = {"site": {"Levels": dict.fromkeys("abcd", "")}, "ward": {"Levels": {f"w{n:02d}": "" for n in range(20)}}}
    weak = 0.6 * table["dose"].to_numpy()[:, None] + draw.standard_normal((60, 8))
    assert [p.name for p in PhenotypeClasses.fit(PhenotypeSchema.fit(table, described), table, weak).factors] == ["dose"]
    with pytest.warns(match="constant"):
        alike = PhenotypeSchema.fit(table[["noise"]] * 0)
    assert (PhenotypeClasses.fit(alike, table, scores).memberships(table) == np.ones((60, 1))).all()


def test_class_means_borrow_where_classes_do_not_differ():
    draw = np.random.default_rng(0)
    memberships = np.eye(4)[draw.integers(0, 4, 200)]
    noise = draw.standard_normal((200, 40))
    raw = memberships.T @ noise / memberships.sum(0)[:, None]
    ours = class_means(noise, memberships)
    assert ((ours - noise.mean(0)) ** 2).sum() < 0.3 * ((raw - noise.mean(0)) ** 2).sum()
    apart = noise + 5 * memberships[:, :1]
    np.testing.assert_allclose(class_means(apart, memberships), memberships.T @ apart / memberships.sum(0)[:, None], atol=0.1)


def test_the_prior_is_the_classes_mean_and_shrunk_covariance():
    draw = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [60, 60, 5])
    scores = draw.standard_normal((125, 3)) * np.where(classes == 1, 2, 1)[:, None]
    prior = ClassPrior.fit(scores, np.eye(3)[classes], classes)
    within = scores - prior.means[classes]
    unit = within.std(0)
    for number in (0, 1):
        expected = OAS(assume_centered=True).fit(within[classes == number] / unit).covariance_ * np.outer(unit, unit)
        np.testing.assert_allclose(prior.roots[number] @ prior.roots[number].T, expected, atol=1e-10)
    np.testing.assert_allclose(prior.roots[2], np.diag(unit))  # too few people for a covariance of their own
    whitened = prior.whitened(scores, classes)
    np.testing.assert_allclose(whitened[classes == 1].std(0), 1, atol=0.15)
    np.testing.assert_allclose(prior.scores(whitened, classes), scores)


def test_log_prob_without_a_field_is_a_mixture_of_gaussians():
    """Exact for correlations on the modelling scale: the integral over components is a Gaussian one."""
    cohort = correlated(time_points=4)
    model = FlowMatching(0, config=QUICK, flow_components=4).fit(cohort)
    model.field = VectorField(4, model.classes.n_classes, QUICK).double()
    table = cohort.phenotypes.copy()
    table.loc["p3", "sex"] = None
    asked = Cohort(cohort.weights, table, cohort.atlas, measure="pearson", signed=True)
    memberships = model.classes.memberships(table)
    std = np.diag(model.space.std.astype(np.float64))
    density = np.zeros(len(asked))
    for number, (mean, root) in enumerate(zip(model.prior.means, model.prior.roots, strict=True)):
        covariance = std @ (model.loadings.T @ root @ root @ model.loadings + np.diag(model.noise)) @ std
        gaussian = multivariate_normal(model.space.mean + mean @ model.loadings @ std, covariance)
        density += memberships[:, number] * np.exp(gaussian.logpdf(modelled(asked)))
    np.testing.assert_allclose(model.log_prob(asked), np.log(density), atol=1e-4)


@pytest.mark.parametrize("signed", [True, False])
def test_log_prob_integrates_to_1(signed, monkeypatch):
    """Over all values of a single edge, the point mass of its absence included, flow and coordinates in between."""
    monkeypatch.setattr(flow_matching, "DENSITY_DRAWS", 2000)
    cohort = two_regions(signed)
    model = FlowMatching(0, config=QUICK, coordinates="cholesky" if signed else "scale").fit(cohort)
    model.field = moved_field(1, model.classes.n_classes)
    model.noise[:] = 0.2  # beside it the flow's own shape shows
    low, high = (-2.5, 2.5) if signed else (0, 5)
    steps = np.linspace(low, high, 50)
    values = steps if signed else np.concatenate([[0], (steps[1:] + steps[:-1]) / 2])
    profile = pd.concat([cohort.phenotypes.iloc[[0]]] * len(values))[list(model.schema.names)]
    density = np.exp(model._log_density(profile, values[:, None]))
    width = steps[1] - steps[0]
    total = density.sum() * width if signed else density[0] + density[1:].sum() * width
    assert total == pytest.approx(1, abs=0.03)
    if not signed:
        drawn = model._draw(pd.concat([profile] * 10), np.random.default_rng(0))
        assert 0.02 < density[0] < 0.9
        assert (drawn <= 0).mean() == pytest.approx(density[0], abs=0.03)


def test_absent_edges_are_integrated_over():
    """Against a sum over a fine grid of the component."""
    train, test = cohorts()
    model = FlowMatching(0, config=QUICK, flow_components=1).fit(train)
    profiles = test.phenotypes.iloc[:4][list(model.schema.names)]
    values = modelled(test)[:4]
    assert 0.05 < (values == 0).mean() < 0.95
    weights = model.classes.memberships(profiles)
    grid = np.linspace(-25, 25, 2001)
    varies = model.space.std > 1e-6
    mean, std = model.space.mean[varies].astype(float), model.space.std[varies].astype(float)
    loadings, spread = model.loadings[0, varies], np.sqrt(model.noise[varies]) * std
    for row, ours in enumerate(model._log_density(profiles, values)):
        centre = mean + grid[:, None] * loadings * std
        x = values[row, varies]
        given = np.where(x == 0, norm.logcdf(0, centre, spread), norm.logpdf(x, centre, spread)).sum(1)
        total = 0.0
        for number in np.flatnonzero(weights[row]):
            of_class = np.full(len(grid), number)
            root = model.prior.roots[number, 0, 0]
            flow = model.field.log_density((grid[:, None] - model.prior.means[number]) / root, of_class) - np.log(root)
            total += weights[row, number] * np.exp(given + flow - given.max()).sum() * (grid[1] - grid[0])
        assert ours == pytest.approx(np.log(total) + given.max(), abs=0.02)


def test_expected_is_the_mean_of_the_class():
    train, test = cohorts()
    model = fitted()
    expected = model._deviation(test.phenotypes[list(model.schema.names)])
    means = class_means(model.space.scores(train), model.classes.memberships(train.phenotypes))
    known = model.classes.memberships(test.phenotypes)
    np.testing.assert_allclose(expected, known @ means @ model.space.basis, atol=1e-5)
    assert len(np.unique(expected[known.max(1) == 1].round(5), axis=0)) <= 6
    kept, unit = model.space.kept, model.space.std[model.space.kept]
    error = (modelled(test)[:, kept] - modelled(model.expected(test.phenotypes))[:, kept]) / unit
    total = (modelled(test)[:, kept] - model.space.mean[kept]) / unit
    assert 1 - (error**2).sum() / (total**2).sum() > 0.05


def test_people_differ_as_much_as_real_ones():
    train, test = cohorts()
    model = FlowMatching(0, config=QUICK, flow_components=3).fit(train)  # most variance lies outside three components
    drawn = modelled(model.sample(test.phenotypes, 5, seed=0))
    kept = model.space.kept
    ratio = np.median(drawn[:, kept].std(0) / modelled(test)[:, kept].std(0))
    assert 0.85 < ratio < 1.15


def test_samples_of_correlations_are_correlation_matrices():
    cohort = correlated()
    drawn = FlowMatching(0, config=QUICK, coordinates="cholesky").fit(cohort).sample(cohort.phenotypes, seed=0)
    matrices = to_matrices(drawn.weights.astype(np.float64)) + np.eye(5)
    assert np.linalg.eigvalsh(matrices).min() > 0
    np.testing.assert_allclose(drawn.weights.mean(0), cohort.weights.mean(0), atol=0.12)
    np.testing.assert_allclose(drawn.weights.std(0), cohort.weights.std(0), rtol=0.4)


def test_same_seed_same_bytes():
    train, test = cohorts()
    once = fitted()
    torch.rand(3)  # what others drew before must not matter
    state = torch.random.get_rng_state()
    again = FlowMatching(0, config=QUICK).fit(train)
    assert torch.equal(torch.random.get_rng_state(), state)
    for first, second in zip(once.field.state_dict().values(), again.field.state_dict().values(), strict=True):
        assert torch.equal(first, second)
    table = test.phenotypes
    assert again.sample(table, 2, seed=4).weights.tobytes() == fitted().sample(table, 2, seed=4).weights.tobytes()
    assert again.sample(table, 2, seed=5).weights.tobytes() != fitted().sample(table, 2, seed=4).weights.tobytes()
    some = test.take(np.arange(12))
    densities = fitted().log_prob(some)
    assert again.log_prob(some).tobytes() == densities.tobytes()
    np.testing.assert_allclose(fitted().log_prob(test.take(np.array([3]))), densities[[3]])


def test_missing_phenotypes():
    _, test = cohorts()
    model = fitted()
    table = test.phenotypes.assign(**dict.fromkeys(test.phenotypes.columns, np.nan))
    expected = model._deviation(table[list(model.schema.names)])
    np.testing.assert_allclose(expected, expected[:1].repeat(len(table), 0), atol=1e-6)
    np.testing.assert_allclose(expected[0], model.classes.shares @ model.class_scores @ model.space.basis, atol=1e-5)
    assert np.isfinite(model.sample(table, seed=0).weights).all()


@pytest.mark.parametrize(
    "wrong", [{"coordinates": "polar"}, {"coordinates": None}, {"flow_components": 0}, {"flow_components": 2.5}, {"config": {"hidden": 8}}]
)
def test_settings_that_make_no_sense_are_refused_at_once(wrong):
    with pytest.raises(ConnectomeError, match="^flow matching"):
        FlowMatching(0, **wrong)

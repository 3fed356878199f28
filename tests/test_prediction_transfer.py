"""Transfer between cohorts: it helps where the truth is shared, says so where it is not, and leaves frozen what is frozen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import connectome_gnn as cg
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.prediction import fine_tuning
from connectome_gnn.prediction.affected import affected_regions
from connectome_gnn.prediction.fine_tuning import fine_tuned
from connectome_gnn.prediction.graph_network import ConnectomeGNN
from connectome_gnn.prediction.interface import read_target
from connectome_gnn.prediction.linear_path import LinearPath
from connectome_gnn.prediction.prior_path import fit_with_prior
from connectome_gnn.prediction.transferring import _table, transfer

SMALL = {"epochs": 2, "hidden": 8, "depth": 1}
WORLD = {"n_regions": 12, "n_phenotypes": 4, "explained": 0.15, "missing": 0.0}


@pytest.fixture(scope="module", autouse=True)
def few_epochs(one_torch_thread):
    patch = pytest.MonkeyPatch()
    patch.setattr(fine_tuning, "EPOCHS", 4)
    yield
    patch.undo()


def people(n: int, seed: int, people_seed: int | None = None, like: Cohort | None = None) -> Cohort:
    """People of a world; with ``like`` as if that world had another one's regions."""
    made = cg.simulate_cohort(n, seed=seed, people_seed=people_seed, **WORLD)
    return made if like is None else Cohort(made.weights, made.phenotypes, like.atlas, measure=made.measure, described=made.described)


@pytest.fixture(scope="module")
def source() -> Cohort:
    return people(300, 0)


@pytest.fixture(scope="module")
def learned(source: Cohort) -> ConnectomeGNN:
    return ConnectomeGNN(**SMALL).fit(source, "age")


def test_it_helps_where_the_truth_is_shared(source: Cohort) -> None:
    result = transfer(source, people(50, 0, 7), "age", test=people(250, 0, 8), model=ConnectomeGNN(**SMALL), folds=3)
    assert result.helped and result.table.loc["regions", "difference_low"] > 0.02 and result.sentence.startswith("Transfer helped")
    assert list(result.table.index) == ["scratch", "source", "full", "regions"]
    scratch = result.table.loc["scratch"]
    assert scratch["low"] < scratch["score"] < scratch["high"] and scratch["difference"] == 0
    assert result.predictions.shape == (250, 5) and "12 regions" not in str(result)


def test_it_says_that_it_did_not_where_nothing_is_shared(source: Cohort) -> None:
    result = transfer(source, people(50, 50, 7, source), "age", test=people(300, 50, 8, source), model=ConnectomeGNN(**SMALL), folds=3)
    assert not result.helped and ("did not help" in result.sentence or "did harm" in result.sentence)
    assert result.table.loc["regions", "difference"] > -0.15  # a gain of 0 is an answer
    assert result.table.loc["source", "score"] < 0


def test_levels_and_folds_of_the_target() -> None:
    few = [cg.simulate_cohort(n, 5, 4, seed=0, people_seed=other, explained=0.2, missing=0.0) for n, other in ((60, 0), (30, 7))]
    arguments = {"model": ConnectomeGNN(**{**SMALL, "epochs": 1}), "n_bootstrap": 200}
    levels = transfer(few[0], few[1], "sex", test=few[0].take(slice(0, 30)), folds=2, **arguments)
    assert levels.score == "auc" and levels.table["score"].between(0, 1).all() and len(levels.predictions) == 30
    numbers = transfer(few[0], few[1], "age", folds=3, **arguments)
    assert numbers.predictions[["scratch", "regions"]].notna().all().all() and list(numbers.predictions.index) == list(few[1].ids)


def test_intervals_cover_who_is_learned_from() -> None:
    generator = np.random.default_rng(0)
    steady = generator.normal(0.3, 0.02, (6, 201))
    hanging = steady - 0.2 * np.array([0, 1, 0, 2, 0, 0])[:, None]  # worse without two of the groups
    table = _table({"scratch": np.zeros((6, 201)), "full": steady, "regions": hanging})
    assert table.loc["full", "difference_low"] > 0.2 and table.loc["full", "difference"] == steady[0, 0]
    assert table.loc["regions", "difference_low"] < 0 < table.loc["regions", "difference"]


def test_what_is_frozen_stays_to_the_last_bit(source: Cohort, learned: ConnectomeGNN) -> None:
    target = people(50, 50, 7, source)
    labels = learned.regions.labels
    chosen = [labels[2], labels[9]]
    tuned = fine_tuned(learned, target, regions=chosen)
    inside = np.isin(np.arange(12), [2, 9])
    moved = 0
    for before, after in zip(learned.members, tuned.members, strict=True):
        for name, value in before.network.named_parameters():
            change = (dict(after.network.named_parameters())[name] - value).abs().detach().numpy()
            if name == "identity":
                assert not change[~inside].any()
                moved += change[inside].sum()
            elif name == "features.weight":
                assert not change[:, :12][:, ~inside].any() and not change[:, 12:].any()
            elif name == "pool.shares":
                assert not change[:, ~inside].any()
            else:
                assert not change.any(), name
    assert moved > 0
    touched = inside[np.stack(edge_indices(12))].any(0)
    # What is frozen is the prior's weight of an edge in its unit, or of a direction, times one gain.
    weights, was = (
        path.coefficients[0][:, 0] / (1 if path.view == "direction" else path.deviation) for path in (tuned.linear, learned.linear)
    )
    gain = weights[~touched] @ was[~touched] / (was[~touched] ** 2).sum()
    np.testing.assert_allclose(weights[~touched], gain * was[~touched], atol=1e-6)
    assert not np.allclose(fine_tuned(learned, target).linear.coefficients[0], tuned.linear.coefficients[0])


def test_effect_sizes_of_regions_are_hedges_and_welchs() -> None:
    one, other = people(40, 0, 1), people(30, 0, 2)
    rows, columns = edge_indices(12)
    raised = other.weights * np.where((rows == 5) | (columns == 5), 3.0, 1.0)
    changed = Cohort(raised, other.phenotypes, other.atlas, measure=other.measure)
    table = affected_regions(one, changed)
    label = one.atlas.labels[5]
    assert table["g"].idxmax() == label and table.loc[label, "affected"] and table["affected"].sum() <= 4
    values = [np.log1p(cohort.dense()).sum(-1)[:, 5] / 11 for cohort in (one, changed)]
    spread = np.sqrt((39 * values[0].var(ddof=1) + 29 * values[1].var(ddof=1)) / 68)
    assert table.loc[label, "g"] == pytest.approx((values[1].mean() - values[0].mean()) / spread * (1 - 3 / (4 * 70 - 9)), rel=1e-4)
    assert table.loc[label, "p"] == pytest.approx(stats.ttest_ind(values[1], values[0], equal_var=False).pvalue, rel=1e-3)
    assert (table["low"] < table["g"]).all() and (table["q"] >= table["p"]).all()
    assert affected_regions(one, changed, measure="degree", relative=True)["g"].notna().any()
    assert not affected_regions(people(200, 0, 3), people(200, 0, 4))["affected"].any()


def test_a_prior_is_ridge_towards_it(source: Cohort) -> None:
    edges = np.concatenate([values for _, values in source.modelled()])
    target = read_target(source, "age")
    prior = LinearPath.fit(edges, [target], source.units(), 0)
    few = people(40, 0, 7)
    there, wanted = np.concatenate([values for _, values in few.modelled()]), read_target(few, "age")
    moved = fit_with_prior(there, [wanted], few.units(), prior, 0)
    scratch = LinearPath.fit(there, [wanted], few.units(), 0)
    others = people(400, 0, 8)
    unseen, truth = np.concatenate([values for _, values in others.modelled()]), others.phenotypes["age"].to_numpy()
    errors = [((path.outputs(unseen)[0][:, 0] - truth) ** 2).mean() for path in (moved, scratch)]
    assert errors[0] < 0.8 * errors[1]
    frozen = fit_with_prior(there, [wanted], few.units(), prior, 0, np.zeros(edges.shape[1], bool))
    known = prior.coefficients[0][:, 0] != 0
    share = (frozen.coefficients[0][:, 0] / frozen.deviation)[known] / (prior.coefficients[0][:, 0] / prior.deviation)[known]
    assert np.ptp(share) < 1e-5 and share[0] > 0.4
    sex = read_target(few, "sex")
    odds = LinearPath.fit(edges, [read_target(source, "sex")], source.units(), 0)
    told = fit_with_prior(there, [sex], few.units(), odds, 0)
    assert told.coefficients[0].shape == (66, 2) and not told.coefficients[0][:, 0].any()
    said = told.outputs(unseen)[0][:, 1] > 0
    assert (said == (read_target(others, "sex").values == 1)).mean() > 0.6


def test_refusals(source: Cohort, learned: ConnectomeGNN) -> None:
    with pytest.raises(ConnectomeError, match="another atlas"):
        transfer(source, cg.simulate_cohort(30, 14, 4, seed=0), "age")
    with pytest.raises(ConnectomeError, match="knows no region 'nowhere'"):
        fine_tuned(learned, source, regions=["nowhere"])
    with pytest.raises(ConnectomeError, match="fine-tune on the same targets"):
        fine_tuned(learned, source, "sex")
    with pytest.raises(ConnectomeError, match="at least 3"):
        affected_regions(source, people(2, 0, 3))
    with pytest.raises(ConnectomeError, match="a rate between 0 and 1"):
        affected_regions(source, source, fdr=5)
    with pytest.raises(ConnectomeError, match="compared by 'profile'"):
        affected_regions(source, source, measure="identity")
    with pytest.raises(ConnectomeError, match="3 or more folds"):
        transfer(source, source, "age", folds=2)
    for wrong in ("source", ConnectomeGNN()):
        with pytest.raises(ConnectomeError, match="a fitted ConnectomeGNN"):
            transfer(wrong, source, "age")  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="transfer is of a ConnectomeGNN"):
        transfer(source, source, "age", model="ridge")  # type: ignore[arg-type]
    with pytest.raises(ConnectomeError, match="bootstrap"):
        transfer(source, source, "age", n_bootstrap=0)

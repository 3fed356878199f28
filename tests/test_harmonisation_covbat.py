"""CovBat: the paper's formulae, written again here; sites' covariances in people left out; components of big cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from sites import make_sites, modelled
from sklearn.decomposition import PCA

from connectome_gnn import ComBat
from connectome_gnn.cohort import Cohort
from connectome_gnn.harmonisation import covariance


def by_the_paper(harmoniser: ComBat, cohort: Cohort) -> np.ndarray:
    """Chen et al. 2022, steps 2 and 3, after ComBat's values (N, E) of complete data; components by scikit-learn."""
    site = cohort.phenotypes["site"].to_numpy()
    after = modelled(ComBat("site", harmoniser.preserve).fit(cohort).transform(cohort))
    expected = harmoniser.mean + harmoniser._phenotypes(cohort) @ harmoniser.effects
    residual = (after - expected) / harmoniser.deviation
    centre, scale = residual.mean(0), residual.std(0)
    analysis = PCA(svd_solver="full").fit((residual - centre) / scale)
    scores = analysis.transform((residual - centre) / scale)
    number = int(np.argmax(np.cumsum(analysis.explained_variance_ratio_) >= 0.95)) + 1
    for k in range(number):
        within = np.concatenate([scores[site == name, k] - scores[site == name, k].mean() for name in "abc"])
        pooled = np.sqrt((within**2).mean())
        for name in "abc":
            score = scores[site == name, k] / pooled
            scores[site == name, k] = pooled * (score - score.mean()) / score.std(ddof=1)
    back = scores @ analysis.components_ * scale + centre
    return expected + back * harmoniser.deviation


def with_covariances(n_people: int, seed: int) -> Cohort:
    """Two sites, in the second of which edges go together more, along one pattern."""
    cohort = make_sites(n_people, 8, sites="ab", shift=0.0, spread=0.0, seed=seed)
    pattern = np.random.default_rng(9).normal(0, 0.5, cohort.n_edges)
    common = np.random.default_rng(seed).normal(size=n_people)
    at_b = (cohort.phenotypes["site"] == "b").to_numpy()
    values = modelled(cohort) + common[:, None] * np.where(at_b, 1.0, 0.2)[:, None] * pattern
    return cohort.with_weights(np.expm1(np.maximum(values, 0.2)))


def test_complete_data_give_the_papers_numbers() -> None:
    cohort = make_sites(90, 8)
    harmoniser = ComBat(covbat=True).fit(cohort)
    assert np.abs(modelled(harmoniser.transform(cohort)) - by_the_paper(harmoniser, cohort)).max() < 1e-6
    assert np.abs(modelled(harmoniser.transform(cohort)) - modelled(ComBat().fit_transform(cohort))).max() > 0.01
    assert harmoniser.record()["step"] == "CovBat"


def test_covariances_of_people_left_out_come_nearer_than_by_combat() -> None:
    cohort = with_covariances(800, 1)
    train, test = cohort.take(slice(0, 400)), cohort.take(slice(400, 800))
    at_b = (test.phenotypes["site"] == "b").to_numpy()

    def apart(values: np.ndarray) -> float:
        return float(np.linalg.norm(np.cov(values[at_b].T) - np.cov(values[~at_b].T)))

    combat, covbat = (modelled(ComBat(covbat=way).fit(train).transform(test)) for way in (False, True))
    assert apart(covbat) < 0.7 * apart(combat)
    assert np.corrcoef(combat.ravel(), covbat.ravel())[0, 1] > 0.9


def test_components_of_big_cohorts_are_found_some_people_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = with_covariances(300, 2)
    exact = ComBat(covbat=True).fit(cohort)
    monkeypatch.setattr(covariance, "EXACT", 100)
    streamed = ComBat(covbat=True).fit(cohort)
    assert modelled(streamed.transform(cohort)) == pytest.approx(modelled(exact.transform(cohort)), abs=1e-5)
    monkeypatch.setattr(covariance, "MOST_COMPONENTS", 3)
    few = ComBat(covbat=True).fit(cohort)
    assert len(few.covariance.directions) == 3
    assert few.covariance.explained < 0.95 < exact.covariance.explained


def test_the_reference_is_what_others_are_brought_to() -> None:
    cohort = with_covariances(300, 3)
    harmonised = ComBat(covbat=True, reference="a").fit_transform(cohort)
    is_a = (cohort.phenotypes["site"] == "a").to_numpy()
    assert np.array_equal(harmonised.weights[is_a], cohort.weights[is_a].astype(np.float32))
    before, after = (
        np.linalg.norm(np.cov(values[is_a].T) - np.cov(values[~is_a].T)) for values in (modelled(cohort), modelled(harmonised))
    )
    assert after < 0.6 * before


def test_absent_edges_stay_absent() -> None:
    cohort = make_sites(absent=0.3)
    harmonised = ComBat(covbat=True).fit_transform(cohort)
    assert np.array_equal(harmonised.weights != 0, np.asarray(cohort.weights) != 0)

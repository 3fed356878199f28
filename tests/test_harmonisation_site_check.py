"""Whether the site can be told: planted sites are found, and no longer once harmonised; learned from training people alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sites import make_sites
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_info, threadpool_limits

from connectome_gnn import ComBat, site_check
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.harmonisation import site_telling


class Spy(ComBat):
    """Notes whom it learned from and whom it was applied to."""

    learned: list[set[str]] = []
    applied: list[set[str]] = []

    def fit(self, cohort: Cohort) -> Spy:
        self.learned.append(set(cohort.ids))
        return super().fit(cohort)

    def transform(self, cohort: Cohort) -> Cohort:
        self.applied.append(set(cohort.ids))
        return super().transform(cohort)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Of the linear learner alone, which takes the least time."""
    learners = site_telling._learners
    patch = pytest.MonkeyPatch()
    patch.setattr(site_telling, "_learners", lambda classes, seed: {"linear": learners(classes, seed)["linear"]})
    Spy.learned, Spy.applied = [], []
    cohort = make_sites(150, 7, sites="ab", shift=1.0, absent=0.02, seed=1)
    found = site_check(cohort, Spy(preserve=["sex", "age"]), n_bootstrap=200, seed=0)
    patch.undo()
    return found.set_index(["target", "edges", "learner", "connectomes"])


def test_a_planted_site_is_told_and_no_longer_once_harmonised(table: pd.DataFrame) -> None:
    raw, harmonised = (table.loc["site", "all", "linear", name] for name in ("raw", "ComBat"))
    assert raw["value"] > 0.9
    assert raw["low"] > 0.85
    assert harmonised["low"] < 0.5 < harmonised["high"]
    assert harmonised["change_high"] < -0.3
    assert table.loc["site", "presence", "linear", "raw"]["value"] < 0.65
    assert ("site", "presence", "linear", "ComBat") not in table.index
    assert (table["people"] == 150).all()
    assert set(table.loc["age"]["score"]) == {"r"}
    sex = table.loc["sex", "all", "linear", "ComBat"]
    assert sex["value"] > 0.6
    assert sex["change_high"] > 0
    assert (table["low"] <= table["high"]).all()


def test_harmonisers_learn_from_training_people_alone(table: pd.DataFrame) -> None:
    assert len(Spy.learned) == 5
    for number, learned in enumerate(Spy.learned):
        train, left_out = Spy.applied[2 * number : 2 * number + 2]
        assert train == learned
        assert not left_out & learned
    assert set().union(*Spy.applied[1::2]) == set().union(*Spy.learned)


def test_the_auc_of_folds_and_resamples() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 60).astype(float)
    said = generator.random((60, 3)) + 0.4 * np.eye(3)[truth.astype(int)]
    target = site_telling._Target("site", 3, truth)
    draws = np.ones((2, 60))
    draws[1] = np.arange(60) % 3
    scores = site_telling._score(target, [(np.arange(60), said)], draws)
    each = [roc_auc_score(truth == k, said[:, k]) for k in range(3)]
    assert scores[0] == pytest.approx(np.mean(each))
    assert scores[1] == pytest.approx(np.mean([roc_auc_score(truth == k, said[:, k], sample_weight=draws[1]) for k in range(3)]))
    halves = [(np.arange(30), said[:30]), (np.arange(30, 60), said[30:] + 5)]  # another scale in another fold
    assert abs(site_telling._score(target, halves, draws)[0] - scores[0]) < 0.1
    number = site_telling._Target("age", 0, truth)
    assert site_telling._score(number, [(np.arange(60), said[:, 2])], draws)[0] == pytest.approx(np.corrcoef(truth, said[:, 2])[0, 1])


def test_other_learners_see_spreads_and_what_goes_together() -> None:
    generator = np.random.default_rng(0)
    site = np.arange(120) % 2
    values = (generator.normal(size=(120, 15)) * np.where(site, 1.6, 0.6)[:, None]).astype(np.float32)
    target, rows = site_telling._Target("site", 2, site.astype(float)), np.arange(80)
    said = dict(site_telling._predictions(target, values[:80], values[80:], rows, np.arange(120), generator))
    aucs = {name: roc_auc_score(site[80:], answer[:, 1]) for name, answer in said.items()}
    assert list(aucs) == ["linear", "trees", "boosting"]
    assert aucs["linear"] < 0.7
    assert min(aucs["trees"], aucs["boosting"]) > 0.85


def test_learners_do_not_wait_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small fits on two threads each take many times as long where other work runs beside them."""
    used: set[int] = set()

    def note(*_: object) -> list[tuple[str, np.ndarray]]:
        used.update(pool["num_threads"] for pool in threadpool_info())
        return []

    monkeypatch.setattr(site_telling, "_predictions", note)
    with threadpool_limits(2):
        site_check(make_sites(60, 6), {}, keep=(), n_bootstrap=5)
    assert used == {1}


def test_mistakes_are_sentences() -> None:
    cohort = make_sites(60, 6)
    with pytest.raises(ConnectomeError, match="under names other than 'raw'"):
        site_check(cohort, {"raw": ComBat()})
    with pytest.raises(ConnectomeError, match="has 10 people"):
        site_check(cohort.take(slice(0, 10)), ComBat())
    with pytest.raises(ConnectomeError, match="no column 'iq' to predict"):
        site_check(cohort, ComBat(), keep="iq")
    alike = Cohort(cohort.weights, cohort.phenotypes.assign(site="a"), cohort.atlas, measure="m")
    with pytest.raises(ConnectomeError, match="everybody's 'site' is 'a', so there is nothing to tell"):
        site_check(alike, ComBat())

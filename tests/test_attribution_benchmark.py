"""The small form of benchmarks/attribution.py, and what it holds for true."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config

import connectome_gnn as cg

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = argparse.Namespace(small=True, people=240, regions=10, phenotypes=7, cohorts=1, splits=1, seed=0)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "attribution", raising=False)
    import attribution

    return attribution


def test_true_values_of_phenotypes_sum_to_what_all_explain(measuring) -> None:  # type: ignore[no-untyped-def]
    world = cg.simulate_cohort(50, 12, 8, seed=0).truth.world
    values = measuring.true_phenotypes(world)
    people = world.effects.scores(world.effects.reference[: measuring.REFERENCE])
    nothing = world.effects.scores(np.zeros((1, world.effects.reference.shape[1])))
    whole = np.einsum("nq,nq->n", (people - nothing) @ world.products, people - nothing).mean()
    assert values.sum() == pytest.approx(whole, rel=1e-6)
    groups = values.groupby([p.group for p in world.effects.schema.phenotypes]).sum()
    truth = world.by_group["shapley"]
    np.testing.assert_allclose(groups[truth.index] / groups.sum(), truth / truth.sum(), atol=0.03)
    alone = measuring.true_contributions(world)
    table = world.effects.reference[: measuring.REFERENCE].copy()
    columns = np.append(world.effects.schema.owner, world.effects.schema.names.index("age")) == world.effects.schema.names.index("sex")
    table[:, columns] = 0
    gone = people - world.effects.scores(table)
    assert alone["sex"] == pytest.approx(np.einsum("nq,nq->n", gone @ world.products, gone).mean())


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")
def test_every_part_runs_small_and_is_told(measuring, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("CONNECTOME_GNN_DATA", raising=False)
    generator = cg.ConnectomeGenerator
    monkeypatch.setattr(cg, "ConnectomeGenerator", lambda seed=0, **_: generator(seed=seed, network=None))
    monkeypatch.setattr(measuring, "SEEDS", 2)
    record: dict = {}
    with parallel_config("sequential"):
        for part in measuring.PARTS:
            record.update(measuring.measured(part, SMALL))
    assert record["age_maps"] == {} and set(record) == {*measuring.PARTS, "cohorts"}
    assert 0 <= record["truth"]["rank_over_phenotypes"]["shapley"]["value"] <= 1
    assert all(0 <= share <= 1 for share in record["coverage"].values())
    told = measuring.summary(record)
    for words in ("true share", "phenotypes with a planted effect, shapley", "no effect planted", "coverage", "different seeds"):
        assert words in told


def test_age_maps_of_halves_are_compared(measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    cg.simulate_cohort(100, 12, 5, seed=0, explained=0.4).save(tmp_path / "people")
    monkeypatch.setenv("CONNECTOME_GNN_DATA", str(tmp_path))
    with parallel_config("sequential"):
        found = measuring.age_maps(("people",), 1, 50)["people"]
    for strength in ("keep", "remove"):
        of = found[strength]
        assert of["low"] <= of["r"] <= of["high"] and of["null_low"] < 0 < of["null_high"]
    assert found["keep"]["r"] != found["remove"]["r"]
    told = measuring.summary({"age_maps": {"people": found}})
    assert "| people | 100 | 12 | 1 | kept |" in told and "| people | 100 | 12 | 1 | taken out |" in told

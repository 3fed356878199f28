"""The command ``topology``: its table, its comparison, its JSON, and one sentence for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_cli import refused, run
from tiny import make_cohort, make_samples
from typer.testing import CliRunner

from connectome_gnn import Atlas, topology
from connectome_gnn.cli import app
from connectome_gnn.cohort import Cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_cohort(20).save(tmp_path / "cohort")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", index_col="participant_id", na_values="n/a")


def test_the_table_is_the_panel_of_everybody(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "measures.tsv"
    shown = run("topology", folder, "--out", out)
    cohort = Cohort.load(folder)
    expected = topology.measure(cohort).to_dataframe()
    table = read(out)
    assert list(table.index) == list(cohort.ids) and list(table) == list(expected)
    np.testing.assert_allclose(table.to_numpy(), expected.to_numpy(), rtol=1e-5)
    assert "20 people of tiny, 6 regions" in shown and "Note: modules are the communities" in shown
    assert list(out.parent.iterdir()) == [out]


def test_measures_by_name_commas_or_all(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "measures.tsv"
    run("topology", folder, "--out", out, "--measures", "density,radius", "--measures", "assortativity")
    assert list(read(out)) == ["density", "radius", "assortativity"]
    answer = json.loads(run("topology", folder, "--out", out, "--measures", "all", "--force", "--json"))
    assert {"small_world_sigma", "edge_betweenness"} <= set(answer["measures"]) and "wiring_cost" not in answer["measures"]
    assert answer["n_people"] == 20 and answer["measures"]["edge_betweenness"]["level"] == "edge"


def test_measures_are_listed_without_a_cohort() -> None:
    listed = run("topology", "--list")
    assert all(name in listed for name in topology.list_measures().index)


def test_curves_edges_and_regions_have_their_names_in_the_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "measures.tsv"
    shown = run("topology", folder, "--out", out, "--measures", "rich_club_binary,edge_betweenness,degree")
    table = read(out)
    assert list(table)[:5] == [f"rich_club_binary:k={k}" for k in range(5)]
    assert list(table)[5] == "edge_betweenness:Région 0--Région 1" and list(table)[-1] == "degree:Région 5"
    assert table["degree:Région 5"].dtype == int  # whole numbers stay whole
    assert "20 people, 26 values each" in shown


def test_networks_of_the_atlas_as_modules(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "measures.tsv"
    shown = run("topology", folder, "--out", out, "--measures", "participation", "--networks")
    cohort = Cohort.load(folder)
    np.testing.assert_allclose(read(out).to_numpy(), topology.participation(cohort.weights, cohort.atlas.network), rtol=1e-5, atol=1e-7)
    assert "Note: regions that the atlas puts in no network (1) count as one more module" in shown
    nameless = make_cohort(atlas=Atlas(cohort.atlas.labels)).save(tmp_path / "nameless")
    says = "the atlas of tiny names no networks (column network of atlas.tsv); leave out --networks"
    refused("topology", nameless, "--out", tmp_path / "none.tsv", "--networks", says=says)


def test_a_comparison_has_split_halves_beside(folder: Path, tmp_path: Path) -> None:
    other = make_cohort(26, seed=1, name="others").save(tmp_path / "other")
    out = tmp_path / "measures.tsv"
    arguments = ("topology", folder, "--out", out, "--measures", "strength,density", "--compare", other)
    shown = run(*arguments)
    assert "split-half" in shown and "tiny, 20 people, against others, 26" in shown and "density" in shown
    answer = json.loads(run(*arguments, "--json", "--force"))
    assert answer["compared_with"] == "others" and answer["distances"]["strength"]["level"] == "nodal"
    first, second = (topology.measure(Cohort.load(one), ["strength", "density"]) for one in (folder, other))
    for name, row in topology.compare(first, second).iterrows():
        assert answer["distances"][name] == pytest.approx(row.to_dict())


def test_samples_and_negative_weights(tmp_path: Path) -> None:
    samples = make_samples().save(tmp_path / "samples")
    run("topology", samples, "--out", tmp_path / "samples.tsv", "--measures", "density")
    assert list(pd.read_csv(tmp_path / "samples.tsv", sep="\t")) == ["participant_id", "sample", "density"]
    signed = make_cohort(signed=True).save(tmp_path / "signed")
    shown = run("topology", signed, "--out", tmp_path / "signed.tsv")
    assert "Note: some weights are negative: left out clustering" in shown
    assert set(json.loads(run("topology", signed, "--out", tmp_path / "all.tsv", "--measures", "all", "--json"))["measures"]) >= {
        "strength_negative",
        "modularity",
    }
    expected = make_cohort(kind="expected").save(tmp_path / "expected")
    result = CliRunner().invoke(app, ["topology", str(expected), "--out", str(tmp_path / "expected.tsv"), "--measures", "density"])
    assert result.exit_code == 0 and "holds expected connectomes, which are averages" in " ".join(result.stderr.split())


def test_mistakes_are_one_sentence_each(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "measures.tsv"
    refused("topology", folder, "--out", out, "--measures", "strengt", says="no measure 'strengt'; the nearest is 'strength'")
    refused("topology", folder, "--out", out, "--measures", ",", says="no measures named")
    refused("topology", tmp_path / "nowhere", "--out", out, says="no cohort folder")
    refused("topology", folder, "--out", folder, says="is a folder; name a file to write")
    refused("topology", folder, "--out", out, "--measures", "wiring_cost", says="coordinates")
    refused("topology", folder, says="--out")
    other = make_cohort(8, 5).save(tmp_path / "other")
    refused("topology", folder, "--out", out, "--compare", other, says="is of other regions than tiny")
    signed = make_cohort(signed=True).save(tmp_path / "signed")
    refused("topology", signed, "--out", out, "--measures", "clustering", says="clustering needs non-negative weights")
    assert not out.exists()
    out.write_text("mine")
    refused("topology", folder, "--out", out, says="exists; choose another file, or replace it with --force")
    assert out.read_text() == "mine"
    run("topology", folder, "--out", out, "--measures", "density", "--force")
    assert read(out).shape == (20, 1)

"""The commands that export, merge and change cohorts: what they write is what the Python interface gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_backbones import brain
from test_cli import refused, run
from tiny import make_cohort, make_phenotypes

from connectome_gnn.cohort import Cohort
from connectome_gnn.readers import read_cohort


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_cohort(12, 14, atlas=brain(), described={}).save(tmp_path / "cohort")


@pytest.mark.parametrize("format", ["csv", "bids", "graphml", "nilearn", "nilearn_vectors", "pyg", "native"])
def test_export_and_convert_back(folder, tmp_path, format):
    said = run("export", folder, tmp_path / "out", "--format", format)
    assert f"12 people, 14 regions, 5 phenotypes, streamline_count, written as {format}" in said
    run("convert", tmp_path / "out", tmp_path / "back")
    np.testing.assert_array_equal(Cohort.load(tmp_path / "back").weights, Cohort.load(folder).weights)
    answer = json.loads(run("export", folder, tmp_path / "out", "--format", format, "--force", "--json"))
    assert (answer["format"], answer["n_people"], answer["name"]) == (format, 12, "tiny")
    refused("export", folder, tmp_path / "out", "--format", format, says="exists; choose another folder")


def test_mistakes_of_exports(folder, tmp_path):
    refused(
        "export",
        folder,
        tmp_path / "out",
        "--format",
        "gpickle",
        says=("expected a format to write among 'native', 'csv'", "got 'gpickle'"),
    )
    refused("export", folder, tmp_path / "out", says="--format")
    refused("export", tmp_path / "none", tmp_path / "out", "--format", "csv", says="no cohort folder")


def test_merged_cohorts(folder, tmp_path):
    table = make_phenotypes(5).set_axis([f"x{n}" for n in range(5)], axis=0)
    other = make_cohort(5, 14, atlas=brain(), described={}, phenotypes=table, name="other").save(tmp_path / "other")
    answer = json.loads(run("merge", folder, other, tmp_path / "both", "--column", "study", "--name", "both", "--json"))
    assert (answer["n_people"], answer["name"], answer["processing"]) == (17, "both", [])
    assert Cohort.load(tmp_path / "both").phenotypes["study"].tolist() == ["tiny"] * 12 + ["other"] * 5
    refused("merge", folder, folder, tmp_path / "twice", says="12 participants are in cohort 'tiny' and in 'tiny'")
    run("normalise", other, tmp_path / "scaled", "--by", "max")
    refused("merge", folder, tmp_path / "scaled", tmp_path / "mixed", says="not on one scale")
    assert not (tmp_path / "mixed").exists()


def test_regions_and_weights(folder, tmp_path):
    cohort = Cohort.load(folder)
    run("select", folder, tmp_path / "left", "--hemisphere", "L")
    np.testing.assert_array_equal(Cohort.load(tmp_path / "left").weights, cohort.select(hemisphere="L").weights)
    run("select", folder, tmp_path / "three", "--region", "r5", "--region", "r0", "--region", "r9")
    assert Cohort.load(tmp_path / "three").atlas.labels == ("r5", "r0", "r9")
    cohort.atlas.to_frame().iloc[::-1].to_csv(tmp_path / "turned.tsv", sep="\t", index=False, na_rep="n/a")
    run("reorder", folder, tmp_path / "turned", "--atlas", tmp_path / "turned.tsv")
    np.testing.assert_array_equal(Cohort.load(tmp_path / "turned").dense(), cohort.dense()[:, ::-1, ::-1])
    run("normalise", folder, tmp_path / "scaled", "--by", "total")
    answer = json.loads(run("threshold", tmp_path / "scaled", tmp_path / "thin", "--density", 0.2, "--json"))
    assert answer["processing"] == [{"step": "normalise", "method": "total"}, {"step": "threshold", "density": 0.2}]
    np.testing.assert_array_equal(Cohort.load(tmp_path / "thin").weights, cohort.normalise("total").threshold(density=0.2).weights)
    refused("normalise", folder, tmp_path / "no", "--by", "zscore", says="normalise by 'max', 'total', 'median', got 'zscore'")
    refused("select", folder, tmp_path / "no", "--network", "Visual", says="no region of network 'Visual'; its networks are not known")
    refused("threshold", folder, tmp_path / "no", says="expected one of weight, density and backbone to threshold by, got none")


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--share", 0.7, "--density", 0.3], {"threshold": 0.7, "density": 0.3}),
        (["--method", "distance", "--bins", 4], {"method": "distance", "n_bins": 4}),
        (["--method", "disparity", "--alpha", 0.3], {"method": "disparity", "alpha": 0.3}),
        (["--method", "absolute", "--weight", 12], {"method": "absolute", "weight": 12}),
        (["--method", "spanning_tree"], {"method": "spanning_tree"}),
    ],
)
def test_backbones_as_tables(folder, tmp_path, options, arguments):
    cohort = Cohort.load(folder)
    expected = cohort.backbone(**arguments)
    answer = json.loads(run("backbone", folder, tmp_path / "backbone.tsv", *options, "--json"))
    assert answer["n_edges"] == expected.sum() // 2
    table = pd.read_csv(tmp_path / "backbone.tsv", sep="\t", index_col=0)
    assert tuple(table.columns) == cohort.atlas.labels
    np.testing.assert_array_equal(table.to_numpy() != 0, expected)
    refused("backbone", folder, tmp_path / "backbone.tsv", *options, says="exists; choose another file")
    assert "edges by" in run("backbone", folder, tmp_path / "backbone.tsv", *options, "--force")
    run("threshold", folder, tmp_path / "masked", "--backbone", tmp_path / "backbone.tsv")
    np.testing.assert_array_equal(Cohort.load(tmp_path / "masked").dense(), cohort.dense() * expected)
    run("threshold", folder, tmp_path / "named", "--backbone", "consistency")
    np.testing.assert_array_equal(Cohort.load(tmp_path / "named").dense(), cohort.dense() * cohort.backbone())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.tsv", "cohort", "masked", "named"]


def test_read_cohort_is_the_way_back(folder, tmp_path):
    run("export", folder, tmp_path / "out", "--format", "graphml")
    np.testing.assert_array_equal(read_cohort(tmp_path / "out").weights, Cohort.load(folder).weights)

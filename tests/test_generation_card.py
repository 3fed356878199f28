"""The card of a saved model: true, readable, and about nobody in particular."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fitted import fit_small, generator, halves, plain_table, r2_beyond_mean, small_cohort

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.card import card_of, described_people, held_out_scores, score_interval
from connectome_gnn.generation.card_text import card_text
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.privacy import DifferentialPrivacy
from connectome_gnn.phenotypes import PhenotypeSchema

pytestmark = pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")


@cache
def small() -> ConnectomeGenerator:
    return fit_small(small_cohort(30))


@cache
def private() -> ConnectomeGenerator:
    """A model under differential privacy, whose people lie far within the public ranges."""
    bounds = {"age": (18, 118), "sex": ["F", "M"], "height": (100, 250), "memory": (-10, 10), "site": ["a", "b", "c"]}
    return ConnectomeGenerator(seed=0, privacy=DifferentialPrivacy(2.0, bounds=bounds)).fit(small_cohort(60))


def text_of(model: ConnectomeGenerator) -> str:
    return card_text(card_of(model, {"numpy": "1"}))


def test_it_says_whom_what_and_how_good(tmp_path):
    model = generator()
    folder = model.save(tmp_path / "model")
    text = (folder / "card.md").read_text(encoding="utf-8")
    card = json.loads((folder / "config.json").read_text(encoding="utf-8"))["card"]
    assert card["people"] == 400
    assert "400 people of the cohort simulated" in text
    train, test = halves()
    assert card["score"]["low"] < r2_beyond_mean(model, test, train) < card["score"]["high"]
    for heading in ("People", "Phenotypes", "How it was fitted", "Scores", "What each path earned", "Samples", "Limits"):
        assert f"## {heading}" in text
    for name in model.schema.names:
        assert f"| {name} |" in text
    assert "not for diagnosis" in text
    assert "message-passing network's gate" in text
    assert f"{int((~model.space.kept).sum())} of 190 edges are not modelled" in text
    assert "No held-out comparison" in text
    assert "numpy " in text
    assert {row["path"] for row in card["earned"]} == set(model.earned.index)


def test_the_interval_is_as_wide_as_other_people_would_move_the_score():
    """95 % of cohorts of the same world have their score within about half the interval's width of the average."""
    draw = np.random.default_rng(0)
    n, k = 200, 20
    signal = draw.standard_normal((5, k)) * 0.2

    def cohort() -> tuple[np.ndarray, np.ndarray]:
        told = draw.standard_normal((n, 5)) @ signal
        people = told + draw.standard_normal((n, k))
        return people - told, people

    found = []
    for _ in range(200):
        residual, scores = cohort()
        found.append(1 - (residual**2).sum() / (scores**2).sum())
    residual, scores = cohort()
    interval = score_interval(residual, scores, float((scores**2).sum()), found[0], np.arange(n), 0)
    assert interval["r2"] == found[0]
    assert interval["low"] < found[0] < interval["high"]
    assert (interval["high"] - interval["low"]) / 3.92 == pytest.approx(np.std(found), rel=0.25)
    families = score_interval(
        np.repeat(residual, 2, 0), np.repeat(scores, 2, 0), 2 * float((scores**2).sum()), 0.1, np.repeat(np.arange(n), 2), 0
    )
    assert families["high"] - families["low"] == pytest.approx(interval["high"] - interval["low"], rel=0.05)


def test_no_single_person_stands_in_it():
    """Neither the oldest one's age nor the only one of a kind; shares of few people are rounded."""
    table = plain_table(40).assign(site=["rare", *["a", "b"] * 19, "a"], sex=["F"] * 38 + ["M"] * 2)
    table.iloc[0, 0] = 97.123
    described = {"age": {"Units": "years"}, "sex": {"Levels": {"F": "female", "M": "male"}}}
    records = {record["name"]: record for record in described_people(PhenotypeSchema.fit(table, described), table)}
    text = json.dumps(records)
    assert "97" not in text
    assert "rare" not in str(records["site"]["shares"])
    assert records["site"]["rare_levels"] == 1
    assert records["sex"]["shares"] == {"F (female)": 0.95}
    assert records["sex"]["rare_levels"] == 1
    values = [value for record in records.values() for value in record.get("range", {}).values()]
    for column in ("age", "height", "memory"):
        assert not set(values) & set(table[column])
    assert all(share * 20 == pytest.approx(round(share * 20)) for share in records["site"]["shares"].values())
    span = records["age"]["range"]
    assert all(value == round(value) for value in span.values())  # whole years
    assert abs(span["median"] - table["age"].median()) < 4
    assert abs(span["95 %"] - table["age"].quantile(0.95)) < 4


def test_a_model_under_differential_privacy_tells_nothing_that_was_not_paid_for():
    model = private()
    assert model.score is None
    assert model.people_described == []
    text = text_of(model)
    card = card_of(model, {})
    by_name = {record["name"]: record for record in card["phenotypes"]}
    assert (by_name["age"]["range"]["public lowest"], by_name["age"]["range"]["public highest"]) == (18, 118)
    assert "low" not in card["score"]
    assert "epsilon 2" in text
    assert "by a noisy estimate" in text
    assert "lowest and highest value" not in text
    # All of it follows from the released model: with the people gone the card is the same.
    again = ConnectomeGenerator(privacy=DifferentialPrivacy(2.0))
    again.__dict__.update({key: value for key, value in model.__dict__.items() if key not in ("people_described", "score")})
    assert card_of(again, {}) == card


def test_a_private_fit_for_the_mean_alone_is_one():
    bounds = {"age": (18, 118), "sex": ["F", "M"], "height": (100, 250), "memory": (-10, 10), "site": ["a", "b", "c"]}
    model = ConnectomeGenerator(privacy=DifferentialPrivacy(2.0, bounds=bounds))
    cohort = small_cohort(60)
    model.fit(cohort, distribution=False)
    assert np.isfinite(model.expected(cohort.phenotypes).weights).all()
    for refused in (lambda: model.sample(cohort.phenotypes), lambda: model.save("nowhere")):
        with pytest.raises(ConnectomeError, match="distribution=False"):
            refused()
    assert model.fit(cohort).sample(cohort.phenotypes).n_people == 60


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ({"r2": 0.004, "low": -0.002, "high": 0.01}, "cannot be told from nothing"),
        ({"r2": 0.01, "low": 0.004, "high": 0.016}, "That is little"),
        ({"r2": 0.06, "low": 0.05, "high": 0.07}, "6.0 % of what makes"),
    ],
)
def test_weak_is_called_weak(score, said):
    card = {**card_of(small(), {}), "score": score}
    text = card_text(card)
    assert said in text
    assert ("nothing certain" in text) == (score["low"] <= 0)
    assert ("The signal is weak" in text) == (score["low"] > 0 and score["r2"] < 0.02)


def test_a_held_out_comparison_stands_in_it(tmp_path):
    rows = [
        {"model": "generator", "rank": 1, "r2": 0.05, "r2_low": 0.04, "r2_high": 0.06, "demeaned_r": 0.2, "seconds": 12.5},
        {"model": "ridge", "rank": 2, "r2": 0.03, "r2_low": 0.02, "r2_high": 0.04, "demeaned_r": 0.15, "seconds": 1.5},
    ]
    differences = (
        {"difference": None, "difference_low": None, "difference_high": None},
        {"difference": 0.02, "difference_low": 0.01, "difference_high": 0.03},
    )
    records = [row | difference for row, difference in zip(rows, differences, strict=True)]
    ranking = SimpleNamespace(to_records=lambda: records, unfitted={"matching-index wiring": "the atlas has no coordinates"})
    model = fit_small(small_cohort(30))
    model.held_out = held_out_scores(ranking, 24, 6)
    folder = model.save(tmp_path / "model")
    text = (folder / "card.md").read_text(encoding="utf-8")
    assert "| ridge | 0.0300 [0.0200, 0.0400] | 0.150 | 0.0200 [0.0100, 0.0300] |" in text
    assert "fitted to 24 of the people and scored on the other 6" in text
    assert "matching-index wiring took no part: the atlas has no coordinates" in text
    assert "not clearly better" not in text
    model.held_out["models"][0]["r2_low"] = -0.01
    assert "On 6 people held out it was 0.0500 [-0.0100, 0.0600], which is not clearly better" in text_of(model)
    model.held_out["models"][0]["r2_low"] = 0.04
    assert "12.5" not in text  # seconds would differ from run to run
    assert ConnectomeGenerator.load(folder).held_out == model.held_out
    assert model.fit(small_cohort(30)).held_out is None


def test_whose_rows_the_model_holds():
    assert "holds no training person's row" in text_of(small())
    assert "The model holds training people's rows" in text_of(fit_small(small_cohort(30), sampler="recombined"))


def test_names_cannot_break_the_table():
    cohort = small_cohort(30)
    table = cohort.phenotypes.rename(columns={"memory": "a | b\nc"})
    model = fit_small(small_cohort(30, phenotypes=table, described={}))
    lines = [line for line in text_of(model).splitlines() if line.startswith("| a \\| b c ")]
    assert len(lines) == 1
    assert len(re.findall(r"(?<!\\)\|", lines[0])) == 6


def test_every_kind_of_model_has_one(tmp_path):
    """Tiny, of correlations, without age and sex, with a phenotype that nobody has."""
    cohort = small_cohort(20, signed=True)
    table = cohort.phenotypes.drop(columns=["age", "sex"]).assign(empty=np.nan)
    model = fit_small(small_cohort(20, signed=True, phenotypes=table))
    text = Path(model.save(tmp_path / "model") / "card.md").read_text(encoding="utf-8")
    assert "| empty |" in text
    assert "100 %" in text
    assert "nan" not in text.lower()
    assert "20 people are few" in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"epochs": 0}, "epochs is a whole number from 1 on, got 0"),
        ({"rank": 2.5}, "rank is a whole number from 1 on, got 2.5"),
        ({"n_layers": -1}, "n_layers is a whole number from 0 on, got -1"),
        ({"learning_rate": 0}, "learning_rate is a number above 0, got 0"),
        ({"learning_rate": "fast"}, "learning_rate is a number above 0, got 'fast'"),
        ({"validation": 1}, "validation is a share of people above 0 and below 1, got 1"),
        ({"weight_decay": float("nan")}, "weight_decay is a number from 0 on, got nan"),
        ({"messages": "smoke"}, "messages is one of 'convolution', 'attention', got 'smoke'"),
        ({"messages": []}, "messages is one of"),
        ({"sparse": "yes"}, "sparse is True or False"),
    ],
)
def test_network_settings_that_make_no_sense(setting, said):
    with pytest.raises(ConnectomeError, match="NetworkConfig: " + re.escape(said)):
        NetworkConfig(**setting)


def test_the_card_is_not_of_this_run():
    """Two fits with one seed write the same card."""
    assert pd.Series(text_of(small())).equals(pd.Series(text_of(fit_small(small_cohort(30)))))

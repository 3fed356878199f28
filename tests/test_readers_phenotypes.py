"""UK Biobank's tables of phenotypes: any style of names, codes that are no numbers, little memory."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from brains import brain, ukb_zip

from connectome_gnn.atlases.lists import LISTS
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.readers import convert_cohort, read_cohort, read_ukb_phenotypes
from connectome_gnn.readers.ukb_phenotypes import is_ukb_table

ROWS = {
    (31, None): ["0", "1", "0", "1"],
    (21003, 0): ["55", "56", "57", "58"],
    (21003, 2): ["63", "64", "", "66"],
    (21001, 2): ["27.5", "-1", "30.25", "-3"],
    (20116, 2): ["0", "1", "-3", "2"],
    (1558, 2): ["1", "6", "-1", "3"],
    (1160, 2): ["7", "8", "-10", "-1"],
    (189, 0): ["-3", "-1", "2.5", "0"],
    (54, 2): ["11025", "11026", "11025", ""],
    (99999, 2): ["5", "-3", "-1", "9"],
    (88888, 0): ["1.5", "2.5", "3.5", "4.5"],
}
IDS = ["1000012", "1000023", "1000034", "1000045"]
STYLES = {
    "showcase": ("eid", lambda field, visit: f"{field}-{visit or 0}.0"),
    "r": ("f.eid", lambda field, visit: f"f.{field}.{visit or 0}.0"),
    "stata": ("n_eid", lambda field, visit: f"{'s' if field == 54 else 'n'}_{field}_{visit or 0}_0"),
    "rap": ("eid", lambda field, visit: f"p{field}" if visit is None else f"p{field}_i{visit}"),
    "spark": ("participant.eid", lambda field, visit: f"participant.p{field}" if visit is None else f"participant.p{field}_i{visit}"),
}


def texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else value for value in column]


def written(path, style="rap", rows=ROWS, delimiter=",", encoding="utf-8"):
    eid, name = STYLES[style]
    table = pd.DataFrame({eid: IDS, **{name(*key): values for key, values in rows.items()}})
    path.write_bytes(table.to_csv(index=False, sep=delimiter).encode(encoding))
    return path


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), ("\t", "utf-8-sig")])
def test_every_style_of_names(tmp_path, style, delimiter, encoding):
    table, described = read_ukb_phenotypes(written(tmp_path / "ukb.csv", style, delimiter=delimiter, encoding=encoding))
    assert list(table.index) == IDS and table.index.name == "participant_id"
    expected = ["sex", "age", "bmi", "smoking", "alcohol_frequency", "sleep_duration", "townsend", "site", "field_99999", "field_88888_i0"]
    assert list(table) == expected == list(described)
    np.testing.assert_array_equal(table["age"], [63, 64, np.nan, 66])  # the visit asked for, not the first
    np.testing.assert_array_equal(table["bmi"], [27.5, np.nan, 30.25, np.nan])
    np.testing.assert_array_equal(table["townsend"], [-3, -1, 2.5, 0])  # negative values that are values
    np.testing.assert_array_equal(table["sleep_duration"], [7, 8, np.nan, np.nan])
    np.testing.assert_array_equal(table["field_99999"], [5, np.nan, np.nan, 9])
    assert texts(table["sex"]) == ["0", "1", "0", "1"] and texts(table["smoking"]) == ["0", "1", None, "2"]
    assert table["alcohol_frequency"].isna().tolist() == [False, False, True, False]
    assert described["sex"]["Levels"] == {"0": "female", "1": "male"} and described["age"]["Units"] == "years"
    assert described["sleep_duration"]["MissingCodes"] == [-1, -10] and described["bmi"]["Group"] == "body"
    assert described["smoking"]["MissingCodes"] == [-3] and described["smoking"]["Kind"] == "ordinal"
    assert described["field_88888_i0"]["Instance"] == 0 and described["site"]["Group"] == "site"
    schema = PhenotypeSchema.fit(table, described)
    kinds = {phenotype.name: phenotype.kind for phenotype in schema.phenotypes}
    assert kinds["sex"] == "binary" and kinds["age"] == "continuous" and kinds["smoking"] == "ordinal"


def test_answers_in_words(tmp_path):
    rows = {
        (31, None): ["Female", "Male", "Female", "Male"],
        (20116, 2): ["Never", "Prefer not to answer", "Current", ""],
        (1160, 2): ["7", "Do not know", "Prefer not to answer", "8"],
        (6138, 2): ["None of the above", "A levels", "O levels", "A levels"],
    }
    table, described = read_ukb_phenotypes(written(tmp_path / "ukb.csv", rows=rows))
    assert texts(table["sex"]) == ["0", "1", "0", "1"] and texts(table["smoking"]) == ["0", None, "2", None]
    np.testing.assert_array_equal(table["sleep_duration"], [7, np.nan, np.nan, 8])
    assert texts(table["field_6138"]) == ["None of the above", "A levels", "O levels", "A levels"]
    assert described["field_6138"]["Kind"] == "categorical"


def test_several_values_of_a_field(tmp_path):
    (tmp_path / "ukb.csv").write_text("eid,4080-2.0,4080-2.1,20002-2.0\n1,120,122,\n2,130,,5\n")
    table, _ = read_ukb_phenotypes(tmp_path / "ukb.csv")
    assert list(table) == ["systolic_a0", "systolic_a1", "field_20002"]
    (tmp_path / "ukb.csv").write_text("eid,p4080_i2_a0,p4080_i2_a1\n1,120,122\n")
    assert list(read_ukb_phenotypes(tmp_path / "ukb.csv")[0]) == ["systolic_a0", "systolic_a1"]


def test_another_visit_people_and_the_dictionary(tmp_path):
    path = written(tmp_path / "ukb.csv")
    table, _ = read_ukb_phenotypes(path, instance=0, people=["1000023", 1000045])
    assert list(table.index) == ["1000023", "1000045"] and list(table["age"]) == [56, 58] and "bmi" not in table
    dictionary = "Path,FieldID,Field,ValueType,Units\n"
    dictionary += "UK Biobank Assessment Centre > Cognitive function > Symbol digit,99999,Digits,Categorical single,\n"
    dictionary += "UK Biobank Assessment Centre > Physical measures,88888,Grip,Continuous,kg\n"
    (tmp_path / "dictionary.csv").write_text(dictionary)
    table, described = read_ukb_phenotypes(path, dictionary=tmp_path / "dictionary.csv")
    assert described["field_99999"]["Group"] == "cognition" and described["field_99999"]["Description"] == "Digits"
    assert texts(table["field_99999"]) == ["5", None, None, "9"]
    assert described["field_88888_i0"]["Units"] == "kg" and described["field_88888_i0"]["Group"] == "body"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "has no column eid"),
        ("eid,age\n1,2\n", "has no field of visit 2"),
        ("eid,21003-3.0\n1,2\n", "has no field of visit 2"),
        ("eid,21003-2.0\n", "has a header but none of the people"),
        ("p31,p21003_i2,p31,eid", "has a header but none of the people"),
        ("eid,21003-2.0\n1,50\n1,51\n", "participant_id must be unique, '1' occurs more than once"),
        ("eid,21003-2.0\n1,50\n,51\n", "every row needs a participant_id"),
        ("eid,21003-2.0\n1,50\n2,51,7\n", "line 3 has more cells than the header's 2"),
        ('eid,21003-2.0\n1,"50\n', "is no table that can be read"),
    ],
)
def test_bad_tables(tmp_path, text, said):
    (tmp_path / "ukb.csv").write_text(text)
    with pytest.raises(ConnectomeError, match="ukb.csv") as error:
        read_ukb_phenotypes(tmp_path / "ukb.csv")
    assert said in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no table at .*nowhere.csv"):
        read_ukb_phenotypes(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("instance", ["2", 2.0, -1, True, None])
def test_visits_are_numbers(tmp_path, instance):
    (tmp_path / "ukb.csv").write_text("eid,21003-2.0\n1000010,60\n")
    with pytest.raises(ConnectomeError, match="expected the visit .instance. as a number such as 2"):
        read_ukb_phenotypes(tmp_path / "ukb.csv", instance=instance)
    assert read_ukb_phenotypes(tmp_path / "ukb.csv", instance=np.int64(2))[0]["age"].tolist() == [60]


def test_numbers_become_words_in_a_later_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("connectome_gnn.readers.ukb_phenotypes.CELLS", 4)
    text = "eid,777-2.0\n" + "".join(f"{n},{n % 3}\n" for n in range(10)) + "10,Prefer not to answer\n11,yes\n12,-3\n"
    (tmp_path / "ukb.csv").write_text(text)
    table, described = read_ukb_phenotypes(tmp_path / "ukb.csv")
    assert texts(table["field_777"]) == ["0", "1", "2"] * 3 + ["0", None, "yes", None]
    assert described["field_777"]["MissingCodes"] == [-3] and len(table) == 13


def test_memory_is_that_of_the_table(tmp_path):
    rng = np.random.default_rng(0)
    names = ["eid", *(f"{25000 + n}-2.0" for n in range(60))]
    values = rng.normal(size=(20_000, 60)).round(3)
    with (tmp_path / "ukb.csv").open("w") as file:
        file.write(",".join(names) + "\n")
        file.writelines(f"{n}," + ",".join(map(str, row)) + "\n" for n, row in enumerate(values.tolist()))
    tracemalloc.start()
    table, _ = read_ukb_phenotypes(tmp_path / "ukb.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(table.to_numpy(), values)
    assert peak < 4 * values.nbytes + 40e6, peak / values.nbytes


def test_a_cohort_of_archives_and_a_table_of_everybody(tmp_path):
    labels = LISTS["ukb_aparc_tian_s1"]
    for eid in IDS[:2]:
        ukb_zip(tmp_path / "bulk", eid, brain(labels, int(eid)))
    path = written(tmp_path / "ukb.csv")
    assert is_ukb_table(path)
    given = {"atlas": "ukb_aparc_tian_s1", "measure": "streamline_count"}
    with pytest.warns(ConnectomeWarning, match="2 of 4 people of .*ukb.csv have no connectome, and are not in the cohort"):
        cohort = convert_cohort(tmp_path / "bulk", tmp_path / "out", participants=path, **given)
    assert list(cohort.ids) == IDS[:2] and cohort.phenotypes["sex"].tolist() == ["0", "1"]
    described = json.loads((tmp_path / "out" / "participants.json").read_text())
    assert described["age"]["Units"] == "years" and described["sex"]["Group"] == "age_sex"
    with pytest.warns(ConnectomeWarning, match="2 of 4 people"):
        again = read_cohort(tmp_path / "bulk", participants=read_ukb_phenotypes(path), **given)
    np.testing.assert_array_equal(again.weights, cohort.weights)
    with pytest.raises(ConnectomeError, match="1 of 2 connectomes in .* have no row"):
        read_cohort(tmp_path / "bulk", participants=read_ukb_phenotypes(path, people=IDS[:1]), **given)

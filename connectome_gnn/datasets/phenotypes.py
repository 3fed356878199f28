"""The open cohorts' tables of phenotypes, as their repositories publish them, as participants tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from connectome_gnn.errors import ConnectomeError

__all__ = ["QUESTIONNAIRES", "STUDIES", "abide", "corr_kki", "lemon", "ucl_parkinson"]

QUESTIONNAIRES = ("CERQ", "COPE", "ERQ", "MARS", "PSQ", "STAI_G_X2", "TEIQue-SF", "TICS")
STUDIES = ("BNU1", "BNU3", "KKI2009", "SWU4")
AGE = {"Description": "age at scan", "Units": "years", "Group": "age_sex"}
SEX = {"Description": "sex", "Levels": {"F": "female", "M": "male"}, "Group": "age_sex"}
Described = tuple[pd.DataFrame, dict[str, Any]]


def ucl_parkinson(tables: Mapping[str, Path]) -> Described:
    """Age, sex as coded upstream, and diagnosis of the people of ucl_parkinson."""
    cells = _read(tables["Participants.csv"], "Participants", "Gender", "Age", "PD")
    diagnosis = cells["PD"].map({"1": "PD", "0": "control"})
    table = pd.DataFrame({"age": _numbers(cells["Age"]), "sex_code": cells["Gender"], "diagnosis": diagnosis})
    levels = {"PD": "Parkinson's disease", "control": "healthy control"}
    undocumented = {
        "Description": "sex as coded upstream; which code is which is not documented",
        "Levels": {"0": "not documented", "1": "not documented"},
        "Group": "age_sex",
    }
    diagnosed = {"Description": "Parkinson's disease or control", "Levels": levels, "Group": "clinical"}
    return _people(table, cells["Participants"]), {"age": AGE, "sex_code": undocumented, "diagnosis": diagnosed}


def lemon(tables: Mapping[str, Path]) -> Described:
    """Age (the middle of a bin of 5 years), sex, body and questionnaires of the people of lemon."""
    cells = _read(tables["MPILemon_Subject_details.csv"], "Subject", "Age", "Sex", "Height", "Weight", "BMI")
    bins = cells["Age"].str.extract(r"(\d+)-(\d+)").astype(float)
    table = pd.DataFrame(
        {
            "age": bins.mean(axis=1, skipna=False),
            "sex": cells["Sex"].str[:1],
            "height_cm": _numbers(cells["Height"]),
            "weight_kg": _numbers(cells["Weight"]),
            "bmi": _numbers(cells["BMI"]).round(2),
        }
    )
    table = _people(table, "sub-" + cells["Subject"].str.zfill(6))
    described: dict[str, Any] = {"age": {**AGE, "Description": "age, midpoint of a 5-year bin"}, "sex": SEX}
    for name, units in (("height_cm", "cm"), ("weight_kg", "kg"), ("bmi", "kg/m2")):
        described[name] = {"Description": name.replace("_", " "), "Units": units, "Group": "body"}
    for questionnaire in QUESTIONNAIRES:
        scores = _read(tables[f"{questionnaire}.csv"])
        scores = scores.set_axis(["person", *(name.replace("\u200e", "") for name in scores.columns[1:])], axis=1).set_index("person")
        for name in map(str, scores):
            table[name] = _numbers(scores[name]).reindex(table.index)
            described[name] = {"Description": name.replace("_", " "), "Units": "score", "Group": "psychology"}
    return table, described


def corr_kki(tables: Mapping[str, Path]) -> Described:
    """Age at the first scan, sex and study of the people of corr_kki; of the studies whose tables are given."""
    parts = []
    for study in STUDIES:
        path = tables.get(f"{study}.csv")
        if path is None:
            continue
        if study == "KKI2009":
            cells = _read(path, "SubjectID", "Age", "Sex").drop_duplicates("SubjectID")
            number, age, sex = cells["SubjectID"], cells["Age"], cells["Sex"]
        else:
            cells = _read(path, "SUBID", "SESSION", "AGE_AT_SCAN_1", "SEX")
            cells = cells[cells["SESSION"] == "Baseline"].drop_duplicates("SUBID")
            number, age, sex = cells["SUBID"].str.zfill(7), cells["AGE_AT_SCAN_1"], cells["SEX"].map({"1": "F", "2": "M"})
        parts.append(_people(pd.DataFrame({"age": _numbers(age), "sex": sex, "site": study}), f"{study}_" + number))
    site = {"Description": "study", "Levels": {study: study for study in STUDIES}, "Group": "site"}
    return pd.concat(parts), {"age": AGE, "sex": SEX, "site": site}


def abide(tables: Mapping[str, Path]) -> Described:
    """Age, sex, diagnosis and site of the people of abide."""
    cells = _read(tables["demographic_table.tsv"], "Dataset", "Imaging site", "Subject identifier", "Age", "Sex", "Cohort")
    # Files are named ABIDE1_<site>_<number>, the site written without its underscore.
    site = cells["Imaging site"].str.replace("_", "")
    people = cells["Dataset"].map({"ABIDE_I": "ABIDE1", "ABIDE_II": "ABIDE2"}) + "_" + site + "_" + cells["Subject identifier"]
    table = pd.DataFrame(
        {
            "age": _numbers(cells["Age"]),
            "sex": cells["Sex"].str[:1].str.upper(),
            "diagnosis": cells["Cohort"].map({"ASD": "ASD", "HC": "control"}),
            "site": cells["Imaging site"],
        }
    )
    diagnosis = {"ASD": "autism spectrum disorder", "control": "healthy control"}
    sites = {name: name for name in sorted(cells["Imaging site"].unique())}
    return _people(table, people), {
        "age": AGE,
        "sex": SEX,
        "diagnosis": {"Description": "autism spectrum disorder or control", "Levels": diagnosis, "Group": "clinical"},
        "site": {"Description": "imaging site", "Levels": sites, "Group": "site"},
    }


def _read(path: Path, *needed: str) -> pd.DataFrame:
    """A table as text, by its ending separated by commas or tabs, blanks around cells gone; refused where a column is missing."""
    try:
        cells = pd.read_csv(
            path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, encoding="utf-8-sig", keep_default_na=False, skipinitialspace=True
        )
    except (ValueError, OSError) as error:
        raise ConnectomeError(f"{path} is no table that can be read ({error}); remove it, and fetch the cohort again") from error
    absent = [name for name in needed if name not in cells]
    if absent:
        raise ConnectomeError(f"{path} has no column {absent[0]!r}; remove it, and fetch the cohort again")
    return cells.apply(lambda column: column.str.strip())


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _people(table: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    return table.set_axis(pd.Index(ids.to_numpy(object), name="participant_id", dtype=object), axis=0)

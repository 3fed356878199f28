"""The open cohorts: where their files are published, at which commit, under which licence, and how their phenotypes are read.

Files are checked by their sha256 where it is known, and the weights of the people of ucl_parkinson, lemon and corr_kki by those of every
person (``checks.json``). Of abide no file was at hand when this was written: its matrices are read as those of lemon, which come from the
same laboratory in the same form, and only their number and size are checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from connectome_gnn.datasets import phenotypes
from connectome_gnn.datasets.download import RawFile

__all__ = ["COHORTS", "OpenCohort"]

GITHUB = "https://raw.githubusercontent.com"
NODE_PERSISTENCE = f"{GITHUB}/asamallab/NodePersistence_PH_FCM/dfc06402e6a99ba5b777cb79fd890d80af6f6e53/Data/MPI_LEMON"
LEMON = "https://ftp.gwdg.de/pub/misc/MPI-Leipzig_Mind-Brain-Body-LEMON/Behavioural_Data_MPILMBB_LEMON/Emotion_and_Personality_Test_Battery_LEMON"


@dataclass(frozen=True)
class OpenCohort:
    """What is known of an open cohort.

    Attributes
    ----------
    name, title : short and long.
    licence, cite : under which its data may be used, and what to cite.
    repository, commit : where the connectomes are published.
    path : of a person's file there.
    raw : of the same file in the cache and in mirrors.
    key : what the paths have of a person, by participant_id; several words for several places.
    format, measure, signed, atlas, first, scale : how the files are read, and what their weights are multiplied by.
    weights : what a weight is, in words.
    table_urls : the tables of phenotypes, by their names in the cache.
    phenotypes : reads them.
    precision : type of number that the people's checksums are of.
    """

    name: str
    title: str
    licence: str
    cite: str
    repository: str
    commit: str
    path: str
    raw: str
    key: Callable[[str], tuple[str, ...]]
    format: str
    measure: str
    signed: bool
    atlas: str
    weights: str
    table_urls: Mapping[str, tuple[str, ...]]
    phenotypes: Callable[[Mapping[str, Path]], tuple[pd.DataFrame, dict[str, Any]]]
    first: int | None = None
    scale: float = 1.0
    precision: str = "<f2"

    @property
    def people(self) -> dict[str, str] | None:
        """Beginning of the sha256 of everybody's weights, by participant_id in the cohort's order; None where it is not known."""
        return _checks().get(self.name, {}).get("people")

    def connectome(self, person: str) -> RawFile:
        """A person's file."""
        words = self.key(person)
        name = self.raw.format(*words)
        return RawFile(name, (f"{GITHUB}/{self.repository}/{self.commit}/{self.path.format(*words)}",), self._sha256(name))

    def tables(self, people: Sequence[str]) -> list[RawFile]:
        """The tables that hold the phenotypes of some people (of everybody where none are given)."""
        studies = {person.partition("_")[0] + ".csv" for person in people}
        wanted = studies & set(self.table_urls) or set(self.table_urls)
        return [RawFile(name, urls, self._sha256(name)) for name, urls in self.table_urls.items() if name in wanted]

    def info(self) -> dict[str, str]:
        """What ``cohort.json`` says of where it comes from."""
        source = {"url": f"https://github.com/{self.repository}", "commit": self.commit}
        return {"weights": self.weights, "atlas": self.atlas, "licence": self.licence, "cite": self.cite, **source}

    def _sha256(self, name: str) -> str | None:
        return _checks().get(self.name, {}).get("files", {}).get(name)


@cache
def _checks() -> dict[str, Any]:
    return json.loads((files(__package__) / "checks.json").read_text())


def _itself(person: str) -> tuple[str, ...]:
    return (person,)


def _study_first(person: str) -> tuple[str, ...]:
    return (person, person.partition("_")[0])


def _lemon_number(person: str) -> tuple[str, ...]:
    return (person.removeprefix("sub-").lstrip("0"),)


def _at(repository: str, commit: str, *paths: str) -> dict[str, tuple[str, ...]]:
    return {path.rpartition("/")[2]: (f"{GITHUB}/{repository}/{commit}/{path}",) for path in paths}


COHORTS: dict[str, OpenCohort] = {
    cohort.name: cohort
    for cohort in (
        OpenCohort(
            name="ucl_parkinson",
            title="134 structural connectomes, 100 people with Parkinson's disease and 34 controls",
            licence="GPL-3.0 (repository licence); README: free to use, please cite",
            cite="Zarkali et al. 2020, NeuroImage: Clinical 28:102470",
            repository="AngelikaZa/ConnectomeLength",
            commit="4d5c61394a5f6c0df6d06b7e875189d05317e283",
            path="Data/Connectomes/{0}/connectome_norm.csv",
            raw="{0}/connectome_norm.csv",
            key=_itself,
            format="matrices",
            measure="sift2_normalised",
            signed=False,
            atlas="mrtrix_hcpmmp1_ordered",
            weights="streamline weight / subject total x 1e6",
            scale=1e6,
            table_urls=_at("AngelikaZa/ConnectomeLength", "4d5c61394a5f6c0df6d06b7e875189d05317e283", "Data/Participants.csv"),
            phenotypes=phenotypes.ucl_parkinson,
        ),
        OpenCohort(
            name="lemon",
            title="225 functional connectomes of healthy adults (MPI-Leipzig LEMON)",
            licence="MIT (matrices), LEMON public domain (PDDL)",
            cite="Babayan et al. 2019, Sci Data 6:180308; Yadav et al. 2023, Front Aging Neurosci 15:1120846; Schaefer et al. 2018",
            repository="asamallab/Curvature-FCN-Aging",
            commit="bdb25bb8e052388b3ec5c1ceec2299e702490c96",
            path="DATA/FCM/fcm_sub_{0}.txt",
            raw="fcm_sub_{0}.txt",
            key=_lemon_number,
            format="edges",
            measure="pearson",
            signed=True,
            atlas="schaefer200",
            first=0,
            weights="Pearson correlation of regional resting-state series",
            # The questionnaires are in a folder of the repository, and in LEMON's own archive: whichever has the file that was checked.
            table_urls={
                "MPILemon_Subject_details.csv": (f"{NODE_PERSISTENCE}/MPILemon_Subject_details.csv",),
                **{
                    f"{name}.csv": (f"{NODE_PERSISTENCE}/BehavioralRelevance/{name}.csv", f"{LEMON}/{name}.csv")
                    for name in phenotypes.QUESTIONNAIRES
                },
            },
            phenotypes=phenotypes.lemon,
        ),
        OpenCohort(
            name="corr_kki",
            title="337 structural connectomes of young adults, four studies, one pipeline",
            licence="CoRR/INDI CC BY-NC; KKI2009 public (NITRC)",
            cite="Zuo et al. 2014, Sci Data 1:140049; Landman et al. 2011, NeuroImage 54:2854; Kiar et al. 2018, bioRxiv 188706",
            repository="neurodata/semipar-cci",
            commit="741919d0cfcdb796a87dafcab79aa1dab609f5bf",
            path="Data/desikan/{1}/{0}_1_DTI_desikan.graphml",
            raw="{0}_1_DTI_desikan.graphml",
            key=_study_first,
            format="graphml",
            measure="streamline_count",
            signed=False,
            atlas="ndmg_desikan70",
            first=1,
            weights="streamline count",
            table_urls=_at(
                "neurodata/semipar-cci",
                "741919d0cfcdb796a87dafcab79aa1dab609f5bf",
                *(f"Data/covariates/{study}.csv" for study in phenotypes.STUDIES),
            ),
            phenotypes=phenotypes.corr_kki,
            precision="<f4",
        ),
        OpenCohort(
            name="abide",
            title="820 functional connectomes of ABIDE-I, 395 people with autism spectrum disorder and 425 controls, 17 sites",
            licence="CC BY-NC-SA (ABIDE-I, INDI); non-commercial use",
            cite="Di Martino et al. 2014, Mol Psychiatry 19:659; Elumalai et al. 2021, bioRxiv 2021.11.28.470231; Schaefer et al. 2018",
            repository="asamallab/Curvature-FCN-ASD",
            commit="05a427d1c2f7ea1cdfe5ea5d38c2db2070c317fa",
            path="FCM/{0}.txt",
            raw="{0}.txt",
            key=_itself,
            format="edges",
            measure="pearson",
            signed=True,
            atlas="schaefer200",
            first=0,
            weights="Pearson correlation of regional resting-state series",
            table_urls=_at("asamallab/Curvature-FCN-ASD", "7ae45d81adf063dc6557094f92044bfde9dd6054", "demographic_table.tsv"),
            phenotypes=phenotypes.abide,
        ),
    )
}
"""Every open cohort, by its name."""

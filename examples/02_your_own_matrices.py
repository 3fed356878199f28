"""How do one matrix a person and a table of phenotypes become a cohort, and new people?

Writes a small study as another tool would have left it (one .csv a person, participants.tsv, atlas.tsv), reads it, fits, and
generates connectomes for two people who were never scanned.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import connectome_gnn as cg
from connectome_gnn.edges import to_matrices

study = cg.simulate_cohort(n_people=120, n_regions=24, n_phenotypes=8, seed=3)
folder = Path(tempfile.mkdtemp())
(folder / "matrices").mkdir()
for person, weights in zip(study.ids, study.weights, strict=True):
    np.savetxt(folder / "matrices" / f"{person}.csv", to_matrices(weights), delimiter=",", fmt="%g")
study.phenotypes.to_csv(folder / "participants.tsv", sep="\t", na_rep="n/a")
study.atlas.save(folder / "atlas.tsv")

cohort = cg.read_cohort(
    folder / "matrices", participants=folder / "participants.tsv", atlas=folder / "atlas.tsv", measure="streamline_count"
)
print(cohort)

model = cg.ConnectomeGenerator(seed=0).fit(cohort)
newcomers = pd.DataFrame(
    {column: cohort.phenotypes[column].iloc[:2].to_numpy() for column in cohort.phenotypes},
    index=pd.Index(["new-01", "new-02"], name="participant_id"),
).assign(age=[50.0, 75.0])
people = model.sample(newcomers, n=3, seed=0)
print(people.phenotypes[["sample", "age", "extrapolated"]])
print("strength of the first region:", people.dense()[:, 0].sum(1).round())

"""Planted case of privacy: connectomes of fresh people, who leak nothing of training people, study after study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome_gnn import privacy_report, simulate_cohort

SCORES = (
    "closest_record_share",
    "nearest_neighbour_distance_ratio",
    "authenticity",
    "membership_auc_distance",
    "reidentification_top1",
)
POPULATION = 2600


def calibration(repeats: int, sizes: tuple[int, int, int] = (150, 100, 150), n_bootstrap: int = 200) -> pd.DataFrame:
    """Studies of fresh people, drawn anew from one population each time.

    Parameters
    ----------
    sizes : numbers of training, held-out and generated people.

    Returns
    -------
    studies : a row a study and score: score, value, low, high, p, and hit, whether the interval holds what the score is on average (.5
        where that is known).
    """
    population = simulate_cohort(POPULATION, 14, 8, seed=3)
    rng = np.random.default_rng(1)
    rows = []
    for repeat in range(repeats):
        train, holdout, generated = (population.take(part) for part in np.split(rng.permutation(POPULATION), np.cumsum(sizes))[:3])
        found = privacy_report(generated, train, holdout, n_bootstrap=n_bootstrap, n_draws=20, seed=repeat).to_dict()
        rows += [{"score": score, **{key: found[score][key] for key in ("value", "low", "high", "p")}} for score in SCORES]
    table = pd.DataFrame(rows)
    known = {"closest_record_share": 0.5, "membership_auc_distance": 0.5}
    average = table.groupby("score")["value"].mean()
    table["truth"] = table["score"].map(lambda score: known.get(score, average[score]))
    table["hit"] = (table["low"] <= table["truth"]) & (table["truth"] <= table["high"])
    return table

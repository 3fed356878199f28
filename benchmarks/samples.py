"""Can generated people be told from real held-out people, and what do they give away? Our samplers and other ways to draw, side by side.

python benchmarks/samples.py [--cohorts NAME ...] [--seeds N] [--small] [--rivals fast|all|none] [--shadows N]

One generator is fitted to each part of a cohort; its residuals are then drawn in every way, so that nothing differs but the drawing. Other
models (``--rivals``) are fitted and drawn as they are, on the first split. Real cohorts need CONNECTOME_GNN_DATA. Splits: 80 % of the
people to fit and 20 % held out, for each seed; and halves, which are harder: fewer to learn from, more to judge by. ``--small`` takes small
simulated cohorts, one split and no intervals, to see that everything works. What is not measured again keeps its place in
results/samples.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn import Cohort, ConnectomeError, ConnectomeGenerator, ConnectomeWarning, evaluate, privacy_report, simulate_cohort
from connectome_gnn.generation.comparison import GENERATOR, default_models
from connectome_gnn.generation.model import TrainingData
from connectome_gnn.generation.people_sampler import learn_sampler
from connectome_gnn.generation.recipe_choice import SAMPLERS, Sampler
from connectome_gnn.generation.recombination import SAMPLING_RIVALS, PeopleSampler, Recipe

REAL = ("lemon", "ucl_parkinson", "corr_kki")
SIMULATED: dict[str, dict[str, Any]] = {
    "simulated counts": {"n_people": 1000, "n_regions": 64, "n_phenotypes": 40, "seed": 21},
    "simulated correlations": {"n_people": 500, "n_regions": 64, "n_phenotypes": 20, "seed": 22, "measure": "pearson"},
}
SAMPLES = 5
PEOPLE = ("two_sample_auc_components", "two_sample_auc_topology", "spread_ratio", "edge_covariance_r", "zeros_difference", "coverage_90")
PRIVACY = ("closest_record_share", "authenticity", "membership_auc_distance", "membership_auc_shadow", "reidentification_top1")
COPULA = "factor copula (the model of log_prob)"
OURS = {"auto": "ours", "gaussian": "ours, no training people held", "recombined": "recombination alone"}


class _Drawing(ConnectomeGenerator):
    """A generator whose way of drawing can be changed after it was fitted."""

    people: PeopleSampler | None = None

    def _fit_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> None:
        super()._fit_residual(data, residual)
        self.people_fitted, self.mean_components = data.cohort, data.scores - residual

    def after(self, how: Sampler | Recipe) -> pd.DataFrame:
        """Draw like this from now on; what was chosen from, and what was chosen."""
        multiples = self._multiples(self.people_fitted.phenotypes)
        self.people, choice = learn_sampler(
            self.residual, self.space, self.people_fitted, self.mean_components, sampler=how, multiples=multiples, seed=self.seed
        )
        return choice

    def _draw(self, profiles: pd.DataFrame, generator: np.random.Generator) -> NDArray[np.float32]:
        multiples = self._multiples(profiles)
        if self.people is None:
            return self.residual.draw(self._deviation(profiles), self.space.kept, generator, multiples)
        return self.residual.values(self.people.draw(len(profiles), generator), self._deviation(profiles), self.space.kept, multiples)


def main() -> None:
    """Measure, write results/samples.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", choices=[*SIMULATED, *REAL], default=[*SIMULATED, *REAL])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rivals", choices=("fast", "all", "none"), default="fast")
    parser.add_argument("--shadows", type=int, default=0, help="generators fitted for the shadow-model attack on ours; 0 for none")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    record = {key: value for key, value in harness.known("samples").items() if key != "machine"}
    for name in options.cohorts:
        cohort = _cohort(name, options.small)
        if cohort is None:
            continue
        splits = [(0.8, seed) for seed in range(1 if options.small else options.seeds)] + ([] if options.small else [(0.5, 0)])
        print(f"{name}: {cohort.n_people} people", file=sys.stderr, flush=True)
        record[name] = [
            of_split(cohort, share, seed, "none" if place else options.rivals, 0 if place else options.shadows, 0 if options.small else 500)
            for place, (share, seed) in enumerate(splits)
        ]
        harness.write("samples", record)
    print(summary(record))


def of_split(cohort: Cohort, share: float, seed: int, rivals: str, shadows: int, n_bootstrap: int) -> dict[str, Any]:
    """Scores of every way to draw people, for one split of a cohort."""
    train, test = cohort.split(share, seed=seed)
    model = _Drawing(seed=seed, network=None).fit(train)
    table: dict[str, Any] = {}

    def add(name: str, drawing: Any, **more: Any) -> None:
        start = time.perf_counter()
        people = drawing.sample(test.phenotypes, n=SAMPLES, seed=1)
        rate = len(people) / (time.perf_counter() - start)
        scores = evaluate(people, test, reference=train, parts=list(PEOPLE), n_bootstrap=n_bootstrap, n_permutations=0, n_jobs=1)
        attacked: dict[str, Any] = {}
        if name == OURS["auto"] and shadows:
            attacked = {"make_generator": lambda s: ConnectomeGenerator(seed=s, network=None), "n_shadows": shadows}
        leaks = privacy_report(people, train, test, n_bootstrap=n_bootstrap, **attacked).to_dict()
        table[name] = {**scores.to_dict(), **{score: leaks[score] for score in PRIVACY}, "people_a_second": rate, **more}
        print(f"  {share} {seed} {name}", file=sys.stderr, flush=True)

    add(COPULA, model, holds_training_people=False)
    ways: dict[str, Sampler | Recipe] = {OURS[sampler]: sampler for sampler in SAMPLERS} | SAMPLING_RIVALS
    for name, how in ways.items():
        if name == "three people recombined":  # the recipe of "recombination alone"
            continue
        choice = model.after(how)
        chosen = choice[choice["chosen"]].iloc[0].to_dict()
        recipe = {key: value.item() if isinstance(value, np.generic) else value for key, value in chosen.items()}
        holds = model.people is not None and model.people.holds_training_people
        add(name, model, holds_training_people=holds, recipe={key: value for key, value in recipe.items() if value == value})
    if rivals != "none":
        for name, rival in default_models(seed, rivals).items():
            if name != GENERATOR:
                try:
                    add(name, rival.fit(train), holds_training_people=rival.holds_training_people)
                except ConnectomeError as error:
                    print(f"  {name} left out: {error}", file=sys.stderr, flush=True)
    return {"share": share, "seed": seed, "train": len(train), "test": len(test), "regions": cohort.n_regions, "samplers": table}


def summary(record: Mapping[str, Any]) -> str:
    """The tables in Markdown: means over seeds, an interval where there is one split."""
    blocks = []
    for name, splits in record.items():
        if name == "machine":
            continue
        for share in sorted({split["share"] for split in splits}, reverse=True):
            some = [split for split in splits if split["share"] == share]
            fitted, held = some[0]["train"], some[0]["test"]
            blocks.append(f"{name}: {fitted} people to fit, {held} held out, {len(some)} split(s)\n\n{_table(some)}")
    return "\n\n".join(blocks)


def _table(splits: list[Mapping[str, Any]]) -> str:
    scores = [score for score in (*PEOPLE, *PRIVACY) if any(_mean(splits, name, score) is not None for name in splits[0]["samplers"])]
    lines = ["| drawn by | " + " | ".join(scores) + " | holds people | people a second |", "|" + "---|" * (len(scores) + 3)]
    for name, of in splits[0]["samplers"].items():
        cells = [_cell(splits, name, score) for score in scores]
        rate = _average([split["samplers"][name]["people_a_second"] for split in splits if name in split["samplers"]])
        label = f"**{name}**" if name == OURS["auto"] else name
        lines.append(f"| {label} | {' | '.join(cells)} | {'yes' if of['holds_training_people'] else 'no'} | {rate:,.0f} |")
    beside = [_number(_mean(splits, COPULA, score, "real_vs_real")) for score in scores]
    return "\n".join([*lines, "| *real people, halves* | " + " | ".join(beside) + " | | |"])


def _cell(splits: list[Mapping[str, Any]], name: str, score: str) -> str:
    value = _number(_mean(splits, name, score))
    entry = splits[0]["samplers"][name][score]
    alone = len([split for split in splits if name in split["samplers"]]) == 1
    if value and alone and score.startswith("two_sample") and entry.get("low") is not None:
        return f"{value} ({_number(entry['low'])} to {_number(entry['high'])})"
    return value


def _mean(splits: list[Mapping[str, Any]], name: str, score: str, key: str = "value") -> float | None:
    found = [split["samplers"][name][score].get(key) for split in splits if name in split["samplers"]]
    numbers = [number for number in found if number is not None]
    return _average(numbers) if numbers else None


def _average(numbers: list[float]) -> float:
    return float(np.mean(numbers))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _cohort(name: str, small: bool) -> Cohort | None:
    if name in SIMULATED:
        arguments = SIMULATED[name]
        return simulate_cohort(**({**arguments, "n_people": 150, "n_regions": 20} if small else arguments))
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        print(f"{name} skipped: CONNECTOME_GNN_DATA names no folder", file=sys.stderr)
        return None
    return Cohort.load(Path(data) / name)


if __name__ == "__main__":
    main()

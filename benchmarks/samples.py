"""Can generated people be told from real held-out people, and what do they give away? Ours, other ways to draw, and other models.

python benchmarks/samples.py [--quick] [--cohorts NAME ...] [--seeds N] [--rivals slow|fast|none] [--shadows N] [--no-speed]

One generator is fitted to each part of a cohort; its residuals are then drawn in every way, so that nothing differs but the drawing. Rival
models are fitted and drawn as they are: those that know the mean alone get the same low-rank Gaussian copula as ours. Samples drawn by a
recipe have no density of their own and so no log-likelihood: it is the copula's. 80 % of the people to fit and 20 % held out, for each
seed; other ways to draw, slow rivals and shadow models on the first seed alone. Of more than 250 held-out people 250 are judged. Then
people a second at 200 regions, for one and for two threads. Real cohorts need CONNECTOME_GNN_DATA. ``--quick`` takes small simulated
cohorts, one split and no intervals, to see that everything works, and prints without writing. A cohort that is done is written at once;
what is not measured again keeps its place in results/samples.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray

from connectome_gnn import Cohort, ConnectomeError, ConnectomeGenerator, ConnectomeWarning, evaluate, privacy_report, simulate_cohort
from connectome_gnn.generation import model as model_room
from connectome_gnn.generation.model import ConnectomeModel
from connectome_gnn.generation.people_sampler import learn_sampler
from connectome_gnn.generation.recipe_choice import SAMPLERS, Sampler, recipes
from connectome_gnn.generation.recombination import COPULA as COPULA_RECIPE
from connectome_gnn.generation.recombination import SAMPLING_RIVALS, Recipe
from connectome_gnn.generation.residual import LeftOut, ResidualModel
from connectome_gnn.generation.rivals import ALL_RIVALS
from connectome_gnn.generation.training_data import TrainingData

REAL = ("lemon", "ucl_parkinson", "corr_kki")
SIMULATED: dict[str, dict[str, Any]] = {
    "simulated, 500 people": {"n_people": 625, "n_regions": 64, "n_phenotypes": 40, "seed": 21},
    "simulated correlations": {"n_people": 500, "n_regions": 64, "n_phenotypes": 20, "seed": 22, "measure": "pearson"},
    "simulated, 3,000 people": {"n_people": 3750, "n_regions": 64, "n_phenotypes": 40, "seed": 23},
}
SPEED: dict[str, dict[str, Any]] = {
    "counts": {"n_people": 600, "n_regions": 200, "n_phenotypes": 20, "seed": 24},
    "correlations": {"n_people": 600, "n_regions": 200, "n_phenotypes": 20, "seed": 25, "measure": "pearson"},
}
SAMPLES = 5
FIRST_SEED = 20
MOST_JUDGED = 250
PEOPLE_DRAWN = 2048
SHARED = 1.1
"""By what factors are stronger where speed is measured: a typical value of ``"auto"``."""
PEOPLE = (
    "two_sample_auc_components",
    "two_sample_auc_topology",
    "spread_ratio",
    "edge_covariance_r",
    "zeros_difference",
    "coverage_90",
    "ks_edges",
    "log_likelihood",
)
PRIVACY = (
    "closest_record_share",
    "nearest_neighbour_distance_ratio",
    "authenticity",
    "membership_auc_distance",
    "membership_auc_likelihood",
    "membership_auc_shadow",
    "reidentification_top1",
)
SHOWN = {
    "two_sample_auc_components": "AUC, components",
    "two_sample_auc_topology": "AUC, topology",
    "spread_ratio": "spread ratio",
    "edge_covariance_r": "edge covariance r",
    "coverage_90": "90 % intervals hold",
    "log_likelihood": "nats an edge",
    "membership_auc_distance": "membership AUC, by distance",
    "authenticity": "authenticity",
}
"""Scores of the README's table; results/samples.json has the others."""
OURS: dict[str, Sampler] = {f'ours: "{sampler}"': sampler for sampler in SAMPLERS}
DEFAULT, COPULA = (f'ours: "{sampler}"' for sampler in ("auto", "copula"))
SAME = "three people recombined"
"""The recipe of ``"recombined"``, which is not drawn twice."""
FAST, SLOW = ("Gaussian on components", "kernel ridge"), ("flow matching", "conditional VAE")


class _Drawing(ConnectomeGenerator):
    """A generator whose way of drawing can be changed after it was fitted."""

    def _learn_residual(self, data: TrainingData, residual: NDArray[np.float64]) -> tuple[ResidualModel, tuple[LeftOut, ...]]:
        learned = super()._learn_residual(data, residual)
        self.left_out, self.people_fitted, self.mean_components = learned[1], data.cohort, data.scores - residual
        return learned

    def after(self, how: Sampler | Recipe) -> None:
        """Draw like this from now on."""
        self.people, self.recipes = learn_sampler(
            self.residual,
            self.left_out,
            self.space,
            self.people_fitted,
            self.mean_components,
            sampler=how,
            multiples=self._multiples(self.people_fitted.phenotypes),
            whole=self.whole,
            seed=self.seed,
        )


def main() -> None:
    """Measure, write results/samples.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="*", choices=[*SIMULATED, *REAL], default=[*REAL, *SIMULATED])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rivals", choices=("slow", "fast", "none"), default="slow")
    parser.add_argument("--shadows", type=int, default=0, help="generators fitted for the shadow-model attack on the default; 0 for none")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    record: dict[str, Any] = {"cohorts": {}, "speed": {}}
    if not options.quick:
        record |= {key: value for key, value in harness.known("samples").items() if key in record}
    names = [name for name in options.cohorts if not options.quick or name in list(SIMULATED)[:2]]
    for name in names:
        cohort = _cohort(name, options.quick)
        if cohort is None:
            continue
        _say(f"{name}: {cohort.n_people} people")
        splits = []
        for place in range(1 if options.quick else options.seeds):
            rivals = () if options.rivals == "none" else FAST if options.rivals == "fast" or place else FAST + SLOW
            drawings = SAMPLING_RIVALS if place == 0 else {}
            splits.append(of_split(cohort, FIRST_SEED + place, rivals, drawings, 0 if place else options.shadows))
            record["cohorts"][name] = splits
            _write(record, options.quick)
    if not options.no_speed:
        for kind, arguments in SPEED.items():
            record["speed"][kind] = speed(simulate_cohort(**(arguments | ({"n_people": 60, "n_regions": 30} if options.quick else {}))))
            _write(record, options.quick)
    print(summary(record))


def of_split(
    cohort: Cohort, seed: int, rivals: Sequence[str] = (), drawings: Mapping[str, Recipe] | None = None, shadows: int = 0
) -> dict[str, Any]:
    """Scores of every way to draw people, for one split of a cohort."""
    train, test = cohort.split(0.8, seed=seed)
    if test.n_people > MOST_JUDGED:
        test = test.take(np.sort(np.random.default_rng(seed).choice(test.n_people, MOST_JUDGED, replace=False)))
    table: dict[str, Any] = {}

    def add(name: str, drawing: ConnectomeModel, fitted: float, *, density: bool, **more: Any) -> None:
        people = drawing.sample(test.phenotypes, n=SAMPLES, seed=1)
        log_prob = drawing.log_prob if density else None
        scores = evaluate(people, test, reference=train, parts=list(PEOPLE), log_prob=log_prob, n_bootstrap=0, n_permutations=0, n_jobs=2)
        attacked: dict[str, Any] = {"log_prob": log_prob} if name == COPULA else {}
        if shadows and name == DEFAULT:
            attacked |= {"make_generator": lambda s: ConnectomeGenerator(s, network=None), "n_shadows": shadows}
        leaks = privacy_report(people, train, test, n_bootstrap=0, **attacked).to_dict()
        table[name] = {
            **{score: _plain(scores.to_dict()[score], "value", "real_vs_real") for score in PEOPLE},
            **{score: _plain(leaks[score], "value", "null") for score in PRIVACY},
            "seconds_to_fit": fitted,
            **more,
        }
        _say(f"  {seed} {name}")

    start = time.perf_counter()
    model = _Drawing(seed=seed, network=None, sampler="copula").fit(train)
    fitted = time.perf_counter() - start
    ways: dict[str, Sampler | Recipe] = {**OURS, **{name: recipe for name, recipe in (drawings or {}).items() if name != SAME}}
    for name, how in ways.items():
        start = time.perf_counter()
        model.after(how)
        holds = model.people is not None and model.people.holds_training_people
        recipe = asdict(COPULA_RECIPE if model.people is None else model.people.recipe)
        told = None if model.recipes is None else [{key: _json(value) for key, value in row.items()} for _, row in model.recipes.iterrows()]
        seconds = fitted + time.perf_counter() - start
        add(name, model, seconds, density=name == COPULA, holds_training_people=holds, recipe=recipe, chosen_from=told)
    for name in rivals:
        start = time.perf_counter()
        try:
            rival = ALL_RIVALS[name](seed).fit(train)
        except ConnectomeError as error:
            _say(f"  {name} left out: {error}")
            continue
        add(name, rival, time.perf_counter() - start, density=True, holds_training_people=rival.holds_training_people)
    return {"seed": seed, "train": len(train), "test": len(test), "regions": cohort.n_regions, "samplers": table}


def speed(cohort: Cohort) -> dict[str, Any]:
    """People a second of every way to draw, for one and for two threads: the faster of two draws, and the machine's load before it."""
    model = _Drawing(seed=0, network=None, sampler="copula").fit(cohort)
    ours = {f"ours: {_said(recipe)}": replace(recipe, shared=SHARED) for recipe in recipes(cohort.signed)}
    ways = ours | {name: SAMPLING_RIVALS[name] for name in ("full-covariance Gaussian", SAME)}
    table = cohort.phenotypes.iloc[:PEOPLE_DRAWN]
    n = -(-PEOPLE_DRAWN // len(table))
    rates: dict[str, Any] = {}
    most = model_room.MOST_THREADS
    for name, recipe in ways.items():
        model.after(recipe)
        rates[name] = {}
        for threads in (1, 2):
            model_room.MOST_THREADS = threads
            load, seconds = os.getloadavg()[0], []
            for _ in range(2):
                start, own = time.perf_counter(), time.process_time()
                model.sample(table, n=n, seed=1)
                seconds.append((time.perf_counter() - start, time.process_time() - own))
            model_room.MOST_THREADS = most
            wall, cpu = (n * len(table) / min(some) for some in zip(*seconds, strict=True))
            rates[name][str(threads)] = {"people_a_second": wall, "people_a_second_of_a_core": cpu, "load_before": load}
        _say(f"  {cohort.n_regions} regions, {name}: {rates[name]['2']['people_a_second']:,.0f} people a second on two threads")
    return {"regions": cohort.n_regions, "people": cohort.n_people, "samplers": rates}


def _said(recipe: Recipe) -> str:
    """A way to draw around the copula's factors, in words."""
    if recipe.noise == "series":
        return f"noise of series of {recipe.points} points"
    return "independent noise" if recipe.own == 1 else f"noise of regions, {recipe.own:.0%} of it each edge's own"


def summary(record: Mapping[str, Any]) -> str:
    """The tables in Markdown: means over the splits in which a model took part."""
    blocks = []
    for name, splits in record["cohorts"].items():
        fitted, held = splits[0]["train"], splits[0]["test"]
        blocks.append(f"{name}: {fitted} people to fit, {held} held out, {len(splits)} split(s)\n\n{_table(splits)}")
    for kind, of in record["speed"].items():
        lines = [f"| {kind}, {of['regions']} regions | people a second, 1 thread | 2 threads | a core's own time |", "|---|---|---|---|"]
        for name, rates in of["samplers"].items():
            one, two = rates["1"]["people_a_second"], rates["2"]["people_a_second"]
            lines.append(f"| {name} | {one:,.0f} | {two:,.0f} | {rates['1']['people_a_second_of_a_core']:,.0f} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _table(splits: list[Mapping[str, Any]]) -> str:
    names = list(splits[0]["samplers"])
    scores = [score for score in SHOWN if any(_mean(splits, name, score) is not None for name in names)]
    lines = ["| drawn by | " + " | ".join(SHOWN[score] for score in scores) + " | holds people |", "|" + "---|" * (len(scores) + 2)]
    for name in names:
        cells = [_number(_mean(splits, name, score)) for score in scores]
        holds = any(split["samplers"][name]["holds_training_people"] for split in splits if name in split["samplers"])
        label = f"**{name}**" if name.startswith("ours") else name
        lines.append(f"| {label} | {' | '.join(cells)} | {'yes' if holds else 'no'} |")
    beside = [_number(_mean(splits, DEFAULT, score, "real_vs_real")) for score in scores]
    return "\n".join([*lines, "| *real people, halves* | " + " | ".join(beside) + " | |"])


def _mean(splits: list[Mapping[str, Any]], name: str, score: str, key: str = "value") -> float | None:
    found = [split["samplers"][name][score].get(key) for split in splits if name in split["samplers"]]
    numbers = [number for number in found if number is not None]
    return float(np.mean(numbers)) if numbers else None


def _plain(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: entry.get(key) for key in keys}


def _json(value: Any) -> Any:
    """A plain number or text; None for what is undefined."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if value != value else value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(record: dict[str, Any], quick: bool) -> None:
    if not quick:
        harness.write("samples", record)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _cohort(name: str, quick: bool) -> Cohort | None:
    if name in SIMULATED:
        arguments = SIMULATED[name]
        return simulate_cohort(**({**arguments, "n_people": 300, "n_regions": 30} if quick else arguments))
    data = os.environ.get("CONNECTOME_GNN_DATA")
    if not data:
        print(f"{name} skipped: CONNECTOME_GNN_DATA names no folder", file=sys.stderr)
        return None
    return Cohort.load(Path(data) / name)


if __name__ == "__main__":
    main()

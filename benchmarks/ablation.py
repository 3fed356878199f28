"""What each part of the generator is worth on held-out people: the whole one against itself with one part taken away.

python benchmarks/ablation.py [--quick] [--cohorts NAME ...]

Simulated cohorts of 1,000 to 3,000 people (as they come; effects that spread along the backbone; non-linear effects), 80/20, two seeds;
real cohorts in five folds (need CONNECTOME_GNN_DATA). Every variant sees the same people; differences from the whole generator have
paired bootstrap intervals over people. Cohorts that are not measured again keep their place in results/ablation.json.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn import Cohort, ConnectomeGenerator, ConnectomeWarning, simulate_cohort
from connectome_gnn.generation import network as network_room
from connectome_gnn.generation import network_fit as fit_room
from connectome_gnn.generation.comparison import GENERATOR
from connectome_gnn.generation.network import NetworkTask

SIMULATED: dict[str, dict[str, Any]] = {
    "simulated": {"n_people": 3750},
    "spread along the backbone": {"n_people": 3750, "backbone_spread": 0.8},
    "non-linear": {"n_people": 3750, "nonlinearity": 0.8},
    "500 people": {"n_people": 625},
    "500 people, spread along the backbone": {"n_people": 625, "backbone_spread": 0.8},
}
REGIONS, PHENOTYPES, SEEDS = 64, 40, (0, 1)
REAL = ("lemon", "ucl_parkinson", "corr_kki")
BESIDE = {"network alone": "network alone, without messages"}
"""What the decoder's edges are worth by themselves."""


class _Shuffled(ConnectomeGenerator):
    """The backbone of another brain: regions' names are shuffled, so that messages reach regions at random."""

    def _backbone(self) -> NDArray[np.float32]:
        order = np.random.default_rng(self.seed).permutation(self.atlas.n_regions)
        return super()._backbone()[np.ix_(order, order)]


class _NetworkAlone(ConnectomeGenerator):
    """No closed form: the network alone, from phenotypes to components."""

    def _fit_closed_form(self, data: Any, advance: Any) -> NDArray[np.float64]:
        super()._fit_closed_form(data, advance)
        self.closed_form = replace(self.closed_form, maps=np.zeros_like(self.closed_form.maps))
        return data.scores.copy()


class _PerEdge(_NetworkAlone):
    """The network trained on the squared error of edges: every component counts by its variance."""

    def _task(self, unit: NDArray[np.float32]) -> NetworkTask:
        return super()._task(np.full_like(unit, np.sqrt((unit**2).mean())))


class _PlainEncoder(nn.Module):
    """No embeddings: encoded columns, missing ones at their mean, straight into a feed-forward context."""

    def __init__(self, owner: Tensor, n_phenotypes: int, *, width: int = 64, group_of: Tensor | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(len(owner), width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(width, width))

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        return self.layers(values)


class _NoEmbeddings(_NetworkAlone):
    """The network alone, without an embedding for each phenotype."""

    def _fit_network(self, *arguments: Any) -> Any:
        encoder = network_room.PhenotypeEncoder
        network_room.PhenotypeEncoder = _PlainEncoder  # type: ignore[misc, assignment]
        try:
            return super()._fit_network(*arguments)
        finally:
            network_room.PhenotypeEncoder = encoder  # type: ignore[misc]


class _NoGate(ConnectomeGenerator):
    """The network's prediction in full, whatever it earned."""

    def _fit_network(self, *arguments: Any) -> Any:
        gate = fit_room.component_gate

        def opened(prediction: NDArray[np.float64], residual: NDArray[np.float64], _: Any) -> tuple[NDArray[np.float64], float]:
            return np.ones(prediction.shape[1]), float(1 - ((residual - prediction) ** 2).sum() / (residual**2).sum())

        fit_room.component_gate = opened
        try:
            return super()._fit_network(*arguments)
        finally:
            fit_room.component_gate = gate


def variants(seed: int) -> dict[str, Any]:
    """Every variant by name, not fitted yet, the whole generator first."""
    return {
        GENERATOR: ConnectomeGenerator(seed),
        "without messages": ConnectomeGenerator(seed, messages=False),
        "messages over a shuffled backbone": _Shuffled(seed),
        "without the network": ConnectomeGenerator(seed, network=None),
        "network in full, no gate": _NoGate(seed),
        "network alone": _NetworkAlone(seed),
        "network alone, without messages": _NetworkAlone(seed, messages=False),
        "network alone, messages over a shuffled backbone": type("_Both", (_Shuffled, _NetworkAlone), {})(seed),
        "network alone, error per edge": _PerEdge(seed),
        "network alone, no embeddings": _NoEmbeddings(seed),
    }


def splits(name: str, quick: bool) -> Iterator[tuple[int, Cohort, Cohort]]:
    """Seed, training and held-out people."""
    if name in SIMULATED:
        for seed in SEEDS[: 1 if quick else None]:
            settings = dict(SIMULATED[name])
            n_people = settings.pop("n_people") // (5 if quick else 1)
            yield seed, *simulate_cohort(n_people, REGIONS, PHENOTYPES, seed=seed, **settings).split(0.8, seed=seed)
        return
    cohort = Cohort.load(Path(os.environ["CONNECTOME_GNN_DATA"]) / name)
    for number, (rows, held) in enumerate(cohort.folds(5, seed=0)):
        if quick and number:
            return
        yield 0, cohort.take(rows), cohort.take(held)


def main() -> None:
    """Measure, write results/ablation.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller cohorts, one seed or fold; prints, and writes nothing")
    parser.add_argument("--cohorts", nargs="+", help="names of cohorts, default all")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    record = {key: value for key, value in harness.known("ablation").items() if key != "machine"}
    for name in options.cohorts or [*SIMULATED, *(REAL if "CONNECTOME_GNN_DATA" in os.environ else ())]:
        parts, gates = [], {}
        for seed, train, test in splits(name, options.quick):
            torch.manual_seed(seed)
            rows, fitted = harness.held_out(train, test, seed, variants(seed))
            parts.append({**rows, "people": np.array([f"{seed} {person}" for person in rows["people"]])})
            for variant, model in fitted.items():
                gates.setdefault(variant, []).append(float(model.gate.mean()) if len(model.gate) else 0.0)
        record[name] = harness.pooled(parts, beside=BESIDE)
        for variant, opened in gates.items():
            record[name][variant]["network_gate"] = float(np.mean(opened))
        print(f"\n{summary({name: record[name]})}", flush=True)
        if not options.quick:
            harness.write("ablation", record)


def summary(record: Mapping[str, Any]) -> str:
    """The tables in Markdown, a cohort after the other."""
    parts = []
    for name, rows in record.items():
        if name == "machine":
            continue
        parts.append(f"{name}\n\n{harness.markdown(rows, ceiling=name in SIMULATED)}")
        for model in BESIDE:
            if found := rows[model].get("beside"):
                low, high = found["difference_low"], found["difference_high"]
                parts.append(f"{model}, minus {found['model']}: {found['difference']:+.4f} ({low:+.4f} to {high:+.4f})")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()

"""What differential privacy costs: fidelity and spread on held-out simulated people, by epsilon and number of people.

python benchmarks/privacy_price.py [--sizes 500 2000 8086] [--epsilons 0.5 1 3 10] [--seeds 4] [--regions 24] [--phenotypes 12]

Each seed is another cohort, and another draw of the noise. Beside the private models stand the generator without privacy (epsilon
``inf``, without its network, as the private ones) and the component ridge, both fitted to the same people. The network's price is
measured once, at the middle size. Ranges and levels are those that the simulator itself cuts values off at, which nobody's values decide.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import harness
import numpy as np
from scipy.stats import t

from connectome_gnn import Cohort, ConnectomeGenerator, ConnectomeWarning, DifferentialPrivacy, simulate_cohort
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.rivals import ComponentRidge
from connectome_gnn.simulated_traits import choose_traits

HELD_OUT = 400
NETWORK = NetworkConfig(epochs=20, context_width=16, region_width=8, rank=4, n_layers=1)
NETWORK_SHARE = 0.3


def main() -> None:
    """Measure, write results/privacy_price.json, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", type=int, default=[500, 2000, 8086])
    parser.add_argument("--epsilons", nargs="*", type=float, default=[0.5, 1.0, 3.0, 10.0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--regions", type=int, default=24)
    parser.add_argument("--phenotypes", type=int, default=12)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConnectomeWarning)
    bounds = {trait.name: (trait.low, trait.high) for trait in choose_traits(options.phenotypes) if not trait.levels}
    record: dict[str, Any] = {
        "regions": options.regions,
        "phenotypes": options.phenotypes,
        "seeds": options.seeds,
        "delta": "1 / (10 people)",
        "neighbours": "one person in place of another",
        "held_out": HELD_OUT,
        "sizes": {},
    }
    for size in options.sizes:
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in range(options.seeds):
            cohort = simulate_cohort(size + HELD_OUT, options.regions, options.phenotypes, seed=seed)
            train, test = cohort.split(size / (size + HELD_OUT), seed=seed)
            for name, model in models(options.epsilons, bounds, seed, with_network=size == sorted(options.sizes)[len(options.sizes) // 2]):
                rows.setdefault(name, []).append(price(model.fit(train), train, test))
            print(f"{size} people: cohort {seed} done", file=sys.stderr, flush=True)
        ceiling = float(test.truth.ceiling)
        record["sizes"][str(size)] = {"ceiling": ceiling, "models": {name: summary(scores) for name, scores in rows.items()}}
        harness.write("privacy_price", record)
    print(markdown(record))


def models(epsilons: Sequence[float], bounds: dict[str, tuple[float, float]], seed: int, with_network: bool) -> list[tuple[str, Any]]:
    """Name and model, not fitted yet: private ones, with a network too where asked for, and those without privacy."""
    made: list[tuple[str, Any]] = []
    for epsilon in epsilons:
        made.append((f"epsilon {epsilon:g}", ConnectomeGenerator(privacy=DifferentialPrivacy(epsilon, bounds=bounds, noise_seed=seed))))
        if with_network:
            promise = DifferentialPrivacy(epsilon, bounds=bounds, noise_seed=seed, network_share=NETWORK_SHARE)
            made.append((f"epsilon {epsilon:g}, with network", ConnectomeGenerator(network=NETWORK, privacy=promise)))
    return [*made, ("epsilon inf", ConnectomeGenerator(seed=seed, network=None)), ("component ridge", ComponentRidge(seed))]


def price(model: Any, train: Cohort, test: Cohort) -> dict[str, float]:
    """R2 beyond the mean, and the median over edges of generated over real standard deviation, of held-out people."""
    training = standardising(train)
    real = edges(test, training)
    expected, drawn = edges(model.expected(test.phenotypes), training), edges(model.sample(test.phenotypes, seed=0), training)
    return {
        "r2_beyond_mean": float(1 - ((real - expected) ** 2).sum() / (real**2).sum()),
        "spread_ratio": float(np.median(drawn.std(0) / real.std(0))),
    }


def standardising(train: Cohort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation of training people's edges on the modelling scale, and which edges half of them have."""
    values = np.concatenate([part.astype(np.float64) for _, part in train.modelled()])
    mean, std = values.mean(0), values.std(0)
    return mean, np.where(std > 0, std, 1), ((values != 0).mean(0) >= 0.5) & (std > 1e-6)


def edges(cohort: Cohort, training: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Scored edges (N, kept) in standard deviations from the training mean."""
    mean, std, kept = training
    values = np.concatenate([part.astype(np.float64) for _, part in cohort.modelled()])
    return ((values - mean) / std)[:, kept]


def summary(scores: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over seeds with its 95 % interval (Student's t)."""
    out: dict[str, float] = {}
    for name in scores[0]:
        values = np.array([score[name] for score in scores])
        half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        out |= {name: float(values.mean()), f"{name}_low": float(values.mean()) - half, f"{name}_high": float(values.mean()) + half}
    return out


def markdown(record: dict[str, Any]) -> str:
    """The tables."""
    lines = []
    for size, entry in record["sizes"].items():
        lines += [f"\n{size} people, ceiling {entry['ceiling']:.3f}\n", "| model | R2 beyond the mean | spread ratio |", "|---|---|---|"]
        for name, row in entry["models"].items():
            cells = [f"{row[s]:.4f} ({row[s + '_low']:.4f} to {row[s + '_high']:.4f})" for s in ("r2_beyond_mean", "spread_ratio")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

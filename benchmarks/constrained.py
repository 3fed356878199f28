"""What a connectome's wiring is worth to a network: the real one against random, degree- and distance-preserving ones, and against none.

python benchmarks/constrained.py [--quick] [--seeds 20] [--parts reservoir classification age speed] [--prior lausanne219_griffa]

Group connectomes are looked for in the folder ``priors`` of CONNECTOME_GNN_DATA, and the cohorts lemon and ucl_parkinson beside it. Every
seed draws its own null connectome, input weights, signal, split and initial weights; all wirings of a seed share what they can. Means over
seeds with 95 % t intervals, and the paired difference of the connectome from each rival with its own.

reservoir : memory capacity (Jaeger 2001: summed squared correlation between the input k steps ago, k = 1 to 60, and its linear read-out)
    and NARMA-10 (R2). Weights are the connectome's, scaled to the spectral radius that does best on a validation stretch; ridge read-out;
    scores on a held-out stretch. "dense, as many parameters" has as many recurrent weights in fewer units, and so fewer read-out weights;
    "dense, as many units" has them all.
classification : scikit-learn's digits, two hidden layers, local then long-range, all weights trained; accuracy on held-out images. "dense"
    has as many parameters in fully connected hidden layers.
age : mean absolute error of age in years, a fifth of the people held out by every seed. Inputs are each region's mean edge, standardised on
    training people; two hidden layers whose units are the regions, wired by the training people's own backbone (its strongest tenth of all
    pairs); all weights trained alike, stopped by validation people. Beside the networks ridge regression on the same inputs, and the
    training people's mean. Intervals are bootstraps over seeds and people together.
speed : processor time of a training step (forward and backward), and bytes that the layer and the step hold, sparse and dense compute
    beside torch.nn.Linear, by units, density and batch; from these the rule behind ``compute="auto"`` was taken.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from scipy import sparse
from scipy.stats import t as student
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from connectome_gnn import Cohort, ConnectomeError, ConnectomeWarning, topology
from connectome_gnn.constrained import (
    ConnectomeConstrainedNetwork,
    ConnectomeLinear,
    ConnectomeRecurrent,
    LayerConfig,
    LearningConfig,
    Wiring,
    functional,
    local_to_long_range,
    read_prior,
    structural,
)
from connectome_gnn.edges import edge_indices, to_matrices, to_vectors
from connectome_gnn.progress import progress

REAL, DENSE, WIDE = "connectome", "dense, as many parameters", "dense, as many units"
DELAYS = 60
RADII = (0.3, 0.6, 0.9, 1.1)
ALPHAS = (1e-8, 1e-5, 1e-2)
WASHOUT, STRETCH = 200, 1500
COHORTS = ("lemon", "ucl_parkinson")
WIRED = ("reservoir", "classification", "age")
"""Parts that compare wirings."""
BACKBONE = 0.1


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 seeds, short training, few layers; writes nothing")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=[*WIRED, "speed"], default=[*WIRED, "speed"])
    parser.add_argument("--prior", default="lausanne219_griffa")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConnectomeWarning)  # nulls may leave a region without local connections
    seeds = range(3 if options.quick else options.seeds)
    record: dict[str, Any] = {} if options.quick else harness.known("constrained")
    if {"reservoir", "classification"} & set(options.parts):
        prior = read_prior(data("priors") / f"{options.prior}.npz")
        wirings = [wirings_of(prior, seed) for seed in shown(seeds, "Null connectomes")]
        record["prior"] = {"name": prior.name, "regions": prior.n_regions, "density": prior.density}
        if "reservoir" in options.parts:
            record["reservoir"] = over_seeds(lambda seed: reservoirs(wirings[seed], seed), seeds, "Reservoirs")
        if "classification" in options.parts:
            epochs = 4 if options.quick else 40
            record["classification"] = over_seeds(lambda seed: classifiers(wirings[seed], seed, epochs), seeds, "Classifiers")
    if "age" in options.parts:
        learning = LearningConfig(epochs=4 if options.quick else 100)
        record["age"] = {
            f"age on {name}, mean absolute error in years": over_seeds_and_people(
                [age_errors(cohort, seed, learning) for seed in shown(seeds, f"Age on {name}")]
            )
            for name, cohort in ((name, Cohort.load(data(name))) for name in COHORTS)
        }
    if "speed" in options.parts:
        record["speed"] = speed((200, 1000) if options.quick else (100, 200, 400, 1000, 2000, 4000))
    if not options.quick:
        harness.write("constrained", record)
    print(summary(record))


def summary(record: dict[str, Any]) -> str:
    """The tables in Markdown, of the parts that were measured."""
    parts = [f"{task}\n\n{tabulated(rows)}" for part in WIRED for task, rows in record.get(part, {}).items()]
    if "speed" in record:
        parts.append(f"milliseconds a training step, megabytes of the layer and the step\n\n{speed_table(record['speed'])}")
    return "\n\n".join(parts)


def shown(items: Sequence[int], what: str) -> Iterator[int]:
    """The items one by one, with a bar."""
    with progress(what, total=len(items)) as advance:
        for item in items:
            yield item
            advance()


def data(name: str) -> Path:
    """A folder of group connectomes or of a cohort."""
    root = os.environ.get("CONNECTOME_GNN_DATA")
    if not root or not (Path(root) / name).is_dir():
        raise ConnectomeError(f"the folder {name} is looked for in the one that CONNECTOME_GNN_DATA names")
    return Path(root) / name


def wirings_of(prior: Wiring, seed: int) -> dict[str, Wiring]:
    """The connectome and its nulls, by name."""
    weights, generator = to_vectors(prior.connectivity), np.random.default_rng(seed)
    matrices = {
        REAL: prior.connectivity,
        "random": to_matrices(generator.permutation(weights)),
        "degree-preserving": topology.degree_preserving(prior.connectivity, seed=seed, n_jobs=1)[0],
        "distance-preserving": topology.geometry_preserving(prior.connectivity, distances=prior.distances, seed=seed, n_jobs=1)[0],
    }
    return {name: replace(prior, connectivity=matrix, name=name) for name, matrix in matrices.items()}


# --- reservoirs ---------------------------------------------------------------------------------------------------------


def reservoirs(wirings: dict[str, Wiring], seed: int) -> dict[str, dict[str, float]]:
    """Scores by task and wiring."""
    generator = np.random.default_rng(seed)
    connectivities = {name: wiring.connectivity for name, wiring in wirings.items()}
    weights = to_vectors(wirings[REAL].connectivity)
    weights = weights[weights != 0]
    for name, side in ((DENSE, round((2 * len(weights)) ** 0.5)), (WIDE, wirings[REAL].n_regions)):
        connectivities[name] = generator.permutation(np.resize(weights, side * side)).reshape(side, side)
    noise = generator.uniform(-1, 1, WASHOUT + 3 * STRETCH)
    recall = np.stack([np.roll(noise, delay) for delay in range(1, DELAYS + 1)], 1)
    drive = generator.uniform(0, 0.5, WASHOUT + 3 * STRETCH)
    tasks: dict[str, tuple[np.ndarray, np.ndarray, float, Callable[[np.ndarray, np.ndarray], float]]] = {
        "memory capacity": (noise, recall, 0.1, capacity),
        "NARMA-10, R2": (drive, narma(drive)[:, None], 0.5, explained),
    }
    return {task: {name: best_reservoir(matrix, *given, seed) for name, matrix in connectivities.items()} for task, given in tasks.items()}


def best_reservoir(
    matrix: np.ndarray, inputs: np.ndarray, targets: np.ndarray, scaling: float, score: Callable[[np.ndarray, np.ndarray], float], seed: int
) -> float:
    """Score on the last stretch, at the radius and ridge strength that do best on the one before it."""
    train, validation, test = (slice(start, start + STRETCH) for start in range(0, 3 * STRETCH, STRETCH))
    goals, found = targets[WASHOUT:], []
    for radius in RADII:
        model = ConnectomeRecurrent(1, len(matrix), matrix, spectral_radius=radius, input_scaling=scaling, washout=WASHOUT, seed=seed)
        with torch.no_grad():
            states = model(torch.from_numpy(inputs).float()[None, :, None])[0][0].double().numpy()
        for alpha in ALPHAS:
            readout = Ridge(alpha=alpha).fit(states[train], goals[train])
            found.append((score(as_columns(readout.predict(states[validation])), goals[validation]), states, readout))
    _, states, readout = max(found, key=lambda one: one[0])
    return score(as_columns(readout.predict(states[test])), goals[test])


def as_columns(values: np.ndarray) -> np.ndarray:
    """One column a target, however many there are."""
    return values.reshape(len(values), -1)


def capacity(predicted: np.ndarray, goals: np.ndarray) -> float:
    """Summed squared correlations."""
    centred, wanted = predicted - predicted.mean(0), goals - goals.mean(0)
    power = (centred**2).sum(0) * (wanted**2).sum(0)
    return float(np.divide((centred * wanted).sum(0) ** 2, power, out=np.zeros(len(power)), where=power > 0).sum())


def explained(predicted: np.ndarray, goals: np.ndarray) -> float:
    """R2."""
    return float(1 - ((predicted - goals) ** 2).sum() / ((goals - goals.mean(0)) ** 2).sum())


def narma(drive: np.ndarray) -> np.ndarray:
    """Non-linear autoregressive moving average of order 10 (Atiya & Parlos 2000)."""
    out = np.zeros(len(drive))
    for t in range(9, len(drive) - 1):
        out[t + 1] = 0.3 * out[t] + 0.05 * out[t] * out[t - 9 : t + 1].sum() + 1.5 * drive[t - 9] * drive[t] + 0.1
    return out


# --- classification -----------------------------------------------------------------------------------------------------


def classifiers(wirings: dict[str, Wiring], seed: int, epochs: int) -> dict[str, dict[str, float]]:
    """Accuracy on held-out digits by wiring."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=0.3, stratify=labels, random_state=seed)
    train, test, goals, truth = (torch.from_numpy(part) for part in parts)
    networks: dict[str, nn.Module] = {}
    for name, wiring in wirings.items():
        layers = [LayerConfig(band) for band in local_to_long_range(wiring, 2)]
        networks[name] = ConnectomeConstrainedNetwork(64, 10, layers, seed=seed)
    networks[DENSE] = dense_network(64, 10, nearest_units(64, 10, n_parameters(networks[REAL])), seed)
    networks[WIDE] = dense_network(64, 10, wirings[REAL].n_regions, seed)
    scores = {}
    for name, network in networks.items():
        fit(network, train.float(), goals, epochs, seed)
        with torch.no_grad():
            scores[name] = float((network(test.float()).argmax(1) == truth).double().mean())
    return {"digits, accuracy": scores}


def n_parameters(network: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def nearest_units(n_in: int, n_out: int, n_wanted: int) -> int:
    """Units of each of two fully connected hidden layers that come nearest to a number of parameters."""
    return min(range(1, 400), key=lambda n: abs(n_in * n + n + 2 * (n * n + n) + n_out * n + n_out - n_wanted))


def dense_network(n_in: int, n_out: int, units: int, seed: int) -> ConnectomeConstrainedNetwork:
    """Two fully connected hidden layers."""
    return ConnectomeConstrainedNetwork(n_in, n_out, [LayerConfig(units=units), LayerConfig(units=units)], seed=seed)


def fit(network: nn.Module, inputs: Tensor, goals: Tensor, epochs: int, seed: int) -> None:
    """Adam on cross-entropy."""
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), goals[rows]).backward()
            optimiser.step()


# --- age ----------------------------------------------------------------------------------------------------------------


def age_errors(cohort: Cohort, seed: int, learning: LearningConfig) -> dict[str, np.ndarray]:
    """Absolute errors in years by wiring, (N,), NaN for training people."""
    train, test = cohort.split(0.8, seed=seed)
    backbone = (functional if cohort.signed else structural)(train, density=BACKBONE)
    known, unknown = regional_means(train), regional_means(test)
    centre, spread = known.mean(0), known.std(0)
    known, unknown = (known - centre) / spread, (unknown - centre) / spread
    ages, truth = (part.phenotypes["age"].to_numpy(float) for part in (train, test))
    networks = {
        name: ConnectomeConstrainedNetwork(cohort.n_regions, 1, [LayerConfig(wiring)] * 2, project=False, seed=seed)
        for name, wiring in wirings_of(backbone, seed).items()
    }
    networks[DENSE] = dense_network(cohort.n_regions, 1, nearest_units(cohort.n_regions, 1, n_parameters(networks[REAL])), seed)
    networks[WIDE] = dense_network(cohort.n_regions, 1, cohort.n_regions, seed)
    said = {}
    for name, network in networks.items():
        network.fit(known, ages, learning=learning, seed=seed)
        with torch.no_grad():
            said[name] = network(torch.from_numpy(unknown).float())[:, 0].double().numpy()
    said["ridge, same inputs"] = RidgeCV(np.logspace(-2, 5, 29)).fit(known, ages).predict(unknown)
    said["mean of training people"] = np.full(len(truth), ages.mean())
    errors = {}
    for name, values in said.items():
        errors[name] = np.full(len(cohort), np.nan)
        errors[name][cohort.phenotypes.index.get_indexer(test.phenotypes.index)] = np.abs(values - truth)
    return errors


def regional_means(cohort: Cohort) -> np.ndarray:
    """Mean edge of every region on the modelling scale, (N, R)."""
    edges = np.concatenate([values for _, values in cohort.modelled()]).astype(float)
    rows, columns = edge_indices(cohort.n_regions)
    touches = np.zeros((cohort.n_edges, cohort.n_regions))
    touches[np.arange(cohort.n_edges), rows] = touches[np.arange(cohort.n_edges), columns] = 1 / (cohort.n_regions - 1)
    return edges @ touches


def over_seeds_and_people(runs: list[dict[str, np.ndarray]], n_bootstrap: int = 2000) -> dict[str, dict[str, Any]]:
    """By wiring: mean error over seeds and people, its interval, and the connectome's paired difference from it with its interval."""
    errors = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    held = np.isfinite(errors[REAL])
    generator = np.random.default_rng(0)
    draws = []
    for size in held.shape:
        drawn = generator.multinomial(size, np.full(size, 1 / size), size=n_bootstrap)
        draws.append(np.concatenate([np.ones((1, size)), drawn]))
    total = ((draws[0] @ held) * draws[1]).sum(1)
    means = {name: ((draws[0] @ np.where(held, values, 0)) * draws[1]).sum(1) / total for name, values in errors.items()}
    table: dict[str, dict[str, Any]] = {}
    for name, values in means.items():
        table[name] = {"score": float(values[0]), **harness.interval("score", values[1:])}
        if name != REAL:
            difference = means[REAL] - values
            table[name] |= {"difference": float(difference[0]), **harness.interval("difference", difference[1:])}
    return table


# --- over seeds ---------------------------------------------------------------------------------------------------------


def over_seeds(scores_of: Callable[[int], dict[str, dict[str, float]]], seeds: range, what: str) -> dict[str, dict[str, dict[str, Any]]]:
    """By task and wiring: mean over seeds, its interval, and the connectome's paired difference from it with its interval."""
    runs = [scores_of(seed) for seed in shown(seeds, what)]
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for task in runs[0]:
        real = np.array([run[task][REAL] for run in runs])
        table[task] = {}
        for name in runs[0][task]:
            values = np.array([run[task][name] for run in runs])
            table[task][name] = {**mean("score", values), "scores": values.tolist()}
            if name != REAL:
                table[task][name] |= mean("difference", real - values)
    return table


def mean(name: str, values: np.ndarray) -> dict[str, float]:
    """Mean and 95 % t interval."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return {name: float(values.mean()), f"{name}_low": float(values.mean() - half), f"{name}_high": float(values.mean() + half)}


def tabulated(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table of wirings."""
    lines = ["| wiring | score | 95 % interval | connectome minus this | 95 % interval |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = [name, f"{row['score']:.3f}", f"{row['score_low']:.3f} to {row['score_high']:.3f}"]
        if "difference" in row:
            cells += [f"{row['difference']:+.3f}", f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}"]
        lines.append(f"| {' | '.join(cells + [''] * (5 - len(cells)))} |")
    return "\n".join(lines)


# --- speed --------------------------------------------------------------------------------------------------------------


def speed(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Milliseconds a training step, and megabytes kept by the layer, by units, density and batch; one thread."""
    rows = []
    for units in shown(sizes, "Speed"):
        dense = nn.Linear(units, units)
        for density in (0.01, 0.02, 0.05, 0.1, 0.2):
            pattern = sparse.random_array((units, units), density=density, rng=np.random.default_rng(0), format="csr")
            layers: dict[str, nn.Module] = {
                way: ConnectomeLinear(units, units, pattern, compute=way, seed=0)  # type: ignore[arg-type]
                for way in ("sparse", "dense")
            }
            chosen = "sparse" if ConnectomeLinear(units, units, pattern, seed=0).sparse else "dense"
            for batch in (1, 32, 256):
                inputs = torch.randn(batch, units, generator=torch.manual_seed(0), requires_grad=True)
                times = timed({**layers, "torch.nn.Linear": dense}, inputs)
                bytes_of = {way: (kept(layer), peak(layer, inputs)) for way, layer in {**layers, "torch.nn.Linear": dense}.items()}
                rows.append({"units": units, "density": density, "batch": batch, "auto": chosen, **times, "bytes": bytes_of})
    return rows


def kept(layer: nn.Module) -> int:
    """Bytes of a layer's parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*layer.parameters(), *layer.buffers()))


def peak(layer: nn.Module, inputs: Tensor) -> int:
    """The most bytes that a training step holds at once beyond those, gradients included."""
    with quiet(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        layer(inputs).sum().backward()
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
    return int(np.cumsum([event.nbytes() for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]).max())


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the profiler's own library says on standard error."""
    kept_open = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept_open, 2)
        os.close(kept_open)


def timed(layers: dict[str, nn.Module], inputs: Tensor, rounds: int = 7) -> dict[str, float]:
    """Least milliseconds of processor time of a step of each layer, taken in turns: other work on the machine meets them all."""
    best = dict.fromkeys(layers, np.inf)
    for _ in range(rounds):
        for name, layer in layers.items():
            repeats, start = 0, time.process_time()
            while time.process_time() - start < 0.01 or not repeats:
                layer(inputs).sum().backward()
                repeats += 1
            best[name] = min(best[name], 1e3 * (time.process_time() - start) / repeats)
        for layer in layers.values():
            layer.zero_grad(set_to_none=True)
    inputs.grad = None
    return {name: float(value) for name, value in best.items()}


def speed_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of times."""
    lines = ["| units | density | batch | sparse | dense | torch.nn.Linear | auto | MB sparse | MB dense |", "|" + "---|" * 9]
    for row in rows:
        times = " | ".join(f"{row[way]:.3f}" for way in ("sparse", "dense", "torch.nn.Linear"))
        memory = " | ".join(f"{sum(row['bytes'][way]) / 1e6:.2f}" for way in ("sparse", "dense"))
        lines.append(f"| {row['units']} | {row['density']:g} | {row['batch']} | {times} | {row['auto']} | {memory} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
